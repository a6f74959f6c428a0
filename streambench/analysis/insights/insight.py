"""`Insight`, a question about a run with its answer in sentences, and `OkRows`, the requests that answers use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streambench.analysis.stats.estimates import Estimate, estimate, sample, share
from streambench.analysis.stats.number_format import share_interval
from streambench.analysis.stats.number_format import shown as shown_digits
from streambench.analysis.stats.paired import Comparison, compare_all, rank, sample_of_prompts
from streambench.analysis.stats.wording import leader_in_words
from streambench.text import percent

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame
    from streambench.analysis.run import Run


FEW = 6
"""Largest number of lines per insight in the terminal and in Markdown."""


@dataclass(frozen=True, slots=True)
class Insight:
    """One question and its answer in whole sentences, with the models' display names."""

    question: str
    says: str = ""
    """Sentences on all models together."""
    points: tuple[str, ...] = ()
    """One sentence per model. A view that shows only some of them must say so."""
    topic: str = ""
    """Common title of insights that are each on one model, such as `Effect of streaming`."""

    @property
    def few(self) -> tuple[str, ...]:
        """At most FEW lines of `points`, for views that cannot fold text; the last line counts the points left out."""
        if len(self.points) <= FEW:
            return self.points
        return (*self.points[: FEW - 1], f"And {len(self.points) - FEW + 1} more in the HTML report.")

    @property
    def answer(self) -> str:
        """The whole answer as one text."""
        return " ".join(part for part in (*self.points, self.says) if part)


MOST_PROMPTS = 300
"""Largest number of prompts compared: the cost of a comparison grows with their square."""
MOST_MODELS = 20
"""Largest number of models of which every pair is compared."""

WHOLE = 1.0
"""Resolution passed to `shown_digits` for counts: print no decimals."""


@dataclass(frozen=True)
class OkRows:
    """The measured `ok` requests, as rows of `run.requests`; `names` are the models' display names by alias."""

    rows: Frame
    names: Mapping[str, str]
    seed: int
    lag_ms: float | None

    def where(self, rows: Frame) -> OkRows:
        return replace(self, rows=rows)

    def by_model(self) -> dict[str, OkRows]:
        """Returns the rows by model alias, in the order of `names`; models without rows are left out."""
        parts = {str(alias): part for alias, part in self.rows.groupby("model", observed=True)}
        return {alias: self.where(parts[alias]) for alias in self.names if alias in parts}

    def median(self, column: str) -> Estimate:
        values = self.rows[column].to_numpy(dtype=float, na_value=float("nan"))
        found = sample(values, self.rows["prompt_id"].astype(str).to_numpy(dtype=str))
        return estimate(found, "p50", abs(self.seed))

    def shown(self, column: str) -> str:
        """Returns the median with its interval as text: `212 ms (180 to 251)` for `_ms` columns, else in tokens."""
        if column.endswith("_ms"):
            return shown_digits(self.median(column), "ms", self.lag_ms)
        return shown_digits(self.median(column), "tokens", WHOLE)

    def total(self, column: str) -> int:
        return int(self.rows[column].sum())

    def first(self, column: str) -> str:
        """Returns a sentence on which model is first in a metric: "alpha starts 212 ms faster than beta".

        Returns "" if fewer than two or more than MOST_MODELS models have a value.
        """
        medians = {alias: each.median(column).value for alias, each in self.by_model().items()}
        known = {alias: value for alias, value in medians.items() if value is not None}
        if len(known) < 2 or len(known) > MOST_MODELS:
            return ""
        compared = self._compared(column, list(known))
        typical = {self.names[alias]: value for alias, value in known.items()}
        places = rank(sorted(typical, key=lambda name: typical[name]), compared, typical)
        return leader_in_words(places, compared, column, self.lag_ms)

    def _compared(self, column: str, models: Sequence[str]) -> list[Comparison]:
        found = compare_all(sample_of_prompts(self.rows, MOST_PROMPTS), {column: "lower"}, models)
        return [replace(each, a=self.names[each.a], b=self.names[each.b]) for each in found]


def answers_of(run: Run, names: Mapping[str, str]) -> OkRows:
    """Returns the measured `ok` requests of a run."""
    rows = run.requests
    ok = rows[~rows["warmup"].astype(bool) & (rows["outcome"] == "ok")]
    return OkRows(ok, names, run.header.seed, run.lag_ms())


def of_share(part: int, whole: int, what: str) -> str:
    """Returns `9 of 12 answers (75 %, 95 % interval 47 % to 91 %)`."""
    found = share(part, whole)
    return f"{part} of {whole} {what} ({percent(found.value)}, {share_interval(found)})"
