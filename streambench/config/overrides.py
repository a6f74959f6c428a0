"""`--set load.concurrency=16`: changes to the config's data before anything is checked.

On the way: load.py applies them to the Draft. A list's item goes by its position, or by its alias, model or id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streambench.config.draft import Draft
from streambench.documents import KeyPath, dotted, nearest, parse_yaml, shown
from streambench.errors import InputError, Problem
from streambench.secrets import clean

OPTION = "--set"
_FORM = "key=value, as in load.concurrency=16"
_TEXT_KEYS = {"models": "model", "prompts": "text"}
"""Lists whose items may be a plain text, and the key that the text stands for."""


class _NoPlace(Exception):
    """The key leads nowhere; `accepted` says where it could."""

    def __init__(self, message: str, accepted: str | None = None) -> None:
        super().__init__(message)
        self.accepted = accepted


def apply_overrides(draft: Draft, overrides: Sequence[str]) -> None:
    for text in overrides:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not all(key.split(".")):
            _refuse(draft, "is not of the form key=value", found=shown(clean(key)), accepted=_FORM)
            continue
        _apply(draft, key, value)


def _apply(draft: Draft, key: str, value: str) -> None:
    try:
        path = _put(draft.data, key, _value(value))
    except InputError as error:
        _refuse(draft, f"the value {error.problems[0].message}", key, accepted=error.problems[0].accepted)
    except _NoPlace as error:
        _refuse(draft, str(error), key, accepted=error.accepted)
    else:
        draft.origins[path] = OPTION


def _refuse(
    draft: Draft, message: str, key: str | None = None, found: str | None = None, accepted: str | None = None
) -> None:
    """Kept under no path: the value that stands there may have a problem of its own."""
    where = dotted([key]) if key else None
    draft.problems.setdefault((), []).append(Problem(message, OPTION, None, where, found, accepted))


def _value(text: str) -> Any:
    return parse_yaml(text, OPTION).data if text.strip() else None


def _put(data: dict[str, Any], key: str, value: Any) -> KeyPath:
    """Sets the value in place and returns its path. Raises _NoPlace."""
    node: Any = data
    path: KeyPath = ()
    rest: str | None = key
    while rest is not None:
        if path:
            node = _opened(node, path)
        step, rest = _step(node, rest, path)
        path = (*path, step)
        if rest is None:
            node[step] = value
        elif isinstance(node, dict):
            node.setdefault(step, {})
        # Kept for the next turn of the loop, which must be able to replace the child within its parent.
        node = node if rest is None else _Slot(node, step)
    return path


class _Slot:
    """A place in a mapping or list."""

    def __init__(self, parent: Any, step: str | int) -> None:
        self.parent = parent
        self.step = step
