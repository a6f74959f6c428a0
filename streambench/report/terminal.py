"""The table that a run ends with: a row per model, and under it what a reader must know to trust the numbers.

Too many columns for the terminal go into further tables below the first: nothing is ever cut but a huge name.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streambench.money import usd
from streambench.report.summary import NEEDED, Estimate, ModelSummary, Summary
from streambench.words import DASH, counted_percent, inert, number, of_many, whole

if TYPE_CHECKING:
    from streambench.report.sentences import Line

PIPE_WIDTH = 140
"""The width where the output is no terminal and COLUMNS does not say."""

STAMPS = {
    "kernel": "the kernel's receive time of each read",
    "read": "the time at which we read the socket",
    "sdk": "user-space time in the SDK's own client (a proxy or HTTP/2 is in use)",
}

STATUS = {
    "interrupted": "it was interrupted",
    "duration_limit": "its time limit was reached",
    "disk_error": "its journal could not be written",
    "key_refused": "a gateway refused the key",
    "failure_share": "too many of its requests failed",
    "budget": "its budget is spent",
    "set_aside": "a model failed too often and was set aside",
    "unfinished": "it was killed, or still goes on",
}

Percentile = Literal["p50", "p90", "p95", "p99"]

_GAP = 2
_NAME_LIMIT = 32
_EVIDENCE_LIMIT = 240
_REASON_LIMIT = 600
_VERDICT_LIMIT = 2_000
_NO_ISOLATES = dict.fromkeys((0x2068, 0x2069))
_NAMES_TOLD = 8
_ASIDE_FROM = 100
"""The width from which an example stands beside its name, and not below its model's."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head (two lines), its text for a model, and its colour where it is not the default."""

    head: str
    cell: Callable[[ModelSummary], str]
    style: str = ""

    def width(self, models: Iterable[ModelSummary]) -> int:
        texts = (self.head, *map(self.cell, models))
        return max(cell_len(line) for text in texts for line in text.split("\n"))


def _metric(head: str, column: str, percentile: Percentile) -> Column:
    return Column(head, lambda model: _estimate(model.metrics[column], percentile))


COLUMNS: tuple[Column, ...] = (
    Column("requests\nok/all", lambda model: f"{model.ok}/{model.requests}"),
    Column("failed\nas", lambda model: _failed(model), style="red"),
    _metric("TTFT\np50 ms", "ttft_ms", "p50"),
    _metric("TTFT\np95 ms", "ttft_ms", "p95"),
    _metric("gap\np50 ms", "chunk_gap_ms", "p50"),
    _metric("gap\np99 ms", "chunk_gap_ms", "p99"),
    _metric("TPOT\np50 ms", "tpot_ms", "p50"),
    _metric("output\ntok/s", "output_tok_s", "p50"),
    _metric("E2E\np50 ms", "e2e_ms", "p50"),
    Column("tokens\nin", lambda model: whole(model.usage.input)),
    Column("tokens\nout", lambda model: whole(model.usage.output)),
    Column("cost\nUSD", lambda model: _cost(model)),
)


def show(summary: Summary, folder: Path | None = None, out: TextIO | None = None) -> None:
    """Prints the summary, as wide as the terminal, in colour only on one."""
    out = out or sys.stdout
    console = Console(file=out)
    width = console.width if out.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    text = render(summary, folder, width=width, colour=out.isatty() and console.color_system is not None)
    encoding = out.encoding or "utf-8"
    out.write(text.encode(encoding, "backslashreplace").decode(encoding))


def tell(lines: Iterable[Line], out: TextIO | None = None) -> None:
    """Prints a verdict: what each line answers, then its sentences, as wide as the terminal."""
    out = out or sys.stdout
    width = Console(file=out).width if out.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    text = io.StringIO()
    console = Console(file=text, width=max(40, width), markup=False, highlight=False, emoji=False)
    for line in lines:
        # What isolates a name that runs from right to left is no matter of terminals.
        answer = inert(line.says.translate(_NO_ISOLATES), _VERDICT_LIMIT)
        console.print(Text(f"{line.question}: {answer}".rstrip(), overflow="fold"))
        for point in line.few:
            shown = Text(inert(point.translate(_NO_ISOLATES), _VERDICT_LIMIT), overflow="fold")
            console.print(Padding(shown, (0, 0, 0, 2)))
    encoding = out.encoding or "utf-8"
    told = "\n".join(each.rstrip() for each in text.getvalue().split("\n"))
    out.write(told.encode(encoding, "backslashreplace").decode(encoding))


