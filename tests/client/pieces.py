"""Streams cut into pieces."""

from __future__ import annotations


def singly(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]
