"""The fair plan: every model gets every (prompt, repeat) once, in blocks, in an order that favours nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.config.sections import Load
from streambench.records.schema import Ticket
from streambench.runner.plan import ModelLane, Plan, PlanInputs, build_plan

SHAPE = PlanInputs(
    lanes=(ModelLane("alpha", "hub"), ModelLane("beta", "hub"), ModelLane("gamma", "demo")),
    prompt_ids=("p0", "p1", "p2", "p3"),
    repeats=2,
    warmup_requests=2,
    seed=7,
)
"""3 models x 4 prompts x 2 repeats = 24 measured requests in 8 blocks; 3 x 2 = 6 of warm-up."""


def shapes() -> st.SearchStrategy[PlanInputs]:
    """Any plan of a few models and prompts, open or closed, limited or not."""
    load = st.sampled_from([Load(), Load("constant", rate=5.0), Load("poisson", rate=0.5)])
    return st.builds(
        lambda models, prompts, load, **rest: PlanInputs(
            lanes=tuple(ModelLane(f"m{k}", f"g{k % 2}") for k in range(models)),
            prompt_ids=tuple(f"p{k}" for k in range(prompts)),
            load=load,
            **rest,
        ),
        models=st.integers(1, 5),
        prompts=st.integers(1, 6),
        load=load,
        repeats=st.integers(1, 4),
        warmup_requests=st.integers(0, 8),
        seed=st.integers(),
        max_requests=st.none() | st.integers(0, 150),
    )


def blocks(tickets: Iterable[Ticket]) -> list[list[Ticket]]:
    """Neighbours with the same block number."""
    return [list(block) for _, block in groupby(tickets, lambda ticket: ticket.block)]


def work(tickets: Iterable[Ticket]) -> Counter[tuple[str, str, int]]:
    return Counter((ticket.model, ticket.prompt_id, ticket.repeat) for ticket in tickets)


def order(plan: Plan) -> list[tuple[str, str, int]]:
    return [(ticket.model, ticket.prompt_id, ticket.repeat) for ticket in plan.measure]


# --- fairness ---------------------------------------------------------------------------------------------------------


@given(shape=shapes())
def test_every_model_gets_every_prompt_and_repeat_once(shape: PlanInputs) -> None:
    """Where no limit cuts: models x prompts x repeats, none twice."""
    plan = build_plan(replace(shape, max_requests=None))
    wanted = [
        (lane.model, prompt, repeat)
        for lane in shape.lanes
        for prompt in shape.prompt_ids
        for repeat in range(shape.repeats)
    ]
    assert work(plan.measure) == Counter(wanted)


@given(shape=shapes())
def test_a_block_is_one_prompt_for_every_model(shape: PlanInputs) -> None:
    """Neighbours in the queue, whatever the limit: what is compared is measured side by side."""
    plan = build_plan(shape)
    for number, block in enumerate(blocks(plan.measure)):
        assert {ticket.block for ticket in block} == {number}
        assert len({(ticket.prompt_id, ticket.repeat) for ticket in block}) == 1
        assert sorted(ticket.model for ticket in block) == sorted(lane.model for lane in shape.lanes)


@given(shape=shapes())
def test_a_ticket_goes_to_its_models_gateway(shape: PlanInputs) -> None:
    """In both phases."""
    plan = build_plan(shape)
    gateways = {lane.model: lane.gateway for lane in shape.lanes}
    assert all(ticket.gateway == gateways[ticket.model] for ticket in plan.warmup + plan.measure)


@given(shape=shapes())
def test_numbers_run_through_the_whole_plan(shape: PlanInputs) -> None:
    """Warm-up first, then what is measured: 0, 1, 2 and so on."""
    plan = build_plan(shape)
    assert [ticket.seq for ticket in plan.warmup + plan.measure] == list(range(len(plan.warmup + plan.measure)))


def test_the_order_differs_between_blocks() -> None:
    """3 models have 6 orders; 8 blocks that all agree would be one chance in 6**7 = 279,936."""
    orders = {tuple(ticket.model for ticket in block) for block in blocks(build_plan(SHAPE).measure)}
    assert len(orders) > 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_model_stands_at_each_place_equally_often(seed: int) -> None:
    """3,000 blocks, 3 models, 3 places: 1,000 each. Chi-square of a place has 2 degrees of freedom: over 13.8 by
    chance once in 1,000 draws.
    """
    shape = replace(SHAPE, prompt_ids=tuple(f"p{k}" for k in range(3_000)), repeats=1, seed=seed)
    ordered = [[ticket.model for ticket in block] for block in blocks(build_plan(shape).measure)]
    for place in range(3):
        seen = Counter(models[place] for models in ordered)
        assert sum((seen[lane.model] - 1_000) ** 2 / 1_000 for lane in shape.lanes) < 13.8


def test_no_order_is_preferred() -> None:
    """6,000 blocks over 6 orders: 1,000 each. Chi-square with 5 degrees of freedom: over 20.5 once in 1,000 draws."""
    shape = replace(SHAPE, prompt_ids=tuple(f"p{k}" for k in range(6_000)), repeats=1)
    seen = Counter(tuple(ticket.model for ticket in block) for block in blocks(build_plan(shape).measure))
    assert len(seen) == 6
    assert sum((count - 1_000) ** 2 / 1_000 for count in seen.values()) < 20.5


def test_repeats_go_round_the_whole_suite() -> None:
    """All 4 prompts come once before one comes again, so that no provider's prompt cache is measured."""
    rounds = [(ticket.repeat, ticket.prompt_id) for ticket in build_plan(SHAPE).measure]
    assert [repeat for repeat, _ in rounds] == [0] * 12 + [1] * 12
    assert {prompt for repeat, prompt in rounds if repeat == 0} == set(SHAPE.prompt_ids)


