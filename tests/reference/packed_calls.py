"""A chunk of packed calls, read and written call by call from its published description (docs/storage.md)."""

import struct
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numcodecs import Zstd

HEADER = struct.Struct("<4sBBHIIIIQ")
FRAME_ROWS = 64
PLAIN, FRAMED = 4, 5  # kinds of rows beside 0 to 3, the sparse ones
CALL = (  # of code 0 to 3, in form 0 and form 1
    {0: (1, 1), 1: (-1, -1), 2: (0, 1), 3: (0, 0)},
    {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)},
)
FILL = 1, 0  # the code behind the last sample, and of all that is not stored

Codes = Sequence[Sequence[int]]


def decode(data: bytes) -> list[list[list[int]]]:
    """The alleles of each call; refuses what the description does not allow."""
    magic, version, form, ploidy, m, n, exceptions, stored, total = HEADER.unpack_from(data)
    assert (magic, version) == (b"GWPC", 1)
    body = data[HEADER.size :]
    assert checksum(data) == total
    if form == 2:
        assert (exceptions, stored) == (0, 0)
        alleles = iter(struct.unpack(f"<{m * n * ploidy}b", Zstd().decode(body)))
        return [[[next(alleles) for _ in range(ploidy)] for _ in range(n)] for _ in range(m)]
    assert ploidy == 2
    assert stored <= width(n)
    counts, rows, places, exact = parts(body, m, stored, exceptions)
    rows = [[*row, *[FILL[form]] * 4 * (width(n) - stored)] for row in rows]
    assert {code for row in rows for code in row[n:]} <= {FILL[form]}
    if counts:
        assert (form, exceptions) == (0, 0)
        assert from_planes(Zstd().decode(counts), 3 * m + n) == counted(rows, n)
    calls = [[list(CALL[form][code]) for code in row[:n]] for row in rows]
    assert places == sorted(set(places))
    for place, call in zip(places, exact, strict=True):
        coded = calls[place // n][place % n]
        assert coded == stands_for(call, form) != list(call)
        calls[place // n][place % n] = list(call)
    return calls


def parts(body: bytes, m: int, stored: int, exceptions: int) -> tuple[bytes, list, list, list]:
    """The frame of counts, the stored codes of the rows, and the places and calls of the exceptions."""
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        assert at <= len(body)
        return body[at - size : at]

    (size,) = struct.unpack("<I", take(4))
    counts = take(size)
    places, exact = [], []
    if exceptions:
        (size,) = struct.unpack("<I", take(4))
        places, exact = places_and_calls(Zstd().decode(take(size)), exceptions)
    kinds = take(m)
    assert max(kinds, default=0) <= FRAMED
    sparse = [kind for kind in kinds if kind < PLAIN]
    lengths = struct.unpack(f"<{len(sparse)}H", take(2 * len(sparse)))
    n_framed = kinds.count(FRAMED)
    n_frames = (n_framed + FRAME_ROWS - 1) // FRAME_ROWS
    sizes = struct.unpack(f"<{n_frames}I", take(4 * n_frames))
    plain = iter([four_a_byte(take(stored)) for _ in range(kinds.count(PLAIN))])
    listed = iter([filled(take(size), kind, stored) for size, kind in zip(lengths, sparse, strict=True)])
    framed = []
    for i, size in enumerate(sizes):
        frame = Zstd().decode(take(size))
        assert len(frame) == min(FRAME_ROWS, n_framed - i * FRAME_ROWS) * stored
        framed += [four_a_byte(frame[a : a + stored]) for a in range(0, len(frame), stored)]
    assert at == len(body)
    rest = iter(framed)
    rows = [next({PLAIN: plain, FRAMED: rest}.get(kind, listed)) for kind in kinds]
    return counts, rows, places, exact


def four_a_byte(row: bytes) -> list[int]:
    """The codes of a row that is not sparse."""
    return [byte >> shift & 3 for byte in row for shift in (0, 2, 4, 6)]


def filled(data: bytes, kind: int, stored: int) -> list[int]:
    """The codes of a sparse row."""
    codes, place, number, length = [kind] * 4 * stored, 0, 0, 0
    for byte in data:
        number |= (byte & 127) << 7 * length
        length += 1
        assert length <= 5
        if byte < 128:
            place += number >> 2
            assert number & 3 != kind
            codes[place] = number & 3
            place, number, length = place + 1, 0, 0
    assert length == 0
    assert len(codes) == 4 * stored
    return codes


def places_and_calls(content: bytes, count: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Each exception's place, by its distance from the one before, and its alleles."""
    assert len(content) == 6 * count
    places = list(accumulate(from_planes(content[: 4 * count], count)))
    return places, list(struct.iter_unpack("<bb", content[4 * count :]))


def from_planes(content: bytes, count: int) -> list[int]:
    """Numbers whose lowest bytes stand first, then the second ones, the third ones, the highest ones."""
    assert len(content) == 4 * count
    return [sum(content[k * count + i] << 8 * k for k in range(4)) for i in range(count)]


def planes(numbers: Sequence[int]) -> bytes:
    return bytes(number >> 8 * k & 255 for k in range(4) for number in numbers)


def counted(codes: Codes, n: int) -> list[int]:
    """The calls 0/0, 0/1 and 1/1 of each row of form 0, and the rows in which each sample has none."""
    calls = [row[:n].count(code) for row in codes for code in (3, 2, 0)]
    return calls + [sum(row[s] == 1 for row in codes) for s in range(n)]


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


def stands_for(call: Sequence[int], form: int) -> list[int]:
    """What the code at an exception's place says."""
    if form == 1:
        return [int(allele == 1) for allele in call]
    return sorted(call) if set(call) <= {0, 1} else [-1, -1]


def width(n: int) -> int:
    """Bytes of a row of codes."""
    return (n + 3) // 4


def encode(calls: Sequence[Sequence[Sequence[int]]]) -> bytes:
    """The chunk that a writer makes of calls."""
    m, n, ploidy = len(calls), len(calls[0]), len(calls[0][0])
    if ploidy == 2:
        (codes, exceptions), form = min(
            ((coded(calls, form), form) for form in (0, 1)), key=lambda it: (len(it[0][1]), it[1])
        )
        if 24 * len(exceptions) <= 7 * m * n:
            stored = least_stored(codes, form)
            return chunk(form, n, codes, chosen_kinds(codes, stored), stored, exceptions)
    head = HEADER.pack(b"GWPC", 1, 2, ploidy, m, n, 0, 0, 0)
    return sealed(head + Zstd(1).encode(np.array(calls, np.int8).tobytes()))


def coded(calls: Sequence[Sequence[Sequence[int]]], form: int) -> tuple[list, list]:
    """The codes of calls, with those behind the last sample, and the exceptions (place, call)."""
    code_of = {call: code for code, call in CALL[form].items()}
    codes, exceptions, n = [], [], len(calls[0])
    for v, row in enumerate(calls):
        said = [tuple(call if tuple(call) in code_of else stands_for(call, form)) for call in row]
        exceptions += [(v * n + s, row[s]) for s in range(n) if tuple(row[s]) != said[s]]
        codes.append([code_of[call] for call in said] + [FILL[form]] * (-n % 4))
    return codes, exceptions


def least_stored(codes: Codes, form: int) -> int:
    """Bytes of a row up to the last one in which any row says anything."""
    return max((s // 4 + 1 for row in codes for s, code in enumerate(row) if code != FILL[form]), default=0)


def chosen_kinds(codes: Codes, stored: int) -> list[int]:
    """The kinds that a writer gives to rows."""
    kinds = []
    for row in (row[: 4 * stored] for row in codes):
        counts = np.bincount(np.array(row, int), minlength=4)
        kind, share = int(counts.argmax()), counts[counts > 0] / max(1, len(row))
        if len(numbers(row, kind)) > min(7 * stored // 16, 65535):
            kind = PLAIN if -(share * np.log2(share)).sum() > 0.9 else FRAMED
        kinds.append(kind)
    first = [four_in_a_byte(codes[v][: 4 * stored]) for v in range(len(codes)) if kinds[v] == PLAIN]
    first = b"".join(first[:FRAME_ROWS])
    if first and len(Zstd(1).encode(first)) < 0.6 * len(first):
        return [FRAMED if kind == PLAIN else kind for kind in kinds]
    return kinds


def four_in_a_byte(codes: Sequence[int]) -> bytes:
    """The bytes of a row that is not sparse."""
    return bytes(sum(codes[s + k] << 2 * k for k in range(4)) for s in range(0, len(codes), 4))


def numbers(codes: Sequence[int], kind: int) -> bytes:
    """The bytes of a sparse row."""
    out, following = bytearray(), 0
    for place, code in enumerate(codes):
        if code != kind:
            number = (place - following) << 2 | code
            while number > 127:
                out.append(number & 127 | 128)
                number >>= 7
            out.append(number)
            following = place + 1
    return bytes(out)


def chunk(
    form: int,
    n: int,
    codes: Codes,
    kinds: Sequence[int],
    stored: int,
    exceptions: Sequence[tuple[int, Sequence[int]]] = (),
    with_counts: bool = True,
) -> bytes:
    """The bytes of a chunk whose rows have these kinds."""
    rows = [row[: 4 * stored] for row in codes]
    sparse = [numbers(row, kind) for row, kind in zip(rows, kinds, strict=True) if kind < PLAIN]
    plain = [four_in_a_byte(row) for row, kind in zip(rows, kinds, strict=True) if kind == PLAIN]
    framed = [four_in_a_byte(row) for row, kind in zip(rows, kinds, strict=True) if kind == FRAMED]
    frames = [Zstd(1).encode(b"".join(framed[a : a + FRAME_ROWS])) for a in range(0, len(framed), FRAME_ROWS)]
    head = HEADER.pack(b"GWPC", 1, form, 2, len(rows), n, len(exceptions), stored, 0)
    sizes = struct.pack(f"<{len(sparse)}H{len(frames)}I", *map(len, sparse), *map(len, frames))
    counts = b""
    if with_counts and form == 0 and not exceptions:
        counts = Zstd(1).encode(planes(counted(codes, n)))
    body = [
        struct.pack("<I", len(counts)),
        counts,
        exceptions_frame(exceptions),
        bytes(kinds),
        sizes,
        *plain,
        *sparse,
        *frames,
    ]
    return sealed(head + b"".join(body))


def exceptions_frame(exceptions: Sequence[tuple[int, Sequence[int]]]) -> bytes:
    """The size of the exceptions' frame and the frame, or nothing."""
    if not exceptions:
        return b""
    places = [place for place, _ in exceptions]
    steps = [place - before for before, place in zip([0, *places], places, strict=False)]
    frame = Zstd(1).encode(planes(steps) + b"".join(struct.pack("<bb", *call) for _, call in exceptions))
    return struct.pack("<I", len(frame)) + frame
