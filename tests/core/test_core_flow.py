"""What becomes of a call: the table of errors, deadlines, budgets, switches, and what is given back.

The flow is driven by hand: a script says what the wire answers. The gate is a real one with a clock that is turned by hand.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from failover_world import US, Clock, Draws, target

from console.core.breaker import BreakerPolicy, Permit, Result
from console.core.flow import (
    BACKOFF_S,
    JITTER_S,
    LEAST_S,
    MAX_ATTEMPTS,
    PATIENCE_S,
    RETRY_S,
    SERVE,
    TRIAL_S,
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
    chain_flow,
    passing_flow,
    reason_of,
)
from console.core.switches import ALL, Scope, Switch
from console.core.targets import LimitsPolicy, Target
from console.runtime import gate as gate_module
from console.sdk.drivers import run, run_async

if TYPE_CHECKING:
    from collections.abc import Generator

    from console.core.routes import Force

A, B, C = target("a"), target("b"), target("c")
ELSEWHERE = target("d", "https://elsewhere")
LIMITS = LimitsPolicy(answer=60.0, first_token=20.0, silence=15.0)
STOP = Stopped(Switch(ALL))
GOOD = Answered(200)
BUSY = Answered(529, error="overloaded_error")


def kill(model: str) -> Stopped:
    return Stopped(Switch(Scope("model", model)))


class Ledger(gate_module.Gate):
    """A real gate that keeps a list of what was given back."""

    def __init__(self) -> None:
        super().__init__(BreakerPolicy())
        self.settled: list[tuple[str, Result, int]] = []
        self.open = 0

    def admit(self, target: str, forced: Any) -> Permit | None:
        permit = super().admit(target, forced)
        self.open += permit is not None
        return permit

    def last_resort(self, targets: Any, forced: Any) -> Any:
        found = super().last_resort(targets, forced)
        self.open += found is not None
        return found

    def settle(self, target: str, permit: Permit, result: Result, *, reason: str = "", cooldown_us: int = 0) -> None:
        self.open -= 1
        self.settled.append((target, result, cooldown_us))
        super().settle(target, permit, result, reason=reason, cooldown_us=cooldown_us)

    @property
    def results(self) -> list[tuple[str, Result]]:
        return [(name, result) for name, result, _ in self.settled]

    def trip(self, *names: str) -> None:
        """Opens breakers."""
        for name in names:
            for _ in range(3):
                super().settle(name, super().admit(name, {}) or Permit(0), "failure", reason="529")

    def state(self, name: str) -> str:
        return self._breakers[name].state


@dataclass(slots=True)
class Story:
    """How a call went."""

    verdict: Verdict
    effects: list[Effect] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        return [effect.target.name for effect in self.effects if isinstance(effect, Send) and effect.target is not None]

    @property
    def pauses(self) -> list[float]:
        return [effect.seconds for effect in self.effects if isinstance(effect, Wait)]


class Scene:
    """A gate, a clock, and calls that are driven through a script one at a time."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.clock, self.draws = Clock(), Draws()
        patch.setattr(gate_module, "steady_us", self.clock)
        patch.setattr(gate_module, "random", self.draws)
        self.gate = Ledger()
        self.attempt_s = 0.0
        """How long every attempt takes."""

    def flow(
        self,
        *targets: Target,
        is_streamed: bool = False,
        deadline_s: float | None = None,
        retries: int = 1,
        limits: LimitsPolicy = LIMITS,
        forced: dict[str, Force] | None = None,
        trial: Target | None = None,
    ) -> Generator[Effect, Reply, Verdict]:
        now_us = self.clock.now_us
        return chain_flow(
            Plan(targets, limits, forced or {}),
            self.gate,
            started_us=now_us,
            deadline_us=None if deadline_s is None else now_us + round(deadline_s * US),
            is_streamed=is_streamed,
            retries=retries,
            trial=trial,
        )

    def play(self, targets: tuple[Target, ...], *script: Reply, **options: Any) -> Story:
        """The script has what is said to every Send and Pull; a pause is slept through unless the script says Stopped."""
        story, replies = Story(Refuse(Switch(ALL))), iter(script)
        queue: list[Reply] = []

        class Wire:
            def perform(_, effect: Effect) -> Reply:
                story.effects.append(effect)
                if isinstance(effect, Wait):
                    queue.extend(itertools.islice(replies, 1))
                    if queue and isinstance(queue[0], Stopped):
                        return queue.pop()
                    self.clock.tick(effect.seconds)
                    return Woken(self.clock.now_us)
                reply = queue.pop() if queue else next(replies, None)
                assert reply is not None, f"the script does not say what comes of {effect}"
                if isinstance(reply, Stopped):
                    return reply
                self.clock.tick(self.attempt_s)
                return reply._replace(at_us=self.clock.now_us)  # type: ignore[return-value]

        story.verdict = run(self.flow(*targets, **options), Wire())
        assert next(replies, None) is None, "the call has ended before its script"
        return story


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


