"""Two models on the same prompts: how much sooner, on how many prompts, is it real, and what would settle it.

Models are paired by (prompt, repeat), so whatever a prompt or a moment does to both falls out of the difference. A
prompt counts once, with the median over its repeats; what is tested and estimated is over prompts (`signed_rank`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from streambench.stats.estimates import LEVEL, Estimate, Floats, Share, share
from streambench.stats.normal import normal_quantile
from streambench.stats.signed_rank import MIN_PROMPTS, Typical, typical

ALPHA = 1 - LEVEL
POWER = 0.80
"""The chance with which the planned sample shows a difference of the planned size."""
CHANGE = 0.10
"""The difference that a plan is made for."""
MAX_PLAN = 1_000_000
KEYS = ("run_id", "prompt_id", "repeat", "turn")
Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Values of `a` and `b` in the same unit, and the number of each pair's prompt, 0 to `prompts` - 1: each (n,).

    `left_out` counts the requests of either that have no partner, or whose value or partner's is unknown.
    """

    a: str
    b: str
    values_a: Floats
    values_b: Floats
    clusters: npt.NDArray[np.intp]
    prompts: int
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a` against `b` in one metric. `difference` is a - b in the metric's unit, `ratio` a / b: typical over prompts.

    `won` is the share of prompts on which `a` is better (a draw is not won). `p` is the test of "no difference", None
    below MIN_PROMPTS prompts; `p_holm` is corrected for all comparisons made together. `more` is how many more
    requests, of both models together, would show a difference of `change` with 80 % chance; 0: such a one would
    have shown; None: unknown.
    """

    a: str
    b: str
    metric: str
    better: Better
    pairs: int
    prompts: int
    left_out: int
    difference: Estimate
    ratio: Estimate | None
    won: Share
    lost: Share
    p: float | None
    p_holm: float | None
    more: int | None
    change: float = CHANGE

    @property
    def winner(self) -> str | None:
        """Who is better for certain: the corrected test and the difference's interval say so; None for nobody."""
        low, high = self.difference.low, self.difference.high
        if self.p_holm is None or self.p_holm >= ALPHA or low is None or high is None or low <= 0 <= high:
            return None
        return self.a if (high < 0) == (self.better == "lower") else self.b


def pairs_of(frame_a: pd.DataFrame, frame_b: pd.DataFrame, column: str, names: tuple[str, str]) -> Pairs:
    """Pairs of two models' `ok`, measured requests (rows of the requests frame) by run, prompt, repeat and turn.

    A key column that either frame lacks is not used. Raises KeyError where `column` is missing, and ValueError where
    a frame holds two requests of one key.
    """
    keys = [key for key in KEYS if key in frame_a and key in frame_b]
    one, other = (_by_key(frame, keys, column, name) for frame, name in zip((frame_a, frame_b), names, strict=True))
    both = [key for key in one if key in other]
    places = keys.index("prompt_id")
    pairs = pair([one[key] for key in both], [other[key] for key in both], [key[places] for key in both], names)
    return replace(pairs, left_out=len(frame_a) + len(frame_b) - 2 * len(pairs.values_a))


def pair(
    values_a: Sequence[float], values_b: Sequence[float], prompts: Sequence[Hashable], names: tuple[str, str]
) -> Pairs:
    """Pairs of equal rows (n,), a prompt's name beside each; those with an unknown or infinite value are left out.

    Raises ValueError where lengths differ.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if not len(a) == len(b) == len(prompts):
        raise ValueError(f"{len(a)} values, {len(b)} values and {len(prompts)} prompts make no pairs")
    known = np.isfinite(a) & np.isfinite(b)
    labels = np.asarray([str(prompt) for prompt in prompts], dtype=object)[known].astype(str)
    found, codes = np.unique(labels, return_inverse=True)
    left_out = 2 * int(np.sum(~known))
    return Pairs(*names, a[known], b[known], codes.astype(np.intp), len(found), left_out)


def compare(pairs: Pairs, metric: str, better: Better = "lower", change: float = CHANGE) -> Comparison:
    """The comparison by itself: `p_holm` is `p`. For several use `compare_all`, which corrects and plans for them.

    The test is on log ratios, where a slow prompt counts as much as a quick one; on differences if a value is not
    above 0, and then there is no ratio.
    """
    differences = by_prompt(pairs.values_a - pairs.values_b, pairs.clusters, pairs.prompts)
    logs = _logs(pairs)
    typical_log = typical(logs) if logs is not None else None
    tested = typical_log or typical(differences)
    sign = 1 if better == "lower" else -1
    judged = differences if logs is None else logs
    return Comparison(
        a=pairs.a,
        b=pairs.b,
        metric=metric,
        better=better,
        pairs=len(pairs.values_a),
        prompts=pairs.prompts,
        left_out=pairs.left_out,
        difference=_estimate(typical(differences), pairs),
        ratio=None if typical_log is None else exponential(_estimate(typical_log, pairs)),
        won=share(int(np.sum(sign * judged < 0)), pairs.prompts),
        lost=share(int(np.sum(sign * judged > 0)), pairs.prompts),
        p=tested.p if tested else None,
        p_holm=tested.p if tested else None,
        more=more_requests(typical_log, len(pairs.values_a), change),
        change=change,
    )


def compare_all(
    frame: pd.DataFrame, metrics: Mapping[str, Better], models: Sequence[str] | None = None, change: float = CHANGE
) -> list[Comparison]:
    """Every two models in every metric (column: which way is better), corrected by Holm for all of them together.

    `frame` is the requests frame: only measured `ok` rows are taken. Models in the order given, else in that of the
    frame's categories. Raises KeyError where a column is missing.
    """
    fine = frame[(frame["outcome"] == "ok") & (frame["phase"] == "measure")]
    names = list(models if models is not None else _models(fine))
    found = [
        compare(pairs_of(fine[fine["model"] == a], fine[fine["model"] == b], column, (a, b)), column, better, change)
        for column, better in metrics.items()
        for a, b in combinations(names, 2)
    ]
    return corrected(found)


def corrected(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The same with Holm's p over all of them, and plans that would pass it."""
    found = list(comparisons)
    tested = [each for each in found if each.p is not None]
    adjusted = iter(holm([each.p for each in tested if each.p is not None]))
    return [
        each if each.p is None else replace(each, p_holm=next(adjusted), more=_planned(each, len(tested)))
        for each in found
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values in the same order: the chance of any false alarm among all is kept (Holm 1979).

    Raises ValueError where one is not between 0 and 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError("a p-value is between 0 and 1")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(1.0, steps)
    return [float(each) for each in found]


def by_prompt(values: Floats, clusters: npt.NDArray[np.intp], prompts: int) -> Floats:
    """The median over each prompt's values: (prompts,). Each prompt has at least one value."""
    order = np.lexsort((values, clusters))
    sizes = np.bincount(clusters, minlength=prompts)
    first = np.cumsum(sizes) - sizes
    ranked = values[order]
    found: Floats = ranked[first + (sizes - 1) // 2] / 2 + ranked[first + sizes // 2] / 2
    return found


def more_requests(logs: Typical | None, pairs: int, change: float = CHANGE, tests: int = 1) -> int | None:
    """How many more requests, of both together and on new prompts, would show a ratio of 1 + `change` with POWER.

    The standard error now is the interval's width / (2 x 1.96); it must fall to log(1 + change) / (z(1 - alpha / 2) +
    z(power)), and falls with the root of the number of prompts (Lachin 1981; alpha is divided by `tests`, the worst
    that Holm asks for). None where there is no interval.
    """
    if logs is None or logs.low is None or logs.high is None:
        return None
    return _more((logs.low, logs.high), logs.prompts, pairs, change, tests)


def exponential(logs: Estimate) -> Estimate:
    """A log ratio's estimate as a ratio."""
    value, low, high = (None if end is None else math.exp(min(end, 700.0)) for end in (logs.value, logs.low, logs.high))
    return replace(logs, value=value, low=low, high=high)


def _by_key(frame: pd.DataFrame, keys: Sequence[str], column: str, name: str) -> dict[tuple[Hashable, ...], float]:
    columns = [[None if pd.isna(each) else each for each in frame[key]] for key in keys]
    rows = dict(zip(zip(*columns, strict=True), frame[column].astype("float64"), strict=True))
    if len(rows) != len(frame):
        raise ValueError(f"{name}: two requests have the same {', '.join(keys)}")
    return rows


def _models(frame: pd.DataFrame) -> list[str]:
    names = frame["model"].astype("category").cat
    present = set(frame["model"])
    return [name for name in names.categories if name in present]


def _logs(pairs: Pairs) -> Floats | None:
    if not len(pairs.values_a) or min(pairs.values_a.min(), pairs.values_b.min()) <= 0:
        return None
    return by_prompt(np.log(pairs.values_a) - np.log(pairs.values_b), pairs.clusters, pairs.prompts)


def _estimate(found: Typical | None, pairs: Pairs) -> Estimate:
    n = len(pairs.values_a)
    if found is None:
        return Estimate(None, None, None, n, 0, 1, f"{MIN_PROMPTS} prompts")
    needs = "" if found.low is not None else f"{MIN_PROMPTS} prompts"
    return Estimate(found.value, found.low, found.high, n, found.prompts, 1, needs)


def _planned(each: Comparison, tests: int) -> int | None:
    ratio = each.ratio
    if ratio is None or not ratio.low or ratio.high is None:
        return None
    return _more((math.log(ratio.low), math.log(ratio.high)), each.prompts, each.pairs, each.change, tests)


def _more(ends: tuple[float, float], prompts: int, pairs: int, change: float, tests: int) -> int | None:
    z = normal_quantile((1 + LEVEL) / 2)
    error = (ends[1] - ends[0]) / (2 * z)
    wanted = math.log1p(change) / (normal_quantile(1 - ALPHA / (2 * tests)) + normal_quantile(POWER))
    more_prompts = prompts * ((error / wanted) ** 2 - 1)
    needed = 2 * math.ceil(max(0.0, more_prompts) * pairs / prompts)
    return needed if needed <= MAX_PLAN else None
