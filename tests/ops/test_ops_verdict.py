"""The verdict, the last failures, rate limits and the status page as a desk tells them."""

from __future__ import annotations

import http.server
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ops_tools import US, acts, desk_of, do, feature, record, target, tell, told
from store_tools import SUMMARIZE, now_us, query, until

from console.core.headroom import KINDS, headroom_in
from console.core.switches import Scope
from console.errors import ActError, NothingToUndo
from console.ops.desk import Desk
from console.ops.heartbeats import read_state
from console.ops.statuspage import PageWatch, fetch
from console.ops.targets import trial_words
from console.ops.views import Order, TrialView
from console.store.configuration import load_settings
from console.store.sqlite import reads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from console.core.statuspage import StatusPage
    from console.core.verdict import Verdict
    from console.store.locations import Locations

WELL = b'{"status": {"indicator": "none", "description": "All Systems Operational"}}'
SICK = b'{"status": {"indicator": "major", "description": "Partial Outage"}, "incidents": [{"name": "Errors", "status": "identified"}]}'


def verdict_of(places: Locations, **given: Any) -> Verdict:
    return desk_of(places, **given).status().verdict


# -- the verdict


def test_what_an_operator_has_aborted_is_no_failure(places: Locations) -> None:
    tell(places, {})
    record(places, 10, feature="summarize", target="sonnet")
    record(places, 8, feature="summarize", target="sonnet", status=200, outcome="cancelled", error="kill_switch")
    found = verdict_of(places)
    assert (found.side, "kill_switch" in found.said) == ("well", False)
    seen = target(places, "sonnet")
    assert (seen.error_rate, dict(seen.results)) == (0, {"ok": 10, "kill_switch": 8})


def test_failures_at_one_target_while_the_other_is_well_are_the_providers(places: Locations) -> None:
    tell(places, {"breakers": {"sonnet": told("open", "529 overloaded_error x3 in a row", now_us() - 40 * US)}})
    record(
        places,
        12,
        feature="summarize",
        target="sonnet",
        status=529,
        outcome="failed",
        served_by="none",
        error="overloaded_error",
    )
    record(places, 30, feature="summarize", target="haiku", served_by="fallback")
    found = verdict_of(places)
    assert found.side == "provider"
    why = "529 overloaded_error x3 in a row, in 1 of 1 processes (529 x12 of 12 in the last minute)"
    assert found.said == f"the provider: sonnet is left alone: {why} while haiku is well; status page not asked"


def test_a_target_that_is_left_alone_since_minutes_is_the_verdict_although_nobody_asks_it(places: Locations) -> None:
    opened = {"breakers": {"sonnet": told("open", "529 overloaded_error x3 in a row", now_us() - 200 * US)}}
    record(places, 5, ago_s=200, feature="summarize", target="sonnet", status=529, outcome="failed", error="overloaded_error")
    record(places, 30, ago_s=1, feature="summarize", target="haiku", served_by="fallback")
    tell(places, opened, {})
    why = "529 overloaded_error x3 in a row, in 1 of 1 processes (529 x5 of 5 in five minutes)"
    assert verdict_of(places).said.startswith(f"the provider: sonnet is left alone: {why} while haiku is well")
    tell(places, {"breakers": {"sonnet": told("forced_open", "by an operator")}}, {})
    assert verdict_of(places).side == "well", "an operator's hand is no outage"
    tell(places, {}, {})
    assert verdict_of(places).side == "well"


def test_rate_limits_name_the_busiest_customer_and_the_room_that_is_left(places: Locations) -> None:
    tell(places, {"headroom": {"sonnet": {"requests": [100, 2, None], "at": now_us()}}})
    record(
        places,
        8,
        ago_s=1,
        feature="summarize",
        target="sonnet",
        customer="acme",
        status=429,
        outcome="failed",
        error="rate_limit_error",
    )
    record(places, 2, ago_s=1, feature="summarize", target="sonnet", customer="bolt")
    found = verdict_of(places)
    assert found.side == "account"
    assert found.said.startswith("our account: sonnet: 429 x8 of 10 in the last minute; acme sends 80% of the calls")
    assert "sonnet has 2% of its rate limit left" in found.evidence


