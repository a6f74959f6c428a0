"""What a request's parameters ask of the output: functions, a tool choice, JSON, reasoning effort; and their faults.

Reads the spellings of Chat Completions and Responses, and the legacy `functions`. Pure. `suite` and `config` refuse
faults, `client` records what was requested (`output_request_of`), and `metrics/findings` compares the response with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from streambench.documents import KeyPath
from streambench.records.schema import OutputRequest
from streambench.text import nearest, shown
from streambench.workload.json_schema import TYPES, prepare, schema_fault

EFFORT_LIMIT = 40
NAME_LIMIT = 64

ToolChoice = Literal["auto", "none", "required", "function"]

_CHOICES: Mapping[str, ToolChoice] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
_TAKES: Mapping[str, str] = {
    "type": f"one of {', '.join(TYPES)}, or a list of them",
    "properties": "a mapping of names to schemas",
    "required": "a list of property names, next to `properties`",
    "enum": "a list of values",
    "items": "one schema, such as {type: string}",
}
_A_SCHEMA = "a JSON Schema such as {type: object, properties: {city: {type: string}}, required: [city]}"
_A_FUNCTION = "a function such as {type: function, function: {name: look, parameters: {type: object}}}"
_A_FORMAT = "a format such as {type: json_schema, json_schema: {name: person, schema: {type: object}}}"


@dataclass(frozen=True, slots=True)
class ParamFault:
    """A fault of a parameter: its path, what is wrong, what was found and what is accepted."""

    path: KeyPath
    message: str
    found: str | None
    accepted: str


def output_request_of(params: Mapping[str, Any]) -> OutputRequest | None:
    """Returns what the parameters ask of the output's form; None if they leave it to the model."""
    tools = len(_items(params.get("tools"))) + len(_items(params.get("functions")))
    choice, function = _choice(params) if tools else (None, None)
    form = json_form(params)
    found = OutputRequest(tools, choice, function, form.kind if form else None, effort_of(params))
    return None if found == OutputRequest() else found


def json_form(params: Mapping[str, Any]) -> JsonForm | None:
    """Returns the JSON that `response_format` (or `text.format` of Responses) asks for; None without it."""
    stated = _mapping(params.get("response_format")) or _mapping(_mapping(params.get("text")).get("format"))
    kind = stated.get("type")
    if kind == "json_schema":
        return JsonForm("json_schema", (_mapping(stated.get("json_schema")) or stated).get("schema"))
    return JsonForm("json_object", stated.get("schema")) if kind == "json_object" else None


def effort_of(params: Mapping[str, Any]) -> str | None:
    """Returns `reasoning_effort`, or the effort or token limit of `reasoning`; None without them.

    The text has at most EFFORT_LIMIT characters, all printable.
    """
    reasoning = _mapping(params.get("reasoning"))
    stated = params.get("reasoning_effort") or reasoning.get("effort")
    if stated is None and isinstance(reasoning.get("max_tokens"), int):
        stated = f"{reasoning['max_tokens']} tokens"
    if isinstance(stated, bool) or not isinstance(stated, str | int):
        return None
    return "".join(char if char.isprintable() else "?" for char in str(stated))[:EFFORT_LIMIT]


def prepare_schemas(params: Mapping[str, Any]) -> None:
    """Compiles the schemas before the run: at the end of the first stream this would delay all others."""
    form = json_form(params)
    for schema in (*declared_schemas(params).values(), *([form.schema] if form and form.schema is not None else [])):
        prepare(schema)


def faults(params: Mapping[str, Any]) -> Iterator[ParamFault]:
    """Yields each fault in the functions, or in the requested JSON format, that no gateway could use.

    Unknown kinds of tools and formats are not checked, but sent as they are.
    """
    yield from _faults_of_list(params, "tools")
    yield from _faults_of_list(params, "functions")
    if "response_format" in params:
        yield from _faults_of_format(params["response_format"], ("response_format",))
    if "format" in _mapping(params.get("text")):
        yield from _faults_of_format(params["text"]["format"], ("text", "format"))


