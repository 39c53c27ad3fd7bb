"""What an application allows itself: calls and tokens a minute, the size of a request, and what is said when it is too much.
Pure; no clock, no lock: `runtime.allowances` has both. Money is in `core.spending`.

Theory of operation. Rates are kept by the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): a bucket is one
number, the time until which all that was taken has run off. A unit takes `60 s / limit`; one is let in while the bucket, with
it, reaches no further than BURST_US ahead. So in any span of `w` seconds no more than `limit * (w + 5) / 60` calls are let in
(at the very least one), however they are spread, and nothing has to be done when a minute is over.

Calls are known when they begin. Tokens are known when they have been answered: a call takes an estimate of its input before
(CHARS_PER_TOKEN), and what it really was is put right after it. So a call is let in while there is room for **one** token:
otherwise a large one would never get in between the small; what a single call, or the calls under way, take too much is
paid back before the next is let in. What is given back never makes more room than an idle bucket has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from console.core.durations import age

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from console.core.calls import Usage

US: Final = 1_000_000
MINUTE_US: Final = 60 * US
BURST_US: Final = 5 * US
"""What an idle bucket lets in at once: so many seconds' worth, at least one."""
CHARS_PER_TOKEN: Final = 4
"""English prose; the estimate stands only until the answer tells."""

What = Literal[
    "requests_per_minute", "tokens_per_minute", "budget_usd_per_day", "budget_usd_per_month", "max_tokens", "max_input_chars"
]
"""Named as in the configuration."""
OnExceed = Literal["alert", "degrade", "block"]


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """Per minute; None: no limit."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    on_exceed: OnExceed = "block"


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """US dollars per day and month (UTC); None: no limit."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None
    on_exceed: OnExceed = "alert"


@dataclass(frozen=True, slots=True)
class CustomerPolicy:
    """What each customer may use; `named`: those with limits of their own."""

    rate: RatePolicy | None = None
    budget: BudgetPolicy | None = None
    named: Mapping[str, CustomerPolicy] = field(default_factory=lambda: MappingProxyType({}))


ERRORS: Final[Mapping[What, str]] = {
    "requests_per_minute": "rate_limit",
    "tokens_per_minute": "token_limit",
    "budget_usd_per_day": "budget",
    "budget_usd_per_month": "budget",
    "max_tokens": "max_tokens_exceeded",
    "max_input_chars": "input_too_long",
}
"""What a call is called in the records that was stopped by a limit."""

SEVERITY: Final[Mapping[OnExceed, int]] = {"alert": 0, "degrade": 1, "block": 2}


class Exceeded(NamedTuple):
    """A limit that a call goes beyond."""

    what: What
    limit: float
    used: float
    """Of a rate: asked for in the last minute. Of a budget: dollars spent. Of a request: what it asks for; of its characters
    that many at least."""
    scope: str
    """all, feature:NAME or customer:NAME."""
    on_exceed: OnExceed
    key: str
    """Where the configuration says it: "features.summarize.max_tokens"."""
    retry_after_s: float | None = None
    """When there is room again; None: never, for this request."""
    request: str | None = None
    """Of a batch: which of its requests."""

    @property
    def error(self) -> str:
        """What the records call it."""
        return ERRORS[self.what]

    @property
    def is_of_request(self) -> bool:
        """Whether the request itself is at fault, and never will be let in as it is."""
        return self.what in ("max_tokens", "max_input_chars")

    def __str__(self) -> str:
        """What happened, where, and what to do, in one line."""
        return f"{self._who}: {self._told} ({self.key})"

    @property
    def _who(self) -> str:
        who = "all calls together" if self.scope == "all" else self.scope.replace(":", " ", 1)
        return who if self.request is None else f"{who}, request {self.request} of the batch"

    @property
    def _told(self) -> str:
        wait_s = self.retry_after_s or 0.0
        if self.what == "max_tokens":
            return f"max_tokens {self.used:,.0f} is above the ceiling of {self.limit:,.0f}: ask for less, or raise it"
        if self.what == "max_input_chars":
            return f"the input has more than {self.limit:,.0f} characters: send less, or raise the limit"
        if self.what == "requests_per_minute":
            return f"more than {self.limit:,g} requests a minute; there is room again in {wait_s:.1f} s"
        if self.what == "tokens_per_minute":
            return f"more than {self.limit:,g} tokens a minute; there is room again in {wait_s:.1f} s"
        day, again = ("a day", "at midnight UTC") if self.what == "budget_usd_per_day" else ("a month", "on the 1st, UTC")
        in_about = age(max(wait_s, 1))
        return f"${self.used:,.2f} spent of ${self.limit:,.2f} {day}; a new budget begins {again}, in {in_about}"


def worst(found: Iterable[Exceeded]) -> Exceeded | None:
    """The one that has its way: block before degrade before alert, and of equals the one that lasts."""
    return max(found, key=lambda one: (SEVERITY[one.on_exceed], one.retry_after_s or 0.0), default=None)


