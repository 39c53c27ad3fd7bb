"""The other providers' wire formats, told from outside: real SDK clients, and raw requests that no client of theirs would send."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer

from console.sim.clouds import auth_of, frame, wire_of
from console.sim.faults import Fault, FaultError, parse_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from console.sim.server import SimulatedAPI

HAIKU = "claude-haiku-5-5"
ASK: dict[str, Any] = {"max_tokens": 40, "messages": [{"role": "user", "content": "Where is my parcel?"}]}
CLOUDS = ("bedrock", "bedrock-mantle", "aws", "vertex", "google-cloud", "foundry")
every = pytest.mark.parametrize("provider", CLOUDS)
BEDROCK = f"/bedrock/model/anthropic.{HAIKU}"
VERTEX = f"/vertex/v1/projects/p/locations/global/publishers/anthropic/models/{HAIKU}"


def model_of(provider: str) -> str:
    return f"anthropic.{HAIKU}" if provider.startswith("bedrock") else HAIKU


@pytest.fixture
def cloud(api: SimulatedAPI) -> Iterator[Callable[[str], Any]]:
    """The SDK's own client of a provider, with keys of nobody."""
    aws = {"aws_access_key": "AKIASIM", "aws_secret_key": "secret", "aws_region": "us-east-1"}
    makers: dict[str, Callable[..., Any]] = {
        "bedrock": lambda **more: anthropic.AnthropicBedrock(**aws, **more),
        "bedrock-mantle": lambda **more: anthropic.AnthropicBedrockMantle(**aws, **more),
        "aws": lambda **more: anthropic.AnthropicAWS(**aws, workspace_id="wrkspc_sim", **more),
        "vertex": lambda **more: anthropic.AnthropicVertex(region="global", project_id="p", access_token="token", **more),
        "google-cloud": lambda **more: anthropic.AnthropicGoogleCloud(token_provider=lambda: "token", **more),
        "foundry": lambda **more: anthropic.AnthropicFoundry(api_key="key", **more),
    }
    with contextlib.ExitStack() as stack:
        yield lambda provider: stack.enter_context(makers[provider](base_url=api.at(provider), max_retries=0, timeout=5))


@every
def test_every_client_gets_the_same_answer_whole_or_in_events(
    provider: str, api: SimulatedAPI, client: anthropic.Anthropic, cloud: Callable[[str], Any]
) -> None:
    wanted = client.messages.create(model=HAIKU, **ASK)
    api.clear_requests()
    found = cloud(provider).messages.create(model=model_of(provider), **ASK)
    with cloud(provider).messages.stream(model=model_of(provider), **ASK) as stream:
        streamed = stream.get_final_message()
    assert found.content == wanted.content
    assert (found.model, found.usage.output_tokens) == (HAIKU, wanted.usage.output_tokens)
    assert [block.model_dump()["text"] for block in streamed.content] == [
        block.model_dump()["text"] for block in wanted.content
    ]
    plain, events = api.requests()
    assert [(one["wire"], one["model"], one["stream"]) for one in (plain, events)] == [
        (provider, model_of(provider), False),
        (provider, model_of(provider), True),
    ]
    assert ("model" in plain["parameters"]) == (provider not in ("bedrock", "vertex"))


@every
@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        (Fault(status=529), (anthropic.APIStatusError,)),
        (Fault(reset=True), (anthropic.APIConnectionError,)),
        (Fault(error_at=2), (anthropic.APIStatusError,)),
        (Fault(cut_at=3), (httpx2.RemoteProtocolError, anthropic.APIError)),
        (Fault(stall_at=2), (httpx2.ReadTimeout,)),
    ],
    ids=lambda value: value.label.replace(" ", "-") if isinstance(value, Fault) else "",
)
def test_faults_hurt_every_wire(
    provider: str, fault: Fault, kinds: tuple[type[Exception], ...], api: SimulatedAPI, cloud: Callable[[str], Any]
) -> None:
    api.set_faults([fault])
    client = cloud(provider).with_options(timeout=0.3)
    with pytest.raises(kinds), client.messages.stream(model=model_of(provider), **ASK) as stream:
        stream.get_final_message()


def test_a_malformed_event_is_a_sound_frame_around_broken_json(api: SimulatedAPI, cloud: Callable[[str], Any]) -> None:
    api.set_faults([Fault(malformed_at=0)])
    found = cloud("bedrock").messages.with_raw_response.create(model=model_of("bedrock"), stream=True, **ASK)
    buffer = EventStreamBuffer()
    buffer.add_data(found.http_response.read())
    payloads = [json.loads(message.payload) for message in buffer]
    assert all(set(payload) == {"bytes", "p"} for payload in payloads)
    assert len(payloads) > 5


def test_a_fault_of_one_wire_leaves_the_others_alone(
    api: SimulatedAPI, client: anthropic.Anthropic, cloud: Callable[[str], Any]
) -> None:
    api.set_faults([Fault(wire="vertex", status=503)])
    assert client.messages.create(model=HAIKU, **ASK).content
    assert cloud("foundry").messages.create(model=HAIKU, **ASK).content
    with pytest.raises(anthropic.InternalServerError):
        cloud("vertex").messages.create(model=HAIKU, **ASK)
    with pytest.raises(FaultError, match=r"wire.*one of anthropic, bedrock"):
        parse_fault({"wire": "carrier-pigeon"})


SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIA/20261121/us-east-1/{}/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)
BODY = {"anthropic_version": "2023-06-01", **ASK}


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "auth"),
    [
        (f"{BEDROCK}/invoke", {}, BODY, 401, []),
        (f"{BEDROCK}/invoke", {"authorization": SIGNED.format("bedrock")}, BODY, 403, ["authorization"]),  # without its date
        (f"{BEDROCK}/invoke", {"x-api-key": "sk-ant-1"}, BODY, 403, ["x-api-key"]),
        (f"{BEDROCK}/invoke", {"authorization": "Bearer sk-ant-1"}, BODY, 403, ["anthropic-key"]),
        (f"{BEDROCK}/invoke", {"authorization": "Bearer b", "x-api-key": "a"}, BODY, 403, ["x-api-key", "bearer"]),
        (
            f"{BEDROCK}/invoke",
            {"authorization": SIGNED.format("s3"), "x-amz-date": "20261121T000000Z"},
            BODY,
            403,
            ["sigv4:s3"],
        ),
        (
            f"{BEDROCK}/invoke",
            {"authorization": SIGNED.format("bedrock"), "x-amz-date": "20261121T000000Z"},
            BODY,
            200,
            ["sigv4:bedrock"],
        ),
        (f"{BEDROCK}/invoke", {"authorization": "Bearer b"}, {**BODY, "model": HAIKU}, 400, ["bearer"]),
        (f"{BEDROCK}/invoke", {"authorization": "Bearer b"}, {**BODY, "stream": True}, 400, ["bearer"]),
        (f"{BEDROCK}/invoke", {"authorization": "Bearer b"}, ASK, 400, ["bearer"]),
        (f"/bedrock/model/{HAIKU}/invoke", {"authorization": "Bearer b"}, BODY, 400, ["bearer"]),
        ("/bedrock/v1/messages", {"authorization": "Bearer b"}, BODY, 404, ["bearer"]),
        (f"{VERTEX}:rawPredict", {"authorization": "Bearer b"}, BODY, 200, ["bearer"]),
        (f"{VERTEX}:rawPredict", {"x-goog-api-key": "b"}, BODY, 403, ["x-goog-api-key"]),
        (f"{VERTEX}:rawPredict", {"authorization": "Bearer b"}, {**BODY, "model": HAIKU}, 400, ["bearer"]),
        (f"{VERTEX}:rawPredict", {"authorization": "Bearer b"}, {**BODY, "stream": True}, 400, ["bearer"]),
        (f"{VERTEX}:streamRawPredict", {"authorization": "Bearer b"}, BODY, 400, ["bearer"]),
        (f"{VERTEX}:rawPredict", {"authorization": "Bearer b"}, ASK, 400, ["bearer"]),
        ("/aws/v1/messages", {"x-api-key": "b"}, {**ASK, "model": HAIKU}, 400, ["x-api-key"]),
        ("/foundry/anthropic/v1/messages", {"api-key": "b"}, {**ASK, "model": HAIKU}, 200, ["api-key"]),
        ("/foundry/anthropic/v1/messages", {"authorization": "Basic b"}, {**ASK, "model": HAIKU}, 403, ["authorization"]),
        ("/v1/messages", {"api-key": "b", "x-api-key": "a"}, {**ASK, "model": HAIKU}, 403, ["x-api-key", "api-key"]),
    ],
)
def test_credentials_and_bodies_that_do_not_belong_are_refused_and_named_in_the_log(
    path: str, headers: dict[str, str], body: dict[str, Any], status: int, auth: list[str], api: SimulatedAPI
) -> None:
    with httpx2.Client(trust_env=False) as http:
        answer = http.post(f"{api.url}{path}", headers=headers, json=body)
    (entry,) = api.requests()
    assert (answer.status_code, entry["auth"]) == (status, auth)
    assert not any(value in json.dumps(entry["auth"]) for value in ("sk-ant", "AKIA"))


def test_errors_look_as_each_provider_writes_them(api: SimulatedAPI) -> None:
    api.set_faults([Fault(status=429, retry_after="3")])
    with httpx2.Client(trust_env=False, headers={"authorization": "Bearer b"}) as http:
        bedrock = http.post(f"{api.url}{BEDROCK}/invoke", json=BODY)
        vertex = http.post(f"{api.url}{VERTEX}:rawPredict", json=BODY)
        foundry = http.post(f"{api.url}/foundry/anthropic/v1/messages", json={**ASK, "model": HAIKU})
    assert set(bedrock.json()) == {"message"}
    assert bedrock.headers["x-amzn-errortype"] == "ThrottlingException"
    assert vertex.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert foundry.json()["error"]["type"] == "rate_limit_error"
    assert {answer.headers["retry-after"] for answer in (bedrock, vertex, foundry)} == {"3"}
    logged = [entry["request_id"] for entry in api.requests()]
    assert [bedrock.headers["x-amzn-requestid"], vertex.headers["request-id"], foundry.headers["request-id"]] == logged


def test_a_frame_is_one_that_its_maker_reads_and_a_flipped_bit_is_seen() -> None:
    made = frame({":message-type": "event", ":event-type": "chunk"}, b'{"bytes":"e30="}')
    buffer = EventStreamBuffer()
    buffer.add_data(made + made)
    first, second = list(buffer)
    assert (first.headers[":event-type"], first.payload) == ("chunk", second.payload)
    for index in (3, len(made) - 8):
        broken = EventStreamBuffer()
        broken.add_data(made[:index] + bytes([made[index] ^ 1]) + made[index + 1 :])
        with pytest.raises(ChecksumMismatch):
            list(broken)


def test_a_path_says_its_wire_and_headers_say_whose_credentials_they_are() -> None:
    assert [wire_of(path) for path in ("/v1/messages", "/bedrock/model/x/invoke", "/bedrock-mantle/a", "", "//vertex")] == [
        "anthropic",
        "bedrock",
        "bedrock-mantle",
        "anthropic",
        "anthropic",
    ]
    assert auth_of({b"authorization": b"Bearer x", b"api-key": b"y"}) == ["api-key", "bearer"]
