"""The models file: YAML to `SimModel`s. All that is wrong with it is told at once, a line each."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from streambench.errors import Problem, SimulatorError
from streambench.simulator import distributions
from streambench.simulator.distributions import Distribution, parse_distribution
from streambench.simulator.faults import FAULTS
from streambench.simulator.models import ModelsFile, Reasoning, SimModel, Stall


class RejectedError(ValueError):
    """A value that a key cannot take; `accepted` says what it can."""

    def __init__(self, message: str, accepted: str) -> None:
        super().__init__(message)
        self.accepted = accepted


class InnerRejectedError(RejectedError):
    """The same of a key inside a mapping, with what was found there."""

    def __init__(self, message: str, accepted: str, key: str, found: object) -> None:
        super().__init__(message, accepted)
        self.key = key
        self.found = found


def load_models(path: Path) -> ModelsFile:
    """The file's models. Raises SimulatorError, one line for each thing wrong with it."""
    problems: list[Problem] = []
    plain = _read_yaml(path)
    api_key = plain.pop("api_key", None)
    if api_key is not None and not isinstance(api_key, str):
        problems.append(_problem(path, "api_key", RejectedError("cannot be used", "a text"), api_key))
    models = plain.pop("models", None)
    problems += [_unknown(path, str(key), ("api_key", "models")) for key in plain]
    if not isinstance(models, dict) or not models:
        problems.append(_problem(path, "models", RejectedError("no models", "a mapping of name to keys"), models))
        models = {}
    parsed = {str(name): _parse_model(path, str(name), keys, problems) for name, keys in models.items()}
    if problems:
        raise SimulatorError("\n".join(str(problem) for problem in problems))
    return ModelsFile(parsed, api_key)


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise SimulatorError(f"{path}: the models file cannot be read ({reason})") from exc
    try:
        # the C loader saves some 20 ms of the start-up; it is not in every build of PyYAML
        plain = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as exc:
        raise SimulatorError(f"{path}: no YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(plain, dict):
        raise SimulatorError(f"{path}: a mapping with `models` expected (found {_shown(plain)})")
    return plain


def _parse_model(path: Path, name: str, keys: object, problems: list[Problem]) -> SimModel:
    where = f"models.{name}"
    if keys is None:
        return SimModel()
    if not isinstance(keys, dict):
        problems.append(_problem(path, where, RejectedError("no keys", "a mapping, such as {ttft_ms: 100}"), keys))
        return SimModel()
    values: dict[str, Any] = {}
    for key, plain in keys.items():
        parse = PARSERS.get(key)
        if parse is None:
            problems.append(_unknown(path, f"{where}.{key}", tuple(PARSERS)))
            continue
        try:
            values[key] = parse(plain)
        except InnerRejectedError as exc:
            problems.append(_problem(path, f"{where}.{key}.{exc.key}", exc, exc.found))
        except RejectedError as exc:
            problems.append(_problem(path, f"{where}.{key}", exc, plain))
    return SimModel(**values)


def _problem(path: Path, where: str, why: RejectedError, found: object) -> Problem:
    return Problem(str(why), file=str(path), where=where, found=_shown(found), accepted=why.accepted)


def _unknown(path: Path, where: str, known: tuple[str, ...]) -> Problem:
    key = where.rpartition(".")[2]
    near = difflib.get_close_matches(key, known, n=1)
    message = f"unknown key, did you mean {near[0]}?" if near else "unknown key"
    return Problem(message, file=str(path), where=where, accepted=", ".join(known))


def _shown(found: object) -> str:
    text = "nothing" if found is None else repr(found)
    return text if len(text) <= 80 else text[:77] + "..."


def _text(plain: object) -> str:
    if not isinstance(plain, str):
        raise RejectedError("cannot be used", "a text")
    return plain


def _flag(plain: object) -> bool:
    if not isinstance(plain, bool):
        raise RejectedError("cannot be used", "true, false")
    return plain


def _number(least: float, most: float = math.inf) -> Callable[[object], float]:
    accepted = f"a number of at least {least:g}" if most == math.inf else f"a number from {least:g} to {most:g}"

    def parse(plain: object) -> float:
        if isinstance(plain, bool) or not isinstance(plain, int | float) or not least <= plain <= most:
            raise RejectedError("cannot be used", accepted)
        return float(plain)

    return parse


def _whole(plain: object) -> int:
    if isinstance(plain, bool) or not isinstance(plain, int) or plain < 1:
        raise RejectedError("cannot be used", "a whole number of at least 1")
    return plain


def _one_of(*names: str) -> Callable[[object], str]:
    def parse(plain: object) -> str:
        if plain not in names:
            raise RejectedError("cannot be used", ", ".join(names))
        return str(plain)

    return parse


def _distribution(plain: object) -> Distribution:
    try:
        return parse_distribution(plain)
    except ValueError as exc:
        raise RejectedError(str(exc), distributions.ACCEPTED) from exc


def _section(
    parsers: Mapping[str, Callable[[object], Any]], required: tuple[str, ...]
) -> Callable[[object], dict[str, Any]]:
    """A parser of a mapping whose keys are all in `parsers`."""
    accepted = f"a mapping of {', '.join(parsers)}"

    def parse(plain: object) -> dict[str, Any]:
        if not isinstance(plain, dict):
            raise RejectedError("cannot be used", accepted)
        for key, value in plain.items():
            if key not in parsers:
                raise InnerRejectedError("unknown key", ", ".join(parsers), key, value)
        for key in required:
            if key not in plain:
                raise RejectedError(f"{key} is missing", accepted)
        return {key: _parse_inner(parsers[key], key, value) for key, value in plain.items()}

    return parse


def _parse_inner(parse: Callable[[object], Any], key: str, plain: object) -> Any:
    try:
        return parse(plain)
    except RejectedError as exc:
        raise InnerRejectedError(str(exc), exc.accepted, key, plain) from exc


_stall_keys = _section({"chance": _number(0, 1), "ms": _distribution}, required=("chance", "ms"))
_reasoning_keys = _section(
    {"tokens": _distribution, "field": _one_of("reasoning_content", "reasoning", "hidden")}, required=("tokens",)
)


def _fault(plain: object) -> dict[str, float]:
    """`NAME`, or a mapping of names to chances."""
    chances = {plain: 1.0} if isinstance(plain, str) else plain
    if not isinstance(chances, dict) or not chances:
        raise RejectedError("cannot be used", "a fault's name, or {name: chance}")
    for name in chances:
        if name not in FAULTS:
            raise RejectedError(f"no fault is called {name!r}", ", ".join(FAULTS))
    parsed = {name: _parse_inner(_number(0, 1), name, chance) for name, chance in chances.items()}
    if sum(parsed.values()) > 1 + 1e-9:
        raise RejectedError("the chances add up to more than 1", "chances that add up to at most 1")
    return parsed


PARSERS: Mapping[str, Callable[[object], Any]] = {
    "about": _text,
    "ttft_ms": _distribution,
    "prompt_token_ms": _number(0),
    "gap_ms": _distribution,
    "tokens": _distribution,
    "chunk_tokens": _distribution,
    "burst": _whole,
    "stall": lambda plain: Stall(**_stall_keys(plain)),
    "reasoning": lambda plain: Reasoning(**_reasoning_keys(plain)),
    "tools": _flag,
    "usage": _flag,
    "accepts_stream_options": _flag,
    "role_chunk": _one_of("early", "joined", "none"),
    "headers_ms": _distribution,
    "keepalive_ms": _number(1),
    "fault": _fault,
}
"""One parser a key; a test checks that these are the fields of SimModel."""
