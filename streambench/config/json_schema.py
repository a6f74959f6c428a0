"""The config file's JSON Schema, with which editors complete keys and mark mistakes.

It is made from FileConfig, with which `load_config` validates, and adds the short forms that the steps before
validation accept. It is never stricter than the loader. It does not cover relations between keys: `streambench doctor`
checks those.
"""

from __future__ import annotations

import json
from typing import Any

from streambench.config.schema import FileConfig

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""JSON Schema's keywords for limits that pydantic leaves under its own names on fields with a BeforeValidator."""

_PROMPT = {
    "description": "a text, or a mapping with text or messages",
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "unique within the suite"},
                "text": {"type": "string", "description": "the user's message; or use `messages`"},
                "messages": {"type": "array", "description": "as in a request: each has a role and content"},
                "system": {"type": "string", "description": "the system message"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "params": {"type": "object", "description": "request parameters; they override the model's"},
                "images": {"type": "array", "description": "files or URLs of images to send with `text`"},
                "rows": {
                    "type": ["string", "array"],
                    "description": "a table file or a list of rows: one prompt per row, with its values for {{name}}",
                },
                "synthetic": {
                    "type": "object",
                    "description": "text of a given length: tokens, count, seed, ...",
                },
                "headers": {"type": "object", "description": "request headers; they override the model's"},
            },
        },
    ],
}
_SUITE = {
    "description": "a suite file: a list of prompts, or a mapping with a name and prompts",
    "anyOf": [
        {"type": "array", "items": {"$ref": "#/$defs/Prompt"}},
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "description": {"type": "string"},
                "rows": {
                    "type": ["string", "array"],
                    "description": "a table file or a list of rows, for the prompts that use {{name}} and have no rows",
                },
                "prompts": {"type": "array", "items": {"$ref": "#/$defs/Prompt"}},
            },
        },
    ],
}


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema as plain data."""
    schema = _without_titles(FileConfig.model_json_schema(by_alias=True, mode="validation"))
    defs, properties = schema["$defs"], schema["properties"]
    defs |= {"Prompt": _PROMPT, "Suite": _SUITE}
    properties["models"]["items"] = {"anyOf": [{"type": "string"}, properties["models"]["items"]]}
    properties["prompts"] |= {"type": "array", "items": {"$ref": "#/$defs/Prompt"}}
    del properties["prompts"]["anyOf"]
    schema["required"] = [key for key in schema["required"] if key != "name"]
    schema["oneOf"] = [{"required": ["suite"]}, {"required": ["prompts"]}]
    about = "The config of a streambench run: its gateways, models and prompts."
    return {"$schema": _DIALECT, **schema, "title": "streambench", "description": about}


def json_schema_text() -> str:
    """Returns the JSON Schema as text: `configs/schema.json`, and the output of `streambench config schema`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _without_titles(node: Any, *, names: bool = False) -> Any:
    """Returns the schema without titles and with JSON Schema's keywords for limits.

    `names`: the keys of `node` are names of config keys, not keywords, and stay as they are.
    """
    if isinstance(node, list):
        return [_without_titles(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _without_titles(inner) for key, inner in node.items()}
    return {
        _WORDS.get(key, key): inner
        if key == "default"
        else _without_titles(inner, names=key in ("properties", "$defs"))
        for key, inner in node.items()
        if key != "title"
    }
