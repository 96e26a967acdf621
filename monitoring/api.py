"""Job: what the page process answers: the page's files, the API with its OpenAPI, the stream, health and metrics.

Thread: the page's event loop (history and metrics: its threads). Lock: none. Units: in each name; see schema.py.
Annotations are no texts here: FastAPI reads them, and some name what a function is given.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from monitoring import health, schema
from monitoring.acts import Acts, Unanswered
from monitoring.board import EVENTS_KEPT, Board
from monitoring.doorkeeper import SESSION_S, Denied, Doorkeeper, same
from monitoring.guard import HEADERS, Guard
from monitoring.power_ring import KEPT_MINUTES
from monitoring.stream import EventStream, Stream
from worker import Clock, SystemClock

PAGE = Path(__file__).parent / "page"
COOKIE = "station_session"
#: History and metrics are worked out in threads; more of them would only stand in each other's way.
THREADS = 4

Thing = TypeVar("Thing")
#: How a person may show the token.
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
Cookie = Annotated[str | None, Depends(APIKeyCookie(name=COOKIE, auto_error=False))]

_WORDS = {
    400: "the body is no text",
    401: "no token was shown, or a wrong one",
    403: "not meant for this page: wrong Host, another page's Origin, or no CSRF token",
    404: "there is no such thing",
    408: "the request was not complete in time",
    413: "the body is too large",
    422: "a parameter or the body is not as described",
    429: "too many wrong tokens; the header Retry-After says in how many seconds it may be tried again",
    503: "the station has not told anything yet, or too many pages look on",
    504: "the station did not answer",
}


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """These answers, for the OpenAPI document."""
    return {code: {"model": schema.Refusal, "description": _WORDS[code]} for code in codes}


def make_app(
    board: Board,
    *,
    clock: Clock | None = None,
    stream: Stream | None = None,
    acts: Acts | None = None,
    doorkeeper: Doorkeeper | None = None,
    history: Any = None,
    host: str = "127.0.0.1",
) -> FastAPI:
    """The application over a board. `acts` and `doorkeeper`: without them nobody can act. `host`: [Dashboard] host.

    `history`: a monitoring.history.History, or None. Any thread.
    """
    clock = clock or SystemClock()
    app = FastAPI(
        title="Split-power charging station",
        summary="What the station does, and why.",
        description="Power in kW, voltage in V, current in A, energy in kWh, times in s, moments in Unix seconds.",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page would be fetched from the internet
        redoc_url=None,
        lifespan=_few_threads,
        responses=refusals(403, 408, 413, 422),
    )
    app.add_middleware(Guard, host=host)
    _speak_in_sentences(app)
    app.include_router(_looking(board, clock))
    app.include_router(_streaming(stream or Stream(board, clock.now_s)))
    app.include_router(_acting(acts, doorkeeper or Doorkeeper(None), clock))
    _add_parts(app, board, history)
    return app


@contextlib.asynccontextmanager
async def _few_threads(_: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def _add_parts(app: FastAPI, board: Board, history: Any) -> None:
    """The page's files, metrics and history: each may be missing."""
    if history is not None:
        from monitoring.history import api as history_api

        app.include_router(history_api.router(history))
    with contextlib.suppress(ImportError):
        app.include_router(_metrics(board, history))
    if PAGE.is_dir():
        app.mount("/page", StaticFiles(directory=PAGE), name="page")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        index = PAGE / "index.html"
        if not index.is_file():
            raise HTTPException(404, "The page's files (monitoring/page) are missing. The API is at /api/openapi.json.")
        return FileResponse(index)


# --- looking ----------------------------------------------------------------------------------------------------------


def _looking(board: Board, clock: Clock) -> APIRouter:
    router = APIRouter(tags=["station"], responses=refusals(503))

    async def newest() -> schema.Snapshot:
        snapshot = board.snapshot()
        if snapshot is None:
            raise HTTPException(503, "The station has not told anything yet.")
        return snapshot

    @router.get("/api/snapshot", response_model=schema.Snapshot)
    async def snapshot(_: Annotated[schema.Snapshot, Depends(newest)]) -> Response:
        """All that is known of the station just now; it is renewed each 0.5 s."""
        return Response(board.snapshot_json(), media_type="application/json")

    @router.get("/api/station")
    async def station(seen: Annotated[schema.Snapshot, Depends(newest)]) -> schema.StationWords:
        """The station as a whole."""
        return seen.station

    @router.get("/api/guns")
    async def guns(seen: Annotated[schema.Snapshot, Depends(newest)]) -> list[schema.Gun]:
        """All guns, with what each gets and why."""
        return seen.guns

    @router.get("/api/guns/{n}", responses=refusals(404))
    async def gun(n: int, seen: Annotated[schema.Snapshot, Depends(newest)]) -> schema.Gun:
        """Gun `n`, from 1."""
        return _numbered(seen.guns, n, "gun")

    @router.get("/api/modules")
    async def modules(seen: Annotated[schema.Snapshot, Depends(newest)]) -> list[schema.Module]:
        """All power modules."""
        return seen.modules

    @router.get("/api/modules/{n}", responses=refusals(404))
    async def module(n: int, seen: Annotated[schema.Snapshot, Depends(newest)]) -> schema.Module:
        """Module `n`, from 1."""
        return _numbered(seen.modules, n, "module")

    @router.get("/api/faults")
    async def faults() -> schema.Faults:
        """Faults that stand, and the last 200 that ended since the controller or the page started; newest first."""
        return board.faults()

    @router.get("/api/events")
    async def events(
        after: Annotated[int, Query(ge=0, description="only those after the one with this `seq`; 0: the last")] = 0,
        limit: Annotated[int, Query(ge=1, le=EVENTS_KEPT, description="at most so many")] = EVENTS_KEPT,
    ) -> list[schema.Event]:
        """Lines of the log for people (INFO and above), oldest first; the last 500 are kept."""
        return board.events(after, limit)

    @router.get("/api/power")
    async def power(
        minutes: Annotated[int, Query(ge=1, le=KEPT_MINUTES, description="so far back")] = KEPT_MINUTES,
    ) -> schema.Power:
        """Mean power of the last minutes in steps of 5 s."""
        return board.power(minutes)

    @router.get("/health", response_model=schema.Healthy, tags=["health"], responses={503: {"model": schema.Healthy}})
    async def is_well() -> Response:
        """200: the station is well. 503: it is not, for these reasons."""
        reasons = health.reasons(board.snapshot(), board.age_s(clock.now_s()))
        body = schema.Healthy(healthy=not reasons, reasons=reasons)
        return Response(body.model_dump_json(), 503 if reasons else 200, media_type="application/json")

    return router


