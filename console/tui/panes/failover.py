"""Pane 4: which features are not where their chain begins, which targets are not well; then the rest. Wrong things first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.tui import words
from console.tui.cells import Cells, Row, clipped, row, wrapped
from console.tui.order import is_elsewhere
from console.tui.panes import targets
from console.tui.panes.targets import names
from console.tui.things import Thing

if TYPE_CHECKING:
    from console.ops.views import FeatureView, StatusView

_NAMES: Final = (6, 16)
_WITH_CLOCK_FROM: Final = 90
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
    return f"● nothing wrong, {words.plural(len(chained), 'chain')}{by_hand}"


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
    if fallback is not None:
        since = f" {words.ago(fallback.since, now_us)}" if fallback.since is not None else ""
        clock = f" since {words.clock(fallback.since)}" if fallback.since is not None and width >= _WITH_CLOCK_FROM else ""
        cells.put(f"{line(fallback.target, 40)}{since}{clock}: ", "bold").put(fallback.reason)
        return clipped(cells.put(f" · {route_words(feature, now_us)}" if route is not None else "", "info").row(), width)
    if is_wrong:
        cells.put("degraded answers · ", "warn")
    if route is not None:
        return clipped(
            cells.put(words.chain(route.targets), "bold").put(f"  {route_words(feature, now_us)}", "info").row(), width
        )
    first, *rest = feature.chain or ("",)
    cells.put(first, "bold")
    cells.put(f" → {words.chain(rest)}" if rest else "", "dim")
    return clipped(cells.row(), width)


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
