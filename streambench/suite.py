"""Prompt suites: a YAML, JSONL or JSON file, or the config's own `prompts:`, becomes prompts with ids and a hash.

On the way: config -> suite -> plan. A prompt is a text, or a mapping of id, text, messages or turns, system, tags,
params and more: docs/suites.md has every form. Everything wrong in a suite is reported at once, as SuiteError.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from streambench.asked import faults
from streambench.documents import Document, KeyPath, nearest, read_json, read_jsonl, read_yaml, shown, value_at
from streambench.errors import InputError, Problem, SuiteError
from streambench.expansion import Made, expanded
from streambench.headers import why_not_of_prompt
from streambench.images import DETAILS, ImageError, checked_url, data_url, image_part
from streambench.reading import Reading
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
_SUITE_KEYS = ("name", "description", "prompts", "rows")
_SAYINGS = ("text", "messages", "turns")
_PROMPT_KEYS = ("id", *_SAYINGS, "history", "system", "tags", "params", "images", "headers", "rows", "synthetic")
_IMAGE_KEYS = ("type", "file", "url", "detail")
_MAX_ID = 200


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent, over every model's own params and headers: the prompt's win over the model's."""

    id: str
    messages: tuple[Mapping[str, Any], ...]
    """Of a conversation those that stand before its first turn."""
    tags: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    """Of a conversation; empty where the prompt is a single request."""
    history: int | None = None
    """How many earlier turns are sent at most; None is all."""
    headers: Mapping[str, str] = field(default_factory=dict)


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


def suite_from(document: Document, name: str, at: KeyPath = (), folders: tuple[Path, ...] = ()) -> Suite:
    """The suite that a document holds at a path. `folders`: where the files that it names are looked for, if not
    beside the document. Raises SuiteError with every problem found."""
    reading = _Reading(document, folders)
    data = value_at(document, at)
    rows = None
    if isinstance(data, dict):
        name = _suite_name(reading, data, at, name)
        rows, data, at = data.get("rows"), data.get("prompts"), (*at, "prompts")
    prompts = _prompts(reading, data, at, rows)
    if reading.problems:
        raise SuiteError(reading.problems)
    return Suite(name, prompts, hash_of(prompts))


def texts_of(prompt: Prompt) -> Iterator[str]:
    """Every text that the suite has to be sent, of whatever role, and the arguments of calls."""
    for message in prompt.messages:
        yield from texts_in(message.get("content"))
        yield from _arguments_in(message.get("tool_calls"))
    for turn in prompt.turns:
        yield from texts_in(turn.user)
        yield from turn.tool_results.values()
        yield from texts_in(turn.assistant)


def _arguments_in(calls: Any) -> Iterator[str]:
    for call in calls if isinstance(calls, list | tuple) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        arguments = function.get("arguments") if isinstance(function, Mapping) else None
        if isinstance(arguments, str):
            yield arguments


def texts_in(content: Any) -> Iterator[str]:
    """The texts of a message's content, which may be in parts."""
    for part in content if isinstance(content, list | tuple) else [content]:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text


def hash_of(prompts: Iterable[Prompt]) -> str:
    """The first 16 hex digits of the SHA-256 of what is sent: ids, messages, params, turns, headers, as canonical JSON.

    The order of keys and of prompts, tags, and the layout of the file do not matter.
    """
    digest = hashlib.sha256()
    for index, prompt in enumerate(sorted(prompts, key=lambda prompt: prompt.id)):  # one at a time: images are large
        digest.update(b"," if index else b"[")
        digest.update(json.dumps(_sent(prompt), sort_keys=True, separators=(",", ":")).encode())
    digest.update(b"]")
    return digest.hexdigest()[:16]


def _sent(prompt: Prompt) -> list[Any]:
    """Turns and headers only where there are some, so that the hash of all other suites is what it always was."""
    turns = [[asdict(turn) for turn in prompt.turns], prompt.history] if prompt.turns else []
    return [prompt.id, prompt.messages, prompt.params, *turns, *([prompt.headers] if prompt.headers else [])]


def together(suites: Sequence[Suite]) -> Suite:
    """Several suites as one, in their order. An id that stands in more than one of them is `suite/id` in each.

    Raises SuiteError where two go by the same name and share an id.
    """
    counted = Counter(prompt.id for suite in suites for prompt in suite.prompts)
    prompts = tuple(
        prompt if counted[prompt.id] == 1 else replace(prompt, id=f"{suite.name}/{prompt.id}")
        for suite in suites
        for prompt in suite.prompts
    )
    twice = next((id_ for id_, times in Counter(prompt.id for prompt in prompts).items() if times > 1), None)
    if twice is not None:
        message = f"two suites of one name have the same prompt id {shown(twice)}"
        raise SuiteError([Problem(message, where="suite", accepted="a `name:` of its own in each suite")])
    return Suite("+".join(suite.name for suite in suites)[:_MAX_ID], prompts, hash_of(prompts))


class _Reading(Reading):
    """A pass over a suite; it reads a message's content too."""

    def content(self, value: Any, path: KeyPath) -> Any:
        """Text or parts, as they are sent: of images what the API takes."""
        _check_content(self, value, path)
        if not isinstance(value, list) or not any(_is_own_image(part) for part in value):
            return value
        return [_image(self, part, (*path, index)) if _is_own_image(part) else part for index, part in enumerate(value)]


def _suite_name(reading: _Reading, data: Mapping[str, Any], at: KeyPath, default: str) -> str:
    reading.known_keys(data, _SUITE_KEYS, at)
    if "description" in data:
        reading.text(data["description"], (*at, "description"))
    return reading.text(data["name"], (*at, "name")) if "name" in data else default


