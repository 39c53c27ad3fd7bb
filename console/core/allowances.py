"""How much an application may ask for: rates, budgets and the sizes of a request, as values. Pure; the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

OnExceed = Literal["alert", "degrade", "block"]


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """Per minute; None: no limit."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    on_exceed: OnExceed = "block"


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """US dollars per day and month (UTC); None: no limit."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None
    on_exceed: OnExceed = "alert"


@dataclass(frozen=True, slots=True)
class CustomerPolicy:
    """What each customer may use; `named`: those with limits of their own."""

    rate: RatePolicy | None = None
    budget: BudgetPolicy | None = None
    named: Mapping[str, CustomerPolicy] = field(default_factory=lambda: MappingProxyType({}))
