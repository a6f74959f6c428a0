"""Checks whether a text is JSON and conforms to the JSON Schema of the request, with the library `jsonschema`.

A violation is certain, but a pass is not: keywords on which libraries differ (`pattern`) are not checked, and checks
that take too long have no result. Nothing is fetched from the network. `client/decode/tool_calls` and
`client/decode/json_answer` call this module. The reasons quote the schema and never the text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

STEPS_LIMIT = 2_000
"""Keywords that are evaluated for the calls of one stream: about 10 ms, during which nothing else runs."""
NODES_LIMIT = 5_000
"""Values in a schema; YAML aliases can turn a few lines into many values."""
DEPTH_LIMIT = 64
"""Nested levels in a schema."""
UNIQUE_LIMIT = 200
"""Items of an array for `uniqueItems`, which compares every pair of them."""
QUOTE_LIMIT = 60
"""Characters of a schema's value that a reason quotes."""

NOT_CHECKED = "the declared schema cannot be used, so the value was not checked"
TOO_MUCH = f"more than {STEPS_LIMIT:,} steps to check against the declared schema: not judged"

TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
"""The values that `type` accepts."""

_UNSURE_BESIDE_PATTERNS = frozenset({"not", "if", "oneOf", "maxContains"})
"""Keywords that can turn a pass into a violation if a `pattern` below them is not evaluated."""

_WORDS: Mapping[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}

Checked = tuple[bool | None, str | None]
"""True if the value conforms, False if not, None if not checked; then the reason, or None if it conforms."""


@dataclass(slots=True)
class StepBudget:
    """The steps left of `STEPS_LIMIT`; all calls of a stream share them."""

    left: int = STEPS_LIMIT

    def take(self) -> None:
        """Uses one step. Raises TimeoutError if no step is left."""
        self.left -= 1
        if self.left < 0:
            raise TimeoutError


def check(value: Any, schema: Any, steps: StepBudget) -> Checked:
    """Checks whether a JSON value conforms to a schema. Never raises, whatever the value and the schema are."""
    compiled = _compiled_once(schema)
    if compiled is None:
        return None, NOT_CHECKED
    try:
        why = compiled.broken_by(value, steps)
    except TimeoutError:
        return None, TOO_MUCH
    except Exception:  # noqa: BLE001  # for example an endless or remote $ref: no schema may end the run
        return None, NOT_CHECKED
    return why is None, why


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """A fault of a schema: its path, the value there, and the types that are accepted if the type is wrong."""

    path: tuple[str | int, ...]
    value: Any
    types: tuple[str, ...] = ()


def schema_fault(schema: Any) -> SchemaFault | None:
    """Returns the most relevant fault of a JSON Schema, by the draft that it names; None if no fault is certain."""
    try:
        if sum(1 for _ in islice(_nodes(schema, DEPTH_LIMIT), NODES_LIMIT + 1)) > NODES_LIMIT:
            return None
        return _fault_of(json.dumps(schema, allow_nan=False))
    except Exception:  # noqa: BLE001  # too deep, or not JSON: not checked, so not refused
        return None


def _fault_of(text: str) -> SchemaFault | None:
    from jsonschema import FormatChecker, SchemaError

    schema = json.loads(text)
    draft = _draft_of(schema)
    if draft is None:
        return None
    try:
        # No format checks: a `pattern` may be in another regex dialect.
        draft.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        stated: Any = error.validator_value if error.validator == "type" else []
        types = (stated,) if isinstance(stated, str) else tuple(stated)
        return SchemaFault(tuple(error.absolute_path), error.instance, types)
    return None


@dataclass(frozen=True, slots=True)
class ReadText:
    """A model's text, read as JSON. `whole`: True if all of it was read as one JSON value. `checked`: see Checked."""

    whole: bool
    checked: Checked


def judge_text(text: str, schema: Any, steps: StepBudget, *, any_value: bool = False) -> ReadText:
    """Reads a text as JSON and checks it against the schema, if there is one.

    The value must be an object, unless `any_value` is True.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        return ReadText(whole=False, checked=(False, f"invalid JSON at character {error.pos} of {len(text)}"))
    except _NoJsonError:
        return ReadText(whole=False, checked=(False, f"invalid JSON (NaN or Infinity) in {len(text)} characters"))
    except (ValueError, RecursionError):  # perhaps JSON, but with more digits or levels than Python reads
        why = f"{len(text)} characters with more levels or digits than can be read: not judged"
        return ReadText(whole=False, checked=(None, why))
    if not any_value and not isinstance(value, dict):
        return ReadText(whole=True, checked=(False, f"{word(value)}, not an object"))
    return ReadText(whole=True, checked=(True, None) if schema is None else check(value, schema, steps))


def prepare(schema: Any) -> None:
    """Compiles a schema ahead, so that no stream has to wait for it: loading the library alone takes 0.1 s or more."""
    _compiled_once(schema)


def word(value: Any) -> str:
    """Returns a JSON value's type in words: `an object`, `null`."""
    return _WORDS.get(type(value), type(value).__name__)


class _NoJsonError(ValueError):
    """Python reads the value, but it is not JSON."""


def _no_constant(name: str) -> Any:
    raise _NoJsonError(name)  # NaN and Infinity


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e999 is valid JSON, but Python reads it as infinity
        raise ValueError(text)
    return value


