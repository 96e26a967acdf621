"""Job: what a row of decisions gave to whom: energy, waiting, contactor operations. The same for recorded and for other
decisions, so that both may be compared.

Thread: any. Lock: none. Units: kW, kWh, ms.

Power is worked out, since the record holds no readings: what the gun was given, as far as modules were connected and
its voltage was known, rising by ramp_up at RAMP_V.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from planning.contacts import bits_of
from planning.decision import Decision, DecisionCore
from planning.faults import FaultCode
from planning.reasons import BLOCKED
from planning.settings import Settings
from planning.transition import GunFact, Stage

#: The voltage at which A/s are taken as kW/s: that of most cars.
RAMP_V = 400.0
#: Energy is summed up in pieces of this length, for plots and for what differs most.
PIECE_MS = 60_000
_MS_PER_H = 3_600_000.0
_FLOWS = int(GunFact.DRIVING | GunFact.VOLTAGE_KNOWN)


class Meter:
    """The power of one gun: it falls at once and rises by a ramp."""

    def __init__(self, rise_kw_per_s: float) -> None:
        self.kwh = 0.0
        self.kw = 0.0
        self.pieces_kwh: dict[int, float] = {}  # PIECE_MS number -> energy
        self._rise_kw_per_ms = rise_kw_per_s / 1000.0
        self._goal_kw = 0.0
        self._at_ms = 0

    def aim(self, goal_kw: float) -> None:
        """From where it was last advanced to."""
        self._goal_kw = goal_kw
        self.kw = min(self.kw, goal_kw)

    def advance(self, at_ms: int) -> None:
        if not self._goal_kw:
            self._at_ms = at_ms
            return
        while self._at_ms < at_ms:
            piece = self._at_ms // PIECE_MS
            until_ms = min(at_ms, (piece + 1) * PIECE_MS)
            kwh, self.kw = self._over(until_ms - self._at_ms)
            self.kwh += kwh
            self.pieces_kwh[piece] = self.pieces_kwh.get(piece, 0.0) + kwh
            self._at_ms = until_ms

    def reaches_ms(self, kwh: float) -> int | None:
        """When it will have given so much in all if nothing changes; None: never."""
        lacking = (kwh - self.kwh) * _MS_PER_H
        if lacking <= 0.0:
            return self._at_ms
        if not self._goal_kw:
            return None
        rising_ms = (self._goal_kw - self.kw) / self._rise_kw_per_ms
        rising = rising_ms * (self.kw + self._goal_kw) / 2.0
        if lacking > rising:
            return self._at_ms + int(rising_ms + (lacking - rising) / self._goal_kw) + 1
        rise = self._rise_kw_per_ms
        return self._at_ms + int(((self.kw**2 + 2.0 * rise * lacking) ** 0.5 - self.kw) / rise) + 1

    def _over(self, for_ms: int) -> tuple[float, float]:
        """Energy of the next `for_ms`, and the power at their end."""
        rising_ms = min(for_ms, (self._goal_kw - self.kw) / self._rise_kw_per_ms)
        end_kw = min(self._goal_kw, self.kw + self._rise_kw_per_ms * rising_ms)
        energy = rising_ms * (self.kw + end_kw) / 2.0 + (for_ms - rising_ms) * self._goal_kw
        return energy / _MS_PER_H, end_kw


@dataclass(slots=True)
class GunAccount:
    """One gun's part."""

    meter: Meter
    allocated_kwh: float = 0.0
    waiting_ms: int = 0  # it asked for power, nothing stood against it, and no module served it
    closings: int = 0
    openings: int = 0
    loaded: int = 0  # opened although the module was not shown unloaded in time
    emergencies: int = 0  # opened by an emergency order, perhaps with current
    modules: Counter[int] = field(default_factory=Counter)  # module -> ms that it served
    allocated_kw: float = 0.0
    waits: bool = False
    serving: tuple[int, ...] = ()


class Account:
    """Look at every decision in its order; `end` closes the books."""

    def __init__(self, settings: Settings) -> None:
        rise_kw_per_s = settings.safety.ramp_up_a_per_s * RAMP_V / 1000.0
        self.guns = {gun: GunAccount(Meter(rise_kw_per_s)) for gun in range(1, settings.general.gun_count + 1)}
        self.decisions = 0
        self.begin_ms: int | None = None
        self.end_ms = 0
        self._module_count = settings.general.module_count
        self._coils = 0

    @property
    def kwh(self) -> float:
        return sum(gun.meter.kwh for gun in self.guns.values())

    @property
    def operations(self) -> int:
        """Contactors that closed or opened."""
        return sum(gun.closings + gun.openings for gun in self.guns.values())

    def look(self, decision: Decision, core: DecisionCore) -> None:
        """`core`: as it is behind that decision."""
        if self.begin_ms is None:
            self._begin(decision)
        self.end(decision.at_ms)
        self.decisions += 1
        self._count_moves(decision)
        for result, target_kw in zip(decision.allocation.guns, decision.targets_kw, strict=True):
            gun = self.guns[result.gun]
            seats = decision.by_gun.get(result.gun, ())
            gun.serving = tuple(m for m, stage in seats if serves(decision, result.gun, m, stage))
            gun.waits = target_kw > 0.0 and result.reason.code not in BLOCKED and not gun.serving
            gun.allocated_kw = result.allocated_kw
            able_kw = sum(core.number(f"m{m}a") for m in gun.serving)
            flows = int(core.number(f"g{result.gun}f")) & _FLOWS == _FLOWS
            gun.meter.aim(min(result.allocated_kw, able_kw) if flows else 0.0)

    def end(self, at_ms: int) -> None:
        """Count up to this moment."""
        elapsed_ms = at_ms - self.end_ms
        self.end_ms = at_ms
        for gun in self.guns.values():
            gun.meter.advance(at_ms)
            gun.allocated_kwh += gun.allocated_kw * elapsed_ms / _MS_PER_H
            gun.waiting_ms += elapsed_ms if gun.waits else 0
            for module in gun.serving:
                gun.modules[module] += elapsed_ms

    def _begin(self, decision: Decision) -> None:
        self.begin_ms = self.end_ms = decision.at_ms
        self._coils = decision.coils  # of a run that goes on: these contactors were closed before
        for gun in self.guns.values():
            gun.meter.advance(decision.at_ms)

    def _count_moves(self, decision: Decision) -> None:
        moved = decision.coils ^ self._coils
        for index in bits_of(moved):
            gun = self.guns[index // self._module_count + 1]
            closes = bool(decision.coils >> index & 1)
            gun.closings += closes
            gun.openings += not closes
        self._coils = decision.coils
        for event in decision.events:
            if event.after is Stage.OPEN:
                self.guns[event.gun].loaded += event.fault is FaultCode.LOAD_BREAK
                self.guns[event.gun].emergencies += event.before is Stage.BREAK


def serves(decision: Decision, gun: int, module: int, stage: Stage) -> bool:
    """The module gives to this gun what its drive says."""
    return stage is Stage.SERVE or (stage is Stage.WELDED and decision.wants[module - 1] == gun)
