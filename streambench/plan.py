"""The fair plan: every model gets every (prompt, repeat) once, in blocks that hold all models side by side.

Pure: same arguments, same plan. A block's tickets are neighbours in the queue, so its models are measured within the
same moments; their order inside it is drawn anew for each block. Next on the way: `runner`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    """What a plan is drawn from. `rate` is requests per second over all models; None in a closed loop."""

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


def build_plan(shape: Shape) -> Plan:
    draw = random.Random(f"{shape.seed}:plan")
    # a generator of its own: another warm-up must not change what is measured
    warmup = _tickets(shape.lanes, _warmup_pairs(shape), "warmup", 0, random.Random(f"{shape.seed}:warmup"))
    pairs = _measured_pairs(shape, draw)
    kept = _within(pairs, shape)
    measure = _tickets(shape.lanes, kept, "measure", len(warmup), draw)
    return Plan(
        warmup=warmup,
        measure=_scheduled(measure, shape),
        cut=(len(pairs) - len(kept)) * len(shape.lanes),
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
    return pairs[: shape.max_requests // len(shape.lanes)]


def _tickets(
    lanes: Sequence[Lane], pairs: list[tuple[str, int]], phase: Phase, first_seq: int, draw: random.Random
) -> tuple[Ticket, ...]:
    tickets: list[Ticket] = []
    for block, (prompt_id, repeat) in enumerate(pairs):
        order = list(lanes)
        draw.shuffle(order)
        tickets += [
            Ticket(
                seq=first_seq + len(tickets) + place,
                gateway=lane.gateway,
                model=lane.model,
                prompt_id=prompt_id,
                repeat=repeat,
                block=block,
                phase=phase,
            )
            for place, lane in enumerate(order)
        ]
    return tuple(tickets)


def _scheduled(tickets: tuple[Ticket, ...], shape: Shape) -> tuple[Ticket, ...]:
    offsets = offsets_ns(shape.mode, shape.rate, len(tickets), shape.seed)
    if offsets is None:
        return tickets
    return tuple(replace(ticket, scheduled_ns=offset) for ticket, offset in zip(tickets, offsets, strict=True))
