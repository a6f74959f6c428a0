"""Parses bytes into server-sent events, piece by piece. Pure; linear in the bytes, however they are cut.

Follows the WHATWG event-stream grammar with two exceptions: a last event that lacks only its blank line is delivered at
the end of the stream, since `[DONE]` is often sent so; an event with empty data counts as a keep-alive.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

BOM = b"\xef\xbb\xbf"
FIELDS = frozenset({b"data", b"event", b"id", b"retry"})
"""The field names of the grammar. Lines with another name are ignored."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its `data` lines joined by LF, and its `event:` name (empty if not given)."""

    data: bytes
    name: bytes = b""
    comments: int = field(default=0, compare=False)
    """The reader's `comments` when this event was complete; later ones in the same piece are not included."""


class SseReader:
    """Parses pieces given in order; `feed` returns the events that each piece completed.

    `comments` counts comment lines and events without data (both are keep-alives). `held` is the number of bytes of an
    unfinished line. `limit` bounds each line and each event's data, in bytes: `too_large` names the first that passes
    it (`line` or `event`), and after that nothing is read or held.
    """

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.comments = 0
        self.too_large: str | None = None
        self._limit = limit
        self._line = bytearray()
        self._event = bytearray()
        """Data lines from earlier pieces, each with an LF. As separate objects, short lines would take ten times the
        memory.
        """
        self._data: list[bytes] = []
        self._name = b""
        self._fields = 0
        self._after_cr = False
        self._first = True

    @property
    def held(self) -> int:
        return len(self._line)

    @property
    def under_way(self) -> int:
        """Bytes of the unfinished event, including its unfinished line."""
        return len(self._line) + len(self._event)

    def feed(self, piece: bytes) -> list[Event]:
        if self._after_cr and piece:
            self._after_cr = False
            if piece[:1] == b"\n":  # the second half of a CRLF that was cut between two reads
                piece = piece[1:]
        if not piece or self.too_large is not None:
            return []
        if len(piece) + len(self._line) + len(self._event) > self._limit:
            return self._bounded(self._lines(piece))
        events = self._events(self._lines(piece))
        if self._data:
            self._hold_data()
        return events

    def _lines(self, piece: bytes) -> list[bytes]:
        """Returns the lines that the piece completes; the bytes after them are held."""
        lines = piece.splitlines()
        last = piece[-1]
        if last != 0x0A and last != 0x0D:
            self._hold(lines)
        elif self._line:
            lines[0] = self._joined(lines[0])
        self._after_cr = last == 0x0D
        return lines

    def close(self) -> list[Event]:
        """Ends the stream: returns the unfinished event if it has data. An unfinished comment is not counted."""
        if not self._line and not self._event:
            return []
        comments = self.comments
        events = self._bounded([self._joined(b""), b""] if self._line else [b""])
        self.comments = comments
        return events

    def _hold(self, lines: list[bytes]) -> None:
        """Holds the unfinished last line; joins the first line with the bytes held before it."""
        tail = lines.pop()
        if lines and self._line:
            lines[0] = self._joined(lines[0])
        self._line += tail

    def _joined(self, end: bytes) -> bytes:
        self._line += end
        line = bytes(self._line)
        self._line = bytearray()
        return line

    def _hold_data(self) -> None:
        """Moves the data lines into `_event`, because the event continues in the next piece."""
        self._event += b"\n".join(self._data)
        self._event += b"\n"
        self._data.clear()

    def _bounded(self, lines: list[bytes]) -> list[Event]:
        """Returns the events before the limit, for a piece that could pass it.

        Checks line by line, so that the result does not depend on how the body was cut.
        """
        events: list[Event] = []
        for line in lines:
            if len(line) > self._limit:
                self._stop("line")
                return events
            events += self._events([line])
            if self._data:
                self._hold_data()
            if len(self._event) > self._limit + 1:  # the last LF does not count as data
                self._stop("event")
                return events
        if len(self._line) > self._limit:
            self._stop("line")
        return events

    def _stop(self, which: str) -> None:
        self.too_large = which
        self._line = bytearray()
        self._event = bytearray()

    def _events(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(BOM)
        for line in lines:
            if not line:
                if self._fields:
                    self._dispatch(events)
            elif line[:6] == b"data: ":
                self._data.append(line[6:])
                self._fields += 1
            else:
                self._other_field(line, events)
        return events

    def _other_field(self, line: bytes, events: list[Event]) -> None:
        """Reads any other line. `error:` is no field of the grammar, but llama.cpp sent its failures so."""
        name, _, value = line.partition(b":")
        if not name:
            self.comments += 1
            return
        value = value.removeprefix(b" ")
        self._fields += name in FIELDS
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value
        elif name == b"error" and value:
            events.append(Event(value, b"error", self.comments))

    def _dispatch(self, events: list[Event]) -> None:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        if self._event:
            data = self._with_held(data)
        if data:
            events.append(Event(data, self._name, self.comments))
        else:
            self.comments += 1
        self._data.clear()
        self._name = b""
        self._fields = 0

    def _with_held(self, data: bytes) -> bytes:
        held, self._event = self._event, bytearray()
        return bytes(held + data) if self._data else bytes(held[:-1])
