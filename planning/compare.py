"""Job: the best way to share out modules that differ, found by comparing all ways worth looking at.

Thread: any (pure). Lock: none. Units: whole watts; sets of modules are bit masks over the indices of `Pool`.

A module more than a gun can use helps nobody, so only sets without such a module are looked at. Of two ways that use up
the same modules and serve the guns so far equally well only the one with fewer moves is kept. Among modules that do not
differ for anybody the one with fewer hours goes first. Six guns and nine modules end in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from planning.claims import UNLIMITED_W, Budget, Claim, Pool, Portion, Promises, bits, subsets

#: Modules' powers change seldom: so many stations' worth of sums is kept.
KNOWN_POWERS = 8


def by_comparing(claims: Sequence[Claim], pool: Pool, budget_w: int) -> list[Portion]:
    sets = _Sets(pool, claims)
    budget = Budget(budget_w, claims)
    shares: list[int] = []
    ways: Ways = {0: (0, ())}
    for place, claim in enumerate(claims):
        share_w = budget.share_w(claim)
        best_w, ways = _extend(ways, _Options(claim, claim.want_w(share_w), sets, pool, claims[place + 1 :]))
        budget.spend(claim, best_w + claim.locked_w)
        shares.append(share_w)
    _, (_, chosen) = min(ways.items(), key=lambda way: (way[0].bit_count(), way[1][0], way[0]))
    return [
        Portion(claim.gun, mask | claim.locked, share_w)
        for claim, mask, share_w in zip(claims, chosen, shares, strict=True)
    ]


#: modules used up -> (cost, the guns' sets) of the cheapest way that serves the guns so far as well as can be
Ways = dict[int, tuple[int, tuple[int, ...]]]


class _Sets:
    """What is to know of every set of modules, indexed by its mask.

    Modules of equal power, reach and holder are twins: they are used up in sequence of their hours, so that only one of
    the many ways that differ by a swap of twins is looked at.
    """

    def __init__(self, pool: Pool, claims: Sequence[Claim]) -> None:
        self.power_w, self.weakest_w = _powers(tuple(pool.power_w))
        self.in_sequence = [True]  # no module used up before its twin with fewer hours
        self.without_gap = [True]  # no twin left out between two that are used
        twins: dict[object, int] = {}
        before: dict[object, int] = {}
        for index, power in enumerate(pool.power_w):
            bit = 1 << index
            kind = (
                power,
                pool.holder[index],
                pool.busy & bit,
                pool.excess & bit,
                *[claim.reach & bit > 0 for claim in claims],
            )
            self._add(twins.get(kind, 0), before.get(kind, 0))
            twins[kind] = twins.get(kind, 0) | bit
            before[kind] = bit

    def _add(self, twins: int, before: int) -> None:
        """Double the tables: every set known so far, with this module added."""
        if not twins:
            self.in_sequence += self.in_sequence
            self.without_gap += self.without_gap
            return
        self.in_sequence += [bool(mask & before) and good for mask, good in enumerate(self.in_sequence)]
        self.without_gap += [
            good and (bool(mask & before) or not mask & twins) for mask, good in enumerate(self.without_gap)
        ]


@lru_cache(KNOWN_POWERS)
def _powers(power_w: tuple[int, ...]) -> tuple[Sequence[int], Sequence[int]]:
    """What every set of modules gives in all, and its weakest module, by its mask."""
    totals, weakest_w = [0], [UNLIMITED_W]
    for power in power_w:
        weakest_w += [weakest if weakest < power else power for weakest in weakest_w]
        totals += [total + power for total in totals]
    return totals, weakest_w


class _Options:
    """The sets worth looking at for one gun."""

    def __init__(self, claim: Claim, want_w: int, sets: _Sets, pool: Pool, later: Sequence[Claim]) -> None:
        self.reach = claim.reach
        self.want_w = max(0, want_w - claim.locked_w)  # from modules that are not locked
        self.room = max(0, claim.max_modules - claim.locked.bit_count())
        self.floor = claim.floor_open
        #: what a later gun is promised; None: nothing
        self.promises = Promises(later) or None
        self.sets = sets
        #: True when a gun that gets too little simply takes all that is left
        self.takes_all = self.room >= claim.reach.bit_count() and not self.promises and not self.floor
        self._costs_of = [pool.cost(claim.gun, index) for index in range(len(pool.power_w))]
        self._costs: list[int] | None = None
        self._found: list[tuple[int, int, int]] | None = None

    def within(self, free: int) -> Sequence[tuple[int, int, int]]:
        """(power served, set, cost), most power first; some may need modules outside of `free`."""
        power_w = self.sets.power_w[free]
        if self.takes_all and power_w <= self.want_w:
            return ((power_w, free, sum([self._costs_of[bit.bit_length() - 1] for bit in bits(free)])),)
        if self._found is None:  # often nobody asks: what is left for the last guns is less than they want
            self._found = self._covering() if self.takes_all else self._candidates()
        return self._found

    def most_w(self, free: int) -> int:
        """No set within `free` can serve more than this."""
        return min(self.want_w, self.sets.power_w[free])

    def _all_costs(self) -> list[int]:
        """The cost of every set, by its mask."""
        costs = [0]
        for cost in self._costs_of:
            costs += [sum_ + cost for sum_ in costs]
        return costs

    def _covering(self) -> list[tuple[int, int, int]]:
        """Sets that give all that is wanted; without its weakest module none of them does."""
        sets, want_w, beyond, costs = self.sets, self.want_w, ~self.reach, self._all_costs()
        totals = zip(sets.power_w, sets.weakest_w, strict=True)
        masks = [mask for mask, (total, weakest) in enumerate(totals) if total - weakest < want_w <= total]
        return [(want_w, mask, costs[mask]) for mask in masks if not mask & beyond and sets.without_gap[mask]]

    def _candidates(self) -> list[tuple[int, int, int]]:
        """A set whose weakest module adds nothing is idle in part: only a promise can ask for it."""
        sets, want_w, floor, room = self.sets, self.want_w, self.floor, max(self.room, self.floor)
        power_w, weakest_w, costs = sets.power_w, sets.weakest_w, self._all_costs()
        found = [
            (-min(want_w, power_w[mask]), costs[mask], mask)
            for mask in subsets(self.reach)
            if sets.without_gap[mask]
            and floor <= mask.bit_count() <= room
            and (power_w[mask] - weakest_w[mask] < want_w or mask.bit_count() == floor)
        ]
        found.sort()
        return [(-negative_w, mask, cost) for negative_w, cost, mask in found]


def _extend(ways: Ways, options: _Options) -> tuple[int, Ways]:
    """The best power that any way leaves for this gun (its locked modules apart), and all ways that serve it so."""
    best_w = -1
    extended: Ways = {}
    in_sequence, promises = options.sets.in_sequence, options.promises
    for used, (cost_so_far, chosen) in ways.items():
        free = options.reach & ~used
        if options.most_w(free) < best_w:
            continue
        for served_w, mask, cost in options.within(free):
            if served_w < best_w:
                break
            after = used | mask
            if mask & used or not in_sequence[after] or (promises is not None and not promises.kept_without(after)):
                continue
            if served_w > best_w:
                best_w, extended = served_w, {}
            total = cost_so_far + cost
            known = extended.get(after)
            if known is None or total < known[0]:
                extended[after] = (total, (*chosen, mask))
    return best_w, extended
