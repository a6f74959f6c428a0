"""What an attempt cost: by the config's price from its usage, and as the gateway stated it. Pure.

A count that nobody stated makes an unknown cost, never a free one. Both figures are kept, and told where they differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from streambench.model_names import entry_of
from streambench.records import AttemptRecord, Usage

N = TypeVar("N", int, float)

MILLION = 1_000_000
COST_HEADERS = ("x-litellm-response-cost", "x-gammainfra-cost-usd")
"""Headers that state a whole request's cost in USD; the first that says something counts."""
FAR_BELOW = 1e-12
LARGEST_COST = 2.0**53
"""More is no amount of money, and a sum of such would be infinite."""
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
ALIKE = 0.01
"""Two figures that lie no further apart than this share of the larger one are told as one."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens, `per_request` in USD. `cached` is of input read from a cache: None is as `input`;
    `reasoning` is of output that was thought: None is as `output`.
    """

    input: float
    output: float
    cached: float | None = None
    reasoning: float | None = None
    per_request: float = 0.0

    def of(self, usage: Usage | None) -> float | None:
        """USD of a request with this usage; None where its input or output is unknown.

        Cached and reasoning tokens have their own price only where the usage states how many there were.
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
        return per_million / MILLION + self.per_request

    def at_least(self, input_tokens: float) -> float:
        """USD of a request with so many tokens in and an answer of none."""
        cheapest = self.input if self.cached is None else min(self.input, self.cached)
        return input_tokens * cheapest / MILLION + self.per_request

    def at_most(self, input_tokens: float, output_tokens: float) -> float:
        """USD of so many tokens, whichever kinds they turn out to be."""
        dearest_in = max(self.input, self.cached or 0.0)
        dearest_out = max(self.output, self.reasoning or 0.0)
        return (input_tokens * dearest_in + output_tokens * dearest_out) / MILLION + self.per_request


def price_of(plain: Mapping[str, Any] | None) -> Price | None:
    """The price that a resolved config's model has, as its header stores it."""
    if not plain:
        return None
    return Price(
        input=plain["input"],
        output=plain["output"],
        cached=plain.get("cached"),
        reasoning=plain.get("reasoning"),
        per_request=plain.get("per_request") or 0.0,
    )


def price_in(config: Mapping[str, Any], model: str) -> Price | None:
    """The price of a model of a resolved config, by its alias."""
    return price_of(entry_of(config, model).get("price"))


def priced_usd(record: AttemptRecord, price: Price | None) -> float | None:
    """By price; None without one, or where a count is unknown."""
    return None if price is None else price.of(record.usage)


def stated_usd(record: AttemptRecord) -> float | None:
    """What the gateway said that the attempt cost: in its usage, else in a header.

    Headers come before the answer. So one that says 0 over a stream has not counted yet: it says nothing.
    """
    if record.usage is not None and record.usage.cost_usd is not None:
        return record.usage.cost_usd
    stated = (_usd(record.headers.get(name)) for name in COST_HEADERS)
    return next((usd for usd in stated if usd), None)


def paid_usd(record: AttemptRecord, price: Price | None) -> float | None:
    """What a budget counts: the gateway knows better than the config what it takes."""
    stated = stated_usd(record)
    return priced_usd(record, price) if stated is None else stated


def total(numbers: Iterable[N | None]) -> N | None:
    """The sum of those that are known; None where none is."""
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None


def usd(value: float | None) -> str:
    """`12.34`, `0.0123`, `0.00000123`: three digits that count, for amounts that start far below a cent."""
    if value is None:
        return "-"
    if value == 0 or value >= 1:
        return f"{value:,.2f}"
    if value < FAR_BELOW:
        return f"{value:.3g}"
    short = f"{Decimal(f'{value:.3g}'):f}"
    return "1.00" if float(short) == 1 else short.rstrip("0")


def times_as_much(low: float, high: float) -> str:
    """`, 1.6 times as much`, for the end of a sentence; nothing where the one is free."""
    if low <= 0:
        return ""
    return f", {high / low:.1f} times as much" if high / low >= 1.05 else ", hardly more"


def alike(one: float, other: float) -> bool:
    """Whether two figures are the same but for rounding and late decimals."""
    return abs(one - other) <= ALIKE * max(abs(one), abs(other))


def _thought_and_written(usage: Usage) -> tuple[int, int]:
    """Reasoning and other output. Most gateways count reasoning into the output; of some the total shows that not."""
    output, reasoning = usage.output or 0, usage.reasoning or 0
    if reasoning and usage.total == (usage.input or 0) + output + reasoning:
        return reasoning, output
    thought = min(reasoning, output)
    return thought, output - thought


def _usd(text: str | None) -> float | None:
    """A number as JSON has it, no larger than a usage may state: what else `float` takes is no amount."""
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    found = float(text)
    return found if found <= LARGEST_COST else None
