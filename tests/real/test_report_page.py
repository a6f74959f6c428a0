"""The page in a real browser: it asks for nothing, says nothing, and sorts, filters and opens as it promises.

Screenshots are left in the test's folder, to be looked at: `--basetemp` says where.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from analysis.made import header, noisy
from parts import Environment
from report.figures.runs import HOSTILE, rich

from streambench.analysis.check import check_assertions
from streambench.analysis.compare import compare_runs
from streambench.analysis.trend import point_of, trend
from streambench.metrics.assertions import parse_text
from streambench.report.page import render_page
from streambench.report.runs_page import compared_html, trend_html
from streambench.testing import run_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

ENVIRONMENT = Environment(".venv-browser", "browser.txt")
AXE = "axe-core@4.14.1"
MODELS = ("alpha", "beta", HOSTILE[0])
NAMES = ("alpha", *HOSTILE[:2])


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine: apt-get install chromium fonts-dejavu-core")
    assert found, "install chromium"
    return found


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """axe-core's script, fetched by npm where there is one; kept beside the environment."""
    kept = ENVIRONMENT.folder / f"{AXE}.js"
    if kept.exists():
        return kept
    if shutil.which("npm") is None:
        return None
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run(["npm", "pack", AXE], cwd=folder, capture_output=True, timeout=120, check=False)
    archive = next(folder.glob("*.tgz"), None)
    if packed.returncode or archive is None:
        return None
    with tarfile.open(archive) as tar:
        member = tar.extractfile("package/axe.min.js")
        assert member is not None
        kept.write_bytes(member.read())
    return kept


@pytest.fixture(scope="module")
def built() -> None:
    ENVIRONMENT.build()


def compared_page() -> str:
    """Of two runs with hostile models, against their base, with assertions."""
    slowed = (None, None, "alpha")
    base, *news = (
        run_of(noisy(seed, model, NAMES, 12, 3), header(NAMES), name=f"run-{seed}") for seed, model in enumerate(slowed)
    )
    judged = [check_assertions(new, [parse_text("ttft_p50: < 5%")], base) for new in news]
    return compared_html([compare_runs(base, new) for new in news], judged)


def trend_page() -> str:
    """Of nine days."""
    points = []
    for day in range(9):
        head = header(NAMES, wall_ns=(10**9 + day * 86_400) * 10**9)
        points.append(point_of(run_of(noisy(day, None, NAMES, 6, 1), head, name=f"run-{day}")))
    return trend_html(trend(points))


@pytest.fixture(scope="module")
def visit(built: None, chromium: str, axe: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("page")
    page = folder / "report.html"
    page.write_text(render_page(rich(MODELS, prompts=14), trace_url="https://traces.example/{trace_id}"), "utf-8")
    plain = {folder / "compared.html": compared_page(), folder / "trend.html": trend_page()}
    for path, text in plain.items():
        path.write_text(text, "utf-8")
    program = Path(__file__).parent / "browse.py"
    command = [ENVIRONMENT.python, str(program), chromium, str(page), str(folder), str(axe or ""), *map(str, plain)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout) | {"folder": folder, "page": page.as_uri()}


def test_it_asks_for_nothing_else(visit: Any) -> None:
    """Only for itself, and for what it carries inside; nor does a page of several runs."""
    pages = {visit["page"], *(Path(each).as_uri() for each in visit["plain"])}
    assert {url for url in visit["requests"] if not url.startswith("data:")} == pages


def test_it_says_nothing(visit: Any) -> None:
    """No error, no warning, no dialog of a name that is a script."""
    assert visit["said"] == []


def test_the_leaderboard_sorts_and_filters(visit: Any) -> None:
    """A head sorts up, then down, and says so; a filter ignores case."""
    board = visit["leaderboard"]
    assert sorted(board["first"]) == sorted(MODELS)
    assert board["up"] == list(MODELS)
    assert board["down"] == list(MODELS)[::-1]
    assert board["said"] == ["ascending", "descending"]
    assert board["kept"] == board["first"][:1]
    assert board["count"] == "1 of 3 models"


def test_a_request_is_found_and_opened(visit: Any) -> None:
    """By outcome, model and number; its lane has a mark a chunk, and its trace a link."""
    explorer = visit["explorer"]
    assert explorer["every"] == "126 of 126 requests, 50 shown"
    assert explorer["after_more"] == 100
    assert explorer["failed"]
    assert set(explorer["failed"]) == {"http_error"}
    assert explorer["of_model"] == ["beta"]
    assert explorer["found"] >= 1
    assert explorer["marks"] >= 12
    assert len(explorer["links"]) == 1
    assert explorer["links"][0].startswith("https://traces.example/0000")
    assert explorer["closed"] == 0


def test_the_keyboard_does_it_too(visit: Any) -> None:
    """The first stop skips to the verdict; a head is sorted by Enter; the focus is seen."""
    assert visit["keyboard"] == {"skip": "Skip to the verdict", "sort": "ascending", "outline": "solid"}


def test_without_scripts_tables_and_figures_remain(visit: Any) -> None:
    """And no control that would do nothing."""
    found = visit["unscripted"]
    assert (found["rows"], found["static"], found["controls"]) == (3, 10, 0)
    assert found["figures"] >= 10


@pytest.mark.parametrize("look", ["light", "dark", "phone", "print"])
def test_nothing_sticks_out(visit: Any, look: str) -> None:
    """Wide tables scroll inside themselves; the page never does sideways."""
    content, window = visit["widths"][look]
    assert content <= window
    assert (visit["folder"] / f"{look}.png").stat().st_size > 50_000


def test_axe_finds_no_fault(visit: Any) -> None:
    """In light, dark and on a phone, with a request open."""
    if visit["faults"] is None:
        pytest.skip("axe-core cannot be had here: npm pack failed")
    assert visit["faults"] == []
    assert [each["faults"] for each in visit["plain"].values()] == [[], []]


def test_pages_of_several_runs_fit_every_screen(visit: Any) -> None:
    """In light, dark and on a phone, each with its figure, and no wider than the window."""
    assert len(visit["plain"]) == 2
    for found in visit["plain"].values():
        assert found["figures"] == [1, 1, 1]
        assert all(content <= window for content, window in found["widths"])