def test_each_round_has_its_own_order() -> None:
    """8 prompts have 40,320 orders: 4 rounds do not agree by chance."""
    shape = replace(SHAPE, prompt_ids=tuple(f"p{k}" for k in range(8)), repeats=4)
    prompts = [block[0].prompt_id for block in blocks(build_plan(shape).measure)]
    assert len({tuple(prompts[at : at + 8]) for at in range(0, 32, 8)}) == 4


# --- seeds ------------------------------------------------------------------------------------------------------------


@given(shape=shapes())
def test_same_seed_same_plan(shape: PlanInputs) -> None:
    """To the last field."""
    assert build_plan(shape) == build_plan(shape)


def test_other_seed_other_plan() -> None:
    """Ten seeds, ten orders of the same work."""
    plans = [build_plan(replace(SHAPE, seed=seed)) for seed in range(10)]
    assert len({tuple(order(plan)) for plan in plans}) == 10
    assert all(work(plan.measure) == work(plans[0].measure) for plan in plans)


@pytest.mark.parametrize(
    "change", [{"warmup_requests": 0}, {"load": Load("poisson", rate=5.0)}], ids=["warm-up", "load"]
)
def test_neither_warm_up_nor_load_changes_what_is_measured(change: dict[str, object]) -> None:
    """Two runs that differ in these alone are still paired, request by request."""
    assert order(build_plan(replace(SHAPE, **change))) == order(build_plan(SHAPE))  # type: ignore[arg-type]  # of a table


# --- warm-up ----------------------------------------------------------------------------------------------------------


@given(shape=shapes())
def test_warm_up_is_apart(shape: PlanInputs) -> None:
    """Marked, as many for each model as asked for, and never on the schedule."""
    plan = build_plan(shape)
    assert {ticket.phase for ticket in plan.measure} <= {"measure"}
    assert {ticket.phase for ticket in plan.warmup} <= {"warmup"}
    assert {ticket.scheduled_ns for ticket in plan.warmup} <= {None}
    counts = Counter(ticket.model for ticket in plan.warmup)
    assert all(counts[lane.model] == shape.warmup_requests for lane in shape.lanes)


def test_warm_up_goes_through_the_prompts_and_round_again() -> None:
    """6 for each model over 4 prompts: the first 2 come twice."""
    plan = build_plan(replace(SHAPE, warmup_requests=6))
    prompts = [block[0].prompt_id for block in blocks(plan.warmup)]
    assert prompts == ["p0", "p1", "p2", "p3", "p0", "p1"]
    assert set(work(plan.warmup).values()) == {1}


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "kept", "cut"),
    [(None, 24, 0), (1_000, 24, 0), (24, 24, 0), (23, 21, 3), (6, 6, 18), (5, 3, 21), (2, 0, 24), (0, 0, 24)],
)
def test_a_limit_cuts_whole_blocks(limit: int | None, kept: int, cut: int) -> None:
    """Blocks of 3: 23 leaves 7 of the 8, 5 leaves 1, 2 leaves none; what is cut is told."""
    plan = build_plan(replace(SHAPE, max_requests=limit))
    assert (len(plan.measure), plan.cut) == (kept, cut)


@given(shape=shapes())
def test_what_a_limit_leaves_is_the_plans_beginning(shape: PlanInputs) -> None:
    """Same requests, same order; the warm-up is not cut."""
    whole, plan = build_plan(replace(shape, max_requests=None)), build_plan(shape)
    assert plan.measure == whole.measure[: len(plan.measure)]
    assert plan.warmup == whole.warmup
    assert len(plan.measure) + plan.cut == len(whole.measure)


# --- the schedule -----------------------------------------------------------------------------------------------------


def test_a_closed_loop_has_no_instants() -> None:
    """A request is due when a lane is free."""
    assert {ticket.scheduled_ns for ticket in build_plan(SHAPE).measure} == {None}


def test_the_rate_is_of_all_models_together() -> None:
    """4 a second: 24 requests, each 250 ms after the one before, in the plan's order."""
    plan = build_plan(replace(SHAPE, load=Load("constant", rate=4.0)))
    assert [ticket.scheduled_ns for ticket in plan.measure] == [k * 250_000_000 for k in range(24)]


@given(shape=shapes().filter(lambda shape: not shape.load.closed))
def test_an_open_loop_follows_the_plans_order(shape: PlanInputs) -> None:
    """Instants ascend with the numbers."""
    instants = [ticket.scheduled_ns for ticket in build_plan(shape).measure]
    assert all(first is not None and last is not None and first <= last for first, last in pairwise(instants))
