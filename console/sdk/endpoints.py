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
    if method not in ("post", "POST"):
        return Endpoint.OTHER
    found = _POSTED.get(url) or _POSTED.get(path := _path_of(url))
    if found is None and "://" in url:  # behind a gateway's prefix
        found = next((endpoint for end, endpoint in _POSTED.items() if path.endswith(end)), None)
    return found or Endpoint.OTHER


def _path_of(url: str) -> str:
    """The path that a server makes of a URL as somebody may write it: with a host, without the first slash, with two of them,
    with a slash or a fragment behind it. None of that may get past a kill switch."""
    path = url.partition("?")[0].partition("#")[0]
    if "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    return "/" + "/".join(part for part in path.split("/") if part)


def tags(*, feature: str | None = None, customer: str | None = None, session: str | None = None) -> dict[str, str]:
    """Headers for `extra_headers` that tell the middleware what a call is about. They never leave the process."""
    given = {TAG_FEATURE: feature, TAG_CUSTOMER: customer, TAG_SESSION: session}
    return {name: value for name, value in given.items() if value is not None}
