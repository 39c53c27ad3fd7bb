"""Targets at other providers, asked with the SDK's own clients over real sockets: whole answers, and nothing on the wire that is
somebody else's."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import anthropic
import anyio.to_thread
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from failover_tools import FOUR, LIMITS, SHORT, WHOLE, routed
from sdk_shapes import COLOURS, HAIKU, SONNET, Shape, ask, each, entered, got, seen_by

from console.core.switches import Scope
from console.core.targets import Target
from console.errors import CallBlocked
from console.sdk import providers as of_providers
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from failover_tools import Chained

    from console.sim.server import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]
four = pytest.mark.parametrize("shape", FOUR, ids=str)

AUTH = {
    "anthropic": (["bearer"], "-sim"),
    "bedrock": (["sigv4:bedrock"], "KSIM"),
    "bedrock-mantle": (["sigv4:bedrock-mantle"], "KSIM"),
    "aws": (["sigv4:aws-external-anthropic"], "KSIM"),
    "vertex": (["bearer"], "oken"),
    "google-cloud": (["bearer"], "oken"),
    "foundry": (["x-api-key", "api-key"], "ysim"),
}
"""How each provider is signed for, and the end of the key, token or key id with which it is."""
CLOUDS = tuple(name for name in AUTH if name != "anthropic")
every = pytest.mark.parametrize("provider", CLOUDS)
TAGS = {"x-console-feature": "support-reply", "x-console-customer": "acme"}
SECRETS = {"X-Gateway-Token": "of-the-application", "anthropic-workspace-id": "wrkspc_of_the_application"}


@pytest.fixture(scope="session")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


@pytest.fixture(autouse=True)
def _environment(api: SimulatedAPI, private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials where each SDK client looks for them, and none of the machine's own."""
    for name in os.environ:
        if name.startswith(("AWS_", "ANTHROPIC_", "GOOGLE_", "CLOUD_ML")):
            monkeypatch.delenv(name)
    account = {
        "type": "service_account", "project_id": "sim-project", "private_key_id": "1", "private_key": private_key,
        "client_email": "sim@sim-project.iam.gserviceaccount.com", "token_uri": f"{api.url}/google-token/token",
    }  # fmt: skip
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account))
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIASIMKSIM",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        "ANTHROPIC_FOUNDRY_API_KEY": "foundrysim",
        "ANTHROPIC_API_KEY": "sk-ant-sim",
        "ANTHROPIC_CONFIG_DIR": str(tmp_path / "none"),
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)


def place_of(provider: str, api: SimulatedAPI) -> dict[str, Any]:
    """Where the provider's part of the simulated API is, in a target's words."""
    where: dict[str, dict[str, str]] = {
        "bedrock": {"region": "us-east-1"},
        "bedrock-mantle": {"region": "us-east-1"},
        "aws": {"region": "us-east-1", "workspace": "wrkspc_sim"},
        "vertex": {"region": "global", "project": "sim-project"},
        "google-cloud": {"project": "sim-project", "workspace": "wrkspc_sim"},
    }
    return {"base_url": api.at(provider), **where.get(provider, {})}


def target_at(provider: str, api: SimulatedAPI, name: str = "abroad", model: str = HAIKU, **more: Any) -> Target:
    return Target(name, model, **{"provider": provider, **place_of(provider, api), **more})


def sent(provider: str, model: str) -> str:
    """The model's id on the wire."""
    return f"anthropic.{model}" if provider.startswith("bedrock") else model


def asked(api: SimulatedAPI) -> list[dict[str, Any]]:
    """What reached the API, without the token endpoint."""
    return [entry for entry in api.requests() if entry["wire"] != "google-token"]


def unbilled(parts: list[Any]) -> list[Any]:
    """What a caller saw, without what the answer costs: a broken attempt before it is billed with it."""
    return [[part[0], {**part[1], "usage": None}] if isinstance(part, list) else part for part in parts]


