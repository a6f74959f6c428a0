"""What telemetry a run has, resolved: flags over the config's `telemetry:` over the OTEL_* environment.

On the way: `run`, `resume` and `export` resolve once, preflight.py tries the endpoints, pipeline.py sends to them.
Nothing of OpenTelemetry is imported here. Why these defaults: docs/design/009-telemetry-settings.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from streambench.config import Telemetry
from streambench.documents import shown
from streambench.errors import InputError, Problem
from streambench.secrets import Secrets, mask_url
from streambench.telemetry import environment
from streambench.telemetry.environment import GRPC_PORT, HTTP_PORT, UnusableError
from streambench.telemetry.names import MetricNames

Exporter = Literal["otlp", "console", "none"]
Protocol = Literal["http/protobuf", "grpc"]
Compression = Literal["gzip", "none"]
Shape = Literal["auto", "run", "request"]
Content = Literal["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"]
Compat = Literal["langfuse", "openinference"]
Mode = Literal["auto", "required", "off"]
Signal = Literal["traces", "metrics", "logs"]

ENDPOINT_FLAG: Final = "--otlp-endpoint"
TRACES_FLAG: Final = "--otel-traces"
MODE_FLAG: Final = "--telemetry"

_CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_WITH_EVENTS = ("EVENT_ONLY", "SPAN_AND_EVENT")
_DEFAULT_URL: Mapping[Protocol, str] = {
    "http/protobuf": f"http://localhost:{HTTP_PORT}",
    "grpc": f"http://localhost:{GRPC_PORT}",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint:
    """Where one signal goes. `url` is complete: with `/v1/traces` by http, host and port by gRPC."""

    url: str
    """May hold a password: `shown_url` is for messages."""
    protocol: Protocol
    source: str
    """What named it, for messages: `--otlp-endpoint`, `telemetry.endpoint` or a variable's name."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    timeout_s: float = 10.0
    compression: Compression = "gzip"
    certificate: str | None = None
    client_key: str | None = None
    client_certificate: str | None = None
    insecure: bool = False
    """gRPC without TLS."""
    headers_source: str | None = None
    """What gave the headers: `telemetry.headers`, a variable's name, or both."""

    @property
    def shown_url(self) -> str:
        """The URL without user, password and query."""
        return mask_url(self.url)

    def __repr__(self) -> str:
        return f"Endpoint({self.shown_url!r}, {self.protocol!r}, source={self.source!r}, {len(self.headers)} headers)"


