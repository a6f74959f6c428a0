"""Results of assertions and warnings on run quality, as terminal text, Markdown, plain data and JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree as Xml

from streambench.analysis.check import AssertionResult
from streambench.analysis.run_quality import QualityWarning
from streambench.report.text_table import Grid, folded
from streambench.text import for_markdown, for_terminal

_WORDS = {"held": "held", "failed": "FAILED", "undecided": "undecided"}
_ORDER = ("failed", "undecided", "held")
_LONG = 1_000


def assertions_terminal(judged: Sequence[AssertionResult], width: int) -> str:
    """Returns a line with the counts, then the table with failures first; "" if there are no assertions."""
    if not judged:
        return ""
    return folded(assertions_line(judged), width) + assertions_grid(judged).terminal(width)


def assertions_markdown(judged: Sequence[AssertionResult]) -> str:
    """Returns what `assertions_terminal` returns, as Markdown with a heading; "" if there are no assertions."""
    if not judged:
        return ""
    return f"### Assertions\n\n{for_markdown(assertions_line(judged))}\n\n{assertions_grid(judged).markdown()}"


def assertions_line(judged: Sequence[AssertionResult]) -> str:
    """Returns the counts, with the models of assertions that did not hold: `Assertions: 1 failed (slow), 3 held`."""
    parts = []
    for decision in _ORDER:
        ones = [each for each in judged if each.decision == decision]
        models = ", ".join(for_terminal(model, 60) for model in dict.fromkeys(each.model for each in ones))
        if ones:
            parts.append(f"{len(ones)} {decision}" + ("" if decision == "held" else f" ({models})"))
    return f"Assertions: {', '.join(parts)}"


def assertions_plain(judged: Sequence[AssertionResult]) -> list[dict[str, Any]]:
    """Returns the results as JSON data, one object each."""
    return [asdict(each) for each in judged]


def warnings_terminal(doubts: Sequence[QualityWarning], width: int) -> str:
    """Returns the warnings as a table, or one sentence that there are none."""
    if not doubts:
        return folded("Good enough to quote: there are no warnings.", width)
    grid = Grid(("warning", "why"), tuple((each.kind, each.why) for each in doubts))
    return folded("Before you quote this run:", width) + grid.terminal(width)


def warnings_markdown(doubts: Sequence[QualityWarning]) -> str:
    """Returns the warnings as a Markdown list, or one sentence that there are none."""
    if not doubts:
        return "Good enough to quote: there are no warnings.\n"
    return "### Before you quote this run\n\n" + "".join(
        f"- {for_markdown(each.kind)}: {for_markdown(each.why)}\n" for each in doubts
    )


def junit_xml(name: str, judged: Sequence[AssertionResult]) -> str:
    """Returns JUnit XML with a test case for each assertion and model; an undecided assertion is a skipped case."""
    counts = {decision: sum(each.decision == decision for each in judged) for decision in _ORDER}
    numbers = {
        "tests": str(len(judged)),
        "failures": str(counts["failed"]),
        "errors": "0",
        "skipped": str(counts["undecided"]),
    }
    root = Xml.Element("testsuites", {"name": "streambench", **numbers})
    suite = Xml.SubElement(root, "testsuite", {"name": for_terminal(name), **numbers})
    for each in judged:
        case = Xml.SubElement(
            suite, "testcase", {"classname": for_terminal(each.model), "name": for_terminal(each.assertion)}
        )
        if each.decision != "held":
            tag = "failure" if each.decision == "failed" else "skipped"
            Xml.SubElement(case, tag, {"message": for_terminal(f"{each.model}: {each.why}", _LONG)})
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def assertions_grid(judged: Sequence[AssertionResult]) -> Grid:
    """Returns a table with a row for each assertion and model, failures first."""
    ordered = sorted(judged, key=lambda each: _ORDER.index(each.decision))
    rows = tuple((_WORDS[each.decision], each.model, each.assertion, each.why) for each in ordered)
    return Grid(("", "model", "assertion", "why"), rows)
