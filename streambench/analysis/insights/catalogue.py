"""Every insight, in the order in which views show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from streambench.analysis.insights.conversations import conversations
from streambench.analysis.insights.costs import money
from streambench.analysis.insights.gateway_overhead import gateways
from streambench.analysis.insights.insight import Insight
from streambench.analysis.insights.reasoning import reasoning
from streambench.analysis.insights.streaming import streaming
from streambench.analysis.insights.structured_output import json_form, tools

if TYPE_CHECKING:
    from streambench.analysis.run import Run

__all__ = ["INSIGHTS", "Insight", "insights_of"]


INSIGHTS: tuple[Callable[[Run, Mapping[str, str]], Iterator[Insight]], ...] = (
    gateways,
    conversations,
    streaming,
    reasoning,
    tools,
    json_form,
    money,
)
"""Each function takes the run and the display names of its models by alias. These names are safe to print."""


def insights_of(run: Run, names: Mapping[str, str]) -> tuple[Insight, ...]:
    """Returns the insights of a run in the order of INSIGHTS; empty for most runs."""
    return tuple(part for answer in INSIGHTS for part in answer(run, names))
