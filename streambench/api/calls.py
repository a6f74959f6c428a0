"""`run`, `resume`, `compare` and `check` for Python. They raise errors of `streambench.errors` and print nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from streambench.analysis.check import AssertionResult, check_assertions
from streambench.analysis.compare import compare_runs
from streambench.analysis.run import Run as StoredRun
from streambench.api import steps
from streambench.api.arguments import ASSERTIONS, CONFIG, RUN, check_options
from streambench.api.comparison import RunComparison
from streambench.api.result import RunResult, as_run
from streambench.api.run_assertions import read_assertions, stored_assertions
from streambench.api.running import RunOptions, closed_on_error, conclude, measure_config, measure_missing
from streambench.config.arguments import OVERRIDES, Place, Texts, path_of, texts_of
from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.errors import DiskError, InputError, Problem, StreambenchError
from streambench.runner.observers import RunObserver
from streambench.telemetry.settings import Flags, Mode
from streambench.text import shown

if TYPE_CHECKING:
    from streambench.runner.job import Measured
    from streambench.telemetry.prepare import Prepared


def run(
    config: Config | Place,
    *,
    overrides: Texts = (),
    output: Place | None = None,
    observers: Sequence[RunObserver] = (),
    telemetry: Mode = "auto",
    progress: bool = False,
) -> RunResult:
    """Measures the models of a config and returns the run.

    config: a `Config`, or the path of a YAML file.
    overrides: one or more `key=value` texts, as for `--set`; only with a path.
    output: the folder in which the run's folder is created; overrides the config's `output`. Only with a path.
    observers: are called for every attempt and request during the run; see `RunObserver`.
    telemetry: `auto` sends spans and metrics if the environment or the config asks for it, and logs a warning if that
        fails; `required` raises instead; `off` sends nothing.
    progress: True shows the live view on stderr.

    Every attempt is written to disk when it ends. The first Ctrl-C stops sending and returns what was measured, with
    the `status` `interrupted`. Raises InputError, ConfigError, SuiteError, ResultsError, DiskError, SimulatorError; and
    StreambenchError if an event loop is already running (as in a notebook): use `await arun(...)` there.
    """
    _refuse_running_loop("run", "arun")
    return asyncio.run(
        arun(config, overrides=overrides, output=output, observers=observers, telemetry=telemetry, progress=progress)
    )


async def arun(
    config: Config | Place,
    *,
    overrides: Texts = (),
    output: Place | None = None,
    observers: Sequence[RunObserver] = (),
    telemetry: Mode = "auto",
    progress: bool = False,
) -> RunResult:
    """`run` for a running event loop, such as a notebook's: `await arun(...)`.

    Other work on the loop delays the run's timings; the run's client lag shows by how much. If the task is cancelled,
    open requests are recorded as cancelled, and the run ends as interrupted: `resume` sends the rest.
    """
    check_options(observers, telemetry)
    overrides = texts_of(overrides, "overrides", OVERRIDES)
    source = None
    if isinstance(config, Config):
        _refuse_with_config(overrides, output)
    else:
        source = path_of(config, "config", CONFIG)
        config = load_config(source, overrides, output)
    measured, prepared = await measure_config(
        config, source, overrides, _options(observers, telemetry, progress=progress)
    )
    return _finished(measured, prepared)


def resume(
    folder: StoredRun | Place,
    config: Config | Place | None = None,
    *,
    overrides: Texts = (),
    observers: Sequence[RunObserver] = (),
    telemetry: Mode = "auto",
    progress: bool = False,
) -> RunResult:
    """Sends the missing requests of an unfinished run, appends them to the run's folder, and returns the whole run.

    The config is read again from its path when the run began, or from `config` if it was moved. A run whose config was
    made in Python needs it again: pass the same `Config`. Raises what `run` raises; also ConfigError if the config now
    measures something else, and ResultsError if `folder` holds no run or another process is still writing it. If the
    run's budget is spent, nothing is sent.
    """
    _refuse_running_loop("resume", "aresume")
    return asyncio.run(
        aresume(folder, config, overrides=overrides, observers=observers, telemetry=telemetry, progress=progress)
    )


async def aresume(
    folder: StoredRun | Place,
    config: Config | Place | None = None,
    *,
    overrides: Texts = (),
    observers: Sequence[RunObserver] = (),
    telemetry: Mode = "auto",
    progress: bool = False,
) -> RunResult:
    """`resume` for a running event loop, such as a notebook's: `await aresume(...)`."""
    check_options(observers, telemetry)
    overrides = texts_of(overrides, "overrides", OVERRIDES)
    if isinstance(config, Config):
        _refuse_with_config(overrides, None)
    given = config if config is None or isinstance(config, Config) else path_of(config, "config", CONFIG)
    options = _options(observers, telemetry, progress=progress)
    measured, prepared = await measure_missing(_folder_of(folder), given, overrides, options)
    return _finished(measured, prepared)


