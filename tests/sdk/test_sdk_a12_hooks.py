"""An exception inside the middleware itself: the call goes on without it, is counted, and a kill of everything still kills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sdk_shapes import COLOURS, MESSAGE_SHAPES, PLAIN, SHAPES, Shape, seen_by

from console.core.switches import ALL, Scope
from console.sdk.answers import CallBlocked
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installation

    from console.sim.server import SimulatedAPI

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]

FACTS = (
    "console.sdk.middleware.without_tags",
    "console.sdk.middleware.endpoint_of",
    "console.sdk.middleware.facts_of",
)
DECISION = ("console.sdk.call.stopping", "console.runtime.process.Runtime.current")
RECORDING = (
    "console.runtime.recorder.Recorder.put",
    "console.sdk.call.Observation",
    "console.sdk.call.Call.answered",
    "console.sdk.middleware.observe",
    "console.sdk.middleware.is_unread",
    "console.core.observation.Observation.begin",
    "console.sdk.middleware._is_parseable",
    "console.core.observation.Observation.finish",
    "console.sdk.call.AttemptEnd",
    "console.sdk.call._usage",
)
ELSEWHERE = RECORDING[-4:]
"""Whose failure is not counted as the middleware's: the SDK meets the same, or they run in the recorder's thread."""


class HookError(Exception):
    """What a broken hook raises."""


def _break(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise HookError(hook)

    monkeypatch.setattr(hook, broken)


def _touches(hook: str, shape: Shape) -> bool:
    """Whether a healthy call of this shape comes past the hook."""
    is_read_by_the_caller = shape.is_streamed or shape.name.startswith("unread")
    if "bservation" in hook or hook.endswith((".observe", ".is_unread")):
        return is_read_by_the_caller
    return True


@pytest.mark.parametrize("hook", FACTS + DECISION + RECORDING)
@pytest.mark.parametrize("shape", [s for s in MESSAGE_SHAPES if s.name in ("create", "raw-stream", "unread")], ids=str)
async def test_a12_b14_a_broken_hook_changes_nothing_for_the_caller(
    shape: Shape,
    hook: str,
    colour: str,
    api: SimulatedAPI,
    installation: Installation,
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation.act("kill", Scope("feature", "another"))  # with no switch at all nothing is evaluated
    bare, watched = client_of(colour), client_of(colour, installation.console)
    _break(hook, monkeypatch)
    assert await seen_by(shape, watched) == await seen_by(shape, bare)
    if hook not in ELSEWHERE and _touches(hook, shape):
        assert installation.errors > 0
    for fault in (Fault(status=529), Fault(cut_at=3)):
        api.set_faults([fault])
        assert await seen_by(shape, watched) == await seen_by(shape, bare)


@pytest.mark.parametrize("hook", FACTS + RECORDING)
@pytest.mark.parametrize("feature", ["support-reply", "resting"])
async def test_a12_b14_a_kill_of_everything_still_kills(
    feature: str,
    hook: str,
    colour: str,
    api: SimulatedAPI,
    installation: Installation,
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation.act("kill", ALL)
    client = client_of(colour, installation.console)
    _break(hook, monkeypatch)
    for shape in MESSAGE_SHAPES:
        seen = await seen_by(shape, client, extra_headers={"x-console-feature": feature})
        if seen.error is not None:
            assert seen.error[0] is CallBlocked
    assert api.requests() == []


async def test_a12_a_defined_text_that_cannot_be_made_is_a_blocked_call(
    colour: str,
    api: SimulatedAPI,
    installation: Installation,
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation.act("kill", ALL)
    client = client_of(colour, installation.console)
    _break("console.sdk.middleware.defined_answer", monkeypatch)
    seen = await seen_by(PLAIN, client, extra_headers={"x-console-feature": "resting"})
    assert seen.error[0] is CallBlocked
    assert (installation.errors, api.requests()) == (1, [])
    assert installation.only_call()["outcome"] == "blocked"


async def test_a12_every_other_endpoint_goes_on_when_a_hook_breaks(
    colour: str, installation: Installation, client_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(colour, installation.console)
    for hook in FACTS:
        _break(hook, monkeypatch)
    for shape in SHAPES:
        assert (await seen_by(shape, client)).error is None


async def test_a12_errors_are_counted_and_said_in_the_heartbeat(
    colour: str, installation: Installation, client_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(colour, installation.console)
    with monkeypatch.context() as breaking:
        _break("console.sdk.middleware.facts_of", breaking)
        for _ in range(3):
            await seen_by(PLAIN, client)
    assert installation.errors == 3
    (process,) = installation.rows("process")
    assert "3 errors inside the instrumentation" in process["note"]
