"""The control state as an operator's process sees it: what control.db says, what is kept, what the break-glass files say."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from console.core.control import ControlRefused, ControlState, merge
from console.errors import StoreError
from console.store.breakglass import broken_glass
from console.store.kept import read_kept
from console.store.sqlite.control import completed, create_control, read_control

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from console.core.switches import Scope, Switch
    from console.store.locations import Locations


@dataclass(frozen=True, slots=True)
class Reading:
    """`state` merges control.db with the kept snapshot, as every application process does."""

    state: ControlState
    glass: Mapping[Scope, Switch]
    problem: str | None

    def version_of(self, key: str) -> int:
        """The version of the key's newest row; 0 when it has none."""
        row = self.state.rows.get(key)
        return 0 if row is None else row.version

    def engaged(self, now_us: int) -> tuple[Switch, ...]:
        """Everything that is stopped now, widest first; where both stop the same, control's row says why."""
        switches = {**self.glass, **{k: s for k, s in self.state.switches.items() if s.is_engaged(now_us)}}
        return tuple(sorted(switches.values(), key=lambda switch: (switch.scope.kind != "all", switch.scope)))


def read_all(locations: Locations) -> Reading:
    """What is in force. Never raises: what cannot be read is said in `problem`."""
    kept, problem = read_kept(locations.kept)
    glass = MappingProxyType(broken_glass(locations.kill_directories))
    if not locations.control.exists():
        missing = "control.db is missing; what was switched stays in force" if kept.version else None
        return Reading(kept, glass, problem or missing)
    try:
        rows = read_control(locations.control, busy_s=1.0)
        return Reading(completed(locations.control, merge(kept, rows), busy_s=1.0), glass, problem)
    except (StoreError, ControlRefused) as error:
        return Reading(kept, glass, f"control.db: {error}")


def mend(control: Path) -> None:
    """Lets SQLite roll back what a killed writer has left half done, which a reader cannot: else the act that comes next would
    be previewed blindly, and refused for a change that nobody made. Never raises; without such a rest it is one `stat`."""
    journal = control.with_name(control.name + "-journal")
    with suppress(OSError, StoreError):
        if journal.stat().st_size and is_writable(control):
            create_control(control)


def is_writable(control: Path) -> bool:
    """Whether this user may act: write the file and its journal beside it, or make the file."""
    directory = control.parent
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return os.access(directory, os.W_OK) and (not control.exists() or os.access(control, os.W_OK))
