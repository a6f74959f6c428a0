"""Which models a run has: those that the config names, and those that its globs pick from the gateways' lists. Pure.

`load_config` keeps globs. `resolve` returns a config in which every model has its name; the run's header stores it.
`resolve_again` returns the same models for a resumed run, whatever the gateways list by then.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from streambench.config.config import Config
from streambench.config.fields import is_glob
from streambench.config.schema import Model
from streambench.documents import dotted
from streambench.errors import ConfigError, Problem
from streambench.records.schema import Connection, Failure
from streambench.text import shown
from streambench.workload.api_formats import whole_alias


@dataclass(frozen=True, slots=True)
class Listing:
    """One gateway's model list. `failure` is why there is no list, `partial` why it is incomplete.

    `unusable` is the number of entries whose id cannot be shown or requested.
    """

    offers: tuple[OfferedModel, ...] = ()
    failure: Failure | None = None
    partial: Failure | None = None
    unusable: int = 0
    status: int | None = None
    connection: Connection | None = None
    answered_ns: int | None = None
    """From sending the request to the response's head, in nanoseconds."""

    @property
    def names(self) -> list[str]:
        return [offer.id for offer in self.offers]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A config in which every model has its name, and notes for the user on how it was resolved."""

    config: Config
    notes: tuple[str, ...] = ()


def why(failure: Failure) -> str:
    """Returns a failure in a few words: `404`, `refused: 127.0.0.1:9: connection refused`."""
    marks = [str(mark) for mark in (failure.status, failure.detail) if mark is not None]
    return ": ".join(part for part in (" ".join(marks), failure.message) if part)


# --- resolving


def gateways_to_ask(config: Config) -> list[str]:
    """Returns the gateways whose model list a run needs; an empty list if `discovery` is off."""
    wanted = config.models if config.discovery else ()
    return list(dict.fromkeys(model.gateway for model in wanted if not model.excludes))


def resolve(config: Config, listings: Mapping[str, Listing], config_file: str) -> Resolved:
    """Returns the config with each glob replaced by the models that it picks, and notes.

    Raises ConfigError with every glob that picks no model. A model that its gateway does not list is only noted,
    because many lists are incomplete. The embedded gateway's list is complete, so there it is an error.
    """
    offered = {name: listing.names for name, listing in listings.items() if listing.failure is None and listing.offers}
    problems = [
        Problem(f"is {problem.message}", config_file, None, problem.where, problem.found, problem.accepted)
        for problem in (*_empty_globs(config, listings, offered), *_unknown_to_us(config, offered))
    ]
    if problems:
        raise ConfigError(problems)
    models = picked(config.models, offered)
    notes = (*_unasked(listings), *_unlisted(config, offered), *_selection_notes(config, offered))
    return Resolved(config.model_copy(update={"models": models}), notes)


def resolve_again(config: Config, models: Sequence[Mapping[str, object]]) -> Config:
    """Returns the config with the models of a run's header, `models`, whatever the gateways list now."""
    offered: dict[str, list[str]] = {}
    for model in models:
        offered.setdefault(str(model["gateway"]), []).append(str(model["model"]))
    return config.model_copy(update={"models": picked(config.models, offered)})


def picked(models: Sequence[Model], offered: Mapping[str, Collection[str]]) -> tuple[Model, ...]:
    """Returns the models in the config's order, those of a glob sorted by name. No model is picked twice.

    The alias of a picked model is its name, or `name@gateway` if that name is taken or picked from several gateways.
    """
    literal = [model for model in models if not (model.picks or model.excludes)]
    there = {_key(model, model.model) for model in literal}
    found: list[Model] = []
    for model in models:
        if not model.picks:
            found += [] if model.excludes else [model]
            continue
        for name in _picks_of(model, models, offered):
            if _key(model, name) not in there:
                there.add(_key(model, name))
                found.append(model.model_copy(update={"model": name, "alias": ""}))
    taken = {model.alias for model in literal}
    often = Counter((model.model, model.ask.streamed) for model in found if not model.alias)
    return tuple(model if model.alias else _named(model, taken, often) for model in found)


def _key(model: Model, name: str) -> tuple[str, str, bool]:
    """Returns what identifies a model: its streamed and its whole responses are two models."""
    return model.gateway, name, model.ask.streamed


def _named(model: Model, taken: Collection[str], often: Mapping[tuple[str, bool], int]) -> Model:
    beside = not model.ask.streamed and often.get((model.model, True))
    alias = whole_alias(model.model) if beside else model.model
    alone = often[model.model, model.ask.streamed] == 1 and alias not in taken
    return model.model_copy(update={"alias": alias if alone else f"{alias}@{model.gateway}"})


def _picks_of(model: Model, models: Sequence[Model], offered: Mapping[str, Collection[str]]) -> list[str]:
    excluding = [other.excludes for other in models if other.excludes and other.gateway in ("", model.gateway)]
    names = (name for name in offered.get(model.gateway, ()) if matches(model.model, name))
    return sorted(name for name in names if not any(matches(pattern, name) for pattern in excluding))


def _empty_globs(
    config: Config, listings: Mapping[str, Listing], offered: Mapping[str, Collection[str]]
) -> Iterable[Problem]:
    for index, model in enumerate(config.models):
        if not model.picks or _picks_of(model, config.models, offered):
            continue
        where, found = dotted(("models", index)), shown(model.model)
        names = offered.get(model.gateway)
        listing = listings.get(model.gateway, Listing())
        if names is None:
            reason = why(listing.failure) if listing.failure else "the list is empty"
            message = f"a glob, but gateway {model.gateway} returned no model list (GET /models: {reason})"
            yield Problem(message, where=where, found=found, accepted="full model names")
        elif all_matching := [name for name in names if matches(model.model, name)]:
            message = f"a glob, but `!` excludes every model that it matches: {_few(all_matching)}"
            yield Problem(message, where=where, found=found, accepted="fewer exclusions, or another glob")
        else:
            message = f"a glob that matches none of the {len(names)} models that gateway {model.gateway} offers"
            near = nearest_names(model.model, names) or sorted(names)
            accepted = f"a glob that matches its models, such as {_few(near)} (`streambench models` lists them)"
            yield Problem(message, where=where, found=found, accepted=accepted)


