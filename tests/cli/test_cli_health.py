"""`console health` as a user meets it: real processes, a real server, and what is typed wrong."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_cli_commands import FORBIDDEN, run

from console.testing import Fault, SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import Iterator

SONNET, HAIKU = "claude-sonnet-5-5", "claude-haiku-5-5"
CHAIN = """
data: data
targets:
  sonnet: {model: claude-sonnet-5-5}
  haiku: {model: claude-haiku-5-5}
features:
  default: {chain: [sonnet, haiku]}
  classify: {chain: [haiku]}
"""


@pytest.fixture(scope="module")
def shared_api() -> Iterator[SimulatedAPI]:
    with SimulatedAPI(speed=float("inf")) as api:
        yield api


@pytest.fixture
def api(shared_api: SimulatedAPI) -> SimulatedAPI:
    shared_api.clear_faults()
    shared_api.clear_requests()
    return shared_api


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "console.yaml").write_text(CHAIN)
    return tmp_path


def ask(home: Path, api: SimulatedAPI, *options: str, check: int, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "sim-key", **more}
    return run(home, "health", *options, check=check, **environment)


def ask_json(home: Path, api: SimulatedAPI, *options: str, check: int, **more: str) -> Any:
    return json.loads(ask(home, api, "--json", *options, check=check, **more).stdout)


def verdicts(found: Any) -> dict[str, str]:
    return {one["target"]: one["verdict"] for one in found["targets"]}


def test_all_is_well_and_the_exit_code_says_so(home: Path, api: SimulatedAPI) -> None:
    done = ask(home, api, check=0)
    assert done.stdout.startswith("HEALTHY: every target answers\n")
    assert (done.stderr, done.stdout.count("req_01")) == ("", 2)
    assert sorted((entry["model"], entry["path"]) for entry in api.requests()) == [
        (HAIKU, "/v1/messages/count_tokens"), (SONNET, "/v1/messages/count_tokens"),
    ]  # fmt: skip
    assert not list((home / "data").glob("telemetry*")), "a look leaves nothing behind"


def test_a_target_that_fails_is_named_with_what_helps(home: Path, api: SimulatedAPI) -> None:
    api.set_faults([Fault(model=SONNET, status=401)])
    done = ask(home, api, check=1)
    (entry,) = (entry for entry in api.requests() if entry["model"] == SONNET)
    assert done.stdout.startswith("DEGRADED: sonnet: authentication_error 401")
    assert re.search(rf"^sonnet .* DOWN .* {entry['request_id']}$", done.stdout, re.MULTILINE)
    assert "sonnet: the API refuses the key" in done.stdout
    assert "feature default: degraded" in done.stdout
    api.set_faults([Fault(status=529)])
    found = ask_json(home, api, check=1)
    assert (found["verdict"], {one["verdict"] for one in found["features"]}) == ("down", {"down"})


def test_without_credentials_it_is_unknown_and_about_this_host(home: Path, api: SimulatedAPI) -> None:
    done = ask(home, api, check=1, ANTHROPIC_API_KEY="")
    assert done.stdout.startswith("UNKNOWN: ")
    assert "what this host's environment lacks" in done.stdout
    assert api.requests() == []


def test_a_model_that_does_not_exist_and_a_target_with_its_own_key(home: Path, api: SimulatedAPI) -> None:
    text = CHAIN.replace("haiku: {", f"typo: {{model: claude-sonnet-9, base_url: {api.url}, api_key: env:OTHER}}\n  haiku: {{")
    (home / "console.yaml").write_text(text)
    found = ask_json(home, api, check=1, OTHER="other-key")
    (typo,) = (one for one in found["targets"] if one["target"] == "typo")
    assert (found["verdict"], typo["verdict"], typo["status"]) == ("degraded", "down", 404)
    assert "retired or misspelt" in typo["hint"]


def test_without_a_configuration_the_direct_api_is_asked_for_the_model_of_the_applications(
    home: Path, api: SimulatedAPI
) -> None:
    (home / "console.yaml").unlink()
    assert verdicts(ask_json(home, api, check=0)) == {SONNET: "healthy"}
    code = """
import sys
from anthropic import Anthropic
from console import Console
with Console() as console:
    client = Anthropic(base_url=sys.argv[1], api_key="k", middleware=[console.middleware])
    client.messages.create(model="claude-haiku-5-5", max_tokens=9, messages=[{"role": "user", "content": "x"}])
