"""Switching, targets and prompts from the command line: real processes, real files, mistakes typed on purpose."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from test_cli_commands import HOSTILE, run, run_json

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
environment: test
targets:
  sonnet: {provider: anthropic, model: claude-sonnet-5-5}
  haiku: {provider: anthropic, model: claude-haiku-5-5}
features:
  default: {chain: [sonnet, haiku]}
  summarize: {chain: [sonnet, haiku], degraded: "Resting."}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a configuration and a prompt of two versions and a draft."""
    (tmp_path / "console.yaml").write_text(CONFIGURATION)
    for number, front in ((1, "owner: a"), (2, "owner: b"), (3, "draft: true")):
        file = tmp_path / "prompts" / "reply" / f"v{number}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"---\n{front}\n---\nText of {number}.\n")
    return tmp_path


def tell(home: Path, state: dict[str, Any]) -> None:
    """A live process of another host, with this state in its heartbeat."""
    from console.core.rollups import Rollups
    from console.store.sqlite.telemetry import Heartbeat, TelemetryWriter

    now = time.time_ns() // 1000
    (home / "data").mkdir(exist_ok=True)
    writer = TelemetryWriter(home / "data" / "telemetry.db")
    beat = Heartbeat("p", 7, "elsewhere", "web", now, now, None, 0, "none", 0, 0, None, state)
    writer.write([], Rollups(), beat, "p")
    writer.close()


def test_switch_shows_from_and_to_and_undo_takes_it_back(home: Path) -> None:
    done = run(home, "switch", "summarize", "haiku", "--for", "30m", "--reason", "529s")
    assert "sonnet, haiku → haiku only for 30 m, then sonnet, haiku again by itself" in done.stdout
    assert "no fallback while haiku is the only target" in done.stdout
    status = run_json(home, "status")
    assert status["changes"][0]["before"] == "sonnet, haiku"
    assert status["changes"][0]["expires_at"] is not None
    said = run_json(home, "switch", "--all", "haiku", "sonnet")
    assert said["subject"] == "all"
    assert any("summarize (haiku only)" in warning for warning in said["preview"]["warnings"])
    assert said["moves"]["counted"] == "calls served by haiku"
    run(home, "undo")
    assert run_json(home, "switch", "summarize", "--auto")["preview"]["after"] == "sonnet, haiku"
    run(home, "switch", "--all", "--auto")
    assert run_json(home, "audit", "verify")["is_whole"]


def test_a_target_is_forced_and_let_go(home: Path) -> None:
    assert "nothing is sent there" in run(home, "target", "open", "haiku", "--reason", "wrong answers").stdout
    (_, haiku) = run_json(home, "target", "list")
    assert (haiku["target"], haiku["forced"]["state"], haiku["forced"]["reason"]) == ("haiku", "forced_open", "wrong answers")
    assert "haiku: forced_open by" in run(home, "target", "list").stdout
    assert "last usable target of summarize" in run(home, "target", "open", "sonnet").stdout
    run(home, "target", "close", "sonnet")
    run(home, "target", "auto", "sonnet")
    run(home, "undo")
    forced = {one["target"]: one["forced"] and one["forced"]["state"] for one in run_json(home, "target", "list")}
    assert forced == {"sonnet": "forced_closed", "haiku": "forced_open"}


def test_the_help_of_open_says_that_nothing_is_sent(home: Path) -> None:
    assert "NOTHING is sent there" in run(home, "target", "open", "--help").stdout


