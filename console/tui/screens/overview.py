"""The overview: five panes. The cursor of pane 1 holds on to a feature, and the trends are that feature's."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from console.tui.cells import row
from console.tui.order import Ranking
from console.tui.panes import changes, detail, failover, features, header, latency, quality, verdict
from console.tui.screens.live import LiveScreen, Parts, Picture
from console.tui.things import EVERYTHING, Thing, thing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from console.core.acts import Place
    from console.ops.views import ChangeView, FeatureView, StatusView
    from console.tui.cells import Row
    from console.tui.desk import DeskLike

_MARK_US: Final = 10_000_000
"""The plots are drawn again when their data changed, or after so long, when a mark may have moved."""


class OverviewScreen(LiveScreen):
    """The first screen and the last: everything else is one step away from it."""

    PLACE: ClassVar[Place] = "overview"
    PANES = ("features", "quality", "latency", "failover", "changes")
    TITLES = ("1 Features", "2 Quality", "3 Latency and errors", "4 Failover", "5 What changed")
    LAYOUT = ("features", "failover", "quality", "latency", "changes")
    HEADS = frozenset({"features", "failover"})
    """Of the failover pane: the verdict."""
    LISTS = frozenset({"features", "failover", "changes"})
    CHANGES = "changes"

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._ranking = Ranking()
        self._ordered: list[FeatureView] = []
        self._asked_for: str | None = None
        self._latency_key: object = None
        self._failover: list[failover.Entry] = []
        self._has_chosen = False
        """Whether the cursor was put on the worst feature; from then on it is the engineer's."""

    # -- what it reads -------------------------------------------------------------------------------------------------

    def _reader(self) -> Callable[[], Picture]:
        selected = self._selected
        self._asked_for = selected.name if selected is not None and selected.kind == "feature" else None
        return partial(_look, self._parts.desk, self._asked_for)

    @property
    def _selected(self) -> Thing | None:
        key = self._cursors["features"].key
        return key if isinstance(key, Thing) else None

    def _settle(self, picture: Picture) -> None:
        self._ordered = self._ranking.order(picture.view.features, time.monotonic())
        if not self._has_chosen and self._ordered:
            self._has_chosen = True
            self._cursors["features"].put(Thing("feature", self._ordered[0].feature))
            self._wake.set()

    def _go(self, number: int) -> None:
        """A list that is left shows its worst or newest row again."""
        if self._pane in {"failover", "changes"} and self.PANES[number] != self._pane:
            self._cursors[self._pane].release()
        super()._go(number)

    def _moved(self) -> None:
        if self._pane == "features":
            self._wake.set()

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _matching(self) -> list[FeatureView]:
        return [feature for feature in self._ordered if self._matches(feature.feature)]

    def _keys(self, name: str) -> Sequence[Hashable]:
        if name == "features":
            return features.rows_of(self._matching(), is_filtered=bool(self._filter.text))
        if name == "failover":
            return [thing for thing, _ in self._failover]
        return [change.id for change in self._shown.view.changes] if self._shown is not None else []

    def _draw_pane(self, name: str, picture: Picture) -> None:
        view, pane = picture.view, self._lines(name)
        width = pane.row_width
        if name == "features":
            self._draw_features(view)
        elif name == "latency":
            self._draw_latency(view)
        elif name == "quality":
            pane.show(quality.quality(view, width))
        elif name == "failover":
            self._failover = failover.entries(view, width)
            pane.entitle(f"{self.TITLES[3]} {failover.title(view)}")
            self._draw_failover(view)
        else:
            self._show_list(name, changes.changes(view, width))

    def _draw_features(self, view: StatusView) -> None:
        pane = self._lines("features")
        is_empty = not view.processes and not view.features
        self.set_class(is_empty, "-empty")
        if is_empty:
            pane.show([row(("", "dim")), *features.nothing_yet(view)])
            return
        found, wanted = self._matching(), self._filter.text
        self._show_list("features", features.pane(view, found, pane.row_width, is_filtered=bool(wanted)))
        pane.entitle(self.TITLES[0] + (f" matching {wanted}: {len(found)}" if wanted else ""))

    def _draw_failover(self, view: StatusView) -> None:
        pane = self._lines("failover")
        width = pane.row_width
        rows = [verdict.verdict_row(view.verdict, width), *(shown for _, shown in self._failover), *failover.note(view, width)]
        cursor = self._cursors["failover"]
        at = cursor.settle(self._keys("failover"))
        thing = self._failover[at][0] if at is not None and at < len(self._failover) else None
        below = failover.below(view, thing, width, pane.content_size.height - len(rows))
        pane.show([*rows, *below], at)

    def _draw_latency(self, view: StatusView) -> None:
        pane = self._lines("latency")
        width, height = pane.row_width, pane.content_size.height
        pane.entitle(f"{self.TITLES[2]} · {self._asked_for or 'all features'}")
        key = (view.trends, view.changes, view.at // _MARK_US, width, height)
        if key != self._latency_key:
            self._latency_key = key
            pane.show(latency.pane(view, width, height))

    # -- the row under the cursor --------------------------------------------------------------------------------------

    def _thing(self) -> Thing | None:
        if self._pane == "features":
            return self._selected
        if self._pane == "failover":
            key = self._cursors["failover"].key
            return key if isinstance(key, Thing) else None
        change = self._change()
        return thing_of(change.subject) if change is not None else None

    def _change(self) -> ChangeView | None:
        if self._pane != "changes" or self._shown is None:
            return None
        key = self._cursors["changes"].key
        return next((change for change in self._shown.view.changes if change.id == key), None)

    def _page(self) -> tuple[str, Callable[[int], list[Row]]] | None:
        if self._shown is None:
            return None
        view, change = self._shown.view, self._change()
        if change is not None:
            return "Change", partial(detail.change, change, view.at)
        thing = self._thing() if self._pane in {"features", "failover"} else None
        if thing == EVERYTHING:
            return "Processes", partial(header.process_rows, view)
        return detail.page_of(view, thing)


def _look(desk: DeskLike, feature: str | None) -> Picture:
    return Picture(desk.status(trends=True, feature=feature))
