"""One application process of a host, over a chain; the tests tell it what to do, see `test_fault_shared_breakers.py`.

    python fault_shared_breakers.py URL DATA KEY

A line on stdin is a number of calls to make at the same time, or nothing to ask for the breaker's state; each is answered with
a line of JSON: the models that have answered, or the state. Ends when stdin closes.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from anthropic import Anthropic
from store_tools import places_in

from console.core.targets import FeaturePolicy, LimitsPolicy, Routing, Target
from console.runtime.process import Runtime
from console.sdk.middleware import ConsoleMiddleware

TARGETS = {"sonnet": Target("sonnet", "claude-sonnet-5-5"), "haiku": Target("haiku", "claude-haiku-5-5")}


def main(url: str, data: str, key: str) -> None:
    routing = Routing(TARGETS, FeaturePolicy(("sonnet", "haiku"), LimitsPolicy(5.0, 5.0, 5.0)))
    runtime = Runtime(places_in(Path(data)), routing=routing)
    client = Anthropic(base_url=url, api_key=key, middleware=[ConsoleMiddleware(runtime, {})], max_retries=0)

    def call(_: int) -> str:
        asked = [{"role": "user", "content": "Hello."}]
        return client.messages.create(model="claude-sonnet-5-5", max_tokens=20, messages=asked).model  # type: ignore[arg-type]

    with ThreadPoolExecutor(16) as pool:
        for line in sys.stdin:
            said = list(pool.map(call, range(int(line)))) if line.strip() else runtime.gate.states({}, ("sonnet",))["sonnet"]
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()
    runtime.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
