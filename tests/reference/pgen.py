"""PLINK 2's .pgen of mode 0x10, written call by call from the published specification, biallelic.

Calls are 0 homozygous reference, 1 heterozygous, 2 homozygous alternate, 3 missing. A record is a dictionary:
``codes``;
``kind``, the way in which they are stored; ``phase``, for each heterozygous call None (unknown), 0 (0|1) or 1
(1|0);
``dosages``, by sample in 1 / 16384, and ``dosage_kind`` 32, 64 or 96.
"""

import struct
from itertools import pairwise


def varint(value):
    """A number in base 128, low digits first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def bits(values, width=1):
    """Numbers of `width` bits, the first in the lowest."""
    number = sum(value << width * k for k, value in enumerate(values))
    return number.to_bytes((len(values) * width + 7) // 8, "little")


def difflist(ids, n, codes=None):
    """Ascending samples, with or without a code of each."""
    if not ids:
        return varint(0)
    size = 1 if n <= 2**8 else 2 if n <= 2**16 else 3 if n <= 2**24 else 4
    groups = [ids[i : i + 64] for i in range(0, len(ids), 64)]
    deltas = [b"".join(varint(b - a) for a, b in pairwise(g)) for g in groups]
    out = varint(len(ids)) + b"".join(g[0].to_bytes(size, "little") for g in groups)
    out += bytes(len(d) - 63 for d in deltas[:-1])
    return out + (bits(codes, 2) if codes is not None else b"") + b"".join(deltas)


def main_track(codes, kind, base):
    """The codes of a record, stored in one of the eight ways."""
    n = len(codes)
    if kind == 0:
        return bits(codes, 2)
    if kind == 1:
        low, high = sorted(sorted(range(4), key=codes.count)[2:])
        marker = {(0, 1): 1, (0, 2): 2, (0, 3): 3, (1, 2): 5, (1, 3): 6, (2, 3): 9}[low, high]
        others = [s for s in range(n) if codes[s] not in (low, high)]
        flags = bits([int(code == high) for code in codes])
        return bytes([marker]) + flags + difflist(others, n, [codes[s] for s in others])
    if kind in (2, 3):
        # the differences are inverted too
        inverted = [{0: 2, 2: 0}.get(c, c) for c in codes] if kind == 3 else codes
        others = [s for s in range(n) if inverted[s] != base[s]]
        return difflist(others, n, [inverted[s] for s in others])
    others = [s for s in range(n) if codes[s] != kind & 3]
    return difflist(others, n, [codes[s] for s in others])


def phase_track(phase):
    """One entry a heterozygous call."""
    known = [p for p in phase if p is not None]
    if len(known) == len(phase):
        return bits([0, *known])
    return bits([1, *(int(p is not None) for p in phase)]) + bits(known)


def dosage_tracks(dosages, kind, n):
    """Dosages by sample; of all samples if `kind` is 64."""
    if kind == 64:
        return b"".join(struct.pack("<H", dosages.get(s, 65535)) for s in range(n))
    ids = sorted(dosages)
    existence = difflist(ids, n) if kind == 32 else bits([int(s in dosages) for s in range(n)])
    return existence + b"".join(struct.pack("<H", dosages[s]) for s in ids)


def encode(records, n, *, length_bytes=2, nibbles=False, flags=None):
    """The bytes of a file; `nibbles`: types of 4 bits; `flags`: of provisional reference alleles, one a
    variant."""
    types, bodies, base = [], [], None
    for record in records:
        codes, kind = record["codes"], record.get("kind", 0)
        body = main_track(codes, kind, base)
        if kind not in (2, 3):
            base = codes
        if "phase" in record:
            body += phase_track(record["phase"])
            kind |= 16
        if "dosages" in record:
            body += dosage_tracks(record["dosages"], record["dosage_kind"], n)
            kind |= record["dosage_kind"]
        types.append(kind)
        bodies.append(body)
    listed = bits(types, 4 if nibbles else 8)
    listed += b"".join(len(b).to_bytes(length_bytes, "little") for b in bodies)
    if flags is not None:
        listed += bits(flags)
    form = (length_bytes - 1 + (0 if nibbles else 4)) | (3 if flags is not None else 1) << 6
    head = b"\x6c\x1b\x10" + struct.pack("<IIB", len(records), n, form)
    return head + struct.pack("<Q", len(head) + 8 + len(listed)) + listed + b"".join(bodies)
