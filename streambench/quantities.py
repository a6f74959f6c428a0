"""Types for numbers, durations and sizes in settings, and `setting`, with which a dataclass declares a setting.

The settings that a config file has and that the rules of a run read are plain dataclasses, so that each field and its
default are written once. Pydantic validates them when it loads a config: it calls `Parsed` and reads the limits and
the description that `setting` puts into a field's metadata. This module does not import pydantic, so a rule that reads
a setting does not load it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from streambench.documents import duration_s

YEAR_S = 366 * 86_400
NO_OTHER_KEYS: Any = {"extra": "forbid"}
"""The `__pydantic_config__` of every dataclass of settings: an unknown key is an error."""

_SIZE = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>[KMG]i?B|B)", re.ASCII | re.IGNORECASE)
_LONGEST_SIZE = 200
_DURATION_FORM = r"^\s*(\d+(\.\d+)?\s*(h|m|s|ms)\s*)+$"
_SIZE_FORM = r"^\s*\d+(\.\d+)?\s*([kKmMgG][iI]?)?[bB]\s*$"
"""What `seconds` and `size` accept, as patterns for the JSON Schema, which cannot use Python's named groups."""
_UNIT_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def setting(default: Any, accepted: str, **limits: Any) -> Any:
    """Returns a dataclass field for a setting.

    `accepted` is what an error message says to write; `limits` are those of pydantic's Field (`ge`, `gt`, `le`, `lt`,
    `min_length`, `validation_alias`).
    """
    return field(default=default, metadata={"description": accepted, **limits})


def required_setting(accepted: str, **limits: Any) -> Any:
    """Returns a dataclass field for a setting without a default; otherwise as `setting`."""
    return field(metadata={"description": accepted, **limits})


@dataclass(frozen=True, slots=True, eq=False)  # typing hashes what annotates a type
class Parsed:
    """Annotates a type with the function that parses a value of the config file before pydantic validates it."""

    parse: Callable[[Any], Any]
    json_schema: Mapping[str, Any] | None = None
    """The type's JSON Schema, if the type accepts more than its own schema says."""
    finite: bool = False
    """True if the number must not be infinite or NaN; needed only for a type without an upper limit."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Returns the schema of `source`, validated after `parse`. Called by pydantic."""
        from pydantic_core import core_schema

        finite = {"allow_inf_nan": False} if self.finite else {}
        return core_schema.no_info_before_validator_function(self.parse, {**handler(source), **finite})

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], Any]) -> Any:
        """Returns the JSON Schema. Called by pydantic."""
        return handler(schema) if self.json_schema is None else dict(self.json_schema)


def not_bool(value: Any) -> Any:
    """Returns the value. Raises ValueError for a bool, which Python would accept as the number 0 or 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  pydantic turns ValueError, not TypeError, into a problem
    return value


def seconds(value: Any) -> Any:
    """Returns the seconds in `10m`, `90s`, `1h30m` or `500ms`; any other value unchanged, for the number's own check.

    Raises ValueError for a bool.
    """
    value = not_bool(value)
    duration = duration_s(value) if isinstance(value, str) else None
    return value if duration is None else duration


def size(value: Any) -> Any:
    """Returns the bytes in `64MB`, `256KiB` or `1.5 GiB`; any other value unchanged, for the number's own check.

    Raises ValueError for a bool.
    """
    value = not_bool(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST_SIZE else None
    return value if match is None else round(float(match["amount"]) * _UNIT_BYTES[match["unit"].lower()])


def _number_or_text(form: str, **limits: float) -> dict[str, Any]:
    """Returns the JSON Schema of a number within `limits` or a text that matches the pattern `form`."""
    return {"anyOf": [{"type": "number", **limits}, {"type": "string", "pattern": form}]}


Whole = Annotated[int, Parsed(not_bool)]
Number = Annotated[float, Parsed(not_bool, finite=True)]
Seconds = Annotated[
    float,
    Parsed(seconds, _number_or_text(_DURATION_FORM, exclusiveMinimum=0, maximum=YEAR_S)),
    Gt(0),
    Le(YEAR_S),
]
Bytes = Annotated[int, Parsed(size, _number_or_text(_SIZE_FORM, minimum=1_024, maximum=2**40)), Ge(1_024), Le(2**40)]

SECONDS = "seconds above 0, as a number or a duration such as 500ms, 90s, 10m, 1h30m"
BYTES = "bytes from 1024 to 1 TiB, as a number or a size such as 256KiB, 64MB"
SWITCH = "true or false"
COUNT = "a whole number, 1 or more"
"""What error messages say to write for these types."""
