"""Which key presses count. Pure: takes the time of each key.

Three ways in which a key arrives that nobody meant: typed before the screen that it hits was there (a slow line),
repeated by a finger that stays down, and sent by a paste or by a terminal that answers a question. A state that can do
harm asks a guard first.
"""

from __future__ import annotations

from typing import Final

SETTLE_S: Final = 0.3
"""Keys do nothing for so long after a dialog has been painted."""
RELEASED_S: Final = 0.7
"""A held key repeats first after 250 to 660 ms, then every 30."""
BURST_S: Final = 0.02
"""Nobody presses two different keys this close together: a paste or a terminal's answer does."""


class Guard:
    """For one state of one dialog, opened by `opener` (the key that led here, or None)."""

    def __init__(self, opened_at: float, opener: str | None) -> None:
        self._opened_at = opened_at
        self.opener = opener
        self._opener_at = float("-inf")
        self._is_touched = False

    def lets(self, key: str, at: float) -> bool:
        """Whether a press of `key` at `at` (same clock as `opened_at`) counts.

        The key that opened the state counts only after it was let go: after another key, or when it was quiet for
        longer than any keyboard waits before it repeats.
        """
        if key == self.opener and not self._is_touched:
            quiet_since, self._opener_at = max(self._opened_at, self._opener_at), at
            if at < quiet_since + RELEASED_S:
                return False
        if at < self._opened_at + SETTLE_S:
            return False
        self._is_touched = True
        return True


class Bursts:
    """Notices keys that come faster than fingers."""

    def __init__(self) -> None:
        self._last_at = float("-inf")
        self._last_gap = float("inf")

    def saw(self, at: float) -> None:
        """Note a key press; call it for each one, before asking."""
        self._last_gap = at - self._last_at
        self._last_at = at

    @property
    def is_burst(self) -> bool:
        """Whether the key seen last came too soon after the one before."""
        return self._last_gap < BURST_S
