"""Acts as operators do them: preview, apply, undo, conflicts, expiry, what is written down."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store_tools import (
    REPLY,
    SUMMARIZE,
    as_nobody,
    assert_chain,
    console,
    desk_in,
    kill,
    now_us,
    open_to_all,
    put_switch,
    python,
    restore,
    until,
)

from console.core.switches import ALL, Scope
from console.errors import ActConflict, ActError, ActForbidden, NothingToUndo, StoreError
from console.ops.actor import NO_LOGIN
from console.ops.control import read_all
from console.ops.views import Order
from console.store.kept import keep
from console.store.sqlite.control import read_audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.core.switches import Switch
    from console.ops.views import Applied
    from console.store.locations import Locations

MINUTE_US = 60_000_000


def engaged(places: Locations, at: int | None = None) -> dict[Scope, Switch]:
    return {switch.scope: switch for switch in read_all(places).engaged(now_us() if at is None else at)}


def undo(places: Locations, change_id: str | None = None) -> Applied:
    return desk_in(places).act(Order("undo", change_id=change_id))[1]


def acts(places: Locations) -> Sequence[str]:
    return [row.act for row in read_audit(places.control)]


def test_undo_takes_back_a_kill_and_a_restore_and_one_act_each_time(places: Locations) -> None:
    kill(places, SUMMARIZE)
    kill(places, REPLY)
    restore(places, SUMMARIZE)
    undo(places)
    assert set(engaged(places)) == {SUMMARIZE, REPLY}
    undo(places)
    assert set(engaged(places)) == {SUMMARIZE}
    undo(places)
    assert not engaged(places)
    with pytest.raises(NothingToUndo):
        undo(places)
    assert acts(places) == ["kill", "kill", "restore", "undo", "undo", "undo"]
    assert_chain(places)


def test_undo_of_a_specific_act_leaves_the_others(places: Locations) -> None:
    first = kill(places, SUMMARIZE)
    kill(places, REPLY)
    undo(places, first.id)
    assert set(engaged(places)) == {REPLY}
    with pytest.raises(NothingToUndo, match="could be taken back"):
        undo(places, first.id)


def test_undo_of_an_act_that_somebody_has_changed_since_is_refused(places: Locations) -> None:
    first = kill(places, SUMMARIZE)
    restore(places, SUMMARIZE)
    with pytest.raises(ActConflict, match="undo that first"):
        undo(places, first.id)
    assert acts(places) == ["kill", "restore"]


def test_undo_without_any_act_or_file_says_so(places: Locations) -> None:
    with pytest.raises(NothingToUndo):
        undo(places)
    assert not places.control.exists()


def test_undo_of_a_kill_for_a_while_lets_it_run_again(places: Locations) -> None:
    kill(places, SUMMARIZE, for_us=MINUTE_US)
    undo(places)
    assert not engaged(places)


def test_undo_of_the_restore_of_a_kill_for_a_while_keeps_its_end(places: Locations) -> None:
    first = kill(places, SUMMARIZE, for_us=MINUTE_US)
    restore(places, SUMMARIZE)
    shown = desk_in(places).preview(Order("undo"))
    assert "then running again by itself" in shown.after
    undo(places)
    assert engaged(places)[SUMMARIZE].expires_at == first.expires_at
    assert not engaged(places, first.expires_at)


def test_undo_of_the_restore_of_a_kill_that_has_expired_since_kills_nothing_and_says_so(places: Locations) -> None:
    kill(places, SUMMARIZE, for_us=30_000)
    restore(places, SUMMARIZE)
    time.sleep(0.05)
    shown = desk_in(places).preview(Order("undo"))
    assert (shown.before, shown.after) == ("running", "running")
    undo(places)
    assert not engaged(places)


def test_undo_of_a_kill_of_what_was_killed_already_leaves_it_killed(places: Locations) -> None:
    kill(places, SUMMARIZE, for_us=MINUTE_US)
    shown = desk_in(places).preview(Order("kill", SUMMARIZE))
    assert not shown.is_already_so, "a kill without an end changes one that ends by itself"
    kill(places, SUMMARIZE)
    assert engaged(places)[SUMMARIZE].expires_at is None
    undo(places)
    assert engaged(places)[SUMMARIZE].expires_at is not None


def test_undo_passes_over_acts_that_have_changed_nothing(places: Locations) -> None:
    kill(places, SUMMARIZE, for_us=50_000)
    time.sleep(0.06)
    kill(places, REPLY)
    idle = [
        restore(places, SUMMARIZE),  # its kill had ended by itself
        desk_in(places).act(Order("auto", SUMMARIZE))[1],
        kill(places, REPLY),
    ]
    assert all(applied.is_already_so for applied in idle)
    with pytest.raises(NothingToUndo, match="has changed nothing"):
        undo(places, idle[0].id)
    shown, applied = desk_in(places).act(Order("undo"))
    assert (shown.subject, applied.is_already_so) == (str(REPLY), False)
    assert not engaged(places)
    assert acts(places) == ["kill", "kill", "restore", "auto", "kill", "undo"]
    kill(places, REPLY)
    assert undo(places).subject == str(REPLY), "after an undo the same act is a change again"


def test_the_same_act_twice_is_harmless_and_both_are_written_down(places: Locations) -> None:
    kill(places, SUMMARIZE)
    shown = desk_in(places).preview(Order("kill", SUMMARIZE))
    assert shown.is_already_so
    kill(places, SUMMARIZE)
    assert set(engaged(places)) == {SUMMARIZE}
    assert acts(places) == ["kill", "kill"]


def test_a14_the_second_of_two_operators_sees_that_his_preview_is_stale(places: Locations) -> None:
    first, second = desk_in(places), desk_in(places)
    seen_by_first, seen_by_second = first.preview(Order("kill", SUMMARIZE)), second.preview(Order("kill", SUMMARIZE))
    first.apply(seen_by_first, reason="one")
    with pytest.raises(ActConflict, match="since you looked"):
        second.apply(seen_by_second, reason="two")
    assert acts(places) == ["kill"], "nothing was written"
    second.apply(second.preview(Order("kill", SUMMARIZE)), reason="two")
    assert acts(places) == ["kill", "kill"]
    assert_chain(places)


def test_a14_of_many_operators_who_confirm_the_same_preview_at_once_one_acts(places: Locations) -> None:
    put_switch(places, REPLY)
    desk = desk_in(places)
    shown = desk.preview(Order("kill", SUMMARIZE))
    outcomes: list[str] = []

    def act() -> None:
        try:
            desk_in(places).apply(shown)
            outcomes.append("done")
        except ActConflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=act) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["done"]
    assert_chain(places)


def test_a14_two_commands_at_once_are_serialised_and_both_in_the_audit(places: Locations) -> None:
    processes = [
        python("-m", "console.cli.main", "kill", name, "--json", "--data", places.data) for name in ("a", "b", "c", "d")
    ]
    said = [json.loads(process.communicate(timeout=30)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len({one["control_version"] for one in said}) == 4
    assert {row.id for row in read_audit(places.control)} == {one["id"] for one in said}
    assert_chain(places)


def test_an_act_after_a_writer_was_killed_half_way_is_done_at_once(places: Locations) -> None:
    kill(places, SUMMARIZE)
    code = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('PRAGMA journal_mode = TRUNCATE')\n"
        "c.execute('PRAGMA cache_size = 2'); c.execute('BEGIN IMMEDIATE'); c.execute('DELETE FROM control')\n"
        "for n in range(400): c.execute('INSERT INTO prompt_version VALUES (?, 1, 1, ?)', (str(n), 'x' * 3000))\n"
        "os.kill(os.getpid(), 9)"
    )
    python("-c", code, places.control).communicate()
    assert places.control.with_name("control.db-journal").stat().st_size > 0
    shown = desk_in(places).preview(Order("restore", SUMMARIZE))
    assert shown.before.startswith("killed by")
    assert shown.warnings == ()
    desk_in(places).apply(shown)
    assert not engaged(places)
    assert_chain(places)


def test_an_act_whose_preview_met_a_lock_goes_by_what_is_kept(places: Locations) -> None:
    kill(places, SUMMARIZE)
    keep(places.kept, read_all(places).state)
    with closing(sqlite3.connect(places.control, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        shown = desk_in(places).preview(Order("restore", SUMMARIZE))
    assert any("locked" in warning for warning in shown.warnings)
    desk_in(places).apply(shown)
    assert not engaged(places)


def test_a8_a_restore_works_when_the_file_was_made_anew(places: Locations) -> None:
    killed = kill(places, SUMMARIZE)
    keep(places.kept, read_all(places).state)
    places.control.unlink()
    assert set(engaged(places)) == {SUMMARIZE}, "the console shows what the processes obey"
    assert restore(places, SUMMARIZE).version > killed.version
    assert not engaged(places)


def test_a_read_only_desk_and_a_user_without_permission_are_refused_before_anything_is_written(places: Locations) -> None:
    with pytest.raises(ActForbidden, match="read-only"):
        desk_in(places, read_only=True).act(Order("kill", SUMMARIZE))
    assert not places.control.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user: the owner may always write")
def test_c9_a_viewer_sees_everything_and_may_not_act() -> None:
    with open_to_all() as places:
        kill(places, SUMMARIZE)
        places.control.chmod(0o644)
        code = (
            "import json; from pathlib import Path; from console.errors import ActForbidden\n"
            "places = places_in(Path(sys.argv[1])); desk = desk_in(places)\n"
            "view = desk.status(); print([str(switch.scope) for switch in view.switches], view.control.is_writable)\n"
            "try: desk.act(Order('restore', SUMMARIZE))\n"
            "except ActForbidden as error: print('break the glass' in str(error))"
        )
        assert as_nobody("from store_tools import *\n" + code, places.data.parent) == "['feature:summarize'] False\nTrue\n"
        assert set(engaged(places)) == {SUMMARIZE}


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[2J", "x" * 201])
def test_a_name_that_cannot_be_one_is_refused(places: Locations, name: str) -> None:
    with pytest.raises(ActError):
        desk_in(places).preview(Order("kill", Scope("feature", name)))


@pytest.mark.parametrize("harm", [b"garbage" * 1_000, None])
def test_an_act_on_a_file_that_is_no_good_is_an_error_that_says_which(places: Locations, harm: bytes | None) -> None:
    if harm is None:
        places.control.mkdir()
    else:
        places.control.write_bytes(harm)
    with pytest.raises(StoreError, match=r"control\.db"):
        kill(places, SUMMARIZE)
    desk_in(places).status()  # never raises


def test_a_status_never_raises_whichever_byte_of_control_db_is_damaged(places: Locations) -> None:
    kill(places, SUMMARIZE)
    kill(places, ALL)
    whole = places.control.read_bytes()
    for offset in (0, 16, 18, 24, 28, 44, 56, 60, 68, *range(100, len(whole), 97)):
        places.control.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0xF7]) + whole[offset + 1 :])
        read_all(places)
    places.control.write_bytes(whole)
    assert set(engaged(places)) == {SUMMARIZE, ALL}


LOGIN_UID = Path("/proc/self/loginuid")


def _login() -> int:
    return int(LOGIN_UID.read_text()) if LOGIN_UID.exists() else NO_LOGIN


FORGED = {
    "SUDO_USER": "ceo",
    "LOGNAME": "auditor",
    "USER": "nobody-else",
    "HOME": "/home/ceo",
    "SSH_CONNECTION": "1.2.3.4 5 6 7",
}


def test_e2_a_forged_environment_is_stored_as_claimed_and_the_actor_is_the_real_user(places: Locations) -> None:
    import pwd

    process = python("-m", "console.cli.main", "kill", "summarize", "--data", places.data, env=FORGED)
    process.communicate(timeout=30)
    assert process.returncode == 0
    (row,) = read_audit(places.control)
    login = _login()
    assert row.actor == pwd.getpwuid(os.getuid() if login == NO_LOGIN else login).pw_name
    claimed = json.loads(row.claimed)
    assert {name: claimed[name] for name in ("SUDO_USER", "LOGNAME", "USER", "SSH_CONNECTION")} == {
        name: value for name, value in FORGED.items() if name != "HOME"
    }
    assert claimed["uid"] == str(os.getuid())


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user")
def test_e2_the_actor_of_a_dropped_uid_is_that_user_whatever_the_environment_says() -> None:
    code = "from console.ops.actor import *; actor = current_actor(); print(actor.uid, actor.name, actor.claimed['LOGNAME'])"
    found = as_nobody("os.environ.update(LOGNAME='root', SUDO_USER='root', HOME='/root')\n" + code).split()
    assert (found[0], found[2]) == ("65534", "root")
    assert found[1] == ("nobody" if _login() == NO_LOGIN else found[1])


def test_a_reason_is_kept_in_one_line_without_secrets(places: Locations) -> None:
    desk_in(places).act(Order("kill", SUMMARIZE), reason=f"leak\n of  sk-{'a1' * 20} now")
    assert read_audit(places.control)[0].reason == "leak of [redacted] now"


def test_a_kill_for_a_while_by_the_real_command_ends_by_itself(places: Locations) -> None:
    done = console(places, "kill", "summarize", "--for", "1s", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["expires_at"] is not None
    until(lambda: not engaged(places))
    assert acts(places) == ["kill"]
