"""Whose fault it is: each rule of the verdict, and that what cannot be seen is never well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from console.core.statuspage import ASKING, StatusPage, unreachable
from console.core.verdict import FEW, Customer, Seen, Sent, Verdict, is_accounts, side_of, verdict

WELL_PAGE = StatusPage("told", 1, "none", "All Systems Operational")
SICK_PAGE = StatusPage("told", 1, "major", "Partial outage", (("api", "partial_outage"),), ("Errors on Sonnet",))


def sent(target: str, feature: str = "summarize", provider: str = "anthropic") -> Sent:
    return Sent(feature, target, f"claude-{target}-5-5", provider)


def seen(minute: dict[Sent, dict[str, int]], **given: Any) -> Seen:
    return Seen(**{"minute": minute, "window": minute, **given})


def side(minute: dict[Sent, dict[str, int]], **given: Any) -> str:
    return verdict(seen(minute, **given)).side


@pytest.mark.parametrize(
    ("result", "whose"),
    [
        ("ok", None), ("cancelled", None), ("blocked", None), ("degraded", None), ("kill_switch", None),
        ("500", "provider"), ("503", "provider"), ("529", "provider"), ("599", "provider"), ("408", "provider"),
        ("timeout", "provider"), ("truncated_stream", "provider"), ("malformed_event", "provider"), ("malformed_answer", "provider"),
        ("overloaded_error", "provider"), ("api_error: some_code", "provider"),
        ("401", "account"), ("402", "account"), ("403", "account"), ("429", "account"), ("rate_limit_error", "account"),
        ("rate_limit_error: enforced_spend_limit_reached", "account"),
        ("invalid_request_error: enforced_spend_limit_reached", "account"), ("invalid_request_error: other", "us"),
        ("400", "us"), ("404", "us"), ("413", "us"), ("422", "us"), ("no_key", "us"), ("pool", "us"), ("ValueError", "us"),
        ("connection", "network"), ("reset", "network"),
    ],
)  # fmt: skip
def test_every_result_is_somebodys_or_says_nothing(result: str, whose: str | None) -> None:
    assert side_of(result) == whose


def test_5xx_on_one_target_while_others_are_well_is_the_providers() -> None:
    found = verdict(seen({sent("sonnet"): {"529": 14, "ok": 6}, sent("haiku"): {"ok": 300}}, page=WELL_PAGE))
    assert found.side == "provider"
    assert found.said == (
        "the provider: sonnet: 529 x14 of 20 in the last minute while haiku is well; status page does not say so (it lags)"
    )
    assert found.is_trouble


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (None, "status page not asked"), (ASKING, "not heard yet"), (unreachable("timed out", 1), "not reachable"),
        (WELL_PAGE, "does not say so"), (SICK_PAGE, "status page agrees"),
    ],
)  # fmt: skip
def test_the_status_page_agrees_or_not_and_is_never_taken_for_fine_when_it_was_not_read(
    page: StatusPage | None, said: str
) -> None:
    found = verdict(seen({sent("sonnet"): {"529": 14}}, page=page))
    assert (found.side, said in found.said) == ("provider", True)


def test_the_status_page_makes_no_verdict() -> None:
    found = verdict(seen({sent("sonnet"): {"ok": 400, "529": 1}}, page=SICK_PAGE))
    assert found.side == "well"
    assert "Partial outage" in found.said


@pytest.mark.parametrize(
    ("failed", "ok", "is_bad"), [(FEW - 1, 0, False), (FEW, 0, True), (FEW, 57, True), (FEW, 58, False), (20, 1000, False)]
)
def test_single_failures_and_small_shares_are_noise(failed: int, ok: int, is_bad: bool) -> None:
    assert (side({sent("sonnet"): {"529": failed, "ok": ok}}) == "provider") == is_bad


def test_a_target_that_nobody_asks_because_its_breaker_is_open_is_not_well() -> None:
    window = {sent("sonnet"): {"529": 30, "ok": 900}, sent("haiku"): {"ok": 300}}
    minute = {sent("sonnet"): {"529": 1}, sent("haiku"): {"ok": 300}}
    found = verdict(Seen(minute, window, shut={"sonnet": "529 overloaded_error x3 in a row"}))
    assert found.side == "provider"
    why = "529 overloaded_error x3 in a row (529 x30 of 930 in five minutes)"
    assert found.said.startswith(f"the provider: sonnet is left alone: {why} while haiku is well")
    quiet = verdict(Seen({sent("haiku"): {"ok": 300}}, {sent("haiku"): {"ok": 300}}, shut={"sonnet": "8 of 10 were slow"}))
    assert (quiet.side, "sonnet is left alone: 8 of 10 were slow" in quiet.said) == ("provider", True)
    limited = verdict(Seen({}, {}, shut={"sonnet": "429 rate_limit_error, asked to wait 900 s"}))
    assert limited.side == "account"
    assert verdict(Seen(minute, minute)).side == "well", "without the breaker one failure is noise"


def test_rate_limits_are_our_accounts_and_name_the_customer_who_sends_most() -> None:
    minute = {sent("sonnet"): {"429": 40, "ok": 20}}
    found = verdict(seen(minute, customer=Customer("acme", 64, 100), headroom={"sonnet": 0.02, "haiku": 0.9}))
    assert found.said == "our account: sonnet: 429 x40 of 60 in the last minute; acme sends 64% of the calls"
    assert "sonnet has 2% of its rate limit left" in found.evidence
    assert not any("haiku" in said for said in found.evidence)
    small = verdict(seen(minute, customer=Customer("acme", 4, 100)))
    assert "acme" not in small.said
    assert not any("acme" in said for said in small.evidence), "a small customer explains nothing"


@pytest.mark.parametrize(("bad", "good", "side"), [(2, 2, "unknown"), (2, 30, "unknown"), (2, 60, "well"), (0, 1, "well")])
def test_a_few_failures_of_few_attempts_are_neither_an_outage_nor_all_well(bad: int, good: int, side: str) -> None:
    found = verdict(seen({sent("sonnet"): {"reset": bad, "ok": good}}))
    assert found.side == side
    assert ("too few to judge" in found.said) is (side == "unknown")


def test_a_model_that_is_not_there_is_ours() -> None:
    why = "404 not_found_error: is its model retired or misspelt? (left alone for 900 s)"
    found = verdict(Seen({}, {}, shut={"sonnet": why}))
    assert (found.side, "sonnet is left alone: 404" in found.said) == ("us", True)


@pytest.mark.parametrize("status", ["401", "402", "403"])
def test_a_refused_key_and_an_unpaid_bill_count_however_much_else_goes_well(status: str) -> None:
    assert side({sent("sonnet"): {status: 3, "ok": 1000}}) == "account"
    assert side({sent("sonnet"): {"429": 3, "ok": 1000}}) == "well"


def test_a_spend_limit_is_our_accounts_whatever_its_status() -> None:
    code = "invalid_request_error: enforced_spend_limit_reached"
    found = verdict(seen({sent("sonnet"): {code: 30, "ok": 600}}))
    assert (found.side, found.said) == ("account", f"our account: sonnet: {code} x30 of 630 in the last minute")
    assert is_accounts(code) and is_accounts("billing_error")
    assert not is_accounts("invalid_request_error")


def test_what_one_feature_sends_wrong_is_ours_and_does_not_drown_in_the_others() -> None:
    minute = {sent("sonnet", "classify"): {"400": 5, "ok": 1}, sent("sonnet", "summarize"): {"ok": 2000}}
    found = verdict(seen(minute, notes=("12:01Z use prompt:classify v6 → v7 by op1",)))
    assert (found.side, found.said) == ("us", "us: requests of classify: 400 x5 of 6 in the last minute")
    assert "12:01Z use prompt:classify v6 → v7 by op1" in found.evidence


def test_no_connection_to_anybody_is_the_networks() -> None:
    found = verdict(
        seen({sent("sonnet"): {"connection": 9}, sent("bedrock", provider="bedrock"): {"connection": 4, "reset": 2}})
    )
    assert found.side == "network"
    assert "connections fail to sonnet, bedrock (connection x13, reset x2): to all 2 targets that are asked" in found.said
    one = verdict(seen({sent("sonnet"): {"connection": 9}}))
    assert (one.side, "no other target is asked, so it may be the provider" in one.said) == ("network", True)


def test_no_connection_to_one_while_others_answer_is_that_providers() -> None:
    assert side({sent("sonnet"): {"connection": 9}, sent("bedrock"): {"ok": 40}}) == "provider"
    assert side({sent("sonnet"): {"connection": 9}, sent("bedrock"): {"ok": 1}}) == "network", "one answer is no comparison"
    both = verdict(seen({sent("sonnet"): {"reset": 9, "529": 2, "ok": 10}, sent("bedrock"): {"ok": 40}}))
    assert (both.side, "reset x9, 529 x2 of 21" in both.said) == ("provider", True)


def test_the_most_failures_decide_and_the_rest_is_evidence() -> None:
    minute = {sent("sonnet"): {"529": 40, "ok": 10}, sent("haiku", "classify"): {"400": 5, "429": 9, "ok": 10}}
    found = verdict(seen(minute))
    assert found.side == "provider"
    assert [said.split(":")[0] for said in found.evidence[:2]] == ["also our account", "also us"]


def test_our_own_hand_explains_only_what_nothing_else_does() -> None:
    hands = ("summarize is killed by op1: bad answers",)
    assert verdict(seen({sent("haiku"): {"ok": 3}}, hands=hands)) == Verdict(
        "us", "us: summarize is killed by op1: bad answers", (hands[0], "status page: not asked")
    )
    assert side({sent("sonnet"): {"529": 9}}, hands=hands) == "provider"
    assert side({}, hands=hands) == "us", "all of it is stopped: no attempts at all"


def test_no_data_and_old_data_are_not_well() -> None:
    assert (verdict(Seen()).side, verdict(Seen()).said) == ("unknown", "cannot be told: no attempt in five minutes")
    old = verdict(replace(seen({sent("sonnet"): {"ok": 500}}), trouble="no process was heard for more than 15 s"))
    assert (old.side, old.said) == ("unknown", "cannot be told: no process was heard for more than 15 s")
    assert side({sent("sonnet"): {"cancelled": 5}}) == "unknown", "what was cancelled says nothing"
    assert not old.is_trouble


def test_well_says_how_much_it_rests_on() -> None:
    assert verdict(seen({sent("sonnet"): {"ok": 412, "529": 1}})).said == (
        "nothing wrong: 412 of 413 attempts of the last minute went well"
    )
    assert "five minutes" in verdict(Seen({}, {sent("sonnet"): {"ok": 4}})).said
