"""Attempts become calls, calls become rollups."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.calls import AttemptEnd, Facts, Usage, error_of_status, fold, is_retried_by_sdk, provider_of
from console.core.latency import bucket_of
from console.core.rollups import CUSTOMER_TIERS_S, OTHER_CUSTOMERS, TIERS_S, US, add_up, result_of, start_of


def end(outcome: Any = "ok", *, started_us: int = 1_000_000, duration_us: int = 500, **more: Any) -> AttemptEnd:
    facts = more.pop("facts", Facts("support-reply", "acme", models=("m",)))
    return AttemptEnd(facts, started_us, duration_us, outcome, "primary" if outcome == "ok" else "none", "m", **more)


def test_a_single_attempt_is_a_call() -> None:
    only = end()
    call = fold((), only)
    assert (call.last, call.attempts, call.started_us, call.duration_us) == (only, (only,), 1_000_000, 500)


def test_a_call_lasts_from_its_first_attempt_to_the_end_of_its_last() -> None:
    first, last = end("failed", started_us=1_000), end(started_us=9_000, duration_us=700)
    call = fold((first,), last)
    assert (call.started_us, call.duration_us, call.attempts) == (1_000, 8_700, (first, last))


@pytest.mark.parametrize("outcome", ["blocked", "degraded"])
def test_a_call_that_was_stopped_has_no_attempt_for_that(outcome: str) -> None:
    assert fold((), end(outcome)).attempts == ()
    failed = end("failed")
    assert fold((failed,), end(outcome)).attempts == (failed,)


def test_b13_a_clock_that_goes_back_between_two_attempts_makes_no_negative_duration() -> None:
    hour = 3_600 * US
    call = fold((end("failed", started_us=2 * hour, duration_us=300),), end(started_us=hour, duration_us=700))
    assert call.duration_us >= 700


@pytest.mark.parametrize(
    ("status", "header", "is_retried"),
    [
        (None, None, True),
        (408, None, True),
        (409, None, True),
        (429, None, True),
        (500, None, True),
        (529, None, True),
        (400, None, False),
        (401, None, False),
        (404, None, False),
        (413, None, False),
        (529, "false", False),
        (400, "true", True),
    ],
)
def test_a_retry_of_the_sdk_is_foreseen(status: int | None, header: str | None, is_retried: bool) -> None:
    assert is_retried_by_sdk(status, header) == is_retried


@pytest.mark.parametrize(
    ("status", "kind"),
    [(529, "overloaded_error"), (429, "rate_limit_error"), (502, "api_error"), (422, "invalid_request_error")],
)
def test_a_status_whose_body_was_not_read_has_a_type(status: int, kind: str) -> None:
    assert error_of_status(status) == kind


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.anthropic.com", "anthropic"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
        ("us-east5-aiplatform.googleapis.com", "vertex"),
        ("bedrock-mantle.us-east-1.api.aws", "bedrock-mantle"),
        ("aws-external-anthropic.us-east-1.api.aws", "aws"),
        ("claude.googleapis.com", "google-cloud"),
        ("x.services.ai.azure.com", "foundry"),
        ("127.0.0.1", "anthropic"),
        ("amazonaws.com.evil.example", "anthropic"),
        (None, "anthropic"),
    ],
)
def test_a_provider_is_known_by_its_domain(host: str | None, provider: str) -> None:
    assert provider_of(host) == provider


@pytest.mark.parametrize(
    ("attempt", "result"),
    [
        (end(status=200), "ok"),
        (end("failed", status=529, error="overloaded_error"), "529"),
        (end("failed", status=200, error="truncated_stream"), "truncated_stream"),
        (end("failed", error="timeout"), "timeout"),
        (end("cancelled", status=200, error="cancelled"), "cancelled"),
    ],
)
def test_an_attempts_result_is_its_status_or_what_failed(attempt: AttemptEnd, result: str) -> None:
    assert result_of(attempt) == result


ENDS = st.builds(
    end,
    st.sampled_from(["ok", "failed", "blocked", "degraded", "cancelled"]),
    started_us=st.integers(10**15, 10**15 + 7200 * US),
    duration_us=st.integers(0, 60 * US),
    facts=st.builds(Facts, st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", None]), models=st.just(("m",))),
    usage=st.none() | st.builds(Usage, st.integers(0, 200_000), st.integers(0, 900)),
    first_token_us=st.none() | st.integers(0, 5 * US),
)


@given(st.lists(ENDS, max_size=20))
def test_every_tier_adds_up_to_the_calls(ends: list[AttemptEnd]) -> None:
    calls = [fold((), one) for one in ends]
    sums = add_up(calls, {"x"})
    for tier in TIERS_S:
        rows = [(key, row) for key, row in sums.calls.items() if key[0] == tier]
        assert sum(row.calls for _, row in rows) == len(calls)
        assert sum(row.failed for _, row in rows) == sum(one.outcome == "failed" for one in ends)
        assert sum(row.blocked for _, row in rows) == sum(one.outcome in ("blocked", "degraded") for one in ends)
        assert sum(row.tokens[1] for _, row in rows) == sum(one.usage.output for one in ends if one.usage)
        assert sum(n for key, n in sums.attempts.items() if key.tier_s == tier) == sum(len(call.attempts) for call in calls)
        assert sum(n for key, n in sums.latencies.items() if key[0] == tier and key[3] == "total") == sum(
            one.outcome in ("ok", "failed") for one in ends
        )
        assert all(start % tier == 0 for (_, start, _), _ in rows)
    for tier in CUSTOMER_TIERS_S:
        named = {key.customer for key in sums.customers if key.tier_s == tier}
        assert named <= {"x", OTHER_CUSTOMERS}
        assert sum(row.calls for key, row in sums.customers.items() if key.tier_s == tier) == sum(
            one.facts.customer is not None for one in ends
        )


@given(st.lists(ENDS, max_size=10), st.lists(ENDS, max_size=10))
def test_two_batches_add_up_to_what_one_would(one: list[AttemptEnd], other: list[AttemptEnd]) -> None:
    def totals(ends: list[AttemptEnd]) -> dict[Any, int]:
        return {key: row.calls for key, row in add_up([fold((), end) for end in ends], {"x", "y"}).calls.items()}

    together, first, second = totals(one + other), totals(one), totals(other)
    assert together == {key: first.get(key, 0) + second.get(key, 0) for key in first | second}


def test_a_call_counts_in_the_step_in_which_it_ended() -> None:
    sums = add_up([fold((), end(started_us=9 * US, duration_us=2 * US))], set())
    assert {(tier, start) for tier, start, _ in sums.calls} == {(10, 10), (300, 0), (3600, 0)}
    assert sums.latencies[10, 10, next(iter(sums.series)), "total", bucket_of(2 * US)] == 1


def test_a_prompt_above_the_limit_has_a_series_of_its_own() -> None:
    long, short = (fold((), end(usage=Usage(input=n))) for n in (100_001, 100_000))
    bands = {series.band for series in add_up([long, short], set()).series.values()}
    assert bands == {"long", ""}


@given(st.integers(0, 2**52), st.sampled_from(TIERS_S))
def test_a_step_holds_its_moment(at_us: int, tier: int) -> None:
    assert start_of(at_us, tier) * US <= at_us < (start_of(at_us, tier) + tier) * US
