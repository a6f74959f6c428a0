"""The config: the sample that the documentation shows, defaults, every error's words, and that no key is ever shown."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from wrong_input import Wrong, the_problem

from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.config.schema import Gateway, Telemetry
from streambench.config.sections import Breakers, Budget, FailureShare, Load, RateLimits, Retry, Timeouts
from streambench.errors import ConfigError, InputError, Problem, SuiteError
from streambench.metrics.cost import Price

KEY = "q7Lk-hunter2-Zx"

SAMPLE = """\
name: chat-latency
gateways:
  hub: {base_url: https://gateway.example/v1, api_key: ${HUB_API_KEY}, headers: {x-team: search},
        limits: {requests_per_minute: 600, max_concurrency: 64}}
  demo: {base_url: embedded, models: configs/simulated/models.yaml}
models:
  - gpt-4o
  - {model: deepseek-chat, alias: deepseek, gateway: hub, params: {temperature: 0, max_tokens: 256},
     price: {input: 0.27, output: 1.10}}          # USD per million tokens
suite: suites/starter.yaml                         # or prompts: [...] inline
load: {mode: closed, concurrency: 8}               # or {mode: constant|poisson, rate: 2.0}
repeats: 5
warmup: {requests: 2}                              # per model, recorded, marked, left out
timeouts: {connect: 10, first_chunk: 60, idle: 30, total: 600}
limits: {duration: 10m, requests: 5000}
seed: 7
output: results/
"""

SMALL = "gateways:\n  g: {base_url: http://localhost:8000/v1, api_key: none}\nmodels: [m]\nprompts: [Hi]\n"


def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, *overrides: str, **env: str) -> Config:
    return load_config(write(folder, text), overrides, env=env)


def problems_of(folder: Path, text: str, *overrides: str, **env: str) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as caught:
        load(folder, text, *overrides, **env)
    return caught.value.problems


def told(folder: Path, text: str, *overrides: str, **env: str) -> str:
    """All problems, a line each, without the folder."""
    return "\n".join(map(str, problems_of(folder, text, *overrides, **env))).replace(f"{folder}/", "")


def load_sample(folder: Path) -> Config:
    write(folder, "prompts: [A secret plan, Hi]", "suites/starter.yaml")
    write(folder, "models: {}", "configs/simulated/models.yaml")
    return load(folder, SAMPLE, HUB_API_KEY=KEY)


# ---- what is read


def test_the_documented_sample_is_read_as_it_stands(tmp_path: Path) -> None:
    """Every value of it, unquoted `${NAME}` inside braces included."""
    config = load_sample(tmp_path)
    hub, demo = config.gateways["hub"], config.gateways["demo"]
    assert (config.name, config.repeats, config.seed, config.warmup.requests) == ("chat-latency", 5, 7, 2)
    assert (hub.base_url, hub.api_key, hub.api_key_source) == ("https://gateway.example/v1", KEY, "HUB_API_KEY")
    assert (hub.headers, hub.limits) == (
        {"x-team": "search"},
        RateLimits(requests_per_minute=600, max_concurrency=64),
    )
    assert (demo.embedded, demo.api_key, hub.embedded) == (True, None, False)
    assert demo.models == tmp_path / "configs/simulated/models.yaml"
    assert [(model.alias, model.model, model.gateway) for model in config.models] == [
        ("gpt-4o", "gpt-4o", "hub"),
        ("deepseek", "deepseek-chat", "hub"),
    ]
    assert config.models[1].params == {"temperature": 0, "max_tokens": 256}
    assert config.models[1].price == Price(input=0.27, output=1.10)
    assert (config.suite.name, len(config.suite.prompts)) == ("starter", 2)
    assert config.load == Load(mode="closed", concurrency=8)
    assert config.timeouts == Timeouts(connect=10, first_chunk=60, idle=30, total=600)
    assert (config.limits.duration_s, config.limits.requests) == (600, 5000)
    assert config.output == Path("results")


def test_defaults(tmp_path: Path) -> None:
    """What a config of four lines comes to."""
    config = load(tmp_path, SMALL)
    gateway = config.gateways["g"]
    assert config.name == "run"
    assert config.load == Load(mode="closed", concurrency=4, rate=None)
    assert (config.repeats, config.warmup.requests, config.seed, config.keep_text) == (1, 1, 0, False)
    assert config.timeouts == Timeouts(connect=10, first_chunk=60, idle=30, total=600)
    assert (config.limits.duration_s, config.limits.requests, config.output) == (None, None, Path("results"))
    assert (gateway.include_usage, gateway.http2, gateway.connections, gateway.proxy) == (True, False, "warm", None)
    assert (gateway.tls.verify, gateway.tls.ca_bundle, gateway.limits) == (True, None, RateLimits())
    assert (config.models[0].price, config.models[0].include_usage) == (None, None)
    assert config.suite.name == "inline"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("90s", 90),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("1h 5s", 3605),
        ("45", 45),
        ("2.5", 2.5),
    ],
)
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    """Units or plain seconds, in limits and timeouts."""
    config = load(tmp_path, SMALL + f"limits: {{duration: {text}}}\ntimeouts: {{idle: {text}}}\n")
    assert (config.limits.duration_s, config.timeouts.idle) == (seconds, seconds)


def test_retries_breakers_and_budget_by_default(tmp_path: Path) -> None:
    """No retries, nothing but a refused key stops a run, and no budget."""
    config = load(tmp_path, SMALL)
    assert config.retry.attempts == 1
    assert config.breakers == Breakers(failures_in_a_row=None, failure_share=None, key_refused=True)
    assert config.budget == Budget(requests=None, tokens=None, usd=None, duration_s=None)
    assert (config.limits.drain_s, config.gateways["g"].on_rate_limit) == (30, "count")


def test_retries_breakers_and_budget(tmp_path: Path) -> None:
    """Every key, with durations as elsewhere."""
    text = """
retry: {attempts: 4, on: [timeout, empty], statuses: [503], backoff: 250ms, factor: 3, max_backoff: 1m, jitter: 0,
  max_retry_after: 5m, phases: [warmup]}
