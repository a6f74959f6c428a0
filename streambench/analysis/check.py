"""Checks assertions on each model of a run: held, failed or undecided, with the numbers in a sentence.

An assertion holds or fails only if the whole 95 % interval agrees; a sample that is too small is undecided.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streambench.analysis.comparability import differences
from streambench.analysis.compare import changes_of
from streambench.analysis.groups import groups_of
from streambench.analysis.measured import ModelRequests
from streambench.analysis.run import requests_by_model
from streambench.analysis.stats.changes import Decision, decide, within
from streambench.analysis.stats.estimates import Share, estimate, sample, share
from streambench.analysis.stats.number_format import share_interval, shown
from streambench.clock import NS
from streambench.metrics.assertions import FAILED, Assertion
from streambench.metrics.definitions import METRICS

if TYPE_CHECKING:
    from streambench.analysis.run import Run

FAILED_CODE = 1
GROUPS_TOLD = 12
UNDECIDED_CODE = 4


@dataclass(frozen=True, slots=True)
class AssertionResult:
    """The result of one assertion for one model. `why` is a sentence with the numbers."""

    assertion: str
    model: str
    decision: Decision
    why: str


def check_assertions(
    run: Run, assertions: Sequence[Assertion], baseline: Run | None = None, *, unlike_too: bool = False
) -> list[AssertionResult]:
    """Returns one result per assertion and model, in the order of the assertions.

    An assertion on a change compares with `baseline`. It is undecided if there is no baseline, or if the baseline was
    measured differently and `unlike_too` is False. If every request of a model failed, its undecided assertions fail.
    """
    models = requests_by_model(run)
    broken = {
        model: f"every one of {each.asked} requests failed" for model, each in models.items() if _only_fails(each)
    }
    changed = iter(
        _changes(run, models, [each for each in assertions if each.kind == "change"], baseline, unlike_too=unlike_too)
    )
    found = [
        judged
        for assertion in assertions
        for judged in (
            [next(changed) for _ in models]
            if assertion.kind == "change"
            else [_tried(assertion, requests, run) for requests in models.values()]
        )
    ]
    return [
        replace(each, decision="failed", why=broken[each.model])
        if each.model in broken and each.decision == "undecided"
        else each
        for each in found
    ]


def exit_code(judged: Iterable[AssertionResult], undecided: int = UNDECIDED_CODE) -> int:
    """Returns 1 if any assertion failed, else `undecided` if any is undecided, else 0."""
    decisions = {each.decision for each in judged}
    return FAILED_CODE if "failed" in decisions else undecided if "undecided" in decisions else 0


def _only_fails(measured: ModelRequests) -> bool:
    """True if requests were sent and all failed: more samples would not help, so undecided assertions fail."""
    return measured.asked > 0 and measured.failed == measured.asked


def _tried(assertion: Assertion, measured: ModelRequests, run: Run) -> AssertionResult:
    tried = {"error_rate": _errors, "goodput": _goodput, "throughput": _throughput, "no": _none_of}
    kept = _of_group(assertion, measured, run)
    if measured.requests and not kept.requests:
        return AssertionResult(str(assertion), measured.model, "undecided", _no_such_group(assertion, measured, run))
    decision, why = tried.get(assertion.kind, _absolute)(assertion, kept, run)
    return AssertionResult(str(assertion), measured.model, decision, why)


def _of_group(assertion: Assertion, measured: ModelRequests, run: Run) -> ModelRequests:
    if assertion.group is None:
        return measured
    by, name = assertion.group
    return measured.those(lambda ticket: name in groups_of(run.header.suite, by, ticket.prompt_id, ticket.turn))


def _no_such_group(assertion: Assertion, measured: ModelRequests, run: Run) -> str:
    by, name = assertion.group or ("prompt", "")
    tickets = (request.ticket for request in measured.requests)
    there = sorted({each for one in tickets for each in groups_of(run.header.suite, by, one.prompt_id, one.turn)})
    return f"no request has {by} {name}; the run has {', '.join(there[:GROUPS_TOLD])}"


def _absolute(assertion: Assertion, measured: ModelRequests, run: Run) -> tuple[Decision, str]:
    metric = assertion.metric
    if metric is None:
        raise AssertionError(f"{assertion} has no metric")
    values = measured.values_with_failures(metric) if assertion.with_failures else measured.values(metric)
    found = estimate(sample(*values), assertion.statistic)
    decision = within((found.value, found.low, found.high), assertion.at_most, assertion.at_least)
    lag = run.lag_ms("p50") if metric.unit == "ms" else None
    counted = " with failures" if assertion.with_failures else ""
    why = f"{metric.label} {assertion.statistic}{counted} {shown(found, metric.unit, lag)}"
    if found.value is not None and found.interval_needs:
        why += f"; its interval needs {found.interval_needs}, but there are {found.n} of {found.clusters}"
    return decision, why


def _errors(assertion: Assertion, measured: ModelRequests, _: Run) -> tuple[Decision, str]:
    found = share(measured.failed, measured.asked)
    decision = within((found.value, found.low, found.high), assertion.at_most)
    return decision, f"{found.k} of {found.n} requests failed{_ends(found)}"


def _none_of(assertion: Assertion, measured: ModelRequests, _: Run) -> tuple[Decision, str]:
    if not measured.asked:
        return "undecided", "no request was measured"
    seen = Counter[str](request.outcome for request in measured.requests if request.outcome != "cancelled")
    if FAILED in assertion.names:
        seen[FAILED] = measured.failed
    seen.update(name for request in measured.requests for name in {one.name for one in request.findings})
    bad = [f"{seen[name]} {name}" for name in assertion.names if seen[name]]
    return (
        ("failed", f"{', '.join(bad)} of {measured.asked}") if bad else ("held", f"none in {measured.asked} requests")
    )


def _throughput(assertion: Assertion, measured: ModelRequests, run: Run) -> tuple[Decision, str]:
    """Throughput is a count over the measured window, not a sample, so it has no interval. Failed requests count."""
    seconds = _measured_s(run)
    if not seconds or not measured.asked:
        return "undecided", "the measured window has no length, or no request was measured"
    if assertion.key.endswith("request_s"):
        rate = measured.asked / seconds
        decision = within((rate, rate, rate), at_least=assertion.at_least)
        return (
            decision,
            f"{rate:.3g} requests per second over {seconds:.3g} s, {measured.failed} of {measured.asked} failed",
        )
    usages = [request.record.usage for request in measured.requests]
    counts = [None if usage is None else usage.output for usage in usages]
    unknown = counts.count(None)
    rate = sum(count for count in counts if count is not None) / seconds
    decision = within((rate, rate, math.inf if unknown else rate), at_least=assertion.at_least)
    more = f" or more, as {unknown} of {len(counts)} requests have no token count" if unknown else ""
    return decision, f"{rate:.3g} output tokens per second{more}, over {seconds:.3g} s"


def _goodput(assertion: Assertion, measured: ModelRequests, run: Run) -> tuple[Decision, str]:
    """The share of good requests has Wilson's interval; the rate is that share times the requests per second."""
    found = share(_good(measured, assertion.limits), measured.asked)
    if assertion.is_share:
        decision = within((found.value, found.low, found.high), at_least=assertion.at_least)
        return decision, f"{found.k} of {found.n} requests were good{_ends(found)}"
    seconds = _measured_s(run)
    if found.value is None or found.low is None or found.high is None or not seconds:
        return "undecided", "the measured window has no length, or no request was measured"
    rate, low, high = (part * found.n / seconds for part in (found.value, found.low, found.high))
    why = f"{rate:.3g} good requests per second (95 % interval {low:.3g} to {high:.3g}), {found.k} of {found.n}"
    return within((rate, low, high), at_least=assertion.at_least), why


