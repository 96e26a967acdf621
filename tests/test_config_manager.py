"""config.ini to settings: defaults, every kind of error in words, and the round trip."""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import fields
from pathlib import Path

import can
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config_manager import ConfigError, effective_lines, load, markdown_table
from planning import config_keys
from planning import rules as allocation_rules
from planning.config_keys import KEYS, Key, Kind, find, numbers, spell
from planning.config_values import parse
from planning.settings import (
    AllocationSettings,
    Can,
    Dashboard,
    Deploy,
    General,
    Gpio,
    GpioDriver,
    History,
    Logging,
    Mqtt,
    Priority,
    Safety,
    Settings,
)

MINIMAL = """[PowerLimits]
gun1_max_power = 240
gun2_max_power = 240
gun3_max_power = 240
gun4_max_power = 240
gun5_max_power = 240
gun6_max_power = 240
[General]
module_power_capacity = 40
"""


def write(folder: Path, text: str | bytes, name: str = "config.ini") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes, local: str | None = None) -> Settings:
    if local is not None:
        write(folder, local, "config.local.ini")
    return load(write(folder, text))


def problems(folder: Path, text: str | bytes, local: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, local)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def only_problem(folder: Path, text: str | bytes, local: str | None = None) -> str:
    found = problems(folder, text, local)
    assert len(found) == 1, found
    return found[0]


def private(folder: Path, name: str) -> Path:
    path = write(folder, "x", name)
    path.chmod(0o600)
    return path


# --- what works ---------------------------------------------------------------------------------------------------


def test_the_minimal_file_gives_every_default(tmp_path: Path) -> None:
    found = read(tmp_path, MINIMAL)
    assert found.folder == tmp_path
    assert found.power_limits.gun_max_power_kw == dict.fromkeys(range(1, 7), 240.0)
    assert found.power_limits.gun_max_current_a == dict.fromkeys(range(1, 7), 500.0)
    assert found.power_limits.max_site_power_kw is None
    assert found.general == General()
    assert found.mqtt == Mqtt()
    assert found.devices.guns == {"D1": (1, 2), "D2": (3, 4), "D3": (5, 6)}
    assert found.allocation == AllocationSettings()
    assert found.can == Can()
    assert [(m.address, m.protocol, m.enabled) for m in found.modules.by_number.values()] == [
        (number, "uugreen", True) for number in range(1, 10)
    ]
    assert found.gpio == Gpio()
    assert found.safety == Safety()
    assert found.dashboard == Dashboard()
    assert found.history == History()
    assert found.logging == Logging(file=tmp_path / "debug.log")
    assert found.deploy == Deploy()


def test_given_names_what_the_files_name(tmp_path: Path) -> None:
    found = read(tmp_path, MINIMAL, "[MQTT]\nPort = 1884\n[Devices]\nd3 = 6, 5\n")
    assert found.given["PowerLimits"] == {f"gun{gun}_max_power" for gun in range(1, 7)}
    assert found.given["MQTT"] == {"port"}
    assert found.given["Devices"] == {"D3"}
    assert found.given["Logging"] == frozenset()
    assert found.devices.guns["D3"] == (6, 5)


def test_the_local_file_wins_key_by_key(tmp_path: Path) -> None:
    found = read(tmp_path, "[MQTT]\nbroker = a.example\nport = 1884\n", "[MQTT]\nbroker = b.example\n")
    assert (found.mqtt.broker, found.mqtt.port) == ("b.example", 1884)


def test_an_error_names_the_file_in_which_the_bad_value_stands(tmp_path: Path) -> None:
    found = problems(tmp_path, "[MQTT]\nport = 0\n[CAN]\nbitrate = 1\n", "[MQTT]\nport = 70000\n")
    assert [text.split(":")[0] for text in found] == [
        "config.local.ini [MQTT] port = 70000",
        "config.ini [CAN] bitrate = 1",
    ]


def test_an_update_tries_files_of_its_own_beside_those_in_force(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "config.trial.ini")
    write(tmp_path, "[MQTT]\nport = 1111\n", "config.local.ini")
    assert load(tmp_path / "config.trial.ini").mqtt.port == 1111
    write(tmp_path, "[MQTT]\nport = 2222\n", "config.local.trial.ini")
    assert load(tmp_path / "config.trial.ini").mqtt.port == 2222
    assert read(tmp_path, MINIMAL).mqtt.port == 1111


