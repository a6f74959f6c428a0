"""Prompt suites: reads a YAML, JSONL or JSON file, or the config's own `prompts:`, as prompts with ids and a hash.

A prompt is a text, or a mapping of id, text, messages or turns, system, tags, params and more: docs/suites.md has every
form. All problems of a suite are reported together, as SuiteError.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from streambench.documents import Document, KeyPath, read_json, read_jsonl, read_yaml, value_at
from streambench.errors import InputError, Problem, SuiteError
from streambench.text import nearest, shown
from streambench.workload.expansion import ExpandedPrompt, expanded
from streambench.workload.headers import why_not_of_prompt
from streambench.workload.images import DETAILS, ImageError, checked_url, data_url, image_part
from streambench.workload.parsing import ParseContext
from streambench.workload.request_params import faults
from streambench.workload.turns import Turn, read_history, read_turns

ROLES = ("system", "developer", "user", "assistant", "tool")

RESERVED_PARAMS: Mapping[str, str] = {
    "stream": "set `stream:` of the model or of the run instead",
    "stream_options": "streambench asks for usage itself; `include_usage: false` turns that off",
    "messages": "the messages come from the suite",
    "input": "the messages come from the suite",
    "prompt": "the messages come from the suite",
    "model": "set `model:` of the model instead",
}
"""Request parameters that may not be set because they would break a benchmark, and why."""

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
    """One prompt. Its params and headers override those of the model."""

    id: str
    messages: tuple[Mapping[str, Any], ...]
    """For a conversation: the messages before its first turn."""
    tags: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    """The turns of a conversation; empty if the prompt is a single request."""
    history: int | None = None
    """The largest number of earlier turns to send; None for all."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    """Prompts in the file's order, with unique ids. Two runs with equal `hash` sent the same prompts: see `hash_of`."""

    name: str
    prompts: tuple[Prompt, ...]
    hash: str


def load_suite(path: Path) -> Suite:
    """Returns the suite in a file; its name is its `name:` or the file's stem. Raises SuiteError with every problem."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        problem = Problem(
            "is not a supported suite format", str(path), found=shown(path.suffix), accepted=", ".join(_READERS)
        )
        raise SuiteError([problem])
    try:
        document = read(path)
    except InputError as error:
        raise SuiteError(error.problems) from None
    return suite_from(document, path.stem)


def suite_from(document: Document, name: str, at: KeyPath = (), folders: tuple[Path, ...] = ()) -> Suite:
    """Returns the suite at a path of a document. Raises SuiteError with every problem found.

    `folders`: where the files that it names are looked up; without them, the document's folder.
    """
    reading = _SuiteContext(document, folders)
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
    """Yields every text that the suite defines for a prompt, of any role, and the arguments of calls."""
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
    """Yields the texts of a message's content, which may be a list of parts."""
    for part in content if isinstance(content, list | tuple) else [content]:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text


def hash_of(prompts: Iterable[Prompt]) -> str:
    """Returns the first 16 hex digits of the SHA-256 of what is sent: ids, messages, params, turns and headers, as
    canonical JSON.

    Tags, the order of keys and of prompts, and the layout of the file do not matter.
    """
    digest = hashlib.sha256()
    for index, prompt in enumerate(sorted(prompts, key=lambda prompt: prompt.id)):  # one at a time: images are large
        digest.update(b"," if index else b"[")
        digest.update(json.dumps(_sent(prompt), sort_keys=True, separators=(",", ":")).encode())
    digest.update(b"]")
    return digest.hexdigest()[:16]


def _sent(prompt: Prompt) -> list[Any]:
    """Returns the data of a prompt for the hash.

    Turns and headers are included only if there are any, so that the hashes of older suites stay the same.
    """
    turns = [[asdict(turn) for turn in prompt.turns], prompt.history] if prompt.turns else []
    return [prompt.id, prompt.messages, prompt.params, *turns, *([prompt.headers] if prompt.headers else [])]


def together(suites: Sequence[Suite]) -> Suite:
    """Returns several suites as one, in order. An id that is in more than one of them becomes `suite/id` in each.

    Raises SuiteError if two suites of the same name share an id.
    """
    counted = Counter(prompt.id for suite in suites for prompt in suite.prompts)
    prompts = tuple(
        prompt if counted[prompt.id] == 1 else replace(prompt, id=f"{suite.name}/{prompt.id}")
        for suite in suites
        for prompt in suite.prompts
    )
    twice = next((id_ for id_, times in Counter(prompt.id for prompt in prompts).items() if times > 1), None)
    if twice is not None:
        message = f"two suites with the same name have the same prompt id {shown(twice)}"
        raise SuiteError([Problem(message, where="suite", accepted="a unique `name:` in each suite")])
    return Suite("+".join(suite.name for suite in suites)[:_MAX_ID], prompts, hash_of(prompts))


