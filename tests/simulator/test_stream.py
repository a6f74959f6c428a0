"""What a healthy gateway sends."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from streambench.workload.json_schema import StepBudget, judge_text

from .client import Client, Reply, Start, chat_body

MODELS = """
models:
  plain: {ttft_ms: 20, gap_ms: 2, tokens: 6}
  joined: {ttft_ms: 20, gap_ms: 2, tokens: 6, role_chunk: joined}
  bare: {ttft_ms: 20, gap_ms: 2, tokens: 6, role_chunk: none}
  pairs: {ttft_ms: 20, gap_ms: 2, tokens: 7, chunk_tokens: 2}
  bursty: {ttft_ms: 20, gap_ms: 5, tokens: 8, burst: 4}
  thinker: {ttft_ms: 20, gap_ms: 2, tokens: 4, reasoning: {tokens: 3, field: reasoning}}
  secret-thinker: {ttft_ms: 20, gap_ms: 2, tokens: 4, reasoning: {tokens: 30, field: hidden}}
  caller: {ttft_ms: 20, gap_ms: 1, tokens: 4, tools: true}
  many-caller: {ttft_ms: 20, gap_ms: 1, tokens: 4, tools: true, parallel_calls: 3}
  no-usage: {ttft_ms: 20, gap_ms: 2, tokens: 4, usage: false}
  no-options: {ttft_ms: 20, gap_ms: 2, tokens: 4, accepts_stream_options: false}
  commenting: {ttft_ms: 100, gap_ms: 2, tokens: 2, keepalive_ms: 30}
  staller: {ttft_ms: 10, gap_ms: 2, tokens: 5, stall: {chance: 1, ms: 120}}
  reader: {ttft_ms: 10, gap_ms: 1, tokens: 2, prompt_token_ms: 1}
  rememberer: {ttft_ms: 10, gap_ms: 1, tokens: 2, prompt_token_ms: 1, cache: true}
