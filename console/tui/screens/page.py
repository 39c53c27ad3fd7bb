"""A page of lines to read: help, and what `enter` opens. esc, q or enter goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.screen import Screen

from console.core.acts import ACTS, DIALOG_KEYS
from console.core.text import SafeText, block, line
from console.errors import ConsoleError
from console.tui.cells import Cells, Row, folded, row, wrapped
from console.tui.widgets.lines import LineView

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.app import ComposeResult

    from console.core.acts import Place
    from console.tui.cells import Role
    from console.tui.lanes import Lane

_BACK = {"escape", "q", "enter", "question_mark"}


class PageScreen(Screen[None], inherit_bindings=False):
    """Rows that scroll."""

    def __init__(self, title: str, rows_for: Callable[[int], list[Row]]) -> None:
        """`rows_for` makes the rows for a width in cells."""
        super().__init__()
        self._pane = LineView(title, id="page")
        self._footer = LineView(id="footer")
        self._is_over = False
        self._rows_for = rows_for

    def compose(self) -> ComposeResult:
        yield self._pane
        yield self._footer

    def on_mount(self) -> None:
        self._footer.show([row((" esc", "key"), " back  ", ("j k PgDn PgUp g G", "key"), " move")])

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if self.is_attached:
            self._pane.show(self._rows_for(self._pane.row_width))

    def on_key(self, event: events.Key) -> None:
        event.stop()
        view = self._pane
        far = len(view.rows)
        steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pagedown": view.page, "space": view.page, "pageup": -view.page}
        steps |= {"g": -far, "home": -far, "G": far, "end": far}
        if event.key in _BACK:
            if not self._is_over:
                self._is_over = True
                self.dismiss()
        elif event.key in steps:
            view.scroll(steps[event.key])


TEXT_LINES: Final = 1_000
TEXT_LIMIT: Final = 40_000
"""Shown of a text; the rest is in its file, and the last line says so. 40,000 characters are made safe in 40 ms."""


class TextScreen(PageScreen):
    """A long text from the desk, read and made safe in the reading lane; differences in colour."""

    def __init__(self, title: str, load: Callable[[], str], reading: Lane, *, is_diff: bool = False) -> None:
        super().__init__(title, self._text_rows)
        self._load = load
        self._reading = reading
        self._is_diff = is_diff
        self._text: SafeText | None = None
        self._trouble = ""
        self._folded: tuple[int, list[Row]] = (0, [])

    def on_mount(self) -> None:
        super().on_mount()
        self.run_worker(self._fetch(), name="text", exclusive=True)

    async def _fetch(self) -> None:
        try:
            self._text = await self._reading.run(_safe_text, self._load)
        except ConsoleError as error:
            self._trouble = str(line(error, 400))
        except Exception as error:  # noqa: BLE001 - a page that dies says nothing
            self._trouble = f"cannot be read ({type(error).__name__})"
        self._draw()

    def _text_rows(self, width: int) -> list[Row]:
        if self._trouble:
            return [row((part, "warn")) for part in wrapped(self._trouble, width)]
        if self._text is None:
            return [row(("reading…", "dim"))]
        if self._folded[0] != width:
            make = diff_rows if self._is_diff else text_rows
            self._folded = width, make(self._text, width)
        return self._folded[1]


def _safe_text(load: Callable[[], str]) -> SafeText:
    return block(load(), TEXT_LINES, TEXT_LIMIT)


def text_rows(text: SafeText, width: int) -> list[Row]:
    """Lines as written, folded at the width."""
    if not text:
        return [row(("empty", "dim"))]
    return [row(part) for written in text.split("\n") for part in folded(written, width)]


def diff_rows(text: SafeText, width: int) -> list[Row]:
    """A unified diff, each line folded in its colour; `+` and `-` say the same without colour."""
    if not text.strip():
        return [row(("no difference", "dim"))]
    rows: list[Row] = []
    for written in text.rstrip("\n").split("\n"):
        is_head = written.startswith(("@@", "---", "+++"))
        role: Role = "dim" if is_head else "ok" if written.startswith("+") else "crit" if written.startswith("-") else ""
        first, *rest = folded(written, width - 1)
        rows += [row((first, role)), *(row((f" {part}", role)) for part in rest)]
    return rows


_KEY = 17


def help_rows(width: int, *, place: Place = "overview", why_not: str | None = None) -> list[Row]:
    """Every key that works on this screen with one line, then the dialog's keys, then what this version lacks."""
    rows: list[Row] = [row((f"Keys of this screen ({place})", "bold"))]
    if why_not is not None:
        rows.append(row((f"acts are off here: {why_not}", "warn")))
    for act in ACTS:
        if not act.works_on(place):
            continue
        key = act.shown or f": {act.command}"
        undo = f" (undo: {act.undo})" if act.undo else ""
        grey: Role = "dim" if act.risk != "none" and why_not is not None else ""
        rows += _entry(key, f"{act.title}{undo}", width, grey)
    rows += [row(""), row(("Before every act a dialog shows what it would do", "bold"))]
    for key, title in DIALOG_KEYS:
        rows += _entry(key, title, width)
    rows += [row(""), row(("Not in this version: the key says why", "bold"))]
    for act in ACTS:
        if act.missing:
            rows += _entry(act.shown, act.title, width, "dim")
    signs = row(("  ● ", "ok"), "well  ", ("▲ ", "crit"), "WARN or CRIT  ", ("■ ", "off"), "OFF: killed  ○ idle  – not known")
    rows += [row(""), row(("Signs", "bold")), signs]
    return rows + [row((f"  {part}", "dim")) for part in wrapped(_SIGNS, width - 2)]


_SIGNS = (
    "WARN: errors over 1 % or p99 over 10 s; CRIT: over 5 % or 30 s; both from 10 calls in five minutes. "
    "Times are UTC. STALE: nothing was heard for 15 s."
)


def _entry(key: str, title: str, width: int, role: Role = "") -> list[Row]:
    """A key and its line, wrapped under itself."""
    parts = wrapped(title, max(width - _KEY, 10))
    return [
        Cells().cell(f"  {key}" if number == 0 else "", _KEY, "key").put(part, role).row() for number, part in enumerate(parts)
    ]
