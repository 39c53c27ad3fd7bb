"""The break-glass directories: a file named `all`, or after a feature, stops it, whatever state every database is in.

Only names count, never contents, so that a full disk is enough room. A missing directory holds nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from console.core.switches import ALL, Scope, Switch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MAX_FILES: Final = 100_000


def broken_glass(directories: Iterable[Path], before: Mapping[Scope, Switch] | None = None) -> dict[Scope, Switch]:
    """The switches that the files in `directories` engage. Never raises.

    A directory that cannot be read now (no descriptor left, say) keeps what it held in `before`: only a file that is seen to be
    gone lifts a switch. Whether `all` is there is asked in a way that needs no descriptor.
    """
    found: dict[Scope, Switch] = {}
    for directory in directories:
        try:
            names = os.listdir(directory)  # noqa: PTH208 -- four times a second: pathlib costs five times as much
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            names = ["all"] if os.access(f"{directory}/all", os.F_OK) else []
            held = (before or {}).items()
            found.update((scope, switch) for scope, switch in held if switch.source.startswith(f"{directory}/"))
        if "all" in names:
            found.setdefault(ALL, _switch(ALL, directory, "all"))
        for name in names[:MAX_FILES]:
            if name != "all" and not name.startswith("."):
                scope = Scope("feature", name)
                found.setdefault(scope, _switch(scope, directory, name))
    return found


def _switch(scope: Scope, directory: Path, name: str) -> Switch:
    return Switch(scope, "break-glass file", None, source=f"{directory}/{name}")