class _SuiteContext(ParseContext):
    """A ParseContext that also parses the content of a message."""

    def content(self, value: Any, path: KeyPath) -> Any:
        """Returns a message's content as it is sent, with each `{type: image}` as a part of type `image_url`."""
        _check_content(self, value, path)
        if not isinstance(value, list) or not any(_is_own_image(part) for part in value):
            return value
        return [_image(self, part, (*path, index)) if _is_own_image(part) else part for index, part in enumerate(value)]


def _suite_name(reading: _SuiteContext, data: Mapping[str, Any], at: KeyPath, default: str) -> str:
    reading.known_keys(data, _SUITE_KEYS, at)
    if "description" in data:
        reading.text(data["description"], (*at, "description"))
    return reading.text(data["name"], (*at, "name")) if "name" in data else default


def _prompts(reading: _SuiteContext, data: Any, at: KeyPath, rows: Any = None) -> tuple[Prompt, ...]:
    if not isinstance(data, list) or not data:
        message = "the suite has no prompts" if not data else "must be a list of prompts"
        reading.refuse(
            at, message, shown(data) if data else None, "a list of texts, or of mappings with text, messages or turns"
        )
        return ()
    read = [(_made(reading, one), one) for one in expanded(reading, data, at, rows)]
    _refuse_same_ids(reading, read)
    return tuple(prompt for prompt, _ in read)


def _made(reading: _SuiteContext, one: ExpandedPrompt) -> Prompt:
    reading.row = one.row
    prompt = _prompt(reading, one.item, one.path, one.default_id)
    reading.row = None
    return prompt


def _refuse_same_ids(reading: _SuiteContext, read: Sequence[tuple[Prompt, ExpandedPrompt]]) -> None:
    """Adds a problem for each place in the file that repeats an id; only one per place, as all rows of a table may have
    the same id.
    """
    first: dict[str, ExpandedPrompt] = {}
    reported: set[KeyPath] = set()
    for prompt, one in read:
        earlier = first.setdefault(prompt.id, one)
        if earlier is one or one.path in reported:
            continue
        reported.add(one.path)
        line = reading.document.line(earlier.path)
        prompts = f"prompt {int(earlier.path[-1]) + 1}"
        place = earlier.row or (f"the prompt in line {line}" if line else prompts)
        reading.row = one.row
        reading.refuse((*one.path, "id"), f"has the same id as {place}", shown(prompt.id), "a unique id")
        reading.row = None


def _prompt(reading: _SuiteContext, item: Any, path: KeyPath, default_id: str) -> Prompt:
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


def _id(reading: _SuiteContext, value: Any, path: KeyPath, default: str) -> str:
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = reading.text(value, path)
    if len(text) > _MAX_ID or not text.isprintable():
        reading.refuse(path, "is not a valid id", shown(value), f"one printable line of up to {_MAX_ID} characters")
    return text.strip() or default


def _tags(reading: _SuiteContext, value: Any, path: KeyPath) -> tuple[str, ...]:
    if not isinstance(value, list):
        reading.refuse(path, "must be a list", shown(value), "a list of texts, such as [short, code]")
        return ()
    return tuple(reading.text(tag, (*path, index)) for index, tag in enumerate(value))


def _params(reading: _SuiteContext, value: Any, path: KeyPath) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        reading.refuse(path, "must be a mapping", shown(value), "request parameters, such as {max_tokens: 64}")
        return {}
    for name in sorted(value.keys() & RESERVED_PARAMS):
        reading.refuse((*path, name), f"may not be set: {RESERVED_PARAMS[name]}")
    for fault in faults(value):
        reading.refuse((*path, *fault.path), fault.message, fault.found, fault.accepted)
    return value


def _headers(reading: _SuiteContext, value: Any, path: KeyPath) -> Mapping[str, str]:
    """Returns a prompt's headers. Refuses secrets, and headers that another part of the request sets."""
    if not isinstance(value, dict):
        reading.refuse(path, "must be a mapping", shown(value), "headers, such as {x-tier: batch}")
        return {}
    checked: dict[str, str] = {}
    for name, given in value.items():
        text = json.dumps(given) if isinstance(given, int | float) and not isinstance(given, bool) else given
        why = why_not_of_prompt(name, text)
        if why:
            reading.refuse((*path, name), why, accepted="a header such as x-tier, with a text on one line")
        else:
            checked[name] = text
    return checked


def _system(reading: _SuiteContext, item: Mapping[str, Any], path: KeyPath) -> tuple[Mapping[str, Any], ...]:
    if "system" not in item:
        return ()
    return ({"role": "system", "content": reading.text(item["system"], (*path, "system"))},)


