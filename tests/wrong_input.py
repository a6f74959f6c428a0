"""What a test expects of a `Problem`: its fields, so that a reworded message breaks only the row with its words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from streambench.errors import Problem


class Wrong(NamedTuple):
    """One problem. `message` and `accepted` hold how these begin, in one row of all; a message holds `names`."""

    where: str | None
    found: str | None = None
    line: int | None = None
    file: str | None = None
    message: str = ""
    accepted: str = ""
    names: tuple[str, ...] = ()


def the_problem(problems: Iterable[Problem], wrong: Wrong) -> Problem:
    """The only one at this key, with these fields. Its file's folder counts for nothing."""
    told = list(problems)
    (problem,) = [one for one in told if one.where == wrong.where] or told
    file = Path(problem.file).name if problem.file else None
    assert (problem.where, problem.found, problem.line, file) == wrong[:4]
    assert problem.message.startswith(wrong.message), problem
    assert (problem.accepted or "").startswith(wrong.accepted), problem
    assert [name for name in wrong.names if name not in problem.message] == [], problem
    return problem
