"""The wire formats of other providers: which paths they have, how they are signed for, how they wrap the same messages. Pure.

One port serves them all. The first part of the path stands for the host name that a provider has, and what follows is what the
SDK's client for it asks for (`base_url_of` says what to give that client):

    wire             path after the prefix                                                     credentials
    anthropic        /v1/messages (no prefix)                                                  a key
    bedrock          /model/MODEL/invoke; …/invoke-with-response-stream answers in frames      SigV4 (bedrock), bearer
    bedrock-mantle   /anthropic/v1/messages                                                    SigV4 (bedrock-mantle), bearer
    aws              /v1/messages, with the header anthropic-workspace-id                      SigV4 (its service), a key
    vertex           /v1/projects/P/locations/L/publishers/anthropic/models/MODEL:rawPredict   bearer
    google-cloud     /v1/projects/P/locations/L/workspaces/W/invoke/v1/messages                bearer
    foundry          /anthropic/v1/messages                                                    x-api-key, api-key, bearer
    google-token     the token endpoint of a Google service account                            an assertion in the body

Credentials that belong to another provider are refused with 403, none at all with 401. Nothing here keeps any part of one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from console.core.models import base_model
from console.sim.requests import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.sim.limits import Header
    from console.sim.wire import Event

ANTHROPIC: Final = "anthropic"
TOKEN: Final = "google-token"  # noqa: S105 -- a wire's name
MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
PREFIXES: Final = ("bedrock-mantle", "bedrock", "vertex", "aws", "google-cloud", "foundry", TOKEN)
FRAMES: Final = "application/vnd.amazon.eventstream"

_ACCEPTED: Final = {
    ANTHROPIC: {"x-api-key", "bearer", "anthropic-key"},
    "bedrock": {"sigv4:bedrock", "bearer"},
    "bedrock-mantle": {"sigv4:bedrock-mantle", "bearer"},
    "aws": {"sigv4:aws-external-anthropic", "bearer", "x-api-key"},
    "vertex": {"bearer"},
    "google-cloud": {"bearer"},
    "foundry": {"x-api-key", "api-key", "bearer"},
}
_SIGV4: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/ ,]+/\d{8}/[^/]+/([^/]+)/aws4_request, ?"
    r"SignedHeaders=[^,]*\bhost\b[^,]*, ?Signature=[0-9a-f]{64}"
)
_BEDROCK: Final = re.compile(r"/model/([^/]+)/(invoke|invoke-with-response-stream)")
_VERTEX: Final = re.compile(
    r"(?:/v1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/([^/:]+):(rawPredict|streamRawPredict)"
)
_GOOGLE_CLOUD: Final = re.compile(r"/v1/projects/[^/]+/locations/[^/]+/workspaces/[^/]+/invoke(/.*)")
_EXCEPTIONS: Final = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}
_EXCEPTION_OF_TYPE: Final = {
    "overloaded_error": "serviceUnavailableException",
    "rate_limit_error": "throttlingException",
    "timeout_error": "modelTimeoutException",
    "invalid_request_error": "validationException",
    "api_error": "internalServerException",
}
_GOOGLE: Final = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the API itself would have got it: the endpoint's path, and the body. `model`: as it was written."""

    path: str
    body: Mapping[str, Any]
    model: str | None


def base_url_of(url: str, provider: str) -> str:
    """What the SDK's client for a provider takes as its `base_url`, to reach the simulated API at `url`."""
    ends = {
        ANTHROPIC: "",
        "bedrock-mantle": "/bedrock-mantle/anthropic",
        "vertex": "/vertex/v1",
        "google-cloud": "/google-cloud/v1/projects/sim-project/locations/global/workspaces/wrkspc_sim/invoke",
        "foundry": "/foundry/anthropic",
    }
    return url + ends.get(provider, f"/{provider}")


def wire_of(path: str) -> str:
    """The wire format that a path is asked in."""
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    return first if first in PREFIXES else ANTHROPIC


def auth_of(headers: Mapping[bytes, bytes]) -> list[str]:
    """Which credentials a request carries, by kind and never by value. Header names are lower-case."""
    found = [name for name in ("x-api-key", "api-key", "x-goog-api-key") if name.encode() in headers]
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    signed = _SIGV4.fullmatch(authorization)
    if signed is not None and b"x-amz-date" in headers:
        found.append(f"sigv4:{signed[1]}")
    elif authorization.startswith("Bearer "):
        found.append("anthropic-key" if authorization.startswith("Bearer sk-ant-") else "bearer")
    elif authorization:
        found.append("authorization")
    return found


def check_auth(wire: str, auth: list[str]) -> None:
    """Raises RefusedError for a request without credentials, or with those of somebody else."""
    if not auth:
        raise RefusedError(401, "authentication_error", "no credentials in the request")
    foreign = sorted(set(auth) - _ACCEPTED[wire])
    if foreign:
        raise RefusedError(403, "permission_error", f"credentials of another provider in the request: {', '.join(foreign)}")


