"""The turns of a scripted conversation as a suite says them, and whether an answer can be gone on from. Pure.

On the way: suite -> turns -> conversation. A turn is a text, or a mapping of user, think, assistant, tool_results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from streambench.documents import KeyPath, duration_s, shown

TURN_KEYS = ("user", "think", "assistant", "tool_results")
MAX_THINK_S = 86_400.0

NO_CALL = "it called no function, and the next turn has but a function's results"
NO_RESULT = "it called a function that the next turn has no result for"
NOT_HELD = "it called a function with more arguments than are held, so its call cannot be said again"
NO_ANSWER = "it answered with nothing but its reasoning, which is not sent back"

_FUNCTION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""As records have them: of a longer or odder name nobody could tell later whether it was answered."""
_TURN = "a text, or a mapping with user or tool_results"
_THINK = "seconds from 0 to a day, as a number or as in 500ms, 2s"


@dataclass(frozen=True, slots=True)
class TurnFacts:
    """What may be told of a turn anywhere: no word of it but the names of functions."""

    asks: bool = True
    """The user says something."""
    answers: tuple[str, ...] = ()
    """Functions whose calls it answers."""
    fixed: bool = False
    """The history has a fixed answer to it, whatever the model said."""
    think_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user says (a text or content parts), and what functions said to the calls of the turn before."""

    user: Any = None
    think_s: float = 0.0
    """Waited after the answer before it."""
    assistant: str | None = None
    """Goes into the history for the model's own answer."""
    tool_results: Mapping[str, str] = field(default_factory=dict)
    """By the function's name."""

    @property
    def facts(self) -> TurnFacts:
        return TurnFacts(self.user is not None, tuple(self.tool_results), self.assistant is not None, self.think_s)


def halted(
    called: Sequence[str | None] | None, this: TurnFacts, following: TurnFacts, *, spoke: bool = True
) -> str | None:
    """Why a session cannot go on after a good answer that called these functions; None where it can. `called` is None
    where a call was too long to be held, `spoke` whether it had text.

    A call that is left without its result, or an answer of no text, would be an error of the next request's, which is
    not the model's.
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


class Reading(Protocol):
    """Where what is wrong with a suite is told."""

    def refuse(self, path: KeyPath, message: str, found: str | None = None, accepted: str | None = None) -> None: ...

    def text(self, value: Any, path: KeyPath) -> str: ...

    def content(self, value: Any, path: KeyPath) -> Any: ...

    def known_keys(self, item: Mapping[str, Any], known: tuple[str, ...], path: KeyPath) -> None: ...


def read_turns(reading: Reading, value: Any, path: KeyPath) -> tuple[Turn, ...]:
    """The turns that a prompt's `turns` says; what is wrong is told to `reading`."""
    if not isinstance(value, list) or not value:
        message = "has no turns" if value == [] else "must be a list of turns"
        reading.refuse(path, message, None if value == [] else shown(value), f"a list of turns, each {_TURN}")
        return ()
    turns = tuple(_turn(reading, item, (*path, index)) for index, item in enumerate(value))
    for index, (item, turn) in enumerate(zip(value, turns, strict=True)):
        before = turns[index - 1] if index else None
        _check_place(reading, item, before, (*path, index))
        if before is not None and before.assistant is not None and turn.tool_results:
            told = "answers calls, but the turn before it has a fixed answer, which makes none"
            reading.refuse((*path, index, "tool_results"), told, accepted="one of the two")
    return turns


def read_history(reading: Reading, value: Any, path: KeyPath) -> int | None:
    """How many earlier turns are sent at most; None is all."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        reading.refuse(path, "is no number of turns", shown(value), "a whole number from 0; left away, all are sent")
        return None
    return value


def _turn(reading: Reading, item: Any, path: KeyPath) -> Turn:
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


def _user(reading: Reading, value: Any, path: KeyPath) -> Any:
    return reading.text(value, path) if isinstance(value, str) else reading.content(value, path)


def _check_place(reading: Reading, item: Any, before: Turn | None, path: KeyPath) -> None:
    if before is not None or not isinstance(item, dict):
        return
    if "tool_results" in item:
        reading.refuse((*path, "tool_results"), "is for a later turn: before the first one nothing was called")
    if "think" in item:
        reading.refuse((*path, "think"), "is for a later turn: before the first one nothing was answered")


def _think(reading: Reading, value: Any, path: KeyPath) -> float:
    found = duration_s(value) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= MAX_THINK_S:
        reading.refuse(path, "is no time to think", shown(value), _THINK)
        return 0.0
    return float(found)


def _results(reading: Reading, value: Any, path: KeyPath) -> Mapping[str, str]:
    if not isinstance(value, dict) or not value:
        accepted = "a mapping of functions' names to texts, as in {get_weather: '{\"c\": 4}'}"
        reading.refuse(path, "must be a mapping", shown(value), accepted)
        return {}
    for name, result in value.items():
        if not _FUNCTION.fullmatch(name):
            reading.refuse((*path, name), "is no function's name", shown(name), "letters, digits, _, - and ., up to 64")
        elif not isinstance(result, str):
            reading.refuse((*path, name), "must be text", shown(result), "text; put JSON in quotes")
    return value