@dataclass(frozen=True, slots=True)
class Settings:
    """None for an endpoint: that signal does not go out by OTLP."""

    traces: Exporter = "none"
    metrics: Exporter = "none"
    traces_to: Endpoint | None = None
    metrics_to: Endpoint | None = None
    logs_to: Endpoint | None = None
    """Only used where `content` asks for events."""
    shape: Shape = "auto"
    attempts: Literal["auto", "always"] = "auto"
    propagate: bool = True
    """Whether `traceparent` goes to the gateway."""
    content: Content = "NO_CONTENT"
    compat: frozenset[Compat] = frozenset()
    metric_names: MetricNames = "operation"
    required: bool = False
    deadline_s: float = 10.0
    """At exit, for what is still to be sent."""

    @property
    def on(self) -> bool:
        """Whether anything is exported by streambench itself."""
        return self.traces != "none" or self.metrics != "none"

    @property
    def endpoints(self) -> Mapping[Signal, Endpoint]:
        """Those that OTLP goes to."""
        every: dict[Signal, Endpoint | None] = {
            "traces": self.traces_to,
            "metrics": self.metrics_to,
            "logs": self.logs_to,
        }
        return {signal: endpoint for signal, endpoint in every.items() if endpoint is not None}

    @property
    def secrets(self) -> Secrets:
        """The values of all headers and what of the URLs may be secret, wherever they came from."""
        return Secrets(value for endpoint in self.endpoints.values() for value in _secrets_of(endpoint))


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; None is nothing."""

    endpoint: str | None = None
    traces: Exporter | None = None
    shape: Shape | None = None
    mode: Mode = "auto"


def has_grpc() -> bool:
    """Whether the extra `grpc` is installed; nothing of it is loaded."""
    return find_spec("grpc") is not None and find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None


def resolve(
    telemetry: Telemetry,
    flags: Flags,
    environ: Mapping[str, str],
    *,
    provider_installed: bool = False,
    has_grpc: Callable[[], bool] = has_grpc,
) -> Settings:
    """What goes out, where to and how. It looks whether certificate files are there; else it is pure.

    `provider_installed`: somebody else's tracer provider takes the spans, so that the environment adds no second
    exporter of them; the config and flags may. Raises InputError with everything that cannot be used, each with what
    named it. Of a signal that does not go out nothing is looked at.
    """
    if flags.mode == "off":
        return Settings(propagate=False)
    sources = _Sources(telemetry, flags, environ, has_grpc)
    traces = _exporter(sources, "traces", provider_installed=provider_installed)
    metrics = _exporter(sources, "metrics")
    traced = traces.value != "none" or (provider_installed and not sources.disabled)
    content = _content(sources) if traced else "NO_CONTENT"
    settings = Settings(
        traces=traces.value,
        metrics=metrics.value,
        traces_to=_endpoint(sources, "traces", traces),
        metrics_to=_endpoint(sources, "metrics", metrics),
        logs_to=_endpoint(sources, "logs", _logs(sources, traces)) if content in _WITH_EVENTS else None,
        shape=flags.shape or telemetry.trace,
        attempts=telemetry.attempts,
        propagate=traced if telemetry.propagate is None else telemetry.propagate,
        content=content,
        compat=frozenset(telemetry.compat),
        metric_names=telemetry.metric_names,
        required=flags.mode == "required" or telemetry.required,
        deadline_s=telemetry.deadline,
    )
    _check_asked(sources, settings, traced=traced)
    if sources.problems:
        raise InputError(list(dict.fromkeys(sources.problems)))  # a fault of two signals is told once
    return settings


@dataclass(frozen=True, slots=True)
class _Said(Generic[T]):
    """A value and what named it."""

    value: T
    by: str


@dataclass(frozen=True, slots=True)
class _Sources:
    """The three places that settings come from, and what was wrong in them."""

    telemetry: Telemetry
    flags: Flags
    environ: Mapping[str, str]
    has_grpc: Callable[[], bool]
    problems: list[Problem] = field(default_factory=list)

    @property
    def disabled(self) -> bool:
        return environment.switch(self.environ.get("OTEL_SDK_DISABLED", "").strip())

    def variable(self, *names: str) -> _Said[str] | None:
        """The first that is set; empty is not set, by the specification."""
        texts = ((name, self.environ.get(name, "").strip()) for name in names)
        return next((_Said(text, name) for name, text in texts if text), None)

    def of_signal(self, signal: Signal, name: str) -> _Said[str] | None:
        return self.variable(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}")

    def chosen(self, signal: Signal, key: str, reader: Callable[[str], T]) -> _Said[T] | None:
        """The config's value, else the environment's: their names match. None too where it cannot be read."""
        value = getattr(self.telemetry, key)
        if value is not None:
            return _Said(value, f"telemetry.{key}")
        return self.read(self.of_signal(signal, key.upper()), reader)

    def read(self, said: _Said[str] | None, reader: Callable[[str], T]) -> _Said[T] | None:
        if said is None:
            return None
        try:
            return _Said(reader(said.value), said.by)
        except UnusableError as error:
            self.refuse(str(error), said.by, error.accepted, error.found)
        return None

    def refuse(self, message: str, by: str, accepted: str, found: str | None = None) -> None:
        self.problems.append(Problem(message, where=by, found=found, accepted=accepted))


# --- what goes out


def _exporter(sources: _Sources, signal: Signal, *, provider_installed: bool = False) -> _Said[Exporter]:
    """An endpoint alone means `otlp`, unless a word about the exporter stands anywhere."""
    if sources.disabled:
        return _Said("none", "OTEL_SDK_DISABLED")
    here = _exporter_asked_here(sources, signal)
    address = _address(sources, signal)
    if here is None and provider_installed and (address is None or address.by not in (ENDPOINT_FLAG, _ENDPOINT_KEY)):
        return _Said("none", "the tracer provider that is installed")
    variable = sources.variable(f"OTEL_{signal.upper()}_EXPORTER")
    if here is None and variable is not None:
        return sources.read(variable, environment.exporter) or _Said("none", variable.by)
    if here is None:
        return _Said("none", "nothing") if address is None else _Said("otlp", address.by)
    return here


def _exporter_asked_here(sources: _Sources, signal: Signal) -> _Said[Exporter] | None:
    """By a flag or the config."""
    if signal == "traces" and sources.flags.traces is not None:
        return _Said(sources.flags.traces, TRACES_FLAG)
    said: Exporter | None = getattr(sources.telemetry, signal, None)
    return None if said is None else _Said(said, f"telemetry.{signal}")


def _content(sources: _Sources) -> Content:
    if sources.telemetry.content is not None:
        return sources.telemetry.content
    said = sources.read(sources.variable(_CONTENT_VARIABLE), environment.content)
    return "NO_CONTENT" if said is None else said.value


def _logs(sources: _Sources, traces: _Said[Exporter]) -> _Said[Exporter]:
    """Of the events that hold content: they follow the spans, and are never lost without a word."""
    variable = sources.variable("OTEL_LOGS_EXPORTER")
    if variable is not None:
        said = sources.read(variable, environment.exporter) or _Said("none", variable.by)
        if said.value == "console":
            sources.refuse(
                "events with content go out by OTLP only", variable.by, "otlp or none", shown(variable.value)
            )
        return said
    if _address(sources, "logs") is not None or (traces.value == "otlp" and _address(sources, "traces") is None):
        return _Said("otlp", traces.by)
    by = "telemetry.content" if sources.telemetry.content is not None else _CONTENT_VARIABLE
    accepted = "SPAN_ONLY, or OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or OTEL_LOGS_EXPORTER=none"
    sources.refuse("asks for events, and nothing says where they go", by, accepted)
    return _Said("none", by)


def _check_asked(sources: _Sources, settings: Settings, *, traced: bool) -> None:
    """What was asked for in so many words has to happen."""
    if sources.flags.endpoint is not None and not settings.endpoints and not sources.problems:
        accepted = "`OTEL_SDK_DISABLED` unset" if sources.disabled else "otlp for the traces or metrics"
        sources.refuse("nothing would be sent there: traces and metrics are switched off", ENDPOINT_FLAG, accepted)
    elif settings.required and not (settings.on or traced) and not sources.problems:
        by = f"{MODE_FLAG} required" if sources.flags.mode == "required" else "telemetry.required"
        accepted = f"{ENDPOINT_FLAG} URL, telemetry.endpoint or OTEL_EXPORTER_OTLP_ENDPOINT"
        if sources.disabled:
            accepted = "`OTEL_SDK_DISABLED` unset"
        sources.refuse("nothing goes out", by, accepted)


# --- where to, and how

_ENDPOINT_KEY: Final = "telemetry.endpoint"


@dataclass(frozen=True, slots=True)
class _Address(_Said[str]):
    """`is_base`: the signal's path is to be added."""

    is_base: bool = True


