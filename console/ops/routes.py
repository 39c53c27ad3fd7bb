"""The acts on routes: switch a feature, or all of them, to other targets, and back to what is configured (auto)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from console.core.calls import FROM_CACHE
from console.core.durations import ago
from console.core.rollups import US
from console.core.routes import MAX_TARGETS, Route, decode_route, encode_route, route_key, route_of, route_scope
from console.core.switches import ALL, Scope
from console.errors import ActError
from console.ops.kinds import (
    Kind,
    Plan,
    Scene,
    check_name,
    for_a_while,
    listed,
    meant,
    new_plan,
    scope_name,
    shown,
    unknown_scope,
)
from console.ops.measures import Measure, reaching, served_by
from console.ops.switches import stopped
from console.ops.targets import chain_in_force, known_targets, target_warnings, unknown_model
from console.ops.views import Order, Preview

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.core.targets import Routing


UNDECIDED: Final = ""
"""The value of a switch whose targets are still to be chosen: it can be previewed, for its choices, and not applied."""


def subject_of(key: str) -> str | None:
    """See `Kind`."""
    scope = route_scope(key)
    return None if scope is None else str(scope)


def said(key: str, value: str, routing: Routing) -> str:
    """See `Kind`."""
    targets = decode_route(value)
    scope = route_scope(key)
    if targets is not None:
        return chain_text(targets)
    return _configured(routing, scope.name) if scope is not None and scope.name else "auto"


def chain_text(targets: tuple[str, ...]) -> str:
    """Targets in order: "sonnet, haiku", "haiku only"."""
    return f"{targets[0]} only" if len(targets) == 1 else ", ".join(targets)


def _configured(routing: Routing, feature: str) -> str:
    chain = routing.policy_of(feature).chain
    return chain_text(chain) if chain else "auto"


def plan(scene: Scene, order: Order) -> Plan:
    """See `Kind`."""
    scope = order.scope
    if scope is None or scope.kind not in ("all", "feature"):
        raise ActError("name a feature, or all: models and customers have no routes")
    if scope != ALL:
        check_name("feature", scope.name)
    if order.act == "auto":
        if order.targets:
            raise ActError("back to the configured chain, or to targets of your own: not both")
        check_feature(scene, scope)
        return new_plan(scene, order, route_key(scope), encode_route(None))
    check_targets(scene, order.targets)
    check_feature(scene, scope)
    return new_plan(scene, order, route_key(scope), encode_route(order.targets) if order.targets else UNDECIDED)


def check_feature(scene: Scene, scope: Scope) -> None:
    """Raises ActError for a feature that neither the configuration nor a recorded call nor a route knows, while others are
    known. While telemetry cannot be read none is refused: nobody can tell."""
    if scope == ALL:
        return
    known = {*scene.features(), *(known.name for known in scene.reading.state.routes if known != ALL)}
    if not known or scope.name in known or not scene.traffic.is_readable or scope.name in scene.ever_seen():
        return
    raise ActError(f"no feature {scope.name!r}{meant(scope.name, known)} (features: {listed(sorted(known), 20)})")


def check_targets(scene: Scene, targets: tuple[str, ...]) -> None:
    """Raises ActError for what cannot be a route's targets, and for a target that nobody knows."""
    if len(targets) > MAX_TARGETS:
        raise ActError(f"a route names {MAX_TARGETS} targets at most")
    for index, target in enumerate(targets):
        check_name("target", target)
        if target in targets[:index]:
            raise ActError(f"{target} stands there twice: name each target once, in the order in which they are tried")
        check_target(scene, target)


def check_target(scene: Scene, target: str) -> None:
    """Raises ActError for a target that neither the configuration nor a live process knows; a Claude model's id is one."""
    known = known_targets(scene)
    if target not in known and not target.startswith("claude-"):
        hint = "; that is a feature: it comes first, then its targets" if target in scene.features() else meant(target, known)
        raise ActError(f"no target {target!r}{hint} ({_known(scene)})")


def _known(scene: Scene) -> str:
    names = listed(known_targets(scene), 20)
    return (
        f"targets: {names}; or a model by its id, claude-..."
        if names
        else "none is configured; or a model by its id, claude-..."
    )


def show(scene: Scene, plan: Plan) -> Preview:
    """See `Kind`."""
    scope = route_scope(plan.key)
    assert scope is not None  # noqa: S101 -- the key is of this kind
    if plan.value == UNDECIDED:
        return _show_choices(scene, plan, scope)
    targets = decode_route(plan.value)
    now, state = scene.now_us, scene.reading.state
    own = state.routes.get(scope)
    own = own if own is not None and own.is_in_force(now) else None
    then = _without(scene, scope)
    is_already_so = plan.expires_at is None and (own.targets if own else None) == targets and not (own and own.expires_at)
    after = then if targets is None else for_a_while(chain_text(targets), plan.left_us(now), then)
    return shown(
        scene,
        plan,
        scope.kind,
        scope.name,
        title=f"Switch {scope_name(scope)} {'back to auto' if targets is None else 'to ' + ', '.join(targets)}",
        subject=str(scope),
        before=_before(scene, scope, own, then),
        after=after,
        is_wide=scope == ALL,
        confirm_word=scope.name or "all",
        is_already_so=is_already_so,
        last_time=scene.last_time(
            plan.key, "auto" if targets is None else "switch", "put back" if targets is None else "switched"
        ),
        warnings=tuple(_warnings(scene, scope, targets)),
        choices=_choices(scene, scope, targets),
    )


