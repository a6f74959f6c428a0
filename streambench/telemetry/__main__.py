"""The child process that creates and exports spans and points. `child_process` talks to it over stdin and stdout."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from streambench.errors import ConfigError
from streambench.telemetry.child_process import READ_BYTES, ChildStatus, CloseMessage, OpenMessage, framed, unframed
from streambench.telemetry.session import ExportCounts, TelemetrySession

LOOK_S = 0.1
NICENESS = 5
"""Lowers the CPU priority of this process, so that the process that measures goes first."""


def main() -> None:
    with suppress(OSError):
        os.nice(NICENESS)
    up = _own_output()
    messages = _messages(0)
    opening = next(messages, None)
    if not isinstance(opening, OpenMessage):
        return
    session = TelemetrySession(opening.settings, opening.trace, opening.version, opening.private, beside_run=False)
    try:
        session.live.opened(opening.header)
    except ConfigError as error:
        _say(up, ChildStatus(refused=tuple(error.problems)))
        return
    outcome = _serve(session, messages, up) or session.end(())
    _say(up, ChildStatus(outcome=outcome))


def _own_output() -> int:
    """Returns a copy of stdout, for messages to the parent, and redirects stdout itself to /dev/null."""
    kept = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return kept


def _messages(down: int) -> Iterator[Any]:
    """Yields messages until the parent closes the pipe or dies."""
    held = bytearray()
    while read := os.read(down, READ_BYTES):
        held += read
        yield from unframed(held)


def _serve(session: TelemetrySession, messages: Iterator[Any], up: int) -> ExportCounts | None:
    """Handles messages until CloseMessage and returns the outcome; None if the pipe closed first: the parent died."""
    over = threading.Event()
    speaker = threading.Thread(target=_speak, args=(session, up, over), daemon=True)
    speaker.start()
    try:
        for message in messages:
            if isinstance(message, CloseMessage):
                return session.end(message.above)
            _obey(session, *message)
        return None
    finally:
        over.set()
        speaker.join()


def _obey(session: TelemetrySession, what: str, value: Any) -> None:
    match what:
        case "attempt_start":
            session.live.on_attempt_start(value)
        case "attempt_end":
            session.live.on_attempt_end(value)
        case "record":
            session.live.on_record(value)
        case "request_end":
            session.live.over_key(value)


def _speak(session: TelemetrySession, up: int, over: threading.Event) -> None:
    """Sends each change of the status, checked every LOOK_S. The first goes out at once: it means that all is open."""
    sent = None
    while True:
        status = ChildStatus(session.live.pressure, session.delivery)
        if status != sent:
            sent = status
            _say(up, status)
        if over.wait(LOOK_S):
            return


def _say(up: int, status: ChildStatus) -> None:
    left = framed(status)
    with suppress(OSError):  # the parent died; the spans that are left are still exported
        while left:
            left = left[os.write(up, left) :]


if __name__ == "__main__":
    main()
