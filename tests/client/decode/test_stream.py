"""Events into chunk facts: odd frames are read as far as they can be, counted where they can't, and never raise."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.client.decode.chunk_json import LARGEST_NUMBER, read_usage
from streambench.client.decode.error_body import MESSAGE_LIMIT, failure_from_body, failure_from_plain
from streambench.client.decode.stream import StreamDecoder
from streambench.records.schema import ChunkTimeline, Failure, Usage


def frame(plain: Any) -> bytes:
    """One event whose data is this value, or these very bytes."""
    data = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    return b"data: " + data + b"\n\n"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk of one choice with this delta."""
    return {"id": "c-1", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def decoded(*frames: Any, keep_text: bool = True) -> StreamDecoder:
    """A decoder that was fed these frames and closed; frame k comes k * 10 ns after the start, in read k."""
    decoder = StreamDecoder(keep_text=keep_text)
    for at, each in enumerate(frames):
        decoder.feed(frame(each), at * 10, at)
    decoder.close(len(frames) * 10, len(frames))
    return decoder


def kinds(*frames: Any) -> str:
    return decoded(*frames).timeline().kind


# --- a stream as it should be -----------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
STREAM = (
    chunk(role="assistant", content=""),
    chunk(content="Hel"),
    chunk(content="lo"),
    chunk(finish="stop"),
    {**chunk(), "choices": [], "usage": USAGE},
    b"[DONE]",
)


def test_each_chunk_has_its_kind_size_arrival_and_read() -> None:
    """`[DONE]` is no chunk; role, finish and usage generate nothing."""
    assert decoded(*STREAM).timeline() == ChunkTimeline((0, 10, 20, 30, 40), "rccou", (0, 3, 2, 0, 0), (0, 1, 2, 3, 4))


def test_the_stream_says_of_itself() -> None:
    """Id, model, finish, usage and the end."""
    decoder = decoded(*STREAM)
    assert (decoder.response_id, decoder.model, decoder.finish_reason, decoder.done) == ("c-1", "m-1", "stop", True)
    assert decoder.usage == Usage(input=5, output=2, total=7, source="gateway")
    assert (decoder.malformed, decoder.error_frame) == (0, None)


def test_text_is_kept_by_option_only() -> None:
    """Hel + lo."""
    assert decoded(*STREAM).text() == "Hello"
    assert decoded(*STREAM, keep_text=False).text() is None
    assert decoded(*STREAM, keep_text=False).reasoning_text() is None


def test_a_chunk_arrives_with_the_read_that_completed_it() -> None:
    """Begun in read 0 at 10 ns, ended in read 1 at 20 ns."""
    decoder = StreamDecoder()
    whole = frame(chunk(content="x"))
    decoder.feed(whole[:30], 10, 0)
    decoder.feed(whole[30:], 20, 1)
    assert decoder.timeline() == ChunkTimeline((20,), "c", (1,), (1,))


def test_progress_is_told_apart_from_generation() -> None:
    """Of the six events the third, at 20 ns, was the last that generated; the last of all came at 50."""
    decoder = decoded(*STREAM)
    assert (decoder.last_generated_ns, decoder.last_event_ns) == (20, 50)


def test_characters_are_code_points() -> None:
    """Three characters in 2 + 3 + 4 bytes."""
    assert decoded(chunk(content="é€𝄞")).timeline().chars == (3,)


def test_the_first_id_model_and_finish_are_kept() -> None:
    """What comes later contradicts; the findings may say so, the record keeps the first."""
    later = {"id": "c-2", "model": "m-2", "choices": [{"delta": {}, "finish_reason": "length"}]}
    decoder = decoded(chunk(finish="stop"), later)
    assert (decoder.response_id, decoder.model, decoder.finish_reason) == ("c-1", "m-1", "stop")


@pytest.mark.parametrize("field", ["id", "model"])
def test_names_are_bounded(field: str) -> None:
    """A hostile gateway may say a megabyte; 4,000 characters are taken, to be masked and then cut."""
    decoder = decoded({**chunk(finish="f" * 5_000), field: "x" * 1_000_000})
    assert [len(name or "") for name in (decoder.response_id, decoder.model)].count(4_000) == 1
    assert decoder.finish_reason == "f" * 4_000
    assert decoded({**chunk(finish=""), "id": "", "model": ""}).finish_reason is None


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE]", b"[DONE] ", b"[DONE]\t"])
def test_done_may_stand_in_blanks(data: bytes) -> None:
    """Hand-written servers send `data:  [DONE] `; every client takes it for the end."""
    decoder = decoded(data)
    assert (decoder.done, decoder.malformed, decoder.timeline().kind) == (True, 0, "")


