"""The examples of docs/python.md run, in Python and in IPython, which is what a notebook runs its cells with."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from home import ROOT
from IPython.core.interactiveshell import InteractiveShell

PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
PLAIN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CELLS = re.findall(r"```python notebook\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the configs in it, as in a checkout."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run_one_after_another(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`results/quickstart-...` is the run that the first example made."""
    names: dict[str, object] = {}
    for block in PLAIN:
        made = next(iter(sorted((home / "results").glob("quickstart-*"))), Path("none"))
        exec(compile(block.replace("results/quickstart-...", str(made)), "docs/python.md", "exec"), names)
    out = capsys.readouterr().out
    assert "complete" in out
    assert "sim-bursty" in out
    assert "held" in out
    assert (home / "out.html").exists()
    assert "repeats 'many'" in out


def test_a_notebook_cell_shows_the_run(home: Path) -> None:
    """`await` at the top of a cell, and a table for its last value."""
    (cell,) = CELLS
    shell: Any = InteractiveShell.instance()
    try:
        result = asyncio.run(shell.run_cell_async(cell, transformed_cell=shell.transform_cell(cell)))
        result.raise_error()
        shown, _ = shell.display_formatter.format(result.result)
    finally:
        InteractiveShell.clear_instance()
    assert shown["text/html"].startswith("<table>")
    assert "sim-thinker" in shown["text/html"]
    assert len(shown["text/plain"]) < 300
