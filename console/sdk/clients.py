"""The application's clients, as far as a call has to know them: how often they repeat, how long they wait, what they add.

A middleware is never told whose request it sees. The client stands behind the function that sends (the SDK's `base_handler`
holds it as `self`), which is private to the SDK and looked up with care; where that fails, a client is known from its first
answer on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import ref

from anthropic import DEFAULT_MAX_RETRIES

from console.sdk.facts import default_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

log = logging.getLogger("console")

MAX_CLIENTS: Final = 1_000
MAX_MIDDLEWARES: Final = 50
"""So many others may sit between ours and the SDK."""


class Client(NamedTuple):
    """What is known of a client."""

    max_retries: int
    tags: Mapping[str, str]
    """Those among its default headers. Where there are none nothing has to be omitted, which would cost 5 us a call."""
    timeout: float | httpx2.Timeout | None


class Clients:
    """The clients that use one middleware, by the function that sends for them: the SDK makes one a client (one a call under
    OpenTelemetry)."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[Any], Client]] = {}
        self.max_retries = DEFAULT_MAX_RETRIES
        """Of the client that was learnt last: the best guess for one that is not known."""

    def of(self, call_next: Any) -> Client | None:
        """The client behind `call_next`, or None. Never raises."""
        known = self._known.get(id(call_next))
        if known is not None and known[0]() is call_next:
            return known[1]
        try:
            found = _behind(call_next)
            return None if found is None else self._keep(call_next, found)
        except Exception:  # noqa: BLE001 -- another version of the SDK may keep it elsewhere; the first answer tells as well
            return None

    def learn(self, call_next: Any, client: Any) -> int:
        """Notes a client that its first answer has shown. How often it repeats."""
        learnt = self._keep(call_next, client)
        if learnt.tags:
            log.warning("console: tags in a client's default_headers count from its second call on; use extra_headers")
        return learnt.max_retries

    def _keep(self, call_next: Any, client: Any) -> Client:
        if len(self._known) >= MAX_CLIENTS:
            self._known.clear()
        learnt = Client(client.max_retries, default_tags(client), client.timeout)
        self._known[id(call_next)] = ref(call_next), learnt
        self.max_retries = learnt.max_retries
        return learnt


def _behind(call_next: Any) -> Any:
    """The client that the innermost function of a chain of middlewares belongs to, or None."""
    for _ in range(MAX_MIDDLEWARES):
        cells = dict(zip(call_next.__code__.co_freevars, call_next.__closure__ or (), strict=True))
        if "self" in cells:
            client = cells["self"].cell_contents
            return client if hasattr(client, "max_retries") else None
        if "call_next" not in cells:
            return None
        call_next = cells["call_next"].cell_contents
    return None
