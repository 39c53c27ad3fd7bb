"""Where a call goes and with what: what a target may change of a request (I13), whose key it gets, and what operators decide."""

from __future__ import annotations

import json
import logging
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from failover_tools import (
    BY_NAME,
    FOUR,
    QUICK,
    Chained,
    Server,
    answer_on,
    request_on,
    routed,
    until,
)
from sdk_shapes import COLOURS, HAIKU, SONNET, Shape, ask, got, seen_by

from console import Console
from console.core.switches import ALL
from console.core.targets import KEY_OF_CLIENT, Routing, Target
from console.sdk.answers import CallBlocked, ChainExhausted
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from console.sim.server import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]
four = pytest.mark.parametrize("shape", FOUR, ids=str)

THEIRS = "sk-of-the-application-1111"
OURS = "sk-of-the-target-2222"


class Wire:
    """Answers every request in place of the network, and keeps it. `refuses`: statuses by model."""

    def __init__(self, **refuses: int) -> None:
        self.requests: list[httpx2.Request] = []
        self.refuses = refuses

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        body = json.loads(request.content)
        status = self.refuses.get(body["model"].split("-")[1])
        if status is not None:
            kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "overloaded_error")
            error = {"type": "error", "error": {"type": kind, "message": f"refused by {body['model']}"}}
            return httpx2.Response(status, json=error)
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "Yes."}], "stop_sequence": None,
            "usage": {"input_tokens": 3, "output_tokens": 4},
        }  # fmt: skip
        if not body.get("stream"):
            return httpx2.Response(200, json=message)
        events = [
            {"type": "message_start", "message": message | {"content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yes."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ]
        content = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


CHANGES_BY_ITSELF = ("idempotency-key", "x-stainless-timeout", "x-stainless-read-timeout", "x-stainless-raw-response")
"""Of the SDK: one key a call, the attempt's limit, and how the middleware asks for the response."""


def _headers(request: httpx2.Request) -> list[tuple[str, str]]:
    found = [(name.lower(), value) for name, value in request.headers.multi_items()]
    return sorted((name, value) for name, value in found if name not in (*CHANGES_BY_ITSELF, "content-length"))


# -- I13: what a hop may change ----------------------------------------------------------------------------------------

RICH = ask(
    metadata={"user_id": "u-1"},
    stop_sequences=["STOP"],
    service_tier="auto",
    thinking={"type": "enabled", "budget_tokens": 1024},
    tools=[{"name": "look", "description": "Looks", "input_schema": {"type": "object", "properties": {}}}],
    tool_choice={"type": "auto"},
    extra_body={"temperature": 0.3, "top_p": 0.9, "unknown_field": {"nested": [1, 2]}},
)


@pytest.mark.parametrize("name", ["create", "create-stream", "messages.stream", "beta", "unread"])
async def test_i13_a_hop_differs_from_the_applications_request_only_in_what_its_target_declares(
    name: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    params = {"thinking": None, "temperature": None, "max_tokens": 30, "tool_choice": {"type": "any"}, "speed": "fast"}
    targets = {"patched": Target("patched", HAIKU, params=MappingProxyType(params))}
    bare, wire = Wire(), Wire(sonnet=529)
    more = {key: value for key, value in RICH.items() if key not in ask()}
    before = json.dumps(more, sort_keys=True)
    await seen_by(BY_NAME[name], client_of(colour, wire=bare), **more)
    chain = chained(routed("sonnet", "patched", targets=targets))
    seen = await seen_by(BY_NAME[name], client_of(colour, chain, wire=wire), **more)
    assert seen.error is None
    asked, hop = wire.bodies
    assert asked == bare.bodies[0]
    wanted = asked | {"model": HAIKU, "max_tokens": 30, "tool_choice": {"type": "any"}, "speed": "fast"}
    del wanted["thinking"], wanted["temperature"]
    assert hop == wanted
    assert _headers(wire.requests[0]) == _headers(wire.requests[1]) == _headers(bare.requests[0])
    assert {request.url for request in wire.requests} == {bare.requests[0].url}
    assert len({request.headers["idempotency-key"] for request in wire.requests if "idempotency-key" in request.headers}) <= 1
    assert json.dumps(more, sort_keys=True) == before, "what the application passed in is as it was"


@four
async def test_i13_hops_never_compound(
    shape: Shape, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Each starts from the application's request: what the first target took away is back for the second."""
    targets = {
        "first": Target("first", SONNET, params=MappingProxyType({"temperature": None, "top_k": 5})),
        "second": Target("second", HAIKU, params=MappingProxyType({"output_config": {"effort": "low"}})),
    }
    wire = Wire(sonnet=529)
    chain = chained(routed("first", "second", targets=targets))
    config = {"output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {}}}}
    await seen_by(shape, client_of(colour, chain, wire=wire), **config, extra_body={"temperature": 0.3})
    first, second = wire.bodies
    assert ("temperature" in first, first["top_k"]) == (False, 5)
    assert (second["temperature"], "top_k" in second) == (0.3, False)
    assert second["output_config"] == config["output_config"] | {"effort": "low"}


@pytest.mark.parametrize("name", ["create", "create-stream", "messages.stream", "raw", "unread", "beta"])
async def test_without_a_chain_the_request_is_the_same_byte_by_byte(
    name: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Compared with a middleware that does nothing: the SDK's own header for one is there with any. The tags alone are gone."""

    class Nothing(anthropic.Middleware):
        def handle(self, request: Any, call_next: Any) -> Any:
            return call_next(request)

        async def handle_async(self, request: Any, call_next: Any) -> Any:
            return await call_next(request)

    more = {key: value for key, value in RICH.items() if key not in ask()} | {"timeout": 7.0}
    sent = []
    for middleware, tags in (
        (Nothing(), {}),
        (chained(Routing()).middleware, {"x-console-feature": "support-reply", "x-console-customer": "acme"}),
    ):
        wire = Wire()
        client = client_of(colour, wire=wire, middleware=[middleware], max_retries=2)
        for _ in range(2):  # the first call of a client, and one after it has been got to know
            await seen_by(BY_NAME[name], client, extra_headers={"x-own": "1"} | tags, **more)
        sent.append(
            [
                (
                    request.method,
                    str(request.url),
                    request.content,
                    [pair for pair in request.headers.raw if pair[0].lower() != b"idempotency-key"],
                    request.extensions["timeout"],
                )
                for request in wire.requests
            ]
        )
    assert sent[0] == sent[1]
    assert len(sent[0]) == 2


@four
@pytest.mark.parametrize("retries", [0, 3])
async def test_without_a_chain_retries_are_the_sdks(
    retries: int, shape: Shape, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(Routing())
    wire = Wire(sonnet=529)
    seen = await seen_by(shape, client_of(colour, chain, wire=wire, max_retries=retries))
    assert seen.error[2] == 529
    counts = [request.headers["x-stainless-retry-count"] for request in wire.requests]
    assert counts == [str(number) for number in range(retries + 1)]


# -- B12: what the fallback refuses --------------------------------------------------------------------------------------

REFUSED_BY_SONNET = {
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
    "sampling": {"extra_body": {"temperature": 0.2}},
    "prefill": {"messages": [{"role": "user", "content": "Name it."}, {"role": "assistant", "content": "The name is"}]},
}


@four
@pytest.mark.parametrize("what", REFUSED_BY_SONNET)
async def test_b12_a_misfit_is_left_for_the_next_target(
    what: str, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    targets = {"opus": Target("opus", "claude-opus-5-5")}
    chain = chained(routed("haiku", "sonnet", "opus", targets=targets))
    api.set_faults([Fault(model=HAIKU, status=529)])
    asked = {"model": HAIKU} | REFUSED_BY_SONNET[what]
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2), **asked)
    assert seen.error is None
    assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET, "claude-opus-5-5"]
    assert chain.errors()[1] == ("sonnet", 400, "invalid_request_error")
    assert chain.only_call()["model_served"] == "claude-opus-5-5"


@four
@pytest.mark.parametrize("what", REFUSED_BY_SONNET)
async def test_b12_the_misfit_is_never_shown_instead_of_the_real_failure(
    what: str, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed("haiku", "sonnet", breaker=QUICK))
    api.set_faults([Fault(model=HAIKU, status=529)])
    client = client_of(colour, chain, max_retries=2)
    for _ in range(2):
        seen = await seen_by(shape, client, model=HAIKU, **REFUSED_BY_SONNET[what])
        assert seen.error[2] == 529
    assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET] * 2
    assert chain.state("sonnet") == "closed", "it is none of the target's faults"


@four
@pytest.mark.parametrize(
    ("what", "params"),
    [("thinking", {"thinking": None}), ("sampling", {"temperature": None}), ("sampling", {"temperature": None, "top_p": None})],
)
async def test_b12_a_declared_patch_makes_it_fit(
    what: str,
    params: dict[str, Any],
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    targets = {"fitted": Target("fitted", SONNET, params=MappingProxyType(params))}
    chain = chained(routed("haiku", "fitted", targets=targets))
    api.set_faults([Fault(model=HAIKU, status=529)])
    seen = await seen_by(shape, client_of(colour, chain), model=HAIKU, **REFUSED_BY_SONNET[what])
    assert seen.error is None
    assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET]


@four
async def test_b12_nothing_but_misfits_is_the_first_of_them(
    shape: Shape, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    targets = {"opus": Target("opus", "claude-opus-5-5")}
    wire = Wire(sonnet=400, haiku=400, opus=400)
    chain = chained(routed("haiku", "opus", targets=targets))
    seen = await seen_by(shape, client_of(colour, chain, wire=wire, max_retries=2))
    assert (seen.error[2], "claude-haiku" in seen.error[1]) == (400, True)
    assert len(wire.requests) == 2


# -- keys ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Another provider's server and the headers that it got."""
    heard: list[dict[str, str]] = []

    def serve(connection: Any) -> None:
        headers, body = request_on(connection)
        heard.append(headers)
        answer_on(connection, json.loads(body)["model"])

    monkeypatch.setenv("KEY_OF_A_TEST", OURS)
    with Server(serve) as server:
        yield server.url, heard


WAYS_TO_NAME_A_KEY: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "api_key": ({"api_key": THEIRS}, {}),
    "auth_token": ({"api_key": None, "auth_token": THEIRS}, {}),
    "a header of the call": ({"api_key": THEIRS}, {"Authorization": f"Bearer {THEIRS}"}),
    "a header of the call in lower case": ({"api_key": THEIRS}, {"authorization": f"Bearer {THEIRS}", "x-api-key": THEIRS}),
    "a header of the client": ({"default_headers": {"authorization": THEIRS, "X-API-KEY": THEIRS}}, {}),
}


@pytest.mark.parametrize("way", WAYS_TO_NAME_A_KEY)
async def test_i13_the_applications_key_never_goes_to_a_target_with_one_of_its_own(
    way: str,
    colour: str,
    other: tuple[str, list[dict[str, str]]],
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    api: SimulatedAPI,
) -> None:
    """Neither the first time nor after a failure at home; nor do the tags."""
    url, heard = other
    elsewhere = Target("elsewhere", HAIKU, base_url=f"{url}/gateway/", api_key="env:KEY_OF_A_TEST")
    api.set_faults([Fault(status=529)])
    more, headers = WAYS_TO_NAME_A_KEY[way]
    for names in (("elsewhere",), ("sonnet", "elsewhere")):
        chain = chained(routed(*names, targets={"elsewhere": elsewhere}))
        client = client_of(colour, chain, **more)
        message = await got(client.messages.create(**ask(), extra_headers=headers | {"x-console-customer": "acme"}))
        assert message.model == HAIKU
    assert len(heard) == 2
    for given in heard:
        assert given["x-api-key"] == OURS
        assert "authorization" not in given
        assert THEIRS not in str(given)
        assert not [name for name in given if name.startswith("x-console")]
        assert given[":line"] == "POST /gateway/v1/messages HTTP/1.1"
    assert {entry["key"] for entry in api.requests()} == {THEIRS[-4:]}


async def test_a_key_of_the_client_goes_where_the_configuration_says_so(
    colour: str,
    other: tuple[str, list[dict[str, str]]],
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    url, heard = other
    chain = chained(routed("gate", targets={"gate": Target("gate", HAIKU, base_url=url, api_key=KEY_OF_CLIENT)}))
    await got(client_of(colour, chain, api_key=THEIRS).messages.create(**ask()))
    assert THEIRS in str(heard)


async def test_a_key_file_is_read_each_time_and_its_end_of_line_is_none_of_it(
    colour: str,
    tmp_path: Path,
    other: tuple[str, list[dict[str, str]]],
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    url, heard = other
    file = tmp_path / "key"
    elsewhere = Target("elsewhere", HAIKU, base_url=url, api_key=f"file:{file}")
    client = client_of(colour, chained(routed("elsewhere", targets={"elsewhere": elsewhere})))
    for key in ("sk-first", "sk-turned"):
        file.write_text(f"{key}\n")
        await got(client.messages.create(**ask()))
    assert [given["x-api-key"] for given in heard] == ["sk-first", "sk-turned"]


@four
@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "file:/nonexistent/key"])
async def test_a_missing_key_disables_its_target_and_nothing_else(
    reference: str,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    keyless = Target("keyless", SONNET, api_key=reference)
    chain = chained(routed("keyless", "haiku", targets={"keyless": keyless}, breaker=QUICK))
    api.clear_requests()
    client = client_of(colour, chain)
    for _ in range(4):
        assert await seen_by(shape, client) == wanted
    assert [entry["model"] for entry in api.requests()] == [HAIKU] * 4
    rows = chain.rows("call")
    assert [(row["outcome"], row["served_by"], row["attempts"]) for row in rows] == [("ok", "fallback", 1)] * 4
    (process,) = chain.rows("process")
    assert process["note"]


@four
async def test_without_any_key_the_chain_is_exhausted_without_a_request(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    keyless = Target("keyless", SONNET, api_key="env:NOT_SET_ANYWHERE")
    chain = chained(routed("keyless", targets={"keyless": keyless}))
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert seen.error[0] is ChainExhausted
    assert api.requests() == []
    assert chain.only_call()["attempts"] == 0


@four
async def test_targets_without_a_key_use_up_no_attempts(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    keyless = {f"keyless-{n}": Target(f"keyless-{n}", SONNET, api_key=f"env:NOT_SET_{n}") for n in range(3)}
    chain = chained(routed(*keyless, "haiku", targets=keyless))
    assert (await seen_by(shape, client_of(colour, chain))).error is None


async def test_no_secret_is_in_a_log_the_database_or_an_exception(
    colour: str,
    tmp_path: Path,
    other: tuple[str, list[dict[str, str]]],
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG, logger="console")
    url, _ = other
    bad = tmp_path / "bad"
    bad.write_text("sk-with-a-\x07bell-3333")
    targets = {
        "elsewhere": Target("elsewhere", HAIKU, base_url=url, api_key="env:KEY_OF_A_TEST"),
        "bad": Target("bad", HAIKU, api_key=f"file:{bad}"),
        "refused": Target("refused", HAIKU, base_url="http://127.0.0.1:1", api_key="env:KEY_OF_A_TEST"),
    }
    secrets = (THEIRS, OURS, "sk-with-a-", "bell-3333")
    said = []
    for names in (("bad", "elsewhere"), ("bad", "refused"), ("refused",)):
        chain = chained(routed(*names, targets=targets))
        try:
            await got(client_of(colour, chain, api_key=THEIRS).messages.create(**ask()))
        except anthropic.APIError as error:
            said.append(f"{error!s} {error!r} {error.__dict__}")
        chain.rows("call")
        said += [file.read_bytes().decode("latin-1") for file in chain.places.data.rglob("*") if file.is_file()]
    said += [record.getMessage() for record in caplog.records if record.name.startswith("console")]
    assert len(said) > 4
    for secret in secrets:
        assert all(secret not in text for text in said), secret


# -- what operators decide -------------------------------------------------------------------------------------------------


@four
async def test_a_route_sends_a_features_calls_and_no_others(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    client = client_of(colour, chain)
    reply, other = ({"x-console-feature": name} for name in ("support-reply", "other"))

    async def served() -> list[str]:
        api.clear_requests()
        for tags in (reply, other):
            assert (await seen_by(shape, client, extra_headers=tags)).error is None
        return [entry["model"] for entry in api.requests()]

    assert await served() == [SONNET, SONNET]
    chain.route("haiku", feature="support-reply")
    assert await served() == [HAIKU, SONNET]
    chain.route("haiku")
    chain.route("sonnet", feature="support-reply")
    assert await served() == [SONNET, HAIKU]
    chain.route(feature="support-reply")
    assert await served() == [HAIKU, HAIKU]
    chain.route()
    assert await served() == [SONNET, SONNET]


@four
async def test_a_model_can_be_a_route_without_any_configuration(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    chain = chained(Routing())
    client = client_of(colour, chain, max_retries=2)
    chain.route(HAIKU, feature="support-reply")
    tags = {"x-console-feature": "support-reply"}
    assert await seen_by(shape, client, extra_headers=tags) == wanted
    chain.route("a-target-of-a-newer-configuration", feature="support-reply")
    api.clear_requests()
    assert (await seen_by(shape, client, extra_headers=tags)).error is None
    assert [entry["model"] for entry in api.requests()] == [SONNET], "a route of which nothing is known changes nothing"
    until(lambda: "newer-configuration" in str(chain.runtime._heartbeat().note))


@four
async def test_an_expired_route_and_an_expired_force_are_none(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    client = client_of(colour, chain)
    for act in (
        lambda: chain.route("haiku", for_us=300_000),
        lambda: chain.force("sonnet", "forced_open", for_us=300_000),
    ):
        act()
        api.clear_requests()
        await seen_by(shape, client)
        time.sleep(0.32)  # noqa: ASYNC251 -- nothing else runs here
        await seen_by(shape, client)
        assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET]


@four
async def test_nothing_is_sent_to_a_target_that_is_forced_open(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    chain.force("sonnet", "forced_open")
    client = client_of(colour, chain, max_retries=2)
    for _ in range(3):
        assert (await seen_by(shape, client)).error is None
    api.set_faults([Fault(model=HAIKU, status=529)])
    assert (await seen_by(shape, client)).error[2] == 529
    assert SONNET not in {entry["model"] for entry in api.requests()}
    chain.force("sonnet", None)
    assert (await seen_by(shape, client)).error is None
    assert api.requests()[-1]["model"] == SONNET


@four
async def test_a_target_that_is_forced_closed_is_asked_although_it_fails(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(breaker=QUICK))
    api.set_faults([Fault(model=SONNET, status=529)])
    client = client_of(colour, chain)
    for _ in range(4):
        await seen_by(shape, client)
    assert chain.state("sonnet") == "open"
    chain.force("sonnet", "forced_closed")
    api.clear_requests()
    for _ in range(6):
        assert (await seen_by(shape, client)).error is None
    assert [entry["model"] for entry in api.requests()] == [SONNET, HAIKU] * 6


@four
async def test_a_kill_beats_a_route_and_a_forced_breaker(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    chain.route("haiku")
    chain.force("haiku", "forced_closed")
    chain.kill(ALL)
    assert (await seen_by(shape, client_of(colour, chain))).error[0] is CallBlocked
    assert api.requests() == []


async def test_every_call_that_starts_after_a_route_was_written_is_served_by_it(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Four threads, ten changes to and fro; the server's log says when each call had started."""
    if colour == "awaiting":
        pytest.skip("threads are a blocking client's")
    chain = chained()
    client = client_of("blocking", chain)
    stopping = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stopping.is_set():
                started = {"x-call-started-us": str(time.time_ns() // 1000), "x-console-feature": "support-reply"}
                client.messages.create(**ask(), extra_headers=started)
        except BaseException as error:  # noqa: BLE001 -- the test fails with it
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    acts = []
    for number in range(10):
        time.sleep(0.12)  # noqa: ASYNC251 -- the threads work meanwhile
        began = time.time_ns() // 1000
        chain.route("haiku" if number % 2 == 0 else "sonnet", feature="support-reply")
        acts.append((began, time.time_ns() // 1000, HAIKU if number % 2 == 0 else SONNET))
    time.sleep(0.12)  # noqa: ASYNC251
    stopping.set()
    for thread in threads:
        thread.join()
    assert not failures
    log = api.requests()
    for index, (_, written, model) in enumerate(acts):
        before_next = acts[index + 1][0] if index + 1 < len(acts) else 2**62
        after = [entry for entry in log if written <= entry["started_us"] and entry["arrived_us"] < before_next]
        assert after
        assert {entry["model"] for entry in after} == {model}


@four
async def test_a16_taking_back_a_switch_restores_what_was_before_it(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The route that stood before, and where calls go; by the real act of undoing."""
    from console.store.sqlite.control import read_control

    chain = chained()
    chain.route("haiku", feature="support-reply")

    def in_force() -> dict[str, str]:
        return {row.key: row.value for row in read_control(chain.places.control)}

    before = in_force()
    caused = chain.change("switch", "route/feature/support-reply", '{"targets":["sonnet"]}')
    client, tags = client_of(colour, chain), {"x-console-feature": "support-reply"}
    await seen_by(shape, client, extra_headers=tags)
    del caused
    chain.change("undo", "route/feature/support-reply", before["route/feature/support-reply"])
    await seen_by(shape, client, extra_headers=tags)
    assert in_force() == before
    assert [entry["model"] for entry in api.requests()] == [SONNET, HAIKU]


# -- from a file -----------------------------------------------------------------------------------------------------------

FILE = """
data: data
kill_directories: [glass]
targets:
  sonnet: {provider: anthropic, model: claude-sonnet-5-5}
  haiku: {provider: anthropic, model: claude-haiku-5-5, params: {thinking: null}}
features:
  default:
    chain: [sonnet, haiku]
    limits: {answer: 1s, first_token: 1s, silence: 1s}
  resting: {degraded: The assistant is resting.}
breaker: {dwell: 1s, ramp: 1s}
"""


@four
async def test_a_configuration_file_is_all_that_an_application_needs(
    shape: Shape, colour: str, tmp_path: Path, api: SimulatedAPI, client_of: Callable[..., Any]
) -> None:
    """The primary falls silent, is left alone, and gets its traffic back."""
    (tmp_path / "console.yaml").write_text(FILE)
    with Console(config=tmp_path / "console.yaml") as console:
        client = client_of(colour, console, max_retries=2)
        assert (await seen_by(shape, client)).error is None
        api.set_faults([Fault(model=SONNET, no_response=True, times=1), Fault(model=SONNET, status=529)])
        began = time.monotonic()
        assert (await seen_by(shape, client)).error is None
        assert 0.9 < time.monotonic() - began < 1.6
        for _ in range(6):
            assert (await seen_by(shape, client)).error is None
        assert [entry["model"] for entry in api.requests()].count(SONNET) == 4
        api.set_faults([Fault(status=529)])
        text = await seen_by(shape, client, extra_headers={"x-console-feature": "resting"})
        assert "The assistant is resting." in str(text.parts)
        api.clear_faults()
        deadline = time.monotonic() + 4
        api.clear_requests()
        while [entry["model"] for entry in api.requests()][-5:] != [SONNET] * 5:
            assert (await seen_by(shape, client)).error is None
            assert time.monotonic() < deadline
            time.sleep(0.05)  # noqa: ASYNC251 -- nothing else runs here
