"""Write what the documentation takes from the code: `python docs/generate.py`; `--check` only compares.

A page holds a generated part between ``<!-- generated: NAME -->`` and ``<!-- end -->``; everything else
of it is written by hand. `config.schema.json` is generated whole.
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from genoweave.cli.app import COMMANDS
from genoweave.config import PRESETS, SECTIONS, RunConfig
from genoweave.methods.biobank import BaldingNichols
from genoweave.methods.simulate import Simulation
from genoweave.pipeline.stages import STAGES
from genoweave.schema import VARIABLES

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "docs"))

import measurements  # noqa: E402  (it lies beside this file)
from measurements import table  # noqa: E402

PART = re.compile(r"(?<=<!-- generated: )(?P<name>[\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
KINDS = {"i": "integer", "f": "float64", "b": "bool", "O": "str"}


def variables() -> str:
    """Every variable of the data model."""
    rows = [
        [f"`{v.name}`", f"({', '.join(v.dims)})", KINDS[v.kind], v.missing, v.meaning]
        for v in VARIABLES.values()
    ]
    return table(["variable", "dimensions", "kind", "missing", "meaning"], rows)


def stages() -> str:
    """What each stage depends on and leaves behind."""
    rows = [
        [
            stage.name,
            ", ".join(f"`[{section}]`" for section in stage.sections),
            ", ".join(f"`{name}`" for name in stage.reads) or "the cohort and its labels",
            ", ".join(f"`{name}`" for name in stage.writes),
            "yes" if stage.uses_key else "",
            f"`[{stage.optional}]`" if stage.optional else "no",
        ]
        for stage in STAGES
    ]
    return table(["stage", "parameters", "reads", "writes", "noise key", "can be left out"], rows)


def commands() -> str:
    """Every command and what it does."""
    return table(
        ["command", "what it does"], [[f"`{name}`", text] for name, (_, _, text) in COMMANDS.items()]
    )


def configuration() -> str:
    """One table of keys for every section."""
    parts = [f"`seed` (integer, default 0): {RunConfig.model_fields['seed'].description}.\n"]
    for name in SECTIONS:
        section = type(RunConfig.model_fields[name].default)
        parts.append(f"### `[{name}]`\n\n{summary(section)}\n\n{keys(section)}")
        for key, cls in lists_of_tables(section):
            parts.append(f"#### `[[{name}.{key}]]`\n\n{summary(cls)}\n\n{keys(cls)}")
    return "\n".join(parts)


def lists_of_tables(section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the keys of a section whose values are lists of tables, and what a table holds."""
    for key, field in section.model_fields.items():
        for inner in get_args(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield key, inner


def simulation() -> str:
    """Fields of `Simulation`."""
    return keys(Simulation)


def biobank() -> str:
    """Fields of `BaldingNichols`."""
    return keys(BaldingNichols)


def presets() -> str:
    """What the presets other than the paper's change."""
    rows = [
        [f"`{name}`", f"`[{section}] {key}`", f"`{value}`", code(default_of(section, key))]
        for name, sections in PRESETS.items()
        for section, values in sections.items()
        for key, value in values.items()
    ]
    return table(["preset", "key", "value", "default (paper)"], rows)


def default_of(section: str, key: str) -> Any:
    """Return a key's default."""
    return getattr(RunConfig.model_fields[section].default, key)


def summary(cls: type[BaseModel]) -> str:
    """Return the first line of a class's docstring."""
    return (cls.__doc__ or "").strip().splitlines()[0]


def keys(cls: type[BaseModel]) -> str:
    """Lay out the fields of a parameter class."""
    rows = [
        [
            f"`{name}`",
            kind(field.annotation),
            limits(field.metadata),
            default(name, field),
            str(field.description).replace("|", "\\|"),
        ]
        for name, field in cls.model_fields.items()
    ]
    return table(["key", "type", "range", "default", "meaning"], rows)


def default(name: str, field: Any) -> str:
    """Write a default as it stands in TOML; a section's seed is the run's."""
    if field.is_required():
        return "must be given"
    return "`seed` of the run" if name == "seed" else code(field.default)


def code(value: Any) -> str:
    """Write a value as it stands in TOML."""
    value = False if value is None else value
    return f"`{json.dumps(value)}`"


def kind(annotation: Any) -> str:
    """Name a type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join("`false`" if part is type(None) else kind(part) for part in inner)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in inner)
    if origin is tuple:
        return f"list of {kind(inner[0])}"
    if origin is Annotated:
        return kind(inner[0])
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "table"
    return {int: "integer", float: "number", str: "text", bool: "`true` or `false`"}[annotation]


def limits(metadata: list[Any]) -> str:
    """Write the bounds of a field."""
    signs = (("ge", "≥ "), ("gt", "> "), ("le", "≤ "), ("lt", "< "), ("multiple_of", "multiple of "))
    found = [
        f"{sign}{getattr(bound, name):,g}"
        for name, sign in signs
        for bound in metadata
        if hasattr(bound, name)
    ]
    return ", ".join(found)


def json_schema() -> str:
    """Return the JSON Schema of a configuration; TOML has no null, and `false` stands for it."""
    schema = RunConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "genoweave run configuration"
    # a section's default repeats what its keys say, with nulls in it
    for section in SECTIONS:
        schema["properties"][section].pop("default", None)
    return json.dumps(without_null(schema), indent=1, ensure_ascii=False) + "\n"


def without_null(value: Any) -> Any:
    """Replace null by false, as a type and as a default."""
    if isinstance(value, list):
        return [without_null(item) for item in value]
    if value == {"type": "null"}:
        return {"const": False}
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items()}
    return False if value is None else value


PARTS: dict[str, Callable[[], str]] = {
    "variables": variables,
    "stages": stages,
    "commands": commands,
    "configuration": configuration,
    "presets": presets,
    "simulation": simulation,
    "biobank": biobank,
    "paper-scale": measurements.paper_scale,
    "against": measurements.against,
    "prediction": measurements.prediction,
}
PAGES = (
    "README.md",
    "docs/pipeline.md",
    "docs/data-model.md",
    "docs/config.md",
    "docs/api.md",
    "docs/scaling.md",
)
SCHEMA = "docs/config.schema.json"


def generated(text: str) -> str:
    """Return a page with its generated parts as the code has them now."""
    return PART.sub(lambda found: f"{found['name']}{found[2]}\n{PARTS[found['name']]()}\n", text)


def outputs() -> Iterator[tuple[Path, str]]:
    """Yield every file with generated parts, and what it should hold."""
    for name in PAGES:
        yield ROOT / name, generated((ROOT / name).read_text("utf-8"))
    yield ROOT / SCHEMA, json_schema()


def stale() -> list[str]:
    """Return the names of files that are not as the code has them."""
    return [
        str(path.relative_to(ROOT))
        for path, text in outputs()
        if not path.exists() or path.read_text("utf-8") != text
    ]


def main() -> int:
    """Write the files, or with --check name the stale ones and return 1."""
    if "--check" in sys.argv[1:]:
        names = stale()
        sys.stderr.write("".join(f"{name} is stale; run: python docs/generate.py\n" for name in names))
        return int(bool(names))
    for path, text in outputs():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
