"""What a request's parameters ask of the answer's form: functions, a choice, JSON, effort; and what is wrong with it.

Read alike from Chat Completions' spelling, Responses' and the legacy `functions`. Pure. On the way: `suite` and
`config` refuse what is no JSON Schema, `client` notes what was asked, `findings` and `parts` hold the answer to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from streambench.documents import KeyPath, nearest, shown
from streambench.json_answers import JsonForm
from streambench.records import Asked
from streambench.tool_calls import declared_schemas
from streambench.tool_schemas import TYPES, prepare, schema_fault

EFFORT_LIMIT = 40
NAME_LIMIT = 64

Choice = Literal["auto", "none", "required", "function"]

_CHOICES: Mapping[str, Choice] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
_TAKES: Mapping[str, str] = {
    "type": f"one of {', '.join(TYPES)}, or a list of them",
    "properties": "a mapping of names to schemas",
    "required": "a list of property names, beside `properties`",
    "enum": "a list of values",
    "items": "one schema, as in {type: string}",
}
_A_SCHEMA = "a JSON Schema, as in {type: object, properties: {city: {type: string}}, required: [city]}"
_A_FUNCTION = "a function, as in {type: function, function: {name: look, parameters: {type: object}}}"
_A_FORMAT = "a format, as in {type: json_schema, json_schema: {name: person, schema: {type: object}}}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a parameter: where, what was found and what to write."""

    path: KeyPath
    message: str
    found: str | None
    accepted: str


def asked_of(params: Mapping[str, Any]) -> Asked | None:
    """None where the answer's form is left to the model."""
    tools = len(_items(params.get("tools"))) + len(_items(params.get("functions")))
    choice, function = _choice(params) if tools else (None, None)
    form = json_form(params)
    found = Asked(tools, choice, function, form.kind if form else None, effort_of(params))
    return None if found == Asked() else found


def json_form(params: Mapping[str, Any]) -> JsonForm | None:
    """The JSON that `response_format` (or Responses' `text.format`) asks for."""
    stated = _mapping(params.get("response_format")) or _mapping(_mapping(params.get("text")).get("format"))
    kind = stated.get("type")
    if kind == "json_schema":
        return JsonForm("json_schema", (_mapping(stated.get("json_schema")) or stated).get("schema"))
    return JsonForm("json_object", stated.get("schema")) if kind == "json_object" else None


def effort_of(params: Mapping[str, Any]) -> str | None:
    """`reasoning_effort`, or the effort or token limit of `reasoning`."""
    reasoning = _mapping(params.get("reasoning"))
    stated = params.get("reasoning_effort") or reasoning.get("effort")
    if stated is None and isinstance(reasoning.get("max_tokens"), int):
        stated = f"{reasoning['max_tokens']} tokens"
    if isinstance(stated, bool) or not isinstance(stated, str | int):
        return None
    return "".join(char if char.isprintable() else "?" for char in str(stated))[:EFFORT_LIMIT]


def prepare_schemas(params: Mapping[str, Any]) -> None:
    """Reads the schemas ahead of the run: at the end of the first stream it would hold up all others."""
    form = json_form(params)
    for schema in (*declared_schemas(params).values(), *([form.schema] if form and form.schema is not None else [])):
        prepare(schema)


def faults(params: Mapping[str, Any]) -> Iterator[Fault]:
    """What no gateway could use of the functions, or of the JSON asked for. What nobody here knows is passed on."""
    yield from _faults_of_list(params, "tools")
    yield from _faults_of_list(params, "functions")
    if "response_format" in params:
        yield from _faults_of_format(params["response_format"], ("response_format",))
    if "format" in _mapping(params.get("text")):
        yield from _faults_of_format(params["text"]["format"], ("text", "format"))


def _choice(params: Mapping[str, Any]) -> tuple[Choice | None, str | None]:
    """`auto` where nothing is said, as all APIs take it."""
    stated = params.get("tool_choice", params.get("function_call", "auto"))
    if isinstance(stated, str):
        return _CHOICES.get(stated), None
    plain = _mapping(stated)
    if isinstance(plain.get("mode"), str):  # of allowed_tools
        return _CHOICES.get(plain["mode"]), None
    name = (_mapping(plain.get("function")) or plain).get("name")
    return ("function", name[:NAME_LIMIT]) if isinstance(name, str) else (None, None)


def _faults_of_list(params: Mapping[str, Any], key: str) -> Iterator[Fault]:
    if key not in params:
        return
    stated = params[key]
    if not isinstance(stated, list | tuple):
        yield Fault((key,), "must be a list", shown(stated), f"a list of {_A_FUNCTION.removeprefix('a ')}")
        return
    for index, item in enumerate(stated):
        if key == "functions":
            yield from _faults_of_function(item, (key, index))
        elif not isinstance(item, Mapping):
            yield Fault((key, index), "is no tool", shown(item), _A_FUNCTION)
        elif "function" in item:
            yield from _faults_of_function(item["function"], (key, index, "function"))
        elif item.get("type") == "function":
            yield from _faults_of_function(item, (key, index))  # Responses' own form


def _faults_of_function(item: Any, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(item, Mapping):
        yield Fault(path, "is no function", shown(item), _A_FUNCTION)
        return
    name = item.get("name")
    if not isinstance(name, str) or not name.strip():
        found = shown(name) if "name" in item else None
        yield Fault((*path, "name"), "is required: a function's name", found, "a text of letters, digits, _ and -")
    if item.get("parameters") is not None:
        yield from _faults_of_schema(item["parameters"], (*path, "parameters"))


def _faults_of_format(stated: Any, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(stated, Mapping) or not isinstance(stated.get("type"), str):
        yield Fault(path, "is no format", shown(stated), _A_FORMAT)
        return
    if stated["type"] == "json_schema":
        inner = "json_schema" if path[-1] == "response_format" else None
        held, at = (stated.get(inner), (*path, inner)) if inner else (stated, path)
        if not isinstance(held, Mapping) or held.get("schema") is None:
            yield Fault((*at, "schema"), "is required with `type: json_schema`", None, _A_SCHEMA)
        else:
            yield from _faults_of_schema(held["schema"], (*at, "schema"))
    elif stated["type"] == "json_object" and stated.get("schema") is not None:
        yield from _faults_of_schema(stated["schema"], (*path, "schema"))


def _faults_of_schema(schema: Any, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(schema, Mapping):
        yield Fault(path, "is no JSON Schema", shown(schema), _A_SCHEMA)
        return
    fault = schema_fault(schema)
    if fault is None:
        return
    keyword = next((str(key) for key in reversed(fault.path) if isinstance(key, str)), "")
    typed = f"a value of type {' or '.join(fault.types)}" if fault.types else f"what JSON Schema lets `{keyword}` be"
    takes = _TAKES.get(keyword, typed if keyword else _A_SCHEMA)
    hint = nearest(fault.value, TYPES) if keyword == "type" and isinstance(fault.value, str) else ""
    yield Fault((*path, *fault.path), f"is no JSON Schema{hint}", shown(fault.value), takes)


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
