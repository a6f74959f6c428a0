"""Seeds, and what the truth log says."""

from __future__ import annotations

import select
from typing import Any

import pytest

from streambench.clock import NS, MonotonicClock

from .client import Client, Start

MODELS = """
models:
  even: {ttft_ms: 60, gap_ms: 20, tokens: 8}
  random: {ttft_ms: {uniform: [5, 50]}, gap_ms: {exponential: {mean: 2}}, tokens: {uniform: [3, 12]}}
  other: {ttft_ms: {uniform: [5, 50]}, gap_ms: {exponential: {mean: 2}}, tokens: {uniform: [3, 12]}}
"""


def story(client: Client, model: str, text: str) -> tuple[str, float]:
    reply = client.stream(model, text)
    return reply.text(), client.truth_of(reply.headers["x-request-id"])["ttft_ms"]


def test_the_same_seed_tells_the_same_story(start: Start) -> None:
    """Texts and delays depend on seed, model, messages and count, not on the order of arrival."""
    first, second = start(MODELS, seed=7), start(MODELS, seed=7)
    asked = [("random", "a"), ("random", "a"), ("random", "b"), ("other", "a")]
    forward = {(key, at): story(first, *key) for at, key in enumerate(asked)}
    shuffled = [2, 0, 3, 1]
    again = {(asked[at], at): story(second, *asked[at]) for at in shuffled}
    assert again == forward


def test_repeats_and_models_differ(start: Start) -> None:
    """A repeat draws anew, and so does another model with the same keys."""
    client = start(MODELS, seed=7)
    stories = [story(client, "random", "a"), story(client, "random", "a"), story(client, "other", "a")]
    assert len(set(stories)) == 3


def test_another_seed_tells_another_story(start: Start) -> None:
    """Seeds 1 and 2."""
    assert story(start(MODELS, seed=1), "random", "a") != story(start(MODELS, seed=2), "random", "a")


@pytest.fixture(scope="module")
def even(start: Start) -> tuple[dict[str, Any], list[tuple[int, bytes]]]:
    """One stream's truth, and its reads with the instant of each."""
    client = start(MODELS)
    now_ns = MonotonicClock().now_ns
    sock = client.raw_stream("even")
    reads: list[tuple[int, bytes]] = []
    while not (reads and reads[-1][1].endswith(b"0\r\n\r\n")):
        select.select([sock], [], [])
        data = sock.recv(65536)
        reads.append((now_ns(), data))
    sock.close()
    client.process.stop()
    return client.truths()[0], reads


def test_the_truth_agrees_with_the_arrival(even: tuple[dict[str, Any], list[tuple[int, bytes]]]) -> None:
    """Each content chunk arrives after its write began, and within a second."""
    truth, reads = even
    arrived = [at for at, data in reads if b'"delta":{"content":"' in data and b"role" not in data]
    written = [write[0] for write, kind in zip(truth["writes"], truth["kinds"], strict=False) if kind == "c"]
    assert len(arrived) == len(written) == 8
    assert all(before < at < before + NS for before, at in zip(written, arrived, strict=True))


def test_no_write_is_early(even: tuple[dict[str, Any], list[tuple[int, bytes]]]) -> None:
    """Chunk k is due 60 + 20 k ms after the request."""
    truth, _ = even
    written = [write[0] for write, kind in zip(truth["writes"], truth["kinds"], strict=False) if kind == "c"]
    assert all(at - truth["received_ns"] >= (60 + 20 * k) * 1_000_000 for k, at in enumerate(written))


def test_a_truth_line_is_whole(even: tuple[dict[str, Any], list[tuple[int, bytes]]]) -> None:
    """Kinds for every chunk, counted in the writes; instants in order."""
    truth, _ = even
    assert truth["kinds"] == "rccccccccod"
    assert sum(chunks for _, _, chunks in truth["writes"]) == len(truth["kinds"])
    instants = [truth["received_ns"], truth["headers_ns"], *(at for write in truth["writes"] for at in write[:2])]
    assert instants == sorted(instants)
    assert (truth["end"], truth["fault"], truth["ttft_ms"], truth["status"]) == ("complete", None, 60.0, 200)
