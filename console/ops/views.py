"""The frozen values that `ops` answers with and that screens and commands show. Nothing here reads or computes.

None means "not known" or "nothing has happened yet" everywhere; a view never holds an invented zero. Times are UTC
microseconds, rates are 0..1, latencies milliseconds, money US dollars. Text in a view is as it was stored: whoever shows it
makes it safe first (`console.core.text`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from console.core.switches import Scope, Switch

ActName = Literal["kill", "restore", "undo"]


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One application process as its last heartbeat tells. `state`: live, stale (three heartbeats missed) or ended."""

    id: str
    pid: int
    host: str
    service: str
    state: Literal["live", "stale", "ended"]
    control_version: int | None
    control_source: str
    """live: read from control.db; kept: from the snapshot beside the telemetry; none: no overrides known; stale: could not
    be reloaded, the last one stays in force."""
    heartbeat_age_s: float
    queue_depth: int
    dropped: int
    note: str | None = None
    """What the process itself complains of (control file refused, break-glass seen, telemetry not writable)."""


@dataclass(frozen=True, slots=True)
class PromptView:
    """The prompt version that most of a feature's recent calls carried."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class FeatureView:
    """One feature over the last five minutes (cost: since midnight UTC)."""

    feature: str
    calls_5m: int
    calls_per_min: float
    failed_5m: int
    blocked_5m: int
    error_rate: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    input_tokens: int
    output_tokens: int
    cost_today_usd: float | None
    unpriced_models: tuple[str, ...]
    """Models with traffic today for which no price is known: then `cost_today_usd` leaves their tokens out."""
    served_by: tuple[tuple[str, int], ...]
    """(primary | fallback | cache | stale | degraded | none, calls in five minutes), most first."""
    target: str | None
    prompt: PromptView | None
    killed: Switch | None
    """The switch that stops this feature as a whole, or None."""
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target over the last five minutes."""

    target: str
    model: str
    provider: str
    calls_5m: int
    error_rate: float | None
    p95_ms: float | None
    breakers: tuple[tuple[str, int], ...] | None = None
    """(state, processes); None until breakers exist."""


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One act from the audit, newest first in lists."""

    id: str
    at: int
    actor: str
    act: str
    subject: str
    """For example "feature:summarize" or "all"."""
    reason: str | None
    version: int
    is_undone: bool = False


@dataclass(frozen=True, slots=True)
class Trend:
    """A series of equal steps, oldest first; None where nothing was recorded in the step."""

    name: str
    step_s: int
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class ControlView:
    """The control file as this console reads it now. `problem` says why it cannot be read (then the rest may be old)."""

    version: int | None
    problem: str | None
    is_writable: bool
    following: int
    """Live processes that run with `version`."""
    live: int


@dataclass(frozen=True, slots=True)
class StatusView:
    """Everything that the overview and `console status` show."""

    environment: str
    host: str
    at: int
    data_age_s: float | None
    """Age of the newest heartbeat or call; None when nothing was ever recorded."""
    telemetry_problem: str | None
    control: ControlView
    switches: tuple[Switch, ...]
    """Engaged now, break-glass files included."""
    processes: tuple[ProcessView, ...]
    features: tuple[FeatureView, ...]
    targets: tuple[TargetView, ...]
    changes: tuple[ChangeView, ...]
    trends: tuple[Trend, ...] = ()
    """When asked for: p50_ms, p99_ms, calls_per_min, error_rate, and one `status_NNN_per_min` for each of 429 and 529, over
    the last 30 minutes in steps of 30 s; all features together, or the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants: an act on a scope. `for_us`: it expires by itself after so many microseconds."""

    act: ActName
    scope: Scope | None = None
    """None only for undo."""
    for_us: int | None = None
    change_id: str | None = None
    """For undo: which change; None is the last one that was not undone yet."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an order would do, and whom it touches, from the last five minutes of rollups."""

    order: Order
    title: str
    """One line: "Kill support-reply"."""
    subject: str
    before: str
    after: str
    """From → to, for people: "running" → "killed"."""
    is_wide: bool
    """More than one feature: confirm by typing `confirm_word`."""
    confirm_word: str
    is_already_so: bool
    """Applying it would change nothing but the audit."""
    calls_5m: int | None
    customers_5m: int | None
    share_of_traffic: float | None
    last_time: str | None
    """"last killed 9 days ago by op1", or None when never."""
    warnings: tuple[str, ...]
    version: int
    """The version of the key that was seen (0: no row yet); `apply` refuses when it has changed since."""


@dataclass(frozen=True, slots=True)
class Applied:
    """An act that has been written and read back."""

    id: str
    act: str
    subject: str
    version: int
    at: int
    actor: str
    reason: str | None
    expires_at: int | None
    write_ms: float


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How many live processes run with a control version, after `waited_ms`. `laggards`: live but still on an older one."""

    version: int
    following: int
    live: int
    laggards: tuple[ProcessView, ...]
    waited_ms: float
    calls_per_min_before: float | None
    calls_per_min_now: float | None
    """Calls of the subject that reached the API: in the minute before the act, and in the last full ten seconds (of a customer:
    in the last full minute)."""
    silent: tuple[ProcessView, ...] = ()
    """Have missed three heartbeats: whether they follow cannot be told."""
    problem: str | None = None
    """Why nobody can be seen to follow, when telemetry cannot be read."""

    @property
    def is_complete(self) -> bool:
        return self.problem is None and self.following >= self.live
