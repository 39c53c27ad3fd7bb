"""What failing over costs, and what it rescues: `python -m benchmarks.failover [--only costs|faults]`.

The faults are in `benchmarks.wire_faults` and take a minute and a half. The costs, by the method of `benchmarks.call`: the first
target answers 529 at once, the second is healthy, over an in-memory transport. The reference is a middleware of twenty lines that
does the same two requests and nothing else; what the console takes beyond it is its own cost. With the breaker open the reference
is one bare call.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import anthropic
import httpx2
from anthropic._request import APIRequest

from benchmarks import wire_faults
from benchmarks.call import MESSAGE, Chunks, measure, plain, stream_chunks, streamed
from console import Console
from console.ops.installation import install
from console.store.configuration import load_settings

HAIKU = "claude-haiku-5-5"
OVERLOADED = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}).encode()

CONFIGURATION = """
data: .
targets:
  sonnet: {{provider: anthropic, model: claude-sonnet-5-5}}
  haiku: {{provider: anthropic, model: claude-haiku-5-5}}
features:
  default: {{chain: [sonnet, haiku]}}
breaker: {{{breaker}}}
"""
NEVER_OPENS = "consecutive: 1000, minimum_calls: 100000"
STAYS_OPEN = "consecutive: 1, dwell: 1h, max_dwell: 1h"


def transport(chunks: list[bytes], sick: str | None) -> httpx2.MockTransport:
    body = json.dumps(MESSAGE).encode()

    def answer(request: httpx2.Request) -> httpx2.Response:
        if sick is not None and sick.encode() in request.content[:2000]:
            return httpx2.Response(529, headers={"content-type": "application/json"}, stream=Chunks([OVERLOADED]))
        if b'"stream":true' in request.content:
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Chunks(chunks))
        return httpx2.Response(200, headers={"content-type": "application/json"}, stream=Chunks([body]))

    return httpx2.MockTransport(answer)


class TwentyLines(anthropic.Middleware):
    """The same two requests and nothing else."""

    def handle(self, request: Any, call_next: Any) -> Any:
        response = call_next(request)
        if response.http_response.status_code != 529:
            return response
        response.http_response.read()
        options = request.options.model_copy()
        options.json_data = {**options.json_data, "model": HAIKU}
        return call_next(
            APIRequest(options=options, cast_to=request.cast_to, stream=request.stream, stream_cls=request.stream_cls)
        )


def client(middleware: list[Any], chunks: list[bytes], sick: str | None) -> anthropic.Anthropic:
    http = httpx2.Client(transport=transport(chunks, sick))
    return anthropic.Anthropic(api_key="k", http_client=http, middleware=middleware, max_retries=0)


def console_in(directory: Path, breaker: str) -> Console:
    directory.mkdir()
    config = directory / "console.yaml"
    config.write_text(CONFIGURATION.format(breaker=breaker))
    install(load_settings(config, None).locations)
    return Console(config=config, service="benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1500)
    parser.add_argument("--only", choices=("costs", "faults"))
    arguments = parser.parse_args()
    if arguments.only != "faults":
        costs(arguments.rounds)
    if arguments.only != "costs":
        wire_faults.main([])


def costs(rounds: int) -> None:
    """Prints what failing over takes of the caller's time."""
    chunks = stream_chunks()
    sonnet, messages = "claude-sonnet-5-5", [{"role": "user", "content": "x" * 1000}]
    with (
        tempfile.TemporaryDirectory() as place,
        console_in(Path(place, "a"), NEVER_OPENS) as over,
        console_in(Path(place, "b"), STAYS_OPEN) as is_open,
    ):
        tags = over.tags(feature="support-reply", customer="acme")
        opened = client([is_open.middleware], chunks, sonnet)
        plain(opened, messages, tags)  # opens the breaker
        time.sleep(0.3)
        for name, work in (("plain", plain), ("stream of 36 events", streamed)):
            print(f"{name}, the first target answers 529; against the middleware of twenty lines:", flush=True)
            variants = {
                "bare": (client([TwentyLines()], chunks, sonnet), None),
                "again": (client([TwentyLines()], chunks, sonnet), None),
                "console": (client([over.middleware], chunks, sonnet), tags),
                "one call": (client([], chunks, None), None),
            }
            measure(work, variants, messages, rounds)
            print(f"{name}, healthy or the first target's breaker is open; against one bare call:", flush=True)
            variants = {
                "bare": (client([], chunks, None), None),
                "again": (client([], chunks, None), None),
                "healthy": (client([over.middleware], chunks, None), tags),
                "open": (opened, tags),
            }
            measure(work, variants, messages, rounds)


if __name__ == "__main__":
    main()
