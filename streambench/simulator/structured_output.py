"""Generates tool call arguments and JSON answers that fit a simple JSON Schema. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from streambench.simulator.request_parser import ChatRequest, Json

DEEPEST = 8
"""Number of nested levels of a schema for which values are generated."""
PIECE = 4
"""Characters per piece; one piece counts as one token."""


def tools_of(request: ChatRequest, most: int) -> tuple[Json, ...]:
    """Returns the functions to call: the declared ones in turn, or the one that `tool_choice` names, `most` in total.

    Returns one function if the request forbids parallel calls or declares legacy `functions` only.
    """
    declared = [_object(tool.get("function")) for tool in request.tools or ()] or list(request.functions or ())
    wanted = _named(request.tool_choice) or _named(request.function_call)
    chosen = [function for function in declared if function.get("name") == wanted] or declared
    count = 1 if request.parallel_tool_calls is False or not request.tools else most
    return tuple(chosen[at % len(chosen)] for at in range(count))


def tool_name(tool: Json) -> str:
    return str(tool.get("name", "tool"))


def arguments(tool: Json, rng: random.Random, words: Sequence[str]) -> str:
    """Returns JSON that fits the function's parameters, with a value for each property."""
    return _encoded(_value({**_object(tool.get("parameters")), "type": "object"}, rng, words, DEEPEST))


def json_answer(request: ChatRequest, rng: random.Random, words: Sequence[str], length: float) -> str | None:
    """Returns JSON as the request's `response_format` asks for; None if the request does not ask for JSON.

    Without a schema, the JSON is an object with one text of `length` words.
    """
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
    """Returns a value of the schema's type; a word if the type is unknown."""
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
    """Returns the function name in a `tool_choice` or `function_call`; None if it names no function."""
    plain = _object(choice)
    return _object(plain.get("function")).get("name") or plain.get("name")


def _object(plain: object) -> Json:
    return plain if isinstance(plain, dict) else {}


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
