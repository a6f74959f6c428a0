"""Takes the README's pictures: runs the quickstart, opens its page in Chromium, and keeps what a reader sees first.

python docs/screenshot.py          docs/images/report.png and report-dark.png; needs chromium (`make screenshot`)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SHOTS = {"light": IMAGES / "report.png", "dark": IMAGES / "report-dark.png"}
WIDTH, LAST = 1280, "#leaderboard"
"""Of the window; and the part of the page that the picture ends with."""


def main() -> int:
    sys.path.insert(0, str(ROOT / "tests" / "real"))
    from parts import Environment

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.stderr.write("no Chromium on this machine: apt-get install chromium fonts-dejavu-core\n")
        return 2
    browser = Environment(".venv-browser", "browser.txt")
    browser.build()
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "streambench", "run", str(ROOT / "configs" / "quickstart.yaml")]
        subprocess.run([*run, "--output", folder, "--quiet"], check=True)  # noqa: S603 - our own command
        (page,) = Path(folder).glob("*/report.html")
        subprocess.run([browser.python, __file__, chromium, str(page)], check=True)  # noqa: S603 - this file
    return 0


def shoot(chromium: str, page: str) -> None:
    """Runs in `.venv-browser`."""
    from playwright.sync_api import sync_playwright  # type: ignore[import-not-found]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for look, path in SHOTS.items():
            opened = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=look)
            opened.goto(Path(page).as_uri())
            bottom = opened.evaluate(f"document.querySelector('{LAST}').getBoundingClientRect().bottom")
            opened.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom + 16})
        browser.close()


if __name__ == "__main__":
    sys.exit(shoot(*sys.argv[1:]) if len(sys.argv) > 1 else main())
