"""A user's folder and the commands started in it: each is a process, as from a shell.

Whatever a test runs, `Ran` also checks that no traceback was printed, and that neither the key nor a prompt is in any
byte of what was printed or written.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from streambench.analysis.run import Run, load
from streambench.records.schema import AttemptRecord

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 90.0
KEY = "key-0123456789abcdef"
MARK = "the quiet harbour of Zanzibar"
PROMPTS = [
    {"id": "morning", "text": f"Tell me of {MARK} in the morning."},
    {"id": "noon", "text": f"Tell me of {MARK} at noon."},
    {"id": "evening", "text": f"Tell me of {MARK} in the evening."},
]
MODELS = """
models:
  swift: {ttft_ms: 10, gap_ms: 2, tokens: 8}
  steady: {ttft_ms: 30, gap_ms: 3, tokens: 8}
  slow: {ttft_ms: 300, gap_ms: 2, tokens: 4}
"""


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str
    results: Path

    @property
    def folder(self) -> Path:
        """The only one that it left."""
        (folder,) = self.results.iterdir()
        return folder

    @property
    def resumed(self) -> tuple[int, ...]:
        """The numbers of the line on a resumption: recorded, planned, missing, and not sent if there are any."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("resuming: ")]
        return tuple(map(int, re.findall(r"\d+", line)))

    @property
    def run(self) -> Run:
        return load(self.folder)

    @property
    def measured(self) -> list[AttemptRecord]:
        """In order of their start."""
        records = [record for record in self.run.records if record.ticket.phase == "measure"]
        return sorted(records, key=lambda record: record.start_at_ns)

    @property
    def summary(self) -> Any:
        return json.loads((self.folder / "summary.json").read_bytes())

    def check(self) -> Ran:
        """What must hold of every run."""
        assert "Traceback" not in self.err
        files = [file for file in self.results.rglob("*") if file.is_file()] if self.results.exists() else []
        texts = {"stdout": self.out.encode(), "stderr": self.err.encode()} | {
            file.name: file.read_bytes() for file in files
        }
        held = [name for name, text in texts.items() if KEY.encode() in text or MARK.encode() in text]
        assert held == []
        return self


class Process(Protocol):
    """As much of `subprocess.Popen` as is used here."""

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, number: int) -> None: ...

    def kill(self) -> None: ...


Launch = Callable[[Sequence[str], Path, Path, Path, Mapping[str, str], int | None], Process]
"""Arguments, files for what it prints, its folder, its environment, and the bytes that no file may pass."""


def cold(
    arguments: Sequence[str], out: Path, err: Path, cwd: Path, env: Mapping[str, str], file_limit: int | None
) -> Process:
    """As from a shell."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell may have us ignore it, which children would inherit
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    command = [sys.executable, "-m", "streambench", *arguments]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        return subprocess.Popen(command, stdout=stdout, stderr=stderr, cwd=cwd, env=env, preexec_fn=prepare)


class Started:
    """A command under way; what it prints goes to files."""

    def __init__(self, home: Home, arguments: Sequence[str], env: Mapping[str, str], file_limit: int | None) -> None:
        self.results = home.folder / f"results-{len(home.started)}"
        self._out = home.folder / f"out-{len(home.started)}"
        self._err = home.folder / f"err-{len(home.started)}"
        if arguments[0] == "run" and "--output" not in arguments:
            arguments = [*arguments, "--output", str(self.results)]
        self.process = home.launch(arguments, self._out, self._err, home.folder, env, file_limit)

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def lines(self) -> int:
        """Of the journal, so far."""
        return sum(file.read_bytes().count(b"\n") for file in self.results.rglob("records.jsonl"))

    def until(self, true: Callable[[], bool]) -> Started:
        until(lambda: true() or self.process.poll() is not None)
        assert self.process.poll() is None, self.err
        return self

    def drains(self) -> Started:
        """Waits until it has said that it waits for the requests in flight."""
        return self.until(lambda: re.search(r"^stopping: ", self.err, re.MULTILINE) is not None)

    def signal(self, number: signal.Signals) -> Started:
        self.process.send_signal(number)
        return self

    def end(self) -> Ran:
        code = self.process.wait(PATIENCE_S)
        return Ran(code, self._out.read_text("utf-8"), self.err, self.results).check()


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.005)


class Home:
    """A user's folder: `models.yaml`, and a config that a test writes."""

    def __init__(self, folder: Path, launch: Launch = cold) -> None:
        self.folder = folder
        self.launch = launch
        self.models = folder / "models.yaml"
        self.models.write_text(MODELS)
        self.started: list[Started] = []

    def config(self, *models: Any, gateway: Mapping[str, Any] | None = None, **keys: Any) -> str:
        """On the embedded gateway unless `gateway` says otherwise; two at a time, without a warm-up."""
        plain = {
            "gateways": {"hub": gateway or {"base_url": "embedded", "models": "models.yaml"}},
            "models": list(models or ("swift", "steady")),
            "prompts": PROMPTS,
            "load": {"mode": "closed", "concurrency": 2},
            "warmup": {"requests": 0},
            "seed": 7,
            **keys,
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(plain))
        return str(path)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, file_limit: int | None = None) -> Started:
        clean = {name: value for name, value in os.environ.items() if name not in ("HUB_API_KEY", "COLUMNS")}
        self.started.append(Started(self, arguments, {**clean, **(env or {})}, file_limit))
        return self.started[-1]

    def run(self, *arguments: str, env: Mapping[str, str] | None = None, file_limit: int | None = None) -> Ran:
        return self.start("run", *arguments, env=env, file_limit=file_limit).end()

    def close(self) -> None:
        for started in self.started:
            if started.process.poll() is None:
                started.process.kill()
                started.process.wait()


class WithoutPage(Home):
    """Writes no report, which would take longer than all else."""

    def start(self, *arguments: str, **how: Any) -> Started:
        return super().start(*arguments, "--no-report", **how)


def go_on(home: Home, results: Path, *arguments: str, **how: Any) -> Started:
    """`streambench resume` of the only run in a folder."""
    (folder,) = results.iterdir()
    started = home.start("resume", str(folder), *arguments, **how)
    started.results = results
    return started
