"""One answer out of the streams of several attempts: what is handed on of each, how the next one is asked to go on, and what
was billed. Pure: bytes in, bytes out; no clock, no network.

What a caller gets keeps these rules, whatever the sources do (FAULTS.md, I9):
* whole events only, in order, and exactly one `message_start`; what comes unchanged is handed on byte for byte;
* no text twice and none left out: a continuation's repeated words are dropped (`core.seam`), its thinking is not shown;
* a tool call's JSON comes from one source, or the answer is not continued;
* what looks whole is whole: without `message_stop` from a source that was sound up to it nothing ends the message.

The events are judged as the SDK will read them (2.11, `_streaming.py` and `lib/streaming/_messages.py`): a fault is what makes
it raise, or put together another message than was sent. Events, deltas and blocks of kinds that are not known pass.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from console.core.moves import error_in
from console.core.observation import usage_of
from console.core.seam import Seam, ask_to_go_on, last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from console.core.calls import Usage

    Document: TypeAlias = dict[str, Any]

MAX_KEPT: Final = 2 * 1024 * 1024
"""Bytes of the streams that are kept for a continuation and for `partial`: some 17,000 deltas, 60,000 tokens and more."""
MAX_EVENT: Final = 32 * 1024 * 1024
"""Bytes of an event that has not ended. The API takes no request above this, and so no answer that could be sent back."""
BYTES_PER_TOKEN: Final = 3.5
"""Of UTF-8. Anthropic's glossary: "a token approximately represents 3.5 English characters". A Chinese one is about
one token."""

MALFORMED: Final = "malformed_event"
TRUNCATED: Final = "truncated_stream"

_BOUNDARY: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_STRING: Final = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
_TEXTS: Final = re.compile(rb'"(?:text|thinking|partial_json)": ?("' + _STRING + rb'")')

_CALLS: Final = ("tool_use", "server_tool_use", "mcp_tool_use")
_THINKING: Final = ("thinking", "redacted_thinking")
_FIELDS: Final = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    **dict.fromkeys(_CALLS, ("input_json_delta", "partial_json")),
}
"""What a block of each kind grows by: the type of its deltas, and where in them the text is."""
_DELTAS: Final[Mapping[str, tuple[tuple[str, ...], str, type]]] = {
    "text_delta": (("text",), "text", str),
    "citations_delta": (("text",), "citation", dict),
    "thinking_delta": (("thinking",), "thinking", str),
    "signature_delta": (("thinking",), "signature", str),
    "input_json_delta": (_CALLS, "partial_json", str),
}
"""Deltas that the SDK adds to a block of these kinds (and ignores elsewhere), and what it needs of them."""
_KNOWN_BLOCKS: Final = frozenset((*_FIELDS, *_THINKING))
_NEEDED: Final = {
    "text": ("text",), "thinking": ("thinking",), "tool_use": ("id", "name"), "server_tool_use": ("id", "name"),
}  # fmt: skip

_KNOWN: Final = frozenset(
    ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop")
)

_Way = Literal["pass", "drop", "seam"]


class _Fault(Exception):
    """The source makes no sense, or says that it has failed. `kind`: as in `Splicer.broken`."""

    def __init__(self, kind: str = MALFORMED) -> None:
        super().__init__(kind)
        self.kind = kind


class _Block:
    """A content block of the answer. `pieces`: text, or the bytes of whole delta events as they came from the present
    source."""

    __slots__ = ("citations", "is_kept", "is_stopped", "kind", "pieces", "signature", "start")

    def __init__(self, start: Document, *, is_kept: bool) -> None:
        self.kind: str = start["type"]
        self.start = start if is_kept else {"type": self.kind}
        self.is_kept = is_kept
        self.is_stopped = False
        self.pieces: list[bytes | str] = []
        self.signature: str | None = None
        self.citations: list[Document] = []

    def text(self) -> str:
        """What has been added to it."""
        return "".join(_text_of(piece) if isinstance(piece, bytes) else piece for piece in self.pieces)

    def settle(self) -> None:
        """Makes text of the bytes: the source that they came from has ended."""
        self.pieces[:] = (self.text(),)

    def to_json(self) -> Document:
        """The block as it stands in a message."""
        if self.kind not in _FIELDS:
            return dict(self.start)
        text = self.text()
        if self.kind in _CALLS:
            return {**self.start, "input": _input(text, self.start) if self.is_stopped else {}}
        field = _FIELDS[self.kind][1]
        block = {**self.start, field: f"{self.start.get(field, '')}{text}"}
        if self.signature is not None:
            block["signature"] = self.signature
        if self.citations:
            block["citations"] = [*(self.start.get("citations") or ()), *self.citations]
        return block


class Splicer:
    """One message handed to a caller out of the streams of one or several attempts.

    `take` what comes; when the source breaks (`broken`, `ended`, or reading it fails): `closing` if `is_finished`, else, if
    `can_continue`, send `continuation`, `resume` and `take` what comes then; else `partial` is what the caller has got.
    """

    def __init__(self, before: Splicer | None = None) -> None:
        """`before`: of the source before this one, of which the caller has had nothing; it is billed all the same."""
        self.broken: str | None = None
        """Why nothing more is taken of this source: "malformed_event", or what an error in band says of itself."""
        self.has_stopped = False
        """message_stop has been handed on."""
        self.is_finished = False
        """A message_delta with a stop reason was handed on: nothing of the answer is missing but its end."""
        self._room = MAX_KEPT
        self._head: Document = {}
        self._blocks: list[_Block] = []
        self._first_index = 0
        self._open: _Block | None = None
        self._is_text = True
        """Nothing but text and thinking has been handed on."""
        self._stop: tuple[str | None, str | None] = (None, None)
        self._billed: Document = {} if before is None else before._sums()  # noqa: SLF001 -- one of its own kind
        """The sums of the sources before this one."""
        self._is_resumed = False
        self._prefill = ""
        self._begin()

    def _begin(self) -> None:
        """A new source: nothing has come of it."""
        self.broken = None
        self._pending = bytearray()
        self._has_started = False
        self._has_counts = False
        self._usage: Document = {}
        self._seen = 0
        """Bytes of text in its deltas, but for those that are kept as bytes."""
        self._next = 0
        self._index: int | None = None
        self._kind = ""
        self._way: _Way = "pass"
        self._seam: Seam | None = None
        self._is_delta: Callable[[bytes], object] | None = None
        self._keep: Callable[[bytes | str], None] = list[bytes | str]().append

    # -- what comes ------------------------------------------------------------------------------------------------------

    def take(self, chunk: bytes) -> bytes:
        """The next bytes of the source; what can be handed on of them now, and of what was held: whole events. Nothing after
        `broken` is set, but what was sound before the fault is handed on. Never raises.

        A chunk of ordinary deltas costs one match and one append, and is handed on itself.
        """
        is_delta = self._is_delta
        if is_delta is not None and not self._pending and is_delta(chunk) is not None and (chunk.isascii() or _is_utf8(chunk)):
            self._keep(chunk)
            self._room -= len(chunk)
            if self._room < 0:
                self._is_delta = None
            return chunk
        return self._take(chunk)

    def _take(self, chunk: bytes) -> bytes:
        if self.broken is not None:
            return b""
        data, start = chunk, 0
        if self._pending:
            start = max(0, len(self._pending) - 3)
            self._pending += chunk
            if _BOUNDARY.search(self._pending, start) is None:
                self.broken = MALFORMED if len(self._pending) > MAX_EVENT else None
                return b""
            data = bytes(self._pending)
            self._pending = bytearray()
        said, at = [], 0
        try:
            for boundary in _BOUNDARY.finditer(data, start):
                event, at = data[at : boundary.end()], boundary.end()
                said.append(self._event(event))
        except _Fault as fault:
            self.broken, self._is_delta = fault.kind, None
            return b"".join(said)
        if data[at:].strip(b"\r\n"):
            self._pending += data[at:]
        else:  # no more than the end of a line, of which the first half has been handed on
            said.append(data[at:])
        whole = b"".join(said)
        return chunk if whole == chunk else whole

    def _event(self, raw: bytes) -> bytes:
        """One whole event; what is handed on for it."""
        if self._is_delta is not None and self._is_delta(raw) is not None and _is_utf8(raw):
            self._keep(raw)
            self._spend(len(raw))
            return raw
        try:
            if raw.startswith((b"event: ping", b"event:ping")) and not _is_sound(raw):
                return b""  # nothing is lost without it
            document = _document(raw)
            handler = None if document is None else self._HANDLERS.get(document["type"])
            if document is None or handler is None:
                return raw
            if self.has_stopped or not (self._has_started or document["type"] == "message_start"):
                raise _Fault
            return handler(self, document, raw)
        except _Fault:
            if self.has_stopped:  # behind the end of a message nothing matters
                return b""
            raise

    def _message_started(self, document: Document, raw: bytes) -> bytes:
        message = document.get("message")
        usage = message.get("usage") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if self._has_started or not isinstance(message, dict) or not isinstance(usage, dict) or not isinstance(content, list):
            raise _Fault
        self._has_started = True
        self._next = len(content)
        self._usage = _without_none(usage)
        if self._head:
            return b""
        self._head, self._first_index = message, len(content)
        self._spend(len(raw))
        return raw

    def _block_started(self, document: Document, raw: bytes) -> bytes:
        index, block = document.get("index"), document.get("content_block")
        if type(index) is not int or index != self._next or not isinstance(block, dict):
            raise _Fault
        kind = block.get("type")
        if not isinstance(kind, str) or not all(isinstance(block.get(field), str) for field in _NEEDED.get(kind, ())):
            raise _Fault
        self._next += 1
        self._index, self._kind = index, kind
        text = block.get(_FIELDS[kind][1]) if kind in ("text", "thinking") else None
        self._seen += _size(text) if isinstance(text, str) else 0
        if self._is_resumed and kind in _THINKING:
            self._way = "drop"
            return self._arm(b"")
        if self._seam is not None and kind == "text":
            self._way = "seam"
            closed = b"" if self._open is None or self._open.kind == "text" else self._closed()
            return self._arm(closed + (self._sewn(self._seam.take(str(text))) if text else b""))
        self._way = "pass"
        closed = self._closed() if self._is_resumed else b""  # a first source that closes none is the SDK's to read
        position = self._opened(block, len(raw))
        return self._arm(closed + (raw if position == index else _event({**document, "index": position})))

    def _grew(self, document: Document, raw: bytes) -> bytes:
        index, delta = document.get("index"), document.get("delta")
        if type(index) is not int or index != self._index or not isinstance(delta, dict):
            raise _Fault
        text = self._checked(delta)
        self._seen += 0 if text is None else _size(text)
        if self._way == "drop":
            return b""
        if self._way == "seam" and self._seam is not None:
            if delta.get("type") == "text_delta":
                return self._sewn(self._seam.take(str(text)))
            sewn = self._sewn(self._seam.end())
            return sewn + self._grown(document, delta, text, raw)
        return self._grown(document, delta, text, raw)

    def _checked(self, delta: Document) -> str | None:
        """A delta's text, if it has some."""
        kind = delta.get("type")
        if not isinstance(kind, str):
            raise _Fault
        if kind not in _DELTAS:
            return None
        kinds, field, needed = _DELTAS[kind]
        value = delta.get(field)
        if not isinstance(value, needed) or (self._kind in _KNOWN_BLOCKS and self._kind not in kinds):
            raise _Fault
        return value if isinstance(value, str) and kind != "signature_delta" else None

    def _grown(self, document: Document, delta: Document, text: str | None, raw: bytes) -> bytes:
        """A delta goes into the open block. In a continuation a block of text begins when there is text to go into it."""
        started = b""
        if self._open is None:
            if delta.get("type") == "text_delta" and not text:
                return b""
            started = self._begun()
        block = self._open
        assert block is not None  # noqa: S101 -- of this source: it has begun, or was begun just now
        self._spend(len(raw))
        if delta.get("type") == "citations_delta":
            self._is_text = False
        if self._room >= 0:
            if text is not None:
                block.pieces.append(text)
            elif delta.get("type") == "signature_delta":
                block.signature = delta["signature"]
            elif delta.get("type") == "citations_delta":
                block.citations.append(delta["citation"])
        position = self._position()
        return self._arm(started + (raw if position == document["index"] else _event({**document, "index": position})))

    def _block_stopped(self, document: Document, raw: bytes) -> bytes:
        index = document.get("index")
        if type(index) is not int or not 0 <= index < self._next:
            raise _Fault
        if index != self._index:  # once more, or late: to the SDK it means nothing
            return b"" if self._is_resumed else raw
        sewn = self._sewn_up()
        self._index, way = None, self._way
        if way == "drop" or self._open is None:
            return self._arm(sewn)
        position = self._position()
        self._open.is_stopped, self._open = True, None
        return self._arm(sewn + (raw if position == index else _event({**document, "index": position})))

    def _told_why(self, document: Document, raw: bytes) -> bytes:
        """message_delta: why the model stopped, and what it has used."""
        delta, usage = document.get("delta"), document.get("usage")
        if not isinstance(delta, dict) or not isinstance(usage, dict) or "output_tokens" not in usage:
            raise _Fault
        self._has_counts = True
        self._usage |= _without_none(usage)
        if "stop_reason" in delta:
            reason, sequence = delta["stop_reason"], delta.get("stop_sequence")
            self._stop = (reason if isinstance(reason, str) else None, sequence if isinstance(sequence, str) else None)
            self.is_finished = self._stop[0] is not None
        if not self._is_resumed:
            return _event({**document, "usage": {**usage, **_counts(self._sums())}}) if self._billed else raw
        closed = self._sewn_up() + self._closed()
        self._index = None
        return self._arm(closed + _event({**document, "usage": {**usage, **_counts(self._sums())}}))

    def _stopped(self, _: Document, raw: bytes) -> bytes:
        closed = self._sewn_up() + self._closed() if self._is_resumed else b""
        self.has_stopped, self._index = True, None
        return self._arm(closed + raw)

    # -- what goes out ---------------------------------------------------------------------------------------------------

    def _arm(self, said: bytes) -> bytes:
        """Chooses how the next chunk is looked at."""
        self._is_delta = None
        block = self._open
        if self._way == "pass" and block is not None and self._room >= 0 and block.kind in _FIELDS:
            if self._position() == self._index:
                self._is_delta = _deltas_of(block.kind, self._index)
            self._keep = block.pieces.append
        return said

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            self._is_delta = None

    def _position(self) -> int:
        """The index of the open block."""
        return self._first_index + len(self._blocks) - 1

    def _opened(self, start: Document, size: int) -> int:
        self._spend(size)
        self._is_text = self._is_text and start["type"] in ("text", *_THINKING) and not start.get("citations")
        self._open = _Block(start, is_kept=self._room >= 0)
        self._blocks.append(self._open)
        return self._position()

    def _begun(self) -> bytes:
        """Opens a block of text for a continuation."""
        start = {"type": "text", "text": ""}
        return _event({"type": "content_block_start", "index": self._opened(start, 0), "content_block": start})

    def _sewn(self, text: str | None) -> bytes:
        """What a seam gives goes behind what was said. None: it is still open."""
        if text is None:
            return b""
        self._seam, self._way = None, "pass"
        if not text:
            return self._arm(b"")
        started = self._begun() if self._open is None else b""
        delta = {"type": "text_delta", "text": text}
        written = _event({"type": "content_block_delta", "index": self._position(), "delta": delta})
        self._spend(len(written))
        if self._open is not None and self._room >= 0:
            self._open.pieces.append(text)
        return self._arm(started + written)

    def _sewn_up(self) -> bytes:
        """The block ends in which a continuation began: what was held of it is decided."""
        return self._sewn(self._seam.end()) if self._way == "seam" and self._seam is not None else b""

    def _closed(self) -> bytes:
        """Closes the block that is open, if there is one, as the source does not; what says so."""
        if self._open is None:
            return b""
        position = self._position()
        self._open.is_stopped, self._open = True, None
        return _event({"type": "content_block_stop", "index": position})

    # -- the source has ended, or broken ---------------------------------------------------------------------------------

    def ended(self) -> str | None:
        """The source has ended without an error of the connection: None when its message has too, else what is wrong."""
        return None if self.has_stopped else self.broken or TRUNCATED

    def closing(self) -> bytes:
        """The events that are missing when `is_finished`; they count as handed on. Nothing when none are."""
        if not self.is_finished or self.has_stopped:
            return b""
        closed = self._closed()
        self.has_stopped, self._index, self._is_delta = True, None, None
        return closed + _event({"type": "message_stop"})

    def can_continue(self, body: Mapping[str, Any]) -> bool:
        """Whether another model can go on with this answer to the request `body`: when there is text and, but for thinking
        before it, nothing else, when the form of the answer is free, and when all of it was kept."""
        if self.is_finished or self.has_stopped or not self._is_text or self._room < 0:
            return False
        if self._open is not None and self._open.kind != "text":
            return False
        return _is_free(body) and self._said().strip() != ""

    def continuation(self, body: Mapping[str, Any]) -> Document:
        """The request that asks for the rest of the answer to `body` (the caller's own, also after several breaks), which is
        not changed. What was said stands in an assistant turn (behind the caller's prefill if there is one) without the white
        space at its end, which the API refuses, and a user turn asks to go on: never a prefill, which recent models refuse.
        `max_tokens` is what is left of the caller's."""
        messages = list(body["messages"])
        said, last = _encodable(self._said()), messages[-1] if messages else None
        self._prefill = ""
        if isinstance(last, dict) and last.get("role") == "assistant":
            self._prefill, content = _prefilled(last.get("content"), said)
            messages[-1] = {**last, "content": content}
        else:
            messages.append({"role": "assistant", "content": said.rstrip()})
        messages.append({"role": "user", "content": ask_to_go_on(last_words(self._prefill + said))})
        return {**body, "messages": messages, **_what_is_left(body, _size(said))}

    def resume(self) -> None:
        """What comes next is of another source, an answer to the last `continuation`. What was held of the one before is
        dropped: the caller has not had it. Raises ValueError when a block is open that cannot be continued."""
        if self._open is not None and self._open.kind != "text":
            msg = f"a block of {self._open.kind} cannot be continued by another model"
            raise ValueError(msg)
        self._billed = self._sums()
        for block in self._blocks:
            block.settle()
        self._begin()
        self._is_resumed = bool(self._head)
        said = self._said()
        self._seam = Seam(self._prefill + said) if said.strip() else None

    def bill(self, lost: Splicer) -> None:
        """Adds what an attempt is billed of which the caller has had nothing."""
        self._billed = _added(self._billed, lost._sums())

    def usage(self) -> Usage | None:
        """The tokens of the present source, None when it has said nothing of them.

        A source that broke before its message_delta has told its input only (its count of output at the start is 1 or so). Its
        output is then estimated, one token for each `BYTES_PER_TOKEN` of the text, thinking and tool input that came. That is
        too little where thinking was shown shortened or not at all.
        """
        return usage_of(self._present()) if self._has_started else None

    def partial(self) -> Document:
        """What the caller has got, as the JSON of a Message; `stop_reason` is None unless one has come, `usage` is the sum over
        all sources. An unfinished tool call has the input {}: half of its JSON would be another call. Of what is above
        `MAX_KEPT` the beginning."""
        return {
            "id": "", "type": "message", "role": "assistant", "model": "", **self._head,
            "content": [*(self._head.get("content") or ()), *(block.to_json() for block in self._blocks if block.is_kept)],
            "stop_reason": self._stop[0],
            "stop_sequence": self._stop[1],
            "usage": {"input_tokens": 0, "output_tokens": 0, **self._sums()},
        }  # fmt: skip

    def _said(self) -> str:
        """All the text that has been handed on."""
        return "".join(
            f"{block.start.get('text', '')}{block.text()}" for block in self._blocks if block.kind == "text" and block.is_kept
        )

    def _present(self) -> Document:
        """The present source's counts."""
        if self._has_counts or not self._has_started:
            return self._usage
        came = self._seen
        for block in self._blocks:
            came += sum(_size(_text_of(piece)) for piece in block.pieces if isinstance(piece, bytes))
        told = self._usage.get("output_tokens")
        estimate = math.ceil(came / BYTES_PER_TOKEN)
        return {**self._usage, "output_tokens": max(told, estimate) if isinstance(told, int) else estimate}

    def _sums(self) -> Document:
        return _added(self._billed, self._present())

    _HANDLERS: ClassVar[Mapping[str, Callable[[Splicer, Document, bytes], bytes]]] = {
        "message_start": _message_started,
        "content_block_start": _block_started,
        "content_block_delta": _grew,
        "content_block_stop": _block_stopped,
        "message_delta": _told_why,
        "message_stop": _stopped,
    }


