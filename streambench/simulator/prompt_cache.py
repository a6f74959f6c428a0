"""A simulated prompt cache, which compares whole messages from the start of the prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from streambench.simulator.request_parser import Json, tokens_of

MOST = 50_000
"""Maximum number of stored prefixes, over all models; above it the cache is cleared."""


class PromptCache:
    """Stores every prefix of every request that a model with a cache was sent."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, bytes]] = set()

    def take(self, model: str, messages: Sequence[Json]) -> int:
        """Returns the tokens of the longest prefix that this model was sent before, and stores all prefixes."""
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
    """Yields the digest of each prefix: the first message, the first two, and so on."""
    running = hashlib.blake2b(digest_size=16)
    for message in messages:
        running.update(msgspec.json.encode(message, order="deterministic"))
        yield running.digest()
