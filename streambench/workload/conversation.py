"""The past turns of a conversation, and the messages of its next one. Pure; kept in memory only.

`client` sends the messages and passes the answer to `Conversation.after`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streambench.text import count
from streambench.workload.suite import Prompt, texts_in
from streambench.workload.turns import Turn, halted

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AssistantAnswer:
    """A model's answer: its text and its function calls."""

    text: str = ""
    calls: tuple[ReceivedCall, ...] | None = ()
    """None if a call was too long to keep."""

    @property
    def called(self) -> list[str] | None:
        """The names of the called functions; None if a call was too long to keep."""
        return None if self.calls is None else [call.name for call in self.calls]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt's turn number `turn`, from 0, after the turns in `past`.

    A prompt that is a single request has no past.
    """

    prompt: Prompt
    turn: int
    asked: tuple[Message, ...]
    """The messages that this turn adds."""
    past: tuple[tuple[Message, ...], ...] = ()
    """For each earlier turn, the messages that it added and the answer."""

    @property
    def messages(self) -> list[Message]:
        """The messages to send: those before the first turn, the earlier turns that `history` allows, and this turn."""
        blocks = (*self.past, self.asked)
        kept = blocks[_first_kept(blocks, self.prompt.history) :]
        return [*self.prompt.messages, *(message for block in kept for message in block)]

    @property
    def texts(self) -> Iterator[str]:
        """Yields every text of the messages, and the arguments of calls."""
        for message in self.messages:
            yield from texts_in(message.get("content"))
            for call in _calls_in(message):
                yield str(call["arguments"])

    @property
    def continues(self) -> bool:
        """True if the prompt has another turn."""
        return self.turn + 1 < len(self.prompt.turns)

    @property
    def answered(self) -> frozenset[str]:
        """The names of the functions whose calls the next turn answers."""
        return frozenset(self.prompt.turns[self.turn + 1].tool_results) if self.continues else frozenset()

    def after(self, answer: AssistantAnswer) -> Conversation | None:
        """Returns the next turn; None if there is none, or if `halted` says that the conversation cannot continue."""
        if not self.continues:
            return None
        this, following = self.prompt.turns[self.turn : self.turn + 2]
        if halted(answer.called, this.facts, following.facts, spoke=bool(answer.text)):
            return None
        if this.assistant is not None:
            answer = AssistantAnswer(this.assistant)
        messages = (*self.asked, _answer_message(answer))
        return replace(
            self, turn=self.turn + 1, asked=_turn_messages(following, answer.calls or ()), past=(*self.past, messages)
        )


def begin(prompt: Prompt) -> Conversation:
    """Returns a prompt's first turn, or the whole of a prompt that is a single request."""
    return Conversation(prompt, 0, _turn_messages(prompt.turns[0]) if prompt.turns else ())


def scripted(prompt: Prompt) -> list[tuple[Message, ...]]:
    """Returns the messages that the suite alone defines for each turn: without earlier turns and results of calls."""
    if not prompt.turns:
        return [prompt.messages]
    return [(*prompt.messages, *_turn_messages(turn)) for turn in prompt.turns]


def _first_kept(blocks: Sequence[Sequence[Message]], history: int | None) -> int:
    """Returns the index of the first block to send.

    Results of calls are sent only together with the turn that made the calls: otherwise gateways refuse them.
    """
    if history is None:
        return 0
    first = max(0, len(blocks) - 1 - history)
    while first and blocks[first] and blocks[first][0]["role"] in ("tool", "function"):
        first -= 1
    return first


def _turn_messages(turn: Turn, calls: Iterable[ReceivedCall] = ()) -> tuple[Message, ...]:
    results = tuple(_result(call, place, turn.tool_results[call.name]) for place, call in enumerate(calls))
    return results if turn.user is None else (*results, {"role": "user", "content": turn.user})


def _answer_message(answer: AssistantAnswer) -> Message:
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


def _result(call: ReceivedCall, place: int, result: str) -> Message:
    if call.legacy:
        return {"role": "function", "name": call.name, "content": result}
    return {"role": "tool", "tool_call_id": _id(call, place), "content": result}


def _id(call: ReceivedCall, place: int) -> str:
    """Returns the call's id, or one made from its position: some gateways send calls without an id."""
    return call.id or f"call_{place}"


def _calls_in(message: Message) -> Iterator[Mapping[str, Any]]:
    if message.get("function_call"):
        yield message["function_call"]
    for call in message.get("tool_calls") or ():
        yield call.get("function") or {}


ARGUMENTS_LIMIT = 256 * 1024
"""Characters of arguments that are kept at once, over all calls of a response; calls beyond it are not checked."""
TOO_LONG = f"more than {count(ARGUMENTS_LIMIT)} characters of arguments: not judged"
"""The reason that is given for a call that was not kept and so not checked."""


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A call as received, to be sent again in a conversation's history. It is never stored."""

    id: str | None
    name: str
    arguments: str
    legacy: bool = False
    """True if the call came as `function_call`, which has no id."""
