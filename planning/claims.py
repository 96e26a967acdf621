"""Job: the words in which modules are shared out: who asks, what there is, what is promised, and the site budget.

Thread: any (pure; a Budget belongs to one allocation). Lock: none. Units: whole watts, so that sums are exact. Sets of
modules are bit masks over the indices of `Pool`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

UNLIMITED_W = 10**12
#: The margin of a need that falls is at least this share of the step: cars' demands are noisy by some 5 %. It holds
#: for NOISE_MS: noise comes back above the step, and what stays below it for so long has fallen.
NOISE_SHARE, NOISE_MS = 0.055, 30_000
#: Bits of a mask that are looked at together.
PIECE = 64
# Weights of one module in the cost of a choice; each outweighs all lighter ones together for up to 54 modules.
_MOVE = 1 << 50
_TAKEN = 1 << 40
_CARRYING = 1 << 30
_BUSY = 1 << 20
_EXCESS = 1 << 12


@dataclass(slots=True)
class Pool:
    """The usable modules by index, fewest hours first. `holder`: the gun that has it, 0 = free."""

    power_w: list[int]
    holder: list[int]
    held: dict[int, int] = field(default_factory=dict)  # the same by gun: mask
    taken: int = 0  # mask: held by any gun
    busy: int = 0  # mask: between two guns, or on its way to its gun: carries no current
    excess: int = 0  # mask: held, but not needed since a while
    #: gun -> place of each module by hours and, among equal hours, by the wear of its contactor to that gun
    rank: Mapping[int, Sequence[int]] = field(default_factory=dict)

    def cost(self, gun: int, index: int) -> int:
        """What it costs to have this module serve `gun`; lower is better.

        A gun keeps modules that carry current, then those with fewer hours. Of those that it gives up, another gun
        gets one that carries none, then the one with the fewest hours: keeping costs the place once, taking it twice.
        """
        bit = 1 << index
        place = self.rank[gun][index] if self.rank else index
        if self.holder[index] == gun:
            return place + (_EXCESS if self.excess & bit else 0) + (_BUSY if self.busy & bit else 0)
        if self.holder[index]:
            return _MOVE + _TAKEN + (0 if self.busy & bit else _CARRYING) + 2 * place
        return _MOVE + (_BUSY if self.busy & bit else 0) + place

    def cheapest(self, gun: int, count: int, choice: int) -> int:
        """The `count` modules of the mask `choice` that cost this gun least (all of them when there are fewer)."""
        if count <= 0 or choice.bit_count() <= count:
            return choice if count > 0 else 0
        chosen = 0
        for kind in self._kinds(gun, choice):
            missing = count - chosen.bit_count()
            chosen |= kind if kind.bit_count() <= missing else self._first(gun, missing, kind)
        return chosen

    def _kinds(self, gun: int, choice: int) -> Iterator[int]:
        """`choice` in parts, the cheapest first, as `cost` ranks them; within a part the place decides."""
        mine = choice & self.held.get(gun, 0)
        if mine:
            calm = mine & ~self.busy
            yield from (calm & ~self.excess, calm & self.excess)
            yield from (mine & self.busy & ~self.excess, mine & self.busy & self.excess)
        taken = choice & self.taken & ~mine
        free = choice & ~mine & ~taken
        yield from (free & ~self.busy, free & self.busy)
        yield from (taken & self.busy, taken & ~self.busy)

    def _first(self, gun: int, count: int, kind: int) -> int:
        if self.rank:
            rank = self.rank[gun]
            return sum(sorted(bits(kind), key=lambda bit: rank[bit.bit_length() - 1])[:count])
        return sum(islice(bits(kind), count))


@dataclass(slots=True)
class Claim:
    """One asking gun. `kept_*` describe the modules it holds and needs: all, and all but the weakest."""

    gun: int
    target_w: int
    margin_w: int
    max_modules: int
    reach: int  # mask: modules that it may get, without the locked ones of anybody
    locked: int = 0  # mask: modules that it must keep
    locked_w: int = 0
    kept_w: int = 0
    kept_but_one_w: int = 0
    floor: int = 0  # modules promised, locked ones included
    reserve_w: int = 0  # of the site budget, promised with them
    #: the target is a limit, no noisy demand: what it makes superfluous goes without a margin. A share of the site
    #: budget below it wanders with the demands of others.
    limited: bool = False

    def want_w(self, share_w: int) -> int:
        """The power to choose modules for: it falls only when one module less would do with the margin on top."""
        target_w = min(self.target_w, share_w)
        if target_w <= 0:
            return 0
        margin_w = 0 if self.limited and share_w >= self.target_w else self.margin_w
        if self.kept_w < target_w or self.kept_but_one_w >= target_w + margin_w:
            return target_w
        return min(target_w + margin_w, self.kept_w)

    @property
    def floor_open(self) -> int:
        """Promised modules beyond the locked ones."""
        return max(0, self.floor - self.locked.bit_count())


@dataclass(frozen=True, slots=True)
class Portion:
    """What a claim gets: modules, and its share of the site budget."""

    gun: int
    modules: int  # mask
    share_w: int  # the most it may have; what it takes of it is min(target, share, power of the modules)


class Budget:
    """The site budget while it is handed out in order."""

    def __init__(self, budget_w: int, claims: Sequence[Claim]) -> None:
        self._left_w = budget_w
        self._reserved_w = sum(claim.reserve_w for claim in claims)

    def share_w(self, claim: Claim) -> int:
        return max(0, self._left_w - self._reserved_w + claim.reserve_w)

    def spend(self, claim: Claim, power_w: int) -> None:
        self._left_w -= min(claim.target_w, self.share_w(claim), power_w)
        self._reserved_w -= claim.reserve_w


class Promises:
    """Whether all open promises can be kept at once: every group of guns must reach as many modules as it is promised.

    That test is enough (Hall's marriage theorem), and it is short: groups that reach the same modules count once.
    """

    def __init__(self, claims: Sequence[Claim]) -> None:
        groups = {0: 0}  # modules that a group reaches -> the most that such a group is promised
        for claim in claims:
            if claim.floor_open:
                for reach, promised in list(groups.items()):
                    wider = reach | claim.reach
                    groups[wider] = max(groups.get(wider, 0), promised + claim.floor_open)
        self._groups = [group for group in groups.items() if group[1] > 0]

    def __bool__(self) -> bool:
        return bool(self._groups)

    def kept_without(self, used: int) -> bool:
        """True when they can still be kept once the modules in the mask `used` are gone."""
        for reach, promised in self._groups:  # noqa: SIM110 - asked thousands of times, a plain loop is twice as fast
            if (reach & ~used).bit_count() < promised:
                return False
        return True


# --- masks ----------------------------------------------------------------------------------------------------------


def bits(mask: int) -> Iterator[int]:
    """Its single bits, ascending. Long masks are taken apart piece by piece: all of it for each bit would cost n^2."""
    while mask >> PIECE:
        base = (mask & -mask).bit_length() - 1
        piece = mask >> base & ((1 << PIECE) - 1)
        mask ^= piece << base
        while piece:
            bit = piece & -piece
            yield bit << base
            piece ^= bit
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit


def subsets(mask: int) -> Iterator[int]:
    subset = mask
    while subset:
        yield subset
        subset = (subset - 1) & mask
    yield 0


def indices(mask: int) -> list[int]:
    """The places of the bits in a mask of modules, ascending."""
    return [bit.bit_length() - 1 for bit in bits(mask)]


def power_of(mask: int, pool: Pool) -> int:
    return sum(pool.power_w[bit.bit_length() - 1] for bit in bits(mask))
