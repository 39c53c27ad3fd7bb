"""Every act: preview, apply, undo. The one place that knows all kinds of acts, and that writes.

A preview is made, shown, and applied only if it still holds: the key's version is compared when the row is written.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from console.core.durations import ago
from console.core.ids import uuid7
from console.core.redaction import encodable, redact
from console.core.rollups import US
from console.errors import ActConflict, ActError, NothingToUndo
from console.ops import breakers, pointers, probes, routes, switches
from console.ops.control import mend
from console.ops.kinds import Kind, Plan, Scene
from console.ops.measures import Measure, reaching
from console.ops.views import Applied, Order, Preview
from console.store.sqlite.control import Change, write_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.core.audit import AuditRow
    from console.core.targets import Routing
    from console.ops.actor import Actor
    from console.ops.heartbeats import Live

REASON_LIMIT: Final = 500

KINDS: Final[tuple[Kind, ...]] = (switches.KIND, routes.KIND, breakers.KIND, probes.KIND, pointers.KIND)
LASTING_NOTHING: Final = frozenset(act for kind in KINDS if not kind.has_undo for act in kind.acts)
"""The acts that leave nothing that could be taken back."""


def kind_of(key: str) -> Kind | None:
    """The kind of a control key, None for one that this version does not know."""
    return next((kind for kind in KINDS if kind.subject_of(key) is not None), None)


def subject_of(key: str) -> str:
    """What a control key is about, for people."""
    return next((subject for kind in KINDS if (subject := kind.subject_of(key)) is not None), key)


def said(key: str, value: str | None, routing: Routing) -> str | None:
    """What a value of a key says, for people; None for what this version does not know. Never raises."""
    kind = kind_of(key)
    if kind is None:
        return None
    try:
        return kind.said(key, kind.nothing if value is None else value, routing)
    except (ValueError, TypeError, RecursionError):
        return None


def preview(scene: Scene, order: Order) -> Preview:
    """What `order` would do. Raises ActError (NothingToUndo, ActConflict), PromptError and StoreError."""
    mend(scene.settings.locations.control)
    if order.act == "undo":
        return _preview_undo(scene, order)
    kind = next((kind for kind in KINDS if order.act in kind.acts), None)
    if kind is None:
        raise ActError(f"this version does not know the act {order.act!r}")
    return kind.show(scene, kind.plan(scene, order))


def plan_of(scene: Scene, order: Order) -> Plan:
    """What a previewed order writes, worked out anew. Raises as `preview` does."""
    if order.act == "undo":
        return _undoing(scene, order)[1]
    kind = next(kind for kind in KINDS if order.act in kind.acts)
    return kind.plan(scene, order)


def undoable(rows: list[AuditRow], change_id: str | None) -> AuditRow:
    """The act to take back: the one named, else the last that has changed something and is neither an undo nor undone. Raises
    NothingToUndo, ActConflict when a later act has changed the same key."""
    idle = _changed_nothing(rows)
    undone = {row.undoes for row in rows} | idle
    if change_id in idle:
        raise NothingToUndo(f"act {change_id} has changed nothing, it was so already: there is nothing to take back")
    if any(row.id == change_id and row.act in LASTING_NOTHING for row in rows):
        raise NothingToUndo("it was a probe: it has left nothing that could be taken back")
    candidates = [row for row in rows if row.act != "undo" and row.act not in LASTING_NOTHING and row.id not in undone]
    if change_id is not None:
        candidates = [row for row in candidates if row.id == change_id]
        if not candidates:
            raise NothingToUndo(f"no act {change_id} that could be taken back; `console audit` lists them")
    if not candidates:
        raise NothingToUndo("nothing to undo: no act has changed anything yet, or all have been taken back")
    found = candidates[-1]
    later = [row for row in rows if row.key == found.key and row.position > found.position and row.act != "undo"]
    later = [row for row in later if row.id not in undone]
    if later:
        raise ActConflict(f"{subject_of(found.key)} was changed again by {later[-1].actor} since; undo that first")
    return found


def _changed_nothing(rows: list[AuditRow]) -> set[str | None]:
    """The acts after which a key held the same as before, to the same end: they are in the audit only."""
    held: dict[str, tuple[str | None, int | None]] = {}
    found: set[str | None] = set()
    for row in rows:
        kind = kind_of(row.key)
        nothing = None if kind is None else kind.nothing
        value, end = held.get(row.key, (nothing, None))
        if end is not None and end <= row.at:
            value, end = nothing, None
        after = (row.after, None if row.after == nothing else row.expires_at)
        if (value, end) == after:
            found.add(row.id)
        held[row.key] = after
    return found


def _undoing(scene: Scene, order: Order) -> tuple[AuditRow, Plan, Kind]:
    """The act that is taken back, and what that writes: the exact value and end that the key had before."""
    if not scene.settings.locations.control.exists():
        raise NothingToUndo("nothing to undo: no act has been done here yet")
    row = undoable(scene.audit, order.change_id)
    kind = kind_of(row.key)
    if kind is None:
        raise ActError(f"{row.key}: this version does not know how to undo it")
    value, expires_at = _previous(scene.audit, row, kind)
    try:
        again = kind.order_of(row.key, value)
    except (ValueError, RecursionError):
        raise ActError(f"{row.key}: what it held before cannot be read; run `console audit verify`") from None
    order = replace(again, act="undo", change_id=row.id)
    return row, Plan(order, row.key, value, expires_at), kind


def _preview_undo(scene: Scene, order: Order) -> Preview:
    row, plan, kind = _undoing(scene, order)
    shown = plan
    if plan.expires_at is not None and plan.expires_at <= scene.now_us:  # what has ended since stays ended
        shown = Plan(plan.order, plan.key, kind.nothing)
    about = kind.show(scene, shown)
    name = about.subject.partition(":")[2] or about.subject
    what = f"{row.act} {'all AI features' if about.subject == 'all' else name}"
    return replace(
        about, order=plan.order, title=f"Undo: {what}, {ago((scene.now_us - row.at) / US)} by {row.actor}", last_time=None
    )


def _previous(rows: list[AuditRow], row: AuditRow, kind: Kind) -> tuple[str, int | None]:
    """The value and expiry that the key had before the act `row`; a key that had none says "nothing" of its kind."""
    if row.before is None:
        return kind.nothing, None
    before = [earlier for earlier in rows if earlier.key == row.key and earlier.position < row.position]
    return row.before, before[-1].expires_at if before else None


def apply(scene: Scene, shown: Preview, actor: Actor, reason: str | None) -> Applied:
    """Does what the preview says. Raises ActConflict when somebody was faster, or when a file is not what was shown any more;
    StoreError when it could not be written."""
    order = shown.order
    plan = plan_of(scene, order)
    if plan.value == routes.UNDECIDED:
        raise ActError("name the targets to switch to")
    if shown.text_hash is not None and order.act != "undo" and {row.hash for row in plan.registers} != {shown.text_hash}:
        raise ActConflict(f"the file of {order.prompt} v{order.version} has changed since you looked; look at it again")
    cleaned = encodable(redact(" ".join(reason.split())))[:REASON_LIMIT] if reason and reason.strip() else None
    started = time.perf_counter()
    change = Change(
        id=uuid7(scene.now_us, secrets.randbits(74)),
        act=order.act,
        key=plan.key,
        value=plan.value,
        at=scene.now_us,
        actor=actor.name,
        claimed=actor.claimed,
        reason=cleaned,
        expires_at=plan.expires_at,
        undoes=order.change_id if order.act == "undo" else None,
        seen_version=shown.version,
        floor=scene.reading.state.version,
        registers=plan.registers,
    )
    row = write_change(scene.settings.locations.control, change)
    write_ms = (time.perf_counter() - started) * 1000
    return Applied(
        change.id, order.act, shown.subject, row.version, row.at, row.actor, row.reason, row.expires_at, write_ms,
        row.key, row.value, shown.is_already_so and order.act != "undo",
    )  # fmt: skip


def state_of(applied: Applied, live: Sequence[Live]) -> str | None:
    """What the live processes tell of what an act was about; None: nothing. Never raises."""
    kind = kind_of(applied.key)
    return None if kind is None else kind.state(applied.key, live)


def measure_of(scene: Scene, applied: Applied) -> Measure:
    """The number that an act should move. Never raises."""
    kind = kind_of(applied.key)
    if kind is not None:
        try:
            return kind.measure(applied.key, applied.value, scene)
        except (ValueError, RecursionError):
            pass
    subject, _, name = applied.subject.partition(":")
    return reaching(subject, name, "up" if applied.act == "restore" else "down")
