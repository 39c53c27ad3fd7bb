"""The answers of one process: bounded, safe for threads and forks, emptied by a kill, and never filled with what must not be."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from console.core.caching import CachePolicy, Collector, Kept
from console.core.calls import AttemptEnd, Facts
from console.core.switches import ALL, Scope, Switch
from console.core.targets import Routing
from console.runtime import cache as cache_module
from console.runtime.cache import MAX_WAITING, OVERHEAD, SWEEP_EVERY_US, AnswerCache
from console.runtime.process import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

US = 1_000_000
SONNET = "claude-sonnet-5-5"
POLICY = CachePolicy("always", ttl=60, stale=600)
NONE: Mapping[Scope, Switch] = MappingProxyType({})


class Clock:
    """Both clocks, turned by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steady_us, self.wall_us = 1_000 * US, 10**15
        patch.setattr(cache_module, "steady_us", lambda: self.steady_us)
        patch.setattr(cache_module, "now_us", lambda: self.wall_us)

    def tick(self, seconds: float) -> None:
        self.steady_us += round(seconds * US)
        self.wall_us += round(seconds * US)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def message(text: str = "Here it is.", **more: Any) -> bytes:
    found = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": SONNET, "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 4}, **more,
    }  # fmt: skip
    return json.dumps(found).encode()


def end_of(feature: str = "a", customer: str | None = None, **more: Any) -> AttemptEnd:
    facts = Facts(feature, customer, models=(SONNET,))
    return AttemptEnd(
        facts, 0, 0, **{"outcome": "ok", "served_by": "primary", "target": "sonnet", "model_served": SONNET, **more}
    )


def put(
    cache: AnswerCache, number: int, data: bytes | None = None, switches: Mapping[Scope, Switch] = NONE, **more: Any
) -> None:
    """One call that has ended, all its way."""
    collector = cache.collector(key(number))
    collector.take(message() if data is None else data)
    cache.wait(collector)
    cache.keep(collector, end_of(**more), POLICY, switches)


def engaged(*scopes: Scope, **more: Any) -> Mapping[Scope, Switch]:
    return MappingProxyType({scope: Switch(scope, **more) for scope in scopes})


# -- what is kept, and for how long ------------------------------------------------------------------------------------


def test_an_answer_that_was_kept_is_given_back_with_all_that_is_known_of_it(clock: Clock) -> None:
    cache = AnswerCache()
    put(cache, 1, customer="acme", request_id="req_1")
    kept = cache.get(key(1))
    assert kept is not None
    assert json.loads(kept.message) == json.loads(message())
    assert kept[1:] == (
        "a", "acme", (SONNET,), "sonnet", "end_turn", "req_1", clock.wall_us, clock.steady_us, clock.steady_us + 600 * US,
    )  # fmt: skip
    assert cache.get(key(2)) is None


def test_the_names_by_which_a_switch_may_stop_an_answer_are_kept_with_it() -> None:
    cache = AnswerCache()
    put(cache, 1, model_served=f"{SONNET}-20261101", model_sent="anthropic.claude-sonnet-5-5")
    kept = cache.get(key(1))
    assert kept is not None and kept.models == (f"{SONNET}-20261101", "anthropic.claude-sonnet-5-5")
    put(cache, 2, model_served=None)
    kept = cache.get(key(2))
    assert kept is not None and kept.models == (SONNET,)


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (message(), {"outcome": "failed"}),
        (message(), {"outcome": "cancelled"}),
        (message(), {"outcome": "blocked"}),
        (message(), {"outcome": "degraded"}),
        (message(), {"continued": 1}),
        (message(stop_reason="max_tokens"), {}),
        (message(stop_reason="tool_use"), {}),
        (message()[:-1], {}),
        (b"", {}),
        (b"<html>", {}),
    ],
    ids=str,
)
def test_what_must_not_be_given_again_is_not_kept(data: bytes, more: dict[str, Any]) -> None:
    cache = AnswerCache()
    put(cache, 1, data, **more)
    assert (cache.get(key(1)), cache.size, cache._waiting_bytes) == (None, (0, 0), 0)


def test_a_cut_answer_does_not_take_the_place_of_a_whole_one() -> None:
    cache = AnswerCache()
    put(cache, 1)
    put(cache, 1, message("Here it", stop_reason="max_tokens"))
    kept = cache.get(key(1))
    assert kept is not None and b"Here it is." in kept.message


