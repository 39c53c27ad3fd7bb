"""What an operator is told and may do, where it was once wrong."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from store_tools import REPLY, as_nobody, beat, calls, desk_in, kill, now_us, open_to_all, put_switch, until, write

from console.core.audit import verify_chain, verify_control
from console.core.control import encode_kept, merge
from console.core.switches import ALL, Scope
from console.ops.installation import install
from console.ops.views import Applied, Order
from console.store.kept import read_kept
from console.store.sqlite.control import read_audit, read_control
from console.store.sqlite.telemetry import TelemetryWriter

if TYPE_CHECKING:
    from pathlib import Path

    from console.store.locations import Locations

US = 1_000_000


def test_the_preview_of_a_model_counts_what_its_switch_stops(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    batch = calls(6, target="claude-x-5", model_served="claude-x-5-20260901", started_us=now_us() - 30 * US)
    write(writer, batch)
    writer.close()
    desk = desk_in(places)
    seen = desk.preview(Order("kill", Scope("model", "claude-x-5")))
    assert (seen.calls_5m, seen.share_of_traffic, seen.warnings) == (6, 1.0, ())
    missed = desk.preview(Order("kill", Scope("model", "claude-x-5-20260901")))
    assert missed.calls_5m == 0
    assert any("claude-x-5" in warning for warning in missed.warnings)


def test_calls_of_a_customer_after_a_kill_are_not_told_before_a_whole_minute_has_passed(places: Locations) -> None:
    base = now_us() // (60 * US) * 60 * US - 600 * US
    writer = TelemetryWriter(places.telemetry)
    for second in range(300):  # one call a second, until the kill
        write(writer, calls(1, started_us=base + second * US, duration_us=1))
    writer.close()
    applied = Applied("i", "kill", "customer:acme", 1, base + 300 * US, "me", None, None, 1.0)
    for after_s, expected in ((5, None), (59, None), (61, 0.0), (200, 0.0)):
        desk = desk_in(places, clock_us=lambda after_s=after_s: base + (300 + after_s) * US)
        seen = desk.acknowledgement(applied)
        assert (seen.calls_per_min_before, seen.calls_per_min_now) == (60.0, expected)


def test_a_rate_is_over_a_minute_and_not_over_a_minute_and_a_bit(places: Locations) -> None:
    base = now_us() // (60 * US) * 60 * US
    writer = TelemetryWriter(places.telemetry)
    for second in range(-600, 10):
        write(writer, calls(1, started_us=base + second * US, duration_us=1))
    writer.close()
    for now_s in (0, 3, 9):
        (feature,) = desk_in(places, clock_us=lambda now_s=now_s: base + now_s * US).status().features
        assert feature.calls_per_min == 60.0
        assert feature.calls_5m <= 310


def test_who_follows_cannot_be_told_from_broken_telemetry_and_it_says_so(places: Locations) -> None:
    places.telemetry.write_bytes(b"not a database, and never was one." * 200)
    desk = desk_in(places)
    _, applied = desk.act(Order("kill", ALL))
    seen = desk.followed(applied)
    assert seen.problem is not None
    assert not seen.is_complete


def test_a_process_that_fell_silent_is_named(places: Locations) -> None:
    writer = TelemetryWriter(places.telemetry)
    from console.core.rollups import Rollups

    writer.write([], Rollups(), beat(id="far", host="elsewhere", at=now_us() - 60 * US), "far")
    writer.write([], Rollups(), beat(id="ahead", host="elsewhere", at=now_us() + 3600 * US), "ahead")
    writer.close()
    desk = desk_in(places)
    _, applied = desk.act(Order("kill", ALL))
    seen = desk.acknowledgement(applied)
    assert {view.id for view in seen.silent} == {"far", "ahead"}
    assert seen.live == 0


def test_a_kept_snapshot_from_the_future_neither_decides_nor_stands_in_the_operators_way(places: Locations) -> None:
    put_switch(places, REPLY)
    (row,) = read_control(places.control)
    places.control.unlink()
    forged = merge(read_kept(places.kept)[0], [type(row)(row.key, row.value, 2**63 - 1, "x", None, row.at, None).sealed()])
    places.kept.write_text(encode_kept(forged))
    state, problem = read_kept(places.kept)
    assert state.version == 0
    assert "future" in (problem or "")
    assert kill(places, Scope("feature", "summarize")).version < 2**62


def test_what_no_utf8_can_hold_is_no_reason_to_refuse_a_kill(places: Locations) -> None:
    install(places)
    command = [sys.executable, "-m", "console.cli.main", "kill", "--all", "--json", "--data", str(places.data)]
    done = subprocess.run(
        [*map(os.fsencode, command), b"--reason", b"l\xe4uft"],
        env={**os.environb, b"LOGNAME": b"\xff"}, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["act"] == "kill"
    assert verify_chain(read_audit(places.control)) is None


def test_e3_a_switch_that_was_changed_past_the_audit_is_found(places: Locations) -> None:
    kill(places, REPLY)
    assert verify_control(read_audit(places.control), read_control(places.control)) is None
    (row,) = read_control(places.control)
    lifted = type(row)(row.key, '{"engaged":false}', row.version + 1, row.actor, row.reason, row.at, None).sealed()
    with closing(sqlite3.connect(places.control)) as connection:
        connection.execute("UPDATE control SET value = ?, version = ?, hash = ?", (lifted.value, lifted.version, lifted.hash))
        connection.commit()
    assert verify_chain(read_audit(places.control)) is None, "the chain alone does not show it"
    assert "last act" in (verify_control(read_audit(places.control), read_control(places.control)) or "")


def test_an_installation_for_two_users_lets_the_application_see_the_glass_and_own_no_journal() -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to act as two users")
    with open_to_all() as places:
        places.data.mkdir(parents=True, exist_ok=True)
        os.chown(places.data, 0, 65534)
        places.data.chmod(0o3770)
        install(places)
        kill(places, REPLY)
        assert places.control.stat().st_mode & 0o777 == 0o640
        assert (places.data / "kill").stat().st_mode & 0o7777 == 0o2750
        (places.data / "kill" / "all").touch()
        code = """
