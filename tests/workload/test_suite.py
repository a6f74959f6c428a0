"""Prompt suites: every form that is accepted, the hash, and that all that is wrong is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wrong_input import Wrong, the_problem

from streambench.documents import Document
from streambench.errors import Problem, SuiteError
from streambench.workload.suite import Prompt, Suite, load_suite, suite_from


def load(folder: Path, text: str, name: str = "mine.yaml") -> Suite:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return load_suite(path)


def problems_of(folder: Path, text: str, name: str = "mine.yaml") -> tuple[Problem, ...]:
    with pytest.raises(SuiteError) as caught:
        load(folder, text, name)
    return caught.value.problems


def user(text: str) -> tuple[dict[str, str]]:
    return ({"role": "user", "content": text},)


def test_a_bare_list_of_texts_is_a_suite(tmp_path: Path) -> None:
    """Named by its file; ids count from p001."""
    suite = load(tmp_path, "- Hi\n- 'yes'\n")
    assert suite.name == "mine"
    assert suite.prompts == (Prompt("p001", user("Hi")), Prompt("p002", user("yes")))


def test_a_mapping_has_name_and_prompts(tmp_path: Path) -> None:
    """The description is for readers."""
    suite = load(tmp_path, "{name: starter, description: For a start, prompts: [Hi]}")
    assert (suite.name, len(suite.prompts)) == ("starter", 1)


def test_a_prompt_says_all_there_is(tmp_path: Path) -> None:
    """Id, system, tags and params; `no` is Norwegian, not false."""
    suite = load(tmp_path, "- {id: hello, text: Hei, system: Be brief, tags: [short, no], params: {max_tokens: 9}}")
    messages = ({"role": "system", "content": "Be brief"}, *user("Hei"))
    assert suite.prompts == (Prompt("hello", messages, ("short", "no"), {"max_tokens": 9}),)


def test_messages_are_kept_as_written(tmp_path: Path) -> None:
    """Content parts, names and tool calls go through."""
    messages = [
        {"role": "developer", "content": "x"},
        {
            "role": "user",
            "name": "ann",
            "content": [{"type": "text", "text": "y"}, {"type": "image_url", "image_url": {}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "z"},
    ]
    assert load(tmp_path, json.dumps([{"messages": messages}])).prompts[0].messages == tuple(messages)


def test_jsonl_has_one_prompt_a_line(tmp_path: Path) -> None:
    """Texts and objects; ids count prompts, not lines."""
    suite = load(tmp_path, '"Hi"\n\n{"text": "Yo", "tags": ["a"]}\n', "mine.jsonl")
    assert suite.prompts == (Prompt("p001", user("Hi")), Prompt("p002", user("Yo"), ("a",)))


def test_json_is_read_too(tmp_path: Path) -> None:
    """The same forms as YAML."""
    assert load(tmp_path, '{"name": "n",\n\t"prompts": ["Hi"]}', "mine.json").name == "n"


def test_a_number_as_id_is_text(tmp_path: Path) -> None:
    """Ids from a table are often numbers."""
    assert load(tmp_path, "- {id: 17, text: Hi}").prompts[0].id == "17"


def test_the_hash_is_of_what_is_sent(tmp_path: Path) -> None:
    """Layout, order of keys and prompts, tags, the suite's name and the file's kind do not change it."""
    one = load(tmp_path, "- {id: a, text: Hi, params: {x: 1, y: 2}}\n- {id: b, text: Yo}\n")
    two = load(
        tmp_path,
        "name: other\nprompts:\n  # more room\n  - text: Yo\n    id: b\n    tags: [t]\n"
        "  - params: {y: 2, x: 1}\n    messages: [{content: Hi, role: user}]\n    id: a\n",
    )
    rows = '{"id": "b", "text": "Yo"}\n{"params": {"x": 1, "y": 2}, "id": "a", "text": "Hi"}\n'
    three = load(tmp_path, rows, "x.jsonl")
    assert one.hash == two.hash == three.hash
    assert len(one.hash) == 16


@pytest.mark.parametrize(
    "text",
    [
        "- {id: a, text: Hi!}",
        "- {id: b, text: Hi}",
        "- {id: a, text: Hi, params: {x: 1}}",
        "- {id: a, text: Hi, system: S}",
    ],
)
def test_the_hash_tells_what_differs(tmp_path: Path, text: str) -> None:
    """Another text, id, parameter or system prompt is another suite."""
    assert load(tmp_path, text).hash != load(tmp_path, "- {id: a, text: Hi}").hash


def test_the_hash_is_stable(tmp_path: Path) -> None:
    """A changed formula would part old runs from new ones: it needs a new schema. SHA-256 of
    `[["p001",[{"content":"Hi","role":"user"}],{}]]`, the first 16 digits."""
    assert load(tmp_path, "[Hi]").hash == "04378365ad1cab88"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[]", Wrong(None)),
        ("{name: x}", Wrong("prompts")),
        ("{name: x, prompts: []}", Wrong("prompts", None, 1)),
        ("{prompts: Hi}", Wrong("prompts", "'Hi'", 1, message="must be a list of prompts")),
        ("Hi", Wrong(None, "'Hi'")),
        (
            "{nmae: x, prompts: [Hi]}",
            Wrong("nmae", None, 1, names=("`name`",), accepted="name, description, prompts, rows"),
        ),
        ("{name: 3, prompts: [Hi]}", Wrong("name", "3", 1, accepted="text; put numbers in quotes")),
        ("- Hi\n- 3\n", Wrong("prompts.1", "3", 2, message="must be a prompt")),
        ("- ''\n", Wrong("prompts.0", "''", 1)),
        ("- text: 5\n", Wrong("prompts.0.text", "5", 1)),
        ("- id: a\n", Wrong("prompts.0", None, 1, message="has neither text nor messages nor turns")),
        (
            "- {text: a, messages: [{role: user, content: b}]}",
            Wrong("prompts.0", None, 1, message="has both text and messages"),
        ),
        ("- {text: a, tag: [x]}", Wrong("prompts.0.tag", None, 1, names=("`tags`",))),
        ("- {prompt: a}", Wrong("prompts.0.prompt", None, 1, names=("`text`",))),
        ("- {text: a, tags: x}", Wrong("prompts.0.tags", "'x'", 1, message="must be a list")),
        ("- {text: a, tags: [1]}", Wrong("prompts.0.tags.0", "1", 1)),
        ("- {text: a, params: [1]}", Wrong("prompts.0.params", "a list", 1)),
        (
            "- {text: a, params: {stream: false}}",
            Wrong("prompts.0.params.stream", None, 1),
        ),
        ("- {text: a, params: {model: b}}", Wrong("prompts.0.params.model", None, 1)),
        ("- {text: a, system: 1}", Wrong("prompts.0.system", "1", 1)),
        ("- {text: a, id: [1]}", Wrong("prompts.0.id", "a list", 1)),
        ('- {text: a, id: "b\\nc"}', Wrong("prompts.0.id", "'b\\nc'", 1, message="is not a valid id")),
        ("- {messages: []}", Wrong("prompts.0.messages", "a list", 1, message="must be a list of messages")),
        ("- {messages: Hi}", Wrong("prompts.0.messages", "'Hi'", 1)),
        ("- {messages: [Hi]}", Wrong("prompts.0.messages.0", "'Hi'", 1, message="must be a message")),
        (
            "- messages:\n  - role: usr\n    content: x\n",
            Wrong("prompts.0.messages.0.role", "'usr'", 2, message="is not a role; did you mean `user`?"),
        ),
        ("- {messages: [{role: user}]}", Wrong("prompts.0.messages.0.content", "nothing", 1)),
        (
            "- {messages: [{role: user, content: [x]}]}",
            Wrong("prompts.0.messages.0.content.0", "'x'", 1, message="is not a content part"),
        ),
        (
            "- {messages: [{role: user, content: [{type: text}]}]}",
            Wrong("prompts.0.messages.0.content.0.text", "nothing", 1),
        ),
        ("- {text: a, text: b}", Wrong("0.text", None, 1)),
    ],
)
def test_a_bad_suite_is_told(tmp_path: Path, text: str, wrong: Wrong) -> None:
    """File, line, key, what was found, what is accepted."""
    the_problem(problems_of(tmp_path, text), wrong._replace(file="mine.yaml"))


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Three prompts, three mistakes."""
    told = problems_of(tmp_path, "- {text: 1}\n- {txt: a, text: b}\n- {id: c}\n")
    assert [(problem.line, problem.where) for problem in told] == [
        (1, "prompts.0.text"),
        (2, "prompts.1.txt"),
        (3, "prompts.2"),
    ]


