"""The audit's chain names the first row that does not hold."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.audit import FIRST_HASH, AuditRow, verify_chain


def chain(length: int) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for position in range(1, length + 1):
        rows.append(
            AuditRow(
                position=position,
                id=f"id-{position}",
                at=position * 1000,
                actor="uid 1000 (ada)",
                claimed='{"SUDO_USER":"ada"}',
                act="kill",
                key="kill/all",
                before=None,
                after='{"engaged":true}',
                version=position,
                reason="a reason",
                expires_at=5,
                undoes="id-0",
                previous_hash=rows[-1].hash if rows else FIRST_HASH,
            ).sealed()
        )
    return rows


def broken_at(rows: list[AuditRow]) -> int | None:
    found = verify_chain(rows)
    return None if found is None else found.position


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_whole_chain_holds(length: int) -> None:
    assert verify_chain(chain(length)) is None


@pytest.mark.parametrize(
    "column", [field.name for field in fields(AuditRow) if field.name not in ("position", "previous_hash", "hash")]
)
@pytest.mark.parametrize("value", ["x", 7, None, b"\x00", 1.5], ids=repr)
def test_e3_a_row_that_was_edited_is_named(column: str, value: Any) -> None:
    rows = chain(5)
    if getattr(rows[2], column) == value:
        return
    rows[2] = replace(rows[2], **{column: value})
    found = verify_chain(rows)
    assert found is not None
    assert (found.position, "row 3 was changed" in found.why) == (3, True)


def test_e3_a_row_that_was_edited_and_sealed_again_is_found_at_its_successor() -> None:
    rows = chain(5)
    rows[2] = replace(rows[2], actor="uid 0").sealed()
    assert broken_at(rows) == 4


@given(st.integers(0, 5))
def test_e3_a_deleted_row_is_named(index: int) -> None:
    rows = chain(7)
    del rows[index]
    assert broken_at(rows) == index + 1


@given(st.integers(0, 6), st.integers(0, 6))
def test_e3_reordered_rows_are_found_at_the_first_of_them(one: int, other: int) -> None:
    rows = chain(7)
    rows[one], rows[other] = rows[other], rows[one]
    assert broken_at(rows) == (None if one == other else min(one, other) + 1)


@given(st.integers(0, 6))
def test_e3_an_inserted_row_is_found(index: int) -> None:
    rows = chain(7)
    forged = replace(rows[index], id="forged", previous_hash=rows[index - 1].hash if index else FIRST_HASH).sealed()
    rows.insert(index, forged)
    moved = [replace(row, position=place) for place, row in enumerate(rows, start=1)]
    assert broken_at(rows) == index + 2
    assert broken_at(moved) == index + 2


@given(st.integers(0, 6), st.integers(0, 63))
def test_e3_a_hash_that_was_overwritten_is_named(index: int, at: int) -> None:
    rows = chain(7)
    digit = "0" if rows[index].hash[at] != "0" else "1"
    rows[index] = replace(rows[index], hash=rows[index].hash[:at] + digit + rows[index].hash[at + 1 :])
    assert broken_at(rows) == index + 1


def test_every_column_is_under_the_hash() -> None:
    row = chain(1)[0]
    for column in (field.name for field in fields(row) if field.name != "hash"):
        value = getattr(row, column)
        other = value + 1 if isinstance(value, int) else "other"
        assert replace(row, **{column: other}).sealed().hash != row.hash, column
