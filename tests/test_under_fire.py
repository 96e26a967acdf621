"""The real program under fire: lines that break, brokers that restart, processes that are killed and frozen, threads
that die, emergency stops. Every process on its own and on the real clock; never a frozen demand, never a stuck state,
and recovery without a hand.
"""

from __future__ import annotations

import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from authority import Authority
from fault_proxy import FaultProxy, Line
from rig import FAST, NO_PAGE, Frame, Plant, Process, Rig, free_port, rig, summary, wait_for

import config_manager
from planning.decision import replay

pytestmark = pytest.mark.process

TARGET_V = 680
AGES_FAST = FAST + "demand_timeout = 6\ndemand_ramp = 0.5\n"
EDGE_LIMIT_S = 0.15
STOPS, SOAK_STOPS = 20, 100
KILLS, SOAK_KILLS = 5, 50
RESTARTS, SOAK_RESTARTS, SIDE_BY_SIDE = 5, 100, 4
FREEZES, SOAK_FREEZES = 2, 10


def charging(station: Rig, gun: int = 1, kw: float = 30) -> None:
    station.say.charge(f"D{(gun + 1) // 2}", (gun - 1) % 2 + 1, kw, TARGET_V)
    station.plant.wait_power(gun, kw, 25.0)


def running(station: Rig) -> Process:
    assert station.main is not None
    return station.main


# --- the line to the broker ---------------------------------------------------------------------------------------


@contextmanager
def behind_a_line(folder: Path) -> Iterator[tuple[Rig, FaultProxy]]:
    """A station whose broker is behind a line that can be broken; devices talk to the broker itself."""
    with rig(folder, AGES_FAST, start=False) as station, FaultProxy(station.broker.port) as line:
        local = station.plant.folder / "config.local.ini"
        local.write_text(f"{AGES_FAST}{NO_PAGE}[MQTT]\nport = {line.port}\nkeepalive = 2\n")
        station.start_main()
        yield station, line


def test_a_line_that_breaks_in_any_way_freezes_no_demand_and_heals_by_itself(tmp_path: Path) -> None:
    with behind_a_line(tmp_path) as (station, line):
        plant = station.plant
        charging(station)

        line.mode = Line.SLICES
        station.say.tell("vesec/1/demand/D1", 20)
        plant.wait_power(1, 20, 5.0)
        line.mode = Line.DELAY
        station.say.tell("vesec/1/demand/D1", 30)
        plant.wait_power(1, 30, 5.0)
        line.mode = Line.PASS

        for _ in range(3):
            line.reset_all()
            wait_for(lambda: station.status()["mqtt"], "connected again after a reset", 20.0)
        plant.wait_power(1, 30, 10.0)

        line.mode = Line.BLACK_HOLE
        hole_s = time.monotonic()
        station.say.tell("vesec/1/demand/D1", 15)  # it never hears of that
        wait_for(lambda: plant.power_kw(1) == 0.0, "the demand does not freeze", 16.0)
        took_s = time.monotonic() - hole_s
        print(f"black hole: power at 0 after {took_s:.1f} s (demand_timeout 6 s, ramp 0.5 s, devices repeat each 5 s)")
        assert took_s <= 6.0 + 0.5 + 5.0 + 1.0
        running(station).wait_line("its device is silent")
        line.mode = Line.PASS
        healed_s = time.monotonic()
        plant.wait_power(1, 15, 80.0)  # after many endings the station waits up to a minute
        print(f"black hole healed: power again after {time.monotonic() - healed_s:.1f} s")
        assert running(station).end() == 0


def restart_brokers(station: Rig, times: int) -> None:
    waits_s = []
    for _ in range(times):
        station.broker.stop()
        wait_for(lambda: not station.status()["mqtt"], "the station misses the broker", 10.0)
        station.broker.start()
        back_s = time.monotonic()
        with station.peer("vesec/1/allocation/central") as listener:
            listener.heard.get(timeout=25.0)
        waits_s.append(time.monotonic() - back_s)
    summary("broker back to first message", waits_s)
    assert max(waits_s) <= 20.0


