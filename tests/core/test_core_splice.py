"""The stream splicer, one rule at a time. What holds in any order of events stands in `test_core_splice_machine`."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from splice_world import (
    END,
    ERROR,
    PING,
    PLAIN,
    Style,
    block,
    documents,
    event,
    part,
    read,
    said_in,
    split,
    start,
    stop,
    text,
    thought,
    told_why,
    written,
)

from console.core import splice
from console.core.calls import Usage
from console.core.seam import QUOTED_CHARACTERS, Seam, ask_to_go_on, last_words
from console.core.splice import Splicer
from console.sim.answers import _LONGEST_GO_ON, _asks_to_go_on

CALL = {"model": "m", "max_tokens": 100, "stream": True, "messages": [{"role": "user", "content": "Tell me."}]}
STYLES = [Style(end, is_spaced, colon, padding, is_ascii)
          for end in (b"\n", b"\r\n", b"\r") for is_spaced in (False, True) for colon in (b": ", b":")
          for padding in ("", "   ") for is_ascii in (True, False)]  # fmt: skip


def taken(*chunks: bytes) -> tuple[Splicer, bytes]:
    splicer = Splicer()
    return splicer, b"".join(splicer.take(chunk) for chunk in chunks)


def resumed(*chunks: bytes, body: dict[str, Any] = CALL) -> tuple[Splicer, bytes]:
    """A splicer whose first stream has broken after these chunks, and what it has handed on."""
    splicer, handed = taken(*chunks)
    assert splicer.can_continue(body)
    splicer.continuation(body)
    splicer.resume()
    return splicer, handed


# -- a stream that does not break --------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES, ids=repr)
def test_i9_a_sound_stream_is_handed_on_byte_for_byte_however_it_is_chunked(style: Style) -> None:
    source = written(1, ['It’s "a" \\ ', "test\n", "它们"], thoughts=["Hm."], call='{"a": "ä"}', style=style, pings=True)
    for size in (1, 2, 3, 7, 50, 1000, len(source.data)):
        chunks = [source.data[at : at + size] for at in range(0, len(source.data), size)]
        splicer, handed = taken(*chunks)
        assert handed == source.data
        assert (splicer.broken, splicer.ended(), splicer.has_stopped, splicer.is_finished) == (None, None, True, True)
        assert splicer.partial()["content"][1]["text"] == 'It’s "a" \\ test\n它们'
        assert splicer.closing() == b""


def test_b8_a_stream_cut_at_every_byte_hands_on_whole_events_only_and_never_looks_whole() -> None:
    source = written(
        1, ["Hello ", "wörld"], thoughts=["Hm."], call='{"a": 1}', style=Style(b"\r\n", is_ascii=False), pings=True
    )
    for cut in range(len(source.data)):
        splicer, handed = taken(source.data[:cut])
        assert len(handed) in (0, *source.ends, cut)
        assert len(handed) == max([0, *(end for end in source.ends if end <= cut)]) or handed.endswith(b"\r\n\r")
        assert splicer.ended() == ("truncated_stream" if b"message_stop" not in handed else None)
        read(handed)


def test_a_chunk_of_ordinary_deltas_is_handed_on_itself() -> None:
    for kind, delta in (({"type": "text", "text": ""}, text), ({"type": "thinking", "thinking": "", "signature": ""}, thought),
                        ({"type": "tool_use", "id": "t", "name": "n", "input": {}}, part)):  # fmt: skip
        splicer, _ = taken(start(), block(0, **kind))
        for chunk in (
            delta("a"),
            delta("b") + delta('"c"\n') + delta("它"),
            delta("d", 0, Style(b"\r\n", is_spaced=True, padding=" ")),
        ):
            assert splicer.take(chunk) is chunk
            assert splicer._blocks[0].pieces[-1] is chunk  # by reference: nothing was copied


@pytest.mark.parametrize("escape", [r"\"", r"\\", r"\/", r"\n", r"\u00e9", r"\ud83d\ude00", r"\u0000"])
def test_every_escape_of_json_is_text(escape: str) -> None:
    chunk = text("MARK").replace(b"MARK", escape.encode())
    splicer, handed = taken(start(), block(0), chunk)
    assert splicer.take(chunk) is chunk
    assert splicer.partial()["content"][0]["text"] == 2 * json.loads(f'"{escape}"') == 2 * said_in(read(handed))


def test_what_is_not_known_passes_unchanged() -> None:
    unknown = [
        event("something_new", index=77, delta={"type": "of course"}), PING, b": a comment\n\n", b"data: {nobody reads this\n\n",
        b"event: something_new\n\n", b"id: 5\nretry: 100\n\n", b"\n",
        event("content_block_delta", index=0, delta={"type": "new_delta", "text": 5}),
    ]  # fmt: skip
    splicer, handed = taken(start(), block(0), *unknown, text("x"), stop(), told_why(), END)
    assert handed == b"".join((start(), block(0), *unknown, text("x"), stop(), told_why(), END))
    assert splicer.has_stopped
    splicer, handed = taken(
        start(), block(0, type="new_block", what=1), event("content_block_delta", index=0, delta={"type": "x"})
    )
    assert splicer.broken is None
    assert not splicer.can_continue(CALL)


@pytest.mark.parametrize("ping", [b"event: ping\ndata: {\n\n", b"event:ping\ndata: \xff\n\n"])
def test_a_malformed_ping_is_left_out(ping: bytes) -> None:
    splicer, handed = taken(start(), block(0), ping, text("x") + ping + stop(), told_why(), END)
    assert handed == start() + block(0) + text("x") + stop() + told_why() + END
    assert splicer.has_stopped


def test_data_may_stand_on_several_lines_and_fields_in_any_order() -> None:
    delta = b'data: {"type":"content_block_delta","index":0,\ndata: "delta":{"type":"text_delta","text":"x"}}\nevent:content_block_delta\n\n'
    splicer, handed = taken(start(), block(0), delta)
    assert (handed, splicer.partial()["content"][0]["text"]) == (start() + block(0) + delta, "x")


@pytest.mark.parametrize("behind", [event("error", **ERROR), start(), b"event: x\ndata: {\n\n", text("more"), END], ids=repr)
def test_what_comes_behind_the_end_of_a_message_is_left_out(behind: bytes) -> None:
    splicer, handed = taken(start(), block(0), text("x"), stop(), told_why(), END + behind, behind)
    assert handed.endswith(END)
    assert (splicer.broken, splicer.ended()) == (None, None)
    assert splicer.take(PING) == PING


# -- faults ------------------------------------------------------------------------------------------------------------

OPEN = start() + block(0) + text("x")
FAULTS = {
    "no JSON": (OPEN, b'event: content_block_delta\ndata: {"type":\n\n'),
    "no object": (OPEN, b"event: something\ndata: []\n\n"),
    "deep": (OPEN, b"event: something\ndata: " + b"[" * 100_000 + b"\n\n"),
    "no data": (OPEN, b"event: content_block_delta\n\n"),
    "no type": (OPEN, b"event: content_block_delta\ndata: {}\n\n"),
    "another type": (OPEN, b'event: content_block_delta\ndata: {"type":"message_stop"}\n\n'),
    "no UTF-8": (OPEN, text("MARK").replace(b"MARK", b"\xff")),
    "no UTF-8 in a comment": (OPEN, b": \xff\n\n"),
    "a control character": (OPEN, text("MARK").replace(b"MARK", b"\x01")),
    "a wrong escape": (OPEN, text("MARK").replace(b"MARK", b"\\x")),
    "a second start": (OPEN, start()),
    "nothing before": (b"", text("x")),
    "a start without a message": (b"", event("message_start")),
    "a start without usage": (b"", event("message_start", message={"content": []})),
    "a start without content": (b"", event("message_start", message={"usage": {}})),
    "a delta of another block": (OPEN, text("x", 1)),
    "a delta of a closed block": (OPEN + stop(), text("x")),
    "a delta of no block": (OPEN, text("x", -1)),
    "a delta of another kind": (OPEN, part("x")),
    "a delta without text": (OPEN, event("content_block_delta", index=0, delta={"type": "text_delta"})),
    "a delta without a delta": (OPEN, event("content_block_delta", index=0)),
    "a block out of order": (OPEN + stop(), block(2)),
    "a block again": (OPEN + stop(), block(0)),
    "a block without text": (OPEN + stop(), block(1, type="text")),
    "a call without an id": (OPEN + stop(), block(1, type="tool_use", name="x", input={})),
    "the end of no block": (OPEN, stop(1)),
    "an end without usage": (OPEN + stop(), event("message_delta", delta={"stop_reason": "end_turn"})),
}


@pytest.mark.parametrize(("before", "fault"), FAULTS.values(), ids=FAULTS)
def test_b8_a_malformed_event_ends_the_source_and_what_was_sound_before_it_is_handed_on(before: bytes, fault: bytes) -> None:
    for chunks in ([before + fault + PING], [before, fault, PING], [before + fault[:20], fault[20:] + PING, PING]):
        splicer, handed = taken(*chunks)
        assert (splicer.broken, handed, splicer.ended()) == ("malformed_event", before, "malformed_event")


@pytest.mark.parametrize("fault", [fault for before, fault in FAULTS.values() if before == OPEN])
def test_b8_what_is_called_malformed_makes_the_sdk_raise_or_lose_something(fault: bytes) -> None:
    whole = OPEN + fault
    try:
        message = read(whole)
    except Exception:  # noqa: BLE001 -- whatever it raises: the caller would have got it
        return
    lost = any(
        name in fault for name in (b"content_block_delta", b"content_block_start", b"message_start", b"content_block_stop")
    )
    assert lost or message is None


def test_an_event_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "MAX_EVENT", 1000)
    splicer, handed = taken(OPEN, *[b"x" * 100] * 11)
    assert (splicer.broken, handed) == ("malformed_event", OPEN)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (json.dumps(ERROR), "overloaded_error"),
        ("", "api_error"),
        ("{", "api_error"),
        ('{"error": {"type": 5}}', "api_error"),
        ('{"error": {"type": "rate_limit_error", "details": {"error_code": "spend"}}}', "rate_limit_error: spend"),
        ('{"error": {"type": "\\u001b[31m"}}', "api_error"),
    ],
)
def test_b8_an_error_in_band_is_kept_back_and_named(data: str, kind: str) -> None:
    splicer, handed = taken(OPEN + f"event: error\ndata: {data}\n\n".encode() + PING)
    assert (splicer.broken, handed, splicer.ended(), splicer.take(PING)) == (kind, OPEN, kind, b"")


def test_b9_a_clean_end_without_message_stop_is_an_error_at_every_event() -> None:
    source = written(1, ["Hello ", "world."], thoughts=["Hm."], call='{"a": 1}')
    for count in range(len(source.events)):
        splicer, _ = taken(*source.events[:count])
        assert splicer.ended() == "truncated_stream"


# -- a message that only lacks its end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [(), (stop(),)])
@pytest.mark.parametrize("fault", [b"", event("error", **ERROR), b"event: message_stop\ndata: {\n\n"])
def test_a_finished_message_is_closed(missing: tuple[bytes, ...], fault: bytes) -> None:
    ends = (told_why(),) if missing else (stop(), told_why())
    splicer, handed = taken(OPEN, *ends, fault)
    assert splicer.is_finished
    assert not splicer.can_continue(CALL)
    assert splicer.closing() == b"".join(missing) + END
    assert (splicer.has_stopped, splicer.ended(), splicer.closing()) == (True, None, b"")
    assert handed == OPEN + b"".join(ends)


def test_an_answer_without_a_stop_reason_is_not_finished() -> None:
    splicer, _ = taken(OPEN, stop(), told_why(None))
    assert (splicer.is_finished, splicer.closing()) == (False, b"")


# -- whether and how to go on ------------------------------------------------------------------------------------------


def test_only_text_is_continued() -> None:
    thinking = block(0, type="thinking", thinking="", signature="")
    redacted = block(0, type="redacted_thinking", data="x")
    citation = event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": {"cited_text": "x"}})
    tool = block(1, type="tool_use", id="t", name="n", input={})
    cases = {
        start() + block(0) + text("x"): True,
        start() + block(0, type="text", text="x"): True,
        start() + block(0) + text("x") + stop(): True,
        start() + thinking + thought("x") + stop() + block(1) + text("x", 1): True,
        start() + redacted + stop() + block(1) + text("x", 1): True,
        b"": False,
        start(): False,
        start() + block(0): False,
        start() + block(0) + text(" \n"): False,
        start() + thinking + thought("x"): False,
        OPEN + stop() + block(1, type="thinking", thinking="", signature=""): False,
        OPEN + citation: False,
        start() + block(0, type="text", text="", citations=[{"cited_text": "x"}]) + text("x"): False,
        OPEN + stop() + tool: False,
        OPEN + stop() + tool + stop(1): False,
        OPEN + stop() + block(1, type="server_tool_use", id="t", name="n", input={}): False,
    }
    for stream, expected in cases.items():
        assert taken(stream)[0].can_continue(CALL) is expected, stream


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"tool_choice": {"type": "auto"}}, True), ({"tool_choice": {"type": "none"}}, True), ({"output_config": {"effort": "low"}}, True),
        ({"tool_choice": {"type": "any"}}, False), ({"tool_choice": {"type": "tool", "name": "x"}}, False),
        ({"output_config": {"format": {"type": "json_schema"}}}, False), ({"output_format": {"type": "json_schema"}}, False),
        ({"messages": []}, False), ({"messages": None}, False),
        ({"tools": [{"name": "x"}]}, True), ({"thinking": {"type": "adaptive"}}, True),
        ({"tools": [{"name": "x"}], "thinking": {"type": "disabled"}}, True),
        ({"tools": [{"name": "x"}], "thinking": {"type": "adaptive"}}, False),
    ],
)  # fmt: skip
def test_an_answer_whose_form_is_prescribed_is_not_continued(more: dict[str, Any], expected: bool) -> None:
    assert taken(OPEN)[0].can_continue(CALL | more) is expected


def test_the_request_for_the_rest_ends_in_a_user_turn_and_leaves_the_callers_own_alone() -> None:
    splicer, _ = taken(start(), block(0), text("One two three four five six.  \n"))
    body = {**CALL, "system": "Be kind.", "tools": [{"name": "x"}], "thinking": {"type": "adaptive"}}
    before = json.dumps(body)
    made = splicer.continuation(body)
    assert json.dumps(body) == before
    assert made == {**body, "messages": made["messages"]}
    said, asked = made["messages"][1:]
    assert said == {"role": "assistant", "content": "One two three four five six."}
    assert asked == {"role": "user", "content": ask_to_go_on("two three four five six.")}


@pytest.mark.parametrize(
    ("more", "left"),
    [
        ({"max_tokens": 100}, 90),
        ({"max_tokens": 5}, 1),
        ({"max_tokens": 100, "thinking": {"type": "enabled"}}, 100),
        ({}, None),
    ],
)
def test_a_continuation_may_use_what_is_left_of_max_tokens(more: dict[str, Any], left: int | None) -> None:
    body = {"messages": CALL["messages"], **more}
    splicer, _ = taken(start(), block(0), text("x" * 40))
    assert splicer.continuation(body).get("max_tokens") == left


@pytest.mark.parametrize(
    ("prefill", "expected"),
    [
        ("Well: ", "Well: one two"),
        ([{"type": "text", "text": "Well: ", "cache_control": {"type": "ephemeral"}}],
         [{"type": "text", "text": "Well: one two", "cache_control": {"type": "ephemeral"}}]),
        ([{"type": "document"}], [{"type": "document"}, {"type": "text", "text": "one two"}]),
        ([], [{"type": "text", "text": "one two"}]),
    ],
)  # fmt: skip
def test_a_prefill_and_what_was_said_become_one_turn(prefill: Any, expected: Any) -> None:
    body = {**CALL, "messages": [*CALL["messages"], {"role": "assistant", "content": prefill}]}
    before = json.dumps(body)
    splicer, _ = taken(start(), block(0), text("one two "))
    turns = splicer.continuation(body)["messages"]
    assert json.dumps(body) == before
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == expected


def test_words_of_the_prefill_that_are_repeated_are_dropped_too() -> None:
    body = {**CALL, "messages": [*CALL["messages"], {"role": "assistant", "content": "The answer is"}]}
    splicer, handed = resumed(start(), block(0), text(" 42,"), body=body)
    handed += splicer.take(start("msg_2") + block(0) + text("The answer is 42, of course.") + stop() + told_why() + END)
    assert said_in(read(handed)) == " 42, of course."


def test_halves_of_a_character_are_put_together_and_a_lone_half_can_be_sent() -> None:
    halves = text("MARK").replace(b"MARK", rb"\ud83d"), text("MARK").replace(b"MARK", rb"\ude00 \ud83d")
    splicer, _ = taken(start(), block(0), *halves)
    said = splicer.continuation(CALL)["messages"][1]["content"]
    assert said == "😀 �"
    json.dumps(said, ensure_ascii=False).encode()


@given(said=st.text(min_size=1, max_size=300).filter(str.strip))
def test_the_last_words_are_few_and_the_simulator_knows_what_is_asked(said: str) -> None:
    words = last_words(said)
    asked = ask_to_go_on(words)
    assert 0 < len(words) <= QUOTED_CHARACTERS
    assert len(words.split()) <= 5
    assert " ".join(said.split()).endswith(words)
    assert len(asked) < _LONGEST_GO_ON
    assert _asks_to_go_on(asked)


# -- the seam ----------------------------------------------------------------------------------------------------------

LONG = "It was the best of times, it was the worst of times, it was the age of wisdom"
SEAMS = {
    "repeats the quoted words": (LONG, "it was the age of wisdom, it was", ", it was"),
    "repeats fewer": (LONG, "age of wisdom, it was", ", it was"),
    "repeats one word": (LONG, "wisdom, it was", ", it was"),
    "begins again": (LONG, LONG + ", it was", ", it was"),
    "begins again and says something else": (LONG, "It was the best of days", " It was the best of days"),
    "goes on": (LONG, "and folly", " and folly"),
    "goes on with a space": (LONG, " and folly", " and folly"),
    "goes on with a comma": (LONG, ", it was", ", it was"),
    "in quotes": (LONG, '"the age of wisdom", it was', ", it was"),
    "in curly quotes": (LONG, "“it was the age of wisdom”, it was", ", it was"),
    "behind dots": (LONG, "...the age of wisdom, it was", ", it was"),
    "behind an ellipsis": (LONG, "… age of wisdom, it was", ", it was"),
    "a quotation of its own": (LONG, '"Wisdom" is a word', '"Wisdom" is a word'),
    "in another case": (LONG, "The age of wisdom, it was", ", it was"),
    "other white space": ("one two\n\nthree  four", "two three\nfour five", " five"),
    "white space was said": ("one two ", "three", "three"),
    "white space was said and comes again": ("one two ", " three", "three"),
    "white space was said before repeated words": ("one two ", "one two three", "three"),
    "a paragraph was said": ("one.\n\n", "\n\nTwo", "Two"),
    "a line was said and a paragraph comes": ("one.\n", "\n\nTwo", "\nTwo"),
    "a space was said and a paragraph comes": ("one. ", "\n\nTwo", "\n\nTwo"),
    "within a word": ("The quick bro", "quick brown fox", "wn fox"),
    "a word that only begins alike": ("What this is", "island life", " island life"),
    "an article that only begins alike": ("I saw a big a", "another", " another"),
    "a word that is repeated": ("It was very", "very good", " good"),
    "a word that is said twice": ("say it is is", "is is good", " good"),
    "a mark that is no word": ("| a | b |", "| c | d |", "| c | d |"),
    "a text that repeats itself": ("x x x x x x x x", "x x x x x x x y", " x x y"),
    "Chinese": ("今天天气很好我们去", "我们去公园", "公园"),
    "Chinese that goes on": ("今天天气很好我们去", "公园", "公园"),
    "one Chinese character": ("今天是我的", "的确", "的确"),
    "only what was said": (LONG, "the age of wisdom", ""),
    "nothing": (LONG, "", ""),
    "one word that goes on": ("Hel", "Hello there", "lo there"),
}


@pytest.mark.parametrize(("said", "new", "expected"), SEAMS.values(), ids=SEAMS)
def test_the_seam(said: str, new: str, expected: str) -> None:
    for size in (1, 2, 3, 5, 8, 1000):
        seam, handed, is_open = Seam(said), "", True
        for piece in split(new, [size]) if new else []:
            if is_open:
                got = seam.take(piece)
                handed, is_open = handed + (got or ""), got is None
            else:
                handed += piece
        assert handed + (seam.end() if is_open else "") == expected, size


def test_text_that_is_plainly_new_is_not_held() -> None:
    assert Seam(LONG).take("Zebras are") == " Zebras are"
    assert Seam(LONG).take("it was all") == " it was all"


def test_a_seam_in_a_long_answer_is_found_without_searching_it_for_every_piece() -> None:
    said = " ".join(f"word{count % 977} is the" for count in range(20_000))
    seam = Seam(said)
    pieces = split(said + " end", [20])
    handed = [got for got in map(seam.take, pieces) if got is not None]
    assert handed[0] == " end"


# -- continued streams -------------------------------------------------------------------------------------------------


def test_i9_a_continuation_goes_on_in_the_open_block_under_the_first_message() -> None:
    splicer, handed = resumed(start(), block(0), text("One two"))
    handed += b"".join(map(splicer.take, written(2, ["two", " three ", "four."], thoughts=["Hm."], pings=True).events))
    assert [one["type"] for one in documents(handed)].count("message_start") == 1
    message = read(handed)
    assert (message.id, message.model, message.stop_reason) == ("msg_1", "model-1", "end_turn")
    assert [one.to_dict() for one in message.content] == [{"type": "text", "text": "One two three four."}]
    assert splicer.has_stopped


def test_a_continuation_in_the_same_place_costs_no_more_than_a_first_stream() -> None:
    splicer, _ = resumed(start(), block(0), text("One two"))
    splicer.take(start("msg_2") + block(0) + text("three"))
    chunk = text(" four")
    assert splicer.take(chunk) is chunk


def test_a_continuation_opens_a_block_when_none_is_open_and_only_for_text() -> None:
    splicer, handed = resumed(OPEN, stop())
    handed += splicer.take(start("msg_2") + block(0) + text("") + text("x"))
    assert [one["type"] for one in documents(handed)] == [one["type"] for one in documents(OPEN + stop())]
    handed += splicer.take(text("") + stop() + told_why() + END)
    assert [one.to_dict() for one in read(handed).content] == [{"type": "text", "text": "x"}]
    splicer, handed = resumed(OPEN, stop())
    handed += splicer.take(start("msg_2") + block(0) + text("y ") + text("z") + stop() + told_why() + END)
    assert [one.text for one in read(handed).content] == ["x", " y z"]


def test_i9_a_tool_call_of_a_continuation_closes_the_text_and_is_its_own() -> None:
    splicer, handed = resumed(start(), block(0), text("Let me"))
    handed += b"".join(map(splicer.take, written(2, [], thoughts=["Hm."], call='{"a": 1}').events))
    message = read(handed)
    assert [(one.type, getattr(one, "id", None)) for one in message.content] == [("text", None), ("tool_use", "toolu_2")]
    assert message.content[1].input == {"a": 1}
    assert [one["index"] for one in documents(handed) if one["type"] == "content_block_stop"] == [0, 1]
    assert message.stop_reason == "tool_use"


def test_i9_a_call_that_a_continuation_has_begun_is_not_continued() -> None:
    splicer, _ = resumed(start(), block(0), text("Let me"))
    source = written(2, ["Let me see."], call='{"a": 1}')
    for one in source.events[:-4]:
        splicer.take(one)
    assert not splicer.can_continue(CALL)
    with pytest.raises(ValueError, match="tool_use cannot be continued"):
        splicer.resume()


def test_a_citation_decides_the_seam_and_keeps_its_place() -> None:
    citation = event(
        "content_block_delta",
        index=0,
        delta={"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "x"}},
    )
    splicer, handed = resumed(start(), block(0), text("One two"))
    handed += splicer.take(start("msg_2") + block(0) + text("One") + citation + text(" more") + stop() + told_why() + END)
    assert read(handed).content[0].text == "One two One more"
    assert read(handed).content[0].citations[0].cited_text == "x"


def test_a_break_before_the_seam_is_decided_leaves_nothing_behind() -> None:
    splicer, handed = resumed(start(), block(0), text("One two three"))
    said = splicer.take(start("msg_2") + block(0) + text("two thr"))
    assert said == b""
    assert splicer.continuation(CALL)["messages"][1]["content"] == "One two three"
    splicer.resume()
    handed += splicer.take(start("msg_3") + block(0) + text("two three four") + stop() + told_why() + END)
    assert said_in(read(handed)) == "One two three four"


def test_pings_pass_while_a_seam_is_open() -> None:
    splicer, _ = resumed(start(), block(0), text("One two three"))
    assert splicer.take(start("msg_2") + block(0) + text("two") + PING) == PING


def test_a_continuation_without_any_text_ends_the_answer() -> None:
    splicer, handed = resumed(start(), block(0), text("One two."))
    handed += splicer.take(start("msg_2") + told_why() + END)
    assert said_in(read(handed)) == "One two."
    assert documents(handed)[-3] == {"type": "content_block_stop", "index": 0}


# -- what it has cost --------------------------------------------------------------------------------------------------


def test_usage_is_the_present_sources_and_the_caller_gets_the_sum() -> None:
    parts = {
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }
    first = start(input_tokens=100, cache_read_input_tokens=5, **parts) + block(0) + text("1234567 " * 7)
    splicer, handed = taken(first)
    assert splicer.usage() == Usage(100, 16, 5, 10, 20)  # 56 bytes at 3.5 a token
    splicer.continuation(CALL)
    splicer.resume()
    assert splicer.usage() is None
    handed += splicer.take(start("msg_2", input_tokens=50, cache_read_input_tokens=None, **parts))
    assert splicer.usage() == Usage(50, 1, 0, 10, 20)
    handed += splicer.take(
        block(0)
        + text("x")
        + stop()
        + told_why(output_tokens=9, input_tokens=51, server_tool_use={"web_search_requests": 2})
        + END
    )
    assert splicer.usage() == Usage(51, 9, 0, 10, 20)
    expected = {"input_tokens": 151, "output_tokens": 25, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 60,
                "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40},
                "server_tool_use": {"web_search_requests": 2}}  # fmt: skip
    assert documents(handed)[-2]["usage"] == expected
    assert splicer.partial()["usage"] == expected
    usage = read(handed).usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (151, 25, 5)


def test_what_was_dropped_of_a_source_was_billed_all_the_same() -> None:
    splicer, _ = resumed(start(), block(0), text("One two"))
    splicer.take(
        start("msg_2")
        + block(0, type="thinking", thinking="", signature="")
        + thought("x" * 350)
        + stop()
        + block(1)
        + text("One t", 1)
    )
    assert splicer.usage() == Usage(10, 102)  # 355 bytes


def test_output_that_was_told_is_not_estimated() -> None:
    assert taken(OPEN, text("x" * 1000), stop(), told_why(output_tokens=3))[0].usage() == Usage(10, 3)
    assert taken(start(output_tokens=40), block(0), text("x"))[0].usage() == Usage(10, 40)
    assert taken(PING)[0].usage() is None


# -- the partial message -----------------------------------------------------------------------------------------------


def test_the_partial_message_is_what_the_sdk_would_have_at_every_event() -> None:
    source = written(1, ["Hello ", "world."], thoughts=["Hm. ", "So."], call='{"a": [1, "ä"]}', pings=True)
    splicer, handed = Splicer(), b""
    for one in source.events:
        handed += splicer.take(one)
        mine, theirs = splicer.partial(), read(handed).to_dict()
        Message.model_validate(mine)
        unfinished = splicer._open is not None and splicer._open.kind == "tool_use"
        if unfinished:
            mine["content"][-1].pop("input"), theirs["content"][-1].pop("input")
        assert mine["content"] == theirs["content"]
        assert mine["stop_reason"] == theirs["stop_reason"]


def test_an_unfinished_call_has_no_input() -> None:
    splicer, _ = taken(start(), block(0, type="tool_use", id="t", name="n", input={}), part('{"a": 1}'))
    assert splicer.partial()["content"][0]["input"] == {}
    splicer.take(stop())
    assert splicer.partial()["content"][0]["input"] == {"a": 1}


def test_before_anything_came_the_partial_message_is_empty_and_sound() -> None:
    Message.model_validate(Splicer().partial())


# -- memory ------------------------------------------------------------------------------------------------------------


def test_no_more_is_kept_than_may_be_and_everything_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "MAX_KEPT", 100_000)
    splicer, _ = taken(start(), block(0))
    chunk = text("x" * 900)
    tracemalloc.start()
    for count in range(5000):
        handed_on = splicer.take(bytes(bytearray(chunk)))  # a new object each time
        assert handed_on == chunk
        if count == 200:
            before = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 50_000
    assert not splicer.can_continue(CALL)
    kept = splicer.partial()["content"][0]["text"]
    assert 50_000 < len(kept) < 110_000
    assert splicer.usage() == Usage(10, -(-5000 * 900 * 2 // 7))
    assert splicer.take(stop() + told_why() + END).endswith(END)
    assert splicer.has_stopped
    assert PLAIN.end == b"\n"
