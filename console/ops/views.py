"""The frozen values that `ops` answers with and that screens and commands show. Nothing here reads or computes.

None means "not known" or "nothing has happened yet" everywhere; a view never holds an invented zero. Times are UTC
microseconds, rates are 0..1, latencies milliseconds, money US dollars. Text in a view is as it was stored: whoever shows it
makes it safe first (`console.core.text`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from console.core.verdict import NOT_LOOKED, Verdict

if TYPE_CHECKING:
    from console.core.routes import Forced, Route
    from console.core.statuspage import StatusPage
    from console.core.switches import Scope, Switch

ActName = Literal[
    "kill", "restore", "undo", "switch", "auto", "force_open", "force_closed", "force_auto", "probe", "use", "rollback"
]
"""switch and auto: a feature's route, or that of all; force_*: a target's breaker; probe: ask a target that is left alone now;
use and rollback: a prompt's version."""

LEAST_SHARE: Final = 0.005
"""Of a feature's calls: less is not told."""

BreakerState = Literal["closed", "open", "half_open", "forced_open", "forced_closed"]


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
class FailureView:
    """One attempt that failed. `at`: when it was sent. `status` None: there was no HTTP answer, or it came inside a stream."""

    at: int
    feature: str
    target: str
    model: str
    provider: str
    status: int | None
    error: str
    latency_ms: float
    request_id: str | None


@dataclass(frozen=True, slots=True)
class ExceededView:
    """A limit or budget that calls have reached, over all live processes: the most that any has counted."""

    scope: str
    what: str
    limit: float | None
    used: float | None
    since: int | None
    is_enforced: bool = True
    """False when calls go on and people are told (`on_exceed: alert`)."""


@dataclass(frozen=True, slots=True)
class BudgetView:
    """What is spent of a budget, as the processes that act on it tell: the most that any of them knows of."""

    scope: str
    what: str
    limit: float
    used: float


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
    """Who answers now (the last full ten seconds and since); of five minutes when there was no call."""
    prompt: PromptView | None
    killed: Switch | None
    """The switch that stops this feature as a whole, or None."""
    quality: float | None = None
    chain: tuple[str, ...] = ()
    """The targets that its calls try now, in order: the operator's route, else the configured chain; empty: the application
    decides."""
    route: Route | None = None
    """The operator's route in force (its own, or the one for all), or None."""
    fallback: FallbackView | None = None
    """Set while calls of the last full ten seconds and since are served by a later target of the chain: a tenth of them, or
    any while the breaker of the first is not closed in a live process."""
    attempts_per_call: float | None = None
    """HTTP attempts for each call of five minutes that reached the API."""
    failures: tuple[FailureView, ...] = ()
    """The last ten, newest first, however old they are."""
    budget_today_usd: float | None = None
    """What its calls may cost a day; None: there is no such budget."""


@dataclass(frozen=True, slots=True)
class FallbackView:
    """Why a feature is served by another target than the first of its chain, and since when (None: not known)."""

    target: str
    """Who serves most of it."""
    first: str
    """Who should."""
    reason: str
    """For example "sonnet open in 2 of 2: 529 overloaded_error x14"."""
    since: int | None
    shares: tuple[tuple[str, float], ...] = ()
    """(target, its share of what was answered in the same seconds, 0..1), most first; with `first` when it answers some."""

    @property
    def served(self) -> str:
        """Who answers, and how much of it where that is not all: "haiku"; "sonnet, haiku 50 %"."""
        told = [(name, share) for name, share in self.shares if share >= LEAST_SHARE]
        if len(told) < 2:
            return self.target
        others = [f"{name} {share * 100:.0f} %" for name, share in told if name != self.first]
        return ", ".join(others if len(others) == len(told) else [self.first, *others])


@dataclass(frozen=True, slots=True)
class BreakerView:
    """One process's breaker of one target, as its last heartbeat told."""

    process: str
    pid: int
    host: str
    service: str
    state: BreakerState
    reason: str | None
    since: int | None
    probe_at: int | None
    """When the next probe may go out; None unless it is open."""


