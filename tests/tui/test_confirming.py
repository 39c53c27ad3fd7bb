"""The dialog: what it shows, what counts as an answer, what happens when the act fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from console.core.switches import ALL, Scope
from console.errors import ActConflict, NothingToUndo, StoreError
from console.ops.views import Acknowledgement, Order
from console.tui.screens.confirm import _from_to
from tests.tui.driving import opened, painted, typed, until
from tests.tui.example import ExampleDesk, hostile_view, process

pytestmark = pytest.mark.asyncio

ASKING = "any other key cancels"


@pytest.mark.usefixtures("quick")
async def test_a_kill_shows_whom_it_touches_acts_on_y_and_is_read_back() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        text = await until(app, lambda text: ASKING in text)
        for wanted in (
            "Kill support-reply",
            "running  →  killed",
            "2,060 calls, 37 customers, 4.1 %",
            "9 days ago",
            "they finish",
        ):
            assert wanted in text
        assert desk.applied == []
        await pilot.press("y")
        text = await until(app, lambda text: "stopped, 12 of 12 processes, 38 ms" in text)
        assert desk.applied == [(Order("kill", Scope("feature", "support-reply")), None)]
        await until(app, lambda text: "412 before → 0 now" in text)
        await pilot.press("escape")
        await until(app, lambda text: "u undoes it" in text and "■ support-reply" in text)


@pytest.mark.usefixtures("quick")
async def test_k_on_a_killed_row_restores_and_u_undoes_that() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        for act in ("kill", "restore"):
            await pilot.press("K")
            await until(app, lambda text, act=act: f"{act.capitalize()} support-reply" in text and ASKING in text)
            await pilot.press("y")
            await until(app, lambda text: "12 of 12" in text)
            await pilot.press("escape")
            state = "■" if act == "kill" else "▲"
            await until(app, lambda text, state=state: f"{state} support-reply" in text)
        await pilot.press("u")
        await until(app, lambda text: "Undo the last act" in text and ASKING in text)
        await pilot.press("y")
        await until(app, lambda text: "undone" in text)
        assert [order.act for order, _ in desk.applied] == ["kill", "restore", "undo"]
        assert desk.applied[-1][0].change_id is not None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("key", ["n", "escape", "enter", "space", "q", "x", "Y"])
async def test_anything_but_y_cancels(key: str) -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press(key)
        await until(app, lambda text: ASKING not in text)
        assert desk.applied == []
        assert app.is_running


@pytest.mark.usefixtures("quick")
async def test_a_reason_full_of_y_is_written_without_acting() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("r")
        await typed(pilot, "yyy angry replies")
        await until(app, lambda text: "reason: yyy angry replies" in text)
        assert desk.applied == []
        await pilot.press("enter")
        await until(app, lambda text: ASKING in text)
        await pilot.press("y")
        await until(app, lambda text: "12 of 12" in text)
        assert desk.applied[0][1] == "yyy angry replies"


@pytest.mark.usefixtures("quick")
async def test_a_wide_act_wants_its_word_typed_and_a_paste_is_not_typing() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("g", "K")
        await until(app, lambda text: "type all:" in text)
        await pilot.press("y", "enter")
        await until(app, lambda text: "type all to confirm" in text)
        await pilot.press("backspace")
        from textual.events import Paste

        app.screen.post_message(Paste("all"))
        await pilot.press("enter")
        await pilot.pause()
        assert desk.applied == []
        await typed(pilot, "all")
        await pilot.press("tab")
        await typed(pilot, "why")
        await pilot.press("tab", "enter")
        await until(app, lambda text: "stopped, 12 of 12" in text)
        assert desk.applied == [(Order("kill", ALL), "why")]
        await pilot.press("escape")
        await until(app, lambda text: "ALL CALLS STOPPED by op1" in text)


@pytest.mark.usefixtures("quick")
async def test_models_and_customers_are_killed_by_command_with_an_end() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("colon")
        await typed(pilot, "kill customer acme for 30m")
        await pilot.press("enter")
        text = await until(app, lambda text: "type acme:" in text)
        assert "ends by itself after 30m" in text
        await typed(pilot, "acme")
        await pilot.press("enter")
        await until(app, lambda text: "12 of 12" in text)
        assert desk.applied[0][0] == Order("kill", Scope("customer", "acme"), for_us=1_800_000_000)


@pytest.mark.usefixtures("quick")
async def test_a_conflict_shows_a_new_preview_and_loses_nothing() -> None:
    desk = ExampleDesk(refuse=ActConflict("op2 restored it 3 s ago."))
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("r")
        await typed(pilot, "keep me")
        await pilot.press("enter", "y")
        text = await until(app, lambda text: "op2 restored it 3 s ago" in text and ASKING in text)
        assert "keep me" in text
        assert desk.applied == []
        assert len(desk.previews) == 2
        await pilot.press("y")
        await until(app, lambda text: "12 of 12" in text)
        assert desk.applied[0][1] == "keep me"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("error", "said"), [(StoreError("control.db: disk full"), "disk full"), (RuntimeError("secret"), "outcome unknown")]
)
async def test_an_act_that_fails_says_so_and_can_be_tried_again(error: Exception, said: str) -> None:
    desk = ExampleDesk(refuse=error)
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("y")
        text = await until(app, lambda text: said in text)
        assert "secret" not in text
        await until(app, lambda text: ASKING in text)
        await pilot.press("y")
        await until(app, lambda text: "12 of 12" in text)


@pytest.mark.usefixtures("quick")
async def test_laggards_are_named() -> None:
    desk = ExampleDesk(laggards=2)
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("y")
        text = await until(app, lambda text: "10 of 12" in text and "not yet" in text)
        assert "worker app-1 pid 4000" in text
        await pilot.press("escape")
        await until(app, lambda text: "2 processes do not follow" in text)


@pytest.mark.usefixtures("quick")
async def test_nothing_to_undo_is_said() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("u")
        await until(app, lambda text: "nothing is left to undo" in text)
        await pilot.press("x")
        await until(app, lambda text: "nothing is left to undo" not in text)


@pytest.mark.usefixtures("quick")
async def test_a_desk_that_is_slow_does_not_stop_the_screen_and_one_y_is_one_act() -> None:
    desk = ExampleDesk(slow_s=0.4)
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("y", "y", "y", "enter", "escape")
        await until(app, lambda text: "writing…" in text)
        await until(app, lambda text: "12 of 12" in text)
        assert len(desk.applied) == 1


async def test_d8_keys_of_the_first_300_ms_confirm_nothing_and_cancel_nothing() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await asyncio.sleep(0.05)
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("y", "y", "escape")
        await pilot.pause()
        assert desk.applied == []
        assert ASKING in painted(app)
        await asyncio.sleep(0.4)
        await pilot.press("y")
        await until(app, lambda text: "12 of 12" in text)
        assert len(desk.applied) == 1


async def test_d8_a_held_key_never_acts_and_never_acts_twice() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await asyncio.sleep(0.05)
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        for _ in range(15):
            await pilot.press("K")
            await asyncio.sleep(0.03)
        assert ASKING in painted(app)
        for _ in range(25):
            await pilot.press("y")
            await asyncio.sleep(0.03)
        await until(app, lambda text: "12 of 12" in text)
        assert len(desk.applied) == 1
        assert len(desk.previews) == 1


async def test_d8_a_burst_of_keys_opens_no_dialog() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, _):
        from textual.events import Key

        for char in "xKyuK":
            app.post_message(Key(char, char))
        await until(app, lambda text: "faster than fingers" in text)
        assert desk.previews == []


@pytest.mark.usefixtures("quick")
async def test_d3_markup_in_a_preview_is_shown_as_written() -> None:
    desk = ExampleDesk(view=hostile_view(), hostile=True)
    async with opened(desk, (120, 40)) as (app, pilot):
        await pilot.press("j", "j", "K")
        text = await until(app, lambda text: ASKING in text)
        assert "·[2J·]0;own" in text
        await pilot.press("y")
        await until(app, lambda text: "of 1 process" in text)


@pytest.mark.usefixtures("quick")
async def test_an_undo_that_lost_a_race_ends_and_says_who_was_faster() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("y")
        await until(app, lambda text: "12 of 12" in text)
        await pilot.press("escape")
        await until(app, lambda text: "u undoes it" in text)
        await pilot.press("u")
        await until(app, lambda text: "Undo the last act" in text and ASKING in text)
        mine, *older = desk.view.changes
        theirs = replace(mine, id="theirs", actor="op2", act="undo")
        desk.view = replace(desk.view, changes=(theirs, replace(mine, is_undone=True), *older))
        desk.refuse = NothingToUndo("no act that could be taken back")
        looked = len(desk.previews)
        await pilot.press("y")
        text = await until(app, lambda text: "already undone by op2" in text)
        assert ASKING not in text
        assert len(desk.previews) == looked


@pytest.mark.usefixtures("quick")
async def test_the_offer_to_undo_says_what_u_does_in_the_pane_that_has_the_focus() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("y")
        await until(app, lambda text: "12 of 12" in text)
        await pilot.press("escape")
        await until(app, lambda text: "· u undoes it" in text)
        done = desk.view.changes[0].id
        await pilot.press("5", "j", "j")
        await until(app, lambda text: "u in this pane undoes the row; 1 then u undoes it" in text)
        await pilot.press("u")
        await until(app, lambda text: ASKING in text)
        assert desk.previews[-1].change_id == "c2" != done
        await pilot.press("escape", "1")
        await until(app, lambda text: "· u undoes it" in text)
        await pilot.press("u")
        await until(app, lambda text: ASKING in text)
        assert desk.previews[-1].change_id == done


async def test_a_number_that_is_not_known_yet_is_promised() -> None:
    seen = Acknowledgement(1, 1, 1, (), 3.0, 412.0, None)
    assert _from_to(seen, "about 10 s", is_late=False) == "412 before → number in about 10 s"
    assert "still looking" in _from_to(seen, "about 10 s", is_late=True)
    assert _from_to(replace(seen, calls_per_min_now=0.0), "about 10 s", is_late=True) == "412 before → 0 now"


@pytest.mark.usefixtures("quick")
async def test_a_line_of_the_dialog_that_is_cut_says_so() -> None:
    desk = ExampleDesk(laggards=1)
    view = desk.view
    desk.view = replace(view, processes=(process(0, host="h" * 60, service="s" * 60, pid=10**40), *view.processes[1:]))
    async with opened(desk) as (app, pilot):
        await pilot.press("K")
        await until(app, lambda text: ASKING in text)
        await pilot.press("y")
        text = await until(app, lambda text: "not yet" in text)
        cut = next(each for each in text.split("\n") if "not yet" in each)
        assert cut.rsplit("┃", 1)[0].rstrip().endswith("…")