# -- a call that the application decides alone -------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [GOOD, BUSY, Answered(400), Failed("timeout")], ids=repr)
def test_without_a_chain_whatever_comes_back_is_served_after_one_attempt(reply: Reply) -> None:
    flow = passing_flow()
    assert flow.send(None) == Send(None)
    with pytest.raises(StopIteration) as end:
        flow.send(reply)
    assert end.value.value == SERVE


def test_without_a_chain_a_kill_switch_refuses_the_call() -> None:
    flow = passing_flow()
    flow.send(None)
    with pytest.raises(StopIteration) as end:
        flow.send(STOP)
    assert end.value.value == Refuse(STOP.switch)


# -- the table of errors -----------------------------------------------------------------------------------------------

CONFIGURED_404 = Answered(404, error="not_found_error")
SERVED = [400, 405, 413, 415, 422, 451]
AGAIN_THEN_NEXT = [408, 409, 424, 500, 502, 505]
NEXT = [429, 503, 504, 529, 404]
ACCOUNT = [401, 402, 403]
SHAPES = pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "stream"])


def good(*, is_streamed: bool) -> tuple[Reply, ...]:
    """What the wire says to a call that goes well."""
    return (Answered(200, is_unread_stream=True, is_unread=True), Committed()) if is_streamed else (GOOD,)


@SHAPES
def test_a_call_that_goes_well_asks_the_first_target_once(scene: Scene, is_streamed: bool) -> None:
    story = scene.play((A, B), *good(is_streamed=is_streamed), is_streamed=is_streamed)
    assert story.asked == ["a"] and story.pauses == []
    assert isinstance(story.verdict, Serve) and story.verdict.position == 0
    assert (story.verdict.permit is not None) == is_streamed
    assert scene.gate.results == ([] if is_streamed else [("a", "success")])


@SHAPES
@pytest.mark.parametrize("status", SERVED)
def test_the_callers_own_fault_is_served_at_once_and_counts_against_nobody(
    scene: Scene, status: int, is_streamed: bool
) -> None:
    story = scene.play((A, B), Answered(status), is_streamed=is_streamed)
    assert (story.verdict, story.asked) == (Serve(0), ["a"])
    assert scene.gate.results == [("a", "neutral")]


@SHAPES
@pytest.mark.parametrize("status", AGAIN_THEN_NEXT)
def test_some_failures_are_tried_once_more_and_then_elsewhere(scene: Scene, status: int, is_streamed: bool) -> None:
    done = good(is_streamed=is_streamed)
    story = scene.play((A, B), Answered(status), Answered(status), *done, is_streamed=is_streamed)
    assert story.asked == ["a", "a", "b"]
    assert story.pauses == [RETRY_S[0]]
    assert isinstance(story.verdict, Serve) and story.verdict.position == 1
    expected = "neutral" if status == 409 else "failure"
    assert scene.gate.results[:2] == [("a", expected)] * 2


@SHAPES
@pytest.mark.parametrize("status", NEXT)
def test_others_are_tried_elsewhere_at_once(scene: Scene, status: int, is_streamed: bool) -> None:
    story = scene.play((A, B), Answered(status), *good(is_streamed=is_streamed), is_streamed=is_streamed)
    assert (story.asked, story.pauses) == (["a", "b"], [])
    assert scene.gate.results[0] == ("a", "failure")


@SHAPES
@pytest.mark.parametrize("status", ACCOUNT)
def test_a_refused_account_is_not_asked_again_and_another_one_is(scene: Scene, status: int, is_streamed: bool) -> None:
    done = good(is_streamed=is_streamed)
    story = scene.play((A, B, ELSEWHERE), Answered(status), *done, is_streamed=is_streamed)
    assert (story.asked, story.pauses) == (["a", "d"], [])
    assert scene.gate.results[0] == ("a", "neutral"), "that the key is wrong says nothing of the target"


@pytest.mark.parametrize("status", ACCOUNT)
def test_a_refused_account_is_what_the_caller_sees_when_there_is_no_other(scene: Scene, status: int) -> None:
    story = scene.play((A, B), Answered(status))
    assert (story.verdict, story.asked) == (GiveUp(0, 0), ["a"])


FAILED = {
    "timeout": ["a", "b"],
    "connection": ["a", "b"],
    "malformed_event": ["a", "b"],
    "reset": ["a", "a", "b"],
    "truncated_stream": ["a", "a", "b"],
}


@SHAPES
@pytest.mark.parametrize("kind", FAILED)
def test_b6_without_an_answer_the_call_moves_on(scene: Scene, kind: str, is_streamed: bool) -> None:
    failures = [Failed(kind)] * (len(FAILED[kind]) - 1)
    story = scene.play((A, B), *failures, *good(is_streamed=is_streamed), is_streamed=is_streamed)
    assert story.asked == FAILED[kind]
    assert scene.gate.results[0] == ("a", "failure")


def test_a_failure_of_the_applications_own_is_raised_as_it_is_and_counts_against_nobody(scene: Scene) -> None:
    story = scene.play((A, B), Failed("TypeError"))
    assert (story.verdict, story.asked, scene.gate.results) == (Serve(0), ["a"], [("a", "neutral")])


