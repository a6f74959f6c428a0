"""Money in whole runs, and `plan` and `chat`, as users start them: against scripted gateways and the simulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from home import KEY, PATIENCE_S, ROOT, Home, Ran, until
from scripted_gateway import NO_END, ScriptedGateway, Seen, delta, error, sse, streamed
from sentences import numbers_in

from streambench.analysis.insights.catalogue import insights_of
from streambench.report.markdown import render_markdown

USAGE = {"prompt_tokens": 10, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": 4}}
ANSWER = sse(delta("Hel"), delta("lo"), delta(finish_reason="stop"), delta(usage=USAGE, choices=[]), "[DONE]")
PRICE = {"input": 2, "output": 10, "cached": 0.5, "per_request": 0.001}


def stating(_: Seen) -> Iterable[bytes]:
    return [streamed(ANSWER, "x-litellm-response-cost: 0.002", "x-litellm-response-cost-input: 0.9")]


def insights(ran: Ran) -> dict[str, str]:
    """By question; fails if the run did not print one."""
    found = insights_of(ran.run, {model: model for model in ran.run.models})
    assert [each.question for each in found if f"\n{each.question}:" not in ran.out] == []
    return {each.question: each.answer for each in found}


# --- in a run


def test_both_figures_are_kept_and_their_difference_is_told(home: Home) -> None:
    """Three prompts: 0.001 + (6 x 2 + 4 x 0.5 + 40 x 10) / 1e6 = 0.001414 each by price, 0.002 as stated."""
    with ScriptedGateway(stating) as gateway:
        hub = {"base_url": gateway.url, "api_key": "none"}
        ran = home.run(home.config({"model": "m", "price": PRICE}, gateway=hub))
    cost = ran.summary["models"]["m"]["cost_usd"]
    assert (cost["priced"], cost["stated"]) == (pytest.approx(0.004242), pytest.approx(0.006))
    assert cost["per_request"] == pytest.approx(0.001414)
    assert cost["per_1k_output_tok"] == pytest.approx(0.03535)
    assert numbers_in(insights(ran)["Config's price and gateway's cost"])[:3] == [0.006, 0.00424, 1.41]
    assert {record.headers["x-litellm-response-cost"] for record in ran.measured} == {"0.002"}
    page = (ran.folder / "report.html").read_text("utf-8")
    assert "USD per 1,000 tokens out" in page
    assert "0.0353" in page
    head, _, row, *_ = (line for line in render_markdown(ran.run).splitlines() if line.startswith("| "))
    assert head.endswith("| cost, USD | USD per request | USD per 1,000 tokens out |")
    assert row.endswith("| 0.00424 | 0.00141 | 0.0353 |")


def test_the_gateways_config_finds_what_the_hub_adds(home: Home) -> None:
    """40 ms at the first word; once round instead of four times. A difference with its interval for each model."""
    ran = home.run(str(ROOT / "configs" / "gateways.yaml"), "--set", "repeats=1")
    found = insights(ran)
    later_ms, low, high, *_ = numbers_in(found["Gateways, sim-steady: through hub against direct"])
    assert 0 < low <= later_ms <= high
    assert found.keys() >= {"Gateways, sim-swift: through hub against direct", "Cost of output tokens"}


def test_the_budget_config_is_not_passed(home: Home) -> None:
    """Six lanes, max_tokens on every prompt: what was spent, warm-up included, is within half of its 0.012 USD."""
    ran = home.run(str(ROOT / "configs" / "budget.yaml"), "--set", "budget.usd=0.006")
    assert (ran.code, ran.summary["status"]) == (3, "budget")
    assert numbers_in(ran.summary["reason"])[0] == 0.006
    attempts = ran.run.attempts
    assert attempts["cost_usd"].notna().all()
    assert 0.003 < attempts["cost_usd"].sum() <= 0.006
    assert insights(ran)["Cost against speed"].startswith("sim-steady ")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"price": {"input": -1, "output": 2}}, "models.0.price.input: is out of range (found -1; accepted: USD per m"),
        ({"price": {"input": 1, "output": 2, "cached": -0.1}}, "models.0.price.cached: is out of range (found -0.1; "),
        ({"price": {"input": 1, "output": 2, "per_request": -1}}, "accepted: USD per request, 0 or more)"),
        ({"price": {"input": 1}}, "models.0.price.output: "),
        ({"price": {"input": 1, "output": 2, "cachd": 1}}, "unknown key; did you mean `cached`?"),
        ({"compare_as": 7}, "models.0.compare_as: "),
    ],
)
def test_a_wrong_price_is_one_line(home: Home, model: dict[str, Any], says: str) -> None:
    """With the file and its line, and nothing is sent."""
    ran = home.start("plan", home.config({"model": "swift", **model})).end()
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: {home.folder}/config.yaml:")
    assert says in line


# --- plan


def test_a_plan_sends_nothing(home: Home) -> None:
    """As text and as JSON; not even a connection is opened."""
    with ScriptedGateway(stating) as gateway:
        hub = {"base_url": gateway.url, "api_key": "none"}
        config = home.config({"model": "m", "params": {"max_tokens": 9}, "price": PRICE}, gateway=hub, repeats=2)
        ran = home.start("plan", config).end()
        found = json.loads(home.start("plan", config, "--json", "--set", "repeats=3").end().out)
        assert gateway.seen == []
    assert ran.code == 0
    assert "No request was sent." in ran.out
    assert (found["requests"], found["output_tokens"]["high"]) == (9, 81)


def test_a_plan_like_no_run_is_told(home: Home) -> None:
    """One line, 2."""
    ran = home.start("plan", home.config(), "--like", "nowhere").end()
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "nowhere" in ran.err


# --- chat


def chat(folder: Path, lines: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """Its lines come by a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "streambench", "chat", *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=folder,
        env={**os.environ, **(env or {})},
        check=False,
    )


