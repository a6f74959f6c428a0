"""Prompt suites: a YAML, JSONL or JSON file, or the config's own `prompts:`, becomes prompts with ids and a hash.

On the way: config -> suite -> plan. A prompt is a text, or a mapping of id, text, messages or turns, system, tags and
params.
Everything wrong in a suite is reported at once, as SuiteError.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from streambench.asked import faults
from streambench.documents import Document, KeyPath, dotted, nearest, read_json, read_jsonl, read_yaml, shown
from streambench.errors import InputError, Problem, SuiteError
from streambench.turns import Turn, read_history, read_turns

ROLES = ("system", "developer", "user", "assistant", "tool")

RESERVED_PARAMS: Mapping[str, str] = {
    "stream": "`stream:` of the model or of the run says it",
    "stream_options": "streambench asks for usage itself; `include_usage: false` turns that off",
    "messages": "the messages come from the suite",
    "input": "the messages come from the suite",
    "prompt": "the messages come from the suite",
    "model": "the model is said by `model:`",
}
"""Request parameters that would break a benchmark, and why."""

_READERS: Mapping[str, Callable[[Path], Document]] = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
}
_SUITE_KEYS = ("name", "description", "prompts")
_PROMPT_KEYS = ("id", "text", "messages", "turns", "history", "system", "tags", "params")
_SAYINGS = ("text", "messages", "turns")
_OTHERS_WORDS = {"prompt": "text", "content": "text", "question": "text", "input": "text", "conversation": "messages"}
_MAX_ID = 200


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent, over every model's own params: `params` win over the model's."""

    id: str
    messages: tuple[Mapping[str, Any], ...]
    """Of a conversation those that stand before its first turn."""
    tags: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    """Of a conversation; empty where the prompt is a single request."""
    history: int | None = None
    """How many earlier turns are sent at most; None is all."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Prompts in the file's order, ids unique. `hash` tells whether two runs sent the same: see `hash_of`."""

    name: str
    prompts: tuple[Prompt, ...]
    hash: str


def load_suite(path: Path) -> Suite:
    """The suite in a file, named by its `name:` or the file's stem. Raises SuiteError with every problem found."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        problem = Problem("is not a kind of suite", str(path), found=shown(path.suffix), accepted=", ".join(_READERS))
        raise SuiteError([problem])
    try:
        document = read(path)
    except InputError as error:
        raise SuiteError(error.problems) from None
    return suite_from(document, path.stem)


def suite_from(document: Document, name: str, at: KeyPath = ()) -> Suite:
    """The suite that a document holds at a path. Raises SuiteError with every problem found."""
    reading = _Reading(document)
    data: Any = document.data
    for key in at:
        data = data[key]
    if isinstance(data, dict):
        name = _suite_name(reading, data, at, name)
        data, at = data.get("prompts"), (*at, "prompts")
    prompts = _prompts(reading, data, at)
    if reading.problems:
        raise SuiteError(reading.problems)
    return Suite(name, prompts, hash_of(prompts))


def texts_of(prompt: Prompt) -> Iterator[str]:
    """Every text that the suite has to be sent, of whatever role."""
    for message in prompt.messages:
        yield from texts_in(message.get("content"))
    for turn in prompt.turns:
        yield from texts_in(turn.user)
        yield from turn.tool_results.values()
        yield from texts_in(turn.assistant)


def texts_in(content: Any) -> Iterator[str]:
    """The texts of a message's content, which may be in parts."""
    for part in content if isinstance(content, list | tuple) else [content]:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text


