"""Which telemetry a run has: flags over config over environment, and what is told of a value that cannot be used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.util.re import parse_env_headers
from wrong_input import Wrong, the_problem

from streambench.config.schema import Telemetry
from streambench.errors import InputError, Problem
from streambench.telemetry import env_values
from streambench.telemetry.settings import Endpoint, Flags, TelemetrySettings, resolve

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
KEY = "q7Lk-hunter2-Zx"
HERE = {BASE: "http://c:4318"}


def settings(
    environ: Mapping[str, str] | None = None, flags: Flags | None = None, *, provider: bool = False, **telemetry: Any
) -> TelemetrySettings:
    return resolve(
        Telemetry(**telemetry), flags or Flags(), environ or {}, provider_installed=provider, has_grpc=lambda: True
    )


def problems_of(
    environ: Mapping[str, str] | None = None, flags: Flags | None = None, **telemetry: Any
) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as caught:
        resolve(Telemetry(**telemetry), flags or Flags(), environ or {}, has_grpc=lambda: False)
    assert caught.value.exit_code == 2
    return caught.value.problems


def traces_to(environ: Mapping[str, str] | None = None, flags: Flags | None = None, **telemetry: Any) -> Endpoint:
    endpoint = settings(environ, flags, **telemetry).traces_to
    assert endpoint is not None
    return endpoint


# --- what goes out


def test_nothing_goes_out_unless_asked_for() -> None:
    """Neither spans nor a header to the gateway."""
    assert settings() == TelemetrySettings(propagate=False)
    assert not settings().on


OUT: list[tuple[Mapping[str, str], Flags, dict[str, Any], tuple[str, str]]] = [
    # environment, flags, config: traces, metrics
    ({BASE: "http://c"}, Flags(), {}, ("otlp", "otlp")),
    ({TRACES: "http://c"}, Flags(), {}, ("otlp", "none")),
    ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c"}, Flags(), {}, ("none", "none")),
    ({BASE: "  "}, Flags(), {}, ("none", "none")),
    ({HEADERS: "a=b"}, Flags(), {}, ("none", "none")),
    ({"OTEL_TRACES_EXPORTER": "otlp"}, Flags(), {}, ("otlp", "none")),
    ({"OTEL_TRACES_EXPORTER": "console", BASE: "http://c"}, Flags(), {}, ("console", "otlp")),
    ({"OTEL_METRICS_EXPORTER": "none", BASE: "http://c"}, Flags(), {}, ("otlp", "none")),
    ({"OTEL_METRICS_EXPORTER": "none"}, Flags(endpoint="http://c"), {}, ("otlp", "none")),
    ({"OTEL_TRACES_EXPORTER": "Console, otlp"}, Flags(), {}, ("otlp", "none")),
    ({"OTEL_TRACES_EXPORTER": "zipkin,console"}, Flags(), {}, ("console", "none")),
    ({"OTEL_TRACES_EXPORTER": "otlp_proto_http"}, Flags(), {}, ("otlp", "none")),
    ({"OTEL_TRACES_EXPORTER": "zipkin"}, Flags(traces="none"), {}, ("none", "none")),
    ({}, Flags(), {"endpoint": "http://c"}, ("otlp", "otlp")),
    ({}, Flags(), {"endpoint": "http://c", "metrics": "none"}, ("otlp", "none")),
    ({}, Flags(endpoint="http://d"), {"endpoint": "http://c", "metrics": "none"}, ("otlp", "none")),
    ({"OTEL_TRACES_EXPORTER": "none"}, Flags(), {"traces": "console"}, ("console", "none")),
    ({}, Flags(traces="console"), {"traces": "otlp"}, ("console", "none")),
    ({}, Flags(endpoint="http://c"), {}, ("otlp", "otlp")),
    ({BASE: "http://c"}, Flags(mode="off"), {"endpoint": "http://c", "required": True}, ("none", "none")),
    ({BASE: "http://c", "OTEL_SDK_DISABLED": "True"}, Flags(), {"endpoint": "http://c"}, ("none", "none")),
    ({BASE: "http://c", "OTEL_SDK_DISABLED": "no"}, Flags(), {}, ("otlp", "otlp")),
    ({BASE: "http://c", "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}, Flags(), {}, ("otlp", "otlp")),
]


@pytest.mark.parametrize(("environ", "flags", "telemetry", "expected"), OUT)
def test_what_goes_out(
    environ: Mapping[str, str], flags: Flags, telemetry: dict[str, Any], expected: tuple[str, str]
) -> None:
    """A word about a signal's exporter counts first, from wherever; an endpoint alone switches on the others."""
    found = settings(environ, flags, **telemetry)
    assert (found.traces, found.metrics) == expected
    assert (found.traces_to is not None, found.metrics_to is not None) == tuple(one == "otlp" for one in expected)
    assert found.on is (expected != ("none", "none"))


