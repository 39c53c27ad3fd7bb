"""The failover flow: one generator that decides, resumed with what happened. No clock, no I/O, no `await`.

Theory of operation: the flow yields an *effect* and is resumed with the *reply* of whoever drives it. The two drivers
(`console.sdk.drivers`) perform effects on a *wire*, blocking or awaiting; they decide nothing. Failures and time come back as
values. The flow ends with a *verdict*. A kill switch is read by the wire before every attempt, so a reply can be `Stopped`.

    effect      reply
    Send        Answered | Failed | Stopped
    Pull        Committed | Failed          a stream's bytes are held until its first content, or an error in band
    Wait        Woken | Stopped             a pause that a kill switch interrupts

A call whose targets the application decides alone (no chain, no route) goes through `passing_flow`: one attempt, served as it
is, because the SDK owns the retries. As soon as there is a chain it owns them: `chain_flow`.

What the flow holds is given back whichever way it ends: a permit that is open when the generator is closed (the caller was
cancelled, the wire raised) is settled as neutral. A served stream's permit goes to whoever reads the stream to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from console.core.models import base_model
from console.core.moves import NOT_SENT, Move, move_in_band, move_of_failure, move_of_status

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from console.core.breaker import Permit, Result
    from console.core.routes import Force
    from console.core.switches import Switch
    from console.core.targets import LimitsPolicy, Target

US: Final = 1_000_000
MAX_ATTEMPTS: Final = 3
SHORT_S: Final = 2.0
"""A `retry-after` up to here is waited for while another target could be asked; a longer one becomes the target's cooldown."""
PATIENCE_S: Final = 20.0
"""The same when there is no other target."""
RETRY_S: Final = (0.05, 0.25)
"""The pause before the same target is asked again: at least, and a random part. The SDK's own is 0.5 s."""
BACKOFF_S: Final = (0.5, 0.5)
"""The same after an answer that says "too busy", when there is no other target."""
JITTER_S: Final = 0.1
"""Added to a `retry-after`, so that those who were sent away together do not come back together."""
LEAST_S: Final = 0.05
"""With less time than this left no attempt is begun."""
TRIAL_S: Final = 5.0
"""So much of a caller's time may the trial of a fallback (I14) cost at the most."""


class Plan(NamedTuple):
    """Where a call may go, and for how long."""

    targets: tuple[Target, ...]
    limits: LimitsPolicy
    forced: Mapping[str, Force]
    is_routed: bool = False
    """An operator's route has decided the targets."""


class Send(NamedTuple):
    """Send the request to a target (None: as the application has made it). `limit_s`: for the whole answer, of a stream for its
    first content; None: none of ours."""

    target: Target | None
    limit_s: float | None = None


class Pull(NamedTuple):
    """Read the stream in hand until it is committed, until `by_us` at most."""

    by_us: int | None


class Wait(NamedTuple):
    """Pause for `seconds`."""

    seconds: float


Effect = Send | Pull | Wait


class Answered(NamedTuple):
    """An HTTP answer is in hand: read to its end if it is an error or plain, else unread. `at_us`: the steady clock."""

    status: int
    at_us: int = 0
    is_unread_stream: bool = False
    """A good answer that is a stream of events, and can be pulled."""
    is_unread: bool = False
    """The caller is going to read it: how it ends is not known yet."""
    is_changed: bool = False
    """The request differed from the application's."""
    is_long: bool = False
    """The request was so large that its prompt may be too long for the model."""
    error: str | None = None
    """As `moves.error_in` says it."""
    retry_after_s: float | None = None


class Failed(NamedTuple):
    """There was no HTTP answer, or the stream in hand broke before its first content. `kind` as in `AttemptEnd.error`."""

    kind: str
    at_us: int = 0
    is_in_band: bool = False
    """The API itself said so in a stream that had begun with a 200."""


class Committed(NamedTuple):
    """The stream's first content has come."""

    at_us: int = 0


