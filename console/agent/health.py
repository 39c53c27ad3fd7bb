"""The health of an installation's targets, asked from this host with the credentials that this host has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.core.calls import DEFAULT_FEATURE
from console.core.health import DEFAULT_MODEL, Health, judged, questions, slow_s, weighed
from console.core.routes import route_of
from console.core.switches import stopping
from console.ops.control import read_all
from console.ops.desk import Desk
from console.runtime.clock import now_us
from console.sdk.health import ask, ask_all, say_failures
from console.store.configuration import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from console.core.health import Asked
    from console.store.configuration import Settings


def look(config: str | None, data: str | None, timeout_s: float, tell: Callable[[Mapping[str, object]], None]) -> Health:
    """Asks every target. `tell` hears how many there are, and each answer as it comes. Raises ConfigError."""
    settings = load_settings(config, data)
    reading, now = read_all(settings.locations), now_us()
    features = tuple(settings.routing.features) or (DEFAULT_FEATURE,)
    chains = {feature: settings.routing.chain_of(feature, route_of(reading.state.routes, feature, now)) for feature in features}
    model = DEFAULT_MODEL if None not in chains.values() else _model_of_traffic(settings)
    targets, tried = questions(settings.routing, chains, model)
    tell({"asking": list(targets)})

    def told(name: str, asked: Asked) -> None:
        tell({"answered": name, "kind": asked.kind})

    asked = ask_all(targets.values(), lambda one: ask(one, None, timeout_s, is_application=False), timeout_s, told=told)
    say_failures(targets, asked)
    late_s = slow_s([settings.routing.policy_of(feature).limits for feature in features])
    switches = {switch.scope: switch for switch in reading.engaged(now)}
    judgements = []
    for name, target in targets.items():
        switch = stopping(switches, now, feature="", customer=None, models=(target.model,))
        killed = str(switch.scope) if switch is not None and switch.scope.kind == "model" else None
        judgements.append(judged(target, asked[name], late_s, killed=killed))
    stops = {feature: stopping(switches, now, feature=feature, customer=None, models=()) for feature in features}
    off = {feature: str(switch.scope) for feature, switch in stops.items() if switch is not None}
    return weighed(judgements, tried, off, now)


def _model_of_traffic(settings: Settings) -> str:
    """What the applications ask the direct API for, most of all in the last five minutes."""
    desk = Desk(settings, read_only=True)
    busy = [one for one in desk.status().targets if one.provider == "anthropic" and one.model and one.calls_5m]
    busy.sort(key=lambda one: one.calls_5m, reverse=True)
    models = [one.model for one in busy if one.model] + [name for name in desk.names("model") if name.startswith("claude-")]
    return next(iter(models), DEFAULT_MODEL)
