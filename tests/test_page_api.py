"""Job: the API of the page: what it answers, to whom, and who may act. Without a network and without a process.

Thread: the test's and the test client's. Lock: none. Units: s. The clock is moved by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from message_bench import HandClock
from page_bench import line_of

from monitoring.acts import Acts
from monitoring.api import COOKIE, make_app
from monitoring.board import Board
from monitoring.doorkeeper import SESSION_S, SESSIONS_KEPT, WRONG_OF_ALL, WRONG_OF_ONE, Denied, Doorkeeper
from monitoring.guard import HEADERS, host_name, names_of
from monitoring.schema import (
    Act,
    Answer,
    Event,
    Fault,
    Faults,
    Gun,
    Healthy,
    Line,
    Me,
    Module,
    Power,
    Snapshot,
    StationWords,
)
from simulator.virtual import VirtualStation, settings_at

HERE = "http://127.0.0.1:8080"
TOKEN = "a-token-of-twenty-one"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    station = VirtualStation(settings_at(tmp_path_factory.mktemp("station")))
    for kind, value in (("vehicle_status", "charging"), ("demand", "75")):
        station.publish(f"vesec/1/{kind}/D1", value)
    station.run_to(8.0)
    return line_of(station, events=[{"seq": 3, "ts": 1.5, "level": "INFO", "text": "Station ready"}])


class Page:
    """The application with a board, a clock and a station that answers."""

    def __init__(self, line: Line | None, token: str | None = TOKEN, host: str = "127.0.0.1") -> None:
        self.clock, self.board = HandClock(), Board()
        if line is not None:
            self.board.put(line, self.clock.now_s())
        self.acts = Acts(self._station)
        self.said: list[Act] = []
        self.refused: str | None = None
        self.listens = self.answers = True
        self.app = make_app(
            self.board, clock=self.clock, acts=self.acts, doorkeeper=Doorkeeper(token), host=host
        )

    def _station(self, word: bytes) -> bool:
        if self.listens:
            act = Act.model_validate_json(word)
            self.said.append(act)
            if self.answers:
                self.acts.answered(Answer(act=act.act, refused=self.refused))
        return self.listens

    def client(self, address: str = "10.0.0.5", base_url: str = HERE) -> TestClient:
        return TestClient(self.app, base_url, client=(address, 50000))


@pytest.fixture
def page(line: Line) -> Page:
    return Page(line)


@pytest.fixture
def client(page: Page) -> Iterator[TestClient]:
    with page.client() as made:
        yield made


# --- looking ----------------------------------------------------------------------------------------------------------


def test_each_answer_is_what_the_schema_says(client: TestClient, line: Line) -> None:
    snapshot = line.snapshot
    assert snapshot is not None
    assert Snapshot.model_validate_json(client.get("/api/snapshot").content) == snapshot
    assert StationWords.model_validate_json(client.get("/api/station").content) == snapshot.station
    assert [Gun.model_validate(each) for each in client.get("/api/guns").json()] == snapshot.guns
    assert [Module.model_validate(each) for each in client.get("/api/modules").json()] == snapshot.modules
    assert Gun.model_validate(client.get("/api/guns/6").json()) == snapshot.guns[5]
    assert Module.model_validate(client.get("/api/modules/9").json()) == snapshot.modules[8]
    assert Faults.model_validate(client.get("/api/faults").json()) == Faults(active=snapshot.faults[::-1], ended=[])
    assert [Event.model_validate(each) for each in client.get("/api/events").json()] == line.events
    assert client.get("/api/events?after=3").json() == []
    power = Power.model_validate(client.get("/api/power?minutes=1").json())
    assert (power.step_s, len(power.ts), set(power.guns_kw)) == (5, 1, set("123456"))
    assert Me.model_validate(client.get("/api/me").json()) == Me(acting=True, signed_in=False, csrf=None)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/guns/99", 404, "There is no gun 99. They are 1 to 6."),
        ("/api/guns/0", 404, "There is no gun 0."),
        ("/api/guns/-1", 404, "There is no gun -1."),
        ("/api/modules/10", 404, "There is no module 10. They are 1 to 9."),
        ("/api/guns/" + "9" * 30, 404, "There is no gun"),
        ("/api/guns/one", 422, "path n:"),
        ("/api/events?limit=0", 422, "query limit:"),
        ("/api/events?limit=501", 422, "query limit:"),
        ("/api/events?after=-1", 422, "query after:"),
        ("/api/power?minutes=61", 422, "query minutes:"),
        ("/api/nothing", 404, "Not Found"),
        ("/api/../../etc/passwd", 404, "Not Found"),
        ("/page/../api.py", 404, ""),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(client: TestClient, path: str, status: int, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"} and says in answer.json()["detail"]


def test_before_the_station_has_spoken_every_answer_says_so() -> None:
    with Page(None).client() as client:
        for path in ("snapshot", "station", "guns", "modules", "guns/1", "modules/1"):
            answer = client.get(f"/api/{path}")
            assert (answer.status_code, answer.json()) == (503, {"detail": "The station has not told anything yet."})
        assert client.get("/api/events").json() == [] and client.get("/api/power").json()["ts"] == []
        assert client.get("/health").status_code == 503


# --- health -----------------------------------------------------------------------------------------------------------


def changed(line: Line, can_up: bool = True, faults: list[Fault] | None = None, **station: Any) -> Line:
    snapshot = line.snapshot
    assert snapshot is not None
    can = snapshot.station.can.model_copy(update={"up": can_up})
    words = snapshot.station.model_copy(update={"can": can, "state": "ready", "armed": True, **station})
    return Line(snapshot=snapshot.model_copy(update={"station": words, "faults": faults or []}))


def fault(severity: str) -> Fault:
    return Fault(
        code="CONTACTOR_WELDED", severity=severity, scope="crosspoint", id="g1m3", text="It is welded.", since_ts=1.0,
        ended_ts=None, latched=True,
    )  # type: ignore[arg-type]  # fmt: skip


def health(line: Line | None, age_s: float = 0.0) -> tuple[int, Healthy]:
    page = Page(line)
    page.clock.advance(age_s)
    with page.client() as client:
        answer = client.get("/health")
    return answer.status_code, Healthy.model_validate(answer.json())


def test_a_station_that_is_well(line: Line) -> None:
    assert health(changed(line, faults=[fault("warning")]), 2.9) == (200, Healthy(healthy=True, reasons=[]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"armed": False}, "not armed"),
        ({"armed": False, "state": "stopping"}, "is stopping"),
        ({"mqtt": False}, "MQTT broker"),
        ({"can_up": False}, "CAN link"),
        ({"state": "emergency_stop"}, "emergency stop"),
        ({"emergency_stop_healthy": False}, "emergency stop"),
        ({"step_age_s": 3.5}, "control loop"),
        ({"faults": [fault("error")]}, "CONTACTOR_WELDED g1m3: It is welded."),
        ({"faults": [fault("critical")]}, "CONTACTOR_WELDED g1m3: It is welded."),
    ],
)
def test_each_thing_that_is_wrong_is_a_reason(line: Line, change: dict[str, Any], says: str) -> None:
    status, found = health(changed(line, **change))
    assert (status, found.healthy, len(found.reasons)) == (503, False, 1)
    assert says in found.reasons[0]


def test_a_station_that_tells_nothing_is_not_well(line: Line) -> None:
    assert health(None)[1].reasons == ["The station has not told anything yet."]
    assert health(changed(line), 3.1)[1].reasons == ["The station has told nothing for 3 s."]


# --- for whom a request is meant --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/api/snapshot", "/api/guns/99", "/api/guns/x", "/nothing", "/health", "/api/openapi.json"]
)
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers.get(name) for name in HEADERS} == dict(HEADERS)
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == ("no-cache" if path == "/" else "no-store")
    assert "server" not in headers and "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("127.0.0.1:8080", True), ("localhost:8080", True), ("LOCALHOST", True), ("[::1]:8080", True), ("[::1]", True),
        ("evil.example", False), ("evil.example:8080", False), ("127.0.0.1.evil.example", False),
        ("192.168.1.5:8080", False), ("localhost.evil.example:8080", False), ("", False), ("[::1", False),
        ("a b", False), ("station:8080", False),
    ],
)  # fmt: skip
def test_bound_to_this_computer_only_its_own_names_lead_here(page: Page, name: str, taken: bool) -> None:
    """A stranger's page that turns its own name to 127.0.0.1 (DNS rebinding) is refused."""
    with page.client() as client:
        for path in ("/", "/api/snapshot", "/api/stream-not-there"):
            answer = client.get(path, headers={"Host": name})
            assert (answer.status_code == 403) is not taken
    assert names_of("127.0.0.1")(host_name(name)) is taken


