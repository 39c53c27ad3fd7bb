"""What the middleware adds to a healthy call: `python -m benchmarks.call`.

Method (SPEED.md): variants change from call to call in one process, in shuffled order, over an in-memory transport; the figure is
the difference of the medians of the caller's own CPU time and of wall time against the bare client. `bare again` is the same
thing twice and shows the noise. The recorder's thread is not in the CPU figure; its own cost is printed apart.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2

from console import Console
from console.ops.installation import install
from console.store.configuration import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "A short answer of a healthy model."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 300, "output_tokens": 80, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    },
}  # fmt: skip


def sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def stream_chunks(events: int = 36) -> list[bytes]:
    """One chunk an event, as they arrive over a socket."""
    deltas = events - 5
    start = {**MESSAGE, "content": [], "stop_reason": None}
    return [
        sse({"type": "message_start", "message": start}),
        sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *(sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f" word {n}"}})
          for n in range(deltas)),
        sse({"type": "content_block_stop", "index": 0}),
        sse({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
             "usage": {"output_tokens": 80}}),
        sse({"type": "message_stop"}),
    ]  # fmt: skip


class Chunks(httpx2.SyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Any:
        return iter(self._chunks)


def transport(chunks: list[bytes]) -> httpx2.MockTransport:
    body = json.dumps(MESSAGE).encode()
    plain_headers = {"content-type": "application/json", "request-id": "req_1"}
    stream_headers = {"content-type": "text/event-stream", "request-id": "req_1"}

    def answer(request: httpx2.Request) -> httpx2.Response:
        if b'"stream":true' in request.content[-40:] or b'"stream":true' in request.content[:400]:
            return httpx2.Response(200, headers=stream_headers, stream=Chunks(chunks))
        return httpx2.Response(200, headers=plain_headers, content=body)

    return httpx2.MockTransport(answer)


class Empty(anthropic.Middleware):
    """The floor: what the SDK charges for having a middleware at all."""

    def handle(self, request: Any, call_next: Any) -> Any:
        return call_next(request)


def client(middleware: list[Any], chunks: list[bytes]) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="k", http_client=httpx2.Client(transport=transport(chunks)), middleware=middleware, max_retries=0
    )


def plain(using: anthropic.Anthropic, messages: list[Any], headers: dict[str, str] | None) -> None:
    using.messages.create(model="claude-sonnet-5-5", max_tokens=100, messages=messages, extra_headers=headers)


def streamed(using: anthropic.Anthropic, messages: list[Any], headers: dict[str, str] | None) -> None:
    stream = using.messages.create(
        model="claude-sonnet-5-5", max_tokens=100, messages=messages, stream=True, extra_headers=headers
    )
    for _ in stream:
        pass


def measure(work: Callable[..., None], variants: dict[str, tuple[Any, Any]], messages: list[Any], rounds: int) -> None:
    names = list(variants)
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for name in names * 20:
        work(variants[name][0], messages, variants[name][1])
    gc.collect()
    gc.disable()
    for number in range(rounds):
        random.shuffle(names)
        for name in names:
            using, headers = variants[name]
            before, before_cpu = time.perf_counter_ns(), time.thread_time_ns()
            work(using, messages, headers)
            cpu[name].append((time.thread_time_ns() - before_cpu) / 1000)
            wall[name].append((time.perf_counter_ns() - before) / 1000)
        if number % 200 == 199:
            gc.collect()
    gc.enable()
    for name in variants:
        base = "bare"
        added = [statistics.median(values[name]) - statistics.median(values[base]) for values in (cpu, wall)]
        paired = statistics.median(a - b for a, b in zip(cpu[name], cpu[base], strict=True))
        print(f"  {name:12} cpu {statistics.median(cpu[name]):8.1f} us  added {added[0]:+7.1f}  (median of pairs {paired:+7.1f})"
              f"   wall added {added[1]:+7.1f}")  # fmt: skip


SECTIONS = {
    "plain call, 1 KB": (plain, 1, 1),
    "plain call, 1 MB in 400 messages": (plain, 400, 8),
    "stream of 36 events, 1 KB": (streamed, 1, 2),
}
"""What is called, with how many messages, and by how much fewer rounds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--section", choices=list(SECTIONS))
    arguments = parser.parse_args()
    if arguments.section is None:
        for section in SECTIONS:  # each in a process of its own: what one leaves in the heap and the caches is no other's cost
            command = [sys.executable, "-m", "benchmarks.call", "--rounds", str(arguments.rounds), "--section", section]
            subprocess.run(command, check=True)
        return
    work, count, fewer = SECTIONS[arguments.section]
    chunks = stream_chunks()
    with tempfile.TemporaryDirectory() as data, Console(data=data, service="benchmark") as console:
        install(load_settings(None, data).locations)  # what `console init` does
        time.sleep(0.2)
        tags = console.tags(feature="support-reply", customer="acme")
        variants = {
            "bare": (client([], chunks), None),
            "bare again": (client([], chunks), None),
            "empty": (client([Empty()], chunks), None),
            "console": (client([console.middleware], chunks), tags),
        }
        text = "x" * (1000 if count == 1 else 2600)
        messages = [{"role": "user" if n % 2 == 0 else "assistant", "content": text} for n in range(count + 1 - count % 2)]
        print(f"{arguments.section}:", flush=True)
        measure(work, variants, messages, max(200, arguments.rounds // fewer))


if __name__ == "__main__":
    main()
