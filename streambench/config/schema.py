"""What a config may say (FileConfig) and what it comes to (Config): frozen pydantic models, nothing unknown allowed.

On the way: load.py validates into these. A field's `description` is the "accepted" of its error messages.
Relations between keys are checked in checks.py, where they are told even if another part is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    WithJsonSchema,
    field_serializer,
    model_validator,
)

from streambench.apis import Api, Ask
from streambench.config.masked import masked_config, masked_gateway, masked_telemetry, prompt_catalogue
from streambench.config.values import (
    DURATION_FORM,
    SIZE_FORM,
    as_list,
    base_url,
    folder,
    is_glob,
    label,
    not_bool,
    number_or_text,
    otlp_url,
    proxy_url,
    retriable_status,
    seconds,
    size,
    streaming,
    trace_url,
)
from streambench.documents import KeyPath
from streambench.headers import added_name, header_name, header_value
from streambench.records import Phase
from streambench.secrets import Secrets, mask_url
from streambench.suite import Suite
from streambench.trace_ids import LINK

YEAR_S = 366 * 86_400

Whole = Annotated[int, BeforeValidator(not_bool)]
Number = Annotated[float, BeforeValidator(not_bool), Field(allow_inf_nan=False)]
Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0, le=YEAR_S, allow_inf_nan=False),
    WithJsonSchema(number_or_text({"exclusiveMinimum": 0, "maximum": YEAR_S}, DURATION_FORM)),
]
Bytes = Annotated[
    int,
    BeforeValidator(size),
    Field(ge=1_024, le=2**40),
    WithJsonSchema(number_or_text({"minimum": 1_024, "maximum": 2**40}, SIZE_FORM)),
]
Label = Annotated[str, AfterValidator(label)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
ProxyUrl = Annotated[str, AfterValidator(proxy_url)]
OtlpUrl = Annotated[str, AfterValidator(otlp_url)]
TraceUrl = Annotated[str, AfterValidator(trace_url)]
Folder = Annotated[Path, BeforeValidator(folder)]
Streaming = Annotated[tuple[bool, ...], BeforeValidator(streaming)]
"""Streams, whole answers, or both: one or two of true and false."""
Headers = dict[
    Annotated[str, AfterValidator(header_name)],
    Annotated[str, BeforeValidator(header_value), WithJsonSchema({"type": ["string", "number"]})],
]
Suites = Annotated[
    tuple[str, ...],
    BeforeValidator(as_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
AddedHeaders = dict[
    Annotated[str, AfterValidator(added_name)],
    Annotated[str, BeforeValidator(header_value), WithJsonSchema({"type": ["string", "number"]})],
]
"""Beside the gateway's own: without what only the gateway, or the request itself, may say."""

_LABEL = "text on one line (put numbers in quotes)"
_SECONDS = "seconds above 0, as a number or as in 500ms, 90s, 10m, 1h30m"
_BYTES = "bytes from 1024 to 1 TiB, as a number or as in 256KiB, 64MB"
_SWITCH = "true or false"
_PER_MILLION = "USD per million tokens, from 0"
_COUNT = "a whole number from 1"
_STATUSES = "a list of statuses from 400 to 599 but 400, 401, 403, 404 and 422, which are never retried"
_FILE = "a file's path"
_API = "chat, responses, completions"
_STREAM = "true, false, or [true, false] for both"
_EXPORTERS = "otlp, console, none"
_PARAMS = "request parameters, as in {max_tokens: 64}"
_HEADERS = "a mapping of header names to texts on one line"


