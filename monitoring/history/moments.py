"""Job: the moments that people write, `from` and `to`, as Unix seconds; and back.

Thread: any (pure; the local zone is that of the machine). Lock: none. Units: s, Unix.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

#: Moments that can be meant; the last one leaves every zone room before the year 10000.
EARLIEST_TS, LATEST_TS = 0.0, 253_000_000_000.0

_SECONDS = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: A + that went through an address bar without %2B arrives as a blank.
_LOST_PLUS = re.compile(r"(:[0-9]{2}(?:\.[0-9]+)?) ([0-9]{2}:?[0-9]{2})")

ALLOWED = "write a day (2026-11-30), a time (2026-11-30T18:00, with +01:00 or Z if it is not local) or Unix seconds"


def moment(text: str, end_of_day: bool = False) -> float:
    """Unix seconds of what was written. A day alone is its beginning, or with `end_of_day` its end, in local time.

    Raises ValueError with a sentence that reads on after the name of the value.
    """
    text = text.strip()
    try:
        found = _parsed(text, end_of_day)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"is no moment: {text[:40]!r}; {ALLOWED}") from None
    return _in_range(found, text)


def _parsed(text: str, end_of_day: bool) -> float:
    if _SECONDS.fullmatch(text):
        return float(text)
    if _DAY.fullmatch(text):
        return start_of(date.fromisoformat(text) + timedelta(days=end_of_day))
    return datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text)).timestamp()


def start_of(day: date) -> float:
    """Unix seconds at which a local day begins."""
    return datetime.combine(day, time()).timestamp()


def day_of(ts: float) -> date:
    """The local day."""
    return datetime.fromtimestamp(ts).date()


def iso(ts: float) -> str:
    """Local time to the second with its zone, such as 2026-11-30T18:00:00+01:00."""
    return datetime.fromtimestamp(round(ts)).astimezone().isoformat()


def _in_range(ts: float, text: str) -> float:
    if not EARLIEST_TS <= ts <= LATEST_TS:
        raise ValueError(f"does not lie between the years 1970 and 9987: {text[:40]!r}")
    return ts
