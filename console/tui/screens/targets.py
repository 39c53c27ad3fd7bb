"""The targets screen: every target with its breakers, and all that is known about the one under the cursor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from console.tui.cells import row
from console.tui.panes import targets
from console.tui.screens.live import LiveScreen, Parts, Picture
from console.tui.things import Thing, force_order, target_named

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from console.core.acts import Place
    from console.ops.views import TargetView
    from console.tui.cells import Row
    from console.tui.desk import DeskLike

NOTHING = "No targets: no call was recorded in five minutes, and console.yaml names none under `targets:`."


class TargetsScreen(LiveScreen):
    """O, C and A hold the target under the cursor open, closed, or let it go; P asks it now."""

    PLACE: ClassVar[Place] = "targets"
    PANES = ("targets", "target")
    TITLES = ("1 Targets", "2 Target")
    LAYOUT = PANES
    HEADS = frozenset({"targets"})
    LISTS = frozenset({"targets"})

    def __init__(self, parts: Parts, about: Thing | None = None) -> None:
        super().__init__(parts, about)
        if about is not None and about.kind == "target":
            self._cursors["targets"].put(about)

    def _reader(self) -> Callable[[], Picture]:
        return partial(_look, self._parts.desk)

    def _found(self) -> list[TargetView]:
        every = self._shown.view.targets if self._shown is not None else ()
        return targets.worst_first(target for target in every if self._matches(target.target))

    def _keys(self, name: str) -> Sequence[Hashable]:
        return [Thing("target", target.target) for target in self._found()]

    def _moved(self) -> None:
        if self._shown is not None:
            self._draw_pane("target", self._shown)

    def _draw_pane(self, name: str, picture: Picture) -> None:
        pane = self._lines(name)
        if name == "targets":
            found = self._found()
            rows = targets.table(picture.view, found, pane.row_width)
            self._show_list(name, [*rows, *([] if found else [row((NOTHING, "dim"))])])
            return
        thing = self._thing()
        target = target_named(picture.view, thing.name) if thing is not None else None
        pane.entitle(f"2 Target {target.target}" if target is not None else "2 Target")
        pane.show(targets.detail(target, picture.view.at, pane.row_width) if target is not None else [])

    def _thing(self) -> Thing | None:
        key = self._cursors["targets"].key
        return key if isinstance(key, Thing) else None

    def _page(self) -> tuple[str, Callable[[int], list[Row]]] | None:
        thing, picture = self._thing(), self._shown
        target = target_named(picture.view, thing.name) if thing is not None and picture is not None else None
        if target is None or picture is None:
            return None
        return f"Target {target.target}", partial(targets.detail, target, picture.view.at)

    def _do_force_open(self) -> None:
        self._give(force_order("force_open", self._thing()), "O")

    def _do_force_closed(self) -> None:
        self._give(force_order("force_closed", self._thing()), "C")

    def _do_force_auto(self) -> None:
        self._give(force_order("force_auto", self._thing()), "A")

    def _do_probe(self) -> None:
        self._give(force_order("probe", self._thing()), "P")


def _look(desk: DeskLike) -> Picture:
    return Picture(desk.status())
