"""The command line as a user meets it: real processes, real files, exit codes, JSON, and mistakes typed on purpose."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
"""What no output may hold: control characters but tab and newline, and what turns text around."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def run(home: Path, *arguments: str, check: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "CONSOLE_DATA": str(home / "data"), "LANG": "C.UTF-8", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "console.cli.main", *arguments],
        capture_output=True, text=True, env=env, cwd=home, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    if check is not None:
        assert done.returncode == check, (arguments, done.returncode, done.stdout, done.stderr)
    assert not FORBIDDEN.search(done.stdout + done.stderr), (arguments, done.stdout, done.stderr)
    return done


def run_json(home: Path, *arguments: str, check: int = 0) -> Any:
    return json.loads(run(home, *arguments, "--json", check=check).stdout)


def test_every_command_has_help_and_a_line_in_the_overview(home: Path) -> None:
    import click

    from console.cli.main import COMMANDS, cli

    overview = run(home, "--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", overview, re.MULTILINE), name
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None and command.help, name
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, (name, option.name)


def test_init_makes_everything_once_and_leaves_it_alone_afterwards(home: Path) -> None:
    first = run_json(home, "init", "--config", "console.yaml")
    made = {Path(path).name for path in first["created"]}
    assert {"console.yaml", "control.db", "incident.db", "kill"} <= made
    (home / "console.yaml").write_text("environment: mine\n")
    assert run_json(home, "init")["created"] == []
    assert (home / "console.yaml").read_text() == "environment: mine\n"
    assert run_json(home, "config", "check")["environment"] == "mine"


def test_what_init_writes_is_private_to_its_owner(home: Path) -> None:
    run(home, "init")
    assert (home / "data").stat().st_mode & 0o777 == 0o700
    assert (home / "data" / "control.db").stat().st_mode & 0o777 == 0o600


def test_kill_says_what_it_did_and_undo_takes_it_back(home: Path) -> None:
    killed = run_json(home, "kill", "support-reply", "--reason", "bad answers", "--for", "30m")
    assert killed["subject"] == "feature:support-reply"
    assert killed["preview"]["after"].startswith("killed for 30 m")
    followed = killed["processes"]
    assert (followed["live"], followed["following"], followed["laggards"], followed["problem"]) == (0, 0, [], None)
    status = run_json(home, "status")
    assert status["control"]["version"] == killed["control_version"]
    assert status["switches"][0]["scope"] == "feature:support-reply"
    assert status["features"][0]["killed"]["reason"] == "bad answers"
    undone = run_json(home, "undo")
    assert undone["control_version"] > killed["control_version"]
    after = run_json(home, "status")
    assert after["switches"] == []
    assert [change["act"] for change in after["changes"]] == ["undo", "kill"]
    assert after["changes"][1]["is_undone"]


def test_status_holds_what_is_promised_and_null_for_what_is_not_known(home: Path) -> None:
    status = run_json(home, "status")
    assert {"environment", "control", "processes", "features", "targets", "changes"} <= set(status)
    assert status["control"]["version"] is None
    assert status["data_age_s"] is None
    run(home, "kill", "classify")
    (feature,) = run_json(home, "status")["features"]
    for name in ("error_rate", "p50_ms", "p95_ms", "p99_ms", "cost_today_usd", "target", "prompt", "quality"):
        assert feature[name] is None, name
    assert feature["calls_5m"] == 0


def test_the_same_act_twice_is_harmless_and_says_so(home: Path) -> None:
    run(home, "kill", "--all", "--reason", "one")
    again = run_json(home, "kill", "--all", "--reason", "two")
    assert again["preview"]["is_already_so"]
    assert run_json(home, "audit", "verify") == {**run_json(home, "audit", "verify"), "rows": 2, "is_whole": True}


