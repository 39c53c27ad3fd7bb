"""How ended calls add up: the keys and the sums of every rollup, as plain dictionaries. Pure.

Three tiers hold the same sums at 10 s, 5 min and 1 h, so that a reader picks the coarsest that answers its question; the
customers' have two, a minute and an hour. All are written in the transaction of the raw rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.calls import LONG_PROMPT_TOKENS, AttemptEnd, CallEnd, Usage
from console.core.latency import bucket_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

TIERS_S: Final = (10, 300, 3600)
CUSTOMER_TIERS_S: Final = (60, 3600)
OTHER_CUSTOMERS: Final = "(others)"
US: Final = 1_000_000


class Series(NamedTuple):
    """The dimensions of a call rollup."""

    feature: str
    target: str
    model: str
    provider: str
    prompt: str
    prompt_version: str
    served_by: str
    outcome: str
    band: str
    """"long" for prompts above LONG_PROMPT_TOKENS, which some models price higher; else empty."""

    @property
    def id(self) -> str:
        """16 hex characters of a hash over the dimensions: the same on every host, so rollups merge without asking."""
        return series_id_of(self)


@lru_cache(maxsize=4096)
def series_id_of(series: Series) -> str:
    """See `Series.id`."""
    return blake2b("\x1f".join(series).encode("utf-8", "replace"), digest_size=8).hexdigest()


class CustomerKey(NamedTuple):
    tier_s: int
    start_s: int
    feature: str
    customer: str
    target: str
    model: str
    band: str


class AttemptKey(NamedTuple):
    tier_s: int
    start_s: int
    feature: str
    target: str
    model: str
    provider: str
    result: str
    """ok, the HTTP status as text, or the name of what failed without one."""


@dataclass(slots=True)
class Sums:
    """What is summed per rollup row."""

    calls: int = 0
    failed: int = 0
    blocked: int = 0
    attempts: int = 0
    tokens: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    """In the order of `Usage`."""

    def add(self, call: CallEnd) -> None:
        """Adds one call."""
        self.calls += 1
        self.failed += call.last.outcome == "failed"
        self.blocked += call.last.outcome in ("blocked", "degraded")
        self.attempts += len(call.attempts)
        if call.last.usage is not None:
            self.add_usage(call.last.usage)

    def add_usage(self, usage: Usage) -> None:
        """Adds the tokens of an attempt that is no call's end."""
        for index, count in enumerate(usage):
            self.tokens[index] += count

    def merge(self, other: Sums) -> None:
        """Adds what was summed elsewhere."""
        self.calls += other.calls
        self.failed += other.failed
        self.blocked += other.blocked
        self.attempts += other.attempts
        for index, count in enumerate(other.tokens):
            self.tokens[index] += count


@dataclass(slots=True)
class Rollups:
    """The sums of one batch of calls."""

    series: dict[str, Series] = field(default_factory=dict)
    calls: dict[tuple[int, int, str], Sums] = field(default_factory=lambda: defaultdict(Sums))
    """By (tier_s, start_s, series id)."""
    latencies: Counter[tuple[int, int, str, str, int]] = field(default_factory=Counter)
    """By (tier_s, start_s, series id, "total" or "first", bucket)."""
    customers: dict[CustomerKey, Sums] = field(default_factory=lambda: defaultdict(Sums))
    attempts: Counter[AttemptKey] = field(default_factory=Counter)


def band_of(usage: Usage | None) -> str:
    return "long" if usage is not None and usage.prompt > LONG_PROMPT_TOKENS else ""


def series_of(call: CallEnd) -> Series:
    """The dimensions of a call."""
    last = call.last
    return Series(
        feature=last.facts.feature,
        target=last.target,
        model=last.model,
        provider=last.asked_at,
        prompt=last.facts.prompt or "",
        prompt_version=last.facts.prompt_version or "",
        served_by=last.served_by,
        outcome=last.outcome,
        band=band_of(last.usage),
    )


def start_of(at_us: int, tier_s: int) -> int:
    """The start, in UTC seconds, of the step of `tier_s` seconds that holds a time in microseconds."""
    return at_us // US // tier_s * tier_s


