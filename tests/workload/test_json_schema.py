"""Whether arguments keep to a declared schema: what breaks it, what cannot be judged, and what is never told."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.workload.json_schema import (
    NODES_LIMIT,
    NOT_CHECKED,
    STEPS_LIMIT,
    TOO_MUCH,
    Checked,
    StepBudget,
    check,
    prepare,
)

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
NUMBER = {"type": "number"}
NESTED = {"properties": {"a": {"items": {"properties": {"b": {"type": "integer"}}}}}}
TREE = {"properties": {"name": {"type": "string"}, "inner": {"items": {"$ref": "#"}}}}


def checked(value: Any, schema: Any) -> Checked:
    return check(value, schema, StepBudget())


# --- breaks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "schema", "why"),
    [
        ({"a": "x"}, {"properties": {"a": NUMBER}}, "`a` is a string, not number"),
        ({"a": None}, {"properties": {"a": {"type": ["string", "integer"]}}}, "`a` is null, not string or integer"),
        ({"a": True}, {"properties": {"a": {"type": "integer"}}}, "`a` is a boolean, not integer"),
        ([], {"type": "object"}, "the value is an array, not object"),
        ({}, {"required": ["a"]}, "`a` is missing"),
        ({"a": [{}]}, {"properties": {"a": {"items": {"required": ["b"]}}}}, "`a[].b` is missing"),
        ({"a": [{"b": 1}, {"b": "x"}]}, NESTED, "`a[].b` is a string, not integer"),
        ({"a": "x"}, {"properties": {"a": {"enum": ["b", "c"]}}}, "`a` is not one of the 2 choices"),
        ({"a": 1}, {"properties": {"a": {"enum": [True]}}}, "`a` is not one of the 1 choices"),
        ({"a": 1}, {"properties": {"a": {"const": 2}}}, "`a` violates `const: 2`"),
        ({"a": 1}, {"properties": {"a": {"minimum": 2}}}, "`a` violates `minimum: 2`"),
        ({"a": "x"}, {"properties": {"a": {"minLength": 2}}}, "`a` violates `minLength: 2`"),
        ({"a": 1}, {"properties": {"a": {"anyOf": [{"type": "string"}, {"minimum": 2}]}}}, "`a` violates `anyOf`"),
        ({"a": 1}, {"properties": {"a": {"not": {"type": "integer"}}}}, "`a` violates `not`"),
        ({"a": 1}, {"properties": {"a": False}}, "there is a value where the schema allows none"),
        ({"secret": 1}, {"additionalProperties": False}, "the value violates `additionalProperties: false`"),
        ({"secret": 1}, {"additionalProperties": {"type": "string"}}, "`*` is an integer, not string"),
        (
            {"secret": {"a": 1}},
            {"additionalProperties": {"properties": {"a": False}}},
            "there is a value where the schema allows none",
        ),
        ({"a": [1, 1]}, {"properties": {"a": {"uniqueItems": True}}}, "`a` violates `uniqueItems: true`"),
        ({"a": 19.995}, {"properties": {"a": {"multipleOf": 0.01}}}, "`a` violates `multipleOf: 0.01`"),
        ({"inner": [{"inner": [{"name": 1}]}]}, TREE, "`inner[].inner[].name` is an integer, not string"),
        ({"a": 1}, {"$defs": {"s": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/s"}}}, "`a` is an inte"),
        ({"a": 2.0}, {"$schema": DRAFT_4, "properties": {"a": {"type": "integer"}}}, "`a` is a number, not integer"),
        ([1, "x"], {"$schema": DRAFT_7, "items": [NUMBER, NUMBER]}, "`[]` is a string, not number"),
    ],
)
def test_a_break_is_told_in_the_schemas_words(value: Any, schema: Any, why: str) -> None:
    """By its own draft; a name that only the arguments have is a star."""
    valid, told = checked(value, schema)
    assert valid is False
    assert (told or "").startswith(why)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"a": 1, "more": 2}, {"properties": {"a": NUMBER}}),
        ({"a": 2.0}, {"properties": {"a": {"type": "integer"}}}),
        ({"a": 19.99}, {"properties": {"a": {"multipleOf": 0.01}}}),
        ({"a": 10**400}, {"properties": {"a": {"multipleOf": 0.5}}}),
        ({"a": "no date"}, {"properties": {"a": {"format": "date"}}}),
        ({"a": "x"}, {"properties": {"a": {"pattern": "^y$"}}}),
        ({"a": "a" * 40}, {"properties": {"a": {"pattern": "^(a+)+$b"}}}),
        ({"a": 1}, {"x-hint": {"any": "thing"}}),
        ({"a": 1}, {}),
    ],
)
def test_what_fits_and_what_is_not_looked_at(value: Any, schema: Any) -> None:
    """A format binds nobody; a pattern is of JavaScript's dialect, and may take for ever."""
    assert checked(value, schema) == (True, None)


# --- not checked ------------------------------------------------------------------------------------------------------


def endless() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array"}
    schema["items"] = schema
    return schema