class Stopped(NamedTuple):
    """A kill switch stops the call; one on a model only the target."""

    switch: Switch
    is_sent: bool = False
    """The attempt was under way."""


class Woken(NamedTuple):
    """The pause is over."""

    at_us: int = 0


Reply = Answered | Failed | Committed | Stopped | Woken | None
"""None only starts the flow."""


class Serve(NamedTuple):
    """The caller gets what is in hand, good or bad: the answer or the exception of the last attempt."""

    position: int = 0
    """Of the target in the chain."""
    permit: Permit | None = None
    """Of a stream that the caller is going to read: to be settled again at its end."""
    is_slow: bool = False
    """Its first content took more than half of the limit."""


SERVE: Final = Serve()


class Refuse(NamedTuple):
    """The caller gets the feature's defined text, or `CallBlocked`."""

    switch: Switch


class GiveUp(NamedTuple):
    """No target has answered well. The caller gets the feature's defined text, else the last HTTP answer that says why (the one
    of request `answer`, counted from 0), else `ChainExhausted`."""

    answer: int | None
    position: int = 0


Verdict = Serve | Refuse | GiveUp


class Gate(Protocol):
    """The breakers and the retry budget of this process: `console.runtime.gate.Gate`. Never blocks on I/O."""

    def admit(self, target: str, forced: Mapping[str, Force]) -> Permit | None: ...

    def last_resort(self, targets: tuple[Target, ...], forced: Mapping[str, Force]) -> tuple[Target, Permit] | None: ...

    def settle(self, target: str, permit: Permit, result: Result, *, reason: str = "", cooldown_us: int = 0) -> None: ...

    def take(self) -> bool: ...

    def give_back(self) -> None: ...

    def draw(self) -> float: ...


def passing_flow() -> Generator[Effect, Reply, Verdict]:
    """A call that goes where the application sends it: whatever comes back is served."""
    reply = yield Send(None)
    if isinstance(reply, Stopped):
        return Refuse(reply.switch)
    return SERVE


def chain_flow(
    plan: Plan,
    gate: Gate,
    *,
    started_us: int,
    deadline_us: int | None,
    is_streamed: bool,
    retries: int,
    made: int = 0,
    trial: Target | None = None,
) -> Generator[Effect, Reply, Verdict]:
    """One call over a chain.

    `started_us`, `deadline_us`: steady clock, the deadline is the caller's and stands over everything. `retries`: how often the
    same target may be asked again in all (0 for a caller that wants none). `made`: the attempts that the call has had already,
    when it is a stream that broke and goes on. `trial`: one of the targets that is tried first (I14): its good answer is the
    call's, and whatever else comes of it, the chain is gone through as if it had not been asked.
    """
    course = _Course(plan, gate, started_us, deadline_us, is_streamed, retries, made)
    try:
        if trial is not None:
            verdict = yield from course.tried(trial)
            if verdict is not None:
                return verdict
        for position, target in enumerate(plan.targets):
            if course.has_refused(target):
                continue
            permit = gate.admit(target.name, plan.forced)
            if permit is None:
                course.is_failing = True
            else:
                verdict = yield from course.attempt(position, target, permit)
                if verdict is not None:
                    return verdict
        if (
            course.attempts == 0
            and not course.refused_accounts
            and course.stopped is None
            and (last := gate.last_resort(plan.targets, plan.forced)) is not None
        ):
            verdict = yield from course.attempt(plan.targets.index(last[0]), *last)
            if verdict is not None:
                return verdict
        return course.given_up()
    finally:
        course.settle("neutral")


