"""The API's wire format: message objects, SSE events, error bodies. Pure: values to values and bytes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from console.sim.answers import Answer, Block, tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PIECE = re.compile(r"(?:\S+\s*){1,3}|\s+")
_CALL_PIECE = 12
_EVENTS_BETWEEN_PINGS = 30


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one answer, the input split by what the prompt cache did with it."""

    input_tokens: int
    output_tokens: int
    cache_read: int = 0
    cache_created_5m: int = 0
    cache_created_1h: int = 0

    def billed(self, share: float = 1.0) -> dict[str, int]:
        """What the account is charged for when so large a share (0..1) of the answer was generated: the whole prompt, and at
        least the one token that `message_start` tells of."""
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": self.cache_created_5m + self.cache_created_1h,
            "cache_read_input_tokens": self.cache_read,
            "output_tokens": max(1, round(self.output_tokens * share)),
        }

    def to_json(self, *, output_tokens: int | None = None) -> dict[str, Any]:
        """The `usage` object; `output_tokens` replaces the count, as at the start of a stream."""
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": self.cache_created_5m + self.cache_created_1h,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_created_5m,
                "ephemeral_1h_input_tokens": self.cache_created_1h,
            },
            "output_tokens": self.output_tokens if output_tokens is None else output_tokens,
            "service_tier": "standard",
        }


@dataclass(frozen=True, slots=True)
class Event:
    """One SSE event; `tokens` is what it took to generate, `is_first_content` marks the one that ends the waiting."""

    name: str
    data: Mapping[str, Any]
    tokens: int = 0
    is_first_content: bool = False

    def encode(self) -> bytes:
        """The event as it stands on the wire, with its empty line."""
        return f"event: {self.name}\ndata: {json.dumps(self.data, separators=(',', ':'))}\n\n".encode()

    def encode_broken(self) -> bytes:
        """The same event with its JSON cut in the middle."""
        text = json.dumps(self.data, separators=(",", ":"))
        return f"event: {self.name}\ndata: {text[: max(1, len(text) // 2)]}\n\n".encode()


PING = Event("ping", {"type": "ping"})


def message(message_id: str, model: str, answer: Answer, usage: Usage) -> dict[str, Any]:
    """The whole message, as a plain call gets it."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(answer.blocks),
        "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence,
        "stop_details": None,
        "usage": usage.to_json(),
    }


def events(message_id: str, model: str, answer: Answer, usage: Usage) -> list[Event]:
    """The stream of the same message, in the API's order, with a ping after the first start and in long streams."""
    empty = Answer((), "", None, 0, 0)
    start = message(message_id, model, empty, usage) | {"stop_reason": None, "usage": usage.to_json(output_tokens=1)}
    content = [event for index, block in enumerate(answer.blocks) for event in _block_events(index, block)]
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": answer.stop_reason, "stop_sequence": answer.stop_sequence, "stop_details": None},
        "usage": {
            "input_tokens": usage.input_tokens,
            "cache_creation_input_tokens": usage.cache_created_5m + usage.cache_created_1h,
            "cache_read_input_tokens": usage.cache_read,
            "output_tokens": usage.output_tokens,
        },
    }
    return [
        Event("message_start", {"type": "message_start", "message": start}),
        *_with_pings(content),
        Event("message_delta", delta),
        Event("message_stop", {"type": "message_stop"}),
    ]


def error_body(type: str, text: str, request_id: str, error_code: str | None = None) -> dict[str, Any]:
    """The body of every error, and the data of an SSE `error` event."""
    error: dict[str, Any] = {"type": type, "message": text}
    if error_code is not None:
        error["details"] = {"error_code": error_code}
    return {"type": "error", "error": error, "request_id": request_id}


def error_event(type: str, text: str, request_id: str, error_code: str | None = None) -> Event:
    """A failure inside a stream that began with 200."""
    return Event("error", error_body(type, text, request_id, error_code))


def pieces(text: str) -> list[str]:
    """A text in the pieces that arrive one by one: up to three words each, nothing lost."""
    return _PIECE.findall(text)


def _with_pings(content: list[Event]) -> Iterator[Event]:
    for index, event in enumerate(content):
        if index == 0:
            yield Event(event.name, event.data, event.tokens, is_first_content=True)
            yield PING
            continue
        if index % _EVENTS_BETWEEN_PINGS == 0:
            yield PING
        yield event
    if not content:
        yield PING


def _block_events(index: int, block: Block) -> Iterator[Event]:
    yield Event("content_block_start", {"type": "content_block_start", "index": index, "content_block": _opened(block)})
    for delta, tokens in _deltas(block):
        yield Event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}, tokens)
    yield Event("content_block_stop", {"type": "content_block_stop", "index": index})


def _opened(block: Block) -> Block:
    if block["type"] == "tool_use":
        return {**block, "input": {}}
    if block["type"] == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _deltas(block: Block) -> Iterator[tuple[dict[str, str], int]]:
    if block["type"] == "tool_use":
        text = json.dumps(block["input"])
        yield {"type": "input_json_delta", "partial_json": ""}, 0
        for at in range(0, len(text), _CALL_PIECE):
            part = text[at : at + _CALL_PIECE]
            yield {"type": "input_json_delta", "partial_json": part}, tokens_of(part)
    elif block["type"] == "thinking":
        for part in pieces(block["thinking"]):
            yield {"type": "thinking_delta", "thinking": part}, tokens_of(part)
        yield {"type": "signature_delta", "signature": block["signature"]}, 0
    else:
        for part in pieces(block["text"]):
            yield {"type": "text_delta", "text": part}, tokens_of(part)