@pytest_asyncio.fixture
async def cloud_client_of(api: SimulatedAPI) -> AsyncIterator[Callable[..., Any]]:
    """An application's own client of a provider: `cloud_client_of("bedrock", "awaiting", chain)`."""
    made: list[Any] = []

    def make(provider: str, colour: str, chain: Chained | None = None, **more: Any) -> Any:
        names = {
            "anthropic": ("Anthropic", {"api_key": "sim-key"}),
            "bedrock": ("AnthropicBedrock", {"aws_region": "us-east-1"}),
            "bedrock-mantle": ("AnthropicBedrockMantle", {"aws_region": "us-east-1"}),
            "aws": ("AnthropicAWS", {"aws_region": "us-east-1", "workspace_id": "wrkspc_sim"}),
            "vertex": ("AnthropicVertex", {"region": "global", "project_id": "sim-project"}),
            "google-cloud": ("AnthropicGoogleCloud", {"project": "sim-project", "workspace_id": "wrkspc_sim"}),
            "foundry": ("AnthropicFoundry", {"api_key": "foundrysim"}),
        }
        name, settings = names[provider]
        kind = getattr(anthropic, f"Async{name}" if colour == "awaiting" else name)
        middleware = [] if chain is None else [chain.middleware]
        made.append(kind(base_url=api.at(provider), max_retries=0, timeout=10, middleware=middleware, **settings, **more))
        return made[-1]

    yield make
    for client in made:
        await got(client.close())


@pytest_asyncio.fixture
async def abroad(chained: Callable[..., Chained]) -> AsyncIterator[Callable[..., Chained]]:
    """`chained`, whose clients of other providers are closed in the end, as those of a program are with it."""
    made: list[Chained] = []

    def make(*arguments: Any, **degraded: str) -> Chained:
        made.append(chained(*arguments, **degraded))
        return made[-1]

    yield make
    for chain in made:
        providers = chain.middleware._providers
        for _, client in (providers._twins.get(None) or {}).values():
            await client.close()
        for making in providers._known.values():
            if making.future.exception(timeout=10) is None:
                making.future.result().client.close()


@every
@four
async def test_the_answer_of_another_provider_is_whole_and_nothing_foreign_reaches_it(
    shape: Shape,
    provider: str,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "ANTHROPIC_CUSTOM_HEADERS", "X-Corporate: secret\nAuthorization: Bearer of-the-gateway\nx-console-session: s"
    )
    chain = abroad(routed("sonnet", "abroad", targets={"abroad": target_at(provider, api)}))
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    api.set_faults([Fault(wire="anthropic", status=529)])
    api.clear_requests()
    client = client_of(colour, chain, default_headers={"X-Own": "1", "anthropic-beta": "own-beta-1"})
    seen = await seen_by(shape, client, extra_headers={**TAGS, **SECRETS}, extra_query={"token": "own"})
    assert (seen.error, seen.parts) == (None, wanted.parts)
    first, last = asked(api)
    assert (first["wire"], first["model"]) == ("anthropic", SONNET)
    assert (last["wire"], last["model"], last["status"]) == (provider, sent(provider, HAIKU), 200)
    assert (last["auth"], last["key"], last["console_headers"], last["query"]) == (*AUTH[provider], [], "")
    assert {"x-gateway-token", "x-corporate", "x-own"}.isdisjoint(last["headers"])
    assert last["workspace"] == ("wrkspc_sim" if provider == "aws" else None)
    assert "anthropic-beta" in last["headers"]
    call = chain.only_call()
    assert (call["served_by"], call["outcome"], call["provider"], call["target"]) == ("fallback", "ok", provider, "abroad")
    assert (call["model_asked"], call["model_served"], call["request_id"]) == (SONNET, HAIKU, last["request_id"])
    assert (call["feature"], call["customer"]) == ("support-reply", "acme")
    assert [row["provider"] for row in chain.rows("attempt")] == ["anthropic", provider]
    assert chain.runtime.errors == 0


Errors = tuple[tuple[int | None, str], ...]

