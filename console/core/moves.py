"""What to do after an attempt, as one table: SDK.md "Errors". Pure.

Each row says three things: what the answer says of the target (for its breaker), what becomes of the call, and whether trying
the same target once more makes sense.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from console.core.breaker import Result

Then = Literal["serve", "retry", "next", "account", "end"]
"""serve: the caller gets it. retry: once more, then the next target. next: the next target at once. account: the next target
with another account, since the same key would be answered alike. end: the chain ends here."""

MAX_RETRY_AFTER_S: Final = 3600.0
"""A target that asks for more is asked again after an hour at the latest."""


class Move(NamedTuple):
    """A row of the table."""

    then: Then
    result: Result
    may_end_with_retry: bool = False
    """When no other target was asked: once more before giving up."""


NOT_SENT: Final = "no_key"
"""What an attempt is called that could not be made, because the target's key cannot be read."""

_SERVE: Final = Move("serve", "neutral")
_RETRY: Final = Move("retry", "failure", may_end_with_retry=True)
_NEXT: Final = Move("next", "failure")
_NEXT_OR_AGAIN: Final = Move("next", "failure", may_end_with_retry=True)
_ACCOUNT: Final = Move("account", "neutral")
MISFIT: Final = Move("next", "neutral")
"""A 400 that answers our change of the request and not the caller's own."""

_STATUSES: Final[dict[int, Move]] = {
    401: _ACCOUNT,
    402: _ACCOUNT,
    403: _ACCOUNT,
    408: _RETRY,
    409: Move("retry", "neutral", may_end_with_retry=True),
    429: _NEXT_OR_AGAIN,
    500: _RETRY,
    502: _RETRY,
    503: _NEXT_OR_AGAIN,
    504: _NEXT,
    529: _NEXT_OR_AGAIN,
}
_FAILURES: Final[dict[str, Move]] = {
    "timeout": _NEXT,
    "connection": _NEXT_OR_AGAIN,
    "reset": _RETRY,
    "truncated_stream": _RETRY,
    "malformed_stream": _NEXT,
    NOT_SENT: _ACCOUNT,
    "pool": Move("end", "neutral"),
}
"""Without an HTTP answer. `connection`: it could not be made (DNS, refused, TLS); `pool`: the application's own connections are
all in use, for every target alike. Any other failure is a defect of the application's own, which its caller sees."""
_IN_BAND: Final[dict[str, Move]] = {
    "invalid_request_error": _SERVE,
    "authentication_error": _ACCOUNT,
    "billing_error": _ACCOUNT,
    "permission_error": _ACCOUNT,
    "request_too_large": _SERVE,
}


def move_of_status(status: int, *, is_changed: bool, is_configured: bool) -> Move:
    """What to do with an HTTP answer. `is_changed`: the request differs from what the application asked; `is_configured`: the
    target's model stands in the configuration. A 404 is the application's mistake only when it named the model itself."""
    if status < 400:
        return Move("serve", "success")
    if status in (400, 422) and is_changed:
        return MISFIT
    if status == 404:
        return _NEXT if is_configured or is_changed else _SERVE
    return _STATUSES.get(status) or (_RETRY if status >= 500 else _SERVE)


def move_of_failure(kind: str) -> Move:
    """What to do when there is no HTTP answer, or a stream broke before its first content."""
    return _FAILURES.get(kind, _SERVE)


def move_in_band(kind: str) -> Move:
    """What to do with an error that a 200 stream carries before its first content."""
    return _IN_BAND.get(kind, _NEXT_OR_AGAIN)


def retry_after_s(value: str | None, value_ms: str | None, now_s: float) -> float | None:
    """The seconds that `retry-after` (or `retry-after-ms`) asks for, 0 to MAX_RETRY_AFTER_S; None when it asks for nothing that
    can be understood. `now_s`: UTC, for the form that is a date."""
    for text, scale in ((value_ms, 0.001), (value, 1.0)):
        if text is None:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            continue
        if seconds == seconds:  # noqa: PLR0124 -- not a NaN
            return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
    try:
        return min(max(parsedate_to_datetime(value or "").timestamp() - now_s, 0.0), MAX_RETRY_AFTER_S)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
