"""The timeline: acts with their reasons, processes that came and went; newest last. A tail: while the cursor is on the last
line it follows, moved up it stays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from console.tui.cells import row
from console.tui.panes import changes, detail
from console.tui.screens.live import LiveScreen, Parts, Picture
from console.tui.things import Thing, thing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from console.core.acts import Place
    from console.ops.views import ChangeView, TimelineView
    from console.tui.cells import Row
    from console.tui.desk import DeskLike

LIMIT: Final = 200
NOTHING: Final = "Nothing yet: acts (K on a feature), and processes that start and end, will stand here."


class TimelineScreen(LiveScreen):
    """One list. `u` undoes the act under the cursor; K, M and B act on what it was about."""

    PLACE: ClassVar[Place] = "timeline"
    PANES = ("timeline",)
    TITLES = ("Timeline",)
    LAYOUT = PANES
    LISTS = frozenset({"timeline"})
    CHANGES = "timeline"

    def __init__(self, parts: Parts, about: Thing | None = None) -> None:
        super().__init__(parts, about)
        self._follows = True

    def _reader(self) -> Callable[[], Picture]:
        return partial(_look, self._parts.desk)

    def _found(self) -> list[TimelineView]:
        """Oldest first."""
        every = self._shown.timeline if self._shown is not None else ()
        return [entry for entry in reversed(every) if self._matches(f"{entry.kind} {changes.entry_words(entry)}")]

    def _keys(self, name: str) -> Sequence[Hashable]:
        return [changes.entry_key(entry) for entry in self._found()]

    def _moved(self) -> None:
        keys = self._keys("timeline")
        self._follows = bool(keys) and self._cursors["timeline"].key == keys[-1]

    def _draw_pane(self, name: str, picture: Picture) -> None:
        pane, found = self._lines(name), self._found()
        if self._follows and found:
            self._cursors[name].put(changes.entry_key(found[-1]))
        wanted = self._filter.text
        state = "" if self._follows else ", standing still: G follows again"
        pane.entitle("Timeline, newest last" + (f", matching {wanted}: {len(found)}" if wanted else "") + state)
        rows = changes.timeline(found, picture.view.at, pane.row_width)
        self._show_list(name, rows or [row((NOTHING if not wanted else "nothing matches; esc clears the filter", "dim"))])

    def _entry(self) -> TimelineView | None:
        key = self._cursors["timeline"].key
        return next((entry for entry in self._found() if changes.entry_key(entry) == key), None)

    def _change(self) -> ChangeView | None:
        entry = self._entry()
        return entry.change if entry is not None else None

    def _thing(self) -> Thing | None:
        change = self._change()
        return thing_of(change.subject) if change is not None else None

    def _do_undo(self) -> None:
        entry = self._entry()
        if entry is not None and entry.change is None:
            self.say("this line is no act: move to one to undo it", "warn")
            return
        super()._do_undo()

    def _page(self) -> tuple[str, Callable[[int], list[Row]]] | None:
        entry, picture = self._entry(), self._shown
        if entry is None or picture is None:
            return None
        if entry.change is not None:
            return "Change", partial(detail.change, entry.change, picture.view.at)
        return "Timeline", partial(detail.entry, entry, picture.view.at)


def _look(desk: DeskLike) -> Picture:
    return Picture(desk.status(), timeline=desk.timeline(LIMIT))
