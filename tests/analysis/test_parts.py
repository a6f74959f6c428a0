"""The insights on tools, JSON and reasoning, and that there are none where nothing was asked.

One test of each kind keeps the words; the others read the numbers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from home import ROOT
from sentences import numbers_in

from streambench.analysis.insights.catalogue import insights_of
from streambench.analysis.insights.insight import Insight
from streambench.analysis.run import load
from streambench.records.schema import AttemptRecord, JsonAnswer, OutputRequest, ToolCall, Usage
from streambench.testing import MS, make_header, make_record, run_of


def insights_on(*records: AttemptRecord, models: Any = ("alpha", "beta")) -> dict[str, Insight]:
    """By question. Every record is a request of its own; those of one seq have the same prompt."""
    records = tuple(replace(record, ticket=replace(record.ticket, seq=at)) for at, record in enumerate(records))
    aliases = [model if isinstance(model, str) else model["alias"] for model in models]
    found = insights_of(run_of(records, make_header(*models)), {alias: alias.upper() for alias in aliases})
    return {insight.question: insight for insight in found}


def numbers_of(insight: Insight) -> list[list[float]]:
    """Those of each point, which is on one model."""
    return [numbers_in(point) for point in insight.points]


def calling(model: str, seq: int, *calls: ToolCall, choice: Any = "auto") -> AttemptRecord:
    return make_record(model=model, seq=seq, tool_calls=calls, asked=OutputRequest(tools=1, tool_choice=choice))


def call(at_ms: int, *, valid: bool = True) -> ToolCall:
    return ToolCall("look", valid, None, at_ms * MS, (at_ms + 40) * MS if valid else None)


def test_a_plain_run_is_asked_nothing_more() -> None:
    """No tools, no JSON, no thought; nor of a run without requests."""
    assert insights_on(make_record(), make_record(model="beta")) == {}
    assert insights_on() == {}


def test_calls_are_counted_among_the_answers_that_could_have_had_one() -> None:
    """Alpha: two of three, one of them broken. What may not call, and what failed, is not among them. In words."""
    records = [
        calling("alpha", 0, call(100), call(120)),
        calling("alpha", 1, call(110, valid=False)),
        calling("alpha", 2),
        calling("alpha", 3, choice="none"),
        replace(calling("alpha", 4, call(1)), finish_reason=None, done=False),
    ]
    found = insights_on(*records, models=("alpha",))
    assert found["Tool calls"].answer == (
        "ALPHA called a tool in 2 of 3 answers where a call was allowed (67 %, 95 % interval 21 % to 93.9 %): "
        "3 calls, up to 2 in parallel, 2 with usable arguments."
    )
    assert found["Time to a call"].answer == (
        "ALPHA names its call after 105 ms and completes its arguments after 160 ms in 1 of 2 answers (in the others "
        "never)."
    )


def test_a_model_that_never_called_has_no_time() -> None:
    """Zero of two is a count (0 %, 95 % interval 0 to 66 %); a time is not told."""
    found = insights_on(*(calling("alpha", seq, choice="required") for seq in range(2)), models=("alpha",))
    assert list(found) == ["Tool calls"]
    assert numbers_of(found["Tool calls"]) == [[0, 2, 0, 0, 66]]
    assert "required" in found["Tool calls"].answer


def test_who_has_its_calls_first_is_told_on_the_same_prompts() -> None:
    """On 12 prompts beta is 30 ms later each time: its calls are complete after 198 ms in the median, not 168."""
    records = [
        calling(model, seq, call(100 + 5 * seq + later))
        for model, later in (("alpha", 0), ("beta", 30))
        for seq in range(12)
    ]
    found = insights_on(*records)["Time to a call"]
    assert numbers_of(found) == [[128, 110, 145, 168, 150, 185], [158, 140, 175, 198, 180, 215]]
    assert numbers_in(found.says) == [30, 30, 30, 12, 12]
    assert found.says.startswith("ALPHA ")


def test_json_that_could_not_be_judged_is_no_success() -> None:
    """One valid, one broken, one unknown: 1 of 2 (50 %, 9.5 to 90.5), 1 not judged. Complete after 150 ms."""
    verdicts = [(True, 150 * MS), (False, None), (None, None)]
    records = [
        make_record(seq=seq, asked=OutputRequest(json="json_schema"), json_answer=JsonAnswer(valid, None, at))
        for seq, (valid, at) in enumerate(verdicts)
    ]
    found = insights_on(*records, models=("alpha",))["JSON"]
    assert numbers_of(found) == [[1, 2, 50, 9.5, 90.5, 1, 150]]


def thinking(model: str, kinds: str, reasoning: int | None, effort: str | None = None) -> AttemptRecord:
    usage = Usage(input=5, output=10, total=15, reasoning=reasoning, source="gateway")
    at_ms = tuple(100 + 50 * place for place in range(len(kinds)))
    return make_record(
        model=model, kinds=kinds, at_ms=at_ms, usage=usage, asked=OutputRequest(effort=effort) if effort else None
    )


def test_thoughts_that_are_seen_and_thoughts_that_are_hidden() -> None:
    """Alpha streams its 4 of 10 tokens from 150 to 250 ms; beta bills 6 and sends none. In words."""
    found = insights_on(thinking("alpha", "rttccu", 4), thinking("beta", "rccu", 6))["Thinking"]
    assert found.points == (
        "ALPHA sends its first output after 150 ms and the start of its answer after 250 ms, it streams reasoning for "
        "100 ms, 4 tokens of reasoning per request, 40 % of its output, all streamed.",
        "BETA sends its first output after 150 ms, which includes its reasoning, as none of it is streamed: 6 tokens "
        "of reasoning per request, 60 % of its output, all hidden.",
    )


def test_a_gateway_that_tells_no_count_of_thoughts_leaves_it_unknown() -> None:
    """They were streamed, so they were there: times and no count. Beta, which has none, has no point."""
    found = insights_on(thinking("alpha", "rttccu", None), thinking("beta", "rccu", 0))["Thinking"]
    assert numbers_of(found) == [[150, 250, 100]]
    assert "BETA" in found.says
    assert numbers_in(found.says) == []


def test_two_efforts_of_one_model_are_told_side_by_side() -> None:
    """A point for each effort: when the answer starts, and tokens of reasoning. Two models with one effort each have
    none.
    """
    same = [{"model": "m", "alias": alias, "gateway": "demo"} for alias in ("alpha", "beta")]
    records = (thinking("alpha", "rttccu", 4, "low"), thinking("beta", "rttttccu", 8, "high"))
    low, high = insights_on(*records, models=same)["Effort"].points
    assert "low, ALPHA " in low
    assert numbers_in(low) == [250, 4]
    assert "high, BETA " in high
    assert numbers_in(high) == [350, 8]
    assert "Effort" not in insights_on(*records)


# --- whole runs of the configs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConfigRun:
    """A run of a config: its insights by question, all of which it printed, and its summary by model."""

    insights: dict[str, Insight]
    models: dict[str, Any]

    def point(self, question: str, model: str) -> list[float]:
        """The numbers of the point on a model."""
        (found,) = [point for point in self.insights[question].points if re.search(rf"\b{model}\b", point)]
        return numbers_in(found)


def run_config(config: str, folder: Path) -> ConfigRun:
    options = ("--output", str(folder), "--set", "repeats=1")
    command = [sys.executable, "-m", "streambench", "run", f"configs/{config}", *options]
    env = {**os.environ, "COLUMNS": "200"}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (summary,) = folder.glob("*/summary.json")
    run = load(summary.parent)
    insights = {insight.question: insight for insight in insights_of(run, {model: model for model in run.models})}
    assert [question for question in insights if f"\n{question}:" not in ran.stdout] == []
    return ConfigRun(insights, json.loads(summary.read_text())["models"])


@pytest.fixture(scope="module")
def tools_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def tools_run(tools_folder: Path) -> ConfigRun:
    return run_config("tools.yaml", tools_folder)


def test_the_tools_config_says_who_calls(tools_run: ConfigRun) -> None:
    """Each model's weakness is found; the caller's calls and JSON are all good, and take as long as they must. 10 of
    10 (100 %, 72 to 100): 18 calls, up to 2 in parallel, 18 usable.
    """
    models = tools_run.models
    assert tools_run.point("Tool calls", "sim-caller") == [10, 10, 100, 72, 100, 18, 2, 18]
    assert tools_run.point("JSON", "sim-caller")[:5] == [10, 10, 100, 72, 100]
    assert models["sim-talker"]["findings"]["tool_not_called"] > 0
    assert models["sim-careless"]["findings"].keys() & {"tool_arguments_invalid", "json_invalid"}
    times = {
        name: models["sim-caller"]["metrics"][name] for name in ("ttft_ms", "tool_name_ms", "tool_call_ms", "json_ms")
    }
    assert [times[name]["n"] for name in times] == [20, 10, 10, 10]
    assert times["tool_name_ms"]["p50"] < times["tool_call_ms"]["p50"]


@pytest.mark.usefixtures("tools_run")
def test_nothing_of_arguments_or_answers_is_kept(tools_folder: Path) -> None:
    """The journal has verdicts and times; no argument, no text, no property's value."""
    (journal,) = tools_folder.glob("*/records.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    calls = [call for line in lines for call in line["tool_calls"]]
    assert calls
    assert {name for call in calls for name in call} == set(ToolCall.__slots__)
    assert {name for line in lines for name in line["json_answer"] or {}} == set(JsonAnswer.__slots__)
    assert all(line["text"] is None for line in lines)


def test_the_reasoning_config_says_who_thinks(tmp_path: Path) -> None:
    """Low effort answers sooner; what is hidden has no time of its own; the model that does not think has no point."""
    found = run_config("reasoning.yaml", tmp_path)
    low, high = (found.point("Effort", model) for model in ("open-low", "open-high"))
    assert low[0] < high[0]
    assert [len(found.point("Thinking", model)) for model in ("open-low", "sim-secret")] == [13, 7]
    assert "sim-plain" not in " ".join(found.insights["Thinking"].points)
    models = found.models
    assert models["sim-secret"]["metrics"]["thinking_ms"]["n"] == 0
    assert models["open-high"]["metrics"]["thinking_ms"]["n"] == 12
