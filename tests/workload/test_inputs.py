"""What prompts are made of: templates with rows, images, synthetic texts, several suites; and what is refused."""

from __future__ import annotations

import base64
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wrong_input import Wrong, the_problem

from streambench.documents import Document
from streambench.errors import Problem, SuiteError
from streambench.redaction import Secrets
from streambench.telemetry.content import content_of
from streambench.testing import make_record
from streambench.workload import images, rows, synthetic
from streambench.workload.expansion import filled, variables_in
from streambench.workload.suite import Prompt, Suite, hash_of, load_suite, suite_from, texts_of, together

PNG = b"\x89PNG\r\n\x1a\n" + b"secret pixels of a harbour"
SIGNATURES = {
    "a.png": (PNG, "image/png"),
    "a.jpg": (b"\xff\xd8\xff\xe0 and so on", "image/jpeg"),
    "a.gif": (b"GIF89a and so on", "image/gif"),
    "a.webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
}


def load(folder: Path, text: str, **files: str | bytes) -> Suite:
    """A suite with files beside it; `__` in a name is its dot."""
    for name, content in files.items():
        raw = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(raw)
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_suite(path)


def the_one(folder: Path, text: str, wrong: Wrong, **files: str | bytes) -> Problem:
    """The suite has this one problem; its file is `mine.yaml` unless the row names another."""
    with pytest.raises(SuiteError) as caught:
        load(folder, text, **files)
    assert len(caught.value.problems) == 1, str(caught.value)
    return the_problem(caught.value.problems, wrong._replace(file=wrong.file or "mine.yaml"))


def said(suite: Suite) -> list[tuple[str, Any]]:
    """Ids and the last message's content."""
    return [(prompt.id, prompt.messages[-1]["content"]) for prompt in suite.prompts]


# --- templates and rows

CSV = '\ufeffid,city,question\r\noslo,Oslo,"Where, and why?"\r\n\r\nrome,Rome,"Two\nlines"\r\n'


def test_each_row_of_a_csv_makes_a_prompt(tmp_path: Path) -> None:
    """With a byte-order mark, CRLF, an empty line, a comma and a line break in quotes; ids from the column."""
    suite = load(tmp_path, '- {text: "{{city}}: {{ question }}", tags: ["{{city}}"], rows: data.csv}', data__csv=CSV)
    assert said(suite) == [("oslo", "Oslo: Where, and why?"), ("rome", "Rome: Two\nlines")]
    assert suite.prompts[1].tags == ("Rome",)


def test_rows_of_jsonl_keep_their_numbers(tmp_path: Path) -> None:
    """In a text as JSON writes them; below params as they are. Without an id column, ids are counted."""
    suite = load(
        tmp_path,
        '- {id: ask, text: "{{n}} {{flag}} {{some}}", params: {max_tokens: "{{n}}", stop: "{{n}}."}, rows: data.jsonl}',
        data__jsonl='{"n": 5, "flag": true, "some": ["é"]}\n\n{"n": 6, "flag": false, "some": {}}\n',
    )
    assert said(suite) == [("ask-1", '5 true ["é"]'), ("ask-2", "6 false {}")]
    assert suite.prompts[0].params == {"max_tokens": 5, "stop": "5."}


def test_rows_may_stand_in_the_prompt(tmp_path: Path) -> None:
    """System and messages are filled too."""
    text = '- {messages: [{role: system, content: "{{a}}"}, {role: user, content: "{{b}}"}], rows: [{a: x, b: y}]}'
    (prompt,) = load(tmp_path, text).prompts
    assert (prompt.id, [message["content"] for message in prompt.messages]) == ("p001-1", ["x", "y"])


def test_a_suites_rows_are_for_every_prompt_that_uses_them(tmp_path: Path) -> None:
    """One without a variable is there once; two templates tell their row's ids apart by their own."""
    suite = load(tmp_path, 'rows: [{id: a, x: 1}]\nprompts: [plain, "{{x}}!", {id: q, text: "{{x}}?"}]')
    assert said(suite) == [("p001", "plain"), ("p002-a", "1!"), ("q-a", "1?")]


def test_an_id_may_be_a_template(tmp_path: Path) -> None:
    """Then it is what it says."""
    assert said(load(tmp_path, '- {id: "in-{{x}}", text: "{{x}}", rows: [{x: a}, {x: b}]}')) == [
        ("in-a", "a"),
        ("in-b", "b"),
    ]


