"""What an operator decides about targets, as values: routes of features, forced breakers. And their rows in control.db. Pure.

    route/all, route/feature/NAME    {"targets":["haiku"]}, in this order and no others; {"targets":null}: the configured chain
    breaker/TARGET                   {"state":"forced_open"}, {"state":"forced_closed"}, {"state":"auto"}
    probe/TARGET                     {"probe":"now"}: each new version asks once for a probe that does not wait for its time

The feature's own route comes before the one for all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from console.core.switches import ALL, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

Force = Literal["forced_open", "forced_closed"]
FORCES: Final[tuple[Force, ...]] = ("forced_open", "forced_closed")
MAX_TARGETS: Final = 10


@dataclass(frozen=True, slots=True)
class Route:
    """Where an operator sends a scope's calls (`all` or a feature). `expires_at`: UTC microseconds, None: until taken back."""

    scope: Scope
    targets: tuple[str, ...]
    reason: str | None = None
    actor: str | None = None
    at: int | None = None
    expires_at: int | None = None

    def is_in_force(self, now_us: int) -> bool:
        """Whether it still holds at `now_us` (UTC microseconds)."""
        return self.expires_at is None or now_us < self.expires_at


@dataclass(frozen=True, slots=True)
class Forced:
    """A breaker that an operator holds open or closed."""

    target: str
    state: Force
    reason: str | None = None
    actor: str | None = None
    at: int | None = None
    expires_at: int | None = None

    def is_in_force(self, now_us: int) -> bool:
        """Whether it still holds at `now_us` (UTC microseconds)."""
        return self.expires_at is None or now_us < self.expires_at


@dataclass(frozen=True, slots=True)
class Probe:
    """An operator's order to ask a target now that is left alone. `version`: of its control row, which makes it a new one."""

    target: str
    version: int
    at: int


def route_of(routes: Mapping[Scope, Route], feature: str, now_us: int) -> Route | None:
    """The route in force for a feature: its own, else the one for all, else None."""
    for scope in (Scope("feature", feature), ALL):
        route = routes.get(scope)
        if route is not None and route.is_in_force(now_us):
            return route
    return None


def route_key(scope: Scope) -> str:
    """The control key of a scope's route."""
    return f"route/{scope.kind}/{scope.name}" if scope.name else f"route/{scope.kind}"


def route_scope(key: str) -> Scope | None:
    """The scope of a route's key, or None when it is no such key."""
    kind, _, rest = key.partition("/")
    if kind != "route":
        return None
    if rest == "all":
        return ALL
    scope, _, name = rest.partition("/")
    return Scope("feature", name) if scope == "feature" and name else None


def breaker_key(target: str) -> str:
    """The control key of a target's forced breaker."""
    return f"breaker/{target}"


def breaker_target(key: str) -> str | None:
    """The target of a forced breaker's key, or None when it is no such key."""
    kind, _, name = key.partition("/")
    return name if kind == "breaker" and name else None


def probe_key(target: str) -> str:
    """The control key of the orders to probe a target."""
    return f"probe/{target}"


def probe_target(key: str) -> str | None:
    """The target of an order to probe, or None when it is no such key."""
    kind, _, name = key.partition("/")
    return name if kind == "probe" and name else None


PROBE_NOW: Final = '{"probe":"now"}'


def check_probe(value: str) -> None:
    """Raises ValueError for a value that is no order to probe."""
    if value != PROBE_NOW:
        raise ValueError("the value is not one of an order to probe")


def compact(document: object) -> str:
    """JSON as control rows hold it: one spelling for each value."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def encode_route(targets: tuple[str, ...] | None) -> str:
    """The value of a route's row; None: no route."""
    return compact({"targets": None if targets is None else list(targets)})


def decode_route(value: str) -> tuple[str, ...] | None:
    """The targets that a route's row names, None for "no route". Raises ValueError for anything that we do not write."""
    targets = _only(value, "targets")
    if targets is None:
        return None
    if not isinstance(targets, list) or not 0 < len(targets) <= MAX_TARGETS:
        raise ValueError("a route names one to ten targets")
    if not all(isinstance(name, str) and name for name in targets):
        raise ValueError("a route's targets are names")
    return tuple(targets)


def encode_force(state: Force | None) -> str:
    """The value of a forced breaker's row; None: it decides for itself."""
    return compact({"state": state or "auto"})


def decode_force(value: str) -> Force | None:
    """What a forced breaker's row says, None for "auto". Raises ValueError for anything that we do not write."""
    state = _only(value, "state")
    if state == "auto":
        return None
    for force in FORCES:
        if state == force:
            return force
    raise ValueError("a breaker is forced_open, forced_closed or auto")


def _only(value: str, name: str) -> Any:
    document = json.loads(value)
    if not isinstance(document, dict) or set(document) != {name}:
        raise ValueError(f"not an object with {name!r} alone")
    return document[name]
