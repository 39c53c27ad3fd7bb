"""The status view: what `console status` prints and the overview shows, from rollups, heartbeats, control and audit."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from console.core.calls import FROM_CACHE
from console.core.latency import quantile_ms
from console.core.prices import KINDS, Prices, cost_usd
from console.core.rollups import US
from console.core.switches import ALL, Scope, Switch
from console.core.verdict import verdict
from console.errors import StoreError
from console.ops.control import is_writable, read_all
from console.ops.failures import SHOWN, by_target
from console.ops.heartbeats import heard
from console.ops.installation import missing_installation
from console.ops.kinds import window_start
from console.ops.prompts import Prompts
from console.ops.targets import Serving
from console.ops.timeline import change_views
from console.ops.verdicts import budget_views, exceeded_views, needs_customer, seen
from console.ops.views import (
    ChangeView,
    ControlView,
    FailureView,
    FeatureView,
    ProcessView,
    PromptView,
    StatusView,
    TargetView,
)
from console.store.sqlite import reads
from console.store.sqlite.control import read_audit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from console.core.statuspage import StatusPage
    from console.ops.control import Reading
    from console.ops.failures import FailureReader
    from console.ops.heartbeats import Live
    from console.ops.prompts import PromptReader
    from console.ops.trends import TrendReader
    from console.ops.verdicts import Attempts
    from console.ops.views import Trend
    from console.store.configuration import Settings

RATE_WINDOW_S: Final = 60
DAY_S: Final = 86400
CHANGES: Final = 20


def status_view(
    settings: Settings,
    prices: Prices,
    prompts: PromptReader,
    now_us: int,
    *,
    trends: TrendReader | None,
    feature: str | None,
    failures: FailureReader,
    page: StatusPage | None,
) -> StatusView:
    """Everything about now, with the trends of `feature` (None: of all) when there is a reader for them. `page`: the provider's
    status page as it is known, None when nobody is asked.

    Never raises for files that are missing, locked or broken: their problems are in the view.
    """
    places = settings.locations
    reading = read_all(places)
    engaged = reading.engaged(now_us)
    numbers, problem = _numbers(settings, prices, now_us, engaged, reading, failures, trends=trends, feature=feature)
    live = [process for process in numbers.processes if process.state == "live"]
    version = reading.state.version or None
    changes = _changes(settings, reading)
    exceeded = exceeded_views(numbers.live)
    problem = missing_installation(settings) or problem
    data_age_s = None if numbers.newest_us is None else max(0.0, (now_us - numbers.newest_us) / US)
    looked_at = seen(
        minute=numbers.window.minute_sent,
        window=numbers.window.sent,
        features=numbers.features,
        targets=numbers.targets,
        failures=numbers.failures,
        engaged=engaged,
        exceeded=exceeded,
        changes=changes,
        customer=numbers.window.customer,
        page=page,
        now_us=now_us,
        data_age_s=data_age_s,
        problem=problem,
    )
    return StatusView(
        environment=settings.environment,
        host=platform.node(),
        at=now_us,
        data_age_s=data_age_s,
        telemetry_problem=problem,
        control=ControlView(
            version=version,
            problem=reading.problem,
            is_writable=is_writable(places.control),
            following=sum((process.control_version or 0) >= (version or 0) for process in live),
            live=len(live),
        ),
        switches=engaged,
        processes=numbers.processes,
        features=numbers.features,
        targets=numbers.targets,
        changes=changes,
        verdict=verdict(looked_at),
        page=page,
        exceeded=exceeded,
        budgets=budget_views(numbers.live),
        budget_today_usd=None if settings.routing.budget is None else settings.routing.budget.usd_per_day,
        prompt_alarms=Prompts(prompts, reading.state, numbers.live, now_us).alarms(),
        trends=numbers.trends,
    )


@dataclass(frozen=True, slots=True)
class _Numbers:
    window: _Window
    newest_us: int | None = None
    processes: tuple[ProcessView, ...] = ()
    live: tuple[Live, ...] = ()
    features: tuple[FeatureView, ...] = ()
    targets: tuple[TargetView, ...] = ()
    trends: tuple[Trend, ...] = ()
    failures: Mapping[str, tuple[FailureView, ...]] = field(default_factory=dict)


def _numbers(
    settings: Settings,
    prices: Prices,
    now_us: int,
    engaged: tuple[Switch, ...],
    reading: Reading,
    failure_reader: FailureReader,
    *,
    trends: TrendReader | None,
    feature: str | None,
) -> tuple[_Numbers, str | None]:
    """Everything that telemetry.db tells, and what is wrong with it, if anything."""
    newest_us, window, problem = None, _Window.empty(), None
    trend_views: tuple[Trend, ...] = ()
    views: tuple[ProcessView, ...] = ()
    live: tuple[Live, ...] = ()
    failures: Mapping[str, tuple[FailureView, ...]] = {}
    try:
        with reads.reading_telemetry(settings.locations.telemetry) as connection:
            newest_us = reads.newest_us(connection)
            views, live = heard(connection, now_us)
            trend_views = () if trends is None else trends.read(connection, now_us // US, feature)
            window = _window(connection, now_us // US)
            failures = failure_reader.read(connection, window.known, now_us // US)
    except reads.NothingRecorded:
        pass
    except StoreError as error:
        newest_us, views, live, trend_views, failures, problem = None, (), (), (), {}, str(error)
    serving = Serving(
        settings.routing,
        reading.state,
        live,
        now_us,
        window.attempts,
        window.target_buckets,
        window.minute_attempts,
        window.first_buckets,
        prices,
        by_target(failures),
    )
    features = _features(window, prices, engaged, serving, failures)
    targets = serving.targets([
        *((view.feature, view.chain) for view in features),
        *((name, serving.chain(name)) for name in settings.routing.features if name != "default"),
    ])  # fmt: skip
    return _Numbers(window, newest_us, views, live, features, targets, trend_views, failures), problem


@dataclass(frozen=True, slots=True)
class _Window:
    """The sums behind the tables."""

    recent: list[reads.SeriesSums]
    minute: list[reads.SeriesSums]
    minute_s: int
    """What `minute` spans: less than a minute while nothing older was recorded."""
    present: list[reads.SeriesSums]
    """The last full step and the one that is filling: what is so now."""
    today: list[reads.SeriesSums]
    known: list[str]
    feature_buckets: Mapping[str, Counter[int]]
    target_buckets: Mapping[str, Counter[int]]
    first_buckets: Mapping[str, Counter[int]]
    sent: Attempts
    """Attempts by feature and target."""
    minute_sent: Attempts
    """Of the last minute, the step that is filling included."""
    customer: tuple[str, int, int] | None
    """The busiest, while something fails; see `reads.busiest_customer`."""

    @classmethod
    def empty(cls) -> _Window:
        return cls([], [], RATE_WINDOW_S, [], [], [], {}, {}, {}, {}, {}, None)

    @property
    def attempts(self) -> Mapping[tuple[str, str, str], Counter[str]]:
        """By (target, model, provider)."""
        return _of_targets(self.sent)

    @property
    def minute_attempts(self) -> Mapping[tuple[str, str, str], Counter[str]]:
        """The same, of the last minute."""
        return _of_targets(self.minute_sent)


def _of_targets(sent: Attempts) -> Mapping[tuple[str, str, str], Counter[str]]:
    found: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for (_, *place), counted in sent.items():
        found[place[0], place[1], place[2]].update(counted)
    return found


def _window(connection: sqlite3.Connection, now_s: int) -> _Window:
    since = window_start(now_s)
    until = now_s // 10 * 10  # a rate is over full steps only: one that is still filling would make it more than a minute
    latencies = reads.latencies(connection, 10, since)
    first = reads.first_step(connection) or 0
    minute = reads.series_sums(connection, 10, until - RATE_WINDOW_S, until)
    present = reads.series_sums(connection, 10, until - 10)
    if first >= until:  # there is no full step yet: the beginning of the first one is all that is known, and it is not zero
        minute, minute_s = present, max(now_s - until, 1)
    else:
        minute_s = min(until - first, RATE_WINDOW_S)
    minute_sent = reads.attempts(connection, 10, until - RATE_WINDOW_S)
    return _Window(
        recent=reads.series_sums(connection, 10, since),
        minute=minute,
        minute_s=minute_s,
        present=present,
        today=reads.series_sums(connection, 3600, now_s // DAY_S * DAY_S),
        known=reads.seen_names(connection, (now_s - DAY_S) // 3600 * 3600)["feature"],
        feature_buckets=latencies.by_feature,
        target_buckets=latencies.by_target,
        first_buckets=latencies.first_by_target,
        sent=reads.attempts(connection, 10, since),
        minute_sent=minute_sent,
        customer=reads.busiest_customer(connection, now_s - RATE_WINDOW_S) if needs_customer(minute_sent) else None,
    )


def _features(
    window: _Window,
    prices: Prices,
    engaged: tuple[Switch, ...],
    serving: Serving,
    failures: Mapping[str, tuple[FailureView, ...]],
) -> tuple[FeatureView, ...]:
    switches = {switch.scope: switch for switch in engaged}
    killed = [scope.name for scope in switches if scope.kind == "feature"]
    recent, minute, today = (_by_feature(sums) for sums in (window.recent, window.minute, window.today))
    present = _by_feature(window.present)
    routed = [scope.name for scope, route in serving.state.routes.items() if scope.name and route.is_in_force(serving.now_us)]
    names = sorted({*window.known, *killed, *recent, *today, *routed})
    return tuple(
        _feature(
            name,
            serving,
            present.get(name, []),
            recent.get(name, []),
            sum(row.calls for row in minute.get(name, []) if row.outcome not in ("blocked", "degraded")) * 60 / window.minute_s,
            cost_of(today.get(name, []), prices),
            window.feature_buckets.get(name, Counter()),
            switches.get(ALL) or switches.get(Scope("feature", name)),
            failures.get(name, ())[:SHOWN],
        )
        for name in names
    )


def _by_feature(sums: Iterable[reads.SeriesSums]) -> dict[str, list[reads.SeriesSums]]:
    found: dict[str, list[reads.SeriesSums]] = defaultdict(list)
    for row in sums:
        found[row.feature].append(row)
    return found


def _feature(
    name: str,
    serving: Serving,
    present: list[reads.SeriesSums],
    rows: list[reads.SeriesSums],
    calls_per_min: float,
    cost: tuple[float | None, tuple[str, ...]],
    buckets: Counter[int],
    killed: Switch | None,
    failures: tuple[FailureView, ...],
) -> FeatureView:
    served: Counter[str] = Counter()
    prompts: Counter[PromptView] = Counter()
    for row in rows:
        served[row.served_by] += row.calls
        if row.prompt:
            prompts[PromptView(row.prompt, row.prompt_version)] += row.calls
    failed = sum(row.failed for row in rows)
    answered = failed + sum(row.calls for row in rows if row.outcome == "ok")
    chain = serving.chain(name)
    sent = [row for row in rows if row.outcome not in ("blocked", "degraded") and row.served_by != "cache"]
    reached = sum(row.calls for row in sent)
    return FeatureView(
        feature=name,
        calls_5m=sum(row.calls for row in rows),
        calls_per_min=calls_per_min,
        failed_5m=failed,
        blocked_5m=sum(row.blocked for row in rows),
        error_rate=failed / answered if answered else None,
        p50_ms=quantile_ms(buckets, 0.50),
        p95_ms=quantile_ms(buckets, 0.95),
        p99_ms=quantile_ms(buckets, 0.99),
        input_tokens=sum(row.tokens[0] + sum(row.tokens[2:]) for row in rows),
        output_tokens=sum(row.tokens[1] for row in rows),
        cost_today_usd=cost[0],
        unpriced_models=cost[1],
        served_by=tuple(served.most_common()),
        target=_target(present) or _target(rows),
        prompt=next((prompt for prompt, _ in prompts.most_common(1)), None),
        killed=killed,
        chain=chain,
        route=serving.route(name),
        fallback=serving.fallback(chain, present),
        attempts_per_call=sum(row.attempts for row in sent) / reached if reached else None,
        failures=failures,
        budget_today_usd=serving.budget_a_day(name),
    )


def _target(rows: Iterable[reads.SeriesSums]) -> str | None:
    """The target that answered most calls, the cache aside; that failed most, when none answered."""
    counted: dict[str, Counter[str]] = {"ok": Counter(), "failed": Counter()}
    for row in rows:
        if row.outcome in counted and row.calls and row.served_by not in FROM_CACHE:
            counted[row.outcome][row.target] += row.calls
    most = (counted["ok"] or counted["failed"]).most_common(1)
    return most[0][0] if most else None


def cost_of(rows: Iterable[reads.SeriesSums], prices: Prices) -> tuple[float | None, tuple[str, ...]]:
    """The money of series (None without any priced token) and the models with tokens for which no price is known."""
    total: float | None = None
    unpriced: set[str] = set()
    for row in rows:
        price = prices.price_of(row.model, row.band)
        if price is not None and len(row.tokens) == len(KINDS):
            total = (total or 0.0) + cost_usd(price, row.tokens)
        elif any(row.tokens):
            unpriced.add(row.model)
    return total, tuple(sorted(unpriced))


def _changes(settings: Settings, reading: Reading) -> tuple[ChangeView, ...]:
    if not settings.locations.control.exists() or (reading.problem or "").startswith("control.db:"):
        return ()
    try:
        rows = read_audit(settings.locations.control, last=10 * CHANGES)
    except StoreError:
        return ()
    return change_views(rows, settings.routing)[:CHANGES]
