"""What a newcomer does first: a config by `init`, `doctor` over it, the schema in an editor, completion in shells."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import trustme
import yaml
from home import KEY, ROOT
from scripted_gateway import ScriptedGateway, Seen, delta, error, sized, sse, streamed

from cli.called import called
from streambench.cli.main import commands
from streambench.config.json_schema import json_schema
from streambench.config.load import load_config
from streambench.documents import read_yaml
from streambench.simulator.process import SimulatorProcess

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SUITES = sorted((ROOT / "configs" / "suites").glob("*.yaml"))
MODELS = "models:\n  swift: {ttft_ms: 5, gap_ms: 3, tokens: 20, tools: true}\n  slow: {ttft_ms: 20, tokens: 20}\n"

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs `streambench` in a folder of its own; exit code, stdout and stderr. No terminal is there to answer."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        return called(capsys, *arguments, key=KEY)

    return run


# --- init


def test_without_a_gateway_the_config_runs_as_it_is(command: Command, tmp_path: Path) -> None:
    """Simulated models, no key: `init`, then `run`."""
    assert command("init")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["simulated-models.yaml", "streambench.yaml"]
    code, out, _ = command("run", "streambench.yaml", "--set", "repeats=1", "--no-report")
    assert code == 0
    assert re.search(r"^sim-quick \(simulated\) +4/4", out, re.MULTILINE)


def test_of_a_gateway_the_key_is_named_and_not_written(command: Command, tmp_path: Path) -> None:
    """It loads with the key in that variable, and with globs; the next steps say what to export."""
    code, out, _ = command(
        "init", "mine.yaml", "--base-url", "https://api.vendor.example/v1", "--model", "big-*", "--model", "!*-preview"
    )
    assert code == 0
    assert "export EXAMPLE_API_KEY=..." not in out
    assert "export VENDOR_API_KEY=..." in out
    config = load_config(tmp_path / "mine.yaml", env={"VENDOR_API_KEY": KEY})
    assert (config.name, list(config.gateways)) == ("mine", ["vendor"])
    assert config.gateways["vendor"].api_key == KEY
    assert [model.model for model in config.models] == ["big-*", "!*-preview"]


def test_nothing_is_overwritten_unless_forced(command: Command, tmp_path: Path) -> None:
    """Neither the config nor the models beside it."""
    (tmp_path / "simulated-models.yaml").write_text("mine")
    code, _, err = command("init")
    assert (code, "already exists" in err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["simulated-models.yaml"]
    assert command("init", "--force")[0] == 0
    assert (tmp_path / "simulated-models.yaml").read_text() != "mine"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--base-url", "https://h.example/v1"], "--model: is needed with --base-url"),
        (["--model", "a"], "--model: needs a gateway"),
        (["--base-url", "h.example", "--model", "a"], "--base-url: "),
        (["--base-url", "https://u:pw@h.example", "--model", "a"], "gateways.h.base_url: "),
        (
            ["--base-url", "https://h.example", "--model", "a", "--key-variable", KEY],
            "--key-variable: must be the name",
        ),
        (["--base-url", "https://h.example", "--model", "a\nb"], "--model: cannot be used as a name"),
        (["--base-url", "https://h.example", "--model", "!a"], "models.0: "),
    ],
)
def test_what_cannot_be_written(command: Command, tmp_path: Path, options: list[str], told: str) -> None:
    """One line, 2, and no file; what may be a key is not repeated."""
    code, _, err = command("init", *options)
    assert (code, len(err.strip().splitlines()), told in err) == (2, 1, True), err
    assert list(tmp_path.iterdir()) == []


def test_at_a_terminal_it_asks_and_shows_what_is_offered(tmp_path: Path) -> None:
    """The gateway, its key's variable, and models from its list."""
    (tmp_path / "served.yaml").write_text(MODELS)
    with SimulatorProcess(tmp_path / "served.yaml") as served:
        ours, theirs = pty.openpty()
        os.write(ours, f"{served.base_url()}\nnone\nsw*, slow\n".encode())
        asking = subprocess.Popen(
            [sys.executable, "-m", "streambench", "init", "asked.yaml"], stdin=theirs, stdout=theirs, cwd=tmp_path
        )
        assert asking.wait(60) == 0
        said = os.read(ours, 65536).decode()
        os.close(theirs)
        os.close(ours)
        config = load_config(tmp_path / "asked.yaml")
    assert "offers 2 models:" in said
    assert [model.model for model in config.models] == ["sw*", "slow"]
    assert config.gateways["hub"].api_key is None


