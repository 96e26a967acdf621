"""Job: the table of every key of config.ini: kind, default, range, unit and meaning, one row a key.

Thread: any (data). Lock: none. Units: in each row. config.ini and the README are checked against it.
A name with N, G or M in it stands for one key a gun or module: gunN_max_power is gun1_max_power, gun2_max_power, ...
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from planning.settings import GpioDriver, Priority, VoltageRange

#: Every make that `protocol` may name.
PROTOCOLS = ("uugreen", "maxwell_enr", "infypower", "maxwell_mxr", "winline", "tonhe")

#: Makes that share one CAN identifier layout: on the wire an address there belongs to one module, whatever its badge.
WIRE_FAMILY = {
    "uugreen": "uugreen and maxwell_enr",
    "maxwell_enr": "uugreen and maxwell_enr",
    "infypower": "infypower",
    "maxwell_mxr": "maxwell_mxr and winline",
    "winline": "maxwell_mxr and winline",
    "tonhe": "tonhe",
}

#: Module addresses that a make's identifier can carry (makers' protocol texts). Tonhe: those that one OFF to all
#: reaches, of 1 to 240.
ADDRESSES = {
    "uugreen": (1, 127),
    "maxwell_enr": (1, 127),
    "infypower": (0, 59),
    "maxwell_mxr": (0, 63),
    "winline": (0, 63),
    "tonhe": (1, 24),
}

#: Seven 74HC595 have 56 outputs; the last two bits are the test bits of the feedback chain and drive no coil.
MAX_CROSSPOINTS = 54

#: GPIO 14 and 15 are the serial console of a Raspberry Pi: they are high, and toggle, while it boots.
CONSOLE_PINS = (14, 15)

#: The interfaces of python-can 4.6, so that a slip of the pen is named here and not retried for ever on the bus.
CAN_INTERFACES = (
    "socketcan", "socketcand", "virtual", "udp_multicast", "serial", "slcan", "pcan", "kvaser", "ixxat", "vector",
    "gs_usb", "canalystii", "cantact", "etas", "iscan", "neousys", "neovi", "nican", "nixnet", "robotell",
    "seeedstudio", "systec", "usb2can",
)  # fmt: skip


class Kind(Enum):
    """How the text behind the = is read."""

    NUMBER = "number"
    INTEGER = "whole number"
    BOOLEAN = "boolean"
    CHOICE = "one of a list"
    TEXT = "text"
    NAME = "name"
    TOPIC = "topic"
    HOST = "host"
    PIN = "pin"
    GUNS = "gun numbers"
    DATABASE = "database"
    WINDOW = "time of day, from and to"
    FILE = "existing file"
    SECRET_FILE = "existing file with a secret"
    OUTPUT_FILE = "file that the program writes"


UNIT_SUFFIX = {"kW": "_kw", "A": "_a", "V": "_v", "s": "_s", "%": "_pct", "V/s": "_v_per_s", "A/s": "_a_per_s"}

_ALLOWED_TEXT = {
    Kind.BOOLEAN: "true or false",
    Kind.TEXT: "1 to 200 printable characters",
    Kind.NAME: "1 to 64 of the characters a-z A-Z 0-9 . _ -",
    Kind.TOPIC: "1 to 64 characters without + and #, no / at either end",
    Kind.HOST: "a host name or an IP address",
    Kind.PIN: "a BCM number from 0 to 27, not 14 or 15",
    Kind.GUNS: "gun numbers with commas between them",
    Kind.DATABASE: "sqlite:///FILE or postgresql://USER@HOST/DATABASE",
    Kind.WINDOW: "HH:MM-HH:MM in local time",
    Kind.FILE: "the path of a file that exists",
    Kind.SECRET_FILE: "the path of a file that exists and that others cannot read",
    Kind.OUTPUT_FILE: "the path of a file in a folder that exists",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One row. `default` is the text that would stand in the file; "" = none, or told by `default_note`."""

    section: str
    name: str
    kind: Kind
    default: str
    low: float | None
    high: float | None
    unit: str
    meaning: str
    zero: str = ""  # what 0 means when it is allowed outside the range
    choices: tuple[str, ...] = ()
    enum: type[Enum] | None = None
    default_note: str = "none"

    @property
    def attribute(self) -> str:
        """Name of the field in planning/settings.py: the key with its unit."""
        return self.name + UNIT_SUFFIX.get(self.unit, "")

    @property
    def allowed(self) -> str:
        """What may be written, with the unit, so that it reads on after the word "Write"."""
        if self.choices:
            return " or ".join(", ".join(self.choices).rsplit(", ", 1))
        if self.low is None or self.high is None:
            return _ALLOWED_TEXT[self.kind]
        noun = "a whole number" if self.kind is Kind.INTEGER else "a number"
        span = f"{noun} from {self.low:.10g} to {self.high:.10g} {self.unit}".rstrip()
        return f"0 ({self.zero}) or {span}" if self.zero else span

    @property
    def default_shown(self) -> str:
        return self.default or self.default_note


