"""Blocking work beside the event loop, in daemon threads of our own.

`asyncio.to_thread` uses an executor that the interpreter joins on exit: a reader that waits for a locked file would
keep `q` from leaving. A lane is one daemon thread that does its work in order; whoever leaves may ask it to drain,
with a limit.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """One thread, started at first use. Safe to use from one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._pending = 0
        self._lock = threading.Lock()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in the lane's thread. A cancelled caller leaves the call running: its result is dropped."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._pending += 1
            self._idle.clear()
        self._work.put(partial(self._do, loop, future, partial(function, *args, **kwargs)))
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
        return await future

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is under way; False when it still is."""
        return self._idle.wait(timeout_s)

    def _loop(self) -> None:
        while True:
            self._work.get()()
            with self._lock:
                self._pending -= 1
                if not self._pending:
                    self._idle.set()

    def _do(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], call: Callable[[], T]) -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - handed to the caller as it is
            _tell(loop, future, future.set_exception, error)
        else:
            _tell(loop, future, future.set_result, result)


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], settle: Callable[[Any], None], value: object) -> None:
    """Settle `future` in its loop, unless the loop is gone or nobody waits any more."""

    def settle_once() -> None:
        if not future.done():
            settle(value)

    try:
        loop.call_soon_threadsafe(settle_once)
    except RuntimeError:
        return  # the loop has closed: the console is leaving
