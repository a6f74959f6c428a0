"""The sections of a config that the rules of a run read: plain frozen dataclasses, with their fields and defaults.

schema.py gives them to pydantic, which validates them when it loads a file. The rules import them from here, which does
not load pydantic: `runner/retry.py` reads Retry, `runner/breakers.py` reads Breakers and Budget, and so on. Price is in
metrics/cost.py and Thresholds, the `health` section, in metrics/findings.py, as their rules stand before this package.

The docstring of each section is its description in `configs/schema.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Le

from streambench.quantities import (
    BYTES,
    COUNT,
    NO_OTHER_KEYS,
    SECONDS,
    SWITCH,
    Bytes,
    Number,
    Parsed,
    Seconds,
    Whole,
    not_bool,
    setting,
)
from streambench.records.schema import Phase

NEVER_RETRIED = (400, 401, 403, 404, 422)
"""HTTP statuses that are never retried: the same request would get the same status again."""
FILE = "a file path"

Exporter = Literal["otlp", "console", "none"]
Protocol = Literal["http/protobuf", "grpc"]
Compression = Literal["gzip", "none"]
Content = Literal["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"]
TraceShape = Literal["auto", "run", "request"]
AttemptSpans = Literal["auto", "always"]
Compat = Literal["langfuse", "openinference"]
"""What the `telemetry` section and the OTEL_* variables may say."""
LoadMode = Literal["closed", "constant", "poisson"]
OPEN_LOOPS = tuple(mode for mode in get_args(LoadMode) if mode != "closed")
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
"""The outcomes that may be retried. Not `ok`, `cancelled`, `client_error` or `too_large`."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Limits that protect a server from too many requests. A key without a value sets no limit."""

    __pydantic_config__ = NO_OTHER_KEYS

    requests_per_minute: Number | None = setting(None, "a number above 0", ge=1e-3, le=1e9)
    max_concurrency: Whole | None = setting(None, COUNT, ge=1)


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates for the connections to a gateway."""

    __pydantic_config__ = NO_OTHER_KEYS

    ca_bundle: Path | None = setting(None, FILE)
    client_cert: Path | None = setting(None, FILE)
    client_key: Path | None = setting(None, FILE)
    verify: bool = setting(default=True, accepted=SWITCH)


@dataclass(frozen=True, slots=True)
class Load:
    """How requests are sent. `concurrency` applies to closed loop only; `rate` (requests per second) to open loop."""

    __pydantic_config__ = NO_OTHER_KEYS

    mode: LoadMode = setting("closed", ", ".join(get_args(LoadMode)))
    concurrency: Whole = setting(4, COUNT, ge=1, le=100_000)
    rate: Number | None = setting(None, "requests per second, a number above 0", ge=1e-6, le=1e6)

    @property
    def closed(self) -> bool:
        """True for a closed loop: `concurrency` requests are open at a time. False if requests are sent at a rate."""
        return self.mode == "closed"

    @property
    def per_second(self) -> float:
        """Returns the rate of an open loop. Raises ValueError if it has none."""
        if self.rate is None:
            raise ValueError(f"mode {self.mode} is an open loop and needs a rate")
        return self.rate


@dataclass(frozen=True, slots=True)
class Warmup:
    """Requests that are sent before the measured ones and count in no result."""

    __pydantic_config__ = NO_OTHER_KEYS

    requests: Whole = setting(1, "a whole number, 0 or more", ge=0, le=1_000_000)
    """Per model."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds. `first_chunk`: until the first generated chunk; `idle`: between two generated chunks;
    `total`: until the end of the response.

    Keep-alives and empty chunks do not count as generated chunks.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    connect: Seconds = setting(10.0, SECONDS)
    first_chunk: Seconds = setting(60.0, SECONDS)
    idle: Seconds = setting(30.0, SECONDS)
    total: Seconds = setting(600.0, SECONDS)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run ends early. A key without a value sets no limit. The file's keys have no `_s`: `duration`, `drain`.

    `drain`: how long to wait for requests in flight after an interrupt.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    duration_s: Seconds | None = setting(None, SECONDS, validation_alias="duration")
    requests: Whole | None = setting(None, COUNT, ge=1)
    drain_s: Seconds = setting(30.0, SECONDS, validation_alias="drain")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Size limits of one response. A response that exceeds one is cut off with the outcome `too_large`."""

    __pydantic_config__ = NO_OTHER_KEYS

    head_bytes: Bytes = setting(256 * 1024, BYTES)
    """The headers, trailers and chunk extensions of a response together."""
    line_bytes: Bytes = setting(1024 * 1024, BYTES)
    """One line of the stream, and the data of one event."""
    stream_bytes: Bytes = setting(64 * 1024 * 1024, BYTES)
    """The body, both as received and after decompression."""
    chunks: Whole = setting(200_000, "a whole number from 1 to 10000000", ge=1, le=10_000_000)
    """Events with data, whatever they contain."""
    text_chars: Whole = setting(1_000_000, "characters: a whole number, 1 or more", ge=1, le=2**40)
    """Limits text that is kept: for `keep_text`, for telemetry with content, or for a conversation's next turn."""