def test_done_without_a_blank_line_counts() -> None:
    """The SDK would not see it."""
    decoder = StreamDecoder()
    decoder.feed(b"data: [DONE]", 10, 0)
    assert not decoder.done
    decoder.close(10, 0)
    assert decoder.done


def test_the_last_chunk_without_a_blank_line_counts_as_of_its_read() -> None:
    """It came in read 4 at 70 ns."""
    decoder = StreamDecoder()
    decoder.feed(frame(chunk(content="xy"))[:-2], 70, 4)
    decoder.close(70, 4)
    assert decoder.timeline() == ChunkTimeline((70,), "c", (2,), (4,))


def test_half_an_event_at_the_end_is_not_malformed() -> None:
    """A body that was cut inside a frame is told by its missing finish, not blamed for bad JSON."""
    decoder = StreamDecoder()
    decoder.feed(frame(chunk(content="xy"))[:40], 70, 4)
    decoder.close(70, 4)
    assert (decoder.malformed, decoder.malformed_why, decoder.timeline().kind) == (0, None, "")


def test_chunks_after_done_are_seen() -> None:
    """The SDK drains them unseen."""
    assert kinds(b"[DONE]", chunk(content="x")) == "c"


# --- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "kind", "chars"),
    [
        ({"role": "assistant"}, "r", 0),
        ({"role": "assistant", "content": ""}, "r", 0),
        ({"role": "assistant", "content": None, "refusal": None, "tool_calls": None}, "r", 0),
        ({"role": "assistant", "content": "Hi"}, "c", 2),
        ({}, "o", 0),
        ({"content": ""}, "o", 0),
        ({"content": " "}, "c", 1),
        ({"reasoning_content": "abc"}, "t", 3),
        ({"reasoning": "abc"}, "t", 3),
        ({"reasoning": "abc", "reasoning_content": "abc"}, "t", 3),  # the same text under both names: counted once
        ({"reasoning": "abc", "content": ""}, "t", 3),
        ({"reasoning": "abc", "content": "de"}, "c", 5),  # 3 + 2; the more visible kind names the chunk
        ({"refusal": "No."}, "x", 3),
        ({"refusal": "No.", "content": "de"}, "c", 5),  # 3 + 2
        ({"tool_calls": [{"index": 0, "id": "call_1", "type": "function"}]}, "o", 0),
        ({"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": ""}}]}, "f", 4),
        ({"tool_calls": [{"function": {"arguments": '{"a"'}}, {"function": {"arguments": ":1}"}}]}, "f", 7),  # 4 + 3
        ({"tool_calls": []}, "o", 0),
        ({"function_call": {"name": "look", "arguments": "{}"}}, "f", 6),  # 4 + 2
        ({"function_call": {"arguments": "{}"}, "reasoning": "abc"}, "f", 5),  # 2 + 3
    ],
)
def test_a_delta_has_one_kind(delta: dict[str, Any], kind: str, chars: int) -> None:
    """What is most visible in it, and all its generated characters."""
    timeline = decoded(chunk(**delta)).timeline()
    assert (timeline.kind, timeline.chars) == (kind, (chars,))


