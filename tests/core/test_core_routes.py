"""Routes and forced breakers as values, and their rows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.routes import (
    Forced,
    Route,
    breaker_key,
    breaker_target,
    decode_force,
    decode_route,
    encode_force,
    encode_route,
    route_key,
    route_of,
    route_scope,
)
from console.core.switches import ALL, Scope

CHAT = Scope("feature", "chat")


def test_a_features_own_route_comes_before_the_one_for_all() -> None:
    routes = {ALL: Route(ALL, ("b",)), CHAT: Route(CHAT, ("a",))}
    assert route_of(routes, "chat", 0) == routes[CHAT]
    assert route_of(routes, "other", 0) == routes[ALL]
    assert route_of({CHAT: routes[CHAT]}, "other", 0) is None


def test_a_route_ends_by_itself_and_the_one_for_all_is_in_force_again() -> None:
    routes = {ALL: Route(ALL, ("b",)), CHAT: Route(CHAT, ("a",), expires_at=100)}
    assert route_of(routes, "chat", 99) == routes[CHAT]
    assert route_of(routes, "chat", 100) == routes[ALL]
    assert not Forced("a", "forced_open", expires_at=100).is_in_force(100)
    assert Forced("a", "forced_open").is_in_force(2**62)


@pytest.mark.parametrize("scope", [ALL, CHAT, Scope("feature", "a/b"), Scope("feature", "ü ")], ids=str)
def test_a_routes_key_says_its_scope(scope: Scope) -> None:
    assert route_scope(route_key(scope)) == scope


@pytest.mark.parametrize(
    "key", ["route", "route/", "route/feature", "route/feature/", "route/model/x", "kill/all", "", "breaker/a"]
)
def test_what_is_no_routes_key_is_none(key: str) -> None:
    assert route_scope(key) is None


def test_a_breakers_key_says_its_target() -> None:
    assert breaker_target(breaker_key("a/b")) == "a/b"
    assert breaker_target("breaker/") is None
    assert breaker_target("kill/all") is None


@given(st.lists(st.text(min_size=1), min_size=1, max_size=10))
def test_a_route_is_read_as_it_was_written(targets: list[str]) -> None:
    assert decode_route(encode_route(tuple(targets))) == tuple(targets)


def test_taking_back_is_written_as_well() -> None:
    assert decode_route(encode_route(None)) is None
    assert decode_force(encode_force(None)) is None
    assert decode_force(encode_force("forced_open")) == "forced_open"
    assert decode_force(encode_force("forced_closed")) == "forced_closed"


BAD_ROUTES = [
    {},
    [],
    None,
    {"targets": []},
    {"targets": ["a"] * 11},
    {"targets": [""]},
    {"targets": [1]},
    {"targets": "a"},
    {"targets": {"a": 1}},
    {"targets": ["a"], "more": 1},
    {"target": ["a"]},
]


@pytest.mark.parametrize("value", [json.dumps(bad) for bad in BAD_ROUTES] + ["", "{", "nope"])
def test_a4_anything_else_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_route(value)


@pytest.mark.parametrize("value", ['{"state":"open"}', '{"state":null}', "{}", '{"state":"auto","x":1}', '"auto"', "", "[]"])
def test_a4_a_breaker_is_forced_in_one_of_two_ways_or_not(value: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_force(value)
