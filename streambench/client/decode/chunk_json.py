"""Reads the JSON of gateways: a chunk into typed structs, or field by field if its types are not as expected. Pure.

`api_adapters` reads each event's data with it, `error_body` reads error bodies.
"""

from __future__ import annotations

import json
import re
from operator import attrgetter
from typing import Any, Literal

import msgspec

from streambench.records.schema import Usage

PER_CHUNK = 1_024
"""Choices read per chunk, and tool calls read per delta."""

LARGEST_NUMBER = 2**53
"""Largest accepted number of tokens or dollars. Every JSON reader is exact up to it; a larger one cannot be real."""


class UnreadableError(ValueError):
    """Raised if data is not JSON or not a chunk; the message says why."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct):
    function: Function | None = None
    index: int | None = None
    id: str | None = None


class Reasoning(msgspec.Struct):
    """The fields of a delta or a message that carry reasoning text, first choice first.

    A gateway may send the same text in several of them, so only the first that is not empty counts.
    """

    reasoning_content: str | None = None
    reasoning: str | None = None


REASONING_FIELDS = Reasoning.__struct_fields__
_reasoning_texts = attrgetter(*REASONING_FIELDS)
_NO_REASONING = (None,) * len(REASONING_FIELDS)


class Delta(Reasoning):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct):
    delta: Delta | None = None
    finish_reason: str | None = None
    index: int | None = None
    error: Any = None


class Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


def reasoning_of(delta: Delta) -> str:
    """Returns the text of the first field of `Reasoning` that is not empty; "" if all are."""
    texts = _reasoning_texts(delta)
    # Most deltas carry no reasoning; comparing is several times as fast as searching.
    return "" if texts == _NO_REASONING else next(filter(None, texts), "")


_typed = msgspec.json.Decoder(Chunk).decode
_untyped = msgspec.json.Decoder().decode
_ESCAPE = re.compile(rb"(?s)\\(?:u(?i:d[89ab][\da-f]{2})\\u(?i:d[c-f][\da-f]{2})|(u(?i:d[89a-f][\da-f]{2}))|.)")
"""An escape in a JSON string. The group matches half a surrogate pair whose other half is missing."""


def read_chunk(data: bytes) -> Chunk:
    """Returns the chunk; fields of an unexpected type are converted or left out.

    Raises UnreadableError if the data is not a JSON object.
    """
    try:
        return _typed(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return chunk_of(read_object(data), "delta")


def read_object(data: bytes) -> dict[str, Any]:
    """Returns the JSON object. Raises UnreadableError if the data is not a JSON object."""
    plain = read_json(data)
    if not isinstance(plain, dict):
        raise UnreadableError(f"expected a JSON object, got {type(plain).__name__}")
    return plain


def read_json(data: bytes) -> Any:
    """Returns the JSON value. NaN and Infinity are accepted, as the SDK accepts them.

    Raises UnreadableError if the data is not JSON.
    """
    try:
        return _untyped(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if b"NaN" in data or b"Infinity" in data:
            return _with_odd_numbers(data)
        raise UnreadableError(str(error)) from None


def _with_odd_numbers(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableError(str(error)) from None


def write_json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:  # the encoder's depth limit is lower than the decoder's
        return "(too deeply nested)"


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def without_half_pairs(data: bytes) -> bytes:
    """Replaces unpaired surrogate escapes by U+FFFD: gateways that count in UTF-16 cut an emoji between two chunks."""
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], data)


def read_usage(plain: dict[str, Any]) -> Usage | None:
    """Returns the counts of a `usage` object in any spelling in use; None if it states no input, output or total."""
    prompt_details = dict_of(plain.get("prompt_tokens_details") or plain.get("input_tokens_details"))
    output_details = dict_of(plain.get("completion_tokens_details") or plain.get("output_tokens_details"))
    usage = Usage(
        input=_count(plain, "prompt_tokens", "input_tokens"),
        output=_count(plain, "completion_tokens", "output_tokens"),
        total=_count(plain, "total_tokens"),
        reasoning=first_of(_count(output_details, "reasoning_tokens"), _count(plain, "reasoning_tokens")),
        cached=first_of(
            _count(prompt_details, "cached_tokens"), _count(plain, "prompt_cache_hit_tokens", "cached_tokens")
        ),
        cost_usd=_cost(plain),
        source="gateway",
    )
    return None if usage.input is None and usage.output is None and usage.total is None else usage


def _count(plain: dict[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = plain.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER:
            return value
    return None


def _cost(plain: dict[str, Any]) -> float | None:
    """Returns the cost in USD; None if not stated.

    It is `cost` as a number (OpenRouter, LiteLLM), `cost.total_cost` (Perplexity) or `cost_usd_total` (LLM Gateway).
    """
    cost = plain.get("cost")
    stated = map(_amount, (cost, dict_of(cost).get("total_cost"), plain.get("cost_usd_total")))
    return next((usd for usd in stated if usd is not None), None)


def _amount(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER:
        return float(value)
    return None


def first_of(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def chunk_of(plain: dict[str, Any], said: Literal["delta", "message", "text"]) -> Chunk:
    """Returns the object as a chunk, read field by field.

    `said` is the field with a choice's output: `delta` (a piece of a chat message), `message` (a whole chat message) or
    `text` (a legacy completion).
    """
    return Chunk(
        id=string_of(plain.get("id")),
        model=string_of(plain.get("model")),
        choices=[_lenient_choice(one, said) for one in dicts_of(plain.get("choices"))],
        usage=dict_of(plain.get("usage")) or None,
        error=plain.get("error"),
    )


def dict_of(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts_of(value: object) -> list[dict[str, Any]]:
    """Returns the objects among the first `PER_CHUNK` items of a list; [] if the value is not a list."""
    return [one for one in value[:PER_CHUNK] if isinstance(one, dict)] if isinstance(value, list) else []


def string_of(value: object) -> str | None:
    return value if isinstance(value, str) else None


def text_of(value: object) -> str | None:
    """Returns text as it is, the joined text of content parts, or the JSON of any other value; None for None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return "".join(part for part in parts if isinstance(part, str))
    return write_json(value)


