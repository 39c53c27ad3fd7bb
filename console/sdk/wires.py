"""The network side of the flow, in both colours: performs effects with the SDK's `call_next` and keeps what came back.

The two classes differ in where they wait and in nothing else; what an answer means is said once, below them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2

from console.core.calls import error_of_status
from console.core.commit import Held
from console.core.flow import Answered, Committed, Effect, Failed, Pull, Reply, Send, Stopped, Wait, Woken
from console.core.moves import LONG_BYTES, MALFORMED, error_in, retry_after_s
from console.core.splice import MALFORMED as MALFORMED_EVENT
from console.core.splice import Splicer
from console.errors import ConfigError
from console.sdk.bodies import readable, replay
from console.sdk.call import KILLED, TRUNCATED, Call, kind_of
from console.sdk.eventstream import as_events
from console.sdk.providers import unusable

if TYPE_CHECKING:
    from anthropic import APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext

    from console.core.calls import Usage
    from console.sdk.providers import Hop

LOOK_S: Final = 0.05
"""How often a pause looks at the kill switch."""
MAX_ERROR_CHUNKS: Final = 256
"""Of a stream that ended in an error: so much is read after it, for the connection's sake."""


class _Hand:
    """What is in hand. `response`: the last answer; `error`: the last failure without one; `answers`: of a chain, every
    attempt's answer that a caller could be given in the end, by its number; `held`, `rest`: of a committed stream; `splicer`,
    `first`: of one that may be continued, and what of `held` can be handed on."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.response: Any = None
        self.error: Exception | None = None
        self.answers: dict[int, Any] = {}
        self.attempts = 0
        self.held: list[bytes] = []
        self.rest: Any = None
        self.splicer: Splicer | None = None
        self.first = b""
        self._before: Splicer | None = None
        """Of the stream before this one, of which the caller has had nothing, and which is billed all the same."""
        self._looked: Splicer | None = None

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

    def _late(self) -> Stopped | None:
        """A switch that has come while the target's client was being made: nothing was sent."""
        switch = self._call.stopped_by_now()
        if switch is None:
            return None
        self.attempts -= 1
        return Stopped(switch)

    def _failed(self, effect: Send, error: Exception) -> Failed:
        """There is no HTTP answer."""
        self.error = error
        if effect.target is not None and self._call.is_unsigned(error):
            self.attempts -= 1
            return self._call.unsent(unusable(effect.target, error))
        return Failed(kind_of(error)) if effect.target is None else self._call.attempt_failed(kind_of(error))

    def _unsent(self, effect: Send, error: ConfigError) -> Failed:
        """No request could be made for the target."""
        if self._call.hop is None:
            return self._failed(effect, error)
        self.attempts -= 1
        return self._call.unsent(error)

    def _received(self, effect: Send) -> Answered | Failed | Stopped | None:
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
        if http.status_code < 400 and (is_events or self._call.is_left_unread) and not is_page(http):
            if is_events or not self._call.facts.is_streamed or "json" in http.headers.get("content-type", ""):
                self._call.guard(http)  # in any other stream nobody sees where the content begins
            return Answered(http.status_code, now_us(), is_events, is_unread=True)
        self._call.guard(http)
        return None

    def _read(self, http: httpx2.Response) -> Answered | Failed | Stopped:
        """The answer was read to its end."""
        if (stopped := self._killed()) is not None:
            return stopped
        if http.status_code < 400:
            if is_page(http) or not (self._call.facts.is_streamed or holds_json(http)):
                self.error = httpx2.DecodingError(f"status {http.status_code}, and no answer in it")
                return self._call.attempt_failed(self._call.ended_as(MALFORMED) or MALFORMED)
            return Answered(http.status_code, now_us())
        self.answers[self.attempts - 1] = self.response
        error = error_type_of(http)
        failed = self._call.attempt_failed(error or error_of_status(http.status_code))
        headers = http.headers
        asked = retry_after_s(headers.get("retry-after"), headers.get("retry-after-ms"), time.time())
        return Answered(
            http.status_code,
            failed.at_us,
            is_changed=self._call.is_changed,
            is_long=is_long(http),
            error=error,
            retry_after_s=asked,
        )

    def _broken(self, error: Exception, held: Held | None = None) -> Failed | Stopped:
        """Reading the body failed before the caller had any of it. `held`: what came, of a stream."""
        if self._call.is_over:  # the caller has closed the stream: that is nobody's failure
            raise error
        lost = None if held is None else self._lost(held)
        if (stopped := self._killed(lost)) is not None:
            return stopped
        self.error = error
        return self._call.attempt_failed(self._call.kind_of(error), usage=lost)

    def _killed(self, lost: Usage | None = None) -> Stopped | None:
        """A switch has ended the attempt in the middle."""
        switch = self._call.killed_by
        if switch is None:
            return None
        self._call.attempt_failed(KILLED, usage=lost)
        return Stopped(switch, is_sent=True)

    def _ended(self, held: Held, look: str, *, is_async: bool) -> Failed | Stopped:
        """A stream that ended before its first content, with an error in band or without a word."""
        lost = self._lost(held)
        if (stopped := self._killed(lost)) is not None:
            return stopped
        if look == "malformed":
            self.error = httpx2.RemoteProtocolError("the stream holds an event that cannot be read")
            return self._call.attempt_failed(MALFORMED_EVENT, usage=lost)
        if look != "error":
            self.error = httpx2.RemoteProtocolError("the stream ended before it had any content")
            return self._call.attempt_failed(self._call.ended_as(TRUNCATED) or TRUNCATED, usage=lost)
        replay(self.response, held.failure(), is_async=is_async)
        self.answers[self.attempts - 1] = self.response
        return self._call.attempt_failed(held.error_type(), is_in_band=True, usage=lost)

    def _committed(self, held: Held, rest: Any) -> Committed | str:
        """The first content is there; or with it, before the caller has had any, something that breaks the stream: then what,
        "error" (the API says so) or "malformed"."""
        try:
            splicer = self._looked_into(held)
        except Exception as defect:  # noqa: BLE001 -- of ours: then the caller gets it as it comes
            self._call.swallow(defect)
            splicer = None
        is_new = self._call.splicer is None
        if splicer is not None and splicer.broken is not None and (is_new or not self.first):
            return "malformed" if splicer.broken == MALFORMED_EVENT else "error"
        self.splicer = splicer
        self.held, self.rest = held.chunks, rest
        return Committed(self._call.committed(held.chunks, is_spliced=splicer is not None))

    def _looked_into(self, held: Held) -> Splicer:
        """What the beginning of a stream says. Of a stream that goes on, what can be handed on is handed on for good."""
        splicer = self._call.splicer
        if splicer is None:
            splicer = Splicer(self._before)
        else:
            splicer.resume()
        self._looked = splicer
        self.first = splicer.take(b"".join(held.chunks))
        return splicer

    def _lost(self, held: Held) -> Usage | None:
        """What an attempt is billed whose stream broke before its first content; it counts for the call."""
        going_on = self._call.splicer
        try:
            if self._looked is not None:
                splicer = self._looked
            elif going_on is None:
                splicer = self._looked_into(held)
            else:  # what the caller has of the answer stays as it is
                splicer = Splicer()
                splicer.take(b"".join(held.chunks))
                going_on.bill(splicer)
        except Exception as defect:  # noqa: BLE001 -- of ours: then it is not known
            self._call.swallow(defect)
            return None
        if going_on is None:
            self._before = splicer
        return splicer.usage()

    def _is_enough(self, look: str, by_us: int | None) -> bool:
        """Whether nothing more need be held. Raises ReadTimeout when it takes too long."""
        if look != "held":
            return True
        if by_us is not None and now_us() > by_us:
            raise httpx2.ReadTimeout("no content within its limit")
        return False


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
        if stopped is None and self._call.hop is not None:
            stopped = self._prepared(self._call.hop)
        if stopped is not None:
            return stopped
        try:
            hop, request = self._call.hop, self._call.request
            self.response = self._call_next(request) if hop is None else hop.send(request)
            if effect.target is not None:
                self.response = as_events(self.response, request, is_async=False)
        except ConfigError as error:
            return self._unsent(effect, error)
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

    def _prepared(self, hop: Hop) -> Stopped | None:
        """Waits for the target's client."""
        is_ready = False
        while not is_ready:
            is_ready = hop.is_ready(LOOK_S)
            if (late := self._late()) is not None:
                return late
        return None

    def _pull(self, effect: Pull) -> Reply:
        held, self._looked = Held(), None
        look: str = "held"
        rest = iter(readable(self.response, is_async=False))
        try:
            for chunk in rest:
                look = held.take(chunk)
                if self._is_enough(look, effect.by_us):
                    break
            if look == "content":
                committed = self._committed(held, rest)
                if isinstance(committed, Committed):
                    return committed
                look = committed
            for _, chunk in zip(range(MAX_ERROR_CHUNKS if look == "error" else 0), rest):  # noqa: B905 -- one of them is a limit
                held.chunks.append(chunk)
        except Exception as error:  # noqa: BLE001 -- no answer, for whatever reason
            if look != "error":
                return self._broken(error, held)
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
        if stopped is None and self._call.hop is not None:
            stopped = await self._prepared(self._call.hop)
        if stopped is not None:
            return stopped
        try:
            hop, request = self._call.hop, self._call.request
            self.response = await (self._call_next(request) if hop is None else hop.send_async(request))
            if effect.target is not None:
                self.response = as_events(self.response, request, is_async=True)
        except ConfigError as error:
            return self._unsent(effect, error)
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

    async def _prepared(self, hop: Hop) -> Stopped | None:
        """Waits for the target's client."""
        is_ready = False
        while not is_ready:
            is_ready = await hop.is_ready_async(LOOK_S)
            if (late := self._late()) is not None:
                return late
        return None

    async def _pull(self, effect: Pull) -> Reply:
        held, self._looked = Held(), None
        look: str = "held"
        rest = aiter(readable(self.response, is_async=True))
        try:
            async for chunk in rest:
                look = held.take(chunk)
                if self._is_enough(look, effect.by_us):
                    break
            if look == "content":
                committed = self._committed(held, rest)
                if isinstance(committed, Committed):
                    return committed
                look = committed
            if look == "error":
                async for chunk in rest:
                    held.chunks.append(chunk)
                    if len(held.chunks) > MAX_ERROR_CHUNKS:
                        break
        except Exception as error:  # noqa: BLE001 -- no answer, for whatever reason
            if look != "error":
                return self._broken(error, held)
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


