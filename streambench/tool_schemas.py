"""Whether text is JSON and keeps to the JSON schema that the request sent: by the library `jsonschema`.

A break is certain and a fit is not: what no library judges alike, or in time, is left out. Nothing is ever fetched.
On the way: `tool_calls` and `json_answers` ask; the reasons quote the schema and never the text.
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
"""Keywords that are looked at for the calls of one stream: some 10 ms, in which nothing else runs."""
NODES_LIMIT = 5_000
"""Values in a schema; YAML aliases can make few lines many."""
DEPTH_LIMIT = 64
"""Levels of a schema."""
UNIQUE_LIMIT = 200
"""Items that are compared each with each."""
QUOTE_LIMIT = 60
"""Characters of a schema's value that a reason quotes."""

NOT_CHECKED = "the declared schema is not usable, so it was not checked"
TOO_MUCH = f"more than {STEPS_LIMIT:,} steps to check against the declared schema: not judged"

TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
"""What `type` may say."""

_UNSURE_BESIDE_PATTERNS = frozenset({"not", "if", "oneOf", "maxContains"})
"""Keywords by which a pattern that is not looked at could turn a fit into a break."""

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
"""Fits, breaks or not judged (None); and why, but where it fits."""


@dataclass(slots=True)
class Steps:
    """What is left of `STEPS_LIMIT`; one for all calls of a stream."""

    left: int = STEPS_LIMIT

    def take(self) -> None:
        """Raises TimeoutError where none is left."""
        self.left -= 1
        if self.left < 0:
            raise TimeoutError


def check(value: Any, schema: Any, steps: Steps) -> Checked:
    """Whether a JSON value fits a schema. Never raises, whatever the two are."""
    compiled = _compiled_once(schema)
    if compiled is None:
        return None, NOT_CHECKED
    try:
        why = compiled.broken_by(value, steps)
    except TimeoutError:
        return None, TOO_MUCH
    except Exception:  # noqa: BLE001  # an endless or far $ref, for one: whatever a schema does, the run goes on
        return None, NOT_CHECKED
    return why is None, why


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """Where a schema breaks the rules for schemas, what stands there, and of which types it may be, if that is told."""

    path: tuple[str | int, ...]
    value: Any
    types: tuple[str, ...] = ()


def schema_fault(schema: Any) -> SchemaFault | None:
    """The gravest fault of what should be a JSON Schema, in the draft that it names; None where none is certain."""
    try:
        if sum(1 for _ in islice(_nodes(schema, DEPTH_LIMIT), NODES_LIMIT + 1)) > NODES_LIMIT:
            return None
        return _fault_of(json.dumps(schema, allow_nan=False))
    except Exception:  # noqa: BLE001  # too deep, or of a kind of its own: not checked, so not refused
        return None


def _fault_of(text: str) -> SchemaFault | None:
    from jsonschema import FormatChecker, SchemaError

    schema = json.loads(text)
    draft = _draft_of(schema)
    if draft is None:
        return None
    try:
        draft.check_schema(schema, format_checker=FormatChecker(formats=()))  # a pattern is of another language's
    except SchemaError as error:
        stated: Any = error.validator_value if error.validator == "type" else []
        types = (stated,) if isinstance(stated, str) else tuple(stated)
        return SchemaFault(tuple(error.absolute_path), error.instance, types)
    return None


@dataclass(frozen=True, slots=True)
class ReadText:
    """A model's text, read as JSON: whether it is whole from end to end, and what the schema says of it."""

    whole: bool
    checked: Checked


def judge_text(text: str, schema: Any, steps: Steps, *, any_value: bool = False) -> ReadText:
    """By JSON, and by the schema where there is one. An object is wanted, unless `any_value` is as good."""
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        return ReadText(whole=False, checked=(False, f"no JSON from character {error.pos} of {len(text)} on"))
    except _NoJsonError:
        return ReadText(whole=False, checked=(False, f"no JSON, of {len(text)} characters"))
    except (ValueError, RecursionError):  # JSON perhaps, but with more digits or levels than Python takes
        why = f"{len(text)} characters with more levels or digits than can be read: not judged"
        return ReadText(whole=False, checked=(None, why))
    if not any_value and not isinstance(value, dict):
        return ReadText(whole=True, checked=(False, f"{word(value)}, not an object"))
    return ReadText(whole=True, checked=(True, None) if schema is None else check(value, schema, steps))


def prepare(schema: Any) -> None:
    """Reads a schema ahead, so that no stream has to wait for it: loading the library alone takes 0.1 s and more."""
    _compiled_once(schema)


def word(value: Any) -> str:
    """`an object`, `null`: a JSON value's type in words."""
    return _WORDS.get(type(value), type(value).__name__)


class _NoJsonError(ValueError):
    """Python reads it, JSON does not know it."""


def _no_constant(name: str) -> Any:
    raise _NoJsonError(name)  # NaN and Infinity


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e999 is a number, but not one that could be compared
        raise ValueError(text)
    return value


