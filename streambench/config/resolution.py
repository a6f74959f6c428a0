"""The steps from the data of a config to the fields of a Config, over one Draft.

Every step adds the problems that it finds; they are raised together after the last step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from streambench.config.checks import check_prompts_sendable, check_relations, complete_models
from streambench.config.credentials import check_credentials
from streambench.config.draft import Draft
from streambench.config.env_variables import expand
from streambench.config.error_messages import refuse_invalid
from streambench.config.files import find_files, hash_of_yaml, load_prompts
from streambench.config.schema import FileConfig, FileGateway, Gateway, Model
from streambench.redaction import Secrets
from streambench.workload.api_formats import whole_alias
from streambench.workload.suite import Suite

DEFAULT_NAME = "run"


def resolved(draft: Draft, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns the fields of the Config that a draft describes. `env` replaces the process's environment.

    Raises ConfigError with every problem found; SuiteError if only the prompts are wrong.
    """
    if draft.data.get("name") is None:
        draft.data["name"] = DEFAULT_NAME
    check_credentials(draft)
    expand(draft, os.environ if env is None else env)
    complete_models(draft)
    check_relations(draft)
    find_files(draft)
    suite = load_prompts(draft)
    check_prompts_sendable(draft, suite)
    settings = _validate(draft)
    draft.raise_problems()
    if settings is None or suite is None:
        raise AssertionError("a step refused the config without a problem")
    return _fields(draft, settings, suite)


def _validate(draft: Draft) -> FileConfig | None:
    try:
        return FileConfig.model_validate(draft.data, by_alias=True, by_name=False)
    except ValidationError as error:
        refuse_invalid(draft, error)
    return None


def _fields(draft: Draft, settings: FileConfig, suite: Suite) -> dict[str, Any]:
    common: dict[str, Any] = dict(settings)
    suite_path = common.pop("suite")
    del common["prompts"]
    common["models"] = tuple(one for model in settings.models for one in _modes_of(settings, model))
    common["gateways"] = {name: _gateway(draft, name, gateway) for name, gateway in settings.gateways.items()}
    return common | {
        "suite": suite,
        "suite_path": ", ".join(suite_path) if suite_path else None,
        "secrets": Secrets(draft.secret_values),
        "from_variables": frozenset(draft.variables),
    }


def _modes_of(settings: FileConfig, model: Model) -> Iterator[Model]:
    """Yields the model with its API and one streaming mode: once, or twice (streamed and whole) under two aliases."""
    if model.gateway not in settings.gateways:  # a `!` pattern that applies to all gateways
        yield model
        return
    api = model.api or settings.gateways[model.gateway].api
    stated = settings.stream if model.stream is None else model.stream
    for streamed in stated:
        alias = whole_alias(model.alias) if len(stated) > 1 and not streamed else model.alias
        yield model.model_copy(update={"alias": alias, "api": api, "stream": (streamed,)})


def _gateway(draft: Draft, name: str, gateway: FileGateway) -> Gateway:
    names = draft.variables.get(("gateways", name, "api_key"))
    models_hash = None if gateway.models is None else hash_of_yaml(gateway.models)
    return Gateway(**dict(gateway), api_key_source=names[0] if names else None, models_hash=models_hash)
