"""The recording of one exchange: when each thing happened, and the body as it came, piece by piece.

Nothing is decoded while a read is taken. `TapeReader` decodes the tape when the exchange has ended, at a deadline
check, or during a stream so long that its pieces would fill the memory; decoded pieces are then dropped.
"""

from __future__ import annotations

from array import array

from streambench.records.schema import Connection, Failure, Stamps

PIECE_WEIGHT = 64
"""Bytes of memory that a piece takes besides its data: the object, and its entries in the three columns."""


class Tape:
    """Instants are monotonic nanoseconds; None until they happen.

    `pieces`, `stamp_of` and `read_of` have one entry per piece of the body: its bytes, arrival and number of the read.
    """

    __slots__ = (
        "body_bytes",
        "connection",
        "done_hint",
        "dropped_bytes",
        "dropped_pieces",
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
        self.dropped_bytes = 0
        self.dropped_pieces = 0
        self.read_lag = 0
        """The longest time (ns) that data waited in the kernel before it was read; known only with kernel stamps."""
        self.tail = b""
        self.done_hint = False
        """True if the last 16 bytes contain `[DONE]`, so that the body should end at any moment."""

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

    @property
    def piece_count(self) -> int:
        """Number of pieces that came, including those dropped since."""
        return self.dropped_pieces + len(self.pieces)

    @property
    def weight(self) -> int:
        """Bytes of memory that the held pieces take."""
        return self.body_bytes - self.dropped_bytes + PIECE_WEIGHT * len(self.pieces)

    def drop(self, first: int, end: int | None = None) -> None:
        """Drops the pieces from `first` up to, but not including, `end`."""
        gone = self.pieces[first:end]
        self.dropped_pieces += len(gone)
        self.dropped_bytes += sum(map(len, gone))
        del self.pieces[first:end], self.stamp_of[first:end], self.read_of[first:end]

    def keep_start(self, limit: int) -> None:
        """Drops all pieces except those that hold the body's first `limit` bytes."""
        held = 0
        for index, piece in enumerate(self.pieces):
            if held >= limit:
                self.drop(index)
                return
            held += len(piece)

    def body(self) -> bytes:
        return b"".join(self.pieces)
