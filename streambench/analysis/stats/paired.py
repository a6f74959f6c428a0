"""Compares two models on the same prompts: the difference, its significance, and the requests needed to show one.

Models are paired by (prompt, repeat), so that effects of a prompt or of a moment on both models cancel out. A prompt
counts once, with the median over its repeats; tests and estimates are over prompts (`signed_rank`).
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

from streambench.analysis.stats.estimates import LEVEL, Estimate, Floats, Share, share
from streambench.analysis.stats.normal import normal_quantile
from streambench.analysis.stats.signed_rank import MIN_PROMPTS, Typical, typical

ALPHA = 1 - LEVEL
POWER = 0.80
"""The probability that the planned sample shows a difference of size CHANGE."""
CHANGE = 0.10
"""The relative difference that the planned sample should show."""
MAX_PLAN = 1_000_000
KEYS = ("run_id", "prompt_id", "repeat", "turn")
Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Paired values of models `a` and `b` in the same unit, each of shape (n,).

    `clusters` (n,) is the prompt number of each pair, 0 to `prompts` - 1. `left_out` counts the requests of both models
    that have no partner, or where one value of the pair is unknown.
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
    """`a` compared with `b` in one metric: the typical difference a - b in the metric's unit, and ratio a / b.

    `won` is the share of prompts on which `a` is better, `lost` that on which `b` is better; a draw counts for neither.
    `p` tests "no difference" and is None below MIN_PROMPTS prompts; `p_holm` is corrected for all comparisons made
    together. `more` is the number of further requests, of both models together, that would show a difference of
    `change` with 80 % probability: 0 if the present sample suffices, None if unknown.
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
        """The better model if the corrected test is significant and the difference's interval excludes 0, else None."""
        low, high = self.difference.low, self.difference.high
        if self.p_holm is None or self.p_holm >= ALPHA or low is None or high is None or low <= 0 <= high:
            return None
        return self.a if (high < 0) == (self.better == "lower") else self.b


def pairs_of(frame_a: pd.DataFrame, frame_b: pd.DataFrame, column: str, names: tuple[str, str]) -> Pairs:
    """Pairs two models' measured `ok` requests (rows of the requests frame) by run, prompt, repeat and turn.

    Key columns that one frame lacks are ignored. Raises KeyError if `column` is missing, and ValueError if a frame has
    two requests with the same key.
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
    """Pairs two rows of values (n,), with the prompt of each; pairs with an unknown or infinite value are left out.

    Raises ValueError if lengths differ.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if not len(a) == len(b) == len(prompts):
        raise ValueError(f"{len(a)} values, {len(b)} values and {len(prompts)} prompts must be equal in number")
    known = np.isfinite(a) & np.isfinite(b)
    labels = np.asarray([str(prompt) for prompt in prompts], dtype=object)[known].astype(str)
    found, codes = np.unique(labels, return_inverse=True)
    left_out = 2 * int(np.sum(~known))
    return Pairs(*names, a[known], b[known], codes.astype(np.intp), len(found), left_out)


