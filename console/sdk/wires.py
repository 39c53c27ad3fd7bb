"""The network side of the flow, in both colours: performs effects with the SDK's `call_next` and keeps what came back.

The two classes differ in where they wait and in nothing else; what an answer means is said once, below them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2

from console.core.commit import Held
from console.core.flow import Answered, Committed, Effect, Failed, Pull, Reply, Send, Stopped, Wait, Woken
from console.core.moves import retry_after_s
from console.sdk.bodies import readable, replay
from console.sdk.call import TRUNCATED, Call, kind_of

if TYPE_CHECKING:
    from anthropic import APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext

LOOK_S: Final = 0.05
"""How often a pause looks at the kill switch."""
MAX_ERROR_CHUNKS: Final = 256
"""Of a stream that ended in an error: so much is read after it, for the connection's sake."""


class _Hand:
    """What is in hand. `response`: the last answer; `error`: the last failure without one; `answers`: of a chain, every
    attempt's answer that a caller could be given in the end, by its number; `held`, `rest`: of a committed stream."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.response: Any = None
        self.error: Exception | None = None
        self.answers: dict[int, Any] = {}
        self.attempts = 0
        self.held: list[bytes] = []
        self.rest: Any = None

    def _stopped(self, effect: Send) -> Stopped | Failed | None:
        """What keeps an attempt from being made."""
        switch = self._call.stopped_by(effect.target)
        if switch is not None:
            return Stopped(switch)
        if effect.target is None:
            return None
        failed = self._call.begin_attempt(effect)
        self.attempts += failed is None
        return failed

    def _failed(self, effect: Send, error: Exception) -> Failed:
        """There is no HTTP answer."""
        self.error = error
        return Failed(kind_of(error)) if effect.target is None else self._call.attempt_failed(kind_of(error))

    def _received(self, effect: Send) -> Answered | None:
        """An HTTP answer is here. None: it has still to be read before anything can be said."""
        self.error = None
        if effect.target is None:
            return Answered(getattr(self.response, "status_code", 200))
        http = getattr(self.response, "http_response", None)
        if http is None:
            return Answered(200, now_us())
        self._call.answered(http)
        if not is_unread(http):
            return self._read(http)
        is_events = is_event_stream(http)
        if http.status_code < 400 and (is_events or self._call.is_left_unread):
            if is_events or not self._call.facts.is_streamed or "json" in http.headers.get("content-type", ""):
                self._call.guard(http)  # in any other stream nobody sees where the content begins
            return Answered(http.status_code, now_us(), is_events, is_unread=True)
        self._call.guard(http)
        return None

    def _read(self, http: httpx2.Response) -> Answered:
        """The answer was read to its end."""
        if http.status_code < 400:
            return Answered(http.status_code, now_us())
        self.answers[self.attempts - 1] = self.response
        error = error_type_of(http)
        failed = self._call.attempt_failed(error or str(http.status_code))
        headers = http.headers
        asked = retry_after_s(headers.get("retry-after"), headers.get("retry-after-ms"), time.time())
        return Answered(
            http.status_code, failed.at_us, is_changed=self._call.is_changed, error=error, retry_after_s=asked
        )  # fmt: skip

    def _broken(self, error: Exception) -> Failed:
        """Reading the body failed before the caller had any of it."""
        self.error = error
        return self._call.attempt_failed(self._call.kind_of(error))

    def _ended(self, held: Held, look: str, *, is_async: bool) -> Failed:
        """A stream that ended before its first content, with an error in band or without a word."""
        if look != "error":
            self.error = httpx2.RemoteProtocolError("the stream ended before it had any content")
            return self._call.attempt_failed(TRUNCATED)
        replay(self.response, held.chunks, is_async=is_async)
        self.answers[self.attempts - 1] = self.response
        return self._call.attempt_failed(held.error_type(), is_in_band=True)

    def _committed(self, held: Held, rest: Any) -> Committed:
        self.held, self.rest = held.chunks, rest
        return Committed(self._call.committed(held.chunks))


class SyncWire(_Hand):
    """For a blocking client."""

    response: APIResponse[Any]

    def __init__(self, call: Call, call_next: CallNext) -> None:
        super().__init__(call)
        self._call_next = call_next

    def perform(self, effect: Effect) -> Reply:
        """Performs one effect."""
        try:
            if type(effect) is Send:
                return self._send(effect)
            if type(effect) is Pull:
                return self._pull(effect)
            assert type(effect) is Wait  # noqa: S101 -- the union is closed
            return self._wait(effect.seconds)
        except Exception:
            raise
        except BaseException:
            self._call.cancelled()
            raise

    def _send(self, effect: Send) -> Reply:
        stopped = self._stopped(effect)
        if stopped is not None:
            return stopped
        try:
            self.response = self._call_next(self._call.request)
        except Exception as error:  # noqa: BLE001 -- it is raised again, to the caller, as it is
            return self._failed(effect, error)
        answered = self._received(effect)
        if answered is not None:
            return answered
        http = self.response.http_response
        try:
            http.read()
        except Exception as error:  # noqa: BLE001 -- no answer, for whatever reason
            return self._broken(error)
        return self._read(http)

    def _pull(self, effect: Pull) -> Reply:
        held, look = Held(), "held"
        rest = iter(readable(self.response, is_async=False))
        try:
            for chunk in rest:
                look = held.take(chunk)
                if look != "held":
                    break
                if effect.by_us is not None and now_us() > effect.by_us:
                    raise httpx2.ReadTimeout("no content within its limit")
            if look == "content":
                return self._committed(held, rest)
            for chunk, _ in zip(rest, range(MAX_ERROR_CHUNKS)):  # noqa: B905 -- one of them is a limit
                held.chunks.append(chunk)
        except Exception as error:  # noqa: BLE001 -- no answer, for whatever reason
            if look != "error":
                return self._broken(error)
        self.response.http_response.close()
        return self._ended(held, look, is_async=False)

    def _wait(self, seconds: float) -> Reply:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            switch = self._call.stopped_by(self._call.target)
            if switch is not None:
                return Stopped(switch)
            time.sleep(min(LOOK_S, left))
        return Woken(now_us())


class AsyncWire(_Hand):
    """For an asynchronous client."""

    response: AsyncAPIResponse[Any]

    def __init__(self, call: Call, call_next: AsyncCallNext) -> None:
        super().__init__(call)
        self._call_next = call_next

    async def perform(self, effect: Effect) -> Reply:
        """Performs one effect."""
        try:
            if type(effect) is Send:
                return await self._send(effect)
            if type(effect) is Pull:
                return await self._pull(effect)
            assert type(effect) is Wait  # noqa: S101 -- the union is closed
            return await self._wait(effect.seconds)
        except Exception:
            raise
        except BaseException:
            self._call.cancelled()
            raise

    async def _send(self, effect: Send) -> Reply:
        stopped = self._stopped(effect)
        if stopped is not None:
            return stopped
        try:
            self.response = await self._call_next(self._call.request)
        except Exception as error:  # noqa: BLE001 -- it is raised again, to the caller, as it is
            return self._failed(effect, error)
        answered = self._received(effect)
        if answered is not None:
            return answered
        http = self.response.http_response
        try:
            await http.aread()
        except Exception as error:  # noqa: BLE001 -- no answer, for whatever reason
            return self._broken(error)
        return self._read(http)

    async def _pull(self, effect: Pull) -> Reply:
        held, look = Held(), "held"
        rest = aiter(readable(self.response, is_async=True))
        try:
            async for chunk in rest:
                look = held.take(chunk)
                if look != "held":
                    break
                if effect.by_us is not None and now_us() > effect.by_us:
                    raise httpx2.ReadTimeout("no content within its limit")
            if look == "content":
                return self._committed(held, rest)
            async for chunk in rest:
                held.chunks.append(chunk)
                if len(held.chunks) > MAX_ERROR_CHUNKS:
                    break
        except Exception as error:  # noqa: BLE001 -- no answer, for whatever reason
            if look != "error":
                return self._broken(error)
        await self.response.http_response.aclose()
        return self._ended(held, look, is_async=True)

    async def _wait(self, seconds: float) -> Reply:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            switch = self._call.stopped_by(self._call.target)
            if switch is not None:
                return Stopped(switch)
            await anyio.sleep(min(LOOK_S, left))
        return Woken(now_us())


def now_us() -> int:
    """The steady clock of the flow."""
    return time.perf_counter_ns() // 1000


def is_unread(http: Any) -> bool:
    """Whether the body has still to be read."""
    return isinstance(http, httpx2.Response) and not http.is_closed and not http.is_stream_consumed


def is_event_stream(http: httpx2.Response) -> bool:
    """Whether the body is a stream of events that can be looked into."""
    return "text/event-stream" in http.headers.get("content-type", "").lower()


def error_type_of(http: httpx2.Response) -> str | None:
    """The `error.type` of an error body that has been read, or None to go by the status."""
    try:
        document = http.json()
    except Exception:  # noqa: BLE001 -- a gateway's HTML page, for example
        return None
    error = document.get("error") if isinstance(document, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) else None
