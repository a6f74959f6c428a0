"""Builds the record of one attempt from its exchange: facts only, masked and bounded. It decides no outcome."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import partial

from streambench.client.decode.error_body import MESSAGE_LIMIT, failure_from_body, failure_from_plain
from streambench.client.decode.sse import BOM
from streambench.client.prompt_redaction import PromptMask
from streambench.client.tape_reader import TapeReader
from streambench.client.transport.tape import Tape
from streambench.clock import NS, Anchor
from streambench.metrics.cost import COST_HEADERS
from streambench.records.schema import AttemptRecord, Failure, OutputRequest, Ticket, ToolCall
from streambench.redaction import Secrets, mask_url

HEADERS_KEPT = (
    "request-id",
    "retry-after",
    "retry-after-ms",
    "server",
    "via",
    "openai-processing-ms",
    "cf-ray",
    "x-cache",
    "llm_provider-retry-after",
    *COST_HEADERS,
)
"""Response headers kept by exact name. `PREFIXES_KEPT` adds request ids, rate limits, cost and provider by prefix."""
PREFIXES_KEPT = ("x-request-id", "x-ratelimit-", "x-litellm-call-id", "x-litellm-response-cost", "x-litellm-model-id",
                 "x-litellm-overhead", "x-portkey-", "x-openrouter-", "x-provider", "x-served-by")  # fmt: skip
HEADER_LIMIT = 40
VALUE_LIMIT = 200
DETAIL_LIMIT = 100
_WORD = re.compile(r"[!-~]{1,64}(?:; ?[!-~]{1,32}){0,2}")
"""One word, with up to two parameters as in a content type. ASCII only: other scripts write prompts without spaces."""
_OF_PROXIES = ("server", "via")
"""Headers of several words that never repeat a prompt, so only secrets are masked in them."""


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """What the record holds besides the tape."""

    ticket: Ticket
    attempt: int
    trace_id: str
    span_id: str
    request_span_id: str
    scheduled_ns: int
    """On the monotonic clock; the record stores its offset from the anchor, as for all instants."""
    queue_ns: int
    anchor: Anchor
    usage_refused: bool
    lag_ns: int | None
    secrets: Secrets
    prompt_mask: Callable[[], PromptMask]
    model_asked: str | None = None
    usage_asked: bool = True
    asked: OutputRequest | None = None
    answered: frozenset[str] = frozenset()
    """Functions whose calls the conversation's next turn answers. Their names are not masked: the run's header has them
    anyway, and they decide whether the conversation can continue.
    """

    def clean_message(self, text: str) -> str:
        """Returns the text as one line with secrets and the prompt's words masked, cut to the length kept."""
        return self.secrets.clean(self.prompt_mask().hide(_without_half_word(text))) if text else text

    def clean_word(self, text: str, limit: int = VALUE_LIMIT) -> str:
        """Returns a code, name or id with secrets masked, cut to `limit` characters.

        The prompt's words are masked only if the text is more than one word: a prompt that contains `stop` must not
        hide a finish reason.
        """
        return self.secrets.clean(text if _WORD.fullmatch(text) else self.prompt_mask().hide(text), limit)


def _without_half_word(text: str) -> str:
    """Removes the last word of a message that was cut: half an API key would not be recognised and masked."""
    if len(text) < MESSAGE_LIMIT:
        return text
    return text[: max(text.rfind(mark) for mark in " \t\r\n\"'<>{}[](),;") + 1]


