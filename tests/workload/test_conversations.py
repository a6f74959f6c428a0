"""Conversations as users run them: what goes over the wire at each turn, how a session ends, what is told and kept.

`Ran` also looks, at the end of each run, that no word of prompt, answer or tool result is in any file (`MARK`).
"""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
from cli.warm_process import WarmProcess
from home import MARK, ROOT, Home, Ran, go_on
from scripted_gateway import NO_END, ScriptedGateway, Seen, delta, error, sse, streamed
from sentences import numbers_in
from wrong_input import Wrong, the_problem

from streambench.analysis.conversations import counts_of, sessions_of
from streambench.analysis.insights.catalogue import insights_of
from streambench.analysis.measured import RunFacts, measured_requests
from streambench.analysis.summary import summarise
from streambench.clock import NS
from streambench.documents import parse_yaml
from streambench.errors import SuiteError
from streambench.metrics.definitions import first_arrival_ns
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import GENERATED, AttemptRecord, Failure, Ticket, Usage
from streambench.report.markdown import render_markdown
from streambench.runner.plan import ModelLane, PlanInputs, build_plan
from streambench.runner.resume import left_of
from streambench.testing import MS, make_header, make_record, run_of
from streambench.workload.conversation import AssistantAnswer, ReceivedCall, begin, scripted
from streambench.workload.suite import Prompt, suite_from

TRIP = {
    "id": "trip",
    "system": f"You know {MARK}.",
    "turns": [f"First, of {MARK}.", f"Second, of {MARK}.", f"Third, of {MARK}."],
}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


# --- a gateway that numbers its answers


def said(seen: Seen) -> list[tuple[str, str]]:
    """(role, text) of each message of a request."""
    return [(message["role"], message.get("content")) for message in seen.json["messages"]]


def turn_of(seen: Seen) -> int:
    """From 1: the users' messages so far."""
    return sum(role == "user" for role, _ in said(seen))


def reply(seen: Seen) -> Iterable[bytes]:
    """`m-1 answers 2 of the quiet ...`, in two chunks."""
    text = f"{seen.json['model']} answers {turn_of(seen)} of {MARK}"
    return [streamed(sse(delta(text[:7]), delta(text[7:]), delta(finish_reason="stop"), "[DONE]"))]


def at(gateway: ScriptedGateway) -> dict[str, Any]:
    return {"base_url": gateway.url, "api_key": "none"}


def failing(at_turn: int, answer: Callable[[Seen], Iterable[bytes]], *, of: str = "m-1") -> Any:
    """As `reply`, but for one turn of one model."""

    def either(seen: Seen) -> Iterable[bytes]:
        return answer(seen) if (turn_of(seen), seen.json["model"]) == (at_turn, of) else reply(seen)

    return either


def test_the_models_own_answers_are_its_history(home: Home) -> None:
    """Turn by turn, each model its own; the record of each turn has its session and its turn, and the run is whole."""
    with ScriptedGateway(reply) as gateway:
        ran = home.run(home.config("m-1", "m-2", gateway=at(gateway), prompts=[TRIP]))
    assert ran.code == 0, ran.err
    system, turns = ("system", TRIP["system"]), [("user", text) for text in TRIP["turns"]]
    for model in ("m-1", "m-2"):
        mine = [("assistant", f"{model} answers {turn} of {MARK}") for turn in (1, 2)]
        assert [said(seen) for seen in gateway.seen if seen.json["model"] == model] == [
            [system, turns[0]],
            [system, turns[0], mine[0], turns[1]],
            [system, turns[0], mine[0], turns[1], mine[1], turns[2]],
        ]
    assert ran.run.header.requests_planned == 6
    places = {(r.ticket.model, r.ticket.session_id, r.ticket.turn) for r in ran.measured}
    assert len(places) == 6
    assert len({session for _, session, _ in places}) == 2
    assert ran.run.header.suite["catalogue"]["trip"]["turns"][2]["asks"]
    assert ran.summary["sessions"] == {"begun": 2, "whole": 2, "cut": 0, "ended": []}


def test_a_fixed_answer_stands_for_the_models_own(home: Home) -> None:
    """And at most so many earlier turns are sent."""
    prompt = {"turns": [{"user": "one", "assistant": "fixed"}, "two", "three"], "history": 1}
    with ScriptedGateway(reply) as gateway:
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[prompt]))
    assert ran.code == 0
    assert [said(seen) for seen in gateway.seen] == [
        [("user", "one")],
        [("user", "one"), ("assistant", "fixed"), ("user", "two")],
        [("user", "two"), ("assistant", f"m-1 answers 2 of {MARK}"), ("user", "three")],
    ]


