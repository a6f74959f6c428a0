"""Insights on structured output: how often and how soon models call tools and return valid JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from streambench.analysis.insights.insight import Insight, OkRows, answers_of, of_share

if TYPE_CHECKING:
    from streambench.analysis.run import Run


def tools(run: Run, names: Mapping[str, str]) -> Iterator[Insight]:
    """Yields the insights on tool calls, over the requests that declared functions and allowed their use."""
    if not any(record.asked and record.asked.tools for record in run.records):
        return
    answers = answers_of(run, names)
    rows = answers.rows
    answers = answers.where(
        rows[(rows["tools_declared"].fillna(0) > 0) & (rows["tool_choice"].astype(object) != "none")]
    )
    models = answers.by_model()
    if not models:
        return
    yield Insight("Tool calls", points=tuple(f"{_calls(names[alias], each)}." for alias, each in models.items()))
    timed = [f"{_times(names[alias], each)}." for alias, each in models.items() if each.median("tool_name_ms").n]
    if timed:
        yield Insight("Time to a call", _first(answers), tuple(timed))


def _calls(name: str, answers: OkRows) -> str:
    made = int((answers.rows["tool_calls"] > 0).sum())
    must = bool(answers.rows["tool_choice"].isin(["required", "function"]).all())
    what = "answers where a call was required" if must else "answers where a call was allowed"
    text = f"{name} called a tool in {of_share(made, len(answers.rows), what)}"
    if not made:
        return text
    calls, valid, bad = (answers.total(column) for column in ("tool_calls", "tool_calls_valid", "tool_calls_invalid"))
    parallel = int(answers.rows["parallel_calls"].max())
    together = f", up to {parallel} in parallel" if parallel > 1 else ""
    unsure = f", {calls - valid - bad} could not be judged" if calls > valid + bad else ""
    return f"{text}: {calls} call{'' if calls == 1 else 's'}{together}, {valid} with usable arguments{unsure}"


def _times(name: str, answers: OkRows) -> str:
    text = f"{name} names its call after {answers.shown('tool_name_ms')}"
    complete = answers.median("tool_call_ms").n
    if not complete:
        return f"{text}, but never completed all its arguments"
    made = int((answers.rows["tool_calls"] > 0).sum())
    of_those = f" in {complete} of {made} answers (in the others never)" if complete < made else ""
    return f"{text} and completes its arguments after {answers.shown('tool_call_ms')}{of_those}"


def _first(answers: OkRows) -> str:
    return answers.first("tool_call_ms")


def json_form(run: Run, names: Mapping[str, str]) -> Iterator[Insight]:
    """Yields the insight on JSON, over the requests that asked for JSON by `response_format`."""
    if not any(record.asked and record.asked.json for record in run.records):
        return
    answers = answers_of(run, names)
    answers = answers.where(answers.rows[answers.rows["json_asked"].notna()])
    models = answers.by_model()
    if models:
        lines = tuple(f"{_valid(names[alias], each)}." for alias, each in models.items())
        yield Insight("JSON", answers.first("json_ms"), lines)


def _valid(name: str, answers: OkRows) -> str:
    verdicts = answers.rows["json_valid"]
    valid, bad = int((verdicts == True).sum()), int((verdicts == False).sum())  # noqa: E712  # the column has unknowns
    unsure = len(answers.rows) - valid - bad
    judged = of_share(valid, valid + bad, "answers")
    texts = [f"{name} returned the requested JSON in {judged}"] if valid + bad else []
    if unsure:
        texts.append(f"{'' if texts else f'{name}: '}{unsure} could not be judged")
    if answers.median("json_ms").n:
        texts.append(f"complete after {answers.shown('json_ms')}")
    return ", ".join(texts)
