"""From what came over the wire to the record's facts: which are kept, how they are bounded, and what is hidden."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from home import KEY

from streambench.client.prompt_redaction import PromptMask
from streambench.client.record_builder import HEADER_LIMIT, VALUE_LIMIT, AttemptContext, record_of, retry_after_s
from streambench.client.tape_reader import BODY_TEXT_LIMIT, TapeReader
from streambench.client.transport.tape import Tape
from streambench.clock import Anchor
from streambench.config.sections import Bounds
from streambench.metrics.outcomes import evidence, outcome_of
from streambench.records.schema import AttemptRecord, Failure, Ticket
from streambench.redaction import Secrets
from streambench.testing import MS

NOON = 1_800_000_000
"""Of the run's anchor, in seconds since 1970: Fri, 15 Jan 2027 08:00:00 GMT."""
ANCHOR = Anchor(wall_ns=NOON * 1_000_000_000, monotonic_ns=5_000 * MS)
START = ANCHOR.monotonic_ns + 2_000 * MS
"""The attempt starts two seconds into the run."""
PROMPT = "Summarise the minutes of the harbour board's meeting in three lines."
STREAM = (
    b'data: {"id":"r-1","model":"m","choices":[{"delta":{"content":"Hello"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


@dataclass
class Came:
    """An answer: by default a stream whose first piece arrives 100 ms after the start, each further one 10 ms later."""

    body: bytes = STREAM
    status: int | None = 200
    content_type: str | None = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: int = 1
    failure: Failure | None = None

    def tape(self) -> Tape:
        tape = Tape()
        tape.start = START
        tape.sent = START + MS
        if self.status is not None:
            tape.status = self.status
            tape.headers_at = START + 90 * MS
            typed = {} if self.content_type is None else {"content-type": self.content_type}
            tape.headers = [*typed.items(), *self.headers.items()]
            size = -(-len(self.body) // self.pieces) or 1
            for number, at in enumerate(range(0, len(self.body), size)):
                tape.read_count += 1
                tape.add(self.body[at : at + size], START + (100 + 10 * number) * MS)
        tape.ended = START + 300 * MS
        tape.failure = self.failure
        return tape

    def record(self) -> AttemptRecord:
        reader = TapeReader(self.tape(), keep_text=False)
        reader.close()
        return record_of(reader, about())

    @property
    def failure_told(self) -> Failure:
        failure = self.record().failure
        assert failure is not None
        return failure


def about() -> AttemptContext:
    return AttemptContext(
        ticket=Ticket(seq=0, gateway="hub", model="m", prompt_id="p", repeat=0, block=0),
        attempt=1,
        trace_id="0" * 32,
        span_id="0" * 16,
        request_span_id="1" * 16,
        scheduled_ns=START - 7 * MS,
        queue_ns=3 * MS,
        anchor=ANCHOR,
        usage_refused=False,
        lag_ns=None,
        secrets=Secrets([KEY]),
        prompt_mask=lambda: PromptMask([PROMPT]),
    )


def refused(body: object, status: int = 400, **changes: Any) -> Failure:
    """What is told of an error answer with this body: bytes, or what is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Came(raw, **{"status": status, "content_type": "application/json", **changes}).failure_told


# --- times


def test_instants_are_offsets_from_the_start_or_the_anchor() -> None:
    """Start 2,000 ms after the anchor, due 7 ms before; headers at 90 ms; the body in one piece at 100 ms."""
    record = Came().record()
    assert (record.start_at_ns, record.scheduled_at_ns, record.queue_ns) == (2_000 * MS, 1_993 * MS, 3 * MS)
    assert (record.sent_ns, record.headers_ns, record.first_byte_ns, record.ended_ns) == (
        MS,
        90 * MS,
        100 * MS,
        300 * MS,
    )


def test_a_request_is_sent_before_it_is_answered() -> None:
    """The write returned after the answer's stamp, since the machine gave the server its turn first."""
    tape = Came().tape()
    tape.sent = START + 95 * MS
    reader = TapeReader(tape, keep_text=False)
    reader.close()
    assert record_of(reader, about()).sent_ns == 90 * MS


def test_what_was_never_sent_starts_when_it_was_due() -> None:
    """Nothing of a wire: all its instants are unknown, and the reason is our own."""
    tape = Tape()
    reader = TapeReader(tape, keep_text=False)
    reader.close()
    record = record_of(reader, about(), Failure("client_error", "TypeError: no"))
    assert record.start_at_ns == record.scheduled_at_ns == 1_993 * MS
    assert (record.sent_ns, record.headers_ns, record.first_byte_ns, record.status) == (None, None, None, None)
    assert record.ended_ns == 0
    assert outcome_of(record) == "client_error"


# --- retry-after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"llm_provider-retry-after": "7"}, 7.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:59:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 15 Jan 2027 09:00:30 +0100"}, 30.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 15 Jan 99999 08:00:00 -0000"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: Mapping[str, str], seconds: float | None) -> None:
    """Milliseconds win over seconds or a date, which is seen from the wall clock; nonsense is unknown."""
    assert retry_after_s(headers, NOON * 1_000_000_000) == seconds


def test_a_date_counts_from_the_attempts_start() -> None:
    """08:00:30 is 28 seconds from the start at 08:00:02."""
    told = refused({}, 429, headers={"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"})
    assert told.retry_after_s == pytest.approx(28)


# --- headers


def test_headers_worth_keeping_are_kept() -> None:
    """Request ids, rate limits, what gateways say of themselves; nothing else."""
    kept = {"x-request-id": "r-7", "x-ratelimit-remaining-requests": "9", "server": "hub", "retry-after": "1"}
    record = Came(headers={**kept, "set-cookie": "session=1", "date": "today"}).record()
    assert record.headers == kept


def test_kept_headers_are_bounded() -> None:
    """In number and in length."""
    many = {f"x-ratelimit-{number}": "9" * 1_000 for number in range(100)}
    record = Came(headers=many).record()
    assert len(record.headers) == HEADER_LIMIT
    assert {len(value) for value in record.headers.values()} == {VALUE_LIMIT}


def test_kept_headers_are_cleaned() -> None:
    """A key that a gateway echoes, and a terminal's escapes."""
    assert Came(headers={"via": f"\x1b[31m{KEY} \x07"}).record().headers == {"via": "*** "}


# --- what is a stream


def test_a_healthy_stream_is_no_failure() -> None:
    """And the record says what it said of itself."""
    record = Came().record()
    assert record.failure is None
    assert outcome_of(record) == "ok"
    assert (record.finish_reason, record.done, record.model_served, record.response_id) == ("stop", True, "m", "r-1")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/octet-stream", None])
def test_a_stream_under_another_content_type_counts(content_type: str | None) -> None:
    """By its deeds: it has chunks."""
    assert outcome_of(Came(content_type=content_type).record()) == "ok"


def test_an_error_frame_under_another_content_type_counts() -> None:
    """It tells more than that the content type is wrong."""
    record = Came(b'data: {"error": {"message": "no such model"}}\n\n', content_type="text/plain").record()
    assert outcome_of(record) == "stream_error"
    assert record.error_frame is not None
    assert record.error_frame.message == "no such model"


COMPLETION = {"id": "r-1", "object": "chat.completion", "choices": [{"message": {"content": "the answer"}}]}


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        ("text/plain", b"the answer", "requested a stream, received text/plain"),
        (None, b"the answer", "requested a stream, received no content type"),
        (
            "application/json; charset=utf-8",
            json.dumps(COMPLETION).encode(),
            "requested a stream, received application/json: an object with the keys id, object, choices",
        ),
        (
            "application/json",
            json.dumps({**COMPLETION, "error": None}).encode(),
            "requested a stream, received application/json: an object with the keys id, object, choices, error",
        ),
        (
            "application/json",
            b'{"model": "m", "message": {"role": "assistant", "content": "the answer"}}',
            "requested a stream, received application/json: an object with the keys model, message",
        ),
        (
            "application/json",
            b'{"error": {"message": "no such model", "code": 404}}',
            "requested a stream, received application/json: no such model",
        ),
        (
            "application/json",
            b'{"detail": "no such model"}',
            "requested a stream, received application/json: no such model",
        ),
        ("application/json", b'[{"generated_text": "the answer"}]', "requested a stream, received application/json"),
        ("application/json", b'"the answer"', "requested a stream, received application/json"),
        ("application/json", b'{"choices": "the ans', "requested a stream, received application/json"),
        (
            "application/json",
            b'{"text": "' + b"the answer " * 2_000 + b'"}',
            "requested a stream, received application/json",
        ),
        (
            "text/html",
            b"<html><head><title>Sign in</title></head><body>the answer</body></html>",
            "requested a stream, received text/html: Sign in",
        ),
        ("text/html", b"the answer", "requested a stream, received text/html"),
    ],
)
def test_what_came_instead_of_a_stream(content_type: str | None, body: bytes, told: str) -> None:
    """An error that names itself is told; whatever may be the answer is not kept."""
    record = Came(body, content_type=content_type).record()
    assert outcome_of(record) == "not_a_stream"
    assert record.failure is not None
    assert record.failure.message == told
    assert record.failure.detail == (content_type or "no content type").split(";")[0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": {"message": "no such model"}}', "received JSON with content type text/event-stream: no such"),
        (b' \r\n{"error": {"message": "no such model"}}\n', "JSON with content type text/event-stream: no such model"),
        (b'\xef\xbb\xbf{"error": "no such model"}', "JSON with content type text/event-stream: no such model"),
        (
            json.dumps(COMPLETION, indent=1).encode(),
            "JSON with content type text/event-stream: an object with the keys id",
        ),
        (b'[{"generated_text": "the answer"}]', "received JSON with content type text/event-stream"),
        (b"<html><title>Sign in</title>the answer</html>", "HTML with content type text/event-stream: Sign in"),
        (b"<!doctype html>\nthe answer", "received HTML with content type text/event-stream"),
    ],
)
def test_a_document_is_no_stream_whatever_its_type_says(body: bytes, told: str) -> None:
    """Some gateways set the type before they know that they will refuse. No line of a stream begins so."""
    for failure in (None, Failure("disconnected", detail="cut")):
        record = Came(body, failure=failure).record()
        assert outcome_of(record) == "not_a_stream"
        assert told in evidence(record)
        assert "the answer" not in evidence(record)
        assert (record.comments, record.malformed) == (0, 0)


