"""Options that commands share, and flags made from a stage's parameter class."""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click

from genoweave.execution import machine_memory, memory_bytes, report_to, use
from genoweave.parameters import Parameters

P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True)
class Common:
    """What every command takes."""

    workers: int | None
    scheduler: str | None
    memory_limit: str | None
    seed: int | None
    config: Path | None
    verbose: int
    quiet: bool
    flags: dict[str, Any]

    def parameters(self, cls: type[P], section: str) -> P:
        """Return a stage's parameters: defaults, then the configuration file's, then the flags."""
        values: dict[str, Any] = {}
        if self.config is not None:
            from genoweave import config  # it imports every stage

            stage = getattr(config.load(self.config), section)
            values = {k: v for k, v in stage.model_dump().items() if k in cls.model_fields}
        if self.seed is not None and "seed" in cls.model_fields:
            values["seed"] = self.seed
        return cls(**(values | {k: v for k, v in self.flags.items() if k in cls.model_fields}))

    @contextmanager
    def work(self, name: str) -> Iterator[None]:
        """Run what is inside on the chosen workers, with a progress bar."""
        from genoweave import cluster
        from genoweave.pipeline.progress import bars

        limit = memory_bytes(self.memory_limit) if self.memory_limit else machine_memory()
        chosen = cluster.executor(workers=self.workers or 0, scheduler=self.scheduler, memory_limit=limit)
        with bars([name], quiet=self.quiet) as bar, chosen as executor, use(executor):
            if bar is not None:
                bar.stage(name, "running")
            with report_to(bar.step if bar is not None else None):
                yield

    def say(self, text: str) -> None:
        """Print a result, unless quiet."""
        if not self.quiet:
            click.echo(text)


_COMMON: list[click.Parameter] = [
    click.Option(["--workers"], type=click.IntRange(0), help="local worker processes; 0 uses threads"),
    click.Option(["--scheduler"], metavar="ADDRESS", help="a Dask scheduler, tcp://host:port"),
    click.Option(["--memory-limit"], metavar="SIZE", help="memory that the work may use, as 4GiB"),
    click.Option(["--seed"], type=click.IntRange(0), help="public seed"),
    click.Option(
        ["--config"], type=click.Path(path_type=Path), help="TOML file whose sections give defaults"
    ),
    click.Option(["-v", "--verbose"], count=True, help="more messages; -vv for all"),
    click.Option(["--quiet"], is_flag=True, help="errors only"),
]


def command(name: str, function: Callable[..., Any]) -> click.Command:
    """Make a click command of a function decorated with `arguments` (and `flags`)."""
    own: list[click.Parameter] = list(getattr(function, "__arguments__", []))
    classes: tuple[type[Parameters], ...] = getattr(function, "__flags__", ())
    made = [option for cls in classes for option in _flags_of(cls)]
    flag_names = {option.name for option in made}

    def callback(**values: Any) -> Any:
        common_values = {key: values.pop(key) for key in list(values) if key in _COMMON_NAMES}
        flags = {k: v for k in flag_names if k is not None and (v := values.pop(k, None)) is not None}
        common = Common(flags=flags, **common_values)
        if common.workers and common.scheduler:
            raise click.UsageError("give --workers or --scheduler, not both")
        _configure_logging(common)
        return function(common=common, **values)

    return click.Command(
        name, callback=callback, params=[*own, *made, *_COMMON], help=function.__doc__,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip


_COMMON_NAMES = {option.name for option in _COMMON}


def arguments(*parameters: click.Parameter, flags: tuple[type[Parameters], ...] = ()) -> Any:
    """Say a command's own arguments, and the parameter classes whose fields are flags."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__arguments__ = parameters  # type: ignore[attr-defined]
        function.__flags__ = flags  # type: ignore[attr-defined]
        return function

    return mark


def argument(name: str, **settings: Any) -> click.Parameter:
    """A positional argument."""
    return click.Argument([name], **settings)


def option(*names: str, **settings: Any) -> click.Parameter:
    """An option of one command."""
    return click.Option(list(names), **settings)


def _flags_of(cls: type[Parameters]) -> list[click.Parameter]:
    """One option per field, named as in the configuration; absent means the class's default."""
    options: list[click.Parameter] = []
    for name, field in cls.model_fields.items():
        if name in ("seed", "enabled"):
            continue
        dashed = name.replace("_", "-")
        text = f"{field.description}  [default: {_shown(field.default)}]"
        kind = _click_type(field.annotation)
        if kind is bool:
            options.append(click.Option([f"--{dashed}/--no-{dashed}"], default=None, help=text))
        else:
            short = ["-k"] if name == "n_components" else []
            options.append(click.Option([*short, f"--{dashed}"], type=kind, help=text))
    return options


def _shown(default: Any) -> str:
    if default is None:
        return "off"
    return "none" if default in ((), {}) else str(default)


def _click_type(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is Literal:
        return click.Choice([str(a) for a in get_args(annotation)])
    return annotation if annotation in (int, float, bool, str) else str


def _configure_logging(common: Common) -> None:
    """Send genoweave's log to the terminal: warnings; with -v stages and counts; with -vv all."""
    level = (
        logging.ERROR
        if common.quiet
        else [logging.WARNING, logging.INFO, logging.DEBUG][min(common.verbose, 2)]
    )
    handler = logging.StreamHandler()
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("genoweave")
    logger.handlers = [h for h in logger.handlers if not isinstance(h, logging.StreamHandler)]
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.INFO))
