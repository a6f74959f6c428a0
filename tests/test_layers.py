"""Imports go only up the house's list of rooms, and each third-party package has one door.

`python tests/test_layers.py` prints the map; a break fails the test and prints it too. Why: docs/design/006-rooms.md.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "streambench"
ROOT = "__init__"
ROOT_NAMES = frozenset({"__version__"})
"""What a room may take from `streambench` itself; anything else there is a lazy door for users."""


@dataclass(frozen=True, slots=True)
class Room:
    """One row of the table: a module or package of `streambench`.

    `doors` are the third-party packages it alone imports; `shared` those of another room's that it imports as well,
    each with the reason.
    """

    layer: int
    name: str
    doors: frozenset[str] = frozenset()
    shared: Mapping[str, str] = field(default_factory=dict)

    @property
    def third_party(self) -> frozenset[str]:
        return self.doors | frozenset(self.shared)


def room(layer: int, name: str, *doors: str, **shared: str) -> Room:
    return Room(layer, name, frozenset(doors), shared)


ROOMS: tuple[Room, ...] = (
    room(0, "errors"),
    room(0, "clock"),
    room(0, "timers"),
    room(0, "words"),
    room(0, "quantiles"),
    room(1, "records"),
    room(1, "documents", "yaml"),
    room(1, "secrets"),
    room(1, "prompt_mask"),
    room(1, "headers"),
    room(1, "images"),
    room(1, "templates"),
    room(1, "rows"),
    room(1, "synthetic"),
    room(1, "reading"),
    room(1, "expansion"),
    room(1, "sse"),
    room(1, "trace_ids"),
    room(1, "dialects"),
    room(1, "apis"),
    room(1, "tool_schemas", "jsonschema", "referencing"),
    room(1, "tool_calls"),
    room(1, "json_answers"),
    room(1, "asked"),
    room(2, "turns"),
    room(2, "suite"),
    room(2, "conversation"),
    room(2, "metrics"),
    room(2, "health"),
    room(2, "model_names"),
    room(2, "findings"),
    room(2, "assertions"),
    room(2, "money"),
    room(2, "bills"),
    room(2, "config", "pydantic", "pydantic_core", "dotenv"),
    room(2, "starting"),
    room(2, "offers"),
    room(2, "picking"),
    room(2, "payloads", "msgspec"),
    room(2, "failures"),
    room(2, "api_events"),
    room(2, "chunks"),
    room(2, "wholes"),
    room(2, "arrivals"),
    room(2, "retries"),
    room(2, "breakers"),
    room(2, "sessions"),
    room(2, "reserve"),
    room(2, "deadlines"),
    room(2, "lag"),
    room(3, "plan"),
    room(3, "transport", "httptools", "httpx2", "aiohappyeyeballs"),
    room(3, "capture"),
    room(3, "watch"),
    room(3, "client", "openai"),
    room(3, "frames", "pandas", "numpy"),
    room(3, "results"),
    room(3, "forms", "pyarrow"),
    room(3, "columns"),
    room(
        3,
        "telemetry",
        "opentelemetry",
        "requests",
        "google",
        "grpc",
        numpy="sorts a request's gaps into buckets at once, where a call for each would cost 10 us",
    ),
    room(4, "discovery"),
    room(4, "gates", "asyncio_throttle"),
    room(4, "armoury"),
    room(4, "runner"),
    room(4, "resume"),
    room(4, "stats", pandas="takes the frames that frames makes", numpy="counts on the columns of those frames"),
    room(4, "verdicts"),
    room(
        4,
        "parts",
        pandas="takes the frames that frames makes",
        numpy="counts on the columns of those frames",
    ),
    room(4, "chat"),
    room(4, "forecast"),
    room(4, "engines"),
    room(
        4,
        "plots",
        "matplotlib",
        pandas="takes the frames that frames makes",
        numpy="bins and ranks the columns of those frames for matplotlib, which draws arrays",
    ),
    room(5, "doctor"),
    room(5, "report", "rich", "jinja2"),
    room(
        5,
        "simulator",
        "uvicorn",
        msgspec="a program of its own: reads requests and writes chunks as a gateway does, not as our client does",
    ),
    room(5, "testing"),
    room(6, "cli", "click"),
    room(6, "__main__"),
)
"""In order: a room may import the rooms above it and no other."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `from streambench.sse import Reader` is (`streambench.sse`, `Reader`)."""

    file: Path
    line: int
    module: str
    name: str | None
    lazy: bool
    """Inside a function or under TYPE_CHECKING: it counts all the same, only the root package may do no other."""


