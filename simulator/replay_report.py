"""Job: what a replay and a what-if say, in plain text.

Thread: any. Lock: none. Units: kWh, h:mm:ss, kW.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from simulator.recorded_day import RecordedRun
from simulator.replay_run import RunReplay
from simulator.replay_sums import LEAST_KWH, DaySum, GunSum, clock, largest_differences, table
from simulator.what_if import Left, Otherwise

#: Troubles that are shown in full.
SHOWN = 5
WIDTH = 118


@dataclass(frozen=True, slots=True)
class Played:
    """One run and how it came out."""

    run: RecordedRun
    replay: RunReplay | None  # None: nothing of it could be replayed
    begin_s: float
    end_s: float

    @property
    def sound(self) -> bool:
        return self.replay is None or not self.replay.troubles


def proof_lines(played: Sequence[Played]) -> list[str]:
    """One line a run, then what was found."""
    lines = []
    for number, each in enumerate(played, 1):
        lines.append(f"run {number}  {clock(each.begin_s)} to {clock(each.end_s)}  {_proof(each)}")
    for each in played:
        if each.run.skipped:
            lines.append(
                f"The first {each.run.skipped:,} decisions belong to a run that began on an earlier day, and the file "
                "of that day is not there. They are left out: the rest begins at the first mark of the day."
            )
        if each.replay is None:
            continue
        lines += each.replay.notes
        for trouble in each.replay.troubles[:SHOWN]:
            lines += trouble.words
        if len(each.replay.troubles) > SHOWN:
            lines.append(f"... and {len(each.replay.troubles) - SHOWN} more such places")
    return lines


def _proof(each: Played) -> str:
    replay = each.replay
    if replay is None:
        return "nothing of it can be replayed"
    if not each.run.proven:
        return f"{replay.decisions:,} decisions, not proven: an older version recorded them, without proofs"
    if replay.proven == replay.decisions:
        return f"{replay.decisions:,} decisions, all proven"
    return f"{replay.decisions:,} decisions, {replay.proven:,} of them proven"


def verdict(played: Sequence[Played]) -> str:
    """The last line of a replay."""
    decisions = sum(each.replay.decisions for each in played if each.replay is not None)
    proven = sum(each.replay.proven for each in played if each.replay is not None)
    if not all(each.sound for each in played):
        return f"NOT THE SAME, or not to be proven: {proven:,} of {decisions:,} decisions are as the station made them."
    if proven == decisions:
        return f"THE SAME: {decisions:,} decisions, each byte for byte as the station made it."
    return f"REPEATED: {decisions:,} decisions, {proven:,} of them proven as the station made them; nothing differs."


def day_table(day: DaySum) -> list[str]:
    """What the recorded day gave."""
    head = ("gun", "allocated kWh", "given kWh", "waiting", "closed", "opened", "loaded", "emergency", "modules")
    rows = [_day_row(str(number), gun) for number, gun in sorted(day.guns.items())]
    return table(head, [*rows, _day_row("all", day.station)])


def _day_row(name: str, gun: GunSum) -> tuple[str, ...]:
    return (
        name, f"{gun.allocated_kwh:,.1f}", f"{gun.kwh:,.1f}", clock(gun.waiting_s), f"{gun.closings:,}",
        f"{gun.openings:,}", str(gun.loaded), str(gun.emergencies),
        " ".join(map(str, sorted(gun.module_s))) or "-",
    )  # fmt: skip


DAY_NOTE = (
    "allocated: what the decisions gave. given: as much of it as closed contactors and known voltages let through,",
    "rising by ramp_up; worked out, not measured. waiting: asked for power, nothing stood against it, and no module",
    "served. loaded: opened before the module was shown unloaded. emergency: opened by an emergency order.",
)


@dataclass(frozen=True, slots=True)
class Compared:
    """A day three times: as recorded, the same with the obedient plant, and otherwise."""

    title: str
    recorded: DaySum
    model: DaySum
    other: DaySum
    otherwise: Otherwise
    left: dict[int, Left]

    @property
    def error_pct(self) -> float:
        """By how much the model's energy differs from that of the record."""
        recorded_kwh = self.recorded.station.kwh
        return 100.0 * (self.model.station.kwh - recorded_kwh) / recorded_kwh if recorded_kwh else 0.0


