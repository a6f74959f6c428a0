"""What a `finish_reason` means, for every word that a known server sends. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

FinishMeaning = Literal["end", "calls", "length", "filter", "refusal", "failure"]


@dataclass(frozen=True, slots=True)
class FinishWords:
    """Words that mean the same, in lower case and separated by spaces. `vendors` sent them."""

    meaning: FinishMeaning
    words: str
    vendors: str


FINISH_WORDS: tuple[FinishWords, ...] = (
    FinishWords("end", "stop", "OpenAI and all others"),
    FinishWords("end", "eos eos_token stop_sequence stop_token stop_str", "TGI, Together, Cohere, SGLang"),
    FinishWords("end", "end_turn end done complete completed finished finish normal", "Anthropic, Cohere, Baidu"),
    FinishWords("calls", "tool_calls tool_call function_call tool_use", "OpenAI, Anthropic, Cohere"),
    FinishWords("length", "length max_tokens max_output_tokens max_length max_new_tokens", "OpenAI, Gemini, TGI"),
    FinishWords("length", "model_length context_length model_context_window_exceeded", "Mistral, Anthropic"),
    FinishWords("length", "max_context_length context_window_exceeded token_limit", "llama.cpp, Bedrock, watsonx"),
    FinishWords("filter", "content_filter content_filtered safety recitation blocklist", "Azure, Bedrock, Gemini"),
    FinishWords("filter", "prohibited_content spii image_safety language model_armor", "Gemini"),
    FinishWords("filter", "sensitive guardrail_intervened error_toxic", "Zhipu, Bedrock, Cohere"),
    FinishWords("refusal", "refusal", "Anthropic"),
    FinishWords("failure", "error abort aborted cancel canceled cancelled", "OpenRouter, vLLM, SGLang, FastFlowLM"),
    FinishWords("failure", "failed failure interrupted incomplete timeout", "Responses, several gateways"),
    FinishWords("failure", "network_error insufficient_system_resource", "Zhipu, DeepSeek"),
    FinishWords("failure", "malformed_function_call unexpected_tool_call too_many_tool_calls", "Gemini"),
    FinishWords("failure", "malformed_response no_image malformed_model_output malformed_tool_use", "Gemini, Bedrock"),
    FinishWords("failure", "user_cancel upstream_error server_error internal_error", "Cohere, several gateways"),
)
"""The table of finish reasons."""

_MEANINGS = {word: row.meaning for row in FINISH_WORDS for word in row.words.split()}
_BY_GRAVITY: tuple[FinishMeaning, ...] = ("failure", "filter", "refusal", "length", "calls", "end")
_FAILS = ("error", "abort", "cancel", "fail", "malformed")
"""Beginnings of words that mean a failure, such as `error_limit` or `aborted_by_user`."""
_ENUMS = ("finish_reason_", "finishreason_", "stop_reason_")
"""Prefixes of enumerations that some gateways leave in front of the word."""
_BETWEEN = re.compile(r"\s*[:./|]\s*")
_LONGEST = 200
"""Characters of a finish reason that are read: a word is shorter."""


def meaning_of(reason: str | None) -> FinishMeaning | None:
    """Returns what the reason means; None if there is none, or if no known server sends it.

    Some gateways put a class before the word (`content_filter: SAFETY`, `FinishReason.STOP`), or a text after it
    (`error: upstream`). The gravest part counts.
    """
    found = set(filter(None, map(_meaning_of_word, _words(reason[:_LONGEST])))) if reason else ()
    return next((meaning for meaning in _BY_GRAVITY if meaning in found), None)


def _words(reason: str) -> Iterator[str]:
    word = _word(reason)
    yield word
    for part in _BETWEEN.split(reason):
        yield _word(part)


def _word(text: str) -> str:
    word = text.strip().lower().replace("-", "_").replace(" ", "_")
    return next((word.removeprefix(prefix) for prefix in _ENUMS if word.startswith(prefix)), word)


def _meaning_of_word(word: str) -> FinishMeaning | None:
    known = _MEANINGS.get(word)
    return known or ("failure" if word.startswith(_FAILS) else None)
