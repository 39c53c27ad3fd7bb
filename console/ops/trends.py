"""The trends of the last half hour, read step by step: what is past is read once, so that a poll costs two steps, not sixty."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.latency import quantile_ms
from console.ops.views import Trend
from console.store.sqlite import reads

if TYPE_CHECKING:
    import sqlite3

TREND_S: Final = 1800
STEP_S: Final = 30
SETTLED_S: Final = 60
"""How long after its end a step may still grow: a writer that waited for the lock, a batch that failed once."""
REMEMBERED: Final = 32
"""Features whose past steps are kept."""


class _Step(NamedTuple):
    calls: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    rate_limited: int | None
    overloaded: int | None


class TrendReader:
    """Reads trends for one screen; remembers the steps that can no longer change. One thread at a time."""

    def __init__(self) -> None:
        self._past: OrderedDict[str | None, dict[int, _Step | None]] = OrderedDict()

    def read(self, connection: sqlite3.Connection, now_s: int, feature: str | None) -> tuple[Trend, ...]:
        """The trends up to now; of one feature, or of all together."""
        first = (now_s // STEP_S - TREND_S // STEP_S + 1) * STEP_S
        starts = range(first, first + TREND_S, STEP_S)
        past = self._past.pop(feature, {})
        past = {start: step for start, step in past.items() if start >= first}
        since = next((start for start in starts if start not in past), starts[-1])
        fresh = _read(connection, since, feature)
        steps = {start: fresh.get(start) if start >= since else past[start] for start in starts}
        self._past[feature] = {start: step for start, step in steps.items() if start + STEP_S + SETTLED_S <= now_s}
        if len(self._past) > REMEMBERED:
            self._past.popitem(last=False)
        return _trends([steps[start] for start in starts])


def _read(connection: sqlite3.Connection, since: int, feature: str | None) -> dict[int, _Step]:
    sums, results = reads.steps(connection, since, STEP_S, feature)
    found = {}
    for number in {*sums, *results}:
        step = sums.get(number) or reads.Step(0, 0, Counter())
        attempts = results.get(number)
        found[since + number * STEP_S] = _Step(
            step.calls,
            step.failed,
            quantile_ms(step.buckets, 0.50),
            quantile_ms(step.buckets, 0.99),
            None if attempts is None else attempts["429"],
            None if attempts is None else attempts["529"],
        )
    return found


def _trends(steps: list[_Step | None]) -> tuple[Trend, ...]:
    """None before anything was recorded, and for a rate of nothing; a real zero for calls afterwards."""
    first = next((index for index, step in enumerate(steps) if step is not None), len(steps))
    per_min = 60 / STEP_S
    calls = [None if index < first else (step.calls if step else 0) * per_min for index, step in enumerate(steps)]
    return (
        _trend("p50_ms", [step and step.p50_ms for step in steps]),
        _trend("p99_ms", [step and step.p99_ms for step in steps]),
        _trend("calls_per_min", calls),
        _trend("error_rate", [step.failed / step.calls if step and step.calls else None for step in steps]),
        _trend("status_429_per_min", [_per_min(step and step.rate_limited) for step in steps]),
        _trend("status_529_per_min", [_per_min(step and step.overloaded) for step in steps]),
    )


def _per_min(count: int | None) -> float | None:
    return None if count is None else count * 60 / STEP_S


def _trend(name: str, values: list[float | None]) -> Trend:
    return Trend(name, STEP_S, tuple(values))
