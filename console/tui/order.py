"""How bad a feature is, and in which order features stand. Pure.

Worst first. A feature that gets worse moves up at once; one that gets better stays where it is for a minute, so that a
value around its threshold does not make the list dance under the cursor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from console.ops.views import FeatureView

State = Literal["OFF", "CRIT", "WARN", "OK", "IDLE"]

ERROR_WARN: Final = 0.01
ERROR_CRIT: Final = 0.05
P99_WARN_MS: Final = 10_000
P99_CRIT_MS: Final = 30_000
QUALITY_WARN: Final = 0.7
QUALITY_CRIT: Final = 0.5
STATUS_429_WARN: Final = 5.0
"""Per minute. These are the shipped alert thresholds; rules of one's own arrive with alerts."""
FEW_CALLS: Final = 10
"""With fewer calls in five minutes a rate is a hint, not an alarm."""

_RANK: Final[dict[State, int]] = {"OFF": 0, "CRIT": 1, "WARN": 2, "OK": 3, "IDLE": 3}
_CALM_S: Final = 60.0


def state_of(feature: FeatureView) -> State:
    """The feature's state in one word."""
    if feature.killed is not None:
        return "OFF"
    if not feature.calls_5m:
        return "IDLE"
    few = feature.calls_5m < FEW_CALLS
    high = (
        (feature.error_rate or 0.0) > ERROR_CRIT
        or (feature.p99_ms or 0.0) > P99_CRIT_MS
        or (feature.quality is not None and feature.quality < QUALITY_CRIT)
    )
    if high:
        return "WARN" if few else "CRIT"
    raised = (
        (feature.error_rate or 0.0) > ERROR_WARN
        or (feature.p99_ms or 0.0) > P99_WARN_MS
        or (feature.quality is not None and feature.quality < QUALITY_WARN)
    )
    return "WARN" if (raised and not few) or is_elsewhere(feature) else "OK"


def is_elsewhere(feature: FeatureView) -> bool:
    """Whether its calls are not served by the first target of the chain in force: however well that goes, somebody should know.
    Degraded and stale answers count from half of all: after a restore those of the kill are still in the window."""
    total = sum(calls for _, calls in feature.served_by)
    degraded = sum(calls for name, calls in feature.served_by if name in ("degraded", "stale"))
    return feature.fallback is not None or degraded * 2 >= total > 0


@dataclass
class Ranking:
    """Remembers where features stand. One for each screen."""

    _ranks: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Feature → (rank, when it was last as bad as that)."""

    def order(self, features: Iterable[FeatureView], now_s: float) -> list[FeatureView]:
        """Worst first, then by name. `now_s` is a steady clock."""
        ranked = []
        for feature in features:
            rank = _RANK[state_of(feature)]
            held, since = self._ranks.get(feature.feature, (rank, now_s))
            if rank <= held or now_s - since > _CALM_S:
                held, since = rank, now_s
            self._ranks[feature.feature] = (held, since)
            ranked.append((held, feature.feature, feature))
        ranked.sort(key=lambda entry: entry[:2])
        return [feature for _, _, feature in ranked]
