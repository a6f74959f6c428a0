"""A prompt that comes back inside a message is not kept."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.client.prompt_redaction import MASK, WINDOW, PromptMask

PROMPT = "Summarise the minutes of the harbour board's meeting in three lines."


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"bad request: {PROMPT} is too long", f"bad request: {MASK} is too long"),
        (PROMPT, MASK),
        (f"{PROMPT}{PROMPT}", MASK),
        (f"cut: {PROMPT[:30]}...", f"cut: {MASK}..."),
        (f"from inside: {PROMPT[20:50]}", f"from inside: {MASK}"),
        (f"twice {PROMPT} and {PROMPT[5:40]}!", f"twice {MASK} and {MASK}!"),
        ("nothing of it", "nothing of it"),
        ("", ""),
    ],
)
def test_the_prompts_words_are_hidden(message: str, shown: str) -> None:
    """Whole, cut short, or from its middle."""
    assert PromptMask([PROMPT]).hide(message) == shown


def test_a_short_prompt_is_hidden_whole() -> None:
    """`Say hi.` has 7 characters, fewer than a window."""
    assert PromptMask(["Say hi."]).hide("you said 'Say hi.'") == f"you said '{MASK}'"


def test_a_prompt_escaped_as_json_is_hidden() -> None:
    """Outside ASCII nothing of it would be found otherwise."""
    escaped = "\\u65e5\\u672c\\u8a9e\\u306e\\u8cea\\u554f"
    assert PromptMask(["日本語の質問"]).hide(f'{{"content": "{escaped}"}}') == f'{{"content": "{MASK}"}}'


def test_a_very_short_prompt_is_left() -> None:
    """`a` stands in nearly every message."""
    assert PromptMask(["a"]).hide("a bad day") == "a bad day"


@given(st.text(min_size=WINDOW, max_size=60), st.text(max_size=40), st.text(max_size=40))
def test_no_window_of_the_prompt_is_left(prompt: str, before: str, after: str) -> None:
    """Whatever stands around it."""
    shown = PromptMask([prompt]).hide(before + prompt + after)
    pieces = shown.split(MASK)
    windows = {prompt[i : i + WINDOW] for i in range(len(prompt) - WINDOW + 1)}
    assert not any(window in piece for piece in pieces for window in windows)


def test_the_bytes_of_an_image_are_hidden() -> None:
    """Whole, with their data URL or cut out of the middle; words, paths and ids beside them stay."""
    pixels = base64.b64encode(random.Random(1).randbytes(60_000)).decode()
    mask = PromptMask(["Hi there"], ["auto", f"data:image/png;base64,{pixels}"])
    beside = "id 0123456789abcdef0123, v1/chat/completions"
    told = f"bad image 'data:image/png;base64,{pixels[:80]}' ... {pixels[4_001:4_040]}, {beside}"
    assert mask.hide(told) == f"bad image '{MASK}' ... {MASK}, {beside}"
    assert mask.hide("auto") == "auto"


def test_the_address_of_an_image_is_hidden() -> None:
    """It is as much the prompt's as its words."""
    url = "https://pictures.example/harbour.png"
    assert PromptMask([], [url]).hide(f"cannot load {url}: 404") == f"cannot load {MASK}: 404"
