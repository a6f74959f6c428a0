"""Masks secrets and prompts of a resolved config, for the run's header (run.json) and for reprs.

schema.py and config.py build the plain data with these functions. A value that came from a variable is masked by its
path in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from streambench.redaction import MASK, Secrets, is_secret_name
from streambench.workload.conversation import begin
from streambench.workload.images import images_of
from streambench.workload.suite import Prompt, Suite, texts_in

MAX_TEXT = 200
"""Characters: a longer text in params is replaced by its length."""

TOLD_PARAMS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "n",
        "stop",
        "reasoning_effort",
        "service_tier",
    }
)
"""Params of a prompt that are settings, not text, and so may be stored."""


def prompt_catalogue(suite: Suite, secrets: Secrets) -> dict[str, dict[str, Any]]:
    """Returns what the run's header stores about each prompt, by id: tags, numbers of messages and characters (of the
    first request of a conversation), settings, and facts of its turns. It contains no text of the prompt.
    """
    return {
        prompt.id: {
            "tags": list(prompt.tags),
            "messages": len(begin(prompt).messages),
            "chars": sum(len(text) for message in begin(prompt).messages for text in texts_in(message.get("content"))),
            **_images(prompt),
            "params": masked_params({k: v for k, v in prompt.params.items() if k in TOLD_PARAMS}, secrets),
            **({"turns": [asdict(turn.facts) for turn in prompt.turns]} if prompt.turns else {}),
        }
        for prompt in suite.prompts
    }


def _images(prompt: Prompt) -> dict[str, int]:
    """Returns the number of images, {} without images. Their bytes do not count as characters."""
    count = images_of(begin(prompt).messages)
    return {"images": count} if count else {}


def hide(value: Any, path: Sequence[Any]) -> None:
    """Masks the value at a path, in place: a short secret cannot be recognized by its form."""
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = MASK


def masked_headers(headers: Mapping[str, str], secrets: Secrets, hidden: frozenset[str]) -> dict[str, str]:
    """Returns the headers with secrets masked: in full those in `hidden` and those whose name says so."""
    return {
        name: MASK if name in hidden or is_secret_name(name) else secrets.mask(value) for name, value in headers.items()
    }


def masked_params(value: Any, secrets: Secrets, name: str = "") -> Any:
    """Returns the parameters with secrets masked, and each text of over MAX_TEXT characters replaced by its length."""
    match value:
        case Mapping():
            return {key: masked_params(inner, secrets, str(key)) for key, inner in value.items()}
        case list():
            return [masked_params(inner, secrets, name) for inner in value]
        case str() if is_secret_name(name):
            return MASK
        case str() if len(value) > MAX_TEXT:
            return f"<text of {len(value)} characters>"
        case str():
            return secrets.mask(value)
    return value