def test_a_full_pool_ends_the_chain_and_counts_against_nobody(scene: Scene) -> None:
    story = scene.play((A, B), Failed("pool"))
    assert (story.verdict, story.asked, scene.gate.results) == (GiveUp(None), ["a"], [("a", "neutral")])


def test_a_target_without_a_readable_key_is_passed_over(scene: Scene) -> None:
    story = scene.play((ELSEWHERE, A), Failed("no_key"), GOOD)
    assert (story.asked, scene.gate.results[0]) == (["d", "a"], ("d", "neutral"))


def test_a_404_of_the_applications_own_model_is_served(scene: Scene) -> None:
    own = target("own", is_configured=False)
    assert scene.play((own, B), Answered(404)).verdict == Serve(0)


def test_a_404_of_a_model_that_the_application_did_not_name_is_no_fault_of_its(scene: Scene) -> None:
    routed = target("retired", is_configured=False)
    story = scene.play((routed, B), Answered(404, is_changed=True), GOOD)
    assert story.asked == ["retired", "b"]
    assert scene.gate.results[0] == ("retired", "failure")


# -- errors in band ----------------------------------------------------------------------------------------------------

STREAM = Answered(200, is_unread_stream=True, is_unread=True)


@pytest.mark.parametrize("kind", ["overloaded_error", "api_error", "rate_limit_error", "timeout_error", "something_new"])
def test_b7_an_error_before_the_first_content_moves_on(scene: Scene, kind: str) -> None:
    story = scene.play((A, B), STREAM, Failed(kind, is_in_band=True), STREAM, Committed(), is_streamed=True)
    assert story.asked == ["a", "b"] and story.pauses == []
    assert scene.gate.results == [("a", "failure")]


@pytest.mark.parametrize("kind", ["invalid_request_error", "request_too_large"])
def test_b7_the_callers_fault_in_band_is_served(scene: Scene, kind: str) -> None:
    story = scene.play((A, B), STREAM, Failed(kind, is_in_band=True), is_streamed=True)
    assert (story.verdict, scene.gate.results) == (Serve(0), [("a", "neutral")])


@pytest.mark.parametrize("kind", ["authentication_error", "billing_error", "permission_error"])
def test_b7_a_refused_account_in_band_is_one(scene: Scene, kind: str) -> None:
    story = scene.play((A, B, ELSEWHERE), STREAM, Failed(kind, is_in_band=True), STREAM, Committed(), is_streamed=True)
    assert story.asked == ["a", "d"]


def test_b7_what_was_said_in_band_is_what_the_caller_sees_in_the_end(scene: Scene) -> None:
    story = scene.play((A, B), STREAM, Failed("api_error", is_in_band=True), Failed("timeout"), is_streamed=True)
    assert story.verdict == GiveUp(0, 0)


# -- what the caller sees at the end -----------------------------------------------------------------------------------


def test_the_last_http_answer_that_says_why_is_shown(scene: Scene) -> None:
    assert scene.play((A, B, C), Answered(529), Answered(503), Failed("timeout")).verdict == GiveUp(1, 1)


def test_without_any_answer_there_is_none_to_show(scene: Scene) -> None:
    assert scene.play((A, B), Failed("timeout"), Failed("timeout")).verdict == GiveUp(None)


MISFIT = Answered(400, is_changed=True, error="invalid_request_error")


@pytest.mark.parametrize("status", [400, 422])
def test_b12_a_misfit_is_passed_over_and_counts_against_nobody(scene: Scene, status: int) -> None:
    story = scene.play((A, B, C), Answered(529), Answered(status, is_changed=True), GOOD)
    assert (story.asked, story.pauses) == (["a", "b", "c"], [])
    assert scene.gate.results == [("a", "failure"), ("b", "neutral"), ("c", "success")]


def test_b12_a_misfits_400_is_never_shown_instead_of_the_real_failure(scene: Scene) -> None:
    assert scene.play((A, B), Answered(529), MISFIT).verdict == GiveUp(0, 0)


def test_b12_nor_when_the_real_failure_has_no_answer(scene: Scene) -> None:
    assert scene.play((A, B), Failed("timeout"), MISFIT).verdict == GiveUp(None)


def test_b12_nor_when_the_first_target_is_out(scene: Scene) -> None:
    scene.gate.trip("a")
    assert scene.play((A, B), MISFIT).verdict == GiveUp(None)


def test_b12_nor_when_the_first_target_is_killed(scene: Scene) -> None:
    assert scene.play((A, B), kill("claude-a"), MISFIT).verdict == GiveUp(None)


def test_b12_nothing_but_misfits_shows_the_first_one(scene: Scene) -> None:
    assert scene.play((A, B), MISFIT, MISFIT).verdict == GiveUp(0, 0)


