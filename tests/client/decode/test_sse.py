"""Bytes into events: the event-stream grammar, whatever the cut, at a cost that is linear in the bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.pieces import singly
from streambench.client.decode.sse import Event, SseReader

BOM = b"\xef\xbb\xbf"

PARTS = (
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b":", b" ", BOM, b"data", b"data:", b"data: ", b"event: ", b"id: 7",
    b"retry: 9", b": ping", b"[DONE]", b'{"a": 1}', "é".encode(), "\u2028".encode(), b"\x85", b"\x0b\x0c", b"\x00",
    b"\xff",
)  # fmt: skip
"""What odd streams are made of; joined at random they make every odd stream."""


def read(pieces: Iterable[bytes]) -> tuple[list[Event], int]:
    """The events of a whole stream, and how many keep-alives it held."""
    reader = SseReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.close(), reader.comments


def events_of(*pieces: bytes) -> list[Event]:
    return read(pieces)[0]


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """The pieces of a stream cut at these places, taken modulo its length; a place given twice makes an empty piece."""
    marks = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[first:last] for first, last in pairwise(marks)]


# --- the grammar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_every_line_end_ends_a_line(end: bytes) -> None:
    """Two events of one line each, ended by whatever the gateway writes."""
    assert events_of(b"data: a" + end * 2 + b"data: b" + end * 2) == [Event(b"a"), Event(b"b")]


def test_line_ends_may_change_within_a_stream() -> None:
    """A proxy that adds its own lines need not write the upstream's line ends."""
    assert events_of(b"data: a\r\n\ndata: b\r\rdata: c\n\r\n") == [Event(b"a"), Event(b"b"), Event(b"c")]


