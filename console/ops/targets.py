"""Targets as an operator sees them: who serves what now, why, and which processes leave which target alone.

From the configuration, what operators have decided, the live processes' heartbeats, and rollups. Never raises.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from console.core.calls import FROM_CACHE
from console.core.durations import ago
from console.core.latency import quantile_ms
from console.core.models import base_model
from console.core.rollups import US
from console.core.routes import route_of
from console.ops.heartbeats import CLOSED, breakers_of, failed_trial, headroom_of, unknown_in
from console.ops.kinds import meant
from console.ops.views import BreakerState, BreakerView, FailureView, FallbackView, TargetView, TrialView

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from console.core.control import ControlState
    from console.core.prices import Prices
    from console.core.routes import Forced, Route
    from console.core.targets import Routing
    from console.ops.heartbeats import Live
    from console.ops.kinds import Scene
    from console.store.sqlite import reads

WORST_FIRST: Final[tuple[BreakerState, ...]] = ("forced_open", "open", "half_open", "forced_closed", "closed")
MAX_LISTED: Final = 200
FALLBACK_SHARE: Final = 0.1
"""Of a feature's answers, while its first target's breaker is closed: a single retry elsewhere is no outage."""
NOT_JUDGED: Final = frozenset({"cancelled", "kill_switch"})
"""Results that say nothing about a target."""


def known_targets(scene: Scene) -> tuple[str, ...]:
    """The targets that the configuration or a live process knows, in the configuration's order."""
    told = sorted({name for one in scene.traffic.live for name in one.state.targets or ()})
    return tuple(dict.fromkeys((*scene.settings.routing.targets, *told)))


def forced_of(state: ControlState, target: str, now_us: int) -> Forced | None:
    """What an operator holds a target's breaker at now."""
    forced = state.forced.get(target)
    return forced if forced is not None and forced.is_in_force(now_us) else None


def chain_in_force(scene: Scene, feature: str) -> tuple[str, ...]:
    """See `chain_names`."""
    return chain_names(scene.settings.routing, scene.reading.state, scene.traffic.live, feature, scene.now_us)


def chain_names(routing: Routing, state: ControlState, live: Sequence[Live], feature: str, now_us: int) -> tuple[str, ...]:
    """The targets that a feature's calls try now, in order; empty when the application decides. As the processes do: a target
    that none of them knows is left out, and a route of which none is known changes nothing."""
    route = route_of(state.routes, feature, now_us)
    routed = () if route is None else tuple(name for name in route.targets if _is_known(live, name))
    return routed or tuple(routing.policy_of(feature).chain or ())


def _is_known(live: Sequence[Live], target: str) -> bool:
    said = [one.state.knows(target) for one in live]
    return not said or any(knows is not False for knows in said)


def state_text(live: Sequence[Live], target: str) -> str | None:
    """ "sonnet open in 1 of 2", the worst state and the live processes; "closed in 2 of 2"; None when no process tells."""
    counted = _states(breakers_of(live, target))
    if not counted:
        return None
    state, number = counted[0]
    return f"{target} {state} in {number} of {sum(count for _, count in counted) if state in CLOSED else len(live)}"


def _states(breakers: Iterable[BreakerView]) -> tuple[tuple[BreakerState, int], ...]:
    counted = Counter(breaker.state for breaker in breakers)
    return tuple((state, counted[state]) for state in WORST_FIRST if counted[state])


def target_warnings(scene: Scene, target: str) -> list[str]:
    """What stands in the way of sending calls to a target."""
    found = unknown_warnings(scene, target)
    forced = forced_of(scene.reading.state, target, scene.now_us)
    breakers = breakers_of(scene.traffic.live, target)
    shut = [breaker for breaker in breakers if breaker.state in ("open", "half_open")]
    if forced is not None and forced.state == "forced_open":
        found.append(f"{target} is forced_open by {forced.actor}: nothing is sent there; `console target auto {target}`")
    elif forced is not None:
        found.append(f"{target} is forced_closed by {forced.actor}: calls go there whatever fails")
    elif shut:
        why = next((f": {breaker.reason}" for breaker in shut if breaker.reason), "")
        found.append(f"the breaker of {target} is open in {len(shut)} of {len(breakers)} processes{why}")
    return found