def test_a_user_thinks_before_a_turn(home: Home) -> None:
    """The turn is due so long after the answer before it, and its latencies know nothing of it."""
    with ScriptedGateway(reply) as gateway:
        prompt = {"turns": ["one", {"user": "two", "think": "300ms"}]}
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[prompt]))
    first, second = ran.measured
    assert second.start_at_ns - (first.start_at_ns + first.ended_ns) >= 0.3 * NS
    assert second.start_at_ns - second.scheduled_at_ns < 0.3 * NS


# --- tools


def called(seen: Seen, *names: str) -> Iterable[bytes]:
    """A stream that calls these functions, whose arguments tell of the prompt."""
    arguments = json.dumps({"of": MARK})
    calls = [
        {"index": place, "id": f"id-{place}", "function": {"name": name, "arguments": arguments}}
        for place, name in enumerate(names)
    ]
    chunk = {"id": "r-1", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]}
    return [streamed(sse(chunk, delta(finish_reason="tool_calls"), "[DONE]"))]


def tools_config(home: Home, gateway: ScriptedGateway, *turns: Any) -> str:
    prompt = {"id": "weather", "turns": ["How is the weather?", *turns], "params": {"tools": TOOLS}}
    return home.config("m-1", gateway=at(gateway), prompts=[prompt])


def test_a_scripted_result_answers_a_call(home: Home) -> None:
    """By the function's name, with the id of each call; the model's own arguments go back as they came."""
    result = json.dumps({"c": 4, "of": MARK})

    def answer(seen: Seen) -> Iterable[bytes]:
        return called(seen, "get_weather", "get_weather") if len(gateway.seen) == 1 else reply(seen)

    with ScriptedGateway(answer) as gateway:
        ran = home.run(tools_config(home, gateway, {"tool_results": {"get_weather": result}}, "Thanks."))
    assert ran.code == 0, ran.err
    function = {"name": "get_weather", "arguments": json.dumps({"of": MARK})}
    assert gateway.seen[1].json["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"id-{place}", "type": "function", "function": function} for place in (0, 1)],
        },
        {"role": "tool", "tool_call_id": "id-0", "content": result},
        {"role": "tool", "tool_call_id": "id-1", "content": result},
    ]
    assert [role for role, _ in said(gateway.seen[2])] == ["user", "assistant", "tool", "tool", "assistant", "user"]


@pytest.mark.parametrize(
    ("answer", "turn", "why"),
    [
        (reply, {"tool_results": {"get_weather": "cold"}}, "it did not call a function"),
        (lambda seen: called(seen, "get_time"), {"tool_results": {"get_weather": "cold"}}, "has no result"),
        (lambda seen: called(seen, "get_weather"), "Thanks.", "has no result"),
    ],
)
def test_an_answer_that_cannot_be_gone_on_from_ends_its_session(home: Home, answer: Any, turn: Any, why: str) -> None:
    """Which is no failure of the model: the answer is ok, the next turn is not sent, and the run is whole."""
    with ScriptedGateway(answer) as gateway:
        ran = home.run(tools_config(home, gateway, turn))
    assert ran.code == 0, ran.err
    assert [outcome_of(record) for record in ran.measured] == ["ok"]
    (end,) = ran.summary["sessions"]["ended"]
    assert (end["turn"], end["sessions"], end["unsent"]) == (1, 1, 1)
    assert why in end["reason"]


# --- a turn that fails


def test_a_turn_that_fails_ends_its_session(home: Home) -> None:
    """The others go on. What was not sent is counted apart: neither answered nor failed, and the run is complete."""
    refused = failing(2, lambda _: [error("500 Internal Server Error", f"I cannot tell you of {MARK}")])
    with ScriptedGateway(refused) as gateway:
        ran = home.run(home.config("m-1", "m-2", gateway=at(gateway), prompts=[TRIP], repeats=2))
    assert ran.code == 0, ran.err
    assert Counter(seen.json["model"] for seen in gateway.seen) == {"m-1": 4, "m-2": 6}
    assert ran.summary["models"]["m-1"]["outcomes"] == {"ok": 2, "http_error": 2}
    assert ran.summary["status"] == "complete"
    end = {"model": "m-1", "turn": 2, "reason": "http_error", "sessions": 2, "unsent": 2}
    assert ran.summary["sessions"] == {"begun": 4, "whole": 2, "cut": 0, "ended": [end]}
    assert "4 started, 2 completed, 2 ended at turn 2 (http_error; m-1)" in " ".join(ran.out.split())
    assert "m-1: 2 sessions ended at turn 2 \\(http\\_error\\), 2 turns not sent." in render_markdown(ran.run)


