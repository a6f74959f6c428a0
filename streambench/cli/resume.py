"""`streambench resume`: what an unfinished run still needs is sent, and appended to its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import gate, page, session, telemetry
from streambench.cli.places import CONFIG, RUN
from streambench.errors import ResultsError

if TYPE_CHECKING:
    from streambench.breakers import Trip
    from streambench.cli.telemetry import Prepared
    from streambench.config import Config
    from streambench.engines import Measured
    from streambench.records import AttemptRecord, RunHeader
    from streambench.results import Journal
    from streambench.resume import Continued, Origin


@click.command()
@click.argument("results", metavar="RESULTS", type=RUN)
@click.argument("config_file", metavar="[CONFIG]", required=False, type=CONFIG)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Add to those that the run was begun with."
)
@session.QUIET
@session.AS_JSON
@page.option
@gate.options_at_end
@telemetry.options
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
    """Send what a run still lacks, and append it there.

    The config is read again from where it was when the run was begun, or from CONFIG if it was moved. What is measured
    must be as it was; `limits.duration`, `budget`, `breakers` and `telemetry` may differ. Requests that were broken off
    or whose key was refused are sent again, and so is the warm-up; a failed one stays failed. The budget is the whole
    run's: if it is spent, raise it, as in `--set budget.requests=500`.
    """
    from streambench.results import Journal

    gate.check_place(junit)
    with Journal.reopen(results) as journal:
        measured, prepared = _go_on(journal, config_file, overrides, flags, quiet=quiet)
    ending = session.Ending(quiet, as_json, not no_report, undecided, junit)
    return session.finish(measured, prepared, ending)


def _go_on(
    journal: Journal,
    config_file: Path | None,
    overrides: tuple[str, ...],
    flags: Mapping[str, str | None],
    *,
    quiet: bool,
) -> tuple[Measured, Prepared | None]:
    from streambench.results import load
    from streambench.resume import Continued, left_of

    config, origin = _config_again(journal.header, config_file, overrides)
    run = load(journal.folder)
    plan = session.plan_of(config, Path(origin.config_file or ""))
    left = left_of(plan, run.records, _is_retried(config), _is_refused(config), _is_end(config))
    continued = Continued(journal, run.records, left, run.took_ns)
    trip = _spent_already(config, continued)
    if trip is not None:
        click.echo(f"error: {_advice(trip)}", err=True)
    elif not quiet:
        click.echo(_told(len(left.plan.measure), len(plan.measure), left.unsent), err=True)
    if left.plan.measure and trip is None:
        prepared = telemetry.prepare(config, len(plan.warmup) + len(plan.measure), flags, quiet=quiet)
        with session.serving(config) as base_urls:
            measured = session.measure(
                config, left.plan, origin, continued, base_urls=base_urls, prepared=prepared, quiet=quiet
            )
        return measured, prepared
    return session.conclude(continued, origin, run.end, trip), None


def _config_again(header: RunHeader, moved: Path | None, overrides: tuple[str, ...]) -> tuple[Config, Origin]:
    """Raises ConfigError where it is another, ResultsError where nobody knows its place."""
    from streambench.config import load_config
    from streambench.picking import resolve_again
    from streambench.resume import changed_stops, given_again, origin_in, origin_of, refuse_changes

    before = origin_in(header)
    path = moved or _place(before)
    together = given_again(before.overrides, overrides)
    config = load_config(path, together, also_in=Path(before.folder) if before.folder else None)
    config = resolve_again(config, header.config["models"])
    refuse_changes(header, config.masked(), path)
    return config, origin_of(path, together, config.secrets, changed_stops(header.config, config.masked()))


def _place(origin: Origin) -> Path:
    if origin.config_file is None:
        raise ResultsError("this run does not say where its config was: streambench resume RESULTS CONFIG")
    path = Path(origin.config_file)
    if not path.exists():
        raise ResultsError(f"{path}: the config is there no more; say where it is: streambench resume RESULTS CONFIG")
    return path


def _is_retried(config: Config) -> Callable[[AttemptRecord], bool]:
    """Whether another attempt was to follow one that is the last of its request."""
    if config.retry.attempts == 1:
        return lambda _: False
    from streambench.engines import retry_policy
    from streambench.health import judge

    policy = retry_policy(config)
    return lambda record: policy.after(record, judge(record), draw=0.5).wait_s is not None


def _is_refused(config: Config) -> Callable[[AttemptRecord], bool]:
    """Whether its key was refused; not where the config takes that for a failure like any other."""
    from streambench.breakers import Rules, refused_key

    rules = Rules(key_refused=config.breakers.key_refused)
    return lambda record: refused_key(rules, record, None) is not None


def _is_end(config: Config) -> Callable[[AttemptRecord], bool]:
    """Whether its conversation ended with it."""
    from streambench.sessions import ended_by

    turns = {prompt.id: [turn.facts for turn in prompt.turns] for prompt in config.suite.prompts if prompt.turns}
    return lambda record: (
        record.ticket.session_id is not None and ended_by(record, turns[record.ticket.prompt_id]) is not None
    )


def _spent_already(config: Config, continued: Continued) -> Trip | None:
    """Only where anything is left to be sent."""
    if not continued.left.plan.measure:
        return None
    from streambench.engines import spent_already

    return spent_already(config, continued)


def _advice(trip: Trip) -> str:
    return f"{trip.reason}, so nothing was sent; to go on, raise it: --set {trip.key}=..."


def _told(missing: int, planned: int, unsent: int) -> str:
    """What a cut conversation had recorded counts as missing: it is sent again whole."""
    ended = f", and {unsent} are turns of conversations that had ended before them" if unsent else ""
    recorded = planned - unsent - missing
    if not missing:
        return f"nothing is missing: {recorded if unsent else f'all {planned}'} requests are recorded{ended}"
    return f"resuming: {recorded} of {planned} requests are recorded, {missing} are missing{ended}"
