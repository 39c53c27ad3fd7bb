"""The whole core under a machine that does everything at any time, and the bugs that it must notice.

The machine starts calls, answers what is outstanding in any order and late, turns the clock, engages switches, forces breakers,
cancels, loses results and breaks streams. `failover_world` judges. Then every deliberate bug of `MUTANTS` is let in alone,
and the machine has to see it: a mutant that survives means that the machine is too weak.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from failover_world import LEASE_US, US, Call, Violation, World, target
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from console.core import flow as core_flow
from console.core import moves
from console.core.breaker import Breaker, BreakerPolicy, Permit, RetryBudget
from console.core.flow import Answered, Committed, Failed, Pull, Reply, Send, Wait
from console.core.switches import ALL, Scope, Switch
from console.runtime import gate as gate_module

if TYPE_CHECKING:
    from collections.abc import Callable

TARGETS = (target("a"), target("b"), target("c", "https://elsewhere"))
NAMES = [one.name for one in TARGETS]
CHAINS = [TARGETS, TARGETS[:2], TARGETS[:1], TARGETS[::-1], (TARGETS[0], TARGETS[2])]
POLICIES = [
    BreakerPolicy(),
    BreakerPolicy(consecutive=1000),
    BreakerPolicy(minimum_calls=4, consecutive=2, dwell=5.0, max_dwell=60.0, ramp=20.0),
]

Outcome = tuple[str, Any]
STATUSES: list[Outcome] = [("status", status) for status in (400, 401, 403, 404, 408, 409, 413, 429, 500, 503, 504, 529)]
ASKED: list[Outcome] = [
    ("asked", pair) for pair in ((429, 0.0), (429, 1.0), (429, 60.0), (503, 60.0), (529, 2.1), (429, 3600.0))
]
MISFITS: list[Outcome] = [("misfit", 400), ("misfit", 422)]
FAILURES: list[Outcome] = [("failed", kind) for kind in ("timeout", "connection", "reset", "pool")]
IN_BAND: list[Outcome] = [("in_band", kind) for kind in ("overloaded_error", "api_error")] + [("failed", "truncated_stream")]
GOOD: Outcome = ("good", None)
BAD: Outcome = ("status", 529)
outcomes = st.sampled_from([GOOD, GOOD, GOOD, BAD, BAD, BAD, *STATUSES, *ASKED, *MISFITS, *FAILURES, *IN_BAND])
storms = st.sampled_from(
    [BAD, ("status", 409), ("status", 500), ("misfit", 400), ("asked", (529, 60.0)), ("failed", "timeout")]
)
which = st.integers(0, 15)


def reply_to(call: Call, outcome: Outcome, now_us: int) -> Reply:
    """What the wire says to what the call is waiting for."""
    kind, value = outcome
    if isinstance(call.effect, Pull):
        if kind == "good":
            return Committed(now_us)
        return Failed(value, now_us, is_in_band=True) if kind == "in_band" else Failed("truncated_stream", now_us)
    if kind in ("good", "in_band"):
        return Answered(200, now_us, is_unread_stream=call.is_streamed, is_unread=call.is_streamed)
    if kind == "failed":
        return Failed(value, now_us)
    if kind == "asked":
        return Answered(value[0], now_us, retry_after_s=value[1])
    return Answered(value, now_us, is_changed=kind == "misfit", error="said so")


class Failover(RuleBasedStateMachine):
    """See the module's docstring."""

    worlds: ClassVar[type[World]] = World

    @initialize(policy=st.sampled_from(POLICIES))
    def start(self, policy: BreakerPolicy) -> None:
        self._patch = pytest.MonkeyPatch()
        self.world = self.worlds(self._patch, policy)

    def teardown(self) -> None:
        try:
            if hasattr(self, "world") and not isinstance(sys.exc_info()[1], Violation):
                self.world.check_nothing_is_lost(NAMES)
        finally:
            if hasattr(self, "world"):
                self.world.bury()
                self._patch.undo()

    def _busy(self) -> list[Call]:
        return [call for call in self.world.calls if isinstance(call.effect, Send | Pull)]

    @rule(
        chain=st.sampled_from(CHAINS),
        is_streamed=st.booleans(),
        deadline_s=st.sampled_from([None, None, 0.3, 2.0, 30.0]),
        retries=st.sampled_from([1, 1, 0]),
        story=st.lists(outcomes, max_size=4),
    )
    def call(
        self, chain: tuple[Any, ...], is_streamed: bool, deadline_s: float | None, retries: int, story: list[Outcome]
    ) -> None:
        """A call starts and comes as far as its story goes: to its end, or it stays outstanding."""
        world = self.world
        if len(world.calls) >= 12:
            world.cancel(world.calls[0])
        call = world.begin(*chain, is_streamed=is_streamed, deadline_s=deadline_s, retries=retries)
        for outcome in story:
            if isinstance(call.effect, Wait):
                world.tick(call.effect.seconds + 0.001)
            if isinstance(call.effect, Send | Pull):
                world.answer(call, reply_to(call, outcome, world.now_us))

    @precondition(lambda self: self._busy())
    @rule(
        late_s=st.sampled_from([0.0, 0.0, 0.1, 3.0, 25.0]), replies=st.lists(st.tuples(which, outcomes), min_size=1, max_size=6)
    )
    def answer(self, late_s: float, replies: list[tuple[int, Outcome]]) -> None:
        """Some of what is outstanding is answered, in any order."""
        self.world.tick(late_s)
        for index, outcome in replies:
            busy = self._busy()
            if busy:
                call = busy[index % len(busy)]
                self.world.answer(call, reply_to(call, outcome, self.world.now_us))

    @rule(chain=st.sampled_from(CHAINS), calls=st.integers(2, 6), outcome=storms, gap_s=st.sampled_from([0.0, 0.3, 1.0]))
    def storm(self, chain: tuple[Any, ...], calls: int, outcome: Outcome, gap_s: float) -> None:
        """Everything fails in the same way for a while."""
        for _ in range(calls):
            call = self.world.begin(*chain)
            while call.effect is not None:
                if isinstance(call.effect, Wait):
                    self.world.tick(call.effect.seconds + 0.001)
                else:
                    self.world.answer(call, reply_to(call, outcome, self.world.now_us))
            self.world.tick(gap_s)

    @rule(chain=st.sampled_from(CHAINS), calls=st.integers(1, 4))
    def calm(self, chain: tuple[Any, ...], calls: int) -> None:
        """Everything goes well for a while."""
        for _ in range(calls):
            call = self.world.begin(*chain)
            while isinstance(call.effect, Send):
                self.world.answer(call, Answered(200, self.world.now_us))
            self.world.tick(0.5)

    @rule(seconds=st.sampled_from([0.05, 0.6, 1.0, 5.0, 11.0, 29.0, 31.0, 60.0, 130.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule(name=st.sampled_from(NAMES), part=st.sampled_from([0.6, 1.0, 1.0, 1.2]))
    def wait_for(self, name: str, part: float) -> None:
        """Until a target may be asked again, or a good part of it."""
        breaker = self.world.breaker(name)
        if breaker is not None and breaker.state == "open" and breaker.until > self.world.now_us:
            self.world.tick(part * (breaker.until - self.world.now_us) / US + 0.001)

    @rule(draw=st.sampled_from([0.0, 0.15, 0.5, 0.999]))
    def chance(self, draw: float) -> None:
        self.world.draws.value = draw

    @rule(
        scope=st.sampled_from([ALL, Scope("model", "claude-a"), Scope("model", "claude-b")]),
        chain=st.sampled_from(CHAINS),
        stays=st.sampled_from([False, False, True]),
    )
    def engage(self, scope: Scope, chain: tuple[Any, ...], stays: bool) -> None:
        """A kill switch, while calls are under way and start."""
        self.world.engage(scope)
        self.world.begin(*chain)
        if not stays:
            self.world.kills.clear()

    @precondition(lambda self: self.world.kills)
    @rule()
    def restore(self) -> None:
        self.world.kills.clear()

    @rule(
        name=st.sampled_from(NAMES),
        force=st.sampled_from(["forced_open", "forced_closed"]),
        chain=st.sampled_from(CHAINS),
        stays=st.sampled_from([False, False, True]),
    )
    def force(self, name: str, force: Any, chain: tuple[Any, ...], stays: bool) -> None:
        """An operator holds a breaker, while calls are under way and start."""
        self.world.forced[name] = force
        self.world.begin(*chain)
        if not stays:
            self.world.forced.clear()

    @rule(name=st.sampled_from(NAMES), ago_s=st.sampled_from([0.0, 0.2, 0.2, 5.0, 300.0]), chain=st.sampled_from(CHAINS))
    def suspect(self, name: str, ago_s: float, chain: tuple[Any, ...]) -> None:
        """Another process has opened its breaker, and two calls follow."""
        self.world.suspect(name, ago_s)
        self.world.begin(*chain)
        self.world.begin(*chain)

    @precondition(lambda self: self.world.calls)
    @rule(index=which, error=st.sampled_from([None, RuntimeError("wire"), KeyboardInterrupt()]))
    def cancel(self, index: int, error: BaseException | None) -> None:
        self.world.cancel(self.world.calls[index % len(self.world.calls)], error)

    @precondition(lambda self: self.world.calls)
    @rule(index=which)
    def vanish(self, index: int) -> None:
        self.world.vanish(self.world.calls[index % len(self.world.calls)])

    @precondition(lambda self: self.world.streams)
    @rule(index=which, result=st.sampled_from(["success", "failure", "slow", "neutral"]))
    def end_stream(self, index: int, result: Any) -> None:
        streams = self.world.streams
        self.world.end_stream(streams[index % len(streams)], result)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


def run(machine: type[RuleBasedStateMachine], examples: int, steps: int, *, is_derandomized: bool = True) -> None:
    config = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=is_derandomized,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(machine, settings=config)


def test_every_invariant_holds_whatever_happens_in_whatever_order() -> None:
    run(Failover, 150, 40)


@pytest.mark.long
def test_every_invariant_holds_in_ten_thousand_histories() -> None:
    run(Failover, 10_000, 60, is_derandomized=False)


# -- deliberate bugs ---------------------------------------------------------------------------------------------------

Patch = pytest.MonkeyPatch


def shorter_cooldown(patch: Patch) -> None:
    whole = Breaker.settle

    def settle(self: Breaker, *args: Any, cooldown_us: int = 0, **rest: Any) -> bool:
        return whole(self, *args, cooldown_us=cooldown_us // 2, **rest)

    patch.setattr(Breaker, "settle", settle)


def shorter_dwell(patch: Patch) -> None:
    patch.setattr("console.core.breaker._jittered", lambda dwell_us, draw: round(dwell_us * (1 - 0.3 * draw)))


def unlimited_probes(patch: Patch) -> None:
    def probe(self: Breaker, now_us: int) -> Permit:
        self._probes += 1
        self._outstanding, self._probe_at = self._probes, now_us
        return Permit(self._generation, self._probes)

    patch.setattr(Breaker, "_probe", probe)


def stuck_permit(patch: Patch) -> None:
    patch.setattr("console.core.breaker.PROBE_LEASE_US", 10**15)


def permit_kept_by_a_cancelled_call(patch: Patch) -> None:
    whole = core_flow._Course.settle

    def settle(self: Any, result: Any, **rest: Any) -> None:
        if result != "neutral":
            whole(self, result, **rest)

    patch.setattr(core_flow._Course, "settle", settle)


def probe_not_returned_on_neutral(patch: Patch) -> None:
    whole = Breaker.settle

    def settle(self: Breaker, permit: Permit, result: Any, *args: Any, **rest: Any) -> bool:
        return False if result == "neutral" else whole(self, permit, result, *args, **rest)

    patch.setattr(Breaker, "settle", settle)


def no_generation_check(patch: Patch) -> None:
    whole = Breaker.settle

    def settle(self: Breaker, permit: Permit, *args: Any, **rest: Any) -> bool:
        return whole(self, permit._replace(generation=self._generation), *args, **rest)

    patch.setattr(Breaker, "settle", settle)


def one_generation_for_ever(patch: Patch) -> None:
    whole = Breaker._enter

    def enter(self: Breaker, *args: Any) -> None:
        whole(self, *args)
        self._generation = 1
        self.permit = Permit(1)

    patch.setattr(Breaker, "_enter", enter)


def no_retry_budget(patch: Patch) -> None:
    patch.setattr(RetryBudget, "take", lambda _: True)


def retry_budget_that_every_call_fills(patch: Patch) -> None:
    patch.setattr(RetryBudget, "RATIO", 2.0)


def cooldown_that_shrinks(patch: Patch) -> None:
    whole = Breaker._settle_half_open

    def settle(self: Breaker, permit: Permit, *args: Any) -> bool:
        self.until = 0
        return whole(self, permit, *args)

    patch.setattr(Breaker, "_settle_half_open", settle)


def cooldown_that_a_silent_last_resort_ends(patch: Patch) -> None:
    patch.setattr(Breaker, "_resume", lambda *_: False)
    whole = Breaker.admit

    def admit(self: Breaker, now_us: int, draw: float) -> Permit | None:
        if self.state == "half_open" and not self.is_ramping():
            return self._probe(now_us)
        return whole(self, now_us, draw)

    patch.setattr(Breaker, "admit", admit)


def dwell_that_does_not_grow(patch: Patch) -> None:
    whole = Breaker._open

    def enter(self: Breaker, now_us: int, until: int, dwell_us: int, reason: str) -> None:
        base_us = round(self._policy.dwell * US)
        whole(self, now_us, until - dwell_us + base_us, base_us, reason)

    patch.setattr(Breaker, "_open", enter)


def dwell_that_a_closed_moment_forgets(patch: Patch) -> None:
    patch.setattr("console.core.breaker.QUIET_US", 0)
    patch.setattr("console.core.breaker.QUIET_DWELLS", 0)


def all_the_traffic_after_one_probe(patch: Patch) -> None:
    patch.setattr(Breaker, "_share", lambda *_: 1.0)


def low_volume_trips(patch: Patch) -> None:
    whole = Breaker.__init__

    def init(self: Breaker, policy: BreakerPolicy) -> None:
        whole(self, policy)
        self._policy = BreakerPolicy(
            minimum_calls=1, consecutive=policy.consecutive, dwell=policy.dwell, max_dwell=policy.max_dwell
        )

    patch.setattr(Breaker, "__init__", init)


def misfit_counted_as_failure(patch: Patch) -> None:
    patch.setattr(moves, "MISFIT", moves.Move("next", "failure"))


def client_fault_counted_as_failure(patch: Patch) -> None:
    patch.setattr(moves, "_SERVE", moves.Move("serve", "failure"))


def cancelling_counted_as_failure(patch: Patch) -> None:
    whole = Breaker.settle

    def settle(self: Breaker, permit: Permit, result: Any, *args: Any, **rest: Any) -> bool:
        return whole(self, permit, "failure" if result == "neutral" else result, *args, **rest)

    patch.setattr(Breaker, "settle", settle)


def misfit_shown_for_the_real_failure(patch: Patch) -> None:
    def given_up(self: Any) -> Any:
        return core_flow.GiveUp(*(self.misfit or (self.answer, self.answer_position)))

    patch.setattr(core_flow._Course, "given_up", given_up)


def misfit_shown_for_a_timeout(patch: Patch) -> None:
    patch.setattr(core_flow._Course, "is_failing", property(lambda _: False, lambda *_: None), raising=False)


def kill_not_read_before_a_retry(patch: Patch) -> None:
    patch.setattr(World, "reads_switches", lambda _, call: not call.attempts)


def kill_overheard_in_a_pause(patch: Patch) -> None:
    whole = core_flow._Course._stop

    def stop(self: Any, switch: Switch) -> Any:
        return None if self.attempts else whole(self, switch)

    patch.setattr(core_flow._Course, "_stop", stop)


def retries_that_multiply(patch: Patch) -> None:
    patch.setattr(core_flow._Course, "_retries", property(lambda _: 1, lambda *_: None), raising=False)


def attempts_without_end(patch: Patch) -> None:
    patch.setattr(core_flow, "MAX_ATTEMPTS", 10)


def deadline_that_a_pause_forgets(patch: Patch) -> None:
    whole = core_flow._Course._pause_before_another

    def pause(self: Any, *args: Any) -> Any:
        deadline_us, self._deadline_us = self._deadline_us, None
        try:
            return whole(self, *args)
        finally:
            self._deadline_us = deadline_us

    patch.setattr(core_flow._Course, "_pause_before_another", pause)


def attempts_longer_than_the_deadline(patch: Patch) -> None:
    patch.setattr(core_flow._Course, "_left_s", lambda self, _: None if self._limit_us is None else self._limit_us / US)


def account_asked_again(patch: Patch) -> None:
    patch.setattr(core_flow._Course, "refused_accounts", property(lambda _: frozenset(), lambda *_: None), raising=False)


def last_resort_without_bound(patch: Patch) -> None:
    patch.setattr(gate_module, "LAST_RESORT_EVERY_US", 0)


def no_last_resort(patch: Patch) -> None:
    patch.setattr(gate_module.Gate, "last_resort", lambda *_: None)


def last_resort_that_is_held_open(patch: Patch) -> None:
    whole = gate_module.Gate.last_resort
    patch.setattr(gate_module.Gate, "last_resort", lambda self, targets, _: whole(self, targets, {}))


def broken_stream_overlooked(patch: Patch) -> None:
    whole = Breaker.settle

    def settle(self: Breaker, permit: Permit, result: Any, *args: Any, **rest: Any) -> bool:
        if self.state == "half_open" and result == "failure" and not permit.probe:
            return False
        return whole(self, permit, result, *args, **rest)

    patch.setattr(Breaker, "settle", settle)


def suspicion_that_ends_a_cooldown(patch: Patch) -> None:
    def suspect(self: Breaker, _: int, now_us: int, reason: str) -> bool:
        self.until, self.reason = now_us, reason
        self._enter("half_open", now_us)
        self.is_suspected = True
        return True

    patch.setattr(Breaker, "suspect", suspect)


def suspicion_of_who_has_answered_since(patch: Patch) -> None:
    whole = Breaker.suspect

    def suspect(self: Breaker, _: int, now_us: int, reason: str) -> bool:
        return whole(self, now_us + 1, now_us, reason)

    patch.setattr(Breaker, "suspect", suspect)


def suspicion_that_sends_on(patch: Patch) -> None:
    patch.setattr(Breaker, "suspect", lambda *_: False)


def suspected_and_failed_without_a_dwell(patch: Patch) -> None:
    patch.setattr(Breaker, "_first_dwell_us", lambda *_: 0)


MUTANTS: list[tuple[Callable[[Patch], None], set[str]]] = [
    (shorter_cooldown, {"I3"}),
    (shorter_dwell, {"I3"}),
    (unlimited_probes, {"I4"}),
    (stuck_permit, {"I4"}),
    (permit_kept_by_a_cancelled_call, {"I4"}),
    (probe_not_returned_on_neutral, {"I4", "I6"}),
    (no_generation_check, {"I5"}),
    (one_generation_for_ever, {"I5"}),
    (no_retry_budget, {"I1"}),
    (retry_budget_that_every_call_fills, {"I1"}),
    (cooldown_that_shrinks, {"I3"}),
    (cooldown_that_a_silent_last_resort_ends, {"I3"}),
    (dwell_that_does_not_grow, {"I3"}),
    (dwell_that_a_closed_moment_forgets, {"I3"}),
    (all_the_traffic_after_one_probe, {"I7"}),
    (low_volume_trips, {"I8"}),
    (misfit_counted_as_failure, {"I8"}),
    (client_fault_counted_as_failure, {"I8"}),
    (cancelling_counted_as_failure, {"I8"}),
    (misfit_shown_for_the_real_failure, {"B12"}),
    (misfit_shown_for_a_timeout, {"B12"}),
    (kill_not_read_before_a_retry, {"I12"}),
    (kill_overheard_in_a_pause, {"I12"}),
    (retries_that_multiply, {"I1"}),
    (attempts_without_end, {"I1"}),
    (deadline_that_a_pause_forgets, {"I2"}),
    (attempts_longer_than_the_deadline, {"I2"}),
    (account_asked_again, {"B12"}),
    (last_resort_without_bound, {"I6"}),
    (no_last_resort, {"I6"}),
    (last_resort_that_is_held_open, {"I6"}),
    (broken_stream_overlooked, {"I7"}),
    (suspicion_that_ends_a_cooldown, {"I3", "I7"}),
    (suspicion_of_who_has_answered_since, {"I7"}),
    (suspicion_that_sends_on, {"I6"}),
    (suspected_and_failed_without_a_dwell, {"I3"}),
]


@pytest.mark.parametrize(("mutant", "ids"), [pytest.param(*row, id=row[0].__name__) for row in MUTANTS])
def test_the_machine_notices(mutant: Callable[[Patch], None], ids: set[str], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    with pytest.raises(Violation) as caught:
        run(Failover, 2_500, 40)  # ends with the first that notices
    assert str(caught.value).split(":", maxsplit=1)[0] in ids


def test_the_judge_knows_how_long_a_probe_may_be_out() -> None:
    from console.core.breaker import PROBE_LEASE_US

    assert PROBE_LEASE_US == LEASE_US
