"""What a conversation has said so far, and with it the messages of its next turn. Pure; kept in memory alone.

On the way: suite -> conversation -> client, which sends the messages and brings the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streambench.suite import Prompt, texts_in
from streambench.tool_calls import SaidCall
from streambench.turns import Turn, halted

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said: its text, and its calls."""

    text: str = ""
    calls: tuple[SaidCall, ...] | None = ()
    """None where one was too long to be held."""

    @property
    def called(self) -> list[str] | None:
        return None if self.calls is None else [call.name for call in self.calls]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt's turn number `turn`, after the turns in `past`. A prompt that is a single request has no past."""

    prompt: Prompt
    turn: int
    asked: tuple[Message, ...]
    """What this turn adds."""
    past: tuple[tuple[Message, ...], ...] = ()
    """Of each earlier turn what it added, and what was answered."""

    @property
    def messages(self) -> list[Message]:
        """What is sent: what stands before the first turn, as many earlier turns as may be, and this one."""
        blocks = (*self.past, self.asked)
        kept = blocks[_first_kept(blocks, self.prompt.history) :]
        return [*self.prompt.messages, *(message for block in kept for message in block)]

    @property
    def texts(self) -> Iterator[str]:
        """Every text of the messages, and the arguments of calls."""
        for message in self.messages:
            yield from texts_in(message.get("content"))
            for call in _calls_in(message):
                yield str(call["arguments"])

    @property
    def goes_on(self) -> bool:
        """The suite has another turn."""
        return self.turn + 1 < len(self.prompt.turns)

    @property
    def answered(self) -> frozenset[str]:
        """The functions whose calls the next turn answers."""
        return frozenset(self.prompt.turns[self.turn + 1].tool_results) if self.goes_on else frozenset()

    def after(self, answer: Answer) -> Conversation | None:
        """The next turn; None where there is none, or this answer cannot be gone on from."""
        if not self.goes_on:
            return None
        this, following = self.prompt.turns[self.turn : self.turn + 2]
        if halted(answer.called, this.facts, following.facts, spoke=bool(answer.text)):
            return None
        if this.assistant is not None:
            answer = Answer(this.assistant)
        said = (*self.asked, _said(answer))
        return replace(self, turn=self.turn + 1, asked=_asked(following, answer.calls or ()), past=(*self.past, said))


def begin(prompt: Prompt) -> Conversation:
    """Its first turn, or all of a prompt that is a single request."""
    return Conversation(prompt, 0, _asked(prompt.turns[0]) if prompt.turns else ())


def scripted(prompt: Prompt) -> list[tuple[Message, ...]]:
    """What each turn sends by the suite alone: without history and without the results of calls."""
    if not prompt.turns:
        return [prompt.messages]
    return [(*prompt.messages, *_asked(turn)) for turn in prompt.turns]


def _first_kept(blocks: Sequence[Sequence[Message]], history: int | None) -> int:
    """The results of calls are never parted from the turn that made the calls: no gateway would take them."""
    if history is None:
        return 0
    first = max(0, len(blocks) - 1 - history)
    while first and blocks[first] and blocks[first][0]["role"] in ("tool", "function"):
        first -= 1
    return first


def _asked(turn: Turn, calls: Iterable[SaidCall] = ()) -> tuple[Message, ...]:
    results = tuple(_result(call, place, turn.tool_results[call.name]) for place, call in enumerate(calls))
    return results if turn.user is None else (*results, {"role": "user", "content": turn.user})


def _said(answer: Answer) -> Message:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if not answer.calls:
        return message
    message["content"] = answer.text or None
    functions = [{"name": call.name, "arguments": call.arguments} for call in answer.calls]
    if answer.calls[0].legacy:
        return {**message, "function_call": functions[0]}
    message["tool_calls"] = [
        {"id": _id(call, place), "type": "function", "function": function}
        for place, (call, function) in enumerate(zip(answer.calls, functions, strict=True))
    ]
    return message


def _result(call: SaidCall, place: int, result: str) -> Message:
    if call.legacy:
        return {"role": "function", "name": call.name, "content": result}
    return {"role": "tool", "tool_call_id": _id(call, place), "content": result}


def _id(call: SaidCall, place: int) -> str:
    """Some gateways give none."""
    return call.id or f"call_{place}"


def _calls_in(message: Message) -> Iterator[Mapping[str, Any]]:
    if message.get("function_call"):
        yield message["function_call"]
    for call in message.get("tool_calls") or ():
        yield call.get("function") or {}
