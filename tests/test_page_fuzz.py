"""Job: schemathesis reads the API's own description and tries to break what it promises: no 5xx, answers as described.

Thread: the test's. Lock: none. Units: none. /api/stream has no end and is tried elsewhere.
"""

from __future__ import annotations

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, settings
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
    board = Board()
    board.put(line_of(station), 0.0)

    def obey(word: bytes) -> bool:
        act = Act.model_validate_json(word)
        refused = station.core.messages.command(act.command, act.payload.encode("utf-8", "replace"), act.who)
        acts.answered(Answer(act=act.act, refused=refused))
        return True

    acts = Acts(obey)
    return make_app(board, acts=acts, doorkeeper=Doorkeeper(TOKEN))


schema = schemathesis.pytest.from_fixture("api_schema").exclude(path="/api/stream")


@pytest.fixture
def api_schema(app: FastAPI) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/api/openapi.json", app, base_url=HERE, headers={"Host": "127.0.0.1:8080"})


LIMITS = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)


@schema.parametrize()
@LIMITS
def test_with_the_token_the_api_keeps_what_it_promises(case: schemathesis.Case) -> None:
    headers = {"Host": "127.0.0.1:8080", "Authorization": f"Bearer {TOKEN}"}
    case.call_and_validate(base_url=HERE, headers=headers, checks=PROMISES)


@schema.parametrize()
@LIMITS
def test_without_it_too(case: schemathesis.Case) -> None:
    case.call_and_validate(base_url=HERE, headers={"Host": "127.0.0.1:8080"}, checks=PROMISES)
