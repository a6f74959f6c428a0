"""The facts about a run that all its spans need, read once from its header."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from streambench.config.sections import Compat
from streambench.metrics.findings import Thresholds, thresholds_of
from streambench.records.schema import AttemptRecord, RunHeader, RunTrace
from streambench.records.trace_ids import model_span_id
from streambench.telemetry.span_model import SpanId, Value
from streambench.workload.api_formats import PATHS

OPERATIONS: Mapping[str, str] = {"completions": "text_completion"}
"""`gen_ai.operation.name` by API, if it is not `chat`."""

_NUMBERS: Mapping[str, str] = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
}
_WHOLE = frozenset({"max_tokens", "max_completion_tokens", "top_k", "seed"})


@dataclass(frozen=True, slots=True)
class ModelContext:
    """One model of the config, in the form that its spans need."""

    alias: str
    asked: str
    """The model's name at the gateway."""
    gateway: str
    span: SpanId
    common: Mapping[str, Value]
    """Attributes of both spans and points: operation, provider, model, server."""
    request: Mapping[str, Value]
    """Attributes of request spans only: the parameters."""
    url: str | None
    path: str | None


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run's header, in the form that its spans need."""

    header: RunHeader
    trace: RunTrace
    models: Mapping[str, ModelContext]
    everywhere: Mapping[str, Value]
    """Attributes of every span."""
    thresholds: Thresholds
    prompt_params: Mapping[str, Mapping[str, Value]]
    """Attributes of each prompt's parameters, by prompt id; they override the model's."""
    compat: frozenset[Compat] = field(default_factory=frozenset)

    @property
    def run_span(self) -> SpanId:
        return SpanId(self.trace.trace_id, self.trace.span_id, self.trace.sampled)

    def wall_ns(self, record: AttemptRecord) -> int:
        """Returns the attempt's start in wall-clock nanoseconds since 1970."""
        return self.header.started_wall_ns(record)


def about_run(header: RunHeader, compat: frozenset[Compat] = frozenset()) -> RunContext:
    """Returns the context of a run, from its header alone."""
    config = header.config
    trace = header.trace or _derived(header)
    gateways = config.get("gateways") or {}
    models = [_model(plain, gateways, trace) for plain in config.get("models") or ()]
    catalogue = header.suite.get("catalogue") or {}
    return RunContext(
        header=header,
        trace=trace,
        models={model.alias: model for model in models},
        everywhere={
            "streambench.run.id": header.run_id,
            "streambench.suite.name": str(header.suite.get("name", "")),
            "streambench.suite.hash": str(header.suite.get("hash", "")),
        },
        thresholds=thresholds_of(config),
        prompt_params={name: parameters(facts.get("params") or {}) for name, facts in catalogue.items()},
        compat=compat,
    )


def parameters(params: Mapping[str, Any]) -> dict[str, Value]:
    """Returns a request's parameters as attributes of the convention; other parameters are left out."""
    attributes: dict[str, Value] = {}
    for name, attribute in _NUMBERS.items():
        value = params.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            attributes[attribute] = int(value) if name in _WHOLE else float(value)
    choices = params.get("n")
    if isinstance(choices, int) and not isinstance(choices, bool) and choices != 1:
        attributes["gen_ai.request.choice.count"] = choices
    stop = params.get("stop")
    if isinstance(stop, str) or (isinstance(stop, list) and all(isinstance(one, str) for one in stop)):
        attributes["gen_ai.request.stop_sequences"] = (stop,) if isinstance(stop, str) else tuple(stop)
    effort = params.get("reasoning_effort")
    if isinstance(effort, str):
        attributes["gen_ai.request.reasoning.level"] = effort
    tier = params.get("service_tier")
    if isinstance(tier, str):
        attributes["openai.request.service_tier"] = tier
    wanted = params.get("response_format")
    if isinstance(wanted, Mapping):
        attributes["gen_ai.output.type"] = "text" if wanted.get("type") == "text" else "json"
    return attributes


def _model(plain: Mapping[str, Any], gateways: Mapping[str, Any], trace: RunTrace) -> ModelContext:
    alias, asked, name = str(plain.get("alias")), str(plain.get("model")), str(plain.get("gateway"))
    gateway = gateways.get(name) or {}
    base = str(gateway.get("base_url") or "")
    api = str(plain.get("api") or "chat")
    return ModelContext(
        alias=alias,
        asked=asked,
        gateway=name,
        span=SpanId(trace.trace_id, model_span_id(trace, alias), trace.sampled),
        common={
            "gen_ai.operation.name": OPERATIONS.get(api, "chat"),
            "gen_ai.provider.name": str(gateway.get("provider") or "openai"),
            "gen_ai.request.model": asked,
            **_server(base),
        },
        request=parameters(plain.get("params") or {}),
        url=_url(base, api),
        path=_path(base, api),
    )


def _server(base: str) -> dict[str, Value]:
    """Returns no attributes for the embedded gateway, whose port differs in each run."""
    url = urlsplit(base)
    if not url.hostname:
        return {}
    return {"server.address": url.hostname, "server.port": url.port or (443 if url.scheme == "https" else 80)}


def _path(base: str, api: str) -> str | None:
    url = urlsplit(base)
    return url.path.rstrip("/") + PATHS.get(api, PATHS["chat"]) if url.hostname else None


def _url(base: str, api: str) -> str | None:
    """Returns the URL without user, password and query; None if the base URL has no host."""
    url = urlsplit(base)
    if not url.hostname:
        return None
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{host}{f':{url.port}' if url.port else ''}{_path(base, api)}"


def _derived(header: RunHeader) -> RunTrace:
    """Returns ids derived from the run id, for old runs that stored none. Each request has its own trace."""
    digest = hashlib.sha256(header.run_id.encode()).hexdigest()
    return RunTrace(digest[:32], digest[32:48], shape="request")
