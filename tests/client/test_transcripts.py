"""Bodies recorded from real gateways, decoded: the counts that their index states, whatever the cut."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterable, Mapping

import pytest
from home import ROOT

from streambench.client.decode.stream import StreamDecoder

FOLDER = ROOT / "tests" / "transcripts"

with (FOLDER / "INDEX.tsv").open(encoding="utf-8", newline="") as index:
    ROWS: Mapping[str, Mapping[str, str]] = {row["name"]: row for row in csv.DictReader(index, delimiter="\t")}

# Put together here, so that this file does not hold what it looks for.
SECRETS = ("sk-" + r"\w{8}", "hf_" + r"\w{8}", r"bearer\s+" + r"\S{4}", "set-" + "cookie:")


def body_of(name: str) -> bytes:
    return (FOLDER / f"{name}.sse").read_bytes()


def decoded(pieces: Iterable[bytes]) -> StreamDecoder:
    """Fed these pieces, as if all had come at once: whole or in pieces, the arrivals are the same."""
    decoder = StreamDecoder(keep_text=True)
    for piece in pieces:
        decoder.feed(piece, 0, 0)
    decoder.close(0, 0)
    return decoder


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def facts(decoder: StreamDecoder) -> dict[str, object]:
    """All that a decoder knows."""
    unread = {"_reader", "_text", "_reasoning"}
    known = {name: value for name, value in vars(decoder).items() if name not in unread}
    return {**known, "text": decoder.text(), "reasoning": decoder.reasoning_text(), "comments": decoder.comments}


UNCOUNTED = {"name", "http", "curl_exit", "kind", "events", "usage_choices"}
"""Columns that no count of the decoder states; `events` has a test of its own."""

STREAMS = [name for name, row in ROWS.items() if row["kind"] == "sse"]


def test_the_index_lists_every_body() -> None:
    """A body without a row would go untested."""
    assert {file.stem for file in FOLDER.glob("*.sse")} == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_the_counts_are_those_of_the_index(name: str) -> None:
    """Chunks by kind, finish, usage, end, error and bad JSON; where a body is no stream, nothing."""
    row, decoder = ROWS[name], decoded([body_of(name)])
    kind = decoder.timeline().kind
    assert {
        "content_chunks": str(kind.count("c")),
        "tool_chunks": str(kind.count("f")),
        "reasoning_chunks": str(kind.count("t")),
        "finish": decoder.finish_reason or "-",
        "usage_completion": str(decoder.usage.output) if decoder.usage else "-",
        "done": "DONE" if decoder.done else "no-DONE" if row["kind"] == "sse" else "-",
        "error_event": "err-event" if decoder.error_frame else "-",
        "bad_json": str(decoder.malformed),
    } == {column: row[column].split(",")[0] for column in row if column not in UNCOUNTED}


@pytest.mark.parametrize("name", STREAMS)
def test_every_event_is_a_chunk_an_error_the_end_or_malformed(name: str) -> None:
    """None is lost: the index counted the `data:` lines."""
    decoder = decoded([body_of(name)])
    taken = len(decoder.timeline().kind) + decoder.malformed + decoder.done + (decoder.error_frame is not None)
    assert str(taken) == ROWS[name]["events"]


@pytest.mark.parametrize("name", STREAMS)
def test_any_cut_gives_the_same_facts(name: str) -> None:
    """Cut at every byte, at every few, and at 20 random places."""
    body = body_of(name)
    draw = random.Random(name)
    pairs = [(body[:at], body[at:]) for at in draw.sample(range(len(body)), 20)]
    whole = facts(decoded([body]))
    for pieces in [*(cut(body, size) for size in (1, 2, 3, 7, 61, 997)), *pairs]:
        assert facts(decoded(pieces)) == whole


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("end", [b"\r\n", b"\r"], ids=["CRLF", "CR"])
def test_line_ends_do_not_matter(name: str, end: bytes) -> None:
    """The same stream as a gateway with other habits would have sent it, byte by byte."""
    body = body_of(name)
    assert facts(decoded(cut(body.replace(b"\n", end), 1))) == facts(decoded([body]))


def test_no_transcript_holds_a_secret() -> None:
    """Keys, tokens and cookies do not belong into a repository, not even a test server's."""
    secret = re.compile("|".join(SECRETS), re.IGNORECASE)
    texts = {file.name: file.read_text("utf-8", "replace") for file in FOLDER.rglob("*.*") if file.is_file()}
    assert [name for name, text in texts.items() if secret.search(text)] == []
