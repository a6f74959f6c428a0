"""The config: the sample that the documentation shows, defaults, every error's words, and that no key is ever shown."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streambench.config import (
    Breakers,
    Budget,
    Config,
    FailureShare,
    Gateway,
    GatewayLimits,
    Load,
    Price,
    Retry,
    Telemetry,
    Timeouts,
    load_config,
)
from streambench.errors import ConfigError, InputError, SuiteError

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


def told(folder: Path, text: str, *overrides: str, **env: str) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, text, *overrides, **env)
    return str(caught.value).replace(f"{folder}/", "")


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
        GatewayLimits(requests_per_minute=600, max_concurrency=64),
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
    assert (gateway.tls.verify, gateway.tls.ca_bundle, gateway.limits) == (True, None, GatewayLimits())
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
    with pytest.raises(ValidationError, match="frozen"):
        config.load.concurrency = 1


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
        "run.yaml:1: gateways.hub.api_key: HUB_KEY is not set, or empty "
        "(accepted: `export HUB_KEY=...`, or HUB_KEY=... in .env)"
    )


def test_a_broken_dotenv_is_told(tmp_path: Path) -> None:
    """It is named, though nobody gave its name."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    assert ".env: is not UTF-8 text" in told(tmp_path, HUB)


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
    message = told(tmp_path, f"{SMALL}telemetry: {{{telemetry}}}\n")
    assert message.startswith("run.yaml:5: telemetry.")
    assert KEY not in message


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
    message = told(tmp_path, text)
    assert "seed: is of the wrong kind (found '***'" in message
    assert KEY not in message


def test_a_refused_key_is_told_with_the_mend(tmp_path: Path) -> None:
    """The variable's name is made from the gateway's."""
    text = f"gateways: {{my-hub.2: {{base_url: http://h/v1, api_key: {KEY}}}}}\nmodels: [m]\nprompts: [Hi]\n"
    assert told(tmp_path, text) == (
        "run.yaml:1: gateways.my-hub.2.api_key: a key must not stand in the file (accepted: "
        "`api_key: ${MY_HUB_2_API_KEY}` with `export MY_HUB_2_API_KEY=...`, or `api_key: none`)"
    )


def test_a_wrong_value_from_a_variable_is_not_shown(tmp_path: Path) -> None:
    """Only the variable's name."""
    text = HUB.replace("https://h.example/v1", "${URL}")
    message = told(tmp_path, text, HUB_KEY=KEY, URL="ftp://secret.example")
    assert "gateways.hub.base_url: must begin with http:// or https:// (found the value of ${URL};" in message
    assert "secret.example" not in message


