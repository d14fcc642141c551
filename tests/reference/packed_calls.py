"""A chunk of packed calls, read call by call from its published description (docs/storage.md)."""

import struct

from numcodecs import Zstd

HEADER = struct.Struct("<4sBBHIIIIQ")
FRAME_ROWS = 64
CALL = (  # of code 0 to 3, in form 0 and form 1
    {0: (1, 1), 1: (-1, -1), 2: (0, 1), 3: (0, 0)},
    {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)},
)
PADDING = 1, 0


def decode(data: bytes) -> list[list[list[int]]]:
    """The alleles of each call; refuses what the description does not allow."""
    magic, version, form, ploidy, m, n, exceptions, plain_rows, total = HEADER.unpack_from(data)
    assert (magic, version) == (b"GWPC", 1)
    body = data[HEADER.size :]
    assert checksum(data) == total
    if form == 2:
        assert (exceptions, plain_rows) == (0, 0)
        alleles = iter(struct.unpack(f"<{m * n * ploidy}b", Zstd().decode(body)))
        return [[[next(alleles) for _ in range(ploidy)] for _ in range(n)] for _ in range(m)]
    assert ploidy == 2
    rows, places, exact = parts(body, m, (n + 3) // 4, exceptions, plain_rows)
    calls = []
    for row in rows:
        codes = [row[s // 4] >> 2 * (s % 4) & 3 for s in range(4 * len(row))]
        assert all(code == PADDING[form] for code in codes[n:])
        calls.append([list(CALL[form][code]) for code in codes[:n]])
    assert places == sorted(set(places))
    for place, call in zip(places, exact, strict=True):
        coded = calls[place // n][place % n]
        assert coded == stands_for(call, form) != list(call)
        calls[place // n][place % n] = list(call)
    return calls


def parts(body: bytes, m: int, width: int, exceptions: int, plain_rows: int) -> tuple[list, list, list]:
    """The rows of codes, and the places and calls of the exceptions."""
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        assert at <= len(body)
        return body[at - size : at]

    bits = "".join(f"{byte:08b}"[::-1] for byte in take((m + 7) // 8))
    is_plain = [bit == "1" for bit in bits[:m]]
    assert sum(is_plain) == plain_rows
    assert "1" not in bits[m:]
    n_rest = m - plain_rows
    n_frames = (n_rest + FRAME_ROWS - 1) // FRAME_ROWS
    sizes = struct.unpack(f"<{n_frames}I", take(4 * n_frames))
    places, exact = [], []
    if exceptions:
        (size,) = struct.unpack("<I", take(4))
        places, exact = places_and_calls(Zstd().decode(take(size)), exceptions)
    plain = iter([take(width) for _ in range(plain_rows)])
    rest = []
    for i, size in enumerate(sizes):
        frame = Zstd().decode(take(size))
        assert len(frame) == min(FRAME_ROWS, n_rest - i * FRAME_ROWS) * width
        rest += [frame[a : a + width] for a in range(0, len(frame), width)]
    assert at == len(body)
    compressed = iter(rest)
    return [next(plain if stands else compressed) for stands in is_plain], places, exact


def places_and_calls(content: bytes, count: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Each exception's place, by its distance from the one before, and its alleles."""
    assert len(content) == 6 * count
    places, place = [], 0
    for i in range(count):
        place += sum(content[k * count + i] << 8 * k for k in range(4))
        places.append(place)
    return places, list(struct.iter_unpack("<bb", content[4 * count :]))


def checksum(data: bytes) -> int:
    """The sums of words times 1, 3, 5, ..., modulo 2**64, of the header before it and of the body."""
    total = 0
    for part in (data[: HEADER.size - 8], data[HEADER.size :]):
        for i in range(0, len(part), 8):
            total += int.from_bytes(part[i : i + 8], "little") * (i // 4 + 1)
    return total % 2**64


def sealed(data: bytes) -> bytes:
    """The same chunk with the checksum that its bytes have now."""
    return data[: HEADER.size - 8] + checksum(data).to_bytes(8, "little") + data[HEADER.size :]


def stands_for(call: tuple[int, int], form: int) -> list[int]:
    """What the code at an exception's place says."""
    if form == 1:
        return [int(allele == 1) for allele in call]
    return sorted(call) if set(call) <= {0, 1} else [-1, -1]
