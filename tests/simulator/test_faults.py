"""Each fault's bytes on the wire."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from streambench.simulator.faults import FAULTS
from streambench.simulator.profile_file import load_models

from .client import Client, Reply, Start, read_to_end, read_until_silent

FAULTY = Path("configs/simulated/faulty.yaml")
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture(scope="module")
def client(start: Start) -> Client:
    return start(FAULTY.read_text())


def finish_reasons(reply: Reply) -> list[str]:
    return [chunk["choices"][0]["finish_reason"] for chunk in reply.chunks if chunk["choices"][0]["finish_reason"]]


def contents(reply: Reply) -> int:
    return sum(bool(chunk["choices"][0]["delta"].get("content")) for chunk in reply.chunks)


def test_every_fault_has_its_model() -> None:
    """`make docs` writes faulty.yaml from the table."""
    models = load_models(FAULTY).models
    assert {name: dict(model.fault) for name, model in models.items()} == {f"fault-{n}": {n: 1.0} for n in FAULTS}


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_refusals(client: Client, status: int) -> None:
    """The status and an error object, streamed or not."""
    for stream in (True, False):
        reply = client.chat(f"fault-http_{status}", stream=stream)
        assert reply.status == status
        assert reply.json["error"]["message"]


def test_429_says_when_to_come_back(client: Client) -> None:
    """In one second."""
    assert client.stream("fault-http_429").headers["retry-after"] == "1"


def test_cut(client: Client) -> None:
    """6 of 12 chunks arrive, then the connection closes and the body has no last chunk."""
    received = read_to_end(client.raw_stream("fault-cut"))
    assert received.count(b'"delta":{"content":"') == 6
    assert not received.endswith(LAST_CHUNK)
    assert b"[DONE]" not in received


def test_reset(client: Client) -> None:
    """The socket reports a reset, which no orderly close does."""
    with pytest.raises(ConnectionResetError):
        read_to_end(client.raw_stream("fault-reset"))


def test_clean_eof(client: Client) -> None:
    """A body that HTTP finds complete, with half an answer in it."""
    reply = client.stream("fault-clean_eof")
    assert contents(reply) == 6
    assert finish_reasons(reply) == []
    assert "[DONE]" not in reply.events


def test_no_done(client: Client) -> None:
    """All but the last event."""
    reply = client.stream("fault-no_done")
    assert finish_reasons(reply) == ["stop"]
    assert "[DONE]" not in reply.events


def test_no_finish(client: Client) -> None:
    """[DONE], but no reason."""
    reply = client.stream("fault-no_finish")
    assert finish_reasons(reply) == []
    assert reply.events[-1] == "[DONE]"


def test_error_frame(client: Client) -> None:
    """Status 200, half the answer, an error as the last event."""
    reply = client.stream("fault-error_frame")
    assert reply.status == 200
    assert len(reply.events) == 1 + 6 + 1
    assert "error" in json.loads(reply.events[-1])


def test_error_first(client: Client) -> None:
    """Status 200 and nothing but an error."""
    reply = client.stream("fault-error_first")
    assert reply.status == 200
    assert [list(json.loads(event)) for event in reply.events] == [["error"]]


def test_error_event(client: Client) -> None:
    """The error has an event name of its own."""
    assert client.stream("fault-error_event").body.rstrip().splitlines()[-2] == b"event: error"


def test_bad_json(client: Client) -> None:
    """One torn event among 12, the rest intact."""
    reply = client.stream("fault-bad_json")
    *chunks, done = reply.events
    torn = [chunk for chunk in chunks if not chunk.endswith("}")]
    assert len(torn) == 1
    assert len(chunks) == 1 + 12 + 1  # role, content, finish
    assert done == "[DONE]"


def test_html_200(client: Client) -> None:
    """A page for people."""
    reply = client.stream("fault-html_200")
    assert reply.headers["content-type"] == "text/html"
    assert reply.body.startswith(b"<!DOCTYPE html>")


def test_json_200(client: Client) -> None:
    """A whole completion although a stream was asked for."""
    reply = client.stream("fault-json_200")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["object"] == "chat.completion"


def test_empty(client: Client) -> None:
    """Role, finish, [DONE]."""
    reply = client.stream("fault-empty")
    assert contents(reply) == 0
    assert len(reply.events) == 3
    assert finish_reasons(reply) == ["stop"]


def test_hang(client: Client) -> None:
    """Not one byte in five times the model's TTFT."""
    sock = client.raw_stream("fault-hang")
    sock.settimeout(0.4)
    with pytest.raises(TimeoutError):
        sock.recv(1)


