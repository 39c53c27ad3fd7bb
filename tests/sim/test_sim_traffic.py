"""The sample application's traffic: its prompts and its conversations, as they reach the API."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from sim_prompts import SamplePrompts, system_of

from console.sim.application import Application, Conversation, Job, next_job
from console.sim.content import BY_NAME, DIALOGS
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.sim.server import SimulatedAPI


class Watching(anthropic.Middleware):
    """Keeps the body and the session of every request."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, dict[str, Any]]] = []

    def handle(self, request: Any, call_next: Any) -> Any:
        self._keep(request)
        return call_next(request)

    async def handle_async(self, request: Any, call_next: Any) -> Any:
        self._keep(request)
        return await call_next(request)

    def _keep(self, request: Any) -> None:
        self.seen.append((request.headers.get("x-console-session"), request.options.json_data))


class Instruments:
    """The console's place, taken by what only looks on."""

    def __init__(self) -> None:
        self.middleware = Watching()
        self.prompts = SamplePrompts()

    def tags(self, *, feature: str, customer: str, session: str | None = None) -> Mapping[str, str]:
        return {"x-console-feature": feature} | ({"x-console-session": session} if session else {})


def draw(count: int, *, seed: int = 1) -> list[Job]:
    """Jobs as if every call were answered at once."""
    rng, waiting, jobs = random.Random(seed), deque[Conversation](), []
    for _ in range(count):
        job = next_job(rng, waiting)
        jobs.append(job)
        if job.conversation is not None and len(job.conversation.to_say) > 1:
            waiting.append(job.conversation.answered("An answer."))
    return jobs


def test_a_part_of_the_support_calls_belongs_to_conversations_of_two_to_four_turns() -> None:
    jobs = draw(6000)
    support = [job for job in jobs if job.feature is BY_NAME["support-reply"]]
    turns = [job for job in support if job.conversation is not None]
    assert all(job.conversation is None for job in jobs if job.feature is not BY_NAME["support-reply"])
    assert 0.12 < len(turns) / len(support) < 0.18
    lengths = Counter(job.conversation.id for job in turns if job.conversation)
    assert set(list(lengths.values())[:-1]) == {2, 3, 4}


def test_each_turn_holds_the_turns_before_it_and_stays_with_its_customer() -> None:
    by_id: dict[str, list[Job]] = {}
    for job in draw(2000):
        if job.conversation is not None:
            by_id.setdefault(job.conversation.id, []).append(job)
    for jobs in by_id.values():
        assert len({job.customer for job in jobs}) == 1
        assert [len(job.messages) for job in jobs] == [1, 3, 5, 7][: len(jobs)]
        for job in jobs:
            assert [turn["role"] for turn in job.messages] == (["user", "assistant"] * 4)[: len(job.messages)]
        said = [turn["content"] for turn in jobs[-1].messages[::2]]
        assert tuple(said) in {turns[: len(said)] for turns in DIALOGS}


def test_a_call_by_itself_holds_its_text_only() -> None:
    alone = next(job for job in draw(50) if job.conversation is None)
    assert alone.messages == [{"role": "user", "content": alone.text}]


@pytest.mark.asyncio
async def test_prompts_and_conversations_reach_the_api(api: SimulatedAPI) -> None:
    instruments = Instruments()
    application = Application(api.url, instruments, rate=90, seed=7)
    await application.run(asyncio.Event(), duration=2.5)
    assert application.tally.report()["failures"] == []
    systems = {
        body["system"] if isinstance(body["system"], str) else body["system"][0]["text"]
        for _, body in instruments.middleware.seen
    }
    assert systems == {system_of(name) for name in BY_NAME}
    assert {name for name, _, _ in instruments.prompts.asked} == set(BY_NAME)
    assert all(key for _, key, _ in instruments.prompts.asked)
    sessions = {conversation for _, _, conversation in instruments.prompts.asked if conversation}
    assert sessions == {session for session, _ in instruments.middleware.seen if session}
    later = [body["messages"] for _, body in instruments.middleware.seen if len(body["messages"]) > 1]
    assert later
    assert all(turn["content"].strip() for messages in later for turn in messages)
    assert all(session for session, body in instruments.middleware.seen if len(body["messages"]) > 1)


@pytest.mark.asyncio
async def test_a_conversation_ends_with_a_failed_call(api: SimulatedAPI) -> None:
    api.set_faults([Fault(status=400)])
    instruments = Instruments()
    await Application(api.url, instruments, rate=90, seed=8).run(asyncio.Event(), duration=1)
    assert {session for session, _ in instruments.middleware.seen} - {None}
    assert all(len(body["messages"]) == 1 for _, body in instruments.middleware.seen)
