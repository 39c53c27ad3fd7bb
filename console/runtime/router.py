"""Where a feature's calls go now: the configuration and the operator's decisions as one plan, worked out once per change."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from console.core.flow import Plan
from console.core.routes import Force, route_of
from console.runtime.clock import now_us

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.core.control import ControlState
    from console.core.targets import FeaturePolicy, Routing

NEVER: Final = 2**63
MAX_FEATURES: Final = 10_000
"""An application that makes up a feature per call must not fill the memory."""


class Router:
    """Plans of one process. For every thread: what two of them work out at once is the same."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing
        self._is_bare = routing.default.chain is None and all(policy.chain is None for policy in routing.features.values())
        """No feature has a chain: then only an operator's route can decide anything."""
        self._plans: dict[str, tuple[ControlState, tuple[int, int] | None, Plan | None]] = {}
        """By feature: for which state, from when to when (None: for as long as the state is in force), and the plan."""

    def plan(self, state: ControlState, feature: str) -> Plan | None:
        """Where the feature's calls go while `state` is in force; None: where the application sends them."""
        if self._is_bare and not state.routes:
            return None
        known = self._plans.get(feature)
        if known is not None and known[0] is state and (known[1] is None or known[1][0] <= now_us() < known[1][1]):
            return known[2]
        now = now_us()
        plan = self._worked_out(state, feature, now)
        if len(self._plans) >= MAX_FEATURES:
            self._plans.clear()
        self._plans[feature] = state, _span(state, now), plan
        return plan

    def policy(self, feature: str) -> FeaturePolicy:
        """What the configuration says about the feature."""
        return self._routing.policy_of(feature)

    def forced(self, state: ControlState) -> Mapping[str, Force]:
        """The breakers that an operator holds, by target."""
        if not state.forced:
            return _NOTHING
        now = now_us()
        return {name: forced.state for name, forced in state.forced.items() if forced.is_in_force(now)}

    def unknown(self, state: ControlState) -> list[str]:
        """Targets that operators name and this process does not know."""
        named = {name for route in state.routes.values() for name in route.targets} | set(state.forced)
        return sorted(name for name in named if self._routing.target_named(name) is None)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets of the configuration."""
        return tuple(self._routing.targets)

    def _worked_out(self, state: ControlState, feature: str, now: int) -> Plan | None:
        route = route_of(state.routes, feature, now)
        chain = self._routing.chain_of(feature, route)
        if not chain:
            return None
        is_routed = route is not None and any(target.name in route.targets for target in chain)
        return Plan(chain, self._routing.policy_of(feature).limits, MappingProxyType(dict(self.forced(state))), is_routed)


_NOTHING: Final[Mapping[str, Force]] = MappingProxyType({})


def _span(state: ControlState, now: int) -> tuple[int, int] | None:
    """From when to when what was worked out now holds: until the next of the operator's decisions ends by itself, and not for a
    clock that goes back. None: none of them ends."""
    ends = [route.expires_at for route in state.routes.values()] + [forced.expires_at for forced in state.forced.values()]
    if not any(ends):
        return None
    return now, min((end for end in ends if end is not None and end > now), default=NEVER)
