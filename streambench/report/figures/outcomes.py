"""Figures of health: each model's outcomes as stacked bars, and its findings as a grid of bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from streambench.metrics.findings import FINDINGS
from streambench.metrics.outcomes import OUTCOMES
from streambench.report.figures import style
from streambench.report.figures.data import FigureData
from streambench.report.figures.figure import FigureDraft, figure
from streambench.report.figures.labels import listed
from streambench.text import count, counted, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from streambench.analysis.frames import Frame

FAILURES = [str(outcome) for outcome in reversed(list(OUTCOMES)) if outcome != "ok"]
CELL = 0.9
"""Width of a full cell in the grid of findings; columns are 1 apart, so the rest is space between cells."""
NO_REQUEST = "no measured request was recorded"


@figure("outcomes", "Outcomes")
def outcomes(material: FigureData) -> FigureDraft | str:
    """Draws a stacked bar for each model: the shares of outcomes among its measured requests, failed ones included."""
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
    style.side_text(axes, [_counts_text(counts[name]) for name in names])
    if seen:
        style.top_key(sheet, [_patch(outcome) for outcome in seen], list(seen), columns=6)
    return FigureDraft(
        sheet,
        _sentence(material, counts),
        "Bars, one for each model: the shares of its requests that were ok and that failed, by kind.",
        f"Plain colour: ok; patterns: failures by kind. All measured requests, each by its last attempt; "
        f"{count(material.warmup)} warm-up requests left out.",
    )


def _counts(rows: Frame, name: str) -> dict[str, int]:
    found = rows.loc[rows["model"] == name, "outcome"].value_counts()
    return {str(outcome): int(number) for outcome, number in found.items() if number}


def _stack(axes: Axes, material: FigureData, name: str, lane: int, counts: dict[str, int]) -> None:
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


def _counts_text(counts: dict[str, int]) -> str:
    failed = [f"{count(counts[outcome])} {outcome}" for outcome in FAILURES if counts.get(outcome)]
    kinds = f", {listed(failed, 2)}" if failed else ""
    return f"{count(counts.get('ok', 0))} of {count(sum(counts.values()))} ok{kinds}"


def _sentence(material: FigureData, counts: dict[str, dict[str, int]]) -> str:
    every = sum(sum(found.values()) for found in counts.values())
    failed = {name: sum(found.values()) - found.get("ok", 0) for name, found in counts.items()}
    if not any(failed.values()):
        return "The only measured request was ok." if every == 1 else f"All {count(every)} measured requests were ok."
    shares = {name: failed[name] / sum(counts[name].values()) for name in failed}
    largest = max(shares.values())
    worst = [material.model(name).label for name, share in shares.items() if share == largest]
    return (
        f"{count(sum(failed.values()))} of {counted(every, 'measured request')} failed; "
        f"the largest share, {percent(largest)}, is that of {listed(worst)}."
    )


# --- findings ---------------------------------------------------------------------------------------------------------


@figure("findings", "Findings")
def findings(material: FigureData) -> FigureDraft | str:
    """Draws a grid of bars: the share of each model's measured requests with each finding.

    A request may have several findings.
    """
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
    clean = counted(len(names) - len(with_any), "model") if len(names) > len(with_any) else ""
    return FigureDraft(
        sheet,
        _most(material, table, totals),
        "A grid of bars, a row for each model and a column for each finding: the share of the requests that had it.",
        f"A full cell is all of the model's measured requests, failed ones included; the number counts them. "
        f"{f'{clean} without a finding left out. ' if clean else ''}"
        f"{count(material.warmup)} warm-up requests left out.",
    )


def _found(rows: Frame, name: str) -> dict[str, int]:
    cells = rows.loc[rows["model"] == name, "findings"].fillna("")
    counts = cells[cells != ""].str.split(",").explode().value_counts()
    return {str(finding): int(number) for finding, number in counts.items()}


def _row(axes: Axes, material: FigureData, name: str, lane: int, counts: list[int], total: int) -> None:
    places = np.flatnonzero(counts)
    shares = np.array(counts)[places] / total
    colour = material.model(name).look.colour
    axes.barh(places * 0 + lane, CELL * shares, left=places, height=0.62, color=colour, label=name)
    for place, number in enumerate(counts):
        if number:
            full = number / total > 0.55
            axes.text(
                place + (0.04 if full else 0.86),
                lane,
                f"{count(number)}",
                ha="left" if full else "right",
                va="center",
                fontsize=7.5,
                color=style.INK[0],
                bbox={"facecolor": style.GROUND[0], "edgecolor": "none", "pad": 0.8} if full else None,
            )


def _cells(rows: int, columns: int) -> PathPatch:
    """Returns the background of all cells as one path."""
    boxes = [
        Path.unit_rectangle().transformed(Affine2D().scale(CELL, 0.62).translate(column, row - 0.31))
        for row in range(rows)
        for column in range(columns)
    ]
    return PathPatch(Path.make_compound_path(*boxes), facecolor=style.GRID[0], edgecolor="none", zorder=0)


def _most(material: FigureData, table: dict[str, dict[str, int]], totals: dict[str, int]) -> str:
    shares = {(name, what): number / totals[name] for name, found in table.items() for what, number in found.items()}
    name, finding = max(shares, key=lambda one: shares[one])
    share = shares[name, finding]
    return (
        f"The most frequent finding is {finding} of {material.model(name).label}: "
        f"{count(table[name][finding])} of {counted(totals[name], 'request')} ({percent(share)})."
    )
