"""`streambench run`: a config in, a results folder and a table out."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.cli import gate, page, session, telemetry
from streambench.cli.places import CONFIG, OVERRIDES


@click.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
@click.option("--output", metavar="DIR", help="Folder that takes the run's folder; overrides the key `output`.")
@session.QUIET
@session.AS_JSON
@click.option("--no-discovery", is_flag=True, help="Do not ask the gateways what they offer; as `discovery: false`.")
@page.option
@gate.options_at_end
@telemetry.options
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

    Ctrl-C once stops sending and keeps everything; twice breaks off what is under way.
    `streambench resume` sends what was left.

    Exit codes: 0 all is well; 1 a model had only failures, or an assertion failed; 2 bad input; 3 the run is
    incomplete; 4 an assertion cannot be decided, as the sample is too small.
    """
    from streambench.config import load_config
    from streambench.resume import origin_of

    gate.check_place(junit)
    overrides = (*overrides, "discovery=false") if no_discovery else overrides
    config = load_config(config_file, overrides, output)
    with session.serving(config) as base_urls:
        config = session.discovered(config, config_file, base_urls, quiet=quiet)
        plan = session.plan_of(config, config_file)
        if plan.cut and not quiet:
            click.echo(f"limits.requests leaves out {plan.cut} of {plan.cut + len(plan.measure)} requests", err=True)
        prepared = telemetry.prepare(config, len(plan.warmup) + len(plan.measure), flags, quiet=quiet)
        origin = origin_of(config_file, overrides, config.secrets)
        measured = session.measure(config, plan, origin, base_urls=base_urls, prepared=prepared, quiet=quiet)
    ending = session.Ending(quiet, as_json, not no_report, undecided, junit)
    return session.finish(measured, prepared, ending)
