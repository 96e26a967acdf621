"""The program as it runs on site: its own process, the plant in another, a real broker, signals and clock."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_broker import CONNECT, SUBSCRIBE, Connection, FakeBroker, publish
from rig import (
    FAST,
    PROJECT,
    Frame,
    Plant,
    Process,
    Rig,
    free_port,
    gpio_of,
    highest_load_pct,
    rig,
    run_main,
    summary,
    wait_for,
)

pytestmark = pytest.mark.process

MINIMAL = (
    "[PowerLimits]\n"
    + "".join(f"gun{n}_max_power = 240\n" for n in range(1, 7))
    + """\
[General]
module_power_capacity = 40
"""
)
#: As in real life, but for the ramp and the search, which would only make the test longer. D1 tells the least that a
#: device must, so its voltage is searched for; D2 and D3 tell a target voltage.
WALK = """\
[Safety]
search_rate = 200
ramp_up = 100
"""
BUS_V = 640.0
TARGET_V = 680


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, WALK) as made:
        yield made


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A plant without a controller and with a broker that is not there."""
    made = Plant(tmp_path / "plant", free_port())
    try:
        made.start()
        yield made
    finally:
        made.stop()


# --- the allocation, as a person sees it --------------------------------------------------------------------------


def joined_within_s(station: Rig, gun: int, since_s: float) -> dict[int, float]:
    """Seconds from `since_s` until each module of the gun was seen closed, read from state.json."""
    seen: dict[int, float] = {}
    state = station.plant.state()
    for module in state["guns"][gun - 1]["modules"]:
        seen[module] = state["monotonic_s"] - since_s
    return seen


class Joining:
    """Watches state.json for the moments at which contactors of a gun close."""

    def __init__(self, station: Rig, gun: int, asked_s: float) -> None:
        self._station, self._gun, self._asked_s = station, gun, asked_s
        self.seen_s: dict[int, float] = {}

    def complete(self, count: int) -> bool:
        for module, at_s in joined_within_s(self._station, self._gun, self._asked_s).items():
            self.seen_s.setdefault(module, at_s)
        return len(self.seen_s) >= count


def log_times_s(station: Rig, pattern: str) -> list[tuple[str, float]]:
    """(what the group of the pattern caught, seconds of the log's clock within the day) of each line that matches."""
    log = (station.plant.folder / "debug.log").read_text()
    found = re.findall(rf"(\d\d):(\d\d):(\d\d\.\d+) .*{pattern}", log)
    return [(what, int(h) * 3600 + int(m) * 60 + float(s)) for h, m, s, what in found]


def assert_joined(station: Rig, gun: int, asked_s: float, count: int, first_s: float, limit_s: float) -> None:
    """`count` modules close onto the gun: the first by `first_s`, those at hand within 4 s of a known bus voltage.

    One that comes from another gun discharges for 10 s first; it has its own soft start to go through after that.
    """
    joining = Joining(station, gun, asked_s)
    wait_for(lambda: joining.complete(count), f"{count} modules on gun {gun}", limit_s)
    first, *_ = sorted(joining.seen_s.values())
    assert first <= first_s
    known_s = max(at_s for _, at_s in log_times_s(station, rf"(Gun {gun}): current flows at"))
    began_s = dict(log_times_s(station, rf"g{gun}m(\d): free -> matching the voltage of a live bus"))
    closed_s = dict(log_times_s(station, rf"Contactor g{gun}m(\d) closes"))
    words = []
    for module, at_s in closed_s.items():
        if at_s <= known_s:
            continue
        at_hand = began_s[module] <= known_s
        after_s = at_s - max(known_s, began_s[module])
        words.append(f"m{module} {after_s:.2f} s" + ("" if at_hand else " after its discharge"))
        assert after_s <= (4.0 if at_hand else 6.0), f"module {module}"
    print(f"gun {gun}: first contactor {first:.2f} s after the demand, bus voltage known, then {', '.join(words)}")


