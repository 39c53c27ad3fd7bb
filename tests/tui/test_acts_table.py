"""One table of acts, and everything that shows keys made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from console.core.acts import ACTS, BY_NAME, PLACES, Place
from console.tui.cells import plain
from console.tui.panes.footer import footer
from console.tui.screens.overview import OverviewScreen
from console.tui.screens.page import help_rows
from console.tui.screens.palette import choices
from console.tui.screens.prompts import PromptsScreen
from console.tui.screens.targets import TargetsScreen
from console.tui.screens.timeline import TimelineScreen
from tests.tui.example import calm_view

if TYPE_CHECKING:
    from console.tui.screens.live import LiveScreen

SCREENS: tuple[type[LiveScreen], ...] = (OverviewScreen, PromptsScreen, TargetsScreen, TimelineScreen)


@pytest.mark.parametrize("screen", SCREENS)
def test_every_key_of_a_screen_is_in_the_table_and_every_key_of_the_table_is_bound(screen: type[LiveScreen]) -> None:
    bound = {key: binding.action for binding in screen.BINDINGS for key in binding.key.split(",")}  # type: ignore[union-attr]
    assert bound == {key: f"act('{act.name}')" for act in ACTS for key in act.keys}


def test_no_two_acts_share_a_key_or_a_name() -> None:
    keys = [key for act in ACTS for key in act.keys]
    assert len(keys) == len(set(keys))
    assert len(BY_NAME) == len(ACTS)


def test_every_place_is_a_screen() -> None:
    assert {screen.PLACE for screen in SCREENS} == set(PLACES)


@pytest.mark.parametrize("screen", SCREENS)
def test_what_works_on_a_screen_is_implemented_there(screen: type[LiveScreen]) -> None:
    for act in ACTS:
        assert not act.works_on(screen.PLACE) or hasattr(screen, f"_do_{act.name}"), act.name


@pytest.mark.parametrize("place", PLACES)
def test_help_has_a_line_for_every_act_that_works_there_and_for_no_other(place: Place) -> None:
    text = "\n".join(plain(row) for row in help_rows(300, place=place))
    for act in ACTS:
        assert (act.title in text) == (act.works_on(place) or bool(act.missing)), act.name
        if act.works_on(place):
            assert (act.shown or act.command) in text


@pytest.mark.parametrize("place", PLACES)
def test_the_palette_has_every_command_that_works_there(place: Place) -> None:
    offered = {choice.words for choice in choices(calm_view(), place)}
    assert {act.command for act in ACTS if act.command and act.works_on(place)} <= offered
    assert "kill all" in offered


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_footer_fits_and_keeps_what_is_risky_help_and_the_way_back(width: int, place: Place) -> None:
    text = plain(footer(width, place, is_read_only=False))
    assert len(text) <= width
    for act in ACTS:
        if act.footer and act.works_on(place) and act.risk != "none" and (width >= 80 or act.name in {"kill", "undo"}):
            assert f"{act.shown} {act.footer}" in text
    assert "? help" in text
    assert ("esc back" in text) == (place != "overview")


def test_what_is_risky_says_how_to_undo_it_and_has_a_capital_or_no_plain_key() -> None:
    for act in ACTS:
        if act.risk != "none":
            assert act.undo
            assert act.name == "undo" or not act.keys or act.keys[0].isupper()
