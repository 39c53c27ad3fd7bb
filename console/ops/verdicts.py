"""What the verdict looks at, put together from what a status has read. The rules are `core.verdict`'s."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from console.core.rollups import US
from console.core.switches import ALL
from console.core.verdict import Customer, Seen, Sent, is_accounts, side_of
from console.ops.heartbeats import CLOSED
from console.ops.kinds import WINDOW_S, scope_name
from console.ops.views import BudgetView, ExceededView

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from console.core.statuspage import StatusPage
    from console.core.switches import Switch
    from console.ops.heartbeats import Live
    from console.ops.views import ChangeView, FailureView, FeatureView, TargetView

STALE_S: Final = 15
"""Three heartbeats: then nobody tells any more."""
RECENT_S: Final = 900
"""An act so young may explain what fails now."""
MAX_NOTES: Final = 3
FEW_FAILED: Final = 3
CODED: Final = (400, 429)
"""Statuses under which the account may be refused, and not the request: only the error's code tells."""

Attempts = dict[tuple[str, str, str, str], Counter[str]]


def needs_customer(minute: Attempts) -> bool:
    """Whether enough fails for the busiest customer to matter: reading that one costs more than all the rest."""
    failed = Counter({result: count for counted in minute.values() for result, count in counted.items() if side_of(result)})
    return failed.total() >= FEW_FAILED


def seen(
    *,
    minute: Attempts,
    window: Attempts,
    features: Sequence[FeatureView],
    targets: Sequence[TargetView],
    failures: Mapping[str, tuple[FailureView, ...]],
    engaged: Iterable[Switch],
    exceeded: Sequence[ExceededView],
    changes: Iterable[ChangeView],
    customer: tuple[str, int, int] | None,
    page: StatusPage | None,
    now_us: int,
    data_age_s: float | None,
    problem: str | None,
) -> Seen:
    """See `core.verdict.Seen`."""
    coded = _coded(failures, now_us)
    return Seen(
        minute={Sent(*key): _told_apart(counted, coded[key[:2]]) for key, counted in minute.items()},
        window={Sent(*key): _told_apart(counted, coded[key[:2]]) for key, counted in window.items()},
        shut=_shut(targets),
        hands=(*_kills(engaged), *_held(targets), *(_exceeded(one) for one in exceeded if one.is_enforced)),
        notes=(
            *(_exceeded(one) for one in exceeded if not one.is_enforced),
            *_routes(features),
            *_changes(changes, now_us),
        ),
        customer=None if customer is None else Customer(*customer),
        headroom={one.target: one.headroom for one in targets if one.headroom is not None},
        page=page,
        trouble=_trouble(data_age_s, problem),
    )


Coded = dict[tuple[str, str], dict[str, Counter[str]]]


def _coded(failures: Mapping[str, tuple[FailureView, ...]], now_us: int) -> Coded:
    """(feature, target) -> status -> the errors under it, of the failures of five minutes that were read."""
    found: Coded = defaultdict(lambda: defaultdict(Counter))
    for failure in (one for of_feature in failures.values() for one in of_feature):
        if failure.status in CODED and failure.at >= now_us - WINDOW_S * US:
            found[failure.feature, failure.target][str(failure.status)][failure.error] += 1
    return found


def _told_apart(counted: Counter[str], coded: dict[str, Counter[str]]) -> Counter[str]:
    """Counts by status, those of a refused account by their error: in the same parts as among the failures that were read."""
    found = Counter(counted)
    for status, errors in coded.items():
        for error, number in errors.items():
            if ": " in error and is_accounts(error):
                moved = min(round(counted[status] * number / errors.total()), found[status])
                found[status] -= moved
                found[error] += moved
    return +found


def _trouble(data_age_s: float | None, problem: str | None) -> str:
    if problem is not None:
        return problem
    if data_age_s is None:
        return "nothing has been recorded yet"
    return f"no process was heard for more than {STALE_S} s" if data_age_s > STALE_S else ""


def _shut(targets: Iterable[TargetView]) -> dict[str, str]:
    """Targets whose own breaker is not closed somewhere, while somebody uses them: in how many processes, and why."""
    found = {}
    for one in targets:
        shut = [breaker for breaker in one.by_process if breaker.state not in CLOSED and breaker.state != "forced_open"]
        if shut and (one.features or one.calls_5m):
            found[one.target] = f"{one.reason or 'no reason told'}, in {len(shut)} of {len(one.by_process)} processes"
    return found


def _kills(engaged: Iterable[Switch]) -> list[str]:
    found = []
    for switch in engaged:
        what = "all AI features are" if switch.scope == ALL else f"{scope_name(switch.scope)} is"
        who = switch.actor if switch.source == "control" else f"the break-glass file {switch.source}"
        found.append(f"{what} killed by {who or '?'}" + (f": {switch.reason}" if switch.reason else ""))
    return found


def _held(targets: Iterable[TargetView]) -> list[str]:
    return [
        f"{one.target} is held open by {one.forced.actor or '?'}" + (f": {one.forced.reason}" if one.forced.reason else "")
        for one in targets
        if one.forced is not None and one.forced.state == "forced_open"
    ]


def _exceeded(one: ExceededView) -> str:
    of = "" if one.used is None or one.limit is None else f": {one.used:,.6g} of {one.limit:,.6g}"
    return f"{one.scope} has reached its limit of {one.what}{of}"


def _routes(features: Iterable[FeatureView]) -> list[str]:
    routes = dict.fromkeys(one.route for one in features if one.route is not None)
    found = [f"{scope_name(route.scope)} is switched to {', '.join(route.targets)} by {route.actor or '?'}" for route in routes]
    return found[:MAX_NOTES]


def _changes(changes: Iterable[ChangeView], now_us: int) -> list[str]:
    found = [
        f"{datetime.fromtimestamp(one.at / US, UTC):%H:%MZ} {one.act} {one.subject}"
        + (f" {one.before} → {one.after}" if one.before and one.after else "")
        + f" by {one.actor}"
        for one in changes
        if one.act not in ("undo", "probe") and not one.is_undone and 0 <= now_us - one.at < RECENT_S * US
    ]
    return found[:MAX_NOTES]


def budget_views(live: Iterable[Live]) -> tuple[BudgetView, ...]:
    """What the live processes know to be spent of each budget, the nearest to its end first."""
    found: dict[tuple[str, str], BudgetView] = {}
    for one in live:
        for told in one.state.budgets:
            before = found.get((told.scope, told.what))
            if told.limit is not None and told.used is not None and (before is None or told.used > before.used):
                found[told.scope, told.what] = BudgetView(told.scope, told.what, told.limit, told.used)
    return tuple(sorted(found.values(), key=lambda one: (-one.used / max(one.limit, 1e-9), one.scope, one.what)))


def exceeded_views(live: Iterable[Live]) -> tuple[ExceededView, ...]:
    """What the live processes have seen reached: each limit once, with the most that any has counted."""
    found: dict[tuple[str, str], ExceededView] = {}
    for one in live:
        for told in one.state.exceeded:
            before = found.get((told.scope, told.what))
            if before is None or (told.used or 0) > (before.used or 0):
                found[told.scope, told.what] = ExceededView(*told)
    return tuple(found[key] for key in sorted(found))
