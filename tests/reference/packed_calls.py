"""A chunk of packed calls, read and written call by call from its published description (docs/storage.md)."""

import struct

HEADER = struct.Struct("<4sBBHIII12x")
CALL = (  # of code 0 to 3, in form 0 and form 1
    {0: (1, 1), 1: (-1, -1), 2: (0, 1), 3: (0, 0)},
    {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)},
)
PADDING = 1, 0


def decode(data: bytes) -> list[list[list[int]]]:
    """The alleles of each call; refuses what the description does not allow."""
    magic, version, form, ploidy, m, n, exceptions = HEADER.unpack_from(data)
    assert (magic, version) == (b"GWPC", 1)
    body = data[HEADER.size :]
    if form == 2:
        alleles = iter(struct.unpack(f"<{m * n * ploidy}b", body))
        assert exceptions == 0
        return [[[next(alleles) for _ in range(ploidy)] for _ in range(n)] for _ in range(m)]
    width = (n + 3) // 4
    size = m * width
    places = struct.unpack_from(f"<{exceptions}I", body, size)
    exact = list(struct.iter_unpack("<bb", body[size + 4 * exceptions :]))
    assert len(exact) == exceptions
    assert list(places) == sorted(set(places))
    assert ploidy == 2
    calls = []
    for v in range(m):
        codes = [body[v * width + s // 4] >> 2 * (s % 4) & 3 for s in range(4 * width)]
        assert all(code == PADDING[form] for code in codes[n:])
        calls.append([list(CALL[form][code]) for code in codes[:n]])
    for place, call in zip(places, exact, strict=True):
        coded = calls[place // n][place % n]
        assert coded == stands_for(call, form) != list(call)
        calls[place // n][place % n] = list(call)
    return calls


def stands_for(call: tuple[int, int], form: int) -> list[int]:
    """What the code at an exception's place says."""
    if form == 1:
        return [int(allele == 1) for allele in call]
    return sorted(call) if set(call) <= {0, 1} else [-1, -1]
