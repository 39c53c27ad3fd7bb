"""A sample application: one worker process of an ordinary web backend that calls Claude for four features.

`python -m console.sim.application --url URL`. It knows the console in four places only: `Console(…)`, its middleware,
its tags and its prompts. Calls come as a Poisson process, half of them from a few threads with the sync client and half
from tasks with the async one, plain and streamed in both of the SDK's ways. Some calls of support-reply are turns of a
conversation, which carries the turns before it. A failed call is counted and forgotten, and so is its conversation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import queue
import random
import signal
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anthropic

from console.errors import CallBlocked
from console.sim.content import CUSTOMER_WEIGHTS, CUSTOMERS, DIALOGS, FEATURES, Feature
from console.sim.lifetime import when_stdin_closes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_IN_FLIGHT = 64
_THREADS = 12
_SYNC_SHARE = 0.5
_ASIDE_SHARE = 0.5
_FAILURES_KEPT = 50
_FEWEST_TURNS = 2
_END_WITHIN_S = 0.5

Shape = Literal["plain", "stream", "events"]
"""`messages.create`, `messages.stream`, and `messages.create(stream=True)`."""

Outcome = Literal["ok", "blocked", "failed"]


class Prompts(Protocol):
    """What the application uses of `console.Console().prompts`."""

    def render(self, name: str, /, *, key: str | None = None, conversation: str | None = None, **variables: str) -> str:
        """The text of the prompt's version that `key`, or the conversation, gets now."""


class Instruments(Protocol):
    """What the application uses of `console.Console`."""

    @property
    def middleware(self) -> Any:
        """Goes into the client's `middleware=[…]`."""

    @property
    def prompts(self) -> Prompts:
        """Where the system prompts come from."""

    def tags(self, *, feature: str, customer: str, session: str | None = None) -> Mapping[str, str]:
        """Headers that say whose call it is."""


class EndedEarlyError(Exception):
    """A stream ended without saying why: its text may be cut, so the application does not show it."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A customer's conversation: what was said so far, user and assistant by turns, and what the user has yet to say."""

    id: str
    customer: str
    said: tuple[str, ...]
    to_say: tuple[str, ...]

    def answered(self, answer: str) -> Conversation:
        """The conversation after its next turn and the answer to it."""
        return Conversation(self.id, self.customer, (*self.said, self.to_say[0], answer), self.to_say[1:])


@dataclass(frozen=True, slots=True)
class Job:
    """One call to make."""

    feature: Feature
    customer: str
    text: str
    shape: Shape
    is_sync: bool
    conversation: Conversation | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation so far, if there is one, and the text."""
        said = self.conversation.said if self.conversation else ()
        roles = ("user", "assistant")
        return [{"role": roles[at % 2], "content": text} for at, text in enumerate((*said, self.text))]


@dataclass(slots=True)
class Tally:
    """What became of the calls. Shared by the threads; every method takes the lock for a few operations."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {one.name: Counter() for one in FEATURES})
    latencies_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    skipped: int = 0
    in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self) -> bool:
        """Take one of the 64 places, or count the arrival as skipped."""
        with self.lock:
            if self.in_flight >= MOST_IN_FLIGHT:
                self.skipped += 1
                return False
            self.in_flight += 1
            return True

    def settle(self, job: Job, took_s: float, error: Exception | None) -> None:
        """Give the place back and count the outcome."""
        with self.lock:
            self.in_flight -= 1
            self.outcomes[job.feature.name][outcome_of(error)] += 1
            if error is None:
                self.latencies_s.append(took_s)
            elif len(self.failures) < _FAILURES_KEPT:
                self.failures.append(f"{job.feature.name} {job.shape}: {error!r}")

    def report(self) -> dict[str, Any]:
        """The counts, the latencies of the good calls in seconds, and the first 50 failures."""
        with self.lock:
            ordered = sorted(self.latencies_s)
            return {
                "features": {
                    name: {outcome: counts[outcome] for outcome in ("ok", "blocked", "failed")}
                    for name, counts in self.outcomes.items()
                },
                "skipped": self.skipped,
                "unfinished": self.in_flight,
                "latency_s": {"p50": quantile(ordered, 0.5), "p99": quantile(ordered, 0.99)},
                "failures": list(self.failures),
            }


