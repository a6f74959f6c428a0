"""Parses assertions on a run, such as `ttft_p95_ms: < 800`: one syntax for `assert:` in a config and for --assert.

Pure: a text becomes an Assertion, or raises AssertionTextError, which says what is accepted. `analysis/check.py` checks
assertions on a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from streambench.metrics.definitions import METRICS, Metric
from streambench.metrics.findings import FINDINGS
from streambench.metrics.outcomes import OUTCOMES
from streambench.metrics.quantiles import STATISTICS, Statistic

AssertionKind = Literal["metric", "error_rate", "throughput", "goodput", "no", "change"]
By = Literal["tag", "turn", "length", "prompt"]

FAILED = "failed"
"""A name under `no` that means any outcome but `ok`."""
REGRESSION = "regression"
BASELINE = "baseline"

OF_GROUPS: Mapping[str, By] = {f"by_{by}": by for by in get_args(By)}
"""Keys whose value holds assertions for groups of requests, by group name."""
RATES: Mapping[str, str] = {"request_s": "requests", "system_tok_s": "output tokens"}
"""The throughput keys, and what each counts per second."""

LATENCY = "`< NUMBER` in ms, such as `< 800`; or `< 10%`, how much worse than a baseline it may be"
SPEED = "`> NUMBER`, such as `> 40`; or `< 10%`, how much worse than a baseline it may be"
CHANGE = "how much worse than the baseline it may be, such as 10%"
SHARE = "`< SHARE`, such as `< 1%`"
GOODPUT = "requests per second, such as `> 2 with ttft_ms < 800, e2e_ms < 5000`; or a share, such as `> 95% with ...`"
RATE = "`> NUMBER` per second, such as `> 2`"
GROUPS = "assertions for each group, such as {chat: {ttft_p95_ms: '< 800'}}, without a baseline"
BAD = f"a list of {FAILED}, {', '.join(name for name in OUTCOMES if name != 'ok')}, {', '.join(FINDINGS)}"
KEYS = (
    f"METRIC_STATISTIC such as ttft_p95_ms or ttft_p95_with_failures_ms, error_rate, {', '.join(RATES)}, goodput, no, "
    f"regression, {', '.join(OF_GROUPS)}; metrics: "
    f"{', '.join(metric.name for metric in METRICS)}; statistics: {', '.join(STATISTICS)}"
)

_METRIC_KEYS: Mapping[str, tuple[Metric, Statistic]] = {
    f"{metric.name}_{statistic}{unit}": (metric, statistic)
    for metric in METRICS
    for statistic in STATISTICS
    for unit in (("", "_ms") if metric.unit == "ms" else ("",))
}
_WITH_FAILURES: Mapping[str, tuple[Metric, Statistic]] = {
    f"{metric.name}_{statistic}_with_failures{unit}": (metric, statistic)
    for metric in METRICS
    for statistic in STATISTICS
    for unit in ("", "_ms")
    if metric.unit == "ms" and metric.of is not None and metric.better == "lower" and statistic != "mean"
}
"""Keys that count a failed request as one of infinite duration. Without the mean, as one failure makes it infinite."""
_LIMIT = re.compile(r"(?P<operator><=|>=|<|>)?\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|ms|s|tok/s)?", re.ASCII)
_TEXT = re.compile(r"\s*(?P<key>[\w.]+)\s*(?:[:=]\s*|(?=[<>]))(?P<value>.*)", re.ASCII | re.DOTALL)
_UNIT_MS = {"ms": 1.0, "s": 1_000.0, None: 1.0}


class AssertionTextError(ValueError):
    """A text is not an assertion. Holds what is wrong, what was found and what is accepted."""

    def __init__(self, message: str, accepted: str, found: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.accepted = accepted
        self.found = found


@dataclass(frozen=True, slots=True)
class Assertion:
    """One condition that each model must meet. Limits are in the metric's unit, shares and changes fractions of 1."""

    key: str
    text: str
    kind: AssertionKind
    metric: Metric | None = None
    statistic: Statistic = "p50"
    at_most: float | None = None
    at_least: float | None = None
    is_share: bool = False
    """For goodput: True if the limit is a share of the requests, not a rate."""
    names: tuple[str, ...] = ()
    """For `no`: the outcomes and findings that must not occur."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """For goodput: the limit of each metric for a request to be good, by column, in ms."""
    with_failures: bool = False
    """For a metric: True if a failed request counts as one of infinite duration."""
    group: tuple[By, str] | None = None
    """The group of requests that the assertion is limited to, as (grouped by, name); None for all requests."""

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


def parse(key: str, value: Any) -> Assertion:
    """Returns the assertion of a key and its value, outside `regression:` and groups. Raises AssertionTextError."""
    if key == "error_rate":
        return _error_rate(key, value)
    if key == "goodput":
        return _goodput(key, value)
    if key == "no":
        return _no(key, value)
    if key in RATES:
        return _rate(key, value)
    if key in _WITH_FAILURES:
        return _with_failures(key, value)
    metric, statistic = _metric_of(key)
    text = _text(value, LATENCY if metric.better == "lower" else SPEED)
    operator, number, unit = _limit(text, LATENCY if metric.better == "lower" else SPEED)
    if unit == "%":
        return _change(key, text, metric, statistic)
    return _absolute(key, text, (metric, statistic), (operator, number, unit))


def parse_change(key: str, value: Any) -> Assertion:
    """Returns an assertion of the `regression:` section. Raises AssertionTextError."""
    metric, statistic = _metric_of(key, in_regression=True)
    return _change(f"{REGRESSION}.{key}", _text(value, CHANGE), metric, statistic)


def parse_text(text: str) -> Assertion:
    """Parses `key: value` or `key < value`, as given on the command line. Raises AssertionTextError."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise AssertionTextError("is not an assertion", "`KEY: LIMIT`, such as `ttft_p95_ms: < 800`", text)
    key, value = match["key"], match["value"].strip()
    if key.startswith(f"{REGRESSION}."):
        return parse_change(key.removeprefix(f"{REGRESSION}."), value)
    return parse(key, value)


