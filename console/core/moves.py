"""What to do after an attempt, as one table: by the API's own `error.type` and `error_code` first, else by status. Pure.

Each row says: what the answer says of the target (for its breaker), what becomes of the call, whether trying the same target
once more makes sense, and for how long the target is left alone. The text of an error message decides nothing.

Who is to blame decides who gets it. *Ours*: a key, a budget, an account on hold; under whatever status it comes another account
may answer, the same one will not, however long it is waited. *The target's*: the next one, and its breaker hears of it. *The
caller's own request*: he gets it back, since a filter or a missing field says no everywhere; but not

* when the request was changed for a hop: then it is a *misfit*, and the next target is asked;
* when the prompt may be too long for this model. The API has no code of its own for that (2.11: a 400
  `invalid_request_error` like any other), so besides the codes that name it a 400 without a code counts as such when the
  request is as large as such a prompt has to be (`LONG_BYTES`). The next target with *another* model is asked, and the caller
  gets the 400 when there is none.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from console.core.breaker import Result

Then = Literal["serve", "retry", "next", "account", "model", "end"]
"""serve: the caller gets it. retry: once more, then the next target. next: the next target at once. account: the next target
with another account, since the same key would be answered alike. model: the next target with another model, else the caller
gets it, unless it answers our change of his request. end: the chain ends here."""

MAX_RETRY_AFTER_S: Final = 3600.0
"""A target that asks for more is asked again after an hour at the latest."""


class Move(NamedTuple):
    """A row of the table."""

    then: Then
    result: Result
    may_end_with_retry: bool = False
    """When no other target was asked: once more before giving up. Also what may pass by itself: the target's own word for how
    long counts, even when nothing is said against it."""
    cooldown_s: float = 0.0
    """For how long it is left alone after the first such answer, at the least."""
    hint: str = ""
    """What a person should look at."""


NOT_SENT: Final = "no_key"
"""What an attempt is called that could not be made, because the target's key cannot be read."""
MALFORMED: Final = "malformed_answer"
"""What a 200 is called that holds no answer: a gateway's page, or half of a JSON document."""
LONG_BYTES: Final = 400_000
"""The smallest body that can hold a prompt too long for 200,000 tokens, the smallest window there is, at two bytes a token."""

_SERVE: Final = Move("serve", "neutral")
_RETRY: Final = Move("retry", "failure", may_end_with_retry=True)
_NEXT: Final = Move("next", "failure")
_NEXT_OR_AGAIN: Final = Move("next", "failure", may_end_with_retry=True)
_ACCOUNT: Final = Move("account", "neutral")
MISFIT: Final = Move("next", "neutral")
"""A 400 that answers our change of the request and not the caller's own."""
TOO_LONG: Final = Move("model", "neutral")
"""Too much for this model; another one may have a larger window."""
RETIRED: Final = Move("next", "failure", cooldown_s=900.0, hint="is its model retired or misspelt?")
"""A configured model that is not there. It will not come back by itself: one look in a quarter of an hour is enough."""

