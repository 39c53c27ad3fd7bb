"""The circuit breaker of one target: when it is left alone, when it is asked again. Pure: `now_us` and draws are arguments.

Theory of operation. A call is *admitted* with a `Permit`, and the permit is *settled* exactly once with what became of it
(a stream that is given to the caller may be settled a second time, see `settle`). Times are microseconds of a steady clock.

    state       admits                                      leaves it
    closed      everything                                  to open: failures in a row, failure rate, slow rate, a cooldown
    open        nothing                                     to half_open: the dwell is over and a call asks
    half_open   one probe at a time; after one has          to open: a failure, with twice the dwell (in the ramp not
                succeeded a growing share (the ramp)        one behind ten good answers); to closed: the ramp is complete

A closed breaker becomes half_open, too, when another process of the host says that its own has opened (`suspect`): the next
call is the one probe. That is somebody else's word, so it never touches a breaker that has an opinion of its own: one that is
not closed (its cooldown stays what it is), or whose target has answered since that other one opened. When nobody says so any
more (`trust`), and nothing seen here speaks against the target, it is closed again, with or without a call.

A permit carries the generation in which it was admitted: what comes back late from an older one changes nothing. The dwell
grows until the target has stayed closed for a while, so a target that is well for five seconds at a time is asked ever less.
The failure rate needs a minimum volume; failures in a row need to lie within one window, so that three in a quiet night are no
outage. After Nygard, "Release It!", with the rolling window and the slow rate of resilience4j.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

State = Literal["closed", "open", "half_open"]
Result = Literal["success", "slow", "failure", "neutral"]
"""neutral: says nothing about the target (the caller's fault, cancelled, killed)."""

US: Final = 1_000_000
BUCKETS: Final = 10
PROBE_LEASE_US: Final = 30 * US
"""A probe that has not come back after so long is given up for lost, and another may go."""
RAMP_START: Final = 0.2
"""The share of calls that is admitted right after the first probe has succeeded."""
RAMP_GOOD: Final = 10
"""So many good answers of the ramp outweigh one that was not: a target that fails one time in a hundred must not be thrown out,
with twice the dwell, each time it comes back."""
QUIET_US: Final = 60 * US
QUIET_DWELLS: Final = 2
"""Closed for longer than QUIET_US and twice its last dwell: the next outage is a new one and starts with the first dwell."""
JITTER: Final = 0.1
"""A dwell is up to so much shorter, so that the processes of a fleet do not probe in step. Not longer: a target that is well
again after a minute is asked within 30 s, also by calls that come every few seconds."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a target is left alone, and for how long. Seconds and shares (0..1).

    It opens after `consecutive` failures in a row within the window, or when of at least `minimum_calls` in the window a share
    of `failure_rate` has failed or of `slow_rate` was slow (took more than half of its limit). It stays open for `dwell`, which
    doubles up to `max_dwell` until a probe succeeds; then its traffic comes back over `ramp`.
    """

    window: float = 30.0
    minimum_calls: int = 10
    failure_rate: float = 0.5
    slow_rate: float = 0.8
    consecutive: int = 3
    dwell: float = 10.0
    max_dwell: float = 900.0
    ramp: float = 10.0


class Permit(NamedTuple):
    """Leave to send one attempt. `probe`: the number of the probe that it is, 0 for an ordinary call."""

    generation: int
    probe: int = 0
    is_last_resort: bool = False
    """A probe before its time, because no target at all was left."""


class Breaker:
    """One target's breaker. Not thread-safe: `runtime.gate` holds the lock."""

    __slots__ = (
        "_bucket_us", "_closed_at", "_dwell_us", "_generation", "_outstanding", "_policy", "_probe_at", "_probes", "_put_off",
        "_ramp_from", "_ramp_good", "_ring", "_run", "_run_from", "_window_us", "good_at", "is_suspected", "permit", "reason",
        "since", "state", "until",
    )  # fmt: skip

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._window_us = round(policy.window * US)
        self._bucket_us = max(1, self._window_us // BUCKETS)
        self._ring: list[list[int]] = [[-1, 0, 0, 0] for _ in range(BUCKETS)]
        """(slot, good, failed, slow) each; a slot is `now // bucket`."""
        self._run = 0
        self._run_from = 0
        self._generation = 1
        self.permit = Permit(1)
        """What is admitted while it is closed, and then without asking: the path of nearly every call."""
        self._dwell_us = 0
        self._closed_at: int | None = None
        """When it closed after having been open; None: it never was, or that is long past."""
        self._probes = 0
        self._outstanding = 0
        self._probe_at = 0
        self._ramp_from: int | None = None
        self._ramp_good = 0
        """Since the ramp began, or since its last failure that was let pass."""
        self._put_off = 0
        """When the probe would have been due that an operator has asked for before; 0: nobody has."""
        self.state: State = "closed"
        self.since: int | None = None
        """When it stopped being closed, or was closed again: an outage is one however many probes fail in it. None: it has
        never been anything but closed."""
        self.until = 0
        """While open: when the next probe may go."""
        self.reason: str | None = None
        """Why it is not closed."""
        self.good_at: int | None = None
        """When an attempt was last settled as gone well; None: never."""
        self.is_suspected = False
        """It is half_open on another process's word, and nothing of our own says so."""

    def admit(self, now_us: int, draw: float) -> Permit | None:
        """Leave for one attempt, or None. `draw`: 0..1, decides who belongs to the share that comes back."""
        if self.state == "closed":
            return self.permit
        if self.state == "open":
            if now_us < self.until:
                return None
            self._enter("half_open", now_us)
        if self._ramp_from is None:  # before `until` only when a last resort did not come back
            return None if now_us < self.until else self._probe(now_us)
        share = self._share(now_us)
        if share >= 1:
            self._close(now_us)
        elif draw >= share:
            return None
        return self.permit

    def last_resort(self, now_us: int) -> Permit | None:
        """Leave for a probe before its time, for when there is no other target. None while one is under way."""
        if self.state == "open":
            self._enter("half_open", now_us)
        permit = self._probe(now_us) if self._ramp_from is None else self.permit
        return None if permit is None else permit._replace(is_last_resort=permit.probe > 0)

    def settle(
        self,
        permit: Permit,
        result: Result,
        now_us: int,
        draw: float = 0.0,
        *,
        reason: str = "",
        cooldown_us: int = 0,
    ) -> bool:
        """Gives the permit back. True when the state has changed.

        `reason`: what failed. `cooldown_us`: for how long the target has asked to be left alone; with it a failure opens at
        once. A stream is settled as a success when it is given to the caller only if it was a probe, and in any case at its
        end, with `permit._replace(probe=0)`.
        """
        if permit.generation != self._generation:
            return False
        if permit.probe:
            if permit.probe == self._outstanding:
                self._outstanding = 0
            elif result not in ("success", "slow"):  # given up for lost; a target that answers slowly must come back as well
                return False
        if result == "neutral":
            return self._resume(permit, now_us)
        if result != "failure":
            self.good_at = now_us
        if self.state == "half_open":
            return self._settle_half_open(permit, result, now_us, draw, reason, cooldown_us)
        return self._count(result, now_us, draw, reason, cooldown_us)

    def succeed(self, now_us: int) -> None:
        """Settles an attempt that went well while it is closed: `settle` for nearly every call. Two threads at once may lose a
        count at the turn of a bucket, which no decision hangs on."""
        slot = now_us // self._bucket_us
        bucket = self._ring[slot % BUCKETS]
        if bucket[0] != slot:
            bucket[:] = slot, 0, 0, 0
        bucket[1] += 1
        self._run = 0
        self.good_at = now_us

    def suspect(self, opened_us: int, now_us: int, reason: str) -> bool:
        """Another process's breaker of this target has opened at `opened_us`. True when this one is half_open for it now."""
        if self.state != "closed" or (self.good_at is not None and self.good_at >= opened_us):
            return False
        self.until, self.reason = now_us, reason
        self._enter("half_open", now_us)
        self.is_suspected = True
        return True

    def trust(self, now_us: int) -> bool:
        """Nobody says any more that the target is out. True when this breaker is closed for it now: not while its own probe is
        under way or its traffic is coming back, which end by themselves."""
        if not self.is_suspected or not self._is_at_rest(now_us):
            return False
        self.reason = None
        self._enter("closed", now_us)
        return True

    def is_calm(self, now_us: int) -> bool:
        """Whether nothing is held against the target now. A breaker changes its state only when it is asked, so one that would
        let the next call pass is calm, whatever its state."""
        if self.state == "open":
            return now_us >= self.until
        return self.state == "closed" or (not self.is_suspected and now_us >= self.until and self._is_at_rest(now_us))

    def hasten(self, now_us: int) -> bool:
        """An operator wants to know now: the next probe need not wait for its time. True when it had to.

        There is one probe at a time as ever, and should this one fail, the target is left alone for as long as it was to: who
        asks often must not make the dwell grow.
        """
        if self.state != "open" or self.until <= now_us:
            return False
        self._put_off, self.until = self.until, now_us
        return True

    def is_out(self) -> bool:
        """Whether it is left alone for what was seen here, and has not answered a probe yet."""
        return self.state != "closed" and self._ramp_from is None and not self.is_suspected

    def is_ramping(self) -> bool:
        """Whether a probe has succeeded and the traffic is coming back."""
        return self._ramp_from is not None

    # -- transitions ---------------------------------------------------------------------------------------------------

    def _is_at_rest(self, now_us: int) -> bool:
        """Half open, and no probe is under way, nor is the traffic still coming back."""
        if self._ramp_from is not None:
            return self._share(now_us) >= 1
        return not self._is_probing(now_us)

    def _is_probing(self, now_us: int) -> bool:
        return self._outstanding > 0 and now_us - self._probe_at < PROBE_LEASE_US

    def _probe(self, now_us: int) -> Permit | None:
        if self._is_probing(now_us):
            return None
        self._probes += 1
        self._outstanding, self._probe_at = self._probes, now_us
        return Permit(self._generation, self._probes)

    def _resume(self, permit: Permit, now_us: int) -> bool:
        """A last resort that has said nothing: the target stays alone for as long as it was to."""
        if not permit.is_last_resort or self.state != "half_open" or self._ramp_from is not None or now_us >= self.until:
            return False
        self._enter("open", now_us)
        return True

    def _settle_half_open(
        self, permit: Permit, result: Result, now_us: int, draw: float, reason: str, cooldown_us: int
    ) -> bool:
        if result != "failure":
            if self._ramp_from is None and permit.probe:
                self._ramp_from, self._ramp_good, self._put_off = now_us, 0, 0
                return True
            self._ramp_good += 1
            return False
        if self._ramp_from is not None and self._ramp_good >= RAMP_GOOD and not cooldown_us:
            self._ramp_good = 0
            return False
        if self.is_suspected:  # the first failure of its own
            dwell_us = self._first_dwell_us(now_us)
            until = now_us + max(_jittered(dwell_us, draw), cooldown_us)
        elif self._ramp_from is None and (permit.is_last_resort or self._put_off > now_us):
            # asked before its time: the dwell stays what it is
            until, dwell_us = max(self.until, self._put_off, now_us + cooldown_us), self._dwell_us
        else:
            dwell_us = min(2 * self._dwell_us, self._max_dwell_us)
            until = max(self.until, now_us + max(_jittered(dwell_us, draw), cooldown_us))
        self._open(now_us, until, dwell_us, reason)
        return True

    def _count(self, result: Result, now_us: int, draw: float, reason: str, cooldown_us: int) -> bool:
        """A result in the closed state."""
        if result == "success":
            self.succeed(now_us)
            return False
        slot = now_us // self._bucket_us
        bucket = self._ring[slot % BUCKETS]
        if bucket[0] != slot:
            bucket[:] = slot, 0, 0, 0
        if result == "slow":
            bucket[1] += 1
            bucket[3] += 1
            self._run = 0
        else:
            bucket[2] += 1
            if not self._run or now_us - self._run_from > self._window_us:
                self._run, self._run_from = 0, now_us
            self._run += 1
        why = f"{reason} (left alone for {round(cooldown_us / US)} s)" if cooldown_us else self._trips(slot, reason)
        if why is None:
            return False
        dwell_us = self._first_dwell_us(now_us)
        self._open(now_us, now_us + max(_jittered(dwell_us, draw), cooldown_us), dwell_us, why)
        return True

    def _first_dwell_us(self, now_us: int) -> int:
        """For how long it stays open when nothing was held against it: longer soon after another outage."""
        is_new = self._closed_at is None or now_us - self._closed_at > max(QUIET_US, QUIET_DWELLS * self._dwell_us)
        if is_new or not self._dwell_us:  # it was half open on another's word, and never open
            return round(self._policy.dwell * US)
        return min(2 * self._dwell_us, self._max_dwell_us)

    def _trips(self, slot: int, reason: str) -> str | None:
        """Why the window opens it, or None."""
        if self._run >= self._policy.consecutive:
            return f"{reason} x{self._run} in a row"
        live = [bucket for bucket in self._ring if slot - bucket[0] < BUCKETS]
        good, failed, slow = (sum(bucket[index] for bucket in live) for index in (1, 2, 3))
        total = good + failed
        if total < self._policy.minimum_calls:
            return None
        if failed >= self._policy.failure_rate * total and failed:
            return f"{failed} of {total} failed, last {reason}"
        if slow >= self._policy.slow_rate * total and slow:
            return f"{slow} of {total} were slow"
        return None

    def _open(self, now_us: int, until: int, dwell_us: int, reason: str) -> None:
        self._dwell_us, self.until, self.reason, self._put_off = dwell_us, until, reason, 0
        self._enter("open", now_us)

    def _close(self, now_us: int) -> None:
        self._closed_at, self.reason = now_us, None
        self._enter("closed", now_us)

    def _enter(self, state: State, now_us: int) -> None:
        """A state of a new generation, without a past."""
        if "closed" in (self.state, state):
            self.since = now_us
        self.state = state
        self._generation += 1
        self.permit = Permit(self._generation)
        self._outstanding, self._ramp_from, self._run, self.is_suspected = 0, None, 0, False
        for bucket in self._ring:
            bucket[0] = -BUCKETS

    def _share(self, now_us: int) -> float:
        assert self._ramp_from is not None  # noqa: S101 -- the caller has looked
        return RAMP_START + (1 - RAMP_START) * (now_us - self._ramp_from) / max(self._policy.ramp * US, 1)

    @property
    def _max_dwell_us(self) -> int:
        return round(self._policy.max_dwell * US)


def _jittered(dwell_us: int, draw: float) -> int:
    return round(dwell_us * (1 - JITTER * draw))


class RetryBudget:
    """How many attempts beyond the first a process may make: a share of its calls, and a few at once. One that succeeds costs
    nothing. Bounds requests to RATIO x calls + CAPACITY in any window in which everything fails (gRPC's retry throttling,
    gRFC A6)."""

    RATIO: Final = 0.2
    CAPACITY: Final = 10.0
    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = self.CAPACITY

    def earn(self) -> None:
        """A call has started."""
        if self.tokens < self.CAPACITY:
            self.tokens = min(self.CAPACITY, self.tokens + self.RATIO)

    def take(self) -> bool:
        """Whether one more attempt may be made; it is paid for at once."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def give_back(self) -> None:
        """An attempt that was paid for has succeeded, or was not made."""
        self.tokens = min(self.CAPACITY, self.tokens + 1)