def outcome_of(error: Exception | None) -> Outcome:
    """`blocked` is what the console stopped on purpose; every other error is a failure."""
    if error is None:
        return "ok"
    return "blocked" if isinstance(error, CallBlocked) else "failed"


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value at that share of a sorted list, by nearest rank; None of an empty one."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def next_job(rng: random.Random, waiting: deque[Conversation]) -> Job:
    """Draw a call: its feature, customer, text and shape. A turn of a conversation goes on with the one that waits longest,
    which is taken out of `waiting`, or begins one."""
    feature = rng.choices(FEATURES, [one.weight for one in FEATURES])[0]
    shape: Shape = "plain"
    if rng.random() < feature.stream_share:
        shape = "events" if rng.random() < _ASIDE_SHARE else "stream"
    customer = rng.choices(CUSTOMERS, CUSTOMER_WEIGHTS)[0]
    text, is_sync = rng.choice(feature.texts), rng.random() < _SYNC_SHARE
    if rng.random() >= feature.dialog_share:
        return Job(feature, customer, text, shape, is_sync)
    conversation = waiting.popleft() if waiting else _new_conversation(rng, customer)
    return Job(feature, conversation.customer, conversation.to_say[0], shape, is_sync, conversation)


def _new_conversation(rng: random.Random, customer: str) -> Conversation:
    turns = rng.choice(DIALOGS)
    return Conversation(f"chat-{rng.getrandbits(48):012x}", customer, (), turns[: rng.randint(_FEWEST_TURNS, len(turns))])


