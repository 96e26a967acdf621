"""Job: what config.ini says, as frozen values with their units in the names.

Thread: any (frozen). Lock: none. Units: in each name. Meaning, range and default of every key stand in config.ini.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Priority(Enum):
    """The allocation rules that config.ini names."""

    HIGHEST_DEMAND = "highest_demand"
    FIRST_COME = "first_come"
    LOWEST_SOC = "lowest_soc"
    FAIR_SHARE = "fair_share"
    GUN_PRIORITY = "gun_priority"


class VoltageRange(Enum):
    """Output range of modules that have two: fixed high, fixed low, or chosen from voltage_limit before a session."""

    HIGH = "high"
    LOW = "low"
    AUTO = "auto"


class GpioDriver(Enum):
    SHIFT_REGISTER = "shift_register"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class PowerLimits:
    gun_max_power_kw: Mapping[int, float]
    gun_max_current_a: Mapping[int, float]
    max_site_power_kw: float | None = None
    site_limit_timeout_s: float = 0.0
    site_limit_fallback_kw: float = 0.0


@dataclass(frozen=True, slots=True)
class General:
    module_power_capacity_kw: float = 40.0
    gun_count: int = 6
    module_count: int = 9
    station_id: str = "vesec-1"
    max_output_voltage_v: float = 1000.0
    module_efficiency: float = 0.95
    max_modules_per_gun: int = 9


@dataclass(frozen=True, slots=True)
class Mqtt:
    broker: str = "broker.hivemq.com"
    port: int = 1883
    keepalive_s: int = 10
    client_id: str | None = None  # None: station id and a stored random part
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    topic_root: str = "vesec"
    accept_retained: bool = False
    home_assistant: bool = False

    @property
    def authenticated(self) -> bool:
        """True when the broker can know who commands: TLS with a user or a client certificate (reset needs it)."""
        return self.tls and (self.username is not None or self.cert_file is not None)


@dataclass(frozen=True, slots=True)
class Devices:
    #: device name -> the gun numbers, the n-th being what the device's gun_id n means: {"D1": (1, 2), ...}
    guns: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class AllocationSettings:
    priority: Priority = Priority.HIGHEST_DEMAND
    min_modules_per_gun: int = 0
    gun_priority: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    priority_hysteresis_pct: float = 10.0
    release_delay_s: float = 5.0
    step_margin_kw: float = 4.0
    move_dwell_s: float = 30.0
    rotation_period_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Can:
    interface: str = "socketcan"
    channel: str = "can0"
    bitrate: int = 125000
    protocol: str = "uugreen"
    #: option_NAME keys, handed to python-can as NAME=value
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Module:
    number: int
    address: int
    protocol: str
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Modules:
    by_number: Mapping[int, Module]
    voltage_range: VoltageRange = VoltageRange.HIGH


@dataclass(frozen=True, slots=True)
class Gpio:
    driver: GpioDriver = GpioDriver.SHIFT_REGISTER
    data_pin: int = 17
    clock_pin: int = 27
    latch_pin: int = 22
    output_enable_pin: int = 6
    feedback_load_pin: int = 13
    feedback_clock_pin: int = 21
    feedback_data_pin: int = 5
    emergency_stop_pin: int = 16
    heartbeat_pin: int = 26
    readback_pin: int | None = None
    #: driver = direct: (gun, module) -> BCM pin of the coil, and of the feedback
    direct_pins: Mapping[tuple[int, int], int] = field(default_factory=dict)
    direct_feedback_pins: Mapping[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Safety:
    """Section [Safety]. The key in config.ini is the name here without its unit."""

    demand_timeout_s: float = 60.0
    demand_ramp_s: float = 5.0
    close_timeout_s: float = 0.3
    open_timeout_s: float = 0.2
    close_retry_delay_s: float = 1.0
    feedback_debounce_s: float = 0.02
    image_refresh_s: float = 0.1
    pickups_per_250ms: int = 4
    dead_voltage_v: float = 60.0
    match_window_v: float = 20.0
    match_offset_v: float = 10.0
    idle_current_a: float = 1.0
    fresh_reading_s: float = 1.0
    open_current_a: float = 5.0
    open_wait_s: float = 2.0
    open_anyway_s: float = 3.0
    off_repeat_s: float = 0.2
    emergency_open_s: float = 0.06
    terminal_discharge_time_s: float = 10.0
    silent_after_s: float = 1.5
    silent_open_s: float = 5.0
    can_fault_open_s: float = 2.0
    over_percent_pct: float = 10.0
    over_power_kw: float = 2.0
    over_current_a: float = 5.0
    search_rate_v_per_s: float = 100.0
    search_current_a: float = 2.0
    voltage_margin_v: float = 30.0
    voltage_follow_v_per_s: float = 5.0
    voltage_rise_factor: float = 1.1
    ramp_up_a_per_s: float = 25.0
    start_hear_s: float = 3.0
    safe_door_s: float = 3.0
    safe_door_open_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Dashboard:
    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class History:
    url: str = "sqlite:///history.db"
    retention_days: int = 365
    max_megabytes: int = 500


@dataclass(frozen=True, slots=True)
class Logging:
    file: Path = Path("debug.log")
    console_level: str = "INFO"
    file_level: str = "DEBUG"
    max_bytes: int = 5_000_000
    backup_count: int = 3


@dataclass(frozen=True, slots=True)
class Deploy:
    remote: str = "origin"
    branch: str = "main"
    interval_s: float = 0.0
    require_signature: bool = False
    allowed_signers_file: Path | None = None
    window: tuple[int, int] = (0, 24 * 60)  # minutes after midnight, local time
    idle_for_s: float = 60.0
    health_timeout_s: float = 60.0
    stable_for_s: float = 60.0
    keep_releases: int = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything config.ini and config.local.ini say. Paths in it are absolute."""

    folder: Path  # where config.ini lies; every file that the program writes goes here
    power_limits: PowerLimits
    general: General
    mqtt: Mqtt
    devices: Devices
    allocation: AllocationSettings
    can: Can
    modules: Modules
    gpio: Gpio
    safety: Safety
    dashboard: Dashboard
    history: History
    logging: Logging
    deploy: Deploy
    #: section -> the keys that a file really names (--simulate keeps its own defaults for what is not set)
    given: Mapping[str, frozenset[str]] = field(default_factory=dict)
