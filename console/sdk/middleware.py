"""The middleware: one object for every client, blocking or not. It must never make a call fail that would have succeeded.

Each passage: take the tags off, see whether a switch stops it, send, look at what came back, record. Everything but the sending
and the switch is instrumentation: an exception in it is counted, logged once and forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx2
from anthropic import Middleware

from console.core.allowances import Exceeded
from console.core.flow import SERVE, GiveUp, Refuse
from console.sdk.answers import blocked, defined_answer, exhausted, mark, refused
from console.sdk.bodies import observe, unobserved
from console.sdk.call import Call, kind_of
from console.sdk.clients import Clients
from console.sdk.drivers import run, run_async
from console.sdk.endpoints import Endpoint, endpoint_of
from console.sdk.facts import batch_facts, facts_of, tagged, without_tags
from console.sdk.ladder import Ladder
from console.sdk.pinning import pinned
from console.sdk.providers import Providers
from console.sdk.splicing import splice
from console.sdk.wires import AsyncWire, SyncWire, error_type_of, is_unread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic import APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext
    from anthropic._request import APIRequest

    from console.core.calls import Facts
    from console.core.flow import Plan, Serve, Verdict
    from console.runtime.process import Runtime


class ConsoleMiddleware(Middleware):
    """What `console.middleware` is. `degraded`: feature -> its defined text."""

    def __init__(self, runtime: Runtime, degraded: Mapping[str, str]) -> None:
        self._runtime = runtime
        self._degraded = degraded
        self._clients = Clients()
        self._ladder = Ladder(runtime)
        self._providers = Providers(runtime)

    @property
    def clients(self) -> Clients:
        """The clients that use it."""
        return self._clients

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        """One passage of a blocking client's request."""
        call = self._begin(request, call_next)
        if isinstance(call, _Passing):
            return call_next(call.request)
        if (answer := self._before(call, is_async=False)) is not None:
            return cast("APIResponse[Any]", answer)
        wire = SyncWire(call, call_next)
        try:
            verdict = run(call.flow(), wire)
        except Exception as defect:  # noqa: BLE001 -- of the policy itself: what the network did comes back as a value
            verdict = self._without_policy(call, wire, defect) or run(call.flow(), wire)
        response = self._concluded(call, wire, verdict)
        if call.is_over:
            if (lost := _lost(wire, response)) is not None:
                lost.close()
        else:
            self._look(call, wire, call_next, message=_parsed(response))
        return cast("APIResponse[Any]", response)

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> AsyncAPIResponse[Any]:
        """One passage of an asynchronous client's request."""
        call = self._begin(request, call_next)
        if isinstance(call, _Passing):
            return await call_next(call.request)
        if (answer := self._before(call, is_async=True)) is not None:
            return cast("AsyncAPIResponse[Any]", answer)
        wire = AsyncWire(call, call_next)
        try:
            verdict = await run_async(call.flow(), wire)
        except Exception as defect:  # noqa: BLE001 -- as above
            verdict = self._without_policy(call, wire, defect) or await run_async(call.flow(), wire)
        response = self._concluded(call, wire, verdict, is_async=True)
        if call.is_over:
            if (lost := _lost(wire, response)) is not None:
                await lost.aclose()
        else:
            self._look(call, wire, call_next, message=await _async_parsed(response), is_async=True)
        return cast("AsyncAPIResponse[Any]", response)

    def _begin(self, request: APIRequest, call_next: Any) -> Call | _Passing:
        """The call behind a request, or the request to be passed on when it is none of ours. Never raises."""
        tags: Mapping[str, str] = {}
        client = self._clients.of(call_next)
        try:
            stripped, tags = without_tags(request, omits_defaults=client is None or bool(client.tags))
            if client is not None and client.tags:
                tags = {**client.tags, **tags}
        except Exception as error:  # noqa: BLE001 -- then the request goes on as it is
            self._runtime.swallow(error)
            stripped = request
        try:
            options = request.options
            endpoint = endpoint_of(options.method, options.url)
            if endpoint is Endpoint.OTHER:
                return _Passing(stripped)
            is_batch = endpoint is Endpoint.BATCHES
            facts = (batch_facts if is_batch else facts_of)(options.json_data, tags)
        except Exception as error:  # noqa: BLE001 -- a kill of everything must still hold
            self._runtime.swallow(error)
            is_batch, facts = False, tagged(tags)
        if facts.prompt is not None and not is_batch and stripped is not request:
            facts = self._pinned(stripped, facts)
        return Call(
            self._runtime,
            stripped,
            facts,
            self._clients.max_retries if client is None else client.max_retries,
            is_batch=is_batch,
            client=client,
            plan=None if is_batch or stripped is request else self._plan(facts.feature),  # a chain needs a copy of its own
            policy=self._runtime.policy(facts.feature),
            providers=self._providers,
        )

    def close(self) -> None:
        """Lets go of the clients that were made for other providers' targets."""
        self._providers.close()

    def _pinned(self, request: APIRequest, facts: Facts) -> Facts:
        """The facts, after a conversation that goes on has got back the prompt version that it began with. `request`: a copy of
        ours. Never raises."""
        try:
            found = pinned(self._runtime, cast("Mapping[str, Any]", request.options.json_data), facts)
            if found is not None:
                vars(request.options)["json_data"], facts = found
        except Exception as error:  # noqa: BLE001 -- then it gets what was rendered for it
            self._runtime.swallow(error)
        return facts

    def _before(self, call: Call, *, is_async: bool) -> Any:
        """What answers the call before anything is sent: None for one that is sent. A switch comes first: a call that one stops
        is left to the flow, which refuses it."""
        is_limited = self._is_limited(call)
        if (call.policy.cache is None and not is_limited) or self._is_killed(call):
            return None
        answer = self._ladder.begin(call, is_async=is_async)
        exceeded = self._exceeded(call) if answer is None and is_limited else None
        return answer if exceeded is None else self._limit(call, exceeded, is_async=is_async)

    def _is_limited(self, call: Call) -> bool:
        """Whether the application's own limits have to be asked."""
        allowances = self._runtime.allowances
        return allowances is not None and allowances.concern(call.facts)

    def _exceeded(self, call: Call) -> Exceeded | None:
        """The limit of the application's own that stops the call. One that the SDK repeats was asked when it began. Never
        raises: a defect of ours stops nobody."""
        allowances, request = self._runtime.allowances, call.request
        if allowances is None:
            return None
        try:
            if request.retries_taken:
                call.charge = allowances.again(call.facts)
                return None
            found = allowances.check(call.facts, request.options.json_data, is_batch=call.is_batch)
        except Exception as error:  # noqa: BLE001 -- as said
            self._runtime.swallow(error)
            return None
        if isinstance(found, Exceeded):
            return found
        call.charge = found
        return None

    def _limit(self, call: Call, exceeded: Exceeded, *, is_async: bool) -> Any:
        """The defined text where the limit says so and there is one, else the error."""
        text = self._text(call, is_async=is_async) if exceeded.on_exceed == "degrade" else None
        if text is not None:
            call.refused(is_degraded=True, error=exceeded.error)
            return text
        stopped = refused(call.request, exceeded)
        call.refused(is_degraded=False, error=exceeded.error)
        raise stopped from None

    def _is_killed(self, call: Call) -> bool:
        """Whether the flow will refuse the call. A switch on one model leaves a chain its others."""
        return all(call.stopped_by(target) is not None for target in (call.plan.targets if call.plan is not None else (None,)))

    def _plan(self, feature: str) -> Plan | None:
        try:
            return self._runtime.plan(feature)
        except Exception as error:  # noqa: BLE001 -- then the call goes where the application sends it
            self._runtime.swallow(error)
            return None

    def _without_policy(self, call: Call, wire: SyncWire | AsyncWire, defect: Exception) -> Verdict | None:
        """A defect in the flow or the gate must not cost the call: what is in hand is served; without anything the call goes
        where the application sends it, unless a switch stops it (None)."""
        self._runtime.swallow(defect)
        http = getattr(wire.response, "http_response", None)
        if wire.error is None and http is not None and (is_unread(http) or http.is_success):
            return SERVE
        call.go_by_itself()
        return None

    def _concluded(self, call: Call, wire: SyncWire | AsyncWire, verdict: Verdict, *, is_async: bool = False) -> Any:
        """What the caller gets; when it is `wire.response`, the call has yet to be recorded."""
        if isinstance(verdict, Refuse):
            return self._refuse(call, verdict, is_async=is_async)
        if isinstance(verdict, GiveUp):
            return self._give_up(call, wire, verdict, is_async=is_async)
        http = getattr(wire.response, "http_response", None)
        if call.key is not None and call.plan is None:
            kept = self._ladder.after_the_last(call, wire.error, http, is_async=is_async)
            if kept is not None:
                return kept
        if wire.error is not None:
            if call.plan is None:
                self._fail(call, wire.error)
            else:
                call.given_up()
            raise wire.error
        call.serve(verdict)
        if call.plan is not None or call.policy.cache is not None or call.policy.is_limited:
            self._mark(call, http, verdict)
        return wire.response

    def _mark(self, call: Call, http: Any, verdict: Serve) -> None:
        """Says on a good answer who gave it."""
        try:
            if http is not None and http.status_code < 400:
                target = call.facts.model if call.target is None else call.target.name
                mark(http, is_fallback=verdict.position > 0, target=target)
        except Exception as error:  # noqa: BLE001 -- a name that no header can hold, for example
            self._runtime.swallow(error)

    def _give_up(self, call: Call, wire: SyncWire | AsyncWire, verdict: GiveUp, *, is_async: bool) -> Any:
        """The end of a chain: what was kept, the defined text, the last answer that says why, or ChainExhausted; none that the
        SDK repeats."""
        kept = self._ladder.instead(call, is_async=is_async)
        if kept is not None:
            return kept
        text = self._text(call, is_async=is_async)
        if text is not None:
            call.refused(is_degraded=True, error=None)
            return text
        request, feature, failures = call.request, call.facts.feature, call.failures
        call.given_up()
        answer = None if verdict.answer is None else wire.answers.get(verdict.answer)
        if answer is None:
            raise exhausted(request, feature, failures) from None
        answer.http_response.headers["x-should-retry"] = "false"
        return answer

    def _text(self, call: Call, *, is_async: bool) -> Any:
        """The feature's defined text as an answer, or None."""
        facts = call.facts
        text = None if call.is_batch else self._degraded.get(facts.feature)
        if text is None:
            return None
        try:
            if callable(call.request.options.post_parser):  # `messages.parse`: prose may not be what the caller can read
                defined_answer(call.request, text, facts.model, is_async=False).parse()
            return defined_answer(call.request, text, facts.model, is_async=is_async)
        except Exception as error:  # noqa: BLE001 -- a kill switch must still kill
            self._runtime.swallow(error)
            return None

    def _refuse(self, call: Call, refused: Refuse, *, is_async: bool = False) -> Any:
        """The defined text, or CallBlocked. A batch has no text: what it would return is not an answer."""
        text = self._text(call, is_async=is_async)
        if text is not None:
            call.refused(is_degraded=True)
            return text
        stopped = blocked(call.request, refused.switch)
        call.refused(is_degraded=False)
        raise stopped from None

    def _fail(self, call: Call, error: Exception) -> None:
        """Records a call that ended without an `APIResponse`."""
        try:
            http = getattr(error, "response", None)
            if http is not None:
                call.answered(http)
                call.failed(getattr(error, "type", None))
            else:
                call.failed(kind_of(error))
        except Exception as mistake:  # noqa: BLE001 -- the caller gets the failure itself
            self._runtime.swallow(mistake)

    def _look(self, call: Call, wire: SyncWire | AsyncWire, call_next: Any, *, message: Any, is_async: bool = False) -> None:
        """Records an answer, or puts an observer into the body that the caller is going to read."""
        response = wire.response
        try:
            http = getattr(response, "http_response", None)
            if http is None:  # another middleware below answered with a finished value
                call.served(response)
                return
            if call.client is None and call.hop is None and (client := getattr(response, "_client", None)) is not None:
                call.learn_retries(self._clients.learn(call_next, client))
            call.answered(http)
            if call.collector is not None and http.is_success and not is_unread(http):
                call.collector.take(http.content)
            if message is not None:  # read and parsed: most calls
                call.served(message)
            elif wire.rest is not None or is_unread(http):
                _look_on(call, wire, is_async=is_async)
            elif http.is_success:  # the SDK will not make sense of it either, or the caller's own parser will not
                call.observing("application/json")
                call.read_at_once(http.content)
            elif call.plan is not None:
                http.headers["x-should-retry"] = "false"
                call.given_up()
            else:
                call.failed(error_type_of(http))
        except Exception as error:  # noqa: BLE001 -- the answer is here: nothing may come between it and the caller
            self._runtime.swallow(error)
            if wire.rest is not None:
                unobserved(response, wire.held, wire.rest, is_async=is_async)


