"""What a config may say (FileConfig) and what it comes to (Config): frozen pydantic models, nothing unknown allowed.

On the way: load.py validates into these. A field's `description` is the "accepted" of its error messages.
Relations between keys are checked in checks.py, where they are told even if another part is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    field_serializer,
    model_validator,
)

from streambench.config.masked import masked_config, masked_gateway
from streambench.config.values import (
    base_url,
    folder,
    header_name,
    header_value,
    label,
    not_bool,
    proxy_url,
    seconds,
)
from streambench.documents import KeyPath
from streambench.secrets import Secrets, mask_url
from streambench.suite import Suite

YEAR_S = 366 * 86_400

Whole = Annotated[int, BeforeValidator(not_bool)]
Number = Annotated[float, BeforeValidator(not_bool), Field(allow_inf_nan=False)]
Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0, le=YEAR_S, allow_inf_nan=False)]
Label = Annotated[str, AfterValidator(label)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
ProxyUrl = Annotated[str, AfterValidator(proxy_url)]
Folder = Annotated[Path, BeforeValidator(folder)]
Headers = dict[Annotated[str, AfterValidator(header_name)], Annotated[str, BeforeValidator(header_value)]]

_LABEL = "text on one line (put numbers in quotes)"
_SECONDS = "seconds above 0, as a number or as in 500ms, 90s, 10m, 1h30m"
_SWITCH = "true or false"
_FILE = "a file's path"


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
    headers: Headers = Field(
        default_factory=dict, repr=False, exclude=True, description="a mapping of header names to texts on one line"
    )
    limits: GatewayLimits = GatewayLimits()
    models: Path | None = Field(default=None, description="the path of a file with the embedded gateway's models")
    include_usage: bool = Field(default=True, description=_SWITCH)
    proxy: ProxyUrl | None = Field(
        default=None, description="a URL such as http://proxy.example:3128 or socks5://proxy.example:1080"
    )
    http2: bool = Field(default=False, description=_SWITCH)
    tls: Tls = Tls()
    connections: Literal["warm", "reuse", "new"] = Field(default="warm", description="warm, reuse, new")

    @property
    def embedded(self) -> bool:
        """Whether streambench serves this gateway itself, simulated."""
        return self.base_url == "embedded"

    @field_serializer("base_url", "proxy")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else mask_url(url)

    def __repr_args__(self) -> Any:
        """Of what may hold a secret only the masked form, as in the run's header."""
        return masked_gateway(self, Secrets()).items()


class Gateway(FileGateway):
    """A gateway, resolved. `api_key` is the key itself, None for a server without one."""

    api_key_source: str | None = None
    """The environment variable that the key came from."""


class Price(Frozen):
    """USD per million tokens."""

    input: Number = Field(ge=0, description="USD per million tokens, from 0")
    output: Number = Field(ge=0, description="USD per million tokens, from 0")


class Model(Frozen):
    """One model to measure. Without an alias it goes by its model's name."""

    model: Label = Field(description=_LABEL)
    alias: Label = Field(default="", description=_LABEL)
    gateway: str = Field(default="", description="the name of a gateway")
    params: dict[str, Any] = Field(default_factory=dict, description="request parameters, as in {max_tokens: 64}")
    price: Price | None = None
    limits: GatewayLimits = GatewayLimits()
    include_usage: bool | None = Field(default=None, description=_SWITCH)
    """None: as its gateway says."""

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
    """When a run ends early; None is no limit. In the file the first is called `duration`."""

    duration_s: Seconds | None = Field(default=None, validation_alias="duration", description=_SECONDS)
    requests: Whole | None = Field(default=None, ge=1, description="a whole number from 1")


class Settings(Frozen):
    """What the file and the resolved config have in common."""

    name: Label = Field(description=_LABEL)
    models: tuple[Model, ...] = Field(
        min_length=1, description="a list of models, each a name or a mapping such as {model: gpt-4o, alias: big}"
    )
    load: Load = Load()
    repeats: Whole = Field(default=1, ge=1, le=1_000_000, description="a whole number from 1")
    warmup: Warmup = Warmup()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    seed: Whole = Field(default=0, ge=0, le=2**63 - 1, description="a whole number from 0")
    output: Folder = Field(default=Path("results"), description="a folder's path")
    keep_text: bool = Field(default=False, description=_SWITCH)
    """Whether the journal keeps the text of outputs."""


class FileConfig(Settings):
    """The file's keys."""

    gateways: dict[Label, FileGateway] = Field(
        min_length=1, description="a mapping of names to gateways, as in {hub: {base_url: ..., api_key: ...}}"
    )
    suite: str | None = Field(default=None, description="the path of a suite file (or `prompts:` with a list)")
    prompts: list[Any] | None = Field(default=None, description="a list of prompts (or `suite:` with a file)")


class Config(Settings):
    """A run's config, resolved: defaults filled in, secrets and files found, the suite loaded.

    Neither its repr nor a dump of it holds a key; `masked()` is its form for storing.
    """

    gateways: dict[str, Gateway]
    suite: InstanceOf[Suite] = Field(repr=False, exclude=True)
    suite_path: str | None = None
    """The suite's path as the file says it; None for prompts inside the config."""
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
