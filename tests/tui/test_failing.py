"""What the screen says when calls fail: the verdict, the last failures, the targets side by side, and the key that probes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.core.verdict import Verdict
from console.ops.views import Order, TrialView
from console.tui import words
from console.tui.cells import plain, width_of
from console.tui.panes import failover, targets, verdict
from console.tui.panes.failures import failure_rows, last_words
from console.tui.screens.palette import choices, parse
from console.tui.things import Thing
from tests.tui.driving import opened, painted, until
from tests.tui.example import (
    FAILURES,
    NOW_US,
    VERDICT,
    ExampleDesk,
    calm_view,
    failure,
    feature,
    hostile_view,
    sick_target,
    well_target,
)

WELL = Verdict("well", "nothing wrong: 412 of 413 attempts of the last minute went well")


# -- the verdict


@pytest.mark.asyncio
async def test_whose_fault_it_is_stands_first_in_pane_4_at_80x24() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        text = painted(app)
        assert "▲ the provider: sonnet: 529 x140, timeout x4" in text
        assert "all features" in text, "the first pane has lost no row to it"
        await pilot.press("4", "j", "G")
        await until(app, lambda text: "▲ the provider: sonnet: 529" in text and "▶● haiku" in text)


@pytest.mark.parametrize(
    ("found", "begin", "role"),
    [
        (VERDICT, "▲ the provider: sonnet", "warn"), (WELL, "● nothing wrong: 412", "ok"),
        (Verdict("unknown", "cannot be told: no attempt in five minutes"), "○ cannot be told: no attempt", "dim"),
        (Verdict("us", "us: summarize is killed by op1"), "▲ us: summarize", "warn"),
    ],
)  # fmt: skip
def test_well_and_not_known_look_different_from_each_other_and_from_trouble(found: Verdict, begin: str, role: str) -> None:
    row = verdict.verdict_row(found, 60)
    assert plain(row).startswith(begin)
    assert row[0][1] == role


def test_the_evidence_stands_under_the_verdict_as_long_as_there_is_space() -> None:
    view = calm_view()
    whole = "\n".join(plain(row) for row in failover.below(view, Thing("feature", "summarize"), 100, 40))
    assert "what the verdict rests on" in whole and "04:38Z use prompt:support-reply v6 → v7 by op1" in whole
    assert "status page: Partial outage" in whole
    short = failover.below(view, Thing("feature", "summarize"), 100, 14)
    assert len(short) <= 14 and "rests on" not in "\n".join(map(plain, short))
    assert failover.below(view, Thing("feature", "summarize"), 100, 3) == []
    assert failover.below(view, None, 100, 40) == []


# -- failures


def test_a_failure_has_its_time_status_kind_place_and_request_id() -> None:
    head, first, second = failure_rows(FAILURES[:2], NOW_US, 76, where="target")
    assert plain(head).split() == ["failed", "at", "kind", "target", "request", "id"]
    assert plain(first).split() == ["04:39:57Z", "529", "overloaded_error", "sonnet", "req_011CSHoEeqs5C35K2UUqR000"]
    assert plain(second).split() == ["04:39:50Z", "–", "timeout", "sonnet", "–"]
    assert "412 ms" in plain(failure_rows(FAILURES, NOW_US, 120, where="feature")[1])
    assert [plain(row) for row in failure_rows((), NOW_US, 76, where="target")] == ["no failed attempt is recorded"]


def test_an_old_failure_says_its_age_and_not_a_time_of_day() -> None:
    old = failure(0, at=NOW_US - 3 * 86_400_000_000)
    assert plain(failure_rows((old,), NOW_US, 76, where="target")[1]).startswith("3d ago")
    assert last_words((old,), NOW_US) == "529 overloaded_error 3d ago"
    assert last_words((), NOW_US) == ""
    assert words.moment(2**62, NOW_US) == words.NONE


@pytest.mark.asyncio
async def test_enter_on_a_feature_shows_attempts_and_its_last_ten_failures() -> None:
    async with opened(ExampleDesk(), (80, 48)) as (app, pilot):
        await pilot.press("j", "enter")
        text = await until(app, lambda text: "─ Feature summarize" in text)
        for wanted in (
            "1.08 for each call",
            "last 10 failures",
            "req_011CSHoEeqs5C35K2UUqR009",
            "sonnet open in 9 of 12",
            "since 04:37Z",
        ):
            assert wanted in text


@pytest.mark.asyncio
async def test_pane_4_zoomed_shows_chain_reason_attempts_and_the_last_failures_of_the_row() -> None:
    async with opened(ExampleDesk(), (160, 48)) as (app, pilot):
        await pilot.press("4", "z")
        text = await until(app, lambda text: "1.08 attempts a call" in text)
        assert "last failed 529 overloaded_error <1m ago" in text
        assert "last failures of summarize" in text and "req_011CSHoEeqs5C35K2UUqR009" in text
        assert "acme sends 41% of the calls" in text
        await pilot.press("G")
        await until(app, lambda text: "last failures of haiku" in text and "no failed attempt is recorded" in text)


# -- targets side by side


@pytest.mark.parametrize(
    ("width", "shown", "gone"),
    [
        (77, ("errors", "p95", "first", "headroom", "what is wrong"), ("$/M", "provider", "calls 5m")),
        (157, ("errors", "p95", "first", "headroom", "$/M in, out", "provider", "model"), ("last failure",)),
        (240, ("calls 5m", "last failure", "model"), ()),
        (57, ("errors",), ("headroom", "first")),
    ],
)
def test_columns_leave_by_priority(width: int, shown: tuple[str, ...], gone: tuple[str, ...]) -> None:
    rows = targets.table(calm_view(), (sick_target(), well_target()), width)
    head = plain(rows[0])
    assert all(title in head for title in shown), head
    assert not any(title in head for title in gone), head
    assert all(width_of(row) <= width for row in rows)
    if width > 100:
        assert "$2, $10" in plain(rows[1]) and "$0.1, $0.5" in plain(rows[2])


def test_what_is_not_known_is_a_dash_and_what_is_nearly_used_up_is_marked() -> None:
    unknown = sick_target(headroom=None, first_token_p95_ms=None, price=None)
    assert plain(targets.table(calm_view(), (unknown,), 77)[1]).count("–") == 2
    assert "what is left is not known" in "\n".join(map(plain, targets.detail(unknown, NOW_US, 77)))
    failed = TrialView(NOW_US - 3 * 3_600_000_000, "permission_error \x1b[2J")
    for trial, count in ((None, 0), (failed, 1)):
        rows = [plain(one) for one in targets.detail(well_target(trial_failed=trial), NOW_US, 77)]
        assert sum("last trial failed 3 h ago: permission_error" in one for one in rows) == count
        assert not any("\x1b" in one for one in rows)
    assert [targets.room_role(sick_target(headroom=room)) for room in (None, 1.0, 0.2, 0.05)] == ["", "", "warn", "crit"]


@pytest.mark.asyncio
async def test_the_target_under_the_cursor_shows_rate_limit_price_and_failures() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("s")
        text = await until(app, lambda text: "2 Target sonnet" in text)
        for wanted in (
            "12 %",
            "12 % left of input tokens",
            "$2, $10 per M tokens",
            "first token 2.9 s",
            "req_011CSHoEeqs5C35K2UUqR000",
        ):
            assert wanted in text


@pytest.mark.asyncio
async def test_before_switching_the_candidates_stand_side_by_side() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("M")
        text = await until(app, lambda text: "Where to?" in text and "0.0 %" in text)
        lines = text.split("\n")
        (head,) = [line for line in lines if "breakers" in line and "headroom" in line]
        (haiku,) = [line for line in lines if "410 ms" in line and "● haiku" in line]
        (sonnet,) = [line for line in lines if "8.2 s" in line and "▲ sonnet" in line]
        assert "71 %" in haiku and "180 ms" in haiku and "12 %" in sonnet and "open 9/12" in sonnet
        for title, number in (("errors", "6.1 %"), ("p95", "8.2 s"), ("first", "2.9 s"), ("headroom", "12 %")):
            assert head.index(title) + len(title) == sonnet.index(number) + len(number), "right under its title"


@pytest.mark.parametrize("width", [20, 40, 57, 77, 120, 200])
def test_d4_hostile_text_keeps_every_row_in_its_width(width: int) -> None:
    view = hostile_view()
    target, of_feature = view.targets[0], view.features[0]
    rows = [
        *targets.table(view, view.targets, width),
        targets.compared_row(target, NOW_US, 12, width),
        targets.compared_head(12, width),
        *failure_rows(of_feature.failures, NOW_US, width, where="target"),
        verdict.verdict_row(view.verdict, width),
        *failover.below(view, Thing("feature", of_feature.feature), width, 60),
    ]
    for row in rows:
        assert "\x1b" not in plain(row) and "\n" not in plain(row)
        assert width_of(row) <= width


# -- P


@pytest.mark.usefixtures("quick")
@pytest.mark.asyncio
async def test_p_asks_probes_reads_the_breakers_back_and_offers_no_undo() -> None:
    desk = ExampleDesk()
    async with opened(desk) as (app, pilot):
        await pilot.press("s")
        await until(app, lambda text: "▶▲ sonnet" in text)
        await pilot.press("P")
        await until(app, lambda text: "y does it" in text and "Probe sonnet" in text)
        await pilot.press("y")
        text = await until(app, lambda text: "the next call is a probe, 12 of 12" in text)
        assert "now sonnet half_open in 9 of 12" in text
        assert "u undoes it" not in text
        await pilot.press("u")
        await until(app, lambda text: "the next call is a probe" in text)
        await pilot.press("escape")
        text = await until(app, lambda text: "target sonnet: the next call is a probe" in text)
        assert "u undoes it" not in text
        assert [order for order, _ in desk.applied] == [Order("probe", targets=("sonnet",))]


@pytest.mark.asyncio
async def test_p_is_refused_where_acts_are_off() -> None:
    async with opened(ExampleDesk(read_only=True), read_only=True) as (app, pilot):
        await pilot.press("s")
        await until(app, lambda text: "▶▲ sonnet" in text)
        await pilot.press("P")
        await until(app, lambda text: "read-only" in text and "acts are off" in text)


@pytest.mark.asyncio
async def test_p_elsewhere_says_where_it_works() -> None:
    async with opened(ExampleDesk()) as (app, pilot):
        await pilot.press("P")
        await until(app, lambda text: "P works on: targets (s); not here" in text)


def test_the_palette_probes_a_target_by_name() -> None:
    order = Order("probe", targets=("haiku",))
    assert order in [choice.order for choice in choices(calm_view(), "overview")]
    found = parse("probe target haiku")
    assert found is not None and found.order == order
    assert parse("probe target") is None


@pytest.mark.asyncio
async def test_an_equal_picture_paints_nothing_also_with_failures_in_sight() -> None:
    async with opened(ExampleDesk(), (160, 48)) as (app, pilot):
        await pilot.press("4", "z")
        await until(app, lambda text: "last failures of summarize" in text)
        await pilot.pause(0.6)
        updates = []
        original = app._display
        app._display = lambda screen, renderable: (updates.append(renderable), original(screen, renderable))[1]  # type: ignore[method-assign]
        await pilot.pause(0.6)
        assert [update for update in updates if update is not None] == []


@pytest.mark.asyncio
async def test_a_feature_without_failures_says_so() -> None:
    view = calm_view(features=(replace(feature("a"), failures=()),), targets=(well_target(),), verdict=WELL)
    async with opened(ExampleDesk(view=view), (100, 48)) as (app, pilot):
        assert "● nothing wrong: 412 of 413 attempts" in painted(app)
        await pilot.press("enter")
        await until(app, lambda text: "no failed attempt is recorded" in text)
