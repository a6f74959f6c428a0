"""Figures of latency: the distribution of TTFT, TTFT and E2E by prompt, TTFT against the prompt's length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from streambench.report.figures import style
from streambench.report.figures.data import NO_OK, FigureData, evenly, medians
from streambench.report.figures.figure import FigureDraft, figure
from streambench.report.figures.labels import labels, listed
from streambench.text import count, counted, percent, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from streambench.analysis.frames import Frame

CURVE = 500
"""Points of one curve at most; of a larger sample, this many values evenly spaced by rank, with both ends."""
PROMPTS = 24
"""Prompts shown at most: those with the largest difference between the models' medians."""
LENGTHS = 3
"""Different prompt lengths needed to draw the figure by length."""


# --- distribution -----------------------------------------------------------------------------------------------------


@figure("ttft-ecdf", "Time to the first token")
def ttft_ecdf(material: FigureData) -> FigureDraft | str:
    """Draws the ECDF of each model's TTFT in ms over its `ok` requests: F(t) = |{TTFT <= t}| / n."""
    samples = material.by_model("ttft_ms")
    if not samples:
        return NO_OK
    middles = medians(samples)
    shown = style.in_focus(middles)
    sheet, axes = style.sheet(3.6)
    log = style.scale(axes, "x", np.concatenate(list(samples.values())))
    for name in sorted(samples, key=lambda name: name in shown):
        _curve(axes, material, name, samples[name], in_colour=name in shown)
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel(style.unit("TTFT in ms", log=log))
    axes.set_ylabel("share that had started")
    legend(
        sheet, material, shown, samples, {name: f"{three_digits(middles[name])} ms" for name in shown}, title="median"
    )
    return FigureDraft(
        sheet,
        _starts_first(material, middles),
        "Curves, one for each model: the share of its requests whose first token had arrived, over the time in ms.",
        f"A curve further left is faster; the mark is its median. Only ok requests. {material.left_out}"
        f"{greys(samples)}",
    )


def _curve(axes: Axes, material: FigureData, name: str, sample: NDArray[np.float64], *, in_colour: bool) -> None:
    values = np.sort(sample)
    ranks = np.array(evenly(len(values), CURVE))
    x, y = values[ranks], (ranks + 1) / len(values)
    look = material.model(name).look
    drawn: dict[str, Any] = (
        {"color": look.colour, "linestyle": look.dash, "zorder": 3}
        if in_colour
        else {"color": style.REST[0], "linewidth": 0.8, "zorder": 2}
    )
    axes.plot(np.r_[x[0], x], np.r_[0.0, y], drawstyle="steps-post", label=name, **drawn)
    if in_colour:
        axes.plot([np.median(values)], [0.5], color=look.colour, marker=look.marker, linestyle="none", zorder=4)


def _starts_first(material: FigureData, middles: Mapping[str, float]) -> str:
    """Returns a sentence on the model with the lowest median TTFT: the median, and in how many rounds (one prompt and
    turn, one repeat) with two or more `ok` models it starts first.
    """
    best = min(middles, key=lambda name: middles[name])
    text = f"{material.model(best).label}"
    if len(middles) == 1:
        n = int(material.ok["ttft_ms"].notna().sum())
        whose = "its only request" if n == 1 else f"half of its {counted(n, 'request')}"
        return f"{text}: {whose} had started after {three_digits(middles[best])} ms."
    rows = material.ok.dropna(subset=["ttft_ms"])
    table = rows.pivot_table(index=["block", "turn"], columns="model", values="ttft_ms", observed=True)
    shared = table[table[best].notna() & (table.notna().sum(axis=1) > 1)]
    if not len(shared):
        alone = "no other model answered the same prompt and repeat"
        return f"{text} has the lowest median, {three_digits(middles[best])} ms; {alone}."
    won = int((shared.idxmin(axis=1) == best).sum())
    last = max(middles, key=lambda name: middles[name])
    return (
        f"{text} has the lowest median, {three_digits(middles[best])} ms, and starts first in {count(won)} of "
        f"{counted(len(shared), 'round')} (one prompt, one repeat); the highest median is that of "
        f"{material.model(last).label}, {three_digits(middles[last])} ms."
    )


def legend(
    sheet: Any,
    material: FigureData,
    shown: Sequence[str],
    everyone: Mapping[str, Any],
    values: Mapping[str, str],
    *,
    title: str | None = None,
    dots: bool = False,
) -> None:
    """Adds the legend: the names in the order of `shown`, each with its value, and one entry for the grey models."""
    models = [material.model(name) for name in shown]
    handles = [model.look.dot() if dots else model.look.line() for model in models]
    names = [f"{model.label}  {values[model.name]}".rstrip() for model in models]
    rest = len(everyone) - len(shown)
    if rest > 0:
        handles.append(_rest(dots=dots))
        names.append(f"{rest} others")
    style.key(sheet, handles, names, title=title)


def _rest(*, dots: bool) -> Any:
    from matplotlib.lines import Line2D

    if dots:
        return Line2D([], [], color=style.REST[0], linestyle="none", marker=".")
    return Line2D([], [], color=style.REST[0], linewidth=0.8)


