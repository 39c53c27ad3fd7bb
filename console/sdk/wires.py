"""The network side of the flow, in both colours: performs effects with the SDK's `call_next` and keeps what came back."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import httpx2

from console.core.flow import Answered, Discard, Discarded, Effect, Failed, Reply, Send, Stopped, Wait, Woken
from console.sdk.call import Call, kind_of

if TYPE_CHECKING:
    from anthropic import APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext

LOOK_S: Final = 0.05
"""How often a pause looks at the kill switch."""


class SyncWire:
    """For a blocking client. After the flow: `response`, or `error` to be raised."""

    def __init__(self, call: Call, call_next: CallNext) -> None:
        self._call, self._call_next = call, call_next
        self.response: APIResponse[Any]
        self.error: Exception | None = None

    def perform(self, effect: Effect) -> Reply:
        """Performs one effect."""
        if type(effect) is Send:
            switch = self._call.stopped_by()
            if switch is not None:
                return Stopped(switch)
            try:
                self.response = self._call_next(self._call.request)
            except Exception as error:  # noqa: BLE001 -- it is raised again, to the caller, as it is
                self.error = error
                return Failed(kind_of(error))
            except BaseException:
                self._call.cancelled()
                raise
            return Answered(getattr(self.response, "status_code", 200))
        if type(effect) is Wait:
            return self._wait(effect.seconds)
        assert type(effect) is Discard  # noqa: S101 -- the union is closed
        with suppress(Exception):  # reading out only saves the connection
            self.response.http_response.read()
        del self.response
        return Discarded()

    def _wait(self, seconds: float) -> Reply:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            switch = self._call.stopped_by()
            if switch is not None:
                return Stopped(switch)
            time.sleep(min(LOOK_S, left))
        return Woken()


class AsyncWire:
    """For an asynchronous client. After the flow: `response`, or `error` to be raised."""

    def __init__(self, call: Call, call_next: AsyncCallNext) -> None:
        self._call, self._call_next = call, call_next
        self.response: AsyncAPIResponse[Any]
        self.error: Exception | None = None

    async def perform(self, effect: Effect) -> Reply:
        """Performs one effect."""
        if type(effect) is Send:
            switch = self._call.stopped_by()
            if switch is not None:
                return Stopped(switch)
            try:
                self.response = await self._call_next(self._call.request)
            except Exception as error:  # noqa: BLE001 -- it is raised again, to the caller, as it is
                self.error = error
                return Failed(kind_of(error))
            except BaseException:
                self._call.cancelled()
                raise
            return Answered(getattr(self.response, "status_code", 200))
        if type(effect) is Wait:
            return await self._wait(effect.seconds)
        assert type(effect) is Discard  # noqa: S101 -- the union is closed
        with suppress(Exception):  # reading out only saves the connection
            await self.response.http_response.aread()
        del self.response
        return Discarded()

    async def _wait(self, seconds: float) -> Reply:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            switch = self._call.stopped_by()
            if switch is not None:
                return Stopped(switch)
            await asyncio.sleep(min(LOOK_S, left))
        return Woken()


def is_unread(http: Any) -> bool:
    """Whether the caller is going to read the body: a stream, or `with_streaming_response`."""
    return isinstance(http, httpx2.Response) and not http.is_closed and not http.is_stream_consumed
