"""The config's data while it is being read: each step mends or refuses parts of it; all problems end up here.

On the way: load.py makes one, the other modules of this package work on it, and at the end it raises or is validated.
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
    document: Document
    data: dict[str, Any]
    folder: Path
    """Where the config lies: paths are looked up here first."""
    also_in: Path | None = None
    """Where they are looked up next, before the current folder."""
    origins: dict[KeyPath, str] = field(default_factory=dict)
    """Values that are not from the file, and the option that gave them."""
    variables: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict)
    """Values that held `${NAME}`, and the names."""
    secret_values: set[str] = field(default_factory=set)
    problems: dict[KeyPath, list[Problem]] = field(default_factory=dict)
    suite_problems: list[Problem] = field(default_factory=list)

    def refuse(self, path: KeyPath, message: str, found: str | None = None, accepted: str | None = None) -> None:
        file, line = self.place(path)
        problem = Problem(message, file, line, dotted(path) or None, found, accepted)
        self.problems.setdefault(path, []).append(problem)

    def place(self, path: KeyPath) -> tuple[str, int | None]:
        """The file and line of a value, or the option that gave it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]], None
        return self.document.file, self.document.line(path)

    def is_refused(self, path: KeyPath) -> bool:
        """Whether a value, or one around it, has a problem already: a second message would only be noise."""
        return any(path[:length] in self.problems for length in range(1, len(path) + 1))

    def gateways(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The gateways that are mappings at all; the others are left to the schema."""
        gateways = self.data.get("gateways")
        if isinstance(gateways, dict):
            yield from ((name, gateway) for name, gateway in gateways.items() if isinstance(gateway, dict))

    def models(self) -> Iterator[tuple[int, dict[str, Any]]]:
        models = self.data.get("models")
        if isinstance(models, list):
            yield from ((index, model) for index, model in enumerate(models) if isinstance(model, dict))

    def raise_problems(self) -> None:
        own = [problem for problems in self.problems.values() for problem in problems]
        own.sort(key=lambda problem: (problem.file != self.document.file, problem.line or 0))
        if own:
            raise ConfigError([*own, *self.suite_problems])
        if self.suite_problems:
            raise SuiteError(self.suite_problems)
