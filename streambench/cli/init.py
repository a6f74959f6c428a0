"""`streambench init`: asks for a gateway and models, or takes them from options, and writes a valid config."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.config.config import Config
    from streambench.config.model_selection import Listing
    from streambench.config.starter import Start

SIMULATED_FILE = "simulated-models.yaml"
_MOST_SHOWN = 40
Answer = TypeVar("Answer")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@click.command()
@click.argument("path", required=False, default="streambench.yaml", type=click.Path(path_type=Path))
@click.option("--base-url", metavar="URL", help="The gateway's URL, such as https://gateway.example/v1.")
@click.option(
    "--key-variable", metavar="NAME", help="The environment variable that holds its key; `none` if it needs no key."
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model or a glob; may be repeated.")
@click.option("--name", help="Name of the runs; default: the file's name.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def init(
    path: Path,
    base_url: str | None,
    key_variable: str | None,
    models: tuple[str, ...],
    name: str | None,
    *,
    force: bool,
) -> int:
    """Write a config with comments, ready to run.

    Writes to PATH, by default streambench.yaml. In a terminal, asks for what the options leave out and lists the models
    that the gateway offers. Without a gateway, the config uses the embedded simulator, which needs no key. The file
    never contains a key, only the name of the variable that holds it.
    """
    from streambench.config.starter import SIMULATED

    _refuse_to_overwrite(path, force=force)
    start = _ask(path, base_url, key_variable, models, name, ask=sys.stdin.isatty())
    simulated = path.with_name(SIMULATED_FILE) if start.base_url is None else None
    if simulated is not None and not _has(simulated, SIMULATED):
        _refuse_to_overwrite(simulated, force=force)
    text = _checked(start, path)
    if simulated is not None:
        _write(simulated, SIMULATED)
    _write(path, text)
    for line in _next_steps(start, path):
        click.echo(line)
    return 0


def _ask(
    path: Path, base_url: str | None, variable: str | None, models: Sequence[str], name: str | None, *, ask: bool
) -> Start:
    from streambench.config.starter import SIMULATED_MODELS, Start

    if base_url is None and ask:
        base_url = _ask_again(_ask_for_url) or None
    stem = re.sub(r"[^\w.-]+", "-", path.stem).strip("-") or "run"
    if base_url is None or base_url == "embedded":
        _refuse_without_gateway(variable, models)
        return Start(name or stem, SIMULATED_MODELS, simulated_file=SIMULATED_FILE)
    base_url = _checked_url(base_url)
    variable = _ask_again(lambda: _ask_for_variable(base_url)) if ask and variable is None else variable
    variable = _variable(base_url, variable)
    chosen = tuple(models) or (_choose_models(base_url, variable) if ask else ())
    if not chosen:
        raise InputError([Problem("is needed with --base-url", where="--model", accepted="a model's name, or a glob")])
    _refuse_unusable(chosen)
    return Start(name or stem, chosen, base_url, variable)


def _ask_again(question: Callable[[], Answer]) -> Answer:
    """Asks the question again after each invalid answer, so that a typo does not lose earlier answers."""
    while True:
        try:
            return question()
        except InputError as error:
            for problem in error.problems:
                click.echo(f"{problem.message} (accepted: {problem.accepted})", err=True)


def _ask_for_url() -> str | None:
    question = "The gateway's base URL, such as https://gateway.example/v1 (leave empty for simulated models)"
    base_url = str(click.prompt(question, default="", show_default=False)).strip()
    return base_url if base_url in ("", "embedded") else _checked_url(base_url)


def _ask_for_variable(base_url: str) -> str:
    question = "The environment variable that holds its key (none if it needs no key)"
    variable = str(click.prompt(question, default=_suggested(base_url))).strip()
    _variable(base_url, variable)
    return variable


def _refuse_unusable(models: Sequence[str]) -> None:
    from streambench.config.fields import is_label
    from streambench.text import shown

    unusable = [model for model in models if not is_label(model)]
    if unusable:
        message, accepted = "cannot be used as a name", "the model's name at the gateway, on one line"
        raise InputError([Problem(message, where="--model", found=shown(each), accepted=accepted) for each in unusable])


def _refuse_without_gateway(variable: str | None, models: Sequence[str]) -> None:
    given = "--model" if models else "--key-variable" if variable else None
    if given:
        message = "needs a gateway: the simulated models have fixed names"
        raise InputError([Problem(message, where=given, accepted="with --base-url https://gateway.example/v1")])


def _checked_url(base_url: str) -> str:
    from streambench.config.fields import base_url as read_base_url

    try:
        return read_base_url(base_url.strip())
    except ValueError as error:
        accepted = "a URL such as https://gateway.example/v1, without a password or key"
        raise InputError([Problem(str(error), where="--base-url", accepted=accepted)]) from None


def _suggested(base_url: str) -> str:
    from streambench.config.credentials import variable_for
    from streambench.config.starter import gateway_name

    return variable_for(gateway_name(base_url))


def _variable(base_url: str, variable: str | None) -> str | None:
    suggested = _suggested(base_url)
    variable = suggested if variable is None else variable
    if variable.lower() == "none":
        return None
    if not _VARIABLE.fullmatch(variable):
        # the message does not show the value, as it may be the key itself
        message = "must be the name of a variable, never the key itself"
        raise InputError([Problem(message, where="--key-variable", accepted=f"a name such as {suggested}, or none")])
    return variable


def _choose_models(base_url: str, variable: str | None) -> tuple[str, ...]:
    """Lists the models that the gateway offers, if known, and asks which to measure."""
    names = sorted(_offered(base_url, variable).names)
    for name in names[:_MOST_SHOWN]:
        click.echo(f"  {name}")
    if len(names) > _MOST_SHOWN:
        click.echo(f"  and {len(names) - _MOST_SHOWN} more")
    default = ", ".join(names[:2]) or None
    return _ask_again(lambda: _ask_for_models(default, base_url, variable))


def _ask_for_models(default: str | None, base_url: str, variable: str | None) -> tuple[str, ...]:
    from streambench.config.starter import Start

    answer = str(click.prompt("The models to measure: names or globs, separated by commas", default=default))
    chosen = tuple(name for part in answer.split(",") if (name := part.strip()))
    _refuse_unusable(chosen)
    _checked(Start("init", chosen, base_url, variable), Path("init.yaml"))
    return chosen


def _offered(base_url: str, variable: str | None) -> Listing:
    """Asks the gateway for its models, with the key from the environment, and prints their number or the failure.

    Returns an empty listing if the key's variable is not set.
    """
    import asyncio

    from streambench.client.model_listing import ask
    from streambench.config.model_selection import Listing, why
    from streambench.config.starter import Start, config_text, gateway_name

    if variable is not None and not os.environ.get(variable):
        click.echo(f"{variable} is not set, so the gateway is not asked for its models")
        return Listing()
    config = _loaded(config_text(Start("init", ("any",), base_url, variable), "init.yaml"), os.environ)
    name = gateway_name(base_url)
    listing = asyncio.run(ask(config, {name: base_url}, [name]))[name]
    if listing.failure is not None:
        click.echo(f"the gateway returned no list of models: {why(listing.failure)}")
    else:
        click.echo(f"the gateway offers {len(listing.offers)} models:")
    return listing


def _checked(start: Start, path: Path) -> str:
    """Returns the config's text, after loading it as a run would, with a placeholder for the key. Raises InputError."""
    from streambench.config.starter import config_text
    from streambench.redaction import strip_controls

    text = config_text(start, strip_controls(str(path)))
    _loaded(text, {start.key_variable: "a-stand-in"} if start.key_variable else {})
    return text


