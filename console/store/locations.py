"""Where the files of one installation are. Paths only; nothing here opens a database."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST_KILL_DIRECTORY: Final = Path("/run/console/kill")


@dataclass(frozen=True, slots=True)
class Locations:
    """The data directory and what is in it, and the break-glass directories in the order in which they are looked at."""

    data: Path
    kill_directories: tuple[Path, ...]

    @property
    def control(self) -> Path:
        return self.data / "control.db"

    @property
    def incident(self) -> Path:
        return self.data / "incident.db"

    @property
    def telemetry(self) -> Path:
        return self.data / "telemetry.db"

    @property
    def kept(self) -> Path:
        """The last applied control snapshot, written by the application's processes."""
        return self.data / "control.kept.json"

    @property
    def breakers(self) -> Path:
        """What the processes of a host tell each other about targets that are out."""
        return self.data / "breakers"

    @property
    def pins(self) -> Path:
        """Which prompt versions conversations began with, written by the application's processes."""
        return self.data / "pins"


def data_directory(explicit: str | Path | None, configured: Path | None, environment: Mapping[str, str] | None = None) -> Path:
    """The data directory: what the caller names, else $CONSOLE_DATA, else the configuration's, else the user's state."""
    env = os.environ if environment is None else environment
    if explicit is not None:
        return Path(explicit).expanduser().absolute()
    if env.get("CONSOLE_DATA"):
        return Path(env["CONSOLE_DATA"]).expanduser().absolute()
    if configured is not None:
        return configured
    state = env.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state).absolute() / "console"


def locations(data: Path, kill_directories: tuple[Path, ...] = ()) -> Locations:
    """The locations of a data directory, with the break-glass directories that are always looked at in front."""
    wanted = (data / "kill", *(kill_directories or (HOST_KILL_DIRECTORY,)))
    return Locations(data, tuple(dict.fromkeys(wanted)))
