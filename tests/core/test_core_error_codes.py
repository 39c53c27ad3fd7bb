"""What the API's own words mean, whatever status they come with: `error.type` and `error_code`, in an answer and in band."""

from __future__ import annotations

import json
from typing import Any

import pytest
from failover_world import US, World, target
from hypothesis import given
from hypothesis import strategies as st

from console.core.breaker import BreakerPolicy
from console.core.commit import Held
from console.core.flow import Answered, Failed, GiveUp, Reply, Send, Serve, Wait
from console.core.moves import RETIRED, TOO_LONG, error_in, move_in_band, move_of_status, parts_of
from console.core.observation import Observation
from console.core.targets import Target

A, B = target("a"), target("b")
ELSEWHERE = target("d", "https://elsewhere")
OURS = [
    (429, "rate_limit_error: enforced_spend_limit_reached"),
    (429, "rate_limit_error: contract_spend_limit_reached"),
    (400, "invalid_request_error: some_new_spend_limit_reached"),
    (402, "billing_error: linked_organization_spend_limit_reached"),
    (402, "billing_error: linked_organization_billing_unavailable"),
    (400, "invalid_request_error: organization_on_hold"),
    (400, "invalid_request_error: cmek_key_disabled"),
    (400, "invalid_request_error: cmek_key_network_blocked"),
    (400, "invalid_request_error: organization_not_enrolled_in_beta"),
    (400, "billing_error"),
    (500, "authentication_error"),
    (529, "permission_error"),
    (429, "billing_error"),
]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, BreakerPolicy())


def play(world: World, targets: tuple[Any, ...], *replies: Reply, **options: Any) -> tuple[Any, list[str]]:
    """How a call ends that gets these replies, and whom it asked."""
    call = world.begin(*targets, **options)
    for reply in replies:
        if isinstance(call.effect, Wait):
            world.tick(call.effect.seconds + 0.001)
        assert isinstance(call.effect, Send), f"nobody is asked any more: {call.verdict}"
        world.answer(call, reply)
    asked = [attempt.target.name for attempt in call.attempts]
    if call.effect is not None:
        world.cancel(call)
    return call.verdict, asked


def said(status: int, error: str, **more: Any) -> Answered:
    return Answered(status, error=error, **more)


# -- ours --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "error"), OURS)
@pytest.mark.parametrize("retry_after_s", [None, 0.1, 600.0])
@pytest.mark.parametrize("is_changed", [False, True])
def test_an_outage_of_our_own_making_moves_to_another_account_at_once(
    world: World, status: int, error: str, retry_after_s: float | None, is_changed: bool
) -> None:
    """No wait, no second try, nobody with the same key, and no breaker hears of it."""
    for _ in range(4):
        refusal = said(status, error, retry_after_s=retry_after_s, is_changed=is_changed)
        verdict, asked = play(world, (A, B, ELSEWHERE), refusal, Answered(200))
        assert asked == ["a", "d"]
        assert isinstance(verdict, Serve) and verdict.position == 2
    breaker = world.breaker("a")
    assert breaker is not None and (breaker.state, breaker._run) == ("closed", 0)


@pytest.mark.parametrize(("status", "error"), OURS)
def test_without_another_account_the_caller_gets_it_after_one_attempt(world: World, status: int, error: str) -> None:
    verdict, asked = play(world, (A, B), said(status, error, retry_after_s=0.1), retries=2)
    assert (asked, verdict) == (["a"], GiveUp(0, 0))


def test_an_outage_of_our_own_making_behind_a_hop_is_no_misfit(world: World) -> None:
    """It is what went wrong, and is shown; a misfit would not be, beside a failure."""
    on_hold = said(400, "invalid_request_error: organization_on_hold", is_changed=True)
    verdict, asked = play(world, (A, ELSEWHERE), on_hold, Failed("timeout"))
    assert (asked, verdict) == (["a", "d"], GiveUp(0, 0))


