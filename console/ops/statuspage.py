"""Asking the provider's status page: once a minute, in a thread of its own, for people only. Nothing waits for it and nothing
is decided by it; what cannot be read is said as such.

Standard library only, and loaded with the first question: neither the start of the screen nor a command pays for it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from console.core.statuspage import ASKING, MAX_BYTES, PATH, StatusPage, read_summary, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S: Final = 60.0
TIMEOUT_S: Final = 3.0
"""For each step of the connection."""
WHOLE_S: Final = 6.0
"""For all of it: an answer that trickles is none."""
_CHUNK: Final = 16_384
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class PageWatch:
    """The status page of `url` (its address, without a path of the API). For every thread."""

    def __init__(self, url: str, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._url = url
        self._clock_us = clock_us
        self._page: StatusPage = ASKING
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._is_asking = False

    def look(self, delay_s: float = 0.0) -> StatusPage:
        """The page as it is known. Never waits: when it is time, a thread goes and asks, after `delay_s` seconds."""
        now = time.monotonic()
        with self._lock:
            asked_at = self._asked_at
            if self._is_asking:
                # A name's resolution has no limit of its own.
                if asked_at is not None and now - asked_at > delay_s + 2 * WHOLE_S:
                    return unreachable(f"no answer in {2 * WHOLE_S:.0f} s", self._clock_us())
                return self._page
            if asked_at is not None and now - asked_at < EVERY_S:
                return self._page
            self._asked_at, self._is_asking = now, True
        try:
            threading.Thread(target=self._ask, args=(delay_s,), name="console-status-page", daemon=True).start()
        except RuntimeError:  # no thread can be started now: with the next look in a minute
            self._is_asking = False
        return self._page

    def wait(self, seconds: float) -> StatusPage:
        """The page once the question that is under way is answered, or after `seconds`."""
        page, deadline = self.look(), time.monotonic() + seconds
        while self._is_asking and time.monotonic() < deadline:
            time.sleep(0.01)
            page = self._page
        return page

    def _ask(self, delay_s: float) -> None:
        try:
            time.sleep(delay_s)
            self._page = fetch(self._url, self._clock_us)
        finally:
            self._is_asking = False


def fetch(url: str, clock_us: Callable[[], int]) -> StatusPage:
    """Asks once. Never raises; takes `WHOLE_S` and a name's resolution at most. No redirect is followed, nothing but https is
    spoken outside of this host, and no more than `MAX_BYTES` is read."""
    try:
        return read_summary(_read(url), clock_us())
    except Exception as error:  # noqa: BLE001 -- whatever a network can do: the page is not reachable, and that is all
        return unreachable(_plainly(error), clock_us())


def _read(url: str) -> bytes:
    from urllib import request  # noqa: PLC0415 -- 40 ms that no start and no command needs

    parts = urlsplit(url)
    is_local = parts.hostname in _LOOPBACK
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ValueError("only https is asked")

    class NoRedirect(request.HTTPRedirectHandler):
        def redirect_request(self, *args: object, **kwargs: object) -> None:
            """What answers elsewhere is not the page that was configured."""

    handlers: list[request.BaseHandler] = [NoRedirect()]
    if is_local:  # loopback is never behind a proxy, whatever the environment says
        handlers.append(request.ProxyHandler({}))
    asked = request.Request(  # noqa: S310 -- the scheme was looked at
        url.rstrip("/") + PATH, headers={"accept": "application/json", "user-agent": "claude-incident-console"}
    )
    deadline, body = time.monotonic() + WHOLE_S, b""
    with request.build_opener(*handlers).open(asked, timeout=TIMEOUT_S) as answer:
        while chunk := answer.read1(_CHUNK):
            body += chunk
            if len(body) > MAX_BYTES:
                raise ValueError(f"longer than {MAX_BYTES // 1024} KB")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not whole after {WHOLE_S:.0f} s")
    return body


def _plainly(error: object) -> str:
    """An error in a few words: an HTTP status, or what the network has said, without numbers of the operating system."""
    reason = getattr(error, "reason", None)
    if not hasattr(error, "code") and reason is not None:
        error = reason
    if isinstance(error, TimeoutError):
        return str(error) or "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
