"""One table of acts, and everything that shows keys made from it."""

from __future__ import annotations

import pytest

from console.core.acts import ACTS, BY_NAME
from console.tui.cells import plain
from console.tui.panes.footer import footer
from console.tui.screens.overview import OverviewScreen
from console.tui.screens.page import help_rows
from console.tui.screens.palette import choices
from tests.tui.example import calm_view


def test_every_key_of_the_overview_is_in_the_table_and_every_key_of_the_table_is_bound() -> None:
    bound = {key: binding.action for binding in OverviewScreen.BINDINGS for key in binding.key.split(",")}  # type: ignore[union-attr]
    wanted = {key: f"act('{act.name}')" for act in ACTS for key in act.keys}
    assert bound == wanted


def test_no_two_acts_share_a_key_or_a_name() -> None:
    keys = [key for act in ACTS for key in act.keys]
    assert len(keys) == len(set(keys))
    assert len(BY_NAME) == len(ACTS)


@pytest.mark.parametrize("act", [act for act in ACTS if act.is_available], ids=lambda act: act.name)
def test_an_available_act_is_implemented(act: object) -> None:
    assert hasattr(OverviewScreen, f"_do_{act.name}")  # type: ignore[attr-defined]


def test_help_has_a_line_for_every_act() -> None:
    text = "\n".join(plain(row) for row in help_rows(200))
    for act in ACTS:
        assert act.title in text
        assert (act.shown or act.command) in text


def test_the_palette_has_every_command_of_the_table() -> None:
    offered = {choice.words for choice in choices(calm_view())}
    assert {act.command for act in ACTS if act.command and act.is_available} <= offered


@pytest.mark.parametrize("width", [80, 160])
def test_the_footer_fits_and_shows_the_table(width: int) -> None:
    text = plain(footer(width, is_read_only=False))
    assert len(text) <= width
    for act in ACTS:
        if act.footer and act.is_available:
            assert f"{act.shown} {act.footer}" in text


def test_what_is_risky_says_how_to_undo_it_and_has_a_capital_or_no_plain_key() -> None:
    for act in ACTS:
        if act.risk != "none":
            assert act.undo
            assert act.name == "undo" or not act.keys or act.keys[0].isupper()