@lru_cache(maxsize=256)
def _deltas_of(kind: str, index: int) -> Callable[[bytes], object]:
    """Matches one or more whole events that do nothing but add to the block number `index`, as the API and `json.dumps` write
    them, with valid JSON. 0.4 us for an event of 120 bytes."""
    delta, field = (name.encode() for name in _FIELDS[kind])
    event = (
        rb'event: ?content_block_delta\r?\ndata: ?\{"type": ?"content_block_delta", ?"index": ?%d, ?'
        rb'"delta": ?\{"type": ?"%s", ?"%s": ?"%s" *+\} *+\} *+\r?\n\r?\n'
    )
    return re.compile(b"(?:" + event % (index, delta, field, _STRING) + b")++").fullmatch


def _text_of(deltas: bytes) -> str:
    """The text of events that `_deltas_of` has matched. In the texts themselves every quote is escaped."""
    return "".join(json.loads(found) for found in _TEXTS.findall(deltas))


def _fields(raw: bytes) -> tuple[str, str]:
    """The name and the data of an event. Raises ValueError for bytes that are not UTF-8."""
    raw.decode()
    name, data = "", []
    for line in raw.splitlines():
        field, _, value = line.decode().partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return name, "\n".join(data)


def _document(raw: bytes) -> Document | None:
    """What an event says, with its type; None: nothing that the SDK would look into. Raises `_Fault`."""
    try:
        name, data = _fields(raw)
        if name in ("", "ping") or not (data or name in _KNOWN or name == "error"):
            return None
        document = None if name == "error" else json.loads(data)
    except (ValueError, RecursionError):
        raise _Fault from None
    kind = document.get("type") if isinstance(document, dict) else None
    if "error" in (name, kind):
        raise _Fault(_error_type(data))
    if not isinstance(document, dict) or not isinstance(kind, str) or (name in _KNOWN and kind != name):
        raise _Fault
    return document


