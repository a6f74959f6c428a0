"""Writes `docs/glossary.md` from the METRICS table."""

from __future__ import annotations

from streambench.metrics.definitions import METRICS, Metric

_GLOSSARY_HEAD = """\
# Glossary

Generated from the METRICS table in `streambench/metrics/definitions.py`; a test checks that the two agree.

A **read** is the bytes of one socket read, a **chunk** is one server-sent event, and a **token** is a model's token. A
chunk may carry several tokens, or no token at all. **Start** is when the attempt starts, after any queueing and before
any connection set-up. **Generated** chunks carry content, reasoning, a tool call or a refusal. An unknown number is
left out, never counted as zero.

| name | column | unit | better | formula | meaning |
|---|---|---|---|---|---|
"""


def glossary_markdown() -> str:
    """Returns the content of `docs/glossary.md`."""
    return _GLOSSARY_HEAD + "".join(f"{_glossary_row(metric)}\n" for metric in METRICS)


def _glossary_row(metric: Metric) -> str:
    cells = (metric.label, f"`{metric.column}`", metric.unit, metric.better or "-", metric.formula, metric.doc)
    return f"| {' | '.join(cells)} |"
