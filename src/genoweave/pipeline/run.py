"""Run the stages: skip what is done, redo what changed, stop where something is wrong."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from genoweave import cluster
from genoweave.config import RunConfig, build, load, to_toml, with_paths
from genoweave.errors import StoreError
from genoweave.execution import Executor, checkpoint_to, machine_memory, memory_bytes, report_to, use
from genoweave.io.files import disk_errors, remove, size, write_atomic
from genoweave.pipeline.context import (
    KEY_FILE,
    Context,
    FolderCheckpoints,
    sources,
)
from genoweave.pipeline.given import keep_given
from genoweave.pipeline.keys import key_check, load_key, save_key
from genoweave.pipeline.manifest import (
    Identity,
    difference,
    measured,
    read_manifest,
    write_manifest,
)
from genoweave.pipeline.plan import check_memory
from genoweave.pipeline.progress import Announcer, Listener, LogListener, StatusFile, bars
from genoweave.pipeline.stages import Stage, enabled_stages

log = logging.getLogger(__name__)

_MARK = "config.toml"
# Where the input lies is of no matter; what it is, its fingerprints tell.
_PLACES = ("path", "ancestry", "bim", "fam", "sample_file")
# What may be there before config.toml is: a key that was put there, and what a killed start leaves.
_OWN = {"private", ".DS_Store", "config.toml.partial"}


def run(
    config: str | Path | dict[str, Any] | RunConfig,
    out: str | Path | None = None,
    *,
    cohort: xr.Dataset | None = None,
    quiet: bool = False,
    allow_row_level: bool = False,
) -> Path:
    """Run the whole pipeline; what is done and still holds is skipped.

    Parameters
    ----------
    config
        A TOML file, a nested dictionary, or a `RunConfig`.
    out
        The run folder; beside the TOML file, named after it, by default.
    cohort
        A dataset to read instead of [input] path: that of sgkit, VCF Zarr or `genoweave.open`, with
        ``sample_ancestry`` (samples,) unless [input] ancestry names a table. It is kept in the run folder.
    quiet
        Draw no progress bars.
    allow_row_level
        Let the report draw single participants.

    Returns
    -------
    pathlib.Path
        The run folder: ``release/``, ``report/index.html`` and all stores.

    Raises
    ------
    ConfigError, DataError, StoreError, MemoryBudgetError, StageError
        What is wrong, where, and what to do. Finished work is kept.
    """
    settings = resolve(config)
    folder = Path(out) if out is not None else default_folder(config)
    if cohort is not None:
        prepare(folder.resolve(), settings)
        settings = keep_given(cohort, folder.resolve(), settings)
    check_memory(settings)
    context = prepare(folder.resolve(), settings)
    stages = enabled_stages(context)
    names = [stage.name for stage in stages]
    with _log_to(folder / "log.txt"), bars(names, quiet=quiet) as bar:
        listeners: list[Listener] = [LogListener(), StatusFile(folder / "status.json", names)]
        announcer = Announcer(listeners + ([bar] if bar is not None else []))
        with _executor(settings) as executor, use(executor), report_to(announcer.step):
            redone = [_run_stage(context, stage, announcer) for stage in stages]
        if settings.evaluation.enabled and (any(redone) or not (folder / "report/index.html").exists()):
            from genoweave.report import write_report  # matplotlib is slow to import

            write_report(folder, allow_row_level=allow_row_level)
    return folder


def resolve(config: str | Path | dict[str, Any] | RunConfig) -> RunConfig:
    """Make a `RunConfig` of whatever describes one."""
    if isinstance(config, (RunConfig, dict)):
        made = build(config) if isinstance(config, dict) else config
        return with_paths(made, Path.cwd())
    return load(config)


def default_folder(config: Any) -> Path:
    """Return the run folder beside a TOML file, or ``genoweave-run`` here."""
    if isinstance(config, (str, Path)):
        return Path(config).with_suffix(".run")
    return Path("genoweave-run")


def prepare(folder: Path, config: RunConfig) -> Context:
    """Make the run folder, or take over an earlier run's.

    Raises
    ------
    StoreError
        If the folder holds something else, or cannot be written.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = {entry.name for entry in folder.iterdir()} - _OWN
    if others and _MARK not in others:
        raise StoreError(
            f"{folder} holds other things ({len(others)} entries) and no earlier run; choose an empty or "
            "new folder with --out"
        )
    if others and not (folder / _MARK).read_text().startswith("# genoweave run"):
        raise StoreError(f"{folder}/{_MARK} is not a run's; choose an empty or new folder with --out")
    write_atomic(folder / _MARK, "# genoweave run\n" + to_toml(config, comments=False))
    with disk_errors(folder):
        (folder / "private").mkdir(mode=0o700, exist_ok=True)
        (folder / "private").chmod(0o700)
        (folder / "manifest").mkdir(exist_ok=True)
        for leftover in folder.rglob("*.deleting"):
            shutil.rmtree(leftover, ignore_errors=True)
    return Context(folder, config)