def opened(wire: str, path: str, headers: Mapping[bytes, bytes], body: Mapping[str, Any]) -> Asked:
    """What a request asks for behind its wrapping. Raises RefusedError for what the provider would not take."""
    rest = path.removeprefix(f"/{wire}")
    if wire == "bedrock":
        return _bedrock(rest, body)
    if wire == "vertex":
        return _vertex(rest, body)
    if wire == "google-cloud":
        found = _GOOGLE_CLOUD.fullmatch(rest)
        rest = "" if found is None else found[1]
    elif wire in ("bedrock-mantle", "foundry"):
        rest = rest.removeprefix("/anthropic")
    elif wire == "aws" and b"anthropic-workspace-id" not in headers:
        raise RefusedError(400, "invalid_request_error", "anthropic-workspace-id: header is required")
    model = body.get("model") if isinstance(body.get("model"), str) else None
    if wire == "bedrock-mantle" and model is not None:
        return Asked(rest, {**body, "model": _without_prefix(model)}, model)
    return Asked(rest, body, model)


def _bedrock(path: str, body: Mapping[str, Any]) -> Asked:
    found = _BEDROCK.fullmatch(path)
    if found is None:
        raise RefusedError(404, "not_found_error", f"UnknownOperationException: {path[:100]}")
    extra = [name for name in ("model", "stream") if name in body]
    if extra:
        raise RefusedError(400, "invalid_request_error", f"#: extraneous key [{extra[0]}] is not permitted")
    model, is_streamed = unquote(found[1]), found[2] != "invoke"
    return Asked(MESSAGES, {**_versioned(body), "model": _without_prefix(model), "stream": is_streamed}, model)


def _vertex(path: str, body: Mapping[str, Any]) -> Asked:
    found = _VERTEX.fullmatch(path)
    if found is None:
        raise RefusedError(404, "not_found_error", f"Not Found: {path[:100]}")
    model = unquote(found[1])
    if model == "count-tokens":
        return Asked(COUNT, _versioned(body), body.get("model"))
    if "model" in body:
        raise RefusedError(400, "invalid_request_error", "model: Extra inputs are not permitted")
    if (body.get("stream") is True) != (found[2] == "streamRawPredict"):
        raise RefusedError(400, "invalid_request_error", "stream: does not go with this method")
    return Asked(MESSAGES, {**_versioned(body), "model": base_model(model)}, model)


def _versioned(body: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(body.get("anthropic_version"), str):
        raise RefusedError(400, "invalid_request_error", "anthropic_version: Field required")
    return {name: value for name, value in body.items() if name not in ("anthropic_version", "anthropic_beta")}


def _without_prefix(model: str) -> str:
    if "anthropic." not in model:
        raise RefusedError(400, "invalid_request_error", "The provided model identifier is invalid.")
    return base_model(model)


def error_of(wire: str, status: int, error: dict[str, Any]) -> tuple[dict[str, Any], list[Header]]:
    """The body of an error (`error`: as the API writes it) as the provider sends it, and the headers that go with it."""
    text = error["error"]["message"]
    if wire == "bedrock":
        return {"message": text}, [("x-amzn-errortype", _EXCEPTIONS.get(status, "ModelErrorException"))]
    if wire in ("vertex", "google-cloud") and status in _GOOGLE:
        return {"error": {"code": status, "message": text, "status": _GOOGLE[status]}}, []
    return error, []


def request_id_header(wire: str) -> str:
    """The name of the header in which a provider says the request's id."""
    return "x-amzn-requestid" if wire == "bedrock" else "request-id"


def content_type_of(wire: str) -> str:
    """The content type of a stream."""
    return FRAMES if wire == "bedrock" else "text/event-stream; charset=utf-8"


def encoded(wire: str, event: Event, *, is_broken: bool = False) -> bytes:
    """One event of a stream as it stands on the wire; `is_broken`: with its JSON cut in the middle."""
    if wire != "bedrock":
        return event.encode_broken() if is_broken else event.encode()
    text = json.dumps(event.data, separators=(",", ":"))
    if is_broken:
        text = text[: max(1, len(text) // 2)]
    if event.name == "error":
        error = event.data["error"]
        kind = _EXCEPTION_OF_TYPE.get(error["type"], "modelStreamErrorException")
        return frame(
            {":message-type": "exception", ":exception-type": kind}, json.dumps({"message": error["message"]}).encode()
        )
    wrapped = {"bytes": base64.b64encode(text.encode()).decode(), "p": "abcdefghijklmn"}
    return frame({":message-type": "event", ":event-type": "chunk"}, json.dumps(wrapped).encode())


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """An AWS event-stream message with its two checksums; all header values are strings (type 7)."""
    named = {**headers, ":content-type": "application/json"}
    head = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in named.items()
    )
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    checked = prelude + struct.pack("!I", binascii.crc32(prelude)) + head + payload
    return checked + struct.pack("!I", binascii.crc32(checked))