def test_what_a_row_brings_is_not_a_template(tmp_path: Path) -> None:
    """Substituted once, nothing executed; braces of code that name no variable on one line stay."""
    (prompt,) = load(tmp_path, "- {text: '{{a}} {b} {{}} {{ ', rows: [{a: '{{b}} {{7*7}}', b: x}]}").prompts
    assert prompt.messages[0]["content"] == "{{b}} {{7*7}} {b} {{}} {{ "


def test_braces_without_rows_are_text(tmp_path: Path) -> None:
    """Prompts about templates were there before."""
    assert said(load(tmp_path, '["{{name}}"]')) == [("p001", "{{name}}")]


def test_a_csv_cell_may_be_long(tmp_path: Path) -> None:
    """Over the csv module's own 128 KiB; its limit is then what it was."""
    import csv

    before = csv.field_size_limit()
    suite = load(tmp_path, '- {text: "{{a}}", rows: d.csv}', d__csv="a\n" + "x" * 200_000)
    assert len(suite.prompts[0].messages[0]["content"]) == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("item", "data", "wrong"),
    [
        (
            "{text: 'Hi {{cty}}', rows: d.csv}",
            "id,city\na,Oslo\n",
            Wrong(
                "prompts.0.text",
                None,
                1,
                message="{{cty}} has no value in row 1 (d.csv:2); did you mean `city`?",
                accepted="columns id, city",
            ),
        ),
        (
            "{text: '{{city}}', tags: ['{{x}}'], rows: [{city: a, x: b}, {city: c}]}",
            "",
            Wrong("prompts.0.tags.0", None, 1, names=("{{x}}", "(line 1)"), accepted="columns city, x"),
        ),
        (
            "{text: '{{a}}', rows: d.jsonl}",
            '{"a": 1}\n\n{"a": null}',
            Wrong("prompts.0.text", None, 1, names=("{{a}}", "(d.jsonl:3)")),
        ),
        (
            "{text: hi, rows: d.csv}",
            "a\n1\n",
            Wrong("prompts.0.rows", None, 1, message="the prompt uses none of these columns", accepted="columns a"),
        ),
        (
            "{text: '{{a}}', rows: d.csv}",
            "a,b\n1,2\n3\n",
            Wrong(
                None,
                "1",
                3,
                file="d.csv",
                message="has a different number of cells than the first line",
                accepted="2 cells: a, b; put a cell that holds a comma in double quotes",
            ),
        ),
        (
            "{text: '{{a}}', rows: d.csv}",
            "a,a\n1,2\n",
            Wrong(None, None, 1, file="d.csv", message="has column 'a' twice"),
        ),
        ("{text: '{{a}}', rows: d.csv}", "a\n", Wrong(None, file="d.csv", message="has no rows")),
        (
            "{text: '{{a}}', rows: d.csv}",
            'a\n"x" y\n',
            Wrong(None, None, 2, file="d.csv", message="is not CSV: ',' expected after '\"'"),
        ),
        ("{text: '{{a}}', rows: d.csv}", b"a\n\xff\n", Wrong(None, None, 2, file="d.csv", message="is not UTF-8 text")),
        ("{text: '{{a}}', rows: d.csv}", "", Wrong(None, file="d.csv")),
        (
            "{text: '{{a}}', rows: e.csv}",
            "",
            Wrong("prompts.0.rows", "'e.csv'", 1),
        ),
        (
            f"{{text: '{{{{a}}}}', rows: {'x' * 280}.csv}}",
            "",
            Wrong("prompts.0.rows", "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'", 1),
        ),
        (
            "{text: '{{a}}', rows: d.txt}",
            "a",
            Wrong(
                None,
                "'.txt'",
                file="d.txt",
                message="is not a supported table format",
                accepted=".csv, .tsv, .jsonl, .ndjson, .json",
            ),
        ),
        ("{text: '{{a}}', rows: d.jsonl}", "[1]", Wrong("0", "a list", 1, file="d.jsonl", message="must be a row")),
        ("{text: '{{a}}', rows: []}", "", Wrong("prompts.0.rows", "a list", 1, message="must be a list of rows")),
        ("{text: '{{a}}', rows: 3}", "", Wrong("prompts.0.rows", "3", 1, message="must be a file path")),
        (
            "{text: '{{a}}', rows: [{a: x}, {a: ''}]}",
            "",
            Wrong("prompts.0.text", "''", 1, message="must not be empty in row 2 (line 1)"),
        ),
        (
            "{text: '{{a}}', rows: [{a: x, id: i}, {a: y, id: i}]}",
            "",
            Wrong("prompts.0.id", "'i'", 1, message="has the same id as row 1 (line 1) in row 2 (line 1)"),
        ),
    ],
)
def test_bad_rows_are_told_in_one_line(tmp_path: Path, item: str, data: str | bytes, wrong: Wrong) -> None:
    """File, key, row and line, what is missing, and what columns there are."""
    name = next((f"d__{kind}" for kind in ("jsonl", "txt") if f"d.{kind}" in item), "d__csv")
    the_one(tmp_path, f"- {item}\n", wrong, **{name: data})