def test_a_mistyped_answer_is_asked_again(tmp_path: Path) -> None:
    """A URL without a scheme, a key in the place of its variable, a list without a model: no earlier answer is lost."""
    ours, theirs = pty.openpty()
    os.write(ours, f"h.example\nhttps://h.example/v1\n{KEY}\nH_KEY\n!a\nm\n".encode())
    asking = subprocess.Popen(
        [sys.executable, "-m", "streambench", "init", "asked.yaml"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
    )
    said = asking.communicate(timeout=60)[0].decode()
    os.close(theirs)
    os.close(ours)
    assert asking.returncode == 0, said
    assert said.count("(accepted: ") == 3
    assert KEY not in said
    config = load_config(tmp_path / "asked.yaml", env={"H_KEY": "k"})
    assert [gateway.base_url for gateway in config.gateways.values()] == ["https://h.example/v1"]


def test_a_second_simulated_config_shares_the_models_file(command: Command, tmp_path: Path) -> None:
    """What the first `init` wrote beside it is the same, so it is in nobody's way."""
    assert command("init", "one.yaml")[0] == 0
    assert command("init", "two.yaml")[0] == 0
    assert len(list(tmp_path.iterdir())) == 3


# --- doctor


def write(folder: Path, *models: Any, **gateway: Any) -> Path:
    hub = {"base_url": "embedded", "models": "models.yaml"} if not gateway else {"api_key": "none", **gateway}
    (folder / "models.yaml").write_text(MODELS)
    path = folder / "c.yaml"
    plain = {"gateways": {"hub": hub}, "models": list(models or ["swift", "slow"]), "prompts": ["Hi"]}
    path.write_text(yaml.safe_dump(plain))
    return path


def lines(out: str) -> dict[str, str]:
    """What was looked at, and the state and words that stand beside it."""
    found = re.findall(r"^(ok   |note |WRONG)  (.+?): (.*)$", out, re.MULTILINE)
    assert len(found) == len(out.strip().splitlines()), out
    return {what: f"{state.strip()} {told}" for state, what, told in found}


def test_all_is_well(command: Command, tmp_path: Path) -> None:
    """Every line ok; it said beforehand how much it would send; nothing stays behind.

    A busy machine may wake late and read two chunks at once: the two lines that measure this may say so.
    """
    path = write(tmp_path)
    code, out, err = command("doctor", path, "--tools")
    told = lines(out)
    assert code == 0, out
    measured = {"clock", "swift unbuffered", "slow unbuffered"}
    assert {state.partition(" ")[0] for what, state in told.items() if what not in measured} == {"ok"}
    assert {told[what].partition(" ")[0] for what in measured} <= {"ok", "note"}
    beforehand, sending = err.splitlines()
    assert "--no-requests" in beforehand
    assert sending.startswith("sending 4 tiny requests (at most 16 output tokens")
    assert re.fullmatch(
        r"ok DNS [\d.]+ ms, TCP [\d.]+ ms, HTTP (?:ok|[\d.]+ ms); 2 models offered", told["gateway hub"]
    )
    assert re.match(r"ok \d+ chunks, TTFT \d+ ms", told["swift streams"])
    assert "16 out" in told["swift usage"]
    assert told["swift tools"].startswith("ok accepted")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c.yaml", "models.yaml"]


def test_no_requests_as_json(command: Command, tmp_path: Path) -> None:
    """No model is tried; the same checks as data."""
    code, out, err = command("doctor", write(tmp_path), "--no-requests", "--json")
    checks = json.loads(out)
    assert (code, "sending" in err) == (0, False)
    assert [check["what"] for check in checks] == [
        *("config", "key of hub", "open files", "results", "disk", "telemetry", "gateway hub"),
        *("model swift", "model slow"),
    ]


def scripted(body: bytes, *, known: Iterable[str] = ("m",)) -> ScriptedGateway:
    rows = [{"id": name} for name in known]
    return ScriptedGateway(lambda _: [body], lambda _: [sized("200 OK", json.dumps({"data": rows}).encode())])


LONG = [delta(word) for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]]
BUFFERED = streamed(sse(*LONG, delta(finish_reason="stop"), "[DONE]"))


