"""Pane 5 and the timeline: acts with what they changed from and to, processes that came and went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.tui import words
from console.tui.cells import Cells, Row, row, width_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from console.ops.views import ChangeView, StatusView, TimelineView
    from console.tui.cells import Role

_WITH_CLOCK_FROM: Final = 48
_SELF_EVIDENT: Final = frozenset({"kill", "restore"})
"""Their verb says from what to what."""
_NAMED_BY_RESULT: Final = frozenset({"switch", "auto", "use", "rollback", "force_open", "force_closed", "force_auto"})
"""Where "sonnet → haiku" says all, and a verb would only take its space."""


def changes(view: StatusView, width: int) -> list[Row]:
    """Newest first."""
    if not view.changes:
        return [row(("nothing was changed yet; K on a feature stops it", "dim"))]
    return [change_row(change, view.at, width) for change in view.changes]


def change_words(change: ChangeView) -> str:
    """ "op1 summarize sonnet → haiku: reason"."""
    subject = line(change.subject, 80).removeprefix("feature:").removeprefix("prompt:").removeprefix("target:")
    moved = ""
    if change.act not in _SELF_EVIDENT and (change.before or change.after):
        moved = f" {moved_words(change.before, change.after)}"
    act = "" if moved and change.act in _NAMED_BY_RESULT else f" {line(change.act, 20)}"
    undone = " (undone)" if change.is_undone else ""
    until = f" until {words.clock(change.expires_at)}" if change.expires_at is not None else ""
    why = f": {line(change.reason)}" if change.reason else ""
    return f"{line(change.actor, 30)}{act} {subject}{moved}{until}{undone}{why}"


def moved_words(before: str | None, after: str | None) -> str:
    """ "v6 → v7"; where chains have arrows of their own, "haiku only (was sonnet → haiku)"."""
    was, now = line(before or words.NONE, 80), line(after or words.NONE, 80)
    return f"{now} (was {was})" if "→" in was + now else f"{was} → {now}"


def change_row(change: ChangeView, now_us: int, width: int) -> Row:
    role: Role = "dim" if change.is_undone else "off" if change.act == "kill" else ""
    cells = Cells()
    if width >= _WITH_CLOCK_FROM:
        cells.cell(words.clock(change.at), 7, "dim")
    cells.cell(words.ago(change.at, now_us), 4, "dim", "right").cell("", 1)
    return cells.cell(change_words(change), max(width - width_of(cells.row()), 1), role).row()


def entry_key(entry: TimelineView) -> Hashable:
    """What tells one line of the timeline from the others while new ones arrive."""
    return (entry.at, entry.kind, entry.change.id if entry.change is not None else line(entry.text, 200))


def entry_words(entry: TimelineView) -> str:
    """What happened, in one line."""
    if entry.change is not None:
        return change_words(entry.change)
    who = f"{line(entry.actor, 30)} " if entry.actor else ""
    return f"{who}{line(entry.text)}" + (f": {line(entry.reason)}" if entry.reason else "")


def timeline(entries: Sequence[TimelineView], now_us: int, width: int) -> list[Row]:
    """In the order given; `entries` oldest first for a tail."""
    return [_entry_row(entry, now_us, width) for entry in entries]


def _entry_row(entry: TimelineView, now_us: int, width: int) -> Row:
    change = entry.change
    role: Role = "" if entry.kind == "act" else "dim" if entry.kind == "process" else "warn"
    if change is not None:
        role = "dim" if change.is_undone else "off" if change.act == "kill" else ""
    cells = Cells().cell(words.clock(entry.at), 7, "dim").cell(words.ago(entry.at, now_us), 4, "dim", "right").cell("", 1)
    cells.cell(entry.kind, 8, "dim")
    return cells.cell(entry_words(entry), max(width - 20, 1), role).row()
