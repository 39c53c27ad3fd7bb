"""The breakers and the retry budget of one process, behind one lock that is held for microseconds and never across I/O."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.breaker import US, Breaker, BreakerPolicy, Permit, Result, RetryBudget
from console.runtime.clock import now_us, steady_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from console.core.routes import Force
    from console.core.targets import Target

LAST_RESORT_EVERY_US: Final = US
"""With no target left, so often a call may ask one all the same."""
MAX_BREAKERS: Final = 1_000
"""Targets are named by the configuration and by operators; a model id that an operator made up must not fill the memory."""

_HELD_CLOSED: Final = Permit(0)
"""Of a breaker that is forced closed: of no generation, so that nothing counts."""


class BreakerState(NamedTuple):
    """One breaker as a heartbeat tells of it. Times in UTC microseconds."""

    state: str
    reason: str | None
    since: int | None
    probe_at: int | None


class Gate:
    """See `core.flow.Gate`. For every thread; nothing here raises, waits or does I/O.

    `changed` is called, outside the lock, when a breaker has taken on another state.
    """

    def __init__(self, policy: BreakerPolicy, changed: Callable[[], None] = lambda: None) -> None:
        self._policy = policy
        self._changed = changed
        self._breakers: dict[str, Breaker] = {}
        self._budget = RetryBudget()
        self._lock = threading.Lock()
        self._last_resort_at = -LAST_RESORT_EVERY_US
        self.calls = 0
        """Over chains, about: two threads at once may count one."""

    def begin(self) -> None:
        """A call over a chain has started: it earns its share of the retry budget."""
        self.calls += 1
        budget = self._budget
        if budget.tokens < budget.CAPACITY:
            with self._lock:
                budget.earn()

    def admit(self, target: str, forced: Mapping[str, Force]) -> Permit | None:
        """Leave for one attempt at a target, or None."""
        if forced:
            force = forced.get(target)
            if force is not None:
                return None if force == "forced_open" else _HELD_CLOSED
        breaker = self._breakers.get(target)
        if breaker is None:
            breaker = self._made(target)
        ordinary = breaker.permit  # without the lock, and before the state: should that change, it is a permit of the past
        if breaker.state == "closed":
            return ordinary
        with self._lock:
            was, ramped = breaker.state, breaker.is_ramping()
            permit = breaker.admit(steady_us(), random.random())  # noqa: S311 -- who comes back first is no secret
            is_new = (breaker.state, breaker.is_ramping()) != (was, ramped)
        if is_new:
            self._changed()
        return permit

    def last_resort(self, targets: tuple[Target, ...], forced: Mapping[str, Force]) -> tuple[Target, Permit] | None:
        """A target to ask although none may be asked: one whose traffic is coming back, else, once in a second and process, the
        one whose turn to be probed comes first. Never one that an operator holds open."""
        usable = [target for target in targets if forced.get(target.name) != "forced_open"]
        found, has_changed = self._found_last_resort(usable)
        if has_changed:
            self._changed()
        return found

    def _found_last_resort(self, usable: list[Target]) -> tuple[tuple[Target, Permit] | None, bool]:
        """The same, and whether a breaker has changed its state for it."""
        with self._lock:
            now = steady_us()
            known = [(target, self._breakers[target.name]) for target in usable if target.name in self._breakers]
            coming_back = [pair for pair in known if pair[1].is_ramping()]
            if not coming_back and now - self._last_resort_at < LAST_RESORT_EVERY_US:
                return None, False
            for target, breaker in coming_back or sorted(known, key=lambda pair: pair[1].until):
                was = breaker.state
                permit = breaker.last_resort(now)
                if permit is not None:
                    self._last_resort_at = now
                    return (target, permit), breaker.state != was
        return None, False

    def settle(self, target: str, permit: Permit, result: Result, *, reason: str = "", cooldown_us: int = 0) -> None:
        """Gives a permit back with what became of it."""
        breaker = self._breakers.get(target)
        if breaker is None or permit is _HELD_CLOSED:
            return
        if result == "success" and permit is breaker.permit and breaker.state == "closed":
            breaker.succeed(steady_us())
            return
        with self._lock:
            has_changed = breaker.settle(
                permit, result, steady_us(), random.random(), reason=reason, cooldown_us=cooldown_us  # noqa: S311
            )  # fmt: skip
        if has_changed:
            self._changed()

    def suspect(self, target: str, opened_us: int, reason: str) -> bool:
        """Another process of this host has opened its breaker of the target at `opened_us` (the steady clock): the next call
        here is a probe, unless this process knows better. True when it is."""
        breaker = self._breakers.get(target) or self._made(target)
        with self._lock:
            has_changed = breaker.suspect(opened_us, steady_us(), reason)
        if has_changed:
            self._changed()
        return has_changed

    def good_at(self) -> dict[str, int | None]:
        """When each target last answered well (the steady clock); None: never."""
        with self._lock:
            return {name: breaker.good_at for name, breaker in self._breakers.items()}

    def trust(self, target: str) -> bool:
        """Nobody says any more that a target is out. True when it was left alone for that word only, and is not now."""
        breaker = self._breakers.get(target)
        if breaker is None:
            return False
        with self._lock:
            has_changed = breaker.trust(steady_us())
        if has_changed:
            self._changed()
        return has_changed

    def is_suspected(self, target: str) -> bool:
        """Whether a target is half open on another process's word."""
        breaker = self._breakers.get(target)
        return breaker is not None and breaker.is_suspected

    def is_calm(self) -> bool:
        """Whether nothing is held against any target of this process: all closed, or about to be asked again."""
        with self._lock:
            now = steady_us()
            return all(breaker.is_calm(now) for breaker in self._breakers.values())

    def outages(self) -> list[tuple[str, int, int, str]]:
        """What this process knows of itself to be out: target, since when, when it is probed next (the steady clock), and why.
        Not one that is merely suspected, nor one that has answered a probe."""
        with self._lock:
            return [
                (name, breaker.since, breaker.until, breaker.reason or "")
                for name, breaker in self._breakers.items()
                if breaker.since is not None and breaker.is_out()
            ]

    def probe_now(self, target: str) -> bool:
        """An operator asks for a probe: the next call that comes to the target is one, if it is left alone; True when it is."""
        breaker = self._breakers.get(target)
        if breaker is None:
            return False
        with self._lock:
            has_changed = breaker.hasten(steady_us())
        if has_changed:
            self._changed()
        return has_changed

    def take(self) -> bool:
        """Whether one more attempt may be made, beyond a call's first."""
        with self._lock:
            return self._budget.take()

    def give_back(self) -> None:
        """Such an attempt has succeeded, or was not made."""
        with self._lock:
            self._budget.give_back()

    def draw(self) -> float:
        """0..1, for pauses."""
        return random.random()  # noqa: S311

    def states(self, forced: Mapping[str, Force], names: Iterable[str] = ()) -> dict[str, BreakerState]:
        """Every breaker of this process, and `names` even before they were used, for the heartbeat."""
        ahead_us = now_us() - steady_us()
        found = dict.fromkeys(names, BreakerState("closed", None, None, None))
        with self._lock:
            for name, breaker in self._breakers.items():
                since = None if breaker.since is None else breaker.since + ahead_us
                probe_at = breaker.until + ahead_us if breaker.state == "open" else None
                found[name] = BreakerState(breaker.state, breaker.reason, since, probe_at)
        for name, force in forced.items():
            found[name] = BreakerState(force, "by an operator", None, None)
        return found

    def after_fork(self) -> None:
        """In the child: the lock may be held by a thread that does not exist here."""
        self._lock = threading.Lock()

    def _made(self, target: str) -> Breaker:
        with self._lock:
            if len(self._breakers) >= MAX_BREAKERS:
                self._breakers.clear()
            return self._breakers.setdefault(target, Breaker(self._policy))