def _prompts(reading: _Reading, data: Any, at: KeyPath, rows: Any = None) -> tuple[Prompt, ...]:
    if not isinstance(data, list) or not data:
        message = "the suite has no prompts" if not data else "must be a list of prompts"
        reading.refuse(
            at, message, shown(data) if data else None, "a list of texts, or of mappings with text, messages or turns"
        )
        return ()
    read = [(_made(reading, one), one) for one in expanded(reading, data, at, rows)]
    _refuse_same_ids(reading, read)
    return tuple(prompt for prompt, _ in read)


def _made(reading: _Reading, one: Made) -> Prompt:
    reading.row = one.row
    prompt = _prompt(reading, one.item, one.path, one.default_id)
    reading.row = None
    return prompt


def _refuse_same_ids(reading: _Reading, read: Sequence[tuple[Prompt, Made]]) -> None:
    """Of each place in the file the first is told: a table's rows may all have one id."""
    first: dict[str, Made] = {}
    told: set[KeyPath] = set()
    for prompt, one in read:
        earlier = first.setdefault(prompt.id, one)
        if earlier is one or one.path in told:
            continue
        told.add(one.path)
        line = reading.document.line(earlier.path)
        prompts = f"prompt {int(earlier.path[-1]) + 1}"
        place = earlier.row or (f"the prompt in line {line}" if line else prompts)
        reading.row = one.row
        reading.refuse((*one.path, "id"), f"has the same id as {place}", shown(prompt.id), "an id of its own")
        reading.row = None


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
        headers=_headers(reading, item.get("headers", {}), (*path, "headers")),
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


def _headers(reading: _Reading, value: Any, path: KeyPath) -> Mapping[str, str]:
    """A prompt's are plain: nothing that is secret, and nothing that another part of the request says."""
    if not isinstance(value, dict):
        reading.refuse(path, "must be a mapping", shown(value), "headers, as in {x-tier: batch}")
        return {}
    checked: dict[str, str] = {}
    for name, said in value.items():
        text = json.dumps(said) if isinstance(said, int | float) and not isinstance(said, bool) else said
        why = why_not_of_prompt(name, text)
        if why:
            reading.refuse((*path, name), why, accepted="a header such as x-tier, with a text on one line")
        else:
            checked[name] = text
    return checked


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
    if "images" in item and "text" not in item:
        reading.refuse((*path, "images"), "stand beside no text", accepted="`text`; or parts {type: image} in messages")
    if "text" in item:
        text = reading.text(item["text"], text_path)
        return ({"role": "user", "content": _with_images(reading, text, item.get("images"), (*path, "images"))},)
    if "messages" in item:
        return _message_list(reading, item["messages"], (*path, "messages"))
    if not said and item.keys() <= set(_PROMPT_KEYS):  # else a mistyped one has been told
        reading.refuse(path, "has neither text nor messages nor turns", accepted="one of them")
    return ()


def _with_images(reading: _Reading, text: str, images: Any, path: KeyPath) -> Any:
    """The content of a text and its images: the text alone where there are none."""
    if images is None:
        return text
    if not isinstance(images, list) or not images:
        reading.refuse(path, "must be a list of images", shown(images), "a list of files or URLs, as in [pic.png]")
        return text
    parts = [_image(reading, image, (*path, index)) for index, image in enumerate(images)]
    return [{"type": "text", "text": text}, *parts]


def _image(reading: _Reading, said: Any, path: KeyPath) -> dict[str, Any]:
    """The API's part for a file's path, a URL, or a mapping of one of them and `detail`."""
    if isinstance(said, str):
        said = {"url" if "://" in said else "file": said}
    if not isinstance(said, dict) or ("file" in said) == ("url" in said):
        accepted = "a file's path, a URL, or a mapping {file: ...} or {url: ...}"
        reading.refuse(path, "is no image", shown(said), accepted)
        return image_part("")
    reading.known_keys(said, _IMAGE_KEYS, path)
    detail = said.get("detail")
    if detail is not None and detail not in DETAILS:
        reading.refuse((*path, "detail"), "is none of the choices", shown(detail), ", ".join(DETAILS))
    return image_part(_image_url(reading, said, path), detail)


def _image_url(reading: _Reading, said: Mapping[str, Any], path: KeyPath) -> str:
    key = "file" if "file" in said else "url"
    try:
        if key == "url":
            return checked_url(said[key])
        place = reading.file(said[key], (*path, key), "an image file")
        return reading.once(place, data_url) if place else ""
    except ImageError as fault:
        reading.refuse((*path, key), fault.message, fault.found, fault.accepted)
    return ""


def _message_list(reading: _Reading, value: Any, path: KeyPath) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not value:
        reading.refuse(path, "must be a list of messages", shown(value), "a list of {role, content}")
        return ()
    read = [_message(reading, message, (*path, index)) for index, message in enumerate(value)]
    return tuple(message for message in read if message is not None)


def _message(reading: _Reading, message: Any, path: KeyPath) -> Mapping[str, Any] | None:
    if not isinstance(message, dict):
        reading.refuse(path, "must be a message", shown(message), "a mapping {role, content}")
        return None
    role = message.get("role")
    if role not in ROLES:
        hint = nearest(role, ROLES) if isinstance(role, str) else ""
        reading.refuse((*path, "role"), f"is no role{hint}", shown(role), ", ".join(ROLES))
    if message.get("content") is None and message.get("tool_calls"):
        return message  # an assistant's turn that only calls tools
    content = reading.content(message.get("content"), (*path, "content"))
    return message if content is message.get("content") else message | {"content": content}


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


def _is_own_image(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image"
