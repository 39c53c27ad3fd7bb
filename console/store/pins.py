"""`pins`: which prompt version the conversations of a host began with; a small file that its application processes share.

A table of fixed size, found by hash: a place holds the 64-bit hash of a conversation's beginning and the version (its number
and the beginning of its text's hash), never a word of what was said. Nothing here is precious. A place that was lost,
overwritten by another conversation, torn by two writers or changed by hand is one that is not known: then the version is
served that is current.

No lock, no map (a file that somebody truncates under a map kills the application): a look is one `preadv` of two cache lines
that never waits for a disk, writing is the watcher's.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from console.store.files import mode_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ALIVE_S: Final = 86_400
"""Two conversations that begin alike within a day, with different versions, cannot be told apart."""

_PLACE: Final = Struct("<QQIIII")
"""Beginning, hash, version, mixed until, written at (both seconds since 1970), crc32 of the rest."""
_WAYS: Final = 4
_BUCKET: Final = _WAYS * _PLACE.size
BUCKETS: Final = 8192
"""1 MB: 32,768 conversations."""


class Pin(NamedTuple):
    """The version that a conversation began with. `hash`: the first 64 bits of its text's. Seconds since 1970."""

    version: int
    hash: int
    at_s: int = 0
    mixed_until_s: int = 0
    """Until then conversations that began alike have different versions, and this one may be another's."""

    def is_same(self, other: Pin) -> bool:
        """Whether both are the same version with the same text."""
        return self.version == other.version and self.hash == other.hash

    def after(self, before: Pin | None) -> Pin:
        """This one, as what a conversation has just begun with, where one that began alike did so with `before`."""
        if before is None or self.is_same(before):
            return self if before is None else self._replace(mixed_until_s=before.mixed_until_s)
        is_alive = before.at_s > self.at_s - ALIVE_S
        return self._replace(mixed_until_s=self.at_s + ALIVE_S) if is_alive else self


class PinFile:
    """The file of one host. `get` is for every thread, the rest for one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._inode: tuple[int, int] | None = None
        self._flags = getattr(os, "RWF_NOWAIT", 0)
        self._is_cold = False
        """A look found that the system does not have the file in memory."""
        self.follow()

    def get(self, beginning: int) -> Pin | None:
        """What is known of a beginning (64 bits), as far as the memory of the system has it. Never raises, never waits."""
        if self._descriptor < 0:
            return None
        found = bytearray(_BUCKET)
        try:
            read = os.preadv(self._descriptor, [found], _offset(beginning), self._flags)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                self._is_cold = True
            elif error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot say, such as an old tmpfs
                self._flags = 0
            return None
        return _places(bytes(found[: read - read % _PLACE.size])).get(beginning)

    def put(self, began: Mapping[int, tuple[Pin, bool]]) -> None:
        """Notes beginnings, and of each whether it is the last word (the id of a conversation: one at a time uses it) or one of
        several conversations that may have begun alike.

        Raises OSError. The file is opened for this alone: a descriptor that the application has closed behind our back, and
        whose number is another file's now, must not be written to.
        """
        descriptor = self._open()
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(self._path))
            if not status.st_size:  # new: the umask is the application's, another user of its group may have to write too
                os.fchmod(descriptor, mode_in(self._path.parent, shared=0o660))
            for beginning, (pin, is_last_word) in began.items():
                _write(descriptor, beginning, pin, is_last_word=is_last_word)
        finally:
            os.close(descriptor)
        if self._descriptor < 0:
            self.follow()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:  # without O_CREAT, which the kernel forbids for another user's file in a directory with the sticky bit
            return os.open(self._path, flags)
        except FileNotFoundError:
            return os.open(self._path, flags | os.O_CREAT, mode_in(self._path.parent, shared=0o660))

    def follow(self) -> None:
        """Takes hold of the file that is at the path now, if there is one and it is not held already, and has it brought into
        memory when it is not there. Never raises."""
        try:
            status = self._path.stat()
        except OSError:
            self.close()
            return
        inode = (status.st_dev, status.st_ino)
        if not stat.S_ISREG(status.st_mode) or (inode == self._inode and not self._is_cold):
            return
        with suppress(OSError):
            if inode != self._inode:
                self.close()
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                self._inode = inode
            self._is_cold = False
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Lets go of it, unless the descriptor is another's by now."""
        descriptor, inode = self._descriptor, self._inode
        self._descriptor, self._inode = -1, None
        with suppress(OSError):
            if inode is not None:
                status = os.fstat(descriptor)
                if (status.st_dev, status.st_ino) == inode:
                    os.close(descriptor)


def _offset(beginning: int) -> int:
    return beginning % BUCKETS * _BUCKET


def _places(data: bytes) -> dict[int, Pin]:
    """The places of a bucket that are whole."""
    found = {}
    for start in range(0, len(data), _PLACE.size):
        beginning, digest, version, mixed_until, at, check = _PLACE.unpack_from(data, start)
        if version and crc32(data[start : start + _PLACE.size - 4]) == check:
            found[beginning] = Pin(version, digest, at, mixed_until)
    return found


def _write(descriptor: int, beginning: int, pin: Pin, *, is_last_word: bool) -> None:
    """Writes one place: its own, else a free one, else the oldest."""
    data = os.pread(descriptor, _BUCKET, _offset(beginning)).ljust(_BUCKET, b"\0")
    whole = [_places(data[start : start + _PLACE.size]) for start in range(0, _BUCKET, _PLACE.size)]
    ages = [next(iter(place.values())).at_s if place else -1 for place in whole]
    mine = [index for index, place in enumerate(whole) if beginning in place]
    index = mine[0] if mine else ages.index(min(ages))
    if mine and not is_last_word:
        pin = pin.after(whole[index][beginning])
    record = _PLACE.pack(beginning, pin.hash, pin.version, pin.mixed_until_s, pin.at_s, 0)[:-4]
    os.pwrite(descriptor, record + crc32(record).to_bytes(4, "little"), _offset(beginning) + index * _PLACE.size)