def test_an_echo_of_the_models_own_answer_is_hidden(home: Home) -> None:
    """An error message may quote the history; `Ran` looks for it in every file."""
    told = {"turns": ["one", "two"]}
    answer = failing(2, lambda seen: [error("400 Bad Request", f"bad history: {seen.json['messages'][1]['content']}")])
    with ScriptedGateway(answer) as gateway:
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[told]))
    assert ran.measured[1].failure is not None
    assert "bad history: [prompt]" in ran.measured[1].failure.message


def test_a_turn_is_tried_again_before_its_session_is_given_up(home: Home) -> None:
    """With the same history; and the session goes on from the answer of the last try."""
    tried = Counter[int]()

    def answer(seen: Seen) -> Iterable[bytes]:
        tried[turn_of(seen)] += 1
        if turn_of(seen) == 2 and tried[2] == 1:
            return [error("503 Service Unavailable", "later")]
        return reply(seen)

    retry = {"attempts": 2, "backoff": "10ms"}
    with ScriptedGateway(answer) as gateway:
        ran = home.run(home.config("m-1", gateway=at(gateway), prompts=[TRIP], retry=retry))
    assert ran.code == 0
    assert tried == {1: 1, 2: 2, 3: 1}
    assert said(gateway.seen[1]) == said(gateway.seen[2])
    assert [(r.ticket.turn, r.attempt, outcome_of(r)) for r in ran.measured] == [
        (0, 1, "ok"), (1, 1, "http_error"), (1, 2, "ok"), (2, 1, "ok"),
    ]  # fmt: skip
    assert ran.summary["sessions"]["whole"] == 1


def test_a_model_that_is_set_aside_leaves_its_sessions(home: Home) -> None:
    """The turns that it was not asked are left for a resumption: the run is incomplete."""
    refused = failing(1, lambda _: [error("500 Internal Server Error", "no")])
    with ScriptedGateway(refused) as gateway:
        config = home.config(
            "m-1", "m-2", gateway=at(gateway), prompts=[TRIP], repeats=3, breakers={"failures_in_a_row": 1},
            load={"mode": "closed", "concurrency": 1},
        )  # fmt: skip
        ran = home.run(config)
    assert ran.code == 3
    assert Counter(seen.json["model"] for seen in gateway.seen) == {"m-1": 1, "m-2": 9}
    assert ran.summary["status"] == "set_aside"


# --- stopping, and going on


class Held:
    """Answers as `reply`, but holds the second turn back until it is told."""

    def __init__(self) -> None:
        self.free = threading.Event()

    def __call__(self, seen: Seen) -> Iterable[bytes]:
        if turn_of(seen) == 2:
            yield NO_END
            self.free.wait(30)
        yield from reply(seen) if turn_of(seen) != 2 else self._rest(seen)

    @staticmethod
    def _rest(seen: Seen) -> Iterator[bytes]:
        yield sse(delta(f"late answer of {MARK}"), delta(finish_reason="stop"), "[DONE]")


@pytest.mark.parametrize("twice", [False, True], ids=["drained", "broken-off"])
def test_a_session_cut_by_ctrl_c_is_run_again_whole(home: Home, *, twice: bool) -> None:
    """Its text is not on the disk, so it cannot go on in the middle; no number mixes the two parts."""
    held = Held()
    with ScriptedGateway(held) as gateway:
        started = home.start("run", home.config("m-1", gateway=at(gateway), prompts=[TRIP]))
        started.until(lambda: len(gateway.seen) == 2).signal(signal.SIGINT)
        started.drains()
        if twice:
            started.signal(signal.SIGINT)
            first = started.end()
            held.free.set()
        else:
            held.free.set()
            first = started.end()
        assert first.code == 3
        assert len(gateway.seen) == 2
        assert first.summary["sessions"] == {"begun": 1, "whole": 0, "cut": 1, "ended": []}
        ran = go_on(home, started.results).end()
    assert ran.code == 0, ran.err
    assert ran.resumed == (0, 3, 3)
    assert [turn_of(seen) for seen in gateway.seen] == [1, 2, 1, 2, 3]
    assert ran.summary["sessions"] == {"begun": 1, "whole": 1, "cut": 0, "ended": []}
    assert ran.summary["models"]["m-1"]["requests"] == 3
    assert list(ran.run.requests["segment"]) == [1, 1, 1]
    assert list(ran.run.requests["attempts"]) == [1, 1, 1]