@pytest.mark.parametrize(
    ("body", "code", "what", "told"),
    [
        (BUFFERED, 0, "m unbuffered", "note 9 chunks of output came in 1 read"),
        (BUFFERED, 0, "m usage", "note requested but not sent"),
        (error("404 Not Found", "no such model"), 1, "m streams", "WRONG http_error 404: no such model -> check the"),
        (sized("200 OK", b"<html>", content_type="text/html"), 1, "m streams", "WRONG not_a_stream"),
        (streamed(sse(delta("a"))), 1, "m streams", "WRONG truncated"),
    ],
    ids=["buffered", "usage", "404", "html", "truncated"],
)
def test_what_a_model_lacks(command: Command, tmp_path: Path, body: bytes, code: int, what: str, told: str) -> None:
    """A note where numbers would lack something, 1 where a run would break."""
    with scripted(body) as gateway:
        found = command("doctor", write(tmp_path, "m", base_url=gateway.url))
    assert (found[0], lines(found[1])[what][: len(told)]) == (code, told)


def test_a_limit_by_its_newer_name(command: Command, tmp_path: Path) -> None:
    """A model that knows only max_completion_tokens is asked again with that."""

    def answer(seen: Seen) -> Iterable[bytes]:
        if "max_tokens" in seen.json:
            yield error("400 Bad Request", "Unsupported parameter: use max_completion_tokens")
        else:
            yield BUFFERED

    with scripted(b"") as gateway:
        gateway.answer = answer
        code, out, _ = command("doctor", write(tmp_path, "m", base_url=gateway.url))
    assert (code, lines(out)["m streams"][:3]) == (0, "ok ")
    assert [seen.json.get("max_completion_tokens") for seen in gateway.seen] == [None, 16]


def test_tools_refused(command: Command, tmp_path: Path) -> None:
    """Only --tools asks; a gateway that takes none is told with its words."""

    def answer(seen: Seen) -> Iterable[bytes]:
        yield error("400 Bad Request", "no tools here") if "tools" in seen.json else BUFFERED

    with scripted(b"") as gateway:
        gateway.answer = answer
        path = write(tmp_path, "m", base_url=gateway.url)
        assert command("doctor", path)[0] == 0
        code, out, _ = command("doctor", path, "--tools")
    assert code == 1
    assert lines(out)["m tools"].startswith("WRONG http_error 400: no tools here")


def test_a_refused_key_names_its_variable(command: Command, tmp_path: Path) -> None:
    """Which is not shown, though the gateway echoes it."""

    def echo(seen: Seen) -> Iterable[bytes]:
        yield error("401 Unauthorized", f"bad key {seen.header('authorization')}")

    with ScriptedGateway(echo, echo) as gateway:
        code, out, _ = command("doctor", write(tmp_path, "m", base_url=gateway.url, api_key="${HUB_API_KEY}"))
    told = lines(out)
    assert code == 1
    assert told["key of hub"] == "ok HUB_API_KEY is set"
    assert "rejects the key (401: bad key Bearer ***) -> check the key in HUB_API_KEY" in told["gateway hub"]


def test_a_missing_key_is_bad_input(command: Command, tmp_path: Path) -> None:
    """2, with the line to export."""
    path = write(tmp_path, "m", base_url="http://h.example", api_key="${NOT_THERE_KEY}")
    code, _, err = command("doctor", path)
    assert (code, "`export NOT_THERE_KEY=...`" in err) == (2, True)


