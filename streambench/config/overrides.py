"""`--set load.concurrency=16`: changes to the config's data before anything is checked.

On the way: load.py applies them to the Draft. A list's item goes by its position, or by its alias, model or id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streambench.config.draft import Draft
from streambench.documents import MAX_DEPTH, KeyPath, dotted, nearest, parse_yaml, shown
from streambench.errors import InputError, Problem
from streambench.secrets import clean

OPTION = "--set"
_FORM = "key=value, as in load.concurrency=16"
_TEXT_KEYS = {"models": "model", "prompts": "text"}
"""Lists whose items may be a plain text, and the key that the text stands for."""
_SHORT = 40


class _PlaceError(Exception):
    """The key leads nowhere; `accepted` says where it could."""

    def __init__(self, message: str, accepted: str | None = None) -> None:
        super().__init__(message)
        self.accepted = accepted


def apply_overrides(draft: Draft, overrides: Sequence[str]) -> None:
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
    """Kept under no path: the value that stands there may have a problem of its own."""
    where = dotted([key]) if key else None
    draft.problems.setdefault((), []).append(Problem(message, OPTION, None, where, found, accepted))


def _value(text: str) -> Any:
    return parse_yaml(text, OPTION).data if text.strip() else None


def _put(node: Any, rest: str, path: KeyPath, value: Any) -> KeyPath:
    """Sets the value in place and returns its path. Raises _PlaceError."""
    step, rest = _step(node, rest, path)
    if not rest:
        node[step] = value
        return (*path, step)
    return _put(_inside(node, step, path), rest, (*path, step), value)


def _step(node: Any, rest: str, path: KeyPath) -> tuple[str | int, str]:
    """The next key or position, and what is left of the dotted key. Names may hold dots: `models.gpt-4.1.params`."""
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
    """The names by which the node's values go. In a list the first of two equal names wins."""
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
    """The mapping or list at a step, made where there is none yet."""
    child = node.get(step) if isinstance(node, dict) else node[step]
    if child is None:
        child = {}
    elif isinstance(child, str) and path and path[-1] in _TEXT_KEYS:
        child = {_TEXT_KEYS[str(path[-1])]: child}
    elif not isinstance(child, dict | list):
        raise _PlaceError(f"`{dotted((*path, step))}` holds a value, not keys")
    node[step] = child
    return child
