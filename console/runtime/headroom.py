"""What each target's answers last said of its rate limits, for the heartbeat. The recorder thread's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.core.headroom import headroom_in
from console.core.redaction import clean_name
from console.runtime.clock import now_us, steady_us

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_EVERY_US: Final = 1_000_000
"""A target's headers are read so often at most: a dozen of them cost 10 us, and nobody looks more often."""
MAX_TARGETS: Final = 100
FORGET_AFTER_US: Final = 3_600_000_000
"""A limit is one of the current minute; an hour later the answer says nothing any more."""


class Headroom:
    """Of one process."""

    def __init__(self) -> None:
        self._looked: dict[str, int] = {}
        self._told: dict[str, dict[str, Any]] = {}

    def note(self, target: str, headers: Mapping[str, str]) -> None:
        """An answer of the target has come with these headers. Never raises."""
        now = steady_us()
        if now - self._looked.get(target, -LOOK_EVERY_US) < LOOK_EVERY_US:
            return
        if len(self._looked) >= MAX_TARGETS and target not in self._looked:
            oldest = next(iter(self._looked))
            del self._looked[oldest]
            self._told.pop(oldest, None)
        self._looked.pop(target, None)
        self._looked[target] = now
        found = headroom_in(headers)
        if found:
            self._told[target] = {**found, "at": now_us()}

    def told(self) -> dict[str, dict[str, Any]]:
        """target -> kind -> [limit, remaining, reset], and under "at" when it was said (UTC microseconds)."""
        since = now_us() - FORGET_AFTER_US
        return {clean_name(target): one for target, one in self._told.items() if one["at"] >= since}
