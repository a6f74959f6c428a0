"""Runs with prompts of rows, images and words of a wanted length: what is on the wire, and what is in no file."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from home import KEY, MARK, ROOT, Home, Ran
from scripted_gateway import ScriptedGateway, Seen, error, streamed
from wrong_input import Wrong, the_problem

from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.errors import InputError
from streambench.workload.request_params import declared_schemas
from streambench.workload.suite import load_suite, texts_of, together

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
def make_home() -> Callable[[Path], Home]:
    return furnished


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
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: {home.folder}/suite/mine.yaml:5: prompts.0.text: ")
    assert "towns.csv:2" in line
    assert not ran.results.exists() or not list(ran.results.iterdir())


def test_our_inputs_config_runs(home: Home) -> None:
    """As its first lines say; both models answer all twenty prompts."""
    ran = home.run(str(ROOT / "configs" / "inputs.yaml"))
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
    ("keys", "wrong"),
    [
        (gateway_with(params={"stream": False}), Wrong("gateways.hub.params.stream", None, 6)),
        (
            gateway_with(params={"key": "hunter2-hunter2"}),
            Wrong("gateways.hub.params.key", None, 6, message="a secret must not be written in the file"),
        ),
        (
            gateway_with(params={"x": [{"api_key": "hunter2-hunter2"}]}),
            Wrong("gateways.hub.params.x.0.api_key", None, 7),
        ),
        (
            {"models": [{"model": "m", "params": {"x": [{"api_key": "hunter2-hunter2"}]}}]},
            Wrong(
                "models.0.params.x.0.api_key",
                None,
                9,
                accepted="`api_key: ${GATEWAY_SECRET}` under the params of its gateway with `export",
            ),
        ),
        (gateway_with(params=["a"]), Wrong("gateways.hub.params", "a list", 5)),
        (gateway_with(params={"x": "${NONE_SUCH}"}), Wrong("gateways.hub.params.x", None, 6, names=("NONE_SUCH",))),
        (
            {"models": [{"model": "m", "headers": {"x-api-key": "hunter2-hunter2"}}]},
            Wrong(
                "models.0.headers.x-api-key", None, 7, accepted="`x-api-key: ${M_HEADER}` with `export M_HEADER=...`"
            ),
        ),
        (
            {"models": [{"model": "m", "headers": {"Authorization": "Bearer hunter2-hunter2"}}]},
            Wrong("models.0.headers.Authorization", None, 7),
        ),
        ({"models": [{"model": "m", "headers": {"host": "x"}}]}, Wrong("models.0.headers.host", "text", 7)),
        ({"models": [{"model": "m", "headers": {"traceparent": "x"}}]}, Wrong("models.0.headers.traceparent", None, 7)),
        (
            {"models": [{"model": "m", "headers": {"x": "${NONE}"}}]},
            Wrong("models.0.headers.x", None, 7, names=("NONE",)),
        ),
        ({"models": [{"model": "m", "headers": {"x": "hunter2\r\ny: z"}}]}, Wrong("models.0.headers.x", "text", 7)),
        ({"prompts": None, "suite": []}, Wrong("suite", "a list", 8)),
        ({"prompts": None, "suite": ["a.yaml", "a.yaml"]}, Wrong("suite.1", "'a.yaml'", 10, message="is listed twice")),
        ({"prompts": None, "suite": ["a.yaml", "none.yaml"]}, Wrong("suite.1", "'none.yaml'", 10)),
        (
            {"prompts": None, "suite": 3},
            Wrong("suite", "3", 8, accepted="the path of a suite file, or a list of them (or `prompts:` instead)"),
        ),
    ],
)
def test_a_bad_config_is_told_in_one_line(tmp_path: Path, keys: dict[str, Any], wrong: Wrong) -> None:
    """With what to write, and without the secret."""
    (tmp_path / "a.yaml").write_text("[Hi]")
    with pytest.raises(InputError) as caught:
        config_of(tmp_path, **keys)
    assert len(caught.value.problems) == 1
    the_problem(caught.value.problems, wrong._replace(file="run.yaml"))
    assert "hunter2" not in str(caught.value)


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
    path = ROOT / "configs" / "suites" / f"{name}.yaml"
    suite = load_suite(path)
    assert "CC0" in path.read_text("utf-8")
    assert suite.name == name
    assert [prompt.id for prompt in suite.prompts if not prompt.tags or "max_tokens" not in prompt.params] == []
    for prompt in suite.prompts:
        declared = declared_schemas(prompt.params)
        assert len(declared) == len(prompt.params.get("tools", ()))


def test_no_two_of_our_suites_share_an_id() -> None:
    """So that any of them go together as they are."""
    suites = [load_suite(ROOT / "configs" / "suites" / f"{name}.yaml") for name in OURS]
    ids = [prompt.id for suite in suites for prompt in suite.prompts]
    assert [prompt.id for prompt in together(suites).prompts] == ids
