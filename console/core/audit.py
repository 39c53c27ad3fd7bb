"""The audit's hash chain: each row carries the hash of the one before, so that a change anywhere shows. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from console.core.control import ControlRow

FIRST_HASH: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One act as it was written. `before` and `after` are the control row's JSON value; `claimed` is JSON of what the
    environment said about the operator, which proves nothing."""

    position: int
    id: str
    at: int
    actor: str
    claimed: str
    act: str
    key: str
    before: str | None
    after: str
    version: int
    reason: str | None
    expires_at: int | None
    undoes: str | None
    previous_hash: str
    hash: str = ""

    def columns(self) -> tuple[object, ...]:
        """Every value, in the order of the fields."""
        return tuple(getattr(self, name) for name in self.__slots__)

    def sealed(self) -> AuditRow:
        """The same row with its hash set."""
        return replace(self, hash=audit_hash(self))


def audit_hash(row: AuditRow) -> str:
    """sha256 over everything else in the row, the hash of the row before included. A value of a type that we never write
    (SQLite stores whatever a column is given) counts as its `repr`, so that such a row is named, too."""
    return sha256(json.dumps(row.columns()[:-1], ensure_ascii=False, default=repr).encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row that does not hold, and why."""

    position: int
    why: str


def verify_chain(rows: Iterable[AuditRow]) -> Broken | None:
    """The first place where the chain is broken, or None. A tail that was cut off cannot be seen from the rows alone."""
    previous_hash = FIRST_HASH
    for position, row in enumerate(rows, start=1):
        if row.position != position:
            return Broken(position, f"row {position} is missing: the next one found is {row.position}")
        if row.previous_hash != previous_hash:
            return Broken(position, f"row {position} does not follow row {position - 1}: one of them was replaced")
        if audit_hash(row) != row.hash:
            return Broken(position, f"row {position} was changed after it was written")
        previous_hash = row.hash
    return None


def verify_control(audit: Iterable[AuditRow], control: Iterable[ControlRow]) -> str | None:
    """Why the control rows are not what the acts have made them, or None: each must be what its key's newest act wrote."""
    newest = {row.key: row for row in audit}
    for row in control:
        act = newest.get(row.key)
        if act is None:
            return f"{row.key}: in force, but no act has written it"
        written = (act.after, act.version, act.actor, act.reason, act.at, act.expires_at)
        if written != (row.value, row.version, row.actor, row.reason, row.at, row.expires_at):
            return f"{row.key}: not what its last act ({act.position}) has written"
    return None