def test_a_session_that_ended_is_not_sent_again(home: Home) -> None:
    """A resumption sends what was cut, and of a session that failed nothing."""
    held = Held()
    trips = [{**TRIP, "id": name} for name in ("one", "two")]

    def answer(seen: Seen) -> Iterable[bytes]:
        if len(gateway.seen) == 1:
            return [error("500 Internal Server Error", "no")]
        return held(seen)

    with ScriptedGateway(answer) as gateway:
        config = home.config("m-1", gateway=at(gateway), prompts=trips, load={"mode": "closed", "concurrency": 1})
        started = home.start("run", config)
        started.until(lambda: len(gateway.seen) == 3).signal(signal.SIGINT)
        started.drains()
        held.free.set()
        assert started.end().code == 3
        ran = go_on(home, started.results).end()
        assert ran.code == 0, ran.err
        assert len(gateway.seen) == 6
        again = go_on(home, started.results).end()
    assert "3 are missing, and 2 were not sent because their conversation had ended" in ran.err
    assert again.code == 0
    assert "nothing is missing: 4 requests are recorded, and 2 were not sent" in again.err


# --- an open loop, and the plan


def test_an_open_loop_starts_sessions_on_schedule(home: Home) -> None:
    """The rate is that of starts; later turns follow their answers."""
    with ScriptedGateway(reply) as gateway:
        load = {"mode": "constant", "rate": 20}
        ran = home.run(home.config("m-1", "m-2", gateway=at(gateway), prompts=[TRIP], repeats=2, load=load))
    assert ran.code == 0
    due = sorted(r.ticket.scheduled_ns for r in ran.measured if r.ticket.scheduled_ns is not None)
    assert due == [0, 0.05 * NS, 0.1 * NS, 0.15 * NS]
    assert len(ran.measured) == 12


SHAPE = PlanInputs(
    lanes=(ModelLane("alpha", "hub"), ModelLane("beta", "hub")),
    prompt_ids=("one", "trip"), turns={"trip": 3}, repeats=2, seed=3,
)  # fmt: skip


def test_a_session_stands_together_in_its_block() -> None:
    """2 models x 2 repeats x (1 + 3) = 16 requests; a session's turns are neighbours with one id."""
    plan = build_plan(SHAPE)
    assert [ticket.seq for ticket in plan.measure] == list(range(16))
    sessions: dict[str, list[Ticket]] = {}
    for ticket in plan.measure:
        if ticket.session_id is not None:
            sessions.setdefault(ticket.session_id, []).append(ticket)
    assert len(sessions) == 4
    for turns in sessions.values():
        assert [ticket.turn for ticket in turns] == [0, 1, 2]
        assert [ticket.seq - turns[0].seq for ticket in turns] == [0, 1, 2]
        assert len({(ticket.model, ticket.block, ticket.repeat) for ticket in turns}) == 1


@pytest.mark.parametrize(("most", "kept"), [(16, 16), (15, 10), (9, 8), (1, 0)])
def test_a_limit_keeps_whole_conversations(most: int, kept: int) -> None:
    """Blocks of this plan have 2, 6, 2, 6 or 6, 2, 6, 2 requests ... in an order of the seed: none is torn."""
    plan = build_plan(replace(SHAPE, max_requests=most))
    assert len(plan.measure) + plan.cut == 16
    assert len(plan.measure) <= most
    assert Counter(ticket.turn for ticket in plan.measure if ticket.session_id)[0] * 3 == sum(
        ticket.session_id is not None for ticket in plan.measure
    )


def test_a_killed_runs_session_is_left_whole() -> None:
    """Two of three turns are recorded: all three are left, and their attempts are counted from 1 again."""
    plan = build_plan(SHAPE)
    turns = [ticket for ticket in plan.measure if ticket.session_id][:3]
    left = left_of(plan, [make_record(ticket=ticket) for ticket in turns[:2]])
    assert set(turns) <= set(left.plan.measure)
    assert left.tries(turns[0]) == 0


