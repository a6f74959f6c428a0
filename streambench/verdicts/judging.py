"""Assertions tried on a run, for each model: held, failed or undecided, with the numbers in a sentence.

A decision is made only where the whole 95 % interval agrees; a sample that is too small decides nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streambench.assertions import FAILED, Assertion
from streambench.clock import NS
from streambench.findings import findings, thresholds_of
from streambench.metrics import METRICS
from streambench.stats import Decision, Share, decide, estimate, groups_of, sample, share, shown, within
from streambench.verdicts.answers import Answers, answers_of
from streambench.verdicts.comparing import changes_of
from streambench.verdicts.likeness import differences

if TYPE_CHECKING:
    from streambench.results import Run

FAILED_CODE = 1
GROUPS_TOLD = 12
UNDECIDED_CODE = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """One assertion tried on one model."""

    assertion: str
    model: str
    decision: Decision
    why: str


def decide_all(
    run: Run, assertions: Sequence[Assertion], baseline: Run | None = None, *, unlike_too: bool = False
) -> list[Judged]:
    """Every assertion on every model of the run, in the assertions' order.

    Changes are from `baseline`, and undecided without one, or where it is unlike the run (unless `unlike_too`). What
    cannot be decided of a model that only fails has failed.
    """
    models = answers_of(run)
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
            else [_tried(assertion, answers, run) for answers in models.values()]
        )
    ]
    return [
        replace(each, decision="failed", why=broken[each.model])
        if each.model in broken and each.decision == "undecided"
        else each
        for each in found
    ]


def exit_code(judged: Iterable[Judged], undecided: int = UNDECIDED_CODE) -> int:
    """1 where any failed, else `undecided` where any is, else 0."""
    decisions = {each.decision for each in judged}
    return FAILED_CODE if "failed" in decisions else undecided if "undecided" in decisions else 0


def _only_fails(answers: Answers) -> bool:
    """Then there is nothing to measure, which is no lack of a sample."""
    return answers.asked > 0 and answers.failed == answers.asked


def _tried(assertion: Assertion, answers: Answers, run: Run) -> Judged:
    tried = {"error_rate": _errors, "goodput": _goodput, "throughput": _throughput, "no": _none_of}
    kept = _of_group(assertion, answers, run)
    if answers.records and not kept.records:
        return Judged(str(assertion), answers.model, "undecided", _no_such_group(assertion, answers, run))
    decision, why = tried.get(assertion.kind, _absolute)(assertion, kept, run)
    return Judged(str(assertion), answers.model, decision, why)


def _of_group(assertion: Assertion, answers: Answers, run: Run) -> Answers:
    if assertion.group is None:
        return answers
    by, name = assertion.group
    return answers.those(lambda ticket: name in groups_of(run.header.suite, by, ticket.prompt_id, ticket.turn))


def _no_such_group(assertion: Assertion, answers: Answers, run: Run) -> str:
    by, name = assertion.group or ("prompt", "")
    tickets = (record.ticket for record in answers.records)
    there = sorted({each for one in tickets for each in groups_of(run.header.suite, by, one.prompt_id, one.turn)})
    return f"no request is of {by} {name}; there are {', '.join(there[:GROUPS_TOLD])}"


def _absolute(assertion: Assertion, answers: Answers, run: Run) -> tuple[Decision, str]:
    metric = assertion.metric
    if metric is None:
        raise AssertionError(f"{assertion} has no metric")
    values = answers.values_with_failures(metric) if assertion.with_failures else answers.values(metric)
    found = estimate(sample(*values), assertion.statistic)
    decision = within((found.value, found.low, found.high), assertion.at_most, assertion.at_least)
    lag = run.lag_ms("p50") if metric.unit == "ms" else None
    counted = " with failures" if assertion.with_failures else ""
    why = f"{metric.label} {assertion.statistic}{counted} {shown(found, metric.unit, lag)}"
    if found.value is not None and found.interval_needs:
        why += f"; its interval needs {found.interval_needs}, there are {found.n} of {found.clusters}"
    return decision, why


def _errors(assertion: Assertion, answers: Answers, _: Run) -> tuple[Decision, str]:
    found = share(answers.failed, answers.asked)
    decision = within((found.value, found.low, found.high), assertion.at_most)
    return decision, f"{found.k} of {found.n} requests failed{_ends(found)}"


def _none_of(assertion: Assertion, answers: Answers, run: Run) -> tuple[Decision, str]:
    if not answers.asked:
        return "undecided", "no request was measured"
    seen = Counter[str](outcome for outcome in answers.outcomes if outcome != "cancelled")
    if FAILED in assertion.names:
        seen[FAILED] = answers.failed
    limits = thresholds_of(run.header.config)
    seen.update(name for record in answers.records for name in {one.name for one in findings(record, limits)})
    bad = [f"{seen[name]} {name}" for name in assertion.names if seen[name]]
    return ("failed", f"{', '.join(bad)} of {answers.asked}") if bad else ("held", f"none in {answers.asked} requests")


def _throughput(assertion: Assertion, answers: Answers, run: Run) -> tuple[Decision, str]:
    """A count over the measured window is no sample of anything, so it has no interval; failed requests count too."""
    seconds = _measured_s(run)
    if not seconds or not answers.asked:
        return "undecided", "the measured window has no length, or no request was measured"
    if assertion.key.endswith("request_s"):
        rate = answers.asked / seconds
        decision = within((rate, rate, rate), at_least=assertion.at_least)
        return (
            decision,
            f"{rate:.3g} requests a second over {seconds:.3g} s, {answers.failed} of {answers.asked} failed",
        )
    counts = [record.usage.output if record.usage is not None else None for record in answers.records]
    unknown = counts.count(None)
    rate = sum(count for count in counts if count is not None) / seconds
    decision = within((rate, rate, math.inf if unknown else rate), at_least=assertion.at_least)
    more = f" or more, as {unknown} of {len(counts)} have no token count" if unknown else ""
    return decision, f"{rate:.3g} output tokens a second{more}, over {seconds:.3g} s"


def _goodput(assertion: Assertion, answers: Answers, run: Run) -> tuple[Decision, str]:
    """The share of good requests has Wilson's interval; the rate is that share of the requests a second."""
    found = share(_good(answers, assertion.limits), answers.asked)
    if assertion.is_share:
        decision = within((found.value, found.low, found.high), at_least=assertion.at_least)
        return decision, f"{found.k} of {found.n} requests were good{_ends(found)}"
    seconds = _measured_s(run)
    if found.value is None or found.low is None or found.high is None or not seconds:
        return "undecided", "the measured window has no length, or no request was measured"
    rate, low, high = (part * found.n / seconds for part in (found.value, found.low, found.high))
    why = f"{rate:.3g} good requests a second (95 % interval {low:.3g} to {high:.3g}), {found.k} of {found.n}"
    return within((rate, low, high), at_least=assertion.at_least), why


