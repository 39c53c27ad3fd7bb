"""Kill switches as values: what a scope is, what a switch says, and which switch stops a call. Pure; no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from console.core.models import base_model

if TYPE_CHECKING:
    from collections.abc import Mapping

ScopeKind = Literal["all", "feature", "model", "customer"]

SCOPE_KINDS: Final[tuple[ScopeKind, ...]] = ("all", "feature", "model", "customer")
"""In the order in which they are asked: the widest first, because it explains most."""


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a switch is about: everything (`all`, name empty), or one feature, model or customer."""

    kind: ScopeKind
    name: str = ""

    def __str__(self) -> str:
        return self.kind if self.kind == "all" else f"{self.kind}:{self.name}"

    @property
    def is_wide(self) -> bool:
        """Whether stopping it stops more than one feature: such an act asks for its name to be typed."""
        return self.kind != "feature"


ALL: Final = Scope("all")


@dataclass(frozen=True, slots=True)
class Switch:
    """One engaged kill switch. `expires_at` is UTC microseconds, or None for "until restored"; `source` is "control" or the
    path of a break-glass file."""

    scope: Scope
    reason: str | None = None
    actor: str | None = None
    at: int | None = None
    expires_at: int | None = None
    source: str = "control"

    def is_engaged(self, now_us: int) -> bool:
        """Whether it still stops calls at `now_us` (UTC microseconds)."""
        return self.expires_at is None or now_us < self.expires_at


def stopping(
    switches: Mapping[Scope, Switch],
    now_us: int,
    *,
    feature: str,
    customer: str | None,
    models: tuple[str, ...],
) -> Switch | None:
    """The widest engaged switch that stops a call with these facts, or None. `models` may name several (a batch, fallbacks).

    A switch on a model stops its dated snapshots and other providers' ids of it as well; a switch on such an id only that.
    """
    ids = dict.fromkeys(name for model in models for name in (model, base_model(model)))
    named: tuple[Scope, ...] = (ALL, Scope("feature", feature), *(Scope("model", name) for name in ids))
    if customer is not None:
        named = (*named, Scope("customer", customer))
    for scope in named:
        switch = switches.get(scope)
        if switch is not None and switch.is_engaged(now_us):
            return switch
    return None
