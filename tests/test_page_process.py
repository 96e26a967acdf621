"""Job: the page beside the real program: whatever happens to it the station does not notice, and it can command.

Thread: the test's. Lock: none. Units: s (monotonic), kW. Plant, broker, program and page are processes of their own.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import web
from rig import FAST, PROJECT, Process, Rig, free_port, rig, run_main, wait_for
from test_house_under_stress import charging, running, undisturbed

# a page that starts beside four stations starves them
pytestmark = [pytest.mark.mosquitto, pytest.mark.process]

TARGET_V = 680
TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Site:
    """A station with its page."""

    def __init__(self, station: Rig, port: int) -> None:
        self.station, self.port = station, port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def page_pids(self) -> list[int]:
        """The children of main.py."""
        pid = running(self.station).pid
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]

    def get(self, path: str) -> Any:
        return web.get(self.url + path, timeout=5.0).json()

    def up(self) -> bool:
        try:
            return web.get(f"{self.url}/api/snapshot", timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def wait_up(self, limit_s: float = 40.0) -> None:
        wait_for(self.up, lambda: f"the page is there\n{running(self.station).console}", limit_s)

    def act(self, command: str, payload: str) -> tuple[int, Any]:
        answer = web.post(f"{self.url}/api/act", json={"command": command, "payload": payload}, headers=BEARER)
        return answer.status_code, answer.json()

    def wait(self, path: str, condition: Callable[[Any], bool], what: str, limit_s: float = 10.0) -> None:
        wait_for(lambda: condition(self.get(path)), what, limit_s)


@contextmanager
def site(folder: Path, patch: str = "", serving: bool = True) -> Iterator[Site]:
    port = free_port()
    token = folder / "token.txt"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    local = f"{FAST}[Dashboard]\nport = {port}\ntoken_file = {token}\n"
    with rig(folder, local, start=False) as station:
        station.start_main(patch=patch)
        made = Site(station, port)
        if serving:
            made.wait_up()
        yield made


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_the_page_shows_the_real_station(here: Site) -> None:
    charging(here.station, 60)
    here.wait("/api/guns/1", lambda gun: abs(gun["delivered_kw"] - 60.0) < 3.0, "the page shows what gun 1 gets")
    snapshot = here.get("/api/snapshot")
    closed = [[x["gun"], x["module"]] for x in snapshot["crosspoints"] if x["state"] == "closed"]
    assert [module for gun, module in closed] == here.station.plant.gun(1)["modules"]
    assert snapshot["guns"][0]["reason"] == "60 kW as asked by 2 modules"
    assert snapshot["station"]["can"]["up"] and snapshot["station"]["mqtt"] and snapshot["station"]["armed"]
    assert abs(snapshot["ts"] - here.station.status()["ts"]) < 2.5
    assert web.get(f"{here.url}/health").status_code == 200
    texts = [event["text"] for event in here.get("/api/events")]
    assert any("Station ready" in text for text in texts) and any(text.startswith("Gun 1: 60 kW") for text in texts)
    assert "Page: " + here.url in running(here.station).console
    weld = here.station.plant.gun(1)["modules"][0]
    here.station.plant.command(f"weld g1m{weld}")
    here.station.say.tell("vesec/1/vehicle_status/D1", "finishing")
    here.wait("/api/faults", lambda faults: "CONTACTOR_WELDED" in str(faults["active"]), "the weld is shown", 15.0)
    [welded] = [each for each in here.get("/api/faults")["active"] if each["code"] == "CONTACTOR_WELDED"]
    assert welded["id"] == f"g1m{weld}" and welded["latched"] and welded["severity"] == "critical"
    crosspoint = here.get("/api/snapshot")["crosspoints"][weld - 1]
    assert (crosspoint["state"], crosspoint["fault"], crosspoint["commanded"]) == ("open_failed", welded["code"], False)
    well = web.get(f"{here.url}/health")
    assert well.status_code == 503 and f"CONTACTOR_WELDED g1m{weld}" in str(well.json()["reasons"])


# --- what happens to the page process ---------------------------------------------------------------------------------


@pytest.mark.soak
def test_killing_the_page_changes_nothing_and_it_comes_back(here: Site) -> None:
    charging(here.station)
    [before] = here.page_pids
    with undisturbed(here.station, 8.0):
        for _ in range(3):
            for pid in here.page_pids:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not here.up(), "the page is gone")
            here.wait_up()
    assert before not in here.page_pids and len(here.page_pids) == 1
    warnings = re.findall(r"\[WARNING\] The page process ended.*", running(here.station).console)
    said = "[WARNING] The page process ended (signal 9) and is started again; the station went on without it"
    assert warnings == [said]
    texts = [event["text"] for event in here.get("/api/events")]
    assert any("Station ready" in text for text in texts), "it is told again what was before"
    assert running(here.station).end() == 0


@pytest.mark.soak
def test_a_page_that_stands_still_is_not_waited_for(here: Site) -> None:
    charging(here.station)
    [pid] = here.page_pids
    os.kill(pid, signal.SIGSTOP)
    with undisturbed(here.station, 8.0):
        pass
    os.kill(pid, signal.SIGCONT)
    here.wait("/api/station", lambda station: station["lost_snapshots"] >= 5, "lost snapshots are counted")
    assert here.page_pids == [pid]
    os.kill(pid, signal.SIGSTOP)
    begun_s = time.monotonic()
    assert running(here.station).end() == 0, "it stops in time with a page that does not"
    print(f"stopped within {time.monotonic() - begun_s:.1f} s, the page process standing still")
    assert not Path(f"/proc/{pid}").exists()


NO_PAGE_AT_ALL = {
    "no folder monitoring": ("import sys; sys.modules['monitoring'] = None", r"There is no page: .*monitoring"),
    "a file that is broken": (
        "import sys, types\nsys.modules['monitoring.feed'] = types.ModuleType('monitoring.feed')",
        "There is no page: .*About",
    ),
    "no packages": (
        "import sys; sys.modules['fastapi'] = None",
        r"There is no page: packages are missing \(fastapi\): type make \.venv",
    ),
    "a page that dies at once": (
        "import sys, functools, monitoring.onlook as o\n"
        "o.Onlook = functools.partial(o.Onlook, command=[sys.executable, '-c', 'raise SystemExit(7)'])",
        r"The page process ended \(exit code 7\) and is started again",
    ),
    "a page that cannot be started": (
        "import functools, monitoring.onlook as o\no.Onlook = functools.partial(o.Onlook, command=['/nowhere'])",
        "The page process ended .*cannot be started",
    ),
}


@pytest.mark.soak
@pytest.mark.parametrize("how", NO_PAGE_AT_ALL)
def test_without_a_page_the_station_serves_and_says_once_why(tmp_path: Path, how: str) -> None:
    patch, says = NO_PAGE_AT_ALL[how]
    with site(tmp_path, patch, serving=False) as here:
        charging(here.station)
        running(here.station).wait_line(rf"\[WARNING\] {says}")
        assert len(re.findall(says, running(here.station).console)) == 1
        assert "Traceback" not in running(here.station).console
        assert running(here.station).end() == 0


@pytest.mark.soak
def test_switched_off_there_is_no_page(tmp_path: Path) -> None:
    with rig(tmp_path) as station:
        here = Site(station, 0)
        assert here.page_pids == [] and "page" not in running(station).console.lower()


@pytest.mark.soak
def test_no_orphan_after_kill_9(here: Site) -> None:
    [pid] = here.page_pids
    running(here.station).kill()
    killed_s = time.monotonic()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the page process is gone", 5.0)
    print(f"page process gone {time.monotonic() - killed_s:.2f} s after kill -9 of main.py")


@pytest.mark.soak
def test_ctrl_c_reaches_the_station_alone_and_both_end(here: Site) -> None:
    """The terminal sends SIGINT to its whole group; the page process is in a group of its own."""
    [pid] = here.page_pids
    assert os.getpgid(pid) != os.getpgid(running(here.station).pid)
    assert running(here.station).end(signal.SIGINT) == 0
    assert not Path(f"/proc/{pid}").exists()
    assert "[WARNING] The page" not in running(here.station).console


# --- acting -----------------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_a_person_acts_on_the_real_station(here: Site) -> None:
    station, plant = here.station, here.station.plant
    charging(station, 60)
    assert here.act("station/site_limit", "40") == (200, {"refused": None})
    plant.wait_power(1, 38.0, 5.0)
    here.wait("/api/guns/1", lambda gun: gun["reason_code"] == "SITE_LIMIT", "the page says why")
    assert here.act("station/site_limit", "500")[0] == 200
    plant.wait_power(1, 60.0)

    assert here.act("1/max_power", "20")[0] == 200
    plant.wait_power(1, 20.0)
    assert here.act("1/max_power", "1000")[0] == 200
    plant.wait_power(1, 60.0)

    module = plant.gun(1)["modules"][0]
    assert here.act(f"module/{module}/enabled", "false")[0] == 200
    def replaced() -> bool:
        return module not in plant.gun(1)["modules"] and len(plant.gun(1)["modules"]) == 2

    wait_for(replaced, "the module has left, another one is there", 15.0)
    here.wait(f"/api/modules/{module}", lambda m: m["state"] == "disabled" and not m["usable"], "the page says so")
    plant.wait_power(1, 60.0)

    assert here.act("station/drain", "true")[0] == 200
    station.say.charge("D2", 1, 30, TARGET_V)
    here.wait("/api/guns/3", lambda gun: gun["reason_code"] == "DRAINING" and gun["kept_out"], "gun 3 is kept out")
    here.wait("/api/guns/1", lambda gun: gun["delivered_kw"] > 57.0, "gun 1 is served on")
    assert here.act("station/drain", "false")[0] == 200
    plant.wait_power(3, 30.0, 25.0)

    assert here.act("station/priority", "fair_share")[0] == 200
    here.wait("/api/station", lambda s: (s["rule"], s["draining"]) == ("fair_share", False), "the rule is shown")

    plant.command("estop press")
    running(station).wait_line("Fault EMERGENCY_STOP")
    wait_for(lambda: plant.power_kw(1) == 0.0, "all off")
    plant.command("estop release")
    wait_for(lambda: not [m for m in here.get("/api/modules") if m["state"] == "on"], "all modules are off")
    assert here.get("/api/station")["state"] == "emergency_stop"
    reset_until_taken(here)
    plant.wait_power(1, 60.0, 25.0)
    console = running(station).console
    for command in ("station/site_limit 40", "station/drain true", "station/reset true"):
        assert f"[INFO] Command of token from 127.0.0.1: {command}" in console
    assert TOKEN not in console and TOKEN not in (plant.folder / "debug.log").read_text()
    assert set(plant.state()["violation_counts"]) <= {"close_charged"}


def reset_until_taken(here: Site) -> None:
    """Again each second, as a person would: off is not yet proven off, and the answer says so."""
    asked_s = float("-inf")

    def taken() -> bool:
        nonlocal asked_s
        if time.monotonic() - asked_s >= 1.0:
            asked_s = time.monotonic()
            code, answer = here.act("station/reset", "true")
            assert code == 200 or (code == 409 and answer["refused"].startswith("not proven "))
        return "Ended: EMERGENCY_STOP" in running(here.station).console

    wait_for(taken, "a reset is taken", 5.0)


@pytest.mark.soak
def test_what_is_refused_never_reaches_the_station(here: Site) -> None:
    station = here.station
    charging(station)
    with undisturbed(station, 3.0):
        for command, payload, says in (
            ("station/site_limit", "-5", "not a plain decimal"),
            ("station/explode", "true", "no such command"),
            ("7/max_power", "10", "no such command"),
            ("1/vehicle_status", "fault", "no such command"),
            ("module/1/enabled", "maybe", "true or false"),
        ):
            status, answer = here.act(command, payload)
            assert status == 409 and says in answer["refused"]
        body = {"command": "station/site_limit", "payload": "1"}
        for headers in ({}, {"Authorization": "Bearer wrong-wrong-wrong-wrong"}, {"Cookie": "station_session=x"}):
            assert web.post(f"{here.url}/api/act", json=body, headers=headers).status_code == 401
        stranger = {**BEARER, "Origin": "https://evil.example"}
        assert web.post(f"{here.url}/api/act", json=body, headers=stranger).status_code == 403
    assert "Site limit" not in running(station).console
    assert "[WARNING] Command of token from 127.0.0.1 refused: station/explode true" in running(station).console


@pytest.mark.soak
def test_a_page_signs_in_over_http_and_acts(here: Site) -> None:
    with httpx.Client(verify=False, base_url=here.url) as browser:
        csrf = browser.post("/api/login", json={"token": TOKEN}).json()["csrf"]
        act = {"command": "station/site_limit", "payload": "123"}
        assert browser.post("/api/act", json=act).status_code == 403
        assert browser.post("/api/act", json=act, headers={"X-CSRF-Token": csrf}).status_code == 200
    running(here.station).wait_line("Site limit set to 123 kW by command")
    running(here.station).wait_line(r"Command of page session \w+ from 127\.0\.0\.1: station/site_limit 123")
    with httpx.Client(verify=False, base_url=here.url) as thief:
        for _ in range(5):
            assert thief.post("/api/login", json={"token": "guess-guess-guess-guess"}).status_code == 401
        refused = thief.post("/api/login", json={"token": TOKEN})
        assert refused.status_code == 429 and 1 <= int(refused.headers["retry-after"]) <= 60


# --- the start --------------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_open_to_the_network_without_a_token_is_refused_with_all_other_errors(tmp_path: Path) -> None:
    config = tmp_path / "config.ini"
    config.write_text("[PowerLimits]\ngun1_max_power = lots\n[Dashboard]\nhost = 0.0.0.0\n")
    for arguments in (("--config", config), ("--check", "--config", config), ("--simulate", "--config", config)):
        code, said = run_main(*arguments)
        assert code == 2
        assert "gun1_max_power" in said
        assert "[Dashboard] host = 0.0.0.0: the page is then open to the network without a token" in said


@pytest.mark.soak
def test_a_port_that_is_taken_is_said_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with rig(tmp_path, f"{FAST}[Dashboard]\nport = {port}\n") as station:
            said = rf"\[WARNING\] There is no page: port {port} of 127\.0\.0\.1 cannot be had"
            running(station).wait_line(said, 10.0)
            charging(station)
            assert running(station).end() == 0


@pytest.mark.soak
def test_on_the_desk_the_next_free_port_serves_and_its_address_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "config.ini"
        config.write_text(f"[MQTT]\nport = {free_port()}\n[Dashboard]\nport = {port}\n{FAST}")
        process = Process([sys.executable, "main.py", "--simulate", "--config", str(config)], tmp_path / "main.out")
        try:
            told = process.wait_line(r"\[INFO\] Page: http://127\.0\.0\.1:\d+", 15.0)
            url = told.partition("Page: ")[2]
            assert int(url.rpartition(":")[2]) in range(port + 1, port + 50)
            wait_for(lambda: web.get(f"{url}/api/snapshot").status_code == 200, "a snapshot", 5.0)
            heard = "modules_heard"
            wait_for(lambda: web.get(f"{url}/api/station").json()[heard] == 9, "nine modules")
            assert process.end(signal.SIGINT) == 0
        finally:
            process.kill()
        assert "[WARNING]" not in process.console and "[ERROR]" not in process.console


def test_the_folder_can_be_removed(tmp_path: Path) -> None:
    """Nothing of the control path imports monitoring/ outside main.py's guarded function."""
    for path in [*PROJECT.glob("*.py"), *(PROJECT / "planning").glob("*.py"), *(PROJECT / "protocols").glob("*.py")]:
        at_the_top = re.findall(r"^(?:from|import) monitoring", path.read_text(), re.MULTILINE)
        assert not at_the_top, path.name
