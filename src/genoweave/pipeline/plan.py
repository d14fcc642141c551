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

# Imports, compiled kernels and the allocator's slack of one process, measured.
BASE_BYTES = 600 * 2**20
_EXACT_SIDE = 4000
_CODEC_RATIO = 0.35  # bytes on disk per byte of calls, for dosages without linkage
_PIECE_BYTES = 64 * 2**20
_CSV_BLOCK = 2**24  # genotypes that a task formats


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
    costs = _Costs(config, shape or shape_of(config))
    rows = [
        costs.import_stage(),
        costs.qc(),
        costs.pca(),
        costs.stage("ancestry", 1, costs.scores, 100 * costs.n),
        costs.synthesis(),
        costs.stage("phenotype", 2 * costs.tiles, 2 * costs.disk(costs.made), 40 * (costs.m + costs.made),
                    costs.block(costs.made, 11)),
        costs.watermark(),
        costs.stage("relatives", costs.batches, costs.disk(costs.made), costs.disk(costs.family),
                    costs.block(costs.made + costs.family, 4)),
        costs.kinship(),
        costs.validate(),
        costs.release(),
    ]  # fmt: skip
    return [row for row in rows if _enabled(config, row.stage)]


class _Costs:
    """Tasks, bytes and memory of each stage, from the sizes of a run."""

    def __init__(self, config: RunConfig, shape: Shape) -> None:
        self.config = config
        self.n, self.m, self.groups = shape.samples, shape.variants, shape.groups
        self.made = self.groups * config.synthesis.per_group
        founders = config.relatives.founders_per_group if config.relatives.enabled else 0
        self.family = self.groups * founders * 7 // 8
        self.tiles = -(-self.m // TILE_VARIANTS)
        self.batches = -(-self.m // config.storage.variant_chunk)
        self.in_flight = slots(config) * WINDOW_PER_SLOT
        self.base = BASE_BYTES * (config.cluster.workers + 1)
        self.scores = 8 * config.pca.n_components * self.n

    def stage(self, name: str, tasks: int, read: int, written: int, memory: int = 0) -> StagePlan:
        return StagePlan(name, tasks, read, written, self.base + memory)

    def disk(self, samples: int) -> int:
        """Bytes of a store of so many samples."""
        return int(2 * self.m * samples * _CODEC_RATIO)

    def block(self, samples: int, copies: float) -> int:
        """Bytes of the tiles in flight, `copies` of the dosages each."""
        return int(self.in_flight * (TILE_VARIANTS * samples * copies + _PIECE_BYTES))

    def import_stage(self) -> StagePlan:
        return self.stage(
            "import", self.batches, 2 * self.m * self.n, self.disk(self.n), self.block(self.n, 4)
        )

    def qc(self) -> StagePlan:
        memory = self.block(self.n, 4) + 24 * self.m * self.groups
        return self.stage(
            "qc", 3 * self.tiles + self.batches, 3 * self.disk(self.n), self.disk(self.n), memory
        )

    def pca(self) -> StagePlan:
        k, side = self.config.pca.n_components, min(self.n, self.m)
        exact = side <= _EXACT_SIDE
        partial = 8 * side * side if exact else 8 * self.n * 2 * k
        passes = 3 if exact else self.config.pca.n_passes + 3
        memory = self.block(self.n, 18) + partial * (self.in_flight + 3)
        return self.stage(
            "pca", passes * self.tiles, passes * self.disk(self.n), 8 * k * (self.n + self.m), memory
        )

    def synthesis(self) -> StagePlan:
        # candidates of all groups and their projected copies, and the cohort they are drawn from
        memory = self.block(self.n + self.config.synthesis.per_group, 12) + self.block(self.made, 3)
        tasks = 2 * self.tiles + self.batches
        return self.stage("synthesis", tasks, 4 * self.disk(self.n), self.disk(self.made), memory)

    def watermark(self) -> StagePlan:
        marks = self.config.watermark.n * self.made
        return self.stage("watermark", 1, self.made, marks, 40 * marks)

    def kinship(self) -> StagePlan:
        people = self.made + self.family
        planes, blocks = 3 * people * self.m // 8, -(-people // TILE_SAMPLES)
        tile = 6 * TILE_SAMPLES * self.m // 8 + _PIECE_BYTES
        tasks = blocks * (blocks + 1) // 2
        return self.stage("kinship", tasks, planes * blocks // 2, planes, self.in_flight * tile + planes)

    def validate(self) -> StagePlan:
        memory = self.block(self.made, 18) + 200 * (self.made + self.n)
        read = self.disk(self.n) + 2 * self.disk(self.made)
        return self.stage("validate", 3 * self.tiles, read, 60 * self.m * self.groups, memory)

    def release(self) -> StagePlan:
        people = self.made + self.family
        tasks = -(-people * self.m // _CSV_BLOCK) + 2 * self.batches
        written = 2 * people * self.m + self.disk(self.made)
        memory = self.in_flight * 9 * _CSV_BLOCK + self.block(self.made, 4)
        return self.stage("release", tasks, 3 * self.disk(people), written, memory)


def _enabled(config: RunConfig, stage: str) -> bool:
    section = getattr(config, {"validate": "evaluation"}.get(stage, stage), None)
    return bool(getattr(section, "enabled", True))


def memory_limit(config: RunConfig) -> int:
    """Return the limit that is set, or the machine's memory."""
    text = config.cluster.memory_limit
    return memory_bytes(text) if text else machine_memory()


def check_memory(config: RunConfig) -> list[StagePlan]:
    """Refuse a run whose plan is over the memory limit.

    Raises
    ------
    MemoryBudgetError
        Naming the stage, what it needs and what to change.
    """
    stages = plan(config)
    if config.cluster.scheduler is None:
        refuse_over(stages, memory_limit(config))
    return stages


def refuse_over(stages: list[StagePlan], limit: int) -> None:
    """Raise for the stage with the largest peak, if it is over `limit`."""
    worst = max(stages, key=lambda stage: stage.peak_bytes)
    if worst.peak_bytes > limit:
        raise MemoryBudgetError(
            f"the stage {worst.stage} needs up to {human_bytes(worst.peak_bytes)} of memory and may use "
            f"{human_bytes(limit)}; "
            "raise --memory-limit, lower [synthesis] per_group or [pca] n_components, or use a larger machine"
        )
