"""The breakers of a process behind one lock: threads, forced states, the last resort, what a heartbeat tells."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from console.core.breaker import Breaker, BreakerPolicy, Permit
from console.core.targets import Target
from console.runtime import gate as gate_module
from console.runtime.gate import MAX_BREAKERS, BreakerState, Gate

if TYPE_CHECKING:
    from collections.abc import Callable

US = 1_000_000
A, B, C = (Target(name, f"claude-{name}") for name in "abc")


class Clock:
    """Both clocks, turned by hand; the wall clock is ahead by `ahead_us`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steady_us, self.ahead_us, self.draw = 1_000 * US, 10**15, 0.0
        patch.setattr(gate_module, "steady_us", lambda: self.steady_us)
        patch.setattr(gate_module, "now_us", lambda: self.steady_us + self.ahead_us)
        patch.setattr(gate_module, "random", self)

    def random(self) -> float:
        return self.draw

    def tick(self, seconds: float) -> None:
        self.steady_us += round(seconds * US)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def admitted(gate: Gate, name: str) -> Permit:
    permit = gate.admit(name, {})
    assert permit is not None
    return permit


def trip(gate: Gate, *names: str) -> None:
    for name in names:
        for _ in range(3):
            gate.settle(name, admitted(gate, name), "failure", reason="529")


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `count` threads return that begin at the same moment."""
    barrier, found = threading.Barrier(count), [None] * count

    def run(index: int) -> None:
        barrier.wait(10)
        found[index] = work(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


@pytest.fixture
def eager_threads() -> Any:
    """Threads that change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_b3_of_32_threads_that_reach_half_open_together_one_probes(clock: Clock) -> None:
    for _ in range(20):
        gate = Gate(BreakerPolicy())
        trip(gate, "a")
        clock.tick(11)
        permits = in_threads(32, lambda _, gate=gate: gate.admit("a", {}))
        assert sum(permit is not None for permit in permits) == 1


@pytest.mark.usefixtures("eager_threads")
def test_i6_of_32_threads_without_a_target_one_asks(clock: Clock) -> None:
    del clock
    gate = Gate(BreakerPolicy())
    trip(gate, "a", "b")
    found = in_threads(32, lambda _: gate.last_resort((A, B), {}))
    assert sum(one is not None for one in found) == 1


@pytest.mark.usefixtures("eager_threads")
def test_i1_threads_do_not_overdraw_the_budget() -> None:
    gate = Gate(BreakerPolicy())
    taken = in_threads(16, lambda _: sum(gate.take() for _ in range(100)))
    assert sum(taken) == 10
    in_threads(16, lambda _: [gate.begin() for _ in range(5)])
    assert 15 <= sum(gate.take() for _ in range(100)) + 6 <= 16


@pytest.mark.usefixtures("eager_threads")
def test_one_breaker_is_made_however_many_threads_ask_first() -> None:
    gate = Gate(BreakerPolicy())
    permits = in_threads(16, lambda _: gate.admit("a", {}))
    assert len(set(permits)) == 1
    for permit in permits[:3]:
        gate.settle("a", permit, "failure", reason="529")
    assert gate.states({})["a"].state == "open"


def test_i5_a_permit_that_is_read_while_the_breaker_opens_is_one_of_the_past(clock: Clock) -> None:
    """Without the lock two things are read one after the other, and a breaker may open between them."""

    class Racing(Breaker):
        __slots__ = ()

        @property
        def state(self) -> Any:
            said = Breaker.state.__get__(self)  # type: ignore[attr-defined]
            if said == "closed" and armed:
                armed.clear()
                super().settle(self.permit, "failure", clock.steady_us, reason="529", cooldown_us=3600 * US)
            return said

        @state.setter
        def state(self, value: Any) -> None:
            Breaker.state.__set__(self, value)  # type: ignore[attr-defined]

    armed: list[bool] = []
    gate = Gate(BreakerPolicy())
    gate._breakers["a"] = breaker = Racing(BreakerPolicy())
    armed.append(True)
    permit = gate.admit("a", {})
    assert permit is not None and breaker.state == "open"
    gate.settle("a", permit, "failure", reason="429", cooldown_us=3 * US)
    assert breaker.until == clock.steady_us + 3600 * US


# -- changed -----------------------------------------------------------------------------------------------------------


def test_every_change_of_a_state_is_told_outside_the_lock(clock: Clock) -> None:
    told: list[str] = []

    def changed() -> None:
        assert not gate._lock.locked()
        told.append(gate.states({})["a"].state)

    gate = Gate(BreakerPolicy(), changed)
    trip(gate, "a")
    assert told == ["open"]
    clock.tick(11)
    permit = admitted(gate, "a")
    assert told == ["open", "half_open"]
    gate.settle("a", permit, "success")
    clock.tick(10)
    admitted(gate, "a")
    assert told == ["open", "half_open", "half_open", "closed"]
    for _ in range(100):
        gate.settle("a", admitted(gate, "a"), "success")
    assert len(told) == 4


def test_a_last_resort_is_a_change_as_well(clock: Clock) -> None:
    del clock
    told: list[str] = []
    gate = Gate(BreakerPolicy(), lambda: told.append(gate.states({})["a"].state))
    trip(gate, "a")
    found = gate.last_resort((A,), {})
    assert found is not None and told == ["open", "half_open"]
    gate.settle("a", found[1], "neutral")
    assert told == ["open", "half_open", "open"]