# fmt: off
def safety(name: str, default: float, unit: str, meaning: str, *, kind: Kind = Kind.NUMBER, zero: str = "") -> Key:
    """A row of [Safety]: a tenth to ten times the default is allowed."""
    low = 1 if kind is Kind.INTEGER else round(default * 0.1, 6)
    high = round(default * 10, 6)
    return Key("Safety", name, kind, f"{default:.10g}", low, high, unit, meaning, zero=zero)


def pin(name: str, default: str, meaning: str, note: str = "none") -> Key:
    return Key("GPIO", name, Kind.PIN, default, None, None, "BCM", meaning, default_note=note)


def plain(
    section: str, name: str, kind: Kind, default: str, meaning: str, *,
    choices: tuple[str, ...] = (), enum: type[Enum] | None = None,
    default_note: str = "none",
) -> Key:
    """A row without a range of numbers."""
    return Key(section, name, kind, default, None, None, "", meaning, "", choices, enum, default_note)


PRIORITIES = tuple(priority.value for priority in Priority)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

KEYS: tuple[Key, ...] = (
    Key("PowerLimits", "gunN_max_power", Kind.NUMBER, "240", 0, 1000, "kW",
        "most power of gun N; 0 takes the gun out of use"),
    Key("PowerLimits", "gunN_max_current", Kind.NUMBER, "500", 1, 1000, "A",
        "most current of gun N: the least of cable, bus bar and dispenser"),
    Key("PowerLimits", "max_site_power", Kind.NUMBER, "", 1, 5000, "kW",
        "most AC power of all guns together at the feed"),
    Key("PowerLimits", "site_limit_timeout", Kind.NUMBER, "0", 1, 86400, "s",
        "after this time without a new site limit over MQTT the fallback holds", zero="never"),
    Key("PowerLimits", "site_limit_fallback", Kind.NUMBER, "0", 0, 5000, "kW",
        "AC power at the feed when the site limit is too old"),

    Key("General", "module_power_capacity", Kind.NUMBER, "40", 1, 100, "kW", "rated power of one module (name plate)"),
    Key("General", "gun_count", Kind.INTEGER, "6", 1, MAX_CROSSPOINTS, "", "number of guns"),
    Key("General", "module_count", Kind.INTEGER, "9", 1, MAX_CROSSPOINTS, "", "number of power modules"),
    plain("General", "station_id", Kind.NAME, "vesec-1", "name of this station in logs and on the page"),
    Key("General", "max_output_voltage", Kind.NUMBER, "1000", 150, 1000, "V", "no gun is ever set above this voltage"),
    Key("General", "module_efficiency", Kind.NUMBER, "0.95", 0.5, 1, "",
        "DC power out per AC power in, for the site limit"),
    Key("General", "max_modules_per_gun", Kind.INTEGER, "", 1, MAX_CROSSPOINTS, "",
        "most modules that one gun may get", default_note="module_count"),

    plain("MQTT", "broker", Kind.HOST, "broker.hivemq.com", "host of the MQTT broker"),
    Key("MQTT", "port", Kind.INTEGER, "1883", 1, 65535, "", "TCP port of the broker; usual: 1883 plain, 8883 with TLS"),
    Key("MQTT", "keepalive", Kind.INTEGER, "10", 1, 600, "s", "a silent connection is tested after this time"),
    plain("MQTT", "client_id", Kind.NAME, "", "name at the broker; two clients of one name throw each other out",
        default_note="station_id and a stored random part"),
    plain("MQTT", "username", Kind.TEXT, "", "user at the broker"),
    plain("MQTT", "password_file", Kind.SECRET_FILE, "", "file whose first line is the password of the user"),
    plain("MQTT", "tls", Kind.BOOLEAN, "false", "encrypt the connection and check the broker's certificate"),
    plain("MQTT", "ca_file", Kind.FILE, "", "certificate authority that signed the broker's certificate",
        default_note="those of the operating system"),
    plain("MQTT", "cert_file", Kind.FILE, "", "certificate of this station (with key_file)"),
    plain("MQTT", "key_file", Kind.SECRET_FILE, "", "private key of this station (with cert_file)"),
    plain("MQTT", "topic_root", Kind.TOPIC, "vesec", "first part of every topic"),
    Key("MQTT", "accept_retained", Kind.BOOLEAN, "false", None, None, "",
        "take values that the broker had stored from before; they may be old"),
    plain("MQTT", "home_assistant", Kind.BOOLEAN, "false", "announce the station to Home Assistant"),

    Key("Devices", "DN", Kind.GUNS, "", None, None, "",
        "guns of dispenser DN; the n-th number is the gun that its gun_id n means", default_note="2N-1, 2N"),

    plain("Allocation", "priority", Kind.CHOICE, "highest_demand", "which gun is served first",
        choices=PRIORITIES, enum=Priority),
    Key("Allocation", "min_modules_per_gun", Kind.INTEGER, "0", 0, MAX_CROSSPOINTS, "",
        "every charging gun gets this many first, longest session first"),
    plain("Allocation", "gun_priority", Kind.GUNS, "", "all guns, most important first, for priority = gun_priority",
        default_note="1, 2, ... gun_count"),
    Key("Allocation", "priority_hysteresis", Kind.NUMBER, "10", 0, 100, "%",
        "a gun overtakes one that holds modules when it asks for this much more"),
    Key("Allocation", "release_delay", Kind.NUMBER, "5", 0, 600, "s",
        "a module too many is kept this long when nobody waits"),
    Key("Allocation", "step_margin", Kind.NUMBER, "4", 0, 100, "kW",
        "demand must fall this far below a whole module before one is given up"),
    Key("Allocation", "move_dwell", Kind.NUMBER, "30", 0, 3600, "s",
        "a module that came to a gun stays at least this long"),
    Key("Allocation", "rotation_period", Kind.NUMBER, "300", 10, 86400, "s",
        "modules move on among waiting guns when there are fewer than asking guns"),

    plain("CAN", "interface", Kind.CHOICE, "socketcan", "kind of CAN interface, by its name in python-can",
        choices=CAN_INTERFACES),
    plain("CAN", "channel", Kind.TEXT, "can0", "channel of the interface"),
    Key("CAN", "bitrate", Kind.INTEGER, "125000", 10000, 1000000, "bit/s", "bit rate of the modules"),
    plain("CAN", "protocol", Kind.CHOICE, "uugreen", "make of the modules",
        choices=PROTOCOLS),
    Key("CAN", "option_NAME", Kind.TEXT, "", None, None, "",
        "any option NAME of that python-can interface; socketcand needs option_host and option_port"),

    Key("Modules", "moduleN_address", Kind.INTEGER, "N", 0, 240, "",
        "address that is set on module N; what each make allows stands in docs/modules.md"),
    plain("Modules", "moduleN_protocol", Kind.CHOICE, "", "make of module N",
        choices=PROTOCOLS, default_note="protocol of [CAN]"),
    plain("Modules", "moduleN_enabled", Kind.BOOLEAN, "true", "false takes module N out of use"),
    Key("Modules", "voltage_range", Kind.CHOICE, "high", None, None, "",
        "output range of modules that have two; auto decides from the car's limit", enum=VoltageRange,
        choices=tuple(value.value for value in VoltageRange)),

    plain("GPIO", "driver", Kind.CHOICE, "shift_register", "how the coils hang on the computer",
        choices=tuple(value.value for value in GpioDriver), enum=GpioDriver),
    pin("data_pin", "17", "serial data to the 74HC595 chain"),
    pin("clock_pin", "27", "shift clock of the 74HC595 chain"),
    pin("latch_pin", "22", "latch of the 74HC595 chain"),
    pin("output_enable_pin", "6", "output enable of all coils, low = on; pulled up by 10 kOhm or less"),
    pin("feedback_load_pin", "13", "load of the 74HC165 chain, low = copy the inputs"),
    pin("feedback_clock_pin", "21", "shift clock of the 74HC165 chain"),
    pin("feedback_data_pin", "5", "serial data from the 74HC165 chain"),
    pin("emergency_stop_pin", "16", "emergency stop loop, 1 = healthy; pulled down by 10 kOhm or less"),
    pin("heartbeat_pin", "26", "square wave; hardware drops the coil supply 500 ms after its last edge"),
    pin("readback_pin", "", "serial output of the last 74HC595, which proves every image"),
    pin("gunG_moduleM_pin", "", "driver = direct: coil of the contactor from module M to gun G"),
    pin("gunG_moduleM_feedback_pin", "", "driver = direct: mirror contact of that contactor, 0 = proven open"),

    safety("demand_timeout", 60, "s", "a gun that told nothing for so long is ramped to 0", zero="never"),
    safety("demand_ramp", 5, "s", "time of that ramp"),
    safety("close_timeout", 0.3, "s", "a contactor must be seen closed after this"),
    safety("open_timeout", 0.2, "s", "a contactor must be seen open after this, else it is welded"),
    safety("close_retry_delay", 1, "s", "pause before the one retry of a failed close"),
    safety("feedback_debounce", 0.02, "s", "feedback counts when it was equal for so long"),
    safety("image_refresh", 0.1, "s", "the coil image is shifted out again this often"),
    safety("pickups_per_250ms", 4, "", "most coils that pick up within 250 ms (coil supply)", kind=Kind.INTEGER),
    safety("dead_voltage", 60, "V", "below this a bus or module counts as dead"),
    safety("match_window", 20, "V", "onto a live bus: the module is 0 to this much below it"),
    safety("match_offset", 10, "V", "onto a live bus: the module is set this much below it"),
    safety("idle_current", 1, "A", "at or above this a module conducts; the limit of a module about to join"),
    safety("fresh_reading", 1, "s", "a reading older than this proves nothing"),
    safety("open_current", 5, "A", "a contactor opens below this"),
    safety("open_wait", 2, "s", "wait for a reading after OFF before an open counts as a fault"),
    safety("open_anyway", 3, "s", "the contactor opens after this all the same"),
    safety("off_repeat", 0.2, "s", "OFF is repeated this often to a module that does not confirm"),
    safety("emergency_open", 0.06, "s", "emergency: the contactor opens this long after OFF"),
    safety("terminal_discharge_time", 10, "s", "a module that was on waits this long before it goes to another gun"),
    safety("silent_after", 1.5, "s", "a module without a frame for so long is silent"),
    safety("silent_open", 5, "s", "the contactor of a silent module opens after this"),
    safety("can_fault_open", 2, "s", "all modules silent: contactors open after this"),
    safety("over_percent", 10, "%", "stop when measured above the set-point by this share"),
    safety("over_power", 2, "kW", "... and by at least this power"),
    safety("over_current", 5, "A", "... and by at least this current"),
    safety("search_rate", 100, "V/s", "rise of the voltage while the battery voltage is searched"),
    safety("search_current", 2, "A", "most current during that search, and in cable check and precharge"),
    safety("voltage_margin", 30, "V", "set-point above the voltage at which the module conducts"),
    safety("voltage_follow", 5, "V/s", "the set-point follows the battery at most this fast"),
    safety("voltage_rise_factor", 1.1, "", "never above this many times the lowest conducting voltage of the session"),
    safety("ramp_up", 25, "A/s", "current of a gun rises at most this fast"),
    safety("start_hear", 3, "s", "at the start a module silent for so long stays out"),
    safety("safe_door", 3, "s", "stopping: everything is off and open after this"),
    safety("safe_door_open", 1, "s", "stopping: contactors open after this even under load"),

    plain("Dashboard", "enabled", Kind.BOOLEAN, "true", "serve the web page"),
    Key("Dashboard", "host", Kind.HOST, "127.0.0.1", None, None, "",
        "address on which the page listens; 127.0.0.1 = this computer only, 0.0.0.0 = the whole network"),
    Key("Dashboard", "port", Kind.INTEGER, "8080", 1, 65535, "", "TCP port of the page"),
    Key("Dashboard", "token_file", Kind.SECRET_FILE, "", None, None, "",
        "file whose first line is the word that allows commands from the page (16 to 256 signs)"),

    plain("History", "url", Kind.DATABASE, "sqlite:///history.db",
        "database of the history: sqlite:///FILE beside config.ini, or postgresql://USER@HOST/DATABASE"),
    Key("History", "retention_days", Kind.INTEGER, "365", 1, 3650, "days",
        "sessions, minutes of power, faults and operations older than this are deleted"),
    Key("History", "max_megabytes", Kind.INTEGER, "500", 10, 1000000, "MB",
        "the oldest rows go before the database is larger"),

    plain("Logging", "file", Kind.OUTPUT_FILE, "debug.log", "the log file"),
    plain("Logging", "console_level", Kind.CHOICE, "INFO", "least level on the console", choices=LEVELS),
    plain("Logging", "file_level", Kind.CHOICE, "DEBUG", "least level in the file", choices=LEVELS),
    Key("Logging", "max_bytes", Kind.INTEGER, "5000000", 100000, 1000000000, "bytes",
        "a full file becomes FILE.1 and a new one begins"),
    Key("Logging", "backup_count", Kind.INTEGER, "3", 1, 100, "", "number of old files that are kept"),

    plain("Deploy", "remote", Kind.NAME, "origin", "git remote that updates come from"),
    plain("Deploy", "branch", Kind.TOPIC, "main", "branch that is followed"),
    Key("Deploy", "interval", Kind.NUMBER, "0", 60, 604800, "s",
        "look for an update this often", zero="only when asked"),
    plain("Deploy", "require_signature", Kind.BOOLEAN, "false", "only signed tags vX.Y.Z are taken"),
    plain("Deploy", "allowed_signers_file", Kind.FILE, "",
        "the keys that are trusted: allowed signers of ssh-keygen, or GPG public keys"),
    plain("Deploy", "window", Kind.WINDOW, "00:00-24:00", "updates are switched over only at this time of day"),
    Key("Deploy", "idle_for", Kind.NUMBER, "60", 0, 86400, "s",
        "the station must have been idle for so long before an update"),
    Key("Deploy", "health_timeout", Kind.NUMBER, "60", 1, 3600, "s",
        "a new version must be up after this, else it is rolled back"),
    Key("Deploy", "stable_for", Kind.NUMBER, "60", 1, 86400, "s", "a new version counts as good after this"),
    Key("Deploy", "keep_releases", Kind.INTEGER, "3", 2, 20, "",
        "releases that stay on the disk; the one before is needed to roll back"),
)
# fmt: on