@pytest.mark.parametrize(
    ("environ", "flags", "telemetry", "provider", "expected"),
    [
        ({}, Flags(), {}, False, False),
        (HERE, Flags(), {}, False, True),
        (HERE, Flags(), {"propagate": False}, False, False),
        ({}, Flags(), {"propagate": True}, False, True),
        ({}, Flags(), {}, True, True),
        ({"OTEL_SDK_DISABLED": "true"}, Flags(), {}, True, False),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, Flags(), {}, False, False),
        (HERE, Flags(mode="off"), {"propagate": True}, True, False),
    ],
)
def test_traceparent_goes_out_where_traces_do(
    environ: Mapping[str, str], flags: Flags, telemetry: dict[str, Any], *, provider: bool, expected: bool
) -> None:
    """A header that names a span which nobody has would lead nowhere."""
    assert settings(environ, flags, provider=provider, **telemetry).propagate is expected


def test_an_installed_provider_takes_the_spans() -> None:
    """Run under opentelemetry-instrument the same variables would send each twice; a flag or the config may."""
    found = settings(HERE, provider=True)
    assert (found.traces, found.metrics, found.propagate) == ("none", "otlp", True)
    assert settings({"OTEL_TRACES_EXPORTER": "otlp"}, provider=True).traces == "none"
    assert settings({}, Flags(endpoint="http://c"), provider=True).traces == "otlp"
    assert settings({}, provider=True, traces="console").traces == "console"
    assert settings({}, Flags(mode="required"), provider=True).required


# --- where to


URLS: list[tuple[Mapping[str, str], Flags, dict[str, Any], str, str]] = [
    ({BASE: "http://c:4318"}, Flags(), {}, "http://c:4318/v1/traces", BASE),
    ({BASE: "http://c:4318/"}, Flags(), {}, "http://c:4318/v1/traces", BASE),
    ({BASE: "https://c/api/otel"}, Flags(), {}, "https://c/api/otel/v1/traces", BASE),
    ({BASE: "https://c/api?k=v"}, Flags(), {}, "https://c/api/v1/traces?k=v", BASE),
    ({TRACES: "https://c/anywhere"}, Flags(), {}, "https://c/anywhere", TRACES),
    ({TRACES: "http://c/v1/traces", BASE: "http://d"}, Flags(), {}, "http://c/v1/traces", TRACES),
    ({TRACES: "http://c/x"}, Flags(), {"endpoint": "http://y"}, "http://y/v1/traces", "telemetry.endpoint"),
    ({}, Flags(endpoint="http://f"), {"endpoint": "http://y"}, "http://f/v1/traces", "--otlp-endpoint"),
    ({}, Flags(traces="otlp"), {}, "http://localhost:4318/v1/traces", "--otel-traces"),
    ({}, Flags(traces="otlp"), {"protocol": "grpc"}, "localhost:4317", "--otel-traces"),
    ({BASE: "http://c:4317"}, Flags(), {"protocol": "grpc"}, "c:4317", BASE),
    ({BASE: "http://c"}, Flags(), {"protocol": "grpc"}, "c:4317", BASE),
    ({BASE: "https://c/"}, Flags(), {"protocol": "grpc"}, "c:443", BASE),
    ({BASE: "c:4317"}, Flags(), {"protocol": "grpc"}, "c:4317", BASE),
    ({BASE: "http://[::1]:4317"}, Flags(), {"protocol": "grpc"}, "[::1]:4317", BASE),
]


