"""The JSON that was asked for: whether it can be used, and when it was whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.decode.test_stream import chunk, frame
from streambench.client.decode.json_answer import CHOICES_LIMIT, TEXT_LIMIT, AnswerText
from streambench.client.decode.stream import StreamDecoder
from streambench.records.schema import JsonAnswer
from streambench.workload.request_params import JsonForm

PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


def judged(*pieces: str, schema: Any = None, finished: bool = True, instead: str | None = None) -> JsonAnswer:
    """Piece k came k * 10 ns after the start."""
    answer = AnswerText(JsonForm("json_object" if schema is None else "json_schema", schema))
    for at, piece in enumerate(pieces):
        answer.add(0, piece, at * 10)
    return answer.judged(finished=finished, instead=instead)


def test_an_answer_is_whole_with_its_last_character() -> None:
    """White space after it adds nothing."""
    assert judged("{", '"age": 3', "}", "\n\n") == JsonAnswer(valid=True, complete_ns=20)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"age": 3', "invalid JSON at character 9 of 9"),
        ("```json\n{}\n```", "invalid JSON at character 0 of 14"),
        ('{"age": NaN}', "invalid JSON (NaN or Infinity) in 12 characters"),
        ("{}{}", "invalid JSON at character 2 of 4"),
    ],
)
def test_what_is_no_json_is_told_by_its_place_and_has_no_time(text: str, why: str) -> None:
    """None of the text is quoted."""
    assert judged(text) == JsonAnswer(valid=False, why=why)


def test_what_breaks_the_schema_was_whole_all_the_same() -> None:
    """The words are the schema's."""
    assert judged("{}", schema=PERSON) == JsonAnswer(valid=False, why="`age` is missing", complete_ns=0)


def test_without_a_schema_an_object_was_asked_for() -> None:
    """A schema may ask for any value."""
    assert judged("[1]") == JsonAnswer(valid=False, why="an array, not an object", complete_ns=0)
    assert judged("[1]", schema={"type": "array"}) == JsonAnswer(valid=True, complete_ns=0)


def test_no_text_is_no_json_but_where_something_else_came() -> None:
    """A tool call or a refusal is an answer of another kind, and not judged."""
    assert judged() == judged("  ") == JsonAnswer(valid=False, why="the answer has no text")
    assert judged(instead="a refusal") == JsonAnswer(why="a refusal")


def test_words_ahead_of_a_call_are_no_broken_json() -> None:
    """They announce it; JSON beside it is judged as any."""
    told = "a tool call"
    assert judged("Let me look.", instead=told) == JsonAnswer(why=told)
    assert judged('{"a": 1}', instead=told).valid is True


def test_a_number_that_broke_off_was_not_complete() -> None:
    """12 may have been the start of 123."""
    assert judged("12", schema={"type": "integer"}, finished=False).complete_ns is None


def test_the_worst_choice_speaks_for_all() -> None:
    """One of two is no JSON: then not all are whole."""
    answer = AnswerText(JsonForm("json_object"))
    answer.add(0, "{}", 10)
    answer.add(1, "{", 20)
    assert answer.judged(finished=True, instead=None) == JsonAnswer(valid=False, why="invalid JSON at character 1 of 1")
    answer.add(1, "}", 30)
    assert answer.judged(finished=True, instead=None) == JsonAnswer(valid=True, complete_ns=30)


def test_what_is_held_is_bounded() -> None:
    """In characters and in choices; what is beyond is not judged."""
    assert f"{TEXT_LIMIT:,} characters" in (judged("x" * TEXT_LIMIT, "x").why or "")
    many = AnswerText(JsonForm("json_object"))
    for choice in range(CHOICES_LIMIT + 1):
        many.add(choice, "{}", 0)
    assert many.judged(finished=True, instead=None).valid is None


@given(st.lists(st.text(max_size=8), max_size=8), st.sampled_from([None, PERSON, {"type": "nonsense"}, 7]))
def test_no_text_and_no_schema_raise(pieces: list[str], schema: Any) -> None:
    """And a time stands only where all is whole."""
    found = judged(*pieces, schema=schema)
    assert found.valid is not True or found.complete_ns is not None


# --- in the decoder ---------------------------------------------------------------------------------------------------


OBJECT = JsonForm("json_object")


def decoded(*frames: Any, form: JsonForm | None = OBJECT) -> StreamDecoder:
    decoder = StreamDecoder(json_form=form)
    for at, each in enumerate(frames):
        decoder.feed(frame(each), at * 10, at)
    decoder.close(len(frames) * 10, len(frames))
    return decoder


def test_the_decoder_holds_the_text_only_to_judge_it() -> None:
    """The text is not kept; a stream that was not asked for JSON has no verdict."""
    frames = (chunk(content='{"a"'), chunk(content=": 1}"), chunk(finish="stop"))
    decoder = decoded(*frames)
    assert decoder.json_answer() == JsonAnswer(valid=True, complete_ns=10)
    assert decoder.text() is None
    assert decoded(*frames, form=None).json_answer() is None


def test_reasoning_is_no_part_of_the_json() -> None:
    """It comes in a field of its own."""
    assert decoded(chunk(reasoning="Hm."), chunk(content="{}"), chunk(finish="stop")).json_answer() == JsonAnswer(
        valid=True, complete_ns=10
    )


def test_a_call_or_a_refusal_is_not_judged_as_json() -> None:
    """It came instead."""
    call = chunk(tool_calls=[{"index": 0, "function": {"name": "look", "arguments": "{}"}}])
    assert decoded(call, chunk(finish="tool_calls")).json_answer() == JsonAnswer(why="the model called a tool instead")
    assert decoded(chunk(refusal="No."), chunk(finish="stop")).json_answer() == JsonAnswer(why="the model refused")