def _address(sources: _Sources, signal: Signal) -> _Address | None:
    if sources.flags.endpoint is not None:
        return _Address(sources.flags.endpoint, ENDPOINT_FLAG)
    if sources.telemetry.endpoint is not None:
        return _Address(sources.telemetry.endpoint, _ENDPOINT_KEY)
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    said = sources.of_signal(signal, "ENDPOINT")
    return None if said is None else _Address(said.value, said.by, is_base=said.by != own)


def _endpoint(sources: _Sources, signal: Signal, exporter: _Said[Exporter]) -> Endpoint | None:
    """None where nothing goes out by OTLP, or where something about it cannot be used."""
    if exporter.value != "otlp":
        return None
    protocol = _protocol(sources, signal)
    address = _address(sources, signal) or _Address(_DEFAULT_URL[protocol], exporter.by)
    insecure = _value(sources.chosen(signal, "insecure", environment.switch), default=False)
    target = sources.read(address, lambda text: _target(text, signal, protocol, address, insecure=insecure))
    files = {key: _file(sources, signal, key) for key in ("certificate", "client_key", "client_certificate")}
    _check_client_key(sources, signal, files)
    headers, headers_source = _headers(sources, signal, address)
    timeout_s = _value(sources.chosen(signal, "timeout", environment.seconds), default=10.0)
    compression = _value(sources.chosen(signal, "compression", environment.compression), default="gzip")
    if target is None:
        return None
    return Endpoint(
        url=target.value[0],
        protocol=protocol,
        source=address.by,
        headers=headers,
        timeout_s=timeout_s,
        compression=compression,
        insecure=target.value[1],
        headers_source=headers_source,
        **files,
    )