breakers: {failures_in_a_row: 5, failure_share: {limit: 0.2, after: 50}, key_refused: false}
budget: {requests: 10, tokens: 1000, duration: 1h}
limits: {drain: 5s}
"""
    config = load(tmp_path, SMALL + text)
    assert config.retry == Retry(
        attempts=4,
        on=("timeout", "empty"),
        statuses=(503,),
        backoff=0.25,
        factor=3,
        max_backoff=60,
        jitter=0,
        max_retry_after=300,
        phases=("warmup",),
    )
    share = FailureShare(limit=0.2, after=50)
    assert config.breakers == Breakers(failures_in_a_row=5, failure_share=share, key_refused=False)
    assert config.budget == Budget(requests=10, tokens=1000, duration_s=3600)
    assert config.limits.drain_s == 5


def test_telemetry_by_default(tmp_path: Path) -> None:
    """The environment decides: None is not the same as `none`."""
    telemetry = load(tmp_path, SMALL).telemetry
    assert telemetry == Telemetry()
    assert (telemetry.traces, telemetry.metrics, telemetry.endpoint, telemetry.content) == (None, None, None, None)
    assert (telemetry.propagate, telemetry.required, telemetry.deadline) == (None, False, 10)


def test_telemetry(tmp_path: Path) -> None:
    """Every key; its files are found like all others."""
    for name in ("ca.pem", "key.pem", "cert.pem"):
        write(tmp_path, "pem", name)
    text = """
telemetry: {traces: otlp, metrics: none, endpoint: "https://otlp.example/base", protocol: grpc, headers: {x-a: 4},
  timeout: 500ms, compression: none, certificate: ca.pem, client_key: key.pem, client_certificate: cert.pem,
  insecure: false, trace: request, attempts: always, propagate: false, content: SPAN_ONLY,
  compat: [langfuse, openinference], metric_names: both, required: true, deadline: 1m}
"""
    assert load(tmp_path, SMALL + text).telemetry == Telemetry(
        traces="otlp",
        metrics="none",
        endpoint="https://otlp.example/base",
        protocol="grpc",
        headers={"x-a": "4"},
        timeout=0.5,
        compression="none",
        certificate=tmp_path / "ca.pem",
        client_key=tmp_path / "key.pem",
        client_certificate=tmp_path / "cert.pem",
        insecure=False,
        trace="request",
        attempts="always",
        propagate=False,
        content="SPAN_ONLY",
        compat=("langfuse", "openinference"),
        metric_names="both",
        required=True,
        deadline=60,
    )


def test_a_budget_in_dollars_needs_no_price_of_the_embedded_gateway(tmp_path: Path) -> None:
    """What we serve ourselves is free."""
    write(tmp_path, "models: {}", "m.yaml")
    text = "gateways: {e: {base_url: embedded, models: m.yaml}}\nmodels: [m]\nprompts: [Hi]\nbudget: {usd: 0.5}\n"
    assert load(tmp_path, text).budget.usd == 0.5


def test_an_open_loop_has_a_rate(tmp_path: Path) -> None:
    """`1e1` is ten."""
    load_part = load(tmp_path, SMALL + "load: {mode: poisson, rate: 1e1}").load
    assert (load_part.mode, load_part.rate) == ("poisson", 10.0)


def test_a_trailing_slash_is_tolerated(tmp_path: Path) -> None:
    """It is written either way."""
    assert load(tmp_path, SMALL.replace("/v1", "/v1/")).gateways["g"].base_url == "http://localhost:8000/v1"


def test_yaml_switches_may_be_written_yes_and_no(tmp_path: Path) -> None:
    """As YAML 1.1 has it."""
    config = load(tmp_path, SMALL.replace("none", "none, tls: {verify: no}") + "keep_text: yes")
    assert (config.keep_text, config.gateways["g"].tls.verify) == (True, False)


def test_all_parts_are_frozen(tmp_path: Path) -> None:
    """A run's config does not change while it runs."""
    config = load(tmp_path, SMALL)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1
    with pytest.raises(FrozenInstanceError):
        config.load.concurrency = 1  # type: ignore[misc]  # mypy sees it too


def test_a_config_can_go_to_another_process(tmp_path: Path) -> None:
    """With its keys, which a dump would leave out."""
    config = load_sample(tmp_path)
    assert pickle.loads(pickle.dumps(config)).gateways["hub"].api_key == KEY


# ---- files


def test_files_are_found_beside_the_config_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then from the current folder."""
    monkeypatch.chdir(tmp_path)
    config = SMALL.replace("prompts: [Hi]", "suite: s.yaml")
    write(tmp_path, "[here]", "s.yaml")
    assert load(tmp_path / "configs", config).suite.prompts[0].messages[0]["content"] == "here"
    write(tmp_path, "[beside]", "configs/s.yaml")
    assert load(tmp_path / "configs", config).suite.prompts[0].messages[0]["content"] == "beside"


def test_a_missing_file_names_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As absolute paths: `relative to what` is the question."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, SMALL.replace("prompts: [Hi]", "suite: s.yaml"), "configs/run.yaml")
    with pytest.raises(ConfigError) as caught:
        load_config(path, env={})
    assert f"looked for {tmp_path}/configs/s.yaml or {tmp_path}/s.yaml" in str(caught.value)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell; nobody wants a folder called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path / "home", "[a]", "s.yaml")
    config = load(tmp_path, SMALL.replace("prompts: [Hi]", "suite: ~/s.yaml") + "output: ~/out\n")
    assert (config.output, len(config.suite.prompts)) == (tmp_path / "home" / "out", 1)


def test_tls_files_are_found(tmp_path: Path) -> None:
    """Like all others."""
    write(tmp_path, "pem", "ca.pem")
    config = load(tmp_path, SMALL.replace("none", "none, tls: {ca_bundle: ca.pem}"))
    assert config.gateways["g"].tls.ca_bundle == tmp_path / "ca.pem"


# ---- the environment

HUB = "gateways: {hub: {base_url: https://h.example/v1, api_key: '${HUB_KEY}'}}\nmodels: [m]\nprompts: ['cost ${x}?']\n"


def test_variables_are_filled_in_under_gateways_and_telemetry_only(tmp_path: Path) -> None:
    """A prompt's `${x}` is text."""
    config = load(tmp_path, HUB, HUB_KEY=KEY)
    assert config.gateways["hub"].api_key == KEY
    assert config.suite.prompts[0].messages[0]["content"] == "cost ${x}?"


def test_a_dotenv_beside_the_config_is_read(tmp_path: Path) -> None:
    """Its values are taken as they stand: `${` in a key is no reference."""
    write(tmp_path, "HUB_KEY='ab${cd}ef'\n", ".env")
    assert load(tmp_path, HUB).gateways["hub"].api_key == "ab${cd}ef"


def test_the_real_environment_wins(tmp_path: Path) -> None:
    """Unless it is empty, which counts as missing."""
    write(tmp_path, "HUB_KEY=from-dotenv\n", ".env")
    assert load(tmp_path, HUB, HUB_KEY=KEY).gateways["hub"].api_key == KEY
    assert load(tmp_path, HUB, HUB_KEY="").gateways["hub"].api_key == "from-dotenv"


