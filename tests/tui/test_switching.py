"""M and B: choosing a target, the differences of a prompt, what is said before and after; and the same acts by name."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from console.core.routes import Route
from console.core.switches import ALL, Scope
from console.errors import ActConflict
from console.ops.views import Order
from console.tui.things import EVERYTHING, Thing, kill_order, rollback_order, switch_order, thing_of
from tests.tui.driving import opened, painted, typed, until
from tests.tui.example import NOW_US, ExampleDesk, calm_view, feature, hostile_desk

ASKING = "any other key cancels"
CHOOSING = "Where to?"


# -- which order a key gives


def test_what_a_row_stands_for_decides_what_a_key_means() -> None:
    view = calm_view()
    assert switch_order(view, EVERYTHING) == Order("switch", ALL)
    assert switch_order(view, Thing("feature", "summarize")) == Order("switch", Scope("feature", "summarize"))
    assert switch_order(view, Thing("prompt", "support-reply")) == Order("switch", Scope("feature", "support-reply"))
    assert rollback_order(view, Thing("feature", "support-reply")) == Order("rollback", prompt="support-reply")
    assert rollback_order(view, Thing("prompt", "any")) == Order("rollback", prompt="any")
    assert kill_order(view, Thing("target", "sonnet")) == Order("kill", Scope("model", "claude-sonnet-5-5"))
    assert kill_order(view, Thing("customer", "acme")) == Order("kill", Scope("customer", "acme"))


@pytest.mark.parametrize(
    "said",
    [
        switch_order(calm_view(), None),
        switch_order(calm_view(), Thing("target", "sonnet")),
        switch_order(calm_view(), Thing("prompt", "nobody-uses-it")),
        rollback_order(calm_view(), None),
        rollback_order(calm_view(), EVERYTHING),
        rollback_order(calm_view(), Thing("target", "sonnet")),
        rollback_order(calm_view(), Thing("feature", "search-rerank")),
        kill_order(calm_view(), None),
        kill_order(calm_view(), Thing("target", "unheard-of")),
    ],
)
def test_a_key_that_does_not_apply_says_why(said: Order | str) -> None:
    assert isinstance(said, str)
    assert said[0] in "KMB"


@pytest.mark.parametrize(
    ("subject", "thing"),
    [
        ("all", EVERYTHING),
        ("feature:a:b", Thing("feature", "a:b")),
        ("prompt:p", Thing("prompt", "p")),
        ("odd", None),
        ("feature:", None),
    ],
)
def test_a_changes_subject_is_a_thing(subject: str, thing: Thing | None) -> None:
    assert thing_of(subject) == thing


# -- M


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_m_chooses_with_a_digit_asks_and_shows_the_number_that_should_move(size: tuple[int, int]) -> None:
    desk = ExampleDesk()
    async with opened(desk, size) as (app, pilot):
        await pilot.press("M")
        text = await until(app, lambda text: CHOOSING in text)
        assert "Switch support-reply" in text
        assert "1 ▲ sonnet" in text
        assert "open 9/12" in text
        assert "2 ● haiku" in text
        assert "back to the chain" not in text
        await pilot.press("2")
        text = await until(app, lambda text: "y does it" in text)
        assert "now:  sonnet → haiku" in text
        assert "then: haiku" in text
        assert "2,060 calls, 37 customers, 4.1 % of traffic" in text
        assert desk.applied == []
        await pilot.press("y")
        text = await until(app, lambda text: "switched, 12 of 12 processes" in text)
        assert "calls served by haiku, a minute (should go up)" in text
        await until(app, lambda text: "0 before → 220 now" in text)
        assert desk.applied == [(Order("switch", Scope("feature", "support-reply"), targets=("haiku",)), None)]
        await pilot.press("escape")
        await until(app, lambda text: "haiku (switched)" in text and "u undoes it" in text)


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
async def test_m_on_a_switched_feature_offers_the_way_back_as_0_and_u_undoes_it() -> None:
    desk = ExampleDesk()
    scope = Scope("feature", "support-reply")
    route = Route(scope, ("haiku",), "slow", "op2", NOW_US - 60_000_000)
    desk.view = replace(
        desk.view, features=tuple(replace(f, route=route) if f.feature == "support-reply" else f for f in desk.view.features)
    )
    async with opened(desk) as (app, pilot):
        await pilot.press("M")
        await until(app, lambda text: "0 back to the chain (auto): sonnet → haiku" in text)
        await pilot.press("0")
        await until(app, lambda text: "y does it" in text)
        await pilot.press("y")
        await until(app, lambda text: "back to the chain, 12 of 12" in text)
        assert desk.applied[0][0] == Order("auto", scope)
        await pilot.press("u")
        await until(app, lambda text: "Undo the last act" in text and ASKING in text)
        await pilot.press("y")
        await until(app, lambda text: "undone" in text)
        assert [order.act for order, _ in desk.applied] == ["auto", "undo"]


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
async def test_m_on_all_features_is_wide_and_j_and_enter_choose() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("g", "M")
        await until(app, lambda text: "Where to?  Switch all features" in text)
        await pilot.press("j", "enter")
        await until(app, lambda text: "type all:" in text)
        await pilot.press("y", "enter")
        await until(app, lambda text: "type all to confirm" in text)
        assert desk.applied == []
        await pilot.press("backspace")
        await typed(pilot, "all")
        await pilot.press("enter")
        await until(app, lambda text: "switched, 12 of 12" in text)
        assert desk.applied[0][0] == Order("switch", ALL, targets=("haiku",))


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("key", ["escape", "y", "q", "K", "space"])
async def test_anything_else_leaves_the_choice_and_nothing_is_done(key: str) -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("M")
        await until(app, lambda text: CHOOSING in text)
        await pilot.press(key)
        await until(app, lambda text: CHOOSING not in text)
        assert desk.applied == []
        assert app.is_running


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
async def test_more_targets_than_digits_are_reached_with_j_and_seen() -> None:
    desk = ExampleDesk(more_targets=tuple(f"spare-{number:02}" for number in range(30)))
    async with opened(desk) as (app, pilot):
        await pilot.press("M")
        await until(app, lambda text: CHOOSING in text and "spare-09" in text)
        await pilot.press(*["j"] * 31)
        await until(app, lambda text: "▶   spare-29" in text and ASKING in text)
        await pilot.press("enter")
        await until(app, lambda text: "then: spare-29" in text)


@pytest.mark.asyncio
async def test_d8_the_choice_takes_no_key_for_300_ms_and_a_held_key_chooses_nothing() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await asyncio.sleep(0.05)
        await pilot.press("M")
        await until(app, lambda text: CHOOSING in text)
        await pilot.press("1", "enter", "M")
        await pilot.pause()
        assert CHOOSING in painted(app)
        await asyncio.sleep(0.4)
        await pilot.press("2", "2", "y", "y")
        await until(app, lambda text: "y does it" in text)
        assert desk.applied == []
        await asyncio.sleep(0.4)
        await pilot.press("y")
        await until(app, lambda text: "12 of 12" in text)
        assert len(desk.applied) == 1


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
async def test_laggards_of_a_switch_are_named_and_a_conflict_looks_again() -> None:
    desk = ExampleDesk(laggards=2, refuse=ActConflict("op2 switched it 3 s ago."))
    async with opened(desk) as (app, pilot):
        await pilot.press("M")
        await until(app, lambda text: CHOOSING in text)
        await pilot.press("2")
        await until(app, lambda text: "y does it" in text)
        await pilot.press("y")
        await until(app, lambda text: "op2 switched it 3 s ago" in text and "y does it" in text)
        await pilot.press("y")
        text = await until(app, lambda text: "10 of 12" in text and "not yet" in text)
        assert "worker app-1 pid 4000" in text


@pytest.mark.asyncio
@pytest.mark.parametrize("key", ["M", "B", "K"])
async def test_read_only_says_why_and_asks_nothing(key: str) -> None:
    desk = ExampleDesk()
    async with opened(desk, read_only=True) as (app, pilot):
        await pilot.press(key)
        await until(app, lambda text: "started with --read-only" in text)
        assert desk.previews == []


# -- B


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
async def test_b_shows_the_differences_and_who_made_it_current_and_rolls_back() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("B")
        text = await until(app, lambda text: "by op1 at" in text)
        for wanted in ("v7  →  v6", "warmer answers", "-Be brief", "+Be exact", "y does it"):
            assert wanted in text
        await pilot.press("y")
        text = await until(app, lambda text: "rolled back, 12 of 12" in text)
        assert "calls with support-reply v6" in text
        assert desk.applied[0][0] == Order("rollback", prompt="support-reply")


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
async def test_long_differences_scroll_and_the_question_stays_in_sight() -> None:
    words = "".join(f"-old line {number}\n+new line {number}\n" for number in range(300))
    async with opened(ExampleDesk(diff_words=words)) as (app, pilot):
        await pilot.press("B")
        text = await until(app, lambda text: "y does it" in text)
        assert "lines 1 to" in text
        assert "j k PgDn PgUp scroll" in text
        await pilot.press("j", "pagedown")
        text = await until(app, lambda text: "+new line 5" in text and "lines 1 to" not in text)
        assert "y does it" in text
        await pilot.press(*["pagedown"] * 60)
        await until(app, lambda text: "cut here" in text)


@pytest.mark.asyncio
async def test_b_on_a_feature_without_a_prompt_says_why() -> None:
    desk = ExampleDesk(view=calm_view(features=(feature("plain", prompt=None, error_rate=0.5),)))
    async with opened(desk) as (app, pilot):
        await pilot.press("B")
        await until(app, lambda text: "no call of plain in the last five minutes carried a prompt version" in text)
        assert desk.previews == []


@pytest.mark.asyncio
async def test_b_that_ops_refuses_says_so() -> None:
    async with opened(ExampleDesk(prompt_states=())) as (app, pilot):
        await pilot.press("B")
        await until(app, lambda text: "there is no prompt support-reply" in text)


# -- by name


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("words", "order"),
    [
        ("switch summarize haiku", Order("switch", Scope("feature", "summarize"), targets=("haiku",))),
        ("rollback support-reply", Order("rollback", prompt="support-reply")),
        ("rollb supp", Order("rollback", prompt="support-reply")),
        ("use support-reply 6", Order("use", prompt="support-reply", version=6)),
        ("open target sonnet", Order("force_open", targets=("sonnet",))),
        ("auto target sonnet", Order("force_auto", targets=("sonnet",))),
    ],
)
async def test_the_palette_completes_and_orders(words: str, order: Order) -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("colon")
        await until(app, lambda text: "Commands" in text)
        await pilot.pause(0.1)
        await typed(pilot, words)
        await pilot.press("enter")
        await until(app, lambda text: "cancels" in text)
        assert desk.previews == [order]


@pytest.mark.asyncio
@pytest.mark.usefixtures("quick")
async def test_d3_hostile_targets_choices_and_differences_are_shown_as_written() -> None:
    desk = hostile_desk()
    async with opened(desk, (120, 40)) as (app, pilot):
        await pilot.press("M")
        text = await until(app, lambda text: CHOOSING in text)
        assert "·[2J·]0;own" in text
        await pilot.press("1")
        await until(app, lambda text: "y does it" in text)
        await pilot.press("y")
        await until(app, lambda text: "of 1 process" in text)
        await pilot.press("escape", "B")
        text = await until(app, lambda text: "what changes in the text" in text)
        assert "+·[2J·]0;own" in text
        assert "y does it" in text
