"""Which fallback is to be tried while all is well, so that an outage is not its first use (I14). Pure.

A target that only stands behind others can be broken for months: a key that has run out, a model that has retired, a parameter
that it refuses. So once a day and process one call goes there first, and through its chain as ever should it fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DAY_US: Final = 86_400_000_000
SETTLED_US: Final = 3_600_000_000
"""A process that lives shorter tries nothing that it has never asked: a deployment is no time for it."""
SETTLED_CALLS: Final = 1_000
"""The same for one that has hardly anything to do: one call in so many, 0.1 %, is what a trial may cost."""


def targets_due(
    chains: Iterable[tuple[str, ...]],
    good_at: Mapping[str, int | None],
    tried_at: Mapping[str, int],
    *,
    now_us: int,
    began_us: int,
    calls: int,
) -> frozenset[str]:
    """The targets behind others that have not answered for a day, and have not been tried for a day. All of them, because the
    chain of one may belong to a feature that this process never calls.

    `good_at`: when a target last answered well here (steady clock), None or absent: never; then it is due when the process has
    lived for an hour and made SETTLED_CALLS calls.
    """
    is_settled = now_us - began_us >= SETTLED_US and calls >= SETTLED_CALLS
    due = set()
    for chain in chains:
        for name in chain[1:]:
            last, tried = good_at.get(name), tried_at.get(name)
            if tried is not None and now_us - tried < DAY_US:
                continue
            if is_settled if last is None else now_us - last >= DAY_US:
                due.add(name)
    return frozenset(due)