def render(summary: Summary, folder: Path | None = None, *, width: int, colour: bool = False) -> str:
    """The tables and the notes as text, no line wider than `width` (from 40 up) but for the folder's path."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(40, width),
        force_terminal=colour,
        color_system="standard" if colour else None,
        markup=False,
        highlight=False,
        emoji=False,
    )
    for band in _bands(summary.models, console.width):
        console.print(_table(summary.models, band, console.width), "")
    for block in _blocks(summary.models):
        _print_block(console, block)
    for note in notes(summary):
        console.print(Text(note, overflow="fold"))
    if folder is not None:
        # Whole on one line, however long, so that it can be copied.
        console.print(Text(f"Files: {inert(str(folder), 1000)}"), soft_wrap=True)
        if not summary.complete:
            rest = f"To send the rest: streambench resume {shlex.quote(inert(str(folder), 1000))}"
            console.print(Text(rest), soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _bands(models: Sequence[ModelSummary], width: int) -> list[list[Column]]:
    """The columns in as few tables as fit the width, each of which has the models' names too."""
    room = width - _names_width(models, width)
    bands: list[list[Column]] = [[]]
    left = room
    for column in _columns(models):
        needed = _GAP + column.width(models)
        if needed > left and bands[-1]:
            bands.append([])
            left = room
        bands[-1].append(column)
        left -= needed
    return bands


def _columns(models: Sequence[ModelSummary]) -> Sequence[Column]:
    """All but the last, the cost, where nobody has one: it would fill a table of its own with dashes."""
    return COLUMNS if any(map(_has_cost, models)) or not models else COLUMNS[:-1]


def _has_cost(model: ModelSummary) -> bool:
    cost = model.cost_usd
    return cost.priced is not None or cost.stated is not None or cost.attempts_unpriced > 0


def _table(models: Sequence[ModelSummary], band: Sequence[Column], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 0, 0, _GAP), header_style="bold")
    table.add_column(Text("model"), no_wrap=True, min_width=_names_width(models, width))
    for column in band:
        table.add_column(Text(column.head), justify="right", no_wrap=True)
    for model in models:
        table.add_row(Text(_name(model, width)), *(_styled(column, model) for column in band))
    return table


def _styled(column: Column, model: ModelSummary) -> Text:
    text = column.cell(model)
    return Text(text, style="" if text == "0" else column.style)


def _names_width(models: Sequence[ModelSummary], width: int) -> int:
    return max((cell_len(_name(model, width)) for model in models), default=len("model"))


def _name(model: ModelSummary, width: int) -> str:
    mark = " (simulated)" if model.simulated else ""
    return _short(model, width, len(mark)) + mark