@pytest.mark.parametrize(("environ", "flags", "telemetry", "url", "source"), URLS)
def test_where_traces_go(
    environ: Mapping[str, str], flags: Flags, telemetry: dict[str, Any], url: str, source: str
) -> None:
    """A base gets the signal's path; a signal's own variable is taken as it is; gRPC needs host and port."""
    endpoint = traces_to(environ, flags, **telemetry)
    assert (endpoint.url, endpoint.source) == (url, source)


def test_each_signal_has_its_own_path() -> None:
    """Under one base."""
    found = settings({BASE: "http://c/base"}, content="SPAN_AND_EVENT")
    assert {signal: endpoint.url for signal, endpoint in found.endpoints.items()} == {
        "traces": "http://c/base/v1/traces",
        "metrics": "http://c/base/v1/metrics",
        "logs": "http://c/base/v1/logs",
    }


@pytest.mark.parametrize(
    ("url", "insecure", "expected"),
    [
        ("http://c:4317", False, True),
        ("https://c:4317", True, False),
        ("c:4317", True, True),
        ("c:4317", False, False),
    ],
)
def test_grpc_goes_without_tls_as_the_scheme_says(url: str, *, insecure: bool, expected: bool) -> None:
    """Only where there is none does `insecure` decide: the specification's rule."""
    variable = {"OTEL_EXPORTER_OTLP_TRACES_INSECURE": str(insecure).lower()}
    assert traces_to({BASE: url, **variable}, protocol="grpc").insecure is expected


# --- how


def test_by_default_it_is_http_with_gzip() -> None:
    """And ten seconds for an export."""
    endpoint = traces_to(HERE)
    assert (endpoint.protocol, endpoint.compression, endpoint.timeout_s) == ("http/protobuf", "gzip", 10.0)
    assert (endpoint.headers, endpoint.headers_source, endpoint.certificate) == ({}, None, None)


def test_every_variable_of_an_endpoint(tmp_path: Path) -> None:
    """The signal's own form wins over the general one; the config over both."""
    pem = tmp_path / "x.pem"
    pem.write_text("pem")
    general = {
        "PROTOCOL": "http/protobuf",
        "HEADERS": "a=general",
        "TIMEOUT": "1",
        "COMPRESSION": "gzip",
        "CERTIFICATE": "nowhere",
        "CLIENT_KEY": "nowhere",
        "CLIENT_CERTIFICATE": "nowhere",
    }
    own = {
        "PROTOCOL": "grpc",
        "HEADERS": "b=own",
        "TIMEOUT": "2.5",
        "COMPRESSION": "none",
        "CERTIFICATE": str(pem),
        "CLIENT_KEY": str(pem),
        "CLIENT_CERTIFICATE": str(pem),
    }
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in general.items()}
    environ |= {f"OTEL_EXPORTER_OTLP_TRACES_{name}": value for name, value in own.items()}
    environ |= {TRACES: "https://c:4317"}
    expected = Endpoint(
        url="c:4317",
        protocol="grpc",
        source=TRACES,
        headers={"b": "own"},
        timeout_s=2.5,
        compression="none",
        certificate=str(pem),
        client_key=str(pem),
        client_certificate=str(pem),
        headers_source="OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    )
    assert traces_to(environ) == expected
    over = traces_to(environ, timeout=7, compression="gzip")
    assert (over.timeout_s, over.compression, over.protocol) == (7, "gzip", "grpc")


def test_headers_of_the_config_win_by_name() -> None:
    """The exporters add the environment's in any case; the source names both."""
    endpoint = traces_to({**HERE, HEADERS: "A=env,b=env"}, headers={"B": "config", "c": "config"})
    assert endpoint.headers == {"a": "env", "b": "config", "c": "config"}
    assert endpoint.headers_source == f"telemetry.headers and {HEADERS}"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {"a": "env"}),
        ({BASE: "http://ours:4318"}, {}),
        ({BASE: "http://OURS:4317"}, {}),
        ({BASE: "https://theirs"}, {"a": "env"}),
        ({TRACES: "http://ours:4318", BASE: "http://theirs"}, {}),
    ],
)
def test_headers_of_the_environment_go_to_no_other_host(environ: dict[str, str], expected: dict[str, str]) -> None:
    """They are for the environment's endpoint; where it has none, for the one that is given."""
    flags = Flags(endpoint="http://theirs:4318")
    assert traces_to({**environ, HEADERS: "a=env"}, flags).headers == expected
    assert traces_to({**environ, HEADERS: "a=env"}, endpoint="http://theirs:4318").headers == expected


