"""Takes a prompt's words out of what others say: gateways like to echo a request inside their error messages. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

MASK = "[prompt]"
WINDOW = 16
"""Characters in a row that, found again, are taken for the prompt's own."""
SHORTEST = 4
"""A text shorter than this tells nothing, and hiding it would shred any message."""


LONGEST = 16_384
"""Of a longer attachment no windows are kept: an image would have millions."""

_BASE64 = re.compile(rf"(?:data:[\w/.+-]{{0,100}};base64,)?(?=[a-z0-9+/=]{{0,400}}[A-Z])[A-Za-z0-9+/=]{{{WINDOW},}}")
"""A run with no capital is a path or a number of digits; base64 so long without one is one in five thousand."""


class PromptMask:
    """Hides whole texts, and any `WINDOW` characters in a row of them, as they are or as JSON escapes them.

    `attached` is what goes beside the texts, such as the bytes of images: a short one is hidden like a text, and with a
    long one everything that looks like base64. Linear in the texts and in the message.
    """

    def __init__(self, texts: Iterable[str], attached: Iterable[str] = ()) -> None:
        beside = [text for text in attached if len(text) >= WINDOW]
        texts = [*texts, *(text for text in beside if len(text) <= LONGEST)]
        self._hides_base64 = len(beside) > 0 and max(map(len, beside)) > LONGEST
        kept = {form for text in texts if len(text) >= SHORTEST for form in (text, json.dumps(text)[1:-1])}
        self._short = sorted((text for text in kept if len(text) < WINDOW), key=len, reverse=True)
        self._windows = frozenset(window for text in kept for window in _windows(text))

    def hide(self, message: str) -> str:
        """The message with everything that it took from the texts replaced by `[prompt]`."""
        hidden = _BASE64.sub(MASK, message) if self._hides_base64 else message
        hidden = self._hide_windows(hidden)
        for text in self._short:
            hidden = hidden.replace(text, MASK)
        return hidden

    def _hide_windows(self, message: str) -> str:
        parts: list[str] = []
        end = 0  # of what is done with
        for start in range(len(message) - WINDOW + 1):
            if message[start : start + WINDOW] in self._windows:
                if start > end or not parts:
                    parts += [message[end:start], MASK]
                end = start + WINDOW
        return "".join([*parts, message[end:]])


def _windows(text: str) -> Iterable[str]:
    return (text[start : start + WINDOW] for start in range(len(text) - WINDOW + 1))
