"""Assembles tool calls from their deltas, in bounded memory, and judges whether an agent can use them.

The record keeps the validity and the times, never the arguments. `StreamDecoder` adds the deltas,
`workload/json_schema` checks the arguments, and the next turn of a conversation takes the calls from `received`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streambench.records.schema import ToolCall
from streambench.text import shown_name
from streambench.workload.conversation import ARGUMENTS_LIMIT, TOO_LONG, ReceivedCall
from streambench.workload.json_schema import Checked, StepBudget, check, judge_text

CALLS_LIMIT = 64
"""Calls kept and judged per stream; further calls are ignored."""
NAME_LIMIT = 64
"""Longest name of a function that OpenAI accepts, in characters."""
WHY_LIMIT = 200
LEGACY = -1
"""The index given to a `function_call`; a choice has at most one."""


@dataclass(slots=True)
class _StreamedCall:
    choice: int
    index: int | None
    id: str | None
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    too_long: bool = False
    named_ns: int | None = None
    last_ns: int | None = None
    """Arrival of the last delta whose arguments contained more than white space."""


@dataclass(slots=True)
class ToolCalls:
    """The calls of one stream. `schemas` maps a declared function's name to the JSON schema of its parameters."""

    schemas: Mapping[str, Any] = field(default_factory=dict)
    _calls: list[_StreamedCall] = field(default_factory=list)
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
        """Adds one delta of the call `index` of a choice. `at_ns` is its arrival, since the attempt's start."""
        call_id = call_id[:WHY_LIMIT] if call_id else None
        call = self._find(choice, index, call_id, name, arguments)
        if call is None:
            return
        call.id = call.id or call_id
        if name and name != call.name:  # some gateways repeat the name in every delta
            call.name = (call.name + name)[:NAME_LIMIT]
            call.named_ns = at_ns
        if arguments:
            if not arguments.isspace():
                call.last_ns = at_ns
            self._append(call, arguments)

    def judged(self, *, finished: bool = True) -> tuple[ToolCall, ...]:
        """Returns one ToolCall per call, in the order in which the calls began.

        `finished` is True if no more deltas can come.
        """
        steps = StepBudget()
        return tuple(self._judge(call, steps, finished=finished) for call in self._calls)

    def received(self) -> tuple[ReceivedCall, ...] | None:
        """Returns the first choice's calls; None if one was too long to keep."""
        mine = [call for call in self._calls if call.choice == self._calls[0].choice]
        if any(call.too_long for call in mine):
            return None
        return tuple(
            ReceivedCall(call.id, call.name, "".join(call.arguments) or "{}", legacy=call.index == LEGACY)
            for call in mine
        )

    def _find(
        self, choice: int, index: int | None, call_id: str | None, name: str | None, arguments: str | None
    ) -> _StreamedCall | None:
        """Returns the call that a delta continues, or a new call; None beyond `CALLS_LIMIT`.

        A second id under the same index begins a second call, because some gateways number all calls 0. Some of those
        send no id either (see `_continues`). Without an index, an id or a name begins a call.
        """
        last = self._calls[-1] if self._calls else None
        here = last is not None and index is not None and (last.choice, last.index) == (choice, index)
        if last is not None and here and (not call_id or last.id in (None, call_id)):  # the usual case
            return last if not name or _continues(last, name, arguments) else self._new(choice, index, call_id)
        mine = [call for call in self._calls if call.choice == choice and index in (None, call.index)]
        same = next((call for call in mine if call_id and call.id == call_id), None)
        begins = not mine or (call_id and mine[-1].id) or (index is None and (call_id or name))
        if same is not None or not begins:
            return same or mine[-1]
        return self._new(choice, index, call_id)

    def _new(self, choice: int, index: int | None, call_id: str | None) -> _StreamedCall | None:
        if len(self._calls) == CALLS_LIMIT:
            return None
        self._calls.append(_StreamedCall(choice, index, call_id))
        return self._calls[-1]

    def _append(self, call: _StreamedCall, arguments: str) -> None:
        if call.too_long or self._held + len(arguments) > ARGUMENTS_LIMIT:
            self._held -= sum(map(len, call.arguments))
            call.arguments.clear()
            call.too_long = True
            return
        self._held += len(arguments)
        call.arguments.append(arguments)

    def _judge(self, call: _StreamedCall, steps: StepBudget, *, finished: bool) -> ToolCall:
        name = shown_name(call.name) if call.name else None  # chosen by the model, so it may be any text
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


def _continues(call: _StreamedCall, name: str, arguments: str | None) -> bool:
    """True if a delta with a name may continue this call.

    Once the call's arguments end in `}`, a delta continues the call only if it repeats the same name and its arguments
    do not begin with `{`: a new name, or an object after a closed one, belongs to another call.
    """
    if not call.arguments:
        return True
    if not call.arguments[-1].rstrip().endswith("}"):
        return True
    return name[:NAME_LIMIT] == call.name and not (arguments or "").lstrip().startswith("{")


def _judged_empty(schema: Any, steps: StepBudget) -> Checked:
    """Returns the validity of a call without arguments: invalid if the schema requires some, else unknown (None).

    Many gateways send no arguments at all for a function without parameters.
    """
    valid, why = (None, None) if schema is None else check({}, schema, steps)
    return (False, f"no arguments: {why}") if valid is False else (None, None)
