"""The application's own limits at the SDK's edge: every limit with every `on_exceed`, over real sockets. What is stopped never
reaches the API, says why, and is recorded as what it is; a kill switch comes first."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from failover_tools import BY_NAME, FOUR, LIMITS, NEVER_OPENS, TARGETS
from sdk_shapes import COLOURS, HAIKU, PLAIN, SHAPES, Shape, ask, got, seen_by

from console import Console, errors
from console.core.allowances import BudgetPolicy, CustomerPolicy, OnExceed, RatePolicy
from console.core.switches import ALL, Scope
from console.core.targets import FeaturePolicy, Routing
from console.sdk.answers import CallBlocked, RequestRefused
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from failover_tools import Chained

    from console.sim.server import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]
four = pytest.mark.parametrize("shape", FOUR, ids=str)

TEXT = "The assistant is resting."
TAGS = {"extra_headers": {"x-console-feature": "f", "x-console-customer": "acme"}}
NOTHING = 1e-9
"""Dollars: less than any call costs."""


def limited(
    policy: FeaturePolicy | None = None, *, everything: BudgetPolicy | None = None, customers: CustomerPolicy | None = None
) -> Routing:
    return Routing(
        targets=TARGETS,
        features={"f": policy or FeaturePolicy()},
        breaker=NEVER_OPENS,
        budget=everything,
        customers=customers or CustomerPolicy(),
    )


def policies(on_exceed: OnExceed) -> dict[str, tuple[Routing, str, str]]:
    """Each limit as small as a second call goes beyond it: with what the records call it and the words of its error."""
    one, tokens = RatePolicy(1, None, on_exceed), RatePolicy(None, 1, on_exceed)
    day, month = BudgetPolicy(NOTHING, None, on_exceed), BudgetPolicy(None, NOTHING, on_exceed)
    return {
        "requests of a feature": (limited(FeaturePolicy(rate=one)), "rate_limit", "feature f: more than 1 requests a minute"),
        "tokens of a feature": (limited(FeaturePolicy(rate=tokens)), "token_limit", "feature f: more than 1 tokens a minute"),
        "requests of a customer": (limited(customers=CustomerPolicy(one)), "rate_limit", "customer acme: more than 1 requests"),
        "tokens of a customer": (limited(customers=CustomerPolicy(tokens)), "token_limit", "customer acme: more than 1 tokens"),
        "day of all": (limited(everything=day), "budget", "all calls together: $0.00 spent of $0.00 a day"),
        "month of all": (limited(everything=month), "budget", "all calls together: $0.00 spent of $0.00 a month"),
        "day of a feature": (limited(FeaturePolicy(budget=day)), "budget", "feature f: $0.00 spent of $0.00 a day"),
        "month of a feature": (limited(FeaturePolicy(budget=month)), "budget", "feature f: $0.00 spent of $0.00 a month"),
        "day of a customer": (limited(customers=CustomerPolicy(None, day)), "budget", "customer acme: $0.00 spent of"),
    }


LIMITS_OF_BEFORE = tuple(policies("block"))


async def used_up(made: Chained, client: Any, shape: Shape) -> None:
    """The first call, which is let in, and until a budget has heard of it."""
    allowances = made.runtime.allowances
    assert allowances is not None
    first = await seen_by(shape, client, **TAGS)
    assert first.error is None
    deadline = time.monotonic() + 20
    while allowances._has_budgets and not allowances._over:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@four
@pytest.mark.parametrize("limit", LIMITS_OF_BEFORE)
async def test_a_limit_that_blocks_stops_the_next_call_with_an_error_that_says_why(
    limit: str, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    routing, error, words = policies("block")[limit]
    made = chained(routing, f=TEXT)
    client = client_of(colour, middleware=[made.middleware], max_retries=2)
    await used_up(made, client, shape)
    api.clear_requests()
    with pytest.raises(anthropic.APIError) as caught:
        await got(client.messages.create(**ask(**TAGS)))
    stopped = caught.value
    assert type(stopped) is CallBlocked
    assert isinstance(stopped, errors.CallBlocked)
    assert words in str(stopped)
    assert stopped.reason == error
    assert stopped.scope in str(stopped).replace("feature f", "feature:f").replace("customer acme", "customer:acme").replace(
        "all calls", "all"
    )
    assert stopped.retry_after_s is not None
    assert stopped.retry_after_s > 0
    assert (await seen_by(shape, client, **TAGS)).error[0] is CallBlocked
    assert api.requests() == []
    rows = [(row["outcome"], row["served_by"], row["error"], row["attempts"]) for row in made.rows("call")]
    assert rows == [("ok", "primary", None, 1), *[("blocked", "none", error, 0)] * 2]
    assert made.runtime.errors == 0


@four
@pytest.mark.parametrize("limit", LIMITS_OF_BEFORE)
async def test_a_limit_that_degrades_serves_the_defined_text(
    limit: str, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    routing, error, _ = policies("degrade")[limit]
    made = chained(routing, f=TEXT)
    client = client_of(colour, middleware=[made.middleware])
    await used_up(made, client, shape)
    api.clear_requests()
    seen = await seen_by(shape, client, **TAGS)
    assert seen.error is None
    assert TEXT in repr(seen.parts)
    assert api.requests() == []
    rows = [(row["outcome"], row["served_by"], row["error"], row["attempts"]) for row in made.rows("call")]
    assert rows == [("ok", "primary", None, 1), ("degraded", "degraded", error, 0)]


@four
@pytest.mark.parametrize("limit", LIMITS_OF_BEFORE)
async def test_a_limit_that_alerts_lets_calls_pass_and_is_told(
    limit: str, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    routing, _, _ = policies("alert")[limit]
    made = chained(routing, f=TEXT)
    client = client_of(colour, middleware=[made.middleware])
    await used_up(made, client, shape)
    assert (await seen_by(shape, client, **TAGS)).error is None
    assert len(api.requests()) == 2
    assert made.runtime.allowances is not None
    (told,) = made.runtime.allowances.exceeded()
    assert told["on_exceed"] == "alert"
    assert [(row["outcome"], row["error"]) for row in made.rows("call")] == [("ok", None)] * 2


async def test_a_limit_that_degrades_blocks_where_no_text_is_defined(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    made = chained(limited(FeaturePolicy(rate=RatePolicy(1, None, "degrade"))))
    client = client_of(colour, middleware=[made.middleware])
    await used_up(made, client, PLAIN)
    assert (await seen_by(PLAIN, client, **TAGS)).error[0] is CallBlocked
    assert len(api.requests()) == 1


@four
async def test_a_request_above_a_ceiling_is_refused_and_never_trimmed(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    made = chained(limited(FeaturePolicy(max_tokens=50, max_input_chars=300)), f=TEXT)
    client = client_of(colour, middleware=[made.middleware], max_retries=2)
    refused = await seen_by(shape, client, max_tokens=51, **TAGS)
    assert refused.error[0] is RequestRefused
    assert "max_tokens 51 is above the ceiling of 50" in refused.error[1]
    assert "features.f.max_tokens" in refused.error[1]
    long = [{"role": "user", "content": "x" * 301}]
    refused = await seen_by(shape, client, max_tokens=50, messages=long, **TAGS)
    assert refused.error[0] is RequestRefused
    assert "more than 300 characters" in refused.error[1]
    assert "features.f.max_input_chars" in refused.error[1]
    assert api.requests() == []
    assert (await seen_by(shape, client, max_tokens=50, **TAGS)).error is None
    (request,) = api.requests()
    assert request["model"] == ask()["model"]
    rows = [(row["outcome"], row["served_by"], row["error"], row["attempts"]) for row in made.rows("call")]
    assert rows == [
        ("blocked", "none", "max_tokens_exceeded", 0), ("blocked", "none", "input_too_long", 0), ("ok", "primary", None, 1)
    ]  # fmt: skip
    assert issubclass(RequestRefused, CallBlocked)
    assert issubclass(RequestRefused, errors.RequestRefused)
    assert issubclass(errors.RequestRefused, errors.CallBlocked)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.kind != "other"], ids=str)
async def test_every_shape_of_a_call_is_refused_above_its_ceiling(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    made = chained(limited(FeaturePolicy(max_tokens=1)), f=TEXT)
    refused = await seen_by(shape, client_of(colour, middleware=[made.middleware]), **TAGS)
    assert refused.error[0] is RequestRefused
    assert ("request one of the batch" in refused.error[1]) is (shape.kind == "batch")
    assert api.requests() == []


@pytest.mark.parametrize("on_exceed", ["block", "degrade"])
async def test_a_spent_budget_stops_the_creation_of_a_batch(
    on_exceed: OnExceed, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    made = chained(limited(FeaturePolicy(budget=BudgetPolicy(NOTHING, None, on_exceed))), f=TEXT)
    client = client_of(colour, middleware=[made.middleware])
    await used_up(made, client, PLAIN)
    api.clear_requests()
    assert (await seen_by(BY_NAME["batch"], client, **TAGS)).error[0] is CallBlocked
    assert api.requests() == []
    for name in ("count_tokens", "models"):
        assert (await seen_by(BY_NAME[name], client, **TAGS)).error is None


@four
async def test_a_kill_switch_comes_before_every_limit_and_uses_none_up(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    made = chained(limited(FeaturePolicy(rate=RatePolicy(1), max_tokens=50)))
    client = client_of(colour, middleware=[made.middleware])
    made.kill(ALL)
    for _ in range(3):
        stopped = await seen_by(shape, client, max_tokens=9999, **TAGS)
        assert "kill switch" in stopped.error[1]
    made.restore(ALL)
    assert (await seen_by(shape, client, max_tokens=50, **TAGS)).error is None
    made.kill(Scope("feature", "f"))
    assert "kill switch" in (await seen_by(shape, client, **TAGS)).error[1]
    assert len(api.requests()) == 1
    assert [row["error"] for row in made.rows("call")] == ["kill_switch"] * 3 + [None, "kill_switch"]


async def test_a_kill_of_one_model_of_a_chain_leaves_the_limits_to_be_asked(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    made = chained(limited(FeaturePolicy(("sonnet", "haiku"), LIMITS, rate=RatePolicy(1))))
    client = client_of(colour, middleware=[made.middleware])
    made.kill(Scope("model", ask()["model"]))
    await used_up(made, client, PLAIN)
    assert "more than 1 requests" in (await seen_by(PLAIN, client, **TAGS)).error[1]
    assert [request["model"] for request in api.requests()] == [HAIKU]


async def test_an_attempt_that_the_sdk_repeats_is_no_new_request(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    made = chained(limited(FeaturePolicy(rate=RatePolicy(1, 10_000))))
    api.set_faults([Fault(status=529, times=2)])
    client = client_of(colour, middleware=[made.middleware], max_retries=2)
    assert (await seen_by(PLAIN, client, **TAGS)).error is None
    assert len(api.requests()) == 3
    assert "more than 1 requests" in (await seen_by(PLAIN, client, **TAGS)).error[1]
    (call, _) = made.rows("call")
    assert (call["attempts"], call["outcome"]) == (3, "ok")
    assert made.runtime.allowances is not None
    bucket = made.runtime.allowances._buckets["feature:f", "tokens_per_minute"]
    tokens = call["input_tokens"] + call["output_tokens"]
    assert bucket.asked(time.perf_counter_ns() // 1000) == pytest.approx(tokens, abs=30)  # and the refused one's estimate


@four
async def test_the_tokens_of_an_answer_are_put_right_once_it_is_known(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    made = chained(limited(FeaturePolicy(("sonnet", "haiku"), LIMITS, rate=RatePolicy(None, 1e6))))
    client = client_of(colour, middleware=[made.middleware])
    assert (await seen_by(shape, client, **TAGS)).error is None
    call = made.only_call()
    assert made.runtime.allowances is not None
    bucket = made.runtime.allowances._buckets["feature:f", "tokens_per_minute"]
    assert bucket.asked(time.perf_counter_ns() // 1000) == pytest.approx(call["input_tokens"] + call["output_tokens"], abs=2)


async def test_a_defect_of_the_limits_stops_no_call(
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = chained(limited(FeaturePolicy(rate=RatePolicy(1))))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(made.runtime.allowances, "check", fail)
    client = client_of(colour, middleware=[made.middleware])
    for _ in range(3):
        assert (await seen_by(PLAIN, client, **TAGS)).error is None
    assert made.runtime.errors == 3


async def test_limits_are_read_from_the_configuration(
    colour: str, api: SimulatedAPI, tmp_path: Path, client_of: Callable[..., Any]
) -> None:
    file = tmp_path / "console.yaml"
    file.write_text(
        "data: data\n"
        "features:\n"
        "  default: {max_input_chars: 200000}\n"
        "  f: {rate: {requests_per_minute: 1}, max_tokens: 4096, budget_usd_per_day: 80, on_exceed: block}\n"
        "customers: {budget_usd_per_day: 5, rate: {tokens_per_minute: 100000}, named: {acme: {budget_usd_per_month: 50}}}\n"
        "budget_usd_per_day: 200\nbudget_usd_per_month: 4000\non_exceed: alert\n"
    )
    with Console(config=file, data=tmp_path / "data") as console:
        client = client_of(colour, console)
        assert (await seen_by(PLAIN, client, **TAGS)).error is None
        blocked = await seen_by(PLAIN, client, **TAGS)
        assert "(features.f.rate.requests_per_minute)" in blocked.error[1]
        refused = await seen_by(PLAIN, client, messages=[{"role": "user", "content": "x" * 200_001}], **TAGS)
        assert "(features.default.max_input_chars)" in refused.error[1]
