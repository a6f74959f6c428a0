"""A run's requests by what they have in common: a prompt, a tag, a turn, a prompt's length; each group's estimates.

A prompt with several tags is in the group of each. Groups are looked at one by one: what holds in one of many may be
chance, so nothing here says that groups differ.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

import pandas as pd

from streambench.health import OUTCOMES
from streambench.stats.estimates import STATISTICS, Estimate, Share, Statistic, estimate, sample, share

if TYPE_CHECKING:
    from streambench.results import Run

By = Literal["tag", "turn", "length", "prompt"]
GROUPINGS: tuple[By, ...] = get_args(By)
LENGTHS = (0, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Where a bucket of prompt lengths begins, in characters."""
NO_TAG, NO_LENGTH = "(no tag)", "(length unknown)"
GROUPED: tuple[tuple[str, Statistic], ...] = tuple(
    (metric, statistic) for metric in ("ttft_ms", "output_tok_s", "e2e_ms") for statistic in STATISTICS
)


@dataclass(frozen=True, slots=True)
class Group:
    """One model's measured requests of one group; requests that we cancelled ourselves are not among them.

    `outcomes` has `ok` and those that occurred. `estimates` are of `ok` requests, by (metric's column, statistic).
    """

    by: By
    name: str
    model: str
    requests: int
    outcomes: Mapping[str, Share]
    estimates: Mapping[tuple[str, Statistic], Estimate]


def group_names(run: Run, by: By) -> list[str]:
    """The groups that have requests, in order of size or name."""
    tickets = {(record.ticket.prompt_id, record.ticket.turn) for record in run.records}
    names = {name for prompt, turn in tickets for name in groups_of(run.header.suite, by, prompt, turn)}
    return sorted(names, key=lambda name: _order(by, name))


def group_estimates(
    run: Run, by: By, wanted: Sequence[tuple[str, Statistic]] = GROUPED, among: Sequence[str] | None = None
) -> list[Group]:
    """Every group that has measured requests (or those `among` the named), for each model, in the config's order.

    `wanted` are (column of the requests frame, statistic). A percentile that a group cannot carry has no value, one
    without an interval says what that needs. Raises KeyError for a column that is not there.
    """
    frame = run.requests
    metrics = list(dict.fromkeys(metric for metric, _ in wanted))
    counted = ~frame["warmup"].astype(bool) & (frame["outcome"] != "cancelled")
    rows = frame.loc[counted, ["model", "prompt_id", "turn", "outcome", *metrics]]
    tickets = zip(rows["prompt_id"].astype(str), rows["turn"], strict=True)
    names = [groups_of(run.header.suite, by, prompt, int(turn)) for prompt, turn in tickets]
    rows = rows.assign(group=pd.Series(names, index=rows.index, dtype=object)).explode("group")
    if among is not None:
        rows = rows[rows["group"].isin(among)]
    models = [str(model) for model in frame["model"].cat.categories]
    found = [
        _group(by, str(key[0]), str(key[1]), part, wanted, abs(run.header.seed))
        for key, part in rows.groupby(["group", "model"], observed=True, sort=False)
    ]
    return sorted(found, key=lambda group: (_order(by, group.name), models.index(group.model)))


def groups_of(suite: Mapping[str, Any], by: By, prompt: str, turn: int) -> tuple[str, ...]:
    """The names of a request's groups, from its prompt's id and turn; `suite` is that of a run's header."""
    if by == "prompt":
        return (prompt,)
    if by == "turn":
        return (f"turn {turn + 1}",)
    facts = (suite.get("catalogue") or {}).get(prompt) or {}
    if by == "tag":
        return tuple(dict.fromkeys(str(tag) for tag in facts.get("tags") or ())) or (NO_TAG,)
    chars = facts.get("chars")
    return (_bucket(chars) if isinstance(chars, int) and chars >= 0 else NO_LENGTH,)


def _bucket(chars: int) -> str:
    return _BUCKETS[bisect_right(LENGTHS, chars) - 1]


def _buckets() -> Iterator[str]:
    for low, high in pairwise(LENGTHS):
        yield f"{low:,} to {high - 1:,} characters"
    yield f"{LENGTHS[-1]:,} characters and more"


_BUCKETS = tuple(_buckets())


def _order(by: By, name: str) -> tuple[float, str]:
    if by == "turn":
        return float(name.removeprefix("turn ")), name
    if by == "length":
        return (float(_BUCKETS.index(name)) if name in _BUCKETS else math.inf), name
    return (1.0 if name == NO_TAG else 0.0), name


def _group(
    by: By, name: str, model: str, part: pd.DataFrame, wanted: Sequence[tuple[str, Statistic]], seed: int
) -> Group:
    fine = part[part["outcome"] == "ok"]
    prompts = fine["prompt_id"].astype(str).to_numpy(dtype=str)
    samples = {metric: sample(fine[metric].to_numpy(dtype=float), prompts) for metric, _ in wanted}
    counts = {str(outcome): int(count) for outcome, count in part["outcome"].value_counts().items()}
    shown = [outcome for outcome in reversed(list(OUTCOMES)) if counts.get(outcome) or outcome == "ok"]
    return Group(
        by=by,
        name=name,
        model=model,
        requests=len(part),
        outcomes={outcome: share(counts.get(outcome, 0), len(part)) for outcome in shown},
        estimates={(metric, statistic): estimate(samples[metric], statistic, seed) for metric, statistic in wanted},
    )
