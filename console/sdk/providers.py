"""Targets at other providers, and at places to which the application's own client does not go: each is asked with an SDK client
made here. Bedrock, Vertex and the rest build their own URLs, sign their own requests and find their own credentials; nothing of
that is done twice. What stays ours: which headers may go along, one HTTP attempt without retries, and the answer unread.

Making a client can take long (an import of boto3, a metadata server that does not answer) and is done once a process and place,
by a thread of its own, beginning when a chain is first used. It ends with a rehearsal: a request that never leaves the process,
in which the SDK resolves the place, finds the credentials and signs. So a target without credentials is known, and said, before
it is needed; it is out for whoever asks, and nothing else is. Asynchronous clients belong to the event loop that made them, and
go when it is closed.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anthropic
import anyio
import anyio.to_thread
import httpx2
from anyio.lowlevel import RunVar

from console.core.redaction import redact
from console.core.targets import EXTRAS, KEY_OF_CLIENT, model_at
from console.core.text import line
from console.errors import ConfigError, Mistake
from console.sdk.keys import read_key
from console.sdk.requests import is_allowed, within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic._request import APIRequest

    from console.core.flow import Plan
    from console.core.targets import Target
    from console.runtime.process import Runtime
    from console.sdk.clients import Client

PREPARE_S: Final = 5.0
"""So long after its beginning the making of a client is waited for. A call that needs it later goes on to its next target at
once, until it is there."""
AGAIN_S: Final = 30.0
"""After so long a client that could not be made is tried again, and one whose key was refused is made anew."""
MAX_FEATURES: Final = 1_000
MAX_WHY: Final = 160
MAX_READ: Final = 2_000
"""Of what an exception says: so much is looked through for secrets."""

_BLOCKING: Final[dict[str, Any]] = {
    "anthropic": anthropic.Anthropic,
    "bedrock": anthropic.AnthropicBedrock,
    "bedrock-mantle": anthropic.AnthropicBedrockMantle,
    "vertex": anthropic.AnthropicVertex,
    "aws": anthropic.AnthropicAWS,
    "google-cloud": anthropic.AnthropicGoogleCloud,
    "foundry": anthropic.AnthropicFoundry,
}
_AWAITING: Final[dict[str, Any]] = {
    "anthropic": anthropic.AsyncAnthropic,
    "bedrock": anthropic.AsyncAnthropicBedrock,
    "bedrock-mantle": anthropic.AsyncAnthropicBedrockMantle,
    "vertex": anthropic.AsyncAnthropicVertex,
    "aws": anthropic.AsyncAnthropicAWS,
    "google-cloud": anthropic.AsyncAnthropicGoogleCloud,
    "foundry": anthropic.AsyncAnthropicFoundry,
}
_NAMES: Final[dict[str, Mapping[str, str]]] = {
    "anthropic": {"profile": "profile"},
    "bedrock": {"region": "aws_region", "profile": "aws_profile"},
    "bedrock-mantle": {"region": "aws_region", "profile": "aws_profile"},
    "vertex": {"region": "region", "project": "project_id"},
    "aws": {"region": "aws_region", "profile": "aws_profile", "workspace": "workspace_id"},
    "google-cloud": {"region": "location", "project": "project", "workspace": "workspace_id"},
    "foundry": {"resource": "resource"},
}
"""What a target's fields are called by each SDK client."""

Place = tuple[str | None, ...]


class _Made(NamedTuple):
    """A client that is ready, and what a twin of it for another event loop is made of."""

    client: Any
    settings: dict[str, Any]
    at: float


class _Making:
    """A client that is being made, has been made, or could not be."""

    def __init__(self) -> None:
        self.future: Future[_Made] = Future()
        self.at = time.monotonic()
        """When it began, or failed."""

    @property
    def is_to_be_tried_again(self) -> bool:
        """Whether it failed long ago."""
        return self.future.done() and self.future.exception() is not None and time.monotonic() - self.at > AGAIN_S


class _Twins(dict[Place, tuple[_Made, Any]]):
    """The asynchronous clients of one event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = anyio.CapacityLimiter(1)
        """They are made in a thread beside the application's own, which may all be busy, and one after the other."""

    def get_or_make(self, target: Target, made: _Made) -> Any:
        """The one that belongs to `made`."""
        place = _place(target)
        known = self.get(place)
        if known is None or known[0] is not made:
            known = self[place] = made, _async_client(_AWAITING[target.provider], made.settings)
        return known[1]