from pathlib import Path
from console.core.switches import ALL
from console.runtime.process import Runtime
from console.store.locations import locations
places = locations(Path(sys.argv[1]))
runtime = Runtime(places, service="application")
assert ALL in runtime.current().switches, "the break-glass file"
assert len(runtime.current().switches) == 2, "and the switch of control.db"
for name in ("control.db", "control.db-journal"):
    for harm in (lambda file: open(file, "r+b"), os.unlink):
        try:
            harm(places.data / name)
        except PermissionError:
            continue
        raise AssertionError(f"{name} is not safe from the application")
runtime.start()
runtime.close()
assert places.telemetry.exists()
print("held")
"""
        assert as_nobody(code, places.data).strip() == "held"
        kill(places, Scope("feature", "summarize"))
        until(lambda: desk_in(places).status().processes)


def test_a_backup_that_fails_leaves_nothing_behind(places: Locations, tmp_path: Path) -> None:
    from console.errors import StoreError
    from console.ops.files import back_up_file

    places.data.mkdir(parents=True, exist_ok=True)
    places.telemetry.write_bytes(b"not a database, and never was one." * 200)
    copy = tmp_path / "copy.db"
    with pytest.raises(StoreError):
        back_up_file(places, "telemetry", copy)
    assert not copy.exists()


def test_a_rate_of_the_first_minute_is_not_told_too_low(places: Locations) -> None:
    base = now_us() // (60 * US) * 60 * US
    writer = TelemetryWriter(places.telemetry)
    for second in range(20):
        write(writer, calls(2, started_us=base + second * US, duration_us=1))
    writer.close()
    (feature,) = desk_in(places, clock_us=lambda: base + 20 * US).status().features
    assert feature.calls_per_min == 120.0