def test_a_smaller_station_in_the_local_file_needs_no_change_of_the_main_file(tmp_path: Path) -> None:
    main = MINIMAL + "[Devices]\nD2 = 3, 4\nD3 = 5, 6\n[Modules]\nmodule9_address = 9\n"
    found = read(tmp_path, main, "[General]\ngun_count = 3\nmodule_count = 4\n")
    assert list(found.power_limits.gun_max_power_kw) == [1, 2, 3]
    assert found.devices.guns == {"D1": (1, 2), "D2": (3,), "D3": ()}
    assert list(found.modules.by_number) == [1, 2, 3, 4]
    assert found.allocation.gun_priority == (1, 2, 3)
    assert found.general.max_modules_per_gun == 4


def test_paths_are_absolute_and_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "etc").mkdir()
    private(tmp_path, "token").write_text("0123456789abcdef")
    private(tmp_path, "password")
    text = "[Logging]\nfile = ../x.log\n[Dashboard]\ntoken_file = ~/token\n"
    text += "[MQTT]\nusername = u\npassword_file = ../password\n"
    found = load(write(tmp_path / "etc", text))
    assert found.logging.file == tmp_path / "x.log"
    assert found.dashboard.token_file == tmp_path / "token"
    assert found.mqtt.password_file == tmp_path / "password"


def test_direct_pins(tmp_path: Path) -> None:
    text = "[General]\ngun_count = 1\nmodule_count = 2\n[GPIO]\ndriver = direct\n"
    text += "gun1_module1_pin = 17\ngun1_module1_feedback_pin = 27\n"
    text += "gun1_module2_pin = 22\ngun1_module2_feedback_pin = 5\n"
    found = read(tmp_path, text)
    assert found.gpio.driver is GpioDriver.DIRECT
    assert found.gpio.direct_pins == {(1, 1): 17, (1, 2): 22}
    assert found.gpio.direct_feedback_pins == {(1, 1): 27, (1, 2): 5}


def test_can_options_are_handed_on(tmp_path: Path) -> None:
    text = "[CAN]\ninterface = socketcand\noption_host = ::1\noption_port = 29536\n"
    assert read(tmp_path, text).can.options == {"host": "::1", "port": "29536"}


@pytest.mark.parametrize(
    ("text", "minutes"), [("00:00-24:00", (0, 1440)), ("02:30-04:00", (150, 240)), ("22:00-05:00", (1320, 300))]
)
def test_the_update_window_in_minutes(tmp_path: Path, text: str, minutes: tuple[int, int]) -> None:
    assert read(tmp_path, f"[Deploy]\nwindow = {text}\n").deploy.window == minutes


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\ufeff" + MINIMAL, id="B38-byte-order-mark"),
        pytest.param(MINIMAL.replace("\n", "\r\n"), id="B53-crlf"),
        pytest.param(MINIMAL.replace(" = ", "\t=\t").replace("240", "240  \t"), id="B53-tabs-and-blanks-around"),
        pytest.param("# Säule Süd, 150 °C\n" + MINIMAL, id="B53-umlauts"),
        pytest.param("[MQTT]\nusername = 50%(x)s%\n", id="B40-percent-sign"),
        pytest.param("[MQTT]\nbroker = bücher.example\n", id="B52-idna"),
        pytest.param("[MQTT]\nbroker = fe80::1\n", id="B52-ipv6"),
        pytest.param("[MQTT]\nbroker = 192.168.1.5\n", id="B52-ipv4"),
        pytest.param("[Safety]\ndemand_timeout = 0\n", id="zero-means-never"),
    ],
)
def test_accepted(tmp_path: Path, text: str) -> None:
    read(tmp_path, text)


def test_B40_no_interpolation(tmp_path: Path) -> None:
    assert read(tmp_path, "[MQTT]\nusername = 50%(x)s%%\n").mqtt.username == "50%(x)s%%"


def test_B54_what_changes_after_the_start_does_not_count(tmp_path: Path) -> None:
    found = read(tmp_path, "[MQTT]\nport = 1884\n")
    write(tmp_path, "[MQTT]\nport = 1885\n")
    assert found.mqtt.port == 1884


def test_settings_can_go_to_another_process(tmp_path: Path) -> None:
    found = read(tmp_path, MINIMAL)
    assert pickle.loads(pickle.dumps(found)) == found == copy.deepcopy(found)


# --- files that cannot be read ------------------------------------------------------------------------------------