def greys(everyone: Mapping[str, Any], about: str = "median") -> str:
    """Returns the note's sentence on which models are in colour; "" if all are."""
    if len(everyone) <= style.MANY:
        return ""
    return (
        f" Of {len(everyone)} models the {style.BEST} with the lowest and the {style.WORST} with the highest {about} "
        f"are in colour, the rest in grey."
    )


# --- by prompt --------------------------------------------------------------------------------------------------------


@figure("latency-by-prompt", "Time to the first token and to the end, by prompt")
def latency_by_prompt(material: FigureData) -> FigureDraft | str:
    """Draws a lane for each prompt with a dot for each model: the median TTFT and E2E in ms over the repeats."""
    if not len(material.by_model("ttft_ms")):
        return NO_OK
    tables = {column: _by_prompt(material.ok, column) for column in ("ttft_ms", "e2e_ms")}
    first = tables["ttft_ms"]
    apart = first.max(axis=1) - first.min(axis=1)
    picked = apart.sort_values(ascending=False, kind="stable").index[:PROMPTS]
    order = list(first.loc[picked].median(axis=1).sort_values(kind="stable").index)
    names = [str(name) for name in first.columns]
    shown = style.in_focus({name: float(first[name].median()) for name in names})
    sheet, (left, right) = style.sheet(style.lanes(len(order), 0.27), ncols=2, sharey=True)
    for axes, column, title in ((left, "ttft_ms", "TTFT in ms"), (right, "e2e_ms", "E2E in ms")):
        _lanes(axes, material, tables[column].loc[order], shown, title)
    style.name_rows(left, list(labels(map(str, order), 24).values()))
    right.tick_params(axis="y", length=0)
    right.grid(visible=False, axis="y")
    handles = [material.model(name).look.dot() for name in shown]
    shown_names = [material.model(name).label for name in shown]
    if len(shown) < len(names):
        handles, shown_names = [*handles, _rest(dots=True)], [*shown_names, f"{len(names) - len(shown)} others"]
    style.top_key(sheet, handles, shown_names, columns=3)
    cut = "" if len(order) == len(first) else f" Shown: the {PROMPTS} of {len(first)} prompts where TTFT differs most."
    return FigureDraft(
        sheet,
        _spread(material, first),
        "Two panels with a row for each prompt and a dot for each model: the median TTFT and the median E2E.",
        f"A dot is a model's median over the prompt's repeats; the line joins fastest and slowest. E2E grows with the "
        f"answer's length. Only ok requests. {material.left_out}{cut}{greys(dict.fromkeys(names))}",
    )


def _by_prompt(rows: Frame, column: str) -> Frame:
    """Returns the median over repeats as a frame, prompts by models; NaN if a model has no value for a prompt."""
    return rows.pivot_table(index="prompt_id", columns="model", values=column, aggfunc="median", observed=True)


def _lanes(axes: Axes, material: FigureData, table: Frame, shown: Sequence[str], title: str) -> None:
    log = style.scale(axes, "x", table.to_numpy()[table.notna().to_numpy()])
    places = np.arange(len(table))
    axes.hlines(places, table.min(axis=1), table.max(axis=1), color=style.MIDDLE[0], linewidth=1.2, zorder=1)
    for name in sorted(map(str, table.columns), key=lambda name: name in shown):
        look = material.model(name).look
        drawn: dict[str, Any] = (
            {"color": look.colour, "marker": look.marker, "zorder": 3}
            if name in shown
            else {
                "color": style.REST[0],
                "marker": ".",
                "zorder": 2,
                "markersize": 3.5,
                "rasterized": True,
            }
        )
        axes.plot(table[name], places, linestyle="none", label=name, **drawn)
    axes.set_xlabel(style.unit(title, log=log))


def _spread(material: FigureData, table: Frame) -> str:
    if table.shape[1] == 1:
        name, middle = str(table.columns[0]), table.iloc[:, 0].dropna().sort_values()
        if len(middle) == 1:
            return f"{material.model(name).label} starts after {three_digits(middle.iloc[0])} ms on the only prompt."
        return (
            f"{material.model(name).label} starts after {three_digits(middle.iloc[0])} ms on its fastest prompt "
            f"and after {three_digits(middle.iloc[-1])} ms on its slowest, of {counted(len(middle), 'prompt')}."
        )
    shared = table[table.notna().sum(axis=1) > 1]
    if not len(shared):
        return "No prompt was answered by more than one model."
    wins = shared.idxmin(axis=1).value_counts()
    name, won = str(wins.index[0]), int(wins.iloc[0])
    return (
        f"{material.model(name).label} has the lowest median TTFT on {won} of {counted(len(shared), 'prompt')}"
        f"{'' if won == len(shared) else f'; {_others(material, wins)}'}."
    )


def _others(material: FigureData, wins: Any) -> str:
    others = [f"{material.model(str(name)).label} on {int(count)}" for name, count in wins.iloc[1:].items() if count]
    return listed(others)


# --- by length --------------------------------------------------------------------------------------------------------


