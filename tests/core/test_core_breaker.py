"""The breaker of one target, and the retry budget: windows, dwells, probes, the way back. The clock is an argument."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.breaker import RAMP_GOOD, RAMP_START, Breaker, BreakerPolicy, Permit, Result, RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable

US = 1_000_000
T0 = 5_000 * US
POLICY = BreakerPolicy()


def at(seconds: float) -> int:
    return T0 + round(seconds * US)


def report(breaker: Breaker, result: Result, seconds: float, *, cooldown_s: float = 0, draw: float = 0.0) -> bool:
    """An attempt that is admitted and ends at once."""
    permit = breaker.admit(at(seconds), 0.0)
    assert permit is not None
    return breaker.settle(permit, result, at(seconds), draw, reason="529", cooldown_us=round(cooldown_s * US))


def opened(policy: BreakerPolicy = POLICY, seconds: float = 0.0, draw: float = 0.0) -> Breaker:
    """A breaker that has just opened, with a dwell of 10 s."""
    breaker = Breaker(policy)
    for _ in range(3):
        report(breaker, "failure", seconds, draw=draw)
    assert breaker.state == "open"
    return breaker


def probe(breaker: Breaker, seconds: float) -> Permit:
    permit = breaker.admit(at(seconds), 0.0)
    assert permit is not None and permit.probe
    return permit


# -- when it opens -----------------------------------------------------------------------------------------------------


def test_it_opens_after_three_failures_in_a_row() -> None:
    breaker = Breaker(POLICY)
    assert [report(breaker, "failure", second) for second in range(3)] == [False, False, True]
    assert (breaker.state, breaker.reason, breaker.since) == ("open", "529 x3 in a row", at(2))
    assert breaker.until == at(12)


def test_a_good_answer_breaks_the_row() -> None:
    breaker = Breaker(BreakerPolicy(minimum_calls=1000))
    for second in range(60):
        report(breaker, "success" if second % 3 == 2 else "failure", second)
    assert breaker.state == "closed"


def test_i8_three_failures_in_a_quiet_night_are_no_outage() -> None:
    breaker = Breaker(POLICY)
    for minute in range(100):
        report(breaker, "failure", 60 * minute)
    assert breaker.state == "closed"


def test_i8_low_volume_does_not_trip_the_rate() -> None:
    breaker = Breaker(POLICY)
    for number in range(9):
        report(breaker, "failure" if number % 2 == 0 else "success", number)
    assert breaker.state == "closed"


def test_half_of_at_least_ten_calls_open_it() -> None:
    breaker = Breaker(POLICY)
    for number in range(9):
        report(breaker, "success" if number % 2 == 0 else "failure", number)
    assert report(breaker, "failure", 9)
    assert (breaker.state, breaker.reason) == ("open", "5 of 10 failed, last 529")


def test_less_than_half_does_not() -> None:
    breaker = Breaker(POLICY)
    for number in range(300):
        report(breaker, "failure" if number % 5 in (1, 3) else "success", number / 10)
    assert breaker.state == "closed"


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = Breaker(BreakerPolicy(consecutive=1000))
    for number in range(9):
        report(breaker, "failure", number / 10)
    for number in range(9):
        report(breaker, "success", 31 + number / 10)
    assert not report(breaker, "failure", 32)
    assert breaker.state == "closed"


def test_it_opens_when_four_of_five_are_slow() -> None:
    breaker = Breaker(POLICY)
    for number in range(9):
        report(breaker, "success" if number < 2 else "slow", number)
    assert breaker.state == "closed"
    assert report(breaker, "slow", 9)
    assert breaker.reason == "8 of 10 were slow"


@pytest.mark.parametrize("is_permitted", [True, False])
def test_i8_what_says_nothing_about_the_target_never_opens_it(is_permitted: bool) -> None:
    breaker = Breaker(POLICY)
    for number in range(1000):
        assert not report(breaker, "neutral", number / 100, cooldown_s=0 if is_permitted else 60)
    assert (breaker.state, breaker.since) == ("closed", None)


def test_neutral_results_do_not_dilute_a_failure_rate() -> None:
    breaker = Breaker(POLICY)
    for result in ("failure", "neutral", "failure", "neutral", "failure"):
        report(breaker, result, 1)  # type: ignore[arg-type]
    assert breaker.state == "open"


def test_i2_a_cooldown_opens_it_at_once_and_for_as_long_as_was_asked() -> None:
    breaker = Breaker(POLICY)
    assert report(breaker, "failure", 0, cooldown_s=3600)
    assert (breaker.until, breaker.reason) == (at(3600), "529 (left alone for 3600 s)")
    short = Breaker(POLICY)
    report(short, "failure", 0, cooldown_s=3)
    assert short.until == at(10), "never shorter than the dwell"


# -- how long it stays open --------------------------------------------------------------------------------------------


def test_it_admits_nothing_before_the_dwell_is_over_and_one_probe_then() -> None:
    breaker = opened()
    assert breaker.admit(at(9.999), 0.0) is None
    assert probe(breaker, 10).probe == 1
    assert breaker.state == "half_open"
    assert all(breaker.admit(at(10 + n / 100), 0.0) is None for n in range(100))


def test_i3_a_failed_probe_doubles_the_dwell_up_to_a_quarter_of_an_hour() -> None:
    breaker, now, dwells = opened(), 0.0, []
    for _ in range(10):
        dwells.append((breaker.until - at(now)) / US)
        now = (breaker.until - T0) / US
        breaker.settle(probe(breaker, now), "failure", at(now), reason="529")
    assert dwells == [10, 20, 40, 80, 160, 320, 640, 900, 900, 900]


@given(draw=st.floats(0, 1))
def test_jitter_only_shortens_and_by_a_tenth_at_most(draw: float) -> None:
    breaker = opened(draw=draw)
    assert at(9) <= breaker.until <= at(10)
    now = (breaker.until - T0) / US
    breaker.settle(probe(breaker, now), "failure", at(now), draw, reason="529")
    assert at(now + 18) <= breaker.until <= at(now + 20)


def test_i3_a_failed_probe_keeps_to_the_longer_of_dwell_and_cooldown() -> None:
    breaker = opened()
    breaker.settle(probe(breaker, 10), "failure", at(10), reason="429", cooldown_us=300 * US)
    assert breaker.until == at(310)


# -- probes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", ["success", "slow", "failure", "neutral"])
def test_i4_a_probe_gives_its_permit_back_whatever_comes_of_it(result: Result) -> None:
    breaker = opened()
    breaker.settle(probe(breaker, 10), result, at(11), reason="529")
    later = at(11 + 22)
    assert breaker.admit(later, 0.0) is not None


def test_b4_a_probe_that_says_nothing_makes_room_for_another_at_once() -> None:
    breaker = opened()
    assert not breaker.settle(probe(breaker, 10), "neutral", at(10.5))
    assert probe(breaker, 10.5).probe == 2


def test_b4_a_lost_probe_makes_room_after_thirty_seconds() -> None:
    breaker = opened()
    probe(breaker, 10)
    assert breaker.admit(at(39.999), 0.0) is None
    assert probe(breaker, 40).probe == 2
    assert breaker.admit(at(40), 0.0) is None


def test_i5_the_failure_of_a_probe_that_was_given_up_changes_nothing() -> None:
    breaker = opened()
    lost = probe(breaker, 10)
    second = probe(breaker, 40)
    assert not breaker.settle(lost, "failure", at(41), reason="529")
    assert breaker.state == "half_open" and breaker.admit(at(41), 0.0) is None, "the second is still under way"
    assert breaker.settle(second, "success", at(42))


def test_a_target_whose_answers_take_longer_than_a_probes_lease_comes_back() -> None:
    """Plain answers of 40 s: every probe is given up for lost before it comes back, and comes back well."""
    breaker, under_way, now = opened(), [], 10.0
    while not breaker.is_ramping() and now < 600:
        permit = breaker.admit(at(now), 0.0)
        if permit is not None:
            under_way.append((now + 40, permit))
        if under_way and under_way[0][0] <= now:
            breaker.settle(under_way.pop(0)[1], "success", at(now))
        now += 1
    assert now <= 52


def test_i5_results_of_an_earlier_generation_change_nothing() -> None:
    breaker = Breaker(POLICY)
    early = [breaker.admit(at(0), 0.0) for _ in range(20)]
    for _ in range(3):
        report(breaker, "failure", 1)
    until = breaker.until
    for permit, result in zip(early, ["failure", "success", "slow", "neutral"] * 5, strict=True):
        assert permit is not None
        assert not breaker.settle(permit, result, at(2), reason="529", cooldown_us=3600 * US)  # type: ignore[arg-type]
    assert (breaker.state, breaker.until) == ("open", until)
    running = probe(breaker, 11)
    for permit in early:
        assert permit is not None
        assert not breaker.settle(permit, "success", at(11))
    assert not breaker.is_ramping()
    assert breaker.settle(running, "success", at(12))


def test_i5_a_probe_of_an_earlier_outage_does_not_end_this_one() -> None:
    breaker = opened()
    lost = probe(breaker, 10)
    breaker.settle(probe(breaker, 40), "failure", at(40), reason="529")
    assert not breaker.settle(lost, "success", at(41))
    assert breaker.state == "open"
    probe(breaker, 60)
    assert not breaker.settle(lost, "success", at(61))
    assert not breaker.is_ramping()


# -- the way back ------------------------------------------------------------------------------------------------------


def ramping(seconds: float = 10.0) -> Breaker:
    breaker = opened()
    breaker.settle(probe(breaker, seconds), "success", at(seconds))
    assert breaker.is_ramping()
    return breaker


def test_i7_after_a_good_probe_the_traffic_comes_back_gradually() -> None:
    breaker = ramping()
    draws = [number / 1000 for number in range(1000)]
    for second, share in [(0, 0.2), (2.5, 0.4), (5, 0.6), (9.99, 1.0)]:
        admitted = sum(breaker.admit(at(10 + second), draw) is not None for draw in draws)
        assert admitted / 1000 == pytest.approx(share, abs=0.002)
    assert breaker.state == "half_open"
    assert breaker.admit(at(20), 0.999) is not None
    assert (breaker.state, breaker.reason) == ("closed", None)


def test_i7_any_failure_on_the_way_back_opens_it_for_longer() -> None:
    breaker = ramping()
    assert report(breaker, "failure", 12)
    assert (breaker.state, breaker.until) == ("open", at(32))


def test_i7_a_stream_that_breaks_later_counts_on_the_way_back() -> None:
    breaker = opened()
    permit = probe(breaker, 10)
    breaker.settle(permit, "success", at(10))
    assert breaker.settle(permit._replace(probe=0), "failure", at(12), reason="stream broke")
    assert (breaker.state, breaker.until) == ("open", at(32))


def test_i7_an_outage_soon_after_the_last_one_starts_with_a_longer_dwell() -> None:
    breaker = ramping()
    report(breaker, "success", 20)
    assert breaker.state == "closed"
    for _ in range(3):
        report(breaker, "failure", 75)
    assert breaker.until == at(75 + 20)


def test_i7_one_long_after_it_is_a_new_one() -> None:
    breaker = ramping()
    report(breaker, "success", 20)
    for _ in range(3):
        report(breaker, "failure", 81)
    assert breaker.until == at(81 + 10)


def test_without_a_ramp_the_first_good_probe_brings_everything_back() -> None:
    breaker = opened(BreakerPolicy(ramp=0.0))
    breaker.settle(probe(breaker, 10), "success", at(10))
    assert breaker.admit(at(10.001), 0.99) is not None
    assert breaker.state == "closed"


def test_the_window_starts_afresh_when_it_closes() -> None:
    breaker = ramping()
    report(breaker, "success", 20)
    report(breaker, "failure", 20.1)
    report(breaker, "failure", 20.2)
    assert breaker.state == "closed"


# -- the last resort ---------------------------------------------------------------------------------------------------


def test_i6_a_last_resort_is_a_probe_before_its_time() -> None:
    breaker = opened()
    permit = breaker.last_resort(at(1))
    assert permit is not None and permit.is_last_resort and permit.probe
    assert breaker.last_resort(at(2)) is None, "one at a time"
    assert breaker.admit(at(2), 0.0) is None


def test_i6_that_it_fails_makes_the_dwell_neither_longer_nor_shorter() -> None:
    breaker = opened()
    for second in range(1, 9):
        permit = breaker.last_resort(at(second))
        assert permit is not None
        breaker.settle(permit, "failure", at(second), reason="529")
        assert (breaker.state, breaker.until) == ("open", at(10))
    breaker.settle(probe(breaker, 10), "failure", at(10), reason="529")
    assert breaker.until == at(30)


def test_i6_that_it_asks_to_be_left_alone_for_longer_is_heeded() -> None:
    breaker = opened()
    permit = breaker.last_resort(at(1))
    assert permit is not None
    breaker.settle(permit, "failure", at(1), reason="429", cooldown_us=60 * US)
    assert breaker.until == at(61)


def test_i6_that_it_succeeds_brings_the_traffic_back() -> None:
    breaker = Breaker(POLICY)
    report(breaker, "failure", 0, cooldown_s=3600)
    permit = breaker.last_resort(at(1))
    assert permit is not None
    assert breaker.settle(permit, "success", at(1))
    assert breaker.admit(at(1), 0.0) is not None


def test_i3_a_last_resort_that_says_nothing_does_not_end_a_cooldown() -> None:
    breaker = Breaker(POLICY)
    report(breaker, "failure", 0, cooldown_s=3600)
    permit = breaker.last_resort(at(1))
    assert permit is not None
    breaker.settle(permit, "neutral", at(2))
    assert (breaker.state, breaker.until) == ("open", at(3600))
    assert breaker.admit(at(3599), 0.0) is None


def test_i3_a_last_resort_that_is_lost_does_not_either() -> None:
    breaker = Breaker(POLICY)
    report(breaker, "failure", 0, cooldown_s=3600)
    assert breaker.last_resort(at(1)) is not None
    assert breaker.admit(at(100), 0.0) is None
    assert breaker.last_resort(at(100)) is not None, "but another may be asked"
    assert breaker.admit(at(3600), 0.0) is not None


def test_i7_a_last_resorts_stream_that_breaks_later_makes_the_dwell_longer() -> None:
    breaker = opened()
    permit = breaker.last_resort(at(1))
    assert permit is not None
    breaker.settle(permit, "success", at(1))
    breaker.settle(permit._replace(probe=0), "failure", at(5), reason="stream broke")
    assert (breaker.state, breaker.until) == ("open", at(25))


def test_i6_on_the_way_back_a_last_resort_is_an_ordinary_call() -> None:
    permit = ramping().last_resort(at(11))
    assert permit is not None and not permit.is_last_resort and not permit.probe


# -- simulated time ----------------------------------------------------------------------------------------------------


@dataclass
class Sick:
    """A target that is well or not, and calls that ask it when they may."""

    is_well: Callable[[float], bool]
    policy: BreakerPolicy = POLICY
    seed: int = 1
    asked: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    changes: list[tuple[float, str]] = field(default_factory=list)
    good: list[float] = field(default_factory=list)

    def run(self, until_s: float, every_s: float) -> Breaker:
        breaker, draws, now = Breaker(self.policy), random.Random(self.seed), 0.0
        while now < until_s:
            permit = breaker.admit(at(now), draws.random())
            if permit is not None:
                self.asked.append(now)
                result: Result = "success" if self.is_well(now) else "failure"
                (self.good if result == "success" else self.failed).append(now)
                breaker.settle(permit, result, at(now), draws.random(), reason="529")
            if not self.changes or self.changes[-1][1] != breaker.state:
                self.changes.append((now, breaker.state))
            now += every_s
        return breaker


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [1, 10, 50])
def test_b5_five_seconds_good_five_bad_for_ten_minutes(rate: int, seed: int) -> None:
    sick = Sick(lambda now: now % 10 < 5, seed=seed)
    sick.run(600, 1 / rate)
    openings = [now for now, state in sick.changes if state == "open"]
    assert len(openings) <= 7, "10, 20, 40, 80, 160, 320 s: no more fit into ten minutes"
    assert len(sick.changes) <= 3 * 7
    gaps = [later - earlier for earlier, later in itertools.pairwise(openings)]
    assert all(gap >= 9 * 2**number for number, gap in enumerate(gaps)), "ever less often"
    assert len(sick.failed) <= 3 + 2 * 7, "a probe, and one that ten good answers outweigh, per opening"


def test_i7_on_the_way_back_one_failure_behind_ten_good_answers_is_everyday_noise() -> None:
    breaker = opened()
    breaker.settle(probe(breaker, 10), "success", at(10))
    for number in range(RAMP_GOOD):
        assert breaker.state == "half_open"
        breaker.settle(breaker.permit, "success", at(11 + number / 10))
    assert not breaker.settle(breaker.permit, "failure", at(13), 0.0, reason="529")
    assert breaker.state == "half_open", "one of eleven"
    assert breaker.settle(breaker.permit, "failure", at(13.1), 0.0, reason="529")
    assert breaker.state == "open", "and the next one at once is no noise"


def test_i2_a_target_that_asks_to_be_left_alone_on_the_way_back_is() -> None:
    breaker = opened()
    breaker.settle(probe(breaker, 10), "success", at(10))
    for _ in range(RAMP_GOOD):
        breaker.settle(breaker.permit, "success", at(11))
    assert breaker.settle(breaker.permit, "failure", at(12), 0.0, reason="429", cooldown_us=30 * US)
    assert breaker.until >= at(42)


@pytest.mark.parametrize("seed", range(5))
def test_b5_fifteen_seconds_good_five_bad_is_flapping_too(seed: int) -> None:
    """Long enough to come back all the way, not long enough to be trusted."""
    sick = Sick(lambda now: now % 20 < 15, seed=seed)
    sick.run(3600, 0.1)
    openings = [now for now, state in sick.changes if state == "open"]
    assert len(openings) <= 12
    assert len(sick.failed) <= 3 * 12


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("every_s", [0.1, 1.0, 3.0, 4.0])
def test_b15_down_for_a_minute_and_then_healthy(every_s: float, seed: int) -> None:
    sick = Sick(lambda now: now >= 60, seed=seed)
    breaker = sick.run(150, every_s)
    assert len(sick.failed) <= 6, "three to open, one probe per dwell"
    assert sick.good[0] <= 90, "back within 30 s"
    assert breaker.state == "closed"


def test_b13_waking_from_a_stop_of_a_minute_there_is_one_probe_and_no_burst() -> None:
    breaker = opened()
    admitted = [breaker.admit(at(75 + n / 1000), 0.0) for n in range(1000)]
    assert sum(permit is not None for permit in admitted) == 1


def test_b13_a_probe_that_was_under_way_during_a_stop_is_still_good() -> None:
    breaker = opened()
    permit = probe(breaker, 10)
    assert breaker.settle(permit, "success", at(75))
    assert breaker.is_ramping()


def test_b13_a_stop_makes_no_failures_in_a_row_of_old_ones() -> None:
    breaker = Breaker(POLICY)
    report(breaker, "failure", 0)
    report(breaker, "failure", 1)
    report(breaker, "failure", 61)
    assert breaker.state == "closed"


def test_b13_a_clock_that_starts_at_nothing_is_no_matter() -> None:
    breaker = Breaker(POLICY)
    for now_us in range(2):
        permit = breaker.admit(now_us, 0.0)
        assert permit is not None
        breaker.settle(permit, "failure", now_us, reason="529")
    assert breaker.state == "closed"
    assert RAMP_START < 1


# -- the retry budget --------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["call", "retry", "helped"]), max_size=300))
def test_i1_retries_that_did_not_help_stay_within_a_fifth_of_the_calls_and_ten(steps: list[str]) -> None:
    budget, calls, taken, helped = RetryBudget(), 0, 0, 0
    for step in steps:
        if step == "call":
            budget.earn()
            calls += 1
        elif step == "retry":
            taken += budget.take()
        elif helped < taken:
            budget.give_back()
            helped += 1
        assert taken - helped <= 0.2 * calls + 10 + 1e-9
        assert 0 <= budget.tokens <= budget.CAPACITY


# -- another process's word --------------------------------------------------------------------------------------------


def test_a_suspected_target_gets_one_probe_and_nothing_else_until_it_has_answered() -> None:
    breaker = Breaker(POLICY)
    assert breaker.suspect(at(0), at(0.2), "529 x3 in a row (said by pid 7)")
    assert (breaker.state, breaker.since, breaker.is_out()) == ("half_open", at(0.2), False)
    permit = probe(breaker, 0.3)
    assert [breaker.admit(at(0.3 + n), 0.0) for n in range(5)] == [None] * 5
    breaker.settle(permit, "success", at(6))
    assert breaker.is_ramping()
    assert breaker.admit(at(6.1), 0.1) is not None
    assert breaker.admit(at(16.1), 0.9) is not None
    assert (breaker.state, breaker.is_suspected) == ("closed", False)


def test_a_suspected_target_that_fails_its_probe_is_out_for_a_first_dwell() -> None:
    breaker = Breaker(POLICY)
    breaker.suspect(at(0), at(0), "529")
    breaker.settle(probe(breaker, 1), "failure", at(1), reason="529")
    assert (breaker.state, breaker.until, breaker.is_out()) == ("open", at(11), True)
    breaker.settle(probe(breaker, 11), "failure", at(11), reason="529")
    assert breaker.until == at(31)


def test_i7_suspected_soon_after_an_outage_of_its_own_it_is_out_for_longer() -> None:
    breaker = opened()
    breaker.settle(probe(breaker, 10), "success", at(10))
    assert breaker.admit(at(21), 0.0) is not None and breaker.state == "closed"
    assert breaker.suspect(at(22), at(22), "529")
    breaker.settle(probe(breaker, 23), "failure", at(23), reason="529")
    assert breaker.until == at(43)


def test_i7_who_was_only_suspected_is_left_alone_for_a_first_dwell_when_it_fails_itself() -> None:
    breaker = Breaker(POLICY)
    breaker.suspect(at(0), at(0), "529")
    breaker.settle(probe(breaker, 1), "success", at(1))
    assert breaker.admit(at(12), 0.0) is not None and breaker.state == "closed"
    for _ in range(POLICY.consecutive):
        report(breaker, "failure", 13)
    assert (breaker.state, breaker.until) == ("open", at(23))


def test_a_suspicion_ends_with_the_word_that_it_came_from() -> None:
    breaker = Breaker(POLICY)
    breaker.suspect(at(0), at(0), "529")
    assert not breaker.is_calm(at(5))
    assert breaker.trust(at(5))
    assert (breaker.state, breaker.reason, breaker.is_calm(at(5))) == ("closed", None, True)
    assert not breaker.trust(at(6))


def test_i4_a_suspicion_does_not_end_in_the_middle_of_its_probe_or_of_the_way_back() -> None:
    breaker = Breaker(POLICY)
    breaker.suspect(at(0), at(0), "529")
    permit = probe(breaker, 1)
    assert not breaker.trust(at(2))
    breaker.settle(permit, "success", at(3))
    assert not breaker.trust(at(4)) and breaker.is_ramping()
    assert breaker.trust(at(13)) and breaker.state == "closed"
    breaker.suspect(at(20), at(20), "529")
    probe(breaker, 21)
    assert breaker.trust(at(52))


def test_i3_no_word_of_others_ends_an_outage_that_was_seen_here() -> None:
    breaker = opened()
    assert not breaker.trust(at(5)) and breaker.state == "open"
    probe(breaker, 10)
    assert not breaker.trust(at(60)) and breaker.state == "half_open"


def test_a_breaker_that_nobody_asks_is_calm_when_its_time_is_over() -> None:
    breaker = opened()
    assert (breaker.is_calm(at(9.9)), breaker.is_calm(at(10))) == (False, True)
    permit = probe(breaker, 10)
    assert not breaker.is_calm(at(11))
    breaker.settle(permit, "success", at(12))
    assert (breaker.is_calm(at(13)), breaker.is_calm(at(22))) == (False, True)


def test_who_has_had_an_answer_since_knows_better() -> None:
    breaker = Breaker(POLICY)
    report(breaker, "success", 5)
    assert not breaker.suspect(at(4.9), at(6), "529")
    assert not breaker.suspect(at(5), at(6), "529")
    assert breaker.state == "closed"
    assert breaker.suspect(at(5.1), at(6), "529")


@pytest.mark.parametrize("result", ["success", "slow"])
def test_an_answer_is_an_answer_whichever_way_it_was_settled(result: Result) -> None:
    quick, half_open = Breaker(POLICY), opened()
    if result == "success":
        quick.succeed(at(3))
    else:
        report(quick, result, 3)
    half_open.settle(probe(half_open, 10), result, at(13))
    assert (quick.good_at, half_open.good_at) == (at(3), at(13))


def test_i3_a_suspicion_neither_shortens_nor_ends_a_cooldown() -> None:
    breaker = opened()
    assert not breaker.suspect(at(5), at(5), "529")
    assert (breaker.state, breaker.until) == ("open", at(10))
    permit = probe(breaker, 10)
    assert not breaker.suspect(at(11), at(11), "529")
    assert breaker.admit(at(11), 0.0) is None
    breaker.settle(permit, "success", at(12))
    assert not breaker.suspect(at(13), at(13), "529")
    assert breaker.is_ramping()


def test_i5_what_was_sent_before_a_suspicion_says_nothing_about_it() -> None:
    breaker = Breaker(POLICY)
    before = breaker.admit(at(0), 0.0)
    assert before is not None
    breaker.suspect(at(1), at(1), "529")
    for result in ("success", "failure", "slow", "neutral"):
        assert not breaker.settle(before, result, at(2))  # type: ignore[arg-type]
    assert (breaker.state, breaker.is_suspected, breaker.good_at) == ("half_open", True, None)


@given(
    st.lists(st.tuples(st.sampled_from(["suspect", "success", "failure", "neutral", "wait"]), st.floats(0, 30)), max_size=40)
)
def test_with_suspicions_there_is_one_probe_at_a_time_and_no_cooldown_is_cut_short(steps: list[tuple[str, float]]) -> None:
    """Whatever others say and whenever: a cooldown of its own ends when it was to, and nobody is shut out for good."""
    breaker, now, promised, out = Breaker(POLICY), at(0), at(0), None
    for what, seconds in steps:
        now += round(seconds * US)
        if what == "suspect":
            was = breaker.state
            assert breaker.suspect(now - round(seconds * US) // 2, now, "529") <= (was == "closed")
        elif what != "wait":
            permit = breaker.admit(now, 0.0)
            if permit is None:
                assert breaker.state != "closed"
                continue
            assert now >= promised or breaker.state == "closed"
            if permit.probe:
                assert out is None
            breaker.settle(permit, what, now, reason="529")  # type: ignore[arg-type]
            if breaker.state == "open":
                promised = breaker.until
    if breaker.state == "open":
        now = max(now, breaker.until)
    assert breaker.admit(now, 0.0) is not None
