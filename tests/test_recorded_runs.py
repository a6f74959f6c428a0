"""Runs recorded by streambench 0.1, before its code moved into packages: they still load, report and resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from home import ROOT

import streambench
from streambench.records.schema import final_attempts

RECORDED = ROOT / "tests" / "recorded"
CONFIGS = RECORDED.parent.parent / "configs"


@pytest.mark.parametrize("name", ["quickstart", "resumed"])
def test_the_summary_is_number_for_number_that_of_the_day(name: str) -> None:
    """summary.json was written by the version that recorded the run; metrics that came later are left out."""
    written = json.loads((RECORDED / name / "summary.json").read_text("utf-8"))
    now = json.loads(json.dumps(streambench.load(RECORDED / name).summary().to_plain()))
    for alias, model in written["models"].items():
        metrics = now["models"][alias]["metrics"]
        now["models"][alias]["metrics"] = {column: metrics[column] for column in model["metrics"]}
    assert now == written


@pytest.mark.parametrize(("name", "attempts", "requests"), [("quickstart", 56, 56), ("resumed", 134, 102)])
def test_the_frames_have_every_record(name: str, attempts: int, requests: int) -> None:
    """A row an attempt, and a row a request: of a conversation that was sent anew, only the last part counts."""
    run = streambench.load(RECORDED / name)
    assert (len(run.attempts), len(run.requests)) == (attempts, requests)


def test_a_recorded_run_makes_a_page(tmp_path: Path) -> None:
    """With its models in it."""
    page = streambench.load(RECORDED / "resumed").report(tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "sim-remembers" in page


def test_a_recorded_run_is_compared() -> None:
    """With itself: nothing changed."""
    compared = streambench.compare(RECORDED / "quickstart", RECORDED / "quickstart")
    frame = compared.frame()
    assert set(frame["model"]) == {"sim-swift", "sim-steady", "sim-thinker", "sim-bursty"}
    assert (frame["ratio"].dropna() == 1).all()
    assert not frame["significant"].any()


def test_an_interrupted_recorded_run_is_resumed(tmp_path: Path) -> None:
    """Its first part, as it was interrupted: what is missing is sent, and the earlier lines stay as they are."""
    folder = tmp_path / "run"
    shutil.copytree(RECORDED / "resumed", folder)
    for later in ("resume-1.json", "end-1.json", "summary.json", "summary.csv"):
        (folder / later).unlink()
    lines = (folder / "records.jsonl").read_text("utf-8").splitlines(keepends=True)
    first = [line for line in lines if json.loads(line)["segment"] == 0]
    (folder / "records.jsonl").write_text("".join(first), "utf-8")
    assert streambench.load(folder).status == "interrupted"

    run = streambench.resume(folder, CONFIGS / "conversation.yaml", overrides=["name=resumed"])

    assert run.status == "complete"
    assert (folder / "records.jsonl").read_text("utf-8").startswith("".join(first))
    measured = final_attempts(record for record in run.records if record.ticket.phase == "measure")
    assert len(measured) == run.header.requests_planned