@pytest.mark.parametrize("body", [b"{}\n\n" + STREAM, b": ping\n\n{", b"x"])
def test_one_odd_line_makes_no_document(body: bytes) -> None:
    """An event or a comment says that it is a stream; of other text nobody can tell."""
    assert outcome_of(Came(body).record()) in ("ok", "truncated")


def test_keys_that_are_no_names_are_not_told() -> None:
    """They may be what the model said."""
    record = Came(b'{"the answer": 1, "id": 2}', content_type="application/json").record()
    assert evidence(record).endswith(" (odd name), id")


def test_an_empty_body_is_no_foreign_one() -> None:
    """There is nothing that could be no stream; what ended it has its say."""
    record = Came(b"", content_type=None, failure=Failure("timeout", detail="first_chunk")).record()
    assert outcome_of(record) == "timeout"


def test_a_content_type_is_cleaned() -> None:
    """Wherever it is told."""
    record = Came(b"x", content_type=f"text/{KEY}").record()
    assert KEY not in repr(record)
    assert record.content_type == "text/***"


# --- error answers


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "no such model", "code": "model_not_found"}}, "no such model", "model_not_found"),
        ({"error": {"message": "no such model", "code": 404}}, "no such model", "404"),
        ({"error": {"message": "slow down", "code": None, "type": "requests"}}, "slow down", "requests"),
        ({"error": {"message": "no", "code": None}}, "no", None),
        ({"error": "no such model"}, "no such model", None),
        ({"message": "no such model"}, "no such model", None),
        ({"detail": "Not Found"}, "Not Found", None),
        ({"detail": [{"loc": ["body"], "msg": "too long"}]}, '[{"loc":["body"],"msg":"too long"}]', None),
        ({"a": 1, "b": 2}, "an object with the keys a, b", None),
        (b"upstream connect error", "upstream connect error", None),
        (b"<html><head><title>502 Bad Gateway</title></head><body>...</body></html>", "502 Bad Gateway", None),
        (b'{"error": {"message": "no \\ud83d"}}', "no \ufffd", None),
        (b"", "", None),
        (b"\xff\xfe", "\ufffd\ufffd", None),
    ],
)
def test_an_error_answer_is_told(body: object, message: str, code: str | None) -> None:
    """In whatever form it comes; the status is the answer's."""
    told = refused(body, 400)
    assert (told.kind, told.status, told.message, told.code) == ("http_error", 400, message, code)