def test_a_suites_rows_have_to_be_used(tmp_path: Path) -> None:
    """Else a forgotten brace sends one prompt in place of a thousand."""
    wrong = Wrong("rows", None, 1, message="no prompt uses these rows")
    the_one(tmp_path, 'rows: [{city: a}]\nprompts: ["Hi {city}"]', wrong)


def test_a_table_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In rows and in bytes."""
    monkeypatch.setattr(rows, "MAX_ROWS", 2)
    suite, table = "- {text: '{{a}}', rows: d.csv}", "a\n1\n2\n3\n"
    the_one(tmp_path, suite, Wrong(None, None, 4, "d.csv", "has too many rows", "up to 2"), d__csv=table)
    monkeypatch.setattr(rows, "MAX_BYTES", 3)
    the_one(tmp_path, suite, Wrong(None, "8 bytes", None, "d.csv", accepted="up to 3 bytes"), d__csv=table)


def test_all_texts_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long template times a long table is more than either."""
    monkeypatch.setattr("streambench.workload.expansion.MAX_CHARS", 150)
    suite = f"- {{text: '{'x' * 60} {{{{a}}}}', rows: [{{a: 1}}, {{a: 2}}, {{a: 3}}]}}"
    the_one(tmp_path, suite, Wrong("prompts.0", None, 1, accepted="up to 150 characters"))


def test_a_fifo_is_no_table(tmp_path: Path) -> None:
    """It would be waited for without end."""
    os.mkfifo(tmp_path / "d.csv")
    the_one(tmp_path, "- {text: '{{a}}', rows: d.csv}", Wrong("prompts.0.rows", "'d.csv'", 1, message="is not a file"))


@given(st.text(max_size=60), st.dictionaries(st.text(min_size=1, max_size=3), st.text(max_size=8), max_size=3))
def test_any_text_is_filled_or_lacks_a_variable(text: str, row: dict[str, str]) -> None:
    """Exactly where a variable is not in the row."""
    lacks = any(name not in row for name, _ in variables_in(text))
    try:
        filled(text, row)
    except KeyError:
        assert lacks
    else:
        assert not lacks


# --- images


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_file_is_sent_as_a_data_url(tmp_path: Path, name: str) -> None:
    """Its media type is told by its bytes, not by its name."""
    content, kind = SIGNATURES[name]
    suite = load(tmp_path, "- {text: What is it?, images: [pic.bin]}", pic__bin=content)
    assert suite.prompts[0].messages[0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(content).decode()}"}},
    ]


