"""Where a list's cursor stands: on a thing, not on a row. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class Cursor:
    """Holds on to a key while rows move; when its thing is gone it stays where that was. Until it is moved or put on something
    it stands on the first row, so that what is worst stays in sight."""

    def __init__(self) -> None:
        self.key: Hashable | None = None
        self._row = 0
        self._holds = False

    def put(self, key: Hashable | None) -> None:
        """Hold on to this."""
        self.key = key
        self._holds = key is not None

    def release(self) -> None:
        """Back to the first row."""
        self._row, self._holds = 0, False

    def settle(self, keys: Sequence[Hashable]) -> int | None:
        """The row of the cursor in this list, or None when the list is empty."""
        if not keys:
            return None
        if not self._holds:
            self._row = 0
            self.key = keys[0]
        elif self.key in keys:
            self._row = keys.index(self.key)
        else:
            self._row = min(self._row, len(keys) - 1)
            self.key = keys[self._row]
        return self._row

    def move(self, by: int, keys: Sequence[Hashable]) -> bool:
        """Go `by` rows, not past an end; whether it stands on another thing now."""
        row = self.settle(keys)
        if row is None:
            return False
        before = self.key
        self._row = min(max(row + by, 0), len(keys) - 1)
        self.put(keys[self._row])
        return self.key != before
