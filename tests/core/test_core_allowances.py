"""Rates, sizes of requests and money as pure values: what is let in, what is said, and what is never forgotten."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core import spending
from console.core.allowances import (
    BURST_US,
    ERRORS,
    MINUTE_US,
    US,
    Bucket,
    BudgetPolicy,
    Exceeded,
    RatePolicy,
    estimated_tokens,
    input_chars,
    tokens_of,
    too_large,
    worst,
)
from console.core.calls import AttemptEnd, CallEnd, Facts, Usage
from console.core.configuration import parse_configuration
from console.core.prices import Price, Prices
from console.core.spending import (
    MAX_PERIODS,
    Spending,
    Sums,
    bounded,
    costs_of,
    day_of,
    limits_of,
    month_of,
    told_by,
)

DAY_S, HOUR_S = 86400, 3600
NOON_S = 20_000 * DAY_S + 12 * HOUR_S

# -- rates -----------------------------------------------------------------------------------------------------------------


def busiest_minute(admitted: list[int]) -> int:
    return max((sum(start <= at < start + MINUTE_US for at in admitted) for start in admitted), default=0)


@given(
    limit=st.sampled_from([1, 2, 7, 60, 600, 1e5]),
    pauses=st.lists(st.one_of(st.integers(0, 200), st.integers(0, 30 * US), st.just(MINUTE_US)), max_size=300),
    back=st.integers(0, 3),
)
def test_no_minute_has_more_calls_than_the_limit_and_the_burst(limit: float, pauses: list[int], back: int) -> None:
    bucket, unit_us, now, admitted = Bucket(), MINUTE_US / limit, 10**12, []
    for pause in pauses:
        now += pause
        for _ in range(back + 1):
            if bucket.wait_us(now, unit_us) <= 0:
                bucket.take(now, unit_us, 1)
                admitted.append(now)
    assert busiest_minute(admitted) <= limit + max(1, limit * BURST_US / MINUTE_US) + 1e-6


@given(limit=st.sampled_from([6, 60, 600]), seconds=st.integers(60, 300))
def test_steady_traffic_at_the_limit_is_let_in_whole(limit: int, seconds: int) -> None:
    bucket, unit_us = Bucket(), MINUTE_US / limit
    for number in range(limit * seconds // 60):
        now = 10**12 + round(number * unit_us)
        assert bucket.wait_us(now, unit_us) <= 1
        bucket.take(now, unit_us, 1)


@given(
    moves=st.lists(
        st.tuples(st.integers(0, 10 * US), st.integers(0, 5_000), st.integers(-6_000, 6_000), st.booleans()), max_size=100
    )
)
def test_tokens_that_are_given_back_never_make_more_room_than_an_idle_bucket_has(
    moves: list[tuple[int, int, int, bool]],
) -> None:
    bucket, unit_us, now = Bucket(), MINUTE_US / 10_000, 10**12
    start, taken, largest = now, 0.0, 0
    for pause, tokens, more, settles in moves:
        now += pause
        if bucket.wait_us(now, unit_us) <= 0:
            # All that was ever let in, less what was given back, has had its time; but for the burst and the call before.
            assert taken * unit_us <= now - start + BURST_US + largest * unit_us + 1
            bucket.take(now, unit_us, tokens)
            taken, largest = taken + tokens, max(largest, tokens)
        if settles:
            bucket.take(now, unit_us, more)
            taken += more
            largest = max(largest, abs(more))
        assert bucket.wait_us(now + BURST_US + 10**9, unit_us) == 0
    idle = Bucket()
    assert bucket.wait_us(now, unit_us) >= idle.wait_us(now, unit_us)


def test_a_refund_of_what_has_run_off_long_ago_gives_nothing() -> None:
    bucket, unit_us, now = Bucket(), MINUTE_US / 60, 10**12
    bucket.take(now, unit_us, 5)
    now += MINUTE_US
    bucket.take(now, unit_us, -5)
    let_in = 0
    while bucket.wait_us(now, unit_us) <= 0:
        bucket.take(now, unit_us, 1)
        let_in += 1
    assert let_in == BURST_US // US


def test_b13_a_process_that_stood_still_for_a_minute_lets_a_burst_in_and_no_minute() -> None:
    bucket, unit_us, now = Bucket(), MINUTE_US / 600, 10**12
    while bucket.wait_us(now, unit_us) <= 0:
        bucket.take(now, unit_us, 1)
    now += MINUTE_US
    let_in = 0
    while bucket.wait_us(now, unit_us) <= 0:
        bucket.take(now, unit_us, 1)
        let_in += 1
    assert let_in == 600 * BURST_US // MINUTE_US


def test_the_wait_that_is_told_is_the_wait_that_is_needed() -> None:
    bucket, unit_us, now = Bucket(), MINUTE_US / 6, 10**12
    bucket.take(now, unit_us, 1)
    wait = bucket.wait_us(now, unit_us)
    assert wait == 10 * US
    assert bucket.wait_us(now + 10 * US - 1, unit_us) > 0
    assert bucket.wait_us(now + 10 * US, unit_us) == 0


def test_what_was_asked_for_is_counted_over_a_sliding_minute() -> None:
    bucket, minute = Bucket(), 10**6 * MINUTE_US
    for number in range(60):
        bucket.note(minute + number * US, 1)
    assert bucket.asked(minute + 59 * US) == 60
    assert bucket.asked(minute + 90 * US) == 30
    assert bucket.asked(minute + 180 * US) == 0
    assert bucket.is_idle(minute + 180 * US)
    assert not bucket.is_idle(minute + 59 * US)


# -- the size of a request ---------------------------------------------------------------------------------------------------


def asking(*contents: Any, system: Any = None, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content} for content in contents]
    return {"model": "m", "max_tokens": 10, "messages": messages, "system": system} | more


@pytest.mark.parametrize(
    "body",
    [
        asking("x" * 1000),
        asking([{"type": "text", "text": "x" * 1000}]),
        asking("", system="x" * 1000),
        asking("", system=[{"type": "text", "text": "x" * 1000}]),
        asking([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x" * 1000}]}]),
        asking([{"type": "tool_use", "id": "t", "name": "n", "input": {"deep": {"deeper": ["x" * 1000]}}}]),
        asking([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x" * 1000}}]),
        asking("", tools=[{"name": "t", "description": "x" * 1000, "input_schema": {"type": "object"}}]),
        asking("", tools=[{"name": "t", "input_schema": {"type": "object", "properties": {"a": {"description": "x" * 1000}}}}]),
    ],
)
def test_every_text_of_the_input_counts_wherever_it_stands(body: dict[str, Any]) -> None:
    assert 1000 <= input_chars(body, 10**9) <= 1030
    assert too_large(body, max_tokens=None, max_input_chars=900, scope="feature:f", key="features.f") is not None
    assert too_large(body, max_tokens=None, max_input_chars=1100, scope="feature:f", key="features.f") is None


def counted(part: Any) -> int:
    """The same, written down as it is meant, for bodies of any size."""
    if isinstance(part, str):
        return len(part) or 1
    values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return (part is not None) + sum(map(counted, values))


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(max_size=9), st.integers()),
    lambda part: st.one_of(st.lists(part), st.dictionaries(st.sampled_from(["a", "b", "text", "content"]), part)),
    max_leaves=40,
)


@given(messages=TREES, system=TREES, stop_at=st.integers(0, 60))
def test_every_part_counts_once_until_the_limit_is_passed(messages: Any, system: Any, stop_at: int) -> None:
    body, right = {"messages": messages, "system": system}, counted(messages) + counted(system)
    assert input_chars(body, 10**9) == right
    assert (input_chars(body, stop_at) > stop_at) is (right > stop_at)


def test_a_conversation_is_counted_once_and_not_more_often_the_longer_it_is() -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "x" * 100}]}] * 400
    assert input_chars({"messages": turns}, 10**9) == 1 + 400 * (100 + 3)


class Watched(list[Any]):
    """Counts what of it is looked at."""

    looked = 0

    def __iter__(self) -> Any:
        for item in super().__iter__():
            self.looked += 1
            yield item


def test_counting_ends_at_the_limit_however_much_there_is() -> None:
    messages = Watched([{"role": "user", "content": "x" * 100}] * 50_000)
    assert input_chars({"messages": messages}, 5_000) > 5_000
    assert 0 < messages.looked < 100
    for nothing in ("", [], {}, 0):
        empty = Watched([nothing] * 50_000)
        assert 5_000 < input_chars({"messages": [{"content": empty}]}, 5_000) < 5_010
        assert empty.looked < 5_010
    wide = dict.fromkeys(map(str, range(50_000)), "x" * 10)
    assert input_chars({"messages": [wide]}, 5_000) < 5_020


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.text(), st.integers()), lambda part: st.one_of(
    st.lists(part), st.dictionaries(st.text(), part)), max_leaves=30))  # fmt: skip
def test_whatever_a_body_is_it_is_counted_without_an_error(body: Any) -> None:
    assert input_chars(body, 100) >= 0
    assert input_chars({"messages": body, "system": body}, 100) >= 0


@pytest.mark.parametrize("asked", [None, "4096", 4096, 4095, True])
def test_what_is_not_above_the_ceiling_passes(asked: object) -> None:
    assert too_large({"max_tokens": asked}, max_tokens=4096, max_input_chars=None, scope="s", key="k") is None


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 4097.0},
        {"max_tokens": 10, "fallbacks": [{"model": "a"}, {"model": "b", "max_tokens": 4097}]},
        {"max_tokens": 10, "fallbacks": ({"model": "b", "max_tokens": 4097},)},
    ],
)
def test_a_ceiling_holds_for_every_number_that_the_api_takes_wherever_it_stands(body: dict[str, Any]) -> None:
    found = too_large(body, max_tokens=4096, max_input_chars=None, scope="s", key="k")
    assert found is not None
    assert found.used == 4097


@pytest.mark.parametrize(
    "hops", [None, "default", [None, {}, {"max_tokens": None}, {"max_tokens": "5000"}, {"max_tokens": 4096}]]
)
def test_fallbacks_below_the_ceiling_pass(hops: object) -> None:
    body = {"max_tokens": 4096, "fallbacks": hops}
    assert too_large(body, max_tokens=4096, max_input_chars=None, scope="s", key="k") is None


def test_a_request_above_its_ceiling_is_named_with_both_numbers_and_the_key() -> None:
    found = too_large({"max_tokens": 8192}, max_tokens=4096, max_input_chars=9, scope="feature:sum", key="features.sum")
    assert found is not None
    assert (found.what, found.limit, found.used, found.error) == ("max_tokens", 4096, 8192, "max_tokens_exceeded")
    assert found.is_of_request
    assert found.retry_after_s is None
    assert str(found) == (
        "feature sum: max_tokens 8,192 is above the ceiling of 4,096: ask for less, or raise it (features.sum.max_tokens)"
    )


def test_the_estimate_of_tokens_is_bounded_by_the_limit() -> None:
    assert estimated_tokens(asking("x" * 4000), 10**6) == pytest.approx(1000, abs=5)
    assert estimated_tokens(asking("x" * 4000), 100) == 100


def test_what_was_read_from_the_cache_counts_against_no_rate() -> None:
    assert tokens_of(Usage(1, 20, 300, 4000, 50_000)) == 54_021
    assert tokens_of(None) == 0


# -- what is said ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            Exceeded("requests_per_minute", 600, 700, "feature:sum", "block", "features.sum.rate.requests_per_minute", 0.43),
            "feature sum: more than 600 requests a minute; there is room again in 0.4 s (features.sum.rate.requests_per_minute)",
        ),
        (
            Exceeded("tokens_per_minute", 4e5, 5e5, "customer:acme", "block", "customers.rate.tokens_per_minute", 12.0),
            "customer acme: more than 400,000 tokens a minute; there is room again in 12.0 s (customers.rate.tokens_per_minute)",
        ),
        (
            Exceeded("budget_usd_per_day", 80, 81.2, "feature:sum", "block", "features.sum.budget_usd_per_day", 3 * 3600 + 5),
            "feature sum: $81.20 spent of $80.00 a day; a new budget begins at midnight UTC, in 3 h "
            "(features.sum.budget_usd_per_day)",
        ),
        (
            Exceeded("budget_usd_per_month", 4000, 4001, "all", "block", "budget_usd_per_month", 0.2),
            "all calls together: $4,001.00 spent of $4,000.00 a month; a new budget begins on the 1st, UTC, in 1 s "
            "(budget_usd_per_month)",
        ),
        (
            Exceeded("max_input_chars", 200_000, 200_010, "feature:f", "block", "features.default.max_input_chars", None, "r1"),
            "feature f, request r1 of the batch: the input has more than 200,000 characters: send less, or raise the limit "
            "(features.default.max_input_chars)",
        ),
    ],
)
def test_an_error_says_what_how_much_until_when_and_where_it_is_configured(found: Exceeded, said: str) -> None:
    assert str(found) == said
    assert found.error == ERRORS[found.what]


def test_block_has_its_way_before_degrade_and_degrade_before_alert_and_the_longest_of_equals() -> None:
    def one(on_exceed: Any, wait: float) -> Exceeded:
        return Exceeded("requests_per_minute", 1, 2, "all", on_exceed, "", wait)

    found = [one("alert", 9), one("degrade", 8), one("block", 1), one("block", 2), one("degrade", 99)]
    assert worst(found) == one("block", 2)
    assert worst(found[:2]) == one("degrade", 8)
    assert worst([]) is None


# -- money -------------------------------------------------------------------------------------------------------------------


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 -- hypothesis wants them naive
def test_a_time_is_in_its_day_and_in_its_month_of_utc(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC)
    at_s = int(at.timestamp())
    day, month = day_of(at_s), month_of(at_s)
    assert day.holds(at_s)
    assert month.holds(at_s)
    assert datetime.fromtimestamp(day.start_s, UTC).time() == datetime.min.time()
    first, last = datetime.fromtimestamp(month.start_s, UTC), datetime.fromtimestamp(month.end_s - 1, UTC)
    assert (first.day, first.month, first.year) == (1, at.month, at.year)
    assert (last.month, last.year) == (at.month, at.year)
    assert month_of(month.end_s).start_s == month.end_s


def test_a_budget_has_the_limits_that_it_names() -> None:
    assert [limit.what for limit in limits_of(BudgetPolicy(5, 50), NOON_S)] == ["budget_usd_per_day", "budget_usd_per_month"]
    (only,) = limits_of(BudgetPolicy(None, 50), NOON_S)
    assert (only.usd, only.period) == (50, month_of(NOON_S))


def test_own_calls_count_at_once_and_not_twice_when_the_telemetry_has_them() -> None:
    made, day = Spending(), day_of(NOON_S)
    made.learn(day, {"all": 10.0})
    made.add(["all", "feature:f"], NOON_S, 2.0)
    assert made.spent(day) == {"all": 12.0, "feature:f": 2.0}
    made.learn(day, {"all": 15.0, "feature:f": 2.0})  # another process has spent 3 meanwhile
    assert made.spent(day) == {"all": 15.0, "feature:f": 2.0}
    assert made.spent(month_of(NOON_S)) == {"all": 2.0, "feature:f": 2.0}


def test_a_telemetry_that_begins_afresh_gives_no_budget_back() -> None:
    made, day = Spending(), day_of(NOON_S)
    made.learn(day, {"all": 10.0})
    made.learn(day, {})
    assert made.spent(day)["all"] == 10.0
    made.learn(day, {"all": 4.0})  # what was spent since, by everybody
    assert made.spent(day)["all"] == 14.0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("own"), st.floats(0, 5)),
            st.tuples(st.just("told"), st.floats(0, 20)),
            st.tuples(st.just("lost"), st.none()),
        ),
        max_size=40,
    )
)
def test_what_is_known_of_a_day_never_goes_down(events: list[tuple[str, float | None]]) -> None:
    made, day, told, before = Spending(), day_of(NOON_S), 0.0, 0.0
    for what, usd in events:
        if what == "own" and usd is not None:
            made.add(["all"], NOON_S, usd)
        elif usd is not None:
            told += usd
            made.learn(day, {"all": told})
        else:
            told = 0.0
            made.learn(day, {})
        now = made.spent(day).get("all", 0.0)
        assert now >= before - 1e-9
        before = now


def test_b13_a_clock_that_jumps_a_day_ahead_and_back_finds_the_money_of_today() -> None:
    made, today, tomorrow = Spending(), day_of(NOON_S), day_of(NOON_S + DAY_S)
    made.add(["all"], NOON_S, 7.0)
    made.add(["all"], NOON_S + DAY_S, 1.0)
    made.learn(tomorrow, {"all": 1.0})
    assert made.spent(tomorrow)["all"] == 1.0
    made.add(["all"], NOON_S - HOUR_S, 2.0)
    assert made.spent(today)["all"] == 9.0
    assert made.spent(month_of(NOON_S))["all"] == pytest.approx(10.0)


def test_days_gone_by_are_let_go_of_and_the_last_ones_are_kept() -> None:
    made = Spending()
    for day in range(100):
        made.add(["all"], NOON_S + day * DAY_S, 1.0)
    assert len(made._known) == len(made._unseen) == MAX_PERIODS
    assert made.spent(day_of(NOON_S + 99 * DAY_S)) == {"all": 1.0}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(spending, "MAX_SCOPES", 10)
    return 10


def test_of_any_number_of_names_the_largest_and_those_that_were_named_are_kept(few: int) -> None:
    made, day = Spending(frozenset({"all", "customer:ours"})), day_of(NOON_S)
    made.add(["all", "customer:ours"], NOON_S, 0.001)
    made.add(["customer:big"], NOON_S, 5.0)
    made.learn(day, {"customer:told": 4.0, **made.spent(day)})
    for number in range(1000):
        made.add(["all", f"customer:{number}"], NOON_S, 0.01)
        assert len(made.spent(day)) <= few + 2
    assert made.spent(day)["all"] == pytest.approx(10.001)
    assert made.spent(day)["customer:ours"] == 0.001
    assert (made.spent(day)["customer:big"], made.spent(day)["customer:told"]) == (5.0, 4.0)
    made.learn(day, {f"customer:{number}": 1.0 for number in range(1000)})
    made.learn(day, {})
    assert len(made.spent(day)) <= few + 2
    assert len(made._unseen[day]) <= few + 2
    assert made.spent(day)["all"] == pytest.approx(10.001)


def test_who_was_let_go_of_in_one_part_of_a_period_is_told_at_least_and_the_others_exactly(few: int) -> None:
    many = {f"customer:{number}": 1.0 + number / 100 for number in range(50)} | {"all": 99.0}
    before, recent = bounded(many, frozenset({"all"})), Sums({"all": 1.0, "customer:49": 1.0, "customer:new": 3.0})
    assert not before.is_whole
    exact, at_least = told_by(frozenset({"all"}), before, recent)
    assert (exact["all"], exact["customer:49"]) == (100.0, pytest.approx(2.49))
    assert at_least == {"customer:new": 3.0}
    assert told_by(frozenset({"all"}), Sums({"all": 1.0}), recent) == (
        {"all": 2.0, "customer:49": 1.0, "customer:new": 3.0},
        None,
    )


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.floats(0.01, 5)), max_size=120), st.integers(1, 12))
def test_nothing_is_concluded_from_names_that_were_let_go_of(events: list[tuple[int, bool, float]], every: int) -> None:
    # What the telemetry says is the truth here, so nobody may be taken to have spent more.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spending, "MAX_SCOPES", 5)
        made, day, named = Spending(frozenset({"all"})), day_of(NOON_S), frozenset({"all"})
        truth: dict[str, float] = {}
        base, recent = Sums({}), dict[str, float]()
        for index, (number, is_own, usd) in enumerate(events):
            for scope in ("all", f"customer:{number}"):
                truth[scope] = truth.get(scope, 0.0) + usd
                recent[scope] = recent.get(scope, 0.0) + usd
                if is_own:
                    made.add([scope], NOON_S, usd)
            if index % every == 0:
                made.learn(day, *told_by(named, base, Sums(recent)))
                assert made.spent(day)["all"] == pytest.approx(truth["all"])
            if index % (3 * every) == 0:  # the hour turns
                base, recent = bounded(dict(truth), named), {}
            assert all(spent <= truth[scope] + 1e-6 for scope, spent in made.spent(day).items())
            assert len(made.spent(day)) <= 5 + 1


PRICES = Prices("today", {"big": {"": Price(10, 20, 1, 2, 3)}, "small": {"": Price(1, 2, 0, 0, 0)}})


def end(model: str, usage: Usage | None, **more: Any) -> AttemptEnd:
    settings: dict[str, Any] = {"outcome": "ok", "served_by": "primary"} | more
    return AttemptEnd(Facts(models=(model,)), 0, 1, target=model, usage=usage, **settings)


def test_each_attempt_costs_its_own_models_price() -> None:
    broken, last = end("big", Usage(1_000_000), outcome="failed"), end("small", Usage(1_000_000, 1_000_000))
    assert costs_of(CallEnd(last, (broken, last), 0, 1), PRICES) == (13.0, ())
    assert costs_of(CallEnd(last, (), 0, 1), PRICES) == (3.0, ())


def test_an_unknown_price_is_named_and_no_zero() -> None:
    known, unknown = end("big", Usage(1_000_000)), end("mystery", Usage(5), outcome="failed")
    assert costs_of(CallEnd(known, (unknown, known), 0, 1), PRICES) == (10.0, ("mystery",))
    assert costs_of(CallEnd(end("mystery", Usage()), (), 0, 1), PRICES) == (0.0, ())


# -- the configuration -------------------------------------------------------------------------------------------------------


def test_a_part_that_says_only_what_happens_keeps_the_amounts_that_it_inherits() -> None:
    routing = parse_configuration(
        "on_exceed: block\nbudget_usd_per_day: 200\n"
        "features:\n"
        "  default: {budget_usd_per_day: 10, on_exceed: degrade}\n"
        "  loud: {on_exceed: block}\n"
        "  rich: {budget_usd_per_month: 500}\n"
        "  plain: {max_tokens: 5}\n"
        "customers:\n"
        "  budget_usd_per_day: 5\n"
        "  on_exceed: block\n"
        "  named: {acme: {budget_usd_per_day: 50}, quiet: {on_exceed: alert}, fast: {rate: {requests_per_minute: 9}}}\n",
        "console.yaml",
    ).routing()
    assert routing.budget == BudgetPolicy(200, None, "block")
    found = {name: policy.budget for name, policy in routing.features.items()}
    assert found == {
        "default": BudgetPolicy(10, None, "degrade"),
        "loud": BudgetPolicy(10, None, "block"),
        "rich": BudgetPolicy(None, 500, "degrade"),
        "plain": BudgetPolicy(10, None, "degrade"),
    }
    named = {name: policy.budget for name, policy in routing.customers.named.items()}
    assert named == {
        "acme": BudgetPolicy(50, None, "block"),
        "quiet": BudgetPolicy(5, None, "alert"),
        "fast": BudgetPolicy(5, None, "block"),
    }
    assert routing.customers.named["fast"].rate == RatePolicy(9, None, "block")
