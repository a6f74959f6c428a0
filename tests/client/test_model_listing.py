"""What gateways offer: lists that may be hostile, missing or slow; globs turned into models; runs that go by it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.called import called
from home import KEY
from scripted_gateway import Answer, ScriptedGateway, Seen, error, sized, streamed

from streambench.analysis.run import load
from streambench.client.model_listing import MOST, NoListError, ask, read_page
from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.config.model_selection import Listing, is_offered, nearest_names, resolve, resolve_again
from streambench.errors import ConfigError
from streambench.records.schema import Failure
from streambench.redaction import Secrets

NAMES = ("deepseek-chat", "deepseek-r1", "deepseek-r2-preview", "gpt-4o", "gpt-4o-mini", "meta/llama-3")
SIMULATED = (
    "models:\n  swift: {ttft_ms: 5, gap_ms: 1, tokens: 4}\n  swift-preview: {tokens: 4}\n  steady: {tokens: 4}\n"
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a config: by default of a gateway `hub` with a key."""

    def write(
        *models: Any, gateways: Mapping[str, Any] | None = None, url: str = "http://h.example", **keys: Any
    ) -> Path:
        hub = {"hub": {"base_url": url, "api_key": "${HUB_API_KEY}"}}
        plain = {
            "gateways": gateways or hub,
            "models": list(models),
            "prompts": ["Hi"],
            "warmup": {"requests": 0},
            **keys,
        }
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump(plain, sort_keys=False))
        (tmp_path / "models.yaml").write_text(SIMULATED)
        return path

    return write


def loaded(path: Path) -> Config:
    return load_config(path, env={"HUB_API_KEY": KEY})


# --- the list


def page(*rows: Any, **more: Any) -> bytes:
    return json.dumps({"object": "list", "data": list(rows), **more}).encode()


def test_what_gateways_state_beside_the_name() -> None:
    """OpenRouter's price is per token, 0.000003 USD = 3 a million; vLLM's, Groq's and others' length of the context."""
    rows = [
        {"id": "a", "owned_by": "me", "context_length": 8192, "pricing": {"prompt": "0.000003", "completion": "0"}},
        {"id": "b", "max_model_len": 4096, "pricing": {"prompt": "-1", "completion": "nan"}},
        {"id": "c", "context_window": "many", "pricing": {"input": 3}},
        "d",
    ]
    told = [(o.owned_by, o.context_tokens, o.input_usd, o.output_usd) for o in read_page(page(*rows), Secrets()).offers]
    assert told == [
        ("me", 8192, 3.0, 0.0),
        (None, 4096, None, None),
        (None, None, None, None),
        (None, None, None, None),
    ]


@pytest.mark.parametrize(
    "name",
    ["\x1b[2Jgpt", "gpt\n4", "g\u202ept", "x" * 201, "", 7, None, {"a": 1}, f"leak-{KEY}"],
    ids=["escape", "line", "direction", "long", "empty", "number", "null", "mapping", "key"],
)
def test_a_hostile_name_is_counted_and_left_out(name: Any) -> None:
    """It could neither be shown nor asked for."""
    read = read_page(page({"id": name}, {"id": "fine", "owned_by": "\x1b[31mred\n"}), Secrets([KEY]))
    assert ([(o.id, o.owned_by) for o in read.offers], read.unusable) == ([("fine", "red")], 1)


def test_a_list_is_bounded() -> None:
    """However many models it names."""
    read = read_page(page(*({"id": f"m{number}"} for number in range(MOST + 5))), Secrets())
    assert len(read.offers) == MOST


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b'{"data": 3}', b"3", b"\xff"])
def test_what_is_no_list(body: bytes) -> None:
    """Is said to be none, whatever it is."""
    with pytest.raises(NoListError):
        read_page(body, Secrets())


def test_nearest_names() -> None:
    """A vendor before a slash counts for nothing, nor does a glob's sign; and nothing is near to nonsense."""
    assert nearest_names("gtp-4o", NAMES)[0] == "gpt-4o"
    assert nearest_names("openai/gpt-4o", NAMES)[0] == "gpt-4o"
    assert nearest_names("deepsek-*", NAMES)[0] == "deepseek-r1"
    assert nearest_names("zzzz", NAMES) == []


def test_a_proxy_may_list_a_pattern() -> None:
    """As LiteLLM does for what it passes on."""
    assert is_offered("openai/gpt-9", ["openai/*"])
    assert not is_offered("gpt-9", ["openai/*"])


# --- globs


def listing(*names: str) -> Listing:
    return Listing(offers=read_page(page(*names), Secrets()).offers)


def models_of(config: Config) -> list[tuple[str, str, str]]:
    return [(model.gateway, model.model, model.alias) for model in config.models]


