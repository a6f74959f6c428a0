"""Distributions of delays and lengths, as the models file states them. Every draw uses the caller's generator.

Negative draws become 0, as a delay cannot be negative.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DistributionForm:
    """One family of distributions: its parameters' names in order, an example in YAML, and how to draw a value."""

    params: tuple[str, ...]
    example: str
    draw: Callable[[random.Random, float, float], float]
    smallest: tuple[float, ...]
    """The smallest allowed value of each parameter; `POSITIVE` means above zero."""


POSITIVE = 1e-9

FORMS: Mapping[str, DistributionForm] = {
    "constant": DistributionForm(("value",), "{constant: 100}", lambda _, value, __: value, (0,)),
    "uniform": DistributionForm(
        ("low", "high"), "{uniform: [80, 120]}", lambda rng, low, high: rng.uniform(low, high), (0, 0)
    ),
    "normal": DistributionForm(
        ("mean", "sd"), "{normal: {mean: 100, sd: 10}}", lambda rng, mean, sd: rng.gauss(mean, sd), (0, 0)
    ),
    "lognormal": DistributionForm(
        ("median", "sigma"),
        "{lognormal: {median: 120, sigma: 0.2}}",
        lambda rng, median, sigma: rng.lognormvariate(math.log(median), sigma),
        (POSITIVE, 0),
    ),
    "exponential": DistributionForm(
        ("mean",), "{exponential: {mean: 20}}", lambda rng, mean, _: rng.expovariate(1 / mean), (POSITIVE,)
    ),
    # cv is the coefficient of variation, sd / mean: shape = 1 / cv^2, scale = mean * cv^2
    "gamma": DistributionForm(
        ("mean", "cv"),
        "{gamma: {mean: 20, cv: 0.5}}",
        lambda rng, mean, cv: rng.gammavariate(1 / cv**2, mean * cv**2),
        (POSITIVE, POSITIVE),
    ),
}

ACCEPTED = "a number, " + ", ".join(form.example for form in FORMS.values())


@dataclass(frozen=True, slots=True)
class Distribution:
    """A family (a key of FORMS) and its parameters. `parse_distribution` creates one from YAML."""

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
    """Returns the distribution that a YAML value states. Raises ValueError with the reason if it is invalid."""
    if _is_number(plain):
        plain = {"constant": plain}
    if not isinstance(plain, dict) or len(plain) != 1:
        raise ValueError("must be one distribution")
    ((name, given),) = plain.items()
    form = FORMS.get(str(name))
    if form is None:
        raise ValueError(f"unknown distribution {name!r}")
    values = _values_of(form, given)
    for param, value, smallest in zip(form.params, values, form.smallest, strict=True):
        if value < smallest:
            raise ValueError(f"{param} must be {'above 0' if smallest == POSITIVE else 'at least 0'}")
    if name == "uniform" and values[0] > values[1]:
        raise ValueError("low must not be above high")
    return Distribution(str(name), *values)


def _values_of(form: DistributionForm, given: object) -> list[float]:
    """Returns the parameters in the form's order, from one number, a list or a mapping. Raises ValueError."""
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
