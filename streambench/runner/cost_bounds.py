"""Estimates the most that a request may use: the amount that a budget reserves while the request is in flight.

Input tokens: as many as the same prompt used before; else one for each byte that is sent, plus, in a conversation, the
answers before it. Output tokens: `max_tokens`; else the largest answer of its model so far. Before any answer the
output is unbounded, and the request is sent alone. `breakers` compares the amounts with the budget.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from streambench.config.config import Config
from streambench.config.schema import Model
from streambench.metrics.cost import Price
from streambench.records.schema import AttemptRecord, Ticket
from streambench.runner.breakers import UsageBound
from streambench.workload.suite import Prompt, texts_of

OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
CHOICES = ("n", "best_of")
"""Parameters that ask for several answers to one request, each of which is billed."""
FRAME_TOKENS = 16
"""Tokens that a chat template may add to each message."""

_Asked = tuple[str, str, int]


def output_limit(params: Mapping[str, Any]) -> int | None:
    """Returns the most output tokens of a request with these params, over all choices; None if it has no limit.

    If several of OUTPUT_LIMITS are set, the largest counts, because gateways differ in which one they obey.
    """
    limits = [value for name in OUTPUT_LIMITS if isinstance(value := params.get(name), int) and value > 0]
    choices = [value for name in CHOICES if isinstance(value := params.get(name), int) and value > 0]
    return max(limits) * max(choices, default=1) if limits else None


def params_of(config: Config, model: Model, prompt: Prompt) -> dict[str, Any]:
    """Returns the params that are sent. A prompt's params override its model's, which override the gateway's."""
    return {**config.gateways[model.gateway].params, **model.params, **prompt.params}


class CostBounds:
    """Upper bounds for the requests of one run. They get tighter with each record that is passed to `learn`."""

    def __init__(self, config: Config, prices: Mapping[str, Price]) -> None:
        self._config = config
        self._models = {model.alias: model for model in config.models}
        self._prompts = {prompt.id: prompt for prompt in config.suite.prompts}
        self._prices = prices
        self._input: dict[_Asked, int] = {}
        self._output: dict[str, int] = {}
        self._bytes: dict[_Asked, int] = {}

    def of(self, ticket: Ticket) -> UsageBound:
        """Returns the most that one attempt of this request is expected to use; `blind` if that is unknown."""
        model, prompt = self._models.get(ticket.model), self._prompts.get(ticket.prompt_id)
        if model is None or prompt is None:
            return UsageBound(blind=True)
        limit, largest = output_limit(params := params_of(self._config, model, prompt)), self._output.get(ticket.model)
        assumed = None if limit is not None else _assumed(ticket.model, largest)
        output = limit if limit is not None else largest or 0
        tokens_in = self._input_of(ticket, prompt, params, output)
        price = self._prices.get(ticket.model)
        usd = price.at_most(tokens_in, output) if price else 0.0
        return UsageBound(tokens_in + output, usd, assumed, blind=limit is None and largest is None)

    def learn(self, record: AttemptRecord) -> None:
        """Keeps the largest input of the record's prompt and the largest output of its model.

        Without stated usage, each generated character counts as one output token.
        """
        usage, ticket = record.usage, record.ticket
        if usage is not None and usage.input is not None:
            asked = _key_of(ticket)
            self._input[asked] = max(usage.input, self._input.get(asked, 0))
        stated = None if usage is None else usage.output
        output = sum(record.timeline.chars) if stated is None else stated
        if output:
            self._output[ticket.model] = max(output, self._output.get(ticket.model, 0))

    def _input_of(self, ticket: Ticket, prompt: Prompt, params: Mapping[str, Any], output: int) -> int:
        """Returns the most input tokens. A later turn also sends the answers before it, which may be longer each time,
        so its earlier usage is not reused.
        """
        asked = _key_of(ticket)
        if asked in self._input and not ticket.turn:
            return self._input[asked]
        if asked not in self._bytes:
            self._bytes[asked] = _sent_bytes(prompt, params)
        return self._bytes[asked] + ticket.turn * (output + 2 * FRAME_TOKENS)


def _assumed(model: str, largest: int | None) -> str:
    if largest is None:
        return f"its input only: no max_tokens limits the output of {model}, and no response shows its length yet"
    return f"no max_tokens limits its output, so the largest output of {model} so far is assumed"


def _key_of(ticket: Ticket) -> _Asked:
    return ticket.model, ticket.prompt_id, ticket.turn


def _sent_bytes(prompt: Prompt, params: Mapping[str, Any]) -> int:
    """Returns an upper bound of the text's tokens, as a token has at least one byte. Images are not counted."""
    worded = [value for value in params.values() if isinstance(value, str | dict | list)]
    texts = [*texts_of(prompt), *(json.dumps(each, ensure_ascii=False, default=str) for each in worded)]
    return sum(len(text.encode(errors="replace")) for text in texts) + FRAME_TOKENS * len(prompt.messages)
