"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]
"""`wrong`: a run would fail. `note`: a run would work, but some of its numbers may be missing or inaccurate."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `what` was checked, `found` is the finding, `fix` says how to fix it (None if nothing to fix)."""

    state: State
    what: str
    found: str
    fix: str | None = None
