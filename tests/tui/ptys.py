"""The example console on a real pseudo-terminal: every byte that it writes, stderr included, and a grammar to hold them to."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]

_ALLOWED = re.compile(
    r"\x1b\[\d+;\d+H"  # move
    r"|\x1b\[[0-9;]*m"  # colour
    r"|\x1b\[\?(?:1049|25|1004|2004|2026|7)[hl]"  # modes of the driver
    r"|\x1b\[\?(?:2026|2048)\$p"  # its two questions
    r"|\x1b\[>25u|\x1b\[<u"  # keyboard protocol
    r"|\r?\n"
)
_CLIPBOARD = re.compile(r"\x1b\]52;c;[A-Za-z0-9+/=]*\x07")
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def foreign(data: bytes, *, with_clipboard: bool = False) -> list[str]:
    """What is neither the driver's grammar nor printable text, as repr with its neighbourhood."""
    text = data.decode("utf-8", errors="surrogateescape")
    found, at = [], 0
    while at < len(text):
        match = _ALLOWED.match(text, at) or (_CLIPBOARD.match(text, at) if with_clipboard else None)
        if match is not None:
            at = match.end()
        else:
            if unicodedata.category(text[at]) in _HIDDEN:
                found.append(repr(text[max(at - 10, 0) : at + 20]))
            at += 1
    return found


class Terminal:
    """One run of `python -m tests.tui.example`. Close it, or use `with`."""

    def __init__(self, *arguments: str, size: tuple[int, int] = (80, 24), **environ: str) -> None:
        self._master, slave = pty.openpty()
        self.resize(*size)
        env = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LC_ALL": "C.UTF-8",
            "ESCDELAY": "25",
            **environ,
        }
        env = {name: value for name, value in env.items() if value != "-"}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.tui.example", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=env,
            start_new_session=True,
        )
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.data = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> bytes:
        """Everything that arrives within `seconds`."""
        deadline, got = time.monotonic() + seconds, b""
        while (left := deadline - time.monotonic()) > 0:
            got += self._read_once(left)
        return got

    def read_until(self, wanted: bytes, seconds: float = 8.0) -> bytes:
        """Until `wanted` has arrived since the call."""
        deadline, got = time.monotonic() + seconds, b""
        while wanted not in got:
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"{wanted!r} did not arrive:\n{got[-2000:]!r}")
            got += self._read_once(left)
        return got

    def _read_once(self, seconds: float) -> bytes:
        if not select.select([self._master], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(self._master, 65536)
        except OSError:
            time.sleep(min(seconds, 0.02))
            return b""
        self.data += data
        return data

    def send(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 5.0) -> int:
        """The exit code; what is printed meanwhile is kept."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError("still running")
            self._read_once(0.02)
        self.read(0.05)
        return self.process.returncode

    def is_restored(self) -> bool:
        """Whether the terminal has its settings back and the normal screen."""
        text = self.data.decode(errors="replace")
        left = text.rfind("\x1b[?1049l") > text.rfind("\x1b[?1049h") and "\x1b[?25h" in text
        return left and termios.tcgetattr(self._slave)[:4] == self.before[:4]

    def hang_up(self) -> None:
        """Close the terminal under it."""
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
