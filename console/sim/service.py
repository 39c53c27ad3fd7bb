"""The simulated API's endpoints: what each request gets, and how a fault changes the way it is sent.

`Service.serve` is the whole life of a connection. Deciding (which endpoint, which answer, which fault) is plain code
that ends in a `Reply` or a `StreamReply`; sending those, with all delays and breakages, is at the end of the file.
"""

from __future__ import annotations

import json
import math
import random
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from console.sim import clouds, wire
from console.sim.answers import answer, input_tokens
from console.sim.batches import Batches
from console.sim.connection import ClientGoneError, Connection, Request
from console.sim.faults import TYPE_OF_STATUS, Fault, FaultError, choose, fault_to_json, parse_faults, spend
from console.sim.journal import key_in
from console.sim.limits import Header, PromptCache, RateWindows
from console.sim.models import MODELS, ModelSpec, describe
from console.sim.requests import LARGEST_BODY, MessagesRequest, RefusedError, decode, known_model, read_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from console.sim.journal import Entry, Journal
    from console.sim.pace import Pace

_STATUS_PAGE = "/api/v2/summary.json"
_ALL_WELL = {"status": {"indicator": "none", "description": "All Systems Operational"}, "components": [], "incidents": []}
_MESSAGES = "/v1/messages"
_COUNT = "/v1/messages/count_tokens"
_BATCHES = "/v1/messages/batches"
_MODELS = "/v1/models"
_PAGE = 20
_LARGEST_PAGE = 1000
_SYSTEM_LOGGED = 80
_PING_EVERY_S = 0.2
_SHORTEST_SLEEP_S = 0.002
_TRICKLES_PER_S = 20
_COUNT_S = 0.15
_OTHER_S = 0.1

_NO_FAULT = Fault()

