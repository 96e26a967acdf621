"""Job: the plant as plain data, for state.json and for whoever looks on.

Thread: that of the plant. Lock: none. Units: in each name; `at_s` and `up_s` count from the start of the plant.
"""

from __future__ import annotations

from typing import Any

from simulator.contacts import GUNS
from simulator.plant import Plant
from simulator.referee import Violation

VIOLATIONS_SHOWN = 50


def plant_state(plant: Plant, now_s: float, started_s: float) -> dict[str, Any]:
    """Everything worth looking at, ready for JSON."""
    referee = plant.referee
    return {
        "monotonic_s": round(now_s, 3),
        "up_s": round(now_s - started_s, 3),
        "power_kw": round(plant.power_kw(), 3),
        "estop_healthy": plant.estop_healthy,
        "guns": [_gun_state(plant, gun, now_s) for gun in range(1, GUNS + 1)],
        "modules": [_module_state(plant, module.number, now_s) for module in plant.modules],
        "closed": [str(crosspoint) for crosspoint in plant.closed_contacts()],
        "closings": referee.closings,
        "openings": referee.openings,
        "violation_counts": {kind.value: count for kind, count in referee.counts.items()},
        "violations": [_violation(violation, started_s) for violation in referee.violations[-VIOLATIONS_SHOWN:]],
    }


def _violation(violation: Violation, started_s: float) -> dict[str, Any]:
    return {
        "at_s": round(violation.at_s - started_s, 3),
        "kind": violation.kind.value,
        "crosspoint": str(violation.crosspoint),
        "detail": violation.detail,
    }


def _gun_state(plant: Plant, number: int, now_s: float) -> dict[str, Any]:
    gun = plant.guns[number - 1]
    return {
        "gun": number,
        "bus_v": round(gun.voltage_v(now_s), 2),
        "current_a": round(gun.current_a, 2),
        "power_kw": round(gun.power_w / 1000.0, 3),
        "energy_kwh": round(gun.energy_j / 3.6e6, 4),
        "peak_v": round(gun.peak_v, 1),
        "peak_a": round(gun.peak_a, 1),
        "output_closed": gun.connected,
        "modules": [module.number for module in gun.modules],
    }


def _module_state(plant: Plant, number: int, now_s: float) -> dict[str, Any]:
    module = plant.modules[number - 1]
    return {
        "module": number,
        "on": module.on,
        "voltage_v": round(module.output_v(now_s), 2),
        "current_a": round(module.current_a, 2),
        "set_v": module.set_v,
        "set_a": module.set_a,
    }