# --- schemas ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Counter:
    """Takes a step for each keyword that is looked at, of the value at hand."""

    steps: Steps

    def counted(self, keyword: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            self.steps.take()
            return keyword(*arguments)

        return count


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A schema that can be used; not by two threads at once, as they would share its counter."""

    validator: Validator
    counter: _Counter
    names: frozenset[str]
    """Of its properties, at every level: these alone are told of a path."""

    def broken_by(self, value: Any, steps: Steps) -> str | None:
        self.counter.steps = steps
        error = next(iter(self.validator.iter_errors(value)), None)
        return None if error is None else _told(error, self.names)


def _compiled_once(schema: Any) -> _Compiled | None:
    """None for what is no schema, or none that can be used."""
    if not isinstance(schema, Mapping):
        return None
    try:
        if sum(1 for _ in islice(_nodes(schema, DEPTH_LIMIT), NODES_LIMIT + 1)) > NODES_LIMIT:
            return None
        return _compiled(json.dumps(schema, allow_nan=False))
    except Exception:  # noqa: BLE001  # whatever a schema is made of: it is not usable
        return None


def _nodes(value: Any, depth: int) -> Iterator[Any]:
    """Every value inside, as a tree: lazily, since an alias may lead back. Raises ValueError for what is no JSON."""
    if not depth:
        raise ValueError("too deep")
    yield value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key that is no text")
        for inner in value.values():
            yield from _nodes(inner, depth - 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _nodes(inner, depth - 1)


@lru_cache(maxsize=256)
def _compiled(text: str) -> _Compiled | None:
    from jsonschema import validators  # here, as most runs declare no tools
    from referencing import Registry

    schema = json.loads(text)
    draft = _draft_of(schema)
    if draft is None or not _sure(schema):
        return None
    draft.check_schema(schema)
    counter = _Counter(Steps())
    own = {"pattern": _nothing, "multipleOf": _multiple_of, "uniqueItems": _unique(draft.VALIDATORS["uniqueItems"])}
    keywords = {name: counter.counted(keyword) for name, keyword in {**draft.VALIDATORS, **own}.items()}
    extend: Any = validators.extend  # without types in the library
    return _Compiled(extend(draft, keywords)(schema, registry=Registry()), counter, frozenset(_property_names(schema)))


def _draft_of(schema: Any) -> Any:
    """The validator of the draft that a schema names, 2020-12 without a name; None for the first and unknown ones."""
    from jsonschema import validators

    if "$schema" not in schema:
        return validators.Draft202012Validator
    draft: Any = validators.validator_for(schema, default=validators.Draft3Validator)
    return None if draft is validators.Draft3Validator else draft  # of the first drafts words mean other things


def _sure(schema: Any) -> bool:
    """Whether a break stays one when patterns are not looked at: they are of another language's dialect.

    A property of such a name counts as the keyword: then the schema is not checked, which is no harm.
    """
    words = {name for each in _nodes(schema, DEPTH_LIMIT) if isinstance(each, dict) for name in each}
    return "patternProperties" not in words and ("pattern" not in words or words.isdisjoint(_UNSURE_BESIDE_PATTERNS))


def _property_names(schema: Any) -> Iterator[str]:
    for each in _nodes(schema, DEPTH_LIMIT):
        if isinstance(each, dict) and isinstance(each.get("properties"), dict):
            yield from each["properties"]


# --- keywords ---------------------------------------------------------------------------------------------------------


def _nothing(*_: Any) -> None:
    """In the place of `pattern`."""


def _multiple_of(validator: Validator, factor: float, value: Any, _: Any) -> Iterator[ValidationError]:
    """By the decimals as they are written: in floats 19.99 is no multiple of 0.01."""
    from jsonschema.exceptions import ValidationError

    if validator.is_type(value, "number") and (Fraction(repr(value)) / Fraction(repr(factor))).denominator != 1:
        yield ValidationError("no multiple")


def _unique(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(validator: Validator, wanted: Any, value: Any, schema: Any) -> Any:
        if isinstance(value, list) and len(value) > UNIQUE_LIMIT:
            raise TimeoutError
        return keyword(validator, wanted, value, schema)

    return bounded


# --- reasons ----------------------------------------------------------------------------------------------------------


def _told(error: ValidationError, names: frozenset[str]) -> str:
    """In the schema's words. The library's own message quotes the value, which is the model's."""
    path = "".join(_step(part, names) for part in error.absolute_path).removeprefix(".")
    place = f"`{path}`" if path else "it"
    stated: Any = error.validator_value
    if error.validator == "required":
        held: Any = error.instance
        missing = next(name for name in stated if name not in held)
        return f"`{path}.{missing}` is missing" if path else f"`{missing}` is missing"
    if error.validator == "type":
        return f"{place} is {word(error.instance)}, not {' or '.join([stated] if isinstance(stated, str) else stated)}"
    if error.validator == "enum":
        return f"{place} is none of the {len(stated)} choices"
    if error.validator is None:  # of a schema that is `false` the library does not say where
        return "a value stands where none is allowed"
    return f"{place} breaks `{error.validator}{_quoted(stated)}`"


def _step(part: str | int, names: frozenset[str]) -> str:
    """A name that no `properties` of the schema has is the model's own."""
    if isinstance(part, int):
        return "[]"
    return f".{part}" if part in names else ".*"


def _quoted(stated: Any) -> str:
    """What a keyword asks for, where it is short: a schema below it would not be."""
    text = "" if isinstance(stated, dict | list) else json.dumps(stated, ensure_ascii=False)
    return f": {text}" if text and len(text) <= QUOTE_LIMIT else ""
