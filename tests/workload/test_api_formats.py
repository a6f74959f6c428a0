"""A chat request in the words of each API: what the SDK is given, and what has no place there."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.workload.api_formats import ApiMode, in_words_of, joined, unsendable

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": SCHEMA, "strict": True}}
FLAT_TOOL = {"type": "function", "name": "look", "description": "d", "parameters": SCHEMA, "strict": True}
USER = {"role": "user", "content": "Hi"}


def asked(api: str, messages: Any = (USER,), **params: Any) -> Any:
    return in_words_of(api, {"messages": list(messages), "extra_body": params})


def test_a_chat_goes_as_it_is() -> None:
    """All that it is given; of the others what is neither messages nor parameters."""
    chat = {"messages": [USER], "stream_options": {"include_usage": True}, "extra_body": {"max_tokens": 5}}
    assert in_words_of("chat", chat) == chat
    assert in_words_of("completions", chat)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (ApiMode("chat"), True),
        (ApiMode("completions"), True),
        (ApiMode("chat", streamed=False), False),
        (ApiMode("responses"), False),
    ],
)
def test_usage_is_asked_for_where_it_would_not_come_of_itself(ask: ApiMode, *, named: bool) -> None:
    """`stream_options` is refused by Responses, and by any API for a whole answer."""
    assert ask.names_usage is named


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("api", "becomes"), [("responses", "max_output_tokens"), ("completions", "max_tokens")])
def test_the_token_limit_has_its_name_in_each_api(api: str, name: str, becomes: str) -> None:
    """Whichever of a chat's two names the suite uses."""
    params: dict[str, Any] = {name: 7}
    assert asked(api, **params)["extra_body"] == {becomes: 7}


@pytest.mark.parametrize(
    ("messages", "items"),
    [
        ([{"role": "system", "content": "Be brief"}, USER], [{"role": "system", "content": "Be brief"}, USER]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "What is it?"}]}],
            [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"}]}],
        ),
        (
            [{"role": "assistant", "content": [{"type": "text", "text": "A tram."}]}],
            [{"role": "assistant", "content": [{"type": "output_text", "text": "A tram."}]}],
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]}],
            [{"role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "low"}]}],
        ),
        (
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            ],
            [
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            ],
        ),
    ],
)
def test_messages_become_items_of_a_response(messages: Any, items: Any) -> None:
    """Roles stay; parts have other names there, calls and results are items of their own."""
    assert asked("responses", messages)["input"] == items


@pytest.mark.parametrize(
    ("params", "become"),
    [
        ({"tools": [TOOL]}, {"tools": [FLAT_TOOL]}),
        ({"tools": [FLAT_TOOL, {"type": "web_search"}]}, {"tools": [FLAT_TOOL, {"type": "web_search"}]}),
        ({"tool_choice": "auto"}, {"tool_choice": "auto"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
            {"tool_choice": {"type": "function", "name": "look"}},
        ),
        ({"functions": [TOOL["function"]], "function_call": "none"}, {"tools": [FLAT_TOOL], "tool_choice": "none"}),
        ({"function_call": {"name": "look"}}, {"tool_choice": {"type": "function", "name": "look"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
        ),
        ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        ({"verbosity": "low", "text": {"format": 1}}, {"text": {"format": 1, "verbosity": "low"}}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ({"reasoning_effort": "low", "reasoning": {"summary": "auto"}},
         {"reasoning": {"effort": "low", "summary": "auto"}}),
        ({"temperature": 0, "store": False}, {"temperature": 0, "store": False}),
    ],
)  # fmt: skip
def test_params_take_their_shape_in_responses(params: Any, become: Any) -> None:
    """What has another shape there is turned; all else goes as it is."""
    assert asked("responses", **params) == {"input": [USER], "extra_body": become}


def test_what_is_given_is_not_changed() -> None:
    """The suite's own mappings are sent again and again."""
    params: dict[str, Any] = {
        "tools": [TOOL],
        "text": {"a": 1},
        "verbosity": "low",
        "reasoning": {},
        "reasoning_effort": "low",
    }
    before = repr(params)
    asked("responses", **params)
    assert repr(params) == before


def test_a_legacy_prompt_is_the_texts_of_its_messages() -> None:
    """One text as it is; several with an empty line between, as there are no roles."""
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    assert asked("completions") == {"prompt": "Hi", "extra_body": {}}
    assert joined([{"role": "system", "content": "Be brief"}, parts]) == "Be brief\n\nab"


@pytest.mark.parametrize(
    ("messages", "params", "what"),
    [
        ([USER], {}, None),
        ([USER], {"tools": [TOOL]}, "`tools`"),
        ([USER], {"response_format": {"type": "json_object"}}, "`response_format`"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], {}, "a part of type `image_url`"),
        ([{"role": "tool", "content": "x"}], {}, "tool calls"),
    ],
)
def test_what_legacy_completions_has_no_place_for(messages: Any, params: Any, what: str | None) -> None:
    """It is said beforehand; the other APIs have a place for all of it."""
    assert unsendable("completions", messages, params) == what
    assert unsendable("responses", messages, params) is None
