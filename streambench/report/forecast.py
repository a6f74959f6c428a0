"""A run's forecast as text: a table with a row for each model, then duration, connections, limits and budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len

from streambench.metrics.cost import usd
from streambench.runner.forecast import Forecast, ModelForecast, Range
from streambench.text import count, duration, for_terminal

_HEADS = ("model", "gateway", "requests", "warm-up", "tokens in", "tokens out", "cost, USD")
_NAME_LIMIT = 32


def plan_text(found: Forecast) -> str:
    """Returns the forecast as plain text; the table's columns are aligned by terminal cells."""
    rows = [_HEADS, *map(_row, found.models), _total(found)]
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(_HEADS))]
    return "\n".join([*(_aligned(row, widths) for row in rows), "", *_notes(found)])


def _row(model: ModelForecast) -> tuple[str, ...]:
    return (
        for_terminal(model.model, _NAME_LIMIT),
        for_terminal(model.gateway, _NAME_LIMIT),
        count(model.requests),
        count(model.warmup),
        _count(model.input_tokens),
        _count(model.output_tokens),
        _usd(model.cost_usd),
    )


def _total(found: Forecast) -> tuple[str, ...]:
    tokens = _count(found.input_tokens), _count(found.output_tokens)
    return ("in all", "", count(found.requests), count(found.warmup), *tokens, _usd(found.cost_usd))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell + " " * (width - cell_len(cell)) if at < 2 else " " * (width - cell_len(cell)) + cell
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _count(tokens: Range) -> str:
    return _range_text(tokens, lambda value: f"{value:,.0f}")


def _usd(cost: Range) -> str:
    return _range_text(cost, usd)


def _range_text(found: Range, form: Callable[[float], str]) -> str:
    """Returns `120 (100 to 140)`, `100 to 140`, `up to 140`, `100`, or `unknown` if there is no upper bound."""
    if found.expected is not None:
        alone = found.low is None or found.high is None or found.low == found.high
        about = form(found.expected)
        return about if alone else f"{about} ({form(found.low or 0)} to {form(found.high or 0)})"
    if found.high is None:
        return "unknown"
    return f"{form(found.low)} to {form(found.high)}" if found.low else f"up to {form(found.high)}"


def _notes(found: Forecast) -> Iterator[str]:
    yield "Tokens and cost include the warm-up, which is paid for as well. Retries would be added."
    yield from _sources(found)
    unpriced = [for_terminal(model.model, _NAME_LIMIT) for model in found.models if not model.priced]
    if unpriced:
        yield f"No price is given for {', '.join(unpriced)}, so the cost is unknown."
    yield f"Duration: {_duration(found.duration_s)} ({found.duration_why})."
    for gateway, reason in found.connections.items():
        yield f"Connections to {for_terminal(gateway, _NAME_LIMIT)}: {reason}."
    yield from found.cuts or ("No limit or budget would end the run early.",)
    yield "No request was sent."


def _sources(found: Forecast) -> Iterator[str]:
    measured = [model for model in found.models if model.measured]
    if measured:
        answers = sum(model.measured for model in measured)
        whose = f"{len(measured)} of {len(found.models)} models"
        of = f"the earlier run's {count(answers)} answers"
        spread = any(
            "(" in _count(tokens) for model in measured for tokens in (model.input_tokens, model.output_tokens)
        )
        brackets = ", with the shortest and the longest in brackets" if spread else ""
        yield f"The counts of {whose} are means over {of}{brackets}."
    if len(measured) < len(found.models):
        yield "Tokens in are estimated at four characters each, without what a template or an image adds."
        if found.turns:
            yield "A conversation turn counts all its text in the suite, but not the answers that are sent back."
        if any(model.output_tokens.high is None for model in found.models):
            yield "Tokens out are unknown without max_tokens: --like RESULTS uses those of an earlier run."


def _duration(found: Range) -> str:
    if found.expected is not None:
        low, high = found.low, found.high
        span = f" ({duration(low)} to {duration(high)})" if low is not None and high is not None else ""
        return f"about {duration(found.expected)}{span}"
    return "unknown" if found.low is None else f"at least {duration(found.low)}"
