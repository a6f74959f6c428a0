"""The input and output of an engine: plain data, which can be pickled and sent to another process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from streambench.config.config import Config
from streambench.config.origin import Origin
from streambench.errors import DiskError
from streambench.records.schema import RunTrace
from streambench.records.trace_ids import new_run_trace
from streambench.runner.observers import RunObserver
from streambench.runner.plan import Plan
from streambench.runner.resume import Continued

RunStatus = Literal[
    "complete", "interrupted", "duration_limit", "disk_error", "key_refused", "failure_share", "budget", "set_aside"
]


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure: the resolved config, its plan, the gateways' addresses, and the run's ids."""

    config: Config
    plan: Plan
    base_urls: Mapping[str, str]
    """The address of each gateway, by its name."""
    simulated: tuple[str, ...]
    """Aliases of the models that the embedded gateway serves."""
    origin: Origin = field(default_factory=Origin)
    continued: Continued | None = None
    """The earlier parts of a resumed run; None for a new run, which gets its own folder."""
    trace: RunTrace = field(default_factory=new_run_trace)
    """The span ids of a new run; a resumed run keeps those of its header."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How a job ended, and the folder of its records."""

    folder: Path
    status: RunStatus
    disk_error: DiskError | None
    refuses_usage: frozenset[str]
    """Aliases of the models whose gateway rejects `stream_options`."""
    reason: str | None = None
    """What stopped the run, if the status alone does not say it."""


class Engine(Protocol):
    """Runs jobs, in this process (`local.LocalEngine`) or elsewhere."""

    async def measure(self, job: Job, observers: Sequence[RunObserver] = ()) -> Measured:
        """Runs the job to its end, or until it is interrupted; `observers` receive its events.

        Raises ResultsError if no results folder can be made.
        """
