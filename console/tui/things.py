"""What a row stands for, and which order a key gives for it, or why it gives none. Pure: the same answer on every screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from console.core.switches import ALL, Scope
from console.core.text import line
from console.ops.views import Order

if TYPE_CHECKING:
    from console.core.switches import Switch
    from console.ops.views import ActName, FeatureView, StatusView, TargetView

Kind = Literal["all", "feature", "target", "prompt", "model", "customer"]
_KINDS: Final[tuple[Kind, ...]] = ("feature", "target", "prompt", "model", "customer")


@dataclass(frozen=True, slots=True)
class Thing:
    """What can be acted on. `all` are all features; its name is empty."""

    kind: Kind
    name: str = ""


EVERYTHING: Final = Thing("all")

NO_ROW: Final = "works on a row that stands for a feature: press 1, move there, then press it again"


def thing_of(subject: str) -> Thing | None:
    """The thing that a change's subject names ("feature:summarize", "all"), or None."""
    if subject == "all":
        return EVERYTHING
    kind_word, _, name = subject.partition(":")
    kind = next((known for known in _KINDS if known == kind_word), None)
    return Thing(kind, name) if kind is not None and name else None


def feature_named(view: StatusView, name: str) -> FeatureView | None:
    return next((feature for feature in view.features if feature.feature == name), None)


def target_named(view: StatusView, name: str) -> TargetView | None:
    return next((target for target in view.targets if target.target == name), None)


def engaged(view: StatusView, scope: Scope) -> Switch | None:
    """The switch that is engaged on exactly this scope, the stored one before a break-glass file."""
    found = [switch for switch in view.switches if switch.scope == scope]
    return min(found, key=lambda switch: switch.source != "control", default=None)


def kill_order(view: StatusView, thing: Thing | None) -> Order | str:
    """Kill, or restore what is killed; a sentence when K means nothing here."""
    scope = _scope_to_kill(view, thing)
    if isinstance(scope, str):
        return scope
    own = engaged(view, scope)
    if own is not None and own.source != "control":
        return f"stopped by the break-glass file {line(own.source, 80)}: remove that file on its host"
    feature = feature_named(view, scope.name) if scope.kind == "feature" else None
    killed = feature.killed if feature is not None else None
    if own is None and killed is not None and killed.scope != scope:
        what = line(str(killed.scope).replace(":", " ", 1), 60)
        return f"stopped by {what}, it has no switch of its own; type : restore {what}"
    return Order("restore" if own is not None else "kill", scope)


def _scope_to_kill(view: StatusView, thing: Thing | None) -> Scope | str:
    if thing is None:
        return f"K {NO_ROW} (: kills models and customers)"
    if thing.kind == "all":
        return ALL
    if thing.kind == "target":
        target = target_named(view, thing.name)
        return Scope("model", target.model) if target is not None else f"K: the model of {line(thing.name, 40)} is not known"
    if thing.kind == "prompt":
        found = _feature_of_prompt(view, thing.name, "K")
        return found if isinstance(found, str) else Scope("feature", found.feature)
    return Scope(thing.kind, thing.name)


def switch_order(view: StatusView, thing: Thing | None) -> Order | str:
    """Ask where to switch to; a sentence when M means nothing here."""
    if thing is None:
        return f"M {NO_ROW}"
    if thing.kind == "all":
        return Order("switch", ALL)
    if thing.kind == "feature":
        return Order("switch", Scope("feature", thing.name))
    if thing.kind == "prompt":
        found = _feature_of_prompt(view, thing.name, "M")
        return found if isinstance(found, str) else Order("switch", Scope("feature", found.feature))
    return f"M switches a feature; {line(thing.name, 40)} is a {thing.kind}: go to a feature's row"


def rollback_order(view: StatusView, thing: Thing | None) -> Order | str:
    """Roll back the row's prompt; a sentence when there is none."""
    if thing is None:
        return f"B {NO_ROW}"
    if thing.kind == "all":
        return "B rolls back one prompt: go to the row of a feature"
    if thing.kind == "prompt":
        return Order("rollback", prompt=thing.name)
    if thing.kind != "feature":
        return f"B rolls back a prompt; {line(thing.name, 40)} is a {thing.kind}"
    feature = feature_named(view, thing.name)
    if feature is None or feature.prompt is None:
        return f"B: no call of {line(thing.name, 40)} in the last five minutes carried a prompt version; v lists all prompts"
    return Order("rollback", prompt=feature.prompt.name)


def force_order(act: ActName, thing: Thing | None) -> Order | str:
    """Hold a target's breakers, or let them go."""
    if thing is None or thing.kind != "target":
        return "no target is under the cursor"
    return Order(act, targets=(thing.name,))


def _feature_of_prompt(view: StatusView, prompt: str, key: str) -> FeatureView | str:
    found = [feature for feature in view.features if feature.prompt is not None and feature.prompt.name == prompt]
    if len(found) == 1:
        return found[0]
    said = "several features use" if found else "no feature's calls of the last five minutes carried"
    return f"{key} works on a feature: {said} {line(prompt, 40)}; esc, then go to a feature's row"
