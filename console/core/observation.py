"""What a response body says of itself while it passes by: usage, stop reason, first token, and whether it was whole. Pure.

On the caller's path a chunk is only kept by reference, and looked into until the first content has come; after that a chunk
costs one append. When the body has ended, `close` cuts much of it down to the few events that carry facts, and `finish`, in the
recorder's thread, parses them.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Final

from console.core.calls import Usage
from console.core.moves import error_in

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HELD: Final = 256 * 1024
"""Bytes of a plain JSON answer that are kept to be parsed; more is let pass unread."""
MAX_CHUNKS: Final = 512
"""So many of the last chunks are kept: what counts stands at a stream's end, within 512 bytes should it come byte by byte."""

FEW_CHUNKS: Final = 64
"""About 10 KB of a stream; cutting them down would cost the caller 15 us."""

_CONTENT: Final = b"event: content_block"
_FIRST_CONTENT: Final = b"content_block_delta"
_MARKS: Final = (b'"message_', b'"error"')
"""What stands in the events that carry facts. In the text of a delta quotes are escaped, so it hardly ever stands there."""


class Observation:
    """Collects what matters of one body. Nothing here raises.

    A reader appends each chunk to `chunks`, and calls `begin` with it until that answers False; `feed` does both.
    """

    __slots__ = (
        "_events",
        "_head",
        "_is_sse",
        "_usage",
        "chunks",
        "error",
        "first_content_at",
        "is_blind",
        "is_whole",
        "model",
        "stop_reason",
        "usage",
    )

    def __init__(self, *, is_sse: bool) -> None:
        self._is_sse = is_sse
        self._head = b""
        self._events: list[bytes] = []
        self._usage: dict[str, object] = {}
        self.chunks: deque[bytes] = deque(maxlen=MAX_CHUNKS)
        self.is_blind = False
        """There was more than could be held: whether the body is whole cannot be told."""
        self.first_content_at: int | None = None
        """The clock when the first chunk with content came."""
        self.is_whole = False
        """message_stop has passed, or the plain JSON was complete."""
        self.error: str | None = None
        self.model: str | None = None
        self.stop_reason: str | None = None
        self.usage: Usage | None = None

    def feed(self, chunk: bytes, clock: Callable[[], int]) -> None:
        """Takes the next bytes. `clock` (any steady unit) is read while the first content has not come."""
        self.chunks.append(chunk)
        if self._is_sse and self.first_content_at is None:
            self.begin(chunk, clock())

    def begin(self, chunk: bytes, now: int) -> bool:
        """Looks for the start of the message and its first content in a chunk that came at `now`; False when it has what it
        wants, and need not be called again."""
        if not self._is_sse:
            return False
        head = self._head + chunk
        if _FIRST_CONTENT in head:
            self.first_content_at = now
        elif len(head) <= MAX_HELD:
            self._head = head
            return True
        self._head = head[: head.find(b"content_block")] if b"content_block" in head else head[:MAX_HELD]
        return False

    @property
    def seems_whole(self) -> bool:
        """Whether the last bytes hold the end of a message; `is_whole` tells for certain, after `finish`."""
        end = b"".join(tuple(self.chunks)[-8:])
        return b"message_stop" in end or not self._is_sse

    def close(self) -> None:
        """The body has ended. Much of it is cut down to what carries facts at once, because it may wait in the recorder's queue
        for a while; the few chunks of a short stream are left as they are for `finish`."""
        if not self._is_sse or len(self.chunks) > FEW_CHUNKS:
            self._cut_down()

    def _cut_down(self) -> None:
        data = b"".join(self.chunks)
        self.chunks.clear()
        if not self._is_sse:
            self.is_blind = len(data) > MAX_HELD
            self._events = [] if self.is_blind else [data]
            return
        head, self._head = self._head, b""
        if not data.startswith(head):  # so long that its start was not kept
            data = head + b"\n\n" + data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, last = data.find(_CONTENT), data.rfind(_CONTENT)
        around = data if first < 0 else data[:first] + b"\n\n" + data[last:]
        self._events = [event for event in around.split(b"\n\n") if any(mark in event for mark in _MARKS)]

    def finish(self) -> None:
        """Parses what `close` has left. Works once."""
        if self.chunks:
            self._cut_down()
        events, self._events = self._events, []
        for event in events:
            if self._is_sse:
                event = b"".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))  # noqa: PLW2901
            document = _json(event)
            if document is not None:
                (self._read_event if self._is_sse else self._read_plain)(document)
        self.usage = usage_of(self._usage) if self._usage else None

    def _read_plain(self, document: dict[str, object]) -> None:
        error = document.get("error")
        if document.get("type") == "error" and isinstance(error, dict):
            self.error = error_in(error)
            return
        self.is_whole = True
        self.model, self.stop_reason = _text(document.get("model")), _text(document.get("stop_reason"))
        self._add_usage(document.get("usage"))

    def _read_event(self, document: dict[str, object]) -> None:
        kind = document.get("type")
        if kind == "message_start":
            message = document.get("message")
            if isinstance(message, dict):
                self.model = _text(message.get("model"))
                self._add_usage(message.get("usage"))
        elif kind == "message_delta":
            delta = document.get("delta")
            if isinstance(delta, dict):
                self.stop_reason = _text(delta.get("stop_reason"))
            self._add_usage(document.get("usage"))
        elif kind == "message_stop":
            self.is_whole = True
        elif kind == "error":
            self.error = error_in(document.get("error")) or "api_error"

    def _add_usage(self, raw: object) -> None:
        """Every count of a later event replaces the one before: they are totals, and server tools add to what was sent."""
        if isinstance(raw, dict):
            self._usage.update((key, value) for key, value in raw.items() if value is not None)


def _json(data: bytes) -> dict[str, object] | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def usage_of(raw: object) -> Usage | None:
    """Tokens of a `usage` object as the API writes it, or None for anything else."""
    if not isinstance(raw, dict):
        return None
    written = _count(raw.get("cache_creation_input_tokens"))
    parts = raw.get("cache_creation")
    an_hour = _count(parts.get("ephemeral_1h_input_tokens")) if isinstance(parts, dict) else 0
    return Usage(
        _count(raw.get("input_tokens")),
        _count(raw.get("output_tokens")),
        _count(raw.get("cache_read_input_tokens")),
        max(0, written - an_hour),
        an_hour,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
