"""On a real pseudo-terminal: which bytes reach it, and how the console ends."""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from pathlib import Path

import pytest

from tests.tui.ptys import Terminal, foreign

PICTURE = b"What changed"
SECRETS = (b"SECRET", b"sk-ant")
ANSWERS = (
    b"\x1bP>|xterm(379)\x1b\\\x1b[?64;1;2;6;22c\x1b[>41;379;0c\x1b[24;80R\x1b]11;rgb:0000/0000/0000\x1b\\"
    b"\x1b]lKyuKall\x1b\\\x1bP1$r0m\x1b\\"
)


STEPS = (
    (b"?", b"Help"), (b"q", b"1 Features"), (b"\r", b"Feature "), (b"q", b"1 Features"), (b"5", b"What"), (b"\r", b"Change"),
    (b"q", b"1 Features"), (b"4", b"Failover"), (b"j", b"\x1b["), (b"\r", b"Target "), (b"q", b"1 Features"),
    (b"v", b"2 Versions"), (b"2", b"\x1b["), (b"\r", b"current"), (b"q", b"2 Versions"), (b"d", b"@@"), (b"q", b"2 Versions"),
    (b"g", b"\x1b["), (b"V", b"cancels"), (b"\x1b", b"2 Versions"), (b"t", b"newest last"), (b"\r", b"Change"), (b"q", b"newest last"),
    (b"s", b"1 Targets"), (b"O", b"when the word"), (b"\x1b", b"1 Targets"), (b"\x1b", b"1 Features"), (b"1j", b"\x1b["),
    (b"M", b"Where to"), (b"1", b"cancels"), (b"\x1b", b"1 Features"), (b"B", b"what changes"), (b"\x1b", b"1 Features"),
    (b":", b"Commands"), (b"kill", b"kill"),
    (b"\x1b", b"Features"), (b":", b"Commands"), (b"processes", b"processes"), (b"\r", b"dropped"), (b"q", b"1 Features"),
    (b"1", b"Features"), (b"/", b"filter"), (b"a", b"matching"), (b"\x1b", b"all features"), (b"z", b"Features"), (b"z", b"Quality"),
    (b"y", b"copied"), (b"G", b"\x1b["),
)  # fmt: skip
"""Keys, and what must be painted before the next ones: every screen once."""


def _visited(terminal: Terminal) -> None:
    terminal.read_until(PICTURE)
    terminal.read(0.3)
    for keys, wanted in STEPS:
        if keys in {b"1", b"\x1b"}:
            terminal.read(0.35)  # a dialog that was opened a moment ago takes no key
        terminal.send(keys)
        terminal.read_until(wanted)
        terminal.read(0.03)
    terminal.send(b"K")
    terminal.read_until(b"cancels")
    terminal.read(0.4)
    terminal.send(b"y")
    terminal.read_until(b"of 1 process")


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_d1_hostile_text_in_every_field_reaches_the_terminal_only_as_the_drivers_grammar(size: tuple[int, int]) -> None:
    with Terminal("--hostile", size=size) as terminal:
        _visited(terminal)
        terminal.send(b"\x03")
        assert terminal.wait() == 0
        assert foreign(terminal.data, with_clipboard=True) == []
        plain = re.sub(rb"\x1b\[[0-9;]*[mH]", b"", terminal.data)
        assert b"[@click=app.quit]" in plain
        for screen in (
            b"Help",
            b"Commands",
            b"Processes",
            b"Feature ",
            b"Target ",
            b"Change",
            b"2 Versions",
            b"newest last",
            b"1 Targets",
            b"Where to?",
            b"what changes in the text",
            b"cancels",
            b"of 1 process",
            b"copied",
        ):
            assert screen in plain, screen
        assert terminal.is_restored()


def test_d1_the_check_itself_sees_what_an_unfiltered_line_would_send() -> None:
    with Terminal("--hostile", "--unsafe") as terminal:
        terminal.read_until(b"1 Features")
        terminal.read(0.5)
        assert foreign(terminal.data) != []


def test_d1_the_filter_alone_keeps_the_bytes_clean_when_a_text_was_not_made_safe() -> None:
    with Terminal("--hostile", "--unsafe-text") as terminal:
        terminal.read_until(b"1 Features")
        terminal.read(0.5)
        terminal.send(b"\x03")
        assert terminal.wait() == 0
        assert foreign(terminal.data) == []


def test_d2_answers_of_the_terminal_press_nothing(tmp_path: Path) -> None:
    log = tmp_path / "applied"
    with Terminal("--quiet", "--log", str(log)) as terminal:
        terminal.read_until(PICTURE)
        terminal.read(0.1)
        for _ in range(3):
            terminal.send(ANSWERS)
            terminal.read(0.4)
        terminal.send(b"\x03")
        assert terminal.wait() == 0
        assert log.read_text() == ""


def test_d6_ten_megabytes_in_a_field_are_painted_at_once() -> None:
    with Terminal("--huge") as terminal:
        terminal.read_until(PICTURE)
        if b"xxx" not in terminal.data:  # it may have come with the picture
            terminal.read_until(b"xxx")
        started = time.monotonic()
        terminal.send(b"?")
        terminal.read_until(b"Help", 2.0)
        assert time.monotonic() - started < 2, "200 ms is the goal"
        assert len(terminal.data) < 60_000


