"""Every figure on every run: drawn or left out with a reason, small, alike each time, and nothing cut off."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from home import ROOT
from matplotlib.text import Text
from sentences import numbers_in

from report.figures.drawing import drawn, every_drawn, lines, material, outcome, run, svg, x_of
from report.figures.runs import RUNS, answer, header_of, rich
from streambench.report.figures import catalogue
from streambench.report.figures import data as materials
from streambench.report.figures.figure import DrawnFigure, SkippedFigure
from streambench.testing import run_of

SVG_LIMIT = 250_000


@pytest.mark.parametrize("name", RUNS)
def test_each_figure_is_drawn_or_left_with_a_reason(name: str) -> None:
    """No run breaks one, none warns, and no sentence tells of an unknown number."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [outcome(name, figure) for figure in catalogue.FIGURES]
    for each in found:
        if isinstance(each, SkippedFigure):
            assert each.why
            continue
        assert each.sentence.endswith("."), each
        assert each.alt.endswith(each.sentence)
        assert len(each.alt) > len(each.sentence)
        assert "nan" not in each.sentence.split(), each
        assert "inf" not in each.sentence.split(), each


def test_names_are_those_of_the_table() -> None:
    """`FIGURES` names each as the figure names itself."""
    assert [each.name for each in catalogue.all_figures(run("one_request"))] == list(catalogue.FIGURES)


def test_each_is_described_in_the_docs() -> None:
    """docs/figures.md has a row for each, in the order of `FIGURES`."""
    page = (Path(__file__).parents[3] / "docs" / "figures.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|", page.split("Two more figures")[0], re.MULTILINE)
    assert rows == list(catalogue.FIGURES)


@pytest.mark.parametrize(
    ("name", "figure", "why"),
    [
        ("empty", "outcomes", "no measured request was recorded"),
        ("only_warm", "outcomes", "no measured request was recorded"),
        ("all_failed", "ttft-ecdf", "no measured request was ok"),
        ("all_failed", "waterfall", "no measured request was ok"),
        ("one_chunk", "chunk-gaps", "no chunk gap was observed"),
        ("buffered", "gap-heatmap", "no chunk gap was observed"),
        ("buffered", "cost-speed", "no model with a known cost has a known output speed"),
        ("no_usage", "cost-speed", "no model has a known cost"),
        ("bare", "ttft-by-prompt-length", "does not say how long its prompts are"),
        ("one_request", "ttft-by-prompt-length", "prompts of at least 3 lengths are needed, and there are 1"),
        ("one_request", "findings", "no request had a finding"),
    ],
)
def test_what_has_nothing_true_to_show_is_left_out(name: str, figure: str, why: str) -> None:
    """The reason says what is missing."""
    found = outcome(name, figure)
    assert isinstance(found, SkippedFigure)
    assert why in found.why


def test_a_failed_run_still_shows_its_failures() -> None:
    """Outcomes, the course of the run and the lags are about failed requests too."""
    assert [each.name for each in every_drawn("all_failed")] == ["outcomes", "latency-over-time", "lags"]


@pytest.mark.parametrize("name", ["rich", "ten", "forty", "hostile", "one_request"])
def test_nothing_is_cut_off(name: str) -> None:
    """Every text lies inside the figure, up to a pixel and a half."""
    for each in every_drawn(name):
        each.figure.draw_without_rendering()  # as an SVG, it was laid out at that one's resolution
        whole = each.figure.bbox
        for text in _shown_texts(each):
            box = text.get_window_extent()
            told = (each.name, text.get_text(), box, whole)
            assert box.x0 >= whole.x0 - 1.5, told
            assert box.x1 <= whole.x1 + 1.5, told
            assert box.y0 >= whole.y0 - 1.5, told
            assert box.y1 <= whole.y1 + 1.5, told


@pytest.mark.parametrize("name", ["rich", "ten", "forty", "hostile"])
def test_title_and_note_stand_clear(name: str) -> None:
    """No axes, with its labels, reaches into the title or into the note."""
    for each in every_drawn(name):
        title, note = (text.get_window_extent() for text in each.figure.texts)
        boxes = [axes.get_tightbbox() for axes in each.figure.axes if axes.get_visible()]
        assert min(box.y0 for box in boxes if box) >= note.y1 - 2, each.name
        assert max(box.y1 for box in boxes if box) <= title.y0 + 2, each.name


def _shown_texts(each: DrawnFigure) -> list[Text]:
    """All but ticks out of view and hidden panels."""
    hidden: set[int] = set()
    for axes in each.figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not axes.get_visible() or not low <= tick.get_loc() <= high:
                    hidden |= {id(tick.label1), id(tick.label2)}
    found = [one for one in each.figure.findobj(Text) if isinstance(one, Text)]
    return [one for one in found if one.get_text() and one.get_visible() and id(one) not in hidden]