def test_turns_of_two_parts_are_never_one_session() -> None:
    """A session sent anew that failed sooner than the first time: what the first part had beyond it is dropped."""
    turns = [ticket for ticket in build_plan(SHAPE).measure if ticket.session_id][:3]
    before = [make_record(ticket=ticket) for ticket in turns[:2]]
    timeout = Failure("timeout", detail="idle")
    records = [*before, make_record(ticket=turns[0], segment=1, failure=timeout)]
    header = make_header("alpha", "beta", suite={"catalogue": {"trip": {"turns": [ASKS] * 3}}})
    (session,) = sessions_of(measured_requests(records, RunFacts(header)), header)
    assert (len(session.requests), session.ended, session.unsent, session.cut) == (1, "timeout", 2, False)
    (end,) = counts_of([session]).ended
    assert (end.turn, end.reason, end.unsent) == (1, "timeout", 2)


# --- in words

ASKS = {"asks": True, "answers": [], "fixed": False, "think_s": 0.0}


def session(seq: int, *ttfts_ms: float, cached: Sequence[int | None] = ()) -> list[AttemptRecord]:
    """Of prompt number `seq`: its turns' TTFTs, and what of 100 input tokens came from the cache."""
    stated = [*cached, *[None] * (len(ttfts_ms) - len(cached))]
    return [
        make_record(
            ticket=Ticket(10 * seq + turn, "hub", "alpha", f"p{seq}", 0, seq, session_id=f"s{seq}", turn=turn),
            at_ms=(ttft - 1, ttft, ttft + 20, ttft + 40, ttft + 41),
            usage=Usage(input=100, output=3, total=103, cached=some, source="gateway"),
        )
        for turn, (ttft, some) in enumerate(zip(ttfts_ms, stated, strict=True))
    ]


def insights_on(*sessions: Sequence[AttemptRecord], turns: int = 2) -> dict[str, str]:
    catalogue = {f"p{seq}": {"turns": [ASKS] * turns} for seq in range(len(sessions))}
    records = [record for each in sessions for record in each]
    run = run_of(records, make_header("alpha", suite={"catalogue": catalogue}))
    return {part.question: part.answer for part in insights_of(run, {"alpha": "ALPHA"})}


def test_the_growth_is_of_pairs_and_has_an_interval() -> None:
    """Each of 10 sessions rises by exactly 40 ms, however far apart they lie themselves: 100 + 0 ... 900."""
    found = insights_on(*(session(k, 100 + 100 * k, 140 + 100 * k) for k in range(10)))
    growth = found["From the first turn to the last"]
    assert growth.startswith("ALPHA: TTFT rose by 40.0 ms (40.0 to 40.0) (median 550 ms at the first turn, 590 ms")


def test_too_few_prompts_have_no_interval() -> None:
    """Nine are one too few."""
    found = insights_on(*(session(k, 100, 140) for k in range(9)))
    assert numbers_in(found["From the first turn to the last"])[:3] == [40, 10, 9]


def test_what_a_cache_saves_is_told_from_hits_and_misses() -> None:
    """Five later turns hit it, 10 ms above their first; five missed, 60 above: 50 ms. 5 x 80 of 10 x 100 tokens."""
    hits = [session(k, 100, 110, cached=(0, 80)) for k in range(5)]
    misses = [session(k, 100, 160, cached=(0, 0)) for k in range(5, 10)]
    answer = insights_on(*hits, *misses)["Prompt cache"]
    assert numbers_in(answer) == [0, 1, 40, 2, 5, 10, 5, 60, 50]


def test_no_word_of_a_cache_is_no_zero() -> None:
    """Unknown is not 0 %."""
    assert numbers_in(insights_on(session(0, 100, 110))["Prompt cache"]) == []


def test_a_run_without_conversations_is_told_nothing_of_them() -> None:
    """No part, and no count in the summary."""
    run = run_of([make_record()])
    assert insights_of(run, {"alpha": "ALPHA"}) == ()
    assert summarise(run.header, run.records).sessions is None


# --- history


def prompt_of(text: str) -> Prompt:
    return suite_from(parse_yaml(text, "mine.yaml"), "mine").prompts[0]


