"""Builds the plan of a run: every model gets every (prompt, repeat) once, in blocks that hold one of each model.

The tickets of a block are next to each other in the queue, so that its models are measured at nearly the same time.
Their order inside a block is drawn for each block. Pure: the same arguments give the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from streambench.config.sections import Load
from streambench.records.schema import Phase, Ticket
from streambench.runner.arrivals import offsets_ns


@dataclass(frozen=True, slots=True)
class ModelLane:
    """A model to measure and the gateway that serves it, by alias and name."""

    model: str
    gateway: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The tickets of a run's two phases, in the order in which they are sent."""

    warmup: tuple[Ticket, ...]
    measure: tuple[Ticket, ...]
    cut: int = 0
    """Measured requests that `max_requests` left out. Whole blocks are left out, so that the rest is still paired."""


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """The inputs of a plan. The rate of the load is over all models. A conversation counts as one request of the rate,
    sent when the conversation starts.
    """

    lanes: tuple[ModelLane, ...]
    prompt_ids: tuple[str, ...]
    repeats: int = 1
    warmup_requests: int = 0
    """Warm-up requests for each model."""
    load: Load = Load()
    seed: int = 0
    max_requests: int | None = None
    """The most measured requests; the plan ends with the last whole block that fits."""
    turns: Mapping[str, int] = field(default_factory=dict)
    """The number of turns of each prompt that is a conversation. Each turn is a request."""

    def requests_in(self, pairs: Sequence[tuple[str, int]]) -> int:
        """Returns the number of requests of these (prompt id, repeat) pairs, over all models and turns."""
        return len(self.lanes) * sum(self.turns.get(prompt_id, 1) for prompt_id, _ in pairs)


def build_plan(shape: PlanInputs) -> Plan:
    """Returns the plan of a shape. The warm-up sends only the first turn of a conversation."""
    draw = random.Random(f"{shape.seed}:plan")
    # The warm-up has its own random generator, so that its length does not change the measured plan.
    warmup = _tickets(shape.lanes, _warmup_pairs(shape), "warmup", 0, random.Random(f"{shape.seed}:warmup"), {})
    pairs = _measured_pairs(shape, draw)
    kept = _within(pairs, shape)
    measure = _tickets(shape.lanes, kept, "measure", len(warmup), draw, shape.turns)
    return Plan(
        warmup=warmup,
        measure=_scheduled(measure, shape),
        cut=shape.requests_in(pairs[len(kept) :]),
    )


def _warmup_pairs(shape: PlanInputs) -> list[tuple[str, int]]:
    ids = shape.prompt_ids
    return [(ids[k % len(ids)], k // len(ids)) for k in range(shape.warmup_requests)]


def _measured_pairs(shape: PlanInputs, draw: random.Random) -> list[tuple[str, int]]:
    """Returns (prompt id, repeat) pairs. Each repeat goes through the whole suite in a newly drawn order, so that the
    repeats of a prompt are apart in time.
    """
    pairs: list[tuple[str, int]] = []
    for repeat in range(shape.repeats):
        ids = list(shape.prompt_ids)
        draw.shuffle(ids)
        pairs += [(prompt_id, repeat) for prompt_id in ids]
    return pairs


def _within(pairs: list[tuple[str, int]], shape: PlanInputs) -> list[tuple[str, int]]:
    if shape.max_requests is None:
        return pairs
    sums = accumulate(shape.requests_in([pair]) for pair in pairs)
    return pairs[: sum(requests <= shape.max_requests for requests in sums)]


def _tickets(
    lanes: Sequence[ModelLane],
    pairs: list[tuple[str, int]],
    phase: Phase,
    first_seq: int,
    draw: random.Random,
    turns: Mapping[str, int],
) -> tuple[Ticket, ...]:
    """Returns the tickets of the pairs. The turns of a conversation follow each other, with consecutive `seq`."""
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


def _scheduled(tickets: tuple[Ticket, ...], shape: PlanInputs) -> tuple[Ticket, ...]:
    """Sets `scheduled_ns` in an open loop. Only a conversation's first turn has one; later turns follow the answers."""
    firsts = [ticket for ticket in tickets if not ticket.turn]
    offsets = offsets_ns(shape.load, len(firsts), shape.seed)
    if offsets is None:
        return tickets
    due = {ticket.seq: offset for ticket, offset in zip(firsts, offsets, strict=True)}
    return tuple(replace(ticket, scheduled_ns=due.get(ticket.seq)) for ticket in tickets)
