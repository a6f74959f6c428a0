"""`streambench plot`: figures as files, safely named, and each that is left out with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from report.figures.runs import HOSTILE, answer, header_of

from streambench.cli.main import commands
from streambench.errors import DiskError, InputError
from streambench.records.journal import Journal
from streambench.testing import make_end


def folder_of(parent: Path, models: tuple[str, ...] = ("alpha", "beta"), *, ended: bool = True) -> Path:
    with Journal.create(parent, header_of(models, {}, price=False)) as journal:
        for seq in range(3 * len(models)):
            prompt = f"p{seq // len(models)}"
            journal.append(answer(seq, models[seq % len(models)], prompt, block=seq // len(models), gaps=[10, 10]))
        journal.close(make_end() if ended else None)
    return journal.folder


def plot(*args: str | Path) -> Result:
    result = CliRunner().invoke(commands, ["plot", *map(str, args)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def test_every_figure_of_a_run_that_goes_on_is_written_or_said_to_be_left_out(tmp_path: Path) -> None:
    """Into plots/ of its folder, though its journal has a torn line and no end."""
    from streambench.report.figures.catalogue import FIGURES

    folder = folder_of(tmp_path, ended=False)
    with (folder / "records.jsonl").open("ab") as out:
        out.write(b'{"ticket": {"seq"')
    result = plot(folder)
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert {path.parent for path in paths} == {folder / "plots"}
    left = [line.split(": ")[1] for line in result.stderr.splitlines() if line.startswith("left out: ")]
    assert sorted([path.stem for path in paths] + left) == sorted(FIGURES)
    assert "cost-speed" in left
    assert "records.jsonl" in result.stderr


def test_hostile_names_stay_inside_the_figures(tmp_path: Path) -> None:
    """Files are named by the figure alone, and an SVG holds no script."""
    folder = folder_of(tmp_path, HOSTILE[:4])
    plot(folder, "--figure", "ttft-ecdf", "--format", "svg", "--format", "png", "--output", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ttft-ecdf.png", "ttft-ecdf.svg"]
    svg = (tmp_path / "out" / "ttft-ecdf.svg").read_text("utf-8")
    assert "<script" not in svg
    assert "\x1b" not in svg


def test_several_runs_have_a_folder_each(tmp_path: Path) -> None:
    """Also two of one name, from two places."""
    one = folder_of(tmp_path / "a")
    two = folder_of(tmp_path / "b").rename(tmp_path / "b" / one.name)
    result = plot(one, two, "--figure", "outcomes", "--output", tmp_path / "out")
    found = [tmp_path / "out" / name / "outcomes.png" for name in (one.name, f"{one.name}-2")]
    assert result.stdout.split() == list(map(str, found))
    assert all(path.exists() for path in found)


def test_a_name_that_is_no_figures_is_told_with_the_nearest(tmp_path: Path) -> None:
    """Before anything is drawn."""
    folder = folder_of(tmp_path)
    with pytest.raises(InputError) as caught:
        plot(folder, "--figure", "outcome", "--figure", "lags")
    (problem,) = caught.value.problems
    assert (problem.where, problem.found) == ("--figure", "'outcome'")
    assert "`outcomes`" in problem.message
    assert "ttft-ecdf" in str(problem.accepted)
    assert not (folder / "plots").exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """With its path."""
    folder = folder_of(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(DiskError, match="taken"):
        plot(folder, "--figure", "lags", "--output", tmp_path / "taken")
