"""Job: what the page process answers about the past.

Thread: FastAPI's pool of threads; each question borrows a connection that cannot write. Lock: none. Units: in each
name; `from` and `to` are a day, a time or Unix seconds, `from` with and `to` without that moment; a day as `to` counts
whole.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum, IntEnum
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from sqlalchemy import Engine

from monitoring.history import History, queries, sheets
from monitoring.history.database import FAILURES
from monitoring.history.models import EnergyOfDay, FaultWords, OperationWords, SessionWords
from monitoring.history.moments import ALLOWED, moment
from monitoring.history.queries import Span
from monitoring.schema import Power, Refusal
from planning.config_keys import MAX_CROSSPOINTS

#: A chart of more points than this shows nothing more: a week of minutes, three hours of seconds.
MOST_POINTS = 11_000
MOST_ROWS = 1_000
DAY_S, HOUR_S = 86_400.0, 3_600.0
#: A question without `from` goes back so far.
POWER_SPAN_S = {1: HOUR_S, 60: DAY_S}
ENERGY_SPAN_S = 31 * DAY_S
MEDIA_TYPES = {sheets.Form.CSV: "text/csv; charset=utf-8; header=present", sheets.Form.JSON: "application/json"}


class Step(IntEnum):
    SECOND = 1
    MINUTE = 60


class By(Enum):
    DAY = "day"


_AT = f"; {ALLOWED}"
From = Annotated[str | None, Query(alias="from", max_length=60, description=f"not before this moment{_AT}")]
To = Annotated[str | None, Query(alias="to", max_length=60, description=f"before this moment, a day counts whole{_AT}")]
GunNumber = Annotated[int | None, Query(alias="gun", ge=1, le=MAX_CROSSPOINTS, description="this gun alone")]
ModuleNumber = Annotated[int | None, Query(alias="module", ge=1, le=MAX_CROSSPOINTS, description="this module alone")]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="at most so many, the newest")]
StepS = Annotated[Step, Query(alias="step", description="seconds in one step: 1 (kept for two days) or 60")]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    422: {"model": Refusal, "description": "a parameter is not as described; the sentence says which"},
    503: {"model": Refusal, "description": "the database cannot be read at this moment"},
}


class _WhenItFails(APIRoute):
    """A database that does not answer is told in words."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def in_words(request: Request) -> Response:
            try:
                return await handler(request)
            except FAILURES:
                sentence = "The history cannot be read at this moment: its database does not answer. Try again."
                return JSONResponse({"detail": sentence}, 503, {"Retry-After": "5"})

        return in_words


def router(history: History) -> APIRouter:
    """All answers about the past; `history` may be without a database, then they say so."""
    made = APIRouter(tags=["history"], route_class=_WhenItFails, responses=_REFUSALS)

    def engine() -> Engine:
        if history.engine is None:
            raise HTTPException(503, history.trouble or "There is no history.")
        return history.engine

    def now() -> float:
        return history.clock.wall_s()

    @made.get("/api/sessions")
    def sessions(
        from_: From = None,
        to: To = None,
        gun: GunNumber = None,
        is_open: Annotated[
            bool | None, Query(alias="open", description="true: open ones alone; false: ended ones")
        ] = None,
        limit: Limit = 100,
    ) -> list[SessionWords]:
        """Charging sessions that began in the span, newest first."""
        return queries.sessions(engine(), _span(from_, to), gun, is_open, limit)

    @made.get("/api/history/power")
    def power(from_: From = None, to: To = None, step: StepS = Step.MINUTE) -> Power:
        """Mean power of station and guns, oldest first; without `from` the last day, or the last hour of seconds."""
        span = _span(from_, to, now(), POWER_SPAN_S[step])
        points = queries.power_rows(engine(), step, span)
        if points > MOST_POINTS:
            finer = "a shorter span" if step is Step.MINUTE else "a shorter span, or step=60"
            raise HTTPException(422, f"These would be {points} points and {MOST_POINTS} are allowed: ask for {finer}.")
        return queries.power(engine(), step, span)

    @made.get("/api/history/energy")
    def energy(
        from_: From = None,
        to: To = None,
        by: Annotated[By, Query(description="what is added up")] = By.DAY,
    ) -> list[EnergyOfDay]:
        """Energy by day and gun, a session counts for the day on which it began. Without `from`: 31 days."""
        return queries.energy_by_day(engine(), _span(from_, to, now(), ENERGY_SPAN_S))

    @made.get("/api/history/faults")
    def faults(from_: From = None, to: To = None, limit: Limit = 200) -> list[FaultWords]:
        """Faults that began in the span, newest first."""
        return queries.faults(engine(), _span(from_, to), limit)

    @made.get("/api/history/operations")
    def operations(
        from_: From = None, to: To = None, gun: GunNumber = None, module: ModuleNumber = None, limit: Limit = 200
    ) -> list[OperationWords]:
        """Contactors that opened, newest first."""
        return queries.operations(engine(), _span(from_, to), gun, module, limit)

    @made.get(
        "/api/export/{sheet}.{form}",
        response_class=StreamingResponse,
        responses={200: {"description": "the sheet, as a file", "content": {"text/csv": {}, "application/json": {}}}},
    )
    def export(
        sheet: sheets.Sheet, form: sheets.Form, from_: From = None, to: To = None, step: StepS = Step.MINUTE
    ) -> StreamingResponse:
        """Everything of one kind that began in the span, oldest first, as a file. `step` is for power."""
        text = sheets.pieces(sheets.table(engine(), sheet, _span(from_, to), step), form)
        first = next(text)  # a database that cannot be read is told before the answer begins
        name = f"{sheet.value}.{form.value}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return StreamingResponse(chain((first,), text), media_type=MEDIA_TYPES[form], headers=headers)

    return made


def _span(from_: str | None, to: str | None, now_ts: float | None = None, back_s: float = 0.0) -> Span:
    """Raises HTTPException 422 with a sentence. `now_ts`, `back_s`: for a question that names no beginning."""
    whole = Span()
    to_ts = whole.to_ts if to is None else _moment("to", to, end_of_day=True)
    if from_ is not None:
        from_ts = _moment("from", from_)
    elif now_ts is None:
        from_ts = whole.from_ts
    else:
        from_ts = min(now_ts, to_ts) - back_s
    if from_ts > to_ts:
        raise HTTPException(422, "from lies after to.")
    return Span(from_ts, to_ts)


def _moment(name: str, text: str, end_of_day: bool = False) -> float:
    try:
        return moment(text, end_of_day)
    except ValueError as error:
        raise HTTPException(422, f"{name} {error}.") from None

