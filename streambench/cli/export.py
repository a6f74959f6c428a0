"""`streambench export`: a run that is over, sent or written in another form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from streambench.cli import gate
from streambench.cli.places import RESULTS
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.config import Telemetry
    from streambench.forms import Form, Table
    from streambench.telemetry import Settings

NOT_DELIVERED = 1
LONGEST_S = 300.0


@click.command()
@RESULTS
@click.option(
    "--to",
    "form",
    type=click.Choice(["otlp", "parquet", "csv", "jsonl", "json"]),
    required=True,
    help="otlp: its spans, to a collector. The others: its tables, as files.",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(["attempts", "requests", "chunks"]),
    help="Which tables; may be given often. By default all as Parquet, else all but chunks, which are many.",
)
@click.option(
    "--output", metavar="DIR", type=click.Path(path_type=Path), help="Where files go; by default the run's own folder."
)
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
def export(
    results: tuple[Path, ...],
    form: str,
    tables: tuple[str, ...],
    output: Path | None,
    endpoint: str | None,
    config_file: Path | None,
    deadline: float,
) -> int:
    """Write the tables of runs as files, or send their spans.

    The columns are in docs/frames.md; unknown is empty or null, warm-up is marked. Of several runs the files go to
    --output. Text in CSV that a spreadsheet would run as a formula is made inert.

    Spans go out as they did live or would have. They have the ids that the run gave them: sending them twice doubles
    nothing in a backend that goes by ids. Metrics are not sent, as their points would count twice. All of it also of a
    run that was killed, or still goes on.
    """
    if form == "otlp":
        return max(_send(run, endpoint, config_file, deadline) for run in results)
    return _write(results, form, tables, output)


def _write(results: Sequence[Path], form: str, tables: Sequence[str], output: Path | None) -> int:
    from streambench.forms import write_tables
    from streambench.results import load_several

    if output is None and len(results) > 1:
        raise InputError([Problem("is required for several runs", where="--output", accepted="a folder")])
    runs = load_several(results)
    for run in runs.runs:
        gate.warn(run, f"{run.path.name}: ")
    wanted = tables or (("attempts", "requests", "chunks") if form == "parquet" else ("attempts", "requests"))
    for path in write_tables(runs, output or results[0], cast("Form", form), cast("list[Table]", list(wanted))):
        click.echo(path)
    return 0


def _send(results: Path, endpoint: str | None, config_file: Path | None, deadline: float) -> int:
    from dataclasses import replace

    from streambench.cli import telemetry
    from streambench.results import load
    from streambench.telemetry import send

    run = load(results)
    gate.warn(run)
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
