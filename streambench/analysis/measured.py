"""A run's measured requests, each with its attempts, its outcome and its findings.

Frames, summary, leaderboard, comparisons, checks, figures and the page's list of requests start from them.
`records.schema.final_attempts` decides which attempt counts. `RunFacts` computes the outcome and the findings of each
record once per run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streambench.metrics.definitions import Metric
from streambench.metrics.findings import Finding, findings, thresholds_of
from streambench.metrics.model_names import model_order
from streambench.metrics.outcomes import Outcome, outcome_of
from streambench.records.schema import AttemptRecord, RunHeader, Ticket, final_attempts


class RunFacts:
    """Caches the outcome and the findings of each record of one run.

    Records are compared by identity, which is safe because they are immutable.
    """

    def __init__(self, header: RunHeader) -> None:
        self.header = header
        self._thresholds = thresholds_of(header.config)
        self._outcomes: dict[int, tuple[AttemptRecord, Outcome]] = {}
        self._findings: dict[int, tuple[AttemptRecord, tuple[Finding, ...]]] = {}

    def outcome(self, record: AttemptRecord) -> Outcome:
        """Returns the outcome of the attempt."""
        found = self._outcomes.get(id(record))
        if found is None:
            found = self._outcomes[id(record)] = (record, outcome_of(record))
        return found[1]

    def findings(self, record: AttemptRecord) -> tuple[Finding, ...]:
        """Returns the findings of the attempt, by the run's thresholds, in the order of FINDINGS."""
        found = self._findings.get(id(record))
        if found is None:
            found = self._findings[id(record)] = (record, findings(record, self._thresholds))
        return found[1]


@dataclass(frozen=True, slots=True)
class MeasuredRequest:
    """A request of the measured phase: the record of its last attempt, and all its attempts in order.

    If a resumed run sent a conversation again, the attempts of the earlier parts are left out.
    """

    record: AttemptRecord
    attempts: tuple[AttemptRecord, ...]
    facts: RunFacts

    @property
    def ticket(self) -> Ticket:
        return self.record.ticket

    @property
    def outcome(self) -> Outcome:
        return self.facts.outcome(self.record)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.facts.findings(self.record)

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"

    def value(self, metric: Metric) -> float | None:
        """Returns the metric's value in its unit; None if it is unknown, or if the metric is a distribution."""
        return metric.value(self.record)


@dataclass(frozen=True, slots=True)
class ModelRequests:
    """The measured requests of one model."""

    model: str
    requests: tuple[MeasuredRequest, ...] = ()

    @property
    def ok(self) -> list[AttemptRecord]:
        """The last attempts of the requests with outcome `ok`."""
        return [request.record for request in self.requests if request.ok]

    @property
    def asked(self) -> int:
        """Number of requests without those that this client cancelled."""
        return sum(request.outcome != "cancelled" for request in self.requests)

    @property
    def failed(self) -> int:
        """Number of requests that are neither `ok` nor cancelled."""
        return sum(request.outcome not in ("ok", "cancelled") for request in self.requests)

    def values(self, metric: Metric) -> tuple[list[float], list[str]]:
        """Returns (values in the metric's unit, the prompt id of each) of the `ok` requests, without unknown values."""
        found = [(value, record.ticket.prompt_id) for record in self.ok for value in metric.values(record)]
        return [value for value, _ in found], [prompt for _, prompt in found]

    def values_with_failures(self, metric: Metric) -> tuple[list[float], list[str]]:
        """Like `values`, but each failed request adds an infinite value; cancelled requests are left out."""
        values, prompts = self.values(metric)
        failed = [each.ticket.prompt_id for each in self.requests if each.outcome not in ("ok", "cancelled")]
        return values + [math.inf] * len(failed), prompts + failed

    def those(self, keeps: Callable[[Ticket], bool]) -> ModelRequests:
        """Returns only the requests for whose ticket `keeps` is true."""
        return ModelRequests(self.model, tuple(each for each in self.requests if keeps(each.ticket)))


def measured_requests(records: Iterable[AttemptRecord], facts: RunFacts) -> tuple[MeasuredRequest, ...]:
    """Returns the requests of the measured phase, in the order in which they were first recorded."""
    rows = [record for record in records if record.ticket.phase == "measure"]
    attempts: dict[tuple[int, int], list[AttemptRecord]] = {}
    for record in rows:
        attempts.setdefault(_part_of(record), []).append(record)
    return tuple(
        MeasuredRequest(last, tuple(sorted(attempts[_part_of(last)], key=lambda each: each.attempt)), facts)
        for last in final_attempts(rows)
    )


def _part_of(record: AttemptRecord) -> tuple[int, int]:
    """Returns the key that groups the attempts of a request; in a conversation, each part of the run is separate."""
    return record.ticket.seq, 0 if record.ticket.session_id is None else record.segment


def by_model(header: RunHeader, requests: Iterable[MeasuredRequest]) -> dict[str, ModelRequests]:
    """Returns the requests by model alias, in the order of the run's config; models without requests are included."""
    found: dict[str, list[MeasuredRequest]] = {model: [] for model in model_order(header.config)}
    for request in requests:
        found.setdefault(request.ticket.model, []).append(request)
    return {model: ModelRequests(model, tuple(rows)) for model, rows in found.items()}
