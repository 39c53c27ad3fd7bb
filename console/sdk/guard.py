"""Limits on a body that is being read. The HTTP library's own limit is for the pause between two bytes: one byte a second keeps
a call waiting for ever. A guard is looked at by the runtime's watcher every 50 ms, and ends the reading by shutting the
connection down under it, which works alike for a blocked thread and for a waiting task, and costs the reader nothing.

What counts as life in a stream that has begun (the API sends `ping` events while it has nothing else to send):

    a text block is open            its text, and nothing else: the words have stopped in the middle
    a tool's input, thinking, a     any event, pings too, for as long as a model may think: a tool's input comes in bursts (it
    server tool, between blocks     is written whole, then sent), thinking may not be shown, a server tool takes its time
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from console.core.switches import Switch

_END = b"\n\n"
_START = b"content_block_start"
_STOP = b"content_block_stop"
_PING = b"ping"


class Guard:
    """The limits of one body. `why` is set when one has passed."""

    __slots__ = (
        "_alive_us",
        "_chunks",
        "_has_text_open",
        "_looked_us",
        "_pinged_us",
        "_pings_us",
        "_seen",
        "_silence_us",
        "_socket",
        "_tail",
        "_until_us",
        "is_waiting",
        "stopped_by",
        "switch",
        "why",
    )

    def __init__(self, connection: Any) -> None:
        self._socket = connection
        self._until_us: int | None = None
        self._silence_us: int | None = None
        self._chunks: Sequence[bytes] = ()
        self._seen: bytes | None = None
        self._tail = b""
        self._alive_us = self._pinged_us = self._looked_us = 0
        self._pings_us: int | None = None
        self._has_text_open = False
        self.why: str | None = None
        self.stopped_by: Callable[[], Switch | None] | None = None
        """Asked whether an operator's switch ends it in the middle."""
        self.switch: Switch | None = None
        """The one that has."""
        self.is_waiting = True
        """Somebody is waiting for the next bytes. A caller who takes his time with the last ones is no silence of the API's."""

    def disarm(self) -> None:
        """It is over: the connection may serve the next call already."""
        self._until_us = self._silence_us = self.stopped_by = None

    def until(self, until_us: int | None) -> None:
        """The reading has to be over then (steady clock); None: whenever it is."""
        self._until_us = until_us

    def listen(self, chunks: Sequence[bytes], silence_s: float, now_us: int, pings_s: float | None = None) -> None:
        """From now on an event has to come every `silence_s`, in `chunks`, which grow as the source is read. Where pings are
        life (see above) they are for `pings_s` at most (None: for ever), then something else has to come."""
        self._until_us, self._alive_us, self._silence_us = None, now_us, round(silence_s * 1e6)
        self._pinged_us, self._pings_us = now_us, None if pings_s is None else round(max(pings_s, silence_s) * 1e6)
        self._chunks, self._tail, self._has_text_open = chunks, b"", False
        self._seen = None
        self._look(now_us)

    def tick(self, now_us: int) -> None:
        """Ends the reading when a limit has passed. Never raises."""
        if self.why is not None:
            return
        if self.stopped_by is not None and (switch := self.stopped_by()) is not None:
            self.switch = switch
            self._abort(f"stopped by the kill switch {switch.scope}")
            return
        pause_us, self._looked_us = now_us - (self._looked_us or now_us), now_us
        if self._until_us is not None and not self.is_waiting:  # the caller's own time
            self._until_us += pause_us
        if self._until_us is not None and now_us > self._until_us:
            self._abort("the answer took longer than its limit")
        elif self._silence_us is not None:
            self._look(now_us)
            if not self.is_waiting:
                self._alive_us = self._pinged_us = now_us
            elif now_us - max(self._alive_us, self._pinged_us) > self._silence_us:
                self._abort(f"no event for {self._silence_us / 1e6:g} s")
            elif self._pings_us is not None and now_us - self._alive_us > self._pings_us:
                self._abort(f"nothing but pings for {self._pings_us / 1e6:g} s")

    def too_late(self) -> httpx2.ReadTimeout:
        """The error for who was reading."""
        return httpx2.ReadTimeout(f"{self.why} (limits of this feature)")

    def _look(self, now_us: int) -> None:
        """Takes note of the whole events that have passed since the last look."""
        for event in self._events():
            name = _name_of(event)
            if name == _PING:
                if not self._has_text_open:
                    self._pinged_us = now_us
            elif name:
                self._alive_us = now_us
                if name == _START:
                    self._has_text_open = _opens_text(event)
                elif name == _STOP:
                    self._has_text_open = False

    def _events(self) -> Iterable[bytes]:
        """What has come since the last look, cut into events; the last, perhaps half of one, is kept."""
        new: list[bytes] = []
        for chunk in reversed(tuple(self._chunks)):
            if chunk is self._seen:
                break
            new.append(chunk)
        if not new:
            return ()
        self._seen = new[0]
        *events, self._tail = (self._tail + b"".join(reversed(new))).replace(b"\r\n", b"\n").split(_END)
        return events

    def _abort(self, why: str) -> None:
        self.why = why
        with suppress(OSError):  # it is closed already
            # Not `SSLSocket.shutdown`, which takes the TLS state away under the thread that reads.
            shutdown = socket.socket.shutdown if isinstance(self._socket, socket.socket) else type(self._socket).shutdown
            shutdown(self._socket, socket.SHUT_RDWR)


def _name_of(event: bytes) -> bytes:
    """What an event is called; empty for a comment, which is none."""
    for line in event.split(b"\n"):
        if line.startswith(b"event:"):
            return line[6:].strip()
    return b"data" if b"data:" in event else b""


def _opens_text(event: bytes) -> bool:
    """Whether the block that begins is one whose text the caller is shown as it comes."""
    data = b"".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
    try:
        return bool(json.loads(data)["content_block"]["type"] == "text")
    except (ValueError, KeyError, TypeError, RecursionError):
        return True


def connection_of(http: httpx2.Response) -> Any:
    """The socket behind a response, or None when there is none that could be shut down (a test's own transport, HTTP/2)."""
    stream = http.extensions.get("network_stream")
    found = None if stream is None else stream.get_extra_info("socket")
    return found if hasattr(found, "shutdown") and http.http_version == "HTTP/1.1" else None


def narrow_read_timeout(http: httpx2.Response, seconds: float) -> None:
    """From now on no pause between two bytes of the body may be longer."""
    parts = http.request.extensions.get("timeout")
    if isinstance(parts, dict):
        known = parts.get("read")
        parts["read"] = seconds if known is None else min(known, seconds)