def test_reasoning_and_answer_are_kept_apart() -> None:
    """Two texts; a refusal stands in the answer's place."""
    decoder = decoded(chunk(reasoning="why "), chunk(reasoning_content="not"), chunk(content="so"), chunk(refusal="!"))
    assert (decoder.reasoning_text(), decoder.text()) == ("why not", "so!")


def test_many_choices_are_one_chunk() -> None:
    """n = 3: the most visible kind, the characters of all: 2 + 3 + 0."""
    deltas = ({"reasoning": "ab"}, {"content": "cde"}, {"role": "assistant"})
    timeline = decoded({"choices": [{"index": k, "delta": delta} for k, delta in enumerate(deltas)]}).timeline()
    assert (timeline.kind, timeline.chars) == ("c", (5,))


def test_a_finish_in_any_choice_is_a_finish() -> None:
    """Choice 0 goes on, choice 1 is through."""
    choices = [{"delta": {"content": "a"}, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}]
    assert decoded({"choices": choices}).finish_reason == "stop"


def test_log_probabilities_and_padding_are_not_counted() -> None:
    """OpenAI pads chunks to hide their length; only `content` is output."""
    plain = chunk(content="ab")
    plain["choices"][0]["logprobs"] = {"content": [{"token": "ab", "logprob": -0.1, "bytes": [97, 98]}]}
    timeline = decoded({**plain, "obfuscation": "xxxxxxxx", "service_tier": "default"}).timeline()
    assert (timeline.kind, timeline.chars) == ("c", (2,))


@pytest.mark.parametrize(
    "plain",
    [{}, {"choices": None}, {"choices": []}, {"choices": [{}]}, {"choices": [{"delta": None}]}],
)
def test_a_chunk_without_a_delta_is_other(plain: dict[str, Any]) -> None:
    """`event: ping` with `{}`, and chunks that only carry filters or timings, are no fault."""
    decoder = decoded(plain)
    assert (decoder.timeline().kind, decoder.malformed) == ("o", 0)


# --- usage ------------------------------------------------------------------------------------------------------------


def with_usage(plain: dict[str, Any], output: int) -> dict[str, Any]:
    return {**plain, "usage": {"prompt_tokens": 5, "completion_tokens": output, "total_tokens": 5 + output}}


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param((chunk(content="a"), with_usage({"choices": []}, 2)), "cu", id="own chunk without choices"),
        pytest.param((chunk(content="a"), with_usage({}, 2)), "cu", id="own chunk, choices left out"),
        pytest.param((chunk(content="a"), with_usage(chunk(), 2)), "cu", id="own chunk with choices"),
        pytest.param((chunk(content="a"), with_usage(chunk(finish="stop"), 2)), "cu", id="finish chunk"),
        pytest.param((with_usage(chunk(content="a"), 1), with_usage(chunk(content="b"), 2)), "cc", id="every chunk"),
        pytest.param(({**chunk(content="a"), "usage": None}, with_usage({}, 2)), "cu", id="null until the last"),
        pytest.param((with_usage(chunk(content="a"), 2), {**chunk(), "usage": {}}), "co", id="empty after it"),
        pytest.param((with_usage(chunk(role="assistant"), 2),), "r", id="role chunk"),
    ],
)
def test_the_last_usage_wins_wherever_it_stands(frames: tuple[Any, ...], expected: str) -> None:
    """Never a sum; a chunk that generates is of its own kind, usage or not."""
    decoder = decoded(*frames)
    assert decoder.usage == Usage(input=5, output=2, total=7, source="gateway")
    assert decoder.timeline().kind == expected


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(1, 2, 3, source="gateway")),
        ({"input_tokens": 1, "output_tokens": 2}, Usage(1, 2, source="gateway")),
        (
            {
                "completion_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 4},
                "prompt_tokens_details": {"cached_tokens": 6},
            },
            Usage(output=9, reasoning=4, cached=6, source="gateway"),
        ),
        (
            {
                "output_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 4},
                "input_tokens_details": {"cached_tokens": 6},
            },
            Usage(output=9, reasoning=4, cached=6, source="gateway"),
        ),
        ({"prompt_tokens": 8, "prompt_cache_hit_tokens": 7}, Usage(input=8, cached=7, source="gateway")),
        ({"total_tokens": 3, "cost": 0.25}, Usage(total=3, cost_usd=0.25, source="gateway")),
        ({"completion_tokens": 0}, Usage(output=0, source="gateway")),
        ({"completion_tokens": "2"}, None),
        ({"completion_tokens": -2}, None),
        ({"completion_tokens": True}, None),
        ({"completion_tokens": 2.5}, None),
        ({"completion_tokens": None, "prompt_tokens_details": 7}, None),
        ({"cost": 1}, None),
        ({}, None),
    ],
)
def test_usage_is_read_in_every_spelling(plain: dict[str, Any], expected: Usage | None) -> None:
    """OpenAI's, Anthropic's and DeepSeek's; what is no count is unknown, and zero is zero."""
    assert read_usage(plain) == expected