def parse_at(path: tuple[str, ...], value: Any) -> Assertion:
    """Returns the assertion of a path and value from `entries`. Raises AssertionTextError."""
    if path[0] in OF_GROUPS:
        return _of_group(path, value)
    return parse_change(path[1], value) if len(path) > 1 else parse(path[0], value)


def parse_all(stated: Mapping[str, Any]) -> tuple[list[Assertion], str | None]:
    """Returns the assertions of a config's `assert:` section, and the path of its baseline or None.

    Raises AssertionTextError.
    """
    found = [parse_at(path, value) for path, value in entries(stated)]
    regression = stated.get(REGRESSION)
    baseline = regression.get(BASELINE) if isinstance(regression, dict) else None
    return found, None if baseline is None else str(baseline)


def entries(stated: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields (path under `assert`, value) for every assertion, without the baseline."""
    for key, value in stated.items():
        if key == REGRESSION and isinstance(value, dict):
            yield from (((key, inner), limit) for inner, limit in value.items() if inner != BASELINE)
        elif key in OF_GROUPS and isinstance(value, dict):
            yield from _of_groups(key, value)
        elif key != REGRESSION:
            yield (key,), value


def _of_groups(key: str, groups: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, stated in groups.items():
        if isinstance(stated, dict):
            yield from (((key, str(name), str(inner)), limit) for inner, limit in stated.items())
        else:
            yield (key, str(name)), stated


def needs_baseline(assertions: list[Assertion]) -> bool:
    """True if any assertion compares with a baseline."""
    return any(each.kind == "change" for each in assertions)


# --- each kind


def _metric_of(key: str, *, in_regression: bool = False) -> tuple[Metric, Statistic]:
    found = _METRIC_KEYS.get(key)
    if found is None:
        keys = f"METRIC_STATISTIC such as ttft_p50; {KEYS.partition('; ')[2]}; baseline" if in_regression else KEYS
        raise AssertionTextError("is not a metric with a statistic", keys)
    if found[0].better is None:
        raise AssertionTextError("is a metric for which neither lower nor higher is better", KEYS)
    return found


def _of_group(path: tuple[str, ...], value: Any) -> Assertion:
    if len(path) < 3:
        raise AssertionTextError("does not hold assertions for groups", GROUPS, value)
    found = parse(path[2], value)
    if found.kind == "change":
        raise AssertionTextError("compares with a baseline, which groups do not have", GROUPS, value)
    return replace(found, key=".".join(path), group=(OF_GROUPS[path[0]], path[1]))


def _with_failures(key: str, value: Any) -> Assertion:
    text = _text(value, LATENCY)
    metric, statistic = _WITH_FAILURES[key]
    found = _absolute(key, text, (metric, statistic), _limit(text, LATENCY))
    return replace(found, with_failures=True)


def _rate(key: str, value: Any) -> Assertion:
    text = _text(value, RATE)
    operator, number, unit = _limit(text, RATE)
    if operator not in (">", ">=") or unit is not None:
        raise AssertionTextError("is not a limit of this kind", RATE, text)
    return Assertion(key, text, "throughput", at_least=number)


def _absolute(
    key: str, text: str, what: tuple[Metric, Statistic], limit: tuple[str | None, float, str | None]
) -> Assertion:
    metric, statistic = what
    operator, number, unit = limit
    accepted = LATENCY if metric.better == "lower" else SPEED
    if operator is None or (operator[0] == "<") != (metric.better == "lower"):
        sign = "<" if metric.better == "lower" else ">"
        raise AssertionTextError(
            f"needs the operator `{sign}`: {metric.label} is better if {metric.better}", accepted, text
        )
    if metric.unit == "ms":
        if unit not in _UNIT_MS:
            raise AssertionTextError("has the wrong unit", accepted, text)
        return Assertion(key, text, "metric", metric, statistic, at_most=number * _UNIT_MS[unit])
    if unit not in (None, metric.unit):
        raise AssertionTextError("has the wrong unit", accepted, text)
    return Assertion(key, text, "metric", metric, statistic, at_least=number)


def _change(key: str, text: str, metric: Metric, statistic: Statistic) -> Assertion:
    operator, number, unit = _limit(text, CHANGE)
    if unit != "%" or operator not in (None, "<", "<="):
        raise AssertionTextError("is not a limit of this kind", CHANGE, text)
    return Assertion(key, text, "change", metric, statistic, at_most=number / 100)


def _error_rate(key: str, value: Any) -> Assertion:
    text = _text(value, SHARE)
    operator, number, unit = _limit(text, SHARE)
    part = number / 100 if unit == "%" else number
    if operator not in ("<", "<=") or unit not in (None, "%") or part > 1:
        raise AssertionTextError("is not a limit of this kind", SHARE, text)
    return Assertion(key, text, "error_rate", at_most=part)


def _goodput(key: str, value: Any) -> Assertion:
    text = _text(value, GOODPUT)
    head, _, tail = text.partition(" with ")
    operator, number, unit = _limit(head.strip(), GOODPUT)
    if operator not in (">", ">=") or unit not in (None, "%"):
        raise AssertionTextError("is not a limit of this kind", GOODPUT, text)
    limits = dict(_condition(part, text) for part in re.split(r",|\band\b", tail) if part.strip())
    if not limits:
        raise AssertionTextError("does not say when a request is good", GOODPUT, text)
    least = number / 100 if unit == "%" else number
    return Assertion(key, text, "goodput", at_least=least, is_share=unit == "%", limits=limits)


def _condition(part: str, text: str) -> tuple[str, float]:
    name, operator, limit = part.partition("<")
    metric = next((one for one in METRICS if name.strip() in (one.name, one.column)), None)
    if metric is None or metric.of is None or metric.unit != "ms" or not operator:
        raise AssertionTextError(f"`{part.strip()}` is not a limit of a request", GOODPUT, text)
    _, number, unit = _limit(f"<{limit}".strip(), GOODPUT)
    if unit not in _UNIT_MS:
        raise AssertionTextError("has the wrong unit", GOODPUT, text)
    return metric.column, number * _UNIT_MS[unit]


def _no(key: str, value: Any) -> Assertion:
    listed = value if isinstance(value, list) else str(value or "").split(",")
    names = tuple(str(name).strip() for name in listed if str(name).strip())
    unknown = [name for name in names if name not in {FAILED, *OUTCOMES, *FINDINGS} - {"ok"}]
    if unknown or not names:
        raise AssertionTextError(
            "is not an outcome or finding" if unknown else "is empty", BAD, ", ".join(unknown) or None
        )
    return Assertion(key, ", ".join(names), "no", names=names)


def _text(value: Any, accepted: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise AssertionTextError("is not a limit (a text that starts with > needs quotes)", accepted, value)
    return str(value).strip()


def _limit(text: str, accepted: str) -> tuple[str | None, float, str | None]:
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise AssertionTextError("is not a limit", accepted, text)
    return match["operator"], float(match["number"]), match["unit"]