def test_B37_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"station\.ini: there is no such file in .*--config FILE"):
        load(tmp_path / "station.ini")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "names no section: it is empty", id="B37-empty"),
        pytest.param(b"# only a comment\n", "names no section", id="B37-only-comments"),
        pytest.param(b"\0" * 500, "has a zero byte in line 1", id="B38-zeros"),
        pytest.param(b"[MQTT]\nusername = M\xfcller\n", "is not UTF-8: byte 0xfc in line 2", id="B38-latin-1"),
        pytest.param(b"port = 1\n", "line 1: a key stands before the first [Section]", id="B38-no-header"),
        pytest.param(b"[MQTT]\nport\n", "line 2: port is neither [Section] nor key = value", id="B54-half-line"),
        pytest.param(b"[MQTT]\nport = 1\n[Gener", "line 3: [Gener is neither", id="B54-half-written"),
        pytest.param(b"#" * 1_000_001, "larger than 1000000 bytes", id="B48-huge-file"),
    ],
)
def test_unreadable_files(tmp_path: Path, data: bytes, said: str) -> None:
    problem = only_problem(tmp_path, data)
    assert problem.startswith("config.ini ")
    assert said in problem


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.ini").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path / "config.ini")


def test_B38_a_broken_local_file_is_an_error_too(tmp_path: Path) -> None:
    assert "config.local.ini" in only_problem(tmp_path, MINIMAL, "[MQTT]\nport = 1\0\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "[MQTT]\nport = 1\n[MQTT]\nkeepalive = 9\n",
            "config.ini [MQTT] stands there twice, the second time in line 3. Delete one.",
            id="section",
        ),
        pytest.param(
            "[MQTT]\nport = 1\nPORT = 2\n",
            "config.ini [MQTT] port stands there twice, the second time in line 3. Delete one.",
            id="key",
        ),
    ],
)
def test_B39_duplicates(tmp_path: Path, text: str, said: str) -> None:
    assert only_problem(tmp_path, text) == said


def test_B39_what_follows_a_duplicate_is_still_checked(tmp_path: Path) -> None:
    found = problems(tmp_path, "[MQTT]\nport = 1\nport = 2\n[CAN]\nbitrate = x\nnonsense\n")
    assert len(found) == 3


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "[MQTT]\nkeepalife = 5\n",
            "config.ini [MQTT] keepalife = 5: there is no such key. Did you mean keepalive?",
            id="B42-key",
        ),
        pytest.param("[PowerLimits]\ngun3_max_powr = 5\n", "Did you mean gun3_max_power?", id="B42-numbered"),
        pytest.param("[Safety]\nport = 5\n", "there is no such key here. It belongs under [MQTT].", id="B42-elsewhere"),
        pytest.param(
            "[Dashboard]\nqqqq = 5\n",
            "there is no such key. Allowed are enabled, host, port, token_file.",
            id="B42-nothing-near",
        ),
        pytest.param(
            "[MQTT]\npassword = hunter2\n",
            "[MQTT] password = (hidden): there is no such key. Did you mean password_file?",
            id="B42-a-secret-is-not-shown",
        ),
        pytest.param(
            "[Safty]\nramp_up = 5\n",
            "config.ini [Safty]: there is no such section. Did you mean [Safety]?",
            id="B42-section",
        ),
        pytest.param("[mqtt]\nport = 5\n", "config.ini [mqtt]: sections are spelt exactly. Write [MQTT].", id="B43"),
        pytest.param(
            "[DEFAULT]\nport = 5\n", "config.ini [DEFAULT]: a section for all sections is not allowed.", id="B44"
        ),
        pytest.param(
            "[PowerLimits]\ngun7_max_power = 5\n", "there is no gun 7. There are 6 (gun_count).", id="B50-gun"
        ),
        pytest.param(
            "[Modules]\nmodule10_address = 5\n", "there is no module 10. There are 9 (module_count).", id="B50-module"
        ),
        pytest.param("[PowerLimits]\ngun01_max_power = 5\n", "Did you mean gun", id="B46-leading-zero-in-a-key"),
    ],
)
def test_unknown_names(tmp_path: Path, text: str, said: str) -> None:
    assert said in only_problem(tmp_path, text)


def test_B44_default_leaks_nowhere(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "[DEFAULT]\nbitrate = 1\n[CAN]\nchannel = can0\n")) == 1


# --- one value ----------------------------------------------------------------------------------------------------

