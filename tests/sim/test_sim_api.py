"""The simulated API as the real SDK sees it, over real sockets."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anthropic
import pydantic
import pytest
from sim_asks import HAIKU, OLDER_SONNET, SONNET, WEATHER, ask

from console.sim.faults import Fault
from console.sim.server import SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import Mapping


class Ticket(pydantic.BaseModel):
    """What a structured answer has to fit."""

    subject: str
    urgent: bool
    count: int = pydantic.Field(ge=1, le=3)
    tags: list[str]


def _raw(api: SimulatedAPI, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, Mapping[str, str]]:
    parts = urlsplit(api.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null"), dict(answer.getheaders())
    finally:
        connection.close()


def test_a_plain_call_gets_a_message_with_usage(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ask())
    assert message.content[0].type == "text"
    assert "88213" in message.content[0].text
    assert (message.stop_reason, message.model) == ("end_turn", SONNET)
    assert message.usage.input_tokens > 20
    assert message.usage.output_tokens > 20


def test_a_stream_gives_the_same_answer_as_a_plain_call(client: anthropic.Anthropic) -> None:
    plain = client.messages.create(**ask())
    with client.messages.stream(**ask()) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].type == plain.content[0].type == "text"
    assert streamed.content[0].text == plain.content[0].text
    assert streamed.usage.output_tokens == plain.usage.output_tokens
    assert streamed.stop_reason == "end_turn"


def test_events_come_in_the_apis_order(client: anthropic.Anthropic) -> None:
    with client.messages.create(**ask(), stream=True) as events:
        names = [event.type for event in events]
    middle = names[2:-3]
    assert names[:2] == ["message_start", "content_block_start"]
    assert set(middle) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_pings_come_early_and_in_long_streams(client: anthropic.Anthropic) -> None:
    question = " ".join(f"Write to Maria that point {number} is settled." for number in range(40))
    more = ask(question, system="You draft an email.", max_tokens=4000)
    with client.messages.with_streaming_response.create(**more, stream=True) as response:
        names = [line.removeprefix("event: ") for line in response.iter_lines() if line.startswith("event: ")]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names.count("ping") > 2


@pytest.mark.asyncio
async def test_the_async_client_gets_plain_answers_and_streams(async_client: anthropic.AsyncAnthropic) -> None:
    plain = await async_client.messages.create(**ask())
    async with async_client.messages.stream(**ask()) as stream:
        text = "".join([part async for part in stream.text_stream])
    assert plain.content[0].type == "text"
    assert text == plain.content[0].text


def test_parse_gives_an_object_of_the_wanted_type(client: anthropic.Anthropic) -> None:
    message = client.messages.parse(**ask(), output_format=Ticket)
    assert isinstance(message.parsed_output, Ticket)


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_comes_before_the_text(client: anthropic.Anthropic, stream: bool) -> None:
    asked = ask(thinking={"type": "adaptive"})
    if stream:
        with client.messages.stream(**asked) as events:
            message: anthropic.types.Message = events.get_final_message()
    else:
        message = client.messages.create(**asked)
    first, second = message.content
    assert first.type == "thinking"
    assert (bool(first.thinking), bool(first.signature)) == (True, True)
    assert second.type == "text"


@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_tool_is_called_with_input_that_fits(client: anthropic.Anthropic, stream: bool) -> None:
    asked = ask(model=HAIKU, tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"})
    if stream:
        with client.messages.stream(**asked) as events:
            message: anthropic.types.Message = events.get_final_message()
    else:
        message = client.messages.create(**asked)
    assert message.stop_reason == "tool_use"
    (block,) = message.content
    assert block.type == "tool_use"
    assert isinstance(block.input, dict)
    assert isinstance(block.input["days"], int)


def test_a_marked_system_prompt_is_cached_on_first_sight_and_read_afterwards(client: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": f"Support rules {time.time_ns()}. " * 40, "cache_control": {"type": "ephemeral"}}]
    first, second = (client.messages.create(**ask(system=system)).usage for _ in range(2))
    assert first.cache_creation_input_tokens
    assert first.cache_creation is not None
    assert first.cache_creation.ephemeral_5m_input_tokens == first.cache_creation_input_tokens
    assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert first.input_tokens == second.input_tokens


def test_tokens_are_counted_as_a_call_counts_them(client: anthropic.Anthropic) -> None:
    asked = ask()
    asked.pop("max_tokens")
    assert client.messages.count_tokens(**asked).input_tokens == client.messages.create(**ask()).usage.input_tokens


def test_beta_calls_use_the_same_endpoint(client: anthropic.Anthropic, api: SimulatedAPI) -> None:
    assert client.beta.messages.create(**ask()).stop_reason == "end_turn"
    assert api.requests()[-1]["path"] == "/v1/messages"


def test_models_are_listed_page_by_page_and_found_by_id(client: anthropic.Anthropic) -> None:
    ids = [model.id for model in client.models.list(limit=4)]
    assert len(ids) == len(set(ids)) == 13
    assert client.models.retrieve(SONNET).display_name == "Claude Sonnet 5.5"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-0")


def test_a_batch_ends_and_gives_one_result_per_request(client: anthropic.Anthropic) -> None:
    good = ask()
    requests: Any = [{"custom_id": "a", "params": good}, {"custom_id": "b", "params": good | {"max_tokens": 0}}]
    batch = client.messages.batches.create(requests=requests)
    assert client.messages.batches.retrieve(batch.id).processing_status == "ended"
    assert batch.id in [one.id for one in client.messages.batches.list(limit=5)]
    results = {line.custom_id: line.result.type for line in client.messages.batches.results(batch.id)}
    assert results == {"a": "succeeded", "b": "errored"}
    assert client.messages.batches.cancel(batch.id).processing_status == "ended"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.create(requests=[])


def test_every_answer_has_its_own_request_id_and_the_accounts_headers(client: anthropic.Anthropic) -> None:
    answers = [client.messages.with_raw_response.create(**ask()) for _ in range(2)]
    ids = [answer.headers["request-id"] for answer in answers]
    assert ids[0] != ids[1]
    assert all(one.startswith("req_") for one in ids)
    assert {"anthropic-organization-id", "anthropic-workspace-id"} <= set(answers[0].headers)


def test_the_rate_limit_headers_follow_the_usage(client: anthropic.Anthropic) -> None:
    def remaining() -> tuple[str, int]:
        headers = client.messages.with_raw_response.create(**ask(model="claude-opus-4-8")).headers
        assert int(headers["anthropic-ratelimit-requests-limit"]) > 0
        kinds = ("requests", "tokens", "input-tokens", "output-tokens")
        left = sum(int(headers[f"anthropic-ratelimit-{kind}-remaining"]) for kind in kinds)
        return headers["anthropic-ratelimit-requests-reset"], left

    (reset, before), (same_reset, after) = remaining(), remaining()
    # A minute may end between the two, and the count begins again.
    assert after < before or reset != same_reset


@pytest.mark.parametrize(
    "setting",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
        {"thinking": {"type": "disabled"}},
        {"extra_body": {"temperature": 0.5}},
        {"extra_body": {"top_p": 0.5}},
        {"extra_body": {"top_k": 5}},
        {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "I"}]},
        {"tools": [WEATHER], "tool_choice": {"type": "any"}},
    ],
)
def test_sonnet_5_5_refuses_settings_that_others_take(client: anthropic.Anthropic, setting: dict[str, Any]) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**(ask() | setting))
    assert caught.value.type == "invalid_request_error"
    assert client.messages.create(**(ask(model=OLDER_SONNET) | setting)).id


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not valid JSON"),
        (b"[]", 400, "not a JSON object"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b'{"max_tokens": 1, "messages": []}', 400, "model: Field required"),
        (b'{"model": "claude-haiku-5-5", "messages": [{"role": "user", "content": "x"}]}', 400, "max_tokens"),
        (b'{"model": "claude-haiku-5-5", "max_tokens": 1}', 400, "messages: Field required"),
        (b'{"model": "claude-haiku-5-5", "max_tokens": 1, "messages": []}', 400, "at least one message"),
        (b'{"model": "claude-haiku-5-5", "max_tokens": 1, "messages": [{"role": "x"}]}', 400, "messages.0.role"),
        (b'{"model": "claude-0", "max_tokens": 1, "messages": []}', 404, "model: claude-0"),
    ],
)
def test_a_bad_body_is_answered_with_the_reason(api: SimulatedAPI, body: bytes, status: int, said: str) -> None:
    got, value, headers = _raw(api, "POST", "/v1/messages", body, x_api_key="k")
    assert (got, value["type"], value["request_id"]) == (status, "error", headers["request-id"])
    assert said in value["error"]["message"]


def test_a_request_without_a_key_or_to_nowhere_is_refused(api: SimulatedAPI) -> None:
    status, value, _ = _raw(api, "POST", "/v1/messages?beta=true", b"{}")
    assert (status, value["error"]["type"]) == (401, "authentication_error")
    status, value, _ = _raw(api, "GET", "/v1/nothing?x=1", authorization="Bearer k")
    assert (status, value["error"]["type"]) == (404, "not_found_error")


def test_only_the_named_keys_are_good() -> None:
    with SimulatedAPI(speed=float("inf"), keys=["key-of-the-shop", "--odd-key"]) as api:
        made = [
            anthropic.Anthropic(base_url=api.url, api_key=key, max_retries=0)
            for key in ("key-of-the-shop", "--odd-key", "another")
        ]
        try:
            assert [client.messages.create(**ask()).stop_reason for client in made[:2]] == ["end_turn", "end_turn"]
            with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
                made[2].messages.create(**ask())
        finally:
            for client in made:
                client.close()
        status, _, _ = _raw(api, "GET", "/v1/models", authorization="Bearer key-of-the-shop")
        assert (status, [entry["key"] for entry in api.requests()]) == (200, ["shop", "-key", "ther", "shop"])


def test_the_log_names_the_parameters_and_no_more_of_the_key_than_its_end(
    api: SimulatedAPI, client: anthropic.Anthropic
) -> None:
    client.messages.create(**ask(model=HAIKU), extra_body={"temperature": 0.5})
    (entry,) = api.requests()
    assert entry["parameters"] == ["max_tokens", "messages", "model", "system", "temperature"]
    assert (entry["key"], entry["client_closed"], entry["client_closed_us"]) == ("-key", False, None)
    assert "sim-key" not in json.dumps(entry)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(client: anthropic.Anthropic, stream: bool) -> None:
    with pytest.raises(anthropic.NotFoundError, match="claude-0"):
        client.messages.create(**ask(model="claude-0"), stream=stream)


def test_a_prompt_over_the_context_and_a_body_over_32_mb_are_refused(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        client.messages.create(**ask("word " * 200_000, model=HAIKU))
    with pytest.raises(anthropic.ContentTooLargeError) as caught:
        client.messages.create(**ask("x" * (33 * 1024 * 1024)))
    assert caught.value.response.json()["error"]["type"] == "request_too_large"


@pytest.mark.parametrize(
    ("status", "error_type", "raised"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (402, "billing_error", anthropic.APIStatusError),
        (403, "permission_error", anthropic.PermissionDeniedError),
        (404, "not_found_error", anthropic.NotFoundError),
        (408, "timeout_error", anthropic.APIStatusError),
        (409, "conflict_error", anthropic.ConflictError),
        (413, "request_too_large", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (502, "api_error", anthropic.InternalServerError),
        (503, "api_error", anthropic.InternalServerError),
        (504, "timeout_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_every_error_status_raises_the_sdks_own_error(
    api: SimulatedAPI,
    client: anthropic.Anthropic,
    *,
    status: int,
    error_type: str,
    raised: type[anthropic.APIStatusError],
    stream: bool,
) -> None:
    api.set_faults([Fault(status=status)])
    with pytest.raises(raised) as caught:
        client.messages.create(**ask(), stream=stream)
    assert (caught.value.status_code, caught.value.type) == (status, error_type)
    assert caught.value.request_id == caught.value.response.json()["request_id"]
    assert api.requests()[-1]["status"] == status


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "organization_on_hold"), (429, "enforced_spend_limit_reached"), (429, "contract_spend_limit_reached")],
)
def test_an_error_code_reaches_the_sdk(api: SimulatedAPI, client: anthropic.Anthropic, status: int, code: str) -> None:
    api.set_faults([Fault(status=status, error_code=code)])
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**ask())
    assert (caught.value.status_code, caught.value.error_code) == (status, code)


@pytest.mark.parametrize("text", ["", "0", "3600", "-5", "NaN", "Wed, 21 Oct 2026 07:28:00 GMT", "1e9", "soon; or not"])
def test_a_retry_after_header_is_sent_as_it_was_given(api: SimulatedAPI, client: anthropic.Anthropic, text: str) -> None:
    api.set_faults([Fault(status=429, retry_after=text)])
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**ask())
    assert caught.value.response.headers["retry-after"] == text
