"""From the tape of one exchange to its record: the facts, cleaned and bounded, and no judgement on them.

`TapeReader` decodes the body, at the stream's end or when a deadline wants to know how far it is; `record_of` sums up.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from streambench.api_events import events_of
from streambench.apis import STREAMED_CHAT, Ask
from streambench.chunks import StreamDecoder, StreamLimits
from streambench.clock import NS, Anchor
from streambench.failures import MESSAGE_LIMIT, failure_from_body, failure_from_plain
from streambench.json_answers import JsonForm
from streambench.money import COST_HEADERS
from streambench.prompt_mask import PromptMask
from streambench.records import Asked, AttemptRecord, Failure, Ticket, ToolCall
from streambench.secrets import Secrets, mask_url
from streambench.sse import BOM
from streambench.transport import Tape
from streambench.wholes import WholeDecoder

SLICE = 128
"""Pieces that are decoded before the event loop gets its turn."""
SLICE_BYTES = 16 * 1024
"""Bytes likewise: half a millisecond of ordinary chunks, some milliseconds of the shortest."""
BURST_BYTES = 1024 * 1024
"""Bytes that are decoded at once where someone waits for the answer, such as a deadline."""
PART_BYTES = 16 * 1024
"""Bytes of a large piece, or of what a compressed one grows to, that are decoded at once."""

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
"""By whole name; the prefixes below keep request ids, rate limits and what gateways say of cost and provider."""
PREFIXES_KEPT = ("x-request-id", "x-ratelimit-", "x-litellm-call-id", "x-litellm-response-cost", "x-litellm-model-id",
                 "x-litellm-overhead", "x-portkey-", "x-openrouter-", "x-provider", "x-served-by")  # fmt: skip
HEADER_LIMIT = 40
VALUE_LIMIT = 200
DETAIL_LIMIT = 100
_WORD = re.compile(r"[!-~]{1,64}(?:; ?[!-~]{1,32}){0,2}")
"""With parameters, as a content type has them; other scripts write prompts without a space."""
_OF_PROXIES = ("server", "via")
"""Headers of many words that no prompt comes into."""
BODY_TEXT_LIMIT = 16 * 1024
"""Bytes of an error body that are looked at."""


class TapeReader:
    """Decodes the tape as far as it has come; each piece once, whoever asks."""

    def __init__(
        self,
        tape: Tape,
        *,
        keep_text: bool,
        schemas: Mapping[str, Any] | None = None,
        limits: StreamLimits | None = None,
        ask: Ask = STREAMED_CHAT,
        json_form: JsonForm | None = None,
    ) -> None:
        self.tape = tape
        self.ask = ask
        self._limits = limits or StreamLimits()
        self.events = events_of(ask)
        decoder = StreamDecoder if ask.streamed else WholeDecoder
        self.decoder = decoder(
            keep_text=keep_text, schemas=schemas, limits=self._limits, events=self.events, json_form=json_form
        )
        self.unreadable: str | None = None
        """The content-encoding that we cannot undo."""
        self._next = 0
        self._last: tuple[int, int] | None = None
        self._start = bytearray()
        self._start_limit = min(BODY_TEXT_LIMIT, self._limits.line_bytes)
        """So that it is full before a long line stops the reading, whatever the cut."""
        self._encoding: str | None = None
        self._used = 0
        """Bytes of the piece under way that have been decoded."""
        self._inflater: Inflater | None = None

    def catch_up(self, pieces: int | None = None) -> bool:
        """Decodes what has come since last time, or a slice of at most that many pieces; True when nothing is left.

        One call decodes so many bytes at most that a loop can wait for it, however far a compressed body grows.
        """
        came = len(self.tape.pieces)
        end, budget = (came, BURST_BYTES) if pieces is None else (min(came, self._next + pieces), SLICE_BYTES)
        while self._next < end and budget > 0:
            budget -= self._read_on()
        return self._next >= came  # more, where the rest of an error's body was dropped after it was decoded

    def drop(self) -> None:
        """Forgets what has been decoded; the start of the body is kept."""
        self.tape.drop(0, self._next)
        self._next = 0

    def close(self) -> None:
        while not self.catch_up():
            pass
        if self._last is not None and (self.ask.streamed or self._is_whole()):
            self.decoder.close(*self._last)

    def _is_whole(self) -> bool:
        """Half an answer is no malformed one, and an error's body no answer: the wire and the status tell of those."""
        return self.tape.failure is None and self.tape.status is not None and 200 <= self.tape.status < 300

    def start_of_body(self) -> bytes:
        """As much of the decoded body, without its content-encoding, as an error is looked for in."""
        return bytes(self._start)

    def _read_on(self) -> int:
        """Decodes one piece, or as much of it as may be held at once; what it cost, in bytes."""
        tape, index = self.tape, self._next
        plain, whole = self._undo(tape.pieces[index])
        self._last = (tape.stamp_of[index] - tape.start, tape.read_of[index])
        self.decoder.feed(plain, *self._last)
        self._check_growth()
        if len(self._start) < self._start_limit:
            self._start += plain[: self._start_limit - len(self._start)]
        if self.decoder.too_large is not None:
            self._next = len(tape.pieces)
        elif whole:
            self._next += 1
        return len(plain) + 1

    def _undo(self, piece: bytes) -> tuple[bytes, bool]:
        """Bytes of the piece without its content-encoding, and whether there are no more in it."""
        if self._encoding is None:
            self._encoding = (self.tape.header("content-encoding") or "identity").strip().lower()
            if self._encoding in ("gzip", "x-gzip", "deflate"):
                self._inflater = Inflater(self._encoding, self._limits.stream_bytes)
            elif self._encoding != "identity":
                self.unreadable = self._encoding
        if self._inflater is not None:
            return self._inflated(self._inflater, piece)
        if self.unreadable is not None:
            return b"", True
        return (piece, True) if len(piece) <= PART_BYTES else self._part(piece)

    def _part(self, piece: bytes) -> tuple[bytes, bool]:
        part = piece[self._used : self._used + PART_BYTES]
        self._used += PART_BYTES
        if self._used < len(piece):
            return part, False
        self._used = 0
        return part, True

    def _inflated(self, inflater: Inflater, piece: bytes) -> tuple[bytes, bool]:
        plain, whole = inflater.take(piece)
        if inflater.broken:
            self.unreadable = f"broken {self._encoding}"
        return plain, whole

    def _check_growth(self) -> None:
        """After the part that passed the limit was read, so that as much is read of the body whatever its cut."""
        if self._inflater is not None and self._inflater.left < 0:
            self.decoder.stop("inflated", f"the compressed body grew past {self._limits.stream_bytes} bytes")


