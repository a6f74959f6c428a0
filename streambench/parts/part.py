"""One question that a run raises, and its answer."""

from __future__ import annotations

from dataclasses import dataclass

FEW = 6
"""Lines that a question takes in the terminal and in Markdown, at most."""


@dataclass(frozen=True, slots=True)
class Part:
    """One question and its answer: whole sentences, with models by the names they are shown by."""

    question: str
    says: str = ""
    """What can be said of all together."""
    points: tuple[str, ...] = ()
    """A sentence of each model, where each has one of its own; a view may show a few of many, and says so."""
    topic: str = ""
    """What many questions have in common that are asked of one model each: `What streaming buys`."""

    @property
    def few(self) -> tuple[str, ...]:
        """The points; of many the first, and how many more there are: for views that cannot fold the rest away."""
        if len(self.points) <= FEW:
            return self.points
        return (*self.points[: FEW - 1], f"And {len(self.points) - FEW + 1} more, which the page has.")

    @property
    def answer(self) -> str:
        """All of it in one breath."""
        return " ".join(part for part in (*self.points, self.says) if part)
