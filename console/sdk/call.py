"""One passage of a call through the middleware: from the request to exactly one end that is recorded.

Without a chain the SDK runs the middleware once per HTTP attempt, so a passage is an attempt, and the recorder folds those of a
call. With a chain a passage is a whole call, and its end carries the attempts that failed before. On the path of the caller a
call only keeps references and two clock readings; `settled`, which looks into them, runs in the recorder's thread.
"""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final

import anthropic
import httpx2

from console.core.calls import AttemptEnd, Facts, Outcome, ServedBy, Usage, error_of_status, is_retried_by_sdk
from console.core.flow import MAX_ATTEMPTS, Failed, chain_flow, passing_flow
from console.core.moves import NOT_SENT
from console.core.observation import Observation
from console.core.switches import stopping
from console.core.targets import FeaturePolicy
from console.errors import ConfigError
from console.sdk.guard import Guard, connection_of, narrow_read_timeout
from console.sdk.requests import DEFAULT_TIMEOUT, RAW_RESPONSE, Original, readdress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from anthropic._request import APIRequest

    from console.core.breaker import Permit, Result
    from console.core.flow import Effect, Plan, Reply, Send, Serve, Verdict
    from console.core.switches import Switch
    from console.core.targets import Target
    from console.runtime.process import Runtime
    from console.sdk.clients import Client

HOLD_MARGIN_US: Final = 12_000_000
"""How long after a failed attempt the SDK's next one may be waited for, beyond `retry-after`: its own pause is at most 8 s."""
MAX_HOLD_US: Final = 3_600_000_000

TRUNCATED: Final = "truncated_stream"
"""What an answer is called that ended cleanly before it was whole."""
BARE: Final = FeaturePolicy()
NO_TARGET: Final = "no_target"
"""What a call is called that no target of its chain was asked for: all are left alone."""


