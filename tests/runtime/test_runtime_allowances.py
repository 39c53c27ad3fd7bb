"""Limits and budgets of a process: over real telemetry, with clocks turned by hand where time is what is tested."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from console.core import spending
from console.core.allowances import Bucket, BudgetPolicy, CustomerPolicy, Exceeded, RatePolicy
from console.core.calls import AttemptEnd, CallEnd, Facts, Usage
from console.core.rollups import add_up
from console.core.targets import FeaturePolicy, Routing
from console.errors import StoreError
from console.runtime import allowances as module
from console.runtime.allowances import MAX_BUCKETS, Allowances, Charge, Fleet
from console.runtime.process import Runtime
from console.store.sqlite import reads
from console.store.sqlite.telemetry import Heartbeat, TelemetryWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from console.store.locations import Locations

US, DAY_S, HOUR_S = 1_000_000, 86400, 3600
SONNET = "claude-sonnet-5-5"
"""Two dollars per million tokens in."""
DOLLAR = Usage(input=500_000)
BODY = {"max_tokens": 10, "messages": [{"role": "user", "content": "x" * 400}]}
NOON_S = 20_000 * DAY_S + 12 * HOUR_S


def ended(
    usage: Usage | None = DOLLAR,
    feature: str = "f",
    customer: str | None = None,
    model: str = SONNET,
    at_s: float | None = None,
) -> AttemptEnd:
    at_us = time.time_ns() // 1000 if at_s is None else round(at_s * US)
    facts = Facts(feature, customer, models=(model,))
    return AttemptEnd(facts, at_us, 0, "ok", "primary", target=model, model_served=model, usage=usage)


def call_of(end: AttemptEnd) -> CallEnd:
    return CallEnd(end, (end,), end.started_us, end.duration_us)


def routing(
    *,
    budget: BudgetPolicy | None = None,
    everything: BudgetPolicy | None = None,
    rate: RatePolicy | None = None,
    customers: CustomerPolicy | None = None,
    **features: FeaturePolicy,
) -> Routing:
    policies = features or {"f": FeaturePolicy(rate=rate, budget=budget)}
    return Routing(features=policies, budget=everything, customers=customers or CustomerPolicy())


class Clock:
    """Both clocks, turned by hand; the wall clock alone can jump."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.wall_us, self.steady_us = NOON_S * US, 10**12
        patch.setattr(module, "now_us", lambda: self.wall_us)
        patch.setattr(module, "steady_us", lambda: self.steady_us)

    def pass_s(self, seconds: float) -> None:
        self.wall_us += round(seconds * US)
        self.steady_us += round(seconds * US)

    def jump_s(self, seconds: float) -> None:
        self.wall_us += round(seconds * US)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def allowances_of(routing: Routing, wake: Callable[[], None] = lambda: None, prices: Path | None = None) -> Allowances:
    made = Allowances.of(routing, prices, "host", "service", wake)
    assert made is not None
    return made


def stopped(allowances: Allowances, feature: str = "f", customer: str | None = None) -> Exceeded | None:
    found = allowances.check(Facts(feature, customer), BODY)
    return found if isinstance(found, Exceeded) else None


class Books:
    """A telemetry file that other processes write, too."""

    def __init__(self, places: Locations) -> None:
        self.path = places.telemetry
        self.writer = TelemetryWriter(self.path)

    def write(self, *ends: AttemptEnd, beat: Heartbeat | None = None) -> None:
        calls = [call_of(end) for end in ends]
        customers = {end.facts.customer for end in ends if end.facts.customer is not None}
        self.writer.write(calls, add_up(calls, customers), beat, "other")

    def tick(self, allowances: Allowances, clock: Clock) -> None:
        clock.pass_s(module.REFRESH_US / US)
        allowances.tick(self.writer.reading)


@pytest.fixture
def books(places: Locations) -> Iterator[Books]:
    made = Books(places)
    yield made
    made.writer.close()


def beat(name: str, at_us: int, *, ended_at: int | None = None, service: str = "service") -> Heartbeat:
    return Heartbeat(name, 1, "host", service, at_us, at_us, ended_at, 0, "live", 0, 0, None, {})


# -- budgets -----------------------------------------------------------------------------------------------------------------