NUMBER = "Write a whole number from 1 to 65535, or delete the line (default: 1883)."
PLAIN = "not a plain decimal number (digits 0-9, a point; no comma, unit, exponent or leading zero)"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param(
            "MQTT port = 1883 ; the usual",
            "1883 ; the usual: a comment behind the value counts as part of it. A comment needs a line of its own",
            id="B41-semicolon",
        ),
        pytest.param(
            "MQTT username = station # ours", "a comment behind the value counts as part of it", id="B41-hash"
        ),
        pytest.param(
            "MQTT port = 1\n  keepalive = 5",
            r"port = 1\nkeepalive = 5: the next line begins with a blank and so "
            "counts as part of this value. Begin every key at the left edge",
            id="B45",
        ),
        *[
            pytest.param(f"MQTT port = {bad}", f"config.ini [MQTT] port = {bad}: {PLAIN}. {NUMBER}", id=f"B46-{name}")
            for name, bad in {
                "underscore": "1_000",
                "arabic": "١٢",
                "wide": "１２",
                "nan": "nan",
                "inf": "inf",
                "hex": "0x10",
                "exponent": "1e3",
                "comma": "1,5",
                "zeros": "007",
                "plus": "+5",
                "unit": "5A",
                "point-first": ".5",
                "point-last": "5.",
                "two-points": "1.2.3",
            }.items()
        ],
        pytest.param("MQTT port = 5.5", f"not a whole number. {NUMBER}", id="B46-fraction"),
        *[
            pytest.param(
                f"MQTT tls = {bad}",
                f"[MQTT] tls = {bad}: neither true nor false. Write true or false, or delete "
                "the line (default: false).",
                id=f"B47-{bad}",
            )
            for bad in ("ja", "yes", "1", "True", "on", "0")
        ],
        pytest.param(f"MQTT port = {'9' * 500}", "a number of 500 characters is too long", id="B48-digits"),
        pytest.param(f"MQTT username = {'x' * 2000}", "2000 characters are too long, 1000 are allowed", id="B48-text"),
        pytest.param("MQTT port = 0", f"port = 0: below the minimum. {NUMBER}", id="B49-minimum"),
        pytest.param("MQTT port = 65536", f"port = 65536: above the maximum. {NUMBER}", id="B49-maximum"),
        pytest.param(
            "General max_output_voltage = 1001",
            "above the maximum. Write a number from 150 to 1000 V, or delete the line (default: 1000).",
            id="B49-ceiling",
        ),
        pytest.param(
            "Safety demand_timeout = 5", "Write 0 (never) or a number from 6 to 600 s", id="B49-zero-or-range"
        ),
        pytest.param("Safety close_timeout = 0", "Write a number from 0.03 to 3 s", id="B49-timeout-0"),
        pytest.param("Safety close_timeout = -1", "close_timeout = -1: below the minimum", id="B49-negative"),
        pytest.param(
            "Safety pickups_per_250ms = 4.5", "not a whole number. Write a whole number from 1 to 40", id="B49-pickups"
        ),
        pytest.param(
            "GPIO data_pin = 28",
            "no such pin on the header. Write a BCM number from 0 to 27, not 14 or 15",
            id="B50-pin",
        ),
        pytest.param(
            "GPIO data_pin = 14",
            "GPIO 14 and 15 are the serial console and high while the computer boots",
            id="B50-console-pin",
        ),
        pytest.param("MQTT broker = bad..host", "a part between two dots is empty", id="B52-dots"),
        pytest.param("MQTT broker = .", "a part between two dots is empty", id="B52-dot"),
        pytest.param(f"MQTT broker = {'x' * 70}.org", "longer than 63 characters", id="B52-label"),
        pytest.param(f"MQTT broker = {'x.' * 150}org", "at most 253 characters", id="B52-name"),
        pytest.param("MQTT broker = mqtt://host", "this is a URL. Write the host name alone", id="B52-url"),
        pytest.param("MQTT broker = host:1883", "The port has its own key", id="B52-port-in-host"),
        pytest.param("MQTT broker = [::1]", "an IPv6 address stands here without brackets", id="B52-brackets"),
        pytest.param("MQTT broker = 300.1.2.3", "it looks like an IP address but is none", id="B52-not-an-ip"),
        pytest.param("MQTT broker = a b", "letters, digits and inner dashes only", id="B52-blank"),
        pytest.param("MQTT broker = a\x07b", "an invisible character", id="B52-control-character"),
        pytest.param("MQTT port = http", PLAIN, id="B52-port-as-text"),
        pytest.param("MQTT broker =", "nothing stands behind the =", id="empty"),
        pytest.param("MQTT topic_root = a/#", "it contains a sign with a meaning of its own", id="topic"),
        pytest.param("MQTT topic_root = /a", "a / or another sign stands where it must not", id="topic-slash"),
        pytest.param("Deploy remote = --upload-pack=x", "not a plain name (it may not begin with a dash)", id="remote"),
        pytest.param(
            "Allocation priority = highest_demnd", "not a known name, did you mean highest_demand", id="choice-nearest"
        ),
        pytest.param(
            "History url = mysql://x/y",
            "the URL of a database that is known here. Write sqlite:///FILE or postgresql://USER@HOST/DATABASE",
            id="database",
        ),
        pytest.param("History url = history.db", "not the URL of a database", id="database-file"),
        pytest.param("Modules module2_protocol = huawei", "module2_protocol = huawei: not a known name", id="protocol"),
        pytest.param("CAN interface = socketcanx", "did you mean socketcan", id="interface"),
        pytest.param(
            "Deploy window = 1:00-2:00",
            "not two times of day. Write HH:MM-HH:MM in local time, or delete the line (default: 00:00-24:00).",
            id="window-form",
        ),
        pytest.param("Deploy window = 01:00-24:01", "no such time of day", id="window-range"),
        pytest.param("Deploy window = 03:00-03:00", "the window is empty", id="window-empty"),
        pytest.param("Devices D1 = 1; 2", PLAIN, id="devices-text"),
    ],
)
def test_bad_values(tmp_path: Path, line: str, said: str) -> None:
    section, rest = line.split(" ", 1)
    problem = only_problem(tmp_path, f"[{section}]\n{rest}\n")
    assert problem.startswith(f"config.ini [{section}] ")
    assert said in problem


