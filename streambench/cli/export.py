"""`streambench export`: a run that is over, sent or written in another form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.config import Telemetry
    from streambench.telemetry import Settings

NOT_DELIVERED = 1
LONGEST_S = 300.0


@click.command()
@click.argument("results", metavar="RESULTS", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(["otlp"]), required=True, help="otlp: its spans, to a collector.")
@click.option(
    "--endpoint", "--otlp-endpoint", metavar="URL", help="Where to, instead of what the environment or the config says."
)
@click.option(
    "--config",
    "config_file",
    metavar="CONFIG",
    type=click.Path(path_type=Path),
    help="Take `telemetry:` from this file, such as its headers; by default the run's own config, if it is there.",
)
@click.option("--deadline", type=click.FloatRange(min=1), default=LONGEST_S, help="Seconds for all of it, at most.")
def export(results: Path, form: str, endpoint: str | None, config_file: Path | None, deadline: float) -> int:  # noqa: ARG001
    """Send the spans of the run in RESULTS, as they went out live or would have.

    They have the ids that the run gave them: sending them twice doubles nothing in a backend that goes by ids. Metrics
    are not sent, as their points would count twice. Also of a run that was killed, or still goes on.
    """
    from dataclasses import replace

    from streambench.cli import telemetry
    from streambench.results import load
    from streambench.telemetry import send

    run = load(results)
    for warning in run.warnings:
        click.echo(f"warning: {warning}", err=True)
    settings = _settings(_telemetry(config_file, run.header.config_file), endpoint)
    telemetry.try_endpoints(replace(settings, required=True), instead=None, quiet=False)
    outcome = send(run.header, run.records, run.end, replace(settings, deadline_s=deadline))
    for line in telemetry.told(outcome, f"streambench export {results} --to otlp"):
        click.echo(line)
    return 0 if outcome.whole else NOT_DELIVERED


def _settings(given: Telemetry, endpoint: str | None) -> Settings:
    """Only the traces', by OTLP. Raises InputError where nothing says where they go."""
    from streambench.telemetry import Flags, resolve

    settings = resolve(given, Flags(endpoint=endpoint, traces="otlp" if endpoint else None), os.environ)
    if settings.traces_to is None:
        accepted = "--endpoint URL, OTEL_EXPORTER_OTLP_ENDPOINT, or telemetry.endpoint in the config"
        raise InputError([Problem("nothing says where the spans go", where="--endpoint", accepted=accepted)])
    return _without_others(settings)


def _without_others(settings: Settings) -> Settings:
    from dataclasses import replace

    return replace(settings, metrics="none", metrics_to=None, logs_to=None, content="NO_CONTENT")


def _telemetry(named: Path | None, before: str | None) -> Telemetry:
    """The `telemetry:` of the config that is named, or of the run's own if it can still be read; else an empty one."""
    from streambench.config import Telemetry, load_config

    if named is not None:
        return load_config(named).telemetry
    if before is None or not Path(before).exists():
        return Telemetry()
    try:
        return load_config(Path(before)).telemetry
    except InputError as error:
        click.echo(f"warning: the run's config is left aside: {error.problems[0]}", err=True)
        return Telemetry()
