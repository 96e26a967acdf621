"""Job: what a walk through the station saw, as data: the only thing that the findings and the report are made of.

Thread: any (frozen). Lock: none. Units: V, s.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from planning.model import CloseRefusal, Crosspoint


@dataclass(frozen=True, slots=True)
class ModuleSeen:
    """One module alone, all contactors open, at its lowest voltage and smallest current."""

    module: int
    address: int
    make: str
    heard: bool
    serial: str | None = None
    asked_v: float | None = None  # None: it was not switched on
    measured_v: float | None = None  # None: it did not come up in time
    fell: bool = False  # off and dead again in time
    others: tuple[int, ...] = ()  # modules that were on or had a voltage meanwhile
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CrosspointSeen:
    """One contactor alone."""

    crosspoint: Crosspoint
    refused: CloseRefusal | None = None  # the interlock did not let it close
    why: str = ""  # it was not tried, in words
    closed: tuple[Crosspoint, ...] = ()  # what feedback showed closed while this one's coil was on
    module_v: float | None = None  # its module's own reading while it was powered; None: it was not
    buses_v: tuple[tuple[int, float], ...] = ()  # gun -> voltage that its dispenser told meanwhile
    left: tuple[Crosspoint, ...] = ()  # what was not proven open after its coil was off again

    @property
    def tried(self) -> bool:
        return self.refused is None and not self.why


@dataclass(frozen=True, slots=True)
class MatchSeen:
    """A search: the contactors of `column` were closed one at a time, and the module at this `address` alone was on."""

    column: int
    module: int  # whose address was on
    bus_v: float | None


@dataclass(slots=True)
class Observed:
    """Everything of one walk."""

    modules: list[ModuleSeen] = field(default_factory=list)
    crosspoints: list[CrosspointSeen] = field(default_factory=list)
    matches: list[MatchSeen] = field(default_factory=list)
    closed_at_start: tuple[Crosspoint, ...] = ()
    guns_read: tuple[int, ...] = ()  # guns whose dispenser told a bus voltage
    feedback_valid: bool = True
    contacts: int = 0  # gun_count x module_count
    inputs_beyond: tuple[int, ...] = ()  # feedback inputs behind those that read proven open
    unconfigured: tuple[int, ...] = ()  # CAN addresses that answered and that no module in config.ini has
    stopped: str = ""  # why it ended before its end; "": it went through
