"""Job: when a charging session begins and ends, what it got, how long it waited, and why it ended.

Thread: one at a time (history); no clock, what passed is an argument. Lock: none. Units: kWh, kW, %, s; `*_ts` Unix
seconds.

A session is one visit of a car. It begins when the dispenser tells a car that waits or charges; at a gun that never
tells a status, when power is asked for; and wherever power flows, so that no energy is without a session. It is over
when the car is gone, the gun has a fault, its dispenser fell silent, it was taken out of use, or the station stops; at
a gun without a status, when nothing was asked for DEMAND_PAUSE_S. It ends then, but never while power still flows, and
is dated by the last moment at which it was not over or power flowed. A car that stays and charges on after that begins
a new one.

Energy is what the gun's counter rose by, so lost snapshots lose none. Lengths are sums of what passed between
snapshots, never differences of the wall clock: when that is moved, `from` moves with it and the length stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from monitoring.history.readings import GunReading, Reading
from monitoring.history.timeline import Passed
from planning.model import GunState, StationState, VehicleStatus

#: From here on power flows; below it is what readings are off by.
FLOWS_KW = 0.5
#: A gun that tells no status has only its demand to tell one car from the next; a car may pause so long.
DEMAND_PAUSE_S = 30.0
#: A page process that ended is followed by the next one within this time.
LONGEST_GAP_S = 3_600.0
#: Fault codes that say more about the end of a session than that of the gun itself, in this order.
_STATION_FAULTS = ("EMERGENCY_STOP", "CAN_FAULT", "CAN_LINK_DOWN", "FEEDBACK_INVALID", "OUTPUT_UNVERIFIED")
_SILENT = frozenset({"GUN_SILENT"})


class EndReason(Enum):
    """The name is what is stored; the value is for people."""

    CAR_LEFT = "the car left"
    FINISHED = "finished by the car"
    DEMAND_ENDED = "nothing was asked for any more"
    FAULT = "a fault"
    DEVICE_SILENT = "the dispenser fell silent"
    OUT_OF_USE = "the gun was taken out of use"
    DRAINED = "the station drains"
    STATION_STOPPED = "the station stopped"
    CONTROLLER_RESTARTED = "the controller started anew"
    NOT_WATCHED = "it ended while nobody looked on"


@dataclass(slots=True)
class Session:
    """One visit; open while `ended` is None."""

    gun: int
    run: str
    from_ts: float
    counter_kwh: float  # the gun's counter when it was last seen
    unseen_start: bool  # it may have begun before we looked on
    elapsed_s: float = 0.0
    active_s: float = 0.0  # length up to the last moment that counts
    energy_kwh: float = 0.0
    soc_from_pct: float | None = None
    soc_to_pct: float | None = None
    peak_kw: float = 0.0
    charging_s: float = 0.0
    waited_s: float = 0.0
    clock_moved_s: float = 0.0
    modules: set[int] = field(default_factory=set)
    ended: EndReason | None = None
    fault: str | None = None
    over: EndReason | None = None  # it is, but power still flows
    last_status: VehicleStatus = VehicleStatus.NEVER_TOLD
    renewed: bool = False  # another visit has begun, as soon as no power flows
    asks_no_more_s: float = 0.0
    row: int | None = None  # its row in the database, once it has one

    @property
    def to_ts(self) -> float | None:
        return None if self.ended is None else self.from_ts + self.active_s

    @property
    def seen_ts(self) -> float:
        """How far it is known."""
        return self.from_ts + (self.active_s if self.ended is not None else self.elapsed_s)

    @property
    def mean_kw(self) -> float:
        """Over the time in which power flowed."""
        return self.energy_kwh * 3600.0 / self.charging_s if self.charging_s else 0.0


@dataclass(frozen=True, slots=True)
class Kept:
    """An open session as it was last written, by a page process that ended before it did."""

    row: int
    gun: int
    from_ts: float
    seen_ts: float
    counter_kwh: float
    energy_kwh: float
    soc_from_pct: float | None
    peak_kw: float
    charging_s: float
    waited_s: float
    clock_moved_s: float
    modules: frozenset[int]


class SessionTracker:
    """One open session at most on each gun; those that ended wait in `ended` until they are written."""

    def __init__(self) -> None:
        self.open: dict[int, Session] = {}
        self.ended: list[Session] = []
        #: something began or ended since it was last set to False
        self.news = False
        self._counters_kwh: dict[int, float] = {}
        self._first = True

    def take(self, reading: Reading, passed: Passed) -> None:
        """Move all guns on by one snapshot."""
        if passed.new_run and not self._first:
            self._end_all(EndReason.CONTROLLER_RESTARTED)
            self._counters_kwh = dict.fromkeys(self._counters_kwh, 0.0)
        for session in self.open.values():
            session.from_ts += passed.clock_moved_s
            session.clock_moved_s += passed.clock_moved_s
        for gun in reading.guns:
            self._take_gun(gun, reading, passed.elapsed_s)
        self._first = False

    def adopt(self, kept: Iterable[Kept]) -> list[Kept]:
        """Go on with what an earlier page process began in this run; returns those that cannot be gone on with."""
        left = []
        known = {session.row for session in (*self.ended, *self.open.values())}
        for each in kept:
            if each.row in known:
                continue  # asked a second time: the first answer was not written
            session = self._unseen_start(each.gun)
            if session is None:
                left.append(each)
            else:
                _join(session, each)
        return left

    def stop(self) -> None:
        """Nobody looks on any more. A session that was over ends; with the others the next process goes on."""
        for session in [session for session in self.open.values() if session.over is not None]:
            self._end(session, session.over or EndReason.STATION_STOPPED)

    # --- one gun ------------------------------------------------------------------------------------------------------

    def _take_gun(self, gun: GunReading, reading: Reading, elapsed_s: float) -> None:
        before_kwh = self._counters_kwh.get(gun.gun, gun.energy_kwh)
        self._counters_kwh[gun.gun] = gun.energy_kwh
        # a counter that fell was started anew: what it shows is what came since
        rose_kwh = gun.energy_kwh - before_kwh if gun.energy_kwh >= before_kwh else gun.energy_kwh
        session = self.open.get(gun.gun)
        if session is not None:
            self._move_on(session, gun, reading, elapsed_s, rose_kwh)
        if gun.gun not in self.open and _begins(gun, reading, self._first):
            begun = self._begin(gun, reading)
            if session is None:
                begun.energy_kwh = rose_kwh

    def _begin(self, gun: GunReading, reading: Reading) -> Session:
        session = Session(gun.gun, reading.run, reading.ts, gun.energy_kwh, self._first)
        session.last_status = gun.status
        _note(session, gun)
        self.open[gun.gun] = session
        self.news = True
        return session

    def _move_on(self, session: Session, gun: GunReading, reading: Reading, elapsed_s: float, rose_kwh: float) -> None:
        session.elapsed_s += elapsed_s
        session.energy_kwh += rose_kwh
        session.counter_kwh = gun.energy_kwh
        if _powered(gun):
            session.charging_s += elapsed_s
        elif _asks(gun):
            session.waited_s += elapsed_s
        session.asks_no_more_s = 0.0 if gun.asked_kw > 0.0 else session.asks_no_more_s + elapsed_s
        # plugged in anew, or somebody else: the station takes it for a new car too
        session.renewed |= session.last_status is VehicleStatus.FINISHING and gun.status is VehicleStatus.WAITING
        session.over = _over(session, gun, reading)
        if session.over is EndReason.FAULT:
            session.fault = _fault_code(gun, reading) or session.fault
        elif session.over is None:
            session.fault = None
        flows = gun.delivered_kw >= FLOWS_KW
        demand_pauses = gun.status is VehicleStatus.NEVER_TOLD and gun.asked_kw <= 0.0
        if flows or (session.over is None and not demand_pauses):
            session.active_s = session.elapsed_s
        if session.over is None or flows:
            _note(session, gun)
        session.last_status = gun.status
        if session.over is not None and not flows:
            self._end(session, session.over)

    def _end(self, session: Session, reason: EndReason) -> None:
        session.ended = reason
        if reason is not EndReason.FAULT:
            session.fault = None
        del self.open[session.gun]
        self.ended.append(session)
        self.news = True

    def _end_all(self, reason: EndReason) -> None:
        for session in list(self.open.values()):
            self._end(session, session.over or reason)

    def _unseen_start(self, gun: int) -> Session | None:
        sessions = [*self.ended, *self.open.values()]
        return next((each for each in sessions if each.gun == gun and each.unseen_start and each.row is None), None)


# --- what a snapshot says of a gun -----------------------------------------------------------------------------------


def _begins(gun: GunReading, reading: Reading, first: bool) -> bool:
    if gun.delivered_kw >= FLOWS_KW:
        return True
    if _blocked(gun, reading) is not None:
        return False
    if gun.status is VehicleStatus.NEVER_TOLD:
        return gun.asked_kw > 0.0
    # a car that has finished keeps its gun; one that we meet like that at the start has had its session
    present = gun.status in (VehicleStatus.WAITING, VehicleStatus.CHARGING)
    return present or (first and gun.status is VehicleStatus.FINISHING)


def _over(session: Session, gun: GunReading, reading: Reading) -> EndReason | None:
    if session.renewed:
        return EndReason.FINISHED
    if gun.status is VehicleStatus.NO_CAR:
        finished = session.last_status is VehicleStatus.FINISHING or session.over is EndReason.FINISHED
        return EndReason.FINISHED if finished else EndReason.CAR_LEFT
    if gun.status is VehicleStatus.NEVER_TOLD and session.asks_no_more_s >= DEMAND_PAUSE_S:
        return EndReason.DEMAND_ENDED
    return _blocked(gun, reading)


def _blocked(gun: GunReading, reading: Reading) -> EndReason | None:
    """What keeps the gun from charging, whatever car is there."""
    if reading.state is StationState.STOPPING:
        return EndReason.STATION_STOPPED
    if gun.status is VehicleStatus.FAULT or gun.state is GunState.FAULT:
        return EndReason.FAULT
    if gun.state is GunState.DISABLED:
        return EndReason.DRAINED if gun.reason_code == "DRAINING" else EndReason.OUT_OF_USE
    if gun.reason_code == "SILENT_DEVICE" or _stands(_SILENT, f"g{gun.gun}", reading):
        return EndReason.DEVICE_SILENT
    return None


def _stands(codes: frozenset[str], where: str, reading: Reading) -> bool:
    return any(fault.id == where and fault.code in codes for fault in reading.faults)


def _fault_code(gun: GunReading, reading: Reading) -> str:
    """The fault that explains best why the gun is in fault."""
    own = [fault.code for fault in reading.faults if fault.id == f"g{gun.gun}" and fault.code not in _SILENT]
    station = [fault.code for fault in reading.faults if fault.code in _STATION_FAULTS]
    contactors = [fault.code for fault in reading.faults if fault.id.startswith(f"g{gun.gun}m")]
    if gun.reason_code == "EMERGENCY_STOP":
        own = []
    return next(iter([*own, *sorted(station, key=_STATION_FAULTS.index), *contactors]), gun.reason_code)


def _asks(gun: GunReading) -> bool:
    return gun.status in (VehicleStatus.CHARGING, VehicleStatus.NEVER_TOLD) and gun.asked_kw > 0.0


def _powered(gun: GunReading) -> bool:
    """It has power worth the name: FLOWS_KW, or half of what it asks for when that is next to nothing."""
    return gun.delivered_kw >= FLOWS_KW or (_asks(gun) and gun.delivered_kw >= gun.asked_kw / 2.0)


def _note(session: Session, gun: GunReading) -> None:
    """Peak, modules and state of charge as this snapshot has them."""
    session.peak_kw = max(session.peak_kw, gun.delivered_kw)
    session.modules.update(gun.delivering)
    if gun.soc_pct is not None:
        if session.soc_from_pct is None or not session.charging_s:
            session.soc_from_pct = gun.soc_pct  # until power flows it may still be that of the car before
        session.soc_to_pct = gun.soc_pct


def _join(session: Session, kept: Kept) -> None:
    """`session` is the rest of what was written as `kept`; what passed unseen counts for its length and its energy."""
    gap_s, moved_s = session.from_ts - kept.seen_ts, 0.0
    if not 0.0 <= gap_s <= LONGEST_GAP_S:
        gap_s, moved_s = 0.0, gap_s  # no page process is away for so long: the clock was moved
    unseen_s = kept.seen_ts - kept.from_ts + gap_s
    unseen_kwh = session.counter_kwh - session.energy_kwh - kept.counter_kwh
    session.row = kept.row
    session.from_ts -= unseen_s
    session.elapsed_s += unseen_s
    session.active_s += unseen_s
    session.energy_kwh += kept.energy_kwh + max(0.0, unseen_kwh)
    session.soc_from_pct = kept.soc_from_pct if kept.soc_from_pct is not None else session.soc_from_pct
    session.peak_kw = max(session.peak_kw, kept.peak_kw)
    session.charging_s += kept.charging_s
    session.waited_s += kept.waited_s
    session.clock_moved_s += kept.clock_moved_s + moved_s
    session.modules |= kept.modules
    session.unseen_start = False
