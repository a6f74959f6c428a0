"""A real stack on this computer: SmolLM2 on llama.cpp's own server, and the LiteLLM proxy in front of it.

    python tests/real/stack.py --serve        keeps it up for use by hand, until Ctrl-C

Beside it llmock, which plays a gateway that breaks as it is told, and judges its client. The parts live in
`.venv-real`, built on first use: a gateway's hundred packages must not mix with our own. Standard library only, so
that any Python that runs the tests can run it. Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REQUIREMENTS = ROOT / "requirements" / "real-stack.txt"
VENV = ROOT / ".venv-real"
STAMP = VENV / "built-from"
KEY_VARIABLE = "STREAMBENCH_TEST_KEY"
LIMITED_KEY_VARIABLE = "STREAMBENCH_TEST_LIMITED_KEY"
"""A second key of the proxy, good for one request a minute."""
URL_VARIABLE = "STREAMBENCH_TEST_URL"
START_LIMIT_S = 90.0
STOP_LIMIT_S = 10.0
SERVE_PORT = 4000  # the one in configs/local-models.yaml

T = TypeVar("T")


class StackError(Exception):
    """A part of the stack did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses of the running parts, both up to and including `/v1`, and where they write their logs."""

    gateway_url: str
    model_url: str
    key: str
    logs: Path

    @property
    def model_log(self) -> Path:
        return self.logs / "model.log"

    def tails(self) -> str:
        """The last lines of every log, for a failed test's report."""
        return "\n".join(tail(log) for log in sorted(self.logs.glob("*.log")))


@contextmanager
def running(logs: Path, *, key: str, port: int = 0) -> Iterator[Stack]:
    """The stack, up and answering. With port 0 the proxy takes any free one. Raises StackError."""
    build_environment()
    port = free_port(port)  # told before the model is loaded
    with model_server(logs) as model, proxy(logs, model.url, key=key, port=port) as gateway_url:
        yield Stack(gateway_url=gateway_url, model_url=model.url, key=key, logs=logs)


def build_environment() -> None:
    """Make `.venv-real` as requirements/real-stack.txt says, unless it is so already.

    The lock is for a second test run that starts meanwhile: it waits, and then finds everything built.
    """
    with REQUIREMENTS.open("rb") as wanted:
        fcntl.flock(wanted, fcntl.LOCK_EX)
        stamp = f"{sys.version_info[:2]} {hashlib.sha256(wanted.read()).hexdigest()}"
        if STAMP.is_file() and STAMP.read_text() == stamp:
            return
        _install()
        STAMP.write_text(stamp)


def _install() -> None:
    """About a minute and 950 MB. Wheels only: a source build would eat a small machine, so it must fail at once."""
    print(f"building {VENV.name} from {REQUIREMENTS.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    for command in ([sys.executable, "-m", "venv", str(VENV)], [_python(), *pip, "-r", str(REQUIREMENTS)]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise StackError(f"{' '.join(command)}\nfailed:\n{done.stdout}")


@dataclass(frozen=True, slots=True)
class ModelServer:
    """Its address, up to and including `/v1`."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """At once, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def model_server(logs: Path, name: str = "model") -> Iterator[ModelServer]:
    """SmolLM2, up and answering; it logs under `name`. Needs the environment built. Raises StackError."""
    with _process(name, [_python(), str(HERE / "serve_model.py")], logs) as part:
        yield ModelServer(f"{part.wait_for(part.address)}/v1", part.process)


@contextmanager
def proxy(
    logs: Path,
    model_url: str,
    *,
    key: str,
    limited_key: str = "",
    port: int = 0,
    models: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[str]:
    """The address of LiteLLM with the models of litellm.yaml, and with these: name to its `litellm_params`.

    Needs the environment built. Raises StackError.
    """
    port = free_port(port)
    address = f"http://127.0.0.1:{port}"
    config = _proxy_config(logs, models or {})
    where = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    # Not bin/litellm: its first line names the interpreter of the place where the environment was built.
    command = [_python(), "-m", "litellm.proxy.proxy_cli", "--config", str(config), *where]
    settings = {
        KEY_VARIABLE: key,
        LIMITED_KEY_VARIABLE: limited_key,
        "STREAMBENCH_MODEL_URL": model_url,
        "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}",  # it refuses to start without; gateway_auth.py decides
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet for a price list
        "PYTHON_DOTENV_DISABLED": "1",  # else it reads the .env in our repository
    }
    with _process("gateway", command, logs, settings) as gateway:
        gateway.wait_for(lambda: _answers(f"{address}/v1/models", key))
        yield f"{address}/v1"


def _proxy_config(folder: Path, models: Mapping[str, Mapping[str, Any]]) -> Path:
    """litellm.yaml with more models, beside a copy of gateway_auth.py, which LiteLLM looks for where its config is."""
    entries = [{"model_name": name, "litellm_params": dict(params)} for name, params in models.items()]
    more = "".join(f"  - {json.dumps(entry)}\n" for entry in entries)  # YAML takes JSON as it is
    head, mark, rest = (HERE / "litellm.yaml").read_text().partition("model_list:\n")
    config = folder / "litellm.yaml"
    config.write_text(head + mark + more + rest)
    shutil.copy(HERE / "gateway_auth.py", folder)
    return config


@contextmanager
def llmock(logs: Path) -> Iterator[str]:
    """The address of an llmock, without `/v1`. Needs the environment built. Raises StackError."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [_python(), "-m", "llmock.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with _process("llmock", command, logs) as part:
        part.wait_for(lambda: _answers(f"{address}/health"))
        yield address


@dataclass(frozen=True, slots=True)
class _Part:
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
def _process(
    name: str, command: Sequence[str], logs: Path, settings: Mapping[str, str] | None = None
) -> Iterator[_Part]:
    log = logs / f"{name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=logs,
            env={**_plain_environment(), **(settings or {})},
            start_new_session=True,  # a group of its own, so that workers end with it and Ctrl-C is ours to handle
        )
    try:
        yield _Part(process, log)
    finally:
        _stop(process)


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


def _answers(url: str, key: str = "none") -> bool:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=5) as response:
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


def _python() -> str:
    return str(VENV / "bin" / "python")


def tail(log: Path, lines: int = 40) -> str:
    return "\n".join([f"--- {log}", *log.read_text(errors="replace").splitlines()[-lines:]])


def serve(port: int) -> None:
    """Keep the stack up until Ctrl-C or SIGTERM."""
    key = os.environ.get(KEY_VARIABLE) or f"sk-{secrets.token_hex(16)}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="streambench-stack-") as logs:
        try:
            with running(Path(logs), key=key, port=port) as stack:
                print(f"export {URL_VARIABLE}={stack.gateway_url}\nexport {KEY_VARIABLE}={key}", flush=True)
                print(f"model server: {stack.model_url}  logs: {logs}  stop: Ctrl-C", file=sys.stderr, flush=True)
                signal.pause()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="SmolLM2 behind the LiteLLM proxy, on this computer.")
    parser.add_argument("--serve", action="store_true", help="start the stack and keep it up until Ctrl-C")
    parser.add_argument("--port", type=int, default=SERVE_PORT, help="of the proxy; 0 for any free one")
    wanted = parser.parse_args()
    try:
        serve(wanted.port) if wanted.serve else build_environment()
    except StackError as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
