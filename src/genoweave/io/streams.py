"""Several genotype files written in one pass over a cohort: each variant is read once, whatever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.execution import run_in_order
from genoweave.genotypes import Calls, Packed, Source, packed_calls, source_of
from genoweave.io.files import AppendingFile, make_folder, write_atomic
from genoweave.kernels.packed import unpack_calls
from genoweave.schema import validate

Flags = NDArray[np.bool_]

# Calls that an encoder gets at a time, 2 bytes each where it wants them as int8. BGZF blocks end where a
# batch ends, so that another number here makes other bytes.
BATCH_CALLS = 16 * 2**20
# Batches that a task reads together where the source decodes more variants at a time than a batch has.
_MOST_TOGETHER = 4


@dataclass(frozen=True)
class Names:
    """What identifies some variants, one entry each, as the dataset has it."""

    contig: NDArray[np.integer[Any]]
    position: NDArray[np.integer[Any]]
    identifier: NDArray[Any]
    allele: NDArray[Any]

    @classmethod
    def of(cls, ds: xr.Dataset) -> Names:
        """Return the names of all variants; ``.`` where there are no ids."""
        n = ds.sizes["variants"]
        identifier = ds["variant_id"].values if "variant_id" in ds else np.full(n, ".", object)
        contig, position = ds["variant_contig"].values, ds["variant_position"].values
        return cls(contig, position, identifier, ds["variant_allele"].values)

    def part(self, a: int, b: int) -> Names:
        """Return those of variants a..b."""
        return Names(self.contig[a:b], self.position[a:b], self.identifier[a:b], self.allele[a:b])


@dataclass(frozen=True)
class Block:
    """Variants v0..v1 of a cohort, all samples, in the forms that encoders ask for.

    `stored` is what was read: codes, uint8 (variants, bytes), or int8 calls (variants, samples, 2). Each
    form is made once, when it is asked for.
    """

    v0: int
    n_samples: int
    stored: NDArray[Any]
    phase: Phase | None = None
    names: Names | None = None

    def __len__(self) -> int:
        return len(self.stored)

    @cached_property
    def packed(self) -> Packed:
        """The codes, not to be written to; see `Source.read_packed`."""
        return self.stored if self.stored.ndim == 2 else packed_calls(self.stored, self.v0)

    @cached_property
    def calls(self) -> Calls:
        """The calls, not to be written to; see `Source.read`."""
        return self.stored if self.stored.ndim == 3 else unpack_calls(self.stored, self.n_samples)

    @cached_property
    def phased(self) -> Flags | None:
        """Which calls are phased, bool (variants, samples), or None where nothing is said of it."""
        return None if self.phase is None else self.phase.read(self.v0, self.v0 + len(self))

    def part(self, a: int, b: int) -> Block:
        """Return rows a..b as a block of its own."""
        names = None if self.names is None else self.names.part(a, b)
        return Block(self.v0 + a, self.n_samples, self.stored[a:b], self.phase, names)


Encode = Callable[[Block], bytes]


def _no_head() -> bytes:
    return b""


@dataclass(frozen=True)
class Stream:
    """A file that is made of a head, the bytes of one batch of variants after another, and a tail.

    Attributes
    ----------
    path
        The file; it appears when all streams are complete.
    encode
        Makes the bytes of a `Block`: a top-level function, or a `functools.partial` of one.
    head
        Makes the first bytes; called when the file is begun, not when it is continued.
    tail
        The last bytes.
    finish
        Called with the complete file under its partial name: makes an index, and returns what gives the index
        its name just before the file appears.
    beside
        Small files that belong to it, with their text; written just before the file appears.
    reads_calls
        Whether it needs more than the packed form: half-missing calls, the order of alleles.
    reads_names
        Whether it needs ``Block.names``.
    """

    path: Path
    encode: Encode
    head: Callable[[], bytes] = _no_head
    tail: bytes = b""
    finish: Callable[[Path], Callable[[], None]] | None = None
    beside: Mapping[Path, str] = field(default_factory=dict)
    reads_calls: bool = False
    reads_names: bool = False


def write_streams(ds: xr.Dataset, streams: Sequence[Stream], token: str = "", label: str = "write") -> None:
    """Write several files in one pass over the genotypes.

    Parameters
    ----------
    ds
        The cohort.
    streams
        The files; their formats have checked that the dataset can stand in them.
    token
        Identifies the work. A killed write with the same token is continued, each file where it was;
        without one, never.
    label
        Name of the work, for the progress.

    Raises
    ------
    StoreError
        If the disk is full or a folder cannot be written.
    DataError
        If an encoder finds what its format cannot hold; nothing has appeared then.

    Notes
    -----
    Memory: of each task up to 64 Mi calls as they are stored, 16 Mi calls as int8 with their phase, and the
    bytes made of them. The bytes do not depend on the workers or the source's chunks.
    """
    source = source_of(ds)
    rows = batch_rows(source)
    together = min(_MOST_TOGETHER, max(1, source.row_block // rows))
    batches = list(ranges(source.shape[0], rows * together))
    for folder in {stream.path.parent for stream in streams}:
        make_folder(folder)
    with ExitStack() as stack:
        work = f"{token}-{rows * together}" if token else ""
        files = [stack.enter_context(AppendingFile(stream.path, work)) for stream in streams]
        for stream, file in zip(streams, files, strict=True):
            if file.batches == 0:
                file.append(stream.head())
        names = Names.of(ds) if any(stream.reads_names for stream in streams) else None
        reads_calls = any(stream.reads_calls for stream in streams)
        done = [min(file.batches - 1, len(batches)) for file in files]
        first = min(done)
        for pieces in run_in_order(
            _encoded,
            _items(batches, names, done),
            shared=(_Work(source, phase_of(ds), [stream.encode for stream in streams], rows, reads_calls),),
            label=label,
            done=first,
            total=len(batches),
        ):
            for k, data in pieces:
                files[k].append(data)
        _complete(streams, files, len(batches))


def _items(
    batches: list[tuple[int, int]], names: Names | None, done: list[int]
) -> Iterator[tuple[int, int, Names | None, list[int]]]:
    """Yield (first variant, last + 1, names, which files lack it) of each batch that one of them lacks."""
    for i in range(min(done), len(batches)):
        a, b = batches[i]
        lacking = [k for k, count in enumerate(done) if count <= i]
        yield a, b, None if names is None else names.part(a, b), lacking


def _complete(streams: Sequence[Stream], files: list[AppendingFile], n_batches: int) -> None:
    """Write tails and indices of all files, and then give all of them their names."""
    publish = []
    for stream, file in zip(streams, files, strict=True):
        if stream.tail and file.batches == n_batches + 1:
            file.append(stream.tail)
        publish.append(None if stream.finish is None else stream.finish(file.partial))
    for stream, file, publish_index in zip(streams, files, publish, strict=True):
        for path, text in stream.beside.items():
            write_atomic(path, text)
        if publish_index is not None:
            publish_index()
        file.commit()


class Phase:
    """Reads ``call_genotype_phased``; picklable. No bare dask array, which a cluster would compute."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def read(self, v0: int, v1: int, s0: int = 0, s1: int | None = None) -> Flags:
        """Return a block, bool (v1-v0, s1-s0), computed in this thread."""
        block = self._array[v0:v1, s0:s1]
        if hasattr(block, "compute"):
            block = block.compute(scheduler="synchronous")
        return np.ascontiguousarray(block, np.bool_)


