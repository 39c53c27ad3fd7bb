"""What the terminal tests share: a UTF-8 environment, whatever the machine says."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _steady_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTF-8 and colours whatever the machine says; in this process a poll comes sooner."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("console.tui.screens.live.POLL_S", 0.15)
    monkeypatch.setattr("console.tui.screens.live.SETTLE_CURSOR_S", 0.02)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting in dialogs and no bursts: for tests that are not about them."""
    for name in ("SETTLE_S", "RELEASED_S", "BURST_S"):
        monkeypatch.setattr(f"console.tui.guard.{name}", 0.0)
