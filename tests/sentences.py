"""Reads a sentence without repeating its words, so that rewording it breaks only the test that keeps the words."""

from __future__ import annotations

import re

_LEVEL = re.compile(r"\b95 %")
_NUMBER = re.compile(r"(?<![\w.,])[-+]?\d(?:[\d,]*\d)?(?:\.\d+)?")


def numbers_in(text: str) -> list[float]:
    """Returns the numbers of a text in their order, without the level of its intervals (95 %)."""
    return [float(found.replace(",", "")) for found in _NUMBER.findall(_LEVEL.sub("", text))]


def words_of(text: str) -> str:
    """Returns the text without its numbers: two sentences with other words say something else."""
    return " ".join(_NUMBER.sub("", text).split())
