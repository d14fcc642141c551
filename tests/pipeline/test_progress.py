"""Bars in a notebook: one output that is drawn again, without widgets or warnings."""

import sys
import types
from typing import Any

import pytest

from genoweave.pipeline.progress import bars


class Handle:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, page: Any) -> None:
        self.shown.append(page.data)


def test_bars__in_a_notebook_redraw_one_output(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    handle = Handle()
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr(IPython.display, "display", lambda *_, display_id: handle)
    with bars(["qc", "pca"]) as bar:
        assert bar is not None
        bar.stage("qc", "running")
        for done in range(1, 51):
            bar.step("<counts>", done, 50)
        bar.stage("qc", "done", "1.0 s")
    assert 3 <= len(handle.shown) <= 6, "many steps at once are drawn once"
    assert "qc, &lt;counts&gt;: 1 of 50" in handle.shown[1]
    assert handle.shown[-1].endswith("qc: done, 1.0 s")
    assert '<progress value="1" max="2">' in handle.shown[-1]


def test_bars__are_not_drawn_where_nobody_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with bars(["qc"]) as bar:
        assert bar is None
    with bars(["qc"], quiet=True) as bar:
        assert bar is None
