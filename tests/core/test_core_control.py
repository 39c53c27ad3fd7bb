"""Control rows: hashes, strict reading, merging, the kept snapshot."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.control import (
    EMPTY,
    KILL_ENGAGED,
    KILL_RESTORED,
    ControlRefused,
    ControlRow,
    check,
    decode_kept,
    encode_kept,
    kill_key,
    kill_scope,
    merge,
    next_version,
)
from console.core.switches import ALL, SCOPE_KINDS, Scope, Switch, stopping

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
SCOPES = st.just(ALL) | st.builds(Scope, st.sampled_from([kind for kind in SCOPE_KINDS if kind != "all"]), NAMES)


@st.composite
def rows(draw: st.DrawFn, scopes: st.SearchStrategy[Scope] = SCOPES) -> ControlRow:
    return ControlRow(
        key=kill_key(draw(scopes)),
        value=draw(st.sampled_from([KILL_ENGAGED, KILL_RESTORED])),
        version=draw(st.integers(1, 50)),
        actor=draw(NAMES),
        reason=draw(st.none() | NAMES),
        at=draw(st.integers(0, 2**50)),
        expires_at=draw(st.none() | st.integers(0, 2**50)),
    ).sealed()


FEW = st.sampled_from([ALL, Scope("feature", "a"), Scope("customer", "a/b")])


@given(SCOPES)
def test_a_scope_survives_its_key(scope: Scope) -> None:
    assert kill_scope(kill_key(scope)) == scope


@pytest.mark.parametrize(
    "key", ["", "kill", "kill/", "kill/all/x", "kill/feature", "kill/feature/", "kill/tenant/x", "route/a"]
)
def test_a_key_of_no_switch_that_is_known_here_has_no_scope(key: str) -> None:
    assert kill_scope(key) is None


@given(st.lists(rows(FEW), max_size=8), st.lists(rows(FEW), max_size=8))
def test_an_older_row_never_wins(first: list[ControlRow], second: list[ControlRow]) -> None:
    state = merge(EMPTY, first)
    merged = merge(state, second)
    assert merged.version >= state.version
    for key, row in state.rows.items():
        assert merged.rows[key].version >= row.version
        if all(other.version <= row.version for other in second if other.key == key):
            assert merged.rows[key] == row
            assert merged.switches.get(kill_scope(key)) == state.switches.get(kill_scope(key))


@given(st.lists(rows(FEW), max_size=8, unique_by=lambda row: (row.key, row.version)), st.randoms())
def test_the_order_of_the_rows_does_not_matter(given_rows: list[ControlRow], random: Any) -> None:
    shuffled = list(given_rows)
    random.shuffle(shuffled)
    assert merge(EMPTY, shuffled) == merge(EMPTY, given_rows)
    assert merge(merge(EMPTY, given_rows), given_rows) == merge(EMPTY, given_rows)


def test_a8_what_is_missing_in_a_newer_reading_stays_killed_until_a_higher_version_restores_it() -> None:
    kill = _row(KILL_ENGAGED, 10)
    state = merge(merge(EMPTY, [kill]), [])
    assert ALL in state.switches
    assert ALL in merge(state, [_row(KILL_RESTORED, 9)]).switches
    assert ALL in merge(state, [_row(KILL_RESTORED, 10)]).switches
    assert ALL not in merge(state, [_row(KILL_RESTORED, 11)]).switches


def _row(value: str, version: int, key: str = "kill/all", **more: Any) -> ControlRow:
    return ControlRow(key, value, version, "uid 0", "a reason", 5, None, **more).sealed()


@given(rows(), st.data())
def test_a_row_with_any_flipped_byte_is_refused_as_a_whole(row: ControlRow, data: st.DataObject) -> None:
    column = data.draw(st.sampled_from([field.name for field in fields(row) if getattr(row, field.name) not in (None, "")]))
    value = getattr(row, column)
    if isinstance(value, str):
        at, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 6))
        flipped: object = value[:at] + chr(ord(value[at]) ^ (1 << bit)) + value[at + 1 :]
        if "\ud800" <= str(flipped)[at] <= "\udfff":
            return  # no byte of UTF-8 flips into half a character
    else:
        flipped = value ^ (1 << data.draw(st.integers(0, 40)))
    other = _row(KILL_ENGAGED, 99, key="kill/feature/untouched")
    with pytest.raises(ControlRefused):
        merge(EMPTY, [other, replace(row, **{column: flipped})])


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null",
        "true",
        "[]",
        "{}",
        '{"engaged":1}',
        '{"engaged":true',
        '{"engaged": true}',
        '{"engaged":true,"x":1}',
        "[" * 60000,
        '{"engaged":true}' + " " * 10000000,
    ],
    ids=lambda value: value[:12],
)
def test_a4_a_value_that_we_do_not_write_is_refused_though_its_hash_is_right(value: str) -> None:
    with pytest.raises(ControlRefused, match=r"kill/all"):
        merge(EMPTY, [_row(value, 1)])


@pytest.mark.parametrize(
    "column", [{"version": "1"}, {"version": True}, {"version": 1.0}, {"at": None}, {"expires_at": "never"}, {"actor": b"x"}, {"key": 5}, {"reason": 7}]
)  # fmt: skip
def test_a4_a_column_of_the_wrong_type_is_refused(column: dict[str, Any]) -> None:
    with pytest.raises(ControlRefused):
        check(replace(_row(KILL_ENGAGED, 1), **column))


def test_a10_a_kind_that_this_version_does_not_know_is_kept_and_ignored_and_the_known_ones_work() -> None:
    unknown = ControlRow("throttle/feature/a", '{"per_minute":5}', 12, "uid 0", None, 5, None).sealed()
    state = merge(EMPTY, [unknown, _row(KILL_ENGAGED, 3)])
    assert (state.ignored, list(state.switches), state.version) == (("throttle/feature/a",), [ALL], 12)
    assert decode_kept(encode_kept(state)) == state


@given(st.lists(rows(), max_size=6))
def test_a_kept_snapshot_reads_back_as_it_was(given_rows: list[ControlRow]) -> None:
    state = merge(EMPTY, given_rows)
    assert decode_kept(encode_kept(state)) == state


@given(st.lists(rows(), min_size=1, max_size=3), st.data())
def test_a_kept_snapshot_with_any_changed_character_is_refused_or_says_the_same(
    given_rows: list[ControlRow], data: st.DataObject
) -> None:
    state = merge(EMPTY, given_rows)
    text = encode_kept(state)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters(exclude_categories=["Cs"])) + text[at + 1 :]
    with suppress(ControlRefused):
        assert decode_kept(changed) == state  # white space between values says nothing


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '"x"', '{"format":1,"rows":null,"hash":""}', '{"format":1,"rows":[1],"hash":""}', "[" * 100_000, "9" * 5000]
)  # fmt: skip
def test_a_kept_snapshot_that_is_something_else_is_refused(text: str) -> None:
    with pytest.raises(ControlRefused):
        decode_kept(text)


def test_a_kept_snapshot_whose_hash_was_made_anew_over_a_changed_row_is_refused() -> None:
    from console.core.control import _kept_hash

    document = json.loads(encode_kept(merge(EMPTY, [_row(KILL_ENGAGED, 5)])))
    document["rows"][0][1] = KILL_RESTORED
    document["hash"] = _kept_hash([document["rows"], document["texts"]])
    with pytest.raises(ControlRefused, match="hash"):
        decode_kept(json.dumps(document))


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_a_new_version_is_later_than_every_one_before_whatever_the_clock_says(previous: int, now_us: int) -> None:
    assert next_version(previous, now_us) > previous
    assert next_version(previous, now_us) >= now_us


# -- which switch stops a call ----------------------------------------------------------------------------------------

FACTS: dict[str, Any] = {"feature": "f", "customer": "c", "models": ("m", "n")}
MATCHING = (
    ALL,
    Scope("feature", "f"),
    Scope("model", "m"),
    Scope("model", "n"),
    Scope("customer", "c"),
)


@given(st.sets(st.sampled_from(MATCHING)), st.sets(st.builds(Scope, st.sampled_from(SCOPE_KINDS[1:]), st.just("other"))))
def test_the_widest_switch_that_matches_is_the_one_that_stops(matching: set[Scope], others: set[Scope]) -> None:
    switches = {scope: Switch(scope) for scope in matching | others}
    stopped = stopping(switches, 0, **FACTS)
    assert (None if stopped is None else stopped.scope) == next((scope for scope in MATCHING if scope in matching), None)


def test_a_switch_that_has_expired_does_not_hide_one_that_has_not() -> None:
    switches = {ALL: Switch(ALL, expires_at=100), MATCHING[4]: Switch(MATCHING[4], expires_at=200)}
    assert [getattr(stopping(switches, now, **FACTS), "scope", None) for now in (99, 100, 199, 200)] == [
        ALL,
        MATCHING[4],
        MATCHING[4],
        None,
    ]


def test_a_call_without_a_customer_is_not_stopped_by_a_customers_switch() -> None:
    switches = {Scope("customer", "None"): Switch(Scope("customer", "None"))}
    assert stopping(switches, 0, feature="f", customer=None, models=("m",)) is None


@pytest.mark.parametrize(
    "asked", ["claude-x-5", "claude-x-5-20260901", "us.anthropic.claude-x-5-20260901-v1:0", "claude-x-5@20260901"]
)
def test_a_switch_on_a_model_stops_its_dated_snapshots_and_other_providers_ids(asked: str) -> None:
    scope = Scope("model", "claude-x-5")
    assert stopping({scope: Switch(scope)}, 0, feature="f", customer=None, models=(asked,)) is not None
    exact = Scope("model", "claude-x-5-20260901")
    stopped = stopping({exact: Switch(exact)}, 0, feature="f", customer=None, models=(asked,))
    assert (stopped is not None) == (asked == "claude-x-5-20260901")
