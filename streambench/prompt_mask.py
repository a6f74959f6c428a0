"""Takes a prompt's words out of what others say: gateways like to echo a request inside their error messages. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

MASK = "[prompt]"
WINDOW = 16
"""Characters in a row that, found again, are taken for the prompt's own."""
SHORTEST = 4
"""A text shorter than this tells nothing, and hiding it would shred any message."""


class PromptMask:
    """Hides whole texts, and any `WINDOW` characters in a row of them, as they are or as JSON escapes them.

    Linear in the texts and in the message.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        kept = {form for text in texts if len(text) >= SHORTEST for form in (text, json.dumps(text)[1:-1])}
        self._short = sorted((text for text in kept if len(text) < WINDOW), key=len, reverse=True)
        self._windows = frozenset(window for text in kept for window in _windows(text))

    def hide(self, message: str) -> str:
        """The message with everything that it took from the texts replaced by `[prompt]`."""
        hidden = self._hide_windows(message)
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
