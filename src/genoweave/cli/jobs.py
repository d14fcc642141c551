"""Commands about whole runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from genoweave import config as configuration
from genoweave.chunks import human_bytes
from genoweave.cli.options import Common, argument, arguments, option
from genoweave.config import RunConfig
from genoweave.errors import StoreError
from genoweave.io.files import write_atomic
from genoweave.pipeline import plan as planning
from genoweave.pipeline import run as runs

_CONFIG = argument("config_file", metavar="CONFIG.toml", type=click.Path(path_type=Path))
_OUT = option("--out", type=click.Path(path_type=Path), help="run folder; beside CONFIG.toml by default")
_ROWS = option("--allow-row-level", is_flag=True, help="let the report draw single participants")


def _settings(config_file: Path, common: Common) -> RunConfig:
    """Read the configuration and lay the flags over it."""
    settings = configuration.load(config_file)
    values = settings.model_dump()
    for key in ("workers", "scheduler", "memory_limit"):
        given = getattr(common, key)
        if given is not None:
            values["cluster"][key] = given
    if common.workers is not None:
        values["cluster"]["scheduler"] = None
    elif common.scheduler is not None:
        values["cluster"]["workers"] = 0
    if common.seed is not None:
        values["seed"] = common.seed
        for section in values.values():
            if isinstance(section, dict) and section.get("seed") == settings.seed:
                section["seed"] = common.seed
    return configuration.build(values, str(config_file))


def _announce(folder: Path, common: Common) -> None:
    common.say(f"report:  {folder / 'report' / 'index.html'}")
    common.say(f"release: {folder / 'release'}")


@arguments(
    _CONFIG,
    _OUT,
    _ROWS,
    option(
        "--noise-key",
        type=click.Path(path_type=Path),
        help="noise key of an earlier run, to repeat it bit by bit",
    ),
)
def run(
    config_file: Path,
    out: Path | None,
    allow_row_level: bool,
    noise_key: Path | None,
    common: Common,
) -> None:
    """Run the whole job of CONFIG.toml; what is done and still holds is skipped."""
    settings = _settings(config_file, common)
    folder = out or runs.default_folder(config_file)
    if noise_key is not None:
        runs.prepare(folder.resolve(), settings)
        runs.use_key(folder.resolve(), noise_key)
    runs.run(settings, folder, quiet=common.quiet, allow_row_level=allow_row_level)
    _announce(folder, common)


@arguments(_CONFIG, _OUT)
def plan(config_file: Path, out: Path | None, common: Common) -> None:
    """Print tasks, bytes and peak memory of every stage; exit 1 if the plan is over the memory limit."""
    settings = _settings(config_file, common)
    shape = planning.shape_of(settings)
    stages = planning.plan(settings, shape)
    common.say(f"{shape.samples} samples, {shape.variants} variants, {shape.groups} groups; upper bounds:")
    common.say(f"{'stage':<12}{'tasks':>10}{'read':>12}{'written':>12}{'peak memory':>14}")
    for row in stages:
        sizes = (human_bytes(x) for x in (row.bytes_read, row.bytes_written, row.peak_bytes))
        read, written, peak = sizes
        common.say(f"{row.stage:<12}{row.tasks:>10}{read:>12}{written:>12}{peak:>14}")
    limit = planning.memory_limit(settings)
    common.say(f"memory limit: {human_bytes(limit)}")
    planning.refuse_over(stages, limit)


@arguments(argument("folder", metavar="DIR", type=click.Path(path_type=Path)))
def status(folder: Path, common: Common) -> None:
    """Show how far the run in DIR (or of CONFIG.toml) is."""
    if folder.suffix == ".toml":
        folder = runs.default_folder(folder)
    state = runs.status(folder)
    for name, value in state["stages"].items():
        click.echo(f"{name:<12}{value}")
    step = state.get("step")
    if step:
        click.echo(f"now: {step['label']}, {step['done']} of {step['total']} tasks")
    click.echo(f"updated {time.time() - state['updated']:.0f} s ago")


@arguments(argument("folder", metavar="DIR", type=click.Path(path_type=Path)), _ROWS)
def report(folder: Path, allow_row_level: bool, common: Common) -> None:
    """Write the report of the run in DIR (or of CONFIG.toml) again."""
    if folder.suffix == ".toml":
        folder = runs.default_folder(folder)
    from genoweave.report import write_report

    common.say(f"report: {write_report(folder, allow_row_level=allow_row_level)}")


@arguments(argument("folder", metavar="DIR", type=click.Path(path_type=Path)))
def release(folder: Path, common: Common) -> None:
    """Write the release of the run in DIR, and whatever of the run is missing for it."""
    from genoweave.api import release as write_release

    common.say(f"release: {write_release(folder)}")


@arguments(
    argument("config_file", metavar="CONFIG.toml", type=click.Path(path_type=Path)),
    option("--preset", type=click.Choice(list(configuration.PRESETS)), default="paper", show_default=True,
           help="the paper's sizes, or small ones for a first try"),
    option("--cohort", help="path of the cohort"),
    option("--ancestry", help="path of the ancestry table"),
    option("--ancestry-column", help="the group's column, if it is not the second"),
)  # fmt: skip
def init(
    config_file: Path,
    preset: str,
    cohort: str | None,
    ancestry: str | None,
    ancestry_column: str | None,
    common: Common,
) -> None:
    """Write a configuration with every key, its meaning and its default."""
    if config_file.exists():
        raise StoreError(f"{config_file} exists; remove it or choose another name")
    values: dict[str, Any] = {name: dict(section) for name, section in configuration.PRESETS[preset].items()}
    given = {"path": cohort, "ancestry": ancestry, "ancestry_column": ancestry_column}
    values["input"] = {key: value for key, value in given.items() if value is not None}
    write_atomic(config_file, configuration.to_toml(configuration.build(values)))
    common.say(f"wrote {config_file}; set [input], then: genoweave run {config_file}")


@arguments(argument("folder", metavar="[DIR]", default="genoweave-demo", type=click.Path(path_type=Path)))
def demo(folder: Path, common: Common) -> None:
    """Simulate six populations and run the whole job on them, in DIR."""
    from genoweave.pipeline.demo import run_demo

    run_folder = run_demo(folder, seed=common.seed or 1, workers=common.workers or 0, quiet=common.quiet)
    _announce(run_folder, common)


@arguments()
def doctor(common: Common) -> None:
    """Print versions, cores, BLAS and memory, and name known bad combinations."""
    from genoweave.pipeline.doctor import diagnose

    lines, problems = diagnose()
    for line in lines:
        click.echo(line)
    if problems:
        raise StoreError("; ".join(problems))
    click.echo("no known problem")
