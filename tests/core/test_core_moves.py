"""The table of errors and what `retry-after` means."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.moves import MAX_RETRY_AFTER_S, MISFIT, move_in_band, move_of_failure, move_of_status, retry_after_s

NOW_S = 1_795_000_000.0


def then(status: int, *, is_changed: bool = False, is_configured: bool = True) -> str:
    return move_of_status(status, is_changed=is_changed, is_configured=is_configured).then


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((200, 201, 204, 302), "serve"),
        ((400, 405, 413, 415, 422, 451), "serve"),
        ((401, 402, 403), "account"),
        ((404, 429, 503, 504, 529), "next"),
        ((408, 409, 424, 500, 502, 520, 599), "retry"),
    ],
)
def test_every_status_has_its_move(statuses: tuple[int, ...], expected: str) -> None:
    assert {then(status) for status in statuses} == {expected}


@pytest.mark.parametrize("status", range(400, 500))
def test_i8_a_client_fault_is_no_failure_of_the_target(status: int) -> None:
    blamed = {404, 408, 424, 429}
    move = move_of_status(status, is_changed=False, is_configured=True)
    assert move.result == ("failure" if status in blamed else "neutral")


@given(st.integers(500, 599))
def test_whatever_the_api_says_of_itself_is_a_failure(status: int) -> None:
    assert move_of_status(status, is_changed=False, is_configured=True).result == "failure"


@pytest.mark.parametrize("status", [400, 422])
def test_b12_a_refused_change_of_ours_is_a_misfit(status: int) -> None:
    assert move_of_status(status, is_changed=True, is_configured=True) == MISFIT
    assert (MISFIT.then, MISFIT.result, MISFIT.may_end_with_retry) == ("next", "neutral", False)


def test_a_404_is_the_applications_only_when_it_named_the_model_itself() -> None:
    assert then(404, is_changed=False, is_configured=False) == "serve"
    assert then(404, is_changed=True, is_configured=False) == "next"
    assert then(404, is_changed=False, is_configured=True) == "next"


def test_a_failure_that_is_none_of_the_targets_is_the_applications() -> None:
    assert (move_of_failure("pool").then, move_of_failure("pool").result) == ("end", "neutral")
    for kind in ("TypeError", ""):
        assert (move_of_failure(kind).then, move_of_failure(kind).result) == ("serve", "neutral")


def test_an_error_in_band_that_nobody_knows_moves_on() -> None:
    assert (move_in_band("new_error").then, move_in_band("new_error").result) == ("next", "failure")


# -- retry-after -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("1", 1.0),
        (" 2.5 ", 2.5),
        ("3600", 3600.0),
        ("-5", 0.0),
        ("1e9", MAX_RETRY_AFTER_S),
        ("inf", MAX_RETRY_AFTER_S),
        ("-inf", 0.0),
        ("9" * 400, MAX_RETRY_AFTER_S),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_b2_what_retry_after_asks_for(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, None, NOW_S) == expected


@pytest.mark.parametrize(("ahead_s", "expected"), [(30, 30.0), (0, 0.0), (-3600, 0.0), (10 * 86400, MAX_RETRY_AFTER_S)])
def test_b2_a_date_is_a_time_from_now(ahead_s: int, expected: float) -> None:
    assert retry_after_s(formatdate(NOW_S + ahead_s, usegmt=True), None, NOW_S) == expected


def test_b2_milliseconds_come_first_when_they_can_be_understood() -> None:
    assert retry_after_s("7", "1500", NOW_S) == 1.5
    assert retry_after_s("7", "garbage", NOW_S) == 7.0
    assert retry_after_s(None, "250", NOW_S) == 0.25
    assert retry_after_s("7", "nan", NOW_S) == 7.0


@given(st.none() | st.text(max_size=40) | st.text("0123456789:,. GMTWedJan+-e", max_size=40), st.none() | st.text(max_size=10))
def test_b2_whatever_is_sent_is_seconds_within_an_hour_or_nothing(value: str | None, value_ms: str | None) -> None:
    seconds = retry_after_s(value, value_ms, NOW_S)
    assert seconds is None or (0 <= seconds <= MAX_RETRY_AFTER_S and not math.isnan(seconds))


@pytest.mark.parametrize("year", ["0001", "0000", "1899", "9999", "10000", "99999999999999999999"])
def test_b2_a_date_far_away_is_no_trouble(year: str) -> None:
    for zone in ("GMT", "-0000", "+9999", ""):
        seconds = retry_after_s(f"Mon, 01 Jan {year} 00:00:00 {zone}", None, NOW_S)
        assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S
