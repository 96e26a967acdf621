"""Job: from what a walk saw to what has to be mended: each sentence names the place, the cause and what to do.

Thread: any (pure). Lock: none. Units: V.

How a wiring fault shows when one coil alone is on (i: the crosspoint that was commanded):

    feedback shows    the module's voltage arrives        then
    i                 at its gun                          all is right
    i                 nowhere, with all of its contactors addresses swapped, or its power cable is off
    i                 nowhere, with this one alone        coil and feedback wires of two contactors are both crossed
    i                 at another gun                      the same between two guns, or bus bars or dispensers swapped
    nothing           at its gun                          feedback dead: it closes and reads open
    nothing           nowhere                             coil, driver or contactor does not work
    j                 at its gun                          feedback wires of i and j are crossed
    j                 nowhere, or at the gun of j         coil wires of i and j are crossed
    i and j           -                                   one driver works both, or both feedbacks are tied together
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from commissioning.observed import CrosspointSeen, ModuleSeen, Observed
from planning.model import CloseRefusal

#: A dispenser's meter and a module's may differ so much at the same bus.
METER_V = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend."""

    where: str
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.do}"


def findings(seen: Observed, dead_voltage_v: float) -> list[Finding]:
    """Everything that keeps the station from passing, most urgent first."""
    found = [] if not seen.stopped else [Finding("station", f"the walk ended early: {seen.stopped}", "Do it again")]
    found += _at_start(seen)
    found += _unknown(seen)
    for module in seen.modules:
        found += _module(module)
    found += _crossed(seen, dead_voltage_v)
    for crosspoint in seen.crosspoints:
        found += _crosspoint(crosspoint, dead_voltage_v)
    found += _power(seen, dead_voltage_v)
    return list(dict.fromkeys(found))


def remarks(seen: Observed, guns: range) -> list[str]:
    """What was not proven, and is no fault."""
    blind = [str(gun) for gun in guns if gun not in seen.guns_read]
    if not blind or not seen.crosspoints:
        return []
    return [
        f"Gun {', '.join(blind)}: no bus voltage is told, so only coils and feedback were proven, not where the power "
        "arrives. Swapped addresses and wires that are crossed twice would not be seen there."
    ]


def _at_start(seen: Observed) -> Iterator[Finding]:
    for crosspoint in seen.closed_at_start:
        yield Finding(
            str(crosspoint),
            "reads closed with its coil off",
            "Measure across the contact with everything dead: closed, it is welded; open, its feedback wire is broken",
        )


def _unknown(seen: Observed) -> Iterator[Finding]:
    """What is there and stands nowhere in config.ini."""
    if seen.inputs_beyond:
        yield Finding(
            f"feedback input {seen.inputs_beyond[0]}",
            f"a contactor is proven open there, but config.ini has {seen.contacts} of them (gun_count x module_count)",
            "Put both as the cabinet is wired, however many modules are there: coils are switched by that number",
        )
    for address in seen.unconfigured:
        yield Finding(
            f"CAN address {address}",
            "a module answers there, and no module in config.ini has that address",
            "Give it to the module whose contactors it hangs on (moduleN_address), or take it off the bus",
        )


def _module(seen: ModuleSeen) -> Iterator[Finding]:
    where = f"module {seen.module}"
    if not seen.heard:
        yield Finding(
            where,
            f"nothing answers at address {seen.address} ({seen.make})",
            "Look at its mains, its CAN plug, its address, and protocol; main.py --probe names what answers",
        )
        return
    if seen.alarms:
        yield Finding(where, f"it reports {', '.join(seen.alarms)}", "See its manual; it cannot serve like this")
    if seen.others:
        names = " and ".join(str(module) for module in seen.others)
        yield Finding(
            where,
            f"while it was on alone, module {names} was on or had a voltage too",
            "Two modules take the same commands: give each an address of its own",
        )
    if seen.asked_v is None:
        if not seen.alarms:
            yield Finding(where, "it was not proven off, or two modules answer", "See the log, then do it again")
        return
    if seen.measured_v is None:
        yield Finding(
            where,
            f"it does not come up to {seen.asked_v:.0f} V with its contactors open",
            "Wrong make in config.ini, or the module is broken",
        )
    elif not seen.fell:
        yield Finding(
            where, "its voltage does not fall after OFF", "Something feeds its terminals: look for a second source"
        )


def _live(seen: CrosspointSeen, dead_voltage_v: float) -> tuple[int, ...]:
    return tuple(gun for gun, volts in seen.buses_v if volts >= dead_voltage_v)


def _powered(seen: CrosspointSeen) -> bool:
    return seen.module_v is not None and bool(seen.buses_v)