SECTIONS = tuple(dict.fromkeys(key.section for key in KEYS))

_NUMBERED = re.compile(r"(?<=gun)[NG]|(?<=module)[NM]|(?<=^D)N")


@cache
def pattern(key: Key) -> re.Pattern[str]:
    """What a name in the file must look like to be this key; each group is one number (or the NAME of an option)."""
    body = _NUMBERED.sub("([1-9][0-9]?)", key.name).replace("NAME", "([a-z][a-z0-9_]*)")
    return re.compile(body, re.IGNORECASE)


def find(section: str, name: str) -> tuple[Key, tuple[str, ...]] | None:
    """The row for a name as written in the file and the numbers in it; None for a name that is no key."""
    for key in KEYS:
        if key.section == section and (match := pattern(key).fullmatch(name)):
            return key, match.groups()
    return None


def spell(key: Key, parts: tuple[str, ...]) -> str:
    """The name of the key with its numbers put in: ("gunN_max_power", "2") -> gun2_max_power."""
    left = iter(parts)
    return _NUMBERED.sub(lambda _: next(left), key.name) if "NAME" not in key.name else f"option_{parts[0]}"


def limits(key: Key, gun_count: int, module_count: int) -> tuple[int, ...]:
    """How far each number in the name may count; empty for a key without numbers."""
    devices = (gun_count + 1) // 2
    counts = {"gun": gun_count, "mod": module_count, "D": devices}
    return tuple(counts[found] for found in re.findall(r"(gun|mod|^D)(?:ule)?[NGM]", key.name))


def numbers(key: Key, gun_count: int, module_count: int) -> Iterator[tuple[str, ...]]:
    """Every choice of numbers for a numbered key of this station; one empty choice for a plain key."""
    if "NAME" in key.name:
        return
    found: list[tuple[str, ...]] = [()]
    for count in limits(key, gun_count, module_count):
        found = [(*parts, str(number)) for parts in found for number in range(1, count + 1)]
    yield from found