def test_the_allocation_walk_through(walk: Rig) -> None:
    assert walk.main is not None
    plant, say = walk.plant, walk.say
    with walk.peer("vesec/1/allocation/central") as listener:
        ready_s = plant.state()["monotonic_s"]
        wait_for(lambda: plant.state()["monotonic_s"] - ready_s > 11.0, "the modules have rested", 13.0)

        asked_s = say.charge("D1", 1, 75)
        assert_joined(walk, 1, asked_s, 2, first_s=1.0, limit_s=15.0)
        plant.wait_power(1, 75)

        asked_s = say.charge("D2", 1, 300, TARGET_V)
        assert_joined(walk, 3, asked_s, 6, first_s=1.0, limit_s=15.0)
        plant.wait_power(3, 240)
        plant.wait_power(1, 75)

        asked_s = say.charge("D3", 1, 100, TARGET_V)
        assert_joined(walk, 5, asked_s, 3, first_s=1.0, limit_s=20.0)
        plant.wait_power(5, 100)
        plant.wait_power(3, 240)
        state = plant.state()
        assert [len(state["guns"][gun - 1]["modules"]) for gun in (1, 3, 5)] == [0, 6, 3]
        wait_for(lambda: b'"SHARED ' in listener.heard.get(timeout=5.0)[1], "gun 1 is told SHARED")

        say.tell("vesec/1/target_voltage/D2", 0)
        say.tell("vesec/1/demand/D2", 0)
        wait_for(lambda: len(plant.gun(1)["modules"]) == 2, "gun 1 has two modules again", 25.0)
        plant.wait_power(1, 75)
        plant.wait_power(5, 100)

    frames = plant.frames()
    load_1s, load_10s = highest_load_pct(frames, 1.0), highest_load_pct(frames, 10.0)
    print(f"CAN load, most of the whole walk: {load_1s:.1f} % over 1 s, {load_10s:.1f} % over 10 s")
    assert load_1s <= 30.0
    assert load_10s <= 20.0
    told = [line.split(" ", 2)[2] for line in walk.main.console.splitlines() if re.search(r"Gun \d: .*modules", line)]
    expected = (
        r"Gun 1: 75 kW by modules \d \d - SERVED ",
        r"Gun 3: 240 kW by modules \d( \d){5} - GUN_LIMIT held to 240 kW by gun3_max_power",
        r"Gun 1: no modules - SHARED 2 modules short: held by guns 3 and 5",
        r"Gun 5: 100 kW by modules \d \d \d - SERVED ",
        r"Gun 1: 75 kW by modules \d \d - SERVED ",
        r"Gun 3: 0 kW by modules \d( \d)* - IDLE no demand",
        r"Gun 3: no modules - IDLE no demand",
    )
    for pattern in expected:
        assert any(re.match(pattern, line) for line in told), f"{pattern} in {told}"
    assert len(told) == len(expected), f"one line for each allocation: {told}"
    ended_in_order(walk, signal.SIGINT)


# --- how fast -----------------------------------------------------------------------------------------------------


def set_currents(plant: Plant) -> list[Frame]:
    """The SET current frames that changed something."""
    changed, last = [], {}
    for frame in plant.frames():
        if frame.set_current and last.get(frame.module) != frame.data:
            last[frame.module] = frame.data
            changed.append(frame)
    return changed


def quiet(plant: Plant, now_s: float) -> bool:
    """No set-point moved for a while, so that the next that moves is due to the next message."""
    changed = set_currents(plant)
    return bool(changed) and now_s - changed[-1].at_s > 0.1


def first_after(plant: Plant, at_s: float) -> Frame | None:
    return next((frame for frame in set_currents(plant) if frame.at_s > at_s), None)


def test_a_demand_is_on_the_wire_within_30_ms_and_a_fault_as_fast(station: Rig) -> None:
    plant, say = station.plant, station.say
    say.charge("D1", 1, 30, TARGET_V)
    plant.wait_power(1, 30)
    latencies_s = []
    for number in range(40):
        wait_for(lambda: quiet(plant, time.monotonic()), "the set-points rest", 5.0)
        at_s = say.tell("vesec/1/demand/D1", 20 if number % 2 == 0 else 30)
        found = wait_for(lambda since_s=at_s: first_after(plant, since_s), "a set-point follows", 2.0)
        latencies_s.append(found.at_s - at_s)
    p50, p99 = summary("publish() to SET current on the wire", latencies_s)

    at_s = say.tell("vesec/1/vehicle_status/D1", "fault")
    off = wait_for(lambda: [f for f in plant.frames() if f.at_s > at_s and f.off and f.module in (0, 1)], "OFF", 2.0)[0]
    summary("publish() of a fault to OFF on the wire", [off.at_s - at_s])
    assert p50 <= 0.030
    assert p99 <= 0.060
    assert off.at_s - at_s <= 0.060