def _loaded(text: str, env: Mapping[str, str]) -> Config:
    """Loads the config from its text. Raises InputError without file and line, as the file is not written yet."""
    import tempfile

    from streambench.config.load import load_config
    from streambench.config.starter import SIMULATED

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "init.yaml"
        file.write_text(text, encoding="utf-8")
        (Path(folder) / SIMULATED_FILE).write_text(SIMULATED, encoding="utf-8")
        try:
            return load_config(file, env=env)
        except InputError as error:
            raise InputError([replace(problem, file=None, line=None) for problem in error.problems]) from None


def _refuse_to_overwrite(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        accepted = "another PATH, or --force to overwrite it"
        raise InputError([Problem("already exists and was not overwritten", str(path), accepted=accepted)])


def _has(path: Path, text: str) -> bool:
    """True if the file contains exactly `text`: an earlier `init` wrote it, so overwriting it loses nothing."""
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError([Problem(f"cannot be written: {error.strerror or error}", str(path))]) from None


def _next_steps(start: Start, path: Path) -> list[str]:
    steps = [f"wrote {path}"]
    if start.base_url is None:
        steps.append(f"wrote {path.with_name(SIMULATED_FILE)}: the simulated models")
    elif start.key_variable is not None and not os.environ.get(start.key_variable):
        steps.append(f"first:  export {start.key_variable}=...   (the gateway's key)")
    return [*steps, f"then:   streambench doctor {path}", f"        streambench run {path}"]