@pytest.mark.parametrize(
    ("host", "name", "taken"),
    [
        ("0.0.0.0", "192.168.1.5:8080", True),
        ("0.0.0.0", "[fd00::5]:8080", True),
        ("0.0.0.0", "localhost:8080", True),
        ("0.0.0.0", "evil.example:8080", False),
        ("station.works.example", "station.works.example:8080", True),
        ("station.works.example", "works.example", False),
    ],
)
def test_bound_to_the_network_addresses_and_its_own_name_lead_here(host: str, name: str, taken: bool) -> None:
    assert names_of(host)(host_name(name)) is taken


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({}, True),
        ({"Origin": HERE}, True),
        ({"Origin": "http://LOCALHOST:8080"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:9999"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": HERE, "Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, True),
    ],
)
def test_what_another_page_posts_is_refused(client: TestClient, headers: dict[str, str], taken: bool) -> None:
    for path, body in (("/api/logout", None), ("/api/login", {"token": TOKEN})):
        answer = client.post(path, json=body, headers=headers)
        assert answer.status_code == (200 if taken else 403), path


def test_a_body_is_taken_up_to_four_kilobytes(client: TestClient) -> None:
    answer = client.post("/api/login", content=b"x" * 4097, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (413, "At most 4096 bytes are taken.")

    def chunks() -> Iterator[bytes]:
        yield from [b"y" * 1000] * 5

    answer = client.post("/api/login", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    for text in (b"", b"{", b"[]", b"\xff", b'{"token": 5}', b'{"token": "x", "more": 1}', b'{"token": ""}'):
        answer = client.post("/api/login", content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code == (400 if text == b"\xff" else 422) and set(answer.json()) == {"detail"}, text
        assert TOKEN not in answer.text


def test_a_form_of_another_page_is_no_json(client: TestClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        content = json.dumps({"token": TOKEN})
        assert client.post("/api/login", content=content, headers={"Content-Type": kind}).status_code == 422


def test_nothing_but_what_is_offered(client: TestClient) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        answer = client.request(method, "/api/snapshot")
        assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


# --- the description --------------------------------------------------------------------------------------------------

SUFFIXES = {"_kw": "kW", "_kwh": "kWh", "_v": "V", "_a": "A", "_pct": "%", "_c": "°C", "_s": "s", "_ts": "s"}


def test_the_description_is_complete_with_units(client: TestClient) -> None:
    described = client.get("/api/openapi.json").json()
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert operation.get("description"), path
            assert {"200", "403"} <= set(operation["responses"]), path
            for status, answer in operation["responses"].items():
                assert answer["description"] and (answer.get("content") or status == "204"), (path, status)
            for parameter in operation.get("parameters", []):
                assert parameter["name"] == "n" or parameter["description"], path
    counted = 0
    for name, model in described["components"]["schemas"].items():
        for key, field in model.get("properties", {}).items():
            unit = next((unit for suffix, unit in SUFFIXES.items() if f"_{key}".endswith(suffix)), None)
            if unit is not None and field.get("type") != "object":
                assert f'"unit": {json.dumps(unit)}' in json.dumps(field), f"{name}.{key}"
                counted += 1
    assert counted > 30


# --- acting -----------------------------------------------------------------------------------------------------------

LIMIT = {"command": "station/site_limit", "payload": "300"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def test_without_a_token_nobody_can_act(line: Line) -> None:
    page = Page(line, token=None)
    with page.client() as client:
        assert client.get("/api/me").json() == {"acting": False, "signed_in": False, "csrf": None}
        assert client.post("/api/login", json={"token": "anything at all"}).status_code == 404
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}, BEARER):
            answer = client.post("/api/act", json=LIMIT, headers=headers)
            assert (answer.status_code, "token_file" in answer.json()["detail"]) == (404, True)
    assert page.said == []


def test_a_program_acts_with_the_token_in_its_header(page: Page, client: TestClient) -> None:
    answer = client.post("/api/act", json=LIMIT, headers=BEARER)
    assert (answer.status_code, answer.json()) == (200, {"refused": None})
    [act] = page.said
    assert (act.command, act.payload, act.who) == ("station/site_limit", "300", "token from 10.0.0.5")


def test_a_page_signs_in_and_acts_with_cookie_and_csrf_token(page: Page, client: TestClient) -> None:
    answer = client.post("/api/login", json={"token": TOKEN})
    csrf = answer.json()["csrf"]
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={int(SESSION_S)}"} <= set(cookie.split("; "))
    assert TOKEN not in cookie and csrf not in cookie
    assert client.get("/api/me").json() == {"acting": True, "signed_in": True, "csrf": csrf}
    assert client.post("/api/act", json=LIMIT).status_code == 403
    assert client.post("/api/act", json=LIMIT, headers={"X-CSRF-Token": "wrong"}).status_code == 403
    assert page.said == []
    assert client.post("/api/act", json=LIMIT, headers={"X-CSRF-Token": csrf}).json() == {"refused": None}
    assert page.said[0].who.startswith("page session ") and page.said[0].who.endswith(" from 10.0.0.5")
    assert csrf not in page.said[0].who and client.cookies[COOKIE] not in page.said[0].who

    page.clock.advance(SESSION_S - 1.0)
    assert client.get("/api/me").json()["signed_in"] is True
    page.clock.advance(1.0)
    assert client.get("/api/me").json()["signed_in"] is False
    assert client.post("/api/act", json=LIMIT, headers={"X-CSRF-Token": csrf}).status_code == 401


def test_who_signs_out_acts_no_more(page: Page, client: TestClient) -> None:
    csrf = client.post("/api/login", json={"token": TOKEN}).json()["csrf"]
    secret = client.cookies[COOKIE]
    assert client.post("/api/logout").json() == {"acting": True, "signed_in": False, "csrf": None}
    client.cookies.set(COOKIE, secret)
    assert client.post("/api/act", json=LIMIT, headers={"X-CSRF-Token": csrf}).status_code == 401
    assert page.said == []


def test_the_stations_refusal_is_told_in_its_words(page: Page, client: TestClient) -> None:
    page.refused = "0 to 10000 kW are allowed"
    answer = client.post("/api/act", json=LIMIT, headers=BEARER)
    assert (answer.status_code, answer.json()) == (409, {"refused": page.refused})


def test_a_station_that_does_not_listen_or_answer(page: Page, client: TestClient, monkeypatch: Any) -> None:
    monkeypatch.setattr("monitoring.acts.ANSWER_S", 0.05)
    page.answers = False
    answer = client.post("/api/act", json=LIMIT, headers=BEARER)
    assert answer.status_code == 504 and "did not answer" in answer.json()["detail"]
    page.listens = False
    answer = client.post("/api/act", json=LIMIT, headers=BEARER)
    assert answer.status_code == 504 and "Nothing was commanded" in answer.json()["detail"]


def test_an_answer_that_comes_too_late_goes_to_nobody_else(page: Page, client: TestClient, monkeypatch: Any) -> None:
    monkeypatch.setattr("monitoring.acts.ANSWER_S", 0.05)
    page.answers = False
    assert client.post("/api/act", json=LIMIT, headers=BEARER).status_code == 504
    page.answers, late = True, page.said[0].act
    page.acts.answered(Answer(act=late, refused="of yesterday"))
    assert client.post("/api/act", json=LIMIT, headers=BEARER).json() == {"refused": None}


# --- how often somebody may be wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["login", "bearer"])
def test_five_wrong_tokens_a_minute_and_then_not_even_the_right_one(page: Page, how: str) -> None:
    def knock(client: TestClient, token: str) -> tuple[int, str | None]:
        if how == "login":
            answer = client.post("/api/login", json={"token": token})
        else:
            answer = client.post("/api/act", json=LIMIT, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.headers.get("retry-after")

    with page.client("10.0.0.7") as thief, page.client("10.0.0.8") as operator:
        for _ in range(WRONG_OF_ONE):
            assert knock(thief, "wrong") == (401, None)
            page.clock.advance(1.0)
        assert knock(thief, TOKEN) == (429, "55")
        assert knock(operator, TOKEN)[0] == 200, "others are not kept out"
        page.clock.advance(54.0)
        assert knock(thief, TOKEN) == (429, "1")
        page.clock.advance(1.0)
        assert knock(thief, TOKEN)[0] == 200


def test_all_addresses_together_are_limited_too() -> None:
    door = Doorkeeper(TOKEN)
    statuses = []
    for number in range(WRONG_OF_ALL + 5):
        with pytest.raises(Denied) as denied:
            door.bearer("wrong", f"10.0.{number}.1", 100.0)
        statuses.append(denied.value.status)
    assert statuses == [401] * WRONG_OF_ALL + [429] * 5
    door.bearer(TOKEN, "10.1.1.1", 161.0)


def test_sessions_are_bounded_and_strangers_cookies_are_none() -> None:
    door = Doorkeeper(TOKEN)
    sessions = [door.sign_in(TOKEN, "10.0.0.1", float(number)) for number in range(SESSIONS_KEPT + 3)]
    alive = [door.session(each.secret, 100.0) is not None for each in sessions]
    assert alive == [False] * 3 + [True] * SESSIONS_KEPT
    assert len({each.secret for each in sessions} | {each.csrf for each in sessions}) == 2 * len(sessions)
    assert all(len(each.secret) >= 43 for each in sessions), "256 bits"
    for secret in (None, "", "x", sessions[-1].csrf, sessions[-1].name, "\ud800"):
        assert door.session(secret, 100.0) is None


@pytest.mark.parametrize("token", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 20, "\ud800"])
def test_only_the_token_is_the_token(token: str) -> None:
    with pytest.raises(Denied):
        Doorkeeper(TOKEN).sign_in(token, "10.0.0.1", 0.0)
