"""Prepares a run's telemetry before the first request: resolves settings, checks endpoints, opens the session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.config.config import Config
    from streambench.records.schema import RunTrace
    from streambench.runner.observers import RunTelemetry
    from streambench.telemetry.child_process import TelemetryProcess
    from streambench.telemetry.session import TelemetrySession
    from streambench.telemetry.settings import Flags, TelemetrySettings


MANY_REQUESTS = 1_000
"""Above this number, each request has its own trace: backends refuse traces of several megabytes."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The telemetry of a run that has not started. Without a session nothing is sent."""

    trace: RunTrace
    settings: TelemetrySettings | None = None
    session: TelemetrySession | TelemetryProcess | None = None

    @property
    def telemetry(self) -> RunTelemetry:
        from streambench.runner.observers import RunTelemetry

        return RunTelemetry() if self.session is None else self.session.live


def prepare(config: Config, requests: int, flags: Flags, notify: Callable[[str], None], *, version: str) -> Prepared:
    """Resolves the settings and checks the endpoints; `notify` gets a warning for each endpoint that fails.

    Raises InputError for invalid settings, and if telemetry is required and an endpoint fails.
    """
    from streambench.records.trace_ids import new_run_trace
    from streambench.telemetry.settings import resolve

    installed = _provider_installed()
    settings = resolve(config.telemetry, flags, os.environ, provider_installed=installed)
    many = settings.shape == "request" or (settings.shape == "auto" and requests > MANY_REQUESTS)
    trace = new_run_trace(os.environ.get("TRACEPARENT"), "request" if many else "run", settings.attempts)
    if not (settings.on or settings.propagate or installed):
        return Prepared(trace)
    try_endpoints(settings, instead="--telemetry auto, to run anyway", notify=notify)
    return Prepared(trace, settings, _session(config, settings, trace, version))


def try_endpoints(settings: TelemetrySettings, *, instead: str | None, notify: Callable[[str], None]) -> None:
    """Checks the endpoints; `notify` gets a warning for each endpoint that fails.

    Raises InputError instead if telemetry is required; `instead` is what the user may do then.
    """
    if not settings.endpoints:
        return
    from streambench.telemetry.preflight import check

    troubles = check(settings)
    if troubles and settings.required:
        raise InputError([Problem(str(trouble), where="telemetry", accepted=instead) for trouble in troubles])
    for trouble in troubles:
        notify(f"warning: telemetry: {trouble}")


def _session(
    config: Config, settings: TelemetrySettings, trace: RunTrace, version: str
) -> TelemetrySession | TelemetryProcess:
    from streambench.telemetry.child_process import open_session
    from streambench.telemetry.recorder import Private
    from streambench.workload.conversation import scripted

    private = None
    if settings.content != "NO_CONTENT":
        prompts = {
            (prompt.id, turn): messages
            for prompt in config.suite.prompts
            for turn, messages in enumerate(scripted(prompt))
        }
        private = Private(prompts, config.secrets | settings.secrets)
    return open_session(settings, trace, version, private)


def _provider_installed() -> bool:
    """True if a tracer provider is installed. If the SDK is not imported none can be, and this does not import it."""
    if "opentelemetry.sdk.trace" not in sys.modules:
        return False
    from streambench.telemetry.pipeline import provider_installed

    return provider_installed()
