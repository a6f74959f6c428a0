"""What a budget holds for a request in flight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.metrics.cost import Price
from streambench.records.schema import Ticket, Usage
from streambench.runner.cost_bounds import FRAME_TOKENS, CostBounds, output_limit
from streambench.testing import make_record

PRICE = Price(input=1, output=10)


def config(folder: Path, *prompts: Any, **params: Any) -> Config:
    plain = {
        "gateways": {"demo": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "models": [{"model": "alpha", "params": params}],
        "prompts": list(prompts),
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(plain))
    return load_config(path)


def ticket(prompt_id: str, **changes: Any) -> Ticket:
    return Ticket(seq=0, gateway="demo", model="alpha", prompt_id=prompt_id, repeat=0, block=0, **changes)


@pytest.mark.parametrize(
    ("params", "limit"),
    [
        ({}, None),
        ({"max_tokens": 64}, 64),
        ({"max_completion_tokens": 32, "max_tokens": 64}, 64),
        ({"max_tokens": 8, "best_of": 4, "n": 2}, 32),
        ({"max_tokens": 64, "n": 3}, 192),
        ({"max_tokens": None}, None),
        ({"max_tokens": 0}, None),
    ],
)
def test_max_tokens_bounds_the_output(params: dict[str, Any], limit: int | None) -> None:
    """Of each choice; which of its spellings rules is the gateway's to say."""
    assert output_limit(params) == limit


def test_a_bounded_request_is_known_before_any_answer(tmp_path: Path) -> None:
    """A token for each byte, a frame around the message, and the prompt's own max_tokens: 5 + 16 in, 40 out."""
    found = CostBounds(config(tmp_path, {"id": "p", "text": "größ", "params": {"max_tokens": 40}}, max_tokens=9), {})
    worst = found.of(ticket("p"))
    assert len("größ".encode()) == 6
    assert (worst.tokens, worst.blind, worst.assumed) == (6 + FRAME_TOKENS + 40, False, None)


def test_what_a_prompt_took_is_what_it_will_take(tmp_path: Path) -> None:
    """10 in and at most 40 out, at 1 and 10 per million; another prompt is not known by that."""
    limited = config(tmp_path, {"id": "p0", "text": "Hello"}, {"id": "q", "text": "Hello"}, max_tokens=40)
    reserves = CostBounds(limited, {"alpha": PRICE})
    reserves.learn(make_record(usage=Usage(input=10, output=3)))
    worst = reserves.of(ticket("p0"))
    assert worst.tokens == 50
    assert worst.usd == pytest.approx(410 / 1e6)
    assert reserves.of(ticket("q")).tokens == 5 + FRAME_TOKENS + 40


def test_without_max_tokens_the_largest_answer_is_assumed_and_told(tmp_path: Path) -> None:
    """Before any answer it is blind. Text without usage counts a token a character: 3 x 4 of the made record."""
    reserves = CostBounds(config(tmp_path, {"id": "p0", "text": "Hello"}), {})
    blind = reserves.of(ticket("p0"))
    assert blind.blind
    assert "no max_tokens limits the output of alpha" in (blind.assumed or "")
    reserves.learn(make_record(usage=None))
    seen = reserves.of(ticket("p0"))
    assert (seen.blind, seen.tokens) == (False, 5 + FRAME_TOKENS + 12)
    assert "the largest output of alpha so far" in (seen.assumed or "")
    reserves.learn(make_record(usage=Usage(input=7, output=99)))
    assert reserves.of(ticket("p0")).tokens == 7 + 99


def test_tool_schemas_are_sent_too(tmp_path: Path) -> None:
    """Their JSON counts, as the gateway puts it before the model."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    plain = CostBounds(config(tmp_path, {"id": "p", "text": "Hi"}, max_tokens=1), {}).of(ticket("p"))
    worst = CostBounds(config(tmp_path, {"id": "p", "text": "Hi"}, max_tokens=1, tools=tools), {}).of(ticket("p"))
    assert worst.tokens > plain.tokens + 40


def test_a_later_turn_sends_the_answers_before_it(tmp_path: Path) -> None:
    """Two of at most 40 tokens, with frames around them and the questions, whatever the turn took the last time."""
    reserves = CostBounds(config(tmp_path, {"id": "p", "text": "Hi"}, max_tokens=40), {})
    third = ticket("p", session_id="s", turn=2)
    reserves.learn(make_record(ticket=third, usage=Usage(input=30, output=3)))
    assert reserves.of(third).tokens == 2 + FRAME_TOKENS + 2 * (40 + 2 * FRAME_TOKENS) + 40


def test_the_gateways_params_count(tmp_path: Path) -> None:
    """They are sent too: 3 choices of 40 tokens, and an instruction of 7 bytes with its quotes."""
    path = tmp_path / "config.yaml"
    hub = {
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": "none",
        "params": {"n": 3, "max_tokens": 40, "note": "brief"},
    }
    path.write_text(
        yaml.safe_dump({"gateways": {"demo": hub}, "models": ["alpha"], "prompts": [{"id": "p", "text": "Hello"}]})
    )
    worst = CostBounds(load_config(path), {}).of(ticket("p"))
    assert (worst.tokens, worst.blind) == (120 + 5 + FRAME_TOKENS + 7, False)
