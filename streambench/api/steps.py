"""The steps of a run: start embedded gateways, choose models, plan requests, measure the plan, write the summary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.errors import DiskError, InputError, Problem

if TYPE_CHECKING:
    from streambench.analysis.run import Run
    from streambench.analysis.summary import Summary
    from streambench.config.config import Config
    from streambench.config.origin import Origin
    from streambench.records.journal import Journal
    from streambench.records.schema import RunEnd
    from streambench.runner.breakers import StopReason
    from streambench.runner.job import Measured
    from streambench.runner.plan import Plan
    from streambench.runner.resume import Continued

Notify = Callable[[str], None]
"""A function that shows one line to the user, such as a warning."""

LOGGER = logging.getLogger("streambench")


def silent(_line: str) -> None:
    """Ignores the line."""


def log(line: str) -> None:
    """Writes the line to the logger `streambench`, at level INFO."""
    LOGGER.info("%s", line)


async def choose_models(config: Config, config_file: str, base_urls: Mapping[str, str], notify: Notify) -> Config:
    """Returns the config with one entry for each model that its globs select from the gateways' lists.

    Raises ConfigError if a glob selects nothing.
    """
    from streambench.config.model_selection import gateways_to_ask, resolve

    names = gateways_to_ask(config)
    if not names:
        return config
    from streambench.client.model_listing import ask

    resolved = resolve(config, await ask(config, base_urls, names), config_file)
    for note in resolved.notes:
        notify(note)
    return resolved.config


def models_chosen(config: Config, config_file: Path, base_urls: Mapping[str, str], notify: Notify) -> Config:
    """`choose_models` for a caller without a running event loop."""
    return asyncio.run(choose_models(config, str(config_file), base_urls, notify))


def conclude(
    journal: Journal, continued: Continued, origin: Origin, end: RunEnd | None, stop_reason: StopReason | None = None
) -> Measured:
    """Ends a run that has no missing requests, or that may not send any because of `stop_reason`. Raises DiskError."""
    from streambench.runner import local
    from streambench.runner.job import Measured, RunStatus

    status: RunStatus = stop_reason.status if stop_reason else "complete"
    if end is not None and end.status == status:
        return Measured(journal.folder, status, None, frozenset())
    return local.conclude(journal, continued, origin, status, stop_reason.reason if stop_reason else None)


def summarise(run: Run, measured: Measured) -> Summary:
    """Returns the run's summary. If the disk was too full for end.json, the status comes from `measured`."""
    from streambench.analysis.summary import summary_of

    summary = summary_of(run)
    return summary if run.end is not None else replace(summary, status=measured.status, reason=measured.reason)


def write_summary_of(measured: Measured, summary: Summary) -> DiskError | None:
    """Writes summary.json and summary.csv. Returns the first disk error of the run; None if there was none."""
    from streambench.analysis.summary_files import write_summary

    try:
        write_summary(measured.folder, summary)
    except DiskError as error:
        return measured.disk_error or error
    return measured.disk_error


def plan_of(config: Config, config_file: Path | str) -> Plan:
    """Returns the plan of the config's requests. Raises InputError if `limits.requests` leaves nothing to measure."""
    from streambench.runner.plan import ModelLane, PlanInputs, build_plan

    plan = build_plan(
        PlanInputs(
            lanes=tuple(ModelLane(model.alias, model.gateway) for model in config.models),
            prompt_ids=tuple(prompt.id for prompt in config.suite.prompts),
            repeats=config.repeats,
            warmup_requests=config.warmup.requests,
            load=config.load,
            seed=config.seed,
            max_requests=config.limits.requests,
            turns={prompt.id: len(prompt.turns) for prompt in config.suite.prompts if prompt.turns},
        )
    )
    if not plan.measure:
        turns = max(len(prompt.turns) for prompt in config.suite.prompts)
        each = f"{turns} (the turns of the longest conversation)" if turns else "one"
        accepted = f"at least {len(config.models) * max(1, turns)}, {each} for each model"
        found = str(config.limits.requests)
        raise InputError(
            [Problem("leaves nothing to measure", str(config_file), None, "limits.requests", found, accepted)]
        )
    return plan


@contextmanager
def serving(config: Config, *, unused: bool = False) -> Iterator[Mapping[str, str]]:
    """Starts the embedded gateways, yields gateway name to base URL, and stops them at the end.

    unused: True also starts embedded gateways that no model of the config uses. Raises SimulatorError.
    """
    from streambench.simulator.process import SimulatorProcess

    with ExitStack() as started:
        simulators = {
            name: started.enter_context(SimulatorProcess(gateway.models, seed=config.seed))
            for name, gateway in config.gateways.items()
            if gateway.models is not None and (unused or any(model.gateway == name for model in config.models))
        }
        import streambench.runner.local  # noqa: F401  # takes half a second, in parallel with the simulator's start

        addresses = {name: simulator.base_url() for name, simulator in simulators.items()}
        yield {name: addresses.get(name, gateway.base_url) for name, gateway in config.gateways.items()}
