"""Reads what each API sends as chunks of a chat, so that one decoder with one set of rules serves all APIs. Pure.

Legacy Completions differs in one field. Responses has many event types and no `[DONE]`: the event that says how the
response ended is the last one. A non-streamed answer is a single chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from streambench.client.decode.chunk_json import (
    CallDelta,
    Choice,
    Chunk,
    Delta,
    Function,
    UnreadableError,
    chunk_of,
    dict_of,
    dicts_of,
    index_of,
    read_chunk,
    read_object,
    string_of,
    text_of,
)
from streambench.client.decode.known_fields import FIELDS_LIMIT, RESPONSES_EVENTS, unknown_fields
from streambench.text import shown_name
from streambench.workload.api_formats import ApiMode

CAME_LIMIT = 4_096
"""Parts of one response that are tracked."""


class Events(Protocol):
    """Reads the frames of one body. It may remember earlier frames, so `events_of` is called for each body."""

    @property
    def finish_ends(self) -> bool:
        """True if the frame with the finish reason is the last one, and no `[DONE]` follows."""

    @property
    def summarised(self) -> bool:
        """True if the reasoning so far was a summary, as the API itself states."""

    def read(self, data: bytes, /) -> Chunk:
        """Returns a frame as a chunk. Raises UnreadableError if it is not JSON or not a frame of this API."""

    def look(self, plain: Any, /) -> Iterable[str]:
        """Returns the names in a parsed frame that no known gateway sends."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Reads the frames of an API without remembering earlier frames."""

    read: Callable[[bytes], Chunk]
    look: Callable[[Any], Iterable[str]] = unknown_fields
    finish_ends: bool = False
    summarised: bool = False


CHAT = Frames(read_chunk)


def events_of(ask: ApiMode) -> Events:
    """Returns the frame reader for one body that was requested by `ask`."""
    if ask.api == "responses":
        return ResponseEvents() if ask.streamed else WholeResponse()
    if ask.api == "completions":
        return Frames(_completion if ask.streamed else _whole_completion)
    return CHAT if ask.streamed else Frames(_whole_chat)


def _completion(data: bytes) -> Chunk:
    return chunk_of(read_object(data), "text")


def _whole_completion(data: bytes) -> Chunk:
    return chunk_of(_answer(data, "choices"), "text")


def _whole_chat(data: bytes) -> Chunk:
    return chunk_of(_answer(data, "choices"), "message")


def _answer(data: bytes, holds: str) -> dict[str, Any]:
    """Returns the object. Raises UnreadableError if it is neither an answer nor an error.

    The error's message names the object's keys and does not repeat its values.
    """
    plain = read_object(data)
    if plain.get("error") or isinstance(plain.get(holds), list):
        return plain
    names = ", ".join(map(shown_name, list(plain)[:12]))
    keys = f"has the keys {names}" if names else "is empty"
    raise UnreadableError(f"the response has no list `{holds}`: the JSON object {keys}")


# --- Responses

_PIECES: Mapping[str, tuple[str, str]] = {
    "response.output_text": ("content", "text"),
    "response.refusal": ("refusal", "refusal"),
    "response.reasoning_summary_text": ("reasoning", "text"),
    "response.reasoning_text": ("reasoning", "text"),
    "response.function_call_arguments": ("arguments", "arguments"),
    "response.custom_tool_call_input": ("arguments", "input"),
}
"""Events that carry output, named without `.delta` or `.done`, to the kind of output and its field in `.done`."""

_CALLS: Mapping[str, str] = {"function_call": "arguments", "custom_tool_call": "input"}
"""Item types that are calls, and the field with their arguments."""

_SUMMARY = "response.reasoning_summary_text"

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_REASONS: Mapping[str, str] = {"max_output_tokens": "length"}
_TOLD = ("message", "code")


