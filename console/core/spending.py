"""How much of a budget has been spent: money by scope, in days and months of UTC. Pure; no clock.

What is known comes from two sides: what this process's own calls have cost since the telemetry was read last (`add`), and what
the telemetry says all processes have spent (`learn`). **What is known of a period never goes down**: a telemetry file that was
lost, damaged and begun afresh, or a batch that was dropped, must not give a budget back. Periods are told apart by their
start, so a clock that jumps into tomorrow and back finds today's money where it was.

Names come from outside, and there may be any number of them: beside those that the configuration names, a period has MAX_SCOPES
scopes at most. The smallest spenders are let go of, and nothing is concluded from their not being told of (`Told`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.prices import cost_usd
from console.core.rollups import band_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

    from console.core.allowances import BudgetPolicy, What
    from console.core.calls import CallEnd
    from console.core.prices import Prices

DAY_S: Final = 86400
MAX_PERIODS: Final = 8
"""Days and months that are remembered; those that were asked for last."""
MAX_SCOPES: Final = 5_000
"""Customers and features of a period beside those that are named: the busiest thousand of several processes. When there are
more, a fifth is let go of, so that it is not done for every newcomer."""


class Period(NamedTuple):
    """A span of UTC seconds, the end not in it."""

    start_s: int
    end_s: int

    def holds(self, at_s: float) -> bool:
        return self.start_s <= at_s < self.end_s


def day_of(at_s: int) -> Period:
    """The day of UTC that holds a time."""
    start = at_s // DAY_S * DAY_S
    return Period(start, start + DAY_S)


def month_of(at_s: int) -> Period:
    """The month of UTC that holds a time."""
    return _month_of_day(at_s // DAY_S)


@lru_cache(maxsize=64)
def _month_of_day(day: int) -> Period:
    first = datetime.fromtimestamp(day * DAY_S, UTC).replace(day=1)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return Period(int(first.timestamp()), int(after.timestamp()))


class Limit(NamedTuple):
    """One budget of a scope."""

    what: What
    usd: float
    period: Period


def limits_of(budget: BudgetPolicy, at_s: int) -> Iterable[Limit]:
    """What a budget allows at a time."""
    if budget.usd_per_day is not None:
        yield Limit("budget_usd_per_day", budget.usd_per_day, day_of(at_s))
    if budget.usd_per_month is not None:
        yield Limit("budget_usd_per_month", budget.usd_per_month, month_of(at_s))


class Sums(NamedTuple):
    """Dollars by scope; `is_whole`: of everybody, none was let go of."""

    usd: Mapping[str, float]
    is_whole: bool = True


def bounded(usd: Mapping[str, float], named: Set[str] = frozenset()) -> Sums:
    """Of the scopes that nobody named those that have spent most, when there are too many."""
    if len(usd) <= MAX_SCOPES + len(named):
        return Sums(usd)
    others = sorted((row for row in usd.items() if row[0] not in named), key=itemgetter(1), reverse=True)
    kept = dict(others[: MAX_SCOPES * 4 // 5])
    kept.update((scope, usd[scope]) for scope in named if scope in usd)
    return Sums(kept, is_whole=False)


class Told(NamedTuple):
    """What the telemetry says was spent in a period."""

    usd: Mapping[str, float]
    """Exactly so much."""
    at_least: Mapping[str, float] | None = None
    """Of others, when not everybody is in `usd`. None: who is not in it has spent nothing that the telemetry knows."""


def told_by(named: Set[str], *parts: Sums) -> Told:
    """The sum of the parts of a period. Whoever was let go of in one of them has spent more than the others say."""
    usd: dict[str, float] = {}
    for part in parts:
        for scope, amount in part.usd.items():
            usd[scope] = usd.get(scope, 0.0) + amount
    kept = bounded(usd, named)
    gaps = [part.usd for part in parts if not part.is_whole]
    if not gaps and kept.is_whole:
        return Told(usd)
    exact = {scope for scope in kept.usd if scope in named or all(scope in gap for gap in gaps)}
    at_least = {scope: amount for scope, amount in kept.usd.items() if scope not in exact}
    return Told({scope: kept.usd[scope] for scope in exact}, at_least)


class Spending:
    """Dollars by period and scope."""

    def __init__(self, named: Set[str] = frozenset()) -> None:
        """`named`: the scopes that are never let go of."""
        self._named = named
        self._known: dict[Period, dict[str, float]] = {}
        self._unseen: dict[Period, dict[str, float]] = {}
        """What is known to have been spent and stands in no telemetry."""

    def add(self, scopes: Iterable[str], at_s: int, usd: float) -> None:
        """A call of this process that ended then has cost so much."""
        for period in (day_of(at_s), month_of(at_s)):
            known = self._of(period)
            for scope in scopes:
                known[scope] = known.get(scope, 0.0) + usd
            self._bound(period)

    def learn(self, period: Period, told: Mapping[str, float], at_least: Mapping[str, float] | None = None) -> set[str]:
        """What the telemetry says was spent by everybody in a period, this process's calls up to now among it (`Told`).
        Returns the scopes of which something else is known than before."""
        known, unseen = self._of(period), self._unseen[period]
        changed = set()
        for scope in known.keys() | told.keys() if at_least is None else told.keys():
            usd, before = told.get(scope, 0.0), known.get(scope, 0.0)
            if usd + unseen.get(scope, 0.0) < before:
                unseen[scope] = before - usd
            now = usd + unseen.get(scope, 0.0)
            if known.get(scope) != now:
                known[scope] = now
                changed.add(scope)
        for scope, usd in (at_least or {}).items():
            if usd > known.get(scope, 0.0):
                known[scope] = usd
                changed.add(scope)
        self._bound(period)
        return changed

    def _bound(self, period: Period) -> None:
        known = self._known[period]
        kept = bounded(known, self._named)
        if not kept.is_whole:
            self._known[period] = dict(kept.usd)
            self._unseen[period] = {scope: usd for scope, usd in self._unseen[period].items() if scope in kept.usd}

    def spent(self, period: Period) -> Mapping[str, float]:
        """Dollars by scope."""
        return self._of(period)

    def _of(self, period: Period) -> dict[str, float]:
        known = self._known.pop(period, None)
        if known is None:
            known = {}
            self._unseen[period] = {}
            while len(self._known) >= MAX_PERIODS:
                oldest = next(iter(self._known))
                del self._known[oldest], self._unseen[oldest]
        self._known[period] = known  # the one that was asked for last stands last
        return known


def costs_of(call: CallEnd, prices: Prices) -> tuple[float, tuple[str, ...]]:
    """Dollars that the API bills for a call, each attempt at its own model's price, as the rollups count them; and the models
    among them that have tokens and no known price, whose part is missing in the sum."""
    usd, unpriced = 0.0, []
    for end in (call.last, *(attempt for attempt in call.attempts if attempt is not call.last)):
        if end.usage is not None and any(end.usage):
            price = prices.price_of(end.model, band_of(end.usage))
            if price is None:
                unpriced.append(end.model)
            else:
                usd += cost_usd(price, end.usage)
    return usd, tuple(unpriced)