def test_a_closed_port(command: Command, tmp_path: Path) -> None:
    """TCP is the step that failed; no model is tried there."""
    code, out, err = command("doctor", write(tmp_path, "m", base_url="http://127.0.0.1:9/v1"))
    assert code == 1
    assert lines(out)["gateway hub"].startswith("WRONG DNS ok, TCP failed: 127.0.0.1:9: connection refused -> start")
    assert lines(out)["model m"] == "note not checked, as hub returned no list of models"
    assert "sending" not in err


@contextmanager
def with_tls(gateway: ScriptedGateway, ca: trustme.CA) -> Iterator[ScriptedGateway]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    server = gateway._server
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with gateway:
        yield gateway


def test_an_untrusted_certificate(command: Command, tmp_path: Path) -> None:
    """TLS is the step that failed, and its mend makes it well."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with with_tls(scripted(BUFFERED), ca) as gateway:
        url = gateway.url.replace("http:", "https:")
        code, out, _ = command("doctor", write(tmp_path, "m", base_url=url), "--no-requests")
        assert code == 1
        assert lines(out)["gateway hub"].startswith("WRONG DNS ok, TCP ok, TLS failed: ")
        assert "`tls: {ca_bundle: company-ca.pem}`" in out
        mended = write(tmp_path, "m", base_url=url, tls={"ca_bundle": "ca.pem"})
        code, out, _ = command("doctor", mended, "--no-requests")
    assert code == 0
    assert re.match(r"ok DNS [\d.]+ ms, TCP [\d.]+ ms, TLS [\d.]+ ms, HTTP", lines(out)["gateway hub"])


def test_a_glob_for_nothing_and_a_strange_name(command: Command, tmp_path: Path) -> None:
    """A run would not begin; nothing is sent before that is mended."""
    code, out, err = command("doctor", write(tmp_path, "swoft*", "slo"))
    told = lines(out)
    assert code == 1
    assert told["model swoft*"] == "WRONG hub does not list it -> similar names: swift"
    assert re.match(r"WRONG .*: slow$", told["model slo"])
    assert "sending" not in err


def test_the_machine(command: Command, tmp_path: Path) -> None:
    """More requests at once than files may be open, and results where no folder can be."""
    (tmp_path / "taken").write_text("")
    path = write(tmp_path)
    more = ["--set", "load.concurrency=100000", "--set", "output=taken", "--no-requests"]
    code, out, _ = command("doctor", path, *more)
    told = lines(out)
    assert code == 1
    assert re.match(r"WRONG the limit is \d+, but 100000 concurrent requests need about 100064", told["open files"])
    assert told["results"].startswith("WRONG taken is not a folder")


def test_telemetry_is_tried(command: Command, tmp_path: Path) -> None:
    """A collector that is not there is a note; one that is required would keep a run from beginning."""
    more = ["--no-requests", "--set", "telemetry.endpoint=http://127.0.0.1:9"]
    code, out, _ = command("doctor", write(tmp_path), *more)
    assert (code, lines(out)["telemetry"][:5]) == (0, "note ")
    code, out, _ = command("doctor", write(tmp_path), *more, "--set", "telemetry.required=true")
    assert (code, lines(out)["telemetry"][:5]) == (1, "WRONG")


# --- the schema


def validator(at: str | None = None) -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema if at is None else {"$defs": schema["$defs"], "$ref": at})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_our_configs_name_the_schema_and_keep_it(path: Path) -> None:
    """So that editors complete and check them."""
    assert path.read_text("utf-8").startswith("# yaml-language-server: $schema=schema.json\n")
    assert [error.message for error in validator().iter_errors(read_yaml(path).data)] == []


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.name)
def test_our_suites_keep_the_schema(path: Path) -> None:
    """Theirs is a part of it."""
    assert [error.message for error in validator("#/$defs/Suite").iter_errors(read_yaml(path).data)] == []


PLAIN: Mapping[str, Any] = {
    "gateways": {"hub": {"base_url": "https://h.example/v1", "api_key": "none"}},
    "models": ["a"],
    "prompts": ["Hi"],
}


@pytest.mark.parametrize(
    ("keys", "is_valid"),
    [
        ({}, True),
        ({"limits": {"duration": "10m", "drain": 5}}, True),
        ({"timeouts": {"idle": "1h30m"}}, True),
        ({"bounds": {"line_bytes": "64 MB", "stream_bytes": 4096}}, True),
        ({"models": ["gpt-*", "!*-preview", {"model": "a", "alias": "b", "params": {"max_tokens": 4}}]}, True),
        ({"discovery": False}, True),
        ({"prompts": [{"id": "x", "text": "Hi", "params": {}}]}, True),
        ({"limits": {"duration": "ten"}}, False),
        ({"limits": {"duration": 0}}, False),
        ({"bounds": {"line_bytes": "64 apples"}}, False),
        ({"concurrency": 4}, False),
        ({"models": [4]}, False),
        ({"models": []}, False),
        ({"load": {"mode": "open"}}, False),
        ({"repeats": 0}, False),
        ({"suite": "x.yaml"}, False),  # beside prompts
    ],
)
def test_the_schema_says_what_the_loader_says(tmp_path: Path, keys: dict[str, Any], is_valid: bool) -> None:  # noqa: FBT001
    """Of the forms that the loader takes, and of what it refuses."""
    data = {**PLAIN, **keys}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data))
    assert validator().is_valid(data) == is_valid
    try:
        load_config(tmp_path / "c.yaml")
    except Exception:  # noqa: BLE001  # whatever it says, it refuses
        assert not is_valid
    else:
        assert is_valid


def test_schema_and_show_are_printed(command: Command, tmp_path: Path) -> None:
    """The one as the file beside our configs; the other with keys masked."""
    code, out, _ = command("config", "schema")
    assert (code, out) == (0, (ROOT / "configs" / "schema.json").read_text("utf-8"))
    path = write(tmp_path, "m", base_url="http://h.example/v1", api_key="${HUB_API_KEY}")
    told = json.loads(command("config", "show", path, "--set", "repeats=3")[1])
    assert (told["gateways"]["hub"]["api_key"], told["repeats"]) == ("***", 3)


# --- the commands


def all_commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from all_commands(command)


def _takes_config(command: click.Command) -> bool:
    return any(isinstance(param, click.Argument) and param.name == "config_file" for param in command.params)


def test_every_command_that_takes_a_config_takes_overrides() -> None:
    """`--set` is one habit for all of them."""
    taking = [command for command in all_commands(commands) if _takes_config(command)]
    assert {"run", "resume", "models", "doctor", "show"} <= {command.name for command in taking}
    lacking = [command.name for command in taking if not any("--set" in p.opts for p in command.params)]
    assert lacking == []


# --- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_the_shells(command: Command, tmp_path: Path, shell: str) -> None:
    """Where the shell is there, it takes the script."""
    code, out, _ = command("completion", shell)
    assert (code, "_STREAMBENCH_COMPLETE" in out) == (0, True)
    if shutil.which(shell):
        (tmp_path / "script").write_text(out)
        assert subprocess.run([shell, "-n", "script"], cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ru"], ["run"]),
        (["run", "c"], ["c.yaml", "configs/"]),
        (["run", "configs/"], ["configs/d.yml"]),
        (["doctor", "--no"], ["--no-requests"]),
        (["report", "results/"], ["results/a-run"]),
        (["resume", "res"], ["results/"]),
        (["models", "nowhere/"], []),
    ],
)
def test_what_is_completed(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    """Commands, options, YAML files, and the folders of runs, with a slash after those that lead on."""
    for name in ("c.yaml", "c.txt", "configs/d.yml", "configs/.hidden.yaml", "results/a-run/run.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    environment = {
        **os.environ,
        "_STREAMBENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["streambench", *words]),
        "COMP_CWORD": str(len(words)),
    }
    program = Path(sys.executable).with_name("streambench")
    done = subprocess.run([program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [line.partition(",")[2] for line in done.stdout.split()] == expected, done.stderr
