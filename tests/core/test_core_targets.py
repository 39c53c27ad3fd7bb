"""Targets, chains, limits, and the body for a target after the SDK's hop grammar."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.routes import Route
from console.core.switches import ALL
from console.core.targets import FeaturePolicy, LimitsPolicy, Routing, Target, answer_limit_s, limits_for, model_at, patched

BODY: dict[str, Any] = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hi"}],
    "temperature": 0.5,
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high", "format": {"type": "json_schema"}},
}


def hop(model: str = "claude-haiku-5-5", **params: Any) -> Target:
    return Target("hop", model, params=MappingProxyType(params))


def test_a_value_overrides_and_what_is_absent_keeps() -> None:
    assert patched(BODY, hop(temperature=1.0)) == {**BODY, "model": "claude-haiku-5-5", "temperature": 1.0}


@pytest.mark.parametrize(
    ("provider", "model", "there"),
    [
        ("bedrock", "claude-haiku-5-5", "anthropic.claude-haiku-5-5"),
        ("bedrock-mantle", "claude-haiku-5-5", "anthropic.claude-haiku-5-5"),
        ("bedrock", "anthropic.claude-haiku-5-5", "anthropic.claude-haiku-5-5"),
        ("bedrock", "us.anthropic.claude-haiku-5-5", "us.anthropic.claude-haiku-5-5"),
        ("bedrock", "arn:aws:bedrock:eu-west-1:1:inference-profile/x", "arn:aws:bedrock:eu-west-1:1:inference-profile/x"),
        ("vertex", "claude-haiku-5-5", "claude-haiku-5-5"),
        ("vertex", "claude-haiku-5-5@20260901", "claude-haiku-5-5@20260901"),
        ("foundry", "claude-haiku-5-5", "claude-haiku-5-5"),
        ("anthropic", "claude-haiku-5-5", "claude-haiku-5-5"),
    ],
)
def test_a_model_is_called_what_its_provider_calls_it(provider: str, model: str, there: str) -> None:
    assert model_at(provider, model) == there


def test_null_takes_a_parameter_away() -> None:
    body = patched(BODY, hop(thinking=None, temperature=None, top_k=None))
    assert body == {name: BODY[name] for name in ("max_tokens", "messages", "output_config")} | {"model": "claude-haiku-5-5"}


def test_max_tokens_null_keeps_the_requests() -> None:
    assert patched(BODY, hop(max_tokens=None))["max_tokens"] == 1024
    assert patched(BODY, hop(max_tokens=8))["max_tokens"] == 8


@pytest.mark.parametrize(
    ("own", "patch", "expected"),
    [
        ({"effort": "high", "format": 1}, {"effort": "low"}, {"effort": "low", "format": 1}),
        ({"effort": "high", "format": 1}, {"effort": None}, {"format": 1}),
        ({"effort": "high"}, {"task_budget": 5}, {"effort": "high", "task_budget": 5}),
        ({"effort": "high"}, {"effort": None}, None),
        ({"effort": "high"}, None, None),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 3}}, {"a": {"x": 3}}),
        (None, {"effort": "low", "format": None}, {"effort": "low"}),
        (None, {"effort": None}, None),
    ],
)
def test_output_config_is_merged_one_level_deep(own: Any, patch: Any, expected: Any) -> None:
    body = {"model": "m", "max_tokens": 1} | ({} if own is None else {"output_config": own})
    assert patched(body, hop("m", output_config=patch)).get("output_config") == expected
    assert ("output_config" in patched(body, hop("m", output_config=patch))) == (expected is not None)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_tokens": None},
        {"temperature": 0.5},
        {"top_k": None},
        {"output_config": {"effort": "high"}},
        {"output_config": {"task_budget": None}},
    ],
    ids=repr,
)
def test_i13_when_nothing_differs_the_body_is_the_applications_own(params: dict[str, Any]) -> None:
    assert patched(BODY, hop("claude-sonnet-5-5", **params)) is BODY


parameters = st.dictionaries(
    st.sampled_from(["temperature", "thinking", "top_k", "max_tokens", "output_config"]),
    st.none() | st.integers(0, 3) | st.dictionaries(st.sampled_from("ab"), st.none() | st.integers(0, 2), max_size=2),
)


@given(first=parameters, second=parameters)
def test_i13_hops_never_compound_and_never_touch_the_body(first: dict[str, Any], second: dict[str, Any]) -> None:
    before = copy.deepcopy(BODY)
    alone = patched(BODY, hop(**second))
    patched(BODY, hop(**first))
    assert patched(BODY, hop(**second)) == alone
    assert before == BODY
    assert set(BODY) - set(alone) <= {name for name, value in second.items() if value is None or name == "output_config"}
    assert {name for name in alone if alone[name] != BODY.get(name)} <= {"model", *second}


@given(params=parameters)
def test_i13_nothing_but_what_was_declared_differs_and_no_null_is_sent(params: dict[str, Any]) -> None:
    body = patched(BODY, hop(**params))
    assert None not in body.values()
    if isinstance(params.get("output_config"), dict) and "output_config" in body:
        assert None not in body["output_config"].values() and body["output_config"]


# -- chains ------------------------------------------------------------------------------------------------------------

SONNET, HAIKU = Target("sonnet", "claude-sonnet-5-5"), Target("haiku", "claude-haiku-5-5")
ROUTING = Routing(
    targets=MappingProxyType({"sonnet": SONNET, "haiku": HAIKU}),
    default=FeaturePolicy(("sonnet", "haiku"), LimitsPolicy(answer=9.0)),
    features=MappingProxyType({"own": FeaturePolicy(("haiku",)), "free": FeaturePolicy(None)}),
)


def names(chain: tuple[Target, ...] | None) -> list[str] | None:
    return None if chain is None else [one.name for one in chain]


def test_a_feature_has_its_own_chain_or_the_one_that_every_feature_inherits() -> None:
    assert names(ROUTING.chain_of("anything", None)) == ["sonnet", "haiku"]
    assert names(ROUTING.chain_of("own", None)) == ["haiku"]
    assert ROUTING.chain_of("free", None) is None
    assert Routing().chain_of("anything", None) is None


def test_a_route_comes_before_the_chain_and_decides_for_a_feature_without_one() -> None:
    route = Route(ALL, ("haiku", "sonnet"))
    assert names(ROUTING.chain_of("own", route)) == ["haiku", "sonnet"]
    assert names(ROUTING.chain_of("free", route)) == ["haiku", "sonnet"]


def test_an_unknown_target_of_a_route_is_left_out_and_a_route_of_nothing_else_changes_nothing() -> None:
    assert names(ROUTING.chain_of("own", Route(ALL, ("gone", "sonnet")))) == ["sonnet"]
    assert names(ROUTING.chain_of("own", Route(ALL, ("gone",)))) == ["haiku"]
    assert ROUTING.chain_of("free", Route(ALL, ("gone",))) is None


def test_a_claude_model_is_a_target_by_its_id() -> None:
    found = ROUTING.target_named("claude-opus-5-5")
    assert found == Target("claude-opus-5-5", "claude-opus-5-5", is_configured=False)
    assert ROUTING.target_named("gpt") is None


def test_targets_with_the_same_key_at_the_same_place_are_one_account() -> None:
    assert SONNET.account == HAIKU.account
    assert Target("x", "m", api_key="env:OTHER").account != SONNET.account
    assert Target("x", "m", base_url="https://x", api_key="client").account != SONNET.account


# -- limits for one request --------------------------------------------------------------------------------------------

LIMITS = LimitsPolicy(answer=120.0, first_token=20.0, silence=15.0)


@pytest.mark.parametrize(
    ("answer", "max_tokens", "expected"),
    [
        (120.0, 1, 120.0),
        (120.0, 8_192, 120.0),
        (120.0, 16_384, 240.0),
        (120.0, 64_000, 937.5),
        (300.0, 64_000, 1_800.0),  # what the SDK reckons with: 128,000 tokens in an hour
        (5_000.0, 64_000, 5_000.0),
        (120.0, "many", 120.0),
        (120.0, True, 120.0),
        (120.0, None, 120.0),
        (None, 64_000, None),
    ],
)
def test_a_long_answer_may_take_longer(answer: float | None, max_tokens: object, expected: float | None) -> None:
    assert answer_limit_s(LimitsPolicy(answer=answer), max_tokens) == expected


@given(st.floats(0.1, 1e5), st.integers(-5, 10**7), st.integers(-5, 10**7))
def test_the_limit_never_shrinks_and_never_falls_below_the_configured_one(answer: float, one: int, other: int) -> None:
    short, long = (answer_limit_s(LimitsPolicy(answer=answer), tokens) or 0 for tokens in sorted((one, other)))
    assert answer <= short <= long


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2048}])
def test_a_model_that_thinks_first_may_take_longer_for_its_first_content(thinking: dict[str, Any]) -> None:
    found = limits_for(LIMITS, {"max_tokens": 100, "thinking": thinking})
    assert (found.first_token, found.answer, found.silence) == (100.0, 120.0, 15.0)
    assert limits_for(LimitsPolicy(first_token=20.0, thinking=45.0), {"thinking": thinking}).first_token == 45.0
    assert limits_for(LimitsPolicy(), {"thinking": thinking}) == LimitsPolicy()


@pytest.mark.parametrize(
    "body",
    [{}, {"max_tokens": 8_192}, {"max_tokens": [9_000]}, {"thinking": {"type": "disabled"}}, {"thinking": None}, b"raw", None],
    ids=repr,
)
def test_limits_are_the_very_same_when_nothing_differs(body: object) -> None:
    assert limits_for(LIMITS, body) is LIMITS


def test_more_time_for_thinking_is_not_given_twice() -> None:
    once = limits_for(LIMITS, {"thinking": {"type": "adaptive"}})
    assert (once.first_token, once.thinking_s) == (100.0, 100.0)
    assert limits_for(once, {"thinking": {"type": "adaptive"}}) == once