@dataclass(slots=True)
class ResponseEvents:
    """Reads the events of one streamed response.

    Output that came in deltas is repeated as a whole in `.done` events, in its item and in the last event. A repetition
    counts only if no delta came, as with a gateway that turns a whole answer into events.
    """

    finish_ends: bool = True
    summarised: bool = False
    _came: set[tuple[Any, ...]] = field(default_factory=set)
    _said: bool = False
    _called: bool = False
    _unknown: dict[str, None] = field(default_factory=dict)

    def look(self, _: Any) -> Iterable[str]:
        """Returns the unknown event types that came so far."""
        return self._unknown

    def read(self, data: bytes) -> Chunk:
        plain = read_object(data)
        kind = string_of(plain.get("type")) or ""
        name, _, state = kind.rpartition(".")
        if kind == "error" or (plain.get("error") and kind not in _ENDS):
            return Chunk(error=_error(plain.get("error") or plain))
        if name in _PIECES and state in ("delta", "done"):
            return Chunk(choices=self._piece(plain, name, state))
        if name == "response.output_item":
            return Chunk(choices=self._item(plain, state))
        if kind in _ENDS:
            return self._end(plain, state)
        if kind not in RESPONSES_EVENTS and len(self._unknown) < FIELDS_LIMIT:
            self._unknown[shown_name(kind) if kind else "(no type)"] = None
        response = dict_of(plain.get("response"))
        return Chunk(id=string_of(response.get("id")), model=string_of(response.get("model")))

    def _piece(self, plain: dict[str, Any], name: str, state: str) -> list[Choice]:
        field_name, whole = _PIECES[name]
        place = index_of(plain.get("output_index"))
        part = index_of(plain.get("content_index" if name != _SUMMARY else "summary_index"))
        text = text_of(plain.get("delta" if state == "delta" else whole))
        if not text or (state == "done" and self._repeats(name, place, part)):
            return []
        self.summarised |= name == _SUMMARY
        self._note_piece(name, place, part)
        if field_name == "arguments":
            return _choice(Delta(tool_calls=[CallDelta(Function(arguments=text), place)]))
        delta = Delta()
        setattr(delta, field_name, text)
        return _choice(delta)

    def _item(self, plain: dict[str, Any], state: str) -> list[Choice]:
        """Reads `output_item.added` (role or call name) and `output_item.done` (whole item, used if no delta came)."""
        item, place = dict_of(plain.get("item")), index_of(plain.get("output_index"))
        call = _is_call(item)
        self._called |= call
        if state == "done":
            if self._has((place,)) or self._has((None,)) or (place is None and self._said):
                return []
            self._note_place(place)
            return _choice(self._all_of([(place, item)], named=not self._has((place, "name"))))
        if call:
            self._note((place, "name"))
            name = Function(name=string_of(item.get("name")))
            return _choice(Delta(tool_calls=[CallDelta(name, place, _call_id(item))]))
        role = string_of(item.get("role"))
        return [Choice(delta=Delta(role=role), index=place)] if role else []

    def _end(self, plain: dict[str, Any], state: str) -> Chunk:
        response = dict_of(plain.get("response"))
        if not self._said:
            self.summarised |= _has_summary(response)
        return _ended(response, _status(response, state), said=not self._said, called=self._called)

    def _all_of(self, items: list[tuple[int | None, dict[str, Any]]], *, named: bool) -> Delta:
        self.summarised |= any(dicts_of(item.get("summary")) for _, item in items)
        return _message_delta(items, named=named)

    def _repeats(self, name: str, place: int | None, part: int | None) -> bool:
        """True if deltas of this `.done` event came. Some gateways number only deltas, some only `.done` events."""
        came: list[tuple[Any, ...]] = [(name, place, part), (name, place, None), (name, None, None)]
        if part is None:
            came.append((name, place, "any"))
        if place is None:
            came.append((name, "any", "any"))
        return any(map(self._has, came))

    def _note_piece(self, name: str, place: int | None, part: int | None) -> None:
        if (name, place, part) in self._came:
            return
        for at in ((name, place, part), (name, place, "any"), (name, "any", "any")):
            self._note(at)
        self._note_place(place)

    def _note_place(self, place: int | None) -> None:
        self._said = True
        self._note((place,))

    def _has(self, at: tuple[Any, ...]) -> bool:
        return at in self._came or len(self._came) >= CAME_LIMIT

    def _note(self, at: tuple[Any, ...]) -> None:
        if len(self._came) < CAME_LIMIT:
            self._came.add(at)