def test_a_later_answer_takes_the_place_of_an_earlier_one() -> None:
    cache = AnswerCache()
    for words in ("One.", "Another, and longer."):
        put(cache, 1, message(words))
    kept = cache.get(key(1))
    assert kept is not None and b"Another" in kept.message
    assert cache.size == (1, len(kept.message) + OVERHEAD)


def test_what_is_too_old_to_be_of_use_goes_by_itself(clock: Clock) -> None:
    cache = AnswerCache()
    put(cache, 1)
    clock.tick(599)
    put(cache, 2)
    cache.tick(NONE)
    assert cache.size[0] == 2
    clock.tick(1 + SWEEP_EVERY_US / US)
    cache.tick(NONE)
    assert (cache.get(key(1)), cache.size[0]) == (None, 1)
    assert cache.get(key(2)) is not None


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_it_never_holds_more_than_it_may_and_the_least_used_go_first() -> None:
    one = len(json.dumps(json.loads(message("x" * 1000)), separators=(",", ":"))) + OVERHEAD
    cache = AnswerCache(max_bytes=3 * one)
    for number in (1, 2, 3):
        put(cache, number, message("x" * 1000))
    assert cache.size == (3, 3 * one)
    assert cache.get(key(1)) is not None  # used: 2 is the oldest now
    put(cache, 4, message("x" * 1000))
    assert cache.size == (3, 3 * one)
    assert [cache.get(key(number)) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]
    put(cache, 5, message("x" * 3000))
    assert cache.size[1] <= 3 * one and cache.get(key(5)) is not None


def test_an_answer_larger_than_all_is_not_kept_and_pushes_the_rest_out_only_once() -> None:
    cache = AnswerCache(max_bytes=5000)
    put(cache, 1)
    put(cache, 2, message("x" * 10_000))
    assert cache.size == (0, 0)
    put(cache, 1)
    assert cache.size[0] == 1


def test_what_an_answer_is_counted_for_is_about_what_it_takes() -> None:
    import tracemalloc

    cache = AnswerCache(max_bytes=10**9)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(500):
            put(cache, number, message("x" * 2000), customer=f"customer {number}", request_id=f"req_{number}")
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.5 * cache.size[1] < taken <= cache.size[1]


def test_c5_answers_that_nobody_looks_into_do_not_fill_the_memory() -> None:
    """The recorder hangs on a disk while calls go on."""
    cache = AnswerCache()
    waiting = []
    for number in range(100):
        collector = cache.collector(key(number))
        collector.take(b"x" * 250_000)
        cache.wait(collector)
        waiting.append(collector)
    assert sum(collector.size for collector in waiting) == cache._waiting_bytes <= MAX_WAITING
    assert [collector.whole() is None for collector in waiting] == sorted(
        (collector.whole() is None for collector in waiting), reverse=True
    )
    for collector in waiting:
        cache.keep(collector, end_of(), POLICY, NONE)
    assert (cache._waiting_bytes, cache._waiting) == (0, {})


def test_an_answer_that_nobody_took_does_not_wait() -> None:
    cache = AnswerCache()
    cache.wait(cache.collector(key(1)))
    assert cache._waiting == {}


# -- a kill ------------------------------------------------------------------------------------------------------------


def test_a_kill_drops_what_it_stops_and_nothing_else() -> None:
    cache = AnswerCache()

    def fill() -> None:
        put(cache, 1, feature="a", customer="acme")
        put(cache, 2, feature="a")
        put(cache, 3, feature="b", customer="acme")
        put(cache, 4, feature="b", model_served="claude-haiku-5-5-20261001")

    for scope, left in (
        (Scope("feature", "a"), {3, 4}),
        (Scope("customer", "acme"), {2, 4}),
        (Scope("model", "claude-haiku-5-5"), {1, 2, 3}),
        (Scope("feature", "c"), {1, 2, 3, 4}),
        (ALL, set()),
    ):
        fill()
        cache.tick(engaged(scope))
        assert {number for number in (1, 2, 3, 4) if cache.get(key(number)) is not None} == left, scope
        assert cache.size[1] == sum(len(kept.message) + OVERHEAD for kept in cache._kept.values())


def test_a_kill_that_is_over_drops_nothing(clock: Clock) -> None:
    cache = AnswerCache()
    put(cache, 1)
    cache.tick(engaged(ALL, expires_at=clock.wall_us))
    assert cache.size[0] == 1


