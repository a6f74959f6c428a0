"""Calls put together from their deltas, and whether their arguments can be used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.client.decode.tool_calls import CALLS_LIMIT, LEGACY, NAME_LIMIT, WHY_LIMIT, ToolCalls
from streambench.records.schema import ToolCall
from streambench.workload.conversation import ARGUMENTS_LIMIT, ReceivedCall
from streambench.workload.request_params import declared_schemas

Delta = tuple[int, int | None, str | None, str | None, str | None]
"""Choice, index, id, name, arguments."""

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", "F"]},
        "stops": {"type": "array", "items": {"type": "object", "required": ["at"]}},
    },
    "required": ["city"],
}


def judged(*deltas: Delta, schemas: Any = None) -> list[ToolCall]:
    calls = ToolCalls(schemas or {})
    for delta in deltas:
        calls.add(*delta)
    return list(calls.judged())


def one(arguments: str, schema: Any = WEATHER) -> ToolCall:
    (call,) = judged((0, 0, "c-1", "look", arguments), schemas={"look": schema})
    return call


def valid(*names: str) -> list[ToolCall]:
    return [ToolCall(name, arguments_valid=True) for name in names]


# --- put together -----------------------------------------------------------------------------------------------------


def test_a_call_in_pieces() -> None:
    """Id and name first, then the arguments."""
    assert judged((0, 0, "c-1", "look", ""), (0, 0, None, None, '{"a"'), (0, 0, None, None, ":1}")) == valid("look")


def test_parallel_calls_are_kept_apart_by_their_index() -> None:
    """Their pieces may be interleaved."""
    begun: list[Delta] = [(0, 0, "c-1", "one", "{"), (0, 1, "c-2", "two", "{")]
    assert judged(*begun, (0, 0, None, None, "}"), (0, 1, None, None, "}")) == valid("one", "two")


def test_choices_have_calls_of_their_own() -> None:
    """Index 0 of the one is not index 0 of the other."""
    assert judged((0, 0, "a", "one", "{"), (1, 0, "b", "two", "{}"), (0, 0, None, None, "}")) == [
        ToolCall("one", arguments_valid=True),
        ToolCall("two", arguments_valid=True, choice=1),
    ]


def test_a_second_id_under_one_index_is_a_second_call() -> None:
    """Some gateways number all calls 0: glued, their arguments would be no JSON."""
    assert judged((0, 0, "c-1", "one", "{}"), (0, 0, "c-2", "two", "{}")) == valid("one", "two")


def test_an_id_that_comes_with_every_piece_is_one_call() -> None:
    """And a name that does."""
    assert judged((0, 0, "c-1", "look", "{"), (0, 0, "c-1", "look", "}")) == valid("look")


def test_a_name_in_pieces_is_joined() -> None:
    """As arguments are."""
    assert judged((0, 0, "c-1", "get_", ""), (0, 0, None, "weather", "{}")) == valid("get_weather")


def test_without_an_index_an_id_or_a_name_begins_a_call() -> None:
    """What has neither goes on with the last one; a known id with its own."""
    begun: list[Delta] = [(0, None, "a", "one", "{"), (0, None, "b", "two", "{")]
    assert judged(*begun, (0, None, None, None, "}"), (0, None, "a", None, "}")) == valid("one", "two")
    assert judged((0, None, None, "one", "{}"), (0, None, None, "two", "{}")) == valid("one", "two")


def test_a_legacy_function_is_a_call() -> None:
    """Of which a choice has one."""
    assert judged((0, LEGACY, None, "look", "{"), (0, LEGACY, None, None, "}")) == valid("look")


# --- judged -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"city": "Oslo"}', None),
        ('{"city": "Oslo", "days": 2, "unit": "C", "stops": [{"at": 1}], "more": null}', None),
        ('{"city": "Oslo"', "invalid JSON at character 15 of 15"),
        ('{"city": "Oslo"}}', "invalid JSON at character 16 of 17"),
        ("{'city': 'Oslo'}", "invalid JSON at character 1 of 16"),
        ('{"city": NaN}', "invalid JSON (NaN or Infinity) in 13 characters"),
        ('"{}"', "a string, not an object"),
        ("[]", "an array, not an object"),
        ("null", "null, not an object"),
        ("{}", "`city` is missing"),
        ('{"city": 7}', "`city` is an integer, not string"),
        ('{"city": "Oslo", "days": "two"}', "`days` is a string, not integer"),
        ('{"city": "Oslo", "days": 2.5}', "`days` is a number, not integer"),
        ('{"city": "Oslo", "days": true}', "`days` is a boolean, not integer"),
        ('{"city": "Oslo", "unit": "K"}', "`unit` is not one of the 2 choices"),
        ('{"city": "Oslo", "stops": [{"at": 1}, {}]}', "`stops[].at` is missing"),
    ],
)
def test_arguments_are_judged(arguments: str, why: str | None) -> None:
    """By JSON and by the schema; the reason quotes the schema, never the model."""
    assert one(arguments) == ToolCall("look", arguments_valid=why is None, why=why)


@pytest.mark.parametrize(
    "arguments",
    ['{"city":' + "[" * 20_000 + "]" * 20_000 + "}", '{"city": ' + "9" * 5_000 + "}", '{"city": 1e999}'],
    ids=["levels", "digits", "a number past all floats"],
)
def test_json_that_cannot_be_read_here_is_not_judged(arguments: str) -> None:
    """It may well be fine for another reader: a break is certain."""
    call = one(arguments)
    assert call.arguments_valid is None
    assert "not judged" in (call.why or "")


def test_no_arguments_are_nothing_to_judge() -> None:
    """Unless the schema asks for some."""
    assert one("", schema={"type": "object"}) == ToolCall("look")
    assert one(" ") == ToolCall("look", arguments_valid=False, why="no arguments: `city` is missing")


def test_a_name_that_is_none_is_not_told() -> None:
    """The model chose it, and may have put its answer there."""
    assert judged((0, 0, "c", "the answer is 7", "{}")) == valid("(odd name)")


def test_a_function_that_was_not_declared_is_judged_as_json() -> None:
    """There is no schema to break."""
    assert judged((0, 0, "c", "other", '{"x": 1}'), schemas={"look": WEATHER}) == valid("other")


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_arguments_beyond_the_limit_are_not_judged() -> None:
    """And let go: another call has the room again."""
    half = "x" * (ARGUMENTS_LIMIT // 2)
    long, other = judged((0, 0, "a", "long", half), (0, 0, None, None, half + "x"), (0, 1, "b", "other", "{}"))
    assert (long.arguments_valid, other.arguments_valid) == (None, True)
    assert long.why


@pytest.mark.parametrize("second", ["look", "find"])
def test_whole_calls_with_one_index_and_no_ids_are_each_their_own(second: str) -> None:
    """Some gateways send each in one delta, number all 0 and give no id."""
    deltas: list[Delta] = [(0, 0, "", "look", '{"a":1}'), (0, 0, "", second, '{"a":2}')]
    assert judged(*deltas) == valid("look", second)


def test_a_name_that_is_repeated_begins_no_call() -> None:
    """Even where a piece of the arguments ends in a brace."""
    deltas: list[Delta] = [(0, 0, None, "look", '{"a":{}'), (0, 0, None, "look", ',"b":{}}'), (0, 0, None, "look", "")]
    assert judged(*deltas) == valid("look")


def test_calls_beyond_the_limit_are_not_kept() -> None:
    """A hostile stream may begin a million."""
    assert len(judged(*((0, at, f"c-{at}", "look", "{}") for at in range(CALLS_LIMIT + 10)))) == CALLS_LIMIT


def test_names_and_reasons_are_bounded() -> None:
    """A model may call a function by a megabyte; a schema may have a key of one."""
    (call,) = judged((0, 0, "c" * 10_000, "n" * 1_000_000, "{}"), (0, 0, "c" * 10_000, "n" * 1_000_000, ""))
    assert call.name == "n" * NAME_LIMIT
    assert len(one("{}", schema={"required": ["k" * 1_000]}).why or "") == WHY_LIMIT


# --- what was declared ------------------------------------------------------------------------------------------------


def test_schemas_are_found_in_tools_and_legacy_functions() -> None:
    """What is no function, or has no schema, is passed over."""
    params = {
        "tools": [
            {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}},
            {"type": "web"},
            7,
        ],
        "functions": [{"name": "b", "parameters": {}}, {"name": "c"}],
    }
    assert declared_schemas(params) == {"a": {"type": "object"}, "b": {}}


@pytest.mark.parametrize("params", [{}, {"tools": None}, {"tools": "x", "functions": {}}, {"tools": [{"function": 7}]}])
def test_odd_params_declare_nothing(params: dict[str, Any]) -> None:
    """They are the gateway's to refuse."""
    assert declared_schemas(params) == {}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.none() | st.integers(-1, 2),
            st.sampled_from([None, "", "a", "b"]),
            st.sampled_from([None, "", "f", "g"]),
            st.sampled_from([None, "", "{", "}", '"a":1']),
        ),
        max_size=12,
    )
)
def test_any_deltas_are_taken(deltas: list[Delta]) -> None:
    """No more calls than deltas."""
    assert len(judged(*deltas)) <= len(deltas)


