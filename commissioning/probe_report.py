"""Job: what --probe says to a person: which modules answer, which do not, and what belongs into config.local.ini.

Thread: any (pure). Lock: none. Units: none.

Modules keep the numbers that config.ini gives them, and module_count is never touched: the place of a coil in the chain
is (gun - 1) * module_count + module - 1, so another count or another number is another contactor. A module that does
not answer is a module to be mended, not one to be left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from commissioning.probe import Findings, FoundModule
from planning.config_keys import ADDRESSES, WIRE_FAMILY
from planning.settings import Module
from protocols.infypower import INFYPOWER

LEAVE_COUNT = (
    "Leave module_count as it is: it says how many contactors each gun has, and the coils are wired by it, "
    "however many modules are there"
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """What answered beside what config.ini has."""

    found: Mapping[int, FoundModule]  # by module number
    silent: Sequence[Module]  # in service, and nothing answers for it
    surplus: Sequence[FoundModule]  # no number is left for these


def numbered(found: Sequence[FoundModule], configured: Mapping[int, Module]) -> Numbered:
    """Whoever answers where config.ini has a module is that module; the others fill the gaps, lowest address first."""
    left = sorted(found, key=lambda each: each.address)
    known: dict[int, FoundModule] = {}
    for number, module in sorted(configured.items()):
        here = [each for each in left if each.address == module.address]
        if here:
            known[number] = min(here, key=lambda each: module.protocol not in each.makes)
            left.remove(known[number])
    for number in sorted(set(configured) - set(known)):
        if left and configured[number].enabled:
            known[number] = left.pop(0)
    silent = [module for number, module in sorted(configured.items()) if module.enabled and number not in known]
    return Numbered(known, silent, left)


def report(findings: Findings, configured: Mapping[int, Module], protocol: str) -> list[str]:
    """Lines for the screen. `protocol`: that of [CAN]."""
    lines = [*trouble(findings, configured)]
    if not findings.modules:
        return [*lines, *_nothing(findings)]
    lines.append(f"{len(findings.modules)} of {len(configured)} modules answer:")
    for module in findings.modules:
        make = " or ".join(module.makes)
        serial = f"serial {' and '.join(module.serials)}" if module.serials else "tells no serial number"
        firmware = f", firmware {module.firmware}" if module.firmware else ""
        lines.append(f"  address {module.address:3}  {make:22} {serial}{firmware}")
    differs = differences(findings, configured, protocol)
    if not differs:
        return [*lines, "", "config.ini has them as they are: nothing is to be written."]
    proof = "On which contactors a module hangs cannot be seen from here: main.py --commission proves it."
    return [*lines, "", "Write into config.local.ini what differs:", "", *differs, "", proof]


def trouble(findings: Findings, configured: Mapping[int, Module]) -> list[str]:
    """What has to be mended before the station may run with these modules."""
    lines = []
    if findings.controllers:
        names = " and ".join(sorted({WIRE_FAMILY[name] for name in findings.controllers}))
        lines.append(f"Another controller sends commands to {names} on this bus: unplug one of the two.")
    for module in findings.modules:
        if len(module.serials) > 1:
            lines.append(f"Two modules answer at address {module.address}: give each an address of its own.")
        lowest, highest = ADDRESSES[module.makes[0]]
        if not lowest <= module.address <= highest:
            lines.append(f"Address {module.address} cannot be used: give that module one from {lowest} to {highest}.")
    count, heard = findings.infypower_count, sum(INFYPOWER.name in module.makes for module in findings.modules)
    if count is not None and count != heard:
        lines.append(f"Infypower modules say that they are {count}, and {heard} addresses answer: look for two alike.")
    return lines + _not_as_configured(findings, configured) if findings.modules else lines


def _not_as_configured(findings: Findings, configured: Mapping[int, Module]) -> list[str]:
    now = numbered(findings.modules, configured)
    lines = [
        f"Module {module.number} of config.ini (address {module.address}) does not answer: look at its mains, its CAN "
        f"plug, its address. {LEAVE_COUNT}."
        for module in now.silent
    ]
    if now.surplus:
        addresses = ", ".join(str(module.address) for module in now.surplus)
        lines.append(
            f"More modules answer than config.ini has ({len(configured)}). If the cabinet has contactors for "
            f"{len(configured)}, take address {addresses} off the bus; if it has more, module_count is wrong, and "
            "coils would be switched by wrong numbers."
        )
    return lines


def _nothing(findings: Findings) -> list[str]:
    lines = [
        "No module answers. Look at: mains of the modules, both bus terminations (60 ohm between the wires), bitrate"
    ]
    if findings.not_understood:
        ids = ", ".join(f"{can_id:08X}" for can_id, _ in findings.not_understood.most_common(5))
        lines.append(f"Something else speaks on this bus (identifiers {ids}): these modules are of no make known here")
    return lines


def differences(findings: Findings, configured: Mapping[int, Module], protocol: str) -> list[str]:
    """The lines of [CAN] and [Modules] that are not so in config.ini; empty: all of them are."""
    found = numbered(findings.modules, configured).found
    makes = {number: _make(module, configured[number]) for number, module in found.items()}
    common = protocol if protocol in makes.values() else Counter(makes.values()).most_common(1)[0][0]
    modules = []
    for number, module in sorted(found.items()):
        before = configured[number]
        if module.address != before.address:
            modules.append(f"module{number}_address = {module.address}")
        by_itself = common if before.protocol == protocol else before.protocol
        if makes[number] != by_itself:
            modules.append(f"module{number}_protocol = {makes[number]}")
    lines = [] if common == protocol else ["[CAN]", f"protocol = {common}"]
    lines += ["[Modules]", *modules] if modules else []
    guessed = {module.makes for number, module in found.items() if configured[number].protocol not in module.makes}
    alike = [f"# {' and '.join(twins)} speak alike: the label tells which it is" for twins in guessed if len(twins) > 1]
    return [*alike, *lines]


def _make(found: FoundModule, configured: Module) -> str:
    """Of makes that speak alike the one that config.ini names."""
    return configured.protocol if configured.protocol in found.makes else found.makes[0]
