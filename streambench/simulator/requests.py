"""What a client asks: the body of a chat completion request, checked, or the error that OpenAI's API would answer."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

Json = dict[str, Any]


class ApiError(Exception):
    """An error reply in OpenAI's form."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", param: str | None, code: str | None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode(error_json(message, kind, param, code))


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The fields that change the answer; all others are accepted and ignored, `n` among them."""

    model: str | None = None
    messages: list[Json] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[Json] | None = None
    tool_choice: Any = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def wants_tools(self) -> bool:
        """Not when a tool has just answered: an agent's loop must come to an end."""
        last = (self.messages or [{}])[-1]
        answered = last.get("role") == "tool"
        return bool(self.tools) and self.tool_choice != "none" and not answered

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def digest(self) -> str:
        """A hash of the messages that does not depend on how the client spaced or ordered its JSON."""
        return hashlib.blake2b(msgspec.json.encode(self.messages, order="deterministic"), digest_size=16).hexdigest()

    def prompt_tokens(self) -> int:
        """Four characters a token, as a rule of thumb; at least one a message."""
        return sum(map(tokens_of, self.messages or ()))


_decoder = msgspec.json.Decoder(ChatRequest)


def parse_chat(body: bytes) -> ChatRequest:
    """The request. Raises ApiError 400 for what is no JSON, or lacks or mistypes a field."""
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise ApiError(400, f"Invalid request: {exc}", param=None, code=None) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ApiError(400, f"We could not parse the JSON body of your request: {exc}", param=None, code=None) from exc
    if not request.model:
        raise ApiError(400, "you must provide a model parameter", param="model", code=None)
    if not request.messages:
        raise ApiError(400, "Missing required parameter: 'messages'.", param="messages", code="missing_parameter")
    limit = request.token_limit
    if limit is not None and limit < 1:
        raise ApiError(400, f"max_tokens is too small: {limit}", param="max_tokens", code="integer_below_min_value")
    return request


def error_json(message: str, kind: str, param: str | None, code: str | None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def tokens_of(message: Json) -> int:
    return 1 + len(_text_of(message)) // 4


def _text_of(message: Json) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
