"""Job: `python main.py --probe`: finds out which modules hang on the CAN bus. What it says of them: probe_report.py.

Thread: MainThread. Lock: none. Units: s (monotonic).

Four steps, none of which tells a module to do anything: listen (Tonhe speaks by itself, and so does another
controller); ask all UUGreen and Maxwell ENR for their serial numbers; ask Infypower how many they are, then each
address for its bar code; ask all Maxwell MXR and Winline for their addresses, then each for serial and version. Only
frames that read are ever sent: `Asker` takes no others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from can import BusABC, CanError, Message

from planning.config_keys import ADDRESSES
from protocols import PROTOCOLS, infypower, maxwell_mxr
from protocols.base import Frame, MalformedFrame, Signal
from protocols.infypower import INFYPOWER
from protocols.maxwell_mxr import MAXWELL_MXR
from protocols.tonhe import TONHE
from protocols.uugreen import MAXWELL_ENR, UUGREEN
from worker import Clock

LISTEN_S = 1.2  # two periods of a module that speaks by itself
ANSWER_S = 0.3
#: After each question to a single module; Infypower wants 50 ms between two frames.
STEP_S = 0.06

#: What a module says of itself: (address, name of the value, value).
Told = tuple[int, str, str]

_LINK_ERRORS = (CanError, OSError, ValueError)


class ProbeError(Exception):
    """The bus does not work; the text says so to a person."""


@dataclass(frozen=True, slots=True)
class FoundModule:
    """A module that answered. `makes`: those it can be; the label on the module tells which."""

    makes: tuple[str, ...]
    address: int
    serials: tuple[str, ...] = ()  # more than one: two modules share the address
    firmware: str = ""


@dataclass(slots=True)
class Findings:
    """What was heard."""

    modules: list[FoundModule] = field(default_factory=list)
    #: makes whose commands somebody else sends
    controllers: set[str] = field(default_factory=set)
    not_understood: Counter[int] = field(default_factory=Counter)  # identifier -> frames
    infypower_count: int | None = None


class Asker:
    """The bus, for questions only."""

    def __init__(self, bus: BusABC, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    def ask(self, can_id: int, data: bytes, listen_s: float) -> list[tuple[int, bytes]]:
        """Send a question and collect what comes. Raises ProbeError, and ValueError for what is no question."""
        if not is_question(can_id, data):
            raise ValueError(f"{can_id:08X} {data.hex(' ')} is no question")
        try:
            self._bus.send(Message(arbitration_id=can_id, data=data, is_extended_id=True), timeout=0.1)
        except _LINK_ERRORS as error:
            raise ProbeError(f"The CAN bus takes no frames ({error}): is anything connected and powered?") from error
        return self.listen(listen_s)

    def listen(self, seconds: float) -> list[tuple[int, bytes]]:
        """Every data frame of 8 bytes until then. Raises ProbeError."""
        end_s = self._clock.now_s() + seconds
        heard = []
        while (left_s := end_s - self._clock.now_s()) > 0.0:
            try:
                message = self._bus.recv(left_s)
            except _LINK_ERRORS as error:
                raise ProbeError(f"The CAN bus cannot be read: {error}") from error
            plain = message is not None and message.is_extended_id and not message.is_error_frame
            if message is not None and plain and not message.is_remote_frame and len(message.data) == 8:
                heard.append((message.arbitration_id, bytes(message.data)))
        return heard


def is_question(can_id: int, data: bytes) -> bool:
    """True for a frame of any make that reads and does nothing else."""
    if UUGREEN.is_request(can_id, data):
        return data[0] & 0x0F == 2
    if INFYPOWER.is_request(can_id, data):
        return can_id >> 16 & 0x3F in (0x02, 0x03, 0x04, 0x06, 0x09, 0x0A, 0x0B, 0x0C) and not any(data)
    if MAXWELL_MXR.is_request(can_id, data):
        return data[0] == maxwell_mxr.READ
    return False


def probe(bus: BusABC, clock: Clock, say: Callable[[str], None]) -> Findings:
    """All four steps; takes about five seconds. Raises ProbeError."""
    asker, findings = Asker(bus, clock), Findings()
    say("Listening")
    heard = asker.listen(LISTEN_S)
    _note_others(heard, findings)
    findings.modules += _tonhe(heard)
    say("Asking UUGreen and Maxwell ENR modules")
    findings.modules += _uugreen(asker.ask(*_frame(UUGREEN.encode_read(None, Signal.SERIAL)), ANSWER_S))
    say("Asking Infypower modules")
    findings.modules += _infypower(asker, findings)
    say("Asking Maxwell MXR and Winline modules")
    findings.modules += _maxwell_mxr(asker)
    return findings


def _frame(frames: Sequence[Frame]) -> tuple[int, bytes]:
    return frames[0].can_id, frames[0].data


def _note_others(heard: list[tuple[int, bytes]], findings: Findings) -> None:
    """Before we asked: commands come from another controller, and what no make knows from something else."""
    for can_id, data in heard:
        senders = [make.name for make in PROTOCOLS.values() if make.is_request(can_id, data)]
        findings.controllers.update(senders)
        if not senders and all(make.address_of(can_id) is None for make in PROTOCOLS.values()):
            findings.not_understood[can_id] += 1


# --- the makes -------------------------------------------------------------------------------------------------------


def _tonhe(heard: Iterable[tuple[int, bytes]]) -> list[FoundModule]:
    addresses = {address for can_id, _ in heard if (address := TONHE.address_of(can_id)) is not None}
    return [FoundModule((TONHE.name,), address) for address in sorted(addresses)]


def _uugreen(heard: Iterable[tuple[int, bytes]]) -> list[FoundModule]:
    """The identifier of UUGreen's serial reply repeats day and number of its data; ENR's does not."""
    found: dict[int, list[tuple[str, str]]] = {}
    for can_id, data in heard:
        address = UUGREEN.address_of(can_id)
        if address is None or data[0] & 0x0F != 4:
            continue
        uugreen = _serial_of(UUGREEN.decode, can_id, data)
        parts = re.fullmatch(r"\d{4}(\d\d)-\d-(\d{4})", uugreen or "")
        repeats = parts is not None and (int(parts[1]) << 9 | int(parts[2]) & 0x1FF) == can_id & 0x3FFF
        enr = _serial_of(MAXWELL_ENR.decode, can_id, data)
        make, serial = (UUGREEN.name, uugreen) if repeats or enr is None else (MAXWELL_ENR.name, enr)
        found.setdefault(address, []).append((make, serial or "unreadable"))
    return [
        FoundModule(tuple(dict.fromkeys(make for make, _ in said)), address, _different(serial for _, serial in said))
        for address, said in sorted(found.items())
    ]


def _serial_of(decode: Callable[[int, bytes], object], can_id: int, data: bytes) -> str | None:
    try:
        return getattr(decode(can_id, data), "serial", None)
    except MalformedFrame:
        return None


def _different(serials: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(serials))


def _infypower(asker: Asker, findings: Findings) -> list[FoundModule]:
    count_question = infypower.build_frame(0x02, infypower.ALL_MODULES)
    for can_id, data in asker.ask(*count_question, ANSWER_S):
        if can_id & 0x3FFF_FF00 == 0x0282_F000:
            findings.infypower_count = data[2]
    found: dict[int, list[str]] = {}
    lowest, highest = ADDRESSES[INFYPOWER.name]
    for address in range(lowest, highest + 1 if findings.infypower_count else lowest):
        for can_id, data in asker.ask(*_frame(INFYPOWER.encode_read(address, Signal.SERIAL)), STEP_S):
            if INFYPOWER.address_of(can_id) == address:
                found.setdefault(address, []).append(_serial_of(INFYPOWER.decode, can_id, data) or "unreadable")
    return [FoundModule((INFYPOWER.name,), address, _different(serials)) for address, serials in found.items()]


def _maxwell_mxr(asker: Asker) -> list[FoundModule]:
    """That they answer a question to all is inferred; where none does, each address is asked."""
    everybody = maxwell_mxr.build_frame(maxwell_mxr.ALL_MODULES, maxwell_mxr.READ, 0x43)
    addresses = _answering(asker.ask(*everybody, ANSWER_S))
    if not addresses:
        for address in range(maxwell_mxr.MAX_ADDRESS + 1):
            question = maxwell_mxr.build_frame(address, maxwell_mxr.READ, 0x43)
            addresses |= _answering(asker.ask(*question, STEP_S / 4))
    found = []
    for address in sorted(addresses):
        low = _asked(asker, address, Signal.SERIAL)
        high = _asked(asker, address, Signal.SERIAL_HIGH)
        serials = tuple(f"{int(high[0]) if high else 0:08X}{serial}" for serial in low)
        version = "".join(_asked(asker, address, Signal.VERSION)[:1])
        found.append(FoundModule(("maxwell_mxr", "winline"), address, serials, version))
    return found


def _answering(heard: Iterable[tuple[int, bytes]]) -> set[int]:
    replies = (can_id for can_id, data in heard if data[0] in (maxwell_mxr.FLOAT_REPLY, maxwell_mxr.INTEGER_REPLY))
    return {address for can_id in replies if (address := MAXWELL_MXR.address_of(can_id)) is not None}


def _asked(asker: Asker, address: int, signal: Signal) -> tuple[str, ...]:
    """What a Maxwell MXR module says; more than one value: more than one module."""
    said = []
    for can_id, data in asker.ask(*_frame(MAXWELL_MXR.encode_read(address, signal)), STEP_S):
        try:
            reading = MAXWELL_MXR.decode(can_id, data)
        except MalformedFrame:
            continue
        if reading is not None and reading.address == address and reading.signal is signal and not reading.refusal:
            said.append(reading.serial or f"{reading.details[0][1]:.0f}")
    return _different(said)