# --- several values together --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "[Safety]\nsilent_after = 6\ncan_fault_open = 7\nsilent_open = 7\nterminal_discharge_time = 6\n",
            "silent_after = 6: must be less than config.ini [Safety] terminal_discharge_time = 6, since silence "
            "must be noticed before a module is handed on. Change one of the two.",
            id="B49-silence-and-reuse",
        ),
        pytest.param(
            "[Safety]\nsilent_open = 1.5\ncan_fault_open = 1.5\n",
            "[Safety] silent_after = 1.5 (default): must be less than config.ini [Safety] silent_open = 1.5",
            id="B49-silent-order",
        ),
        pytest.param(
            "[Safety]\nopen_wait = 4\n",
            "open_wait = 4: must be at most [Safety] open_anyway = 3 (default)",
            id="B49-open-order",
        ),
        pytest.param(
            "[Safety]\nmatch_offset = 21\n", "must be at most [Safety] match_window = 20 (default)", id="B49-match"
        ),
        pytest.param("[Safety]\nvoltage_rise_factor = 0.9\n", "must be 1 or more", id="B49-rise-factor"),
        pytest.param(
            "[Safety]\ndead_voltage = 500\n[General]\nmax_output_voltage = 500\n",
            "else every bus counts as dead",
            id="B49-dead-voltage",
        ),
        pytest.param(
            "[Allocation]\nmin_modules_per_gun = 3\n[General]\nmax_modules_per_gun = 2\n",
            "must be at most config.ini [General] max_modules_per_gun = 2",
            id="B49-min-max",
        ),
        pytest.param("[General]\nmax_modules_per_gun = 10\n", "there are not that many modules", id="B49-modules"),
        pytest.param(
            "[PowerLimits]\nmax_site_power = 100\nsite_limit_fallback = 101\n",
            "must be at most config.ini [PowerLimits] max_site_power = 100",
            id="B49-fallback",
        ),
        pytest.param("[Allocation]\nstep_margin = 40\n", "must be less than one module", id="B49-step-margin"),
        pytest.param(
            "[GPIO]\ndata_pin = 6\n",
            "config.ini [GPIO] data_pin = 6: pin 6 is used twice, also by [GPIO] "
            "output_enable_pin = 6 (default). Give each signal a pin of its own.",
            id="B50-pin-twice",
        ),
        pytest.param("[GPIO]\nreadback_pin = 26\n", "pin 26 is used twice", id="B50-optional-pin-twice"),
        pytest.param("[GPIO]\nemergency_stop_pin = 3\n", "the board pulls GPIO 2 and 3 up", id="B50-pulled-up-pin"),
        pytest.param(
            "[Modules]\nmodule2_address = 1\n",
            "config.ini [Modules] module2_address = 1: another module has this address, [Modules] module1_address = 1 "
            "(default). Set another address on one of the two modules, and here.",
            id="B50-address",
        ),
        pytest.param(
            "[Modules]\nmodule2_address = 1\nmodule2_protocol = maxwell_enr\n",
            "another module has this address",
            id="B50-address-of-a-twin-make",
        ),
        pytest.param("[Modules]\nmodule2_address = 0\n", "uugreen has the addresses 1 to 127", id="B50-address-range"),
        pytest.param("[General]\nmodule_count = 10\n", "6 guns x 10 modules need 60 coils", id="B50-matrix"),
        pytest.param(
            "[General]\ngun_count = 1\nmodule_count = 1\n[GPIO]\ndriver = direct\ngun1_module1_pin = 4\n",
            "Add gun1_module1_feedback_pin, or use driver = shift_register",
            id="B50-direct-incomplete",
        ),
        pytest.param("[GPIO]\ngun1_module1_pin = 4\n", "only for driver = direct", id="B50-direct-key-without-direct"),
        pytest.param("[Devices]\nD1 = 1, 7\n", "there is no gun 7. Guns are 1 to 6 (gun_count)", id="B50-device-gun"),
        pytest.param(
            "[Devices]\nD1 = 1, 3\n",
            "D1 = 1, 3: gun 3 is named twice, also in [Devices] D2 = 3, 4 (default)",
            id="B50-device-twice",
        ),
        pytest.param(
            "[Allocation]\ngun_priority = 1, 2, 3\n",
            "every gun from 1 to 6 (gun_count) must stand here exactly once",
            id="gun-priority",
        ),
        pytest.param("[MQTT]\nca_file = ok\n", "ca_file = ok: works only with tls = true", id="tls-file-without-tls"),
        pytest.param("[MQTT]\ntls = true\ncert_file = ok\n", "works only with key_file", id="cert-without-key"),
        pytest.param("[MQTT]\ntls = true\nkey_file = ok\n", "works only with cert_file", id="key-without-cert"),
        pytest.param("[MQTT]\npassword_file = ok\n", "works only with username", id="password-without-user"),
        pytest.param("[Deploy]\nrequire_signature = true\n", "needs allowed_signers_file", id="signature"),
        pytest.param(
            "[CAN]\ninterface = socketcand\noption_host = h\n", "socketcand needs option_port", id="socketcand"
        ),
        pytest.param("[CAN]\noption_port = 99999\n", "not a TCP port", id="option-port"),
        pytest.param(
            "[CAN]\noption_host = a..b\n", "option_host = a..b: a part between two dots is empty", id="option-host"
        ),
        pytest.param(
            "[CAN]\noption_channel = x\n", "this has a key of its own. Write channel = ...", id="option-own-key"
        ),
        pytest.param("[MQTT]\nusername = u\npassword_file = gone\n", "there is no file ", id="B51-missing-file"),
        pytest.param("[Logging]\nfile = gone/debug.log\n", "there is no folder ", id="B51-missing-folder"),
        pytest.param("[Logging]\nfile = .\n", "is a folder. Name a file", id="B51-folder"),
    ],
)
def test_clashes(tmp_path: Path, text: str, said: str) -> None:
    private(tmp_path, "ok")
    assert said in only_problem(tmp_path, text)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o604, "everybody on this computer may read {path}. Run: chmod 600 {path}."),
        (0o602, "everybody on this computer may write {path}. Run: chmod o-w {path}."),
    ],
)
@pytest.mark.parametrize(
    "lines",
    [
        "[MQTT]\nusername = u\npassword_file = secret\n",
        "[MQTT]\ntls = true\ncert_file = ok\nkey_file = secret\n",
        "[Dashboard]\ntoken_file = secret\n",
    ],
)
def test_B51_a_secret_must_be_private(tmp_path: Path, lines: str, mode: int, said: str) -> None:
    private(tmp_path, "ok")
    path = private(tmp_path, "secret")
    path.write_text("a-secret-of-this-test\n")
    path.chmod(0o640)
    read(tmp_path, lines)
    path.chmod(mode)
    assert said.format(path=path) in only_problem(tmp_path, lines)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "station.local", "fe80::1", "raspberrypi"])
