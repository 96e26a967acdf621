"""Job: schemathesis reads the API's own description and tries to break what it promises: no 5xx, answers as described.

Thread: the test's. Lock: none. Units: none. /api/stream has no end and is tried elsewhere.
"""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from message_bench import HandClock
from page_bench import line_of
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from monitoring.acts import Acts
from monitoring.api import make_app
from monitoring.board import Board
from monitoring.doorkeeper import Doorkeeper
from monitoring.schema import Act, Answer
from simulator.arrivals import timetable
from simulator.virtual import VirtualStation, settings_at

HERE = "http://127.0.0.1:8080"
TOKEN = "a-token-of-twenty-one"
PROMISES = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """A busy station behind the real application; each act goes through the real door."""
    station = VirtualStation(settings_at(tmp_path_factory.mktemp("busy")), seed=3, arrivals=timetable(3, 8, 5.0))
    station.run_to(30.0)
    board, clock = Board(), HandClock()
    board.put(line_of(station), clock.now_s())

    def obey(word: bytes) -> bool:
        act = Act.model_validate_json(word)
        refused = station.core.messages.command(act.command, act.payload.encode("utf-8", "replace"), act.who)
        acts.answered(Answer(act=act.act, refused=refused))
        return True

    acts = Acts(obey)
    return make_app(board, clock=clock, acts=acts, doorkeeper=Doorkeeper(TOKEN))


LIMITS = settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)


@pytest.mark.parametrize("shown", ["the token", "nothing"])
def test_the_api_keeps_what_it_promises(app: FastAPI, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Host": "127.0.0.1:8080"}
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=headers)
    if shown == "the token":  # and what is tried beside it as a token shuts nobody out
        monkeypatch.setattr("monitoring.doorkeeper.WRONG_OF_ONE", 10**9)
        monkeypatch.setattr("monitoring.doorkeeper.WRONG_OF_ALL", 10**9)
    answers: Counter[int] = Counter()
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/api/stream":
            continue

        @LIMITS
        @given(case=operation.as_strategy())
        def holds(case: schemathesis.Case) -> None:
            if shown == "the token":
                case.headers["Authorization"] = f"Bearer {TOKEN}"
            answer = case.call_and_validate(base_url=HERE, headers=headers, checks=PROMISES)
            answers[answer.status_code] += 1

        holds()
        tried.append(operation.label)
    print(f"with {shown}: {len(tried)} operations, answers {dict(answers)}")
    assert len(tried) >= 14 and sum(answers.values()) > 100
    assert 200 in answers and max(answers) < 500
    assert (409 in answers) is (shown == "the token"), "acts reach the station's door, and only with the token"
