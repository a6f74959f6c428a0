"""What many tests share: a user's folder to run commands in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from home import Home
from hypothesis import HealthCheck, settings

settings.register_profile("any-machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
"""A busy machine may take seconds for one example; that is no fault of the code."""

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