def add_up(calls: Iterable[CallEnd], named_customers: Collection[str]) -> Rollups:
    """The rollups of a batch. A call counts where it **ended**, so that a step is complete once it has passed; customers
    outside `named_customers` are summed as one. Each call is looked at once: the coarser tiers are summed from the finest."""
    sums = Rollups()
    for call in calls:
        _add_call(sums, call, named_customers)
    for tier_s in TIERS_S[1:]:
        for (_, start_s, series), row in [item for item in sums.calls.items() if item[0][0] == TIERS_S[0]]:
            sums.calls[tier_s, start_s // tier_s * tier_s, series].merge(row)
        for key, count in [item for item in sums.latencies.items() if item[0][0] == TIERS_S[0]]:
            sums.latencies[tier_s, key[1] // tier_s * tier_s, *key[2:]] += count
        for attempt, count in [item for item in sums.attempts.items() if item[0].tier_s == TIERS_S[0]]:
            sums.attempts[attempt._replace(tier_s=tier_s, start_s=attempt.start_s // tier_s * tier_s)] += count
    for tier_s in CUSTOMER_TIERS_S[1:]:
        for customer, row in [item for item in sums.customers.items() if item[0].tier_s == CUSTOMER_TIERS_S[0]]:
            sums.customers[customer._replace(tier_s=tier_s, start_s=customer.start_s // tier_s * tier_s)].merge(row)
    return sums


def _add_call(sums: Rollups, call: CallEnd, named_customers: Collection[str]) -> None:
    """Adds a call to the finest tiers."""
    last, series = call.last, series_of(call)
    series_id, ended_us, tier_s = series_id_of(series), call.started_us + call.duration_us, TIERS_S[0]
    start_s = start_of(ended_us, tier_s)
    sums.series[series_id] = series
    sums.calls[tier_s, start_s, series_id].add(call)
    if last.outcome in ("ok", "failed"):
        sums.latencies[tier_s, start_s, series_id, "total", bucket_of(call.duration_us)] += 1
    if last.first_token_us is not None:
        sums.latencies[tier_s, start_s, series_id, "first", bucket_of(last.first_token_us)] += 1
    customer: CustomerKey | None = None
    if last.facts.customer is not None:
        name = last.facts.customer if last.facts.customer in named_customers else OTHER_CUSTOMERS
        minute_s = start_of(ended_us, CUSTOMER_TIERS_S[0])
        customer = CustomerKey(CUSTOMER_TIERS_S[0], minute_s, series.feature, name, series.target, series.model, series.band)
        sums.customers[customer].add(call)
    for attempt in call.attempts:
        sums.attempts[_attempt_key(tier_s, attempt)] += 1
        if attempt.usage is not None and attempt is not last:  # a stream that broke is billed, at the price of its own model
            _add_broken(sums, attempt, series, start_s, customer)


def _add_broken(sums: Rollups, attempt: AttemptEnd, served: Series, start_s: int, customer: CustomerKey | None) -> None:
    """Adds the tokens of an attempt that broke, to a row that counts no call."""
    assert attempt.usage is not None  # noqa: S101 -- the caller's condition
    band = band_of(attempt.usage)
    series = served._replace(
        target=attempt.target,
        model=attempt.model,
        provider=attempt.asked_at,
        served_by="none",
        outcome="failed",
        band=band,
    )
    series_id = series_id_of(series)
    sums.series[series_id] = series
    sums.calls[TIERS_S[0], start_s, series_id].add_usage(attempt.usage)
    if customer is not None:
        key = customer._replace(target=attempt.target, model=attempt.model, band=band)
        sums.customers[key].add_usage(attempt.usage)


def _attempt_key(tier_s: int, attempt: AttemptEnd) -> AttemptKey:
    return AttemptKey(
        tier_s,
        start_of(attempt.started_us + attempt.duration_us, tier_s),
        attempt.facts.feature,
        attempt.target,
        attempt.model,
        attempt.asked_at,
        result_of(attempt),
    )


def result_of(attempt: AttemptEnd) -> str:
    """ "ok", an HTTP status of 400 and above as text, or the name of what failed without one."""
    if attempt.status is not None and attempt.status >= 400:
        return str(attempt.status)
    return "ok" if attempt.outcome == "ok" else attempt.error or attempt.outcome
