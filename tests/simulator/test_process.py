"""Starting, stopping, and refusing to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streambench.errors import SimulatorError
from streambench.simulator.command import main
from streambench.simulator.process import SimulatorProcess

MODELS = "models: {m: {ttft_ms: 5, gap_ms: 1, tokens: 2}}"
COMMAND = [sys.executable, "-m", "streambench.simulator", "--models"]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(MODELS)
    return path


def run(models: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, str(models), *options], capture_output=True, text=True, timeout=20)


def test_it_runs_while_entered(models: Path) -> None:
    """A base URL on loopback with a port that the system chose; gone afterwards; stopping twice is fine."""
    with SimulatorProcess(models) as process:
        assert process.base_url().startswith("http://127.0.0.1:")
        assert process.base_url().endswith("/v1")
        assert process.running
    assert not process.running
    process.stop()


def test_it_has_its_own_process_group(models: Path) -> None:
    """So that Ctrl-C in the terminal does not reach it."""
    with SimulatorProcess(models) as process:
        process.base_url()
        assert process.pid is not None
        assert os.getpgid(process.pid) != os.getpgid(0)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_at_once(models: Path, sent: signal.Signals) -> None:
    """Exit code 0."""
    child = subprocess.Popen([*COMMAND, str(models)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline().startswith(b"READY http://127.0.0.1:")
    child.send_signal(sent)
    assert child.wait(5) == 0
    child.stdout.close()


def test_it_dies_with_its_parents_pipe(models: Path) -> None:
    """End of file on standard input is the parent's death, however it came."""
    command = [*COMMAND, str(models), "--parent-pipe"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    child.stdin.close()
    assert child.wait(5) == 0
    child.stdout.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "example.org"])
def test_it_serves_this_machine_only(models: Path, host: str) -> None:
    """One line, exit code 2."""
    refused = run(models, "--host", host)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "this machine only" in refused.stderr
    assert host in refused.stderr


def test_a_parent_learns_why_it_did_not_start(tmp_path: Path) -> None:
    """In one line, though two things are wrong."""
    path = tmp_path / "models.yaml"
    path.write_text("models: {a: {gap: 1}, b: {tokens: none}}")
    with SimulatorProcess(path) as process, pytest.raises(SimulatorError) as caught:
        process.base_url()
    said = str(caught.value)
    assert "\n" not in said
    assert "models.a.gap" in said
    assert "models.b.tokens" in said


def test_a_port_that_is_taken(models: Path) -> None:
    """One line, exit code 2."""
    with SimulatorProcess(models) as process:
        refused = run(models, "--port", process.base_url().rsplit(":")[-1].removesuffix("/v1"))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def test_bad_input_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file: exit code 2 and a line that names it."""
    assert main(["--models", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("none.yaml") == 1


def test_it_loads_nothing_heavy() -> None:
    """The parent's side and the server without the SDK, data frames or pydantic."""
    heavy = "openai pandas pydantic numpy rich"
    code = (
        "import sys, streambench.simulator.server, streambench.simulator.process;"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
