"""The acts on breakers: hold a target's open (nothing is sent there), hold it closed, and let it decide again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.durations import ago
from console.core.rollups import US
from console.core.routes import Force, breaker_key, breaker_target, decode_force, encode_force
from console.errors import ActError
from console.ops.heartbeats import breakers_of, is_shut
from console.ops.kinds import Kind, Plan, Scene, check_name, for_a_while, listed, new_plan, shown
from console.ops.measures import Measure, got_by
from console.ops.routes import check_target
from console.ops.targets import chain_in_force, forced_of, state_text, unknown_warnings
from console.ops.views import ActName, Order, Preview

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.core.targets import Routing
    from console.ops.heartbeats import Live

_STATES: Final[dict[str, Force | None]] = {"force_open": "forced_open", "force_closed": "forced_closed", "force_auto": None}
_ACTS: Final[dict[Force | None, ActName]] = {
    "forced_open": "force_open",
    "forced_closed": "force_closed",
    None: "force_auto",
}
_TITLES: Final[dict[Force | None, str]] = {
    "forced_open": "Send nothing to",
    "forced_closed": "Keep sending to",
    None: "Let the breaker decide about",
}
_MEANS: Final[dict[Force | None, str]] = {
    "forced_open": "forced_open: nothing is sent there",
    "forced_closed": "forced_closed: calls are sent there whatever fails",
    None: "auto: its breaker decides",
}


def subject_of(key: str) -> str | None:
    """See `Kind`."""
    target = breaker_target(key)
    return None if target is None else f"target:{target}"


def said(key: str, value: str, routing: Routing) -> str:
    """See `Kind`."""
    return decode_force(value) or "auto"


def plan(scene: Scene, order: Order) -> Plan:
    """See `Kind`."""
    if len(order.targets) != 1:
        raise ActError("name one target")
    (target,) = order.targets
    check_name("target", target)
    if order.act != "force_auto" or target not in scene.reading.state.forced:  # what is held can always be let go
        check_target(scene, target)
    return new_plan(scene, order, breaker_key(target), encode_force(_STATES[order.act]))


def show(scene: Scene, plan: Plan) -> Preview:
    """See `Kind`."""
    target = breaker_target(plan.key)
    assert target is not None  # noqa: S101 -- the key is of this kind
    state = decode_force(plan.value)
    forced = forced_of(scene.reading.state, target, scene.now_us)
    before = f"auto ({state_text(scene.traffic.live, target) or 'no process tells'})"
    if forced is not None:
        since = "" if forced.at is None else f", {ago((scene.now_us - forced.at) / US)}"
        before = f"{forced.state} by {forced.actor}{since}"
    is_already_so = plan.expires_at is None and (forced.state if forced else None) == state
    return shown(
        scene,
        plan,
        "target",
        target,
        title=f"{_TITLES[state]} {target}",
        subject=f"target:{target}",
        before=before,
        after=_MEANS[None] if state is None else for_a_while(_MEANS[state], plan.left_us(scene.now_us), "auto"),
        is_wide=True,
        confirm_word=target,
        is_already_so=is_already_so and not (forced and forced.expires_at),
        last_time=scene.last_time(plan.key, _ACTS[state], state or "let go"),
        warnings=tuple(_warnings(scene, target, state)),
    )


def _warnings(scene: Scene, target: str, state: Force | None) -> list[str]:
    found = unknown_warnings(scene, target)
    breakers = breakers_of(scene.traffic.live, target)
    if state == "forced_open":
        found += _left_without(scene, target)
    if state == "forced_closed" and is_shut(breakers):
        found.append(f"{state_text(scene.traffic.live, target)}: calls will be sent to it all the same")
    return found


def _left_without(scene: Scene, target: str) -> list[str]:
    """The features that would have no usable target left."""
    errors: list[str] = []
    texts: list[str] = []
    for feature in scene.features():
        chain = chain_in_force(scene, feature)
        if target in chain and not any(_is_usable(scene, other) for other in chain if other != target):
            (texts if feature in scene.settings.degraded else errors).append(feature)
    unchained = {row.feature for row in scene.traffic.sums if row.target == target and not chain_in_force(scene, row.feature)}
    errors += sorted(unchained - scene.settings.degraded.keys())
    texts += sorted(unchained & scene.settings.degraded.keys())
    return [
        f"the last usable target of {listed(features)}: {what}"
        for features, what in ((errors, "calls get an error"), (texts, "calls get the defined text"))
        if features
    ]


def _is_usable(scene: Scene, target: str) -> bool:
    forced = forced_of(scene.reading.state, target, scene.now_us)
    if forced is not None:
        return forced.state == "forced_closed"
    return not is_shut(breakers_of(scene.traffic.live, target))


def order_of(key: str, value: str) -> Order:
    """See `Kind`."""
    return Order(_ACTS[decode_force(value)], targets=(breaker_target(key) or "",))


def measure(key: str, value: str, scene: Scene) -> Measure:
    """See `Kind`."""
    return got_by(breaker_target(key) or "", "down" if decode_force(value) == "forced_open" else "up")


def state(key: str, live: Sequence[Live]) -> str | None:
    """See `Kind`."""
    return state_text(live, breaker_target(key) or "")


KIND = Kind(
    acts=frozenset(_STATES),
    nothing=encode_force(None),
    subject_of=subject_of,
    said=said,
    plan=plan,
    show=show,
    order_of=order_of,
    measure=measure,
    state=state,
)
