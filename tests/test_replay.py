"""Job: a recorded day is repeated byte for byte; whatever was changed, torn or lost in it is noticed and named.

Thread: the test's. Lock: none. Units: s of station time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import DAY, busy_stretch, eventful_day, marks_every, once, write_day

from planning.settings import Settings
from simulator import replay
from simulator.recorded_day import Kind, read_day
from simulator.replay_run import RunReplay

ROOT = Path(__file__).parent.parent
Lines = list[str]



@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lines]:
    """The file of a day of three lives, and the lines of all its decisions."""

    def make(folder: Path) -> None:
        station, lines = eventful_day(folder)
        write_day(folder, station.records)
        (folder / "decided").write_text("\n".join(lines))

    folder = once(tmp_path_factory, "eventful", make)
    return folder / f"inputs-{DAY}.log", (folder / "decided").read_text().split("\n")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lines]:
    """The file of a quarter of an hour with a mark every five minutes, in one life, and its lines."""

    def make(folder: Path) -> None:
        with marks_every(300_000):
            busy_stretch(folder, 900.0)

    path = once(tmp_path_factory, "quarter", make) / f"inputs-{DAY}.log"
    return path, path.read_text().splitlines()


@pytest.fixture(scope="module")
def short(calm: tuple[Path, Lines]) -> tuple[Path, Lines]:
    """Its beginning: a minute or two."""
    path, lines = calm
    return path, lines[:150]


def run(path: Path | str, *options: str, folder: Path | None = None) -> int:
    config = (folder or Path(path).parent) / "config.ini"
    return replay.main([str(path), "--config", str(config), *options])


def changed(tmp_path: Path, source: Path, lines: Lines) -> Path:
    """A copy of that day with other lines, and its config.ini."""
    (tmp_path / "config.ini").write_text((source.parent / "config.ini").read_text())
    path = tmp_path / source.name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def inputs_at(lines: Lines, share: float) -> int:
    """The place of a line of inputs, so far into the day."""
    places = [place for place, line in enumerate(lines) if line[0].isdigit()]
    return places[int(share * (len(places) - 1))]


# --- the same -------------------------------------------------------------------------------------------------------


def test_an_eventful_day_of_three_lives_repeats_byte_for_byte(
    eventful: tuple[Path, Lines], capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = eventful
    again = []
    for life in read_day(path):
        repeated = RunReplay(life, settings_at_once(path.parent))
        again += [step.decision.line() for step in repeated.steps()]
        assert repeated.troubles == []
        assert repeated.proven == repeated.decisions > 30
    assert again == lines
    assert run(path) == replay.EXIT_SAME
    told = capsys.readouterr().out
    assert f"THE SAME: {len(lines):,} decisions, each byte for byte as the station made it." in told
    assert told.count("all proven") == 3


def settings_at_once(folder: Path) -> Settings:
    import config_manager

    return config_manager.load(folder / "config.ini")


def test_the_table_tells_of_energy_waiting_modules_and_contactors(
    calm: tuple[Path, Lines], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(calm[0]) == replay.EXIT_SAME
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line[:3].strip() in ("1", "2", "all")]
    by_name = {row[0]: row for row in rows}
    assert float(by_name["all"][1].replace(",", "")) > 50.0
    assert int(by_name["all"][4]) >= 10, "contactors that closed"
    assert float(by_name["1"][1]) >= float(by_name["1"][2]) > 0.0, "no more can be given than was allocated"


def test_a_day_is_found_by_its_date_and_today_by_the_clock(
    calm: tuple[Path, Lines], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = calm
    config = ["--config", str(path.parent / "config.ini")]
    assert replay.main([DAY, *config]) == replay.EXIT_SAME
    now = datetime(1970, 1, 1, 23, 59, tzinfo=UTC)
    assert replay.main(["today", *config], lambda: now) == replay.EXIT_SAME
    assert replay.main([DAY, "--config", str(path.parent / "config.ini"), "--folder", "/nowhere"]) == replay.EXIT_USAGE
    assert "There is no recorded day in /nowhere" in capsys.readouterr().err


def test_times_are_those_of_the_clock_on_the_wall(calm: tuple[Path, Lines], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(calm[0]) == replay.EXIT_SAME
    first = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("run 1"))
    assert first.startswith("run 1  0:00:0") and " to 0:1" in first


def test_a_config_that_changed_since_does_not_matter(calm: tuple[Path, Lines], tmp_path: Path) -> None:
    path, lines = calm
    moved = changed(tmp_path, path, lines)
    (tmp_path / "config.ini").write_text(
        "[PowerLimits]\ngun1_max_power = 20\n[General]\nmodule_power_capacity = 30\n[Allocation]\n"
        "priority = fair_share\nrelease_delay = 60\n"
    )
    assert run(moved) == replay.EXIT_SAME


def test_the_same_day_gives_the_same_words_whatever_python_hashes_by(
    short: tuple[Path, Lines], tmp_path: Path
) -> None:
    path, told = changed(tmp_path, *short), []
    for seed in ("1", "2"):
        report = tmp_path / f"{seed}.html"
        done = subprocess.run(
            [
                sys.executable, "-m", "simulator.replay", str(path), "--config", str(tmp_path / "config.ini"),
                "--rule", "fair_share", "--site-limit", "150", "--without-module", "4", "--cars-stay",
                "--report", str(report),
            ],
            cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert done.returncode == replay.EXIT_SAME, done.stderr
        told.append((done.stdout.replace(str(report), ""), report.read_text()))
    assert told[0] == told[1]


# --- not the same ---------------------------------------------------------------------------------------------------


def test_one_input_that_was_changed_is_noticed_and_located(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = calm
    place = next(n for n in range(inputs_at(lines, 0.5), len(lines)) if "g3d=" in lines[n] or "g4d=" in lines[n])
    mangled = [*lines]
    mangled[place] = mangled[place].replace("d=", "d=1", 1)
    assert run(changed(tmp_path, path, mangled)) == replay.EXIT_DIFFERS
    told = capsys.readouterr().out
    assert f"{path.name} line {place + 1}: here the decision differs, or the line was changed" in told
    assert "    recorded  >" in told and "    replayed  >" in told and "    in full   " in told
    assert "NOT THE SAME" in told


def test_behind_a_mark_the_decisions_are_proven_again(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = calm
    place = inputs_at(lines, 0.1)
    mangled = [*lines]
    mangled[place] += "0"
    assert run(changed(tmp_path, path, mangled)) == replay.EXIT_DIFFERS
    told = capsys.readouterr().out
    assert "from this mark on the decisions are compared again" in told
    proven = int(told.split(" decisions, ")[1].split(" of them proven")[0].replace(",", ""))
    after = sum(line[0].isdigit() for line in lines[next(n for n, line in enumerate(lines) if line[0] == "@") :])
    assert proven >= after


@pytest.mark.parametrize("count", [1, 7])
def test_lines_that_are_missing_are_counted(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    path, lines = calm
    place = inputs_at(lines, 0.4)
    assert all(line[0].isdigit() for line in lines[place : place + count + 1])
    note = f"! {count} lines are missing"
    assert run(changed(tmp_path, path, [*lines[:place], note, *lines[place + count :]])) == replay.EXIT_DIFFERS
    told = capsys.readouterr().out
    missing = "1 line is missing" if count == 1 else f"{count} lines are missing"
    assert f"{missing} between {path.name} line {place + 2} and {path.name} line {place}." in told
    assert f"line {place + 1}: the log notes that {count} of its lines could not be written." in told


def test_a_last_line_that_is_torn_is_left_aside(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = calm
    torn = changed(tmp_path, path, lines)
    torn.write_bytes(torn.read_bytes()[:-9])
    assert run(torn) == replay.EXIT_SAME
    told = capsys.readouterr().out
    assert f"line {len(lines)}: the last line of this run is torn and left aside" in told
    assert "THE SAME" in told


def test_a_life_that_ended_in_mid_line_and_the_next_one_on_the_same_line(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = calm
    torn = changed(tmp_path, path, lines)
    torn.write_bytes(torn.read_bytes()[:-9] + b"\0\0\0" + torn.read_bytes())
    assert run(torn) == replay.EXIT_SAME
    told = capsys.readouterr().out
    assert told.count("all proven") == 2
    assert "torn and left aside" in told


def test_a_torn_line_in_the_middle_keeps_the_rest_from_being_proven(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = calm
    place = inputs_at(lines, 0.3)
    mangled = [*lines]
    mangled[place] = mangled[place][: len(mangled[place]) // 2]
    assert run(changed(tmp_path, path, mangled)) == replay.EXIT_DIFFERS
    assert f"line {place + 1}: this line is torn or was changed and cannot be read" in capsys.readouterr().out


def test_another_program_that_decides_otherwise_is_noticed(
    calm: tuple[Path, Lines], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from planning import allocation

    monkeypatch.setattr(allocation, "NOISE_SHARE", 0.3)
    assert run(calm[0]) == replay.EXIT_DIFFERS
    assert "here the decision differs" in capsys.readouterr().out


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_to_a_line_of_inputs_is_noticed(
    short: tuple[Path, Lines], tmp_path: Path, data: st.DataObject
) -> None:
    path, lines = short
    places = [place for place, line in enumerate(lines) if line[0].isdigit()]
    place = data.draw(st.sampled_from(places[:-1]))
    line = lines[place]
    kind = data.draw(st.sampled_from(["letter", "gone", "twice", "swapped", "cut"]))
    mangled = [*lines]
    if kind == "letter":
        at = data.draw(st.integers(0, len(line) - 1))
        letter = data.draw(st.sampled_from("0123456789abcxgm=.> \0é").filter(lambda new: new != line[at]))
        # what was decided is written beside the proof for people: one that is nobody's proof may be wrong unnoticed
        if at >= line.index(" =") + 7:
            return
        mangled[place] = line[:at] + letter + line[at + 1 :]
    elif kind == "gone":
        del mangled[place]
    elif kind == "twice":
        mangled.insert(place, line)
    elif kind == "swapped":
        after = places[places.index(place) + 1]
        mangled[place], mangled[after] = mangled[after], mangled[place]
    else:
        mangled[place] = line[: data.draw(st.integers(1, line.index(" =") + 6))]
    copy = changed(tmp_path, path, mangled)
    troubles = []
    for life in read_day(copy):
        repeated = RunReplay(life, settings_at_once(tmp_path))
        list(repeated.steps())
        troubles += repeated.troubles
    assert troubles, f"{kind}: {line!r} -> {mangled[place]!r}"


@given(st.binary(max_size=300), st.integers(0, 100))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_makes_it_fall_over(short: tuple[Path, Lines], tmp_path: Path, rubbish: bytes, at_pct: int) -> None:
    whole = "\n".join(short[1]).encode()
    at = len(whole) * at_pct // 100
    path = changed(tmp_path, short[0], [])
    path.write_bytes(whole[:at] + rubbish + whole[at:])
    assert run(path) in (replay.EXIT_SAME, replay.EXIT_DIFFERS, replay.EXIT_USAGE)


# --- older records, and days that a run crosses ---------------------------------------------------------------------


def without_proofs(lines: Lines) -> Lines:
    """As an older version wrote it."""
    return [line.split(" =")[0] for line in lines if line[0].isdigit() or line[0] == "#"]


def test_a_record_of_an_older_version_is_repeated_and_said_to_be_unproven(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = calm
    old = changed(tmp_path, path, without_proofs(lines))
    assert run(old) == replay.EXIT_SAME
    told = capsys.readouterr().out
    assert "not proven: an older version recorded them" in told
    assert "Its settings were not recorded" in told
    assert "REPEATED" in told and "THE SAME" not in told


def split_at(lines: Lines, place: int) -> tuple[Lines, Lines]:
    return lines[:place], lines[place:]


def two_days(tmp_path: Path, calm: tuple[Path, Lines], share: float, names: tuple[str, str]) -> Path:
    path, lines = calm
    (tmp_path / "config.ini").write_text((path.parent / "config.ini").read_text())
    for name, part in zip(names, split_at(lines, inputs_at(lines, share)), strict=True):
        (tmp_path / f"inputs-{name}.log").write_text("".join(f"{line}\n" for line in part))
    return tmp_path / f"inputs-{names[1]}.log"


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_run_that_began_the_day_before_is_followed_to_where_it_can_begin(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    later = two_days(tmp_path, calm, share, ("1970-01-01", "1970-01-02"))
    assert run(later) == replay.EXIT_SAME
    told = capsys.readouterr().out
    of_the_day = sum(line[0].isdigit() for line in later.read_text().splitlines())
    assert f"THE SAME: {of_the_day:,} decisions" in told
    life = read_day(later)[0]
    assert (life.lines[0].kind is Kind.MARK) is (share > 0.4), "it begins at the last mark, or at the head"


def test_a_run_that_began_before_the_files_that_are_there_begins_at_its_first_mark(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = two_days(tmp_path, calm, 0.2, ("1970-01-01", "1970-01-02"))
    (tmp_path / "inputs-1970-01-01.log").unlink()
    assert run(later) == replay.EXIT_SAME
    told = capsys.readouterr().out
    assert "decisions belong to a run that began on an earlier day, and the file of that day is not there" in told


def test_without_a_mark_nothing_can_be_replayed(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = two_days(tmp_path, calm, 0.97, ("1970-01-01", "1970-01-02"))
    (tmp_path / "inputs-1970-01-01.log").unlink()
    assert run(later) == replay.EXIT_SAME
    assert "nothing of it can be replayed" in capsys.readouterr().out


def test_a_mark_that_does_not_fit_its_place_is_noticed(
    calm: tuple[Path, Lines], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = calm
    place = next(n for n, line in enumerate(lines) if line[0] == "@")
    mangled = [*lines]
    mangled[place] = mangled[place].replace('"resets":0', '"resets":3')
    assert mangled[place] != lines[place]
    assert run(changed(tmp_path, path, mangled)) == replay.EXIT_DIFFERS
    assert "the memory of the decisions differs from that of this mark" in capsys.readouterr().out


# --- usage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["2031-01-01"], "There is no file"),
        (["nonsense"], "DAY is a date such as"),
        ([DAY, "--site-limit", "-5"], "--site-limit takes kW"),
        ([DAY, "--site-limit", "nan"], "--site-limit takes kW"),
        ([DAY, "--without-module", "12"], "modules 1 to 9"),
        ([DAY, "--cars-stay"], "need something that differs"),
        ([DAY, "--report", "x.html"], "need something that differs"),
        ([DAY, "--config", "/nowhere/config.ini"], "There is no such file" .lower()),
    ],
)
def test_what_cannot_be_done_is_said_with_code_2(
    calm: tuple[Path, Lines], capsys: pytest.CaptureFixture[str], arguments: Lines, word: str
) -> None:
    config = [] if "--config" in arguments else ["--config", str(calm[0].parent / "config.ini")]
    assert replay.main([*arguments, *config]) == replay.EXIT_USAGE
    assert word.casefold() in capsys.readouterr().err.casefold()


@pytest.mark.parametrize("option", [["--rule", "astrology"], ["--without-module", "x"], ["--nonsense"]])
def test_an_option_that_does_not_exist_ends_with_code_2(option: Lines) -> None:
    with pytest.raises(SystemExit) as ended:
        replay.main([DAY, *option])
    assert ended.value.code == replay.EXIT_USAGE


def test_an_empty_file_is_refused(tmp_path: Path, calm: tuple[Path, Lines], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(changed(tmp_path, calm[0], [])) == replay.EXIT_USAGE
    assert "holds no recorded inputs" in capsys.readouterr().err


def test_progress_is_told_on_stderr_when_it_takes_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 0.0
    progress = replay.Progress(lambda: now_s)
    told: list[Callable[[], None]] = [lambda share=share: progress.tell("Model", share) for share in (0.1, 0.2, 0.3)]
    told[0]()
    now_s = 2.5
    told[1]()
    now_s = 4.0
    told[2]()
    assert capsys.readouterr().err == "Model: 20 %\n"


# --- how much it is -------------------------------------------------------------------------------------------------


def test_a_busy_day_of_records_with_proofs_and_marks_is_small(calm: tuple[Path, Lines]) -> None:
    """A car every minute, as never for a whole day, and a mark every five minutes: below 5 MB a day all the same."""
    path, lines = calm
    decisions = [line for line in lines if line[0].isdigit()]
    marks = [line for line in lines if line[0] == "@"]
    size = path.stat().st_size
    without = sum(len(line) + 1 for line in without_proofs(lines))
    hourly = size - sum(map(len, marks)) + 0.25 * max(map(len, marks))
    print(
        f"{len(decisions)} decisions in a quarter of an hour: {hourly * 96 / 1e6:.2f} MB a day with proofs and a mark "
        f"an hour, {without * 96 / 1e6:.2f} without; a mark has {max(map(len, marks)):,} bytes"
    )
    assert len(marks) == 2
    assert max(map(len, marks)) < 10_000
    assert size * 96 < 5_000_000
