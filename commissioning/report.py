"""Job: the dated report of a walk: for people as text, for machines as JSON, beside config.ini.

Thread: MainThread. Lock: none. Units: V, in each name; local time in names and headings, Unix seconds in the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from commissioning.findings import Finding
from commissioning.observed import CrosspointSeen, ModuleSeen, Observed
from planning.model import Crosspoint


def text(
    station: str, version: str, wall_s: float, seen: Observed, found: Sequence[Finding], remarks: Sequence[str]
) -> list[str]:
    """Verdict first, then what to mend, then everything that was seen."""
    tried = sum(each.tried for each in seen.crosspoints)
    return [
        f"Commissioning of {station}, {datetime.fromtimestamp(wall_s):%Y-%m-%d %H:%M}, version {version}",
        "",
        "PASS: everything is wired as config.ini says." if not found else f"NOT PASSED: {len(found)} thing(s) to mend.",
        *(f"  {number}. {finding}" for number, finding in enumerate(found, 1)),
        *(f"Remark: {remark}" for remark in remarks),
        "",
        f"{sum(each.measured_v is not None for each in seen.modules)} of {len(seen.modules)} modules came up alone:",
        *(f"  {_module(each)}" for each in seen.modules),
        f"{tried} of {len(seen.crosspoints)} contactors were tried:",
        *(f"  {_crosspoint(each)}" for each in seen.crosspoints),
    ]


def _module(seen: ModuleSeen) -> str:
    where = f"module {seen.module} (address {seen.address}, {seen.make}, serial {seen.serial or 'not told'})"
    if not seen.heard:
        return f"{where}: not heard"
    if seen.asked_v is None:
        return f"{where}: not switched on"
    came = f"{seen.measured_v:.1f} V" if seen.measured_v is not None else "nothing"
    return f"{where}: {seen.asked_v:.0f} V asked, {came} measured"


def _crosspoint(seen: CrosspointSeen) -> str:
    if not seen.tried:
        return f"{seen.crosspoint}: not tried ({seen.why or (seen.refused.value if seen.refused else '')})"
    feedback = ", ".join(map(str, seen.closed)) or "nothing"
    if seen.module_v is None:
        return f"{seen.crosspoint}: feedback {feedback}; not powered"
    buses = ", ".join(f"gun {gun} {volts:.0f} V" for gun, volts in seen.buses_v if volts >= 1.0) or "none"
    return f"{seen.crosspoint}: feedback {feedback}; module {seen.module_v:.0f} V, buses {buses}"


def content(
    station: str, version: str, wall_s: float, seen: Observed, found: Sequence[Finding], remarks: Sequence[str]
) -> dict[str, Any]:
    """The same for machines."""
    return {
        "station": station,
        "version": version,
        "ts": round(wall_s, 3),
        "passed": not found,
        "findings": [{"where": each.where, "what": each.what, "do": each.do} for each in found],
        "remarks": list(remarks),
        "stopped": seen.stopped,
        "closed_at_start": _names(seen.closed_at_start),
        "guns_read": list(seen.guns_read),
        "modules": [
            {
                "module": each.module, "address": each.address, "make": each.make, "serial": each.serial,
                "heard": each.heard, "asked_v": each.asked_v, "measured_v": each.measured_v, "fell": each.fell,
                "others": list(each.others), "alarms": list(each.alarms),
            }
            for each in seen.modules
        ],
        "crosspoints": [
            {
                "crosspoint": str(each.crosspoint), "tried": each.tried,
                "why": each.why or (each.refused.value if each.refused else ""), "closed": _names(each.closed),
                "left": _names(each.left), "module_v": each.module_v,
                "buses_v": {f"g{gun}": volts for gun, volts in each.buses_v},
            }
            for each in seen.crosspoints
        ],
    }  # fmt: skip


def _names(crosspoints: Sequence[Crosspoint]) -> list[str]:
    return [str(each) for each in crosspoints]


def write(folder: Path, wall_s: float, lines: Sequence[str], machine: dict[str, Any]) -> Path:
    """Both files; the one for people is given back. Raises OSError."""
    path = folder / f"commission-{datetime.fromtimestamp(wall_s):%Y-%m-%d-%H%M%S}.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(machine, indent=1) + "\n", encoding="utf-8")
    return path
