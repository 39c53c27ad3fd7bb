"""The kept control snapshot: the last one that a process applied, beside the telemetry, for a start without control.db."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from console.core.control import EMPTY, ControlRefused, ControlState, decode_kept, encode_kept
from console.store.files import file_lock, mode_in, read_regular, write_whole

if TYPE_CHECKING:
    from pathlib import Path


LARGEST: Final = 100_000_000
"""Bytes; a few hundred switches are 100 KB, prompts come on top."""
AHEAD_US: Final = 86_400_000_000
"""A version is a time: one a day ahead of now was not written by an act. The file belongs to the application, and a forged
version must not outrank the operator's next act."""


def read_kept(path: Path) -> tuple[ControlState, str | None]:
    """The kept state and what is wrong with it, if anything. No file is an empty state and nothing wrong. Never raises."""
    try:
        state = decode_kept(read_regular(path, LARGEST))
        if state.version > time.time_ns() // 1000 + AHEAD_US:
            return EMPTY, f"{path.name}: its version lies in the future; it is not used"
        return state, None
    except FileNotFoundError:
        return EMPTY, None
    except (OSError, UnicodeError) as error:
        return EMPTY, f"{path.name} cannot be read: {type(error).__name__}"
    except ControlRefused as refused:
        return EMPTY, f"{path.name}: {refused}"


def keep(path: Path, state: ControlState) -> None:
    """Writes the state unless a newer one is kept already. Raises OSError, and StoreBusy while another process is at it; the
    old file is whole in any case. Locked, because every process keeps every act: of two acts in quick succession the older
    must not be written over the newer one."""
    mode = mode_in(path.parent, shared=0o660)
    with file_lock(path.with_name(path.name + ".lock"), timeout_s=0.05, mode=mode):
        known, _ = read_kept(path)
        if known.version < state.version:
            write_whole(path, encode_kept(state), mode=mode)