def test_a_key_with_a_line_break_is_told_and_not_shown(tmp_path: Path) -> None:
    """It would break the request's header, far from its cause."""
    message = told(tmp_path, HUB, HUB_KEY=KEY + "\n")
    assert "gateways.hub.api_key: HUB_KEY holds a character that no key has" in message
    assert KEY not in message


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
    ("- a\n- b\n", ["run.yaml:1: must be a mapping (found a list; accepted: a mapping with gateways"]),
    ("name: [a\nb: c", ["run.yaml:2: is not YAML", "begun in line 1"]),
    ("seed: 1\nseed: 2\n", ["run.yaml:2: seed: is given twice, first in line 1"]),
    ("# nothing", ["run.yaml: is empty"]),
    # top level
    ("concurrency: 3\n" + SMALL, ["run.yaml:1: concurrency: unknown key (accepted: name, models, load, "]),
    ("modles: [x]\n" + SMALL, ["run.yaml:1: modles: unknown key; did you mean `models`?"]),
    ("secrets: x\n" + SMALL, ["secrets: unknown key"]),
    (part("name: ''"), ["run.yaml:5: name: is no usable name (found ''"]),
    (part("name: 12"), ["name: must be text (found 12; accepted: text on one line (put numbers in quotes))"]),
    (part('name: "a\\tb"'), [r"name: is no usable name (found 'a\tb'"]),
    (part("repeats: 0"), ["run.yaml:5: repeats: is out of range (found 0; accepted: a whole number from 1)"]),
    (part("repeats: 1.5"), ["repeats: must be a whole number (found 1.5; accepted: a whole number from 1)"]),
    (part("repeats: yes"), ["repeats: is of the wrong kind (found 'yes'; accepted: a whole number from 1)"]),
    (part("repeats: true"), ["repeats: must be a number (found true; accepted: a whole number from 1)"]),
    (part("seed: -1"), ["seed: is out of range (found -1; accepted: a whole number from 0)"]),
    (part("seed: abc"), ["seed: is of the wrong kind (found 'abc'"]),
    (part("output: ''"), ["output: is no folder's path"]),
    (part("output: [a]"), ["output: is of the wrong kind (found a list; accepted: a folder's path)"]),
    (part("keep_text: maybe"), ["keep_text: is of the wrong kind (found 'maybe'; accepted: true or false)"]),
    (part("warmup: {requests: -1}"), ["warmup.requests: is out of range (found -1; accepted: a whole number from 0)"]),
    (part("warmup: 3"), ["warmup: is of the wrong kind (found 3; accepted: a mapping of requests)"]),
    (part("seed: 9223372036854775808"), ["seed: is too large: at most"]),
    (part("repeats: 1000001"), ["repeats: is too large: at most 1000000 (found 1000001;"]),
    (part("timeouts: {total: 400000h}"), ["timeouts.total: is too large: at most 31622400 (found '400000h'"]),
    # load
    (
        part("load: {mode: open}"),
        ["load.mode: is none of the choices (found 'open'; accepted: closed, constant, poisson)"],
    ),
    (part("load: {mode: poison, rate: 1}"), ["load.mode: is none of the choices; did you mean `poisson`?"]),
    (part("load: {mode: poisson}"), ["run.yaml:5: load.rate: is required with `mode: poisson`"]),
    (part("load: {rate: 2}"), ["load.rate: has no meaning in closed loop, where the next request waits for a reply"]),
    (
        part("load: {mode: constant, rate: 1, concurrency: 2}"),
        ["load.concurrency: has no meaning with `mode: constant`", "replies come or not", "max_concurrency"],
    ),
    (part("load: {concurrency: 0}"), ["load.concurrency: is out of range (found 0; accepted: a whole number from 1)"]),
    (part("load: {concurency: 8}"), ["load.concurency: unknown key; did you mean `concurrency`?"]),
    (part("load: {mode: poisson, rate: 0}"), ["load.rate: is out of range (found 0"]),
    (part("load: {mode: poisson, rate: .nan}"), ["load.rate: is of the wrong kind (found '.nan'"]),
    (part("load: {mode: poisson, rate: .inf}"), ["load.rate:", "requests per second, a number above 0"]),
    (
        part("load: closed"),
        ["load: is of the wrong kind (found 'closed'; accepted: a mapping of mode, concurrency, rate)"],
    ),
    (part("load:"), ["load: is of the wrong kind (found nothing"]),
    # times
    (part("timeouts: {idle: -5s}"), ["timeouts.idle: is of the wrong kind (found '-5s'; accepted: seconds above 0"]),
    (part("timeouts: {total: -1}"), ["timeouts.total: is out of range (found -1; accepted: seconds above 0"]),
    (part("limits: {drain: -1}"), ["limits.drain: is out of range (found -1; accepted: seconds above 0"]),
    (part("timeouts: {connect: 0}"), ["timeouts.connect: is out of range (found 0; accepted: seconds above 0"]),
    (part("timeouts: {idle: soon}"), ["timeouts.idle: is of the wrong kind (found 'soon'; accepted: seconds above 0"]),
    (part("timeouts: {idle: inf}"), ["timeouts.idle: is too large: at most 31622400 (found 'inf'"]),
    (part("timeouts: {total: true}"), ["timeouts.total: must be a number (found true"]),
    (part("timeouts: {first_token: 1}"), ["timeouts.first_token: unknown key; did you mean"]),
    (part("limits: {duration: 10x}"), ["limits.duration: is of the wrong kind (found '10x'", "90s, 10m, 1h30m"]),
    (part("limits: {duration: 1:30}"), ["limits.duration: is of the wrong kind (found '1:30'"]),
    (part("limits: {duration: 0s}"), ["limits.duration: is out of range"]),
    (part("limits: {duration_s: 5}"), ["limits.duration_s: unknown key; did you mean `duration`?"]),
    (part("limits: {requests: 0}"), ["limits.requests: is out of range (found 0; accepted: a whole number from 1)"]),
    # gateways
    (part("gateways: {}"), ["gateways: must not be empty"]),
    ("models: [m]\nprompts: [Hi]", ["run.yaml: gateways: is required (accepted: a mapping of names to gateways"]),
    (part("gateways: [a]"), ["gateways: is of the wrong kind (found a list"]),
    (
        part("gateways: {g: http://h/v1}"),
        ["gateways.g: is of the wrong kind (found text; accepted: a mapping of base_url"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, headers: {Content-Length: 3}"),
        ["gateways.g.headers.Content-Length", "is set by the request itself"],
    ),
    (gateway("api_key: none"), ["gateways.g.base_url: is required (accepted: `embedded`, or a URL such as"]),
    (
        gateway("base_url: h.example/v1, api_key: none"),
        ["base_url: must begin with http:// or https:// (found 'h.example/v1'"],
    ),
    (gateway("base_url: 'http://', api_key: none"), ["base_url: names no host"]),
    (gateway("base_url: 'http://h:x/v1', api_key: none"), ["base_url: is no URL: its host or port cannot be read"]),
    (gateway("base_url: 'http://h /v1', api_key: none"), ["base_url: holds a space"]),
    (gateway("base_url: 'http://h/v1#a', api_key: none"), ["base_url: must have no #fragment"]),
    (gateway("base_url: http://h/v1/chat/completions, api_key: none"), ["base_url: must end before /chat/completions"]),
    (gateway("base_url: embeded"), ["base_url: is no URL; did you mean `embedded`?"]),
    (
        gateway("base_url: http://u:p@h/v1, api_key: none"),
        ["base_url: a password must not stand in the file", "${G_PASSWORD}"],
    ),
    (gateway("base_url: 'http://h/v1?api_key=abc', api_key: none"), ["base_url: a key must not stand in the file"]),
    (
        gateway("base_url: http://h/v1"),
        ["run.yaml:3: gateways.g.api_key: is required", "`api_key: ${G_API_KEY}`", "`api_key: none`"],
    ),
    (gateway("base_url: http://h/v1, api_key: null"), ["gateways.g.api_key: is empty", "`api_key: none`"]),
    (gateway("base_url: http://h/v1, api_key: sk-${X}"), ["gateways.g.api_key: must be one variable and nothing else"]),
    (gateway("base_url: http://h/v1, api_key: '${A-B}'"), ["gateways.g.api_key: is no variable's name (found ${A-B}"]),
    (gateway("base_url: 'http://${X', api_key: none"), ["gateways.g.base_url: a `${` is never closed"]),
    (gateway("base_url: embedded"), ["gateways.g.models: is required with `base_url: embedded`"]),
    (
        gateway("base_url: embedded, models: none.yaml"),
        ["gateways.g.models: no such file (found 'none.yaml'", "looked for"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, models: m.yaml"),
        ["gateways.g.models: goes with `base_url: embedded` only"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, api_key_source: X"),
        ["api_key_source: unknown key; did you mean `api_key`?"],
    ),
    (gateway("base_url: http://h/v1, api_key: none, headers: {'a b': c}"), ["headers.a b: is no header name"]),
    (
        gateway('base_url: http://h/v1, api_key: none, headers: {a: "b\\r\\nc: d"}'),
        ["headers.a: holds a character that no header"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, proxy: ftp://p"),
        ["proxy: must begin with http:// or https:// or socks5://"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, connections: cold"),
        ["connections: is none of the choices (found 'cold'", "warm, reuse, new"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, tls: {ca_bundle: no.pem}"),
        ["tls.ca_bundle: no such file (found 'no.pem'"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, tls: {client_key: no.pem}"),
        ["tls.client_cert: is required with client_key"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, limits: {max_concurrency: 0}"),
        ["limits.max_concurrency: is out of range (found 0"],
    ),
    (
        gateway("base_url: http://h/v1, api_key: none, limits: {requests_per_minute: yes}"),
        ["limits.requests_per_minute: is of the wrong kind"],
    ),
    # models
    (part("models: []"), ["run.yaml:4: models: must not be empty", "a list of models"]),
    (part("models: gpt-4o"), ["models: is of the wrong kind (found 'gpt-4o'; accepted: a list of models"]),
    (part("models: [3]"), ["models.0: is of the wrong kind (found 3; accepted: a mapping of model, alias"]),
    (
        part("models:\n  - m\n  - n\n  - m\n"),
        ["run.yaml:7: models.2.alias: goes by the same name as the model in line 5 (found 'm'"],
    ),
    (model("alias: a"), ["models.0.model: is required"]),
    (
        model("model: m, gateway: gg"),
        ["models.0.gateway: there is no such gateway; did you mean `g`? (found 'gg'; accepted: g)"],
    ),
    (
        model("model: m, params: {stream: false}"),
        ["models.0.params.stream: may not be set: `stream:` of the model or of the run says it"],
    ),
    (model("model: m, params: {messages: []}"), ["models.0.params.messages: may not be set"]),
    (model("model: m, params: {model: x}"), ["models.0.params.model: may not be set"]),
    (
        model("model: m, params: {stream_options: {}}"),
        ["models.0.params.stream_options: may not be set", "include_usage"],
    ),
    (model("model: m, params: 3"), ["models.0.params: is of the wrong kind (found 3; accepted: request parameters"]),
    (
        model("model: m, price: {input: -1, output: 1}"),
        ["price.input: is out of range (found -1; accepted: USD per million"],
    ),
    (model("model: m, price: {input: 1}"), ["models.0.price.output: is required"]),
    (model("model: m, price: {input: .nan, output: 1}"), ["models.0.price.input: is of the wrong kind (found '.nan'"]),
    (model("model: m, temperature: 0"), ["models.0.temperature: unknown key"]),
    # retries, breakers, budget
    (
        part("retry: {attempts: 3, on: [timeout, disconected]}"),
        ["retry.on.1: is none of the choices; did you mean `disconnected`? (found 'disconected'; accepted: a list of "],
    ),
    (part("retry: {on: [ok]}"), ["retry.on.0: is none of the choices (found 'ok'; accepted: a list of outcomes from"]),
    (part("retry: {on: timeout}"), ["retry.on: is of the wrong kind (found 'timeout'; accepted: a list of outcomes"]),
    (part("retry: {attempts: 0}"), ["retry.attempts: is out of range (found 0; accepted: a whole number from 1 (no"]),
    (part("retry: {attemps: 2}"), ["retry.attemps: unknown key; did you mean `attempts`?"]),
    (part("retry: {backoff: -1s}"), ["retry.backoff: is of the wrong kind (found '-1s'; accepted: seconds above 0"]),
    (part("retry: {statuses: [429, 401]}"), ["retry.statuses.1: is never retried", "found 401; accepted: a list of"]),
    (part("retry: {statuses: [200]}"), ["retry.statuses.0: is out of range (found 200; accepted: a list of statuses"]),
    (part("retry: {phases: [measured]}"), ["retry.phases.0: is none of the choices; did you mean `measure`?"]),
    (
        part("breakers: {failure_share: 0.5}"),
        ["breakers.failure_share: is of the wrong kind", "accepted: a mapping of"],
    ),
    (part("breakers: {failure_share: {limit: 1}}"), ["limit: is too large: below 1 (found 1; accepted: a share above"]),
    (part("breakers: {failures_in_a_row: 0}"), ["breakers.failures_in_a_row: is out of range (found 0; accepted: a"]),
    (part("budget: {eur: 5}"), ["budget.eur: unknown key", "accepted: requests, tokens, usd, duration"]),
    (
        part("budget: 5 EUR"),
        ["budget: is of the wrong kind (found '5 EUR'; accepted: a mapping of requests, tokens, usd"],
    ),
    (
        part("budget: {tokens: 5 EUR}"),
        ["budget.tokens: is of the wrong kind (found '5 EUR'; accepted: input and output"],
    ),
    (part("budget: {duration: 3 weeks}"), ["budget.duration: is of the wrong kind", "accepted: seconds above 0, as a"]),
    (part("budget: {usd: 5}"), ["models.0.price: is required with `budget.usd` (accepted: USD per million tokens, as"]),
    (gateway("base_url: http://h/v1, api_key: none, on_rate_limit: stop"), ["on_rate_limit: is none of the choices"]),
    # telemetry
    (
        part("telemetry: {traces: oltp}"),
        ["run.yaml:5: telemetry.traces: is none of the choices; did you mean `otlp`? (found 'oltp'; accepted: otlp, c"],
    ),
    (part("telemetry: {metrics: prometheus}"), ["telemetry.metrics: is none of the choices (found 'prometheus'; acc"]),
    (
        part("telemetry: {endpoint: localhost:4318}"),
        ["telemetry.endpoint: must begin with http:// or https:// (found 'localhost:4318'", "http://localhost:4318)"],
    ),
    (
        part("telemetry: {trace_url: 'https://t.example/trace/'}"),
        ["run.yaml:5: telemetry.trace_url: has no {trace_id} (found 'https://t.example/trace/'; accepted: a web"],
    ),
    (part("telemetry: {trace_url: 'javascript:x{trace_id}'}"), ["telemetry.trace_url: is no web address"]),
    (part("telemetry: {trace_url: 'https://u:p@h/{trace_id}'}"), ["telemetry.trace_url: names a user or a password"]),
    (part("telemetry: {endpoint: 'http://'}"), ["telemetry.endpoint: names no host"]),
    (part("telemetry: {endpoint: 'grpc://h:4317'}"), ["telemetry.endpoint: must begin with http:// or https://"]),
    (
        part("telemetry: {endpoint: 'http://h:4318/v1/traces'}"),
        ["telemetry.endpoint: must end before /v1/traces, which is added to it"],
    ),
    (
        part("telemetry: {protocol: http/json}"),
        ["telemetry.protocol: is none of the choices (found 'http/json'; accepted: http/protobuf, grpc; http/json is"],
    ),
    (part("telemetry: {headers: {'a b': c}}"), ["telemetry.headers.a b: is no header name"]),
    (part("telemetry: {headers: [a]}"), ["telemetry.headers: is of the wrong kind (found a list; accepted: a mapp"]),
    (part("telemetry: {headers: {a: '${OTLP}'}}"), ["telemetry.headers.a: OTLP is not set, or empty"]),
    (part("telemetry: {timeout: 0}"), ["telemetry.timeout: is out of range (found 0; accepted: seconds above 0"]),
    (part("telemetry: {compression: deflate}"), ["telemetry.compression: is none of the choices", "gzip, none"]),
    (part("telemetry: {certificate: no.pem}"), ["telemetry.certificate: no such file (found 'no.pem'; accepted: a "]),
    (part("telemetry: {client_key: run.yaml}"), ["telemetry.client_certificate: is required with client_key"]),
    (part("telemetry: {insecure: maybe}"), ["telemetry.insecure: is of the wrong kind (found 'maybe'; accepted: true"]),
    (part("telemetry: {trace: all}"), ["telemetry.trace: is none of the choices (found 'all'; accepted: auto, run, r"]),
    (part("telemetry: {attempts: never}"), ["telemetry.attempts: is none of the choices", "accepted: auto, always"]),
    (part("telemetry: {propagate: always}"), ["telemetry.propagate: is of the wrong kind (found 'always'; accepted: "]),
    (
        part("telemetry: {content: true}"),
        ["telemetry.content: is none of the choices (found true; accepted: NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_A"],
    ),
    (part("telemetry: {compat: [langfuze]}"), ["telemetry.compat.0: is none of the choices; did you mean `langfuse`?"]),
    (part("telemetry: {metric_names: new}"), ["telemetry.metric_names: is none of the choices", "inference, both"]),
    (part("telemetry: {required: 3}"), ["telemetry.required: is of the wrong kind (found 3; accepted: true or false"]),
    (part("telemetry: {deadline: never}"), ["telemetry.deadline: is of the wrong kind (found 'never'; accepted: sec"]),
    (part("telemetry: {endpont: x}"), ["telemetry.endpont: unknown key; did you mean `endpoint`?"]),
    (part("telemetry: on"), ["telemetry: is of the wrong kind (found text; accepted: a mapping of traces, metrics"]),
    # prompts
    (
        SMALL.replace("prompts: [Hi]\n", ""),
        ["run.yaml: suite: is required (accepted: `suite:` with a file's path, or `prompts:`"],
    ),
    (SMALL + "suite: s.yaml\n", ["run.yaml:4: prompts: stands beside `suite` (accepted: one of"]),
    (part("prompts: Hi"), ["prompts: is of the wrong kind (found 'Hi'; accepted: a list of prompts"]),
    (part("prompts: []"), ["run.yaml:4: prompts: the suite has no prompts"]),
    (part("prompts: [{txt: Hi}]"), ["run.yaml:4: prompts.0.txt: unknown key; did you mean `text`?"]),
    (
        SMALL.replace("prompts: [Hi]", "suite: [a]"),
        ["suite.0: no such file (found 'a'; accepted: a file; looked for "],
    ),
    (SMALL.replace("prompts: [Hi]", 'suite: "a\\0b"'), ["suite: no such file"]),
]


@pytest.mark.parametrize(("text", "fragments"), BAD, ids=[fragments[0][:60] for _, fragments in BAD])
def test_what_is_wrong_is_told(tmp_path: Path, text: str, fragments: list[str]) -> None:
    """File, line, key, what was found, what is accepted."""
    message = told(tmp_path, text)
    assert [fragment for fragment in fragments if fragment not in message] == [], message


@pytest.mark.parametrize(("text", "fragments"), BAD, ids=[fragments[0][:60] for _, fragments in BAD])
def test_one_mistake_is_told_once(tmp_path: Path, text: str, fragments: list[str]) -> None:
    """No second message that only follows from the first, but for configs with two things wrong."""
    two = ("models.0.model: is required", "tls.client_cert: is required", "gateways.g.base_url: a `${`")
    limit = 2 if fragments[0].startswith(two) else 1
    assert len(told(tmp_path, text).splitlines()) <= limit


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
    places = [line.split(": ")[:2] for line in told(tmp_path, text).splitlines()]
    assert places == [
        ["run.yaml:2", "gateways.hub.api_key"],
        ["run.yaml:4", "models.0.gateway"],
        ["run.yaml:5", "load.rate"],
        ["run.yaml:5", "load.rat"],
        ["run.yaml:6", "repeats"],
        ["s.yaml", "the suite has no prompts (accepted"],
    ]


def test_only_the_prompts_being_wrong_is_a_suite_error(tmp_path: Path) -> None:
    """Else it is a ConfigError, which holds the suite's problems too."""
    with pytest.raises(SuiteError):
        load(tmp_path, part("prompts: []"))
    with pytest.raises(ConfigError):
        load(tmp_path, part("prompts: []") + "seed: x\n")


def test_a_missing_config_is_told(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load_config(tmp_path / "none.yaml")


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
    ("override", "fragment"),
    [
        (
            "load.concurrency=none",
            "--set: load.concurrency: is of the wrong kind (found 'none'; accepted: a whole number",
        ),
        ("load.concurency=3", "--set: load.concurency: unknown key; did you mean `concurrency`?"),
        ("load.mode=poisson", "load.rate: is required with `mode: poisson`"),
        ("repeats", "--set: is not of the form key=value (found 'repeats'; accepted: key=value, as in load.conc"),
        ("=3", "--set: is not of the form key=value"),
        ("load..x=3", "--set: is not of the form key=value"),
        ("seed=[", "--set: seed: the value is not YAML"),
        ("models.7.alias=x", "--set: models.7.alias: `models` has no item '7' (accepted: a position from 0 to 0, m)"),
        ("models.n.alias=x", "--set: models.n.alias: `models` has no item 'n'"),
        ("seed.x=1", "--set: seed.x:"),
        ("prompts=[{text: 1}]", "--set: prompts.0.text: must be text (found 1"),
        ("gateways.g.base_url=ftp://h", "--set: gateways.g.base_url: must begin with"),
        ("models.m.gateway=h", "--set: models.0.gateway: there is no such gateway"),
        ("a." * 500 + "a=1", "--set: is not of the form key=value"),
    ],
)
def test_a_bad_override_is_told(tmp_path: Path, override: str, fragment: str) -> None:
    """In place of file and line stands the option."""
    assert fragment in told(tmp_path, SMALL + "seed: 3\n", override)


def test_an_override_that_brings_a_key_is_refused_without_it(tmp_path: Path) -> None:
    """A command line is kept in the shell's history."""
    message = told(tmp_path, SMALL, f"gateways.g.api_key={KEY}")
    assert "--set: gateways.g.api_key: a key must not stand" in message
    assert KEY not in message


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
