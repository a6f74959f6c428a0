"""Parses the turns of a scripted conversation, and decides whether it can continue after an answer. Pure.

A turn is a text, or a mapping of user, think, assistant, tool_results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from streambench.documents import KeyPath, duration_s
from streambench.text import shown

TURN_KEYS = ("user", "think", "assistant", "tool_results")
MAX_THINK_S = 86_400.0

NO_CALL = "it did not call a function, and the next turn has only function results"
NO_RESULT = "it called a function for which the next turn has no result"
NOT_HELD = "it called a function with arguments that were too long to keep, so the call cannot be sent again"
NO_ANSWER = "it answered only with reasoning, which is not sent back"

_FUNCTION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""The names that a record stores. For any other name the record could not show whether the call was answered."""
_TURN = "a text, or a mapping with user or tool_results"
_THINK = "seconds from 0 to one day, as a number or a duration such as 500ms, 2s"


@dataclass(frozen=True, slots=True)
class TurnFacts:
    """Facts of a turn that may be stored and shown: no text of it except the names of functions."""

    asks: bool = True
    """True if the turn has a message of the user."""
    answers: tuple[str, ...] = ()
    """The functions whose calls the turn answers."""
    fixed: bool = False
    """True if the suite has a fixed answer to this turn, which replaces the model's in the history."""
    think_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """The user's message (a text or content parts), and the results of the calls in the previous answer."""

    user: Any = None
    think_s: float = 0.0
    """Seconds to wait after the previous answer."""
    assistant: str | None = None
    """Replaces the model's own answer in the history."""
    tool_results: Mapping[str, str] = field(default_factory=dict)
    """Results by function name."""

    @property
    def facts(self) -> TurnFacts:
        """What may be stored about this turn."""
        return TurnFacts(self.user is not None, tuple(self.tool_results), self.assistant is not None, self.think_s)


def halted(
    called: Sequence[str | None] | None, this: TurnFacts, following: TurnFacts, *, spoke: bool = True
) -> str | None:
    """Returns why a session cannot continue after a good answer that called these functions; None if it can.

    `called` is None if a call was too long to keep; `spoke` is True if the answer had text. A call without a result, or
    an answer without text, would make the next request fail, which would not be the model's fault.
    """
    if this.fixed:
        return None
    if called is None:
        return NOT_HELD
    if not called:
        if not following.asks:
            return NO_CALL
        return None if spoke else NO_ANSWER
    return None if all(name in following.answers for name in called) else NO_RESULT


class TurnContext(Protocol):
    """What the functions below parse with, and report problems to."""

    def refuse(self, path: KeyPath, message: str, found: str | None = None, accepted: str | None = None) -> None: ...

    def text(self, value: Any, path: KeyPath) -> str: ...

    def content(self, value: Any, path: KeyPath) -> Any: ...

    def known_keys(self, item: Mapping[str, Any], known: tuple[str, ...], path: KeyPath) -> None: ...


def read_turns(reading: TurnContext, value: Any, path: KeyPath) -> tuple[Turn, ...]:
    """Returns the turns in a prompt's `turns`. Problems go to `reading`."""
    if not isinstance(value, list) or not value:
        message = "has no turns" if value == [] else "must be a list of turns"
        reading.refuse(path, message, None if value == [] else shown(value), f"a list of turns, each {_TURN}")
        return ()
    turns = tuple(_turn(reading, item, (*path, index)) for index, item in enumerate(value))
    for index, (item, turn) in enumerate(zip(value, turns, strict=True)):
        before = turns[index - 1] if index else None
        _check_place(reading, item, before, (*path, index))
        if before is not None and before.assistant is not None and turn.tool_results:
            fault = "answers function calls, but the previous turn has a fixed answer, which has no calls"
            reading.refuse((*path, index, "tool_results"), fault, accepted="only one of the two")
    return turns


def read_history(reading: TurnContext, value: Any, path: KeyPath) -> int | None:
    """Returns the largest number of earlier turns to send; None, for all, after a problem."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        reading.refuse(path, "is not a number of turns", shown(value), "a whole number, 0 or more; default: all turns")
        return None
    return value


def _turn(reading: TurnContext, item: Any, path: KeyPath) -> Turn:
    if isinstance(item, str):
        return Turn(reading.text(item, path))
    if not isinstance(item, dict):
        reading.refuse(path, "must be a turn", shown(item), _TURN)
        return Turn("")
    reading.known_keys(item, TURN_KEYS, path)
    if "user" not in item and "tool_results" not in item and item.keys() <= set(TURN_KEYS):
        reading.refuse(path, "has neither user nor tool_results", accepted=_TURN)
    return Turn(
        user=_user(reading, item["user"], (*path, "user")) if "user" in item else None,
        think_s=_think(reading, item["think"], (*path, "think")) if "think" in item else 0.0,
        assistant=reading.text(item["assistant"], (*path, "assistant")) if "assistant" in item else None,
        tool_results=_results(reading, item.get("tool_results"), (*path, "tool_results"))
        if "tool_results" in item
        else {},
    )


def _user(reading: TurnContext, value: Any, path: KeyPath) -> Any:
    return reading.text(value, path) if isinstance(value, str) else reading.content(value, path)


def _check_place(reading: TurnContext, item: Any, before: Turn | None, path: KeyPath) -> None:
    if before is not None or not isinstance(item, dict):
        return
    if "tool_results" in item:
        reading.refuse((*path, "tool_results"), "is not allowed in the first turn: no function call precedes it")
    if "think" in item:
        reading.refuse((*path, "think"), "is not allowed in the first turn: there is no answer before it")


def _think(reading: TurnContext, value: Any, path: KeyPath) -> float:
    found = duration_s(value) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= MAX_THINK_S:
        reading.refuse(path, "is not a valid think time", shown(value), _THINK)
        return 0.0
    return float(found)


def _results(reading: TurnContext, value: Any, path: KeyPath) -> Mapping[str, str]:
    if not isinstance(value, dict) or not value:
        accepted = "a mapping of function names to texts, such as {get_weather: '{\"c\": 4}'}"
        reading.refuse(path, "must be a mapping", shown(value), accepted)
        return {}
    for name, result in value.items():
        if not _FUNCTION.fullmatch(name):
            reading.refuse((*path, name), "is not a function name", shown(name), "up to 64 letters, digits, _, - and .")
        elif not isinstance(result, str):
            reading.refuse((*path, name), "must be text", shown(result), "text; put JSON in quotes")
    return value
