"""Which answers may be given again, and to which requests. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

CacheMode = Literal["off", "on_failure", "always"]

CACHE_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Seconds. `ttl`: for how long an answer is fresh; `stale`: for how long it may stand in when everything else fails."""

    mode: CacheMode = "off"
    ttl: float = 3600.0
    stale: float = 86400.0