@pytest.mark.parametrize("env", [{}, {"HUB_KEY": ""}])
def test_a_missing_variable_is_told_with_the_mend(tmp_path: Path, env: dict[str, str]) -> None:
    """Key, variable, and both ways to set it."""
    message = told(tmp_path, HUB, **env)
    assert message == (
        "run.yaml:1: gateways.hub.api_key: HUB_KEY is not set or is empty "
        "(accepted: `export HUB_KEY=...`, or HUB_KEY=... in .env)"
    )


def test_a_broken_dotenv_is_told(tmp_path: Path) -> None:
    """It is named, though nobody gave its name."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    the_problem(problems_of(tmp_path, HUB), Wrong(None, file=".env"))


def test_variables_fill_in_numbers_and_parts_of_urls(tmp_path: Path) -> None:
    """Limits and hosts may differ between places."""
    text = HUB.replace("https://h.example/v1", "http://${HOST}:80/v1").replace(
        "}}", ", limits: {max_concurrency: '${N}'}}}"
    )
    gateway = load(tmp_path, text, HUB_KEY=KEY, HOST="localhost", N="9").gateways["hub"]
    assert (gateway.base_url, gateway.limits.max_concurrency) == ("http://localhost:80/v1", 9)


# ---- secrets stay secret


def test_no_form_of_a_config_holds_a_key(tmp_path: Path) -> None:
    """Repr, str, dump, JSON, the header's form."""
    config = load_sample(tmp_path)
    gateway = config.gateways["hub"]
    forms = [repr(config), str(config), config.model_dump(), config.model_dump_json(), config.masked()]
    forms += [repr(gateway), str(gateway), gateway.model_dump(), gateway.model_dump_json(), repr(config.secrets)]
    assert [form for form in forms if KEY in str(form)] == []
    assert config.secrets.mask(f"wrong key {KEY}") == "wrong key ***"


def test_the_header_form_is_plain_json_without_prompts(tmp_path: Path) -> None:
    """The suite is reduced to its name, path as written, hash and count."""
    config = load_sample(tmp_path)
    masked = config.masked()
    assert json.loads(json.dumps(masked, allow_nan=False)) == masked
    assert "A secret plan" not in json.dumps(masked)
    assert masked["suite"] == {
        "name": "starter",
        "path": "suites/starter.yaml",
        "hash": config.suite.hash,
        "prompts": 2,
    }
    assert masked["gateways"]["hub"]["api_key"] == "***"
    assert masked["gateways"]["hub"]["headers"] == {"x-team": "search"}
    assert masked["gateways"]["demo"]["api_key"] == "none"
    assert masked["load"] == {"mode": "closed", "concurrency": 8}
    assert masked["limits"] == {"duration_s": 600, "requests": 5000, "drain_s": 30}
    assert masked["models"][1]["params"] == {"temperature": 0, "max_tokens": 256}


def test_the_header_form_masks_headers_urls_and_long_params(tmp_path: Path) -> None:
    """Values from variables however short, secret-looking names, user and query; of long params only the length."""
    text = """
gateways:
  g:
    base_url: https://${U}:${P}@h.example/${TENANT}/v1?api-version=1
    proxy: http://${U}:${P}@proxy:80
    api_key: none
    headers: {x-env: "${SHORT}", authorization: "Bearer ${TOKEN}", x-plain: plain}
    params: {tenant: "${SHORT}", nested: [{password: "${SHORT}", team: red}]}
models: [{model: m, params: {stop: %s, user: ann}}]
prompts: [Hi]
"""
    env = {"U": "ann-user", "P": "pass-word", "TENANT": "tenant-1", "SHORT": "ab", "TOKEN": "tok-123456"}
    config = load(tmp_path, text % ("x" * 201), **env)
    gateway = config.masked()["gateways"]["g"]
    assert gateway["base_url"] == "https://***@h.example/***/v1?***"
    assert gateway["proxy"] == "http://***@proxy:80"
    assert gateway["headers"] == {"x-env": "***", "authorization": "***", "x-plain": "plain"}
    assert config.masked()["models"][0]["params"] == {
        "stop": "<text of 201 characters>",
        "user": "ann",
    }
    assert gateway["params"] == {"tenant": "***", "nested": [{"password": "***", "team": "red"}]}
    values = ("ann-user", "pass-word", "tenant-1", "tok-123456")
    assert [value for value in values if value in repr(config)] == []
    assert config.secrets.mask("http://h.example failed") == "http://h.example failed"


def test_no_form_of_telemetry_holds_a_headers_value(tmp_path: Path) -> None:
    """From a variable or not: vendors name the headers of their keys as they like. Names are kept."""
    text = """
telemetry:
  endpoint: https://u:${PASSWORD}@otlp.example/v1?k=${QUERY}
  headers: {authorization: "Bearer ${TOKEN}", x-team: plain-value}
"""
    secrets = {"PASSWORD": "pass-word", "QUERY": "query-value", "TOKEN": "tok-123456"}
    config = load(tmp_path, SMALL + text, **secrets)
    telemetry = config.telemetry
    assert telemetry.headers == {"authorization": "Bearer tok-123456", "x-team": "plain-value"}
    assert telemetry.endpoint == "https://u:pass-word@otlp.example/v1?k=query-value"
    forms = [repr(config), config.model_dump(), config.model_dump_json(), config.masked()]
    forms += [repr(telemetry), str(telemetry), telemetry.model_dump(), telemetry.model_dump_json()]
    hidden = [*secrets.values(), "plain-value"]
    assert [(value, form) for form in forms for value in hidden if value in str(form)] == []
    assert config.masked()["telemetry"]["headers"] == {"authorization": "***", "x-team": "***"}
    assert config.masked()["telemetry"]["endpoint"] == "https://***@otlp.example/v1?***"
    assert config.secrets.mask("got tok-123456 and pass-word at otlp.example") == "got *** and *** at otlp.example"


@pytest.mark.parametrize(
    "telemetry",
    [
        f"headers: {{authorization: Bearer {KEY}}}",
        f"headers: {{x-honeycomb-team: {KEY}}}",
        f"headers: {{dd-api-key: {KEY}}}",
        f"headers: {{x-y: [{KEY}]}}",
        f"headers: {KEY}",
        f"endpoint: http://u:{KEY}@h",
        f"endpoint: http://h?api_key={KEY}",
        f"api_key: {KEY}",
    ],
)
def test_a_literal_secret_of_telemetry_is_refused_and_never_repeated(tmp_path: Path, telemetry: str) -> None:
    """As under `gateways`."""
    problems = problems_of(tmp_path, f"{SMALL}telemetry: {{{telemetry}}}\n")
    assert [(problem.line, str(problem.where).partition(".")[0]) for problem in problems] == [(5, "telemetry")]
    assert KEY not in "".join(map(str, problems))