def test_a_prompt_is_listed_shown_used_and_rolled_back(home: Path) -> None:
    assert re.search(r"^reply +v2 ", run(home, "prompt", "list").stdout, re.MULTILINE)
    assert "Text of 2." in run(home, "prompt", "show", "reply").stdout
    shown = run_json(home, "prompt", "show", "reply", "--version", "v1")
    assert (shown["version"], shown["state"], shown["owner"]) == (1, "available", "a")
    assert "+Text of 2." in run(home, "prompt", "diff", "reply", "1", "v2").stdout
    assert "are the same" in run(home, "prompt", "diff", "reply", "1", "1").stdout
    used = run(home, "prompt", "use", "reply", "v3")
    assert "reply v3 is marked as a draft" in used.stdout
    assert "+Text of 3." in used.stdout
    said = run_json(home, "prompt", "rollback", "reply")
    assert (said["subject"], said["preview"]["title"]) == ("prompt:reply", "Roll reply back to v2")
    (prompt,) = run_json(home, "prompt", "list")
    assert (prompt["current"], [one["state"] for one in prompt["versions"]]) == ([2], ["withdrawn", "current", "available"])
    run(home, "undo")
    run(home, "undo")
    assert run_json(home, "prompt", "list", "reply")[0]["chosen_by"] is None
    run(home, "prompt", "use", "reply", "1")
    assert "current" in run(home, "prompt", "list", "reply").stdout


def test_new_makes_a_draft_and_says_what_comes_next(home: Path) -> None:
    done = run(home, "prompt", "new", "reply")
    assert "console prompt use reply 4" in done.stdout
    assert "draft: true" in (home / "prompts" / "reply" / "v4.md").read_text()
    assert run_json(home, "prompt", "new", "fresh")["version"] == 1
    assert "valid: 5 prompt files" in run(home, "prompt", "check").stdout


def test_check_names_every_mistake_with_its_place(home: Path) -> None:
    run(home, "prompt", "use", "reply", "1")
    (home / "prompts" / "reply" / "v1.md").write_text("---\nowner: a\n---\nEdited.\n")
    (home / "prompts" / "reply" / "v4.md").write_text("---\nownr: a\nvariables: no\n---\n${x}\n")
    done = run(home, "prompt", "check", check=1)
    assert [line.split(" ")[0] for line in done.stderr.splitlines()] == [
        "reply/v1.md:", "reply/v4.md:2:1:", "reply/v4.md:3:1:", "reply/v4.md:5:1:",
    ]  # fmt: skip
    said = run_json(home, "prompt", "check", check=1)
    assert (said["is_valid"], len(said["mistakes"])) == (False, 4)
    assert "ALARM reply v1: its file was edited" in run(home, "status").stdout
    assert run_json(home, "status")["prompt_alarms"] == ["reply v1: its file was edited; the registered text is served"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("switch",), 2, "name a FEATURE, or --all"),
        (("switch", "summarize"), 2, "targets: sonnet, haiku"),
        (("switch", "--all"), 2, "all features"),
        (("switch", "summarize", "haiuk"), 1, "did you mean haiku"),
        (("switch", "summarize", "haiku", "--auto"), 2, "one or the other"),
        (("switch", "--all", "summarize", "--auto"), 2, "--all takes no FEATURE"),
        (("switch", "haiku", "summarize"), 1, "that is a feature: it comes first"),
        (("switch", "summarize", "haiku", "--for", "soon"), 2, "30m"),
        (("switch", "summarize", "haiku", "haiku"), 1, "twice"),
        (("switch", "a\x1b[2J", "haiku"), 1, "printable"),
        (("switch", "--nope"), 2, "No such option"),
        (("swich",), 2, "Did you mean switch?"),
        (("target",), 2, "name what to do: auto, close, list, open"),
        (("target", "opn", "haiku"), 2, "Did you mean open?"),
        (("target", "open"), 2, "TARGET"),
        (("target", "open", "sonet"), 1, "did you mean sonnet"),
        (("target", "close", "sonnet", "haiku"), 2, "unexpected extra argument"),
        (("prompt",), 2, "check, diff, list, new, rollback, show, use"),
        (("prompt", "lst"), 2, "Did you mean list?"),
        (("prompt", "list", "repply"), 1, "did you mean reply"),
        (("prompt", "show", "reply", "--version", "9"), 1, "versions: v1, v2, v3"),
        (("prompt", "show", "reply", "--version", "x"), 2, "such as 3 or v3"),
        (("prompt", "show"), 2, "NAME"),
        (("prompt", "diff", "reply", "1"), 2, "'B'"),
        (("prompt", "use", "reply"), 2, "'N'"),
        (("prompt", "use", "reply", "v0"), 2, "such as 3 or v3"),
        (("prompt", "use", "reply", "9"), 1, "versions: v1, v2, v3"),
        (("prompt", "use", "../x", "1"), 1, "cannot be a prompt's name"),
        (("prompt", "rollback", "nope"), 1, "prompts: reply"),
        (("prompt", "new", "Big"), 1, "cannot be a prompt's name"),
        (("--read-only", "switch", "summarize", "haiku"), 1, "read-only"),
        (("--read-only", "prompt", "new", "reply"), 1, "read-only"),
    ],
)
def test_a_mistake_gets_one_clear_message(home: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(home, *arguments, check=code)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (home / "data" / "control.db").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("switch", "summarize", "haiku"), ("target", "list"), ("target", "open", "haiku"), ("prompt", "list"), ("prompt", "check"),
        ("prompt", "show", "reply"), ("prompt", "diff", "reply", "1", "2"), ("prompt", "new", "reply"),
        ("prompt", "use", "reply", "1"), ("prompt", "rollback", "reply"), ("status",),
    ],
)  # fmt: skip
def test_every_command_speaks_json(home: Path, arguments: tuple[str, ...]) -> None:
    assert run_json(home, *arguments)


