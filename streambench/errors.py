"""The exception tree. A failed request is data, never one of these; these end a command.

    StreambenchError              exit code 1 unless said otherwise
    ├── InputError                exit code 2: what the user gave cannot be used; holds every Problem found
    │   ├── ConfigError           the YAML file, a --set override, or the environment
    │   └── SuiteError            a prompt suite
    ├── ResultsError              exit code 2: a folder that is no run, or cannot be written
    │   └── SchemaError           written by a newer streambench than this one
    ├── DiskError                 exit code 3: the journal could not be appended to (disk full, folder gone)
    └── SimulatorError            exit code 2: the embedded gateway did not start

The command turns them into lines on stderr; a traceback is always a fault of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the input, told so that it can be mended without reading the code.

    `where` is the key (`load.concurrency`), with `line` counted from 1 where known; `found` is what stood there and
    `accepted` what may stand there instead.
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
    """Anything streambench raises on purpose."""

    exit_code = 1


class InputError(StreambenchError):
    """What the user gave cannot be used; `problems` lists everything found, not only the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigError(InputError):
    """The configuration file, an override or the environment."""


class SuiteError(InputError):
    """A prompt suite."""


class ResultsError(StreambenchError):
    """A results folder that cannot be read or made."""

    exit_code = 2


class SchemaError(ResultsError):
    """A results folder written by a newer streambench."""


class DiskError(StreambenchError):
    """The journal could not be appended to; what it holds already is safe."""

    exit_code = 3


class SimulatorError(StreambenchError):
    """The embedded gateway did not start."""

    exit_code = 2
