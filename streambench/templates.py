"""`{{name}}` in a prompt, filled from a row: plain substitution, once; no expressions, nothing executed. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from streambench.documents import KeyPath

_TYPED = ("params", "synthetic")
"""Keys below which a text that is one variable becomes the value itself."""
_VARIABLE = re.compile(r"\{\{([^{}\n]{1,200})\}\}")


def variables_in(value: Any, path: KeyPath = ()) -> Iterator[tuple[str, KeyPath]]:
    """The name of each variable in any text of a value, and where it stands."""
    match value:
        case str():
            yield from ((match[1].strip(), path) for match in _VARIABLE.finditer(value))
        case dict():
            for key, inner in value.items():
                yield from variables_in(inner, (*path, key))
        case list():
            for index, inner in enumerate(value):
                yield from variables_in(inner, (*path, index))


def filled(value: Any, row: Mapping[str, Any], *, typed: bool = False) -> Any:
    """The value with each variable replaced in all its texts; what a row brings in is not looked at again.

    `typed`: a text that is one variable and nothing else becomes the row's value itself, a number say. So it is
    below _TYPED. Raises KeyError for a variable that the row does not have.
    """
    match value:
        case str():
            whole = _VARIABLE.fullmatch(value) if typed else None
            return row[whole[1].strip()] if whole else _VARIABLE.sub(lambda found: _text(row[found[1].strip()]), value)
        case dict():
            return {key: filled(inner, row, typed=typed or key in _TYPED) for key, inner in value.items()}
        case list():
            return [filled(inner, row, typed=typed) for inner in value]
    return value


def _text(value: Any) -> str:
    """As JSON writes it, but for texts, which stand without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
