"""`streambench report`: pages for runs on the disk, and what a run's end does when its page cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from report.figures.runs import answer, header_of
from report.pages import alerts, read, verdict

from streambench.analysis.run import load
from streambench.cli.main import commands
from streambench.cli.output import at_the_end
from streambench.errors import InputError
from streambench.records.journal import Journal
from streambench.report.terminal import STATUS
from streambench.testing import make_end


def folder_of(parent: Path, *, ended: bool = True) -> Path:
    """A run of two models on two prompts, on the disk."""
    with Journal.create(parent, header_of(("alpha", "beta"), {}, requests_planned=4)) as journal:
        for seq in range(4):
            journal.append(answer(seq, ("alpha", "beta")[seq % 2], f"p{seq // 2}", block=seq // 2, gaps=[10, 10]))
        journal.close(make_end() if ended else None)
    return journal.folder


def invoke(*args: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(commands, ["report", *map(str, args)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.output


def test_a_page_in_the_runs_folder(tmp_path: Path) -> None:
    """The verdict is printed, and where the page is."""
    folder = folder_of(tmp_path)
    code, output = invoke(folder)
    assert code == 0
    assert output.endswith(f"Report: {folder / 'report.html'}\n")
    said = verdict(read((folder / "report.html").read_text("utf-8")))
    assert " ".join(said["First token"].split()) in " ".join(output.split())


def test_several_runs_have_a_page_each(tmp_path: Path) -> None:
    """And one place for all of them is refused."""
    folders = [folder_of(tmp_path), folder_of(tmp_path)]
    invoke(*folders)
    assert all((folder / "report.html").exists() for folder in folders)
    with pytest.raises(InputError) as caught:
        invoke(*folders, "--output", tmp_path / "x.html")
    assert [problem.where for problem in caught.value.problems] == ["--output"]


def test_another_place(tmp_path: Path) -> None:
    """`--output` leaves the run's folder as it was."""
    folder = folder_of(tmp_path)
    invoke(folder, "--output", tmp_path / "x.html")
    assert (tmp_path / "x.html").exists()
    assert not (folder / "report.html").exists()


def test_a_torn_journal_of_a_run_that_goes_on(tmp_path: Path) -> None:
    """Half a line is told, the rest is a true page."""
    folder = folder_of(tmp_path, ended=False)
    with (folder / "records.jsonl").open("ab") as out:
        out.write(b'{"ticket": {"seq"')
    invoke(folder)
    page = read((folder / "report.html").read_text("utf-8"))
    assert STATUS["unfinished"] in alerts(page)[0]
    assert "records.jsonl" in alerts(page)[1]


def test_markdown(tmp_path: Path) -> None:
    """To the terminal, or to a file."""
    folder = folder_of(tmp_path)
    _, output = invoke(folder, "--markdown")
    assert output.startswith("## test\n")
    invoke(folder, "--markdown", "--output", tmp_path / "x.md")
    assert (tmp_path / "x.md").read_text("utf-8").strip() == output.strip()


def test_a_page_that_cannot_be_written_is_one_line_at_a_runs_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run stands without its page."""
    folder = folder_of(tmp_path)
    (folder / "report.html").mkdir()
    at_the_end(load(folder), folder, aloud=True)
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("warning: ")
    assert "report.html" in said.err
    assert "Report:" not in said.out
