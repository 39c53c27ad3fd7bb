"""An operator's order to probe: what it does to a breaker, and that each process carries each order out once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_tools import now_us, until

from console.core.breaker import Breaker, BreakerPolicy
from console.core.control import EMPTY, ControlRefused, ControlRow, merge
from console.core.routes import PROBE_NOW, Probe, probe_key, probe_target
from console.runtime.gate import Gate
from console.runtime.process import Runtime
from console.store.sqlite.control import Change, write_change

if TYPE_CHECKING:
    from console.store.locations import Locations

US = 1_000_000


def opened(now: int = 0) -> Breaker:
    breaker = Breaker(BreakerPolicy())
    for _ in range(3):
        permit = breaker.admit(now, 0.0)
        assert permit is not None
        breaker.settle(permit, "failure", now, reason="529")
    assert breaker.state == "open"
    return breaker


def test_a_breaker_that_is_hastened_lets_one_probe_through_before_its_time() -> None:
    breaker = opened()
    assert breaker.admit(US, 0.0) is None
    assert breaker.hasten(US)
    assert not breaker.hasten(US), "it is due already"
    probe = breaker.admit(US, 0.0)
    assert probe is not None and probe.probe
    assert breaker.admit(US, 0.0) is None, "I4: one at a time"
    assert not breaker.hasten(US), "a probe is out"


def test_i3_after_a_hastened_probe_has_failed_it_is_left_alone_for_as_long_as_it_was_to() -> None:
    breaker = opened()
    due = breaker.until
    for second in (1, 2, 3):
        assert breaker.hasten(second * US)
        probe = breaker.admit(second * US, 0.0)
        assert probe is not None
        breaker.settle(probe, "failure", second * US, reason="529")
        assert (breaker.state, breaker.until) == ("open", due), "asking often neither shortens nor lengthens it"
    probe = breaker.admit(due, 0.0)
    assert probe is not None
    breaker.settle(probe, "failure", due, reason="529")
    assert breaker.until >= due + 2 * due, "one in its own time makes the dwell grow as ever"


def test_a_hastened_probe_that_is_asked_to_wait_waits() -> None:
    breaker = opened()
    breaker.hasten(US)
    probe = breaker.admit(US, 0.0)
    assert probe is not None
    breaker.settle(probe, "failure", US, reason="429", cooldown_us=900 * US)
    assert breaker.until >= 900 * US


def test_an_outage_after_a_hastened_probe_that_went_well_is_a_new_one() -> None:
    breaker = opened()
    breaker.hasten(US)
    probe = breaker.admit(US, 0.0)
    assert probe is not None
    breaker.settle(probe, "success", US)
    ramped = breaker.admit(US + 1, 0.0)
    assert ramped is not None
    breaker.settle(ramped, "failure", US + 1, reason="529")
    assert breaker.until >= US + 1 + 2 * 10 * US


def test_what_is_closed_or_coming_back_is_not_touched() -> None:
    breaker = Breaker(BreakerPolicy())
    assert not breaker.hasten(US)
    assert breaker.state == "closed"
    breaker = opened()
    probe = breaker.admit(breaker.until, 0.0)
    assert probe is not None
    breaker.settle(probe, "success", breaker.until + 1)
    assert breaker.is_ramping() and not breaker.hasten(breaker.until + 2)


def test_the_gate_says_whether_a_target_was_left_alone_and_tells_of_the_change() -> None:
    told: list[int] = []
    gate = Gate(BreakerPolicy(), lambda: told.append(1))
    assert not gate.probe_now("never asked")
    for _ in range(3):
        permit = gate.admit("sonnet", {})
        assert permit is not None
        gate.settle("sonnet", permit, "failure", reason="529")
    told.clear()
    assert gate.admit("sonnet", {}) is None
    assert gate.probe_now("sonnet") and len(told) == 1
    permit = gate.admit("sonnet", {})
    assert permit is not None and permit.probe
    assert not gate.probe_now("sonnet")


# -- the control row


def row(value: str, version: int = 5) -> ControlRow:
    return ControlRow(probe_key("a/b"), value, version, "op1", None, 1, None).sealed()


def test_an_order_is_a_row_of_its_own_kind_and_a_newer_one_is_another_order() -> None:
    assert (probe_target(probe_key("a/b")), probe_target("probe/"), probe_target("breaker/a")) == ("a/b", None, None)
    state = merge(EMPTY, [row(PROBE_NOW)])
    assert dict(state.probes) == {"a/b": Probe("a/b", 5, 1)}
    assert state.ignored == ()
    assert merge(state, [row(PROBE_NOW, 9)]).probes["a/b"].version == 9
    assert merge(state, [row(PROBE_NOW, 3)]).probes["a/b"].version == 5


@pytest.mark.parametrize("value", ["", "null", "{}", '{"probe":"later"}', '{"probe":"now","x":1}', "now", '{"probe": "now"}'])
def test_a4_a_value_that_we_do_not_write_refuses_the_reading(value: str) -> None:
    with pytest.raises(ControlRefused):
        merge(EMPTY, [row(value)])


# -- a process


def write_order(places: Locations, target: str) -> int:
    at = now_us()
    change = Change(f"id{at}", "probe", probe_key(target), PROBE_NOW, at, "op1", {}, None, None, None, None, 0)
    return write_change(places.control, change).version


def test_a_process_carries_each_order_out_once_and_only_then_says_that_it_follows(
    places: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(places, service="test")
    done: list[str] = []
    acknowledged_before: list[object] = []

    def probe_now(target: str) -> bool:
        acknowledged_before.append(runtime._acknowledged[:1])
        done.append(target)
        return True

    monkeypatch.setattr(runtime.gate, "probe_now", probe_now)
    try:
        runtime.current()
        first = write_order(places, "sonnet")
        until(lambda: done == ["sonnet"])
        until(lambda: runtime._acknowledged[:1] == (first,))
        assert acknowledged_before[0] != (first,)
        write_order(places, "haiku")
        until(lambda: "haiku" in done)
        assert done == ["sonnet", "haiku"], "the old one is not carried out again"
        write_order(places, "sonnet")
        until(lambda: done == ["sonnet", "haiku", "sonnet"])
    finally:
        runtime.close()
    assert runtime.errors == 0