def test_stall_forever(client: Client) -> None:
    """Half the answer, then nothing, for ten times the gap."""
    sock = client.raw_stream("fault-stall_forever")
    received = read_until_silent(sock)
    assert received.count(b'"delta":{"content":"') == 6


def test_keepalive_forever(client: Client) -> None:
    """Comments after the role, and no chunk."""
    sock = client.raw_stream("fault-keepalive_forever")
    received = b""
    while received.count(b": keep-alive\n\n") < 3:
        received += sock.recv(65536)
    assert received.count(b"data:") == 1


def test_crlf(client: Client) -> None:
    """Every line end has a carriage return."""
    body = client.stream("fault-crlf").body
    assert body.count(b"\r\n") == body.count(b"\n") == 2 * 15  # role, 12, finish, [DONE]; two line ends each


def test_buffered(client: Client) -> None:
    """All 15 events in one write, when the last was due."""
    reply = client.stream("fault-buffered")
    truth = client.truth_of(reply.headers["x-request-id"])
    assert [chunks for _, _, chunks in truth["writes"]] == [15]
    # 80 ms and 12 gaps of 10 ms
    assert truth["writes"][0][0] - truth["received_ns"] >= 200_000_000


@pytest.mark.parametrize("reason", ["content_filter", "length"])
def test_stopped_half_way(client: Client, reason: str) -> None:
    """6 of 12 chunks and the reason, streamed and whole."""
    reply = client.stream(f"fault-{reason}")
    assert contents(reply) == 6
    assert finish_reasons(reply) == [reason]
    assert client.chat(f"fault-{reason}").json["choices"][0]["finish_reason"] == reason


def test_wrong_model(client: Client) -> None:
    """Every chunk names another model."""
    assert {chunk["model"] for chunk in client.stream("fault-wrong_model").chunks} == {"fault-wrong_model-fallback"}


def usage_of(reply: Reply) -> dict[str, int]:
    (usage,) = [chunk["usage"] for chunk in reply.chunks if chunk.get("usage")]
    return {name: usage[f"{name}_tokens"] for name in ("prompt", "completion", "total")}


def with_usage(client: Client, fault: str) -> Reply:
    return client.stream(f"fault-{fault}", stream_options={"include_usage": True})


def test_no_usage(client: Client) -> None:
    """Asked for, and not there."""
    reply = with_usage(client, "no_usage")
    assert finish_reasons_of_all(reply) == ["stop"]
    assert not any(chunk.get("usage") for chunk in reply.chunks)


@pytest.mark.parametrize(
    ("fault", "completion", "over"), [("usage_wrong", 12, 7), ("usage_huge", 12_000, 0), ("usage_invented", 18, 0)]
)
def test_usages_that_are_wrong(client: Client, fault: str, completion: int, over: int) -> None:
    """12 tokens came; of the invented one 6, and three times as many are billed."""
    reply = with_usage(client, fault)
    usage = usage_of(reply)
    assert usage["completion"] == completion
    assert usage["total"] == usage["prompt"] + completion + over
    assert finish_reasons_of_all(reply) == ["stop"]


def finish_reasons_of_all(reply: Reply) -> list[str]:
    """Where a chunk may have no choices."""
    return [choice["finish_reason"] for chunk in reply.chunks for choice in chunk["choices"] if choice["finish_reason"]]


def test_refusal(client: Client) -> None:
    """All that is said is a refusal."""
    reply = client.stream("fault-refusal")
    assert contents(reply) == 0
    assert reply.text("refusal")


def test_long_line(client: Client) -> None:
    """One line of two MiB among short ones."""
    lengths = sorted(map(len, client.stream("fault-long_line").events))
    assert lengths[-1] > 2 * 1024 * 1024
    assert lengths[-2] < 1_000


def test_coalesced(client: Client) -> None:
    """Role, three writes of four chunks, finish and [DONE]."""
    truth = client.truth_of(client.stream("fault-coalesced").headers["x-request-id"])
    assert [chunks for _, _, chunks in truth["writes"]] == [1, 4, 4, 4, 2]


def test_stall(client: Client) -> None:
    """One gap of more than 800 ms between two writes, in the middle."""
    truth = client.truth_of(client.stream("fault-stall").headers["x-request-id"])
    at = [before for before, _, _ in truth["writes"]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(at[1:])]  # from the first content on
    assert [gap >= 800_000_000 for gap in gaps] == [place == 5 for place in range(len(gaps))]


