"""Job: from the decision to the orders of all modules: each gun's drive gets what it may have and says what they do.

Thread: control (or any one at a time). Lock: none. Units: kW, V, A, s (monotonic).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planning.decision import Decision
from planning.drive import DriveInput, Phase
from planning.feed import Feed
from planning.gun_control import GunControl
from planning.model import OFF_ORDER, ModuleOrder, ModuleStatus
from planning.module_pool import ModulePool
from planning.reasons import BLOCKED
from planning.request import GunResult
from planning.summary import delivered
from planning.transition import Duty, Stage

#: V and I each 100 ms for two modules at most; searches come first.
FAST_READS = 2
_READ_FAST = (Stage.MATCH, Stage.CLOSE_LIVE, Stage.UNLOAD)


class Orders:
    """Makes the orders of one step."""

    def __init__(self, controls: Mapping[int, GunControl], pool: ModulePool, feed: Feed, module_count: int) -> None:
        self._controls, self._pool, self._feed = controls, pool, feed
        self._all_off = (OFF_ORDER,) * module_count

    def step(self, now_s: float, decision: Decision | None, modules: Sequence[ModuleStatus]) -> Sequence[ModuleOrder]:
        """Index module - 1. What no drive asks for is off."""
        if decision is None:
            return self._all_off
        orders = [self._off(want) for want in decision.wants]
        searching = sum(control.drive.searching for control in self._controls.values())
        for result, target_kw in zip(decision.allocation.guns, decision.targets_kw, strict=True):
            control = self._controls[result.gun]
            if result.gun not in decision.by_gun and control.drive.phase is Phase.OFF:
                continue
            searched = control.drive.searching
            given = self._given(control, result, target_kw, searching < FAST_READS, now_s, decision, modules)
            for module, order in control.drive.step(now_s, given).items():
                if order.on:
                    orders[module - 1] = order
            searching += control.drive.searching - searched
            for module in control.drive.no_start:
                self._pool.pause(module, now_s)
            control.drive.no_start.clear()
        return orders

    def fast_reads(self, decision: Decision | None) -> tuple[int, ...]:
        """Which modules are read every 100 ms: those that search, then match, then unload."""
        if decision is None or not decision.by_gun:
            return ()
        wanted = [control.drive.leader for control in self._controls.values() if control.drive.leader]
        for stage in _READ_FAST:
            wanted += [module for module, (now, _) in enumerate(decision.seats, 1) if now is stage]
        return tuple(wanted[:FAST_READS])

    def _off(self, want: int) -> ModuleOrder:
        low = self._feed.low_range(want)
        return OFF_ORDER if low is None else ModuleOrder(low_range=low)

    def _given(
        self,
        control: GunControl,
        result: GunResult,
        target_kw: float,
        slot_free: bool,
        now_s: float,
        decision: Decision,
        modules: Sequence[ModuleStatus],
    ) -> DriveInput:
        gun = control.gun
        seats = decision.by_gun.get(gun, ())
        limit_kw, limit_a = control.drive_limits(target_kw, result.share_kw, now_s)
        asked = (control.charging and limit_kw > 0) or control.precharging
        blocked = result.reason.code in BLOCKED or control.emergency
        told_v = control.values.target_voltage_v
        closing = any(stage is Stage.CLOSE_DEAD for _, stage in seats)
        return DriveInput(
            wanted=asked and not blocked,
            may_start=not closing and (slot_free or bool(told_v)),
            limit_kw=limit_kw,
            limit_a=limit_a,
            target_v=told_v,
            voltage_limit_v=control.values.voltage_limit_v,
            told_bus_v=control.told_steady_v(now_s),
            members={m: modules[m - 1] for m, stage in seats if self._serves(m, stage, gun, decision)},
            matching=tuple(m for m, stage in seats if stage.duty is Duty.MATCH),
            closing=tuple(m for m, stage in seats if stage is Stage.CLOSE_LIVE),
            counted_a=sum(self._feed.lost_a.get(m, 0.0) for m, _ in seats),
            measured_a=delivered(modules, seats)[1],
        )

    @staticmethod
    def _serves(module: int, stage: Stage, gun: int, decision: Decision) -> bool:
        return stage is Stage.SERVE or (stage is Stage.WELDED and decision.wants[module - 1] == gun)
