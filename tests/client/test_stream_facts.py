"""What the decoder notes of a stream for its findings: ids, roles, late output, tool calls, odd fields, broken text."""

from __future__ import annotations

from typing import Any

import pytest

from client.decode.test_stream import chunk, decoded, frame
from streambench.client.decode.known_fields import FIELDS_LIMIT, KNOWN, unknown_fields
from streambench.client.decode.stream import IDS_LIMIT, StreamDecoder
from streambench.records.schema import ToolCall


def choices(*each: tuple[int, dict[str, Any], str | None]) -> dict[str, Any]:
    """A chunk of (index, delta, finish_reason)."""
    return {"choices": [{"index": index, "delta": delta, "finish_reason": why} for index, delta, why in each]}


def with_id(name: Any) -> dict[str, Any]:
    return {**chunk(content="x"), "id": name}


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "count"),
    [(["a", "a", "a"], 1), (["a", "b", "a", "b"], 2), (["", None, "a", ""], 1), ([None], 0), ([7, "a"], 1)],
)
def test_distinct_ids_are_counted(ids: list[Any], count: int) -> None:
    """Azure's first chunk has an empty one, and that is none."""
    assert decoded(*map(with_id, ids)).ids == count


def test_ids_are_counted_up_to_a_limit() -> None:
    """Some servers give every chunk its own."""
    assert decoded(*(with_id(f"c-{at}") for at in range(IDS_LIMIT + 10))).ids == IDS_LIMIT


# --- roles and late output --------------------------------------------------------------------------------------------


def test_roles_are_those_of_one_choice() -> None:
    """Two choices have one each; a null and an empty one are none."""
    roles = ({"role": "assistant"}, {"role": None}, {"role": ""})
    assert decoded(choices(*((at, {"role": "assistant"}, None) for at in range(2)))).roles == 1
    assert decoded(*(chunk(**delta) for delta in roles)).roles == 1
    assert decoded(chunk(role="assistant"), chunk(role="assistant", content="x")).roles == 2


def test_output_after_the_finish_is_counted() -> None:
    """Two chunks of content; an empty delta and the usage are no output."""
    late = [chunk(content="x"), chunk(), chunk(content="y"), {"choices": [], "usage": {"total_tokens": 1}}]
    assert decoded(chunk(content="a"), chunk(finish="stop"), *late).after_finish == 2


def test_output_with_the_finish_is_in_time() -> None:
    """Some servers put the last content and the finish_reason into one chunk."""
    assert decoded(chunk(content="a", finish="stop")).after_finish == 0


def test_each_choice_has_its_own_finish() -> None:
    """Choice 0 is through; choice 1 goes on, and is in time."""
    first = choices((0, {"content": "a"}, "stop"), (1, {"content": "b"}, None))
    assert decoded(first, choices((1, {"content": "c"}, "stop"))).after_finish == 0
    assert decoded(first, choices((0, {"content": "c"}, None))).after_finish == 1


# --- tool calls -------------------------------------------------------------------------------------------------------


def call(index: Any, arguments: Any, name: str | None = None) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": index, "function": {"name": name, "arguments": arguments}}])


def test_a_call_over_many_chunks_is_judged() -> None:
    """By the schema that the request declared."""
    decoder = StreamDecoder(schemas={"look": {"required": ["city"]}})
    for each in (call(0, "", "look"), call(0, '{"to'), call(0, 'wn": "Oslo"}')):
        decoder.feed(frame(each), 0, 0)
    assert decoder.tool_calls() == (ToolCall("look", arguments_valid=False, why="`city` is missing", named_ns=0),)


def test_a_call_in_odd_types_is_judged() -> None:
    """An index in digits, arguments as an object."""
    assert decoded(call("0", {"a": 1}, "look")).tool_calls() == (ToolCall("look", arguments_valid=True, named_ns=0),)


def test_a_legacy_function_is_judged() -> None:
    """`function_call`, in two pieces."""
    pieces = (chunk(function_call={"name": "look", "arguments": "{"}), chunk(function_call={"arguments": "}"}))
    assert decoded(*pieces).tool_calls() == (ToolCall("look", arguments_valid=True, named_ns=0),)


