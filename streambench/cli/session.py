"""What `run` and `resume` share: gateways up, the plan, the measuring, and what is said and written at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.errors import DiskError, InputError, Problem

if TYPE_CHECKING:
    from streambench.breakers import Trip
    from streambench.cli.telemetry import Prepared
    from streambench.config import Config
    from streambench.engines import Measured
    from streambench.plan import Plan
    from streambench.records import RunEnd
    from streambench.report import Summary
    from streambench.results import Run
    from streambench.resume import Continued, Origin

QUIET = click.option("--quiet", "-q", is_flag=True, help="Print the run's folder and errors, nothing else.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of the table.")


def measure(
    config: Config,
    plan: Plan,
    origin: Origin,
    continued: Continued | None = None,
    *,
    base_urls: Mapping[str, str],
    prepared: Prepared,
    quiet: bool,
) -> Measured:
    """Sends the plan under the live view: as a new run, or as the next part of one. Within `serving(config)`."""
    import asyncio

    from streambench import engines
    from streambench.clock import MonotonicClock
    from streambench.report import LiveView, Progress

    progress = Progress([model.alias for model in config.models], len(plan.measure), MonotonicClock())
    job = engines.Job(
        config=config,
        plan=plan,
        base_urls=base_urls,
        simulated=tuple(model.alias for model in config.models if config.gateways[model.gateway].embedded),
        watcher=progress,
        on_notice=(lambda _: None) if quiet else (lambda notice: click.echo(notice, err=True)),
        origin=origin,
        continued=continued,
        trace=prepared.trace,
        telemetry=prepared.listener,
    )
    with LiveView(progress, quiet=quiet):
        return asyncio.run(engines.measure(job))


def discovered(config: Config, config_file: Path, base_urls: Mapping[str, str], *, quiet: bool) -> Config:
    """The config with a name for every model, as its gateways offer them, and what is to be known of that said.

    Raises ConfigError where a glob picks nothing.
    """
    import asyncio

    from streambench.picking import gateways_to_ask, resolve

    names = gateways_to_ask(config)
    if not names:
        return config
    from streambench.discovery import ask

    resolved = resolve(config, asyncio.run(ask(config, base_urls, names)), str(config_file))
    for note in () if quiet else resolved.notes:
        click.echo(note, err=True)
    return resolved.config


def conclude(continued: Continued, origin: Origin, end: RunEnd | None, trip: Trip | None = None) -> Measured:
    """Of a run that lacks nothing, or by this trip may send nothing. One whose end says so is left as it is.

    Raises DiskError.
    """
    from streambench import engines

    status: engines.Status = trip.status if trip else "complete"
    if end is not None and end.status == status:
        return engines.Measured(continued.journal.folder, status, None, frozenset())
    return engines.conclude(continued, origin, status, trip.reason if trip else None)


@dataclass(frozen=True, slots=True)
class Ending:
    """What is said and written when a run has ended, as its options ask."""

    quiet: bool
    as_json: bool
    with_page: bool
    undecided: str | None = None
    """What undecided assertions come to: `pass`, `fail`, or an exit code of their own."""
    junit: Path | None = None


def finish(measured: Measured, prepared: Prepared | None, ending: Ending) -> int:
    """Sums the run up, writes summary and page, prints them, sends what telemetry has left. Gives the exit code."""
    from streambench.cli import gate, page, telemetry
    from streambench.results import load

    run = load(measured.folder)
    summary = replace(_summarise(run, measured), assertions=tuple(gate.judge_at_end(run)))
    lost = _write(summary, measured)
    with _reader_may_go():
        _print(summary, measured, lost, ending)
        if ending.with_page and lost is None:
            page.at_the_end(run, measured.folder, aloud=not ending.quiet and not ending.as_json)
    undelivered = telemetry.finish(prepared, run, quiet=ending.quiet) if prepared else 0
    gate.tell(gate.markdown(summary.assertions), summary.assertions, run.path.name, ending.junit)
    if lost is not None:
        return lost.exit_code
    return _exit_code(summary) or gate.code_of(summary.assertions, ending.undecided) or undelivered


def plan_of(config: Config, config_file: Path) -> Plan:
    """Raises InputError where nothing is left to measure."""
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
            turns={prompt.id: len(prompt.turns) for prompt in config.suite.prompts if prompt.turns},
        )
    )
    if not plan.measure:
        turns = max(len(prompt.turns) for prompt in config.suite.prompts)
        each = f"{turns} (the turns of a conversation)" if turns else "one"
        accepted = f"at least {len(config.models) * max(1, turns)}, {each} for each model"
        found = str(config.limits.requests)
        raise InputError(
            [Problem("leaves nothing to measure", str(config_file), None, "limits.requests", found, accepted)]
        )
    return plan


@contextmanager
def serving(config: Config, *, unused: bool = False) -> Iterator[Mapping[str, str]]:
    """The address of each gateway; the embedded ones are started, and load while the SDK does.

    `unused`: those too that no model is asked of.
    """
    from streambench.simulator import SimulatorProcess

    with ExitStack() as started:
        simulators = {
            name: started.enter_context(SimulatorProcess(gateway.models, seed=config.seed))
            for name, gateway in config.gateways.items()
            if gateway.models is not None and (unused or any(model.gateway == name for model in config.models))
        }
        import streambench.engines  # noqa: F401  # half a second that the simulator's start can share

        addresses = {name: simulator.base_url() for name, simulator in simulators.items()}
        yield {name: addresses.get(name, gateway.base_url) for name, gateway in config.gateways.items()}


@contextmanager
def _reader_may_go() -> Iterator[None]:
    """Whoever reads our output may have seen enough (`| head`): that is no failure of the run."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _summarise(run: Run, measured: Measured) -> Summary:
    from streambench.cli import gate
    from streambench.report import summarise

    gate.warn(run)
    summary = summarise(run.header, run.records, run.end)
    # Without room on the disk for end.json, this process still knows how the run ended.
    return summary if run.end is not None else replace(summary, status=measured.status, reason=measured.reason)


def _write(summary: Summary, measured: Measured) -> DiskError | None:
    """Writes the summary. Returns the first error that the disk gave in this run; a full one still gets its table."""
    from streambench.results import write_summary

    try:
        write_summary(measured.folder, summary)
    except DiskError as error:
        return measured.disk_error or error
    return measured.disk_error


def _print(summary: Summary, measured: Measured, lost: DiskError | None, ending: Ending) -> None:
    import json

    from streambench.cli import gate
    from streambench.report import show, verdict_line, verdict_terminal

    for model in sorted(measured.refuses_usage):
        click.echo(f"{model}: its gateway rejects stream_options; set include_usage: false for it", err=True)
    if lost is not None:
        click.echo(f"error: {lost}", err=True)
    if ending.quiet and measured.reason is not None:
        click.echo(f"error: {measured.reason}", err=True)
    if ending.as_json:
        click.echo(json.dumps(summary.to_plain(), indent=2))
    elif ending.quiet:
        click.echo(measured.folder)
        if gate.code_of(summary.assertions, ending.undecided):
            click.echo(f"error: {verdict_line(summary.assertions)}", err=True)
    else:
        show(summary, measured.folder)
        if summary.assertions:
            gate.say("\n" + verdict_terminal(summary.assertions, gate.width()))


def _exit_code(summary: Summary) -> int:
    from streambench.report import exit_code

    return exit_code(summary)
