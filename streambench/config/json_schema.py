"""The config file's JSON Schema, by which editors complete keys and mark mistakes while one types.

From the schema that `load_config` validates by, and the short forms that the steps before it take. It is no stricter
than the loader, and cannot tell relations between keys: `streambench doctor` does.
"""

from __future__ import annotations

import json
from typing import Any

from streambench.config.schema import FileConfig

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""Limits that pydantic leaves under its own names where a value is read before it is checked."""

_PROMPT = {
    "description": "a text, or a mapping with text or messages",
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "unique in its suite"},
                "text": {"type": "string", "description": "what the user says; or `messages`"},
                "messages": {"type": "array", "description": "as in a request: each with role and content"},
                "system": {"type": "string", "description": "the system's message"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "params": {"type": "object", "description": "request parameters; they win over the model's"},
            },
        },
    ],
}
_SUITE = {
    "description": "a suite's own file: prompts, with a name",
    "anyOf": [
        {"type": "array", "items": {"$ref": "#/$defs/Prompt"}},
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "description": {"type": "string"},
                "prompts": {"type": "array", "items": {"$ref": "#/$defs/Prompt"}},
            },
        },
    ],
}


def json_schema() -> dict[str, Any]:
    """As plain data."""
    schema = _mended(FileConfig.model_json_schema(by_alias=True, mode="validation"))
    defs, properties = schema["$defs"], schema["properties"]
    defs |= {"Prompt": _PROMPT, "Suite": _SUITE}
    properties["models"]["items"] = {"anyOf": [{"type": "string"}, properties["models"]["items"]]}
    properties["prompts"] |= {"type": "array", "items": {"$ref": "#/$defs/Prompt"}}
    del properties["prompts"]["anyOf"]
    schema["required"] = [key for key in schema["required"] if key != "name"]
    schema["oneOf"] = [{"required": ["suite"]}, {"required": ["prompts"]}]
    about = "A run of streambench: which models, through which gateways, with which prompts."
    return {"$schema": _DIALECT, **schema, "title": "streambench", "description": about}


def json_schema_text() -> str:
    """As `configs/schema.json` and `streambench config schema` have it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _mended(node: Any, *, names: bool = False) -> Any:
    """`names`: the keys are names of the config's own, not words of the schema."""
    if isinstance(node, list):
        return [_mended(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _mended(inner) for key, inner in node.items()}
    return {
        _WORDS.get(key, key): inner if key == "default" else _mended(inner, names=key in ("properties", "$defs"))
        for key, inner in node.items()
        if key != "title"
    }
