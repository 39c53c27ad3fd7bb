"""Runs every benchmark that finishes within a minute or two: `python -m benchmarks`."""

from __future__ import annotations

import runpy
import sys

NAMES = ("call", "failover", "switch", "recording", "reading")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        print(f"\n== python -m benchmarks.{name}")
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