def _numbered(things: Sequence[Thing], number: int, what: str) -> Thing:
    if not 1 <= number <= len(things):
        raise HTTPException(404, f"There is no {what} {number}. They are 1 to {len(things)}.")
    return things[number - 1]


def _streaming(stream: Stream) -> APIRouter:
    router = APIRouter(tags=["station"], responses=refusals(503))

    @router.get("/api/stream", response_class=EventStream, status_code=200)
    async def follow() -> Response:
        """Server-sent events. `snapshot`: a Snapshot, at least each second. `news`: {"events": [Event], "fault_news":
        [Fault]} at once. `stale`: {"age_s": s or null}, each second while the station has told nothing for 3 s."""
        return stream.response()

    return router


def _metrics(board: Board, history: Any) -> APIRouter:
    """Raises ImportError when there are none."""
    from monitoring import metrics

    router = APIRouter(tags=["health"])
    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @router.get("/metrics", response_class=Response, responses=text)
    def scrape() -> Response:
        """The station's figures for Prometheus."""
        return Response(metrics.render(board, history), headers={"Content-Type": metrics.CONTENT_TYPE})

    return router


# --- acting -----------------------------------------------------------------------------------------------------------


def _acting(acts: Acts | None, door: Doorkeeper, clock: Clock) -> APIRouter:
    router = APIRouter(tags=["acting"])

    @router.get("/api/me")
    async def me(cookie: Cookie) -> schema.Me:
        """May this page act?"""
        session = door.session(cookie, clock.now_s())
        return schema.Me(acting=door.acting, signed_in=session is not None, csrf=session.csrf if session else None)

    @router.post("/api/login", responses=refusals(400, 401, 404, 429))
    async def login(body: schema.Login, request: Request, response: Response) -> schema.SignedIn:
        """Show the token once; the cookie that is set stands for it for 12 hours. 404: acting is off."""
        session = door.sign_in(body.token, _address(request), clock.now_s())
        response.set_cookie(COOKIE, session.secret, max_age=int(SESSION_S), httponly=True, samesite="strict")
        return schema.SignedIn(csrf=session.csrf)

    @router.post("/api/logout")
    async def logout(cookie: Cookie, response: Response) -> schema.Me:
        """Forget the cookie, here and in the browser."""
        door.sign_out(cookie)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return schema.Me(acting=door.acting, signed_in=False, csrf=None)

    async def who(request: Request, bearer: Bearer, cookie: Cookie) -> str:
        """For the log: how the person showed the token, and from which address. Raises Denied."""
        address, now_s = _address(request), clock.now_s()
        if bearer is not None or not door.acting:
            door.bearer(bearer.credentials if bearer else "", address, now_s)
            return f"token from {address}"
        session = door.session(cookie, now_s)
        if session is None:
            raise Denied(401, "Sign in first, or send the header Authorization: Bearer TOKEN.")
        if not same(request.headers.get("x-csrf-token"), session.csrf):
            raise Denied(403, "The header X-CSRF-Token is missing or not that of this session.")
        return f"page session {session.name} from {address}"

    @router.post(
        "/api/act",
        response_model=schema.Outcome,
        responses={
            **refusals(400, 401, 404, 429, 504),
            409: {"model": schema.Outcome, "description": "the station refused it; `refused` says why"},
        },
    )
    async def act(order: schema.Order, person: Annotated[str, Depends(who)]) -> Response:
        """Command the station, as over MQTT and through the same checks. With the cookie the header X-CSRF-Token is
        needed too. It never goes around the interlock."""
        assert acts is not None  # the doorkeeper lets nobody in without
        try:
            answer = await acts.act(order.command, order.payload, person)
        except Unanswered as error:
            raise HTTPException(504, str(error)) from error
        return JSONResponse({"refused": answer.refused}, 200 if answer.refused is None else 409)

    return router


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "an unknown address"


# --- refusals ---------------------------------------------------------------------------------------------------------


def _speak_in_sentences(app: FastAPI) -> None:
    """Every refusal is {"detail": "sentence"}."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> Response:
        return _refusal(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Denied)
    async def denied(_: Request, error: Denied) -> Response:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        return _refusal(error.status, error.sentence, headers)

    @app.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: RequestValidationError) -> Response:
        return _refusal(422, "; ".join(map(_sentence, error.errors()[:5])))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return _refusal(500, "The page has a fault of its own; the station is not touched by it.", HEADERS)


def _sentence(error: Mapping[str, Any]) -> str:
    """One thing that is wrong; what was given is not repeated."""
    where = " ".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}"[:300]


def _refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"detail": sentence}, status, headers=dict(headers or {}))
