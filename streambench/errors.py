"""The exception tree. These exceptions end a command; a failed request is recorded as data and raises none of them.

    StreambenchError              exit code 1 unless a subclass sets another
    ├── InputError                exit code 2: the user's input cannot be used; holds every Problem found
    │   ├── ConfigError           the YAML file, a --set override, or the environment
    │   └── SuiteError            a prompt suite
    ├── ResultsError              exit code 2: a folder that does not hold a run, or cannot be written
    │   └── SchemaError           the run was written by a newer streambench
    ├── DiskError                 exit code 3: the journal could not be appended to (disk full, folder gone)
    └── SimulatorError            exit code 2: the embedded gateway did not start

The command line prints them as lines on stderr. A traceback is always a bug in streambench.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in the input, with what a user needs to correct it.

    `where` is the key (`load.concurrency`). `line` counts from 1; None if it is unknown. `found` is the value given,
    `accepted` describes the values allowed.
    """

    message: str
    file: str | None = None
    line: int | None = None
    where: str | None = None
    found: str | None = None
    accepted: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        head = ": ".join(part for part in (place, self.where, self.message) if part)
        tail = [f"found {self.found}"] if self.found is not None else []
        if self.accepted is not None:
            tail.append(f"accepted: {self.accepted}")
        return f"{head} ({'; '.join(tail)})" if tail else head


class StreambenchError(Exception):
    """Base class of every exception that streambench raises on purpose."""

    exit_code = 1


class InputError(StreambenchError):
    """The user's input cannot be used. `problems` lists every fault found, not only the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigError(InputError):
    """The configuration file, an override or an environment variable cannot be used."""


class SuiteError(InputError):
    """A prompt suite cannot be used."""


class ResultsError(StreambenchError):
    """A results folder cannot be read or created."""

    exit_code = 2


class SchemaError(ResultsError):
    """The results folder was written by a newer streambench."""


class DiskError(StreambenchError):
    """The journal could not be appended to; records already written are kept."""

    exit_code = 3


class SimulatorError(StreambenchError):
    """The embedded gateway did not start."""

    exit_code = 2
