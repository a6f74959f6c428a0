"""Reads YAML, JSONL and JSON files as plain data with line numbers. The only module that imports PyYAML.

Configs and suites are read with it. Every fault is a Problem with file and line, raised as InputError.
YAML is read by the rules of version 1.2: `no` and `on` are text, `012` is twelve, `1e3` is a number, a date is text.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from streambench.errors import InputError, Problem
from streambench.text import escaped, shown

try:
    from yaml import CSafeLoader as _SafeLoader  # ten times faster, if PyYAML was built with it
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

KeyPath = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""

MAX_DEPTH = 100
MAX_ALIASED = 100_000
_MAX_DIGITS = 300

_TAG = "tag:yaml.org,2002:"
_DURATION = re.compile(
    r"(?=.)(?:(?P<h>\d+(?:\.\d+)?)\s*h)?\s*(?:(?P<m>\d+(?:\.\d+)?)\s*m(?!s))?\s*"
    r"(?:(?P<s>\d+(?:\.\d+)?)\s*s)?\s*(?:(?P<ms>\d+(?:\.\d+)?)\s*ms)?",
    re.ASCII,
)
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_MAX_DURATION = 200
"""The most characters of a duration."""


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the line, from 1, of each of its values."""

    file: str
    data: Any
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int | None:
        """Returns the line of a value, or of the nearest value around it; None if no line is known."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None


def read_yaml(path: Path) -> Document:
    """Reads a YAML file. Keys are text as written. Raises InputError with every problem found."""
    return parse_yaml(read_text(path), str(path))


def read_json(path: Path) -> Document:
    """Reads a JSON file; the Document has no lines. Raises InputError."""
    file = str(path)
    try:
        data = _parse_json(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError([_json_problem(error, file)]) from None
    return Document(file, data, {})


def read_jsonl(path: Path) -> Document:
    """Reads a file with one JSON value per line as a list. Blank lines are skipped.

    Raises InputError with a problem for each bad line.
    """
    file = str(path)
    rows: list[Any] = []
    lines: dict[KeyPath, int] = {}
    problems = []
    # splitlines() would also split at U+2028 and others, which JSON text may hold.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _parse_json(line)
        except (ValueError, RecursionError) as error:
            problems.append(_json_problem(error, file, number))
            continue
        lines[len(rows),] = number
        rows.append(value)
    if problems:
        raise InputError(problems)
    return Document(file, rows, lines)


def value_at(document: Document, path: KeyPath) -> Any:
    """Returns the value at the path. Raises KeyError, IndexError or TypeError if there is none."""
    value: Any = document.data
    for key in path:
        value = value[key]
    return value


def parse_yaml(text: str, file: str) -> Document:
    """Parses YAML text; `file` is the file name in problems. Raises InputError."""
    root = _compose(_guard_variables(text), file)
    if root is None:
        raise InputError([Problem("is empty", file=file)])
    builder = _Builder(file)
    data = builder.build(root, ())
    if builder.problems:
        raise InputError(list(dict.fromkeys(builder.problems)))
    return Document(file, data, builder.lines)


def dotted(path: Iterable[str | int]) -> str:
    """Returns a path as messages and `--set` write it: `models.0.params`."""
    return ".".join(escaped(str(part)) for part in path)


# ---- files


def read_text(path: Path) -> str:
    """Returns the file's text. Raises InputError if the file is missing, unreadable, not UTF-8 or empty."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError([Problem("is not UTF-8 text", file=str(path), line=line, accepted="UTF-8")]) from None
    except (OSError, ValueError) as error:
        raise InputError([Problem(_why_unreadable(error), file=escaped(str(path)))]) from None
    if not text.strip():
        raise InputError([Problem("is empty", file=str(path))])
    return text


