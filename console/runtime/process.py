"""The runtime of one application process: snapshot, recorder and the two threads behind them; safe through fork and exit.

The watcher (control counter, break-glass) and the recorder are two threads, because a write that hangs on a stopped process
or a dying disk must not delay a kill switch. Both start with the first call after construction or fork.
"""

from __future__ import annotations

import atexit
import logging
import os
import platform
import secrets
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.core.ids import uuid7
from console.core.targets import Routing
from console.runtime.allowances import Allowances
from console.runtime.cache import AnswerCache
from console.runtime.clock import now_us, steady_us
from console.runtime.exercise import Exercise
from console.runtime.gate import Gate
from console.runtime.headroom import Headroom
from console.runtime.prompts import PromptBook
from console.runtime.recorder import Recorder
from console.runtime.router import Router
from console.runtime.shared_view import SharedView
from console.runtime.snapshot import Snapshot, SnapshotHolder
from console.store.files import make_private
from console.store.pins import PinFile
from console.store.prompts import PromptDirectory
from console.store.sqlite.telemetry import Heartbeat, RetentionPolicy, TelemetryWriter

if TYPE_CHECKING:
    from collections.abc import Collection

    from console.core.flow import Plan
    from console.core.targets import FeaturePolicy
    from console.runtime.guarded import Guarded
    from console.runtime.recorder import Ended
    from console.store.locations import Locations

log = logging.getLogger("console")

WATCH_S: Final = 0.05
FLUSH_AT_EXIT_S: Final = 2.0
"""The last flush gives up by itself after one; the rest is for the batch and the heartbeat that are under way then."""

_held: Final = threading.local()
"""`locks`: what the thread that forks holds meanwhile."""

_runtimes: Final[weakref.WeakSet[Runtime]] = weakref.WeakSet()