@dataclass(frozen=True, slots=True)
class Break:
    file: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}"


# --- reading the tree


def modules(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def room_of(package: Path, file: Path) -> str:
    """`streambench/transport/pool.py` is in the room `transport`; `streambench/sse.py` in `sse`."""
    return file.relative_to(package).parts[0].removesuffix(".py")


def imports_of(package: Path, file: Path) -> Iterator[Import]:
    """Every import of a file, wherever it stands: top level, function, TYPE_CHECKING, `import_module("literal")`."""
    home = ("streambench", *file.relative_to(package).parts[:-1])
    yield from _imports_in(ast.parse(file.read_text("utf-8")), file, home, lazy=False)


def _imports_in(node: ast.AST, file: Path, home: tuple[str, ...], *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(file, child.lineno, alias.name, None, lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            source = _absolute(child, home)
            yield from (Import(file, child.lineno, source, alias.name, lazy) for alias in child.names)
        elif (literal := _dynamic(child)) is not None:
            yield Import(file, getattr(child, "lineno", 0), literal, None, lazy)
        yield from _imports_in(child, file, home, lazy=lazy or _defers(child))


def _absolute(node: ast.ImportFrom, home: tuple[str, ...]) -> str:
    """The module named by `from ..x import y`, seen from the package `home`."""
    if node.level == 0:
        return node.module or ""
    base = home[: len(home) - node.level + 1]
    return ".".join((*base, node.module) if node.module else base)


def _dynamic(node: ast.AST) -> str | None:
    """The module that `import_module("x")` or `__import__("x")` names, if it is spelled out."""
    match node:
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            return module
    return None


def _defers(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return True
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


# --- judging it


def breaks(package: Path, rooms: Sequence[Room] = ROOMS) -> list[Break]:
    """Everything in `package` that the table does not allow, in order of file and line."""
    order = {row.name: place for place, row in enumerate(rooms)}
    found: list[Break] = []
    for file in modules(package):
        name = room_of(package, file)
        where = str(file.relative_to(package.parent))
        if name != ROOT and name not in order:
            found.append(Break(where, 1, f"{name} is no room: give it a row in tests/test_layers.py"))
            continue
        for item in imports_of(package, file):
            if name != "clock" and item.module.split(".")[0] == "time":
                why: str | None = f"{name} imports time: only streambench/clock.py reads it"
            elif name == ROOT:
                why = _wrong_in_root(item)
            else:
                why = _wrong_in_room(item, rooms[order[name]], package, rooms)
            if why:
                found.append(Break(where, item.line, why))
        found += [Break(where, line, "print: say it through click or rich") for line in prints(file)]
    return list(dict.fromkeys(found))  # two names taken on one line are one break


def _wrong_in_root(item: Import) -> str | None:
    if _is_ours(item):
        return None if item.lazy else f"streambench/__init__.py loads {item.module} at import: do it in a function"
    return None if _is_stdlib(item) else f"streambench/__init__.py imports {item.module}: no third party there"


def _wrong_in_room(item: Import, here: Room, package: Path, rooms: Sequence[Room]) -> str | None:
    if _is_ours(item):
        return _wrong_neighbour(item, here, package, rooms)
    third_party = item.module.split(".")[0]
    if _is_stdlib(item) or third_party in here.third_party:
        return None
    doors = ", ".join(row.name for row in rooms if third_party in row.doors) or "none yet"
    return f"{here.name} imports {third_party}: its one door is {doors}"


def _wrong_neighbour(item: Import, here: Room, package: Path, rooms: Sequence[Room]) -> str | None:
    """Why `here` may not import this part of streambench, or None."""
    parts = item.module.split(".")[1:]
    names = [*parts, *([item.name] if item.name else [])]
    if not names or (not parts and names[0] in ROOT_NAMES):
        return None
    there = next((row for row in rooms if row.name == names[0]), None)
    if there is None:
        return f"{here.name} takes {names[0]} from streambench: only rooms and {', '.join(ROOT_NAMES)} are there"
    if there.name == here.name:
        return None
    above = [row.name for row in takewhile(lambda row: row.name != here.name, rooms)]
    if there.name not in above:
        return f"{here.name} (layer {here.layer}) imports {there.name} (layer {there.layer}): imports go only up"
    private = [name for name in names[1:] if name.startswith("_")]
    if private:
        return f"{here.name} takes {private[0]} from {there.name}: it is private there"
    if len(parts) > 1 or (len(names) > 1 and _is_module(package, names)):
        return f"{here.name} reaches into streambench.{'.'.join(names[:2])}: take it from streambench.{there.name}"
    return None


def _is_module(package: Path, names: Sequence[str]) -> bool:
    place = package.joinpath(*names)
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def _is_ours(item: Import) -> bool:
    return item.module.split(".")[0] == "streambench"


def _is_stdlib(item: Import) -> bool:
    return item.module.split(".")[0] in sys.stdlib_module_names


def prints(file: Path) -> list[int]:
    """The lines that call `print`."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


# --- drawing it


def map_of(package: Path, rooms: Sequence[Room] = ROOMS) -> str:
    """The table with what each room really imports of the others, aligned; `(none yet)` has no code."""
    rows = [("layer", "room", "third party", "imports")]
    for row in rooms:
        third_party = [*sorted(row.doors), *(f"({name})" for name in sorted(row.shared))]
        rows.append((str(row.layer), row.name, " ".join(third_party) or "-", _neighbours(package, row, rooms)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows)


def _neighbours(package: Path, row: Room, rooms: Sequence[Room]) -> str:
    files = [file for file in modules(package) if room_of(package, file) == row.name]
    if not files:
        return "(none yet)"
    used = {
        name
        for file in files
        for item in imports_of(package, file)
        if _is_ours(item)
        for name in [*item.module.split(".")[1:], item.name][:1]
    }
    return " ".join(other.name for other in rooms if other.name in used - {row.name}) or "-"


# --- the tests


def test_imports_go_only_up_and_each_package_has_one_door() -> None:
    """The house as it stands keeps its own rules."""
    found = breaks(PACKAGE)
    assert not found, "\n".join(["", *map(str, found), "", map_of(PACKAGE)])


def test_each_third_party_package_has_exactly_one_door() -> None:
    """The table itself names a package in one row only; a second importer is a stated exception with its reason."""
    doors = [door for row in ROOMS for door in row.doors]
    assert sorted(doors) == sorted(set(doors))
    for row in ROOMS:
        assert all(reason for reason in row.shared.values()), row.name
        assert set(row.shared) <= set(doors), row.name


def test_rows_stand_in_order_of_their_layers() -> None:
    """The table can be read from the top."""
    assert [row.layer for row in ROOMS] == sorted(row.layer for row in ROOMS)


CLEAN: Mapping[str, str] = {
    "__init__.py": "def load():\n    from streambench.results import load\n",
    "errors.py": "",
    "clock.py": "import time\n",
    "transport/__init__.py": "from streambench.transport._pool import Pool\nfrom ._pool import _secret\n",
    "transport/_pool.py": "import httptools\nfrom streambench import clock\n",
    "client.py": "from streambench.transport import Pool\nfrom openai import AsyncOpenAI\n",
    "results.py": "from streambench import __version__\nfrom streambench.errors import ResultsError\n",
    "stats.py": "import numpy as np\n",
}
"""A small house that keeps the rules; each case below adds the file that breaks one."""


def house(folder: Path, **changed: str) -> Path:
    package = folder / "streambench"
    for name, text in {**CLEAN, **changed}.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return package


def test_a_clean_house_has_no_breaks(tmp_path: Path) -> None:
    """Own insides, rooms above, the version and a lazy root are all allowed."""
    assert breaks(house(tmp_path)) == []


@pytest.mark.parametrize(
    ("file", "text", "line", "says"),
    [
        ("errors.py", "from streambench.config import Config", 1, "imports config (layer 2): imports go only up"),
        ("errors.py", "import streambench.config", 1, "imports config (layer 2): imports go only up"),
        ("errors.py", "from . import config", 1, "imports config (layer 2): imports go only up"),
        ("errors.py", "from streambench.clock import NS", 1, "imports clock (layer 0): imports go only up"),
        ("runner.py", "def go():\n    from streambench.report import table", 2, "imports report (layer 5)"),
        (
            "sse.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from streambench import cli",
            3,
            "imports cli",
        ),
        ("sse.py", "from importlib import import_module\nimport_module('streambench.cli')", 2, "imports cli"),
        ("transport/_tls.py", "from ..client import send", 1, "imports client (layer 3): imports go only up"),
        ("plan.py", "import yaml", 1, "plan imports yaml: its one door is documents"),
        ("plan.py", "def go():\n    from numpy.random import default_rng", 2, "its one door is frames"),
        ("plan.py", "import left_pad", 1, "plan imports left_pad: its one door is none yet"),
        ("client.py", "from streambench.transport import _dial", 1, "takes _dial from transport: it is private"),
        ("client.py", "from streambench.transport._pool import Pool", 1, "takes _pool from transport: it is private"),
        ("results.py", "from streambench.clock import _bracket", 1, "takes _bracket from clock: it is private"),
        ("report/live.py", "from streambench.simulator.faults import FAULTS", 1, "imports simulator"),
        ("simulator/app.py", "from streambench.report.table import row", 1, "reaches into streambench.report.table"),
        ("client.py", "from streambench import load", 1, "takes load from streambench"),
        ("plan.py", "import time", 1, "only streambench/clock.py reads it"),
        ("plan.py", "def go():\n    from time import monotonic", 2, "only streambench/clock.py reads it"),
        ("simulator/clock.py", "import time", 1, "only streambench/clock.py reads it"),
        ("cli.py", "print('done')", 1, "print: say it through click or rich"),
        ("__init__.py", "from streambench.results import load", 1, "loads streambench.results at import"),
        ("__init__.py", "def f():\n    import pandas", 2, "no third party there"),
        ("helpers.py", "", 1, "helpers is no room"),
    ],
)
def test_a_break_is_reported(tmp_path: Path, file: str, text: str, line: int, says: str) -> None:
    """One broken rule is one report, at its file and line."""
    (found,) = breaks(house(tmp_path, **{file: text}))
    assert (found.file, found.line) == (f"streambench/{file}", line)
    assert says in found.why


def test_a_siblings_submodule_is_reached_into_by_name_too(tmp_path: Path) -> None:
    """`from streambench.report import table` where table is a module is the inside, not a public name."""
    package = house(tmp_path, **{"report/table.py": "", "cli.py": "from streambench.report import table"})
    (found,) = breaks(package)
    assert "reaches into streambench.report.table: take it from streambench.report" in found.why


def test_the_map_shows_what_each_room_imports(tmp_path: Path) -> None:
    """A row has the layer, the room, its doors and its real imports."""
    rows = {line.split()[1]: line.split() for line in map_of(house(tmp_path)).splitlines()}
    assert rows["transport"] == ["3", "transport", "aiohappyeyeballs", "httptools", "httpx2", "clock"]
    assert rows["stats"] == ["4", "stats", "(numpy)", "(pandas)", "-"]
    assert rows["cli"] == ["6", "cli", "click", "(none", "yet)"]


def test_the_command_starts_without_the_heavy_packages() -> None:
    """`streambench --help` is instant since commands import what they need inside themselves."""
    heavy = ["matplotlib", "numpy", "openai", "pandas", "pydantic", "rich"]
    program = f"import sys, streambench.cli; print(*sorted(set({heavy}) & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


if __name__ == "__main__":
    print(map_of(PACKAGE))
    broken = breaks(PACKAGE)
    for each in broken:
        print(each)
    sys.exit(bool(broken))