@pytest.mark.parametrize("error", ["billing_error", "rate_limit_error: enforced_spend_limit_reached", "permission_error"])
def test_in_band_they_mean_the_same(world: World, error: str) -> None:
    call = world.begin(A, B, ELSEWHERE, is_streamed=True)
    world.answer(call, Answered(200, is_unread_stream=True, is_unread=True))
    world.answer(call, Failed(error, is_in_band=True))
    assert [attempt.target.name for attempt in call.attempts] == ["a", "d"]
    assert move_in_band(error).result == "neutral"
    world.cancel(call)


# -- rate limits, and cooldowns that nobody is blamed for --------------------------------------------------------------


@pytest.mark.parametrize("reply", [said(429, "rate_limit_error: ramp_limit_exceeded"), said(409, "conflict_error")], ids=repr)
def test_what_passes_by_itself_is_no_failure_of_the_target(world: World, reply: Answered) -> None:
    for _ in range(5):
        play(world, (A, B), reply, Answered(200), retries=0)
    breaker = world.breaker("a")
    assert breaker is not None and breaker.state == "closed"


@pytest.mark.parametrize("error", ["rate_limit_error: ramp_limit_exceeded", "conflict_error"])
def test_i2_its_long_retry_after_is_kept_to_all_the_same(world: World, error: str) -> None:
    status = 409 if error == "conflict_error" else 429
    _, asked = play(world, (A, B), said(status, error, retry_after_s=60.0), Answered(200))
    assert asked == ["a", "b"]
    breaker = world.breaker("a")
    assert breaker is not None and (breaker.state, breaker.until - world.now_us) == ("open", 60 * US)
    assert "(left alone for 60 s)" in (breaker.reason or "")


@pytest.mark.parametrize("reply", [said(400, "invalid_request_error"), said(413, "request_too_large")], ids=repr)
def test_i8_a_client_fault_is_none_whatever_it_asks_to_wait(world: World, reply: Answered) -> None:
    verdict, asked = play(world, (A, B), reply._replace(retry_after_s=600.0))
    breaker = world.breaker("a")
    assert (asked, type(verdict)) == (["a"], Serve)
    assert breaker is not None and breaker.state == "closed"


# -- a prompt that is too long -----------------------------------------------------------------------------------------

TOO_LONG_SAYINGS = [
    said(400, "invalid_request_error: prompt_too_long"),
    said(400, "invalid_request_error", is_long=True),
]


@pytest.mark.parametrize("reply", TOO_LONG_SAYINGS, ids=repr)
def test_a_prompt_too_long_goes_to_the_next_target_with_another_model(world: World, reply: Answered) -> None:
    twin = Target("a-at-bedrock", f"us.anthropic.{A.model}-v1:0", provider="bedrock")
    verdict, asked = play(world, (A, twin, B), reply, Answered(200))
    assert asked == ["a", "b"]
    assert isinstance(verdict, Serve) and verdict.position == 2
    breaker = world.breaker("a")
    assert breaker is not None and breaker._run == 0


@pytest.mark.parametrize("reply", TOO_LONG_SAYINGS, ids=repr)
def test_without_another_model_the_caller_gets_it(world: World, reply: Answered) -> None:
    twin = Target("twin", A.model, base_url="https://elsewhere")
    verdict, asked = play(world, (A, twin), reply)
    assert asked == ["a"]
    assert isinstance(verdict, Serve) and verdict.position == 0


@pytest.mark.parametrize("reply", TOO_LONG_SAYINGS, ids=repr)
def test_too_long_for_every_model_is_the_first_400(world: World, reply: Answered) -> None:
    verdict, asked = play(world, (A, B), reply, reply._replace(is_changed=True))
    assert (asked, verdict) == (["a", "b"], GiveUp(0, 0))


@pytest.mark.parametrize("reply", TOO_LONG_SAYINGS, ids=repr)
def test_b12_too_long_for_a_fallback_is_not_shown_for_the_real_failure(world: World, reply: Answered) -> None:
    verdict, asked = play(world, (A, B), said(529, "overloaded_error"), reply._replace(is_changed=True))
    assert (asked, verdict) == (["a", "b"], GiveUp(0, 0))


