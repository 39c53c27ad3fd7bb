"""What the conversations that this process has seen began with, and what others of the host say of those that it has not.

A conversation is known by a 64-bit hash of its beginning (see `beginning_of`). What begins alike with two versions within a day
is not pinned: whose turn it is cannot be told then. No locks: threads share dictionaries that they change in single operations.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from console.store.pins import Pin

if TYPE_CHECKING:
    from console.core.prompts import PromptVersion
    from console.store.pins import PinFile

MAX_PINS: Final = 10_000
MAX_UNWRITTEN: Final = 10_000
AGAIN_S: Final = 3_600
"""A beginning that goes on being used is noted anew so often, lest it look old."""


def beginning_of(*parts: str | None) -> int:
    """The 64-bit hash by which a conversation is known. Absent and empty parts differ, and so do the borders between parts."""
    told = "\n".join(["-" if part is None else f"{len(part)}:{part}" for part in parts])
    return int.from_bytes(blake2b(told.encode("utf-8", "replace"), digest_size=8).digest())


def pin_of(prompt: PromptVersion, at_s: int) -> Pin:
    """The pin of a conversation that begins with this version now (seconds since 1970)."""
    return Pin(prompt.version, int(prompt.hash[:16], 16), at_s)


class Pins:
    """See above. `began`, `noted` and `pinned` are for every thread and never raise; `flush` and `look` for the watcher."""

    def __init__(self, file: PinFile | None) -> None:
        self._file = file
        self._own: OrderedDict[int, Pin] = OrderedDict()
        self._unwritten: dict[int, tuple[Pin, bool]] = {}
        """And whether it is the last word about the id of a conversation."""

    def began(self, beginning: int, pin: Pin) -> None:
        """A conversation begins with this version."""
        before = self._own.get(beginning)
        if before is not None and before.is_same(pin) and pin.at_s < before.at_s + AGAIN_S:
            return
        self._keep(beginning, pin.after(before), is_last_word=False)

    def noted(self, beginning: int, pin: Pin) -> None:
        """The conversation of this id has this version from now on."""
        self._keep(beginning, pin, is_last_word=True)

    def _keep(self, beginning: int, pin: Pin, *, is_last_word: bool) -> None:
        self._own[beginning] = pin
        if len(self._own) > MAX_PINS:
            self._own.popitem(last=False)
        if self._file is not None and len(self._unwritten) < MAX_UNWRITTEN:
            self._unwritten[beginning] = pin, is_last_word

    def pinned(self, beginning: int, served: Pin) -> Pin | None:
        """What a conversation that goes on began with, when that is known and is not `served`: what it would get now.

        In the common case, begun in this process with the same version, one look into a dictionary.
        """
        own = self._own.get(beginning)
        if own is not None and own.is_same(served):
            return None
        shared = None if self._file is None else self._file.get(beginning)
        known = [pin for pin in (own, shared) if pin is not None]
        if not known or any(pin.mixed_until_s > served.at_s or not pin.is_same(known[0]) for pin in known):
            return None
        return None if known[0].is_same(served) else known[0]

    def shared(self, beginning: int) -> Pin | None:
        """What the host's file says of a beginning."""
        return None if self._file is None else self._file.get(beginning)

    def flush(self) -> None:
        """Writes what is new. Raises OSError; what could not be written is let go: no more is lost than a pin."""
        if self._file is None or not self._unwritten:
            return
        written = dict(list(self._unwritten.items()))
        for beginning in written:
            self._unwritten.pop(beginning, None)
        self._file.put(written)

    def look(self) -> None:
        """Follows the file: another process may have made it, or somebody another one in its place."""
        if self._file is not None:
            self._file.follow()

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()
