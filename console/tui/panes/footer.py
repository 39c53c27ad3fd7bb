"""The last line: the keys that matter, from the acts table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.core.acts import ACTS, Act
from console.tui.cells import Cells, Row, width_of

if TYPE_CHECKING:
    from console.tui.cells import Role


def footer(width: int, *, is_read_only: bool) -> Row:
    """Acts at the left, the rest at the right. Keys that are refused are grey, and say why when pressed."""
    left, right = Cells(), Cells()
    for act in ACTS:
        if not act.footer or (act.missing and width < 120):
            continue
        is_risky = act.risk != "none"
        side = left if is_risky else right
        grey = (is_risky and is_read_only) or bool(act.missing)
        _key(side, act, grey=grey)
    start, end = left.row(), right.row()
    gap = " " * max(width - width_of(start) - width_of(end) - 1, 1)
    return (*start, (gap, ""), *end)


def _key(cells: Cells, act: Act, *, grey: bool) -> None:
    key: Role = "dim" if grey else "key"
    cells.put(f" {act.shown}", key).put(f" {act.footer} ", "dim" if grey else "")
