"""Pages that come from the code are as the code has them; what the README says can be run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from streambench.config import load_config

DOCS = Path(__file__).resolve().parent.parent / "docs"
README = (DOCS.parent / "README.md").read_text("utf-8")
PAGES = runpy.run_path(str(DOCS / "generate.py"))["pages"]()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_page_is_current(name: str) -> None:
    """`make docs` would change nothing."""
    assert (DOCS / name).read_text("utf-8") == PAGES[name]


def test_the_readmes_two_lines_are_a_config(tmp_path: Path) -> None:
    """With prompts beside them they load, and the key comes from the environment."""
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "c.yaml").write_text(f"{block}prompts: [Hi]\n")
    config = load_config(tmp_path / "c.yaml", env={"HUB_API_KEY": "key-from-environment"})
    assert [model.alias for model in config.models] == ["gpt-4o", "deepseek-chat"]
    assert config.gateways["hub"].api_key == "key-from-environment"


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