def test_the_busiest_customer_is_looked_for_only_while_something_fails(
    places: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = reads.busiest_customer
    monkeypatch.setattr(
        reads, "busiest_customer", lambda connection, since_s: (asked.append(since_s), real(connection, since_s))[1]
    )
    tell(places, {})
    record(places, 30, ago_s=1, feature="summarize", target="sonnet")
    assert (verdict_of(places).side, asked) == ("well", [])
    record(places, 3, ago_s=1, feature="summarize", target="sonnet", status=529, outcome="failed", error="overloaded_error")
    assert (verdict_of(places).side, len(asked)) == ("provider", 1)


def test_a_400_that_refuses_the_account_is_told_apart_from_one_that_refuses_the_request(places: Locations) -> None:
    tell(places, {})
    spent = "invalid_request_error: enforced_spend_limit_reached"
    record(places, 9, ago_s=1, feature="summarize", target="sonnet", status=400, outcome="failed", error=spent)
    found = verdict_of(places)
    assert (found.side, f"{spent} x9 of 9" in found.said) == ("account", True)
    record(places, 11, ago_s=1, feature="classify", target="haiku", status=400, outcome="failed", error="invalid_request_error")
    found = verdict_of(places)
    assert (found.side, "requests of classify: 400 x11 of 11" in found.said) == ("us", True)
    assert any(said.startswith("also our account: sonnet") for said in found.evidence)


def test_our_own_switch_is_the_verdict_when_nothing_fails_and_recent_acts_are_evidence(places: Locations) -> None:
    tell(places, {})
    record(places, 9, ago_s=1, feature="summarize", target="sonnet")
    assert verdict_of(places).side == "well"
    do(places, "switch", scope=SUMMARIZE, targets=("haiku",))
    found = verdict_of(places)
    assert found.side == "well", "where calls go is no trouble"
    assert any("summarize is switched to haiku by" in said for said in found.evidence)
    do(places, "kill", scope=Scope("feature", "classify"))
    found = verdict_of(places)
    assert (found.side, "classify is killed by" in found.said) == ("us", True)
    assert any("Z kill feature:classify" in said for said in found.evidence)


def test_a_limit_that_calls_reached_is_ours_unless_it_only_tells_people(places: Locations) -> None:
    over = {
        "scope": "feature:summarize",
        "what": "requests_per_minute",
        "limit": 60,
        "used": 72.0,
        "since": now_us(),
        "on_exceed": "block",
    }
    tell(places, {"exceeded": [over]}, {"exceeded": [{**over, "used": 80}]}, {"exceeded": [{**over, "used": 75}]})
    record(places, 9, ago_s=1, feature="summarize", target="sonnet")
    found = desk_of(places).status()
    assert found.verdict.said == "us: feature:summarize has reached its limit of requests_per_minute: 80 of 60"
    assert [one.used for one in found.exceeded] == [80.0], "once, with the most that any process has counted"
    tell(places, {"exceeded": [{**over, "on_exceed": "alert"}]}, {}, {})
    assert verdict_of(places).side == "well"


def test_without_numbers_or_with_old_ones_nothing_is_said_to_be_well(places: Locations) -> None:
    assert verdict_of(places).said == "cannot be told: nothing has been recorded yet"
    record(places, 9, ago_s=1, feature="summarize", target="sonnet")
    tell(places, {}, at=now_us() - 40 * US)
    assert verdict_of(places).said == "cannot be told: no process was heard for more than 15 s"
    tell(places, {})
    assert verdict_of(places).side == "well"
    places.telemetry.write_bytes(b"no database at all" * 100)
    assert verdict_of(places).side == "unknown"


# -- failures, attempts, first tokens, prices


def test_the_last_ten_failures_of_a_feature_and_of_a_target_are_listed_newest_first(places: Locations) -> None:
    tell(places, {})
    for number in range(12):
        record(places, 1, ago_s=60 - number, feature="summarize", target="sonnet" if number % 2 else "haiku", status=529,
               outcome="failed", error="overloaded_error", request_id=f"req_{number}")  # fmt: skip
    record(places, 1, ago_s=3, feature="classify", target="haiku", status=None, outcome="failed", error="timeout")
    seen = feature(places, "summarize").failures
    assert [one.request_id for one in seen] == [f"req_{number}" for number in range(11, 1, -1)]
    assert (seen[0].status, seen[0].error, seen[0].target, seen[0].feature) == (529, "overloaded_error", "sonnet", "summarize")
    of_haiku = target(places, "haiku").failures
    assert [one.error for one in of_haiku] == ["timeout"] + ["overloaded_error"] * 6
    assert (of_haiku[0].status, of_haiku[0].feature) == (None, "classify")
    assert feature(places, "classify").failures[0].request_id is None


def test_a_desk_sees_a_new_failure_at_its_next_look_and_reads_nothing_twice(
    places: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = reads.failures
    monkeypatch.setattr(
        reads, "failures", lambda connection, name, limit: (asked.append(name), real(connection, name, limit))[1]
    )
    record(
        places,
        1,
        feature="summarize",
        target="sonnet",
        status=529,
        outcome="failed",
        error="overloaded_error",
        request_id="req_a",
    )
    record(places, 1, feature="classify", target="haiku")
    desk = desk_of(places)
    for _ in range(3):
        desk.status()
    assert sorted(asked) == ["classify", "summarize"]
    record(
        places,
        1,
        ago_s=1,
        feature="summarize",
        target="sonnet",
        status=500,
        outcome="failed",
        error="api_error",
        request_id="req_b",
    )
    view = next(one for one in desk.status().features if one.feature == "summarize")
    assert [one.request_id for one in view.failures] == ["req_b", "req_a"]
    assert asked[2:] == ["summarize"]


def test_attempts_per_call_leave_out_what_never_reached_the_api(places: Locations) -> None:
    record(places, 4, feature="summarize", target="sonnet")
    record(places, 6, feature="summarize", target="sonnet", outcome="blocked", served_by="none", status=None)
    assert feature(places, "summarize").attempts_per_call == 1.0
    record(places, 2, feature="plain", target="sonnet", outcome="blocked", served_by="none", status=None)
    assert feature(places, "plain").attempts_per_call is None


def test_a_target_tells_its_first_token_its_price_and_what_is_left_of_its_rate_limit(places: Locations) -> None:
    record(places, 20, ago_s=1, feature="summarize", target="sonnet", first_token_us=400_000, duration_us=2_000_000)
    at = now_us()
    said = {"anthropic-ratelimit-input-tokens-limit": "50", "anthropic-ratelimit-input-tokens-remaining": "30"}
    tell(
        places,
        {"headroom": {"sonnet": {"requests": [100, 71, "x"], "tokens": [1000, 900], "at": at}}},
        {"headroom": {"sonnet": {**headroom_in(said), "at": at - 5 * US}}},
        {
            "headroom": {
                "sonnet": {"requests": [100, 1, None], "at": at - 61 * US},
                "haiku": {"requests": [0, 0, None], "at": at},
            }
        },
    )
    seen = target(places, "sonnet")
    assert seen.first_token_p95_ms is not None and abs(seen.first_token_p95_ms - 400) < 20
    assert seen.p95_ms is not None and abs(seen.p95_ms - 2000) < 100
    assert (seen.headroom, seen.headroom_of) == (0.6, "input-tokens"), "the lowest of the last minute"
    assert seen.price == (2.0, 10.0)
    other = target(places, "haiku")
    assert (other.headroom, other.first_token_p95_ms) == (None, None)


@pytest.mark.parametrize(
    "said",
    [
        None, 7, [], {"sonnet": None}, {"sonnet": {"requests": [100, 50, None]}}, {"sonnet": {"requests": [100], "at": 1}},
        {"sonnet": {"requests": ["100", "50"], "at": 1}}, {"sonnet": {"requests": [True, True], "at": 1}},
        {"sonnet": {"requests": [-1, 5], "at": 1}}, {"sonnet": {"requests": [100, float("nan")], "at": 1}},
        {"sonnet": {"requests": [100, 5], "at": "now"}}, {"x" * 999: {"requests": [1, 1], "at": 1}},
    ],
)  # fmt: skip
def test_a_headroom_that_is_not_of_the_agreed_form_is_left_out(said: object) -> None:
    assert read_state(json.dumps({"headroom": said})).headroom == {}


@pytest.mark.parametrize(
    "said", [None, 7, {}, [7], [{"scope": "all"}], [{"scope": 1, "what": "x"}], [{"scope": "a\n", "what": "x"}]]
)
def test_a_limit_that_is_not_of_the_agreed_form_is_left_out(said: object) -> None:
    assert read_state(json.dumps({"exceeded": said})).exceeded == ()


@pytest.mark.parametrize("kind", KINDS)
def test_every_rate_limit_that_a_process_tells_of_is_read(kind: str) -> None:
    said = {f"anthropic-ratelimit-{kind}-{what}": number for what, number in (("limit", "50"), ("remaining", "30"))}
    (room,) = read_state(json.dumps({"headroom": {"sonnet": {**headroom_in(said), "at": 7}}})).headroom["sonnet"]
    assert room == (kind, 50, 30, 7)


# -- trials of fallbacks


def test_a_targets_last_trial_is_told_while_it_has_failed(places: Locations) -> None:
    at = now_us()
    older, newer = {"at": at - 9 * US, "error": "permission_error"}, {"at": at - 4 * US, "error": "timeout"}
    tell(
        places,
        {"exercise": {"haiku": older, "sonnet": newer}},
        {"exercise": {"haiku": newer, "sonnet": {**older, "error": None}}},
    )
    found = target(places, "haiku").trial_failed
    assert found == TrialView(at - 4 * US, "timeout")
    assert trial_words(found, found.at + 3 * 3600 * US) == "last trial failed 3 h ago: timeout"
    assert target(places, "sonnet").trial_failed == TrialView(at - 4 * US, "timeout")
    assert target(places, "bedrock").trial_failed is None
    tell(places, {"exercise": {"haiku": older}}, {"exercise": {"haiku": {"at": at, "error": None}}})
    assert target(places, "haiku").trial_failed is None, "a later one went well, in another process"
    tell(places, {"exercise": {"haiku": {"at": at + 3600 * US, "error": "timeout"}}}, {})
    assert target(places, "haiku").trial_failed is None, "nothing is known of the future"


@pytest.mark.parametrize(
    "said",
    [
        None, 7, [], {"haiku": None}, {"haiku": ["x"]}, {"haiku": {"at": 1}}, {"haiku": {"error": "x"}}, {"haiku": {"at": 0, "error": "x"}},
        {"haiku": {"at": True, "error": "x"}}, {"haiku": {"at": "now", "error": "x"}}, {"haiku": {"at": 1, "error": 7}},
        {"haiku": {"at": 1, "error": ""}}, {"x" * 999: {"at": 1, "error": "x"}}, {"a\n": {"at": 1, "error": "x"}},
    ],
)  # fmt: skip
def test_a_trial_that_is_not_of_the_agreed_form_is_left_out(said: object) -> None:
    assert read_state(json.dumps({"exercise": said})).trials == {}


# -- the order to probe


def test_a_probe_is_ordered_read_back_and_leaves_nothing_to_undo(places: Locations) -> None:
    since = now_us() - 40 * US
    tell(
        places,
        {"breakers": {"sonnet": told("open", "529 x3", since, now_us() + 50 * US)}},
        {"breakers": {"sonnet": told("closed")}},
    )
    do(places, "kill", scope=SUMMARIZE)
    desk = desk_of(places)
    shown = desk.preview(order("sonnet"))
    assert shown.title == "Probe sonnet now"
    assert shown.before.startswith("sonnet open in 1 of 2, next probe in ")
    assert (shown.is_wide, shown.is_already_so, shown.warnings) == (False, False, ())
    applied = desk.apply(shown, reason="does it answer again?")
    seen = desk.acknowledgement(applied)
    assert (seen.counted, seen.expected, seen.state) == ("calls that sonnet got", "up", "sonnet open in 1 of 2")
    change = desk.status().changes[0]
    assert (change.act, change.subject, change.after) == ("probe", "target:sonnet", "probed now")
    with pytest.raises(NothingToUndo, match="it has left nothing"):
        desk.preview(Order("undo", change_id=applied.id))
    assert desk.preview(Order("undo")).subject == "feature:summarize", "undo passes over it"
    assert desk.act(order("sonnet"))[1].version > applied.version, "twice is harmless, and asks twice"


def order(name: str, **given: Any) -> Order:
    return Order("probe", targets=(name,), **given)


def test_a_probe_that_would_be_none_is_refused_and_says_what_to_do(places: Locations) -> None:
    opened = {"breakers": {"sonnet": told("open", "529 x3", now_us(), now_us() + 50 * US)}}
    tell(places, opened)
    shown = desk_of(places).preview(order("sonnet"))
    tell(places, {"breakers": {"sonnet": told("closed")}})
    with pytest.raises(ActError, match="nothing to probe: sonnet closed in 1 of 1"):
        desk_of(places).apply(shown)
    with pytest.raises(ActError, match="nothing to probe: no live process tells"):
        desk_of(places).act(order("haiku"))
    assert not places.control.exists() or acts(places) == []
    tell(places, opened)
    do(places, "force_open", targets=("sonnet",))
    with pytest.raises(ActError, match="console target auto sonnet"):
        desk_of(places).act(order("sonnet"))
    do(places, "force_closed", targets=("sonnet",))
    with pytest.raises(ActError, match="forced_closed by"):
        desk_of(places).act(order("sonnet"))
    assert acts(places) == ["force_open", "force_closed"]


@pytest.mark.parametrize(
    "wrong", [Order("probe"), order("no such target"), order("sonnet", for_us=5), Order("probe", targets=("sonnet", "haiku"))]
)
def test_a_probe_names_one_known_target_and_no_time(places: Locations, wrong: Order) -> None:
    tell(places, {"targets": ["sonnet", "haiku"]})
    with pytest.raises(ActError):
        desk_of(places).act(wrong)
    assert not places.control.exists() or query(places.control, "SELECT 1 FROM audit") == []


# -- the status page


@contextmanager
def page_at(
    body: bytes, *, status: int = 200, pause_s: float = 0.0, headers: dict[str, str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A status page on this host, and the paths that were asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            for start in range(0, len(body), 100_000) if not pause_s else range(len(body)):
                try:
                    self.wfile.write(body[start : start + (100_000 if not pause_s else 1)])
                    self.wfile.flush()
                except OSError:
                    return
                time.sleep(pause_s)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def ask(url: str) -> StatusPage:
    return fetch(url, now_us)


def test_the_page_is_asked_at_its_address_and_read() -> None:
    with page_at(SICK) as (url, asked):
        page = ask(url + "/")
    assert (page.state, page.indicator, page.incidents, asked) == ("told", "major", ("Errors",), ["/api/v2/summary.json"])


def test_whatever_goes_wrong_the_page_is_not_reachable_and_never_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    with page_at(WELL, status=503) as (url, _):
        assert "503" in ask(url).problem
    with page_at(b"<html>") as (url, _):
        assert ask(url).problem == "the answer is no status page"
    with page_at(b"[" + b" " * 600_000) as (url, _):
        assert ask(url).problem == "longer than 512 KB"
    with page_at(WELL, status=302, headers={"location": "http://127.0.0.1:1/"}) as (url, asked):
        assert "302" in ask(url).problem
        assert len(asked) == 1, "a redirect is not followed"
    assert ask(url).state == "unreachable", "nobody listens there any more"
    monkeypatch.setattr("console.ops.statuspage.WHOLE_S", 0.3)
    with page_at(WELL * 10, pause_s=0.05) as (url, _):
        assert ask(url).problem.startswith("not whole after")


@pytest.mark.parametrize("url", ["http://example.com", "file:///etc/passwd", "ftp://127.0.0.1/", "", "127.0.0.1"])
def test_nothing_but_https_is_spoken_outside_of_this_host(url: str) -> None:
    assert ask(url).problem == "only https is asked"


def test_looking_never_waits_and_asks_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    with page_at(SICK, pause_s=0.001) as (url, asked):
        watch = PageWatch(url)
        assert watch.look().state == "asking"
        until(lambda: watch.look().state == "told")
        for _ in range(20):
            watch.look()
            until(lambda: not watch._is_asking)
        assert len(asked) == 1
        monkeypatch.setattr("console.ops.statuspage.EVERY_S", 0.0)
        watch.look()
        until(lambda: len(asked) >= 2)
        until(lambda: not watch._is_asking)


def test_a_question_that_never_ends_is_said_and_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr("console.ops.statuspage.fetch", lambda url, clock: hanging.wait(10))
    monkeypatch.setattr("console.ops.statuspage.WHOLE_S", 0.05)
    watch = PageWatch("https://example.com")
    watch.look()
    until(lambda: watch.look().state == "unreachable")
    assert watch.look().problem.startswith("no answer in")
    hanging.set()


def test_a_desk_asks_only_when_it_is_told_to_and_shows_what_the_page_says(places: Locations) -> None:
    tell(places, {})
    record(places, 9, ago_s=1, feature="summarize", target="sonnet", status=529, outcome="failed", error="overloaded_error")
    with page_at(SICK) as (url, asked):
        desk = Desk(replace(desk_of(places).settings, status_page=url))
        assert (desk.status().page, asked) == (None, [])
        assert desk.ask_status_page(5.0)
        view = desk.status()
        assert view.page is not None and view.page.state == "told"
        assert view.verdict.said.endswith("status page agrees")
        watching = Desk(replace(desk_of(places).settings, status_page=url))
        watching.watch_status_page(0.0)
        until(lambda: (page := watching.status().page) is not None and page.state == "told")
        assert len(asked) == 2
    off = desk_of(places)
    off.watch_status_page()
    assert not off.ask_status_page(5.0)
    assert off.status().page is None


def test_an_installation_asks_the_same_page_with_and_without_a_file_and_none_when_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONSOLE_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "its.yaml"
    file.write_text("environment: test\n")
    assert load_settings(None, tmp_path).status_page == load_settings(file).status_page == "https://status.claude.com"
    file.write_text("status_page: off\n")
    assert load_settings(file).status_page is None
