"""The three APIs of one gateway, and a chat request in the words of each: one suite is asked of all of them. Pure.

A suite is written as for Chat Completions; `in_words_of` makes of it what the SDK's call for an API takes. On the way:
from the config which API, to `client` the request; `api_events` reads what comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Api = Literal["chat", "responses", "completions"]

PATHS: Mapping[str, str] = {"chat": "/chat/completions", "responses": "/responses", "completions": "/completions"}
"""What each adds to a gateway's address."""

BETWEEN = "\n\n"
"""Between two messages of a prompt for legacy Completions, which knows no roles."""

_LIMITS = ("max_tokens", "max_completion_tokens")
_CHAT_ONLY = ("tools", "tool_choice", "functions", "function_call", "response_format")


@dataclass(frozen=True, slots=True)
class Ask:
    """How a model is asked: by which API, and for a stream or for the whole answer in one body."""

    api: str = "chat"
    streamed: bool = True

    @property
    def names_usage(self) -> bool:
        """Whether token counts come only if the request asks for them."""
        return self.streamed and self.api != "responses"


STREAMED_CHAT = Ask()
"""As a model is asked that says nothing of it."""


def whole_alias(alias: str) -> str:
    """What the whole answers of a model go by, where its streams stand beside them."""
    return f"{alias} (whole)"


def in_words_of(api: str, chat: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the SDK's `create` of an API is given besides model and stream, made of what it is given for a chat:
    `messages`, `extra_body` with the parameters, and whatever else there is.
    """
    if api == "chat":
        return chat
    more = dict(chat)
    messages, params = more.pop("messages"), more.pop("extra_body")
    if api == "responses":
        return {"input": list(_items(messages)), **more, "extra_body": _responses_params(params)}
    return {"prompt": joined(messages), **more, "extra_body": _with_limit(params, "max_tokens")}


def unsendable(api: str, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str | None:
    """What of a prompt this API has no place for, in words; None where all of it can be sent."""
    if api != "completions":
        return None
    for name in _CHAT_ONLY:
        if name in params:
            return f"`{name}`"
    for message in messages:
        if message.get("tool_calls") or message.get("role") == "tool":
            return "tool calls"
        for part in _parts(message.get("content")):
            if part.get("type") != "text":
                return f"a part of type `{part.get('type')}`"
    return None


def joined(messages: Sequence[Mapping[str, Any]]) -> str:
    """The messages' texts, one after the other; a single one as it is."""
    texts = ("".join(str(part.get("text", "")) for part in _parts(message.get("content"))) for message in messages)
    return BETWEEN.join(text for text in texts if text)


def _parts(content: Any) -> list[Mapping[str, Any]]:
    """A message's content as parts, a plain text being one."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list | tuple) else []


def _with_limit(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The same with the limit on output tokens under its name in this API."""
    told = {key: value for key, value in params.items() if key not in _LIMITS}
    for limit in _LIMITS:
        if limit in params:
            told[name] = params[limit]
    return told


# --- Responses

_IMAGE: Mapping[str, str] = {"url": "image_url"}


def _items(messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Input items: a message each, and calls and their results as items of their own."""
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "tool":
            output = joined([message])
            yield {"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": output}
            continue
        if content:
            yield {"role": role, "content": content if isinstance(content, str) else _input_parts(role, content)}
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            called = {"name": function.get("name"), "arguments": function.get("arguments")}
            yield {"type": "function_call", "call_id": call.get("id"), **called}


def _input_parts(role: Any, content: Any) -> list[Mapping[str, Any]]:
    return [_input_part(part, "output_text" if role == "assistant" else "input_text") for part in _parts(content)]


def _input_part(part: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    """A chat's content part; one of no known type goes as it is."""
    kind = part.get("type")
    inner = part.get(str(kind))
    if kind == "text":
        return {**part, "type": text}
    if kind == "image_url" and isinstance(inner, Mapping):
        return {"type": "input_image", **{_IMAGE.get(name, name): value for name, value in inner.items()}}
    if kind == "file" and isinstance(inner, Mapping):
        return {"type": "input_file", **inner}
    return part


def _responses_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """A chat's parameters under their names here; the others as they are, for the gateway to take or to refuse."""
    told = _with_limit(params, "max_output_tokens")
    text = dict(told.pop("text", None) or {})
    if "response_format" in told:
        text["format"] = _flat(told.pop("response_format"), "json_schema")
    if "verbosity" in told:
        text["verbosity"] = told.pop("verbosity")
    if "reasoning_effort" in told:
        told["reasoning"] = {"effort": told.pop("reasoning_effort"), **(told.get("reasoning") or {})}
    tools = [*(told.pop("tools", None) or ()), *map(_as_tool, told.pop("functions", None) or ())]
    choice = told.pop("tool_choice", None) or _as_tool(told.pop("function_call", None))
    told |= {"tools": [_flat(tool, "function") for tool in tools]} if tools else {}
    told |= {"tool_choice": _flat(choice, "function")} if choice else {}
    return {**told, "text": text} if text else told


def _as_tool(legacy: Any) -> Any:
    """A legacy function, or the choice of one, as a tool; `auto` and `none` as they are."""
    return {"type": "function", "function": legacy} if isinstance(legacy, Mapping) else legacy


def _flat(plain: Any, kind: str) -> Any:
    """`{type: kind, kind: {...}}` without its inner level."""
    if isinstance(plain, Mapping) and plain.get("type") == kind and isinstance(plain.get(kind), Mapping):
        return {"type": kind, **plain[kind]}
    return plain
