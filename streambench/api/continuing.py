"""Prepares to resume a run: reads its config again and compares it, finds the missing requests, checks the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.api.steps import Notify, plan_of
from streambench.errors import ResultsError

if TYPE_CHECKING:
    from streambench.analysis.run import Run
    from streambench.config.config import Config
    from streambench.config.origin import Origin
    from streambench.records.journal import Journal
    from streambench.records.schema import AttemptRecord, RunHeader
    from streambench.runner.breakers import StopReason
    from streambench.runner.plan import Plan
    from streambench.runner.resume import Continued


@dataclass(frozen=True, slots=True)
class Continuation:
    """A run to be resumed. `stop_reason` is the reason why nothing may be sent (a spent budget), or None."""

    run: Run
    config: Config
    origin: Origin
    plan: Plan
    """The whole plan; `continued.left.plan` has the requests that are missing."""
    continued: Continued
    stop_reason: StopReason | None

    @property
    def sends(self) -> bool:
        return bool(self.continued.left.plan.measure) and self.stop_reason is None

    @property
    def requests(self) -> int:
        return len(self.plan.warmup) + len(self.plan.measure)


def continuation(
    journal: Journal, given: Config | Path | None, overrides: Sequence[str], *, notify: Notify, warn: Notify
) -> Continuation:
    """Returns what is left of the run in `journal`. `given`: its config or the new path of that; None to look it up.

    `warn` gets a line if the budget is spent; otherwise `notify` gets a line with the number of missing requests.
    Raises ConfigError, ResultsError, SchemaError.
    """
    from streambench.analysis.run import load
    from streambench.runner.resume import Continued, left_of

    config, origin = config_again(journal.header, given, overrides)
    run = load(journal.folder)
    plan = plan_of(config, origin.config_file or "")
    left = left_of(plan, run.records, _is_retried(config), _is_refused(config), _is_end(config))
    continued = Continued(journal.segment, run.records, left, run.took_ns)
    stop_reason = spent_before(config, continued)
    if stop_reason is not None:
        warn(f"error: {advice(stop_reason)}")
    else:
        notify(progress_line(len(left.plan.measure), len(plan.measure), left.unsent))
    return Continuation(run, config, origin, plan, continued, stop_reason)


def config_again(header: RunHeader, given: Config | Path | None, overrides: Sequence[str]) -> tuple[Config, Origin]:
    """Reads the run's config again. `given` is the config, or its new path, or None if it is still in the same place.

    Raises ConfigError if what it measures has changed, ResultsError if the file cannot be found.
    """
    from streambench.config.config import IN_PYTHON, Config
    from streambench.config.load import load_config
    from streambench.config.model_selection import resolve_again
    from streambench.config.origin import Origin, given_again, origin_in, origin_of
    from streambench.records.config_diff import changed_stops, refuse_changes

    if isinstance(given, Config):
        config = resolve_again(given, header.config["models"])
        refuse_changes(header, config.masked(), Path(IN_PYTHON))
        return config, Origin(changed=changed_stops(header.config, config.masked()))
    before = origin_in(header)
    path = given or _place(before)
    together = given_again(before.overrides, overrides)
    config = load_config(path, together, also_in=Path(before.folder) if before.folder else None)
    config = resolve_again(config, header.config["models"])
    refuse_changes(header, config.masked(), path)
    return config, origin_of(path, together, config.secrets, changed_stops(header.config, config.masked()))


def _place(origin: Origin) -> Path:
    if origin.config_file is None:
        raise ResultsError("this run does not state the path of its config; pass it: streambench resume RESULTS CONFIG")
    path = Path(origin.config_file)
    if not path.exists():
        raise ResultsError(f"{path}: the config no longer exists; pass its new path: streambench resume RESULTS CONFIG")
    return path


def _is_retried(config: Config) -> Callable[[AttemptRecord], bool]:
    """Returns a function that is True for a request's last attempt if the retry policy would have retried it."""
    if config.retry.attempts == 1:
        return lambda _: False
    from streambench.metrics.outcomes import outcome_of
    from streambench.runner.retry import decide

    return lambda record: decide(config.retry, record, outcome_of(record), draw=0.5).wait_s is not None


def _is_refused(config: Config) -> Callable[[AttemptRecord], bool]:
    """Returns a function that is True for an attempt whose API key was rejected, if `breakers.key_refused` is on."""
    from streambench.runner.breakers import refused_key

    return lambda record: refused_key(config.breakers, record, None) is not None


def _is_end(config: Config) -> Callable[[AttemptRecord], bool]:
    """Returns a function that is True for an attempt that ended its conversation."""
    from streambench.analysis.conversations import ended_by
    from streambench.metrics.outcomes import outcome_of

    turns = {prompt.id: [turn.facts for turn in prompt.turns] for prompt in config.suite.prompts if prompt.turns}
    return lambda record: (
        record.ticket.session_id is not None
        and ended_by(record, outcome_of(record), turns[record.ticket.prompt_id]) is not None
    )


def spent_before(config: Config, continued: Continued) -> StopReason | None:
    """Returns the reason why the run's budget allows no more requests; None if it allows more or none are missing."""
    if not continued.left.plan.measure:
        return None
    from streambench.runner.run_policy import spent_already

    return spent_already(config, continued)


def advice(stop_reason: StopReason) -> str:
    return f"{stop_reason.reason}, so nothing was sent; to continue, raise it: --set {stop_reason.key}=..."


def progress_line(missing: int, planned: int, unsent: int) -> str:
    """Returns the line about how many requests are recorded and missing.

    The recorded turns of an interrupted conversation count as missing, as the whole conversation is sent again.
    """
    ended = f", and {unsent} were not sent because their conversation had ended" if unsent else ""
    recorded = planned - unsent - missing
    if not missing:
        return f"nothing is missing: {recorded if unsent else f'all {planned}'} requests are recorded{ended}"
    return f"resuming: {recorded} of {planned} requests are recorded, {missing} are missing{ended}"
