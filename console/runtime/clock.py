"""The clocks of a process: wall time for rows, a steady one for durations. The only place in `runtime` that reads them."""

from __future__ import annotations

import time


def now_us() -> int:
    """UTC in microseconds; may jump."""
    return time.time_ns() // 1000


def steady_us() -> int:
    """Microseconds that only go forward; for differences."""
    return time.perf_counter_ns() // 1000
