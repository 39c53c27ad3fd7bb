"""Asking targets whether they are well: one token count each, all at the same time, within a deadline. See `core.health`.

`ask` and `ask_async` are what a probe is; `Checkup` is `console.health()` of an application. A probe is none of the calls: it
is neither recorded, nor counted by a breaker, nor stopped by a switch, and it never goes through a chain.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anthropic
import anyio
import anyio.to_thread
from anthropic import Anthropic, AnthropicError, APIConnectionError, APIResponseValidationError, APIStatusError, AsyncAnthropic
from anthropic._base_client import AsyncAPIClient

from console.core.calls import DEFAULT_FEATURE, error_of_status
from console.core.health import (
    DEFAULT_MODEL,
    NO_CREDENTIALS,
    NO_PROBE,
    UNUSABLE,
    Asked,
    Health,
    judged,
    questions,
    slow_s,
    weighed,
)
from console.core.redaction import clean_name, redact
from console.core.switches import stopping
from console.core.targets import KEY_OF_CLIENT, model_at
from console.core.text import line
from console.errors import ConfigError
from console.runtime.clock import now_us
from console.sdk.call import kind_of
from console.sdk.clients import provider_of_client
from console.sdk.providers import probing_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from console.core.targets import Routing, Target
    from console.runtime.process import Runtime
    from console.sdk.clients import Clients

log = logging.getLogger("console")

LEAST_AGE_S: Final = 1.0
"""So long at least an answer is kept, whatever `max_age_s` says: a health endpoint must not become a load."""
MAX_SAID: Final = 120
_QUESTION: Final[list[Any]] = [{"role": "user", "content": "health"}]


def ask(target: Target, own: Any, timeout_s: float, *, is_application: bool) -> Asked:
    """Asks a target, blocking. `own`: the application's client, None: one made from this process' environment. Never raises."""
    started = time.perf_counter()
    made: Any = None
    try:
        found = _client_for(target, own)
        if isinstance(found, Asked):
            return found
        made = found if found is not own else None
        changes = {} if target.base_url is None or not _goes_along(target) else {"base_url": target.base_url}
        client = found.with_options(max_retries=0, timeout=timeout_s, **changes)
        started = time.perf_counter()
        raw = client.messages.with_raw_response.count_tokens(model=_model(target, client), messages=_QUESTION)
        return _answered(raw, raw.parse(), started)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the probe has found
        return found_by(error, target, started, is_application=is_application)
    finally:
        if made is not None:
            made.close()


async def ask_async(target: Target, own: Any, timeout_s: float) -> Asked:
    """The same with an application's asynchronous client, for a target of its own. Never raises an Exception."""
    started = time.perf_counter()
    try:
        client = own.with_options(max_retries=0, timeout=timeout_s)
        raw = await client.messages.with_raw_response.count_tokens(model=_model(target, client), messages=_QUESTION)
        return _answered(raw, await _got(raw.parse()), started)
    except Exception as error:  # noqa: BLE001 -- as above
        return found_by(error, target, started, is_application=True)


