"""Pages that come from the code are as the code has them; what the README says can be run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = runpy.run_path(str(DOCS / "generate.py"))["pages"]()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_page_is_current(name: str) -> None:
    """`make docs` would change nothing."""
    assert (DOCS / name).read_text("utf-8") == PAGES[name]
