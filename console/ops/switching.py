"""The acts on kill switches: preview, apply, undo. One shape: a preview is made, shown, and applied only if it still holds."""

from __future__ import annotations

import difflib
import secrets
import time
from typing import TYPE_CHECKING, Final

from console.core.control import KILL_ENGAGED, KILL_RESTORED, kill_key, kill_scope
from console.core.durations import age, ago
from console.core.ids import uuid7
from console.core.redaction import encodable, redact
from console.core.rollups import US
from console.core.switches import ALL, Scope
from console.errors import ActConflict, ActError, NothingToUndo, StoreError
from console.ops.control import mend, read_all
from console.ops.status import WINDOW_S, subject_of
from console.ops.views import Applied, Order, Preview
from console.store.sqlite import reads
from console.store.sqlite.control import Change, read_audit, write_change

if TYPE_CHECKING:
    from console.core.audit import AuditRow
    from console.core.switches import Switch
    from console.ops.actor import Actor
    from console.ops.control import Reading
    from console.store.locations import Locations

REASON_LIMIT: Final = 500
MAX_NAME: Final = 200


def preview(places: Locations, order: Order, now_us: int) -> Preview:
    """What `order` would do. Raises ActError (NothingToUndo, ActConflict) and StoreError."""
    mend(places.control)
    if order.act == "undo":
        return _preview_undo(places, order, now_us)
    if order.scope is None:
        raise ActError("name what to act on: a feature, a model, a customer, or all")
    _check_name(order.scope)
    return _preview_switch(places, order, order.scope, read_all(places), now_us)


def _check_name(scope: Scope) -> None:
    if scope != ALL and (not scope.name.strip() or len(scope.name) > MAX_NAME or not scope.name.isprintable()):
        raise ActError(f"{scope.name[:40]!r} cannot be the name of a {scope.kind}: 1 to {MAX_NAME} printable characters")


def _preview_switch(places: Locations, order: Order, scope: Scope, reading: Reading, now_us: int) -> Preview:
    engages = order.act == "kill"
    switch = reading.state.switches.get(scope)
    is_killed = switch is not None and switch.is_engaged(now_us)
    ends_by_itself = engages and switch is not None and switch.expires_at is not None
    touched, names, trouble = _whom(places, scope, now_us)
    warnings = [*trouble, *(_unknown(scope, names) if engages else ()), *_still_stopped(reading, scope, order, now_us)]
    if reading.problem is not None:
        warnings.append(reading.problem)
    return Preview(
        order=order,
        title=f"{'Kill' if engages else 'Restore'} {scope_name(scope)}",
        subject=str(scope),
        before=_said(switch if is_killed else None, now_us),
        after=_after(order, engages=engages),
        is_wide=scope.is_wide,
        confirm_word=scope.name or "all",
        is_already_so=is_killed == engages and order.for_us is None and not ends_by_itself,
        calls_5m=None if touched is None else touched.calls,
        customers_5m=None if touched is None else touched.customers,
        share_of_traffic=None if touched is None or not touched.all_calls else touched.calls / touched.all_calls,
        last_time=_last_time(places, kill_key(scope), order.act, now_us),
        warnings=tuple(warnings),
        version=reading.version_of(kill_key(scope)),
    )


def scope_name(scope: Scope) -> str:
    """A scope for people: "support-reply", "model claude-haiku-5-5", "all AI features"."""
    if scope == ALL:
        return "all AI features"
    return scope.name if scope.kind == "feature" else f"{scope.kind} {scope.name}"


def _said(switch: Switch | None, now_us: int) -> str:
    if switch is None:
        return "running"
    since = "" if switch.at is None else f", {ago((now_us - switch.at) / US)}"
    return f"killed by {switch.actor or switch.source}{since}"


def _after(order: Order, *, engages: bool) -> str:
    if not engages:
        return "running"
    return "killed" if order.for_us is None else f"killed for {age(order.for_us / US)}, then running again by itself"


