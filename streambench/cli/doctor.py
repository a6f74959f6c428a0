"""`streambench doctor`: a config and all that a run of it needs, a line each, with the mend."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli.places import CONFIG, OVERRIDES
from streambench.errors import InputError

if TYPE_CHECKING:
    from streambench.config import Config
    from streambench.doctor import Check
    from streambench.picking import Listing

_MARKS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


@click.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
@click.option("--no-requests", is_flag=True, help="Send nothing that could cost anything: no model is tried.")
@click.option("--tools", is_flag=True, help="Try a request with a tool as well.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(config_file: Path, overrides: tuple[str, ...], *, no_requests: bool, tools: bool, as_json: bool) -> int:
    """Check all that a run of CONFIG needs, and say what to mend.

    A line each: keys, gateways (DNS, TCP, TLS and HTTP apart), models offered, telemetry, open files, results folder
    and disk; then each model by one tiny request: whether it streams, unbuffered, with usage, and with --tools takes
    tools.

    Exit code 0 if a run can begin, 1 if something would break it, 2 for bad input.
    """
    import json

    from streambench.cli import session
    from streambench.config import load_config
    from streambench.words import of_count

    config = load_config(config_file, overrides)
    if not no_requests:
        click.echo("this sends a tiny request or two to each model; --no-requests sends none", err=True)
    prompts = of_count(len(config.suite.prompts), "prompt")
    checks = _Checks(aloud=not as_json)
    checks.say("ok", "config", f"{config_file} is valid: {prompts}, {len(config.models)} under models")
    with session.serving(config) as base_urls:
        _check(checks, config, config_file, base_urls, requests=not no_requests, tools=tools)
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks.found], indent=2))
    return 1 if any(check.state == "wrong" for check in checks.found) else 0


class _Checks:
    """Those found so far, each printed as it is found."""

    def __init__(self, *, aloud: bool) -> None:
        self.found: list[Check] = []
        self._aloud = aloud

    def add(self, checks: Iterable[Check]) -> None:
        for check in checks:
            self.found.append(check)
            if self._aloud:
                mend = f" -> {check.mend}" if check.mend and check.state != "ok" else ""
                click.echo(f"{_MARKS[check.state]}  {check.what}: {check.told}{mend}")

    def say(self, state: str, what: str, told: str, mend: str | None = None) -> None:
        from streambench.doctor import Check

        self.add([Check(state, what, told, mend)])  # type: ignore[arg-type]  # one of State, as our callers write it


def _check(
    checks: _Checks,
    config: Config,
    config_file: Path,
    base_urls: Mapping[str, str],
    *,
    requests: bool,
    tools: bool,
) -> None:
    from streambench.discovery import ask
    from streambench.doctor import gateway_checks, key_checks, machine_checks, model_checks
    from streambench.picking import entries_of

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

    from streambench.cli import telemetry
    from streambench.doctor import Check
    from streambench.telemetry import check, resolve

    try:
        settings = resolve(config.telemetry, telemetry.flags_of({}), os.environ)
    except InputError as error:
        return [Check("wrong", "telemetry", str(problem)) for problem in error.problems]
    if not settings.endpoints:
        return [Check("ok", "telemetry", "nothing is sent to a collector")]
    troubles = check(settings)
    state = "wrong" if settings.required else "note"
    found = [Check(state, "telemetry", f"{trouble.endpoint} {trouble.what}", trouble.mend) for trouble in troubles]  # type: ignore[arg-type]
    return found or [Check("ok", "telemetry", "the collector takes what is sent")]


def _try(
    checks: _Checks,
    config: Config,
    config_file: Path,
    base_urls: Mapping[str, str],
    listings: Mapping[str, Listing],
    *,
    tools: bool,
) -> None:
    """Sends the tiny requests, having said how many."""
    from streambench.doctor import MAX_TOKENS, trials_of, try_models
    from streambench.picking import resolve

    try:
        named = resolve(config, listings, str(config_file)).config
    except InputError:
        checks.say("note", "models", "not tried before the lines above are mended")
        return
    unreachable = [name for name, listing in listings.items() if listing.status is None and listing.failure is not None]
    trials = trials_of(named, unreachable, tools=tools)
    if not trials.requests:
        return
    told = f"sending {trials.requests} tiny requests ({MAX_TOKENS} tokens of answer each)"
    click.echo(told, err=True)
    if trials.left_out:
        checks.say("note", "models", f"{trials.left_out} more are not tried")
    checks.add(asyncio.run(try_models(trials, base_urls)))
