"""Do the 95 % intervals cover, and how often does the test raise a false alarm? Judges streambench.stats by simulation.

    python benchmarks/coverage.py [--runs 4000] [--only estimates|paired|runs|gate|why] [--processes 2]

Each simulated run has known truth. A time is exp(6 + prompt + noise) ms: the prompt's effect and the noise are normal
on the log scale; where it says so, a share of answers is slower by a further exponential. Truth is the
population's, over new prompts too. A row is marked OUT where its coverage is not 93 to 97 %, or its false-alarm rate
not 4 to 6 %.

covers    the share of runs whose interval holds the truth; below, above: where the truth lay otherwise
open      the share of intervals that have no upper end
width     the median width, as a share of the truth
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from streambench.analysis.stats.changes import change, corrected_changes, decide
from streambench.analysis.stats.estimates import estimate, sample, share
from streambench.analysis.stats.paired import compare, pair
from streambench.analysis.stats.signed_rank import signed_rank_p
from streambench.metrics.quantiles import STATISTICS, Statistic

Floats = npt.NDArray[np.float64]
ConversationEnds = tuple[float | None, float | None]
MANY = 400_000
"""Prompts that a truth without a formula is taken from."""


@dataclass(frozen=True, slots=True)
class World:
    """Standard deviations on the log scale, and the share of answers that are slower by exp(an exponential)."""

    name: str
    prompt: float
    noise: float
    slow: float = 0.0
    own: float = 0.05
    """What a prompt does to one model only."""
    tail: float = 0.4

    @property
    def seed(self) -> int:
        return sum(map(ord, self.name))


WORLDS = (
    World("noisy", 0.1, 0.3),
    World("mixed", 0.3, 0.3),
    World("prompts differ", 0.3, 0.15),
)
TAILED = World("slow answers", 0.3, 0.2, slow=0.08)
WILD = World("very slow ones", 0.3, 0.2, slow=0.08, tail=1.0)

Size = tuple[int, int]
SIZES: dict[Statistic, tuple[Size, ...]] = {
    "mean": ((10, 1), (10, 2), (12, 3), (20, 3), (36, 5), (100, 3)),
    "p50": ((10, 1), (10, 2), (12, 3), (20, 3), (36, 5), (100, 3)),
    "p90": ((10, 3), (12, 3), (20, 3), (36, 3), (36, 5), (100, 3)),
    "p95": ((20, 2), (20, 3), (36, 3), (36, 5), (50, 3), (100, 3)),
    "p99": ((150, 2), (200, 3), (300, 3)),
}
"""(prompts, repeats): the smallest permitted and typical ones."""


def main() -> None:
    options = _options()
    print(f"{options.runs} simulated runs a row\n")
    parts: dict[str, Callable[[int, Any], None]] = {
        "estimates": _estimates,
        "paired": _paired,
        "runs": _runs,
        "gate": _gate,
        "why": _why,
    }
    # a matrix of this size gains nothing from threads, and two processes' threads get in each other's way
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    with get_context("spawn").Pool(options.processes) as pool:
        for name, part in parts.items():
            if options.only in (None, name):
                part(options.runs, pool)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4_000)
    parser.add_argument("--only", choices=("estimates", "paired", "runs", "gate", "why"))
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


# --- simulated runs


def times(
    draw: np.random.Generator, world: World, size: Size, models: int = 1, factors: Sequence[float] = ()
) -> Floats:
    """Milliseconds, shape (models, prompts, repeats): the same prompts for each model."""
    prompts, repeats = size
    logs = 6 + world.prompt * draw.standard_normal((1, prompts, 1))
    logs = logs + world.noise * draw.standard_normal((models, prompts, repeats))
    if models > 1:
        logs = logs + world.own * draw.standard_normal((models, prompts, 1))
    if world.slow:
        late = draw.random(logs.shape) < world.slow
        logs = logs + np.where(late, draw.exponential(world.tail, logs.shape), 0.0)
    found: Floats = np.exp(logs) * np.array(factors or [1.0] * models)[:, None, None]
    return found


def _truth(world: World, statistic: Statistic) -> float:
    spread = math.hypot(world.prompt, world.noise)
    level = STATISTICS[statistic]
    if level is None:
        return math.exp(6 + spread**2 / 2)
    return math.exp(6 + NormalDist().inv_cdf(level) * spread)


# --- rows


@dataclass(frozen=True, slots=True)
class Row:
    head: tuple[str, ...]
    truth: float
    ends: tuple[ConversationEnds, ...]
    limits: tuple[float, float] | None = (0.93, 0.97)

    def text(self) -> str:
        low = np.array([math.nan if each is None else each for each, _ in self.ends])
        high = np.array([math.nan if each is None else each for _, each in self.ends])
        covers = float(np.mean((low <= self.truth) & (self.truth <= high)))
        width = float(np.median(high - low)) / abs(self.truth) if self.truth else math.nan
        cells = [
            f"{covers:7.1%}",
            f"{np.mean(high < self.truth):6.1%}",
            f"{np.mean(low > self.truth):6.1%}",
            f"{np.mean(np.isinf(high)):5.0%}",
            f"{width:7.2f}" if math.isfinite(width) else "      -",
        ]
        return _line(self.head, cells, covers, self.limits)


def _line(head: Sequence[str], cells: Sequence[str], value: float, limits: tuple[float, float] | None) -> str:
    widths = (22, 10, 16)
    left = "".join(f"{text:{width}}" for text, width in zip(head, widths, strict=False))
    mark = "" if limits is None or limits[0] <= round(float(value), 3) <= limits[1] else "  OUT"
    return f"{left}{' '.join(cells)}{mark}"


def _table(title: str, columns: str, lines: Iterable[str]) -> None:
    print(f"{title}\n{'':48}{columns}")
    for line in lines:
        print(line, flush=True)
    print()


def _size(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


COVER = " covers  above  below  open   width"


# --- one sample


def _estimates(runs: int, pool: Any) -> None:
    jobs = [(s, size, world, runs) for s in STATISTICS for size in SIZES[s] for world in WORLDS]
    _table("One model's estimates (prompts x repeats)", COVER, pool.imap(_estimate_row, jobs))
    _table("Shares by Wilson, the true share drawn anew for each run", " covers", map(_share_row, (10, 36, 180)))


def _estimate_row(job: tuple[Statistic, Size, World, int]) -> str:
    statistic, size, world, runs = job
    draw = np.random.default_rng([*size, world.seed, 1])
    prompts = np.repeat(np.arange(size[0]), size[1])
    found = [estimate(sample(times(draw, world, size).ravel(), prompts), statistic) for _ in range(runs)]
    ends = tuple((each.low, each.high) for each in found)
    return Row((statistic, _size(size), world.name), _truth(world, statistic), ends).text()


def _share_row(n: int) -> str:
    draw = np.random.default_rng([n, 2])
    truths = draw.random(10_000)
    found = [share(int(k), n) for k in draw.binomial(n, truths)]
    covers = float(np.mean([(s.low or 0) <= t <= (s.high or 0) for s, t in zip(found, truths, strict=True)]))
    return _line(("share", f"n = {n}"), [f"{'':16}{covers:7.1%}"], covers, (0.93, 0.97))


# --- two models

PAIR_SIZES = ((10, 1), (10, 2), (12, 3), (20, 3), (36, 2), (36, 5), (100, 3))
PAIR_WORLDS = (WORLDS[1], WORLDS[2], TAILED)
SLOWER = 1.15


def _paired(runs: int, pool: Any) -> None:
    jobs = list(product(PAIR_SIZES, PAIR_WORLDS, (runs,)))
    rows = pool.imap(_paired_rows, jobs)
    _table(
        "Two models, one 15 % slower: the typical difference and ratio", COVER, (row for each in rows for row in each)
    )
    jobs = list(product((*PAIR_SIZES, (11, 2), (15, 2)), PAIR_WORLDS, (3 * runs,)))
    lines = pool.imap(_alarm_row, jobs)
    _table(f"The test of two models ({3 * runs} runs)", " alarms  power at 15 %  planned power at 10 %", lines)


def _paired_rows(job: tuple[Size, World, int]) -> list[str]:
    size, world, runs = job
    draw = np.random.default_rng([*size, world.seed, 3])
    prompts = [str(prompt) for prompt in np.repeat(np.arange(size[0]), size[1])]
    found = []
    for _ in range(runs):
        slow, quick = times(draw, world, size, 2, (SLOWER, 1.0)).reshape(2, -1)
        found.append(compare(pair(list(slow), list(quick), prompts, ("slow", "quick")), "ttft_ms"))
    truths = _typical_truth(world, size[1])
    differences = tuple((each.difference.low, each.difference.high) for each in found)
    ratios = tuple((each.ratio.low, each.ratio.high) for each in found if each.ratio)
    return [
        Row(("difference", _size(size), world.name), truths[0], differences).text(),
        Row(("ratio", _size(size), world.name), truths[1], ratios).text(),
    ]


@cache
def _typical_truth(world: World, repeats: int) -> tuple[float, float]:
    """(difference, ratio): the median of averages of two prompts, over very many prompts."""
    draw = np.random.default_rng(4)
    slow, quick = times(draw, world, (MANY, repeats), 2, (SLOWER, 1.0))
    differences, logs = np.median(slow - quick, axis=1), np.median(np.log(slow / quick), axis=1)
    halves = [float(np.median((each + draw.permutation(each)) / 2)) for each in (differences, logs)]
    return halves[0], math.exp(halves[1])


def _logs(draw: np.random.Generator, world: World, size: Size, slower: float) -> Floats:
    a, b = times(draw, world, size, 2, (slower, 1.0))
    found: Floats = np.median(np.log(a / b), axis=1)
    return found


def _alarm_row(job: tuple[Size, World, int]) -> str:
    size, world, runs = job
    draw = np.random.default_rng([*size, world.seed, 5])
    alarms = float(np.mean([signed_rank_p(_logs(draw, world, size, 1.0)) < 0.05 for _ in range(runs)]))
    power = float(np.mean([signed_rank_p(_logs(draw, world, size, SLOWER)) < 0.05 for _ in range(runs // 6)]))
    planned = _planned_power(draw, world, size)
    cells = [f"{alarms:7.1%}", f"{power:12.0%}", "-".rjust(18) if math.isnan(planned) else f"{planned:18.0%}"]
    return _line(("false alarms", _size(size), world.name), cells, alarms, (0.04, 0.06))


def _planned_power(draw: np.random.Generator, world: World, size: Size) -> float:
    """How often a run with as many prompts as the plan asks for shows a true 10 %; the plan is from a first run."""
    shows = []
    for _ in range(100):
        prompts = [str(prompt) for prompt in np.repeat(np.arange(size[0]), size[1])]
        a, b = times(draw, world, size, 2).reshape(2, -1)
        first = compare(pair(list(a), list(b), prompts, ("a", "b")), "ttft_ms")
        if first.more:
            enough = size[0] + math.ceil(first.more / 2 / size[1])
            shows += [signed_rank_p(_logs(draw, world, (enough, size[1]), 1.10)) < 0.05 for _ in range(5)]
    return float(np.mean(shows)) if shows else math.nan


# --- two runs

CHANGE_SIZES: dict[Statistic, tuple[Size, ...]] = {
    "p50": ((10, 2), (12, 3), (20, 3), (36, 5)),
    "mean": ((20, 2), (20, 3), (36, 5), (100, 3)),
    "p90": ((20, 3), (36, 3), (36, 5), (100, 3)),
    "p95": ((36, 5), (100, 2), (100, 3)),
    "p99": ((300, 4), (400, 3)),
}


def _runs(runs: int, pool: Any) -> None:
    jobs = [(s, size, world, runs) for s in CHANGE_SIZES for size in CHANGE_SIZES[s] for world in (*WORLDS, TAILED)]
    _table("One model in two runs, nothing changed: the ratio", COVER, pool.imap(_change_row, jobs))


def _change_row(job: tuple[Statistic, Size, World, int]) -> str:
    statistic, size, world, runs = job
    draw = np.random.default_rng([*size, world.seed, 6])
    prompts = np.repeat(np.arange(size[0]), size[1])
    ends = []
    for _ in range(runs):
        base, new = times(draw, world, size, 2).reshape(2, -1)
        ratio = change((base, prompts), (new, prompts), statistic=statistic).ratio
        ends.append((ratio.low, ratio.high))
    return Row((f"change of {statistic}", _size(size), world.name), 1.0, tuple(ends)).text()


# --- the gate

MODELS = 4
GATE_SIZES = ((10, 2), (12, 3), (20, 3), (36, 3), (36, 5))
TRUE_CHANGES = (1.0, 1.05, 1.08, 1.10, 1.12, 1.15, 1.20, 1.30)


def _gate(runs: int, pool: Any) -> None:
    jobs = [(size, noise) for size in GATE_SIZES for noise in (0.10, 0.15, 0.25)]
    columns = "holds  | fails, names it alone | undecided"
    _table(
        f"A gate of 10 % on {MODELS} models, 200 runs: nothing planted | 15 % in one",
        columns,
        pool.imap(_gate_row, jobs),
    )
    rows = pool.imap(_decision_row, [(true, runs) for true in TRUE_CHANGES])
    _table(
        "One model, limit 10 %, 36 x 5, noise 0.15: by true change", "   held undecided failed | strict: failed", rows
    )


def _gate_row(job: tuple[Size, float]) -> str:
    size, noise = job
    draw = np.random.default_rng([*size, int(100 * noise), 7])
    world = World("", 0.3, noise)
    quiet = [gate(draw, world, size, 1.0) for _ in range(200)]
    planted = [gate(draw, world, size, 1.15) for _ in range(200)]
    holds = np.mean([set(each) == {"held"} for each in quiet])
    named = np.mean([each[0] == "failed" and "failed" not in each[1:] for each in planted])
    unsure = np.mean([each[0] == "undecided" for each in planted])
    return _line(("gate", _size(size), f"noise {noise}"), [f"{holds:5.0%}  | {named:20.0%}  | {unsure:8.0%}"], 0, None)


def gate(draw: np.random.Generator, world: World, size: Size, first: float, models: int = MODELS) -> list[str]:
    """Decisions for each model between two runs; the first is slower by the factor `first` in the second."""
    prompts = np.repeat(np.arange(size[0]), size[1])
    # own: what a prompt does to a model stays the same in both runs
    steady = [times(draw, World("", world.prompt, 0.0), (size[0], 1), 1)[0] for _ in range(models)]
    noise = World("", 0.0, world.noise, world.slow)
    changes = []
    for number, each in enumerate(steady):
        base, new = times(draw, noise, size, 2, (1.0, first if number == 0 else 1.0)) * each[None] / math.exp(6)
        changes.append(change((base.ravel(), prompts), (new.ravel(), prompts), f"m{number}", "ttft_ms"))
    return [decide(each, 0.10).decision for each in corrected_changes(changes)]


def _decision_row(job: tuple[float, int]) -> str:
    true, runs = job
    draw = np.random.default_rng([int(1000 * true), 8])
    prompts = np.repeat(np.arange(36), 5)
    found = []
    for _ in range(runs):
        base, new = times(draw, World("", 0.3, 0.15, own=0.0), (36, 5), 2, (1.0, true)).reshape(2, -1)
        found.append(change((base, prompts), (new, prompts)))
    usual = [decide(each, 0.10).decision for each in found]
    strict = np.mean([decide(each, 0.10, strict=True).decision == "failed" for each in found])
    cells = [f"{usual.count(word) / runs:7.1%}" for word in ("held", "undecided", "failed")]
    return _line((f"truly {true - 1:+.0%}",), [f"{'':26}{' '.join(cells)} | {strict:7.1%}"], 0, None)


# --- why these intervals


def _why(runs: int, pool: Any) -> None:
    jobs = [(size, world, runs) for size in ((10, 2), (20, 3), (36, 5), (100, 3)) for world in WORLDS[1:]]
    rows = pool.imap(_why_rows, jobs)
    _table("Other intervals on the same samples", COVER, (row for each in rows for row in each))
    jobs = list(product(((12, 3), (36, 2), (36, 5)), (*PAIR_WORLDS, WILD), (runs,)))
    heads = "signed rank of medians, sign flips of medians, of means"
    _table(f"Power at 15 % of other tests ({heads})", "  rank  flips  means", pool.imap(_other_tests_row, jobs))


def _other_tests_row(job: tuple[Size, World, int]) -> str:
    size, world, runs = job
    draw = np.random.default_rng([*size, world.seed, 10])
    signs = draw.choice([-1.0, 1.0], (size[0], 2_000))
    found = []
    for _ in range(runs):
        a, b = np.log(times(draw, world, size, 2, (SLOWER, 1.0)))
        rows = np.median(a - b, axis=1), np.mean(a - b, axis=1)
        flipped = [float(np.mean(np.abs(row @ signs) >= abs(row.sum()) - 1e-9)) for row in rows]
        found.append([p < 0.05 for p in (signed_rank_p(rows[0]), *flipped)])
    return _line(("power", _size(size), world.name), [f"{each:6.0%}" for each in np.mean(found, axis=0)], 0, None)


def _why_rows(job: tuple[Size, World, int]) -> list[str]:
    size, world, runs = job
    draw = np.random.default_rng([*size, world.seed, 9])
    ends: dict[str, list[ConversationEnds]] = {}
    for _ in range(runs):
        seen = times(draw, world, size)[0]
        picked = seen[draw.integers(0, size[0], (1_000, size[0]))].reshape(1_000, -1)
        for name, ends_of in _rivals(seen, picked).items():
            ends.setdefault(name, []).append(ends_of)
    head = (_size(size), world.name)
    truths = {name: _truth(world, name.split()[0]) for name in ends}  # type: ignore[arg-type]
    return [Row((name, *head), truths[name], tuple(found), None).text() for name, found in ends.items()]


def _rivals(seen: Floats, picked: Floats) -> dict[str, ConversationEnds]:
    found: dict[str, ConversationEnds] = {}
    for name, statistic in (
        ("mean", np.mean),
        ("p50", np.median),
        ("p95", lambda v, axis=None: np.quantile(v, 0.95, axis)),
    ):
        draws = statistic(picked, axis=1)
        found[f"{name} percentile"] = _ends(draws, (0.025, 0.975))
        found[f"{name} BCa"] = _ends(draws, _bca(seen, draws, statistic))
    return found


def _ends(draws: Floats, shares: tuple[float, float]) -> ConversationEnds:
    low, high = np.quantile(draws, shares)
    return float(low), float(high)


def _bca(seen: Floats, draws: Floats, statistic: Callable[..., Any]) -> tuple[float, float]:
    """Efron 1987; the acceleration from leaving out one prompt at a time."""
    normal = NormalDist()
    value = statistic(seen.ravel())
    bias = normal.inv_cdf(min(max(float(np.mean(draws < value) + np.mean(draws == value) / 2), 1e-4), 1 - 1e-4))
    without = np.array([statistic(np.delete(seen, prompt, axis=0).ravel()) for prompt in range(len(seen))])
    off = without.mean() - without
    scale = 6 * float(np.sum(off**2)) ** 1.5
    pull = float(np.sum(off**3)) / scale if scale > 0 else 0.0
    shares = []
    for z in (-1.96, 1.96):
        moved = bias + z
        shares.append(normal.cdf(bias + moved / (1 - pull * moved)))
    return shares[0], shares[1]


if __name__ == "__main__":
    main()
