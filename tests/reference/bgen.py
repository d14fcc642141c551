"""BGEN 1.1 to 1.3, written and read value by value from the published description of the format.

A file is bytes; a variant is a dictionary: ids, chromosome, position, alleles, and for each sample a ploidy,
whether it is missing, and its stored values. With bits b, a stored value k means the probability k / (2**b -
1): unphased those of the genotypes with 2, 1 (, 0) copies of the first allele, the last left out; phased for
each haplotype that of the first allele. BGEN 1.1 stores all three, as k / 32768.
"""

import struct
import zlib
from fractions import Fraction

NO_COMPRESSION, ZLIB, ZSTD = 0, 1, 2


def encode(variants, samples=None, *, n=None, layout=2, compression=ZLIB, free=b"", count=None):
    """The bytes of a file; `samples` None leaves the sample block out."""
    n = len(samples) if samples is not None else n
    count = len(variants) if count is None else count
    flags = compression | layout << 2 | (samples is not None) << 31
    header = struct.pack("<III4s", 20 + len(free), count, n, b"bgen") + free + struct.pack("<I", flags)
    block = b""
    if samples is not None:
        names = b"".join(struct.pack("<H", len(s.encode())) + s.encode() for s in samples)
        block = struct.pack("<II", 8 + len(names), n) + names
    out = struct.pack("<I", len(header) + len(block)) + header + block
    for variant in variants:
        out += _variant(variant, n, layout, compression)
    return out


def _variant(variant, n, layout, compression):
    out = struct.pack("<I", n) if layout == 1 else b""
    for name in ("id", "rsid", "chromosome"):
        text = variant.get(name, name).encode()
        out += struct.pack("<H", len(text)) + text
    out += struct.pack("<I", variant.get("position", 1))
    alleles = variant.get("alleles", ("A", "C"))
    out += struct.pack("<H", len(alleles)) if layout == 2 else b""
    for allele in alleles:
        out += struct.pack("<I", len(allele)) + allele.encode()
    body = _block_1(variant) if layout == 1 else _block_2(variant, n, len(alleles))
    if compression == NO_COMPRESSION:
        return out + (body if layout == 1 else struct.pack("<I", len(body)) + body)
    packed = _compress(body, compression)
    if layout == 1:
        return out + struct.pack("<I", len(packed)) + packed
    return out + struct.pack("<II", len(packed) + 4, len(body)) + packed


def _compress(body, compression):
    if compression == ZLIB:
        return zlib.compress(body)
    from numcodecs import Zstd

    return bytes(Zstd(3).encode(body))


def _block_1(variant):
    return b"".join(struct.pack("<3H", *values) for values in variant["values"])


def _block_2(variant, n, n_alleles):
    ploidy = variant.get("ploidy", [2] * n)
    missing = variant.get("missing", [False] * n)
    bits = variant.get("bits", 8)
    number = place = 0
    for values in variant["values"]:
        for value in values:
            number |= value << place
            place += bits
    out = struct.pack("<IHBB", n, n_alleles, min(ploidy), max(ploidy))
    out += bytes(z | 128 * m for z, m in zip(ploidy, missing, strict=True))
    out += bytes([variant.get("phased", False), bits])
    return out + number.to_bytes((place + 7) // 8, "little")


def decode(data):
    """Return (sample ids or None, variants)."""
    first, length, count, n = struct.unpack_from("<IIII", data)
    flags = struct.unpack_from("<I", data, 4 + length - 4)[0]
    layout, compression = flags >> 2 & 15, flags & 3
    samples = None
    if flags >> 31:
        at = 4 + length + 8
        samples = []
        for _ in range(n):
            name, at = _text(data, at, "<H")
            samples.append(name)
    at = 4 + first
    variants = []
    for _ in range(count):
        variant, at = _read_variant(data, at, layout, compression)
        variants.append(variant)
    if at != len(data):
        raise ValueError("the file goes on behind the last variant")
    return samples, variants


def _text(data, at, size):
    (length,) = struct.unpack_from(size, data, at)
    at += struct.calcsize(size)
    return data[at : at + length].decode(), at + length


def _read_variant(data, at, layout, compression):
    variant = {}
    n = None
    if layout == 1:
        (n,) = struct.unpack_from("<I", data, at)
        at += 4
    for name in ("id", "rsid", "chromosome"):
        variant[name], at = _text(data, at, "<H")
    (variant["position"],) = struct.unpack_from("<I", data, at)
    at += 4
    n_alleles = 2
    if layout == 2:
        (n_alleles,) = struct.unpack_from("<H", data, at)
        at += 2
    variant["alleles"] = []
    for _ in range(n_alleles):
        allele, at = _text(data, at, "<I")
        variant["alleles"].append(allele)
    size = 6 * n if layout == 1 else None
    if size is None or compression:
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
    body = data[at : at + size]
    at += size
    if compression:
        body = _decompress(body if layout == 1 else body[4:], compression)
    variant |= _read_1(body, n) if layout == 1 else _read_2(body)
    return variant, at


def _decompress(body, compression):
    if compression == ZLIB:
        return zlib.decompress(body)
    from numcodecs import Zstd

    return bytes(Zstd().decode(body))


def _read_1(body, n):
    values = [struct.unpack_from("<3H", body, 6 * s) for s in range(n)]
    return {"values": values, "layout": 1}


def _read_2(body):
    n, n_alleles, _, _ = struct.unpack_from("<IHBB", body)
    if n_alleles != 2:
        raise ValueError("only two alleles here")
    flags = body[8 : 8 + n]
    phased, bits = body[8 + n], body[9 + n]
    number = int.from_bytes(body[10 + n :], "little")
    place, values = 0, []
    for flag in flags:
        row = []
        for _ in range(flag & 63):  # two alleles: as many values as haplotypes, phased or not
            row.append(number >> place & (1 << bits) - 1)
            place += bits
        values.append(tuple(row))
    if len(body) != 10 + n + (place + 7) // 8:
        raise ValueError("wrong length of a block")
    return {
        "layout": 2,
        "ploidy": [flag & 63 for flag in flags],
        "missing": [flag >= 128 for flag in flags],
        "phased": bool(phased),
        "bits": bits,
        "values": values,
    }


def haplotypes(variant, s):
    """Probability of the second allele on each haplotype of a phased sample."""
    top = (1 << variant["bits"]) - 1
    return [1 - Fraction(k, top) for k in variant["values"][s]]


def dosage(variant, s):
    """Copies of the second allele that are expected in sample s, 0 to 2 (haploid ones doubled); None
    missing."""
    values = variant["values"][s]
    if variant.get("layout", 2) == 1:
        total = sum(values)
        return Fraction(values[1] + 2 * values[2], total) if total else None
    if "missing" in variant and variant["missing"][s]:
        return None
    top = (1 << variant.get("bits", 8)) - 1
    ploidy = len(values)
    if ploidy == 1 or variant.get("phased"):
        first = sum(values) * Fraction(2, ploidy)
    else:
        first = 2 * values[0] + values[1]
    return 2 - Fraction(first, top)


def grid_dosage(x):
    """The dosage in PLINK 2's steps of 1 / 16384, rounded to the nearest."""
    return int(x * 16384 + Fraction(1, 2))


def hard_call(x, threshold=Fraction(1, 10)):
    """The nearest of 0, 1, 2 if it is within the threshold of the dosage in PLINK 2's steps; else -1."""
    if x is None:
        return -1
    steps = grid_dosage(x)
    nearest = (steps + 8192) // 16384
    return nearest if abs(steps - 16384 * nearest) <= int(threshold * 16384) else -1