def _history(reading: _SuiteContext, item: Mapping[str, Any], path: KeyPath) -> int | None:
    if "history" not in item:
        return None
    if "turns" not in item:
        reading.refuse((*path, "history"), "is only allowed with `turns`")
    return read_history(reading, item["history"], (*path, "history"))


def _messages(
    reading: _SuiteContext, item: Mapping[str, Any], path: KeyPath, text_path: KeyPath
) -> tuple[Mapping[str, Any], ...]:
    keys = [key for key in _SAYINGS if key in item]
    if len(keys) > 1:
        reading.refuse(path, f"has both {' and '.join(keys)}", accepted="only one of them")
    if "images" in item and "text" not in item:
        reading.refuse(
            (*path, "images"), "must be used with `text`", accepted="`text`; or parts {type: image} in messages"
        )
    if "text" in item:
        text = reading.text(item["text"], text_path)
        return ({"role": "user", "content": _with_images(reading, text, item.get("images"), (*path, "images"))},)
    if "messages" in item:
        return _message_list(reading, item["messages"], (*path, "messages"))
    if not keys and item.keys() <= set(_PROMPT_KEYS):  # else a misspelt key has been reported
        reading.refuse(path, "has neither text nor messages nor turns", accepted="one of them")
    return ()


def _with_images(reading: _SuiteContext, text: str, images: Any, path: KeyPath) -> Any:
    """Returns the content of a text with its images; the text itself if there are no images."""
    if images is None:
        return text
    if not isinstance(images, list) or not images:
        reading.refuse(path, "must be a list of images", shown(images), "a list of files or URLs, such as [pic.png]")
        return text
    parts = [_image(reading, image, (*path, index)) for index, image in enumerate(images)]
    return [{"type": "text", "text": text}, *parts]


def _image(reading: _SuiteContext, value: Any, path: KeyPath) -> dict[str, Any]:
    """Returns the content part for a file path, a URL, or a mapping with one of them and `detail`."""
    if isinstance(value, str):
        value = {"url" if "://" in value else "file": value}
    if not isinstance(value, dict) or ("file" in value) == ("url" in value):
        accepted = "a file path, a URL, or a mapping {file: ...} or {url: ...}"
        reading.refuse(path, "is not an image", shown(value), accepted)
        return image_part("")
    reading.known_keys(value, _IMAGE_KEYS, path)
    detail = value.get("detail")
    if detail is not None and detail not in DETAILS:
        reading.refuse((*path, "detail"), "is not one of the choices", shown(detail), ", ".join(DETAILS))
    return image_part(_image_url(reading, value, path), detail)


def _image_url(reading: _SuiteContext, image: Mapping[str, Any], path: KeyPath) -> str:
    key = "file" if "file" in image else "url"
    try:
        if key == "url":
            return checked_url(image[key])
        place = reading.file(image[key], (*path, key), "an image file")
        return reading.once(place, data_url) if place else ""
    except ImageError as fault:
        reading.refuse((*path, key), fault.message, fault.found, fault.accepted)
    return ""


def _message_list(reading: _SuiteContext, value: Any, path: KeyPath) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not value:
        reading.refuse(path, "must be a list of messages", shown(value), "a list of {role, content}")
        return ()
    read = [_message(reading, message, (*path, index)) for index, message in enumerate(value)]
    return tuple(message for message in read if message is not None)


def _message(reading: _SuiteContext, message: Any, path: KeyPath) -> Mapping[str, Any] | None:
    if not isinstance(message, dict):
        reading.refuse(path, "must be a message", shown(message), "a mapping {role, content}")
        return None
    role = message.get("role")
    if role not in ROLES:
        hint = nearest(role, ROLES) if isinstance(role, str) else ""
        reading.refuse((*path, "role"), f"is not a role{hint}", shown(role), ", ".join(ROLES))
    if message.get("content") is None and message.get("tool_calls"):
        return message  # an assistant message with tool calls only
    content = reading.content(message.get("content"), (*path, "content"))
    return message if content is message.get("content") else message | {"content": content}


def _check_content(reading: _SuiteContext, content: Any, path: KeyPath) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        reading.refuse(
            path, "must be text", shown(content), "text, or a list of content parts such as {type: text, text: ...}"
        )
        return
    for index, part in enumerate(content):
        _check_part(reading, part, (*path, index))


def _check_part(reading: _SuiteContext, part: Any, path: KeyPath) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        reading.refuse(
            path, "is not a content part", shown(part), "a mapping with a type, such as {type: text, text: ...}"
        )
    elif part["type"] == "text" and not isinstance(part.get("text"), str):
        reading.refuse((*path, "text"), "must be text", shown(part.get("text")), "text")


def _is_own_image(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image"
