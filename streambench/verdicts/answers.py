"""A run's measured requests by model, each with its last attempt and its outcome: what every verdict is made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.health import Outcome, judge
from streambench.metrics import Metric
from streambench.model_names import model_order
from streambench.records import AttemptRecord, Ticket, final_attempts

if TYPE_CHECKING:
    from streambench.results import Run


@dataclass(frozen=True, slots=True)
class Answers:
    """One model's measured requests; `outcomes` has one entry for each of `records`."""

    model: str
    records: tuple[AttemptRecord, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> list[AttemptRecord]:
        return [record for record, outcome in zip(self.records, self.outcomes, strict=True) if outcome == "ok"]

    @property
    def asked(self) -> int:
        """Requests that say something of the model: those that we broke off ourselves do not."""
        return len(self.records) - self.outcomes.count("cancelled")

    @property
    def failed(self) -> int:
        return self.asked - self.outcomes.count("ok")

    def values(self, metric: Metric) -> tuple[list[float], list[str]]:
        """(values in the metric's unit, the prompt of each) of its `ok` requests; unknown ones are left out."""
        found = [(value, record.ticket.prompt_id) for record in self.ok for value in metric.values(record)]
        return [value for value, _ in found], [prompt for _, prompt in found]

    def values_with_failures(self, metric: Metric) -> tuple[list[float], list[str]]:
        """The same, where a request that broke counts as infinite; those that we broke off ourselves are left out."""
        values, prompts = self.values(metric)
        broken = [
            record.ticket.prompt_id
            for record, outcome in zip(self.records, self.outcomes, strict=True)
            if outcome not in ("ok", "cancelled")
        ]
        return values + [math.inf] * len(broken), prompts + broken

    def those(self, keeps: Callable[[Ticket], bool]) -> Answers:
        """Of the requests whose tickets are kept."""
        rows = zip(self.records, self.outcomes, strict=True)
        kept = [(record, outcome) for record, outcome in rows if keeps(record.ticket)]
        return Answers(self.model, tuple(record for record, _ in kept), tuple(outcome for _, outcome in kept))


def answers_of(run: Run) -> dict[str, Answers]:
    """By model, in the order of the run's config; a model without requests is there too."""
    by_model: dict[str, list[AttemptRecord]] = {model: [] for model in model_order(run.header.config)}
    for record in final_attempts(_measured(run.records)):
        by_model.setdefault(record.ticket.model, []).append(record)
    return {model: Answers(model, tuple(rows), tuple(map(judge, rows))) for model, rows in by_model.items()}


def _measured(records: Iterable[AttemptRecord]) -> Iterable[AttemptRecord]:
    return (record for record in records if record.ticket.phase == "measure")