class Frozen(BaseModel):
    """What all parts share: they cannot be changed, and a key that they do not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class GatewayLimits(Frozen):
    """Caps that keep a run from hurting a server; None is no cap."""

    requests_per_minute: Number | None = Field(default=None, ge=1e-3, le=1e9, description="a number above 0")
    max_concurrency: Whole | None = Field(default=None, ge=1, description="a whole number from 1")


class Tls(Frozen):
    ca_bundle: Path | None = Field(default=None, description=_FILE)
    client_cert: Path | None = Field(default=None, description=_FILE)
    client_key: Path | None = Field(default=None, description=_FILE)
    verify: bool = Field(default=True, description=_SWITCH)


class FileGateway(Frozen):
    """A gateway as the file says it, `${NAME}` filled in."""

    base_url: BaseUrl = Field(description="`embedded`, or a URL such as https://gateway.example/v1")
    api_key: str | None = Field(default=None, repr=False, exclude=True, description="${NAME} or none")
    headers: Headers = Field(default_factory=dict, repr=False, exclude=True, description=_HEADERS)
    params: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True, description=_PARAMS)
    """Of every request to it, below those of the model and the prompt."""
    limits: GatewayLimits = GatewayLimits()
    models: Path | None = Field(default=None, description="the path of a file with the embedded gateway's models")
    include_usage: bool = Field(default=True, description=_SWITCH)
    proxy: ProxyUrl | None = Field(
        default=None, description="a URL such as http://proxy.example:3128 or socks5://proxy.example:1080"
    )
    http2: bool = Field(default=False, description=_SWITCH)
    tls: Tls = Tls()
    connections: Literal["warm", "reuse", "new"] = Field(default="warm", description="warm, reuse, new")
    on_rate_limit: Literal["count", "pause"] = Field(default="count", description="count, pause")
    """What a 429 does: it is one failure among others, or it holds the model's next requests back."""
    api: Api = Field(default="chat", description=_API)
    """Of its models that name none."""

    @property
    def embedded(self) -> bool:
        """Whether streambench serves this gateway itself, simulated."""
        return self.base_url == "embedded"

    @field_serializer("base_url", "proxy")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else mask_url(url)

    def __repr_args__(self) -> Any:
        """Of what may hold a secret only the masked form, as in the run's header."""
        return (said for said in masked_gateway(self, Secrets()).items() if said[0] != "params")


class Gateway(FileGateway):
    """A gateway, resolved. `api_key` is the key itself, None for a server without one."""

    api_key_source: str | None = None
    """The environment variable that the key came from."""
    models_hash: str | None = None
    """Of what the file of simulated models says."""


class Price(Frozen):
    """USD per million tokens, and `per_request` in USD: `money.Price`."""

    input: Number = Field(ge=0, description=_PER_MILLION)
    output: Number = Field(ge=0, description=_PER_MILLION)
    cached: Number | None = Field(default=None, ge=0, description=_PER_MILLION)
    """Of input that was read from a cache, where the usage says how much was; None: as `input`."""
    reasoning: Number | None = Field(default=None, ge=0, description=_PER_MILLION)
    """Of output that was thought, where the usage says how much was; None: as `output`."""
    per_request: Number | None = Field(default=None, ge=0, description="USD for each request, from 0")


