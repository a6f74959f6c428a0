"""Tool calls put together from their deltas, in bounded memory, and judged: can an agent use what came?

The record keeps the verdict and the times, never the arguments. On the way: `chunks` adds the deltas, `tool_schemas`
checks; who goes on with the conversation takes the calls themselves from `said`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.dialects import shown_name
from streambench.records import ToolCall
from streambench.tool_schemas import Checked, Steps, check, judge_text

CALLS_LIMIT = 64
"""Calls of one stream that are judged."""
ARGUMENTS_LIMIT = 256 * 1024
"""Characters of arguments that are held at once, over all calls; calls beyond it are not judged."""
TOO_LONG = f"more than {ARGUMENTS_LIMIT:,} characters of arguments: not judged"
"""Why a call that was not held is not judged."""
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
    named_ns: int | None = None
    last_ns: int | None = None
    """Arrival of the last delta whose arguments were more than white space."""


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

    def add(
        self,
        choice: int,
        index: int | None,
        call_id: str | None,
        name: str | None,
        arguments: str | None,
        at_ns: int | None = None,
    ) -> None:
        """One delta of the call `index` of a choice, and its arrival."""
        call_id = call_id[:WHY_LIMIT] if call_id else None
        call = self._find(choice, index, call_id, name, arguments)
        if call is None:
            return
        call.id = call.id or call_id
        if name and name != call.name:  # some gateways repeat it with every delta
            call.name = (call.name + name)[:NAME_LIMIT]
            call.named_ns = at_ns
        if arguments:
            if not arguments.isspace():
                call.last_ns = at_ns
            self._append(call, arguments)

    def judged(self, *, finished: bool = True) -> tuple[ToolCall, ...]:
        """A verdict a call, in the order in which they began. `finished`: no more of them can come."""
        steps = Steps()
        return tuple(self._judge(call, steps, finished=finished) for call in self._calls)

    def said(self) -> tuple[SaidCall, ...] | None:
        """The first choice's calls; None where one was too long to be held."""
        mine = [call for call in self._calls if call.choice == self._calls[0].choice]
        if any(call.too_long for call in mine):
            return None
        return tuple(
            SaidCall(call.id, call.name, "".join(call.arguments) or "{}", legacy=call.index == LEGACY) for call in mine
        )

    def _find(
        self, choice: int, index: int | None, call_id: str | None, name: str | None, arguments: str | None
    ) -> _Call | None:
        """The call that a delta goes on with, or a new one; None beyond the limit.

        A second id under one index is a second call: some gateways number all calls 0; and some of those give no id
        (see `_goes_on`). Without an index, an id or a name begins a call.
        """
        last = self._calls[-1] if self._calls else None
        here = last is not None and index is not None and (last.choice, last.index) == (choice, index)
        if last is not None and here and (not call_id or last.id in (None, call_id)):  # nearly every delta
            return last if not name or _goes_on(last, name, arguments) else self._new(choice, index, call_id)
        mine = [call for call in self._calls if call.choice == choice and index in (None, call.index)]
        same = next((call for call in mine if call_id and call.id == call_id), None)
        begins = not mine or (call_id and mine[-1].id) or (index is None and (call_id or name))
        if same is not None or not begins:
            return same or mine[-1]
        return self._new(choice, index, call_id)

    def _new(self, choice: int, index: int | None, call_id: str | None) -> _Call | None:
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

    def _judge(self, call: _Call, steps: Steps, *, finished: bool) -> ToolCall:
        name = shown_name(call.name) if call.name else None  # the model chose it
        named_ns = call.named_ns if finished or call.last_ns is not None else None
        if call.too_long:
            return ToolCall(name, None, TOO_LONG, named_ns, choice=call.choice)
        schema, text = self.schemas.get(call.name), "".join(call.arguments)
        whole = False
        if text.strip():
            read = judge_text(text, schema, steps)
            whole, (valid, why) = read.whole, read.checked
        else:
            valid, why = _judged_empty(schema, steps)
        complete_ns = call.last_ns if whole and finished else None
        return ToolCall(name, valid, None if why is None else why[:WHY_LIMIT], named_ns, complete_ns, call.choice)


def _goes_on(call: _Call, name: str, arguments: str | None) -> bool:
    """Whether a delta with a name may be of the call under way. A name never goes on behind arguments, and where it is
    the same once more, an object behind a closed one is another call's.
    """
    if not call.arguments:
        return True
    if not call.arguments[-1].rstrip().endswith("}"):
        return True
    return name[:NAME_LIMIT] == call.name and not (arguments or "").lstrip().startswith("{")


def declared_schemas(params: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of each function that a request's `tools` (or legacy `functions`) declare, by name."""
    tools = [_mapping(tool).get("function", tool) for tool in _list(params.get("tools"))]
    functions = [_mapping(function) for function in (*tools, *_list(params.get("functions")))]
    return {str(one["name"]): one["parameters"] for one in functions if "name" in one and "parameters" in one}


def _judged_empty(schema: Any, steps: Steps) -> Checked:
    """Of a function without arguments many gateways send nothing: that is unknown, unless the schema asks for more."""
    valid, why = (None, None) if schema is None else check({}, schema, steps)
    return (False, f"no arguments: {why}") if valid is False else (None, None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
