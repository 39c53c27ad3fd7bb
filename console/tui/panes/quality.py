"""Pane 2: quality. Where nothing feeds a pane yet it says so, and what will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.tui.cells import Cells, Row, row, wrapped

if TYPE_CHECKING:
    from console.ops.views import FeatureView, StatusView

_NO_SCORES: Final = (
    "No scores: nothing judges outputs in this version. A judge that grades sampled calls will feed this pane; until "
    "then a bad prompt that answers fast and without errors is not seen here."
)


def quality(view: StatusView, width: int) -> list[Row]:
    """The scores that are known, or that none are."""
    scored = [feature for feature in view.features if feature.quality is not None]
    if not scored:
        return [row((part, "dim")) for part in wrapped(_NO_SCORES, width)]
    return [_score_row(feature, width) for feature in scored]


def _score_row(feature: FeatureView, width: int) -> Row:
    return Cells().cell(feature.feature, max(width - 6, 1)).cell(f"{feature.quality or 0:.2f}", 6, "bold", "right").row()