def laughing() -> dict[str, Any]:
    """Nine levels of nine aliases: 400 million values in some bytes."""
    schema: Any = {"type": "string"}
    for _ in range(9):
        schema = {"anyOf": [schema] * 9}
    return {"properties": {"a": schema}}


UNUSABLE: dict[str, Any] = {
    "null": None,
    "a truth": True,
    "a number": 7,
    "a list": [],
    "no such type": {"type": "gremlin"},
    "one of no such type": {"type": ["integer", "gremlin"]},
    "an enum of text": {"enum": "abc"},
    "properties in a list": {"properties": []},
    "OpenAPI 3.0": {"properties": {"a": {"exclusiveMinimum": True}}},
    "a tuple of an old draft": {"items": [NUMBER]},
    "an unknown draft": {"$schema": "https://example.com/mine"},
    "draft 3": {"$schema": "http://json-schema.org/draft-03/schema#", "required": True},
    "a draft that is a list": {"$schema": []},
    "a key that is not text": {"properties": {1: NUMBER}},
    "a value that cannot be written as JSON": {"enum": [{1, 2}]},
    "not a number": {"minimum": float("nan")},
    "an alias that leads back": endless(),
    "aliases without end": laughing(),
    "huge": {"enum": list(range(NODES_LIMIT))},
    "a far $ref": {"$ref": "https://example.com/schema.json"},
    "a near $ref": {"$ref": "file:///etc/hostname"},
    "a $ref to nothing": {"$ref": "#/$defs/none"},
    "a $ref to itself": {"$ref": "#"},
    "two that lead to each other": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "a pattern under not": {"not": {"properties": {"a": {"pattern": "x"}}}},
    "patterns of names": {"patternProperties": {"^a$": False}},
}


@pytest.mark.parametrize("schema", UNUSABLE.values(), ids=UNUSABLE)
def test_a_schema_that_cannot_be_used_breaks_nothing(schema: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is fetched, from wherever it says that it is."""

    def no_network(*_: object, **__: object) -> Any:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert checked({"a": "x"}, schema) == (None, NOT_CHECKED)


def test_a_break_that_comes_before_a_far_ref_is_certain() -> None:
    """The schema's order is that of the check."""
    assert checked({}, {"required": ["a"], "$ref": "https://example.com/x"}) == (False, "`a` is missing")


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"a": [1] * STEPS_LIMIT}, {"properties": {"a": {"items": NUMBER}}}),
        ({"a": [{"b": at} for at in range(1_000)]}, {"properties": {"a": {"uniqueItems": True}}}),
        (
            {"a": 1},
            {
                "$ref": "#/$defs/n30",
                "$defs": {"n0": {"type": "object"}}
                | {f"n{at}": {"allOf": [{"$ref": f"#/$defs/n{at - 1}"}] * 2} for at in range(1, 31)},
            },
        ),
    ],
    ids=["many items", "many to compare", "doubled thirty times"],
)
def test_the_work_is_bounded(value: Any, schema: Any) -> None:
    """In steps, and not in seconds: the same arguments always have the same verdict."""
    assert checked(value, schema) in ((None, TOO_MUCH), (None, NOT_CHECKED))


def test_the_calls_of_a_stream_share_their_steps() -> None:
    """The first takes nearly all; the next has too few left."""
    steps = StepBudget(10)
    assert check([1] * 8, {"items": NUMBER}, steps) == (True, None)
    assert check([1] * 8, {"items": NUMBER}, steps) == (None, TOO_MUCH)
    assert checked([1] * 8, {"items": NUMBER}) == (True, None)


def test_the_library_is_loaded_when_it_is_needed() -> None:
    """Or ahead, on request; it takes 0.1 s and more."""
    code = (
        "import sys\n"
        "from streambench.client import client\nfrom streambench.workload import json_schema as tool_schemas\n"
        "assert 'jsonschema' not in sys.modules\n"
        "tool_schemas.prepare({'type': 'object'})\nassert 'jsonschema' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_anything_can_be_prepared() -> None:
    """A config may declare what it likes."""
    for schema in UNUSABLE.values():
        prepare(schema)


# --- any --------------------------------------------------------------------------------------------------------------

SECRET = "zebra"
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", SECRET]), inner, max_size=3),
    max_leaves=10,
)
WORDS = (
    "type", "required", "properties", "enum", "items", "a", "b", "object", "array", "integer", "not", "anyOf", "oneOf",
    "$ref", "#", "const", "minimum", "multipleOf", "additionalProperties", "uniqueItems", "propertyNames", "pattern",
    "$schema", "$id", "$defs", "if", "then", "contains", "unevaluatedProperties", "prefixItems", "dependentRequired",
)  # fmt: skip
schemas = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@given(value=plain_json, schema=schemas)
def test_any_value_may_meet_any_schema(value: Any, schema: Any) -> None:
    """A verdict and no exception; a reason never quotes the value."""
    valid, why = checked(json.loads(json.dumps(value)), schema)
    assert (valid is True) == (why is None)
    assert SECRET not in (why or "")
