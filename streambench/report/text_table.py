"""A small table of texts, for the terminal or as Markdown; control characters and markup in cells are escaped."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streambench.text import CELL_LIMIT, for_markdown, for_terminal


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; `right` holds the indices of right-aligned columns, such as numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()

    def terminal(self, width: int) -> str:
        """Returns the table as text; no line is wider than the larger of `width` and 40, long cells are folded."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
        for place, name in enumerate(self.head):
            table.add_column(name, justify="right" if place in self.right else "left", overflow="fold")
        for row in self.cells():
            table.add_row(*map(Text, row))
        return drawn(table, width)

    def cells(self) -> list[tuple[str, ...]]:
        """Returns the rows; each cell is one printable line of at most CELL_LIMIT characters."""
        return [tuple(for_terminal(cell, CELL_LIMIT) for cell in row) for row in self.rows]

    def markdown(self) -> str:
        """Returns the table as Markdown, with the cells' markup escaped."""
        sides = ("---:" if place in self.right else "---" for place in range(len(self.head)))
        lines = [self.head, tuple(sides), *(tuple(map(for_markdown, row)) for row in self.rows)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def drawn(part: Table | Text, width: int) -> str:
    """Returns what rich renders, without colours and without trailing spaces."""
    out = io.StringIO()
    Console(file=out, width=max(40, width), markup=False, highlight=False, emoji=False).print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def folded(text: str, width: int) -> str:
    """Returns the text as printable lines no wider than the larger of `width` and 40, cut at 2,000 characters."""
    return drawn(Text(for_terminal(text, 2_000), overflow="fold"), width)
