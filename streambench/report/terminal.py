"""The table printed at a run's end: a row for each model, and notes on how to read the numbers.

Columns that do not fit the terminal's width go into further tables below the first. Only long names and texts are cut.
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

from streambench.analysis.summary import NEEDED, ModelSummary, SampleEstimate, Summary
from streambench.metrics.cost import usd
from streambench.metrics.definitions import BY_COLUMN
from streambench.text import DASH, count, counted, for_terminal, number, percent

if TYPE_CHECKING:
    from streambench.report.headline import Line

PIPE_WIDTH = 140
"""The width if the output is not a terminal and the environment variable COLUMNS is not set."""

STAMPS = {
    "kernel": "the kernel's receive time of each read",
    "read": "the time at which the client read the socket",
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
    "unfinished": "it was killed, or is still running",
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
"""From this width on, examples are in a column of a table; below it, each is on the lines below its model's name."""


@dataclass(frozen=True, slots=True)
class TerminalColumn:
    """One column: its head (two lines), a function from a model to its text, and a rich style ("" for the default)."""

    head: str
    cell: Callable[[ModelSummary], str]
    style: str = ""

    def width(self, models: Iterable[ModelSummary]) -> int:
        """Returns the width of the widest line in the column, in terminal cells."""
        texts = (self.head, *map(self.cell, models))
        return max(cell_len(line) for text in texts for line in text.split("\n"))


def _metric(column: str, percentile: Percentile) -> TerminalColumn:
    """Returns the column of a metric. The head of a speed leaves out the percentile, to keep the column narrow."""
    metric = BY_COLUMN[column]
    unit = f"{percentile} {metric.unit}" if metric.unit == "ms" else metric.unit
    return TerminalColumn(
        f"{metric.short or metric.label}\n{unit}", lambda model: _estimate(model.metrics[column], percentile)
    )


COLUMNS: tuple[TerminalColumn, ...] = (
    TerminalColumn("requests\nok/all", lambda model: f"{model.ok}/{model.requests}"),
    TerminalColumn("failed\nas", lambda model: _failed(model), style="red"),
    _metric("ttft_ms", "p50"),
    _metric("ttft_ms", "p95"),
    _metric("chunk_gap_ms", "p50"),
    _metric("chunk_gap_ms", "p99"),
    _metric("tpot_ms", "p50"),
    _metric("output_tok_s", "p50"),
    _metric("e2e_ms", "p50"),
    TerminalColumn("tokens\nin", lambda model: count(model.usage.input)),
    TerminalColumn("tokens\nout", lambda model: count(model.usage.output)),
    TerminalColumn("cost\nUSD", lambda model: _cost(model)),
)


def show(summary: Summary, folder: Path | None = None, out: TextIO | None = None) -> None:
    """Prints the summary to `out` (stdout by default), as wide as the terminal; colours only on a terminal."""
    out = out or sys.stdout
    console = Console(file=out)
    width = console.width if out.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    text = render(summary, folder, width=width, colour=out.isatty() and console.color_system is not None)
    encoding = out.encoding or "utf-8"
    out.write(text.encode(encoding, "backslashreplace").decode(encoding))


def tell(lines: Iterable[Line], out: TextIO | None = None) -> None:
    """Prints a verdict to `out` (stdout by default), as wide as the terminal: each question and its answer."""
    out = out or sys.stdout
    width = Console(file=out).width if out.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    text = io.StringIO()
    console = Console(file=text, width=max(40, width), markup=False, highlight=False, emoji=False)
    for line in lines:
        # Terminals do not need the isolate characters that `for_html` puts around right-to-left names.
        answer = for_terminal(line.says.translate(_NO_ISOLATES), _VERDICT_LIMIT)
        console.print(Text(f"{line.question}: {answer}".rstrip(), overflow="fold"))
        for point in line.few:
            shown = Text(for_terminal(point.translate(_NO_ISOLATES), _VERDICT_LIMIT), overflow="fold")
            console.print(Padding(shown, (0, 0, 0, 2)))
    encoding = out.encoding or "utf-8"
    output = "\n".join(each.rstrip() for each in text.getvalue().split("\n"))
    out.write(output.encode(encoding, "backslashreplace").decode(encoding))


