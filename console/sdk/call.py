"""One passage of a call through the middleware: from the request to exactly one end that is recorded.

Without a chain the SDK runs the middleware once per HTTP attempt, so a passage is an attempt, and the recorder folds those of a
call. With a chain a passage is a whole call, and its end carries the attempts that failed before. On the path of the caller a
call only keeps references and two clock readings; `settled`, which looks into them, runs in the recorder's thread.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final

import anthropic
import httpx2

from console.core.calls import AttemptEnd, Facts, Outcome, ServedBy, Usage, error_of_status, is_retried_by_sdk
from console.core.flow import MAX_ATTEMPTS, Failed, Serve, chain_flow, onward, passing_flow
from console.core.moves import MALFORMED, NOT_SENT
from console.core.observation import MAX_CHUNKS, Observation
from console.core.switches import stopping
from console.core.targets import FeaturePolicy, limits_for
from console.errors import ConfigError
from console.sdk.answers import blocked, broken
from console.sdk.guard import Guard, connection_of, narrow_read_timeout
from console.sdk.requests import DEFAULT_TIMEOUT, RAW_RESPONSE, Original, readdress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from anthropic._request import APIRequest

    from console.core.breaker import Permit, Result
    from console.core.caching import Collector, Kept, Stored
    from console.core.flow import Effect, Plan, Reply, Send, Verdict
    from console.core.splice import Splicer
    from console.core.switches import Switch
    from console.core.targets import Target
    from console.runtime.allowances import Charge
    from console.runtime.process import Runtime
    from console.sdk.clients import Client
    from console.sdk.providers import Hop, Providers

HOLD_MARGIN_US: Final = 12_000_000
"""How long after a failed attempt the SDK's next one may be waited for, beyond `retry-after`: its own pause is at most 8 s."""
MAX_HOLD_US: Final = 3_600_000_000

TRUNCATED: Final = "truncated_stream"
"""What an answer is called that ended cleanly before it was whole."""
BARE: Final = FeaturePolicy()
KILLED: Final = "kill_switch"
"""What an attempt is called that an operator's switch has ended in the middle."""
NO_TARGET: Final = "no_target"
"""What a call is called that no target of its chain was asked for: all are left alone."""