def _show_choices(scene: Scene, plan: Plan, scope: Scope) -> Preview:
    """Where a scope can be switched to: what is shown before a target is chosen."""
    own = scene.reading.state.routes.get(scope)
    own = own if own is not None and own.is_in_force(scene.now_us) else None
    now = own.targets[:1] if own is not None else chain_in_force(scene, scope.name)[:1] if scope != ALL else ()
    return shown(
        scene,
        plan,
        scope.kind,
        scope.name,
        title=f"Switch {scope_name(scope)}",
        subject=str(scope),
        before=_before(scene, scope, own, _without(scene, scope)),
        after="to be chosen",
        is_wide=scope == ALL,
        confirm_word=scope.name or "all",
        is_already_so=False,
        last_time=scene.last_time(plan.key, "switch", "switched"),
        warnings=tuple(unknown_scope(scope, scene.features() if scope != ALL else []) + stopped(scene, scope.name or None)),
        choices=_choices(scene, scope, now),
    )


def _without(scene: Scene, scope: Scope) -> str:
    """What a scope's calls go by without a route of its own."""
    if scope == ALL:
        return "auto (each feature's own chain)"
    everyone = scene.reading.state.routes.get(ALL)
    if everyone is not None and everyone.is_in_force(scene.now_us):
        return f"{chain_text(everyone.targets)} (the route for all)"
    chain = scene.settings.routing.policy_of(scope.name).chain
    return chain_text(chain) if chain else "auto (as the application decides)"


def _before(scene: Scene, scope: Scope, own: Route | None, then: str) -> str:
    said = then
    if own is not None:
        since = "" if own.at is None else f", {ago((scene.now_us - own.at) / US)}"
        said = f"{chain_text(own.targets)} (by {own.actor}{since})"
    serving = _serving(scene, scope)
    return (
        said
        if serving is None or said in (serving, f"{serving} only")
        else f"{said}; {serving} answered most of the last five minutes"
    )


def _serving(scene: Scene, scope: Scope) -> str | None:
    """The target that answered most of a feature's calls of the last five minutes."""
    if scope == ALL:
        return None
    answered: Counter[str] = Counter()
    for row in scene.traffic.sums:
        if row.feature == scope.name and row.outcome == "ok" and row.served_by not in FROM_CACHE:
            answered[row.target] += row.calls
    return next((target for target, _ in answered.most_common(1)), None)


def _warnings(scene: Scene, scope: Scope, targets: tuple[str, ...] | None) -> list[str]:
    found = unknown_scope(scope, scene.features() if scope != ALL else [])
    found += stopped(scene, scope.name or None)
    own = own_routes(scene)
    everyone = scene.reading.state.routes.get(ALL)
    if scope == ALL and own:
        found.append(
            f"features with a route of their own are not changed: {listed(f'{name} ({to})' for name, to in own.items())}"
        )
    if scope != ALL and targets is None and everyone is not None and everyone.is_in_force(scene.now_us):
        found.append(f"the route for all features holds then: {chain_text(everyone.targets)}")
    if targets is None:
        return found
    if scope != ALL and scene.settings.routing.policy_of(scope.name).chain == targets:
        found.append("that is the configured chain: the route only holds it there; `--auto` takes a route back")
    if len(targets) == 1:
        found.append(
            f"no fallback while {targets[0]} is the only target: when it fails, calls get the defined text or an error"
        )
    for target in targets:
        found += target_warnings(scene, target)
    nobody = [warning for target in targets for warning in unknown_model(scene, target)]
    return [*nobody, *(warning for warning in found if warning not in nobody)]


def own_routes(scene: Scene) -> Mapping[str, str]:
    """The features with a route of their own in force, and where it leads."""
    routes = scene.reading.state.routes.values()
    return {
        route.scope.name: chain_text(route.targets)
        for route in sorted(routes, key=lambda route: route.scope)
        if route.scope != ALL and route.is_in_force(scene.now_us)
    }


def _choices(scene: Scene, scope: Scope, targets: tuple[str, ...] | None) -> tuple[str, ...]:
    """The other targets, those of the feature's chain first."""
    chain = scene.settings.routing.policy_of(scope.name or "default").chain or ()
    if scope == ALL:
        chain = (*chain[1:], *chain[:1])  # most features are there already
    names = dict.fromkeys((*chain, *known_targets(scene)))
    if not names:
        names = dict.fromkeys(name for name in scene.traffic.names.get("model", []) if name.startswith("claude-"))
    return tuple(name for name in names if name not in (targets or ()))


def order_of(key: str, value: str) -> Order:
    """See `Kind`."""
    targets = decode_route(value)
    return Order("auto" if targets is None else "switch", route_scope(key), targets=targets or ())


def measure(key: str, value: str, scene: Scene) -> Measure:
    """See `Kind`."""
    scope = route_scope(key) or ALL
    targets = decode_route(value)
    if targets is None:
        everyone = route_of(scene.reading.state.routes, scope.name, scene.now_us) if scope != ALL else None
        targets = everyone.targets if everyone else scene.settings.routing.policy_of(scope.name or "default").chain
    if not targets:
        return reaching(scope.kind, scope.name, "up")
    return served_by(targets[0], scope.name or None)


KIND = Kind(
    acts=frozenset({"switch", "auto"}),
    nothing=encode_route(None),
    subject_of=subject_of,
    said=said,
    plan=plan,
    show=show,
    order_of=order_of,
    measure=measure,
)