def test_every_form_of_an_image(tmp_path: Path) -> None:
    """In a list beside a text or as a part of a message; by file or by URL; with a detail."""
    url = "https://pictures.example/a.png"
    parts = f"[{{type: text, text: x}}, {{type: image, file: a.png}}, {{type: image, url: '{url}', detail: low}}]"
    suite = load(
        tmp_path,
        f"- {{text: x, images: [{{file: a.png}}, '{url}']}}\n- messages: [{{role: user, content: {parts}}}]\n",
        a__png=PNG,
    )
    first, second = (prompt.messages[0]["content"] for prompt in suite.prompts)
    assert first[1] == second[1]
    assert first[2] == {"type": "image_url", "image_url": {"url": url}}
    assert second[2] == {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    assert [list(texts_of(prompt)) for prompt in suite.prompts] == [["x"], ["x"]]


def test_a_row_may_name_an_image(tmp_path: Path) -> None:
    """One file a row."""
    suite = load(
        tmp_path, "- {text: x, images: ['{{pic}}'], rows: [{pic: a.png}, {pic: b.gif}]}", a__png=PNG, b__gif=b"GIF87a.."
    )
    kinds = [prompt.messages[0]["content"][1]["image_url"]["url"][:15] for prompt in suite.prompts]
    assert kinds == ["data:image/png;", "data:image/gif;"]


def test_an_images_content_counts_for_the_hash(tmp_path: Path) -> None:
    """Another picture under the same name is another suite."""
    one = load(tmp_path, "- {text: x, images: [a.png]}", a__png=PNG)
    assert one.hash == load(tmp_path, "- {text: x, images: [a.png]}", a__png=PNG).hash
    assert one.hash != load(tmp_path, "- {text: x, images: [a.png]}", a__png=PNG + b"!").hash


@pytest.mark.parametrize(
    ("item", "wrong"),
    [
        ("{text: x, images: [b.png]}", Wrong("prompts.0.images.0.file", "'b.png'", 1, accepted="an image file")),
        (
            "{text: x, images: [t.txt]}",
            Wrong(
                "prompts.0.images.0.file",
                "'t.txt'",
                1,
                message="is not in a supported image format",
                accepted="a PNG, JPEG, WebP or GIF file",
            ),
        ),
        (
            "{text: x, images: [big.png]}",
            Wrong("prompts.0.images.0.file", "'big.png'", 1, message="is too large", accepted="up to 20 MB"),
        ),
        (
            "{text: x, images: ['ftp://a/b']}",
            Wrong("prompts.0.images.0.url", "'ftp://a/b'", 1, message="is not a valid URL of an image"),
        ),
        (
            "{text: x, images: ['https://u:pw@a/b']}",
            Wrong(
                "prompts.0.images.0.url",
                None,
                1,
                message="contains a user or password",
                accepted="a URL without user and password",
            ),
        ),
        ("{text: x, images: a.png}", Wrong("prompts.0.images", "'a.png'", 1, message="must be a list of images")),
        (
            "{text: x, images: [{file: a.png, url: b}]}",
            Wrong("prompts.0.images.0", "a mapping", 1, message="is not an image"),
        ),
        ("{text: x, images: [{file: a.png, size: b}]}", Wrong("prompts.0.images.0.size", None, 1)),
        ("{text: x, images: [{file: a.png, detail: b}]}", Wrong("prompts.0.images.0.detail", "'b'", 1)),
        ("{text: x, image: a.png}", Wrong("prompts.0.image", None, 1, names=("`images`",))),
        (
            "{messages: [{role: user, content: [{type: image, file: b.png}]}]}",
            Wrong("prompts.0.messages.0.content.0.file", "'b.png'", 1),
        ),
        (
            "{messages: [{role: user, content: x}], images: [a.png]}",
            Wrong("prompts.0.images", None, 1, message="must be used with `text`"),
        ),
    ],
)
def test_a_bad_image_is_told_in_one_line(tmp_path: Path, item: str, wrong: Wrong) -> None:
    """Missing, no image, too large, no URL."""
    with (tmp_path / "big.png").open("wb") as big:
        big.write(PNG)
        big.truncate(images.MAX_BYTES + 1)
    problem = the_one(tmp_path, f"- {item}", wrong, a__png=PNG, t__txt="words")
    assert "pw" not in str(problem)


def test_captured_content_has_no_image(tmp_path: Path) -> None:
    """A span that may hold prompts tells that there was one, and neither its bytes nor its address."""
    suite = load(tmp_path, "- {text: x, images: [a.png, 'https://pictures.example/b.png']}", a__png=PNG)
    told_ = content_of(suite.prompts[0].messages, make_record(), Secrets())["gen_ai.input.messages"]
    parts = [{"type": "text", "content": "x"}, {"type": "image_url"}, {"type": "image_url"}]
    assert json.loads(str(told_)) == [{"role": "user", "parts": parts}]


# --- synthetic prompts


def test_a_synthetic_prompt_has_its_length() -> None:
    """Four characters a token, to the character."""
    assert [len(text) for text in synthetic.texts(synthetic.Wanted(tokens=500, count=3))] == [2_000] * 3


def test_synthetic_prompts_are_the_same_everywhere() -> None:
    """A changed word or draw would part old runs from new ones."""
    text = synthetic.texts(synthetic.Wanted(tokens=100, count=2, seed=1))[1]
    assert zlib.crc32(text.encode()) == 3_298_200_284


def test_no_two_synthetic_prompts_begin_alike() -> None:
    """Else a gateway's prefix cache would answer for some of them: the first two words are those of no other."""
    found = synthetic.texts(synthetic.Wanted(tokens=60, count=2_000))
    assert len({tuple(text.split()[:2]) for text in found}) == 2_000


def test_a_shared_prefix_is_shared_and_the_rest_is_not() -> None:
    """So many tokens times four; what follows is each one's own."""
    found = synthetic.texts(synthetic.Wanted(tokens=400, count=5, shared=300))
    assert len({text[:1_200] for text in found}) == 1
    assert len({text[1_200:1_230] for text in found}) == 5


def test_another_seed_or_length_is_another_text() -> None:
    """From the beginning: what a cache holds of one is of no use to the other."""
    wanted = [(100, 1), (100, 2), (200, 1)]
    found = [synthetic.texts(synthetic.Wanted(tokens=tokens, seed=seed))[0] for tokens, seed in wanted]
    assert len({text[:8] for text in found}) == 3


def test_a_suite_makes_synthetic_prompts(tmp_path: Path) -> None:
    """With ids, a system prompt and params; a table may say how long they are."""
    suite = load(
        tmp_path,
        "- {id: long, system: S, params: {max_tokens: 5}, synthetic: {tokens: 50, count: 2, unique: false}}\n"
        "- {id: 'of-{{n}}', synthetic: {tokens: '{{n}}', ask: 'Why?'}, rows: [{n: 40}, {n: 80}]}\n",
    )
    assert [(prompt.id, len(prompt.messages[-1]["content"])) for prompt in suite.prompts] == [
        ("long-1", 200),
        ("long-2", 200),
        ("of-40", 160),
        ("of-80", 320),
    ]
    first, second = suite.prompts[:2]
    assert first.messages == second.messages
    assert (first.messages[0]["content"], first.params) == ("S", {"max_tokens": 5})
    assert suite.prompts[2].messages[-1]["content"].endswith("\n\nWhy?")


@pytest.mark.parametrize(
    ("item", "wrong"),
    [
        (
            "{synthetic: {count: 2}}",
            Wrong("prompts.0.synthetic.tokens", None, 1, accepted="the length; a token counts as 4 characters"),
        ),
        ("{synthetic: 2000}", Wrong("prompts.0.synthetic", "2000", 1)),
        (
            "{synthetic: {tokens: 3}}",
            Wrong(
                "prompts.0.synthetic.tokens",
                "3",
                1,
                message="is not a number in range",
                accepted="a whole number from 40 to 2000000",
            ),
        ),
        ("{synthetic: {tokens: 50, count: yes}}", Wrong("prompts.0.synthetic.count", "'yes'", 1)),
        ("{synthetic: {tokens: 50, unique: 1}}", Wrong("prompts.0.synthetic.unique", "1", 1)),
        (
            "{synthetic: {tokens: 50, shared_prefix: 50}}",
            Wrong("prompts.0.synthetic.shared_prefix", "50", 1, accepted="a whole number from 1 to 49"),
        ),
        (
            "{synthetic: {tokens: 50, shared_prefix: 9, unique: false}}",
            Wrong("prompts.0.synthetic.shared_prefix", None, 1, names=("`unique: false`",)),
        ),
        ("{synthetic: {token: 50, tokens: 50}}", Wrong("prompts.0.synthetic.token", None, 1, names=("`tokens`",))),
        ("{synthetic: {tokens: 50}, text: x}", Wrong("prompts.0.text", None, 1, names=("`synthetic`",))),
        (
            "{synthetic: {tokens: 2000000, count: 10000}}",
            Wrong("prompts.0.synthetic", "2000000 tokens times 10000", 1, message="makes too much text"),
        ),
        (
            f"{{synthetic: {{tokens: 40, ask: {'x' * 90}}}}}",
            Wrong("prompts.0.synthetic.ask", "92 characters", 1, message="is longer than half of the prompt"),
        ),
    ],
)
def test_a_bad_synthetic_is_told_in_one_line(tmp_path: Path, item: str, wrong: Wrong) -> None:
    """What is wanted is said before anything is made."""
    the_one(tmp_path, f"- {item}\n- other", wrong)


# --- headers


def test_a_prompt_has_headers(tmp_path: Path) -> None:
    """Numbers become text; the hash tells them, and is what it was without."""
    (prompt,) = load(tmp_path, "- {id: a, text: x, headers: {x-tier: batch, x-level: 3}}").prompts
    assert prompt.headers == {"x-tier": "batch", "x-level": "3"}
    plain = Prompt("a", prompt.messages)
    assert hash_of([prompt]) != hash_of([plain])


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        (
            "{Authorization: x}",
            Wrong(
                "prompts.0.headers.Authorization",
                None,
                1,
                message="may not be set here: set the gateway's `api_key` instead",
            ),
        ),
        ("{host: x}", Wrong("prompts.0.headers.host", None, 1)),
        ("{Content-Length: 3}", Wrong("prompts.0.headers.Content-Length", None, 1)),
        (
            "{traceparent: x}",
            Wrong(
                "prompts.0.headers.traceparent",
                None,
                1,
                message="may not be set here: telemetry sets it; with another value the",
            ),
        ),
        (
            "{accept-encoding: gzip}",
            Wrong(
                "prompts.0.headers.accept-encoding",
                None,
                1,
                message="may not be set here: a compressed stream arrives in blocks, so the",
            ),
        ),
        (
            "{x-api-key: hunter2hunter2}",
            Wrong(
                "prompts.0.headers.x-api-key",
                None,
                1,
                message="a suite must not contain secrets; put the header under the gateway or",
            ),
        ),
        ("{x-a: '${KEY}'}", Wrong("prompts.0.headers.x-a", None, 1)),
        ("{x-a: sk-hunter2hunter2hunter2}", Wrong("prompts.0.headers.x-a", None, 1)),
        ("{'x a': b}", Wrong("prompts.0.headers.x a", None, 1)),
        ('{x-a: "b\\r\\nx-b: c"}', Wrong("prompts.0.headers.x-a", None, 1)),
        ("{x-a: [1]}", Wrong("prompts.0.headers.x-a", None, 1)),
        ("[x]", Wrong("prompts.0.headers", "a list", 1)),
    ],
)
def test_a_header_that_may_not_be_sent_is_told(tmp_path: Path, header: str, wrong: Wrong) -> None:
    """With the reason, and never with its value."""
    problem = the_one(tmp_path, f"- {{text: x, headers: {header}}}", wrong)
    assert "hunter2" not in str(problem)


