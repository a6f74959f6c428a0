"""`streambench doctor`: checks a config and everything that its run needs, and prints one line per check."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli.arguments import CONFIG, OVERRIDES
from streambench.errors import InputError

if TYPE_CHECKING:
    from streambench.config.config import Config
    from streambench.config.model_selection import Listing
    from streambench.doctor.check import Check

_MARKS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


@click.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
@click.option("--no-requests", is_flag=True, help="Do not send requests to models, which may cost money.")
@click.option("--tools", is_flag=True, help="Also send a request with a tool.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(config_file: Path, overrides: tuple[str, ...], *, no_requests: bool, tools: bool, as_json: bool) -> int:
    """Check everything that a run of CONFIG needs, and how to fix it.

    Prints one line per check: keys, gateways (DNS, TCP, TLS and HTTP separately), models offered, telemetry, open
    files, results folder and disk. Then sends one tiny request to each model (two with --tools) and checks that it
    streams, unbuffered, with usage, and with --tools that it accepts tools.

    Exit codes: 0 a run can begin; 1 something would break it; 2 bad input.
    """
    import json

    from streambench.api import steps
    from streambench.config.load import load_config
    from streambench.text import counted

    config = load_config(config_file, overrides)
    if not no_requests:
        click.echo("doctor sends one or two tiny requests to each model; --no-requests sends none", err=True)
    prompts = counted(len(config.suite.prompts), "prompt")
    checks = _Checks(prints=not as_json)
    checks.say("ok", "config", f"{config_file} is valid: {prompts}, {len(config.models)} under `models`")
    with steps.serving(config) as base_urls:
        _check(checks, config, config_file, base_urls, requests=not no_requests, tools=tools)
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks.found], indent=2))
    return 1 if any(check.state == "wrong" for check in checks.found) else 0


class _Checks:
    """The checks so far. Each is printed when it is added, if `prints` is True."""

    def __init__(self, *, prints: bool) -> None:
        self.found: list[Check] = []
        self._prints = prints

    def add(self, checks: Iterable[Check]) -> None:
        for check in checks:
            self.found.append(check)
            if self._prints:
                fix = f" -> {check.fix}" if check.fix and check.state != "ok" else ""
                click.echo(f"{_MARKS[check.state]}  {check.what}: {check.found}{fix}")

    def say(self, state: str, what: str, found: str, fix: str | None = None) -> None:
        from streambench.doctor.check import Check

        self.add([Check(state, what, found, fix)])  # type: ignore[arg-type]  # every caller passes a State


def _check(
    checks: _Checks,
    config: Config,
    config_file: Path,
    base_urls: Mapping[str, str],
    *,
    requests: bool,
    tools: bool,
) -> None:
    from streambench.client.model_listing import ask
    from streambench.config.model_selection import entries_of
    from streambench.doctor.gateways import gateway_checks, key_checks, model_checks
    from streambench.doctor.machine import machine_checks

    checks.add(key_checks(config))
    planned = len(config.suite.prompts) * config.repeats * len(config.models)
    checks.add(machine_checks(config, min(planned, config.limits.requests or planned)))
    checks.add(_telemetry(config))
    used = dict.fromkeys(model.gateway for model in config.models if not model.excludes)
    listings = asyncio.run(ask(config, base_urls, used))
    checks.add(gateway_checks(config, listings))
    checks.add(model_checks(config, entries_of(config, listings)))
    if requests:
        _try(checks, config, config_file, base_urls, listings, tools=tools)


def _telemetry(config: Config) -> list[Check]:
    import os

    from streambench.cli.telemetry_options import flags_of
    from streambench.doctor.check import Check
    from streambench.telemetry.preflight import check
    from streambench.telemetry.settings import resolve

    try:
        settings = resolve(config.telemetry, flags_of({}), os.environ)
    except InputError as error:
        return [Check("wrong", "telemetry", str(problem)) for problem in error.problems]
    if not settings.endpoints:
        return [Check("ok", "telemetry", "nothing is sent to a collector")]
    troubles = check(settings)
    state = "wrong" if settings.required else "note"
    found = [Check(state, "telemetry", f"{trouble.endpoint} {trouble.what}", trouble.fix) for trouble in troubles]  # type: ignore[arg-type]
    return found or [Check("ok", "telemetry", "the collector accepts data")]


def _try(
    checks: _Checks,
    config: Config,
    config_file: Path,
    base_urls: Mapping[str, str],
    listings: Mapping[str, Listing],
    *,
    tools: bool,
) -> None:
    """Prints the number of trial requests, sends them, and adds their checks."""
    from streambench.config.model_selection import resolve
    from streambench.doctor.trial_requests import MAX_TOKENS, trials_of, try_models

    try:
        named = resolve(config, listings, str(config_file)).config
    except InputError:
        checks.say("note", "models", "not tried: fix the problems above first")
        return
    unreachable = [name for name, listing in listings.items() if listing.status is None and listing.failure is not None]
    trials = trials_of(named, unreachable, tools=tools)
    if not trials.requests:
        return
    text = f"sending {trials.requests} tiny requests (at most {MAX_TOKENS} output tokens each)"
    click.echo(text, err=True)
    if trials.left_out:
        checks.say("note", "models", f"{trials.left_out} more models are not tried")
    checks.add(asyncio.run(try_models(trials, base_urls)))
