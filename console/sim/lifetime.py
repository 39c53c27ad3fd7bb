"""The end of a child process: noticing that the parent is gone."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STDIN = 0
_READ_BYTES = 4096


def when_stdin_closes(then: Callable[[], object]) -> None:
    """Call `then` once, from a thread of its own, when stdin reaches its end. What is read before that is dropped.

    A daemon thread with a raw read: it works for pipes, terminals and /dev/null alike, and never delays the exit.
    """

    def watch() -> None:
        with contextlib.suppress(OSError):  # a closed descriptor is an end as well
            while os.read(_STDIN, _READ_BYTES):
                pass
        with contextlib.suppress(RuntimeError):  # the event loop is closed: the process is ending anyway
            then()

    threading.Thread(target=watch, name="stdin-watch", daemon=True).start()
