"""Job: the cabinet's wiring between the controller's pins and the contactors, with the hardware that needs no
software.

Thread: that of the plant. Lock: none. Units: s monotonic. A monostable drops the coil supply 500 ms after the last
edge of the heartbeat; without a first edge there is no supply at all.
"""

from __future__ import annotations

from simulator.gpio_face import FarEnd
from simulator.plant import Plant

HEARTBEAT_LIMIT_S = 0.5


class Cabinet:
    """Couples the far ends of the chips to the plant."""

    def __init__(self, plant: Plant, far_end: FarEnd) -> None:
        self.supply_on = False
        self.supply_drops = 0  # times the monostable took the coils away
        self._plant = plant
        self._far_end = far_end
        self._wire_inputs()

    def step(self, now_s: float) -> None:
        """Carry the coils over, let the plant move on to `now_s`, bring feedback and emergency stop loop back."""
        self._plant.advance_to(now_s)
        self._plant.set_coils(self._far_end.coils if self._supplied(now_s) else 0, now_s)
        self._wire_inputs()

    def _supplied(self, now_s: float) -> bool:
        edge_s = self._far_end.last_heartbeat_edge_s
        supplied = edge_s is not None and now_s - edge_s <= HEARTBEAT_LIMIT_S
        self.supply_drops += self.supply_on and not supplied
        self.supply_on = supplied
        return supplied

    def _wire_inputs(self) -> None:
        self._far_end.feedback_inputs = self._plant.feedback()
        self._far_end.emergency_stop_healthy = self._plant.estop_healthy