@figure("ttft-by-prompt-length", "Time to the first token, by the prompt's length")
def ttft_by_prompt_length(material: FigureData) -> FigureDraft | str:
    """Draws a dot for each model and prompt: the median TTFT in ms against the prompt's characters, from the run's
    header.

    Later turns of a session are left out: their prompt includes earlier answers, whose length is not in the header.
    """
    lengths = _lengths(material)
    if not lengths:
        return "the run's header does not say how long its prompts are"
    rows = material.ok[material.ok["turn"].fillna(0) == 0]
    table = _by_prompt(rows, "ttft_ms") if len(rows) else rows
    table = table.loc[[prompt for prompt in table.index if str(prompt) in lengths]] if len(rows) else table
    if not len(table):
        return NO_OK if not len(material.ok) else "no ok request had a prompt whose length is known"
    chars = np.array([lengths[str(prompt)] for prompt in table.index], dtype=float)
    if len(set(chars)) < LENGTHS:
        return f"prompts of at least {LENGTHS} lengths are needed, and there are {len(set(chars))}"
    names = [str(name) for name in table.columns]
    shown = style.in_focus({name: float(table[name].median()) for name in names})
    sheet, axes = style.sheet(3.6)
    wide = style.scale(axes, "x", chars, origin=False)
    log = style.scale(axes, "y", table.to_numpy()[table.notna().to_numpy()])
    for name in sorted(names, key=lambda name: name in shown):
        _against(axes, material, name, chars, table[name].to_numpy(dtype=float), in_colour=name in shown)
    thinned = f" Dots: an even sample of at most {count(style.DOTS)}." if table.size > style.DOTS else ""
    axes.set_xlabel(style.unit("characters of the prompt", log=wide))
    axes.set_ylabel(style.unit("TTFT in ms", log=log))
    legend(sheet, material, shown, dict.fromkeys(names), dict.fromkeys(shown, ""))
    return FigureDraft(
        sheet,
        _longer(material, table, chars),
        "Dots, one for each model and prompt: the median TTFT over the length of the prompt.",
        f"A dot is a model's median over the prompt's repeats; a line joins the medians of thirds of the prompts by "
        f"length. Only ok requests. {material.left_out}{greys(dict.fromkeys(names))}{thinned}",
    )


def _lengths(material: FigureData) -> dict[str, int]:
    catalogue = material.header.suite.get("catalogue") or {}
    found = {str(prompt): (facts or {}).get("chars") for prompt, facts in catalogue.items()}
    return {prompt: chars for prompt, chars in found.items() if isinstance(chars, int) and chars > 0}


def _against(
    axes: Axes,
    material: FigureData,
    name: str,
    chars: NDArray[np.float64],
    ttft: NDArray[np.float64],
    *,
    in_colour: bool,
) -> None:
    known = ~np.isnan(ttft)
    look = material.model(name).look
    by_length = np.flatnonzero(known)[np.argsort(chars[known], kind="stable")]
    some = by_length[evenly(len(by_length), style.DOTS // len(material.models))]
    if not in_colour:
        axes.plot(chars[some], ttft[some], ".", color=style.REST[0], markersize=2.5, label=name, rasterized=True)
        return
    axes.plot(
        chars[some],
        ttft[some],
        linestyle="none",
        marker=look.marker,
        color=look.colour,
        markersize=3.8,
        alpha=0.75,
        label=name,
        zorder=3,
    )
    x, y = _thirds(chars[known], ttft[known])
    axes.plot(x, y, color=look.colour, linestyle=look.dash, zorder=4)


def _thirds(chars: NDArray[np.float64], ttft: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Returns the median lengths and the median TTFTs of the shortest, middle and longest third of the prompts."""
    order = np.argsort(chars, kind="stable")
    parts = [part for part in np.array_split(order, 3) if len(part)]
    return [float(np.median(chars[part])) for part in parts], [float(np.median(ttft[part])) for part in parts]


def _longer(material: FigureData, table: Frame, chars: NDArray[np.float64]) -> str:
    """Returns a sentence on the model whose TTFT changes most, relatively, from the shortest third of prompts to the
    longest.
    """
    found: dict[str, tuple[float, float]] = {}
    for name in map(str, table.columns):
        ttft = table[name].to_numpy(dtype=float)
        known = ~np.isnan(ttft)
        if len(set(chars[known])) >= LENGTHS and ttft[known].min() > 0:
            _, y = _thirds(chars[known], ttft[known])
            found[name] = (y[0], y[-1])
    if not found:
        return f"{counted(len(table), 'prompt')} of {chars.min():,.0f} to {chars.max():,.0f} characters."
    most = max(found, key=lambda name: abs(found[name][1] / found[name][0] - 1))
    short, long = found[most]
    change = long / short - 1
    return (
        f"Between the shortest and the longest third of the prompts ({chars.min():,.0f} to {chars.max():,.0f} "
        f"characters) the TTFT of {material.model(most).label} changes most: from {three_digits(short)} to "
        f"{three_digits(long)} ms, {percent(abs(change))} {'more' if change >= 0 else 'less'}."
    )