_STATUSES: Final[dict[int, Move]] = {
    401: _ACCOUNT,
    402: _ACCOUNT,
    403: _ACCOUNT,
    408: _RETRY,
    409: Move("retry", "neutral", may_end_with_retry=True),
    424: _RETRY,
    429: _NEXT_OR_AGAIN,
    500: _RETRY,
    502: _RETRY,
    503: _NEXT_OR_AGAIN,
    504: _NEXT,
    529: _NEXT_OR_AGAIN,
}
"""424: on Bedrock the model has failed while it worked on the request (`ModelErrorException`)."""
_FAILURES: Final[dict[str, Move]] = {
    "timeout": _NEXT,
    "connection": _NEXT_OR_AGAIN,
    "reset": _RETRY,
    "truncated_stream": _RETRY,
    "malformed_event": _NEXT,
    MALFORMED: _NEXT,
    NOT_SENT: _ACCOUNT,
    "pool": Move("end", "neutral"),
}
"""Without an HTTP answer. `connection`: it could not be made (DNS, refused, TLS); `pool`: the application's own connections are
all in use, for every target alike. Any other failure is a defect of the application's own, which its caller sees."""
_TYPES: Final[dict[str, Move]] = {
    "authentication_error": _ACCOUNT,
    "billing_error": _ACCOUNT,
    "permission_error": _ACCOUNT,
}
"""What an `error.type` means under any status, and in band."""
_CODES: Final[dict[str, Move]] = {
    # Spending, billing, trust and safety (400, 402, 429), whatever `retry-after` comes with them.
    "contract_spend_limit_reached": _ACCOUNT,
    "enforced_spend_limit_reached": _ACCOUNT,
    "linked_organization_spend_limit_reached": _ACCOUNT,
    "linked_organization_billing_unavailable": _ACCOUNT,
    "organization_on_hold": _ACCOUNT,
    # What the key, its workspace or its organization may not do (400): no request with this key will be answered.
    "claude_code_key_creator_not_member": _ACCOUNT,
    "organization_type_not_supported": _ACCOUNT,
    "parent_organization_required": _ACCOUNT,
    "organization_not_enrolled_in_beta": _ACCOUNT,
    "cmek_feature_unsupported": _ACCOUNT,
    # The workspace's own encryption key is switched off or fenced off (400). One that cannot be reached just now is a 503 and
    # is treated as such: it passes.
    "cmek_key_disabled": _ACCOUNT,
    "cmek_key_network_blocked": _ACCOUNT,
    # How fast usage may grow (429): a rate limit of ours there, and no trouble of the target's.
    "ramp_limit_exceeded": Move("next", "neutral", may_end_with_retry=True),
    "prompt_too_long": TOO_LONG,
    "model_context_window_exceeded": TOO_LONG,
}
"""What an `error_code` means under any status. Any other says more of what its type says already. From the SDK 2.11,
`types/shared/*_error_details.py`; the last two stand there for other answers, and are what the API calls it elsewhere."""
_SPEND_LIMIT: Final = "_spend_limit_reached"
"""How the codes of spend limits end, also of those to come."""
_IN_BAND: Final[dict[str, Move]] = {"invalid_request_error": _SERVE, "request_too_large": _SERVE}

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,79}")


def error_in(error: object) -> str | None:
    """What the `error` object of a body says of itself, as it is recorded and shown: its type, with its code where it has one:
    "rate_limit_error: enforced_spend_limit_reached". None when it has no type, or something that is no name in its place."""
    if not isinstance(error, dict):
        return None
    kind, details = error.get("type"), error.get("details")
    if not isinstance(kind, str) or not _NAME.fullmatch(kind):
        return None
    code = details.get("error_code") if isinstance(details, dict) else None
    return f"{kind}: {code}" if isinstance(code, str) and _NAME.fullmatch(code) else kind


def parts_of(error: str | None) -> tuple[str | None, str | None]:
    """Type and code of what `error_in` has said."""
    kind, _, code = (error or "").partition(": ")
    return kind or None, code or None


def _move_of_error(kind: str | None, code: str | None) -> Move | None:
    """What the API's own words mean, whatever status they come with; None: they leave it to the status."""
    if code is not None:
        found = _CODES.get(code)
        if found is not None:
            return found
        if code.endswith(_SPEND_LIMIT):
            return _ACCOUNT
    return None if kind is None else _TYPES.get(kind)


def move_of_status(
    status: int, *, is_changed: bool, is_configured: bool, error: str | None = None, is_long: bool = False
) -> Move:
    """What to do with an HTTP answer. `is_changed`: the request differs from what the application asked; `is_configured`: the
    target's model stands in the configuration. A 404 is the application's mistake only when it named the model itself. `error`:
    as `error_in` says it; `is_long`: the request had at least LONG_BYTES."""
    if status < 400:
        return Move("serve", "success")
    kind, code = parts_of(error)
    found = _move_of_error(kind, code)
    if found is None and status in (400, 422):
        is_too_long = status == 400 and is_long and error == "invalid_request_error"
        found = TOO_LONG if is_too_long else MISFIT if is_changed else _SERVE
    elif found is None and status == 404:
        is_ours = is_configured or is_changed
        found = _SERVE if not is_ours else RETIRED if kind == "not_found_error" else _NEXT
    return found or _STATUSES.get(status) or (_RETRY if status >= 500 else _SERVE)


def move_of_failure(kind: str) -> Move:
    """What to do when there is no HTTP answer, or a stream broke before its first content."""
    return _FAILURES.get(kind, _SERVE)


def move_in_band(error: str) -> Move:
    """What to do with an error that a 200 stream carries before its first content. `error`: as `error_in` says it."""
    kind, code = parts_of(error)
    return _move_of_error(kind, code) or _IN_BAND.get(kind or "", _NEXT_OR_AGAIN)


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
