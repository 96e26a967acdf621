"""Job: what wears out: hours, energy and starts of each module, operations of each contactor with and without current.

Thread: control (or any one at a time). Lock: none. Units: h, kWh, A, s (monotonic).

One operation is a contactor that closed and opens again. It counts as loaded unless the module was last read below
idle_current: a reading may be half a second old, so an emergency stop counts as loaded although its modules were told
OFF 60 ms before. Better a contactor too early on the list of the electrician than one too late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planning.model import ContactState, ModuleStatus

#: DC contactors of this size: some 10^6 operations without current, some 10^3 to 10^4 with their full current.
LOADED_WEIGHS = 100
_ENDS = frozenset({ContactState.OPENING, ContactState.OPEN, ContactState.DROPPED, ContactState.OPEN_FAILED})


@dataclass(slots=True)
class ModuleWear:
    hours: float = 0.0  # switched on
    kwh: float = 0.0
    starts: int = 0


@dataclass(slots=True)
class ContactorWear:
    unloaded: int = 0
    loaded: int = 0

    @property
    def weight(self) -> int:
        return self.unloaded + LOADED_WEIGHS * self.loaded


class WearBook:
    """Counts from what is read; `kept` and `restore` carry it over a restart."""

    def __init__(self, gun_count: int, module_count: int, idle_current_a: float) -> None:
        self._idle_current_a = idle_current_a
        self._modules = [ModuleWear() for _ in range(module_count)]
        self._contactors = {
            (gun, module): ContactorWear() for gun in range(1, gun_count + 1) for module in range(1, module_count + 1)
        }
        self._on: list[bool | None] = [None] * module_count
        self._current_a = [0.0] * module_count
        self._looked_at_s: float | None = None

    def look(self, modules: Sequence[ModuleStatus], now_s: float) -> None:
        """Take new readings."""
        elapsed_h = 0.0 if self._looked_at_s is None else (now_s - self._looked_at_s) / 3600.0
        self._looked_at_s = now_s
        for index, status in enumerate(modules):
            wear, on_before = self._modules[index], self._on[index]
            self._on[index] = status.on
            self._current_a[index] = status.current_a or 0.0
            if status.on:
                wear.hours += elapsed_h
                wear.kwh += (status.voltage_v or 0.0) * (status.current_a or 0.0) / 1000.0 * elapsed_h
                wear.starts += on_before is False

    def contact(self, gun: int, module: int, before: ContactState, now: ContactState) -> None:
        """A contactor changed its state."""
        if before is ContactState.CLOSED and now in _ENDS:
            wear = self._contactors[gun, module]
            if self._current_a[module - 1] < self._idle_current_a:
                wear.unloaded += 1
            else:
                wear.loaded += 1

    def hours(self, module: int) -> float:
        return self._modules[module - 1].hours

    def weight(self, gun: int, module: int) -> int:
        """Wear of a contactor in operations without current."""
        return self._contactors[gun, module].weight

    def kept(self) -> dict[str, object]:
        """For a file: modules in their order; contactors that never operated are left out."""
        return {
            # so fine that nothing is lost over many short runs
            "module_hours": [round(wear.hours, 4) for wear in self._modules],
            "module_kwh": [round(wear.kwh, 3) for wear in self._modules],
            "module_starts": [wear.starts for wear in self._modules],
            "contactors": {
                f"g{gun}m{module}": {"unloaded": wear.unloaded, "loaded": wear.loaded}
                for (gun, module), wear in self._contactors.items()
                if wear.weight
            },
        }

    def restore(self, kept: Mapping[str, object]) -> None:
        """Take over what was kept; before the first look. What has another form or count than ours is left aside."""
        for key, field in (("module_hours", "hours"), ("module_kwh", "kwh"), ("module_starts", "starts")):
            values = kept.get(key)
            if isinstance(values, list) and len(values) == len(self._modules) and all(map(_is_count, values)):
                for wear, value in zip(self._modules, values, strict=True):
                    setattr(wear, field, value)
        contactors = kept.get("contactors")
        for (gun, module), contactor in self._contactors.items():
            told = contactors.get(f"g{gun}m{module}") if isinstance(contactors, dict) else None
            if isinstance(told, dict) and all(_is_count(told.get(kind)) for kind in ("unloaded", "loaded")):
                contactor.unloaded, contactor.loaded = int(told["unloaded"]), int(told["loaded"])


def _is_count(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12