class Inflater:
    """Undoes gzip or deflate a part at a time, so that a body that grows a thousandfold is never held."""

    def __init__(self, encoding: str, limit: int) -> None:
        self.left = limit
        """Bytes that the body may still grow to; below 0 when it has grown past its limit."""
        self.broken = False
        self._zlib = zlib.decompressobj(wbits=47 if encoding != "deflate" else 15)
        self._under_way = False

    def take(self, piece: bytes) -> tuple[bytes, bool]:
        """The next part, and whether it is the piece's last; if it is not, the same piece is to be given again."""
        if self.broken or self.left < 0 or self._zlib.eof:  # what follows the end is no part of the body
            return b"", True
        source = self._zlib.unconsumed_tail if self._under_way else piece
        most = min(PART_BYTES, self.left + 1)
        try:
            plain = self._zlib.decompress(source, most)
        except zlib.error:
            self.broken = True
            return b"", True
        self.left -= len(plain)
        self._under_way = len(plain) == most
        return plain, not self._under_way


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the record holds beside the tape."""

    ticket: Ticket
    attempt: int
    trace_id: str
    span_id: str
    request_span_id: str
    scheduled_ns: int
    """Monotonic; becomes an offset from the anchor, like all instants."""
    queue_ns: int
    anchor: Anchor
    usage_refused: bool
    lag_ns: int | None
    secrets: Secrets
    prompt_mask: Callable[[], PromptMask]
    model_asked: str | None = None
    usage_asked: bool = True
    asked: Asked | None = None
    answered: frozenset[str] = frozenset()
    """Functions that the suite has results of: their names are in the header, and tell whether a session can go on."""

    def clean_message(self, text: str) -> str:
        """Without keys, without the prompt's words, on one line, cut to what is kept."""
        return self.secrets.clean(self.prompt_mask().hide(_without_half_word(text))) if text else text

    def clean_word(self, text: str, limit: int = VALUE_LIMIT) -> str:
        """What should be one word: a code, a name, an id. Only where it is more, it is looked through for the prompt's
        own words: a prompt that says `stop` must not hide a finish reason.
        """
        return self.secrets.clean(text if _WORD.fullmatch(text) else self.prompt_mask().hide(text), limit)


def _without_half_word(text: str) -> str:
    """A message that was cut may end in half a key, which nobody would know for one."""
    if len(text) < MESSAGE_LIMIT:
        return text
    return text[: max(text.rfind(mark) for mark in " \t\r\n\"'<>{}[](),;") + 1]


def record_of(reader: TapeReader, about: Circumstances, refused: Failure | None = None) -> AttemptRecord:
    """The record of an exchange that is over. `refused` is our own side's reason not to have sent it at all."""
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


def _failure(reader: TapeReader, about: Circumstances) -> Failure | None:
    """What ended it from outside the stream. A status or a body that is no stream says more than how it broke off."""
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
    """Any limit of what is in a body is passed before that of the whole, however late it was decoded."""
    return failure.kind == "too_large" and failure.detail == "body"


