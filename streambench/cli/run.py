"""`streambench run`: measures the models of a config, writes a results folder and prints a table."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.cli import assertion_options, run_output, telemetry_options
from streambench.cli import output as out
from streambench.cli.arguments import CONFIG, OVERRIDES


@click.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
@click.option(
    "--output", metavar="DIR", help="Folder in which the run's folder is created; overrides the key `output`."
)
@run_output.QUIET
@run_output.AS_JSON
@click.option(
    "--no-discovery", is_flag=True, help="Do not ask the gateways for their models; same as `discovery: false`."
)
@out.option
@assertion_options.options_at_end
@telemetry_options.options
def run(
    config_file: Path,
    overrides: tuple[str, ...],
    output: str | None,
    *,
    quiet: bool,
    as_json: bool,
    no_discovery: bool,
    no_report: bool,
    undecided: str | None,
    junit: Path | None,
    **flags: str | None,
) -> int:
    """Measure the models of CONFIG, and write a results folder.

    The first Ctrl-C stops sending new requests and waits for the open ones; the second cancels those too. Everything
    measured is kept, and `streambench resume` sends the missing requests.

    Exit codes: 0 all is well; 1 a model had only failures, or an assertion failed; 2 bad input; 3 the run is
    incomplete; 4 an assertion cannot be decided, as the sample is too small.
    """
    import asyncio

    from streambench.api.running import measure_config
    from streambench.config.load import load_config

    assertion_options.check_place(junit)
    overrides = (*overrides, "discovery=false") if no_discovery else overrides
    config = load_config(config_file, overrides, output)
    options = run_output.options(flags, quiet=quiet)
    measured, prepared = asyncio.run(measure_config(config, config_file, overrides, options))
    ending = run_output.Ending(quiet, as_json, not no_report, undecided, junit)
    return run_output.finish(measured, prepared, ending)
