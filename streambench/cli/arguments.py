"""The arguments for a config file and for run folders, with shell completion; and the option `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIXES = (".yaml", ".yml")
_HEADER = "run.json"


class ConfigPath(click.Path):
    """A path that the shell completes to YAML files and folders."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param
        return [_item(path) for path in _beginning_with(incomplete) if path.is_dir() or path.suffix in _SUFFIXES]


class RunPath(click.Path):
    """A path that the shell completes to folders."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param
        return [_item(path) for path in _beginning_with(incomplete) if path.is_dir()]


def _beginning_with(text: str) -> Iterator[Path]:
    """Yields the paths that begin with `text`; hidden files only if their dot was typed."""
    folder, _, start = text.rpartition("/")
    base = Path(f"{folder}/" if "/" in text else "").expanduser()
    try:
        found = sorted(base.iterdir())
    except OSError:
        return
    shown = Path(f"{folder}/") if "/" in text else Path()
    for path in found:
        if path.name.startswith(start) and (start.startswith(".") or not path.name.startswith(".")):
            yield shown / path.name


def _item(path: Path) -> CompletionItem:
    """Returns a completion; a folder without a run ends in a slash, so that the user can continue into it."""
    whole = path.expanduser()
    is_way = whole.is_dir() and not (whole / _HEADER).exists()
    return CompletionItem(f"{path}/" if is_way else str(path))


CONFIG = ConfigPath(path_type=Path)
RUN = RunPath(path_type=Path)
RESULTS = click.argument("results", nargs=-1, required=True, type=RUN)
OVERRIDES = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a config key; may be repeated."
)
