"""A world for failover: several calls under way over one real gate, a clock that is turned by hand, and a judge.

The judge watches what goes over the line between flow and gate, and what would go over the network. It keeps its own books
(epochs, promises, probes under way) and raises `Violation` with the id of the invariant of FAULTS.md that was broken. Nothing
here takes a breaker's word for what it has promised before.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from console.core import flow as core_flow
from console.core.breaker import JITTER, RAMP_GOOD, RAMP_START, Breaker, BreakerPolicy, Permit, Result
from console.core.flow import (
    LEAST_S,
    Answered,
    Committed,
    Effect,
    Failed,
    GiveUp,
    Plan,
    Pull,
    Refuse,
    Reply,
    Send,
    Serve,
    Stopped,
    Verdict,
    Wait,
    Woken,
)
from console.core.moves import NOT_SENT
from console.core.switches import Scope, Switch
from console.core.targets import LimitsPolicy, Target
from console.runtime import gate as gate_module

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import pytest

    from console.core.routes import Force

US: Final = 1_000_000
LEASE_US: Final = 30 * US
LIMITS: Final = LimitsPolicy(answer=60.0, first_token=20.0, silence=15.0)


OURS: Final = ("_spend_limit_reached", "billing_", "organization_", "cmek_key_")
"""What stands in the errors of outages of our own making."""


class Violation(Exception):
    """An invariant does not hold; its text begins with the invariant's id."""


def hold(condition: object, rule: str, what: str) -> None:
    """Raises Violation unless `condition` is true."""
    if not condition:
        raise Violation(f"{rule}: {what}")


