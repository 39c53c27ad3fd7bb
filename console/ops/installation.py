"""Making an installation's files: the data directory, the operator's databases, the break-glass directory."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from console.errors import StoreError
from console.store.files import make_private
from console.store.sqlite.connect import store_error
from console.store.sqlite.control import create_control
from console.store.sqlite.schema import SCHEMAS, open_current

if TYPE_CHECKING:
    from pathlib import Path

    from console.store.configuration import Settings
    from console.store.locations import Locations


def missing_installation(settings: Settings) -> str | None:
    """What is wrong when the data directory was named by hand and is not there; None when it is, or may be made."""
    data = settings.locations.data
    if not settings.expects_data or data.is_dir():
        return None
    return f"no installation in {data}: is --data / --config right? `console init` makes one"


def install(places: Locations) -> tuple[Path, ...]:
    """Makes what is missing and returns it. telemetry.db is left to the application, whose file it is. Raises StoreError."""
    made: list[Path] = []
    try:
        for directory in (places.data, places.kill_directories[0]):
            if not directory.is_dir():
                make_private(directory)
                made.append(directory)
        if not places.control.exists():
            create_control(places.control)
            made.append(places.control)
        if not places.incident.exists():
            open_current(places.incident, SCHEMAS["incident"], busy_s=5.0).close()
            made.append(places.incident)
    except OSError as error:
        raise StoreError(f"{error.filename}: cannot be made: {error.strerror}") from None
    except sqlite3.Error as error:
        raise store_error(places.incident, error) from error
    return tuple(made)
