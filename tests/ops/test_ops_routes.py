"""Routes and forced breakers as operators set them: previews, refusals, undo, conflicts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from ops_tools import MINUTE_US, ROUTING, US, acts, desk_of, do, feature, record, row_of, target, tell, told
from store_tools import SUMMARIZE, assert_chain, kill, now_us

from console.core.routes import encode_force, encode_route
from console.core.switches import ALL, Scope
from console.core.targets import Routing
from console.errors import ActConflict, ActError, NothingToUndo
from console.ops.views import Order
from console.store.configuration import load_prices

if TYPE_CHECKING:
    from console.store.locations import Locations

KEY = "route/feature/summarize"


def test_a_switch_changes_the_chain_and_undo_puts_the_configured_one_back(places: Locations) -> None:
    record(places, 1, feature="summarize", target="bedrock")
    desk = desk_of(places)
    shown = desk.preview(Order("switch", SUMMARIZE, targets=("haiku",)))
    assert (shown.before, shown.after, shown.is_wide) == (
        "sonnet, bedrock, haiku; bedrock answered most of the last five minutes",
        "haiku only",
        False,
    )
    assert any("no fallback" in warning for warning in shown.warnings)
    assert shown.choices == ("sonnet", "bedrock")
    desk.apply(shown)
    view = feature(places, "summarize")
    assert view.chain == ("haiku",)
    assert view.route is not None and view.route.scope == SUMMARIZE
    do(places, "undo")
    assert row_of(places, KEY) == (encode_route(None), None)
    assert feature(places, "summarize").chain == ("sonnet", "bedrock", "haiku")
    assert_chain(places)


def test_a16_undo_of_the_switch_that_caused_the_outage_gives_the_exact_route_before_it(places: Locations) -> None:
    first = do(places, "switch", scope=SUMMARIZE, targets=("bedrock", "sonnet"), for_us=30 * MINUTE_US)
    before = row_of(places, KEY)
    do(places, "switch", scope=SUMMARIZE, targets=("haiku",))
    do(places, "undo")
    assert row_of(places, KEY) == before == (encode_route(("bedrock", "sonnet")), first.expires_at)


def test_a16_undo_of_auto_and_of_the_route_for_all(places: Locations) -> None:
    do(places, "switch", scope=ALL, targets=("haiku", "sonnet"))
    do(places, "auto", scope=ALL)
    do(places, "undo")
    assert row_of(places, "route/all") == (encode_route(("haiku", "sonnet")), None)
    do(places, "undo")
    assert row_of(places, "route/all") == (encode_route(None), None)
    with pytest.raises(NothingToUndo):
        do(places, "undo")


def test_a16_undo_of_each_force_gives_what_was_before(places: Locations) -> None:
    end = do(places, "force_closed", targets=("sonnet",), for_us=MINUTE_US).expires_at
    do(places, "force_open", targets=("sonnet",))
    do(places, "force_auto", targets=("sonnet",))
    values = []
    for _ in range(3):
        do(places, "undo")
        values.append(row_of(places, "breaker/sonnet"))
    assert values == [(encode_force("forced_open"), None), (encode_force("forced_closed"), end), (encode_force(None), None)]
    assert_chain(places)


def test_undo_of_what_has_expired_since_says_that_nothing_comes_back(places: Locations) -> None:
    do(places, "switch", scope=SUMMARIZE, targets=("haiku",), for_us=30_000)
    do(places, "switch", scope=SUMMARIZE, targets=("bedrock",))
    record(places, 1, feature="summarize", target="sonnet")
    time.sleep(0.05)
    shown = desk_of(places).preview(Order("undo"))
    assert shown.after == "sonnet, bedrock, haiku"
    do(places, "undo")
    assert feature(places, "summarize").route is None


def test_undo_takes_back_the_newest_act_of_whatever_kind(places: Locations) -> None:
    kill(places, SUMMARIZE)
    do(places, "switch", scope=SUMMARIZE, targets=("haiku",))
    do(places, "force_open", targets=("sonnet",))
    titles = []
    for _ in range(3):
        titles.append(desk_of(places).preview(Order("undo")).title.split(",")[0])
        do(places, "undo")
    assert titles == ["Undo: force_open sonnet", "Undo: switch summarize", "Undo: kill summarize"]


def test_a14_two_operators_switch_the_same_feature_and_the_second_looks_again(places: Locations) -> None:
    first, second = desk_of(places), desk_of(places)
    one = first.preview(Order("switch", SUMMARIZE, targets=("haiku",)))
    two = second.preview(Order("switch", SUMMARIZE, targets=("bedrock",)))
    other = second.preview(Order("switch", ALL, targets=("haiku",)))
    first.apply(one)
    with pytest.raises(ActConflict, match="since you looked"):
        second.apply(two)
    second.apply(other)
    assert acts(places) == ["switch", "switch"]
    again = second.preview(Order("switch", SUMMARIZE, targets=("bedrock",)))
    assert again.before.startswith("haiku only (by ")
    second.apply(again)
    assert feature(places, "summarize").chain == ("bedrock",)


def test_a14_two_operators_force_the_same_breaker(places: Locations) -> None:
    one, two = (desk_of(places).preview(Order("force_open", targets=("sonnet",))) for _ in range(2))
    desk_of(places).apply(one)
    with pytest.raises(ActConflict):
        desk_of(places).apply(two)


def test_an_undo_of_a_route_that_somebody_has_changed_since_is_refused(places: Locations) -> None:
    first = do(places, "switch", scope=SUMMARIZE, targets=("haiku",))
    do(places, "auto", scope=SUMMARIZE)
    with pytest.raises(ActConflict, match="undo that first"):
        do(places, "undo", change_id=first.id)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"targets": ("haiuk",)}, "did you mean haiku"),
        ({"targets": ("nope",)}, "sonnet, bedrock, haiku"),
        ({"targets": ("haiku", "haiku")}, "twice"),
        ({"targets": tuple(f"claude-{n}" for n in range(11))}, "10 targets"),
        ({"targets": ("a\x1b[2J",)}, "printable"),
        ({"targets": ("summarize",)}, "that is a feature"),
        ({"targets": ("haiku",), "scope": Scope("model", "claude-x")}, "no routes"),
        ({"targets": ("haiku",), "scope": None}, "name a feature"),
        ({"targets": ("haiku",), "scope": Scope("feature", "\n")}, "printable"),
        ({"act": "auto", "targets": ("haiku",)}, "not both"),
        ({"act": "force_open", "targets": ()}, "one target"),
        ({"act": "force_open", "targets": ("sonett",)}, "did you mean sonnet"),
    ],
)
def test_what_cannot_be_a_route_is_refused_with_what_can(places: Locations, given: dict[str, Any], words: str) -> None:
    order = {"act": "switch", "scope": SUMMARIZE, **given}
    with pytest.raises(ActError, match=words):
        desk_of(places).preview(Order(**order))
    assert not places.control.exists()


def test_a_switch_without_targets_shows_the_choices_and_cannot_be_applied(places: Locations) -> None:
    desk = desk_of(places)
    shown = desk.preview(Order("switch", SUMMARIZE))
    assert (shown.order.targets, shown.choices) == ((), ("bedrock", "haiku"))
    with pytest.raises(ActError, match="name the targets"):
        desk.apply(shown)
    assert desk.preview(Order("switch", ALL)).choices == ("haiku", "sonnet", "bedrock")


def test_a_model_id_needs_no_configuration_and_an_odd_one_is_pointed_out(places: Locations) -> None:
    desk = desk_of(places)
    assert not desk.preview(Order("switch", SUMMARIZE, targets=("claude-haiku-5-5", "haiku"))).warnings
    shown = desk.preview(Order("switch", SUMMARIZE, targets=("claude-hiaku-5-5",)))
    assert any("did you mean claude-haiku-5-5" in warning for warning in shown.warnings)


def test_the_preview_of_a_switch_for_all_names_what_it_does_not_change(places: Locations) -> None:
    do(places, "switch", scope=SUMMARIZE, targets=("bedrock",))
    kill(places, Scope("feature", "classify"))
    shown = desk_of(places).preview(Order("switch", ALL, targets=("haiku",), for_us=30 * MINUTE_US))
    assert (shown.is_wide, shown.confirm_word) == (True, "all")
    assert shown.after.startswith("haiku only for 30 m, then auto")
    text = "\n".join(shown.warnings)
    assert "summarize (bedrock only)" in text
    assert "classify is killed" in text
    desk_of(places).apply(shown)
    assert feature(places, "summarize").chain == ("bedrock",)
    assert "the route for all" in desk_of(places).preview(Order("auto", SUMMARIZE)).after


def test_the_preview_of_a_switch_says_who_serves_now_what_is_open_and_who_ignores_it(places: Locations) -> None:
    tell(
        places,
        {"breakers": {"haiku": told("open", "529 x5")}, "targets": ["sonnet", "haiku"]},
        {"breakers": {"haiku": told("closed")}, "targets": ["sonnet"]},
    )
    record(places, 4, feature="summarize", target="haiku", served_by="fallback")
    record(places, 1, feature="other", target="haiku")
    desk = desk_of(places)
    shown = desk.preview(Order("switch", SUMMARIZE, targets=("haiku",)))
    assert shown.before == "sonnet, bedrock, haiku; haiku answered most of the last five minutes"
    assert (shown.calls_5m, shown.customers_5m, shown.share_of_traffic) == (4, 1, 0.8)
    text = "\n".join(shown.warnings)
    assert "open in 1 of 2 processes: 529 x5" in text
    assert "1 of 2 live processes do not know haiku" in text
    do(places, "force_open", targets=("haiku",))
    assert "forced_open by" in "\n".join(desk.preview(Order("switch", SUMMARIZE, targets=("haiku",))).warnings)
    with pytest.raises(ActError, match="did you mean summarize"):
        desk.preview(Order("auto", Scope("feature", "sumarize")))


def test_the_same_switch_twice_is_harmless_and_says_so(places: Locations) -> None:
    do(places, "switch", scope=SUMMARIZE, targets=("haiku",))
    desk = desk_of(places)
    assert desk.preview(Order("switch", SUMMARIZE, targets=("haiku",))).is_already_so
    assert not desk.preview(Order("switch", SUMMARIZE, targets=("haiku",), for_us=US)).is_already_so
    assert not desk.preview(Order("switch", SUMMARIZE, targets=("haiku", "sonnet"))).is_already_so
    assert desk.preview(Order("auto", ALL)).is_already_so


def test_forcing_the_last_usable_target_names_the_features_that_lose_it(places: Locations) -> None:
    tell(places, {"breakers": {"bedrock": told("open"), "sonnet": told("closed")}})
    do(places, "force_open", targets=("haiku",))
    desk = desk_of(places, degraded={"summarize": "resting"})
    shown = desk.preview(Order("force_open", targets=("sonnet",)))
    assert (shown.is_wide, shown.confirm_word, shown.subject) == (True, "sonnet", "target:sonnet")
    assert "the last usable target of summarize: calls get the defined text" in shown.warnings
    assert not any("classify" in warning for warning in shown.warnings), "it has lost its only target already"
    shown = desk.preview(Order("force_closed", targets=("bedrock",)))
    assert any("all the same" in warning for warning in shown.warnings)


def test_a_feature_without_a_chain_loses_the_model_that_it_calls(places: Locations) -> None:
    from dataclasses import replace

    from console.core.targets import FeaturePolicy

    record(places, 3, feature="plain", target="claude-x-5")
    desk = desk_of(places, routing=replace(ROUTING, default=FeaturePolicy()))
    shown = desk.preview(Order("force_open", targets=("claude-x-5",)))
    assert "the last usable target of plain: calls get an error" in shown.warnings
    assert shown.calls_5m == 3


def test_what_is_forced_without_being_known_any_more_can_be_let_go(places: Locations) -> None:
    from console.core.targets import Routing

    do(places, "force_open", targets=("bedrock",))
    desk = desk_of(places, routing=Routing())
    with pytest.raises(ActError, match="no target"):
        desk.preview(Order("force_open", targets=("bedrock",)))
    desk.act(Order("force_auto", targets=("bedrock",)))
    assert target(places, "bedrock").forced is None


@pytest.mark.parametrize(
    ("order", "counted", "expected", "before"),
    [
        (Order("kill", SUMMARIZE), "calls that reached the API", "down", 8),
        (Order("restore", SUMMARIZE), "calls that reached the API", "up", 8),
        (Order("switch", SUMMARIZE, targets=("haiku", "sonnet")), "calls served by haiku", "up", 2),
        (Order("switch", ALL, targets=("haiku",)), "calls served by haiku", "up", 3),
        (Order("auto", SUMMARIZE), "calls served by sonnet", "up", 6),
        (Order("auto", ALL), "calls served by sonnet", "up", 6),
        (Order("force_open", targets=("sonnet",)), "calls that sonnet got", "down", 6),
        (Order("force_auto", targets=("sonnet",)), "calls that sonnet got", "up", 6),
    ],
)
def test_each_act_counts_what_it_should_move(places: Locations, order: Order, counted: str, expected: str, before: int) -> None:
    base = now_us() // (10 * US) * 10 * US
    record(places, 6, ago_s=0, feature="summarize", target="sonnet")
    record(places, 2, ago_s=0, feature="summarize", target="haiku", served_by="fallback")
    record(places, 1, ago_s=0, feature="other", target="haiku")
    desk = desk_of(places, clock_us=lambda: base + 20 * US)
    applied = desk.act(order)[1]
    seen = desk_of(places, clock_us=lambda: base + 45 * US).acknowledgement(applied)
    assert (seen.counted, seen.expected, seen.calls_per_min_before) == (counted, expected, before)
    assert seen.calls_per_min_now == 0
    if applied.is_already_so:
        with pytest.raises(NothingToUndo):
            desk.preview(Order("undo"))
        return
    undone = desk.act(Order("undo"))[1]
    assert desk.acknowledgement(undone).counted != ""


def test_a_switch_of_a_feature_that_nobody_knows_is_refused_while_others_are_known(places: Locations) -> None:
    with pytest.raises(ActError, match="no feature 'sumarize'; did you mean summarize"):
        do(places, "switch", scope=Scope("feature", "sumarize"), targets=("haiku",))
    assert not places.control.exists()
    record(places, 1, ago_s=3 * 86400, feature="nightly", target="sonnet")
    do(places, "switch", scope=Scope("feature", "nightly"), targets=("haiku",))
    do(places, "auto", scope=Scope("feature", "nightly"))
    places.telemetry.write_bytes(b"no database" * 500)
    do(places, "switch", scope=Scope("feature", "unseen"), targets=("haiku",))  # nobody can tell
    places.telemetry.unlink()
    do(places, "auto", scope=Scope("feature", "unseen"))  # its route is known


def test_without_any_known_feature_every_name_can_be_switched(places: Locations) -> None:
    desk = desk_of(places, routing=Routing())
    desk.act(Order("switch", SUMMARIZE, targets=("claude-haiku-5-5",)))
    assert acts(places) == ["switch"]


def test_a_model_that_nobody_knows_is_the_first_warning_and_one_with_a_price_is_none(places: Locations) -> None:
    desk = desk_of(places)
    kill(places, SUMMARIZE)
    shown = desk.preview(Order("switch", SUMMARIZE, targets=("haiku", "claude-hiaku-5-5")))
    assert shown.warnings[0].startswith("no target, no price and no call of the last day has the model claude-hiaku-5-5")
    assert "did you mean claude-haiku-5-5" in shown.warnings[0]
    assert len(set(shown.warnings)) == len(shown.warnings)
    priced = next(iter(set(load_prices(None).by_model) - {target.model for target in ROUTING.targets.values()}))
    shown = desk.preview(Order("switch", SUMMARIZE, targets=(priced,)))
    assert not any("no price" in warning for warning in shown.warnings)
