"""What the real parts of the tests have in common: environments of their own, built on first use, and processes.

A part's hundred packages must not mix with our own, nor with another part's. Standard library only, so that any Python
that runs the tests can run it. Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 90.0
STOP_LIMIT_S = 10.0
ANSWER_LIMIT_S = 30.0

T = TypeVar("T")


class StackError(Exception):
    """A part did not start or its environment could not be built; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment at the root of the repository, and the list of packages that makes it."""

    name: str
    """`.venv-...`, which git ignores and `make clean` removes."""
    requirements: str
    """A file in requirements/: complete and pinned, for it is installed without dependencies."""

    @property
    def folder(self) -> Path:
        return ROOT / self.name

    @property
    def python(self) -> str:
        """Its interpreter. To run a program of it, `python -m`: scripts in bin/ name the place where they were made."""
        return str(self.folder / "bin" / "python")

    def build(self) -> None:
        """Make it as its list says, unless it is so already. Raises StackError with what pip said.

        The lock is for a second test run that starts meanwhile: it waits, and then finds everything built.
        """
        stamp_file = self.folder / "built-from"
        with (ROOT / "requirements" / self.requirements).open("rb") as wanted:
            fcntl.flock(wanted, fcntl.LOCK_EX)
            stamp = f"{sys.version_info[:2]} {hashlib.sha256(wanted.read()).hexdigest()}"
            if stamp_file.is_file() and stamp_file.read_text() == stamp:
                return
            self._install()
            stamp_file.write_text(stamp)

    def _install(self) -> None:
        """Wheels only: a source build would eat a small machine, so it must fail at once."""
        listed = f"requirements/{self.requirements}"
        print(f"building {self.name} from {listed} ...", file=sys.stderr, flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        for command in (
            [sys.executable, "-m", "venv", str(self.folder)],
            [self.python, *pip, "-r", str(ROOT / listed)],
        ):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode:
                raise StackError(f"{' '.join(command)}\nfailed:\n{done.stdout}")


@dataclass(frozen=True, slots=True)
class Part:
    """A started process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def address(self) -> str | None:
        # Not at a line's start: the server's own log may have begun one by then.
        ready = re.search(r"READY (http://\S+)$", self.log.read_text(errors="replace"), re.MULTILINE)
        return ready[1] if ready else None

    def wait_for(self, probe: Callable[[], T | None]) -> T:
        """What `probe` yields once it is true."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if found := probe():
                return found
            if self.process.poll() is not None:
                raise StackError(f"ended with {self.process.returncode} while starting\n{tail(self.log)}")
            time.sleep(0.1)
        raise StackError(f"not ready after {START_LIMIT_S:.0f} s\n{tail(self.log)}")


@contextmanager
def process(name: str, command: Sequence[str], logs: Path, settings: Mapping[str, str] | None = None) -> Iterator[Part]:
    """The command, started in `logs` and logging there under `name`; ended, with all that it started, on leaving.

    It sees `settings` and of our own environment only what any program needs.
    """
    log = logs / f"{name}.log"
    with log.open("wb") as sink:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=logs,
            env={**_plain_environment(), **(settings or {})},
            start_new_session=True,  # a group of its own, so that workers end with it and Ctrl-C is ours to handle
        )
    try:
        yield Part(started, log)
    finally:
        _stop(started)


def _plain_environment() -> dict[str, str]:
    """Only what a program needs: a DATABASE_URL or HTTP_PROXY of this machine must not change what is tested."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def _stop(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT_S)
    _signal_group(process, signal.SIGKILL)  # also what the process left behind in its group
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def answers(url: str, key: str = "none") -> bool:
    """Whether a GET is answered 200."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
    try:
        with _direct().open(request, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_port(wanted: int = 0) -> int:
    """`wanted`, or any for 0. Asked beforehand, since LiteLLM silently moves to another port where one is taken."""
    try:
        with socket.create_server(("127.0.0.1", wanted)) as probe:
            return int(probe.getsockname()[1])
    except OSError:
        raise StackError(f"port {wanted} is taken: stop what listens there, or choose another with --port") from None


def free_ports(count: int) -> tuple[int, ...]:
    """So many different ones."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(int(probe.getsockname()[1]) for probe in probes)


def get_json(url: str) -> Any:
    """The answer to a GET. Raises OSError if there is none or it is no 2xx."""
    with _direct().open(url, timeout=ANSWER_LIMIT_S) as response:
        return json.load(response)


def _direct() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def tail(log: Path, lines: int = 40) -> str:
    """Its last lines, under its name."""
    return "\n".join([f"--- {log}", *log.read_text(errors="replace").splitlines()[-lines:]])
