"""The demo's processes: the simulated API and two workers of the sample application, all of which end with this one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from console.sim.faults import Fault
from console.sim.server import SimulatedAPI
from console.store.shipped import shipped

if TYPE_CHECKING:
    from types import TracebackType

WORKERS: Final = 2
RATE: Final = 16.0
"""Calls a second and worker: a few dozen together."""
END_S: Final = 2.0

CONFIGURATION: Final = """# The demo's configuration; `console init` makes one for your application.
environment: demo
data: .
status_page: off  # the demo itself asks its simulated API's page, which, as such pages do, says that all is well
prompts: prompts
targets:
  sonnet: {provider: anthropic, model: claude-sonnet-5-5}
  haiku: {provider: anthropic, model: claude-haiku-5-5, params: {thinking: null}}
features:
  default:
    chain: [sonnet, haiku]
    limits: {answer: 60s, first_token: 10s, silence: 10s}
  support-reply:
    degraded: "The assistant is resting. A person will answer within the hour."
  classify: {chain: [haiku, sonnet]}
"""

FAULTS: Final = (
    # 20 s of every 150, after a quiet first minute: calls move to haiku and back, and the failover pane has something to show.
    Fault(name="overloaded for 20 s", model="claude-sonnet-5-5", status=529, after_s=60, for_s=20, every_s=150),
    Fault(name="overloaded now and then", model="claude-sonnet-5-5", status=529, probability=0.004),
    Fault(name="rate limited now and then", model="claude-haiku-5-5", status=429, retry_after="1", probability=0.004),
)
"""So that the panes have something to show; retries and the chain hide it from the application."""


class Demo:
    """Starts everything for the length of a `with` block. `data`: kept there, or in a directory that is removed at the end.

    Raises SimulatedAPIError or OSError when something cannot be started; what was started is ended then.
    """

    def __init__(self, data: Path | None = None) -> None:
        self._given = data
        self._stack = contextlib.ExitStack()
        self.data = Path()
        self.url = ""
        self.pids: list[int] = []

    @property
    def config(self) -> Path:
        """The configuration that the workers run with."""
        return self.data / "console.yaml"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.data = self._given or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="console-demo-")))
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.config.exists():
                self.config.write_text(CONFIGURATION, encoding="utf-8")
                self.config.chmod(0o600)
            copy_prompts(self.data / "prompts")
            api = stack.enter_context(SimulatedAPI(seed=1))
            api.set_faults(FAULTS)
            self.url = api.url
            self.pids = [api.pid]
            workers = [self._start(seed) for seed in range(WORKERS)]
            stack.callback(_end, workers)
            self.pids += [worker.pid for worker in workers]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _start(self, seed: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "console.sim.application", "--until-stdin-closes", "--service", "shop"]
        command += ["--url", self.url, "--config", str(self.config), "--rate", str(RATE), "--seed", str(seed)]
        # Its words would stand in the middle of the console's picture; they are kept beside the data instead.
        log = (self.data / f"worker-{seed}.log").open("ab")
        try:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)  # noqa: S603 -- our own module
        finally:
            log.close()


def copy_prompts(directory: Path) -> None:
    """Put the sample prompts where they can be edited; a directory that is there already is left as it is.

    Files and modes are made anew: an installation may be readable, or writable, for others. Raises OSError.
    """
    if directory.exists():
        return
    directory.mkdir(mode=0o700)
    source = shipped("prompts")
    for file in sorted(source.glob("*/v*.md")):
        copy = directory / file.relative_to(source)
        copy.parent.mkdir(mode=0o700, exist_ok=True)
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    """Asks all at once, waits for each a moment, then insists."""
    for worker in workers:
        if worker.stdin is not None:
            with contextlib.suppress(OSError):
                worker.stdin.close()
    for worker in workers:
        try:
            worker.wait(END_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
