"""Opens a report in Chromium as a reader would, and prints what came of it as JSON. Runs in `.venv-browser`.

python browse.py CHROMIUM PAGE FOLDER AXE PLAIN...     screenshots go to FOLDER; AXE is axe-core's script, or "";
                                                       PLAIN are further pages of ours, which have no script
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright  # type: ignore[import-not-found]

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
    "unscripted": {"viewport": {"width": 1280, "height": 900}, "java_script_enabled": False},
}


def main(chromium: str, page: str, folder: str, axe: str, *plain: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        visit = Visit(browser, Path(page).resolve().as_uri(), Path(folder))
        found = {
            "leaderboard": visit.leaderboard(),
            "explorer": visit.explorer(),
            "keyboard": visit.keyboard(),
            "unscripted": visit.unscripted(),
            "widths": visit.looks(),
            "faults": visit.axe(Path(axe).read_text("utf-8")) if axe else None,
            "plain": {each: visit.plain(each, Path(axe).read_text("utf-8") if axe else "") for each in plain},
        }
        browser.close()
    print(json.dumps(found | {"requests": visit.requests, "said": visit.said}))


class Visit:
    """Every page that is opened here tells what it asked for and what it said."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        self.browser, self.url, self.folder = browser, url, folder
        self.requests: list[str] = []
        self.said: list[str] = []

    @contextmanager
    def open(self, look: str, url: str = "") -> Iterator[Page]:
        context = self.browser.new_context(**LOOKS[look])
        page = context.new_page()
        page.on("request", lambda request: self.requests.append(request.url[:200]))
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        page.goto(url or self.url)
        yield page
        context.close()

    def leaderboard(self) -> dict[str, Any]:
        with self.open("light") as page:
            names = "#board tbody tr:visible th bdi"
            first = page.locator(names).all_inner_texts()
            head = page.locator("#board thead th", has_text="TTFT p50")
            head.locator("button").click()
            up, said_up = page.locator(names).all_inner_texts(), head.get_attribute("aria-sort")
            head.locator("button").click()
            down, said_down = page.locator(names).all_inner_texts(), head.get_attribute("aria-sort")
            page.fill("#model-filter", first[0].upper())
            kept = page.locator(names).all_inner_texts()
            count = page.inner_text("#model-count")
        return {
            "first": first,
            "up": up,
            "down": down,
            "said": [said_up, said_down],
            "kept": kept,
            "count": count,
        }

    def explorer(self) -> dict[str, Any]:
        with self.open("light") as page:
            rows = "#explorer tbody tr[data-seq]"
            every = page.inner_text("#found")
            page.click("#more")
            after_more = page.locator(rows).count()
            page.select_option("#by-outcome", label="http_error")
            failed = page.locator(f"{rows} td:nth-child(5)").all_inner_texts()
            page.select_option("#by-outcome", "")
            page.select_option("#by-model", "1")
            of_model = page.locator(f"{rows} th").all_inner_texts()
            page.select_option("#by-model", "")
            page.select_option("#by-order", "1")
            slowest = page.locator(f"{rows} td:nth-child(7)").first.inner_text()
            page.fill("#q", "#7 ")
            found = page.locator(rows).count()
            page.locator("button.open").first.click()
            marks = page.locator("#explorer svg.lane rect:not(.wait)").count()
            links = page.locator("#explorer .facts a").evaluate_all("all => all.map(one => one.href)")
            page.locator("button.open").first.click()
            closed = page.locator("#explorer .opened").count()
        return {
            "every": every,
            "after_more": after_more,
            "failed": failed,
            "of_model": sorted(set(of_model)),
            "slowest": slowest,
            "found": found,
            "marks": marks,
            "links": links,
            "closed": closed,
        }

    def keyboard(self) -> dict[str, Any]:
        """Tab to the first links, and sort with Enter."""
        with self.open("light") as page:
            page.keyboard.press("Tab")
            skip = page.evaluate("document.activeElement.textContent")
            page.locator("#board thead button").first.focus()
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            sort = page.locator("#board thead th").nth(1).get_attribute("aria-sort")
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        return {"skip": skip, "sort": sort, "outline": outline}

    def unscripted(self) -> dict[str, Any]:
        with self.open("unscripted") as page:
            found = {
                "rows": page.locator("#board tbody tr:visible").count(),
                "figures": page.locator("figure svg[role=img]:visible").count(),
                "static": page.locator("#static tbody tr:visible").count(),
                "controls": page.locator(".scripted:visible").count(),
            }
            page.screenshot(path=self.folder / "unscripted.png", full_page=True)
        return found

    def looks(self) -> dict[str, list[int]]:
        """Screenshots; gives each one's (width of the content, width of the window)."""
        found = {}
        for look in ("light", "dark", "phone"):
            with self.open(look) as page:
                page.locator("button.open").first.click()
                page.screenshot(path=self.folder / f"{look}.png", full_page=True)
                found[look] = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        with self.open("dark") as page:
            page.pdf(path=self.folder / "print.pdf", format="A4", print_background=True)
            page.emulate_media(media="print")
            page.set_viewport_size({"width": 794, "height": 1123})
            page.screenshot(path=self.folder / "print.png", full_page=True)
            found["print"] = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        return found

    def axe(self, script: str) -> list[str]:
        """Faults that axe-core finds, in light and dark, as `impact id: element`."""
        found = []
        for look in ("light", "dark", "phone"):
            with self.open(look) as page:
                page.locator("button.open").first.click()
                found += faults_of(page, script)
        return found

    def plain(self, path: str, script: str) -> dict[str, Any]:
        """A page without scripts: its faults, its (width of the content, of the window) in each look, its figures."""
        found: dict[str, Any] = {"faults": [], "widths": [], "figures": []}
        for look in ("light", "dark", "phone"):
            with self.open(look, Path(path).resolve().as_uri()) as page:
                page.screenshot(path=self.folder / f"{Path(path).stem}-{look}.png", full_page=True)
                found["widths"].append(page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]"))
                found["figures"].append(page.locator("figure svg[role=img]:visible").count())
                found["faults"] += faults_of(page, script) if script else []
        return found


def faults_of(page: Page, script: str) -> list[str]:
    page.evaluate(script)
    faults = page.evaluate("axe.run()")["violations"]
    return [f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:120]}" for one in faults]


if __name__ == "__main__":
    main(*sys.argv[1:])
