"""The limits and budgets of a process: who may call, asked on the caller's path, and what it has cost, counted in the
recorder's thread.

The caller's path is a few look-ups and, for a feature or customer with rates, one short lock; it never sees a file or a price.
A budget that is spent is found by the recorder's thread, which leaves its verdict in `_over`: so a budget is overshot by what
is under way and by what a flush (250 ms) has not seen yet, of other processes by what REFRESH_US has not.

* **Rates** are per host and service: each process has its share, the limit divided by the live processes of its service.
* **Budgets** are over all processes that write the same telemetry. Until it has been read for the first time they block
  nobody, and while it cannot be read the last known amount goes on, with this process's own calls: never a call is blocked
  for an error of ours.
* An unknown price is no zero: the heartbeat says which model's part of a budget cannot be watched.
* Customers' spending is known for those whom the rollups name (the busiest thousand of each process) and of them for those
  who have spent most (`core.spending.MAX_SCOPES`), and rates are kept for MAX_BUCKETS; whoever is beyond them is held by the
  feature's limits only. Features that the configuration does not name are bounded as well, and apart from customers; what it
  names always has its limits.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from console.core.allowances import (
    MINUTE_US,
    Bucket,
    BudgetPolicy,
    CustomerPolicy,
    Exceeded,
    RatePolicy,
    estimated_tokens,
    tokens_of,
    too_large,
    worst,
)
from console.core.prices import cost_usd
from console.core.redaction import clean_name
from console.core.rollups import US
from console.core.spending import Period, Spending, Sums, bounded, costs_of, day_of, limits_of, month_of, told_by
from console.errors import ConsoleError
from console.runtime.clock import now_us, steady_us
from console.store.configuration import load_prices
from console.store.sqlite import reads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from console.core.allowances import What
    from console.core.calls import AttemptEnd, CallEnd, Facts
    from console.core.prices import Prices
    from console.core.targets import FeaturePolicy, Routing

REFRESH_US: Final = 5_000_000
HOUR_S: Final = 3600
MAX_BUCKETS: Final = 20_000
"""Of customers, and of features; and the budgets that can be spent at once."""
MAX_TOLD: Final = 50
"""Limits that one heartbeat tells of."""
MAX_UNPRICED: Final = 20
LIVE_S: Final = 15
"""Three heartbeats."""
MISSED: Final = 3
"""A process is given up that was not heard of in so many looks: a minute in which everything stood still, or a clock that
jumped, must not give each process the whole limit."""


class Charge(NamedTuple):
    """What a call has taken before its tokens were known: put right once it has ended."""

    tokens: int
    processes: int
    """Among which the limits were shared then: what was taken is given back as it was taken."""
    taken: tuple[tuple[Bucket, float], ...]
    """The buckets of tokens, each with its limit a minute."""


class _Rated(NamedTuple):
    """One rate that a call is asked for."""

    bucket: Bucket
    what: What
    scope: str
    limit: float
    units: float
    policy: RatePolicy


class _Known(NamedTuple):
    """Of a limit that is gone beyond."""

    exceeded: Exceeded
    since_us: int
    """UTC."""
    last_us: int
    """Steady."""


class Allowances:
    """One per process. `check`, `again` and `settle` are for every thread; `spend`, `tick` and what tells of them are the
    recorder thread's own."""

    def __init__(self, routing: Routing, prices_file: Path | None, host: str, service: str, wake: Callable[[], None]) -> None:
        """`wake`: called when a limit is gone beyond that was not before."""
        self._routing = routing
        self._prices_file = prices_file
        self._host, self._service, self._wake = host, service, wake
        self._default = routing.default if routing.default.is_limited else None
        self._features = {name: policy if policy.is_limited else None for name, policy in routing.features.items()}
        whole = routing.customers
        self._named = {clean_name(name): _inherited(own, whole) for name, own in whole.named.items()}
        self._rates_customers = any(policy.rate is not None for policy in (whole, *self._named.values()))
        self._budgets_customers = any(policy.budget is not None for policy in (whole, *self._named.values()))
        budgets = [budget for _, budget in self._configured()] + ([whole.budget] if whole.budget is not None else [])
        budgets += [routing.default.budget] if routing.default.budget is not None else []
        self._has_budgets = bool(budgets)
        self._has_months = any(budget.usd_per_month is not None for budget in budgets)
        self._own = frozenset(
            {"all", *(f"feature:{name}" for name in routing.features), *(f"customer:{name}" for name in self._named)}
        )
        """The scopes that the configuration names: as many as there are, they have their limits."""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, What], Bucket] = {}
        self._customer_buckets: dict[tuple[str, What], Bucket] = {}
        self._beyond: dict[tuple[str, What], _Known] = {}
        """Rates that calls went beyond; each has a bucket that is not idle."""
        self._over: dict[str, tuple[tuple[_Known, Period], ...]] = {}
        """Budgets that are spent, by scope. Replaced, never changed."""
        self._processes = 1
        self._begin_spending()

    def _begin_spending(self) -> None:
        self._spending = Spending(self._own)
        self._prices: Prices | None = None
        self._touched: set[str] = set()
        self._day: Period | None = None
        self._base: _Base | None = None
        self._fleet = Fleet()
        self._due_us = 0
        self._has_looked = self._is_read = self._is_inherited = False
        self._unpriced: dict[str, None] = {}
        self._problem: str | None = None
        self._price_problem: str | None = None

    @staticmethod
    def of(routing: Routing, prices_file: Path | None, host: str, service: str, wake: Callable[[], None]) -> Allowances | None:
        """Those of a configuration, or None when it has no limit at all."""
        made = Allowances(routing, prices_file, host, service, wake)
        has_any = made._has_budgets or made._rates_customers or made._default is not None or any(made._features.values())
        return made if has_any else None

    def after_fork(self) -> None:
        """In the child: rates begin anew; the parent's verdict on the budgets stands until the telemetry has been read."""
        over = self._over
        self._begin()
        self._over, self._is_inherited = over, bool(over)

    # -- on the caller's path ------------------------------------------------------------------------------------------

    def concern(self, facts: Facts) -> bool:
        """Whether a call has to be asked for at all."""
        is_customers = self._rates_customers and facts.customer is not None
        return is_customers or self._features.get(facts.feature, self._default) is not None or bool(self._over)

    def check(self, facts: Facts, body: Any, *, is_batch: bool = False) -> Exceeded | Charge | None:
        """The limit that stops a call about to begin, or what it has taken. One with `on_exceed: alert` stops nobody: it is
        told in the heartbeat. A batch's requests are looked at one by one; rates are not asked, its tokens come later."""
        policy = self._features.get(facts.feature, self._default)
        if policy is not None and (policy.max_tokens is not None or policy.max_input_chars is not None):
            found = self._too_large(facts.feature, policy, body, is_batch=is_batch)
            if found is not None:
                return found
        over = self._over
        if over:
            found = _spent(over, facts)
            if found is not None:
                return found
        if is_batch:
            return None
        rate = None if policy is None else policy.rate
        of_customer = None
        if self._rates_customers and facts.customer is not None:
            of_customer = self._customer(facts.customer).rate
        return None if rate is None and of_customer is None else self._take(facts, rate, of_customer, body)

    def again(self, facts: Facts) -> Charge | None:
        """For a call that the SDK repeats: it was asked when it began, but what it took for its tokens was given back when
        that attempt had failed."""
        policy, rates = self._features.get(facts.feature, self._default), []
        if policy is not None and policy.rate is not None:
            rates.append((f"feature:{facts.feature}", policy.rate))
        if self._rates_customers and facts.customer is not None and (own := self._customer(facts.customer).rate) is not None:
            rates.append((f"customer:{facts.customer}", own))
        with self._lock:
            taken = tuple(
                (bucket, rate.tokens_per_minute)
                for scope, rate in rates
                if rate.tokens_per_minute is not None and (bucket := self._bucket(scope, "tokens_per_minute")) is not None
            )
        return Charge(0, self._processes, taken) if taken else None

    def settle(self, charge: Charge, end: AttemptEnd) -> None:
        """A call has ended: its tokens are what they are, those of attempts that broke among them. Never raises."""
        tokens = tokens_of(end.usage) + sum(tokens_of(attempt.usage) for attempt in end.earlier)
        now = steady_us()
        with self._lock:
            more = tokens * self._processes - charge.tokens * charge.processes
            for bucket, limit in charge.taken:
                bucket.take(now, MINUTE_US / limit, more)
                bucket.note(now, tokens - charge.tokens)

    def _too_large(self, feature: str, policy: FeaturePolicy, body: Any, *, is_batch: bool) -> Exceeded | None:
        scope = f"feature:{feature}"
        look = partial(too_large, max_tokens=policy.max_tokens, max_input_chars=policy.max_input_chars, scope=scope, key="")
        if not is_batch:
            found = look(body)
        else:
            requests = body.get("requests") if isinstance(body, dict) else None
            parts = [part for part in requests if isinstance(part, dict)] if isinstance(requests, list | tuple) else []
            each = (look(part.get("params"), request=clean_name(str(part.get("custom_id")))) for part in parts)
            found = next((one for one in each if one is not None), None)
        return None if found is None else found._replace(key=self._key(scope, found.what))

    def _take(
        self, facts: Facts, rate: RatePolicy | None, of_customer: RatePolicy | None, body: Any
    ) -> Exceeded | Charge | None:
        """Takes what a call needs of every rate, or of none: what one of them refuses must not use the others up."""
        policies = [policy for policy in (rate, of_customer) if policy is not None]
        most = max((policy.tokens_per_minute or 0.0 for policy in policies), default=0.0)
        tokens = estimated_tokens(body, max(1, round(most))) if most else 0
        now, beyond, is_new = steady_us(), [], False
        with self._lock:
            processes = self._processes  # the recorder's thread may change it meanwhile
            rates = [
                *(() if rate is None else self._rates(f"feature:{facts.feature}", rate, tokens)),
                *(() if of_customer is None else self._rates(f"customer:{facts.customer}", of_customer, tokens)),
            ]
            for one in rates:
                wait_us = one.bucket.wait_us(now, MINUTE_US * processes / one.limit)
                one.bucket.note(now, one.units)
                if wait_us > 0:
                    asked = one.bucket.asked(now) * processes
                    found = Exceeded(
                        one.what, one.limit, max(asked, one.limit), one.scope, one.policy.on_exceed, "", wait_us / US
                    )
                    beyond.append(found)
                    is_new |= self._note(found, now)
            stops = worst(beyond) if beyond else None
            if stops is None or stops.on_exceed == "alert":
                stops = None
                if beyond:  # what went past a rate that only alerts takes nothing of it
                    passed = {(found.scope, found.what) for found in beyond}
                    rates = [one for one in rates if (one.scope, one.what) not in passed]
                for one in rates:
                    one.bucket.take(now, MINUTE_US * processes / one.limit, one.units)
        if is_new:
            self._wake()
        if stops is not None:
            return stops._replace(key=self._key(stops.scope, stops.what))
        taken = tuple((one.bucket, one.limit) for one in rates if one.what == "tokens_per_minute")
        return Charge(tokens, processes, taken) if taken else None

    def _rates(self, scope: str, rate: RatePolicy, tokens: int) -> Iterator[_Rated]:
        """The rates of a scope with their buckets. The lock is held."""
        if rate.requests_per_minute is not None and (bucket := self._bucket(scope, "requests_per_minute")) is not None:
            yield _Rated(bucket, "requests_per_minute", scope, rate.requests_per_minute, 1, rate)
        if rate.tokens_per_minute is not None and (bucket := self._bucket(scope, "tokens_per_minute")) is not None:
            yield _Rated(bucket, "tokens_per_minute", scope, rate.tokens_per_minute, tokens, rate)

    def _bucket(self, scope: str, what: What) -> Bucket | None:
        buckets = self._customer_buckets if scope.startswith("customer:") else self._buckets
        bucket = buckets.get((scope, what))
        if bucket is None and (len(buckets) < MAX_BUCKETS or scope in self._own):
            bucket = buckets[scope, what] = Bucket()
        return bucket

    def _note(self, found: Exceeded, now: int) -> bool:
        """Remembers a rate that was gone beyond; whether it is news. The lock is held."""
        known = self._beyond.get((found.scope, found.what))
        is_news = known is None or now - known.last_us > MINUTE_US
        since_us = now_us() if known is None or is_news else known.since_us
        self._beyond[found.scope, found.what] = _Known(found, since_us, now)
        return is_news

    # -- in the recorder's thread --------------------------------------------------------------------------------------

    def spend(self, call: CallEnd) -> None:
        """A call has ended and will be recorded."""
        if not self._has_budgets or (call.last.usage is None and call.usage is None):
            return
        prices = self._priced()
        if prices is None:
            return
        usd, unpriced = costs_of(call, prices)
        self._unknown(unpriced)
        if usd:
            facts = call.last.facts
            named = ("all", f"feature:{facts.feature}", f"customer:{facts.customer}")
            scopes = self._budgeted(named if facts.customer is not None else named[:2])
            self._spending.add(scopes, (call.started_us + call.duration_us) // US, usd)
            self._touched.update(scopes)

    def tick(self, reading: Callable[[], AbstractContextManager[Any]] | None) -> None:
        """Before the first flush and after each. `reading` opens the telemetry; None when not everything that has ended stands
        in it. Never raises for what is wrong with a file."""
        now = now_us()
        if reading is not None and steady_us() >= self._due_us:
            # What is read before the first flush has no heartbeat of this process, and perhaps there is no file yet.
            self._due_us, self._has_looked = steady_us() + (REFRESH_US if self._has_looked else 0), True
            self._problem = self._price_problem = None
            try:
                with reading() as connection:
                    self._read(connection, now)
            except reads.NothingRecorded:
                pass
            except (ConsoleError, OSError) as error:
                self._problem = f"what other processes have spent is not known: {error}"
            self._sweep()
        if self._has_budgets:
            self._judge(now)

    def problems(self) -> list[str]:
        """What the heartbeat complains of."""
        found = [problem for problem in (self._price_problem, self._problem) if problem is not None]
        if self._unpriced:
            found.append(f"budgets cannot be watched for what {', '.join(self._unpriced)} costs: no price is known")
        return found

    def told(self) -> dict[str, Any]:
        """What the heartbeat says of limits."""
        return {"exceeded": self.exceeded(), "budgets": self.budgets()}

    def exceeded(self) -> list[dict[str, Any]]:
        """What is gone beyond now, for the heartbeat: budgets that are spent, rates of the last minute."""
        now_s, steady = now_us() // US, steady_us()
        budgets = [known for found in self._over.values() for known, period in found if period.holds(now_s)]
        with self._lock:
            rates = [known for known in self._beyond.values() if steady - known.last_us <= MINUTE_US]
        return [_told(known.exceeded, known.since_us) for known in (budgets + rates)[:MAX_TOLD]]

    def budgets(self) -> list[dict[str, Any]]:
        """What is spent of the configured budgets, the nearest to its end first; nothing before it is known."""
        now_s = now_us() // US
        if not self._is_read:
            return []
        seen = {period: self._spending.spent(period) for period in (day_of(now_s), month_of(now_s))}
        scopes = {scope for scope, _ in self._configured()}
        scopes.update(scope for spent in seen.values() for scope in spent if not scope.startswith("customer:"))
        rows = [
            (seen[limit.period].get(scope, 0.0), limit.usd, scope, limit.what)
            for scope in scopes
            if (budget := self._budget(scope)) is not None
            for limit in limits_of(budget, now_s)
        ]
        rows.sort(key=lambda row: (-row[0] / max(row[1], 1e-9), row[2:]))
        return [
            {"scope": scope, "what": what, "limit": limit, "used": round(used, 6)}
            for used, limit, scope, what in rows[:MAX_TOLD]
        ]

    def _configured(self) -> Iterator[tuple[str, BudgetPolicy]]:
        """The scopes that the configuration names, with their budgets."""
        if self._routing.budget is not None:
            yield "all", self._routing.budget
        for name, policy in self._routing.features.items():
            if policy.budget is not None and name != "default":
                yield f"feature:{name}", policy.budget
        for name, own in self._named.items():
            if own.budget is not None:
                yield f"customer:{name}", own.budget

    def _budget(self, scope: str) -> BudgetPolicy | None:
        kind, _, name = scope.partition(":")
        if kind == "all":
            return self._routing.budget
        return self._routing.policy_of(name).budget if kind == "feature" else self._customer(name).budget

    def _budgeted(self, scopes: Iterable[str]) -> list[str]:
        """Those that have a budget: nobody asks what the others have spent."""
        return [scope for scope in scopes if self._budget(scope) is not None]

    def _customer(self, name: str) -> CustomerPolicy:
        return self._named.get(name, self._routing.customers)

    def _key(self, scope: str, what: What) -> str:
        """Where the configuration says a limit."""
        kind, _, name = scope.partition(":")
        part = f"rate.{what}" if what.endswith("per_minute") else what
        if kind == "all":
            return part
        if kind == "customer":
            own = self._routing.customers.named.get(name)
            has_own = own is not None and (own.rate if part.startswith("rate.") else own.budget) is not None
            return f"customers.named.{name}.{part}" if has_own else f"customers.{part}"
        field = "rate" if part.startswith("rate.") else "budget" if what.startswith("budget") else what
        own_policy = self._routing.features.get(name)
        is_own = own_policy is not None and getattr(own_policy, field) != getattr(self._routing.default, field)
        return f"features.{name if is_own else 'default'}.{part}"

    def _priced(self) -> Prices | None:
        if self._prices is None and self._price_problem is None:  # tried again at the next refresh
            try:
                self._prices = load_prices(self._prices_file)
            except ConsoleError as error:
                self._price_problem = f"budgets cannot be watched: {error}"
        return self._prices

    def _unknown(self, models: Iterable[str]) -> None:
        for model in models:
            if len(self._unpriced) < MAX_UNPRICED:
                self._unpriced[model] = None

    def _read(self, connection: Any, now: int) -> None:
        """What everybody has spent, from the rollups of an hour: those of the last two hours each time, the rest of the day
        and the month only when the hour has changed."""
        alive = reads.heartbeats_of(connection, self._host, self._service)
        self._processes = self._fleet.look(alive, now)
        if not self._has_budgets or (prices := self._priced()) is None:
            return
        now_s = now // US
        day, month = day_of(now_s), month_of(now_s)
        recent_s = max(day.start_s, now_s // HOUR_S * HOUR_S - HOUR_S)
        base = self._base
        if base is None or (base.day, base.recent_s) != (day, recent_s):
            of_day: dict[str, float] = {}
            of_month: dict[str, float] = {}
            self._add(connection, prices, day.start_s, recent_s, of_day)
            if self._has_months:
                self._add(connection, prices, month.start_s, day.start_s, of_month)
                self._add(connection, prices, day.end_s, month.end_s, of_month)
            base = _Base(day, recent_s, bounded(of_day, self._own), bounded(of_month, self._own))
            self._base = base  # not before it is whole: what fails half way is read again
        recent: dict[str, float] = {}
        self._unpriced = {}
        self._add(connection, prices, recent_s, day.end_s, recent)
        today = (base.of_day, Sums(recent))
        self._touched |= self._spending.learn(day, *told_by(self._own, *today))
        if self._has_months:
            self._touched |= self._spending.learn(month, *told_by(self._own, *today, base.of_month))
        self._is_read, self._is_inherited = True, False

    def _add(self, connection: Any, prices: Prices, since_s: int, until_s: int, usd: dict[str, float]) -> None:
        """Adds what was spent from `since_s` to before `until_s`, both full hours."""
        if since_s >= until_s:
            return
        for row in reads.series_sums(connection, HOUR_S, since_s, until_s):
            scopes = self._budgeted(("all", f"feature:{row.feature}"))
            self._add_row(prices, row.model, row.band, row.tokens, scopes, usd)
        if self._budgets_customers:
            for customer in reads.customer_sums(connection, HOUR_S, since_s, until_s):
                scopes = self._budgeted((f"customer:{customer.customer}",))
                self._add_row(prices, customer.model, customer.band, customer.tokens, scopes, usd)

    def _add_row(
        self, prices: Prices, model: str, band: str, tokens: tuple[int, ...], scopes: Iterable[str], usd: dict[str, float]
    ) -> None:
        price = prices.price_of(model, band)
        if price is not None:
            cost = cost_usd(price, tokens)
            for scope in scopes:
                usd[scope] = usd.get(scope, 0.0) + cost
        elif any(tokens):
            self._unknown((model,))

    def _judge(self, now: int) -> None:
        """Leaves for the caller's path which budgets are spent: of all scopes when the day has changed, else of those that
        have spent something."""
        now_s = now // US
        day = day_of(now_s)
        if self._is_inherited:  # after a fork: the parent knew more
            self._touched.clear()  # all are looked at once it is known
            return
        is_all = day != self._day
        if not is_all and not self._touched:
            return
        scopes: set[str] = self._touched
        self._touched, self._day = set(), day
        if is_all:
            scopes = {scope for scope, _ in self._configured()} | {
                *self._spending.spent(day),
                *self._spending.spent(month_of(now_s)),
            }
        over, is_news = {} if is_all else dict(self._over), False
        for scope in scopes:
            budget = self._budget(scope)
            found = () if budget is None else tuple(self._spent_of(scope, budget, now))
            if not found:
                over.pop(scope, None)
            elif scope in over or len(over) < MAX_BUCKETS or scope in self._own:
                over[scope] = found
                is_news |= scope not in self._over
        self._over = over
        if is_news:
            self._wake()

    def _spent_of(self, scope: str, budget: BudgetPolicy, now: int) -> Iterator[tuple[_Known, Period]]:
        before = {known.exceeded.what: known for known, period in self._over.get(scope, ()) if period.holds(now // US)}
        for limit in limits_of(budget, now // US):
            used = self._spending.spent(limit.period).get(scope, 0.0)
            if used >= limit.usd:
                key = self._key(scope, limit.what)
                found = Exceeded(limit.what, limit.usd, used, scope, budget.on_exceed, key)
                known = before.get(limit.what)
                yield _Known(found, now if known is None else known.since_us, 0), limit.period

    def _sweep(self) -> None:
        """Lets go of buckets that say nothing any more; one at a time, nobody waits for all of them."""
        now = steady_us()
        with self._lock:
            kinds = [(buckets, tuple(buckets.items())) for buckets in (self._buckets, self._customer_buckets)]
            self._beyond = {name: known for name, known in self._beyond.items() if now - known.last_us <= MINUTE_US}
        for buckets, items in kinds:
            for key, bucket in items:
                if bucket.is_idle(now):
                    with self._lock:
                        if bucket.is_idle(now):
                            buckets.pop(key, None)


class _Base(NamedTuple):
    """What was spent before the hours that are read each time."""

    day: Period
    recent_s: int
    of_day: Sums
    of_month: Sums
    """Without this day."""


class Fleet:
    """The processes among which a rate is shared: by what is heard of them, not by clocks."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[int, int]] = {}
        """By process: its last heartbeat, and in how many looks there was no newer one."""

    def look(self, beats: Mapping[str, tuple[int, bool]], now: int) -> int:
        """How many live, one at least. `beats`: of each process its last heartbeat (UTC microseconds), and whether it said
        that it ends. One that is seen for the first time lives when its heartbeat is young."""
        heard = {}
        for name in self._heard.keys() | beats.keys():
            at, is_over = beats.get(name, (0, False))
            known = self._heard.get(name)
            if known is None:
                missed = 0 if abs(now - at) <= LIVE_S * US else MISSED
            else:
                missed = 0 if at not in (0, known[0]) else known[1] + 1
            if not is_over and (name in beats or missed < MISSED):
                heard[name] = (at or (known or (0, 0))[0], min(missed, MISSED))
        self._heard = heard
        return max(1, sum(missed < MISSED for _, missed in heard.values()))


def _inherited(own: CustomerPolicy, whole: CustomerPolicy) -> CustomerPolicy:
    """A named customer's limits; what it does not say it shares with the others."""
    return CustomerPolicy(
        own.rate if own.rate is not None else whole.rate, own.budget if own.budget is not None else whole.budget
    )


def _spent(over: Mapping[str, tuple[tuple[_Known, Period], ...]], facts: Facts) -> Exceeded | None:
    """The spent budget that stops a call, or None."""
    now_s = now_us() / US
    scopes = ("all", f"feature:{facts.feature}", f"customer:{facts.customer}")
    found = worst(
        known.exceeded._replace(retry_after_s=period.end_s - now_s)
        for scope in scopes
        for known, period in over.get(scope, ())
        if period.holds(now_s)
    )
    return None if found is None or found.on_exceed == "alert" else found


def _told(found: Exceeded, since_us: int) -> dict[str, Any]:
    return {
        "scope": found.scope,
        "what": found.what,
        "limit": found.limit,
        "used": round(found.used, 6),
        "on_exceed": found.on_exceed,
        "since": since_us,
    }