def render(summary: Summary, folder: Path | None = None, *, width: int, colour: bool = False) -> str:
    """Returns the tables and notes as text; no line is wider than the larger of `width` and 40, except the lines with
    the folder's path.
    """
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
        # The path is not wrapped, so that it can be copied.
        console.print(Text(f"Files: {for_terminal(str(folder), 1000)}"), soft_wrap=True)
        if not summary.complete:
            rest = f"To send the rest: streambench resume {shlex.quote(for_terminal(str(folder), 1000))}"
            console.print(Text(rest), soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _bands(models: Sequence[ModelSummary], width: int) -> list[list[TerminalColumn]]:
    """Returns the columns split into tables that fit the width; each table also has the models' names."""
    room = width - _names_width(models, width)
    bands: list[list[TerminalColumn]] = [[]]
    left = room
    for column in _columns(models):
        needed = _GAP + column.width(models)
        if needed > left and bands[-1]:
            bands.append([])
            left = room
        bands[-1].append(column)
        left -= needed
    return bands


def _columns(models: Sequence[ModelSummary]) -> Sequence[TerminalColumn]:
    """Returns the columns; without the last one (cost) if no model has a cost, as it would be all dashes."""
    return COLUMNS if any(map(_has_cost, models)) or not models else COLUMNS[:-1]


def _has_cost(model: ModelSummary) -> bool:
    cost = model.cost_usd
    return cost.priced is not None or cost.stated is not None or cost.attempts_unpriced > 0


def _table(models: Sequence[ModelSummary], band: Sequence[TerminalColumn], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 0, 0, _GAP), header_style="bold")
    table.add_column(Text("model"), no_wrap=True, min_width=_names_width(models, width))
    for column in band:
        table.add_column(Text(column.head), justify="right", no_wrap=True)
    for model in models:
        table.add_row(Text(_name(model, width)), *(_styled(column, model) for column in band))
    return table


def _styled(column: TerminalColumn, model: ModelSummary) -> Text:
    text = column.cell(model)
    return Text(text, style="" if text == "0" else column.style)


def _names_width(models: Sequence[ModelSummary], width: int) -> int:
    return max((cell_len(_name(model, width)) for model in models), default=len("model"))


def _name(model: ModelSummary, width: int) -> str:
    mark = " (simulated)" if model.simulated else ""
    return _short(model, width, len(mark)) + mark


