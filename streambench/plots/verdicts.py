"""Figures of health: each model's outcomes as stacked bars, and its findings as bars in a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from streambench.findings import FINDINGS
from streambench.health import OUTCOMES
from streambench.plots import style
from streambench.plots.drawn import Plate, figure
from streambench.plots.material import Material
from streambench.plots.text import listed
from streambench.words import counted_percent, of_many

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from streambench.frames import Frame

FAILURES = [str(outcome) for outcome in reversed(list(OUTCOMES)) if outcome != "ok"]
CELL = 0.9
"""Width of a full cell of the findings; the rest of 1 is the space between two."""
NO_REQUEST = "no measured request was recorded"


@figure("outcomes", "Outcomes")
def outcomes(material: Material) -> Plate | str:
    """A bar for each model: the share of each outcome among its measured requests, failed ones included."""
    if not len(material.requests):
        return NO_REQUEST
    names = [model.name for model in material.models if (material.requests["model"] == model.name).any()]
    counts = {name: _counts(material.requests, name) for name in names}
    seen = [outcome for outcome in FAILURES if any(counts[name].get(outcome) for name in names)]
    sheet, axes = style.sheet(style.lanes(len(names)))
    for lane, name in enumerate(names):
        _stack(axes, material, name, lane, counts[name])
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 5), ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("share of measured requests")
    style.name_rows(axes, [material.model(name).label for name in names])
    style.side_text(axes, [_told(counts[name]) for name in names])
    if seen:
        style.top_key(sheet, [_patch(outcome) for outcome in seen], list(seen), columns=6)
    return Plate(
        sheet,
        _sentence(material, counts),
        "Bars, one for each model: the shares of its requests that were ok and that failed, by kind.",
        f"Plain colour: ok; patterns: failures by kind. All measured requests, each by its last attempt; "
        f"{material.warmup:,} warm-up requests left out.",
    )


def _counts(rows: Frame, name: str) -> dict[str, int]:
    found = rows.loc[rows["model"] == name, "outcome"].value_counts()
    return {str(outcome): int(count) for outcome, count in found.items() if count}


def _stack(axes: Axes, material: Material, name: str, lane: int, counts: dict[str, int]) -> None:
    total, left = sum(counts.values()), 0.0
    for outcome in ("ok", *FAILURES):
        share = counts.get(outcome, 0) / total
        if not share:
            continue
        if outcome == "ok":
            axes.barh(lane, share, left=left, height=0.62, color=material.model(name).look.colour, label=f"{name} ok")
        else:
            axes.barh(lane, share, left=left, height=0.62, label=f"{name} {outcome}", **_pattern(outcome))
        left += share


def _pattern(outcome: str) -> dict[str, Any]:
    place = FAILURES.index(outcome)
    return {
        "facecolor": (style.GROUND, style.MIDDLE)[place // 6][0],
        "edgecolor": style.INK[0],
        "hatch": style.HATCHES[place % 6],
        "linewidth": 0.8,
    }


def _patch(outcome: str) -> Patch:
    return Patch(**_pattern(outcome))


def _told(counts: dict[str, int]) -> str:
    failed = [f"{counts[outcome]:,} {outcome}" for outcome in FAILURES if counts.get(outcome)]
    kinds = f", {listed(failed, 2)}" if failed else ""
    return f"{counts.get('ok', 0):,} of {sum(counts.values()):,} ok{kinds}"


def _sentence(material: Material, counts: dict[str, dict[str, int]]) -> str:
    every = sum(sum(found.values()) for found in counts.values())
    failed = {name: sum(found.values()) - found.get("ok", 0) for name, found in counts.items()}
    if not any(failed.values()):
        return "The only measured request was ok." if every == 1 else f"All {every:,} measured requests were ok."
    shares = {name: failed[name] / sum(counts[name].values()) for name in failed}
    largest = max(shares.values())
    worst = [material.model(name).label for name, share in shares.items() if share == largest]
    return (
        f"{sum(failed.values()):,} of {of_many(every, 'measured request')} failed; "
        f"the largest share, {counted_percent(largest)}, is that of {listed(worst)}."
    )


# --- findings ---------------------------------------------------------------------------------------------------------


@figure("findings", "Findings")
def findings(material: Material) -> Plate | str:
    """A grid of bars: the share of each model's measured requests that had each finding; a request may have several."""
    if not len(material.requests):
        return NO_REQUEST
    names = [model.name for model in material.models if (material.requests["model"] == model.name).any()]
    table = {name: _found(material.requests, name) for name in names}
    seen = [finding for finding in FINDINGS if any(finding in table[name] for name in names)]
    if not seen:
        return "no request had a finding"
    with_any = [name for name in names if table[name]]
    sheet, axes = style.sheet(style.lanes(len(with_any), 0.28, 1.0))
    totals = {name: int((material.requests["model"] == name).sum()) for name in with_any}
    axes.add_patch(_cells(len(with_any), len(seen)))
    for lane, name in enumerate(with_any):
        _row(axes, material, name, lane, [table[name].get(finding, 0) for finding in seen], totals[name])
    axes.set_xlim(-0.06, max(len(seen), 5))
    axes.set_xticks([place + 0.02 for place in range(len(seen))], seen, rotation=32, ha="left", fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, pad=1)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    style.name_rows(axes, [material.model(name).label for name in with_any])
    clean = of_many(len(names) - len(with_any), "model") if len(names) > len(with_any) else ""
    return Plate(
        sheet,
        _most(material, table, totals),
        "A grid of bars, a row for each model and a column for each finding: the share of the requests that had it.",
        f"A full cell is all of the model's measured requests, failed ones included; the number counts them. "
        f"{f'{clean} without a finding left out. ' if clean else ''}"
        f"{material.warmup:,} warm-up requests left out.",
    )


def _found(rows: Frame, name: str) -> dict[str, int]:
    cells = rows.loc[rows["model"] == name, "findings"].fillna("")
    counts = cells[cells != ""].str.split(",").explode().value_counts()
    return {str(finding): int(count) for finding, count in counts.items()}


def _row(axes: Axes, material: Material, name: str, lane: int, counts: list[int], total: int) -> None:
    places = np.flatnonzero(counts)
    shares = np.array(counts)[places] / total
    colour = material.model(name).look.colour
    axes.barh(places * 0 + lane, CELL * shares, left=places, height=0.62, color=colour, label=name)
    for place, count in enumerate(counts):
        if count:
            full = count / total > 0.55
            axes.text(
                place + (0.04 if full else 0.86),
                lane,
                f"{count:,}",
                ha="left" if full else "right",
                va="center",
                fontsize=7.5,
                color=style.INK[0],
                bbox={"facecolor": style.GROUND[0], "edgecolor": "none", "pad": 0.8} if full else None,
            )


def _cells(rows: int, columns: int) -> PathPatch:
    """The ground of every cell in one path."""
    boxes = [
        Path.unit_rectangle().transformed(Affine2D().scale(CELL, 0.62).translate(column, row - 0.31))
        for row in range(rows)
        for column in range(columns)
    ]
    return PathPatch(Path.make_compound_path(*boxes), facecolor=style.GRID[0], edgecolor="none", zorder=0)


def _most(material: Material, table: dict[str, dict[str, int]], totals: dict[str, int]) -> str:
    shares = {(name, what): count / totals[name] for name, found in table.items() for what, count in found.items()}
    name, finding = max(shares, key=lambda one: shares[one])
    share = shares[name, finding]
    return (
        f"The most frequent finding is {finding} of {material.model(name).label}: "
        f"{table[name][finding]:,} of {of_many(totals[name], 'request')} ({counted_percent(share)})."
    )
