"""What a run will cost, before it starts: tasks, bytes read and written, peak memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genoweave.chunks import TILE_VARIANTS, human_bytes
from genoweave.config import RunConfig
from genoweave.errors import ConfigError, MemoryBudgetError
from genoweave.execution import WINDOW_PER_SLOT, available_cores, machine_memory, memory_bytes
from genoweave.io.cohort import open_cohort
from genoweave.io.tables import read_ancestry
from genoweave.methods.kinship import TILE_SAMPLES

# Imports, compiled kernels and the allocator's slack of one process, measured.
BASE_BYTES = 560 * 2**20
# More tasks than a scheduler starts in some minutes (500 a second) are not worth starting.
MOST_TASKS = 250_000
_PACKED_RATIO = 0.3  # bytes on disk per genotype of a packed store, at most
_BATCH_BYTES = 256 * 2**20  # codes that a task holds of one batch while a store is written
_BLOCK_BYTES = 2**24  # blocks that are read and counted, and their copies
_KING_BYTES = 75 * 2**20  # a task of `king`, whatever the cohort
_CSV_BLOCK = 2**24  # genotypes that a task formats
_EXPORT_BLOCK = 2**24  # genotypes that a task makes the bytes of other formats of
_PUBLIC_CHUNK = 1000  # variants of a released store's chunk
_EXACT_SAMPLES, _EXACT_VARIANTS = 4000, 8192
_STRIP = 1024  # rows of a Gram matrix that a task makes
# Tiles of variants that a task of `king` holds; of more it takes half the samples on each side.
_KING_TILES = 16
_ROUNDS = 4  # of drawing donors; more are rare
_COLUMNS_PER_PASS, _PAIRS_PER_PASS = 64, 256  # of effects of a trait
_WATERMARK_BATCH = 256 * 2**20 // 40  # genotypes of watermarks that are made together
_WATERMARK_FITS = 200  # small tasks, most of them searches for a strength of association
_LANCZOS_COLUMNS = 1600  # that a basis is taken to have when it has converged


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


def shape_of(config: RunConfig) -> Shape:
    """Open the inputs and return their sizes.

    Raises
    ------
    StoreError, DataError
        If they cannot be opened.
    """
    ds = open_cohort(config.input.path, config.input)
    labels = read_ancestry(Path(config.input.ancestry), config.input.ancestry_column)
    return Shape(ds.sizes["samples"], ds.sizes["variants"], len(set(labels.values())))


def slots(config: RunConfig) -> int:
    """Return how many tasks run at a time."""
    return config.cluster.workers or available_cores()


def plan(config: RunConfig, shape: Shape | None = None) -> list[StagePlan]:
    """Compute the cost of every enabled stage.

    Every figure is an upper bound: all variants and samples are taken to pass quality control.
    """
    config.require_runnable()
    costs = _Costs(config, shape or shape_of(config))
    rows = [
        costs.import_stage(),
        costs.qc(),
        costs.pca(),
        costs.ancestry(),
        costs.synthesis(),
        costs.phenotype(),
        costs.watermark(),
        costs.relatives(),
        costs.kinship(),
        costs.validate(),
        costs.release(),
    ]
    return [row for row in rows if _enabled(config, row.stage)]


class _Costs:
    """Tasks, bytes and memory of each stage, from the sizes of a run.

    Memory is what the running tasks hold, the results that wait for their turn (two for each slot), and what
    the main process keeps.
    """

    def __init__(self, config: RunConfig, shape: Shape) -> None:
        self.config = config
        self.n, self.m, self.groups = shape.samples, shape.variants, shape.groups
        self.made = self.groups * config.synthesis.per_group
        founders = config.relatives.founders_per_group if config.relatives.enabled else 0
        self.family = self.groups * founders * 7 // 8
        self.tiles = -(-self.m // TILE_VARIANTS)
        self.batches = -(-self.m // config.storage.variant_chunk)
        self.slots = slots(config)
        self.waiting = WINDOW_PER_SLOT * self.slots
        self.base = BASE_BYTES * (config.cluster.workers + 1)
        # tables of samples and variants: ids and labels as Python strings, and their copies
        self.base += 600 * self.n + 600 * self.m
        self.scores = 8 * config.pca.n_components * self.n

    def stage(self, name: str, tasks: int, read: int, written: int, memory: int = 0) -> StagePlan:
        return StagePlan(name, tasks, read, written, self.base + memory)

    def disk(self, samples: int) -> int:
        """Bytes of a packed store of so many samples."""
        return int(self.m * samples * _PACKED_RATIO) + 64 * (self.m + samples)

    def tile(self, samples: int) -> int:
        """Bytes of the codes of a tile of all samples."""
        return TILE_VARIANTS * (samples + 3) // 4

    def writing(self, samples: int, sources: int) -> int:
        """Bytes of the running tasks that write a store: codes of the source, of the result, compressed."""
        batch = self.config.storage.variant_chunk * (samples + 3) // 4
        return self.slots * (2 * min(batch, _BATCH_BYTES) + self.tile(sources) + _BLOCK_BYTES)

    def counting(self, samples: int) -> int:
        """Bytes of a pass that counts genotypes."""
        result = 8 * samples + 24 * TILE_VARIANTS * self.groups
        return self.slots * _BLOCK_BYTES + self.waiting * result + 48 * self.m * self.groups

    def import_stage(self) -> StagePlan:
        written, memory = self.disk(self.n), self.writing(self.n, self.n)
        return self.stage("import", self.batches, 2 * self.m * self.n, written, memory)

    def qc(self) -> StagePlan:
        king = self.slots * _KING_BYTES if self.config.qc.king_cutoff is not None else 0
        memory = max(self.counting(self.n), self.writing(self.n, self.n), king)
        tasks = 2 * self.tiles + self.tiles // 4 + 1 + self.batches
        if self.config.qc.king_cutoff is not None:
            tasks += king_tasks(self.n, self.m)
        return self.stage("qc", tasks, 3 * self.disk(self.n), self.disk(self.n), memory)

    def pca(self) -> StagePlan:
        k = self.config.pca.n_components
        tasks, passes, memory = self.components(self.n, k, self.config.pca.solver)
        return self.stage("pca", tasks, passes * self.disk(self.n), 8 * k * (self.n + self.m), memory)

    def components(self, n: int, k: int, solver: str = "auto") -> tuple[int, int, int]:
        """Return tasks, passes over the genotypes and bytes of k components of n samples."""
        side = min(n, self.m)
        exact, score_tasks = solver != "randomized", _product_tasks(n)
        tasks = 3 * self.tiles + score_tasks  # frequencies, linkage, the scratch copy; scores
        # a Gram matrix of samples, LAPACK's copy and a task's strip
        if exact and n <= min(self.m, _EXACT_SAMPLES):
            passes, matrix, task = 3, 20 * side**2, 8 * TILE_VARIANTS * n
            tasks += -(-n // _STRIP) + self.tiles
        # of variants, float32, and the basis; strips of integers
        elif exact and self.m <= _EXACT_VARIANTS:
            passes, matrix, task = self.tiles + 2, 4 * side**2 + 8 * side**2 // 2, 16 * TILE_VARIANTS * self.m
            tasks += -(-self.m // _STRIP)
        else:
            columns = min(side, max(_LANCZOS_COLUMNS, 8 * k))
            passes, matrix, task = columns // 32 + 1, 8 * side * columns, 8 * TILE_VARIANTS * 4096
            tasks += passes * (_product_tasks(self.m) + score_tasks)
        memory = matrix + 24 * k * n + 16 * k * self.m + self.slots * (task + self.tile(n) + _BLOCK_BYTES)
        return tasks, passes, memory

    def ancestry(self) -> StagePlan:
        return self.stage("ancestry", 1, self.scores, 100 * self.n, 400 * self.n)

    def synthesis(self) -> StagePlan:
        held = self.tile(self.n) + self.tile(self.made) + _BLOCK_BYTES
        judged = self.waiting * 8 * self.made * (self.config.synthesis.filter_components + 2)
        memory = max(self.slots * held + judged, self.writing(self.made, self.n)) + 500 * self.made
        real = (self.n // 2**15 + 1) * (self.tiles // 2 + 1)
        tasks = real + min(_ROUNDS, self.config.synthesis.max_rounds) * self.tiles + self.batches
        return self.stage("synthesis", tasks, 4 * self.disk(self.n), self.disk(self.made), memory)

    def phenotype(self) -> StagePlan:
        trait, terms = self.config.phenotype, 5
        groups = self.groups if trait.heritability_by_group or trait.effect_correlation < 1 else 1
        passes = 2 + -(-terms * groups // _COLUMNS_PER_PASS)
        if trait.epistasis:
            passes += -(-trait.n_pairs // _PAIRS_PER_PASS)
        tasks, memory = passes * self.tiles, self.counting(self.made) + self.slots * self.tile(self.made)
        memory += (self.waiting + terms) * 8 * terms * groups * self.made
        if trait.stratification or any(covariate.depends_on == "pcs" for covariate in trait.covariates):
            more, of_components, held = self.components(self.made, trait.stratification_components)
            tasks, passes, memory = tasks + more, passes + of_components, max(memory, held)
        written = 8 * (terms + 1) * groups * (self.m + self.made)
        return self.stage("phenotype", tasks, passes * self.disk(self.made), written, memory)

    def watermark(self) -> StagePlan:
        marks = self.config.watermark.n * self.made
        if self.config.watermark.kind == "paper":
            return self.stage("watermark", 1, self.made, marks, 40 * marks)
        # two passes for the frequencies and linkage of all variants, then fits of the watermarks
        batches = -(-marks // _WATERMARK_BATCH)
        memory = self.counting(self.made) + self.slots * 8 * TILE_VARIANTS * 5000 + 2 * marks
        memory += 40 * self.m * self.groups + 4 * _WATERMARK_BATCH
        tasks = 4 * self.tiles + _WATERMARK_FITS * batches
        return self.stage("watermark", tasks, 2 * self.disk(self.made), 2 * marks, memory)

    def relatives(self) -> StagePlan:
        memory = self.writing(self.family, self.made) + self.slots * self.tile(2 * self.family) * 4
        return self.stage(
            "relatives",
            self.batches,
            self.disk(self.made),
            self.disk(self.family),
            memory + 500 * self.family,
        )

    def kinship(self) -> StagePlan:
        people = self.made + self.family
        planes = people * self.m // 2
        blocks = -(-people // TILE_SAMPLES)
        memory = self.slots * _KING_BYTES + 200 * people
        tasks = king_tasks(people, self.m) + 8 * self.family // 50_000 + 1  # and listed pairs
        return self.stage("kinship", tasks, planes * blocks, planes, memory)

    def validate(self) -> StagePlan:
        memory = self.counting(max(self.made, self.n)) + 400 * (self.made + self.n)
        memory += 16 * 25 * (self.made + self.n) + self.slots * 8 * TILE_VARIANTS * 4096
        read = self.disk(self.n) + 2 * self.disk(self.made)
        written = 80 * self.m * self.groups
        tasks = 2 * self.tiles + _product_tasks(self.made)
        return self.stage("validate", tasks, read, written, memory + 300 * self.m * self.groups)

    def release(self) -> StagePlan:
        people = self.made + self.family
        lines, rows = max(1, _CSV_BLOCK // self.m), max(1, _EXPORT_BLOCK // max(1, self.made))
        formats = len(self.config.release.formats)
        tasks = -(-self.made // lines) - (-self.family // lines)
        tasks += -(-self.m // rows) - (-self.m // _PUBLIC_CHUNK) + (formats + 1) * self.tiles  # to check
        written = 2 * people * self.m + formats * self.disk(self.made)
        memory = (
            self.slots + self.waiting
        ) * 4 * _CSV_BLOCK + 2 * self.slots * 4 * TILE_VARIANTS * self.made // 2
        memory += self.slots * 4 * _EXPORT_BLOCK
        return self.stage("release", tasks, (3 + formats) * self.disk(people), written, memory)


def king_tasks(people: int, variants: int) -> int:
    """Return the tasks that write bit-planes and pass over all pairs."""
    tiles = -(-variants // TILE_VARIANTS)
    blocks = -(-people // (TILE_SAMPLES if tiles <= _KING_TILES else TILE_SAMPLES // 2))
    return tiles * -(-people // 2**15) + blocks * (blocks + 1) // 2


def _product_tasks(rows: int) -> int:
    """Return the tasks of a product of the genotypes with some columns, at most."""
    return 16 + rows // 4096


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
    ConfigError
        If a stage would be cut into more than 250,000 tasks.
    """
    stages = plan(config)
    refuse_too_many_tasks(stages)
    if config.cluster.scheduler is None:
        refuse_over(stages, memory_limit(config))
    return stages


def refuse_too_many_tasks(stages: list[StagePlan]) -> None:
    """Raise for the stage with the most tasks, if they are more than a scheduler can bear."""
    worst = max(stages, key=lambda stage: stage.tasks)
    if worst.tasks > MOST_TASKS:
        raise ConfigError(
            f"the stage {worst.stage} would be cut into {worst.tasks} tasks, more than {MOST_TASKS}; "
            "raise [storage] variant_chunk, or split the cohort by chromosome"
        )


def refuse_over(stages: list[StagePlan], limit: int) -> None:
    """Raise for the stage with the largest peak, if it is over `limit`."""
    worst = max(stages, key=lambda stage: stage.peak_bytes)
    if worst.peak_bytes > limit:
        raise MemoryBudgetError(
            f"the stage {worst.stage} needs up to {human_bytes(worst.peak_bytes)} of memory and may use "
            f"{human_bytes(limit)}; "
            "raise --memory-limit, lower [synthesis] per_group or [pca] n_components, or use a larger machine"
        )
