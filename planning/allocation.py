"""Job: decide which modules serve which gun.

Thread: any (pure: frozen in, frozen out, no clock). Lock: none. Units: kW outside, whole watts inside; times in ms.

The same inputs give the same result, and the result given back at the same moment changes nothing. In this file: who
asks, what must stay (move_dwell), whose turn it is (rotation_period), what lingers (release_delay).
The order of the guns is in rules.py, the choice of modules in assign.py, the reasons in explain.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from planning import reasons
from planning.assign import EXACT_MODULES, distribute
from planning.claims import NOISE_MS, NOISE_SHARE, UNLIMITED_W, Claim, Pool, Portion, indices
from planning.explain import why_nothing, why_short, why_so_much
from planning.reasons import Reason
from planning.request import (
    Allocation,
    AllocationLimits,
    Assignment,
    GunRequest,
    GunResult,
    Holding,
    ModuleOffer,
    TargetBound,
)
from planning.rules import RULES, Grant, Rule, Standing, kept, precharging
from planning.settings import Priority

#: What a module can draw while it only precharges: 2 A at 1000 V. Counted against the site budget.
PRECHARGE_W = 2_000
#: A reason names so many guns; of the others it says how many.
NAMED = 10


def allocate(
    guns: Sequence[GunRequest],
    modules: Sequence[ModuleOffer],
    current: Assignment,
    rule: Priority,
    limits: AllocationLimits,
    now_ms: int,
) -> Allocation:
    """The next assignment of modules to guns, with a reason for every gun.

    `current` is the assignment of the last allocation; a module that is with a gun for other reasons is offered as
    pinned. Numbers of guns and modules are unique; their sequence does not matter. Raises KeyError for a rule that is
    not in RULES.
    """
    turn = _Round(guns, modules, current, limits, now_ms)
    choice = turn.decide(RULES[rule])
    for _ in guns:
        if turn.settled(choice.assignment, RULES[rule]):
            break
        turn = _Round(guns, modules, choice.assignment, limits, now_ms)
        choice = turn.decide(RULES[rule])
    return turn.explained(choice)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What one round comes to, before it is explained."""

    assignment: Assignment
    claims: Sequence[Claim]
    portions: Sequence[Portion]
    held: dict[int, list[Holding]]


