"""Arguments that name a config or runs' folders, which a shell completes; and `--set`, which goes with a config."""

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
    """A path; completed to YAML files, and to folders on the way to them."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param
        return [_item(path) for path in _beginning_with(incomplete) if path.is_dir() or path.suffix in _SUFFIXES]


class RunPath(click.Path):
    """A path; completed to the folders of runs, and to folders on the way to them."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param
        return [_item(path) for path in _beginning_with(incomplete) if path.is_dir()]


def _beginning_with(text: str) -> Iterator[Path]:
    """What lies there under a name that begins so; hidden ones only where a dot was typed."""
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
    """A folder that is no run ends in a slash, to be gone on from."""
    whole = path.expanduser()
    is_way = whole.is_dir() and not (whole / _HEADER).exists()
    return CompletionItem(f"{path}/" if is_way else str(path))


CONFIG = ConfigPath(path_type=Path)
RUN = RunPath(path_type=Path)
RESULTS = click.argument("results", nargs=-1, required=True, type=RUN)
OVERRIDES = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override any key; may be given often."
)