class Hop:
    """The way to a target that the application's own client does not serve, for one attempt of one call. It is asked whether it
    `is_ready` until it says so, and then sent through: who asks can look at the kill switch in between."""

    __slots__ = ("_making", "_providers", "began", "limit_s", "target")

    def __init__(self, providers: Providers, target: Target, making: _Making, limit_s: float | None) -> None:
        self._providers, self._making = providers, making
        self.target, self.limit_s, self.began = target, limit_s, time.monotonic()

    def is_ready(self, wait_s: float) -> bool:
        """Whether there is nothing to wait for any more: the target's client is there, or will not be in time. Waits for that,
        `wait_s` at most."""
        if (left_s := self._left_s()) > 0:
            with suppress(TimeoutError):
                self._making.future.exception(min(wait_s, left_s))
        return self._left_s() <= 0

    async def is_ready_async(self, wait_s: float) -> bool:
        """The same for an asynchronous client. Nothing here waits on the event loop, or in a thread of the application's. Never
        raises an Exception: what is the matter is said by `send_async`."""
        if (left_s := self._left_s()) > 0:
            await anyio.sleep(min(wait_s, left_s))
        if self._left_s() > 0:
            return False
        future = self._making.future
        if future.done() and future.exception() is None:
            with suppress(Exception):
                await self._providers.twin(self.target, future.result())
        return True

    def _left_s(self) -> float:
        """How long its client may still be waited for."""
        if self._making.future.done():
            return 0.0
        until = self._making.at + PREPARE_S
        return (until if self.limit_s is None else min(until, self.began + self.limit_s)) - time.monotonic()

    @property
    def made(self) -> _Made:
        """The target's client. Raises ConfigError when it is not there."""
        future = self._making.future
        if not future.done():
            why = "its client is still being made: are its credentials looked up where nobody answers?"
            raise ConfigError((Mistake(self.target.provider, 0, 0, why),))
        problem = future.exception()
        if problem is not None:  # told anew: one exception for all would keep the frames of every call that it has met
            raise ConfigError(getattr(problem, "mistakes", ()))
        return future.result()

    def send(self, request: APIRequest) -> Any:
        """`Providers.send`."""
        return self._providers.send(self, request)

    async def send_async(self, request: APIRequest) -> Any:
        """`Providers.send_async`."""
        return await self._providers.send_async(self, request)


def probing_client(target: Target) -> Any:
    """A blocking client of the target's own for a question now and then, to be closed afterwards. Looking up credentials may
    take long. Raises ConfigError when there can be none."""
    try:
        return _client(_BLOCKING[target.provider], _prepared(target).settings, _as_it_is)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 -- as in `_make`
        raise unusable(target, error) from None


