"""Latency as counts in logarithmic buckets, 16 per octave: merges by addition, quantiles within 2.2 % of the value. Pure."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PER_OCTAVE: Final = 16
"""Bucket borders at 2^(k/16) microseconds: neighbours differ by 4.4 %, so the geometric middle is at most 2.2 % off."""


def bucket_of(us: int) -> int:
    """The bucket of a duration in microseconds; everything below one microsecond is in bucket 0."""
    return int(PER_OCTAVE * log2(us)) if us > 1 else 0


def middle_us(bucket: int) -> float:
    """The geometric middle of a bucket, in microseconds."""
    return float(2.0 ** ((bucket + 0.5) / PER_OCTAVE))


def quantile_ms(counts: Mapping[int, int], q: float) -> float | None:
    """The `q` quantile (0..1, nearest rank) in milliseconds of bucket counts, or None without any."""
    total = sum(counts.values())
    if total == 0:
        return None
    rank = max(1, -int(-q * total // 1))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return middle_us(bucket) / 1000
    raise AssertionError("unreachable: the rank is at most the total")
