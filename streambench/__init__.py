"""streambench: fair, true timings of many models' token streams behind an OpenAI-compatible gateway.

    run = streambench.run("configs/quickstart.yaml")
    run.leaderboard()

docs/python.md has every call. Names are loaded when they are first used, so that the import itself is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from streambench.analysis.run import Runs
    from streambench.api.calls import aresume, arun, check, compare, resume, run
    from streambench.api.comparison import RunComparison
    from streambench.api.result import RunResult, load
    from streambench.config.config import Config
    from streambench.config.load import load_config
    from streambench.errors import (
        ConfigError,
        DiskError,
        InputError,
        Problem,
        ResultsError,
        SchemaError,
        SimulatorError,
        StreambenchError,
        SuiteError,
    )
    from streambench.runner.observers import RunObserver

__all__ = [
    "Config",
    "ConfigError",
    "DiskError",
    "InputError",
    "Problem",
    "ResultsError",
    "RunComparison",
    "RunObserver",
    "RunResult",
    "Runs",
    "SchemaError",
    "SimulatorError",
    "StreambenchError",
    "SuiteError",
    "__version__",
    "aresume",
    "arun",
    "check",
    "compare",
    "load",
    "load_config",
    "resume",
    "run",
]

_MODULES = {
    "analysis.run": ("Runs",),
    "api.calls": ("aresume", "arun", "check", "compare", "resume", "run"),
    "api.comparison": ("RunComparison",),
    "api.result": ("RunResult", "load"),
    "config.load": ("load_config",),
    "config.config": ("Config",),
    "runner.observers": ("RunObserver",),
    "errors": (
        "ConfigError",
        "DiskError",
        "InputError",
        "Problem",
        "ResultsError",
        "SchemaError",
        "SimulatorError",
        "StreambenchError",
        "SuiteError",
    ),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