# --- ends and beginnings ------------------------------------------------------------------------------------------


def at_full_power(station: Rig) -> None:
    """Gun 3 with six modules and gun 5 with three: nothing is left."""
    station.say.charge("D2", 1, 240, TARGET_V)
    station.say.charge("D3", 1, 120, TARGET_V)
    station.plant.wait_power(3, 240, 25.0)
    station.plant.wait_power(5, 120, 25.0)
    assert station.main is not None
    told = [line for line in station.main.console.splitlines() if re.search(r"Gun \d: .*modules", line)]
    assert len(told) == 2, f"modules changed hands although every gun has what it needs: {told}"


def assert_all_off(plant: Plant) -> None:
    """The plant tells what it sees twenty times a second, and later on a busy machine."""

    def off() -> bool:
        state = plant.state()
        return (state["closed"], state["coils"], state["outputs_enabled"]) == ([], "0" * 14, False)

    wait_for(off, "all contactors open, outputs disabled", 2.0)
    assert plant.pins() == (0, False)


def ended_in_order(station: Rig, number: signal.Signals) -> None:
    """The signal ends it within 3 s, exit code 0; nothing was ever switched against the rules, and all is off."""
    assert station.main is not None
    power_kw, before_s = station.plant.state()["power_kw"], time.monotonic()
    assert station.main.end(number, 4.0) == 0
    took_s = time.monotonic() - before_s
    print(f"{number.name} at {power_kw:.0f} kW: ended after {took_s:.2f} s")
    assert took_s <= 3.0
    state = wait_for(lambda: (s := station.plant.state())["power_kw"] == 0.0 and s, "no power", 2.0)
    assert state["violation_counts"] == {}, "a contactor opened under load?"
    assert_all_off(station.plant)
    status = station.status()
    assert (status["state"], status["contactors_closed"], status["armed"]) == ("offline", 0, False)


def test_asked_to_stop_at_full_power_it_unloads_first_and_ends_in_order(station: Rig) -> None:
    at_full_power(station)
    ended_in_order(station, signal.SIGTERM)


@pytest.mark.parametrize("broken", ["station.Station.watch", "mqtt_handler.MqttHandler.start"])
def test_asked_to_stop_or_not_a_failure_of_the_main_thread_goes_through_the_safe_door(
    plant: Plant, tmp_path: Path, broken: str
) -> None:
    code = f"import main, mqtt_handler, station, sys; {broken} = None; sys.exit(main.main())"
    command = [sys.executable, "-c", code, "--config", str(plant.folder / "config.ini")]
    process = Process(command, tmp_path / "main.out", gpio_of(plant.folder))
    try:
        assert process.wait_end(10.0) == 1, process.console
    finally:
        process.kill()
    assert "TypeError" in process.console and "[ERROR] Stopping" in process.console
    wait_for(lambda: any(frame.off and frame.module == 0 for frame in plant.frames()), "OFF to all modules", 2.0)
    state = plant.state()
    assert (state["closed"], state["outputs_enabled"]) == ([], False)


def test_asked_to_stop_it_does_not_wait_for_a_control_thread_that_dies_in_the_door(
    plant: Plant, tmp_path: Path
) -> None:
    code = "import main, sys, planning.safe_door as door; door.SafeDoor.step = None; sys.exit(main.main())"
    command = [sys.executable, "-c", code, "--config", str(plant.folder / "config.ini")]
    process = Process(command, tmp_path / "main.out", gpio_of(plant.folder))
    try:
        process.wait_line("Station ready", 10.0)
        asked_s = time.monotonic()
        process.end()
        took_s = time.monotonic() - asked_s
    finally:
        process.kill()
    assert "without the control thread" in process.console
    assert took_s < 2.5, "safe_door_s, 3 s, is for a control thread that lives"
    assert_all_off(plant)


