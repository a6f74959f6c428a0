"""Ids as W3C Trace Context has them, and the parent that the environment names."""

from __future__ import annotations

import pytest

from streambench.records.schema import RunTrace
from streambench.records.trace_ids import model_span_id, new_run_trace, new_span_id, new_trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_ids_are_drawn() -> None:
    """32 and 16 hexadecimal digits, none twice."""
    assert len({new_trace_id() for _ in range(100)}) == 100
    assert {len(new_trace_id()), len(new_span_id())} == {32, 16}
    assert int(new_span_id(), 16)


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f" 00-{TRACE.upper()}-{SPAN}-01\n", True),
        (f"01-{TRACE}-{SPAN}-01-more", True),
    ],
)
def test_a_run_is_below_its_parent(traceparent: str, sampled: bool) -> None:  # noqa: FBT001
    """In the parent's trace, by a span of its own."""
    run = new_run_trace(traceparent)
    assert (run.trace_id, run.parent_span_id, run.sampled) == (TRACE, SPAN, sampled)
    assert run.span_id != SPAN


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "nonsense",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-0g",
    ],
)
def test_without_a_valid_parent_it_is_a_root(traceparent: str | None) -> None:
    """As the specification wants it."""
    run = new_run_trace(traceparent)
    assert (run.parent_span_id, run.sampled) == (None, True)
    assert run.trace_id != TRACE


def test_a_models_span_is_of_the_run_and_the_alias() -> None:
    """The same for both, another for any other."""
    run, other = RunTrace(TRACE, SPAN), RunTrace(TRACE, SPAN[::-1])
    ids = [model_span_id(run, "a"), model_span_id(run, "a"), model_span_id(run, "b"), model_span_id(other, "a")]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(len(one) == 16 for one in ids)
