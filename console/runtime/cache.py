"""The answers that a process keeps, to give them again: in memory, bounded in bytes, the least used go first.

In memory only: answers are content, and content of an application's customers never touches a disk by this way. So each
process has its own, a child begins with none, and a restart forgets.

Theory of operation. `collector` and `get` are the caller's path: a dictionary under a short lock. When an answer has ended its
collector waits (`wait`, bounded too) until the recorder's thread looks into it and keeps it (`keep`), or does not. `tick`, the
watcher's, drops what a kill switch stops, for good: what it stops may be harmful, and nobody knows since when. So an operator
empties the cache of a feature, or all of it, by killing and restoring it; what was asked before the kill and is answered after
it is not kept either. A rolled back prompt needs no purge: its text is part of the key.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from console.core.caching import CACHE_BYTES, Collector, Kept, may_be_kept, message_in
from console.core.switches import stopping
from console.runtime.clock import now_us, steady_us

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from console.core.caching import CachePolicy
    from console.core.calls import AttemptEnd
    from console.core.switches import Scope, Switch

OVERHEAD: Final = 1024
"""Bytes that an answer takes besides its text: key, names and the objects around them."""
MAX_WAITING: Final = 8 * 1024 * 1024
"""Bytes of answers that have ended and have not been looked into: a recorder that hangs on a disk must not fill the memory."""
SWEEP_EVERY_US: Final = 60_000_000


class AnswerCache:
    """One per process, for every thread. `accept`: whether an answer passed every check there is of it; called with the
    `Message`, in the recorder's thread."""

    def __init__(
        self, max_bytes: int = CACHE_BYTES, accept: Callable[[Mapping[str, Any]], bool] = lambda message: True
    ) -> None:
        self.accept = accept
        self._max_bytes = max_bytes
        self._obeyed: Mapping[Scope, Switch] | None = None
        self._sweep_due_us = 0
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._bytes = 0
        self._waiting: dict[int, Collector] = {}
        """By id, oldest first."""
        self._waiting_bytes = 0
        self._era = 0

    @property
    def size(self) -> tuple[int, int]:
        """How many answers it holds, and how many bytes they take."""
        return len(self._kept), self._bytes

    # -- the caller's path ---------------------------------------------------------------------------------------------

    def collector(self, key: bytes) -> Collector:
        """What takes the answer to a request that is going to be sent."""
        return Collector(key, self._era)

    def get(self, key: bytes) -> Kept | None:
        """The answer to the request with this key, however old."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def wait(self, collector: Collector) -> None:
        """The answer has ended, and waits to be kept. When too many wait, the oldest is let go."""
        if not collector.size:
            return
        with self._lock:
            self._waiting[id(collector)] = collector
            self._waiting_bytes += collector.size
            while self._waiting_bytes > MAX_WAITING:
                self._let_go(next(iter(self._waiting))).give_up()

    def _let_go(self, name: int) -> Collector:
        """With the lock held."""
        collector = self._waiting.pop(name)
        self._waiting_bytes -= collector.size
        return collector

    # -- the recorder's thread -----------------------------------------------------------------------------------------

    def keep(self, collector: Collector, end: AttemptEnd, policy: CachePolicy, switches: Mapping[Scope, Switch]) -> None:
        """Keeps the answer of a call that has ended as `end` says, if it may be given again: whole, good, out of one piece, of
        a call that nothing stops now."""
        with self._lock:
            if self._waiting.get(id(collector)) is collector:
                self._let_go(id(collector))
        data = collector.whole()
        if not data or end.outcome != "ok" or end.continued:  # one that was continued is the work of two models
            return
        message = message_in(data)
        if message is None or not may_be_kept(message) or not self.accept(message):
            return
        kept = _kept(message, end, policy)
        if not _is_stopped(kept, switches, kept.kept_at_us):
            self._put(collector, kept)

    def _put(self, collector: Collector, kept: Kept) -> None:
        with self._lock:
            if collector.era != self._era:
                return
            self._drop(collector.key)
            self._kept[collector.key] = kept
            self._bytes += _bytes_of(kept)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        """With the lock held."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _bytes_of(kept)

    # -- the watcher's thread ------------------------------------------------------------------------------------------

    def tick(self, switches: Mapping[Scope, Switch]) -> None:
        """Drops what a switch stops, as soon as it is in force, and once a minute what is too old to be of use."""
        if switches is not self._obeyed:
            if switches:
                self._era += 1  # before anything is dropped: what is put meanwhile may be what should have been
                self._drop_all(lambda kept, now: _is_stopped(kept, switches, now), now_us())
            self._obeyed = switches
        if steady_us() >= self._sweep_due_us:
            self._sweep_due_us = steady_us() + SWEEP_EVERY_US
            self._drop_all(lambda kept, now: now >= kept.until_us, steady_us())

    def _drop_all(self, is_meant: Callable[[Kept, int], bool], now: int) -> None:
        """The lock is held for one answer at a time: a caller must not wait for a walk over all of them."""
        for key, kept in tuple(self._kept.items()):
            if is_meant(kept, now):
                with self._lock:
                    if self._kept.get(key) is kept:
                        self._drop(key)

    def after_fork(self) -> None:
        """In the child: it begins with none."""
        self._begin()


def _kept(message: Mapping[str, Any], end: AttemptEnd, policy: CachePolicy) -> Kept:
    at_steady_us = steady_us()
    stop_reason = message.get("stop_reason")
    return Kept(
        message=json.dumps(message, separators=(",", ":")).encode(),
        feature=end.facts.feature,
        customer=end.facts.customer,
        models=tuple(dict.fromkeys(model for model in (end.model_served, end.model_sent, end.model) if model is not None)),
        target=end.target,
        stop_reason=stop_reason if isinstance(stop_reason, str) else None,
        request_id=end.request_id,
        kept_at_us=now_us(),
        kept_steady_us=at_steady_us,
        until_us=at_steady_us + round(max(policy.ttl, policy.stale) * 1e6),
    )


def _bytes_of(kept: Kept) -> int:
    return len(kept.message) + OVERHEAD


def _is_stopped(kept: Kept, switches: Mapping[Scope, Switch], now: int) -> bool:
    if not switches:
        return False
    return stopping(switches, now, feature=kept.feature, customer=kept.customer, models=kept.models) is not None
