"""The break-glass directories: a file named `all`, or after a feature, stops it, whatever state every database is in.

Only names count, never contents, so that a full disk is enough room. A missing directory holds nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from console.core.switches import ALL, Scope, Switch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_FILES: Final = 1_000


def broken_glass(directories: Iterable[Path]) -> dict[Scope, Switch]:
    """The switches that the files in `directories` engage. Never raises: a directory that cannot be read holds nothing."""
    found: dict[Scope, Switch] = {}
    for directory in directories:
        try:
            names = os.listdir(directory)[:MAX_FILES]  # noqa: PTH208 -- four times a second: pathlib costs five times as much
        except OSError:
            continue
        for name in names:
            if name.startswith("."):
                continue
            scope = ALL if name == "all" else Scope("feature", name)
            found.setdefault(scope, Switch(scope, "break-glass file", None, source=f"{directory}/{name}"))
    return found