def unknown_warnings(scene: Scene, target: str) -> list[str]:
    """What is odd about a target's name: processes that do not know it, a model that nobody uses."""
    without = unknown_in(scene.traffic.live, target)
    found = []
    if without:
        named = ", ".join(f"{view.service} pid {view.pid}" for view in without[:5])
        found.append(f"{len(without)} of {len(scene.traffic.live)} live processes do not know {target} and ignore it: {named}")
    if target not in scene.settings.routing.targets and not target.startswith("claude-"):
        found.append(f"{target} is not in this console's configuration; the processes name it")
    return [*unknown_model(scene, target), *found]


def unknown_model(scene: Scene, target: str) -> list[str]:
    """A warning for a Claude model's id that neither the configuration nor the prices nor a call knows."""
    if not target.startswith("claude-") or target in scene.settings.routing.targets:
        return []
    models = {one.model for one in scene.settings.routing.targets.values()} | set(scene.traffic.names.get("model", []))
    models |= scene.priced_models
    if target in models or base_model(target) in models:
        return []
    return [f"no target, no price and no call of the last day has the model {target}{meant(target, models)}"]


def trial_words(trial: TrialView, now_us: int) -> str:
    """ "last trial failed 3 h ago: permission_error"."""
    return f"last trial failed {ago((now_us - trial.at) / US)}: {trial.error}"


def _failures(results: Mapping[tuple[str, str, str], Counter[str]], target: str) -> Counter[str]:
    """What a target's attempts failed with."""
    found: Counter[str] = Counter()
    for (name, _, _), counted in results.items():
        if name == target:
            found.update({result: count for result, count in counted.items() if result != "ok" and result not in NOT_JUDGED})
    return found


