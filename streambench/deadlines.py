"""When an attempt has waited long enough: pure. Judged on generated output, so that keep-alives buy no time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from streambench.clock import NS


@dataclass(frozen=True, slots=True)
class Deadlines:
    """In seconds. `first_chunk`: until the first generated chunk; `idle`: between generated chunks; `total`: in all."""

    first_chunk: float
    idle: float
    total: float

    def of_whole(self) -> Deadlines:
        """For an answer in one body, of which nothing is to come before all of it: no first chunk is waited for."""
        return replace(self, first_chunk=2 * self.total)

    def next(self, start_ns: int, progress_ns: int | None) -> tuple[str, int]:
        """Which deadline is due next, and when; `progress_ns` is when something generated last came, if it did."""
        if progress_ns is None:
            waiting = ("first_chunk", start_ns + round(self.first_chunk * NS))
        else:
            waiting = ("idle", progress_ns + round(self.idle * NS))
        return min(waiting, ("total", start_ns + round(self.total * NS)), key=lambda due: due[1])

    def next_look(self, now_ns: int, due_ns: int) -> int:
        """When to look again: at the deadline, but no later than `idle` from now.

        The first chunk may come meanwhile, and start an idle wait that ends sooner.
        """
        return min(due_ns, now_ns + round(self.idle * NS))

    def told(self, which: str) -> str:
        """What to say of a deadline that passed."""
        seconds = {"first_chunk": self.first_chunk, "idle": self.idle, "total": self.total}[which]
        text = {
            "first_chunk": "nothing generated within",
            "idle": "nothing more generated for",
            "total": "not finished within",
        }
        return f"{text[which]} {seconds:g} s"
