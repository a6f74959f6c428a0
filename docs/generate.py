"""Writes the pages that come from the code: docs/cli.md from the commands, frames.md from the columns, glossary.md from
the metrics, health.md from the outcomes and findings, configs/schema.json from the configuration,
configs/simulated/faulty.yaml from the faults.

python docs/generate.py writes them; with --check it only says which are out of date, and exits 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from faults_file import faulty_models
from frames_page import frames_markdown
from glossary_page import glossary_markdown
from health_page import health_markdown

from streambench.cli.main import commands
from streambench.config.json_schema import json_schema_text

DOCS = Path(__file__).resolve().parent
SCHEMA = "../configs/schema.json"
FAULTY = "../configs/simulated/faulty.yaml"
HELP_WIDTH = 100


def pages() -> dict[str, str]:
    """File name to text of every generated page."""
    return {
        "cli.md": cli_markdown(),
        "frames.md": frames_markdown(),
        "glossary.md": glossary_markdown(),
        "health.md": health_markdown(),
        SCHEMA: json_schema_text(),
        FAULTY: faulty_models(),
    }


def cli_markdown() -> str:
    """The help text of every command, as the terminal shows it."""
    context = click.Context(commands, info_name="streambench", **commands.context_settings)
    parts = ["# Commands\n\nGenerated from the code by `make docs`.\n", _section("streambench", commands, context)]
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        if command is not None:
            parts += _sections(f"streambench {name}", command, click.Context(command, context, name))
    return "\n".join(parts)


def _sections(title: str, command: click.Command, context: click.Context) -> list[str]:
    """Its own, and those of the commands below it."""
    found = [_section(title, command, context)]
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        found += _sections(f"{title} {name}", inner, click.Context(inner, context, name))
    return found


def _section(title: str, command: click.Command, context: click.Context) -> str:
    context.terminal_width = context.max_content_width = HELP_WIDTH
    return f"## {title}\n\n```text\n{command.get_help(context)}\n```\n"


def main() -> int:
    stale = [name for name, text in pages().items() if _read(name) != text]
    if "--check" in sys.argv[1:]:
        for name in stale:
            sys.stderr.write(f"docs/{name} is out of date: run `make docs`\n")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(pages()[name], encoding="utf-8")
    return 0


def _read(name: str) -> str | None:
    path = DOCS / name
    return path.read_text("utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