class _Round:
    """One allocation: its inputs sorted and looked up once."""

    def __init__(
        self,
        guns: Sequence[GunRequest],
        modules: Sequence[ModuleOffer],
        current: Assignment,
        limits: AllocationLimits,
        now_ms: int,
    ) -> None:
        self.limits = limits
        self.now_ms = now_ms
        self.current = current
        self.guns = sorted(guns, key=lambda gun: gun.gun)
        self.asking = [gun for gun in self.guns if gun.asks]
        usable = (offer for offer in modules if offer.available_kw > 0)
        self.offers = sorted(usable, key=lambda offer: (offer.hours, offer.module))  # the index is the rank by hours
        self.index = {offer.module: index for index, offer in enumerate(self.offers)}
        self.power_w = [1000 * offer.available_kw for offer in self.offers]
        self.allowed, self.reach = self._crosspoints()
        self.held = self._usable_holdings()
        self.scarce = len(self.offers) < len(self.asking)
        self.module_w = _watts(limits.module_capacity_kw)
        self.step_margin_w = _watts(limits.step_margin_kw)
        #: when modules are scarce, one that came stays for its whole turn
        self.stay_ms = max(limits.move_dwell_ms, limits.rotation_period_ms if self.scarce else 0)
        self.budget_w = UNLIMITED_W if limits.site_budget_kw is None else _watts(limits.site_budget_kw)
        #: A gun waits so long before it may take a turn that is over: else the one that gave its module would take the
        #: next one's at once, and all cars would be interrupted because one waits.
        self.turn_gap_ms = max(1, limits.rotation_period_ms // max(1, len(self.offers)))
        #: gun -> the most that it may have: its target, or its equal share of the site budget
        self.targets_w = {gun.gun: _target_w(gun) for gun in self.guns}
        self._given: Mapping[int, int] | None = None
        self._in_the_way: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        self.wanted_w = dict(self.targets_w)  # whatever the site's budget
        self.falling_since_ms = dict(current.falling)

    def decide(self, rule: Rule) -> _Choice:
        standing = self._standing(self.held, self.current.order)
        order = rule.order(self.asking, standing, self.limits)
        claims, portions, held = self._serve(order, rule)
        for _ in self.asking:
            # Who just lost all is passed freely: settled now, not in the next round.
            after = self._standing(held, [gun.gun for gun in order])
            if after.holding == standing.holding:
                break  # the order would be the same
            standing, settled = after, rule.order(self.asking, after, self.limits)
            if settled == order:
                break
            order = settled
            claims, portions, held = self._serve(order, rule)
        holdings = sorted([holding for mine in held.values() for holding in mine], key=_by_module)
        assignment = Assignment(tuple(holdings), tuple([gun.gun for gun in order]), self._falling(portions, held))
        return _Choice(assignment, claims, portions, held)

    def explained(self, choice: _Choice) -> Allocation:
        return Allocation(
            choice.assignment,
            self._results(choice.portions, choice.held),
            self._next_due_ms(choice.claims, choice.held, choice.assignment.falling),
        )

    def _serve(
        self, order: Sequence[GunRequest], rule: Rule
    ) -> tuple[list[Claim], list[Portion], dict[int, list[Holding]]]:
        first = () if self.scarce else precharging(order)
        strongest_kw = max(self.power_w, default=0) / 1000
        grants = (*kept(order), *first, *(rule.sharing(order, self.limits, strongest_kw) if strongest_kw else ()))
        if rule.equal_budget and self.budget_w < UNLIMITED_W:
            claims, portions = self._share_equally(order, grants)
        else:
            claims, portions = self._distribute(order, grants, self.budget_w)
        return claims, portions, self._hold(portions)

    def _distribute(
        self, order: Sequence[GunRequest], grants: Sequence[Grant], budget_w: int
    ) -> tuple[list[Claim], list[Portion]]:
        claims = self._claims(order, budget_w)
        return claims, distribute(claims, self._pool(), budget_w, grants, self.module_w) if claims else []

    def _share_equally(
        self, order: Sequence[GunRequest], grants: Sequence[Grant]
    ) -> tuple[list[Claim], list[Portion]]:
        """Modules for equal shares of the budget; what guns that lack modules cannot use goes to the others."""
        used_w: dict[int, int] = {}  # of guns that cannot use their share, for want of modules
        for _ in range(len(order) + 1):
            level_w = self._level_w(order, used_w)
            self.targets_w |= {gun.gun: min(self.wanted_w[gun.gun], level_w) for gun in order}
            claims, portions = self._distribute(order, grants, UNLIMITED_W)
            got_w = self._got_w(portions)
            before, used_w = used_w, {gun: w for gun, w in got_w.items() if w < self.targets_w[gun]}
            if used_w == before:
                break
        level_w = self._level_w(order, used_w)
        return claims, [replace(portion, share_w=level_w) for portion in portions]

    def _got_w(self, portions: Sequence[Portion]) -> dict[int, int]:
        return {portion.gun: sum([self.power_w[i] for i in indices(portion.modules)]) for portion in portions}

    def _level_w(self, order: Sequence[GunRequest], used_w: Mapping[int, int]) -> int:
        """The most that a gun may have of the site budget, so that all that want more have the same.

        `used_w`: what a gun can use, where that is less than it wants.
        """
        wanted_w = sorted(min(self.wanted_w[gun.gun], used_w.get(gun.gun, UNLIMITED_W)) for gun in order)
        left_w = self.budget_w
        for count, want_w in zip(range(len(wanted_w), 0, -1), wanted_w, strict=True):
            if want_w > left_w // count:
                return left_w // count
            left_w -= want_w
        return UNLIMITED_W

    def settled(self, assignment: Assignment, rule: Rule) -> bool:
        """True when `assignment`, asked again, would answer itself.

        What a gun just got decides by which margin it keeps it, and with unlike modules that may open a better way for
        another; equal shares of a budget depend on who can use them. Both are settled now, not in the next round.
        """
        if assignment == self.current or self._all_alike():
            return True
        if len(self.offers) > EXACT_MODULES or (rule.equal_budget and self.limits.site_budget_kw is not None):
            return False
        gets: dict[int, list[Holding]] = {gun.gun: [] for gun in self.guns}
        for holding in assignment.holdings:
            gets[holding.gun].append(holding)
        return all(self._wants_the_same(gun, self.held[gun.gun], gets[gun.gun]) for gun in self.asking)

    def _all_alike(self) -> bool:
        """True when one module is as good as another for everybody, and no budget binds the guns to each other."""
        one_power = len(set(self.power_w)) <= 1
        return one_power and len(set(self.reach.values())) <= 1 and self.limits.site_budget_kw is None

    def _wants_the_same(self, gun: GunRequest, before: Sequence[Holding], after: Sequence[Holding]) -> bool:
        if before == after or self._kept_w(before) == self._kept_w(after):
            return True
        wants_w = [self._claim(gun, 0, 0, holdings).want_w(UNLIMITED_W) for holdings in (before, after)]
        return wants_w[0] == wants_w[1]

    # --- where the guns stand -------------------------------------------------------------------------------------

    def _crosspoints(self) -> tuple[dict[int, int], dict[int, int]]:
        """The modules to which each gun has a contactor in service, and those of them that it may have, as masks."""
        allowed = {gun.gun: 0 for gun in self.guns}
        alike: dict[frozenset[int], int] = {}  # most modules may go to the same guns
        pinned: dict[int, int] = {}
        for index, offer in enumerate(self.offers):
            alike[offer.guns_allowed] = alike.get(offer.guns_allowed, 0) | 1 << index
            if offer.pinned_gun is not None:
                pinned[offer.pinned_gun] = pinned.get(offer.pinned_gun, 0) | 1 << index
        for guns, mask in alike.items():
            for gun in guns:
                if gun in allowed:
                    allowed[gun] |= mask
        if not pinned:
            return allowed, allowed
        pinned_anywhere = sum(pinned.values())
        return allowed, {gun: mask & (~pinned_anywhere | pinned.get(gun, 0)) for gun, mask in allowed.items()}

    def _usable_holdings(self) -> dict[int, list[Holding]]:
        """What each gun holds and may go on holding; a fault of gun, module or contactor frees the rest."""
        held: dict[int, list[Holding]] = {gun.gun: [] for gun in self.guns if gun.blocked_reason is None}
        for holding in self.current.holdings:
            index = self.index.get(holding.module)
            if index is not None and holding.gun in held and self.reach[holding.gun] >> index & 1:
                held[holding.gun].append(holding)
        return held

    def _standing(self, held: dict[int, list[Holding]], order: Sequence[int]) -> Standing:
        return Standing(order, frozenset([gun.gun for gun in self.asking if held[gun.gun]]))

    def _max_modules(self, gun: GunRequest) -> int:
        return 1 if gun.precharge_only else self.limits.max_modules_per_gun

    # --- claims ---------------------------------------------------------------------------------------------------

    def _claims(self, order: Sequence[GunRequest], budget_w: int) -> list[Claim]:
        turns = self._turns(order) if self.scarce else {}
        left_w = budget_w
        locked: dict[int, int] = {}
        for gun in order:
            share_w = min(self.targets_w[gun.gun], left_w)
            left_w -= share_w
            # A turn goes against the order in which the site budget is handed out: it ends by time alone.
            locked[gun.gun] = self._locked(gun, self.targets_w[gun.gun] if self.scarce else share_w, turns)
        free = (1 << len(self.offers)) - 1
        for mask in locked.values():
            free &= ~mask
        return [self._claim(gun, locked[gun.gun], free, self.held[gun.gun]) for gun in order]

    def _claim(self, gun: GunRequest, locked: int, free: int, holdings: Sequence[Holding]) -> Claim:
        kept_w, kept_but_one_w = self._kept_w(holdings)
        return Claim(
            gun=gun.gun,
            target_w=self.targets_w[gun.gun],
            margin_w=self._margin_w(gun, kept_but_one_w),
            limited=self._is_limited(gun),
            max_modules=self._max_modules(gun),
            reach=self.reach[gun.gun] & free,
            locked=locked,
            locked_w=sum([power for index, power in enumerate(self.power_w) if locked >> index & 1]) if locked else 0,
            kept_w=kept_w,
            kept_but_one_w=kept_but_one_w,
        )

    def _kept_w(self, holdings: Iterable[Holding]) -> tuple[int, int]:
        """What the needed ones of these modules give: all, and all but the weakest."""
        needed_w = [self.power_w[self.index[held.module]] for held in holdings if held.excess_since_ms is None]
        kept_w = sum(needed_w)
        return kept_w, kept_w - min(needed_w, default=0)

    def _margin_w(self, gun: GunRequest, kept_but_one_w: int) -> int:
        """A demand that wanders by 5 % around 200 kW wanders further than the margin that is right at 40 kW."""
        margin_w = 0 if gun.precharge_only else self.step_margin_w
        since_ms = self.falling_since_ms.get(gun.gun)
        if not margin_w or (since_ms is not None and self.now_ms >= since_ms + NOISE_MS):
            return margin_w
        return max(margin_w, int(kept_but_one_w * NOISE_SHARE))

    def _is_limited(self, gun: GunRequest) -> bool:
        fixed = gun.limit_reason in (TargetBound.GUN_LIMIT, TargetBound.COMMAND_LIMIT)
        return fixed and self.targets_w[gun.gun] == self.wanted_w[gun.gun]

    def _falling(
        self, portions: Sequence[Portion], held: Mapping[int, Sequence[Holding]]
    ) -> tuple[tuple[int, int], ...]:
        """Guns that keep a module for the noise of their demand or share alone, and since when without a break."""
        if not self.step_margin_w:
            return ()
        share_w = {portion.gun: portion.share_w for portion in portions}
        falling = []
        for gun in self.asking:
            if gun.precharge_only or not held[gun.gun]:
                continue
            _, kept_but_one_w = self._kept_w(held[gun.gun])
            may_w = min(self.targets_w[gun.gun], share_w[gun.gun])
            if self._is_limited(gun) and may_w == self.targets_w[gun.gun]:
                continue
            if may_w + self.step_margin_w <= kept_but_one_w:
                falling.append((gun.gun, self.falling_since_ms.get(gun.gun, self.now_ms)))
        return tuple(falling)

    def _locked(self, gun: GunRequest, target_w: int, turns: dict[int, int]) -> int:
        """The modules that came from another gun and have to stay, and those whose turn it is to come."""
        staying = [holding for holding in self.held[gun.gun] if self._stays(holding)]
        if not staying and not turns and gun.keeps_kw <= 0:
            return 0
        mask = sum([1 << index for index, to_gun in turns.items() if to_gun == gun.gun])
        kept_bit = self._kept_bit(gun, turns)
        mask |= kept_bit
        limited = gun.limit_reason is not TargetBound.DEMAND or target_w < self.wanted_w[gun.gun]
        power_w = self.power_w[kept_bit.bit_length() - 1] if kept_bit else 0
        for holding in sorted(staying, key=lambda held: (held.since_ms, held.module)):
            index = self.index[holding.module]
            if index in turns or mask >> index & 1:
                continue
            freed_by_limit = limited and power_w >= target_w
            if not freed_by_limit and mask.bit_count() < self._max_modules(gun):
                mask |= 1 << index
                power_w += self.power_w[index]
        return mask

    def _kept_bit(self, gun: GunRequest, turns: dict[int, int]) -> int:
        """Under a new rule a gun keeps one that serves it, the strongest: it does not even wait for a better one."""
        if gun.keeps_kw <= 0:
            return 0

        def worth(holding: Holding) -> tuple[bool, int, int]:
            index = self.index[holding.module]
            serves = holding.since_ms < self.now_ms and not self.offers[index].busy_until_ready
            return serves, self.power_w[index], -index

        own = [holding for holding in self.held[gun.gun] if self.index[holding.module] not in turns]
        return 1 << self.index[max(own, key=worth).module] if own else 0

    def _stays(self, holding: Holding) -> bool:
        return holding.moved and self.now_ms < holding.since_ms + self.stay_ms

    def _turns(self, order: Sequence[GunRequest]) -> dict[int, int]:
        """Module index -> gun: modules that served their turn go to the guns that wait longest without any."""
        waiting = [gun for gun in self.asking if not self.held[gun.gun] and self._has_waited(gun)]
        waiting.sort(key=lambda gun: (gun.waiting_since_ms, gun.gun))
        served = [holding for gun in self.asking for holding in self.held[gun.gun] if self._turn_over(holding)]
        counts = {gun: len(holdings) for gun, holdings in self.held.items()}
        place = {gun.gun: place for place, gun in enumerate(order)}
        turns: dict[int, int] = {}
        for gun in waiting:
            # From the gun that has most, so that a gun loses its last module only when nobody has two. Else from the
            # last in the order: one further ahead would take a module from the last at once, two moves instead of one.
            served.sort(key=lambda holding: (-counts[holding.gun], -place[holding.gun], holding.module))
            for holding in served:
                if self.reach[gun.gun] >> self.index[holding.module] & 1:
                    turns[self.index[holding.module]] = gun.gun
                    counts[holding.gun] -= 1
                    served.remove(holding)
                    break
        return turns

    def _has_waited(self, gun: GunRequest) -> bool:
        return gun.waiting_since_ms is not None and gun.waiting_since_ms + self.turn_gap_ms <= self.now_ms

    def _turn_over(self, holding: Holding) -> bool:
        period_ms = self.limits.rotation_period_ms
        return 0 < period_ms <= self.now_ms - holding.since_ms

    def _pool(self) -> Pool:
        pool = Pool(self.power_w, [0] * len(self.offers))
        for index, offer in enumerate(self.offers):
            if offer.busy_until_ready:
                pool.busy |= 1 << index
        for holdings in self.held.values():
            for holding in holdings:
                index = self.index[holding.module]
                pool.holder[index] = holding.gun
                pool.held[holding.gun] = pool.held.get(holding.gun, 0) | 1 << index
                pool.taken |= 1 << index
                if holding.excess_since_ms is not None:
                    pool.excess |= 1 << index
        pool.rank = self._ranks()
        return pool

    def _ranks(self) -> dict[int, list[int]]:
        """Gun -> place of each module by hours and wear; nothing when hours alone tell."""
        hours = [offer.hours for offer in self.offers]
        if len(set(hours)) == len(hours) or not any(offer.wear for offer in self.offers):
            return {}
        ranks: dict[int, list[int]] = {}
        for gun in self.asking:
            wear = [(offer.hours, offer.wear.get(gun.gun, 0), index) for index, offer in enumerate(self.offers)]
            places = {index: place for place, (_, _, index) in enumerate(sorted(wear))}
            ranks[gun.gun] = [places[index] for index in range(len(wear))]
        return ranks

    # --- the next assignment --------------------------------------------------------------------------------------

    def _hold(self, portions: Sequence[Portion]) -> dict[int, list[Holding]]:
        to_gun = {index: portion.gun for portion in portions for index in indices(portion.modules)}
        before = {holding.module: holding for mine in self.held.values() for holding in mine}
        held: dict[int, list[Holding]] = {gun: [] for gun in self.held}
        for index, offer in enumerate(self.offers):
            holding = self._next_holding(offer.module, to_gun.get(index), before.get(offer.module))
            if holding is not None:
                held[holding.gun].append(holding)
        for mine in held.values():
            mine.sort(key=_by_module)
        return held

    def _next_holding(self, module: int, gun: int | None, before: Holding | None) -> Holding | None:
        if gun is None:
            return None if before is None else self._linger(before)
        if before is None:
            return Holding(module, gun, self.now_ms)
        if before.gun != gun:
            return Holding(module, gun, self.now_ms, moved=True)
        return before if before.excess_since_ms is None else _with_excess(before, None)

    def _linger(self, holding: Holding) -> Holding | None:
        """Nobody needs this module: its gun keeps it for release_delay, in case the demand comes back."""
        if self.limits.release_delay_ms <= 0:
            return None
        if holding.excess_since_ms is None:
            return _with_excess(holding, self.now_ms)
        over = self.now_ms >= holding.excess_since_ms + self.limits.release_delay_ms
        return None if over else holding

    def _next_due_ms(
        self, claims: Sequence[Claim], held: dict[int, list[Holding]], falling: Sequence[tuple[int, int]]
    ) -> int | None:
        somebody_has_none = any(not held[claim.gun] for claim in claims)
        due = [since_ms + NOISE_MS for _, since_ms in falling]
        if self.scarce and any(self._turn_over(holding) for mine in held.values() for holding in mine):
            since_ms = [gun.waiting_since_ms for gun in self.asking if not held[gun.gun]]
            due += [(self.now_ms if at_ms is None else at_ms) + self.turn_gap_ms for at_ms in since_ms]
        for mine in held.values():
            for holding in mine:
                if holding.excess_since_ms is not None:
                    due.append(holding.excess_since_ms + self.limits.release_delay_ms)
                if holding.moved:
                    due.append(holding.since_ms + self.stay_ms)
                if self.scarce and somebody_has_none and self.limits.rotation_period_ms > 0:
                    due.append(holding.since_ms + self.limits.rotation_period_ms)
        return min((at_ms for at_ms in due if at_ms > self.now_ms), default=None)

    # --- results --------------------------------------------------------------------------------------------------

    def _results(self, portions: Sequence[Portion], held: dict[int, list[Holding]]) -> tuple[GunResult, ...]:
        by_gun = {portion.gun: portion for portion in portions}
        return tuple(self._result(gun, by_gun.get(gun.gun), held) for gun in self.guns)

    def _result(self, gun: GunRequest, portion: Portion | None, held: dict[int, list[Holding]]) -> GunResult:
        mine = held.get(gun.gun, ())
        modules = tuple([holding.module for holding in mine])
        needed = sum([holding.excess_since_ms is None for holding in mine])
        limited_site = self.limits.site_budget_kw is not None
        if portion is None:
            return GunResult(gun.gun, modules, 0.0, 0.0 if limited_site else None, 0, 0, why_nothing(gun))
        may_w = min(self.wanted_w[gun.gun], portion.share_w)
        gets_w = min(may_w, sum([self.power_w[index] for index in indices(portion.modules)]))
        precharges = gun.precharge_only and bool(portion.modules)  # with whatever its one module gives
        missing = 0 if precharges else -(-(may_w - gets_w) // self.module_w)
        return GunResult(
            gun=gun.gun,
            modules=modules,
            allocated_kw=0.0 if gun.precharge_only else min(gun.target_kw, gets_w / 1000),
            share_kw=gets_w / 1000 if limited_site else None,
            need=-(-may_w // self.module_w),
            missing=missing,
            reason=self._why_short(gun, missing, gets_w, held) if missing else why_so_much(gun, may_w / 1000, needed),
        )

    def _masks(self, held: dict[int, list[Holding]]) -> Mapping[int, int]:
        """Gun -> the modules that it gets, as a mask."""
        if self._given is None:
            self._given = {n: sum([1 << self.index[holding.module] for holding in mine]) for n, mine in held.items()}
        return self._given

    def _why_short(self, gun: GunRequest, missing: int, gets_w: int, held: dict[int, list[Holding]]) -> Reason:
        most = self._max_modules(gun)
        if len(held[gun.gun]) >= most:
            return reasons.module_limit(gets_w / 1000, most)
        reach, allowed = self.reach[gun.gun], self.allowed[gun.gun]
        holders, unreachable = self._in_the_way_of(reach, allowed, held)
        others = len(holders) - bool(self._masks(held).get(gun.gun, 0) & reach)
        named = tuple([holder for holder in holders[: NAMED + 1] if holder != gun.gun][:NAMED])
        pinned_elsewhere = (allowed & ~reach).bit_count()
        return why_short(missing, named, others, unreachable, len(self.offers) - pinned_elsewhere)

    def _in_the_way_of(self, reach: int, allowed: int, held: dict[int, list[Holding]]) -> tuple[list[int], list[int]]:
        """Guns that hold a module within `reach`, and the modules to which no contactor is in service."""
        known = self._in_the_way.get((reach, allowed))
        if known is None:
            holders = sorted(gun for gun, mine in self._masks(held).items() if mine & reach)
            beyond = sorted(offer.module for index, offer in enumerate(self.offers) if not allowed >> index & 1)
            known = self._in_the_way[reach, allowed] = holders, beyond
        return known


def _by_module(holding: Holding) -> int:
    return holding.module


def _with_excess(holding: Holding, since_ms: int | None) -> Holding:
    return Holding(holding.module, holding.gun, holding.since_ms, holding.moved, since_ms)


def _target_w(gun: GunRequest) -> int:
    return PRECHARGE_W if gun.precharge_only else _watts(gun.target_kw)


def _watts(kw: float) -> int:
    return round(kw * 1000)
