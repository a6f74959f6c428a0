"""`streambench resume`: sends the missing requests of an unfinished run and appends them to its folder."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.cli import assertion_options, run_output, telemetry_options
from streambench.cli import output as out
from streambench.cli.arguments import CONFIG, RUN


@click.command()
@click.argument("results", metavar="RESULTS", type=RUN)
@click.argument("config_file", metavar="[CONFIG]", required=False, type=CONFIG)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a config key, in addition to the overrides of the run; may be repeated.",
)
@run_output.QUIET
@run_output.AS_JSON
@out.option
@assertion_options.options_at_end
@telemetry_options.options
def resume(
    results: Path,
    config_file: Path | None,
    overrides: tuple[str, ...],
    *,
    quiet: bool,
    as_json: bool,
    no_report: bool,
    undecided: str | None,
    junit: Path | None,
    **flags: str | None,
) -> int:
    """Send the missing requests of an unfinished run.

    They are appended to RESULTS. The config is read again from its path when the run began, or from CONFIG if it was
    moved. It must measure the same; `limits.duration`, `budget`, `breakers` and `telemetry` may differ. Requests that
    were cancelled or whose key was rejected are sent again, and so is the warm-up; failed requests stay failed. The
    budget covers the whole run: if it is spent, raise it, as in `--set budget.requests=500`.
    """
    import asyncio

    from streambench.api.running import measure_missing

    assertion_options.check_place(junit)
    options = run_output.options(flags, quiet=quiet)
    measured, prepared = asyncio.run(measure_missing(results, config_file, overrides, options))
    ending = run_output.Ending(quiet, as_json, not no_report, undecided, junit)
    return run_output.finish(measured, prepared, ending)
