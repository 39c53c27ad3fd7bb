"""Tags name a call to the middleware and never leave the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from sdk_shapes import COLOURS, PLAIN, SHAPES, STREAM, Shape, seen_by

from console import Console

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installation

    from console.sim.server import SimulatedAPI

pytestmark = pytest.mark.asyncio
coloured = pytest.mark.parametrize("colour", COLOURS)

TAGS = {"X-CONSOLE-Feature": "support-reply", "x-console-Customer": "acme", "X-Console-Session": "s-1"}


@coloured
@pytest.mark.parametrize("source", ["extra", "default", "both"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_tags_are_stripped_on_every_endpoint_wherever_they_come_from(
    shape: Shape, source: str, colour: str, api: SimulatedAPI, shared_console: Installation, client_of: Callable[..., Any]
) -> None:
    more: dict[str, Any] = {} if source == "default" else {"extra_headers": TAGS}
    defaults = {} if source == "extra" else {"default_headers": {name.swapcase(): "other" for name in TAGS}}
    seen = await seen_by(shape, client_of(colour, shared_console.console, **defaults), **more)
    assert seen.error is None
    assert api.requests()
    assert [entry["console_headers"] for entry in api.requests()] == [[]] * len(api.requests())


@coloured
async def test_tags_are_stripped_from_every_attempt_and_from_a_derived_client(
    colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    from console.sim.faults import Fault

    api.set_faults([Fault(status=529, times=2)])
    client = client_of(colour, installation.console, max_retries=2).with_options(default_headers=TAGS)
    seen = await seen_by(PLAIN, client, extra_headers=Console.tags(feature="summarize"))
    assert seen.error is None
    assert [entry["console_headers"] for entry in api.requests()] == [[]] * 3
    assert installation.only_call()["feature"] == "summarize"


@coloured
@pytest.mark.parametrize("shape", (PLAIN, STREAM), ids=str)
async def test_tags_in_any_capitals_are_recorded(
    shape: Shape, colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    await seen_by(shape, client_of(colour, installation.console), extra_headers=TAGS)
    call = installation.only_call()
    assert (call["feature"], call["customer"], call["session"]) == ("support-reply", "acme", "s-1")


@coloured
async def test_a_call_without_tags_belongs_to_the_default_feature(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    await seen_by(PLAIN, client_of(colour, installation.console))
    call = installation.only_call()
    assert (call["feature"], call["customer"], call["session"]) == ("default", None, None)


@coloured
@pytest.mark.parametrize("name", ["Ångström GmbH", "客户", "a\x1b[31mb", "x" * 5000, "\ud800"])
async def test_a_strange_name_neither_fails_the_call_nor_leaves_the_process(
    name: str, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    tags = Console.tags(feature="support-reply", customer=name)
    assert (await seen_by(PLAIN, client_of(colour, installation.console), extra_headers=tags)).error is None
    assert api.requests()[0]["console_headers"] == []
    assert installation.only_call()["customer"] == name[:200].encode("utf-8", "replace").decode()


@coloured
async def test_a_secret_that_is_given_as_a_name_is_not_stored(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    tags = Console.tags(feature="support-reply", customer="sk-ant-api03-" + "Z" * 40)
    await seen_by(PLAIN, client_of(colour, installation.console), extra_headers=tags)
    assert installation.only_call()["customer"] == "[redacted]"
    assert b"ZZZZZZZZ" not in b"".join(file.read_bytes() for file in installation.data.iterdir() if file.is_file())


@coloured
async def test_the_callers_own_headers_and_omissions_stay(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    import httpx2

    sent: list[httpx2.Headers] = []

    def wire(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers)
        return httpx2.Response(400, json={})

    for console in (None, installation.console):
        client = client_of(colour, console, wire=wire, default_headers={"x-app": "1", "x-gone": "1"})
        await seen_by(PLAIN, client, extra_headers={"X-Mine": "yes", "x-gone": anthropic.Omit(), "anthropic-beta": "b"})
    bare, watched = ({k: v for k, v in headers.items() if k != "x-stainless-raw-response"} for headers in sent)
    assert watched == bare
    assert (watched["x-mine"], watched["x-app"], "x-gone" in watched) == ("yes", "1", False)


async def test_only_given_tags_become_headers() -> None:
    assert Console.tags() == {}
    assert Console.tags(feature="a", session="s") == {"x-console-feature": "a", "x-console-session": "s"}
