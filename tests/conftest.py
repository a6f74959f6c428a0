"""What many tests share: a user's folder to run commands in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from home import Home

MakeHome = Callable[[Path], Home]


@pytest.fixture
def make_home() -> MakeHome:
    """Makes the folder for `home`; a module overrides it if its runs need another kind."""
    return Home


@pytest.fixture
def home(tmp_path: Path, make_home: MakeHome) -> Iterator[Home]:
    """A user's folder; what was started in it is killed at the end."""
    made = make_home(tmp_path)
    yield made
    made.close()
