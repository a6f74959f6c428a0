"""The schema of the config file (FileConfig), and the settings that a resolved config shares with it: pydantic models.

resolution.py validates with them; an unknown key is an error. A field's `description` is the "accepted" of its error
messages. checks.py checks relations between keys, so that they are reported even if another part is wrong.

The docstring of each part of FileConfig is its description in `configs/schema.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import (
    Field,
    field_serializer,
    model_validator,
)

from streambench.config.fields import (
    API,
    HEADERS,
    LABEL,
    PARAMS,
    STREAM,
    AddedHeaders,
    BaseUrl,
    Folder,
    Frozen,
    Headers,
    Label,
    OtlpUrl,
    ProxyUrl,
    Streaming,
    Suites,
    TraceUrl,
    is_glob,
)
from streambench.config.masking import masked_headers, masked_params
from streambench.config.sections import (
    FILE,
    AttemptSpans,
    Bounds,
    Breakers,
    Budget,
    Compat,
    Compression,
    Content,
    Exporter,
    Limits,
    Load,
    Protocol,
    RateLimits,
    Retry,
    Timeouts,
    Tls,
    TraceShape,
    Warmup,
)
from streambench.metrics.cost import Price
from streambench.metrics.findings import Thresholds
from streambench.quantities import SECONDS, SWITCH, Seconds, Whole
from streambench.records.trace_ids import LINK
from streambench.redaction import MASK, Secrets, mask_url
from streambench.workload.api_formats import Api, ApiMode


class FileGateway(Frozen):
    """A gateway in the config file, with `${NAME}` replaced by its value."""

    base_url: BaseUrl = Field(description="`embedded`, or a URL such as https://gateway.example/v1")
    api_key: str | None = Field(default=None, repr=False, exclude=True, description="${NAME} or none")
    headers: Headers = Field(default_factory=dict, repr=False, exclude=True, description=HEADERS)
    params: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True, description=PARAMS)
    """Sent with every request to this gateway; params of the model and of the prompt override them."""
    limits: RateLimits = RateLimits()
    models: Path | None = Field(default=None, description="the path of a file with the embedded gateway's models")
    include_usage: bool = Field(default=True, description=SWITCH)
    proxy: ProxyUrl | None = Field(
        default=None, description="a URL such as http://proxy.example:3128 or socks5://proxy.example:1080"
    )
    http2: bool = Field(default=False, description=SWITCH)
    tls: Tls = Tls()
    connections: Literal["warm", "reuse", "new"] = Field(default="warm", description="warm, reuse, new")
    on_rate_limit: Literal["count", "pause"] = Field(default="count", description="count, pause")
    """Effect of a 429. `count`: it counts as a failure. `pause`: the model's next requests are delayed."""
    api: Api = Field(default="chat", description=API)
    """The API of the gateway's models that do not set one."""

    @property
    def embedded(self) -> bool:
        """True if streambench serves this gateway itself, with the simulator."""
        return self.base_url == "embedded"

    @field_serializer("base_url", "proxy")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else mask_url(url)

    def __repr_args__(self) -> Any:
        """Returns the masked form of the fields, as in the run's header, without `params`."""
        return (field for field in masked_gateway(self, Secrets()).items() if field[0] != "params")


class Gateway(FileGateway):
    """A resolved gateway. `api_key` is the key itself; None for a server without a key."""

    api_key_source: str | None = None
    """The environment variable that the key came from."""
    models_hash: str | None = None
    """Hash of the data in the file of simulated models (`hash_of_yaml`); None without such a file."""


