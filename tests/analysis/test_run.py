"""The journal loses nothing, and a folder is read back however its run ended."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sentences import numbers_in

import streambench
from streambench.analysis.run import load
from streambench.analysis.summary_files import to_csv, write_summary
from streambench.errors import DiskError, ResultsError, SchemaError
from streambench.records.journal import Journal
from streambench.records.run_folder import END, HEADER, RECORDS
from streambench.records.schema import SCHEMA, to_line
from streambench.testing import make_end, make_header, make_record
from streambench.text import for_file_name

RECORD_LIST = [make_record(seq=seq, model="αβ\n") for seq in range(3)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "results", make_header("alpha", name="Chat: latency!"))


def finished(parent: Path) -> Path:
    """A whole run of three records."""
    with Journal.create(parent, make_header("alpha")) as journal:
        for record in RECORD_LIST:
            journal.append(record)
        journal.close(make_end())
    return journal.folder


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Header, records in order, end, and nothing to warn of."""
    folder = finished(tmp_path)
    run = load(folder)
    assert run.header == make_header("alpha", run_id=folder.name)
    assert list(run.records) == RECORD_LIST
    assert run.end == make_end()
    assert run.warnings == ()


def test_the_package_loads_a_run(tmp_path: Path) -> None:
    """`streambench.load` is the public door, and it takes a string."""
    assert streambench.load(str(finished(tmp_path))).records


# --- folders


def test_a_folder_is_named_by_run_time_and_id(journal: Journal) -> None:
    """1.8e9 s after 1970 is 2027-01-15 08:00:00 UTC."""
    name, wall, short = journal.folder.name.rsplit("-", 2)
    assert (name, wall) == ("chat-latency", "20270115T080000Z")
    assert len(short) == 6
    assert journal.header.run_id == journal.folder.name


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    """Two runs at once into the same parent."""
    folders = {Journal.create(tmp_path, make_header("alpha")).folder for _ in range(50)}
    assert len(folders) == 50


def test_a_taken_id_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing folder is never written into."""
    ids = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(ids))
    first, second = (Journal.create(tmp_path, make_header("alpha")).folder for _ in range(2))
    assert first.name.endswith("aaaaaa")
    assert second.name.endswith("bbbbbb")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Chat: latency!", "chat-latency"),
        ("../../etc/passwd", "etc-passwd"),
        ("/", "run"),
        ("", "run"),
        ("моделі", "run"),
        ("Café", "cafe"),
        ("a\0b\nc", "a-b-c"),
        ("x" * 500, "x" * 40),
        ("x" * 39 + "-y", "x" * 39),
    ],
)
def test_a_name_is_safe_in_a_path(name: str, safe: str) -> None:
    """No separators, dots, controls or endless length."""
    assert for_file_name(name) == safe


def test_a_parent_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    """With the mend."""
    (tmp_path / "results").write_text("")
    with pytest.raises(ResultsError, match=r"^cannot create a results folder in .*results: .*--output DIR$"):
        Journal.create(tmp_path / "results", make_header("alpha"))


def test_files_follow_the_umask(tmp_path: Path) -> None:
    """Neither private to us nor open to all: as any other file of the user's."""
    before = os.umask(0o027)
    try:
        folder = finished(tmp_path)
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {HEADER: 0o640, RECORDS: 0o640, END: 0o640}


# --- a journal under fire


def test_a_record_is_on_file_when_append_returns(journal: Journal) -> None:
    """Nothing waits in a buffer of ours."""
    journal.append(RECORD_LIST[0])
    assert (journal.folder / RECORDS).read_text() == to_line(RECORD_LIST[0]) + "\n"


def test_a_killed_process_loses_no_record(tmp_path: Path) -> None:
    """kill -9 by its own hand after 20 appends: no exit handler, no flush."""
    program = """
import os, signal, sys
from streambench.records.journal import Journal
from streambench.testing import make_header, make_record
journal = Journal.create(sys.argv[1], make_header("alpha"))
for seq in range(20):
    journal.append(make_record(seq=seq))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert ran.returncode == -9
    run = load(next(tmp_path.iterdir()))
    assert [record.ticket.seq for record in run.records] == list(range(20))
    assert run.end is None
    assert run.warnings == ()


def test_a_journal_torn_anywhere_keeps_every_whole_record(tmp_path: Path) -> None:
    """Cut at each byte of the last line: two records are left, or three where only the line's end is missing."""
    folder = finished(tmp_path)
    whole = (folder / RECORDS).read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole) + 1):
        (folder / RECORDS).write_bytes(whole[:cut])
        run = load(folder)
        complete = cut >= len(whole) - 1
        assert list(run.records) == RECORD_LIST[: 3 if complete else 2], cut
        torn = [] if complete or cut == start else [[3, cut - start]]  # the line, and its bytes
        assert [numbers_in(warning) for warning in run.warnings] == torn, cut


