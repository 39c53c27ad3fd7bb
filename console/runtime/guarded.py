"""What the watcher looks after besides switches: bodies that are being read, and may take only so long."""

from __future__ import annotations

from typing import Protocol


class Guarded(Protocol):
    """One body. `tick` is called by the watcher every 50 ms; it ends the reading when a limit has passed, and never raises."""

    def tick(self, now_us: int) -> None: ...