# --- schemas ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Counter:
    """Takes one of the current value's steps for each keyword that is evaluated."""

    steps: StepBudget

    def counted(self, keyword: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            self.steps.take()
            return keyword(*arguments)

        return count


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A schema ready for checks. Two threads must not use it at once: they would share its counter."""

    validator: Validator
    counter: _Counter
    names: frozenset[str]
    """Names of the schema's properties, at every level: a reason shows only these names in a path."""

    def broken_by(self, value: Any, steps: StepBudget) -> str | None:
        self.counter.steps = steps
        error = next(iter(self.validator.iter_errors(value)), None)
        return None if error is None else _error_text(error, self.names)


def _compiled_once(schema: Any) -> _Compiled | None:
    """Returns the compiled schema; None if it is not a usable schema."""
    if not isinstance(schema, Mapping):
        return None
    try:
        if sum(1 for _ in islice(_nodes(schema, DEPTH_LIMIT), NODES_LIMIT + 1)) > NODES_LIMIT:
            return None
        return _compiled(json.dumps(schema, allow_nan=False))
    except Exception:  # noqa: BLE001  # whatever the error, the schema is not usable
        return None


def _nodes(value: Any, depth: int) -> Iterator[Any]:
    """Yields the value and every value inside it; lazily, since a YAML alias may form a cycle.

    Raises ValueError for more than `depth` levels, or a key that is not text.
    """
    if not depth:
        raise ValueError("too deep")
    yield value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key that is not text")
        for inner in value.values():
            yield from _nodes(inner, depth - 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _nodes(inner, depth - 1)


@lru_cache(maxsize=256)
def _compiled(text: str) -> _Compiled | None:
    from jsonschema import validators  # imported here, as most runs declare no tools
    from referencing import Registry

    schema = json.loads(text)
    draft = _draft_of(schema)
    if draft is None or not _sure(schema):
        return None
    draft.check_schema(schema)
    counter = _Counter(StepBudget())
    own = {"pattern": _nothing, "multipleOf": _multiple_of, "uniqueItems": _unique(draft.VALIDATORS["uniqueItems"])}
    keywords = {name: counter.counted(keyword) for name, keyword in {**draft.VALIDATORS, **own}.items()}
    extend: Any = validators.extend  # the library has no type for it
    return _Compiled(extend(draft, keywords)(schema, registry=Registry()), counter, frozenset(_property_names(schema)))


def _draft_of(schema: Any) -> Any:
    """Returns the validator of the draft that a schema names, 2020-12 if it names none.

    None for draft 3 and earlier, and for unknown drafts.
    """
    from jsonschema import validators

    if "$schema" not in schema:
        return validators.Draft202012Validator
    draft: Any = validators.validator_for(schema, default=validators.Draft3Validator)
    return None if draft is validators.Draft3Validator else draft  # in the first drafts keywords have other meanings


def _sure(schema: Any) -> bool:
    """True if violations are certain although patterns are not evaluated: their regex dialect is not Python's.

    A property with the name of such a keyword counts as the keyword: the schema is then not checked, which is safe.
    """
    words = {name for each in _nodes(schema, DEPTH_LIMIT) if isinstance(each, dict) for name in each}
    return "patternProperties" not in words and ("pattern" not in words or words.isdisjoint(_UNSURE_BESIDE_PATTERNS))


def _property_names(schema: Any) -> Iterator[str]:
    for each in _nodes(schema, DEPTH_LIMIT):
        if isinstance(each, dict) and isinstance(each.get("properties"), dict):
            yield from each["properties"]


# --- keywords ---------------------------------------------------------------------------------------------------------


def _nothing(*_: Any) -> None:
    """Replaces the check of `pattern`: accepts every value."""


def _multiple_of(validator: Validator, factor: float, value: Any, _: Any) -> Iterator[ValidationError]:
    """Checks `multipleOf` with the decimals as written: as floats, 19.99 is not a multiple of 0.01."""
    from jsonschema.exceptions import ValidationError

    if validator.is_type(value, "number") and (Fraction(repr(value)) / Fraction(repr(factor))).denominator != 1:
        yield ValidationError("not a multiple")


def _unique(keyword: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the check of `uniqueItems` for up to UNIQUE_LIMIT items; it raises TimeoutError for more."""

    def bounded(validator: Validator, wanted: Any, value: Any, schema: Any) -> Any:
        if isinstance(value, list) and len(value) > UNIQUE_LIMIT:
            raise TimeoutError
        return keyword(validator, wanted, value, schema)

    return bounded


# --- reasons ----------------------------------------------------------------------------------------------------------


def _error_text(error: ValidationError, names: frozenset[str]) -> str:
    """Returns the reason in the schema's words: the library's message quotes the value, which is the model's text."""
    path = "".join(_step(part, names) for part in error.absolute_path).removeprefix(".")
    place = f"`{path}`" if path else "the value"
    stated: Any = error.validator_value
    if error.validator == "required":
        held: Any = error.instance
        missing = next(name for name in stated if name not in held)
        return f"`{path}.{missing}` is missing" if path else f"`{missing}` is missing"
    if error.validator == "type":
        return f"{place} is {word(error.instance)}, not {' or '.join([stated] if isinstance(stated, str) else stated)}"
    if error.validator == "enum":
        return f"{place} is not one of the {len(stated)} choices"
    if error.validator is None:  # a schema that is `false`: the library names no place
        return "there is a value where the schema allows none"
    return f"{place} violates `{error.validator}{_quoted(stated)}`"


def _step(part: str | int, names: frozenset[str]) -> str:
    """Returns one step of a path. A name that is not in the schema's `properties` is the model's text, shown as `*`."""
    if isinstance(part, int):
        return "[]"
    return f".{part}" if part in names else ".*"


def _quoted(stated: Any) -> str:
    """Returns the keyword's value if it is short; "" for a list, a mapping or a longer value."""
    text = "" if isinstance(stated, dict | list) else json.dumps(stated, ensure_ascii=False)
    return f": {text}" if text and len(text) <= QUOTE_LIMIT else ""
