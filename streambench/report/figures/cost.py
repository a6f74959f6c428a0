"""The figure of cost against output speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from streambench.metrics.cost import usd
from streambench.report.figures import style
from streambench.report.figures.data import NO_OK, FigureData, evenly, quantile_ends
from streambench.report.figures.figure import FigureDraft, figure
from streambench.report.figures.labels import listed
from streambench.text import count, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes


PER = 1_000
"""The number of answers that the cost is given for."""


@figure("cost-speed", "Cost against speed")
def cost_speed(material: FigureData) -> FigureDraft | str:
    """Draws a mark for each model: x is USD per 1,000 `ok` answers (mean), y is tokens per second (median, quartiles).

    Cost of an answer = sum over kinds of tokens (tokens x price / 1,000,000) + price of a request, by the config's
    prices; for a model without them, the cost that the gateway stated. Models without a known cost or output speed are
    left out.
    """
    if not len(material.ok):
        return NO_OK
    costs = _costs(material)
    speeds = material.by_model("output_tok_s")
    both = [name for name in speeds if name in costs]
    if not both:
        if not costs:
            return "no model has a known cost: the config has no prices or no usage is known, and no gateway states any"
        return "no model with a known cost has a known output speed"
    points = {name: (costs[name][0], float(np.median(speeds[name]))) for name in both}
    front = _frontier(points)
    sheet, axes = style.sheet(3.6)
    log = style.scale(axes, "x", [cost for cost, _ in points.values()])
    ends = {name: quantile_ends(speeds[name], [0.25, 0.75]) for name in both}
    fast = style.scale(axes, "y", [*(end for pair in ends.values() for end in pair)])
    shown = _shown(points, front)
    for name in both:
        _mark(axes, material, name, points[name], ends[name], in_colour=name in shown, stated=costs[name][1])
    axes.set_xlabel(style.unit(f"USD per {count(PER)} answers", log=log))
    axes.set_ylabel(style.unit("output speed, tokens/s", log=fast))
    legend_of(sheet, material, shown, both, points)
    missing = [material.model(name).label for name in material.by_model("ttft_ms") if name not in both]
    stated = [material.model(name).label for name in both if costs[name][1]]
    return FigureDraft(
        sheet,
        _sentence(material, points, front),
        "Marks, one for each model: its output speed over the cost of a thousand answers.",
        f"Up and to the left is better. Mark: mean cost and median speed; bar: the middle half of the speeds. "
        f"Only ok requests.{f' Hollow: cost as stated by the gateway: {listed(stated)}.' if stated else ''}"
        f"{f' Left out, as cost or speed is unknown: {listed(missing)}.' if missing else ''}"
        f"{'' if shown == both else _RULE} {material.left_out}",
    )


def _costs(material: FigureData) -> dict[str, tuple[float, bool]]:
    """Returns (USD per PER answers, True if the gateway stated it) by model: mean over answers of known cost."""
    found: dict[str, tuple[float, bool]] = {}
    for model in material.models:
        rows = material.ok[material.ok["model"] == model.name]
        for column in ("cost_usd", "cost_stated_usd"):
            known = rows[column].dropna()
            if len(known) and model.name not in found:
                found[model.name] = (float(known.mean()) * PER, column == "cost_stated_usd")
    return found


def _frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Returns the Pareto frontier, cheapest first: models for which no other is at least as good in both cost and speed
    and better in one.
    """
    front = [
        name
        for name, (cost, speed) in points.items()
        if not any(
            other_cost <= cost and other_speed >= speed and (other_cost, other_speed) != (cost, speed)
            for other_cost, other_speed in points.values()
        )
    ]
    return sorted(front, key=lambda name: points[name])


def _shown(points: Mapping[str, tuple[float, float]], front: list[str]) -> list[str]:
    """Returns the models in colour: all if there are at most MANY, else an even sample of the frontier and the WORST
    most expensive.
    """
    if len(points) <= style.MANY:
        return list(points)
    some = [front[place] for place in evenly(len(front), style.MANY - style.WORST)]
    dearest = sorted(points, key=lambda name: points[name])[-style.WORST :]
    return list(dict.fromkeys([*some, *dearest]))


_RULE = (
    f" In colour: models that no other beats in both, at most {style.MANY - style.WORST}, and the {style.WORST} "
    "most expensive."
)


def _mark(
    axes: Axes,
    material: FigureData,
    name: str,
    point: tuple[float, float],
    ends: list[float],
    *,
    in_colour: bool,
    stated: bool,
) -> None:
    look = material.model(name).look
    colour = look.colour if in_colour else style.REST[0]
    axes.plot([point[0]] * 2, ends, color=colour, linewidth=1.2, zorder=2)
    axes.plot(
        [point[0]],
        [point[1]],
        linestyle="none",
        marker=look.marker if in_colour else "o",
        markersize=7 if in_colour else 4,
        color=colour,
        markerfacecolor=style.GROUND[0] if stated else colour,
        label=name,
        zorder=3,
    )


def legend_of(sheet: Any, material: FigureData, shown: list[str], both: list[str], points: Mapping[str, Any]) -> None:
    """Adds the legend: the names in colour with cost and speed, cheapest first, and the number of grey models."""
    order = sorted(shown, key=lambda name: points[name])
    handles = [material.model(name).look.dot() for name in order]
    names = [
        f"{material.model(name).label}\n{usd(points[name][0])} USD, {three_digits(points[name][1])} tokens/s"
        for name in order
    ]
    if len(both) > len(shown):
        names[-1] += f"\n(grey: {len(both) - len(shown)} others)"
    style.key(sheet, handles, names)


def _sentence(material: FigureData, points: Mapping[str, tuple[float, float]], front: list[str]) -> str:
    def point(name: str) -> str:
        cost, speed = points[name]
        return (
            f"{material.model(name).label} ({usd(cost)} USD per {count(PER)} answers, {three_digits(speed)} tokens/s)"
        )

    if len(points) == 1:
        return f"Only {point(front[0])} has both a known cost and a known speed."
    if len(front) == 1:
        return f"{point(front[0])} is both the cheapest and the fastest."
    return f"{point(front[0])} is the cheapest and {point(front[-1])} the fastest."
