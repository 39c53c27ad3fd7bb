"""Rows of styled text, measured in terminal cells: what panes are made of. Pure; the one door through which text
enters a widget.

A row is a tuple of spans (text, role). Roles are names; `LineView` looks their colours up in the theme. `Cells` passes
each text through `console.core.text.line`, so a pane cannot hand unsafe text on even when it forgets.
"""

from __future__ import annotations

from typing import Literal

from rich.cells import cell_len, set_cell_size

from console.core.text import CUT, line

Role = Literal["", "dim", "bold", "ok", "info", "warn", "crit", "off", "key", "production"]
Span = tuple[str, Role]
Row = tuple[Span, ...]
Align = Literal["left", "right"]

_LONGEST = 400


def fit(text: str, width: int, align: Align = "left") -> str:
    """`text` cut with `…` or padded to exactly `width` cells."""
    if width <= 0:
        return ""
    used = cell_len(text)
    if used > width:
        return set_cell_size(text, width - 1) + CUT
    space = " " * (width - used)
    return space + text if align == "right" else text + space


def width_of(row: Row) -> int:
    """Cells that `row` takes."""
    return sum(cell_len(text) for text, _ in row)


class Cells:
    """Builds one row. Neighbours of the same role become one span: each change of style costs about 40 bytes on the
    line."""

    def __init__(self) -> None:
        self._spans: list[tuple[str, Role]] = []

    def put(self, raw: object, role: Role = "") -> Cells:
        """Add text as it is (made safe, not measured)."""
        return self._add(line(raw, _LONGEST), role)

    def cell(self, raw: object, width: int, role: Role = "", align: Align = "left") -> Cells:
        """Add text in exactly `width` cells."""
        return self._add(fit(line(raw, _LONGEST), width, align), role)

    def row(self) -> Row:
        return tuple(self._spans)

    def _add(self, text: str, role: Role) -> Cells:
        if not text:
            return self
        if self._spans and (self._spans[-1][1] == role or not text.strip()):
            before, its_role = self._spans[-1]
            self._spans[-1] = (before + text, its_role)
        else:
            self._spans.append((text, role))
        return self


def row(*parts: object | tuple[object, Role]) -> Row:
    """A row from texts and (text, role) pairs."""
    cells = Cells()
    for part in parts:
        if isinstance(part, tuple):
            cells.put(part[0], part[1])
        else:
            cells.put(part)
    return cells.row()


def clipped(what: Row, width: int) -> Row:
    """`what`, ending in `…` when it has more than `width` cells."""
    if width_of(what) <= width:
        return what
    cells, room = Cells(), width - 1
    for text, role in what:
        if cell_len(text) > room:
            return cells.put(set_cell_size(text, room) + CUT, role).row()
        cells.put(text, role)
        room -= cell_len(text)
    return cells.row()


def wrapped(text: str, width: int) -> list[str]:
    """`text` on lines of at most `width` characters, broken at spaces where there are any."""
    lines: list[str] = []
    rest = text
    while rest:
        if len(rest) <= width:
            lines.append(rest)
            break
        at = rest.rfind(" ", 1, width + 1)
        at = at if at > 0 else width
        lines.append(rest[:at])
        rest = rest[at:].lstrip()
    return lines


def folded(text: str, width: int) -> list[str]:
    """`text` on lines of at most `width` cells, as written: blanks at the start stay, wide characters count double. Broken
    after a blank where one is near."""
    if width <= 1 or cell_len(text) <= width:
        return [text]
    parts: list[str] = []
    rest = text
    while rest:
        head = rest[:width] if rest.isascii() else set_cell_size(rest[:width], min(width, cell_len(rest[:width]))).rstrip(" ")
        if len(head) < len(rest):
            at = rest.rfind(" ", len(head) // 2, len(head) + 1)
            head = rest[: at + 1] if at > 0 else head or rest[0]
        parts.append(head.rstrip(" ") if len(head) < len(rest) else head)
        rest = rest[len(head) :]
    return parts


def plain(what: Row) -> str:
    """The row's text, for copying and for tests."""
    return "".join(text for text, _ in what).rstrip()
