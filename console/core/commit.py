"""When a stream is committed: the first content has come, and from there on nobody can take the answer back. Pure.

Until then its bytes are held, and an error that the API sends in band is seen before the caller sees it.
"""

from __future__ import annotations

import json
from typing import Final, Literal

from console.core.moves import error_in

Look = Literal["held", "content", "error"]

_CONTENT: Final = b"content_block_delta"
_ENDS: Final = (b"content_block_stop", b"message_delta", b"message_stop")
"""An answer without any text is an answer too."""
_ERRORS: Final = (b"event: error", b"event:error")
"""The space after a field's colon is optional in SSE, and some servers leave it out."""
_LONGEST: Final = max(map(len, (_CONTENT, *_ENDS, *_ERRORS)))
MAX_HELD: Final = 1024 * 1024
"""Bytes; a stream that has no content by then is given to the caller as it is."""


class Held:
    """The first chunks of a stream, in order, until `take` answers anything but "held"."""

    __slots__ = ("_size", "_tail", "chunks")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self._size = 0
        self._tail = b""

    def take(self, chunk: bytes) -> Look:
        """Keeps the next chunk and says what has come: whichever of content and error came first."""
        self.chunks.append(chunk)
        data = self._tail + chunk if self._tail else chunk
        self._tail = data[-_LONGEST:]
        first = data.find(_CONTENT)
        if first < 0 and (b"_stop" in data or b"message_d" in data):
            first = min((at for at in map(data.find, _ENDS) if at >= 0), default=-1)
        if b"error" in data:
            error = min((at for at in map(data.find, _ERRORS) if at >= 0), default=-1)
            if error >= 0 and (first < 0 or error < first):
                return "error"
        self._size += len(chunk)
        return "held" if first < 0 and self._size <= MAX_HELD else "content"

    def failure(self) -> list[bytes]:
        """What a caller gets of a stream whose error in band is all that is left to show: not the content in front of it, which
        no reader should take for an answer."""
        data = b"".join(self.chunks)
        error = min((at for at in map(data.find, _ERRORS) if at >= 0), default=0)
        return [data[error:]] if 0 <= data.find(_CONTENT) < error else self.chunks

    def error_type(self) -> str:
        """What an error that came in band says of itself (`moves.error_in`), "api_error" when it does not say."""
        data = b"".join(self.chunks)
        start = min((at for at in map(data.find, _ERRORS) if at >= 0), default=0)
        event = data[start:].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")[0]
        body = b"".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
        try:
            return error_in(json.loads(body)["error"]) or "api_error"
        except (ValueError, KeyError, TypeError, RecursionError):
            return "api_error"
