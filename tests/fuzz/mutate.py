"""Ways to damage a file: bytes, lines and cells, JSON, and what stands behind a compression."""

import bz2
import contextlib
import copy
import gzip
import io
import json
import random
import struct
import zipfile

import numpy as np

Files = dict[str, bytes]

NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TOKENS = (
    "", "0", "-1", "-9", "1", "2", "3", "NA", "nan", "inf", "-inf", "1e999", "1e-400", "2147483647",
    "2147483648",
    "9" * 400, "-" + "9" * 25, "0x10", "1_000", "1.5", "٣", "１", "Ä", "\u2028", "\ufeff", "\x00",
    "\x85", "\x0b", "'",
    '"', '"""', ",", ";", "|", "/", "./.", "0/1", "1|0", "0/1/1", "4/9", "255", ".", "#", "##", "=1+1",
    "../../x", "a" * 300,
    "<DEL>", "*", "A,C", "GT", "rs1", "chr1", "X", "%s%n", "\\N", "\x1a", "true",
)  # fmt: skip
JSON_VALUES = (
    None, True, False, 0, 1, -1, 2, 255, 2**31, 2**60, 2**63, -(2**63), 1e308, float("nan"),
    float("inf"), 0.5,
    "", ".", "/", "..", "NaN", "|O", "<U4", "|i1", "<f8", "|b1", "|S3", "<M8[ns]", "<U1000000000", "C",
    "F", "blosc",
    "zstd", "pickle", "vlen-utf8", "x" * 5000, [], {}, [1], [0], [-1], [2**60, 2**60], ["variants"],
    ["variants", "samples"], [["a", "<i4"]], {"id": "pickle"}, {"id": "gzip", "level": 1},
    {"id": "blosc"}, {"id": 3},
    [{"id": "pickle", "protocol": 5}], [{"id": "vlen-utf8"}], [{"id": "delta", "dtype": "<i8"}],
)  # fmt: skip


TOML_VALUES = (
    "-1", "1e400", "nan", "true", '"x"', "[]", "{}", "[" * 3000, "{a=" * 2000, "9" * 5000, "1979-05-27",
    "'\\u0000'", '"\\u0000"', "[1, 'a']", "0x7fffffffffffffffffff", "''", '"""' + "x" * 9999 + '"""',
)  # fmt: skip


def mutated(files: Files, others: list[Files], rng: random.Random) -> Files:
    """Return files of which one or two are damaged; `others` are spliced in."""
    out = dict(files)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(sorted(out))
        if rng.random() < 0.03:
            out.pop(name)
            if not out:
                return dict(files)
            continue
        same = [other[name] for other in others if name in other] or [rng.choice(sorted(out.values()))]
        out[name] = _one(name, out[name], rng.choice(same), rng)
    return out


def _one(name: str, data: bytes, other: bytes, rng: random.Random) -> bytes:
    base = name.rsplit("/", 1)[-1]
    if base.startswith(".z"):
        return _json(data, other, rng)
    if base.endswith((".vcf.gz", ".bcf")):
        return _wrapped(data, other, rng, _gunzip, _bgzip, is_text=base.endswith(".vcf.gz"))
    if base.endswith(".gz"):
        return _wrapped(data, other, rng, _gunzip, lambda x: gzip.compress(x, 1, mtime=0), is_text=True)
    if base.endswith(".zst"):
        return _wrapped(data, other, rng, _unzstd, _zstd, is_text=True)
    if data[:4] == b"GWPC" and rng.random() < 0.8:
        return resealed(mutate_bytes(data, other, rng))
    if base.endswith(".toml"):
        return _toml(data, other, rng)
    if base.endswith((".bed", ".pgen", ".bgen", ".parquet")) or "/" in name:
        return mutate_bytes(data, other, rng)
    return mutate_text(data, other, rng) if rng.random() < 0.85 else mutate_bytes(data, other, rng)


def mutate_bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Cut, flip, insert, delete, repeat and splice bytes, and write numbers over them."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1) if rng.random() < 0.6 else rng.randrange(min(len(out), 64) + 1)
        size = rng.choice((1, 1, 2, 3, 4, 8, 17, 64, 500))
        kind = rng.randrange(10)
        if kind == 0 and rng.random() < 0.3:
            del out[at:]
        elif kind in (1, 2) and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            out[at : at + size] = rng.randbytes(min(size, len(out) - at))
        elif kind == 4:
            out[at:at] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
        elif kind == 5:
            del out[at : at + size]
        elif kind == 6:
            out[at:at] = out[at : at + size]
        elif kind == 7:
            there = rng.randrange(len(other) + 1)
            out[at:] = other[there:] if rng.random() < 0.3 else out[at:]
            out[at : at + size] = other[there : there + size]
        else:
            code = rng.choice("BHIQ")
            width = struct.calcsize(code)
            value = rng.choice(NUMBERS)
            if rng.random() < 0.5 and at + width <= len(out):
                value = struct.unpack_from("<" + code, out, at)[0] + rng.choice((-2, -1, 1, 2, 256, 65536))
            out[at : at + width] = struct.pack("<" + code, value % 256**width)
    return bytes(out[: 2**20])