@pytest.mark.parametrize(
    "text",
    [
        "a=b",
        "api-key=x==",
        "Authorization=Basic%20cGs6c2s%3D,x-langfuse-ingestion-version=4",
        "Authorization=Bearer abc def",
        " a = b , c=d,, ",
        "k=v1%2Cv2",
        "a=1,a=2",
        "a=",
    ],
)
def test_headers_are_read_as_the_sdk_reads_them(text: str) -> None:
    """Decoded where they are encoded, taken plain where they hold a space."""
    assert env_values.headers(text) == dict(parse_env_headers(text, liberal=True))


def test_a_protocol_may_be_in_the_exporters_name() -> None:
    """Python's own form; a protocol said by itself wins."""
    named = {"OTEL_TRACES_EXPORTER": "otlp_proto_grpc"}
    assert traces_to(named).protocol == "grpc"
    assert traces_to({**named, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}).protocol == "http/protobuf"


def test_the_rest_is_the_configs() -> None:
    """A flag wins over its shape and adds to what it requires."""
    found = settings(
        HERE,
        Flags(shape="run", mode="required"),
        trace="request",
        attempts="always",
        compat=("langfuse",),
        metric_names="both",
        deadline=3,
    )
    assert (found.shape, found.required, found.attempts) == ("run", True, "always")
    assert found.compat == frozenset({"langfuse"})
    assert (found.metric_names, found.deadline_s) == ("both", 3)
    assert settings(HERE, trace="request").shape == "request"
    assert settings(HERE, required=True).required


