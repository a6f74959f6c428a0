"""What one exchange left on the wire: when each thing happened, and the body as it came, read by read.

Nothing here is parsed while the stream runs; `chunks` reads the tape when it is over, or when a deadline asks.
"""

from __future__ import annotations

from array import array

from streambench.records import Connection, Failure, Stamps


class Tape:
    """Instants are monotonic nanoseconds; None until they happened. The body's three columns go piece by piece."""

    __slots__ = (
        "body_bytes",
        "connection",
        "done_hint",
        "ended",
        "failure",
        "first_byte",
        "headers",
        "headers_at",
        "last_byte",
        "pieces",
        "read_count",
        "read_lag",
        "read_of",
        "sent",
        "stamp_of",
        "stamps",
        "start",
        "status",
        "tail",
    )

    def __init__(self) -> None:
        self.start = 0
        self.sent: int | None = None
        self.headers_at: int | None = None
        self.first_byte: int | None = None
        self.last_byte: int | None = None
        self.ended: int | None = None
        self.status: int | None = None
        self.headers: list[tuple[str, str]] = []
        self.connection: Connection | None = None
        self.stamps: Stamps = "read"
        self.failure: Failure | None = None
        self.pieces: list[bytes] = []
        self.stamp_of = array("q")
        self.read_of = array("I")
        self.read_count = 0
        self.body_bytes = 0
        self.read_lag = 0
        """The longest that a read lay in the kernel before we took it; only kernel stamps can tell."""
        self.tail = b""
        self.done_hint = False
        """What came last ended like `[DONE]`: the body should be over at any moment."""

    def add(self, piece: bytes, stamp: int) -> None:
        if self.first_byte is None:
            self.first_byte = stamp
        self.last_byte = stamp
        self.body_bytes += len(piece)
        self.pieces.append(piece)
        self.stamp_of.append(stamp)
        self.read_of.append(self.read_count)
        self.tail = piece[-16:] if len(piece) >= 16 else (self.tail + piece)[-16:]
        self.done_hint = b"[DONE]" in self.tail

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def body(self) -> bytes:
        return b"".join(self.pieces)