class Call:
    """What is known of a call, until it is recorded. It is recorded once; what comes later changes nothing."""

    # Defaults of the class: an attempt that goes well never sets most of them.
    _duration_us: int | None = None
    _observation: Observation | None = None
    _status: int | None = None
    _headers: Any = None
    _url: Any = None
    _outcome: Outcome | None = None
    """None: to be told from the observed body."""
    _error: str | None = None
    _model: Any = None
    _stop_reason: Any = None
    _usage: Any = None
    _original: Original | None = None
    _target: Target | None = None
    _limit_s: float | None = None
    _position = 0
    _permit: Permit | None = None
    _is_slow = False
    _guard: Guard | None = None
    _final: AttemptEnd | None = None
    _earlier: tuple[AttemptEnd, ...] = ()
    _is_between = False
    """An attempt of a chain has failed and no other has begun."""
    is_changed = False
    """The body that was sent last differs from the application's."""

    def __init__(
        self,
        runtime: Runtime,
        request: APIRequest,
        facts: Facts,
        max_retries: int,
        *,
        is_batch: bool,
        client: Client | None = None,
        plan: Plan | None = None,
        policy: FeaturePolicy = BARE,
    ) -> None:
        self._started_ns = perf_counter_ns()
        self._started_us = time_ns() // 1000
        self._runtime = runtime
        self.request = request
        self.facts = facts
        self.is_batch = is_batch
        self.client = client
        self._max_retries = max_retries
        self.plan = plan
        self.policy = policy
        if plan is not None:
            try:
                self._original = Original.of(request, DEFAULT_TIMEOUT if client is None else client.timeout)
            except Exception as error:  # noqa: BLE001 -- then the call goes where the application sends it
                runtime.swallow(error)
                self.plan = None

    def flow(self) -> Generator[Effect, Reply, Verdict]:
        """What decides about this call."""
        if self.plan is None or self._original is None:
            return passing_flow()
        self._runtime.gate.begin()
        own, started_us, deadline_s = self.request.options.max_retries, self._started_ns // 1000, self._original.deadline_s
        return chain_flow(
            self.plan,
            self._runtime.gate,
            started_us=started_us,
            deadline_us=None if deadline_s is None else started_us + round(deadline_s * 1e6),
            is_streamed=self.facts.is_streamed,
            # Without another target to go to it is the application's own patience that counts.
            retries=min(
                MAX_ATTEMPTS - 1 if len(self.plan.targets) == 1 else 1, own if isinstance(own, int) else self._max_retries
            ),
        )

    def stopped_by(self, target: Target | None = None) -> Switch | None:
        """The switch that stops the next attempt, at `target`, or None. Never raises: an error here lets the call go on,
        counted."""
        try:
            switches = self._runtime.current().switches
        except Exception as error:  # noqa: BLE001 -- A12: what was in force stays in force
            self._runtime.swallow(error)
            switches = self._runtime.last().switches
        if not switches:
            return None
        facts = self.facts
        try:
            return stopping(
                switches,
                time_ns() // 1000,
                feature=facts.feature,
                customer=facts.customer,
                models=facts.models if target is None else (target.model, *facts.models[1:]),
            )
        except Exception as error:  # noqa: BLE001 -- A12: without a decision the call goes on
            self._runtime.swallow(error)
            return None

    # -- the attempts of a chain ---------------------------------------------------------------------------------------

    def begin_attempt(self, send: Send) -> Failed | None:
        """Makes the request the one for the target. A failure is one before anything was sent."""
        target = send.target
        assert target is not None and self._original is not None  # noqa: S101 -- a chain's
        if self._target is not None:
            self._started_ns, self._started_us = perf_counter_ns(), time_ns() // 1000
            self._status = self._headers = self._url = None
        self._target, self._limit_s, self._is_between = target, send.limit_s, False
        try:
            self.is_changed = readdress(self.request, self._original, target, send.limit_s, self.client)
        except ConfigError as error:
            self._runtime.note_unusable(target.name, str(error))
            return self.attempt_failed(NOT_SENT)
        return None

    def attempt_failed(self, kind: str, *, is_in_band: bool = False) -> Failed:
        """Notes an attempt of a chain that has failed; what the flow is told."""
        self.unguard()
        now_ns = perf_counter_ns()
        if self._target is not None:
            end = AttemptEnd(
                facts=self.facts,
                started_us=self._started_us,
                duration_us=(now_ns - self._started_ns) // 1000,
                outcome="failed",
                served_by="none",
                target=self._target.name,
                status=self._status,
                error=kind,
                request_id=None if self._headers is None else self._headers.get("request-id"),
                host=None if self._url is None else self._url.host,
                model_sent=self._target.model,
                is_sent=kind != NOT_SENT,
            )
            self._earlier += (end,)
            # What may still come of the call (a pause, a switch, the defined text) counts from here, and is no attempt.
            self._started_ns, self._started_us, self._is_between = now_ns, time_ns() // 1000, True
        return Failed(kind, now_ns // 1000, is_in_band)

    def guard(self, http: httpx2.Response) -> None:
        """From now on the body is being read, and may take what is left of the attempt's limit; a stream that says nothing at
        all for as long as it may be silent is given up sooner."""
        if self._limit_s is None:
            return
        silence_s = self.plan.limits.silence if self.plan is not None and self.facts.is_streamed else None
        try:
            if silence_s is not None:
                narrow_read_timeout(http, silence_s)
            connection = connection_of(http)
            if connection is not None:
                self._guard = Guard(connection)
                self._guard.until(self._started_ns // 1000 + round(self._limit_s * 1e6))
                self._runtime.guarded[id(self._guard)] = self._guard
        except Exception as error:  # noqa: BLE001 -- then it may take as long as the HTTP library lets it
            self._runtime.swallow(error)

    def unguard(self) -> None:
        """It is not being read any more."""
        if self._guard is not None:
            self._guard.disarm()
            self._runtime.guarded.pop(id(self._guard), None)

    @property
    def patience(self) -> Guard:
        """Whom the reader of the body tells that he is waiting."""
        return self._guard or _NOBODY

    def kind_of(self, error: BaseException) -> str:
        """What a failure to read is called: that of the guard comes as a broken connection."""
        return "timeout" if self._guard is not None and self._guard.why is not None else kind_of(error)

    def committed(self, held: Sequence[bytes]) -> int:
        """The first content of a stream has come, and the caller will get it. The time, on the steady clock."""
        now_ns = perf_counter_ns()
        try:
            self._observe_beginning(held, now_ns)
        except Exception as error:  # noqa: BLE001 -- the stream is good, and the caller's
            self.unguard()
            self._runtime.swallow(error)
        return now_ns // 1000

    def _observe_beginning(self, held: Sequence[bytes], now_ns: int) -> None:
        observation = self._observation = Observation(is_sse=True)
        for chunk in held:
            observation.chunks.append(chunk)
            observation.begin(chunk, now_ns)
        if observation.first_content_at is None:
            observation.first_content_at = now_ns
        silence_s = None if self.plan is None else self.plan.limits.silence
        if self._guard is not None:
            if silence_s is None:
                self.unguard()
            else:
                self._guard.listen(observation, silence_s, now_ns // 1000)

    def go_by_itself(self) -> None:
        """The chain is given up for a defect of ours: the call is the application's own again."""
        original, self._duration_us = self._original, None
        if original is not None:
            vars(self.request.options).update(
                json_data=original.body, url=original.url, headers=original.headers, timeout=original.given_timeout
            )
        self.plan = self._original = self._target = self._permit = None

    @property
    def is_over(self) -> bool:
        """Whether it has been recorded."""
        return self._duration_us is not None

    def serve(self, verdict: Serve) -> None:
        """The caller gets the answer in hand."""
        self._position, self._permit, self._is_slow = verdict.position, verdict.permit, verdict.is_slow

    def given_up(self) -> None:
        """A chain has ended in a failure: the call's end is that of its last attempt."""
        if not self._earlier:
            first = self.plan.targets[0] if self.plan is not None else None
            self._target, self._error = first, NO_TARGET
            self._end("failed")
            return
        *earlier, last = self._earlier
        self._final = last._replace(earlier=tuple(earlier))
        self._end("failed")

    @property
    def target(self) -> Target | None:
        """Of the attempt that was made last."""
        return self._target

    @property
    def is_left_unread(self) -> bool:
        """Whether the caller reads the body: a stream, or `with_streaming_response`."""
        original = self._original
        return self.request.stream or (original is not None and original.headers.get(RAW_RESPONSE) == "stream")

    @property
    def failures(self) -> str:
        """What went wrong, attempt by attempt, for people."""
        return "; ".join(f"{end.target}: {end.status or ''} {end.error}".replace(":  ", ": ") for end in self._earlier)

    # -- how it ends ---------------------------------------------------------------------------------------------------

    def refused(self, *, is_degraded: bool, error: str | None = "kill_switch") -> None:
        """It is stopped, and the caller gets the defined text or an error. `error` None: the last attempt's."""
        self._error = error or (self._earlier[-1].error if self._earlier else NO_TARGET)
        self._end("degraded" if is_degraded else "blocked")

    def learn_retries(self, max_retries: int) -> None:
        """How often its client retries, known from the client's first answer on."""
        self._max_retries = max_retries

    def answered(self, http: Any) -> None:
        """HTTP headers are here. The response itself is not kept: it holds the request and its body."""
        self._status = http.status_code
        self._headers = http.headers
        self._url = http.request.url

    def served(self, message: Any) -> None:
        """A plain answer was read and parsed: `message` is the SDK's own object, or anything that the caller asked for."""
        self._model = getattr(message, "model", None)
        self._stop_reason = getattr(message, "stop_reason", None)
        self._usage = getattr(message, "usage", None)
        self._end("ok")

    def failed(self, error: str | None = None) -> None:
        """The attempt failed with an HTTP status, or without one (`error` says how)."""
        self._error = error
        self._end("failed")

    def cancelled(self) -> None:
        """The caller has gone away."""
        self._error = "cancelled"
        self._end("cancelled")

    def observing(self, content_type: str) -> None:
        """The body will be read by the caller. A good answer that is neither JSON nor SSE (a cloud's own frames) passes
        unobserved: then all that is known is whether it was read to its end. An error is one whatever its body is."""
        if self._observation is not None:  # its beginning was looked at already
            return
        is_sse = "text/event-stream" in content_type
        if is_sse or "json" in content_type or (self._status is not None and self._status >= 400):
            try:
                self._observation = Observation(is_sse=is_sse)
            except Exception as error:  # noqa: BLE001 -- the body passes all the same
                self._runtime.swallow(error)

    def watchers(self) -> tuple[Callable[[bytes], None], Callable[[bytes], bool] | None]:
        """What takes every chunk on its way to the caller, and what takes it too until it answers False. Neither raises."""
        observation = self._observation
        return (_ignore, None) if observation is None else (observation.chunks.append, self._begin)

    def read_at_once(self, content: bytes) -> None:
        """A whole body that was read already."""
        if self._observation is not None:
            self._observation.feed(content, perf_counter_ns)
        self.read_out()

    def _begin(self, chunk: bytes) -> bool:
        observation = self._observation
        try:
            return observation is not None and observation.begin(chunk, perf_counter_ns())
        except Exception as error:  # noqa: BLE001 -- the bytes must reach the caller whatever they are
            self._observation = None
            self._runtime.swallow(error)
            return False

    def read_out(self) -> None:
        """The body has ended by itself."""
        self._error = TRUNCATED
        if self._permit is not None and self._observation is not None and not self._observation.seems_whole:
            self._settle_failure(TRUNCATED)
        self._end(None if self._observation is not None else "ok")

    def closed(self) -> None:
        """The body was closed or dropped; before its end unless it has been recorded already."""
        if self._duration_us is None:
            self._end(None if self._observation is not None else "cancelled")

    def broke(self, error: Exception) -> Exception | None:
        """Reading the body failed. The error to raise instead, when it was a limit of ours that ended it."""
        guard = self._guard
        if self._duration_us is None:
            self._error = self.kind_of(error)
            self._settle_failure(self._error)
            self._end(None if self._observation is not None else "failed")
        return guard.too_late() if guard is not None and guard.why is not None else None

    def _end(self, outcome: Outcome | None) -> None:
        """Hands the attempt over, once. What it keeps from here on is small: the request and its body are let go."""
        if self._duration_us is not None:
            return
        self._duration_us = (perf_counter_ns() - self._started_ns) // 1000
        self._outcome = outcome
        if self._guard is not None:
            self.unguard()
        try:
            options = self.request.options
            self._key, self._own_retries, self._retries_taken = (
                options.idempotency_key,
                options.max_retries,
                self.request.retries_taken,
            )
            del self.request
            if self._observation is not None:
                self._observation.close()
            if not self.is_batch:
                self._runtime.record(self)
        except Exception as error:  # noqa: BLE001 -- the caller may be in the middle of reading, closing or being cancelled
            self._runtime.swallow(error)

    def settled(self) -> AttemptEnd:
        """What has happened, as values. Called once, by the recorder."""
        end = self._settled() if self._final is None else self._final
        if self._permit is not None and self._target is not None:  # a stream's that went well, or was closed early
            is_good = end.outcome in ("ok", "cancelled")
            result: Result = ("slow" if self._is_slow else "success") if is_good else "failure"
            self._runtime.gate.settle(self._target.name, self._permit, result, reason=f"stream broke: {end.error}")
        return end

    def _settle_failure(self, why: str) -> None:
        """A stream that was given to the caller has broken. At once, and not with the records, which may have to wait for a
        disk: the breaker is what keeps the next call from it."""
        permit, self._permit = self._permit, None
        if permit is None or self._target is None:
            return
        try:
            self._runtime.gate.settle(self._target.name, permit, "failure", reason=f"stream broke: {why}")
        except Exception as error:  # noqa: BLE001 -- the caller is in the middle of reading
            self._runtime.swallow(error)

    def _settled(self) -> AttemptEnd:
        status, headers = self._status, self._headers
        outcome, error, seen = self._outcome, self._error, self._observation
        model, stop_reason, usage, first_ns = self._model, self._stop_reason, _usage(self._usage), None
        if seen is not None:
            seen.finish()
            model, stop_reason, usage, first_ns = seen.model, seen.stop_reason, seen.usage, seen.first_content_at
        if outcome is None and seen is not None:
            outcome, error = _outcome_of(seen, status, error)
        if outcome == "failed" and error is None:
            error = error_of_status(status) if status is not None else "connection"
        will_retry = self.plan is None and outcome == "failed" and self._will_retry(status, error)
        target = self._target
        return AttemptEnd(
            facts=self.facts,
            started_us=self._started_us,
            duration_us=self._duration_us or 0,
            outcome=outcome or "failed",
            served_by="fallback" if outcome == "ok" and self._position else _SERVED_BY.get(outcome or "failed", "none"),
            target=self.facts.model if target is None else target.name,
            key=self._key,
            retries_taken=self._retries_taken,
            will_retry=will_retry,
            hold_us=self._hold_us() if will_retry else 0,
            first_token_us=None if first_ns is None else (first_ns - self._started_ns) // 1000,
            model_served=model if isinstance(model, str) else None,
            status=status,
            error=None if outcome == "ok" else error,
            request_id=None if headers is None else headers.get("request-id"),
            stop_reason=stop_reason if isinstance(stop_reason, str) else None,
            usage=usage,
            host=None if self._url is None else self._url.host,
            model_sent=None if target is None else target.model,
            is_sent=not self._is_between and outcome not in ("blocked", "degraded") and error != NO_TARGET,
            earlier=self._earlier,
        )

    def _will_retry(self, status: int | None, error: str | None) -> bool:
        if status is None and error not in ("timeout", "connection", "reset", "pool"):
            return False
        own = self._own_retries
        if self._retries_taken >= (own if isinstance(own, int) else self._max_retries):
            return False
        if status is not None and status < 400:  # a stream that broke after its 200: the SDK does not try again
            return False
        return is_retried_by_sdk(status, None if self._headers is None else self._headers.get("x-should-retry"))

    def _hold_us(self) -> int:
        try:
            asked_us = int(float(self._headers.get("retry-after", 0)) * 1_000_000)
        except (AttributeError, ValueError, OverflowError):
            asked_us = 0
        return min(max(asked_us, 0) + HOLD_MARGIN_US, MAX_HOLD_US)


_NOBODY: Final = Guard(None)
_SERVED_BY: Final[dict[Outcome, ServedBy]] = {"ok": "primary", "degraded": "degraded"}


def _outcome_of(seen: Observation, status: int | None, error: str | None) -> tuple[Outcome, str | None]:
    """How an attempt whose body was observed has ended. `error`: how reading ended, None when the caller closed it."""
    if status is not None and status >= 400:
        return "failed", seen.error or error_of_status(status)
    if seen.is_whole or (seen.is_blind and error == TRUNCATED):
        return "ok", None
    if seen.error is not None or error is not None:
        return "failed", seen.error or error
    return "cancelled", "cancelled"


def _usage(usage: Any) -> Usage | None:
    """The tokens of the SDK's usage object."""
    if usage is None:
        return None
    written = getattr(usage, "cache_creation_input_tokens", None) or 0
    parts = getattr(usage, "cache_creation", None)
    an_hour = (getattr(parts, "ephemeral_1h_input_tokens", None) or 0) if parts is not None else 0
    return Usage(
        getattr(usage, "input_tokens", None) or 0,
        getattr(usage, "output_tokens", None) or 0,
        getattr(usage, "cache_read_input_tokens", None) or 0,
        max(0, written - an_hour),
        an_hour,
    )


def _ignore(chunk: bytes) -> None:
    pass


def kind_of(error: BaseException) -> str:
    """What a failure without an HTTP answer is called in the records: timeout; connection (it could not be made); reset (it was
    there and broke); pool (all of the application's own are taken); else the name of the exception."""
    names = [type(found).__name__ for found in (error, error.__cause__) if found is not None]
    if any(name == "PoolTimeout" for name in names):
        return "pool"
    if isinstance(error, anthropic.APITimeoutError) or any("Timeout" in name for name in names):
        return "timeout"
    if any(name in _RESETS for name in names):
        return "reset"
    if isinstance(error, anthropic.APIConnectionError | httpx2.RequestError | OSError):
        return "connection"
    return type(error).__name__


_RESETS: Final = frozenset({"ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ConnectionResetError"})
"""How the HTTP library names what breaks on a connection that was there."""
