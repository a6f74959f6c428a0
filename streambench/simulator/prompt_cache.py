"""Which prompts a model has read before: a simulated prompt cache, by whole messages from the start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from streambench.simulator.requests import Json, tokens_of

MOST = 50_000
"""Beginnings that are remembered, over all models; above it the cache starts anew."""


class PromptCache:
    """Remembers every beginning of every request that a model with a cache was sent."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, bytes]] = set()

    def take(self, model: str, messages: Sequence[Json]) -> int:
        """Tokens of the longest beginning that this model was sent before; from now on it knows all of them."""
        cached = 0
        tokens = 0
        if len(self._seen) > MOST:
            self._seen.clear()
        for message, digest in zip(messages, _digests(messages), strict=True):
            tokens += tokens_of(message)
            if (model, digest) in self._seen:
                cached = tokens
            self._seen.add((model, digest))
        return cached


def _digests(messages: Sequence[Json]) -> Iterator[bytes]:
    """Of each beginning: one message, two, and so on."""
    running = hashlib.blake2b(digest_size=16)
    for message in messages:
        running.update(msgspec.json.encode(message, order="deterministic"))
        yield running.digest()