def what_if_lines(compared: Compared) -> list[str]:
    return [
        f"What if: {compared.otherwise.words()}",
        "",
        *what_if_table(compared),
        "",
        *(line for sentence in what_if_sentences(compared) for line in wrap(sentence, WIDTH)),
        "",
        *difference_lines(compared),
    ]


#: Head of the table, and of each column a word that explains it.
WHAT_IF_HEAD = (
    "gun", "kWh recorded", "model", "otherwise", "diff", "waiting model", "otherwise", "diff", "contactors model",
    "otherwise", "diff",
)  # fmt: skip


def what_if_rows(compared: Compared) -> list[tuple[str, ...]]:
    guns = sorted(compared.model.guns)
    rows = [
        _row(str(gun), compared.recorded.guns[gun], compared.model.guns[gun], compared.other.guns[gun]) for gun in guns
    ]
    return [*rows, _row("all", compared.recorded.station, compared.model.station, compared.other.station)]


def what_if_table(compared: Compared) -> list[str]:
    return table(WHAT_IF_HEAD, what_if_rows(compared))


def _row(name: str, recorded: GunSum, model: GunSum, other: GunSum) -> tuple[str, ...]:
    waiting_s, moves = other.waiting_s - model.waiting_s, other.operations - model.operations
    return (
        name, f"{recorded.kwh:,.1f}", f"{model.kwh:,.1f}", f"{other.kwh:,.1f}", f"{other.kwh - model.kwh:+,.1f}",
        clock(model.waiting_s), clock(other.waiting_s), ("+" if waiting_s >= 0.5 else "") + clock(waiting_s),
        f"{model.operations:,}", f"{other.operations:,}", f"{moves:+,}",
    )  # fmt: skip


def what_if_sentences(compared: Compared) -> list[str]:
    """How far this may be trusted, in sentences."""
    model, other = compared.model.station, compared.other.station
    sentences = [
        f"Model error: unchanged, the model gives {model.kwh:,.1f} kWh where the record comes to "
        f"{compared.recorded.station.kwh:,.1f} ({compared.error_pct:+.2f} %). The differences are those of two models.",
        f"Opened before unloaded: model {model.loaded}, otherwise {other.loaded}; by emergency order: model "
        f"{model.emergencies}, otherwise {other.emergencies}.",
    ]
    if not compared.otherwise.cars_stay:
        sentences.append(
            "Cars ask and leave as recorded: one that gets less would in truth stay longer, one that gets more would "
            "go sooner. --cars-stay lets each stay until it has what it had."
        )
        return sentences
    late = [left.late_ms for left in compared.left.values()]
    sentences.append(
        "Each car stays until it has what it had, and asks for nothing more then; who comes behind it waits. When "
        f"the record ends the guns are behind it by {clock(max(late, default=0) / 1000)} at the most."
    )
    for gun, left in sorted(compared.left.items()):
        if left.owed_kwh >= LEAST_KWH:
            sentences.append(f"The car at gun {gun} still lacks {left.owed_kwh:.1f} kWh then.")
    return sentences


def difference_lines(compared: Compared) -> list[str]:
    found = largest_differences(compared.model, compared.other)
    if not found:
        return ["No gun gets more or less in any quarter of an hour."]
    return ["Largest differences, by quarters of an hour:"] + [
        f"  {clock(each.begin_s)[:-3]} to {clock(each.end_s)[:-3]}  gun {each.gun}: {each.after_kwh:.1f} kWh instead "
        f"of {each.before_kwh:.1f} (mean {each.mean_kw(each.after_kwh):.0f} kW instead of "
        f"{each.mean_kw(each.before_kwh):.0f} kW)"
        for each in found
    ]