class Providers:
    """The clients of one middleware for the targets that are not the application's own client's."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pid = os.getpid()
        self._known: dict[Place, _Making] = {}
        self._twins: RunVar[_Twins] = RunVar("console_provider_clients")
        self._loops: dict[asyncio.AbstractEventLoop, _Twins] = {}
        """Connections hold their event loop: without an end made to it, one that is closed would live on with them."""
        self._expected: dict[str, Plan] = {}

    def is_own(self, target: Target, client: Client | None) -> bool:
        """Whether the application's own client asks the target. A model that was only named is asked there, whatever the
        client; a plain Anthropic client can be sent to another host as well."""
        if not target.is_configured or client is None:
            return not target.is_configured or target.provider == "anthropic"
        if target.provider != client.provider:
            return False
        if target.provider == "anthropic":
            return target.profile is None
        return not target.has_place

    def hop(self, target: Target, client: Client | None, limit_s: float | None) -> Hop | None:
        """How to reach the target; None: with the application's own client."""
        return None if self.is_own(target, client) else Hop(self, target, self._making(target), limit_s)

    def expect(self, feature: str, plan: Plan, client: Client | None) -> None:
        """A call of the feature begins. What its chain may need is made in the background, so that it is there when the first
        target fails. Never raises, never waits."""
        self._look_for_fork()
        if self._expected.get(feature) is plan:
            return
        if len(self._expected) >= MAX_FEATURES:
            self._expected.clear()
        self._expected[feature] = plan
        try:
            for target in plan.targets:
                if not self.is_own(target, client):
                    self._making(target)
        except Exception as error:  # noqa: BLE001 -- it is made when it is needed, or the call goes on to its next target
            self._runtime.swallow(error)

    def send(self, hop: Hop, request: APIRequest) -> Any:
        """One HTTP attempt: an `APIResponse` of whatever status, not read yet. Raises what the SDK raises for a failed
        connection, and ConfigError when the request could not be made: then nothing was sent. The hop's limit is for all of
        it, from when the hop was made."""
        made = hop.made
        options = _own(request, hop.began, hop.limit_s)
        try:
            found = made.client.request(request.cast_to, options, stream=request.stream, stream_cls=request.stream_cls)
        except anthropic.APIConnectionError:
            raise
        except Exception as error:
            raise self._unsent(hop.target, error) from error
        return self._received(hop.target, made, found)

    async def send_async(self, hop: Hop, request: APIRequest) -> Any:
        """The same for an asynchronous client. Nothing here waits on the event loop."""
        made = hop.made
        options = _own(request, hop.began, hop.limit_s)
        try:
            client = await self.twin(hop.target, made)
            found = await client.request(request.cast_to, options, stream=request.stream, stream_cls=request.stream_cls)
        except anthropic.APIConnectionError:
            raise
        except Exception as error:
            raise self._unsent(hop.target, error) from error
        return self._received(hop.target, made, found)

    def close(self) -> None:
        """Lets go of all clients. One that a stream is still being read from lives on with it."""
        self._known, self._expected = {}, {}
        for twins in self._loops.values():
            twins.clear()

    # -- making --------------------------------------------------------------------------------------------------------

    def _making(self, target: Target) -> _Making:
        """The client of a target, or the beginning of one. No lock: a process that forks could leave one held for ever."""
        self._look_for_fork()
        place = _place(target)
        known = self._known.get(place)
        if known is not None and not known.is_to_be_tried_again:
            return known
        fresh = _Making()
        if known is None:
            known = self._known.setdefault(place, fresh)
        else:
            self._known[place] = known = fresh
        if known is fresh:
            thread = threading.Thread(target=self._make, args=(target, fresh), name="console-provider", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread can be started now
                fresh.future.set_exception(unusable(target, error))
        return known

    def _look_for_fork(self) -> None:
        """A child has none of its parent's threads, and connections of its own."""
        if self._pid != os.getpid():
            self._known, self._expected, self._pid = {}, {}, os.getpid()

    def _make(self, target: Target, making: _Making) -> None:
        try:
            made = _prepared(target)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, nobody may wait for it in vain
            making.at = time.monotonic()
            problem = error if isinstance(error, ConfigError) else unusable(target, error)
            making.future.set_exception(problem)
            self._runtime.note_unusable(target.name, str(problem))
        else:
            self._runtime.note_usable(target.name)
            making.future.set_result(made)

    async def twin(self, target: Target, made: _Made) -> Any:
        """The asynchronous client of this event loop."""
        twins = self._twins.get(None)
        if twins is None:
            twins = _Twins()
            self._twins.set(twins)
        known = twins.get(_place(target))
        if known is not None and known[0] is made:
            return known[1]
        self._keep_track(twins)
        return await anyio.to_thread.run_sync(twins.get_or_make, target, made, limiter=twins.thread)

    def _keep_track(self, twins: _Twins) -> None:
        """Notes whose they are, and lets go of those whose event loop is closed."""
        for loop in list(self._loops):
            if loop.is_closed() and (over := self._loops.pop(loop, None)) is not None:
                over.clear()
        with suppress(RuntimeError):  # not asyncio's: Trio's connections do not hold what they run on
            self._loops[asyncio.get_running_loop()] = twins

    # -- what came back ------------------------------------------------------------------------------------------------

    def _received(self, target: Target, made: _Made, found: Any) -> Any:
        response = found.response if isinstance(found, _Kept) else found
        status = getattr(response, "status_code", 200)
        if status in (401, 403) and time.monotonic() - made.at > AGAIN_S:  # the key may have been changed since
            self._known.pop(_place(target), None)
        return response

    def _unsent(self, target: Target, error: Exception) -> ConfigError:
        """What a failed connection is not, happened before anything was sent: no credentials, no signature, no project."""
        self._known.pop(_place(target), None)
        return unusable(target, error)


class _Kept:
    """An answer on its way through the SDK's `request`, which would raise for a bad status after reading all of the body, and
    parse a good one. What a middleware returns that is no `APIResponse` it hands back as it is."""

    __slots__ = ("response",)

    def __init__(self, response: Any) -> None:
        self.response = response


def _keep(request: Any, call_next: Any) -> Any:
    return _Kept(call_next(request))


def _as_it_is(request: Any, call_next: Any) -> Any:
    return call_next(request)


async def _keep_async(request: Any, call_next: Any) -> Any:
    return _Kept(await call_next(request))


def _place(target: Target) -> Place:
    """Targets that differ only in their model share a client."""
    return (
        target.provider,
        target.base_url,
        target.region,
        target.project,
        target.workspace,
        target.resource,
        target.profile,
        target.api_key,
    )


def _own(request: APIRequest, began: float, limit_s: float | None) -> Any:
    """The options of the one attempt, with what is left of its time."""
    changes: dict[str, Any] = {"max_retries": 0}
    waited_s = time.monotonic() - began
    if limit_s is not None and waited_s > 0.01:
        changes["timeout"] = within(request.options.timeout, max(0.001, limit_s - waited_s))  # type: ignore[arg-type]
    return request.options.model_copy(update=changes)


def _prepared(target: Target) -> _Made:
    """A blocking client that has shown that it can make a request. Raises whatever keeps it from that."""
    settings = _settings(target)
    make = _BLOCKING[target.provider]
    rehearsing = make(
        **settings, max_retries=0, open_telemetry=False, http_client=httpx2.Client(transport=httpx2.MockTransport(_rehearsed))
    )
    rehearsing.messages.create(
        model=model_at(target.provider, target.model), max_tokens=1, messages=[{"role": "user", "content": "rehearsal"}]
    )
    credentials = getattr(rehearsing, "google_credentials", None)
    if target.provider == "vertex":
        credentials = rehearsing.credentials
    if credentials is not None:  # once for all clients
        settings["credentials"] = credentials
    return _Made(_client(make, settings, _keep), settings, time.monotonic())


def _settings(target: Target) -> dict[str, Any]:
    """The arguments of the SDK's client. Raises ConfigError when a key cannot be read."""
    settings: dict[str, Any] = {} if target.base_url is None else {"base_url": target.base_url}
    for field, name in _NAMES[target.provider].items():
        value = getattr(target, field)
        if value is not None:
            settings[name] = value
    if target.api_key == KEY_OF_CLIENT:
        why = "api_key: client is for targets of the application's own client; write env:NAME or file:PATH, or nothing"
        raise ConfigError((Mistake(target.provider, 0, 0, why),))
    if target.api_key is not None:
        key = read_key(target.api_key)
        if target.provider == "vertex":
            settings["access_token"] = key
        elif target.provider == "google-cloud":
            settings["token_provider"] = partial(read_key, target.api_key)
        else:
            settings["api_key"] = key
    return settings


def _client(make: Any, settings: dict[str, Any], keep: Any) -> Any:
    client = make(**settings, max_retries=0, open_telemetry=False, middleware=[keep])
    # What ANTHROPIC_CUSTOM_HEADERS adds for a gateway of the application's own is a secret to everybody else, and an
    # `Authorization` in it would even take the place of the provider's.
    own = client._custom_headers  # noqa: SLF001 -- nothing public tells it from the credentials
    client._custom_headers = {name: value for name, value in own.items() if is_allowed(name)}  # noqa: SLF001
    return client


def _async_client(make: Any, settings: dict[str, Any]) -> Any:
    # Not with the HTTP client that the SDK makes by itself: that one closes its connections when it is collected, on whatever
    # event loop runs then, and theirs may be gone.
    return _client(make, {**settings, "http_client": anthropic.DefaultAsyncHttpxClient()}, _keep_async)


def _rehearsed(request: httpx2.Request) -> httpx2.Response:
    """The answer to a rehearsal, from nobody."""
    message = {"id": "msg_0", "type": "message", "role": "assistant", "model": "none", "content": [], "stop_reason": "end_turn"}
    usage = {"input_tokens": 0, "output_tokens": 0}
    return httpx2.Response(200, json={**message, "stop_sequence": None, "usage": usage}, request=request)


def unusable(target: Target, error: BaseException) -> ConfigError:
    """Why a request to the target cannot be made, and what helps, without any part of a secret."""
    extra = EXTRAS.get(target.provider)
    text = str(error)
    if extra is not None and (isinstance(error, ImportError) or "missing required dependency" in text):
        why = f"its libraries are not installed: pip install 'claude-incident-console[{extra}]'"
    else:
        why = f"{type(error).__name__}: {line(redact(' '.join(text[:MAX_READ].split())), MAX_WHY)}"
    return ConfigError((Mistake(target.provider, 0, 0, why),))
