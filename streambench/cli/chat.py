"""`streambench chat`: chats with one model and prints the numbers of each response."""

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

from streambench.cli.arguments import CONFIG
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.client.chat import Chat
    from streambench.config.config import Config

LEAVE = "/quit"
FAILED = 1
ANSWER_LIMIT = 1_000_000


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--config", "config_file", metavar="CONFIG", type=CONFIG, help="The config that defines MODEL.")
@click.option(
    "--base-url",
    metavar="URL",
    help="The gateway's URL with its version, such as https://gateway.example/v1; instead of --config.",
)
@click.option("--key-variable", metavar="NAME", help="The environment variable that holds the gateway's key.")
@click.option("--system", metavar="TEXT", help="The system message.")
def chat(
    model: str, config_file: Path | None, base_url: str | None, key_variable: str | None, system: str | None
) -> int:
    """Chat with MODEL, and print the numbers of each response.

    The numbers are TTFT, tokens per second, usage and cost, timed as in a run. Nothing is written to disk.

    Ctrl-C stops a response; /quit or Ctrl-D ends the chat. Lines may be piped in; then the exit code is 1 if a request
    failed.
    """
    from streambench.api import steps

    config = _config_of(model, config_file, base_url, key_variable)
    alias = _alias(config, model)
    with steps.serving(config) as base_urls:
        from streambench.client.chat import Chat

        return _talk(Chat(config, alias, base_urls, system))


def _talk(chat: Chat) -> int:
    from streambench.client.chat import reply_text
    from streambench.text import for_terminal

    failed = False
    with asyncio.Runner() as runner:
        for line in _lines():
            reply = runner.run(chat.ask(line, _show))
            _show("\n" if reply.text else "")
            click.echo(click.style(f"[{for_terminal(reply_text(reply, chat.price), 500)}]", dim=True))
            failed |= reply.outcome not in ("ok", "cancelled")
    return FAILED if failed and not sys.stdin.isatty() else 0


def _lines() -> Iterator[str]:
    """Yields the lines of input, except empty ones, until /quit or the end of the input."""
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
            click.echo(f"\n({LEAVE} or Ctrl-D ends the chat)")


def _show(text: str) -> None:
    """Prints the text at once, with control characters escaped, as they could move the cursor."""
    from streambench.text import printable_lines

    plain = printable_lines(text, ANSWER_LIMIT).encode(sys.stdout.encoding or "utf-8", "backslashreplace")
    sys.stdout.write(plain.decode(sys.stdout.encoding or "utf-8"))
    sys.stdout.flush()


# --- the config and the model


def _config_of(model: str, config_file: Path | None, base_url: str | None, key_variable: str | None) -> Config:
    from streambench.config.load import load_config

    if (config_file is None) == (base_url is None):
        raise InputError(
            [Problem("needs exactly one of these options", where="chat", accepted="--config CONFIG or --base-url URL")]
        )
    if config_file is not None:
        if key_variable is not None:
            raise InputError(
                [Problem("can only be used with --base-url", where="--key-variable", accepted="api_key in the config")]
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
    """Returns the problem in terms of the command's options, as the user did not write the config file."""
    if "base_url" in (problem.where or ""):
        accepted = "a URL such as https://gateway.example/v1"
        return replace(problem, file=None, line=None, where="--base-url", accepted=accepted)
    if "api_key" in (problem.where or ""):
        return replace(
            problem, file=None, line=None, where="--key-variable", accepted="an exported environment variable"
        )
    return replace(problem, file=None, line=None)


def _alias(config: Config, model: str) -> str:
    """Returns the alias of the model with this alias or, if none has it, this name.

    Raises InputError, with the nearest alias, if there is no such model.
    """
    from streambench.text import nearest, shown

    for part in ("alias", "model"):
        for one in config.models:
            if getattr(one, part) == model:
                return one.alias
    names = [one.alias for one in config.models]
    message = f"is not a model of this config{nearest(model, names)}"
    raise InputError([Problem(message, where="MODEL", found=shown(model), accepted=", ".join(names))])
