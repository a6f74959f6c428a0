"""Tool calls put together from their deltas, in bounded memory, and judged: can an agent use what came?

The verdict alone is kept, never the arguments. On the way: `chunks` adds the deltas, the record takes the verdicts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.records import ToolCall

CALLS_LIMIT = 64
"""Calls of one stream that are judged."""
ARGUMENTS_LIMIT = 256 * 1024
"""Characters of arguments that are held at once, over all calls; calls beyond it are not judged."""
NAME_LIMIT = 64
"""As long as OpenAI lets a function's name be."""
WHY_LIMIT = 200
DEPTH_LIMIT = 32
"""Levels of a schema that are looked at."""

LEGACY = -1
"""The index of `function_call`, of which a choice has one."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_WORDS: Mapping[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


@dataclass(slots=True)
class _Call:
    choice: int
    index: int | None
    id: str | None
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    too_long: bool = False


@dataclass(slots=True)
class ToolCalls:
    """The calls of one stream. `schemas` has the parameters' JSON schema of each declared function, by its name."""

    schemas: Mapping[str, Any] = field(default_factory=dict)
    _calls: list[_Call] = field(default_factory=list)
    _held: int = 0

    def add(self, choice: int, index: int | None, call_id: str | None, name: str | None, arguments: str | None) -> None:
        """One delta of the call `index` of a choice."""
        call_id = call_id[:WHY_LIMIT] if call_id else None
        call = self._find(choice, index, call_id, name)
        if call is None:
            return
        call.id = call.id or call_id
        if name and name != call.name:  # some gateways repeat it with every delta
            call.name = (call.name + name)[:NAME_LIMIT]
        if arguments:
            self._append(call, arguments)

    def judged(self) -> tuple[ToolCall, ...]:
        """A verdict a call, in the order in which they began."""
        return tuple(self._judge(call) for call in self._calls)

    def _find(self, choice: int, index: int | None, call_id: str | None, name: str | None) -> _Call | None:
        """The call that a delta goes on with, or a new one; None beyond the limit.

        A second id under one index is a second call: some gateways number all calls 0. Without an index, an id or a
        name begins a call.
        """
        last = self._calls[-1] if self._calls else None
        here = last is not None and index is not None and (last.choice, last.index) == (choice, index)
        if last is not None and here and (not call_id or last.id in (None, call_id)):  # nearly every delta
            return last
        mine = [call for call in self._calls if call.choice == choice and index in (None, call.index)]
        same = next((call for call in mine if call_id and call.id == call_id), None)
        begins = not mine or (call_id and mine[-1].id) or (index is None and (call_id or name))
        if same is not None or not begins:
            return same or mine[-1]
        if len(self._calls) == CALLS_LIMIT:
            return None
        self._calls.append(_Call(choice, index, call_id))
        return self._calls[-1]

    def _append(self, call: _Call, arguments: str) -> None:
        if call.too_long or self._held + len(arguments) > ARGUMENTS_LIMIT:
            self._held -= sum(map(len, call.arguments))
            call.arguments.clear()
            call.too_long = True
            return
        self._held += len(arguments)
        call.arguments.append(arguments)

    def _judge(self, call: _Call) -> ToolCall:
        name = call.name or None
        if call.too_long:
            return ToolCall(name, None, f"more than {ARGUMENTS_LIMIT:,} characters of arguments: not judged")
        schema = self.schemas.get(call.name)
        text = "".join(call.arguments)
        if not text.strip():
            needs = _required(schema)
            why = f"no arguments, though `{needs[0]}` is required" if needs else None
            return ToolCall(name, arguments_valid=False if needs else None, why=why)
        why = _unusable(text, schema)
        return ToolCall(name, why is None, None if why is None else why[:WHY_LIMIT])


def declared_schemas(params: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of each function that a request's `tools` (or legacy `functions`) declare, by name."""
    tools = [_mapping(tool).get("function") for tool in _list(params.get("tools"))]
    functions = [_mapping(function) for function in (*tools, *_list(params.get("functions")))]
    return {str(one["name"]): one["parameters"] for one in functions if "name" in one and "parameters" in one}


def breaks_schema(value: Any, schema: Any) -> str | None:
    """How a value breaks a JSON schema, in words that quote the schema and never the value; None where it fits.

    A subset: `type`, `required`, `properties`, `enum` and `items`, at every level. What else a schema may say
    (`$ref`, `anyOf`, `pattern`, bounds, `additionalProperties`) is not checked, so a break is certain and a fit is not.
    """
    return next(_breaks(value, schema, "", DEPTH_LIMIT), None)


def _unusable(text: str, schema: Any) -> str | None:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return f"no JSON from character {error.pos} of {len(text)} on"
    except (ValueError, RecursionError):
        return f"no JSON, of {len(text)} characters"
    if not isinstance(value, dict):
        return f"{_word(value)}, not an object"
    return breaks_schema(value, schema)


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's


def _breaks(value: Any, schema: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(schema, Mapping) or not depth:
        return
    allowed = _types(schema.get("type"))
    if allowed and not any(_is(value, name) for name in allowed):
        yield f"{_place(path)} is {_word(value)}, not {' or '.join(allowed)}"
    choices = schema.get("enum")
    if isinstance(choices, Sequence) and not isinstance(choices, str) and value not in choices:
        yield f"{_place(path)} is none of the {len(choices)} choices"
    if isinstance(value, dict):
        properties = _mapping(schema.get("properties"))
        yield from (f"{_place(_inside(path, name))} is missing" for name in _required(schema) if name not in value)
        for name, inner in properties.items():
            if name in value:
                yield from _breaks(value[name], inner, _inside(path, str(name)), depth - 1)
    elif isinstance(value, list):
        for item in value:
            yield from _breaks(item, schema.get("items"), f"{path}[]", depth - 1)


def _types(declared: Any) -> list[str]:
    names = [declared] if isinstance(declared, str) else _list(declared)
    known = [name for name in names if isinstance(name, str) and name in _TYPES]
    return known if len(known) == len(names) else []


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    whole = name == "integer" and isinstance(value, float) and value.is_integer()
    return whole or isinstance(value, _TYPES[name])


def _required(schema: Any) -> list[str]:
    return [name for name in _list(_mapping(schema).get("required")) if isinstance(name, str)]


def _word(value: Any) -> str:
    return _WORDS.get(type(value), type(value).__name__)


def _place(path: str) -> str:
    return f"`{path}`" if path else "it"


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