def test_killed_it_loses_the_coils_after_500_ms_and_starts_from_off(station: Rig) -> None:
    plant = station.plant
    assert station.main is not None
    station.say.charge("D1", 1, 30, TARGET_V)
    plant.wait_power(1, 30)
    killed_s = time.monotonic()
    station.main.kill()
    state = wait_for(lambda: (s := plant.state())["closed"] == [] and s, "the monostable drops the coils", 2.0)
    took_s = state["monotonic_s"] - killed_s
    print(f"kill -9: coils dropped {took_s:.2f} s later")
    assert 0.35 <= took_s <= 0.75
    assert state["supply_drops"] == 1
    assert plant.pins()[0] != 0, "a killed program leaves its pins as they were"

    restarted_s = time.monotonic()
    station.start_main()
    fresh = [frame for frame in plant.frames() if frame.at_s > restarted_s]
    commands = [frame for frame in fresh if frame.set_power or frame.set_current]
    assert commands[0].off and commands[0].module == 0, "the first word to the modules is OFF to all"
    first_on_s = next((frame.at_s for frame in fresh if frame.on), None)
    assert first_on_s is None or first_on_s > plant.state()["monotonic_s"] - 0.5
    wait_for(lambda: plant.gun(1)["modules"], "gun 1 is served again", 10.0)
    assert station.main.end() == 0
    assert_all_off(plant)


def test_a_second_instance_is_turned_away_and_the_first_goes_on(station: Rig) -> None:
    code, said = run_main("--config", station.config, plant=station.plant.folder)
    assert code == 3
    assert "already running" in said and "status.json" in said and "Traceback" not in said
    assert station.main is not None and station.main.running
    first, keys = station.status(), {
        "ts", "pid", "boot_id", "version", "commit", "state", "armed", "mqtt", "can", "modules_heard",
        "contactors_closed", "idle_s", "step_age_s",
    }  # fmt: skip
    assert set(first) == keys | {"priority", "eta_next_module_s", "loss_kw_without_module"}
    later = wait_for(lambda: (s := station.status())["ts"] > first["ts"] and s, "status.json is renewed", 2.0)
    assert 0.9 <= later["ts"] - first["ts"] <= 1.5
    assert (later["pid"], later["state"], later["armed"]) == (station.main.pid, "ready", True)
    assert (later["mqtt"], later["can"], later["modules_heard"]) == (True, True, 9)
    assert station.main.end(signal.SIGHUP) == 0, "a terminal that goes away asks it to stop"


# --- starts that are refused --------------------------------------------------------------------------------------


def test_check_touches_nothing(plant: Plant) -> None:
    before = plant.state()
    code, said = run_main("--check", "--config", plant.folder / "config.ini", plant=plant.folder)
    assert (code, "Good to start" in said) == (0, True), said
    after = plant.state()
    assert after["can"]["frames"] == before["can"]["frames"]
    assert after["heartbeat_edges"] == 0
    assert plant.pins()[1] is False
    assert not (plant.folder / "main.lock").exists()


def test_a_broken_config_is_refused_with_every_error_at_once(plant: Plant) -> None:
    bad = plant.folder / "bad.ini"
    bad.write_text("[PowerLimits]\ngun1_max_power = lots\n[Genral]\n[MQTT]\nport = 99999\n")
    for arguments in (("--config", bad), ("--check", "--config", bad), ("--simulate", "--config", bad)):
        code, said = run_main(*arguments, plant=plant.folder)
        assert code == 2
        assert "gun1_max_power" in said and "lots" in said
        assert "Genral" in said and "General" in said
        assert "port" in said and "99999" in said
        assert "Traceback" not in said
    code, said = run_main("--config", plant.folder / "nowhere.ini", plant=plant.folder)
    assert (code, "nowhere.ini" in said) == (2, True)
    assert plant.pins()[1] is False
    assert plant.state()["can"]["frames"] == 0


def test_without_a_gpio_library_it_names_the_way_out(tmp_path: Path) -> None:
    config = tmp_path / "config.ini"
    config.write_text(MINIMAL)
    for arguments in (("--config", config), ("--check", "--config", config)):
        code, said = run_main(*arguments)
        assert code == 2
        assert "--simulate" in said and "rpi-lgpio" in said
        assert "Traceback" not in said


