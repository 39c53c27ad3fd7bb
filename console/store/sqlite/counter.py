"""The control file's change counter: the four bytes that a call compares instead of reading the database.

SQLite adds one to the bytes 24 to 27 of the header at every commit in rollback-journal mode. One `pread` of them costs 0.5 us.
A memory map would cost 0.1 us, and kills the application with SIGBUS when anybody truncates the file; so it is `pread`.

While a reading has failed, the counter alone does not tell when trying again is worth it (a commit that is rolled back and
done again ends at the same number), so the signature of the file and its journal is compared as well.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from console.store.sqlite.connect import BY_HAND

if TYPE_CHECKING:
    from pathlib import Path

COUNTER_OFFSET: Final = 24
WAL_FLAG_OFFSET: Final = 18

Signature = tuple[tuple[int, int, int] | None, ...]


class ChangeCounter:
    """Follows one control file by path. Not thread-safe except for `value`: the snapshot holder serialises the rest."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._descriptor = -1
        self._inode: tuple[int, int] | None = None

    def value(self) -> bytes | None:
        """The four bytes now, or None without a file. Never raises."""
        if self._descriptor < 0:
            return None
        try:
            return os.pread(self._descriptor, 4, COUNTER_OFFSET)
        except OSError:
            return None

    def is_absent(self) -> bool:
        """Whether there is no file at the path. On the path of every call until the first act: one system call, and no
        exception, which would cost 40 us."""
        return not os.access(self._path, os.F_OK)

    def is_current(self) -> bool:
        """Whether the descriptor still is the file at the path (neither has been replaced, deleted or made anew)."""
        if self._inode is None:
            return self.is_absent()
        return _inode(self._path) == self._inode and _is(self._descriptor, self._inode)

    def is_wal(self) -> bool:
        """Whether somebody has put the file into WAL mode, in which the counter stands still."""
        try:
            return os.pread(self._descriptor, 1, WAL_FLAG_OFFSET) == b"\x02"
        except OSError:
            return False

    def follow(self, *, timeout_s: float = 0.05) -> bool:
        """Takes hold of the file that is at the path now; False when another part of this process is writing it."""
        if not BY_HAND.acquire(timeout=timeout_s):
            return False
        try:
            self.close()
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._descriptor, self._inode = -1, None
            else:
                status = os.fstat(self._descriptor)
                self._inode = (status.st_dev, status.st_ino)
        finally:
            BY_HAND.release()
        return True

    def signature(self) -> Signature:
        """Sizes and times of the file and of its journal: differs after anything that could make a failed reading work."""
        return tuple(_stat(path) for path in (self._path, self._path + "-journal"))

    def close(self) -> None:
        """Lets go of the descriptor, unless the application has closed it behind our back and its number is now another's."""
        if self._inode is not None and _is(self._descriptor, self._inode):
            os.close(self._descriptor)
        self._descriptor, self._inode = -1, None


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 -- twenty times a second
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is(descriptor: int, inode: tuple[int, int]) -> bool:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == inode


def _stat(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 -- on the path of a call while the control file is in trouble
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