# --- when -------------------------------------------------------------------------------------------------------------

Timed = tuple[int, int | None, str | None, str | None, str | None, int]


def times(*deltas: Timed, finished: bool = True) -> list[tuple[int | None, int | None]]:
    """Of each call: when its name was complete, and its arguments."""
    calls = ToolCalls()
    for delta in deltas:
        calls.add(*delta)
    return [(call.named_ns, call.complete_ns) for call in calls.judged(finished=finished)]


def test_a_call_has_the_arrivals_of_its_last_name_and_its_last_arguments() -> None:
    """A name in two pieces, arguments in two; white space after the end completes nothing."""
    begun: list[Timed] = [(0, 0, "c", "get_", None, 10), (0, 0, None, "weather", "", 20), (0, 0, None, None, "{", 30)]
    assert times(*begun, (0, 0, None, None, "}", 40), (0, 0, None, None, " \n", 50)) == [(20, 40)]


def test_a_name_that_is_repeated_was_complete_at_first() -> None:
    """Some gateways send it with every piece."""
    assert times((0, 0, "c", "look", "{", 10), (0, 0, "c", "look", "}", 20)) == [(10, 20)]


def test_interleaved_calls_have_times_of_their_own() -> None:
    """Their indexes jump, and the second is complete before the first."""
    first: list[Timed] = [(0, 7, "a", "one", "{", 10), (0, 2, "b", "two", "{", 20)]
    assert times(*first, (0, 2, None, None, "}", 30), (0, 7, None, None, "}", 40)) == [(10, 40), (20, 30)]


