"""Reads the models file (YAML) into `SimModel` objects. All problems are reported at once, one line each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from streambench.documents import Document, KeyPath, dotted, read_yaml
from streambench.errors import InputError, Problem, SimulatorError
from streambench.simulator import distributions
from streambench.simulator.distributions import Distribution, parse_distribution
from streambench.simulator.faults import FAULTS
from streambench.simulator.profile import ModelsFile, Reasoning, ReasoningField, RoleChunk, SimModel, StallProfile
from streambench.text import nearest, shown

MODELS_ACCEPTED = "a mapping of names to keys, such as {fast: {ttft_ms: 100}}"


class RejectedError(ValueError):
    """A key's value is invalid. `accepted` describes the valid values."""

    def __init__(self, message: str, accepted: str) -> None:
        super().__init__(message)
        self.accepted = accepted


class InnerRejectedError(RejectedError):
    """The value of a key inside a mapping is invalid. `key` and `found` are that key and its value."""

    def __init__(self, message: str, accepted: str, key: str, found: object) -> None:
        super().__init__(message, accepted)
        self.key = key
        self.found = found


def load_models(path: Path) -> ModelsFile:
    """Returns the models of the file. Raises SimulatorError with one line for each problem."""
    try:
        return _parse_file(read_yaml(path))
    except InputError as exc:
        raise SimulatorError(str(exc)) from exc


def _parse_file(document: Document) -> ModelsFile:
    """Raises InputError with every problem found."""
    problems: list[Problem] = []
    values = _parse_keys(document, (), document.data, {"models": _models, "api_key": _text}, problems)
    names = document.data.get("models") if isinstance(document.data, dict) else None
    if names is None and not problems:
        problems.append(Problem("models is missing", file=document.file, accepted=MODELS_ACCEPTED))
    models = {name: _parse_model(document, name, problems) for name in values.get("models", ())}
    if problems:
        raise InputError(problems)
    return ModelsFile(models, values.get("api_key"))


def _parse_model(document: Document, name: str, problems: list[Problem]) -> SimModel:
    keys = document.data["models"][name]
    return SimModel(**_parse_keys(document, ("models", name), {} if keys is None else keys, PARSERS, problems))


def _parse_keys(
    document: Document,
    path: KeyPath,
    keys: object,
    parsers: Mapping[str, Callable[[object], Any]],
    problems: list[Problem],
) -> dict[str, Any]:
    """Returns the parsed value of every valid key, and adds a problem for every other key."""
    values: dict[str, Any] = {}
    if not isinstance(keys, dict):
        problems.append(_problem(document, path, keys, RejectedError("cannot be used", "a mapping of keys")))
        return values
    for key, plain in keys.items():
        try:
            values[key] = _parser_of(key, parsers)(plain)
        except InnerRejectedError as exc:
            problems.append(_problem(document, (*path, key, exc.key), exc.found, exc))
        except RejectedError as exc:
            problems.append(_problem(document, (*path, key), plain, exc))
    return values


def _parser_of(key: str, parsers: Mapping[str, Callable[[object], Any]]) -> Callable[[object], Any]:
    if key not in parsers:
        raise RejectedError(f"unknown key{nearest(key, parsers)}", ", ".join(parsers))
    return parsers[key]


def _problem(document: Document, path: KeyPath, found: object, why: RejectedError) -> Problem:
    return Problem(str(why), document.file, document.line(path), dotted(path) or None, shown(found), why.accepted)


def _models(plain: object) -> tuple[str, ...]:
    """Returns the names of the models. `_parse_model` parses each model."""
    if not isinstance(plain, dict) or not plain:
        raise RejectedError("cannot be used", MODELS_ACCEPTED)
    return tuple(plain)


def _text(plain: object) -> str:
    if not isinstance(plain, str):
        raise RejectedError("cannot be used", "a string")
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
    """Returns a parser of a mapping whose keys are all in `parsers`."""
    accepted = f"a mapping of {', '.join(parsers)}"

    def parse(plain: object) -> dict[str, Any]:
        if not isinstance(plain, dict):
            raise RejectedError("cannot be used", accepted)
        for key, value in plain.items():
            if key not in parsers:
                raise InnerRejectedError(f"unknown key{nearest(key, parsers)}", ", ".join(parsers), key, value)
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
_reasoning_keys = _section({"tokens": _distribution, "field": _one_of(*get_args(ReasoningField))}, required=("tokens",))


def _fault(plain: object) -> dict[str, float]:
    """Returns fault names to probabilities, from one name or a mapping. Raises RejectedError."""
    chances = {plain: 1.0} if isinstance(plain, str) else plain
    if not isinstance(chances, dict) or not chances:
        raise RejectedError("cannot be used", "the name of a fault, or {name: chance}")
    for name in chances:
        if name not in FAULTS:
            raise RejectedError(f"unknown fault {name!r}", ", ".join(FAULTS))
    parsed = {name: _parse_inner(_number(0, 1), name, chance) for name, chance in chances.items()}
    if sum(parsed.values()) > 1 + 1e-9:
        raise RejectedError("the chances add up to more than 1", "chances that add up to at most 1")
    return parsed


PARSERS: Mapping[str, Callable[[object], Any]] = {
    "about": _text,
    "ttft_ms": _distribution,
    "prompt_token_ms": _number(0),
    "cache": _flag,
    "gap_ms": _distribution,
    "tokens": _distribution,
    "chunk_tokens": _distribution,
    "burst": _whole,
    "stall": lambda plain: StallProfile(**_stall_keys(plain)),
    "reasoning": lambda plain: Reasoning(**_reasoning_keys(plain)),
    "tools": _flag,
    "parallel_calls": _whole,
    "usage": _flag,
    "accepts_stream_options": _flag,
    "role_chunk": _one_of(*get_args(RoleChunk)),
    "headers_ms": _distribution,
    "keepalive_ms": _number(1),
    "fault": _fault,
}
"""A parser for each key. A test checks that the keys are the fields of SimModel."""
