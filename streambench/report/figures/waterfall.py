"""The figure of single requests: the phases of each model's median and slowest request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Patch

from streambench.metrics.definitions import NS_PER_MS
from streambench.records.schema import GENERATED
from streambench.report.figures import style
from streambench.report.figures.data import NO_OK, FigureData, evenly
from streambench.report.figures.figure import FigureDraft, figure
from streambench.text import three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from streambench.analysis.frames import Frame
    from streambench.records.schema import AttemptRecord

SHOWN = 12
"""Models shown at most; of more, half of this number with the lowest and half with the highest median E2E."""
TICKS = 120
"""Chunks marked in one bar at most; of more, an even sample of this size."""

PHASES = {
    "queue": {"facecolor": style.GROUND[0], "hatch": "////"},
    "connect": {"facecolor": style.SOFT[0]},
    "wait for headers": {"facecolor": style.MIDDLE[0]},
    "think": {"facecolor": style.GRID[0]},
    "wait or think": {"facecolor": style.GRID[0], "hatch": "\\\\\\\\"},
}
"""The drawing style of each phase before the stream; the stream has the model's colour."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One request. `phases` are (name, from, to) in ms since its start; times in the queue are negative."""

    name: str
    which: str
    seq: int
    phases: tuple[tuple[str, float, float], ...]
    chunks_ms: tuple[float, ...]

    @property
    def e2e_ms(self) -> float:
        return self.phases[-1][2]


@figure("waterfall", "Where the time went: a median and the slowest request")
def waterfall(material: FigureData) -> FigureDraft | str:
    """Draws two `ok` requests for each model as bars of phases: the one with the median E2E, and the slowest.

    queue = wait for a throttle or a free slot, before the start; connect = DNS + connect + TLS of a new connection;
    wait for headers = from the end of connect to the headers; think = from the headers to the first generated chunk;
    stream = from the first generated chunk to the last. If the time of the headers is unknown, wait and think are one
    phase.
    """
    rows = material.ok[material.ok["e2e_ms"].notna()]
    if not len(rows):
        return NO_OK
    names = _picked(material, rows)
    bars = [bar for name in names for bar in _bars(material, name, rows[rows["model"] == name])]
    sheet, axes = style.sheet(style.lanes(len(bars), 0.27))
    for lane, bar in enumerate(bars):
        _draw(axes, material, bar, lane)
    low = min(bar.phases[0][1] for bar in bars)
    high = max(bar.e2e_ms for bar in bars)
    style.scale(axes, "x", [low, high], log=False)
    axes.set_xlim(low * 1.04, high * 1.06 or 1.0)
    axes.axvline(0, color=style.INK[0], linewidth=0.9, zorder=4)
    axes.set_xlabel("time since the request's start in ms")
    style.name_rows(axes, _names(material, bars))
    style.side_text(axes, [f"{three_digits(bar.e2e_ms)} ms, #{bar.seq}" for bar in bars])
    used = [phase for phase in PHASES if any(phase == one for bar in bars for one, _, _ in bar.phases)]
    handles = [Patch(edgecolor=style.INK[0], linewidth=0.6, **PHASES[phase]) for phase in used]  # type: ignore[arg-type]
    handles.append(Patch(facecolor=material.model(names[0]).look.colour))
    style.top_key(sheet, handles, [*used, "stream (a model's colour)"], columns=6)
    models = rows["model"].nunique()
    rule = f" Shown: {len(names)} of {models} models, with the lowest and the highest median E2E."
    cut = rule if len(names) < models else ""
    return FigureDraft(
        sheet,
        _sentence(material, bars),
        "Bars, two for each model: the phases of its median and of its slowest request, one after the other.",
        f"Right: E2E and the request's number. Ticks in a stream: chunks, at most {TICKS}. Only ok requests, "
        f"the last attempt of each. {material.left_out}{cut}",
    )


