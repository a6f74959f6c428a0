"""The script of a stream: the bytes of each write, already framed for HTTP and SSE, and its due time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from streambench.simulator.answer import MS, DrawnAnswer
from streambench.simulator.chat_events import ChatEvent, stream_events
from streambench.simulator.faults import COMMENT, GENERATED, End, Fault
from streambench.simulator.other_apis import completion_events, response_events
from streambench.simulator.profile import SimModel

COMMENT_MS = 100.0
"""Default interval between comments, in ms, for a stream that sends comments for ever."""


@dataclass(frozen=True, slots=True)
class Script:
    """The writes of one stream.

    `payloads`, `due_ns` (after the request was complete) and `chunks` (number of chunks) have one entry per write;
    `kinds` has one letter per chunk.
    """

    payloads: list[bytes]
    due_ns: list[int]
    chunks: list[int]
    kinds: str
    end: End
    end_ns: int
    """Due time of the end. If the stream is cut, this is when its next write would have been due."""
    comment_ns: int


def write_script(
    answer: DrawnAnswer, model: SimModel, fault: Fault | None, *, headers_ns: int, usage: bool, api: str = "chat"
) -> Script:
    """Returns the script of an answer's stream, with the fault's changes.

    headers_ns: time from the complete request to the headers; the role chunk and comments are due from then on.
    usage: True adds the usage.
    """
    if api == "responses":
        whole = response_events(answer, role_ns=headers_ns, usage=usage)
    elif api == "completions":
        whole = completion_events(answer, usage=usage)
    else:
        whole = stream_events(answer, role=model.role_chunk, role_ns=headers_ns, usage=usage)
    kept = fault.events(whole) if fault is not None and fault.events is not None else whole
    comment_ns = round((model.keepalive_ms or COMMENT_MS) * MS)
    breaks_off_ns = whole[len(kept)].at_ns if len(kept) < len(whole) else 0
    if model.keepalive_ms is not None:
        kept = _with_comments(kept, headers_ns, comment_ns)
    writes = [(due_ns, list(group)) for due_ns, group in groupby(kept, attrgetter("at_ns"))]
    last_ns = writes[-1][0] if writes else headers_ns
    return Script(
        payloads=[http_chunk(b"".join([event.data for event in group])) for _, group in writes],
        due_ns=[due_ns for due_ns, _ in writes],
        chunks=[sum(event.kind != "" for event in group) for _, group in writes],
        kinds="".join([event.kind for event in kept]),
        end=fault.end if fault is not None else End.COMPLETE,
        end_ns=max(last_ns, breaks_off_ns),
        comment_ns=comment_ns,
    )


def http_chunk(data: bytes) -> bytes:
    """Frames `data` as one chunk of chunked transfer encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _with_comments(events: list[ChatEvent], headers_ns: int, every_ns: int) -> list[ChatEvent]:
    """Adds a comment every `every_ns` from the headers until the first generated chunk is due."""
    first_ns = next((event.at_ns for event in events if event.kind in GENERATED), headers_ns)
    comments = [ChatEvent("", COMMENT, at_ns) for at_ns in range(headers_ns + every_ns, first_ns, every_ns)]
    return sorted([*events, *comments], key=attrgetter("at_ns"))
