"""What a probe means for a target, targets for a feature, and features for the whole."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from console.core.health import (
    NO_CREDENTIALS,
    NO_PROBE,
    UNUSABLE,
    Asked,
    Health,
    TargetHealth,
    Verdict,
    health_from_json,
    judged,
    questions,
    slow_s,
    weighed,
)
from console.core.targets import LimitsPolicy, Routing, Target

GOOD = Asked(None, 200, 12.0, "req_1")
SONNET, HAIKU = Target("sonnet", "claude-sonnet-5-5"), Target("haiku", "claude-haiku-5-5")


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (GOOD, "healthy"), (GOOD._replace(latency_ms=5_000.0), "healthy"), (GOOD._replace(latency_ms=5_001.0), "degraded"),
        (Asked("rate_limit_error", 429), "degraded"), (Asked("overloaded_error", 529), "down"),
        (Asked("authentication_error", 401), "down"), (Asked("not_found_error", 404), "down"), (Asked("timeout"), "down"),
        (Asked("connection"), "down"), (Asked("a kind of next year", 599), "down"), (Asked("malformed", 200), "down"),
        (Asked("invalid_request_error", 400), "unknown"), (Asked(NO_PROBE), "unknown"), (Asked(NO_CREDENTIALS), "unknown"),
        (Asked(UNUSABLE), "down"),
    ],
)  # fmt: skip
def test_what_a_probe_has_found_is_what_a_target_is(asked: Asked, verdict: Verdict) -> None:
    found = judged(SONNET, asked, 5.0)
    assert (found.verdict, found.kind, found.status, found.request_id) == (verdict, asked.kind, asked.status, asked.request_id)
    assert found.reason


def test_the_breaker_and_the_switches_of_this_process_count_as_well() -> None:
    opened = judged(SONNET, GOOD, 5.0, ("open", "529 x3"))
    reason = "its breaker is open until a call has gone well: 529 x3; the probe: answered"
    assert (opened.verdict, opened.reason) == ("degraded", reason), "who reads down sends no call, and only a call closes it"
    assert judged(SONNET, Asked("timeout"), 5.0, ("open", "529 x3")).verdict == "down"
    assert judged(SONNET, GOOD, 5.0, ("forced_open", None)).verdict == "down"
    assert judged(SONNET, GOOD, 5.0, ("half_open", None)).verdict == "degraded"
    assert judged(SONNET, GOOD, 5.0, ("closed", None)).verdict == "healthy"
    assert judged(SONNET, GOOD, 5.0, ("forced_closed", None)).verdict == "healthy"
    assert judged(SONNET, Asked(NO_CREDENTIALS), 5.0, ("open", None)).verdict == "unknown"
    killed = judged(SONNET, Asked("timeout"), 5.0, ("open", None), "model:claude-sonnet-5-5")
    assert (killed.verdict, "model:claude-sonnet-5-5" in killed.reason) == ("off", True)


def one(target: Target, verdict: Verdict, kind: str | None = None) -> TargetHealth:
    return TargetHealth(target.name, target.model, target.provider, verdict, f"it is {verdict}", kind)


@pytest.mark.parametrize(
    ("sonnet", "haiku", "whole", "feature"),
    [
        ("healthy", "healthy", "healthy", "healthy"), ("healthy", "down", "degraded", "healthy"),
        ("down", "healthy", "degraded", "degraded"), ("down", "down", "down", "down"),
        ("degraded", "healthy", "degraded", "degraded"), ("degraded", "down", "degraded", "degraded"),
        ("down", "degraded", "degraded", "degraded"), ("unknown", "unknown", "unknown", "unknown"),
        ("unknown", "healthy", "unknown", "healthy"), ("unknown", "down", "unknown", "unknown"),
        ("off", "healthy", "healthy", "healthy"), ("off", "down", "down", "down"), ("off", "off", "healthy", "off"),
    ],
)  # fmt: skip
def test_targets_make_a_feature_and_features_the_whole(sonnet: Verdict, haiku: Verdict, whole: str, feature: str) -> None:
    found = weighed([one(SONNET, sonnet), one(HAIKU, haiku)], {"chat": ("sonnet", "haiku")}, {}, 1)
    assert (found.verdict, found.features[0].verdict) == (whole, feature)
    assert found.is_healthy is (whole == "healthy")
    assert found.is_serving is (whole != "down")
    assert found.reason


def test_a_target_without_a_free_probe_is_no_reason_against_features_that_have_others() -> None:
    targets = [one(SONNET, "healthy"), one(HAIKU, "unknown", NO_PROBE)]
    found = weighed(targets, {"chat": ("sonnet", "haiku")}, {}, 1)
    assert (found.verdict, "except haiku" in found.reason) == ("healthy", True)
    assert weighed(targets, {"chat": ("haiku",)}, {}, 1).verdict == "unknown"


def test_a_killed_feature_is_off_and_no_failure() -> None:
    targets = [one(SONNET, "healthy"), one(HAIKU, "down")]
    chains = {"chat": ("sonnet",), "classify": ("haiku",)}
    assert weighed(targets, chains, {}, 1).verdict == "down"
    found = weighed(targets, chains, {"classify": "feature:classify"}, 1)
    assert [(each.feature, each.verdict) for each in found.features] == [("chat", "healthy"), ("classify", "off")]
    assert found.verdict == "degraded", "the target is down all the same"
    found = weighed([one(SONNET, "healthy")], {"chat": ("sonnet",)}, {"chat": "all"}, 1)
    assert (found.verdict, "kill switch" in found.reason) == ("healthy", True)


def test_every_combination_has_a_verdict_and_the_worst_is_named() -> None:
    verdicts: tuple[Verdict, ...] = ("healthy", "degraded", "down", "unknown", "off")
    for first, second, third in product(verdicts, repeat=3):
        targets = [one(SONNET, first), one(HAIKU, second), one(Target("eu", "m"), third)]
        found = weighed(targets, {"a": ("sonnet", "haiku"), "b": ("eu",)}, {}, 1)
        assert (found.verdict == "healthy") <= all(each.verdict in ("healthy", "off") for each in targets)
        assert (found.verdict == "down") == any(each.verdict == "down" for each in found.features)


def test_a_chain_that_names_no_target_of_ours_is_unknown() -> None:
    assert weighed([], {"chat": ()}, {}, 1).verdict == "unknown"


def test_what_is_asked_is_every_target_and_the_applications_own_where_nothing_decides() -> None:
    routing = Routing(targets={"sonnet": SONNET, "haiku": HAIKU})
    targets, chains = questions(routing, {"chat": (HAIKU, Target("claude-x", "claude-x", is_configured=False))}, "m")
    assert (list(targets), chains) == (["sonnet", "haiku", "claude-x"], {"chat": ("haiku", "claude-x")})
    targets, chains = questions(Routing(), {"default": None}, "claude-sonnet-5")
    assert (targets["claude-sonnet-5"].is_configured, chains) == (False, {"default": ("claude-sonnet-5",)})


def test_what_is_late_is_half_of_the_strictest_limit_and_at_most_five_seconds() -> None:
    assert slow_s([]) == slow_s([LimitsPolicy()]) == slow_s([LimitsPolicy(first_token=60)]) == 5.0
    assert slow_s([LimitsPolicy(first_token=60), LimitsPolicy(first_token=3)]) == 1.5


HEALTH = weighed(
    [one(SONNET, "down", "timeout"), one(HAIKU, "healthy")], {"chat": ("sonnet", "haiku")}, {}, 1_800_000_000_123_000
)


def test_it_is_json_and_comes_back_from_it() -> None:
    document = json.loads(json.dumps(HEALTH.to_json()))
    assert document["at"] == "2027-01-15T08:00:00.123+00:00"
    assert health_from_json(document) == HEALTH


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "splendid"},
        {"at": "2027-01-15T08:00:00"},
        {"at": 3},
        {"targets": [{}]},
        {"targets": [3]},
        {"features": None},
    ],
)
def test_what_is_no_health_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        health_from_json({**HEALTH.to_json(), **change})
    assert isinstance(HEALTH, Health)
