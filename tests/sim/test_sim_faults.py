"""The faults' values: parsing, describing, choosing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.sim.faults import Fault, FaultError, choose, fault_to_json, parse_faults, spend


def test_a_fault_survives_the_way_through_json() -> None:
    fault = Fault(model="m", probability=0.5, status=429, retry_after="soon", latency_s=1.5, times=3, name="drill")
    assert parse_faults([fault_to_json(fault)]) == (fault,)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "faults: expected a list"),
        ([1], r"faults\[0\]: expected an object"),
        ([{}, {"colour": 1}], r"faults\[1\]\.colour: unknown field"),
        ([{"status": "529"}], r"faults\[0\]\.status"),
        ([{"status": 200}], r"faults\[0\]\.status"),
        ([{"status": True}], r"faults\[0\]\.status"),
        ([{"probability": 1.5}], r"faults\[0\]\.probability"),
        ([{"probability": None}], r"faults\[0\]\.probability"),
        ([{"latency_s": -1}], r"faults\[0\]\.latency_s"),
        ([{"latency_s": float("nan")}], r"faults\[0\]\.latency_s"),
        ([{"cut_at": 1.0}], r"faults\[0\]\.cut_at"),
        ([{"reset": 1}], r"faults\[0\]\.reset"),
        ([{"trickle_bytes_per_s": 0}], r"faults\[0\]\.trickle_bytes_per_s"),
        ([{"status": 429, "retry_after": "1\r\nx: y"}], r"faults\[0\]\.retry_after"),
        ([{"retry_after": "1"}], r"faults\[0\]\.retry_after: needs status"),
        ([{"error_type": "api_error"}], r"faults\[0\]\.error_type: needs status or error_at"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(value: object, field: str) -> None:
    with pytest.raises(FaultError, match=field):
        parse_faults(value)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.sampled_from([*Fault.__dataclass_fields__, "x"]), c)))  # fmt: skip
def test_any_json_is_either_read_or_refused(value: Any) -> None:
    try:
        faults = parse_faults(value)
    except FaultError:
        return
    assert all(isinstance(fault, Fault) for fault in faults)


def test_matching_faults_share_the_draw_in_their_order() -> None:
    faults = (Fault(probability=0.1, status=529), Fault(model="other"), Fault(probability=0.2, status=500))
    assert [choose(faults, "m", draw) for draw in (0.0, 0.09, 0.1, 0.29, 0.31, 0.99)] == [0, 0, 2, 2, None, None]


def test_a_fault_for_a_model_leaves_requests_without_one_alone() -> None:
    assert choose((Fault(model="m"),), None, 0.0) is None
    assert choose((Fault(),), None, 0.0) == 0


def test_a_fault_is_used_up_after_its_times() -> None:
    faults: tuple[Fault, ...] = (Fault(status=500, times=2), Fault(status=529))
    taken = []
    for _ in range(4):
        index = choose(faults, "m", 0.5)
        assert index is not None
        taken.append(faults[index].status)
        faults = spend(faults, index)
    assert taken == [500, 500, 529, 529]


def test_a_fault_without_a_name_says_what_it_does() -> None:
    assert Fault(model="m", status=529, reset=True).label == "status=529 reset"
    assert Fault().label == "none"
    assert Fault(status=529, name="outage").label == "outage"


@pytest.mark.parametrize(
    ("fault", "due", "not_due"),
    [
        (Fault(), (0, 1000), ()),
        (Fault(after_s=60), (60, 1000), (0, 59.9)),
        (Fault(for_s=20), (0, 19.9), (20, 1000)),
        (Fault(after_s=60, for_s=20), (60, 79.9), (0, 59.9, 80, 210, 360)),
        (Fault(after_s=60, for_s=20, every_s=150), (60, 79.9, 210, 229, 360, 379), (0, 59.9, 80, 209, 230, 359, 380)),
    ],
)
def test_a_fault_with_a_schedule_is_due_in_it_only(fault: Fault, due: tuple[float, ...], not_due: tuple[float, ...]) -> None:
    assert all(fault.is_due(at) for at in due)
    assert not any(fault.is_due(at) for at in not_due)


def test_a_fault_that_is_not_due_takes_no_share_of_the_draw() -> None:
    faults = (Fault(status=529, after_s=60, for_s=20), Fault(status=500, probability=0.5))
    assert [choose(faults, "m", 0.4, at) for at in (0, 70, 90)] == [1, 0, 1]
    assert choose(faults, "m", 0.9, 0) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"for_s": 0}, "more than 0"),
        ({"after_s": -1}, "0 or more"),
        ({"every_s": 5}, "needs for_s"),
        ({"every_s": 5, "for_s": 6}, "not longer"),
        ({"stall_s": 5}, "needs stall_at or pings_only"),
        ({"status": 429, "retry_after": " 1"}, "without space"),
    ],
)
def test_times_that_make_no_sense_are_refused(value: object, said: str) -> None:
    with pytest.raises(FaultError, match=said):
        parse_faults([value])
