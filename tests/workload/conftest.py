"""Runs of whole conversations start in a warm process and write no report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli.warm_process import WarmProcess
from home import Home, WithoutPage


@pytest.fixture
def make_home() -> Callable[[Path], Home]:
    return lambda folder: WithoutPage(folder, WarmProcess)
