"""Job: which release the next start runs: put one in place, go back to the last good one, and what a start does first.

Thread: MainThread. Lock: HOME/deploy.lock. Units: s (Unix). Standard library only: this works when nothing else does.
The journal is written before the link is moved, so a power cut in between is seen and undone or repeated.
"""

from __future__ import annotations

from dataclasses import replace

from updates import site
from updates.home import Home, delete, link_current
from updates.journal import MOST_STARTS, Journal, Phase, load, save
from updates.terms import Refused, short


def switch_to(home: Home, journal: Journal) -> Journal:
    """Make the target what the next start runs. Repeating it does no harm. Raises Refused."""
    why = home.why_unusable(journal.target)
    if why is not None:
        raise Refused(f"Release {short(journal.target)} cannot be started: {why}")
    journal = save(home, replace(journal, phase=Phase.SWITCHED, starts=0, reason=""))
    return _put_in_place(home, journal, journal.target)


def undo_switch(home: Home, journal: Journal, running: str) -> Journal:
    """The switch is not to be after all, and nobody has started the target yet."""
    return save(home, replace(_put_in_place(home, journal, running), phase=Phase.TESTED))


def go_back(home: Home, journal: Journal, reason: str, at_s: float, blame: bool = True) -> Journal:
    """The target failed: the newest good release that is whole runs at the next start.

    `blame`: the target is at fault and is not tried again. Raises Refused when there is nothing to go back to.
    """
    failed = replace(journal, phase=Phase.FAILED, reason=reason, at_s=at_s, starts=0)
    failed = replace(failed, good=tuple(commit for commit in journal.good if commit != journal.target))
    failed = save(home, failed.refusing(journal.target, reason) if blame else failed)
    for commit in reversed(failed.good):
        if home.why_unusable(commit) is None:
            return save(home, _put_in_place(home, failed, commit))
    raise Refused(f"There is no whole release to go back to in {home.releases}. {reason}")


def _put_in_place(home: Home, journal: Journal, commit: str) -> Journal:
    link_current(home, commit)
    return save(home, site.put_in_place(home, journal, commit))


def settle(home: Home, at_s: float) -> Journal:
    """Finish or undo what a power cut left; what is unconfirmed stays so. Raises Refused."""
    journal, running = load(home), home.running()
    if journal.phase is Phase.SWITCHED and running != journal.target:
        return save(home, replace(journal, phase=Phase.TESTED))  # the link was never moved
    if journal.phase is Phase.SWITCHED:
        return _put_in_place(home, journal, running)
    if journal.phase is Phase.FAILED and running and running == journal.target:
        return go_back(home, journal, journal.reason, at_s, blame=running in journal.refused)
    return journal


def before_start(home: Home, at_s: float) -> Journal:
    """What every start of main.py does first, with nobody else at work: count, and go back when it is time."""
    journal, running = settle(home, at_s), home.running()
    if journal.unconfirmed and journal.starts >= MOST_STARTS:
        return go_back(home, journal, f"it was started {MOST_STARTS} times and never confirmed", at_s)
    why = home.why_unusable(running) if running else None
    if why is not None:
        journal = go_back(home, replace(journal, target=running), why, at_s, blame=False)
        delete(home.release(running))  # so that the next update makes it anew
        return journal
    if journal.unconfirmed:
        return save(home, replace(journal, starts=journal.starts + 1))
    return journal
