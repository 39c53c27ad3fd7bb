"""A herd of worker processes that make calls with real clients until stdin closes; the tests start it, see `herds.py`.

    python fault_herd.py URL DATA DIRECTORY WORKERS CALLS_PER_SECOND

Forked from one parent, as application servers do it: sixteen imports of the SDK would take half a minute. Each worker makes its
own `Console` and client. What the middleware adds to a call is the time in it, less the time in what it calls.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anthropic
from anthropic import Anthropic, Middleware
from store_tools import places_in  # noqa: F401 -- loads what the console loads, before the fork

from console import Console
from console.errors import CallBlocked

FEATURES = ("support-reply", "summarize")
CUSTOMERS = ("acme", "globex")


class Timer(Middleware):
    """Adds up the seconds spent in what lies below it."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    def handle(self, request: Any, call_next: Any) -> Any:
        started = time.perf_counter()
        try:
            return call_next(request)
        finally:
            self.spent_s = time.perf_counter() - started


def work(number: int, url: str, data: str, directory: Path, rate: float) -> None:
    console = Console(data=data, service=f"worker-{number}")
    outer, inner = Timer(), Timer()
    client = Anthropic(
        base_url=url, api_key="sim-key", middleware=[outer, console.middleware, inner], max_retries=0, timeout=20
    )
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    rng = random.Random(number)
    with (directory / f"calls-{number}.jsonl").open("a", buffering=1) as log:
        while not stopping.wait(rng.expovariate(rate)):
            feature, customer = rng.choice(FEATURES), rng.choice(CUSTOMERS)
            inner.spent_s = 0.0
            started = time.time_ns() // 1000
            try:
                client.messages.create(
                    model="claude-haiku-5-5",
                    max_tokens=64,
                    system=f"{feature} {customer}",
                    messages=[{"role": "user", "content": "hello"}],
                    extra_headers={
                        **console.tags(feature=feature, customer=customer), "x-call-started-us": str(time.time_ns() // 1000),
                    },
                )  # fmt: skip
                outcome = "ok"
            except CallBlocked:
                outcome = "blocked"
            except anthropic.APIError as error:
                outcome = f"failed: {error!r}"
            added_us = (outer.spent_s - inner.spent_s) * 1e6
            log.write(json.dumps([started, feature, customer, outcome, round(added_us, 1)]) + "\n")
    console.close()


def main(url: str, data: str, directory: str, workers: str, rate: str) -> None:
    children = []
    for number in range(int(workers)):
        pid = os.fork()
        if pid == 0:
            os.close(0)
            try:
                work(number, url, data, Path(directory), float(rate))
            finally:
                os._exit(0)
        children.append(pid)
    sys.stdout.write(json.dumps(children) + "\n")
    sys.stdout.flush()
    while os.read(0, 4096):
        pass
    for pid in children:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