def test_equal_ids_name_both_lines(tmp_path: Path) -> None:
    """The later one is wrong, and says where the first is."""
    (problem,) = problems_of(tmp_path, "- {text: a, id: x}\n- b\n- {text: c, id: x}\n")
    assert str(problem).removeprefix(f"{tmp_path}/") == (
        "mine.yaml:3: prompts.2.id: has the same id as the prompt in line 1 (found 'x'; accepted: a unique id)"
    )


def test_an_id_like_a_default_one_clashes(tmp_path: Path) -> None:
    """`p002` is what the second prompt goes by without an id."""
    (problem,) = problems_of(tmp_path, "- {text: a, id: p002}\n- b\n")
    assert (problem.line, problem.where, problem.found) == (2, "prompts.1.id", "'p002'")


def test_jsonl_problems_name_their_line(tmp_path: Path) -> None:
    """Lines of the file, not numbers of prompts."""
    told = problems_of(tmp_path, '"a"\n\n{"text": 1}\n', "mine.jsonl")
    the_problem(told, Wrong("prompts.1.text", "1", 3, "mine.jsonl"))


@pytest.mark.parametrize(
    "wrong",
    [Wrong(None, file="none.yaml"), Wrong(None, "'.txt'", file="suite.txt", message="is not a supported suite format")],
)
def test_no_suite_file_is_told(tmp_path: Path, wrong: Wrong) -> None:
    """Missing, and of an unknown kind."""
    with pytest.raises(SuiteError) as caught:
        load_suite(tmp_path / str(wrong.file))
    the_problem(caught.value.problems, wrong)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "text", "messages", "system", "tags", "params", "role", "content", "type", "prompts", "name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(VALUES)
def test_any_data_is_a_suite_or_a_suite_error(data: Any) -> None:
    """No data makes the reader fail in another way."""
    try:
        suite = suite_from(Document("f", data, {}), "name")
    except SuiteError:
        return
    assert len({prompt.id for prompt in suite.prompts}) == len(suite.prompts) > 0