def compare(base: StoredRun | Place, new: StoredRun | Place, *, force: bool = False) -> RunComparison:
    """Returns what changed from the run `base` to the run `new`. Each may be a run or a run's folder.

    Raises InputError if the runs did not measure the same, unless `force` is True; ResultsError, SchemaError.
    """
    compared = RunComparison.wrap(compare_runs(as_run(base), as_run(new)))
    if compared.unlike and not force:
        raise InputError(
            [
                Problem(
                    "differs, so these runs cannot be compared (force=True compares them anyway)",
                    compared.new,
                    where=each.field,
                    found=shown(each.new),
                    accepted=shown(each.base),
                )
                for each in compared.unlike
            ]
        )
    return compared


def check(
    run: StoredRun | Place, assertions: Texts | None = None, baseline: StoredRun | Place | None = None
) -> list[AssertionResult]:
    """Evaluates assertions such as "ttft_p95_ms: < 800" for each model of a run.

    assertions: if None, those of the run's own config are evaluated.
    baseline: the run that changes are computed from. If it and `assertions` are None, that of the run's config is used.

    Each result has `assertion`, `model`, `decision` (`held`, `failed` or `undecided`) and `why`. Raises InputError if a
    text is not an assertion; ResultsError, SchemaError.
    """
    found = as_run(run)
    if assertions is None:
        parsed, place = stored_assertions(found)
    else:
        parsed, place = read_assertions(texts_of(assertions, "assertions", ASSERTIONS), "assertions"), None
    before = baseline if baseline is not None else place
    return check_assertions(found, parsed, None if before is None else as_run(before))


def _refuse_running_loop(name: str, instead: str) -> None:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise StreambenchError(f"{name}() was called while an event loop is running: use `await {instead}(...)` there")


def _refuse_with_config(overrides: Sequence[str], output: Place | None) -> None:
    given = [name for name, value in (("overrides", overrides), ("output", output)) if value]
    if given:
        accepted = "load_config(path, overrides, output), then run() with its result"
        raise InputError([Problem("cannot be combined with a Config", where=name, accepted=accepted) for name in given])


def _folder_of(run: StoredRun | Place) -> Path:
    return run.path if isinstance(run, StoredRun) else path_of(run, "folder", RUN)


def _options(observers: Sequence[RunObserver], telemetry: Mode, *, progress: bool) -> RunOptions:
    return RunOptions(steps.log, steps.silent, live=progress, flags=Flags(mode=telemetry), observers=observers)


def _finished(measured: Measured, prepared: Prepared | None) -> RunResult:
    """Reads the run back, writes its summary, and sends the telemetry that is still queued. Raises DiskError."""
    with closed_on_error(prepared):
        run, _, lost = conclude(measured, steps.log)
    if prepared is not None and prepared.session is not None:
        prepared.session.close(run.records, run.end)
    if lost is not None:
        raise DiskError(str(lost))
    return run
