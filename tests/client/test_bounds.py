"""What a decoder may hold, and what it says of a stream that brings more; no socket here."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from wrong_input import Wrong, the_problem

from client.pieces import singly
from streambench.client.decode.sse import Event, SseReader
from streambench.client.decode.stream import StreamDecoder
from streambench.client.tape_reader import PART_BYTES, Inflater, TapeReader
from streambench.client.transport.tape import Tape
from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.config.sections import Bounds
from streambench.errors import ConfigError
from streambench.records.schema import Failure

LIMIT = 20
KIB, MIB = 1024, 1024 * 1024
CHUNK = b'data: {"choices":[{"delta":{"content":"abcd"}}]}\n\n'


def read(reader: SseReader, pieces: Iterable[bytes]) -> list[Event]:
    return [event for piece in pieces for event in reader.feed(piece)]


def cuts(stream: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and in two at every place."""
    return [[stream], singly(stream), *([stream[:at], stream[at:]] for at in range(1, len(stream)))]


# --- lines and events


@pytest.mark.parametrize(
    ("stream", "which", "before"),
    [
        (b"data: ok\n\ndata: " + b"x" * 15, "line", 1),  # 21 bytes
        (b"data: " + b"x" * 14 + b"\n\n", None, 1),  # 20
        (b"data: " + b"x" * 15 + b"\n\ndata: late\n\n", "line", 0),
        (b":" * 21 + b"\n", "line", 0),
        (b"data: 0123456789\ndata: 012345678\n\n", None, 1),  # 10 + LF + 9 = 20
        (b"data: 0123456789\ndata: 0123456789\n\ndata: late\n\n", "event", 0),
        (b"data: a\n\n" + b"data: 123456\n" * 3, None, 1),  # 6 * 3 + 2 = 20
        (b"data: a\n\n" + b"data: 123456\n" * 4, "event", 1),
        (b"data:\n" * 21, None, 0),  # 20 LF between them
        (b"data:\n" * 22, "event", 0),
        (b": 0123456789\n" * 50 + b"data: ok\n\n", None, 1),
    ],
    ids=[
        "unfinished line",
        "line of just the limit",
        "line in one piece",
        "comment",
        "event of just the limit",
        "event",
        "unfinished event of just the limit",
        "unfinished event",
        "empty lines up to the limit",
        "empty lines",
        "many short comments",
    ],
)
def test_what_is_too_large_is_named_whatever_the_cut(stream: bytes, which: str | None, before: int) -> None:
    """20 bytes a line and an event; the events that came before it are read, those behind it are not."""
    for pieces in cuts(stream):
        reader = SseReader(LIMIT)
        assert len(read(reader, pieces)) == before, pieces
        assert reader.too_large == which, pieces


def test_nothing_is_held_of_what_is_too_large() -> None:
    """Nor is anything read from there on, or at the end."""
    reader = SseReader(LIMIT)
    reader.feed(b"data: 0123456789\ndata: 0123")
    assert reader.under_way == 11 + 10  # the event's line with its LF; the line under way with its name
    reader.feed(b"x" * 100)
    assert (reader.too_large, reader.under_way, reader.held) == ("line", 0, 0)
    assert reader.feed(b"\n\ndata: late\n\n") == reader.close() == []


@given(
    stream=st.lists(st.sampled_from([b"data: ab\n", b"data: 0123456789\n", b"\n", b": c\n", b"x" * 12, b"\r"])).map(
        b"".join
    ),
    places=st.lists(st.integers(0, 500), max_size=8),
)
def test_any_cut_meets_the_same_limit(stream: bytes, places: list[int]) -> None:
    """Which events come, and which limit is passed, is a function of the bytes alone."""
    marks = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    whole, cut = SseReader(LIMIT), SseReader(LIMIT)
    events = read(cut, [stream[first:last] for first, last in itertools.pairwise(marks)])
    assert events == read(whole, [stream])
    assert cut.too_large == whole.too_large