def test_globs_pick_and_exclusions_leave_out(write: Write) -> None:
    """In the order of the config, a glob's by name; what is written out stays as it is, with its own settings."""
    config = loaded(write({"model": "gpt-4o", "alias": "big"}, "deepseek-*", "GPT-*", "!*-preview"))
    resolved = resolve(config, {"hub": listing(*reversed(NAMES))}, "c.yaml")
    assert models_of(resolved.config) == [
        ("hub", "gpt-4o", "big"),
        ("hub", "deepseek-chat", "deepseek-chat"),
        ("hub", "deepseek-r1", "deepseek-r1"),
        ("hub", "gpt-4o-mini", "gpt-4o-mini"),
    ]
    assert resolved.notes[0] == "deepseek-* picks 2 of the 6 models of hub: deepseek-chat, deepseek-r1"


def test_a_globs_settings_are_those_of_all_it_picks(write: Write) -> None:
    """And with one name at two gateways each gets its gateway's."""
    gateways = {name: {"base_url": f"http://{name}.example", "api_key": "none"} for name in ("hub", "direct")}
    globs = [{"model": "gpt-*", "gateway": name, "params": {"max_tokens": 9}} for name in gateways]
    config = loaded(write(*globs, {"model": "!*-mini", "gateway": "direct"}, gateways=gateways))
    resolved = resolve(config, {"hub": listing(*NAMES), "direct": listing(*NAMES)}, "c.yaml").config
    assert models_of(resolved) == [
        ("hub", "gpt-4o", "gpt-4o@hub"),
        ("hub", "gpt-4o-mini", "gpt-4o-mini"),
        ("direct", "gpt-4o", "gpt-4o@direct"),
    ]
    assert [model.params for model in resolved.models] == [{"max_tokens": 9}] * 3


def test_a_globs_whole_answers_stand_beside_its_streams(write: Write) -> None:
    """Told once, and picked again by a header; without streams beside them they go by their name."""
    config = loaded(write({"model": "gpt-*", "stream": [True, False]}, {"model": "meta/*", "stream": False}))
    resolved = resolve(config, {"hub": listing(*NAMES)}, "c.yaml")
    assert [(model.alias, model.ask.streamed) for model in resolved.config.models] == [
        *(("gpt-4o", True), ("gpt-4o-mini", True), ("gpt-4o (whole)", False), ("gpt-4o-mini (whole)", False)),
        ("meta/llama-3", False),
    ]
    assert len(resolved.notes) == 2
    again = resolve_again(config, resolved.config.masked()["models"])
    assert again.masked() == resolved.config.masked()


def test_a_header_gives_the_same_models_again(write: Write) -> None:
    """Whatever the gateway offers by then: the globs pick from the run's own models."""
    config = loaded(write({"model": "gpt-4o", "alias": "big"}, "deepseek-*", "gpt-*", "!*-preview"))
    begun = resolve(config, {"hub": listing(*NAMES)}, "c.yaml").config
    assert resolve_again(config, begun.masked()["models"]).masked() == begun.masked()


