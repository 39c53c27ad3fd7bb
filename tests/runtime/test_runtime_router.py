"""Where a feature's calls go: configuration and the operator's decisions, worked out once per change."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from console.core.control import EMPTY, ControlRow, ControlState, merge
from console.core.flow import Plan
from console.core.routes import breaker_key, encode_force, encode_route, route_key
from console.core.switches import ALL, Scope
from console.core.targets import CHAIN_LIMITS, FeaturePolicy, LimitsPolicy, Routing, Target
from console.runtime import router as router_module
from console.runtime.router import MAX_FEATURES, Router

T0 = 1_795_000_000_000_000
CHAT = Scope("feature", "chat")
SONNET, HAIKU = Target("sonnet", "claude-sonnet-5-5"), Target("haiku", "claude-haiku-5-5")
ROUTING = Routing(
    targets=MappingProxyType({"sonnet": SONNET, "haiku": HAIKU}),
    default=FeaturePolicy(("sonnet", "haiku"), CHAIN_LIMITS),
    features=MappingProxyType({"own": FeaturePolicy(("haiku",), LimitsPolicy(answer=5.0)), "free": FeaturePolicy()}),
)


class Clock:
    def __init__(self) -> None:
        self.now_us = T0

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(router_module, "now_us", clock)
    return clock


@pytest.fixture
def router(clock: Clock) -> Router:
    del clock
    return Router(ROUTING)


def row(key: str, value: str, version: int = 1, expires_at: int | None = None) -> ControlRow:
    return ControlRow(key, value, version, "op", None, T0, expires_at).sealed()


def route(scope: Scope, *targets: str, expires_at: int | None = None) -> ControlRow:
    return row(route_key(scope), encode_route(targets), expires_at=expires_at)


def names(plan: Plan | None) -> list[str]:
    assert plan is not None
    return [target.name for target in plan.targets]


def state(*rows: ControlRow) -> ControlState:
    return merge(EMPTY, rows)


def test_without_a_decision_the_configuration_holds(router: Router) -> None:
    plan = router.plan(EMPTY, "chat")
    assert plan == Plan((SONNET, HAIKU), CHAIN_LIMITS, {}, is_routed=False)
    assert router.plan(EMPTY, "own") == Plan((HAIKU,), LimitsPolicy(answer=5.0), {}, is_routed=False)
    assert router.plan(EMPTY, "free") is None
    assert router.targets == ("sonnet", "haiku")


def test_a_features_route_comes_before_the_one_for_all(router: Router) -> None:
    both = state(route(ALL, "haiku"), route(CHAT, "sonnet"))
    assert names(router.plan(both, "chat")) == ["sonnet"]
    assert names(router.plan(both, "other")) == ["haiku"]
    plan = router.plan(both, "free")
    assert plan is not None and plan.is_routed and names(plan) == ["haiku"]


def test_a_plan_is_worked_out_once_as_long_as_nothing_changes(router: Router) -> None:
    first = state(route(ALL, "haiku"))
    assert router.plan(first, "chat") is router.plan(first, "chat")
    second = merge(first, [row(route_key(ALL), encode_route(None), version=2)])
    assert names(router.plan(second, "chat")) == ["sonnet", "haiku"]
    assert names(router.plan(first, "chat")) == ["haiku"]


def test_a_route_ends_by_itself(router: Router, clock: Clock) -> None:
    routed = state(route(CHAT, "haiku", expires_at=T0 + 100), route(ALL, "haiku", "sonnet", expires_at=T0 + 200))
    assert names(router.plan(routed, "chat")) == ["haiku"]
    clock.now_us += 99
    assert names(router.plan(routed, "chat")) == ["haiku"]
    clock.now_us += 1
    assert names(router.plan(routed, "chat")) == ["haiku", "sonnet"]
    clock.now_us += 100
    plan = router.plan(routed, "chat")
    assert names(plan) == ["sonnet", "haiku"]
    assert plan is not None and not plan.is_routed


def test_a_forced_breaker_ends_by_itself_also_in_plans_that_were_made_before(router: Router, clock: Clock) -> None:
    forced = state(row(breaker_key("sonnet"), encode_force("forced_open"), expires_at=T0 + 100))
    plan = router.plan(forced, "chat")
    assert plan is not None and dict(plan.forced) == {"sonnet": "forced_open"} == router.forced(forced)
    clock.now_us += 100
    plan = router.plan(forced, "chat")
    assert plan is not None and dict(plan.forced) == {} == router.forced(forced)


def test_a_breaker_that_was_set_to_auto_is_not_forced(router: Router) -> None:
    forced = state(row(breaker_key("sonnet"), encode_force("forced_closed")))
    assert router.forced(forced) == {"sonnet": "forced_closed"}
    assert router.forced(merge(forced, [row(breaker_key("sonnet"), encode_force(None), version=2)])) == {}


def test_unknown_targets_are_ignored_and_reported(router: Router) -> None:
    odd = state(
        route(ALL, "gone", "haiku"), route(CHAT, "lost"), row(breaker_key("old"), encode_force("forced_open"))
    )  # fmt: skip
    assert names(router.plan(odd, "other")) == ["haiku"]
    plan = router.plan(odd, "chat")
    assert names(plan) == ["sonnet", "haiku"]
    assert plan is not None and not plan.is_routed
    assert router.unknown(odd) == ["gone", "lost", "old"]
    assert router.unknown(state(route(ALL, "claude-opus-5-5"))) == []


def test_a_route_may_name_a_claude_model_by_its_id(router: Router) -> None:
    plan = router.plan(state(route(CHAT, "claude-opus-5-5")), "chat")
    assert plan is not None and plan.targets == (Target("claude-opus-5-5", "claude-opus-5-5", is_configured=False),)


def test_an_application_that_makes_up_a_feature_per_call_does_not_fill_the_memory(router: Router) -> None:
    for number in range(MAX_FEATURES + 10):
        router.plan(EMPTY, f"feature-{number}")
    assert len(router._plans) <= MAX_FEATURES
