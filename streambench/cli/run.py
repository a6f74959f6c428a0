"""`streambench run`: a config in, a results folder and a table out."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.cli import gate, page, telemetry


@click.command()
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override any key; may be given often.")
@click.option("--output", metavar="DIR", help="Folder that takes the run's folder; overrides the key `output`.")
@click.option("--quiet", "-q", is_flag=True, help="Print the run's folder and errors, nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of the table.")
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
    no_report: bool,
    undecided: str | None,
    junit: Path | None,
    **flags: str | None,
) -> int:
    """Measure the models of CONFIG, interleaved, and write a results folder.

    Ctrl-C once stops sending and keeps everything; twice breaks off what is under way.
    `streambench resume` sends what was left.
    """
    from streambench.cli import session
    from streambench.config import load_config
    from streambench.resume import origin_of

    gate.check_place(junit)
    config = load_config(config_file, overrides, output)
    plan = session.plan_of(config, config_file)
    if plan.cut and not quiet:
        click.echo(f"limits.requests leaves out {plan.cut} of {plan.cut + len(plan.measure)} requests", err=True)
    prepared = telemetry.prepare(config, len(plan.warmup) + len(plan.measure), flags, quiet=quiet)
    origin = origin_of(config_file, overrides, config.secrets)
    measured = session.measure(config, plan, origin, prepared=prepared, quiet=quiet)
    ending = session.Ending(quiet, as_json, not no_report, undecided, junit)
    return session.finish(measured, prepared, ending)
