"""The three APIs of a gateway, and the translation of a chat request into the format of each. Pure.

A suite is written in the format of Chat Completions; `in_words_of` translates a request into the arguments of the SDK's
call for another API. `client/decode/api_adapters` reads the responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Api = Literal["chat", "responses", "completions"]

PATHS: Mapping[str, str] = {"chat": "/chat/completions", "responses": "/responses", "completions": "/completions"}
"""The path that each API adds to a gateway's base URL."""

BETWEEN = "\n\n"
"""Separator between two messages of a prompt for legacy Completions, which has no roles."""

_LIMITS = ("max_tokens", "max_completion_tokens")
_CHAT_ONLY = ("tools", "tool_choice", "functions", "function_call", "response_format")


@dataclass(frozen=True, slots=True)
class ApiMode:
    """How a model is requested: by which API, and for a streamed response or a whole one in a single body."""

    api: str = "chat"
    streamed: bool = True

    @property
    def names_usage(self) -> bool:
        """True if the response has token counts only if the request asks for them."""
        return self.streamed and self.api != "responses"


STREAMED_CHAT = ApiMode()
"""The default for a model that sets neither."""


def whole_alias(alias: str) -> str:
    """Returns the alias for the whole responses of a model whose streamed responses are measured too."""
    return f"{alias} (whole)"


def in_words_of(api: str, chat: Mapping[str, Any]) -> Mapping[str, Any]:
    """Translates the arguments of a chat request into those of the SDK's `create` for an API, without model and stream.

    `chat` has `messages`, `extra_body` with the parameters, and possibly others, which stay as they are.
    """
    if api == "chat":
        return chat
    more = dict(chat)
    messages, params = more.pop("messages"), more.pop("extra_body")
    if api == "responses":
        return {"input": list(_items(messages)), **more, "extra_body": _responses_params(params)}
    return {"prompt": joined(messages), **more, "extra_body": _with_limit(params, "max_tokens")}


def unsendable(api: str, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str | None:
    """Returns the first part of a prompt that this API cannot send, in words; None if it can send all of it."""
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
    """Returns the texts of the messages, joined by BETWEEN; empty ones are left out."""
    texts = ("".join(str(part.get("text", "")) for part in _parts(message.get("content"))) for message in messages)
    return BETWEEN.join(text for text in texts if text)


def _parts(content: Any) -> list[Mapping[str, Any]]:
    """Returns a message's content as a list of parts; a plain text becomes one part."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list | tuple) else []


def _with_limit(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the parameters with the limit on output tokens under `name`, its name in this API."""
    body = {key: value for key, value in params.items() if key not in _LIMITS}
    for limit in _LIMITS:
        if limit in params:
            body[name] = params[limit]
    return body


# --- Responses

_IMAGE: Mapping[str, str] = {"url": "image_url"}


def _items(messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the input items: one for each message, and separate ones for tool calls and their results."""
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
    """Translates a content part of a chat message; a part of an unknown type stays as it is."""
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
    """Returns a chat's parameters under their names in Responses.

    Other parameters stay as they are: the gateway accepts or refuses them.
    """
    body = _with_limit(params, "max_output_tokens")
    text = dict(body.pop("text", None) or {})
    if "response_format" in body:
        text["format"] = _flat(body.pop("response_format"), "json_schema")
    if "verbosity" in body:
        text["verbosity"] = body.pop("verbosity")
    if "reasoning_effort" in body:
        body["reasoning"] = {"effort": body.pop("reasoning_effort"), **(body.get("reasoning") or {})}
    tools = [*(body.pop("tools", None) or ()), *map(_as_tool, body.pop("functions", None) or ())]
    choice = body.pop("tool_choice", None) or _as_tool(body.pop("function_call", None))
    body |= {"tools": [_flat(tool, "function") for tool in tools]} if tools else {}
    body |= {"tool_choice": _flat(choice, "function")} if choice else {}
    return {**body, "text": text} if text else body


def _as_tool(legacy: Any) -> Any:
    """Returns a legacy function, or the choice of one, as a tool; `auto` and `none` stay as they are."""
    return {"type": "function", "function": legacy} if isinstance(legacy, Mapping) else legacy


def _flat(plain: Any, kind: str) -> Any:
    """Returns `{type: kind, kind: {...}}` without its inner level; any other value unchanged."""
    if isinstance(plain, Mapping) and plain.get("type") == kind and isinstance(plain.get(kind), Mapping):
        return {"type": kind, **plain[kind]}
    return plain
