"""Compares the config of a run's header with the config that the run is resumed with. Pure.

`refuse_changes` raises if a setting of the measurement changed. Names and places (PLACES) and limits, budgets and
breakers (STOPS) may change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from streambench.errors import ConfigError, Problem
from streambench.records.schema import RunHeader
from streambench.text import shown

PLACES = ("name", "output", "suite.name", "suite.path", "telemetry")
STOPS = ("limits.duration_s", "limits.drain_s", "budget", "breakers")
"""PLACES and STOPS are the keys that may differ in a resumed run: file locations, telemetry, and when to stop. They do
not change what is measured.
"""

_PATHS = ("models", "ca_bundle", "client_cert", "client_key")
"""Keys under `gateways` that hold a file path. Only the file's name is compared."""


def refuse_changes(header: RunHeader, config: Mapping[str, Any], config_file: Path) -> None:
    """Raises ConfigError with a problem for each key whose value in the masked `config` may not differ but does."""
    problems = [
        Problem(
            "is not the value that the run was started with",
            str(config_file),
            None,
            key,
            _value_text(now),
            _value_text(then),
        )
        for key, then, now in changes(header.config, config)
    ]
    if problems:
        raise ConfigError(problems)


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns (key, then, now) for each value that differs and may not; a missing value is None."""
    return [change for change in _differences(then, now) if not _is_one_of(change[0], (*PLACES, *STOPS))]


def changed_stops(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the new values of the keys in STOPS that differ, by key."""
    return {key: after for key, _, after in _differences(then, now) if _is_one_of(key, STOPS)}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    before, after = dict(_flat(_as_json(then))), dict(_flat(_as_json(now)))
    return [
        (key, before.get(key), after.get(key))
        for key in dict.fromkeys((*before, *after))
        if _compared(key, before.get(key)) != _compared(key, after.get(key))
    ]


def _as_json(config: Mapping[str, Any]) -> Any:
    """Returns the config as it looks after it was written to JSON and read back, like the one in the header."""
    return json.loads(json.dumps(config, default=str))


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from _flat(inner, (*path, key))
        case list() if value:
            for index, inner in enumerate(value):
                yield from _flat(inner, (*path, str(index)))
        case _:
            yield ".".join(path), value


def _is_one_of(key: str, ones: Iterable[str]) -> bool:
    """True if `key` is one of these keys or lies below one."""
    return any(key == one or key.startswith(f"{one}.") for one in ones)


def _compared(key: str, value: Any) -> Any:
    steps = key.split(".")
    if steps[0] == "gateways" and steps[-1] in _PATHS and isinstance(value, str):
        return PurePath(value).name
    return value


def _value_text(value: Any) -> str:
    return "nothing" if value in (None, {}, []) else shown(value)
