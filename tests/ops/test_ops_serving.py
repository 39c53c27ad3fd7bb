"""Who serves what and why: chains, fallbacks, breakers over all processes, and heartbeats that say anything at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ops_tools import ROUTING, as_json, desk_of, do, feature, record, target, tell, tell_raw, told
from store_tools import SUMMARIZE, now_us

from console.core.switches import ALL, Scope
from console.core.targets import Routing
from console.ops.heartbeats import State, read_state

if TYPE_CHECKING:
    from console.ops.views import FeatureView
    from console.store.locations import Locations

US = 1_000_000


def test_a_fallback_is_explained_by_the_breakers_and_the_results(places: Locations) -> None:
    since = now_us() - 40 * US
    opened = {"breakers": {"sonnet": told("open", "529 overloaded_error", since, since + 60 * US)}}
    tell(places, opened, {"breakers": {"sonnet": told("open", "529 overloaded_error", since + US, since + 50 * US)}})
    record(places, 14, feature="summarize", target="sonnet", status=529, outcome="failed", served_by="none")
    record(places, 9, ago_s=1, feature="summarize", target="haiku", served_by="fallback")
    view = feature(places, "summarize").fallback
    assert view is not None
    assert (view.target, view.first, view.reason, view.since) == ("haiku", "sonnet", "sonnet open in 2 of 2: 529 x14", since)
    seen = target(places, "sonnet")
    assert seen.breakers == (("open", 2),)
    assert dict(seen.results) == {"529": 14}
    assert (seen.reason, seen.since, seen.probe_at) == ("529 overloaded_error", since, since + 50 * US)
    assert seen.error_rate == 1.0
    assert len(seen.by_process) == 2


def test_a_single_call_that_went_elsewhere_is_no_fallback_while_the_breaker_is_closed(places: Locations) -> None:
    record(places, 30, ago_s=1, feature="summarize", target="sonnet")
    record(places, 1, ago_s=1, feature="summarize", target="haiku", served_by="fallback")
    assert feature(places, "summarize").fallback is None
    tell(places, {"breakers": {"sonnet": told("half_open", "529 x3")}})
    view = feature(places, "summarize").fallback
    assert view is not None and view.reason == "sonnet half_open in 1 of 1: 529 x3"
    record(places, 5, ago_s=1, feature="summarize", target="haiku", served_by="fallback")
    tell(places, {"breakers": {"sonnet": told("closed")}})
    view = feature(places, "summarize").fallback
    assert view is not None and (view.target, view.reason) == ("haiku", "sonnet could not serve them")
    assert (dict(view.shares), view.served) == ({"sonnet": 30 / 36, "haiku": 6 / 36}, "sonnet, haiku 17 %")


def at(places: Locations, after_s: float) -> FeatureView:
    """The feature as it is seen so long after now."""
    seen = desk_of(places, clock_us=lambda: now_us() + int(after_s * US)).status()
    return next(view for view in seen.features if view.feature == "summarize")


def test_a_fallback_is_over_and_the_target_is_the_present_one_within_two_steps(places: Locations) -> None:
    record(places, 30, ago_s=50, feature="summarize", target="haiku", served_by="fallback")
    record(places, 30, ago_s=50, feature="summarize", target="sonnet", status=529, outcome="failed", served_by="none")
    assert (feature(places, "summarize").fallback, feature(places, "summarize").target) == (None, "haiku")
    record(places, 2, ago_s=1, feature="summarize", target="sonnet")
    view = feature(places, "summarize")
    assert (view.fallback, view.target) == (None, "sonnet"), "the minute's majority was haiku"
    record(places, 2, ago_s=1, feature="summarize", target="haiku", served_by="fallback")
    assert feature(places, "summarize").fallback is not None
    assert at(places, 25).fallback is None
    assert at(places, 25).target == "haiku", "nothing recent: the majority of five minutes"


def test_the_reason_of_a_fallback_behind_a_closed_breaker_is_of_the_last_minute(places: Locations) -> None:
    tell(places, {"breakers": {"sonnet": told("closed")}})
    record(places, 40, ago_s=150, feature="summarize", target="sonnet", status=529, outcome="failed", served_by="none")
    record(places, 4, ago_s=1, feature="summarize", target="haiku", served_by="fallback")
    view = feature(places, "summarize").fallback
    assert view is not None and view.reason == "sonnet could not serve them"
    record(places, 2, ago_s=20, feature="summarize", target="sonnet", status=503, outcome="failed", served_by="none")
    view = feature(places, "summarize").fallback
    assert view is not None and view.reason == "sonnet: 503 x2 in the last minute"


@pytest.mark.parametrize("other", [{"breakers": {"sonnet": told("closed")}}, {}])
def test_a_breaker_that_is_open_in_some_processes_says_in_how_many_of_those_that_live(
    places: Locations, other: dict[str, Any]
) -> None:
    tell(places, {"breakers": {"sonnet": told("open", "529 x3")}}, other)
    record(places, 30, ago_s=1, feature="summarize", target="sonnet")
    record(places, 1, ago_s=1, feature="summarize", target="haiku", served_by="fallback")
    view = feature(places, "summarize").fallback
    assert view is not None and view.reason == "sonnet open in 1 of 2: 529 x3"


def test_a_route_is_a_route_and_no_fallback(places: Locations) -> None:
    record(places, 5, ago_s=1, feature="summarize", target="sonnet")
    do(places, "switch", scope=SUMMARIZE, targets=("haiku",))
    record(places, 5, ago_s=0, feature="summarize", target="haiku", served_by="primary")
    view = feature(places, "summarize")
    assert view.fallback is None
    assert view.route is not None and view.route.actor
    assert view.target in ("sonnet", "haiku")


def test_a_forced_breaker_is_the_reason_of_a_fallback(places: Locations) -> None:
    do(places, "force_open", targets=("sonnet",))
    tell(places, {"breakers": {"sonnet": told("forced_open", "by an operator")}})
    record(places, 5, ago_s=1, feature="summarize", target="bedrock", served_by="fallback")
    view = feature(places, "summarize").fallback
    assert view is not None and view.reason.startswith("sonnet forced_open by ")
    forced = target(places, "sonnet").forced
    assert forced is not None and forced.state == "forced_open"


def test_every_configured_target_is_listed_once_with_its_features(places: Locations) -> None:
    record(places, 3, feature="summarize", target="sonnet", model_served="claude-sonnet-5-5-20260901")
    record(places, 3, feature="summarize", target="sonnet", status=500, outcome="failed")
    record(places, 3, feature="plain", target="claude-x-5", model="claude-x-5")
    views = desk_of(places).status().targets
    assert [view.target for view in views] == ["sonnet", "bedrock", "haiku", "claude-x-5"]
    sonnet, bedrock, haiku, plain = views
    assert (sonnet.calls_5m, sonnet.error_rate) == (6, 0.5)
    assert (bedrock.calls_5m, bedrock.breakers, bedrock.p95_ms) == (0, None, None)
    assert haiku.features == ("classify", "plain", "summarize")
    assert (plain.is_configured, plain.model) == (False, "claude-x-5")


def test_a_targets_p95_is_its_own_and_without_the_time_of_the_target_before_it(places: Locations) -> None:
    record(places, 20, feature="a", target="sonnet", duration_us=1_000_000)
    record(places, 20, feature="a", target="haiku", duration_us=100_000)
    record(places, 20, feature="b", target="haiku", duration_us=9_000_000, served_by="fallback")
    record(places, 20, feature="b", target="bedrock", duration_us=2_000_000, served_by="fallback")
    p95 = {view.target: view.p95_ms for view in desk_of(places).status().targets}
    assert p95["sonnet"] == pytest.approx(1000, rel=0.05)
    assert p95["haiku"] == pytest.approx(100, rel=0.05)
    assert p95["bedrock"] == pytest.approx(2000, rel=0.05)


def test_a_target_that_processes_do_not_know_is_counted_and_left_out_of_the_chain(places: Locations) -> None:
    tell(places, {"targets": ["sonnet"]}, {"targets": ["sonnet"]}, {})
    do(places, "switch", scope=ALL, targets=("haiku", "sonnet"))
    assert target(places, "haiku").unknown_in == 2
    assert target(places, "bedrock").unknown_in == 0
    assert feature_chain(places) == ("haiku", "sonnet"), "one process does not say what it knows"
    tell(places, {"targets": ["sonnet"]}, {"targets": ["sonnet"]}, {"targets": []})
    assert feature_chain(places) == ("sonnet",)


def feature_chain(places: Locations) -> tuple[str, ...]:
    record(places, 1, feature="summarize", target="sonnet")
    return feature(places, "summarize").chain


def test_a_console_without_a_configuration_may_switch_to_what_the_processes_know(places: Locations) -> None:
    from console.ops.views import Order

    tell(places, {"targets": ["sonnet", "haiku"]})
    desk = desk_of(places, routing=Routing())
    shown = desk.preview(Order("switch", SUMMARIZE, targets=("haiku",)))
    assert any("not in this console's configuration" in warning for warning in shown.warnings)
    assert shown.choices == ("sonnet",)


HUGE = "x" * 1_000_000
EVIL = "\x1b[2J\x1b]0;owned\x07\u202e"


@pytest.mark.parametrize(
    "state",
    [
        "", "null", "[]", "3", '"text"', "{", "[" * 100_000, '{"breakers": ' + "9" * 5000 + "}", b"\xff\xfe", 7, 1.5, HUGE,
        *map(json.dumps, [
            {"breakers": []}, {"breakers": {"sonnet": None}}, {"breakers": {"sonnet": {"state": "exploded"}}},
            {"breakers": {"sonnet": {"state": ["open"]}}}, {"breakers": {"": {"state": "open"}}},
            {"breakers": {EVIL: {"state": "open"}}}, {"breakers": {HUGE: {"state": "open"}}},
            {"breakers": {"sonnet": {"state": "open", "since": "now", "probe_at": True, "reason": 5}}},
            {"breakers": {"sonnet": {"state": "open", "since": -1, "probe_at": 10**30, "reason": HUGE[:100_000]}}},
            {"targets": "sonnet"}, {"targets": [None, 5, EVIL, {"a": 1}]}, {"targets": {"sonnet": 1}},
            {"prompts": {"a": {"x": "y", "1": 5, "99999999999": "z"}}}, {"prompts": [1]},
            {"prompts": {"a": {"²": "0" * 64}}}, {"prompt_problems": "text"}, {"prompt_problems": [1, None, EVIL * 1000]},
            {"breakers": {f"t{n}": {"state": "open"} for n in range(1000)}, "targets": [f"t{n}" for n in range(5000)]},
        ]),
    ],
)  # fmt: skip
def test_a_heartbeat_may_say_anything_and_the_status_stays(places: Locations, state: Any) -> None:
    from console.ops.views import Order

    tell_raw(places, state)
    desk = desk_of(places)
    view = desk.status()
    assert len(view.processes) == 1
    assert view.telemetry_problem is None
    assert len(view.targets) <= 200
    for one in view.targets:
        assert all(len(breaker.reason or "") <= 500 for breaker in one.by_process)
        assert one.since is None or one.since > 0
    desk.preview(Order("switch", SUMMARIZE, targets=("haiku",)))
    desk.prompts()
    desk.timeline()


def test_what_is_well_formed_beside_nonsense_is_used() -> None:
    found = read_state(as_json({
        "breakers": {"a": told("open", "x", 5, 6), "b": 1, "c": told("closed")}, "targets": ["a", 1], "prompts": {"p": {"3": "0" * 64}},
        "prompt_problems": ["one", 2],
    }))  # fmt: skip
    assert set(found.breakers) == {"a", "c"}
    assert found.targets == {"a"}
    assert dict(found.prompts) == {("p", 3): "0" * 64}
    assert found.problems == ("one",)
    assert read_state("{}") == State()


def test_the_timeline_tells_acts_processes_and_breakers_newest_first(places: Locations) -> None:
    tell(places, {"breakers": {"sonnet": told("open", "529 x3", now_us() - 5 * US)}})
    do(places, "switch", scope=SUMMARIZE, targets=("haiku",), for_us=60 * US)
    lines = desk_of(places).timeline()
    assert [line.at for line in lines] == sorted((line.at for line in lines), reverse=True)
    act = next(line for line in lines if line.kind == "act")
    assert act.text == "switch summarize: sonnet, bedrock, haiku → haiku only"
    assert act.change is not None and act.change.expires_at is not None
    assert {line.kind for line in lines} == {"act", "process", "breaker"}
    assert len(desk_of(places).timeline(limit=1)) == 1


def test_changes_say_from_and_to_for_every_kind_and_nothing_for_unknown_ones(places: Locations) -> None:
    from store_tools import put_switch

    do(places, "kill", scope=SUMMARIZE)
    do(places, "switch", scope=ALL, targets=("haiku",))
    do(places, "force_open", targets=("sonnet",))
    put_switch(places, Scope("feature", "x"), act="throttle", key="throttle/x", value='{"rate":1}')
    put_switch(places, Scope("feature", "x"), act="switch", key="route/all/x", value='{"rate":1}')
    said = [(change.subject, change.before, change.after) for change in desk_of(places).status().changes]
    assert said == [
        ("route/all/x", None, None), ("throttle/x", None, None), ("target:sonnet", "auto", "forced_open"),
        ("all", "auto", "haiku only"), ("feature:summarize", "running", "killed"),
    ]  # fmt: skip
    from console.errors import ActError
    from console.ops.views import Order

    with pytest.raises(ActError, match="does not know how to undo"):
        desk_of(places).preview(Order("undo"))


def test_a_status_without_any_file_lists_the_configured_targets(places: Locations) -> None:
    view = desk_of(places, routing=ROUTING).status()
    assert [one.target for one in view.targets] == ["sonnet", "bedrock", "haiku"]
    assert view.prompt_alarms == ()
    assert desk_of(places).prompts() == ()
    assert desk_of(places).timeline() == ()
