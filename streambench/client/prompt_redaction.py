"""Masks a prompt's words in the messages of gateways, which often echo a request in their errors. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

MASK = "[prompt]"
WINDOW = 16
"""A sequence of this many characters that also occurs in the prompt is taken for the prompt's text."""
SHORTEST = 4
"""A text of fewer characters is not masked: it reveals nothing, and masking it would make any message unreadable."""


LONGEST = 16_384
"""Characters. No windows are kept of a longer attachment: an image would have millions."""

_BASE64 = re.compile(rf"(?:data:[\w/.+-]{{0,100}};base64,)?(?=[a-z0-9+/=]{{0,400}}[A-Z])[A-Za-z0-9+/=]{{{WINDOW},}}")
"""Base64 of at least `WINDOW` characters with a capital letter: a run without one is a path or digits.

One in five thousand base64 texts of that length has no capital letter.
"""


class PromptMask:
    """Masks whole texts, and any `WINDOW` consecutive characters of them, both as they are and JSON-escaped.

    `attached` holds a request's strings besides its texts, such as the bytes of images. One of up to `LONGEST`
    characters is masked like a text; if one is longer, everything that looks like base64 is masked. The time is linear
    in the texts and in the message.
    """

    def __init__(self, texts: Iterable[str], attached: Iterable[str] = ()) -> None:
        beside = [text for text in attached if len(text) >= WINDOW]
        texts = [*texts, *(text for text in beside if len(text) <= LONGEST)]
        self._hides_base64 = len(beside) > 0 and max(map(len, beside)) > LONGEST
        kept = {form for text in texts if len(text) >= SHORTEST for form in (text, json.dumps(text)[1:-1])}
        self._short = sorted((text for text in kept if len(text) < WINDOW), key=len, reverse=True)
        self._windows = frozenset(window for text in kept for window in _windows(text))

    def hide(self, message: str) -> str:
        """Returns the message with every part that comes from the texts replaced by `[prompt]`."""
        hidden = _BASE64.sub(MASK, message) if self._hides_base64 else message
        hidden = self._hide_windows(hidden)
        for text in self._short:
            hidden = hidden.replace(text, MASK)
        return hidden

    def _hide_windows(self, message: str) -> str:
        parts: list[str] = []
        end = 0  # of the part that is already processed
        for start in range(len(message) - WINDOW + 1):
            if message[start : start + WINDOW] in self._windows:
                if start > end or not parts:
                    parts += [message[end:start], MASK]
                end = start + WINDOW
        return "".join([*parts, message[end:]])


def _windows(text: str) -> Iterable[str]:
    return (text[start : start + WINDOW] for start in range(len(text) - WINDOW + 1))