def _why_unreadable(error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError():
            return "no such file"
        case IsADirectoryError():
            return "is a folder, not a file"
        case PermissionError():
            return "cannot be read: permission denied"
        case OSError():
            return f"cannot be read: {error.strerror}"
    return "is not a file name"


# ---- JSON


def _parse_json(text: str) -> Any:
    data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
    json.dumps(data, ensure_ascii=False).encode()  # fails on a lone surrogate, which could be neither sent nor written
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {shown(twice)} is given twice")
    return data


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _json_problem(error: Exception, file: str, line: int | None = None) -> Problem:
    match error:
        case json.JSONDecodeError():
            at = line or error.lineno
            return Problem(f"is not JSON: {error.msg} at column {error.colno}", file=file, line=at)
        case UnicodeError():
            return Problem("contains half a surrogate pair (\\ud800 to \\udfff)", file=file, line=line)
        case RecursionError():
            return Problem("is nested too deeply", file=file, line=line)
    return Problem(str(error), file=file, line=line)


# ---- YAML: text -> nodes


class _Loader(_SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own form


for _kind, _pattern in {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
    "merge": r"<<",
}.items():
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), None)

# In `{api_key: ${NAME}}` YAML would read the inner braces as a mapping, so `${NAME}` is replaced while it is parsed.
_VARIABLE = re.compile(r"\$\{([^{}\s'\",\[\]]*)\}")
_GUARDED = re.compile("\ue000\ue001([^\ue000\ue001\ue002]*)\ue002")


def _guard_variables(text: str) -> str:
    return _VARIABLE.sub("\ue000\ue001\\1\ue002", text)


def _unguard(text: str) -> str:
    return _GUARDED.sub(r"${\1}", text)


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        _check_depth(text, file)
        return _Loader(text).get_single_node()
    except yaml.reader.ReaderError:
        raise InputError([_control_problem(text, file)]) from None
    except yaml.MarkedYAMLError as error:
        raise InputError([_yaml_problem(error, file)]) from None


def _control_problem(text: str, file: str) -> Problem:
    """Finds the line itself, because PyYAML's two loaders count positions differently (bytes, characters)."""
    bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
    line = text.count("\n", 0, bad.start()) + 1 if bad else None
    return Problem("contains a control character", file=file, line=line, accepted="printable text")