FAILURES: tuple[tuple[Fault, Errors], ...] = (
    (Fault(status=529), ((529, "overloaded_error"),)),
    (Fault(status=503), ((503, "api_error"),)),
    (Fault(status=500), ((500, "api_error"),) * 2),
    (Fault(status=429, retry_after="0"), ((429, "rate_limit_error"),) * 2),
    (Fault(status=429, retry_after="60"), ((429, "rate_limit_error"),)),
    (Fault(status=400), ((400, "invalid_request_error"),)),
    (Fault(status=403), ((403, "permission_error"),)),
    (Fault(status=404), ((404, "not_found_error"),)),
    (Fault(reset=True), ((None, "reset"),) * 2),
    (Fault(no_response=True), ((None, "timeout"),)),
)
STREAMED: tuple[tuple[Fault, Errors], ...] = (
    (Fault(error_at=0), ((200, "overloaded_error"),)),
    (Fault(error_at=2, error_type="api_error"), ((200, "api_error"),)),
    (Fault(error_at=1, error_type="rate_limit_error"), ((200, "rate_limit_error"),)),
    (Fault(cut_at=0), ((200, "reset"),) * 2),
    (Fault(cut_at=2), ((200, "reset"),) * 2),
    (Fault(clean_end_at=0), ((200, "truncated_stream"),) * 2),
    (Fault(stall_at=1), ((200, "timeout"),)),
    (Fault(pings_only=True), ((200, "timeout"),)),
    (Fault(trickle_bytes_per_s=40), ((200, "timeout"),)),
)
"""Before the first content."""
PLAIN: tuple[tuple[Fault, Errors], ...] = (
    (Fault(cut_at=0), ((200, "reset"),) * 2),
    (Fault(trickle_bytes_per_s=40), ((200, "timeout"),)),
)
THOROUGH = ("bedrock", "vertex")
"""Frames, and a body without a model; the others' streams are the API's own, and get one fault of each kind."""
A_FEW = (FAILURES[0], FAILURES[8], STREAMED[0], STREAMED[4])


def _cases() -> list[Any]:
    found = []
    for provider in CLOUDS:
        rows = [(FOUR[number % 2], *row) for number, row in enumerate(FAILURES)]
        rows += [(FOUR[1], *row) for row in STREAMED] + [(FOUR[0], *row) for row in PLAIN]
        rows += [(FOUR[1], *FAILURES[0]), (FOUR[0], *FAILURES[5])]
        for shape, fault, expected in rows:
            if provider in THOROUGH or (fault, expected) in A_FEW:
                found.append(
                    pytest.param(provider, shape, fault, expected, id=f"{provider}-{shape}-{fault.label.replace(' ', '-')}")
                )
    return found


@pytest.mark.parametrize(("provider", "shape", "fault", "expected"), _cases())
async def test_b_a_sick_provider_is_left_for_the_next_target(
    provider: str,
    shape: Shape,
    fault: Fault,
    expected: Errors,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    limits = SHORT if any(error == "timeout" for _, error in expected) else LIMITS
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at(provider, api)}, limits=limits))
    target = chain.runtime._router._routing.targets["abroad"]
    chain.middleware._providers._making(target).future.result(10)  # its making is none of the limit
    wanted = await seen_by(shape, client_of(colour))
    api.set_faults([dataclasses.replace(fault, wire=provider)])
    api.clear_requests()
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2), extra_headers=TAGS)
    assert (seen.error, unbilled(seen.parts)) == (None, unbilled(wanted.parts))
    wires = [entry["wire"] for entry in asked(api)]
    assert wires == [*[provider] * len(expected), "anthropic"]
    assert [entry["auth"] for entry in asked(api)[:-1]] == [AUTH[provider][0]] * len(expected)
    assert chain.errors() == [*(("abroad", *one) for one in expected), ("sonnet", 200, None)]
    assert [row["provider"] for row in chain.rows("attempt")] == wires
    answered = {entry["request_id"] for entry in api.requests()}
    assert {row["request_id"] for row in chain.rows("attempt")} - {None} <= answered
    if expected[0][0] is not None:
        assert None not in {row["request_id"] for row in chain.rows("attempt")}
    assert chain.runtime.errors == 0