def _choice(params: Mapping[str, Any]) -> tuple[ToolChoice | None, str | None]:
    """Returns the tool choice, and the function's name if it names one. The default is `auto`, as in all APIs."""
    stated = params.get("tool_choice", params.get("function_call", "auto"))
    if isinstance(stated, str):
        return _CHOICES.get(stated), None
    plain = _mapping(stated)
    if isinstance(plain.get("mode"), str):  # a choice of type `allowed_tools`
        return _CHOICES.get(plain["mode"]), None
    name = (_mapping(plain.get("function")) or plain).get("name")
    return ("function", name[:NAME_LIMIT]) if isinstance(name, str) else (None, None)


def _faults_of_list(params: Mapping[str, Any], key: str) -> Iterator[ParamFault]:
    if key not in params:
        return
    stated = params[key]
    if not isinstance(stated, list | tuple):
        yield ParamFault((key,), "must be a list", shown(stated), f"a list of {_A_FUNCTION.removeprefix('a ')}")
        return
    for index, item in enumerate(stated):
        if key == "functions":
            yield from _faults_of_function(item, (key, index))
        elif not isinstance(item, Mapping):
            yield ParamFault((key, index), "is not a tool", shown(item), _A_FUNCTION)
        elif "function" in item:
            yield from _faults_of_function(item["function"], (key, index, "function"))
        elif item.get("type") == "function":
            yield from _faults_of_function(item, (key, index))  # the format of Responses


def _faults_of_function(item: Any, path: KeyPath) -> Iterator[ParamFault]:
    if not isinstance(item, Mapping):
        yield ParamFault(path, "is not a function", shown(item), _A_FUNCTION)
        return
    name = item.get("name")
    if not isinstance(name, str) or not name.strip():
        found = shown(name) if "name" in item else None
        yield ParamFault((*path, "name"), "is required: a function name", found, "text of letters, digits, _ and -")
    if item.get("parameters") is not None:
        yield from _faults_of_schema(item["parameters"], (*path, "parameters"))


def _faults_of_format(stated: Any, path: KeyPath) -> Iterator[ParamFault]:
    if not isinstance(stated, Mapping) or not isinstance(stated.get("type"), str):
        yield ParamFault(path, "is not a format", shown(stated), _A_FORMAT)
        return
    if stated["type"] == "json_schema":
        inner = "json_schema" if path[-1] == "response_format" else None
        held, at = (stated.get(inner), (*path, inner)) if inner else (stated, path)
        if not isinstance(held, Mapping) or held.get("schema") is None:
            yield ParamFault((*at, "schema"), "is required with `type: json_schema`", None, _A_SCHEMA)
        else:
            yield from _faults_of_schema(held["schema"], (*at, "schema"))
    elif stated["type"] == "json_object" and stated.get("schema") is not None:
        yield from _faults_of_schema(stated["schema"], (*path, "schema"))


def _faults_of_schema(schema: Any, path: KeyPath) -> Iterator[ParamFault]:
    if not isinstance(schema, Mapping):
        yield ParamFault(path, "is not a JSON Schema", shown(schema), _A_SCHEMA)
        return
    fault = schema_fault(schema)
    if fault is None:
        return
    keyword = next((str(key) for key in reversed(fault.path) if isinstance(key, str)), "")
    typed = f"a value of type {' or '.join(fault.types)}" if fault.types else f"a valid JSON Schema `{keyword}`"
    takes = _TAKES.get(keyword, typed if keyword else _A_SCHEMA)
    hint = nearest(fault.value, TYPES) if keyword == "type" and isinstance(fault.value, str) else ""
    yield ParamFault((*path, *fault.path), f"is not a JSON Schema{hint}", shown(fault.value), takes)


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True, slots=True)
class JsonForm:
    """The JSON that a request asks for, and the schema that it sends, if any."""

    kind: Literal["json_object", "json_schema"]
    schema: Any = None


def declared_schemas(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schema of each function that a request's `tools` (or legacy `functions`) declare, by name."""
    tools = [_mapping(tool).get("function", tool) for tool in _list(params.get("tools"))]
    functions = [_mapping(function) for function in (*tools, *_list(params.get("functions")))]
    return {str(one["name"]): one["parameters"] for one in functions if "name" in one and "parameters" in one}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
