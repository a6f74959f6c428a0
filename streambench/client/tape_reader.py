"""Decodes the body of one exchange into chunks: at its end, at a deadline check, or in the background if it is long."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from streambench.client.decode.api_adapters import events_of
from streambench.client.decode.stream import StreamDecoder
from streambench.client.decode.whole_body import WholeDecoder
from streambench.client.transport.exchange import Exchange
from streambench.client.transport.tape import Tape
from streambench.config.sections import Bounds
from streambench.workload.api_formats import STREAMED_CHAT, ApiMode
from streambench.workload.request_params import JsonForm

SLICE = 128
"""Pieces that are decoded before the event loop runs other callbacks."""
SLICE_BYTES = 16 * 1024
"""Bytes that are decoded before the event loop runs other callbacks.

Ordinary chunks take half a millisecond, the shortest ones a few milliseconds.
"""
BURST_BYTES = 1024 * 1024
"""Bytes that are decoded at once if the caller waits for the result, such as a deadline check."""
PART_BYTES = 16 * 1024
"""Bytes that are decoded at once of a large piece, or of the decompressed data of a compressed piece."""
BODY_TEXT_LIMIT = 16 * 1024
"""Bytes at the start of a body that are kept to look for an error in."""


class TapeReader:
    """Decodes the tape as far as it has come. Each piece is decoded once, however many callers ask."""

    def __init__(
        self,
        tape: Tape,
        *,
        keep_text: bool,
        schemas: Mapping[str, Any] | None = None,
        limits: Bounds | None = None,
        ask: ApiMode = STREAMED_CHAT,
        json_form: JsonForm | None = None,
    ) -> None:
        self.tape = tape
        self.ask = ask
        self._limits = limits or Bounds()
        self.events = events_of(ask)
        decoder = StreamDecoder if ask.streamed else WholeDecoder
        self.decoder = decoder(
            keep_text=keep_text, schemas=schemas, limits=self._limits, events=self.events, json_form=json_form
        )
        self.unreadable: str | None = None
        """The content encoding that cannot be decoded; None if the body can be decoded."""
        self._next = 0
        self._last: tuple[int, int] | None = None
        self._start = bytearray()
        self._start_limit = min(BODY_TEXT_LIMIT, self._limits.line_bytes)
        """At most the limit of a line: `_start` is then full before a long line stops the decoding, so that its content
        does not depend on how the body was cut.
        """
        self._encoding: str | None = None
        self._used = 0
        """Bytes of the current piece that have been decoded."""
        self._inflater: Inflater | None = None

    def catch_up(self, pieces: int | None = None) -> bool:
        """Decodes what has come since the last call, or at most `pieces` pieces. Returns True if nothing is left.

        One call decodes about `BURST_BYTES` at most (`SLICE_BYTES` if `pieces` is given), so that the event loop is not
        blocked, however much a compressed body expands.
        """
        came = len(self.tape.pieces)
        end, budget = (came, BURST_BYTES) if pieces is None else (min(came, self._next + pieces), SLICE_BYTES)
        while self._next < end and budget > 0:
            budget -= self._read_on()
        return self._next >= came  # greater if the rest of an error body was dropped after it was decoded

    def drop(self) -> None:
        """Drops the pieces that have been decoded. The start of the body is kept."""
        self.tape.drop(0, self._next)
        self._next = 0

    def close(self) -> None:
        while not self.catch_up():
            pass
        if self._last is not None and (self.ask.streamed or self._is_whole()):
            self.decoder.close(*self._last)

    def _is_whole(self) -> bool:
        """True if the body is complete and its status is 2xx.

        Any other body is not decoded: half an answer must not count as malformed, and an error body is not an answer.
        The tape's failure and the status already describe both.
        """
        return self.tape.failure is None and self.tape.status is not None and 200 <= self.tape.status < 300

    def start_of_body(self) -> bytes:
        """Returns the first bytes of the body, after content decoding, in which an error is looked for."""
        return bytes(self._start)

    def _read_on(self) -> int:
        """Decodes one piece, or up to `PART_BYTES` of it. Returns the cost: the number of decoded bytes plus 1."""
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
        """Returns bytes of the piece after content decoding, and True if the piece has no more of them."""
        if self._encoding is None:
            self._encoding = (self.tape.header("content-encoding") or "identity").strip().lower()
            if self._encoding in ("gzip", "x-gzip", "deflate"):
                self._inflater = Inflater(self._encoding, self._limits.stream_bytes)
            elif self._encoding != "identity":
                self.unreadable = f"unsupported content-encoding {self._encoding}"
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
            self.unreadable = f"invalid {self._encoding} data"
        return plain, whole

    def _check_growth(self) -> None:
        """Stops the decoder if the decompressed body passed its limit.

        It is called after the part that passed the limit was decoded, so that the same bytes are decoded however the
        body was cut.
        """
        if self._inflater is not None and self._inflater.left < 0:
            self.decoder.stop("inflated", f"the decompressed body exceeded {self._limits.stream_bytes} bytes")


class Inflater:
    """Decompresses gzip or deflate part by part, so that a body that expands a thousandfold is never held whole."""

    def __init__(self, encoding: str, limit: int) -> None:
        self.left = limit
        """Bytes that may still come out of the body; negative once it has passed its limit."""
        self.broken = False
        self._zlib = zlib.decompressobj(wbits=47 if encoding != "deflate" else 15)
        self._under_way = False

    def take(self, piece: bytes) -> tuple[bytes, bool]:
        """Returns the next part, and True if it is the piece's last. If False, call again with the same piece."""
        if self.broken or self.left < 0 or self._zlib.eof:  # bytes after the end are not the body's
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


class BackgroundDecoder:
    """Decodes long streams while they run, so that their bytes need not be held: one slice per event loop turn."""

    def __init__(self) -> None:
        self._waiting: dict[Exchange, TapeReader] = {}

    def ask(self, exchange: Exchange, reader: TapeReader) -> None:
        """Queues an exchange: its tape is decoded and the decoded pieces are dropped, slice by slice."""
        if not self._waiting:
            exchange.loop.call_soon(self._turn)
        self._waiting.setdefault(exchange, reader)

    def _turn(self) -> None:
        exchange = next(iter(self._waiting))
        reader = self._waiting.pop(exchange)
        if exchange.tape.ended is None and not self._caught_up(exchange, reader):
            self._waiting[exchange] = reader  # at the end of the queue
        if self._waiting:
            exchange.loop.call_soon(self._turn)

    @staticmethod
    def _caught_up(exchange: Exchange, reader: TapeReader) -> bool:
        caught_up = reader.catch_up(SLICE)
        reader.drop()
        if reader.decoder.too_large is not None:
            exchange.abort(reader.decoder.too_large)
        elif caught_up:
            exchange.decoded(reader.decoder.bytes_left)
        return caught_up
