"""Several runs as one, each model of each run a model of its own: `sim-swift @ night`. For readers; never written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streambench.records import AttemptRecord, Resumption, RunEnd, RunHeader
from streambench.results.reading import Run, lag_of_all

AT = " @ "


def joined(runs: Sequence[Run]) -> Run:
    """The runs as parts of one, in the order given, with the header of the first.

    Models are named by `run_names`. Prompts keep their ids, so that models are paired by them, but in a run of another
    suite, where the same id may be another prompt. Requests are renumbered: see `step_of`.
    """
    places = _places(runs)
    header = replace(
        runs[0].header,
        name=_title(runs),
        run_id=", ".join(run.header.run_id for run in runs),
        config={**runs[0].header.config, "models": [model for place in places for model in _models(place)]},
        suite={**runs[0].header.suite, "catalogue": {k: v for place in places for k, v in _catalogue(place)}},
        requests_planned=sum(run.header.requests_planned for run in runs),
        simulated=tuple(f"{model}{place.at}" for place in places for model in place.run.header.simulated),
        resumed=tuple(_parts(runs)),
    )
    return Run(
        path=Path(header.name),
        header=header,
        records=tuple(_moved(record, place) for place in places for record in place.run.records),
        end=_end(runs),
        warnings=tuple(f"{place.name}: {warning}" for place in places for warning in place.run.warnings),
        took_ns=sum(run.took_ns for run in runs),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A run among the others: what its models' names and its prompts' ids end with, and where its numbers begin."""

    run: Run
    name: str
    prompt_at: str
    seq: int
    segment: int

    @property
    def at(self) -> str:
        return f"{AT}{self.name}"


def _places(runs: Sequence[Run]) -> list[_Place]:
    step, suite = step_of(runs), runs[0].header.suite.get("hash")
    found: list[_Place] = []
    segment = 0
    for number, (run, name) in enumerate(zip(runs, run_names(runs), strict=True)):
        same = run.header.suite.get("hash") == suite
        found.append(_Place(run, name, "" if same else f"{AT}{name}", number * step, segment))
        segment += len(run.header.resumed) + 1
    return found


def _title(runs: Sequence[Run]) -> str:
    """Of runs with one name: `quickstart, run 1 and run 2`."""
    names = run_names(runs)
    common = {run.header.name for run in runs} - set(names)
    told = " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
    return f"{common.pop()}, {told}" if len(common) == 1 else told


def run_names(runs: Sequence[Run]) -> list[str]:
    """By their configs' names where those tell them apart, else `run 1`, `run 2`, ..."""
    names = [run.header.name for run in runs]
    if len(set(names)) == len(names) and not any(AT in name for name in names):
        return names
    return [f"run {place}" for place in range(1, len(runs) + 1)]


def step_of(runs: Sequence[Run]) -> int:
    """A power of ten: the second run's request 7 becomes number `step` + 7, the third's 2 x `step` + 7."""
    most = max((record.ticket.seq for run in runs for record in run.records), default=0)
    return int(10 ** max(2, len(str(most))))


def _moved(record: AttemptRecord, place: _Place) -> AttemptRecord:
    ticket = replace(
        record.ticket,
        model=f"{record.ticket.model}{place.at}",
        prompt_id=f"{record.ticket.prompt_id}{place.prompt_at}",
        seq=record.ticket.seq + place.seq,
    )
    return replace(record, ticket=ticket, segment=record.segment + place.segment)


def _models(place: _Place) -> Iterator[dict[str, Any]]:
    for entry in place.run.header.config.get("models") or ():
        yield {**entry, "alias": f"{entry.get('alias') or entry.get('model')}{place.at}"}


def _catalogue(place: _Place) -> Iterator[tuple[str, Any]]:
    for prompt, facts in (place.run.header.suite.get("catalogue") or {}).items():
        yield f"{prompt}{place.prompt_at}", facts


def _parts(runs: Sequence[Run]) -> Iterator[Resumption]:
    """Every part but the first, each with the anchor of its own clock."""
    anchored = [part for run in runs for part in (_as_part(run.header), *run.header.resumed)]
    for segment, part in enumerate(anchored[1:], 1):
        yield replace(part, segment=segment)


def _as_part(header: RunHeader) -> Resumption:
    return Resumption(
        segment=0,
        wall_ns=header.wall_ns,
        monotonic_ns=header.monotonic_ns,
        requests_missing=header.requests_planned,
        stamps=header.stamps,
        versions=header.versions,
        host=header.host,
    )


def _end(runs: Sequence[Run]) -> RunEnd | None:
    """None where a run has none; else complete where all are."""
    ends = [run.end for run in runs if run.end is not None]
    if len(ends) < len(runs):
        return None
    worst = next((end for end in ends if end.status != "complete"), ends[-1])
    return replace(
        worst,
        client_lag_ns=lag_of_all([end.client_lag_ns for end in ends]),
        clock_steps=sum(end.clock_steps for end in ends),
        clock_error_ns=max(end.clock_error_ns for end in ends),
        measured_ns=sum(end.window_ns or 0 for end in ends),
    )