def test_b12_a_chain_of_misfits_ends_after_one_attempt_each_call_after_call(scene: Scene) -> None:
    for _ in range(200):
        scene.gate.begin()
        flow, asked, reply = scene.flow(A, B), [], None
        with pytest.raises(StopIteration):
            while True:
                effect = flow.send(reply)
                assert isinstance(effect, Send)
                asked.append(effect)
                reply = MISFIT._replace(at_us=scene.clock.now_us)
        assert len(asked) <= 2
    assert scene.gate.state("a") == scene.gate.state("b") == "closed"


# -- retry-after -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked_s", [0.0, 1.0, 2.0])
def test_b2_a_short_retry_after_of_a_429_is_waited_for(scene: Scene, asked_s: float) -> None:
    scene.draws.value = 0.5
    story = scene.play((A, B), Answered(429, retry_after_s=asked_s), GOOD)
    assert story.asked == ["a", "a"]
    assert story.pauses == [pytest.approx(asked_s + 0.5 * JITTER_S)]
    assert scene.gate.results == [("a", "neutral"), ("a", "success")], "it asked for a pause and got it"


@pytest.mark.parametrize("asked_s", [2.1, 60.0, 3600.0])
@pytest.mark.parametrize("status", [429, 503, 529, 500])
def test_b2_a_longer_one_becomes_the_targets_cooldown(scene: Scene, status: int, asked_s: float) -> None:
    story = scene.play((A, B), Answered(status, retry_after_s=asked_s), GOOD)
    assert (story.asked, story.pauses) == (["a", "b"], [])
    assert scene.gate.settled[0] == ("a", "failure", round(asked_s * US))
    assert scene.gate.state("a") == "open"
    scene.clock.tick(max(asked_s, 10.0) - 0.001)
    assert scene.play((A, B), GOOD).asked == ["b"]
    scene.clock.tick(0.002)
    assert scene.play((A, B), GOOD).asked == ["a"]


@pytest.mark.parametrize("status", [503, 529])
@pytest.mark.parametrize("asked_s", [0.0, 1.0, None])
def test_b2_who_is_too_busy_is_not_waited_for_while_there_is_another(scene: Scene, status: int, asked_s: float | None) -> None:
    story = scene.play((A, B), Answered(status, retry_after_s=asked_s), GOOD)
    assert (story.asked, story.pauses) == (["a", "b"], [])


@pytest.mark.parametrize("asked_s", [0.0, 1.0, 2.1, PATIENCE_S])
@pytest.mark.parametrize("status", [429, 503, 529])
def test_b2_with_no_other_target_there_is_more_patience(scene: Scene, status: int, asked_s: float) -> None:
    story = scene.play((A,), Answered(status, retry_after_s=asked_s), GOOD)
    assert (story.asked, story.pauses) == (["a", "a"], [asked_s])


def test_b2_but_not_for_an_hour(scene: Scene) -> None:
    story = scene.play((A,), Answered(529, retry_after_s=3600.0))
    assert (story.verdict, story.pauses) == (GiveUp(0, 0), [])
    assert scene.gate.settled == [("a", "failure", 3600 * US)]


@pytest.mark.parametrize("status", [429, 503, 529])
def test_an_only_target_that_is_too_busy_is_asked_once_more_after_a_pause(scene: Scene, status: int) -> None:
    scene.draws.value = 1.0
    story = scene.play((A,), Answered(status), Answered(status))
    assert (story.asked, story.pauses, story.verdict) == (["a", "a"], [sum(BACKOFF_S)], GiveUp(1, 0))


def test_an_only_target_that_took_too_long_is_not_asked_again(scene: Scene) -> None:
    assert scene.play((A,), Failed("timeout")).asked == ["a"]
    assert scene.play((A,), Answered(504)).asked == ["a"]


# -- deadline and limits -----------------------------------------------------------------------------------------------


def test_i2_every_attempt_gets_its_limit_or_its_share_of_what_is_left_until_the_deadline(scene: Scene) -> None:
    """One silent target leaves time for the others; the last one may use all of it."""
    scene.attempt_s = 30.0
    story = scene.play((A, B, C), Failed("timeout"), Failed("timeout"), Failed("timeout"), deadline_s=90.0)
    assert [effect.limit_s for effect in story.effects if isinstance(effect, Send)] == [30.0, 30.0, 30.0]
    story = scene.play((A, B), Failed("timeout"), Failed("timeout"), deadline_s=900.0)
    assert [effect.limit_s for effect in story.effects if isinstance(effect, Send)] == [60.0, 60.0]


@pytest.mark.parametrize(("left_s", "is_asked"), [(0.0, False), (LEAST_S / 2, False), (LEAST_S, True), (-5.0, False)])
def test_i2_no_attempt_begins_that_cannot_fit(scene: Scene, left_s: float, is_asked: bool) -> None:
    scene.attempt_s = 10.0
    story = scene.play((A, B), Failed("timeout"), *([GOOD] if is_asked else []), deadline_s=10.0 + left_s)
    assert story.asked == (["a", "b"] if is_asked else ["a"])