def test_an_error_of_a_prompt_is_json_too(home: Path) -> None:
    done = run(home, "prompt", "use", "reply", "9", "--json", check=1)
    assert json.loads(done.stdout)["error"]["kind"] == "UnknownPrompt"


def test_the_status_tells_routes_breakers_and_prompts(home: Path) -> None:
    run(home, "switch", "summarize", "haiku", "--reason", "slow")
    run(home, "kill", "summarize")
    since = time.time_ns() // 1000 - 60_000_000
    opened = {"state": "open", "reason": "529 x3", "since": since, "probe_at": since + 120_000_000}
    tell(home, {"breakers": {"sonnet": opened}, "targets": ["sonnet"]})
    status = run_json(home, "status")
    (feature,) = status["features"]
    assert (feature["route"]["targets"], feature["route"]["reason"], feature["fallback"]) == (["haiku"], "slow", None)
    assert feature["chain"] == ["sonnet", "haiku"], "no live process knows haiku: they ignore the route"
    sonnet, haiku = status["targets"]
    assert (sonnet["breakers"], sonnet["reason"], sonnet["by_process"][0]["pid"]) == ({"open": 1}, "529 x3", 7)
    assert haiku["unknown_in"] == 1
    text = run(home, "status").stdout
    assert "sonnet: not closed since" in text
    assert "haiku: 1 live processes do not know it and ignore it" in text
    assert "summarize: switched to" in text


def test_hostile_heartbeats_and_prompts_cannot_reach_the_terminal(home: Path) -> None:
    run(home, "switch", "summarize", "haiku", "--reason", HOSTILE)
    run(home, "prompt", "use", "reply", "1", "--reason", HOSTILE)
    (home / "prompts" / "reply" / "v2.md").write_text(f"---\nowner: a\n---\n{HOSTILE}\n")
    tell(home, {
        "breakers": {"sonnet": {"state": "open", "reason": HOSTILE}, HOSTILE: {"state": "open"}}, "targets": [HOSTILE],
        "prompt_problems": [HOSTILE],
    })  # fmt: skip
    for arguments in (("status",), ("target", "list"), ("prompt", "list"), ("prompt", "show", "reply", "--version", "2"),
                      ("prompt", "diff", "reply", "1", "2"), ("switch", "summarize", "sonnet"), ("prompt", "check")):  # fmt: skip
        run(home, *arguments, check=None)  # `run` itself looks for what a terminal would obey
    with closing(sqlite3.connect(home / "data" / "telemetry.db")) as connection:
        connection.execute("UPDATE process SET state = ?", ("[" * 300_000,))
        connection.commit()
    run(home, "status")


