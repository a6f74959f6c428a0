"""Runs with prompts of rows, images and words of a wanted length: what is on the wire, and what is in no file."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripted_gateway import ScriptedGateway, Seen, error, streamed
from test_cli import HOUSE, KEY, MARK, Home, Ran

from streambench.config import Config, load_config
from streambench.errors import InputError
from streambench.suite import load_suite, texts_of, together
from streambench.tool_calls import declared_schemas

PIXELS = b"\x89PNG\r\n\x1a\n" + os.urandom(20_000)
PICTURE = base64.b64encode(PIXELS).decode()
SUITE = f"""
name: mine
rows: towns.csv
prompts:
  - {{text: "Of {MARK}: {{{{town}}}}", tags: ["{{{{town}}}}"], headers: {{x-prompt: one}}, params: {{c: 3}}}}
  - {{id: seen, text: "Who sees {MARK}?", images: [harbour.png]}}
  - {{id: long, synthetic: {{tokens: 100, count: 2, ask: "Where is {MARK}?"}}}}
"""


def furnished(folder: Path) -> Home:
    home = Home(folder)
    (folder / "suite").mkdir()
    (folder / "suite" / "mine.yaml").write_text(SUITE)
    (folder / "suite" / "towns.csv").write_bytes(b"\xef\xbb\xbfid,town\noslo,Oslo\nrome,Rome\n")
    (folder / "suite" / "harbour.png").write_bytes(PIXELS)
    (folder / "other.jsonl").write_text(json.dumps({"id": "seen", "text": "Hi"}))
    return home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = furnished(tmp_path)
    yield home
    home.close()


def inputs(home: Home, url: str) -> str:
    """A config of two suites, with fields and headers of a gateway and a model."""
    return home.config(
        {"model": "m", "params": {"b": 2, "c": 2}, "headers": {"x-model": "${MODEL_TOKEN}"}},
        gateway={
            "base_url": url,
            "api_key": "${HUB_API_KEY}",
            "params": {"a": 1, "b": 1, "token": "${HUB_API_KEY}"},
            "headers": {"x-gateway": "g"},
        },
        suite=["suite/mine.yaml", "other.jsonl"],
        prompts=None,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ran, list[Seen]]]:
    """A run, and what the gateway saw of it."""
    home = furnished(tmp_path_factory.mktemp("inputs"))
    with ScriptedGateway(lambda _: [streamed()]) as gateway:
        ran = home.run(inputs(home, gateway.url), env={"HUB_API_KEY": KEY, "MODEL_TOKEN": KEY})
        assert ran.code == 0, ran.err
        yield ran, gateway.seen
    home.close()


def test_what_is_sent(done: tuple[Ran, list[Seen]]) -> None:
    """Each prompt as its suite says, with the fields and headers of gateway, model and prompt."""
    ran, seen = done
    assert sum(f"data:image/png;base64,{PICTURE}" in one.body.decode() for one in seen) == 1
    oslo = next(one for one in seen if "Oslo" in one.body.decode())
    assert oslo.json["messages"] == [{"role": "user", "content": f"Of {MARK}: Oslo"}]
    assert {key: oslo.json[key] for key in ("a", "b", "c", "token")} == {"a": 1, "b": 2, "c": 3, "token": KEY}
    told = {name: oslo.header(name) for name in ("x-gateway", "x-model", "x-prompt")}
    assert told == {"x-gateway": "g", "x-model": KEY, "x-prompt": "one"}
    ids = sorted(record.ticket.prompt_id for record in ran.measured)
    assert ids == ["long-1", "long-2", "mine/seen", "oslo", "other/seen", "rome"]


def test_nothing_of_an_image_is_kept(done: tuple[Ran, list[Seen]]) -> None:
    """In no file; that neither keys nor words are, `Ran.check` has seen."""
    files = b"".join(file.read_bytes() for file in done[0].folder.iterdir())
    assert [at for at in range(0, 8_000, 16) if PICTURE[at : at + 24].encode() in files] == []


def test_the_header_tells_of_inputs_without_their_words(done: tuple[Ran, list[Seen]]) -> None:
    """Lengths count characters of texts, images are counted, secrets are masked."""
    header = done[0].run.header
    catalogue: Any = header.suite["catalogue"]
    assert header.suite["name"] == "mine+other"
    assert catalogue["mine/seen"] == {"tags": [], "messages": 1, "chars": 10 + len(MARK), "images": 1, "params": {}}
    assert catalogue["long-1"]["chars"] == 400
    assert catalogue["oslo"]["tags"] == ["Oslo"]
    assert header.config["suite"]["path"] == "suite/mine.yaml, other.jsonl"
    assert header.config["gateways"]["hub"]["params"] == {"a": 1, "b": 1, "token": "***"}
    assert header.config["models"][0]["headers"] == {"x-model": "***"}


def test_an_echoed_prompt_is_in_no_file(home: Home) -> None:
    """Gateways repeat what they cannot read; `Ran.check` looks for the words."""

    def echo(seen: Seen) -> Iterator[bytes]:
        yield error("400 Bad Request", f"cannot read: {seen.body.decode()[-1_500:]}")

    with ScriptedGateway(echo) as gateway:
        ran = home.run(inputs(home, gateway.url), env={"HUB_API_KEY": KEY, "MODEL_TOKEN": KEY})
    files = b"".join(file.read_bytes() for file in ran.folder.iterdir())
    tail = PICTURE[-900:]
    assert [tail[at : at + 16] for at in range(800) if tail[at : at + 16].encode() in files] == []


def test_bad_input_is_one_line_and_exit_code_2(home: Home) -> None:
    """Nothing is sent and no folder is left."""
    (home.folder / "suite" / "towns.csv").write_text("id,city\noslo,Oslo\n")
    ran = home.run(inputs(home, "http://127.0.0.1:9/v1"), env={"HUB_API_KEY": KEY, "MODEL_TOKEN": KEY})
    assert ran.code == 2
    assert ran.err.splitlines() == [
        f"error: {home.folder}/suite/mine.yaml:5: prompts.0.text: {{{{town}}}} has no value in row 1 (towns.csv:2) "
        "(accepted: columns id, city)",
    ]
    assert not ran.results.exists() or not list(ran.results.iterdir())


def test_our_inputs_config_runs(home: Home) -> None:
    """As its first lines say; both models answer all twenty prompts."""
    ran = home.run(str(HOUSE / "configs" / "inputs.yaml"))
    assert ran.code == 0, ran.err
    assert [model["outcomes"] for model in ran.summary["models"].values()] == [{"ok": 20}] * 2


# --- the config


def config_of(folder: Path, **keys: Any) -> Config:
    plain = {
        "gateways": {"hub": {"base_url": "http://localhost:1/v1", "api_key": "none"}},
        "models": ["m"],
        "prompts": ["Hi"],
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(plain | keys))
    return load_config(path, env={"TOKEN": KEY})


def gateway_with(**keys: Any) -> dict[str, Any]:
    return {"gateways": {"hub": {"base_url": "http://localhost:1/v1", "api_key": "none", **keys}}}


@pytest.mark.parametrize(
    ("keys", "tells"),
    [
        (gateway_with(params={"stream": False}), "gateways.hub.params.stream: may not be set: "),
        (
            gateway_with(params={"key": "hunter2-hunter2"}),
            "gateways.hub.params.key: a secret must not stand in the file",
        ),
        (
            gateway_with(params={"x": [{"api_key": "hunter2-hunter2"}]}),
            "gateways.hub.params.x.0.api_key: a secret must not stand in the file",
        ),
        (
            {"models": [{"model": "m", "params": {"x": [{"api_key": "hunter2-hunter2"}]}}]},
            "models.0.params.x.0.api_key: a secret must not stand in the file (accepted: `api_key: ${GATEWAY_SECRET}` ",
        ),
        (gateway_with(params=["a"]), "gateways.hub.params: is of the wrong kind"),
        (gateway_with(params={"x": "${NONE_SUCH}"}), "gateways.hub.params.x: NONE_SUCH is not set, or empty"),
        (
            {"models": [{"model": "m", "headers": {"x-api-key": "hunter2-hunter2"}}]},
            "models.0.headers.x-api-key: a secret must not stand in the file (accepted: `x-api-key: ${M_HEADER}` with",
        ),
        (
            {"models": [{"model": "m", "headers": {"Authorization": "Bearer hunter2-hunter2"}}]},
            "models.0.headers.Authorization: may not be set here: the gateway's `api_key` says it",
        ),
        ({"models": [{"model": "m", "headers": {"host": "x"}}]}, "models.0.headers.host: is set by the request itself"),
        ({"models": [{"model": "m", "headers": {"traceparent": "x"}}]}, "headers.traceparent: may not be set here"),
        ({"models": [{"model": "m", "headers": {"x": "${NONE}"}}]}, "models.0.headers.x: NONE is not set, or empty"),
        ({"models": [{"model": "m", "headers": {"x": "hunter2\r\ny: z"}}]}, "models.0.headers.x: holds a character"),
        ({"prompts": None, "suite": []}, "suite: must not be empty"),
        ({"prompts": None, "suite": ["a.yaml", "a.yaml"]}, "suite.1: stands in the list twice"),
        ({"prompts": None, "suite": ["a.yaml", "none.yaml"]}, "suite.1: no such file (found 'none.yaml'"),
        ({"prompts": None, "suite": 3}, "suite: is of the wrong kind (found 3; accepted: the path of a suite file, or"),
    ],
)
def test_a_bad_config_is_told_in_one_line(tmp_path: Path, keys: dict[str, Any], tells: str) -> None:
    """With what to write, and without the secret."""
    (tmp_path / "a.yaml").write_text("[Hi]")
    with pytest.raises(InputError) as caught:
        config_of(tmp_path, **keys)
    (line,) = str(caught.value).splitlines()
    assert tells in line, line
    assert "hunter2" not in line


def test_no_form_of_a_config_holds_what_came_from_the_environment(tmp_path: Path) -> None:
    """Neither a model's headers nor a gateway's fields."""
    config = config_of(
        tmp_path,
        models=[{"model": "m", "headers": {"x-a": "${TOKEN}"}}],
        **gateway_with(params={"deep": [{"x": "${TOKEN}"}]}),
    )
    assert config.models[0].headers == {"x-a": KEY}
    assert config.gateways["hub"].params == {"deep": [{"x": KEY}]}
    forms = [repr(config), config.model_dump(), config.masked(), repr(config.models[0]), repr(config.gateways)]
    assert [form for form in forms if KEY in str(form)] == []


def test_a_configs_own_prompts_find_their_files_beside_it(tmp_path: Path) -> None:
    """As a suite's do."""
    (tmp_path / "t.csv").write_text("a\nx\n")
    config = config_of(tmp_path, prompts=[{"text": "{{a}}", "rows": "t.csv"}])
    assert [list(texts_of(prompt)) for prompt in config.suite.prompts] == [["x"]]


# --- the suites that come with it


OURS = ("starter", "quick", "five", "chat", "coding", "extraction", "long-context", "tools", "json", "languages")


@pytest.mark.parametrize("name", OURS)
def test_our_suites_are_sound(name: str) -> None:
    """In the public domain, tagged, bounded in length, and their tools have schemas that arguments can be held to."""
    path = HOUSE / "configs" / "suites" / f"{name}.yaml"
    suite = load_suite(path)
    assert "CC0" in path.read_text("utf-8")
    assert suite.name == name
    assert [prompt.id for prompt in suite.prompts if not prompt.tags or "max_tokens" not in prompt.params] == []
    for prompt in suite.prompts:
        declared = declared_schemas(prompt.params)
        assert len(declared) == len(prompt.params.get("tools", ()))


def test_no_two_of_our_suites_share_an_id() -> None:
    """So that any of them go together as they are."""
    suites = [load_suite(HOUSE / "configs" / "suites" / f"{name}.yaml") for name in OURS]
    ids = [prompt.id for suite in suites for prompt in suite.prompts]
    assert [prompt.id for prompt in together(suites).prompts] == ids
