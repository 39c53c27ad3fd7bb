"""What changed, newest first: acts from the audit, and processes that came, went, fell silent, or opened a breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.errors import StoreError
from console.ops.acts import said, subject_of
from console.ops.heartbeats import CLOSED, heard
from console.ops.views import ChangeView, TimelineView
from console.store.sqlite import reads
from console.store.sqlite.control import read_audit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from console.core.audit import AuditRow
    from console.core.targets import Routing
    from console.ops.heartbeats import Live
    from console.ops.views import ProcessView
    from console.store.configuration import Settings

SEEN_S: Final = 86_400
"""How far back the timeline tells of processes."""


def change_views(rows: Sequence[AuditRow], routing: Routing) -> tuple[ChangeView, ...]:
    """Audit rows (oldest first) as changes, newest first. A row of a kind that this version does not know is shown as it is."""
    undone = {row.undoes for row in rows if row.undoes is not None}
    ends: dict[str, int | None] = {}
    found = []
    for row in rows:
        end = ends.get(row.key)
        is_over = end is not None and end <= row.at
        found.append(
            ChangeView(
                id=row.id,
                at=row.at,
                actor=row.actor,
                act=row.act,
                subject=subject_of(row.key),
                reason=row.reason,
                version=row.version,
                is_undone=row.id in undone,
                before=said(row.key, None if is_over else row.before, routing),
                after=said(row.key, row.after, routing),
                expires_at=row.expires_at,
            )
        )
        ends[row.key] = row.expires_at
    return tuple(reversed(found))


def change_text(change: ChangeView) -> str:
    """One line: "switch summarize: sonnet → haiku only"."""
    name = change.subject.removeprefix("feature:")
    moved = "" if change.before is None or change.after is None else f": {change.before} → {change.after}"
    return f"{change.act.replace('_', ' ')} {name}{moved}" + (" (undone)" if change.is_undone else "")


def timeline_view(settings: Settings, now_us: int, limit: int) -> tuple[TimelineView, ...]:
    """The newest lines. Raises StoreError when the audit cannot be read; telemetry may be missing or broken."""
    control = settings.locations.control
    rows = read_audit(control, last=limit) if control.exists() else []
    lines = [
        TimelineView(change.at, "act", change.actor, change_text(change), change.reason, change)
        for change in change_views(rows, settings.routing)
    ]
    try:
        with reads.reading_telemetry(settings.locations.telemetry) as connection:
            views, live = heard(connection, now_us, SEEN_S)
            moments = reads.lives(connection, now_us - SEEN_S * 1_000_000)
    except StoreError:
        views, live, moments = (), (), {}
    lines += _processes(views, moments)
    lines += _breakers(live)
    lines.sort(key=lambda line: line.at, reverse=True)
    return tuple(lines[:limit])


def _processes(views: Iterable[ProcessView], moments: dict[str, tuple[int, int, int | None]]) -> list[TimelineView]:
    found = []
    for view in views:
        started, last, ended = moments[view.id]
        who = f"{view.service} pid {view.pid} on {view.host}"
        found.append(TimelineView(started, "process", None, f"{who} started"))
        if ended is not None:
            found.append(TimelineView(ended, "process", None, f"{who} ended"))
        elif view.state != "live":
            said = "is gone without a word" if view.state == "ended" else "fell silent"
            found.append(TimelineView(last, "process", None, f"{who} {said}"))
    return found


def _breakers(live: Iterable[Live]) -> list[TimelineView]:
    return [
        TimelineView(
            told.since, "breaker", None, f"{target} {told.state} in {one.view.service} pid {one.view.pid}", told.reason
        )
        for one in live
        for target, told in one.state.breakers.items()
        if told.since is not None and told.state not in CLOSED
    ]