@pytest.mark.parametrize(
    "reply",
    [
        said(400, "invalid_request_error"),
        said(400, "invalid_request_error: tool_name_conflict", is_long=True),
        said(422, "invalid_request_error", is_long=True),
        Answered(400, is_long=True),
    ],
    ids=repr,
)
def test_any_other_400_is_the_callers_at_once(world: World, reply: Answered) -> None:
    verdict, asked = play(world, (A, B), reply)
    assert (asked, type(verdict)) == (["a"], Serve)


# -- a retired model ---------------------------------------------------------------------------------------------------


def test_a_retired_model_is_left_alone_for_a_quarter_of_an_hour_after_one_look(world: World) -> None:
    gone = said(404, "not_found_error")
    _, asked = play(world, (A, B), gone, Answered(200))
    assert asked == ["a", "b"]
    for _ in range(20):
        world.tick(40.0)
        assert play(world, (A, B), Answered(200))[1] == ["b"]
    breaker = world.breaker("a")
    assert breaker is not None
    assert breaker.reason == "404 not_found_error: is its model retired or misspelt? (left alone for 900 s)"
    world.tick(200.0)
    assert play(world, (A, B), gone, Answered(200))[1] == ["a", "b"]
    assert breaker.until - world.now_us >= 900 * US


def test_a_404_that_is_not_the_apis_word_is_an_ordinary_failure() -> None:
    assert move_of_status(404, is_changed=False, is_configured=True, error="not_found_error") is RETIRED
    assert move_of_status(404, is_changed=False, is_configured=True).cooldown_s == 0
    assert move_of_status(404, is_changed=False, is_configured=False, error="not_found_error").then == "serve"


# -- what is recorded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"type": "api_error", "message": "m"}, "api_error"),
        (
            {"type": "rate_limit_error", "details": {"error_code": "ramp_limit_exceeded"}},
            "rate_limit_error: ramp_limit_exceeded",
        ),
        ({"type": "api_error", "details": None}, "api_error"),
        ({"type": "api_error", "details": {"error_code": 7}}, "api_error"),
        ({"type": "api_error", "details": {"error_code": "\x1b[31m"}}, "api_error"),
        ({"type": "api_error", "details": {"error_code": "x" * 500}}, "api_error"),
        ({"type": "[red]"}, None),
        ({"type": "x" * 500}, None),
        ({"type": 7}, None),
        ({}, None),
        ("api_error", None),
        (None, None),
    ],
)
def test_d1_only_names_are_taken_from_an_error_body(error: object, expected: str | None) -> None:
    assert error_in(error) == expected


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda part: st.dictionaries(st.text() | st.sampled_from(["type", "details", "error_code"]), part),
    )
)
def test_d1_whatever_a_body_holds_is_a_short_printable_line_or_nothing(error: object) -> None:
    found = error_in(error)
    assert found is None or (found.isprintable() and found.isascii() and len(found) <= 170)
    kind, code = parts_of(found)
    assert found == (f"{kind}: {code}" if code else kind)


def test_a_code_is_seen_in_band_and_in_a_body_that_the_caller_reads() -> None:
    body = json.dumps(
        {"type": "error", "error": {"type": "rate_limit_error", "details": {"error_code": "x_spend_limit_reached"}}}
    )
    held = Held()
    assert held.take(f"event: error\ndata: {body}\n\n".encode()) == "error"
    assert held.error_type() == "rate_limit_error: x_spend_limit_reached"
    for is_sse, data in ((True, f"event: error\ndata: {body}\n\n"), (False, body)):
        seen = Observation(is_sse=is_sse)
        seen.feed(data.encode(), lambda: 0)
        seen.close()
        seen.finish()
        assert seen.error == "rate_limit_error: x_spend_limit_reached"


def test_too_long_says_nothing_of_the_target() -> None:
    assert (TOO_LONG.result, TOO_LONG.may_end_with_retry) == ("neutral", False)
