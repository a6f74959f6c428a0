"""`streambench config`: the configuration's JSON Schema, and what a config comes to."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.cli.places import CONFIG, OVERRIDES


@click.group()
def config() -> None:
    """The configuration: its JSON Schema, and what a file comes to."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of config files, by which editors complete and check them.

    A first line `# yaml-language-server: $schema=schema.json` names it to them.
    """
    from streambench.config import json_schema_text

    click.echo(json_schema_text(), nl=False)


@config.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
def show(config_file: Path, overrides: tuple[str, ...]) -> None:
    """Print what CONFIG comes to, all defaults filled in and keys masked, as JSON. Globs are shown as they are."""
    import json

    from streambench.config import load_config

    click.echo(json.dumps(load_config(config_file, overrides).masked(), indent=2, default=str))