def phase_of(ds: xr.Dataset) -> Phase | None:
    """Return the phase of a cohort, or None where nothing is said of it."""
    if "call_genotype_phased" not in ds:
        return None
    validate(ds, "call_genotype_phased")
    return Phase(ds["call_genotype_phased"].data)


class _Work:
    """What the tasks have in common. One object: in a bare tuple Dask takes a function for a task."""

    def __init__(
        self, source: Source, phase: Phase | None, encoders: list[Encode], rows: int, reads_calls: bool
    ) -> None:
        self.source, self.phase, self.encoders = source, phase, encoders
        self.rows, self.reads_calls = rows, reads_calls


def _encoded(
    work: _Work, v0: int, v1: int, names: Names | None, lacking: list[int]
) -> list[tuple[int, bytes]]:
    """Task: read variants v0..v1 once, and return (number of the file, its bytes) of those that lack them."""
    whole = read_block(work.source, work.phase, v0, v1, reads_calls=work.reads_calls, names=names)
    pieces: dict[int, list[bytes]] = {k: [] for k in lacking}
    for a, b in ranges(v1 - v0, work.rows):
        part = whole.part(a, b)
        for k in lacking:
            pieces[k].append(work.encoders[k](part))
    return [(k, b"".join(parts)) for k, parts in pieces.items()]


def read_block(
    source: Source, phase: Phase | None, v0: int, v1: int, *, reads_calls: bool, names: Names | None = None
) -> Block:
    """Read variants v0..v1 of all samples; as calls where they are wanted and say more than codes."""
    n = source.shape[1]
    if reads_calls and not source.is_unphased:
        stored: NDArray[Any] = np.ascontiguousarray(source.read(v0, v1, 0, n))
    else:
        stored = source.read_packed(v0, v1, 0, n)
    return Block(v0, n, stored, phase, names)


def batch_rows(source: Source) -> int:
    """Return the variants of a batch."""
    return max(1, BATCH_CALLS // max(1, source.shape[1]))
