"""Reading YAML, JSON and JSONL: what comes out, which lines are known, and that bad input is one clear problem."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.documents import Document, dotted, parse_yaml, read_json, read_jsonl, read_yaml
from streambench.errors import InputError
from streambench.text import nearest, shown

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-é", max_size=5), inner, max_size=4),
    max_leaves=20,
)


def parse(text: str) -> Document:
    return parse_yaml(text, "file.yaml")


def problem_of(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("12", 12),
        ("-3", -3),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1:30", "1:30"),
        ("2024-08-06", "2024-08-06"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("10m", "10m"),
        ("gpt-4o", "gpt-4o"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    """`no` and `1:30` are text, as a reader expects; only plain numbers are numbers."""
    data = parse(f"key: {text}").data["key"]
    assert (data, type(data)) == (value, type(value))


def test_keys_are_text_as_written() -> None:
    """A token id as a key stays what it is in JSON: text."""
    assert parse("{50256: -100, on: 1, ~: 2}").data == {"50256": -100, "on": 1, "~": 2}


def test_every_value_knows_its_line() -> None:
    """A mapping's value has its key's line, a list's item its own."""
    document = parse("a: 1\nb:\n  - x\n  - c: 2\n    d: |\n      text\n")
    lines = {dotted(path): line for path, line in document.lines.items()}
    assert lines == {"": 1, "a": 1, "b": 2, "b.0": 3, "b.1": 4, "b.1.c": 4, "b.1.d": 5}


def test_the_line_of_a_missing_key_is_that_of_the_part_around_it() -> None:
    """`load.rate` is missing where `load` stands; a missing top-level key has no line."""
    document = parse("name: x\nload:\n  mode: constant\n")
    assert document.line(("load", "rate")) == 2
    assert document.line(("models",)) is None


def test_variables_need_no_quotes_inside_braces() -> None:
    """To YAML `{key: ${NAME}}` is an error; to a config it is the natural way to write it."""
    data = parse("{a: ${NAME}, b: [${X}, 'q${Y}'], c: https://${HOST}:80/v1}").data
    assert data == {"a": "${NAME}", "b": ["${X}", "q${Y}"], "c": "https://${HOST}:80/v1"}


def test_anchors_and_merges_work() -> None:
    """An alias is a copy; `<<` brings keys in that the mapping's own win over, wherever it stands."""
    document = parse("base: &b {x: 1, y: 2}\none: *b\ntwo:\n  x: 5\n  <<: *b\nthree: {<<: [*b, {y: 9, z: 3}]}\n")
    assert document.data["one"] == {"x": 1, "y": 2}
    assert document.data["two"] == {"x": 5, "y": 2}
    assert document.data["three"] == {"x": 1, "y": 2, "z": 3}
    assert document.line(("two", "x")) == 4
    assert document.data["one"] is not document.data["base"]


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("a: 1\nb: 2\na: 3\n", ["file.yaml:3: a: is given twice, first in line 1"]),
        ("a: {b: 1, b: 2}", ["a.b: is given twice"]),
        ("a: b: c", ["file.yaml:1: is not YAML", '": " in quotes']),
        ("a:\n\t- x", ["file.yaml:2: is not YAML", "spaces, not tabs"]),
        ("a: {b: 1\nc: 2", ["is not YAML", "close every {"]),
        ("a: [b, 1\n", ["is not YAML", "close every ["]),
        ("a: *b", ["is not YAML: found undefined alias"]),
        ("a: 1\n---\nb: 2\n", ["file.yaml:2: is not YAML", "one document per file"]),
        ("a: é\nb: \x07", ["file.yaml:2: contains a control character"]),
        ("? [a, b]\n: 1", ["file.yaml:1: a key must be text"]),
        ("a: !!python/object:os.system x", ["a: tags (!name) are not supported"]),
        ("a: !mine {b: 1}", ["a: tags (!name) are not supported"]),
        ("a: 1e999", ["a: cannot be read as float"]),
        ("a: " + "9" * 400, ["a: cannot be read as int"]),
        ("a: !!int x", ["a: cannot be read as int"]),
        ("a: {<<: 3}", ["a: `<<` merges mappings only"]),
        ("# nothing\n", ["file.yaml: is empty"]),
        ("[" * 100_000, ["file.yaml:1: is nested too deeply", "up to 100 levels"]),
        ("{a: " * 200 + "1" + "}" * 200, ["is nested too deeply"]),
        ("&a [*a]", ["is nested too deeply"]),
        ("&a [*a, *a]", ["is nested too deeply"]),
    ],
)
def test_bad_yaml_is_told_with_its_line(text: str, fragments: list[str]) -> None:
    """File, line, what is wrong, and how to mend it where that is known."""
    message = problem_of(text)
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_all_double_keys_are_told_at_once() -> None:
    """Two mistakes, two problems."""
    with pytest.raises(InputError) as caught:
        parse("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [(p.line, p.where) for p in caught.value.problems] == [(2, "a"), (3, "b.c")]


def test_a_billion_laughs_are_cut_short() -> None:
    """Nine levels of ten aliases each would be 10^9 values."""
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "aliases (*name) expand to too many values" in problem_of("\n".join(levels))


@given(PLAIN)
def test_json_is_read_as_the_same_data_by_the_yaml_reader(data: Any) -> None:
    """What JSON can say, YAML 1.2 reads alike."""
    assert parse(json.dumps({"data": data}, ensure_ascii=False)).data == {"data": data}


@given(st.text(max_size=60))
def test_any_text_is_data_or_problems(text: str) -> None:
    """No input makes the reader fail in another way."""
    with contextlib.suppress(InputError):
        parse(text)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("read", [read_yaml, read_json, read_jsonl])
@pytest.mark.parametrize(
    ("content", "fragment"),
    [(b"", "is empty"), (b" \n\n", "is empty"), (b'"a"\n\xff\xfe\n', ":2: is not UTF-8 text (accepted: UTF-8)")],
)
def test_a_bad_file_is_one_problem(tmp_path: Path, read: Any, content: bytes, fragment: str) -> None:
    """Empty, and not UTF-8."""
    path = write(tmp_path, "f", content)
    with pytest.raises(InputError, match="f") as caught:
        read(path)
    assert len(caught.value.problems) == 1
    assert f"{path}" in str(caught.value)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("name", "fragment"), [("none.yaml", "no such file"), (".", "is a folder"), ("a\0b", "is not a file name")]
)
def test_no_file_is_one_problem(tmp_path: Path, name: str, fragment: str) -> None:
    """Missing, a folder, and a name that no file can have."""
    with pytest.raises(InputError) as caught:
        read_yaml(tmp_path / name)
    assert [fragment in problem.message for problem in caught.value.problems] == [True]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    assert read_yaml(write(tmp_path, "f.yaml", b"\xef\xbb\xbfa: 1")).data == {"a": 1}


