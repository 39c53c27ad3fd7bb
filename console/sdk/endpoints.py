"""Which requests the middleware looks after, and the tags that it strips from every one."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Endpoint(Enum):
    """MESSAGES: switched and recorded. BATCHES: creation is switched. OTHER: passes, without the tags."""

    MESSAGES = "messages"
    BATCHES = "batches"
    OTHER = "other"


TAG_FEATURE: Final = "x-console-feature"
TAG_CUSTOMER: Final = "x-console-customer"
TAG_SESSION: Final = "x-console-session"
TAGS: Final = (TAG_FEATURE, TAG_CUSTOMER, TAG_SESSION)

_POSTED: Final = {"/v1/messages": Endpoint.MESSAGES, "/v1/messages/batches": Endpoint.BATCHES}


def endpoint_of(method: str, url: str) -> Endpoint:
    """The endpoint of a request as the SDK names it before a provider rewrites it; a query such as `?beta=true` is no part."""
    found = _POSTED.get(url) or _POSTED.get(url.partition("?")[0])
    return found if found is not None and method in ("post", "POST") else Endpoint.OTHER


def tags(*, feature: str | None = None, customer: str | None = None, session: str | None = None) -> dict[str, str]:
    """Headers for `extra_headers` that tell the middleware what a call is about. They never leave the process."""
    given = {TAG_FEATURE: feature, TAG_CUSTOMER: customer, TAG_SESSION: session}
    return {name: value for name, value in given.items() if value is not None}
