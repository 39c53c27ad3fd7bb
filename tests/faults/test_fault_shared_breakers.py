"""Processes of one host over one sick target: what one has found out the others probe before they send. Real processes, real
clients, the simulated API."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store_tools import python, until

from console.sim.faults import Fault
from console.sim.server import SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("fault_shared_breakers.py")
SONNET, HAIKU = "claude-sonnet-5-5", "claude-haiku-5-5"


class Process:
    """An application process that does as it is told."""

    def __init__(self, process: subprocess.Popen[str], key: str, api: SimulatedAPI) -> None:
        self.process, self._key, self._api = process, key, api

    def _ask(self, line: str) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def call(self, number: int) -> list[str]:
        answers: list[str] = self._ask(str(number))
        return answers

    def state(self) -> str:
        return str(self._ask("")[0])

    def asked_sonnet(self) -> int:
        return sum(entry["model"] == SONNET and entry["key"].endswith(self._key[-4:]) for entry in self._api.requests())


@contextmanager
def running(api: SimulatedAPI, data: Path, key: str) -> Iterator[Process]:
    with python(SCRIPT, api.url, data, key, stdin=subprocess.PIPE) as process:  # its end closes stdin, and waits
        yield Process(process, key, api)


@pytest.mark.parametrize("is_back", [False, True], ids=["still down", "well again"])
def test_what_one_process_has_found_out_the_other_probes_with_one_call(tmp_path: Path, is_back: bool) -> None:
    with SimulatedAPI(speed=float("inf")) as api, running(api, tmp_path, "key-aaaa") as one, running(
        api, tmp_path, "key-bbbb"
    ) as other:  # fmt: skip
        assert one.call(1) == other.call(1) == [SONNET]
        api.set_faults([Fault(model=SONNET, status=529)])
        for _ in range(3):
            assert one.call(1) == [HAIKU]
        assert one.state() == "open"
        until(lambda: other.state() == "half_open")
        api.clear_requests()
        if is_back:
            api.clear_faults()
            assert other.call(1) == [SONNET]
            assert other.asked_sonnet() == 1
        else:
            api.set_faults([Fault(model=SONNET, status=529, latency_s=0.3)])
            assert other.call(10) == [HAIKU] * 10
            assert other.call(10) == [HAIKU] * 10
            assert other.asked_sonnet() == 1
            assert other.state() == "open"
        assert one.asked_sonnet() == 0


def test_a_process_that_starts_during_an_outage_knows_before_its_first_call(tmp_path: Path) -> None:
    with SimulatedAPI(speed=float("inf")) as api:
        with running(api, tmp_path, "key-aaaa") as one:
            api.set_faults([Fault(model=SONNET, status=529)])
            for _ in range(3):
                one.call(1)
            until(lambda: len(list((tmp_path / "data" / "breakers").glob("*.json"))) == 1)
        with running(api, tmp_path, "key-bbbb") as late:
            api.set_faults([Fault(model=SONNET, status=529, latency_s=0.3)])
            assert late.call(10) == [HAIKU] * 10
            assert late.asked_sonnet() == 1
