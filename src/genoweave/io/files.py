"""Small file habits that keep half-written results from looking whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genoweave.errors import StoreError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error while writing into one that says what to do."""
    try:
        yield
    except OSError as error:
        import errno

        reason = os.strerror(error.errno) if error.errno else str(error)
        advice = {
            errno.ENOSPC: "free space or choose another folder with --out, then run again: "
            "what is finished is kept",
            errno.EDQUOT: "your quota is used up; free space, then run again: what is finished is kept",
            errno.EACCES: "make the folder writable or choose another one with --out",
            errno.EEXIST: "a file of that name is in the way; choose another name with --out",
            errno.ENOTDIR: "a file is in the way of that folder; choose another name with --out",
            errno.EROFS: "choose a writable folder with --out",
        }.get(error.errno or 0, "check the path and run again")
        raise StoreError(f"cannot write {path}: {reason}; {advice}") from error


def write_atomic(path: Path, data: bytes | str, mode: int = 0o644) -> None:
    """Write a whole small file: under another name first, then renamed."""
    blob = data.encode() if isinstance(data, str) else data
    partial = path.with_name(path.name + ".partial")
    with disk_errors(path):
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, or say why that cannot be."""
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, value: Any, *, sort_keys: bool = True) -> None:
    """Write a JSON file, keys sorted unless their order tells something, atomically."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=sort_keys, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there; a folder is renamed first, so that no half looks whole."""
    doomed = path.with_name(path.name + ".deleting")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
    else:
        path.unlink(missing_ok=True)
    if doomed.exists():
        shutil.rmtree(doomed)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, that of its files' list as sha256sum prints it, sorted."""
    if not path.is_dir():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    lines = (
        f"{digest(file)}  {file.relative_to(path).as_posix()}\n"
        for file in sorted(p for p in path.rglob("*") if p.is_file())
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def size(path: Path) -> int:
    """Return the bytes of a file or of all files in a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


_SAMPLED = 1 << 20
_LONGEST_SHOWN = 60


def shown(text: str) -> str:
    """Quote what was found in a file for a message, its beginning where it is long."""
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def source_fingerprint(path: Path) -> str:
    """Tell an input file or folder from others without reading all of it.

    Size, time of change and the first, middle and last MiB; a folder counts every file so.
    """
    total = hashlib.sha256()
    if not path.exists():
        raise StoreError(f"there is no {path}; check the path")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        state = file.stat()
        total.update(f"{file.name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        if path.is_dir() and len(files) > 1000:
            continue
        with file.open("rb") as stream:
            for offset in {0, state.st_size // 2, max(0, state.st_size - _SAMPLED)}:
                stream.seek(offset)
                total.update(stream.read(_SAMPLED))
    return total.hexdigest()


class AppendingFile:
    """A large file written in batches that a killed run continues.

    Beside ``name.partial`` stands a journal of (batches, bytes) that were safely on disk; opening again
    with the same token cuts the file there and goes on. `commit` gives it its name.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.journal = path.with_name(path.name + ".journal")
        self.token = token
        self.batches, position = self._resume_point()
        with disk_errors(path):
            self._file = self.partial.open("r+b" if self.batches else "wb")
            self._file.truncate(position)
            self._file.seek(position)

    def _resume_point(self) -> tuple[int, int]:
        try:
            state = json.loads(self.journal.read_text())
        except (OSError, ValueError):
            return 0, 0
        if not self.token:
            return 0, 0
        whole = self.partial.exists() and self.partial.stat().st_size >= state["bytes"]
        return (state["batches"], state["bytes"]) if state["token"] == self.token and whole else (0, 0)

    def append(self, data: bytes) -> None:
        """Write one batch and note it in the journal."""
        with disk_errors(self.path):
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        self.batches += 1
        state = {"token": self.token, "batches": self.batches, "bytes": self._file.tell()}
        write_atomic(self.journal, json.dumps(state))

    def commit(self) -> None:
        """Give the finished file its name."""
        self._file.close()
        with disk_errors(self.path):
            os.replace(self.partial, self.path)
        self.journal.unlink(missing_ok=True)

    def __enter__(self) -> AppendingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; without `commit` the batches so far are kept under the partial name."""
        self._file.close()
