"""Each view of a run says what its file in `tests/golden/` holds, word for word."""

from __future__ import annotations

import pytest
from golden.views import GOLDEN, VIEWS


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_reads_as_its_file(name: str) -> None:
    """If the words were changed on purpose, `make golden` writes the files again."""
    assert VIEWS[name]() == (GOLDEN / f"{name}.txt").read_text("utf-8")


def test_every_file_has_a_view() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(VIEWS)
