"""Checks the options of a run, and says which arguments the calls accept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from streambench.config.arguments import unusable
from streambench.runner.observers import RunObserver

CONFIG = "a Config, or the path of a YAML file"
RUN = "a run, or the path of its folder"
ASSERTIONS = "a list of texts such as `ttft_p95_ms: < 800`"
OBSERVERS = "a list of objects of RunObserver subclasses"


def check_options(observers: object, telemetry: object) -> None:
    """Raises InputError if `observers` is not a sequence of observers, or `telemetry` is not one of its modes."""
    from streambench.telemetry.settings import Mode  # loads pydantic, which reading a run does not need

    if not isinstance(observers, Sequence):
        raise unusable("observers", observers, OBSERVERS)
    for each in observers:
        if not isinstance(each, RunObserver):
            raise unusable("observers", each, OBSERVERS)
    if telemetry not in get_args(Mode):
        raise unusable("telemetry", telemetry, ", ".join(get_args(Mode)))
