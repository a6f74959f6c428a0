"""The texts that users read, of runs with known numbers; one file per view.

The prose of reports is asserted here and nowhere else, so that a reworded sentence changes one file. After a change of
words, `make golden` writes the files again; read the difference before you commit it.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from analysis.made import header, noisy, written
from report.figures.runs import all_failed, answer, buffered, empty, failed, header_of, no_usage, one_request, rich
from report.pages import Element, read

from streambench.analysis.leaderboard import leaderboard_of
from streambench.analysis.run import Run
from streambench.analysis.run_quality import quality_warnings
from streambench.analysis.summary import summary_of
from streambench.cli.main import commands
from streambench.records.schema import AttemptRecord, JsonAnswer, OutputRequest, ToolCall
from streambench.report.assertions import warnings_terminal
from streambench.report.headline import headline
from streambench.report.markdown import render_markdown
from streambench.report.page import render_page
from streambench.report.terminal import render, tell
from streambench.testing import MS, run_of

GOLDEN = Path(__file__).resolve().parent
RECORDED = GOLDEN.parent / "recorded"
CONFIGS = GOLDEN.parent.parent / "configs"
WIDTH = 100
DAY_NS = 86_400 * 1_000 * MS
BLOCKS = ("h1", "h2", "h3", "h4", "p", "li", "dt", "dd", "figcaption", "tr")


def three_models() -> Run:
    """Three models on 14 prompts, 6 % of the requests failed, one model simulated."""
    return rich(prompts=14)


def tools_json_and_reasoning() -> Run:
    """One model streams, one returns whole answers; tools, JSON, reasoning and a refusal are requested or seen."""
    records: list[AttemptRecord] = []
    for n in range(12):
        stream = answer(3 * n, "streams", f"p{n}", block=n, ttft=100 + n, gaps=[10, 10, 10])
        called = ToolCall("look", arguments_valid=n != 3, named_ns=40 * MS, complete_ns=90 * MS)
        records.append(
            replace(stream, tool_calls=(called,) if n % 4 else (), asked=OutputRequest(tools=1, tool_choice="auto"))
        )
        form = answer(3 * n + 1, "forms", f"p{n}", block=n, ttft=150 + n, gaps=[12, 12])
        valid = JsonAnswer(valid=n != 5, why="`unit` is missing" if n == 5 else None, complete_ns=170 * MS)
        records.append(replace(form, asked=OutputRequest(json="json_object"), json_answer=valid))
        whole = answer(3 * n + 2, "whole", f"p{n}", block=n, ttft=400 + n)
        records.append(replace(whole, streamed=False))
    prompts = {f"p{n}": 40 for n in range(12)}
    return run_of(records, header_of(["streams", "forms", "whole"], prompts))


# --- views


def terminal() -> str:
    return _terminal(three_models())


def terminal_of_kinds() -> str:
    return _terminal(tools_json_and_reasoning())


def terminal_of_poor_runs() -> str:
    """A run with nothing measured, one request, only failures, unknown tokens, answers that came in one read."""
    return "\n".join(
        f"--- {make.__name__}\n\n{_terminal(make())}" for make in (empty, one_request, all_failed, no_usage, buffered)
    )


def markdown() -> str:
    return render_markdown(three_models())


def page() -> str:
    return page_text(render_page(three_models()))


def page_of_kinds() -> str:
    return page_text(render_page(tools_json_and_reasoning()))


def page_of_conversations() -> str:
    """Of a recorded run with turns that was interrupted and resumed."""
    return _page("report", RECORDED / "resumed")


def groups() -> str:
    return _command("report", RECORDED / "resumed", "--markdown", "--by", "turn", "--by", "tag")


def comparison() -> str:
    with two_weeks() as (base, new):
        return _command("compare", base, new)


def comparison_markdown() -> str:
    with two_weeks() as (base, new):
        return _command("compare", base, new, "--format", "markdown")


def comparison_page() -> str:
    with two_weeks() as (base, new):
        return _page("compare", base, new)


def check() -> str:
    with two_weeks() as (base, new):
        rules = ("ttft_p50_ms: < 500", "ttft_p95_ms: < 100", "error_rate: < 1%")
        return _command("check", new, "--baseline", base, *(part for rule in rules for part in ("--assert", rule)))


def check_markdown() -> str:
    with two_weeks() as (_, new):
        return _command("check", new, "--assert", "ttft_p50_ms: < 500", "--format", "markdown")


def trend() -> str:
    with ten_days() as days:
        return _command("trend", *days)


def trend_markdown() -> str:
    with ten_days() as days:
        return _command("trend", *days, "--format", "markdown")


def timeline() -> str:
    """A request that was broken off and sent again when the run was resumed."""
    return _command("show", RECORDED / "resumed", "--seq", "3")


def plan() -> str:
    return _command("plan", CONFIGS / "quickstart.yaml", "--like", RECORDED / "quickstart")


VIEWS: Mapping[str, Callable[[], str]] = {
    view.__name__: view
    for view in (
        terminal,
        terminal_of_kinds,
        terminal_of_poor_runs,
        markdown,
        page,
        page_of_kinds,
        page_of_conversations,
        groups,
        comparison,
        comparison_markdown,
        comparison_page,
        check,
        check_markdown,
        trend,
        trend_markdown,
        timeline,
        plan,
    )
}


# --- helpers


class _Folders:
    """Runs on the disk, for as long as a command reads them."""

    def __init__(self, *runs: tuple[str, Run]) -> None:
        self._runs = runs
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> list[str]:
        parent = Path(self._folder.name)
        made = [Path(written(parent, run.records, replace(run.header, name=name))) for name, run in self._runs]
        return [str(folder.rename(parent / folder.name.rpartition("-")[0])) for folder in made]  # the end is random

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def two_weeks() -> _Folders:
    """A run, and a later one in which gamma is 15 % slower and every sixth request of delta fails."""
    base, new = _of_day(0), _of_day(7, "gamma")
    records = [
        failed(record) if record.ticket.model == "delta" and record.ticket.seq % 6 == 0 else record
        for record in new.records
    ]
    return _Folders(("base", base), ("new", replace(new, records=tuple(records))))


def ten_days() -> _Folders:
    """A run a day; from the seventh day on, beta is 15 % slower."""
    return _Folders(*((f"day-{day}", _of_day(day, "beta" if day >= 6 else None)) for day in range(10)))


def _of_day(day: int, slowed: str | None = None) -> Run:
    head = header()
    head = replace(head, run_id=f"run-{day}", wall_ns=head.wall_ns + day * DAY_NS)
    return run_of(noisy(day, slowed), head)


def _terminal(run: Run) -> str:
    """Returns what `streambench run` prints at its end."""
    out = io.StringIO()
    with _columns():
        tell(headline(leaderboard_of(run), run.header), out)
    table = render(summary_of(run), width=WIDTH)
    return f"{out.getvalue()}\n{table}\n\n{warnings_terminal(quality_warnings(run), WIDTH)}\n"


@contextmanager
def _columns() -> Iterator[None]:
    earlier = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if earlier is not None:
            os.environ["COLUMNS"] = earlier


def _command(*arguments: str | Path) -> str:
    """Returns what the command prints."""
    out = io.StringIO()
    with _columns(), redirect_stdout(out), redirect_stderr(out):
        commands.main([str(argument) for argument in arguments], standalone_mode=False)
    return out.getvalue()


def _page(command: str, *arguments: str | Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        _command(command, *arguments, "--html" if command == "compare" else "--output", path)
        return page_text(path.read_text("utf-8"))


def page_text(html: str) -> str:
    """Returns the text of a page, a line for each block; cells of a table are separated by bars."""
    return "\n".join(_lines(read(html).one("body"))) + "\n"


def _lines(element: Element) -> Iterator[str]:
    for child in element.children:
        if isinstance(child, str) or child.tag in ("script", "style", "svg", "pre"):
            continue
        if child.tag == "tr":
            yield " | ".join(cell.text for cell in child.children if isinstance(cell, Element))
        elif child.tag in BLOCKS and not child.all("li"):
            yield child.text
        else:
            yield from _lines(child)


def main() -> None:
    """Writes the files."""
    for name, view in VIEWS.items():
        (GOLDEN / f"{name}.txt").write_text(view(), "utf-8")


if __name__ == "__main__":
    main()