@pytest.mark.parametrize("name", ["ten", "forty", "no_usage", "resumed"])
def test_no_text_is_unfinished(name: str) -> None:
    """No placeholder, no doubled space, no unknown number in any text."""
    for each in every_drawn(name):
        for text in (each.sentence, each.alt, *(text.get_text() for text in _shown_texts(each))):
            assert not any(mark in text for mark in ("{", "}", "nan", "None", "<NA>")), (each.name, text)
            assert ". ." not in text
            assert "  " not in text or " ms" in text or "/s" in text or "median" in text or "only" in text, (
                each.name,
                text,
            )


@pytest.mark.parametrize("name", ["ten", "forty"])
def test_files_stay_small(name: str) -> None:
    """Ten models, and forty: each SVG under 250 KB."""
    sizes = {each.name: len(svg(name, each.name)) for each in every_drawn(name)}
    assert max(sizes.values()) < SVG_LIMIT, sizes


def test_a_large_run_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of an even sample only, dots of an even sample only, and both are said; medians are of all."""
    models, each = ["alpha", "beta"], 1_000
    rows = [
        answer(n, models[n % 2], f"p{n % 50}", block=n // 2, ttft=100 + n % 17, gaps=(12, 14, 16))
        for n in range(2 * each)
    ]
    whole = catalogue.FigureData.of(run_of(rows, header_of(models, {f"p{n}": 50 + n for n in range(50)})))
    chunks = whole.chunks("alpha")
    assert len(chunks.seqs) == materials.SAMPLED_REQUESTS
    assert (chunks.seqs[0], chunks.seqs[-1], chunks.ok) == (0, 2 * each - 2, each)
    over_time = catalogue.FIGURES["latency-over-time"](whole)
    assert isinstance(over_time, DrawnFigure)
    assert [len(x_of(lines(over_time, model)[0])) for model in models] == [750, 750]  # 1,500 over two models
    assert 1_500 in numbers_in(over_time.figure.texts[1].get_text())
    pace = catalogue.FIGURES["pace"](whole)
    assert isinstance(pace, DrawnFigure)
    assert materials.SAMPLED_REQUESTS in numbers_in(pace.figure.texts[1].get_text())
    assert len(catalogue.to_svg(over_time)) < SVG_LIMIT
    monkeypatch.setattr(materials, "SAMPLED_CHUNKS", 100)
    assert len(catalogue.FigureData.of(run_of(rows, whole.header)).chunks("alpha").seqs) == 20  # of 5 chunks each


def test_the_same_run_gives_the_same_bytes() -> None:
    """Drawn anew from the run: PNG and SVG alike."""
    for figure in catalogue.FIGURES:
        again = catalogue.FIGURES[figure](rich())
        if isinstance(again, DrawnFigure):
            assert catalogue.to_svg(again) == svg("rich", figure), figure
            assert catalogue.to_png(again) == catalogue.to_png(drawn("rich", figure)), figure


def test_another_process_gives_the_same_bytes() -> None:
    """Neither the hash seed nor the time goes into a file; pyplot is not imported on the way."""
    program = (
        "import hashlib, sys; from report.figures.runs import rich\n"
        "from streambench.report.figures import catalogue\n"
        "text = ''.join(catalogue.to_svg(f) for f in catalogue.all_figures(rich())"
        " if isinstance(f, catalogue.DrawnFigure))\n"
        "print(hashlib.sha256(text.encode()).hexdigest(), 'matplotlib.pyplot' in sys.modules)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=ROOT / "tests",
            env={"PYTHONPATH": str(ROOT / "tests"), "PYTHONHASHSEED": seed, "MPLBACKEND": "agg"},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert told.pop().split()[1] == "False"


def test_global_settings_stay_as_they_were(tmp_path: Path) -> None:
    """Drawing and writing leave rcParams alone, and a user's own do not show."""
    with matplotlib.rc_context({"font.size": 20.0, "lines.linewidth": 9.0, "text.parse_math": True}):
        before = dict(matplotlib.rcParams)
        found = catalogue.FIGURES["outcomes"](material("rich"))
        assert isinstance(found, DrawnFigure)
        catalogue.save(found, tmp_path)
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "outcomes.svg").read_text("utf-8") == svg("rich", "outcomes")


def test_files_have_safe_names(tmp_path: Path) -> None:
    """A name becomes a slug in the folder, which is made."""
    found = drawn("one_request", "outcomes")
    odd = DrawnFigure("../../odd name\n", found.title, found.sentence, found.figure, found.alt)
    paths = catalogue.save(odd, tmp_path / "a" / "b")
    assert paths == (tmp_path / "a" / "b" / "odd-name.png", tmp_path / "a" / "b" / "odd-name.svg")
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert np.frombuffer(paths[0].read_bytes()[16:20], ">u4")[0] == 1290  # 8.6 inches of 150 dots