@dataclass(frozen=True, slots=True)
class Serving:
    """What is known of where calls go, for one status."""

    routing: Routing
    state: ControlState
    live: Sequence[Live]
    now_us: int
    results: Mapping[tuple[str, str, str], Counter[str]]
    """Attempts of five minutes by (target, model, provider) and result."""
    buckets: Mapping[str, Counter[int]]
    minute: Mapping[tuple[str, str, str], Counter[str]] = field(default_factory=dict)
    """The `results` of the last minute."""
    first_buckets: Mapping[str, Counter[int]] = field(default_factory=dict)
    prices: Prices | None = None
    failures: Mapping[str, tuple[FailureView, ...]] = field(default_factory=dict)
    """By target, newest first."""

    def chain(self, feature: str) -> tuple[str, ...]:
        """See `chain_names`."""
        return chain_names(self.routing, self.state, self.live, feature, self.now_us)

    def route(self, feature: str) -> Route | None:
        """The operator's route in force."""
        return route_of(self.state.routes, feature, self.now_us)

    def budget_a_day(self, feature: str) -> float | None:
        """What the feature's calls may cost a day, in dollars."""
        budget = self.routing.policy_of(feature).budget
        return None if budget is None else budget.usd_per_day

    def fallback(self, chain: tuple[str, ...], present: Iterable[reads.SeriesSums]) -> FallbackView | None:
        """Why another than the first of the chain serves, from the feature's series of the last ten to twenty seconds. What an
        operator's route sends elsewhere is no fallback: such calls are served by the first of the chain in force."""
        if not chain:
            return None
        first, answers = chain[0], 0
        served: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        for row in present:
            if row.outcome == "ok":
                answers += row.calls
                if row.calls and row.served_by not in FROM_CACHE:
                    answered[row.target] += row.calls
                if row.served_by == "fallback" and row.target != first:
                    served[row.target] += row.calls
        shut = [breaker for breaker in breakers_of(self.live, first) if breaker.state not in CLOSED]
        if not served or (not shut and served.total() < FALLBACK_SHARE * answers):
            return None
        target = served.most_common(1)[0][0]
        since = min((breaker.since for breaker in shut if breaker.since is not None), default=None)
        shares = tuple((name, calls / answered.total()) for name, calls in answered.most_common())
        return FallbackView(target, first, self._reason(first, shut), since, shares)

    def _reason(self, target: str, shut: Sequence[BreakerView]) -> str:
        forced = forced_of(self.state, target, self.now_us)
        if forced is not None and forced.state == "forced_open":
            return f"{target} forced_open by {forced.actor}" + (f": {forced.reason}" if forced.reason else "")
        failures = _failures(self.results if shut else self.minute, target)
        counted = ", ".join(f"{result} x{count}" for result, count in failures.most_common(2))
        if not shut:  # what went wrong minutes ago is over, and explains nothing of now
            return f"{target}: {counted} in the last minute" if counted else f"{target} could not serve them"
        told = counted or next((breaker.reason for breaker in shut if breaker.reason), None)
        return f"{state_text(self.live, target)}{f': {told}' if told else ''}"

    def targets(self, features: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[TargetView, ...]:
        """Every target that is configured, has traffic, is named by an operator, or is not closed in a process.
        `features`: each with its chain."""
        users: dict[str, set[str]] = defaultdict(set)
        for feature, chain in features:
            for name in chain:
                users[name].add(feature)
        routed = {name for route in self.state.routes.values() if route.is_in_force(self.now_us) for name in route.targets}
        held = {name for name in self.state.forced if forced_of(self.state, name, self.now_us) is not None}
        told = {name for one in self.live for name, said in one.state.breakers.items() if said.state != "closed"}
        seen = {target for target, _, _ in self.results}
        names = dict.fromkeys((*self.routing.targets, *sorted(routed | held | seen | users.keys()), *sorted(told)))
        return tuple(
            self._target(name, tuple(sorted(users[name])), is_named=name in routed | held) for name in list(names)[:MAX_LISTED]
        )

    def _target(self, name: str, features: tuple[str, ...], *, is_named: bool) -> TargetView:
        results: Counter[str] = Counter()
        seen: Counter[tuple[str, str]] = Counter()
        for (target, model, provider), counted in self.results.items():
            if target == name:
                results.update(counted)
                seen[model, provider] += counted["ok"]
        configured = self.routing.targets.get(name)
        model, provider = next((key for key, _ in seen.most_common(1)), (name if name.startswith("claude-") else "", ""))
        if configured is not None:
            model, provider = configured.model, configured.provider
        judged = sum(count for result, count in results.items() if result not in NOT_JUDGED)
        breakers = breakers_of(self.live, name)
        shut = sorted((one for one in breakers if one.state not in CLOSED), key=lambda one: one.since or 0)
        price = None if self.prices is None else self.prices.price_of(model)
        room = headroom_of(self.live, name, self.now_us)
        return TargetView(
            target=name,
            model=model,
            provider=provider,
            calls_5m=sum(results.values()),
            error_rate=(judged - results["ok"]) / judged if judged else None,
            p95_ms=quantile_ms(self.buckets.get(name, Counter()), 0.95),
            breakers=_states(breakers) or None,
            results=tuple(results.most_common()),
            reason=next((one.reason for one in reversed(shut) if one.reason), None),
            since=min((one.since for one in shut if one.since is not None), default=None),
            probe_at=min((one.probe_at for one in breakers if one.probe_at is not None), default=None),
            forced=forced_of(self.state, name, self.now_us),
            is_configured=configured is not None,
            features=features,
            by_process=breakers,
            unknown_in=len(unknown_in(self.live, name)) if is_named else 0,
            first_token_p95_ms=quantile_ms(self.first_buckets.get(name, Counter()), 0.95),
            headroom=None if room is None else room.remaining / room.limit,
            headroom_of=None if room is None else room.kind,
            price=None if price is None else (price.input, price.output),
            failures=self.failures.get(name, ()),
            trial_failed=failed_trial(self.live, name, self.now_us),
        )