def compare(pairs: Pairs, metric: str, better: Better = "lower", change: float = CHANGE) -> Comparison:
    """Returns one comparison, with `p_holm` equal to `p`. For several use `compare_all`, which corrects over them.

    The test uses log ratios, so that a slow prompt counts as much as a quick one. If a value is not above 0 it uses
    differences, and `ratio` is None.
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
    """Returns the comparison of every two models in every metric, with Holm's correction over all of them.

    `metrics` maps a column to the better direction. `frame` is the requests frame; only measured `ok` rows are used.
    Models are in the order given, else in that of the frame's categories. Raises KeyError if a column is missing.
    """
    ok = frame[(frame["outcome"] == "ok") & (frame["phase"] == "measure")]
    names = list(models if models is not None else _models(ok))
    found = [
        compare(pairs_of(ok[ok["model"] == a], ok[ok["model"] == b], column, (a, b)), column, better, change)
        for column, better in metrics.items()
        for a, b in combinations(names, 2)
    ]
    return corrected(found)


def sample_of_prompts(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """Returns one row per model and pairing key, of an even sample of at most `most` prompts in the order of their ids.

    The cost of a comparison grows with the square of its prompts. `frame` is the requests frame.
    """
    prompts = sorted({str(prompt) for prompt in frame["prompt_id"]})
    if len(prompts) > most:
        kept = {prompts[place * len(prompts) // most] for place in range(most)}
        frame = frame[frame["prompt_id"].astype(str).isin(kept)]
    return frame.drop_duplicates(["model", *KEYS])


def corrected(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Returns the comparisons with `p_holm` corrected over all of them, and with `more` planned for that correction."""
    found = list(comparisons)
    tested = [each for each in found if each.p is not None]
    adjusted = iter(holm([each.p for each in tested if each.p is not None]))
    return [
        each if each.p is None else replace(each, p_holm=next(adjusted), more=_planned(each, len(tested)))
        for each in found
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected by Holm 1979, in the same order: they control the probability of any false positive.

    Raises ValueError if a p-value is not between 0 and 1.
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
    """Returns the median of each prompt's values, shape (prompts,). Each prompt must have at least one value."""
    order = np.lexsort((values, clusters))
    sizes = np.bincount(clusters, minlength=prompts)
    first = np.cumsum(sizes) - sizes
    ranked = values[order]
    found: Floats = ranked[first + (sizes - 1) // 2] / 2 + ranked[first + sizes // 2] / 2
    return found


def more_requests(logs: Typical | None, pairs: int, change: float = CHANGE, tests: int = 1) -> int | None:
    """Returns how many more requests, of both models and on new prompts, would show a ratio of 1 + `change`.

    The probability to show it is POWER. The present standard error is the interval's width / (2 x 1.96). It must fall
    to log(1 + change) / (z(1 - alpha / 2) + z(power)), and it falls with the root of the number of prompts (Lachin
    1981). Alpha is divided by `tests`, the strictest step of Holm's correction. None if there is no interval, or if
    more than MAX_PLAN requests are needed.
    """
    if logs is None or logs.low is None or logs.high is None:
        return None
    return _more((logs.low, logs.high), logs.prompts, pairs, change, tests)


def exponential(logs: Estimate) -> Estimate:
    """Returns the estimate of a ratio from that of its logarithm."""
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


@dataclass(frozen=True, slots=True)
class Rank:
    """A model's range of ranks, from `best` to `worst`; 1 is the top.

    `beats` and `beaten_by` are the models that are significantly worse and better.
    """

    model: str
    best: int
    worst: int
    beats: tuple[str, ...]
    beaten_by: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The rank as text: `2`, or `2 to 4` if the run does not determine it."""
        return str(self.best) if self.best == self.worst else f"{self.best} to {self.worst}"


def rank(
    models: Sequence[str], comparisons: Iterable[Comparison], typical: Mapping[str, float] | None = None
) -> list[Rank]:
    """Returns the ranks of `models` by one metric's corrected comparisons, best first.

    A model's best rank is 1 + the number of significantly better models; its worst rank is the number of models minus
    the number of significantly worse ones (Al Mohamad, Goeman and van Zwet 2022). "Not significantly different" is not
    transitive: A and B, and B and C, may not differ although A beats C. So models are not put into groups of ties: A is
    then 1 to 2, B 1 to 3, C 2 to 3. With Holm's correction all ranks hold together with 95 % confidence. Models with
    equal ranks are sorted by `typical` (smaller first), then by the order of `models`. Raises ValueError if the
    comparisons are of several metrics.
    """
    wins: dict[str, list[str]] = {model: [] for model in models}
    losses: dict[str, list[str]] = {model: [] for model in models}
    found = list(comparisons)
    if len({each.metric for each in found}) > 1:
        raise ValueError("a ranking needs comparisons of one metric only")
    for each in found:
        winner = each.winner
        if winner is not None and each.a in wins and each.b in wins:
            loser = each.b if winner == each.a else each.a
            wins[winner].append(loser)
            losses[loser].append(winner)
    places = [
        Rank(model, 1 + len(losses[model]), len(models) - len(wins[model]), tuple(wins[model]), tuple(losses[model]))
        for model in models
    ]
    order = typical or {}
    return sorted(places, key=lambda place: (place.best, place.worst, order.get(place.model, 0.0)))
