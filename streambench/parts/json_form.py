"""Whose JSON can be used, and how soon it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from streambench.parts.answers import Answers, answers_of, of_share
from streambench.parts.part import Part

if TYPE_CHECKING:
    from streambench.results import Run


def json_form(run: Run, names: Mapping[str, str]) -> Iterator[Part]:
    """Of the answers to requests that asked for JSON by `response_format`."""
    if not any(record.asked and record.asked.json for record in run.records):
        return
    answers = answers_of(run, names)
    answers = answers.where(answers.rows[answers.rows["json_asked"].notna()])
    models = answers.by_model()
    if models:
        told = tuple(f"{_valid(names[alias], each)}." for alias, each in models.items())
        yield Part("JSON", answers.first("json_ms", "has its JSON complete first"), told)


def _valid(name: str, answers: Answers) -> str:
    verdicts = answers.rows["json_valid"]
    valid, bad = int((verdicts == True).sum()), int((verdicts == False).sum())  # noqa: E712  # the column has unknowns
    unsure = len(answers.rows) - valid - bad
    judged = of_share(valid, valid + bad, "answers")
    told = [f"{name} gave the JSON that was asked for in {judged}"] if valid + bad else []
    if unsure:
        told.append(f"{'' if told else f'{name}: '}{unsure} could not be judged")
    if answers.median("json_ms").n:
        told.append(f"whole after {answers.shown('json_ms')}")
    return ", ".join(told)
