"""What a request may take at worst: what a budget holds for it while it is in flight.

Input: what the same prompt took before, else a token for each byte that is sent, and in a conversation the answers
before it. Output: `max_tokens`, else the largest answer of its model so far; before any, nobody can say, and it is sent
alone. Next on the way: `breakers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from streambench.breakers import Worst
from streambench.config import Config, Model
from streambench.money import Price
from streambench.records import AttemptRecord, Ticket
from streambench.suite import Prompt, texts_of

OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
CHOICES = ("n", "best_of")
"""Answers that are written, and billed, for one request."""
FRAME_TOKENS = 16
"""Tokens that a chat template may put around each message."""

_Asked = tuple[str, str, int]


def output_limit(params: Mapping[str, Any]) -> int | None:
    """Output tokens that a request with these params has at most, in all its choices; None where it has no bound.

    Of several spellings the largest: which of them rules is the gateway's to say.
    """
    limits = [value for name in OUTPUT_LIMITS if isinstance(value := params.get(name), int) and value > 0]
    choices = [value for name in CHOICES if isinstance(value := params.get(name), int) and value > 0]
    return max(limits) * max(choices, default=1) if limits else None


def params_of(config: Config, model: Model, prompt: Prompt) -> dict[str, Any]:
    """All that is sent: a prompt's win over its model's, those over the gateway's."""
    return {**config.gateways[model.gateway].params, **model.params, **prompt.params}


class Reserves:
    """Of one run: learns from each record what its prompt and its model may take."""

    def __init__(self, config: Config, prices: Mapping[str, Price]) -> None:
        self._config = config
        self._models = {model.alias: model for model in config.models}
        self._prompts = {prompt.id: prompt for prompt in config.suite.prompts}
        self._prices = prices
        self._input: dict[_Asked, int] = {}
        self._output: dict[str, int] = {}
        self._bytes: dict[_Asked, int] = {}

    def of(self, ticket: Ticket) -> Worst:
        model, prompt = self._models.get(ticket.model), self._prompts.get(ticket.prompt_id)
        if model is None or prompt is None:
            return Worst(blind=True)
        limit, largest = output_limit(params := params_of(self._config, model, prompt)), self._output.get(ticket.model)
        assumed = None if limit is not None else _assumed(ticket.model, largest)
        output = limit if limit is not None else largest or 0
        tokens_in = self._input_of(ticket, prompt, params, output)
        price = self._prices.get(ticket.model)
        usd = price.at_most(tokens_in, output) if price else 0.0
        return Worst(tokens_in + output, usd, assumed, blind=limit is None and largest is None)

    def learn(self, record: AttemptRecord) -> None:
        usage, ticket = record.usage, record.ticket
        if usage is not None and usage.input is not None:
            asked = _asked(ticket)
            self._input[asked] = max(usage.input, self._input.get(asked, 0))
        stated = None if usage is None else usage.output
        output = sum(record.timeline.chars) if stated is None else stated
        if output:
            self._output[ticket.model] = max(output, self._output.get(ticket.model, 0))

    def _input_of(self, ticket: Ticket, prompt: Prompt, params: Mapping[str, Any], output: int) -> int:
        """A conversation's later turn sends the answers before it, which may be longer than the last time."""
        asked = _asked(ticket)
        if asked in self._input and not ticket.turn:
            return self._input[asked]
        if asked not in self._bytes:
            self._bytes[asked] = _sent_bytes(prompt, params)
        return self._bytes[asked] + ticket.turn * (output + 2 * FRAME_TOKENS)


def _assumed(model: str, largest: int | None) -> str:
    if largest is None:
        return f"its input alone: no max_tokens bounds the output of {model}, and no answer shows how long it gets"
    return f"no max_tokens bounds its output, so it is taken for the largest of {model} so far"


def _asked(ticket: Ticket) -> _Asked:
    return ticket.model, ticket.prompt_id, ticket.turn


def _sent_bytes(prompt: Prompt, params: Mapping[str, Any]) -> int:
    """A token has a byte at least; an image that is sent as an address is more than its bytes."""
    worded = [value for value in params.values() if isinstance(value, str | dict | list)]
    texts = [*texts_of(prompt), *(json.dumps(each, ensure_ascii=False, default=str) for each in worded)]
    return sum(len(text.encode(errors="replace")) for text in texts) + FRAME_TOKENS * len(prompt.messages)
