"""Combines several runs into one for viewing. Each model of each run becomes a separate model: `sim-swift @ night`.

The combined run exists in memory only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streambench.analysis.run import Run
from streambench.records.reader import lag_of_all
from streambench.records.schema import AttemptRecord, Resumption, RunEnd, RunHeader

AT = " @ "


def combined(runs: Sequence[Run]) -> Run:
    """Returns one run whose parts are `runs`, in the order given, with the header of the first.

    Model names end in the name from `run_names`. Prompts keep their ids, so that models are paired by prompt. In a run
    of a different suite the same id may be a different prompt, so its ids get a suffix. Requests are renumbered:
    see `step_of`.
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
class _RunPart:
    """One of the combined runs: suffixes of its models (`at`) and prompts (`prompt_at`), offsets of seq and segment."""

    run: Run
    name: str
    prompt_at: str
    seq: int
    segment: int

    @property
    def at(self) -> str:
        return f"{AT}{self.name}"


def _places(runs: Sequence[Run]) -> list[_RunPart]:
    step, suite = step_of(runs), runs[0].header.suite.get("hash")
    found: list[_RunPart] = []
    segment = 0
    for number, (run, name) in enumerate(zip(runs, run_names(runs), strict=True)):
        same = run.header.suite.get("hash") == suite
        found.append(_RunPart(run, name, "" if same else f"{AT}{name}", number * step, segment))
        segment += len(run.header.resumed) + 1
    return found


def _title(runs: Sequence[Run]) -> str:
    """Returns the title of the combined run: `quickstart, run 1 and run 2` if the runs share one name."""
    names = run_names(runs)
    common = {run.header.name for run in runs} - set(names)
    joined = " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
    return f"{common.pop()}, {joined}" if len(common) == 1 else joined


def run_names(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the runs' configs if they are distinct, else `run 1`, `run 2`, ..."""
    names = [run.header.name for run in runs]
    if len(set(names)) == len(names) and not any(AT in name for name in names):
        return names
    return [f"run {place}" for place in range(1, len(runs) + 1)]


def step_of(runs: Sequence[Run]) -> int:
    """Returns the offset between the request numbers of two runs, a power of ten.

    Request 7 of the second run becomes `step` + 7, that of the third 2 x `step` + 7.
    """
    most = max((record.ticket.seq for run in runs for record in run.records), default=0)
    return int(10 ** max(2, len(str(most))))


def _moved(record: AttemptRecord, place: _RunPart) -> AttemptRecord:
    ticket = replace(
        record.ticket,
        model=f"{record.ticket.model}{place.at}",
        prompt_id=f"{record.ticket.prompt_id}{place.prompt_at}",
        seq=record.ticket.seq + place.seq,
    )
    return replace(record, ticket=ticket, segment=record.segment + place.segment)


def _models(place: _RunPart) -> Iterator[dict[str, Any]]:
    for entry in place.run.header.config.get("models") or ():
        yield {**entry, "alias": f"{entry.get('alias') or entry.get('model')}{place.at}"}


def _catalogue(place: _RunPart) -> Iterator[tuple[str, Any]]:
    for prompt, facts in (place.run.header.suite.get("catalogue") or {}).items():
        yield f"{prompt}{place.prompt_at}", facts


def _parts(runs: Sequence[Run]) -> Iterator[Resumption]:
    """Yields every part except the first, each with its own clock anchor."""
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
    """Returns the end of the combined run: complete only if all runs are. None if a run has no end."""
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