def test_a_configuration_without_limits_has_no_allowances() -> None:
    assert Allowances.of(Routing(features={"f": FeaturePolicy(chain=("a",))}), None, "h", "s", lambda: None) is None


@pytest.mark.parametrize(
    ("policies", "scope", "key"),
    [
        (routing(budget=BudgetPolicy(3, None, "block")), "feature:f", "features.f.budget_usd_per_day"),
        (routing(budget=BudgetPolicy(None, 3, "block")), "feature:f", "features.f.budget_usd_per_month"),
        (routing(everything=BudgetPolicy(3, None, "block"), f=FeaturePolicy()), "all", "budget_usd_per_day"),
        (
            Routing(default=FeaturePolicy(budget=BudgetPolicy(3, None, "block"))),
            "feature:f",
            "features.default.budget_usd_per_day",
        ),
        (
            routing(customers=CustomerPolicy(budget=BudgetPolicy(3, None, "block")), f=FeaturePolicy()),
            "customer:acme",
            "customers.budget_usd_per_day",
        ),
        (
            routing(
                customers=CustomerPolicy(named={"acme": CustomerPolicy(None, BudgetPolicy(None, 3, "block"))}),
                f=FeaturePolicy(),
            ),
            "customer:acme",
            "customers.named.acme.budget_usd_per_month",
        ),
    ],
)
def test_a_budget_that_others_and_own_calls_have_spent_stops_the_next_call(
    policies: Routing, scope: str, key: str, books: Books, clock: Clock
) -> None:
    allowances = allowances_of(policies)
    books.write(ended(customer="acme", at_s=NOON_S - 1), ended(customer="acme", at_s=NOON_S - 1))
    books.tick(allowances, clock)
    assert stopped(allowances, customer="acme") is None
    allowances.spend(call_of(ended(customer="acme", at_s=NOON_S)))
    allowances.tick(None)
    found = stopped(allowances, customer="acme")
    assert found is not None
    assert (found.scope, found.key, found.limit, found.used, found.on_exceed) == (scope, key, 3, pytest.approx(3), "block")
    assert found.retry_after_s is not None
    assert 0 < found.retry_after_s <= 31 * DAY_S
    if scope == "customer:acme":
        assert stopped(allowances, customer="other") is None
        assert stopped(allowances) is None
    if scope == "feature:f" and "default" not in key:
        assert stopped(allowances, "g", "acme") is None


def test_until_the_telemetry_was_read_a_budget_that_is_spent_blocks_nobody(books: Books, clock: Clock) -> None:
    books.write(ended(at_s=NOON_S - 60))
    allowances = allowances_of(routing(budget=BudgetPolicy(1, None, "block")))
    assert stopped(allowances) is None
    assert allowances.budgets() == []
    allowances.tick(None)
    assert stopped(allowances) is None
    books.tick(allowances, clock)
    assert stopped(allowances) is not None


def test_spending_of_the_whole_day_and_month_counts_and_of_no_other(books: Books, clock: Clock) -> None:
    day_s, month_s = NOON_S - 12 * HOUR_S, module.month_of(NOON_S).start_s
    books.write(*(ended(at_s=at) for at in (day_s, day_s + HOUR_S, NOON_S - HOUR_S, NOON_S - 1)))
    books.write(ended(at_s=day_s - 1), ended(at_s=month_s), ended(at_s=month_s - 1))
    allowances = allowances_of(routing(budget=BudgetPolicy(100, 100, "block")))
    books.tick(allowances, clock)
    assert {row["what"]: row["used"] for row in allowances.budgets()} == {
        "budget_usd_per_day": pytest.approx(4),
        "budget_usd_per_month": pytest.approx(6),
    }
    for _ in range(3):  # the hours go by, and each is counted once
        clock.pass_s(HOUR_S)
        books.write(ended(at_s=clock.wall_us / US))
        books.tick(allowances, clock)
    assert {row["what"]: row["used"] for row in allowances.budgets()} == {
        "budget_usd_per_day": pytest.approx(7),
        "budget_usd_per_month": pytest.approx(9),
    }