def test_a_page_open_to_the_network_needs_a_token(tmp_path: Path, host: str) -> None:
    said = only_problem(tmp_path, f"[Dashboard]\nhost = {host}\n")
    assert f"config.ini [Dashboard] host = {host}: the page is then open to the network without a token" in said
    private(tmp_path, "token").write_text("0123456789abcdef\n")
    assert read(tmp_path, f"[Dashboard]\nhost = {host}\ntoken_file = token\n").dashboard.host == host
    read(tmp_path, f"[Dashboard]\nhost = {host}\nenabled = false\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost", "LOCALHOST"])
def test_on_this_computer_alone_the_page_needs_none(tmp_path: Path, host: str) -> None:
    assert read(tmp_path, f"[Dashboard]\nhost = {host}\n").dashboard.token_file is None


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (b"0123456789abcdef", True), (b"0123456789abcdef\n", True), (b"0123456789abcdef\r\nsecond line\n", True),
        (b"x" * 256 + b"\n", True), (b"!#$%&'()*+,-./:;<=>?@", True),
        (b"", False), (b"\n0123456789abcdef\n", False), (b"0123456789abcde\n", False), (b"x" * 257, False),
        (b"0123456789 abcdef\n", False), ("ünïcödé-ünïcödé-ünïcödé".encode(), False), (b"\x00" * 32, False),
    ],
)  # fmt: skip
def test_a_token_is_long_and_typed_with_plain_signs(tmp_path: Path, content: bytes, good: bool) -> None:
    path = private(tmp_path, "token")
    path.write_bytes(content)
    if good:
        assert read(tmp_path, "[Dashboard]\ntoken_file = token\n").dashboard.token_file == path
        return
    said = only_problem(tmp_path, "[Dashboard]\ntoken_file = token\n")
    assert "its first line is no token: 16 to 256" in said and f"openssl rand -hex 16 > {path}" in said
    assert content.strip().decode(errors="replace") not in said or not content.strip()