def _check_depth(text: str, file: str) -> None:
    """Raises InputError if nested too deeply. Runs before nodes are built: the C loader recurses until it crashes."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise InputError([_too_deep(file, _line(event))])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(file: str, line: int) -> Problem:
    return Problem("is nested too deeply", file=file, line=line, accepted=f"up to {MAX_DEPTH} levels")


_HINTS = {
    "mapping values are not allowed": 'put text that contains ": " in quotes',
    "cannot start any token": "indent with spaces, not tabs; put text that begins with @, ` or % in quotes",
    "another document": "one document per file, without ---",
    "',' or '}'": "close every {; put text that contains { } [ ] or , in quotes",
    "',' or ']'": "close every [; put text that contains { } [ ] or , in quotes",
}


def _yaml_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    why = _unguard(", ".join(part for part in (error.context, error.problem) if part))
    if mark and error.context_mark and error.context_mark.line != mark.line:
        why = f"{why} (started in line {error.context_mark.line + 1})"
    hint = next((hint for sign, hint in _HINTS.items() if sign in why), None)
    return Problem(f"is not YAML: {why}", file=file, line=mark.line + 1 if mark else None, accepted=hint)


# ---- YAML: nodes -> data


class _Builder:
    """Turns nodes into plain data and collects lines and problems. Each alias gets a copy, so no values are shared."""

    def __init__(self, file: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._file = file
        self._built: set[int] = set()
        self._aliased = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self._bound(node, path)
        self.lines.setdefault(path, _line(node))
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                return self._sequence(node, path)
        return self._scalar(node, path)

    def _bound(self, node: yaml.Node, path: KeyPath) -> None:
        if len(path) > MAX_DEPTH:
            raise InputError([_too_deep(self._file, _line(node))])
        self._aliased += id(node) in self._built
        self._built.add(id(node))
        if self._aliased > MAX_ALIASED:
            problem = Problem("aliases (*name) expand to too many values", accepted=f"up to {MAX_ALIASED} values")
            raise InputError([replace(problem, file=self._file, line=_line(node))])

    def _refuse(self, message: str, node: yaml.Node, path: KeyPath, accepted: str | None = None) -> None:
        where = dotted(path) or None
        self.problems.append(Problem(message, self._file, _line(node), where, accepted=accepted))

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        self._refuse_tag(node, "seq", path)
        return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self._refuse_tag(node, "map", path)
        merged: dict[str, Any] = {}
        for _, value in filter(_is_merge, node.value):
            merged = self._merged(value, path) | merged
        own: dict[str, Any] = {}
        for key, value in itertools.filterfalse(_is_merge, node.value):
            self._add(own, key, value, path)
        return merged | own

    def _add(self, own: dict[str, Any], key_node: yaml.Node, value: yaml.Node, path: KeyPath) -> None:
        key = self._key(key_node, path)
        if key is None:
            return
        if key in own:
            self._refuse(f"is given twice, first in line {self.lines[*path, key]}", key_node, (*path, key))
            return
        self.lines[*path, key] = _line(key_node)
        own[key] = self.build(value, (*path, key))

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        """Returns the mapping that `<<: *name` or `<<: [*one, *two]` merges in; an earlier source wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                merged = self.build(source, path) | merged
            else:
                self._refuse("`<<` merges mappings only", source, path)
        return merged

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if isinstance(node, yaml.ScalarNode):
            return self._text(node, path)
        self._refuse("a key must be text", node, path, "a name; put text that begins with { or [ in quotes")
        return None

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        read = _SCALARS.get(node.tag)
        if read is None:
            return self._refuse_tag(node, "str", path)
        text = self._text(node, path)
        try:
            return read(text)
        except ValueError:
            kind = node.tag.removeprefix(_TAG)
            return self._refuse(f"cannot be read as {kind}", node, path, "a number in range, or text in quotes")

    def _refuse_tag(self, node: yaml.Node, kind: str, path: KeyPath) -> None:
        if node.tag != _TAG + kind:
            self._refuse("tags (!name) are not supported", node, path, "plain values")

    def _text(self, node: yaml.Node, path: KeyPath) -> str:
        text = _unguard(str(node.value))
        try:
            return _join_surrogates(text)
        except UnicodeError:
            self._refuse("contains half a surrogate pair (\\ud800 to \\udfff)", node, path)
            return ""


def _line(part: yaml.Node | yaml.Event) -> int:
    return int(part.start_mark.line) + 1 if part.start_mark else 1


def _is_merge(pair: tuple[yaml.Node, yaml.Node]) -> bool:
    return bool(pair[0].tag == _TAG + "merge")


def _join_surrogates(text: str) -> str:
    """Joins surrogate pairs: JSON writes one character as two escapes, and PyYAML keeps them apart.

    Raises UnicodeError for a lone surrogate.
    """
    if not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:  # Python by default refuses to print an int of more than 4,300 digits
        raise ValueError("too many digits")
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    _TAG + "str": str,
    _TAG + "merge": str,
    _TAG + "null": lambda _: None,
    _TAG + "bool": lambda text: text.lower() == "true",
    _TAG + "int": _whole,
    _TAG + "float": _finite,
}


def duration_s(text: str) -> float | None:
    """Returns the seconds of a duration such as `10m`, `90s`, `1h30m`, `500ms`; None for any other text."""
    match = _DURATION.fullmatch(text.strip()) if len(text) <= _MAX_DURATION else None
    if match is None:
        return None
    return sum(float(amount) * _UNIT_S[unit] for unit, amount in match.groupdict().items() if amount)