@pytest.mark.parametrize(
    "gateway",
    [
        f"api_key: {KEY}",
        f"api_key: Bearer {KEY}",
        f"api_key: ${{X}}{KEY}",
        f"api_key: [{KEY}]",
        f"apikey: {KEY}",
        f"headers: {{authorization: Bearer {KEY}}}",
        f"headers: {{x-api-key: {KEY}}}",
        f"headers: {{cookie: session={KEY}}}",
        f"headers: {KEY}",
        f"headers: [{KEY}]",
        f"headers: {{x-y: [{KEY}]}}",
        "headers: {x-plain: sk-abcdef-" + KEY + "}",
        f"proxy: http://u:{KEY}@p:80",
        f"proxy: {KEY}://p",
        f"limits: {KEY}",
        f"limits: {{key: {KEY}}}",
        f"tls: {{client_key: sk-{KEY}}}",
        f'tls: {{client_key: "-----BEGIN\\n{KEY}"}}',
    ],
)
def test_a_literal_secret_is_refused_and_never_repeated(tmp_path: Path, gateway: str) -> None:
    """Wherever it was put, the message holds none of it."""
    text = f"gateways: {{g: {{base_url: http://h/v1, {gateway}}}}}\nmodels: [m]\nprompts: [Hi]\n"
    message = told(tmp_path, text)
    known = ("proxy: q7Lk", "limits: q7Lk")  # no place for a key, and nothing to know it by
    if not gateway.startswith(known):
        assert KEY not in message
    assert "gateways.g" in message


def test_a_refused_key_is_masked_in_other_messages_too(tmp_path: Path) -> None:
    """The same text at another key."""
    text = f"gateways: {{g: {{base_url: http://h/v1, api_key: {KEY}}}}}\nmodels: [m]\nprompts: [Hi]\nseed: {KEY}\n"
    problems = problems_of(tmp_path, text)
    assert [(problem.where, problem.found) for problem in problems] == [("gateways.g.api_key", None), ("seed", "'***'")]
    assert KEY not in told(tmp_path, text)


def test_a_refused_key_is_told_with_the_mend(tmp_path: Path) -> None:
    """The variable's name is made from the gateway's."""
    text = f"gateways: {{my-hub.2: {{base_url: http://h/v1, api_key: {KEY}}}}}\nmodels: [m]\nprompts: [Hi]\n"
    assert told(tmp_path, text) == (
        "run.yaml:1: gateways.my-hub.2.api_key: a key must not be written in the file (accepted: "
        "`api_key: ${MY_HUB_2_API_KEY}` with `export MY_HUB_2_API_KEY=...`, or `api_key: none`)"
    )


def test_a_wrong_value_from_a_variable_is_not_shown(tmp_path: Path) -> None:
    """Only the variable's name."""
    text = HUB.replace("https://h.example/v1", "${URL}")
    env = {"HUB_KEY": KEY, "URL": "ftp://secret.example"}
    the_problem(
        problems_of(tmp_path, text, **env), Wrong("gateways.hub.base_url", "the value of ${URL}", 1, "run.yaml")
    )
    assert "secret.example" not in told(tmp_path, text, **env)


def test_a_key_with_a_line_break_is_told_and_not_shown(tmp_path: Path) -> None:
    """It would break the request's header, far from its cause."""
    wrong = Wrong("gateways.hub.api_key", None, 1, "run.yaml", "HUB_KEY contains a character that is not allowed")
    the_problem(problems_of(tmp_path, HUB, HUB_KEY=KEY + "\n"), wrong)
    assert KEY not in told(tmp_path, HUB, HUB_KEY=KEY + "\n")


# ---- what is wrong, and how it is told


def part(text: str) -> str:
    """A config that is right but for a top-level key."""
    key = text.partition(":")[0]
    lines = [
        line for line in SMALL.splitlines() if not line.startswith(key) and not (key == "gateways" and line[0] == " ")
    ]
    return "\n".join([*lines, text, ""])


def gateway(text: str) -> str:
    return part(f"gateways: {{g: {{{text}}}}}")


def model(text: str) -> str:
    return part(f"models: [{{{text}}}]")


