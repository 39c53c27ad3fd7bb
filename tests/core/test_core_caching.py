"""Answers that are kept: whose they are, which may be kept, what is made of a stream, and how they are served again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.core.caching import (
    MAX_ANSWER,
    MAX_ASKED,
    MAX_DEPTH,
    CachePolicy,
    Collector,
    Kept,
    as_of,
    events_of,
    key_of,
    may_be_kept,
    message_in,
    served_copy,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

US = 1_000_000
HOUR_US = 3600 * US
ASKED: dict[str, Any] = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 60,
    "system": [{"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "Where is my parcel?"}],
}


class Rendered(str):
    """A text that knows where it comes from, as a rendered prompt does."""

    __slots__ = ()


# -- keys --------------------------------------------------------------------------------------------------------------


def test_the_same_question_has_the_same_key_however_it_is_written() -> None:
    key = key_of(ASKED, "support", "acme")
    assert key is not None
    assert key_of(dict(reversed(ASKED.items())), "support", "acme") == key
    assert key_of(ASKED | {"system": tuple(ASKED["system"])}, "support", "acme") == key
    assert (
        key_of(ASKED | {"messages": [{"content": Rendered("Where is my parcel?"), "role": "user"}]}, "support", "acme") == key
    )


@pytest.mark.parametrize("more", [{"stream": True}, {"stream": False}, {"metadata": {"user_id": "u1"}}], ids=str)
def test_how_it_is_delivered_and_for_whose_account_change_no_key(more: dict[str, Any]) -> None:
    assert key_of(ASKED | more, "support", "acme") == key_of(ASKED, "support", "acme")


@pytest.mark.parametrize(
    "more",
    [
        {"model": "claude-haiku-5-5"},
        {"max_tokens": 61},
        {"system": "You help."},
        {"system": Rendered("You help!")},
        {"messages": [*ASKED["messages"], {"role": "assistant", "content": "It is"}]},
        {"messages": [{"role": "user", "content": "where is my parcel?"}]},
        {"temperature": 0},
        {"temperature": None},
        {"stop_sequences": ["\n"]},
        {"thinking": {"type": "adaptive"}},
        {"tools": []},
        {"tool_choice": {"type": "none"}},
        {"output_config": {"effort": "low"}},
        {"service_tier": "auto"},
        {"a_parameter_of_next_year": 1},
    ],
    ids=str,
)
def test_everything_that_changes_the_answer_changes_the_key(more: dict[str, Any]) -> None:
    assert key_of(ASKED | more, "support", "acme") not in (key_of(ASKED, "support", "acme"), None)


@pytest.mark.parametrize("about", [("support", None), ("support", "b"), ("other", "a"), ("support", "a", "x"), ("supporta",)])
def test_what_is_said_to_one_customer_is_not_anothers(about: tuple[object, ...]) -> None:
    assert key_of(ASKED, *about) != key_of(ASKED, "support", "a")


@given(st.text(), st.text(), st.text(), st.text())
def test_no_two_names_are_mixed_up_whatever_stands_in_them(a: str, b: str, c: str, d: str) -> None:
    assert (key_of(ASKED, a, b) == key_of(ASKED, c, d)) == ((a, b) == (c, d))


def _deep(levels: int) -> Any:
    found: Any = "x"
    for _ in range(levels):
        found = [found]
    return found


def _round() -> Any:
    found: dict[str, Any] = {}
    found["found"] = found
    return found


UNKEYED: dict[str, Any] = {
    "none": None,
    "a text": "text",
    "a list": [ASKED],
    "bytes": ASKED | {"system": b"bytes"},
    "a set": ASKED | {"system": {"a set"}},
    "an object": ASKED | {"system": object()},
    "an iterator": ASKED | {"messages": iter(ASKED["messages"])},
    "names that cannot be sorted": ASKED | {1: 2},
    "deep": ASKED | {"system": _deep(MAX_DEPTH + 1)},
    "very deep": ASKED | {"system": _deep(100_000)},
    "round": ASKED | {"system": _round()},
    "a long text": ASKED | {"system": "x" * (MAX_ASKED + 1)},
    "a long conversation": ASKED | {"messages": [{"role": "user", "content": "x" * 1000}] * 100},
    "a million nothings": ASKED | {"messages": [[]] * 1_000_000},
    "many names": ASKED | {"messages": {str(number): None for number in range(100_000)}},
    "many names at the top": {str(number): None for number in range(100_000)},
}


@pytest.mark.parametrize("body", UNKEYED.values(), ids=UNKEYED)
def test_what_is_too_long_or_no_plain_json_has_no_key_and_is_no_error(body: Any) -> None:
    assert key_of(body, "support") is None


def test_a_question_that_is_only_looked_at_is_not_used_up() -> None:
    messages = (message for message in ASKED["messages"])
    key_of(ASKED | {"messages": messages}, "support")
    assert list(messages) == ASKED["messages"]


def test_a_long_question_within_the_bound_has_a_key() -> None:
    assert key_of(ASKED | {"system": "ü" * (MAX_ASKED - 1000)}, "support") is not None


class Counting(dict[str, Any]):
    """Counts how often somebody asks for its values."""

    looks = 0

    def values(self) -> Any:
        self.looks += 1
        return super().values()


def test_what_a_key_looks_at_does_not_grow_with_the_question() -> None:
    found = Counting(role="user", content="x" * 100)
    key_of(ASKED | {"messages": [{"a": 1}] * 10 + [found] * 100_000}, "support")
    assert found.looks < 2000


# -- freshness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_us", "expected"),
    [
        (0, "cache"),
        (HOUR_US, "cache"),
        (HOUR_US + 1, "stale"),
        (24 * HOUR_US, "stale"),
        (24 * HOUR_US + 1, None),
    ],
)
def test_an_answer_is_fresh_then_stale_then_of_no_use(age_us: int, expected: str | None) -> None:
    assert as_of(age_us, CachePolicy("always", ttl=3600, stale=86400)) == expected


def test_without_a_stale_time_a_stale_answer_is_of_no_use() -> None:
    assert as_of(60 * US + 1, CachePolicy("always", ttl=60, stale=60)) is None


KEPT = Kept(b"{}", "support", None, ("claude-sonnet-5-5",), "sonnet", "end_turn", None, 1000 * US, 50 * US, 0)


@pytest.mark.parametrize(
    ("wall_s", "steady_s", "age_s"),
    [
        (1010, 60, 10),
        (1010 - 3600, 60, 10),  # somebody sets the clock an hour back
        (1010 + 86400, 60, 86410),  # a day ahead: nobody knows better than to believe it
        (1010 + 7200, 60, 7210),  # the machine slept for two hours, in which the steady clock stood still
        (900, 40, 0),  # both make no sense
    ],
)
def test_b13_a_jump_of_a_clock_makes_no_answer_younger(wall_s: int, steady_s: int, age_s: int) -> None:
    assert KEPT.age_us(wall_s * US, steady_s * US) == age_s * US


# -- collecting --------------------------------------------------------------------------------------------------------


def test_a_collector_gives_back_what_it_took() -> None:
    collector = Collector(b"key")
    for chunk in (b"a", b"", b"bc"):
        collector.take(chunk)
    assert (collector.whole(), collector.size) == (b"abc", 3)


def test_a_collector_lets_go_of_an_answer_that_is_too_long() -> None:
    collector = Collector(b"key")
    collector.take(b"x" * MAX_ANSWER)
    assert collector.whole() is not None
    collector.take(b"x")
    assert (collector.whole(), collector.size) == (None, 0)
    collector.take(b"x")
    assert (collector.whole(), collector.size) == (None, 0)


# -- what came, as a message -------------------------------------------------------------------------------------------

CITATION = {"type": "char_location", "cited_text": "on Monday", "document_index": 0, "start_char_index": 1, "end_char_index": 9}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [
        {"type": "thinking", "thinking": "Which parcel?", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "parcel"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "It arrives on Monday.", "citations": [CITATION, CITATION]},
        {"type": "text", "text": "Tschüß \u2028 \"quoted\" \\ {}", "citations": None},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 30,
        "output_tokens": 9,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
    },
}  # fmt: skip


def as_sse(events: list[dict[str, Any]], end: str = "\n") -> bytes:
    return "".join(f"event: {event.get('type')}{end}data: {json.dumps(event)}{end}{end}" for event in events).encode()


def with_(**changed: Any) -> dict[str, Any]:
    return {**MESSAGE, **changed}


def text(words: str = "Here it is.") -> dict[str, Any]:
    return {"type": "text", "text": words}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_a_stream_and_a_plain_answer_hold_the_same_message(end: str) -> None:
    assert message_in(json.dumps(MESSAGE).encode()) == MESSAGE
    assert message_in(as_sse(events_of(MESSAGE), end)) == MESSAGE


def test_pings_and_comments_are_no_part_of_a_message() -> None:
    data = b": hello\n\n"
    for event in events_of(MESSAGE):
        data += as_sse([event, {"type": "ping"}])
    assert message_in(data) == MESSAGE


_WORDS = st.text(min_size=1)
_BLOCKS = st.one_of(
    st.builds(lambda words: {"type": "text", "text": words}, _WORDS),
    st.builds(lambda words, many: {"type": "text", "text": words, "citations": [CITATION] * many}, _WORDS, st.integers(0, 3)),
    st.builds(lambda words, sign: {"type": "thinking", "thinking": words, "signature": sign}, st.text(), st.text()),
    st.builds(
        lambda given: {"type": "tool_use", "id": "toolu_1", "name": "n", "input": given}, st.dictionaries(_WORDS, _WORDS)
    ),
)


@given(st.lists(_BLOCKS))
def test_what_is_made_into_events_comes_back_from_them(content: list[dict[str, Any]]) -> None:
    message = with_(content=content)
    assert message_in(as_sse(events_of(message))) == message


@settings(deadline=None)  # the first one loads the SDK
@given(st.lists(_BLOCKS, min_size=1))
def test_the_sdk_accumulates_the_events_to_the_same_message(content: list[dict[str, Any]]) -> None:
    from anthropic._models import construct_type
    from anthropic.lib.streaming._messages import accumulate_event
    from anthropic.types import Message, RawMessageStreamEvent

    snapshot: Any = None
    buffers: Any = {}
    message = with_(content=content)
    for event in events_of(message):
        parsed: Any = construct_type(type_=RawMessageStreamEvent, value=json.loads(json.dumps(event)))
        snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=buffers)
    wanted: Any = construct_type(type_=Message, value=message)
    assert snapshot.to_dict(exclude_none=True) == wanted.to_dict(exclude_none=True)


def test_a_signature_that_comes_twice_counts_as_the_sdk_counts_it() -> None:
    """The last one holds, and is not put behind the one before."""
    thoughts = {"type": "thinking", "thinking": "Hm.", "signature": "b"}
    events = events_of(with_(content=[thoughts, text()]))
    earlier = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "a"}}
    assert message_in(as_sse([*events[:3], earlier, *events[3:]])) == with_(content=[thoughts, text()])


@pytest.mark.parametrize("left_out", range(1, 5))
def test_a_stream_that_ends_early_holds_no_message(left_out: int) -> None:
    events = events_of(with_(content=[text()]))
    assert message_in(as_sse(events[:-left_out])) is None


_START, _BLOCK, _DELTA, _BLOCK_END, _ENDING, _STOP = events_of(with_(content=[text()]))
_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": ""}}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [_STOP],
        [_BLOCK, _DELTA, _BLOCK_END, _ENDING, _STOP],
        [_START, _BLOCK, _DELTA, _ERROR],
        [_START, _BLOCK, _DELTA, _ERROR, _STOP],
        [_START, _START, _BLOCK, _STOP],
        [_START, _DELTA, _STOP],
        [_START, {**_BLOCK, "index": 1}, _STOP],
        [_START, _BLOCK, {**_DELTA, "index": 1}, _STOP],
        [_START, _BLOCK, {**_DELTA, "delta": {"type": "a_delta_of_next_year", "data": "x"}}, _BLOCK_END, _ENDING, _STOP],
        [_START, {"type": "an_event_of_next_year"}, _BLOCK, _BLOCK_END, _ENDING, _STOP],
        [{"no": "type"}],
        [_START, {**_ENDING, "usage": None}, _STOP],
    ],
    ids=lambda events: ", ".join(str(event.get("type")) for event in events) or "nothing",
)
def test_a_stream_that_cannot_be_put_together_for_certain_holds_no_message(events: list[dict[str, Any]]) -> None:
    assert message_in(as_sse(events)) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"type": "error"}', b"<html>", b"\x00\xff", b"data: {\n\n", b"data: 1\n\n", b"[" * 100_000,
     b"data: " + b"[" * 100_000 + b"\n\n", b"data: \xff\n\n", b'{"type":"message"' + b"\xff" + b"}"],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_bytes_that_are_no_answer_hold_no_message(data: bytes) -> None:
    assert message_in(data) is None


@given(st.binary())
def test_no_bytes_make_it_raise(data: bytes) -> None:
    message_in(data)
    message_in(b"data: " + data)
    message_in(as_sse([_START]) + data)


# -- what may be kept --------------------------------------------------------------------------------------------------

KEPT_ONES = {
    "an ordinary one": with_(content=[text()]),
    "with everything that only reads": MESSAGE,
    "ended by a stop sequence": with_(content=[text()], stop_reason="stop_sequence", stop_sequence="\n"),
}
NEVER_KEPT = {
    "cut": with_(stop_reason="max_tokens"),
    "cut by the window": with_(stop_reason="model_context_window_exceeded"),
    "refused": with_(stop_reason="refusal"),
    "a tool is to run": with_(stop_reason="tool_use"),
    "paused": with_(stop_reason="pause_turn"),
    "compacted": with_(stop_reason="compaction"),
    "no reason": with_(stop_reason=None),
    "a reason of next year": with_(stop_reason="tired"),
    "a reason that is none": with_(stop_reason=["end_turn"]),
    "a tool's call in it": with_(content=[text(), {"type": "tool_use", "id": "t", "name": "n", "input": {}}]),
    "a remote tool's call in it": with_(content=[text(), {"type": "mcp_tool_use", "id": "t", "name": "n", "input": {}}]),
    "code that ran": with_(
        content=[text(), {"type": "server_tool_use", "id": "t", "name": "bash_code_execution", "input": {}}]
    ),
    "in a container": with_(content=[text()], container={"id": "c", "expires_at": "2026-11-21T00:00:00Z"}),
    "a block of next year": with_(content=[text(), {"type": "hologram"}]),
    "a block that is none": with_(content=[text(), "text"]),
    "a block without a type": with_(content=[text(), {"type": ["text"]}]),
    "nothing": with_(content=[]),
    "no content": with_(content=None),
    "blank": with_(content=[text(" \n ")]),
    "text that is none": with_(content=[{"type": "text", "text": None}]),
    "only thoughts": with_(content=[{"type": "thinking", "thinking": "Hm.", "signature": ""}]),
}  # fmt: skip


@pytest.mark.parametrize("message", KEPT_ONES.values(), ids=KEPT_ONES)
def test_a_whole_answer_may_be_kept(message: Mapping[str, Any]) -> None:
    assert may_be_kept(message)


@pytest.mark.parametrize("message", NEVER_KEPT.values(), ids=NEVER_KEPT)
def test_i10_an_answer_that_was_cut_or_that_does_something_is_never_kept(message: Mapping[str, Any]) -> None:
    assert not may_be_kept(message)


# -- what is served ----------------------------------------------------------------------------------------------------


def test_a_served_copy_counts_no_tokens_and_is_the_same_in_everything_else() -> None:
    copy = served_copy(MESSAGE)
    assert {**copy, "usage": None} == {**MESSAGE, "usage": None}
    assert copy["usage"] == {
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 0},
        "service_tier": "standard",
    }
    assert MESSAGE["usage"]["input_tokens"] == 30


def test_a_served_copy_of_a_message_without_usage_has_one() -> None:
    assert served_copy({"id": "msg_1"})["usage"] == {"input_tokens": 0, "output_tokens": 0}
