"""Writes `docs/health.md` from the tables OUTCOMES, FINDINGS and THRESHOLDS."""

from __future__ import annotations

from collections.abc import Iterable

from streambench.metrics.findings import FINDINGS, THRESHOLDS, Thresholds
from streambench.metrics.outcomes import OUTCOMES

_HEALTH_HEAD = """\
# Stream health

Generated from the tables in `streambench/metrics/outcomes.py` and `findings.py`; a test checks that they agree.

Each attempt gets one **outcome** and any number of **findings**. Both come from its record alone, so an old run is
judged again each time it is read. Latencies include only `ok` requests; the number of requests left out is shown beside
them.

## Outcomes

In order of precedence: the first that fits is the attempt's outcome.

| outcome | meaning |
|---|---|
"""
_FINDINGS_HEAD = """
## Findings

Each finding comes with the fact that shows it, in one sentence.

| finding | meaning |
|---|---|
"""
_THRESHOLDS_HEAD = """
## Thresholds

The keys of the config's `health` section. They apply when a run is read, not when it is made.

| key | default | meaning |
|---|---|---|
"""


def health_markdown() -> str:
    """Returns the content of `docs/health.md`."""
    defaults = Thresholds()
    rows = [(f"`{name}`", f"{getattr(defaults, name):g}", meaning) for name, meaning in THRESHOLDS.items()]
    return (
        _HEALTH_HEAD
        + _rows((f"`{name}`", meaning) for name, meaning in OUTCOMES.items())
        + _FINDINGS_HEAD
        + _rows((f"`{name}`", meaning) for name, meaning in FINDINGS.items())
        + _THRESHOLDS_HEAD
        + _rows(rows)
    )


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
