"""The recorder of a process: a bounded queue in front of one thread that writes. It can drop, count and warn; it can never
slow, block or break a call.

`put` appends one value and returns. The queue drops its oldest entry when it is full; every entry carries a number, so the
drops are the gap between the numbers given out and the entries taken. Everything else (folding attempts into calls, rollups,
SQL) happens in the thread, which flushes every FLUSH_S and keeps a batch that could not be written until it can, within the
same bound.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from itertools import count, islice
from typing import TYPE_CHECKING, Final, Protocol

from console.core.calls import AttemptEnd, CallEnd, fold
from console.core.redaction import redact_name
from console.core.rollups import Rollups, add_up
from console.errors import ConsoleError, StoreBusy, StoreError
from console.runtime.clock import now_us, steady_us
from console.runtime.customers import BusiestCustomers
from console.store.sqlite.telemetry import Heartbeat, RetentionPolicy, SetAside, TelemetryWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from console.runtime.allowances import Allowances

log = logging.getLogger("console")

CAPACITY: Final = 20_000
"""Entries: two seconds of the fastest process that we promise to record; about 30 MB when it is full of failed attempts."""
FLUSH_S: Final = 0.25
BATCH: Final = 5_000
HEARTBEAT_EVERY_US: Final = 5_000_000
RETAIN_EVERY_US: Final = 60_000_000
RETRY_FAILED_EVERY_US: Final = 1_000_000
MAX_PENDING: Final = 10_000
GIVE_UP_US: Final = 1_000_000
"""How long the last flush may take; what is left then is dropped, and counted in the last heartbeat."""


class Ended(Protocol):
    """An attempt that has ended. `settled` is called once, in the recorder's thread."""

    def settled(self) -> AttemptEnd: ...


