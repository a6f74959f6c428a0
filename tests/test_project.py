"""What a stranger would stumble over: dead links, paths of one machine, a lock that lags behind, a missing page."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping

import pytest
from home import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import streambench

DESIGN = ROOT / "docs" / "design"
LOCK = ROOT / "requirements" / "lock.txt"

# Put together here, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root)/" + r"\w")
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs", "org"), ("npmjs", "com"))
)


@pytest.fixture(scope="module")
def texts() -> Mapping[str, str]:
    """Path to text of every file that git tracks or would add; binary files are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("no git checkout: nothing tells which files are the project's")
    files = {name: ROOT / name for name in os.fsdecode(listed.stdout).split("\0") if name}
    raw = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
    return {name: data.decode("utf-8", "replace") for name, data in raw.items() if b"\0" not in data}


def test_readme_gives_the_two_commands() -> None:
    """A newcomer finds them without opening the Makefile."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "make demo" in readme
    assert "make test" in readme


def test_no_file_holds_a_path_of_one_machine(texts: Mapping[str, str]) -> None:
    """What works on the author's disk only is a fault on every other."""
    assert _lines_with(MACHINE_PATH, texts) == []


def test_no_file_names_a_package_registry(texts: Mapping[str, str]) -> None:
    """Where packages come from is each machine's own setting."""
    assert _lines_with(re.compile("|".join(map(re.escape, REGISTRIES))), texts) == []


def _lines_with(pattern: re.Pattern[str], texts: Mapping[str, str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("see /" + "home/ann/x.yaml", True),
        ("file:/" + "root/x", True),
        ("https://gateway.example/" + "home/x", False),
        ("our/" + "work/x", False),
    ],
)
def test_a_machines_path_is_told_from_an_address(line: str, found: bool) -> None:  # noqa: FBT001 - a column of a table
    """A path starts at the root; the same word inside an address or a relative path is none."""
    assert bool(_lines_with(MACHINE_PATH, {"x": line})) is found


def test_design_pages_are_numbered_once_and_listed() -> None:
    """Every page is in the index, every row of the index has its page, no number is given twice."""
    pages = sorted(page.name for page in DESIGN.glob("*.md") if page.name != "README.md")
    index = re.findall(r"\]\(([^)]+\.md)\)", (DESIGN / "README.md").read_text("utf-8"))
    assert all(re.fullmatch(r"\d{3}-[a-z0-9-]+\.md", page) for page in pages), pages
    numbers = [page[:3] for page in pages]
    assert len(numbers) == len(set(numbers)), pages
    assert sorted(index) == pages


def test_changelog_has_this_version() -> None:
    """What is installed can be looked up."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## \[{re.escape(streambench.__version__)}\]", changelog, re.MULTILINE)


def test_the_lock_holds_what_the_project_asks_for() -> None:
    """A dependency added to, or raised in, pyproject.toml is in the lock; `make lock` writes it anew."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK.read_text("utf-8"), re.MULTILINE):
        pins.setdefault(canonicalize_name(name), []).append(version)
    wanted = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["dev"])]
    lagging = [str(each) for each in wanted if not _held(each, pins)]
    assert lagging == [], "run make lock"


def _held(wanted: Requirement, pins: Mapping[str, list[str]]) -> bool:
    versions = pins.get(canonicalize_name(wanted.name), [])
    return bool(versions) and all(wanted.specifier.contains(version, prereleases=True) for version in versions)