REFUSING = """\
from simulator.gpio_face import SimulatedGpio
from planning.settings import Gpio
class _Gpio(SimulatedGpio):
    def setup(self, pin, *args, **kwargs):
        if pin == 26:
            raise RuntimeError("GPIO busy")
        super().setup(pin, *args, **kwargs)
_gpio = _Gpio(Gpio(), __import__("time").monotonic)
for _name in dir(_gpio):
    if not _name.startswith("_"):
        globals()[_name] = getattr(_gpio, _name)
"""


def test_a_simulated_station_of_another_size_is_refused(tmp_path: Path) -> None:
    """It ran, with each coil wired to another gun's contactor: cars that took no current, and nothing that said why."""
    config = tmp_path / "config.ini"
    config.write_text("[General]\nmodule_count = 3\n[PowerLimits]\ngun1_max_power = 240\n")
    code, said = run_main("--simulate", "--config", config, limit_s=30.0)
    assert code == 2
    assert "module_count = 9; config.ini has 6 and 3" in said and "module9_enabled = false" in said


def test_a_pin_that_is_refused_ends_it_with_a_sentence(plant: Plant, tmp_path: Path) -> None:
    library = tmp_path / "refusing" / "RPi"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("")
    (library / "GPIO.py").write_text(REFUSING)
    environment = {"PYTHONPATH": os.pathsep.join((str(library.parent), str(PROJECT)))}
    command = [sys.executable, "main.py", "--config", str(plant.folder / "config.ini")]
    process = Process(command, tmp_path / "main.out", environment)
    try:
        assert process.wait_end(10.0) == 2, process.console
    finally:
        process.kill()
    assert "heartbeat_pin" in process.console and "GPIO busy" in process.console
    errors = [line for line in process.console.splitlines() if "[ERROR]" in line]
    assert "heartbeat_pin" in errors[0] and "Traceback" not in process.console


# --- parts that are missing, or come and go -----------------------------------------------------------------------


def test_the_minimal_config_starts_without_network_and_keeps_everything_off(plant: Plant) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], check=False).returncode != 0:
        pytest.skip("accepted: no right to make a network namespace (unshare -n)")
    config = plant.folder / "minimal" / "config.ini"
    config.parent.mkdir()
    config.write_text(MINIMAL)
    command = ["unshare", "-n", sys.executable, "main.py", "--config", str(config)]
    process = Process(command, plant.folder / "main.out", gpio_of(plant.folder))
    try:
        process.wait_line(r"\[WARNING\] No connection to the broker: .*broker\.hivemq\.com", 15.0)
        process.wait_line(r"\[WARNING\] The CAN bus cannot be opened")
        process.wait_line("CAN_LINK_DOWN")
        wait_for(lambda: (config.parent / "status.json").exists(), "status.json")
        status = json.loads((config.parent / "status.json").read_text())
        assert (status["armed"], status["mqtt"], status["can"], status["contactors_closed"]) == (False, False, False, 0)
        assert process.end() == 0
    finally:
        process.kill()
    warnings = [line for line in process.console.splitlines() if "without TLS and without a user" in line]
    assert len(warnings) == 1
    for word in ("broker.hivemq.com", "[MQTT] broker", "tls", "username", "config.local.ini"):
        assert word in warnings[0]
    state = plant.state()
    assert (state["closings"], state["coils"], state["outputs_enabled"]) == (0, "0" * 14, False)
    assert plant.frames() == []


def test_a_broker_that_goes_takes_the_demand_with_it_and_brings_service_back(tmp_path: Path) -> None:
    with rig(tmp_path, FAST + "demand_timeout = 6\ndemand_ramp = 0.5\n") as station:
        assert station.main is not None
        station.say.charge("D1", 1, 30, TARGET_V)
        station.plant.wait_power(1, 30)
        station.broker.stop()
        station.main.wait_line(r"\[WARNING\] No connection to the broker")
        gone_s = time.monotonic()
        wait_for(lambda: station.plant.power_kw(1) == 0.0, "the demand does not freeze", 13.0)
        print(f"broker gone: power at 0 after {time.monotonic() - gone_s:.1f} s (demand_timeout 6 s)")
        station.main.wait_line("Gun 1: its device is silent")
        station.main.wait_line("Fault BROKER_LOST station")
        wait_for(lambda: station.status()["mqtt"] is False, "status.json says so")
        station.broker.start()
        wait_for(lambda: station.plant.power_kw(1) > 0.0, "gun 1 is served again", 20.0)
        # terminal_discharge_time is shorter here than the simulated leads need
        assert set(station.plant.state()["violation_counts"]) <= {"close_charged"}
        assert station.main.end() == 0


