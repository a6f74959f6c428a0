"""How a session ends or is cut is told alike by the run, its summary and its resumption, whatever a model calls."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from home import Home, go_on
from scripted_gateway import ScriptedGateway, Seen, delta, error, sse, streamed

from streambench.workload.turns import NO_ANSWER
from workload.test_conversations import TOOLS, TRIP, at, failing, reply

ALONE = {"mode": "closed", "concurrency": 1}


def calls(*found: dict[str, Any], choice: int = 0) -> dict[str, Any]:
    return {"id": "r-1", "choices": [{"index": choice, "delta": {"tool_calls": list(found)}}]}


def call(name: str, arguments: str = "{}", index: int = 0) -> dict[str, Any]:
    return {"index": index, "id": f"id-{index}", "function": {"name": name, "arguments": arguments}}


def test_a_session_that_waits_for_its_next_attempt_was_cut(home: Home) -> None:
    """Ctrl-C while a turn waits to be tried again ends no session: a resumption sends it anew, and it may succeed."""
    with ScriptedGateway(failing(2, lambda _: [error("503 Service Unavailable", "later")])) as gateway:
        retry = {"attempts": 2, "backoff": "30s"}
        started = home.start("run", home.config("m-1", gateway=at(gateway), prompts=[TRIP], retry=retry))
        started.until(lambda: sum(printable_lines(file) for file in started.results.glob("*/records.jsonl")) == 2)
        first = started.signal(signal.SIGINT).end()
        assert first.code == 3
        assert first.summary["sessions"] == {"begun": 1, "whole": 0, "cut": 1, "ended": []}
        gateway.answer = reply
        ran = go_on(home, started.results).end()
    assert ran.resumed == (0, 3, 3)
    assert ran.summary["sessions"] == {"begun": 1, "whole": 1, "cut": 0, "ended": []}


def printable_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")


def test_a_session_whose_key_was_refused_was_cut(home: Home) -> None:
    """At its last turn too: a resumption sends it again."""
    with ScriptedGateway(failing(3, lambda _: [error("401 Unauthorized", "who are you")])) as gateway:
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[TRIP]))
    assert ran.summary["status"] == "key_refused"
    assert ran.summary["sessions"] == {"begun": 1, "whole": 0, "cut": 1, "ended": []}


def test_a_refused_key_that_is_a_failure_like_any_other_ends_its_session(home: Home) -> None:
    """Where `breakers.key_refused` is off, and nothing is sent again."""
    with ScriptedGateway(failing(2, lambda _: [error("401 Unauthorized", "who are you")])) as gateway:
        config = home.config("m-1", gateway=at(gateway), prompts=[TRIP], breakers={"key_refused": False})
        ran = home.run(config)
    assert [(end["reason"], end["unsent"]) for end in ran.summary["sessions"]["ended"]] == [("http_error", 1)]


LONG_NAME = "get_weather_of_the_town"
RESULTS = {"tool_results": {"get_weather": "cold"}}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([calls(call("get_weather", json.dumps({"of": "x" * 300_000})))], "arguments that were too long to keep"),
        ([calls(call(LONG_NAME))], "has no result"),
        ([calls(call("get_weather"), call("g" * 100, index=1))], "has no result"),
        ([calls(call("get_weather"), call("", index=1))], "has no result"),
        ([{"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}], "did not call a function"),
    ],
    ids=["too-long", "a-name-out-of-the-prompt", "a-long-name", "no-name", "reasoning"],
)
def test_run_summary_and_resumption_agree_on_an_end(home: Home, said: Any, why: str) -> None:
    """The session ended, the run is whole, and a resumption has nothing to send."""

    def answer(_: Seen) -> Iterable[bytes]:
        return [streamed(sse(*said, delta(finish_reason="stop"), "[DONE]"))]

    with ScriptedGateway(answer) as gateway:
        prompt = {"turns": [f"How is {LONG_NAME}?", RESULTS], "params": {"tools": TOOLS}}
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[prompt]))
        assert (ran.code, ran.summary["status"]) == (0, "complete"), ran.err
        (end,) = ran.summary["sessions"]["ended"]
        assert why in end["reason"]
        again = go_on(home, ran.results).end()
    assert again.code == 0, again.err
    assert len(gateway.seen) == 1


@pytest.mark.parametrize("cut", [False, True])
def test_names_of_the_prompt_and_calls_of_other_choices_end_nothing(home: Home, *, cut: bool) -> None:
    """The answered function's name stands in the prompt; a second choice called another. The session goes on, and where
    it is cut later, it is cut and not ended.
    """
    ends = {"id": "r-1", "choices": [{"index": at, "delta": {}, "finish_reason": "tool_calls"} for at in (0, 1)]}
    two = [calls(call(LONG_NAME)), calls(call("other"), choice=1), ends, "[DONE]"]

    def answer(seen: Seen) -> Iterable[bytes]:
        if len(seen.json["messages"]) == 1:
            return [streamed(sse(*two))]
        return [error("401 Unauthorized", "no")] if cut and len(gateway.seen) == 3 else reply(seen)

    with ScriptedGateway(answer) as gateway:
        turns = [f"How is {LONG_NAME}?", {"tool_results": {LONG_NAME: "cold"}}, "Thanks."]
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[{"turns": turns, "params": {"tools": TOOLS}}]))
        assert ran.summary["sessions"] == {"begun": 1, "whole": int(not cut), "cut": int(cut), "ended": []}
        again = go_on(home, ran.results).end()
    assert again.code == 0, again.err
    assert len(gateway.seen) == (6 if cut else 3)


def test_an_answer_of_reasoning_alone_cannot_be_gone_on_from(home: Home) -> None:
    """It is not sent back, and many gateways refuse an answer without text: no fault of the model."""
    thought = [{"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}, delta(finish_reason="stop"), "[DONE]"]
    fixed = {"turns": [{"user": "one", "assistant": "fixed"}, "two"]}
    with ScriptedGateway(lambda _: [streamed(sse(*thought))]) as gateway:
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[TRIP, fixed], load=ALONE))
    assert ran.code == 0, ran.err
    assert len(gateway.seen) == 3
    found = ran.summary["sessions"]
    assert (found["begun"], found["whole"]) == (2, 1)
    (end,) = found["ended"]
    assert (end["turn"], end["unsent"], end["reason"]) == (1, 2, NO_ANSWER)


def test_a_fixed_answer_stands_for_calls_too_long_to_be_held(home: Home) -> None:
    """They are dropped like all of the answer."""
    said = [calls(call("get_weather", json.dumps({"of": "x" * 300_000}))), delta(finish_reason="stop"), "[DONE]"]
    with ScriptedGateway(lambda _: [streamed(sse(*said))]) as gateway:
        fixed = {"turns": [{"user": "one", "assistant": "fixed"}, "two"]}
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[fixed]))
    assert ran.summary["sessions"]["whole"] == 1
    assert len(gateway.seen) == 2


@pytest.mark.parametrize(
    ("turn", "what"),
    [
        (RESULTS, "`tool_results`"),
        ({"user": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]}, "type `image_url`"),
    ],
)
def test_what_completions_have_no_place_for_is_refused_in_later_turns_too(home: Home, turn: Any, what: str) -> None:
    """At once, not request by request."""
    model = {"model": "swift", "api": "completions"}
    ran = home.run(home.config(model, prompts=[{"id": "late", "turns": ["one", turn]}]))
    assert ran.code == 2
    assert "models.0.api" in ran.err
    assert what in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("name", ["a" * 65, "town:weather", "a/b"])
def test_a_name_that_no_record_can_hold_is_refused(home: Home, name: str) -> None:
    """After the run nobody could tell whether its call was answered."""
    ran = home.run(home.config(prompts=[{"turns": ["one", {"tool_results": {name: "cold"}}]}]))
    assert ran.code == 2
    assert "prompts.0.turns.1.tool_results." in ran.err
