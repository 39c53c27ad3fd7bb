"""The status view: what `console status` prints and the overview shows, from rollups, heartbeats, control and audit."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.core.control import kill_scope
from console.core.latency import quantile_ms
from console.core.prices import KINDS, Prices, cost_usd
from console.core.rollups import US
from console.core.switches import ALL, Scope, Switch
from console.errors import StoreError
from console.ops.control import is_writable, read_all
from console.ops.views import (
    ChangeView,
    ControlView,
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

    from console.core.audit import AuditRow
    from console.ops.control import Reading
    from console.ops.trends import TrendReader
    from console.ops.views import Trend
    from console.store.configuration import Settings

WINDOW_S: Final = 300
RATE_WINDOW_S: Final = 60
STALE_S: Final = 15
"""Three heartbeats."""
GONE_S: Final = 6
AHEAD_S: Final = 60
FORGOTTEN_S: Final = 600
DAY_S: Final = 86400
CHANGES: Final = 20


def status_view(
    settings: Settings, prices: Prices, now_us: int, *, trends: TrendReader | None, feature: str | None
) -> StatusView:
    """Everything about now, with the trends of `feature` (None: of all) when there is a reader for them.

    Never raises for files that are missing, locked or broken: their problems are in the view.
    """
    places = settings.locations
    reading = read_all(places)
    engaged = reading.engaged(now_us)
    numbers, problem = _numbers(settings, prices, now_us, engaged, trends=trends, feature=feature)
    live = [process for process in numbers.processes if process.state == "live"]
    version = reading.state.version or None
    return StatusView(
        environment=settings.environment,
        host=platform.node(),
        at=now_us,
        data_age_s=None if numbers.newest_us is None else max(0.0, (now_us - numbers.newest_us) / US),
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
        changes=_changes(settings, reading),
        trends=numbers.trends,
    )


@dataclass(frozen=True, slots=True)
class _Numbers:
    newest_us: int | None = None
    processes: tuple[ProcessView, ...] = ()
    features: tuple[FeatureView, ...] = ()
    targets: tuple[TargetView, ...] = ()
    trends: tuple[Trend, ...] = ()


def _numbers(
    settings: Settings,
    prices: Prices,
    now_us: int,
    engaged: tuple[Switch, ...],
    *,
    trends: TrendReader | None,
    feature: str | None,
) -> tuple[_Numbers, str | None]:
    """Everything that telemetry.db tells, and what is wrong with it, if anything."""
    silent = _Numbers(features=_features(_Window.empty(), prices, engaged))
    try:
        with reads.reading_telemetry(settings.locations.telemetry) as connection:
            window = _window(connection, now_us // US)
            return _Numbers(
                newest_us=reads.newest_us(connection),
                processes=_processes(reads.processes(connection, now_us - FORGOTTEN_S * US), now_us),
                features=_features(window, prices, engaged),
                targets=_targets(window),
                trends=() if trends is None else trends.read(connection, now_us // US, feature),
            ), None
    except reads.NothingRecorded:
        return silent, None
    except StoreError as error:
        return silent, str(error)


@dataclass(frozen=True, slots=True)
class _Window:
    """The sums behind the tables."""

    recent: list[reads.SeriesSums]
    minute: list[reads.SeriesSums]
    minute_s: int
    """What `minute` spans: less than a minute while nothing older was recorded."""
    today: list[reads.SeriesSums]
    known: list[str]
    feature_buckets: Mapping[str, Counter[int]]
    target_buckets: Mapping[str, Counter[int]]
    attempts: Mapping[tuple[str, str, str], Counter[str]]

    @classmethod
    def empty(cls) -> _Window:
        return cls([], [], RATE_WINDOW_S, [], [], {}, {}, {})


def _window(connection: sqlite3.Connection, now_s: int) -> _Window:
    since = (now_s - WINDOW_S + 9) // 10 * 10
    until = now_s // 10 * 10  # a rate is over full steps only: one that is still filling would make it more than a minute
    by_feature, by_target = reads.latencies(connection, 10, since)
    return _Window(
        recent=reads.series_sums(connection, 10, since),
        minute=reads.series_sums(connection, 10, until - RATE_WINDOW_S, until),
        minute_s=min(max(until - (reads.first_step(connection) or 0), 10), RATE_WINDOW_S),
        today=reads.series_sums(connection, 3600, now_s // DAY_S * DAY_S),
        known=reads.seen_names(connection, (now_s - DAY_S) // 3600 * 3600)["feature"],
        feature_buckets=by_feature,
        target_buckets=by_target,
        attempts=reads.attempts(connection, 10, since),
    )


def _features(window: _Window, prices: Prices, engaged: tuple[Switch, ...]) -> tuple[FeatureView, ...]:
    switches = {switch.scope: switch for switch in engaged}
    killed = [scope.name for scope in switches if scope.kind == "feature"]
    recent, minute, today = (_by_feature(sums) for sums in (window.recent, window.minute, window.today))
    names = sorted({*window.known, *killed, *recent, *today})
    return tuple(
        _feature(
            name,
            recent.get(name, []),
            sum(row.calls for row in minute.get(name, []) if row.outcome not in ("blocked", "degraded")) * 60 / window.minute_s,
            cost_of(today.get(name, []), prices),
            window.feature_buckets.get(name, Counter()),
            switches.get(ALL) or switches.get(Scope("feature", name)),
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
    rows: list[reads.SeriesSums],
    calls_per_min: float,
    cost: tuple[float | None, tuple[str, ...]],
    buckets: Counter[int],
    killed: Switch | None,
) -> FeatureView:
    served: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    prompts: Counter[PromptView] = Counter()
    for row in rows:
        served[row.served_by] += row.calls
        targets[row.target] += row.calls * (row.outcome in ("ok", "failed"))
        if row.prompt:
            prompts[PromptView(row.prompt, row.prompt_version)] += row.calls
    failed = sum(row.failed for row in rows)
    answered = failed + sum(row.calls for row in rows if row.outcome == "ok")
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
        target=next((target for target, calls in targets.most_common(1) if calls), None),
        prompt=next((prompt for prompt, _ in prompts.most_common(1)), None),
        killed=killed,
    )


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


def _targets(window: _Window) -> tuple[TargetView, ...]:
    found = []
    for (target, model, provider), results in sorted(window.attempts.items()):
        judged = sum(count for result, count in results.items() if result != "cancelled")
        found.append(
            TargetView(
                target=target,
                model=model,
                provider=provider,
                calls_5m=sum(results.values()),
                error_rate=(judged - results["ok"]) / judged if judged else None,
                p95_ms=quantile_ms(window.target_buckets.get(target, Counter()), 0.95),
            )
        )
    return tuple(found)


def _processes(rows: Iterable[reads.ProcessRow], now_us: int) -> tuple[ProcessView, ...]:
    here = platform.node()
    return tuple(process_view(row, now_us, here) for row in rows)


def process_view(row: reads.ProcessRow, now_us: int, here: str) -> ProcessView:
    """One heartbeat as a view. A process of this host that has missed one and whose pid is gone has ended without a word."""
    age_s = max(0.0, (now_us - row.at) / US)
    is_ahead = row.at > now_us + AHEAD_S * US  # the clock went back since: its age is not known, so it is not taken for live
    is_gone = row.host == here and (age_s > GONE_S or is_ahead) and not Path(f"/proc/{row.pid}").exists()
    return ProcessView(
        id=row.id,
        pid=row.pid,
        host=row.host,
        service=row.service,
        state="ended" if row.ended_at is not None or is_gone else "live" if age_s <= STALE_S and not is_ahead else "stale",
        control_version=row.control_version or None,
        control_source=row.control_source,
        heartbeat_age_s=age_s,
        queue_depth=row.queue_depth,
        dropped=row.dropped,
        note=row.note,
    )


def subject_of(key: str) -> str:
    """What a control key is about, for people."""
    scope = kill_scope(key)
    return key if scope is None else str(scope)


def _changes(settings: Settings, reading: Reading) -> tuple[ChangeView, ...]:
    if not settings.locations.control.exists() or (reading.problem or "").startswith("control.db:"):
        return ()
    try:
        rows = read_audit(settings.locations.control, last=10 * CHANGES)
    except StoreError:
        return ()
    return change_views(rows)[:CHANGES]


def change_views(rows: list[AuditRow]) -> tuple[ChangeView, ...]:
    """Audit rows (oldest first) as changes, newest first."""
    undone = {row.undoes for row in rows if row.undoes is not None}
    return tuple(
        ChangeView(row.id, row.at, row.actor, row.act, subject_of(row.key), row.reason, row.version, row.id in undone)
        for row in reversed(rows)
    )
