"""What rate-limit headers say, whatever stands in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.headroom import KINDS, headroom_in


def headers(
    kind: str = "tokens", limit: str = "1000", remaining: str = "900", reset: str = "2026-11-21T12:00:00Z"
) -> dict[str, str]:
    said = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"anthropic-ratelimit-{kind}-{what}": text for what, text in said.items()}


def test_every_kind_that_the_api_tells_of_is_read() -> None:
    told = {name: text for kind in KINDS for name, text in headers(kind).items()}
    assert headroom_in(told) == {kind: [1000, 900, "2026-11-21T12:00:00Z"] for kind in KINDS}


def test_a_kind_of_which_half_is_missing_is_left_out() -> None:
    told = headers()
    del told["anthropic-ratelimit-tokens-remaining"]
    assert headroom_in(told | headers("requests")) == {"requests": [1000, 900, "2026-11-21T12:00:00Z"]}


@pytest.mark.parametrize("number", ["-1", "1.5", "", " 7", "1e9", "٣", "9" * 16, "NaN", "\x1b[31m"])
def test_d1_what_is_no_count_is_left_out(number: str) -> None:
    assert headroom_in(headers(limit=number)) == {}
    assert headroom_in(headers(remaining=number)) == {}


@pytest.mark.parametrize("reset", ["soon", "", "2026-11-21", "2026-11-21T12:00:00", "2026-11-21T12:00:00Z\x1b[2J", "60"])
def test_d1_a_time_of_another_form_is_not_passed_on(reset: str) -> None:
    assert headroom_in(headers(reset=reset)) == {"tokens": [1000, 900, None]}


@given(st.dictionaries(st.sampled_from(sorted({name for kind in KINDS for name in headers(kind)})), st.text(max_size=30)))
def test_whatever_comes_nothing_is_raised_and_everything_is_bounded(told: dict[str, str]) -> None:
    for limit, remaining, reset in headroom_in(told).values():
        assert 0 <= limit < 10**15 and 0 <= remaining < 10**15
        assert reset is None or (reset.isascii() and reset.isprintable() and len(reset) < 40)
