"""Three ways of reading a stream, in both colours, and what an answer that arrived in events has to look like.

`read` gives the events as the wire's own JSON objects, whatever the way of reading, with the exception that ended it; `Said`
puts them together by a grammar of its own, which is stricter than the SDK's: I9 is checked here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdk_shapes import SONNET, each, entered, got

if TYPE_CHECKING:
    from collections.abc import Sequence

READERS = ("messages.stream", "create(stream=True)", "lines")
SYSTEM = "You are the customer support assistant for Acme. Answer in two sentences."
QUESTION = "Where is my parcel? Order 88213 was supposed to be here on Monday."
EVENTS = 21
"""Of the answer to that question, pings included: a start, a block of text in 15 pieces, a message_delta and a stop."""
FIRST_CONTENT = 3
"""The index of the first event that shows the caller something."""
FINISHED = EVENTS - 2
"""The index of `message_delta`: behind it only the closing event is missing."""
KINDS = ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop")


def asked(**more: Any) -> dict[str, Any]:
    """The keyword arguments of a call for that answer."""
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": SONNET, "max_tokens": 600, "system": SYSTEM, "messages": messages} | more


class InBandError(Exception):
    """An `error` event, seen by a reader of lines; the SDK's own readers raise an `APIStatusError` for it."""


@dataclass
class Got:
    """What a reader has seen: filled while it reads, so that it also holds what came before a failure."""

    events: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None
    final: Any = None
    """The SDK's own message, where the way of reading makes one."""

    @property
    def text(self) -> str:
        """The text that the caller was shown."""
        return "".join(
            event["delta"]["text"]
            for event in self.events
            if event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta"
        )


async def read(reader: str, client: Any, *, wants_beta: bool = False, **more: Any) -> Got:
    """One streamed call, read to its end; never raises for an `Exception`."""
    seen = Got()
    messages = client.beta.messages if wants_beta else client.messages
    try:
        await _WAYS[reader](messages, seen, asked(**more))
    except Exception as error:  # noqa: BLE001 -- what it is is what is tested
        seen.error = error
    return seen


async def _accumulated(messages: Any, seen: Got, request: dict[str, Any]) -> None:
    async with entered(messages.stream(**request)) as stream:
        async for event in each(stream):
            if event.type in ("content_block_stop", "message_stop"):  # what the accumulator adds to them is not the wire's
                seen.events.append({"type": event.type, "index": getattr(event, "index", None)})
            elif event.type in KINDS:
                seen.events.append(event.model_dump(mode="json"))
        seen.final = await got(stream.get_final_message())


async def _as_events(messages: Any, seen: Got, request: dict[str, Any]) -> None:
    async with entered(await got(messages.create(**request, stream=True))) as stream:
        async for event in each(stream):
            seen.events.append(event.model_dump(mode="json"))


async def _as_lines(messages: Any, seen: Got, request: dict[str, Any]) -> None:
    """As a proxy reads that hands the bytes on. Pings are left out, as the SDK does."""
    data: list[str] = []
    async with entered(messages.with_streaming_response.create(**request, stream=True)) as response:
        async for line in each(response.iter_lines()):
            if line.startswith("data:"):
                data.append(line[5:].strip())
            elif not line and data:
                event, data = json.loads("\n".join(data)), []
                if event["type"] == "error":
                    raise InBandError(event["error"]["type"])
                if event["type"] != "ping":
                    seen.events.append(event)
    assert not data, "an event was not ended"


_WAYS = {"messages.stream": _accumulated, "create(stream=True)": _as_events, "lines": _as_lines}


@dataclass(frozen=True)
class Said:
    """A message put together from its events."""

    model: str
    blocks: tuple[dict[str, Any], ...]
    stop_reason: str | None
    usage: dict[str, int]

    @property
    def text(self) -> str:
        return "".join(block.get("text", "") for block in self.blocks)

    @property
    def contents(self) -> list[tuple[str, str, str | None]]:
        """Kind, text and signature of every block."""
        return [(one["type"], one.get("thinking") or one.get("text") or "", one.get("signature")) for one in self.blocks]

    @property
    def tools(self) -> list[dict[str, Any]]:
        return [block for block in self.blocks if block["type"] == "tool_use"]


COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def whole(events: Sequence[dict[str, Any]]) -> Said:
    """The message in these events, which have to be one whole answer: exactly one start, blocks one after the other and all of
    them ended, one message_delta with a reason, and the stop at the end (I9). Raises AssertionError."""
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop"), kinds
    assert (kinds.count("message_start"), kinds.count("message_delta"), kinds.count("message_stop")) == (1, 1, 1), kinds
    assert kinds[-2] == "message_delta"
    start, delta = events[0]["message"], events[-2]
    assert delta["delta"]["stop_reason"], "an answer without a reason to end looks whole and is not"
    blocks = _blocks(events[1:-2])
    usage = {name: (delta["usage"].get(name) or start["usage"].get(name) or 0) for name in COUNTS}
    return Said(start["model"], tuple(blocks), delta["delta"]["stop_reason"], usage)


def _blocks(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in events:
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "json": ""})
            is_open = True
        elif event["type"] == "content_block_delta":
            assert is_open
            assert event["index"] == len(blocks) - 1
            _add(blocks[-1], event["delta"])
        else:
            assert event["type"] == "content_block_stop", event
            assert is_open
            assert event["index"] == len(blocks) - 1
            is_open = False
            if blocks[-1]["type"] == "tool_use":
                blocks[-1]["input"] = json.loads(blocks[-1]["json"] or "{}")
    assert not is_open
    return blocks


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta["type"] == "text_delta":
        assert block["type"] == "text"
        assert delta["text"], "an empty delta"
        block["text"] += delta["text"]
    elif delta["type"] == "input_json_delta":
        assert block["type"] == "tool_use"
        block["json"] += delta["partial_json"]
    else:
        field = delta["type"].removesuffix("_delta")
        assert block["type"] == "thinking", delta
        block[field] += delta[field]
