"""Pages that come from the code are as the code has them; what the README says can be run."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
from home import ROOT

from streambench.config.load import load_config
from streambench.metrics.findings import FINDINGS, THRESHOLDS
from streambench.metrics.outcomes import OUTCOMES

DOCS = ROOT / "docs"
README = (DOCS.parent / "README.md").read_text("utf-8")
PAGES = runpy.run_path(str(DOCS / "generate.py"))["pages"]()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_page_is_current(name: str) -> None:
    """`make docs` would change nothing."""
    assert (DOCS / name).read_text("utf-8") == PAGES[name]


def test_the_health_page_has_every_row() -> None:
    """It lists all outcomes, findings and thresholds."""
    page = PAGES["health.md"]
    assert all(f"| `{name}` |" in page for name in (*OUTCOMES, *FINDINGS, *THRESHOLDS))


def test_the_readmes_two_lines_are_a_config(tmp_path: Path) -> None:
    """With prompts beside them they load, and the key comes from the environment."""
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "c.yaml").write_text(f"{block}prompts: [Hi]\n")
    config = load_config(tmp_path / "c.yaml", env={"HUB_API_KEY": "key-from-environment"})
    assert [model.alias for model in config.models] == ["gpt-4o", "deepseek-chat"]
    assert config.gateways["hub"].api_key == "key-from-environment"


BLOCKS = [
    (page.name, number, block)
    for page in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")))
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL), 1)
    if "runs-on:" not in block and "OTEL_" not in block  # those of GitHub Actions
]


@pytest.mark.parametrize(("page", "number", "block"), BLOCKS, ids=[f"{page}-{number}" for page, number, _ in BLOCKS])
def test_every_yaml_block_loads(tmp_path: Path, page: str, number: int, block: str) -> None:
    """As it stands, with only what it leaves out beside it: a gateway, models, or prompts."""
    shutil.copytree(DOCS.parent / "configs" / "suites", tmp_path / "suites")
    for name in ("bars.png", "towns.csv"):
        shutil.copy(tmp_path / "suites" / name, tmp_path / name)
    shutil.copy(tmp_path / "bars.png", tmp_path / "small.gif")
    (tmp_path / "results" / "before").mkdir(parents=True)
    (tmp_path / "results" / "before" / "run.json").write_text("{}")
    (tmp_path / "towns.csv").write_text("town,country,wish\nOslo,Norway,Trams.\n")
    for number_of, part in enumerate(_parts(block)):
        file = tmp_path / f"{number}-{number_of}.yaml"
        file.write_text(part)
        names = {name: f"key-of-{name}" for name in re.findall(r"\$\{(\w+)\}", part)}
        load_config(file, env=names)


def _parts(block: str) -> list[str]:
    """What stands in one block as alternatives of one key is tried one by one; a list is one of prompts."""
    if block.startswith("- "):
        block = "prompts:\n" + "".join(f"  {line}\n" for line in block.splitlines())
    top = re.findall(r"^(\w+):", block, re.MULTILINE)
    if "suite" in top and len(top) > 1:
        return [part for line in block.splitlines() for part in _parts(line + "\n")]
    if "gateways" not in top:
        block += "gateways: {hub: {base_url: https://gateway.example/v1, api_key: none}}\n"
    if "models" not in top:
        block += "models: [{model: gpt-4o, price: {input: 1, output: 4}}]\n"
    if not {"prompts", "suite"} & set(top):
        block += "prompts: [Hi]\n"
    return [block]


def test_every_file_the_readme_names_is_there() -> None:
    """A link to nowhere is the first thing that a stranger tries."""
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if not (DOCS.parent / link).exists()] == []


def test_the_readmes_pictures_are_there_and_light() -> None:
    """Each below 400 KB, with words for those who do not see it; `make screenshot` takes them."""
    text = (DOCS.parent / "README.md").read_text("utf-8")
    found = re.findall(r'(?:src|srcset)="(docs/images/[^"]+)"', text)
    assert len(found) == 2
    for picture in found:
        assert (DOCS.parent / picture).stat().st_size < 400_000
    assert re.search(r'<img [^>]*alt="[^"]{20,}"', text)
