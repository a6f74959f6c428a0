"""The fair plan: every model gets every (prompt, repeat) once, in blocks that hold all models side by side.

Pure: same arguments, same plan. A block's tickets are neighbours in the queue, so its models are measured within the
same moments; their order inside it is drawn anew for each block. Next on the way: `runner`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from streambench.arrivals import offsets_ns
from streambench.records import Phase, Ticket


@dataclass(frozen=True, slots=True)
class Lane:
    """A model to be measured and the gateway it is reached by."""

    model: str
    gateway: str


@dataclass(frozen=True, slots=True)
class Plan:
    warmup: tuple[Ticket, ...]
    measure: tuple[Ticket, ...]
    cut: int = 0
    """Requests of the full plan that a limit left out: whole blocks, so that what remains is still paired."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a plan is drawn from. `rate` is requests per second over all models, None in a closed loop; a conversation
    counts as one, when it starts.
    """

    lanes: tuple[Lane, ...]
    prompt_ids: tuple[str, ...]
    repeats: int = 1
    warmup_requests: int = 0
    """For each model."""
    mode: str = "closed"
    rate: float | None = None
    seed: int = 0
    max_requests: int | None = None
    """Measured requests at most; the plan stops at the last whole block within it."""
    turns: Mapping[str, int] = field(default_factory=dict)
    """Of the prompts that are conversations: how many turns. Each turn is a request."""

    def requests_in(self, pairs: Sequence[tuple[str, int]]) -> int:
        return len(self.lanes) * sum(self.turns.get(prompt_id, 1) for prompt_id, _ in pairs)


def build_plan(shape: Shape) -> Plan:
    draw = random.Random(f"{shape.seed}:plan")
    # a generator of its own: another warm-up must not change what is measured
    # and of a conversation it sends the first turn alone
    warmup = _tickets(shape.lanes, _warmup_pairs(shape), "warmup", 0, random.Random(f"{shape.seed}:warmup"), {})
    pairs = _measured_pairs(shape, draw)
    kept = _within(pairs, shape)
    measure = _tickets(shape.lanes, kept, "measure", len(warmup), draw, shape.turns)
    return Plan(
        warmup=warmup,
        measure=_scheduled(measure, shape),
        cut=shape.requests_in(pairs[len(kept) :]),
    )


def _warmup_pairs(shape: Shape) -> list[tuple[str, int]]:
    ids = shape.prompt_ids
    return [(ids[k % len(ids)], k // len(ids)) for k in range(shape.warmup_requests)]


def _measured_pairs(shape: Shape, draw: random.Random) -> list[tuple[str, int]]:
    """Repeats go round the whole suite, so that a prompt's repeats lie apart in time; each round in its own order."""
    pairs: list[tuple[str, int]] = []
    for repeat in range(shape.repeats):
        ids = list(shape.prompt_ids)
        draw.shuffle(ids)
        pairs += [(prompt_id, repeat) for prompt_id in ids]
    return pairs


def _within(pairs: list[tuple[str, int]], shape: Shape) -> list[tuple[str, int]]:
    if shape.max_requests is None:
        return pairs
    sums = accumulate(shape.requests_in([pair]) for pair in pairs)
    return pairs[: sum(requests <= shape.max_requests for requests in sums)]


def _tickets(
    lanes: Sequence[Lane],
    pairs: list[tuple[str, int]],
    phase: Phase,
    first_seq: int,
    draw: random.Random,
    turns: Mapping[str, int],
) -> tuple[Ticket, ...]:
    """A conversation's turns are neighbours, and numbered one after another."""
    tickets: list[Ticket] = []
    for block, (prompt_id, repeat) in enumerate(pairs):
        order = list(lanes)
        draw.shuffle(order)
        for lane in order:
            seq = first_seq + len(tickets)
            first = Ticket(
                seq=seq,
                gateway=lane.gateway,
                model=lane.model,
                prompt_id=prompt_id,
                repeat=repeat,
                block=block,
                phase=phase,
                session_id=f"s{seq}" if prompt_id in turns else None,
            )
            tickets += [replace(first, seq=seq + turn, turn=turn) for turn in range(turns.get(prompt_id, 1))]
    return tuple(tickets)


def _scheduled(tickets: tuple[Ticket, ...], shape: Shape) -> tuple[Ticket, ...]:
    """A conversation is scheduled by its first turn; the others follow their answers."""
    firsts = [ticket for ticket in tickets if not ticket.turn]
    offsets = offsets_ns(shape.mode, shape.rate, len(firsts), shape.seed)
    if offsets is None:
        return tickets
    due = {ticket.seq: offset for ticket, offset in zip(firsts, offsets, strict=True)}
    return tuple(replace(ticket, scheduled_ns=due.get(ticket.seq)) for ticket in tickets)