def record_of(reader: TapeReader, about: AttemptContext, refused: Failure | None = None) -> AttemptRecord:
    """Returns the record of an exchange that has ended. `refused` is set if the SDK refused to send the request."""
    tape, decoder = reader.tape, reader.decoder
    clean = about.clean_word
    ended = tape.ended if tape.ended is not None else tape.start
    failure = refused or _failure(reader, about)
    start = tape.start or about.scheduled_ns
    return AttemptRecord(
        ticket=about.ticket,
        attempt=about.attempt,
        trace_id=about.trace_id,
        span_id=about.span_id,
        scheduled_at_ns=about.scheduled_ns - about.anchor.monotonic_ns,
        queue_ns=about.queue_ns,
        start_at_ns=start - about.anchor.monotonic_ns,
        ended_ns=max(0, ended - start),
        connection=tape.connection,
        sent_ns=_since(start, _sent(tape)),
        headers_ns=_since(start, tape.headers_at),
        first_byte_ns=_since(start, tape.first_byte),
        last_byte_ns=_since(start, tape.last_byte),
        stamps=tape.stamps,
        status=tape.status,
        headers=_kept_headers(tape, about),
        content_type=_maybe(clean, tape.header("content-type")),
        body_bytes=tape.body_bytes,
        reads=tape.read_count,
        timeline=decoder.timeline(),
        comments=decoder.comments if _is_answer(reader) else 0,
        malformed=decoder.malformed if _is_answer(reader) else 0,
        malformed_why=_maybe(about.clean_message, decoder.malformed_why) if _is_answer(reader) else None,
        finish_reason=_maybe(clean, decoder.finish_reason),
        done=decoder.done,
        usage=decoder.usage,
        usage_refused=about.usage_refused,
        model_served=_maybe(clean, decoder.model),
        response_id=_maybe(clean, decoder.response_id),
        failure=_cleaned(failure, about),
        error_frame=_cleaned(decoder.error_frame, about),
        client_lag_ns=about.lag_ns,
        text=decoder.text(),
        reasoning_text=decoder.reasoning_text(),
        model_asked=_maybe(clean, about.model_asked),
        usage_asked=about.usage_asked,
        ids=decoder.ids,
        roles=decoder.roles,
        after_finish=decoder.after_finish,
        tool_calls=tuple(_cleaned_call(call, about) for call in decoder.tool_calls()),
        unknown_fields=tuple(about.clean_message(path) for path in decoder.unknown_fields),
        broken_utf8=decoder.broken_utf8 if _is_answer(reader) else 0,
        request_span_id=about.request_span_id,
        api=reader.ask.api,
        streamed=reader.ask.streamed,
        asked=_cleaned_asked(about),
        json_answer=decoder.json_answer(),
        unfinished=decoder.unfinished,
        summarised=reader.events.summarised,
    )


def _failure(reader: TapeReader, about: AttemptContext) -> Failure | None:
    """Returns the failure that ended the attempt from outside the stream; None if there is none.

    An error status, or a body that is not of the requested kind, takes precedence over how the connection broke.
    """
    tape = reader.tape
    if tape.failure is not None and tape.failure.kind == "cancelled":
        return tape.failure
    if tape.status is not None and not 200 <= tape.status < 300:
        return _http_error(reader, about)
    if tape.status is not None and (reader.unreadable or not _is_answer(reader)) and tape.body_bytes:
        return _not_a_stream(reader)
    if tape.failure is None or tape.failure.kind == "disconnected" or _is_of_the_body(tape.failure):
        return reader.decoder.too_large or tape.failure
    return tape.failure


def _is_of_the_body(failure: Failure) -> bool:
    """True if the failure is the limit on the whole body.

    A limit on what a body contains is always passed earlier in the body, however late it is decoded, and takes
    precedence.
    """
    return failure.kind == "too_large" and failure.detail == "body"


def _is_answer(reader: TapeReader) -> bool:
    """True if the body is what was requested: an SSE stream or one JSON body.

    A body is a stream by its content type, or because chunks arrived: some servers stream under another content type.
    A body of white space only is a keep-alive, which some gateways send while the model works; it also returns True.
    """
    decoder = reader.decoder
    if decoder.done or decoder.error_frame is not None or decoder.chunks > 0:
        return True
    if not reader.ask.streamed:
        return _document(reader.start_of_body()) == "JSON" or not reader.start_of_body().strip()
    return _says_stream(reader.tape) and (decoder.events > 0 or not _document(reader.start_of_body()))


def _says_stream(tape: Tape) -> bool:
    return "event-stream" in (tape.header("content-type") or "").lower()


def _document(body: bytes) -> str:
    """Returns `JSON` or `HTML` if the body begins like such a document, which no line of a stream does; else ""."""
    first = body.removeprefix(BOM).lstrip()[:1]
    return {b"{": "JSON", b"[": "JSON", b"<": "HTML"}.get(first, "")


def _not_a_stream(reader: TapeReader) -> Failure:
    if reader.unreadable:
        return Failure("not_a_stream", f"cannot decode the body: {reader.unreadable}", detail="encoding")
    body = reader.start_of_body()
    what = (reader.tape.header("content-type") or "no content type").split(";")[0].strip()
    named = reader.ask.streamed and _says_stream(reader.tape)
    came = f"{_document(body)} with content type {what}" if named else what
    failure = _other_content(came.lower(), body)
    message = f": {failure.message}" if failure.message else ""
    asked = "a stream" if reader.ask.streamed else "a response without streaming"
    return replace(failure, message=f"requested {asked}, received {came}{message}", detail=what)


