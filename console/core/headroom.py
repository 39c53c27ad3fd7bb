"""How much of its rate limits an account has left, as every answer of the API says in its headers. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final = ("requests", "tokens", "input-tokens", "output-tokens")
"""What the API limits in a minute, as its headers call it; heartbeats and views call it the same."""
MAX_DIGITS: Final = 15
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")


def headroom_in(headers: Mapping[str, str]) -> dict[str, Any]:
    """kind -> [limit, what remains of it, when it is whole again (RFC 3339, or None)], for the kinds that the headers
    (`anthropic-ratelimit-<kind>-limit`, `-remaining`, `-reset`) tell of in the agreed form. Never raises."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        limit, remaining = (_count(headers.get(f"anthropic-ratelimit-{kind}-{what}")) for what in ("limit", "remaining"))
        if limit is not None and remaining is not None:
            reset = headers.get(f"anthropic-ratelimit-{kind}-reset")
            found[kind] = [limit, remaining, reset if reset is not None and _TIME.fullmatch(reset) else None]
    return found


def _count(text: str | None) -> int | None:
    is_count = text is not None and text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_count and text is not None else None