def test_a_crlf_cut_in_two_is_one_line_end() -> None:
    """Were it two, the multi-line event would end at the cut."""
    assert events_of(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [Event(b"a\nb")]


def test_an_event_is_handed_out_by_the_piece_that_ends_it() -> None:
    """With CR line ends the second CR ends the event; to wait for an LF that may follow would date it too late."""
    reader = SseReader()
    assert reader.feed(b"data: a\r") == []
    assert reader.feed(b"\r") == [Event(b"a")]


def test_the_lf_after_a_cr_that_ended_an_event_ends_nothing_more() -> None:
    """It belongs to the CR of the piece before."""
    reader = SseReader()
    assert reader.feed(b"data: a\r\n\r") == [Event(b"a")]
    assert reader.feed(b"\n") == []
    assert reader.comments == 0


@pytest.mark.parametrize("line", [b": ping", b":", b": OPENROUTER PROCESSING"])
def test_a_comment_is_counted_and_no_event(line: bytes) -> None:
    """Keep-alives tell that the gateway lives, and nothing else."""
    assert read([line + b"\n\ndata: a\n\n"]) == ([Event(b"a")], 1)


def test_a_comment_inside_an_event_does_not_end_it() -> None:
    """The event goes on after it."""
    assert read([b"data: a\n: ping\ndata: b\n\n"]) == ([Event(b"a\nb")], 1)


def test_an_event_line_names_its_own_event_only() -> None:
    """The name is gone with the blank line."""
    assert events_of(b"event: error\ndata: a\n\ndata: b\n\n") == [Event(b"a", b"error"), Event(b"b")]


def test_the_name_may_follow_the_data() -> None:
    """The order of an event's lines means nothing."""
    assert events_of(b"data: a\nevent: error\n\n") == [Event(b"a", b"error")]


def test_of_two_names_the_last_counts() -> None:
    """As the standard says."""
    assert events_of(b"event: one\nevent: two\ndata: a\n\n") == [Event(b"a", b"two")]


@pytest.mark.parametrize("line", [b"id: 7", b"id", b"retry: 3000", b"retry: soon", b"DATA: b", b"datum: b", b"x"])
def test_other_fields_are_passed_over(line: bytes) -> None:
    """Ids, reconnection times and names that nobody knows change no event."""
    assert events_of(line + b"\ndata: a\n" + line + b"\n\n") == [Event(b"a")]


@pytest.mark.parametrize("lines", [b"event: ping", b"id: 7", b"data", b"data:", b"data: ", b"event: ping\ndata:"])
def test_an_event_without_data_is_a_keep_alive(lines: bytes) -> None:
    """The SDK takes each of these for broken JSON and gives the stream up."""
    assert read([lines + b"\n\ndata: a\n\n"]) == ([Event(b"a")], 1)


@pytest.mark.parametrize(
    "stream", [b"<p>\n\n<p>", b'{"a":\n\n1}', b"da", b"data", b"event: pi", b": half a comm", b"data:"]
)
def test_what_is_no_field_and_what_is_half_a_line_is_no_keep_alive(stream: bytes) -> None:
    """A page or a stream that was cut has no comments."""
    reader = SseReader()
    assert reader.feed(stream) + reader.close() == []
    assert reader.comments == 0


def test_blank_lines_alone_are_nothing() -> None:
    """No event, no keep-alive."""
    assert read([b"\n\n\r\n\r\r\n"]) == ([], 0)


def test_data_lines_are_joined_by_lf() -> None:
    """Whatever ended them, and empty ones too: a, nothing, b."""
    assert events_of(b"data: a\r\ndata:\r\ndata: b\r\n\r\n") == [Event(b"a\n\nb")]


def test_two_empty_data_lines_are_data() -> None:
    """One line end stands between them."""
    assert events_of(b"data\ndata\n\n") == [Event(b"\n")]


@pytest.mark.parametrize(
    ("line", "data"),
    [(b"data:a", b"a"), (b"data: a", b"a"), (b"data:  a ", b" a "), (b"data:a: b", b"a: b")],
)
def test_one_space_after_the_colon_is_dropped(line: bytes, data: bytes) -> None:
    """One at most, and none is needed; all else belongs to the data, colons included."""
    assert events_of(line + b"\n\n") == [Event(data)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"], ids=["nothing", "LF", "CR", "CRLF"])
def test_the_last_event_needs_no_blank_line(end: bytes) -> None:
    """`[DONE]` is often sent so; the standard, and the SDK with it, would drop it."""
    assert events_of(b"data: a\n\ndata: [DONE]" + end) == [Event(b"a"), Event(b"[DONE]")]


def test_a_stream_that_ends_in_a_blank_line_has_nothing_left() -> None:
    """Closing twice hands out nothing twice."""
    reader = SseReader()
    assert reader.feed(b"data: a\n\ndata: b") == [Event(b"a")]
    assert reader.close() == [Event(b"b")]
    assert reader.close() == []


@pytest.mark.parametrize("split", [False, True], ids=["whole", "singly"])
def test_a_bom_before_the_first_line_is_dropped(split: bool) -> None:  # noqa: FBT001 - a column of a table
    """Also where it comes in three pieces; the SDK loses the first event."""
    stream = BOM + b"data: a\n\n"
    assert events_of(*(singly(stream) if split else [stream])) == [Event(b"a")]


def test_a_bom_later_on_belongs_to_its_line() -> None:
    """It makes a field that nobody knows."""
    assert events_of(b"data: a\n\n" + BOM + b"data: b\n\n") == [Event(b"a")]


def test_half_a_bom_is_no_bom() -> None:
    """It belongs to its line, as any other byte."""
    assert events_of(BOM[:2] + b"data: a\n\ndata: b\n\n") == [Event(b"b")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x00"])
def test_what_unicode_calls_a_line_end_is_data(separator: str) -> None:
    """Only LF and CR end lines; U+2028 stands unescaped in the output of many models."""
    data = f"a{separator}b".encode()
    assert events_of(b"data: " + data + b"\n\n") == [Event(data)]


def test_utf8_may_be_cut_anywhere() -> None:
    """Characters of two, three and four bytes, fed byte by byte."""
    data = "é€𝄞".encode()
    assert events_of(*singly(b"data: " + data + b"\n\n")) == [Event(data)]


def test_one_piece_may_hold_many_events() -> None:
    """In the order they stand in."""
    assert SseReader().feed(b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3") == [Event(b"0"), Event(b"1"), Event(b"2")]


def test_one_event_may_take_many_pieces() -> None:
    """Nothing comes before its end, then all of it."""
    reader = SseReader()
    pieces = [b"da", b"ta", b": ", b"he", b"llo", b"", b"\n"]
    assert [event for piece in pieces for event in reader.feed(piece)] == []
    assert reader.feed(b"\n") == [Event(b"hello")]


def test_held_counts_the_bytes_of_the_unfinished_line() -> None:
    """`data: ab` is 8 bytes, and one more makes 9; a line's end frees them."""
    reader = SseReader()
    reader.feed(b"data: x\n\ndata: ab")
    assert reader.held == 8
    reader.feed(b"c")
    assert reader.held == 9
    reader.feed(b"\n")
    assert reader.held == 0


# --- any cut, any bytes -----------------------------------------------------------------------------------------------

streams = st.lists(st.sampled_from(PARTS), max_size=40).map(b"".join) | st.binary(max_size=200)


@given(stream=streams, places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_gives_the_same_events(stream: bytes, places: list[int]) -> None:
    """Events and keep-alives are a function of the bytes alone."""
    assert read(cut(stream, places)) == read([stream])


@given(stream=streams)
def test_byte_by_byte_gives_the_same_events(stream: bytes) -> None:
    """The finest cut there is; garbage raises nothing in either."""
    assert read(singly(stream)) == read([stream])


@given(values=st.lists(st.binary(min_size=1).filter(lambda value: not set(value) & {10, 13}), max_size=8))
def test_what_is_written_is_read(values: list[bytes]) -> None:
    """Any data without line ends comes back as it was."""
    assert events_of(b"".join(b"data: " + value + b"\n\n" for value in values)) == [Event(value) for value in values]


@given(stream=streams.filter(lambda stream: not stream.startswith(BOM)))
def test_a_bom_changes_nothing(stream: bytes) -> None:
    """Before the first line it is as if it were not there."""
    assert read([BOM + stream]) == read([stream])


# --- cost -------------------------------------------------------------------------------------------------------------

MIB = 1024 * 1024


def test_a_piece_costs_by_its_own_bytes() -> None:
    """With 2 MiB held, one byte more moves none of them: what it allocates, at its peak, is under 64 KiB.

    (The list of pieces may grow, by an eighth of 2,048 pointers.)
    """
    reader = SseReader()
    for _ in range(2 * 1024):
        reader.feed(b"x" * 1024)
    assert peak_of(reader, b"y") < 64 * 1024
    assert reader.held == 2 * MIB + 1


def peak_of(reader: SseReader, piece: bytes) -> int:
    """Bytes allocated at the peak of one feed."""
    tracemalloc.start()
    try:
        reader.feed(piece)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_line_may_come_byte_by_byte() -> None:
    """2 MiB in as many pieces; copied at each it would be 2**41 bytes, and this test would not end in its time."""
    reader = SseReader()
    for _ in range(2 * MIB):
        reader.feed(b"x")
    assert reader.held == 2 * MIB
    assert reader.feed(b"\n\n") == []


def test_many_lines_of_one_event_are_joined_once() -> None:
    """100,000 data lines of 1 byte: 199,999 bytes with the line ends between them."""
    (event,) = events_of(b"data: x\n" * 100_000 + b"\n")
    assert len(event.data) == 199_999


def test_a_million_blank_lines_are_nothing() -> None:
    """Neither events nor anything held."""
    assert read([b"\n" * 1_000_000]) == ([], 0)