class Model(Frozen):
    """One model to measure. Without an alias it goes by its model's name."""

    model: Label = Field(description=_LABEL)
    alias: Label = Field(default="", description=_LABEL)
    gateway: str = Field(default="", description="the name of a gateway")
    params: dict[str, Any] = Field(default_factory=dict, description=_PARAMS)
    headers: AddedHeaders = Field(default_factory=dict, repr=False, exclude=True, description=_HEADERS)
    """Over its gateway's."""
    price: Price | None = None
    compare_as: Label | None = Field(default=None, description=_LABEL)
    """Ties models of several gateways that are one model under different names, to be compared by gateway."""
    limits: GatewayLimits = GatewayLimits()
    include_usage: bool | None = Field(default=None, description=_SWITCH)
    """None: as its gateway says."""
    api: Api | None = Field(default=None, description=_API)
    """None, in the file: as its gateway says."""
    stream: Streaming | None = Field(default=None, description=_STREAM)
    """None, in the file: as the run says. Resolved, it is one: two would be two models."""

    @property
    def ask(self) -> Ask:
        """How a resolved model is asked."""
        return Ask(self.api or "chat", self.stream != (False,))

    @property
    def picks(self) -> bool:
        """Whether it is a glob, and stands for all models of its gateway that match."""
        return not self.excludes and is_glob(self.model)

    @property
    def excludes(self) -> str:
        """The name or glob that `!` keeps globs from picking, of its gateway or, without one, of any; else nothing."""
        return self.model[1:] if self.model.startswith("!") else ""

    @model_validator(mode="before")
    @classmethod
    def _alias_defaults_to_model(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("alias") is None and "model" in data:
            return {**data, "alias": data["model"]}
        return data


class Load(Frozen):
    """`concurrency` holds in closed loop only; `rate`, in requests per second, in open loop only."""

    mode: Literal["closed", "constant", "poisson"] = Field(default="closed", description="closed, constant, poisson")
    concurrency: Whole = Field(default=4, ge=1, le=100_000, description="a whole number from 1")
    rate: Number | None = Field(default=None, ge=1e-6, le=1e6, description="requests per second, a number above 0")


class Warmup(Frozen):
    requests: Whole = Field(default=1, ge=0, le=1_000_000, description="a whole number from 0")
    """For each model."""


class Timeouts(Frozen):
    """In seconds. `first_chunk`: to the first generated chunk; `idle`: between generated chunks; `total`: over all.

    A keep-alive or a chunk that carries nothing ends neither wait.
    """

    connect: Seconds = Field(default=10.0, description=_SECONDS)
    first_chunk: Seconds = Field(default=60.0, description=_SECONDS)
    idle: Seconds = Field(default=30.0, description=_SECONDS)
    total: Seconds = Field(default=600.0, description=_SECONDS)


class Limits(Frozen):
    """When a run ends early; None is no limit. In the file `_s` is left away, as in `duration`.

    `drain`: how long what is under way is waited for after an interrupt.
    """

    duration_s: Seconds | None = Field(default=None, validation_alias="duration", description=_SECONDS)
    requests: Whole | None = Field(default=None, ge=1, description="a whole number from 1")
    drain_s: Seconds = Field(default=30.0, validation_alias="drain", description=_SECONDS)


class Bounds(Frozen):
    """What one answer may bring before we stop listening and call it `too_large`."""

    head_bytes: Bytes = Field(default=256 * 1024, description=_BYTES)
    """Its headers, trailers and chunk extensions together."""
    line_bytes: Bytes = Field(default=1024 * 1024, description=_BYTES)
    """A line of the stream, and all data of one event."""
    stream_bytes: Bytes = Field(default=64 * 1024 * 1024, description=_BYTES)
    """The body, as it comes and once its compression is undone."""
    chunks: Whole = Field(default=200_000, ge=1, le=10_000_000, description="a whole number from 1 to 10000000")
    text_chars: Whole = Field(default=1_000_000, ge=1, le=2**40, description="characters, a whole number from 1")
    """Only with `keep_text`, of what is to be kept; and of an answer that a conversation goes on from."""


RetryOn = Literal[
    "connect_error",
    "http_error",
    "not_a_stream",
    "stream_error",
    "timeout",
    "disconnected",
    "malformed",
    "truncated",
    "empty",
]
"""The outcomes that another attempt may mend: `retries.RETRIABLE`."""


class Retry(Frozen):
    """When a failed request is tried again, and after how long; `attempts: 1` is never. Waits are in seconds."""

    attempts: Whole = Field(default=1, ge=1, le=100, description="a whole number from 1 (no retries) to 100")
    on: tuple[RetryOn, ...] = Field(
        default=("connect_error", "http_error", "stream_error", "timeout", "disconnected"),
        description=f"a list of outcomes from {', '.join(get_args(RetryOn))}",
    )
    statuses: tuple[Annotated[Whole, Field(ge=400, le=599), AfterValidator(retriable_status)], ...] = Field(
        default=(408, 409, 429, 500, 502, 503, 504, 529), description=_STATUSES
    )
    """Of an `http_error`, those that are tried again."""
    backoff: Seconds = Field(default=0.5, description=_SECONDS)
    """Before the second attempt; `factor` times as long before each further one, up to `max_backoff`."""
    factor: Number = Field(default=2.0, ge=1, le=100, description="a number from 1 to 100")
    max_backoff: Seconds = Field(default=30.0, description=_SECONDS)
    jitter: Number = Field(default=0.25, ge=0, le=1, description="a share from 0 to 1")
    max_retry_after: Seconds = Field(default=120.0, description=_SECONDS)
    """The longest wait that a gateway may ask for; a request that should wait longer is not tried again."""
    phases: tuple[Phase, ...] = Field(
        default=("warmup", "measure"), min_length=1, description="a list of warmup, measure"
    )


class FailureShare(Frozen):
    """Stops the run once more than `limit` of its requests failed, judged from the `after`th on."""

    limit: Number = Field(default=0.5, gt=0, lt=1, description="a share above 0 and below 1, as in 0.5")
    after: Whole = Field(default=20, ge=1, description=_COUNT)


class Breakers(Frozen):
    """What ends a run, or a model's part of it, before its plan does; None is never."""

    failures_in_a_row: Whole | None = Field(default=None, ge=1, description=_COUNT)
    """So many of one model, and it is set aside; the others go on."""
    failure_share: FailureShare | None = None
    key_refused: bool = Field(default=True, description=_SWITCH)
    """Whether a 401 or 403 stops the run at once."""


class Budget(Frozen):
    """What a run may spend, warm-up and retries included; None is no limit. In the file `_s` is left away."""

    requests: Whole | None = Field(default=None, ge=1, description=_COUNT)
    tokens: Whole | None = Field(default=None, ge=1, description="input and output tokens, a whole number from 1")
    usd: Number | None = Field(default=None, gt=0, description="US dollars, a number above 0")
    duration_s: Seconds | None = Field(default=None, validation_alias="duration", description=_SECONDS)


class Health(Frozen):
    """From when on a stream's facts are findings: `findings.Thresholds`, where each is explained, with its defaults."""

    stall_ms: Number = Field(default=500.0, gt=0, description="milliseconds, a number above 0")
    min_chunks: Whole = Field(default=8, ge=2, description="a whole number from 2")
    buffered_reads: Whole = Field(default=2, ge=1, description="a whole number from 1")
    buffered_share: Number = Field(default=0.05, ge=0, le=1, description="a share from 0 to 1")
    buffered_chunk_ms: Number = Field(default=1.0, ge=0, description="milliseconds, a number from 0")
    coalesced_share: Number = Field(default=0.2, ge=0, le=1, description="a share from 0 to 1")
    max_characters_per_token: Number = Field(default=16.0, gt=0, description="a number above 0")
    min_characters_per_token: Number = Field(default=0.25, ge=0, description="a number from 0")
    unseen_tokens: Whole = Field(default=16, ge=0, description="a whole number from 0")
    invented_tokens_per_chunk: Number = Field(default=2.0, ge=1, description="a number from 1")


Exporter = Literal["otlp", "console", "none"]


class Telemetry(Frozen):
    """What goes out by OpenTelemetry; None is as the OTEL_* environment says, and without a word from it: nothing.

    `timeout` is of one export, `deadline` of all that is still to be sent at the end; both in seconds.
    """

    traces: Exporter | None = Field(default=None, description=_EXPORTERS)
    metrics: Exporter | None = Field(default=None, description=_EXPORTERS)
    endpoint: OtlpUrl | None = Field(
        default=None, description="a collector's URL without /v1/traces, such as http://localhost:4318"
    )
    protocol: Literal["http/protobuf", "grpc"] | None = Field(
        default=None, description="http/protobuf, grpc; http/json is not supported"
    )
    headers: Headers = Field(default_factory=dict, repr=False, exclude=True, description=_HEADERS)
    """Each wins over one of the same name in the environment; the others of the environment are sent as well."""
    timeout: Seconds | None = Field(default=None, description=_SECONDS)
    compression: Literal["gzip", "none"] | None = Field(default=None, description="gzip, none")
    certificate: Path | None = Field(default=None, description=_FILE)
    """Of the authorities that the collector is trusted by."""
    client_key: Path | None = Field(default=None, description=_FILE)
    client_certificate: Path | None = Field(default=None, description=_FILE)
    insecure: bool | None = Field(default=None, description=_SWITCH)
    """gRPC without TLS, where the endpoint is named without http:// or https://."""
    trace: Literal["auto", "run", "request"] = Field(default="auto", description="auto, run, request")
    """One trace for the run, or one for each request; `auto`: for each request where there are many."""
    attempts: Literal["auto", "always"] = Field(default="auto", description="auto, always")
    """Whether a request with a single attempt has a span for it."""
    propagate: bool | None = Field(default=None, description=_SWITCH)
    """Whether the gateway is sent `traceparent`; None: where traces go out."""
    content: Literal["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"] | None = Field(
        default=None, description="NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT"
    )
    compat: tuple[Literal["langfuse", "openinference"], ...] = Field(
        default=(), description="a list of langfuse, openinference"
    )
    metric_names: Literal["operation", "inference", "both"] = Field(
        default="operation", description="operation, inference, both"
    )
    trace_url: TraceUrl | None = Field(default=None, description=LINK)
    """Where a trace can be looked at; the page links each request there."""
    required: bool = Field(default=False, description=_SWITCH)
    """Whether a run without a working endpoint is refused."""
    deadline: Seconds = Field(default=10.0, description=_SECONDS)

    @field_serializer("endpoint")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else mask_url(url)

    def __repr_args__(self) -> Any:
        """Without the values of headers, as in the run's header."""
        return masked_telemetry(self, Secrets()).items()


class Settings(Frozen):
    """What the file and the resolved config have in common."""

    name: Label = Field(description=_LABEL)
    models: tuple[Model, ...] = Field(
        min_length=1,
        description="a list of models, each a name, a glob (gpt-*), or a mapping such as {model: gpt-4o, alias: big}",
    )
    load: Load = Load()
    repeats: Whole = Field(default=1, ge=1, le=1_000_000, description="a whole number from 1")
    warmup: Warmup = Warmup()
    timeouts: Timeouts = Timeouts()
    bounds: Bounds = Bounds()
    limits: Limits = Limits()
    retry: Retry = Retry()
    breakers: Breakers = Breakers()
    budget: Budget = Budget()
    health: Health = Health()
    telemetry: Telemetry = Telemetry()
    assertions: dict[str, Any] = Field(
        default_factory=dict, validation_alias="assert", description="a mapping such as {ttft_p95_ms: '< 800'}"
    )
    """What each model must keep: `assertions.parse_all` reads it. In the file `assert`."""
    stream: Streaming = Field(default=(True,), description=_STREAM)
    """For models that do not say: streams, whole answers, or both."""
    seed: Whole = Field(default=0, ge=0, le=2**63 - 1, description="a whole number from 0")
    output: Folder = Field(default=Path("results"), description="a folder's path")
    keep_text: bool = Field(default=False, description=_SWITCH)
    """Whether the journal keeps the text of outputs."""
    discovery: bool = Field(default=True, description=_SWITCH)
    """Whether gateways are asked what they offer, by `GET /models`, before a run."""


class FileConfig(Settings):
    """The file's keys."""

    gateways: dict[Label, FileGateway] = Field(
        min_length=1, description="a mapping of names to gateways, as in {hub: {base_url: ..., api_key: ...}}"
    )
    suite: Suites | None = Field(
        default=None, min_length=1, description="the path of a suite file, or a list of them (or `prompts:` instead)"
    )
    prompts: list[Any] | None = Field(default=None, description="a list of prompts (or `suite:` with a file)")


class Config(Settings):
    """A run's config, resolved: defaults filled in, secrets and files found, the suite loaded.

    Neither its repr nor a dump of it holds a key; `masked()` is its form for storing.
    """

    gateways: dict[str, Gateway]
    suite: InstanceOf[Suite] = Field(repr=False, exclude=True)
    suite_path: str | None = None
    """The suite's path as the file says it, several with commas; None for prompts inside the config."""
    secrets: InstanceOf[Secrets] = Field(default_factory=Secrets, repr=False, exclude=True)
    from_variables: frozenset[KeyPath] = Field(default=frozenset(), repr=False, exclude=True)
    """Where in the file a `${NAME}` stood."""

    def __repr__(self) -> str:
        return self.secrets.mask(super().__repr__())

    def __str__(self) -> str:
        return repr(self)

    def masked(self) -> dict[str, Any]:
        """The config as plain JSON data for the run's header: no key, no password, no prompt."""
        return masked_config(self)

    def catalogue(self) -> dict[str, dict[str, Any]]:
        """What the run's header tells of each prompt, by id: tags, lengths, settings, and no text."""
        return prompt_catalogue(self)