def test_a_dead_plant_is_a_can_fault_that_opens_everything(station: Rig) -> None:
    assert station.main is not None and station.plant.process is not None
    station.say.charge("D1", 1, 30, TARGET_V)
    station.plant.wait_power(1, 30)
    assert station.plant.pins()[0] != 0
    station.plant.process.kill()
    killed_s = time.monotonic()
    wait_for(lambda: station.plant.pins()[0] == 0, "all coils off", 6.0)
    print(f"CAN gone: coils off after {time.monotonic() - killed_s:.2f} s")
    station.main.wait_line(r"\[ERROR\] Fault CAN_(FAULT|LINK_DOWN) station")
    wait_for(lambda: station.status()["can"] is False, "status.json says so")
    assert station.main.running, "it waits for the bus to come back"
    assert station.main.end() == 0
    station.plant.start()  # new chips: only a new process of the program finds them
    station.start_main()
    wait_for(lambda: station.plant.gun(1)["modules"], "gun 1 is served again", 10.0)


def test_rubbish_from_the_broker_does_not_end_the_network_thread(plant: Plant, tmp_path: Path) -> None:
    subscribed = threading.Event()
    clients: list[Connection] = []

    def script(connection: Connection, kind: int, body: bytes) -> None:
        if kind == CONNECT:
            connection.accept()
        elif kind == SUBSCRIBE:
            connection.subscribed(body, 3)
            clients.append(connection)
            subscribed.set()

    with FakeBroker(script) as broker:
        (plant.folder / "config.local.ini").write_text(f"{FAST}[MQTT]\nbroker = 127.0.0.1\nport = {broker.port}\n")
        command = [sys.executable, "main.py", "--config", str(plant.folder / "config.ini")]
        process = Process(command, tmp_path / "main.out", gpio_of(plant.folder))
        try:
            process.wait_line("Station ready", 10.0)
            assert subscribed.wait(5.0)
            for topic in (b"vesec/1/\xff\xfe/D1", b"vesec/\xc0\x80/demand/D1", b"", b"vesec/1/demand/D1/" + b"x" * 200):
                clients[-1].send(publish(topic, b"\xff" * 20))
            clients[-1].send(publish(b"vesec/1/demand/D1", b"75"))
            process.wait_line("Gun 1: 75 kW by modules", 15.0)
            assert "Traceback" not in process.console
            assert process.end() == 0
        finally:
            process.kill()


# --- on a desk ----------------------------------------------------------------------------------------------------


def test_the_simulated_station_serves_a_typed_demand(tmp_path: Path) -> None:
    config = tmp_path / "config.ini"
    config.write_text(f"{MINIMAL}[MQTT]\nport = {free_port()}\n{FAST}")
    started_s = time.monotonic()
    command = [sys.executable, "main.py", "--simulate", "--config", str(config)]
    process = Process(command, tmp_path / "main.out")
    try:
        typed = process.wait_line(r"mosquitto_pub -h \S+ -p \d+ -t vesec/1/demand/D1 -m 75", 10.0)
        process.wait_line("Connected to the broker", 10.0)
        process.wait_line("Station ready", 10.0)
        print(f"--simulate: ready after {time.monotonic() - started_s:.1f} s")
        assert time.monotonic() - started_s <= 10.0
        type_in = typed.partition("] ")[2].split()
        subprocess.run(type_in, check=True, timeout=5.0)
        process.wait_line("Gun 1: 75 kW by modules", 5.0)
        process.wait_line("Contactor g1m. closes", 10.0)
        assert process.end(signal.SIGINT) == 0
    finally:
        process.kill()
    assert "[WARNING]" not in process.console and "[ERROR]" not in process.console
