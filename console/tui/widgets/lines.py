"""The line list: every pane, header and footer of the console. Repaints the cells that changed and nothing else.

Textual's own table repaints itself whole for one cell (10.6 KB at 160x48); this sends one row up to the last changed
cell. It keeps its own window over the rows, with a pinned head, and its own cursor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from console.core.text import line
from console.tui.cells import Row, width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.style import Style
    from textual import events

_Painted = tuple[Row, bool]
"""What a screen line shows: its row, and whether the cursor is on it."""
_EMPTY: Row = ()


class LineView(Widget, can_focus=False):
    """Rows with an optional pinned head and an optional cursor (an index into the rows below the head). `kept_mark` is what
    stands on the cursor's row while keys go elsewhere."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "line",
        "line--dim",
        "line--bold",
        "line--ok",
        "line--info",
        "line--warn",
        "line--crit",
        "line--off",
        "line--key",
        "line--production",
        "line--cursor",
    }

    def __init__(
        self,
        title: str = "",
        *,
        head: int = 0,
        has_cursor: bool = False,
        kept_mark: str = "",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._rows: tuple[Row, ...] = ()
        self._head = head
        self._has_cursor = has_cursor
        self._kept_mark = kept_mark
        self._is_active = False
        self._cursor: int | None = None
        self._top = 0
        self._painted: tuple[_Painted, ...] = ()
        self._styles_of: dict[tuple[str, bool], Style] = {}
        self._title = ""
        self._note = ""
        if title:
            self.entitle(title)

    @property
    def rows(self) -> tuple[Row, ...]:
        return self._rows

    @property
    def head(self) -> int:
        """How many rows are pinned."""
        return self._head

    @property
    def cursor(self) -> int | None:
        return self._cursor

    @property
    def page(self) -> int:
        """Rows below the head that fit."""
        return max(self.content_size.height - self._head, 1)

    @property
    def row_width(self) -> int:
        """Cells for a row: the cursor takes one."""
        return max(self.content_size.width - self._has_cursor, 1)

    def activate(self, *, is_active: bool) -> None:
        """Whether keys go here: the border and the brackets of the title say so, and only here the cursor is `▶`."""
        self._is_active = is_active
        self.set_class(is_active, "-active")
        self._entitle()
        self.refresh()

    def entitle(self, raw: object) -> None:
        """Set the text in the border; does nothing when it is the same."""
        title = line(raw, 60)
        if title != self._title:
            self._title = title
            self._entitle()

    def _entitle(self) -> None:
        if self._title:
            self.border_title = Content(f"[{self._title}]" if self._is_active else self._title)

    def show(self, rows: Sequence[Row], cursor: int | None = None) -> None:
        """Show these rows. Equal rows repaint nothing."""
        self._rows = tuple(rows)
        body = len(self._rows) - self._head
        self._cursor = None if cursor is None or body <= 0 else min(max(cursor, 0), body - 1)
        self._follow()
        self._repaint()

    def scroll(self, by: int) -> None:
        """Move the window of a list that has no cursor."""
        self._top += by
        self._follow()
        self._repaint()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._rows)

    def render_line(self, y: int) -> Strip:
        width = self.content_size.width
        painted = self._window()
        row, is_cursor = painted[y] if y < len(painted) else (_EMPTY, False)
        is_lit = is_cursor and self._is_active
        base = self._style("", is_lit)
        segments = [Segment(text, self._style(role, is_lit)) for text, role in row]
        mark = "▶" if self._is_active else self._kept_mark
        if self._has_cursor:
            role = "key" if mark == "▶" else "dim"
            segments.insert(0, Segment(mark, self._style(role, is_lit)) if is_cursor and mark else Segment(" ", base))
        return Strip(segments).adjust_cell_length(width, base)

    def notify_style_update(self) -> None:
        self._styles_of.clear()
        super().notify_style_update()

    def on_resize(self, event: events.Resize) -> None:
        self._follow()
        self._painted = self._window()
        self._count()

    def _follow(self) -> None:
        """Keep the window inside the rows and the cursor inside the window."""
        body, page = max(len(self._rows) - self._head, 0), self.page
        if self._cursor is not None:
            self._top = min(max(self._top, self._cursor - page + 1), self._cursor)
        self._top = min(max(self._top, 0), max(body - page, 0))

    def _window(self) -> tuple[_Painted, ...]:
        head = [(row, False) for row in self._rows[: self._head]]
        start = self._head + self._top
        body = self._rows[start : start + self.page]
        return (*head, *((row, index + self._top == self._cursor) for index, row in enumerate(body)))

    def _repaint(self) -> None:
        before, self._painted = self._painted, self._window()
        if not self.is_mounted or not self.is_attached or before == self._painted:
            return
        blank: _Painted = (_EMPTY, False)
        width = self.content_size.width
        regions = []
        for y in range(min(max(len(before), len(self._painted)), self.content_size.height)):
            old = before[y] if y < len(before) else blank
            new = self._painted[y] if y < len(self._painted) else blank
            if old != new:
                first, end = _changed_cells(old, new, width)
                shift = self._has_cursor and old[1] == new[1]
                regions.append(Region(first + shift, y, min(end + shift, width) - first - shift, 1))
        if regions:
            self.refresh(*regions)
        self._count()

    def _count(self) -> None:
        """Say in the lower border how many rows are out of sight."""
        if not self.styles.border_bottom[0]:
            return
        above, below = self._top, len(self._rows) - self._head - self._top - self.page
        parts = [f"{above} above"] * (above > 0) + [f"{below} below"] * (below > 0)
        note = ", ".join(parts)
        if note != self._note:
            self._note = note
            self.border_subtitle = Content(note) if note else None

    def _style(self, role: str, is_lit: bool) -> Style:
        key = (role, is_lit)
        found = self._styles_of.get(key)
        if found is None:
            found = self.get_component_rich_style(f"line--{role}" if role else "line")
            if is_lit:
                found += self.get_component_rich_style("line--cursor", partial=True)
            self._styles_of[key] = found
        return found


def _changed_cells(old: _Painted, new: _Painted, width: int) -> tuple[int, int]:
    """(first, end) of the cells that differ. Never inside a wide character: only characters of one cell count as
    equal."""
    if old[1] != new[1] or max(width_of(old[0]), width_of(new[0])) > width:
        return 0, width
    was, now = _flat(old[0], width), _flat(new[0], width)
    first = _equal(was, now)
    was.reverse()
    now.reverse()
    return first, max(width - _equal(was, now), first + 1)


def _flat(row: Row, width: int) -> list[tuple[str, str]]:
    """The row as (character, role), filled with blanks to `width` cells."""
    cells: list[tuple[str, str]] = [(char, role) for text, role in row for char in text]
    return cells + [(" ", "")] * (width - width_of(row))


def _equal(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> int:
    """How many leading characters are the same and take one cell each."""
    same = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs or cell_len(mine[0]) != 1:
            break
        same += 1
    return same