def _look_on(call: Call, wire: SyncWire | AsyncWire, *, is_async: bool) -> None:
    """Puts an observer into a body that the caller is going to read."""
    response = wire.response
    call.observing(response.http_response.headers.get("content-type", ""))
    if call.plan is None:
        call.guard(response.http_response)
    if not splice(response, call, wire, is_async=is_async):
        observe(response, call, is_async=is_async, held=wire.held, rest=wire.rest)


def _lost(wire: SyncWire | AsyncWire, response: Any) -> httpx2.Response | None:
    """The answer in hand that somebody has still to close, because the caller gets another one."""
    http = getattr(wire.response, "http_response", None)
    return http if wire.response is not response and isinstance(http, httpx2.Response) and not http.is_closed else None


class _Passing:
    """A request that is none of our business, without the tags."""

    __slots__ = ("request",)

    def __init__(self, request: APIRequest) -> None:
        self.request = request


def _is_parseable(response: Any) -> bool:
    """Whether parsing now is work that the SDK does anyway, and keeps: a whole, successful, plain answer."""
    http = getattr(response, "http_response", None)
    return http is not None and http.is_closed and http.status_code < 300


def _parsed(response: Any) -> Any:
    try:
        return response.parse() if _is_parseable(response) else None
    except Exception:  # noqa: BLE001 -- the SDK will meet the same and tell the caller
        return None


async def _async_parsed(response: Any) -> Any:
    try:
        return await response.parse() if _is_parseable(response) else None
    except Exception:  # noqa: BLE001 -- the SDK will meet the same and tell the caller
        return None