class _Course:
    """One call's way along its chain: what it has used up, what it holds."""

    # Defaults of the class: a call whose first attempt goes well never sets them.
    _permit: Permit | None = None
    _target = ""
    _allowed_us: int | None = None
    """What the attempt under way may take."""
    attempts = 0
    trials = 0
    """Requests before the first attempt: they count as answers in hand, and as nothing else."""
    answer: int | None = None
    answer_position = 0
    misfit: tuple[int, int] | None = None
    is_failing = False
    """A target is out, or has failed without an HTTP answer: a misfit is not what went wrong."""
    refused_accounts: frozenset[tuple[str | None, ...]] = frozenset()
    refused_models: frozenset[str] = frozenset()
    """For which the prompt is too long."""
    stopped: Switch | None = None

    def __init__(
        self, plan: Plan, gate: Gate, started_us: int, deadline_us: int | None, is_streamed: bool, retries: int, made: int
    ) -> None:
        self._plan, self._gate = plan, gate
        if made:
            self.attempts = made
        self._attempt_us = self._now_us = started_us
        self._deadline_us, self._retries = deadline_us, retries
        limit_s = plan.limits.first_token if is_streamed else plan.limits.answer
        self._limit_us = None if limit_s is None else round(limit_s * US)

    def attempt(self, position: int, target: Target, permit: Permit | None) -> Generator[Effect, Reply, Verdict | None]:
        """Asks one target, perhaps twice. A verdict ends the call; None goes on to the next target."""
        self._target, self._permit = target.name, permit
        while self._permit is not None:
            if self.attempts and not self._may_begin():
                return self.given_up()
            self._attempt_us = self._now_us
            reply = yield Send(target, self._left_s(position))
            if type(reply) is Answered and reply.is_unread_stream:
                reply = yield Pull(self._by_us())
            if type(reply) is Stopped:
                if reply.is_sent:
                    self.attempts += 1
                else:
                    self._take_back()
                return self._stop(reply.switch)
            assert isinstance(reply, Answered | Committed | Failed)  # noqa: S101 -- the table in the module's docstring
            self._now_us = reply.at_us
            if isinstance(reply, Failed) and reply.kind == NOT_SENT:
                self._take_back()
            else:
                self.attempts += 1
            if not isinstance(reply, Failed) and (isinstance(reply, Committed) or reply.status < 400):
                return self._serve(position, is_unread=isinstance(reply, Committed) or reply.is_unread)
            verdict, pause_s = self._judged(reply, position, target)
            if verdict is not None or pause_s is None:
                return verdict
            self._retries -= 1
            woken = yield Wait(pause_s)
            if type(woken) is Stopped:
                return self._stop(woken.switch)
            assert type(woken) is Woken  # noqa: S101
            self._now_us = woken.at_us
            self._permit = self._gate.admit(target.name, self._plan.forced)
        return None

    def tried(self, target: Target) -> Generator[Effect, Reply, Verdict | None]:
        """Asks a target once, in front of the chain. A verdict: its good answer, or a switch that stops the call. None: what is
        wrong with the target is known to its breaker now, and nothing of it to this call."""
        limit_s = self._left_s(-1, TRIAL_S)
        permit = self._gate.admit(target.name, self._plan.forced) if limit_s is None or limit_s >= LEAST_S else None
        if permit is None:
            return None
        self._target, self._permit = target.name, permit
        reply = yield Send(target, limit_s)
        if type(reply) is Answered and reply.is_unread_stream:
            reply = yield Pull(self._by_us())
        if type(reply) is Stopped:
            self.trials = int(reply.is_sent)
            self.settle("neutral")
            return None if reply.switch.scope.kind == "model" else Refuse(reply.switch)
        assert isinstance(reply, Answered | Committed | Failed)  # noqa: S101 -- the table in the module's docstring
        self._now_us = reply.at_us
        if not isinstance(reply, Failed) and (isinstance(reply, Committed) or reply.status < 400):
            position = self._plan.targets.index(target)
            return self._serve(position, is_unread=isinstance(reply, Committed) or reply.is_unread)
        self.trials = int(not isinstance(reply, Failed) or reply.kind != NOT_SENT)
        self._settle_failed(reply, _move_of(reply, target), waits=False)
        return None

    def _may_begin(self) -> bool:
        """Whether there is time and leave for another attempt."""
        limit_s = self._left_s(len(self._plan.targets))
        return self.attempts < MAX_ATTEMPTS and (limit_s is None or limit_s >= LEAST_S) and self._gate.take()

    def _take_back(self) -> None:
        """An attempt that was paid for has not been made: a killed target, or one without a key, must not use the budget up."""
        if self.attempts:
            self._gate.give_back()

    def has_refused(self, target: Target) -> bool:
        """Whether the target would answer as another one has answered already: its account, or its model."""
        if not self.refused_accounts and not self.refused_models:
            return False
        return target.account in self.refused_accounts or base_model(target.model) in self.refused_models

    def _judged(self, reply: Answered | Failed, position: int, target: Target) -> tuple[Verdict | None, float | None]:
        """What a failed attempt means for the call: a verdict, or a pause before the same target is asked again, or neither."""
        move = _move_of(reply, target)
        pause_s = self._pause_before_another(reply, move, position)
        self._note(reply, move, position, target, waits=pause_s is not None)
        if move.then == "end":
            return self.given_up(), None
        is_callers = move.then == "serve" or (move.then == "model" and not self._can_go_on(reply, position))
        return (Serve(position) if is_callers else None), pause_s

    def _can_go_on(self, reply: Answered | Failed, position: int) -> bool:
        """Whether a prompt that is too long for one model has somewhere else to go, or is not the caller's own any more."""
        is_changed = isinstance(reply, Answered) and reply.is_changed
        return is_changed or any(not self.has_refused(target) for target in self._plan.targets[position + 1 :])

    def given_up(self) -> Verdict:
        """The end of a chain."""
        if self.attempts == 0 and self.stopped is not None:
            return Refuse(self.stopped)
        if self.answer is None and self.misfit is not None and not self.is_failing:  # nothing but misfits: the first one
            return GiveUp(*self.misfit)
        return GiveUp(self.answer, self.answer_position)

    def settle(self, result: Result, *, reason: str = "", cooldown_us: int = 0) -> None:
        """Gives the open permit back, if there is one."""
        permit, self._permit = self._permit, None
        if permit is not None:
            self._gate.settle(self._target, permit, result, reason=reason, cooldown_us=cooldown_us)

    def _serve(self, position: int, *, is_unread: bool) -> Serve:
        if self.attempts > 1:
            self._gate.give_back()
        permit = self._permit
        assert permit is not None  # noqa: S101 -- held since it was admitted
        if not is_unread:
            self.settle("slow" if self._was_slow() else "success")
            return Serve(position)
        if permit.probe:  # that it began is evidence enough for others to follow; should it break, that counts as well
            self.settle("success")
            permit = permit._replace(probe=0)
        self._permit = None
        return Serve(position, permit, self._was_slow())

    def _note(self, reply: Answered | Failed, move: Move, position: int, target: Target, *, waits: bool) -> None:
        """Settles an attempt that went wrong, and remembers what the caller may have to be shown, and whom not to ask."""
        if isinstance(reply, Answered):
            is_misfit = reply.status in (400, 422) and reply.is_changed and move.then in ("next", "model")
            if is_misfit:
                self.misfit = self.misfit or (self._number, position)
            else:
                self.answer, self.answer_position = self._number, position
        else:
            self.is_failing = True
            if reply.is_in_band:
                self.answer, self.answer_position = self._number, position
        if move.then == "account":
            self.refused_accounts |= {target.account}
        elif move.then == "model":
            self.refused_models |= {base_model(target.model)}
        self._settle_failed(reply, move, waits=waits)

    @property
    def _number(self) -> int:
        """Of the answer in hand, counted from 0."""
        return self.trials + self.attempts - 1

    def _settle_failed(self, reply: Answered | Failed, move: Move, *, waits: bool) -> None:
        """Gives the permit back of an attempt that went wrong. `waits`: the same target is asked once more after a pause."""
        asked_s = reply.retry_after_s or 0.0 if isinstance(reply, Answered) else 0.0
        is_asked_to_wait = isinstance(reply, Answered) and reply.status == 429 and waits
        result: Result = "neutral" if is_asked_to_wait else move.result
        cooldown_s = max(move.cooldown_s, asked_s if asked_s > SHORT_S else 0.0)
        if waits or (result == "neutral" and not move.may_end_with_retry):
            cooldown_s = 0.0
        elif cooldown_s:  # it is to be left alone, whoever is to blame
            result = "failure"
        reason = f"{reason_of(reply)}: {move.hint}" if move.hint else reason_of(reply)
        self.settle(result, reason=reason, cooldown_us=round(cooldown_s * US))

    def _stop(self, switch: Switch) -> Verdict | None:
        self.settle("neutral")
        if switch.scope.kind == "model" and len(self._plan.targets) > 1:
            self.stopped, self.is_failing = switch, True
            return None
        return Refuse(switch)

    def _pause_before_another(self, reply: Answered | Failed, move: Move, position: int) -> float | None:
        """Seconds until the same target is asked once more; None: it is not."""
        if self._retries <= 0 or self.attempts >= MAX_ATTEMPTS or move.then in ("serve", "account", "model", "end"):
            return None
        is_only = len(self._plan.targets) == 1 or (self.attempts == 1 and position == len(self._plan.targets) - 1)
        asked_s = reply.retry_after_s if isinstance(reply, Answered) else None
        is_heeded = is_only or move.then == "retry" or (isinstance(reply, Answered) and reply.status == 429)
        pause: float | None
        if asked_s is not None and is_heeded:
            pause = asked_s + JITTER_S * self._gate.draw() if asked_s <= (PATIENCE_S if is_only else SHORT_S) else None
        elif move.then == "retry":
            pause = RETRY_S[0] + RETRY_S[1] * self._gate.draw()
        elif is_only and move.may_end_with_retry:
            pause = BACKOFF_S[0] + BACKOFF_S[1] * self._gate.draw()
        else:
            pause = None
        if pause is None or (self._deadline_us is not None and self._now_us + (pause + LEAST_S) * US > self._deadline_us):
            return None
        return pause

    def _left_s(self, position: int, most_s: float | None = None) -> float | None:
        """Seconds for the next attempt: the limit (`most_s` at the most), or a share of what is left until the deadline, so
        that one silent target does not leave the others without time. The last one may use it all."""
        allowed_us = self._limit_us
        if most_s is not None:
            allowed_us = round(most_s * US) if allowed_us is None else min(allowed_us, round(most_s * US))
        if self._deadline_us is not None:
            share_us = (self._deadline_us - self._now_us) // max(len(self._plan.targets) - position, 1)
            allowed_us = share_us if allowed_us is None else min(allowed_us, share_us)
        self._allowed_us = allowed_us
        return None if allowed_us is None else allowed_us / US

    def _by_us(self) -> int | None:
        return None if self._allowed_us is None else self._attempt_us + self._allowed_us

    def _was_slow(self) -> bool:
        return self._limit_us is not None and self._now_us - self._attempt_us > self._limit_us // 2


def _move_of(reply: Answered | Failed, target: Target) -> Move:
    if isinstance(reply, Failed):
        return (move_in_band if reply.is_in_band else move_of_failure)(reply.kind)
    return move_of_status(
        reply.status,
        is_changed=reply.is_changed,
        is_configured=target.is_configured,
        error=reply.error,
        is_long=reply.is_long,
    )


def onward(plan: Plan, position: int) -> Plan:
    """Where a stream that broke goes on: the targets behind the one that served it, those before, and last that one again."""
    behind, before = plan.targets[position + 1 :], plan.targets[:position]
    return plan._replace(targets=(*behind, *before, plan.targets[position]))


def reason_of(reply: Answered | Failed) -> str:
    """What went wrong, for people: "529 overloaded_error", "timeout"."""
    if isinstance(reply, Failed):
        return reply.kind
    return f"{reply.status} {reply.error}" if reply.error else str(reply.status)
