"""The generated parts of the documentation are as the code has them, and errors.md quotes real messages."""

import ast
import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

from genoweave.config import PRESETS, RunConfig, build, to_toml

ROOT = Path(__file__).parents[2]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated__pages_are_fresh() -> None:
    stale = load_generator().stale()
    assert not stale, f"{', '.join(stale)}: run python docs/generate.py"


def test_generated__every_part_has_a_page() -> None:
    generator = load_generator()
    text = "".join((ROOT / name).read_text("utf-8") for name in generator.PAGES)
    assert set(re.findall(r"<!-- generated: ([\w-]+) -->", text)) == set(generator.PARTS)


@pytest.mark.parametrize("preset", PRESETS)
def test_schema__accepts_what_init_writes(preset: str) -> None:
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text("utf-8"))
    jsonschema.validate(tomllib.loads(to_toml(build(PRESETS[preset]))), schema)


@pytest.mark.parametrize("values", [{"qcc": {}}, {"qc": {"mfa": 0.1}}, {"qc": {"maf": 0.7}}, {"seed": -1}])
def test_schema__refuses_what_the_code_refuses(values: dict[str, object]) -> None:
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text("utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema)


def test_schema__has_every_section() -> None:
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text("utf-8"))
    assert set(schema["properties"]) == set(RunConfig.model_fields)


def texts(node: ast.AST) -> str:
    """The text of a string expression, each value that is filled in as one NUL."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(texts(part) for part in node.values)
    return "\0"


def messages() -> Iterator[str]:
    """Every string of the package, with NUL where a value is filled in."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                yield texts(node)


def quoted() -> list[str]:
    """The first cell of each row of errors.md, which is a message in backticks."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    return re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)


def test_errors_page__quotes_messages_of_the_code() -> None:
    found = list(messages())
    missing = []
    for message in quoted():
        pattern = re.compile(".+?".join(re.escape(part) for part in message.split("…")), re.DOTALL)
        if not any(pattern.search(text) for text in found):
            missing.append(message)
    assert quoted()
    assert not missing, "no such message in the code: " + "; ".join(missing)
