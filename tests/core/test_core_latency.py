"""Quantiles from logarithmic buckets."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.latency import bucket_of, middle_us, quantile_ms

DURATIONS = st.integers(min_value=2, max_value=4_000_000_000)


@given(st.lists(DURATIONS, min_size=1, max_size=60), st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_two_point_two_percent_of_the_value_at_its_rank(durations: list[int], q: float) -> None:
    exact = sorted(durations)[max(1, ceil(round(q * len(durations), 9))) - 1]
    told = quantile_ms(Counter(map(bucket_of, durations)), q)
    assert told is not None
    assert told * 1000 == pytest.approx(exact, rel=0.022)


@given(DURATIONS, DURATIONS)
def test_a_longer_duration_is_never_in_a_lower_bucket(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high)
    assert middle_us(bucket_of(low)) <= middle_us(bucket_of(high))


@given(st.lists(DURATIONS), st.lists(DURATIONS))
def test_the_quantiles_of_two_hosts_are_those_of_all_their_calls(one: list[int], other: list[int]) -> None:
    merged = Counter(map(bucket_of, one)) + Counter(map(bucket_of, other))
    assert quantile_ms(merged, 0.95) == quantile_ms(Counter(map(bucket_of, one + other)), 0.95)


@pytest.mark.parametrize("us", [-5, 0, 1])
def test_what_took_no_time_is_in_the_first_bucket(us: int) -> None:
    assert bucket_of(us) == 0


def test_without_calls_there_is_no_quantile() -> None:
    assert quantile_ms({}, 0.5) is None
    assert quantile_ms({3: 0}, 0.5) is None
