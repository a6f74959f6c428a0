"""What an unfinished run still needs, and whether a config is the one it was begun with. Pure.

On the way: `run` stores where its config came from (`origin_of`); `resume` loads it again (`given_again`), compares
(`refuse_changes`) and sends what is left (`left_of`). Same config and seed, same plan: so the parts fit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from streambench.documents import parse_yaml, shown
from streambench.errors import ConfigError, InputError, Problem, ResultsError
from streambench.plan import Plan
from streambench.records import AttemptRecord, Phase, RunHeader, Ticket, in_one_part
from streambench.results import Journal
from streambench.secrets import MASK, Secrets, is_secret_name, mask_url

RequestKey = tuple[Phase, int]
"""A request's phase and seq."""

PLACES = ("name", "output", "suite.name", "suite.path", "telemetry")
STOPS = ("limits.duration_s", "limits.drain_s", "budget", "breakers")
"""Keys that may differ when a run goes on: where things lie or go, and when to stop. None decides what is measured."""

_PATHS = ("models", "ca_bundle", "client_cert", "client_key")
"""Keys under `gateways` that hold a file's place, which is compared by the file's name."""

_MAX_TEXT = 200
_VARIABLE = re.compile(r"\$\{[^{}]*\}")
_OPTION = "--set"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run's config came from, as the headers store it."""

    config_file: str | None = None
    overrides: tuple[str, ...] = ()
    folder: str | None = None
    """The working folder that the run was begun in."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Those of STOPS that are not as they were when the run was begun."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is still to be sent, and how many attempts each request has had so far."""

    plan: Plan
    attempts: Mapping[RequestKey, int]
    """Not among them are those that a request is not held to: broken off by us, or refused for their key."""
    unsent: int = 0
    """Turns that will not be sent, as their conversations had ended before them."""

    def tries(self, ticket: Ticket) -> int:
        """How many of its attempts are used up. The warm-up is done anew, with all of its attempts."""
        return self.attempts.get(_key(ticket), 0) if ticket.phase == "measure" else 0

    def mark(self, record: AttemptRecord, segment: int) -> AttemptRecord:
        """A record of the run's part `segment`, its attempt counted on from those of the parts before."""
        earlier = self.attempts.get(_key(record.ticket), 0)
        return replace(record, attempt=earlier + record.attempt, segment=segment)


@dataclass(frozen=True, slots=True)
class Continued:
    """A run that goes on: its journal, reopened, the records that it holds, and what is left."""

    journal: Journal
    records: tuple[AttemptRecord, ...]
    left: Left
    took_ns: int = 0
    """The time that its parts took so far."""


# --- the plan


Judge = Callable[[AttemptRecord], bool]


def left_of(
    plan: Plan,
    records: Iterable[AttemptRecord],
    is_retried: Judge = lambda _: False,
    is_refused: Judge = lambda _: False,
    is_end: Judge = lambda _: False,
) -> Left:
    """The requests without a final record, in the plan's order; the warm-up whole, where anything is left to measure.

    An attempt that we broke off ourselves, or whose key was refused (`is_refused`), says nothing of its model: it does
    not count. The last that counts is final unless `is_retried` says that another was to follow. A conversation that
    was cut is sent again whole, as if never begun; one whose last record ended it (`is_end`) lacks nothing. Raises
    ResultsError where the records are not of this plan.
    """
    recorded = list(records)
    _refuse_another_plan(plan, recorded)
    last = _last_by_request(
        record for record in in_one_part(recorded) if not (_is_cancelled(record) or is_refused(record))
    )
    final = {key for key, record in last.items() if not is_retried(record)}
    ended = {last[key].ticket.session_id for key in final if is_end(last[key])}
    open_turns = [ticket for ticket in plan.measure if _key(ticket) not in final]
    cut = {ticket.session_id for ticket in open_turns} - ended - {None}
    measure = tuple(ticket for ticket in plan.measure if ticket.session_id in cut or _lacks(ticket, final))
    left = Plan(plan.warmup if measure else (), _rescheduled(measure, plan.measure), plan.cut)
    tried = {key: record.attempt for key, record in last.items() if record.ticket.session_id not in cut}
    unsent = sum(ticket.session_id in ended for ticket in open_turns)
    return Left(left, tried, unsent)


def _lacks(ticket: Ticket, final: Collection[RequestKey]) -> bool:
    """Of a request by itself."""
    return ticket.session_id is None and _key(ticket) not in final


def _last_by_request(records: Iterable[AttemptRecord]) -> dict[RequestKey, AttemptRecord]:
    last: dict[RequestKey, AttemptRecord] = {}
    for record in records:
        before = last.setdefault(_key(record.ticket), record)
        if (record.segment, record.attempt) >= (before.segment, before.attempt):
            last[_key(record.ticket)] = record
    return last


def _key(ticket: Ticket) -> RequestKey:
    return ticket.phase, ticket.seq


def _is_cancelled(record: AttemptRecord) -> bool:
    return record.failure is not None and record.failure.kind == "cancelled"


def _rescheduled(measure: tuple[Ticket, ...], planned: tuple[Ticket, ...]) -> tuple[Ticket, ...]:
    """In an open loop the last instants of the schedule, from zero: the same arrivals, and no wait for the past."""
    firsts = [ticket for ticket in measure if ticket.scheduled_ns is not None]
    instants = [ticket.scheduled_ns for ticket in planned if ticket.scheduled_ns is not None]
    known = instants[len(instants) - len(firsts) :]
    due = {ticket.seq: at - known[0] for ticket, at in zip(firsts, known, strict=True)}
    return tuple(replace(ticket, scheduled_ns=due.get(ticket.seq)) for ticket in measure)


