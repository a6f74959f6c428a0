"""Groups a run's requests by prompt, tag, turn or prompt length, and estimates metrics for each group.

A prompt with several tags is in the group of each tag. Estimates are not corrected for the number of groups, so a
result in one of many groups may be chance. This module makes no claim that groups differ.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from streambench.analysis.stats.estimates import Estimate, Share, estimate, sample, share
from streambench.metrics.assertions import By
from streambench.metrics.outcomes import OUTCOMES
from streambench.metrics.quantiles import STATISTICS, Statistic
from streambench.text import count

if TYPE_CHECKING:
    from streambench.analysis.run import Run

GROUPINGS: tuple[By, ...] = get_args(By)
LENGTHS = (0, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Lower bounds of the prompt length buckets, in characters."""
NO_TAG, NO_LENGTH = "(no tag)", "(length unknown)"
GROUPED: tuple[tuple[str, Statistic], ...] = tuple(
    (metric, statistic) for metric in ("ttft_ms", "output_tok_s", "e2e_ms") for statistic in STATISTICS
)


@dataclass(frozen=True, slots=True)
class Group:
    """One model's measured requests in one group, without cancelled requests.

    `outcomes` has `ok` and the other outcomes that occurred. `estimates` are over `ok` requests, keyed by (the metric's
    column, statistic).
    """

    by: By
    name: str
    model: str
    requests: int
    outcomes: Mapping[str, Share]
    estimates: Mapping[tuple[str, Statistic], Estimate]


def group_names(run: Run, by: By) -> list[str]:
    """Returns the names of the groups that have requests: turns and lengths ascending, else by name, NO_TAG last."""
    tickets = {(record.ticket.prompt_id, record.ticket.turn) for record in run.records}
    names = {name for prompt, turn in tickets for name in groups_of(run.header.suite, by, prompt, turn)}
    return sorted(names, key=lambda name: _order(by, name))


def group_estimates(
    run: Run, by: By, wanted: Sequence[tuple[str, Statistic]] = GROUPED, among: Sequence[str] | None = None
) -> list[Group]:
    """Returns each group with measured requests, for each model; groups as in `group_names`, models in config order.

    `wanted` lists (column of the requests frame, statistic). `among` limits the result to the named groups. The value
    of a percentile is None if the group has too few requests; an estimate without an interval says how many it needs.
    Raises KeyError if a column does not exist.
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
    """Returns the names of the groups of a request. `suite` is that of the run's header; `turn` counts from 0."""
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
        yield f"{count(low)} to {count(high - 1)} characters"
    yield f"{count(LENGTHS[-1])} characters and more"


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
    ok = part[part["outcome"] == "ok"]
    prompts = ok["prompt_id"].astype(str).to_numpy(dtype=str)
    samples = {metric: sample(ok[metric].to_numpy(dtype=float), prompts) for metric, _ in wanted}
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
