"""One HTTP/1.1 connection of the simulated API: h11 over asyncio streams, with the means to misbehave on the wire.

Nothing here knows what is asked or answered. A caller that goes away is noticed while the server waits, not only
when it writes: `pause` raises `ClientGoneError` at once.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from console.sim.limits import Header

_READ_BYTES = 256 * 1024
_MOST_HEADER_BYTES = 64 * 1024
_LINGER_NONE = struct.pack("ii", 1, 0)


class ClientGoneError(Exception):
    """The caller closed the connection before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request; header names are lower-case bytes."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: bytes) -> str | None:
        """The first header of that (lower-case) name."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), None)


class Connection:
    """Requests in, answers out, one after the other. Every method but `next_request` belongs to the current answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Event) -> None:
        self._reader = reader
        self._writer = writer
        self._gone = gone
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADER_BYTES)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def next_request(self) -> Request | None:
        """The next request's head, or None when the connection is over: closed, broken off, or not HTTP."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        elif self._http.our_state is not h11.IDLE:
            return None
        try:
            event = await self._next_event()
        except (h11.RemoteProtocolError, OSError):
            return None
        if not isinstance(event, h11.Request):
            return None
        return Request(event.method.decode("ascii"), event.target.decode("latin-1"), list(event.headers))

    async def read_body(self, limit: int) -> bytes | None:
        """The whole body, or None when it has more than `limit` bytes: read to the end all the same, but not kept.

        Raises ClientGoneError when it does not arrive completely.
        """
        if self._http.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[]))
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                event = await self._next_event()
            except (h11.RemoteProtocolError, OSError):
                raise ClientGoneError from None
            if isinstance(event, h11.Data):
                size += len(event.data)
                if size <= limit:
                    parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return None if size > limit else b"".join(parts)
            else:
                raise ClientGoneError

    async def pause(self, seconds: float) -> None:
        """Wait, and raise ClientGoneError as soon as the caller closes the connection. Zero only looks."""
        if seconds > 0 and not self._gone.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._gone.wait()
            except TimeoutError:
                return
        if self._gone.is_set():
            raise ClientGoneError

    async def hang(self) -> None:
        """Keep the connection open and send nothing; raises ClientGoneError when the caller has had enough."""
        await self._gone.wait()
        raise ClientGoneError

    async def start(self, status: int, headers: Sequence[Header], *, length: int | None) -> None:
        """Send the head; the body has `length` bytes, or is chunked when that is None."""
        frame = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        self._write(h11.Response(status_code=status, headers=[*headers, frame]))

    async def send(self, data: bytes) -> None:
        """Send a part of the body, and wait while the caller reads too slowly."""
        self._write(h11.Data(data=data))
        await self._drain()

    async def finish(self) -> None:
        """End the body."""
        self._write(h11.EndOfMessage())
        await self._drain()

    async def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """A whole answer in one write."""
        head = h11.Response(status_code=status, headers=[*headers, ("content-length", str(len(body)))])
        self._write(head, h11.Data(data=body), h11.EndOfMessage())
        await self._drain()

    def cut(self) -> None:
        """Close the socket where the answer stands, after what was sent has gone out."""
        self._writer.close()

    def reset(self) -> None:
        """Make the caller see a reset connection: RST in place of FIN, and nothing that is still buffered."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._writer.transport.abort()

    def close(self) -> None:
        """The end of the connection. Twice is harmless."""
        self._writer.close()

    async def _next_event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._reader.read(_READ_BYTES))

    def _write(self, *parts: h11.Event) -> None:
        if self._gone.is_set():
            raise ClientGoneError
        data = b"".join(self._http.send(part) or b"" for part in parts)
        self._writer.write(data)

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            raise ClientGoneError from None


class _WatchedProtocol(asyncio.StreamReaderProtocol):
    """asyncio's stream protocol, with an event for the moment in which the peer closes its side."""

    def __init__(self, serve: Callable[[Connection], Coroutine[Any, Any, None]]) -> None:
        self._peer_gone = asyncio.Event()
        self._serve_one = serve
        self._task: asyncio.Task[None] | None = None  # held, or it could be collected while it runs
        super().__init__(asyncio.StreamReader(limit=_READ_BYTES), self._accepted)

    def eof_received(self) -> bool | None:
        self._peer_gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_gone.set()
        super().connection_lost(exc)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's own wrapper reports every task that is cancelled at the end as an error (3.11).
        self._task = asyncio.get_running_loop().create_task(self._run(Connection(reader, writer, self._peer_gone)))

    async def _run(self, connection: Connection) -> None:
        try:
            await self._serve_one(connection)
        finally:
            connection.close()


async def listen(serve: Callable[[Connection], Coroutine[Any, Any, None]], host: str, port: int) -> asyncio.Server:
    """Accept connections and run `serve` for each, in a task of its own. Raises OSError when the port is taken."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _WatchedProtocol(serve), host, port, backlog=1024)