@pytest.mark.parametrize("junk", [b"{", b"\0\0\0", b"\xff\xfe", b"[1]", b'{"ticket": {"seq": 1}}', b"[" * 100_000])
def test_a_corrupt_line_is_skipped_and_told_of(tmp_path: Path, junk: bytes) -> None:
    """The records around it are kept."""
    folder = finished(tmp_path)
    lines = (folder / RECORDS).read_bytes().splitlines(keepends=True)
    (folder / RECORDS).write_bytes(b"".join([lines[0], junk + b"\n", *lines[1:]]))
    run = load(folder)
    assert list(run.records) == RECORD_LIST
    (warning,) = run.warnings
    assert warning.startswith(f"{RECORDS} ")
    assert numbers_in(warning)[0] == 2


def test_what_was_skipped_is_told_in_words(tmp_path: Path) -> None:
    """The only test of these words: half a line, and a journal that is not there."""
    folder = finished(tmp_path)
    first = (folder / RECORDS).read_bytes().splitlines(keepends=True)[0]
    (folder / RECORDS).write_bytes(first + first[:9])
    assert load(folder).warnings == (f"{RECORDS} line 2 skipped: cut off after 9 bytes",)
    (folder / RECORDS).unlink()
    assert load(folder).warnings == (f"{RECORDS} is missing: no attempt was recorded",)


def test_a_record_whose_columns_differ_in_length_is_corrupt(tmp_path: Path) -> None:
    """It would pair arrivals with the wrong chunks."""
    folder = finished(tmp_path)
    plain = json.loads(to_line(RECORD_LIST[0]))
    plain["timeline"]["read"].pop()
    (folder / RECORDS).write_text(json.dumps(plain) + "\n")
    run = load(folder)
    assert run.records == ()
    assert [numbers_in(warning)[0] for warning in run.warnings] == [1]


def test_a_full_disk_is_one_clear_line() -> None:
    """/dev/full is a real device that answers every write with ENOSPC."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    journal = Journal(Path("run"), make_header("alpha"), os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(DiskError, match=r"^cannot write to run/records.jsonl: No space left.*0 records are kept$"):
        journal.append(RECORD_LIST[0])


def test_a_line_that_did_not_fit_is_taken_back(tmp_path: Path) -> None:
    """A file limit of one and a half lines makes the kernel write half a line: the half goes, the first line stays."""
    size = len(to_line(RECORD_LIST[0])) + 1
    program = f"""
import resource, sys
from streambench.errors import DiskError
from streambench.records.journal import Journal
from streambench.testing import make_header, make_record
journal = Journal.create(sys.argv[1], make_header("alpha"))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size} * 3 // 2, hard))
journal.append(make_record(seq=0, model="αβ\\n"))
try:
    journal.append(make_record(seq=1, model="αβ\\n"))
except DiskError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
journal.append(make_record(seq=2, model="αβ\\n"))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60, capture_output=True, text=True
    )
    assert "its 1 records are kept" in ran.stdout
    run = load(next(tmp_path.iterdir()))
    assert list(run.records) == [RECORD_LIST[0], RECORD_LIST[2]]
    assert run.warnings == ()


def append_without_end(journal: Journal) -> None:
    long = make_record(text="x" * 9_999)  # a pipe takes up to 4,096 bytes whole or not at all
    while True:
        journal.append(long)


