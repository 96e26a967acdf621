"""Whatever devices say and whatever breaks, in any order: the ten invariants hold in every step of the whole control,
from frames and clock edges up to the decisions. Every fault model is on; the process is killed and frozen too.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import can
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from invariants import Invariants

from planning.model import Crosspoint
from planning.settings import Priority
from simulator import faults
from simulator.contacts import CONTACTS, GUNS, MODULES
from simulator.gun_bus import FixedBattery
from simulator.virtual import VirtualStation, settings_at

STEPS, SOAK_STEPS = 25_000, 125_000
TICK_S = 0.25
#: Finding a shorter example takes minutes; SHRINK=1 in the environment asks for it.
SHRINK = "SHRINK" in os.environ
BUS_OFF = 0x040
GUN, MODULE = st.integers(1, GUNS), st.integers(1, MODULES)
#: most things happen where other things have happened
BUSY_GUN, BUSY_MODULE = st.one_of(st.integers(1, 3), GUN), st.one_of(st.integers(1, 4), MODULE)
STATUSES = ("charging", "charging", "connected", "suspended", "available", "fault", "idle", "rubbish")
DEMANDS = ("75", "30", "160", "110")
NUMBERS = ("0", "15", "75", "130", "240", "999", "-5", "NaN", "1e999", '{"value": 60, "seq": 3}', "", "\x00")
LYING = ("freeze", "ignore_set", "overdo_v 1.2", "overdo_a 1.4", "scale_v 0.8", "scale_a 0.5", "duplicate")
SILENT = ("mute", "deaf", "reboot", "fail", "ignore_off", "derate 30")
CONTACT_FAULTS = ("weld", "stick", "reads_open", "reads_closed", "slam")

totals: Counter[str] = Counter()


class StationMachine(RuleBasedStateMachine):
    """Guns 1 to 6 with whatever devices tell; every rule is followed by a stretch of time."""

    @initialize(readback=st.booleans(), volts=st.sampled_from((640.0, 380.0, 820.0)), shares=st.permutations(DEMANDS))
    def start(self, readback: bool, volts: float, shares: list[str]) -> None:
        """The process is up, and three guns charge."""
        self.folder = tempfile.TemporaryDirectory()
        text = "[GPIO]\nreadback_pin = 19\n" if readback else ""
        self.station = VirtualStation(settings_at(Path(self.folder.name), f"[General]\ngun_count = 6\n{text}"))
        self.look = Invariants(self.station)
        self.bench = faults.Bench(self.station.plant, self.station.wire, self.station.bus)
        self.kept_open: set[int] = set()
        self.told: dict[tuple[int, str], str] = {}
        self.run(13.0)
        for gun, kw in zip((1, 2, 3), shares, strict=False):
            self.charge_now(gun, volts, kw)
        self.run(9.0)

    def charge_now(self, gun: int, volts: float, kw: str) -> None:
        self.station.plant.plug(gun, FixedBattery(volts), self.station.clock.time_s)
        self.told[gun, "vehicle_status"], self.told[gun, "demand"] = "charging", kw
        self.told.pop((gun, "bus_voltage"), None)
        self.look.excuses.lying_guns.discard(gun)
        for kind in ("vehicle_status", "demand"):
            self.publish(gun, kind, self.told[gun, kind])

    def teardown(self) -> None:
        if hasattr(self, "look"):
            totals["steps"] += self.look.steps
            totals.update(self.look.seen)
            self.folder.cleanup()

    # --- time -----------------------------------------------------------------------------------------------------

    def run(self, for_s: float) -> None:
        station = self.station
        end_s = station.clock.time_s + for_s
        while station.clock.time_s < end_s:
            now_s = station.clock.time_s
            for gun in range(1, GUNS + 1):
                closed = station.plant.has_modules(gun) and gun not in self.kept_open
                if station.plant.guns[gun - 1].connected is not closed:
                    self.look.excuses.output_moved_s[gun] = now_s
                station.plant.set_output(gun, closed, now_s)
            if int(now_s / 5.0) != int((now_s - TICK_S) / 5.0):
                for (gun, kind), payload in self.told.items():
                    self.publish(gun, kind, payload)
            station.run_to(min(end_s, now_s + TICK_S))
            if station.core.demand.door_shut.is_set():
                self.begin_anew()

    def begin_anew(self) -> None:
        """The program has ended through the safe door; the service starts it again."""
        assert self.look.all_told_off, "11: behind the safe door a module is on"
        assert self.station.gpio.coils == 0 or not self.station.gpio.output_enabled
        totals["safe doors"] += 1
        self.excuse_forced(3.0)
        self.station.rebuild(0.5)

    def excuse_forced(self, for_s: float) -> None:
        excuses = self.look.excuses
        excuses.forced_until_s = max(excuses.forced_until_s, self.station.clock.time_s + for_s)

    def publish(self, gun: int, kind: str, payload: str) -> None:
        self.station.publish(f"vesec/{(gun - 1) % 2 + 1}/{kind}/D{(gun + 1) // 2}", payload)

    def do(self, line: str) -> None:
        totals[line.split()[0]] += 1
        faults.apply(line, self.bench, self.station.clock.time_s)

    # --- devices and cars -----------------------------------------------------------------------------------------

    @rule(gun=BUSY_GUN, volts=st.sampled_from((380.0, 640.0, 820.0)), kw=st.sampled_from(("30", "75", "160", "240")))
    def charge(self, gun: int, volts: float, kw: str) -> None:
        self.leave(gun)
        self.charge_now(gun, volts, kw)
        self.run(6.0)

    @rule(gun=BUSY_GUN, kw=st.sampled_from(NUMBERS))
    def ask(self, gun: int, kw: str) -> None:
        self.told[gun, "demand"] = kw
        self.publish(gun, "demand", kw)
        self.run(1.0)

    @rule(gun=BUSY_GUN, status=st.sampled_from(STATUSES))
    def say(self, gun: int, status: str) -> None:
        self.told[gun, "vehicle_status"] = status
        self.publish(gun, "vehicle_status", status)
        self.run(0.8)

    @rule(gun=BUSY_GUN, kind=st.sampled_from(("target_voltage", "voltage_limit", "current_limit", "soc")),
          value=st.sampled_from(("0", "100", "450", "700", "900", "1600", "x")))  # fmt: skip
    def tell(self, gun: int, kind: str, value: str) -> None:
        self.told[gun, kind] = value
        self.publish(gun, kind, value)
        self.run(0.5)

    @rule(gun=BUSY_GUN, lie=st.one_of(st.none(), st.sampled_from(("0", "3", "60", "400", "640"))))
    def tell_bus(self, gun: int, lie: str | None) -> None:
        volts = f"{self.station.plant.bus_voltage_v(gun):.1f}" if lie is None else lie
        if lie is not None:
            self.look.excuses.lying_guns.add(gun)
            self.told[gun, "bus_voltage"] = volts
        self.publish(gun, "bus_voltage", volts)
        self.run(0.5)

    @rule(gun=BUSY_GUN)
    def leave(self, gun: int) -> None:
        self.told[gun, "vehicle_status"] = "available"
        self.publish(gun, "vehicle_status", "available")
        self.run(1.0)
        self.look.excuses.output_moved_s[gun] = self.station.clock.time_s
        self.station.plant.plug(gun, None, self.station.clock.time_s)
        self.run(0.25)

    @rule(gun=BUSY_GUN)
    def keep_contactor_open(self, gun: int) -> None:
        self.kept_open ^= {gun}
        self.run(2.0)

    @rule(gun=BUSY_GUN)
    def fall_silent(self, gun: int) -> None:
        for key in [key for key in self.told if key[0] == gun]:
            del self.told[key]
        self.run(20.0)

    # --- people ---------------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(("site", "site", "gun", "module", "reset", "rule")),
          chosen=st.sampled_from(Priority),
          kw=st.sampled_from((0.0, 40.0, 120.0, 400.0)), gun=BUSY_GUN, module=BUSY_MODULE)  # fmt: skip
    def command(self, what: str, chosen: Priority, kw: float, gun: int, module: int) -> None:
        demand = self.station.core.demand
        if what == "site":
            demand.set_site_limit(kw)
        elif what == "gun":
            demand.set_max_power(gun, kw)
        elif what == "module":
            demand.set_module_enabled(module, kw > 50.0)
        elif what == "rule":
            demand.set_priority(chosen)
        else:
            demand.reset()
        self.run(3.0)

    @rule(pause_s=st.sampled_from((0.05, 0.3, 2.0)))
    def press_the_emergency_stop(self, pause_s: float) -> None:
        self.excuse_forced(1.0)
        self.do("estop press")
        self.run(pause_s)
        self.do("estop release")
        self.run(3.0)
        self.station.core.demand.reset()
        self.run(1.0)

    # --- what breaks ----------------------------------------------------------------------------------------------

    @rule(module=BUSY_MODULE, word=st.sampled_from(LYING))
    def a_module_lies(self, module: int, word: str) -> None:
        self.look.excuses.lying_modules.add(module)
        self.look.excuses.modules.add(module)
        first, *rest = word.split()
        self.do(" ".join((first, f"m{module}", *rest)))
        self.run(4.0)

    @rule(module=BUSY_MODULE, word=st.sampled_from(SILENT))
    def a_module_breaks(self, module: int, word: str) -> None:
        self.look.excuses.modules.add(module)
        first, *rest = word.split()
        self.do(" ".join((first, f"m{module}", *rest)))
        self.run(4.0)

    @rule(module=BUSY_MODULE)
    def heal_a_module(self, module: int) -> None:
        self.do(f"heal m{module}")
        self.run(4.0)

    @rule(gun=BUSY_GUN, module=BUSY_MODULE, word=st.sampled_from(CONTACT_FAULTS))
    def a_contactor_breaks(self, gun: int, module: int, word: str) -> None:
        self.look.excuses.contacts.add(Crosspoint(gun, module))
        if word == "slam":
            self.look.excuses.slammed.add(module)
        self.do(f"{word} g{gun}m{module}")
        self.run(2.0)

    @rule(gun=BUSY_GUN, module=BUSY_MODULE)
    def replace_a_contactor(self, gun: int, module: int) -> None:
        self.do(f"repair g{gun}m{module}")
        self.run(0.5)

    @rule(bit=st.integers(0, 63), shift=st.sampled_from((-1, 0, 1)), for_s=st.sampled_from((0.03, 0.3, 1.2)))
    def the_feedback_chain_fails(self, bit: int, shift: int, for_s: float) -> None:
        chain = self.station.gpio.input_chain
        assert chain is not None
        totals["feedback chain"] += 1
        if bit < CONTACTS and shift == 0:
            self.look.excuses.contacts.add(Crosspoint(bit // MODULES + 1, bit % MODULES + 1))
        self.excuse_forced(for_s + 1.0)
        chain.flipped, chain.edges_gained = (1 << bit if shift == 0 else 0), shift
        self.run(for_s)
        chain.flipped = chain.edges_gained = 0
        self.run(0.5)

    @rule(bit=st.integers(0, CONTACTS - 1), how=st.sampled_from(("stuck_on", "stuck_off", "flipped")))
    def a_coil_bit_fails(self, bit: int, how: str) -> None:
        chain = self.station.gpio.output_chain
        assert chain is not None
        totals[f"coil bit {how}"] += 1
        self.look.excuses.contacts.add(Crosspoint(bit // MODULES + 1, bit % MODULES + 1))
        self.look.excuses.slammed.add(bit % MODULES + 1)
        self.excuse_forced(4.0)
        setattr(chain, how, 1 << bit)
        self.run(1.5)
        chain.stuck_on = chain.stuck_off = chain.flipped = 0
        self.run(0.5)

    @rule(what=st.sampled_from(("cut", "enobufs", "lose", "busoff", "flood", "down")), count=st.integers(1, 60))
    def the_can_bus_fails(self, what: str, count: int) -> None:
        bus = self.station.bus
        totals[f"can {what}"] += 1
        self.excuse_forced(9.0)
        if what == "cut":
            bus.cut = True
        elif what == "enobufs":
            bus.refuse_sends = count
        elif what == "lose":
            bus.lose_sends = count
        elif what == "busoff":
            bus.inject(can.Message(arbitration_id=BUS_OFF, is_error_frame=True, is_extended_id=False, data=bytes(8)))
        elif what == "flood":
            for number in range(count):
                bus.inject(can.Message(arbitration_id=0x1800_0000 + number, is_extended_id=True, data=bytes(8)))
        else:
            bus.down = True
        self.run(count / 10.0)
        bus.cut = bus.down = False
        bus.refuse_sends = bus.lose_sends = 0
        self.run(4.0)

    # --- the process ----------------------------------------------------------------------------------------------

    @rule(dead_s=st.sampled_from((0.05, 0.3, 0.8, 3.0)))
    def kill_the_process(self, dead_s: float) -> None:
        totals["kill"] += 1
        self.excuse_forced(dead_s + 2.0)
        self.station.rebuild(dead_s)
        self.run(13.0)

    @rule(for_s=st.sampled_from((0.2, 0.45, 0.7, 2.0)))
    def freeze_the_process(self, for_s: float) -> None:
        """10: what is not renewed falls off: the monostable drops the coils, and nobody picks them up again."""
        totals["freeze"] += 1
        station = self.station
        self.excuse_forced(for_s + 4.0)
        station._control_due_s = station._tx_due_s = until_s = station.clock.time_s + for_s
        station.run_to(until_s - 0.001)
        if for_s > 0.55:
            assert station.plant._coils == 0, "10: coils are on without a heartbeat"
        self.run(4.0)

    @rule(for_s=st.sampled_from((0.05, 1.0, 5.0, 15.0)))
    def wait(self, for_s: float) -> None:
        self.run(for_s)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def rage(number: int, steps: int) -> None:
    """Examples of 30 rules each, until so many steps of the control were made. The seed repeats all of them."""
    totals.clear()
    rounds = 0
    while totals["steps"] < steps:
        machine: Any = type("Seeded", (StationMachine,), {})
        run_state_machine_as_test(
            seed(number * 1000 + rounds)(machine),
            settings=settings(
                max_examples=6, stateful_step_count=30, deadline=None, database=None,
                suppress_health_check=list(HealthCheck), print_blob=True,
                phases=(Phase.generate, Phase.shrink) if SHRINK else (Phase.generate,),
            ),
        )  # fmt: skip
        rounds += 1
    print(f"seed {number}: {rounds} rounds, {dict(totals.most_common())}")
    assert totals["steps"] >= steps
    assert totals["closes"] > 20, "a machine in which nothing closes proves nothing"


@pytest.mark.parametrize("number", [1, 2])
def test_the_invariants_hold_in_every_step(number: int) -> None:
    rage(number, STEPS)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(11, 19))
def test_the_invariants_hold_in_a_million_steps(number: int) -> None:
    rage(number, SOAK_STEPS)
