"""Turns schema validation errors into problems in plain words: what is wrong, what was found, what is accepted.

The last step of load.py before it raises. What is accepted comes from the field descriptions in schema.py.
"""

from __future__ import annotations

import re
import types
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from streambench.config.draft import Draft
from streambench.config.schema import FileConfig
from streambench.documents import KeyPath
from streambench.redaction import Secrets, mask_url
from streambench.text import nearest, shown

_SHOWABLE = ("base_url", "proxy", "limits", "models", "include_usage", "http2", "tls", "connections", "on_rate_limit",
             "api")  # fmt: skip
"""Keys of a gateway whose value a message may show. A value under any other key may be a secret."""

_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
"""The errors for an unknown key: of a pydantic model, and of a dataclass."""

_MESSAGES = {
    "missing": "is required",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
    "literal_error": "is not one of the choices",
    "string_type": "must be text",
    "too_short": "must not be empty",
}
_BY_ENDING = {
    "_parsing": "has the wrong type",
    "_type": "has the wrong type",
    "than_equal": "is out of range",
    "_than": "is out of range",
}


def refuse_invalid(draft: Draft, error: ValidationError) -> None:
    """Adds a problem for each validation error, except for values that already have one."""
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        if not draft.is_refused(path) and not _is_echo(detail):
            _refuse(draft, path, detail)


def _is_echo(detail: ErrorDetails) -> bool:
    """True for the second error of a list whose items failed: pydantic also reports `too_short`, which is noise."""
    return detail["type"] == "too_short" and bool(detail["input"])


def _refuse(draft: Draft, path: KeyPath, detail: ErrorDetails) -> None:
    if detail["type"] in _UNKNOWN_KEY:
        known = _keys_at(path[:-1])
        draft.refuse(path, f"unknown key{nearest(str(path[-1]), known)}", accepted=", ".join(known))
        return
    accepted = _accepted(path)
    found = None if detail["type"] == "missing" else _found(draft, path, detail["input"])
    draft.refuse(path, _message(detail), found, accepted)


def _message(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "literal_error" and isinstance(detail["input"], str):
        return _MESSAGES[kind] + nearest(detail["input"], re.findall(r"'(\w+)'", detail["ctx"]["expected"]))
    if kind == "less_than":
        return f"is too large: must be below {detail['ctx']['lt']:.15g}"
    if kind == "less_than_equal":
        return f"is too large: must be at most {detail['ctx']['le']:.15g}"
    by_ending = (text for ending, text in _BY_ENDING.items() if kind.endswith(ending))
    return _MESSAGES.get(kind) or next(by_ending, "is not accepted")


def _found(draft: Draft, path: KeyPath, value: Any) -> str:
    if path in draft.variables:
        return " and ".join(f"the value of ${{{name}}}" for name in draft.variables[path])
    if isinstance(value, str) and _may_be_secret(path):
        return "text"
    if isinstance(value, str):
        return shown(Secrets(draft.secret_values).mask(mask_url(value) if "://" in value else value))
    return shown(value)


def _may_be_secret(path: KeyPath) -> bool:
    if path[0] == "telemetry":
        return len(path) == 1 or path[1] == "headers"
    if path[0] == "models":
        return path[2:3] == ("headers",)
    return path[0] == "gateways" and (len(path) < 3 or path[2] not in _SHOWABLE)


# ---- what the schema accepts


def _accepted(path: KeyPath) -> str | None:
    """Returns the description of the field at a path, or of the nearest field that contains it.

    A part without a description is described by its keys. None if there is neither.
    """
    for length in range(len(path), 0, -1):
        kind, described = _walk(path[:length])
        if described:
            return described
        if _is_model(kind):
            return f"a mapping with the keys {', '.join(_fields(kind))}"
    return None


def _keys_at(path: KeyPath) -> tuple[str, ...]:
    kind, _ = _walk(path)
    return tuple(_fields(kind)) if _is_model(kind) else ()


def _walk(path: KeyPath) -> tuple[Any, str | None]:
    """Returns the schema's type at a path, and the field's description if the path ends at a field."""
    kind: Any = FileConfig
    described: str | None = None
    for part in path:
        kind, described = _step(kind, part)
    return kind, described


def _step(kind: Any, part: str | int) -> tuple[Any, str | None]:
    if _is_model(kind):
        field = _fields(kind).get(str(part))
        return (_unwrapped(field.kind), field.accepted) if field else (None, None)
    inner = get_args(kind)
    if get_origin(kind) is dict:
        return _unwrapped(inner[1]), None
    return (_unwrapped(inner[0]), None) if get_origin(kind) is tuple else (None, None)


@dataclass(frozen=True, slots=True)
class _Field:
    """A key of the file: its type, and what its description says to write."""

    kind: Any
    accepted: str | None


def _fields(kind: Any) -> dict[str, _Field]:
    """Returns the fields of a model or a dataclass of settings, by the names that the file uses."""
    if issubclass(kind, BaseModel):
        known = kind.model_fields.items()
        return {str(one.validation_alias or name): _Field(one.annotation, one.description) for name, one in known}
    kinds = get_type_hints(kind, include_extras=True)
    return {
        str(one.metadata.get("validation_alias") or one.name): _Field(kinds[one.name], one.metadata.get("description"))
        for one in fields(kind)
    }


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind))


def _unwrapped(kind: Any) -> Any:
    """Returns `X` for `X | None` and for `Annotated[X, ...]`."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(arm for arm in get_args(kind) if arm is not type(None))
    return get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
