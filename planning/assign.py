"""Job: choose which modules serve which gun, once the order of the guns and their wishes stand.

Thread: any (pure). Lock: none. Units: whole watts, so that sums are exact; sets of modules are bit masks over `Pool`.

The aim, in this sequence: the power served, gun by gun in the given order; fewest modules; fewest moves; then modules
that the gun has, free ones with the fewest hours, those still busy, those that another gun gives up.
When all modules are alike, counting is enough. Otherwise every way worth looking at is compared: a module more than a
gun can use helps nobody, so only sets without such a module are, and of two ways that use up the same modules and
serve the guns so far equally well only the one with fewer moves is kept. Nine modules end in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planning.rules import Grant

UNLIMITED_W = 10**12
#: Above this the number of sets (2^n) outgrows a control step and modules are chosen gun by gun.
EXACT_MODULES = 10

# Weights of one module in the cost of a choice; each outweighs all lighter ones together for up to 54 modules.
_MOVE = 1 << 40
_TAKEN = 1 << 30
_BUSY = 1 << 20
_EXCESS = 1 << 12


@dataclass(slots=True)
class Pool:
    """The usable modules by index. `rank`: place among them by hours. `holder`: the gun that has it, 0 = free."""

    power_w: list[int]
    rank: list[int]
    holder: list[int]
    busy: int = 0  # mask: free, but still in transit
    excess: int = 0  # mask: held, but not needed since a while

    def cost(self, gun: int, index: int) -> int:
        """What it costs to have this module serve `gun`; lower is better."""
        bit = 1 << index
        if self.holder[index] == gun:
            return self.rank[index] + (_EXCESS if self.excess & bit else 0)
        taken = _TAKEN if self.holder[index] else 0
        return _MOVE + taken + (_BUSY if self.busy & bit else 0) + self.rank[index]


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

    def want_w(self, share_w: int) -> int:
        """The power to choose modules for: it falls only when one module less would do with the margin on top."""
        target_w = min(self.target_w, share_w)
        if target_w <= 0:
            return 0
        if self.kept_w < target_w or self.kept_but_one_w >= target_w + self.margin_w:
            return target_w
        return min(target_w + self.margin_w, self.kept_w)

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


class _Budget:
    """The site budget while it is handed out in order."""

    def __init__(self, budget_w: int, claims: Sequence[Claim]) -> None:
        self._left_w = budget_w
        self._reserved_w = sum(claim.reserve_w for claim in claims)

    def share_w(self, claim: Claim) -> int:
        return max(0, self._left_w - self._reserved_w + claim.reserve_w)

    def spend(self, claim: Claim, power_w: int) -> None:
        self._left_w -= min(claim.target_w, self.share_w(claim), power_w)
        self._reserved_w -= claim.reserve_w


def distribute(
    claims: Sequence[Claim], pool: Pool, budget_w: int, grants: Sequence[Grant], module_w: int
) -> list[Portion]:
    """Choose modules for `claims` (best first). `module_w`: nameplate power, in which grants are counted."""
    if grants:
        _promise(claims, grants, module_w, budget_w)
    if _all_alike(claims, pool):
        return _by_counting(claims, pool, budget_w)
    steady = _as_held(claims, pool, budget_w)
    if steady is not None:
        return steady
    if len(pool.power_w) <= EXACT_MODULES:
        return _by_comparing(claims, pool, budget_w)
    return _gun_by_gun(claims, pool, budget_w)


# --- promises -----------------------------------------------------------------------------------------------------


def _promise(claims: Sequence[Claim], grants: Sequence[Grant], module_w: int, budget_w: int) -> None:
    """Set floor and reserve of the claims as far as modules, contactors and the site budget reach."""
    by_gun = {claim.gun: claim for claim in claims}
    for grant in grants:
        claim = by_gun[grant.gun]
        before = claim.floor
        claim.floor = max(before, min(grant.modules, claim.max_modules, -(-claim.target_w // module_w)))
        reserve_w = min(claim.target_w, claim.floor * module_w) - claim.reserve_w
        if claim.floor > before and reserve_w <= budget_w and _can_supply(claims):
            claim.reserve_w += reserve_w
            budget_w -= reserve_w
        else:
            claim.floor = before


def _can_supply(claims: Sequence[Claim], used: int = 0) -> bool:
    """True when every open promise can get modules of its own, by augmenting paths."""
    owner: dict[int, int] = {}
    slots = [claim.reach & ~used for claim in claims for _ in range(claim.floor_open)]

    def augment(slot: int, tried: set[int]) -> bool:
        for bit in _bits(slots[slot]):
            if bit in tried:
                continue
            tried.add(bit)
            if bit not in owner or augment(owner[bit], tried):
                owner[bit] = slot
                return True
        return False

    return all(augment(slot, set()) for slot in range(len(slots)))


# --- alike modules ------------------------------------------------------------------------------------------------


def _all_alike(claims: Sequence[Claim], pool: Pool) -> bool:
    """True when all modules give the same power and every gun may have each that is not locked."""
    if len(set(pool.power_w)) > 1:
        return False
    unlocked = (1 << len(pool.power_w)) - 1
    for claim in claims:
        unlocked &= ~claim.locked
    return all(claim.reach == unlocked for claim in claims)


def _by_counting(claims: Sequence[Claim], pool: Pool, budget_w: int) -> list[Portion]:
    unit_w = pool.power_w[0] if pool.power_w else 1
    free = len(pool.power_w) - sum(max(claim.floor, claim.locked.bit_count()) for claim in claims)
    budget = _Budget(budget_w, claims)
    counts: list[int] = []
    shares: list[int] = []
    for claim in claims:
        share_w = budget.share_w(claim)
        sure = max(claim.floor, claim.locked.bit_count())
        need = min(-(-claim.want_w(share_w) // unit_w), claim.max_modules)
        count = max(sure, min(need, sure + free))
        free -= count - sure
        budget.spend(claim, count * unit_w)
        counts.append(count)
        shares.append(share_w)
    chosen = _pick(claims, counts, pool)
    return [Portion(claim.gun, mask, share) for claim, mask, share in zip(claims, chosen, shares, strict=True)]


def _pick(claims: Sequence[Claim], counts: Sequence[int], pool: Pool) -> list[int]:
    """So many modules for each: first everybody's own, then what is left over."""
    chosen = [
        claim.locked | _cheapest(claim, count - claim.locked.bit_count(), _held_by(pool, claim.gun) & claim.reach, pool)
        for claim, count in zip(claims, counts, strict=True)
    ]
    used = 0
    for mask in chosen:
        used |= mask
    for place, (claim, count) in enumerate(zip(claims, counts, strict=True)):
        missing = count - chosen[place].bit_count()
        if missing > 0:
            more = _cheapest(claim, missing, claim.reach & ~used, pool)
            chosen[place] |= more
            used |= more
    return chosen