@pytest.mark.parametrize("arguments", ['{"a": 1', "", "  ", "1" * 5_000, "{} {}", "x" * (ARGUMENTS_LIMIT + 1)])
def test_arguments_that_are_no_whole_json_never_were_complete(arguments: str) -> None:
    """Cut, missing, blank, with more digits than are read, two values, too long: unknown, not the last arrival."""
    assert times((0, 0, "c", "look", arguments, 10)) == [(10, None)]


def test_json_that_breaks_its_schema_was_complete() -> None:
    """When it came and whether it can be used are two questions."""
    calls = ToolCalls({"look": WEATHER})
    calls.add(0, 0, "c", "look", "{}", 10)
    (call,) = calls.judged()
    assert (call.arguments_valid, call.complete_ns) == (False, 10)


def test_of_a_stream_that_broke_off_nothing_is_complete() -> None:
    """More of the name, or of the arguments, could have come; a name is through where arguments follow it."""
    assert times((0, 0, "c", "loo", None, 10), finished=False) == [(None, None)]
    assert times((0, 0, "c", "look", "12", 10), finished=False) == [(10, None)]


def test_the_calls_themselves_are_there_in_memory() -> None:
    """For who sends them back, of the first choice; with one that was too long none are."""
    calls = ToolCalls()
    calls.add(0, 0, "c-1", "look", '{"a"', 1)
    calls.add(1, 0, "c-2", "leap", "{}", 2)
    calls.add(0, 0, None, None, ": 1}", 3)
    assert calls.received() == (ReceivedCall("c-1", "look", '{"a": 1}'),)
    calls.add(0, LEGACY, None, "leap", "x" * ARGUMENTS_LIMIT, 4)
    assert calls.received() is None
