"""The config's data while it is loaded, and the problems found so far.

load.py creates a Draft and runs the steps of this package on it. Each step changes or refuses parts of the data; after
the last step all problems are raised together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streambench.documents import Document, KeyPath, dotted
from streambench.errors import ConfigError, Problem, SuiteError


@dataclass(slots=True)
class Draft:
    """The config's data, where its values came from, and the problems found in it."""

    document: Document
    data: dict[str, Any]
    folder: Path
    """The config file's folder: paths are looked up here first."""
    also_in: Path | None = None
    """Paths are looked up here second, before the current folder."""
    origins: dict[KeyPath, str] = field(default_factory=dict)
    """Path of each value that does not come from the file, and the option that set it."""
    variables: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict)
    """Path of each value that contained `${NAME}`, and the names of its variables."""
    secret_values: set[str] = field(default_factory=set)
    problems: dict[KeyPath, list[Problem]] = field(default_factory=dict)
    suite_problems: list[Problem] = field(default_factory=list)

    def refuse(self, path: KeyPath, message: str, found: str | None = None, accepted: str | None = None) -> None:
        """Adds a problem with the value at a path."""
        file, line = self.place(path)
        problem = Problem(message, file, line, dotted(path) or None, found, accepted)
        self.problems.setdefault(path, []).append(problem)

    def place(self, path: KeyPath) -> tuple[str, int | None]:
        """Returns the file and line of a value, or the option that set it and None."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]], None
        return self.document.file, self.document.line(path)

    def is_refused(self, path: KeyPath) -> bool:
        """True if a value, or one that contains it, already has a problem: a second message would be noise."""
        return any(path[:length] in self.problems for length in range(1, len(path) + 1))

    def gateways(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields name and data of each gateway that is a mapping; schema validation refuses the others."""
        gateways = self.data.get("gateways")
        if isinstance(gateways, dict):
            yield from ((name, gateway) for name, gateway in gateways.items() if isinstance(gateway, dict))

    def models(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields index and data of each model that is a mapping."""
        models = self.data.get("models")
        if isinstance(models, list):
            yield from ((index, model) for index, model in enumerate(models) if isinstance(model, dict))

    def raise_problems(self) -> None:
        """Raises ConfigError with all problems, sorted by line; SuiteError if only the suite has problems."""
        own = [problem for problems in self.problems.values() for problem in problems]
        own.sort(key=lambda problem: (problem.file != self.document.file, problem.line or 0))
        if own:
            raise ConfigError([*own, *self.suite_problems])
        if self.suite_problems:
            raise SuiteError(self.suite_problems)
