"""What is spent and exceeded, from the processes that act on it to the command line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from test_cli_commands import HOSTILE, run, run_json

from console.core.calls import AttemptEnd, Facts, Usage
from console.runtime.process import Runtime
from console.store.configuration import load_settings
from console.tui import words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIGURATION = """
environment: test
data: data
budget_usd_per_day: 200
features:
  summarize: {budget_usd_per_day: 1.5, budget_usd_per_month: 40, on_exceed: alert}
  bare: {}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "console.yaml").write_text(CONFIGURATION)
    return tmp_path


def spend(process: Runtime, feature: str, dollars: int) -> None:
    """One call that costs so much."""
    facts = Facts(feature, models=("claude-sonnet-5-5",))
    usage = Usage(input=500_000 * dollars)
    now = time.time_ns() // 1000
    process.record(AttemptEnd(facts, now, 1000, "ok", "primary", "claude-sonnet-5-5", usage=usage))


@pytest.fixture
def process(home: Path) -> Iterator[Runtime]:
    """An application's process, which lives on while it is looked at."""
    settings = load_settings(home / "console.yaml")
    runtime = Runtime(settings.locations, routing=settings.routing, service="web")
    runtime.current()
    yield runtime
    runtime.close()


def told(home: Path) -> dict[str, Any]:
    """The status, once a process has told that a limit is exceeded."""
    deadline = time.monotonic() + 30
    while not (status := run_json(home, "status"))["exceeded"]:
        assert time.monotonic() < deadline
    return dict(status)


def test_status_shows_what_is_spent_of_each_budget_and_which_is_exceeded(home: Path, process: Runtime) -> None:
    spend(process, "bare", 1)
    spend(process, "summarize", 2)
    status = told(home)
    (exceeded,) = status["exceeded"]
    assert (exceeded["scope"], exceeded["what"]) == ("feature:summarize", "budget_usd_per_day")
    assert (exceeded["limit"], exceeded["used"]) == (1.5, 2.0)
    assert exceeded["since"] is not None
    assert [(one["scope"], one["what"], one["limit"], one["used"]) for one in status["budgets"]] == [
        ("feature:summarize", "budget_usd_per_day", 1.5, 2.0),
        ("feature:summarize", "budget_usd_per_month", 40, 2.0),
        ("all", "budget_usd_per_day", 200, 3.0),
    ]
    assert status["budget_today_usd"] == 200
    features = {one["feature"]: (one["cost_today_usd"], one["budget_today_usd"]) for one in status["features"]}
    assert features == {"bare": (1.0, None), "summarize": (2.0, 1.5)}
    said = run(home, "status").stdout
    assert "EXCEEDED feature:summarize $2.00 of $1.50 a day since " in said
    assert "budget: all $3.00 of $200.00 a day" in said
    assert "budget: feature:summarize $2.00 of $40.00 a month" in said
    assert "$2.00 of $1.5" in said


def test_a_process_without_a_price_says_which_model_no_budget_counts(home: Path, process: Runtime) -> None:
    facts = Facts("summarize", models=("mystery-9",))
    process.record(AttemptEnd(facts, time.time_ns() // 1000, 1000, "ok", "primary", "mystery-9", usage=Usage(input=5)))
    deadline = time.monotonic() + 30
    while "what mystery-9 costs" not in str(run_json(home, "status")["processes"][0]["note"]):
        assert time.monotonic() < deadline


def test_d10_what_processes_tell_of_limits_is_shown_as_text(home: Path) -> None:
    from test_cli_routes import tell

    (home / "data").mkdir()
    row = {"scope": "feature:x", "what": "budget_usd_per_day", "limit": 1, "used": 2}
    tell(
        home,
        {"budgets": [row, row | {"scope": HOSTILE}, row | {"used": "much"}, row | {"what": HOSTILE}, None, 7], "exceeded": 5},
    )
    status = run_json(home, "status")
    assert [one["scope"] for one in status["budgets"]] == ["feature:x"]
    assert "budget: feature:x $2.00 of $1.00 a day" in run(home, "status").stdout


@pytest.mark.parametrize(
    ("usd", "budget", "shown"),
    [
        (None, 80, "–"),
        (41.2, None, "$41"),
        (41.2, 80, "$41/80"),
        (0, 80, "$0/80"),
        (4.21, 80, "$4.2/80"),
        (0.42, 0.5, "$0.42/0.5"),
        (9.96, 10, "$10/10"),
        (999.4, 999.6, "$999/1k"),
        (1234, 2000, "$1.2k/2k"),
        (120_000, 200_000, "$120k/200k"),
    ],
)
def test_today_shows_what_is_spent_of_what_may_be(usd: float | None, budget: float | None, shown: str) -> None:
    assert words.spent(usd, budget) == shown
