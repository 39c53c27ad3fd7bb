"""Which answers may be given again, and to which requests: keys, what may be kept, and for how long. Pure; no clock.

The key is the whole request, so an answer is given only to the question that it answers; the feature and the customer are part
of it, so that nobody is ever given what was said to somebody else. What is kept is a whole `Message`: one that ended by itself,
and that has no effect beyond its text. An answer that was cut or refused, that calls a tool (it must not run again), or that
tells of something done on a server for this one call (code, containers, MCP) is never kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CacheMode = Literal["off", "on_failure", "always"]
Stored = Literal["cache", "stale"]
"""How an answer that was kept is served, in the words of `ServedBy`."""
Event = dict[str, Any]

CACHE_BYTES: Final = 32 * 1024 * 1024
MAX_ASKED: Final = 64 * 1024
"""Characters of a request with a key, its structure counted too: what looks at it on the caller's path must not grow with a
prompt. Longer ones hardly ever come twice."""
MAX_ANSWER: Final = 256 * 1024
"""Bytes of an answer as it came, that may be kept."""
MAX_DEPTH: Final = 50

_NO_PART: Final = ("stream", "metadata")
"""Keys of a request that do not change what is answered: how it is delivered, and whom the provider should count it for."""
_WHOLE: Final = ("end_turn", "stop_sequence")
_KEPT_BLOCKS: Final = frozenset(
    {"text", "thinking", "redacted_thinking", "server_tool_use", "web_search_tool_result", "web_fetch_tool_result"}
)
_READING_TOOLS: Final = ("web_search", "web_fetch")
"""The tools of the provider's own that only read."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Seconds. `ttl`: for how long an answer is fresh; `stale`: for how long it may stand in when everything else fails."""

    mode: CacheMode = "off"
    ttl: float = 3600.0
    stale: float = 86400.0


class Kept(NamedTuple):
    """An answer that was kept, with what it takes to judge it later. Times in microseconds."""

    message: bytes
    """The `Message` as JSON."""
    feature: str
    customer: str | None
    models: tuple[str, ...]
    """Who has said it, by every name that a switch may stop it by."""
    target: str
    stop_reason: str | None
    request_id: str | None
    kept_at_us: int
    """UTC."""
    kept_steady_us: int
    until_us: int
    """Steady: of no use from then on."""

    def age_us(self, now_us: int, steady_us: int) -> int:
        """How old it is, in microseconds. The older of what the two clocks say: a wall clock that goes back makes nothing
        young, and a steady one does not see the hours in which the machine slept."""
        return max(now_us - self.kept_at_us, steady_us - self.kept_steady_us, 0)


def as_of(age_us: int, policy: CachePolicy) -> Stored | None:
    """What an answer of this age may be served as: fresh, or only when everything else fails, or not at all (None)."""
    if age_us <= policy.ttl * 1e6:
        return "cache"
    return "stale" if age_us <= policy.stale * 1e6 else None


def key_of(body: object, *about: object) -> bytes | None:
    """The key of a request: everything that changes its answer. `about`: what the body does not say (feature, customer,
    headers, credentials, where it goes). None for a request that has no key: too long, or not plain JSON. Never raises."""
    if not isinstance(body, dict):
        return None
    asked = {name: value for name, value in body.items() if name not in _NO_PART}
    if _length(asked) is None:
        return None
    try:
        # A list keeps its parts apart, whatever characters stand in them.
        return sha256(json.dumps([about, asked], sort_keys=True, separators=(",", ":")).encode()).digest()
    except (TypeError, ValueError, RecursionError):
        return None


def _length(value: object) -> int | None:
    """About how many characters a value takes as JSON; None as soon as it is more than MAX_ASKED, or deeper than MAX_DEPTH.
    What it looks at is bounded by that too, because each part costs something."""
    length, level = 0, [value]
    for _ in range(MAX_DEPTH):
        deeper: list[object] = []
        for part in level:
            length += _SEPARATORS * len(part) if isinstance(part, dict | list | tuple) else _length_of(part)
            if length > MAX_ASKED:
                return None
            if isinstance(part, dict):
                deeper.extend(part)
                deeper.extend(part.values())
            elif isinstance(part, list | tuple):
                deeper.extend(part)
        if not deeper:
            return length
        level = deeper
    return None


_SEPARATORS: Final = 4
"""Quotes, colon and comma of one entry."""


def _length_of(leaf: object) -> int:
    return len(leaf) if isinstance(leaf, str) else 1


class Collector:
    """Takes the bytes of one answer on their way to the caller, who must not wait for what is done with them."""

    __slots__ = ("_chunks", "era", "key", "size")

    def __init__(self, key: bytes, era: int = 0) -> None:
        self.key = key
        self.era = era
        """Of the cache when the request was made: an answer to a question from before a kill is not kept after it."""
        self.size = 0
        """Bytes that it holds."""
        self._chunks: list[bytes] | None = []

    def take(self, chunk: bytes) -> None:
        """The next bytes. Never raises."""
        if self._chunks is not None:
            self.size += len(chunk)
            if self.size > MAX_ANSWER:
                self.give_up()
            else:
                self._chunks.append(chunk)

    def give_up(self) -> None:
        """There is more than may be held, or nobody wants it: lets go of everything, for good."""
        self._chunks, self.size = None, 0

    def whole(self) -> bytes | None:
        """What has come; None when it was given up."""
        return None if self._chunks is None else b"".join(self._chunks)


# -- what came, as a message -------------------------------------------------------------------------------------------