@pytest.mark.parametrize("cost", ["1", True, None, float("nan"), LARGEST_NUMBER + 1, -LARGEST_NUMBER - 1, 10**400])
def test_a_cost_that_is_none_is_unknown(cost: object) -> None:
    """Python cannot even make a float of the last one."""
    assert read_usage({"total_tokens": 1, "cost": cost}) == Usage(total=1, source="gateway")


@pytest.mark.parametrize(
    ("count", "kept"),
    [(LARGEST_NUMBER, LARGEST_NUMBER), (LARGEST_NUMBER + 1, None), (10**400, None)],
)
def test_counts_beyond_any_model_are_unknown(count: int, kept: int | None) -> None:
    """2**53 is the last integer that JSON readers agree on, and fits a column of a frame."""
    usage = decoded({"usage": {"prompt_tokens": 1, "completion_tokens": count}}).usage
    assert usage == Usage(input=1, output=kept, source="gateway")


# --- wrong types, read as far as they go ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind", "chars"),
    [
        (7, "c", 1),
        (1.5, "c", 3),
        (True, "c", 4),
        ({"a": 1}, "c", 7),
        ([{"type": "text", "text": "ab"}, "c", {"type": "image"}, 7, {"text": 7}], "c", 3),  # ab + c
        ([], "o", 0),
    ],
)
def test_content_of_a_wrong_type_still_counts(content: object, kind: str, chars: int) -> None:
    """Parts by their text, anything else by its JSON; `null` and `""` are nothing."""
    decoder = decoded(chunk(content=content))
    assert (decoder.timeline().kind, decoder.timeline().chars, decoder.malformed) == (kind, (chars,), 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"created": "x"},
        {"created": 10**40},
        {"id": 7},
        {"model": ["m"]},
        {"usage": "none"},
        {"usage": [1]},
        {"object": None},
        {"choices": [{"index": "0", "delta": {"content": "ab"}}]},
        {"choices": [{"index": 0, "delta": {"content": "ab", "role": 7}}]},
        {"choices": [{"index": 0, "delta": {"content": "ab", "tool_calls": {}}}]},
        {"choices": [{"index": 0, "delta": {"content": "ab", "tool_calls": [None, 7, {"function": 7}]}}]},
        {"choices": [{"index": 0, "delta": {"content": "ab", "function_call": "look"}}]},
        {"choices": [None, 7, {"delta": [1]}, {"delta": {"content": "ab"}, "finish_reason": 7}]},
    ],
    ids=lambda odd: json.dumps(odd)[:60],
)
def test_a_wrong_type_beside_the_content_does_no_harm(odd: dict[str, Any]) -> None:
    """The content is read all the same, and nobody is blamed."""
    decoder = decoded({**chunk(content="ab"), **odd})
    assert (decoder.timeline().kind, decoder.timeline().chars, decoder.malformed) == ("c", (2,), 0)


