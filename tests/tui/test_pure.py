"""The pure parts: order, guard, plots, words, cells, entry, filter."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from console.core.switches import ALL, Scope
from console.ops.views import Order, Trend
from console.tui import words
from console.tui.cells import Cells, Row, Span, clipped, fit, folded, plain, width_of, wrapped
from console.tui.cursor import Cursor
from console.tui.guard import Bursts, Guard
from console.tui.order import Ranking, state_of
from console.tui.panes import failover, features, latency, targets
from console.tui.safe import SafeFilter, is_ascii_only, to_ascii
from console.tui.screens.palette import choices, parse
from console.tui.widgets import plot
from console.tui.widgets.entry import Entry
from console.tui.widgets.lines import _changed_cells
from tests.tui.example import HOSTILE, NOW_US, calm_view, example_prompts, feature, sick_target, well_target

# -- order


def test_the_worst_feature_stands_first_and_equals_by_name() -> None:
    found = Ranking().order([feature("b"), feature("a"), feature("c", error_rate=0.5)], 0.0)
    assert [each.feature for each in found] == ["c", "a", "b"]


def test_a_feature_that_recovers_keeps_its_place_for_a_minute() -> None:
    ranking = Ranking()
    sick, well = feature("z", error_rate=0.5), feature("z")
    ranking.order([feature("a"), sick], 0.0)
    assert ranking.order([feature("a"), well], 59.0)[0].feature == "z"
    assert ranking.order([feature("a"), well], 61.0)[0].feature == "a"


def test_few_calls_are_no_alarm() -> None:
    assert state_of(feature("a", error_rate=1.0, calls_5m=3)) == "WARN"
    assert state_of(feature("a", error_rate=1.0, calls_5m=30)) == "CRIT"
    assert state_of(feature("a", error_rate=None, calls_5m=0)) == "IDLE"


# -- guard


def test_d8_no_key_counts_within_300_ms() -> None:
    guard = Guard(10.0, "K")
    assert not guard.lets("y", 10.29)
    assert guard.lets("y", 10.31)


def test_d8_a_held_key_never_counts_until_it_was_let_go() -> None:
    guard = Guard(10.0, "K")
    assert not any(guard.lets("K", 10.66 + step * 0.033) for step in range(300))
    assert guard.lets("K", 10.66 + 300 * 0.033 + 0.71)


def test_d8_the_key_that_opened_counts_after_another_one() -> None:
    guard = Guard(10.0, "enter")
    assert guard.lets("a", 10.4)
    assert guard.lets("enter", 10.5)


def test_d8_keys_faster_than_fingers_are_a_burst() -> None:
    bursts = Bursts()
    bursts.saw(1.0)
    assert not bursts.is_burst
    bursts.saw(1.001)
    assert bursts.is_burst
    bursts.saw(1.2)
    assert not bursts.is_burst


# -- plots


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=100), st.integers(0, 120), st.integers(0, 20))
def test_a_plot_fills_exactly_its_space(values: list[float | None], width: int, height: int) -> None:
    top = plot.top_of(values, plot.COUNT_TOPS, 1.0)
    rows = plot.trend(values, width, height, top=top, label=words.per_min, threshold=top / 2, marks=(0, 5), since="30m ago")
    assert len(rows) in {0, height}
    assert all(width_of(row) <= width for row in rows)
    assert cell_len(plot.spark(values, width, top)) == max(width, 0)


def test_a_gap_in_the_data_is_a_gap_in_the_plot() -> None:
    assert plot.spark((1.0, None, 1.0), 3, 1.0) == "█·█"
    rows = plot.trend((1.0, None, 1.0), 9 + 3, 3, top=1.0, label=str)
    assert rows == [] or all(" " in "".join(text for text, _ in row) for row in rows[:2])


def test_a_scale_is_round_and_does_not_follow_small_changes() -> None:
    assert plot.top_of((0.82, 0.94), plot.RATE_TOPS) == 1.0
    assert plot.top_of((0.001,), plot.RATE_TOPS, 0.1) == 0.1
    assert plot.top_of((), plot.LATENCY_TOPS, 1_000) == 1_000


def test_a_spike_survives_when_steps_share_a_column() -> None:
    assert plot.sampled((0.0, 9.0, 0.0, 0.0), 2) == [9.0, 0.0]


# -- repainting

ROWS = st.lists(st.tuples(st.text("ab 漢é1", min_size=1, max_size=6), st.sampled_from(["", "dim", "crit"])), max_size=5)


def _cells(row: Row, width: int) -> list[tuple[str, str]]:
    """What each cell shows; the second cell of a wide character knows its first."""
    flat: list[tuple[str, str]] = []
    for text, role in row:
        for char in text:
            flat += [(char, role), (f"right of {char}", role)] if cell_len(char) == 2 else [(char, role)]
    return (flat + [(" ", "")] * width)[:width]


@given(ROWS, ROWS)
def test_the_cells_that_are_repainted_are_enough_and_split_no_wide_character(old: list[Span], new: list[Span]) -> None:
    width = 40
    before, after = _cells(tuple(old), width), _cells(tuple(new), width)
    first, end = _changed_cells((tuple(old), False), (tuple(new), False), width)
    assert before[:first] + after[first:end] + before[end:] == after
    for cells in (before, after):
        assert not cells[first][0].startswith("right of") if first < width else True
        assert end >= width or not cells[end][0].startswith("right of")


def test_one_number_repaints_one_number() -> None:
    old, new = (("feature   412 ", ""), ("tail", "dim")), (("feature   413 ", ""), ("tail", "dim"))
    assert _changed_cells((old, False), (new, False), 60) == (12, 13)  # type: ignore[arg-type]


# -- words and cells


def test_nothing_known_is_a_dash_and_never_a_zero() -> None:
    said = {
        words.rate(None),
        words.per_min(None),
        words.latency(None),
        words.money(None),
        words.count(None),
        words.clock(None),
    }
    assert said == {"–"}


def test_the_age_of_fresh_data_does_not_tick() -> None:
    assert {words.freshness(age) for age in (0.0, 1.0, 4.9)} == {"data <5 s old"}
    assert words.freshness(47.0) == "data 45 s old"


def test_a_time_out_of_range_is_a_dash() -> None:
    assert words.clock(10**30) == "–"


@given(st.text(max_size=80), st.integers(0, 60))
def test_d4_a_cell_has_exactly_its_width(raw: str, width: int) -> None:
    row = Cells().cell(raw, width).row()
    assert width_of(row) == width


def test_wide_characters_are_cut_at_the_cell() -> None:
    assert cell_len(fit("漢字漢字", 5)) == 5


@given(st.text(st.characters(categories=["L", "Zs"]), max_size=200), st.integers(1, 50))
def test_wrapped_text_fits(text: str, width: int) -> None:
    assert all(len(part) <= width for part in wrapped(text, width))


@given(st.text(st.characters(categories=["L", "Zs", "P"]), max_size=300), st.integers(2, 60))
def test_folded_text_fits_and_loses_nothing_but_blanks(text: str, width: int) -> None:
    parts = folded(text, width)
    assert all(cell_len(part) <= width for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


@given(ROWS, st.integers(1, 40))
def test_a_clipped_row_fits_and_says_that_it_was_cut(row: list[Span], width: int) -> None:
    shown = clipped(tuple(row), width)
    assert width_of(shown) <= width
    assert shown == tuple(row) or "…" in shown[-1][0]


# -- cursor


def test_a_cursor_stays_on_the_first_row_until_it_is_moved_and_then_on_its_thing() -> None:
    cursor = Cursor()
    assert cursor.settle("abc") == 0
    assert cursor.settle("xabc") == 0
    assert cursor.move(2, "xabc")
    assert cursor.key == "b"
    assert cursor.settle("yxabc") == 3
    assert cursor.settle("yxac") == 3
    assert not cursor.move(9, "yxac")
    assert cursor.settle("") is None
    cursor.release()
    assert cursor.settle("yxac") == 0


# -- entry


def test_an_entry_edits_like_a_shell() -> None:
    entry = Entry()
    for char in "bad reply":
        entry.press("space" if char == " " else char, char)
    entry.press("ctrl+w", None)
    assert entry.text == "bad "
    entry.press("home", None)
    entry.press("x", "x")
    entry.press("delete", None)
    assert entry.text == "xad "
    entry.press("ctrl+u", None)
    assert entry.text == "ad "


def test_d1_what_is_pasted_into_an_entry_is_safe() -> None:
    entry = Entry()
    entry.insert(HOSTILE)
    assert "\x1b" not in entry.text
    assert len(entry.text) <= 200


# -- palette


@pytest.mark.parametrize(
    ("typed", "order"),
    [
        ("kill feature a b", Order("kill", Scope("feature", "a b"))),
        ("kill customer acme for 30m", Order("kill", Scope("customer", "acme"), for_us=1_800_000_000)),
        ("restore model m", Order("restore", Scope("model", "m"))),
        ("kill all", Order("kill", ALL)),
        ("kill all for 1h", Order("kill", ALL, for_us=3_600_000_000)),
        (
            "switch my feature haiku,sonnet for 30m",
            Order("switch", Scope("feature", "my feature"), for_us=1_800_000_000, targets=("haiku", "sonnet")),
        ),
        ("switch all haiku", Order("switch", ALL, targets=("haiku",))),
        ("auto summarize", Order("auto", Scope("feature", "summarize"))),
        ("close target haiku for 1h", Order("force_closed", for_us=3_600_000_000, targets=("haiku",))),
        ("auto target haiku", Order("force_auto", targets=("haiku",))),
        ("use support-reply v3", Order("use", prompt="support-reply", version=3)),
        ("rollback support-reply 2", Order("rollback", prompt="support-reply", version=2)),
        ("rollback support-reply", Order("rollback", prompt="support-reply")),
    ],
)
def test_an_order_can_be_written_out(typed: str, order: Order) -> None:
    choice = parse(typed)
    assert choice is not None
    assert choice.order == order


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "kill",
        "kill feature",
        "kill feature for 30m",
        "kill all x",
        "launch all",
        "kill robot x",
        "switch",
        "switch haiku",
        "use p",
        "use p x",
        "open target",
        "rollback",
    ],
)
def test_what_is_no_order_is_none(typed: str) -> None:
    assert parse(typed) is None


# -- the filter


def test_d1_the_filter_replaces_drops_and_keeps_the_width() -> None:
    segments = [
        Segment("a\x1b[2Jb\u202e\u200b"),
        Segment("z", Style(link="http://e", meta={"@click": "app.quit"})),
        Segment("x", None, [(1,)]),  # type: ignore[list-item]
    ]
    shown = SafeFilter().apply(segments, Color(0, 0, 0))
    assert [segment.text for segment in shown] == ["a·[2Jb··", "z"]
    assert shown[1].style is not None
    assert shown[1].style.link is None
    assert not shown[1].style.meta


def test_d9_without_utf8_everything_is_ascii() -> None:
    drawn = to_ascii("●▲■○▶ ┌─│└ ⠉⢀⣿ ▁█ … – → ü 漢")
    assert drawn.isascii()
    assert drawn.startswith("*!#o> +-|+ ")


@pytest.mark.parametrize(
    ("environ", "plain"),
    [
        ({"TERM": "dumb"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LC_ALL": "POSIX"}, True),
        ({}, False),
        ({"LANG": "C.UTF-8"}, False),
    ],
)
def test_d9_plain_c_and_old_terminals_get_ascii(environ: dict[str, str], plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.__stderr__", type("Utf8", (), {"encoding": "utf-8"})())
    assert is_ascii_only(environ) is plain


def test_opening_the_console_loads_neither_the_sdk_nor_what_is_slow() -> None:
    code = "import sys, console.tui.app; print([name for name in sys.argv[1:] if name in sys.modules])"
    heavy = ("anthropic", "httpx2", "pydantic", "numpy", "textual.widgets._markdown", "textual.widgets._data_table")
    found = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(("rate", "glyph"), [(0.004, "●"), (0.03, "●"), (0.08, "▲")])
def test_a_targets_glyph_is_the_same_wherever_it_stands_and_in_the_title(rate: float, glyph: str) -> None:
    target = well_target(error_rate=rate)
    view = calm_view(targets=(target,), features=(feature("a"),))
    shown = [
        targets.short_row(target, NOW_US, 100, 0),
        targets.table(view, (target,), 120)[1],
        targets.compared_row(target, NOW_US, 10, 100),
    ]
    assert {plain(row)[0] for row in shown} == {glyph}
    assert failover.title(view)[0] == glyph


@pytest.mark.parametrize("height", [6, 20])
def test_pane_3_says_the_last_whole_step_and_a_rate_a_minute(height: int) -> None:
    def series(name: str, *last: float) -> Trend:
        return Trend(name, 30, (*([last[0]] * 58), *last))

    known = (series("calls_per_min", 442, 22), series("p99_ms", 1_500, 80), series("error_rate", 0.02, 0.5))
    text = [plain(row) for row in latency.pane(calm_view(trends=known), 120, height)]
    calls = next(row for row in text if row.startswith("calls/min "))
    assert "442" in calls and " 22" not in calls
    assert len(set(calls.removeprefix("calls/min").split()[0])) == 1, "the step under way is no fall"
    if height == 20:
        assert any(row.startswith("p99  last 30 s 1.5 s") for row in text)
        assert any(row.startswith("errors  last 30 s 2.0 %") for row in text)


def test_the_palette_begins_with_what_is_harmless_and_ends_with_what_is_wide() -> None:
    found = choices(calm_view(), "overview", example_prompts())
    risks = [choice.risk for choice in found]
    assert risks == sorted(risks, key=("none", "narrow", "wide").index)
    assert set(risks) == {"none", "narrow", "wide"}
    by_words = {choice.words: choice.risk for choice in found}
    assert (by_words["kill all"], by_words["kill model claude-haiku-5-5"], by_words["switch all haiku"]) == ("wide",) * 3
    assert (by_words["kill feature summarize"], by_words["targets"]) == ("narrow", "none")


def test_a_target_that_nobody_uses_is_not_bad_and_a_block_is_called_so() -> None:
    unused = sick_target(features=(), calls_5m=0, error_rate=None)
    assert not targets.is_wrong(unused)
    assert "not used" in plain(targets.short_row(unused, unused.since or 0, 100, 0))
    assert targets.is_wrong(replace(unused, calls_5m=5))
    assert targets.is_wrong(replace(unused, features=("a",)))
    assert "bad" not in failover.title(calm_view(targets=(unused,)))
    mixed = feature("a", served_by=(("primary", 77), ("fallback", 23)), target="sonnet")
    assert features.served_words(mixed, 40) == "sonnet · 23 % fallback in 5 min"
    assert features.served_words(mixed, 20) == "sonnet", "well again: what is over is not what is"
    assert features.served_words(replace(mixed, target="haiku"), 20) == "haiku (fallback)", "no call since"
    assert features.served_words(replace(mixed, served_by=(("primary", 77), ("none", 23)))) == "sonnet (blocked 23% of 5 min)"