class Bucket:
    """What has been taken of one rate. Times are microseconds of a steady clock, `unit_us` is what one unit takes to run off.
    Not thread-safe: the owner holds a lock."""

    __slots__ = ("_before", "_count", "_full_until_us", "_minute")

    def __init__(self) -> None:
        self._full_until_us = 0.0
        self._minute, self._count, self._before = 0, 0.0, 0.0

    def wait_us(self, now_us: int, unit_us: float) -> float:
        """How long until there is room for one unit; 0: there is."""
        return max(0.0, self._full_until_us - now_us + unit_us - max(BURST_US, unit_us))

    def take(self, now_us: int, unit_us: float, units: float) -> None:
        """Takes units, whether or not there is room; negative: gives them back. What that gives too much says nothing, because
        nobody is let in from before `now_us`."""
        self._full_until_us = max(self._full_until_us, now_us) + units * unit_us

    def is_idle(self, now_us: int) -> bool:
        """Whether it says nothing that a new one does not."""
        return self._full_until_us <= now_us and now_us // MINUTE_US - self._minute > 1

    def note(self, now_us: int, units: float) -> None:
        """Counts what was asked for, let in or not."""
        minute = now_us // MINUTE_US
        if minute != self._minute:
            self._before = self._count if minute == self._minute + 1 else 0.0
            self._minute, self._count = minute, 0.0
        self._count = max(0.0, self._count + units)

    def asked(self, now_us: int) -> float:
        """About what was asked for in the last minute: this minute's, and of the one before what is less than a minute ago,
        as if it had been spread evenly."""
        past = now_us // MINUTE_US - self._minute
        count, before = (self._count, self._before) if past == 0 else (0.0, self._count if past == 1 else 0.0)
        return count + before * (1 - now_us % MINUTE_US / MINUTE_US)


def tokens_of(usage: Usage | None) -> int:
    """The tokens of an answer that count against a rate: what was read from the cache does not, as with the API's own."""
    return 0 if usage is None else usage.input + usage.output + usage.cache_write_5m + usage.cache_write_1h


# -- the size of a request -----------------------------------------------------------------------------------------------

_NOT_INPUT: Final = frozenset({"type", "role", "id", "tool_use_id", "media_type", "signature", "cache_control"})
"""What stands in messages and tools and is nobody's words."""


def input_chars(body: object, stop_at: int) -> int:
    """The characters of `system`, `messages` and `tools`, counted until there are more than `stop_at`: so it costs what may be
    sent, not what somebody sends. Whatever is a text counts: a base64 image by its length, a tool's schema, input and result
    by their values. Every part that is no text counts one, and an empty one too, so that these end as well. Never raises."""
    if not isinstance(body, dict):
        return 0
    total = 0
    inside: list[Iterator[Any]] = [iter((body.get("system"), body.get("messages"), body.get("tools")))]
    while inside and total <= stop_at:
        part = next(inside[-1], _END)
        if isinstance(part, str):
            total += len(part) or 1
        elif part is _END:
            inside.pop()
        elif part is not None:
            total += 1
            if isinstance(part, dict):
                inside.append(value for name, value in part.items() if name not in _NOT_INPUT)
            elif isinstance(part, list | tuple):
                inside.append(iter(part))
    return total


_END: Final = object()


def estimated_tokens(body: object, limit: int) -> int:
    """What the input is taken for until the answer tells, `limit` at most."""
    return min(limit, input_chars(body, limit * CHARS_PER_TOKEN) // CHARS_PER_TOKEN)


def too_large(
    body: object, *, max_tokens: int | None, max_input_chars: int | None, scope: str, key: str, request: str | None = None
) -> Exceeded | None:
    """What about a request goes beyond its feature's ceilings, or None. A request is refused and not trimmed: an answer that is
    cut without the caller's knowing is worse than an error that names both numbers."""
    if max_tokens is not None:
        asked = _asked_tokens(body)
        if asked > max_tokens:
            return Exceeded("max_tokens", max_tokens, asked, scope, "block", f"{key}.max_tokens", None, request)
    if max_input_chars is not None:
        found = input_chars(body, max_input_chars)
        if found > max_input_chars:
            where = f"{key}.max_input_chars"
            return Exceeded("max_input_chars", max_input_chars, found, scope, "block", where, None, request)
    return None


def _asked_tokens(body: object) -> float:
    """The largest `max_tokens` of a request: its own, and those of the models by which the API itself may have it answered
    (`fallbacks`, beta). 100000.0 is as many tokens as 100000."""
    if not isinstance(body, dict):
        return 0
    hops = body.get("fallbacks")
    parts = (body, *(hop for hop in hops if isinstance(hop, dict))) if isinstance(hops, list | tuple) else (body,)
    return max((asked for part in parts if isinstance(asked := part.get("max_tokens"), int | float)), default=0)
