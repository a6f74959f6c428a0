"""The cost of an attempt in USD: from the config's price and the attempt's usage, and as the gateway stated it. Pure.

If a token count is unknown, the cost is unknown, not zero. The two costs are kept apart, so that reports can show where
they differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, TypeVar

from streambench.metrics.model_names import entry_of
from streambench.quantities import NO_OTHER_KEYS, Number, required_setting, setting
from streambench.records.schema import AttemptRecord, Usage

N = TypeVar("N", int, float)

MILLION = 1_000_000
_PER_MILLION = "USD per million tokens, 0 or more"
COST_HEADERS = ("x-litellm-response-cost", "x-gammainfra-cost-usd")
"""Response headers that state a request's cost in USD; the first with a usable value counts."""
FAR_BELOW = 1e-12
"""Smaller amounts in USD are written with an exponent."""
LARGEST_COST = 2.0**53
"""The largest cost in USD that is accepted: larger numbers are not plausible, and their sum could be infinite."""
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
ALIKE = 0.01
"""Two costs that differ by at most this share of the larger one count as equal."""


@dataclass(frozen=True, slots=True)
class Price:
    """Prices in USD per million tokens; `per_request` is in USD per request."""

    __pydantic_config__ = NO_OTHER_KEYS

    input: Number = required_setting(_PER_MILLION, ge=0)
    output: Number = required_setting(_PER_MILLION, ge=0)
    cached: Number | None = setting(None, _PER_MILLION, ge=0)
    """For input tokens read from a cache, if the usage reports their number. None: same as `input`."""
    reasoning: Number | None = setting(None, _PER_MILLION, ge=0)
    """For reasoning tokens, if the usage reports their number. None: same as `output`."""
    per_request: Number | None = setting(None, "USD per request, 0 or more", ge=0)

    def of(self, usage: Usage | None) -> float | None:
        """Returns the cost in USD of a request with this usage; None if its input or output is unknown.

        Cached and reasoning tokens have their own price only if the usage states how many there were.
        """
        if usage is None or usage.input is None or usage.output is None:
            return None
        cached = min(usage.cached or 0, usage.input)
        thought, written = _thought_and_written(usage)
        per_million = (
            (usage.input - cached) * self.input
            + cached * (self.input if self.cached is None else self.cached)
            + written * self.output
            + thought * (self.output if self.reasoning is None else self.reasoning)
        )
        return per_million / MILLION + (self.per_request or 0.0)

    def at_least(self, input_tokens: float) -> float:
        """Returns the least cost in USD of a request with so many input tokens: all cached, and no output."""
        cheapest = self.input if self.cached is None else min(self.input, self.cached)
        return input_tokens * cheapest / MILLION + (self.per_request or 0.0)

    def at_most(self, input_tokens: float, output_tokens: float) -> float:
        """Returns the most cost in USD of so many tokens, whether or not they are cached or reasoning tokens."""
        dearest_in = max(self.input, self.cached or 0.0)
        dearest_out = max(self.output, self.reasoning or 0.0)
        return (input_tokens * dearest_in + output_tokens * dearest_out) / MILLION + (self.per_request or 0.0)


def price_of(plain: Mapping[str, Any] | None) -> Price | None:
    """Returns the price of a `price` entry in a resolved config; None if there is none."""
    if not plain:
        return None
    return Price(**{one.name: plain[one.name] for one in fields(Price) if one.name in plain})


def price_in(config: Mapping[str, Any], model: str) -> Price | None:
    """Returns the price of a model in a resolved config, by its alias; None if it has none."""
    return price_of(entry_of(config, model).get("price"))


def priced_usd(record: AttemptRecord, price: Price | None) -> float | None:
    """Returns the attempt's cost by price; None without a price, or if a token count is unknown."""
    return None if price is None else price.of(record.usage)


def stated_usd(record: AttemptRecord) -> float | None:
    """Returns the cost that the gateway stated, in its usage or else in a header; None if it stated none.

    A header with 0 is ignored: headers are sent before the answer, so the cost of a stream is not known yet.
    """
    if record.usage is not None and record.usage.cost_usd is not None:
        return record.usage.cost_usd
    stated = (_usd(record.headers.get(name)) for name in COST_HEADERS)
    return next((usd for usd in stated if usd), None)


def paid_usd(record: AttemptRecord, price: Price | None) -> float | None:
    """Returns the cost that a budget counts: as the gateway stated it, else by price; None if both are unknown."""
    stated = stated_usd(record)
    return priced_usd(record, price) if stated is None else stated


def total(numbers: Iterable[N | None]) -> N | None:
    """Returns the sum of the known numbers; None if all are unknown."""
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None


def usd(value: float | None) -> str:
    """Formats USD as `12.34`, `0.0123`, `0.00000123`: three significant digits below 1; a dash for None."""
    if value is None:
        return "-"
    if value == 0 or value >= 1:
        return f"{value:,.2f}"
    if value < FAR_BELOW:
        return f"{value:.3g}"
    short = f"{Decimal(f'{value:.3g}'):f}"
    return "1.00" if float(short) == 1 else short.rstrip("0")


def times_as_much(low: float, high: float) -> str:
    """Returns `, 1.6 times as much` for the end of a sentence; "" if `low` is not above 0."""
    if low <= 0:
        return ""
    return f", {high / low:.1f} times as much" if high / low >= 1.05 else ", less than 5 % more"


def alike(one: float, other: float) -> bool:
    """True if two costs are equal within ALIKE, as two roundings of the same cost are."""
    return abs(one - other) <= ALIKE * max(abs(one), abs(other))


def _thought_and_written(usage: Usage) -> tuple[int, int]:
    """Returns the reasoning tokens and the other output tokens.

    Most gateways include reasoning in the output. If the total is input + output + reasoning, this one does not.
    """
    output, reasoning = usage.output or 0, usage.reasoning or 0
    if reasoning and usage.total == (usage.input or 0) + output + reasoning:
        return reasoning, output
    thought = min(reasoning, output)
    return thought, output - thought


def _usd(text: str | None) -> float | None:
    """Returns a cost from a header's text; None unless it is a plain non-negative number of at most LARGEST_COST.

    `float` alone would also accept texts such as `nan` and `inf`.
    """
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    found = float(text)
    return found if found <= LARGEST_COST else None
