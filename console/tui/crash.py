"""What is left behind when the console itself fails: one line on the terminal and a report for its owner only.

Textual's own crash screen prints local variables: keys and prompts. A report holds kinds of errors and places in the
code, never values; messages are left out as well, because they quote what they choke on.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from console.core.text import line

if TYPE_CHECKING:
    from collections.abc import Iterator


def summary(error: BaseException) -> str:
    """One line without any value: what kind of error, and where."""
    frames = traceback.extract_tb(_innermost(error).__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return line(f"{type(_innermost(error)).__name__}{where}")


def write_report(error: BaseException, folder: Path | None = None) -> Path | None:
    """Write the report, mode 0600, into a new file; None when it cannot be written. Never raises."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="console-crash-", suffix=".txt", dir=folder)  # mkstemp: 0600, O_EXCL
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(_report(error))
        return Path(name)
    except OSError:
        return None


def _report(error: BaseException) -> str:
    head = [
        "console crash report",
        f"time: {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}",
        f"python: {sys.version.split()[0]}",
        "",
    ]
    body: list[str] = []
    for link in _chain(error):
        body.append(f"{type(link).__module__}.{type(link).__qualname__}{_reason(link)}")
        body.extend(
            f'  File "{line(frame.filename, 300)}", line {frame.lineno}, in {line(frame.name)}'
            for frame in traceback.extract_tb(link.__traceback__)
        )
        body.append("")
    return "\n".join([*head, *body]) + "\n"


def _reason(error: BaseException) -> str:
    """The operating system's own words; every other message may quote anything and is left out."""
    return f": {line(error.strerror)} (errno {error.errno})" if isinstance(error, OSError) and error.errno else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it came from, at most ten links."""
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        yield link
        inner = getattr(link, "error", None)  # Textual's WorkerFailed carries the real one so
        link = inner if isinstance(inner, BaseException) else link.__cause__ or link.__context__


def _innermost(error: BaseException) -> BaseException:
    return next((link for link in _chain(error) if link.__traceback__ is not None), error)
