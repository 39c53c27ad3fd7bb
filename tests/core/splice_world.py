"""What the tests of the splicer share: streams as an API writes them, models that go on with an answer, and a judge.

The judge reads what was handed on with the SDK's own stream and accumulator, and knows the text that the caller should have.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
from anthropic import Anthropic
from anthropic._streaming import SSEDecoder, Stream
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent

from console.core.seam import last_words
from console.core.splice import Splicer

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENT = Anthropic(api_key="unused", open_telemetry=False)
REQUEST = httpx2.Request("POST", "https://api.example/v1/messages")
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


class Violation(AssertionError):
    """A rule that the caller's stream does not keep. Begins with its name."""


def violated(rule: str, *told: object) -> Violation:
    return Violation(f"{rule}: {' '.join(map(repr, told))}")


@dataclass(frozen=True)
class Style:
    """How a server writes its events."""

    end: bytes = b"\n"
    is_spaced: bool = False
    colon: bytes = b": "
    padding: str = ""
    is_ascii: bool = True

    def event(self, name: str, data: Any) -> bytes:
        separators = (", ", ": ") if self.is_spaced else (",", ":")
        text = json.dumps(data, separators=separators, ensure_ascii=self.is_ascii)
        text = text[:-1] + self.padding + text[-1]
        return b"event" + self.colon + name.encode() + self.end + b"data" + self.colon + text.encode() + self.end * 2


PLAIN = Style()


def event(name: str, style: Style = PLAIN, **data: Any) -> bytes:
    return style.event(name, {"type": name, **data})


def start(message_id: str = "msg_1", model: str = "model-1", style: Style = PLAIN, **usage: Any) -> bytes:
    counts = {"input_tokens": 10, "output_tokens": 1, **usage}
    message = {"id": message_id, "type": "message", "role": "assistant", "content": [], "model": model,
               "stop_reason": None, "stop_sequence": None, "usage": counts}  # fmt: skip
    return event("message_start", style, message=message)


def block(index: int, style: Style = PLAIN, **content: Any) -> bytes:
    return event("content_block_start", style, index=index, content_block=content or {"type": "text", "text": ""})


def text(said: str, index: int = 0, style: Style = PLAIN) -> bytes:
    return event("content_block_delta", style, index=index, delta={"type": "text_delta", "text": said})


def thought(said: str, index: int = 0, style: Style = PLAIN) -> bytes:
    return event("content_block_delta", style, index=index, delta={"type": "thinking_delta", "thinking": said})


def part(said: str, index: int = 0, style: Style = PLAIN) -> bytes:
    return event("content_block_delta", style, index=index, delta={"type": "input_json_delta", "partial_json": said})


def stop(index: int = 0, style: Style = PLAIN) -> bytes:
    return event("content_block_stop", style, index=index)


def told_why(reason: str | None = "end_turn", style: Style = PLAIN, **usage: Any) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", style, delta=delta, usage={"output_tokens": 7, **usage})


END = event("message_stop")
PING = event("ping")


# -- what a caller reads -----------------------------------------------------------------------------------------------


def read(data: bytes) -> Any:
    """The message as the SDK puts it together; None when nothing has come. Raises what the SDK raises."""
    message, buffers = None, {}
    response = httpx2.Response(200, content=data, request=REQUEST)
    for one in Stream(cast_to=RawMessageStreamEvent, response=response, client=CLIENT):  # type: ignore[type-var]
        message = accumulate_event(event=one, current_snapshot=message, json_bufs=buffers)
    return message


def documents(data: bytes) -> list[dict[str, Any]]:
    """The events that carry something, as JSON."""
    found = SSEDecoder().iter_bytes(iter([data]))
    return [one.json() for one in found if one.event not in (None, "ping") and one.data]


def said_in(message: Any) -> str:
    return "".join(one.text for one in message.content if one.type == "text") if message else ""


# -- a model -----------------------------------------------------------------------------------------------------------


