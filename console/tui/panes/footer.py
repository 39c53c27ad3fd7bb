"""The last line: the keys that matter, from the acts table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.acts import ACTS, Act
from console.tui.cells import Cells, Row, width_of

if TYPE_CHECKING:
    from console.core.acts import Place


_LEAVE_FIRST: Final = (
    "zoom",
    "filter",
    "timeline",
    "commands",
    "targets",
    "versions",
    "diff",
    "force_closed",
    "force_auto",
    "model",
)
"""Which go when the line is too narrow for all: `?` shows them."""

_NEEDLESS: Final[dict[Place, str]] = {"overview": "back", "prompts": "versions", "targets": "targets", "timeline": "timeline"}
"""The key that leads to where one is."""


def footer(width: int, place: Place, *, is_read_only: bool) -> Row:
    """The acts of this screen at the left, the rest at the right. Keys that are refused are grey, and say why when pressed."""
    needless = _NEEDLESS[place]
    shown = [act for act in ACTS if act.footer and act.works_on(place) and act.name != needless]
    for name in ("", *_LEAVE_FIRST):
        shown = [act for act in shown if act.name != name]
        start = _side([act for act in shown if act.risk != "none"], is_grey=is_read_only)
        end = _side([act for act in shown if act.risk == "none"], is_grey=False)
        if width_of(start) + width_of(end) < width:
            break
    gap = " " * max(width - width_of(start) - width_of(end) - 1, 1)
    return (*start, (gap, ""), *end)


def _side(acts: list[Act], *, is_grey: bool) -> Row:
    cells = Cells()
    for act in acts:
        cells.put(f" {act.shown}", "dim" if is_grey else "key").put(f" {act.footer} ", "dim" if is_grey else "")
    return cells.row()
