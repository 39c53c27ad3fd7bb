"""`console.health()` of an application, against the simulated API over real sockets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from failover_tools import Server, unheard, until
from sdk_shapes import COLOURS, HAIKU, SONNET, ask, got

from console import Console
from console.core.routes import breaker_key, encode_force
from console.core.switches import Scope
from console.core.targets import Target
from console.ops.desk import Desk
from console.ops.views import Order
from console.sdk import health as sdk_health
from console.store.configuration import load_settings
from console.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from console.core.health import Health
    from console.sim.server import SimulatedAPI

coloured = pytest.mark.parametrize("colour", COLOURS)
CHAIN = """
data: data
targets:
  sonnet: {model: claude-sonnet-5-5}
  haiku: {model: claude-haiku-5-5}
features:
  default: {chain: [sonnet, haiku]}
  classify: {chain: [haiku]}
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Console]]:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    consoles: list[Console] = []

    def make(text: str = CHAIN) -> Console:
        (tmp_path / "console.yaml").write_text(text)
        consoles.append(Console(config=tmp_path / "console.yaml"))
        return consoles[-1]

    yield make
    for console in consoles:
        console.close()


def desk_in(tmp_path: Path) -> Desk:
    return Desk(load_settings(tmp_path / "console.yaml"))


async def health_of(console: Console, colour: str, client: Any = None, **more: Any) -> Health:
    return console.health(client, **more) if colour == "blocking" else await console.health_async(client, **more)


def verdicts(health: Health) -> dict[str, str]:
    return {one.target: one.verdict for one in health.targets}


def counted(api: SimulatedAPI) -> list[str]:
    """The models that the API was asked to count the tokens for."""
    return sorted(entry["model"] for entry in api.requests() if entry["path"].startswith("/v1/messages/count_tokens"))


@coloured
@pytest.mark.asyncio
async def test_every_target_is_asked_once_and_costs_nothing(
    colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    console = made()
    client = client_of(colour, console)
    health = await health_of(console, colour, client)
    assert (health.verdict, verdicts(health)) == ("healthy", {"sonnet": "healthy", "haiku": "healthy"})
    assert [(one.feature, one.verdict) for one in health.features] == [("default", "healthy"), ("classify", "healthy")]
    assert counted(api) == [HAIKU, SONNET]
    assert len(api.requests()) == 2
    by_model = {entry["model"]: entry["request_id"] for entry in api.requests()}
    assert {one.model: one.request_id for one in health.targets} == by_model
    assert all(one.latency_ms is not None and one.latency_ms > 0 for one in health.targets)
    assert json.loads(json.dumps(health.to_json()))["verdict"] == "healthy"
    assert console._runtime.errors == 0


@coloured
@pytest.mark.asyncio
async def test_a_failed_target_degrades_and_a_feature_without_another_is_down_and_it_is_logged(
    colour: str,
    api: SimulatedAPI,
    made: Callable[..., Console],
    client_of: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    console = made()
    client = client_of(colour, console, max_retries=2)
    api.set_faults([Fault(model=SONNET, status=529)])
    with caplog.at_level(logging.WARNING, "console"):
        health = await health_of(console, colour, client)
    assert (health.verdict, verdicts(health)) == ("degraded", {"sonnet": "down", "haiku": "healthy"})
    assert [one.verdict for one in health.features] == ["degraded", "healthy"]
    assert counted(api) == [HAIKU, SONNET], "a probe is not repeated"
    (sonnet,) = (one for one in health.targets if one.target == "sonnet")
    (entry,) = (entry for entry in api.requests() if entry["model"] == SONNET)
    assert (sonnet.kind, sonnet.status, sonnet.request_id) == ("overloaded_error", 529, entry["request_id"])
    assert sonnet.hint
    assert [entry["request_id"] in record.getMessage() for record in caplog.records] == [True]
    assert console._runtime.gate.states({}, ("sonnet",))["sonnet"].state == "closed"
    api.set_faults([Fault(model=HAIKU, status=401)])
    health = await health_of(made(), colour, client)
    assert (health.verdict, health.is_serving) == ("down", False)
    assert "classify has no target that answers" in health.reason


@coloured
@pytest.mark.asyncio
async def test_what_is_known_is_kept_while_switches_and_breakers_are_of_this_moment(
    colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any], tmp_path: Path
) -> None:
    console = made()
    client = client_of(colour, console)
    for _ in range(5):
        assert (await health_of(console, colour, client)).is_healthy
    assert len(counted(api)) == 2
    desk = desk_in(tmp_path)
    desk.act(Order("kill", Scope("feature", "classify")))
    health = await health_of(console, colour, client)
    assert (health.verdict, health.features[1].verdict) == ("healthy", "off")
    desk.act(Order("kill", Scope("model", SONNET)))
    health = await health_of(console, colour, client)
    assert (health.verdict, verdicts(health)) == ("healthy", {"sonnet": "off", "haiku": "healthy"})
    desk.act(Order("restore", Scope("model", SONNET)))
    desk.act(Order("force_open", targets=("sonnet",)))
    health = await health_of(console, colour, client)
    assert (health.verdict, verdicts(health)["sonnet"]) == ("degraded", "down")
    assert len(counted(api)) == 2
    console._checkup._known = console._checkup._known._replace(at=time.monotonic() - 31)  # type: ignore[union-attr]
    await health_of(console, colour, client)
    assert len(counted(api)) == 4
    await health_of(console, colour, client, max_age_s=0)
    assert len(counted(api)) == 4, "less than a second old"
    assert breaker_key("sonnet") and encode_force("forced_open")


@coloured
@pytest.mark.asyncio
async def test_a_killed_application_is_not_ill(
    colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any], tmp_path: Path
) -> None:
    console = made()
    desk_in(tmp_path).act(Order("kill", Scope("all")))
    health = await health_of(console, colour, client_of(colour, console))
    assert (health.verdict, {one.verdict for one in health.features}) == ("healthy", {"off"})
    assert len(counted(api)) == 2, "counting tokens is not what was stopped"


