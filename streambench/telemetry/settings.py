"""Resolves telemetry settings: flags override the config's `telemetry:`, which overrides the OTEL_* environment.

`run`, `resume` and `export` resolve them once; `preflight` checks the endpoints and `pipeline` exports to them. This
module does not import OpenTelemetry. The reasons for the defaults: docs/design/009-telemetry-settings.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from streambench.config.schema import Telemetry
from streambench.config.sections import AttemptSpans, Compat, Compression, Content, Exporter, Protocol, TraceShape
from streambench.errors import InputError, Problem
from streambench.redaction import Secrets, mask_url
from streambench.telemetry import env_values
from streambench.telemetry.env_values import (
    GRPC_PORT,
    HTTP_PORT,
    UnusableError,
)
from streambench.telemetry.semconv import MetricNames
from streambench.text import shown

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
    """Where one signal is exported to. `url` is complete: with `/v1/traces` over HTTP, host and port over gRPC."""

    url: str
    """May hold a password; messages use `shown_url`."""
    protocol: Protocol
    source: str
    """What set it, for messages: `--otlp-endpoint`, `telemetry.endpoint` or a variable's name."""
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
    """What set the headers: `telemetry.headers`, a variable's name, or both; None without headers."""

    @property
    def shown_url(self) -> str:
        """The URL without user, password and query."""
        return mask_url(self.url)

    def __repr__(self) -> str:
        return f"Endpoint({self.shown_url!r}, {self.protocol!r}, source={self.source!r}, {len(self.headers)} headers)"


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """A run's telemetry. A signal whose endpoint is None is not exported over OTLP."""

    traces: Exporter = "none"
    metrics: Exporter = "none"
    traces_to: Endpoint | None = None
    metrics_to: Endpoint | None = None
    logs_to: Endpoint | None = None
    """Used only if `content` asks for events."""
    shape: TraceShape = "auto"
    attempts: AttemptSpans = "auto"
    propagate: bool = True
    """True if requests carry `traceparent` to the gateway."""
    content: Content = "NO_CONTENT"
    compat: frozenset[Compat] = frozenset()
    metric_names: MetricNames = "operation"
    required: bool = False
    deadline_s: float = 10.0
    """Seconds at the end of a run to send what is left."""

    @property
    def on(self) -> bool:
        """True if streambench itself exports anything."""
        return self.traces != "none" or self.metrics != "none"

    @property
    def endpoints(self) -> Mapping[Signal, Endpoint]:
        """The endpoints of the signals that are exported over OTLP."""
        every: dict[Signal, Endpoint | None] = {
            "traces": self.traces_to,
            "metrics": self.metrics_to,
            "logs": self.logs_to,
        }
        return {signal: endpoint for signal, endpoint in every.items() if endpoint is not None}

    @property
    def secrets(self) -> Secrets:
        """The values of all headers, and the parts of the URLs that may be secret."""
        return Secrets(value for endpoint in self.endpoints.values() for value in _secrets_of(endpoint))


@dataclass(frozen=True, slots=True)
class Flags:
    """The telemetry options of the command line; None if not given."""

    endpoint: str | None = None
    traces: Exporter | None = None
    shape: TraceShape | None = None
    mode: Mode = "auto"


def has_grpc() -> bool:
    """True if the extra `grpc` is installed. Does not import it."""
    return find_spec("grpc") is not None and find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None


