"""Streams that go on after they broke: bodies in both colours that read one attempt's answer and, when it breaks, another's.

The bytes pass through a `core.splice.Splicer`, which hands on whole events only and makes one message of several answers. What
a break means is said once, in `_Spliced`; the two classes below it differ in where they wait and in nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anthropic
import httpx2

from console.core.flow import Serve
from console.core.splice import Splicer
from console.sdk.bodies import readable
from console.sdk.drivers import run, run_async
from console.sdk.wires import is_event_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from console.core.flow import Verdict
    from console.sdk.call import Call
    from console.sdk.wires import AsyncWire, SyncWire


class _Spliced:
    """What the two colours share. `first`: bytes that may be handed on already; `rest`: where reading goes on."""

    def __init__(self, body: Any, call: Call, wire: SyncWire | AsyncWire, splicer: Splicer, first: bytes, rest: Any) -> None:
        self._body, self._call, self._wire = body, call, wire
        self._splicer, self._first, self._rest = splicer, first, rest
        self._is_ours = False
        """It was a defect of ours that broke it."""
        self._is_closed = False

    @property
    def elapsed(self) -> Any:
        """The SDK reads a response's `elapsed` from its body."""
        return getattr(self._body, "elapsed", None)

    @property
    def _is_left(self) -> bool:
        """Closed meanwhile, by another thread or task of the caller's: nothing is broken, and nothing is to be done."""
        return self._is_closed or self._call.is_over

    def _end(self) -> str | None:
        """What it means that the source has ended; None: all is well, or nobody listens any more."""
        return None if self._is_left else self._call.ended_as(self._splicer.ended())

    def _why(self, error: Exception) -> str | None:
        """What a failure to read means. What comes behind the end of a message means nothing. Raises it for a reader who has
        closed the stream."""
        if self._is_left:
            raise error
        if self._splicer.has_stopped:
            return None
        self._is_ours = not isinstance(error, _TRANSPORT)
        if self._is_ours:
            self._call.swallow(error)
        return self._call.kind_of(error)

    def _done(self) -> None:
        if not self._is_left:
            self._call.read_out()

    def _broken(self, why: str) -> Exception:
        """The error for the caller of a stream that is not continued."""
        return httpx2.StreamClosed() if self._is_left else self._call.broken(why)

    def _may_go_on(self) -> bool:
        """Whether another attempt is asked. What the wire has in its hand is of the one before."""
        self._wire.first, self._wire.rest, self._wire.splicer = b"", None, None
        return not self._is_ours and self._call.may_go_on()

    def _missing(self, why: str) -> bytes:
        """What a stream that broke lacks, when nothing of the answer is lost: the model has said why it stopped."""
        splicer, call = self._splicer, self._call
        if not splicer.is_finished or call.policy.on_break == "error" or call.is_killed:
            return b""
        call.unguard()
        call.settle_failure(why)
        return splicer.closing()

    def _is_continued(self, verdict: Verdict) -> bool:
        """Whether another attempt has answered. Its first bytes are in the wire's hand."""
        if self._is_left:
            self._call.unguard()
            self._call.goes_nowhere(verdict)
            return False
        if not isinstance(verdict, Serve) or self._wire.error is not None or self._wire.splicer is not self._splicer:
            self._call.goes_nowhere(verdict)
            return False
        self._call.goes_on(verdict)
        return True

    def __del__(self) -> None:
        self._call.dropped()


