"""`load_config`: a chain of steps over one Draft, from the file's bytes to a frozen Config.

On the way: run and its like start here. Every step adds what it finds wrong; nothing is raised until all have looked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from streambench.apis import whole_alias
from streambench.config.checks import check_prompts_sendable, check_relations, complete_models
from streambench.config.credentials import check_credentials
from streambench.config.draft import Draft
from streambench.config.files import find_files, hash_of_yaml, load_prompts
from streambench.config.messages import refuse_invalid
from streambench.config.overrides import apply_overrides
from streambench.config.schema import Config, FileConfig, FileGateway, Gateway, Model
from streambench.config.values import is_label
from streambench.config.variables import expand
from streambench.documents import read_yaml, shown
from streambench.errors import ConfigError, InputError, Problem
from streambench.secrets import Secrets
from streambench.suite import Suite

OUTPUT_OPTION = "--output"


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    output: str | None = None,
    env: Mapping[str, str] | None = None,
    also_in: Path | None = None,
) -> Config:
    """The config in a YAML file, ready to run.

    `overrides` are `key=value` texts as of `--set`; `output` wins over the file's; `env` stands in for the process's
    environment; `also_in` is a folder in which the files that it names may lie too. Raises ConfigError with every
    problem found; SuiteError if only the prompts are wrong.
    """
    draft = _open(Path(path), also_in)
    apply_overrides(draft, overrides)
    _apply_defaults(draft, Path(path), output)
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
    return _resolve(draft, settings, suite)


def _open(path: Path, also_in: Path | None) -> Draft:
    try:
        document = read_yaml(path)
    except InputError as error:
        raise ConfigError(error.problems) from None
    if not isinstance(document.data, dict):
        accepted = "a mapping with gateways, models, suite or prompts, load, ..."
        problem = Problem("must be a mapping", document.file, 1, None, shown(document.data), accepted)
        raise ConfigError([problem])
    return Draft(document, document.data, path.parent, also_in)


def _apply_defaults(draft: Draft, path: Path, output: str | None) -> None:
    if draft.data.get("name") is None:
        draft.data["name"] = path.stem if is_label(path.stem) else "run"
    if output is not None:
        draft.data["output"] = output
        draft.origins["output",] = OUTPUT_OPTION


def _validate(draft: Draft) -> FileConfig | None:
    try:
        return FileConfig.model_validate(draft.data, by_alias=True, by_name=False)
    except ValidationError as error:
        refuse_invalid(draft, error)
    return None


def _resolve(draft: Draft, settings: FileConfig, suite: Suite) -> Config:
    common: dict[str, Any] = dict(settings)
    suite_path = common.pop("suite")
    del common["prompts"]
    common["models"] = tuple(one for model in settings.models for one in _asked(settings, model))
    common["gateways"] = {name: _gateway(draft, name, gateway) for name, gateway in settings.gateways.items()}
    return Config(
        **common,
        suite=suite,
        suite_path=", ".join(suite_path) if suite_path else None,
        secrets=Secrets(draft.secret_values),
        from_variables=frozenset(draft.variables),
    )


def _asked(settings: FileConfig, model: Model) -> Iterator[Model]:
    """The model as it is asked: once, or as a stream and as a whole answer side by side, under two names."""
    if model.gateway not in settings.gateways:  # a pattern that leaves models out of every gateway's
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