def _whom(places: Locations, scope: Scope, now_us: int) -> tuple[reads.Touched | None, list[str], list[str]]:
    """Whom it touches, the known names of its kind, and a warning when telemetry cannot say. An act never needs telemetry."""
    now_s = now_us // US
    try:
        with reads.reading_telemetry(places.telemetry) as connection:
            touched = reads.touched(connection, (now_s - WINDOW_S + 9) // 10 * 10, scope.kind, scope.name)
            names = reads.seen_names(connection, (now_s - 86400) // 3600 * 3600).get(scope.kind, [])
    except reads.NothingRecorded:
        return None, [], []
    except StoreError as error:
        return None, [], [f"telemetry cannot say whom this touches: {error}"]
    return touched, names, []


def _unknown(scope: Scope, names: list[str]) -> list[str]:
    if scope == ALL or not names or scope.name in names:
        return []
    close = difflib.get_close_matches(scope.name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return [f"no call of the last day has the {scope.kind} {scope.name}{hint}"]


def _still_stopped(reading: Reading, scope: Scope, order: Order, now_us: int) -> list[str]:
    if order.act != "restore":
        return []
    found = []
    glass = reading.glass.get(scope)
    if glass is not None:
        found.append(f"still stopped by the break-glass file {glass.source}: remove it")
    if scope != ALL and any(switch.scope == ALL for switch in reading.engaged(now_us)):
        found.append("still stopped by the switch on all: `console restore --all`")
    if scope == ALL:
        rest = [str(switch.scope) for switch in reading.engaged(now_us) if switch.scope != ALL]
        if rest:
            found.append(f"these have switches of their own and stay stopped: {', '.join(rest[:10])}")
    return found


def _last_time(places: Locations, key: str, act: str, now_us: int) -> str | None:
    try:
        rows = [row for row in read_audit(places.control, last=2_000) if row.key == key and row.act == act]
    except StoreError:
        return None
    if not rows:
        return None
    done = "killed" if act == "kill" else "restored"
    return f"last {done} {ago((now_us - rows[-1].at) / US)} by {rows[-1].actor}"


def undoable(rows: list[AuditRow], change_id: str | None) -> AuditRow:
    """The act to take back: the one named, else the last that is neither an undo nor undone. Raises NothingToUndo,
    ActConflict when a later act has changed the same key."""
    undone = {row.undoes for row in rows}
    candidates = [row for row in rows if row.act != "undo" and row.id not in undone]
    if change_id is not None:
        candidates = [row for row in candidates if row.id == change_id]
        if not candidates:
            raise NothingToUndo(f"no act {change_id} that could be taken back; `console audit` lists them")
    if not candidates:
        raise NothingToUndo("nothing to undo: no act has been done yet, or all have been taken back")
    found = candidates[-1]
    later = [row for row in rows if row.key == found.key and row.position > found.position and row.act != "undo"]
    later = [row for row in later if row.id not in undone]
    if later:
        raise ActConflict(f"{subject_of(found.key)} was changed again by {later[-1].actor} since; undo that first")
    return found


def _preview_undo(places: Locations, order: Order, now_us: int) -> Preview:
    if not places.control.exists():
        raise NothingToUndo("nothing to undo: no act has been done here yet")
    rows = read_audit(places.control)
    row = undoable(rows, order.change_id)
    scope = kill_scope(row.key)
    if scope is None:
        raise ActError(f"{row.key}: this version does not know how to undo it")
    value, expires_at = _previous(rows, row)
    left_us = None if expires_at is None else expires_at - now_us
    engages = value == KILL_ENGAGED and (left_us is None or left_us > 0)  # a kill that has expired since stays expired
    again = Order("kill", scope, for_us=left_us) if engages else Order("restore", scope)
    shown = _preview_switch(places, again, scope, read_all(places), now_us)
    return Preview(
        order=Order("undo", scope, change_id=row.id),
        title=f"Undo: {row.act} {scope_name(scope)}, {ago((now_us - row.at) / US)} by {row.actor}",
        subject=shown.subject,
        before=shown.before,
        after=shown.after,
        is_wide=shown.is_wide,
        confirm_word=shown.confirm_word,
        is_already_so=shown.is_already_so,
        calls_5m=shown.calls_5m,
        customers_5m=shown.customers_5m,
        share_of_traffic=shown.share_of_traffic,
        last_time=None,
        warnings=shown.warnings,
        version=shown.version,
    )


def apply(places: Locations, shown: Preview, actor: Actor, reason: str | None, now_us: int) -> Applied:
    """Does what the preview says. Raises ActConflict when somebody was faster, StoreError when it could not be written."""
    order = shown.order
    assert order.scope is not None  # noqa: S101 -- every preview has one
    value = KILL_ENGAGED if order.act == "kill" else KILL_RESTORED
    expires_at = None if order.for_us is None else now_us + order.for_us
    if order.act == "undo":
        rows = read_audit(places.control)
        value, expires_at = _previous(rows, undoable(rows, order.change_id))
    cleaned = encodable(redact(" ".join(reason.split())))[:REASON_LIMIT] if reason and reason.strip() else None
    started = time.perf_counter()
    change = Change(
        id=uuid7(now_us, secrets.randbits(74)),
        act=order.act,
        key=kill_key(order.scope),
        value=value,
        at=now_us,
        actor=actor.name,
        claimed=actor.claimed,
        reason=cleaned,
        expires_at=expires_at,
        undoes=order.change_id if order.act == "undo" else None,
        seen_version=shown.version,
        floor=read_all(places).state.version,
    )
    row = write_change(places.control, change)
    write_ms = (time.perf_counter() - started) * 1000
    return Applied(change.id, order.act, shown.subject, row.version, row.at, row.actor, row.reason, row.expires_at, write_ms)


def _previous(rows: list[AuditRow], row: AuditRow) -> tuple[str, int | None]:
    """The value and expiry that the key had before the act `row`; a key that had none becomes a tombstone."""
    if row.before is None:
        return KILL_RESTORED, None
    before = [earlier for earlier in rows if earlier.key == row.key and earlier.position < row.position]
    return row.before, before[-1].expires_at if before else None