def test_a_redirect_names_its_goal() -> None:
    """It is not followed, so the config must say it."""
    told = refused(b"", 308, headers={"location": "https://hub.example/v1/chat/completions"})
    assert told.message.startswith("redirected to https://hub.example/v1/chat/completions, ")
    assert "base_url" in told.message


def test_an_error_answer_says_more_than_how_it_broke_off() -> None:
    """A 500 whose body was cut is a 500."""
    record = Came(b"{}", status=500, failure=Failure("disconnected", detail="cut")).record()
    assert outcome_of(record) == "http_error"


def test_what_we_stopped_is_cancelled_whatever_had_come() -> None:
    """Half an error answer is not held against the gateway."""
    record = Came(b"{", status=500, failure=Failure("cancelled", "stopped by the user")).record()
    assert outcome_of(record) == "cancelled"


# --- encodings


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress)],
)
def test_a_compressed_stream_is_read(encoding: str, encode: Any) -> None:
    """Though we ask for none."""
    record = Came(encode(STREAM), headers={"content-encoding": encoding}).record()
    assert outcome_of(record) == "ok"
    assert record.timeline.chars == (5, 0)


def test_a_compressed_chunk_has_the_stamp_of_the_piece_that_completed_it() -> None:
    """Two flushed halves, 10 ms apart, of an event each."""
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(STREAM[:76]) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(STREAM[76:]) + packer.flush()
    tape = Came(b"", headers={"content-encoding": "gzip"}).tape()
    for at_ms, piece in ((100, first), (110, rest)):
        tape.read_count += 1
        tape.add(piece, START + at_ms * MS)
    reader = TapeReader(tape, keep_text=False)
    reader.close()
    assert reader.decoder.timeline().offset_ns == (100 * MS, 110 * MS)
    assert reader.decoder.timeline().read == (1, 2)


