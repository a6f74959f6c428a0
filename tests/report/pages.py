"""A page read back with an HTML parser: its elements, texts, ids, tables, and the explorer's data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = frozenset({"meta", "link", "input", "br", "img", "hr"})


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str | None = None, **attributes: str) -> list[Element]:
        """Every element below, in order, of a tag and with these attributes."""
        found: list[Element] = []
        for child in self.children:
            if isinstance(child, str):
                continue
            if tag in (None, child.tag) and all(child.attributes.get(k) == v for k, v in attributes.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str | None = None, **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        return " ".join(
            " ".join(child.split()) if isinstance(child, str) else child.text for child in self.children
        ).strip()

    @property
    def raw(self) -> str:
        return "".join(child if isinstance(child, str) else child.raw for child in self.children)

    def rows(self) -> list[list[Element]]:
        """Of a table's body."""
        return [[cell for cell in row.children if isinstance(cell, Element)] for row in self.one("tbody").all("tr")]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(html: str) -> Element:
    """The page's tree; fails where an element is not closed as it was opened."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def data_of(page: Element) -> Any:
    return json.loads(page.one("script", type="application/json").raw)


def verdict(page: Element) -> dict[str, str]:
    """Question to answer."""
    told = page.one("dl", **{"class": "verdict"})
    return {line.one("dt").text: line.one("dd").text for line in told.all("div")}


def alerts(page: Element) -> list[str]:
    return [each.text for each in page.all("p", **{"class": "alert"})]