def _held_by(pool: Pool, gun: int) -> int:
    mask = 0
    for index, holder in enumerate(pool.holder):
        if holder == gun:
            mask |= 1 << index
    return mask


def _cheapest(claim: Claim, count: int, choice: int, pool: Pool) -> int:
    """The `count` modules of the mask `choice` that cost this gun least (all of them when there are fewer)."""
    if count <= 0:
        return 0
    if choice.bit_count() <= count:
        return choice
    bits = sorted(_bits(choice), key=lambda bit: pool.cost(claim.gun, bit.bit_length() - 1))
    return sum(bits[:count])


# --- unlike modules -----------------------------------------------------------------------------------------------


def _as_held(claims: Sequence[Claim], pool: Pool, budget_w: int) -> list[Portion] | None:
    """What everybody has and needs, when that serves all in full and no gun could do with fewer modules."""
    budget = _Budget(budget_w, claims)
    portions: list[Portion] = []
    for claim in claims:
        share_w = budget.share_w(claim)
        want_w = claim.want_w(share_w)
        kept = claim.locked | (_held_by(pool, claim.gun) & claim.reach & ~pool.excess)
        kept_w = _power(kept, pool)
        if kept_w < want_w or kept.bit_count() > claim.max_modules or kept.bit_count() < claim.floor:
            return None
        if kept != claim.locked and kept.bit_count() > _fewest(claim, want_w, pool):
            return None
        budget.spend(claim, kept_w)
        portions.append(Portion(claim.gun, kept, share_w))
    return portions


def _fewest(claim: Claim, want_w: int, pool: Pool) -> int:
    """The least number of modules that could serve this gun if nobody else were there."""
    count, sum_w = claim.locked.bit_count(), claim.locked_w
    for power_w in sorted((pool.power_w[bit.bit_length() - 1] for bit in _bits(claim.reach)), reverse=True):
        if sum_w >= want_w:
            break
        sum_w += power_w
        count += 1
    return max(count, claim.floor)