@pytest.mark.parametrize(
    ("glob", "told", "listed"),
    [
        ("deepsek-*", "matches none of the 6 models that gateway hub offers", listing(*NAMES)),
        ("deepsek-*", "such as deepseek-r1, ", listing(*NAMES)),
        ("deepseek-*2*", "`!` excludes every model that it matches: deepseek-r2-preview", listing(*NAMES)),
        ("gpt-*", "returned no model list (GET /models: 404: no such page)", None),
        ("gpt-*", "the list is empty", Listing()),
    ],
)
def test_a_glob_that_picks_nothing_is_told(write: Write, glob: str, told: str, listed: Listing | None) -> None:
    """With its key, what stood there, and what could."""
    missing = Listing(failure=Failure("http_error", "no such page", status=404))
    with pytest.raises(ConfigError) as caught:
        resolve(loaded(write(glob, "!*-preview")), {"hub": listed or missing}, "c.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.where, problem.found) == ("c.yaml", "models.0", repr(glob))
    assert told in str(problem)


@pytest.mark.parametrize(
    ("models", "keys", "told"),
    [
        (["gpt-4o", "!*-mini"], {}, "models.1: `!` excludes models from globs, but `models` has no glob"),
        (
            [{"model": "gpt-*", "alias": "g"}],
            {},
            "models.0.alias: would be the alias of every model that the glob picks",
        ),
        (["*", {"model": "!a", "params": {}}], {}, "models.1.params: does not apply to an exclusion (`!`)"),
        (["gpt-*"], {"discovery": False}, "discovery: is false, but globs need the model lists of the gateways"),
    ],
)
def test_patterns_that_mean_nothing(write: Write, models: list[Any], keys: dict[str, Any], told: str) -> None:
    """They are refused before any gateway is asked."""
    with pytest.raises(ConfigError) as caught:
        loaded(write(*models, **keys))
    assert [told in str(problem) for problem in caught.value.problems] == [True]


def test_a_name_that_is_not_listed_is_only_noted(write: Write) -> None:
    """Lists are often not whole: it is asked for all the same."""
    resolved = resolve(loaded(write("gtp-4o", "gpt-4o")), {"hub": listing(*NAMES)}, "c.yaml")
    assert len(resolved.config.models) == 2
    assert [note.partition(" (")[0] for note in resolved.notes] == ["models.0: hub does not list 'gtp-4o'"]
    assert "nearest names: gpt-4o" in resolved.notes[0]


# --- asking real servers


def asked(config: Config, url: str, limit_s: float = 5.0) -> Listing:
    return asyncio.run(ask(config, {"hub": url}, ["hub"], limit_s))["hub"]


@pytest.fixture
def gateway() -> Iterator[Callable[[Answer], ScriptedGateway]]:
    running: list[ScriptedGateway] = []

    def start(models: Answer) -> ScriptedGateway:
        running.append(ScriptedGateway(lambda _: [streamed()], models).__enter__())
        return running[-1]

    yield start
    for one in running:
        one.__exit__(None, None, None)


Start = Callable[[Answer], ScriptedGateway]


def test_it_is_asked_as_a_run_asks(write: Write, gateway: Start) -> None:
    """By the SDK, once, with the key, the gateway's own headers and its query."""
    served = gateway(lambda _: [sized("200 OK", page("a", "b"))])
    hub: dict[str, Any] = {
        "base_url": f"{served.url}?version=3",
        "api_key": "${HUB_API_KEY}",
        "headers": {"x-team": "search"},
    }
    config = loaded(write("a", gateways={"hub": hub}))
    assert asked(config, hub["base_url"]).names == ["a", "b"]
    (seen,) = served.asked
    assert seen.line == "GET /v1/models?version=3 HTTP/1.1"
    assert (seen.header("authorization"), seen.header("x-team")) == (f"Bearer {KEY}", "search")


def test_it_is_asked_through_the_gateways_proxy(write: Write, gateway: Start) -> None:
    """Which is given the whole URL."""
    proxy = gateway(lambda _: [sized("200 OK", page("a"))])
    hub = {"base_url": "http://h.example/v1", "api_key": "none", "proxy": proxy.url.removesuffix("/v1")}
    assert asked(loaded(write("a", gateways={"hub": hub})), "http://h.example/v1").names == ["a"]
    assert proxy.asked[0].line == "GET http://h.example/v1/models HTTP/1.1"


def test_pages_are_followed(write: Write, gateway: Start) -> None:
    """From the last name of each, up to the one that says that there is no more."""

    def paged(seen: Seen) -> Iterable[bytes]:
        after = re.search(r"after=(\w)", seen.line)
        letters = "abcd"[("abcd".index(after[1]) + 1) if after else 0 :][:2]
        yield sized("200 OK", page(*letters, has_more=letters != "cd"))

    served = gateway(paged)
    assert asked(loaded(write("a", url=served.url)), served.url).names == list("abcd")
    assert len(served.asked) == 2


def test_pages_that_never_end_are_left(write: Write, gateway: Start) -> None:
    """A gateway that does not know how to page gives the same one again."""
    served = gateway(lambda _: [sized("200 OK", page("a", has_more=True))])
    assert asked(loaded(write("a", url=served.url)), served.url).names == ["a"]
    assert len(served.asked) == 2


def echo(seen: Seen) -> Iterable[bytes]:
    yield error("401 Unauthorized", f"\x1b[31mno such key: {seen.header('authorization')}")


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (lambda _: [error("404 Not Found", "no such page")], "http_error", "no such page"),
        (lambda _: [error("405 Method Not Allowed", "no")], "http_error", "no"),
        (echo, "http_error", "no such key: Bearer ***"),
        (lambda _: [sized("200 OK", b"<html>", content_type="text/html")], "not_a_list", "the response is not JSON"),
        (lambda _: [sized("302 Found", b"", "location: /elsewhere")], "http_error", ""),
        (lambda _: [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n["], "timeout", "no complete response within 0.5 s"),
        (lambda _: [sized("200 OK", b" " * (9 * 2**20))], "too_large", "the body exceeded 8388608 bytes"),
    ],
    ids=["404", "405", "401", "html", "redirect", "slow", "large"],
)
def test_a_list_that_does_not_come(write: Write, gateway: Start, answer: Answer, kind: str, told: str) -> None:
    """Is a fact with its reason, in which no key stands; nothing is raised."""
    served = gateway(answer)
    found = asked(loaded(write("a", url=served.url)), served.url, limit_s=0.5 if kind == "timeout" else 20)
    assert found.failure is not None
    assert (found.failure.kind, found.failure.message, found.names) == (kind, told, [])


def test_a_closed_port(write: Write) -> None:
    """Nothing listens on port 9 of this machine."""
    found = asked(loaded(write("a", url="http://127.0.0.1:9/v1")), "http://127.0.0.1:9/v1")
    assert found.failure is not None
    assert (found.failure.kind, found.failure.detail) == ("connect_error", "refused")


# --- the commands


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    return called(capsys, *arguments, key=KEY)


EMBEDDED = {"demo": {"base_url": "embedded", "models": "models.yaml"}}


def test_models_of_the_simulator(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own list, what the config takes of it, and what it asks for in vain."""
    code, out, _ = command(capsys, "models", write("sw*", "!*-preview", "stedy", gateways=EMBEDDED))
    assert code == 0
    assert re.search(r"^  swift +streambench-simulator +yes$", out, re.MULTILINE)
    assert re.search(r"^  swift-preview +streambench-simulator$", out, re.MULTILINE)
    assert "In the config, but not offered: stedy; similar names: steady" in out


def test_models_as_json(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """One gateway of two, by its name."""
    gateways = {**EMBEDDED, "nobody": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}}
    path = write("sw*", {"model": "x", "gateway": "nobody"}, gateways=gateways)
    code, out, _ = command(capsys, "models", path, "--gateway", "demo", "--json")
    told = json.loads(out)
    assert code == 0
    assert sorted(model["id"] for model in told["gateways"]["demo"]["models"]) == ["steady", "swift", "swift-preview"]
    assert [(entry["text"], sorted(entry["models"])) for entry in told["config"]] == [
        ("sw*", ["swift", "swift-preview"])
    ]
    assert command(capsys, "models", path, "--gateway", "nobody")[0] == 1


def test_an_unknown_gateway(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Told with the nearest, 2."""
    code, _, err = command(capsys, "models", write("swift", gateways=EMBEDDED), "--gateway", "dmo")
    assert code == 2
    assert "`demo`" in err


def run(capsys: pytest.CaptureFixture[str], path: Path, *more: str) -> tuple[int, str, str]:
    return command(capsys, "run", path, "--no-report", "--output", path.parent / "results", *more)


def test_a_resumed_run_is_of_the_same_models(
    write: Write, gateway: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The header holds the models that were picked: going on needs no list, and takes in nothing that came since."""
    lists = [page("swift", "swift-preview", "steady"), page("swift", "swift-2")]
    served = gateway(lambda _: [sized("200 OK", lists.pop(0))])
    path = write(
        "sw*", "!*-preview", url=served.url, prompts=["a", "b"], budget={"requests": 1}, load={"concurrency": 1}
    )
    code, _, err = run(capsys, path)
    assert code == 3
    assert re.search(r"sw\* .* 1 of .* 3 .*: swift$", err, re.MULTILINE)
    (folder,) = (tmp_path / "results").iterdir()
    assert [model["model"] for model in load(folder).header.config["models"]] == ["swift"]
    assert command(capsys, "resume", folder, "--set", "budget.requests=9", "--no-report")[0] == 0
    assert [record.ticket.model for record in load(folder).records] == ["swift", "swift"]
    assert len(served.asked) == 1


def test_a_glob_for_nothing_ends_a_run_before_it(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line, no folder."""
    code, _, err = run(capsys, write("swoft*", gateways=EMBEDDED))
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "swift" in err
    assert not (tmp_path / "results").exists()


def test_a_name_that_the_simulator_lacks(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Its list is whole: exit code 2, with the nearest; unless nobody is to look."""
    path = write("swoft", "swift", gateways=EMBEDDED)
    code, _, err = run(capsys, path)
    assert (code, "accepted: swift" in err) == (2, True)
    assert run(capsys, path, "--no-discovery")[0] == 1


@pytest.mark.parametrize(
    "answer", [lambda _: [error("404 Not Found", "no")], lambda _: [b""], lambda _: [b"junk\r\n\r\n"]]
)
def test_a_broken_list_never_fails_a_run(
    write: Write, gateway: Start, capsys: pytest.CaptureFixture[str], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noted, and the run goes on."""
    monkeypatch.setattr("streambench.client.model_listing.ask.__defaults__", (0.5,))
    served = gateway(answer)
    code, _, err = run(capsys, write("a", url=served.url))
    assert code == 0
    assert "(GET /models: " in err
    assert (len(served.asked), len(served.seen)) == (1, 1)


def test_nobody_is_asked_where_discovery_is_off(
    write: Write, gateway: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the flag or by the key."""
    served = gateway(lambda _: [sized("200 OK", page("a"))])
    assert run(capsys, write("a", url=served.url), "--no-discovery")[0] == 0
    assert run(capsys, write("a", url=served.url, discovery=False))[0] == 0
    assert served.asked == []
