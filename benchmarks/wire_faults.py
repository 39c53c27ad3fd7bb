"""Sixteen faults of the wire, each met by one streamed call: the second part of `python -m benchmarks.failover`.

The faults and what counts as right are those of failoverbench (methodology v0.1, scorecard of 2026-09-12), which asks gateways
the same in OpenAI's wire format. Each row has an installation of its own with the configuration printed above the table, the
SDK's client as it comes (two retries of its own), and a simulated API in a process of its own as the primary; one more, healthy,
is everybody's fallback. Requests are counted by the APIs, texts are compared with what the API says without a fault.

Verdicts:
* rescued with clean conduct: the whole answer, to the letter, as one well-formed stream, within 11 s; no request more than it
  takes; `usage` is what the APIs have billed, and the records say the same; the next call is served;
* rescued: the whole answer, with a blemish that the remark names;
* safe error: no answer, but a clear error in time. Right where the provider's own refusal is the answer (content rejected);
* failed: a hang (130 s, as there), an answer that looks whole and is not, or an error that hides the real one.

`--bare` runs the same without the console, as a control: the SDK alone, with a timeout of 30 s.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anthropic

from console import Console
from console.ops.installation import install
from console.sim.faults import Fault
from console.sim.server import SimulatedAPI
from console.sim.wire import pieces
from console.store.configuration import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

SONNET, HAIKU = "claude-sonnet-5-5", "claude-haiku-5-5"
LIMITS = "{answer: 60s, first_token: 8s, silence: 8s}"
CONFIGURATION = """
data: .
targets:
  primary: {{provider: anthropic, model: {primary}}}
  fallback: {{provider: anthropic, model: {fallback}, base_url: "{url}", api_key: "env:{key}"}}
features:
  default: {{chain: [primary, fallback], limits: {limits}}}
"""
SYSTEM = "You are the customer support assistant for Acme."
QUESTION = "Where is my parcel? Order 88213 was supposed to be here on Monday."
LONGEST_S = 11.0
HANG_S = 130.0
"""What failoverbench waits for the longest of its calls."""
AT_ONCE = 4
"""Rows that are under way together, besides the outage: two processors are enough for these."""
OUTAGE_S, EVERY_S, CALLS, BACK_WITHIN_S = 60.0, 4.0, 20, 30.0
SICK_AT_MOST = 6
COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

Verdict = Literal["rescued with clean conduct", "rescued", "safe error", "failed"]

OTHERS = ("LiteLLM proxy", "LiteLLM Router", "Bifrost 2.1.1", "Portkey", "DeepSeek Harness")
"""Whose published results stand beside ours: + rescued cleanly, ~ rescued, o safe error, x failed."""


@dataclass(frozen=True)
class Row:
    """One fault. `faults` of the primary are made from the number of events of its healthy answer."""

    name: str
    faults: Callable[[int], tuple[Fault, ...]]
    published: str
    most: tuple[int, int]
    """The requests that right conduct needs at the most, on the primary and on the fallback."""
    primary: str = SONNET
    fallback: str = SONNET
    is_error: bool = False
    """The provider's own refusal is the right answer."""
    gap_s: float = 0.0
    """The least time between the primary's first two requests."""
    prompt_repeats: int = 0
    """The question stands behind so many sentences."""

    @property
    def asked(self) -> dict[str, Any]:
        text = "The parcel is on its way and we do not know where. " * self.prompt_repeats + QUESTION
        return {"model": self.primary, "max_tokens": 600, "system": SYSTEM, "messages": [{"role": "user", "content": text}]}


def always(*faults: Fault) -> Callable[[int], tuple[Fault, ...]]:
    return lambda _: faults