def test_restore_names_what_still_stops_it(home: Path) -> None:
    run(home, "kill", "--all")
    run(home, "kill", "classify")
    warnings = run_json(home, "restore", "classify")["preview"]["warnings"]
    assert any("--all" in warning for warning in warnings)
    glass = home / "data" / "kill"
    glass.mkdir()
    (glass / "classify").touch()
    warnings = run_json(home, "restore", "classify")["preview"]["warnings"]
    assert any("break-glass" in warning and "classify" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("kill",), 2, "exactly one"),
        (("kill", "a", "--all"), 2, "exactly one"),
        (("kill", "a", "--for", "soon"), 2, "30m"),
        (("kill", ""), 1, "printable"),
        (("kill", "a\x1b[2J"), 1, "printable"),
        (("kill", "a", "--nope"), 2, "No such option"),
        (("undo",), 1, "nothing to undo"),
        (("undo", "no-such-id"), 1, "nothing to undo"),
        (("stauts",), 2, "No such command"),
        (("audit", "--last", "0"), 2, "--last"),
        (("config", "check", "nowhere.yaml"), 1, "No such file"),
        (("db", "backup"), 2, "FILE"),
        (("db", "backup", "copy.db"), 1, "no control database"),
        (("completion", "tcsh"), 2, "bash"),
        (("demo", "--for", "x"), 2, "30m"),
        (("--config", "nowhere.yaml", "status"), 1, "nowhere.yaml"),
    ],
)
def test_a_mistake_gets_one_clear_message(home: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(home, *arguments, check=code)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_error_with_json_is_json_too(home: Path) -> None:
    done = run(home, "undo", "--json", check=1)
    assert json.loads(done.stdout)["error"]["kind"] == "NothingToUndo"


def test_every_mistake_of_a_configuration_is_named_at_once_with_its_place(home: Path) -> None:
    (home / "console.yaml").write_text("environmnt: x\nfeatures:\n  a: {degraded: ''}\nretention: {calls: never}\n")
    done = run(home, "config", "check", check=1)
    assert [line.split(": ")[0].rpartition("/")[2] for line in done.stderr.splitlines()] == [
        "console.yaml:1:1", "console.yaml:3:7", "console.yaml:4:13",
    ]  # fmt: skip
    assert run(home, "status", check=1).stderr.startswith("console: ")


def test_e7_a_configuration_that_everybody_can_write_is_refused(home: Path) -> None:
    file = home / "console.yaml"
    file.write_text("environment: x\n")
    file.chmod(0o666)
    assert "writable by everybody" in run(home, "status", check=1).stderr


def test_read_only_refuses_in_ops(home: Path) -> None:
    assert "read-only" in run(home, "--read-only", "kill", "a", check=1).stderr
    assert not (home / "data" / "control.db").exists()


def test_a_backup_is_whole_and_never_overwrites(home: Path) -> None:
    run(home, "kill", "a")
    copied = run_json(home, "db", "backup", "copy.db")
    assert Path(copied["file"]).stat().st_mode & 0o777 == 0o600
    assert "exists already" in run(home, "db", "backup", "copy.db", check=1).stderr


def test_db_info_tells_damaged_from_missing(home: Path) -> None:
    run(home, "init")
    states = {file["kind"]: file["state"] for file in run_json(home, "db", "info")["files"]}
    assert states == {"control": "ok", "incident": "ok", "telemetry": "missing"}
    (home / "data" / "telemetry.db").write_bytes(b"this is no database, and never was one" * 200)
    states = {file["kind"]: file["state"] for file in run_json(home, "db", "info", check=1)["files"]}
    assert states["telemetry"] == "damaged"
    assert "PROBLEM" in run(home, "status", check=1).stdout


def test_an_edited_audit_row_is_named(home: Path) -> None:
    import sqlite3

    for number in range(4):
        run(home, "kill", f"feature-{number}")
    connection = sqlite3.connect(home / "data" / "control.db")
    connection.execute("UPDATE audit SET reason = 'nothing happened' WHERE position = 3")
    connection.commit()
    connection.close()
    assert run_json(home, "audit", "verify", check=1)["first_bad"] == 3


HOSTILE = "x\x1b[2J\x1b]0;owned\x07\u202egnp.exe\x9b31m[@click=app.quit]y[/]\r\nz"


def test_d10_text_from_outside_cannot_reach_the_terminal_as_anything_but_text(home: Path) -> None:
    run(home, "kill", "a", "--reason", HOSTILE)
    for arguments in (("status",), ("audit",), ("status", "--json"), ("audit", "--json")):
        out = run(home, *arguments).stdout
        assert "[@click=app.quit]y[/]" in out or "--json" in arguments


def test_secrets_in_a_reason_are_not_kept(home: Path) -> None:
    run(home, "kill", "a", "--reason", "leaked sk-ant-api03-abcdefghijklmnopqrstuvwxyz in the answer")
    content = b"".join(file.read_bytes() for file in (home / "data").iterdir() if file.is_file())
    assert b"abcdefghijklmnopqrstuvwxyz" not in content


def test_without_a_terminal_the_console_prints_one_status_and_leaves(home: Path) -> None:
    done = run(home)
    assert "No calls yet" in done.stdout


def test_completion_offers_the_commands(home: Path) -> None:
    script = run(home, "completion", "bash").stdout
    assert "_CONSOLE_COMPLETE" in script


def test_a_closed_pipe_is_no_error(home: Path) -> None:
    for number in range(3):
        run(home, "kill", f"f{number}")
    command = f"{sys.executable} -m console.cli.main audit --data {home / 'data'} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=home, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def test_a_data_directory_brings_its_own_configuration(home: Path) -> None:
    there = home / "there"
    there.mkdir()
    (there / "console.yaml").write_text("environment: beside\ndata: elsewhere\n")
    (home / "console.yaml").write_text("environment: here\n")
    said = run_json(home, "config", "check", "--data", "there")
    assert (said["environment"], said["data"]) == ("beside", str(there)), "the directory that was given still wins"
    assert run_json(home, "config", "check")["environment"] == "here"
    assert run_json(home, "config", "check", "--data", "there", "--config", "console.yaml")["environment"] == "here"
    file = str(home / "console.yaml")
    done = run(home, "config", "check", "--data", "there", "--json", CONSOLE_CONFIG=file)
    assert json.loads(done.stdout)["environment"] == "here"


def test_a_data_directory_that_is_not_there_is_a_problem_and_no_act_makes_it(home: Path) -> None:
    nowhere = home / "nowhere"
    words = f"no installation in {nowhere}: is --data / --config right? `console init` makes one"
    assert run_json(home, "status", "--data", "nowhere", check=1)["telemetry_problem"] == words
    assert f"PROBLEM {words}" in run(home, "--data", "nowhere", "status", check=1).stdout
    for arguments in (("kill", "a"), ("switch", "a", "claude-haiku-5-5"), ("undo",)):
        assert words in run(home, *arguments, "--data", "nowhere", check=1).stderr
    assert not nowhere.exists()
    (home / "console.yaml").write_text("environment: here\ndata: nowhere\n")
    run(home, "status", "--data", "nowhere")
    run(home, "kill", "a", "--data", "nowhere")
    assert (nowhere / "control.db").exists()


def test_init_makes_the_data_directory_that_is_named(home: Path) -> None:
    run(home, "init", "--data", "fresh")
    run(home, "status", "--data", "fresh")
