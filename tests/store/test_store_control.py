"""Reading and writing control.db: versions, hashes, the audit chain, the kept snapshot, backups."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from store_tools import (
    REPLY,
    SUMMARIZE,
    as_nobody,
    assert_chain,
    assert_whole,
    calls,
    count,
    now_us,
    open_to_all,
    put_switch,
    python,
    query,
    write,
)

from console.core.audit import verify_chain
from console.core.control import EMPTY, KILL_ENGAGED, ControlRefused, ControlRow, decode_kept, encode_kept, kill_key, merge
from console.core.switches import ALL
from console.errors import SchemaTooNew, StoreError
from console.ops.files import back_up_file, file_views
from console.store.kept import keep, read_kept
from console.store.sqlite.control import create_control, read_audit, read_control
from console.store.sqlite.schema import ForeignFile
from console.store.sqlite.telemetry import TelemetryWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from console.core.control import ControlState
    from console.store.locations import Locations


@pytest.fixture
def known(places: Locations) -> ControlState:
    """What is in force: two kills and a restored one."""
    put_switch(places, ALL, engaged=False)
    put_switch(places, SUMMARIZE)
    put_switch(places, REPLY, reason="wrong prices ünï")
    return merge(EMPTY, read_control(places.control))


def row(**given: object) -> ControlRow:
    values: dict[str, object] = {
        "key": kill_key(SUMMARIZE), "value": KILL_ENGAGED, "version": 10, "actor": "a", "reason": None, "at": 1,
        "expires_at": None, **given,
    }  # fmt: skip
    return ControlRow(**values)  # type: ignore[arg-type]


DEEP = "[" * 50_000


@pytest.mark.parametrize(
    "bad",
    [
        row(value=""),
        row(value=KILL_ENGAGED[:-1]),
        row(value="null"),
        row(value="true"),
        row(value='{"engaged":"yes"}'),
        row(value='{"engaged":true,"extra":1}'),
        row(value='{"engaged": true}'),
        row(value=DEEP),
        row(value="x" * 10_000_000),
        row(key="kill/feature/" + "x" * 10_000),
        row(version="10"),
        row(version=10.0),
        row(version=True),
        row(at=None),
        row(expires_at="soon"),
        row(value=b"{}", key="kill/all"),
        row(value=None),
        row(actor=None),
        row(reason=7),
    ],
    ids=lambda bad: f"{bad.key[:12]}={str(bad.value)[:20]!r},{bad.version!r},{bad.at!r},{bad.reason!r}",
)
def test_a4_a_row_that_is_not_exactly_ours_refuses_the_whole_reading(bad: ControlRow) -> None:
    try:
        bad = bad.sealed()
    except TypeError:  # bytes have no JSON: such a row never had a valid hash
        bad = replace(bad, hash="0" * 64)
    good = row(key=kill_key(REPLY), version=99).sealed()
    previous = merge(EMPTY, [row().sealed()])
    with pytest.raises(ControlRefused):
        merge(previous, [good, bad])


def test_a6_no_flipped_byte_of_control_db_ever_makes_a_wrong_decision(places: Locations, known: ControlState) -> None:
    whole = bytearray(places.control.read_bytes())
    copy = places.data / "flipped.db"
    copy.write_bytes(whole)
    refused = 0
    step = max(1, int(os.environ.get("CONSOLE_FLIP_STEP", "1")))
    with copy.open("r+b", buffering=0) as file:
        for offset in range(0, len(whole), step):
            if not whole[offset] and offset % 4:
                continue  # of the free space every fourth byte
            os.pwrite(file.fileno(), bytes([whole[offset] ^ (1 << offset % 8)]), offset)
            try:
                rows = read_control(copy, busy_s=0)
                state, fresh = merge(known, rows), merge(EMPTY, rows)
            except (StoreError, ControlRefused):
                refused += 1
            else:
                assert (state.switches, state.version) == (known.switches, known.version), f"byte {offset}"
                assert fresh.switches.items() <= known.switches.items(), (
                    f"byte {offset} of a file that is read for the first time"
                )
            os.pwrite(file.fileno(), bytes([whole[offset]]), offset)
    assert refused > 500, "the damage was seen"


def test_a7_an_older_version_that_arrives_later_is_ignored() -> None:
    newer = merge(EMPTY, [row(version=20).sealed()])
    older = row(version=19, value='{"engaged":false}').sealed()
    assert merge(newer, [older]) == newer


def test_a10_a_kind_of_switch_that_is_not_known_here_is_kept_ignored_and_said() -> None:
    unknown = row(key="throttle/feature/x", value='{"per_minute":3}', version=11).sealed()
    other_kind = row(key="kill/region/eu", value="whatever", version=12).sealed()
    state = merge(EMPTY, [unknown, row().sealed(), other_kind])
    assert set(state.switches) == {SUMMARIZE}
    assert state.ignored == ("kill/region/eu", "throttle/feature/x")
    assert decode_kept(encode_kept(state)) == state, "a restart still knows them"


@pytest.mark.parametrize("text", ["", "{", "null", "[]", DEEP, '{"format":1,"rows":[],"hash":"x"}', "\x00"])
def test_a_kept_snapshot_that_is_not_whole_is_refused(places: Locations, text: str) -> None:
    places.kept.write_text(text)
    state, problem = read_kept(places.kept)
    assert state == EMPTY
    assert problem is not None


def test_a_kept_snapshot_is_never_replaced_by_an_older_one(places: Locations, known: ControlState) -> None:
    keep(places.kept, known)
    keep(places.kept, merge(EMPTY, [row(version=5).sealed()]))
    assert read_kept(places.kept) == (known, None)


def test_a_slow_process_that_keeps_an_older_snapshot_does_not_undo_what_a_faster_one_kept(
    places: Locations, known: ControlState, monkeypatch: pytest.MonkeyPatch
) -> None:
    from console.errors import StoreBusy
    from console.store import kept as module

    older = merge(EMPTY, [row(version=5).sealed()])
    original = module.read_kept

    def read_then_dawdle(path: Path) -> tuple[ControlState, str | None]:
        found = original(path)
        monkeypatch.setattr(module, "read_kept", original)
        with pytest.raises(StoreBusy):  # the faster one has to come again, and does
            keep(path, known)
        return found

    monkeypatch.setattr(module, "read_kept", read_then_dawdle)
    keep(places.kept, older)
    keep(places.kept, known)
    assert read_kept(places.kept)[0] == known


def test_sixteen_appends_at_once_give_one_linear_chain(places: Locations) -> None:
    create_control(places.control)
    code = (
        "import sys; from pathlib import Path; from store_tools import *\n"
        "places = places_in(Path(sys.argv[1]))\n"
        "for n in range(4): put_switch(places, Scope('feature', sys.argv[2]), engaged=n % 2 == 0)"
    )
    processes = [python("-c", code, places.data.parent, number) for number in range(16)]
    assert [process.wait(60) for process in processes] == [0] * 16
    for process in processes:
        process.communicate()
    rows = read_audit(places.control)
    assert len(rows) == 64
    assert verify_chain(rows) is None
    assert len({row.version for row in rows}) == 64, "every act has a version of its own"
    assert_chain(places)


@pytest.mark.parametrize("harm", ["edit", "delete", "reorder", "insert"])
def test_a_changed_audit_row_is_named(places: Locations, harm: str) -> None:
    for number in range(6):
        put_switch(places, SUMMARIZE, engaged=number % 2 == 0)
    with closing(sqlite3.connect(places.control)) as connection, connection:
        connection.execute(
            {
                "edit": "UPDATE audit SET reason = 'harmless' WHERE position = 3",
                "delete": "DELETE FROM audit WHERE position = 3",
                "reorder": "UPDATE audit SET position = -position WHERE position IN (3, 4)",
                "insert": "INSERT INTO audit SELECT 7, 'x', at, actor, claimed, act, key, before, after, version, reason, "
                "expires_at, undoes, previous_hash, hash FROM audit WHERE position = 6",
            }[harm]
        )
        if harm == "reorder":
            connection.execute("UPDATE audit SET position = 7 + position WHERE position < 0")
    broken = verify_chain(read_audit(places.control))
    assert broken is not None
    assert broken.position == (7 if harm == "insert" else 3)


def test_a5_an_act_whose_process_is_killed_at_any_moment_is_done_or_not_done(places: Locations) -> None:
    code = (
        "import sys; from pathlib import Path; from store_tools import *; from console.store.kept import keep\n"
        "from console.store.sqlite.control import read_control\n"
        "from console.core.control import merge, EMPTY\n"
        "places = places_in(Path(sys.argv[1]))\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    done = put_switch(places, SUMMARIZE, engaged=n % 2 == 0)\n"
        "    keep(places.kept, merge(EMPTY, read_control(places.control)))\n"
        "    os.write(1, f'{done.version}\\n'.encode())"
    )
    acknowledged: list[int] = []
    for round_ in range(int(os.environ.get("CONSOLE_KILLS", "6"))):
        process = python("-c", code, places.data.parent)
        assert process.stdout is not None
        acknowledged.append(int(process.stdout.readline()))
        time.sleep(0.02 + 0.013 * round_)
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.communicate()[0].splitlines() if line.endswith(("0", *"123456789"))][:-1]
        put_switch(places, REPLY)  # a writer, because only a writer can roll back what the killed one left
        assert query(places.control, "PRAGMA integrity_check") == [("ok",)]
        assert_chain(places)
        assert read_kept(places.kept)[1] is None
    assert set(acknowledged) <= {row.version for row in read_audit(places.control)}


def test_c8_a_control_file_of_somebody_else_is_refused_and_left_untouched(places: Locations) -> None:
    with closing(sqlite3.connect(places.control)) as other:
        other.execute("CREATE TABLE control (key, value)")
    before = places.control.read_bytes()
    with pytest.raises(ForeignFile):
        read_control(places.control)
    with pytest.raises(ForeignFile):
        put_switch(places, SUMMARIZE)
    assert places.control.read_bytes() == before


def test_c8_a_control_file_of_a_newer_version_is_refused_and_left_untouched(places: Locations) -> None:
    put_switch(places, SUMMARIZE)
    with closing(sqlite3.connect(places.control)) as newer:
        newer.execute("PRAGMA user_version = 99")
    before = places.control.read_bytes()
    for act in (lambda: read_control(places.control), lambda: put_switch(places, REPLY)):
        with pytest.raises(SchemaTooNew):
            act()
    assert places.control.read_bytes() == before
    assert [view.state for view in file_views(places)] == ["newer", "missing", "missing"]


def test_c8_a_control_file_of_no_bytes_is_begun_by_the_next_act(places: Locations) -> None:
    places.control.write_bytes(b"")
    put_switch(places, SUMMARIZE)
    assert_chain(places)


@pytest.mark.parametrize("after", range(6))
def test_c12_a_file_whose_making_was_killed_half_way_is_made_by_the_next_process(places: Locations, after: int) -> None:
    code = (
        "import os, sys; from pathlib import Path; from store_tools import *; from console.store.sqlite import schema\n"
        "left = int(sys.argv[2])\n"
        "class Dying(schema.sqlite3.Connection):\n"
        "    def execute(self, sql, *rest):\n"
        "        global left\n"
        "        if sql.lstrip().startswith(('CREATE', 'PRAGMA user_version =', 'insert', 'INSERT', 'COMMIT')):\n"
        "            left -= 1\n"
        "            if left < 0: os._exit(9)\n"
        "        return super().execute(sql, *rest)\n"
        "connect = schema.sqlite3.connect\n"
        "schema.sqlite3.connect = lambda *a, **k: connect(*a, factory=Dying, **k)\n"
        "put_switch(places_in(Path(sys.argv[1])), SUMMARIZE)"
    )
    process = python("-c", code, places.data.parent, after)
    process.communicate(timeout=20)
    assert process.returncode == 9
    put_switch(places, SUMMARIZE)
    assert_chain(places)
    assert query(places.control, "PRAGMA user_version") == [(1,)]


def test_c11_a_backup_is_of_one_moment_and_never_replaces_a_file(places: Locations, tmp_path: Path) -> None:
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(100))
    copy = tmp_path / "copy.db"
    assert back_up_file(places, "telemetry", copy).size_bytes == copy.stat().st_size
    write(writer, calls(1))
    writer.close()
    assert count(copy) == 100, "rows that are in the WAL only are in the copy"
    assert_whole(copy)
    with pytest.raises(StoreError, match="exists already"):
        back_up_file(places, "telemetry", copy)


@pytest.fixture
def unreadable() -> Iterator[Locations]:
    with open_to_all() as places:
        put_switch(places, SUMMARIZE)
        places.control.chmod(0)
        yield places


def test_a3_a_control_file_without_permission_is_an_error_of_our_tree(unreadable: Locations) -> None:
    code = (
        "import json; from pathlib import Path; from console.store.sqlite.control import read_control\n"
        "from console.errors import StoreError\n"
        "try: read_control(Path(sys.argv[1]))\n"
        "except StoreError as error: print(json.dumps(str(error)))"
    )
    if os.getuid() != 0:
        pytest.skip("the owner's own file: needs a second user")
    assert "control.db" in json.loads(as_nobody(code, unreadable.control))


def test_a_version_is_higher_than_any_before_also_when_the_clock_went_back(places: Locations) -> None:
    first = put_switch(places, SUMMARIZE, version=now_us() + 3_600_000_000)
    assert put_switch(places, REPLY).version == first.version + 1
    assert put_switch(places, REPLY, floor=first.version + 100).version == first.version + 101
