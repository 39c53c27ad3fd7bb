"""When a stream is committed: at its first content, or not at all when an error came before it."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.commit import Held


def event(name: str, **data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


START = event("message_start", message={"id": "msg_1", "usage": {"input_tokens": 3}})
PING = event("ping")
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
BLOCK_END = event("content_block_stop", index=0)
ENDING = event("message_delta", delta={"stop_reason": "end_turn"}) + event("message_stop")
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def look(*chunks: bytes) -> tuple[str, Held]:
    held, said = Held(), "held"
    for chunk in chunks:
        said = held.take(chunk)
        if said != "held":
            break
    return said, held


STREAMS = {
    "content": (START + PING + BLOCK + DELTA, "content"),
    "content, then an error": (START + BLOCK + DELTA + ERROR, "content"),
    "an error first of all": (ERROR, "error"),
    "an error after the start": (START + PING + BLOCK + ERROR, "error"),
    "a block without content": (START + BLOCK + BLOCK_END + ENDING, "content"),
    "a block without content, then an error": (START + BLOCK + BLOCK_END + ERROR, "content"),
    "no block at all": (START + ENDING, "content"),
    "nothing yet": (START + PING + PING + BLOCK, "held"),
    "only pings": (PING * 100, "held"),
    "nothing": (b"", "held"),
}
streams = pytest.mark.parametrize(("stream", "expected"), STREAMS.values(), ids=STREAMS)
line_ends = pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])


@streams
@line_ends
def test_b7_a_marker_is_seen_wherever_the_chunks_are_split(stream: bytes, expected: str, end: bytes) -> None:
    stream = stream.replace(b"\n", end)
    for cut in range(len(stream) + 1):
        said, held = look(stream[:cut], stream[cut:])
        assert said == expected, cut
        assert stream.startswith(b"".join(held.chunks))


@streams
@line_ends
def test_b10_a_trickle_of_single_bytes_says_the_same(stream: bytes, expected: str, end: bytes) -> None:
    stream = stream.replace(b"\n", end)
    said, held = look(*(stream[index : index + 1] for index in range(len(stream))))
    assert said == expected
    assert stream.startswith(b"".join(held.chunks))


@streams
def test_one_chunk_says_the_same(stream: bytes, expected: str) -> None:
    assert look(stream)[0] == expected


@given(cuts=st.lists(st.integers(0, 400), max_size=8), name=st.sampled_from(sorted(STREAMS)))
def test_i9_no_byte_is_lost_or_twice(cuts: list[int], name: str) -> None:
    stream, expected = STREAMS[name]
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:stop] for start, stop in itertools.pairwise(places)]
    said, held = look(*chunks)
    assert said == expected
    assert held.chunks == chunks[: len(held.chunks)]


@line_ends
def test_the_type_of_an_error_in_band_is_read(end: bytes) -> None:
    stream = (START + PING + ERROR + PING).replace(b"\n", end)
    for cut in range(len(stream)):
        said, held = look(stream[:cut], stream[cut:])
        held.chunks.append(stream[len(b"".join(held.chunks)) :])  # as the wire does before it asks
        assert (said, held.error_type()) == ("error", "overloaded_error")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"data: {",
        b"data: []",
        b"data: {}",
        b'data: {"error": null}',
        b'data: {"error": {"type": 5}}',
        b'data: {"error": "x"}',
        b"data: \xff\xfe",
        b"data: " + b"[" * 100_000,
    ],
)
def test_an_error_that_does_not_say_what_it_is_is_the_apis(data: bytes) -> None:
    said, held = look(START, b"event: error\n" + data + b"\n\n")
    assert (said, held.error_type()) == ("error", "api_error")


def test_an_errors_data_may_stand_on_several_lines() -> None:
    _, held = look(b'event: error\ndata: {"error":\ndata: {"type": "api_error_2"}}\n\n')
    assert held.error_type() == "api_error_2"


def test_an_error_that_comes_with_content_is_shown_without_it() -> None:
    held = Held()
    delta = b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'
    held.take(b"event: message_start\ndata: {}\n\n" + delta + error)
    assert held.failure() == [error]
    early = Held()
    early.take(b"event: message_start\ndata: {}\n\n" + error)
    assert early.failure() == early.chunks
