"""Every way of calling the API, each written once for the blocking and the asynchronous client.

A shape is `async`; with a blocking client it simply never waits. What a caller sees (result, or exception and what came before
it) is boiled down to plain values, so that two ways of making the same call can be compared.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pydantic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SONNET = "claude-sonnet-5-5"
HAIKU = "claude-haiku-5-5"
COLOURS = ("blocking", "awaiting")

DEGRADED = "The assistant is resting. A person will answer within the hour."
"""The text that is defined for the feature `resting`."""

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Verdict(pydantic.BaseModel):
    """What the structured shape asks for."""

    answer: str


def ask(**more: Any) -> dict[str, Any]:
    """The keyword arguments of `messages.create`."""
    system = "You are the customer support assistant for Acme."
    messages = [{"role": "user", "content": "Where is my parcel? Order 88213 was supposed to be here on Monday."}]
    return {"model": SONNET, "max_tokens": 60, "system": system, "messages": messages} | more


async def got(value: Any) -> Any:
    """The value of either colour."""
    return await value if inspect.isawaitable(value) else value


@contextlib.asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """A context manager of either colour."""
    if hasattr(manager, "__aenter__"):
        async with manager as inside:
            yield inside
    else:
        with manager as inside:
            yield inside


async def each(iterable: Any) -> AsyncIterator[Any]:
    """An iterable of either colour."""
    if hasattr(iterable, "__aiter__"):
        async for item in iterable:
            yield item
    else:
        for item in iterable:
            yield item


@dataclass
class Seen:
    """What a caller has seen so far: filled while the call goes on, so that it also holds what came before a failure."""

    parts: list[Any] = field(default_factory=list)
    error: Any = None


async def seen_by(shape: Shape, client: Any, **more: Any) -> Seen:
    """What the caller sees of one call; never raises for an `Exception`."""
    seen = Seen()
    try:
        await shape.call(client, seen, more)
    except Exception as error:  # noqa: BLE001 -- what it is is what is compared
        cause = error.__cause__
        status, body = getattr(error, "status_code", None), getattr(error, "body", None)
        seen.error = (type(error), plain(str(error)), status, plain(body), type(cause))
    return seen


_CHANGING = re.compile(r"(msg|req|msgbatch)_01[0-9a-f]+|20\d\d-\d\d-\d\dT[0-9:.]+Z?")


def plain(value: Any) -> Any:
    """The value without what differs from one call to the next: ids and times."""
    if isinstance(value, pydantic.BaseModel):
        return [type(value).__name__, plain(value.model_dump(mode="json"))]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return plain(value.decode())
    return _CHANGING.sub(r"\1", value) if isinstance(value, str) else value


async def _create(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    seen.parts.append(plain(await got(client.messages.create(**ask(**more)))))


async def _create_stream(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    async for event in each(await got(client.messages.create(**ask(**more), stream=True))):
        seen.parts.append(plain(event))


async def _stream(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    async with entered(client.messages.stream(**ask(**more))) as stream:
        async for text in each(stream.text_stream):
            seen.parts.append(text)
        seen.parts.append(plain(await got(stream.get_final_message())))


async def _parse(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    seen.parts.append(plain(await got(client.messages.parse(**ask(**more), output_format=Verdict))))


async def _raw(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    response = await got(client.messages.with_raw_response.create(**ask(**more)))
    seen.parts += [response.status_code, response.elapsed.total_seconds() >= 0, plain(await got(response.text()))]
    seen.parts.append(plain(await got(response.parse())))


async def _raw_stream(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    response = await got(client.messages.with_raw_response.create(**ask(**more), stream=True))
    seen.parts += [response.status_code, response.headers.get("content-type")]
    async for event in each(await got(response.parse())):
        seen.parts.append(plain(event))
    seen.parts.append(response.elapsed.total_seconds() >= 0)


async def _unread(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    async with entered(client.messages.with_streaming_response.create(**ask(**more))) as response:
        seen.parts += [response.status_code, plain(await got(response.json()))]
        seen.parts.append(plain(await got(response.parse())))


async def _unread_stream(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    async with entered(client.messages.with_streaming_response.create(**ask(**more), stream=True)) as response:
        async for line in each(response.iter_lines()):
            seen.parts.append(plain(line))


async def _beta(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    seen.parts.append(plain(await got(client.beta.messages.create(**ask(**more)))))


async def _beta_stream(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    async for event in each(await got(client.beta.messages.create(**ask(**more), stream=True))):
        seen.parts.append(plain(event))


async def _tools(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    forced = {"type": "tool", "name": "get_weather"}
    asked = ask(model=more.get("model", "claude-sonnet-5"), tools=[WEATHER], tool_choice=forced)
    seen.parts.append(plain(await got(client.messages.create(**(more | asked)))))


async def _count(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    asked = {key: value for key, value in ask(**more).items() if key != "max_tokens"}
    seen.parts.append(plain(await got(client.messages.count_tokens(**asked))))


async def _models(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    async for model in each(client.models.list(extra_headers=more.get("extra_headers"))):
        seen.parts.append(plain(model))


async def _batch(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    headers = more.pop("extra_headers", None)
    requests = [{"custom_id": "one", "params": ask(**more)}]
    seen.parts.append(plain(await got(client.messages.batches.create(requests=requests, extra_headers=headers))))


async def _beta_batch(client: Any, seen: Seen, more: dict[str, Any]) -> None:
    headers = more.pop("extra_headers", None)
    requests = [{"custom_id": "one", "params": ask(**more)}]
    seen.parts.append(plain(await got(client.beta.messages.batches.create(requests=requests, extra_headers=headers))))


Kind = Literal["message", "batch", "other"]


@dataclass(frozen=True)
class Shape:
    """One way of calling. `kind`: recorded and switched, switched only, or neither."""

    name: str
    call: Callable[[Any, Seen, dict[str, Any]], Awaitable[None]]
    kind: Kind = "message"
    is_streamed: bool = False

    def __str__(self) -> str:
        return self.name


SHAPES = (
    Shape("create", _create),
    Shape("create-stream", _create_stream, is_streamed=True),
    Shape("messages.stream", _stream, is_streamed=True),
    Shape("parse", _parse),
    Shape("raw", _raw),
    Shape("raw-stream", _raw_stream, is_streamed=True),
    Shape("unread", _unread),
    Shape("unread-stream", _unread_stream, is_streamed=True),
    Shape("beta", _beta),
    Shape("beta-stream", _beta_stream, is_streamed=True),
    Shape("tools", _tools),
    Shape("count_tokens", _count, kind="other"),
    Shape("models", _models, kind="other"),
    Shape("batch", _batch, kind="batch"),
    Shape("beta-batch", _beta_batch, kind="batch"),
)
MESSAGE_SHAPES = tuple(shape for shape in SHAPES if shape.kind == "message")
PLAIN, STREAM = SHAPES[0], SHAPES[2]