@pytest.mark.parametrize("choices", [{}, "x", 7, {"0": {}}])
def test_choices_that_are_no_list_are_none(choices: object) -> None:
    """An odd frame, and no chunk of text."""
    assert kinds({"choices": choices}) == "o"


def test_arguments_that_are_an_object_count_by_their_json() -> None:
    """`look` and `{"a":1}`: 4 + 7."""
    call = {"function": {"name": "look", "arguments": {"a": 1}}}
    timeline = decoded(chunk(tool_calls=[call])).timeline()
    assert (timeline.kind, timeline.chars) == ("f", (11,))


def test_an_unknown_finish_reason_is_kept() -> None:
    """It is the gateway's word, not ours to judge here."""
    assert decoded(chunk(finish="weird")).finish_reason == "weird"


def test_a_finish_reason_that_is_no_text_is_none() -> None:
    """So the stream counts as unfinished."""
    assert decoded({"choices": [{"delta": {}, "finish_reason": 7}]}).finish_reason is None


# --- frames that are no chunk -----------------------------------------------------------------------------------------

NO_CHUNKS = {
    b"null": "NoneType",
    b"[1]": "list",
    b"3": "int",
    b'"text"': "str",
    b"true": "bool",
    b"NaN": "JSON",
    b"not json": "JSON",
    b'{"a": 1': "truncated",
    b'{"a": 1}}': "JSON",
    b"{'a': 1}": "JSON",
    b"   ": "truncated",
    b'{"choices": [{"delta": {"content": "\xff"}}]}': "utf-8",
    b'{"choices": [{"delta": {"content": "\xed\xa0\x80"}}]}': "utf-8",  # a surrogate in UTF-8: not allowed there
    b'{"choices": [{"delta": {"content": "\\x"}}]}': "escape",
    b'{"choices": [{"delta": {"content": "\x01"}}]}': "",
    b'{"usage": {"cost": 1e400}}': "range",
    b'{"usage": {"total_tokens": ' + b"9" * 5000 + b"}}": "range",
    b"[" * 100_000: "recursion",
    b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "recursion",
    b"[DONE": "JSON",
}


@pytest.mark.parametrize("data", NO_CHUNKS, ids=lambda data: repr(data[:50]))
def test_a_frame_that_is_no_chunk_is_counted(data: bytes) -> None:
    """And the stream goes on: the SDK would give up the rest."""
    decoder = decoded(data, chunk(content="x"))
    assert (decoder.malformed, decoder.timeline().kind) == (1, "c")


@pytest.mark.parametrize(("data", "why"), NO_CHUNKS.items(), ids=lambda value: repr(value[:50]))
def test_the_reason_is_said(data: bytes, why: str) -> None:
    """In the decoder's words, the first reason of the stream, bounded."""
    told = decoded(data, b"and another").malformed_why
    assert told is not None
    assert why.lower() in told.lower()
    assert 0 < len(told) <= MESSAGE_LIMIT


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (rb"a\ud83d", "a\N{REPLACEMENT CHARACTER}"),
        (rb"\ude00b", "\N{REPLACEMENT CHARACTER}b"),
        (rb"\uD83D\uD83D\uDE00", "\N{REPLACEMENT CHARACTER}\N{GRINNING FACE}"),
        (rb"\ud83d\\ude00", "\N{REPLACEMENT CHARACTER}\\ude00"),  # an escaped backslash, then five letters
        (rb"\\ud83d", "\\ud83d"),
        (rb"\ud83d\n", "\N{REPLACEMENT CHARACTER}\n"),
    ],
)
def test_half_a_surrogate_pair_is_one_unknown_character(content: bytes, text: str) -> None:
    """Gateways that count in UTF-16 cut an emoji in two; every JSON parser but the strictest takes the halves."""
    decoder = decoded(b'{"choices": [{"delta": {"content": "' + content + b'"}}]}')
    assert (decoder.text(), decoder.malformed) == (text, 0)
    assert decoder.timeline().chars == (len(text),)


