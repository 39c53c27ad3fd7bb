"""The order to probe a target now: a breaker that leaves it alone lets its next call through instead of waiting for its time.

Harmless: one call for each process, which the chain carries on when it fails. It leaves nothing behind, so there is nothing to
take back either; what came of it is read from the breakers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.core.durations import age
from console.core.rollups import US
from console.core.routes import PROBE_NOW, check_probe, probe_key, probe_target
from console.errors import ActError
from console.ops.heartbeats import breakers_of
from console.ops.kinds import Kind, Plan, Scene, check_name, new_plan, shown
from console.ops.measures import Measure, got_by
from console.ops.routes import check_target
from console.ops.targets import forced_of, state_text, unknown_warnings
from console.ops.views import Order, Preview

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.core.targets import Routing
    from console.ops.heartbeats import Live


def subject_of(key: str) -> str | None:
    """See `Kind`."""
    target = probe_target(key)
    return None if target is None else f"target:{target}"


def said(key: str, value: str, routing: Routing) -> str:
    """See `Kind`."""
    if not value:
        return "in its own time"
    check_probe(value)
    return "probed now"


def plan(scene: Scene, order: Order) -> Plan:
    """See `Kind`."""
    if len(order.targets) != 1:
        raise ActError("name one target")
    if order.for_us is not None:
        raise ActError("a probe is asked for once, and not for a time")
    (target,) = order.targets
    check_name("target", target)
    check_target(scene, target)
    _refuse_useless(scene, target)
    return new_plan(scene, order, probe_key(target), PROBE_NOW)


def _refuse_useless(scene: Scene, target: str) -> None:
    """Raises ActError where no call would be a probe: it must not be told as done. Without telemetry nobody knows."""
    forced = forced_of(scene.reading.state, target, scene.now_us)
    if forced is not None and forced.state == "forced_open":
        raise ActError(f"{target} is forced_open by {forced.actor}: no probe goes there; `console target auto {target}` first")
    if forced is not None:
        raise ActError(f"{target} is forced_closed by {forced.actor}: every call goes there already, there is nothing to probe")
    live = scene.traffic.live
    if not scene.traffic.is_readable or any(one.state == "open" for one in breakers_of(live, target)):
        return
    told = state_text(live, target) or "no live process tells of its breaker"
    raise ActError(f"nothing to probe: {told}; a probe is for a target that a process leaves alone")


def show(scene: Scene, plan: Plan) -> Preview:
    """See `Kind`."""
    target = probe_target(plan.key)
    assert target is not None  # noqa: S101 -- the key is of this kind
    live = scene.traffic.live
    waiting = [one for one in breakers_of(live, target) if one.state == "open"]
    before = state_text(live, target) or "no process tells of its breaker"
    due = min((one.probe_at for one in waiting if one.probe_at is not None), default=None)
    if due is not None:
        before += f", next probe in {age(max(due - scene.now_us, 0) / US)}" if due > scene.now_us else ", a probe is due"
    return shown(
        scene,
        plan,
        "target",
        target,
        title=f"Probe {target} now",
        subject=f"target:{target}",
        before=before,
        after="the next call in each process where it is open goes there as a probe; the chain carries it on should it fail",
        is_wide=False,
        confirm_word="",
        is_already_so=False,
        last_time=scene.last_time(plan.key, "probe", "probed by hand"),
        warnings=tuple(unknown_warnings(scene, target)),
    )


def order_of(key: str, value: str) -> Order:
    """See `Kind`."""
    return Order("probe", targets=(probe_target(key) or "",))


def measure(key: str, value: str, scene: Scene) -> Measure:
    """See `Kind`."""
    return got_by(probe_target(key) or "", "up")


def state(key: str, live: Sequence[Live]) -> str | None:
    """See `Kind`."""
    return state_text(live, probe_target(key) or "")


KIND = Kind(
    acts=frozenset({"probe"}),
    nothing="",
    subject_of=subject_of,
    said=said,
    plan=plan,
    show=show,
    order_of=order_of,
    measure=measure,
    state=state,
    has_undo=False,
)