class Runtime:
    """What the middleware needs of this process. `current` and `record` are the hot path; neither raises nor blocks."""

    def __init__(
        self,
        locations: Locations,
        *,
        service: str | None = None,
        retention: RetentionPolicy | None = None,
        routing: Routing | None = None,
        prompts: Path = Path("prompts"),
        prices_file: Path | None = None,
    ) -> None:
        self._locations = locations
        self._service = service or default_service()
        with suppress(OSError):  # the recorder says what is wrong with the directory when it cannot write
            make_private(locations.data)
        self._begin()
        self._holder = SnapshotHolder(locations)
        routing = routing or Routing()
        self.allowances = Allowances.of(routing, prices_file, platform.node(), self._service, self._hurry)
        """None: the configuration has no limits."""
        self._recorder = Recorder(
            TelemetryWriter(locations.telemetry),
            self._id,
            self._heartbeat,
            retention or RetentionPolicy(),
            self._do_chores,
            self.allowances,
        )
        self._router = Router(routing)
        self.prompts = PromptBook(PromptDirectory(prompts), self.swallow, PinFile(locations.pins))
        self.gate = Gate(routing.breaker, self._breaker_changed)
        is_shared = routing.shares_breakers and bool(routing.targets)
        self._shared = SharedView(locations.breakers, self.gate, routing.targets, self._id) if is_shared else None
        self.headroom = Headroom()
        self.exercise = Exercise(routing, self.gate)
        self.cache = AnswerCache(routing.cache_bytes)
        self._unusable: dict[str, str] = {}
        self.guarded: dict[int, Guarded] = {}
        """Bodies that are being read under limits, by id."""
        self._threads: tuple[threading.Thread, ...] = ()
        self._start_lock = threading.Lock()
        self._is_started = False
        self._is_closed = False
        self._acknowledged: tuple[object, ...] = ()
        self._probed: dict[str, int] = {}
        """Target -> the newest order to probe that was carried out."""
        self.errors = 0
        """Exceptions inside the instrumentation that were swallowed for a call's sake."""
        _runtimes.add(self)
        atexit.register(_close_at_exit, weakref.ref(self))

    def _begin(self) -> None:
        self._pid, self._started_at = os.getpid(), now_us()
        self._id = uuid7(self._started_at, secrets.randbits(74))

    def current(self) -> Snapshot:
        """The snapshot in force for a call that starts now."""
        if not self._is_started:
            self.start()
        return self._holder.current()

    def last(self) -> Snapshot:
        """The snapshot that was in force last, without a look at any file."""
        return self._holder.snapshot

    def plan(self, feature: str) -> Plan | None:
        """Where a call of the feature goes that starts now; None: where the application sends it."""
        return self._router.plan(self.current().state, feature)

    def policy(self, feature: str) -> FeaturePolicy:
        """What the configuration says about the feature's calls."""
        return self._router.policy(feature)

    def record(self, end: Ended) -> None:
        """Hands an ended attempt to the recorder."""
        self._recorder.put(end)

    def start(self) -> None:
        """Starts the threads of this process unless they run. Never raises."""
        with self._start_lock:
            if self._is_started or self._is_closed:
                return
            # Before anybody may go on: what no counter shows (break-glass, a replaced file) was last looked at when this object
            # was made, or before the fork, hours ago perhaps.
            self._holder.tick()
            if self._shared is not None:
                self._shared.tick()
            try:
                for name, work in (("console-watcher", self._watch), ("console-recorder", self._recorder.run)):
                    if not any(thread.name == name for thread in self._threads):
                        thread = threading.Thread(target=work, name=name, daemon=True)
                        thread.start()
                        self._threads += (thread,)
            except RuntimeError as error:  # no thread can be started now: each call looks for itself, and tries again
                self._count(error)
                return
            _flush_in_children_of_multiprocessing(self)
            self._is_started = True

    def close(self) -> None:
        """Writes what is queued, for about a second (FLUSH_AT_EXIT_S at most), and lets go. Idempotent."""
        if self._is_closed or os.getpid() != self._pid:
            return
        self._is_closed = True
        self._recorder.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(FLUSH_AT_EXIT_S)
        self._holder.close()
        self.prompts.close()

    def before_fork(self) -> list[threading.Lock]:
        """Brings both databases to rest; the locks that keep them so, to be released after the fork. Takes a millisecond, less
        than a second at the very worst."""
        return [lock for lock in (self._holder.before_fork(), self._recorder.before_fork()) if lock is not None]

    def after_fork(self, held: Collection[object]) -> None:
        """In the child: a new process with threads of its own, started by its first call."""
        self._start_lock = threading.Lock()
        self._is_started, self._threads, self._acknowledged = False, (), ()
        self._begin()
        self.guarded = {}
        self.gate.after_fork()
        self.exercise.after_fork()
        if self._shared is not None:
            self._shared.after_fork(self._id)
        self.cache.after_fork()
        if self.allowances is not None:
            self.allowances.after_fork()
        self._holder.after_fork()
        self._recorder.after_fork(self._id, held)

    def _watch(self) -> None:
        pause = threading.Event()
        while not self._is_closed and os.getpid() == self._pid:
            try:
                self._holder.tick()
                for guarded in tuple(self.guarded.values()):
                    guarded.tick(steady_us())
                self.cache.tick(self.last().switches)
                self._probe(self._holder.current())
                self._acknowledge(self._holder.current())
                if self._shared is not None:
                    self._shared.tick()
                self.exercise.tick()
                self.prompts.tick(self.last().state, now_us())
            except Exception as error:  # noqa: BLE001 -- the watcher must outlive anything
                self._count(error)
            pause.wait(WATCH_S)

    def _probe(self, snapshot: Snapshot) -> None:
        """Carries out the orders to probe that are new, each once; before they are acknowledged."""
        for target, probe in snapshot.state.probes.items():
            if probe.version > self._probed.get(target, 0):
                self._probed[target] = probe.version
                self.gate.probe_now(target)

    def _do_chores(self) -> None:
        """What the recorder thread writes beside its records."""
        if self._shared is not None:
            try:
                self._shared.publish()
            except Exception as error:  # noqa: BLE001 -- the snapshot has to be kept all the same
                self._count(error)
        self._holder.keep_if_new()

    def _breaker_changed(self) -> None:
        if self._shared is not None:
            self._shared.is_due = True
        self._recorder.wake()

    def _acknowledge(self, snapshot: Snapshot) -> None:
        running = (snapshot.state.version, snapshot.source, snapshot.problem, tuple(snapshot.glass))
        if running != self._acknowledged:
            self._acknowledged = running
            self._recorder.wake()

    def _count(self, error: Exception) -> None:
        self.errors += 1
        if self.errors == 1:
            log.warning("console: an error in the instrumentation was swallowed: %r", error)

    def _hurry(self) -> None:
        self._recorder.wake()

    def swallow(self, error: Exception) -> None:
        """Counts an exception of the instrumentation itself; the first one is logged."""
        self._count(error)

    def note_unusable(self, target: str, why: str) -> None:
        """A target that this process cannot ask, for as long as the process lives; said in its heartbeats, logged once."""
        if self._unusable.setdefault(target, why) is why:
            log.warning("console: target %s cannot be used: %s", target, why)
            self._recorder.wake()

    def note_usable(self, target: str) -> None:
        """It can be asked after all."""
        if self._unusable.pop(target, None) is not None:
            log.warning("console: target %s can be used again", target)
            self._recorder.wake()

    def _heartbeat(self) -> Heartbeat:
        snapshot, recorder = self._holder.current(), self._recorder
        told = dict.fromkeys((snapshot.problem, recorder.problem, recorder.set_aside))
        problems = [problem for problem in told if problem]
        if self.errors:
            problems.append(f"{self.errors} errors inside the instrumentation")
        problems += [f"target {target} cannot be used: {why}" for target, why in tuple(self._unusable.items())]
        problems += [] if self.allowances is None else self.allowances.problems()
        if self._shared is not None:
            problems += self._shared.problems()
        if unknown := self._router.unknown(snapshot.state):
            problems.append(f"targets that this process does not know: {', '.join(unknown)}")
        breakers = self.gate.states(self._router.forced(snapshot.state), self._router.targets)
        return Heartbeat(
            id=self._id,
            pid=self._pid,
            host=platform.node(),
            service=self._service,
            started_at=self._started_at,
            at=now_us(),
            ended_at=now_us() if self._is_closed else None,
            control_version=snapshot.state.version,
            control_source=snapshot.source,
            queue_depth=recorder.depth,
            dropped=recorder.dropped,
            note="; ".join(problems) or None,
            state={
                "ignored": list(snapshot.state.ignored),
                "refused": snapshot.refused,
                "glass": [str(scope) for scope in snapshot.glass],
                "kill_directories": [str(directory) for directory in self._locations.kill_directories],
                "breakers": {name: breaker._asdict() for name, breaker in breakers.items()},
                "headroom": self.headroom.told(),
                "exercise": self.exercise.told(),
                **({} if self.allowances is None else self.allowances.told()),
                "targets": list(self._router.targets),
                "prompts": self.prompts.served(now_us()),
                "prompt_problems": self.prompts.problems(now_us()),
                "python": platform.python_version(),
            },
        )


def default_service() -> str:
    """The name of the program that runs."""
    main = sys.modules.get("__main__")
    package = getattr(getattr(main, "__spec__", None), "name", None)
    return str(package or Path(sys.argv[0] if sys.argv else "").stem or "python").removesuffix(".__main__")


def _close_at_exit(reference: weakref.ref[Runtime]) -> None:
    runtime = reference()
    if runtime is not None:
        runtime.close()


def _flush_in_children_of_multiprocessing(runtime: Runtime) -> None:
    """Children of `multiprocessing` leave with `os._exit`, past `atexit`; their own list of finalizers runs before."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, _close_at_exit, args=(weakref.ref(runtime),), exitpriority=10)


def _before_fork() -> None:
    _held.locks = [lock for runtime in list(_runtimes) for lock in runtime.before_fork()]


def _after_fork_in_parent() -> None:
    for lock in _held.locks:
        lock.release()


def _after_fork_in_child() -> None:
    for runtime in list(_runtimes):
        runtime.after_fork(_held.locks)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