def test_a_compressed_error_is_read() -> None:
    """Proxies compress what they answer themselves."""
    body = gzip.compress(b'{"error": {"message": "no such model"}}')
    assert refused(body, headers={"content-encoding": "gzip"}).message == "no such model"


def test_an_unknown_encoding_is_named() -> None:
    """Nothing of the body can be told."""
    record = Came(b"\x8b\x01\x80", headers={"content-encoding": "br"}).record()
    assert outcome_of(record) == "not_a_stream"
    assert record.failure is not None
    assert record.failure.detail == "encoding"
    assert record.failure.message.endswith("content-encoding br")


def test_a_broken_encoding_is_named() -> None:
    """It says gzip and is not."""
    told = Came(headers={"content-encoding": "gzip"}).failure_told
    assert told.detail == "encoding"
    assert told.message.endswith("invalid gzip data")


def test_a_compressed_body_may_not_grow_without_end() -> None:
    """A thousandth of what it would fill in memory is sent easily."""
    came = Came(gzip.compress(b": x\n" * 1_000_000), headers={"content-encoding": "gzip"}, pieces=5)
    reader = TapeReader(came.tape(), keep_text=False, limits=Bounds(stream_bytes=1_000))
    reader.close()
    record = record_of(reader, about())
    assert outcome_of(record) == "too_large"
    assert record.failure is not None
    assert record.failure.detail == "inflated"
    assert record.comments <= 251  # 1,001 bytes of 4 a comment


