"""The control snapshot of a process: what is in force, kept current at the cost of one compare of eight bytes a call.

Theory of operation. `current()` is what a call uses: while the bell says what it said when the snapshot was loaded, that is
all. Otherwise it looks at the change counter of control.db, which has the last word. When that differs, one thread reloads and
the others wait for it, at most LOCK_S; a reading that fails leaves the last snapshot in force (*fail-static*) and is repeated
only when the file or its journal has changed since. `tick()` is called by the watcher twenty times a second for what no bell
tells: a file that appeared, vanished or was replaced, somebody else's commit, the break-glass directories, an idle process.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from console.core.control import EMPTY, ControlRefused, ControlState, merge
from console.errors import StoreBusy, StoreError
from console.runtime.clock import steady_us
from console.store.bell import LENGTH, Listener
from console.store.breakglass import broken_glass
from console.store.kept import keep, read_kept
from console.store.sqlite.control import completed, read_control
from console.store.sqlite.counter import ChangeCounter, Signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.core.switches import Scope, Switch
    from console.store.locations import Locations

LOCK_S: Final = 0.05
GLASS_EVERY_US: Final = 250_000
RECHECK_EVERY_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is in force. `switches` holds control.db's and the break-glass files'."""

    state: ControlState = EMPTY
    switches: Mapping[Scope, Switch] = field(default_factory=lambda: MappingProxyType({}))
    glass: Mapping[Scope, Switch] = field(default_factory=lambda: MappingProxyType({}))
    source: str = "none"
    """live, kept, none or stale, as in `ops.views.ProcessView`."""
    problem: str | None = None
    refused: int = 0
    """Readings that were refused or failed since the process started."""