def index_of(value: object) -> int | None:
    """Returns a list index given as a number or as digits; else None."""
    digits = str(value)
    return int(digits) if digits.isdigit() and digits.isascii() and len(digits) < 10 else None


def _lenient_choice(plain: dict[str, Any], said: str) -> Choice:
    delta = {"content": plain.get("text")} if said == "text" else dict_of(plain.get(said))
    return Choice(
        delta=Delta(
            role=string_of(delta.get("role")),
            content=text_of(delta.get("content")),
            **{name: text_of(delta.get(name)) for name in REASONING_FIELDS},
            refusal=text_of(delta.get("refusal")),
            tool_calls=_lenient_calls(delta.get("tool_calls"), placed=said == "message"),
            function_call=_lenient_function(delta.get("function_call")),
        ),
        finish_reason=string_of(plain.get("finish_reason")),
        index=index_of(plain.get("index")),
        error=plain.get("error"),
    )


def _lenient_calls(plain: object, *, placed: bool) -> list[CallDelta]:
    """Returns the calls of a list, or the one call in place of a list.

    If `placed`, each item is a separate call, whatever its id, indexed by its place.
    """
    calls = [_lenient_call(one) for one in ([plain] if isinstance(plain, dict) else dicts_of(plain))]
    for place, call in enumerate(calls if placed else ()):
        call.index = place
    return calls


def _lenient_call(plain: dict[str, Any]) -> CallDelta:
    return CallDelta(
        function=_lenient_function(plain.get("function")),
        index=index_of(plain.get("index")),
        id=string_of(plain.get("id")),
    )


def _lenient_function(plain: object) -> Function | None:
    if not isinstance(plain, dict):
        return None
    return Function(name=string_of(plain.get("name")), arguments=text_of(plain.get("arguments")))
