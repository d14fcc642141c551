"""The simulation's random words and draws, one sample at a time, in Python's whole numbers."""

ALL = 2**64 - 1


def mix(counter: int, a: int, b: int) -> int:
    x = (counter * 0x9E3779B97F4A7C15 + a) & ALL
    x = (((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & ALL) ^ b
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & ALL
    return x ^ (x >> 31)


def uniform(stream: tuple[int, int], words: int, i: int) -> int:
    """The 32-bit number of sample i of a plane of so many words: its bits lie in 32 words, highest first."""
    bits = [mix(k * words + i // 64, *stream) >> i % 64 & 1 for k in range(32)]
    return int("".join(map(str, bits)), 2)


def child(parents: list[int], coins: list[int], planes: list[list[int]]) -> list[int]:
    """The two alleles that a child has of father and mother."""
    return [planes[coin][parent] for parent, coin in zip(parents, coins, strict=True)]


def code(alleles: tuple[int, int], missing: bool) -> int:
    return 1 if missing else {0: 3, 1: 2, 2: 0}[sum(alleles)]
