"""Job: the update from the first look to the last, and the way back. Each step is journalled before the next begins.

Thread: MainThread of a process of its own. Lock: HOME/deploy.lock, held from the first step to the last. Units: s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from updates import site
from updates.home import Home, commit_of, delete, delete_unfinished, is_held, write_safely
from updates.journal import Journal, Phase, load, save
from updates.mirror import GitFailed, Mirror, address_of, check_clone, head_of
from updates.restart import Started, pid_of, restart
from updates.settings import DeploySettings, read_settings
from updates.signature import highest_signed
from updates.stage import RELEASE_BYTES, Unfit, check_room, make_release, make_venv, prune_wheels, try_out
from updates.station import Verdict, Watch, busy, read_status
from updates.switch import go_back, settle, switch_to, undo_switch
from updates.terms import Clock, Exit, Postponed, Refused, Say, UpdateState, short

LOOK_S = 0.2
#: Something is said this often while a new version is watched.
SAY_S = 10.0
LEAST_NAME = 7
MOST_REASON = 300


@dataclass(frozen=True, slots=True)
class New:
    """What may be updated to. `tag`: the signed tag that names it, if one was asked for."""

    commit: str
    tag: str = ""


class Sequence:
    """One run of deploy.py, with the lock held."""

    def __init__(self, home: Home, clock: Clock, say: Say) -> None:
        self._home, self._clock, self._say = home, clock, say
        self._mirror = Mirror(home)

    # --- the commands -----------------------------------------------------------------------------------------------

    def update(self, named: str = "") -> Exit:
        """Take what is new, if there is something. `named`: a commit that is tried although it was refused before."""
        with self._refusals_told():
            return self._update(named)

    def _update(self, named: str) -> Exit:
        self.finish()
        settings = self._ready()
        journal, new = self._look(settings)
        if new is None:
            return Exit.DONE
        self._check_named(journal, new, named)
        if journal.phase is Phase.TESTED and journal.target == new.commit:
            self._refuse_busy(settings, journal)  # it was tried out before; again only when it can be switched to
        journal = self._stage(replace(journal, target=new.commit, tag=new.tag))
        return self._switch(settings, journal)

    def rollback(self) -> Exit:
        """To the confirmed release before the last one."""
        with self._refusals_told():
            return self._rollback()

    def _rollback(self) -> Exit:
        self.finish()
        settings = self._ready()
        journal = load(self._home)
        older = [commit for commit in journal.good if commit != self._home.running()]
        if not older:
            raise Refused("There is no confirmed release before the one that runs. See deploy.py status")
        target = older[-1]
        self._say(f"Going back to {short(target)}")
        self._try_out(replace(journal, target=target, tag=""))
        return self._switch(settings, replace(journal, target=target, tag=""))

    def finish(self, watch_only: bool = False) -> Exit:
        """What an interrupted update left: finish it or undo it. A release on probation is watched to the end.

        `watch_only`: somebody else is just starting it.
        """
        delete_unfinished(self._home)
        journal = settle(self._home, self._clock.wall_s())
        if not journal.unconfirmed:
            return Exit.DONE
        self._say(f"Release {short(journal.target)} was switched to and not confirmed yet")
        settings = read_settings(self._home)
        started = None if watch_only else self._start_target(settings, journal)
        return self._watch(settings, journal, started, old_pid=0)

    def _start_target(self, settings: DeploySettings, journal: Journal) -> Started | None:
        """Unless it runs already: the switch was interrupted before the restart, or nothing runs at all."""
        status = read_status(self._home, self._clock.wall_s())
        runs = is_held(self._home.main_lock)
        if runs and status is not None and status.fresh and status.commit and journal.target.startswith(status.commit):
            return None
        self._refuse_busy(settings, journal)
        return restart(self._home, self._clock)

    def look(self) -> tuple[Journal, New | None]:
        """Fetch, and what is new; moves nothing that runs."""
        journal, new = self._look(read_settings(self._home))
        if new is not None:
            self._tell(UpdateState.AVAILABLE, new.commit, "")
        return journal, new

    # --- before the switch ------------------------------------------------------------------------------------------

    def _ready(self) -> DeploySettings:
        """Refuse first. Raises Refused."""
        check_room(self._home, RELEASE_BYTES)
        check_clone(self._home)
        return read_settings(self._home)

    def running(self) -> str:
        """The commit that runs, or would: the release, else HOME's own files."""
        return self._home.running() or head_of(self._home)

    def _look(self, settings: DeploySettings) -> tuple[Journal, New | None]:
        address = address_of(self._home, settings)
        self._say(f"Asking {settings.source}")
        self._mirror.fetch(address, settings)
        running = self.running()
        self._mirror.know(running)
        try:
            new = self._newest(settings, running)
        except GitFailed as failure:
            raise Refused(f"{settings.source} cannot be read: {failure}. Nothing was changed") from failure
        found = new.commit if new else ""
        journal = save(self._home, replace(load(self._home), available=found, fetched_at_s=self._clock.wall_s()))
        self._say(self._news(settings, running, new))
        if new is None:
            self._tell(UpdateState.CURRENT, running, "")
        return journal, new

    def _newest(self, settings: DeploySettings, running: str) -> New | None:
        """Raises Refused, GitFailed."""
        head = self._mirror.head(settings.branch)
        if head == running:
            return None
        if not self._mirror.descends(head, running):
            raise Refused(
                f"{settings.source} ({short(head)}) does not come after what runs ({short(running)}): its history was "
                "rewritten, or this site has commits of its own. Nothing was changed. Let the branch contain what runs "
                "or clone the station anew"
            )
        return self._newest_signed(settings, running) if settings.require_signature else New(head)

    def _newest_signed(self, settings: DeploySettings, running: str) -> New | None:
        assert settings.allowed_signers_file is not None
        floor = load(self._home).floor
        tag, reasons = highest_signed(self._mirror, settings.branch, settings.allowed_signers_file, floor, running)
        for reason in reasons:
            self._say(reason)
        if tag is None and reasons:
            raise Refused(f"Nothing was changed: {reasons[0]}")
        return None if tag is None or tag.commit == running else New(tag.commit, tag.name)

    def _news(self, settings: DeploySettings, running: str, new: New | None) -> str:
        if new is None:
            return "Nothing new"
        count = self._mirror.count(new.commit, running)
        commits = "1 new commit" if count == 1 else f"{count} new commits"
        name = f"{new.tag} ({short(new.commit)})" if new.tag else short(new.commit)
        return f"{commits} on {settings.source}: {name}"

    def _check_named(self, journal: Journal, new: New, named: str) -> None:
        """Raises Refused."""
        asked = len(named) >= LEAST_NAME and new.commit.startswith(named)
        if named and not asked and named != new.tag:
            raise Refused(f"{named} is not what is new: that is {new.tag or short(new.commit)}")
        if new.commit in journal.refused and not named:
            raise Refused(
                f"{short(new.commit)} is not tried again: {journal.refused[new.commit]}. "
                f"To try it all the same: deploy.py update {short(new.commit)}"
            )

    def _stage(self, journal: Journal) -> Journal:
        """Make the target beside what runs and try it out there. Raises Refused."""
        home = self._home
        self._tell(UpdateState.STAGING, journal.target, "")
        journal = save(home, replace(journal, phase=Phase.FETCHED, reason="", at_s=self._clock.wall_s()))
        journal = self._adopt(journal)
        self._say(f"Writing release {short(journal.target)}")
        release = make_release(self._mirror, journal.target)
        make_venv(home, release, self._say)
        journal = save(home, replace(journal, phase=Phase.STAGED))
        self._try_out(journal)
        return save(home, replace(journal, phase=Phase.TESTED))

    def _adopt(self, journal: Journal) -> Journal:
        """What runs is the way back, so it becomes a release too: the first time, and when it was lost."""
        running = self.running()
        if running in journal.good and self._home.why_unusable(running) is None:
            return journal
        self._say(f"Keeping {short(running)}, which runs now, as the way back")
        make_venv(self._home, make_release(self._mirror, running), self._say)
        good = (*(commit for commit in journal.good if commit != running), running)
        return save(self._home, replace(journal, good=good))

    def _try_out(self, journal: Journal) -> None:
        """Raises Refused."""
        for name in site.rescue_edits(self._home):
            self._say(f"config.ini was edited by hand: {name} was moved to config.local.ini (old file: config.ini.bak)")
        self._say(f"Trying {short(journal.target)} out beside the running one")
        try:
            try_out(self._home, journal, journal.target)
        except Unfit as fault:
            reason = str(fault)
            failed = replace(journal, phase=Phase.FAILED, reason=reason, at_s=self._clock.wall_s())
            save(self._home, failed.refusing(journal.target, reason))
            raise Refused(f"{short(journal.target)} was not taken: {reason}. The old version goes on") from fault

    # --- the switch -------------------------------------------------------------------------------------------------

    def _switch(self, settings: DeploySettings, journal: Journal) -> Exit:
        """Only now something that runs is touched."""
        home, clock = self._home, self._clock
        before = self.running()
        self._refuse_busy(settings, journal)
        status, runs = read_status(home, clock.wall_s()), is_held(home.main_lock)
        journal = replace(journal, seen=status.seen if status and runs else None, at_s=clock.wall_s())
        old_pid = pid_of(home, clock.wall_s())
        journal = switch_to(home, journal)
        try:
            self._refuse_busy(settings, journal)  # a car may have come while the files were moved
        except Refused:
            undo_switch(home, journal, before)
            raise
        self._tell(UpdateState.WATCHING, journal.target, "")
        self._say(f"Switched to {short(journal.target)}, starting it")
        try:
            started = restart(home, clock)
        except Refused as refusal:
            undo_switch(home, journal, before)
            raise Refused(f"{refusal}. The old version goes on") from refusal
        return self._watch(settings, journal, started, old_pid)

    def _refuse_busy(self, settings: DeploySettings, journal: Journal) -> None:
        """Raises Postponed."""
        why = busy(self._home, self._clock.wall_s(), settings.idle_for_s)
        if why is not None:
            raise Postponed(f"Postponed: {why}. {short(journal.target)} is ready; deploy.py update switches later")

    def _watch(self, settings: DeploySettings, journal: Journal, started: Started | None, old_pid: int) -> Exit:
        """Confirm the target, or go back."""
        verdict, watch = self._judge(settings, journal.target, journal, started, old_pid)
        if verdict is Verdict.GOOD:
            journal = save(self._home, journal.confirmed(self._clock.wall_s()))
            self._say(f"{short(journal.target)} is good")
            self._tell(UpdateState.CURRENT, journal.target, "")
            self._prune(settings, journal)
            return Exit.DONE
        return self._return(settings, journal, watch.reason)

    def _judge(
        self, settings: DeploySettings, commit: str, journal: Journal, started: Started | None, old_pid: int
    ) -> tuple[Verdict, Watch]:
        clock = self._clock
        watch = Watch(
            commit, old_pid, journal.seen, settings.health_timeout_s, settings.stable_for_s, clock.now_s()
        )
        began_at_s, said_at_s, was_healthy = clock.now_s(), clock.now_s(), False
        while True:
            now_s = clock.now_s()
            ended = started.ended() if started else None
            verdict = watch.step(now_s, read_status(self._home, clock.wall_s()), ended)
            if verdict is not Verdict.WAIT:
                return verdict, watch
            if watch.healthy_at_s is not None and not was_healthy:
                was_healthy, said_at_s = True, now_s
                self._say(f"Armed after {now_s - began_at_s:.1f} s; watching it for {settings.stable_for_s:.0f} s")
            elif now_s - said_at_s >= SAY_S:
                said_at_s = now_s
                self._say(f"... {now_s - began_at_s:.0f} s")
            clock.wait(LOOK_S)

    def _return(self, settings: DeploySettings, journal: Journal, reason: str) -> Exit:
        """The target failed: the last good one runs again."""
        home, clock = self._home, self._clock
        self._say(f"{short(journal.target)} failed: {reason}. Going back")
        failed_pid = pid_of(home, clock.wall_s())
        failed = go_back(home, journal, reason, clock.wall_s())
        self._tell(UpdateState.ROLLED_BACK, failed.target, reason)
        started = restart(home, clock, probation=True)
        at_once = replace(settings, stable_for_s=0.0)  # this version is known to be good
        verdict, watch = self._judge(at_once, home.running(), journal, started, failed_pid)
        if verdict is Verdict.GOOD:
            self._say(f"{short(home.running())} runs again. {short(failed.target)} is not tried again: {reason}")
        else:
            # the old version lacks the same: the site is at fault, not the release
            forgiven = {commit: why for commit, why in failed.refused.items() if commit != failed.target}
            save(home, replace(failed, refused=forgiven))
            self._say(f"{short(home.running())} was started again but is not well either: {watch.reason}")
        return Exit.ROLLED_BACK

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _prune(self, settings: DeploySettings, journal: Journal) -> None:
        """Releases, venvs and packages that nobody goes back to."""
        good = journal.good[-settings.keep_releases :]
        kept = {*good, self._home.running()}
        save(self._home, replace(journal, good=good))
        for release in self._home.releases.iterdir():
            if release.name not in kept:
                delete(release)
        venvs = {self._home.venv_of(self._home.release(commit)) for commit in kept}
        for venv in self._home.venvs.iterdir():
            if venv not in venvs:
                delete(venv)
        prune_wheels(self._home, [self._home.release(commit) for commit in kept])

    @contextmanager
    def _refusals_told(self) -> Iterator[None]:
        """Whatever is refused is told to MQTT too."""
        try:
            yield
        except Refused as refusal:
            state = UpdateState.POSTPONED if isinstance(refusal, Postponed) else UpdateState.REFUSED
            self._tell(state, load(self._home).available, str(refusal))
            raise

    def _tell(self, state: UpdateState, available: str, reason: str) -> None:
        """update.json, which main.py tells on MQTT. A disk that is full is no reason to end here."""
        content: dict[str, object] = {
            "state": state.value,
            "running": short(self._home.running() or commit_of(self._home.folder)),
            "available": short(available),
            "reason": reason[:MOST_REASON],
        }
        try:
            told = json.loads(self._home.told.read_text())
            if content.items() <= told.items():
                return
        except (OSError, ValueError, AttributeError):
            pass  # there is none yet, or none that can be read: it is written anew
        try:
            write_safely(self._home.told, json.dumps({"ts": round(self._clock.wall_s(), 3), **content}).encode())
        except OSError as error:
            self._say(f"update.json could not be written: {error}")