def _good(measured: ModelRequests, limits: Mapping[str, float]) -> int:
    metrics = [(metric, limits[metric.column]) for metric in METRICS if metric.column in limits]
    return sum(
        all((value := metric.value(record)) is not None and value <= limit for metric, limit in metrics)
        for record in measured.ok
    )


def _changes(
    run: Run,
    models: Mapping[str, ModelRequests],
    assertions: Sequence[Assertion],
    baseline: Run | None,
    *,
    unlike_too: bool,
) -> list[AssertionResult]:
    why = _no_baseline(run, baseline, unlike_too=unlike_too)
    if not assertions or why or baseline is None:
        return [AssertionResult(str(each), model, "undecided", why) for each in assertions for model in models]
    before = requests_by_model(baseline)
    pairs = [(before.get(model) or ModelRequests(model), requests) for model, requests in models.items()]
    wanted = [(each.metric, each.statistic) for each in assertions if each.metric is not None]
    found = {(each.model, each.metric, each.statistic): each for each in changes_of(pairs, wanted)}
    verdicts = []
    for each in assertions:
        for model in models:
            column = each.metric.column if each.metric else ""
            verdict = decide(found[model, column, each.statistic], each.at_most or 0.0)
            verdicts.append(AssertionResult(str(each), model, verdict.decision, verdict.why.removeprefix(f"{model}: ")))
    return verdicts


def _no_baseline(run: Run, baseline: Run | None, *, unlike_too: bool) -> str:
    if baseline is None:
        return "there is no baseline"
    unlike = [] if unlike_too else differences(baseline.header, run.header)
    if unlike:
        return f"the baseline was measured differently: {', '.join(each.field for each in unlike)}"
    return ""


def _ends(found: Share) -> str:
    return "" if found.low is None else f" ({share_interval(found)})"


def _measured_s(run: Run) -> float | None:
    window = run.end.window_ns if run.end is not None else None
    return None if window is None else window / NS