ROWS = (
    Row("429 with Retry-After 2", always(Fault(status=429, retry_after="2", times=1)), "++~+~", (2, 1), gap_s=2.0),
    Row("429 for ever", always(Fault(status=429)), "+++++", (2, 1)),
    Row("500 once", always(Fault(status=500, times=1)), "++++~", (2, 0)),
    Row("503 for ever", always(Fault(status=503)), "+++++", (2, 1)),
    Row("reset before headers", always(Fault(reset=True, times=1)), "+++++", (2, 1)),
    Row("no response", always(Fault(no_response=True)), "~~x++", (1, 1)),
    Row("first token after 20 s", always(Fault(first_token_s=20)), "~~~~~", (1, 1)),
    Row("stream cut after two thirds", lambda n: (Fault(cut_at=2 * n // 3),), "ooox+", (1, 1)),
    Row("stream silent for 30 s", lambda n: (Fault(stall_at=n // 3, stall_s=30, cut_at=n // 3),), "ooox+", (1, 1)),
    Row("malformed event", always(Fault(malformed_at=9)), "oo++o", (1, 1)),
    Row("no closing event", lambda n: (Fault(clean_end_at=n - 2),), "+++++", (1, 0)),
    Row("prompt too long", always(), "+++++", (1, 1), primary=HAIKU, prompt_repeats=15_000),
    Row("content rejected", always(Fault(status=400)), "~~~~+", (1, 0), is_error=True),
    Row("fallback that refuses prefill", lambda n: (Fault(cut_at=2 * n // 3),), "ooox+", (1, 1), primary=HAIKU),
    Row("a primary down for 60 s", always(Fault(status=503, for_s=OUTAGE_S)), "+++++", (SICK_AT_MOST, 15)),
    Row("accounting", always(Fault(status=503)), "+++++", (2, 1), fallback=HAIKU),
)


@dataclass
class Answer:
    """What one call has come to."""

    kinds: list[str] = field(default_factory=list)
    text: str = ""
    message: Any = None
    error: Exception | None = None
    seconds: float = 0.0


def ask(client: anthropic.Anthropic, request: dict[str, Any]) -> Answer:
    """One streamed call, read to its end."""
    seen, began = Answer(), time.monotonic()
    try:
        with client.messages.stream(**request) as stream:
            for event in stream:
                seen.kinds.append(event.type)
                if event.type == "text":
                    seen.text += event.text
            seen.message = stream.get_final_message()
    except Exception as error:  # noqa: BLE001 -- how a call ends is what is measured
        seen.error = error
    seen.seconds = time.monotonic() - began
    return seen


@dataclass
class Result:
    """A line of the table."""

    row: Row
    requests: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    fatal: list[str] = field(default_factory=list)
    blemishes: list[str] = field(default_factory=list)
    remark: str = ""
    has_answer: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.fatal:
            return "failed"
        if not self.has_answer:
            return "safe error"
        return "rescued" if self.blemishes else "rescued with clean conduct"

    @property
    def is_right(self) -> bool:
        wanted = "safe error" if self.row.is_error else "rescued with clean conduct"
        return self.verdict == wanted and not self.blemishes


class Bench:
    """One row's installation and the two APIs."""

    def __init__(self, row: Row, healthy: SimulatedAPI, stack: ExitStack, *, is_bare: bool) -> None:
        self.row, self.healthy = row, healthy
        number = ROWS.index(row)
        self._key = f"fallback-key-{number:04}"
        os.environ[f"FALLBACK_KEY_{number}"] = self._key
        self.place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.sick = stack.enter_context(SimulatedAPI())
        config = self.place / "console.yaml"
        config.write_text(
            CONFIGURATION.format(
                primary=row.primary, fallback=row.fallback, url=healthy.url, key=f"FALLBACK_KEY_{number}", limits=LIMITS
            )
        )
        self.console: Console | None = None
        settings: dict[str, Any] = {"timeout": 30.0}
        if not is_bare:
            install(load_settings(config, None).locations)
            self.console = stack.enter_context(Console(config=config, service="benchmark"))
            settings = {"middleware": [self.console.middleware]}
        self.client = stack.enter_context(anthropic.Anthropic(base_url=self.sick.url, api_key="primary-key", **settings))
        self.reference: dict[str, str] = {}
        """What each model says without a fault: both APIs say the same."""
        with anthropic.Anthropic(base_url=healthy.url, api_key="nobody", max_retries=0) as bare:
            for model in {row.primary, row.fallback}:
                answer = ask(bare, {**row.asked, "model": model})
                if answer.error is None:
                    self.reference[model] = answer.text

    def entries(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The requests of this row so far, by where they went."""
        return self.sick.requests(), [entry for entry in self.healthy.requests() if entry["key"] == self._key[-4:]]

    def calls(self) -> list[dict[str, Any]]:
        """The calls as the console has recorded them, oldest first; the application is over."""
        if self.console is None:
            return []
        self.console.close()
        with closing(sqlite3.connect(f"file:{self.place / 'telemetry.db'}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM call ORDER BY at, id")]

    # -- judging -------------------------------------------------------------------------------------------------------

    def judge(self, answer: Answer, entries: tuple[list[dict[str, Any]], list[dict[str, Any]]], result: Result) -> None:
        """What one call says about the row: adds to `result`."""
        result.seconds = max(result.seconds, answer.seconds)
        if answer.seconds > HANG_S:
            result.fatal.append(f"hung for {answer.seconds:.0f} s")
        if answer.seconds > LONGEST_S:
            result.blemishes.append(f"{answer.seconds:.1f} s")
        if answer.error is None:
            result.has_answer = True
            self._judge_answer(answer, entries, result)
        else:
            self._judge_error(answer.error, entries[0], result)
        if any(entry["status"] == 400 for entry in entries[1]):
            result.blemishes.append("the fallback had to refuse a request")

    def _judge_answer(self, answer: Answer, entries: tuple[list[dict[str, Any]], list[dict[str, Any]]], result: Result) -> None:
        marks = [answer.kinds.count(kind) for kind in ("message_start", "message_delta")]
        if marks != [1, 1] or answer.kinds[0] != "message_start":
            result.fatal.append("not one well-formed stream")
        if answer.kinds.count("message_stop") != 1 or answer.kinds[-1] != "message_stop":
            result.blemishes.append("without its closing event")
        if not self._is_whole(answer, entries):
            result.fatal.append("garbled or cut")
        if self.row.is_error:
            result.blemishes.append("went round the provider's refusal")
        if (problem := _usage_problem(answer.message.usage.model_dump(), entries)) is not None:
            result.blemishes.append(problem)

    def _is_whole(self, answer: Answer, entries: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> bool:
        """One model's answer to the letter; or, of a stream that another model has continued, all that had come of the first and
        then the end of the second, with nothing said twice at the seam."""
        served = answer.message.model
        if answer.message.stop_reason != "end_turn" or served not in self.reference:
            return False
        if answer.text == self.reference[served]:
            return True
        if self.row.primary == self.row.fallback or not entries[1] or served != self.row.primary:
            return False
        first, second = self.reference[self.row.primary], self.reference[self.row.fallback]
        shown = next((at for at, (a, b) in enumerate(zip(answer.text, first, strict=False)) if a != b), len(first))
        sent = len("".join(pieces(first))) * 3 // 5  # at two thirds of the events
        rest = answer.text[shown:]
        return shown >= sent and any(second.endswith(answer.text[at:].strip()) for at in range(sent, shown + 1)) and bool(rest)

    def _judge_error(self, error: Exception, sick: list[dict[str, Any]], result: Result) -> None:
        result.remark = type(error).__name__
        if not isinstance(error, anthropic.APIError):
            result.blemishes.append(f"{type(error).__name__} is no error of the SDK")
        if self.row.is_error:
            status, request_id = getattr(error, "status_code", None), getattr(error, "request_id", None)
            if status != 400 or request_id not in [entry["request_id"] for entry in sick]:
                result.fatal.append("not the provider's own refusal")

    def judge_conduct(self, result: Result, entries: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
        """What the APIs have seen."""
        sick, healthy = entries
        result.requests = len(sick), len(healthy)
        if len(sick) > self.row.most[0] or len(healthy) > self.row.most[1] or sum(result.requests) > max(2, *self.row.most):
            result.blemishes.append("needless requests")
        if self.row.gap_s and len(sick) > 1 and sick[1]["arrived_us"] - sick[0]["arrived_us"] < self.row.gap_s * 1e6:
            result.blemishes.append("Retry-After not honoured")


def _usage_problem(usage: dict[str, Any], entries: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> str | None:
    """Whether the answer's usage differs from what was billed. Nobody tells the output of a stream that broke, so that it can only
    be estimated: a quarter more or less will do there."""
    bills = [entry["billed"] for part in entries for entry in part if entry["billed"]]
    for name in COUNTS:
        billed, said = sum(bill[name] for bill in bills), usage.get(name) or 0
        is_estimated = name == "output_tokens" and len(bills) > 1
        if said != billed and not (is_estimated and abs(said - billed) <= 5 + billed / 4):
            return f"usage: {name} {said}, billed {billed}"
    return None


def run_row(row: Row, healthy: SimulatedAPI, *, is_bare: bool) -> Result:
    """One row of the table. Never raises: what goes wrong here is a failure of the row."""
    result = Result(row)
    try:
        with ExitStack() as stack:
            bench = Bench(row, healthy, stack, is_bare=is_bare)
            (_outage if row.name.startswith("a primary down") else _single)(bench, result)
    except Exception as error:  # noqa: BLE001 -- the table is whole whatever happens
        result.fatal.append(f"the benchmark itself: {error!r}")
    return result


def _single(bench: Bench, result: Result) -> None:
    """A healthy call, the call that meets the fault, and a healthy one again."""
    row = bench.row
    easy = {**row.asked, "messages": [{"role": "user", "content": QUESTION}]}
    before = ask(bench.client, easy)
    assert before.error is None, before.error
    bench.sick.clear_requests()
    bench.sick.set_faults(row.faults(events_of(bench)))
    answer = ask(bench.client, row.asked)
    time.sleep(0.3)  # until the API has noticed that a connection is gone, and has written the bill
    entries = bench.entries()
    bench.judge_conduct(result, entries)
    bench.judge(answer, entries, result)
    bench.sick.clear_faults()
    after = ask(bench.client, easy)
    if after.error is not None:
        result.fatal.append(f"the next call: {type(after.error).__name__}")
    calls = bench.calls()
    if calls:
        _compare(calls[1], answer, entries, result)


def _compare(
    call: dict[str, Any], answer: Answer, entries: tuple[list[dict[str, Any]], list[dict[str, Any]]], result: Result
) -> None:
    """The record of a call against what the caller got and the APIs saw."""
    if call["attempts"] != sum(map(len, entries)):
        result.blemishes.append(f"{call['attempts']} attempts recorded")
    if call["outcome"] != ("ok" if answer.error is None else "failed"):
        result.blemishes.append(f"recorded as {call['outcome']}")
    if answer.message is None:
        return
    usage = answer.message.usage
    if (call["input_tokens"], call["output_tokens"]) != (usage.input_tokens, usage.output_tokens):
        result.blemishes.append(f"recorded {call['input_tokens']} and {call['output_tokens']} tokens")
    # Of a continued answer the record names who has finished it, and the message who has begun it.
    if call["model_served"] != answer.message.model and not (call["continued"] and call["target"] == "fallback"):
        result.blemishes.append(f"recorded model {call['model_served']}")


def _outage(bench: Bench, result: Result) -> None:
    """Twenty calls, one every 4 s, and more until the primary has answered, at most 30 s after it is healthy again."""
    bench.sick.set_faults(bench.row.faults(0))
    began, number, unserved = time.monotonic(), 0, 0
    back_s: float | None = None
    while True:
        time.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
        now_s = time.monotonic() - began
        if number >= CALLS and (back_s is not None or now_s > OUTAGE_S + BACK_WITHIN_S):
            break
        sick, fallback = (len(part) for part in bench.entries())
        answer = ask(bench.client, bench.row.asked)
        entries = bench.entries()
        bench.judge(answer, (entries[0][sick:], entries[1][fallback:]), result)
        unserved += answer.error is not None
        is_primary = entries[0][-1:] != [] and len(entries[0]) > sick and entries[0][-1]["status"] == 200
        if is_primary and back_s is None and now_s >= OUTAGE_S:
            back_s = now_s - OUTAGE_S
        number += 1
    sick_entries, healthy_entries = bench.entries()
    down = [entry for entry in sick_entries if entry["status"] == 503]
    during = min(number, int(OUTAGE_S // EVERY_S))
    result.requests = len(down), len(healthy_entries)
    if unserved:
        result.has_answer = False
        result.blemishes.append(f"{unserved} calls not served")
    if len(down) > SICK_AT_MOST:
        result.blemishes.append(f"{len(down)} requests on the sick primary")
    if back_s is None or back_s > BACK_WITHIN_S:
        result.blemishes.append("not back on the primary within 30 s")
    back = "never" if back_s is None else f"+{back_s:.0f} s"
    result.remark = f"{len(down)} requests on the sick primary for {during} calls; back on it {back}"


def events_of(bench: Bench) -> int:
    """The number of events of the primary's healthy answer, pings included."""
    with anthropic.Anthropic(base_url=bench.healthy.url, api_key="nobody", max_retries=0) as bare:
        easy = {**bench.row.asked, "messages": [{"role": "user", "content": QUESTION}]}
        with bare.messages.with_streaming_response.create(**easy, stream=True) as response:
            return sum(line.startswith("event:") for line in response.iter_lines())


def run(*, is_bare: bool, names: list[str]) -> list[Result]:
    """All rows: the outage, which takes its minute, beside the others."""
    rows = [row for row in ROWS if not names or any(name in row.name for name in names)]
    results: dict[str, Result] = {}
    places = threading.Semaphore(AT_ONCE)
    with SimulatedAPI() as healthy:

        def work(row: Row) -> None:
            if row.name.startswith("a primary down"):
                results[row.name] = run_row(row, healthy, is_bare=is_bare)
                return
            with places:
                results[row.name] = run_row(row, healthy, is_bare=is_bare)

        threads = [threading.Thread(target=work, args=(row,), daemon=True) for row in sorted(rows, key=_waits, reverse=True)]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        deadline = time.monotonic() + 300
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [results.get(row.name) or Result(row, fatal=["never ended"]) for row in rows]


def _waits(row: Row) -> int:
    """Rows that take long begin first."""
    return (
        2
        if row.name.startswith("a primary down")
        else int("no response" in row.name or "20 s" in row.name or "30 s" in row.name)
    )


def show(results: list[Result], *, is_bare: bool) -> None:
    """Prints the table."""
    print("sixteen faults of the wire, streamed:")
    if is_bare:
        print("  the SDK alone (its two retries, timeout 30 s): a control, which must not do well")
    else:
        print(f"  a chain of two targets at two APIs, limits {LIMITS}, everything else as shipped;")
        print("  the SDK's client as it comes; the models answer in their own time (sonnet 80 tokens a second)")
    print(f"  {'':31} requests on the")
    print(f"  {'':31} {'primary':>7} {'fallback':>8} {'answer':>8}  {'verdict':26}  published")
    for result in results:
        remark = "; ".join(dict.fromkeys([*result.fatal, *result.blemishes])) or result.remark
        right = " " if result.is_right else "!"
        print(
            f"{right} {result.row.name:31} {result.requests[0]:7} {result.requests[1]:8} {result.seconds:6.1f} s  "
            f"{result.verdict:26}  {' '.join(result.row.published)}  {remark}".rstrip()
        )
    right = sum(result.is_right for result in results)
    print(
        f"  right: {right} of {len(results)}; the longest wait {max(result.seconds for result in results):.1f} s (at most 11)"
    )
    totals = ", ".join(f"{name} {sum(row.published[at] == '+' for row in ROWS)}" for at, name in enumerate(OTHERS))
    print(f"  published, in this order, streamed, OpenAI wire format (failoverbench, scorecard of 2026-09-12): {totals};")
    print(
        "  + rescued cleanly, ~ rescued, o safe error, x failed. Its reference client sends 45 requests to the sick primary in"
    )
    print("  the 15 calls of the outage, LiteLLM tuned to open at its first failure 4.")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bare", action="store_true", help="the SDK without the console, as a control")
    parser.add_argument("--row", action="append", default=[], help="only rows whose name holds this text")
    options = parser.parse_args(arguments)
    show(run(is_bare=options.bare, names=options.row), is_bare=options.bare)


if __name__ == "__main__":
    main()
