"""The chunk fields that known gateways send. A field that is not listed may be a change that breaks a client.

Sources: recorded transcripts (OpenAI's own form, llama.cpp, LiteLLM, Portkey, test servers) and the API pages of
Azure, OpenRouter, vLLM, SGLang, DeepSeek, Groq, Perplexity and Mistral. `usage` is not checked, because every gateway
adds its own fields there. Pure; `StreamDecoder` calls it for a few frames of a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from streambench.client.decode.chunk_json import REASONING_FIELDS
from streambench.text import shown_name

FIELDS_LIMIT = 16
"""Unknown names kept per stream, and items checked per list."""

_TOP = """
    id object created model choices usage error system_fingerprint service_tier obfuscation
    timings prompt_progress __verbose
    prompt_filter_results provider prompt_logprobs prompt_token_ids kv_transfer_params metadata sglext
    x_groq citations citation search_results images related_questions type p
"""
_CHOICE = """
    index delta finish_reason logprobs text message error
    content_filter_results content_filter_result content_filter_offsets native_finish_reason
    stop_reason token_ids matched_stop hidden_states enhancements provider_specific_fields
"""
_DELTA = """
    role content refusal tool_calls function_call audio annotations
    reasoning_details thinking_blocks provider_specific_fields
    images executed_tools context
"""
_CALL = "index id type function extra_content provider_specific_fields"
_FUNCTION = "name arguments parameters"

KNOWN: Mapping[str, frozenset[str]] = {
    "": frozenset(_TOP.split()),
    "choices": frozenset(_CHOICE.split()),
    "choices.delta": frozenset((*REASONING_FIELDS, *_DELTA.split())),
    "choices.message": frozenset((*REASONING_FIELDS, *_DELTA.split())),
    "choices.delta.tool_calls": frozenset(_CALL.split()),
    "choices.delta.tool_calls.function": frozenset(_FUNCTION.split()),
}
"""Maps a path to the names known there. A path that is not listed is not checked."""

_RESPONSES = """
    created in_progress queued completed incomplete failed cancelled compaction.compacting
    output_item.added output_item.done content_part.added content_part.done
    output_text.delta output_text.done output_text.annotation.added refusal.delta refusal.done
    reasoning_text.delta reasoning_text.done reasoning_part.added reasoning_part.done
    reasoning_summary_text.delta reasoning_summary_text.done
    reasoning_summary_part.added reasoning_summary_part.done
    function_call_arguments.delta function_call_arguments.done
    custom_tool_call_input.delta custom_tool_call_input.done
    audio.delta audio.done audio.transcript.delta audio.transcript.done
    code_interpreter_call_code.delta code_interpreter_call_code.done code_interpreter_call.in_progress
    code_interpreter_call.interpreting code_interpreter_call.completed
    file_search_call.in_progress file_search_call.searching file_search_call.completed
    web_search_call.in_progress web_search_call.searching web_search_call.completed
    image_generation_call.in_progress image_generation_call.generating image_generation_call.partial_image
    image_generation_call.completed
    mcp_call_arguments.delta mcp_call_arguments.done mcp_call.in_progress mcp_call.completed mcp_call.failed
    mcp_list_tools.in_progress mcp_list_tools.completed mcp_list_tools.failed
    shell_call_command.added shell_call_command.delta shell_call_command.done
    shell_call_output_content.delta shell_call_output_content.done
    steer steer.accepted steer.pending steer.failed
"""
RESPONSES_EVENTS = frozenset(f"response.{name}" for name in _RESPONSES.split())
"""Event types of a streamed response in the Responses API. The only other type is `error`."""


def unknown_fields(plain: Any) -> Iterator[str]:
    """Yields the paths of a chunk's fields that no known gateway sends, such as `choices.delta.mood`."""
    return _unknown(plain, "")


def _unknown(plain: Any, path: str) -> Iterator[str]:
    if isinstance(plain, list):
        for item in plain[:FIELDS_LIMIT]:
            if isinstance(item, dict):  # lists in lists are skipped: only a hostile server nests them, to any depth
                yield from _unknown(item, path)
    elif isinstance(plain, dict):
        known = KNOWN[path]
        for name, value in plain.items():
            inner = f"{path}.{name}" if path else name
            if name not in known:
                yield f"{path}.{shown_name(name)}" if path else shown_name(name)
            elif inner in KNOWN:
                yield from _unknown(value, inner)
