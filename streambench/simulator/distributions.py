"""Distributions of delays and lengths, as the models file states them. Every draw comes from the caller's generator.

All are cut off at zero: a delay cannot be negative.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """One family: its parameters' names in order, and how one value is drawn from them."""

    params: tuple[str, ...]
    example: str
    draw: Callable[[random.Random, float, float], float]
    smallest: tuple[float, ...]
    """The least value each parameter may have; `POSITIVE` means above zero."""


POSITIVE = 1e-9

FORMS: Mapping[str, Form] = {
    "constant": Form(("value",), "{constant: 100}", lambda _, value, __: value, (0,)),
    "uniform": Form(("low", "high"), "{uniform: [80, 120]}", lambda rng, low, high: rng.uniform(low, high), (0, 0)),
    "normal": Form(("mean", "sd"), "{normal: {mean: 100, sd: 10}}", lambda rng, mean, sd: rng.gauss(mean, sd), (0, 0)),
    "lognormal": Form(
        ("median", "sigma"),
        "{lognormal: {median: 120, sigma: 0.2}}",
        lambda rng, median, sigma: rng.lognormvariate(math.log(median), sigma),
        (POSITIVE, 0),
    ),
    "exponential": Form(
        ("mean",), "{exponential: {mean: 20}}", lambda rng, mean, _: rng.expovariate(1 / mean), (POSITIVE,)
    ),
    # cv is the coefficient of variation, sd / mean: shape = 1 / cv^2, scale = mean * cv^2
    "gamma": Form(
        ("mean", "cv"),
        "{gamma: {mean: 20, cv: 0.5}}",
        lambda rng, mean, cv: rng.gammavariate(1 / cv**2, mean * cv**2),
        (POSITIVE, POSITIVE),
    ),
}

ACCEPTED = "a number, " + ", ".join(form.example for form in FORMS.values())


@dataclass(frozen=True, slots=True)
class Distribution:
    """A family and its parameters; `parse_distribution` makes one from YAML."""

    form: str
    first: float
    second: float = 0.0

    def draw(self, rng: random.Random) -> float:
        return max(0.0, FORMS[self.form].draw(rng, self.first, self.second))

    def draw_many(self, rng: random.Random, count: int) -> list[float]:
        if self.form == "constant":
            return [self.first] * count
        draw, first, second = FORMS[self.form].draw, self.first, self.second
        return [max(0.0, draw(rng, first, second)) for _ in range(count)]


def constant(value: float) -> Distribution:
    return Distribution("constant", value)


def parse_distribution(plain: object) -> Distribution:
    """The distribution that a YAML value states. Raises ValueError with what is wrong with it."""
    if _is_number(plain):
        plain = {"constant": plain}
    if not isinstance(plain, dict) or len(plain) != 1:
        raise ValueError("one distribution expected")
    ((name, given),) = plain.items()
    form = FORMS.get(str(name))
    if form is None:
        raise ValueError(f"no distribution is called {name!r}")
    values = _values_of(form, given)
    for param, value, smallest in zip(form.params, values, form.smallest, strict=True):
        if value < smallest:
            raise ValueError(f"{param} must be {'above 0' if smallest == POSITIVE else 'at least 0'}")
    if name == "uniform" and values[0] > values[1]:
        raise ValueError("low is above high")
    return Distribution(str(name), *values)


def _values_of(form: Form, given: object) -> list[float]:
    """The parameters in the form's order, from one number, a list or a mapping."""
    if isinstance(given, dict):
        if set(given) != set(form.params):
            raise ValueError(f"needs {' and '.join(form.params)}")
        values = [given[param] for param in form.params]
    elif isinstance(given, list):
        values = given
    else:
        values = [given]
    if len(values) != len(form.params) or not all(_is_number(value) for value in values):
        raise ValueError(f"needs {' and '.join(form.params)} as numbers")
    return [float(value) for value in values]


def _is_number(plain: object) -> bool:
    return isinstance(plain, int | float) and not isinstance(plain, bool) and math.isfinite(plain)