"""
    environment = {**os.environ, "HOME": str(home), "CONSOLE_DATA": str(home / "data")}
    subprocess.run([sys.executable, "-c", code, api.url], check=True, timeout=60, cwd=home, env=environment)
    assert verdicts(ask_json(home, api, check=0)) == {HAIKU: "healthy"}


def test_switches_and_routes_count(home: Path, api: SimulatedAPI) -> None:
    api.set_faults([Fault(model=HAIKU, status=529)])
    run(home, "kill", "classify")
    run(home, "kill", "--model", HAIKU)
    run(home, "switch", "--all", "claude-opus-5-5")
    found = ask_json(home, api, check=0)
    assert verdicts(found) == {"sonnet": "healthy", "haiku": "off", "claude-opus-5-5": "healthy"}
    assert [(one["feature"], one["verdict"]) for one in found["features"]] == [("default", "healthy"), ("classify", "off")]
    assert found["features"][0]["chain"] == ["claude-opus-5-5"]


def test_a_target_that_says_nothing_is_given_up(home: Path, api: SimulatedAPI) -> None:
    api.set_faults([Fault(model=HAIKU, no_response=True)])
    found = ask_json(home, api, "--timeout", "1", check=1)
    (haiku,) = (one for one in found["targets"] if one["target"] == "haiku")
    assert (haiku["verdict"], haiku["kind"]) == ("down", "timeout")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("helth",), 2, "Did you mean health?"),
        (("health", "now"), 2, "unexpected extra argument"),
        (("health", "--timeout", "0"), 2, "not in the range"),
        (("health", "--timeout", "soon"), 2, "not a valid integer"),
        (("health", "--jsno"), 2, "No such option"),
        (("health", "--config", "nope.yaml"), 1, "nope.yaml: cannot be read"),
        (("--config", "bad.yaml", "health"), 1, "bad.yaml:1:"),
    ],
)
def test_a_mistake_gets_one_clear_message(home: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    (home / "bad.yaml").write_text("targts: {}\n")
    done = run(home, *arguments, check=code)
    assert words in done.stderr
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)


def test_what_lies_in_the_working_directory_is_not_loaded(home: Path, api: SimulatedAPI) -> None:
    api.set_faults([Fault(model=HAIKU, status=500)])
    (home / "anthropic.py").write_text("raise SystemExit(77)")
    (home / "json.py").write_text("raise SystemExit(77)")
    root = str(Path(__file__).resolve().parents[2])
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "k"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "console.cli.main", "health"],
        cwd=home, env={**environment, "PYTHONPATH": root}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout.partition(":")[0]) == (1, "DOWN"), done


def test_a_child_that_talks_nonsense_or_not_at_all_is_told_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from console.errors import AgentError
    from console.ops import health

    fake = home / "python"
    monkeypatch.setattr(health.sys, "executable", str(fake))
    monkeypatch.setattr(health, "LOADING_S", 2.0)
    for script, words in (
        ("echo nonsense", "unreadable"), ("echo '[3]'", "unreadable"), ("exit 3", "without an answer"), ("sleep 60", "in time"),
        ("echo '{\"health\": {\"verdict\": \"fine\"}}'", "unreadable"), ("yes '{}'", "too much"),
        ("echo '{\"error\": {\"kind\": \"Defect\", \"message\": \"boo\"}}'", "Defect: boo"),
    ):  # fmt: skip
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        with pytest.raises(AgentError, match=words):
            health.look(None, None, 0.1)


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ctrl_c_leaves_nothing_behind(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "ANTHROPIC_API_KEY": "k",
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }  # fmt: skip
        running = subprocess.Popen(
            [sys.executable, "-m", "console.cli.main", "health", "--timeout", "60"], cwd=home, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            (child,) = children_of(running.pid)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_on_a_terminal_it_says_that_it_is_at_work_and_takes_that_away_again(home: Path, api: SimulatedAPI) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "k"}
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "console.cli.main", "health"], cwd=home, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    out, _ = running.communicate(timeout=60)
    said = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert "2 of 2 targets have answered" in said.decode()
    assert said.endswith(b"\r\x1b[K")
    assert not FORBIDDEN.search(out.decode())


def test_the_command_loads_neither_the_sdk_nor_the_screen(home: Path, api: SimulatedAPI) -> None:
    code = """
import sys
from console.cli.main import cli
try:
    cli.main(["health"], standalone_mode=False)
finally:
    loaded = {"anthropic", "httpx2", "textual", "console.sdk", "console.runtime"} & set(sys.modules)
    assert not loaded, loaded
"""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "k"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=environment, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
