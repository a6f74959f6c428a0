"""run, arun, resume, load, compare and check, called from Python."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from home import ROOT

import streambench
from streambench.simulator.process import SimulatorProcess

QUICKSTART = ROOT / "configs" / "quickstart.yaml"
SHORT = ["repeats=1", "warmup.requests=0", "limits.requests=16"]
"""Sixteen requests of the quickstart: four prompts for each of its four models."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> streambench.RunResult:
    return streambench.run(QUICKSTART, overrides=SHORT, output=tmp_path_factory.mktemp("results"))


def test_run_returns_what_it_measured(run: streambench.RunResult) -> None:
    """Complete, with every request, and its summary on disk as the command leaves it."""
    assert run.status == "complete"
    assert len(run.requests) == 16
    assert (run.path / "summary.json").exists()
    assert run.summary().to_plain()["models"]["sim-swift"]["requests"] == 4


def test_the_leaderboard_is_a_frame(run: streambench.RunResult) -> None:
    """A row a model; a percentile that four requests cannot carry is NaN, not a number."""
    board = run.leaderboard()
    assert list(board.index) == ["sim-swift", "sim-steady", "sim-thinker", "sim-bursty"]
    assert list(board["requests"]) == list(board["ok"]) == [4, 4, 4, 4]
    assert board["ttft_p50_ms"].notna().all()
    assert board["ttft_p95_ms"].isna().all()
    assert (board["output_p50_tok_s"] > 0).all()


def test_a_notebook_shows_a_run_as_a_table(run: streambench.RunResult) -> None:
    """With the models' names, escaped, and no page of objects."""
    shown = run._repr_html_()
    assert shown.startswith("<table>")
    assert "sim-thinker" in shown
    assert len(shown) < 5_000
    assert len(repr(run)) < 300


def test_the_report_is_written_where_it_is_asked_for(run: streambench.RunResult, tmp_path: Path) -> None:
    """Without a path it lies in the run's folder."""
    assert run.report(tmp_path / "out.html") == tmp_path / "out.html"
    assert run.report() == run.path / "report.html"
    assert (tmp_path / "out.html").read_text("utf-8").startswith("<!doctype html>")


def test_runs_are_compared(run: streambench.RunResult) -> None:
    """By run or by folder; the comparison shows itself as a table."""
    compared = streambench.compare(run.path, run)
    assert compared._repr_html_().startswith("<table>")
    assert not compared.frame()["significant"].any()
    assert "sim-swift" in str(compared)


def test_assertions_are_checked(run: streambench.RunResult) -> None:
    """Each on each model."""
    found = streambench.check(run, ["error_rate: < 100%", "ttft_p50_ms: < 1"])
    assert len(found) == 8
    assert {each.model for each in found} == set(run.models)
    with pytest.raises(streambench.InputError, match=r"quick.*METRIC_STATISTIC"):
        streambench.check(run, "quick: please")


def test_a_running_loop_takes_arun(tmp_path: Path) -> None:
    """`run` names it; `arun` with a Config measures on the loop that runs."""
    config = streambench.load_config(QUICKSTART, SHORT, str(tmp_path))

    async def notebook() -> streambench.RunResult:
        with pytest.raises(streambench.StreambenchError, match="use `await arun"):
            streambench.run(config)
        return await streambench.arun(config)

    assert asyncio.run(notebook()).status == "complete"


