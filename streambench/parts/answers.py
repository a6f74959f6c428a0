"""A run's whole answers, as the parts ask for them: medians per model, shares, who is first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streambench import stats
from streambench.stats import Comparison, Estimate
from streambench.words import percent

if TYPE_CHECKING:
    from streambench.frames import Frame
    from streambench.results import Run

MOST_PROMPTS = 300
"""That are compared: what a comparison takes grows with their square."""
MOST_MODELS = 20
"""That are compared each with each."""

WHOLE = 1.0
"""What is counted has no digits after its point, as what our lag hides has none below it."""


@dataclass(frozen=True)
class Answers:
    """The measured requests that were answered well, a row each as in `run.requests`; `names` as in `parts_of`."""

    rows: Frame
    names: Mapping[str, str]
    seed: int
    lag_ms: float | None

    def where(self, rows: Frame) -> Answers:
        return replace(self, rows=rows)

    def by_model(self) -> dict[str, Answers]:
        """By alias, in the order of the names; models without a row are left out."""
        parts = {str(alias): part for alias, part in self.rows.groupby("model", observed=True)}
        return {alias: self.where(parts[alias]) for alias in self.names if alias in parts}

    def median(self, column: str) -> Estimate:
        values = self.rows[column].to_numpy(dtype=float, na_value=float("nan"))
        found = stats.sample(values, self.rows["prompt_id"].astype(str).to_numpy(dtype=str))
        return stats.estimate(found, "p50", abs(self.seed))

    def shown(self, column: str) -> str:
        """`212 ms (180 to 251)`, or `after 130 tokens`: the median in the unit of the column's name."""
        if column.endswith("_ms"):
            return stats.shown(self.median(column), "ms", self.lag_ms)
        return stats.shown(self.median(column), "tokens", WHOLE)

    def total(self, column: str) -> int:
        return int(self.rows[column].sum())

    def first(self, column: str, does: str) -> str:
        """Who `does` ("starts first"), and how surely; nothing where fewer than two models have a number."""
        medians = {alias: each.median(column).value for alias, each in self.by_model().items()}
        known = {alias: value for alias, value in medians.items() if value is not None}
        if len(known) < 2 or len(known) > MOST_MODELS:
            return ""
        compared = self._compared(column, list(known))
        typical = {self.names[alias]: value for alias, value in known.items()}
        places = stats.rank(sorted(typical, key=lambda name: typical[name]), compared, typical)
        return stats.leader_in_words(places, compared, does, self.lag_ms)

    def _compared(self, column: str, models: Sequence[str]) -> list[Comparison]:
        prompts = sorted({str(prompt) for prompt in self.rows["prompt_id"]})
        kept = {prompts[place * len(prompts) // MOST_PROMPTS] for place in range(MOST_PROMPTS)}
        rows = self.rows if len(prompts) <= MOST_PROMPTS else self.rows[self.rows["prompt_id"].astype(str).isin(kept)]
        rows = rows.drop_duplicates(["model", "run_id", "prompt_id", "repeat", "turn"])
        found = stats.compare_all(rows, {column: "lower"}, models)
        return [replace(each, a=self.names[each.a], b=self.names[each.b]) for each in found]


def answers_of(run: Run, names: Mapping[str, str]) -> Answers:
    rows = run.requests
    fine = rows[~rows["warmup"].astype(bool) & (rows["outcome"] == "ok")]
    return Answers(fine, names, run.header.seed, run.lag_ms())


def of_share(part: int, whole: int, what: str) -> str:
    """`9 of 12 answers (75 %, 95 % interval 47 % to 91 %)`."""
    found = stats.share(part, whole)
    return f"{part} of {whole} {what} ({percent(found.value)}, {stats.share_interval(found)})"
