"""Which customers get a rollup row of their own: the busiest thousand of this process, the rest are summed as one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

NAMED: Final = 1_000
REVIEW_EVERY: Final = 10_000


class BusiestCustomers:
    """Counts calls per customer in bounded memory. A name once given stays until the next review, so rows do not flicker."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._named: set[str] = set()
        self._since_review = 0

    @property
    def named(self) -> Set[str]:
        """The customers that have rows of their own now."""
        return self._named

    def count(self, customers: Iterable[str | None]) -> None:
        """Counts one batch. At a review the counts are halved, so that yesterday's busiest make room for today's."""
        for customer in customers:
            if customer is None:
                continue
            self._counts[customer] += 1
            self._since_review += 1
            if len(self._named) < NAMED:
                self._named.add(customer)
        if self._since_review >= REVIEW_EVERY or len(self._counts) > 4 * NAMED:
            self._review()

    def _review(self) -> None:
        self._since_review = 0
        kept = self._counts.most_common(2 * NAMED)
        self._counts = Counter({name: number // 2 for name, number in kept if number > 1})
        self._named = {name for name, _ in kept[:NAMED]}