def test_all_problems_come_together_each_once(tmp_path: Path) -> None:
    text = "[MQTT]\nport = 0\nkeepalife = 5\n[Safty]\n[GPIO]\ndata_pin = 14\nclock_pin = 6\n[General]\ngun_count = x\n"
    found = problems(tmp_path, text, "[CAN]\nbitrate = 1\n")
    assert len(found) == 7
    assert all(re.match(r"config(\.local)?\.ini \[", text) and text.endswith((".", "?")) for text in found), found


def test_every_key_refuses_what_is_outside_its_range(tmp_path: Path) -> None:
    """One test for the whole table: just below and just above, and the text names the range with its unit."""
    for key in KEYS:
        if key.low is None or key.high is None or key.name == "moduleN_address":
            continue
        name = spell(key, tuple("1" for _ in config_keys.limits(key, 1, 1)))
        for value in (key.low / 2 if key.zero else key.low - 1, key.high + 1):
            found = problems(tmp_path, f"[{key.section}]\n{name} = {value:.10g}\n")
            assert f"config.ini [{key.section}] {name} = {value:.10g}: " in found[0], key
            assert key.allowed in found[0]


# --- the table ----------------------------------------------------------------------------------------------------


def test_every_default_lies_in_its_own_range() -> None:
    for key in KEYS:
        if key.default and key.default != "N":
            parse(key, key.default)


def test_every_field_of_the_settings_has_a_row() -> None:
    sections = {
        "General": General, "MQTT": Mqtt, "Allocation": AllocationSettings, "CAN": Can, "GPIO": Gpio, "Safety": Safety,
        "Dashboard": Dashboard, "History": History, "Logging": Logging, "Deploy": Deploy,
    }  # fmt: skip
    for section, kind in sections.items():
        rows = {key.attribute for key in KEYS if key.section == section}
        missing = {field.name for field in fields(kind)} - rows - {"options", "direct_pins", "direct_feedback_pins"}
        assert not missing, section


def test_safety_ranges_are_a_tenth_to_ten_times_the_default() -> None:
    for key in KEYS:
        if key.section == "Safety":
            assert key.high == pytest.approx(float(key.default) * 10)
            assert key.low == (1 if key.kind is Kind.INTEGER else pytest.approx(float(key.default) / 10))


def test_names_are_found_again() -> None:
    for key in KEYS:
        for parts in numbers(key, 6, 9):
            assert find(key.section, spell(key, parts).lower()) == (key, parts)


def test_the_interfaces_are_those_of_python_can() -> None:
    assert set(config_keys.CAN_INTERFACES) <= set(can.VALID_INTERFACES)


def test_the_lists_of_makes_agree() -> None:
    assert set(config_keys.PROTOCOLS) == set(config_keys.ADDRESSES) == set(config_keys.WIRE_FAMILY)
    assert {Priority(name) for name in config_keys.PRIORITIES} == set(allocation_rules.RULES)