def test_id_changed(client: Client) -> None:
    """Two ids, one after the other: the role and six chunks have the first."""
    ids = [chunk["id"] for chunk in client.stream("fault-id_changed").chunks]
    assert [name == ids[0] for name in ids] == [True] * 7 + [False] * 7
    assert len(set(ids)) == 2


def test_after_finish(client: Client) -> None:
    """Six chunks before the finish_reason, six after it."""
    reply = client.stream("fault-after_finish")
    said = ["f" if chunk["choices"][0]["finish_reason"] else "c" for chunk in reply.chunks]
    assert "".join(said) == "c" + "c" * 6 + "f" + "c" * 6  # the first is the role


def test_duplicate_role(client: Client) -> None:
    """Every delta but the last has one."""
    roles = [chunk["choices"][0]["delta"].get("role") for chunk in client.stream("fault-duplicate_role").chunks]
    assert roles == ["assistant"] * 13 + [None]


def test_bad_tool_arguments(client: Client) -> None:
    """The last piece is missing, in a stream and in a whole reply."""
    tool = {"name": "look", "parameters": {"properties": {"city": {"type": "string"}}}}
    reply = client.stream("fault-bad_tool_arguments", tools=[{"type": "function", "function": tool}])
    calls = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in reply.chunks]
    arguments = "".join(call[0]["function"]["arguments"] for call in calls if call)
    assert arguments.startswith('{"city":')
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(arguments)
    assert finish_reasons(reply) == ["tool_calls"]


def test_bad_tool_arguments_needs_tools(client: Client) -> None:
    """An answer in words is whole."""
    assert contents(client.stream("fault-bad_tool_arguments")) == 12


def test_a_call_that_is_written_out_as_text(client: Client) -> None:
    """Content and `stop`, as of a model that never learned to call."""
    tool = {"name": "look", "parameters": {"properties": {"city": {"type": "string"}}}}
    reply = client.stream("fault-tool_not_called", tools=[{"type": "function", "function": tool}])
    assert reply.text().startswith('look{"city":')
    assert finish_reasons(reply) == ["stop"]


def test_a_json_answer_without_its_end(client: Client) -> None:
    """The last piece is missing; an answer in words is whole."""
    text = client.stream("fault-bad_json_answer", response_format={"type": "json_object"}).text()
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(text)
    assert contents(client.stream("fault-bad_json_answer")) == 12


def test_unknown_fields(client: Client) -> None:
    """In every chunk."""
    assert all(chunk["x_farm"] == {"rack": 7} for chunk in client.stream("fault-unknown_fields").chunks)


def test_keepalives(client: Client) -> None:
    """A comment for each of 15 events."""
    assert client.stream("fault-keepalives").body.count(b": keep-alive\n\n") == 15


def test_split_utf8(client: Client) -> None:
    """Half a surrogate pair ends one chunk, the other half begins the next."""
    reply = client.stream("fault-split_utf8")
    assert sum('\\ud83d"' in event for event in reply.events) == 1
    assert sum('"\\ude42' in event for event in reply.events) == 1
    assert chr(0x1F642) in json.loads('"' + reply.text().encode("utf-16", "surrogatepass").decode("utf-16") + '"')


def test_broken_utf8(client: Client) -> None:
    """Two events are no UTF-8; put together they are an emoji."""
    blocks = client.stream("fault-broken_utf8").body.split(b"\n\n")
    assert sum(not is_utf8(block) for block in blocks) == 2
    assert any(block.count(b"\xf0\x9f") for block in blocks)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_slow_headers(client: Client) -> None:
    """The headers come with the first content, after the 80 ms of the TTFT; a healthy model's come at once."""
    truth = client.truth_of(client.stream("fault-slow_headers").headers["x-request-id"])
    assert truth["headers_ns"] - truth["received_ns"] >= 80_000_000


def test_a_stream_fault_leaves_whole_replies_alone(client: Client) -> None:
    """There is no stream to break."""
    assert client.chat("fault-cut").json["choices"][0]["finish_reason"] == "stop"


def test_a_fault_by_chance(start: Start) -> None:
    """With chance 0.5 some of 24 answers are refused and some are not, and the seed says which."""
    models = "models: {m: {ttft_ms: 1, gap_ms: 1, tokens: 1, fault: {http_500: 0.3, http_429: 0.2}}}"
    first, second = start(models, seed=3), start(models, seed=3)
    statuses = [first.chat("m").status for _ in range(24)]
    assert set(statuses) == {200, 429, 500}
    assert statuses == [second.chat("m").status for _ in range(24)]