"""

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C"]}, "days": {"type": "integer"}},
        },
    },
}


@pytest.fixture(scope="module")
def client(start: Start) -> Client:
    return start(MODELS)


def test_a_stream_has_role_content_finish_and_done(client: Client) -> None:
    """Six tokens, one a chunk: role, 6 contents, finish, [DONE]."""
    reply = client.stream("plain")
    assert reply.status == 200
    deltas = [chunk["choices"][0]["delta"] for chunk in reply.chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert all(set(delta) == {"content"} for delta in deltas[1:7])
    assert [chunk["choices"][0]["finish_reason"] for chunk in reply.chunks] == [None] * 7 + ["stop"]
    assert reply.events[-1] == "[DONE]"
    assert "usage" not in reply.chunks[0]


def test_a_streams_headers(client: Client) -> None:
    """The content type that clients check, no caching, and an id that the truth log knows too."""
    reply = client.stream("plain")
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["cache-control"] == "no-cache"
    assert client.truth_of(reply.headers["x-request-id"])["model"] == "plain"


def test_usage_comes_in_a_chunk_of_its_own(client: Client) -> None:
    """With include_usage every chunk has `usage: null`, and the last before [DONE] the counts and no choices."""
    reply = client.stream(
        "plain", text="eight chars / 4 = 3 and 1 for the message", stream_options={"include_usage": True}
    )
    *others, last = reply.chunks
    assert [chunk["usage"] for chunk in others] == [None] * 8
    assert last["choices"] == []
    # 41 characters // 4 + 1 = 11
    assert last["usage"]["prompt_tokens"] == 11
    assert last["usage"]["completion_tokens"] == 6
    assert last["usage"]["total_tokens"] == 17


def test_a_model_without_usage_never_states_it(client: Client) -> None:
    """Not in a stream that asks for it, not in a whole reply."""
    assert "usage" not in client.stream("no-usage", stream_options={"include_usage": True}).chunks[-1]
    assert "usage" not in client.chat("no-usage").json


def test_stream_options_can_be_refused(client: Client) -> None:
    """400 that names the field; without it the model answers."""
    refused = client.stream("no-options", stream_options={"include_usage": True})
    assert refused.status == 400
    assert refused.json["error"]["param"] == "stream_options"
    assert client.stream("no-options").status == 200


def test_a_whole_reply(client: Client) -> None:
    """Without `stream`: one completion, its length stated."""
    reply = client.chat("plain")
    assert reply.json["object"] == "chat.completion"
    assert reply.json["choices"][0]["finish_reason"] == "stop"
    assert reply.json["choices"][0]["message"]["content"]
    assert reply.json["usage"]["completion_tokens"] == 6
    assert reply.headers["content-length"] == str(len(reply.body))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_token_limit_cuts_the_answer(client: Client, field: str) -> None:
    """4 of 6 tokens, and the finish reason says why."""
    reply = client.stream("plain", "hello", **{field: 4})
    assert len(reply.chunks) == 1 + 4 + 1
    assert reply.chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_a_limit_may_fall_inside_a_chunk(client: Client) -> None:
    """3 tokens in chunks of 2: 2 and 1."""
    reply = client.stream("pairs", max_tokens=3, stream_options={"include_usage": True})
    assert client.truth_of(reply.headers["x-request-id"])["kinds"] == "rccoud"
    assert reply.chunks[-1]["usage"]["completion_tokens"] == 3


def test_several_tokens_a_chunk(client: Client) -> None:
    """7 tokens in chunks of 2: 4 chunks."""
    reply = client.stream("pairs")
    assert client.truth_of(reply.headers["x-request-id"])["kinds"] == "rccccod"


def test_a_burst_is_one_write(client: Client) -> None:
    """8 chunks, 4 in a write: two writes of content between the role and the end."""
    reply = client.stream("bursty")
    writes = client.truth_of(reply.headers["x-request-id"])["writes"]
    assert [chunks for _, _, chunks in writes] == [1, 4, 4, 2]


def test_role_joined_or_absent(client: Client) -> None:
    """Joined: in one write with the first content. None: the first chunk is content."""
    joined = client.truth_of(client.stream("joined").headers["x-request-id"])
    assert joined["kinds"].startswith("rc")
    assert joined["writes"][0][2] == 2
    assert client.truth_of(client.stream("bare").headers["x-request-id"])["kinds"] == "c" * 6 + "od"


def test_reasoning_comes_first_in_its_field(client: Client) -> None:
    """3 reasoning tokens in `reasoning`, then 4 of content; both are billed."""
    reply = client.stream("thinker", stream_options={"include_usage": True})
    assert client.truth_of(reply.headers["x-request-id"])["kinds"] == "rtttccccoud"
    assert reply.text("reasoning")
    assert reply.chunks[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert reply.chunks[-1]["usage"]["completion_tokens"] == 7


def test_hidden_reasoning_is_only_billed(client: Client) -> None:
    """30 tokens that no chunk shows."""
    reply = client.stream("secret-thinker", stream_options={"include_usage": True})
    assert client.truth_of(reply.headers["x-request-id"])["kinds"] == "rccccoud"
    assert reply.chunks[-1]["usage"]["completion_tokens"] == 34


def test_a_tool_call_in_deltas(client: Client) -> None:
    """The first delta has id and name, the others pieces of the arguments; together they are JSON for the schema."""
    reply = client.stream("caller", tools=[TOOL])
    calls = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in reply.chunks]
    pieces = [call[0] for call in calls if call]
    assert pieces[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert pieces[0]["id"].startswith("call_")
    arguments = json.loads("".join(piece["function"]["arguments"] for piece in pieces))
    assert set(arguments) == {"city", "unit", "days"}
    assert arguments["unit"] == "C"
    assert isinstance(arguments["days"], int)
    assert reply.chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_whole_reply_with_a_tool_call(client: Client) -> None:
    """The same call in one message."""
    message = client.chat("caller", tools=[TOOL]).json["choices"][0]["message"]
    assert message["content"] is None
    assert json.loads(message["tool_calls"][0]["function"]["arguments"])["unit"] == "C"


SHIP = {"name": "ship", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}}


def calls_of(reply: Reply) -> list[tuple[int, str | None, str]]:
    """(index, name, arguments) of each delta of a call."""
    deltas = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in reply.chunks]
    parts = [call for delta in deltas if delta for call in delta]
    return [(part["index"], part["function"].get("name"), part["function"]["arguments"]) for part in parts]


def test_parallel_calls_are_one_after_the_other(client: Client) -> None:
    """Of the declared functions in turn, each under its own index and id."""
    found = calls_of(client.stream("many-caller", tools=[TOOL, {"type": "function", "function": SHIP}]))
    assert [name for _, name, _ in found if name] == ["get_weather", "ship", "get_weather"]
    whole = ["".join(text for index, _, text in found if index == call) for call in range(3)]
    assert [set(json.loads(text)) for text in whole] == [{"city", "unit", "days"}, {"to"}, {"city", "unit", "days"}]
    message = client.chat("many-caller", tools=[TOOL]).json["choices"][0]["message"]
    assert len({call["id"] for call in message["tool_calls"]}) == 3


def test_parallel_calls_are_items_of_a_response(client: Client) -> None:
    """One each, with its own id and arguments that are whole."""
    body = {"model": "many-caller", "input": "hi", "tools": [{"type": "function", **SHIP}]}
    output = client.request("POST", "/v1/responses", json.dumps(body).encode()).json["output"]
    assert [set(json.loads(item["arguments"])) for item in output] == [{"to"}] * 3
    assert len({item["call_id"] for item in output}) == 3


def test_parallel_calls_can_be_forbidden(client: Client) -> None:
    """One is left."""
    found = calls_of(client.stream("many-caller", tools=[TOOL], parallel_tool_calls=False))
    assert {index for index, _, _ in found} == {0}


def test_a_legacy_function_is_called_in_its_own_field(client: Client) -> None:
    """In deltas and in one message; its end has the old word."""
    reply = client.stream("many-caller", functions=[SHIP, {"name": "sink"}], function_call={"name": "ship"})
    calls = [chunk["choices"][0]["delta"].get("function_call") for chunk in reply.chunks]
    pieces = [call for call in calls if call]
    assert pieces[0] == {"name": "ship", "arguments": ""}
    assert set(json.loads("".join(piece["arguments"] for piece in pieces))) == {"to"}
    assert reply.chunks[-1]["choices"][0]["finish_reason"] == "function_call"
    message = client.chat("many-caller", functions=[SHIP]).json["choices"][0]["message"]
    assert message["function_call"]["name"] == "ship"


FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 18, "maximum": 20},
        "weight": {"type": "number"},
        "member": {"type": "boolean"},
        "rank": {"enum": ["low", "high"]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 3},
        "home": {"type": "object", "properties": {"street": {"type": "string"}}, "required": ["street"]},
    },
    "required": ["name", "age", "weight", "member", "rank", "tags", "home"],
}


def test_a_json_answer_fits_its_schema(client: Client) -> None:
    """As the client's own judge finds; in a stream and in a whole reply."""
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": FORM}}
    whole = client.chat("caller", response_format=form).json["choices"][0]["message"]["content"]
    for text in (client.stream("caller", response_format=form).text(), whole):
        assert judge_text(text, FORM, StepBudget()).checked == (True, None)


