"""Job: hand what a person commands to the control process, and wait for what it says to it.

Thread: the page's event loop; `answered` is called by `feed`. Lock: none (the loop's own door). Units: s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from monitoring.schema import Act, Answer

#: The control process answers within one turn of its thread `onlook`.
ANSWER_S = 3.0
#: So many acts may wait for their answer at a time.
MOST_WAITING = 20


class Unanswered(Exception):
    """The station did not answer; the text is for the person."""


class Acts:
    """Each act is one line out and one answer in; the number joins them."""

    def __init__(self, write: Callable[[bytes], bool]) -> None:
        """`write` puts a line on its way without waiting; False: nobody reads."""
        self._write = write
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def act(self, command: str, payload: str, who: str) -> Answer:
        """What the station says to this command. Raises Unanswered."""
        if len(self._waiting) >= MOST_WAITING:
            raise Unanswered("The station has not answered those before yet. Nothing was commanded.")
        self._loop = asyncio.get_running_loop()
        self._number += 1
        number = self._number
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            line = Act(act=number, command=command, payload=payload, who=who).model_dump_json().encode() + b"\n"
            if not self._write(line):
                raise Unanswered("The station does not listen. Nothing was commanded.")
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise Unanswered(f"The station did not answer within {ANSWER_S:g} s. Look whether it acted.") from None
        finally:
            del self._waiting[number]

    def answered(self, answer: Answer) -> None:
        """The control process has answered. Thread `feed`; an answer that nobody waits for is left aside."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._settle, answer)

    def _settle(self, answer: Answer) -> None:
        waiting = self._waiting.get(answer.act)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