BAD = [
    # YAML and its shape
    (
        "- a\n- b\n",
        Wrong(
            None,
            "a list",
            1,
            message="must be a mapping",
            accepted="a mapping with gateways, models, suite or prompts, load, ...",
        ),
    ),
    (
        "name: [a\nb: c",
        Wrong(None, None, 2, message="is not YAML: while parsing a flow sequence, did not find expected ','"),
    ),
    ("seed: 1\nseed: 2\n", Wrong("seed", None, 2, message="is given twice, first in line 1")),
    ("# nothing", Wrong(None, message="is empty")),
    # top level
    (
        "concurrency: 3\n" + SMALL,
        Wrong("concurrency", None, 1, message="unknown key", accepted="name, models, load, repeats, warmup, timeouts"),
    ),
    ("modles: [x]\n" + SMALL, Wrong("modles", None, 1, names=("`models`",))),
    ("secrets: x\n" + SMALL, Wrong("secrets", None, 1, names=("`assert`",))),
    (part("name: ''"), Wrong("name", "''", 5, message="is not a valid name")),
    (
        part("name: 12"),
        Wrong("name", "12", 5, message="must be text", accepted="text on one line (put numbers in quotes)"),
    ),
    (part('name: "a\\tb"'), Wrong("name", "'a\\tb'", 5)),
    (part("repeats: 0"), Wrong("repeats", "0", 5, message="is out of range", accepted="a whole number, 1 or more")),
    (part("repeats: 1.5"), Wrong("repeats", "1.5", 5, message="must be a whole number")),
    (part("repeats: yes"), Wrong("repeats", "'yes'", 5, message="has the wrong type")),
    (part("repeats: true"), Wrong("repeats", "true", 5, message="must be a number")),
    (part("seed: -1"), Wrong("seed", "-1", 5, accepted="a whole number, 0 or more")),
    (part("seed: abc"), Wrong("seed", "'abc'", 5)),
    (part("output: ''"), Wrong("output", "''", 5, message="is not a folder path")),
    (part("output: [a]"), Wrong("output", "a list", 5, accepted="a folder path")),
    (part("keep_text: maybe"), Wrong("keep_text", "'maybe'", 5, accepted="true or false")),
    (
        part("warmup: {requests: -1}"),
        Wrong("warmup.requests", "-1", 5),
    ),
    (part("warmup: 3"), Wrong("warmup", "3", 5, accepted="a mapping with the keys requests")),
    (
        part("seed: 9223372036854775808"),
        Wrong("seed", "9223372036854775808", 5, message="is too large: must be at most 9.22337203685478e+18"),
    ),
    (part("repeats: 1000001"), Wrong("repeats", "1000001", 5, message="is too large: must be at most 1000000")),
    (part("timeouts: {total: 400000h}"), Wrong("timeouts.total", "'400000h'", 5, names=("31622400",))),
    # load
    (
        part("load: {mode: open}"),
        Wrong("load.mode", "'open'", 5, message="is not one of the choices", accepted="closed, constant, poisson"),
    ),
    (part("load: {mode: poison, rate: 1}"), Wrong("load.mode", "'poison'", 5, names=("`poisson`",))),
    (part("load: {mode: poisson}"), Wrong("load.rate", None, 5, message="is required with `mode: poisson`")),
    (
        part("load: {rate: 2}"),
        Wrong("load.rate", None, 5, message="does not apply in a closed loop, where the next request waits for a"),
    ),
    (
        part("load: {mode: constant, rate: 1, concurrency: 2}"),
        Wrong(
            "load.concurrency",
            None,
            5,
            message="does not apply with `mode: constant`, which sends on a schedule without",
            accepted="rate; `limits: {max_concurrency: ...}` of a gateway or model caps parallel requests",
        ),
    ),
    (
        part("load: {concurrency: 0}"),
        Wrong("load.concurrency", "0", 5),
    ),
    (part("load: {concurency: 8}"), Wrong("load.concurency", None, 5, names=("`concurrency`",))),
    (part("load: {mode: poisson, rate: 0}"), Wrong("load.rate", "0", 5)),
    (part("load: {mode: poisson, rate: .nan}"), Wrong("load.rate", "'.nan'", 5)),
    (
        part("load: {mode: poisson, rate: .inf}"),
        Wrong("load.rate", "'.inf'", 5, accepted="requests per second, a number above 0"),
    ),
    (
        part("load: closed"),
        Wrong("load", "'closed'", 5, accepted="a mapping with the keys mode, concurrency, rate"),
    ),
    (part("load:"), Wrong("load", "nothing", 5)),
    # times
    (
        part("timeouts: {idle: -5s}"),
        Wrong(
            "timeouts.idle",
            "'-5s'",
            5,
            accepted="seconds above 0, as a number or a duration such as 500ms, 90s, 10m, 1h30m",
        ),
    ),
    (part("timeouts: {total: -1}"), Wrong("timeouts.total", "-1", 5)),
    (part("limits: {drain: -1}"), Wrong("limits.drain", "-1", 5)),
    (part("timeouts: {connect: 0}"), Wrong("timeouts.connect", "0", 5)),
    (part("timeouts: {idle: soon}"), Wrong("timeouts.idle", "'soon'", 5)),
    (part("timeouts: {idle: inf}"), Wrong("timeouts.idle", "'inf'", 5, names=("31622400",))),
    (part("timeouts: {total: true}"), Wrong("timeouts.total", "true", 5)),
    (part("timeouts: {first_token: 1}"), Wrong("timeouts.first_token", None, 5, names=("`first_chunk`",))),
    (part("limits: {duration: 10x}"), Wrong("limits.duration", "'10x'", 5)),
    (part("limits: {duration: 1:30}"), Wrong("limits.duration", "'1:30'", 5)),
    (part("limits: {duration: 0s}"), Wrong("limits.duration", "'0s'", 5)),
    (part("limits: {duration_s: 5}"), Wrong("limits.duration_s", None, 5, names=("`duration`",))),
    (
        part("limits: {requests: 0}"),
        Wrong("limits.requests", "0", 5),
    ),
    # gateways
    (part("gateways: {}"), Wrong("gateways", "a mapping", 3, message="must not be empty")),
    (
        "models: [m]\nprompts: [Hi]",
        Wrong(
            "gateways",
            message="is required",
            accepted="a mapping of names to gateways, such as {hub: {base_url: ..., api_key: ...}}",
        ),
    ),
    (part("gateways: [a]"), Wrong("gateways", "a list", 3)),
    (
        part("gateways: {g: http://h/v1}"),
        Wrong("gateways.g", "text", 3, accepted="a mapping with the keys base_url, api_key, headers, params, limits,"),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, headers: {Content-Length: 3}"),
        Wrong("gateways.g.headers.Content-Length", "text", 3, message="is set by the request itself"),
    ),
    (
        gateway("api_key: none"),
        Wrong("gateways.g.base_url", None, 3, accepted="`embedded`, or a URL such as https://gateway.example/v1"),
    ),
    (
        gateway("base_url: h.example/v1, api_key: none"),
        Wrong("gateways.g.base_url", "'h.example/v1'", 3, message="must begin with http:// or https://"),
    ),
    (
        gateway("base_url: 'http://', api_key: none"),
        Wrong("gateways.g.base_url", "'http://'", 3, message="has no host"),
    ),
    (
        gateway("base_url: 'http://h:x/v1', api_key: none"),
        Wrong("gateways.g.base_url", "'http://h:x/v1'", 3, message="is not a URL: its host or port cannot be parsed"),
    ),
    (
        gateway("base_url: 'http://h /v1', api_key: none"),
        Wrong("gateways.g.base_url", "'http://h /v1'", 3, message="contains a space or a control character"),
    ),
    (
        gateway("base_url: 'http://h/v1#a', api_key: none"),
        Wrong("gateways.g.base_url", "'http://h/v1#a'", 3, message="must not have a #fragment"),
    ),
    (
        gateway("base_url: http://h/v1/chat/completions, api_key: none"),
        Wrong(
            "gateways.g.base_url",
            "'http://h/v1/chat/completions'",
            3,
            message="must not end in /chat/completions: streambench adds this path",
        ),
    ),
    (
        gateway("base_url: embeded"),
        Wrong("gateways.g.base_url", "'embeded'", 3, message="is not a URL; did you mean `embedded`?"),
    ),
    (
        gateway("base_url: http://u:p@h/v1, api_key: none"),
        Wrong(
            "gateways.g.base_url",
            None,
            3,
            message="a password must not be written in the file",
            accepted="a URL without a password, or https://${G_USER}:${G_PASSWORD}@...",
        ),
    ),
    (
        gateway("base_url: 'http://h/v1?api_key=abc', api_key: none"),
        Wrong("gateways.g.base_url", None, 3, accepted="${NAME} in its place"),
    ),
    (
        gateway("base_url: http://h/v1"),
        Wrong(
            "gateways.g.api_key",
            None,
            3,
            accepted="`api_key: ${G_API_KEY}` with `export G_API_KEY=...`, or `api_key: none`",
        ),
    ),
    (gateway("base_url: http://h/v1, api_key: null"), Wrong("gateways.g.api_key", None, 3)),
    (
        gateway("base_url: http://h/v1, api_key: sk-${X}"),
        Wrong("gateways.g.api_key", None, 3, message="must be a single variable and nothing else"),
    ),
    (
        gateway("base_url: http://h/v1, api_key: '${A-B}'"),
        Wrong("gateways.g.api_key", "${A-B}", 3, message="is not a variable name"),
    ),
    (
        gateway("base_url: 'http://${X', api_key: none"),
        Wrong("gateways.g.base_url", None, 3, message="has a `${` without a matching `}`"),
    ),
    (gateway("base_url: embedded"), Wrong("gateways.g.models", None, 3, names=("`base_url: embedded`",))),
    (
        gateway("base_url: embedded, models: none.yaml"),
        Wrong("gateways.g.models", "'none.yaml'", 3, message="no such file"),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, models: m.yaml"),
        Wrong("gateways.g.models", None, 3, message="is only allowed with `base_url: embedded`"),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, api_key_source: X"),
        Wrong("gateways.g.api_key_source", None, 3, names=("`api_key`",)),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, headers: {'a b': c}"),
        Wrong("gateways.g.headers.a b", "text", 3, message="is not a header name"),
    ),
    (
        gateway('base_url: http://h/v1, api_key: none, headers: {a: "b\\r\\nc: d"}'),
        Wrong(
            "gateways.g.headers.a",
            "text",
            3,
            message="contains a character that headers cannot carry, such as a line break or",
        ),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, proxy: ftp://p"),
        Wrong(
            "gateways.g.proxy", "'ftp://p'", 3, message="must begin with http:// or https:// or socks5:// or socks5h://"
        ),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, connections: cold"),
        Wrong("gateways.g.connections", "'cold'", 3, accepted="warm, reuse, new"),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, tls: {ca_bundle: no.pem}"),
        Wrong("gateways.g.tls.ca_bundle", "'no.pem'", 3),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, tls: {client_key: no.pem}"),
        Wrong("gateways.g.tls.client_cert", None, 3, message="is required with client_key"),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, limits: {max_concurrency: 0}"),
        Wrong("gateways.g.limits.max_concurrency", "0", 3),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, limits: {requests_per_minute: yes}"),
        Wrong("gateways.g.limits.requests_per_minute", "'yes'", 3),
    ),
    # models
    (part("models: []"), Wrong("models", "a list", 4, accepted="a list of models, each a name, a glob")),
    (part("models: gpt-4o"), Wrong("models", "'gpt-4o'", 4)),
    (
        part("models: [3]"),
        Wrong("models.0", "3", 4, accepted="a mapping with the keys model, alias, gateway, params, headers,"),
    ),
    (
        part("models:\n  - m\n  - n\n  - m\n"),
        Wrong("models.2.alias", "'m'", 7, message="clashes with the alias of the model in line 5"),
    ),
    (model("alias: a"), Wrong("models.0.model", None, 4)),
    (
        model("model: m, gateway: gg"),
        Wrong("models.0.gateway", "'gg'", 4, message="there is no such gateway; did you mean `g`?", accepted="g"),
    ),
    (
        model("model: m, params: {stream: false}"),
        Wrong(
            "models.0.params.stream",
            None,
            4,
            message="may not be set: set `stream:` of the model or of the run instead",
        ),
    ),
    (
        model("model: m, params: {messages: []}"),
        Wrong("models.0.params.messages", None, 4, message="may not be set: the messages come from the suite"),
    ),
    (
        model("model: m, params: {model: x}"),
        Wrong("models.0.params.model", None, 4, message="may not be set: set `model:` of the model instead"),
    ),
    (
        model("model: m, params: {stream_options: {}}"),
        Wrong(
            "models.0.params.stream_options",
            None,
            4,
            message="may not be set: streambench asks for usage itself; `include_usage:",
        ),
    ),
    (
        model("model: m, params: 3"),
        Wrong("models.0.params", "3", 4, accepted="request parameters, such as {max_tokens: 64}"),
    ),
    (
        model("model: m, price: {input: -1, output: 1}"),
        Wrong("models.0.price.input", "-1", 4, accepted="USD per million tokens, 0 or more"),
    ),
    (model("model: m, price: {input: 1}"), Wrong("models.0.price.output", None, 4)),
    (model("model: m, price: {input: .nan, output: 1}"), Wrong("models.0.price.input", "'.nan'", 4)),
    (model("model: m, temperature: 0"), Wrong("models.0.temperature", None, 4)),
    # retries, breakers, budget
    (
        part("retry: {attempts: 3, on: [timeout, disconected]}"),
        Wrong("retry.on.1", "'disconected'", 5, names=("`disconnected`",)),
    ),
    (
        part("retry: {on: [ok]}"),
        Wrong("retry.on.0", "'ok'", 5, accepted="a list of outcomes from connect_error, http_error, not_a_stream,"),
    ),
    (part("retry: {on: timeout}"), Wrong("retry.on", "'timeout'", 5)),
    (
        part("retry: {attempts: 0}"),
        Wrong("retry.attempts", "0", 5, accepted="a whole number from 1 (no retries) to 100"),
    ),
    (part("retry: {attemps: 2}"), Wrong("retry.attemps", None, 5, names=("`attempts`",))),
    (part("retry: {backoff: -1s}"), Wrong("retry.backoff", "'-1s'", 5)),
    (
        part("retry: {statuses: [429, 401]}"),
        Wrong(
            "retry.statuses.1",
            "401",
            5,
            message="is never retried: the same request would fail again",
            accepted="a list of statuses from 400 to 599, except 400, 401, 403, 404 and",
        ),
    ),
    (part("retry: {statuses: [200]}"), Wrong("retry.statuses.0", "200", 5)),
    (part("retry: {phases: [measured]}"), Wrong("retry.phases.0", "'measured'", 5, names=("`measure`",))),
    (
        part("breakers: {failure_share: 0.5}"),
        Wrong("breakers.failure_share", "0.5", 5, accepted="a mapping with the keys limit, after"),
    ),
    (
        part("breakers: {failure_share: {limit: 1}}"),
        Wrong(
            "breakers.failure_share.limit",
            "1",
            5,
            message="is too large: must be below 1",
            accepted="a share above 0 and below 1, such as 0.5",
        ),
    ),
    (part("breakers: {failures_in_a_row: 0}"), Wrong("breakers.failures_in_a_row", "0", 5)),
    (part("budget: {eur: 5}"), Wrong("budget.eur", None, 5, accepted="requests, tokens, usd, duration")),
    (
        part("budget: 5 EUR"),
        Wrong("budget", "'5 EUR'", 5, accepted="a mapping with the keys requests, tokens, usd, duration"),
    ),
    (
        part("budget: {tokens: 5 EUR}"),
        Wrong("budget.tokens", "'5 EUR'", 5, accepted="input and output tokens: a whole number, 1 or more"),
    ),
    (part("budget: {duration: 3 weeks}"), Wrong("budget.duration", "'3 weeks'", 5)),
    (
        part("budget: {usd: 5}"),
        Wrong(
            "models.0.price",
            None,
            3,
            names=("`budget.usd`",),
            accepted="USD per million tokens, as in {input: 1.0, output: 4.0}",
        ),
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, on_rate_limit: stop"),
        Wrong("gateways.g.on_rate_limit", "'stop'", 3),
    ),
    # telemetry
    (
        part("telemetry: {traces: oltp}"),
        Wrong("telemetry.traces", "'oltp'", 5, names=("`otlp`",)),
    ),
    (
        part("telemetry: {metrics: prometheus}"),
        Wrong("telemetry.metrics", "'prometheus'", 5),
    ),
    (
        part("telemetry: {endpoint: localhost:4318}"),
        Wrong("telemetry.endpoint", "'localhost:4318'", 5),
    ),
    (
        part("telemetry: {trace_url: 'https://t.example/trace/'}"),
        Wrong(
            "telemetry.trace_url",
            "'https://t.example/trace/'",
            5,
            message="has no {trace_id}",
            accepted="a URL that contains {trace_id}, such as https://traces.example/trace/{trace_id}",
        ),
    ),
    (
        part("telemetry: {trace_url: 'javascript:x{trace_id}'}"),
        Wrong("telemetry.trace_url", "'javascript:x{trace_id}'", 5, message="is not an http or https URL"),
    ),
    (
        part("telemetry: {trace_url: 'https://u:p@h/{trace_id}'}"),
        Wrong(
            "telemetry.trace_url",
            "'https://***@h/{trace_id}'",
            5,
            message="contains a user or password, which anyone with the page could read",
        ),
    ),
    (part("telemetry: {endpoint: 'http://'}"), Wrong("telemetry.endpoint", "'http://'", 5)),
    (part("telemetry: {endpoint: 'grpc://h:4317'}"), Wrong("telemetry.endpoint", "'grpc://h:4317'", 5)),
    (
        part("telemetry: {endpoint: 'http://h:4318/v1/traces'}"),
        Wrong(
            "telemetry.endpoint",
            "'http://h:4318/v1/traces'",
            5,
            message="must not end in /v1/traces: streambench adds this path",
        ),
    ),
    (
        part("telemetry: {protocol: http/json}"),
        Wrong("telemetry.protocol", "'http/json'", 5, accepted="http/protobuf, grpc; http/json is not supported"),
    ),
    (part("telemetry: {headers: {'a b': c}}"), Wrong("telemetry.headers.a b", "text", 5)),
    (
        part("telemetry: {headers: [a]}"),
        Wrong("telemetry.headers", "a list", 5, accepted="a mapping of header names to one-line texts"),
    ),
    (
        part("telemetry: {headers: {a: '${OTLP}'}}"),
        Wrong("telemetry.headers.a", None, 5, names=("OTLP",)),
    ),
    (part("telemetry: {timeout: 0}"), Wrong("telemetry.timeout", "0", 5)),
    (part("telemetry: {compression: deflate}"), Wrong("telemetry.compression", "'deflate'", 5, accepted="gzip, none")),
    (part("telemetry: {certificate: no.pem}"), Wrong("telemetry.certificate", "'no.pem'", 5, accepted="a file")),
    (part("telemetry: {client_key: run.yaml}"), Wrong("telemetry.client_certificate", None, 5)),
    (part("telemetry: {insecure: maybe}"), Wrong("telemetry.insecure", "'maybe'", 5)),
    (
        part("telemetry: {trace: all}"),
        Wrong("telemetry.trace", "'all'", 5, accepted="auto, run, request"),
    ),
    (part("telemetry: {attempts: never}"), Wrong("telemetry.attempts", "'never'", 5, accepted="auto, always")),
    (part("telemetry: {propagate: always}"), Wrong("telemetry.propagate", "'always'", 5)),
    (
        part("telemetry: {content: true}"),
        Wrong("telemetry.content", "true", 5, accepted="NO_CONTENT, SPAN_ONLY, EVENT_ONLY"),
    ),
    (
        part("telemetry: {compat: [langfuze]}"),
        Wrong("telemetry.compat.0", "'langfuze'", 5, names=("`langfuse`",)),
    ),
    (
        part("telemetry: {metric_names: new}"),
        Wrong("telemetry.metric_names", "'new'", 5, accepted="operation, inference, both"),
    ),
    (part("telemetry: {required: 3}"), Wrong("telemetry.required", "3", 5)),
    (part("telemetry: {deadline: never}"), Wrong("telemetry.deadline", "'never'", 5)),
    (part("telemetry: {endpont: x}"), Wrong("telemetry.endpont", None, 5, names=("`endpoint`",))),
    (
        part("telemetry: on"),
        Wrong("telemetry", "text", 5, accepted="a mapping with the keys traces, metrics, endpoint, protocol, headers,"),
    ),
    # prompts
    (
        SMALL.replace("prompts: [Hi]\n", ""),
        Wrong("suite", accepted="`suite:` with a file path, or `prompts:` with a list"),
    ),
    (
        SMALL + "suite: s.yaml\n",
        Wrong("prompts", None, 4, message="cannot be combined with `suite`", accepted="either `suite` or `prompts`"),
    ),
    (part("prompts: Hi"), Wrong("prompts", "'Hi'", 4, accepted="a list of prompts (or `suite:` with a file)")),
    (part("prompts: []"), Wrong("prompts", None, 4, message="the suite has no prompts")),
    (part("prompts: [{txt: Hi}]"), Wrong("prompts.0.txt", None, 4, names=("`text`",))),
    (
        SMALL.replace("prompts: [Hi]", "suite: [a]"),
        Wrong("suite.0", "'a'", 4),
    ),
    (SMALL.replace("prompts: [Hi]", 'suite: "a\\0b"'), Wrong("suite", "'a\\x00b'", 4)),
]