def hash_of(prompts: Iterable[Prompt]) -> str:
    """The first 16 hex digits of the SHA-256 of what is sent: ids, messages, params and turns, as canonical JSON.

    The order of keys and of prompts, tags, and the layout of the file do not matter.
    """
    rows = sorted(([p.id, p.messages, p.params, *_turns_of(p)] for p in prompts), key=lambda row: str(row[0]))
    text = json.dumps(rows, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _turns_of(prompt: Prompt) -> list[Any]:
    """Nothing for a single request, whose hash is so the same as before there were conversations."""
    return [[asdict(turn) for turn in prompt.turns], prompt.history] if prompt.turns else []


class _Reading:
    """One pass over a suite, gathering what is wrong. Parsers go on with a stand-in value after a problem."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self.document = document

    def refuse(self, path: KeyPath, message: str, found: str | None = None, accepted: str | None = None) -> None:
        line = self.document.line(path)
        bare_list = bool(path) and isinstance(path[0], int)
        where = dotted(("prompts", *path) if bare_list else path) or None
        self.problems.append(Problem(message, self.document.file, line, where, found, accepted))

    def text(self, value: Any, path: KeyPath) -> str:
        if not isinstance(value, str):
            self.refuse(path, "must be text", shown(value), "text; put numbers in quotes")
            return ""
        if not value.strip():
            self.refuse(path, "must not be empty", shown(value), "text")
        return value

    def content(self, value: Any, path: KeyPath) -> Any:
        """A message's: text or parts."""
        _check_content(self, value, path)
        return value

    def known_keys(self, item: Mapping[str, Any], known: tuple[str, ...], path: KeyPath) -> None:
        for key in item:
            if key not in known:
                other = _OTHERS_WORDS.get(key)
                hint = f"; did you mean `{other}`?" if other in known else nearest(key, known)
                self.refuse((*path, key), f"unknown key{hint}", accepted=", ".join(known))


def _suite_name(reading: _Reading, data: Mapping[str, Any], at: KeyPath, default: str) -> str:
    reading.known_keys(data, _SUITE_KEYS, at)
    if "description" in data:
        reading.text(data["description"], (*at, "description"))
    return reading.text(data["name"], (*at, "name")) if "name" in data else default


def _prompts(reading: _Reading, data: Any, at: KeyPath) -> tuple[Prompt, ...]:
    if not isinstance(data, list) or not data:
        message = "the suite has no prompts" if not data else "must be a list of prompts"
        reading.refuse(
            at, message, shown(data) if data else None, "a list of texts, or of mappings with text, messages or turns"
        )
        return ()
    prompts = tuple(_prompt(reading, item, (*at, i), f"p{i + 1:03}") for i, item in enumerate(data))
    _refuse_same_ids(reading, prompts, at)
    return prompts


def _refuse_same_ids(reading: _Reading, prompts: tuple[Prompt, ...], at: KeyPath) -> None:
    first: dict[str, int] = {}
    for index, prompt in enumerate(prompts):
        earlier = first.setdefault(prompt.id, index)
        if earlier != index:
            line = reading.document.line((*at, earlier))
            place = f"line {line}" if line else f"prompt {earlier + 1}"
            message = f"has the same id as the prompt in {place}" if line else f"has the same id as {place}"
            reading.refuse((*at, index, "id"), message, shown(prompt.id), "an id of its own")


def _prompt(reading: _Reading, item: Any, path: KeyPath, default_id: str) -> Prompt:
    if isinstance(item, str):
        item = {"text": item}
        text_path = path
    elif isinstance(item, dict):
        text_path = (*path, "text")
    else:
        reading.refuse(path, "must be a prompt", shown(item), "a text, or a mapping with text, messages or turns")
        return Prompt(default_id, ())
    reading.known_keys(item, _PROMPT_KEYS, path)
    return Prompt(
        id=_id(reading, item.get("id"), (*path, "id"), default_id),
        messages=_system(reading, item, path) + _messages(reading, item, path, text_path),
        tags=_tags(reading, item.get("tags", []), (*path, "tags")),
        params=_params(reading, item.get("params", {}), (*path, "params")),
        turns=read_turns(reading, item["turns"], (*path, "turns")) if "turns" in item else (),
        history=_history(reading, item, path),
    )


def _id(reading: _Reading, value: Any, path: KeyPath, default: str) -> str:
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = reading.text(value, path)
    if len(text) > _MAX_ID or not text.isprintable():
        reading.refuse(path, "is no usable id", shown(value), f"one printable line of up to {_MAX_ID} characters")
    return text.strip() or default


def _tags(reading: _Reading, value: Any, path: KeyPath) -> tuple[str, ...]:
    if not isinstance(value, list):
        reading.refuse(path, "must be a list", shown(value), "a list of texts, as in [short, code]")
        return ()
    return tuple(reading.text(tag, (*path, index)) for index, tag in enumerate(value))


def _params(reading: _Reading, value: Any, path: KeyPath) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        reading.refuse(path, "must be a mapping", shown(value), "request parameters, as in {max_tokens: 64}")
        return {}
    for name in sorted(value.keys() & RESERVED_PARAMS):
        reading.refuse((*path, name), f"may not be set: {RESERVED_PARAMS[name]}")
    for fault in faults(value):
        reading.refuse((*path, *fault.path), fault.message, fault.found, fault.accepted)
    return value


def _system(reading: _Reading, item: Mapping[str, Any], path: KeyPath) -> tuple[Mapping[str, Any], ...]:
    if "system" not in item:
        return ()
    return ({"role": "system", "content": reading.text(item["system"], (*path, "system"))},)


def _history(reading: _Reading, item: Mapping[str, Any], path: KeyPath) -> int | None:
    if "history" not in item:
        return None
    if "turns" not in item:
        reading.refuse((*path, "history"), "is for a prompt with turns")
    return read_history(reading, item["history"], (*path, "history"))


def _messages(
    reading: _Reading, item: Mapping[str, Any], path: KeyPath, text_path: KeyPath
) -> tuple[Mapping[str, Any], ...]:
    said = [key for key in _SAYINGS if key in item]
    if len(said) > 1:
        reading.refuse(path, f"has both {' and '.join(said)}", accepted="one of them")
    if "text" in item:
        return ({"role": "user", "content": reading.text(item["text"], text_path)},)
    if "messages" in item:
        return _message_list(reading, item["messages"], (*path, "messages"))
    if not said and item.keys() <= set(_PROMPT_KEYS):  # else a mistyped one has been told
        reading.refuse(path, "has neither text nor messages nor turns", accepted="one of them")
    return ()


def _message_list(reading: _Reading, value: Any, path: KeyPath) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not value:
        reading.refuse(path, "must be a list of messages", shown(value), "a list of {role, content}")
        return ()
    for index, message in enumerate(value):
        _check_message(reading, message, (*path, index))
    return tuple(message for message in value if isinstance(message, dict))


def _check_message(reading: _Reading, message: Any, path: KeyPath) -> None:
    if not isinstance(message, dict):
        reading.refuse(path, "must be a message", shown(message), "a mapping {role, content}")
        return
    role = message.get("role")
    if role not in ROLES:
        hint = nearest(role, ROLES) if isinstance(role, str) else ""
        reading.refuse((*path, "role"), f"is no role{hint}", shown(role), ", ".join(ROLES))
    if message.get("content") is None and message.get("tool_calls"):
        return  # an assistant's turn that only calls tools
    _check_content(reading, message.get("content"), (*path, "content"))


def _check_content(reading: _Reading, content: Any, path: KeyPath) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        reading.refuse(
            path, "must be text", shown(content), "text, or a list of content parts such as {type: text, text: ...}"
        )
        return
    for index, part in enumerate(content):
        _check_part(reading, part, (*path, index))


def _check_part(reading: _Reading, part: Any, path: KeyPath) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        reading.refuse(
            path, "is no content part", shown(part), "a mapping with a type, such as {type: text, text: ...}"
        )
    elif part["type"] == "text" and not isinstance(part.get("text"), str):
        reading.refuse((*path, "text"), "must be text", shown(part.get("text")), "text")
