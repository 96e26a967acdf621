"""Job: what has to be said to one module next, so that it does what it was ordered and nothing else.

Thread: can-tx. Lock: none of its own (the holder of the view's lock calls). Units: in each name; monotonic seconds.

A module starts only from proven off: voltage, current, ON, and after its echo voltage and current again, since modules
forget set-points while off. Off is said again until the module echoes it or shows it, and then kept alive. What the
module does against its order (goes off by itself, does not start) bars it until an order OFF has come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from planning.model import ModuleOrder
from planning.module_view import ModuleView

RESEND_ON_S = 0.3  # no echo of ON so long: once more
ECHO_WAIT_S = 0.3  # no echo of a set-point so long: once more
KEEP_OFF_S = 10.0  # OFF to a module that is off
EMERGENCY_REPEAT_S = 0.1
UNHEARD_PATIENCE_S = 3.0  # a module that never answered is told OFF at the full rate so long, then once a second
UNHEARD_REPEAT_S = 1.0
#: The output range is asked again when the last answer is older, and written anew at most so often and so many times:
#: some makes keep it in an EEPROM.
RANGE_FRESH_S = 5.0
RANGE_ASK_S = 0.25
RANGE_WRITE_S = 2.0
RANGE_WRITES = 3
STATUS_FRESH_S = 1.5
#: No start so soon after a module was first heard or came back: a twin at its address shows itself within a round.
PRESENT_S = 0.6
#: Small steps down may wait as long as steps up, so that a slowly falling set-point does not fill the bus: 1 V and
#: 0.5 A for a make that takes a frame each 5 ms, ten times as much for one that takes a frame each 50 ms.
SMALL_V_PER_S = 200.0
SMALL_A_PER_S = 100.0


class Change(Enum):
    """What to do with the frame of one quantity."""

    KEEP = "the module has it, or the next step is not due: only renew what waits"
    LOWER = "lower, at once"
    RAISE = "higher, or the first value, or a refresh"


class Stop(Enum):
    """Why a module ended against its order."""

    WENT_OFF = "went off by itself"
    NO_START = "did not start"


@dataclass(slots=True)
class Wish:
    """What to put on the wire for one module now."""

    off: bool = False
    flush: bool = False  # throw away its waiting set-points
    zero: bool = False  # current 0 goes before the OFF (rule 7.3); not in an emergency
    voltage: Change = Change.KEEP
    current: Change = Change.KEEP
    on: bool = False
    ask_range: bool = False
    write_range: bool | None = None  # True: low
    stopped: Stop | None = None
    settled: bool = True  # nothing is pending: unless something happens, the next step may wait


@dataclass(frozen=True, slots=True)
class DriveRules:
    """The make's manners and the site's times."""

    voltage_step_v: float
    current_step_a: float
    start_timeout_s: float
    off_repeat_s: float
    spacing_s: float
    refresh_s: float  # set-points of a module that is on are sent again after so long
    resend_after_on: bool
    sets_echoed: bool
    has_ranges: bool
    #: a set-point also switches on; it is renewed only while the module was seen on within so long. None: it does not
    seen_on_s: float | None = None


class _Phase(Enum):
    OFF = "off"
    STARTING = "starting"
    ON = "on"


class _Setpoint:
    """One quantity: what the module has, and when the next step up may follow."""

    __slots__ = ("raise_at_s", "sent", "small", "step")

    def __init__(self, step: float, small: float) -> None:
        self.sent: float | None = None  # None: the module has forgotten it
        self.raise_at_s = -math.inf
        self.step = step
        self.small = small

    def reached(self, wanted: float) -> bool:
        """The module has it, as far as the wire can say it."""
        return self.sent is not None and self.sent <= wanted < self.sent + self.step

    def change(self, wanted: float, now_s: float, refresh: bool) -> Change:
        sent = self.sent
        if sent is None:
            return Change.RAISE
        due = now_s >= self.raise_at_s
        if wanted < sent:
            return Change.LOWER if due or sent - wanted >= self.small else Change.KEEP
        if wanted >= sent + self.step:
            return Change.RAISE if due else Change.KEEP
        return Change.RAISE if refresh else Change.KEEP


class ModuleDrive:
    """See the file's head. Feed it with `step`, tell it what left with the `sent_` methods."""

    def __init__(self, rules: DriveRules) -> None:
        self._rules = rules
        self._phase = _Phase.OFF
        self._voltage = _Setpoint(rules.voltage_step_v, SMALL_V_PER_S * rules.spacing_s)
        self._current = _Setpoint(rules.current_step_a, SMALL_A_PER_S * rules.spacing_s)
        self._set_sent_s = -math.inf
        self._started_s = 0.0
        self._on_sent_s: float | None = None
        self._seen_on = False
        self._off_first_sent_s: float | None = None  # of the present stay at off
        self._off_sent_s: float | None = None
        self._off_since_s: float | None = None
        self._emergency = False
        self._range_asked_s = -math.inf
        self._range_written_s = -math.inf
        self._range_writes = 0

    @property
    def stopped(self) -> bool:
        """Nothing that could be on was said to it since the last OFF was due."""
        return self._phase is _Phase.OFF

    def restart(self, emergency: bool) -> None:
        """OFF anew until the module confirms it; in an emergency at a higher rate."""
        self._phase = _Phase.OFF
        self._emergency = emergency
        self._off_first_sent_s = self._off_sent_s = None

    def step(self, view: ModuleView, order: ModuleOrder, now_s: float) -> Wish:
        """What to send now. `order` is what counts now: OFF when it is barred or not renewed."""
        wish = Wish()
        if order.on and view.enabled and not view.refused and not view.silent(now_s):
            if self._phase is _Phase.OFF:
                self._start(view, order, now_s, wish)
            else:
                self._watch_start(view, now_s, wish)
            if self._phase is not _Phase.OFF:
                self._setpoints(view, order, now_s, wish)
                return wish
        self._stay_off(view, order, now_s, wish)
        return wish

    # --- off --------------------------------------------------------------------------------------------------------

    def _stay_off(self, view: ModuleView, order: ModuleOrder, now_s: float, wish: Wish) -> None:
        if self._phase is not _Phase.OFF:
            self._phase = _Phase.OFF
            self._off_first_sent_s = self._off_sent_s = None
            wish.zero = not self._emergency
        proven = self._proven_off(view, now_s)
        wish.settled = proven and not order.on
        if proven:
            self._emergency = False
            wish.settled &= self._prepare_range(view, order, now_s, wish)
        if self._off_sent_s is None or now_s - self._off_sent_s >= self._off_interval_s(view, now_s, proven):
            wish.off = wish.flush = True

    def _proven_off(self, view: ModuleView, now_s: float) -> bool:
        """It echoed the OFF and nothing since contradicts, or it shows off in answer to a later question."""
        first_s = self._off_first_sent_s
        if first_s is None:
            return False
        if view.silent(now_s):
            return not view.may_be_on
        asked_later = view.on_asked_at_s is not None and view.on_asked_at_s > first_s
        if asked_later:
            return view.on is False
        return view.off_echo_at_s is not None and view.off_echo_at_s >= first_s

    def _off_interval_s(self, view: ModuleView, now_s: float, proven: bool) -> float:
        if proven:
            return KEEP_OFF_S
        if self._emergency:
            return EMERGENCY_REPEAT_S
        waited_s = now_s - self._off_since_s if self._off_since_s is not None else 0.0
        if view.heard_at_s is None and waited_s > UNHEARD_PATIENCE_S:
            return UNHEARD_REPEAT_S
        return self._rules.off_repeat_s

    def sent_off(self, now_s: float) -> None:
        """An OFF to this module, or to all, has left."""
        if self._off_first_sent_s is None:
            self._off_first_sent_s = now_s
        if self._off_since_s is None:
            self._off_since_s = now_s
        self._off_sent_s = now_s

    # --- start ------------------------------------------------------------------------------------------------------

    def _start(self, view: ModuleView, order: ModuleOrder, now_s: float, wish: Wish) -> None:
        shows_off = (
            self._off_first_sent_s is not None
            and view.on is False
            and view.on_asked_at_s is not None
            and view.on_asked_at_s > self._off_first_sent_s
            and view.on_at_s is not None
            and now_s - view.on_at_s <= STATUS_FRESH_S
        )
        present = now_s - view.present_since_s >= PRESENT_S
        if view.alarms or not present or not shows_off or not self._prepare_range(view, order, now_s, wish):
            return
        self._phase = _Phase.STARTING
        self._started_s = now_s
        self._on_sent_s = None
        self._seen_on = False
        self._emergency = False
        self._voltage.sent = self._current.sent = None
        wish.on = True

    def _watch_start(self, view: ModuleView, now_s: float, wish: Wish) -> None:
        on_sent_s = self._on_sent_s
        if on_sent_s is None:
            wish.on = True  # still waits to leave
            return
        asked_later = view.on_asked_at_s is not None and view.on_asked_at_s > on_sent_s
        shows_on = asked_later and view.on is True
        if self._phase is _Phase.STARTING:
            echoed = view.on_echo_at_s is not None and view.on_echo_at_s >= on_sent_s
            if echoed or shows_on:
                self._accept_on()
            elif now_s - on_sent_s >= RESEND_ON_S:
                self._voltage.sent = self._current.sent = None
                wish.on = True
        self._seen_on = self._seen_on or shows_on
        if self._seen_on and asked_later and view.on is False:
            self._end(Stop.WENT_OFF, wish)
        elif not self._seen_on and now_s - self._started_s > self._rules.start_timeout_s:
            self._end(Stop.NO_START, wish)

    def _accept_on(self) -> None:
        self._phase = _Phase.ON
        if self._rules.resend_after_on:
            self._voltage.sent = self._current.sent = None

    def _end(self, why: Stop, wish: Wish) -> None:
        self._phase = _Phase.OFF
        self._off_first_sent_s = self._off_sent_s = None
        wish.on = False
        wish.stopped = why

    def sent_on(self, now_s: float) -> None:
        """A frame that switches on has left. Of a module that already showed on it is no news."""
        if self._phase is _Phase.STARTING:
            self._on_sent_s = now_s

    # --- set-points -------------------------------------------------------------------------------------------------

    def _setpoints(self, view: ModuleView, order: ModuleOrder, now_s: float, wish: Wish) -> None:
        refresh = self._refresh_due(view, now_s)
        wish.voltage = self._voltage.change(order.voltage_v, now_s, refresh)
        wish.current = self._current.change(order.current_a, now_s, refresh)
        if self._would_restart(view, now_s):
            wish.voltage = Change.KEEP if wish.voltage is Change.RAISE else wish.voltage
            wish.current = Change.KEEP if wish.current is Change.RAISE else wish.current
        wish.settled = (
            self._phase is _Phase.ON
            and not refresh
            and self._voltage.reached(order.voltage_v)
            and self._current.reached(order.current_a)
        )

    def _would_restart(self, view: ModuleView, now_s: float) -> bool:
        """A set-point might switch a module on again that has just gone off by itself."""
        seen_on_s = self._rules.seen_on_s
        if seen_on_s is None or self._phase is not _Phase.ON:
            return False
        return not view.on or view.on_at_s is None or now_s - view.on_at_s > seen_on_s

    def _refresh_due(self, view: ModuleView, now_s: float) -> bool:
        since_s = now_s - self._set_sent_s
        if since_s >= self._rules.refresh_s:
            return True
        if not self._rules.sets_echoed or since_s < ECHO_WAIT_S:
            return False
        return view.set_echo_at_s is None or view.set_echo_at_s < self._set_sent_s

    def sent_setpoint(
        self, voltage_v: float | None, current_a: float | None, now_s: float, raise_interval_s: float
    ) -> None:
        """A set-point has left, with the values as the wire rounds them."""
        self._set_sent_s = now_s
        for setpoint, value in ((self._voltage, voltage_v), (self._current, current_a)):
            if value is not None:
                setpoint.sent = value
                setpoint.raise_at_s = now_s + raise_interval_s

    # --- range ------------------------------------------------------------------------------------------------------

    def _prepare_range(self, view: ModuleView, order: ModuleOrder, now_s: float, wish: Wish) -> bool:
        """True when the output range is as ordered. Only called while the module is proven off."""
        if order.low_range is None or not self._rules.has_ranges:
            return True
        asked_s = view.low_range_asked_at_s
        fresh = asked_s is not None and asked_s > max(now_s - RANGE_FRESH_S, self._range_written_s)
        if fresh and view.low_range is order.low_range:
            self._range_writes = 0
            return True
        may_write = self._range_writes < RANGE_WRITES and now_s - self._range_written_s >= RANGE_WRITE_S
        if fresh and may_write:
            wish.write_range = order.low_range
        elif now_s - self._range_asked_s >= RANGE_ASK_S:
            self._range_asked_s = now_s
            wish.ask_range = True
        return False

    def sent_range(self, now_s: float) -> None:
        """The range was written."""
        self._range_written_s = now_s
        self._range_writes += 1
