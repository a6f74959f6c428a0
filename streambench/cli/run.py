"""`streambench run`: a config in, a results folder and a table out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.errors import DiskError, InputError, Problem

if TYPE_CHECKING:
    from streambench.config import Config
    from streambench.engines import Measured
    from streambench.plan import Plan
    from streambench.report import Summary


@click.command()
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override any key; may be given often.")
@click.option("--output", metavar="DIR", help="Folder that takes the run's folder; overrides the key `output`.")
@click.option("--quiet", "-q", is_flag=True, help="Print the run's folder and errors, nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of the table.")
def run(config_file: Path, overrides: tuple[str, ...], output: str | None, *, quiet: bool, as_json: bool) -> int:
    """Measure the models of CONFIG, interleaved, and write a results folder.

    Ctrl-C once stops sending and keeps everything; twice breaks off what is under way.
    """
    from streambench.config import load_config

    config = load_config(config_file, overrides, output)
    plan = _plan(config, config_file)
    if plan.cut and not quiet:
        click.echo(f"limits.requests leaves out {plan.cut} of {plan.cut + len(plan.measure)} requests", err=True)
    with _gateways(config) as base_urls:
        measured = _measure(config, plan, base_urls, quiet=quiet)
    summary = _summarise(measured)
    lost = _write(summary, measured)
    with _reader_may_go():
        _print(summary, measured, lost, quiet=quiet, as_json=as_json)
    return lost.exit_code if lost is not None else _exit_code(summary)


@contextmanager
def _reader_may_go() -> Iterator[None]:
    """Whoever reads our output may have seen enough (`| head`): that is no failure of the run."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _gateways(config: Config) -> Iterator[Mapping[str, str]]:
    """The address of each gateway; the embedded ones are started, and load while the SDK does."""
    from streambench.simulator import SimulatorProcess

    with ExitStack() as started:
        simulators = {
            name: started.enter_context(SimulatorProcess(gateway.models, seed=config.seed))
            for name, gateway in config.gateways.items()
            if gateway.models is not None and any(model.gateway == name for model in config.models)
        }
        import streambench.engines  # noqa: F401  # half a second that the simulator's start can share

        addresses = {name: simulator.base_url() for name, simulator in simulators.items()}
        yield {name: addresses.get(name, gateway.base_url) for name, gateway in config.gateways.items()}


def _measure(config: Config, plan: Plan, base_urls: Mapping[str, str], *, quiet: bool) -> Measured:
    import asyncio

    from streambench.clock import MonotonicClock
    from streambench.engines import Job, measure
    from streambench.report import LiveView, Progress

    progress = Progress([model.alias for model in config.models], len(plan.measure), MonotonicClock())
    job = Job(
        config=config,
        plan=plan,
        base_urls=base_urls,
        simulated=tuple(model.alias for model in config.models if config.gateways[model.gateway].embedded),
        watcher=progress,
        on_notice=(lambda _: None) if quiet else (lambda notice: click.echo(notice, err=True)),
    )
    with LiveView(progress, quiet=quiet):
        return asyncio.run(measure(job))


def _plan(config: Config, config_file: Path) -> Plan:
    from streambench.plan import Lane, Shape, build_plan

    plan = build_plan(
        Shape(
            lanes=tuple(Lane(model.alias, model.gateway) for model in config.models),
            prompt_ids=tuple(prompt.id for prompt in config.suite.prompts),
            repeats=config.repeats,
            warmup_requests=config.warmup.requests,
            mode=config.load.mode,
            rate=config.load.rate,
            seed=config.seed,
            max_requests=config.limits.requests,
        )
    )
    if not plan.measure:
        accepted = f"at least {len(config.models)}, one for each model"
        found = str(config.limits.requests)
        raise InputError(
            [Problem("leaves nothing to measure", str(config_file), None, "limits.requests", found, accepted)]
        )
    return plan


def _summarise(measured: Measured) -> Summary:
    from streambench.report import summarise
    from streambench.results import load

    run = load(measured.folder)
    for warning in run.warnings:
        click.echo(f"warning: {warning}", err=True)
    summary = summarise(run.header, run.records, run.end)
    # Without room on the disk for end.json, this process still knows how the run ended.
    return summary if run.end is not None else replace(summary, status=measured.status)


def _write(summary: Summary, measured: Measured) -> DiskError | None:
    """Writes the summary. Returns the first error that the disk gave in this run; a full one still gets its table."""
    from streambench.results import write_summary

    try:
        write_summary(measured.folder, summary)
    except DiskError as error:
        return measured.disk_error or error
    return measured.disk_error


def _print(summary: Summary, measured: Measured, lost: DiskError | None, *, quiet: bool, as_json: bool) -> None:
    import json

    from streambench.report import show

    for model in sorted(measured.refuses_usage):
        click.echo(f"{model}: its gateway rejects stream_options; set include_usage: false for it", err=True)
    if lost is not None:
        click.echo(f"error: {lost}", err=True)
    if as_json:
        click.echo(json.dumps(summary.to_plain(), indent=2))
    elif quiet:
        click.echo(measured.folder)
    else:
        show(summary, measured.folder)


def _exit_code(summary: Summary) -> int:
    from streambench.report import exit_code

    return exit_code(summary)