def test_nothing_is_printed_unless_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Progress goes to stderr with `progress=True` alone."""
    streambench.run(QUICKSTART, overrides=SHORT, output=tmp_path)
    assert capfd.readouterr() == ("", "")
    streambench.run(QUICKSTART, overrides=SHORT, output=tmp_path, progress=True)
    out, err = capfd.readouterr()
    assert (out, "16 of 16 done" in err) == ("", True)


@pytest.mark.parametrize(
    ("config", "overrides", "error", "says"),
    [
        ("nowhere.yaml", [], streambench.ConfigError, "nowhere.yaml: no such file"),
        (QUICKSTART, ["repeats=many"], streambench.ConfigError, "repeats"),
        (QUICKSTART, ["limits.requests=1"], streambench.InputError, "leaves nothing to measure"),
    ],
)
def test_bad_input_is_an_exception(
    tmp_path: Path, config: Path, overrides: list[str], error: type[Exception], says: str
) -> None:
    """With the text that the command prints; nothing is written."""
    with pytest.raises(error, match=says):
        streambench.run(config, overrides=overrides, output=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: streambench.run(None), "config: cannot be used"),  # type: ignore[arg-type]
        (lambda: streambench.run(b"a.yaml"), "config: cannot be used"),  # type: ignore[arg-type]
        (lambda: streambench.run(QUICKSTART, overrides=[1]), "overrides: cannot be used"),  # type: ignore[list-item]
        (lambda: streambench.run(QUICKSTART, output=5), "output: cannot be used"),  # type: ignore[arg-type]
        (lambda: streambench.run(QUICKSTART, observers=[None]), "observers: cannot be used"),  # type: ignore[list-item]
        (
            lambda: streambench.run(QUICKSTART, observers=streambench.RunObserver()),  # type: ignore[arg-type]
            "observers: cannot be used",
        ),
        (lambda: streambench.run(QUICKSTART, telemetry="yes"), "telemetry: cannot be used"),  # type: ignore[arg-type]
        (lambda: streambench.resume(None), "folder: cannot be used"),  # type: ignore[arg-type]
        (lambda: streambench.load_config(None), "path: cannot be used"),  # type: ignore[arg-type]
        (lambda: streambench.load(["a"]), "folder: cannot be used"),  # type: ignore[call-overload]
        (lambda: streambench.compare(1, 2), "run: cannot be used"),  # type: ignore[arg-type]
    ],
)
def test_an_argument_of_a_wrong_type_is_named(call: Callable[[], object], says: str) -> None:
    """Nothing is sent or written first."""
    with pytest.raises(streambench.InputError, match=says):
        call()


def test_assertions_that_are_no_texts_are_bad_input(run: streambench.RunResult) -> None:
    with pytest.raises(streambench.InputError, match="assertions: cannot be used"):
        streambench.check(run, [3])  # type: ignore[list-item]


def test_a_path_that_no_file_system_takes_is_not_a_run() -> None:
    with pytest.raises(streambench.ResultsError, match="File name too long"):
        streambench.load("x" * 5_000)


def test_one_override_may_stand_alone() -> None:
    assert streambench.load_config(QUICKSTART, "repeats=7").repeats == 7


def test_a_run_cancelled_while_its_gateway_starts_leaves_no_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that starts it cannot be cancelled, so its end is awaited."""
    started: list[SimulatorProcess] = []
    enter = SimulatorProcess.__enter__

    async def cancelled() -> None:
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def entered(simulator: SimulatorProcess) -> SimulatorProcess:
            loop.call_soon_threadsafe(asked.set)
            started.append(enter(simulator))
            return started[-1]

        monkeypatch.setattr(SimulatorProcess, "__enter__", entered)
        config = streambench.load_config(QUICKSTART, SHORT, tmp_path)
        task = asyncio.create_task(streambench.arun(config))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert [each.running for each in started] == [False]
    assert list(tmp_path.iterdir()) == []


def test_overrides_belong_to_a_file(tmp_path: Path) -> None:
    """A Config is resolved already."""
    config = streambench.load_config(QUICKSTART, SHORT, str(tmp_path))
    with pytest.raises(streambench.InputError, match="overrides: cannot be combined with a Config"):
        streambench.run(config, overrides=["repeats=2"])


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    """Nor loaded."""
    for call in (streambench.resume, streambench.load):
        with pytest.raises(streambench.ResultsError):
            call(tmp_path)


def test_a_complete_run_resumed_sends_nothing(run: streambench.RunResult) -> None:
    """And stays complete."""
    again = streambench.resume(run.path)
    assert (again.status, len(again.records)) == ("complete", len(run.records))


def test_every_name_is_there_and_the_import_loads_nothing_heavy() -> None:
    """Names are loaded when they are used."""
    program = (
        "import sys, streambench\n"
        "heavy = {'pandas', 'openai', 'pydantic', 'matplotlib', 'click', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert all(getattr(streambench, name) is not None for name in streambench.__all__)\n"
        "assert 'click' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


# --- a Config made in Python

GATEWAYS = {"demo": {"base_url": "embedded", "models": QUICKSTART.parent / "simulated" / "models.yaml"}}


def hello(output: Path, **keys: Any) -> streambench.Config:
    plain: dict[str, Any] = {"gateways": GATEWAYS, "models": ("sim-swift",), "prompts": ["Hi", "Ho"], "output": output}
    return streambench.Config(**(plain | keys))


def test_a_config_takes_the_keys_of_a_file(tmp_path: Path) -> None:
    """With tuples and paths, as Python has them; what is left out has the file's default."""
    config = hello(tmp_path, repeats=3)
    assert [(model.alias, model.gateway) for model in config.models] == [("sim-swift", "demo")]
    assert (config.name, config.repeats, config.load.concurrency) == ("run", 3, 4)
    assert [prompt.messages[0]["content"] for prompt in config.suite.prompts] == ["Hi", "Ho"]


def test_a_config_is_as_that_of_a_file_with_its_keys(tmp_path: Path) -> None:
    """Masked, as the run's header stores it."""
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({"gateways": GATEWAYS, "models": ["sim-swift"], "prompts": ["Hi", "Ho"]}, default=str))
    assert hello(Path("results")).masked() == streambench.load_config(path).masked()