def _short(model: ModelSummary, width: int, taken: int = 0) -> str:
    limit = min(_NAME_LIMIT, width // 2 - taken)
    name = inert(model.model, limit)
    while cell_len(name) > limit:  # wide characters take two cells
        name = name[:-1]
    return name


def _estimate(estimate: Estimate, percentile: Percentile) -> str:
    value: float | None = getattr(estimate, percentile)
    if value is not None or not estimate.n:
        return number(value)
    return f"{DASH} n<{NEEDED[percentile]}"


def _failed(model: ModelSummary) -> str:
    """One kind a line, so that many kinds make a row taller and not wider."""
    kinds = [f"{count} {outcome}" for outcome, count in model.outcomes.items() if count and outcome != "ok"]
    return "\n".join(kinds) or "0"


def _cost(model: ModelSummary) -> str:
    cost = model.cost_usd
    if cost.priced is None:
        return DASH if cost.stated is None else f"{usd(cost.stated)} stated"
    return f"{'>= ' if cost.attempts_unpriced else ''}{usd(cost.priced)}"


@dataclass(frozen=True, slots=True)
class _Told:
    """A line below the table: how many of a model's requests had it, its name, and one example."""

    model: ModelSummary
    requests: int
    name: str
    example: str


@dataclass(frozen=True, slots=True)
class _Block:
    title: str
    head: str
    rows: Sequence[_Told]
    style: str = ""


def _blocks(models: Sequence[ModelSummary]) -> Iterator[_Block]:
    """What failed, and what was found; none without rows."""
    failed = [row for model in models for row in _outcomes_told(model)]
    if failed:
        yield _Block("Not ok, so in no latency:", "outcome", failed, style="red")
    found = [row for model in models for row in _findings_told(model)]
    if found:
        yield _Block("Found in the requests, ok or not (docs/health.md has what each means):", "finding", found)


def _outcomes_told(model: ModelSummary) -> Iterator[_Told]:
    for outcome, example in model.evidence.items():
        count = model.outcomes[outcome]
        text = inert(example.text.removeprefix(outcome).lstrip(": "), _EVIDENCE_LIMIT)
        unlike = f" ({count - example.requests} more, told otherwise)" if count > example.requests else ""
        yield _Told(model, count, outcome, text + unlike)


def _findings_told(model: ModelSummary) -> Iterator[_Told]:
    for name, count in model.findings.items():
        yield _Told(model, count, name, inert(model.facts[name], _EVIDENCE_LIMIT))


def _print_block(console: Console, block: _Block) -> None:
    console.print(Text(block.title))
    if console.width >= _ASIDE_FROM:
        console.print(_aside(block, console.width), "")
        return
    for row, first in _firsts(block.rows):
        if first:
            console.print(Text(_short(row.model, console.width)))
        told = Text.assemble(f"{_share(row)} ", (row.name, block.style), f": {row.example}", overflow="fold")
        console.print(Padding(told, (0, 0, 0, _GAP)))
    console.print("")


def _aside(block: _Block, width: int) -> Table:
    """One line a row where the example is short; a longer one goes on below itself."""
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    table.add_column(Text("model"), no_wrap=True)
    table.add_column(Text("requests"), justify="right", no_wrap=True)
    table.add_column(Text(block.head), no_wrap=True)
    table.add_column(Text("for example"), overflow="fold")
    for row, first in _firsts(block.rows):
        name = _short(row.model, width) if first else ""
        table.add_row(Text(name), Text(_share(row)), Text(row.name, style=block.style), Text(row.example))
    return table


def _firsts(rows: Iterable[_Told]) -> Iterator[tuple[_Told, bool]]:
    """Each row, and whether it is its model's first."""
    before: ModelSummary | None = None
    for row in rows:
        yield row, row.model is not before
        before = row.model


def _share(row: _Told) -> str:
    return f"{row.requests} of {row.model.requests}"


def notes(summary: Summary) -> Iterator[str]:
    """What must be known to read the table, each a paragraph."""
    if not summary.complete:
        done = sum(model.requests for model in summary.models)
        why = inert(summary.reason, _REASON_LIMIT) if summary.reason else STATUS.get(summary.status, summary.status)
        yield f"This run is incomplete: {why}, after {done} of {summary.requests_planned} requests."
    if summary.resumed:
        times = "once" if summary.resumed == 1 else f"{summary.resumed} times"
        yield f"This run was resumed {times}: its parts lie apart in time."
    if summary.simulated:
        yield f"Simulated, so no measure of any real model: {_simulated(summary.simulated)}."
    yield f"Client lag of this run (how late our own event loop was): {_lag(summary)}."
    yield _left_out(summary)
    yield from _sessions(summary)
    yield from _unknown_gaps(summary)
    yield from _set_up(summary)
    yield _stamps(summary)
    if not any(map(_has_cost, summary.models)):
        yield "Cost: unknown, as no price is given for what was asked and no gateway stated one."
    yield _dashes()


def _simulated(names: Sequence[str]) -> str:
    if len(names) > _NAMES_TOLD:
        return f"{len(names)} models, marked so in the table"
    return ", ".join(inert(name, _NAME_LIMIT) for name in names)


def _lag(summary: Summary) -> str:
    if summary.client_lag_ms.get("p50") is None:
        return "not sampled, the run was too short"
    shown = [f"{name} {number(summary.client_lag_ms.get(name))} ms" for name in ("p50", "p99", "max")]
    return ", ".join(shown)


def _left_out(summary: Summary) -> str:
    failed = sum(model.left_out for model in summary.models)
    warmup = sum(model.warmup for model in summary.models)
    not_ok = f"{of_many(failed, 'request')} that {'was' if failed == 1 else 'were'} not ok"
    return f"Left out of all latencies: {not_ok}, {of_many(warmup, 'warm-up request')}."


def _sessions(summary: Summary) -> Iterator[str]:
    found = summary.sessions
    if found is None:
        return
    ended = [
        f"{each.sessions} ended at turn {each.turn} ({each.reason}; {inert(each.model, _NAME_LIMIT)})"
        for each in found.ended[:_NAMES_TOLD]
    ]
    if more := len(found.ended) - len(ended):
        ended.append(f"and {more} more kinds of end")
    cut = [f"{found.cut} cut by the end of the run"] if found.cut else []
    unsent = sum(each.unsent for each in found.ended)
    lost = f". Turns that were so never sent, and count neither as answered nor as failed: {unsent}" if unsent else ""
    yield f"Sessions: {', '.join((f'{found.begun} begun', f'{found.whole} whole', *ended, *cut))}{lost}."


def _unknown_gaps(summary: Summary) -> Iterator[str]:
    shares = [(model.model, model.gaps_unknown_share) for model in summary.models if model.gaps_unknown_share]
    if shares:
        told = ", ".join(f"{inert(name, _NAME_LIMIT)} {counted_percent(share)}" for name, share in shares)
        yield f"Gaps not observed, as the chunks came in one read (left out, not zero): {told}."


def _set_up(summary: Summary) -> Iterator[str]:
    told = [
        f"{inert(model.model, _NAME_LIMIT)} {connect.n} of {model.ok} (p50 {number(connect.p50)} ms)"
        for model in summary.models
        if (connect := model.metrics["connect_ms"]).n
    ]
    if told:
        yield f"Requests whose latencies include the set-up of a new connection: {', '.join(told)}."


def _stamps(summary: Summary) -> str:
    """Whose clock the arrivals are on; told apart where some attempts fell back to a coarser one."""
    seen = summary.stamps_seen
    if set(seen) - {summary.stamps}:
        text = "; ".join(f"{STAMPS.get(name, name)} ({count} attempts)" for name, count in sorted(seen.items()))
    else:
        text = STAMPS.get(summary.stamps, summary.stamps)
    steps = f" The wall clock was set {summary.clock_steps} times meanwhile." if summary.clock_steps else ""
    return f"Stamps: {text}.{steps}"


def _dashes() -> str:
    needs = ", ".join(f"{name} {needed}" for name, needed in NEEDED.items())
    return f"A dash is an unknown number; n<20 beside it: the sample is too small (needed: {needs})."
