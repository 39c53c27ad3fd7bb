"""What a response body says of itself while it passes by: usage, stop reason, first token, and whether it was whole. Pure.

Fed with the bytes that the caller reads; looks for the few events that matter with a substring test, so that the deltas in
between cost no JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from console.core.calls import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HELD: Final = 256 * 1024
"""Bytes of one event, or of one plain JSON answer, that are held to be parsed; more is let pass unread."""

_MARKS: Final = (b'"message_', b'"error"')
"""What stands in the events that carry facts. In the text of a delta quotes are escaped, so it hardly ever stands there."""


class Observation:
    """Collects what matters of one body. `feed` never raises and looks at a usual delta with three substring tests; what it
    keeps (the two or three events that carry facts) is parsed by `finish`, off the caller's path."""

    __slots__ = (
        "_held",
        "_held_bytes",
        "_is_sse",
        "_kept",
        "_kept_bytes",
        "_usage",
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
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._usage: dict[str, object] = {}
        self.is_blind = False
        """There was more than could be held: whether the body is whole cannot be told."""
        self.first_content_at: int | None = None
        """The `now` of the first chunk with a content delta."""
        self.is_whole = False
        """message_stop has passed, or the plain JSON was complete."""
        self.error: str | None = None
        self.model: str | None = None
        self.stop_reason: str | None = None
        self.usage: Usage | None = None

    def feed(self, chunk: bytes, clock: Callable[[], int]) -> None:
        """Takes the next bytes. `clock` (any steady unit) is read once, at the first content."""
        if self._is_sse and not self._held and chunk.endswith(b"\n\n"):
            if b'"message_' in chunk or b'"error"' in chunk:
                for event in chunk.split(b"\n\n"):  # only what carries facts: what is kept waits in the recorder's queue
                    if any(mark in event for mark in _MARKS):
                        self._keep(event)
            if self.first_content_at is None and b"content_block_delta" in chunk:
                self.first_content_at = clock()
        elif not self.is_blind:
            self._hold(chunk, clock)

    def _hold(self, chunk: bytes, clock: Callable[[], int]) -> None:
        """Bytes that end inside an event, or belong to a plain answer."""
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes > MAX_HELD:
            self._held, self.is_blind = [], True
        elif self._is_sse and b"\n" in chunk:
            data = b"".join(self._held).replace(b"\r\n", b"\n")
            whole, mark, rest = data.rpartition(b"\n\n")
            if mark:
                self._held, self._held_bytes = [], 0
                for event in whole.split(mark):
                    self.feed(event + mark, clock)
                if rest:
                    self._held, self._held_bytes = [rest], len(rest)

    def _keep(self, data: bytes) -> None:
        self._kept_bytes += len(data)
        if self._kept_bytes <= MAX_HELD:
            self._kept.append(data)
        else:
            self.is_blind = True

    def finish(self) -> None:
        """The body has ended: what was kept is parsed now. Works once; never raises."""
        if self._is_sse:
            kept, self._kept = self._kept, []
            for event in kept:
                document = _json(b"".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:")))
                if document is not None:
                    self._read_event(document)
        else:
            held, self._held = self._held, []
            document = _json(b"".join(held))
            if document is not None:
                self._read_plain(document)
        self.usage = usage_of(self._usage) if self._usage else None

    def _read_plain(self, document: dict[str, object]) -> None:
        error = document.get("error")
        if document.get("type") == "error" and isinstance(error, dict):
            self.error = _text(error.get("type"))
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
            error = document.get("error")
            self.error = (_text(error.get("type")) if isinstance(error, dict) else None) or "api_error"

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
