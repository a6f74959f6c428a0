"""One question that only some runs raise, and its answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One question and its answer: whole sentences, with models by the names they are shown by."""

    question: str
    answer: str
