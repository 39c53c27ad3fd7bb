"""The tests' side of `fault_herd.py`: a simulated API, a herd of workers in front of it, and what became of their calls."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from store_tools import ROOT, console, now_us, places_in, python, query, until

from console.sim.server import SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from console.store.locations import Locations


class Made(NamedTuple):
    """One call as a worker saw it."""

    started_us: int
    feature: str
    customer: str
    outcome: str
    added_us: float


@dataclass
class Herd:
    """Workers under load."""

    api: SimulatedAPI
    places: Locations
    directory: Path
    pids: list[int]

    def made(self, since_us: int = 0) -> list[Made]:
        """The calls that the workers have made and that started at `since_us` or later."""
        found = []
        for path in self.directory.glob("calls-*.jsonl"):
            lines = path.read_text().split("\n")[:-1]
            found += [made for line in lines if (made := Made(*json.loads(line))).started_us >= since_us]
        return found

    def reached(self, since_us: int, *words: str) -> list[dict[str, Any]]:
        """The requests at the API whose call started at `since_us` or later and whose system text has all `words`."""
        return [
            one for one in self.api.requests() if one["started_us"] >= since_us and set(words) <= set(one["system"].split())
        ]

    def act(self, *arguments: str) -> tuple[dict[str, Any], int]:
        """Runs the real command; what it said, and when it had returned."""
        done = console(self.places, *arguments, "--reason", "test", "--json")
        returned = now_us()
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout), returned

    def processes(self) -> list[tuple[int, int, str, str | None]]:
        """pid, control version, source and note of the workers."""
        sql = "SELECT pid, control_version, control_source, note FROM process WHERE ended_at IS NULL"
        return [row for row in query(self.places.telemetry, sql) if row[0] in self.pids]

    def until_made(self, number: int, since_us: int, **given: Any) -> None:
        until(lambda: len(self.made(since_us)) >= number, within_s=given.get("within_s", 15))


@contextmanager
def herd_of(workers: int, rate: float, directory: Path) -> Iterator[Herd]:
    places = places_in(directory)
    with SimulatedAPI(speed=float("inf")) as api:
        script = ROOT / "tests" / "faults" / "fault_herd.py"
        process = python(script, api.url, places.data, directory, workers, rate, stdin=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            herd = Herd(api, places, directory, json.loads(process.stdout.readline()))
            until(lambda: len(list(directory.glob("calls-*.jsonl"))) == workers, within_s=20)
            until(lambda: places.telemetry.exists() and _are_seen(herd), within_s=20)
            yield herd
        finally:
            process.stdin.close()
            process.wait(20)
            process.stdout.close()


def _are_seen(herd: Herd) -> bool:
    try:
        return len(herd.processes()) == len(herd.pids)
    except Exception:  # noqa: BLE001 -- the file is being made
        return False
