"""Applies overrides such as `--set load.concurrency=16` to the config's data before anything is checked.

A step of load.py over the Draft. A list item is addressed by its position, or by its alias, model or id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streambench.config.draft import Draft
from streambench.documents import MAX_DEPTH, KeyPath, dotted, parse_yaml
from streambench.errors import InputError, Problem
from streambench.redaction import clean
from streambench.text import nearest, shown

OPTION = "--set"
_FORM = "key=value, such as load.concurrency=16"
_TEXT_KEYS = {"models": "model", "prompts": "text"}
"""Lists whose items may be plain texts, and the key that such a text stands for."""
_SHORT = 40
"""Characters: a message does not suggest a longer name."""


class _PlaceError(Exception):
    """The key does not lead to a value; `accepted` says what is accepted instead."""

    def __init__(self, message: str, accepted: str | None = None) -> None:
        super().__init__(message)
        self.accepted = accepted


def apply_overrides(draft: Draft, overrides: Sequence[str]) -> None:
    """Applies each `key=value` text to the Draft; adds a problem for each that cannot be applied."""
    for text in overrides:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not _is_key(key):
            _refuse(draft, "is not of the form key=value", found=shown(clean(key)), accepted=_FORM)
            continue
        _apply(draft, key, value)


def _apply(draft: Draft, key: str, value: str) -> None:
    try:
        path = _put(draft.data, key, (), _value(value))
    except InputError as error:
        _refuse(draft, f"the value {error.problems[0].message}", key, accepted=error.problems[0].accepted)
    except _PlaceError as error:
        _refuse(draft, str(error), key, accepted=error.accepted)
    else:
        draft.origins[path] = OPTION


def _is_key(key: str) -> bool:
    steps = key.split(".")
    return all(steps) and len(steps) <= MAX_DEPTH


def _refuse(
    draft: Draft, message: str, key: str | None = None, found: str | None = None, accepted: str | None = None
) -> None:
    """Adds a problem under the empty path, since the value at the key may have a problem of its own."""
    where = dotted([key]) if key else None
    draft.problems.setdefault((), []).append(Problem(message, OPTION, None, where, found, accepted))


def _value(text: str) -> Any:
    return parse_yaml(text, OPTION).data if text.strip() else None


def _put(node: Any, rest: str, path: KeyPath, value: Any) -> KeyPath:
    """Sets the value in place and returns its path. Raises _PlaceError if the key does not lead to a value."""
    step, rest = _step(node, rest, path)
    if not rest:
        node[step] = value
        return (*path, step)
    return _put(_inside(node, step, path), rest, (*path, step), value)


def _step(node: Any, rest: str, path: KeyPath) -> tuple[str | int, str]:
    """Returns the next key or position, and the rest of the dotted key.

    Names may contain dots: `models.gpt-4.1.params`. Raises _PlaceError if a list has no such item.
    """
    names = _names(node)
    known = [name for name in names if f"{rest}.".startswith(f"{name}.")]
    first, _, after = rest.partition(".")
    if known:
        name = max(known, key=len)
        return names[name], rest[len(name) + 1 :]
    if isinstance(node, dict):
        return first, after
    if first.isdecimal() and first.isascii() and int(first) < len(node):
        return int(first), after
    raise _PlaceError(f"`{dotted(path)}` has no item {shown(first)}{nearest(first, names)}", _positions(node, names))


def _names(node: Any) -> dict[str, str | int]:
    """Returns the key or position of each named value of a node. In a list the first of two equal names counts."""
    if isinstance(node, dict):
        return {name: name for name in node}
    named = [(_name_of(item), index) for index, item in enumerate(node)]
    return {name: index for name, index in reversed(named) if name}


def _name_of(item: Any) -> str | None:
    if isinstance(item, dict):
        item = next((item[key] for key in ("alias", "model", "id") if item.get(key)), None)
    return item if isinstance(item, str) else None


def _positions(node: list[Any], names: Iterable[str]) -> str:
    positions = f"a position from 0 to {len(node) - 1}" if node else "nothing: the list is empty"
    shortest = [name for name in reversed(list(names)) if len(name) <= _SHORT][:5]
    return ", ".join([positions, *shortest])


def _inside(node: Any, step: str | int, path: KeyPath) -> Any:
    """Returns the mapping or list at a step; creates a mapping if there is none.

    Raises _PlaceError if the value there cannot contain keys.
    """
    child = node.get(step) if isinstance(node, dict) else node[step]
    if child is None:
        child = {}
    elif isinstance(child, str) and path and path[-1] in _TEXT_KEYS:
        child = {_TEXT_KEYS[str(path[-1])]: child}
    elif not isinstance(child, dict | list):
        raise _PlaceError(f"`{dotted((*path, step))}` is a single value and has no keys")
    node[step] = child
    return child