# --- content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NO_CONTENT", "NO_CONTENT"),
        ("SPAN_ONLY", "SPAN_ONLY"),
        ("event_only", "EVENT_ONLY"),
        ("SPAN_AND_EVENT", "SPAN_AND_EVENT"),
        ("false", "NO_CONTENT"),
        ("true", "EVENT_ONLY"),
        ("", "NO_CONTENT"),
    ],
)
def test_content_by_the_conventions_variable(text: str, expected: str) -> None:
    """`true` of older packages meant events. The config wins; without traces there is none."""
    assert settings({**HERE, CONTENT: text}).content == expected
    assert settings({**HERE, CONTENT: text}, content="SPAN_ONLY").content == "SPAN_ONLY"
    assert settings({CONTENT: text}).content == "NO_CONTENT"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({**HERE, CONTENT: "SPAN_ONLY"}, None),
        ({**HERE, CONTENT: "EVENT_ONLY"}, "http://c:4318/v1/logs"),
        ({**HERE, CONTENT: "EVENT_ONLY", "OTEL_LOGS_EXPORTER": "none"}, None),
        ({**HERE, CONTENT: "EVENT_ONLY", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://l/x"}, "http://l/x"),
        ({CONTENT: "EVENT_ONLY", "OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/logs"),
    ],
)
def test_events_with_content_go_where_logs_go(environ: Mapping[str, str], expected: str | None) -> None:
    """Only then is there an endpoint for logs."""
    found = settings(environ).logs_to
    assert (None if found is None else found.url) == expected


# --- what cannot be used


def test_a_fault_of_two_signals_is_told_once() -> None:
    """Traces and metrics share the base."""
    assert len(problems_of({BASE: "nonsense"})) == 1


BAD: list[tuple[Mapping[str, str], Flags, dict[str, Any], Wrong]] = [
    (
        {BASE: "http://host:4317"},
        Flags(),
        {},
        Wrong(
            BASE,
            "'http://host:4317'",
            message="4317 is the port for gRPC",
            accepted="http://host:4318, or protocol grpc in `telemetry.protocol` or OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
    ),
    (
        {},
        Flags(endpoint="localhost:4318"),
        {},
        Wrong("--otlp-endpoint", "'localhost:4318'", accepted="http://localhost:4318"),
    ),
    (
        {},
        Flags(endpoint="10.0.0.1:4318"),
        {},
        Wrong("--otlp-endpoint", "'10.0.0.1:4318'", accepted="http://10.0.0.1:4318"),
    ),
    ({}, Flags(endpoint=""), {}, Wrong("--otlp-endpoint", "''")),
    ({TRACES: "ftp://c/v1/traces"}, Flags(), {}, Wrong(TRACES, "'ftp://c/v1/traces'")),
    ({BASE: "http://"}, Flags(), {}, Wrong(BASE, "'http://'", accepted="a URL such as http://localhost:4318")),
    (
        {BASE: "http://c:port"},
        Flags(),
        {},
        Wrong(BASE, "'http://c:port'", message="is not a URL: its host or port is invalid"),
    ),
    ({BASE: "http://c d"}, Flags(), {}, Wrong(BASE, "'http://c d'")),
    ({BASE: "http://c#d"}, Flags(), {}, Wrong(BASE, "'http://c#d'")),
    (
        {BASE: "http://c/v1/traces"},
        Flags(),
        {},
        Wrong(BASE, "'http://c/v1/traces'", message="must be a base URL, to which a path such as /v1/traces is added"),
    ),
    ({BASE: f"ftp://u:{KEY}@c?k={KEY}"}, Flags(), {}, Wrong(BASE, "'ftp://***@c?***'")),
    (
        {**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
        Flags(),
        {},
        Wrong(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "'http/json'",
            message="OTLP as JSON is not supported",
            accepted="http/protobuf or grpc",
        ),
    ),
    (
        {**HERE, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "gprc"},
        Flags(),
        {},
        Wrong(
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "'gprc'", message="is not a supported protocol; did you mean `grpc`?"
        ),
    ),
    (
        {BASE: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        Flags(),
        {},
        Wrong(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            message="gRPC is not installed",
            accepted="http/protobuf, or `pip install 'streambench[grpc]'`",
        ),
    ),
    (
        {"OTEL_TRACES_EXPORTER": "oltp"},
        Flags(),
        {},
        Wrong("OTEL_TRACES_EXPORTER", "'oltp'", message="is not a supported exporter; did you mean `otlp`?"),
    ),
    (
        {"OTEL_METRICS_EXPORTER": "prometheus"},
        Flags(),
        {},
        Wrong("OTEL_METRICS_EXPORTER", "'prometheus'"),
    ),
    (
        {**HERE, CONTENT: "SPANS_ONLY"},
        Flags(),
        {},
        Wrong(CONTENT, "'SPANS_ONLY'", message="is not a valid choice; did you mean `SPAN_ONLY`?"),
    ),
    (
        {**HERE, "OTEL_EXPORTER_OTLP_TIMEOUT": "10s"},
        Flags(),
        {},
        Wrong("OTEL_EXPORTER_OTLP_TIMEOUT", "'10s'", message="is not a valid time"),
    ),
    (
        {**HERE, "OTEL_EXPORTER_OTLP_TIMEOUT": "-1"},
        Flags(),
        {},
        Wrong("OTEL_EXPORTER_OTLP_TIMEOUT", "'-1'", accepted="a number of seconds above 0"),
    ),
    (
        {**HERE, "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"},
        Flags(),
        {},
        Wrong(
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "'zstd'",
            message="is not a supported compression",
            accepted="gzip or none",
        ),
    ),
    (
        {**HERE, HEADERS: f"a=b,{KEY}"},
        Flags(),
        {},
        Wrong(
            HEADERS,
            message="entry 2 is not a header",
            accepted="name=value,name=value with values percent-encoded: %20 is a space",
        ),
    ),
    (
        {**HERE, HEADERS: f"a={KEY}%0Ab"},
        Flags(),
        {},
        Wrong(HEADERS, message="entry 1 contains a character that a header cannot carry"),
    ),
    ({**HERE, HEADERS: f'a="{KEY}"'}, Flags(), {}, Wrong(HEADERS, names=("1",))),
    (
        {**HERE, "OTEL_EXPORTER_OTLP_CERTIFICATE": "no/ca.pem"},
        Flags(),
        {},
        Wrong("OTEL_EXPORTER_OTLP_CERTIFICATE", "'no/ca.pem'", accepted="the path of a PEM file"),
    ),
    (
        {**HERE, "OTEL_EXPORTER_OTLP_CLIENT_KEY": __file__},
        Flags(),
        {},
        Wrong(
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            message="needs a client certificate too",
            accepted="OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ),
    ),
    (
        {},
        Flags(),
        {"endpoint": "http://h:4317"},
        Wrong("telemetry.endpoint", "'http://h:4317'"),
    ),
    (
        {},
        Flags(mode="required"),
        {},
        Wrong(
            "--telemetry required",
            message="nothing would be exported",
            accepted="--otlp-endpoint URL, telemetry.endpoint or OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
    ),
    ({}, Flags(), {"required": True}, Wrong("telemetry.required")),
    (
        {**HERE, "OTEL_SDK_DISABLED": "true"},
        Flags(mode="required"),
        {},
        Wrong("--telemetry required", accepted="`OTEL_SDK_DISABLED` unset"),
    ),
    (
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
        Flags(endpoint="http://c"),
        {},
        Wrong("--otlp-endpoint", message="nothing would be sent there: traces and metrics are switched off"),
    ),
    (
        {TRACES: "http://c/v1/traces", CONTENT: "EVENT_ONLY"},
        Flags(),
        {},
        Wrong(
            CONTENT,
            message="asks for events, but no endpoint for them is set",
            accepted="SPAN_ONLY, or OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or OTEL_LOGS_EXPORTER=none",
        ),
    ),
    (
        {**HERE, "OTEL_LOGS_EXPORTER": "console"},
        Flags(),
        {"content": "EVENT_ONLY"},
        Wrong(
            "OTEL_LOGS_EXPORTER",
            "'console'",
            message="events with content are exported over OTLP only",
            accepted="otlp or none",
        ),
    ),
]


@pytest.mark.parametrize(
    ("environ", "flags", "telemetry", "wrong"), BAD, ids=[f"{row[3].where} {row[3].found}" for row in BAD]
)
def test_what_cannot_be_used_is_told_in_one_line(
    environ: Mapping[str, str], flags: Flags, telemetry: dict[str, Any], wrong: Wrong
) -> None:
    """What named it, what stood there, what to write; no key in any."""
    problems = problems_of(environ, flags, **telemetry)
    assert len(problems) == 1
    assert KEY not in str(the_problem(problems, wrong))


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        (
            "http://h:4318",
            Wrong(BASE, "'http://h:4318'", message="4318 is the port for HTTP", accepted="http://h:4317"),
        ),
        (
            "http://u:p@h:4317",
            Wrong(BASE, "'http://***@h:4317'", message="gRPC does not support a user or password in the URL"),
        ),
        (
            "unix:///run/x",
            Wrong(BASE, "'unix:///run/x'", accepted="a URL such as http://localhost:4317"),
        ),
        (":4317", Wrong(BASE, "':4317'")),
    ],
)
def test_an_address_that_grpc_cannot_use(url: str, wrong: Wrong) -> None:
    """Told before the exporter would try."""
    with pytest.raises(InputError) as caught:
        settings({BASE: url}, protocol="grpc")
    the_problem(caught.value.problems, wrong)


def test_of_what_does_not_go_out_nothing_is_refused() -> None:
    """A stranger's environment may hold anything."""
    environ = {BASE: "nonsense", HEADERS: "nonsense", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", CONTENT: "SPANS"}
    switched_off = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
    assert not settings({**environ, **switched_off}).on
    assert not settings(environ, Flags(mode="off")).on
    assert not settings({**environ, "OTEL_SDK_DISABLED": "true"}).on


def test_no_repr_holds_a_headers_value_or_a_password() -> None:
    """And `secrets` masks them, with and without the word before them."""
    found = settings({BASE: f"http://me:{KEY}2@c", HEADERS: f"Authorization=Bearer%20{KEY}"})
    assert KEY not in repr(found)
    assert found.secrets.mask(f"got {KEY} and {KEY}2, Bearer {KEY}") == "got *** and ***, ***"


def test_nothing_of_opentelemetry_is_loaded() -> None:
    """A run without telemetry does not pay for it, and the extra is looked for without loading it."""
    program = (
        "import sys; from streambench.telemetry.settings import has_grpc; has_grpc(); "
        "print(*{name.partition('.')[0] for name in sys.modules} & {'grpc', 'requests', 'google'}, "
        "'opentelemetry.sdk' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["False"]