def test_brokers_restart_and_the_car_goes_on_charging(tmp_path: Path) -> None:
    with rig(tmp_path) as station:
        charging(station)
        restart_brokers(station, RESTARTS)
        assert station.plant.power_kw(1) > 25.0, "the last demand is 60 s good; devices repeat theirs"
        assert station.plant.state()["violation_counts"] == {}
        assert running(station).end() == 0


def lose_the_broker_again_and_again(folder: Path) -> None:
    with rig(folder) as station:
        charging(station)
        restart_brokers(station, SOAK_RESTARTS // SIDE_BY_SIDE)
        # back-off is at its longest by then, and a demand may have missed every short life of the broker
        wait_for(lambda: station.plant.power_kw(1) > 25.0, "the car gets power again by itself", 60.0)
        assert station.plant.state()["violation_counts"] == {}
        assert running(station).end() == 0


@pytest.mark.soak
def test_a_hundred_broker_restarts(tmp_path: Path) -> None:
    """They are mostly waiting: four stations with a broker each do it side by side."""
    folders = [tmp_path / f"station-{number}" for number in range(SIDE_BY_SIDE)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(lose_the_broker_again_and_again, folders))


# --- killed and frozen --------------------------------------------------------------------------------------------


def busy(station: Rig, status: str = "charging") -> None:
    """Three guns and all nine modules; `connected`: contactors closed onto waiting cars, nothing on."""
    for gun, kw in ((1, 70), (3, 150), (5, 110)):
        device = f"D{(gun + 1) // 2}"
        station.say.tell(f"vesec/1/target_voltage/{device}", TARGET_V if status == "charging" else 0)
        station.say.tell(f"vesec/1/demand/{device}", kw)
        station.say.tell(f"vesec/1/vehicle_status/{device}", status)


def last_edge_s(plant: Plant) -> float:
    return float(plant.state()["last_heartbeat_edge_s"])


def assert_first_off(plant: Plant, since_s: float) -> None:
    """The first words of the new process to the modules are OFF to all; before its first OE the latches hold zeros."""
    commands = [f for f in plant.frames() if f.at_s > since_s and f.from_controller and (f.set_power or f.set_current)]
    assert commands and commands[0].off and commands[0].module == 0


def kill_and_restart(station: Rig, times: int, seed: int) -> None:
    chance = random.Random(seed)
    edges_s, back_s = [], []
    tick_s = time.monotonic()
    for number in range(times):
        busy(station)
        wait_for(lambda: station.plant.state()["power_kw"] > 20.0, "the station is busy", 30.0)
        moment_s = time.monotonic() + chance.uniform(0.0, 3.0)
        wait_for(lambda until_s=moment_s: time.monotonic() >= until_s, "a moment of chance", 5.0)
        killed_s = time.monotonic()
        running(station).kill()
        state = wait_for(lambda: (s := station.plant.state())["closed"] == [] and s, "the coils have dropped", 2.0)
        edges_s.append(max(0.0, float(state["last_heartbeat_edge_s"]) - killed_s))
        restarted_s = time.monotonic()
        station.start_main()
        assert_first_off(station.plant, restarted_s)
        wait_for(lambda: station.plant.state()["power_kw"] > 20.0, "served again without a hand", 30.0)
        back_s.append(time.monotonic() - restarted_s)
        assert set(station.plant.state()["violation_counts"]) <= {"open_loaded", "close_charged"}, number
    print(f"seed {seed}, {time.monotonic() - tick_s:.0f} s")
    summary("kill -9 to last heartbeat edge", edges_s)
    summary("restart to power", back_s)
    assert max(edges_s) <= EDGE_LIMIT_S


def logged_sequence(folder: Path) -> list[str]:
    """Every step of the switching sequence that the program wrote into its log, in order."""
    logs = sorted(folder.glob("debug.log*"), key=lambda path: path.stat().st_mtime)
    text = "".join(path.read_text(errors="replace") for path in logs)
    return re.findall(r" - (g\dm\d: [a-z].* -> [a-z].*)$", text, re.MULTILINE)


def replayed_sequence(folder: Path) -> list[str]:
    settings = config_manager.load(folder / "config.ini")
    records = [line for path in sorted(folder.glob("inputs-*.log")) for line in path.read_text().splitlines()]
    decisions = replay(settings, records)
    return [
        f"g{event.gun}m{event.module}: {event.before.words} -> {event.after.words}"
        for decision in decisions
        for event in decision.events
    ]


def test_killed_at_any_moment_it_starts_from_off_serves_again_and_its_record_repeats(tmp_path: Path) -> None:
    with rig(tmp_path) as station:
        kill_and_restart(station, KILLS, seed=7)
        assert running(station).end() == 0
        logged, replayed = logged_sequence(station.plant.folder), replayed_sequence(station.plant.folder)
        print(f"{len(replayed)} steps of the sequence, as logged and as replayed")
        assert len(replayed) > 50
        # a kill may cut the last lines of either file
        assert abs(len(logged) - len(replayed)) <= 2 * KILLS
        assert [step for step in logged if step not in set(replayed)] == []
        assert longest_common(logged, replayed) >= len(replayed) - 2 * KILLS


def longest_common(one: list[str], other: list[str]) -> int:
    """Length of what both hold in the same order."""
    row = [0] * (len(other) + 1)
    for a in one:
        diagonal = 0
        for index, b in enumerate(other, 1):
            diagonal, row[index] = row[index], diagonal + 1 if a == b else max(row[index], row[index - 1])
    return row[-1]


def killed_again_and_again(folder: Path, seed: int) -> None:
    folder.mkdir()
    with rig(folder) as station:
        kill_and_restart(station, SOAK_KILLS // 2, seed)
        assert running(station).end() == 0


@pytest.mark.soak
def test_fifty_kills(tmp_path: Path) -> None:
    """Two stations side by side, since they are mostly waiting."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda seed: killed_again_and_again(tmp_path / f"seed-{seed}", seed), (21, 22)))


def freeze(station: Rig, times: int) -> None:
    plant = station.plant
    edges_s = []
    for _ in range(times):
        charging(station)
        closings = plant.state()["closings"]
        frozen_s = time.monotonic()
        running(station).signal(signal.SIGSTOP)
        state = wait_for(lambda: (s := plant.state())["closed"] == [] and s, "the monostable drops the coils", 2.0)
        edges_s.append(max(0.0, float(state["last_heartbeat_edge_s"]) - frozen_s))
        running(station).signal(signal.SIGCONT)
        assert running(station).wait_end(6.0) == 1, "the safe door, so that the service starts it anew"
        assert plant.state()["closings"] == closings, "nothing is picked up again"
        # control and MainThread both see it; which of them is first, chance decides
        assert re.search("control loop stood still|control is late by", running(station).console)
        assert plant.pins() == (0, False)
        station.start_main()
    summary("SIGSTOP to last heartbeat edge", edges_s)
    assert max(edges_s) <= EDGE_LIMIT_S
    charging(station)


def test_frozen_it_beats_no_more_and_picks_nothing_up_when_it_thaws(tmp_path: Path) -> None:
    with rig(tmp_path) as station:
        freeze(station, FREEZES)
        assert running(station).end() == 0


@pytest.mark.soak
def test_frozen_ten_times(tmp_path: Path) -> None:
    with rig(tmp_path) as station:
        freeze(station, SOAK_FREEZES)
        assert running(station).end() == 0


@pytest.mark.soak
def test_a_frozen_plant_is_a_dead_can_bus_and_comes_back(tmp_path: Path) -> None:
    with rig(tmp_path) as station:
        charging(station)
        assert station.plant.process is not None
        station.plant.process.signal(signal.SIGSTOP)
        running(station).wait_line("Fault CAN_(FAULT|LINK_DOWN)", 6.0)
        wait_for(lambda: station.plant.pins()[0] == 0, "every coil is off", 6.0)
        station.plant.process.signal(signal.SIGCONT)
        station.plant.wait_power(1, 30, 40.0)
        assert running(station).end() == 0


# --- threads that die ---------------------------------------------------------------------------------------------

#: Where each thread passes again and again, and what is made to raise there once the file BREAK exists.
THREADS = {
    "control": ("demand_processor.DemandProcessor", "_take_in"),
    "decision": ("planning.decision.DecisionCore", "step"),
    "can-rx": ("power_module_controller.PowerModuleController", "step_rx"),
    "can-tx": ("power_module_controller.PowerModuleController", "step_tx"),
    "mqtt-out": ("mqtt_handler.MqttHandler", "_step"),
}


def breaking(
    where: str, method: str, trigger: Path, action: str = "raise RuntimeError('broken on purpose')", thread: str = ""
) -> str:
    """`thread`: how the name of the thread begins that shall meet it; other threads pass."""
    module, name = where.rsplit(".", 1)
    return f"""
import importlib, os, threading
owner = getattr(importlib.import_module({module!r}), {name!r})
before = owner.{method}
def broken(self, *arguments):
    if os.path.exists({str(trigger)!r}) and threading.current_thread().name.startswith({thread!r}):
        {action}
    return before(self, *arguments)
owner.{method} = broken
"""


@pytest.mark.parametrize("thread", THREADS)
def test_a_thread_that_dies_ends_everything_through_the_safe_door(tmp_path: Path, thread: str) -> None:
    trigger = tmp_path / "BREAK"
    with rig(tmp_path, start=False) as station:
        plant = station.plant
        # a worker looks its step up once, when it is made: the patch must be there before
        station.start_main(patch=breaking(*THREADS[thread], trigger))
        charging(station)
        broken_s = time.monotonic()
        trigger.touch()
        assert running(station).wait_end(6.0) == 1, running(station).console
        took_s = time.monotonic() - broken_s
        state = wait_for(lambda: (s := plant.state())["closed"] == [] and s, "every contactor is open", 2.0)
        assert state["power_kw"] == 0.0 and plant.pins() == (0, False)
        offs = [f for f in plant.frames() if f.at_s > broken_s and f.off]
        assert offs, "OFF is told, whichever thread still lives"
        edge_s = float(state["last_heartbeat_edge_s"]) - broken_s
        print(f"{thread}: ended after {took_s:.2f} s, OFF after {offs[0].at_s - broken_s:.3f} s, edge {edge_s:.3f} s")
        if thread in ("control", "decision"):
            # the last edge is the line itself, falling when outputs are disabled already; a busy machine is late
            assert edge_s <= 0.5, "a dead control thread beats no more"
        else:
            assert state["violation_counts"] == {}, "the control thread lives and unloads first"
        assert "broken on purpose" in running(station).console


def test_a_can_sender_that_hangs_is_a_dead_thread(tmp_path: Path) -> None:
    trigger = tmp_path / "BREAK"
    hang = "threading.Event().wait(30.0)"
    with rig(tmp_path, start=False) as station:
        station.start_main(patch=breaking(*THREADS["can-tx"], trigger, hang))
        charging(station)
        broken_s = time.monotonic()
        trigger.touch()
        assert running(station).wait_end(8.0) == 1, running(station).console
        wait_for(lambda: station.plant.state()["closed"] == [], "every contactor is open", 2.0)
        offs = [f for f in station.plant.frames() if f.at_s > broken_s and f.off and f.module == 0]
        assert offs and offs[0].at_s - broken_s < 1.5, "OFF goes past the thread that hangs"
        assert "a CAN thread is late" in running(station).console


def test_a_paho_thread_that_dies_is_replaced(tmp_path: Path) -> None:
    trigger = tmp_path / "BREAK"
    once = f"os.unlink({str(trigger)!r}); raise SystemExit('broken on purpose')"
    with rig(tmp_path, FAST + "[MQTT]\nkeepalive = 2\n", start=False) as station:
        station.start_main(patch=breaking("mqtt_handler._Link", "_heard", trigger, once, "paho"))
        charging(station)
        trigger.touch()
        wait_for(lambda: not trigger.exists(), "paho's thread has met the fault", 15.0)
        station.say.tell("vesec/1/demand/D1", 20)
        station.plant.wait_power(1, 20, 40.0)
        assert running(station).end() == 0


# --- how fast -----------------------------------------------------------------------------------------------------


def with_tls(folder: Path) -> tuple[str, str]:
    """(lines of mosquitto.conf, of config.local.ini): a reset is taken only over TLS with a certificate."""
    authority, port = Authority(folder), free_port()
    authority.issue("server", "IP:127.0.0.1")
    authority.issue("client", "DNS:client")
    (folder / "client.key").chmod(0o600)
    broker = (
        f"listener {port} 127.0.0.1\nrequire_certificate true\ncafile {folder}/ca.pem\n"
        f"certfile {folder}/server.pem\nkeyfile {folder}/server.key\n"
    )
    local = (
        f"[MQTT]\nbroker = 127.0.0.1\nport = {port}\ntls = true\nca_file = {folder}/ca.pem\n"
        f"cert_file = {folder}/client.pem\nkey_file = {folder}/client.key\n"
    )
    return broker, local


def stop_and_reset(station: Rig, times: int, is_off: Callable[[Frame], bool] = lambda frame: frame.off) -> None:
    """Stops at full power and while contactors are closed onto waiting cars."""
    plant = station.plant
    to_off_s, to_open_s = [], []
    for number in range(times):
        full = number < 2 or number % 20 == 0
        busy(station, "charging" if full else "connected")
        least = 6 if full else 3  # a waiting car's battery is on the bus after the first contactor of its gun
        wait_for(lambda n=least: len(plant.state()["closed"]) >= n, "contactors are closed", 30.0)
        if full:
            wait_for(lambda: plant.state()["power_kw"] > 100.0, "the station is at power", 30.0)
        before = len(plant.events("emergency_stop"))
        plant.command("estop press")
        pressed_s = wait_for(lambda n=before: plant.events("emergency_stop")[n:], "the stop is pressed", 2.0)[0][0]
        wait_for(lambda: plant.state()["closed"] == [], "every contactor is open", 2.0)
        offs = wait_for(
            lambda at_s=pressed_s: [f for f in plant.frames() if f.at_s >= at_s and is_off(f)], "OFF on the wire", 1.0
        )
        to_off_s.append(offs[0].at_s - pressed_s)
        to_open_s.append(max(at_s for at_s, _ in plant.events("opened")) - pressed_s)
        plant.command("estop release")
        wait_for(lambda: plant.state()["estop_healthy"], "the button is released", 2.0)
        wait_for(lambda n=number: _reset(station) > n, "a person has reset", 15.0)
    p50, p99 = summary("emergency stop to OFF on the wire", to_off_s)
    summary("emergency stop to all contactors open", to_open_s)
    assert p50 <= 0.020
    # Of fewer than twenty stops p99 is the slowest alone, and a busy neighbour decides that one.
    assert p99 <= (0.020 if times >= 20 else 0.050)
    assert max(to_open_s) <= 0.200


def _reset(station: Rig) -> int:
    """Ask for it, as often as it takes until every module is proven off; how many resets there were so far."""
    station.say.tell_once("vesec/station/reset/central/set", "true")
    threading.Event().wait(0.2)
    return running(station).console.count("Reset by a person")


def test_emergency_stops_are_on_the_wire_within_20_ms_and_open_within_200(tmp_path: Path) -> None:
    broker, local = with_tls(tmp_path)
    with rig(tmp_path, FAST + local, broker_options=broker) as station:
        stop_and_reset(station, STOPS)
        assert running(station).end() == 0


@pytest.mark.soak
def test_a_hundred_emergency_stops(tmp_path: Path) -> None:
    broker, local = with_tls(tmp_path)
    with rig(tmp_path, FAST + local, broker_options=broker) as station:
        stop_and_reset(station, SOAK_STOPS)
        assert running(station).end() == 0


def silence_a_module(station: Rig, gun: int) -> float:
    """The time from its last frame until the gun has its power again; the module hears again afterwards."""
    plant = station.plant
    silent = plant.gun(gun)["modules"][-1]
    plant.command(f"deaf m{silent}")
    running(station).wait_line(f"Fault MODULE_SILENT m{silent}", 5.0)
    replies = [f.at_s for f in plant.frames() if not f.from_controller and f.can_id >> 14 & 0x7F == silent]
    running(station).wait_line(f"Fault LOAD_BREAK g{gun}m{silent}", 8.0)
    plant.wait_power(gun, 75, 20.0)
    took_s = plant.state()["monotonic_s"] - max(replies)
    assert f"Gun {gun}: no modules" not in running(station).console.split(f"Fault MODULE_SILENT m{silent}")[-1]
    plant.command(f"heal m{silent}")
    running(station).wait_line(f"Ended: MODULE_SILENT m{silent}", 8.0)
    return took_s


def weld_a_contactor(station: Rig, gun: int) -> float:
    """The time from the command to open until the weld is told."""
    plant, device = station.plant, f"D{(gun + 1) // 2}"
    welded = plant.gun(gun)["modules"][0]
    plant.command(f"weld g{gun}m{welded}")
    wait_for(lambda: plant.state()["last_command"].startswith("weld"), "the contactor is welded", 2.0)
    station.say.tell(f"vesec/{(gun - 1) % 2 + 1}/vehicle_status/{device}", "fault")
    running(station).wait_line(f"Fault CONTACTOR_WELDED g{gun}m{welded}", 3.0)
    log = (plant.folder / "debug.log").read_text()
    found_s = _stamp(log, f"Fault CONTACTOR_WELDED g{gun}m{welded}")
    return found_s - _stamp(log, f"Contactor g{gun}m{welded} opens")


def silence_and_weld(station: Rig, guns: Sequence[int]) -> None:
    ready_s = station.plant.state()["monotonic_s"]
    wait_for(lambda: station.plant.state()["monotonic_s"] - ready_s > 11.0, "the modules have rested", 13.0)
    silent_s, weld_s = [], []
    for gun in guns:
        charging(station, gun, 75)
        silent_s.append(silence_a_module(station, gun))
        weld_s.append(weld_a_contactor(station, gun))
    summary("last frame of a silent module to full power again", silent_s)
    summary("command to open to CONTACTOR_WELDED", weld_s)
    assert max(silent_s) <= 12.0
    assert max(weld_s) <= 0.300


def test_a_silent_module_is_replaced_within_12_s_and_a_weld_found_within_300_ms(tmp_path: Path) -> None:
    with rig(tmp_path, "") as station:  # every time as it is by default
        silence_and_weld(station, [1])
        running(station).end()


@pytest.mark.soak
def test_on_every_gun_a_silent_module_and_then_a_weld(tmp_path: Path) -> None:
    with rig(tmp_path, "") as station:
        silence_and_weld(station, range(1, 7))
        running(station).end()


def _stamp(log: str, what: str) -> float:
    """Seconds within the day of the last line with these words."""
    hours, minutes, seconds = re.findall(rf"(\d\d):(\d\d):(\d\d\.\d+) .*{re.escape(what)}", log)[-1]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