def _crossed(seen: Observed, dead_voltage_v: float) -> Iterator[Finding]:
    """Another contact answered."""
    for each in seen.crosspoints:
        if len(each.closed) != 1 or each.closed[0] == each.crosspoint:
            continue
        first, second = sorted((each.crosspoint, each.closed[0]))
        if not _powered(each):
            wires = "coil or feedback wires"
        elif each.crosspoint.gun in _live(each, dead_voltage_v):
            wires = "feedback wires"
        else:
            wires = "coil wires"
        yield Finding(f"{first} and {second}", f"their {wires} are crossed", "Swap the two wires and do it again")


def _crosspoint(seen: CrosspointSeen, dead_voltage_v: float) -> Iterator[Finding]:
    where = str(seen.crosspoint)
    if not seen.tried:
        yield Finding(where, f"not tried: {_reason(seen)}", "Mend that first, then do it again")
        return
    live = _live(seen, dead_voltage_v)
    if not seen.closed:
        if _powered(seen) and seen.crosspoint.gun in live:
            yield Finding(where, "it closes and its feedback reads open", "Look at its mirror contact and that wire")
        elif _powered(seen):
            yield Finding(where, "it does not close", "Look at the coil, its wire, its driver and the coil supply")
        else:
            yield Finding(
                where, "it does not close, or its feedback reads open", "Look at coil, driver, mirror contact and wires"
            )
    elif len(seen.closed) > 1:
        names = " and ".join(map(str, seen.closed))
        yield Finding(where, f"its coil moves {names}", "Look for coil outputs or feedback wires that touch")
    if seen.left:
        names = " and ".join(map(str, seen.left))
        yield Finding(
            names,
            "still reads closed after its coil was off",
            "Measure across the contact with everything dead: welded or stuck, or its feedback wire is broken",
        )


def _reason(seen: CrosspointSeen) -> str:
    if seen.refused is CloseRefusal.MODULE_ELSEWHERE:
        return "another contactor of this module is not proven open"
    return seen.why or (seen.refused.value if seen.refused is not None else "")


def _power(seen: Observed, dead_voltage_v: float) -> Iterator[Finding]:
    """Feedback was right; did the voltage arrive?"""
    right = [each for each in seen.crosspoints if each.closed == (each.crosspoint,) and _powered(each)]
    nowhere = [each.crosspoint for each in right if not _live(each, dead_voltage_v)]
    lost = {c.module for c in nowhere} - {e.crosspoint.module for e in right if _live(e, dead_voltage_v)}
    yield from _swapped(seen, lost, dead_voltage_v)
    for crosspoint in nowhere:
        if crosspoint.module not in lost:
            others = [str(each) for each in nowhere if each != crosspoint and each.module not in lost]
            with_whom = f" with those of {' or '.join(others)}" if others else ""
            yield Finding(
                str(crosspoint),
                "feedback is right, but no bus gets the voltage",
                f"Its coil wire and its feedback wire are both crossed{with_whom}, or its main poles are not connected",
            )
    for each in right:
        live = _live(each, dead_voltage_v)
        if live and live != (each.crosspoint.gun,):
            guns = " and ".join(str(gun) for gun in live)
            yield Finding(
                str(each.crosspoint),
                f"feedback is right, but the voltage is on the bus of gun {guns}",
                "Coil and feedback wire are both crossed, or the bus bars or dispensers of these guns are",
            )
        told_v = dict(each.buses_v).get(each.crosspoint.gun)
        off_v = abs((told_v or 0.0) - (each.module_v or 0.0))
        if live == (each.crosspoint.gun,) and off_v > METER_V:
            yield Finding(
                f"gun {each.crosspoint.gun}",
                f"its dispenser tells {told_v:.0f} V where the module measures {each.module_v:.0f} V",
                "Check that dispenser's meter",
            )


def _swapped(seen: Observed, lost: set[int], dead_voltage_v: float) -> Iterator[Finding]:
    """The search has shown which address feeds which column of contactors."""
    feeds = {m.column: m.module for m in seen.matches if m.bus_v is not None and m.bus_v >= dead_voltage_v}
    for column, module in sorted(feeds.items()):
        if feeds.get(module) == column and column > module:
            continue  # said once for both
        where, what = f"module {column}", f"the module on these contactors answers at the address of module {module}"
        if feeds.get(module) == column:
            where, what = f"module {column} and {module}", "their addresses are swapped"
        yield Finding(where, what, "Swap the addresses on the modules, or moduleN_address in config.ini")
    for module in sorted(lost - set(feeds)):
        yield Finding(
            f"module {module}",
            "its voltage arrives at no gun, through none of its contactors",
            "Look at its DC cable, and whether its address belongs to a module that hangs elsewhere",
        )
