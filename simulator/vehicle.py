"""Job: electric cars as a charging station meets them: a battery, a charging curve, a target.

Thread: that of the plant (no lock). Units: kW, kWh, V, A, ohm, %. Curves: Open EV Data, MIT licence
(https://github.com/KilowattApp/open-ev-data), in `data/vehicle_curves.csv`.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CURVES_FILE = Path(__file__).parent / "data" / "vehicle_curves.csv"

#: Open-circuit voltage of a lithium cell by state of charge; packs have 96 (400 V class) or 192 of them in series.
CELL_OCV_V = ((0.0, 3.20), (10.0, 3.45), (50.0, 3.68), (80.0, 3.95), (100.0, 4.15))
CELL_FULL_V = 4.20
CELLS = {400: 96, 800: 192}
PACK_OHM = {400: 0.05, 800: 0.10}
#: What a car's inlet and cable stand, whatever the pack could take.
INLET_A = 500.0

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class CarModel:
    """One row of the table."""

    name: str
    battery_kwh: float
    voltage_class_v: int
    curve_kw: Points  # power by state of charge


class Car:
    """One car with its state of charge; it is the battery that the plant charges."""

    def __init__(self, model: CarModel, soc_pct: float, target_soc_pct: float = 80.0, limit_kw: float = 1000.0) -> None:
        """`limit_kw`: what this car, today, asks for at most (a cold battery, a thin fuse)."""
        self.model = model
        self.target_soc_pct = target_soc_pct
        self.limit_kw = limit_kw
        self.energy_kwh = model.battery_kwh * soc_pct / 100.0
        self.arrived_with_kwh = self.energy_kwh
        self.resistance_ohm = PACK_OHM[model.voltage_class_v]
        self.cells = CELLS[model.voltage_class_v]

    @property
    def soc_pct(self) -> float:
        return min(100.0, 100.0 * self.energy_kwh / self.model.battery_kwh)

    @property
    def full(self) -> bool:
        """True when the driver has what he wanted."""
        return self.soc_pct >= self.target_soc_pct

    def ocv_v(self) -> float:
        """Open-circuit voltage of the pack."""
        return self.cells * interpolate(CELL_OCV_V, self.soc_pct)

    @property
    def voltage_limit_v(self) -> float:
        """The highest voltage that the pack allows."""
        return self.cells * CELL_FULL_V

    def wanted_kw(self) -> float:
        """The power that it asks for now; 0 when full."""
        if self.full:
            return 0.0
        return min(interpolate(self.model.curve_kw, self.soc_pct), self.limit_kw)

    def charge(self, energy_kwh: float) -> None:
        """Take what is delivered."""
        self.energy_kwh += energy_kwh


@cache
def car_models() -> tuple[CarModel, ...]:
    """Every car of the table, in its order. Raises OSError or ValueError when the file is missing or damaged."""
    with CURVES_FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_model(row) for row in csv.DictReader(file))


def _model(row: dict[str, str]) -> CarModel:
    points = [point.split(":") for point in row["curve_soc_pct_power_kw"].split()]
    return CarModel(
        name=" ".join(f"{row['brand']} {row['model']} {row['variant']}".split()),
        battery_kwh=float(row["battery_kwh"]),
        voltage_class_v=int(row["voltage_class_v"]),
        curve_kw=tuple((float(soc), float(power)) for soc, power in points),
    )


def interpolate(points: Points, x: float) -> float:
    """Straight lines between the points, level beyond the ends."""
    if x <= points[0][0]:
        return points[0][1]
    if x >= points[-1][0]:
        return points[-1][1]
    right = bisect_right(points, (x, float("inf")))
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