def test_half_a_pair_mends_no_other_fault() -> None:
    """The frame is cut short as well."""
    assert decoded(rb'{"choices": [{"delta": {"content": "\ud83d').malformed == 1


# --- errors inside the stream -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"error": "overloaded"}, Failure("stream_error", "overloaded")),
        ({"error": {"message": "no", "code": "x"}}, Failure("stream_error", "no", code="x")),
        ({"error": {"message": "no", "code": 503}}, Failure("stream_error", "no", status=503, code="503")),
        ({"error": {"message": "no", "code": "429"}}, Failure("stream_error", "no", status=429, code="429")),
        ({"error": {"message": "no", "type": "bad"}}, Failure("stream_error", "no", code="bad")),
        ({"error": {"message": "no", "code": None}}, Failure("stream_error", "no")),
        ({"error": {"code": 7}}, Failure("stream_error", "an object with the keys code", code="7")),
        ({"error": {"message": {"deep": 1}}}, Failure("stream_error", '{"deep":1}')),
        ({"error": 7}, Failure("stream_error", "7")),
        ({"error": [1]}, Failure("stream_error", "[1]")),
        ({"error": {"message": "no"}, **chunk(content="ab")}, Failure("stream_error", "no")),
    ],
)
def test_an_error_frame_is_an_error(plain: dict[str, Any], expected: Failure) -> None:
    """Object or text, alone or beside choices; it is neither a chunk nor malformed."""
    decoder = decoded(plain)
    assert decoder.error_frame == expected
    assert (decoder.timeline().kind, decoder.malformed) == ("", 0)


@pytest.mark.parametrize("error", [None, "", {}, False, 0])
def test_an_empty_error_is_none(error: object) -> None:
    """Some gateways send the key with every chunk."""
    decoder = decoded({**chunk(content="ab"), "error": error})
    assert (decoder.error_frame, decoder.timeline().kind) == (None, "c")


def test_chunks_around_an_error_are_kept() -> None:
    """Two came before it, one after."""
    assert kinds(chunk(content="a"), chunk(content="b"), {"error": "x"}, chunk(content="c")) == "ccc"


def test_of_two_errors_the_first_is_kept() -> None:
    """The second follows from it."""
    assert decoded({"error": "first"}, {"error": "second"}).error_frame == Failure("stream_error", "first")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"message": "no"}', "no"),
        (b'{"error": {"message": "no"}}', "no"),
        (b'{"error": null, "message": "no"}', "no"),
        (b'{"detail": "no"}', "no"),
        (b'"no"', "no"),
        (b"upstream died", "upstream died"),
        (b"<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
        (b'{"message": "no", "z": "\xff"}', '{"message": "no", "z": "\N{REPLACEMENT CHARACTER}"}'),
        (b'{"message": "no", "z": 1e400}', '{"message": "no", "z": 1e400}'),
        (b"{}", "an empty object"),
        (b"null", ""),
        (b"{", "{"),
    ],
)
def test_an_event_named_error_is_an_error_whatever_it_holds(data: bytes, message: str) -> None:
    """JSON with or without `error`, plain text, HTML, and JSON that is not all readable."""
    decoder = StreamDecoder()
    decoder.feed(b"event: error\ndata: " + data + b"\n\n", 10, 0)
    assert decoder.error_frame == Failure("stream_error", message)
    assert (decoder.timeline().kind, decoder.malformed) == ("", 0)


def test_an_error_cut_at_the_streams_end_is_an_error() -> None:
    """It lacks its end; that there was one is certain."""
    decoder = StreamDecoder()
    decoder.feed(b'event: error\ndata: {"message": "out of mem', 10, 0)
    decoder.close(10, 0)
    assert decoder.error_frame == Failure("stream_error", '{"message": "out of mem')