def is_page(http: httpx2.Response) -> bool:
    """Whether a good answer is a page for people: a gateway's, a proxy's, a login's."""
    return http.headers.get("content-type", "").lower().startswith(_PAGES) and not is_event_stream(http)


def holds_json(http: httpx2.Response) -> bool:
    """Whether a plain answer that was read looks like a whole JSON object. It is parsed once, for the caller; this is a look at
    its first and last byte."""
    content = http.content
    return http.status_code != 200 or (content[:64].lstrip()[:1] == b"{" and content[-64:].rstrip()[-1:] == b"}")


def is_long(http: httpx2.Response) -> bool:
    """Whether the request had the size of a prompt that may be too long for a model."""
    try:
        return int(http.request.headers.get("content-length", 0)) >= LONG_BYTES
    except ValueError:
        return False


def error_type_of(http: httpx2.Response) -> str | None:
    """What an error body that has been read says of itself (`moves.error_in`), or None to go by the status."""
    try:
        document = http.json()
    except Exception:  # noqa: BLE001 -- a gateway's HTML page, for example
        return None
    return error_in(document.get("error")) if isinstance(document, dict) else None


_PAGES: Final = ("text/html", "text/xml", "application/xhtml", "application/xml")
"""Not plain text: some servers call a stream that, and one that is none has no event."""
