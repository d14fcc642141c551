"""Time the synthesis's flips against numpy's: `python benchmarks/flips.py`.

Both copy genotypes and pass each through SynGen6's channel at epsilon 6. genoweave: 2-bit codes, ChaCha20;
numpy: a uniform number for each int8 dosage (PCG64) and `np.where`. CPU time of one thread, median of rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.kernels.channel import flip, slot_blocks, tables_of
from genoweave.kernels.packed import pack_dosages, width
from genoweave.methods.synthesis import Mechanism, mechanism

VARIANTS, RECORDS = 2048, 10_000
BATCH = 256  # variants copied and flipped at a time: 640 KB of codes


def measure(variants: int = VARIANTS, records: int = RECORDS, rounds: int = 9) -> pd.DataFrame:
    """Return G genotypes per second of one core, a row for each tool."""
    rng = np.random.default_rng(1)
    dosage = rng.binomial(2, 0.3, (variants, records)).astype(np.int8)
    dosage[rng.random(dosage.shape) < 0.01] = -1
    channel = mechanism("syngen6", 6.0)
    ours = _genoweave(dosage, channel)
    ours()  # compile
    rates = {
        "genoweave": dosage.size / _cpu_seconds(ours, rounds),
        "numpy": dosage.size / _cpu_seconds(lambda: _numpy(dosage, channel, rng), max(1, rounds // 4)),
    }
    return pd.DataFrame(
        {"tool": list(rates), "g_genotypes_per_second": [rate / 1e9 for rate in rates.values()]}
    )


def _genoweave(dosage: NDArray[np.int8], channel: Mechanism) -> Callable[[], None]:
    packed = np.empty((len(dosage), width(dosage.shape[1])), np.uint8)
    pack_dosages(dosage, packed)
    out = np.empty_like(packed)
    key, rows = np.arange(8, dtype=np.uint32), np.arange(len(dosage))
    places = slot_blocks(np.arange(dosage.shape[1]), np.arange(dosage.shape[1]))
    tables = tables_of(channel.transition)

    def run() -> None:
        for start in range(0, len(packed), BATCH):
            part = out[start : start + BATCH]
            np.copyto(part, packed[start : start + BATCH])
            flip(part, rows[start : start + BATCH], key, 0, *places, tables)

    return run


def _numpy(dosage: NDArray[np.int8], channel: Mechanism, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return the channel's draw for each dosage; missing calls stay."""
    u = rng.random(dosage.shape)
    limits = np.cumsum(channel.transition, axis=1)
    drawn = (u >= limits[dosage, 0]).astype(np.int8) + (u >= limits[dosage, 1])
    return np.where(dosage < 0, dosage, drawn)


def _cpu_seconds(run: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toy", action="store_true", help="a moment's work, to see that it runs")
    size = {"variants": 64, "records": 500, "rounds": 2} if parser.parse_args().toy else {}
    print(measure(**size).to_string(index=False))