def test_an_event_of_another_name_is_a_chunk() -> None:
    """`event: message` is the default by another word."""
    decoder = StreamDecoder()
    decoder.feed(b"event: message\n" + frame(chunk(content="a")), 10, 0)
    assert decoder.timeline().kind == "c"


@pytest.mark.parametrize("code", [99, 1000, "4x9", "٤٢٩", 429.0, True, [429]])
def test_a_code_that_is_no_status_gives_none(code: object) -> None:
    """Three ASCII digits make a status."""
    assert failure_from_plain("stream_error", {"error": {"message": "no", "code": code}}).status is None


def test_messages_and_codes_are_bounded() -> None:
    """Of 10,000 characters 4,000 are taken; of keys in a message's place a dozen, and none that is no name."""
    failure = failure_from_plain("stream_error", {"error": {"message": "m" * 10_000, "code": "c" * 10_000}})
    assert (len(failure.message), len(failure.code or "")) == (4_000, 4_000)
    keys = {"k" * 10_000: 1} | {f"k{at}": 1 for at in range(99)}
    told = failure_from_plain("stream_error", {"error": keys}).message
    assert told == f"an object with the keys (odd name), {', '.join(f'k{at}' for at in range(11))}"


def test_a_status_that_is_known_is_kept() -> None:
    """The wire's word goes before the body's."""
    assert failure_from_body("http_error", b'{"error": {"code": 500}}', status=503).status == 503


@pytest.mark.parametrize("holder", ['{"error": %s}', '{"choices": [{"delta": {"content": %s}}]}'])
def test_no_depth_raises(holder: str) -> None:
    """Through the depth where reading still goes and writing does no more, to that where neither does."""
    for depth in range(1, sys.getrecursionlimit() + 50):
        nested = '{"a":' * depth + "1" + "}" * depth
        decoder = decoded((holder % nested).encode())
        assert bool(decoder.error_frame or decoder.timeline().kind == "c") != bool(decoder.malformed)


# --- anything at all --------------------------------------------------------------------------------------------------

numbers = (
    st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([10**400, -(10**400), 2**64])
)
plain_json = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("choices", "delta", "content", "role", "reasoning", "reasoning_content", "refusal", "tool_calls", "function",
         "function_call", "name", "arguments", "finish_reason", "usage", "prompt_tokens", "completion_tokens", "cost",
         "completion_tokens_details", "id", "model", "error", "message", "code", "type")  # fmt: skip
odd_chunks = st.recursive(
    plain_json,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=20,
)


def consistent(decoder: StreamDecoder) -> bool:
    """A timeline of four equal columns, in known kinds, with characters where something was generated."""
    timeline = decoder.timeline()
    columns = {len(timeline.offset_ns), len(timeline.kind), len(timeline.chars), len(timeline.read)}
    spoken = [(kind in "tcfx") == (chars > 0) for kind, chars in zip(timeline.kind, timeline.chars, strict=True)]
    return len(columns) == 1 and re.fullmatch("[rtcfxuo]*", timeline.kind) is not None and all(spoken)


@given(values=st.lists(odd_chunks, max_size=4), name=st.sampled_from([b"", b"event: error\n"]))
def test_any_json_is_taken(values: list[Any], name: bytes) -> None:
    """Every frame is a chunk, an error or malformed; none raises."""
    decoder = StreamDecoder(keep_text=True)
    for value in values:
        decoder.feed(name + frame(value), 1, 0)
    decoder.close(1, 0)
    assert consistent(decoder)
    if not name and decoder.error_frame is None:
        assert len(decoder.timeline().kind) + decoder.malformed == len(values)


@given(pieces=st.lists(st.binary(max_size=60) | st.sampled_from([b"data: ", b"\n\n", b"event: error\n", b'{"error":'])))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    """Nothing raises, and the columns stay equal."""
    decoder = StreamDecoder(keep_text=True)
    for at, piece in enumerate(pieces):
        decoder.feed(piece, at, at)
    decoder.close(len(pieces), len(pieces))
    assert consistent(decoder)


