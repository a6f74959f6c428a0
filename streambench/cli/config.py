"""`streambench config`: prints the JSON Schema of config files, or a config with all defaults filled in."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.cli.arguments import CONFIG, OVERRIDES


@click.group()
def config() -> None:
    """Print the JSON Schema of config files, or a config with its defaults."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of config files, for editors.

    Editors use it to complete and check a config whose first line is `# yaml-language-server: $schema=schema.json`.
    """
    from streambench.config.json_schema import json_schema_text

    click.echo(json_schema_text(), nl=False)


@config.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
def show(config_file: Path, overrides: tuple[str, ...]) -> None:
    """Print CONFIG as JSON, with all defaults.

    API keys are masked. Globs are not expanded.
    """
    import json

    from streambench.config.load import load_config

    click.echo(json.dumps(load_config(config_file, overrides).masked(), indent=2, default=str))
