"""`streambench run` as a user would call it, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from streambench.metrics.outcomes import Outcome, outcome_of
from streambench.records.schema import AttemptRecord, from_line

PATIENCE_S = 120


@dataclass(frozen=True)
class Run:
    """A run under way, or over."""

    folder: Path
    process: subprocess.Popen[str]

    @cached_property
    def said(self) -> str:
        """Waits for its end."""
        return self.process.communicate(timeout=PATIENCE_S)[0]

    @property
    def exit_code(self) -> int:
        assert self.said is not None
        return self.process.returncode

    @cached_property
    def records(self) -> tuple[AttemptRecord, ...]:
        """In the order in which they were sent."""
        said = self.said
        kept = list(self.folder.rglob("records.jsonl"))
        assert len(kept) == 1, f"expected one run's results, found {kept}; exit code {self.exit_code}\n{said}"
        return tuple(sorted(map(from_line, kept[0].read_text().splitlines()), key=lambda record: record.start_at_ns))

    def of(self, model: str) -> tuple[AttemptRecord, ...]:
        found = tuple(record for record in self.records if record.ticket.model == model)
        assert found, f"nothing was sent to {model}; exit code {self.exit_code}\n{self.said}"
        return found

    def outcomes(self, model: str) -> tuple[Outcome, ...]:
        """Of each attempt, in order."""
        return tuple(outcome_of(record) for record in self.of(model))


@contextmanager
def streambench(folder: Path, settings: Mapping[str, Any], keys: Mapping[str, str] | None = None) -> Iterator[Run]:
    """Starts a run of these settings in `folder`, with the keys in its environment; it is over when the block is."""
    config = folder / "config.yaml"
    config.write_text(json.dumps(settings))  # YAML takes JSON as it is
    command = [sys.executable, "-m", "streambench", "run", str(config), "--output", str(folder / "out"), "--quiet"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(keys or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        run = Run(folder, process)
        try:
            yield run
            _ = run.said
        finally:
            process.kill()


def run_to_its_end(folder: Path, settings: Mapping[str, Any], keys: Mapping[str, str] | None = None) -> Run:
    with streambench(folder, settings, keys) as run:
        return run
