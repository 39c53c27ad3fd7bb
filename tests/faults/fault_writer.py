"""A process that writes batches to telemetry.db until it is killed, and says which are committed; or one that records through
a runtime and ends by itself.

    python fault_writer.py batches DATA NAME         prints the number of each batch once it is committed
    python fault_writer.py calls DATA NAME HOW_MANY  prints how many calls were dropped
"""

from __future__ import annotations

import os
import sys
import time
from itertools import count
from pathlib import Path

from store_tools import attempt, calls, places_in, until, write

from console.errors import StoreError
from console.runtime.process import Runtime
from console.store.sqlite.telemetry import TelemetryWriter

BATCH = 50


def batches(directory: Path, name: str) -> None:
    writer = TelemetryWriter(places_in(directory).telemetry)
    for number in count():
        customer = f"{name}-{number}"
        while True:
            try:
                write(writer, calls(BATCH, customer=customer), named=())
                break
            except StoreError:
                time.sleep(0.01)
        os.write(1, f"{customer}\n".encode())


def records(directory: Path, how_many: int) -> None:
    runtime = Runtime(places_in(directory))
    for number in range(how_many):
        runtime.current()
        runtime.record(attempt())
        if number % 100 == 0:
            time.sleep(0.01)
    until(lambda: not runtime._recorder.depth, within_s=20)
    runtime.close()
    sys.stdout.write(f"{runtime._recorder.dropped}\n")


if __name__ == "__main__":
    if sys.argv[1] == "batches":
        batches(Path(sys.argv[2]), sys.argv[3])
    else:
        records(Path(sys.argv[2]), int(sys.argv[4]))
