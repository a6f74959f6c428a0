"""One request in the terminal: its line, numbers and facts, at any width, whatever its names are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from sentences import numbers_in

from streambench.analysis.measured import RunFacts
from streambench.cli.main import commands
from streambench.errors import InputError
from streambench.records.journal import Journal
from streambench.records.schema import Failure, Usage
from streambench.report.request_timeline import lane_text
from streambench.testing import MS, make_end, make_header, make_record

HEADER = make_header("alpha")
FACTS = RunFacts(HEADER)
REFUSED = make_record(attempt=1, kinds="", at_ms=(), failure=Failure("http_error", "slow\x1b[31m down", status=429))


def lane(*records: Any, width: int = 52) -> list[str]:
    return lane_text(FACTS, records, width).splitlines()


def test_chunks_stand_where_they_came() -> None:
    """50 cells of 2 ms: headers at 20 ms, a role at 40, content at 60, 62 and 80, usage at 98, over at 100."""
    record = make_record(
        kinds="rcccu", at_ms=(40, 60, 61, 80, 98), headers_ns=20 * MS, last_byte_ns=99 * MS, ended_ns=100 * MS
    )
    (line,) = [line for line in lane(record) if line.startswith("|")]
    assert line == "|" + "-" * 10 + "~" * 10 + "r" + "." * 9 + "C" + "." * 9 + "c" + "." * 8 + "u|"


def test_the_scale_ends_at_the_end() -> None:
    """0, half of it, all of it."""
    record = make_record(kinds="c", at_ms=(50,), ended_ns=100 * MS)
    lines = lane(record)
    scale = next(after for line, after in pairwise(lines) if line.startswith("|"))
    assert scale.split() == ["0", "50.0", "100", "ms"]
    assert len(scale) == 52


def test_times_outcome_and_tokens_are_told() -> None:
    """TTFT 100 ms, E2E 140 ms."""
    text = " ".join(lane(make_record(usage=Usage(input=10, output=3, source="gateway")), width=200))
    for part in ("Outcome: ok", "TTFT 100 ms", "E2E 140 ms", "Tokens: 10 input, 3 output", "Finish reason: stop"):
        assert part in text


def test_how_it_was_asked_is_told_where_that_is_not_by_a_streamed_chat() -> None:
    """The API, and that no stream was wanted."""
    records = (make_record(), make_record(api="responses", streamed=False))
    assert [lane(record, width=100)[0] for record in records] == [
        "Request 0: alpha on gateway demo",
        "Request 0: alpha on gateway demo, responses API, not streamed",
    ]


def test_every_attempt_has_its_own_lane() -> None:
    """Refused at first, fine then."""
    lines = lane(REFUSED, make_record(attempt=2))
    assert [line.split(",")[0] for line in lines if line.startswith("Attempt")] == ["Attempt 1 of 2", "Attempt 2 of 2"]
    assert sum(line.startswith("|") for line in lines) == 2


def test_findings_come_with_their_facts() -> None:
    """A stall of two seconds."""
    record = make_record(kinds="ccc", at_ms=(100, 2_200, 2_220))
    assert any(line.startswith("Finding stalled: ") for line in lane(record))


@pytest.mark.parametrize("width", [10, 40, 57, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Nor with wide characters and a name of 500."""
    ticket = replace(make_record().ticket, model="漢" * 500, prompt_id="\x1b[2J" + "y" * 500)
    text = lane_text(FACTS, [REFUSED, make_record(ticket=ticket, attempt=2)], width)
    assert max(map(cell_len, text.splitlines())) <= max(40, width)
    assert "\x1b" not in text


def written(folder: Path) -> str:
    with Journal.create(folder, HEADER) as journal:
        for seq in (3, 4):
            journal.append(make_record(seq=seq))
        journal.close(make_end())
    return str(journal.folder)


def test_the_command_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0."""
    assert commands.main(["show", written(tmp_path), "--seq", "4"], standalone_mode=False) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert numbers_in(first) == [4]


@pytest.mark.parametrize(("extra", "accepted"), [((), "3 to 4"), (("--phase", "warmup"), "none")])
def test_a_request_that_is_not_there_is_told(tmp_path: Path, extra: tuple[str, ...], accepted: str) -> None:
    """With those that are; exit code 2."""
    with pytest.raises(InputError, match=accepted) as caught:
        commands.main(["show", written(tmp_path), "--seq", "9", *extra], standalone_mode=False)
    assert caught.value.exit_code == 2