def complete(home: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    from click.shell_completion import BashComplete

    from console.cli.main import cli

    monkeypatch.chdir(home)
    monkeypatch.setenv("CONSOLE_DATA", str(home / "data"))
    *before, last = words
    return [item.value for item in BashComplete(cli, {}, "console", "_CONSOLE_COMPLETE").get_completions(before, last)]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("switch", ""), ["summarize"]),
        (("switch", "summarize", ""), ["sonnet", "haiku"]),
        (("switch", "summarize", "haiku", ""), ["sonnet"]),
        (("switch", "--all", "h"), ["haiku"]),
        (("target", "open", "s"), ["sonnet"]),
        (("target", "l"), ["list"]),
        (("prompt", "use", ""), ["reply"]),
        (("prompt", "use", "reply", ""), ["1", "2", "3"]),
        (("prompt", "diff", "reply", "1", ""), ["1", "2", "3"]),
        (("prompt", "use", "nope", ""), []),
        (("prompt", "use", "../..", ""), []),
    ],
)
def test_names_are_completed(home: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], found: list[str]) -> None:
    assert complete(home, monkeypatch, *words) == found


def test_every_subcommand_and_option_has_help(home: Path) -> None:
    import click

    from console.cli.main import COMMANDS, cli

    for name in COMMANDS:
        group = cli.get_command(None, name)  # type: ignore[arg-type]
        for command in group.commands.values() if isinstance(group, click.Group) else ():
            assert command.help, (name, command.name)
            assert all(not isinstance(option, click.Option) or option.help for option in command.params), (name, command.name)


def test_use_and_rollback_do_not_end_by_themselves(home: Path) -> None:
    for words in (("use", "reply", "1"), ("rollback", "reply")):
        assert "No such option" in run(home, "prompt", *words, "--for", "1h", check=2).stderr
    assert not (home / "data" / "control.db").exists()


def test_show_and_check_go_by_what_is_served_when_the_file_was_edited_or_lost(home: Path) -> None:
    run(home, "prompt", "use", "reply", "2")
    assert run_json(home, "prompt", "show", "reply")["source"] == "file"
    file = home / "prompts" / "reply" / "v2.md"
    file.write_text("---\nowner: b\n---\nEdited.\n")
    done = run(home, "prompt", "show", "reply")
    assert "Text of 2." in done.stdout and "Edited" not in done.stdout
    assert done.stderr == "the file was edited since: this is the registered text, which is served\n"
    file.unlink()
    done = run(home, "prompt", "show", "reply")
    assert "Text of 2." in done.stdout
    assert done.stderr == "the file is lost: this is the registered text, which is served\n"
    assert run_json(home, "prompt", "show", "reply")["source"] == "registered"
    assert run(home, "prompt", "check", check=1).stderr.startswith("reply/v2.md: lost")


def test_a_feature_that_nobody_knows_is_not_switched(home: Path) -> None:
    assert "did you mean summarize" in run(home, "switch", "sumarize", "haiku", check=1).stderr
    assert not (home / "data" / "control.db").exists()


def fail(home: Path, number: int, **given: Any) -> None:
    """Failed attempts of summarize at sonnet, just now."""
    from console.core.calls import AttemptEnd, Facts, fold
    from console.core.rollups import add_up
    from console.store.sqlite.telemetry import TelemetryWriter

    at = time.time_ns() // 1000 - 1_000_000
    end = AttemptEnd(Facts("summarize", "acme", models=("claude-sonnet-5-5",)), at, 412_000, "failed", "none", "sonnet",
                     **{"status": 529, "error": "overloaded_error", "request_id": "req_011CSHoEeqs5C35K2UUqRlpQ", **given})  # fmt: skip
    batch = [fold((), end) for _ in range(number)]
    writer = TelemetryWriter(home / "data" / "telemetry.db")
    writer.write(batch, add_up(batch, {"acme"}), None, "p")
    writer.close()