def test_results_are_not_parted_from_their_calls() -> None:
    """However short the history is: no gateway takes the one without the other."""
    conversation = begin(prompt_of("- {history: 0, turns: [one, two, {tool_results: {f: r}}]}"))
    second = conversation.after(AssistantAnswer("a"))
    assert second is not None
    assert [message["content"] for message in second.messages] == ["two"]
    third = second.after(AssistantAnswer("", (ReceivedCall(None, "f", "{}"),)))
    assert third is not None
    assert [message["role"] for message in third.messages] == ["user", "assistant", "tool"]
    assert third.messages[1]["tool_calls"][0]["id"] == third.messages[2]["tool_call_id"]


def test_a_legacy_function_is_answered_as_such() -> None:
    """By its name: it has no id."""
    conversation = begin(prompt_of("- {turns: [one, {tool_results: {f: r}}]}"))
    second = conversation.after(AssistantAnswer("", (ReceivedCall(None, "f", "{}", legacy=True),)))
    assert second is not None
    assert second.messages[1:] == [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
    ]


def test_content_for_spans_has_each_turns_own_words() -> None:
    """By the suite alone, where the user asked for content: neither history nor results, which hang on the answers."""
    prompt = prompt_of("- {system: s, turns: [one, {user: two, tool_results: {f: r}}]}")
    assert [[message["content"] for message in turn] for turn in scripted(prompt)] == [["s", "one"], ["s", "two"]]


def test_the_hash_covers_turns() -> None:
    """Other words, another fixed answer, another time to think: another suite."""
    texts = [
        "- {turns: [one, two]}",
        "- {turns: [one, three]}",
        "- {turns: [{user: one, assistant: a}, two]}",
        "- {turns: [one, {user: two, think: 1}]}",
        "- {turns: [one, two], history: 1}",
    ]
    assert len({suite_from(parse_yaml(text, "x"), "x").hash for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "- {turns: []}",
            Wrong(
                "prompts.0.turns",
                None,
                1,
                message="has no turns",
                accepted="a list of turns, each a text, or a mapping with user or tool_results",
            ),
        ),
        ("- {turns: one}", Wrong("prompts.0.turns", "'one'", 1, message="must be a list of turns")),
        (
            "- {turns: [one], text: two}",
            Wrong("prompts.0", None, 1, message="has both text and turns", accepted="only one of them"),
        ),
        (
            "- {turns: [one], messages: [{role: user, content: x}]}",
            Wrong("prompts.0", None, 1, message="has both messages and turns"),
        ),
        ("- {turns: [3]}", Wrong("prompts.0.turns.0", "3", 1, message="must be a turn")),
        ("- {turns: ['']}", Wrong("prompts.0.turns.0", "''", 1)),
        ("- {turns: [{usr: a}]}", Wrong("prompts.0.turns.0.usr", None, 1, names=("`user`",))),
        ("- {turns: [{think: 1}]}", Wrong("prompts.0.turns.0", None, 1, message="has neither user nor tool_results")),
        (
            "- {turns: [a, {user: b, think: -1}]}",
            Wrong("prompts.0.turns.1.think", "-1", 1, message="is not a valid think time"),
        ),
        ("- {turns: [a, {user: b, think: soon}]}", Wrong("prompts.0.turns.1.think", "'soon'", 1)),
        (
            "- {turns: [{user: a, think: 1}]}",
            Wrong(
                "prompts.0.turns.0.think",
                None,
                1,
                message="is not allowed in the first turn: there is no answer before it",
            ),
        ),
        (
            "- {turns: [{tool_results: {f: r}}]}",
            Wrong(
                "prompts.0.turns.0.tool_results",
                None,
                1,
                message="is not allowed in the first turn: no function call precedes it",
            ),
        ),
        ("- {turns: [a, {tool_results: [f]}]}", Wrong("prompts.0.turns.1.tool_results", "a list", 1)),
        ("- {turns: [a, {tool_results: {f: {c: 4}}}]}", Wrong("prompts.0.turns.1.tool_results.f", "a mapping", 1)),
        (
            "- {turns: [a, {tool_results: {'a b': r}}]}",
            Wrong("prompts.0.turns.1.tool_results.a b", "'a b'", 1, message="is not a function name"),
        ),
        (
            "- {turns: [{user: a, assistant: b}, {tool_results: {f: r}}]}",
            Wrong(
                "prompts.0.turns.1.tool_results",
                None,
                1,
                message="answers function calls, but the previous turn has a fixed answer, which",
            ),
        ),
        ("- {turns: [{user: a, assistant: 1}]}", Wrong("prompts.0.turns.0.assistant", "1", 1)),
        ("- {turns: [a], history: -1}", Wrong("prompts.0.history", "-1", 1, message="is not a number of turns")),
        ("- {text: a, history: 1}", Wrong("prompts.0.history", None, 1, names=("`turns`",))),
    ],
)
def test_a_bad_turn_is_one_line(text: str, wrong: Wrong) -> None:
    """It names the key, what was found and what is accepted."""
    with pytest.raises(SuiteError) as caught:
        suite_from(parse_yaml(text, "mine.yaml"), "mine")
    the_problem(caught.value.problems, wrong._replace(file="mine.yaml"))
    assert len(caught.value.problems) <= 2, str(caught.value)