def hostile(seen: Seen) -> Iterable[bytes]:
    """Text with a terminal's escapes, and the key."""
    text = f"\x1b[31mred\r {KEY} line\nnext"
    return [streamed(sse(delta(text), delta(finish_reason="stop"), delta(usage=USAGE, choices=[]), "[DONE]"))]


def test_chat_keeps_history_and_shows_numbers(tmp_path: Path) -> None:
    """Two lines by a pipe; the third, after /quit, is not asked. Escapes and the key are inert, and nothing is left."""
    with ScriptedGateway(hostile) as gateway:
        arguments = ("m", "--base-url", gateway.url, "--key-variable", "CHAT_KEY", "--system", "Be brief.")
        ran = chat(tmp_path, "one\n\ntwo\n/quit\nthree\n", *arguments, env={"CHAT_KEY": KEY})
        asked = [[message["content"] for message in seen.json["messages"]] for seen in gateway.seen]
        assert {seen.header("authorization") for seen in gateway.seen} == {f"Bearer {KEY}"}
    assert ran.returncode == 0, ran.stderr
    assert [len(each) for each in asked] == [2, 4]
    assert (asked[0], asked[1][3]) == (["Be brief.", "one"], "two")
    assert "\x1b[31m" not in ran.stdout
    assert KEY not in ran.stdout + ran.stderr
    assert "\\x1b[31mred\\r *** line\nnext\n" in ran.stdout
    assert ran.stdout.count("tokens 10 in, 40 out, 4 cached, cost unknown]") == 2
    assert list(tmp_path.iterdir()) == []


def test_chat_tells_a_failure_and_goes_on(home: Home) -> None:
    """By a pipe it is code 1. What was not answered is no history; the price is the config's."""
    answers = iter([error("503 No", "not now"), *stating(None)])  # type: ignore[arg-type]
    with ScriptedGateway(lambda _: [next(answers)]) as gateway:
        config = home.config({"model": "m", "price": PRICE}, gateway={"base_url": gateway.url, "api_key": "none"})
        ran = chat(home.folder, "one\ntwo\n", "m", "--config", config)
        assert [message["content"] for message in gateway.seen[1].json["messages"]] == ["two"]
    assert ran.returncode == 1
    assert "503" in ran.stdout
    assert "Hello\n" in ran.stdout
    assert "0.00141 USD or 0.002 USD stated by the gateway" in ran.stdout


def test_ctrl_c_stops_an_answer_and_no_more(tmp_path: Path) -> None:
    """A stream that never ends; the next line is still asked, with what came of the answer in its history."""

    def answer(seen: Seen) -> Iterable[bytes]:
        if len(seen.json["messages"]) > 1:
            yield streamed(ANSWER)
            return
        yield NO_END + sse(delta("Hel"), delta("lo"))
        seen.gone()

    out = tmp_path / "out"
    with ScriptedGateway(answer) as gateway, out.open("wb") as stdout:
        command = [sys.executable, "-m", "streambench", "chat", "m", "--base-url", gateway.url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, text=True, cwd=tmp_path) as process:
            assert process.stdin is not None
            process.stdin.write("one\n")
            process.stdin.flush()
            until(lambda: b"Hello" in out.read_bytes())
            process.send_signal(signal.SIGINT)
            process.stdin.write("two\n")
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0
        said = [message["content"] for message in gateway.seen[1].json["messages"]]
    assert said == ["one", "Hello", "two"]
    assert "stopped by the user" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("m",), "error: chat: needs exactly one of these options (accepted: --config CONFIG or --base-url URL)"),
        (("m", "--base-url", "hub"), "error: --base-url: must begin with http:// or https:// (found 'hub'; accepted: "),
        (("m", "--base-url", "http://x/v1", "--key-variable", "NO_KEY"), "error: --key-variable: NO_KEY is not set"),
        (("swft", "--config", "config.yaml"), "error: MODEL: is not a model of this config; did you mean `swift`?"),
    ],
)
def test_what_chat_cannot_do_is_one_line(home: Home, arguments: tuple[str, ...], says: str) -> None:
    """2."""
    home.config()
    ran = chat(home.folder, "", *arguments)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert ran.stderr.startswith(says)


def test_a_word_that_may_be_a_key_waits_for_its_end(tmp_path: Path) -> None:
    """In four pieces: no half of it is shown, and nothing of what follows is lost."""

    def answer(_: Seen) -> Iterable[bytes]:
        yield NO_END
        for piece in ("the key sk-abc", "def", "ghij", "klmn and then more"):
            yield sse(delta(piece))
            time.sleep(0.07)
        yield sse(delta(" end."), delta(finish_reason="stop"), "[DONE]")

    with ScriptedGateway(answer) as gateway:
        ran = chat(tmp_path, "one\n", "m", "--base-url", gateway.url)
    assert ran.stdout.startswith("the key *** and then more end.\n[")
