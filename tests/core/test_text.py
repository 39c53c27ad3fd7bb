"""Text from outside becomes safe text: what is taken out, what stays, and what it costs."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.text import CUT, MARK, SafeText, block, line

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=300)
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(ANY_TEXT)
def test_d1_nothing_that_a_terminal_obeys_is_left_in_a_line(raw: str) -> None:
    shown = line(raw)
    assert isinstance(shown, SafeText)
    assert not {unicodedata.category(char) for char in shown} & FORBIDDEN
    assert len(shown) <= 200


@given(ANY_TEXT)
def test_a_safe_line_stays_as_it_is(raw: str) -> None:
    assert line(line(raw)) == line(raw)


@given(ANY_TEXT)
def test_a_safe_block_holds_only_newlines_and_safe_lines(raw: str) -> None:
    assert all(line(part, 20_000) == part for part in block(raw).split("\n"))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_ordinary_text_is_shown_as_written(raw: str) -> None:
    assert line(raw) == raw


@pytest.mark.parametrize("raw", ["[@click=app.bell]x[/]", "[/nope]", "\\[", '{"a": [1]}', "[link=http://x]y[/link]"])
def test_d3_markup_is_ordinary_text(raw: str) -> None:
    assert line(raw) == raw


@pytest.mark.parametrize(
    "char",
    ["\x1b", "\x00", "\x07", "\x7f", "\x9b", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\U000e0041", "\ud800", "\ue000", "\u0378",
     "\u3164", "\ufe0f", "\U0001f1e9"],
)  # fmt: skip
def test_d4_a_character_that_hides_or_reorders_leaves_a_mark(char: str) -> None:
    assert line(f"a{char}b") == f"a{MARK}b"


def test_d4_two_combining_marks_stay_and_the_rest_of_the_stack_goes() -> None:
    assert line("e" + "\u0301" * 200 + "x") == "e\u0301\u0301x"
    assert line("\u0301x") == "x"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\v", "\f"])
def test_d5_a_line_has_one_line(end: str) -> None:
    assert line(f"a{end}b") == f"a{MARK}b"
    assert block(f"a{end}b").split("\n") == (["a", "b"])


def test_a_tab_and_a_wide_space_become_a_space() -> None:
    assert line("a\tb\u3000c\u00a0d") == "a b c d"


def test_a_long_line_is_cut_with_a_note() -> None:
    assert line("x" * 201) == "x" * 199 + CUT
    assert line("x" * 200) == "x" * 200


def test_a_long_block_is_cut_with_a_note_that_says_how_long_it_was() -> None:
    shown = block("x\n" * 1000, lines=3).split("\n")
    assert shown == ["x", "x", "… cut here: 2,000 characters in all"]


def test_anything_becomes_a_line() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    assert line(Broken()) == MARK
    assert line(12) == "12"


@pytest.mark.parametrize(
    "raw",
    ["x" * 10_000_000, "\n" * 1_000_000, "[" * 100_000, "e" + "\u0301" * 10_000_000, "\x1b" * 10_000_000],
    ids=["letters", "lines", "brackets", "marks", "escapes"],
)
def test_d6_ten_megabytes_cost_no_more_than_what_is_shown(raw: str) -> None:
    started = time.perf_counter()
    line(raw)
    block(raw)
    assert time.perf_counter() - started < 2, "50 ms is the goal; looking at all of it takes many seconds"