async def _got(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value


def _model(target: Target, client: Any) -> str:
    """A model that was only named is called what the application calls it."""
    return model_at(provider_of_client(client), target.model) if target.is_configured else target.model


def _answered(raw: Any, counted: Any, started: float) -> Asked:
    request_id = _clean(raw.headers.get("request-id"))
    latency_ms = _since(started)
    if not isinstance(getattr(counted, "input_tokens", None), int):
        return Asked("malformed", raw.status_code, latency_ms, request_id, "the answer is none of the API's")
    return Asked(None, raw.status_code, latency_ms, request_id)


def found_by(error: Exception, target: Target, started: float, *, is_application: bool) -> Asked:
    """What a probe that ended in an exception has found; no part of a secret, nothing that a terminal would obey."""
    if isinstance(error, APIStatusError):
        kind = _clean(error.type) or error_of_status(error.status_code)
        body = error.body if isinstance(error.body, dict) else {}
        inner = body.get("error")
        said = inner.get("message") if isinstance(inner, dict) else None
        return Asked(kind, error.status_code, _since(started), _clean(error.request_id), None if said is None else _line(said))
    if isinstance(error, APIConnectionError):
        return Asked(kind_of(error), None, _since(started))
    return _not_asked(error, target, is_application=is_application) or _odd(error, started)


def _not_asked(error: Exception, target: Target, *, is_application: bool) -> Asked | None:
    """Why nothing could be asked; None: something was."""
    if isinstance(error, ConfigError):
        return Asked(UNUSABLE if is_application else NO_CREDENTIALS, said=_line(error))
    if isinstance(error, anthropic.CredentialsError) or (
        isinstance(error, TypeError) and "authentication method" in str(error)
    ):
        return Asked(
            NO_CREDENTIALS, said="no credentials here for it; the SDK looks at ANTHROPIC_API_KEY and its other sources"
        )
    if isinstance(error, AnthropicError) and "not supported" in str(error):
        return Asked(NO_PROBE, said=f"not probed: counting tokens is not offered on {target.provider}")
    return None


def _odd(error: Exception, started: float) -> Asked:
    if isinstance(error, APIResponseValidationError | ValueError):
        return Asked("malformed", None, _since(started), None, "the answer is none of the API's")
    return Asked(kind_of(error), None, _since(started), None, _line(error))


def _client_for(target: Target, own: Any) -> Any:
    """A blocking client that reaches the target, or why there is none. Raises ConfigError, and what the SDK raises."""
    if not _is_own(target, own) and not _goes_along(target):
        return probing_client(_as_called(target, own))
    if own is None:
        return Anthropic(open_telemetry=False)
    return _twin(own) if isinstance(own, AsyncAPIClient) else own


def _as_called(target: Target, own: Any) -> Target:
    """The target with the address that calls of the application's client go to: its key is for no other."""
    if target.provider != "anthropic" or target.base_url is not None or target.profile is not None:
        return target
    return replace(target, base_url=str(own.base_url)) if type(own) in (Anthropic, AsyncAnthropic) else target


def _is_own(target: Target, own: Any) -> bool:
    """Whether the application's client asks the target as it is."""
    return not target.is_configured or (not target.has_place and target.provider == provider_of_client(own))


def _goes_along(target: Target) -> bool:
    """Whether the application's client asks it at another address."""
    return target.provider == "anthropic" and target.api_key == KEY_OF_CLIENT


def _twin(client: Any) -> Any:
    """A blocking client like an asynchronous one, or why there is none."""
    if not isinstance(client, AsyncAnthropic) or (client.api_key is None and client.auth_token is None):
        return Asked(NO_PROBE, said="not probed: the application's client is asynchronous; use `await console.health_async()`")
    return Anthropic(
        **({"api_key": client.api_key} if client.api_key is not None else {"auth_token": client.auth_token}),
        base_url=client.base_url,
        default_headers=client._custom_headers,  # noqa: SLF001 -- what a gateway needs; it goes to the same place
        open_telemetry=False,
    )


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _clean(text: object) -> str | None:
    return clean_name(str(line(text))) if text else None


def _line(said: object) -> str:
    return line(redact(" ".join(str(said)[:2_000].split())), MAX_SAID)


def too_late(timeout_s: float) -> Asked:
    """What is known of a target that has not answered within the deadline."""
    return Asked("timeout", None, round(timeout_s * 1000, 1), None, f"nothing within {timeout_s:g} s")


def ask_all(
    targets: Iterable[Target],
    how: Callable[[Target], Asked],
    timeout_s: float,
    running: dict[str, threading.Thread] | None = None,
    told: Callable[[str, Asked], None] = lambda name, asked: None,
) -> dict[str, Asked]:
    """Asks all targets at once, each in a thread, for `timeout_s` at most. `running`: threads of earlier times that may still
    hang; their targets are not asked again. `told` gets each answer as it comes, in the caller's thread."""
    running = {} if running is None else running
    answers: SimpleQueue[tuple[str, Asked]] = SimpleQueue()
    found: dict[str, Asked] = {}
    waiting = set()
    for target in targets:
        known = running.get(target.name)
        if known is not None and known.is_alive():
            found[target.name] = too_late(timeout_s)
            continue
        thread = threading.Thread(target=_tell, args=(target, how, answers), name="console-health", daemon=True)
        thread.start()
        running[target.name] = thread
        waiting.add(target.name)
    deadline = time.monotonic() + timeout_s
    while waiting:
        try:
            name, asked = answers.get(timeout=max(0.001, deadline - time.monotonic()))
        except Empty:
            break
        waiting.discard(name)
        found[name] = asked
        told(name, asked)
    return found | dict.fromkeys(waiting, too_late(timeout_s))


def _tell(target: Target, how: Callable[[Target], Asked], answers: SimpleQueue[tuple[str, Asked]]) -> None:
    answers.put((target.name, how(target)))


def say_failures(targets: Mapping[str, Target], asked: Mapping[str, Asked]) -> None:
    """Logs every probe that has failed, with the request id that the provider's support asks for."""
    for name, found in asked.items():
        if found.kind is not None and found.kind != NO_PROBE:
            log.warning(
                "console: health: target %s (%s at %s): %s %s, request id %s: %s",
                name, targets[name].model, targets[name].provider, found.kind, found.status or "without an HTTP status",
                found.request_id or "none", found.said or "nothing more is known",
            )  # fmt: skip


class _Known(NamedTuple):
    """What was asked last, and when: on the steady clock in seconds, and UTC in microseconds."""

    at: float
    at_us: int
    asked: Mapping[str, Asked]


class Checkup:
    """The health of one application process. Breakers and switches are read at every question; only probes are kept."""

    def __init__(self, runtime: Runtime, clients: Clients, routing: Routing) -> None:
        self._runtime = runtime
        self._clients = clients
        self._routing = routing
        self._known: _Known | None = None
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._running: dict[str, threading.Thread] = {}
        self._is_asking = threading.Lock()

    def health(self, client: Any, max_age_s: float, timeout_s: float) -> Health:
        """See `Console.health`. Never raises."""
        try:
            targets, chains = self._questions()
            known = self._fresh(targets, max_age_s)
            if known is None and self._is_asking.acquire(blocking=False):
                try:
                    own = client or self._clients.latest(is_async=False)
                    asked = ask_all(
                        targets.values(), lambda one: ask(one, own, timeout_s, is_application=True), timeout_s, self._running
                    )
                    known = self._keep(targets, asked)
                finally:
                    self._is_asking.release()
            deadline = time.monotonic() + timeout_s
            while known is None and (known := self._of_another(targets)) is None and time.monotonic() < deadline:
                time.sleep(0.02)
            return self._weighed(targets, chains, known)
        except Exception as error:  # noqa: BLE001 -- a health endpoint that raises looks like an application that is down
            return self._defect(error)

    async def health_async(self, client: Any, max_age_s: float, timeout_s: float) -> Health:
        """The same without blocking the event loop. Never raises an Exception."""
        try:
            targets, chains = self._questions()
            known = self._fresh(targets, max_age_s)
            if known is None and self._is_asking.acquire(blocking=False):
                try:
                    own = client or self._clients.latest(is_async=True)
                    known = self._keep(targets, await _ask_all_async(list(targets.values()), own, timeout_s, self._running))
                finally:
                    self._is_asking.release()
            deadline = time.monotonic() + timeout_s
            while known is None and (known := self._of_another(targets)) is None and time.monotonic() < deadline:  # noqa: ASYNC110
                await anyio.sleep(0.02)  # whoever asks may be a thread
            return self._weighed(targets, chains, known)
        except Exception as error:  # noqa: BLE001 -- as above
            return self._defect(error)

    def _questions(self) -> tuple[dict[str, Target], dict[str, tuple[str, ...]]]:
        if self._pid != os.getpid():  # a fork may have left the lock held by a thread that does not exist here
            self._begin()
        features = tuple(self._routing.features) or (DEFAULT_FEATURE,)
        plans = {feature: self._runtime.plan(feature) for feature in features}
        chains = {feature: None if plan is None else plan.targets for feature, plan in plans.items()}
        return questions(self._routing, chains, DEFAULT_MODEL)

    def _fresh(self, targets: Mapping[str, Target], max_age_s: float) -> _Known | None:
        known = self._of_another(targets)
        return known if known is not None and time.monotonic() - known.at < max(max_age_s, LEAST_AGE_S) else None

    def _of_another(self, targets: Mapping[str, Target]) -> _Known | None:
        """What is known, however old, while somebody else is asking."""
        known = self._known
        return known if known is not None and targets.keys() <= known.asked.keys() else None

    def _keep(self, targets: Mapping[str, Target], asked: Mapping[str, Asked]) -> _Known:
        say_failures(targets, asked)
        self._known = known = _Known(time.monotonic(), now_us(), dict(asked))
        return known

    def _weighed(self, targets: Mapping[str, Target], chains: Mapping[str, tuple[str, ...]], known: _Known | None) -> Health:
        snapshot, now = self._runtime.current(), now_us()
        forced = {name: one.state for name, one in snapshot.state.forced.items() if one.is_in_force(now)}
        breakers = self._runtime.gate.states(forced, tuple(targets))
        late_s = slow_s([self._runtime.policy(feature).limits for feature in chains])
        nothing = Asked("timeout", said="another thread is still asking")
        judgements = []
        for name, target in targets.items():
            breaker = breakers.get(name)
            stops = stopping(snapshot.switches, now, feature="", customer=None, models=(target.model,))
            judgements.append(
                judged(
                    target,
                    nothing if known is None else known.asked.get(name, nothing),
                    late_s,
                    None if breaker is None else (breaker.state, breaker.reason),
                    str(stops.scope) if stops is not None and stops.scope.kind == "model" else None,
                )
            )
        off = {}
        for feature in chains:
            switch = stopping(snapshot.switches, now, feature=feature, customer=None, models=())
            if switch is not None:
                off[feature] = str(switch.scope)
        return weighed(judgements, chains, off, now if known is None else known.at_us)

    def _defect(self, error: Exception) -> Health:
        self._runtime.swallow(error)
        return Health("unknown", f"a defect in the console: {type(error).__name__}", now_us())


async def _ask_all_async(
    targets: Sequence[Target], own: Any, timeout_s: float, running: dict[str, threading.Thread]
) -> dict[str, Asked]:
    """`ask_all` for an event loop: what the application's asynchronous client cannot ask is asked in threads."""
    found: dict[str, Asked] = {}
    own_ones = [target for target in targets if isinstance(own, AsyncAPIClient) and _is_own(target, own)]
    others = [target for target in targets if target not in own_ones]

    async def one(target: Target) -> None:
        found[target.name] = await ask_async(target, own, timeout_s)

    async def in_threads() -> None:
        how = partial(ask, own=own, timeout_s=timeout_s, is_application=True)
        every = partial(ask_all, others, how, timeout_s, running, found.__setitem__)
        await anyio.to_thread.run_sync(every, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))

    with anyio.move_on_after(timeout_s):
        async with anyio.create_task_group() as tasks:
            for target in own_ones:
                tasks.start_soon(one, target)
            if others:
                tasks.start_soon(in_threads)
    return {target.name: found.get(target.name, too_late(timeout_s)) for target in targets}
