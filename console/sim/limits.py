"""What the account has used: rate limits of the current minute, and the prompt cache. Both take `now`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from console.sim.wire import Usage

if TYPE_CHECKING:
    from console.sim.models import ModelSpec
    from console.sim.requests import CachePrefix

_MINUTE_S = 60
_FIVE_MINUTES_S = 300.0
_HOUR_S = 3600.0
_MOST_PREFIXES = 10_000

Header = tuple[str, str]


@dataclass(slots=True)
class _Minute:
    number: int
    reset: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class RateWindows:
    """Counts requests and tokens per model and clock minute. It only counts: nobody is refused for being over."""

    def __init__(self) -> None:
        self._minutes: dict[str, _Minute] = {}

    def charge(self, spec: ModelSpec, usage: Usage | None, now: float) -> None:
        """Count one request, and its tokens if it got an answer. Cache reads do not count, as with the API."""
        minute = self._minute(spec, now)
        minute.requests += 1
        if usage is not None:
            minute.input_tokens += usage.input_tokens + usage.cache_created_5m + usage.cache_created_1h
            minute.output_tokens += usage.output_tokens

    def headers(self, spec: ModelSpec, now: float) -> list[Header]:
        """The `anthropic-ratelimit-*` headers: limit, remaining and reset of each kind."""
        minute = self._minute(spec, now)
        both = spec.input_tokens_per_minute + spec.output_tokens_per_minute
        rows = (
            ("requests", spec.requests_per_minute, minute.requests),
            ("tokens", both, minute.input_tokens + minute.output_tokens),
            ("input-tokens", spec.input_tokens_per_minute, minute.input_tokens),
            ("output-tokens", spec.output_tokens_per_minute, minute.output_tokens),
        )
        return [
            header
            for kind, limit, used in rows
            for header in (
                (f"anthropic-ratelimit-{kind}-limit", str(limit)),
                (f"anthropic-ratelimit-{kind}-remaining", str(max(0, limit - used))),
                (f"anthropic-ratelimit-{kind}-reset", minute.reset),
            )
        ]

    def _minute(self, spec: ModelSpec, now: float) -> _Minute:
        number = int(now // _MINUTE_S)
        minute = self._minutes.get(spec.id)
        if minute is None or minute.number != number:
            minute = self._minutes[spec.id] = _Minute(number, rfc3339((number + 1) * _MINUTE_S))
        return minute


class PromptCache:
    """Remembers the prefixes that were seen lately. A read prolongs an entry, as with the API."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def use(self, prefix: CachePrefix | None, *, input_tokens: int, output_tokens: int, now: float) -> Usage:
        """The usage of a call whose prompt has `input_tokens` in all, of which `prefix` is the marked part."""
        if prefix is None:
            return Usage(input_tokens, output_tokens)
        rest = max(0, input_tokens - prefix.tokens)
        is_known = self._until.get(prefix.key, 0.0) > now
        self._remember(prefix, now)
        if is_known:
            return Usage(rest, output_tokens, cache_read=prefix.tokens)
        if prefix.is_one_hour:
            return Usage(rest, output_tokens, cache_created_1h=prefix.tokens)
        return Usage(rest, output_tokens, cache_created_5m=prefix.tokens)

    def _remember(self, prefix: CachePrefix, now: float) -> None:
        self._until.pop(prefix.key, None)
        self._until[prefix.key] = now + (_HOUR_S if prefix.is_one_hour else _FIVE_MINUTES_S)
        if len(self._until) > _MOST_PREFIXES:
            del self._until[next(iter(self._until))]


def rfc3339(seconds: float) -> str:
    """A wall clock time as the API writes it, in UTC and whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
