"""Starts the simulator in a child process, reads its address, and stops it.

The child has its own session, so Ctrl-C in the terminal reaches only the parent, which can first wait for open
requests. The child exits when its standard input ends, so it never outlives the parent, even after kill -9.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

from streambench.clock import NS, MonotonicClock
from streambench.errors import SimulatorError

READY = b"READY "
STOP_TIMEOUT_S = 5.0


class SimulatorProcess:
    """The simulator process, as a context manager: entering starts it, leaving stops it.

    `base_url` waits until it accepts requests.
    """

    def __init__(self, models: Path, *, seed: int = 0, truth: Path | None = None) -> None:
        self._command = [sys.executable, "-m", "streambench.simulator", "--parent-pipe"]
        self._command += ["--models", str(models), "--seed", str(seed)]
        if truth is not None:
            self._command += ["--truth", str(truth)]
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._base_url: str | None = None

    def __enter__(self) -> SimulatorProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Starts the process and returns at once, so that the caller can import modules meanwhile.

        Raises SimulatorError if it was started already.
        """
        if self._child is not None:
            raise SimulatorError("the simulator has already been started")
        # a file and not a pipe: it is not read while the simulator runs, and a full pipe would block the simulator
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._child = subprocess.Popen(  # noqa: S603 - runs a module of streambench
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )

    def base_url(self, timeout_s: float = 10.0) -> str:
        """Waits until the simulator accepts requests, and returns `http://127.0.0.1:PORT/v1`.

        Raises SimulatorError with the process's standard error if it does not start within `timeout_s` seconds.
        """
        if self._base_url is None:
            line = self._first_line(timeout_s)
            if not line.startswith(READY):
                errors = self.stderr_text()
                self.stop()
                raise SimulatorError(f"the simulator did not start: {errors or 'it printed no error'}")
            self._base_url = line[len(READY) :].decode().strip()
        return self._base_url

    def stderr_text(self) -> str:
        """Returns what the process has written to standard error so far, as one line."""
        if self._stderr is None:
            return ""
        written = os.pread(self._stderr.fileno(), 65536, 0).decode(errors="replace")
        return "; ".join(line.strip() for line in written.splitlines() if line.strip())

    def stop(self) -> None:
        """Stops the process and waits for its exit. Does nothing if it is not running."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._stderr):
            if stream is not None:
                stream.close()
        self._child = self._stderr = self._base_url = None

    def _first_line(self, timeout_s: float) -> bytes:
        """Returns the first line of the process's standard output.

        The line is incomplete or empty if the output ended or `timeout_s` seconds passed first.
        """
        if self._child is None or self._child.stdout is None:
            raise SimulatorError("the simulator was not started")
        output, line = self._child.stdout.fileno(), b""
        now_ns = MonotonicClock().now_ns
        until_ns = now_ns() + int(timeout_s * NS)
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([output], [], [], max(0, until_ns - now_ns()) / NS)
            read = os.read(output, 4096) if readable else b""
            if not read:
                self._await_last_words(ended=bool(readable))
                break
            line += read
        return line

    def _await_last_words(self, *, ended: bool) -> None:
        """Waits for the exit of a process whose output has ended, so that its standard error is complete."""
        if ended and self._child is not None:
            try:
                self._child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return
