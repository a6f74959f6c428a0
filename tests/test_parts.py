"""What a run answers of tools, JSON and reasoning, in words; and that it is silent where it was not asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streambench.parts import Part, parts_of
from streambench.records import Asked, AttemptRecord, JsonAnswer, ToolCall, Usage
from streambench.results import Run
from streambench.testing import MS, make_end, make_header, make_record

HOUSE = Path(__file__).resolve().parent.parent


def told(*records: AttemptRecord, models: Any = ("alpha", "beta")) -> dict[str, str]:
    """Each question with its answer. Every record is a request of its own; those of one seq have the same prompt."""
    return {part.question: part.answer for part in parts_told(*records, models=models)}


def parts_told(*records: AttemptRecord, models: Any = ("alpha", "beta")) -> tuple[Part, ...]:
    records = tuple(replace(record, ticket=replace(record.ticket, seq=at)) for at, record in enumerate(records))
    header = make_header(*models)
    aliases = [model if isinstance(model, str) else model["alias"] for model in models]
    run = Run(Path("results/none"), header, records, make_end(), ())
    return parts_of(run, {alias: alias.upper() for alias in aliases})


def calling(model: str, seq: int, *calls: ToolCall, choice: Any = "auto") -> AttemptRecord:
    return make_record(model=model, seq=seq, tool_calls=calls, asked=Asked(tools=1, tool_choice=choice))


def call(at_ms: int, *, valid: bool = True) -> ToolCall:
    return ToolCall("look", valid, None, at_ms * MS, (at_ms + 40) * MS if valid else None)


def test_a_plain_run_is_asked_nothing_more() -> None:
    """No tools, no JSON, no thought; nor of a run without requests."""
    assert told(make_record(), make_record(model="beta")) == {}
    assert told() == {}


def test_calls_are_counted_among_the_answers_that_could_have_had_one() -> None:
    """Alpha: two of three, one of them broken. What may not call, and what failed, is not among them."""
    records = [
        calling("alpha", 0, call(100), call(120)),
        calling("alpha", 1, call(110, valid=False)),
        calling("alpha", 2),
        calling("alpha", 3, choice="none"),
        replace(calling("alpha", 4, call(1)), finish_reason=None, done=False),
    ]
    answer = told(*records, models=("alpha",))
    assert answer["Tool calls"] == (
        "ALPHA called a tool in 2 of 3 answers that could (67 %, 95 % interval 21 % to 93.9 %): "
        "3 calls, up to 2 in parallel, 2 with usable arguments."
    )
    assert answer["Time to a call"] == (
        "ALPHA names its call after 105 ms and has its arguments complete after 160 ms "
        "in 1 of 2 answers, in the others never."
    )


def test_a_model_that_never_called_has_no_time() -> None:
    """Zero of two is a count; a time is not told."""
    answer = told(*(calling("alpha", seq, choice="required") for seq in range(2)), models=("alpha",))
    assert list(answer) == ["Tool calls"]
    assert answer["Tool calls"].startswith("ALPHA called a tool in 0 of 2 answers that had to (0 %")


def test_who_has_its_calls_first_is_told_on_the_same_prompts() -> None:
    """On 12 prompts beta is 30 ms later each time."""
    records = [
        calling(model, seq, call(100 + 5 * seq + later))
        for model, later in (("alpha", 0), ("beta", 30))
        for seq in range(12)
    ]
    assert "ALPHA has its calls complete 30" in told(*records)["Time to a call"]
    assert "sooner than BETA" in told(*records)["Time to a call"]


def test_json_that_could_not_be_judged_is_no_success() -> None:
    """One valid, one broken, one unknown."""
    verdicts = [(True, 150 * MS), (False, None), (None, None)]
    records = [
        make_record(seq=seq, asked=Asked(json="json_schema"), json_answer=JsonAnswer(valid, None, at))
        for seq, (valid, at) in enumerate(verdicts)
    ]
    answer = told(*records, models=("alpha",))["JSON"]
    assert answer.startswith("ALPHA gave the JSON that was asked for in 1 of 2 answers (50 %")
    assert ", 1 could not be judged, whole after 150 ms." in answer


def thinking(model: str, kinds: str, reasoning: int | None, effort: str | None = None) -> AttemptRecord:
    usage = Usage(input=5, output=10, total=15, reasoning=reasoning, source="gateway")
    at_ms = tuple(100 + 50 * place for place in range(len(kinds)))
    return make_record(
        model=model, kinds=kinds, at_ms=at_ms, usage=usage, asked=Asked(effort=effort) if effort else None
    )


def test_thoughts_that_are_seen_and_thoughts_that_are_hidden() -> None:
    """Alpha streams its 4 tokens from 150 to 250 ms; beta bills 6 and sends none."""
    records = thinking("alpha", "rttccu", 4), thinking("beta", "rccu", 6)
    (thinking_of,) = (part for part in parts_told(*records) if part.question == "Thinking")
    alpha, beta = thinking_of.points
    assert "ALPHA sends its first output after 150 ms and the first of its answer after 250 ms" in alpha
    assert "it is seen to think for 100 ms, 4 tokens of thought a request" in alpha
    assert "40 % of its output, all streamed" in alpha
    assert "which holds its thinking, as none of it is streamed" in beta
    assert beta.endswith("60 % of its output, all hidden.")


def test_a_gateway_that_tells_no_count_of_thoughts_leaves_it_unknown() -> None:
    """They were streamed, so they were there."""
    answer = told(thinking("alpha", "rttccu", None), thinking("beta", "rccu", 0))["Thinking"]
    assert "how many tokens it thinks is not told" in answer
    assert answer.endswith("Of BETA no thought was streamed or billed.")


def test_two_efforts_of_one_model_are_told_side_by_side() -> None:
    """By the alias that each was asked under; two models with one effort each are not."""
    same = [{"model": "m", "alias": alias, "gateway": "demo"} for alias in ("alpha", "beta")]
    records = (thinking("alpha", "rttccu", 4, "low"), thinking("beta", "rttttccu", 8, "high"))
    answer = told(*records, models=same)["Effort"]
    assert answer.startswith("At effort low (ALPHA) the answer starts after 250 ms")
    assert "ALPHA and BETA are one model." in answer
    assert "At effort high (BETA) the answer starts after 350 ms" in answer
    assert "Effort" not in told(*records)


# --- whole runs of the configs ----------------------------------------------------------------------------------------


def run_of(config: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """What it printed, on one line, and its summary by model."""
    options = ("--output", str(folder), "--set", "repeats=1")
    command = [sys.executable, "-m", "streambench", "run", f"configs/{config}", *options]
    env = {**os.environ, "COLUMNS": "200"}
    ran = subprocess.run(command, cwd=HOUSE, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (summary,) = folder.glob("*/summary.json")
    return " ".join(ran.stdout.split()), json.loads(summary.read_text())["models"]


@pytest.fixture(scope="module")
def tools_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def tools_run(tools_folder: Path) -> tuple[str, dict[str, Any]]:
    return run_of("tools.yaml", tools_folder)


def test_the_tools_config_says_who_calls(tools_run: tuple[str, dict[str, Any]]) -> None:
    """Each model's weakness is found; the caller's calls and JSON are all good, and take as long as they must."""
    said, models = tools_run
    assert "sim-caller called a tool in 10 of 10 answers that had to" in said
    assert "up to 2 in parallel" in said
    assert "sim-caller gave the JSON that was asked for in 10 of 10 answers" in said
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
    """Low effort answers sooner; what is hidden is told as hidden."""
    said, models = run_of("reasoning.yaml", tmp_path)
    assert "Effort: open-low and open-high are one model." in said
    assert "At effort low (open-low)" in said
    assert "open-low starts its answer" in said
    assert "Thinking: Of sim-plain no thought was streamed or billed." in said
    assert "all hidden." in said
    assert models["sim-secret"]["metrics"]["thinking_ms"]["n"] == 0
    assert models["open-high"]["metrics"]["thinking_ms"]["n"] == 12
