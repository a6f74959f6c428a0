"""The resolved config of a run: from a mapping with the keys of a config file, or by `load_config` from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from pydantic import Field, InstanceOf

from streambench.config.draft import Draft
from streambench.config.masking import hide, masked_headers, masked_params, prompt_catalogue
from streambench.config.resolution import resolved
from streambench.config.schema import Gateway, Model, Settings, masked_gateway, masked_telemetry
from streambench.config.sections import Load
from streambench.documents import Document, KeyPath
from streambench.redaction import Secrets
from streambench.workload.suite import Suite

IN_PYTHON = "Config"
"""Named in error messages instead of a file."""


class Config(Settings):
    """A run's resolved config: defaults filled in, secrets and files found, the suite loaded.

    `Config(gateways={...}, models=[...], prompts=[...])` takes the keys of a config file: `${NAME}` is replaced from
    the environment, and paths are relative to the current folder. Raises ConfigError with every problem found;
    SuiteError if only the prompts are wrong.

    Its repr and its dumps contain no key. `masked()` returns the form to store.
    """

    gateways: dict[str, Gateway]
    suite: InstanceOf[Suite] = Field(repr=False, exclude=True)
    suite_path: str | None = None
    """The suite's path as written in the file, several joined by commas; None for prompts inside the config."""
    secrets: InstanceOf[Secrets] = Field(default_factory=Secrets, repr=False, exclude=True)
    from_variables: frozenset[KeyPath] = Field(default=frozenset(), repr=False, exclude=True)
    """Paths of the values in the file that contained `${NAME}`."""

    def __init__(self, **keys: Any) -> None:
        data = _plain(keys)
        super().__init__(**resolved(Draft(Document(IN_PYTHON, data, {}), data, Path())))

    @classmethod
    def of(cls, draft: Draft, env: Mapping[str, str] | None = None) -> Config:
        """Returns the config that a draft describes; `env` replaces the environment. Raises ConfigError, SuiteError."""
        return cls.model_construct(**resolved(draft, env))

    def __repr__(self) -> str:
        return self.secrets.mask(super().__repr__())

    def __str__(self) -> str:
        return repr(self)

    def masked(self) -> dict[str, Any]:
        """Returns the config as plain JSON data for the run's header, without keys, passwords and prompts."""
        return masked_config(self)

    def catalogue(self) -> dict[str, dict[str, Any]]:
        """Returns what the run's header stores about each prompt, by id: tags, lengths and settings, without text."""
        return prompt_catalogue(self.suite, self.secrets)


_NOT_STORED = {"discovery", "stream"}
"""Keys that a run's header does not store: they act before the run, and the header has the models that result."""
_MASKED = {"gateways", "models", "load", "telemetry", "assertions", "suite_path"}
"""Keys that `masked_config` converts; all others are stored as they are."""


def masked_config(config: Config) -> dict[str, Any]:
    """Returns the config as plain JSON data, with secrets masked; see `Config.masked`."""
    judged = {"assertions": masked_params(config.assertions, config.secrets)} if config.assertions else {}
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
        "telemetry": masked_telemetry(config.telemetry, config.secrets),
        **config.model_dump(mode="json", exclude=_MASKED | _NOT_STORED),
    }


def _gateway_of(config: Config, name: str) -> dict[str, Any]:
    at = ("gateways", name, "headers")
    hidden = frozenset(str(path[3]) for path in config.from_variables if path[:3] == at and len(path) > len(at))
    gateway = config.gateways[name]
    plain = masked_gateway(gateway, config.secrets, hidden)
    for path in config.from_variables:
        if path[:3] == ("gateways", name, "params"):
            hide(plain["params"], path[3:])
    return plain | {"api_key_source": gateway.api_key_source, "models_hash": gateway.models_hash}


def _model(model: Model, secrets: Secrets, hidden: frozenset[str]) -> dict[str, Any]:
    """Returns a model as plain JSON data, with secrets masked.

    `api` and `stream` are included only if they differ from a streamed chat, and headers only if there are any, so that
    the configs of runs from before these keys existed still compare as equal.
    """
    ask = model.ask
    stored: dict[str, Any] = {"api": ask.api} if ask.api != "chat" else {}
    stored |= {} if ask.streamed else {"stream": False}
    stored |= {"headers": masked_headers(model.headers, secrets, hidden)} if model.headers else {}
    return {**model.model_dump(exclude={"api", "stream"}), **stored, "params": masked_params(model.params, secrets)}


def _filled_in_headers(config: Config) -> frozenset[str]:
    """Returns the names of model headers that came from a variable in at least one model."""
    return frozenset(str(path[3]) for path in config.from_variables if path[0] == "models" and len(path) > 3)


def _load(load: Load) -> dict[str, Any]:
    """Returns only the settings that apply in this mode and have a value."""
    other = "rate" if load.closed else "concurrency"
    return {key: value for key, value in asdict(load).items() if key != other and value is not None}


def _plain(value: Any) -> Any:
    """Returns the value as a YAML file could hold it: mappings as dicts, sequences as lists, paths as texts."""
    match value:
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case PurePath():
            return str(value)
        case str() | bytes():
            return value
        case Sequence() | set() | frozenset():
            return [_plain(inner) for inner in value]
    return value
