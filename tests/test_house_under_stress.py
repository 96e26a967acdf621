"""The house around the control path in trouble: disks that are full, read-only or slow, clocks that jump, floods of
messages, a second client with our name, demands that somebody stored or replays. The control path must not even notice.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from rig import FAST, Process, Rig, rig, summary, wait_for
from test_process import first_after, quiet

from simulator import gpio_shm

pytestmark = pytest.mark.process

TARGET_V = 680
#: An edge at least every 100 ms (design), and what two busy cores add.
EDGE_GAP_S = 0.2
#: Makes the clock on the wall jump by what stands in a file, before anybody has read it.
JUMPING_CLOCK = """
import os, time
real = time.time
def jumped():
    try:
        return real() + float(open({path!r}).read() or 0)
    except (OSError, ValueError):
        return real()
time.time = jumped
"""
#: Every write to the log and to small files takes five seconds while a file exists.
SLOW_DISK = """
import os, threading, pathlib, logger_config
append, text = logger_config._File._append, pathlib.Path.write_text
def slow(before):
    def write(*arguments, **named):
        if os.path.exists({path!r}):
            threading.Event().wait(5.0)
        return before(*arguments, **named)
    return write
logger_config._File._append, pathlib.Path.write_text = slow(append), slow(text)
"""


#: Connects again after a second, where the program itself waits ever longer: the fault is named sooner.
EAGER = """
import mqtt_handler
patient = mqtt_handler.Reconnect
mqtt_handler.Reconnect = lambda shortest_s, _, *rest: patient(shortest_s, shortest_s, *rest)
"""


def running(station: Rig) -> Process:
    assert station.main is not None
    return station.main


class Edges:
    """Watches the heartbeat in the plant's memory: the pauses between two edges."""

    def __init__(self, station: Rig) -> None:
        self._words = gpio_shm._open(station.plant.folder / gpio_shm.FILE_NAME)
        self.gaps_s: list[float] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rig-edges", daemon=True)

    def __enter__(self) -> Edges:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        last_ns = self._words[gpio_shm._WORD_HEARTBEAT_NS]
        while not self._ending.wait(0.005):
            now_ns = self._words[gpio_shm._WORD_HEARTBEAT_NS]
            if now_ns != last_ns:
                self.gaps_s.append((now_ns - last_ns) / 1e9)
                last_ns = now_ns
        self.gaps_s.append((time.monotonic_ns() - last_ns) / 1e9)


def charging(station: Rig, kw: float = 30) -> None:
    station.say.charge("D1", 1, kw, TARGET_V)
    station.plant.wait_power(1, kw, 25.0)


@contextmanager
def undisturbed(station: Rig, for_s: float) -> Iterator[None]:
    """While the trouble lasts: edges, power and the number of switchings stay as they were."""
    before = station.plant.state()
    with Edges(station) as edges:
        yield
        end_s = time.monotonic() + for_s
        wait_for(lambda: time.monotonic() >= end_s, "the trouble has lasted", for_s + 5.0)
    summary("between two heartbeat edges", edges.gaps_s)
    assert max(edges.gaps_s) <= EDGE_GAP_S
    after = station.plant.state()
    assert after["power_kw"] == pytest.approx(before["power_kw"], rel=0.1)
    assert (after["closings"], after["openings"]) == (before["closings"], before["openings"])


# --- disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 1.5 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") is not None and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)], check=False, capture_output=True
    ).returncode == 0  # fmt: skip
    if not mounted:
        pytest.skip("accepted: no right to mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def with_files_on(station: Rig, folder: Path) -> None:
    """The station's config and all that it writes lie on this disk; the plant stays where it is."""
    for name in ("config.ini", "config.local.ini"):
        shutil.copy(station.plant.folder / name, folder / name)


def test_a_full_disk_is_told_and_the_charge_goes_on(tmp_path: Path, small_disk: Path) -> None:
    with rig(tmp_path, start=False) as station:
        with_files_on(station, small_disk)
        station.start_main(files=small_disk)
        charging(station)
        with station.peer("vesec/station/fault/central") as listener, undisturbed(station, 5.0):
            with (small_disk / "rubbish").open("wb") as rubbish, suppress(OSError):
                rubbish.write(bytes(2_000_000))
            running(station).wait_line("Fault DISK_FAILED station", 5.0)
        told = [json.loads(payload) for _, payload, _ in list(listener.heard.queue)]
        assert ("DISK_FAILED", True) in {(each["code"], each["active"]) for each in told}
        (small_disk / "rubbish").unlink()
        running(station).wait_line("Ended: DISK_FAILED station", 25.0)
        assert running(station).end() == 0


def test_a_disk_that_becomes_read_only_disturbs_nothing(tmp_path: Path, small_disk: Path) -> None:
    with rig(tmp_path, start=False) as station:
        with_files_on(station, small_disk)
        station.start_main(files=small_disk)
        charging(station)
        with undisturbed(station, 4.0):
            # a disk on which files are open cannot be made read-only by hand: one that is lies over it
            subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(small_disk)], check=True)
        running(station).wait_line("Fault DISK_FAILED station", 5.0)
        subprocess.run(["umount", "-l", str(small_disk)], check=True)
        assert running(station).end() == 0


