"""One passage of a call through the middleware: from the request to exactly one `AttemptEnd`.

The SDK runs the middleware once per HTTP attempt, so this is an attempt; the recorder folds attempts into calls. On the path of
the caller a call only keeps references and two clock readings; `settled`, which looks into them, runs in the recorder's thread.
"""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final

import anthropic

from console.core.calls import AttemptEnd, Facts, Outcome, ServedBy, Usage, error_of_status, is_retried_by_sdk
from console.core.observation import Observation
from console.core.switches import stopping

if TYPE_CHECKING:
    from collections.abc import Callable

    from anthropic._request import APIRequest

    from console.core.switches import Switch
    from console.runtime.process import Runtime

HOLD_MARGIN_US: Final = 12_000_000
"""How long after a failed attempt the SDK's next one may be waited for, beyond `retry-after`: its own pause is at most 8 s."""
MAX_HOLD_US: Final = 3_600_000_000

TRUNCATED: Final = "truncated_stream"
"""What an answer is called that ended cleanly before it was whole."""


class Call:
    """What is known of an attempt, until it is recorded. It is recorded once; what comes later changes nothing."""

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

    def __init__(
        self,
        runtime: Runtime,
        request: APIRequest,
        facts: Facts,
        max_retries: int,
        *,
        is_batch: bool,
        is_client_known: bool = False,
    ) -> None:
        self._started_ns = perf_counter_ns()
        self._started_us = time_ns() // 1000
        self._runtime = runtime
        self.request = request
        self.facts = facts
        self.is_batch = is_batch
        self.is_client_known = is_client_known
        self._max_retries = max_retries

    def stopped_by(self) -> Switch | None:
        """The switch that stops this attempt now, or None. Never raises: an error here lets the call go on, counted."""
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
                models=facts.models,
            )
        except Exception as error:  # noqa: BLE001 -- A12: without a decision the call goes on
            self._runtime.swallow(error)
            return None

    def refused(self, *, is_degraded: bool) -> None:
        """A kill switch has stopped it, and the caller gets the defined text or an error."""
        self._error = "kill_switch"
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
        is_sse = "text/event-stream" in content_type
        if is_sse or "json" in content_type or (self._status is not None and self._status >= 400):
            self._observation = Observation(is_sse=is_sse)

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
        self._end(None if self._observation is not None else "ok")

    def closed(self) -> None:
        """The body was closed or dropped; before its end unless it has been recorded already."""
        if self._duration_us is None:
            self._end(None if self._observation is not None else "cancelled")

    def broke(self, error: Exception) -> None:
        """Reading the body failed."""
        if self._duration_us is None:
            self._error = kind_of(error)
            self._end(None if self._observation is not None else "failed")

    def _end(self, outcome: Outcome | None) -> None:
        """Hands the attempt over, once. What it keeps from here on is small: the request and its body are let go."""
        if self._duration_us is not None:
            return
        self._duration_us = (perf_counter_ns() - self._started_ns) // 1000
        self._outcome = outcome
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
        will_retry = outcome == "failed" and self._will_retry(status, error)
        return AttemptEnd(
            facts=self.facts,
            started_us=self._started_us,
            duration_us=self._duration_us or 0,
            outcome=outcome or "failed",
            served_by=_SERVED_BY.get(outcome or "failed", "none"),
            target=self.facts.model,
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
        )

    def _will_retry(self, status: int | None, error: str | None) -> bool:
        if status is None and error not in ("timeout", "connection"):
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
    """What a failure without an HTTP answer is called in the records."""
    if isinstance(error, anthropic.APITimeoutError) or "Timeout" in type(error).__name__:
        return "timeout"
    if isinstance(error, anthropic.APIConnectionError | OSError) or type(error).__module__.startswith("httpx2"):
        return "connection"
    return type(error).__name__
