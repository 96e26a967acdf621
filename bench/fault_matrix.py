"""Job: what happens when a module of each make fails in each way: plays every pair through in virtual time and tells it
in a few words. The page docs/modules.md is made of it.

Thread: MainThread. Lock: none. Units: s of bench time, V, A.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from bench.module_bench import NUMBERS, MakeBench
from planning.config_keys import ADDRESSES
from planning.model import ModuleState
from protocols import PROTOCOLS, infypower, maxwell_mxr, tonhe, uugreen
from protocols.base import BitClass, StatusRow

AMPS = 20.0
#: Longer than any watchdog of a make.
LIMIT_S = 22.0


def status_bits(make: str) -> dict[int, StatusRow]:
    """Bits as the simulated module of the make shows them (`show m4 BITS`) -> name and class."""
    if make in ("uugreen", "maxwell_enr"):
        table = uugreen.UUGREEN_STATUS if make == "uugreen" else uugreen.ENR_STATUS
        return {1 << bit: row for bit, row in table.items()}
    if make == "infypower":
        return {1 << 8 * (7 - byte) + bit: row for (byte, bit), row in infypower.STATUS.items()}
    if make == "tonhe":
        return {1 << bit: row for bit, row in tonhe.FAULTS.items()} | {
            1 << 16 + bit: row for bit, row in tonhe.PFC.items()
        }
    return {1 << bit: row for bit, row in maxwell_mxr.STATUS.items()}


def round_s(make: str) -> float:
    return PROTOCOLS[make].reads.round_s


def ready(make: str) -> MakeBench:
    """Every module heard, off, and known."""
    bench = MakeBench(make)
    heard = bench.run_until(
        lambda: all(bench.status(n).state is ModuleState.OFF for n in NUMBERS), 2.0 * round_s(make) + 1.0
    )
    if heard is None:
        raise RuntimeError(f"{make}: not all modules were heard")
    bench.run(1.0)
    return bench


def charging(make: str, amps: float = AMPS, modules: tuple[int, ...] = (1,)) -> MakeBench:
    """These modules deliver this into a battery of 640 V."""
    bench = ready(make)
    bench.connect(*modules)
    for module in modules:
        bench.order(module, 700.0, amps)
    delivering = bench.run_until(lambda: all(bench.amps(n) > 0.95 * amps for n in modules), 12.0)
    if delivering is None:
        raise RuntimeError(f"{make}: the modules did not come up")
    bench.run(1.5 * round_s(make) + 0.5)
    return bench


# --- the faults ------------------------------------------------------------------------------------------------------


def _after(took_s: float | None) -> str:
    return "never" if took_s is None else f"{ceil(took_s * 10 - 1e-6) / 10:.1f} s"


def _becomes(bench: MakeBench, state: ModuleState) -> str:
    took_s = bench.run_until(lambda: bench.status().state is state, LIMIT_S)
    return f"{state.value} after {_after(took_s)}"


def _short(bench: MakeBench) -> str:
    bench.board().fail(bench.board().dialect.short_circuit, bench.now_s)
    said = _becomes(bench, ModuleState.FAULT)
    return f"{said} ({', '.join(bench.status().alarms)})"


def _hot(bench: MakeBench) -> str:
    bench.board().fail(bench.board().dialect.too_hot, bench.now_s)
    said = _becomes(bench, ModuleState.FAULT)
    return f"{said} ({', '.join(bench.status().alarms)})"


def _derated(bench: MakeBench) -> str:
    bench.board().module.derate(10.0)
    bench.run(6.0)
    status = bench.status()
    able = f"{status.available_a:.0f} A available" if status.available_a is not None else "what it can give is not told"
    return f"{status.state.value}, {able}" + (f" ({', '.join(status.warnings)})" if status.warnings else "")


def _silent(bench: MakeBench) -> str:
    bench.board().muted = True
    said = _becomes(bench, ModuleState.SILENT)
    off_s = bench.run_until(lambda: not bench.plant.modules[0].on, LIMIT_S)
    return f"{said}, told OFF blindly {_after(off_s)} later"


def _gone(bench: MakeBench) -> str:
    """Neither heard nor obeyed."""
    bench.board().deaf = True
    begin_s = bench.now_s
    said = _becomes(bench, ModuleState.SILENT)
    bench.run_until(lambda: not bench.plant.modules[0].on, LIMIT_S)
    on = bench.plant.modules[0].on
    return f"{said}; " + ("delivers on" if on else f"off by itself after {_after(bench.now_s - begin_s)}")


def _returns(bench: MakeBench) -> str:
    bench.board().muted = True
    bench.run(max(2.0, 2.0 * round_s(bench.makes[1].name)))
    bench.board().muted = False
    bench.order_off(1)
    return _becomes(bench, ModuleState.OFF)


def _reset(bench: MakeBench) -> str:
    bench.board().reboot(bench.now_s)
    bench.run(4.0 * round_s(bench.makes[1].name) + 2.0)
    return "seen and stays off" if bench.status().resets else "told OFF, then started anew"


def _ignores_off(bench: MakeBench) -> str:
    bench.board().module.ignores_off = True
    bench.order_off(1)
    since_s = bench.now_s
    bench.run(5.0)
    offs = {(frame.can_id, frame.data) for frame in bench.makes[1].encode_power(1, False)}
    told = sum((frame.can_id, frame.data) in offs for frame in bench.ours(since_s))
    return f"{bench.status().state.value}, told OFF {told} times in 5 s"


def _refuses(bench: MakeBench) -> str:
    bench.board().refuses = True
    bench.order(1, 690.0, 10.0)
    took_s = bench.run_until(lambda: "commands_refused" in bench.status().warnings, 10.0)
    return f"commands_refused after {_after(took_s)}" if took_s is not None else "cannot be told by this make"


def _twin(bench: MakeBench) -> str:
    bench.wire.add_duplicate(1)
    return _becomes(bench, ModuleState.REFUSED)


def _wrong_scale(bench: MakeBench) -> str:
    bench.board().scale_v = 10.0
    took_s = bench.run_until(lambda: "readings_impossible" in bench.status().warnings, LIMIT_S)
    return f"readings_impossible after {_after(took_s)}"


def _no_controller(bench: MakeBench) -> str:
    bench.alive = False
    begin_s = bench.now_s
    bench.run_until(lambda: not bench.plant.modules[0].on, LIMIT_S)
    on = bench.plant.modules[0].on
    return "delivers on" if on else f"off by itself after {_after(bench.now_s - begin_s)}"


FAULTS: Mapping[str, Callable[[MakeBench], str]] = {
    "output shorted": _short,
    "too hot, stopped": _hot,
    "derated to 10 A": _derated,
    "hears, does not answer": _silent,
    "CAN plug pulled": _gone,
    "answers again after a silence, ordered off": _returns,
    "reset in mid-charge, order still on": _reset,
    "ignores OFF": _ignores_off,
    "refuses commands": _refuses,
    "a second module on its address": _twin,
    "tells ten times its voltage": _wrong_scale,
    "the controller is gone": _no_controller,
}


def outcome(make: str, fault: str) -> str:
    """What becomes of one module of this make that delivers 20 A at 640 V."""
    return FAULTS[fault](charging(make))


# --- the page --------------------------------------------------------------------------------------------------------


def page() -> str:
    makes = list(PROTOCOLS)
    lines = [
        "# Modules", "",
        "Written by `make docs` from `bench/fault_matrix.py`, which plays every fault through with a simulated module",
        "of every make; a test compares. One module delivers 20 A into a battery of 640 V; the times are from the",
        "fault on, of the controller of the modules alone (what the station does then stands in",
        "[hazards.md](hazards.md)).", "",
        f"| fault | {' | '.join(makes)} |", f"| --- {'| --- ' * len(makes)}|",
    ]  # fmt: skip
    for fault in FAULTS:
        lines.append(f"| {fault} | {' | '.join(outcome(make, fault) for make in makes)} |")
    lines += ["", "## Manners", "", *_manners(), "", "## Status bits", ""]
    lines += ["A fault stops the module and names it; a warning is told; a state is neither.", ""]
    for make in makes:
        lines += _bits(make)
    return "\n".join(lines) + "\n"


def _manners() -> list[str]:
    lines = [
        "| make | addresses | spacing | round | own watchdog | least current | asked | nameplate |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for make in PROTOCOLS.values():
        timing, plate, (lowest, highest) = make.timing, make.nameplate, ADDRESSES[make.name]
        asked = "all at once" if timing.broadcast_reads else "one by one"
        lines.append(
            f"| {make.name} | {lowest} to {highest} | {1000 * timing.spacing_s:.0f} ms | {make.reads.round_s:g} s "
            f"| {'none documented' if timing.watchdog_s is None else f'{timing.watchdog_s:g} s'} "
            f"| {plate.min_current_a:g} A | {'tells by itself' if timing.unasked_age_s is not None else asked} "
            f"| {plate.min_v:g} to {plate.max_v:g} V, {plate.max_a:g} A, {plate.power_kw:g} kW |"
        )
    return lines


def _bits(make: str) -> list[str]:
    bits = status_bits(make).values()
    return (
        [f"**{make}**", ""]
        + [
            f"- {words}: {', '.join(name for name, bit_class in bits if bit_class in classes)}"
            for words, classes in (
                ("fault", {BitClass.FAULT}),
                ("warning", {BitClass.WARNING}),
                ("warning while on", {BitClass.WARNING_WHILE_ON}),
                ("state", {BitClass.STATE}),
            )
            if any(bit_class in classes for _, bit_class in bits)
        ]
        + [""]
    )
