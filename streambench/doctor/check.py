"""One thing that was looked at, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]
"""`wrong` would break a run; a `note` would not, but a run's numbers may lack something."""


@dataclass(frozen=True, slots=True)
class Check:
    """`what` was looked at and `told` what was seen; `mend` is what to do, where something is."""

    state: State
    what: str
    told: str
    mend: str | None = None
