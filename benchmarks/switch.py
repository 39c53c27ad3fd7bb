"""What a switch costs: the check in every call, the write, and how soon processes follow: `python -m benchmarks.switch`."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path

from console.core.switches import Scope
from console.ops.desk import Desk
from console.ops.installation import install
from console.ops.views import Order
from console.runtime.process import Runtime
from console.store.configuration import load_settings

IDLE = """
import sys, time
from console.runtime.process import Runtime
from console.store.locations import locations
from pathlib import Path
runtime = Runtime(locations(Path(sys.argv[1])), service="idle")
runtime.start()
sys.stdin.read()
"""


def per_call_us(work: object, number: int = 100_000) -> float:
    return min(timeit.repeat(work, number=number, repeat=5)) / number * 1e6  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--acts", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings = load_settings(None, directory)
        runtime = Runtime(settings.locations, service="bench")
        print(f"check, no control.db yet          {per_call_us(runtime.current):6.2f} us a call")
        install(settings.locations)
        time.sleep(0.2)
        print(f"check, control.db unchanged       {per_call_us(runtime.current):6.2f} us a call")
        print(f"an empty function call            {per_call_us(lambda: None):6.2f} us")
        desk = Desk(settings)
        processes = [
            subprocess.Popen([sys.executable, "-c", IDLE, directory], stdin=subprocess.PIPE) for _ in range(arguments.processes)
        ]
        try:
            while desk.status().control.live < arguments.processes:
                time.sleep(0.1)
            writes, follows = [], []
            for number in range(arguments.acts):
                order = Order("kill" if number % 2 == 0 else "restore", Scope("feature", "bench"))
                _, applied = desk.act(order)
                seen = desk.followed(applied, every_s=0.002)
                writes.append(applied.write_ms)
                follows.append(seen.waited_ms if seen.is_complete else float("inf"))
                time.sleep(0.3)
            print(f"write and read back               {statistics.median(writes):6.2f} ms (most {max(writes):.2f})")
            print(
                f"acknowledged by {arguments.processes:2} idle processes {statistics.median(follows):7.1f} ms (most {max(follows):.1f})"
            )
        finally:
            for process in processes:
                if process.stdin is not None:
                    process.stdin.close()
            for process in processes:
                process.wait()
        command = [sys.executable, "-m", "console.cli.main", "kill", "bench", "--data", directory]
        whole = []
        for _ in range(7):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            whole.append((time.perf_counter() - started) * 1000)
        print(f"`console kill`, the whole command {statistics.median(whole):6.0f} ms (no live process to wait for)")
        version = []
        for _ in range(7):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "console.cli.main", "--version"], check=True, capture_output=True)
            version.append((time.perf_counter() - started) * 1000)
        print(f"`console --version`               {statistics.median(version):6.0f} ms")
        runtime.close()
        assert Path(directory).exists()


if __name__ == "__main__":
    main()
