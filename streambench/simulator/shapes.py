"""What an answer says where its form was asked for: tool calls' arguments and JSON that fit a simple schema. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from streambench.simulator.requests import ChatRequest, Json

DEEPEST = 8
"""Levels of a schema that are followed."""
PIECE = 4
"""Characters in one piece, which stands for one token."""


def tools_of(request: ChatRequest, most: int) -> tuple[Json, ...]:
    """The functions to call: `most` of the declared ones in turn, or the one that `tool_choice` names as often.

    One where the request forbids parallel calls, as the legacy `functions` do.
    """
    declared = [_object(tool.get("function")) for tool in request.tools or ()] or list(request.functions or ())
    wanted = _named(request.tool_choice) or _named(request.function_call)
    chosen = [function for function in declared if function.get("name") == wanted] or declared
    count = 1 if request.parallel_tool_calls is False or not request.tools else most
    return tuple(chosen[at % len(chosen)] for at in range(count))


def tool_name(tool: Json) -> str:
    return str(tool.get("name", "tool"))


def arguments(tool: Json, rng: random.Random, words: Sequence[str]) -> str:
    """JSON that fits the function's parameters, with a value for each property."""
    return _encoded(_value({**_object(tool.get("parameters")), "type": "object"}, rng, words, DEEPEST))


def json_answer(request: ChatRequest, rng: random.Random, words: Sequence[str], length: float) -> str | None:
    """JSON of the form that the request asks for, None where it asks for none; without a schema of `length` words."""
    form = _object(request.response_format)
    schema = _object(form.get("json_schema")).get("schema") if form.get("type") == "json_schema" else form.get("schema")
    if form.get("type") not in ("json_schema", "json_object"):
        return None
    if isinstance(schema, dict) and schema:
        return _encoded(_value(schema, rng, words, DEEPEST))
    return _encoded({"answer": "".join(rng.choices(words, k=max(1, round(length)))).strip()})


def cut(text: str) -> list[str]:
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


def _value(schema: Json, rng: random.Random, words: Sequence[str], depth: int) -> object:
    """A value of the type that a schema asks for; a text for all that is not a plain type."""
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return rng.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    stated = schema.get("type", "object" if "properties" in schema else "string")
    kind = str(stated[0] if isinstance(stated, list) and stated else stated)
    if kind == "object":
        properties = _object(schema.get("properties")) if depth else {}
        return {name: _value(_object(inner), rng, words, depth - 1) for name, inner in properties.items()}
    if kind == "array":
        least = schema.get("minItems")
        count = least if isinstance(least, int) and 0 < least < 20 else 2
        return [_value(_object(schema.get("items")), rng, words, depth - 1) for _ in range(count if depth else 0)]
    if kind in ("integer", "number"):
        return _whole(schema, rng) + (0.5 if kind == "number" and "maximum" not in schema else 0)
    return {"boolean": True, "null": None}.get(kind, rng.choice(words).strip())


def _whole(schema: Json, rng: random.Random) -> int:
    least, most = schema.get("minimum", 1), schema.get("maximum", 99)
    low, high = (round(end) if isinstance(end, int | float) else 1 for end in (least, most))
    return rng.randint(low, max(low, high))


def _named(choice: object) -> object:
    """The function that a choice names."""
    plain = _object(choice)
    return _object(plain.get("function")).get("name") or plain.get("name")


def _object(plain: object) -> Json:
    return plain if isinstance(plain, dict) else {}


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