class Clock:
    """The steady clock of a test."""

    def __init__(self, now_us: int = 1_000 * US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def tick(self, seconds: float) -> None:
        self.now_us += round(seconds * US)


class Draws:
    """Random draws of a test: always the same one, until it is changed."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def target(name: str, account: str | None = None, *, is_configured: bool = True) -> Target:
    """A target whose model is called as it is. `account`: a provider's address of its own."""
    return Target(name, f"claude-{name}", base_url=account, is_configured=is_configured)


@dataclass(slots=True)
class Tag:
    """A permit that was handed out, as the judge knows it. `epoch` -1: of a breaker that an operator holds."""

    target: str
    permit: Permit
    epoch: int
    at_us: int
    is_probe: bool
    is_last_resort: bool


def least(dwell_us: int) -> int:
    """The shortest that a dwell may be."""
    return round(dwell_us * (1 - JITTER)) - 1


@dataclass(slots=True)
class Track:
    """The judge's book about one target."""

    state: str = "closed"
    epoch: int = 0
    is_ramping: bool = False
    ramp_from: int = 0
    ramp_good: int = 0
    """Good answers in a row on the way back; a failure that was let pass begins anew."""
    promised_us: int = 0
    """No ordinary permit before this."""
    earlier_us: int = 0
    """The same before a probe has succeeded: what a target has asked for itself may still be kept to."""
    dwell_us: int = 0
    closed_at: int | None = None
    good_at: int | None = None
    """When it was last seen to answer well."""
    is_suspected: bool = False
    """Half open on another process's word."""
    probes: list[Tag] = field(default_factory=list)
    """Out, and not settled."""
    results: list[tuple[int, Result]] = field(default_factory=list)
    """Of this epoch, in the closed state."""

    @property
    def latest_us(self) -> int:
        """It may be asked again by then."""
        return max(self.promised_us, self.earlier_us) + round(JITTER * self.dwell_us) + 1


@dataclass(slots=True)
class Attempt:
    """One request that was sent, and how it went."""

    target: Target
    at_us: int
    limit_s: float | None
    reply: Reply = None


@dataclass(slots=True, eq=False)
class Call:
    """One call under way. `effect`: what the wire is busy with."""

    plan: Plan
    started_us: int
    deadline_us: int | None
    is_streamed: bool
    retries: int
    flow: Generator[Effect, Reply, Verdict] | None = None
    effect: Effect | None = None
    effect_us: int = 0
    verdict: Verdict | None = None
    attempts: list[Attempt] = field(default_factory=list)
    stopped: list[tuple[Target | None, Switch]] = field(default_factory=list)
    tag: Tag | None = None
    was_refused: bool = False
    """A target of the chain was out."""


class World:
    """Everything that calls share: gate, clock, draws, switches, forced breakers."""

    def __init__(self, patch: pytest.MonkeyPatch, policy: BreakerPolicy) -> None:
        self.clock, self.draws = Clock(), Draws()
        patch.setattr(gate_module, "steady_us", self.clock)
        patch.setattr(gate_module, "random", self.draws)
        self.policy = policy
        self.changes = 0
        self.gate = gate_module.Gate(policy, self._changed)
        self.tracks: dict[str, Track] = {}
        self.kills: dict[Scope, Switch] = {}
        self.forced: dict[str, Force] = {}
        self.calls: list[Call] = []
        self.streams: list[Call] = []
        self.vanished: list[Call] = []
        self.last_resort_us = -3600 * US
        self.asked = self.begun = 0
        """Requests, and calls, since anything went well."""

    def _changed(self) -> None:
        self.changes += 1

    @property
    def now_us(self) -> int:
        return self.clock.now_us

    def track(self, name: str) -> Track:
        return self.tracks.setdefault(name, Track())

    def breaker(self, name: str) -> Breaker | None:
        return self.gate._breakers.get(name)

    # -- what can happen -----------------------------------------------------------------------------------------------

    def begin(
        self,
        *targets: Target,
        is_streamed: bool = False,
        deadline_s: float | None = None,
        retries: int = 1,
        limits: LimitsPolicy = LIMITS,
    ) -> Call:
        """A call starts, and comes as far as its first request if it makes one."""
        plan = Plan(targets, limits, dict(self.forced))
        deadline_us = None if deadline_s is None else self.now_us + round(deadline_s * US)
        call = Call(plan, self.now_us, deadline_us, is_streamed, retries)
        self.begun += 1
        self.gate.begin()
        call.flow = core_flow.chain_flow(
            plan,
            Watched(self, call),
            started_us=self.now_us,
            deadline_us=deadline_us,
            is_streamed=is_streamed,
            retries=retries,
        )
        self.calls.append(call)
        self._go_on(call, None)
        return call

    def answer(self, call: Call, reply: Reply) -> None:
        """The wire comes back. After the limit of an attempt there is no answer but that it took too long."""
        if isinstance(call.effect, Send | Pull):
            if self._is_too_late(call):
                reply = Failed("timeout", self.now_us)
            call.attempts[-1].reply = reply
            self.asked -= isinstance(reply, Failed) and reply.kind == NOT_SENT
            if _is_good(reply):
                self.asked = self.begun = 0
        before = self._books_of(call)
        self._go_on(call, reply)
        self._judge_blame(reply, before)

    def tick(self, seconds: float) -> None:
        """Time passes. Pauses that are over end, and every pause looks at the switches first."""
        self.clock.tick(seconds)
        self.look()
        for call in list(self.calls):
            while isinstance(call.effect, Wait) and self.now_us >= call.effect_us + round(call.effect.seconds * US):
                self._go_on(call, Woken(self.now_us))

    def look(self) -> None:
        """Every pause looks at the switches."""
        for call in list(self.calls):
            if isinstance(call.effect, Wait):
                target = call.attempts[-1].target
                switch = self.stopped_by(target)
                if switch is not None:
                    call.stopped.append((target, switch))
                    self._go_on(call, Stopped(switch))

    def suspect(self, name: str, ago_s: float) -> None:
        """Another process says that it has opened its breaker of the target some time ago."""
        self.seen(name)
        track, breaker, opened_us = self.track(name), self.breaker(name), self.now_us - round(ago_s * US)
        was, before = "closed" if breaker is None else breaker.state, _whole(breaker)
        has_changed = self.gate.suspect(name, opened_us, "said so")
        if was != "closed":
            hold(
                not has_changed and _whole(self.breaker(name)) == before, "I3", f"another's word changes {name}, which is {was}"
            )
        elif track.good_at is not None and track.good_at >= opened_us:
            hold(not has_changed, "I7", f"{name} has answered since, and is suspected")
        else:
            hold(has_changed, "I6", f"{name} is said to be out, and sent to")
        self.seen(name)
        if has_changed:
            track.is_suspected, track.promised_us, track.earlier_us = True, self.now_us, 0

    def engage(self, scope: Scope) -> None:
        self.kills[scope] = Switch(scope)
        self.look()

    def stopped_by(self, target: Target | None) -> Switch | None:
        """The switch that stops an attempt at the target now."""
        for scope in (Scope("all"), *(() if target is None else (Scope("model", target.model),))):
            if scope in self.kills:
                return self.kills[scope]
        return None

    def reads_switches(self, _: Call) -> bool:
        """Whether the wire reads the switches before the next attempt: always."""
        return True

    def cancel(self, call: Call, error: BaseException | None = None) -> None:
        """The caller goes away, or the wire raises."""
        assert call.flow is not None
        before = self._books_of(call)
        if error is None:
            call.flow.close()
        else:
            with contextlib.suppress(type(error)):
                call.flow.throw(error)
        self._ended(call)
        self._judge_blame(None, before)
        hold(not self._is_probing(call), "I4", "a cancelled call keeps its probe")

    def vanish(self, call: Call) -> None:
        """Whoever makes the call hangs for ever: nothing is settled."""
        self._ended(call)
        self.vanished.append(call)

    def bury(self) -> None:
        """Nothing of this world is left that could still do something when it is collected."""
        for call in [*self.vanished, *self.calls]:
            assert call.flow is not None
            with contextlib.suppress(Violation):
                call.flow.close()

    def end_stream(self, call: Call, result: Result) -> None:
        """The caller has read a committed stream to its end, good or bad."""
        self.streams.remove(call)
        verdict = call.verdict
        assert isinstance(verdict, Serve) and verdict.permit is not None
        Watched(self, call).settle(call.plan.targets[verdict.position].name, verdict.permit, result, reason="stream broke")

    def finish(self) -> None:
        """Every call is cancelled, every stream is read to its end."""
        for call in list(self.calls):
            self.cancel(call)
        for call in list(self.streams):
            self.end_stream(call, "success")

    # -- the wire ------------------------------------------------------------------------------------------------------

    def _go_on(self, call: Call, reply: Reply) -> None:
        assert call.flow is not None
        try:
            call.effect = call.flow.send(reply)
        except StopIteration as end:
            call.verdict = end.value
            self._ended(call)
            self._judge_verdict(call)
            return
        call.effect_us = self.now_us
        hold(not any(switch.scope.kind != "model" for _, switch in call.stopped), "I12", "a stopped call goes on")
        if isinstance(call.effect, Send):
            self._send(call, call.effect)
        elif isinstance(call.effect, Wait):
            wakes_us = self.now_us + round(call.effect.seconds * US)
            hold(call.deadline_us is None or wakes_us <= call.deadline_us, "I2", "a pause goes beyond the deadline")
            hold(self._repeats(call) < call.retries, "I1", "a pause for a retry that nobody has allowed")

    def _send(self, call: Call, send: Send) -> None:
        target = send.target
        assert target is not None
        hold(not any(killed == target for killed, _ in call.stopped), "I12", f"{target.name} is asked again after its kill")
        switch = self.stopped_by(target) if self.reads_switches(call) else None
        if switch is not None:
            call.stopped.append((target, switch))
            self._go_on(call, Stopped(switch))
            return
        self._judge_send(call, target, send)
        call.attempts.append(Attempt(target, self.now_us, send.limit_s))
        self.asked += 1
        hold(self.asked <= 1.2 * self.begun + 10, "I1", f"{self.asked} requests for {self.begun} calls")
        hold(len(_sent(call)) <= 3, "I1", "more than three attempts")
        hold(self._repeats(call) <= call.retries, "I1", "a target is asked again more often than the call may")

    def _judge_send(self, call: Call, target: Target, send: Send) -> None:
        hold(self.stopped_by(target) is None, "I12", f"{target.name} is asked in spite of a kill switch")
        hold(call.plan.forced.get(target.name) != "forced_open", "I6", f"{target.name} is held open and asked")
        hold(call.tag is not None and call.tag.target == target.name, "I4", f"{target.name} is asked without a permit")
        if call.deadline_us is not None:
            left_s = (call.deadline_us - self.now_us) / US
            hold(send.limit_s is not None and send.limit_s <= left_s + 1e-6, "I2", "an attempt may go beyond the deadline")
            hold(not call.attempts or left_s >= LEAST_S, "I2", "an attempt begins that cannot fit")
        refused = {
            done.target.account
            for done in call.attempts
            if isinstance(done.reply, Answered) and done.reply.status in (401, 402, 403)
        }
        hold(target.account not in refused, "B12", "the same account is asked again")

    def _is_too_late(self, call: Call) -> bool:
        effect = call.effect
        if isinstance(effect, Send):
            return effect.limit_s is not None and self.now_us > call.effect_us + round(effect.limit_s * US)
        return isinstance(effect, Pull) and effect.by_us is not None and self.now_us > effect.by_us

    def _repeats(self, call: Call) -> int:
        names = [attempt.target.name for attempt in call.attempts]
        return len(names) - len(set(names))

    def _ended(self, call: Call) -> None:
        call.effect = None
        if call in self.calls:
            self.calls.remove(call)

    def _is_probing(self, call: Call) -> bool:
        return call.tag is not None and any(probe is call.tag for probe in self.track(call.tag.target).probes)

    # -- the judge -----------------------------------------------------------------------------------------------------

    def _judge_verdict(self, call: Call) -> None:
        verdict = call.verdict
        if isinstance(verdict, Serve) and verdict.permit is not None:
            self.streams.append(call)
        hold(not self._is_probing(call), "I4", f"a call has ended ({verdict}) and keeps its probe")
        if any(switch.scope.kind != "model" for _, switch in call.stopped):
            hold(isinstance(verdict, Refuse), "I12", "a stopped call is not refused")
        if isinstance(verdict, GiveUp):
            good = [n for n, done in enumerate(_sent(call)) if _says_why(done.reply)]
            if good:
                hold(verdict.answer == good[-1], "B12", f"shown {verdict.answer}, the last answer that says why is {good[-1]}")
            elif verdict.answer is not None:
                all_misfits = all(_is_misfit(done.reply) for done in call.attempts)
                hold(all_misfits and not call.was_refused, "B12", "a misfit's 400 is shown instead of the real failure")
        if isinstance(verdict, Serve):
            hold(call.attempts and not _is_misfit(call.attempts[-1].reply), "B12", "a misfit is served")

    def _books_of(self, call: Call) -> tuple[str, object] | None:
        tag = call.tag
        return None if tag is None or tag.is_last_resort else (tag.target, _health(self.breaker(tag.target)))

    def _judge_blame(self, reply: Reply, before: tuple[str, object] | None) -> None:
        """What is no fault of the target leaves its breaker as it was."""
        if before is not None and (reply is None or _is_client_fault(reply)):
            hold(_health(self.breaker(before[0])) == before[1], "I8", f"{reply} counts against {before[0]}")

    def seen(self, name: str) -> None:
        """Brings the book up to date with the state that the breaker shows."""
        track, breaker = self.track(name), self.breaker(name)
        if breaker is None or breaker.state == track.state:
            return
        if breaker.state == "closed":
            is_back = track.is_ramping and self.now_us - track.ramp_from >= round(self.policy.ramp * US)
            hold(is_back, "I7", f"{name} closes before its way back is over")
            track.closed_at, track.promised_us, track.earlier_us = self.now_us, 0, 0
        track.state, track.is_ramping, track.is_suspected = breaker.state, False, False
        track.epoch += 1
        track.results.clear()

    def check(self) -> None:
        """What must hold between any two steps."""
        for name, track in self.tracks.items():
            breaker = self.breaker(name)
            if breaker is None:
                continue
            hold(breaker.state == track.state, "I5", f"{name} has changed its state by itself")
            if track.state == "open":
                hold(breaker.until >= track.promised_us, "I3", f"{name} is to be asked before its cooldown is over")
                hold(breaker.until <= track.latest_us, "I7", f"{name} is left alone for longer than it was told")
        hold(0 <= self.gate._budget.tokens <= 10, "I1", "the retry budget is out of its bounds")

    def check_nothing_is_lost(self, names: list[str]) -> None:
        """With nothing under way, every target can be probed within its dwell and 30 s."""
        self.finish()
        self.kills.clear()
        self.draws.value = 0.0
        for name in names:
            breaker, track = self.breaker(name), self.track(name)
            if breaker is None:
                continue
            out = [probe.at_us + LEASE_US for probe in track.probes]
            self.clock.now_us = max(self.now_us, track.latest_us, *out)
            permit = self.gate.admit(name, {})
            hold(permit is not None, "I4", f"{name} can never be probed again")


class Watched:
    """The gate as one call sees it, watched by the judge."""

    def __init__(self, world: World, call: Call) -> None:
        self._world, self._call = world, call

    def admit(self, target: str, forced: Mapping[str, Force]) -> Permit | None:
        world, call = self._world, self._call
        world.seen(target)
        was_ramping = world.track(target).is_ramping
        permit = world.gate.admit(target, forced)
        force = forced.get(target)
        if force is not None:
            hold((permit is None) == (force == "forced_open"), "I6", f"{target} is {force}")
            call.was_refused |= permit is None
            if permit is not None:
                call.tag = Tag(target, permit, -1, world.now_us, is_probe=False, is_last_resort=False)
            return permit
        world.seen(target)
        track = world.track(target)
        if permit is None:
            call.was_refused = True
            self._judge_refusal(target, track)
            return None
        if track.state == "open":
            hold(False, "I3", f"{target} is open and admits")
        if track.state == "half_open" and track.is_ramping and was_ramping:
            share = RAMP_START + (1 - RAMP_START) * (world.now_us - track.ramp_from) / (world.policy.ramp * US)
            hold(world.draws.value < share, "I7", f"{target} gets more than its share back")
        self._tagged(target, track, permit, is_last_resort=False)
        return permit

    def last_resort(self, targets: tuple[Target, ...], forced: Mapping[str, Force]) -> tuple[Target, Permit] | None:
        world = self._world
        found = world.gate.last_resort(targets, forced)
        for one in targets:
            world.seen(one.name)
        is_due = world.now_us - world.last_resort_us >= US
        if found is None:
            free = [
                one.name
                for one in targets
                if forced.get(one.name) is None and not self._young(world.track(one.name)) and world.breaker(one.name)
            ]
            hold(not (is_due and free), "I6", f"no last resort although {free} could be asked")
            return None
        target, permit = found
        hold(forced.get(target.name) != "forced_open", "I6", f"{target.name} is held open and is the last resort")
        track = world.track(target.name)
        if not track.is_ramping:
            hold(is_due, "I6", "two last resorts within a second")
        world.last_resort_us = world.now_us
        self._tagged(target.name, track, permit, is_last_resort=not track.is_ramping)
        return found

    def settle(self, target: str, permit: Permit, result: Result, *, reason: str = "", cooldown_us: int = 0) -> None:
        world, tag = self._world, self._call.tag
        assert tag is not None and tag.target == target
        world.seen(target)
        track, breaker = world.track(target), world.breaker(target)
        was, before, whole = track.state, _health(breaker), _whole(breaker)
        is_current = tag.epoch == track.epoch
        was_ramping = track.is_ramping
        track.probes = [probe for probe in track.probes if probe is not tag]
        is_lost = tag.is_probe and permit.probe > 0 and world.now_us - tag.at_us >= LEASE_US
        world.gate.settle(target, permit, result, reason=reason, cooldown_us=cooldown_us)
        now = breaker.state if breaker is not None else "closed"
        if not is_current:
            hold(_whole(breaker) == whole, "I5", f"an outcome of an earlier time changes {target}")
            return
        if result == "neutral":
            if tag.is_last_resort:
                hold(now != "closed", "I8", f"nothing was said of {target}, and it closes")
            else:
                hold(_health(breaker) == before, "I8", f"an outcome that says nothing changes {target}")
        elif result in ("success", "slow"):
            self._judge_success(track, was, now, result)
        elif not is_lost or now != was:
            self._judge_failure(track, tag, was, now, cooldown_us, was_ramping=was_ramping)
        world.seen(target)

    def take(self) -> bool:
        return self._world.gate.take()

    def give_back(self) -> None:
        self._world.gate.give_back()

    def draw(self) -> float:
        return self._world.gate.draw()

    # -- judgements ----------------------------------------------------------------------------------------------------

    def _young(self, track: Track) -> list[Tag]:
        return [probe for probe in track.probes if self._world.now_us - probe.at_us < LEASE_US]

    def _judge_refusal(self, target: str, track: Track) -> None:
        world = self._world
        hold(track.state != "closed", "I4", f"{target} is closed and refuses")
        if track.is_ramping:
            return
        hold(world.now_us <= track.latest_us or self._young(track), "I4", f"{target} refuses with no probe under way")

    def _tagged(self, target: str, track: Track, permit: Permit, *, is_last_resort: bool) -> None:
        world = self._world
        is_probe = track.state == "half_open" and not track.is_ramping
        tag = Tag(target, permit, track.epoch, world.now_us, is_probe, is_last_resort)
        if is_probe:
            hold(not self._young(track), "I4", f"two probes of {target} at once")
            hold(is_last_resort or world.now_us >= track.promised_us, "I3", f"{target} is asked before its time")
            track.probes.append(tag)
        self._call.tag = tag

    def _judge_success(self, track: Track, was: str, now: str, result: Result) -> None:
        world = self._world
        track.good_at = world.now_us
        if was == "closed":
            track.results.append((world.now_us, result))
            if now == "open":
                hold(result == "slow", "I8", "a good answer opens a breaker")
                self._opened(track, 0)
        elif was == "half_open":
            hold(now == "half_open", "I7", "one good probe brings all the traffic back")
            track.ramp_good = track.ramp_good + 1 if track.is_ramping else 0
            if not track.is_ramping:
                track.is_ramping, track.ramp_from = True, world.now_us
                track.earlier_us, track.promised_us = max(track.earlier_us, track.promised_us), 0

    def _judge_failure(
        self, track: Track, tag: Tag, was: str, now: str, cooldown_us: int, *, was_ramping: bool
    ) -> None:  # fmt: skip
        world = self._world
        if was == "closed":
            track.results.append((world.now_us, "failure"))
            hold(now == "open" or not cooldown_us, "I2", "a target that asked to be left alone is not")
            if now == "open":
                self._judge_volume(track, is_asked=cooldown_us > 0)
                self._opened(track, cooldown_us)
            return
        if was_ramping and track.ramp_good >= RAMP_GOOD and not cooldown_us:
            hold(now == "half_open", "I7", "one failure behind many good answers throws it out")
            track.ramp_good = 0
            return
        hold(now == "open", "I7", "a failure on the way back is overlooked")
        if track.is_suspected:
            self._opened(track, cooldown_us)
        elif tag.is_last_resort and not was_ramping:
            track.promised_us = max(track.promised_us, world.now_us + cooldown_us)
        else:
            track.dwell_us = min(2 * track.dwell_us, round(world.policy.max_dwell * US))
            track.promised_us = max(track.promised_us, world.now_us + max(least(track.dwell_us), cooldown_us))

    def _opened(self, track: Track, cooldown_us: int) -> None:
        """From closed: an outage that soon follows another one starts with a longer dwell."""
        world = self._world
        calm_us = max(60 * US, 2 * track.dwell_us)
        is_new = track.closed_at is None or world.now_us - track.closed_at > calm_us
        doubled = min(2 * track.dwell_us, round(world.policy.max_dwell * US))
        track.dwell_us = round(world.policy.dwell * US) if is_new or not track.dwell_us else doubled
        track.promised_us = world.now_us + max(least(track.dwell_us), cooldown_us)

    def _judge_volume(self, track: Track, *, is_asked: bool) -> None:
        """What opens a breaker: a target's own word, failures in a row, or a share of enough calls."""
        world, policy = self._world, self._world.policy
        since = world.now_us - round(policy.window * US)
        recent = [result for at, result in track.results if at >= since]
        in_a_row = 0
        for result in reversed(recent):
            if result != "failure":
                break
            in_a_row += 1
        is_enough = len(recent) >= policy.minimum_calls
        hold(is_asked or in_a_row >= policy.consecutive or is_enough, "I8", f"{len(recent)} results open a breaker")


def _whole(breaker: Breaker | None) -> Any:
    """Everything that a breaker knows."""
    if breaker is None:
        return None
    return [
        [list(bucket) for bucket in breaker._ring] if slot == "_ring" else getattr(breaker, slot) for slot in Breaker.__slots__
    ]


def _health(breaker: Breaker | None) -> Any:
    """What a breaker thinks of its target."""
    if breaker is None:
        return None
    counts = [tuple(bucket) for bucket in breaker._ring if any(bucket[1:]) and bucket[0] >= 0]
    return breaker.state, breaker.until, breaker._dwell_us, breaker._run, breaker.is_ramping(), sorted(counts)


def _is_good(reply: Reply) -> bool:
    return isinstance(reply, Committed) or (isinstance(reply, Answered) and reply.status < 400)


def _is_misfit(reply: Reply) -> bool:
    is_ours = isinstance(reply, Answered) and any(word in (reply.error or "") for word in OURS)
    return isinstance(reply, Answered) and reply.status in (400, 422) and reply.is_changed and not is_ours


def _sent(call: Call) -> list[Attempt]:
    """Its attempts, without those that could not be made for want of a key."""
    return [done for done in call.attempts if not (isinstance(done.reply, Failed) and done.reply.kind == NOT_SENT)]


def _says_why(reply: Reply) -> bool:
    """An answer of HTTP or in band, and no misfit."""
    if isinstance(reply, Answered):
        return reply.status >= 400 and not _is_misfit(reply)
    return isinstance(reply, Failed) and reply.is_in_band


def _is_client_fault(reply: Reply) -> bool:
    return isinstance(reply, Answered) and reply.status in (400, 413, 422)
