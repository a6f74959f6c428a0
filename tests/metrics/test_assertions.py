"""A text becomes an assertion, or is told with what is accepted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from home import ROOT

from streambench.documents import parse_yaml
from streambench.metrics.assertions import AssertionTextError, needs_baseline, parse, parse_all, parse_text
from streambench.metrics.definitions import METRICS


@pytest.mark.parametrize(
    ("text", "kind", "at_most", "at_least"),
    [
        ("ttft_p95_ms: < 800", "metric", 800, None),
        ("ttft_p95 <= 0.8s", "metric", 800, None),
        ("output_tok_s_p50: > 40", "metric", None, 40),
        ("output_tok_s_p50: > 40 tok/s", "metric", None, 40),
        ("error_rate: < 1%", "error_rate", 0.01, None),
        ("error_rate < 0.01", "error_rate", 0.01, None),
        ("ttft_p50: < 10%", "change", 0.1, None),
        ("regression.ttft_p50: 10%", "change", 0.1, None),
        ("goodput: > 2 with ttft_ms < 800, e2e < 5s", "goodput", None, 2),
        ("goodput: > 95% with ttft_ms < 800", "goodput", None, 0.95),
        ("no: truncated, buffered", "no", None, None),
        ("request_s: > 2", "throughput", None, 2),
        ("system_tok_s > 100", "throughput", None, 100),
        ("ttft_p95_with_failures_ms: < 0.8s", "metric", 800, None),
    ],
)
def test_a_text_is_read(text: str, kind: str, at_most: float | None, at_least: float | None) -> None:
    """The command line's form; percentages are parts of 1, times are ms."""
    found = parse_text(text)
    assert (found.kind, found.at_most, found.at_least) == (kind, at_most, at_least)


def test_goodput_has_a_limit_for_each_metric() -> None:
    """By column, in ms."""
    found = parse_text("goodput: > 2 with ttft_ms < 800 and e2e < 5s")
    assert found.limits == {"ttft_ms": 800, "e2e_ms": 5_000}
    assert not found.is_share


@pytest.mark.parametrize("metric", [metric.name for metric in METRICS])
def test_every_metric_can_be_asserted(metric: str) -> None:
    """In the direction that is better for it."""
    (found,) = [one for one in METRICS if one.name == metric]
    sign = "<" if found.better == "lower" else ">"
    assert parse(f"{found.name}_p90", f"{sign} 3").metric == found


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("speed_p50", "< 3", "not a metric"),
        ("ttft", "< 3", "not a metric"),
        ("ttft_p50", "> 3", "needs the operator `<`"),
        ("ttft_p50", 800, "needs the operator `<`"),
        ("output_tok_s_p50", "< 40", "needs the operator `>`"),
        ("ttft_p50", "< fast", "not a limit"),
        ("ttft_p50", "< 3 tok/s", "wrong unit"),
        ("ttft_p50", "", "needs quotes"),
        ("ttft_p50", None, "needs quotes"),
        ("ttft_p50", True, "needs quotes"),
        ("ttft_p50", ["< 3"], "needs quotes"),
        ("ttft_p50", "> 10%", "of this kind"),
        ("error_rate", "> 1%", "of this kind"),
        ("error_rate", "< 200%", "of this kind"),
        ("goodput", "> 2", "does not say when"),
        ("goodput", "> 2 with colour < 3", "`colour < 3`"),
        ("no", "ok", "not an outcome"),
        ("no", [], "is empty"),
        ("no", ["\x1b[31m"], "not an outcome"),
        ("request_s", "< 2", "of this kind"),
        ("ttft_p95_with_failures", "< 10%", "wrong unit"),
        ("ttft_mean_with_failures", "< 3", "not a metric"),
    ],
)
def test_what_is_none_is_told(key: str, value: Any, message: str) -> None:
    """With what is accepted instead."""
    with pytest.raises(AssertionTextError, match=message) as caught:
        parse(key, value)
    assert caught.value.accepted


def test_a_configs_mapping_has_its_baseline() -> None:
    """Beside the changes that are counted from it."""
    found, baseline = parse_all({"error_rate": "< 1%", "regression": {"baseline": "before", "ttft_p50": "10%"}})
    assert [str(each) for each in found] == ["error_rate: < 1%", "regression.ttft_p50: 10%"]
    assert baseline == "before"
    assert needs_baseline(found)


def test_groups_have_assertions_of_their_own() -> None:
    """By tag, turn, length or prompt."""
    found, _ = parse_all({"by_tag": {"chat": {"ttft_p95_ms": "< 800", "error_rate": "< 1%"}, 7: {"no": ["failed"]}}})
    assert [str(each) for each in found] == [
        "by_tag.chat.ttft_p95_ms: < 800",
        "by_tag.chat.error_rate: < 1%",
        "by_tag.7.no: failed",
    ]
    assert [each.group for each in found] == [("tag", "chat"), ("tag", "chat"), ("tag", "7")]


@pytest.mark.parametrize("stated", ["< 3", {"chat": "< 3"}, {"chat": {"ttft_p50": "10%"}}, {"chat": {"speed": "< 3"}}])
def test_what_is_no_assertion_of_a_group_is_told(stated: Any) -> None:
    """With what is accepted instead."""
    with pytest.raises(AssertionTextError) as caught:
        parse_all({"by_tag": stated})
    assert caught.value.accepted


def test_the_example_in_the_docs_is_read() -> None:
    """As it stands in docs/ci.md."""
    page = (ROOT / "docs" / "ci.md").read_text("utf-8")
    (block, _) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    found, baseline = parse_all(parse_yaml(block, "ci.md").data["assert"])
    kinds = [
        "metric",
        "metric",
        "error_rate",
        "metric",
        "throughput",
        "goodput",
        "no",
        "change",
        "metric",
        "error_rate",
    ]
    assert [each.kind for each in found] == kinds
    assert baseline == "results/before"
