"""Debian's Chromium, driven by Playwright, before the page of a station that really runs.

Thread: the test's. Lock: none. Units: s (monotonic), px.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from rig import Rig, rig, summary, wait_for

ROOT = Path(__file__).resolve().parents[1]
#: Screenshots, for people to look at; git ignores them.
ARTEFACTS = ROOT / "test-artefacts"
#: Width and height of a phone, a tablet and a wall.
SIZES = {360: 740, 768: 1024, 1920: 1080}
#: Nothing of the browser's own may want to reach the internet.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, Scheme] = ("light", "dark")
#: What is asked of a page again and again: is there an element of this kind with this text in it?
SHOWS = """([selector, text]) =>
    [...document.querySelectorAll(selector)].some((node) => node.textContent.includes(text))"""
LIMIT_S = 15.0
#: The page process starts behind everything else, and five other tests may want the processors just then.
PAGE_STARTS_S = 60.0
LOOK_S = 0.02
#: A browser that starts takes both processors for a while. These tests are about the page, so the station is patient
#: with its threads here; that the page costs the control path nothing is measured elsewhere, without a browser.
PATIENT = """
import planning.heartbeat_gate, station
station.CONTROL_LATE_S = station.CAN_LATE_S = planning.heartbeat_gate.STALL_S = 2.0
"""


def find_chromium() -> str:
    """Path of the browser. Without it the test is skipped; on the gate (CI=true) a skip would hide it, so it fails."""
    found = shutil.which("chromium")
    if found is not None:
        return found
    message = "chromium is not installed (Debian: apt-get install chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """The browser, behind everything else that wants the processors: stations have tight times, pages have not."""
    modest = folder / "chromium"
    # as root it would put itself ahead again, at -8
    bound = "setpriv --bounding-set -sys_nice " if os.geteuid() == 0 and shutil.which("setpriv") else ""
    modest.write_text(f'#!/bin/sh\nexec nice -n 10 {bound}{find_chromium()} "$@"\n')
    modest.chmod(0o700)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=modest, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


# --- the station ------------------------------------------------------------------------------------------------------


class Served:
    """A running station, and where its page is."""

    def __init__(self, station: Rig, port: int, token: str) -> None:
        self.station, self.token = station, token
        self.url = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        """Start the controller, and wait until its page answers."""
        self.station.start_main(patch=PATIENT, limit_s=LIMIT_S)
        wait_for(self._answers, f"the page at {self.url} answers", PAGE_STARTS_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/snapshot", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def served(folder: Path, port: int, local: str, token: str = "") -> Iterator[Served]:
    """The simulated station with its page on `port`; `token`: what a person has to show who wants to act."""
    dashboard = f"[Dashboard]\nport = {port}\n"
    if token:
        path = folder / "page_token.txt"
        path.touch(mode=0o600)
        path.write_text(token + "\n")
        dashboard += f"token_file = {path}\n"
    with rig(folder, local + dashboard, start=False) as station:
        made = Served(station, port, token)
        made.start()
        yield made


# --- pages ------------------------------------------------------------------------------------------------------------


@dataclass
class Looker:
    """One page in a window of its own, and what went wrong in it."""

    page: Page
    width: int
    problems: list[str] = field(default_factory=list)

    def shows(self, selector: str, text: str = "") -> bool:
        return bool(self.page.evaluate(SHOWS, [selector, text]))

    def wait_shown(self, selector: str, text: str = "", limit_s: float = LIMIT_S) -> None:
        wait_for(lambda: self.shows(selector, text), f"{self.width} px: {selector} with '{text}'", limit_s)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def number(self, script: str) -> float:
        return float(self.page.evaluate(script))

    def note(self, complaint: str, url: str) -> None:
        """The browser complains aloud of every answer that is a refusal; a station may well keep no history."""
        if "/api/sessions" not in url and "/api/history" not in url:
            self.problems.append(f"{complaint} {url}")

    def keep(self, name: str) -> None:
        """A picture of the whole page, for people."""
        ARTEFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{name}-{self.width}.png", full_page=True)

    def look_in(self, scheme: Scheme) -> None:
        self.page.emulate_media(color_scheme=scheme)


def looker(context: BrowserContext, url: str, width: int) -> Looker:
    """Open the page; what it complains of is kept."""
    made = Looker(context.new_page(), width)
    made.page.on("pageerror", lambda error: made.problems.append(f"error: {error}"))
    made.page.on("console", lambda said: made.note(said.text, said.location["url"]) if said.type == "error" else None)
    made.page.goto(url, wait_until="commit")
    return made


@contextmanager
def lookers(browser: Browser, url: str, sizes: dict[int, int] | None = None) -> Iterator[list[Looker]]:
    """The page in windows of several sizes, all showing live data."""
    with ExitStack() as opened:
        made = []
        for width, height in (sizes or SIZES).items():
            context = browser.new_context(viewport={"width": width, "height": height})
            opened.callback(context.close)
            made.append(looker(context, url, width))
        for each in made:
            each.wait_shown('html[data-age="live"]')
        yield made


class Delays:
    """How long after an event each page showed it."""

    def __init__(self, pages: Sequence[Looker], limit_s: float) -> None:
        self._pages, self._limit_s = pages, limit_s
        self._of: dict[str, list[float]] = {}

    def shown(self, what: str, since_s: float, selector: str, text: str = "") -> None:
        """Wait until every page shows it; `since_s`: when it happened in the plant."""
        tick, waiting = threading.Event(), list(self._pages)
        while waiting:
            for looker in waiting.copy():
                if looker.shows(selector, text):
                    waiting.remove(looker)
                    self._of.setdefault(what, []).append(time.monotonic() - since_s)
            late_s = time.monotonic() - since_s
            if waiting and late_s > LIMIT_S:
                widths = ", ".join(f"{looker.width} px" for looker in waiting)
                pytest.fail(f"{what}: not shown at {widths} {late_s:.1f} s after it happened: {selector} '{text}'")
            tick.wait(LOOK_S)

    def judge(self, every_one: bool) -> None:
        """Print the figures. `every_one`: none may be above the limit (a machine that does nothing else); else the
        quickest of each kind: tests of every run share two processors with four others."""
        for what, delays_s in self._of.items():
            summary(f"the page shows: {what}", delays_s)
        judged = {what: (max if every_one else min)(delays_s) for what, delays_s in self._of.items()}
        assert {what: round(delay_s, 2) for what, delay_s in judged.items() if delay_s > self._limit_s} == {}


def grave_findings(page: Page) -> list[str]:
    """What axe finds serious or critical on the page as it stands."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}" for each in grave]