def mutate_text(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Change lines and cells of a table."""
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(14)
        if kind == 0:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif kind == 1:
            del lines[at]
        elif kind == 2:
            other_lines = other.split(b"\n")
            lines[at:at] = other_lines[rng.randrange(len(other_lines)) :][: rng.choice((1, 3, 1000))]
        elif kind == 3:
            lines = [line + b"\r" for line in lines] if rng.random() < 0.7 else [b"\r".join(lines)]
        elif kind == 4:
            lines[at] = mutate_bytes(lines[at], other, rng)
        elif kind == 5:
            lines[at] += rng.choice((b"\xff\xfe", b"\xc3\x28", b"\x00", b"\t\t\t", b" ", b",", b"\t", b'"'))
        elif kind == 6 and rng.random() < 0.3:
            long = rng.choice((b"x", b"\t", b"0 ", b'"', b","))
            lines[at] += long * (rng.choice((10_000, 300_000)) // len(long))
        elif kind == 7:
            lines[0] = rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"#", b"##", b" ")) + lines[0]
        else:
            lines[at] = _cells(lines[at], rng)
        if not lines:
            return b""
    return b"\n".join(lines)


def _cells(line: bytes, rng: random.Random) -> bytes:
    mark = next((m for m in (b"\t", b",", b" ", b"=") if m in line), b"\t")
    cells = line.split(mark)
    a, b = rng.randrange(len(cells)), rng.randrange(len(cells))
    kind = rng.randrange(6)
    if kind == 0:
        cells[a], cells[b] = cells[b], cells[a]
    elif kind == 1:
        del cells[a]
    elif kind == 2:
        cells.insert(a, cells[b])
    else:
        cells[a] = rng.choice(TOKENS).encode()
    return mark.join(cells)


def _toml(data: bytes, other: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    if rng.random() < 0.5 and b"=" in lines[at]:
        value = rng.choice(TOML_VALUES)
        lines[at] = lines[at].split(b"=")[0] + b"= " + value.encode()
        return b"\n".join(lines)
    return mutate_text(data, other, rng)


def _json(data: bytes, other: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.15:
        deep = rng.choice((500, 3000, 100_000))
        return rng.choice(
            (
                mutate_bytes(data, other, rng),
                b"[" * deep,
                b'{"a":' * deep,
                b'{"a": ' + b"[" * deep + b"]" * deep + b"}",
            )
        )
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, other, rng)
    for _ in range(rng.choice((1, 1, 2))):
        value = _changed(value, rng)
    return json.dumps(value).encode()


def _changed(value: object, rng: random.Random) -> object:
    places = list(_places(value))
    if not places:
        return copy.deepcopy(rng.choice(JSON_VALUES))
    parent, key = rng.choice(places)
    if isinstance(parent, dict) and rng.random() < 0.15:
        del parent[key]
    elif isinstance(parent, list) and rng.random() < 0.2:
        parent.append(copy.deepcopy(rng.choice(JSON_VALUES)))
    elif isinstance(parent[key], int) and rng.random() < 0.4:
        parent[key] += rng.choice((-1, 1, 7))
    else:
        parent[key] = copy.deepcopy(rng.choice(JSON_VALUES))
    return value


def _places(value: object):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)


def _wrapped(data, other, rng, unwrap, wrap, *, is_text):
    if rng.random() < 0.25:
        return mutate_bytes(data, other, rng)
    try:
        inner, there = unwrap(data), unwrap(other)
    except Exception:  # it was damaged before; libraries each raise their own kinds
        return mutate_bytes(data, other, rng)
    return wrap((mutate_text if is_text and rng.random() < 0.8 else mutate_bytes)(inner, there, rng))


def _gunzip(data: bytes) -> bytes:
    return gzip.decompress(data)


def _bgzip(data: bytes) -> bytes:
    from genoweave.io.vcf.bgzf import END_BLOCK, compress

    return compress(data, 1) + END_BLOCK


def _unzstd(data: bytes) -> bytes:
    from numcodecs import Zstd

    return bytes(Zstd().decode(data))


def _zstd(data: bytes) -> bytes:
    from numcodecs import Zstd

    return bytes(Zstd(1).encode(data))


def resealed(chunk: bytes) -> bytes:
    """Return a chunk of packed genotypes with a checksum that fits, so that what is behind it is tried."""
    from genoweave.io import codec

    if len(chunk) < codec._HEADER.itemsize:
        return chunk
    head = np.frombuffer(chunk[: codec._HEADER.itemsize], np.uint8).copy()
    body = np.frombuffer(chunk[codec._HEADER.itemsize :], np.uint8)
    head[:4] = np.frombuffer(b"GWPC", np.uint8)
    head.view(codec._HEADER)["checksum"] = codec._checksum(head, body)
    return head.tobytes() + body.tobytes()


def zipped(files: Files, rng: random.Random, other: bytes) -> bytes:
    """Return files as an archive, at times a damaged one or one with odd names."""
    packed = io.BytesIO()
    methods = (
        zipfile.ZIP_STORED,
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
        zipfile.ZIP_BZIP2,
        zipfile.ZIP_LZMA,
    )
    with zipfile.ZipFile(packed, "w", rng.choice(methods)) as archive:
        for name, data in files.items():
            if rng.random() < 0.003:
                name = rng.choice(
                    ("../" + name, "/" + name, name.upper(), "a\\" + name, name + "/", "./" + name)
                )
            entry = zipfile.ZipInfo(name)  # of a date that is always the same
            archive.writestr(entry, data, archive.compression)
    out = packed.getvalue()
    return mutate_bytes(out, other, rng) if rng.random() < 0.4 else out


def seeds_of_compression(text: bytes) -> dict[str, bytes]:
    """Return one text plain and compressed, by ending."""
    with contextlib.suppress(ImportError):
        return {
            "": text,
            ".gz": gzip.compress(text, mtime=0),
            ".zst": _zstd(text),
            ".bz2": bz2.compress(text),
        }
    return {"": text}
