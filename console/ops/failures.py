"""The last failures of every feature and target: raw rows, of which few are read and none twice."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from console.ops.views import FailureView
from console.store.sqlite import reads

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

SHOWN: Final = 10
READ: Final = 20
"""Of each feature: a target's last ten are sought among these."""
MAX_FEATURES: Final = 50
"""Read in one refresh; the others with the next."""
_RECENT_S: Final = 3600

Known = dict[str, tuple[int, tuple[FailureView, ...]]]


class FailureReader:
    """Remembers what it has read: a feature is read again only when the rollups count another failure of it."""

    def __init__(self) -> None:
        self._known: Known = {}

    def read(
        self, connection: sqlite3.Connection, features: Iterable[str], now_s: int
    ) -> Mapping[str, tuple[FailureView, ...]]:
        """The newest failures of each feature, newest first: at most `READ`."""
        counted = reads.failed_attempts(connection, 3600, (now_s - _RECENT_S) // 3600 * 3600)
        names = dict.fromkeys(features)
        known: Known = {name: self._known[name] for name in names if name in self._known}
        stale = [name for name in names if name not in known or known[name][0] != counted[name]]
        for name in sorted(stale, key=lambda name: -counted[name])[:MAX_FEATURES]:
            known[name] = counted[name], tuple(map(_view, reads.failures(connection, name, READ)))
        self._known = known  # whole: another thread may read at the same time
        return {name: failures for name, (_, failures) in known.items()}


def by_target(failures: Mapping[str, tuple[FailureView, ...]]) -> Mapping[str, tuple[FailureView, ...]]:
    """The last ten of each target."""
    found: dict[str, list[FailureView]] = defaultdict(list)
    for of_feature in failures.values():
        for failure in of_feature:
            found[failure.target].append(failure)
    return {name: tuple(sorted(of_target, key=lambda one: -one.at)[:SHOWN]) for name, of_target in found.items()}


def _view(row: reads.FailureRow) -> FailureView:
    return FailureView(
        at=row.at,
        feature=row.feature,
        target=row.target,
        model=row.model,
        provider=row.provider,
        status=row.status,
        error=row.error,
        latency_ms=row.latency_us / 1000,
        request_id=row.request_id,
    )
