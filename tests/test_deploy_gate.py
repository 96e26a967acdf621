"""Decisions of an update without processes: may the station be stopped, is the new version well, what the settings say.

Thread: the test's. Lock: none. Units: s.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from planning.config_keys import find
from planning.config_values import parse
from planning.model import StationState
from planning.reports import Reports
from status_file import UpdateFile
from updates import site
from updates.home import Home, commit_of, write_manifest
from updates.journal import Journal, Phase, Seen, version_of
from updates.settings import DeploySettings, Window, read_settings
from updates.station import FRESH_S, SILENT_S, Status, Verdict, Watch, read_status, why_busy
from updates.supervise import Pauses
from updates.terms import Refused

WELL = Seen(armed=True, mqtt=True, can=True, modules_heard=9)
STATUS = Status(0.0, 100, "1.0", "abcdef123456", "ready", WELL, 0, 60.0)
COMMIT = "abcdef123456" + "0" * 28

# --- may it be stopped? -----------------------------------------------------------------------------------------------


def test_only_an_idle_station_is_ever_stopped() -> None:
    """Every state x contactors x idle time x age of the word, and no word at all."""
    stopped = 0
    states = [state.value for state in StationState] + ["something new"]
    for state, closed, idle_s, age_s in itertools.product(
        states, (0, 1, 54, -1), (0.0, 59.9, 60.0, 1e6), (0.0, FRESH_S, 3.1, -3.1, 9999.0)
    ):
        status = replace(STATUS, state=state, contactors_closed=closed, idle_s=idle_s, age_s=age_s)
        why = why_busy(status, runs=True, idle_for_s=60.0)
        if why is None:
            stopped += 1
            assert (closed, state in ("ready", "degraded", "starting"), abs(age_s) <= 3.0, idle_s >= 60.0) == (
                0, True, True, True
            )  # fmt: skip
    assert stopped == 3 * 1 * 2 * 2
    assert why_busy(None, runs=True, idle_for_s=0.0) is not None
    assert why_busy(None, runs=False, idle_for_s=60.0) is None, "nobody is there to be disturbed"
    charging = replace(STATUS, contactors_closed=3)
    assert why_busy(charging, runs=True, idle_for_s=0.0) == "3 contactors are closed"


GOOD = {
    "ts": 100.0, "pid": 5, "version": "1", "state": "ready", "armed": True, "mqtt": True, "can": False,
    "modules_heard": 9, "contactors_closed": 0, "idle_s": 61.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("contactors_closed", None), ("contactors_closed", False), ("contactors_closed", "0"),
        ("contactors_closed", 0.0), ("idle_s", True), ("idle_s", "60"), ("idle_s", float("nan")),
        ("idle_s", float("inf")), ("armed", 1), ("ts", None), ("pid", "5"), ("modules_heard", [9]),
    ],
)  # fmt: skip
def test_a_word_that_is_not_understood_is_no_leave_to_stop(tmp_path: Path, key: str, value: object) -> None:
    home = Home(tmp_path)
    home.status.write_text(json.dumps(GOOD))
    status = read_status(home, 101.0)
    assert status is not None
    assert why_busy(status, True, 60.0) is None
    home.status.write_text(json.dumps(GOOD | {key: value}))
    assert why_busy(read_status(home, 101.0), True, 60.0) is not None
    del (missing := dict(GOOD))[key]
    home.status.write_text(json.dumps(missing))
    assert why_busy(read_status(home, 101.0), True, 60.0) is not None


# --- is the new version well? -----------------------------------------------------------------------------------------


def watched(*words: tuple[float, Status | None], seen: Seen | None = WELL) -> tuple[Verdict, str]:
    """The first verdict over (time, what status.json says), watched since 0 s; 10 s to come up, 20 s to stay up."""
    watch = Watch(COMMIT, old_pid=99, seen=seen, health_timeout_s=10.0, stable_for_s=20.0, now_s=0.0)
    for at_s, status in words:
        verdict = watch.step(at_s, status)
        if verdict is not Verdict.WAIT:
            return verdict, watch.reason
    return Verdict.WAIT, ""


def each_second(status: Status | None, first: int, last: int) -> list[tuple[float, Status | None]]:
    return [(float(second), status) for second in range(first, last + 1)]


def test_good_is_who_was_well_for_the_whole_time() -> None:
    assert watched(*each_second(None, 0, 5), *each_second(STATUS, 6, 25)) == (Verdict.WAIT, "")
    assert watched(*each_second(None, 0, 5), *each_second(STATUS, 6, 26)) == (Verdict.GOOD, "")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "no status.json of it"),
        (replace(STATUS, pid=99), "no status.json of it"),  # the old one still speaks
        (replace(STATUS, age_s=50.0), "no status.json of it"),
        (replace(STATUS, state="offline"), "no status.json of it"),
        (replace(STATUS, commit="0123456789ab"), "status.json names commit 0123456789ab"),
        (replace(STATUS, commit=""), "status.json names commit nowhere"),
        (replace(STATUS, seen=replace(WELL, armed=False)), "not armed, state ready"),
        (replace(STATUS, seen=replace(WELL, mqtt=False)), "no connection to the broker, which the version before had"),
        (replace(STATUS, seen=replace(WELL, can=False)), "no CAN link, which the version before had"),
        (replace(STATUS, seen=replace(WELL, modules_heard=8)), "8 modules heard, the version before heard 9"),
    ],
)
def test_who_is_not_well_in_time_goes_back(status: Status | None, reason: str) -> None:
    assert watched(*each_second(status, 0, 10)) == (Verdict.BAD, f"not healthy after 10 s: {reason}")


def test_what_was_missing_before_is_not_asked_for() -> None:
    nothing = Seen(armed=False, mqtt=False, can=False, modules_heard=0)
    same = replace(STATUS, seen=nothing)
    assert watched(*each_second(same, 1, 21), seen=nothing)[0] is Verdict.GOOD
    armed = replace(STATUS, seen=replace(nothing, armed=True))
    assert watched(*each_second(armed, 1, 21), seen=None)[0] is Verdict.GOOD
    assert watched(*each_second(same, 1, 21), seen=None)[1] == "not healthy after 10 s: not armed, state ready"


def test_a_restart_and_a_silence_are_failures() -> None:
    up = each_second(STATUS, 1, 9)
    assert watched(*up, (10.0, replace(STATUS, pid=101))) == (Verdict.BAD, "it restarted 9 s after it was healthy")
    hung = [(at_s, replace(STATUS, age_s=at_s - 9.0)) for at_s, _ in each_second(None, 10, 30)]
    verdict, reason = watched(*up, *hung)
    assert (verdict, reason) == (Verdict.BAD, "status.json was not renewed for 7 s: it hangs or has ended")
    short = [(at_s, None) for at_s, _ in each_second(None, 10, 9 + int(SILENT_S))]
    assert watched(*up, *short, *each_second(STATUS, 16, 21)) == (Verdict.GOOD, "")


def test_a_broker_that_reconnects_is_waited_for_at_the_end() -> None:
    without = replace(STATUS, seen=replace(WELL, mqtt=False))
    up = each_second(STATUS, 1, 20)
    assert watched(*up, *each_second(without, 21, 25), (26.0, STATUS)) == (Verdict.GOOD, "")
    assert watched(*up, *each_second(without, 21, 31))[1].startswith("after 20 s: no connection to the broker")


def test_the_word_of_who_ran_before_does_not_count() -> None:
    """After a quick restart its last status.json is still fresh, and it may be of the same release."""
    before = replace(STATUS, age_s=1.0)
    assert watched((0.0, before), (0.5, replace(before, age_s=1.5)), seen=WELL) == (Verdict.WAIT, "")


def test_who_ended_goes_back_at_once() -> None:
    watch = Watch(COMMIT, 0, None, 10.0, 20.0, now_s=0.0)
    assert watch.step(0.5, None, "it ended with exit code 2: no such pin") is Verdict.BAD
    assert watch.reason == "it ended with exit code 2: no such pin"


# --- settings ---------------------------------------------------------------------------------------------------------


def settings(tmp_path: Path, text: str) -> DeploySettings:
    (tmp_path / "config.ini").write_text("[General]\n")
    (tmp_path / "config.local.ini").write_text(f"[Deploy]\n{text}\n")
    return read_settings(Home(tmp_path))


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("00:00-24:00", (0, 720, 1439), ()),
        ("02:00-04:30", (120, 269), (119, 270, 720)),
        ("22:00-05:00", (1320, 0, 299), (300, 720, 1319)),
    ],
)
def test_the_window(tmp_path: Path, window: str, inside: tuple[int, ...], outside: tuple[int, ...]) -> None:
    read = settings(tmp_path, f"window = {window}").window
    assert str(read) == window
    assert all(minute in read for minute in inside)
    assert not any(minute in read for minute in outside)


@pytest.mark.parametrize(
    "text",
    ["interval = soon", "window = 25:00-26:00", "remote = --upload-pack=x", "branch = -x", "branch = a/../b",
     "idle_for = -1", "stable_for = nan", "require_signature = 1"],
)  # fmt: skip
def test_settings_that_cannot_be_understood_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Refused, match=r"\[Deploy\] "):
        settings(tmp_path, text)


def test_the_defaults_are_those_of_the_table_of_all_keys(tmp_path: Path) -> None:
    """deploy.py reads the file by itself; what it takes as default must be what config.ini says."""
    read = settings(tmp_path, "")
    assert read == DeploySettings()
    for name in ("remote", "branch", "interval", "idle_for", "health_timeout", "stable_for", "keep_releases", "window"):
        found = find("Deploy", name)
        assert found is not None
        value, key = parse(found[0], found[0].default), found[0].attribute
        ours = getattr(read, key)
        assert ours == (Window(*value) if name == "window" else value), name


def test_an_unreadable_file_is_no_leave_to_take_unsigned_releases(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_bytes(b"\0\0")
    with pytest.raises(Refused, match="cannot be read"):
        read_settings(Home(tmp_path))


# --- files ------------------------------------------------------------------------------------------------------------


def test_keys_are_added_and_every_line_stays() -> None:
    text = "# mine\n[MQTT]\nbroker = a ; b\n\n[Deploy]\n"
    added = site.with_keys(text, {"MQTT": {"port": "8883"}, "CAN": {"channel": "can1"}, "Deploy": {}})
    assert added == "# mine\n[MQTT]\nport = 8883\nbroker = a ; b\n\n[Deploy]\n\n[CAN]\nchannel = can1\n"
    assert site.with_keys("", {"CAN": {"channel": "can1"}}) == "[CAN]\nchannel = can1\n"


def test_three_steps_forward_and_two_back_with_the_same_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    steps = [{"rename": {"A.one": "two"}}, {"drop": ["A.gone"]}, {"rename": {"A.two": "three", "B.x": "y"}}]
    for version in range(4):
        (home.release(str(version)) / "updates").mkdir(parents=True)
        (home.release(str(version)) / "updates" / "settings_steps.json").write_text(json.dumps(steps[:version]))
        (home.release(str(version)) / "config.ini").write_text(f"# {version}\n")
    first = "[A]\n# of mine\nOne = 1\ngone = 2\n[B]\nx = 3\n"
    home.local.write_text(first)
    home.config.write_text("# 0\n")
    texts, journal = {0: first}, Journal()
    for version in (1, 2, 3):
        journal = site.put_in_place(home, journal, str(version))
        assert site.put_in_place(home, journal, str(version)) == journal, "doing it twice does no harm"
        texts[version] = home.local.read_text()
    assert texts[3] == "[A]\n# of mine\nthree = 1\n[B]\ny = 3\n"
    for version in (2, 1, 2, 3, 0):
        journal = site.put_in_place(home, journal, str(version))
        assert home.local.read_text() == texts[version], version
        assert home.config.read_text() == f"# {version}\n"


def test_versions_are_compared_as_numbers() -> None:
    assert version_of("v1.10.0") > version_of("v1.9.9") > version_of("") == ()
    assert Journal(target="a" * 40, tag="v1.2.3", floor="v1.10.0").confirmed(0.0).floor == "v1.10.0"
    assert Journal(target="a" * 40, tag="v1.10.1", floor="v1.10.0").confirmed(0.0).floor == "v1.10.1"


def test_going_back_and_confirming_keeps_what_was_left_from_coming_again() -> None:
    journal = Journal(phase=Phase.SWITCHED, target="b", good=("a", "b", "c", "d")).confirmed(0.0)
    assert journal.good == ("a", "b")
    assert set(journal.refused) == {"c", "d"}


def test_the_commit_of_a_folder(tmp_path: Path) -> None:
    git = tmp_path / ".git"
    assert commit_of(tmp_path) == ""
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text("# pack-refs\n" + "1" * 40 + " refs/heads/main\n")
    assert commit_of(tmp_path) == "1" * 40
    (git / "refs" / "heads" / "main").write_text("2" * 40 + "\n")
    assert commit_of(tmp_path) == "2" * 40
    (git / "HEAD").write_text("3" * 40 + "\n")
    assert commit_of(tmp_path) == "3" * 40
    release = tmp_path / "releases" / ("4" * 40)
    release.mkdir(parents=True)
    assert commit_of(release) == "", "a clone may lie in a folder of that name"
    (release / ".manifest").touch()
    (tmp_path / "current").symlink_to(release)
    assert commit_of(tmp_path / "current") == "4" * 40


def test_the_manifest_finds_every_change(tmp_path: Path) -> None:
    home = Home(tmp_path)
    release = home.release("a")
    (release / "planning").mkdir(parents=True)
    (release / "main.py").write_text("1")
    (release / "planning" / "x.py").write_text("2")
    (release / "link").symlink_to("main.py")
    write_manifest(release)
    home.python_of(release).parent.mkdir(parents=True)
    home.python_of(release).touch()
    assert home.why_unusable("a") is None
    (release / "__pycache__").mkdir()
    assert home.why_unusable("a") is None
    (release / "link").unlink()
    (release / "link").symlink_to("planning")
    assert "link is not as its manifest says" in str(home.why_unusable("a"))
    (release / "link").unlink()
    assert "link is missing" in str(home.why_unusable("a"))
    (release / ".manifest").write_text("")
    assert "is empty" in str(home.why_unusable("a"))
    assert home.why_unusable("") == "there is none"


def test_pauses_between_starts() -> None:
    pauses = Pauses()
    assert [pauses.after(1.0) for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert [pauses.after(61.0), pauses.after(0.0)] == [1.0, 2.0]


# --- what MQTT hears --------------------------------------------------------------------------------------------------


def test_update_json_is_told_when_it_changes_and_to_every_new_connection(tmp_path: Path) -> None:
    file = UpdateFile(tmp_path)
    assert file.news(connected=True) is None, "there is none yet"
    (tmp_path / "update.json").write_text('{"state": "current"}')
    assert file.news(connected=False) is None
    assert file.news(connected=True) == {"state": "current"}
    assert file.news(connected=True) is None
    assert (file.news(connected=False), file.news(connected=True)) == (None, {"state": "current"})
    for broken in ("", "[]", "\0", '{"state": '):
        (tmp_path / "update.json").write_text(broken)
        assert file.news(connected=True) is None
    (tmp_path / "update.json").write_text('{"state": "postponed"}')
    assert file.news(connected=True) == {"state": "postponed"}


def test_what_is_told_of_an_update_cannot_be_broken_by_the_file() -> None:
    reports = Reports("1.0", "vesec", {}, 6)
    content = {"ts": 1.5, "state": "postponed", "running": "a" * 12, "available": "b" * 12, "reason": "x" * 9999}
    message = reports.update(content)
    assert (message.topic, message.retain, message.qos) == ("vesec/station/update/central", True, 1)
    assert json.loads(message.payload) == content | {"reason": "x" * 400}
    odd = json.loads(reports.update({"ts": float("nan"), "state": ["a"], "more": 1}).payload)
    assert odd == {"ts": None, "state": None, "running": None, "available": None, "reason": None}
