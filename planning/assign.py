"""Job: choose which modules serve which gun, once the order of the guns and their wishes stand.

Thread: any (pure). Lock: none. Units: whole watts; sets of modules are bit masks over the indices of `Pool`.

The aim, in this sequence: the power served, gun by gun in the given order; fewest modules; fewest moves; then modules
that the gun has, free ones with the fewest hours, those still busy, those that another gun gives up (Pool.cost says
which of them). When all modules are alike, counting is enough; otherwise compare.py looks at every way.
"""

from __future__ import annotations

from collections.abc import Sequence

from planning.claims import Budget, Claim, Pool, Portion, Promises, bits, power_of
from planning.compare import by_comparing
from planning.rules import Grant

#: Above this the number of sets (2^n) outgrows a control step and modules are chosen gun by gun.
EXACT_MODULES = 10


def distribute(
    claims: Sequence[Claim], pool: Pool, budget_w: int, grants: Sequence[Grant], module_w: int
) -> list[Portion]:
    """Choose modules for `claims` (best first). `module_w`: nameplate power, in which grants are counted."""
    if grants:
        _promise(claims, grants, module_w, max(pool.power_w, default=0), budget_w)
    if _all_alike(claims, pool):
        return _by_counting(claims, pool, budget_w)
    steady = _as_held(claims, pool, budget_w)
    if steady is not None:
        return steady
    if len(pool.power_w) <= EXACT_MODULES:
        return by_comparing(claims, pool, budget_w)
    return _gun_by_gun(claims, pool, budget_w)


# --- promises -----------------------------------------------------------------------------------------------------


def _promise(
    claims: Sequence[Claim], grants: Sequence[Grant], module_w: int, strongest_w: int, budget_w: int
) -> None:
    """Set floor and reserve of the claims as far as modules, contactors and the site budget reach.

    No promised module gives more than the strongest: more of the budget is not kept back for it.
    """
    by_gun = {claim.gun: claim for claim in claims}
    reachable = 0
    for claim in claims:
        reachable |= claim.reach
    same_reach = all(claim.reach == reachable for claim in claims)  # then counting tells whether promises can be kept
    left = reachable.bit_count()  # once nothing is left, only what is locked anyway can still be promised
    for grant in grants:
        claim = by_gun[grant.gun]
        before = claim.floor
        if grant.modules <= before or (not left and grant.modules > claim.locked.bit_count()):
            continue
        open_before = claim.floor_open
        unit_w = module_w if grant.module_kw is None else round(grant.module_kw * 1000)
        claim.floor = max(before, min(grant.modules, claim.max_modules, -(-claim.want_w(claim.target_w) // unit_w)))
        most_w = claim.floor * strongest_w if grant.most_kw is None else round(grant.most_kw * 1000)
        reserve_w = min(claim.target_w, most_w) - claim.reserve_w
        more = claim.floor_open - open_before
        possible = claim.floor > before and reserve_w <= budget_w and more <= left
        if possible and (same_reach or Promises(claims).kept_without(0)):
            claim.reserve_w += reserve_w
            budget_w -= reserve_w
            left -= more
        else:
            claim.floor = before


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
    budget = Budget(budget_w, claims)
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
    """So many modules for each: its own as far as they go, then free ones, then those that others give up."""
    held: dict[int, int] = {}
    keeps: dict[int, int] = {}
    held_by_all = to_give = 0
    for claim, count in zip(claims, counts, strict=True):
        mine = pool.held.get(claim.gun, 0) & claim.reach
        held[claim.gun] = mine
        keeps[claim.gun] = min(count - claim.locked.bit_count(), mine.bit_count())
        held_by_all |= mine
        if mine.bit_count() > keeps[claim.gun]:
            to_give |= mine  # a gun gives up no more than it has above what it keeps
    comes: list[int] = []
    used = 0
    for claim, count in zip(claims, counts, strict=True):
        missing = count - claim.locked.bit_count() - keeps[claim.gun]
        come = pool.cheapest(claim.gun, missing, claim.reach & ~used & ~held_by_all) if missing > 0 else 0
        for _ in range(missing - come.bit_count()):
            bit = pool.cheapest(claim.gun, 1, claim.reach & to_give)
            if not bit:
                break
            come |= bit
            giver = pool.holder[bit.bit_length() - 1]
            held[giver] ^= bit
            to_give ^= bit
            if held[giver].bit_count() <= keeps[giver]:
                to_give &= ~held[giver]
        used |= come
        comes.append(come)
    return [
        claim.locked | come | pool.cheapest(claim.gun, keeps[claim.gun], held[claim.gun])
        for claim, come in zip(claims, comes, strict=True)
    ]


# --- unlike modules -----------------------------------------------------------------------------------------------


def _as_held(claims: Sequence[Claim], pool: Pool, budget_w: int) -> list[Portion] | None:
    """What everybody has and needs, when that serves all in full and no gun could do with fewer modules."""
    budget = Budget(budget_w, claims)
    portions: list[Portion] = []
    for claim in claims:
        share_w = budget.share_w(claim)
        want_w = claim.want_w(share_w)
        kept = claim.locked | (pool.held.get(claim.gun, 0) & claim.reach & ~pool.excess)
        kept_w = power_of(kept, pool)
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
    for power_w in sorted((pool.power_w[bit.bit_length() - 1] for bit in bits(claim.reach)), reverse=True):
        if sum_w >= want_w:
            break
        sum_w += power_w
        count += 1
    return max(count, claim.floor)


def _gun_by_gun(claims: Sequence[Claim], pool: Pool, budget_w: int) -> list[Portion]:
    """Large stations: each gun in turn takes what costs it least, sparing modules that few guns can have."""
    budget = Budget(budget_w, claims)
    portions: list[Portion] = []
    used = 0
    for place, claim in enumerate(claims):
        share_w = budget.share_w(claim)
        chosen = _take(claim, claim.want_w(share_w), used, claims[place + 1 :], pool)
        used |= chosen
        budget.spend(claim, power_of(chosen, pool))
        portions.append(Portion(claim.gun, chosen, share_w))
    return portions


def _take(claim: Claim, want_w: int, used: int, later: Sequence[Claim], pool: Pool) -> int:
    def appeal(bit: int) -> tuple[bool, int, int, int]:
        index = bit.bit_length() - 1
        wanted_by = sum(1 for other in later if other.reach & bit)
        return (pool.holder[index] != claim.gun, wanted_by, -pool.power_w[index], pool.cost(claim.gun, index))

    promises = Promises(later)
    chosen, power_w = claim.locked, claim.locked_w
    for bit in sorted(bits(claim.reach & ~used), key=appeal):
        enough = power_w >= want_w and chosen.bit_count() >= claim.floor
        if enough or chosen.bit_count() >= claim.max_modules:
            break
        if promises.kept_without(used | chosen | bit):
            chosen |= bit
            power_w += pool.power_w[bit.bit_length() - 1]
    return chosen
