"""`streambench chat`: talk to one model, with the numbers of each answer under it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from streambench.cli.places import CONFIG
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.chat import Chat
    from streambench.config import Config

LEAVE = "/quit"
FAILED = 1
ANSWER_LIMIT = 1_000_000


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--config", "config_file", metavar="CONFIG", type=CONFIG, help="Where MODEL is named.")
@click.option("--base-url", metavar="URL", help="The gateway, up to and including the version; instead of --config.")
@click.option("--key-variable", metavar="NAME", help="The environment variable that has the gateway's key.")
@click.option("--system", metavar="TEXT", help="What the model is told before all else.")
def chat(
    model: str, config_file: Path | None, base_url: str | None, key_variable: str | None, system: str | None
) -> int:
    """Talk to MODEL, with the numbers of each answer.

    TTFT, pace, usage and cost, timed as in a run. Nothing is written to disk.

    Ctrl-C stops an answer, /quit or Ctrl-D ends. Lines may be piped in: the exit code is 1 if one was not answered.
    """
    from streambench.cli import session

    config = _config_of(model, config_file, base_url, key_variable)
    alias = _alias(config, model)
    with session.serving(config) as base_urls:
        from streambench.chat import Chat

        return _talk(Chat(config, alias, base_urls, system))


def _talk(chat: Chat) -> int:
    from streambench.chat import told
    from streambench.words import inert

    failed = False
    with asyncio.Runner() as runner:
        for line in _lines():
            said = runner.run(chat.ask(line, _show))
            _show("\n" if said.text else "")
            click.echo(click.style(f"[{inert(told(said, chat.price), 500)}]", dim=True))
            failed |= said.outcome not in ("ok", "cancelled")
    return FAILED if failed and not sys.stdin.isatty() else 0


def _lines() -> Iterator[str]:
    """What is asked, until /quit or the end of the input; empty lines are not."""
    while (line := _read()) is not None and line.strip() != LEAVE:
        if line.strip():
            yield line.strip()


def _read() -> str | None:
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    while True:
        try:
            return input("> ")
        except EOFError:
            click.echo()
            return None
        except KeyboardInterrupt:
            click.echo(f"\n({LEAVE} or Ctrl-D ends)")


def _show(text: str) -> None:
    """At once, with all that could move a cursor spelled out."""
    from streambench.report import lines_of

    plain = lines_of(text, ANSWER_LIMIT).encode(sys.stdout.encoding or "utf-8", "backslashreplace")
    sys.stdout.write(plain.decode(sys.stdout.encoding or "utf-8"))
    sys.stdout.flush()


# --- which model, and where


def _config_of(model: str, config_file: Path | None, base_url: str | None, key_variable: str | None) -> Config:
    from streambench.config import load_config

    if (config_file is None) == (base_url is None):
        raise InputError(
            [Problem("needs to know the gateway", where="chat", accepted="--config CONFIG or --base-url URL")]
        )
    if config_file is not None:
        if key_variable is not None:
            raise InputError(
                [Problem("goes with --base-url", where="--key-variable", accepted="api_key in the config")]
            )
        return load_config(config_file)
    key = "none" if key_variable is None else f"${{{key_variable}}}"
    given = {"gateways": {"chat": {"base_url": base_url, "api_key": key}}, "models": [model], "prompts": ["chat"]}
    with TemporaryDirectory() as folder:
        path = Path(folder, "chat.yaml")
        path.write_text(json.dumps(given), "utf-8")
        try:
            return load_config(path)
        except InputError as error:
            raise InputError([_as_option(problem) for problem in error.problems]) from None


def _as_option(problem: Problem) -> Problem:
    """Nobody wrote the file: what is wrong is an option."""
    if "base_url" in (problem.where or ""):
        accepted = "a URL such as https://gateway.example/v1"
        return replace(problem, file=None, line=None, where="--base-url", accepted=accepted)
    if "api_key" in (problem.where or ""):
        return replace(problem, file=None, line=None, where="--key-variable", accepted="a variable that is exported")
    return replace(problem, file=None, line=None)


def _alias(config: Config, model: str) -> str:
    """By alias, else by the model's own name. Raises InputError with the nearest."""
    from streambench.documents import nearest, shown

    for part in ("alias", "model"):
        for one in config.models:
            if getattr(one, part) == model:
                return one.alias
    names = [one.alias for one in config.models]
    told = f"is no model of this config{nearest(model, names)}"
    raise InputError([Problem(told, where="MODEL", found=shown(model), accepted=", ".join(names))])