# --- several suites


def suite_of(name: str, *ids: str) -> Suite:
    prompts = tuple(Prompt(one, ({"role": "user", "content": name},)) for one in ids)
    return Suite(name, prompts, hash_of(prompts))


def test_several_suites_are_one() -> None:
    """In their order; an id that is in two of them is told apart by the suite's name, the others stay."""
    whole = together([suite_of("chat", "p001", "hello"), suite_of("code", "p001", "sort")])
    assert whole.name == "chat+code"
    assert [prompt.id for prompt in whole.prompts] == ["chat/p001", "hello", "code/p001", "sort"]
    assert whole.hash == hash_of(whole.prompts)


def test_suites_of_one_name_and_id_are_refused() -> None:
    """Nothing could tell their prompts apart."""
    with pytest.raises(SuiteError, match="two suites with the same name have the same prompt id 'chat/a'"):
        together([suite_of("chat", "a"), suite_of("chat", "a")])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | st.sampled_from(["x", "{{a}}", "{{b}}", "a.png", "d.csv", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "text", "images", "rows", "synthetic", "headers", "a", "b", "tokens", "count", "file", "prompts"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(VALUES)
def test_any_data_is_a_suite_or_a_suite_error(data: Any) -> None:
    """No data makes the reader fail in another way, and all problems are one line each."""
    try:
        suite = suite_from(Document("/nowhere/f", data, {}), "name")
    except SuiteError as error:
        lines = str(error).split("\n")
        told_ = len(error.problems)
    else:
        lines, told_ = [], 0
        assert len({prompt.id for prompt in suite.prompts}) == len(suite.prompts) > 0
        assert json.dumps([prompt.messages for prompt in suite.prompts])
    assert len(lines) == told_
