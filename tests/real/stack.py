"""A real stack on this computer: SmolLM2 on llama.cpp's own server, and the LiteLLM proxy in front of it.

    python tests/real/stack.py --serve        keeps it up for use by hand, until Ctrl-C

Beside it llmock, which plays a gateway that breaks as it is told, and judges its client. The parts live in
`.venv-real`, built on first use: a gateway's hundred packages must not mix with our own. Standard library only, so
that any Python that runs the tests can run it. Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts import Environment, StackError, answers, free_port, process, tail

HERE = Path(__file__).resolve().parent
ENVIRONMENT = Environment(".venv-real", "real-stack.txt")
KEY_VARIABLE = "STREAMBENCH_TEST_KEY"
LIMITED_KEY_VARIABLE = "STREAMBENCH_TEST_LIMITED_KEY"
"""A second key of the proxy, good for one request a minute."""
URL_VARIABLE = "STREAMBENCH_TEST_URL"
SETTINGS = "litellm_settings:\n"
SERVE_PORT = 4000  # the one in configs/local-models.yaml


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
def running(logs: Path, *, key: str, port: int = 0, otlp_endpoint: str = "") -> Iterator[Stack]:
    """The stack, up and answering. With port 0 the proxy takes any free one. Raises StackError.

    With `otlp_endpoint`, such as http://127.0.0.1:4318, the proxy sends its spans there.
    """
    build_environment()
    port = free_port(port)  # told before the model is loaded
    with (
        model_server(logs) as model,
        proxy(logs, model.url, key=key, port=port, otlp_endpoint=otlp_endpoint) as gateway_url,
    ):
        yield Stack(gateway_url=gateway_url, model_url=model.url, key=key, logs=logs)


def build_environment() -> None:
    """Make `.venv-real`, unless it is there. About a minute and 950 MB. Raises StackError."""
    ENVIRONMENT.build()


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
def model_server(logs: Path, name: str = "model", template: str = "") -> Iterator[ModelServer]:
    """SmolLM2, up and answering; it logs under `name`. Needs the environment built. Raises StackError.

    With `template`, the name of a file here, it speaks by that chat template.
    """
    more = [str(HERE / template)] if template else []
    with process(name, [ENVIRONMENT.python, str(HERE / "serve_model.py"), *more], logs) as part:
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
    otlp_endpoint: str = "",
) -> Iterator[str]:
    """The address of LiteLLM with the models of litellm.yaml, and with these: name to its `litellm_params`.

    With `otlp_endpoint`, its `otel` callback sends its spans there by HTTP, without prompts and answers. Needs the
    environment built. Raises StackError.
    """
    port = free_port(port)
    address = f"http://127.0.0.1:{port}"
    config = _proxy_config(logs, models or {}, callbacks=["otel"] if otlp_endpoint else [])
    where = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    # Not bin/litellm: its first line names the interpreter of the place where the environment was built.
    command = [ENVIRONMENT.python, "-m", "litellm.proxy.proxy_cli", "--config", str(config), *where]
    settings = {
        KEY_VARIABLE: key,
        LIMITED_KEY_VARIABLE: limited_key,
        "STREAMBENCH_MODEL_URL": model_url,
        "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}",  # it refuses to start without; gateway_auth.py decides
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet for a price list
        "PYTHON_DOTENV_DISABLED": "1",  # else it reads the .env in our repository
    }
    if otlp_endpoint:
        settings |= {
            "OTEL_EXPORTER": "otlp_http",
            "OTEL_ENDPOINT": f"{otlp_endpoint}/v1/traces",
            "OTEL_BSP_SCHEDULE_DELAY": "200",  # ms, and not 5 s: a test waits for them
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT",  # LiteLLM's default is all of it
        }
    with process("gateway", command, logs, settings) as gateway:
        gateway.wait_for(lambda: answers(f"{address}/v1/models", key))
        yield f"{address}/v1"


def _proxy_config(folder: Path, models: Mapping[str, Mapping[str, Any]], callbacks: Sequence[str]) -> Path:
    """litellm.yaml with more models and these callbacks.

    A copy of gateway_auth.py stands beside it: LiteLLM looks for that where its config is.
    """
    entries = [{"model_name": name, "litellm_params": dict(params)} for name, params in models.items()]
    more = "".join(f"  - {json.dumps(entry)}\n" for entry in entries)  # YAML takes JSON as it is
    head, mark, rest = (HERE / "litellm.yaml").read_text().partition("model_list:\n")
    config = folder / "litellm.yaml"
    config.write_text(head + mark + more + rest.replace(SETTINGS, f"{SETTINGS}  callbacks: {json.dumps(callbacks)}\n"))
    shutil.copy(HERE / "gateway_auth.py", folder)
    return config


@contextmanager
def llmock(logs: Path) -> Iterator[str]:
    """The address of an llmock, without `/v1`. Needs the environment built. Raises StackError."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [ENVIRONMENT.python, "-m", "llmock.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with process("llmock", command, logs) as part:
        part.wait_for(lambda: answers(f"{address}/health"))
        yield address


def serve(port: int, otlp_endpoint: str) -> None:
    """Keep the stack up until Ctrl-C or SIGTERM."""
    key = os.environ.get(KEY_VARIABLE) or f"sk-{secrets.token_hex(16)}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="streambench-stack-") as logs:
        try:
            with running(Path(logs), key=key, port=port, otlp_endpoint=otlp_endpoint) as stack:
                print(f"export {URL_VARIABLE}={stack.gateway_url}\nexport {KEY_VARIABLE}={key}", flush=True)
                print(f"model server: {stack.model_url}  logs: {logs}  stop: Ctrl-C", file=sys.stderr, flush=True)
                signal.pause()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="SmolLM2 behind the LiteLLM proxy, on this computer.")
    parser.add_argument("--serve", action="store_true", help="start the stack and keep it up until Ctrl-C")
    parser.add_argument("--port", type=int, default=SERVE_PORT, help="of the proxy; 0 for any free one")
    parser.add_argument("--otlp", default="", metavar="URL", help="send the proxy's spans there: http://127.0.0.1:4318")
    wanted = parser.parse_args()
    try:
        serve(wanted.port, wanted.otlp) if wanted.serve else build_environment()
    except StackError as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