@pytest.mark.parametrize(
    ("provider", "shape"),
    [*(("bedrock", one) for one in WHOLE), *(("vertex", one) for one in FOUR), ("foundry", FOUR[1])],
    ids=str,
)
async def test_an_application_with_another_providers_client_has_chains_too(
    shape: Shape,
    provider: str,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    cloud_client_of: Callable[..., Any],
) -> None:
    """Its own client serves the target without a place; the direct API is the one that needs a client of ours. Whatever way the
    answer comes, it reads like the API's own."""
    own, direct = Target("own", HAIKU, provider), Target("direct", SONNET, base_url=api.url, api_key="env:ANTHROPIC_API_KEY")
    wanted = {model: await seen_by(shape, client_of(colour), model=model) for model in (HAIKU, SONNET)}
    chain = abroad(routed("own", "direct", targets={"own": own, "direct": direct}))
    client = cloud_client_of(provider, colour, chain)
    api.clear_requests()
    seen = await seen_by(shape, client, model=sent(provider, HAIKU))
    assert (seen.error, seen.parts) == (None, wanted[HAIKU].parts)
    api.set_faults([Fault(wire=provider, status=529)])
    seen = await seen_by(shape, client, model=sent(provider, HAIKU), extra_headers={**TAGS, **SECRETS})
    assert (seen.error, seen.parts) == (None, wanted[SONNET].parts)
    first, second, third = asked(api)
    assert [entry["wire"] for entry in (first, second, third)] == [provider, provider, "anthropic"]
    assert [entry["model"] for entry in (first, second, third)] == [sent(provider, HAIKU)] * 2 + [SONNET]
    assert (third["auth"], third["key"]) == (["anthropic-key"], "-sim")
    assert {"x-gateway-token", "anthropic-workspace-id", "api-key"}.isdisjoint(third["headers"])
    assert [row["provider"] for row in chain.rows("attempt")] == [provider, provider, "anthropic"]
    assert [row["provider"] for row in chain.rows("call")] == [provider, "anthropic"]
    assert chain.runtime.errors == 0


async def test_without_a_chain_a_providers_frames_pass_as_they_are(
    colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], cloud_client_of: Callable[..., Any]
) -> None:
    chain = abroad()
    client = cloud_client_of("bedrock", colour, chain)
    manager = client.messages.with_streaming_response.create(
        **ask(model=sent("bedrock", HAIKU)), stream=True, extra_headers={"x-console-feature": "bare"}
    )
    async with entered(manager) as response:
        assert response.headers["content-type"] == "application/vnd.amazon.eventstream"
        frames = b"".join([chunk async for chunk in each(response.iter_bytes())])
    assert b":message-type" in frames
    assert chain.only_call()["outcome"] == "ok"


