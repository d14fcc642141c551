"""PLINK 1 .bed, variant-major, decoded two bits at a time from the published description of the format.

00 homozygous for the first allele of the .bim (A1), 10 heterozygous, 11 homozygous for the second (A2),
01 missing; the first sample is in the two lowest bits of a byte, and each variant starts a new byte.
"""

COPIES_OF_A1 = {0b00: 2, 0b10: 1, 0b11: 0, 0b01: -1}
BITS = {copies: bits for bits, copies in COPIES_OF_A1.items()}
MAGIC = bytes([0x6C, 0x1B, 0x01])


def decode(data: bytes, n_variants: int, n_samples: int) -> list[list[int]]:
    """Copies of A1, one list per variant."""
    if data[:3] != MAGIC:
        raise ValueError("no .bed header")
    width = (n_samples + 3) // 4
    body = data[3:]
    if len(body) != n_variants * width:
        raise ValueError("wrong length")
    return [
        [COPIES_OF_A1[(body[v * width + s // 4] >> (2 * (s % 4))) & 0b11] for s in range(n_samples)]
        for v in range(n_variants)
    ]


def encode(copies_of_a1: list[list[int]]) -> bytes:
    """The bytes of the .bed file of these copies of A1; spare bits are zero."""
    out = bytearray(MAGIC)
    for row in copies_of_a1:
        for start in range(0, len(row), 4):
            byte = 0
            for place, copies in enumerate(row[start : start + 4]):
                byte |= BITS[copies] << (2 * place)
            out.append(byte)
    return bytes(out)