@given(body=st.binary(max_size=200) | odd_chunks.map(lambda plain: json.dumps(plain).encode()))
def test_any_error_body_is_taken(body: bytes) -> None:
    """A bounded message, whatever it was."""
    assert len(failure_from_body("http_error", body, status=500).message) <= MESSAGE_LIMIT


# --- errors without an `error` key ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "message", "code", "status"),
    [
        ({"object": "error", "message": "out of memory", "type": "Oops", "code": 500}, "out of memory", "500", 500),
        ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, "rate limit", "1002", None),
        ({"error_code": 50001, "text": "no worker"}, "no worker", "50001", None),
        ({"errors": [{"message": "no quota", "code": 7}]}, "no quota", "7", None),
        ({"success": False, "msg": "busy", "code": 503}, "busy", "503", 503),
        ({"code": "Throttling", "message": "slow down", "request_id": "r"}, "slow down", "Throttling", None),
    ],
)
def test_a_frame_states_its_error_in_any_known_form(
    plain: dict[str, Any], message: str, code: str, status: int | None
) -> None:
    """After output, and before [DONE]: the stream has failed, and says why."""
    decoder = decoded(chunk(content="Once"), plain, b"[DONE]")
    assert decoder.error_frame == Failure("stream_error", message, code=code, status=status)


@pytest.mark.parametrize(
    "plain",
    [
        {"type": "ping"},
        {"choices": [], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"error_code": 0, "text": "Hello", "choices": []},
        {"choices": [], "usage": {"total_tokens": 1}, "message": "Success"},
    ],
)
def test_a_frame_without_an_error_states_none(plain: dict[str, Any]) -> None:
    """Keep-alives, and the names of errors with values that say success."""
    assert decoded(plain).error_frame is None


def test_an_sse_field_named_error_is_an_error() -> None:
    """llama.cpp sent its failures so, until late 2025."""
    decoder = StreamDecoder()
    decoder.feed(frame(chunk(content="Once")) + b'error: {"code":500,"message":"context full"}\n\n', 0, 0)
    assert decoder.error_frame == Failure("stream_error", "context full", code="500", status=500)


def test_a_list_of_errors_counts_as_its_first() -> None:
    """Gemini's error body is a list; its details say how long to wait."""
    body = b'[{"error": {"code": 429, "message": "exhausted", "details": [{"retryDelay": "17s"}]}}]'
    failure = failure_from_body("http_error", body)
    assert failure == Failure("http_error", "exhausted", code="429", status=429, retry_after_s=17.0)


# --- values as other servers write them -------------------------------------------------------------------------------


def test_numbers_that_json_does_not_have_are_read() -> None:
    """As the SDK reads them: NaN and infinities in logprobs."""
    data = b'{"choices":[{"delta":{"content":"x"},"logprobs":{"content":[{"logprob":-Infinity,"p":NaN}]}}]}'
    decoder = decoded(data)
    assert (decoder.malformed, decoder.text()) == (0, "x")


def test_usage_is_read_under_the_names_of_other_vendors() -> None:
    """SGLang's and Kimi's, beside the counts instead of in their details."""
    usage = read_usage({"prompt_tokens": 9, "completion_tokens": 5, "reasoning_tokens": 3, "cached_tokens": 4})
    assert usage == Usage(input=9, output=5, reasoning=3, cached=4, source="gateway")


def test_one_call_may_stand_without_its_list() -> None:
    """TGI before 3.2 sent an object, with the name in each delta."""
    pieces = ('{"city"', ': "Oslo"', "}")
    calls = [{"index": 0, "id": "", "function": {"name": "look", "arguments": piece}} for piece in pieces]
    decoder = decoded(*(chunk(tool_calls=call) for call in calls), chunk(finish="stop"))
    assert [(call.name, call.arguments_valid) for call in decoder.tool_calls()] == [("look", True)]
