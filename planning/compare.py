"""Job: the best way to share out modules that differ, found by comparing all ways worth looking at.

Thread: any (pure). Lock: none. Units: whole watts; sets of modules are bit masks over the indices of `Pool`.

A module more than a gun can use helps nobody, so only sets without such a module are looked at. Of two ways that use up
the same modules and serve the guns so far equally well only the one with fewer moves is kept. Among modules that do not
differ for anybody the one with fewer hours goes first. Six guns and nine modules end in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from planning.claims import UNLIMITED_W, Budget, Claim, Pool, Portion, Promises, bits, subsets


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
        self.power_w = [0]
        self.weakest_w = [UNLIMITED_W]
        self.rest_w = [-UNLIMITED_W]  # power without the weakest
        self.count = [0]
        self.in_sequence = [True]  # no module used up before its twin with fewer hours
        self.without_gap = [True]  # no twin left out between two that are used
        twins: dict[object, int] = {}
        before: dict[object, int] = {}
        for index, power in enumerate(pool.power_w):
            bit = 1 << index
            kind = (
                power,
                pool.holder[index],
                bool(pool.busy & bit),
                bool(pool.excess & bit),
                *[claim.reach & bit > 0 for claim in claims],
            )
            self._add(power, twins.get(kind, 0), before.get(kind, 0))
            twins[kind] = twins.get(kind, 0) | bit
            before[kind] = bit

    def _add(self, power: int, twins: int, before: int) -> None:
        """Double the tables: every set known so far, with this module added."""
        self.rest_w += [
            total if power <= weakest else total + power - weakest
            for total, weakest in zip(self.power_w, self.weakest_w, strict=True)
        ]
        self.weakest_w += [weakest if weakest < power else power for weakest in self.weakest_w]
        self.power_w += [total + power for total in self.power_w]
        self.count += [count + 1 for count in self.count]
        if not twins:
            self.in_sequence += self.in_sequence
            self.without_gap += self.without_gap
            return
        self.in_sequence += [bool(mask & before) and good for mask, good in enumerate(self.in_sequence)]
        self.without_gap += [
            good and (bool(mask & before) or not mask & twins) for mask, good in enumerate(self.without_gap)
        ]


class _Options:
    """The sets worth looking at for one gun."""

    def __init__(self, claim: Claim, want_w: int, sets: _Sets, pool: Pool, later: Sequence[Claim]) -> None:
        self.reach = claim.reach
        self.want_w = max(0, want_w - claim.locked_w)  # from modules that are not locked
        self.room = max(0, claim.max_modules - claim.locked.bit_count())
        self.floor = claim.floor_open
        self.promises = Promises(later)
        self._sets = sets
        self._costs = [pool.cost(claim.gun, index) for index in range(len(pool.power_w))]
        #: True when a gun that gets too little simply takes all that is left
        self.takes_all = self.room >= claim.reach.bit_count() and not self.promises and not self.floor
        self._found: list[tuple[int, int, int]] | None = None

    def within(self, free: int) -> Sequence[tuple[int, int, int]]:
        """(power served, set, cost), most power first; some may need modules outside of `free`."""
        power_w = self._sets.power_w[free]
        if self.takes_all and power_w <= self.want_w:
            return ((power_w, free, self._cost(free)),)
        if self._found is None:  # often nobody asks: what is left for the last guns is less than they want
            self._found = self._candidates()
        return self._found

    def most_w(self, free: int) -> int:
        """No set within `free` can serve more than this."""
        return min(self.want_w, self._sets.power_w[free])

    def allows(self, used: int) -> bool:
        """False when a twin with fewer hours is left out, or when a later gun could not get what it is promised."""
        return self._sets.in_sequence[used] and self.promises.kept_without(used)

    def _cost(self, mask: int) -> int:
        return sum([self._costs[bit.bit_length() - 1] for bit in bits(mask)])

    def _candidates(self) -> list[tuple[int, int, int]]:
        power_w, rest_w, count = self._sets.power_w, self._sets.rest_w, self._sets.count
        without_gap, want_w, floor, room = self._sets.without_gap, self.want_w, self.floor, max(self.room, self.floor)
        # A set whose weakest module adds nothing is idle in part: only a promise can ask for it.
        if self.takes_all:
            masks = [m for m in subsets(self.reach) if rest_w[m] < want_w <= power_w[m] and without_gap[m]]
        else:
            masks = [
                m
                for m in subsets(self.reach)
                if (rest_w[m] < want_w or count[m] == floor) and floor <= count[m] <= room and without_gap[m]
            ]
        found = [(-min(want_w, power_w[mask]), self._cost(mask), mask) for mask in masks]
        found.sort()
        return [(-negative_w, mask, cost) for negative_w, cost, mask in found]


def _extend(ways: Ways, options: _Options) -> tuple[int, Ways]:
    """The best power that any way leaves for this gun (its locked modules apart), and all ways that serve it so."""
    best_w = -1
    extended: Ways = {}
    for used, (cost_so_far, chosen) in ways.items():
        free = options.reach & ~used
        if options.most_w(free) < best_w:
            continue
        for served_w, mask, cost in options.within(free):
            if served_w < best_w:
                break
            if mask & used or not options.allows(used | mask):
                continue
            if served_w > best_w:
                best_w, extended = served_w, {}
            total = cost_so_far + cost
            known = extended.get(used | mask)
            if known is None or total < known[0]:
                extended[used | mask] = (total, (*chosen, mask))
    return best_w, extended
