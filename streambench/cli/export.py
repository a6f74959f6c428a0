"""`streambench export`: writes the tables of recorded runs as files, or sends their spans to a collector."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from streambench.cli import output as out
from streambench.cli.arguments import RESULTS
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.analysis.table_files import FileFormat, Table
    from streambench.config.schema import Telemetry
    from streambench.telemetry.settings import TelemetrySettings

NOT_DELIVERED = 1
LONGEST_S = 300.0


@click.command()
@RESULTS
@click.option(
    "--to",
    "form",
    type=click.Choice(["otlp", "parquet", "csv", "jsonl", "json"]),
    required=True,
    help="otlp sends the spans to a collector; the other formats write the tables as files.",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(["attempts", "requests", "chunks"]),
    help="The table to write; may be repeated. Default: all for parquet, else all but chunks, which are many.",
)
@click.option(
    "--output", metavar="DIR", type=click.Path(path_type=Path), help="Folder for the files; default: the run's folder."
)
@click.option(
    "--endpoint",
    "--otlp-endpoint",
    metavar="URL",
    help="The collector's URL; overrides the environment and the config.",
)
@click.option(
    "--config",
    "config_file",
    metavar="CONFIG",
    type=click.Path(path_type=Path),
    help="Config whose `telemetry:` is used, such as its headers; default: the run's own config, if it still exists.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=1),
    default=LONGEST_S,
    help="Maximum seconds for sending the spans of one run.",
)
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

    docs/frames.md describes the columns. Unknown values are empty or null; warm-up requests are marked. Several runs
    need --output. In CSV, text that a spreadsheet would run as a formula is escaped.

    The spans are those that the run sent or would have sent live, with the same ids, so a backend that identifies spans
    by id does not store them twice. Metrics are not sent, as they would be counted twice. A run that was killed or is
    still running can be exported too.
    """
    if form == "otlp":
        return max(_send(run, endpoint, config_file, deadline) for run in results)
    return _write(results, form, tables, output)


def _write(results: Sequence[Path], form: str, tables: Sequence[str], output: Path | None) -> int:
    from streambench.analysis.run import load_several
    from streambench.analysis.table_files import write_tables

    if output is None and len(results) > 1:
        raise InputError([Problem("is required for several runs", where="--output", accepted="a folder")])
    runs = load_several(results)
    for run in runs.runs:
        out.warn(run, f"{run.path.name}: ")
    wanted = tables or (("attempts", "requests", "chunks") if form == "parquet" else ("attempts", "requests"))
    for path in write_tables(runs, output or results[0], cast("FileFormat", form), cast("list[Table]", list(wanted))):
        click.echo(path)
    return 0


def _send(results: Path, endpoint: str | None, config_file: Path | None, deadline: float) -> int:
    from dataclasses import replace

    from streambench.analysis.run import load
    from streambench.cli import telemetry_options
    from streambench.telemetry.prepare import try_endpoints
    from streambench.telemetry.session import send

    run = load(results)
    out.warn(run)
    settings = _settings(_telemetry(config_file, run.header.config_file), endpoint)
    try_endpoints(replace(settings, required=True), instead=None, notify=out.to_stderr)
    outcome = send(run.header, run.records, run.end, replace(settings, deadline_s=deadline))
    for line in telemetry_options.export_lines(outcome, f"streambench export {results} --to otlp"):
        click.echo(line)
    return 0 if outcome.whole else NOT_DELIVERED


def _settings(given: Telemetry, endpoint: str | None) -> TelemetrySettings:
    """Returns the settings for traces over OTLP only. Raises InputError if no endpoint is configured."""
    from streambench.telemetry.settings import Flags, resolve

    settings = resolve(given, Flags(endpoint=endpoint, traces="otlp" if endpoint else None), os.environ)
    if settings.traces_to is None:
        accepted = "--endpoint URL, OTEL_EXPORTER_OTLP_ENDPOINT, or telemetry.endpoint in the config"
        raise InputError([Problem("no endpoint is configured for the spans", where="--endpoint", accepted=accepted)])
    return _without_others(settings)


def _without_others(settings: TelemetrySettings) -> TelemetrySettings:
    from dataclasses import replace

    return replace(settings, metrics="none", metrics_to=None, logs_to=None, content="NO_CONTENT")


def _telemetry(named: Path | None, before: str | None) -> Telemetry:
    """Returns the `telemetry:` of the config `named`, else of the run's own config, else an empty one.

    Prints a warning if the run's config exists but is invalid.
    """
    from streambench.config.load import load_config
    from streambench.config.schema import Telemetry

    if named is not None:
        return load_config(named).telemetry
    if before is None or not Path(before).exists():
        return Telemetry()
    try:
        return load_config(Path(before)).telemetry
    except InputError as error:
        click.echo(f"warning: the run's config is ignored: {error.problems[0]}", err=True)
        return Telemetry()
