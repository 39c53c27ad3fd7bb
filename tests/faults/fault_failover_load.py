"""An application under load over a chain whose primary is down; the tests stop it and wake it, see `test_fault_failover.py`.

    python fault_failover_load.py URL DATA THREADS CALLS_PER_SECOND

Prints one line when it is under way, works until stdin closes, and then prints how its calls have ended.
"""

from __future__ import annotations

import collections
import json
import random
import sys
import threading
from pathlib import Path

from anthropic import Anthropic
from store_tools import places_in

from console.core.breaker import BreakerPolicy
from console.core.targets import FeaturePolicy, LimitsPolicy, Routing, Target
from console.runtime.process import Runtime
from console.sdk.middleware import ConsoleMiddleware

TARGETS = {
    "sonnet": Target("sonnet", "claude-sonnet-5-5"),
    "haiku": Target("haiku", "claude-haiku-5-5"),
}


def main(url: str, data: str, threads: int, rate: float) -> None:
    chain = FeaturePolicy(("sonnet", "haiku"), LimitsPolicy(2.0, 2.0, 2.0))
    breaker = BreakerPolicy(window=5.0, dwell=0.5, max_dwell=2.0, ramp=0.5)
    runtime = Runtime(places_in(Path(data)), routing=Routing(TARGETS, chain, breaker=breaker))
    client = Anthropic(base_url=url, api_key="sim-key", middleware=[ConsoleMiddleware(runtime, {})])
    stopping, ended = threading.Event(), collections.Counter[str]()

    def work(number: int) -> None:
        rng = random.Random(number)
        while not stopping.wait(rng.expovariate(rate / threads)):
            try:
                message = client.messages.create(
                    model="claude-sonnet-5-5", max_tokens=20, messages=[{"role": "user", "content": "Hello."}]
                )
                ended[message.model] += 1
            except Exception as error:  # noqa: BLE001 -- counted
                ended[type(error).__name__] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    sys.stdout.write("under way\n")
    sys.stdout.flush()
    sys.stdin.read()
    stopping.set()
    for worker in workers:
        worker.join()
    runtime.close()
    sys.stdout.write(json.dumps(ended) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
