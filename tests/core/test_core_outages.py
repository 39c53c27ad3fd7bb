"""What processes tell each other about targets: read back as written, and refused in any other form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.outages import MAX_CHARS, SLACK_US, US, Outage, Refused, decode_outage, encode_outage, place_of
from console.core.targets import Target

NOW = 1_795_000_000 * US
OUTAGE = Outage(
    "sonnet", "0123456789abcdef", "01234567-process", 4711, NOW - 5 * US, NOW + 10 * US, "529 overloaded_error x3 in a row"
)


def document(**changes: Any) -> str:
    return json.dumps(json.loads(encode_outage(OUTAGE)) | changes)


def test_what_was_written_is_read_back() -> None:
    assert decode_outage(encode_outage(OUTAGE)) == OUTAGE


def test_a_reason_is_cleaned_and_cut_when_it_is_written() -> None:
    read = decode_outage(encode_outage(OUTAGE._replace(reason="sk-ant-abcdefghijklmnopqrstuvwxyz " + "x" * 900)))
    assert "sk-ant" not in read.reason and len(read.reason) <= 200


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{}", "{", "[" * 100_000, "1" * (MAX_CHARS + 1),
        document(format=2), document(format="1"), document(more=1), document(target=7), document(target=""),
        document(target="\x1b]0;x\x07"), document(reason="two\nlines"), document(reason="x" * 300), document(pid="7"),
        document(pid=True), document(since=1.5), document(since=None), document(since=0),
        document(until=NOW - 60 * US), document(process=None),
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_anything_else_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(Refused):
        decode_outage(text)


@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text() | st.floats(),
        lambda part: st.lists(part) | st.dictionaries(st.sampled_from(["format", *Outage._fields]) | st.text(), part),
    ).map(json.dumps)
)
def test_whatever_a_file_holds_it_is_an_outage_or_refused(text: str) -> None:
    try:
        read = decode_outage(text)
    except Refused:
        return
    assert read.target.isprintable()


def test_it_is_in_force_until_its_probe_and_a_little_longer() -> None:
    assert OUTAGE.is_in_force(NOW)
    assert OUTAGE.is_in_force(OUTAGE.until + SLACK_US - 1)
    assert not OUTAGE.is_in_force(OUTAGE.until + SLACK_US)
    assert not OUTAGE.is_in_force(OUTAGE.since - 3600 * US)
    assert not OUTAGE._replace(until=NOW + 86_400 * US).is_in_force(NOW)


def test_files_of_two_processes_or_targets_have_two_names() -> None:
    names = {OUTAGE.file_name, OUTAGE._replace(process="other").file_name, OUTAGE._replace(target="other").file_name}
    assert len(names) == 3
    assert all(name.isascii() and "/" not in name and len(name) < 50 for name in names)


def test_a_place_is_the_same_whatever_it_is_called() -> None:
    here = Target("sonnet", "claude-sonnet-5-5", base_url="https://a", api_key="env:KEY")
    assert place_of(here) == place_of(replace(here, name="other", params={"max_tokens": 7}))
    for change in ({"model": "claude-haiku-5-5"}, {"base_url": "https://b"}, {"api_key": "env:OTHER"}, {"region": "eu"}):
        assert place_of(replace(here, **change)) != place_of(here)