IDS = [f"{wrong.where} {wrong.found}" for _, wrong in BAD]


@pytest.mark.parametrize(("text", "wrong"), BAD, ids=IDS)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, wrong: Wrong) -> None:
    """File, line, key, what was found, what is accepted."""
    the_problem(problems_of(tmp_path, text), wrong._replace(file="run.yaml"))


@pytest.mark.parametrize(("text", "wrong"), BAD, ids=IDS)
def test_one_mistake_is_told_once(tmp_path: Path, text: str, wrong: Wrong) -> None:
    """No second message that only follows from the first; one of the configs has two things wrong."""
    two = wrong.where == "gateways.g.tls.client_cert"
    assert len(problems_of(tmp_path, text)) == (2 if two else 1)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Missing variable, mistyped key, bad value, unknown gateway, empty suite: in the file's order."""
    write(tmp_path, "[]", "s.yaml")
    text = """\
gateways:
  hub: {base_url: https://h.example/v1, api_key: '${NOPE}'}
models:
  - {model: m, gateway: hubb}
load: {mode: poisson, rat: 2}
repeats: 0
suite: s.yaml
"""
    places = [(Path(problem.file or "").name, problem.line, problem.where) for problem in problems_of(tmp_path, text)]
    assert places == [
        ("run.yaml", 2, "gateways.hub.api_key"),
        ("run.yaml", 4, "models.0.gateway"),
        ("run.yaml", 5, "load.rate"),
        ("run.yaml", 5, "load.rat"),
        ("run.yaml", 6, "repeats"),
        ("s.yaml", None, None),
    ]


