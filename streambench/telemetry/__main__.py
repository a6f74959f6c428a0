"""The process that makes and sends a run's spans and points: `apart` starts it, and speaks by its standard streams."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from streambench.errors import ConfigError
from streambench.telemetry.apart import READ_BYTES, Closing, Opening, Status, framed, unframed
from streambench.telemetry.session import Outcome, Session

LOOK_S = 0.1
NICENESS = 5
"""What measures goes first, where both want the processor."""


def main() -> None:
    with suppress(OSError):
        os.nice(NICENESS)
    up = _own_output()
    messages = _messages(0)
    opening = next(messages, None)
    if not isinstance(opening, Opening):
        return
    session = Session(opening.settings, opening.trace, opening.version, opening.private, beside_run=False)
    try:
        session.live.opened(opening.header)
    except ConfigError as error:
        _say(up, Status(refused=tuple(error.problems)))
        return
    outcome = _serve(session, messages, up) or session.end(())
    _say(up, Status(outcome=outcome))


def _own_output() -> int:
    """What anybody prints goes nowhere: the parent reads messages here."""
    kept = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return kept


def _messages(down: int) -> Iterator[Any]:
    """Until the parent has nothing more to say, or is gone."""
    held = bytearray()
    while read := os.read(down, READ_BYTES):
        held += read
        yield from unframed(held)


def _serve(session: Session, messages: Iterator[Any], up: int) -> Outcome | None:
    """Does as it is told until the end. None where the parent died."""
    over = threading.Event()
    speaker = threading.Thread(target=_speak, args=(session, up, over), daemon=True)
    speaker.start()
    try:
        for message in messages:
            if isinstance(message, Closing):
                return session.end(message.above)
            _obey(session, *message)
        return None
    finally:
        over.set()
        speaker.join()


def _obey(session: Session, what: str, value: Any) -> None:
    match what:
        case "begun":
            session.live.begun(value)
        case "landed":
            session.live.landed(value)
        case "attempt":
            session.live.attempt(value)
        case "over":
            session.live.over_key(value)


def _speak(session: Session, up: int, over: threading.Event) -> None:
    """The first time at once: it says that all is open."""
    said = None
    while True:
        status = Status(session.live.pressure, session.delivery)
        if status != said:
            said = status
            _say(up, status)
        if over.wait(LOOK_S):
            return


def _say(up: int, status: Status) -> None:
    left = framed(status)
    with suppress(OSError):  # the parent is gone: what is left is sent all the same
        while left:
            left = left[os.write(up, left) :]


if __name__ == "__main__":
    main()
