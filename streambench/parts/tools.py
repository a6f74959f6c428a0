"""Who calls the tools it was given, with arguments that can be used, and how soon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from streambench.parts.answers import Answers, answers_of, of_share
from streambench.parts.part import Part

if TYPE_CHECKING:
    from streambench.results import Run


def tools(run: Run, names: Mapping[str, str]) -> Iterator[Part]:
    """Of the answers to requests that declared functions and did not forbid their use."""
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
    yield Part("Tool calls", points=tuple(f"{_calls(names[alias], each)}." for alias, each in models.items()))
    timed = [f"{_times(names[alias], each)}." for alias, each in models.items() if each.median("tool_name_ms").n]
    if timed:
        yield Part("Time to a call", _first(answers), tuple(timed))


def _calls(name: str, answers: Answers) -> str:
    made = int((answers.rows["tool_calls"] > 0).sum())
    must = bool(answers.rows["tool_choice"].isin(["required", "function"]).all())
    what = "answers that had to" if must else "answers that could"
    told = f"{name} called a tool in {of_share(made, len(answers.rows), what)}"
    if not made:
        return told
    calls, valid, bad = (answers.total(column) for column in ("tool_calls", "tool_calls_valid", "tool_calls_invalid"))
    parallel = int(answers.rows["parallel_calls"].max())
    together = f", up to {parallel} in parallel" if parallel > 1 else ""
    unsure = f", {calls - valid - bad} could not be judged" if calls > valid + bad else ""
    return f"{told}: {calls} call{'' if calls == 1 else 's'}{together}, {valid} with usable arguments{unsure}"


def _times(name: str, answers: Answers) -> str:
    told = f"{name} names its call after {answers.shown('tool_name_ms')}"
    complete = answers.median("tool_call_ms").n
    if not complete:
        return f"{told}, and never had all its arguments complete"
    made = int((answers.rows["tool_calls"] > 0).sum())
    of_those = f" in {complete} of {made} answers, in the others never" if complete < made else ""
    return f"{told} and has its arguments complete after {answers.shown('tool_call_ms')}{of_those}"


def _first(answers: Answers) -> str:
    return answers.first("tool_call_ms", "has its calls complete first")