@dataclass
class Source:
    """One attempt's stream: its events, what it says, and how much of it has been delivered."""

    events: list[bytes]
    counts: dict[str, int]
    call: str | None = None
    """The JSON of its tool call."""
    at: int = 0
    data: bytes = b""
    ends: list[int] = field(default_factory=list)
    """Where events end."""
    is_broken: bool = False

    def __post_init__(self) -> None:
        self.data = b"".join(self.events)
        size = 0
        for one in self.events:
            size += len(one)
            self.ends.append(size)

    def has_come(self, name: bytes) -> bool:
        """Whether a whole event of this name was delivered."""
        return any(end <= self.at and name in one[:60] for one, end in zip(self.events, self.ends, strict=True))


def written(
    number: int,
    pieces: Sequence[str],
    *,
    thoughts: Sequence[str] = (),
    call: str | None = None,
    style: Style = PLAIN,
    pings: bool = False,
    counts: dict[str, int] | None = None,
) -> Source:
    """The stream of a model that says these pieces, after these thoughts, and then calls a tool perhaps."""
    counts = counts or {"input_tokens": 10 * number, "output_tokens": 7, "cache_read_input_tokens": number}
    asked = {key: value for key, value in counts.items() if key != "output_tokens"}
    events, index = [start(f"msg_{number}", f"model-{number}", style, **asked)], 0
    if pings:
        events.append(style.event("ping", {"type": "ping"}))
    if thoughts:
        events.append(block(index, style, type="thinking", thinking="", signature=""))
        events += [thought(one, index, style) for one in thoughts]
        signed = {"type": "signature_delta", "signature": f"signed-{number}"}
        events += [event("content_block_delta", style, index=index, delta=signed), stop(index, style)]
        index += 1
    if pieces:
        events.append(block(index, style))
        for count, one in enumerate(pieces):
            events.append(text(one, index, style))
            if pings and count % 3 == 1:
                events.append(style.event("ping", {"type": "ping"}))
        events.append(stop(index, style))
        index += 1
    if call is not None:
        events.append(block(index, style, type="tool_use", id=f"toolu_{number}", name="look_up", input={}))
        events += [part(one, index, style) for one in ("", call[: len(call) // 2], call[len(call) // 2 :])]
        events.append(stop(index, style))
    events += [told_why("tool_use" if call else "end_turn", style, **counts), event("message_stop", style)]
    return Source(events, counts, call)


def flat(said: str) -> str:
    return " ".join(said.split())


def repetitions(said: str, new: str) -> list[int]:
    """Where in `said`, made flat, those of its ends begin that `new` begins with. Slow and plain, to compare with."""
    told, begun = flat(said), flat(new)
    starts = [
        at for at in range(len(told)) if at == 0 or told[at - 1] == " " or not (told[at - 1].isalnum() and told[at].isalnum())
    ]
    return [at for at in starts if begun.startswith(told[at:])]


def goes_on(said: str, rest: str, way: str, back: int = 0) -> str:
    """What a model answers that is asked for the rest of `said`, of which it has not seen the white space at the end.

    `way`: "repeats" the quoted last words, quotes them ("quoted"), "restarts" with the whole answer or "from" the word number
    `back` from its end, or goes on "at once". What cannot be told from another way becomes "repeats".
    """
    words = last_words(said)
    behind = said[len(said.rstrip()) :] + rest
    repeats = words + behind
    quoted_at = len(flat(said)) - len(words)
    is_in_word = said[-1:].isalnum() and rest[:1].isalnum()  # nobody puts half a word in quotes
    if way == "quoted" and len(flat(said).split()) >= 3 and '"' not in words and not is_in_word:
        return f'"{words}"{behind}'
    if way in ("from", "restarts"):
        told = said.rstrip()
        starts = [0, *(at + 1 for at in range(len(told) - 1) if told[at] == " " and told[at + 1] != " ")]
        at = 0 if way == "restarts" else starts[-1 - back % len(starts)]
        new = told[at:] + behind
        found = repetitions(said, new)
        wanted = len(flat(said)) - len(flat(told[at:]))
        if (
            not rest.strip()
            or " " not in flat(told[at:])
            or (found and (min(found) != wanted or quoted_at in set(found) - {wanted}))
        ):
            return repeats
        return new
    if way == "at once":
        is_between = bool(said[-1:].isspace()) != bool(rest[:1].isspace())
        new = rest if said[-1:].isspace() else rest.lstrip() if said[-1:].isalnum() and rest.lstrip()[:1].isalnum() else rest
        if (
            rest.strip()
            and is_between
            and not repetitions(said, rest)
            and "\n" not in behind[: len(behind) - len(behind.lstrip())]
        ):
            return new
    return repeats


# -- the judge ---------------------------------------------------------------------------------------------------------


class World:
    """One message for a caller, put together of sources that break, and what is true of it after every step."""

    def __init__(self, reference: str, source: Source) -> None:
        self.reference, self.source = reference, source
        self.sources = [source]
        self.splicer = Splicer()
        self.handed = b""
        self.estimated: list[int] = []

    def take(self, chunk: bytes) -> bytes:
        was_broken, had_stopped = self.splicer.broken is not None, self.splicer.has_stopped
        said = self.splicer.take(chunk)
        if was_broken and said:
            raise violated("broken", said)
        if had_stopped and said.strip(b"\r\n"):
            raise violated("end", said)
        self.handed += said
        return said

    def deliver(self, size: int) -> None:
        """The next bytes of the source; 0: up to the end of its next event."""
        source = self.source
        if size == 0:
            size = next((end for end in source.ends if end > source.at), source.at) - source.at
        chunk = source.data[source.at : source.at + size]
        source.at += len(chunk)
        said = self.take(chunk)
        if self.splicer.broken is not None:
            raise violated("sound", self.splicer.broken, chunk)
        if len(self.sources) == 1 and self.handed != source.data[: len(self.handed)]:
            raise violated("bytes", said)

    def to_boundary(self) -> None:
        if self.source.at not in (0, *self.source.ends):
            self.deliver(0)

    def inject(self, data: bytes, expected: str) -> None:
        """Something is wrong in the source, and what comes behind it does not count, in the same chunk or later."""
        self.to_boundary()
        if self.splicer.has_stopped:
            return
        source = self.source
        behind = source.data[source.at :]
        half = len(behind) // 2
        self.take(data + behind[:half])
        self.take(behind[half:])
        source.is_broken = True
        if self.splicer.broken != expected:
            raise violated("fault", self.splicer.broken, expected)

    # -- what must hold ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        try:
            message = read(self.handed)
            events = documents(self.handed)
        except Exception as error:
            raise violated("readable", error, self.handed) from error
        self._check_order(events)
        self._check_text(message, events)
        self._check_calls(message)
        self._check_end(message, events)
        self._check_partial(message)

    def _check_order(self, events: list[dict[str, Any]]) -> None:
        kinds = [one["type"] for one in events]
        if kinds and (kinds[0] != "message_start" or kinds.count("message_start") != 1):
            raise violated("start", kinds)
        if any(kind == "error" for kind in kinds):
            raise violated("error", kinds)
        self._check_blocks(events)

    def _check_blocks(self, events: list[dict[str, Any]]) -> None:
        open_at, count = None, 0
        for one in events:
            if one["type"] == "content_block_start":
                if open_at is not None or one["index"] != count:
                    raise violated("blocks", one, open_at, count)
                open_at, count = count, count + 1
            elif one["type"] == "content_block_delta":
                if one["index"] != open_at:
                    raise violated("blocks", one, open_at)
                if one["delta"].get("text") == "":
                    raise violated("empty", one)
            elif one["type"] == "content_block_stop":
                if one["index"] != open_at:
                    raise violated("blocks", one, open_at)
                open_at = None
            elif one["type"] == "message_delta" and open_at is not None:
                raise violated("blocks", one, open_at)

    def _check_text(self, message: Any, events: list[dict[str, Any]]) -> None:
        said = said_in(message)
        if not self.reference.startswith(said):
            raise violated("text", said, self.reference)
        signed = [one["delta"]["signature"] for one in events if one.get("delta", {}).get("type") == "signature_delta"]
        if [one for one in signed if one != "signed-1"]:
            raise violated("thinking", signed)

    def _check_calls(self, message: Any) -> None:
        calls = [one for one in message.content if one.type == "tool_use"] if message else []
        if len(calls) > 1:
            raise violated("call", calls)
        for one in calls:
            source = self.sources[int(one.id.removeprefix("toolu_")) - 1]
            if source is not self.source or (self.splicer.has_stopped and one.input != json.loads(source.call or "")):
                raise violated("call", one)

    def _check_end(self, message: Any, events: list[dict[str, Any]]) -> None:
        is_whole = [one["type"] for one in events].count("message_stop")
        if is_whole != self.splicer.has_stopped or (is_whole and events[-1]["type"] != "message_stop"):
            raise violated("whole", events[-1:], self.splicer.has_stopped)
        if (self.splicer.ended() is None) != self.splicer.has_stopped:
            raise violated("whole", self.splicer.ended())
        if not is_whole:
            return
        if said_in(message) != self.reference:
            raise violated("text", said_in(message), self.reference)
        if message.stop_reason is None or message.id != "msg_1":
            raise violated("whole", message)
        begun = [one for one in self.sources if one.has_come(b"message_start")]
        for key in ("input_tokens", "cache_read_input_tokens"):
            if getattr(message.usage, key) != sum(one.counts[key] for one in begun):
                raise violated("usage", key, message.usage)
        if message.usage.output_tokens != sum(self.estimated) + self.source.counts["output_tokens"]:
            raise violated("usage", message.usage, self.estimated)

    def _check_partial(self, message: Any) -> None:
        if message is None:
            return
        mine, theirs = self.splicer.partial(), message.to_dict()
        for key in ("id", "type", "role", "model", "stop_reason", "stop_sequence"):
            if mine[key] != theirs[key]:
                raise violated("partial", key, mine[key])
        unfinished = self.splicer._open is not None and self.splicer._open.kind == "tool_use"
        if unfinished and mine["content"][-1]["input"] != {}:
            raise violated("partial", mine["content"])
        blocks = [(one["type"], one.get("text"), one.get("thinking"), one.get("id")) for one in mine["content"]]
        read_blocks = [(one["type"], one.get("text"), one.get("thinking"), one.get("id")) for one in theirs["content"]]
        if blocks != read_blocks:
            raise violated("partial", blocks, read_blocks)

    # -- a break -------------------------------------------------------------------------------------------------------

    def may_go_on(self, body: dict[str, Any]) -> bool:
        """Whether the splicer says so; wrong when something other than text has begun, or none has come."""
        said = self.splicer.can_continue(body)
        message = read(self.handed)
        kinds = [one.type for one in message.content] if message else []
        has_text = bool(said_in(message).strip())
        is_free = set(kinds) <= {"text", "thinking"} and not (kinds[-1:] == ["thinking"] and self.splicer._open is not None)
        expected = has_text and is_free and message.stop_reason is None
        if said != expected:
            raise violated("continue", said, kinds)
        return said

    def resume(self, source: Source) -> None:
        usage = self.splicer.usage()
        begun = self.source.has_come(b"message_start")
        if (usage is None) == begun:
            raise violated("usage", usage)
        if usage is not None:
            if usage.input != self.source.counts["input_tokens"] or usage.output < 1:
                raise violated("usage", usage)
            self.estimated.append(usage.output)
        self.source = source
        self.sources.append(source)
        self.splicer.resume()

    def close(self) -> None:
        """The source has ended. What is missing of a finished message is added."""
        self.handed += self.splicer.closing()


def split(said: str, how: str | list[int]) -> list[str]:
    """The text in pieces, none empty: words with the space behind or before them, or of these sizes, over and over."""
    if isinstance(how, str):
        return re.findall(r"\S+\s*|\s+" if how == "ends in a space" else r"\s*\S+|\s+", said)
    pieces, at = [], 0
    while at < len(said):
        size = how[len(pieces) % len(how)]
        pieces.append(said[at : at + size])
        at += size
    return pieces
