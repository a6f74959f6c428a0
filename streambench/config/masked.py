"""A resolved config as plain JSON data without secrets and prompts: what the run's header stores and reprs show.

On the way: config -> run.json. Which headers came from a variable is known by their path in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from streambench.conversation import begin
from streambench.images import images_of
from streambench.secrets import MASK, Secrets, is_secret_name, mask_url
from streambench.suite import Prompt, texts_in

if TYPE_CHECKING:
    from streambench.config.schema import Config, FileGateway, Load, Model, Telemetry

MAX_TEXT = 200

TOLD_PARAMS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "n",
        "stop",
        "reasoning_effort",
        "service_tier",
    }
)
"""Of a prompt's own params those that are settings, not words."""


def masked_config(config: Config) -> dict[str, Any]:
    judged = {"assertions": _params(config.assertions, config.secrets)} if config.assertions else {}
    return judged | {
        "name": config.name,
        "gateways": {name: _gateway_of(config, name) for name in config.gateways},
        "models": [_model(model, config.secrets, _filled_in_headers(config)) for model in config.models],
        "suite": {
            "name": config.suite.name,
            "path": config.suite_path,
            "hash": config.suite.hash,
            "prompts": len(config.suite.prompts),
        },
        "load": _load(config.load),
        "repeats": config.repeats,
        "warmup": config.warmup.model_dump(),
        "timeouts": config.timeouts.model_dump(),
        "bounds": config.bounds.model_dump(),
        "limits": config.limits.model_dump(),
        "retry": config.retry.model_dump(mode="json"),
        "breakers": config.breakers.model_dump(),
        "budget": config.budget.model_dump(),
        "health": config.health.model_dump(),
        "telemetry": masked_telemetry(config.telemetry, config.secrets),
        "seed": config.seed,
        "output": str(config.output),
        "keep_text": config.keep_text,
    }


def prompt_catalogue(config: Config) -> dict[str, dict[str, Any]]:
    """What may be told of each prompt, by its id: tags, messages and characters (of the first request of a
    conversation), settings, facts of turns; no text.
    """
    return {
        prompt.id: {
            "tags": list(prompt.tags),
            "messages": len(begin(prompt).messages),
            "chars": sum(len(text) for message in begin(prompt).messages for text in texts_in(message.get("content"))),
            **_images(prompt),
            "params": _params({k: v for k, v in prompt.params.items() if k in TOLD_PARAMS}, config.secrets),
            **({"turns": [asdict(turn.facts) for turn in prompt.turns]} if prompt.turns else {}),
        }
        for prompt in config.suite.prompts
    }


def _images(prompt: Prompt) -> dict[str, int]:
    """How many, where there are some; their bytes count as no characters."""
    count = images_of(begin(prompt).messages)
    return {"images": count} if count else {}


def _gateway_of(config: Config, name: str) -> dict[str, Any]:
    at = ("gateways", name, "headers")
    hidden = frozenset(str(path[3]) for path in config.from_variables if path[:3] == at and len(path) > len(at))
    gateway = config.gateways[name]
    plain = masked_gateway(gateway, config.secrets, hidden)
    for path in config.from_variables:
        if path[:3] == ("gateways", name, "params"):
            _hide(plain["params"], path[3:])
    return plain | {"api_key_source": gateway.api_key_source, "models_hash": gateway.models_hash}


def _hide(value: Any, path: Sequence[Any]) -> None:
    """By its place, as a short value is not known by its looks."""
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = MASK


def masked_gateway(gateway: FileGateway, secrets: Secrets, hidden: frozenset[str] = frozenset()) -> dict[str, Any]:
    """`hidden`: headers to mask whatever their name."""
    return {
        "base_url": secrets.mask(mask_url(gateway.base_url)),
        "api_key": "none" if gateway.api_key is None else MASK,
        "headers": _headers(gateway.headers, secrets, hidden),
        **({"params": _params(gateway.params, secrets)} if gateway.params else {}),
        "limits": gateway.limits.model_dump(),
        "models": None if gateway.models is None else str(gateway.models),
        "include_usage": gateway.include_usage,
        "proxy": None if gateway.proxy is None else secrets.mask(mask_url(gateway.proxy)),
        "http2": gateway.http2,
        "tls": gateway.tls.model_dump(mode="json"),
        "connections": gateway.connections,
        "on_rate_limit": gateway.on_rate_limit,
    }


def masked_telemetry(telemetry: Telemetry, secrets: Secrets) -> dict[str, Any]:
    """Of headers only the names: they are there to carry keys, and vendors name them as they like."""
    endpoint = telemetry.endpoint
    return {
        **telemetry.model_dump(mode="json"),
        "endpoint": None if endpoint is None else secrets.mask(mask_url(endpoint)),
        "headers": dict.fromkeys(telemetry.headers, MASK),
    }


def _model(model: Model, secrets: Secrets, hidden: frozenset[str]) -> dict[str, Any]:
    """How it is asked is said where that is not by a streamed chat, and headers where there are some: runs from before
    there was a choice are still the same.
    """
    ask = model.ask
    told: dict[str, Any] = {"api": ask.api} if ask.api != "chat" else {}
    told |= {} if ask.streamed else {"stream": False}
    told |= {"headers": _headers(model.headers, secrets, hidden)} if model.headers else {}
    return {**model.model_dump(exclude={"api", "stream"}), **told, "params": _params(model.params, secrets)}


def _filled_in_headers(config: Config) -> frozenset[str]:
    """Names of the models' headers that came from a variable in any of them."""
    return frozenset(str(path[3]) for path in config.from_variables if path[0] == "models" and len(path) > 3)


def _headers(headers: Mapping[str, str], secrets: Secrets, hidden: frozenset[str]) -> dict[str, str]:
    return {
        name: MASK if name in hidden or is_secret_name(name) else secrets.mask(value) for name, value in headers.items()
    }


def _params(value: Any, secrets: Secrets, name: str = "") -> Any:
    """Parameters are kept, but for long texts and for what is a key after all."""
    match value:
        case Mapping():
            return {key: _params(inner, secrets, str(key)) for key, inner in value.items()}
        case list():
            return [_params(inner, secrets, name) for inner in value]
        case str() if is_secret_name(name):
            return MASK
        case str() if len(value) > MAX_TEXT:
            return f"<text of {len(value)} characters>"
        case str():
            return secrets.mask(value)
    return value


def _load(load: Load) -> dict[str, Any]:
    """Only what rules in this mode."""
    if load.mode == "closed":
        return {"mode": load.mode, "concurrency": load.concurrency}
    return {"mode": load.mode, "rate": load.rate}
