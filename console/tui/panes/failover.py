"""Pane 4: which features are not where their chain begins, which targets are not well; then the rest. Wrong things first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.tui import words
from console.tui.cells import Cells, Row, clipped, row, wrapped
from console.tui.order import is_elsewhere
from console.tui.panes import targets, verdict
from console.tui.panes.failures import failure_rows, last_words
from console.tui.panes.targets import names
from console.tui.things import Thing, feature_named, target_named

if TYPE_CHECKING:
    from console.ops.views import FeatureView, StatusView

_NAMES: Final = (6, 16)
_WITH_CLOCK_FROM: Final = 90
_WITH_REST_FROM: Final = 70
_ROOM_BELOW: Final = 4
"""Rows: a heading, the columns' names and two failures are worth showing, less is not."""
_IN_COLUMNS_FROM: Final = 60
"""Narrower than this names are not padded: the reason needs the space."""
_NO_CHAINS: Final = (
    "No chains: the application decides where each call goes. `targets:` and `chain:` in console.yaml let calls move to "
    "another target by themselves; M moves them by hand."
)

Entry = tuple[Thing, Row]


def entries(view: StatusView, width: int) -> list[Entry]:
    """What each row stands for, and the row."""
    chained = [feature for feature in view.features if feature.chain or feature.route is not None]
    wrong_features = [feature for feature in chained if is_elsewhere(feature)]
    moved = [feature for feature in chained if feature.route is not None and feature not in wrong_features]
    fine = [feature for feature in chained if feature not in wrong_features and feature not in moved]
    ordered = targets.worst_first(view.targets)
    wrong_targets = [target for target in ordered if targets.is_wrong(target)]
    every = [line(feature.feature) for feature in chained] + [line(target.target) for target in view.targets]
    name = min(max([_NAMES[0], *map(len, every)]), _NAMES[1]) if width >= _IN_COLUMNS_FROM else 0

    def of_features(found: list[FeatureView]) -> list[Entry]:
        return [(Thing("feature", each.feature), feature_row(each, view.at, width, name)) for each in found]

    good = [target for target in ordered if target not in wrong_targets]
    return [
        *of_features(wrong_features),
        *((Thing("target", each.target), targets.short_row(each, view.at, width, name)) for each in wrong_targets),
        *of_features(moved),
        *of_features(fine),
        *((Thing("target", each.target), targets.short_row(each, view.at, width, name)) for each in good),
    ]


def title(view: StatusView) -> str:
    """For the border: how much is wrong, or that nothing is."""
    chained = [feature for feature in view.features if feature.chain]
    away = sum(is_elsewhere(feature) for feature in view.features)
    sick = sum(targets.is_wrong(target) for target in view.targets)
    moved = sum(feature.route is not None for feature in view.features)
    by_hand = f", {moved} by hand" if moved else ""
    if away or sick:
        parts = [f"{words.plural(away, 'feature')} elsewhere"] * bool(away) + [f"{words.plural(sick, 'target')} bad"] * bool(
            sick
        )
        return f"▲ {', '.join(parts)}{by_hand}"
    if not chained and not moved:
        return "no chains"
    return f"● {words.plural(len(chained), 'chain')}, none elsewhere{by_hand}"


def below(view: StatusView, thing: Thing | None, width: int, room: int) -> list[Row]:
    """What there is space for under the list: the last failures of the row under the cursor, and what the verdict rests on."""
    if room < _ROOM_BELOW or thing is None:
        return []
    feature = feature_named(view, thing.name) if thing.kind == "feature" else None
    target = target_named(view, thing.name) if thing.kind == "target" else None
    rows: list[Row] = [row("")]
    if feature is not None:
        rows.append(row((f"last failures of {line(feature.feature, 40)}", "bold")))
        rows += failure_rows(feature.failures, view.at, width, where="target")
    elif target is not None:
        rows.append(row((f"last failures of {line(target.target, 40)}", "bold")))
        rows += failure_rows(target.failures, view.at, width, where="feature")
    evidence = [row(""), row(("what the verdict rests on", "bold")), *verdict.evidence_rows(view.verdict, width)]
    rows = rows[:room]
    rows += evidence if len(rows) + len(evidence) <= room else []
    return [clipped(each, width) for each in rows]


def note(view: StatusView, width: int) -> list[Row]:
    """What is missing and what fills it."""
    if any(feature.chain or feature.route is not None for feature in view.features):
        return []
    return [row((part, "dim")) for part in wrapped(_NO_CHAINS, width)]


def feature_row(feature: FeatureView, now_us: int, width: int, name: int) -> Row:
    """One feature with its chain: who serves, why, since when."""
    fallback, route = feature.fallback, feature.route
    is_wrong = is_elsewhere(feature)
    cells = Cells().cell("▲" if is_wrong else "●", 2, "warn" if is_wrong else "info" if route else "ok")
    names(cells, feature.feature, name, "warn" if is_wrong else "")
    rest_of = _rest_words(feature, now_us) if width >= _WITH_REST_FROM else ""
    if fallback is not None:
        since = f" {words.ago(fallback.since, now_us)}" if fallback.since is not None else ""
        clock = f" since {words.clock(fallback.since)}" if fallback.since is not None and width >= _WITH_CLOCK_FROM else ""
        cells.put(f"{line(fallback.served, 60)}{since}{clock}: ", "bold").put(fallback.reason)
        cells.put(f" · {route_words(feature, now_us)}" if route is not None else "", "info")
        return clipped(cells.put(rest_of, "dim").row(), width)
    if is_wrong:
        cells.put("degraded answers · ", "warn")
    if route is not None:
        cells.put(words.chain(route.targets), "bold").put(f"  {route_words(feature, now_us)}", "info")
        return clipped(cells.put(rest_of, "dim").row(), width)
    first, *rest = feature.chain or ("",)
    cells.put(first, "bold")
    cells.put(f" → {words.chain(rest)}" if rest else "", "dim")
    return clipped(cells.put(rest_of, "dim").row(), width)


def _rest_words(feature: FeatureView, now_us: int) -> str:
    """ " · 1.02 attempts a call · last 529 overloaded_error 4m ago"."""
    parts = []
    if feature.attempts_per_call is not None:
        parts.append(f"{feature.attempts_per_call:.2f} attempts a call")
    if feature.failures:
        parts.append(f"last failed {last_words(feature.failures, now_us)}")
    return "".join(f" · {part}" for part in parts)


def route_words(feature: FeatureView, now_us: int) -> str:
    """ "switched by op1 12m: reason": an operator's route is never taken for the configuration's."""
    route = feature.route
    if route is None:
        return ""
    scope = " for all" if route.scope.kind == "all" else ""
    since = f" {words.ago(route.at, now_us)}" if route.at is not None else ""
    until = f" until {words.clock(route.expires_at)}" if route.expires_at is not None else ""
    why = f": {line(route.reason, 120)}" if route.reason else ""
    return f"switched{scope} by {line(route.actor or '?', 30)}{since}{until}{why}"