def _value(said: _Said[T] | None, default: T) -> T:
    return default if said is None else said.value


def _target(text: str, signal: Signal, protocol: Protocol, address: _Address, *, insecure: bool) -> tuple[str, bool]:
    """URL and whether gRPC goes without TLS. Raises UnusableError."""
    if protocol == "grpc":
        return environment.grpc_target(text, insecure=insecure)
    return environment.http_url(text, f"/v1/{signal}" if address.is_base else None), False


def _protocol(sources: _Sources, signal: Signal) -> Protocol:
    said = sources.chosen(signal, "protocol", environment.protocol) or _protocol_of_exporter(sources, signal)
    if said is None:
        return "http/protobuf"
    if said.value == "grpc" and not sources.has_grpc():
        sources.refuse("gRPC is not installed", said.by, "http/protobuf, or `pip install 'streambench[grpc]'`", "grpc")
    return said.value


def _protocol_of_exporter(sources: _Sources, signal: Signal) -> _Said[Protocol] | None:
    variable = sources.variable(f"OTEL_{signal.upper()}_EXPORTER")
    found = None if variable is None else environment.protocol_of_exporter(variable.value)
    return None if variable is None or found is None else _Said(found, variable.by)


def _file(sources: _Sources, signal: Signal, key: str) -> str | None:
    said: _Said[Any] | None = sources.chosen(signal, key, str)
    if said is None:
        return None
    if not Path(said.value).exists():
        sources.refuse("no such file", said.by, "a PEM file's path", shown(str(said.value)))
    return str(said.value)


def _check_client_key(sources: _Sources, signal: Signal, files: Mapping[str, str | None]) -> None:
    if files["client_key"] is not None and files["client_certificate"] is None:
        said = sources.chosen(signal, "client_key", str)
        by = "telemetry.client_key" if said is None else said.by
        sources.refuse(
            "needs a client certificate beside it", by, by.replace("key", "certificate").replace("KEY", "CERTIFICATE")
        )


def _headers(sources: _Sources, signal: Signal, address: _Address) -> tuple[Mapping[str, str], str | None]:
    """The environment's, and over them the config's by name. A key that the environment has for another host than
    `address` stays at home.
    """
    ours = sources.of_signal(signal, "ENDPOINT")
    elsewhere = ours is not None and _host(ours.value) != _host(address.value)
    said = None if elsewhere else sources.read(sources.of_signal(signal, "HEADERS"), environment.headers)
    own = {name.lower(): value for name, value in sources.telemetry.headers.items()}
    by = [*(["telemetry.headers"] if own else []), *([] if said is None else [said.by])]
    given = {} if said is None else said.value
    return {**given, **own}, " and ".join(by) or None


def _host(text: str) -> str | None:
    """None where it is no address, which is refused elsewhere."""
    try:
        return urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        return None


def _secrets_of(endpoint: Endpoint) -> set[str]:
    """A header's value whole, and without a word such as Bearer before it."""
    values = {form for value in endpoint.headers.values() for form in (value, value.partition(" ")[2])}
    if "//" in endpoint.url:
        parts = urlsplit(endpoint.url)
        values |= {parts.query, unquote(parts.password or ""), parts.password or ""}
    return values - {""}
