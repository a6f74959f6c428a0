"""Imports go one way through the packages, and each third-party package has one owner.

`python tests/test_layers.py` prints the map; a break fails the test and prints it too. Why:
docs/design/006-packages.md.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import takewhile
from pathlib import Path

import pytest

CODE = Path(__file__).resolve().parent.parent / "streambench"
ROOT = "__init__"
ROOT_NAMES = frozenset({"__version__"})
"""What a package may take from `streambench` itself; anything else there is loaded lazily, for users."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the table: a module or package of `streambench`.

    `owns` are the third-party packages it alone imports; `shared` those of another package's that it imports as well,
    each with the reason.
    """

    layer: int
    name: str
    owns: frozenset[str] = frozenset()
    shared: Mapping[str, str] = field(default_factory=dict)

    @property
    def third_party(self) -> frozenset[str]:
        return self.owns | frozenset(self.shared)


def package(layer: int, name: str, *owns: str, **shared: str) -> Layer:
    return Layer(layer, name, frozenset(owns), shared)


PACKAGES: tuple[Layer, ...] = (
    package(0, "errors"),
    package(0, "text"),
    package(0, "clock"),
    package(0, "redaction"),
    package(0, "documents", "yaml"),
    package(0, "quantities", "annotated_types", pydantic_core="makes the schema of a type when pydantic asks for it"),
    package(1, "records"),
    package(1, "metrics"),
    package(1, "workload", "jsonschema", "referencing"),
    package(
        1,
        "config",
        "pydantic",
        "pydantic_core",
        "dotenv",
        annotated_types="limits the numbers of a section that no other package declares",
    ),
    package(2, "client", "openai", "httptools", "httpx2", "aiohappyeyeballs", "msgspec"),
    package(2, "runner", "asyncio_throttle"),
    package(
        3,
        "telemetry",
        "opentelemetry",
        "requests",
        "google",
        "grpc",
        numpy="sorts a request's gaps into buckets at once, where a call for each would cost 10 us",
    ),
    package(3, "analysis", "pandas", "numpy", "pyarrow"),
    package(
        4,
        "report",
        "rich",
        "jinja2",
        "matplotlib",
        pandas="takes the frames that analysis makes",
        numpy="bins and ranks the columns of those frames for matplotlib, which draws arrays",
    ),
    package(
        4,
        "simulator",
        "uvicorn",
        msgspec="a program of its own: reads requests and writes chunks as a gateway does, not as our client does",
    ),
    package(4, "doctor"),
    package(5, "testing"),
    package(5, "api"),
    package(6, "cli", "click"),
    package(6, "__main__"),
)
"""In order: a package may import the packages above it and no other."""


FINER: Mapping[str, tuple[str, ...]] = {
    "streambench.runner.scheduler": ("streambench.client", "streambench.records.journal"),
    "streambench.analysis.stats": ("streambench.analysis.run", "streambench.records"),
    "streambench.simulator": ("streambench.client", "streambench.runner", "streambench.telemetry"),
    "streambench.client.transport": ("openai", "streambench.client.client", "streambench.client.decode"),
}
"""What a part of a package may not import although its package may: the scheduler sends what it is given, statistics
take arrays, the simulator is a program of its own, and a transport moves bytes."""


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


def package_of(package: Path, file: Path) -> str:
    """`streambench/client/decode/sse.py` is in the package `client`; `streambench/text.py` in `text`."""
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


def breaks(package: Path, packages: Sequence[Layer] = PACKAGES) -> list[Break]:
    """Everything in `package` that the table does not allow, in order of file and line."""
    order = {row.name: place for place, row in enumerate(packages)}
    found: list[Break] = []
    for file in modules(package):
        name = package_of(package, file)
        where = str(file.relative_to(package.parent))
        if name != ROOT and name not in order:
            found.append(Break(where, 1, f"{name} is no known package: give it a row in tests/test_layers.py"))
            continue
        for item in imports_of(package, file):
            if name != "clock" and item.module.split(".")[0] == "time":
                why: str | None = f"{name} imports time: only streambench/clock.py reads it"
            elif name == ROOT:
                why = _wrong_in_root(item)
            else:
                why = _wrong_in_package(item, packages[order[name]], packages) or _wrong_in_module(package, file, item)
            if why:
                found.append(Break(where, item.line, why))
        found += [Break(where, line, "print: say it through click or rich") for line in prints(file)]
    return list(dict.fromkeys(found))  # two names taken on one line are one break


def _wrong_in_root(item: Import) -> str | None:
    if _is_ours(item):
        return None if item.lazy else f"streambench/__init__.py loads {item.module} at import: do it in a function"
    return None if _is_stdlib(item) else f"streambench/__init__.py imports {item.module}: no third party there"


def _wrong_in_package(item: Import, here: Layer, packages: Sequence[Layer]) -> str | None:
    if _is_ours(item):
        return _wrong_neighbour(item, here, packages)
    third_party = item.module.split(".")[0]
    if _is_stdlib(item) or third_party in here.third_party:
        return None
    owns = ", ".join(row.name for row in packages if third_party in row.owns) or "none yet"
    return f"{here.name} imports {third_party}: its owner is {owns}"


def _wrong_in_module(package: Path, file: Path, item: Import) -> str | None:
    here = ".".join(("streambench", *file.relative_to(package).with_suffix("").parts))
    there = f"{item.module}.{item.name}" if item.name else item.module
    for part, forbidden in FINER.items():
        if not _is_in(here, part):
            continue
        for name in forbidden:
            if _is_in(there, name):
                return f"{part} may not import {name}"
    return None


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _wrong_neighbour(item: Import, here: Layer, packages: Sequence[Layer]) -> str | None:
    """Why `here` may not import this part of streambench, or None."""
    parts = item.module.split(".")[1:]
    names = [*parts, *([item.name] if item.name else [])]
    if not names or (not parts and names[0] in ROOT_NAMES):
        return None
    there = next((row for row in packages if row.name == names[0]), None)
    if there is None:
        return f"{here.name} takes {names[0]} from streambench: only packages and {', '.join(ROOT_NAMES)} are there"
    if there.name == here.name:
        return None
    above = [row.name for row in takewhile(lambda row: row.name != here.name, packages)]
    if there.name not in above:
        return f"{here.name} (layer {here.layer}) imports {there.name} (layer {there.layer}): imports go only up"
    private = [name for name in names[1:] if name.startswith("_")]
    if private:
        return f"{here.name} takes {private[0]} from {there.name}: it is private there"
    return None


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


def graph(package: Path) -> dict[str, set[str]]:
    """The modules that each module imports, wherever: in a function and under TYPE_CHECKING too.

    The root package is left out: it imports nothing but the names that it hands on when they are first used.
    """
    names = {
        ".".join(("streambench", *file.relative_to(package).with_suffix("").parts)): file for file in modules(package)
    }
    names = {name.removesuffix(".__init__"): file for name, file in names.items()}
    found: dict[str, set[str]] = {}
    for name, file in names.items():
        inner = {f"{item.module}.{item.name}" for item in imports_of(package, file)}
        whole = {item.module for item in imports_of(package, file) if f"{item.module}.{item.name}" not in names}
        found[name] = ((inner | whole) & names.keys()) - {name, "streambench"}
    del found["streambench"]
    return found


# --- drawing it


def map_of(package: Path, packages: Sequence[Layer] = PACKAGES) -> str:
    """The table with what each package really imports of the others, aligned; `(none yet)` has no code."""
    rows = [("layer", "package", "third party", "imports")]
    for row in packages:
        third_party = [*sorted(row.owns), *(f"({name})" for name in sorted(row.shared))]
        rows.append((str(row.layer), row.name, " ".join(third_party) or "-", _neighbours(package, row, packages)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows)


def _neighbours(package: Path, row: Layer, packages: Sequence[Layer]) -> str:
    files = [file for file in modules(package) if package_of(package, file) == row.name]
    if not files:
        return "(none yet)"
    used = {
        name
        for file in files
        for item in imports_of(package, file)
        if _is_ours(item)
        for name in [*item.module.split(".")[1:], item.name][:1]
    }
    return " ".join(other.name for other in packages if other.name in used - {row.name}) or "-"


# --- the tests


def test_imports_go_only_up_and_each_dependency_has_one_owner() -> None:
    """The code as it stands keeps the rules."""
    found = breaks(CODE)
    assert not found, "\n".join(["", *map(str, found), "", map_of(CODE)])


def test_the_files_of_packages_hold_only_a_docstring() -> None:
    """Names are imported from their module; only `streambench` itself hands names on."""
    files = [file for file in modules(CODE) if file.name == "__init__.py" and file.parent != CODE]
    assert [str(file) for file in files if len(ast.parse(file.read_text("utf-8")).body) != 1] == []


def test_at_most_ten_modules_lie_at_the_top() -> None:
    assert len(list(CODE.glob("*.py"))) <= 10


def test_no_module_imports_itself_in_a_circle() -> None:
    """Also not by an import in a function or under TYPE_CHECKING."""
    try:
        TopologicalSorter(graph(CODE)).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


@pytest.mark.parametrize("text", ["from streambench.text import shown", "def late():\n    import streambench.text"])
def test_a_circle_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "errors.py").write_text(text)
    (tmp_path / "text.py").write_text("if TYPE_CHECKING:\n    from streambench.errors import Problem")
    with pytest.raises(CycleError):
        TopologicalSorter(graph(tmp_path)).prepare()


def test_each_third_party_package_has_exactly_one_owner() -> None:
    """The table itself names a package in one row only; a second importer is a stated exception with its reason."""
    owns = [name for row in PACKAGES for name in row.owns]
    assert sorted(owns) == sorted(set(owns))
    for row in PACKAGES:
        assert all(reason for reason in row.shared.values()), row.name
        assert set(row.shared) <= set(owns), row.name


def test_rows_stand_in_order_of_their_layers() -> None:
    """The table can be read from the top."""
    assert [row.layer for row in PACKAGES] == sorted(row.layer for row in PACKAGES)


CLEAN: Mapping[str, str] = {
    "__init__.py": "def load():\n    from streambench.analysis.run import load\n",
    "errors.py": "",
    "clock.py": "import time\n",
    "client/__init__.py": "",
    "client/client.py": "from streambench.client._pool import Pool\nfrom ._pool import _secret\n",
    "client/_pool.py": "import httptools\nfrom openai import AsyncOpenAI\nfrom streambench import clock\n",
    "config.py": "from streambench import __version__\nfrom streambench.errors import ConfigError\n",
    "runner/plan.py": "from streambench.client.client import Client\n",
    "analysis.py": "import numpy as np\n",
}
"""A small tree that keeps the rules; each case below adds the file that breaks one."""


def tree(folder: Path, **changed: str) -> Path:
    package = folder / "streambench"
    for name, text in {**CLEAN, **changed}.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return package


def test_a_clean_tree_has_no_breaks(tmp_path: Path) -> None:
    """Own insides, packages above, the version and a lazy root are all allowed."""
    assert breaks(tree(tmp_path)) == []


@pytest.mark.parametrize(
    ("file", "text", "line", "says"),
    [
        ("errors.py", "from streambench.config import Config", 1, "imports config (layer 1): imports go only up"),
        ("errors.py", "import streambench.config", 1, "imports config (layer 1): imports go only up"),
        ("errors.py", "from . import config", 1, "imports config (layer 1): imports go only up"),
        ("errors.py", "from streambench.clock import NS", 1, "imports clock (layer 0): imports go only up"),
        ("runner/local.py", "def go():\n    from streambench.report import table", 2, "imports report (layer 4)"),
        (
            "text.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from streambench import cli",
            3,
            "imports cli",
        ),
        ("text.py", "from importlib import import_module\nimport_module('streambench.cli')", 2, "imports cli"),
        ("client/_tls.py", "from ..runner import send", 1, "imports runner (layer 2): imports go only up"),
        ("runner/plan.py", "import yaml", 1, "runner imports yaml: its owner is documents"),
        ("runner/plan.py", "def go():\n    from numpy.random import default_rng", 2, "its owner is analysis"),
        ("runner/plan.py", "import left_pad", 1, "runner imports left_pad: its owner is none yet"),
        ("runner/plan.py", "from streambench.client import _dial", 1, "takes _dial from client: it is private"),
        ("runner/plan.py", "from streambench.client._pool import Pool", 1, "takes _pool from client: it is private"),
        ("runner/plan.py", "from streambench.clock import _bracket", 1, "takes _bracket from clock: it is private"),
        ("report/live.py", "from streambench.simulator.faults import FAULTS", 1, "imports simulator"),
        ("runner/plan.py", "from streambench import load", 1, "takes load from streambench"),
        ("runner/plan.py", "import time", 1, "only streambench/clock.py reads it"),
        ("runner/plan.py", "def go():\n    from time import monotonic", 2, "only streambench/clock.py reads it"),
        ("simulator/clock.py", "import time", 1, "only streambench/clock.py reads it"),
        ("cli.py", "print('done')", 1, "print: say it through click or rich"),
        ("runner/scheduler.py", "from streambench.client.client import Client", 1, "may not import streambench.client"),
        ("runner/scheduler.py", "def f():\n    from streambench import client", 2, "may not import streambench.client"),
        (
            "analysis/stats/paired.py",
            "from streambench.analysis.run import Run",
            1,
            "may not import streambench.analysis.run",
        ),
        ("__init__.py", "from streambench.config import load", 1, "loads streambench.config at import"),
        ("__init__.py", "def f():\n    import pandas", 2, "no third party there"),
        ("helpers.py", "", 1, "helpers is no known package"),
    ],
)
def test_a_break_is_reported(tmp_path: Path, file: str, text: str, line: int, says: str) -> None:
    """One broken rule is one report, at its file and line."""
    (found,) = breaks(tree(tmp_path, **{file: text}))
    assert (found.file, found.line) == (f"streambench/{file}", line)
    assert says in found.why


def test_the_map_shows_what_each_package_imports(tmp_path: Path) -> None:
    """A row has the layer, the package, what it owns and its real imports."""
    rows = {line.split()[1]: line.split() for line in map_of(tree(tmp_path)).splitlines()}
    assert rows["runner"] == ["2", "runner", "asyncio_throttle", "client"]
    assert rows["analysis"] == ["3", "analysis", "numpy", "pandas", "pyarrow", "-"]
    assert rows["cli"] == ["6", "cli", "click", "(none", "yet)"]


def test_the_command_starts_without_the_heavy_packages() -> None:
    """`streambench --help` is instant since commands import what they need inside themselves."""
    heavy = ["matplotlib", "numpy", "openai", "pandas", "pydantic", "rich"]
    program = f"import sys, streambench.cli.main; print(*sorted(set({heavy}) & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


def test_the_rules_of_a_run_load_no_pydantic() -> None:
    """They read the sections of a config, which are plain dataclasses."""
    program = (
        "import sys, streambench.runner.retry, streambench.runner.breakers, streambench.metrics.findings\n"
        "print('pydantic' in sys.modules or 'pydantic_core' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["False"]


if __name__ == "__main__":
    print(map_of(CODE))
    broken = breaks(CODE)
    for each in broken:
        print(each)
    sys.exit(bool(broken))