def message_in(data: bytes) -> dict[str, Any] | None:
    """The `Message` that the bytes of an answer hold, plain JSON or SSE; None when there is none, or not a whole one, or one
    with parts that cannot be put together for certain. Never raises."""
    try:
        if data.lstrip()[:1] == b"{":
            found = json.loads(data)
            return found if isinstance(found, dict) and found.get("type") == "message" else None
        return _put_together(_events_in(data))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def _events_in(data: bytes) -> list[Event]:
    text = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found: list[Event] = []
    for event in text.split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        if lines:
            found.append(json.loads(b"\n".join(lines)))
    return found


def _put_together(events: Sequence[Event]) -> dict[str, Any] | None:
    """What the SDK's accumulation makes of the same events; None without a `message_stop` at the end."""
    message: dict[str, Any] | None = None
    parts: list[_Block] = []
    for event in events:
        kind = event["type"]
        if kind == "message_start" and message is None:
            message = dict(event["message"])
        elif kind == "ping":
            continue
        elif message is None:
            return None
        elif kind == "content_block_start" and event["index"] == len(parts):
            parts.append(_Block(event["content_block"]))
        elif kind == "content_block_delta":
            parts[event["index"]].add(event["delta"])
        elif kind == "message_delta":
            message |= _said(event["delta"])
            message["usage"] = {**(message.get("usage") or {}), **_said(event["usage"])}
        elif kind == "message_stop":
            return {**message, "content": [part.made() for part in parts]}
        elif kind != "content_block_stop":
            return None
    return None


def _said(part: Mapping[str, Any]) -> dict[str, Any]:
    """What a later event says anew; None says nothing."""
    return {name: value for name, value in part.items() if value is not None}


_DELTAS: Final = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "input"),
    "citations_delta": ("citation", "citations"),
}
"""By the type of a delta: where it carries its part, and of which field of the block that is one."""


class _Block:
    """One block of content while its deltas come."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._start = dict(start)
        self._added: dict[str, list[Any]] = {}

    def add(self, delta: Mapping[str, Any]) -> None:
        """Raises KeyError for a delta that is not known: then nobody can say what the whole is."""
        source, field = _DELTAS[delta["type"]]
        self._added.setdefault(field, []).append(delta[source])

    def made(self) -> dict[str, Any]:
        block = self._start
        for field, added in self._added.items():
            if field == "citations":
                block[field] = [*(block.get(field) or []), *added]
            elif field == "signature":
                block[field] = added[-1]
            elif field == "input":
                block[field] = json.loads("".join(added) or "{}")
            else:
                block[field] = (block.get(field) or "") + "".join(added)
        return block


def may_be_kept(message: Mapping[str, Any]) -> bool:
    """Whether a message may be given again: it ended by itself, says something, and did nothing else. Never raises."""
    content = message.get("content")
    if message.get("stop_reason") not in _WHOLE or message.get("container") is not None or not isinstance(content, list):
        return False
    return all(_may_be_kept(block) for block in content) and any(
        block["type"] == "text" and isinstance(block.get("text"), str) and block["text"].strip() for block in content
    )


def _may_be_kept(block: object) -> bool:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str) or block["type"] not in _KEPT_BLOCKS:
        return False
    return block["type"] != "server_tool_use" or block.get("name") in _READING_TOOLS


# -- a message, as it is served ----------------------------------------------------------------------------------------


def served_copy(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message for another caller: the same in everything but its usage, in which every count is 0, because the API bills
    nothing for it."""
    return {**message, "usage": _unbilled(message.get("usage") or {"input_tokens": 0, "output_tokens": 0})}


def _unbilled(usage: object) -> Any:
    if isinstance(usage, dict):
        return {name: _unbilled(value) for name, value in usage.items()}
    if isinstance(usage, list):
        return [_unbilled(value) for value in usage]
    return 0 if isinstance(usage, int | float) and not isinstance(usage, bool) else usage


def events_of(message: Mapping[str, Any]) -> list[Event]:
    """The events of a stream that brings this message."""
    start = {name: None if name in _ENDINGS else value for name, value in message.items()}
    events: list[Event] = [{"type": "message_start", "message": {**start, "content": []}}]
    for index, block in enumerate(message["content"]):
        start, deltas = _MADE_OF.get(block["type"], _as_it_is)(block)
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {name: message[name] for name in _ENDINGS if name in message}
    events.append({"type": "message_delta", "delta": delta, "usage": message["usage"]})
    events.append({"type": "message_stop"})
    return events


_ENDINGS: Final = ("stop_reason", "stop_sequence", "stop_details", "container")
"""What a stream says at its end only."""
_Parts = tuple[dict[str, Any], list[dict[str, Any]]]
"""How a block starts, and the deltas that make it whole."""


def _as_it_is(block: Mapping[str, Any]) -> _Parts:
    return dict(block), []


def _text(block: Mapping[str, Any]) -> _Parts:
    start, citations = {**block, "text": ""}, block.get("citations") or []
    if citations:
        start["citations"] = []
    deltas = [{"type": "text_delta", "text": block["text"]}]
    return start, [*deltas, *({"type": "citations_delta", "citation": citation} for citation in citations)]


def _thinking(block: Mapping[str, Any]) -> _Parts:
    deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}] if block.get("thinking") else []
    signature = block.get("signature") or ""
    return {**block, "thinking": "", "signature": ""}, [*deltas, {"type": "signature_delta", "signature": signature}]


def _tool(block: Mapping[str, Any]) -> _Parts:
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block.get("input") or {})}]


_MADE_OF: Final[dict[str, Callable[[Mapping[str, Any]], _Parts]]] = {
    "text": _text,
    "thinking": _thinking,
    "tool_use": _tool,
    "server_tool_use": _tool,
}
