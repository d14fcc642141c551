"""What a stage sees of the run: its configuration, its folder, its secrets, its checkpoints."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import xarray as xr

from genoweave.config import Input, RunConfig
from genoweave.io import store
from genoweave.io.cohort import cohort_files, open_cohort
from genoweave.io.files import disk_errors, remove, source_fingerprint
from genoweave.pipeline.keys import load_key
from genoweave.rng import Root

KEY_FILE = "private/noise.key"


@dataclass(frozen=True)
class Context:
    """A run's folder and configuration."""

    folder: Path
    config: RunConfig
    token: str = ""

    def path(self, name: str) -> Path:
        """Return the place of an artifact."""
        return self.folder / name

    @cached_property
    def key(self) -> Root:
        """The private root of the run; made on first use, read afterwards."""
        return load_key(self.folder / KEY_FILE)

    @property
    def chunks(self) -> tuple[int, int]:
        """Chunk shape of the run's stores."""
        return self.config.storage.variant_chunk, self.config.storage.sample_chunk

    def open(self, name: str) -> xr.Dataset:
        """Open one of the run's stores lazily; a source that was not converted is read where it is."""
        ds = store.open_store(self.path(name))
        if "call_genotype" in ds or "original_fingerprint" not in ds.attrs:
            return ds
        original = open_cohort(self.config.input.path, self.config.input)
        return ds.assign(call_genotype=original["call_genotype"])

    def components(self, n: int) -> xr.Dataset:
        """Load the first `n` principal components: all 200 of 184,712 samples are 300 MB."""
        return self.open("pca.zarr").isel(components=slice(0, n)).load()

    def write(self, ds: xr.Dataset, name: str) -> None:
        """Write a store of the run."""
        store.write(ds, self.path(name), self.chunks, self.token)

    def write_table(self, table: pd.DataFrame, name: str) -> None:
        """Write a Parquet table of the run, atomically."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with disk_errors(path):
            table.to_parquet(partial, index=False)
            os.replace(partial, path)

    def read_table(self, name: str) -> pd.DataFrame:
        """Read a Parquet table of the run."""
        return pd.read_parquet(self.path(name))


class FolderCheckpoints:
    """States of folds, kept in a folder of the stage and thrown away when it is done."""

    def __init__(self, folder: Path, token: str, interval: float = 5.0) -> None:
        self._root = folder
        self._folder = folder / token
        self._interval = interval
        self._due = time.monotonic() + interval
        for old in folder.glob("*") if folder.exists() else ():
            if old.name != token:
                remove(old)

    def folder(self) -> Path:
        """Return the folder for scratch files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def _file(self, label: str) -> Path:
        name = hashlib.blake2b(label.encode(), digest_size=8).hexdigest()
        return self.folder() / f"{name}.npz"

    def load(self, label: str) -> tuple[int, dict[str, Any]] | None:
        """Return (items done, state) if it was saved and can be read."""
        try:
            with self._file(label).open("rb") as file, np.load(file) as saved:
                state: dict[str, Any] = {n[2:]: saved[n] for n in saved.files if n.startswith("a.")}
                state |= {n[2:]: [saved[n]] for n in saved.files if n.startswith("l.")}
                state |= {n[2:]: [] for n in saved.files if n.startswith("e.")}
                return int(saved["done"]), state
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def save(self, label: str, done: int, state: dict[str, Any], *, final: bool) -> None:
        """Save every few seconds and at the end; saving never takes more than a tenth of the time."""
        begun = time.monotonic()
        if begun < self._due and not final:
            return
        arrays: dict[str, Any] = {"done": np.int64(done)}
        for name, value in state.items():
            if not isinstance(value, list):
                arrays[f"a.{name}"] = value
            elif value:
                arrays[f"l.{name}"] = np.concatenate(value)
            else:
                arrays[f"e.{name}"] = np.int64(0)
        path = self._file(label)
        partial = path.with_name(path.name + ".partial")
        with disk_errors(path):
            with partial.open("wb") as file:
                np.savez(file, **arrays)
            os.replace(partial, path)
        ended = time.monotonic()
        self._due = ended + max(self._interval, 10 * (ended - begun))

    def clear(self) -> None:
        """Throw everything away: the stage is done."""
        remove(self._root) if self._root.exists() else None


def sources(given: Input) -> dict[str, str]:
    """Return fingerprints of the input files, by what they are."""
    files = cohort_files(given.path, given)
    prints = {f"cohort ({file.suffix or 'folder'})": _fingerprint(file) for file in files}
    return (prints or {"cohort": given.path}) | {"ancestry table": _fingerprint(Path(given.ancestry))}


def _fingerprint(path: Path) -> str:
    return source_fingerprint(path) if path.exists() else "absent"
