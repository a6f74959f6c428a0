"""Assertions and doubts drawn: for the terminal, as Markdown, as plain data, and as JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree as Xml

from streambench.report.grid import Grid, folded, markdown_text
from streambench.verdicts import Doubt, Judged
from streambench.words import inert

_WORDS = {"held": "held", "failed": "FAILED", "undecided": "undecided"}
_ORDER = ("failed", "undecided", "held")
_LONG = 1_000


def verdict_terminal(judged: Sequence[Judged], width: int) -> str:
    """A line above that counts, then the table: failures first."""
    if not judged:
        return ""
    return folded(verdict_line(judged), width) + judged_grid(judged).terminal(width)


def verdict_markdown(judged: Sequence[Judged]) -> str:
    if not judged:
        return ""
    return f"### Assertions\n\n{markdown_text(verdict_line(judged))}\n\n{judged_grid(judged).markdown()}"


def verdict_line(judged: Sequence[Judged]) -> str:
    """`assertions: 1 failed (slow), 3 held`: the models are named for what did not hold."""
    parts = []
    for decision in _ORDER:
        ones = [each for each in judged if each.decision == decision]
        models = ", ".join(inert(model, 60) for model in dict.fromkeys(each.model for each in ones))
        if ones:
            parts.append(f"{len(ones)} {decision}" + ("" if decision == "held" else f" ({models})"))
    return f"Assertions: {', '.join(parts)}"


def verdict_plain(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """As JSON data."""
    return [asdict(each) for each in judged]


def doubts_terminal(doubts: Sequence[Doubt], width: int) -> str:
    if not doubts:
        return folded("Good enough to quote: nothing was found that speaks against it.", width)
    grid = Grid(("doubt", "why"), tuple((each.kind, each.why) for each in doubts))
    return folded("Before this run is quoted:", width) + grid.terminal(width)


def doubts_markdown(doubts: Sequence[Doubt]) -> str:
    if not doubts:
        return "Good enough to quote: nothing was found that speaks against it.\n"
    return "### Before this run is quoted\n\n" + "".join(
        f"- {markdown_text(each.kind)}: {markdown_text(each.why)}\n" for each in doubts
    )


def junit_xml(name: str, judged: Sequence[Judged]) -> str:
    """A test case for each assertion and model: failed is a failure, undecided a skipped one."""
    counts = {decision: sum(each.decision == decision for each in judged) for decision in _ORDER}
    numbers = {
        "tests": str(len(judged)),
        "failures": str(counts["failed"]),
        "errors": "0",
        "skipped": str(counts["undecided"]),
    }
    root = Xml.Element("testsuites", {"name": "streambench", **numbers})
    suite = Xml.SubElement(root, "testsuite", {"name": inert(name), **numbers})
    for each in judged:
        case = Xml.SubElement(suite, "testcase", {"classname": inert(each.model), "name": inert(each.assertion)})
        if each.decision != "held":
            tag = "failure" if each.decision == "failed" else "skipped"
            Xml.SubElement(case, tag, {"message": inert(f"{each.model}: {each.why}", _LONG)})
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def judged_grid(judged: Sequence[Judged]) -> Grid:
    """A row for each assertion and model, failures first."""
    ordered = sorted(judged, key=lambda each: _ORDER.index(each.decision))
    rows = tuple((_WORDS[each.decision], each.model, each.assertion, each.why) for each in ordered)
    return Grid(("", "model", "assertion", "why"), rows)
