"""The overview: what it says, how it moves, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.core.switches import ALL, Scope, Switch
from console.errors import StoreError
from console.ops.views import ControlView
from tests.tui.driving import opened, painted, typed, until
from tests.tui.example import ExampleDesk, calm_view, empty_view, feature, process

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("size", [(80, 24), (120, 32), (160, 48)])
async def test_the_first_glance_says_where_what_and_how_bad(size: tuple[int, int]) -> None:
    async with opened(ExampleDesk(), size) as (app, _):
        text = painted(app)
        for wanted in (
            "PRODUCTION",
            "bastion-1",
            "✓12/12",
            "data <5 s old",
            "▲ support-reply",
            "CRIT",
            "412",
            "8.3 %",
            "9.1 s",
        ):
            assert wanted in text
        for title in ("1 Features", "2 Quality", "3 Latency and errors", "4 Failover", "5 What changed"):
            assert title in text
        assert "op2" in text
        assert "K kill" in text


async def test_the_cursor_starts_on_the_worst_feature_and_its_trends_are_asked_for() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, _):
        await until(app, lambda text: "▶▲ support-reply" in text and "errors · support-re" in text)
        assert "support-reply" in desk.asked_for


async def test_the_cursor_holds_on_to_its_feature_when_rows_move() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("j", "j", "j")
        await until(app, lambda text: "▶● search-rerank" in text)
        sick = feature("aaa-new", error_rate=0.9)
        desk.view = replace(desk.view, features=(sick, *desk.view.features))
        await until(app, lambda text: "▲ aaa-new" in text and "▶● search-rerank" in text)


async def test_none_is_a_dash_and_a_killed_row_says_by_whom() -> None:
    desk = ExampleDesk()
    switch = Switch(Scope("feature", "summarize"), reason="bad", actor="op1", at=1)
    desk.view = replace(desk.view, switches=(switch,), features=desk._features_with((switch,)))
    async with opened(desk) as (app, _):
        text = await until(app, lambda text: "■ summarize" in text)
        row = next(line for line in text.split("\n") if "summarize" in line)
        assert "OFF" in row
        assert "killed by op1" in row
        idle = next(line for line in text.split("\n") if "translate" in line)
        assert "–" in idle
        assert "0.0 %" not in idle


async def test_nothing_that_is_wrong_is_silent() -> None:
    glass = Switch(ALL, source="/run/console/kill/all")
    view = calm_view(
        switches=(glass,),
        data_age_s=47.0,
        telemetry_problem="telemetry.db is locked",
        control=ControlView(41, "control.db is damaged", True, 11, 12),
        processes=(process(0, 40), process(1, control_source="kept"), process(2, dropped=7, note="break-glass seen")),
    )
    async with opened(ExampleDesk(view), (160, 48)) as (app, _):
        text = painted(app)
        for wanted in ("STALE", "ALL CALLS STOPPED by the break-glass file /run/console/kill/all", "control.db is damaged",
                       "telemetry.db is locked", "does not follow: worker app-1 pid 4000", "cannot read the control file", "and "):  # fmt: skip
            assert wanted in text


async def test_what_the_banner_has_no_space_for_is_on_the_processes_page() -> None:
    view = calm_view(processes=tuple(process(number, dropped=1, note=f"note {number}") for number in range(9)))
    async with opened(ExampleDesk(view)) as (app, pilot):
        assert "more: press : and type processes" in painted(app)
        await pilot.press("colon")
        await typed(pilot, "processes")
        await pilot.press("enter")
        text = await until(app, lambda text: "dropped" in text)
        assert "note 3" in text


async def test_before_any_process_was_seen_it_says_what_is_missing() -> None:
    async with opened(ExampleDesk(empty_view())) as (app, _):
        text = painted(app)
        assert "No application process has ever reported here" in text
        assert "middleware=[Console().middleware]" in text
        assert "console demo" in text


async def test_under_60x15_it_says_the_size_it_needs_and_acts_are_off() -> None:
    desk = ExampleDesk()
    async with opened(desk, (50, 12)) as (app, pilot):
        assert "needs 60x15, this is 50x12" in painted(app)
        await pilot.press("K")
        await pilot.pause()
        assert desk.previews == []


async def test_a_desk_that_fails_leaves_the_picture_and_says_so() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, _):
        desk.crash = StoreError("the disk is on fire")
        text = await until(app, lambda text: "the disk is on fire" in text)
        assert "support-reply" in text
        desk.crash = None
        await until(app, lambda text: "the disk is on fire" not in text)


async def test_a_desk_that_does_not_answer_is_said_and_keys_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.tui.screens.live.SILENT_S", 0.2)
    async with opened(ExampleDesk(stuck_after=2)) as (app, pilot):
        text = await until(app, lambda text: "NO ANSWER" in text)
        assert "support-reply" in text
        await pilot.press("question_mark")
        await until(app, lambda text: "Help" in text)


async def test_panes_are_chosen_by_number_and_tab_and_zoomed() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("5", "j", "j")
        await until(app, lambda text: "▶ 25m op2 kill" in text)
        await pilot.press("z")
        text = await until(app, lambda text: "1 Features" not in text)
        assert "bad links in replies" in text
        await pilot.press("escape", "tab")
        await until(app, lambda text: "1 Features" in text)


async def test_enter_opens_all_that_is_known_about_the_row() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("enter")
        text = await until(app, lambda text: "Feature support-reply" in text)
        assert "1,204,000 in, 310,000 out" in text
        await pilot.press("escape", "5", "j", "j", "enter")
        await until(app, lambda text: "bad links in replies" in text and "Change" in text)


async def test_the_filter_narrows_the_list_and_escape_clears_it() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("slash")
        await typed(pilot, "sum")
        await pilot.press("enter")
        text = await until(app, lambda text: "matching sum: 1" in text)
        assert "support-reply  " not in text.split("4 Failover")[0]
        await pilot.press("escape")
        await until(app, lambda text: "support-reply" in text)


async def test_space_holds_the_picture_and_says_since_when() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("space")
        desk.view = calm_view(features=(feature("another"),))
        await until(app, lambda text: "HELD" in text)
        await pilot.pause(0.4)
        assert "another" not in painted(app)
        await pilot.press("space")
        await until(app, lambda text: "another" in text and "HELD" not in text)


async def test_y_copies_the_row_as_safe_text_and_shows_it() -> None:
    async with opened(ExampleDesk(calm_view(features=(feature("a\x1b[2Jb"),)))) as (app, pilot):
        await pilot.press("y")
        await until(app, lambda text: "copied: ● a·[2Jb OK 412" in text)
        assert app.clipboard.startswith("● a·[2Jb OK 412")


async def test_a_planned_key_says_why_it_does_nothing() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("p")
        await until(app, lambda text: "p guided procedure: not in this version" in text)


async def test_read_only_refuses_with_the_reason_and_never_asks_the_desk() -> None:
    desk = ExampleDesk()
    async with opened(desk, read_only=True) as (app, pilot):
        assert "READ-ONLY" in painted(app)
        await pilot.press("K")
        await until(app, lambda text: "started with --read-only" in text)
        await pilot.press("colon")
        await typed(pilot, "kill all")
        await pilot.press("enter")
        await pilot.pause()
        assert desk.previews == []


async def test_help_shows_every_key_and_scrolls() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("question_mark")
        await until(app, lambda text: "kill the row under the cursor" in text)
        await pilot.press("G")
        await until(app, lambda text: "STALE: nothing was heard" in text)
        await pilot.press("escape")
        await until(app, lambda text: "1 Features" in text)


async def test_a_row_that_did_not_change_is_not_painted_again() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.pause(0.6)
        updates = []
        original = app._display
        app._display = lambda screen, renderable: (updates.append(renderable), original(screen, renderable))[1]  # type: ignore[method-assign]
        await pilot.pause(0.6)
        assert [update for update in updates if update is not None] == []


@pytest.mark.parametrize("no_colour", [False, True])
async def test_only_the_pane_that_has_the_focus_shows_a_cursor_and_it_is_known_without_colour(
    no_colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    async with opened(ExampleDesk()) as (app, pilot):
        assert "[1 Features]" in painted(app)
        await pilot.press("5")
        text = await until(app, lambda text: "[5 What changed]" in text)
        assert "[1 Features]" not in text
        assert text.count("▶") == 1
        assert "▷▲ support-reply" in text
        assert "┏" in text