# -- what a heartbeat tells --------------------------------------------------------------------------------------------


def test_states_are_told_in_utc_with_reason_and_time_of_the_next_probe(clock: Clock) -> None:
    gate = Gate(BreakerPolicy())
    trip(gate, "a")
    admitted(gate, "b")
    now_us = clock.steady_us + clock.ahead_us
    clock.tick(1)
    assert gate.states({}, ["c"]) == {
        "a": BreakerState("open", "529 x3 in a row", now_us, now_us + 10 * US),
        "b": BreakerState("closed", None, None, None),
        "c": BreakerState("closed", None, None, None),
    }


def test_a_forced_breaker_is_told_as_forced(clock: Clock) -> None:
    del clock
    gate = Gate(BreakerPolicy())
    trip(gate, "a")
    states = gate.states({"a": "forced_closed", "z": "forced_open"})
    assert states == {
        "a": BreakerState("forced_closed", "by an operator", None, None),
        "z": BreakerState("forced_open", "by an operator", None, None),
    }


# -- forced ------------------------------------------------------------------------------------------------------------


def test_what_is_forced_open_is_never_admitted_and_forced_closed_always(clock: Clock) -> None:
    del clock
    gate = Gate(BreakerPolicy())
    assert gate.admit("a", {"a": "forced_open"}) is None
    trip(gate, "a")
    for _ in range(10):
        permit = gate.admit("a", {"a": "forced_closed"})
        assert permit is not None
        gate.settle("a", permit, "failure", reason="529", cooldown_us=3600 * US)
    assert gate.admit("a", {}) is None, "what it decides for itself has not changed"
    assert gate.admit("b", {"a": "forced_open"}) is not None


def test_results_under_a_forced_breaker_count_for_nothing_when_it_is_lifted(clock: Clock) -> None:
    del clock
    gate = Gate(BreakerPolicy())
    for _ in range(10):
        permit = gate.admit("a", {"a": "forced_closed"})
        assert permit is not None
        gate.settle("a", permit, "failure", reason="529")
    assert admitted(gate, "a").generation > 0
    assert gate.states({})["a"].state == "closed"


# -- the last resort ---------------------------------------------------------------------------------------------------


def test_i6_the_last_resort_is_whose_turn_comes_first_once_a_second(clock: Clock) -> None:
    gate = Gate(BreakerPolicy())
    gate.settle("a", admitted(gate, "a"), "failure", reason="529", cooldown_us=60 * US)
    gate.settle("b", admitted(gate, "b"), "failure", reason="529", cooldown_us=30 * US)
    found = gate.last_resort((A, B), {})
    assert found is not None and found[0] is B and found[1].is_last_resort
    clock.tick(0.999)
    assert gate.last_resort((A, B), {}) is None
    clock.tick(0.001)
    found = gate.last_resort((A, B), {})
    assert found is not None and found[0] is A, "the other one's probe is still under way"
    clock.tick(1)
    assert gate.last_resort((A, B), {}) is None


def test_i6_never_one_that_an_operator_holds_open_nor_one_that_was_never_asked(clock: Clock) -> None:
    del clock
    gate = Gate(BreakerPolicy())
    trip(gate, "a")
    assert gate.last_resort((A, C), {"a": "forced_open"}) is None


def test_i6_one_whose_traffic_is_coming_back_is_asked_first(clock: Clock) -> None:
    gate = Gate(BreakerPolicy())
    trip(gate, "a")
    clock.tick(11)
    gate.settle("a", admitted(gate, "a"), "success")
    trip(gate, "b")
    clock.draw = 0.99
    assert gate.admit("a", {}) is None
    found = gate.last_resort((B, A), {})
    assert found is not None and found[0] is A and not found[1].is_last_resort


def test_i6_an_hour_of_outage_costs_one_request_a_second(clock: Clock) -> None:
    gate = Gate(BreakerPolicy())
    trip(gate, "a", "b")
    asked = 0
    for _ in range(36_000):
        clock.tick(0.1)
        for one in (A, B):
            permit = gate.admit(one.name, {})
            if permit is not None:
                asked += 1
                gate.settle(one.name, permit, "failure", reason="529")
        found = gate.last_resort((A, B), {})
        if found is not None:
            asked += 1
            gate.settle(found[0].name, found[1], "failure", reason="529")
    assert 3000 <= asked <= 3600 + 30


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_made_up_targets_do_not_fill_the_memory() -> None:
    gate = Gate(BreakerPolicy())
    for number in range(3 * MAX_BREAKERS):
        admitted(gate, f"claude-{number}")
    assert len(gate.states({})) <= MAX_BREAKERS


def test_a_permit_of_a_breaker_that_is_gone_is_given_back_without_a_word() -> None:
    gate = Gate(BreakerPolicy())
    gate.settle("never", Permit(1), "failure", reason="529")
    assert gate.states({}) == {}


def test_c7_after_a_fork_the_lock_is_free() -> None:
    gate = Gate(BreakerPolicy())
    gate._lock.acquire()
    gate.after_fork()
    assert gate.take()
