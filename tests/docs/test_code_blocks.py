r"""Runs the code blocks of README.md and docs/, one test per page, so that they cannot rot.

Python and shell blocks run in the page's order, in one folder that is empty at first. Python blocks
share a namespace; each shell block is a ``bash -euo pipefail`` of its own. Of a ``console`` block,
the lines after ``$ `` run; the others are output, which is not compared. A comment above a block
changes this::

    <!-- not executed: reason -->     leaves the block out
    <!-- needs: real-data -->         runs only where real genotypes are; DATA names their folder
    <!-- needs: plink2 -->            runs only where that program is on PATH
"""

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REAL_DATA = Path(os.environ.get("GENOWEAVE_TEST_DATA") or ROOT.parent / "shared" / "data")
PYTHON = {"python", "python3", "py", "pycon"}
SHELL = {"bash", "sh", "shell", "console", "shell-session"}
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<info>.*)$")
COMMENT = re.compile(r"^<!--\s*(?P<key>not executed|needs)\b:?\s*(?P<value>.*?)\s*-->$")
# These change the machine or need a network; CI runs the makefile's targets itself.
NEVER = re.compile(r"^\s*(?:make|git|pip|python3? -m pip|apt-get|sudo)\b", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``line`` is that of its first line of code, counted from 1."""

    language: str
    code: str
    line: int
    mark: str | None = None
    value: str = ""


def pages() -> list[Path]:
    """README and the pages of docs/, without what Sphinx builds there."""
    docs = (
        p for p in (ROOT / "docs").rglob("*.md") if not p.relative_to(ROOT / "docs").parts[0].startswith("_")
    )
    return [p for p in [ROOT / "README.md", *sorted(docs)] if p.exists()]


def blocks(text: str) -> Iterator[Block]:
    """Every fenced block that holds Python or shell."""
    lines = text.splitlines()
    above, i = "", 0
    while i < len(lines):
        opening = FENCE.match(lines[i])
        if opening is None:
            above, i = lines[i].strip() or above, i + 1
            continue
        body, end = fenced(lines, i, opening)
        language = re.sub(r"^\{code-(block|cell)\}", "", opening["info"]).lower().split()
        comment = COMMENT.match(above)
        mark, value = (comment["key"], comment["value"]) if comment else (None, "")
        if language and language[0] in PYTHON | SHELL:
            yield Block(language[0], body, i + 2, mark, value)
        above, i = "", end + 1


def fenced(lines: list[str], start: int, opening: re.Match[str]) -> tuple[str, int]:
    """Code between the fence at ``start`` and its closing line, and the index of that line."""
    indent, ticks = len(opening["indent"]), opening["ticks"]
    for end in range(start + 1, len(lines)):
        stripped = lines[end].strip()
        if stripped.startswith(ticks) and not stripped.strip(ticks[0]):
            return "\n".join(line[indent:] for line in lines[start + 1 : end]) + "\n", end
    pytest.fail(f"The fence in line {start + 1} is never closed")


def shell_lines(block: Block) -> str:
    """The commands of a shell block: of a console session, what follows its prompts."""
    if not re.search(r"^\$ ", block.code, re.MULTILINE):
        return block.code
    commands, continued = [], False
    for line in block.code.splitlines():
        if line.startswith("$ ") or continued:
            commands.append(re.sub(r"^[$>] ", "", line))
            continued = line.endswith("\\")
    return "\n".join(commands)


def python_lines(block: Block) -> str:
    """The statements of a Python block: of an interactive session, what follows its prompts."""
    if not re.search(r"^>>> ", block.code, re.MULTILINE):
        return block.code
    return "".join(example.source for example in doctest.DocTestParser().get_examples(block.code))


def lacking(block: Block) -> str | None:
    """What the block needs and this machine lacks."""
    if block.mark != "needs":
        return None
    present = REAL_DATA.is_dir() if block.value == "real-data" else shutil.which(block.value)
    return None if present else block.value


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    # the empty lines make a traceback name, and show, the lines of the page
    code = compile("\n" * (block.line - 1) + python_lines(block), str(page), "exec")
    exec(code, namespace)


def run_shell(block: Block, page: Path, folder: Path) -> None:
    commands = shell_lines(block)
    where = f"{page.name}, line {block.line}"
    if NEVER.search(commands):
        pytest.fail(f"{where}: mark this block `<!-- not executed: reason -->`")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{where}: exit {done.returncode} of\n{commands}\n{done.stdout}", pytrace=False)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_of_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", str(REAL_DATA))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    wanted = [block for block in blocks(page.read_text("utf-8")) if block.mark != "not executed"]
    left_out = sorted({lack for block in wanted if (lack := lacking(block))})
    runnable = [block for block in wanted if not lacking(block)]
    for block in runnable:
        if block.language in PYTHON:
            run_python(block, page, namespace)
        else:
            run_shell(block, page, tmp_path)
    if left_out:
        pytest.skip(f"{len(runnable)} of {len(wanted)} blocks ran; the others need {', '.join(left_out)}")


def test_blocks_left_out_give_a_reason() -> None:
    silent = [
        f"{page.relative_to(ROOT)}:{block.line}"
        for page in pages()
        for block in blocks(page.read_text("utf-8"))
        if block.mark and not block.value
    ]
    assert not silent, f"say why, or what these blocks need: {', '.join(silent)}"


PAGE = """
Text

<!-- not executed: changes the machine -->

```bash
make demo
```

1. In a list

   ~~~python
   x = 1
   ~~~

```{code-block} console
$ echo a \\
> b
a b
```

````text
```python
not a block
```
````
"""


def test_blocks_are_found() -> None:
    left_out, python, console = blocks(PAGE)
    assert left_out == Block("bash", "make demo\n", 7, "not executed", "changes the machine")
    assert python == Block("python", "x = 1\n", 13)
    assert shell_lines(console) == "echo a \\\nb"


@pytest.mark.parametrize("comment", ["<!-- not executed -->", "<!--not executed: -->"])
def test_missing_reason_is_seen(comment: str) -> None:
    (block,) = blocks(f"{comment}\n```sh\nls\n```\n")
    assert (block.mark, block.value) == ("not executed", "")


def test_interactive_python_runs_without_its_output(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    run_python(Block("python", ">>> x = 2\n>>> x\n3\n", 1), tmp_path, namespace)
    assert namespace["x"] == 2


def test_failing_shell_block_shows_its_output(tmp_path: Path) -> None:
    block = Block("bash", "echo said before\nfalse\necho never\n", 5)
    with pytest.raises(pytest.fail.Exception, match=r"line 5: exit 1 of(?s:.*)said before"):
        run_shell(block, Path("page.md"), tmp_path)
