"""I14: which fallback is tried, and when."""

from __future__ import annotations

import pytest

from console.core.exercise import DAY_US, SETTLED_CALLS, SETTLED_US, targets_due

CHAINS = (("a", "b", "c"), ("b", "d"))
BUSY = SETTLED_CALLS


def due(
    good: dict[str, int | None], tried: dict[str, int] | None = None, *, now: int = 3 * DAY_US, calls: int = BUSY
) -> set[str]:
    return set(targets_due(CHAINS, good, tried or {}, now_us=now, began_us=0, calls=calls))


FRESH: dict[str, int | None] = dict.fromkeys("abcd", 3 * DAY_US - 5)


def test_nothing_is_due_while_every_fallback_has_answered_within_a_day() -> None:
    assert due(FRESH) == set()


@pytest.mark.parametrize("name", "bcd")
def test_a_fallback_that_has_not_answered_for_a_day_is_due(name: str) -> None:
    assert due(FRESH | {name: 2 * DAY_US}) == {name}
    assert due(FRESH | {name: 2 * DAY_US + 1}) == set()
    assert due(FRESH | {name: None}) == {name}


def test_no_fallback_waits_for_another_one_whose_chain_nobody_calls() -> None:
    assert due(FRESH | {"b": 0, "d": None}) == {"b", "d"}


def test_a_primary_is_asked_all_the_time_anyway() -> None:
    assert due(FRESH | {"a": None}) == set()


def test_it_is_tried_once_a_day_whatever_came_of_it() -> None:
    old = FRESH | {"c": 0}
    assert due(old, {"c": 2 * DAY_US + 1}) == set()
    assert due(old, {"c": 2 * DAY_US}) == {"c"}


def test_one_that_was_never_asked_waits_for_an_hour_and_a_thousand_calls() -> None:
    never = FRESH | {"c": None}
    young = SETTLED_US - 1
    assert due(dict.fromkeys("abd", young), now=young) == set()
    assert due(dict.fromkeys("abd", SETTLED_US), now=SETTLED_US) == {"c"}
    assert due(never, calls=SETTLED_CALLS - 1) == set()
