"""The middleware: one object for every client, blocking or not. It must never make a call fail that would have succeeded.

Each passage: take the tags off, see whether a switch stops it, send, look at what came back, record. Everything but the sending
and the switch is instrumentation: an exception in it is counted, logged once and forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from anthropic import Middleware

from console.core.flow import SERVE, GiveUp, Refuse
from console.sdk.answers import blocked, defined_answer, defined_async_answer, exhausted
from console.sdk.bodies import observe, unobserved
from console.sdk.call import Call, kind_of
from console.sdk.clients import Clients
from console.sdk.drivers import run, run_async
from console.sdk.endpoints import Endpoint, endpoint_of
from console.sdk.facts import batch_facts, facts_of, tagged, without_tags
from console.sdk.wires import AsyncWire, SyncWire, error_type_of, is_unread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic import APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext
    from anthropic._request import APIRequest

    from console.core.flow import Plan, Verdict
    from console.runtime.process import Runtime


class ConsoleMiddleware(Middleware):
    """What `console.middleware` is. `degraded`: feature -> its defined text."""

    def __init__(self, runtime: Runtime, degraded: Mapping[str, str]) -> None:
        self._runtime = runtime
        self._degraded = degraded
        self._clients = Clients()

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
        if not call.is_over:
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
        if not call.is_over:
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
        return Call(
            self._runtime,
            stripped,
            facts,
            self._clients.max_retries if client is None else client.max_retries,
            is_batch=is_batch,
            client=client,
            plan=None if is_batch or stripped is request else self._plan(facts.feature),  # a chain needs a copy of its own
            policy=self._runtime.policy(facts.feature),
        )

    def _before(self, call: Call, *, is_async: bool) -> Any:
        """What answers the call before anything is sent: None for one that is sent. A switch comes first: a call that one stops
        is left to the flow, which refuses it."""
        if call.policy.cache is None or self._is_killed(call):
            return None
        try:
            return self._fresh(call, is_async=is_async)
        except Exception as error:  # noqa: BLE001 -- the API is there to be asked
            self._runtime.swallow(error)
            return None

    def _is_killed(self, call: Call) -> bool:
        """Whether the flow will refuse the call. A switch on one model leaves a chain its others."""
        switch = call.stopped_by(None if call.plan is None else call.plan.targets[0])
        return switch is not None and (call.plan is None or switch.scope.kind != "model" or len(call.plan.targets) == 1)

    def _fresh(self, call: Call, *, is_async: bool) -> Any:
        return None

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
        if wire.error is not None:
            if call.plan is None:
                self._fail(call, wire.error)
            else:
                call.given_up()
            raise wire.error
        call.serve(verdict)
        return wire.response

    def _give_up(self, call: Call, wire: SyncWire | AsyncWire, verdict: GiveUp, *, is_async: bool) -> Any:
        """The end of a chain: the defined text, the last answer that says why, or ChainExhausted; none that the SDK repeats."""
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
                defined_answer(call.request, text, facts.model).parse()
            return (defined_async_answer if is_async else defined_answer)(call.request, text, facts.model)
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
            if call.client is None and (client := getattr(response, "_client", None)) is not None:
                call.learn_retries(self._clients.learn(call_next, client))
            call.answered(http)
            if message is not None:  # read and parsed: most calls
                call.served(message)
            elif wire.rest is not None or is_unread(http):
                call.observing(http.headers.get("content-type", ""))
                observe(response, call, is_async=is_async, held=wire.held, rest=wire.rest)
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