@coloured
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "fault", [Fault(no_response=True), Fault(latency_s=30), Fault(trickle_bytes_per_s=10)], ids=["silent", "late", "trickle"]
)
async def test_it_ends_in_time_whatever_a_target_does(
    fault: Fault, colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    console = made()
    client = client_of(colour, console, timeout=600)
    api.set_faults([fault])
    began = time.monotonic()
    health = await health_of(console, colour, client, timeout_s=0.5)
    assert time.monotonic() - began < 5
    assert (health.verdict, {one.kind for one in health.targets}) == ("down", {"timeout"})


@coloured
@pytest.mark.asyncio
async def test_late_answers_degrade(
    colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    console = made(CHAIN + "  strict: {limits: {first_token: 1s}, chain: [haiku]}\n")
    api.set_faults([Fault(model=HAIKU, latency_s=0.7)])
    health = await health_of(console, colour, client_of(colour, console))
    assert (health.verdict, verdicts(health)) == ("degraded", {"sonnet": "healthy", "haiku": "degraded"})


@coloured
@pytest.mark.asyncio
async def test_without_a_client_one_that_has_made_a_call_is_taken_of_either_colour(
    colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    console = made("data: data\n")
    health = await health_of(console, colour)
    assert (health.verdict, health.is_serving) == ("unknown", True), "nobody has any credentials"
    assert "credentials" in health.reason
    for calling in COLOURS:
        console = made("data: data\n")
        client = client_of(calling, console)
        await got(client.messages.create(**ask()))
        api.clear_requests()
        health = await health_of(console, colour)
        assert (health.verdict, verdicts(health)) == ("healthy", {SONNET: "healthy"})
        assert counted(api) == [SONNET]


@coloured
@pytest.mark.asyncio
async def test_a_target_with_a_host_and_a_key_of_its_own_is_asked_there_with_that_key_alone(
    colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"""
data: data
targets:
  own: {{model: claude-sonnet-5-5}}
  eu: {{model: claude-haiku-5-5, base_url: {api.url}, api_key: env:EU_KEY}}
  twin: {{model: claude-sonnet-5, base_url: {api.url}, api_key: client}}
features: {{default: {{chain: [own, eu, twin]}}}}
"""
    with unheard() as nobody:
        health = await health_of(made(text), colour, client_of(colour, base_url=nobody))
        assert verdicts(health) == {"own": "down", "eu": "down", "twin": "healthy"}
        by_name = {one.target: one for one in health.targets}
        assert (by_name["own"].kind, by_name["eu"].kind) == ("connection", "unusable")
        monkeypatch.setenv("EU_KEY", "eu-key")
        api.clear_requests()
        health = await health_of(made(text), colour, client_of(colour, base_url=nobody))
    assert verdicts(health) == {"own": "down", "eu": "healthy", "twin": "healthy"}
    assert "eu-key" not in json.dumps(health.to_json())


@coloured
@pytest.mark.asyncio
async def test_a_key_of_its_own_goes_where_calls_go_and_nowhere_else(
    colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "data: data\ntargets:\n  eu: {model: claude-haiku-5-5, api_key: env:EU_KEY}\nfeatures: {default: {chain: [eu]}}\n"
    monkeypatch.setenv("EU_KEY", "eu-key")
    with Server(None) as elsewhere:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", elsewhere.url)
        console = made(text)
        client = client_of(colour, console)
        await got(client.messages.create(**ask()))
        health = await health_of(console, colour, client, timeout_s=2)
    assert (health.verdict, verdicts(health)) == ("healthy", {"eu": "healthy"})
    assert counted(api) == [HAIKU]


@coloured
@pytest.mark.asyncio
async def test_bedrock_has_no_free_probe_and_that_is_no_failure(
    colour: str, api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    text = CHAIN.replace("haiku: {", "rock: {provider: bedrock, region: us-east-1, model: claude-sonnet-5-5}\n  haiku: {")
    health = await health_of(made(text), colour, client_of(colour), timeout_s=30)
    assert (health.verdict, verdicts(health)["rock"]) == ("healthy", "unknown")
    (rock,) = (one for one in health.targets if one.target == "rock")
    assert (rock.kind, "not offered on bedrock" in rock.reason) == ("no_probe", True)


@coloured
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [{"text": "<html>Please log in</html>"}, {"json": {}}, {"json": ["x"]}, {"text": ""}, {"content": b"\xff{"}],
    ids=str,
)
async def test_what_is_no_answer_of_the_api_is_not_healthy(
    answer: dict[str, Any], colour: str, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    health = await health_of(made(), colour, client_of(colour, wire=lambda request: httpx2.Response(200, **answer)))
    assert {(one.verdict, one.kind) for one in health.targets} == {("down", "malformed")}


@coloured
@pytest.mark.asyncio
async def test_hostile_words_of_a_server_are_made_safe(
    colour: str, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    error = {"type": "bad\x1b[2J", "message": "key sk-ant-" + "a" * 40 + " \x1b]0;x\x07 " + "x" * 10_000}

    def wire(request: httpx2.Request) -> httpx2.Response:
        headers = {"request-id": "req_\u202e1".encode()}
        return httpx2.Response(403, json={"type": "error", "error": error}, headers=headers)  # type: ignore[arg-type]

    health = await health_of(made(), colour, client_of(colour, wire=wire))
    assert {(one.verdict, one.request_id) for one in health.targets} == {("down", "req_·1")}
    said = json.dumps(health.to_json(), ensure_ascii=False)
    assert "sk-ant-" not in said
    assert not any(mark in said for mark in ("\x1b", "\u202e", "\\u001b"))
    assert all(len(one.reason) < 400 for one in health.targets)


@coloured
@pytest.mark.asyncio
async def test_a_defect_of_ours_is_unknown_and_never_raised(
    colour: str, made: Callable[..., Console], client_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = made()

    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(console._runtime, "plan", defect)
    health = await health_of(console, colour, client_of(colour))
    assert (health.verdict, health.reason) == ("unknown", "a defect in the console: ZeroDivisionError")
    assert console._runtime.errors == 1
    health = await health_of(made(), colour, object())
    assert health.verdict in ("down", "unknown")


def test_many_who_ask_at_once_ask_the_api_once(
    api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    console = made()
    client = client_of("blocking", console)
    api.set_faults([Fault(latency_s=0.3)])
    found: list[Health] = []
    threads = [threading.Thread(target=lambda: found.append(console.health(client))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [health.verdict for health in found] == ["healthy"] * 12
    assert len(counted(api)) == 2


def test_a_target_that_hangs_holds_one_thread_however_often_it_is_asked() -> None:
    release = threading.Event()
    running: dict[str, threading.Thread] = {}

    def hangs(target: Target) -> Any:
        release.wait(30)
        return sdk_health.Asked()

    target = Target("slow", "m")
    before = threading.active_count()
    for _ in range(4):
        assert sdk_health.ask_all([target], hangs, 0.05, running)["slow"].kind == "timeout"
    assert threading.active_count() == before + 1
    release.set()
    until(lambda: not running["slow"].is_alive())
    assert sdk_health.ask_all([target], hangs, 5, running)["slow"].kind is None


@pytest.mark.asyncio
async def test_health_async_asks_no_target_again_that_still_hangs(
    api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    console = made()
    client = client_of("blocking", console)
    api.set_faults([Fault(model=SONNET, trickle_bytes_per_s=10)])
    for asked in (1, 2, 3):
        console._checkup._known = None
        health = await console.health_async(client, timeout_s=1)
        assert verdicts(health) == {"sonnet": "down", "haiku": "healthy"}, asked
        assert counted(api) == [*[HAIKU] * asked, SONNET]
    assert {one.kind for one in health.targets} == {None, "timeout"}


def test_after_a_fork_the_child_asks_for_itself(api: SimulatedAPI, tmp_path: Path) -> None:
    (tmp_path / "console.yaml").write_text(CHAIN)
    code = """
import os, sys
from anthropic import Anthropic
from console import Console
console = Console(config="console.yaml")
client = Anthropic(base_url=sys.argv[1], api_key="k")
console._checkup._is_asking.acquire()
child = os.fork()
if child == 0:
    os._exit(0 if console.health(client).is_healthy else 1)
sys.exit(1 if os.waitpid(child, 0)[1] else 0)
"""
    subprocess.run([sys.executable, "-c", code, api.url], check=True, timeout=60, cwd=tmp_path)


@pytest.mark.asyncio
async def test_health_async_does_not_hold_the_event_loop(
    api: SimulatedAPI, made: Callable[..., Console], client_of: Callable[..., Any]
) -> None:
    import asyncio

    console = made()
    api.set_faults([Fault(latency_s=0.4)])
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.01)

    beating = asyncio.create_task(beat())
    assert (await console.health_async(client_of("awaiting", console))).is_healthy
    assert (await made().health_async(client_of("blocking"))).is_healthy
    beating.cancel()
    assert beats > 10
    assert isinstance(client_of("awaiting"), anthropic.AsyncAnthropic)