class SnapshotHolder:
    """Holds the snapshot of one process. `current` is for every thread, `tick` for the watcher. Neither ever raises."""

    def __init__(self, locations: Locations) -> None:
        self._locations = locations
        self._lock = threading.Lock()
        self._counter = ChangeCounter(locations.control)
        self._bell = Listener(locations.control)
        self._bell.follow()
        self._heard: bytes | None = None
        """What the bell said when the snapshot was known to be current; never equal while a reading has failed."""
        self._seen: bytes | None = None
        self._failed: Signature | None = None
        self._loaded: Signature | None = None
        self._glass_due_us = 0
        self._recheck_due_us = 0
        self._to_keep: ControlState | None = None
        self._keep_due_us = 0
        state, problem = read_kept(locations.kept)
        self.snapshot = _combined(
            Snapshot(state, source="kept" if state.version else "none", problem=problem),
            broken_glass(locations.kill_directories),
        )
        self._reload()

    def current(self) -> Snapshot:
        """The snapshot in force for a call that starts now."""
        page = self._bell.page
        if page is not None and page[:LENGTH] == self._heard:
            return self.snapshot
        return self._look()

    def _look(self) -> Snapshot:
        """The same with a look at control.db's change counter."""
        heard = self._bell.value()  # before everything else: an act that rings from here on is looked at again
        seen = self._counter.value()
        if not (seen == self._seen and (seen is not None or self._counter.is_absent())) and (
            self._failed is None or self._counter.signature() != self._failed
        ):
            self._reload()
            seen = self._counter.value()
        if seen == self._seen and self._failed is None:
            self._heard = heard
        return self.snapshot

    def tick(self) -> None:
        """Looks for what the counter does not show; to be called every 50 ms."""
        now = steady_us()
        if now >= self._glass_due_us:
            self._glass_due_us = now + GLASS_EVERY_US
            glass = broken_glass(self._locations.kill_directories, self.snapshot.glass)
            if glass.keys() != self.snapshot.glass.keys():
                with self._lock:
                    self.snapshot = _combined(self.snapshot, glass)
        if not self._counter.is_current():
            self._reload()
        elif now >= self._recheck_due_us:
            self._recheck_due_us = now + RECHECK_EVERY_US
            if self._failed is not None or self._counter.is_wal() or self._counter.signature() != self._loaded:
                self._reload()
        self._bell.follow()
        self._look()

    def before_fork(self) -> threading.Lock | None:
        """The lock that keeps this process from reading control.db, to be released after the fork; None when a reading hangs.
        A child that is made in the middle of a reading inherits SQLite's mutexes as they are, held for ever."""
        return self._lock if self._lock.acquire(timeout=2 * LOCK_S) else None

    def after_fork(self) -> None:
        """In the child: the lock is held by a thread that does not exist here, and nobody has looked since the parent did."""
        self._lock = threading.Lock()
        self._glass_due_us = self._recheck_due_us = 0

    def close(self) -> None:
        """Lets go of the file."""
        self._counter.close()

    def _reload(self) -> None:
        before = self.snapshot
        if not self._lock.acquire(timeout=LOCK_S):
            return
        try:
            if self.snapshot is not before and (
                self._counter.value() == self._seen or self._counter.signature() == self._failed
            ):
                return  # another thread has done it, or found that it cannot be done, while this one waited
            signature = self._counter.signature()  # from before the reading: what is committed during it must be read again
            self._load(signature)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the application goes on with what it had
            self._fail(signature, f"{type(error).__name__}: {error}")
        finally:
            self._lock.release()

    def _load(self, signature: Signature) -> None:
        if not self._counter.is_current() and not self._counter.follow():
            return
        seen = self._counter.value()
        if signature[0] is None:
            self._absent(signature)
            return
        try:
            state = merge(self.snapshot.state, read_control(self._locations.control, busy_s=0.05))
            state = completed(self._locations.control, state)
        except (StoreError, ControlRefused) as error:
            self._fail(signature, str(error))
            return
        problem = "control.db is in WAL mode: changes arrive up to a second late" if self._counter.is_wal() else None
        is_newer = state.version > self.snapshot.state.version
        self.snapshot = _combined(replace(self.snapshot, state=state, source="live", problem=problem), self.snapshot.glass)
        # After the snapshot: a thread that finds the counter it expects takes what is there.
        self._seen, self._failed, self._loaded = seen, None, signature
        if is_newer:
            self._to_keep = state

    def _absent(self, signature: Signature) -> None:
        """No file: nothing was ever switched here, or it was deleted; what is in force stays in force."""
        if self.snapshot.state.version:
            source = "kept" if self.snapshot.source == "kept" else "stale"
            self.snapshot = replace(self.snapshot, source=source, problem="control.db is missing")
        self._seen, self._failed, self._loaded = None, None, signature

    def _fail(self, signature: Signature, why: str) -> None:
        self._failed = signature
        source = self.snapshot.source
        self.snapshot = replace(
            self.snapshot,
            source="stale" if source in ("live", "stale") else source,
            problem=f"control.db: {why}",
            refused=self.snapshot.refused + 1,
        )

    def keep_if_new(self) -> None:
        """Writes the kept snapshot when there is a new one; for the watcher, off every call's path. Raises OSError; then it is
        tried again a second later, because a disk that is full now must not cost a kill its place after the next start."""
        state = self._to_keep
        if state is None or steady_us() < self._keep_due_us:
            return
        self._keep_due_us = steady_us() + RECHECK_EVERY_US
        with suppress(StoreBusy):  # another process is keeping one at the moment
            keep(self._locations.kept, state)
            if self._to_keep is state:
                self._to_keep = None
        self._keep_due_us = 0


def _combined(snapshot: Snapshot, glass: Mapping[Scope, Switch]) -> Snapshot:
    """The snapshot with the break-glass switches beside control's. Where both stop the same, control's says why, unless it
    expires by itself: then the file would be forgotten with it."""
    lasting = {scope: switch for scope, switch in snapshot.state.switches.items() if switch.expires_at is None}
    return replace(
        snapshot,
        glass=MappingProxyType(dict(glass)),
        switches=MappingProxyType({**snapshot.state.switches, **glass, **lasting}),
    )
