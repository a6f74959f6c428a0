"""The models file and its distributions."""

from __future__ import annotations

import random
import statistics
from dataclasses import fields
from pathlib import Path

import pytest

from streambench.errors import SimulatorError
from streambench.simulator.distributions import Distribution, parse_distribution
from streambench.simulator.profile import SimModel
from streambench.simulator.profile_file import MODELS_ACCEPTED, PARSERS, load_models


def complaint(tmp_path: Path, text: str) -> str:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    with pytest.raises(SimulatorError) as caught:
        load_models(path)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "models: {m: {gap_mss: 3}}",
            "FILE:1: models.m.gap_mss: unknown key; did you mean `gap_ms`? (found 3; accepted: "
            + ", ".join(PARSERS)
            + ")",
        ),
        (
            "models:\n  m:\n    burst: 0",
            "FILE:3: models.m.burst: cannot be used (found 0; accepted: a whole number of at least 1)",
        ),
        (
            "models: {m: {stall: {chance: 2, ms: 5}}}",
            "FILE:1: models.m.stall.chance: cannot be used (found 2; accepted: a number from 0 to 1)",
        ),
        (
            "models: {m: {stall: {chance: 0.2}}}",
            "FILE:1: models.m.stall: ms is missing (found a mapping; accepted: a mapping of chance, ms)",
        ),
        (
            "models: {m: {tools: 'yes'}}",
            "FILE:1: models.m.tools: cannot be used (found 'yes'; accepted: true, false)",
        ),
        (
            "models: {m: 3}",
            "FILE:1: models.m: cannot be used (found 3; accepted: a mapping of keys)",
        ),
        (
            "models: {}",
            f"FILE:1: models: cannot be used (found a mapping; accepted: {MODELS_ACCEPTED})",
        ),
        ("api_key: x", f"FILE: models is missing (accepted: {MODELS_ACCEPTED})"),
        ("- a", "FILE: cannot be used (found a list; accepted: a mapping of keys)"),
        (
            "models: {m: }\nmodel: 3",
            "FILE:2: model: unknown key; did you mean `models`? (found 3; accepted: models, api_key)",
        ),
        ("models: {m: }\nmodels: {n: }", "FILE:2: models: is given twice, first in line 1"),
        ("models: {m: ]}", "FILE:1: is not YAML"),
        ("", "FILE: is empty"),
    ],
)
def test_a_complaint_names_file_model_key_found_and_accepted(tmp_path: Path, text: str, told: str) -> None:
    """One line each."""
    said = complaint(tmp_path, text)
    assert "\n" not in said
    assert said.startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{uniform: [5, 1]}", "low must not be above high"),
        ("{uniform: 5}", "needs low and high as numbers"),
        ("{normal: {mean: 5}}", "needs mean and sd"),
        ("{lognormal: {median: 0, sigma: 1}}", "median must be above 0"),
        ("{gamma: {mean: 5, cv: -1}}", "cv must be above 0"),
        ("{constant: -1}", "value must be at least 0"),
        ("{pareto: 3}", "unknown distribution 'pareto'"),
        ("soon", "must be one distribution"),
        (".nan", "must be one distribution"),
    ],
)
def test_a_bad_distribution(tmp_path: Path, text: str, told: str) -> None:
    """What is wrong, and every form that would do."""
    said = complaint(tmp_path, f"models: {{m: {{ttft_ms: {text}}}}}")
    assert f"models.m.ttft_ms: {told}" in said
    assert "{gamma: {mean: 20, cv: 0.5}}" in said


@pytest.mark.parametrize("text", ["fault: {cut: 0.6, reset: 0.6}", "fault: cutt", "fault: {}", "fault: {cut: x}"])
def test_a_bad_fault(tmp_path: Path, text: str) -> None:
    """Chances above 1, an unknown name, no name, no chance."""
    assert "models.m.fault" in complaint(tmp_path, f"models: {{m: {{{text}}}}}")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Three faults, three lines."""
    said = complaint(tmp_path, "api_key: 3\nmodels: {a: {burst: x, tools: 1}}")
    assert said.count("\n") == 2


def test_every_field_has_a_parser() -> None:
    """The keys of the file are the fields of SimModel."""
    assert set(PARSERS) == {field.name for field in fields(SimModel)}


def test_every_key_is_documented() -> None:
    """The comments of models.yaml name each."""
    text = Path("configs/simulated/models.yaml").read_text()
    assert [key for key in PARSERS if f"#   {key} " not in text] == []


def test_the_quick_starts_models_load() -> None:
    """Five healthy ones, whose names are promised elsewhere."""
    models = load_models(Path("configs/simulated/models.yaml")).models
    assert list(models) == ["sim-swift", "sim-steady", "sim-thinker", "sim-bursty", "sim-jittery"]
    assert not any(model.fault for model in models.values())


@pytest.mark.parametrize(
    ("plain", "mean", "sd"),
    [
        (7, 7.0, 0.0),
        ({"constant": 7}, 7.0, 0.0),
        ({"uniform": [80, 120]}, 100.0, 11.547),  # (120 - 80) / sqrt(12)
        ({"normal": {"mean": 100, "sd": 10}}, 100.0, 10.0),
        ({"lognormal": {"median": 120, "sigma": 0.2}}, 122.42, 24.73),  # 120 e^0.02; mean * sqrt(e^0.04 - 1)
        ({"exponential": {"mean": 20}}, 20.0, 20.0),
        ({"gamma": {"mean": 20, "cv": 0.5}}, 20.0, 10.0),  # 20 * 0.5
    ],
)
def test_a_distribution_draws_what_it_states(plain: object, mean: float, sd: float) -> None:
    """Mean and standard deviation of 20,000 draws, within 3 %."""
    drawn = parse_distribution(plain).draw_many(random.Random(1), 20_000)
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.03)
    assert statistics.pstdev(drawn) == pytest.approx(sd, rel=0.03)


def test_no_draw_is_negative() -> None:
    """A wide normal is cut off at zero."""
    assert min(Distribution("normal", 1.0, 10.0).draw_many(random.Random(1), 1000)) == 0.0