def _picked(material: FigureData, rows: Frame) -> list[str]:
    middles = rows.groupby("model", observed=True)["e2e_ms"].median()
    present = [model.name for model in material.models if model.name in middles.index]
    if len(present) <= SHOWN:
        return present
    ranked = sorted(present, key=lambda name: float(middles[name]))
    return [*ranked[: SHOWN // 2], *ranked[-SHOWN // 2 :]]


def _bars(material: FigureData, name: str, rows: Frame) -> list[Bar]:
    """Returns the request with the median E2E (of two the lower) and the slowest; one bar if there is one request."""
    ranked = rows.sort_values(["e2e_ms", "seq"], kind="stable")["seq"].astype(int).tolist()
    middle, worst = ranked[(len(ranked) - 1) // 2], ranked[-1]
    if len(ranked) == 1:
        return [_bar(material.finals[middle], name, "only")]
    return [_bar(material.finals[middle], name, "median"), _bar(material.finals[worst], name, "slowest")]


def _bar(record: AttemptRecord, name: str, which: str) -> Bar:
    line = record.timeline
    chunks = [at / NS_PER_MS for at, kind in zip(line.offset_ns, line.kind, strict=True) if kind in GENERATED]
    connected = _connect_ms(record)
    phases = [("queue", -record.queue_ns / NS_PER_MS, 0.0)] if record.queue_ns > 0 else []
    if connected:
        phases.append(("connect", 0.0, connected))
    first, last = chunks[0], chunks[-1]
    if record.headers_ns is None or not connected <= record.headers_ns / NS_PER_MS <= first:
        phases.append(("wait or think", min(connected, first), first))
    else:
        headers = record.headers_ns / NS_PER_MS
        phases += [("wait for headers", connected, headers), ("think", headers, first)]
    phases.append(("stream", first, last))
    return Bar(name, which, record.ticket.seq, tuple(phases), tuple(chunks))


def _connect_ms(record: AttemptRecord) -> float:
    """Returns the connection's set-up time inside the request's latency, in ms.

    0 if the connection was reused or was opened before the attempt.
    """
    link = record.connection
    if link is None or not link.new or link.ahead:
        return 0.0
    return sum(part for part in (link.dns_ns, link.connect_ns, link.tls_ns) if part is not None) / NS_PER_MS


def _draw(axes: Axes, material: FigureData, bar: Bar, lane: int) -> None:
    colour = material.model(bar.name).look.colour
    for phase, start, end in bar.phases:
        look: dict[str, Any] = {"facecolor": colour} if phase == "stream" else PHASES[phase]
        edge = colour if phase == "stream" else style.INK[0]
        axes.barh(
            lane, end - start, left=start, height=0.6, label=f"{bar.seq} {phase}", edgecolor=edge, linewidth=0.6, **look
        )
    picked = [bar.chunks_ms[place] for place in evenly(len(bar.chunks_ms), TICKS)]
    x = np.repeat(picked, 3)
    y = np.tile([lane - 0.2, lane + 0.2, np.nan], len(picked))
    axes.plot(x, y, color=style.GROUND[0], linewidth=0.6, solid_capstyle="butt", label=f"{bar.seq} chunks")


def _names(material: FigureData, bars: list[Bar]) -> list[str]:
    """Returns the bars' names; only a model's first bar has the model's label."""
    before = [None, *(bar.name for bar in bars)]
    return [
        bar.which if bar.name == last else f"{material.model(bar.name).label}  {bar.which}"
        for bar, last in zip(bars, before, strict=False)
    ]


def _sentence(material: FigureData, bars: list[Bar]) -> str:
    slowest = max(bars, key=lambda bar: bar.e2e_ms)
    longest, start, end = max(slowest.phases, key=lambda phase: phase[2] - phase[1])
    where = "in the queue, before its start" if longest == "queue" else f"in the phase `{longest}`"
    return (
        f"The slowest request shown, of {material.model(slowest.name).label} (number {slowest.seq}), took "
        f"{three_digits(slowest.e2e_ms)} ms; its longest part, {three_digits(end - start)} ms, was {where}."
    )