def test_a_stream_without_calls_has_none() -> None:
    """Null and empty lists are no calls."""
    assert decoded(chunk(content="x", tool_calls=None), chunk(tool_calls=[])).tool_calls() == ()


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "found"),
    [
        (chunk(content="x", role="assistant"), []),
        ({**chunk(), "x_farm": 1}, ["x_farm"]),
        (chunk(mood="good"), ["choices.delta.mood"]),
        ({"choices": [{"index": 0, "delta": {}, "rank": 1}]}, ["choices.rank"]),
        (chunk(tool_calls=[{"index": 0, "hint": 1}]), ["choices.delta.tool_calls.hint"]),
        (chunk(tool_calls=[{"function": {"name": "f", "cost": 1}}]), ["choices.delta.tool_calls.function.cost"]),
        ({"usage": {"anything": 1}, "timings": {"at_all": 1}, "choices": []}, []),
        ({"choices": [{"logprobs": {"anything": 1}}]}, []),
        ({"Oslo is a fine city": 1}, ["(odd name)"]),
        ({"choices": [{"delta": {"a b": 1}}]}, ["choices.delta.(odd name)"]),
        ({"choices": 7}, []),
        (7, []),
    ],
)
def test_fields_of_no_known_dialect(plain: Any, found: list[str]) -> None:
    """By their path; a name that is none may be text of the model's, and is not repeated."""
    assert list(unknown_fields(plain)) == found


def test_the_paths_of_the_table_are_known_themselves() -> None:
    """Each leads through names that stand in it."""
    assert all(path == "" or path.rpartition(".")[2] in KNOWN[path.rpartition(".")[0]] for path in KNOWN)


def odd(at: int) -> dict[str, Any]:
    return {**chunk(content="x"), f"odd_{at}": 1}


def test_only_some_frames_are_looked_at() -> None:
    """Of 70: the 1st, 4th, 16th and 64th, the one that finishes and the first with usage."""
    frames = [odd(at) for at in range(1, 71)]
    frames[29] = {**odd(30), **choices((0, {}, "stop"))}
    frames[39] = {**odd(40), "usage": {"total_tokens": 1}}
    frames[49] = {**odd(50), "usage": {"total_tokens": 2}}
    assert decoded(*frames).unknown_fields == tuple(f"odd_{at}" for at in (1, 4, 16, 30, 40, 64))


def test_a_field_is_named_once_and_few_are() -> None:
    """A hostile gateway may invent any number."""
    assert decoded({**chunk(), "odd": 1}, {**chunk(finish="stop"), "odd": 1}).unknown_fields == ("odd",)
    assert len(decoded({f"odd_{at}": 1 for at in range(1_000)}).unknown_fields) == FIELDS_LIMIT


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "broken"),
    [
        ("é€𝄞".encode(), 0),
        (rb"\ud83d\ude42", 0),
        (rb"\\ud83d", 0),
        ("�".encode(), 0),  # the model may well have said it
        (rb"\ud83d", 1),
        (rb"\ude42 and \ud83d", 1),
        (b"\xf0\x9f", 1),
        (b"\xff", 1),
    ],
)
def test_broken_text_is_counted_by_frame(content: bytes, broken: int) -> None:
    """Halves of a character as escapes, and bytes that are no UTF-8."""
    data = b'{"choices":[{"delta":{"content":"' + content + b'"}}]}'
    assert decoded(data).broken_utf8 == broken


def test_half_a_character_is_mended_in_a_frame_of_odd_types_too() -> None:
    """An id that is a number has the frame read field by field; the half pair is behind it."""
    decoder = decoded(b'{"id":7,"choices":[{"delta":{"content":"a\\ud83d"}}]}')
    assert (decoder.malformed, decoder.broken_utf8, decoder.timeline().chars) == (0, 1, (2,))


def test_bad_json_in_good_text_is_not_broken_text() -> None:
    """It is malformed, and for another reason."""
    decoder = decoded(b'{"choices": [')
    assert (decoder.malformed, decoder.broken_utf8) == (1, 0)


def test_half_an_event_at_the_end_is_not_broken_text() -> None:
    """The body was cut inside a character; the missing finish tells it."""
    decoder = StreamDecoder()
    decoder.feed(frame(chunk(content="é"))[:-2].replace(rb"\u00e9", b"\xc3"), 0, 0)
    decoder.close(0, 0)
    assert decoder.broken_utf8 == 0
