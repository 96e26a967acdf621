"""Job: what a person types to break the simulated station: one line, one fault, and how to mend it again.

Thread: that of the plant. Lock: none. Units: A, V, % in the lines. `apply(line, ...)` does it and says what it did.
"""

from __future__ import annotations

from simulator.fault_bench import Bench
from simulator.fault_words import ACTIONS

__all__ = ["HELP", "Bench", "apply"]

HELP = """\
weld|stick|reads_open|reads_closed|slam|repair g1m3   a contactor (stick: no longer closes; slam: closes by itself)
cross_coils|cross_feedback g1m1 g2m3    these wires were crossed when the cabinet was built; once more: no longer
swap_addresses m1 m2        these modules have each other's address
mute|deaf|freeze|ignore_off|ignore_set|reboot|duplicate|heal m4   a module
derate m4 20      it can give 20 A only
overdo_v|overdo_a m4 1.3    it gives this multiple of the voltage or current that it is set to, and tells it truly
scale_v|scale_a m4 0.1      it tells this multiple of the voltage or current that it measures
fail m4 [bits]    it switches off and shows these status bits (hexadecimal)
hot m4            the same for over-temperature
refuse m4         it refuses every command (where its make can say so)
show m4 bits      it shows these status bits and goes on
battery g2 640    another battery voltage; battery g2 none: nothing connected
load_dump g2      the car opens its contactor at whatever current flows; battery g2 640 plugs one in again
leak g2 [mend]    the bleeder of the bus bar is broken: what is charged stays charged
estop press|release
stuck_bit g1m3 0|1|mend     the driver of an output bit is stuck
flip_bit g1m3     noise turns an output bit over, once
chain shift|mend  noise on the feedback clock: every bit is read one place off
test_bit cut|mend           a test bit of the feedback chain is wrong
readback flip|mend          the readback tells the opposite of what the registers hold (with [GPIO] readback_pin)
can cut|join      frames pass no more, and nobody is told; they pass again
can drop          hang up on every client (in a process of its own)
can down|up       the interface is down (in virtual time)
can busoff|recover          the controller chip leaves the bus after errors; it joins again
can enobufs 100   the kernel refuses the next 100 frames (in virtual time)
can lose 8        the next 8 frames of the controller vanish
can flood 80      strangers take 80 % of the bus; can calm: no more
can controller    somebody else sends a command of our kind
Contactors, guns, cars, ignore_off, ignore_set, derate and overdo work everywhere, all others where there is a wire."""


def apply(line: str, bench: Bench, now_s: float) -> str:
    """Do what one line says and give it back. Raises ValueError, with all that can be said, when it says nothing."""
    words = line.split()
    action = ACTIONS.get(words[0]) if words else None
    if action is None:
        raise ValueError(f"'{line.strip()}' is no command. There are:\n{HELP}")
    try:
        action(bench, words[1:], now_s)
    except IndexError:
        raise ValueError(f"'{line.strip()}' is too short. There are:\n{HELP}") from None
    return " ".join(words)
