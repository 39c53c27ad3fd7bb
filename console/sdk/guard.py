"""Limits on a body that is being read. The HTTP library's own limit is for the pause between two bytes: one byte a second keeps
a call waiting for ever. A guard is looked at by the runtime's watcher every 50 ms, and ends the reading by shutting the
connection down under it, which works alike for a blocked thread and for a waiting task, and costs the reader nothing."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from console.core.observation import Observation

_END = b"\n\n"
_PING = b"event: ping"


class Guard:
    """The limits of one body. `why` is set when one has passed."""

    __slots__ = (
        "_alive_us",
        "_looked_us",
        "_observation",
        "_seen",
        "_silence_us",
        "_socket",
        "_tail",
        "_until_us",
        "is_waiting",
        "why",
    )

    def __init__(self, connection: Any) -> None:
        self._socket = connection
        self._until_us: int | None = None
        self._silence_us: int | None = None
        self._observation: Observation | None = None
        self._seen: bytes | None = None
        self._tail = b""
        self._alive_us = self._looked_us = 0
        self.why: str | None = None
        self.is_waiting = True
        """Somebody is waiting for the next bytes. A caller who takes his time with the last ones is no silence of the API's."""

    def disarm(self) -> None:
        """It is over: the connection may serve the next call already."""
        self._until_us = self._silence_us = None

    def until(self, until_us: int | None) -> None:
        """The reading has to be over then (steady clock); None: whenever it is."""
        self._until_us = until_us

    def listen(self, observation: Observation, silence_s: float, now_us: int) -> None:
        """From now on an event has to come every `silence_s`. Pings are no events: the content has begun."""
        self._until_us, self._alive_us, self._silence_us = None, now_us, round(silence_s * 1e6)
        self._observation = observation
        self._seen = observation.chunks[-1] if observation.chunks else None

    def tick(self, now_us: int) -> None:
        """Ends the reading when a limit has passed. Never raises."""
        if self.why is not None:
            return
        pause_us, self._looked_us = now_us - (self._looked_us or now_us), now_us
        if self._until_us is not None and not self.is_waiting:  # the caller's own time
            self._until_us += pause_us
        if self._until_us is not None and now_us > self._until_us:
            self._abort("the answer took longer than its limit")
        elif self._silence_us is not None:
            if not self.is_waiting or self._has_come():
                self._alive_us = now_us
            elif now_us - self._alive_us > self._silence_us:
                self._abort(f"no event for {self._silence_us / 1e6:g} s")

    def too_late(self) -> httpx2.ReadTimeout:
        """The error for who was reading."""
        return httpx2.ReadTimeout(f"{self.why} (limits of this feature)")

    def _has_come(self) -> bool:
        """Whether a whole event other than a ping has passed since the last look."""
        new: list[bytes] = []
        chunks = () if self._observation is None else tuple(self._observation.chunks)
        for chunk in reversed(chunks):
            if chunk is self._seen:
                break
            new.append(chunk)
        if not new:
            return False
        self._seen = new[0]
        *events, self._tail = (self._tail + b"".join(reversed(new))).replace(b"\r\n", b"\n").split(_END)
        return any(event and not event.startswith(_PING) for event in events)

    def _abort(self, why: str) -> None:
        self.why = why
        with suppress(OSError):  # it is closed already
            # Not `SSLSocket.shutdown`, which takes the TLS state away under the thread that reads.
            shutdown = socket.socket.shutdown if isinstance(self._socket, socket.socket) else type(self._socket).shutdown
            shutdown(self._socket, socket.SHUT_RDWR)


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