def test_only_the_prompts_being_wrong_is_a_suite_error(tmp_path: Path) -> None:
    """Else it is a ConfigError, which holds the suite's problems too."""
    with pytest.raises(SuiteError):
        load(tmp_path, part("prompts: []"))
    with pytest.raises(ConfigError):
        load(tmp_path, part("prompts: []") + "seed: x\n")


def test_a_missing_config_is_told(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.yaml")
    the_problem(caught.value.problems, Wrong(None, file="none.yaml"))


# ---- overrides


def test_any_key_can_be_set(tmp_path: Path) -> None:
    """By dotted path; a list's item by position or alias; parts that are not in the file are made."""
    text = part("models: [gpt-4.1, {model: x, alias: deepseek}]")
    sets = [
        "load.concurrency=16",
        "models.0.params.max_tokens=5",
        "models.deepseek.params.temperature=1e-1",
        "models.gpt-4.1.alias=big",
        "gateways.g.limits.max_concurrency=2",
        "name='other: one'",
        "limits.duration=90s",
        "prompts=[a, b, c]",
    ]
    config = load(tmp_path, text, *sets)
    assert (config.load.concurrency, config.limits.duration_s, config.name) == (16, 90, "other: one")
    assert [(m.alias, m.params) for m in config.models] == [
        ("big", {"max_tokens": 5}),
        ("deepseek", {"temperature": 0.1}),
    ]
    assert config.gateways["g"].limits.max_concurrency == 2
    assert len(config.suite.prompts) == 3


def test_the_last_of_two_overrides_wins(tmp_path: Path) -> None:
    """As on any command line."""
    assert load(tmp_path, SMALL, "seed=1", "seed=2").seed == 2


def test_an_override_can_take_a_key_away(tmp_path: Path) -> None:
    """An empty value is nothing."""
    write(tmp_path, "[a, b]", "s.yaml")
    config = load(tmp_path, SMALL, "prompts=", "suite=s.yaml")
    assert len(config.suite.prompts) == 2


def test_output_has_an_option_of_its_own(tmp_path: Path) -> None:
    """It wins over the file and over `--set`."""
    path = write(tmp_path, SMALL + "output: a\n")
    assert load_config(path, ["output=b"], output="c", env={}).output == Path("c")


@pytest.mark.parametrize(
    ("override", "wrong"),
    [
        (
            "load.concurrency=none",
            Wrong("load.concurrency", "'none'"),
        ),
        ("load.concurency=3", Wrong("load.concurency", names=("`concurrency`",))),
        ("load.mode=poisson", Wrong("load.rate", file="run.yaml")),
        (
            "repeats",
            Wrong(
                None,
                "'repeats'",
                message="is not of the form key=value",
                accepted="key=value, such as load.concurrency=16",
            ),
        ),
        ("=3", Wrong(None, "''")),
        ("load..x=3", Wrong(None, "'load..x'")),
        ("seed=[", Wrong("seed", message="the value is not YAML: while parsing a flow node, did not find expected")),
        (
            "models.7.alias=x",
            Wrong("models.7.alias", message="`models` has no item '7'", accepted="a position from 0 to 0, m"),
        ),
        ("models.n.alias=x", Wrong("models.n.alias", names=("'n'",))),
        ("seed.x=1", Wrong("seed.x", message="`seed` is a single value and has no keys")),
        ("prompts=[{text: 1}]", Wrong("prompts.0.text", "1")),
        ("gateways.g.base_url=ftp://h", Wrong("gateways.g.base_url", "'ftp://h'")),
        ("models.m.gateway=h", Wrong("models.0.gateway", "'h'")),
        ("a." * 500 + "a=1", Wrong(None, "'a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a…'")),
    ],
)
def test_a_bad_override_is_told(tmp_path: Path, override: str, wrong: Wrong) -> None:
    """In place of file and line stands the option, unless the fault is a key of the file that is now missing."""
    the_problem(problems_of(tmp_path, SMALL + "seed: 3\n", override), wrong._replace(file=wrong.file or "--set"))


def test_an_override_that_brings_a_key_is_refused_without_it(tmp_path: Path) -> None:
    """A command line is kept in the shell's history."""
    problems = problems_of(tmp_path, SMALL, f"gateways.g.api_key={KEY}")
    the_problem(problems, Wrong("gateways.g.api_key", file="--set"))
    assert KEY not in "".join(map(str, problems))


# ---- any input at all

NAMES = ["name", "gateways", "models", "suite", "prompts", "load", "repeats", "warmup", "timeouts", "limits", "seed"]
NAMES += ["retry", "breakers", "budget", "telemetry"]
INNER = ["g", "base_url", "api_key", "headers", "model", "alias", "gateway", "params", "price", "mode", "rate", "tls"]
INNER += ["concurrency", "requests", "connect", "duration", "text", "messages", "id", "x-api-key", "proxy", "input"]
INNER += ["headers", "endpoint", "protocol", "traces", "compat", "content", "deadline", "trace_url"]
TEXTS = st.sampled_from(
    ["embedded", "http://h/v1", "${X}", "${", "none", "closed", "poisson", "10m", "g", "", ".nan", "\0", "a/b"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8), st.booleans())
def test_any_data_is_a_config_or_an_input_error(tmp_path: Path, data: dict[str, Any], small: bool) -> None:  # noqa: FBT001
    """No file makes `load_config` fail in another way, alone or laid over one that is right."""
    base = yaml.safe_load(SMALL) if small else {}
    try:
        config = load(tmp_path, json.dumps(base | data), X=KEY)
    except InputError as error:
        shown_to_user = str(error)
    else:
        shown_to_user = repr(config) + json.dumps(config.masked(), allow_nan=False)
        assert math.isfinite(config.timeouts.total)
    assert KEY not in shown_to_user


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("abegmodlst.01=[]{}:'${}x "), max_size=25))
def test_any_override_is_applied_or_an_input_error(tmp_path: Path, override: str) -> None:
    """However it is mistyped."""
    try:
        load(tmp_path, SMALL, f"models.{override}", override)
    except InputError as error:
        shown_to_user = str(error)
        assert shown_to_user


def test_a_gateway_can_be_made_by_hand() -> None:
    """Other modules' tests build configs without a file."""
    assert Gateway(base_url="http://h/v1", api_key=KEY, api_key_source="X").api_key == KEY
