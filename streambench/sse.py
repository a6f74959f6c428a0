"""Bytes into server-sent events, piece by piece; pure, and linear in the bytes whatever their cut.

Follows the WHATWG event-stream grammar but for two things: an event that the end of the stream finds complete but for
its blank line is delivered, since `[DONE]` is often sent so; one with empty data is a keep-alive. Next: `chunks`.
"""

from __future__ import annotations

from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its `data` lines joined by LF, and its `event:` name, empty where none was given."""

    data: bytes
    name: bytes = b""


class SseReader:
    """Feed it pieces in order; it returns the events that each piece completed.

    `comments` counts comment lines and events without data (both are keep-alives); `held` is how many bytes wait for
    their line's end.
    """

    def __init__(self) -> None:
        self.comments = 0
        self.held = 0
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._name = b""
        self._fields = 0
        self._after_cr = False
        self._first = True

    def feed(self, piece: bytes) -> list[Event]:
        if self._after_cr and piece:
            self._after_cr = False
            if piece[:1] == b"\n":  # the second half of a CRLF that was cut between two reads
                piece = piece[1:]
        if not piece:
            return []
        lines = piece.splitlines()
        last = piece[-1]
        if last != 0x0A and last != 0x0D:
            self._hold(lines)
            if not lines:
                return []
        elif self._line:
            lines[0] = self._joined(lines[0])
        self._after_cr = last == 0x0D
        return self._events(lines)

    def close(self) -> list[Event]:
        """The end of the stream: the event under way, if it holds data."""
        tail = [self._joined(b"")] if self._line else []
        return self._events([*tail, b""] if tail or self._data else [])

    def _hold(self, lines: list[bytes]) -> None:
        """Keeps the unfinished last line back; joins the first line with what was held before it."""
        tail = lines.pop()
        if lines and self._line:
            lines[0] = self._joined(lines[0])
        self._line.append(tail)
        self.held += len(tail)

    def _joined(self, end: bytes) -> bytes:
        line = b"".join([*self._line, end])
        self._line.clear()
        self.held = 0
        return line

    def _events(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(BOM)
        for line in lines:
            if not line:
                self._dispatch(events)
            elif line[:6] == b"data: ":
                self._data.append(line[6:])
                self._fields += 1
            else:
                self._other_field(line)
        return events

    def _other_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if not name:
            self.comments += 1
            return
        value = value.removeprefix(b" ")
        self._fields += 1
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value

    def _dispatch(self, events: list[Event]) -> None:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        if data:
            events.append(Event(data, self._name))
        elif self._fields:
            self.comments += 1
        self._data.clear()
        self._name = b""
        self._fields = 0