def resolve(
    telemetry: Telemetry,
    flags: Flags,
    environ: Mapping[str, str],
    *,
    provider_installed: bool = False,
    has_grpc: Callable[[], bool] = has_grpc,
) -> TelemetrySettings:
    """Returns what is exported, where to and how. Pure, except that it checks whether certificate files exist.

    `provider_installed`: a tracer provider of other code takes the spans, so the environment adds no second exporter of
    spans; the config and flags may. Raises InputError with every value that cannot be used and what set it. The values
    of a signal that is not exported are not checked.
    """
    if flags.mode == "off":
        return TelemetrySettings(propagate=False)
    sources = _Sources(telemetry, flags, environ, has_grpc)
    traces = _exporter(sources, "traces", provider_installed=provider_installed)
    metrics = _exporter(sources, "metrics")
    traced = traces.value != "none" or (provider_installed and not sources.disabled)
    content = _content(sources) if traced else "NO_CONTENT"
    settings = TelemetrySettings(
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
        raise InputError(list(dict.fromkeys(sources.problems)))  # a problem of two signals is reported once
    return settings


@dataclass(frozen=True, slots=True)
class _SettingSource(Generic[T]):
    """A value and what set it."""

    value: T
    by: str


@dataclass(frozen=True, slots=True)
class _Sources:
    """The three sources of settings, and the problems found in them."""

    telemetry: Telemetry
    flags: Flags
    environ: Mapping[str, str]
    has_grpc: Callable[[], bool]
    problems: list[Problem] = field(default_factory=list)

    @property
    def disabled(self) -> bool:
        return env_values.switch(self.environ.get("OTEL_SDK_DISABLED", "").strip())

    def variable(self, *names: str) -> _SettingSource[str] | None:
        """Returns the first variable that is set; by the specification, an empty one is not set."""
        texts = ((name, self.environ.get(name, "").strip()) for name in names)
        return next((_SettingSource(text, name) for name, text in texts if text), None)

    def of_signal(self, signal: Signal, name: str) -> _SettingSource[str] | None:
        return self.variable(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}")

    def chosen(self, signal: Signal, key: str, reader: Callable[[str], T]) -> _SettingSource[T] | None:
        """Returns the config's value, else that of the variable with the matching name; None if it cannot be parsed."""
        value = getattr(self.telemetry, key)
        if value is not None:
            return _SettingSource(value, f"telemetry.{key}")
        return self.read(self.of_signal(signal, key.upper()), reader)

    def read(self, given: _SettingSource[str] | None, reader: Callable[[str], T]) -> _SettingSource[T] | None:
        if given is None:
            return None
        try:
            return _SettingSource(reader(given.value), given.by)
        except UnusableError as error:
            self.refuse(str(error), given.by, error.accepted, error.found)
        return None

    def refuse(self, message: str, by: str, accepted: str, found: str | None = None) -> None:
        self.problems.append(Problem(message, where=by, found=found, accepted=accepted))


# --- what is exported


def _exporter(sources: _Sources, signal: Signal, *, provider_installed: bool = False) -> _SettingSource[Exporter]:
    """Returns the exporter of a signal. An endpoint implies `otlp` unless an exporter is set anywhere."""
    if sources.disabled:
        return _SettingSource("none", "OTEL_SDK_DISABLED")
    here = _exporter_asked_here(sources, signal)
    address = _address(sources, signal)
    if here is None and provider_installed and (address is None or address.by not in (ENDPOINT_FLAG, _ENDPOINT_KEY)):
        return _SettingSource("none", "the installed tracer provider")
    variable = sources.variable(f"OTEL_{signal.upper()}_EXPORTER")
    if here is None and variable is not None:
        return sources.read(variable, env_values.exporter) or _SettingSource("none", variable.by)
    if here is None:
        return _SettingSource("none", "nothing") if address is None else _SettingSource("otlp", address.by)
    return here


def _exporter_asked_here(sources: _Sources, signal: Signal) -> _SettingSource[Exporter] | None:
    """Returns the exporter that a flag or the config sets."""
    if signal == "traces" and sources.flags.traces is not None:
        return _SettingSource(sources.flags.traces, TRACES_FLAG)
    exporter: Exporter | None = getattr(sources.telemetry, signal, None)
    return None if exporter is None else _SettingSource(exporter, f"telemetry.{signal}")


def _content(sources: _Sources) -> Content:
    if sources.telemetry.content is not None:
        return sources.telemetry.content
    given = sources.read(sources.variable(_CONTENT_VARIABLE), env_values.content)
    return "NO_CONTENT" if given is None else given.value


def _logs(sources: _Sources, traces: _SettingSource[Exporter]) -> _SettingSource[Exporter]:
    """Returns the exporter of the events that hold content: OTEL_LOGS_EXPORTER's, else they follow the spans.

    Adds a problem if nothing says where they go.
    """
    variable = sources.variable("OTEL_LOGS_EXPORTER")
    if variable is not None:
        given = sources.read(variable, env_values.exporter) or _SettingSource("none", variable.by)
        if given.value == "console":
            sources.refuse(
                "events with content are exported over OTLP only", variable.by, "otlp or none", shown(variable.value)
            )
        return given
    if _address(sources, "logs") is not None or (traces.value == "otlp" and _address(sources, "traces") is None):
        return _SettingSource("otlp", traces.by)
    by = "telemetry.content" if sources.telemetry.content is not None else _CONTENT_VARIABLE
    accepted = "SPAN_ONLY, or OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or OTEL_LOGS_EXPORTER=none"
    sources.refuse("asks for events, but no endpoint for them is set", by, accepted)
    return _SettingSource("none", by)


def _check_asked(sources: _Sources, settings: TelemetrySettings, *, traced: bool) -> None:
    """Adds a problem if an endpoint is set by flag, or telemetry is required, but nothing would be exported."""
    if sources.flags.endpoint is not None and not settings.endpoints and not sources.problems:
        accepted = "`OTEL_SDK_DISABLED` unset" if sources.disabled else "otlp for the traces or metrics"
        sources.refuse("nothing would be sent there: traces and metrics are switched off", ENDPOINT_FLAG, accepted)
    elif settings.required and not (settings.on or traced) and not sources.problems:
        by = f"{MODE_FLAG} required" if sources.flags.mode == "required" else "telemetry.required"
        accepted = f"{ENDPOINT_FLAG} URL, telemetry.endpoint or OTEL_EXPORTER_OTLP_ENDPOINT"
        if sources.disabled:
            accepted = "`OTEL_SDK_DISABLED` unset"
        sources.refuse("nothing would be exported", by, accepted)


# --- where to, and how

_ENDPOINT_KEY: Final = "telemetry.endpoint"


@dataclass(frozen=True, slots=True)
class _Address(_SettingSource[str]):
    """`is_base`: the signal's path must be added."""

    is_base: bool = True


def _address(sources: _Sources, signal: Signal) -> _Address | None:
    if sources.flags.endpoint is not None:
        return _Address(sources.flags.endpoint, ENDPOINT_FLAG)
    if sources.telemetry.endpoint is not None:
        return _Address(sources.telemetry.endpoint, _ENDPOINT_KEY)
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    given = sources.of_signal(signal, "ENDPOINT")
    return None if given is None else _Address(given.value, given.by, is_base=given.by != own)


def _endpoint(sources: _Sources, signal: Signal, exporter: _SettingSource[Exporter]) -> Endpoint | None:
    """Returns None if the signal is not exported over OTLP, or its URL cannot be used."""
    if exporter.value != "otlp":
        return None
    protocol = _protocol(sources, signal)
    address = _address(sources, signal) or _Address(_DEFAULT_URL[protocol], exporter.by)
    insecure = _value(sources.chosen(signal, "insecure", env_values.switch), default=False)
    target = sources.read(address, lambda text: _target(text, signal, protocol, address, insecure=insecure))
    files = {key: _file(sources, signal, key) for key in ("certificate", "client_key", "client_certificate")}
    _check_client_key(sources, signal, files)
    headers, headers_source = _headers(sources, signal, address)
    timeout_s = _value(sources.chosen(signal, "timeout", env_values.seconds), default=10.0)
    compression = _value(sources.chosen(signal, "compression", env_values.compression), default="gzip")
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


def _value(given: _SettingSource[T] | None, default: T) -> T:
    return default if given is None else given.value


def _target(text: str, signal: Signal, protocol: Protocol, address: _Address, *, insecure: bool) -> tuple[str, bool]:
    """Returns the URL, and True for gRPC without TLS. Raises UnusableError."""
    if protocol == "grpc":
        return env_values.grpc_target(text, insecure=insecure)
    return env_values.http_url(text, f"/v1/{signal}" if address.is_base else None), False


def _protocol(sources: _Sources, signal: Signal) -> Protocol:
    given = sources.chosen(signal, "protocol", env_values.protocol) or _protocol_of_exporter(sources, signal)
    if given is None:
        return "http/protobuf"
    if given.value == "grpc" and not sources.has_grpc():
        sources.refuse("gRPC is not installed", given.by, "http/protobuf, or `pip install 'streambench[grpc]'`", "grpc")
    return given.value


def _protocol_of_exporter(sources: _Sources, signal: Signal) -> _SettingSource[Protocol] | None:
    variable = sources.variable(f"OTEL_{signal.upper()}_EXPORTER")
    found = None if variable is None else env_values.protocol_of_exporter(variable.value)
    return None if variable is None or found is None else _SettingSource(found, variable.by)


def _file(sources: _Sources, signal: Signal, key: str) -> str | None:
    given: _SettingSource[Any] | None = sources.chosen(signal, key, str)
    if given is None:
        return None
    if not Path(given.value).exists():
        sources.refuse("no such file", given.by, "the path of a PEM file", shown(str(given.value)))
    return str(given.value)


def _check_client_key(sources: _Sources, signal: Signal, files: Mapping[str, str | None]) -> None:
    if files["client_key"] is not None and files["client_certificate"] is None:
        given = sources.chosen(signal, "client_key", str)
        by = "telemetry.client_key" if given is None else given.by
        sources.refuse(
            "needs a client certificate too", by, by.replace("key", "certificate").replace("KEY", "CERTIFICATE")
        )


def _headers(sources: _Sources, signal: Signal, address: _Address) -> tuple[Mapping[str, str], str | None]:
    """Returns the headers and what set them. The config's override the environment's by name.

    Headers of the environment are left out if its endpoint has another host than `address`: they may hold its key.
    """
    ours = sources.of_signal(signal, "ENDPOINT")
    elsewhere = ours is not None and _host(ours.value) != _host(address.value)
    variable = None if elsewhere else sources.read(sources.of_signal(signal, "HEADERS"), env_values.headers)
    own = {name.lower(): value for name, value in sources.telemetry.headers.items()}
    by = [*(["telemetry.headers"] if own else []), *([] if variable is None else [variable.by])]
    given = {} if variable is None else variable.value
    return {**given, **own}, " and ".join(by) or None


def _host(text: str) -> str | None:
    """Returns None if the text is not an address; other code reports that."""
    try:
        return urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        return None


def _secrets_of(endpoint: Endpoint) -> set[str]:
    """Returns each header's value, also without its first word (Bearer), and the URL's query and password."""
    values = {form for value in endpoint.headers.values() for form in (value, value.partition(" ")[2])}
    if "//" in endpoint.url:
        parts = urlsplit(endpoint.url)
        values |= {parts.query, unquote(parts.password or ""), parts.password or ""}
    return values - {""}
