"""`load_config`: reads a YAML file and the overrides into a Config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from streambench.config.arguments import FILE, OVERRIDES, Place, Texts, path_of, texts_of
from streambench.config.config import Config
from streambench.config.draft import Draft
from streambench.config.fields import is_label
from streambench.config.overrides import apply_overrides
from streambench.documents import read_yaml
from streambench.errors import ConfigError, InputError, Problem
from streambench.text import shown

OUTPUT_OPTION = "--output"


def load_config(
    path: Place,
    overrides: Texts = (),
    output: Place | None = None,
    env: Mapping[str, str] | None = None,
    also_in: Path | None = None,
) -> Config:
    """Returns the config in a YAML file, ready to run.

    `overrides` are `key=value` texts as for `--set`; `output` overrides the file's `output`; `env` replaces the
    process's environment; `also_in` is a second folder in which the files that the config names are looked up. Raises
    ConfigError with every problem found; SuiteError if only the prompts are wrong; InputError if an argument has a
    wrong type.
    """
    file = path_of(path, "path", FILE)
    draft = _open(file, also_in)
    apply_overrides(draft, texts_of(overrides, "overrides", OVERRIDES))
    _apply_defaults(draft, file, None if output is None else str(path_of(output, "output")))
    return Config.of(draft, env)


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
    if draft.data.get("name") is None and is_label(path.stem):
        draft.data["name"] = path.stem
    if output is not None:
        draft.data["output"] = output
        draft.origins["output",] = OUTPUT_OPTION