def test_the_keys_that_a_config_takes_stay_as_they_are(tmp_path: Path) -> None:
    keys = {"models": ["sim-swift"], "prompts": ["Hi"]}
    hello(tmp_path, **keys)
    assert keys == {"models": ["sim-swift"], "prompts": ["Hi"]}


def test_what_is_wrong_in_a_config_is_told_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, as for a file, but without lines; a literal key is refused and not repeated."""
    monkeypatch.delenv("HUB_KEY", raising=False)
    hub = {"base_url": "https://hub.example/v1", "api_key": "${HUB_KEY}"}
    other = {"base_url": "https://hub.example/v1", "api_key": "sk-0123456789abcdef"}
    with pytest.raises(streambench.ConfigError) as caught:
        streambench.Config(gateways={"hub": hub, "other": other}, models=[3], prompt=["Hi"])
    assert {(problem.file, problem.line) for problem in caught.value.problems} == {("Config", None)}
    places = {problem.where for problem in caught.value.problems}
    assert places == {"gateways.hub.api_key", "gateways.other.api_key", "models.0", "prompt", "suite"}
    assert "sk-0123456789abcdef" not in str(caught.value)


def test_a_key_of_a_config_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in neither the repr nor the dump."""
    monkeypatch.setenv("HUB_KEY", "sk-0123456789abcdef")
    hub = {"base_url": "https://hub.example/v1", "api_key": "${HUB_KEY}"}
    config = streambench.Config(gateways={"hub": hub}, models=["m"], prompts=["Hi"])
    assert config.gateways["hub"].api_key == "sk-0123456789abcdef"
    assert "sk-0123456789abcdef" not in f"{config!r} {config.model_dump()}"


def test_a_run_of_a_config_is_resumed_with_it(tmp_path: Path) -> None:
    """With the same Config; another seed is another run, and named."""
    run = streambench.run(hello(tmp_path, budget={"requests": 1}, warmup={"requests": 0}))
    assert (run.status, len(run.requests)) == ("budget", 1)
    resumed = streambench.resume(run, hello(tmp_path, warmup={"requests": 0}))
    assert (resumed.status, len(resumed.requests)) == ("complete", 2)
    with pytest.raises(streambench.ConfigError) as caught:
        streambench.resume(run.path, hello(tmp_path, warmup={"requests": 0}, seed=7))
    assert [problem.where for problem in caught.value.problems] == ["seed"]


# --- cancelled


class Cancelling(streambench.RunObserver):
    """Cancels its task when the third request has ended."""

    def __init__(self) -> None:
        self.task: asyncio.Task[streambench.RunResult] | None = None
        self.ended = 0

    def on_request_end(self, record: Any) -> None:
        self.ended += 1
        if self.ended == 3 and self.task is not None:
            self.task.cancel()


def test_a_cancelled_run_ends_as_interrupted_and_is_resumed(tmp_path: Path) -> None:
    """In the same process: the journal is closed, and what was measured is in it."""
    config, observer = hello(tmp_path, repeats=20), Cancelling()

    async def cancelled() -> None:
        observer.task = asyncio.create_task(streambench.arun(config, observers=[observer]))
        with pytest.raises(asyncio.CancelledError):
            await observer.task

    asyncio.run(cancelled())
    (folder,) = tmp_path.iterdir()
    run = streambench.load(folder)
    assert run.status == "interrupted"
    assert 3 <= len(run.requests) < 40
    assert streambench.resume(folder, config).status == "complete"


class Failing(streambench.RunObserver):
    def on_request_end(self, record: Any) -> None:
        raise RuntimeError("the caller's own")


def test_an_observers_error_comes_out_and_loses_nothing(tmp_path: Path) -> None:
    """The record that it was called for is on disk."""
    config = hello(tmp_path, repeats=20)
    with pytest.raises(RuntimeError, match="the caller's own"):
        streambench.run(config, observers=[Failing()])
    (folder,) = tmp_path.iterdir()
    run = streambench.load(folder)
    assert run.status == "interrupted"
    assert len(run.records) >= 1
    assert streambench.resume(folder, config).status == "complete"
