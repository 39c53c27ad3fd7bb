"""One passage of a call through the middleware: from the request to exactly one `AttemptEnd`.

The SDK runs the middleware once per HTTP attempt, so this is an attempt; the recorder folds attempts into calls.
"""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final

import anthropic

from console.core.calls import AttemptEnd, Facts, Usage, error_of_status, is_retried_by_sdk
from console.core.observation import Observation
from console.core.switches import stopping

if TYPE_CHECKING:
    from anthropic._request import APIRequest

    from console.core.calls import Outcome, ServedBy
    from console.core.switches import Switch
    from console.runtime.process import Runtime

HOLD_MARGIN_US: Final = 12_000_000
"""How long after a failed attempt the SDK's next one may be waited for, beyond `retry-after`: its own pause is at most 8 s."""
MAX_HOLD_US: Final = 3_600_000_000

TRUNCATED: Final = "truncated_stream"
"""What an answer is called that ended cleanly before it was whole."""


class Call:
    """What is known of an attempt, until it is recorded. `record` works once; later calls change nothing."""

    __slots__ = (
        "_host",
        "_is_recorded",
        "_key",
        "_max_retries",
        "_observation",
        "_request_id",
        "_retries_taken",
        "_retry_after",
        "_runtime",
        "_should_retry",
        "_started_ns",
        "_started_us",
        "_status",
        "facts",
        "is_batch",
        "request",
    )  # fmt: skip

    def __init__(self, runtime: Runtime, request: APIRequest, facts: Facts, max_retries: int, *, is_batch: bool) -> None:
        self._runtime = runtime
        self.request = request
        self.facts = facts
        self.is_batch = is_batch
        self._started_ns = perf_counter_ns()
        self._started_us = time_ns() // 1000
        self._key = request.options.idempotency_key
        self._retries_taken = request.retries_taken
        own = request.options.max_retries
        self._max_retries = own if isinstance(own, int) else max_retries
        self._is_recorded = False
        self._observation: Observation | None = None
        self._status: int | None = None
        self._request_id: str | None = None
        self._host: str | None = None
        self._retry_after: str | None = None
        self._should_retry: str | None = None

    def stopped_by(self) -> Switch | None:
        """The switch that stops this attempt now, or None. Never raises: an error here lets the call go on, counted."""
        try:
            switches = self._runtime.current().switches
            if not switches:
                return None
            facts = self.facts
            return stopping(
                switches,
                time_ns() // 1000,
                feature=facts.feature,
                customer=facts.customer,
                models=facts.models,
            )
        except Exception as error:  # noqa: BLE001 -- A12: the last decision stands, and without one the call goes on
            self._runtime.swallow(error)
            return None

    def refused(self, *, is_degraded: bool) -> None:
        """A kill switch has stopped it, and the caller gets the defined text or an error."""
        served: ServedBy = "degraded" if is_degraded else "none"
        self._record("degraded" if is_degraded else "blocked", served, error="kill_switch")

    def learn_retries(self, max_retries: int) -> None:
        """How often the client retries, which shows with its first answer only; the request's own number goes before."""
        if not isinstance(self.request.options.max_retries, int):
            self._max_retries = max_retries

    def answered(self, http: Any) -> None:
        """HTTP headers are here."""
        self._status = http.status_code
        headers = http.headers
        self._request_id = headers.get("request-id")
        if self._status is not None and self._status >= 400:
            self._retry_after = headers.get("retry-after")
            self._should_retry = headers.get("x-should-retry")
        self._host = http.request.url.host

    def served(self, message: Any) -> None:
        """A plain answer was read and parsed: `message` is the SDK's own object, or anything that the caller asked for."""
        self._record(
            "ok",
            "primary",
            model=getattr(message, "model", None),
            stop_reason=getattr(message, "stop_reason", None),
            usage=_usage(getattr(message, "usage", None)),
        )

    def failed(self, error: str | None = None) -> None:
        """The attempt failed with an HTTP status, or without one (`error` says how)."""
        kind = error or (error_of_status(self._status) if self._status is not None else "connection")
        self._record("failed", "none", error=kind)

    def cancelled(self) -> None:
        """The caller has gone away."""
        self._record("cancelled", "none", error="cancelled")

    def observing(self, *, is_sse: bool) -> None:
        """The body will be read by the caller, through `passed`."""
        self._observation = Observation(is_sse=is_sse)

    def passed(self, chunk: bytes) -> None:
        """Bytes on their way to the caller."""
        observation = self._observation
        if observation is None:
            return
        try:
            observation.feed(chunk, (perf_counter_ns() - self._started_ns) // 1000)
        except Exception as error:  # noqa: BLE001 -- the bytes must reach the caller whatever they are
            observation.is_blind = True
            self._runtime.swallow(error)

    def read_out(self) -> None:
        """The body has ended by itself."""
        self._finish(TRUNCATED)

    def closed(self) -> None:
        """The body was closed or dropped; before its end unless it has been recorded already."""
        if not self._is_recorded:
            self._finish(None)

    def broke(self, error: Exception) -> None:
        """Reading the body failed."""
        if not self._is_recorded:
            self._finish(kind_of(error))

    def _finish(self, kind: str | None) -> None:
        """`kind`: what it is called when the answer was not whole; None when the caller closed it."""
        seen = self._observation
        if seen is None:
            return
        try:
            seen.finish()
        except Exception as error:  # noqa: BLE001 -- this runs inside the caller's own reading and closing
            seen.is_blind = True
            self._runtime.swallow(error)
        if self._status is not None and self._status >= 400:
            self._record("failed", "none", error=seen.error or error_of_status(self._status))
        elif seen.is_whole or (seen.is_blind and kind == TRUNCATED):
            self._record("ok", "primary", **_seen(seen))
        elif seen.error is not None or kind is not None:
            self._record("failed", "none", error=seen.error or kind, **_seen(seen))
        else:
            self._record("cancelled", "primary", error="cancelled", **_seen(seen))

    def _record(
        self,
        outcome: Outcome,
        served_by: ServedBy,
        *,
        error: str | None = None,
        model: str | None = None,
        stop_reason: str | None = None,
        usage: Usage | None = None,
        first_token_us: int | None = None,
    ) -> None:
        if self._is_recorded or self.is_batch:
            return
        self._is_recorded = True
        try:
            will_retry = outcome == "failed" and self._will_retry()
            self._runtime.record(
                AttemptEnd(
                    self.facts,
                    self._started_us,
                    (perf_counter_ns() - self._started_ns) // 1000,
                    outcome,
                    served_by,
                    self.facts.model,
                    self._key,
                    self._retries_taken,
                    will_retry,
                    self._hold_us() if will_retry else 0,
                    first_token_us,
                    model,
                    self._status,
                    error,
                    self._request_id,
                    stop_reason,
                    usage,
                    self._host,
                )
            )
        except Exception as mistake:  # noqa: BLE001 -- the caller may be in the middle of reading, closing or being cancelled
            self._runtime.swallow(mistake)

    def _will_retry(self) -> bool:
        if self._retries_taken >= self._max_retries or (self._status is not None and self._status < 400):
            return False
        return is_retried_by_sdk(self._status, self._should_retry)

    def _hold_us(self) -> int:
        try:
            asked_us = int(float(self._retry_after or 0) * 1_000_000)
        except (ValueError, OverflowError):
            asked_us = 0
        return min(max(asked_us, 0) + HOLD_MARGIN_US, MAX_HOLD_US)


def _seen(seen: Observation) -> dict[str, Any]:
    return {
        "model": seen.model,
        "stop_reason": seen.stop_reason,
        "usage": seen.usage,
        "first_token_us": seen.first_token_us,
    }


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


def kind_of(error: BaseException) -> str:
    """What a failure without an HTTP answer is called in the records."""
    if isinstance(error, anthropic.APITimeoutError) or "Timeout" in type(error).__name__:
        return "timeout"
    if isinstance(error, anthropic.APIConnectionError | OSError) or type(error).__module__.startswith("httpx2"):
        return "connection"
    return type(error).__name__