def _other_content(came: str, body: bytes) -> Failure:
    """Returns a failure with the error that JSON names, or with an HTML page's title.

    Its message is empty for any other body, which may be the answer: the record must not hold an answer.
    """
    if "html" in came and b"<title>" in body.lower():
        return failure_from_body("not_a_stream", body)
    if "json" not in came:
        return Failure("not_a_stream")
    try:
        plain = json.loads(body.removeprefix(BOM))
    except (ValueError, RecursionError):  # such as a long answer of which only the start is kept
        return Failure("not_a_stream")
    if not isinstance(plain, dict):
        return Failure("not_a_stream")
    if plain.get("error") is None:  # a `message` that is an object is an answer
        plain = {key: value if isinstance(value, str | int) else None for key, value in plain.items()}
    return failure_from_plain("not_a_stream", plain)


def _http_error(reader: TapeReader, about: AttemptContext) -> Failure:
    tape, anchor = reader.tape, about.anchor
    failure = failure_from_body("http_error", reader.start_of_body(), status=tape.status)
    location = tape.header("location")
    if location is not None and tape.status is not None and tape.status < 400:
        message = f"redirected to {mask_url(location)}, which streambench does not follow: point base_url there"
        failure = replace(failure, message=message)
    wall_ns = anchor.wall_of(tape.start - anchor.monotonic_ns)
    stated = retry_after_s(dict(tape.headers), wall_ns)
    return failure if stated is None else replace(failure, retry_after_s=stated)


def retry_after_s(headers: Mapping[str, str], wall_ns: int) -> float | None:
    """Returns the seconds to wait, from `retry-after-ms`, or from `retry-after` as seconds or as a date.

    `wall_ns` is the wall-clock time from which a date is counted. None if no header states a wait.
    """
    milliseconds = _float(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    stated = headers.get("retry-after") or headers.get("llm_provider-retry-after")
    seconds = _float(stated)
    if seconds is not None or stated is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(stated).timestamp() - wall_ns / NS)
    except (ValueError, OverflowError):
        return None


def _float(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _kept_headers(tape: Tape, about: AttemptContext) -> dict[str, str]:
    kept = [
        (name, (about.secrets.clean if name in _OF_PROXIES else about.clean_word)(value, VALUE_LIMIT))
        for name, value in tape.headers
        if name in HEADERS_KEPT or name.startswith(PREFIXES_KEPT)
    ]
    return dict(kept[:HEADER_LIMIT])


def _cleaned(failure: Failure | None, about: AttemptContext) -> Failure | None:
    if failure is None:
        return None
    return replace(
        failure,
        message=about.clean_message(failure.message),
        detail=_maybe(partial(about.clean_word, limit=DETAIL_LIMIT), failure.detail),
        code=_maybe(partial(about.clean_word, limit=DETAIL_LIMIT), failure.code),
    )


def _cleaned_asked(about: AttemptContext) -> OutputRequest | None:
    """Returns the output request with secrets masked: a parameter may hold the value of any variable."""
    asked, clean = about.asked, partial(about.secrets.clean, limit=VALUE_LIMIT)
    return asked and replace(asked, function=_maybe(clean, asked.function), effort=_maybe(clean, asked.effort))


def _cleaned_call(call: ToolCall, about: AttemptContext) -> ToolCall:
    """Returns the call with its name masked: the model chose the name, and it may be any text.

    `why` needs no mask, as it quotes only the declared schema.
    """
    return call if call.name in about.answered else replace(call, name=_maybe(about.clean_message, call.name))


def _maybe(clean: Callable[[str], str], text: str | None) -> str | None:
    return None if text is None else clean(text)


def _sent(tape: Tape) -> int | None:
    """Returns when the request was sent; None if it was not.

    A nearby server may answer before the call that wrote the request returns, so the arrival of the response headers
    is used if it is earlier.
    """
    instants = [instant for instant in (tape.sent, tape.headers_at) if instant is not None]
    return min(instants) if tape.sent is not None else None


def _since(start: int, instant: int | None) -> int | None:
    return None if instant is None else instant - start
