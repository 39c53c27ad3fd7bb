"""What recording costs off the caller's path, and what it sustains: `python -m benchmarks.recording`.

`enqueue` is what a call pays. `sustained` puts calls in at a steady rate and shows whether the thread keeps up and at what CPU;
the last part does it in 16 processes into one file and counts every row afterwards.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import sqlite3
import tempfile
import time
from pathlib import Path

from console.core.calls import AttemptEnd, Facts, Usage
from console.runtime.process import Runtime
from console.store.locations import locations

FEATURES = ("support-reply", "summarize", "classify", "draft-email")


def ended(number: int) -> AttemptEnd:
    facts = Facts(FEATURES[number % 4], f"customer-{number % 20}", models=("claude-sonnet-5-5",), is_streamed=number % 2 == 0)
    return AttemptEnd(
        facts, time.time_ns() // 1000 - 800_000, 800_000 + number % 1000 * 500, "ok", "primary", "claude-sonnet-5-5",
        secrets.token_hex(8), status=200, request_id=f"req_{number}", stop_reason="end_turn", first_token_us=200_000,
        usage=Usage(400, 120), model_served="claude-sonnet-5-5", host="api.anthropic.com",
    )  # fmt: skip


def enqueue(runtime: Runtime, count: int) -> list[float]:
    ends = [ended(number) for number in range(count)]
    took = []
    for end in ends:
        before = time.perf_counter_ns()
        runtime.record(end)
        took.append((time.perf_counter_ns() - before) / 1000)
    return sorted(took)


def steady(data: Path, per_second: int, seconds: float) -> dict[str, float]:
    runtime = Runtime(locations(data), service="bench")
    runtime.start()
    time.sleep(0.5)
    ends = [ended(number) for number in range(1000)]
    cpu, started, sent = time.process_time(), time.perf_counter(), 0
    while (now := time.perf_counter() - started) < seconds:
        due = int(now * per_second)
        while sent < due:
            runtime.record(ends[sent % 1000]._replace(key=None))
            sent += 1
        time.sleep(0.005)
    recorder = runtime._recorder
    while recorder.depth:
        time.sleep(0.05)
    cpu = time.process_time() - cpu
    runtime.close()
    return {"sent": sent, "dropped": recorder.dropped, "cpu_us": cpu / sent * 1e6}


def _steady(data: str, per_second: int, seconds: float, results: object) -> None:
    results.put(steady(Path(data), per_second, seconds))  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--together", type=int, default=20_000, help="calls a second of all processes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        runtime = Runtime(locations(Path(directory)), service="bench")
        runtime.start()
        took = enqueue(runtime, 15_000)
        print(f"enqueue: median {took[len(took) // 2]:.2f} us, p99 {took[int(len(took) * 0.99)]:.2f} us")
        runtime.close()
    with tempfile.TemporaryDirectory() as directory:
        one = steady(Path(directory), 10_000, arguments.seconds)
        print(f"one process at 10,000/s: {one['sent']:,.0f} sent, {one['dropped']:,.0f} dropped, {one['cpu_us']:.1f} us CPU a call"
              " (the loop that puts them in included)")  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        share = arguments.together // arguments.processes
        workers = [
            context.Process(target=_steady, args=(directory, share, arguments.seconds, results))
            for _ in range(arguments.processes)
        ]
        for worker in workers:
            worker.start()
        found = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
        connection = sqlite3.connect(Path(directory) / "telemetry.db")
        (rows,) = connection.execute("SELECT count(*) FROM call").fetchone()
        (summed,) = connection.execute("SELECT sum(calls) FROM call_rollup WHERE tier = 10").fetchone()
        connection.close()
        sent, dropped = sum(one["sent"] for one in found), sum(one["dropped"] for one in found)
        print(f"{arguments.processes} processes at {arguments.together:,}/s together: {sent:,.0f} sent, {rows:,} rows, {summed:,} in"
              f" rollups, {dropped:,.0f} dropped and counted")  # fmt: skip


if __name__ == "__main__":
    main()