def test_what_is_written_late_for_the_hour_before_counts(books: Books, clock: Clock) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(2, None, "block")))
    books.write(ended(at_s=NOON_S - 10))
    clock.pass_s(60)
    books.tick(allowances, clock)
    books.write(ended(at_s=NOON_S - 20))  # by a process whose disk was busy
    books.tick(allowances, clock)
    assert stopped(allowances) is not None


def test_another_process_is_seen_within_a_refresh(places: Locations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_US", 100_000)
    policies = routing(budget=BudgetPolicy(3, None, "block"))
    runtime = Runtime(places, routing=policies, service="one")
    runtime.current()
    runtime.record(ended())
    other = textwrap.dedent(
        f"""
        import sys, time
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from test_runtime_allowances import ended, routing
        from console.core.allowances import BudgetPolicy
        from console.runtime.process import Runtime
        from console.store.locations import locations
        runtime = Runtime(locations(Path({str(places.data)!r})), routing=routing(budget=BudgetPolicy(100)), service="one")
        runtime.current()
        runtime.record(ended())
        runtime.record(ended())
        runtime.close()
        """
    )
    assert runtime.allowances is not None
    assert stopped(runtime.allowances) is None
    subprocess.run([sys.executable, "-c", other], check=True, timeout=60)
    deadline = time.monotonic() + 30
    while (found := stopped(runtime.allowances)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert found.used == pytest.approx(3)
    deadline = time.monotonic() + 30
    while not (told := states(places)[-1].get("exceeded")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (told[0]["scope"], told[0]["what"], told[0]["limit"]) == ("feature:f", "budget_usd_per_day", 3)
    assert abs(told[0]["since"] - time.time_ns() // 1000) < 120 * US
    runtime.close()
    again = Runtime(places, routing=policies, service="one")  # a restart knows it, once it has looked
    again.current()
    assert again.allowances is not None
    deadline = time.monotonic() + 30
    while stopped(again.allowances) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    again.close()


def states(places: Locations) -> list[dict[str, Any]]:
    """The states of the heartbeats, oldest first."""
    try:
        with reads.reading_telemetry(places.telemetry) as connection:
            rows = sorted(reads.processes(connection, 0), key=lambda row: row.ended_at is None)
            return [json.loads(row.state) for row in rows] or [{}]
    except StoreError:
        return [{}]


def test_a_budget_that_alerts_stops_nobody_and_is_told_since_when(books: Books, clock: Clock) -> None:
    woken: list[None] = []
    allowances = allowances_of(routing(budget=BudgetPolicy(1, None, "alert")), lambda: woken.append(None))
    books.write(ended(at_s=NOON_S))
    books.tick(allowances, clock)
    since = clock.wall_us
    for _ in range(3):
        books.tick(allowances, clock)
        allowances.spend(call_of(ended(at_s=clock.wall_us / US)))
        allowances.tick(None)
    assert stopped(allowances) is None
    (told,) = allowances.exceeded()
    assert told == {
        "scope": "feature:f", "what": "budget_usd_per_day", "limit": 1, "used": pytest.approx(4), "on_exceed": "alert",
        "since": since,
    }  # fmt: skip
    assert len(woken) == 1
    json.dumps(allowances.told())


def test_the_worst_of_several_budgets_has_its_way(books: Books, clock: Clock) -> None:
    policies = routing(everything=BudgetPolicy(1, None, "degrade"), budget=BudgetPolicy(1, 1, "block"))
    allowances = allowances_of(policies)
    books.write(ended(at_s=NOON_S), ended(feature="g", at_s=NOON_S))
    books.tick(allowances, clock)
    found, other = stopped(allowances), stopped(allowances, "g")
    assert found is not None
    assert other is not None
    assert (found.on_exceed, found.what) == ("block", "budget_usd_per_month")
    assert (other.on_exceed, other.scope) == ("degrade", "all")


@contextmanager
def broken() -> Iterator[Any]:
    raise StoreError("the disk is gone")
    yield


@contextmanager
def missing() -> Iterator[Any]:
    raise reads.NothingRecorded("nothing")
    yield


@pytest.mark.parametrize("trouble", [broken, missing])
def test_while_the_telemetry_cannot_be_read_the_last_amount_goes_on_with_own_calls(
    trouble: Any, books: Books, clock: Clock
) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(3, None, "block")))
    books.write(ended(at_s=NOON_S))
    books.tick(allowances, clock)
    for number in range(2):
        assert stopped(allowances) is None, number
        allowances.spend(call_of(ended(at_s=NOON_S)))
        clock.pass_s(10)
        allowances.tick(trouble)
    assert stopped(allowances) is not None
    assert any("disk is gone" in problem for problem in allowances.problems()) is (trouble is broken)
    books.write(ended(at_s=NOON_S), ended(at_s=NOON_S))
    books.tick(allowances, clock)
    assert allowances.problems() == []
    assert allowances.budgets()[0]["used"] == pytest.approx(3)


def test_own_calls_alone_spend_a_budget_when_the_telemetry_was_never_to_be_read(clock: Clock) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(2, None, "block")))
    for _ in range(2):
        allowances.tick(broken)
        assert stopped(allowances) is None
        clock.pass_s(10)
        allowances.spend(call_of(ended(at_s=NOON_S)))
    allowances.tick(broken)
    assert stopped(allowances) is not None


