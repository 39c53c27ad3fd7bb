"""What a response body says of itself while it passes by: usage, stop reason, first token, and whether it was whole. Pure.

Fed with the bytes that the caller reads; looks for the few events that matter with a substring test, so that the deltas in
between cost no JSON.
"""

from __future__ import annotations

import json
from typing import Final

from console.core.calls import Usage

MAX_HELD: Final = 4 * 1024 * 1024
"""Bytes of one event, or of one plain JSON answer, that are held to be parsed; more is let pass unread."""

_MARKS: Final = (b"event: message_", b"event:message_", b"event: error", b"event:error")


class Observation:
    """Collects what is known of one body. `feed` never raises and copies nothing of the usual chunk."""

    __slots__ = ("_held", "_is_sse", "_usage", "error", "first_token_us", "is_blind", "is_whole", "model", "stop_reason")

    def __init__(self, *, is_sse: bool) -> None:
        self._is_sse = is_sse
        self._held = b""
        self._usage: dict[str, object] = {}
        self.is_blind = False
        """There was more than could be held: nothing is known of what follows."""
        self.first_token_us: int | None = None
        self.is_whole = False
        """message_stop has passed, or the plain JSON was complete."""
        self.error: str | None = None
        self.model: str | None = None
        self.stop_reason: str | None = None

    @property
    def usage(self) -> Usage | None:
        """The tokens, as far as they have been told."""
        return usage_of(self._usage) if self._usage else None

    def feed(self, chunk: bytes, elapsed_us: int) -> None:
        """Takes the next bytes, `elapsed_us` after the call began."""
        if self.is_blind:
            return
        data = self._held + chunk if self._held else chunk
        if len(data) > MAX_HELD:
            self._held, self.is_blind = b"", True
            return
        if not self._is_sse:
            self._held = data
            return
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            self._held = data
            return
        self._held = data[end:]
        if self.first_token_us is None and b"content_block_delta" in data:
            self.first_token_us = elapsed_us
        if any(mark in data for mark in _MARKS):
            self._read_events(data[:end])

    def finish(self) -> None:
        """The body has ended: a plain answer is parsed now."""
        if self._is_sse or not self._held:
            return
        try:
            document = json.loads(self._held)
        except (ValueError, RecursionError):
            return
        self._held = b""
        if isinstance(document, dict):
            self._read_plain(document)

    def _read_plain(self, document: dict[str, object]) -> None:
        error = document.get("error")
        if document.get("type") == "error" and isinstance(error, dict):
            self.error = _text(error.get("type"))
            return
        self.is_whole = True
        self.model, self.stop_reason = _text(document.get("model")), _text(document.get("stop_reason"))
        self._add_usage(document.get("usage"))

    def _read_events(self, data: bytes) -> None:
        for event in data.split(b"\n\n"):
            if not any(mark in event for mark in _MARKS):
                continue
            payload = b"".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
            try:
                document = json.loads(payload)
            except (ValueError, RecursionError):
                continue
            if isinstance(document, dict):
                self._read_event(document)

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