def test_a_json_object_without_a_schema_has_an_answer(client: Client) -> None:
    """Some words."""
    assert json.loads(client.stream("caller", response_format={"type": "json_object"}).text())["answer"]


@pytest.mark.parametrize(("effort", "thoughts"), [("none", 0), ("low", 2), ("medium", 3), ("high", 6), ("odd", 3)])
def test_effort_makes_more_thoughts(client: Client, effort: str, thoughts: int) -> None:
    """Of 3 tokens, in either spelling; 1.5 are two."""
    for asked in ({"reasoning_effort": effort}, {"reasoning": {"effort": effort}}):
        reply = client.stream("thinker", stream_options={"include_usage": True}, **asked)
        assert reply.chunks[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": thoughts}


def test_after_a_tools_answer_comes_text(client: Client) -> None:
    """So that an agent's loop ends."""
    messages = [{"role": "user", "content": "x"}, {"role": "tool", "content": "rain", "tool_call_id": "call_1"}]
    assert client.stream("caller", tools=[TOOL], messages=messages).text()


def test_comments_keep_a_slow_start_alive(client: Client) -> None:
    """A comment each 30 ms of a TTFT of 100 ms: 3 of them, before any content."""
    body = client.stream("commenting").body
    assert body.count(b": keep-alive\n\n") == 3
    assert body.rindex(b": keep-alive") < body.index(b'"delta":{"content":"')


def test_a_stall_is_never_the_ttft(client: Client) -> None:
    """The pause of 120 ms lies between two chunks of content."""
    truth = client.truth_of(client.stream("staller").headers["x-request-id"])
    before = [write[0] for write, kind in zip(truth["writes"], truth["kinds"], strict=False) if kind == "c"]
    gaps_ms = [(later - earlier) / 1e6 for earlier, later in pairwise(before)]
    assert max(gaps_ms) > 110
    assert (before[0] - truth["received_ns"]) / 1e6 < 110


def test_a_long_prompt_delays_the_first_chunk(client: Client) -> None:
    """10 ms, and 1 ms for each of 400 // 4 + 1 tokens."""
    reply = client.stream("reader", text="x" * 400)
    assert client.truth_of(reply.headers["x-request-id"])["ttft_ms"] == pytest.approx(111)


def test_a_cached_beginning_costs_nothing_and_is_stated(client: Client) -> None:
    """400 // 4 + 1 = 101 tokens are read at first, then they are known; each short message is 1 more."""
    first = [{"role": "user", "content": "y" * 400}]
    longer = [*first, {"role": "assistant", "content": "ab"}, {"role": "user", "content": "cd"}]
    found = []
    for messages in (first, longer, longer[1:]):
        reply = client.stream("rememberer", messages=messages, stream_options={"include_usage": True})
        usage = reply.chunks[-1]["usage"]
        ttft_ms = client.truth_of(reply.headers["x-request-id"])["ttft_ms"]
        found.append((usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], round(ttft_ms)))
    assert found == [(101, 0, 111), (103, 101, 12), (2, 0, 12)]


def test_a_connection_is_used_again_after_a_stream(client: Client) -> None:
    """Three requests, streamed and whole, on one socket."""
    connection = client.connect()
    connection.connect()
    sock = connection.sock
    for stream in (True, False, True):
        body = chat_body("plain", stream=stream)
        assert client.request_on(connection, "POST", "/v1/chat/completions", body).status == 200
        assert connection.sock is sock
    connection.close()


def test_a_client_that_leaves_ends_its_stream(client: Client) -> None:
    """The log says so, with only what was written before; others are served on."""
    sock = client.raw_stream("staller", text="leaving")
    while b'"delta":{"content":"' not in sock.recv(65536):
        pass
    sock.close()
    for _ in range(50):
        gone = [truth for truth in client.truths() if truth["end"] == "disconnected"]
        if gone:
            break
        client.stream("plain")
    assert "d" not in gone[0]["kinds"]
