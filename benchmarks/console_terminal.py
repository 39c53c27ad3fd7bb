"""The console through a pseudo-terminal, against the goals of UX.md: python -m benchmarks.console_terminal [--json]

Measures the example desk of tests/tui (its `status` costs next to nothing), so the numbers are the screen's alone. Bytes
are what would go over the SSH line; CPU is of the console's process, from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.tui.ptys import ROOT, Terminal

CONTENT = b"support-reply"
SETTLE_S = 2.5
TICKS = os.sysconf("SC_CLK_TCK")
SIZES = ((80, 24), (160, 48))
EXITS = (("q", None), ("TERM", 15), ("HUP", 1), ("INT", 2))


@dataclass(frozen=True)
class Result:
    what: str
    goal: float
    measured: float
    unit: str

    @property
    def is_met(self) -> bool:
        return self.measured <= self.goal


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def first_content_ms(size: tuple[int, int]) -> float:
    """From starting the interpreter to the first row of data; the median of five."""
    took = []
    for _ in range(5):
        with Terminal("--quiet", size=size) as terminal:
            terminal.read_until(CONTENT)
            took.append((time.monotonic() - terminal.started) * 1000)
    return statistics.median(took)


def bare_python_ms() -> float:
    """What the interpreter and importing Textual's App alone take here, for comparison."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import textual.app, textual.drivers.linux_driver"], cwd=ROOT, check=True)
    return (time.monotonic() - started) * 1000


def steady(size: tuple[int, int], *arguments: str, seconds: float) -> tuple[float, float, float]:
    """(bytes a second, CPU share in percent, MB) after the first picture has settled."""
    with Terminal(*arguments, size=size) as terminal:
        terminal.read_until(CONTENT)
        terminal.read(SETTLE_S)
        pid, before, started = terminal.process.pid, cpu_s(terminal.process.pid), time.monotonic()
        got = len(terminal.read(seconds))
        took = time.monotonic() - started
        return got / took, (cpu_s(pid) - before) / took * 100, memory_mb(pid)


def key_ms(size: tuple[int, int], presses: int = 60) -> float:
    """The 95th percentile from a key to the first byte that answers it, while every number moves once a second.

    `z` and back would repaint all; `j` and `k` move the cursor. A byte of the poll that comes first counts as the answer,
    so the moment of the poll is avoided by waiting for silence before each key.
    """
    took = []
    with Terminal(size=size) as terminal:
        terminal.read_until(CONTENT)
        terminal.read(SETTLE_S)
        for number in range(presses):
            while terminal.read(0.12):
                continue
            started = time.perf_counter()
            terminal.send(b"j" if number % 2 else b"k")
            while not terminal._read_once(1.0):
                continue
            took.append((time.perf_counter() - started) * 1000)
    return statistics.quantiles(took, n=20)[-1]


def exit_s(number: int | None) -> float:
    with Terminal("--quiet") as terminal:
        terminal.read_until(CONTENT)
        terminal.read(0.5)
        started = time.monotonic()
        if number is None:
            terminal.send(b"q")
        else:
            os.kill(terminal.process.pid, number)
        while terminal.process.poll() is None:
            terminal._read_once(0.005)
        took = time.monotonic() - started
        terminal.read(0.05)
        if not terminal.is_restored():
            raise SystemExit("the terminal was not restored")
        return took


def measured(seconds: float) -> list[Result]:
    results = [Result(f"first content at {w}x{h}", 500, first_content_ms((w, h)), "ms") for w, h in SIZES]
    for (width, height), full in zip(SIZES, (4_000, 10_000), strict=True):
        name, size = f"at {width}x{height}", (width, height)
        rate, cpu, memory = steady(size, "--quiet", seconds=seconds)
        results += [Result(f"nothing changes {name}", 0, rate, "B/s"), Result(f"  its CPU {name}", 0.2, cpu, "%")]
        rate, _, _ = steady(size, "--one", seconds=seconds)
        results.append(Result(f"one number a second {name}", 150, rate, "B/s"))
        rate, cpu, memory = steady(size, seconds=seconds)
        results += [
            Result(f"every number and plot a second {name}", full, rate, "B/s"),
            Result(f"  its CPU {name}", 1, cpu, "%"),
        ]
        results.append(Result(f"  its memory {name}", 45, memory, "MB"))
        results.append(Result(f"key to first byte, p95 {name}", 10, key_ms(size), "ms"))
    return results + [Result(f"leaving on {name}", 0.5, exit_s(number), "s") for name, number in EXITS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each steady state is watched")
    arguments = parser.parse_args()
    results = measured(arguments.seconds)
    if arguments.json:
        print(json.dumps([{**vars(result), "is_met": result.is_met} for result in results], indent=1))
    else:
        print(f"python with textual.app alone: {bare_python_ms():.0f} ms")
        print(f"{'':44}{'goal':>10}{'measured':>12}")
        for result in results:
            verdict = "" if result.is_met else "  missed"
            print(f"{result.what:44}{result.goal:>10,g}{result.measured:>12,.1f} {result.unit}{verdict}")
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
