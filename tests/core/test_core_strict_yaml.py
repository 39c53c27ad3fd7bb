"""YAML read strictly, and the configuration's mistakes with their places."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.configuration import DEFAULT, parse_configuration
from console.core.strict_yaml import MAX_CHARS, MAX_DEPTH, read_yaml, typed
from console.errors import ConfigError


def mistakes(text: str) -> list[str]:
    return [str(mistake) for mistake in read_yaml(text, "f.yaml").mistakes]


@pytest.mark.parametrize(
    "written",
    [
        "1.10",
        "no",
        "on",
        "Yes",
        "010",
        "0x1f",
        "1_000",
        "1e3",
        ".inf",
        "12:30:45",
        "2026-11-21",
        "true",
        "=",
        "<<",
        "off",
        "0o7",
        "+1",
    ],
)
def test_a_plain_scalar_stays_the_text_that_was_written(written: str) -> None:
    document = read_yaml(f"version: {written}\nlist: [{written}]\n", "f.yaml")
    assert document.mistakes == []
    assert document.value == {"version": written, "list": [written]}


@pytest.mark.parametrize("written", ["", "~", "null", "Null", "NULL"])
def test_only_nothing_is_none(written: str) -> None:
    assert read_yaml(f"key: {written}\nquoted: '{written}'\n", "f.yaml").value == {"key": None, "quoted": written}


def test_keys_are_text_as_well() -> None:
    assert read_yaml("no: a\n010: b\n1.10: c\n", "f.yaml").value == {"no": "a", "010": "b", "1.10": "c"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: the key 'a' stands twice"),
        ("a:\n  x: 1\n  x: 2\n", "f.yaml:3:3: the key 'x' stands twice"),
        ("a: &x 1\n", "f.yaml:1:4: anchors and aliases"),
        ("a: 1\nb: *x\n", "f.yaml:2:4: not YAML"),
        ("a: {b: [1, 2}\n", "f.yaml:1:13: not YAML"),
        ("a: 1\n\tb: 2\n", "f.yaml:2:1: not YAML"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: not YAML"),
        ("? [a]\n: 1\n", "f.yaml:1:1: a key must be plain text"),
        ("a: \x00\n", "f.yaml: not YAML"),
        ("a: !!int '8'\n", "f.yaml:1:4: tags"),
        ("a: !secret x\n", "f.yaml:1:4: tags"),
        ("a: !!python/object/apply:os.system [id]\n", "f.yaml:1:4: tags"),
        ("a: !!python/object:os.system {x: 1}\n", "f.yaml:1:4: tags"),
        ("a: !!set {x, y}\n", "f.yaml:1:4: tags"),
        ("a: !!binary aGk=\n", "f.yaml:1:4: tags"),
        ("!!str a: 1\n", "f.yaml:1:1: tags"),
    ],
)
def test_what_could_be_misread_is_refused_with_its_place(text: str, place: str) -> None:
    assert [said[: len(place)] for said in mistakes(text)] == [place]


def test_e7_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    begun = time.monotonic()
    found = mistakes("\n".join(lines))
    assert time.monotonic() - begun < 1
    assert found[0].startswith("f.yaml:1:5: anchors and aliases")


def test_e7_depth_and_size_have_a_limit() -> None:
    assert mistakes("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
    assert "nested deeper" in mistakes("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2))[0]
    assert mistakes("[" * 100_000)[0].startswith("f.yaml")
    assert "larger than" in mistakes("a: " + "x" * MAX_CHARS)[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping_or_nothing(text: str) -> None:
    document = read_yaml(text, "f.yaml")
    assert document.mistakes == []
    assert document.value in ({}, None)


@given(st.text(max_size=60) | st.text("abc:-[]{}&*!'\"\n ,#|>", max_size=60))
def test_any_text_is_read_or_refused_but_never_raises(text: str) -> None:
    document = read_yaml(text, "f.yaml")
    assert all(mistake.message for mistake in document.mistakes)


@given(st.recursive(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text("abc", min_size=1), c, max_size=3), max_leaves=8))  # fmt: skip
def test_what_json_says_is_what_is_read(value: object) -> None:
    import json

    assert read_yaml(json.dumps(value, ensure_ascii=False), "f.yaml").value == value


def test_numbers_are_numbers_only_where_they_are_asked_for() -> None:
    value = read_yaml("{a: 1, b: 1.50, c: 010, d: true, e: [no, -3], f: 1e5, g: '2'}", "f.yaml").value
    assert typed(value) == {"a": 1, "b": 1.5, "c": "010", "d": True, "e": ["no", -3], "f": "1e5", "g": 2}


# -- configuration ----------------------------------------------------------------------------------------------------


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_configuration(text, "console.yaml")
    return str(caught.value).splitlines()


def test_an_empty_configuration_is_the_default() -> None:
    assert parse_configuration("", "console.yaml") == DEFAULT
    assert parse_configuration("environment:\nfeatures:\n", "console.yaml") == DEFAULT


def test_a_configuration_is_read() -> None:
    text = """
environment: production
data: /var/lib/console
kill_directories: [/run/a, b]
features:
  support-reply: {degraded: "no"}
  classify: {}
retention: {calls: 12h, rollups: 30d}
"""
    read = parse_configuration(text, "console.yaml")
    assert (read.environment, read.data, read.kill_directories) == ("production", "/var/lib/console", ("/run/a", "b"))
    assert (read.degraded_text("support-reply"), read.degraded_text("classify"), read.degraded_text("x")) == ("no", None, None)
    assert (read.retention.calls, read.retention.rollups) == (43_200, 2_592_000)


def test_every_mistake_is_told_at_once_each_with_its_line_and_column() -> None:
    text = """environment: "pro duction"
colour: blue
features:
  support-reply:
    degraded: ""
    retries: 3
  "bad name": {}
retention:
  calls: 5
  rollups: 1y
kill_directories:
  - /a
  - ""
"""
    found = refused(text)
    assert [line.split(": ")[0] for line in found] == [
        "console.yaml:1:1",
        "console.yaml:2:1",
        "console.yaml:5:5",
        "console.yaml:6:5",
        "console.yaml:7:3",
        "console.yaml:9:3",
        "console.yaml:10:3",
        "console.yaml:13:5",
    ]
    assert found[1].endswith("colour: unknown key")
    assert found[3].endswith("features.support-reply.retries: unknown key")
    assert "90s" in found[5]


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "'quoted'\n", "null\n"])
def test_a_configuration_that_is_no_mapping_is_refused(text: str) -> None:
    assert refused(text)[0].startswith("console.yaml:1:1: ")


@pytest.mark.parametrize(
    "text",
    ["features: {x: null}", "features: [x]", "features: x", "retention: {calls: ~}", "data: [x]", "kill_directories: /a"],
)
def test_a_value_of_another_form_is_refused_where_it_stands(text: str) -> None:
    assert refused(text)[0].startswith("console.yaml:1:")


def test_e7_a_hostile_file_is_refused_before_it_is_looked_at() -> None:
    assert refused("environment: &a x\nservice: *a\ncolour: 1\n")[0].startswith("console.yaml:1:14: anchors")