@pytest.mark.parametrize("unit", [b"data: ab\n", b"data:a\n"], ids=["lines of two bytes", "lines of one byte"])
def test_an_event_of_many_lines_weighs_what_it_holds(unit: bytes) -> None:
    """As objects, 350,000 lines of two bytes would weigh 15 MB; joined it is one."""
    reader = SseReader(MIB)
    piece = unit * (4 * KIB // len(unit))
    assert peak_of(lambda: read(reader, [piece] * 2_000)) < 3 * MIB
    assert reader.too_large == "event"


def test_a_line_in_many_pieces_weighs_what_it_holds() -> None:
    """As objects, 131,072 pieces of two bytes would weigh 5 MB."""
    reader = SseReader(MIB // 4)
    pieces = (b"%02d" % (at % 100) for at in range(MIB // 8))
    assert peak_of(lambda: read(reader, pieces)) < MIB
    assert reader.held == MIB // 4
    reader.feed(b"xx")
    assert reader.too_large == "line"


def peak_of(work: Any) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- chunks and text


def decoder(*pieces: bytes, keep_text: bool = False, **limits: int) -> StreamDecoder:
    made = StreamDecoder(keep_text=keep_text, limits=Bounds(**limits))
    for at, piece in enumerate(pieces):
        made.feed(piece, at, at)
    made.close(len(pieces), len(pieces))
    return made


def stopped(by: StreamDecoder) -> str | None:
    return by.too_large.detail if by.too_large is not None else None


def test_the_chunks_up_to_the_limit_are_kept() -> None:
    """Three of five, in one piece; what follows is not even parsed."""
    cut = decoder(CHUNK * 3 + b"data: no JSON\n\n" + CHUNK, chunks=3)
    assert (cut.chunks, cut.malformed) == (3, 0)
    assert cut.too_large == Failure("too_large", "the stream has more than 3 chunks", detail="chunks")


def test_as_many_chunks_as_the_limit_are_fine() -> None:
    """`[DONE]` is an event with data as well."""
    assert stopped(decoder(CHUNK * 3, chunks=3)) is None
    assert stopped(decoder(CHUNK * 3 + b"data: [DONE]\n\n", chunks=4)) is None


def test_frames_that_are_no_chunks_count_too() -> None:
    """They cost as much to read."""
    cut = decoder(b"data: x\n\n" * 10, chunks=3)
    assert (cut.malformed, stopped(cut)) == (3, "chunks")


def test_keep_alives_are_no_chunks() -> None:
    """They leave no row in the timeline."""
    quiet = decoder(b": ping\n\ndata:\n\n" * 10, chunks=3)
    assert (quiet.comments, stopped(quiet)) == (20, None)


@pytest.mark.parametrize(("keep_text", "which"), [(True, "text"), (False, None)], ids=["kept", "not kept"])
def test_text_is_bounded_where_it_is_kept(keep_text: bool, which: str | None) -> None:  # noqa: FBT001 - a column of a table
    """Four characters a chunk: the third would make 12 of 10."""
    cut = decoder(CHUNK * 5, keep_text=keep_text, text_chars=10)
    assert stopped(cut) == which
    assert cut.text() == ("abcdabcd" if keep_text else None)


@pytest.mark.parametrize("limits", [{"chunks": 3}, {"text_chars": 12}], ids=["chunks", "text"])
def test_keep_alives_behind_a_limit_are_not_counted(limits: dict[str, int]) -> None:
    """One before the chunk that passes it, two behind, whether they come with it or later."""
    stream = CHUNK * 3 + b": one\n\n" + CHUNK + b": two\n\n: three\n\n"
    for pieces in cuts(stream):
        cut = decoder(*pieces, keep_text=True, **limits)
        assert (cut.too_large is not None, cut.comments) == (True, 1), pieces


def test_the_limits_hold_at_the_end_of_the_body_too() -> None:
    """The last event lacks its blank line: a chunk too many, and 3 x 7 = 21 bytes of data for 20."""
    assert stopped(decoder(CHUNK * 3 + CHUNK.rstrip(), chunks=3)) == "chunks"
    assert stopped(decoder(b"data: 0123456\n" * 2 + b"data: 01234", line_bytes=20)) == "event"


def test_half_an_event_before_the_limit_is_not_closed() -> None:
    """The end of the stream adds nothing to one that was cut."""
    assert decoder(CHUNK * 4 + CHUNK.rstrip(), chunks=2).chunks == 2


def test_room_is_what_a_line_has_left() -> None:
    """Of 100 bytes a line, `data: abc` takes nine; a finished event frees them."""
    made = StreamDecoder(limits=Bounds(line_bytes=100))
    made.feed(b"data: abc", 0, 0)
    assert made.bytes_left == 91
    made.feed(b"\n\n", 0, 0)
    assert made.bytes_left == 100


@pytest.mark.parametrize("inside", [b"[]", b"{}"], ids=["lists", "objects"])
def test_json_that_grows_as_objects_is_borne(inside: bytes) -> None:
    """1 MB of empty lists takes 30 MB as objects; it is made once, and let go."""
    frame = b'data: {"choices":[' + b",".join([inside] * 330_000) + b'],"usage":{"x":[]}}\n\n'
    made = StreamDecoder()
    assert peak_of(lambda: made.feed(frame, 0, 0)) < 40 * MIB


def test_of_a_chunk_with_many_tool_calls_some_are_looked_at() -> None:
    """1,024 of 20,000: each is held against those before it."""
    call = b'{"index":0,"function":{"arguments":"x"}}'
    made = decoder(b'data: {"choices":[{"delta":{"tool_calls":[' + b",".join([call] * 20_000) + b"]}}]}\n\n")
    assert made.timeline().chars == (1_024,)


# --- compressed bodies


def inflated(pieces: Iterable[bytes], encoding: str = "gzip", limit: int = MIB) -> tuple[bytes, Inflater]:
    inflater, body = Inflater(encoding, limit), b""
    for piece in pieces:
        whole = False
        while not whole:
            part, whole = inflater.take(piece)
            assert len(part) <= PART_BYTES
            body += part
    return body, inflater


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_compressed_body_comes_back_in_parts(size: int, step: int) -> None:
    """Of 16 KiB at most, whatever the cut of what came."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    packed = gzip.compress(body)
    assert inflated(packed[at : at + step] for at in range(0, len(packed), step))[0] == body


def test_a_bomb_is_held_in_parts_only() -> None:
    """64 MiB out of 64 KiB: no more than some parts at a time."""
    reader = tape_reader([zlib.compress(b"\n" * 64 * MIB, 9)], headers=[("content-encoding", "deflate")])
    assert peak_of(reader.catch_up) < 2 * MIB
    assert not reader.catch_up()  # so much at once, and no more


def test_a_body_may_grow_to_its_limit_and_no_further() -> None:
    """1,000 bytes are within 1,000; one more is found out."""
    assert inflated([gzip.compress(b"x" * 1_000)], limit=1_000)[1].left == 0
    body, inflater = inflated([gzip.compress(b"x" * 100_000)], limit=1_000)
    assert (len(body), inflater.left) == (1_001, -1)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_as_much_is_read_of_a_body_that_grows_too_far_whatever_its_cut(size: int) -> None:
    """1,001 bytes, in which 1,001 // len(CHUNK) chunks are whole."""
    body = gzip.compress(CHUNK * 1_000)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    reader = tape_reader(pieces, Bounds(stream_bytes=1_000), [("content-encoding", "gzip")])
    reader.close()
    assert stopped(reader.decoder) == "inflated"
    assert reader.decoder.chunks == 1_001 // len(CHUNK)


def test_what_follows_a_compressed_body_is_not_held() -> None:
    """zlib would keep it, and copy it with every piece that comes."""
    body, inflater = inflated([gzip.compress(b"x"), *[b"y" * 1_000] * 100])
    assert body == b"x"
    assert inflater._zlib.unused_data == b""


def test_a_compressed_line_is_too_long_once_it_is_undone() -> None:
    """20 KB of one line in some bytes."""
    reader = tape_reader(
        [gzip.compress(b"data: " + b"x" * 20_000)], Bounds(line_bytes=5_000), [("content-encoding", "gzip")]
    )
    reader.close()
    assert stopped(reader.decoder) == "line"


# --- the tape


def tape_of(pieces: Iterable[bytes], headers: list[tuple[str, str]] | None = None) -> Tape:
    tape = Tape()
    tape.status, tape.headers_at = 200, 1
    tape.headers = [("content-type", "text/event-stream"), *(headers or [])]
    for at, piece in enumerate(pieces):
        tape.read_count += 1
        tape.add(piece, 10 * at)
    return tape


def tape_reader(
    pieces: Iterable[bytes], limits: Bounds | None = None, headers: list[tuple[str, str]] | None = None
) -> TapeReader:
    return TapeReader(tape_of(pieces, headers), keep_text=False, limits=limits)


def test_what_is_decoded_can_be_dropped() -> None:
    """Two of five pieces are read and let go; the others are read later, with their own arrivals and reads."""
    reader = tape_reader([CHUNK] * 5)
    assert not reader.catch_up(2)
    reader.drop()
    assert (len(reader.tape.pieces), reader.tape.dropped_pieces, reader.tape.piece_count) == (3, 2, 5)
    reader.close()
    timeline = reader.decoder.timeline()
    assert timeline.offset_ns == (0, 10, 20, 30, 40)
    assert timeline.read == (1, 2, 3, 4, 5)


def test_a_large_piece_is_decoded_slice_by_slice() -> None:
    """16 KiB at a time; what is under way is not dropped."""
    count = 4 * PART_BYTES // len(CHUNK)
    reader = tape_reader([CHUNK * count])
    slices = 1
    while not reader.catch_up(128):
        reader.drop()
        slices += 1
    assert slices == 4
    assert reader.decoder.chunks == count


def test_the_weight_of_the_tape_counts_its_pieces() -> None:
    """Ten of one byte: 10 bytes, and 64 for each piece."""
    tape = tape_of([b"x"] * 10)
    assert tape.weight == 10 + 640
    tape.drop(0, 4)
    assert (tape.weight, tape.body_bytes) == (6 + 384, 10)


def test_the_start_of_a_dropped_body_is_kept() -> None:
    """What an error is looked for in: 16 KiB."""
    reader = tape_reader([b"a" * 10_000] * 3)
    reader.catch_up()
    reader.drop()
    assert reader.tape.pieces == []
    assert reader.start_of_body() == b"a" * 16 * KIB


def test_of_an_error_only_the_start_is_kept() -> None:
    """The pieces that hold its first 25 bytes: three of ten."""
    tape = tape_of([b"0123456789"] * 10)
    tape.keep_start(25)
    assert tape.body() == b"0123456789" * 3
    assert (tape.dropped_bytes, tape.piece_count) == (70, 10)


def test_an_error_whose_end_was_dropped_after_it_was_read_is_closed() -> None:
    """A deadline had it decoded to its end; the reader stands behind what is left, and must not wait for it."""
    reader = tape_reader([b"0123456789"] * 10)
    reader.catch_up()
    reader.tape.keep_start(25)
    reader.tape.add(b"more", 200)
    reader.close()
    assert reader.catch_up()


# --- the configuration


def config(tmp_path: Path, **bounds: Any) -> Config:
    plain = {
        "gateways": {"g": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "models": ["m"],
        "prompts": ["Hi"],
        "bounds": bounds,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(plain))
    return load_config(path)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("64MB", 64_000_000),
        ("256KiB", 262_144),
        ("1.5 MiB", 1_572_864),
        ("2gb", 2_000_000_000),
        ("4096B", 4_096),
        ("5000", 5_000),
        (1_024, 1_024),
    ],
)
def test_sizes(tmp_path: Path, written: object, size: int) -> None:
    """With a unit, or in bytes."""
    assert config(tmp_path, stream_bytes=written).bounds.stream_bytes == size


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        (
            "line_bytes",
            "1 MX",
            Wrong(
                "bounds.line_bytes",
                "'1 MX'",
                2,
                accepted="bytes from 1024 to 1 TiB, as a number or a size such as 256KiB, 64MB",
            ),
        ),
        ("line_bytes", 100, Wrong("bounds.line_bytes", "100", 2)),
        ("stream_bytes", "9000GB", Wrong("bounds.stream_bytes", "'9000GB'", 2, names=("1099511627776",))),
        ("head_bytes", True, Wrong("bounds.head_bytes", "true", 2)),
        ("chunks", 0, Wrong("bounds.chunks", "0", 2, accepted="a whole number from 1 to 10000000")),
        ("text_chars", -1, Wrong("bounds.text_chars", "-1", 2, accepted="characters: a whole number, 1 or more")),
        ("lines", 5, Wrong("bounds.lines", None, 2, names=("`line_bytes`",))),
    ],
)
def test_a_bad_bound_is_told(tmp_path: Path, key: str, value: object, wrong: Wrong) -> None:
    """The key, what was found, and what is accepted."""
    with pytest.raises(ConfigError) as error:
        config(tmp_path, **{key: value})
    the_problem(error.value.problems, wrong._replace(file="run.yaml"))


def test_the_runs_header_has_them(tmp_path: Path) -> None:
    """A record that says `too_large` can be read with the limit that was passed."""
    assert config(tmp_path, chunks=7).masked()["bounds"]["chunks"] == 7
