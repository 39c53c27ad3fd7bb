"""The acts on kill switches: kill and restore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.core.control import KILL_ENGAGED, KILL_RESTORED, kill_key, kill_scope
from console.core.durations import ago
from console.core.rollups import US
from console.core.switches import ALL
from console.errors import ActError
from console.ops.kinds import Kind, Plan, Scene, check_name, for_a_while, listed, new_plan, scope_name, shown, unknown_scope
from console.ops.measures import Measure, reaching
from console.ops.views import Order, Preview

if TYPE_CHECKING:
    from console.core.switches import Scope, Switch
    from console.core.targets import Routing


def subject_of(key: str) -> str | None:
    """See `Kind`."""
    scope = kill_scope(key)
    return None if scope is None else str(scope)


def said(key: str, value: str, routing: Routing) -> str:
    """See `Kind`."""
    try:
        return {KILL_ENGAGED: "killed", KILL_RESTORED: "running"}[value]
    except KeyError:
        raise ValueError("not the value of a kill switch") from None


def plan(scene: Scene, order: Order) -> Plan:
    """See `Kind`."""
    if order.scope is None:
        raise ActError("name what to act on: a feature, a model, a customer, or all")
    if order.scope != ALL:
        check_name(order.scope.kind, order.scope.name)
    return new_plan(scene, order, kill_key(order.scope), KILL_ENGAGED if order.act == "kill" else KILL_RESTORED)


def show(scene: Scene, plan: Plan) -> Preview:
    """See `Kind`."""
    scope = kill_scope(plan.key)
    assert scope is not None  # noqa: S101 -- the key is of this kind
    engages = plan.value == KILL_ENGAGED
    switch = scene.reading.state.switches.get(scope)
    is_killed = switch is not None and switch.is_engaged(scene.now_us)
    ends_by_itself = engages and switch is not None and switch.expires_at is not None
    unknown = unknown_scope(scope, scene.traffic.names.get(scope.kind, [])) if engages else []
    return shown(
        scene,
        plan,
        scope.kind,
        scope.name,
        title=f"{'Kill' if engages else 'Restore'} {scope_name(scope)}",
        subject=str(scope),
        before=_in_force(switch if is_killed else None, scene.now_us),
        after=for_a_while("killed", plan.left_us(scene.now_us), "running") if engages else "running",
        is_wide=scope.is_wide,
        confirm_word=scope.name or "all",
        is_already_so=is_killed == engages and plan.expires_at is None and not ends_by_itself,
        last_time=scene.last_time(plan.key, "kill" if engages else "restore", "killed" if engages else "restored"),
        warnings=(*unknown, *(() if engages else _still_stopped(scene, scope))),
    )


def _in_force(switch: Switch | None, now_us: int) -> str:
    if switch is None:
        return "running"
    since = "" if switch.at is None else f", {ago((now_us - switch.at) / US)}"
    return f"killed by {switch.actor or switch.source}{since}"


def _still_stopped(scene: Scene, scope: Scope) -> list[str]:
    found = []
    engaged = scene.reading.engaged(scene.now_us)
    glass = scene.reading.glass.get(scope)
    if glass is not None:
        found.append(f"still stopped by the break-glass file {glass.source}: remove it")
    if scope != ALL and any(switch.scope == ALL for switch in engaged):
        found.append("still stopped by the switch on all: `console restore --all`")
    if scope == ALL:
        rest = [str(switch.scope) for switch in engaged if switch.scope != ALL]
        if rest:
            found.append(f"these have switches of their own and stay stopped: {listed(rest)}")
    return found


def stopped(scene: Scene, feature: str | None) -> list[str]:
    """A warning when a feature (None: every one) is killed: another route or prompt does not start it again."""
    engaged = {switch.scope: switch for switch in scene.reading.engaged(scene.now_us)}
    if ALL in engaged:
        return ["all AI features are killed and stay killed: `console restore --all`"]
    killed = [scope.name for scope in engaged if scope.kind == "feature" and feature in (None, scope.name)]
    if not killed:
        return []
    verb = "is killed and stays killed" if len(killed) == 1 else "are killed and stay killed"
    return [f"{listed(killed)} {verb}: `console restore {killed[0]}`"]


def order_of(key: str, value: str) -> Order:
    """See `Kind`."""
    return Order("kill" if value == KILL_ENGAGED else "restore", kill_scope(key))


def measure(key: str, value: str, scene: Scene) -> Measure:
    """See `Kind`."""
    scope = kill_scope(key)
    kind, name = ("all", "") if scope is None else (scope.kind, scope.name)
    return reaching(kind, name, "down" if value == KILL_ENGAGED else "up")


KIND = Kind(
    acts=frozenset({"kill", "restore"}),
    nothing=KILL_RESTORED,
    subject_of=subject_of,
    said=said,
    plan=plan,
    show=show,
    order_of=order_of,
    measure=measure,
)