def _by_comparing(claims: Sequence[Claim], pool: Pool, budget_w: int) -> list[Portion]:
    sets = _Sets(pool.power_w)
    budget = _Budget(budget_w, claims)
    shares: list[int] = []
    #: modules used up -> (cost, the guns' sets) of the cheapest way that serves the guns so far as well as can be
    ways: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for place, claim in enumerate(claims):
        share_w = budget.share_w(claim)
        best_w, ways = _extend(ways, _candidates(claim, claim.want_w(share_w), sets, pool), claims[place + 1 :])
        budget.spend(claim, best_w)
        shares.append(share_w)
    _, (_, chosen) = min(ways.items(), key=lambda way: (way[0].bit_count(), way[1][0], way[0]))
    return [
        Portion(claim.gun, mask | claim.locked, share_w)
        for claim, mask, share_w in zip(claims, chosen, shares, strict=True)
    ]


class _Sets:
    """Power of every set of modules, and of its weakest one."""

    def __init__(self, power_w: Sequence[int]) -> None:
        self.power_w = [0]
        self.weakest_w = [0]
        for power in power_w:
            self.weakest_w += [min(weakest, power) if weakest else power for weakest in self.weakest_w]
            self.power_w += [total + power for total in self.power_w]


def _candidates(claim: Claim, want_w: int, sets: _Sets, pool: Pool) -> list[tuple[int, int, int]]:
    """(power served, set, cost) of the sets worth looking at for this gun, most power first, then cheapest."""
    room = claim.max_modules - claim.locked.bit_count()
    floor = claim.floor_open
    costs = [pool.cost(claim.gun, index) if claim.reach >> index & 1 else 0 for index in range(len(pool.power_w))]
    found: list[tuple[int, int, int]] = []
    for mask in _subsets(claim.reach):
        count = mask.bit_count()
        power_w = claim.locked_w + sets.power_w[mask]
        idle = power_w - sets.weakest_w[mask] >= want_w  # the weakest one adds nothing
        if (count > floor and (idle or count > room)) or count < floor:
            continue
        cost = sum(costs[bit.bit_length() - 1] for bit in _bits(mask))
        found.append((-min(want_w, power_w), cost, mask))
    found.sort()
    return [(-negative_w, mask, cost) for negative_w, cost, mask in found]


def _extend(
    ways: dict[int, tuple[int, tuple[int, ...]]],
    candidates: Sequence[tuple[int, int, int]],
    later: Sequence[Claim],
) -> tuple[int, dict[int, tuple[int, tuple[int, ...]]]]:
    """The best power that any way leaves for this gun, and all ways (cheapest for what they use up) that serve it."""
    promised = any(claim.floor_open for claim in later)
    best_w = -1
    extended: dict[int, tuple[int, tuple[int, ...]]] = {}
    for used, (cost_so_far, chosen) in ways.items():
        for served_w, mask, cost in candidates:
            if served_w < best_w:
                break
            if mask & used or (promised and not _can_supply(later, used | mask)):
                continue
            if served_w > best_w:
                best_w, extended = served_w, {}
            total = cost_so_far + cost
            known = extended.get(used | mask)
            if known is None or total < known[0]:
                extended[used | mask] = (total, (*chosen, mask))
    return best_w, extended


def _gun_by_gun(claims: Sequence[Claim], pool: Pool, budget_w: int) -> list[Portion]:
    """Large stations: each gun in turn takes what costs it least, sparing modules that few guns can have."""
    budget = _Budget(budget_w, claims)
    portions: list[Portion] = []
    used = 0
    for place, claim in enumerate(claims):
        share_w = budget.share_w(claim)
        chosen = _take(claim, claim.want_w(share_w), used, claims[place + 1 :], pool)
        used |= chosen
        budget.spend(claim, _power(chosen, pool))
        portions.append(Portion(claim.gun, chosen, share_w))
    return portions


def _take(claim: Claim, want_w: int, used: int, later: Sequence[Claim], pool: Pool) -> int:
    def appeal(bit: int) -> tuple[bool, int, int, int]:
        index = bit.bit_length() - 1
        wanted_by = sum(1 for other in later if other.reach & bit)
        return (pool.holder[index] != claim.gun, wanted_by, -pool.power_w[index], pool.cost(claim.gun, index))

    chosen, power_w = claim.locked, claim.locked_w
    for bit in sorted(_bits(claim.reach & ~used), key=appeal):
        enough = power_w >= want_w and chosen.bit_count() >= claim.floor
        if enough or chosen.bit_count() >= claim.max_modules:
            break
        if _can_supply(later, used | chosen | bit):
            chosen |= bit
            power_w += pool.power_w[bit.bit_length() - 1]
    return chosen


# --- masks --------------------------------------------------------------------------------------------------------


def _bits(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit


def _subsets(mask: int) -> Iterator[int]:
    subset = mask
    while subset:
        yield subset
        subset = (subset - 1) & mask
    yield 0


def _power(mask: int, pool: Pool) -> int:
    return sum(pool.power_w[bit.bit_length() - 1] for bit in _bits(mask))
