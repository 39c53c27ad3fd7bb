"""The demo without a terminal, and that it leaves nothing behind however it is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def processes_of(data: Path) -> list[int]:
    """Pids whose command line names the demo's data directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(data) in command and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def start(data: Path, seconds: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "console.cli.main", "demo", "--data", str(data), "--for", seconds],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_workers(data: Path, *, count: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (data / "telemetry.db").exists() and len(processes_of(data)) > count:
            return
        time.sleep(0.1)
    raise AssertionError("the demo's workers did not start")


def wait_for_end(data: Path) -> None:
    deadline = time.monotonic() + 5
    while processes_of(data) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(data) == []


def test_without_a_terminal_it_prints_a_line_a_second_and_ends_what_it_started(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    done = start(data, "9s")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    lines = [line for line in out.splitlines() if "| demo |" in line]
    assert len(lines) == 9
    assert "processes 2/2 follow" in lines[-1]
    assert "support-reply" in lines[-1]
    assert f"in another terminal: console --config {data / 'console.yaml'}\n" in out
    wait_for_end(data)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_however_it_is_ended_no_process_stays_behind(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "demo"
    demo = start(data, "60s")
    try:
        wait_for_workers(data, count=2)
        demo.send_signal(number)
        demo.communicate(timeout=10)
        wait_for_end(data)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.communicate()


def test_a_feature_of_the_demo_is_killed_by_a_command_from_outside(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    demo = start(data, "60s")
    try:
        wait_for_workers(data, count=2)
        command = [sys.executable, "-m", "console.cli.main", "--data", str(data)]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            view = json.loads(subprocess.check_output([*command, "status", "--json"], cwd=tmp_path))
            if view["control"]["live"] == 2 and any(feature["calls_5m"] for feature in view["features"]):
                break
            time.sleep(0.2)
        done = json.loads(subprocess.check_output([*command, "kill", "--all", "--reason", "test", "--json"], cwd=tmp_path))
        assert done["processes"]["following"] == 2
        assert done["preview"]["customers_5m"] > 0
    finally:
        demo.terminate()
        demo.communicate(timeout=10)
    wait_for_end(data)
