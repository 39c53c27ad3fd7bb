"""What is known of one HTTP attempt when it ends, and how attempts become a call. Pure values.

The hot path makes one `AttemptEnd` per attempt and nothing else; everything that can be done later is done by the recorder.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Outcome = Literal["ok", "failed", "blocked", "degraded", "cancelled"]
ServedBy = Literal["primary", "fallback", "cache", "stale", "degraded", "none"]
FROM_CACHE: Final[tuple[ServedBy, ...]] = ("cache", "stale")
"""Said by a target once, and now by nobody: such a call tells nothing of how the target is."""

DEFAULT_FEATURE: Final = "default"
LONG_PROMPT_TOKENS: Final = 100_000
"""Above this many input tokens some models are dearer (SDK.md, prices): the rollups keep such calls apart."""

NAME_LIMIT: Final = 200
"""Characters of a feature's, customer's or model's name that are kept."""


class Usage(NamedTuple):
    """Tokens of one answer, each kind apart, because each has its own price."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        """Everything that was sent, cached or not."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


NO_USAGE: Final = Usage()


def sum_of(usages: Iterable[Usage]) -> Usage:
    """All of them together."""
    return Usage(*map(sum, zip(*usages, strict=True)))


class Facts(NamedTuple):
    """What a call is about, known before it is sent."""

    feature: str = DEFAULT_FEATURE
    customer: str | None = None
    session: str | None = None
    prompt: str | None = None
    prompt_version: str | None = None
    models: tuple[str, ...] = ("unknown",)
    """The one that was asked for; behind it those that may serve it as well (a batch, fallbacks)."""
    is_streamed: bool = False

    @property
    def model(self) -> str:
        return self.models[0] if self.models else "unknown"


class AttemptEnd(NamedTuple):
    """One HTTP attempt, or a call that was stopped before any. Durations in microseconds, `started_us` UTC."""

    facts: Facts
    started_us: int
    duration_us: int
    outcome: Outcome
    served_by: ServedBy
    target: str
    key: str | None = None
    """The SDK's idempotency key: the same for every attempt of one call."""
    retries_taken: int = 0
    will_retry: bool = False
    """The SDK is going to try again: the call has not ended."""
    hold_us: int = 0
    """With `will_retry`: how long after this end the next attempt may be waited for."""
    first_token_us: int | None = None
    model_served: str | None = None
    status: int | None = None
    error: str | None = None
    """The API's `error.type`, or ours for what has no HTTP answer: timeout, connection, truncated_stream."""
    request_id: str | None = None
    stop_reason: str | None = None
    usage: Usage | None = None
    """What the API bills for this attempt; of one that broke in the middle what is known, and an estimate of the rest."""
    host: str | None = None
    provider: str | None = None
    """Whose client was asked; None: whoever is behind `host`."""
    model_sent: str | None = None
    """The model that the target asks for; None: the application's own."""
    is_sent: bool = True
    """False for a call's end without an attempt: blocked, degraded, no target left."""
    earlier: tuple[AttemptEnd, ...] = ()
    """The attempts of a chain that failed before this end, oldest first."""
    age_us: int | None = None
    """Of an answer from the cache: how old it is."""
    continued: int = 0
    """How often its stream broke and was continued by another attempt."""

    @property
    def model(self) -> str:
        """The model that did the work, as far as it is known."""
        return self.model_served or self.model_sent or self.facts.model

    @property
    def asked_at(self) -> str:
        """The provider that was asked."""
        return self.provider or provider_of(self.host)

    def settled(self) -> AttemptEnd:
        """Itself: values need no settling. What the recorder takes has this method."""
        return self


class CallEnd(NamedTuple):
    """A call that has ended, with all its attempts."""

    last: AttemptEnd
    attempts: tuple[AttemptEnd, ...]
    """HTTP attempts only: empty for a call that was stopped before one."""
    started_us: int
    duration_us: int

    @property
    def usage(self) -> Usage | None:
        """What the API bills for the call: that of every attempt, also of one whose stream broke; None: nothing is known."""
        known = [attempt.usage for attempt in self.attempts if attempt is not self.last and attempt.usage is not None]
        if not known:
            return self.last.usage
        return sum_of((*known, self.last.usage or NO_USAGE))


STATUS_ERRORS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_of_status(status: int) -> str:
    """The error type to assume for a status whose body was not read."""
    return STATUS_ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")


def is_retried_by_sdk(status: int | None, should_retry_header: str | None) -> bool:
    """Whether the SDK's own policy retries such an answer (None: no answer at all). From SDK 2.11, `_should_retry`."""
    if should_retry_header in ("true", "false"):
        return should_retry_header == "true"
    return status is None or status in (408, 409, 429) or status >= 500


@lru_cache(maxsize=256)
def provider_of(host: str | None) -> str:
    """The provider behind a host name: the clouds by their domains, everything else speaks for Anthropic's own API."""
    for beginning, end, provider in (
        ("", ".amazonaws.com", "bedrock"),
        ("bedrock-mantle.", ".api.aws", "bedrock-mantle"),
        ("", ".api.aws", "aws"),
        ("claude.", ".googleapis.com", "google-cloud"),
        ("", ".googleapis.com", "vertex"),
        ("", ".azure.com", "foundry"),
    ):
        if host is not None and host.startswith(beginning) and host.endswith(end):
            return provider
    return "anthropic"


def fold(pending: tuple[AttemptEnd, ...], end: AttemptEnd) -> CallEnd:
    """The call that `end` finishes after the failed attempts before it: those that the SDK has repeated (`pending`, oldest
    first), and those of the chain itself. The first token counts from the call's start, as the caller has seen it."""
    before = (*pending, *end.earlier)
    started_us = before[0].started_us if before else end.started_us
    spent_us = sum(attempt.duration_us for attempt in before)  # the wall clock may have gone back in between
    lead_us = max(spent_us, end.started_us - started_us)
    if before and end.first_token_us is not None:
        end = end._replace(first_token_us=lead_us + end.first_token_us)
    attempts = tuple(
        attempt for attempt in (*before, end) if attempt.is_sent and attempt.outcome not in ("blocked", "degraded")
    )
    return CallEnd(end, attempts, started_us, lead_us + end.duration_us)
