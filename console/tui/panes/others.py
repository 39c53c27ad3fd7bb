"""Panes 2, 4 and 5: quality, failover, what changed. Where nothing feeds a pane yet it says so, and what will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.tui import words
from console.tui.cells import Cells, Row, row, width_of, wrapped
from console.tui.order import ERROR_CRIT, ERROR_WARN

if TYPE_CHECKING:
    from console.ops.views import ChangeView, FeatureView, StatusView, TargetView
    from console.tui.cells import Role

_WITH_CLOCK_FROM: Final = 48
_NO_SCORES: Final = (
    "No scores: nothing judges outputs in this version. A judge that grades sampled calls will feed this pane; until "
    "then a bad prompt that answers fast and without errors is not seen here."
)
_NO_FAILOVER: Final = "No chains and breakers in this version: nothing moves to another target by itself. Targets as measured."


def quality(view: StatusView, width: int) -> list[Row]:
    """The scores that are known, or that none are."""
    scored = [feature for feature in view.features if feature.quality is not None]
    if not scored:
        return [row((part, "dim")) for part in wrapped(_NO_SCORES, width)]
    return [_score_row(feature, width) for feature in scored]


def _score_row(feature: FeatureView, width: int) -> Row:
    return Cells().cell(feature.feature, max(width - 6, 1)).cell(f"{feature.quality or 0:.2f}", 6, "bold", "right").row()


def failover_head(width: int) -> Row:
    cells = Cells().cell("target", _target_width(width), "dim")
    for title, size in (("calls 5m", 9), ("errors", 8), ("p95", 8)):
        cells.cell(title, size, "dim", "right")
    return cells.row()


def failover(view: StatusView, width: int) -> list[Row]:
    """Head, then the targets with what was measured. Breakers where processes report them."""
    has_breakers = any(target.breakers for target in view.targets)
    note = [] if has_breakers else [row((part, "dim")) for part in wrapped(_NO_FAILOVER, width)]
    return [failover_head(width), *(target_row(target, width) for target in view.targets), *note]


def target_row(target: TargetView, width: int) -> Row:
    role: Role = ""
    if target.error_rate is not None and target.calls_5m >= 10:
        role = "crit" if target.error_rate > ERROR_CRIT else "warn" if target.error_rate > ERROR_WARN else ""
    states = ", ".join(f"{state} {number}" for state, number in target.breakers or ())
    cells = Cells().cell("▲ " if role else "● ", 2, role or "ok")
    cells.cell(f"{target.target} {states}".rstrip(), _target_width(width) - 2, role)
    cells.cell(words.count(target.calls_5m), 9, role, "right").cell(words.rate(target.error_rate), 8, role, "right")
    return cells.cell(words.latency(target.p95_ms), 8, role, "right").row()


def _target_width(width: int) -> int:
    return max(width - 25, 8)


def changes(view: StatusView, width: int) -> list[Row]:
    """Newest first."""
    if not view.changes:
        return [row(("nothing was changed yet; K on a feature stops it", "dim"))]
    return [change_row(change, view.at, width) for change in view.changes]


def change_row(change: ChangeView, now_us: int, width: int) -> Row:
    role: Role = "dim" if change.is_undone else "off" if change.act == "kill" else ""
    cells = Cells()
    if width >= _WITH_CLOCK_FROM:
        cells.cell(words.clock(change.at), 7, "dim")
    cells.cell(words.ago(change.at, now_us), 4, "dim", "right").cell("", 1)
    subject = line(change.subject).removeprefix("feature:")
    said = f"{line(change.actor, 30)} {line(change.act, 20)} {subject}" + (" (undone)" if change.is_undone else "")
    if change.reason:
        said = f"{said}: {line(change.reason)}"
    return cells.cell(said, max(width - width_of(cells.row()), 1), role).row()