def test_jsonl_keeps_the_line_of_each_row(tmp_path: Path) -> None:
    """Blank lines count as lines but are no rows; U+2028 inside of text ends no line."""
    path = write(tmp_path, "f.jsonl", '"a\u2028b"\r\n\n{"x": 1}\n')
    document = read_jsonl(path)
    assert document.data == ["a\u2028b", {"x": 1}]
    assert [document.line((0,)), document.line((1, "x"))] == [1, 3]


def test_all_bad_lines_of_jsonl_are_told(tmp_path: Path) -> None:
    """Not JSON, a key twice, no number of JSON, a number too large, half a surrogate pair, too deep."""
    rows = ["{", '{"a": 1, "a": 2}', "[NaN]", "[1e999]", '"\\ud800"', "[" * 100_000, '"fine"']
    with pytest.raises(InputError) as caught:
        read_jsonl(write(tmp_path, "f.jsonl", "\n".join(rows)))
    told = [(problem.line, problem.message[:30]) for problem in caught.value.problems]
    assert told == [
        (1, "is not JSON: Expecting property"[:30]),
        (2, "key 'a' is given twice"),
        (3, "NaN is not a JSON number"),
        (4, "a number is too large"),
        (5, "contains half a surrogate pair"),
        (6, "is nested too deeply"),
    ]


def test_json_errors_name_their_line(tmp_path: Path) -> None:
    """A file of JSON has its lines counted by the decoder."""
    with pytest.raises(InputError, match=r"f\.json:2: is not JSON"):
        read_json(write(tmp_path, "f.json", '{"a": 1,\n"b" 2}'))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        (3, "3"),
        ({"a": 1}, "a mapping"),
        ([1], "a list"),
        ("x", "'x'"),
        ("\x1b[31m", r"'\x1b[31m'"),
        ("y" * 100, "'" + "y" * 59 + "…'"),
    ],
)
def test_values_are_shown_short_and_safe(value: object, text: str) -> None:
    """Long text is cut; what a terminal would obey is escaped."""
    assert shown(value) == text


def test_the_nearest_name_is_offered_if_it_is_near() -> None:
    """A guess that is no help is left out."""
    assert nearest("concurency", ["mode", "concurrency"]) == "; did you mean `concurrency`?"
    assert nearest("zebra", ["mode", "concurrency"]) == ""