def _unknown_to_us(config: Config, offered: Mapping[str, Collection[str]]) -> Iterable[Problem]:
    for index, model in _not_listed(config, offered):
        if config.gateways[model.gateway].embedded:
            names = offered[model.gateway]
            message = f"not a model of the embedded gateway {model.gateway}"
            near = nearest_names(model.model, names) or sorted(names)
            yield Problem(message, None, None, dotted(("models", index)), shown(model.model), _few(near))


def _not_listed(config: Config, offered: Mapping[str, Collection[str]]) -> Iterable[tuple[int, Model]]:
    for index, model in enumerate(config.models):
        names = offered.get(model.gateway)
        if names is not None and not model.picks and not model.excludes and not is_offered(model.model, names):
            yield index, model


def _unlisted(config: Config, offered: Mapping[str, Collection[str]]) -> Iterable[str]:
    for index, model in _not_listed(config, offered):
        near = nearest_names(model.model, offered[model.gateway])
        hint = f"nearest names: {_few(near)}" if near else "`streambench models` lists its models"
        place = dotted(("models", index))
        yield f"{place}: {model.gateway} does not list {shown(model.model)} ({hint}); streambench requests it anyway"


def _unasked(listings: Mapping[str, Listing]) -> Iterable[str]:
    for name, listing in listings.items():
        if listing.failure is not None:
            yield f"{name} returned no model list (GET /models: {why(listing.failure)}), so its models were not checked"


def _selection_notes(config: Config, offered: Mapping[str, Collection[str]]) -> Iterable[str]:
    for pattern, gateway in dict.fromkeys((model.model, model.gateway) for model in config.models if model.picks):
        model = next(model for model in config.models if (model.model, model.gateway) == (pattern, gateway))
        names = _picks_of(model, config.models, offered)
        yield f"{pattern} picks {len(names)} of the {len(offered[gateway])} models of {gateway}: {_few(names, 12)}"


def _few(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


# --- entries for `doctor` and `models`


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One entry of a config's `models:`, compared with its gateway's list."""

    text: str
    gateway: str
    offered: bool | None
    """True if the gateway lists the model, or its glob picks one; None if the gateway gave no list."""
    models: Mapping[str, str]
    """The models that the entry stands for, with the alias of each."""
    nearest: tuple[str, ...] = ()


def entries_of(config: Config, listings: Mapping[str, Listing]) -> list[ModelEntry]:
    """Returns an entry for each of the config's models except exclusions, in the config's order."""
    return [_entry(model, config, listings) for model in config.models if not model.excludes]


def _entry(model: Model, config: Config, listings: Mapping[str, Listing]) -> ModelEntry:
    names = {name: listing.names for name, listing in listings.items()}
    offered = names.get(model.gateway, [])
    listed = model.gateway in listings and listings[model.gateway].failure is None
    if not model.picks:
        there = is_offered(model.model, offered)
        near = () if there else nearest_names(model.model, offered)
        return ModelEntry(
            model.model, model.gateway, there if listed else None, {model.model: model.alias}, tuple(near)
        )
    ours = set(_picks_of(model, config.models, names))
    models = {m.model: m.alias for m in picked(config.models, names) if m.gateway == model.gateway and m.model in ours}
    near = () if ours else nearest_names(model.model, offered)
    return ModelEntry(model.model, model.gateway, bool(ours) if listed else None, models, tuple(near))


_NEAR = 0.6
_GLOB_SIGNS = re.compile(r"[*?\[\]]")


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """One model in a gateway's list; None for what the list does not say."""

    id: str
    owned_by: str | None = None
    context_tokens: int | None = None
    input_usd: float | None = None
    """USD per million tokens, like `output_usd`."""
    output_usd: float | None = None


# --- matching names


def matches(pattern: str, name: str) -> bool:
    """True if the name matches the glob, ignoring case; `*` matches slashes too."""
    return pattern == name or fnmatchcase(name.lower(), pattern.lower())


def is_offered(name: str, offered: Iterable[str]) -> bool:
    """True if the list has the name, or a glob that matches it: proxies list `openai/*` for what they pass on."""
    return any(other == name or (is_glob(other) and matches(other, name)) for other in offered)


def nearest_names(name: str, offered: Iterable[str], count: int = 3) -> list[str]:
    """Returns up to `count` names that a misspelt name or glob may have meant, best first.

    Only the part after the last slash counts; the vendor before it does not.
    """
    wanted = _bare(_GLOB_SIGNS.sub("", name))
    scored = [(_likeness(wanted, _bare(other)), other) for other in offered]
    near = [(score, other) for score, other in scored if score >= _NEAR]
    return [other for _, other in sorted(near, key=lambda pair: (-pair[0], pair[1]))[:count]]


def _bare(name: str) -> str:
    return name.lower().rstrip("/").rsplit("/", 1)[-1]


def _likeness(wanted: str, other: str) -> float:
    if wanted and other.startswith(wanted):
        return 1.0
    matcher = difflib.SequenceMatcher(None, other, wanted)
    return matcher.ratio() if matcher.quick_ratio() >= _NEAR else 0.0
