"""The daily trial of fallbacks (`core.exercise`) in one process: the watcher finds out what is due, one call takes it on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from console.core.exercise import targets_due
from console.runtime.clock import now_us, steady_us

if TYPE_CHECKING:
    from console.core.flow import Plan
    from console.core.targets import Routing, Target
    from console.runtime.gate import Gate

LOOK_EVERY_US: Final = 60_000_000


class Exercise:
    """`due` is looked at by every call over a chain, and is nearly always empty."""

    def __init__(self, routing: Routing, gate: Gate) -> None:
        policies = (routing.default, *routing.features.values())
        chains = dict.fromkeys(policy.chain for policy in policies if policy.chain is not None and len(policy.chain) > 1)
        self._chains = tuple(chains) if routing.exercises_fallbacks else ()
        self._gate = gate
        self._began_us = self._looked_us = steady_us()
        self._tried: dict[str, int] = {}
        self._lock = threading.Lock()
        self._told: dict[str, dict[str, Any]] = {}
        self.due: frozenset[str] = frozenset()
        """Targets of which one call is to try one; empty again when it has, until the next look."""

    def tick(self) -> None:
        """Finds out what is due, once a minute; the watcher's."""
        now = steady_us()
        if not self._chains or now - self._looked_us < LOOK_EVERY_US:
            return
        self._looked_us = now
        good_at, calls = self._gate.good_at(), self._gate.calls
        with self._lock:
            due = targets_due(self._chains, good_at, self._tried, now_us=now, began_us=self._began_us, calls=calls)
            self.due = due if self._gate.is_calm() else frozenset()

    def claim(self, plan: Plan) -> Target | None:
        """The target that this call is to try before its chain, if it is the one to do so. Never while an operator has decided
        anything about the chain, or a target is out."""
        due = self.due
        if plan.is_routed or plan.forced or not any(target.name in due for target in plan.targets[1:]):
            return None
        if not self._gate.is_calm():
            return None
        with self._lock:
            found = next((target for target in plan.targets[1:] if target.name in self.due), None)
            if found is not None:
                self.due, self._tried[found.name] = frozenset(), steady_us()
        return found

    def note(self, target: str, error: str | None) -> None:
        """What came of a trial; None: an answer."""
        self._told[target] = {"at": now_us(), "error": error}

    def told(self) -> dict[str, dict[str, Any]]:
        """target -> when it was last tried (UTC microseconds), and what went wrong (None: nothing)."""
        return dict(self._told)

    def after_fork(self) -> None:
        """In the child: the lock may be held by a thread that does not exist here."""
        self._lock = threading.Lock()
