"""What a review of the failover found, so that it stays found."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from anthropic import Anthropic
from failover_tools import Chained, Server, request_on, routed
from sdk_shapes import HAIKU, SONNET, ask

from console.core.breaker import BreakerPolicy
from console.core.commit import Held
from console.core.control import ControlRefused, decode_kept
from console.core.targets import LimitsPolicy, Target
from console.errors import ConfigError
from console.sdk.clients import Client, Clients
from console.sdk.endpoints import Endpoint, endpoint_of
from console.store.kept import read_kept
from console.testing import Fault, SimulatedAPI

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

pytest_plugins = ["failover_fixtures"]

EVENTS = (
    ("message_start", {"message": {"id": "m", "type": "message", "role": "assistant", "model": SONNET, "content": [],
                                   "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}}),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Good day."}}),
    ("content_block_stop", {"index": 0}),
    ("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 3}}),
    ("message_stop", {}),
)  # fmt: skip


def _sse(field: str, content_type: str = "text/event-stream") -> Callable[[socket.socket], None]:
    body = "".join(f"{field}{name}\ndata:{json.dumps({'type': name, **more})}\n\n" for name, more in EVENTS).encode()

    def answer(connection: socket.socket) -> None:
        request_on(connection)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    return answer


@pytest.mark.parametrize("field", ["event: ", "event:"])
@pytest.mark.parametrize("content_type", ["text/event-stream", "Text/Event-Stream; charset=utf-8", "text/plain"])
def test_a_stream_is_a_stream_however_its_server_writes_it(
    field: str, content_type: str, chained: Callable[..., Chained]
) -> None:
    with Server(_sse(field, content_type)) as server:
        chain = chained(routed("sonnet"))
        client = Anthropic(base_url=server.url, api_key="k", max_retries=0, middleware=[chain.middleware])
        with client.messages.stream(**ask()) as stream:
            assert stream.get_final_text() == "Good day."
        client.close()


def test_an_error_in_band_is_seen_without_the_space_too() -> None:
    held = Held()
    assert (
        held.take(b'event:message_start\ndata:{}\n\nevent:error\ndata:{"type":"error","error":{"type":"overloaded_error"}}\n\n')
        == "error"
    )
    assert held.error_type() == "overloaded_error"


def test_a_stream_that_never_has_content_does_not_fill_the_memory() -> None:
    held = Held()
    looks = [held.take(b": a comment\n" * 10_000) for _ in range(20)]
    assert "content" in looks


def test_a_caller_who_takes_his_time_is_no_silence(
    api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(limits=LimitsPolicy(5, 5, 0.3)))
    client = client_of("blocking", chain)
    words = 0
    for event in client.messages.create(**ask(), stream=True):
        words += event.type == "content_block_delta"
        if words == 1:
            time.sleep(0.8)
    assert words > 1
    assert chain.only_call()["outcome"] == "ok"


def test_targets_that_cannot_be_asked_do_not_use_the_budget_up(
    api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    keyless = Target("keyless", SONNET, base_url="http://127.0.0.1:9", api_key="env:CONSOLE_TEST_NO_SUCH_KEY")
    never = BreakerPolicy(consecutive=10_000, minimum_calls=100_000)
    chain = chained(routed("sonnet", "keyless", "haiku", targets={"keyless": keyless}, breaker=never))
    api.set_faults([Fault(model=SONNET, status=529)])
    client = client_of("blocking", chain)
    assert {client.messages.create(**ask()).model for _ in range(30)} == {HAIKU}


def test_a_middleware_below_can_read_a_plain_answer(api: SimulatedAPI, chained: Callable[..., Chained]) -> None:
    class Peek(anthropic.Middleware):
        def handle(self, request: Any, call_next: Any) -> Any:
            response = call_next(request)
            assert response.http_response.json()["model"]
            return response

    chain = chained()
    client = Anthropic(base_url=api.url, api_key="k", max_retries=0, middleware=[chain.middleware, Peek()])
    assert client.messages.create(**ask()).model == SONNET
    client.close()
    assert len(api.requests()) == 1


def test_a_limit_that_the_application_sets_anew_counts(chained: Callable[..., Chained], api: SimulatedAPI) -> None:
    chain = chained()
    client = Anthropic(base_url=api.url, api_key="k", max_retries=0, timeout=0.5, middleware=[chain.middleware])
    client.messages.create(**ask())
    client.timeout = 7.0
    known = Clients().of(client._middleware_chain.__closure__[0].cell_contents)
    client.close()
    assert known is None or known.timeout == 7.0


@pytest.mark.parametrize("url", [
    "v1/messages", "https://host.example/v1/messages", "https://host.example/gateway/v1/messages", "/v1/messages#a",
    "/v1/messages/", "//v1/messages", "/v1/messages?beta=true", "/v1//messages",
])  # fmt: skip
def test_no_spelling_of_the_url_gets_past_a_kill_switch(url: str) -> None:
    assert endpoint_of("POST", url) is Endpoint.MESSAGES
    assert endpoint_of("get", url) is Endpoint.OTHER
    assert endpoint_of("post", "/v1/messages/count_tokens") is Endpoint.OTHER
    assert endpoint_of("post", "/v1/messages/batches/") is Endpoint.BATCHES


def test_another_providers_client_sends_nothing_to_a_host_of_its_own() -> None:
    from weakref import ref

    foundry = anthropic.AnthropicFoundry(api_key="secret", resource="r")
    with pytest.raises(ConfigError, match="plain"):
        Client(ref(foundry), {}, is_next=True).kept_at_home()
    plain = Anthropic(api_key="k", default_headers={"cookie": "c", "anthropic-beta": "b"}, default_query={})
    kept = Client(ref(plain), {}, is_next=True).kept_at_home()
    assert "cookie" in kept
    assert "anthropic-beta" not in kept
    keyed = Anthropic(api_key="k", default_query={"key": "secret"})
    with pytest.raises(ConfigError, match="query"):
        Client(ref(keyed), {}, is_next=True).kept_at_home()


def test_a_kept_snapshot_whose_texts_are_none_is_refused(tmp_path: Path) -> None:
    content: list[Any] = [[], {"a": 5}]
    digest = sha256(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
    with pytest.raises(ControlRefused):
        decode_kept(json.dumps({"format": 2, "rows": [], "texts": {"a": 5}, "hash": digest}))
    import os

    os.mkfifo(tmp_path / "kept.json")
    state, problem = read_kept(tmp_path / "kept.json")
    assert (state.version, problem is None) == (0, False)