def _is_sound(raw: bytes) -> bool:
    """Whether the data of an event that the SDK does not look into is JSON: others read the lines."""
    try:
        json.loads(_fields(raw)[1] or "{}")
    except (ValueError, RecursionError):
        return False
    return True


def _error_type(data: str) -> str:
    try:
        return error_in(json.loads(data)["error"]) or "api_error"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "api_error"


def _event(document: Document) -> bytes:
    return f"event: {document['type']}\ndata: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


def _is_free(body: Mapping[str, Any]) -> bool:
    """Whether the answer may be any text: neither a schema nor a tool is asked for."""
    output, choice, messages = body.get("output_config"), body.get("tool_choice"), body.get("messages")
    if body.get("output_format") is not None or (isinstance(output, dict) and output.get("format") is not None):
        return False
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        return False
    if body.get("tools") and _may_think(body):  # a call of a tool without its thinking in front is refused in the next turn
        return False
    return isinstance(messages, list) and len(messages) > 0


def _may_think(body: Mapping[str, Any]) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") != "disabled"


def _what_is_left(body: Mapping[str, Any], size: int) -> Document:
    """What of `max_tokens` a continuation may use, when `size` bytes were said. These are counted low, 4 bytes a token where
    the glossary has 3.5: rather some tokens too many than an answer that is cut. For a model that thinks all of it, since its
    budget is in there."""
    asked = body.get("max_tokens")
    return {"max_tokens": max(1, asked - size // 4)} if type(asked) is int and not _may_think(body) else {}


def _prefilled(content: object, said: str) -> tuple[str, object]:
    """The text that a prefill ends in, and the whole turn: the prefill with what was said behind it."""
    if isinstance(content, str):
        return content, (content + said).rstrip()
    blocks = list(content) if isinstance(content, list | tuple) else []
    last = blocks[-1] if blocks else None
    if isinstance(last, dict) and last.get("type") == "text" and isinstance(last.get("text"), str):
        return last["text"], [*blocks[:-1], {**last, "text": (last["text"] + said).rstrip()}]
    return "", [*blocks, {"type": "text", "text": said.rstrip()}]


def _input(text: str, start: Document) -> object:
    """A finished tool call's input. It may come whole with the block's start; what is no JSON (cut by `max_tokens`) is {}."""
    try:
        return json.loads(text) if text else start.get("input", {})
    except (ValueError, RecursionError):
        return {}


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> Document:
    """Two usage objects as one: counts are added, also those within; of what is no count the later stands."""
    whole = {**one, **other}
    for key in one.keys() & other.keys():
        if _is_count(one[key]) and _is_count(other[key]):
            whole[key] = one[key] + other[key]
        elif isinstance(one[key], dict) and isinstance(other[key], dict):
            whole[key] = _added(one[key], other[key])
    return whole


def _counts(usage: Document) -> Document:
    return {key: value for key, value in usage.items() if _is_count(value) or isinstance(value, dict)}


def _without_none(usage: Document) -> Document:
    """A later event's count stands for an earlier one, unless it says nothing."""
    return {key: value for key, value in usage.items() if value is not None}


def _is_count(value: object) -> bool:
    return type(value) is int


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _encodable(text: str) -> str:
    """With the halves of a character put together that came in two deltas: alone they cannot be sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