def test_a_half_line_that_cannot_be_taken_back_is_fenced_off(tmp_path: Path) -> None:
    """Where the file refuses to be cut, the next record starts on a line of its own."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    journal = Journal(tmp_path, make_header("alpha"), write)
    with pytest.raises(DiskError, match="Resource temporarily unavailable"):
        append_without_end(journal)
    filled = os.read(read, 1 << 20)
    journal.append(RECORD_LIST[1])
    assert not filled.endswith(b"\n")
    assert os.read(read, 1 << 20) == f"\n{to_line(RECORD_LIST[1])}\n".encode()


def test_appending_after_the_close_is_refused(journal: Journal) -> None:
    """Closing twice is not."""
    journal.close(make_end())
    journal.close()
    with pytest.raises(DiskError, match="the journal is closed"):
        journal.append(RECORD_LIST[0])


def test_a_folder_taken_away_is_told_at_the_close(journal: Journal) -> None:
    """The end cannot be written; no traceback for that."""
    for file in journal.folder.iterdir():
        file.unlink()
    journal.folder.rmdir()
    with pytest.raises(DiskError, match=r"^cannot finish .*: No such file"):
        journal.close(make_end())


# --- folders that are no run


def test_a_run_that_goes_on_can_be_read(journal: Journal) -> None:
    """It has no end yet, and that is nothing to warn of."""
    journal.append(RECORD_LIST[0])
    run = load(journal.folder)
    assert (len(run.records), run.end, run.warnings) == (1, None, ())


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, "no such folder"),
        ({}, "is not the folder of a run: it has no run.json"),
        ({HEADER: ""}, "is not the header of a run"),
        ({HEADER: "[]"}, "is not the header of a run"),
        ({HEADER: '{"schema": 1}'}, "is not the header of a run"),
        ({HEADER: "{" * 10}, "is not the header of a run"),
    ],
)
def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, files: Mapping[str, str] | None, says: str) -> None:
    """With the folder's name."""
    folder = tmp_path / "x"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    with pytest.raises(ResultsError, match=says) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """Someone gives records.jsonl itself."""
    (tmp_path / "x").write_text("")
    with pytest.raises(ResultsError, match="is not a folder"):
        load(tmp_path / "x")


def test_a_run_of_a_newer_schema_is_named(tmp_path: Path) -> None:
    """With the folder, so that one of many can be found."""
    folder = finished(tmp_path)
    plain = json.loads((folder / HEADER).read_text())
    (folder / HEADER).write_text(json.dumps(plain | {"schema": SCHEMA + 1}))
    with pytest.raises(SchemaError, match=f"^{folder}: this run has schema {SCHEMA + 1}"):
        load(folder)


def test_a_missing_journal_is_a_run_without_records(tmp_path: Path) -> None:
    """Killed between the header and the journal."""
    folder = finished(tmp_path)
    (folder / RECORDS).unlink()
    run = load(folder)
    assert run.records == ()
    assert [warning.partition(" ")[0] for warning in run.warnings] == [RECORDS]


@pytest.mark.parametrize("text", ["", "[]", "{}", "3"])
def test_a_corrupt_end_is_told_of(tmp_path: Path, text: str) -> None:
    """The records are worth more than the end."""
    folder = finished(tmp_path)
    (folder / END).write_text(text)
    run = load(folder)
    assert run.end is None
    assert [warning.partition(" ")[0] for warning in run.warnings] == [END]


def test_frames_are_built_once(tmp_path: Path) -> None:
    """And only when asked for."""
    run = load(finished(tmp_path))
    assert run.attempts is run.attempts
    assert (len(run.attempts), len(run.requests), len(run.chunks)) == (3, 3, 15)


def test_reading_records_does_not_load_pandas(tmp_path: Path) -> None:
    """Half a second that a reader of plain records need not pay."""
    program = "import sys, streambench; streambench.load(sys.argv[1]); print('pandas' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program, str(finished(tmp_path))], check=True, timeout=60, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "False"


# --- the summary's files


class TwoRows:
    def to_plain(self) -> Mapping[str, Any]:
        return {"schema": 1, "p99": None}

    def to_rows(self) -> Sequence[Mapping[str, Any]]:
        return [{"model": "=1+1", "n": -3, "p99": None}, {"model": "fine", "n": 4, "p99": 0.5}]


def test_the_summary_is_written_as_json_and_csv(tmp_path: Path) -> None:
    """Null in the one is an empty cell in the other; no draft is left behind."""
    write_summary(tmp_path, TwoRows())
    assert json.loads((tmp_path / "summary.json").read_text()) == {"schema": 1, "p99": None}
    assert (tmp_path / "summary.csv").read_bytes().decode() == "model,n,p99\r\n'=1+1,-3,\r\nfine,4,0.5\r\n"
    assert {file.name for file in tmp_path.iterdir()} == {"summary.json", "summary.csv"}


def test_a_summary_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    """One line, and no traceback after an hour of measuring."""
    with pytest.raises(DiskError, match="cannot write the summary into"):
        write_summary(tmp_path / "gone", TwoRows())


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_formula_in_a_text_is_inert(text: str) -> None:
    """A quote before it makes a spreadsheet show it."""
    assert list(csv.reader(io.StringIO(to_csv([{"a": text}]), newline="")))[1] == [f"'{text}"]


def test_a_negative_number_stays_a_number() -> None:
    """It starts with - and is no formula."""
    assert to_csv([{"a": -1.5}]) == "a\r\n-1.5\r\n"


def test_an_empty_table_is_an_empty_file() -> None:
    """A run without models."""
    assert to_csv([]) == ""
