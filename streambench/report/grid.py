"""A small table of texts, drawn for the terminal or as Markdown; every cell is inert in both."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streambench.words import inert

CELL_LIMIT = 240
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@])")
_STARTS = re.compile(r"^(\s*)([-+=]|\d+[.)])(\s)")


@dataclass(frozen=True, slots=True)
class Grid:
    """`right` are the columns whose cells stand at the right, such as numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()

    def terminal(self, width: int) -> str:
        """No line wider than `width` (from 40 up); long cells are folded."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
        for place, name in enumerate(self.head):
            table.add_column(name, justify="right" if place in self.right else "left", overflow="fold")
        for row in self.cells():
            table.add_row(*map(Text, row))
        return drawn(table, width)

    def cells(self) -> list[tuple[str, ...]]:
        """The rows with every cell inert."""
        return [tuple(inert(cell, CELL_LIMIT) for cell in row) for row in self.rows]

    def markdown(self) -> str:
        sides = ("---:" if place in self.right else "---" for place in range(len(self.head)))
        lines = [self.head, tuple(sides), *(tuple(map(markdown_text, row)) for row in self.rows)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def drawn(part: Table | Text, width: int) -> str:
    """What rich makes of it without colour, without spaces at the ends of lines."""
    out = io.StringIO()
    Console(file=out, width=max(40, width), markup=False, highlight=False, emoji=False).print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def folded(text: str, width: int) -> str:
    """A sentence as lines no wider than `width`, inert."""
    return drawn(Text(inert(text, 2_000), overflow="fold"), width)


def markdown_text(text: str) -> str:
    """Foreign text that stays text: neither markup, nor HTML, nor a mention, nor a further cell or line."""
    escaped = _MARKUP.sub(r"\\\1", inert(text, CELL_LIMIT))
    # GitHub takes an address or a mention even behind a backslash
    escaped = escaped.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\@", "&#64;").replace("\\&", "&amp;")
    return _STARTS.sub(r"\1\\\2\3", escaped).replace("://", ":&#47;&#47;")