def _good(answers: Answers, limits: Mapping[str, float]) -> int:
    metrics = [(metric, limits[metric.column]) for metric in METRICS if metric.column in limits]
    return sum(
        all((value := metric.value(record)) is not None and value <= limit for metric, limit in metrics)
        for record in answers.ok
    )


def _changes(
    run: Run,
    models: Mapping[str, Answers],
    assertions: Sequence[Assertion],
    baseline: Run | None,
    *,
    unlike_too: bool,
) -> list[Judged]:
    why = _no_baseline(run, baseline, unlike_too=unlike_too)
    if not assertions or why or baseline is None:
        return [Judged(str(each), model, "undecided", why) for each in assertions for model in models]
    before = answers_of(baseline)
    pairs = [(before.get(model) or Answers(model, (), ()), answers) for model, answers in models.items()]
    wanted = [(each.metric, each.statistic) for each in assertions if each.metric is not None]
    found = {(each.model, each.metric, each.statistic): each for each in changes_of(pairs, wanted)}
    verdicts = []
    for each in assertions:
        for model in models:
            column = each.metric.column if each.metric else ""
            verdict = decide(found[model, column, each.statistic], each.at_most or 0.0)
            verdicts.append(Judged(str(each), model, verdict.decision, verdict.why.removeprefix(f"{model}: ")))
    return verdicts


def _no_baseline(run: Run, baseline: Run | None, *, unlike_too: bool) -> str:
    if baseline is None:
        return "there is no baseline"
    unlike = [] if unlike_too else differences(baseline.header, run.header)
    if unlike:
        return f"the baseline is of another kind: {', '.join(each.field for each in unlike)}"
    return ""


def _ends(found: Share) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" (95 % interval {100 * found.low:.2g} to {100 * found.high:.2g} %)"


def _measured_s(run: Run) -> float | None:
    window = run.end.window_ns if run.end is not None else None
    return None if window is None else window / NS