def test_the_table_for_the_readme_has_a_row_a_key() -> None:
    lines = markdown_table().splitlines()
    assert len(lines) == len(KEYS) + 2
    assert "| MQTT | `port` | 1883 | a whole number from 1 to 65535 | TCP port of the broker; usual: 1883 plain, " in (
        markdown_table()
    )
    assert all(line.count("|") - line.count("\\|") == 6 for line in lines)


# --- what is in force ---------------------------------------------------------------------------------------------


def test_effective_lines_show_everything_but_secrets(tmp_path: Path) -> None:
    path = private(tmp_path, "password.txt")
    path.write_text("hunter2", encoding="utf-8")
    text = "[MQTT]\nusername = u\npassword_file = password.txt\n"
    text += "[History]\nurl = postgresql://u:hunter2@db/history\n"
    text += "[CAN]\noption_password = hunter2\noption_fd = x\n"
    lines = effective_lines(read(tmp_path, text))
    assert f"[MQTT] password_file = {path}" in lines
    assert "[History] url = postgresql://u:***@db/history" in lines
    assert "[CAN] option_password = (hidden)" in lines
    assert "[CAN] option_fd = x" in lines
    assert "[Safety] voltage_rise_factor = 1.1" in lines
    assert not any("hunter2" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (MINIMAL, "broker.hivemq.com is a public broker"),
        ("[MQTT]\nusername = u\npassword_file = ok\n", "the MQTT password travels in clear text"),
        ("[MQTT]\ntls = true\n", "TLS on port 1883"),
        ("[Safety]\ndemand_timeout = 0\n", "demand_timeout is off"),
        ("[Safety]\ndemand_timeout = 8\n", "guns will drop out"),
        ("[Devices]\nD3 =\n", "gun 6 belongs to no device"),
    ],
)
def test_what_deserves_a_second_look_is_noted(tmp_path: Path, text: str, note: str) -> None:
    private(tmp_path, "ok")
    assert any(line.startswith("Note: ") and note in line for line in effective_lines(read(tmp_path, text)))


def values_of(key: Key) -> st.SearchStrategy[str]:
    """Texts that are allowed for a key, whatever the other keys say."""
    if key.choices:
        return st.sampled_from(sorted(key.choices))
    if key.kind is Kind.BOOLEAN:
        return st.sampled_from(["true", "false"])
    assert key.low is not None and key.high is not None
    if key.kind is Kind.INTEGER:
        return st.integers(int(key.low), int(key.high)).map(str)
    return st.integers(int(key.low * 1000) + 1, int(key.high * 1000)).map(lambda milli: f"{milli / 1000:.10g}")


FREE = [
    key for key in KEYS
    if key.kind in (Kind.NUMBER, Kind.INTEGER, Kind.BOOLEAN, Kind.CHOICE)
    and key.section in ("MQTT", "Dashboard", "History", "Logging", "Deploy", "PowerLimits")
    and key.name not in ("require_signature", "site_limit_fallback")
]  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_in_force_read_again_gives_the_same(tmp_path: Path, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(FREE), unique=True, max_size=12))
    lines: dict[str, list[str]] = {}
    for key in chosen:
        name = spell(key, tuple("3" for _ in config_keys.limits(key, 1, 1)))
        lines.setdefault(key.section, []).append(f"{name} = {data.draw(values_of(key))}")
    text = "[General]\n" + "".join(f"[{section}]\n" + "\n".join(rows) + "\n" for section, rows in lines.items())
    once = read(tmp_path, text)
    again: dict[str, list[str]] = {}
    for line in effective_lines(once):
        if match := re.fullmatch(r"\[(\w+)\] (.*)", line):
            again.setdefault(match[1], []).append(match[2])
    twice = read(tmp_path, "".join(f"[{section}]\n" + "\n".join(rows) + "\n" for section, rows in again.items()))
    for field in fields(Settings):
        if field.name != "given":
            assert getattr(once, field.name) == getattr(twice, field.name)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=80) | st.text(max_size=80).map(lambda text: f"[MQTT]\nport = {text}\n".encode(errors="replace"))
)
def test_no_content_raises_anything_else(tmp_path: Path, content: bytes) -> None:
    try:
        read(tmp_path, content)
    except ConfigError as error:
        assert error.problems
        assert all(text.isprintable() for text in error.problems)
