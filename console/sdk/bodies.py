"""Response bodies that are read by the caller and observed on the way, in both colours. The bytes pass untouched.

A body reports its end once, however it ends: read out, broken, closed early, or dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from console.sdk.call import Call


class ObservedBody(httpx2.SyncByteStream):
    """A blocking client's body."""

    def __init__(self, body: httpx2.SyncByteStream, call: Call) -> None:
        self._body, self._call = body, call

    @property
    def elapsed(self) -> Any:
        """The SDK reads a response's `elapsed` from its body."""
        return getattr(self._body, "elapsed", None)

    def __iter__(self) -> Iterator[bytes]:
        call = self._call
        keep, begin = call.watchers()
        try:
            for chunk in self._body:
                keep(chunk)
                if begin is not None and not begin(chunk):
                    begin = None
                yield chunk
        except Exception as error:
            call.broke(error)
            raise
        call.read_out()

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            self._call.closed()

    def __del__(self) -> None:
        self._call.closed()


class AsyncObservedBody(httpx2.AsyncByteStream):
    """An asynchronous client's body."""

    def __init__(self, body: httpx2.AsyncByteStream, call: Call) -> None:
        self._body, self._call = body, call

    @property
    def elapsed(self) -> Any:
        """The SDK reads a response's `elapsed` from its body."""
        return getattr(self._body, "elapsed", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        call = self._call
        keep, begin = call.watchers()
        try:
            async for chunk in self._body:
                keep(chunk)
                if begin is not None and not begin(chunk):
                    begin = None
                yield chunk
        except Exception as error:
            call.broke(error)
            raise
        call.read_out()

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._call.closed()

    def __del__(self) -> None:
        self._call.closed()


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


def observe(response: Any, call: Call, *, is_async: bool) -> None:
    """Puts an observing body into an `APIResponse` whose body has not been read.

    An uncompressed response keeps its object and gets another body, which costs a microsecond; a compressed one is rebuilt
    around its decoded bytes, since the bytes that pass must be readable.
    """
    http: httpx2.Response = response.http_response
    encoding = http.headers.get("content-encoding", "identity")
    decoded = _AsyncDecoded if is_async else _Decoded
    body = http.stream if encoding == "identity" else decoded(http)
    wrapped = (
        AsyncObservedBody(cast("httpx2.AsyncByteStream", body), call)
        if is_async
        else ObservedBody(cast("httpx2.SyncByteStream", body), call)
    )
    if encoding == "identity":
        http.stream = wrapped
        return
    headers = [(k, v) for k, v in http.headers.raw if k.lower() not in (b"content-encoding", b"content-length")]
    response.http_response = httpx2.Response(
        http.status_code, headers=headers, stream=wrapped, request=http.request, extensions=http.extensions
    )
