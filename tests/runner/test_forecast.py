"""What a run would take, from its config alone and from an earlier run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streambench.api.steps import plan_of
from streambench.config.load import load_config
from streambench.records.schema import AttemptRecord, Ticket, Usage
from streambench.report.forecast import plan_text
from streambench.runner.forecast import Forecast, Range, forecast
from streambench.testing import MS, make_record

GATEWAY = {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}
PRICE = {"input": 1, "output": 10, "per_request": 0.5}


def foreseen(folder: Path, earlier: list[AttemptRecord] | None = None, **keys: Any) -> Forecast:
    """Two prompts of 40 and 80 characters, so 10 and 20 tokens; model `m`, one warm-up request."""
    plain = {
        "gateways": {"hub": GATEWAY},
        "models": ["m"],
        "prompts": [{"id": "p0", "text": "a" * 40}, {"id": "p1", "text": "b" * 80}],
        "load": {"mode": "closed", "concurrency": 2},
        "warmup": {"requests": 1},
        **keys,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(plain))
    config = load_config(path)
    return forecast(config, plan_of(config, path), earlier or [])


def answered(prompt: str, tokens_in: int, tokens_out: int, took_ms: float) -> AttemptRecord:
    ticket = Ticket(seq=0, gateway="hub", model="m", prompt_id=prompt, repeat=0, block=0)
    usage = Usage(input=tokens_in, output=tokens_out, source="gateway")
    return make_record(ticket=ticket, usage=usage, ended_ns=round(took_ms * MS))


def test_without_max_tokens_or_price_nothing_is_invented(tmp_path: Path) -> None:
    """Warm-up p0, then both three times: 10 + 3 x 30 = 100 tokens in."""
    found = foreseen(tmp_path, repeats=3)
    assert (found.requests, found.warmup) == (6, 1)
    assert found.input_tokens == Range(100, 100, 100)
    assert found.output_tokens == Range()
    assert found.cost_usd == Range()
    assert found.duration_s == Range()
    text = plan_text(found)
    assert "the cost is unknown" in text
    assert re.search(r"Duration: unknown \(.*--like\)", text)
    assert text.endswith("No request was sent.")


def test_max_tokens_bound_tokens_and_cost(tmp_path: Path) -> None:
    """Three requests of at most 50 out: 40 in; 3 x 0.5 + 40e-6 at least, and 150 x 10e-6 more at most."""
    model = {"model": "m", "params": {"max_tokens": 50}, "price": PRICE}
    found = foreseen(tmp_path, models=[model])
    assert found.output_tokens == Range(0, None, 150)
    assert found.cost_usd.expected is None
    assert found.cost_usd.low == pytest.approx(1.50004)
    assert found.cost_usd.high == pytest.approx(1.50154)
    assert "up to 150" in plan_text(found)


def test_an_earlier_run_stands_in(tmp_path: Path) -> None:
    """p0 took 12 in and 20 or 40 out in 2 or 4 s; p1, which was not answered, counts as the mean of all: 12 in, 30 out,
    3 s. Three requests: 9 s on two lanes. At 10 out: 3 x 0.5 + 36e-6 + 90 x 10e-6."""
    earlier = [answered("p0", 12, 20, 2_000), answered("p0", 12, 40, 4_000)]
    found = foreseen(tmp_path, earlier, models=[{"model": "m", "price": PRICE}])
    assert found.input_tokens.expected == 36
    assert found.output_tokens == Range(60, 90, 120)
    assert found.cost_usd.expected == pytest.approx(1.500936)
    assert found.duration_s == Range(3, 4.5, 6)
    assert found.models[0].measured == 2


def test_failed_and_warm_up_attempts_of_the_earlier_run_do_not_count(tmp_path: Path) -> None:
    """Only answers tell how long answers are."""
    broken = make_record(model="m", finish_reason=None)
    assert foreseen(tmp_path, [broken, make_record(model="m", phase="warmup")]).output_tokens == Range()


def test_an_open_loop_takes_its_schedule(tmp_path: Path) -> None:
    """Six at two a second: the last is due 2.5 s after the first; when it ends is unknown."""
    found = foreseen(tmp_path, repeats=3, load={"mode": "constant", "rate": 2})
    assert found.duration_s == Range(2.5, None, None)
    assert "Duration: at least " in plan_text(found)


def test_caps_are_a_floor_for_the_time(tmp_path: Path) -> None:
    """Seven at 60 a minute: six seconds between the first and the last."""
    gateway = {**GATEWAY, "limits": {"requests_per_minute": 60, "max_concurrency": 1}}
    found = foreseen(tmp_path, repeats=3, gateways={"hub": gateway})
    assert found.duration_s == Range(6)
    assert found.connections == {"hub": "at most 1, opened in advance"}


@pytest.mark.parametrize(
    ("keys", "cut"),
    [
        ({"budget": {"requests": 2}}, "budget.requests stops the run after 2 of 3 requests."),
        ({"budget": {"tokens": 30}}, "budget.tokens stops the run at 30 tokens: it would take at least 40."),
        ({"budget": {"tokens": 100}}, "budget.tokens may stop the run at 100 tokens: it could take up to 190."),
        ({"budget": {"tokens": 190}}, None),
        ({"budget": {"duration": 5}}, "budget.duration may stop the run at 5 s: its maximum is unknown."),
        ({"limits": {"requests": 1}}, "limits.requests leaves out 1 of 2 requests."),
    ],
)
def test_what_limits_and_budgets_cut_is_told(tmp_path: Path, keys: dict[str, Any], cut: str | None) -> None:
    """Three requests, 40 tokens in and at most 150 out."""
    found = foreseen(tmp_path, models=[{"model": "m", "params": {"max_tokens": 50}}], **keys)
    assert found.cuts == (() if cut is None else (cut,))
    assert (cut or "No limit or budget would end the run early.") in plan_text(found)