class Application:
    """The worker: arrivals, two clients, and the threads and tasks that use them."""

    def __init__(self, url: str, instruments: Instruments, *, rate: float, seed: int) -> None:
        self.tally = Tally()
        self._instruments = instruments
        self._rate = rate
        self._rng = random.Random(seed)  # noqa: S311 - traffic, not secrets
        middleware = [instruments.middleware]
        self._client = anthropic.Anthropic(base_url=url, api_key="sim-key", middleware=middleware)
        self._async_client = anthropic.AsyncAnthropic(base_url=url, api_key="sim-key", middleware=middleware)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[Conversation] = deque()

    async def run(self, stop: asyncio.Event, *, duration: float | None) -> None:
        """Make calls until `stop` is set or the time is up; what is then under way is cancelled, or left to die."""
        for number in range(_THREADS):
            threading.Thread(target=self._work, name=f"calls-{number}", daemon=True).start()
        ends = math.inf if duration is None else time.monotonic() + duration
        due = time.monotonic()
        while not stop.is_set() and due < ends:
            due += self._rng.expovariate(self._rate)
            await _sleep_or_stop(stop, min(due, ends) - time.monotonic())
            if not stop.is_set() and due < ends:
                self._arrive(next_job(self._rng, self._waiting))
        await self._end()

    def _arrive(self, job: Job) -> None:
        if not self.tally.admit():
            return
        if job.is_sync:
            self._jobs.put(job)
            return
        task = asyncio.get_running_loop().create_task(self._call_async(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_WITHIN_S)
        await self._async_client.close()
        for _ in range(_THREADS):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            started, error = time.monotonic(), None
            try:
                self._ask(job)
            except Exception as failure:  # noqa: BLE001 - a worker outlives every failure of a call; all are counted
                error = failure
            self.tally.settle(job, time.monotonic() - started, error)

    async def _call_async(self, job: Job) -> None:
        started, error = time.monotonic(), None
        try:
            await self._ask_async(job)
        except Exception as failure:  # noqa: BLE001 - as in the threads
            error = failure
        self.tally.settle(job, time.monotonic() - started, error)

    def _ask(self, job: Job) -> None:
        request = self._request(job)
        if job.shape == "plain":
            answer = _said(self._client.messages.create(**request))
        elif job.shape == "stream":
            with self._client.messages.stream(**request) as stream:
                answer = _said(stream.get_final_message())
        else:
            with self._client.messages.create(**request, stream=True) as events:
                answer = _said_in(list(events))
        self._go_on(job, answer)

    async def _ask_async(self, job: Job) -> None:
        request = self._request(job)
        if job.shape == "plain":
            answer = _said(await self._async_client.messages.create(**request))
        elif job.shape == "stream":
            async with self._async_client.messages.stream(**request) as stream:
                answer = _said(await stream.get_final_message())
        else:
            async with await self._async_client.messages.create(**request, stream=True) as events:
                answer = _said_in([event async for event in events])
        self._go_on(job, answer)

    def _go_on(self, job: Job, answer: str) -> None:
        """The customer reads the answer and has something to add, if the conversation is not over."""
        if job.conversation is not None and answer and len(job.conversation.to_say) > 1:
            self._waiting.append(job.conversation.answered(answer))

    def _request(self, job: Job) -> dict[str, Any]:
        """The keyword arguments of the call, stamped with the moment it starts."""
        feature, session = job.feature, job.conversation.id if job.conversation else None
        text = self._instruments.prompts.render(feature.name, key=job.customer, conversation=session, **feature.variables)
        cached = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
        tags = self._instruments.tags(feature=feature.name, customer=job.customer, session=session)
        return {
            "model": feature.model,
            "max_tokens": feature.max_tokens,
            "system": cached if feature.caches_prompt else text,
            "messages": job.messages,
            "extra_headers": {**tags, "x-call-started-us": str(time.time_ns() // 1000)},
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker. The result is the exit code: 0, however the calls went."""
    options = _parser().parse_args(arguments)
    application = Application(options.url, _instruments(options), rate=options.rate, seed=options.seed)
    asyncio.run(_until_told(application, options))
    if options.report is not None:
        options.report.write_text(json.dumps(application.tally.report(), indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m console.sim.application", description="A sample application.")
    parser.add_argument("--url", required=True, help="base URL of the API")
    parser.add_argument("--data", default=None, help="the console's data directory")
    parser.add_argument("--config", default=None, help="the console's configuration file")
    parser.add_argument("--service", default="shop", help="what this process calls itself")
    parser.add_argument("--rate", type=_positive, default=12.0, help="calls a second")
    parser.add_argument("--seed", type=int, default=0, help="makes the traffic repeatable")
    parser.add_argument("--duration", type=_positive, default=None, help="end after so many seconds")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the parent that holds stdin")
    parser.add_argument("--report", type=Path, default=None, help="at the end, write the counts to this file as JSON")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _instruments(options: argparse.Namespace) -> Instruments:
    """The console with what the command line names; what it does not name is the console's to find."""
    from console import Console  # noqa: PLC0415 - tests drive the application without the real console

    given = {"data": options.data, "config": options.config, "service": options.service}
    made: Instruments = Console(**{name: value for name, value in given.items() if value is not None})
    return made


async def _until_told(application: Application, options: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_stdin_closes:
        when_stdin_closes(lambda: loop.call_soon_threadsafe(stop.set))
    await application.run(stop, duration=options.duration)


async def _sleep_or_stop(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await stop.wait()
    except TimeoutError:
        return


def _said(message: Any) -> str:
    """The text of a message. Raises EndedEarlyError for an answer that was cut without an error."""
    if message.stop_reason is None:
        raise EndedEarlyError("the stream ended without a stop reason")
    return "".join(block.text for block in message.content if block.type == "text")


def _said_in(events: Sequence[Any]) -> str:
    """The text of a stream's events. Raises EndedEarlyError as above."""
    if not any(event.type == "message_delta" and event.delta.stop_reason for event in events):
        raise EndedEarlyError("the stream ended without a stop reason")
    deltas = (event.delta for event in events if event.type == "content_block_delta")
    return "".join(delta.text for delta in deltas if delta.type == "text_delta")


if __name__ == "__main__":
    sys.exit(main())
