"""The prompts, timeline and targets screens, and pane 4: what they say, how they move, what they refuse, when they read."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from console.core.routes import Forced, Route
from console.core.switches import Scope
from console.errors import UnknownPrompt
from console.ops.views import ChangeView, FallbackView, Order, TimelineView
from console.tui.cells import plain, width_of
from console.tui.order import state_of
from console.tui.panes import changes, failover, features
from console.tui.screens.prompts import compared
from tests.tui.driving import opened, painted, typed, until
from tests.tui.example import (
    NOW_US,
    ExampleDesk,
    calm_view,
    empty_view,
    example_prompts,
    feature,
    hostile_desk,
    hostile_view,
    sick_target,
    version,
    well_target,
)

ASKING = "any other key cancels"
SCREENS = {"v": "2 Versions", "t": "newest last", "s": "1 Targets"}
pytestmark = pytest.mark.asyncio


# -- all of them


HANGS_S = 2.0
"""Ten times what is meant: a bound against hanging, which a busy machine keeps."""


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
@pytest.mark.parametrize(("key", "title"), SCREENS.items())
async def test_each_screen_opens_by_its_key_and_esc_goes_back(key: str, title: str, size: tuple[int, int]) -> None:
    async with opened(ExampleDesk(), size) as (app, pilot):
        await pilot.press(key)
        text = await until(app, lambda text: title in text)
        for wanted in ("PRODUCTION", "K kill", "esc back", "? help"):
            assert wanted in text
        await pilot.press(key)
        await until(app, lambda text: "this is that screen" in text)
        await pilot.press("escape", "escape")
        await until(app, lambda text: "1 Features" in text)
        await pilot.press("escape", "escape")
        assert app.is_running


async def test_one_screen_takes_the_place_of_another_and_esc_is_still_one_step() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        for key, title in SCREENS.items():
            await pilot.press(key)
            await until(app, lambda text, title=title: title in text)
        await pilot.press("escape")
        await until(app, lambda text: "1 Features" in text)
        assert len(app.screen_stack) == 1


@pytest.mark.parametrize(
    ("key", "wrong", "said"),
    [
        ("t", "V", "V works on: prompts (v); not here"),
        ("t", "d", "d works on: prompts (v); not here"),
        ("v", "O", "O works on: targets (s); not here"),
        ("s", "B", "B works on: overview (esc), prompts (v), timeline (t); not here"),
        ("s", "M", "M works on: overview (esc)"),
        ("s", "5", "5 works on: overview (esc); not here"),
        ("v", "p", "not in this version"),
    ],
)
async def test_a_key_that_does_not_apply_says_where_it_does(key: str, wrong: str, said: str) -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press(key)
        await until(app, lambda text: SCREENS[key] in text)
        await pilot.press(wrong)
        await until(app, lambda text: said in text)
        assert desk.previews == []


@pytest.mark.parametrize(("key", "title"), SCREENS.items())
async def test_help_is_of_the_screen_it_is_asked_on(key: str, title: str) -> None:
    async with opened(ExampleDesk(), (160, 60)) as (app, pilot):
        await pilot.press(key)
        await until(app, lambda text: title in text)
        await pilot.press("question_mark")
        text = await until(app, lambda text: "Keys of this screen" in text)
        assert ("use the version under the cursor" in text) == (key == "v")
        assert ("force the target open" in text) == (key == "s")


async def test_a_hidden_screen_reads_nothing_and_the_one_in_sight_only_its_own_slice() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        assert desk.polled == {}
        await pilot.press("v")
        await until(app, lambda text: "2 Versions" in text)
        await pilot.pause(0.3)
        read = desk.polled["prompts"]
        assert "timeline" not in desk.polled
        assert "support-reply" not in desk.asked_for[-1:]
        await pilot.press("t")
        await until(app, lambda text: "newest last" in text)
        await pilot.pause(0.2)
        read = desk.polled["prompts"]
        await pilot.pause(0.5)
        assert desk.polled["prompts"] == read
        await pilot.press("question_mark")
        await until(app, lambda text: "Keys of this screen" in text)
        await pilot.pause(0.2)
        before = desk.polled["timeline"]
        await pilot.pause(0.5)
        assert desk.polled["timeline"] == before
        await pilot.press("escape")
        await pilot.pause(0.3)
        assert desk.polled["timeline"] > before


@pytest.mark.parametrize("keys", [("v",), ("t",), ("s",), ("v", "2", "enter")])
async def test_nothing_is_painted_when_nothing_changed(keys: tuple[str, ...]) -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press(*keys)
        await pilot.pause(0.6)
        updates = []
        original = app._display
        app._display = lambda screen, renderable: (updates.append(renderable), original(screen, renderable))[1]  # type: ignore[method-assign]
        await pilot.pause(0.6)
        assert [update for update in updates if update is not None] == []


@pytest.mark.parametrize("key", SCREENS)
async def test_an_empty_installation_says_what_would_fill_the_screen(key: str) -> None:
    async with opened(ExampleDesk(view=empty_view(), prompt_states=(), events=())) as (app, pilot):
        await pilot.press(key)
        said = {"v": "console.prompt(NAME)", "t": "Nothing yet", "s": "No targets"}[key]
        await until(app, lambda text: said in text)


@pytest.mark.parametrize(
    ("key", "wanted", "gone"), [("v", "summarize", "support-reply"), ("s", "haiku", "sonnet"), ("t", "bad links", "warmer")]
)
async def test_the_filter_narrows_each_list(key: str, wanted: str, gone: str) -> None:
    async with opened(ExampleDesk(view=calm_view(targets=(well_target(), well_target("sonnet"))))) as (app, pilot):
        await pilot.press(key, "slash")
        await typed(pilot, wanted)
        await pilot.press("enter")
        await until(app, lambda text: wanted in text and gone not in text)
        await pilot.press("escape")
        await until(app, lambda text: gone in text)


@pytest.mark.parametrize("key", SCREENS)
@pytest.mark.parametrize("size", [(80, 24), (160, 48), (60, 15)])
async def test_d3_d5_hostile_text_in_every_field_stays_in_its_row(key: str, size: tuple[int, int]) -> None:
    desk = hostile_desk()
    async with opened(desk, size) as (app, pilot):
        await pilot.press(key)
        await until(app, lambda text: SCREENS[key].split()[0] in text and "esc" in text)
        await pilot.press("j", "j", "g", "y")
        text = await until(app, lambda text: "copied" in text or "nothing to copy" in text)
        assert "\x1b" not in text
        assert len(text.split("\n")) == size[1]
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert "\x1b" not in painted(app)
        assert app.is_running


# -- prompts


async def test_the_prompts_screen_shows_versions_shares_who_and_alarms() -> None:
    states = example_prompts()
    lost = replace(states[0].versions[1], file="lost")
    states = (
        replace(states[0], alarms=("support-reply v7: the file is lost",), versions=(states[0].versions[0], lost)),
        states[1],
    )
    desk = ExampleDesk(view=calm_view(prompt_alarms=("support-reply v7: the file is lost",)), prompt_states=states)
    async with opened(desk, (120, 40)) as (app, pilot):
        await until(app, lambda text: "▲ PROMPT support-reply v7: the file is lost" in text)
        await pilot.press("v")
        text = await until(app, lambda text: "2 Versions of support-reply" in text)
        for wanted in ("▶▲ support-reply", "1 alarm", "v3 90 %, v2 10 %", "▲ v7", "lost", "100 %", "2,060", "14m ago op1", "draft",
                       "v7 by op1 at", "warmer answers", "product, tone"):  # fmt: skip
            assert wanted in text


async def test_the_prompt_of_the_row_one_came_from_is_under_the_cursor() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("j", "v")
        await until(app, lambda text: "▶● summarize" in text and "2 Versions of summarize" in text)


@pytest.mark.usefixtures("quick")
async def test_v_uses_the_version_under_the_cursor_and_the_cursor_holds_on_to_it() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("v")
        await until(app, lambda text: "2 Versions" in text)
        await pilot.press("V")
        await until(app, lambda text: "press 2, move to it" in text)
        await pilot.press("2", "V")
        await until(app, lambda text: "v7 is what is served already" in text)
        await pilot.press("j")
        await until(app, lambda text: "▶○ v6" in text)
        first = desk.prompt_states[0]
        desk.prompt_states = (replace(first, versions=(version(9), *first.versions)), *desk.prompt_states[1:])
        await until(app, lambda text: "○ v9" in text and "▶○ v6" in text)
        await pilot.press("V")
        await until(app, lambda text: "y does it" in text and "+Be exact" in text)
        await pilot.press("y")
        await until(app, lambda text: "made current, 12 of 12" in text)
        assert desk.applied[0][0] == Order("use", prompt="support-reply", version=6)


@pytest.mark.usefixtures("quick")
async def test_b_on_the_prompts_screen_rolls_the_prompt_back() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("v")
        await until(app, lambda text: "2 Versions" in text)
        await pilot.press("B")
        await until(app, lambda text: "y does it" in text)
        await pilot.press("y")
        await until(app, lambda text: "rolled back" in text)
        assert desk.applied[0][0] == Order("rollback", prompt="support-reply")


async def test_enter_shows_the_text_and_d_the_differences() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("v")
        await until(app, lambda text: "2 Versions" in text)
        await pilot.press("enter", "j", "enter")
        await until(app, lambda text: "support-reply v6, available" in text and "customer support assistant" in text)
        await pilot.press("escape", "d")
        await until(app, lambda text: "support-reply v7 → v6" in text and "+Be exact" in text)
        await pilot.press("escape")
        await until(app, lambda text: "2 Versions" in text)


async def test_what_d_compares() -> None:
    status = example_prompts()[0]
    assert compared(status, 6) == (7, 6)
    assert compared(status, 7) == (6, 7)
    assert compared(replace(status, versions=(version(7),)), 7) is None


async def test_a_text_that_cannot_be_read_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = ExampleDesk()

    def refuse(name: str, number: int) -> str:
        raise UnknownPrompt("support-reply v7 is gone")

    monkeypatch.setattr(desk, "prompt_text", refuse)
    async with opened(desk) as (app, pilot):
        await pilot.press("v")
        await until(app, lambda text: "2 Versions" in text)
        await pilot.press("enter", "enter")
        await until(app, lambda text: "support-reply v7 is gone" in text)


@pytest.mark.parametrize("text", ["word " * 40_000, "漢字🙂\u202e" * 50_000, "[" * 200_000, "x\n" * 100_000])
async def test_d6_a_prompt_of_200_kb_makes_no_key_slow(text: str) -> None:
    async with opened(ExampleDesk(prompt_words=text, diff_words=text)) as (app, pilot):
        await pilot.press("v")
        await until(app, lambda shown: "2 Versions" in shown)
        await pilot.press("2", "enter")
        await until(app, lambda shown: "reading…" not in shown and "v7, current" in shown)
        for key in ("j", "pagedown", "G"):
            started = time.monotonic()
            await pilot.press(key)
            assert time.monotonic() - started < HANGS_S
        await until(app, lambda shown: "cut here" in shown)
        await pilot.press("escape", "B")
        await until(app, lambda shown: "y does it" in shown)
        started = time.monotonic()
        await pilot.press("j")
        assert time.monotonic() - started < HANGS_S


# -- timeline


async def test_the_timeline_is_a_tail_that_stops_following_when_scrolled() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("t")
        text = await until(app, lambda text: "▶04:39Z   1m act     op1 support-reply v6 → v7: warmer answers" in text)
        assert text.index("bad links") < text.index("warmer answers")
        assert "pid 3990 ended" in text
        desk.events = (*desk.events, TimelineView(NOW_US, "process", None, "web app-9 started"))
        await until(app, lambda text: "▶04:40Z  <1m process web app-9 started" in text)
        await pilot.press("k")
        await until(app, lambda text: "standing still: G follows again" in text and "▶04:39Z" in text)
        desk.events = (*desk.events, TimelineView(NOW_US + 1, "process", None, "web app-10 started"))
        await until(app, lambda text: "app-10" in text and "▶04:39Z" in text)
        await pilot.press("G")
        await until(app, lambda text: "▶04:40Z" in text and "standing still" not in text)


@pytest.mark.usefixtures("quick")
async def test_u_undoes_the_act_under_the_cursor_and_says_when_there_is_none() -> None:
    desk = ExampleDesk()
    desk._undo.append(("feature:draft-email", desk.view, desk.prompt_states))
    async with opened(desk) as (app, pilot):
        await pilot.press("t")
        await until(app, lambda text: "newest last" in text)
        await pilot.press("k", "u")
        await until(app, lambda text: "this line is no act" in text)
        await pilot.press("j", "u")
        await until(app, lambda text: "y does it" in text)
        assert desk.previews == [Order("undo", change_id="c3")]


@pytest.mark.usefixtures("quick")
async def test_k_and_b_on_a_line_of_the_timeline_act_on_what_it_was_about() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("t")
        await until(app, lambda text: "newest last" in text)
        await pilot.press("B")
        await until(app, lambda text: "Rollback support-reply" in text)
        await pilot.press("x", "k", "k", "K")
        await until(app, lambda text: "Kill draft-email" in text)
        assert [order.act for order in desk.previews] == ["rollback", "kill"]


async def test_enter_on_a_line_shows_it_whole() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("t")
        await until(app, lambda text: "newest last" in text)
        await pilot.press("enter")
        await until(app, lambda text: "prompt:support-reply" in text and "warmer answers" in text and "Change" in text)
        await pilot.press("escape", "k", "enter")
        await until(app, lambda text: "sonnet opened in 9 of 12 processes" in text)


async def test_a_change_shows_from_and_to_and_chains_are_not_mixed_up() -> None:
    change = ChangeView("c", 0, "op1", "use", "prompt:p", None, 1, before="v6", after="v7")
    assert changes.change_words(change) == "op1 p v6 → v7"
    routed = replace(change, act="switch", subject="feature:f", before="sonnet → haiku", after="haiku only", reason="529s")
    assert changes.change_words(routed) == "op1 f haiku only (was sonnet → haiku): 529s"
    assert changes.change_words(replace(routed, act="undo")).startswith("op1 undo f haiku only")
    assert changes.change_words(replace(change, act="kill", subject="feature:f")) == "op1 kill f"


# -- targets


async def test_the_targets_screen_shows_breakers_results_and_features() -> None:
    async with opened(ExampleDesk(), (80, 48)) as (app, pilot):
        await pilot.press("s")
        text = await until(app, lambda text: "2 Target sonnet" in text)
        for wanted in ("▶▲ sonnet", "open 9/12", "6.1 %", "8.2 s", "● haiku", "closed 12/12", "ok 2,226, 529 140, timeout 4",
                       "draft-email, summarize, support-reply", "half-open", "4003", "in 9 s", "529 overload"):  # fmt: skip
            assert wanted in text
        await pilot.press("j")
        await until(app, lambda text: "2 Target haiku" in text)
        await pilot.press("enter")
        await until(app, lambda text: "─ Target haiku" in text and "claude-haiku-5-5" in text)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("key", "act", "done"), [("O", "force_open", "forced open"), ("C", "force_closed", "forced closed")])
async def test_forcing_a_target_is_wide_and_wants_its_name(key: str, act: str, done: str) -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("s")
        await until(app, lambda text: "1 Targets" in text)
        await pilot.press(key)
        await until(app, lambda text: "type sonnet:" in text)
        await pilot.press("y", "enter")
        await until(app, lambda text: "type sonnet to confirm" in text)
        assert desk.applied == []
        await pilot.press("backspace")
        await typed(pilot, "sonnet")
        await pilot.press("enter")
        await until(app, lambda text: f"{done}, 12 of 12" in text)
        assert desk.applied[0][0] == Order(act, targets=("sonnet",))  # type: ignore[arg-type]
        await pilot.press("escape")
        await until(app, lambda text: f"{done} by op1" in text)


@pytest.mark.usefixtures("quick")
async def test_a_lets_the_breakers_decide_again_and_k_kills_the_model() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("s")
        await until(app, lambda text: "1 Targets" in text)
        await pilot.press("A")
        await until(app, lambda text: "cancels" in text)
        await pilot.press("escape", "K")
        await until(app, lambda text: "type claude-sonnet-5-5:" in text)
        assert desk.previews == [Order("force_auto", targets=("sonnet",)), Order("kill", Scope("model", "claude-sonnet-5-5"))]


async def test_from_a_targets_row_of_pane_4_s_opens_on_it_and_enter_shows_its_page() -> None:
    async with opened(ExampleDesk(), (160, 48)) as (app, pilot):
        await pilot.press("4", "G")
        await until(app, lambda text: "▶● haiku" in text)
        await pilot.press("enter")
        await until(app, lambda text: "─ Target haiku" in text and "closed 12/12" in text)
        await pilot.press("escape", "s")
        await until(app, lambda text: "2 Target haiku" in text)


# -- pane 4 and served by


def rows_of_pane_4(**changed: object) -> list[str]:
    view = calm_view(**changed)
    return [plain(row) for _, row in failover.entries(view, 54)]


async def test_pane_4_has_wrong_things_first_and_says_who_serves_why_and_since_when() -> None:
    rows = rows_of_pane_4()
    assert rows[0].startswith("▲ summarize haiku 2m: sonnet open in 9 of 12: 529")
    assert rows[1].startswith("▲ sonnet open 9/12 · probe in 6 s · 529")
    assert "● draft-email sonnet → haiku" in rows
    assert rows[-1] == "● haiku closed 12/12 · 0.0 % errors  410 ms", "a number that does not fit is left out, not cut"
    assert failover.title(calm_view()) == "▲ 1 feature elsewhere, 1 target bad"


async def test_pane_4_says_in_one_line_that_nothing_is_wrong() -> None:
    view = calm_view(features=(feature("a"), feature("b")), targets=(well_target(),))
    assert failover.title(view) == "● 2 chains, none elsewhere"
    async with opened(ExampleDesk(view=view)) as (app, _):
        assert "4 Failover ● 2 chains, none elsewhere" in painted(app)


async def test_an_operators_route_is_marked_as_such() -> None:
    route = Route(Scope("feature", "a"), ("haiku",), "529s", "op1", NOW_US - 720_000_000)
    rows = rows_of_pane_4(features=(feature("a", route=route, chain=("haiku",), target="haiku"),), targets=())
    assert rows == ["● a haiku  switched by op1 12m: 529s"]
    assert features.served_words(feature("a", route=route, target="haiku")) == "haiku (switched)"


async def test_a_feature_of_which_a_fallback_serves_a_part_is_not_said_to_be_served_by_it() -> None:
    away = FallbackView("haiku", "sonnet", "sonnet open in 1 of 2", NOW_US, (("sonnet", 0.5), ("haiku", 0.496), ("x", 0.004)))
    half = feature("a", served_by=(("primary", 90), ("fallback", 10)), fallback=away)
    assert features.served_words(half, 20) == "sonnet, haiku 50 %"
    assert rows_of_pane_4(features=(half,), targets=())[0].startswith("▲ a sonnet, haiku 50 %")
    both = replace(away, shares=(("haiku", 0.75), ("bedrock", 0.25)))
    assert features.served_words(replace(half, fallback=both)) == "haiku 75 %, bedrock 25 %"
    all_of_it = replace(away, shares=(("haiku", 1.0),))
    assert features.served_words(replace(half, fallback=all_of_it), 20) == "haiku (fallback)"


async def test_a_forced_breaker_says_by_whom() -> None:
    forced = Forced("sonnet", "forced_open", "provider is down", "op1", NOW_US)
    target = sick_target(forced=forced, breakers=(("forced_open", 12),), reason=None, probe_at=None)
    rows = rows_of_pane_4(features=(), targets=(target,))
    assert rows[0].startswith("■ sonnet forced open 12/12 · by op1 · provider is down")


async def test_pane_4_keeps_the_worst_in_sight_until_the_cursor_is_moved_and_again_when_the_pane_is_left() -> None:
    calm = calm_view(features=tuple(feature(name) for name in "abcdef"), targets=(well_target(),))
    desk = ExampleDesk(view=calm)
    async with opened(desk) as (app, pilot):
        await until(app, lambda text: "● a sonnet → haiku" in text)
        sick = feature("f", fallback=FallbackView("haiku", "sonnet", "sonnet open", NOW_US))
        desk.view = replace(calm, features=(*calm.features[:5], sick), targets=(sick_target(), well_target()))
        await until(app, lambda text: "▲ f haiku" in text and "▲ sonnet open" in text)
        await pilot.press("4", "G")
        await until(app, lambda text: "▶● haiku" in text and "▲ f haiku" not in text)
        await pilot.press("1")
        await until(app, lambda text: "▲ f haiku" in text)


async def test_without_chains_pane_4_says_what_would_make_them() -> None:
    async with opened(ExampleDesk(view=calm_view(features=(feature("a", chain=()),), targets=()))) as (app, _):
        assert "No chains: the application decides" in painted(app)


async def test_a_feature_that_its_first_target_does_not_serve_is_at_least_warn() -> None:
    away = FallbackView("haiku", "sonnet", "sonnet open", NOW_US)
    assert state_of(feature("a", fallback=away)) == "WARN"
    few = feature("a", served_by=(("primary", 98), ("fallback", 2)))  # too few for `ops` to call it a fallback
    assert (state_of(few), features.served_words(few)) == ("OK", "sonnet · 2 % fallback in 5 min")
    assert state_of(feature("a", fallback=away, error_rate=0.5)) == "CRIT"
    assert state_of(feature("a", served_by=(("degraded", 60), ("primary", 40)))) == "WARN"
    assert features.served_words(feature("a", fallback=away)) == "haiku (fallback)"
    assert features.served_words(feature("a", served_by=(("degraded", 100),), target=None)) == "degraded (degraded)"
    async with opened(ExampleDesk(view=calm_view(features=(feature("a"), feature("z", fallback=away))))) as (app, _):
        text = painted(app)
        assert text.index("▲ z") < text.index("● a")


@pytest.mark.parametrize("width", [20, 40, 53, 80, 120])
async def test_d4_rows_of_pane_4_keep_their_width_with_hostile_text(width: int) -> None:
    for _, row in failover.entries(hostile_view(), width):
        assert width_of(row) <= width
