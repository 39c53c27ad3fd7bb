"""Response bodies that are read by the caller and observed on the way, in both colours. The bytes pass untouched.

A body reports its end once, however it ends: read out, broken, closed early, or dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from console.sdk.call import Call


class ObservedBody(httpx2.SyncByteStream):
    """A blocking client's body. `held`: chunks that were read before it was decided that the caller gets this body, and have
    been observed already; `rest`: where reading goes on."""

    def __init__(
        self, body: httpx2.SyncByteStream, call: Call, held: Sequence[bytes] = (), rest: Iterator[bytes] | None = None
    ) -> None:
        self._body, self._call, self._held, self._rest = body, call, held, rest

    @property
    def elapsed(self) -> Any:
        """The SDK reads a response's `elapsed` from its body."""
        return getattr(self._body, "elapsed", None)

    def __iter__(self) -> Iterator[bytes]:
        call = self._call
        keep, begin = call.watchers()
        patience = call.patience
        try:
            if self._rest is not None:
                begin, patience.is_waiting = None, False
                yield from self._held
            patience.is_waiting = True
            for chunk in self._body if self._rest is None else self._rest:
                keep(chunk)
                if begin is not None and not begin(chunk):
                    begin = None
                patience.is_waiting = False
                yield chunk
                patience.is_waiting = True
        except Exception as error:
            late = call.broke(error)
            if late is not None:
                raise late from None
            raise
        call.read_out()

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            self._call.closed()

    def __del__(self) -> None:
        self._call.dropped()


class AsyncObservedBody(httpx2.AsyncByteStream):
    """An asynchronous client's body."""

    def __init__(
        self, body: httpx2.AsyncByteStream, call: Call, held: Sequence[bytes] = (), rest: AsyncIterator[bytes] | None = None
    ) -> None:
        self._body, self._call, self._held, self._rest = body, call, held, rest

    @property
    def elapsed(self) -> Any:
        """The SDK reads a response's `elapsed` from its body."""
        return getattr(self._body, "elapsed", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        call = self._call
        keep, begin = call.watchers()
        patience = call.patience
        try:
            if self._rest is not None:
                begin, patience.is_waiting = None, False
                for chunk in self._held:
                    yield chunk
            patience.is_waiting = True
            async for chunk in self._body if self._rest is None else self._rest:
                keep(chunk)
                if begin is not None and not begin(chunk):
                    begin = None
                patience.is_waiting = False
                yield chunk
                patience.is_waiting = True
        except Exception as error:
            late = call.broke(error)
            if late is not None:
                raise late from None
            raise
        call.read_out()

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._call.closed()

    def __del__(self) -> None:
        self._call.dropped()


class _UnobservedBody(httpx2.SyncByteStream):
    """A stream whose beginning was held, when nothing of ours could be put around it."""

    def __init__(self, body: Any, held: Sequence[bytes], rest: Iterator[bytes]) -> None:
        self._body, self._held, self._rest = body, held, rest

    def __iter__(self) -> Iterator[bytes]:
        yield from self._held
        yield from self._rest

    def close(self) -> None:
        self._body.close()


class _AsyncUnobservedBody(httpx2.AsyncByteStream):
    """The same for an asynchronous client."""

    def __init__(self, body: Any, held: Sequence[bytes], rest: AsyncIterator[bytes]) -> None:
        self._body, self._held, self._rest = body, held, rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._held:
            yield chunk
        async for chunk in self._rest:
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


class ReplayedBody(httpx2.SyncByteStream):
    """What was read of a stream that ended with an error in band, for the caller who gets it in the end."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


class AsyncReplayedBody(httpx2.AsyncByteStream):
    """The same for an asynchronous client."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


class _Decoded(httpx2.SyncByteStream):
    """The decoded bytes of a compressed response."""

    def __init__(self, http: httpx2.Response) -> None:
        self._http = http

    @property
    def elapsed(self) -> Any:
        return getattr(self._http.stream, "elapsed", None)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._http.iter_bytes()

    def close(self) -> None:
        self._http.close()


class _AsyncDecoded(httpx2.AsyncByteStream):
    """The decoded bytes of a compressed response."""

    def __init__(self, http: httpx2.Response) -> None:
        self._http = http

    @property
    def elapsed(self) -> Any:
        return getattr(self._http.stream, "elapsed", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._http.aiter_bytes():
            yield chunk

    async def aclose(self) -> None:
        await self._http.aclose()


def unobserved(response: Any, held: Sequence[bytes], rest: Any, *, is_async: bool) -> None:
    """Gives the caller a stream of which a part was held, whole and without an observer."""
    http: httpx2.Response = response.http_response
    if not isinstance(http.stream, ObservedBody | AsyncObservedBody):
        http.stream = (_AsyncUnobservedBody if is_async else _UnobservedBody)(http.stream, held, rest)


def replay(response: Any, chunks: Sequence[bytes], *, is_async: bool) -> None:
    """Rebuilds an `APIResponse` whose body was read and closed around what was read of it."""
    http: httpx2.Response = response.http_response
    body = (AsyncReplayedBody if is_async else ReplayedBody)(chunks)
    _rebuild(response, http, body)


def _rebuild(response: Any, http: httpx2.Response, body: Any) -> None:
    headers = [(k, v) for k, v in http.headers.raw if k.lower() not in (b"content-encoding", b"content-length")]
    response.http_response = httpx2.Response(
        http.status_code, headers=headers, stream=body, request=http.request, extensions=http.extensions
    )


def readable(response: Any, *, is_async: bool) -> Any:
    """The body of an `APIResponse` that has not been read, as bytes that can be looked into.

    An uncompressed response keeps its object, which costs a microsecond; a compressed one is rebuilt around its decoded bytes.
    """
    http: httpx2.Response = response.http_response
    if http.headers.get("content-encoding", "identity") == "identity":
        return http.stream
    body = (_AsyncDecoded if is_async else _Decoded)(http)
    _rebuild(response, http, body)
    return body


def observe(response: Any, call: Call, *, is_async: bool, held: Sequence[bytes] = (), rest: Any = None) -> None:
    """Puts an observing body into an `APIResponse` that the caller is going to read. `held`, `rest`: see `ObservedBody`."""
    body = response.http_response.stream if rest is not None else readable(response, is_async=is_async)
    wrapped = (
        AsyncObservedBody(cast("httpx2.AsyncByteStream", body), call, held, rest)
        if is_async
        else ObservedBody(cast("httpx2.SyncByteStream", body), call, held, rest)
    )
    response.http_response.stream = wrapped