def _is_answer(reader: TapeReader) -> bool:
    """Whether what came is of the kind that was asked for: a stream, by its word or by its deeds, as some servers
    stream events under another content type; or one body of JSON. White space alone is what some gateways send while
    the model works: no answer yet, and nothing else either.
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
    """`JSON` or `HTML` where the body begins as one and so as no line of a stream does; else nothing."""
    first = body.removeprefix(BOM).lstrip()[:1]
    return {b"{": "JSON", b"[": "JSON", b"<": "HTML"}.get(first, "")


def _not_a_stream(reader: TapeReader) -> Failure:
    if reader.unreadable:
        return Failure("not_a_stream", f"the body's encoding cannot be read: {reader.unreadable}", detail="encoding")
    body = reader.start_of_body()
    what = (reader.tape.header("content-type") or "no content type").split(";")[0].strip()
    named = reader.ask.streamed and _says_stream(reader.tape)
    came = f"{_document(body)} came as {what}" if named else f"{what} came"
    failure = _said_instead(came.lower(), body)
    told = f": {failure.message}" if failure.message else ""
    asked = "a stream" if reader.ask.streamed else "a whole answer"
    return replace(failure, message=f"{asked} was asked for, {came}{told}", detail=what)


def _said_instead(came: str, body: bytes) -> Failure:
    """An error that JSON names, or a page's title. All else may be the answer, which is not ours to keep."""
    if "html" in came and b"<title>" in body.lower():
        return failure_from_body("not_a_stream", body)
    if "json" not in came:
        return Failure("not_a_stream")
    try:
        plain = json.loads(body.removeprefix(BOM))
    except (ValueError, RecursionError):  # a long answer, for one: only its start is here
        return Failure("not_a_stream")
    if not isinstance(plain, dict):
        return Failure("not_a_stream")
    if plain.get("error") is None:  # a message that is no text is an answer's
        plain = {key: value if isinstance(value, str | int) else None for key, value in plain.items()}
    return failure_from_plain("not_a_stream", plain)


def _http_error(reader: TapeReader, about: Circumstances) -> Failure:
    tape, anchor = reader.tape, about.anchor
    failure = failure_from_body("http_error", reader.start_of_body(), status=tape.status)
    location = tape.header("location")
    if location is not None and tape.status is not None and tape.status < 400:
        told = f"redirected to {mask_url(location)}, which is not followed: let base_url lead there"
        failure = replace(failure, message=told)
    wall_ns = anchor.wall_of(tape.start - anchor.monotonic_ns)
    return replace(failure, retry_after_s=retry_after_s(dict(tape.headers), wall_ns))


def retry_after_s(headers: Mapping[str, str], wall_ns: int) -> float | None:
    """Seconds to wait, from `retry-after-ms`, or `retry-after` as seconds or as a date; None where nothing is said."""
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


def _kept_headers(tape: Tape, about: Circumstances) -> dict[str, str]:
    kept = [
        (name, (about.secrets.clean if name in _OF_PROXIES else about.clean_word)(value, VALUE_LIMIT))
        for name, value in tape.headers
        if name in HEADERS_KEPT or name.startswith(PREFIXES_KEPT)
    ]
    return dict(kept[:HEADER_LIMIT])


def _cleaned(failure: Failure | None, about: Circumstances) -> Failure | None:
    if failure is None:
        return None
    return replace(
        failure,
        message=about.clean_message(failure.message),
        detail=_maybe(partial(about.clean_word, limit=DETAIL_LIMIT), failure.detail),
        code=_maybe(partial(about.clean_word, limit=DETAIL_LIMIT), failure.code),
    )


def _cleaned_asked(about: Circumstances) -> Asked | None:
    """A parameter may be any variable's value."""
    asked, clean = about.asked, partial(about.secrets.clean, limit=VALUE_LIMIT)
    return asked and replace(asked, function=_maybe(clean, asked.function), effort=_maybe(clean, asked.effort))


def _cleaned_call(call: ToolCall, about: Circumstances) -> ToolCall:
    """The model chose the name, and may have put anything there; what is wrong quotes the declared schema alone."""
    return call if call.name in about.answered else replace(call, name=_maybe(about.clean_message, call.name))


def _maybe(clean: Callable[[str], str], text: str | None) -> str | None:
    return None if text is None else clean(text)


def _sent(tape: Tape) -> int | None:
    """A near server answers before the call that wrote the request has returned: it was sent by then."""
    instants = [instant for instant in (tape.sent, tape.headers_at) if instant is not None]
    return min(instants) if tape.sent is not None else None


def _since(start: int, instant: int | None) -> int | None:
    return None if instant is None else instant - start
