"""The JSON of gateways: a chunk typed where it can be, and read field by field where its types are off. Pure.

On the way: `chunks` has each event's data read here, `failures` an error's body.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from streambench.records import Usage

PER_CHUNK = 1_024
"""Choices of one chunk, and tool calls of one delta, that are looked at."""

LARGEST_NUMBER = 2**53
"""Of tokens and dollars: up to here every reader of the journal is exact; beyond it a gateway talks nonsense."""


class UnreadableError(ValueError):
    """The data is no JSON, or no chunk; says why."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct):
    function: Function | None = None
    index: int | None = None
    id: str | None = None


class Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
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


_typed = msgspec.json.Decoder(Chunk).decode
_untyped = msgspec.json.Decoder().decode
_ESCAPE = re.compile(rb"(?s)\\(?:u(?i:d[89ab][\da-f]{2})\\u(?i:d[c-f][\da-f]{2})|(u(?i:d[89a-f][\da-f]{2}))|.)")
"""An escape in a JSON string; the group holds half a surrogate pair that has no other half."""


def read_chunk(data: bytes) -> Chunk:
    """Raises UnreadableError for what is no JSON object; any other fault of it is read over."""
    try:
        return _typed(data)
    except msgspec.ValidationError:
        return chunk_of(read_object(data), "delta")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(str(error)) from None


def read_object(data: bytes) -> dict[str, Any]:
    """Raises UnreadableError for what is no JSON object."""
    plain = read_json(data)
    if not isinstance(plain, dict):
        raise UnreadableError(f"the frame is {type(plain).__name__}, not an object")
    return plain


def read_json(data: bytes) -> Any:
    """Raises UnreadableError for what is no JSON."""
    try:
        return _untyped(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(str(error)) from None


def write_json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:  # writing reaches a little less deep than reading
        return "(too deeply nested)"


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def without_half_pairs(data: bytes) -> bytes:
    """Halves of surrogate pairs become U+FFFD: gateways that count in UTF-16 cut an emoji between two chunks."""
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], data)


def read_usage(plain: dict[str, Any]) -> Usage | None:
    """Token counts from a `usage` object in any of the spellings in use; None when it states no count at all."""
    prompt_details = dict_of(plain.get("prompt_tokens_details") or plain.get("input_tokens_details"))
    output_details = dict_of(plain.get("completion_tokens_details") or plain.get("output_tokens_details"))
    usage = Usage(
        input=_count(plain, "prompt_tokens", "input_tokens"),
        output=_count(plain, "completion_tokens", "output_tokens"),
        total=_count(plain, "total_tokens"),
        reasoning=_count(output_details, "reasoning_tokens"),
        cached=first_of(_count(prompt_details, "cached_tokens"), _count(plain, "prompt_cache_hit_tokens")),
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
    """USD: as a number (OpenRouter, LiteLLM), under another name (LLM Gateway) or as a sum of parts (Perplexity)."""
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
    """The object as a chunk, field by field. `said` is what holds a choice's words: a piece of a chat's message, all of
    it, or the text of a legacy completion.
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
    """The objects in a list, as many as are looked at."""
    return [one for one in value[:PER_CHUNK] if isinstance(one, dict)] if isinstance(value, list) else []


def string_of(value: object) -> str | None:
    return value if isinstance(value, str) else None


def text_of(value: object) -> str | None:
    """Text, or the text of content parts; anything else that stands for content counts by its JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return "".join(part for part in parts if isinstance(part, str))
    return write_json(value)


def index_of(value: object) -> int | None:
    """A place in a list, given as a number or as its digits."""
    digits = str(value)
    return int(digits) if digits.isdigit() and digits.isascii() and len(digits) < 10 else None


def _lenient_choice(plain: dict[str, Any], said: str) -> Choice:
    delta = {"content": plain.get("text")} if said == "text" else dict_of(plain.get(said))
    return Choice(
        delta=Delta(
            role=string_of(delta.get("role")),
            content=text_of(delta.get("content")),
            reasoning_content=text_of(delta.get("reasoning_content")),
            reasoning=text_of(delta.get("reasoning")),
            refusal=text_of(delta.get("refusal")),
            tool_calls=_lenient_calls(delta.get("tool_calls"), placed=said == "message"),
            function_call=_lenient_function(delta.get("function_call")),
        ),
        finish_reason=string_of(plain.get("finish_reason")),
        index=index_of(plain.get("index")),
        error=plain.get("error"),
    )


def _lenient_calls(plain: object, *, placed: bool) -> list[CallDelta]:
    """`placed`: each is a call of its own, by its place in the list, whatever ids a gateway gives them."""
    calls = [_lenient_call(one) for one in dicts_of(plain)]
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