class Model(Frozen):
    """One model to measure. The alias defaults to the model's name."""

    model: Label = Field(description=LABEL)
    alias: Label = Field(default="", description=LABEL)
    gateway: str = Field(default="", description="the name of a gateway")
    params: dict[str, Any] = Field(default_factory=dict, description=PARAMS)
    headers: AddedHeaders = Field(default_factory=dict, repr=False, exclude=True, description=HEADERS)
    """They override the gateway's headers of the same name."""
    price: Price | None = None
    compare_as: Label | None = Field(default=None, description=LABEL)
    """A common name for a model that gateways list under different names, so that these gateways can be compared."""
    limits: RateLimits = RateLimits()
    include_usage: bool | None = Field(default=None, description=SWITCH)
    """None: the value of its gateway."""
    api: Api | None = Field(default=None, description=API)
    """None in the file: the value of its gateway. `load_config` sets it."""
    stream: Streaming | None = Field(default=None, description=STREAM)
    """None in the file: the value of the run. A resolved model has exactly one mode: two modes make two models."""

    @property
    def ask(self) -> ApiMode:
        """Returns the API and the streaming mode of a resolved model."""
        return ApiMode(self.api or "chat", self.stream != (False,))

    @property
    def picks(self) -> bool:
        """True if the name is a glob, which stands for all models of its gateway that match."""
        return not self.excludes and is_glob(self.model)

    @property
    def excludes(self) -> str:
        """Returns the name or glob after `!`, which globs must not pick; "" without `!`.

        It applies to its gateway, or to all gateways if it names none.
        """
        return self.model[1:] if self.model.startswith("!") else ""

    @model_validator(mode="before")
    @classmethod
    def _alias_defaults_to_model(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("alias") is None and "model" in data:
            return {**data, "alias": data["model"]}
        return data


class Telemetry(Frozen):
    """What is exported with OpenTelemetry. A key without a value uses the OTEL_* environment variables.

    If neither the file nor the environment asks for it, nothing is exported. `timeout` applies to one export,
    `deadline` to everything that is still to be sent at the end of the run; both are in seconds.
    """

    traces: Exporter | None = Field(default=None, description=", ".join(get_args(Exporter)))
    metrics: Exporter | None = Field(default=None, description=", ".join(get_args(Exporter)))
    endpoint: OtlpUrl | None = Field(
        default=None, description="a collector's URL without /v1/traces, such as http://localhost:4318"
    )
    protocol: Protocol | None = Field(default=None, description="http/protobuf, grpc; http/json is not supported")
    headers: Headers = Field(default_factory=dict, repr=False, exclude=True, description=HEADERS)
    """Each overrides the header of the same name from the environment; the environment's other headers are sent too."""
    timeout: Seconds | None = Field(default=None, description=SECONDS)
    compression: Compression | None = Field(default=None, description="gzip, none")
    certificate: Path | None = Field(default=None, description=FILE)
    """CA certificates to verify the collector's certificate with."""
    client_key: Path | None = Field(default=None, description=FILE)
    client_certificate: Path | None = Field(default=None, description=FILE)
    insecure: bool | None = Field(default=None, description=SWITCH)
    """True for gRPC without TLS, if the endpoint has neither http:// nor https://."""
    trace: TraceShape = Field(default="auto", description="auto, run, request")
    """One trace for the run, or one per request. `auto`: one per request if there are more than MANY_REQUESTS."""
    attempts: AttemptSpans = Field(default="auto", description="auto, always")
    """`always`: a request with a single attempt has a span for that attempt too."""
    propagate: bool | None = Field(default=None, description=SWITCH)
    """True if the gateway is sent `traceparent`. None: only if traces are exported."""
    content: Content | None = Field(default=None, description="NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT")
    compat: tuple[Compat, ...] = Field(default=(), description="a list of langfuse, openinference")
    metric_names: Literal["operation", "inference", "both"] = Field(
        default="operation", description="operation, inference, both"
    )
    trace_url: TraceUrl | None = Field(default=None, description=LINK)
    """URL pattern of a trace's page in a trace viewer; the HTML page of a run links each request to it."""
    required: bool = Field(default=False, description=SWITCH)
    """True if a run without a working endpoint is refused."""
    deadline: Seconds = Field(default=10.0, description=SECONDS)

    @field_serializer("endpoint")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else mask_url(url)

    def __repr_args__(self) -> Any:
        """Returns the fields with the values of headers masked, as in the run's header."""
        return masked_telemetry(self, Secrets()).items()


class Settings(Frozen):
    """The keys that the file and the resolved config have in common."""

    name: Label = Field(description=LABEL)
    models: tuple[Model, ...] = Field(
        min_length=1,
        description="a list of models, each a name, a glob (gpt-*), or a mapping such as {model: gpt-4o, alias: big}",
    )
    load: Load = Load()
    repeats: Whole = Field(default=1, ge=1, le=1_000_000, description="a whole number, 1 or more")
    warmup: Warmup = Warmup()
    timeouts: Timeouts = Timeouts()
    bounds: Bounds = Bounds()
    limits: Limits = Limits()
    retry: Retry = Retry()
    breakers: Breakers = Breakers()
    budget: Budget = Budget()
    health: Thresholds = Thresholds()
    telemetry: Telemetry = Telemetry()
    assertions: dict[str, Any] = Field(
        default_factory=dict, validation_alias="assert", description="a mapping such as {ttft_p95_ms: '< 800'}"
    )
    """Limits that each model must meet; `parse_all` in metrics/assertions.py parses them. In the file: `assert`."""
    stream: Streaming = Field(default=(True,), description=STREAM)
    """For models that do not set it: streamed responses, whole responses, or both."""
    seed: Whole = Field(default=0, ge=0, le=2**63 - 1, description="a whole number, 0 or more")
    output: Folder = Field(default=Path("results"), description="a folder path")
    keep_text: bool = Field(default=False, description=SWITCH)
    """True if the journal stores the text of outputs."""
    discovery: bool = Field(default=True, description=SWITCH)
    """True if gateways are asked for their models, by `GET /models`, before a run."""


class FileConfig(Settings):
    """The keys of a config file."""

    gateways: dict[Label, FileGateway] = Field(
        min_length=1, description="a mapping of names to gateways, such as {hub: {base_url: ..., api_key: ...}}"
    )
    suite: Suites | None = Field(
        default=None, min_length=1, description="the path of a suite file, or a list of them (or `prompts:` instead)"
    )
    prompts: list[Any] | None = Field(default=None, description="a list of prompts (or `suite:` with a file)")


def masked_gateway(gateway: FileGateway, secrets: Secrets, hidden: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Returns a gateway as plain JSON data, with secrets masked. `hidden`: headers to mask whatever their name."""
    return {
        **gateway.model_dump(mode="json", exclude={"api", "api_key_source", "models_hash"}),  # each model has its API
        "base_url": secrets.mask(mask_url(gateway.base_url)),
        "api_key": "none" if gateway.api_key is None else MASK,
        "headers": masked_headers(gateway.headers, secrets, hidden),
        **({"params": masked_params(gateway.params, secrets)} if gateway.params else {}),
        "proxy": None if gateway.proxy is None else secrets.mask(mask_url(gateway.proxy)),
    }


def masked_telemetry(telemetry: Telemetry, secrets: Secrets) -> dict[str, Any]:
    """Returns the telemetry settings as plain JSON data.

    All header values are masked: these headers carry keys, and each vendor names them differently.
    """
    endpoint = telemetry.endpoint
    return {
        **telemetry.model_dump(mode="json"),
        "endpoint": None if endpoint is None else secrets.mask(mask_url(endpoint)),
        "headers": dict.fromkeys(telemetry.headers, MASK),
    }