def test_status_begins_with_the_verdict_and_its_evidence(home: Path) -> None:
    (home / "console.yaml").write_text(CONFIGURATION + "status_page: off\n")
    (home / "data").mkdir()
    assert "verdict: cannot be told: nothing has been recorded yet" in run(home, "status").stdout
    tell(home, {"headroom": {"sonnet": {"requests": [100, 9, None], "at": time.time_ns() // 1000}}})
    fail(home, 9)
    said = run(home, "status").stdout
    assert "verdict: the provider: sonnet: 529 x9 of 9 in the last minute; status page not asked" in said
    assert "  acme sends 100% of the calls" in said
    found = run_json(home, "status")
    assert found["verdict"]["side"] == "provider"
    assert "sonnet has 9% of its rate limit left" in found["verdict"]["evidence"]
    assert (found["status_page"], found["exceeded"]) == (None, [])
    (summarize,) = [one for one in found["features"] if one["feature"] == "summarize"]
    assert summarize["attempts_per_call"] == 1.0
    assert len(summarize["failures"]) == 9
    assert summarize["failures"][0]["request_id"] == "req_011CSHoEeqs5C35K2UUqRlpQ"
    (sonnet,) = [one for one in found["targets"] if one["target"] == "sonnet"]
    assert (sonnet["headroom"], sonnet["headroom_of"], sonnet["usd_per_million_tokens"]) == (
        0.09,
        "requests",
        {"input": 2.0, "output": 10.0},
    )


def test_a_status_page_that_is_not_reachable_is_said_and_not_waited_for(home: Path) -> None:
    (home / "console.yaml").write_text(CONFIGURATION + "status_page: http://127.0.0.1:9/\n")
    tell(home, {})
    fail(home, 9)
    assert "status page not reachable" in run(home, "status").stdout
    assert run_json(home, "status")["status_page"]["state"] == "unreachable"


@pytest.mark.parametrize(
    "page", ["http://status.example.com", "ftp://x", "javascript:alert(1)", "https://user:pw@host/", "https://h/?q=1"]
)
def test_a_status_page_is_https_or_off(home: Path, page: str) -> None:
    (home / "console.yaml").write_text(CONFIGURATION + f"status_page: {json.dumps(page)}\n")
    refused = run(home, "status", check=1)
    assert "console.yaml" in refused.stderr and "status_page" in refused.stderr


def test_a_target_is_probed_and_shown_from_the_command_line(home: Path) -> None:
    at = time.time_ns() // 1000
    tell(home, {"breakers": {"sonnet": {"state": "open", "reason": "529 x3", "since": at, "probe_at": at + 60_000_000}}})
    fail(home, 2, error=HOSTILE)
    done = run(home, "target", "probe", "sonnet", "--reason", "again?").stdout
    assert "Probe sonnet now: sonnet open in 1 of 1, next probe in" in done
    assert "now: sonnet open in 1 of 1" in done
    assert "nothing to take back" in done and "console undo" not in done
    assert run_json(home, "target", "probe", "sonnet")["state"] == "sonnet open in 1 of 1"
    assert run(home, "target", "probe", "sonet", check=1).stderr
    assert "last trial" not in run(home, "target", "show", "haiku").stdout
    tell(home, {"exercise": {"haiku": {"at": at - 3 * 3_600_000_000, "error": f"permission_error {HOSTILE}"}}})
    said = run(home, "target", "show", "haiku").stdout
    assert "haiku: last trial failed 3 h ago: permission_error" in said and "\x1b" not in said
    trial = run_json(home, "target", "show", "haiku")["trial_failed"]
    assert (trial["at"][-6:], trial["error"]) == ("+00:00", f"permission_error {HOSTILE}")
    shown = run(home, "target", "show", "sonnet").stdout
    assert "req_011CSHoEeqs5C35K2UUqRlpQ" in shown and "\x1b" not in shown
    assert len(run_json(home, "target", "show", "sonnet")["failures"]) == 2
    assert "no target sonet" in run(home, "target", "show", "sonet", check=1).stderr
