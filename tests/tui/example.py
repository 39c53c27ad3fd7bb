"""An example desk that behaves like the real one in memory, and can be told to misbehave.

Run it on a terminal: python -m tests.tui.example [--quiet | --one | --hostile | --empty | --read-only | --crash]
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from console.core.routes import Forced, Route
from console.core.statuspage import StatusPage
from console.core.switches import ALL, Scope, Switch
from console.core.verdict import Verdict
from console.errors import ActConflict, ActError, ActForbidden, NothingToUndo, UnknownPrompt
from console.ops.views import (
    Acknowledgement,
    Applied,
    BreakerView,
    ChangeView,
    ControlView,
    ExceededView,
    FailureView,
    FallbackView,
    FeatureView,
    Order,
    Preview,
    ProcessView,
    PromptStatus,
    PromptView,
    StatusView,
    TargetView,
    TimelineView,
    Trend,
    VersionView,
)

NOW_US = 1_763_700_000_000_000
PROMPT_TEXT = """You are the customer support assistant for ${product}, an online shop for kitchen and garden goods. Our customers want to be
helped, not to read a letter.

Be brief: one or two sentences, in warm and plain English. Be positive, and resolve the case at once: confirm what the customer asks.
"""
NAMES = ("draft-email", "search-rerank", "summarize", "support-reply", "translate")
HOSTILE = (
    "\x1b[2J\x1b]0;own\x07\x1b]52;c;eHg=\x07\x1bP+q\x1b\\\x1b_x\x1b\\\x1b^y\x1b\\\x1bX\x1b\\\x1bc\x9b31m\x90q\x9c\x05\x00\x0e\x0f\x7f"
    "\x1b[>q\x1b[c\x1b[6n\x1b[?2004l[@click=app.quit]x[/] [ @click=screen.act('kill')]y[/nope] [link=http://e]z[/link] \\["
    "\u202eabc\u2066\u200b\u200d\U000e0041e" + "\u0301" * 200 + '\n\r\u2028two\ttabs 漢字🙂👩\u200d💻🇩🇪 {"a": [1]}'
)


def feature(name: str, **changes: object) -> FeatureView:
    base = FeatureView(
        feature=name,
        calls_5m=2060,
        calls_per_min=412.0,
        failed_5m=4,
        blocked_5m=0,
        error_rate=0.002,
        p50_ms=900.0,
        p95_ms=2100.0,
        p99_ms=4000.0,
        input_tokens=1_204_000,
        output_tokens=310_000,
        cost_today_usd=41.2,
        unpriced_models=(),
        served_by=(("primary", 2060),),
        target="sonnet",
        prompt=PromptView(name, "v7"),
        killed=None,
        chain=("sonnet", "haiku"),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def failure(number: int, **changes: object) -> FailureView:
    """The number-th last failure: one every seven seconds."""
    base = FailureView(
        at=NOW_US - 3_000_000 - number * 7_000_000,
        feature="summarize",
        target="sonnet",
        model="claude-sonnet-5-5",
        provider="anthropic",
        status=529,
        error="overloaded_error",
        latency_ms=412.0,
        request_id=f"req_011CSHoEeqs5C35K2UUqR{number:03}",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


FAILURES = (
    failure(0),
    failure(1, status=None, error="timeout", request_id=None),
    *(failure(number) for number in range(2, 10)),
)
VERDICT = Verdict(
    "provider",
    "the provider: sonnet: 529 x140, timeout x4 of 2,370 in five minutes while haiku is well; status page agrees",
    (
        "acme sends 41% of the calls",
        "04:38Z use prompt:support-reply v6 → v7 by op1",
        'status page: Partial outage, "Errors on Sonnet"',
    ),
)


def breaker(number: int, state: str = "closed", **changes: object) -> BreakerView:
    base = BreakerView(
        process=f"p{number}",
        pid=4000 + number,
        host=f"app-{number % 3 + 1}",
        service="web" if number % 2 else "worker",
        state=state,  # type: ignore[arg-type]
        reason=None,
        since=None,
        probe_at=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def sick_target(**changes: object) -> TargetView:
    """sonnet, open in nine of twelve processes."""
    why, since, probe = "529 overloaded_error x14", NOW_US - 125_000_000, NOW_US + 6_000_000
    base = TargetView(
        target="sonnet",
        model="claude-sonnet-5-5",
        provider="anthropic",
        calls_5m=2370,
        error_rate=0.061,
        p95_ms=8200.0,
        breakers=(("open", 9), ("half_open", 1), ("closed", 2)),
        results=(("ok", 2226), ("529", 140), ("timeout", 4)),
        reason=why,
        since=since,
        probe_at=probe,
        features=("draft-email", "summarize", "support-reply"),
        by_process=(
            *(breaker(number, "open", reason=why, since=since, probe_at=probe + number * 1_000_000) for number in range(9)),
            breaker(9, "half_open", reason=why, since=since),
            *(breaker(number) for number in (10, 11)),
        ),
        first_token_p95_ms=2900.0,
        headroom=0.12,
        headroom_of="input-tokens",
        price=(2.0, 10.0),
        failures=FAILURES,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def well_target(name: str = "haiku", **changes: object) -> TargetView:
    base = TargetView(
        target=name,
        model=f"claude-{name}-5-5",
        provider="anthropic",
        calls_5m=10_100,
        error_rate=0.0004,
        p95_ms=410.0,
        breakers=(("closed", 12),),
        results=(("ok", 10_096), ("429", 4)),
        features=("search-rerank", "summarize"),
        by_process=tuple(breaker(number) for number in range(12)),
        first_token_p95_ms=180.0,
        headroom=0.71,
        headroom_of="requests",
        price=(0.1, 0.5),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def version(number: int, **changes: object) -> VersionView:
    base = VersionView(
        version=number,
        hash=f"{number}a" * 32,
        state="available",
        share=None,
        file="ok",
        is_registered=True,
        description="Answers a customer's message to the shop.",
        owner="support",
        notes="Shorter and warmer, after the survey in which customers called our answers long and formal.",
        variables=("product",),
        calls_5m=0,
        current_since=None,
        current_by=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def example_prompts() -> tuple[PromptStatus, ...]:
    current = version(
        7,
        state="current",
        share=1.0,
        calls_5m=2060,
        current_since=NOW_US - 840_000_000,
        current_by="op1",
        variables=("product", "tone"),
    )
    return (
        PromptStatus(
            name="support-reply",
            versions=(version(8, state="draft", is_registered=False), current, version(6, current_since=NOW_US - 9_000_000_000, current_by="op2"),
                      version(5, state="withdrawn", file="edited")),
            current=(7,),
            chosen_by="op1",
            chosen_at=NOW_US - 840_000_000,
            reason="warmer answers",
            features=("support-reply",),
            alarms=(),
        ),
        PromptStatus("summarize", (version(3, state="current", share=0.9), version(2, state="current", share=0.1)), (3, 2), None, None, None,
                     ("summarize",), ()),
    )  # fmt: skip


def process(number: int, version: int | None = 41, **changes: object) -> ProcessView:
    base = ProcessView(
        id=f"p{number}",
        pid=4000 + number,
        host=f"app-{number % 3 + 1}",
        service="web" if number % 2 else "worker",
        state="live",
        control_version=version,
        control_source="live",
        heartbeat_age_s=1.2,
        queue_depth=0,
        dropped=0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def trends(shift: float = 0.0, count: int = 60) -> tuple[Trend, ...]:
    def wave(base: float, size: float, spike: float) -> tuple[float | None, ...]:
        values = [base + size * math.sin(step / 5 + shift) + (spike if 40 < step < 48 else 0.0) for step in range(count)]
        return tuple(None if 20 <= step < 24 else value for step, value in enumerate(values))

    return (
        Trend("p50_ms", 30, wave(900, 80, 200)),
        Trend("p99_ms", 30, wave(4000, 900, 9000)),
        Trend("calls_per_min", 30, wave(800, 50, -100)),
        Trend("error_rate", 30, wave(0.004, 0.002, 0.08)),
        Trend("status_429_per_min", 30, wave(1, 0.5, 0)),
        Trend("status_529_per_min", 30, wave(0.5, 0.5, 40)),
    )


def calm_view(**changes: object) -> StatusView:
    """A quiet production with five features, one of them in trouble."""
    features = (
        feature(NAMES[0], calls_5m=310, calls_per_min=62.0, prompt=PromptView("draft-email", "v2"), cost_today_usd=3.5),
        feature(NAMES[1], calls_5m=9000, calls_per_min=1800.0, p95_ms=310.0, target="haiku", prompt=None, cost_today_usd=12.0,
                chain=("haiku",)),
        feature(NAMES[2], calls_5m=1100, calls_per_min=220.0, served_by=(("primary", 700), ("fallback", 400)), target="haiku",
                fallback=FallbackView("haiku", "sonnet", "sonnet open in 9 of 12: 529 overloaded_error x14", NOW_US - 125_000_000),
                attempts_per_call=1.08, failures=FAILURES),
        feature(NAMES[3], error_rate=0.083, failed_5m=171, p95_ms=9100.0, p99_ms=14_000.0),
        feature(NAMES[4], calls_5m=0, calls_per_min=0.0, error_rate=None, p50_ms=None, p95_ms=None, p99_ms=None, served_by=(),
                target=None, prompt=None, cost_today_usd=None, chain=()),
    )  # fmt: skip
    view = StatusView(
        environment="production",
        host="bastion-1",
        at=NOW_US,
        data_age_s=1.0,
        telemetry_problem=None,
        control=ControlView(version=41, problem=None, is_writable=True, following=12, live=12),
        switches=(),
        processes=tuple(process(number) for number in range(12)),
        features=features,
        targets=(
            sick_target(),
            well_target(),
        ),
        changes=(
            ChangeView(
                "c3", NOW_US - 60_000_000, "op1", "use", "prompt:support-reply", "warmer answers", 41, before="v6", after="v7"
            ),
            ChangeView("c2", NOW_US - 180_000_000, "op1", "restore", "feature:draft-email", None, 40),
            ChangeView("c1", NOW_US - 1_500_000_000, "op2", "kill", "feature:draft-email", "bad links in replies", 39),
        ),
        trends=trends(),
        verdict=VERDICT,
        page=StatusPage(
            "told", NOW_US - 30_000_000, "major", "Partial outage", (("api", "partial_outage"),), ("Errors on Sonnet",)
        ),
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def hostile_view() -> StatusView:
    """The payload in every field that holds text."""
    bad = HOSTILE
    switch = Switch(Scope("model", bad), reason=bad, actor=bad, at=NOW_US, expires_at=NOW_US + 9_000_000)
    own = Switch(Scope("feature", bad), reason=bad, actor=bad, at=NOW_US)
    hostile_failure = failure(1, feature=bad, target=bad, model=bad, provider=bad, error=bad, request_id=bad)
    glass = Switch(Scope("feature", f"g{bad}"), reason=bad, actor=bad, at=NOW_US, source=f"/run/{bad}")
    return StatusView(
        environment=bad,
        host=bad,
        at=NOW_US,
        data_age_s=1.0,
        telemetry_problem=bad,
        control=ControlView(41, bad, True, 0, 1),
        switches=(switch, own, glass),
        processes=(process(1, 40, id=bad, host=bad, service=bad, control_source=bad, note=bad, dropped=3),),
        features=(
            feature(
                bad,
                unpriced_models=(bad,),
                served_by=((bad, 7), ("primary", 9)),
                target=bad,
                prompt=PromptView(bad, bad),
                chain=(bad, bad),
                route=Route(Scope("feature", bad), (bad,), bad, bad, NOW_US, NOW_US + 9_000_000),
                fallback=FallbackView(bad, bad, bad, NOW_US),
                attempts_per_call=1.5,
                failures=(hostile_failure,),
            ),
            feature(f"g{bad}", killed=glass),
            feature(f"x{bad}", killed=own),
        ),
        targets=(
            TargetView(
                bad,
                bad,
                bad,
                100,
                0.5,
                100.0,
                ((bad, 2), ("open", 1)),
                ((bad, 4),),
                bad,
                NOW_US,
                NOW_US + 6_000_000,
                Forced(bad, "forced_open", bad, bad, NOW_US),
                False,
                (bad,),
                (BreakerView(bad, 1, bad, bad, bad, bad, NOW_US, NOW_US),),
                2,  # type: ignore[arg-type]
                headroom=0.01,
                headroom_of=bad,
                failures=(hostile_failure,),
            ),
        ),
        changes=(ChangeView(bad, NOW_US, bad, bad, f"feature:{bad}", bad, 3, before=bad, after=bad, expires_at=NOW_US),),
        prompt_alarms=(bad,),
        verdict=Verdict("us", f"us: {bad}", (bad,)),
        page=StatusPage("unreachable", NOW_US, problem=bad),
        exceeded=(ExceededView(bad, bad, 1.0, 2.0, NOW_US),),
        trends=trends(),
    )


def hostile_prompts() -> tuple[PromptStatus, ...]:
    bad = HOSTILE
    hostile_version = version(
        3,
        hash=bad,
        state=bad,
        file=bad,
        description=bad,
        owner=bad,
        notes=bad,
        variables=(bad,),
        current_by=bad,
        current_since=NOW_US,
        problem=bad,
    )
    own = version(2, state="current", share=1.0, description=bad, notes=bad)
    return (PromptStatus(bad, (hostile_version, own), (2,), bad, NOW_US, bad, (bad,), (bad,)),)


def empty_view() -> StatusView:
    return calm_view(
        data_age_s=None, processes=(), features=(), targets=(), changes=(), trends=(),
        control=ControlView(None, None, True, 0, 0),
    )  # fmt: skip


@dataclass
class ExampleDesk:
    """Holds switches in memory. `slow_s` makes every act slow; `refuse` is raised by the next apply."""

    view: StatusView = field(default_factory=calm_view)
    read_only: bool = False
    is_moving: bool = False
    is_one_number: bool = False
    is_probing: bool = False
    slow_s: float = 0.0
    refuse: Exception | None = None
    laggards: int = 0
    stuck_after: int = 0
    hostile: bool = False
    crash: BaseException | None = None
    prompt_states: tuple[PromptStatus, ...] = field(default_factory=example_prompts)
    prompt_words: str = PROMPT_TEXT
    log: Path | None = None
    applied: list[tuple[Order, str | None]] = field(default_factory=list)
    previews: list[Order] = field(default_factory=list)
    asked_for: list[str | None] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _undo: list[tuple[str, StatusView, tuple[PromptStatus, ...]]] = field(default_factory=list)
    polled: dict[str, int] = field(default_factory=dict)
    _looks: int = 0

    # -- looking

    def status(self, *, trends: bool = False, feature: str | None = None) -> StatusView:
        if self.crash is not None:
            raise self.crash
        if self.stuck_after and len(self.asked_for) >= self.stuck_after:
            time.sleep(60)
        with self._lock:
            self.asked_for.append(feature)
            del self.asked_for[:-50]
            view = self.view
            if self.is_moving:
                view = self._moved(view, full=True)
            elif self.is_one_number:
                view = self._moved(view, full=False)
            if self.is_probing:  # the clock goes on, and with it one countdown
                passed_us = int(time.monotonic() - self._started) * 1_000_000
                probe = NOW_US + passed_us + 9_000_000 - passed_us % 9_000_000
                targets = tuple(
                    replace(each, probe_at=probe if each.probe_at else None, by_process=()) for each in view.targets
                )
                view = replace(view, at=NOW_US + passed_us, targets=targets)
            return view if trends else replace(view, trends=())

    def _moved(self, view: StatusView, *, full: bool) -> StatusView:
        passed = time.monotonic() - self._started
        if not full:
            first = replace(view.features[0], calls_per_min=60.0 + int(passed) % 30)
            return replace(view, features=(first, *view.features[1:]))
        features_now = tuple(
            replace(
                each,
                calls_per_min=each.calls_per_min * (1 + 0.1 * math.sin(passed * 3 + index)),
                error_rate=None if each.error_rate is None else abs(each.error_rate + 0.001 * math.sin(passed * 2 + index)),
                p95_ms=None if each.p95_ms is None else each.p95_ms * (1 + 0.1 * math.sin(passed + index)),
                cost_today_usd=None if each.cost_today_usd is None else each.cost_today_usd + passed,
            )
            for index, each in enumerate(view.features)
        )
        at = view.at + int(passed * 1e6)
        return replace(view, features=features_now, at=at, trends=_trends_at(passed))

    # -- acting

    def preview(self, order: Order) -> Preview:
        time.sleep(self.slow_s)
        with self._lock:
            self.previews.append(order)
            if order.act == "undo":
                return self._preview_undo(order)
            if order.act not in {"kill", "restore"}:
                return self._preview_other(order)
            scope = order.scope or ALL
            engaged = any(switch.scope == scope for switch in self.view.switches)
            states = ("killed", "running") if engaged else ("running", "killed")
            text = HOSTILE if self.hostile else ""
            return Preview(
                order=order,
                title=f"{order.act.capitalize()} {scope.name or 'every call'}{text}",
                subject=str(scope) + text,
                before=states[0] + text,
                after=("killed" if order.act == "kill" else "running") + text,
                is_wide=scope.is_wide,
                confirm_word=scope.name or "all",
                is_already_so=engaged == (order.act == "kill"),
                calls_5m=2060,
                customers_5m=37,
                share_of_traffic=0.041,
                last_time=f"last killed 9 days ago by op1{text}",
                warnings=(f"two of its calls are streams: they finish{text}",),
                version=self.view.control.version or 0,
            )

    def _preview_undo(self, order: Order) -> Preview:
        if not self._undo:
            raise NothingToUndo("nothing is left to undo")
        subject = self._undo[-1][0]
        return Preview(order, f"Undo the last act on {subject}", subject, "killed", "running", False, "", False, 2060, 37, 0.041, None, (),
                       self.view.control.version or 0)  # fmt: skip

    def apply(self, preview: Preview, *, reason: str | None = None) -> Applied:
        time.sleep(self.slow_s)
        with self._lock:
            if self.read_only:
                raise ActForbidden("read-only")
            if self.refuse is not None:
                error, self.refuse = self.refuse, None
                raise error
            if preview.version != (self.view.control.version or 0):
                raise ActConflict("op2 changed it since you looked.")
            order = preview.order
            self.applied.append((order, reason))
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{order.act} {order.scope}\n")
            version = (self.view.control.version or 0) + 1
            before = self.view
            at = NOW_US + int((time.monotonic() - self._started) * 1e6)
            if order.act == "undo":
                _, view, self.prompt_states = self._undo.pop()
            else:
                self._undo.append((preview.subject, before, self.prompt_states))
                view = self._done(order, reason, at)
            change = ChangeView(
                f"n{version}",
                at,
                "op1",
                order.act,
                preview.subject,
                reason,
                version,
                before=preview.before,
                after=preview.after,
            )
            control = replace(before.control, version=version, following=before.control.live - self.laggards)
            processes = tuple(
                replace(each, control_version=version if number >= self.laggards else each.control_version)
                for number, each in enumerate(before.processes)
            )
            self.view = replace(view, control=control, processes=processes, changes=(change, *before.changes))
            self._looks = 0
            return Applied(f"n{version}", order.act, preview.subject, version, at, "op1", reason, None, 3.1)

    def _done(self, order: Order, reason: str | None, at: int) -> StatusView:
        if order.act == "kill":
            return self._engaged(order, reason, at)
        if order.act == "restore":
            return self._released(order)
        if order.act in {"switch", "auto"}:
            scope = order.scope or ALL
            route = Route(scope, order.targets, reason, "op1", at) if order.act == "switch" else None
            return replace(self.view, features=tuple(
                replace(each, route=route, fallback=None, target=order.targets[0] if order.targets else "sonnet")
                if scope in {ALL, Scope("feature", each.feature)} else each
                for each in self.view.features
            ))  # fmt: skip
        if order.act in {"use", "rollback"}:
            self.prompt_states = tuple(
                replace(each, current=(order.version or 6,)) if each.name == order.prompt else each
                for each in self.prompt_states
            )
            return self.view
        if order.act == "probe":
            return replace(self.view, targets=tuple(
                replace(each, breakers=(("half_open", 9), *(each.breakers or ())[1:]), probe_at=None)
                if each.target == order.targets[0] else each for each in self.view.targets
            ))  # fmt: skip
        forced = (
            None
            if order.act == "force_auto"
            else Forced(order.targets[0], order.act.replace("force", "forced"), reason, "op1", at)
        )  # type: ignore[arg-type]
        return replace(self.view, targets=tuple(
            replace(each, forced=forced) if each.target == order.targets[0] else each for each in self.view.targets
        ))  # fmt: skip

    def _preview_other(self, order: Order) -> Preview:
        """Routes, breakers and prompts."""
        text = HOSTILE if self.hostile else ""
        scope, is_wide, word, diff, choices = order.scope or ALL, False, "", None, ()
        if order.act == "switch" and not order.targets:
            raise ActError("name a target to switch to")
        if order.act in {"switch", "auto"}:
            subject, name, is_wide, word = str(scope), scope.name or "all features", scope == ALL, "all" if scope == ALL else ""
            feature_now = next((each for each in self.view.features if each.feature == scope.name), None)
            chain = (feature_now.chain if feature_now is not None else ()) or ("sonnet",)
            before = " → ".join(feature_now.route.targets if feature_now is not None and feature_now.route else chain)
            after = " → ".join(order.targets or chain)
            choices = (
                tuple(f"{each.target}" for each in self.view.targets if (each.target,) != order.targets) + self.more_targets
            )
        elif order.prompt is not None:
            known = next((each for each in self.prompt_states if each.name == order.prompt), None)
            if known is None and not self.hostile:
                raise ActError(f"there is no prompt {order.prompt}")
            subject, name = f"prompt:{order.prompt}", order.prompt
            before, after = (f"v{known.current[0]}" if known else "v7"), f"v{order.version or 6}"
            diff = f"--- v7\n+++ v6\n@@ -1,3 +1,3 @@\n{self.diff_words}{text}"
        else:
            subject, name, is_wide, word = (
                f"target:{order.targets[0]}",
                order.targets[0],
                order.act not in {"force_auto", "probe"},
                order.targets[0],
            )
            before, after = "auto", order.act.removeprefix("force_")
        return Preview(
            order=order, title=f"{order.act.capitalize().replace('_', ' ')} {name}{text}", subject=subject + text, before=before + text,
            after=after + text, is_wide=is_wide, confirm_word=word, is_already_so=order.act == "auto" and not any(each.route is not None for each in self.view.features if scope in {ALL, Scope("feature", each.feature)}), calls_5m=2060, customers_5m=37,
            share_of_traffic=0.041, last_time=f"last done 2 days ago by op2{text}", warnings=(text,) if text else (),
            version=self.view.control.version or 0, diff=diff, choices=(*choices, text) if text and choices else choices,
        )  # fmt: skip

    more_targets: tuple[str, ...] = ()
    diff_words: str = (
        " You answer customers of ${product}.\n-Be brief: one or two sentences.\n+Be exact: ask for the order number first.\n"
    )

    def prompts(self) -> tuple[PromptStatus, ...]:
        self._count("prompts")
        return self.prompt_states

    def prompt_text(self, name: str, version: int) -> str:
        if all(each.name != name for each in self.prompt_states):
            raise UnknownPrompt(f"there is no prompt {name}")
        return f"v{version}\n{self.prompt_words}"

    def prompt_diff(self, name: str, old: int, new: int) -> str:
        return f"--- {name} v{old}\n+++ {name} v{new}\n@@ -1,3 +1,3 @@\n{self.diff_words}"

    def timeline(self, limit: int = 200) -> tuple[TimelineView, ...]:
        self._count("timeline")
        acts = [
            TimelineView(each.at, "act", each.actor, f"{each.act} {each.subject}", each.reason, each)
            for each in self.view.changes
        ]
        return tuple(sorted([*acts, *self.events], key=lambda entry: -entry.at))[:limit]

    events: tuple[TimelineView, ...] = (
        TimelineView(NOW_US - 130_000_000, "breaker", None, "sonnet opened in 9 of 12 processes", "529 overloaded_error x14"),
        TimelineView(NOW_US - 2_500_000_000, "process", None, "worker app-1 pid 3990 ended"),
        TimelineView(NOW_US - 2_490_000_000, "process", None, "worker app-1 pid 4000 started"),
    )

    def _count(self, what: str) -> None:
        self.polled[what] = self.polled.get(what, 0) + 1

    def _engaged(self, order: Order, reason: str | None, at: int) -> StatusView:
        scope = order.scope or ALL
        switch = Switch(scope, reason=reason, actor="op1", at=at)
        return replace(
            self.view,
            switches=(*self.view.switches, switch),
            features=self._features_with((*self.view.switches, switch)),
        )

    def _released(self, order: Order) -> StatusView:
        left = tuple(switch for switch in self.view.switches if switch.scope != order.scope)
        return replace(self.view, switches=left, features=self._features_with(left))

    def _features_with(self, switches: tuple[Switch, ...]) -> tuple[FeatureView, ...]:
        stops = {switch.scope: switch for switch in switches}
        return tuple(
            replace(each, killed=stops.get(ALL) or stops.get(Scope("feature", each.feature))) for each in self.view.features
        )

    def acknowledgement(self, applied: Applied) -> Acknowledgement:
        with self._lock:
            self._looks += 1
            live = self.view.control.live
            following = min(live - self.laggards, self._looks * 6)
            late = self.view.processes[: self.laggards]
            known = {"switch": ("calls served by haiku", "up"), "rollback": ("calls with support-reply v6", "up")}
            counted, expected = known.get(applied.act, ("calls that reached the API", "down"))
            if self.hostile:
                counted += HOSTILE
            numbers = (
                (412.0, 412.0 if self._looks < 4 else 0.0) if expected == "down" else (0.0, 0.0 if self._looks < 4 else 220.0)
            )
            state = "sonnet half_open in 9 of 12" + (HOSTILE if self.hostile else "") if applied.act == "probe" else None
            return Acknowledgement(
                applied.version, following, live, late, 38.0, *numbers, counted=counted, expected=expected, state=state
            )  # type: ignore[arg-type]

    def close(self) -> None:
        return


def _trends_at(passed: float) -> tuple[Trend, ...]:
    return trends(passed / 5)


def crash_with_secrets() -> BaseException:
    """An error whose frames and message hold secrets."""
    api_key = "sk-ant-api03-SECRETSECRETSECRET1234567890"
    prompt = "PROMPTSECRET the customer's address"
    try:
        raise ValueError(f"bad header x-api-key={api_key} \x1b[2J {prompt!r}")
    except ValueError as error:
        return error


def _let_text_through(*, with_filter: bool) -> None:
    """Switch off what makes text safe where it enters, and without `with_filter` the net below it as well."""
    from console.tui import cells, safe

    def untouched(raw: object, limit: int = 0) -> str:
        return str(raw)[:60]

    cells.line = untouched  # type: ignore[assignment]
    if not with_filter:
        safe.SafeFilter.apply = lambda self, segments, background: segments  # type: ignore[method-assign]


def _lose_an_error() -> None:
    """An exception in a task that nobody awaits."""
    import asyncio

    from console.tui.screens.overview import OverviewScreen

    async def lost() -> None:
        await asyncio.sleep(0.5)
        raise crash_with_secrets()

    def started(self: OverviewScreen) -> None:
        asyncio.get_running_loop().create_task(lost())

    original = OverviewScreen.on_mount

    def on_mount(self: OverviewScreen) -> None:
        original(self)
        started(self)
        import gc

        self.set_timer(1.0, gc.collect)

    OverviewScreen.on_mount = on_mount  # type: ignore[method-assign]


def huge_view() -> StatusView:
    """Ten megabytes, a million lines and 100,000 brackets where short words are expected."""
    long, lines, brackets = "x" * 10_000_000, "y\n" * 1_000_000, "[" * 100_000
    return calm_view(
        host=long,
        features=tuple(feature(f"{text}{number}") for number, text in enumerate((long, lines, brackets))),
        changes=(ChangeView("c", NOW_US, lines, brackets, long, long, 1),),
        telemetry_problem=lines,
    )


def _crash_on_copy() -> None:
    """Make `y` fail with secrets in the locals of every frame, in the message and in the cause."""
    from console.tui.screens.overview import OverviewScreen

    def broken(self: OverviewScreen) -> None:
        token = "sk-ant-api03-SECRETLOCAL1234567890"  # noqa: F841
        raise RuntimeError("while copying PASSWORD=SECRETMESSAGE99") from crash_with_secrets()

    OverviewScreen._do_copy = broken  # type: ignore[method-assign]


def hostile_desk() -> ExampleDesk:
    """The payload in everything that a desk answers with."""
    events = tuple(
        TimelineView(NOW_US - step, kind, HOSTILE, HOSTILE, HOSTILE) for step, kind in enumerate(("process", "breaker"))
    )  # type: ignore[arg-type]
    return ExampleDesk(
        view=hostile_view(), hostile=True, prompt_states=hostile_prompts(), prompt_words=HOSTILE * 20, diff_words=f"-{HOSTILE}\n+{HOSTILE}\n",
        events=events, more_targets=(HOSTILE,),
    )  # fmt: skip


def desk_from(arguments: argparse.Namespace) -> ExampleDesk:
    if arguments.empty:
        return ExampleDesk(view=empty_view())
    if arguments.hostile:
        return hostile_desk()
    desk = ExampleDesk(
        is_moving=not (arguments.quiet or arguments.one or arguments.probe),
        is_probing=arguments.probe,
        is_one_number=arguments.one,
        read_only=arguments.read_only,
    )
    desk.laggards = arguments.laggards
    desk.slow_s = arguments.slow
    desk.stuck_after = arguments.stuck_after
    desk.log = arguments.log
    if desk.log is not None:
        desk.log.touch()
    if arguments.huge:
        desk.view = huge_view()
    if arguments.stale:
        desk.view = calm_view(data_age_s=47.0, telemetry_problem="telemetry.db is locked by another process")
    return desk


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in (
        "quiet",
        "probe",
        "one",
        "hostile",
        "empty",
        "read-only",
        "crash",
        "lost",
        "huge",
        "unsafe",
        "unsafe-text",
        "stale",
    ):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--stuck-after", type=int, default=0)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--log", type=Path, help="write each act that was applied here")
    parser.add_argument("--laggards", type=int, default=0)
    arguments = parser.parse_args()
    from console.tui.app import run_console

    if arguments.unsafe or arguments.unsafe_text:
        _let_text_through(with_filter=not arguments.unsafe)
    if arguments.lost:
        _lose_an_error()
    if arguments.crash:
        _crash_on_copy()
    return run_console(desk_from(arguments))


if __name__ == "__main__":
    sys.exit(main())
