"""`RunComparison`, which `compare` returns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from streambench.analysis.compare import RunsCompared

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame


@dataclass(frozen=True, slots=True)
class RunComparison(RunsCompared):
    """How a run differs from its base, for each model and metric. Jupyter shows it as a table."""

    @classmethod
    def wrap(cls, compared: RunsCompared) -> Self:
        return cls(**{each.name: getattr(compared, each.name) for each in fields(RunsCompared)})

    def frame(self) -> Frame:
        """Returns a pandas DataFrame with one row per model and estimate; docs/python.md lists the columns."""
        from streambench.report.frame import changes_frame

        return changes_frame(self)

    def __str__(self) -> str:
        from streambench.report.comparison import compared_terminal

        return compared_terminal(self, 140)

    def _repr_html_(self) -> str:
        from streambench.report.frame import changes_html

        return changes_html(self)