@four
@pytest.mark.parametrize("provider", ["bedrock", "vertex", "anthropic"])
async def test_missing_credentials_put_one_target_out_with_a_message_and_nothing_else(
    shape: Shape,
    provider: str,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    cloud_client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    place = place_of(provider, api) | ({"region": "eu-north-1"} if provider == "bedrock" else {})
    gone = Target("gone", HAIKU, provider, **(place if provider != "anthropic" else {}))
    chain = abroad(routed("gone", "abroad", targets={"gone": gone, "abroad": target_at("foundry", api)}))
    client = cloud_client_of("foundry", colour, chain) if provider == "anthropic" else client_of(colour, chain)
    for _ in range(3):
        seen = await seen_by(shape, client)
        assert seen.error is None
    assert [entry["wire"] for entry in asked(api)] == ["foundry"] * 3
    note = chain.runtime._heartbeat().note or ""
    assert note.startswith("target gone cannot be used: ")
    assert "abroad" not in note
    assert chain.state("gone") == "closed"
    assert [(call["served_by"], call["attempts"]) for call in chain.rows("call")] == [("fallback", 1)] * 3
    assert chain.runtime.errors == 0


@four
async def test_an_own_client_that_cannot_sign_is_left_for_the_next_target(
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    cloud_client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    chain = abroad(
        routed("own", "abroad", targets={"own": Target("own", HAIKU, "vertex"), "abroad": target_at("foundry", api)})
    )
    assert (await seen_by(shape, cloud_client_of("vertex", colour, chain))).error is None
    assert [entry["wire"] for entry in asked(api)] == ["foundry"]
    assert "target own cannot be used: vertex: DefaultCredentialsError" in (chain.runtime._heartbeat().note or "")
    assert chain.state("own") == "closed"


async def test_a_missing_library_is_said_with_what_brings_it(
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("boto3", "botocore.auth", "google.auth"):
        monkeypatch.setitem(sys.modules, name, None)
    clouds = ("bedrock", "aws", "vertex", "google-cloud")
    targets = {name: dataclasses.replace(target_at(name, api, name), base_url=f"{api.at(name)}/") for name in clouds}
    chain = abroad(routed(*clouds, "sonnet", targets=targets))
    assert (await seen_by(FOUR[0], client_of(colour, chain))).error is None
    note = chain.runtime._heartbeat().note or ""
    for name in clouds:
        assert f"target {name} cannot be used: {name}: its libraries are not installed" in note
        assert f"pip install 'claude-incident-console[{name}]'" in note
    assert [entry["wire"] for entry in asked(api)] == ["anthropic"]


async def test_a_target_whose_credentials_come_back_is_used_again_and_the_note_goes(
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("console.sdk.providers.AGAIN_S", 0.05)
    monkeypatch.delenv("ANTHROPIC_FOUNDRY_API_KEY")
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at("foundry", api)}))
    client = client_of(colour, chain)
    assert (await seen_by(FOUR[0], client)).error is None
    assert "ANTHROPIC_FOUNDRY_API_KEY" in (chain.runtime._heartbeat().note or "")
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_API_KEY", "foundrysim")
    time.sleep(0.1)  # noqa: ASYNC251 -- nothing else runs here
    api.clear_requests()
    assert (await seen_by(FOUR[1], client)).error is None
    assert [entry["wire"] for entry in asked(api)] == ["foundry"]
    assert chain.runtime._heartbeat().note is None


async def test_a_token_that_cannot_be_had_at_the_time_of_a_call_is_no_outage_of_the_target(
    colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The first token was got and is used up; the token endpoint refuses the next one."""
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at("vertex", api)}))
    client = client_of(colour, chain)
    assert (await seen_by(FOUR[0], client)).error is None
    making = next(iter(chain.middleware._providers._known.values()))
    making.future.result(5).settings["credentials"].token = None
    api.set_faults([Fault(wire="google-token", status=400)])
    api.clear_requests()
    assert (await seen_by(FOUR[1], client)).error is None
    assert [entry["wire"] for entry in asked(api)] == ["anthropic"]
    assert "RefreshError" in (chain.runtime._heartbeat().note or "")
    assert [row["target"] for row in chain.rows("attempt")] == ["abroad", "sonnet"]
    assert chain.state("abroad") == "closed"


@four
async def test_a_client_that_takes_long_to_make_holds_nobody_up_and_is_used_when_it_is_there(
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("console.sdk.providers.PREPARE_S", 0.5)
    api.set_faults([Fault(wire="google-token", latency_s=1.0, times=1)])
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at("vertex", api)}))
    client = client_of(colour, chain)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    seen = await seen_by(shape, client)
    ticking.cancel()
    assert seen.error is None
    assert {entry["wire"] for entry in asked(api)} == {"anthropic"}
    assert colour == "blocking" or ticks > 9  # the event loop went on while the client was made
    assert "its client is still being made" in (chain.runtime._heartbeat().note or "")
    (making,) = chain.middleware._providers._known.values()
    making.future.result(10)
    api.clear_requests()
    assert (await seen_by(shape, client)).error is None
    assert [entry["wire"] for entry in asked(api)] == ["vertex"]
    assert chain.runtime._heartbeat().note is None


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No client is ready before the event is set: its credentials are looked up where nobody answers."""
    may_go_on, prepared = threading.Event(), of_providers._prepared

    def waiting(target: Target) -> Any:
        may_go_on.wait(60)
        return prepared(target)

    monkeypatch.setattr("console.sdk.providers._prepared", waiting)
    yield may_go_on
    may_go_on.set()


async def test_a_client_that_is_being_made_is_waited_for_once_and_not_by_every_call(
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    held_up: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("console.sdk.providers.PREPARE_S", 0.3)
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at("foundry", api)}))
    client, providers = client_of(colour, chain), chain.middleware._providers
    assert (await seen_by(FOUR[0], client)).error is None
    hop = providers.hop(chain.runtime._router._routing.targets["abroad"], None, None)
    assert hop is not None
    assert hop.is_ready(0) if colour == "blocking" else await hop.is_ready_async(0)
    assert (await seen_by(FOUR[1], client)).error is None
    assert [entry["wire"] for entry in asked(api)] == ["anthropic"] * 2
    held_up.set()
    (making,) = providers._known.values()
    making.future.result(10)
    assert (await seen_by(FOUR[0], client)).error is None
    assert [entry["wire"] for entry in asked(api)][2:] == ["foundry"]