def test_i2_no_pause_begins_that_ends_beyond_the_deadline(scene: Scene) -> None:
    scene.attempt_s = 1.0
    assert scene.play((A,), Answered(529, retry_after_s=5.0), deadline_s=6.0).pauses == []
    assert scene.play((A,), Answered(500), deadline_s=1.09).pauses == []
    scene.gate = Ledger()
    assert scene.play((A,), Answered(500), GOOD, deadline_s=1.2).pauses == [RETRY_S[0]]


def test_i2_a_stream_is_pulled_until_the_sooner_of_limit_and_deadline(scene: Scene) -> None:
    scene.attempt_s = 4.0
    now_us = scene.clock.now_us
    story = scene.play((A,), STREAM, Committed(), is_streamed=True)
    assert story.effects[1] == Pull(now_us + 20 * US), "from the moment at which it was asked"
    now_us = scene.clock.now_us
    story = scene.play((A,), STREAM, Committed(), is_streamed=True, deadline_s=9.0)
    assert story.effects[1] == Pull(now_us + 9 * US)
    free = LimitsPolicy()
    assert scene.play((A,), STREAM, Committed(), is_streamed=True, limits=free).effects == [Send(A, None), Pull(None)]


@SHAPES
def test_what_takes_more_than_half_of_its_limit_is_slow(scene: Scene, is_streamed: bool) -> None:
    scene.attempt_s = 5.1 if is_streamed else 30.1
    story = scene.play((A,), *good(is_streamed=is_streamed), is_streamed=is_streamed)
    if is_streamed:  # twice 5.1 s of 20
        assert isinstance(story.verdict, Serve) and story.verdict.is_slow
    else:
        assert scene.gate.results == [("a", "slow")]


# -- how many ----------------------------------------------------------------------------------------------------------


@SHAPES
def test_i1_a_call_makes_at_most_three_attempts(scene: Scene, is_streamed: bool) -> None:
    many = tuple(target(name) for name in "abcdefgh")
    story = scene.play(many, *[BUSY] * MAX_ATTEMPTS, is_streamed=is_streamed)
    assert story.asked == ["a", "b", "c"]
    story = scene.play(many[3:], Answered(500), Answered(500), Answered(500), is_streamed=is_streamed, retries=1)
    assert story.asked == ["d", "d", "e"]


def test_i1_a_caller_that_wants_no_retries_gets_none(scene: Scene) -> None:
    story = scene.play((A, B), Answered(500), Answered(429, retry_after_s=0.0), retries=0)
    assert (story.asked, story.pauses) == (["a", "b"], [])


def test_i1_the_same_target_is_asked_again_once_in_a_call_and_not_once_for_each(scene: Scene) -> None:
    story = scene.play((A, B), Answered(500), Answered(500), Answered(500))
    assert story.asked == ["a", "a", "b"]


def test_b1_while_everything_fails_requests_stay_within_a_fifth_more_than_calls(scene: Scene) -> None:
    """409s trip no breaker: nothing but the budget bounds them."""
    asked = 0
    for calls in range(1, 501):
        scene.gate.begin()
        flow, reply = scene.flow(A, B), None
        with pytest.raises(StopIteration):
            while True:
                effect = flow.send(reply)
                asked += isinstance(effect, Send)
                reply = Woken(scene.clock.now_us) if isinstance(effect, Wait) else Answered(409, scene.clock.now_us)
        assert asked <= 1.2 * calls + 10
    assert asked >= 1.15 * 500, "and the budget is there to be used"


def test_b1_an_outage_of_every_target_is_bounded_too(scene: Scene) -> None:
    asked = 0
    for calls in range(1, 501):
        scene.gate.begin()
        flow, reply = scene.flow(A, B, C), None
        with pytest.raises(StopIteration):
            while True:
                effect = flow.send(reply)
                asked += isinstance(effect, Send)
                reply = Woken(scene.clock.now_us) if isinstance(effect, Wait) else BUSY._replace(at_us=scene.clock.now_us)
        scene.clock.tick(0.1)
        assert asked <= 1.2 * calls + 10
    assert asked < 80, "50 s: nine to open three, then one a second at the most"


def test_i1_an_attempt_that_has_helped_costs_nothing(scene: Scene) -> None:
    for _ in range(100):
        assert scene.play((A, B), Answered(409), GOOD).asked == ["a", "a"]
    assert scene.gate._budget.tokens == scene.gate._budget.CAPACITY


# -- kill switches -----------------------------------------------------------------------------------------------------


@SHAPES
def test_i12_a_kill_before_any_attempt_refuses_the_call(scene: Scene, is_streamed: bool) -> None:
    story = scene.play((A, B), STOP, is_streamed=is_streamed)
    assert (story.verdict, story.asked) == (Refuse(STOP.switch), ["a"])
    assert scene.gate.results == [("a", "neutral")]


@pytest.mark.parametrize("scope", [ALL, Scope("feature", "f"), Scope("customer", "c")], ids=str)
def test_a13_a_kill_between_two_attempts_ends_the_call(scene: Scene, scope: Scope) -> None:
    switch = Switch(scope)
    story = scene.play((A, B), BUSY, Stopped(switch))
    assert (story.verdict, scene.gate.results) == (Refuse(switch), [("a", "failure"), ("b", "neutral")])


