"""Parses request bodies of all three APIs into a `ChatRequest`, or raises the error that OpenAI would return."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

Json = dict[str, Any]


class ApiError(Exception):
    """An error response in OpenAI's format."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", param: str | None, code: str | None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode(error_json(message, kind, param, code))


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The fields that change the answer. All others, such as `n`, are accepted and ignored."""

    model: str | None = None
    messages: list[Json] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[Json] | None = None
    tool_choice: Any = None
    api: str = "chat"
    """The API of the request: `chat`, `completions` or `responses`. The parser sets it, whatever the body says."""
    parallel_tool_calls: bool | None = None
    functions: list[Json] | None = None
    function_call: Any = None
    response_format: Any = None
    reasoning_effort: Any = None
    reasoning: Any = None

    @property
    def wants_usage(self) -> bool:
        if self.api == "responses":
            return True
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def wants_tools(self) -> bool:
        """True if tools may be called. False if the last message is a tool's result, so that an agent's loop ends."""
        last = (self.messages or [{}])[-1]
        answered = last.get("role") in ("tool", "function")
        choice = self.tool_choice if self.tools else self.function_call
        return bool(self.tools or self.functions) and choice != "none" and not answered

    @property
    def effort(self) -> str:
        """The reasoning effort; `medium` if the request states none."""
        stated = self.reasoning.get("effort") if isinstance(self.reasoning, dict) else None
        return str(self.reasoning_effort or stated or "medium")

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def digest(self) -> str:
        """Returns a hash of the messages that does not depend on the whitespace or key order of the client's JSON."""
        return hashlib.blake2b(msgspec.json.encode(self.messages, order="deterministic"), digest_size=16).hexdigest()

    def prompt_tokens(self) -> int:
        """Returns an estimate: for each message one token, and one more per four characters (a rule of thumb)."""
        return sum(map(tokens_of, self.messages or ()))


class CompletionRequest(msgspec.Struct):
    model: str | None = None
    prompt: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None


class ResponseRequest(msgspec.Struct):
    model: str | None = None
    input: str | list[Json] | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[Json] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    reasoning: Any = None
    text: Any = None


_decoder = msgspec.json.Decoder(ChatRequest)
_completion_decoder = msgspec.json.Decoder(CompletionRequest)
_response_decoder = msgspec.json.Decoder(ResponseRequest)


def parse_chat(body: bytes) -> ChatRequest:
    """Parses a chat completion request. Raises ApiError 400 for invalid JSON and missing or mistyped fields."""
    request = _decoded(body, _decoder)
    request.api = "chat"
    return _checked(request)


def parse_completion(body: bytes) -> ChatRequest:
    """Parses a legacy completion request; its prompt becomes the only message of a chat. Raises ApiError 400."""
    asked = _decoded(body, _completion_decoder)
    messages: list[Json] = [{"role": "user", "content": asked.prompt}] if asked.prompt else []
    return _checked(
        ChatRequest(
            asked.model, messages, asked.stream, asked.stream_options, max_tokens=asked.max_tokens, api="completions"
        ),
        "prompt",
    )


def parse_response(body: bytes) -> ChatRequest:
    """Parses a Responses request; the items of its input become the messages of a chat. Raises ApiError 400."""
    asked = _decoded(body, _response_decoder)
    given = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else asked.input or []
    messages = [_as_message(item) for item in given]
    tools: list[Json] = [{"function": tool} for tool in asked.tools or () if tool.get("type") == "function"]
    choice = {"function": asked.tool_choice} if isinstance(asked.tool_choice, dict) else asked.tool_choice
    return _checked(
        ChatRequest(
            asked.model,
            messages,
            asked.stream,
            max_tokens=asked.max_output_tokens,
            tools=tools or None,
            tool_choice=choice,
            parallel_tool_calls=asked.parallel_tool_calls,
            response_format=_as_response_format(asked.text),
            reasoning=asked.reasoning,
            api="responses",
        ),
        "input",
    )


def _as_response_format(text: Any) -> Any:
    stated = text.get("format") if isinstance(text, dict) else None
    return {**stated, "json_schema": stated} if isinstance(stated, dict) else None


def _as_message(item: Json) -> Json:
    kind = item.get("type")
    if kind == "function_call_output":
        return {"role": "tool", "content": item.get("output")}
    return {"role": "assistant", "content": ""} if kind == "function_call" else item


T = TypeVar("T")


def _decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise ApiError(400, f"Invalid request: {exc}", param=None, code=None) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ApiError(400, f"We could not parse the JSON body of your request: {exc}", param=None, code=None) from exc


def _checked(request: ChatRequest, words: str = "messages") -> ChatRequest:
    if not request.model:
        raise ApiError(400, "you must provide a model parameter", param="model", code=None)
    if not request.messages:
        raise ApiError(400, f"Missing required parameter: '{words}'.", param=words, code="missing_parameter")
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