def test_d7_a_crash_restores_the_terminal_and_prints_no_secret(tmp_path: Path) -> None:
    with Terminal("--quiet", "--crash", TMPDIR=str(tmp_path)) as terminal:
        terminal.read_until(PICTURE)
        terminal.read(0.1)
        terminal.send(b"y")
        assert terminal.wait() == 1
        assert terminal.is_restored()
        after = terminal.data[terminal.data.rfind(b"\x1b[?1049l") :]
        assert b"console stopped: RuntimeError" in after
        assert foreign(after) == []
        report = next(tmp_path.glob("console-crash-*"))
        assert stat.S_IMODE(report.stat().st_mode) == 0o600
        for secret in SECRETS:
            assert secret not in terminal.data
            assert secret not in report.read_bytes()
        assert b"in broken" in report.read_bytes()


def test_d7_an_error_that_nobody_awaited_is_a_crash_without_secrets(tmp_path: Path) -> None:
    with Terminal("--quiet", "--lost", TMPDIR=str(tmp_path)) as terminal:
        terminal.read_until(PICTURE)
        assert terminal.wait(8.0) == 1
        assert terminal.is_restored()
        assert not any(secret in terminal.data for secret in SECRETS)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)], ids=["TERM", "HUP", "INT"]
)
def test_d9_a_signal_ends_it_within_half_a_second_with_the_terminal_restored(number: signal.Signals, code: int) -> None:
    with Terminal("--quiet") as terminal:
        terminal.read_until(PICTURE)
        started = time.monotonic()
        terminal.kill(number)
        assert terminal.wait() == code
        assert time.monotonic() - started < 3.0  # against hanging; what it takes is a benchmark's affair
        assert terminal.is_restored()


@pytest.mark.parametrize("keys", [b"q", b"\x03"])
def test_d9_q_and_ctrl_c_leave_without_a_question(keys: bytes) -> None:
    with Terminal("--quiet") as terminal:
        terminal.read_until(PICTURE)
        terminal.read(0.1)
        terminal.send(keys)
        assert terminal.wait() == 0
        assert terminal.is_restored()


def test_d9_q_leaves_although_the_desk_never_answers() -> None:
    with Terminal("--quiet", "--stuck-after", "2") as terminal:
        terminal.read_until(PICTURE)
        terminal.read(1.0)
        started = time.monotonic()
        terminal.send(b"q")
        assert terminal.wait() == 0
        assert time.monotonic() - started < 3.0  # against hanging; what it takes is a benchmark's affair


def test_d9_a_terminal_that_goes_away_ends_the_process() -> None:
    with Terminal() as terminal:
        terminal.read_until(PICTURE)
        terminal.hang_up()
        assert terminal.process.wait(6.0) in {1, 129}


def test_d9_leaving_while_an_act_is_written_lets_it_finish_and_says_so(tmp_path: Path) -> None:
    log = tmp_path / "applied"
    with Terminal("--quiet", "--slow", "0.8", "--log", str(log)) as terminal:
        terminal.read_until(PICTURE)
        terminal.read(0.1)
        terminal.send(b"K")
        terminal.read_until(b"cancels")
        terminal.read(0.5)
        terminal.send(b"y")
        terminal.read(0.3)
        terminal.kill(signal.SIGTERM)
        assert terminal.wait() == 143
        assert "kill feature:support-reply" in log.read_text()
        assert b"Kill support-reply: written" in terminal.data[terminal.data.rfind(b"\x1b[?1049l") :]


def test_d9_stopped_and_continued_it_paints_again() -> None:
    with Terminal("--quiet") as terminal:
        terminal.read_until(PICTURE)
        terminal.read(0.1)
        terminal.kill(signal.SIGTSTP)
        terminal.read_until(b"\x1b[?1049l")
        for _ in range(100):
            if Path(f"/proc/{terminal.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T":
                break
            time.sleep(0.02)
        terminal.kill(signal.SIGCONT)
        terminal.read_until(PICTURE)
        terminal.send(b"q")
        assert terminal.wait() == 0
        assert terminal.is_restored()


def test_d9_a_storm_of_resizes_leaves_one_whole_picture() -> None:
    with Terminal() as terminal:
        terminal.read_until(PICTURE)
        for step in range(60):
            terminal.resize(40 + step * 3 % 140, 10 + step * 7 % 50)
            os.kill(terminal.process.pid, signal.SIGWINCH)
            terminal.read(0.01)
        terminal.resize(80, 24)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.read(0.3)
        before = len(terminal.data)
        terminal.send(b"z")
        terminal.read(0.4)
        terminal.send(b"z")
        terminal.read(0.5)
        assert PICTURE in terminal.data[before:]
        assert foreign(terminal.data) == []
        terminal.send(b"q")
        assert terminal.wait() == 0


def test_d9_no_color_sends_no_colour_and_keeps_the_signs() -> None:
    with Terminal("--quiet", NO_COLOR="1") as terminal:
        terminal.read_until(PICTURE)
        data = terminal.data + terminal.read(0.5)
        assert re.findall(rb"\x1b\[[0-9;]*[34]8;[25];", data) == []
        assert "▲ support-reply".encode() in re.sub(rb"\x1b\[[0-9;]*m", b"", data)


@pytest.mark.parametrize("environ", [{"TERM": "dumb", "COLORTERM": "-"}, {"LC_ALL": "C"}, {"TERM": "linux"}])
def test_d9_a_terminal_without_utf8_gets_ascii_only(environ: dict[str, str]) -> None:
    with Terminal("--hostile", **environ) as terminal:
        terminal.read_until(PICTURE)
        terminal.read(0.2)
        terminal.send(b"q")
        assert terminal.wait() == 0
        assert terminal.data.isascii()
        assert foreign(terminal.data) == []
