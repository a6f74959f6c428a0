"""What a request asks of the answer's form, and what no gateway could use of it."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.records.schema import OutputRequest
from streambench.workload.request_params import faults, output_request_of

LOOK = {"name": "look", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOL = {"type": "function", "function": LOOK}


@pytest.mark.parametrize(
    ("params", "asked"),
    [
        ({"temperature": 0}, None),
        ({"tools": []}, None),
        ({"tool_choice": "required"}, None),  # nothing to choose from
        ({"tools": [TOOL]}, OutputRequest(1, "auto")),
        ({"tools": [TOOL, TOOL], "tool_choice": "required"}, OutputRequest(2, "required")),
        ({"tools": [TOOL], "tool_choice": "any"}, OutputRequest(1, "required")),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, OutputRequest(1)),
        ({"tools": [TOOL], "tool_choice": TOOL}, OutputRequest(1, "function", "look")),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "look"}}, OutputRequest(1, "function", "look")),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto"}}, OutputRequest(1, "auto")),
        ({"functions": [LOOK]}, OutputRequest(1, "auto")),
        ({"functions": [LOOK], "function_call": {"name": "look"}}, OutputRequest(1, "function", "look")),
        ({"response_format": {"type": "json_object"}}, OutputRequest(json="json_object")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            OutputRequest(json="json_schema"),
        ),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, OutputRequest(json="json_schema")),
        ({"response_format": {"type": "text"}}, None),
        ({"reasoning_effort": "low"}, OutputRequest(effort="low")),
        ({"reasoning": {"effort": "high"}}, OutputRequest(effort="high")),
        ({"reasoning": {"max_tokens": 512}}, OutputRequest(effort="512 tokens")),
        ({"tools": 7, "response_format": 7, "reasoning": 7, "reasoning_effort": [7], "text": 7}, None),
    ],
)
def test_what_is_asked(params: dict[str, Any], asked: OutputRequest | None) -> None:
    """In Chat Completions' words, in Responses', and in the old ones."""
    assert output_request_of(params) == asked


@pytest.mark.parametrize(
    ("params", "where", "found", "message"),
    [
        ({"tools": LOOK}, "tools", "a mapping", "must be a list"),
        ({"tools": ["look"]}, "tools.0", "'look'", "is not a tool"),
        (
            {"tools": [{"function": {"parameters": {}}}]},
            "tools.0.function.name",
            "None",
            "is required: a function name",
        ),
        ({"functions": [7]}, "functions.0", "7", "is not a function"),
        ({"functions": [{"name": "a", "parameters": 7}]}, "functions.0.parameters", "7", ""),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "strng"}}}]},
            "tools.0.function.parameters.type",
            "'strng'",
            "is not a JSON Schema; did you mean `string`?",
        ),
        (
            {"functions": [{"name": "a", "parameters": {"properties": {"city": {"required": True}}}}]},
            "functions.0.parameters.properties.city.required",
            "true",
            "",
        ),
        (
            {"functions": [{"name": "a", "parameters": {"minLength": "1"}}]},
            "functions.0.parameters.minLength",
            "'1'",
            "",
        ),
        ({"response_format": "json"}, "response_format", "'json'", "is not a format"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema.schema",
            "None",
            "is required with `type: json_schema`",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": "a"}}}},
            "response_format.json_schema.schema.enum",
            "'a'",
            "",
        ),
        (
            {"text": {"format": {"type": "json_schema", "schema": {"items": 7}}}},
            "text.format.schema.items",
            "7",
            "",
        ),
    ],
)
def test_what_no_gateway_could_use_is_told_with_its_place(
    params: dict[str, Any], where: str, found: str, message: str
) -> None:
    """One fault each; each message is in one row."""
    (fault,) = faults(params)
    assert (".".join(map(str, fault.path)), str(fault.found)) == (where, found)
    assert fault.message.startswith(message)


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
    assert list(faults(params)) == []