class Call:
    """What is known of a call, until it is recorded. It is recorded once; what comes later changes nothing."""

    # Defaults of the class: an attempt that goes well never sets most of them.
    _duration_us: int | None = None
    _observation: Observation | None = None
    _status: int | None = None
    _headers: Any = None
    _url: Any = None
    _outcome: Outcome | None = None
    """None: to be told from the observed body."""
    _error: str | None = None
    _model: Any = None
    _stop_reason: Any = None
    _usage: Any = None
    _original: Original | None = None
    _target: Target | None = None
    _limit_s: float | None = None
    _position = 0
    _permit: Permit | None = None
    _is_slow = False
    _guard: Guard | None = None
    _final: AttemptEnd | None = None
    _earlier: tuple[AttemptEnd, ...] = ()
    _trial: Target | None = None
    """A fallback that this call tries before its chain: `runtime.exercise`."""
    _tried = 0
    """The requests among its earlier ones that were such a trial and no attempt of the chain."""
    _refusals: tuple[tuple[str, Any], ...] = ()
    """Target and headers of the answers among them."""
    _is_between = False
    """An attempt of a chain has failed and no other has begun."""
    is_changed = False
    """The body that was sent last differs from the application's."""
    hop: Hop | None = None
    """How the attempt reaches a target that is not the application's own client's."""
    splicer: Splicer | None = None
    """What makes one message of the answers of several attempts, from when the caller has a part of one."""
    passed: deque[bytes] | None = None
    """Of a spliced stream: what has come of the present attempt, also what the caller does not get."""
    _asked: Original | None = None
    """Of a call that goes on: the application's own request."""
    _continued = 0
    _is_billed = False
    """What the present source of the splicer is billed stands with the attempts that failed."""
    _broken_id: str | None = None
    """The request id of the attempt that broke last of those whose answer the caller has a part of."""
    charge: Charge | None = None
    """What it has taken of its rates, to be put right at its end."""
    key: bytes | None = None
    """Of the request, for the answers that are kept; None: it has none, or its feature keeps none."""
    collector: Collector | None = None
    """What takes the answer on its way to the caller, to keep it."""
    _stand_in: tuple[Kept, Stored, int] | None = None
    """The answer that was kept and that the caller gets, as what, and how old it is (microseconds)."""

    def __init__(
        self,
        runtime: Runtime,
        request: APIRequest,
        facts: Facts,
        max_retries: int,
        *,
        is_batch: bool,
        client: Client | None = None,
        plan: Plan | None = None,
        policy: FeaturePolicy = BARE,
        providers: Providers | None = None,
    ) -> None:
        self._started_ns = perf_counter_ns()
        self._started_us = time_ns() // 1000
        self._runtime = runtime
        self.request = request
        self.facts = facts
        self.is_batch = is_batch
        self.client = client
        self._max_retries = max_retries
        self.plan = plan
        self.policy = policy
        self._providers = providers
        if plan is not None:
            if providers is not None:
                providers.expect(facts.feature, plan, client)
            try:
                self._original = Original.of(request, DEFAULT_TIMEOUT if client is None else client.timeout)
                limits = limits_for(plan.limits, self._original.body)
                if limits is not plan.limits:
                    self.plan = plan._replace(limits=limits)
            except Exception as error:  # noqa: BLE001 -- then the call goes where the application sends it
                runtime.swallow(error)
                self.plan = None

    def flow(self) -> Generator[Effect, Reply, Verdict]:
        """What decides about this call."""
        if self.plan is None or self._original is None:
            return passing_flow()
        self._runtime.gate.begin()
        own, started_us, deadline_s = self.request.options.max_retries, self._started_ns // 1000, self._original.deadline_s
        if self._runtime.exercise.due:
            self._trial = self._runtime.exercise.claim(self.plan)
        return chain_flow(
            self.plan,
            self._runtime.gate,
            started_us=started_us,
            deadline_us=None if deadline_s is None else started_us + round(deadline_s * 1e6),
            is_streamed=self.facts.is_streamed,
            # Without another target to go to it is the application's own patience that counts.
            retries=min(
                MAX_ATTEMPTS - 1 if len(self.plan.targets) == 1 else 1, own if isinstance(own, int) else self._max_retries
            ),
            trial=self._trial,
        )

    def stopped_by(self, target: Target | None = None) -> Switch | None:
        """The switch that stops the next attempt, at `target`, or None. Never raises: an error here lets the call go on,
        counted."""
        try:
            switches = self._runtime.current().switches
        except Exception as error:  # noqa: BLE001 -- A12: what was in force stays in force
            self._runtime.swallow(error)
            switches = self._runtime.last().switches
        if not switches:
            return None
        facts = self.facts
        try:
            return stopping(
                switches,
                time_ns() // 1000,
                feature=facts.feature,
                customer=facts.customer,
                models=facts.models if target is None else (target.model, *facts.models[1:]),
            )
        except Exception as error:  # noqa: BLE001 -- A12: without a decision the call goes on
            self._runtime.swallow(error)
            return None

    def stopped_by_now(self) -> Switch | None:
        """The switch that stops the attempt under way, if there is one by now."""
        return self.stopped_by(self._target)

    # -- the attempts of a chain ---------------------------------------------------------------------------------------

    def begin_attempt(self, send: Send) -> Failed | None:
        """Makes the request the one for the target. A failure is one before anything was sent."""
        target = send.target
        assert target is not None and self._original is not None  # noqa: S101 -- a chain's
        if self._target is not None:
            self._started_ns, self._started_us = perf_counter_ns(), time_ns() // 1000
            self._status = self._headers = self._url = self._guard = None
        self._target, self._limit_s, self._is_between = target, send.limit_s, False
        try:
            self.hop = None if self._providers is None else self._providers.hop(target, self.client, send.limit_s)
            is_own = self.hop is None
            is_patched = readdress(self.request, self._original, target, send.limit_s, self.client, is_own=is_own)
            self.is_changed = is_patched or self._asked is not None
        except ConfigError as error:
            return self.unsent(error)
        return None

    def unsent(self, error: ConfigError) -> Failed:
        """The target's request could not be made: that says nothing about the target."""
        if self._target is not None:
            self._runtime.note_unusable(self._target.name, str(error))
        return self.attempt_failed(NOT_SENT)

    def is_unsigned(self, error: Exception) -> bool:
        """Whether the application's own client of another provider could not make the request: no credentials, no signature.
        What a middleware of the application's raises is its own affair."""
        client = self.client
        if self.hop is not None or client is None or not client.is_next or client.provider == "anthropic":
            return False
        return not isinstance(error, anthropic.APIError | httpx2.HTTPError)

    @property
    def _provider(self) -> str | None:
        """Whose client was asked, where the host may not tell."""
        if self.hop is not None and self._target is not None:
            return self._target.provider
        return None if self.client is None or self.client.provider == "anthropic" else self.client.provider

    def attempt_failed(self, kind: str, *, is_in_band: bool = False, usage: Usage | None = None) -> Failed:
        """Notes an attempt of a chain that has failed; what the flow is told. `usage`: what it is billed, of one whose answer
        the caller has had a part of."""
        self.unguard()
        now_ns, target = perf_counter_ns(), self._target
        end = AttemptEnd(
            facts=self.facts,
            started_us=self._started_us,
            duration_us=(now_ns - self._started_ns) // 1000,
            outcome="failed",
            served_by="none",
            target=self.facts.model if target is None else target.name,
            status=self._status,
            error=kind,
            request_id=self._request_id(),
            host=None if self._url is None else self._url.host,
            provider=self._provider,
            model_sent=None if target is None else target.model,
            is_sent=kind != NOT_SENT,
            usage=usage,
        )
        self._earlier += (end,)
        if self._headers is not None:
            self._refusals += ((end.target, self._headers),)
        # What may still come of the call (a pause, a switch, the defined text) counts from here, and is no attempt.
        self._started_ns, self._started_us, self._is_between = now_ns, time_ns() // 1000, True
        return Failed(kind, now_ns // 1000, is_in_band)

    def guard(self, http: httpx2.Response) -> None:
        """From now on the body is being read, and may take what is left of the attempt's limit; a stream that says nothing at
        all for as long as it may be silent is given up sooner."""
        aborts = self.policy.on_kill == "abort"
        if self._limit_s is None and not aborts:
            return
        silence_s = self.plan.limits.silence if self.plan is not None and self.facts.is_streamed else None
        try:
            if silence_s is not None:
                narrow_read_timeout(http, silence_s)
            connection = connection_of(http)
            if connection is not None:
                self._guard = Guard(connection)
                if self._limit_s is not None:
                    self._guard.until(self._started_ns // 1000 + round(self._limit_s * 1e6))
                if aborts:
                    self._guard.stopped_by = self.stopped_by_now
                self._runtime.guarded[id(self._guard)] = self._guard
        except Exception as error:  # noqa: BLE001 -- then it may take as long as the HTTP library lets it
            self._runtime.swallow(error)

    def unguard(self) -> None:
        """It is not being read any more."""
        if self._guard is not None:
            self._guard.disarm()
            self._runtime.guarded.pop(id(self._guard), None)

    @property
    def patience(self) -> Guard:
        """Whom the reader of the body tells that he is waiting."""
        return self._guard or _NOBODY

    def kind_of(self, error: BaseException) -> str:
        """What a failure to read is called: that of the guard comes as a broken connection."""
        if self.is_killed:
            return KILLED
        return "timeout" if self._guard is not None and self._guard.why is not None else kind_of(error)

    def ended_as(self, why: str | None) -> str | None:
        """What it is called that a body has ended (None: as it should). A body without a length of its own seems to end by
        itself when the guard shuts its connection down."""
        if why is None or self._guard is None or self._guard.why is None:
            return why
        return KILLED if self.is_killed else "timeout"

    def committed(self, held: Sequence[bytes], *, is_spliced: bool) -> int:
        """The first content of a stream has come, and the caller will get it. The time, on the steady clock. `is_spliced`: what
        he gets is kept when he gets it."""
        now_ns = perf_counter_ns()
        try:
            beginning = (b"".join(held),) if is_spliced else held
            if self.splicer is None:
                self._observe_beginning(beginning, now_ns, keeps=not is_spliced)
            self.passed = deque(beginning, maxlen=MAX_CHUNKS) if is_spliced else None
            self._listen(now_ns)
        except Exception as error:  # noqa: BLE001 -- the stream is good, and the caller's
            self.unguard()
            self._runtime.swallow(error)
        return now_ns // 1000

    def _observe_beginning(self, held: Sequence[bytes], now_ns: int, *, keeps: bool) -> None:
        observation = self._observation = Observation(is_sse=True)
        for chunk in held:
            if keeps:
                observation.chunks.append(chunk)
                if self.collector is not None:
                    self.collector.take(chunk)
            observation.begin(chunk, now_ns)
        if observation.first_content_at is None:
            observation.first_content_at = now_ns

    def _listen(self, now_ns: int) -> None:
        """From now on the stream may not fall silent."""
        silence_s = None if self.plan is None else self.plan.limits.silence
        if self._guard is not None and self._observation is not None:
            if self.plan is not None and silence_s is not None:
                chunks = self._observation.chunks if self.passed is None else self.passed
                self._guard.listen(chunks, silence_s, now_ns // 1000, self.plan.limits.thinking_s)
            elif self.policy.on_kill == "abort":
                self._guard.until(None)
            else:
                self.unguard()

    # -- a stream that breaks after its first content --------------------------------------------------------------------

    def broke_off(self, why: str, *, is_ours: bool) -> None:
        """The answer that the caller is reading has broken (`is_ours`: by a defect of ours, which says nothing of its target).
        Never raises: what to do about it is decided next."""
        if self.is_killed:  # that is no failure of anybody's: the call ends as one that was stopped
            return
        self._broken_id = self._request_id()
        try:
            if is_ours:
                self._settle_neutral()
            else:
                self.settle_failure(why)
            if self.plan is not None and self.splicer is not None:
                began_ns = self._started_ns
                self.attempt_failed(why, usage=self.splicer.usage())
                self._is_billed = True
                if not self._continued:
                    self._note_beginning(self.splicer, began_ns)
        except Exception as error:  # noqa: BLE001 -- the caller is in the middle of reading
            self._runtime.swallow(error)

    def _settle_neutral(self, permit: Permit | None = None) -> None:
        """Gives a permit back that says nothing: `permit`, or the one in hand."""
        if permit is None:
            permit, self._permit = self._permit, None
        if permit is not None and self._target is not None:
            self._runtime.gate.settle(self._target.name, permit, "neutral")

    def _note_beginning(self, splicer: Splicer, began_ns: int) -> None:
        """The attempt that broke has begun an answer: its model and its first content are known."""
        model, seen = splicer.partial().get("model"), self._observation
        first_ns = None if seen is None else seen.first_content_at
        end = self._earlier[-1]._replace(
            model_served=model if isinstance(model, str) and model else None,
            first_token_us=None if first_ns is None else (first_ns - began_ns) // 1000,
        )
        self._earlier = (*self._earlier[:-1], end)

    def swallow(self, error: Exception) -> None:
        """Counts a defect of ours that must not reach the caller."""
        self._runtime.swallow(error)

    def may_go_on(self) -> bool:
        """Whether a stream that broke can be continued by another attempt, and may be."""
        asked = self._asked or self._original
        if self.plan is None or self.splicer is None or asked is None or self.policy.on_break == "error" or self.is_killed:
            return False
        return isinstance(asked.body, dict) and self.splicer.can_continue(asked.body)

    def going_on(self) -> Generator[Effect, Reply, Verdict]:
        """What decides where a stream goes on that broke. The request shows what has come of the answer and asks for more."""
        asked = self._asked or self._original
        assert self.plan is not None and self.splicer is not None and asked is not None  # noqa: S101 -- `may_go_on`
        self._asked, self._original = asked, asked._replace(body=self.splicer.continuation(asked.body))
        now_us = perf_counter_ns() // 1000
        return chain_flow(
            onward(self.plan, self._place()),
            self._runtime.gate,
            started_us=now_us,
            # What a caller allows is the pause between two bytes of a stream.
            deadline_us=None if asked.deadline_s is None else now_us + round(asked.deadline_s * 1e6),
            is_streamed=True,
            retries=0,
            made=sum(end.is_sent for end in self._earlier) - self._tried,
        )

    def goes_on(self, verdict: Serve) -> None:
        """Another attempt has begun to answer."""
        self._continued += 1
        self._is_billed = False
        self.serve(verdict._replace(position=max(self._position, self._place())))

    def goes_nowhere(self, verdict: Verdict) -> None:
        """What another attempt has answered is no continuation, or nobody listens any more."""
        if isinstance(verdict, Serve) and verdict.permit is not None:
            self._settle_neutral(verdict.permit)
        if not self._is_between and not self.is_over:
            self.attempt_failed(MALFORMED)

    def broken(self, why: str) -> Exception:
        """It cannot be continued: the error for the caller. The call has ended."""
        splicer, feature, request = self.splicer, self.facts.feature, self.request
        request_id = self._broken_id
        switch = self.killed_by
        if switch is not None:
            self.cancelled(KILLED)
            return blocked(request, switch)
        if self.plan is not None:
            self.given_up()
        else:
            self._error = why
            self._end(None)
        if self.policy.on_break == "error":
            because = "the configuration says `on_break: error`"
        elif self._asked is None:
            because = "what has come cannot be continued by another model"
        else:
            because = f"no target could go on with it ({self.failures})"
        return broken(request, {} if splicer is None else splicer.partial(), feature, why, because, request_id)

    def _place(self) -> int:
        """Where in the chain the target stands that was asked last."""
        targets = () if self.plan is None else self.plan.targets
        return targets.index(self._target) if self._target in targets else 0

    def _request_id(self) -> str | None:
        headers = self._headers
        return None if headers is None else headers.get("request-id") or headers.get("x-amzn-requestid")

    @property
    def killed_by(self) -> Switch | None:
        """The switch that has ended it in the middle."""
        return None if self._guard is None else self._guard.switch

    @property
    def is_killed(self) -> bool:
        """Whether a switch has ended it in the middle."""
        return self.killed_by is not None

    def go_by_itself(self) -> None:
        """The chain is given up for a defect of ours: the call is the application's own again."""
        original, self._duration_us = self._original, None
        if original is not None:
            vars(self.request.options).update(
                json_data=original.body,
                url=original.url,
                headers=original.headers,
                params=original.params,
                timeout=original.given_timeout,
            )
        self.plan = self._original = self._target = self._permit = self.hop = None

    @property
    def is_over(self) -> bool:
        """Whether it has been recorded."""
        return self._duration_us is not None

    def serve(self, verdict: Serve) -> None:
        """The caller gets the answer in hand."""
        self._position, self._permit, self._is_slow = verdict.position, verdict.permit, verdict.is_slow
        if self._guard is not None:  # until he begins to read, nobody waits
            self._guard.is_waiting = False
        if self._trial is not None and not self._continued:
            self._tried = sum(end.is_sent for end in self._earlier[:1] if end.target == self._trial.name)

    def given_up(self) -> None:
        """A chain has ended in a failure: the call's end is that of its last attempt."""
        if not self._earlier:
            first = self.plan.targets[0] if self.plan is not None else None
            self._target, self._error = first, NO_TARGET
            self._end("failed")
            return
        *earlier, last = self._earlier
        self._final = last._replace(earlier=tuple(earlier))
        self._end("failed")

    @property
    def target(self) -> Target | None:
        """Of the attempt that was made last."""
        return self._target

    @property
    def is_left_unread(self) -> bool:
        """Whether the caller reads the body: a stream, or `with_streaming_response`."""
        original = self._original
        return self.request.stream or (original is not None and original.headers.get(RAW_RESPONSE) == "stream")

    @property
    def failures(self) -> str:
        """What went wrong, attempt by attempt, for people."""
        return "; ".join(f"{end.target}: {end.status or ''} {end.error}".replace(":  ", ": ") for end in self._earlier)

    # -- how it ends ---------------------------------------------------------------------------------------------------

    def refused(self, *, is_degraded: bool, error: str | None = "kill_switch") -> None:
        """It is stopped, and the caller gets the defined text or an error. `error` None: the last attempt's."""
        self._error = error or (self._earlier[-1].error if self._earlier else NO_TARGET)
        self._end("degraded" if is_degraded else "blocked")

    def stood_in(self, kept: Kept, stored: Stored, age_us: int) -> None:
        """The caller gets an answer that was kept, at once or after attempts that failed: it is no attempt itself."""
        self._stand_in, self._observation = (kept, stored, age_us), None
        self._end("ok")

    def is_repeated(self, status: int | None, error: str) -> bool:
        """Whether the SDK asks again after an attempt of a call without a chain that has failed like this."""
        options = self.request.options
        self._own_retries, self._retries_taken = options.max_retries, self.request.retries_taken
        return self._will_retry(status, error)

    def learn_retries(self, max_retries: int) -> None:
        """How often its client retries, known from the client's first answer on."""
        self._max_retries = max_retries

    def answered(self, http: Any) -> None:
        """HTTP headers are here. The response itself is not kept: it holds the request and its body."""
        self._status = http.status_code
        self._headers = http.headers
        self._url = http.request.url

    def served(self, message: Any) -> None:
        """A plain answer was read and parsed: `message` is the SDK's own object, or anything that the caller asked for."""
        self._model = getattr(message, "model", None)
        self._stop_reason = getattr(message, "stop_reason", None)
        self._usage = getattr(message, "usage", None)
        self._end("ok")

    def failed(self, error: str | None = None) -> None:
        """The attempt failed with an HTTP status, or without one (`error` says how)."""
        self._error = error
        self._end("failed")

    def cancelled(self, why: str = "cancelled") -> None:
        """The caller has gone away, or (`why`) has been stopped."""
        self._error = why
        self._end("cancelled")

    def observing(self, content_type: str) -> None:
        """The body will be read by the caller. A good answer that is neither JSON nor SSE (a cloud's own frames) passes
        unobserved: then all that is known is whether it was read to its end. An error is one whatever its body is."""
        if self._observation is not None:  # its beginning was looked at already
            return
        is_sse = "text/event-stream" in content_type
        if is_sse or "json" in content_type or (self._status is not None and self._status >= 400):
            try:
                self._observation = Observation(is_sse=is_sse)
            except Exception as error:  # noqa: BLE001 -- the body passes all the same
                self._runtime.swallow(error)

    def keeper(self) -> Callable[[bytes], None]:
        """What takes every chunk that the caller gets of a spliced stream. Does not raise."""
        append = self._taker()
        if self._observation is None or self._observation.first_content_at is not None:
            return append

        def keep(chunk: bytes) -> None:
            append(chunk)
            self._begin(chunk)

        return keep

    def noter(self) -> Callable[[bytes], None]:
        """What takes every chunk of a spliced stream as it comes. Does not raise."""
        return _ignore if self.passed is None else self.passed.append

    def watchers(self) -> tuple[Callable[[bytes], None], Callable[[bytes], bool] | None]:
        """What takes every chunk on its way to the caller, and what takes it too until it answers False. Neither raises."""
        return self._taker(), None if self._observation is None else self._begin

    def _taker(self) -> Callable[[bytes], None]:
        """What keeps every chunk for as long as it may be of use."""
        collector = self.collector
        if self._observation is None:
            return _ignore if collector is None else collector.take
        append = self._observation.chunks.append
        if collector is None:
            return append

        def keep(chunk: bytes) -> None:
            append(chunk)
            collector.take(chunk)

        return keep

    def dropped(self) -> None:
        """The body was let go by whoever read it. The garbage collector says so, in the middle of anything: nothing is kept."""
        if self._duration_us is None:
            self.collector = None
            self.closed()

    def read_at_once(self, content: bytes) -> None:
        """A whole body that was read already."""
        if self._observation is not None:
            self._observation.feed(content, perf_counter_ns)
        self.read_out()

    def _begin(self, chunk: bytes) -> bool:
        observation = self._observation
        try:
            return observation is not None and observation.begin(chunk, perf_counter_ns())
        except Exception as error:  # noqa: BLE001 -- the bytes must reach the caller whatever they are
            self._observation = None
            self._runtime.swallow(error)
            return False

    def read_out(self) -> None:
        """The body has ended by itself."""
        self._error = TRUNCATED
        if self._permit is not None and self._observation is not None and not self._observation.seems_whole:
            self.settle_failure(TRUNCATED)
        self._end(None if self._observation is not None else "ok")

    def closed(self) -> None:
        """The body was closed or dropped; before its end unless it has been recorded already."""
        if self._duration_us is None:
            self._end(None if self._observation is not None else "cancelled")

    def broke(self, error: Exception) -> Exception | None:
        """Reading the body failed. The error to raise instead, when it was a limit of ours that ended it."""
        guard, switch = self._guard, self.killed_by
        if self._duration_us is None and switch is not None:
            stopped = blocked(self.request, switch)
            self.cancelled(KILLED)
            return stopped
        if self._duration_us is None:
            self._error = self.kind_of(error)
            self.settle_failure(self._error)
            self._end(None if self._observation is not None else "failed")
        return guard.too_late() if guard is not None and guard.why is not None else None

    def _end(self, outcome: Outcome | None) -> None:
        """Hands the attempt over, once. What it keeps from here on is small: the request and its body are let go."""
        if self._duration_us is not None:
            return
        self._duration_us = (perf_counter_ns() - self._started_ns) // 1000
        self._outcome = outcome
        if self._guard is not None:
            self.unguard()
        try:
            options = self.request.options
            self._key, self._own_retries, self._retries_taken = (
                options.idempotency_key,
                options.max_retries,
                self.request.retries_taken,
            )
            del self.request
            if self._observation is not None:
                self._observation.close()
            if self.collector is not None:
                self._hand_over(self.collector)
            if not self.is_batch:
                self._runtime.record(self)
        except Exception as error:  # noqa: BLE001 -- the caller may be in the middle of reading, closing or being cancelled
            self._runtime.swallow(error)

    def _hand_over(self, collector: Collector) -> None:
        try:
            self._runtime.cache.wait(collector)
        except Exception as error:  # noqa: BLE001 -- the call is recorded all the same
            self._runtime.swallow(error)

    def settled(self) -> AttemptEnd:
        """What has happened, as values. Called once, by the recorder."""
        end = self._settled() if self._final is None else self._final
        if self._permit is not None and self._target is not None:  # a stream's that went well, or was closed early
            is_good = end.outcome in ("ok", "cancelled")
            result: Result = ("slow" if self._is_slow else "success") if is_good else "failure"
            self._runtime.gate.settle(self._target.name, self._permit, result, reason=f"stream broke: {end.error}")
        if self._trial is not None:
            self._note_trial(self._trial, end)
        for name, headers in self._refusals:
            self._runtime.headroom.note(name, headers)
        if self._headers is not None and not self._is_between:
            self._runtime.headroom.note(end.target, self._headers)
        if self.charge is not None and self._runtime.allowances is not None:
            self._runtime.allowances.settle(self.charge, end)
        self._keep(end)
        return end

    def _note_trial(self, trial: Target, end: AttemptEnd) -> None:
        """What came of a trial, if it was made and ended by itself: neither the caller nor a switch says anything about it."""
        first = next((one for one in (*self._earlier, end) if one.target == trial.name), None)
        if first is not None and first.outcome in ("ok", "failed") and first.error not in (KILLED, NO_TARGET):
            self._runtime.exercise.note(trial.name, first.error)

    def _keep(self, end: AttemptEnd) -> None:
        """Keeps the answer, if there is one that may be given again."""
        collector, self.collector = self.collector, None
        if collector is None or self.policy.cache is None:
            return
        try:
            self._runtime.cache.keep(collector, end, self.policy.cache, self._runtime.last().switches)
        except Exception as error:  # noqa: BLE001 -- the call is recorded all the same
            self._runtime.swallow(error)

    def settle_failure(self, why: str) -> None:
        """A stream that was given to the caller has broken. At once, and not with the records, which may have to wait for a
        disk: the breaker is what keeps the next call from it."""
        permit, self._permit = self._permit, None
        if permit is None or self._target is None:
            return
        try:
            self._runtime.gate.settle(self._target.name, permit, "failure", reason=f"stream broke: {why}")
        except Exception as error:  # noqa: BLE001 -- the caller is in the middle of reading
            self._runtime.swallow(error)

    def _settled(self) -> AttemptEnd:
        status = self._status
        outcome, error, seen = self._outcome, self._error, self._observation
        model, stop_reason, usage, first_ns = self._model, self._stop_reason, _usage(self._usage), None
        if seen is not None:
            seen.finish()
            model, stop_reason, usage, first_ns = seen.model, seen.stop_reason, seen.usage, seen.first_content_at
            if self.splicer is not None:  # what the caller has seen is the sum of all attempts
                usage = None if self._is_billed else self.splicer.usage()
            if (self._continued or self._is_billed) and self._target is not None:  # ... and the first one's model
                model = self._target.model
        if outcome is None and seen is not None:
            outcome, error = _outcome_of(seen, status, error)
        if outcome == "failed" and error is None:
            error = error_of_status(status) if status is not None else "connection"
        will_retry = self.plan is None and outcome == "failed" and self._will_retry(status, error)
        target = self._target
        end = AttemptEnd(
            facts=self.facts,
            started_us=self._started_us,
            duration_us=self._duration_us or 0,
            outcome=outcome or "failed",
            served_by="fallback" if outcome == "ok" and self._position else _SERVED_BY.get(outcome or "failed", "none"),
            target=self.facts.model if target is None else target.name,
            key=self._key,
            retries_taken=self._retries_taken,
            will_retry=will_retry,
            hold_us=self._hold_us() if will_retry else 0,
            first_token_us=None if first_ns is None else (first_ns - self._started_ns) // 1000,
            model_served=model if isinstance(model, str) else None,
            status=status,
            error=None if outcome == "ok" else error,
            request_id=self._request_id(),
            stop_reason=stop_reason if isinstance(stop_reason, str) else None,
            usage=usage,
            host=None if self._url is None else self._url.host,
            provider=self._provider,
            model_sent=None if target is None else target.model,
            is_sent=not self._is_between and outcome not in ("blocked", "degraded") and error != NO_TARGET,
            earlier=self._earlier,
            continued=self._continued,
        )
        return end if self._stand_in is None else _kept_end(end, *self._stand_in)

    def _will_retry(self, status: int | None, error: str | None) -> bool:
        if status is None and error not in ("timeout", "connection", "reset", "pool"):
            return False
        own = self._own_retries
        if self._retries_taken >= (own if isinstance(own, int) else self._max_retries):
            return False
        if status is not None and status < 400:  # a stream that broke after its 200: the SDK does not try again
            return False
        return is_retried_by_sdk(status, None if self._headers is None else self._headers.get("x-should-retry"))

    def _hold_us(self) -> int:
        try:
            asked_us = int(float(self._headers.get("retry-after", 0)) * 1_000_000)
        except (AttributeError, ValueError, OverflowError):
            asked_us = 0
        return min(max(asked_us, 0) + HOLD_MARGIN_US, MAX_HOLD_US)


_NOBODY: Final = Guard(None)
_SERVED_BY: Final[dict[Outcome, ServedBy]] = {"ok": "primary", "degraded": "degraded"}


def _outcome_of(seen: Observation, status: int | None, error: str | None) -> tuple[Outcome, str | None]:
    """How an attempt whose body was observed has ended. `error`: how reading ended, None when the caller closed it."""
    if status is not None and status >= 400:
        return "failed", seen.error or error_of_status(status)
    if seen.is_whole or (seen.is_blind and error == TRUNCATED):
        return "ok", None
    if seen.error is not None or error is not None:
        return "failed", seen.error or error
    return "cancelled", "cancelled"


def _kept_end(end: AttemptEnd, kept: Kept, stored: Stored, age_us: int) -> AttemptEnd:
    """The end of a call that was answered by what was kept: nothing was sent for it, and nothing is billed."""
    return end._replace(
        served_by=stored,
        age_us=age_us,
        target=kept.target,
        model_served=kept.models[0],
        model_sent=None,
        stop_reason=kept.stop_reason,
        status=None,
        request_id=None,
        host=None,
        provider=None,
        usage=None,
        first_token_us=None,
        is_sent=False,
    )


def _usage(usage: Any) -> Usage | None:
    """The tokens of the SDK's usage object."""
    if usage is None:
        return None
    written = getattr(usage, "cache_creation_input_tokens", None) or 0
    parts = getattr(usage, "cache_creation", None)
    an_hour = (getattr(parts, "ephemeral_1h_input_tokens", None) or 0) if parts is not None else 0
    return Usage(
        getattr(usage, "input_tokens", None) or 0,
        getattr(usage, "output_tokens", None) or 0,
        getattr(usage, "cache_read_input_tokens", None) or 0,
        max(0, written - an_hour),
        an_hour,
    )


def _ignore(chunk: bytes) -> None:
    pass


def kind_of(error: BaseException) -> str:
    """What a failure without an HTTP answer is called in the records: timeout; connection (it could not be made); reset (it was
    there and broke); pool (all of the application's own are taken); else the name of the exception."""
    names = [type(found).__name__ for found in (error, error.__cause__) if found is not None]
    if any(name == "PoolTimeout" for name in names):
        return "pool"
    if isinstance(error, anthropic.APITimeoutError) or any("Timeout" in name for name in names):
        return "timeout"
    if any(name in _RESETS for name in names):
        return "reset"
    if isinstance(error, anthropic.APIConnectionError | httpx2.RequestError | OSError):
        return "connection"
    return type(error).__name__


_RESETS: Final = frozenset({"ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ConnectionResetError"})
"""How the HTTP library names what breaks on a connection that was there."""