@dataclass(frozen=True, slots=True)
class TrialView:
    """A fallback was tried while all was well, and has failed."""

    at: int
    error: str


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target over the last five minutes. One that is configured and has no traffic is listed as well."""

    target: str
    model: str
    provider: str
    calls_5m: int
    error_rate: float | None
    p95_ms: float | None
    breakers: tuple[tuple[str, int], ...] | None = None
    """(state, live processes), worst state first; None when no live process has told of this target."""
    results: tuple[tuple[str, int], ...] = ()
    """What its attempts of five minutes ended with, most first: ("ok", 312), ("529", 14), ("timeout", 2)."""
    reason: str | None = None
    """Why it is not closed, from the process that opened last."""
    since: int | None = None
    probe_at: int | None = None
    """The earliest next probe of any process."""
    forced: Forced | None = None
    """What an operator holds it at."""
    is_configured: bool = True
    features: tuple[str, ...] = ()
    """Whose chain or route names it."""
    by_process: tuple[BreakerView, ...] = ()
    unknown_in: int = 0
    """Live processes whose configuration does not know it, while a route or a forced breaker names it."""
    first_token_p95_ms: float | None = None
    headroom: float | None = None
    """What is left of its rate limit, 0..1: the lowest of all kinds and live processes; None: no answer of the last minute
    told."""
    headroom_of: str | None = None
    """Of what (`core.headroom.KINDS`): "requests", "input-tokens"."""
    price: tuple[float, float] | None = None
    """US dollars per million tokens, in and out."""
    failures: tuple[FailureView, ...] = ()
    """The last ten, newest first."""
    trial_failed: TrialView | None = None
    """None: its last trial went well, or no live process has tried it."""


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version of a prompt."""

    version: int
    hash: str | None
    """sha256 of the file (of the registered text when the file is lost)."""
    state: Literal["current", "draft", "available", "withdrawn"]
    share: float | None
    """Of the keys that get it, 0..1; None unless it is current."""
    file: Literal["ok", "edited", "lost"]
    """edited: not what was registered under this number; lost: registered, and no file any more. The registered text is
    served in both cases."""
    is_registered: bool
    description: str | None
    owner: str | None
    notes: str | None
    variables: tuple[str, ...]
    calls_5m: int
    current_since: int | None
    """When an operator made it current last; None: never, or it is current without anybody's act."""
    current_by: str | None
    problem: str | None = None
    """Why the file cannot be served, with its position."""


@dataclass(frozen=True, slots=True)
class PromptStatus:
    """One prompt with its versions, newest first. `current`: what a new conversation gets (several while shares are split)."""

    name: str
    versions: tuple[VersionView, ...]
    current: tuple[int, ...]
    chosen_by: str | None
    """Who made them current; None: nobody did, the highest version that is no draft is served."""
    chosen_at: int | None
    reason: str | None
    features: tuple[str, ...]
    """Features whose calls of the last five minutes carried it."""
    alarms: tuple[str, ...]
    """A current version's file was edited or lost; a process serves a version that nobody has registered."""


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
    before: str | None = None
    after: str | None = None
    """What it changed from and to, for people: "sonnet → haiku" is before "sonnet", after "haiku"."""
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class TimelineView:
    """One line of the timeline, newest first in lists: an act, or a process that started, ended or fell silent."""

    at: int
    kind: Literal["act", "process", "breaker"]
    actor: str | None
    text: str
    reason: str | None = None
    change: ChangeView | None = None
    """The act behind it, which can be undone."""


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
    prompt_alarms: tuple[str, ...] = ()
    """Of all prompts, see `PromptStatus.alarms`."""
    verdict: Verdict = NOT_LOOKED
    """Whose fault it is."""
    page: StatusPage | None = None
    """The provider's own status page; None: it is not asked."""
    exceeded: tuple[ExceededView, ...] = ()
    budgets: tuple[BudgetView, ...] = ()
    """The nearest to its end first."""
    budget_today_usd: float | None = None
    """What everything together may cost a day."""
    trends: tuple[Trend, ...] = ()
    """When asked for: p50_ms, p99_ms, calls_per_min, error_rate, and one `status_NNN_per_min` for each of 429 and 529, over
    the last 30 minutes in steps of 30 s; all features together, or the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants. `for_us`: it expires by itself after so many microseconds."""

    act: ActName
    scope: Scope | None = None
    """kill, restore: what is stopped. switch, auto: `all` or a feature."""
    for_us: int | None = None
    change_id: str | None = None
    """For undo: which change; None is the last one that was not undone yet."""
    targets: tuple[str, ...] = ()
    """switch: where to, in order. force_*, probe: the one target."""
    prompt: str | None = None
    """use, rollback: the prompt."""
    version: int | None = None
    """use: the version. rollback: the version to go back to; None: the one that was current before."""


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
    diff: str | None = None
    """use, rollback: what changes in the prompt's text, as a unified diff."""
    choices: tuple[str, ...] = ()
    """switch: the other targets that can be switched to, nearest in the chain first."""
    text_hash: str | None = None
    """use, rollback: the sha256 of the text that was shown; `apply` refuses when the file has changed since."""


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
    key: str = ""
    value: str = ""
    """The control row that was written."""
    is_already_so: bool = False
    """It changed nothing but the audit: there is nothing to take back."""


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
    """Calls a minute of what `counted` says: in the minute before the act, and in the last full ten seconds (of a customer: in
    the last full minute)."""
    silent: tuple[ProcessView, ...] = ()
    """Have missed three heartbeats: whether they follow cannot be told."""
    problem: str | None = None
    """Why nobody can be seen to follow, when telemetry cannot be read."""
    counted: str = "calls that reached the API"
    """The number that the act should move: "calls served by haiku", "calls with support-reply v2"."""
    expected: Literal["down", "up"] = "down"
    state: str | None = None
    """What the act is about, as the processes tell of it now: "sonnet half_open in 1 of 2"."""

    @property
    def is_complete(self) -> bool:
        return self.problem is None and self.following >= self.live