@contextmanager
def _executor(config: RunConfig) -> Iterator[Executor]:
    limit = config.cluster.memory_limit
    with cluster.executor(
        workers=config.cluster.workers,
        scheduler=config.cluster.scheduler,
        memory_limit=memory_bytes(limit) if limit else machine_memory(),
    ) as executor:
        yield executor


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Also write genoweave's log to the run's file, for the time of the run."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("genoweave")
    level = logger.level
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


def identity(context: Context, stage: Stage) -> Identity:
    """Return what the stage's result depends on, as things stand now."""
    parameters = {
        f"[{section}] {key}": value
        for section in stage.sections
        for key, value in getattr(context.config, section).model_dump(mode="json").items()
        if section != "input" or key not in _PLACES
    }
    if stage.name != "release":
        # chunks change a store's files, but nothing that is released
        parameters |= {f"[storage] {k}": v for k, v in context.config.storage.model_dump().items()}
    inputs = sources(context.config.input) if stage.name == "import" else _inputs(context, stage)
    check = key_check(context.key) if stage.uses_key else ""
    return Identity(stage.name, parameters, inputs, check)


def _inputs(context: Context, stage: Stage) -> dict[str, str]:
    """Digests of what the stage reads, from the manifests of the stages that wrote it."""
    digests: dict[str, str] = {}
    for earlier in enabled_stages(context):
        if earlier.name == stage.name:
            break
        manifest = read_manifest(context.path(f"manifest/{earlier.name}.json"))
        for name in earlier.writes:
            if name in stage.reads and manifest is not None:
                digests[name] = manifest["outputs"][name]["digest"]
    return digests


def state_of(context: Context, stage: Stage, wanted: Identity) -> str:
    """Return ``"done"``, or in words why the stage must be run."""
    found = read_manifest(context.path(f"manifest/{stage.name}.json"))
    if found is None:
        return "not done yet"
    if found["token"] != wanted.token:
        return difference(found, wanted)
    for name in stage.writes:
        path = context.path(name)
        if not path.exists() or size(path) != found["outputs"][name]["bytes"]:
            return f"{name} is missing or was changed"
    return "done"


def _run_stage(context: Context, stage: Stage, announcer: Announcer) -> bool:
    """Run one stage unless it is done; return whether it was run."""
    wanted = identity(context, stage)
    state = state_of(context, stage, wanted)
    if state == "done":
        remove(context.path(f".work/{stage.name}"))  # a run killed right after the manifest left it
        announcer.stage(stage.name, "kept", "nothing that it depends on has changed")
        return False
    announcer.stage(stage.name, "running", "" if state == "not done yet" else f"because {state}")
    checkpoints = FolderCheckpoints(context.path(f".work/{stage.name}"), wanted.token)
    manifest = context.path(f"manifest/{stage.name}.json")
    remove(manifest)
    try:
        with measured() as usage, checkpoint_to(checkpoints):
            counts = stage.run(replace(context, token=wanted.token))
    except BaseException:
        announcer.stage(stage.name, "failed")
        raise
    outputs = {name: context.path(name) for name in stage.writes}
    write_manifest(manifest, wanted, outputs, counts, usage)
    checkpoints.clear()
    announcer.stage(stage.name, "done", f"{usage.wall_seconds:.1f} s")
    return True


def status(folder: str | Path) -> dict[str, Any]:
    """Return the state of a run: each stage's, and the step that runs.

    Raises
    ------
    StoreError
        If the folder is not a run's.
    """
    path = Path(folder) / "status.json"
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        raise StoreError(
            f"{folder} is not a run folder (no status.json); give the folder that genoweave run wrote"
        ) from None


def use_key(folder: Path, key_file: Path) -> None:
    """Take another run's noise key for a new one, so that both give the same bytes.

    Raises
    ------
    StoreError
        If there is no key file, or the run has a key of its own.
    ConfigError
        If the file does not hold a key.
    """
    if not key_file.is_file():
        raise StoreError(f"there is no noise key {key_file}")
    root = load_key(key_file)
    target = folder / KEY_FILE
    if target.exists() and key_check(load_key(target)) != key_check(root):
        raise StoreError(
            f"{folder} has a noise key of its own, which is the only copy; choose a new folder with "
            "--out, or move "
            f"{KEY_FILE} away"
        )
    save_key(target, root)
