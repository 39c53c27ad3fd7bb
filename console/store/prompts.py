"""The prompt files of an installation, read strictly: <root>/<name>/v<N>.md, and nothing beside or outside it.

A name is checked before it meets the file system, and everything below the root is opened relative to its directory without
following a symbolic link, so nothing outside the root is ever opened. What everybody can write, or a stranger owns, is refused:
whoever can write a prompt is an operator. The root itself is the configuration's and may be a link.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.pointers import MAX_VERSION
from console.core.prompts import MAX_CHARS, check_name, check_version
from console.errors import PromptError, UnknownPrompt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES: Final = 4 * MAX_CHARS
_FILE: Final = re.compile(r"v([1-9][0-9]{0,6})\.md")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WITHIN: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: opening a pipe that nobody writes would wait for ever."""


class Stamp(NamedTuple):
    """By what a change of a file is noticed. `changed_ns` also moves when its owner or mode does."""

    mtime_ns: int
    changed_ns: int
    size: int
    inode: int


class PromptDirectory:
    """The prompts under `root`. Raises nothing but PromptError, each with what, where and what to do."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str, version: int) -> Path:
        """Where a version's file is, or would be."""
        return self.root / check_name(name) / f"v{check_version(version)}.md"

    def names(self) -> tuple[str, ...]:
        """The prompts, sorted: directories with a prompt's name. None when there is no root."""
        try:
            with _opened(self.root, _DIRECTORY) as root, os.scandir(root) as entries:
                return tuple(sorted(entry.name for entry in entries if _is_prompt(entry)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _refused(self.root, error) from None

    def versions(self, name: str) -> tuple[int, ...]:
        """The numbers of a prompt's files, sorted; whether they can be read is another question."""
        return tuple(self.stamps(name))

    def stamps(self, name: str) -> dict[int, Stamp]:
        """The prompt's files by number, sorted, each with its stamp. Reads no file. Raises UnknownPrompt."""
        found = {}
        with self._directory(name) as directory, os.scandir(directory) as entries:
            for entry in entries:
                match = _FILE.fullmatch(entry.name)
                if match is not None and int(match[1]) <= MAX_VERSION:
                    with suppress(FileNotFoundError):  # gone since it was listed
                        status = entry.stat(follow_symlinks=False)
                        found[int(match[1])] = Stamp(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        return dict(sorted(found.items()))

    def read(self, name: str, version: int) -> str:
        """The text of a version's file, byte for byte. Raises UnknownPrompt."""
        path = self.path(name, version)
        with self._directory(name) as directory:
            try:
                with _opened(path.name, os.O_RDONLY | _WITHIN, directory) as file:
                    data = _trusted_bytes(file, path)
            except FileNotFoundError:
                raise UnknownPrompt(f"{path}: there is no such file; `console prompt list` shows what there is") from None
            except OSError as error:
                raise _refused(path, error) from None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise PromptError(f"{path}: not UTF-8 text") from None
        if len(text) > MAX_CHARS:
            raise PromptError(f"{path}: longer than {MAX_CHARS} characters")
        return text

    def write_new(self, name: str, text: str, *, after: int = 0) -> int:
        """Writes a new file with the next number, which is higher than `after` too, and returns the number. Replaces nothing:
        of two writers at once each gets a number of its own, and a reader never sees half a file."""
        check_name(name)
        data = text.encode("utf-8", "replace")
        if len(text) > MAX_CHARS:
            raise PromptError(f"{self.root / name}: a prompt has {MAX_CHARS} characters at most")
        try:
            (self.root / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(self.root / name, error) from None
        version = max((after, *self.versions(name))) + 1
        with self._directory(name) as directory:
            temporary = f".{os.getpid()}.{secrets.token_hex(4)}.tmp"
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _WITHIN, 0o644, dir_fd=directory)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                return _named(version, temporary, directory)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)

    @contextmanager
    def _directory(self, name: str) -> Iterator[int]:
        """The descriptor of a prompt's directory. OSErrors of the body become PromptErrors, except a missing file."""
        path = self.root / check_name(name)
        try:
            with _opened(self.root, _DIRECTORY) as root:
                _check_trusted(os.fstat(root), self.root)
                with _opened(name, _DIRECTORY | os.O_NOFOLLOW, root) as directory:
                    _check_trusted(os.fstat(directory), path)
                    yield directory
        except FileNotFoundError:
            raise UnknownPrompt(
                f"no prompt {name!r}: there is no directory {path}; `console prompt new {name}` makes one"
            ) from None
        except OSError as error:
            raise _refused(path, error) from None


def _named(version: int, temporary: str, directory: int) -> int:
    """Gives a written file the first free number from `version` on."""
    while True:
        check_version(version)
        try:
            os.link(temporary, f"v{version}.md", src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            version += 1
        else:
            os.fsync(directory)
            return version


@contextmanager
def _opened(path: Path | str, flags: int, directory: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_prompt(entry: os.DirEntry[str]) -> bool:
    try:
        check_name(entry.name)
    except PromptError:
        return False
    return entry.is_dir(follow_symlinks=False)


def _trusted_bytes(file: int, path: Path) -> bytes:
    """What an open file holds, if it may be used."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise PromptError(f"{path}: not a regular file")
    _check_trusted(status, path)
    if status.st_size > MAX_BYTES:
        raise PromptError(f"{path}: larger than {MAX_BYTES} bytes")
    data = bytearray()
    while len(data) <= MAX_BYTES and (more := os.read(file, 65_536)):  # it may grow meanwhile
        data += more
    if len(data) > MAX_BYTES:
        raise PromptError(f"{path}: larger than {MAX_BYTES} bytes")
    return bytes(data)


def _check_trusted(status: os.stat_result, path: Path) -> None:
    """As `store.configuration.read_trusted` does. In a sticky directory nobody can replace what another has put there."""
    is_sticky = stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
    if status.st_mode & stat.S_IWOTH and not is_sticky:
        raise PromptError(f"{path}: writable by everybody: run `chmod o-w` on it, after you have looked at what it says")
    if status.st_uid not in (0, os.getuid()):
        raise PromptError(f"{path}: owned by user id {status.st_uid}, neither root nor you")


def _refused(path: Path, error: OSError) -> PromptError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return PromptError(f"{path}: a symbolic link, or no directory; put the prompt itself there")
    return PromptError(f"{path}: cannot be used: {error.strerror}")
