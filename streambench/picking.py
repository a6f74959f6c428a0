"""Which models a run has: a config's names, and what its globs pick from the lists of its gateways. Pure.

On the way: `load_config` leaves globs as they are; `resolve` gives a config in which every model has its name, which
the run's header keeps; `resolve_again` gives the same models to a run that goes on, whatever is offered by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from streambench.apis import whole_alias
from streambench.config import Config, Model
from streambench.documents import dotted, shown
from streambench.errors import ConfigError, Problem
from streambench.offers import Offer, is_offered, matches, nearest_names
from streambench.records import Connection, Failure


@dataclass(frozen=True, slots=True)
class Listing:
    """What one gateway answered; `failure` says why there is no list, `partial` why it is not whole."""

    offers: tuple[Offer, ...] = ()
    failure: Failure | None = None
    partial: Failure | None = None
    unusable: int = 0
    status: int | None = None
    connection: Connection | None = None
    answered_ns: int | None = None
    """From the request sent to the answer's head."""

    @property
    def names(self) -> list[str]:
        return [offer.id for offer in self.offers]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A config in which every model has its name, and what a person should know of how it came to be."""

    config: Config
    notes: tuple[str, ...] = ()


def why(failure: Failure) -> str:
    """A failure in a few words: `404`, `refused: 127.0.0.1:9: connection refused`."""
    marks = [str(mark) for mark in (failure.status, failure.detail) if mark is not None]
    return ": ".join(part for part in (" ".join(marks), failure.message) if part)


# --- resolving


def gateways_to_ask(config: Config) -> list[str]:
    """Those whose list a run wants to see; none where discovery is off."""
    wanted = config.models if config.discovery else ()
    return list(dict.fromkeys(model.gateway for model in wanted if not model.excludes))


def resolve(config: Config, listings: Mapping[str, Listing], config_file: str) -> Resolved:
    """Globs become the models that they pick. Raises ConfigError with every glob that picks none.

    A name that its gateway does not list is only noted, since many lists are not whole; but that of the embedded
    gateway is, so there it is an error.
    """
    offered = {name: listing.names for name, listing in listings.items() if listing.failure is None and listing.offers}
    problems = [
        Problem(f"is {problem.message}", config_file, None, problem.where, problem.found, problem.accepted)
        for problem in (*_empty_globs(config, listings, offered), *_unknown_to_us(config, offered))
    ]
    if problems:
        raise ConfigError(problems)
    models = picked(config.models, offered)
    notes = (*_unasked(listings), *_unlisted(config, offered), *_told(config, offered))
    return Resolved(config.model_copy(update={"models": models}), notes)


def resolve_again(config: Config, models: Sequence[Mapping[str, object]]) -> Config:
    """As a run was begun, whatever is offered by now: `models` are those of its header."""
    offered: dict[str, list[str]] = {}
    for model in models:
        offered.setdefault(str(model["gateway"]), []).append(str(model["model"]))
    return config.model_copy(update={"models": picked(config.models, offered)})


def picked(models: Sequence[Model], offered: Mapping[str, Collection[str]]) -> tuple[Model, ...]:
    """The models in the config's order, a glob's in that of their names; what is there already is not picked again.

    A picked model goes by its name, or by `name@gateway` where that name is taken or picked of several gateways.
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
    """Streams and whole answers of one model are two rows."""
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
            told = why(listing.failure) if listing.failure else "the list is empty"
            message = f"a glob, and gateway {model.gateway} has no list of models to pick from (GET /models: {told})"
            yield Problem(message, where=where, found=found, accepted="the models' names, written out")
        elif all_matching := [name for name in names if matches(model.model, name)]:
            message = f"a glob of which `!` leaves nothing: {_few(all_matching)}"
            yield Problem(message, where=where, found=found, accepted="fewer exclusions, or another glob")
        else:
            message = f"a glob that matches none of the {len(names)} models that gateway {model.gateway} offers"
            near = nearest_names(model.model, names) or sorted(names)
            accepted = f"a glob of its models, such as {_few(near)} (streambench models lists them)"
            yield Problem(message, where=where, found=found, accepted=accepted)


def _unknown_to_us(config: Config, offered: Mapping[str, Collection[str]]) -> Iterable[Problem]:
    for index, model in _not_listed(config, offered):
        if config.gateways[model.gateway].embedded:
            names = offered[model.gateway]
            message = f"none of the models of the embedded gateway {model.gateway}"
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
        hint = f"the nearest: {_few(near)}" if near else "`streambench models` lists what it offers"
        place = dotted(("models", index))
        yield f"{place}: {model.gateway} does not list {shown(model.model)} ({hint}); it is asked for all the same"


def _unasked(listings: Mapping[str, Listing]) -> Iterable[str]:
    for name, listing in listings.items():
        if listing.failure is not None:
            yield f"{name} gives no list of its models (GET /models: {why(listing.failure)}), so none was looked up"


def _told(config: Config, offered: Mapping[str, Collection[str]]) -> Iterable[str]:
    for pattern, gateway in dict.fromkeys((model.model, model.gateway) for model in config.models if model.picks):
        model = next(model for model in config.models if (model.model, model.gateway) == (pattern, gateway))
        names = _picks_of(model, config.models, offered)
        yield f"{pattern} picks {len(names)} of the {len(offered[gateway])} models of {gateway}: {_few(names, 12)}"


def _few(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


# --- for who looks before a run


@dataclass(frozen=True, slots=True)
class Entry:
    """One of a config's `models:` beside its gateway's list."""

    text: str
    gateway: str
    offered: bool | None
    """None where its gateway gave no list."""
    models: Mapping[str, str]
    """The models that it stands for, each with its alias."""
    nearest: tuple[str, ...] = ()


def entries_of(config: Config, listings: Mapping[str, Listing]) -> list[Entry]:
    """All but exclusions, in the config's order."""
    return [_entry(model, config, listings) for model in config.models if not model.excludes]


def _entry(model: Model, config: Config, listings: Mapping[str, Listing]) -> Entry:
    names = {name: listing.names for name, listing in listings.items()}
    offered = names.get(model.gateway, [])
    listed = model.gateway in listings and listings[model.gateway].failure is None
    if not model.picks:
        there = is_offered(model.model, offered)
        near = () if there else nearest_names(model.model, offered)
        return Entry(model.model, model.gateway, there if listed else None, {model.model: model.alias}, tuple(near))
    ours = set(_picks_of(model, config.models, names))
    models = {m.model: m.alias for m in picked(config.models, names) if m.gateway == model.gateway and m.model in ours}
    near = () if ours else nearest_names(model.model, offered)
    return Entry(model.model, model.gateway, bool(ours) if listed else None, models, tuple(near))
