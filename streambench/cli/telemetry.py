"""The telemetry of `run` and `resume`: its options, what is tried before anything is paid for, what is said last."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.config import Config
    from streambench.engines import Telemetry
    from streambench.records import RunTrace
    from streambench.results import Run
    from streambench.telemetry import Apart, Flags, Outcome, Session, Settings

MANY_REQUESTS = 1_000
"""Above this each request has a trace of its own: backends refuse traces of some megabytes."""

NOT_DELIVERED = 3

Command = TypeVar("Command", bound=Callable[..., Any])


def options(command: Command) -> Command:
    """`--otlp-endpoint`, `--otel-trace` and `--telemetry`."""
    for option in (
        click.option(
            "--telemetry",
            type=click.Choice(["auto", "required", "off"]),
            default="auto",
            show_default=True,
            help="auto: traces and metrics go out where asked for; required: or the run does not begin; off: never.",
        ),
        click.option(
            "--otel-trace",
            type=click.Choice(["auto", "run", "request"]),
            help="One trace for the run or one for each request; auto: by their number.",
        ),
        click.option("--otlp-endpoint", metavar="URL", help="Send traces and metrics there by OTLP."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run's telemetry will be. Without a session nothing goes out."""

    trace: RunTrace
    settings: Settings | None = None
    session: Session | Apart | None = None

    @property
    def listener(self) -> Telemetry:
        from streambench.engines import NoTelemetry

        return NoTelemetry() if self.session is None else self.session.live


def prepare(config: Config, requests: int, given: Mapping[str, str | None], *, quiet: bool) -> Prepared:
    """Resolves the settings and tries the endpoints. Raises InputError for bad ones, and where required ones fail."""
    from streambench.telemetry import resolve
    from streambench.trace_ids import new_run_trace

    flags = flags_of(given)
    installed = _provider_installed()
    settings = resolve(config.telemetry, flags, os.environ, provider_installed=installed)
    many = settings.shape == "request" or (settings.shape == "auto" and requests > MANY_REQUESTS)
    trace = new_run_trace(os.environ.get("TRACEPARENT"), "request" if many else "run", settings.attempts)
    if not (settings.on or settings.propagate or installed):
        return Prepared(trace)
    try_endpoints(settings, instead="--telemetry auto, to run all the same", quiet=quiet)
    return Prepared(trace, settings, _session(config, settings, trace))


def flags_of(given: Mapping[str, str | None]) -> Flags:
    """What the options said; unset ones may be missing."""
    from streambench.telemetry import Flags

    mode: Any = given.get("telemetry") or "auto"
    shape: Any = given.get("otel_trace")
    return Flags(endpoint=given.get("otlp_endpoint"), shape=shape, mode=mode)


def try_endpoints(settings: Settings, *, instead: str | None, quiet: bool) -> None:
    """Says what is wrong with them. Raises InputError where telemetry is required; `instead` is what else to do."""
    if not settings.endpoints:
        return
    from streambench.telemetry import check

    troubles = check(settings)
    if troubles and settings.required:
        raise InputError([Problem(str(trouble), where="telemetry", accepted=instead) for trouble in troubles])
    for trouble in troubles:
        if not quiet:
            click.echo(f"warning: telemetry: {trouble}", err=True)


def finish(prepared: Prepared, run: Run, *, quiet: bool) -> int:
    """Sends what is left and says what became of it all. Returns an exit code, which is 0 unless it was required."""
    if prepared.session is None or prepared.settings is None:
        return 0
    outcome = prepared.session.close(run.records, run.end)
    if outcome is None:
        return 0
    if prepared.settings.traces == "otlp" or not outcome.delivery.known:
        for line in told(outcome, f"streambench export {run.path} --to otlp"):
            if not quiet or not outcome.whole:
                click.echo(line, err=True)
    return NOT_DELIVERED if prepared.settings.required and not outcome.whole else 0


def told(outcome: Outcome, later: str) -> list[str]:
    """What became of the spans, in lines; `later` is the command that sends them again."""
    spans = outcome.delivery
    if not spans.known:
        return [f"spans: {spans.ended:,} ended, handed to the tracer provider that was installed"]
    parts = [f"{spans.ended + outcome.unsent:,} ended", f"{spans.delivered:,} delivered"]
    others = {
        "failed": spans.failed,
        "not sent in time": spans.waiting,
        "lost": spans.lost,
        "not tried": outcome.unsent,
        "not sampled": spans.unsampled,
    }
    parts += [f"{count:,} {name}" for name, count in others.items() if count]
    lines = [f"spans: {', '.join(parts)}"]
    if spans.delivered < spans.ended + outcome.unsent:
        lines[0] += f" ({spans.last_error})" if spans.last_error else ""
        lines.append(f"       send them with: {later}")
    if outcome.metrics_error is not None:
        lines.append(f"metrics: the last export failed ({outcome.metrics_error})")
    if outcome.fault is not None:
        lines.append(f"telemetry: a fault of streambench's own cost spans ({outcome.fault})")
    return lines


def _session(config: Config, settings: Settings, trace: RunTrace) -> Session | Apart:
    from streambench import __version__
    from streambench.conversation import scripted
    from streambench.telemetry import Private, open_session

    private = None
    if settings.content != "NO_CONTENT":
        prompts = {
            (prompt.id, turn): messages
            for prompt in config.suite.prompts
            for turn, messages in enumerate(scripted(prompt))
        }
        private = Private(prompts, config.secrets | settings.secrets)
    return open_session(settings, trace, __version__, private)


def _provider_installed() -> bool:
    """Whoever installed one has imported the SDK: without it there is nothing to look at."""
    if "opentelemetry.sdk.trace" not in sys.modules:
        return False
    from streambench.telemetry import provider_installed

    return provider_installed()