def test_a_telemetry_that_was_set_aside_gives_no_budget_back(books: Books, clock: Clock) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(2, None, "block")))
    books.write(ended(at_s=NOON_S), ended(at_s=NOON_S))
    books.tick(allowances, clock)
    assert stopped(allowances) is not None
    books.writer.close()
    books.path.unlink()
    books.write()
    books.tick(allowances, clock)
    assert stopped(allowances) is not None


def test_a_model_without_a_price_is_named_and_its_tokens_are_not_taken_for_nothing(books: Books, clock: Clock) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(1, None, "block")))
    books.write(ended(model="mystery-1", at_s=NOON_S))
    books.tick(allowances, clock)
    assert allowances.problems() == ["budgets cannot be watched for what mystery-1 costs: no price is known"]
    allowances.spend(call_of(ended(model="mystery-2", at_s=NOON_S)))
    assert "mystery-2" in allowances.problems()[0]
    assert stopped(allowances) is None


def test_a_prices_file_that_is_wrong_is_told_and_stops_nobody(books: Books, clock: Clock, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("models: {x: {input: much}}")
    allowances = allowances_of(routing(budget=BudgetPolicy(1, None, "block")), prices=prices)
    books.write(ended(at_s=NOON_S))
    allowances.spend(call_of(ended(at_s=NOON_S)))
    books.tick(allowances, clock)
    assert stopped(allowances) is None
    assert "budgets cannot be watched" in allowances.problems()[0]


def test_midnight_gives_a_new_budget_at_once(books: Books, clock: Clock) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(1, None, "block")))
    clock.pass_s(12 * HOUR_S - 10)
    books.write(ended(at_s=clock.wall_us / US))
    books.tick(allowances, clock)
    found = stopped(allowances)
    assert found is not None
    assert found.retry_after_s == pytest.approx(5)
    clock.pass_s(6)
    assert stopped(allowances) is None  # before the recorder's thread has looked again
    allowances.tick(None)
    assert stopped(allowances) is None
    assert allowances.exceeded() == []


def test_b13_a_clock_that_jumps_forgets_no_spending(books: Books, clock: Clock) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(1, None, "block")))
    books.write(ended(at_s=NOON_S))
    books.tick(allowances, clock)
    for jump in (-HOUR_S, HOUR_S, DAY_S, -DAY_S, 40 * DAY_S, -40 * DAY_S):
        clock.jump_s(jump)
        allowances.tick(None)
        is_today = module.day_of(clock.wall_us // US) == module.day_of(NOON_S)
        assert (stopped(allowances) is not None) is is_today
        books.tick(allowances, clock)
        assert (stopped(allowances) is not None) is is_today


def test_a_child_of_a_fork_keeps_the_verdict_until_it_knows_for_itself(books: Books, clock: Clock) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(1, None, "block"), rate=RatePolicy(60)))
    books.write(ended(at_s=NOON_S))
    books.tick(allowances, clock)
    allowances._lock.acquire()  # as another thread may hold it while one forks
    allowances.after_fork()
    assert stopped(allowances) is not None
    allowances.tick(None)
    assert stopped(allowances) is not None
    books.tick(allowances, clock)
    assert stopped(allowances) is not None
    assert allowances.budgets()[0]["used"] == pytest.approx(1)


