"""What a body tells of itself while it passes by, in whatever pieces."""

from __future__ import annotations

import json
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.calls import Usage
from console.core.observation import MAX_CHUNKS, Observation, usage_of

USAGE = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7}
START = {"type": "message_start", "message": {"model": "m", "usage": USAGE}}
TEXT = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": 'é \n\n event: error "message_stop" data:'},
}
EVENTS: tuple[dict[str, Any], ...] = (
    START,
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    TEXT,
    TEXT,
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 33, "input_tokens": None}},
    {"type": "message_stop"},
)
FAILURE = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def sse(*events: dict[str, Any], newline: str = "\n") -> bytes:
    return "".join(
        f"event: {event['type']}{newline}data: {json.dumps(event, ensure_ascii=False)}{newline * 2}" for event in events
    ).encode()


def fed(pieces: list[bytes], *, is_sse: bool = True) -> Observation:
    seen = Observation(is_sse=is_sse)
    ticks = count(1)
    for piece in pieces:
        seen.feed(piece, lambda: next(ticks))
    seen.close()
    seen.finish()
    return seen


def told(seen: Observation) -> tuple[Any, ...]:
    return seen.is_whole, seen.error, seen.model, seen.stop_reason, seen.usage, seen.first_content_at is not None


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


CUTS = st.lists(st.integers(0, 5000), max_size=30)


@given(CUTS, st.sampled_from(["\n", "\r\n"]))
def test_any_split_of_a_streams_bytes_gives_the_same_result(cuts: list[int], newline: str) -> None:
    seen = fed(split(sse(*EVENTS, newline=newline), cuts))
    assert told(seen) == (True, None, "m", "end_turn", Usage(10, 33, 5, 7, 0), True)


@given(CUTS, st.integers(0, len(EVENTS)))
def test_a_stream_that_ends_early_is_not_whole_and_tells_what_it_had(cuts: list[int], length: int) -> None:
    seen = fed(split(sse(*EVENTS[:length]), cuts))
    assert seen.is_whole == (length == len(EVENTS))
    assert seen.model == ("m" if length else None)
    assert (seen.first_content_at is not None) == (length > 3)
    assert (seen.usage is None) == (length == 0)


@given(CUTS, st.integers(0, len(EVENTS) - 1))
def test_an_error_in_band_is_told(cuts: list[int], at: int) -> None:
    seen = fed(split(sse(*EVENTS[:at], FAILURE), cuts))
    assert (seen.error, seen.is_whole) == ("overloaded_error", False)


@given(CUTS)
def test_any_split_of_a_plain_answer_gives_the_same_result(cuts: list[int]) -> None:
    body = json.dumps({"type": "message", "model": "m", "stop_reason": "tool_use", "usage": USAGE}).encode()
    assert told(fed(split(body, cuts), is_sse=False)) == (True, None, "m", "tool_use", Usage(10, 1, 5, 7, 0), False)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nonsense", b'"x"', b"[" * 100_000])
def test_a_plain_answer_that_is_no_object_is_not_whole(body: bytes) -> None:
    assert told(fed([body], is_sse=False)) == (False, None, None, None, None, False)


def test_a_plain_error_body_is_told() -> None:
    assert told(fed([json.dumps(FAILURE).encode()], is_sse=False))[:2] == (False, "overloaded_error")


@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans())
def test_any_bytes_can_be_fed(pieces: list[bytes], is_sse: bool) -> None:
    fed(pieces, is_sse=is_sse)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "message", "usage", "delta", "error", "input_tokens"]), c)
        ),
        max_leaves=10,
    ),
    st.sampled_from(["message_start", "message_delta", "message_stop", "error"]),
)
def test_events_of_any_form_are_survived(value: Any, kind: str) -> None:
    event = (value if isinstance(value, dict) else {"message": value}) | {"type": kind}
    seen = fed([sse(event)])
    assert seen.model is None or isinstance(seen.model, str)
    assert seen.usage is None or all(isinstance(number, int) and number >= 0 for number in seen.usage)


@pytest.mark.parametrize("is_sse", [True, False])
def test_what_cannot_be_held_is_let_pass_in_bounded_memory(is_sse: bool) -> None:
    seen = Observation(is_sse=is_sse)
    for _ in range(3 * MAX_CHUNKS):
        seen.feed(b"x" * 1_024, lambda: 0)
    assert len(b"".join(seen.chunks)) <= MAX_CHUNKS * 1_024
    seen.close()
    assert not seen.chunks
    assert sum(map(len, seen._events)) == 0
    seen.finish()
    assert not seen.is_whole
    assert seen.is_blind or is_sse


def test_a_stream_of_more_chunks_than_are_kept_still_tells_its_start_and_its_end() -> None:
    seen = Observation(is_sse=True)
    whole = sse(*EVENTS)
    start, end = whole.find(b"event: content_block_stop"), len(whole)
    deltas = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"\\"message_ error"}}\n\n'
    for piece in (whole[:start], *([deltas] * (2 * MAX_CHUNKS)), whole[start:end]):
        seen.feed(piece, lambda: 0)
    seen.close()
    seen.finish()
    assert seen.is_whole
    assert told(seen) == told(fed([whole]))


def test_a_later_total_replaces_the_one_before() -> None:
    late = {
        "type": "message_delta",
        "delta": {},
        "usage": {"input_tokens": 500, "output_tokens": 2, "cache_read_input_tokens": None},
    }
    assert fed([sse(START, late)]).usage == Usage(500, 2, 5, 7, 0)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({}, Usage()),
        ({"input_tokens": -5, "output_tokens": "x", "cache_read_input_tokens": None}, Usage()),
        ({"cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, Usage(0, 0, 0, 5, 4)),
        ({"cache_creation_input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, Usage(0, 0, 0, 0, 4)),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_read_kind_by_kind(raw: object, usage: Usage | None) -> None:
    assert usage_of(raw) == usage
