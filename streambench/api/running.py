"""The sequence of a run, from its config to its summary on disk, for Python (`calls`) and for the commands (`cli`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.analysis.summary import Summary
from streambench.api import steps
from streambench.api.continuing import continuation
from streambench.api.result import RunResult, load
from streambench.api.run_assertions import judge_at_end
from streambench.clock import MonotonicClock
from streambench.config.config import IN_PYTHON, Config
from streambench.config.origin import Origin, origin_of
from streambench.errors import DiskError
from streambench.records.journal import Journal
from streambench.report.live import LiveView, Progress
from streambench.runner.observers import RunObserver
from streambench.telemetry.settings import Flags

if TYPE_CHECKING:
    from streambench.runner.job import Measured
    from streambench.runner.plan import Plan
    from streambench.runner.resume import Continued
    from streambench.telemetry.prepare import Prepared


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a caller follows a run, and where its telemetry goes.

    `notify` gets lines for the user, `warn` those that are shown even if the user asked for quiet. `live` shows the
    view of the run on stderr.
    """

    notify: Callable[[str], None]
    warn: Callable[[str], None]
    live: bool
    flags: Flags
    observers: Sequence[RunObserver] = ()


async def measure_config(
    config: Config, source: Path | None, overrides: Sequence[str], options: RunOptions
) -> tuple[Measured, Prepared]:
    """Measures a config in a new results folder.

    `source` is the config's file and `overrides` its `key=value` texts; None and () for a config made in Python. Raises
    InputError, ConfigError, ResultsError, SimulatorError.
    """
    name = str(source) if source is not None else IN_PYTHON
    async with _serving(config) as base_urls:
        config = await steps.choose_models(config, name, base_urls, options.notify)
        plan = steps.plan_of(config, name)
        if plan.cut:
            options.notify(f"limits.requests leaves out {plan.cut} of {plan.cut + len(plan.measure)} requests")
        prepared = _prepared(config, len(plan.warmup) + len(plan.measure), options)
        origin = Origin() if source is None else origin_of(source, overrides, config.secrets)
        with closed_on_error(prepared):
            measured = await _measured(config, plan, origin, base_urls, prepared, options)
    return measured, prepared


async def measure_missing(
    folder: Path, given: Config | Path | None, overrides: Sequence[str], options: RunOptions
) -> tuple[Measured, Prepared | None]:
    """Sends the missing requests of the run in `folder`, if there are any and its budget allows them.

    `given` is the run's config, or its new path; None if it is where it was. Raises what `measure_config` raises, and
    ConfigError if the config now measures something else.
    """
    with Journal.reopen(folder) as journal:
        found = continuation(journal, given, overrides, notify=options.notify, warn=options.warn)
        if not found.sends:
            return steps.conclude(journal, found.continued, found.origin, found.run.end, found.stop_reason), None
        plan = found.continued.left.plan
        prepared = _prepared(found.config, found.requests, options)
        with closed_on_error(prepared):
            async with _serving(found.config) as base_urls:
                measured = await _measured(
                    found.config, plan, found.origin, base_urls, prepared, options, found.continued, journal
                )
    return measured, prepared


def conclude(measured: Measured, warn: Callable[[str], None]) -> tuple[RunResult, Summary, DiskError | None]:
    """Reads the run back, evaluates the assertions of its config, and writes its summary.

    Returns the run, its summary, and the first disk error of the run (None if there was none). `warn` gets a line if
    the assertions' baseline cannot be read.
    """
    run = load(str(measured.folder))
    summary = replace(steps.summarise(run, measured), assertions=tuple(judge_at_end(run, warn)))
    return run, summary, steps.write_summary_of(measured, summary)


@contextmanager
def closed_on_error(prepared: Prepared | None) -> Iterator[None]:
    """Sends the telemetry that is queued if the run raises or is cancelled: nothing is left running then."""
    try:
        yield
    except BaseException:
        if prepared is not None and prepared.session is not None:
            prepared.session.close((), None)
        raise


@asynccontextmanager
async def _serving(config: Config) -> AsyncIterator[Mapping[str, str]]:
    """`steps.serving` without blocking the event loop.

    A thread cannot be cancelled. So if the task is cancelled while the thread starts the gateways, it waits for the
    thread's end: no gateway is left running.
    """
    with ExitStack() as stack:
        starting = asyncio.get_running_loop().run_in_executor(None, stack.enter_context, steps.serving(config))
        try:
            base_urls = await asyncio.shield(starting)
        except asyncio.CancelledError:
            while not starting.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([starting])
            raise
        yield base_urls


def _prepared(config: Config, requests: int, options: RunOptions) -> Prepared:
    from streambench import __version__
    from streambench.telemetry.prepare import prepare

    return prepare(config, requests, options.flags, options.notify, version=__version__)


async def _measured(
    config: Config,
    plan: Plan,
    origin: Origin,
    base_urls: Mapping[str, str],
    prepared: Prepared,
    options: RunOptions,
    continued: Continued | None = None,
    journal: Journal | None = None,
) -> Measured:
    """Sends the plan's requests, as a new run or (with `continued` and `journal`) as the next part of a resumed run."""
    from streambench.runner.job import Job
    from streambench.runner.local import LocalEngine  # loaded by `steps.serving`, while the simulator starts

    job = Job(
        config=config,
        plan=plan,
        base_urls=base_urls,
        simulated=tuple(model.alias for model in config.models if config.gateways[model.gateway].embedded),
        origin=origin,
        continued=continued,
        trace=prepared.trace,
    )
    progress = Progress([model.alias for model in config.models], len(plan.measure), MonotonicClock())
    engine = LocalEngine(progress=progress, telemetry=prepared.telemetry, notify=options.notify, journal=journal)
    with LiveView(progress, quiet=not options.live):
        return await engine.measure(job, options.observers)