def test_customers_that_the_rollups_do_not_name_are_nobodys(books: Books, clock: Clock) -> None:
    allowances = allowances_of(routing(customers=CustomerPolicy(budget=BudgetPolicy(1, None, "block")), f=FeaturePolicy()))
    calls = [call_of(ended(customer="small", at_s=NOON_S))]
    books.writer.write(calls, add_up(calls, ()), None, "other")
    books.tick(allowances, clock)
    assert stopped(allowances, customer="small") is None
    assert stopped(allowances, customer="(others)") is None


def test_a_read_that_failed_half_way_is_made_again(books: Books, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    allowances = allowances_of(routing(budget=BudgetPolicy(1, 1, "block")))
    books.write(ended(at_s=NOON_S - 6 * HOUR_S))  # known from the hours that are read once
    found = module.reads.series_sums
    failures = [StoreError("disk I/O error")]

    def fail_once(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return found(*given)

    monkeypatch.setattr(module.reads, "series_sums", fail_once)
    books.tick(allowances, clock)
    assert failures == []
    assert any("disk I/O error" in problem for problem in allowances.problems())
    books.tick(allowances, clock)
    assert stopped(allowances) is not None
    assert allowances.problems() == []


def test_a_budget_costs_no_more_for_any_number_of_customers(
    books: Books, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "MAX_SCOPES", 20)
    named = {"acme": CustomerPolicy(None, BudgetPolicy(2, None, "block"))}
    policies = routing(
        everything=BudgetPolicy(1000, None, "block"),
        customers=CustomerPolicy(None, BudgetPolicy(5, None, "block"), named),
        f=FeaturePolicy(),
    )
    allowances = allowances_of(policies)
    looked: list[str] = []
    spent_of = allowances._spent_of
    monkeypatch.setattr(allowances, "_spent_of", lambda scope, *given: (looked.append(scope), spent_of(scope, *given))[1])
    early_s, penny = NOON_S - 6 * HOUR_S, Usage(input=5_000)
    books.write(*(ended(penny, customer=f"c{number}", at_s=early_s) for number in range(300)))
    books.write(*(ended(customer="big", at_s=early_s) for _ in range(4)), ended(customer="acme", at_s=early_s))
    books.tick(allowances, clock)
    books.tick(allowances, clock)
    looked.clear()
    books.tick(allowances, clock)
    assert looked == []  # nothing has changed
    for number in range(300):
        allowances.spend(call_of(ended(penny, customer=f"d{number}", at_s=NOON_S)))
    allowances.spend(call_of(ended(customer="big", at_s=NOON_S)))
    allowances.tick(None)
    assert len(looked) == 302  # the calls since the last look
    for period in (module.day_of(NOON_S), module.month_of(NOON_S)):
        assert len(allowances._spending.spent(period)) <= 20 + len(allowances._own)
    assert allowances._base is not None
    assert len(allowances._base.of_day.usd) <= 20 + len(allowances._own)
    found = stopped(allowances, customer="big")
    assert found is not None
    assert found.used == pytest.approx(5)
    assert stopped(allowances, customer="acme") is None
    books.write(ended(customer="acme", at_s=NOON_S), ended(customer="new", at_s=NOON_S), ended(customer="c7", at_s=NOON_S))
    books.tick(allowances, clock)
    assert stopped(allowances, customer="acme") is not None
    assert stopped(allowances, customer="new") is None
    for _ in range(3):  # the hours turn, and nobody is taken to have spent more for having been let go of
        clock.pass_s(HOUR_S)
        books.tick(allowances, clock)
    known = allowances._spending.spent(module.day_of(NOON_S))
    assert {name: known[f"customer:{name}"] for name in ("big", "acme", "new")} == {
        "big": pytest.approx(5), "acme": pytest.approx(2), "new": pytest.approx(1),
    }  # fmt: skip
    books.write(*(ended(customer="new", at_s=clock.wall_us / US) for _ in range(4)))
    books.tick(allowances, clock)
    assert stopped(allowances, customer="new") is not None


def test_who_has_no_budget_is_not_counted(books: Books, clock: Clock) -> None:
    whole = CustomerPolicy(None, None, {"acme": CustomerPolicy(None, BudgetPolicy(5, None, "block"))})
    allowances = allowances_of(routing(customers=whole, f=FeaturePolicy()))
    books.write(ended(customer="acme", at_s=NOON_S), ended(customer="other", at_s=NOON_S))
    books.tick(allowances, clock)
    allowances.spend(call_of(ended(customer="other", at_s=NOON_S)))
    allowances.spend(call_of(ended(customer="acme", at_s=NOON_S)))
    assert dict(allowances._spending.spent(module.day_of(NOON_S))) == {"customer:acme": pytest.approx(2)}


def test_the_first_look_is_repeated_once_this_process_has_written(books: Books, clock: Clock) -> None:
    allowances = allowances_of(routing(rate=RatePolicy(60)))
    books.write(beat=beat("one", clock.wall_us))
    allowances.tick(books.writer.reading)
    assert allowances._processes == 1
    books.write(beat=beat("this", clock.wall_us))
    allowances.tick(books.writer.reading)
    assert allowances._processes == 2
    books.write(beat=beat("third", clock.wall_us))
    allowances.tick(books.writer.reading)
    assert allowances._processes == 2  # not before REFRESH_US


# -- rates -------------------------------------------------------------------------------------------------------------------


def test_a_rate_lets_a_burst_in_and_then_its_share_of_time(clock: Clock) -> None:
    allowances = allowances_of(routing(rate=RatePolicy(60)))
    assert sum(stopped(allowances) is None for _ in range(10)) == 5
    found = stopped(allowances)
    assert found is not None
    assert (found.what, found.scope, found.key) == ("requests_per_minute", "feature:f", "features.f.rate.requests_per_minute")
    assert found.retry_after_s == pytest.approx(1)
    clock.pass_s(2)
    assert sum(stopped(allowances) is None for _ in range(10)) == 2
    assert stopped(allowances, "other") is None


def test_b13_a_wall_clock_that_jumps_changes_no_rate(clock: Clock) -> None:
    allowances = allowances_of(routing(rate=RatePolicy(60)))
    assert sum(stopped(allowances) is None for _ in range(10)) == 5
    for jump in (-HOUR_S, DAY_S):
        clock.jump_s(jump)
        assert stopped(allowances) is not None
    clock.pass_s(60)  # stopped for a minute: a burst, no minute
    assert sum(stopped(allowances) is None for _ in range(100)) == 5


def test_tokens_are_estimated_before_and_put_right_after(clock: Clock) -> None:
    allowances = allowances_of(routing(rate=RatePolicy(None, 1200)))  # a burst of 100
    charge = allowances.check(Facts("f"), BODY)
    assert isinstance(charge, Charge)
    assert 100 <= charge.tokens <= 105  # 400 characters
    found = stopped(allowances)
    assert found is not None
    assert found.error == "token_limit"
    allowances.settle(charge, ended(Usage(input=1, output=9)))
    assert stopped(allowances) is None
    charge = allowances.again(Facts("f"))
    assert charge is not None
    allowances.settle(charge, ended(Usage(input=10, output=1200)))
    clock.pass_s(50)
    assert stopped(allowances) is not None
    clock.pass_s(20)
    assert stopped(allowances) is None


def test_the_tokens_of_attempts_that_broke_count_too(clock: Clock) -> None:
    allowances = allowances_of(routing(rate=RatePolicy(None, 1200)))
    charge = allowances.check(Facts("f"), BODY)
    assert isinstance(charge, Charge)
    allowances.settle(charge, ended(Usage())._replace(earlier=(ended(Usage(output=1200)),)))
    clock.pass_s(50)
    assert stopped(allowances) is not None


def test_what_one_rate_refuses_uses_no_other_up(clock: Clock) -> None:
    policies = routing(rate=RatePolicy(60), customers=CustomerPolicy(RatePolicy(12)))
    allowances = allowances_of(policies)
    assert sum(stopped(allowances, customer="noisy") is None for _ in range(50)) == 1
    assert sum(stopped(allowances, customer=f"quiet-{number}") is None for number in range(50)) == 4


def test_a_customer_with_limits_of_its_own_shares_the_rest_with_the_others(clock: Clock) -> None:
    whole = CustomerPolicy(
        RatePolicy(12),
        BudgetPolicy(1, None, "block"),
        {"big": CustomerPolicy(RatePolicy(60)), "rich": CustomerPolicy(None, BudgetPolicy(9))},
    )
    allowances = allowances_of(routing(customers=whole, f=FeaturePolicy()))
    for customer, let_in in (("big", 5), ("rich", 1), ("other", 1)):
        assert sum(stopped(allowances, customer=customer) is None for _ in range(10)) == let_in
    found = stopped(allowances, customer="big")
    assert found is not None
    assert found.key == "customers.named.big.rate.requests_per_minute"
    found = stopped(allowances, customer="rich")
    assert found is not None
    assert found.key == "customers.rate.requests_per_minute"
    assert stopped(allowances) is None


def test_a_rate_that_alerts_stops_nobody_is_told_and_ends(clock: Clock) -> None:
    woken: list[None] = []
    allowances = allowances_of(routing(rate=RatePolicy(60, on_exceed="alert")), lambda: woken.append(None))
    since = clock.wall_us
    for _ in range(100):
        assert stopped(allowances) is None
        clock.pass_s(0.1)
    (told,) = allowances.exceeded()
    assert (told["scope"], told["what"], told["limit"], told["on_exceed"]) == ("feature:f", "requests_per_minute", 60, "alert")
    assert told["since"] - since < 3 * US
    assert told["used"] == pytest.approx(100, abs=40)
    assert len(woken) == 1
    clock.pass_s(70)
    assert allowances.exceeded() == []
    assert stopped(allowances) is None
    assert allowances.exceeded() == []


def test_customers_beyond_the_bound_are_held_by_the_features_rate_only(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUCKETS", 10)
    assert MAX_BUCKETS > 10
    allowances = allowances_of(routing(customers=CustomerPolicy(RatePolicy(12)), f=FeaturePolicy()))
    for number in range(50):
        stopped(allowances, customer=f"c{number}")
    assert len(allowances._customer_buckets) == 10
    assert stopped(allowances, customer="c0") is not None
    assert stopped(allowances, customer="c49") is None
    clock.pass_s(200)
    allowances.tick(missing)  # those that say nothing any more make room
    assert allowances._customer_buckets == {}


def test_customers_beyond_the_bound_leave_every_feature_its_rate(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUCKETS", 10)
    whole = CustomerPolicy(RatePolicy(12), None, {"acme": CustomerPolicy(RatePolicy(24))})
    policies = Routing(
        default=FeaturePolicy(rate=RatePolicy(60)),
        features={name: FeaturePolicy(rate=RatePolicy(60)) for name in ("a", "b")},
        customers=whole,
    )
    allowances = allowances_of(policies)
    for number in range(50):
        stopped(allowances, "a", f"c{number}")
        stopped(allowances, f"made-up-{number}")
    assert sum(stopped(allowances, "b", f"d{number}") is None for number in range(100)) == 5
    assert sum(stopped(allowances, "made-up-0") is None for _ in range(100)) == 4
    clock.pass_s(10)
    assert sum(stopped(allowances, "b", "acme") is None for _ in range(100)) == 2
    assert len(allowances._buckets) <= 12
    assert len(allowances._customer_buckets) <= 11
    assert {"feature:a", "feature:b"} <= {told["scope"] for told in allowances.exceeded()}


@pytest.mark.parametrize(("before", "after"), [(1, 16), (16, 1)])
def test_what_a_call_took_is_given_back_as_it_was_taken(before: int, after: int, clock: Clock) -> None:
    allowances = allowances_of(routing(rate=RatePolicy(None, 60_000)))
    allowances._processes = before
    charges = [allowances.check(Facts("f"), BODY) for _ in range(3)]
    again = allowances.again(Facts("f"))
    assert again is not None
    (bucket,) = allowances._buckets.values()
    allowances._processes = after
    for charge in charges:
        assert isinstance(charge, Charge)
        allowances.settle(charge, ended(Usage()))
    assert bucket._full_until_us == pytest.approx(clock.steady_us)
    allowances.settle(again, ended(Usage(output=1000)))  # a second's worth of all processes together
    assert bucket._full_until_us - clock.steady_us == pytest.approx(after * US)


class Hesitant(Bucket):
    """Lets other threads go on between the question and the answer to it."""

    def wait_us(self, now_us: int, unit_us: float) -> float:
        found = super().wait_us(now_us, unit_us)
        time.sleep(0.0001)
        return found


def test_32_threads_together_get_no_more_than_the_limit(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Bucket", Hesitant)
    allowances = allowances_of(routing(rate=RatePolicy(1200)))
    barrier, found = threading.Barrier(32), [0] * 32
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def run(index: int) -> None:
        barrier.wait(10)
        found[index] = sum(stopped(allowances) is None for _ in range(20))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(32)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(before)
    assert sum(found) == 100


def test_the_processes_of_a_service_share_a_rate(books: Books, clock: Clock) -> None:
    policies = {"f": FeaturePolicy(rate=RatePolicy(120)), "g": FeaturePolicy(rate=RatePolicy(60))}
    allowances = allowances_of(routing(**policies))
    books.write(beat=beat("one", clock.wall_us))
    books.write(beat=beat("two", clock.wall_us))
    books.write(beat=beat("gone", clock.wall_us - 3600 * US))
    books.write(beat=beat("over", clock.wall_us, ended_at=clock.wall_us))
    books.write(beat=beat("another", clock.wall_us, service="elsewhere"))
    books.tick(allowances, clock)
    assert sum(stopped(allowances) is None for _ in range(50)) == 5
    assert sum(stopped(allowances, "g") is None for _ in range(50)) == 2  # two seconds each, five are let in at once
    books.write(beat=beat("two", clock.wall_us, ended_at=clock.wall_us))
    books.tick(allowances, clock)
    clock.pass_s(60)
    assert sum(stopped(allowances) is None for _ in range(50)) == 10


def test_a_process_is_given_up_after_three_looks_and_not_because_clocks_jump() -> None:
    fleet, now = Fleet(), NOON_S * US
    beats = {"one": (now, False), "two": (now, False), "old": (now - 60 * US, False)}
    assert fleet.look(beats, now) == 2
    now += DAY_S * US  # a day ahead, or stopped for long: nobody was heard of yet
    assert fleet.look(beats, now) == 2
    assert fleet.look({**beats, "one": (now, False)}, now) == 2
    assert fleet.look({**beats, "one": (now + 1, False)}, now) == 1
    assert fleet.look({"one": (now + 2, False), "two": (now + 2, False)}, now) == 2
    assert fleet.look({"one": (now + 3, False), "two": (now + 3, True)}, now) == 1
    assert [fleet.look({}, now) for _ in range(4)] == [1, 1, 1, 1]


# -- requests ----------------------------------------------------------------------------------------------------------------


def test_each_request_of_a_batch_is_looked_at_and_the_one_at_fault_is_named() -> None:
    allowances = allowances_of(routing(f=FeaturePolicy(max_tokens=100, rate=RatePolicy(1))))
    requests = [{"custom_id": f"r{number}", "params": BODY | {"max_tokens": 10 * number}} for number in range(20)]
    found = allowances.check(Facts("f"), {"requests": requests}, is_batch=True)
    assert isinstance(found, Exceeded)
    assert (found.request, found.used, found.key) == ("r11", 110, "features.f.max_tokens")
    for _ in range(5):  # no rate is asked
        assert allowances.check(Facts("f"), {"requests": requests[:10]}, is_batch=True) is None
    for body in (None, {}, {"requests": None}, {"requests": [None, {"params": None}]}):
        assert allowances.check(Facts("f"), body, is_batch=True) is None


def test_a_feature_without_limits_is_not_asked() -> None:
    allowances = allowances_of(routing(limited=FeaturePolicy(max_tokens=1), bare=FeaturePolicy()))
    assert allowances.concern(Facts("limited"))
    assert not allowances.concern(Facts("bare"))
    assert not allowances.concern(Facts("unheard-of", "acme"))


def test_the_recorder_goes_on_when_the_allowances_break(places: Locations, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(places, routing=routing(budget=BudgetPolicy(1)))

    def fail(reading: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(runtime.allowances, "tick", fail)
    runtime.current()
    runtime.record(ended())
    runtime.close()
    with closing(reads._open(places.telemetry)) as connection:
        assert connection.execute("SELECT count(*) FROM call").fetchone() == (1,)