# --- what is hidden


def test_a_prompt_in_an_error_is_hidden() -> None:
    """As it is, and cut by the gateway."""
    assert refused({"error": {"message": f"bad: {PROMPT}"}}).message == "bad: [prompt]"
    assert refused(f"bad: {PROMPT[:40]}...".encode()).message == "bad: [prompt]..."


def test_a_prompt_in_an_error_frame_is_hidden() -> None:
    """An error inside the stream is told too."""
    frame = json.dumps({"error": {"message": f"cannot answer {PROMPT}"}}).encode()
    record = Came(b"data: " + frame + b"\n\n").record()
    assert record.error_frame is not None
    assert record.error_frame.message == "cannot answer [prompt]"


def test_a_prompt_is_hidden_where_the_body_is_cut() -> None:
    """A body too long to be read as JSON is told as text, and holds the prompt all the same."""
    body = json.dumps({"error": {"message": PROMPT, "rest": "x" * BODY_TEXT_LIMIT}}).encode()
    told = refused(body)
    assert "harbour" not in told.message
    assert "[prompt]" in told.message


@pytest.mark.parametrize("before", [0, 470, 480, 485, 490, 499, 500, 600])
def test_a_key_in_an_error_is_masked(before: int) -> None:
    """Also where it straddles the cut at 500 characters: no part of it is kept."""
    told = refused({"error": {"message": f"{'x' * before} {KEY} is no key"}})
    assert "key-0" not in told.message
    assert len(told.message) <= 500


@pytest.mark.parametrize("before", range(3_900, 3_985, 12))
def test_a_key_is_masked_where_a_long_message_was_cut(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 characters are read; an echoed prompt in them shrinks to a word, and what ended there comes into view."""
    prompt = " ".join(f"word{number}" for number in range(1_000))[:before]
    monkeypatch.setattr(f"{__name__}.PROMPT", prompt)
    told = refused({"error": {"message": f"bad {prompt} key {KEY} {KEY}"}})
    assert told.message.startswith("bad [prompt]")
    assert "key-0" not in told.message


def test_a_key_is_masked_wherever_a_stream_repeats_it() -> None:
    """Model, id, finish reason, code."""
    body = (
        f'data: {{"id":"{KEY}","model":"{KEY}","choices":[{{"delta":{{}},"finish_reason":"{KEY}"}}]}}\n\n'
        f'data: {{"error":{{"message":"{KEY}","code":"{KEY}"}}}}\n\n'
    )
    assert KEY not in repr(Came(body.encode()).record())


def test_no_text_of_the_answer_is_kept() -> None:
    """Only its length."""
    record = Came().record()
    assert "Hello" not in repr(record)
    assert record.timeline.chars == (5, 0)


@pytest.mark.parametrize("before", range(190, 201))
def test_a_key_is_masked_where_a_long_name_is_cut(before: int) -> None:
    """Of a name 200 characters are kept, wherever in it the key begins."""
    name = "m" * before + KEY
    body = f'data: {{"model":"{name}","choices":[{{"delta":{{}},"finish_reason":"stop"}}]}}\n\n'
    record = Came(body.encode()).record()
    assert len(record.model_served or "") <= 200
    assert KEY[:6] not in (record.model_served or "")
