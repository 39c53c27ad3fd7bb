"""Where a switch and a call once disagreed about what a call is: names, default tags, bodies of an odd form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from sdk_shapes import COLOURS, ask, got

from console.core.switches import Scope
from console.sdk.answers import CallBlocked

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installation

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]

SECRET = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("feature", ["task-classification-v2", "helpdesk-ticket-summarizer", "x" * 300, SECRET, "naïve ✓"])
async def test_the_name_that_is_shown_is_the_name_that_is_switched(
    installation: Installation, client_of: Callable[..., Any], colour: str, feature: str
) -> None:
    client = client_of(colour, installation.console)
    tags = installation.console.tags(feature=feature)
    await got(client.messages.create(**ask(), extra_headers=tags))
    (row,) = installation.rows("call")
    assert SECRET not in row["feature"]
    installation.act("kill", Scope("feature", row["feature"]))
    with pytest.raises(CallBlocked):
        await got(client.messages.create(**ask(), extra_headers=tags))


@pytest.mark.parametrize("is_found", [True, False])
async def test_tags_among_the_default_headers_count(
    installation: Installation,
    client_of: Callable[..., Any],
    colour: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_found: bool,
) -> None:
    """From the first call on; where the client behind a call cannot be found, from its first answer on, with a warning."""
    if not is_found:
        monkeypatch.setattr("console.sdk.clients._behind", lambda _: None)
    client = client_of(colour, installation.console, default_headers=installation.console.tags(feature="by-default"))
    if not is_found:
        await got(client.messages.create(**ask()))
    assert ("extra_headers" in caplog.text) is not is_found
    installation.act("kill", Scope("feature", "by-default"))
    with pytest.raises(CallBlocked):
        await got(client.messages.create(**ask()))
    own = installation.console.tags(feature="of-its-own")
    await got(client.messages.create(**ask(), extra_headers=own))


async def test_a_request_that_makes_no_sense_is_still_stopped_by_its_tags(
    installation: Installation, client_of: Callable[..., Any], colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Any:
        raise RuntimeError

    client = client_of(colour, installation.console)
    monkeypatch.setattr("console.sdk.middleware.facts_of", broken)
    installation.act("kill", Scope("customer", "acme"))
    with pytest.raises(CallBlocked):
        await got(client.messages.create(**ask(), extra_headers=installation.console.tags(customer="acme")))
    await got(client.messages.create(**ask(), extra_headers=installation.console.tags(customer="birch")))


async def test_a_switch_on_a_model_stops_a_call_that_may_fall_back_to_it(
    installation: Installation, client_of: Callable[..., Any], colour: str
) -> None:
    client = client_of(colour, installation.console)
    installation.act("kill", Scope("model", "claude-haiku-5-5"))
    hops = {"extra_body": {"fallbacks": [{"model": "claude-haiku-5-5"}]}}
    with pytest.raises(CallBlocked):
        await got(client.beta.messages.create(**ask(), **hops))
    await got(client.beta.messages.create(**ask()))
    await got(client.messages.create(**ask(), extra_body={"fallbacks": 7}))


async def test_frames_that_are_neither_json_nor_sse_are_no_failure(
    installation: Installation, client_of: Callable[..., Any], colour: str
) -> None:
    def frames(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            200, headers={"content-type": "application/vnd.amazon.eventstream"}, content=b"\x00\x01\x02" * 50
        )

    client = client_of(colour, installation.console, wire=frames)
    response = await got(client.messages.with_streaming_response.create(**ask()).__aenter__()) if colour == "awaiting" else None
    if response is not None:
        await response.read()
    else:
        with client.messages.with_streaming_response.create(**ask()) as plain:
            plain.read()
    (row,) = installation.rows("call")
    assert (row["outcome"], row["error"]) == ("ok", None)


async def test_a_gateways_page_instead_of_a_stream_is_a_failure(
    installation: Installation, client_of: Callable[..., Any], colour: str
) -> None:
    def page(request: httpx2.Request) -> httpx2.Response:
        stream = httpx2.ByteStream(b"<html>Bad Gateway</html>")
        return httpx2.Response(502, headers={"content-type": "text/html"}, stream=stream)

    client = client_of(colour, installation.console, wire=page)
    with pytest.raises(anthropic.InternalServerError):
        await got(client.messages.create(**ask(), stream=True))
    (row,) = installation.rows("call")
    assert (row["outcome"], row["status"], row["error"]) == ("failed", 502, "api_error")