def _short(model: ModelSummary, width: int, taken: int = 0) -> str:
    limit = min(_NAME_LIMIT, width // 2 - taken)
    name = for_terminal(model.model, limit)
    while cell_len(name) > limit:  # wide characters take two cells
        name = name[:-1]
    return name


def _estimate(estimate: SampleEstimate, percentile: Percentile) -> str:
    value: float | None = getattr(estimate, percentile)
    if value is not None or not estimate.n:
        return number(value)
    return f"{DASH} n<{NEEDED[percentile]}"


def _failed(model: ModelSummary) -> str:
    """Returns each outcome that is not ok on its own line, so that many kinds make the row taller, not wider."""
    kinds = [f"{times} {outcome}" for outcome, times in model.outcomes.items() if times and outcome != "ok"]
    return "\n".join(kinds) or "0"


def _cost(model: ModelSummary) -> str:
    cost = model.cost_usd
    if cost.priced is None:
        return DASH if cost.stated is None else f"{usd(cost.stated)} stated"
    return f"{'>= ' if cost.attempts_unpriced else ''}{usd(cost.priced)}"


@dataclass(frozen=True, slots=True)
class _HealthRow:
    """An outcome or finding of one model: the number of requests that had it, its name, and one example."""

    model: ModelSummary
    requests: int
    name: str
    example: str


@dataclass(frozen=True, slots=True)
class _Block:
    title: str
    head: str
    rows: Sequence[_HealthRow]
    style: str = ""


def _blocks(models: Sequence[ModelSummary]) -> Iterator[_Block]:
    """Yields a block of failed outcomes and a block of findings, each only if it has rows."""
    failed = [row for model in models for row in _outcome_rows(model)]
    if failed:
        yield _Block("Not ok, so left out of latencies:", "outcome", failed, style="red")
    found = [row for model in models for row in _finding_rows(model)]
    if found:
        yield _Block("Findings in all requests, ok or not (docs/health.md explains each):", "finding", found)


def _outcome_rows(model: ModelSummary) -> Iterator[_HealthRow]:
    for outcome, example in model.evidence.items():
        times = model.outcomes[outcome]
        text = for_terminal(example.text.removeprefix(outcome).lstrip(": "), _EVIDENCE_LIMIT)
        unlike = f" ({times - example.requests} more, with other messages)" if times > example.requests else ""
        yield _HealthRow(model, times, outcome, text + unlike)


def _finding_rows(model: ModelSummary) -> Iterator[_HealthRow]:
    for name, times in model.findings.items():
        yield _HealthRow(model, times, name, for_terminal(model.facts[name], _EVIDENCE_LIMIT))


def _print_block(console: Console, block: _Block) -> None:
    console.print(Text(block.title))
    if console.width >= _ASIDE_FROM:
        console.print(_health_table(block, console.width), "")
        return
    for row, first in _firsts(block.rows):
        if first:
            console.print(Text(_short(row.model, console.width)))
        line = Text.assemble(f"{_share(row)} ", (row.name, block.style), f": {row.example}", overflow="fold")
        console.print(Padding(line, (0, 0, 0, _GAP)))
    console.print("")


def _health_table(block: _Block, width: int) -> Table:
    """Returns the block as a table; long examples are folded within their column."""
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    table.add_column(Text("model"), no_wrap=True)
    table.add_column(Text("requests"), justify="right", no_wrap=True)
    table.add_column(Text(block.head), no_wrap=True)
    table.add_column(Text("for example"), overflow="fold")
    for row, first in _firsts(block.rows):
        name = _short(row.model, width) if first else ""
        table.add_row(Text(name), Text(_share(row)), Text(row.name, style=block.style), Text(row.example))
    return table


def _firsts(rows: Iterable[_HealthRow]) -> Iterator[tuple[_HealthRow, bool]]:
    """Yields each row, and True if it is its model's first."""
    before: ModelSummary | None = None
    for row in rows:
        yield row, row.model is not before
        before = row.model


def _share(row: _HealthRow) -> str:
    return f"{row.requests} of {row.model.requests}"


def notes(summary: Summary) -> Iterator[str]:
    """Yields what a reader must know to read the table, one paragraph each."""
    if not summary.complete:
        done = sum(model.requests for model in summary.models)
        why = (
            for_terminal(summary.reason, _REASON_LIMIT)
            if summary.reason
            else STATUS.get(summary.status, summary.status)
        )
        yield f"This run is incomplete: {why}, after {done} of {summary.requests_planned} requests."
    if summary.resumed:
        times = "once" if summary.resumed == 1 else f"{summary.resumed} times"
        yield f"This run was resumed {times}: its parts were measured at different times."
    if summary.simulated:
        yield f"Simulated, so not a measurement of a real model: {_simulated(summary.simulated)}."
    yield f"Client lag of this run (how late streambench's own event loop was): {_lag(summary)}."
    yield _left_out(summary)
    yield from _sessions(summary)
    yield from _unknown_gaps(summary)
    yield from _set_up(summary)
    yield _stamps(summary)
    if not any(map(_has_cost, summary.models)):
        yield "Cost: unknown, as these models have no price and no gateway stated a cost."
    yield _dashes()


def _simulated(names: Sequence[str]) -> str:
    if len(names) > _NAMES_TOLD:
        return f"{len(names)} models, marked in the table"
    return ", ".join(for_terminal(name, _NAME_LIMIT) for name in names)


def _lag(summary: Summary) -> str:
    if summary.client_lag_ms.get("p50") is None:
        return "not sampled, because the run was too short"
    shown = [f"{name} {number(summary.client_lag_ms.get(name))} ms" for name in ("p50", "p99", "max")]
    return ", ".join(shown)


def _left_out(summary: Summary) -> str:
    failed = sum(model.left_out for model in summary.models)
    warmup = sum(model.warmup for model in summary.models)
    not_ok = f"{counted(failed, 'request')} that {'was' if failed == 1 else 'were'} not ok"
    return f"Left out of all latencies: {not_ok}, {counted(warmup, 'warm-up request')}."


def _sessions(summary: Summary) -> Iterator[str]:
    found = summary.sessions
    if found is None:
        return
    ended = [
        f"{each.sessions} ended at turn {each.turn} ({each.reason}; {for_terminal(each.model, _NAME_LIMIT)})"
        for each in found.ended[:_NAMES_TOLD]
    ]
    if more := len(found.ended) - len(ended):
        ended.append(f"and {more} more ways of ending")
    cut = [f"{found.cut} cut off by the end of the run"] if found.cut else []
    unsent = sum(each.unsent for each in found.ended)
    lost = f". Turns not sent, which count neither as answered nor as failed: {unsent}" if unsent else ""
    yield f"Sessions: {', '.join((f'{found.begun} started', f'{found.whole} completed', *ended, *cut))}{lost}."


def _unknown_gaps(summary: Summary) -> Iterator[str]:
    shares = [(model.model, model.gaps_unknown_share) for model in summary.models if model.gaps_unknown_share]
    if shares:
        texts = ", ".join(f"{for_terminal(name, _NAME_LIMIT)} {percent(share)}" for name, share in shares)
        yield f"Gaps not observed, as the chunks came in one read (left out, not zero): {texts}."


def _set_up(summary: Summary) -> Iterator[str]:
    texts = [
        f"{for_terminal(model.model, _NAME_LIMIT)} {connect.n} of {model.ok} (p50 {number(connect.p50)} ms)"
        for model in summary.models
        if (connect := model.metrics["connect_ms"]).n
    ]
    if texts:
        yield f"Requests whose latencies include the set-up of a new connection: {', '.join(texts)}."


def _stamps(summary: Summary) -> str:
    """Returns the source of arrival timestamps, with counts if some attempts used another one."""
    seen = summary.stamps_seen
    if set(seen) - {summary.stamps}:
        text = "; ".join(f"{STAMPS.get(name, name)} ({times} attempts)" for name, times in sorted(seen.items()))
    else:
        text = STAMPS.get(summary.stamps, summary.stamps)
    steps = f" The wall clock was set {summary.clock_steps} times during the run." if summary.clock_steps else ""
    return f"Timestamps: {text}.{steps}"


def _dashes() -> str:
    needs = ", ".join(f"{name} {needed}" for name, needed in NEEDED.items())
    return f"A dash is an unknown number; n<20 beside it means that the sample is too small (needed: {needs})."