# --- other APIs, and whole answers


def test_a_conversation_goes_by_any_api(home: Home) -> None:
    """Histories and results of calls reach the gateway in its own words: it counts more input at each later turn."""
    (home.folder / "models.yaml").write_text("models: {caller: {ttft_ms: 5, gap_ms: 1, tokens: 8, tools: true}}")
    asks: list[dict[str, Any]] = [{}, {"api": "responses"}, {"api": "responses", "stream": False}, {"stream": False}]
    models = [{"model": "caller", "alias": f"ask-{place}", **ask} for place, ask in enumerate(asks)]
    weather = {
        "turns": ["How is the weather?", {"tool_results": {"get_weather": "cold " * 20}}],
        "params": {"tools": TOOLS},
    }
    ran = home.run(home.config(*models, prompts=[TRIP, weather]))
    assert ran.code == 0, ran.err
    assert ran.summary["sessions"] == {"begun": 8, "whole": 8, "cut": 0, "ended": []}
    inputs = {
        (r.ticket.model, r.ticket.prompt_id, r.ticket.turn): r.usage.input for r in ran.measured if r.usage is not None
    }
    assert len(inputs) == 20
    for (model, prompt, turn), count in inputs.items():
        assert turn == 0 or (count or 0) > (inputs[model, prompt, turn - 1] or 0)


# --- the config that comes with it


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    home = Home(tmp_path_factory.mktemp("shipped"), WarmProcess)
    return home.run(str(ROOT / "configs" / "conversation.yaml"))


def test_the_shipped_config_answers_its_question(shipped: Ran) -> None:
    """Thirteen conversations and two models: how TTFT grows is said with an interval, and of the cache."""
    assert shipped.code == 0, shipped.err
    assert shipped.summary["sessions"] == {"begun": 26, "whole": 26, "cut": 0, "ended": []}
    text = " ".join(shipped.out.split())
    assert "sim-rereads: TTFT " in text
    assert "sim-rereads: no input came from a cache at any turn." in text
    assert "sim-remembers: share of the input that came from the cache: " in text


def ttft_ms(records: Sequence[AttemptRecord], model: str, turn: int) -> float:
    here = [record for record in records if (record.ticket.model, record.ticket.turn) == (model, turn)]
    found = [first_arrival_ns(record.timeline, GENERATED) for record in here]
    return median(at for at in found if at is not None) / MS


def test_a_cached_prefix_costs_no_time(shipped: Ran) -> None:
    """About 150 tokens of history at 0.3 ms: 45 ms without a cache; with one only the last answer's are read, 10 ms.

    Where the history is limited, its beginning moves, and nothing of it is found again.
    """
    records = shipped.measured
    grown = {m: ttft_ms(records, m, 3) - ttft_ms(records, m, 0) for m in ("sim-rereads", "sim-remembers")}
    assert grown["sim-rereads"] > grown["sim-remembers"]
    last = [r for r in records if (r.ticket.model, r.ticket.turn) == ("sim-remembers", 3)]
    assert {r.ticket.prompt_id for r in last if r.usage and not r.usage.cached} == {"diary"}


def test_frames_have_session_and_turn(shipped: Ran) -> None:
    """With the tokens of each turn; a turn is paired with the same turn of the other model."""
    rows = shipped.run.requests
    measured = rows[~rows["warmup"]]
    assert measured["session_id"].nunique() == 26
    assert sorted(measured["turn"].unique()) == [0, 1, 2, 3]
    inputs = measured.groupby("turn")["input_tokens"].mean()
    assert list(inputs) == sorted(inputs)
    assert measured["cached_tokens"].notna().all()
    assert not measured.duplicated(["model", "prompt_id", "repeat", "turn"]).any()
