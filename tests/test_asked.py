"""What a request asks of the answer's form, and what no gateway could use of it."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.asked import asked_of, faults
from streambench.records import Asked

LOOK = {"name": "look", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOL = {"type": "function", "function": LOOK}


@pytest.mark.parametrize(
    ("params", "asked"),
    [
        ({"temperature": 0}, None),
        ({"tools": []}, None),
        ({"tool_choice": "required"}, None),  # nothing to choose from
        ({"tools": [TOOL]}, Asked(1, "auto")),
        ({"tools": [TOOL, TOOL], "tool_choice": "required"}, Asked(2, "required")),
        ({"tools": [TOOL], "tool_choice": "any"}, Asked(1, "required")),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, Asked(1)),
        ({"tools": [TOOL], "tool_choice": TOOL}, Asked(1, "function", "look")),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "look"}}, Asked(1, "function", "look")),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto"}}, Asked(1, "auto")),
        ({"functions": [LOOK]}, Asked(1, "auto")),
        ({"functions": [LOOK], "function_call": {"name": "look"}}, Asked(1, "function", "look")),
        ({"response_format": {"type": "json_object"}}, Asked(json="json_object")),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, Asked(json="json_schema")),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, Asked(json="json_schema")),
        ({"response_format": {"type": "text"}}, None),
        ({"reasoning_effort": "low"}, Asked(effort="low")),
        ({"reasoning": {"effort": "high"}}, Asked(effort="high")),
        ({"reasoning": {"max_tokens": 512}}, Asked(effort="512 tokens")),
        ({"tools": 7, "response_format": 7, "reasoning": 7, "reasoning_effort": [7], "text": 7}, None),
    ],
)
def test_what_is_asked(params: dict[str, Any], asked: Asked | None) -> None:
    """In Chat Completions' words, in Responses', and in the old ones."""
    assert asked_of(params) == asked


def told(params: dict[str, Any]) -> list[str]:
    """Each fault as `path: message (found; accepted)`, cut."""
    return [f"{'.'.join(map(str, one.path))}: {one.message} ({one.found})" for one in faults(params)]


@pytest.mark.parametrize(
    ("params", "lines"),
    [
        ({"tools": LOOK}, ["tools: must be a list (a mapping)"]),
        ({"tools": ["look"]}, ["tools.0: is no tool ('look')"]),
        (
            {"tools": [{"function": {"parameters": {}}}]},
            ["tools.0.function.name: is required: a function's name (None)"],
        ),
        ({"functions": [7]}, ["functions.0: is no function (7)"]),
        ({"functions": [{"name": "a", "parameters": 7}]}, ["functions.0.parameters: is no JSON Schema (7)"]),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "strng"}}}]},
            ["tools.0.function.parameters.type: is no JSON Schema; did you mean `string`? ('strng')"],
        ),
        (
            {"functions": [{"name": "a", "parameters": {"properties": {"city": {"required": True}}}}]},
            ["functions.0.parameters.properties.city.required: is no JSON Schema (true)"],
        ),
        (
            {"functions": [{"name": "a", "parameters": {"minLength": "1"}}]},
            ["functions.0.parameters.minLength: is no JSON Schema ('1')"],
        ),
        ({"response_format": "json"}, ["response_format: is no format ('json')"]),
        (
            {"response_format": {"type": "json_schema"}},
            ["response_format.json_schema.schema: is required with `type: json_schema` (None)"],
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": "a"}}}},
            ["response_format.json_schema.schema.enum: is no JSON Schema ('a')"],
        ),
        (
            {"text": {"format": {"type": "json_schema", "schema": {"items": 7}}}},
            ["text.format.schema.items: is no JSON Schema (7)"],
        ),
    ],
)
def test_what_no_gateway_could_use_is_told_with_its_place(params: dict[str, Any], lines: list[str]) -> None:
    """One line each."""
    assert told(params) == lines


@pytest.mark.parametrize(
    "params",
    [
        {"tools": [TOOL, {"type": "web_search"}, {"type": "custom", "custom": {"name": "x"}}]},
        {"tools": [{"type": "function", "name": "look", "parameters": LOOK["parameters"]}]},
        {"tools": [{"type": "function", "function": {"name": "now"}}]},
        {"functions": [{"name": "a", "parameters": {"type": "string", "pattern": r"\p{Lu}", "nullable": True}}]},
        {"functions": [{"name": "a", "parameters": {"$schema": "https://example.org/mine", "type": "strng"}}]},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "grammar", "grammar": "root ::= x"}},
    ],
)
def test_what_is_unknown_here_is_passed_on(params: dict[str, Any]) -> None:
    """Tools of other kinds, another language's patterns, a draft that nobody here has, formats of one server."""
    assert told(params) == []
