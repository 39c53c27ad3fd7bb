"""Plain files: replaced as a whole, locked across processes. Never used on a database file itself."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING

from console.errors import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_regular(path: Path, largest: int) -> str:
    """The text of a regular file of at most `largest` bytes; a pipe or a device in its place would keep the reader waiting for
    ever. Raises OSError, UnicodeError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        data = file.read(largest + 1)
    if len(data) > largest:
        raise OSError(errno.EFBIG, f"larger than {largest} bytes", str(path))
    return data.decode("utf-8")


def write_whole(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replaces a file: a reader, and a machine that stops at any moment, see the old or the new text. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)  # the umask is the application's, the reader may be another user of its group
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def file_lock(path: Path, *, timeout_s: float, mode: int = 0o600) -> Iterator[None]:
    """Holds an exclusive `flock` on a lock file (made when missing). Raises StoreBusy after `timeout_s`, or OSError.

    Polled and not blocking: a holder that was stopped must not take the waiter with it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreBusy(f"{path}: held by another process for more than {timeout_s:g} s") from None
                time.sleep(0.005)
        try:
            yield
        finally:
            # Not left to the close: a child that was forked meanwhile shares this lock and would hold it for its life.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def make_private(directory: Path) -> None:
    """Makes a directory unless it is there already: for its owner alone, or readable inside a directory that was made for a
    group (its setgid bit). Raises OSError."""
    is_new = not directory.is_dir()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_new and directory.parent.stat().st_mode & stat.S_ISGID:
        directory.chmod(0o2750)  # the umask is not asked: an application that cannot read `kill` cannot be stopped by it


def mode_in(directory: Path, *, shared: int) -> int:
    """The mode for a new file: `shared` in a directory made for a group (its setgid bit), else the owner's alone."""
    return shared if directory.stat().st_mode & 0o2000 else 0o600
