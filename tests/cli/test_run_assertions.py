"""The end of `run` and `resume`: JUnit XML, what an undecided assertion comes to, and the page's links to traces."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from home import ROOT
from report.pages import data_of, read

from cli.called import call
from streambench.errors import InputError

MODELS = ROOT / "configs" / "simulated" / "models.yaml"
CONFIG = f"""
gateways: {{demo: {{base_url: embedded, models: "{MODELS}"}}}}
models: [sim-swift]
prompts: [Hi, Ho]
repeats: 1
warmup: {{requests: 0}}
telemetry: {{trace_url: "https://traces.example/{{trace_id}}"}}
assert: {{error_rate: "< 60%", ttft_p95_ms: "< 60000"}}
"""


def test_undecided_is_as_the_options_say_and_told_as_junit(tmp_path: Path) -> None:
    """Two requests are too few for a p95: code 4, or as `--undecided` says; a skipped case in the XML."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    junit = tmp_path / "junit.xml"
    common = ("--quiet", "--junit", junit)
    assert call("run", tmp_path / "c.yaml", "--output", tmp_path / "runs", *common) == 4
    (suite,) = Xml.parse(junit).getroot()
    assert suite.attrib["tests"] == "2"
    skipped = [case.attrib["name"] for case in suite if case.find("skipped") is not None]
    assert "ttft_p95_ms: < 60000" in skipped
    junit.unlink()
    (folder,) = (tmp_path / "runs").iterdir()
    assert call("resume", folder, *common, "--undecided", "pass") == 0
    assert call("resume", folder, *common, "--undecided", "fail") == 1
    assert junit.exists()
    page = read((folder / "report.html").read_text("utf-8"))
    assert data_of(page)["trace_url"] == "https://traces.example/{trace_id}"  # as the config says


def test_a_place_for_junit_is_tried_before_anything_is_sent(tmp_path: Path) -> None:
    """A run that was paid for should not end on a mistyped folder."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    with pytest.raises(InputError) as caught:
        call("run", tmp_path / "c.yaml", "--output", tmp_path / "runs", "--junit", tmp_path / "nowhere" / "j.xml")
    assert [problem.where for problem in caught.value.problems] == ["--junit"]
    assert not (tmp_path / "runs").exists()