@dataclass(slots=True)
class WholeResponse:
    """Reads one non-streamed response of the Responses API."""

    finish_ends: bool = False
    summarised: bool = False

    def look(self, _: Any) -> Iterable[str]:
        return ()

    def read(self, data: bytes) -> Chunk:
        plain = _answer(data, "output")
        self.summarised = _has_summary(plain)
        return _ended(plain, string_of(plain.get("status")), said=True)


def _has_summary(response: dict[str, Any]) -> bool:
    return any(dicts_of(item.get("summary")) for item in dicts_of(response.get("output")))


def _status(response: dict[str, Any], state: str) -> str:
    """Returns the last event's status, or the response's own if that is worse.

    Some gateways end every response with `response.completed`.
    """
    own = string_of(response.get("status"))
    return own if own in ("failed", "cancelled") or (own == "incomplete" and state == "completed") else state


def _ended(response: dict[str, Any], status: str | None, *, said: bool, called: bool = False) -> Chunk:
    """Returns the chunk of a response that has ended: its error, or finish reason, usage and, if `said`, its output."""
    if response.get("error") or status in ("failed", "cancelled"):
        return Chunk(error=_error(response.get("error") or {}))
    items = list(enumerate(dicts_of(response.get("output"))))
    called = called or any(_is_call(item) for _, item in items)
    delta = _message_delta(items, named=True) if said else None
    return Chunk(
        id=string_of(response.get("id")),
        model=string_of(response.get("model")),
        choices=[Choice(delta=delta, finish_reason=_reason(response, status, called=called), index=0)],
        usage=dict_of(response.get("usage")) or None,
    )


def _reason(response: dict[str, Any], status: str | None, *, called: bool) -> str | None:
    """Returns the finish reason in the words of Chat Completions; None if the response is still in progress."""
    if status == "completed":
        return "tool_calls" if called else "stop"
    if status != "incomplete":
        return None
    reason = string_of(dict_of(response.get("incomplete_details")).get("reason")) or "incomplete"
    return _REASONS.get(reason, reason)


def _message_delta(items: Iterable[tuple[int | None, dict[str, Any]]], *, named: bool) -> Delta:
    """Returns the output of the items. `named` is True if no earlier event gave the calls' names and ids."""
    fields: dict[str, list[str]] = {"content": [], "refusal": [], "reasoning": []}
    calls = []
    for place, item in items:
        for part in [*dicts_of(item.get("content")), *dicts_of(item.get("summary"))]:
            kind = "refusal" if "refusal" in part else "reasoning" if item.get("type") == "reasoning" else "content"
            fields[kind].append(text_of(part.get("refusal" if kind == "refusal" else "text")) or "")
        if _is_call(item):
            name = string_of(item.get("name")) if named else None
            arguments = text_of(item.get(_CALLS[item["type"]]))
            calls.append(CallDelta(Function(name, arguments), place, _call_id(item) if named else None))
    content, refusal, reasoning = ("".join(fields[kind]) for kind in ("content", "refusal", "reasoning"))
    return Delta(content=content, refusal=refusal, reasoning=reasoning, tool_calls=calls)


def _choice(delta: Delta) -> list[Choice]:
    return [Choice(delta=delta, index=0)]


def _call_id(item: dict[str, Any]) -> str | None:
    return string_of(item.get("call_id")) or string_of(item.get("id"))


def _is_call(item: dict[str, Any]) -> bool:
    return string_of(item.get("type")) in _CALLS


def _error(error: Any) -> Any:
    """Returns an error without the event's own `type`, which is not a code. The result is never an empty object."""
    if not isinstance(error, dict):
        return error
    kept = {key: error[key] for key in _TOLD if error.get(key) is not None}
    if error.get("type") not in (None, "error") and not _is_event(error):
        kept["type"] = error["type"]
    return kept or {"message": "no reason given"}


def _is_event(plain: dict[str, Any]) -> bool:
    return (string_of(plain.get("type")) or "").startswith("response.")
