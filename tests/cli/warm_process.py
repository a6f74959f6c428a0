"""The command as a process of its own that need not load anything first: it is forked from one that has.

A process that is killed, interrupted or out of disk is as real as one that was started anew; only the second and a half
that loading takes is shared by all of them. `python -m streambench` itself is tried in test_cli.py.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

LOADED = (
    "streambench.api",
    "streambench.runner.local",
    "streambench.report.live",
    "streambench.report.terminal",
    "streambench.simulator.process",
    __name__,
)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context


class WarmProcess:
    """As much of `subprocess.Popen` as the tests use."""

    def __init__(
        self,
        arguments: Sequence[str],
        out: Path,
        err: Path,
        cwd: Path,
        env: Mapping[str, str],
        file_limit: int | None = None,
    ) -> None:
        """`file_limit`: bytes that no file may pass, as on a full disk."""
        for file in (out, err):
            file.touch()
        self._process = _context().Process(target=_command, args=(arguments, out, err, cwd, env, file_limit))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for the signal that killed it. Raises TimeoutError."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"it still goes on after {timeout} s")
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _command(
    arguments: Sequence[str], out: Path, err: Path, cwd: Path, env: Mapping[str, str], file_limit: int | None
) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["streambench", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    from streambench.cli.main import main

    main()