def test_an_answer_to_a_question_from_before_a_kill_is_not_kept_after_it() -> None:
    cache = AnswerCache()
    asked_before = cache.collector(key(1))
    asked_before.take(message())
    cache.tick(engaged(Scope("feature", "a")))
    cache.tick(NONE)
    cache.keep(asked_before, end_of(), POLICY, NONE)
    assert cache.size == (0, 0)
    put(cache, 1)
    assert cache.size[0] == 1


def test_what_a_switch_stops_now_is_not_kept() -> None:
    cache = AnswerCache()
    for scope in (ALL, Scope("feature", "a"), Scope("customer", "acme"), Scope("model", SONNET)):
        put(cache, 1, customer="acme", switches=engaged(scope))
    assert cache.size == (0, 0)
    put(cache, 1, customer="acme", switches=engaged(Scope("feature", "b")))
    assert cache.size[0] == 1


def test_the_same_switches_are_obeyed_once() -> None:
    """Twenty times a second: a walk over every answer each time would be felt."""
    cache = AnswerCache()
    switches = engaged(Scope("feature", "a"))
    for _ in range(3):
        cache.tick(switches)
    put(cache, 1, feature="a")
    cache.tick(switches)
    assert cache.size[0] == 1


# -- threads and forks -------------------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], Any]) -> None:
    """Lets `count` threads begin at the same moment; what one of them raises is raised here."""
    barrier, raised = threading.Barrier(count), []

    def run(index: int) -> None:
        barrier.wait(10)
        try:
            work(index)
        except Exception as error:  # noqa: BLE001 -- raised again below
            raised.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert raised == []


def test_threads_leave_its_books_in_order() -> None:
    cache = AnswerCache(max_bytes=20 * (OVERHEAD + 300))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(index: int) -> None:
        for number in range(300):
            if index == 0:
                cache.tick(engaged(Scope("feature", f"f{number % 7}")))
            elif index == 1:
                cache.get(key(number % 40))
            else:
                put(cache, number % 40, message("x" * (number % 50)), feature=f"f{number % 7}")

    try:
        in_threads(5, work)
    finally:
        sys.setswitchinterval(interval)
    assert cache.size[1] == sum(len(kept.message) + OVERHEAD for kept in cache._kept.values()) <= cache._max_bytes
    assert (cache._waiting, cache._waiting_bytes) == ({}, 0)


def test_two_threads_that_are_given_the_same_answer_do_not_share_an_object_that_can_change() -> None:
    cache = AnswerCache()
    put(cache, 1)
    found: list[Kept | None] = [None, None]

    def work(index: int) -> None:
        found[index] = cache.get(key(1))

    in_threads(2, work)
    for kept in found:
        assert kept is not None and isinstance(kept.message, bytes)


def test_c7_a_child_begins_with_none_and_is_not_hindered_by_a_lock_that_was_held(places: Any) -> None:
    runtime = Runtime(places, routing=Routing(cache_bytes=10**6))
    put(runtime.cache, 1)
    runtime.cache.wait(_taken(runtime.cache.collector(key(2))))
    runtime.cache._lock.acquire()
    try:
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # a lock that nobody will release
            code = 1
            try:
                is_empty = runtime.cache.size == (0, 0) and runtime.cache.get(key(1)) is None and not runtime.cache._waiting
                put(runtime.cache, 1)
                code = 0 if is_empty and runtime.cache.get(key(1)) is not None else 2
            finally:
                os._exit(code)
    finally:
        runtime.cache._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert runtime.cache.size[0] == 1
    runtime.close()


def _taken(collector: Collector) -> Collector:
    collector.take(message())
    return collector


def test_the_configured_bound_is_the_bound_of_the_process(places: Any) -> None:
    runtime = Runtime(places, routing=Routing(cache_bytes=5000))
    for number in range(10):
        put(runtime.cache, number, message("x" * 1000))
    assert runtime.cache.size[1] <= 5000
    runtime.close()


def test_content_never_touches_a_disk(places: Any) -> None:
    runtime = Runtime(places)
    runtime.start()
    put(runtime.cache, 1, message("a very particular sentence"))
    runtime.close()
    for file in places.data.rglob("*"):
        if file.is_file():
            assert b"a very particular sentence" not in file.read_bytes()