def _refuse_another_plan(plan: Plan, records: Iterable[AttemptRecord]) -> None:
    """The suite's hash does not tell the order of its prompts; and another version may shuffle otherwise."""
    planned = {_key(ticket): _work(ticket) for ticket in (*plan.warmup, *plan.measure)}
    for record in records:
        ticket = record.ticket
        if planned.get(_key(ticket)) != _work(ticket):
            raise ResultsError(
                f"its records are not of this plan: request {ticket.seq} was {ticket.model} with prompt "
                f"{shown(ticket.prompt_id)}; were the suite's prompts put in another order, or streambench updated?"
            )


def _work(ticket: Ticket) -> tuple[str, str, int, int]:
    return ticket.model, ticket.prompt_id, ticket.repeat, ticket.turn


# --- the config


def origin_of(
    config_file: Path, overrides: Sequence[str], secrets: Secrets, changed: Mapping[str, Any] | None = None
) -> Origin:
    """What to store of where the config came from, and of a run that goes on, in what it `changed`."""
    return Origin(str(config_file.absolute()), kept_overrides(overrides, secrets), str(Path.cwd()), changed or {})


def kept_overrides(overrides: Iterable[str], secrets: Secrets) -> tuple[str, ...]:
    """The `--set` texts; a value that may hold a prompt or a secret, and so is not stored, is `***`."""
    return tuple(text if _may_be_kept(text, secrets) else f"{_key_of(text)}={MASK}" for text in overrides)


def given_again(stored: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """The overrides of a run and then those given now. Raises ConfigError for one not stored and not given again."""
    now = {_key_of(text) for text in given}
    missing = [_key_of(text) for text in stored if text.endswith(f"={MASK}") and _key_of(text) not in now]
    if missing:
        raise ConfigError([_not_kept(key) for key in missing])
    return (*(text for text in stored if _key_of(text) not in now), *given)


def _not_kept(key: str) -> Problem:
    message = "was set when the run was begun; its value may be private, so it is not kept"
    return Problem(message, _OPTION, where=key, accepted=f"{_OPTION} {key}=... once more")


def origin_in(header: RunHeader) -> Origin:
    """Where the config was when the run was last begun or resumed; the folder is that of its beginning."""
    last = header.resumed[-1] if header.resumed else header
    return Origin(last.config_file, last.overrides, header.folder)


def refuse_changes(header: RunHeader, config: Mapping[str, Any], config_file: Path) -> None:
    """Raises ConfigError with each key in which the masked config is not that of the run."""
    problems = [
        Problem("is not what the run was begun with", str(config_file), None, key, _told(now), _told(then))
        for key, then, now in changes(header.config, config)
    ]
    if problems:
        raise ConfigError(problems)


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, then, now) of every value that differs and may not; a missing one is None."""
    return [change for change in _differences(then, now) if not _is_one_of(change[0], (*PLACES, *STOPS))]


def changed_stops(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Those of STOPS that differ, by key, as they are now."""
    return {key: after for key, _, after in _differences(then, now) if _is_one_of(key, STOPS)}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    before, after = dict(_flat(_as_json(then))), dict(_flat(_as_json(now)))
    return [
        (key, before.get(key), after.get(key))
        for key in dict.fromkeys((*before, *after))
        if _compared(key, before.get(key)) != _compared(key, after.get(key))
    ]


def _as_json(config: Mapping[str, Any]) -> Any:
    """As it is in the header after its way through the file."""
    return json.loads(json.dumps(config, default=str))


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from _flat(inner, (*path, key))
        case list() if value:
            for index, inner in enumerate(value):
                yield from _flat(inner, (*path, str(index)))
        case _:
            yield ".".join(path), value


def _is_one_of(key: str, ones: Iterable[str]) -> bool:
    """One of these keys, or inside of one."""
    return any(key == one or key.startswith(f"{one}.") for one in ones)


def _compared(key: str, value: Any) -> Any:
    steps = key.split(".")
    if steps[0] == "gateways" and steps[-1] in _PATHS and isinstance(value, str):
        return PurePath(value).name
    return value


def _told(value: Any) -> str:
    return "nothing" if value in (None, {}, []) else shown(value)


def _key_of(text: str) -> str:
    return text.partition("=")[0].strip()


def _may_be_kept(text: str, secrets: Secrets) -> bool:
    """As much as the masked config would show. Literal keys were refused already; `${NAME}` is no secret."""
    key, _, value = text.partition("=")
    steps = key.strip().split(".")
    value = value.strip()
    if _VARIABLE.fullmatch(value) or value == "none":
        return True
    if steps[0] == "prompts" or any(is_secret_name(step) or step == "headers" for step in steps):
        return False
    if steps[0] in ("gateways", "models", "telemetry") and _holds_mapping(value):
        return False
    return len(value) <= _MAX_TEXT and secrets.mask(value) == mask_url(value) == value


def _holds_mapping(value: str) -> bool:
    try:
        data = parse_yaml(value, _OPTION).data if value else None
    except InputError:
        return True
    return isinstance(data, dict) or (isinstance(data, list) and any(isinstance(item, dict | list) for item in data))
