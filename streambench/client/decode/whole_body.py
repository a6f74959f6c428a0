"""Decodes a non-streamed answer once its body is complete, into a stream's facts: one chunk for each kind of output.

All these chunks have the arrival and the read of the last byte: only then can the text be used, and the times between
them are unknown. `TapeReader` feeds the body's pieces, as it does for a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streambench.client.decode.chunk_json import REASONING_FIELDS, Choice, Chunk, Delta
from streambench.client.decode.sse import BOM, Event
from streambench.client.decode.stream import StreamDecoder


class WholeDecoder(StreamDecoder):
    """Decodes one body as one answer, when it is closed. `line_bytes` of the limits bounds it, as it bounds an event.

    `last_generated_ns` is the arrival of the last piece, so the idle deadline counts from the last bytes. White space
    before the body, with which some gateways keep a connection open, is ignored.
    """

    def __init__(self, **given: Any) -> None:
        """Takes the arguments of `StreamDecoder`; `events` reads the body."""
        super().__init__(**given)
        self._body = bytearray()

    @property
    def bytes_left(self) -> int:
        return max(0, self._limits.line_bytes - len(self._body))

    def feed(self, piece: bytes, offset_ns: int, read: int) -> None:  # noqa: ARG002 - `close` is given the read
        if self.too_large is not None or not (self._body or piece.strip()):
            return
        if len(piece) > self.bytes_left:
            self.stop("event", f"the response exceeded {self._limits.line_bytes} bytes")
            return
        self._body += piece
        self.last_event_ns = self.last_generated_ns = offset_ns

    def close(self, offset_ns: int, read: int) -> None:
        """Decodes the complete body. `offset_ns` and `read` are the arrival and number of the last read."""
        if self.too_large is None and self._body:
            self._take(Event(bytes(self._body.removeprefix(BOM))), offset_ns, read)

    def _take_chunk(self, chunk: Chunk, data: bytes, offset_ns: int, read: int) -> None:
        for part in _by_kind(chunk):
            super()._take_chunk(part, data, offset_ns, read)


_KINDS = (REASONING_FIELDS, ("content", "refusal"), ("tool_calls", "function_call"))
"""The fields of a message that make one chunk each, in the order in which a stream sends them."""


def _by_kind(chunk: Chunk) -> Iterator[Chunk]:
    """Yields the answer as one chunk per kind of output, then one with finish reasons and usage."""
    choices = chunk.choices or []
    for names in _KINDS:
        parts = [Choice(delta=_only(choice.delta, names), index=choice.index) for choice in choices]
        if any(choice.delta is not None for choice in parts):
            yield Chunk(id=chunk.id, model=chunk.model, choices=parts)
    ends = [Choice(finish_reason=choice.finish_reason, index=choice.index, error=choice.error) for choice in choices]
    yield Chunk(id=chunk.id, model=chunk.model, choices=ends, usage=chunk.usage)


def _only(delta: Delta | None, names: tuple[str, ...]) -> Delta | None:
    fields = {name: getattr(delta, name, None) for name in names}
    return Delta(**fields) if any(fields.values()) else None