def test_a_disk_that_stalls_for_five_seconds_disturbs_nothing(tmp_path: Path) -> None:
    trigger = tmp_path / "SLOW"
    with rig(tmp_path, start=False) as station:
        station.start_main(patch=SLOW_DISK.format(path=str(trigger)))
        charging(station)
        with undisturbed(station, 7.0):
            trigger.touch()
        trigger.unlink()
        running(station).wait_line("Fault DISK_FAILED station", 15.0)  # the log that says so stalls itself
        assert running(station).end(limit_s=12.0) == 0


# --- clock --------------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_back_an_hour_and_ahead_three_years_changes_nothing(tmp_path: Path) -> None:
    offset = tmp_path / "OFFSET"
    offset.write_text("0")
    with rig(tmp_path, start=False) as station:
        station.start_main(patch=JUMPING_CLOCK.format(path=str(offset)))
        charging(station)
        allocations = running(station).console.count("kW by modules")
        with undisturbed(station, 3.0):
            offset.write_text("-3600")
        with undisturbed(station, 3.0):
            offset.write_text(str(3 * 365 * 86400))
        assert running(station).console.count("kW by modules") == allocations
        old = json.dumps({"value": 20, "ts": 1_000_000_000})
        station.say.tell("vesec/1/demand/D1", old)
        station.plant.wait_power(1, 20, 8.0)  # a clock that jumped is no judge of stamps
        assert running(station).end() == 0


# --- messages -----------------------------------------------------------------------------------------------------


def test_a_thousand_messages_a_second_delay_nobody(tmp_path: Path) -> None:
    with rig(tmp_path) as station:
        charging(station)
        rss_kb = _rss_kb(running(station).pid)
        flood = paho.Client(CallbackAPIVersion.VERSION2)
        flood.max_queued_messages_set(0)
        flood.connect("127.0.0.1", station.broker.port)
        flood.loop_start()
        ending, sent = threading.Event(), [0]

        def pour() -> None:
            while not ending.wait(0.008):
                for _ in range(12):
                    sent[0] += 1
                    flood.publish("vesec/2/soc/D3", str(sent[0] % 100))

        thread = threading.Thread(target=pour, name="rig-flood", daemon=True)
        started_s = time.monotonic()
        thread.start()
        latencies_s = []
        for number in range(20):
            wait_for(lambda: quiet(station.plant, time.monotonic()), "the set-points rest", 5.0)
            at_s = station.say.tell("vesec/1/demand/D1", 20 if number % 2 == 0 else 30)
            found = wait_for(lambda since_s=at_s: first_after(station.plant, since_s), "a set-point follows", 2.0)
            latencies_s.append(found.at_s - at_s)
        ending.set()
        thread.join(2.0)
        rate = sent[0] / (time.monotonic() - started_s)
        flood.disconnect()
        flood.loop_stop()
        grown_kb = _rss_kb(running(station).pid) - rss_kb
        print(f"flood of {rate:.0f} messages a second, {sent[0]} in all; memory grew by {grown_kb} kB")
        _, p99 = summary("publish() to SET current on the wire in the flood", latencies_s)
        assert p99 <= 0.150
        assert grown_kb < 5_000
        assert running(station).end() == 0


def _rss_kb(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def test_a_second_client_with_our_id_is_told_and_moves_nothing(tmp_path: Path) -> None:
    local = FAST + "[MQTT]\nclient_id = twin\n"
    with rig(tmp_path, local, start=False) as station:
        station.start_main(patch=EAGER)
        charging(station)
        twin = paho.Client(CallbackAPIVersion.VERSION2, client_id="twin")
        twin.reconnect_delay_set(1, 1)
        twin.connect("127.0.0.1", station.broker.port)
        twin.loop_start()
        closings = station.plant.state()["closings"]
        running(station).wait_line("Fault CLIENT_ID_TAKEN station", 60.0)
        assert station.plant.state()["closings"] == closings
        assert station.plant.power_kw(1) == pytest.approx(30.0, rel=0.1), "the last demand is good for a minute"
        twin.disconnect()
        twin.loop_stop()
        assert running(station).end() == 0


def test_stored_and_replayed_demands_become_no_power(tmp_path: Path) -> None:
    with rig(tmp_path, start=False) as station:
        with station.peer() as stranger:
            for gun in range(6):
                device, number = f"D{gun // 2 + 1}", gun % 2 + 1
                stranger.say(f"vesec/{number}/demand/{device}", "400", retain=True)
                stranger.say(f"vesec/{number}/vehicle_status/{device}", "charging", retain=True)
            with station.peer("vesec/+/rejected/central") as refusals:
                station.start_main()
                reasons = {json.loads(refusals.heard.get(timeout=5.0)[1])["reason"] for _ in range(6)}
                assert reasons == {"RETAINED"}
            for seq in (7, 8, 9):
                stranger.say("vesec/1/demand/D1", json.dumps({"value": 0, "seq": seq}))
            with station.peer("vesec/1/rejected/central") as refusals:
                for _ in range(3):  # of the refusals of a gun one a second is told
                    stranger.say("vesec/1/demand/D1", json.dumps({"value": 400, "seq": 8}))
                    threading.Event().wait(0.6)
                told = [json.loads(payload)["reason"] for _, payload, _ in list(refusals.heard.queue)]
                assert told and set(told) == {"REPLAY"}
        state = station.plant.state()
        assert (state["closings"], state["coils"]) == (0, "0" * 14)
        assert running(station).end() == 0