async def test_calls_that_wait_for_a_client_take_no_thread_from_the_application(
    colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], client_of: Callable[..., Any], held_up: threading.Event
) -> None:
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at("foundry", api)}))
    client = client_of(colour, chain)
    if colour == "blocking":  # it waits in the thread that it was called in
        calls = [asyncio.create_task(asyncio.to_thread(lambda: client.messages.create(**ask())))]
    else:
        calls = [asyncio.create_task(client.messages.create(**ask())) for _ in range(20)]
    await asyncio.sleep(0.3)
    assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    assert not any(call.done() for call in calls)
    held_up.set()
    assert all(message.content for message in await asyncio.gather(*calls))
    assert {entry["wire"] for entry in asked(api)} == {"foundry"}
    twins = chain.middleware._providers._twins.get(None) or {}
    assert len(twins) == (0 if colour == "blocking" else 1)


@pytest.mark.parametrize("scope", [Scope("all"), Scope("model", HAIKU)], ids=str)
@pytest.mark.parametrize("is_there_then", [False, True])
async def test_a_kill_reaches_a_call_that_waits_for_a_client_and_nothing_is_sent_to_it(
    is_there_then: bool,
    scope: Scope,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    held_up: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when the client is there right after the switch, before anybody has looked at that."""
    monkeypatch.setattr("console.sdk.providers.PREPARE_S", 30.0)
    if is_there_then:
        monkeypatch.setattr("console.sdk.wires.LOOK_S", 2.0)
    chain = abroad(
        routed("abroad", "sonnet", targets={"abroad": target_at("foundry", api)}, limits=dataclasses.replace(LIMITS, answer=30))
    )
    client = client_of(colour, chain, timeout=60)
    create = client.messages.create
    call = asyncio.create_task(asyncio.to_thread(lambda: create(**ask())) if colour == "blocking" else create(**ask()))
    await asyncio.sleep(0.3)
    assert not call.done()
    chain.kill(scope)
    if is_there_then:
        held_up.set()
    if scope.kind == "model":  # the chain has another one
        assert (await asyncio.wait_for(call, 20)).model == SONNET
    else:
        with pytest.raises(CallBlocked):
            await asyncio.wait_for(call, 20)
    assert [entry["wire"] for entry in asked(api)] == (["anthropic"] if scope.kind == "model" else [])
    held_up.set()
    assert chain.only_call()["outcome"] == ("ok" if scope.kind == "model" else "blocked")
    assert [row["provider"] for row in chain.rows("attempt")] == (["anthropic"] if scope.kind == "model" else [])
    assert chain.runtime.errors == 0


async def test_the_callers_error_is_that_of_the_target_after_one_that_was_killed_in_the_making(
    colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], client_of: Callable[..., Any], held_up: threading.Event
) -> None:
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at("foundry", api)}))
    client = client_of(colour, chain)
    api.set_faults([Fault(status=529)])
    create = client.messages.create
    call = asyncio.create_task(asyncio.to_thread(lambda: create(**ask())) if colour == "blocking" else create(**ask()))
    await asyncio.sleep(0.3)
    chain.kill(Scope("model", HAIKU))
    with pytest.raises(anthropic.OverloadedError):
        await asyncio.wait_for(call, 20)
    held_up.set()


async def test_what_a_failure_says_is_told_without_the_secrets_in_it(colour: str, api: SimulatedAPI) -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV"
    said = RuntimeError(f"the token endpoint said: {{'api_key': 'sk-ant-api03-abcdefghijklmnop', 'id_token': '{token}'}}")
    told = str(of_providers.unusable(target_at("vertex", api), said))
    assert "the token endpoint said" in told
    assert told.count("[redacted]") == 2
    assert "abcdefghijklmnop" not in told
    assert "eyJ" not in told


async def test_the_client_of_a_fallback_is_made_before_it_is_needed_and_once(
    colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Two targets at the same place share it; nothing but a token is asked for as long as the first target is well."""
    targets = {"abroad": target_at("vertex", api), "later": target_at("vertex", api, "later", "claude-opus-5-5")}
    chain = abroad(routed("sonnet", "abroad", "later", targets=targets))
    client = client_of(colour, chain)
    assert (await seen_by(FOUR[0], client)).error is None
    (making,) = chain.middleware._providers._known.values()
    making.future.result(10)
    assert [entry["wire"] for entry in api.requests() if entry["wire"] != "anthropic"] == ["google-token"]
    api.set_faults([Fault(wire="anthropic", status=529), Fault(model=HAIKU, status=529)])
    assert (await seen_by(FOUR[1], client)).error is None
    assert [entry["model"] for entry in asked(api)][1:] == [SONNET, HAIKU, "claude-opus-5-5"]
    assert len([entry for entry in api.requests() if entry["wire"] == "google-token"]) == 1


async def test_a_refused_key_is_read_anew_after_a_while(
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("console.sdk.providers.AGAIN_S", 0.0)
    monkeypatch.setenv("ROTATED", "old-key-1111")
    place = Target("abroad", HAIKU, "foundry", api.at("foundry"), "env:ROTATED")
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": place}))
    client = client_of(colour, chain)
    api.set_faults([Fault(wire="foundry", status=401, times=1)])
    assert (await seen_by(FOUR[0], client)).error is None
    monkeypatch.setenv("ROTATED", "new-key-2222")
    for _, replaced in (chain.middleware._providers._twins.get(None) or {}).values():
        await replaced.close()
    assert (await seen_by(FOUR[0], client)).error is None
    assert [(entry["wire"], entry["key"]) for entry in asked(api)] == [
        ("foundry", "1111"),
        ("anthropic", "-key"),
        ("foundry", "2222"),
    ]


@pytest.mark.parametrize("provider", ["bedrock", "foundry"])
async def test_a_refused_key_ends_no_stream_that_is_under_way(
    provider: str,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client is made anew; whose stream is still being read keeps the old one."""
    monkeypatch.setattr("console.sdk.providers.AGAIN_S", 0.0)
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at(provider, api)}))
    client, providers = client_of(colour, chain), chain.middleware._providers
    api.set_faults([Fault(wire=provider, stall_at=6, stall_s=1.0, times=1)])
    async with entered(client.messages.stream(**ask())) as stream:
        number = 0
        async for _ in each(stream):
            number += 1
            if number == 4:
                api.set_faults([Fault(wire=provider, status=403, times=1)])
                twins = [twin for _, twin in (providers._twins.get(None) or {}).values()]
                closing = weakref.ref(next(iter(providers._known.values())).future.result(5).client)
                assert (await seen_by(FOUR[0], client)).error is None
                assert providers._known == {}
                gc.collect()
        assert (await got(stream.get_final_message())).stop_reason is not None
    assert [entry["wire"] for entry in asked(api)] == [provider, provider, "anthropic"]
    assert [row["continued"] for row in chain.rows("call")] == [0, 0]
    for twin in twins:
        await twin.close()
    if (client := closing()) is not None:  # the stream is what kept it
        client.close()


@pytest.mark.parametrize("provider", ["bedrock", "google-cloud"])
async def test_each_event_loop_has_connections_of_its_own(
    provider: str, colour: str, api: SimulatedAPI, chained: Callable[..., Chained]
) -> None:
    """A program that calls `asyncio.run` again and again, and threads with loops of their own."""
    chain = chained(routed("abroad", targets={"abroad": target_at(provider, api)}))
    failed: list[BaseException] = []

    async def call() -> None:
        kind = anthropic.AsyncAnthropic if colour == "awaiting" else anthropic.Anthropic
        client: Any = kind(base_url=api.url, api_key="sim-key", max_retries=0, middleware=[chain.middleware])
        async with entered(client) as opened:
            for _ in range(2):
                assert (await got(opened.messages.create(**ask()))).content
        for _, hop in (chain.middleware._providers._twins.get(None) or {}).values():
            await hop.close()

    def work() -> None:
        try:
            for _ in range(2):
                asyncio.run(call())
        except BaseException as error:  # noqa: BLE001 -- of a thread: told below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failed == []
    (making,) = chain.middleware._providers._known.values()
    making.future.result(5).client.close()
    assert [entry["wire"] for entry in asked(api)] == [provider] * 16
    assert chain.runtime.errors == 0


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_an_event_loop_that_is_closed_is_let_go_of(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained]
) -> None:
    """Programs that end an event loop do not close our connections before; they go with the next loop's."""
    chain = chained(routed("abroad", targets={"abroad": target_at("foundry", api)}))
    providers = chain.middleware._providers
    loops: list[weakref.ref[Any]] = []

    async def call(*, is_last: bool) -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        kind = anthropic.AsyncAnthropic if colour == "awaiting" else anthropic.Anthropic
        client: Any = kind(base_url=api.url, api_key="sim-key", max_retries=0, middleware=[chain.middleware])
        async with entered(client) as opened:
            assert (await got(opened.messages.create(**ask()))).content
        for _, hop in (providers._twins.get(None) or {}).values() if is_last else ():
            await hop.close()

    def work() -> None:
        for number in range(4):
            asyncio.run(call(is_last=number == 3))

    await asyncio.to_thread(work)
    gc.collect()
    assert [loop() for loop in loops[:-1]] == [None] * 3
    assert len(providers._loops) == (1 if colour == "awaiting" else 0)
    (making,) = providers._known.values()
    making.future.result(5).client.close()


async def test_the_chain_of_a_child_of_a_fork_is_prepared_too(
    colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = abroad(routed("sonnet", "abroad", targets={"abroad": target_at("foundry", api)}))
    assert (await seen_by(FOUR[0], client_of(colour, chain), extra_headers=TAGS)).error is None
    providers, feature = chain.middleware._providers, TAGS["x-console-feature"]
    plan = providers._expected[feature]
    (before,) = providers._known.values()
    before.future.result(10)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover -- of the child
        providers.expect(feature, plan, None)
        os.write(writing, b"other" if list(providers._known.values()) != [before] else b"same!")
        os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222 -- a moment
    assert os.read(reading, 5) == b"other"
    os.close(reading)
    os.close(writing)


async def test_a_child_of_a_fork_makes_clients_of_its_own(
    colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = abroad(routed("abroad", targets={"abroad": target_at("foundry", api)}))
    assert (await seen_by(FOUR[0], client_of(colour, chain))).error is None
    providers = chain.middleware._providers
    before = next(iter(providers._known.values()))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover -- of the child
        made = providers._making(chain.runtime._router._routing.targets["abroad"])
        os.write(writing, b"other" if made is not before else b"same!")
        os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222 -- a moment
    assert os.read(reading, 5) == b"other"
    os.close(reading)
    os.close(writing)


@every
async def test_a_stream_that_breaks_is_continued_at_another_provider(
    provider: str, colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = abroad(routed("abroad", "sonnet", targets={"abroad": target_at(provider, api)}))
    api.set_faults([Fault(wire=provider, cut_at=8)])
    seen = await seen_by(FOUR[1], client_of(colour, chain))
    assert seen.error is None
    _, message = seen.parts[-1]
    assert message["stop_reason"] is not None
    assert message["content"][0]["text"] == "".join(part for part in seen.parts if isinstance(part, str))
    assert [entry["wire"] for entry in asked(api)] == [provider, "anthropic"]
    call = chain.only_call()
    assert (call["outcome"], call["continued"], call["attempts"]) == ("ok", 1, 2)
    assert [row["provider"] for row in chain.rows("attempt")] == [provider, "anthropic"]


@four
async def test_the_callers_error_is_that_of_the_target_that_was_asked(
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    abroad: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ANTHROPIC_FOUNDRY_API_KEY")
    chain = abroad(routed("gone", "sonnet", targets={"gone": target_at("foundry", api, "gone")}))
    api.set_faults([Fault(status=529)])
    seen = await seen_by(shape, client_of(colour, chain))
    assert seen.error[0] is anthropic.OverloadedError


@four
async def test_a_model_that_is_only_named_is_asked_at_the_applications_own_provider(
    shape: Shape, colour: str, api: SimulatedAPI, abroad: Callable[..., Chained], cloud_client_of: Callable[..., Any]
) -> None:
    chain = abroad(routed(SONNET, HAIKU))
    api.set_faults([Fault(model=sent("bedrock", SONNET), status=529)])
    seen = await seen_by(shape, cloud_client_of("bedrock", colour, chain), model=sent("bedrock", SONNET))
    assert seen.error is None
    assert [(entry["wire"], entry["model"]) for entry in asked(api)] == [
        ("bedrock", sent("bedrock", SONNET)),
        ("bedrock", sent("bedrock", HAIKU)),
    ]
    assert [row["provider"] for row in chain.rows("attempt")] == ["bedrock", "bedrock"]