@pytest.mark.parametrize("reply", [Answered(500), Answered(429, retry_after_s=2.0)], ids=["backoff", "retry-after"])
def test_a13_a_kill_ends_a_pause_and_the_call(scene: Scene, reply: Answered) -> None:
    story = scene.play((A, B), reply, STOP)
    assert story.verdict == Refuse(STOP.switch)
    assert (len(story.pauses), story.asked) == (1, ["a"])


def test_i12_a_kill_on_a_model_skips_its_target_alone(scene: Scene) -> None:
    story = scene.play((A, B), kill("claude-a"), GOOD)
    assert isinstance(story.verdict, Serve) and story.verdict.position == 1
    assert scene.gate.results == [("a", "neutral"), ("b", "success")]


def test_i12_also_in_a_pause(scene: Scene) -> None:
    story = scene.play((A, B), Answered(500), kill("claude-a"), GOOD)
    assert (story.asked, len(story.pauses)) == (["a", "b"], 1)


def test_i12_without_another_target_it_stops_the_call(scene: Scene) -> None:
    stopped = kill("claude-a")
    assert scene.play((A,), stopped).verdict == Refuse(stopped.switch)
    assert scene.play((A,), Answered(500), stopped).verdict == Refuse(stopped.switch)


def test_i12_when_every_model_is_killed_the_call_is_refused(scene: Scene) -> None:
    last = kill("claude-b")
    assert scene.play((A, B), kill("claude-a"), last).verdict == Refuse(last.switch)


def test_i12_a_killed_fallback_leaves_the_real_failure(scene: Scene) -> None:
    assert scene.play((A, B), BUSY, kill("claude-b")).verdict == GiveUp(0, 0)


# -- all are out -------------------------------------------------------------------------------------------------------


def test_i6_an_open_target_is_passed_over(scene: Scene) -> None:
    scene.gate.trip("a")
    assert scene.play((A, B), GOOD).asked == ["b"]


def test_i6_when_all_are_out_one_call_a_second_asks_and_the_others_do_not(scene: Scene) -> None:
    scene.gate.trip("a", "b")
    assert scene.play((A, B), BUSY).asked == ["a"]
    for _ in range(50):
        assert scene.play((A, B)) == Story(GiveUp(None), [])
    scene.clock.tick(1.0)
    assert len(scene.play((A, B), BUSY).asked) == 1
    assert scene.gate.open == 0


def test_i6_a_last_resort_that_answers_well_is_served(scene: Scene) -> None:
    scene.gate.trip("a", "b")
    story = scene.play((A, B), GOOD)
    assert isinstance(story.verdict, Serve) and story.verdict.position == 0


def test_i6_what_an_operator_holds_open_is_no_last_resort(scene: Scene) -> None:
    scene.gate.trip("b")
    forced: dict[str, Force] = {"a": "forced_open"}
    story = scene.play((A, B), GOOD, forced=forced)
    assert (story.asked, story.verdict) == (["b"], Serve(1))
    assert scene.play((A,), forced=forced) == Story(GiveUp(None), [])


def test_what_an_operator_holds_closed_is_asked_whatever_it_answers(scene: Scene) -> None:
    for _ in range(20):
        story = scene.play((A,), BUSY, retries=0, forced={"a": "forced_closed"})
        assert story.asked == ["a"]


# -- what is held is given back ----------------------------------------------------------------------------------------


def histories() -> list[tuple[tuple[Reply, ...], bool]]:
    """Ways to every place at which the flow can be left."""
    wake = Woken(1_000 * US)
    return [
        ((), False),
        ((Answered(500),), False),
        ((Answered(500), wake), False),
        ((BUSY,), False),
        ((BUSY, BUSY), False),
        ((kill("claude-a"),), False),
        ((STREAM,), True),
        ((STREAM, Failed("overloaded_error", is_in_band=True)), True),
        ((STREAM, Failed("truncated_stream")), True),
        ((STREAM, Failed("truncated_stream"), wake), True),
        ((STREAM, Failed("truncated_stream"), wake, STREAM), True),
    ]