class SplicedBody(_Spliced, httpx2.SyncByteStream):
    """A blocking client's body."""

    _wire: SyncWire

    def __iter__(self) -> Iterator[bytes]:
        call, splicer = self._call, self._splicer
        keep, take = call.keeper(), splicer.take
        data, source, patience, note = self._first, self._rest, call.patience, call.noter()
        while True:
            why: str | None
            try:
                if data:
                    keep(data)
                    patience.is_waiting = False
                    yield data
                patience.is_waiting = True
                for chunk in source if splicer.broken is None else ():
                    note(chunk)
                    data = take(chunk)
                    if data:
                        keep(data)
                        patience.is_waiting = False
                        yield data
                        patience.is_waiting = True
                    if splicer.broken is not None:
                        break
                why = self._end()
            except Exception as error:  # noqa: BLE001 -- the caller is told what it means for the answer
                why = self._why(error)
            missing = b"" if why is None else self._missing(why)
            if missing:
                keep(missing)
                yield missing
            elif why is not None:
                call.broke_off(why, is_ours=self._is_ours)
                self._close()
                if not self._went_on():
                    self._close()
                    raise self._broken(why) from None
                data, source, patience, note = self._wire.first, self._wire.rest, call.patience, call.noter()
                continue
            self._done()
            return

    def _went_on(self) -> bool:
        try:
            return self._may_go_on() and self._is_continued(run(self._call.going_on(), self._wire))
        except Exception as defect:  # noqa: BLE001 -- of the policy itself: the caller is told that the stream broke
            if not self._is_left:
                self._call.swallow(defect)
            return False

    def _close(self) -> None:
        self._body.close()
        http = self._wire.response.http_response
        if http.stream is not self:
            http.close()

    def close(self) -> None:
        self._is_closed = True
        try:
            self._close()
        finally:
            self._call.closed()


class AsyncSplicedBody(_Spliced, httpx2.AsyncByteStream):
    """An asynchronous client's body."""

    _wire: AsyncWire

    async def __aiter__(self) -> AsyncIterator[bytes]:
        call, splicer = self._call, self._splicer
        keep, take = call.keeper(), splicer.take
        data, source, patience, note = self._first, self._rest, call.patience, call.noter()
        while True:
            why: str | None
            try:
                if data:
                    keep(data)
                    patience.is_waiting = False
                    yield data
                patience.is_waiting = True
                async for chunk in source if splicer.broken is None else _nothing():
                    note(chunk)
                    data = take(chunk)
                    if data:
                        keep(data)
                        patience.is_waiting = False
                        yield data
                        patience.is_waiting = True
                    if splicer.broken is not None:
                        break
                why = self._end()
            except Exception as error:  # noqa: BLE001 -- the caller is told what it means for the answer
                why = self._why(error)
            missing = b"" if why is None else self._missing(why)
            if missing:
                keep(missing)
                yield missing
            elif why is not None:
                call.broke_off(why, is_ours=self._is_ours)
                await self._aclose()
                if not await self._went_on():
                    await self._aclose()
                    raise self._broken(why) from None
                data, source, patience, note = self._wire.first, self._wire.rest, call.patience, call.noter()
                continue
            self._done()
            return

    async def _went_on(self) -> bool:
        try:
            return self._may_go_on() and self._is_continued(await run_async(self._call.going_on(), self._wire))
        except Exception as defect:  # noqa: BLE001 -- of the policy itself: the caller is told that the stream broke
            if not self._is_left:
                self._call.swallow(defect)
            return False

    async def _aclose(self) -> None:
        await self._body.aclose()
        http = self._wire.response.http_response
        if http.stream is not self:
            await http.aclose()

    async def aclose(self) -> None:
        self._is_closed = True
        try:
            await self._aclose()
        finally:
            self._call.closed()


_TRANSPORT: Final = (httpx2.HTTPError, httpx2.StreamError, anthropic.APIError, OSError, EOFError)
"""What reading a stream raises; anything else is a defect of ours."""


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


def splice(response: Any, call: Call, wire: SyncWire | AsyncWire, *, is_async: bool) -> bool:
    """Puts a body into an `APIResponse` that tells a whole stream from a broken one and, over a chain, goes on. False: this
    answer is none that could be looked into, or nobody asks for it."""
    if wire.splicer is not None:
        splicer, first, rest = wire.splicer, wire.first, wire.rest
        body = response.http_response.stream
    elif wire.rest is None and call.policy.on_break is not None and is_event_stream(response.http_response):
        body = readable(response, is_async=is_async)
        splicer, first, rest = Splicer(), b"", body
    else:
        return False
    call.splicer = splicer
    response.http_response.stream = (AsyncSplicedBody if is_async else SplicedBody)(body, call, wire, splicer, first, rest)
    return True
