"""A process that forks in a way that its first argument names; run by `test_fault_forks.py`. Prints how many calls it recorded.

python fault_forks.py HOW DATA
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from store_tools import attempt, places_in, until

from console.runtime.process import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

EACH = 25
HOW: dict[str, Callable[[Path], int]] = {}


def scenario(function: Callable[[Path], int]) -> Callable[[Path], int]:
    HOW[function.__name__] = function
    return function


def record(runtime: Runtime, number: int = EACH) -> int:
    for _ in range(number):
        runtime.current()
        runtime.record(attempt())
    return number


def fork(child: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(0)
    return pid


def wait_for(pid: int) -> None:
    deadline = time.monotonic() + 10
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            raise SystemExit(f"child {pid} hangs")
        time.sleep(0.005)


def record_and_close(runtime: Runtime) -> None:
    record(runtime)
    runtime.close()


def fresh(directory: Path) -> None:
    record_and_close(Runtime(places_in(directory)))


@scenario
def after_import(directory: Path) -> int:
    children = [fork(lambda: fresh(directory)) for _ in range(4)]
    fresh(directory)
    for child in children:
        wait_for(child)
    return 5 * EACH


@scenario
def after_making(directory: Path) -> int:
    runtime = Runtime(places_in(directory))
    children = [fork(lambda: record_and_close(runtime)) for _ in range(4)]
    record_and_close(runtime)
    for child in children:
        wait_for(child)
    return 5 * EACH


@scenario
def after_connecting(directory: Path) -> int:
    """The parent's connection is open, and the parent goes away first: nobody but the children holds the file then."""
    runtime = Runtime(places_in(directory))
    record(runtime)
    until(lambda: runtime._recorder._writer._connection is not None and not runtime._recorder.depth)
    gone = threading.Event()

    def child() -> None:
        record(runtime)
        time.sleep(0.6)  # flushed by now, and the parent is closed
        record_and_close(runtime)

    children = [fork(child) for _ in range(3)]
    time.sleep(0.3)
    runtime.close()
    gone.set()
    for child_pid in children:
        wait_for(child_pid)
    return EACH + 3 * 2 * EACH


@scenario
def while_writing(directory: Path) -> int:
    """Forks again and again while four threads record, so that some happen in the middle of a transaction."""
    runtime, stopping, made = Runtime(places_in(directory)), threading.Event(), [0] * 4

    def call(number: int) -> None:
        while not stopping.is_set():
            made[number] += record(runtime, 10)
            runtime._recorder.wake()
            time.sleep(0.01)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(int(os.environ.get("CONSOLE_FORKS", "60"))):
        children.append(fork(lambda: record_and_close(runtime)))
        if len(children) > 8:  # more would not get their second for the last flush on two cores
            wait_for(children[-8])
    stopping.set()
    for thread in threads:
        thread.join()
    for child in children[-7:]:
        wait_for(child)
    runtime.close()
    return sum(made) + EACH * len(children)


@scenario
def while_a_write_hangs(directory: Path) -> int:
    """A fork that cannot wait for the write: the child makes its calls and records nothing; the parent loses nothing."""
    places = places_in(directory)
    runtime = Runtime(places)
    record(runtime)
    until(lambda: places.telemetry.exists() and not runtime._recorder.depth)
    blocker = sqlite3.connect(places.telemetry, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    record(runtime)
    runtime._recorder.wake()
    until(runtime._recorder._writer._in_use.locked)
    started = time.monotonic()
    child = fork(lambda: record_and_close(runtime))
    took = time.monotonic() - started
    wait_for(child)
    blocker.execute("ROLLBACK")
    blocker.close()
    until(lambda: not runtime._recorder.depth, within_s=10)
    runtime.close()
    if took > 2.5:
        raise SystemExit(f"the fork waited for {took:.1f} s")
    return 2 * EACH


def by_multiprocessing(method: str) -> Callable[[Path], int]:
    def run(directory: Path) -> int:
        record_and_close(Runtime(places_in(directory)))
        context = multiprocessing.get_context(method)
        children = [context.Process(target=leave_by_itself, args=(directory,)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(20)
        return 4 * EACH

    return run


def leave_by_itself(directory: Path) -> None:
    """Does not close: multiprocessing leaves with `os._exit`, and the runtime has to flush all the same."""
    global runtime_of_child  # noqa: PLW0603 -- alive until the exit, as an application's is
    runtime_of_child = Runtime(places_in(directory))
    record(runtime_of_child)


runtime_of_child: Runtime
for name in ("fork", "forkserver", "spawn"):
    HOW[f"multiprocessing_{name}"] = by_multiprocessing(name)

if __name__ == "__main__":
    sys.stdout.write(f"{HOW[sys.argv[1]](Path(sys.argv[2]))}\n")
