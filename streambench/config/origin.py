"""Where a run's config came from, as its header stores it, and how `resume` finds it again. Pure.

`origin_of` returns what is stored; `given_again` joins stored overrides with those given now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streambench.documents import parse_yaml
from streambench.errors import ConfigError, InputError, Problem
from streambench.records.schema import RunHeader
from streambench.redaction import MASK, Secrets, is_secret_name, mask_url

_MAX_TEXT = 200
_VARIABLE = re.compile(r"\$\{[^{}]*\}")
_OPTION = "--set"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run's config came from, as the run's header stores it."""

    config_file: str | None = None
    overrides: tuple[str, ...] = ()
    folder: str | None = None
    """The working folder in which the run was started."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Values under the keys STOPS of records/config_diff.py that differ from those at the start of the run."""


def origin_of(
    config_file: Path, overrides: Sequence[str], secrets: Secrets, changed: Mapping[str, Any] | None = None
) -> Origin:
    """Returns where the config came from, as it is stored. `changed`: the values that a resumed run changed."""
    return Origin(str(config_file.absolute()), kept_overrides(overrides, secrets), str(Path.cwd()), changed or {})


def kept_overrides(overrides: Iterable[str], secrets: Secrets) -> tuple[str, ...]:
    """Returns the `--set` texts to store. A value that may contain a prompt or a secret is replaced by `***`."""
    return tuple(text if _may_be_kept(text, secrets) else f"{_key_of(text)}={MASK}" for text in overrides)


def given_again(stored: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Returns a run's stored overrides, then those given now, which replace stored ones of the same key.

    Raises ConfigError with each override whose value was not stored and is not given again.
    """
    now = {_key_of(text) for text in given}
    missing = [_key_of(text) for text in stored if text.endswith(f"={MASK}") and _key_of(text) not in now]
    if missing:
        raise ConfigError([_not_kept(key) for key in missing])
    return (*(text for text in stored if _key_of(text) not in now), *given)


def _not_kept(key: str) -> Problem:
    message = "was set when the run was started; its value was not stored, because it may be private"
    return Problem(message, _OPTION, where=key, accepted=f"{_OPTION} {key}=... again")


def origin_in(header: RunHeader) -> Origin:
    """Returns where the config was when the run was last started or resumed, and the folder in which it was started."""
    last = header.resumed[-1] if header.resumed else header
    return Origin(last.config_file, last.overrides, header.folder)


def _key_of(text: str) -> str:
    return text.partition("=")[0].strip()


def _may_be_kept(text: str, secrets: Secrets) -> bool:
    """True if the masked config would show the value too. Literal keys were refused earlier; `${NAME}` is no secret."""
    key, _, value = text.partition("=")
    steps = key.strip().split(".")
    value = value.strip()
    if _VARIABLE.fullmatch(value) or value == "none":
        return True
    if steps[0] == "prompts" or any(is_secret_name(step) or step == "headers" for step in steps):
        return False
    if steps[0] in ("gateways", "models", "telemetry") and _holds_mapping(value):
        return False
    return len(value) <= _MAX_TEXT and secrets.mask(value) == mask_url(value) == value


def _holds_mapping(value: str) -> bool:
    try:
        data = parse_yaml(value, _OPTION).data if value else None
    except InputError:
        return True
    return isinstance(data, dict) or (isinstance(data, list) and any(isinstance(item, dict | list) for item in data))