class Recorder:
    """One per process. `put`, `wake` and `dropped` are for every thread; the rest is the recorder thread's own."""

    def __init__(
        self,
        writer: TelemetryWriter,
        process: str,
        heartbeat: Callable[[], Heartbeat],
        retention: RetentionPolicy,
        chore: Callable[[], None] = lambda: None,
        allowances: Allowances | None = None,
    ) -> None:
        """`chore` is done before every flush: what has to be written besides, off every call's and the watcher's path.
        `allowances` hear what every call has cost."""
        self._writer = writer
        self._process = process
        self._heartbeat = heartbeat
        self._retention = retention
        self._chore = chore
        self._allowances = allowances
        self._queue: deque[tuple[int, Ended]] = deque(maxlen=CAPACITY)
        self._numbers = count(1)
        self._taken = 0
        self._last_number = 0
        self._unwritten: deque[CallEnd] = deque(maxlen=CAPACITY)
        self._unwritten_dropped = 0
        self._pending: dict[str, tuple[tuple[AttemptEnd, ...], int]] = {}
        """Key -> failed attempts that the SDK will follow up, and until when (steady) the next one is waited for."""
        self._customers = BusiestCustomers()
        self._batch = BATCH
        self._wake = threading.Event()
        self._stopping = False
        self._give_up_us = 0
        self._beat_due_us = 0
        self._retain_due_us = steady_us() + RETAIN_EVERY_US
        self._retry_due_us = 0
        self._warned: set[str] = set()
        self.problem: str | None = None
        """Why the last write failed, or None."""
        self.set_aside: str | None = None
        """The file that this process found unusable and moved away; said for as long as it lives."""

    def put(self, end: Ended) -> None:
        """Hands one ended attempt over: under a microsecond, no lock, no I/O, never raises."""
        self._queue.append((next(self._numbers), end))

    def wake(self) -> None:
        """Makes the thread flush and send a heartbeat now, for example because the control version has changed."""
        self._beat_due_us = 0
        self._wake.set()

    @property
    def dropped(self) -> int:
        """Entries lost since the start: exact once the queue is empty, at most a flush behind otherwise."""
        return max(0, self._last_number - self._taken) + self._unwritten_dropped

    @property
    def depth(self) -> int:
        """Entries that wait to be written."""
        return len(self._queue) + len(self._unwritten)

    def run(self) -> None:
        """The thread: flush, wait, until stopped; then one last flush. What others have spent is looked at before the first
        wait: a budget that was spent before this process began must not wait for its first flush."""
        self._allow()
        while not self._stopping:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            self._step()
        self._step(is_last=True)
        self._writer.close()

    def stop(self) -> None:
        """Asks the thread to write what it has, for about a second, and end."""
        self._give_up_us = steady_us() + GIVE_UP_US
        self._stopping = True
        self._wake.set()

    def before_fork(self) -> threading.Lock | None:
        """Closes the database: `TelemetryWriter.before_fork`."""
        return self._writer.before_fork()

    def after_fork(self, process: str, held: Collection[object]) -> None:
        """In the child: the parent writes what the parent has queued. `held`: what the thread that forked was holding."""
        self._process = process
        self._queue.clear()
        self._unwritten.clear()
        self._pending.clear()
        self._numbers, self._taken, self._last_number, self._unwritten_dropped = count(1), 0, 0, 0
        self._wake, self._stopping, self._beat_due_us = threading.Event(), False, 0
        self._writer.after_fork(held)

    def _step(self, *, is_last: bool = False) -> None:
        try:
            self._chore()
        except Exception as error:  # noqa: BLE001 -- as below
            self._failed(error)
        try:
            self._take(is_last=is_last)
            if is_last or steady_us() >= self._retry_due_us:
                self._write(is_last=is_last)
                self._retain()
        except Exception as error:  # noqa: BLE001 -- the thread must outlive anything; the application must not notice
            self._failed(error)
        if not is_last:
            self._allow()

    def _allow(self) -> None:
        if self._allowances is not None:
            try:
                self._allowances.tick(self._writer.reading if not self._unwritten else None)
            except Exception as error:  # noqa: BLE001 -- as in _step; what is known of the budgets stands
                self._warn("budgets are not being watched", error)

    def _take(self, *, is_last: bool) -> None:
        queue = self._queue
        while queue:
            try:
                number, end = queue.popleft()
            except IndexError:
                break
            self._taken += 1
            self._last_number = max(self._last_number, number)
            try:
                self._fold(redact_name(end.settled()))
            except Exception as error:  # noqa: BLE001 -- one entry that makes no sense must not take the others with it
                self._lose(error)
        self._expire_pending(is_last=is_last)

    def _fold(self, end: AttemptEnd) -> None:
        pending, _ = self._pending.pop(end.key, ((), 0)) if end.key is not None else ((), 0)
        if end.will_retry and end.key is not None:
            if len(self._pending) >= MAX_PENDING:
                self._end(self._pending.pop(next(iter(self._pending)))[0])
            self._pending[end.key] = ((*pending, end), steady_us() + end.hold_us)
        else:
            self._unwrite(fold(pending, end))

    def _expire_pending(self, *, is_last: bool) -> None:
        """A retry that never came (the caller gave up while the SDK slept): the call ended with its last attempt."""
        now = steady_us()
        for key in [key for key, (_, until_us) in self._pending.items() if is_last or now >= until_us]:
            self._end(self._pending.pop(key)[0])

    def _end(self, attempts: tuple[AttemptEnd, ...]) -> None:
        self._unwrite(fold(attempts[:-1], attempts[-1]._replace(will_retry=False)))

    def _unwrite(self, call: CallEnd) -> None:
        if self._allowances is not None:
            self._allowances.spend(call)
        self._unwritten_dropped += len(self._unwritten) == CAPACITY
        self._unwritten.append(call)

    def _write(self, *, is_last: bool) -> None:
        beat: Heartbeat | None = None
        if not is_last and steady_us() >= self._beat_due_us:
            # Before the beat is made: a wake() that comes while it is being written asks for another one.
            self._beat_due_us = steady_us() + HEARTBEAT_EVERY_US
            beat = self._heartbeat()
        while self._unwritten or beat is not None:
            if is_last and steady_us() >= self._give_up_us:
                self._unwritten_dropped += len(self._unwritten)
                self._unwritten.clear()
                break
            batch = list(islice(self._unwritten, self._batch))
            try:
                self._store(batch, beat)
            except StoreError:
                raise  # the file's fault: the batch is kept until it can be written
            except Exception as error:
                if not batch:
                    raise
                self._split(batch, error)
                continue
            beat, self._batch = None, min(BATCH, 2 * self._batch)
            for _ in batch:
                self._unwritten.popleft()
        if is_last:
            self._store([], self._heartbeat())  # after the calls: it says how many were dropped in the end
        self._recovered()

    def _store(self, batch: list[CallEnd], beat: Heartbeat | None) -> None:
        self._customers.count(call.last.facts.customer for call in batch)
        rollups = add_up(batch, self._customers.named) if batch else Rollups()
        self._writer.write(batch, rollups, beat, self._process)

    def _split(self, batch: list[CallEnd], error: Exception) -> None:
        """A call that cannot be stored for its own sake (a number of 70 bits) would keep all later ones waiting for ever: the
        batch is halved until it stands alone, and is dropped."""
        if len(batch) > 1:
            self._batch = len(batch) // 2
            return
        self._unwritten.popleft()
        self._lose(error)

    def _lose(self, error: Exception) -> None:
        self._unwritten_dropped += 1
        self._warn("a call could not be recorded", error)

    def _retain(self) -> None:
        if steady_us() >= self._retain_due_us:
            more = self._writer.retain(self._retention, now_us())
            self._retain_due_us = steady_us() + (RETRY_FAILED_EVERY_US if more else RETAIN_EVERY_US)

    def _failed(self, error: Exception) -> None:
        self.problem = str(error)
        self._beat_due_us = 0
        if isinstance(error, SetAside):
            self.set_aside = str(error)
        else:
            self._retry_due_us = steady_us() + RETRY_FAILED_EVERY_US
        if not isinstance(error, StoreBusy):
            self._warn("telemetry is not being written", error)

    def _warn(self, what: str, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._warned:
            self._warned.add(kind)
            expected = isinstance(error, ConsoleError)
            log.warning("console: %s (%s); the application is not affected", what, error, exc_info=None if expected else error)

    def _recovered(self) -> None:
        if self.problem is not None:
            self.problem = None
            self._warned.clear()
