"""The corpus replayed, and odd streams by hypothesis: the facts of stream_target.py hold for each.

A longer search, guided by what code it reaches: `make fuzz`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_target import check

from streambench.client.decode.known_fields import RESPONSES_EVENTS
from streambench.workload.api_formats import PATHS, ApiMode

HERE = Path(__file__).resolve().parent
CORPUS = sorted((HERE / "corpus").iterdir())
CORPUS_LIMIT = 300_000

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
ODD = (
    b"\n", b"\r", b"\r\n", b"\n\n", b":", b" ", b"\xef\xbb\xbf", b"data", b"data:", b"data: ", b"event: error", b"id: ",
    b"data: [DONE]", b'{"choices":[{"delta":', b'{"content":"', b'"}', b"}]}", b'"finish_reason":"stop"', b"\\ud83d",
    b"\\ude00", b"\xf0\x9f", b"\x98\x80", b"\x00", b"\xff", b"[[[[", b'"usage":{"total_tokens":', b"1e999", b"-1",
)  # fmt: skip
"""What odd streams are made of."""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=9),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "id", "model", "choices", "delta", "message", "content", "reasoning", "reasoning_content", "refusal", "role",
    "tool_calls", "function_call", "function", "name", "arguments", "index", "finish_reason", "usage", "prompt_tokens",
    "total_tokens", "completion_tokens", "completion_tokens_details", "reasoning_tokens", "cost", "error", "code",
    "type", "text",
)  # fmt: skip
"""Names that mean something somewhere in a chunk; hypothesis puts them where they do and where they do not."""
RESPONSES_MOST = (
    "response.output_text.delta", "response.output_item.added", "response.output_item.done", "response.completed",
    "response.function_call_arguments.delta", "response.incomplete", "error", "x",
)  # fmt: skip
RESPONSES_FIELDS = (
    "item", "delta", "text", "output_index", "response", "role", "output", "content", "summary", "status", "usage",
    "arguments", "name", "call_id", "refusal", "incomplete_details", "id",
)  # fmt: skip
CHUNKISH = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
DELTAS = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS[5:12], CHUNKISH))
CHOICES = st.fixed_dictionaries(
    {}, optional={"index": SCALARS, "delta": DELTAS, "finish_reason": st.sampled_from([None, "stop", "", 7])}
)
CHUNKS = st.fixed_dictionaries(
    {}, optional={"id": SCALARS, "choices": st.lists(CHOICES, max_size=3), "usage": CHUNKISH, "error": CHUNKISH}
)
PLACES = st.lists(st.integers(0, 10_000), max_size=8)


@pytest.mark.parametrize("seed", CORPUS, ids=lambda path: path.stem)
def test_the_facts_hold_for_each_seed(seed: Path) -> None:
    """Real streams with their middle taken out, what was thought up by hand, and whatever once broke something."""
    check(seed.read_bytes())


def test_the_corpus_stays_small() -> None:
    """It is replayed in every run, and cloned by everyone."""
    assert sum(seed.stat().st_size for seed in CORPUS) < CORPUS_LIMIT


@given(st.lists(st.sampled_from(ODD) | st.binary(max_size=6), max_size=40).map(b"".join), PLACES)
def test_the_facts_hold_for_any_bytes(body: bytes, places: list[int]) -> None:
    """Pieces of streams, joined without sense."""
    check(body, places)


@given(st.lists(CHUNKS | CHUNKISH | ANYTHING, max_size=5), LINE_ENDS, PLACES)
def test_the_facts_hold_for_any_json(values: list[object], end: bytes, places: list[int]) -> None:
    """Well-formed frames of chunks whose fields hold anything, or of no chunk at all."""
    frames = (b"data: " + json.dumps(value).encode() + end * 2 for value in values)
    check(b"".join(frames), places)


EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(RESPONSES_EVENTS)[::3]) | st.sampled_from(RESPONSES_MOST)},
    optional=dict.fromkeys(RESPONSES_FIELDS, CHUNKISH),
)
ITEMS = st.fixed_dictionaries({}, optional=dict.fromkeys((*RESPONSES_FIELDS, "type"), CHUNKISH))
WHOLES = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(st.fixed_dictionaries({}, optional={"message": DELTAS, "text": SCALARS}), max_size=3),
        "output": st.lists(ITEMS, max_size=3),
        "status": st.sampled_from(["completed", "incomplete", "failed", 7]),
        "usage": CHUNKISH,
        "error": CHUNKISH,
    },
)


@settings(max_examples=40)
@given(events=st.lists(EVENTS, max_size=5), places=PLACES)
def test_responses_hold(events: list[dict[str, Any]], places: list[int]) -> None:
    """Events of all types with fields of any kind."""
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    check(body, places, ApiMode("responses"))


@settings(max_examples=40)
@given(whole=WHOLES, places=PLACES, api=st.sampled_from(sorted(PATHS)))
def test_whole_answers_hold(whole: dict[str, Any], places: list[int], api: str) -> None:
    """One body, as its own API sends it and as another one does."""
    check(json.dumps(whole).encode(), places, ApiMode(api, streamed=False))


@pytest.mark.parametrize("api", sorted(PATHS))
def test_a_stream_in_place_of_a_whole_answer_holds(api: str) -> None:
    """The first bodies of the corpus, as none of them is an answer."""
    for path in CORPUS[:8]:
        check(path.read_bytes()[:2_000], None, ApiMode(api, streamed=False))
