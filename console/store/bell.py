"""The bell beside control.db: eight bytes that every act overwrites once it is committed, so that a call can see without a
system call whether anything was switched.

A system call in the middle of an application's work costs it about 20 us on the machine of the benchmarks (1 us for the call,
the rest is what it does to the caches); a look at mapped memory 0.1 us. It is not control.db itself that is mapped: a mapping
of a file that somebody truncates kills the process (SIGBUS), and people do copy backups over databases. Nobody has a reason to
touch this file, whose name starts with a dot so that `cp backup/* data/` leaves it alone.

The bell only says "look": what is switched is read from control.db. Where it is missing, or not to be trusted, calls look each
time.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from console.store.files import mode_in

if TYPE_CHECKING:
    from pathlib import Path

SIZE: Final = mmap.PAGESIZE
LENGTH: Final = 8


def bell_of(control: Path) -> Path:
    """Where the bell of a control file is."""
    return control.with_name(".control.bell")


def ring(control: Path, version: int) -> None:
    """Tells every process that listens. To be called after the commit and before the act returns. Raises OSError."""
    path = bell_of(control)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_size < SIZE:
            os.fchmod(descriptor, mode_in(path.parent, shared=0o640))
            os.pwrite(descriptor, bytes(SIZE), 0)
        os.pwrite(descriptor, version.to_bytes(LENGTH, "little"), 0)
    finally:
        os.close(descriptor)


class Listener:
    """One process' ear. Nothing here raises."""

    def __init__(self, control: Path) -> None:
        self._path = bell_of(control)
        self._control = control
        self._inode: tuple[int, int] | None = None
        self.page: mmap.mmap | None = None
        """The first LENGTH bytes change with every act; None: there is no bell."""

    def value(self) -> bytes | None:
        """What it says now."""
        page = self.page
        return None if page is None else page[:LENGTH]

    def follow(self) -> None:
        """Takes hold of the file that is at the path now, unless it is held already."""
        try:
            status = os.stat(self._path, follow_symlinks=False)  # noqa: PTH116 -- twenty times a second
        except OSError:
            self.page, self._inode = None, None
            return
        if (status.st_dev, status.st_ino) != self._inode:
            self.page, self._inode = self._mapped(), (status.st_dev, status.st_ino)

    def _mapped(self) -> mmap.mmap | None:
        """Of whole files only, and only of those whose owner decides what is switched anyway."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                status = os.fstat(descriptor)
                trusted = {0, os.getuid(), os.stat(self._control).st_uid}  # noqa: PTH116 -- as above
                if status.st_size < SIZE or status.st_uid not in trusted:
                    return None
                return mmap.mmap(descriptor, SIZE, prot=mmap.PROT_READ)
            finally:
                os.close(descriptor)
        except (OSError, ValueError):
            return None