def _retriable(status: Any) -> Any:
    """Returns the status. Raises ValueError for a bool and for a status that is never retried."""
    number = status.strip() if isinstance(status, str) else not_bool(status)
    if number in NEVER_RETRIED or number in map(str, NEVER_RETRIED):
        raise ValueError("is never retried: the same request would fail again")
    return status


RetriableStatus = Annotated[int, Parsed(_retriable), Ge(400), Le(599)]


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed request is retried, and after how long; `attempts: 1` means no retries. Waits are in seconds."""

    __pydantic_config__ = NO_OTHER_KEYS

    attempts: Whole = setting(1, "a whole number from 1 (no retries) to 100", ge=1, le=100)
    on: tuple[RetryOn, ...] = setting(
        ("connect_error", "http_error", "stream_error", "timeout", "disconnected"),
        f"a list of outcomes from {', '.join(get_args(RetryOn))}",
    )
    statuses: tuple[RetriableStatus, ...] = setting(
        (408, 409, 429, 500, 502, 503, 504, 529),
        "a list of statuses from 400 to 599, except 400, 401, 403, 404 and 422, which are never retried",
    )
    """The HTTP statuses for which an `http_error` is retried."""
    backoff: Seconds = setting(0.5, SECONDS)
    """Wait before the second attempt; each further wait is `factor` times as long, up to `max_backoff`."""
    factor: Number = setting(2.0, "a number from 1 to 100", ge=1, le=100)
    max_backoff: Seconds = setting(30.0, SECONDS)
    jitter: Number = setting(0.25, "a share from 0 to 1", ge=0, le=1)
    """The share by which a wait is randomly longer or shorter. A wait that the gateway asked for is never shortened."""
    max_retry_after: Seconds = setting(120.0, SECONDS)
    """The longest wait that a gateway may ask for; a request that should wait longer is not retried."""
    phases: tuple[Phase, ...] = setting(("warmup", "measure"), "a list of warmup, measure", min_length=1)

    def covers(self, phase: Phase) -> bool:
        """True if requests of this phase may be retried."""
        return self.attempts > 1 and phase in self.phases


@dataclass(frozen=True, slots=True)
class FailureShare:
    """Stops the run if more than the share `limit` of its requests failed; checked once `after` requests have ended."""

    __pydantic_config__ = NO_OTHER_KEYS

    limit: Number = setting(0.5, "a share above 0 and below 1, such as 0.5", gt=0, lt=1)
    after: Whole = setting(20, COUNT, ge=1)


@dataclass(frozen=True, slots=True)
class Breakers:
    """Conditions that end a run, or its requests to one model, before the plan is complete.

    A condition without a value is off.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    failures_in_a_row: Whole | None = setting(None, COUNT, ge=1)
    """After this number of failures in a row, a model gets no more requests; the other models go on."""
    failure_share: FailureShare | None = None
    key_refused: bool = setting(default=True, accepted=SWITCH)
    """True if a 401 or 403 stops the run at once."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend, including warm-up and retries. A key without a value sets no limit.

    The file's key for `duration_s` is `duration`.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    requests: Whole | None = setting(None, COUNT, ge=1)
    """Attempts that are sent."""
    tokens: Whole | None = setting(None, "input and output tokens: a whole number, 1 or more", ge=1)
    usd: Number | None = setting(None, "US dollars, a number above 0", gt=0)
    duration_s: Seconds | None = setting(None, SECONDS, validation_alias="duration")

    @property
    def counts(self) -> bool:
        """True if the tokens or cost of each request must be counted."""
        return self.tokens is not None or self.usd is not None
