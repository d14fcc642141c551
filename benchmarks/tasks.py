"""Tasks that are functions of a library, as commands: `python benchmarks/tasks.py NAME ARGUMENT ...`.

Each prints a line of JSON with the CPU and wall seconds of the work itself and what it found. A peer's task
imports nothing of genoweave, so that it runs in an environment of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Facts = dict[str, Any]
_ROUNDS = 9


def timed(work: Callable[[], Any]) -> tuple[Any, Facts]:
    """Do the work and tell its CPU and wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def sgkit_import(prefix: str, out: str) -> Facts:
    """Read a fileset with sgkit and write it to Zarr, as its documentation does."""
    from sgkit.io.plink import read_plink

    _, facts = timed(lambda: read_plink(path=prefix).drop_vars("call_genotype_mask").to_zarr(out, mode="w"))
    return facts


def sgkit_qc(prefix: str) -> Facts:
    """Compute the statistics of quality control with sgkit: rates of calls, frequencies, exact HWE."""
    import sgkit
    from sgkit.io.plink import read_plink

    ds = read_plink(path=prefix)
    ds["variant_contig"] = ds["variant_contig"].compute()

    def work() -> Any:
        stats = sgkit.variant_stats(sgkit.sample_stats(ds))
        stats = sgkit.hardy_weinberg_test(stats, ploidy=2, alleles=2)
        names = ["sample_call_rate", "variant_call_rate", "variant_allele_frequency", "variant_hwe_p_value"]
        return stats[names].compute()

    stats, facts = timed(work)
    return facts | {"mean_call_rate": float(stats["variant_call_rate"].mean())}


def sklearn_pca(prefix: str, components: str, out: str) -> Facts:
    """Compute leading components with scikit-learn's randomised decomposition, in memory."""
    from sklearn.utils.extmath import randomized_svd

    g = _dosages(prefix)

    def work() -> Any:
        p = np.nanmean(g, axis=1, keepdims=True) / 2
        used = (p[:, 0] > 0) & (p[:, 0] < 1)
        x = np.nan_to_num((g[used] - 2 * p[used]) / np.sqrt(2 * p[used] * (1 - p[used]))).astype(np.float32)
        _, s, _ = randomized_svd(x.T, int(components), n_iter=7, random_state=0)
        return s.astype(np.float64) ** 2 / len(x)

    values, facts = timed(work)
    np.savetxt(out, values)
    return facts


def _dosages(prefix: str) -> Any:
    """Read a .bed by a table of bytes, float32 (variants, samples), NaN where missing."""
    n = len(Path(f"{prefix}.fam").read_text().splitlines())
    packed = np.fromfile(f"{prefix}.bed", np.uint8)[3:].reshape(-1, (n + 3) // 4)
    table = np.array([2, np.nan, 1, 0], np.float32)
    codes = np.arange(256)[:, None] >> np.arange(0, 8, 2) & 3
    return table[codes][packed].reshape(len(packed), -1)[:, :n]


def flips(samples: str, variants: str) -> Facts:
    """Pass packed genotypes through SynGen6's channel at epsilon 6 with genoweave's kernel, on a thread.

    256 variants at a time and in place, as the synthesis does with the genotypes that it has just copied. The
    median of several rounds, since one takes 10 ms.
    """
    from genoweave.kernels.channel import flip, slot_blocks, tables_of
    from genoweave.methods.synthesis.channel import mechanism

    n, m = int(samples), int(variants)
    packed = np.random.default_rng(1).integers(0, 256, (m, (n + 3) // 4), dtype=np.uint8)
    tables = tables_of(mechanism("syngen6", 6.0).transition)
    key, rows = np.arange(8, dtype=np.uint32), np.arange(m)
    blocks = slot_blocks(np.arange(n), np.arange(n))
    flip(packed[:8], rows[:8], key, 0, *blocks, tables)
    rounds, changed = [], 0
    for attempt in range(1, _ROUNDS + 1):
        facts = {"cpu": 0.0, "wall": 0.0}
        changed = 0
        for start in range(0, m, 256):
            part = packed[start : start + 256]
            out = part.copy()
            _, spent = timed(
                lambda: flip(out, rows[start : start + 256], key, attempt, *blocks, tables)  # noqa: B023
            )
            facts = {name: facts[name] + spent[name] for name in facts}
            differs = part ^ out
            changed += sum(int(((differs >> k & 3) > 0).sum()) for k in (0, 2, 4, 6))
        rounds.append(facts)
    facts = sorted(rounds, key=lambda one: one["cpu"])[_ROUNDS // 2]
    return facts | {"changed": changed / (n * m)}


def numpy_flips(samples: str, variants: str) -> Facts:
    """Do the same with numpy: a uniform number for each genotype, and where."""
    n, m = int(samples), int(variants)
    rng = np.random.default_rng(1)
    dosage = rng.integers(-1, 3, (m, n), dtype=np.int8)
    q = 1 / (np.exp(6.0) + 2)

    def work() -> Any:
        u = rng.random(dosage.shape)
        step = np.where(u < q, -1, np.where(u < 2 * q, 1, 0)).astype(np.int8)
        flipped = np.where(dosage == 1, dosage + step, np.where(u < 2 * q, np.int8(1), dosage))
        return np.where(dosage < 0, dosage, flipped)

    result, facts = timed(work)
    return facts | {"changed": float((result != dosage).mean())}


def hwe(cohort: str, table: str) -> Facts:
    """Count genotypes of all variants by group, then test each group and all samples, on a thread."""
    import pandas as pd

    from genoweave.genotypes import blocks, source_of
    from genoweave.io.cohort import open_cohort
    from genoweave.kernels.hwe import hwe_exact_all
    from genoweave.kernels.packed import count_variants_by_group, group_masks

    source = source_of(open_cohort(cohort))
    names = pd.read_csv(table, sep="\t").iloc[:, 1]
    number = names.astype("category").cat.codes.to_numpy(np.int64)
    groups = int(number.max()) + 1
    masks = group_masks(number.astype(np.int64), groups)
    counts = np.zeros((source.shape[0], groups, 3), np.int64)

    def count() -> None:
        for v0, v1, s0, s1 in blocks(source, 0, source.shape[0]):
            if (s0, s1) != (0, source.shape[1]):
                raise ValueError("a variant-major .bed is needed")
            count_variants_by_group(source.read_packed(v0, v1, s0, s1), masks, counts[v0:v1])

    def test() -> None:
        for k in range(groups):
            hwe_exact_all(np.ascontiguousarray(counts[:, k]), False, p)
        hwe_exact_all(counts.sum(axis=1), False, p)

    p = np.empty(source.shape[0])
    test()
    count()
    counts[:] = 0
    _, counting = timed(count)
    _, testing = timed(test)
    return {"count_cpu": counting["cpu"], "test_cpu": testing["cpu"], **testing}


TASKS: dict[str, Callable[..., Facts]] = {
    "sgkit-import": sgkit_import,
    "sgkit-qc": sgkit_qc,
    "sklearn-pca": sklearn_pca,
    "flips": flips,
    "numpy-flips": numpy_flips,
    "hwe": hwe,
}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])) + "\n")
