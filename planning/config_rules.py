"""Job: what keys of config.ini must say together: pins, addresses, orders of times, keys that need a partner.

Thread: any (pure). Lock: none. Units: those of the keys.
A rule that needs a refused value says nothing: one problem, one sentence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from planning.config_keys import ADDRESSES, MAX_CROSSPOINTS, WIRE_FAMILY
from planning.config_values import is_loopback, parse_host, show
from planning.settings import GpioDriver


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a file: the text behind the = and the name of the file."""

    text: str
    file: str


class RefusedValueError(LookupError):
    """A rule asked for a value that was refused already."""


SECRET_WORDS = ("pass", "secret", "token", "key", "pwd")


def shown(name: str, text: str) -> str:
    """A value for an error text: short, on one line, and hidden when the name smells of a secret."""
    if any(word in name.lower() for word in SECRET_WORDS) and not name.lower().endswith("_file"):
        return "(hidden)"
    escaped = text if text.isprintable() else repr(text)[1:-1]
    return escaped if len(escaped) <= 60 else f"{escaped[:60]}..."


class Draft:
    """What the files say while it is being checked: lines, values and the problems found so far."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.values: dict[tuple[str, str], Any] = {}
        self.problems: list[str] = []
        #: Guns and modules that the local file took away from those of the main file: its lines on them do not count.
        self.dropped_guns: frozenset[int] = frozenset()
        self.dropped_modules: frozenset[int] = frozenset()
        self.main_file = ""

    def __getitem__(self, place: tuple[str, str]) -> Any:
        """The value in force. Raises RefusedValueError when it was refused."""
        if place not in self.values:
            raise RefusedValueError(place)
        return self.values[place]

    def get(self, section: str, name: str) -> Any:
        """The value in force; None when it was refused or there is none."""
        return self.values.get((section, name))

    def place(self, section: str, name: str) -> str:
        """File, section, key and value, as a person finds them."""
        entry = self.entries.get((section, name))
        if entry is not None:
            return f"{entry.file} [{section}] {name} = {shown(name, entry.text)}"
        return f"[{section}] {name} = {show(self.get(section, name))} (default)"

    def refuse(self, section: str, name: str, what: str) -> None:
        self.problems.append(f"{self.place(section, name)}: {what}.")

    def section(self, section: str) -> list[str]:
        """The names of a section that a file names."""
        return [name for found, name in self.entries if found == section]


@dataclass(frozen=True, slots=True)
class Order:
    """`low` must be below `high` (or equal, if `equal`), and why."""

    section: str
    low: str
    high: str  # a key of the same section, or Section.key
    equal: bool
    why: str


ORDERS = (
    Order("Safety", "silent_after", "can_fault_open", True, "silence must be known before a contactor opens on it"),
    Order("Safety", "silent_after", "silent_open", False, "the others need time to step down before the load break"),
    Order("Safety", "can_fault_open", "silent_open", True, "nobody heard is worse than one not heard"),
    Order(
        "Safety",
        "silent_after",
        "terminal_discharge_time",
        False,
        "silence must be noticed before a module is handed on",
    ),
    Order("Safety", "fresh_reading", "silent_after", True, "a reading may not count as fresh from a silent module"),
    Order("Safety", "open_wait", "open_anyway", True, "the contactor may not open before the wait for its OFF is over"),
    Order("Safety", "off_repeat", "open_wait", False, "OFF must be repeated at least once before the fault"),
    Order("Safety", "idle_current", "open_current", False, "a module without load must be below the opening current"),
    Order("Safety", "idle_current", "search_current", False, "the search must be able to see that the module conducts"),
    Order("Safety", "match_offset", "match_window", True, "the set-point itself must lie within the window"),
    Order("Safety", "feedback_debounce", "close_timeout", False, "feedback must settle within the limit"),
    Order("Safety", "feedback_debounce", "open_timeout", False, "feedback must settle within the limit"),
    Order("Safety", "safe_door_open", "safe_door", False, "contactors open before the stop is over"),
    Order("Allocation", "min_modules_per_gun", "General.max_modules_per_gun", True, "one is the least, one the most"),
)


def check(draft: Draft) -> None:
    """Add a sentence to `draft.problems` for every rule that is broken."""
    for order in ORDERS:
        with suppress(RefusedValueError):
            _check_order(draft, order)
    for rule in RULES:
        with suppress(RefusedValueError):
            rule(draft)


def _check_order(draft: Draft, order: Order) -> None:
    section, _, name = order.high.rpartition(".")
    section = section or order.section
    low, high = draft[order.section, order.low], draft[section, name]
    if low > high or (low == high and not order.equal):
        word = "at most" if order.equal else "less than"
        text = f"must be {word} {draft.place(section, name)}, since {order.why}. Change one of the two"
        draft.refuse(order.section, order.low, text)


def _limits(draft: Draft) -> None:
    site, fallback = draft["PowerLimits", "max_site_power"], draft["PowerLimits", "site_limit_fallback"]
    if site is not None and fallback > site:
        text = f"must be at most {draft.place('PowerLimits', 'max_site_power')}, both in kW at the feed"
        draft.refuse("PowerLimits", "site_limit_fallback", text)


def _capacity(draft: Draft) -> None:
    if draft["Allocation", "step_margin"] >= draft["General", "module_power_capacity"]:
        place = draft.place("General", "module_power_capacity")
        draft.refuse("Allocation", "step_margin", f"must be less than one module, {place} kW")


def _modules_per_gun(draft: Draft) -> None:
    if draft["General", "max_modules_per_gun"] > draft["General", "module_count"]:
        place = draft.place("General", "module_count")
        draft.refuse("General", "max_modules_per_gun", f"there are not that many modules, {place}")


def _rise_factor(draft: Draft) -> None:
    if draft["Safety", "voltage_rise_factor"] < 1:
        draft.refuse("Safety", "voltage_rise_factor", "must be 1 or more: below that no battery could be charged")


def _dead_voltage(draft: Draft) -> None:
    if draft["Safety", "dead_voltage"] >= draft["General", "max_output_voltage"]:
        place = draft.place("General", "max_output_voltage")
        draft.refuse("Safety", "dead_voltage", f"must be less than {place}, else every bus counts as dead")


# --- wiring -------------------------------------------------------------------------------------------------------

COMMON_PINS = ("output_enable_pin", "emergency_stop_pin", "heartbeat_pin")
CHAIN_PINS = (
    "data_pin", "clock_pin", "latch_pin", "feedback_load_pin", "feedback_clock_pin", "feedback_data_pin",
    "readback_pin",
)  # fmt: skip

#: GPIO 2 and 3 have pull-ups of 1.8 kOhm on the board (I2C). A coil there is on, and a torn stop loop reads healthy.
PULLED_UP_PINS = (2, 3)


def _crosspoint_pins(draft: Draft) -> list[str]:
    guns = range(1, draft["General", "gun_count"] + 1)
    modules = range(1, draft["General", "module_count"] + 1)
    return [f"gun{gun}_module{module}{end}" for gun in guns for module in modules for end in ("_pin", "_feedback_pin")]


def _matrix(draft: Draft) -> None:
    guns, modules = draft["General", "gun_count"], draft["General", "module_count"]
    if draft["GPIO", "driver"] is GpioDriver.SHIFT_REGISTER and guns * modules > MAX_CROSSPOINTS:
        text = (
            f"{guns} guns x {modules} modules need {guns * modules} coils, the chain of registers has {MAX_CROSSPOINTS}"
        )
        draft.refuse("General", "module_count", f"{text}. Lower module_count or gun_count")


def _direct_pins(draft: Draft) -> None:
    named = [name for name in draft.section("GPIO") if name.startswith("gun")]
    if draft["GPIO", "driver"] is GpioDriver.SHIFT_REGISTER:
        for name in named:
            draft.refuse("GPIO", name, "only for driver = direct. Delete the line or set the driver")
        return
    missing = [name for name in _crosspoint_pins(draft) if ("GPIO", name) not in draft.entries]
    if missing:
        more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        text = f"every contactor needs two pins. Add {', '.join(missing[:6])}{more}, or use driver = shift_register"
        draft.refuse("GPIO", "driver", text)


def _pins(draft: Draft) -> None:
    direct = draft["GPIO", "driver"] is GpioDriver.DIRECT
    used = [*COMMON_PINS, *(_crosspoint_pins(draft) if direct else CHAIN_PINS)]
    names_by_pin: dict[int, list[str]] = defaultdict(list)
    for name in used:
        if (pin := draft.get("GPIO", name)) is not None:
            names_by_pin[pin].append(name)
    for pin, names in sorted(names_by_pin.items()):
        _refuse_shared_pin(draft, pin, names)
    for name in used:
        if draft.get("GPIO", name) in PULLED_UP_PINS and (name == "emergency_stop_pin" or name.startswith("gun")):
            text = "the board pulls GPIO 2 and 3 up with 1.8 kOhm, which is not the safe state here"
            draft.refuse("GPIO", name, f"{text}. Take another pin")


def _refuse_shared_pin(draft: Draft, pin: int, names: list[str]) -> None:
    first = names[0]
    for name in names[1:]:
        # The sentence names the line that somebody wrote, not a default.
        here, there = (name, first) if ("GPIO", name) in draft.entries else (first, name)
        text = f"pin {pin} is used twice, also by {draft.place('GPIO', there)}"
        draft.refuse("GPIO", here, f"{text}. Give each signal a pin of its own")


# --- modules and devices ------------------------------------------------------------------------------------------


def _addresses(draft: Draft) -> None:
    first: dict[tuple[str, int], str] = {}
    for number in range(1, draft["General", "module_count"] + 1):
        name = f"module{number}_address"
        address, protocol = draft.get("Modules", name), draft.get("Modules", f"module{number}_protocol")
        if address is None or protocol is None:
            continue
        low, high = ADDRESSES[protocol]
        if not low <= address <= high:
            draft.refuse("Modules", name, f"{protocol} has the addresses {low} to {high}")
        other = first.setdefault((WIRE_FAMILY[protocol], address), name)
        if other != name:
            here, there = (name, other) if ("Modules", name) in draft.entries else (other, name)
            text = f"another module has this address, {draft.place('Modules', there)}"
            draft.refuse("Modules", here, f"{text}. Set another address on one of the two modules, and here")


def _devices(draft: Draft) -> None:
    count = draft["General", "gun_count"]
    first: dict[int, str] = {}
    devices = sorted((name for section, name in draft.values if section == "Devices"), key=lambda name: int(name[1:]))
    for name in devices:
        for gun in draft["Devices", name]:
            if not 1 <= gun <= count:
                draft.refuse("Devices", name, f"there is no gun {gun}. Guns are 1 to {count} (gun_count)")
            elif (other := first.setdefault(gun, name)) != name or draft["Devices", name].count(gun) > 1:
                here, there = (name, other) if ("Devices", name) in draft.entries else (other, name)
                draft.refuse("Devices", here, f"gun {gun} is named twice, also in {draft.place('Devices', there)}")


def _gun_priority(draft: Draft) -> None:
    count = draft["General", "gun_count"]
    if sorted(draft["Allocation", "gun_priority"]) != list(range(1, count + 1)):
        text = f"every gun from 1 to {count} (gun_count) must stand here exactly once"
        draft.refuse("Allocation", "gun_priority", text)


# --- things that need a partner -----------------------------------------------------------------------------------


def _needs(draft: Draft, section: str, name: str, partner: str, met: bool) -> None:
    if (section, name) in draft.entries and not met:
        draft.refuse(section, name, f"works only with {partner}. Set that too or delete this line")


def _tls(draft: Draft) -> None:
    tls = draft["MQTT", "tls"]
    for name in ("ca_file", "cert_file", "key_file"):
        _needs(draft, "MQTT", name, "tls = true", tls)
    for name, partner in (("cert_file", "key_file"), ("key_file", "cert_file"), ("password_file", "username")):
        _needs(draft, "MQTT", name, partner, ("MQTT", partner) in draft.entries)


def _page(draft: Draft) -> None:
    open_to_all = draft["Dashboard", "enabled"] and not is_loopback(draft["Dashboard", "host"])
    if open_to_all and ("Dashboard", "token_file") not in draft.entries:
        text = "the page is then open to the network without a token. Set token_file too, or host = 127.0.0.1"
        draft.refuse("Dashboard", "host", text)


def _signature(draft: Draft) -> None:
    if draft["Deploy", "require_signature"] and ("Deploy", "allowed_signers_file") not in draft.entries:
        draft.refuse("Deploy", "require_signature", "needs allowed_signers_file, which says whose signature counts")


def _can_options(draft: Draft) -> None:
    if draft["CAN", "interface"] == "socketcand":
        for name in ("option_host", "option_port"):
            if ("CAN", name) not in draft.entries:
                draft.refuse("CAN", "interface", f"socketcand needs {name}. Add the line")
    host, port = draft.get("CAN", "option_host"), draft.get("CAN", "option_port")
    if host is not None:
        try:
            parse_host(host)
        except ValueError as error:
            draft.refuse("CAN", "option_host", str(error))
    if port is not None and not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        draft.refuse("CAN", "option_port", "not a TCP port. Write a whole number from 1 to 65535")


def _own_can_keys(draft: Draft) -> None:
    for name in draft.section("CAN"):
        own = name.removeprefix("option_")
        if name != own and own in ("interface", "channel", "bitrate"):
            draft.refuse("CAN", name, f"this has a key of its own. Write {own} = ...")


RULES: tuple[Callable[[Draft], None], ...] = (
    _limits, _capacity, _modules_per_gun, _rise_factor, _dead_voltage, _matrix, _direct_pins, _pins, _addresses,
    _devices, _gun_priority, _tls, _page, _signature, _can_options, _own_can_keys,
)  # fmt: skip
