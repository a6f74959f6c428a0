"""The telemetry options of `run` and `resume`, and the lines about the delivery of spans at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streambench.text import count

if TYPE_CHECKING:
    from streambench.analysis.run import Run
    from streambench.telemetry.prepare import Prepared
    from streambench.telemetry.session import ExportCounts
    from streambench.telemetry.settings import Flags


NOT_DELIVERED = 3

Command = TypeVar("Command", bound=Callable[..., Any])


def options(command: Command) -> Command:
    """Adds `--otlp-endpoint`, `--otel-trace` and `--telemetry` to a command."""
    for option in (
        click.option(
            "--telemetry",
            type=click.Choice(["auto", "required", "off"]),
            default="auto",
            show_default=True,
            help="auto: send traces and metrics if configured; required: refuse to run if that fails; off: never send.",
        ),
        click.option(
            "--otel-trace",
            type=click.Choice(["auto", "run", "request"]),
            help="One trace for the run or one for each request; auto: depends on the number of requests.",
        ),
        click.option("--otlp-endpoint", metavar="URL", help="Send traces and metrics to this URL over OTLP."),
    ):
        command = option(command)
    return command


def flags_of(given: Mapping[str, str | None]) -> Flags:
    """Returns the values of the options as `Flags`; options that were not set may be missing in `given`."""
    from streambench.telemetry.settings import Flags

    mode: Any = given.get("telemetry") or "auto"
    shape: Any = given.get("otel_trace")
    return Flags(endpoint=given.get("otlp_endpoint"), shape=shape, mode=mode)


def finish(prepared: Prepared, run: Run, *, quiet: bool) -> int:
    """Sends the telemetry that is still queued, and prints how many spans were delivered.

    Returns the exit code: 3 if telemetry was required and not everything was delivered, else 0.
    """
    if prepared.session is None or prepared.settings is None:
        return 0
    outcome = prepared.session.close(run.records, run.end)
    if outcome is None:
        return 0
    if prepared.settings.traces == "otlp" or not outcome.delivery.known:
        for line in export_lines(outcome, f"streambench export {run.path} --to otlp"):
            if not quiet or not outcome.whole:
                click.echo(line, err=True)
    return NOT_DELIVERED if prepared.settings.required and not outcome.whole else 0


def export_lines(outcome: ExportCounts, later: str) -> list[str]:
    """Returns lines that say how many spans were delivered. `later` is the command that sends them again."""
    spans = outcome.delivery
    if not spans.known:
        return [f"spans: {count(spans.ended)} ended, passed to the installed tracer provider"]
    parts = [f"{count(spans.ended + outcome.unsent)} ended", f"{count(spans.delivered)} delivered"]
    others = {
        "failed": spans.failed,
        "not sent in time": spans.waiting,
        "lost": spans.lost,
        "not tried": outcome.unsent,
        "not sampled": spans.unsampled,
    }
    parts += [f"{count(number)} {name}" for name, number in others.items() if number]
    lines = [f"spans: {', '.join(parts)}"]
    if spans.delivered < spans.ended + outcome.unsent:
        lines[0] += f" ({spans.last_error})" if spans.last_error else ""
        lines.append(f"       send them with: {later}")
    if outcome.metrics_error is not None:
        lines.append(f"metrics: the last export failed ({outcome.metrics_error})")
    if outcome.fault is not None:
        lines.append(f"telemetry: spans were lost to a bug in streambench ({outcome.fault})")
    return lines
