"""Tool calls put together from their deltas, in bounded memory, and judged: can an agent use what came?

The verdict alone is kept, never the arguments. On the way: `chunks` adds the deltas, `tool_schemas` checks, the record
takes the verdicts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.dialects import shown_name
from streambench.records import ToolCall
from streambench.tool_schemas import Checked, Steps, check, prepare, word

CALLS_LIMIT = 64
"""Calls of one stream that are judged."""
ARGUMENTS_LIMIT = 256 * 1024
"""Characters of arguments that are held at once, over all calls; calls beyond it are not judged."""
NAME_LIMIT = 64
"""As long as OpenAI lets a function's name be."""
WHY_LIMIT = 200
LEGACY = -1
"""The index of `function_call`, of which a choice has one."""


@dataclass(slots=True)
class _Call:
    choice: int
    index: int | None
    id: str | None
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    too_long: bool = False


@dataclass(frozen=True, slots=True)
class SaidCall:
    """A call as it came, to be said again in a conversation's history. Never written down."""

    id: str | None
    name: str
    arguments: str
    legacy: bool = False
    """By `function_call`, which has no id."""


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
        steps = Steps()
        return tuple(self._judge(call, steps) for call in self._calls)

    def said(self) -> tuple[SaidCall, ...] | None:
        """The first choice's calls; None where one was too long to be held."""
        mine = [call for call in self._calls if call.choice == self._calls[0].choice]
        if any(call.too_long for call in mine):
            return None
        return tuple(
            SaidCall(call.id, call.name, "".join(call.arguments) or "{}", legacy=call.index == LEGACY) for call in mine
        )

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

    def _judge(self, call: _Call, steps: Steps) -> ToolCall:
        name = shown_name(call.name) if call.name else None  # the model chose it
        if call.too_long:
            return ToolCall(name, None, f"more than {ARGUMENTS_LIMIT:,} characters of arguments: not judged")
        schema, text = self.schemas.get(call.name), "".join(call.arguments)
        if text.strip():
            valid, why = _judged(text, schema, steps)
        else:
            valid, why = _judged_empty(schema, steps)
        return ToolCall(name, valid, None if why is None else why[:WHY_LIMIT])


def declared_schemas(params: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of each function that a request's `tools` (or legacy `functions`) declare, by name."""
    tools = [_mapping(tool).get("function") for tool in _list(params.get("tools"))]
    functions = [_mapping(function) for function in (*tools, *_list(params.get("functions")))]
    return {str(one["name"]): one["parameters"] for one in functions if "name" in one and "parameters" in one}


def prepare_schemas(params: Mapping[str, Any]) -> None:
    """Reads the declared schemas ahead of the run: at the end of the first stream it would hold up all others."""
    for schema in declared_schemas(params).values():
        prepare(schema)


def _judged_empty(schema: Any, steps: Steps) -> Checked:
    """Of a function without arguments many gateways send nothing: that is unknown, unless the schema asks for more."""
    valid, why = (None, None) if schema is None else check({}, schema, steps)
    return (False, f"no arguments: {why}") if valid is False else (None, None)


def _judged(text: str, schema: Any, steps: Steps) -> Checked:
    """By JSON, and by the schema where one was declared."""
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        return False, f"no JSON from character {error.pos} of {len(text)} on"
    except _NoJsonError:
        return False, f"no JSON, of {len(text)} characters"
    except (ValueError, RecursionError):  # JSON perhaps, but with more digits or levels than Python takes
        return None, f"{len(text)} characters with more levels or digits than can be read: not judged"
    if not isinstance(value, dict):
        return False, f"{word(value)}, not an object"
    return (True, None) if schema is None else check(value, schema, steps)


class _NoJsonError(ValueError):
    """Python reads it, JSON does not know it."""


def _no_constant(name: str) -> Any:
    raise _NoJsonError(name)  # NaN and Infinity


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e999 is a number, but not one that could be compared
        raise ValueError(text)
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