@pytest.mark.parametrize("is_probe", [False, True], ids=["closed", "half_open"])
@pytest.mark.parametrize("error", [None, RuntimeError("wire"), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize(("replies", "is_streamed"), histories())
def test_i4_i11_a_permit_comes_back_wherever_a_call_is_left(
    scene: Scene,
    replies: tuple[Reply, ...],
    is_streamed: bool,
    error: BaseException | None,
    is_probe: bool,
) -> None:
    if is_probe:
        scene.gate.trip("a", "b", "c")
        scene.clock.tick(12.0)
    flow = scene.flow(A, B, C, is_streamed=is_streamed)
    flow.send(None)
    for reply in replies:
        flow.send(reply)
    if error is None:
        flow.close()
    else:
        with pytest.raises(type(error)):
            flow.throw(error)
    assert scene.gate.open == 0
    if scene.gate.results and not isinstance(replies[-1] if replies else None, Answered):
        assert scene.gate.results[-1][1] in ("neutral", "failure")


def test_i11_a_call_that_is_left_counts_against_nobody(scene: Scene) -> None:
    for _ in range(50):
        flow = scene.flow(A, B)
        flow.send(None)
        flow.close()
    assert scene.gate.state("a") == "closed"
    assert set(scene.gate.results) == {("a", "neutral")}


def test_a_flow_that_never_began_holds_nothing(scene: Scene) -> None:
    scene.flow(A).close()
    assert (scene.gate.open, scene.gate.settled) == (0, [])


def test_a_committed_stream_hands_its_permit_to_its_reader(scene: Scene) -> None:
    verdict = scene.play((A, B), STREAM, Committed(), is_streamed=True).verdict
    assert isinstance(verdict, Serve) and verdict.permit is not None and verdict.permit.probe == 0
    assert (scene.gate.open, scene.gate.settled) == (1, [])
    scene.gate.settle("a", verdict.permit, "failure", reason="stream broke")
    assert scene.gate.open == 0


def test_an_unread_answer_is_the_readers_as_well(scene: Scene) -> None:
    verdict = scene.play((A,), Answered(200, is_unread=True)).verdict
    assert isinstance(verdict, Serve) and verdict.permit is not None
    assert scene.gate.settled == []


def test_b4_a_streams_probe_is_settled_when_its_first_content_comes(scene: Scene) -> None:
    scene.gate.trip("a")
    scene.clock.tick(12.0)
    verdict = scene.play((A, B), STREAM, Committed(), is_streamed=True).verdict
    assert scene.gate.results == [("a", "success")]
    assert isinstance(verdict, Serve) and verdict.permit is not None and verdict.permit.probe == 0
    assert scene.gate._breakers["a"].is_ramping()
    scene.gate.settle("a", verdict.permit, "failure", reason="stream broke")
    assert scene.gate.state("a") == "open", "provisional success has become a failure"


def test_b16_a_fallbacks_stream_is_served_as_the_fallbacks(scene: Scene) -> None:
    story = scene.play((A, B), BUSY, STREAM, Committed(), is_streamed=True)
    assert isinstance(story.verdict, Serve) and story.verdict.position == 1


def test_what_went_wrong_is_told_in_a_few_words() -> None:
    assert reason_of(BUSY) == "529 overloaded_error"
    assert reason_of(Answered(502)) == "502"
    assert reason_of(Failed("timeout")) == "timeout"


# -- the two drivers ---------------------------------------------------------------------------------------------------


class ScriptedWire:
    """Replies as written down, and remembers what it was asked. An exception among the replies is raised."""

    def __init__(self, *replies: Reply | BaseException) -> None:
        self._replies = iter(replies)
        self.asked: list[Effect] = []

    def perform(self, effect: Effect) -> Reply:
        self.asked.append(effect)
        reply = next(self._replies)
        if isinstance(reply, BaseException):
            raise reply
        return reply


class AwaitedWire(ScriptedWire):
    """The same for the asynchronous driver."""

    async def perform(self, effect: Effect) -> Reply:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().perform(effect)


def _run(flow: Generator[Effect, Reply, Verdict], *replies: Reply | BaseException) -> tuple[Verdict, list[Effect]]:
    wire = ScriptedWire(*replies)
    return run(flow, wire), wire.asked


def _run_async(flow: Generator[Effect, Reply, Verdict], *replies: Reply | BaseException) -> tuple[Verdict, list[Effect]]:
    wire = AwaitedWire(*replies)
    return asyncio.run(run_async(flow, wire)), wire.asked


drivers = pytest.mark.parametrize("drive", [_run, _run_async], ids=["blocking", "awaiting"])
Drive = Any


def _many(closed: list[str]) -> Generator[Effect, Reply, Verdict]:
    """A flow with every effect, to try the drivers with."""
    try:
        assert (yield Send(A)) == Answered(529)
        reply = yield Wait(1.5)
        if isinstance(reply, Stopped):
            return Refuse(reply.switch)
        assert (yield Send(B)) == STREAM
        assert (yield Pull(7)) == Failed("connection")
        return SERVE
    finally:
        closed.append("closed")


@drivers
def test_both_drivers_perform_the_same_effects_in_the_same_order(drive: Drive) -> None:
    closed: list[str] = []
    whole = (Answered(529), Woken(), STREAM, Failed("connection"))
    assert drive(_many(closed), *whole) == (SERVE, [Send(A), Wait(1.5), Send(B), Pull(7)])
    assert drive(_many(closed), Answered(529), STOP) == (Refuse(STOP.switch), [Send(A), Wait(1.5)])
    assert closed == ["closed", "closed"]


@drivers
@pytest.mark.parametrize(
    "error", [RuntimeError("wire"), KeyboardInterrupt(), asyncio.CancelledError(), StopAsyncIteration()], ids=repr
)
def test_i11_a_flow_is_closed_when_the_wire_raises_and_the_caller_gets_what_it_raised(
    error: BaseException, drive: Drive
) -> None:
    closed: list[str] = []
    with pytest.raises(type(error)):
        drive(_many(closed), Answered(529), error)
    assert closed == ["closed"]


def test_i11_a_flow_is_closed_when_its_task_is_cancelled() -> None:
    closed: list[str] = []

    class Hanging:
        async def perform(self, _: Effect) -> Reply:
            await asyncio.sleep(60)
            return None

    async def cancel() -> None:
        task = asyncio.create_task(run_async(_many(closed), Hanging()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert closed == ["closed"]


def test_a_chain_of_no_targets_is_given_up_at_once(scene: Scene) -> None:
    assert scene.play(()).verdict == GiveUp(None)


# -- the trial of a fallback (I14) ---------------------------------------------------------------------------------------

BAD = [*(Answered(status) for status in (400, 401, 403, 404, 413, 424, 429, 500, 529)),
       Answered(400, error="invalid_request_error", is_long=True), Answered(429, error="x: enforced_spend_limit_reached"),
       Answered(529, retry_after_s=1.0), *(Failed(kind) for kind in ("timeout", "reset", "pool", "no_key", "OwnDefect"))]  # fmt: skip


@SHAPES
def test_i14_a_trial_that_answers_well_is_the_call(scene: Scene, is_streamed: bool) -> None:
    story = scene.play((A, B), *good(is_streamed=is_streamed), is_streamed=is_streamed, trial=B)
    assert story.asked == ["b"]
    assert isinstance(story.verdict, Serve) and story.verdict.position == 1


@SHAPES
@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_i14_a_trial_that_fails_takes_nothing_from_the_call(scene: Scene, bad: Reply, is_streamed: bool) -> None:
    """The same account, no retry budget: the chain is gone through as if nothing had been asked."""
    while scene.gate.take():
        pass
    story = scene.play((A, B), bad, *good(is_streamed=is_streamed), is_streamed=is_streamed, trial=B)
    assert (story.asked, story.pauses) == (["b", "a"], [])
    assert isinstance(story.verdict, Serve) and story.verdict.position == 0
    assert scene.gate.settled[0][0] == "b"
    assert not scene.gate.take()


def test_i14_a_trial_is_none_of_the_attempts_and_no_answer_of_the_call(scene: Scene) -> None:
    story = scene.play((A, B), Failed("no_key"), Answered(401), trial=B)
    assert (story.asked, story.verdict) == (["b", "a"], GiveUp(0, 0))
    story = scene.play((A, B), Answered(403), BUSY, Failed("timeout"), trial=B)
    assert (story.asked, story.verdict) == (["b", "a", "b"], GiveUp(1, 0))
    story = scene.play((A, B, C), BUSY, Answered(500), Answered(500), GOOD, trial=C)
    assert story.asked == ["c", "a", "a", "b"]


def test_i14_what_a_trial_has_found_out_is_for_the_targets_breaker(scene: Scene) -> None:
    scene.play((A, B), Answered(404, error="not_found_error"), GOOD, trial=B)
    assert scene.gate.state("b") == "open"
    assert scene.play((A, B), GOOD, trial=B).asked == ["a"]


@SHAPES
def test_i14_a_trial_may_take_a_few_seconds_and_its_share_of_the_callers(scene: Scene, is_streamed: bool) -> None:
    def limits(*script: Reply, **options: Any) -> list[float | None]:
        effects = scene.play((A, B), *script, is_streamed=is_streamed, trial=B, **options).effects
        return [effect.limit_s for effect in effects if isinstance(effect, Send)]

    whole = LIMITS.first_token if is_streamed else LIMITS.answer
    done = good(is_streamed=is_streamed)
    assert limits(BUSY, *done) == [TRIAL_S, whole]
    assert limits(BUSY, *done, limits=LimitsPolicy(answer=None, first_token=None)) == [TRIAL_S, None]
    assert limits(BUSY, *done, deadline_s=6) == [2.0, 3.0]
    assert len(limits(*done, deadline_s=3 * LEAST_S - 0.01)) == 1


def test_i14_only_a_switch_that_stops_the_call_ends_it_at_a_trial(scene: Scene) -> None:
    assert scene.play((A, B), STOP, trial=B).verdict == Refuse(STOP.switch)
    for stopped in (kill(B.model), kill(B.model)._replace(is_sent=True)):
        story = scene.play((A, B), stopped, GOOD, trial=B)
        assert (story.asked, story.verdict) == (["b", "a"], Serve(0))
    assert scene.play((A, B), kill(B.model)._replace(is_sent=True), Answered(401), trial=B).verdict == GiveUp(1, 0)
    assert scene.gate.open == 0


def test_i14_a_trial_whose_caller_goes_away_gives_its_permit_back(scene: Scene) -> None:
    flow = scene.flow(A, B, trial=B)
    flow.send(None)
    flow.close()
    assert (scene.gate.open, scene.gate.results) == (0, [("b", "neutral")])
