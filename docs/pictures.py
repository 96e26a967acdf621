"""Job: the pictures of README.md: the page of the simulated station on a phone and on a wide screen.

Thread: MainThread. Lock: none. Units: s, px. `python -m docs.pictures` takes some two minutes, needs Debian's chromium
and the packages of the tests; nobody needs to run it before the page has changed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
#: Ten minutes of station time for the chart.
SPEED, RUN_S = 5, 115.0
CARS, SEED, RULE = 200, 11, "fair_share"
START_S = 30.0
#: The picture is what counts here: a machine that is busy with other things shall not end the station.
STATION = """
import sys, main, planning.heartbeat_gate, station
station.CONTROL_LATE_S = station.CAN_LATE_S = planning.heartbeat_gate.STALL_S = 3.0
sys.exit(main.main())
"""


@contextmanager
def simulated_station(folder: Path) -> Iterator[str]:
    """The simulated station with cars; where its page is."""
    port, broker_port = _free_port(), _free_port()
    config = folder / "config.ini"
    config.write_text(f"[MQTT]\nport = {broker_port}\n[Dashboard]\nport = {port}\n[Allocation]\npriority = {RULE}\n")
    command = [sys.executable, "-c", STATION, "--config", str(config), "--simulate"]
    command += ["--speed", str(SPEED), "--cars", str(CARS), "--seed", str(SEED)]
    station = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
        if station.poll() is not None:
            raise SystemExit(f"The station ended meanwhile, with {station.returncode}")
    finally:
        station.terminate()
        station.wait(10.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_page(url: str) -> None:
    tick, end_s = threading.Event(), time.monotonic() + START_S
    while time.monotonic() < end_s:
        try:
            with urllib.request.urlopen(f"{url}/api/snapshot", timeout=1.0):
                return
        except OSError:
            tick.wait(0.2)
    raise SystemExit(f"The page at {url} did not answer within {START_S:g} s")


def take(browser: Browser, url: str, name: str, width: int, height: int, scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.locator('html[data-age="live"]').wait_for(state="attached")
    page.wait_for_timeout(2500)
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    context.close()


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed (Debian: apt-get install chromium)")
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder, simulated_station(Path(folder)) as url, sync_playwright() as playwright
    ):  # fmt: skip
        _wait_page(url)
        threading.Event().wait(RUN_S)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        take(browser, url, "page-phone", 390, 844, "light")
        take(browser, url, "page-wide", 1920, 1080, "dark")
        browser.close()


if __name__ == "__main__":
    main()
