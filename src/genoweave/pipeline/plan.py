"""What a run will cost, before it starts: tasks, bytes read and written, peak memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from genoweave.chunks import TILE_VARIANTS, human_bytes
from genoweave.config import RunConfig, memory_bytes
from genoweave.errors import MemoryBudgetError
from genoweave.execution import WINDOW_PER_SLOT, available_cores
from genoweave.io.cohort import open_cohort
from genoweave.io.tables import read_ancestry
from genoweave.methods.kinship import TILE_SAMPLES
from genoweave.pipeline.context import Context

# Imports, compiled kernels and the allocator's slack of one process, measured.
BASE_BYTES = 450 * 2**20
_EXACT_SIDE = 4000
_CODEC_RATIO = 0.35  # bytes on disk per byte of calls, for dosages without linkage
_PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Shape:
    """Sizes that the cost depends on; the variants are an upper bound until quality control has run."""

    samples: int
    variants: int
    groups: int


@dataclass(frozen=True)
class StagePlan:
    """Cost of one stage."""

    stage: str
    tasks: int
    bytes_read: int
    bytes_written: int
    peak_bytes: int


def machine_memory() -> int:
    """Return the memory that this process may use: the machine's, or its control group's."""
    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):
        return total


def shape_of(config: RunConfig) -> Shape:
    """Open the inputs and return their sizes.

    Raises
    ------
    StoreError, DataError
        If they cannot be opened.
    """
    ds = open_cohort(config.input.path)
    labels = read_ancestry(Path(config.input.ancestry), config.input.ancestry_column)
    return Shape(ds.sizes["samples"], ds.sizes["variants"], len(set(labels.values())))


def slots(config: RunConfig) -> int:
    """Return how many tasks run at a time."""
    return config.cluster.workers or available_cores()


def plan(config: RunConfig, shape: Shape | None = None) -> list[StagePlan]:
    """Compute the cost of every enabled stage.

    Every figure is an upper bound: all variants and samples are taken to pass quality control.
    """
    shape = shape or shape_of(config)
    n, m, k = shape.samples, shape.variants, config.pca.n_components
    synthetic = shape.groups * config.synthesis.per_group
    family = shape.groups * config.relatives.founders_per_group * 7 // 8 if config.relatives.enabled else 0
    both = synthetic + family
    tiles = -(-m // TILE_VARIANTS)
    batches = -(-m // config.storage.variant_chunk)
    in_flight = slots(config) * WINDOW_PER_SLOT
    processes = config.cluster.workers + 1
    base = BASE_BYTES * processes

    def block(samples: int, copies: float) -> int:
        """Bytes of the tiles in flight, `copies` of the dosages each."""
        return int(in_flight * (TILE_VARIANTS * samples * copies + _PIECE_BYTES))

    def stored(samples: int) -> int:
        return int(2 * m * samples * _CODEC_RATIO)

    side = min(n, m)
    gram = 8 * side * side * (in_flight + 3) if side <= _EXACT_SIDE else 8 * n * 2 * k * (in_flight + 3)
    passes = 3 if side <= _EXACT_SIDE else config.pca.n_passes + 3
    kept = min(k, 25)
    planes = 3 * both * m // 8
    pairs = -(-both // TILE_SAMPLES)
    tile_pair = in_flight * (6 * TILE_SAMPLES * m // 8 + 64 * 2**20)
    rows = [
        StagePlan("import", batches, 2 * m * n, stored(n), base + block(n, 4)),
        StagePlan("qc", 3 * tiles + batches, 3 * stored(n), stored(n), base + block(n, 4) + 24 * m * shape.groups),
        StagePlan("pca", passes * tiles, passes * stored(n), 8 * k * (n + m), base + block(n, 18) + gram),
        StagePlan("ancestry", 1, 8 * k * n, 100 * n, base),
        StagePlan("synthesis", 2 * tiles * shape.groups + batches, 4 * stored(n), stored(synthetic),
                  base + block(n + config.synthesis.per_group, 12) + block(synthetic, 3)),
        StagePlan("phenotype", 2 * tiles, 2 * stored(synthetic), 40 * (m + synthetic), base + block(synthetic, 11)),
        StagePlan("watermark", 1, synthetic, config.watermark.n * synthetic, base + 8 * 50 * synthetic * config.watermark.n // 10),
        StagePlan("relatives", batches, stored(synthetic), stored(family), base + block(both, 4)),
        StagePlan("kinship", pairs * (pairs + 1) // 2, planes * max(1, pairs) // 2, planes, base + tile_pair + planes),
        StagePlan("validate", 3 * tiles, stored(n) + 2 * stored(synthetic), 60 * m * shape.groups,
                  base + block(synthetic, 18) + 8 * kept * both),
        StagePlan("release", -(-both * m // 2**24) + 2 * batches, 3 * stored(both), 2 * both * m + stored(synthetic),
                  base + in_flight * 9 * 2**24 + block(synthetic, 4)),
    ]  # fmt: skip
    return [row for row in rows if _enabled(config, row.stage)]


def _enabled(config: RunConfig, stage: str) -> bool:
    section = getattr(config, {"validate": "evaluation"}.get(stage, stage), None)
    return bool(getattr(section, "enabled", True))


def memory_limit(config: RunConfig) -> int:
    """Return the limit that is set, or the machine's memory."""
    text = config.cluster.memory_limit
    return memory_bytes(text) if text else machine_memory()


def check_memory(context: Context) -> list[StagePlan]:
    """Refuse a run whose plan is over the memory limit.

    Raises
    ------
    MemoryBudgetError
        Naming the stage, what it needs and what to change.
    """
    stages = plan(context.config)
    if context.config.cluster.scheduler is None:
        refuse_over(stages, memory_limit(context.config))
    return stages


def refuse_over(stages: list[StagePlan], limit: int) -> None:
    """Raise for the stage with the largest peak, if it is over `limit`."""
    worst = max(stages, key=lambda stage: stage.peak_bytes)
    if worst.peak_bytes > limit:
        raise MemoryBudgetError(
            f"the stage {worst.stage} needs up to {human_bytes(worst.peak_bytes)} of memory and may use {human_bytes(limit)}; "
            "raise --memory-limit, lower [synthesis] per_group or [pca] n_components, or use a larger machine"
        )
