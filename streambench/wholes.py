"""An answer in one body, decoded once it is all there: the same facts as of a stream, in a chunk for each kind.

All of them have the arrival of the last byte, and share its read: that is when the text could be used, and what lies
between them is unknown. On the way: from `capture` the body's pieces, as `chunks` has a stream's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streambench.chunks import StreamDecoder
from streambench.payloads import Choice, Chunk, Delta
from streambench.sse import BOM, Event


class WholeDecoder(StreamDecoder):
    """Reads one body as one answer, when it is closed. `line_bytes` of the limits bounds it, as it bounds an event.

    `last_generated_ns` is the arrival of the last piece: an idle wait is one between bytes. White space ahead of the
    body, with which some gateways keep a connection open, is no piece of it.
    """

    def __init__(self, **given: Any) -> None:
        """Given what a stream's decoder is; `events` reads the body."""
        super().__init__(**given)
        self._body = bytearray()

    @property
    def room(self) -> int:
        return max(0, self._limits.line_bytes - len(self._body))

    def feed(self, piece: bytes, offset_ns: int, read: int) -> None:  # noqa: ARG002 - which read is told at the close
        if self.too_large is not None or not (self._body or piece.strip()):
            return
        if len(piece) > self.room:
            self.stop("event", f"the answer passed {self._limits.line_bytes} bytes")
            return
        self._body += piece
        self.last_event_ns = self.last_generated_ns = offset_ns

    def close(self, offset_ns: int, read: int) -> None:
        """The body is over, and all of it is there. Give the last read's arrival and number."""
        if self.too_large is None and self._body:
            self._take(Event(bytes(self._body.removeprefix(BOM))), offset_ns, read)

    def _take_chunk(self, chunk: Chunk, data: bytes, offset_ns: int, read: int) -> None:
        for part in _by_kind(chunk):
            super()._take_chunk(part, data, offset_ns, read)


_KINDS = (("reasoning_content", "reasoning"), ("content", "refusal"), ("tool_calls", "function_call"))
"""What of a message is a chunk of its own, in the order in which a stream would bring it."""


def _by_kind(chunk: Chunk) -> Iterator[Chunk]:
    """The same answer in one chunk a kind; the last one holds finish and usage."""
    choices = chunk.choices or []
    for names in _KINDS:
        said = [Choice(delta=_only(choice.delta, names), index=choice.index) for choice in choices]
        if any(choice.delta is not None for choice in said):
            yield Chunk(id=chunk.id, model=chunk.model, choices=said)
    ends = [Choice(finish_reason=choice.finish_reason, index=choice.index, error=choice.error) for choice in choices]
    yield Chunk(id=chunk.id, model=chunk.model, choices=ends, usage=chunk.usage)


def _only(delta: Delta | None, names: tuple[str, ...]) -> Delta | None:
    told = {name: getattr(delta, name, None) for name in names}
    return Delta(**told) if any(told.values()) else None