_SAID = {
    "invalid_request_error": "The request is not valid",
    "authentication_error": "invalid x-api-key",
    "billing_error": "Your credit balance is too low to access the API",
    "permission_error": "Your API key does not have permission to use the specified resource",
    "not_found_error": "The requested resource could not be found",
    "conflict_error": "The request conflicts with another one",
    "request_too_large": "Request exceeds the maximum size",
    "rate_limit_error": "This request would exceed your organization's rate limit",
    "timeout_error": "The request timed out",
    "api_error": "Internal server error",
    "overloaded_error": "Overloaded",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, the seconds it takes by itself, and what it adds to the headers."""

    status: int
    body: bytes
    headers: Sequence[Header] = ()
    takes_s: float = 0.0
    content_type: str = "application/json"
    usage: wire.Usage | None = None
    """Of a message: what the account is charged for."""


@dataclass(frozen=True, slots=True)
class StreamReply:
    """An answer in events, the seconds until the first content and the model that sets the pace from there."""

    events: Sequence[wire.Event]
    headers: Sequence[Header]
    first_token_s: float
    spec: ModelSpec
    usage: wire.Usage


class Service:
    """The API's state and endpoints. One event loop, no locks: nothing is awaited between reading and writing state."""

    def __init__(self, *, pace: Pace, seed: int, journal: Journal, keys: Sequence[str] = ()) -> None:
        self._keys = frozenset(keys)
        self._pace = pace
        self._seed = seed
        self._journal = journal
        self._faults: tuple[Fault, ...] = ()
        self._faults_set_at = time.monotonic()
        self._fault_draws = random.Random(seed)  # noqa: S311 - repeatable draws
        self._pace_draws = random.Random(seed + 1)  # noqa: S311 - repeatable draws
        self._status_page: object = _ALL_WELL
        self._rates = RateWindows()
        self._cache = PromptCache()
        self._batches = Batches(pace.seconds)

    async def serve(self, link: Connection) -> None:
        """Answer the requests of one connection until it ends. Never raises for anything that a caller does."""
        while (request := await link.next_request()) is not None:
            if request.path.startswith("/sim/") or request.path == _STATUS_PAGE:
                if not await self._serve_control(link, request):
                    return
                continue
            entry = self._journal.arrive(method=request.method, path=request.path, headers=request.headers, query=request.query)
            try:
                goes_on = await self._serve_api(link, request, entry)
            except ClientGoneError:
                self._journal.leave(entry)
                return
            finally:
                self._journal.finish(entry)
            if not goes_on:
                return

    # -- control ------------------------------------------------------------------------------------------------------

    async def _serve_control(self, link: Connection, request: Request) -> bool:
        try:
            body = await link.read_body(LARGEST_BODY)
            status, value = self._control(request, body or b"")
            await link.answer(status, [("content-type", "application/json")], _encode(value))
        except ClientGoneError:
            return False
        return True

    def _control(self, request: Request, body: bytes) -> tuple[int, object]:
        acts: Mapping[tuple[str, str], Callable[[], object]] = {
            ("GET", "/sim/faults"): lambda: [fault_to_json(fault) for fault in self._faults],
            ("PUT", "/sim/faults"): lambda: self._set_faults(parse_faults(_json(body))),
            ("DELETE", "/sim/faults"): lambda: self._set_faults(()),
            ("GET", "/sim/requests"): lambda: self._log_since(_whole(request, "after", 0)),
            ("DELETE", "/sim/requests"): self._clear_log,
            ("GET", _STATUS_PAGE): lambda: self._status_page,
            ("PUT", "/sim/status-page"): lambda: self._set_status_page(_json(body)),
        }
        act = acts.get((request.method, request.path))
        if act is None:
            return 404, {"error": f"{request.method} {request.path} is not a control request"}
        try:
            return 200, act()
        except FaultError as error:
            return 400, {"error": str(error)}

    def _set_status_page(self, page: object) -> object:
        """What the provider says of itself, whatever is true: a page lags."""
        self._status_page = page
        return page

    def _set_faults(self, faults: tuple[Fault, ...]) -> object:
        self._faults, self._faults_set_at = faults, time.monotonic()
        return {"faults": len(faults)}

    def _log_since(self, after: int) -> object:
        page, following = self._journal.since(after)
        return {"requests": page, "next": following}

    def _clear_log(self) -> object:
        self._journal.clear()
        return {"requests": []}

    # -- the API ------------------------------------------------------------------------------------------------------

    async def _serve_api(self, link: Connection, request: Request, entry: Entry) -> bool:
        """One request to the API; the result says whether the connection can go on."""
        raw = await link.read_body(LARGEST_BODY)
        asked, problem = _opened(request, raw, entry)
        _note(entry, asked)
        fault = self._draw_fault(entry["model"], entry["wire"])
        if fault is not _NO_FAULT:
            entry["fault"] = fault.label
        request_id = entry["request_id"] = f"req_01{uuid.uuid4().hex[:22]}"
        if fault.reset:
            await link.pause(fault.latency_s or 0)
            link.reset()
            return False
        if fault.no_response or (fault.pings_only and not entry["stream"]):
            await link.hang()
        reply = self._reply(request, asked, problem, fault, entry)
        await link.pause(fault.latency_s or 0)
        sender = _Sender(link, self._pace, fault, entry)
        return await sender.send(reply, _standard_headers(request_id, entry["wire"]))

    def _draw_fault(self, model: str | None, at: str) -> Fault:
        if not self._faults:
            return _NO_FAULT
        elapsed_s = time.monotonic() - self._faults_set_at
        index = choose(self._faults, model, self._fault_draws.random(), elapsed_s, at)
        if index is None:
            return _NO_FAULT
        fault = self._faults[index]
        self._faults = spend(self._faults, index)
        return fault

    def _reply(
        self, request: Request, asked: clouds.Asked, problem: RefusedError | None, fault: Fault, entry: Entry
    ) -> Reply | StreamReply:
        at = entry["wire"]
        spec = MODELS.get(str(asked.body.get("model")))
        try:
            if fault.status is not None:
                return self._failed(fault, fault.status, spec, entry)
            if at == clouds.TOKEN:
                return self._other({"access_token": "sim-google-token", "expires_in": 3600, "token_type": "Bearer"})
            if at == clouds.ANTHROPIC:
                self._check_key(key_in(dict(request.headers)))
            clouds.check_auth(at, entry["auth"])
            if problem is not None:
                raise problem
            return self._route(request, asked.path.rstrip("/"), asked.body, fault)
        except RefusedError as refused:
            error, headers = clouds.error_of(
                at, refused.status, wire.error_body(refused.type, refused.message, entry["request_id"])
            )
            headers += self._rate_headers(spec, None)
            return Reply(refused.status, _encode(error), headers, self._pace.seconds(_OTHER_S))

    def _check_key(self, key: str | None) -> None:
        """Any key will do as long as none was named."""
        if key is None:
            raise RefusedError(401, "authentication_error", "x-api-key header is required")
        if self._keys and key not in self._keys:
            raise RefusedError(401, "authentication_error", _SAID["authentication_error"])

    def _failed(self, fault: Fault, status: int, spec: ModelSpec | None, entry: Entry) -> Reply:
        kind = fault.error_type or TYPE_OF_STATUS.get(status, "api_error")
        said = wire.error_body(kind, _SAID.get(kind, kind), entry["request_id"], fault.error_code)
        error, headers = clouds.error_of(entry["wire"], status, said)
        headers += self._rate_headers(spec, None)
        if fault.retry_after is not None:
            headers.append(("retry-after", fault.retry_after))
        return Reply(status, _encode(error), headers, self._pace.seconds(_OTHER_S))

    def _route(self, request: Request, path: str, body: Mapping[str, Any], fault: Fault) -> Reply | StreamReply:
        method = request.method
        if (method, path) == ("POST", _MESSAGES):
            return self._messages(read_messages(body), fault)
        if (method, path) == ("POST", _COUNT):
            counted = {"input_tokens": input_tokens(read_messages(body, counts_only=True).ask)}
            return Reply(200, _encode(counted), takes_s=self._pace.seconds(_COUNT_S))
        if path.startswith(_BATCHES):
            return self._serve_batches(request, path.removeprefix(_BATCHES).strip("/"), body)
        if method == "GET" and path == _MODELS:
            return self._other(_page(request, [describe(spec) for spec in MODELS.values()]))
        if method == "GET" and path.startswith(f"{_MODELS}/"):
            return self._other(describe(known_model(path.removeprefix(f"{_MODELS}/"))))
        raise RefusedError(404, "not_found_error", f"Not Found: {method} {path[:100]}")

    def _messages(self, asked: MessagesRequest, fault: Fault) -> Reply | StreamReply:
        made, usage = self._answer(asked, quality=1.0 if fault.quality is None else fault.quality)
        headers = self._rate_headers(asked.spec, usage)
        message_id = f"msg_01{uuid.uuid4().hex[:22]}"
        draw = self._pace_draws.gauss(0, 1)
        if asked.stream:
            events = wire.events(message_id, asked.spec.id, made, usage)
            wait = self._pace.first_token_s(asked.spec, draw) + (fault.first_token_s or 0)
            return StreamReply(events, headers, wait, asked.spec, usage)
        takes = self._pace.plain_s(asked.spec, usage.output_tokens, draw) + (fault.first_token_s or 0)
        return Reply(200, _encode(wire.message(message_id, asked.spec.id, made, usage)), headers, takes, usage=usage)

    def _answer(self, asked: MessagesRequest, *, quality: float = 1.0) -> tuple[Any, wire.Usage]:
        made = answer(asked.ask, seed=self._seed, quality=quality)
        usage = self._cache.use(asked.prefix, input_tokens=made.input_tokens, output_tokens=made.output_tokens, now=time.time())
        return made, usage

    def _serve_batches(self, request: Request, rest: str, body: Mapping[str, Any]) -> Reply:
        now, base = time.time(), f"http://{request.header(b'host') or 'localhost'}"
        batch_id, _, verb = rest.partition("/")
        match request.method, bool(batch_id), verb:
            case "POST", False, "":
                return self._other(self._batches.show(self._batches.create(body, now), now, base))
            case "GET", False, "":
                return self._other(_page(request, [self._batches.show(one, now, base) for one in self._batches.all()]))
            case "GET", True, "":
                return self._other(self._batches.show(self._batches.get(batch_id), now, base))
            case "POST", True, "cancel":
                return self._other(self._batches.show(self._batches.cancel(batch_id, now), now, base))
            case "GET", True, "results":
                lines = self._batches.results(batch_id, now, self._run_params)
                return Reply(200, b"".join(_encode(line) + b"\n" for line in lines), content_type="application/x-jsonl")
        raise RefusedError(404, "not_found_error", f"Not Found: {request.method} {request.path[:100]}")

    def _run_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of one request of a batch, errors included."""
        try:
            asked = read_messages(params)
        except RefusedError as refused:
            error = wire.error_body(refused.type, refused.message, f"req_01{uuid.uuid4().hex[:22]}")
            return {"type": "errored", "error": error}
        made, usage = self._answer(asked)
        made_message = wire.message(f"msg_01{uuid.uuid4().hex[:22]}", asked.spec.id, made, usage)
        return {"type": "succeeded", "message": made_message}

    def _other(self, value: object) -> Reply:
        return Reply(200, _encode(value), takes_s=self._pace.seconds(_OTHER_S))

    def _rate_headers(self, spec: ModelSpec | None, usage: wire.Usage | None) -> list[Header]:
        if spec is None:
            return []
        now = time.time()
        self._rates.charge(spec, usage, now)
        return self._rates.headers(spec, now)


# -- reading ----------------------------------------------------------------------------------------------------------


def _decoded(request: Request, raw: bytes | None) -> tuple[Mapping[str, Any], RefusedError | None]:
    """The body as an object (empty where there is none), and what is wrong with it."""
    if raw is None:
        return {}, RefusedError(413, "request_too_large", f"Request exceeds the maximum size of {LARGEST_BODY} bytes")
    if request.method != "POST" or request.path.endswith("/cancel"):
        return {}, None
    try:
        return decode(raw), None
    except RefusedError as refused:
        return {}, refused


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise FaultError(f"faults: not valid JSON: {error}") from None


def _opened(request: Request, raw: bytes | None, entry: Entry) -> tuple[clouds.Asked, RefusedError | None]:
    """What is asked for behind a provider's wrapping, and what is wrong with it."""
    at = entry["wire"]
    if at == clouds.TOKEN:
        return clouds.Asked(request.path, {}, None), None
    body, problem = _decoded(request, raw)
    entry["parameters"] = sorted(body)
    try:
        return clouds.opened(at, request.path, dict(request.headers), body), problem
    except RefusedError as refused:
        return clouds.Asked(request.path, body, None), problem or refused


def _note(entry: Entry, asked: clouds.Asked) -> None:
    body = asked.body
    entry["model"] = asked.model
    entry["stream"] = body.get("stream") is True
    entry["system"] = _system_text(body.get("system"))[:_SYSTEM_LOGGED]


def _system_text(system: object) -> str:
    if isinstance(system, list):
        return next((str(part["text"]) for part in system if isinstance(part, dict) and part.get("text")), "")
    return system if isinstance(system, str) else ""


def _page(request: Request, items: list[dict[str, Any]]) -> dict[str, Any]:
    """A page of a list as the SDK expects it: `limit`, `after_id` and `before_id` of the query are obeyed."""
    limit = max(1, min(_LARGEST_PAGE, _whole(request, "limit", _PAGE)))
    ids = [item["id"] for item in items]
    query = parse_qs(request.query)
    after, before = query.get("after_id", [""])[0], query.get("before_id", [""])[0]
    if before in ids:
        end = ids.index(before)
        start = max(0, end - limit)
        page, has_more = items[start:end], start > 0
    else:
        start = ids.index(after) + 1 if after in ids else 0
        page, has_more = items[start : start + limit], start + limit < len(items)
    return {
        "data": page,
        "has_more": has_more,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _whole(request: Request, name: str, default: int) -> int:
    text = parse_qs(request.query).get(name, [""])[0]
    return int(text) if text.isdigit() else default


# -- sending ----------------------------------------------------------------------------------------------------------


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _standard_headers(request_id: str, at: str) -> list[Header]:
    return [
        (clouds.request_id_header(at), request_id),
        ("anthropic-organization-id", "0e1f2a3b-4c5d-4e6f-8a9b-0c1d2e3f4a5b"),
        ("anthropic-workspace-id", "wrkspc_01SimulatedWorkspace0001"),
    ]


class _Sender:
    """Sends one reply, with what its fault does to the wire. Each method's result: can the connection go on?"""

    def __init__(self, link: Connection, pace: Pace, fault: Fault, entry: Entry) -> None:
        self._link = link
        self._pace = pace
        self._fault = fault
        self._entry = entry

    async def send(self, reply: Reply | StreamReply, headers: list[Header]) -> bool:
        if isinstance(reply, StreamReply):
            return await self._send_stream(reply, headers)
        return await self._send_plain(reply, headers)

    async def _send_plain(self, reply: Reply, headers: list[Header]) -> bool:
        await self._link.pause(reply.takes_s)
        self._entry["status"] = reply.status
        self._entry["billed"] = None if reply.usage is None else reply.usage.billed()
        headers = [("content-type", reply.content_type), *headers, *reply.headers]
        is_whole = self._fault.cut_at is None and self._fault.stall_at is None
        if is_whole and self._fault.malformed_at is None and self._fault.trickle_bytes_per_s is None:
            await self._link.answer(reply.status, headers, reply.body)
            return True
        body = reply.body[: len(reply.body) // 2] if self._fault.malformed_at is not None else reply.body
        half = len(body) if is_whole else len(body) // 2
        await self._link.start(reply.status, headers, length=len(body))
        await self._send_body(body[:half])
        if self._fault.stall_at is not None:
            await self._stall()
        if self._fault.cut_at is not None:
            self._link.cut()
            return False
        await self._send_body(body[half:])
        await self._link.finish()
        return True

    async def _send_stream(self, reply: StreamReply, headers: list[Header]) -> bool:
        self._entry["status"] = 200
        kind = ("content-type", clouds.content_type_of(self._entry["wire"]))
        await self._link.start(200, [kind, ("cache-control", "no-cache"), *headers, *reply.headers], length=None)
        debt, unsent = 0.0, b""
        made, tokens = 0, sum(event.tokens for event in reply.events)
        for index, event in enumerate(reply.events):
            debt += reply.first_token_s if event.is_first_content else self._pace.tokens_s(reply.spec, event.tokens)
            if debt > _SHORTEST_SLEEP_S:
                await self._send_body(unsent)
                await self._link.pause(debt)
                debt, unsent = 0.0, b""
            unsent += self._encoded(index, event)
            made += event.tokens
            self._entry["billed"] = reply.usage.billed(made / max(1, tokens))
            if index == self._fault.stalls_at:
                await self._send_body(unsent)
                unsent = b""
                await self._stall()
            if self._stops_at(index):
                await self._send_body(unsent)
                return await self._stop(index)
        await self._send_body(unsent)
        await self._link.finish()
        return True

    def _encoded(self, index: int, event: wire.Event) -> bytes:
        if index == self._fault.error_at:
            kind = self._fault.error_type or "overloaded_error"
            text = _SAID.get(kind, kind)
            event = wire.error_event(kind, text, self._entry["request_id"], self._fault.error_code)
            return clouds.encoded(self._entry["wire"], event)
        return clouds.encoded(self._entry["wire"], event, is_broken=index == self._fault.malformed_at)

    def _stops_at(self, index: int) -> bool:
        return index in {self._fault.cut_at, self._fault.clean_end_at, self._fault.error_at}

    async def _stop(self, index: int) -> bool:
        if index == self._fault.cut_at:
            self._link.cut()
            return False
        await self._link.finish()
        return True

    async def _stall(self) -> None:
        """Send nothing, or pings, for as long as the fault says; raises ClientGoneError when the caller has had enough."""
        left_s = math.inf if self._fault.stall_s is None else self._fault.stall_s
        while left_s > 0 and self._fault.pings_only:
            await self._link.pause(min(left_s, _PING_EVERY_S))
            await self._send_body(clouds.encoded(self._entry["wire"], wire.PING))
            left_s -= _PING_EVERY_S
        if math.isinf(left_s):
            await self._link.hang()
        await self._link.pause(left_s)

    async def _send_body(self, data: bytes) -> None:
        """A part of the body, at the fault's rate if it has one. Nothing for nothing: an empty chunk is the end."""
        rate = self._fault.trickle_bytes_per_s
        if rate is None:
            if data:
                await self._link.send(data)
            return
        for part in _slices(data, max(1, int(rate / _TRICKLES_PER_S))):
            await self._link.send(part)
            await self._link.pause(len(part) / rate)


def _slices(data: bytes, size: int) -> Iterable[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
