"""What a prompt file may hold, every mistake with its place, and filling in variables."""

from __future__ import annotations

import subprocess
import sys
import traceback
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.control import text_hash
from console.core.prompts import MAX_CHARS, PromptVersion, check_name, check_version, fill, parse_prompt
from console.errors import MissingVariables, PromptError

ROOT = Path(__file__).resolve().parents[2]
FILE = "prompts/reply/v3.md"


def parsed(body: str, variables: str = "[]", more: str = "") -> PromptVersion:
    return parse_prompt("reply", 3, f"---\nvariables: {variables}\n{more}---\n{body}", FILE)


def refusal(text: str) -> list[str]:
    with pytest.raises(PromptError) as caught:
        parse_prompt("reply", 3, text, FILE)
    return str(caught.value).splitlines()


def test_a_file_is_its_front_matter_and_its_text() -> None:
    text = "---\ndescription: Answers.\nvariables: [product, plan]\nowner: support\nnotes: 1.10\ndraft: true\n---\n\nFor ${product}.\n\nBye\n"
    prompt = parse_prompt("reply", 3, text, FILE)
    assert (prompt.name, prompt.version, prompt.hash, str(prompt)) == ("reply", 3, text_hash(text), "reply v3")
    assert (prompt.description, prompt.owner, prompt.notes, prompt.is_draft) == ("Answers.", "support", "1.10", True)
    assert (prompt.variables, prompt.body) == (("product", "plan"), "For ${product}.\n\nBye")


@pytest.mark.parametrize("file", sorted(ROOT.glob("prompts/*/v*.md")), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_prompt_that_travels_is_one(file: Path) -> None:
    prompt = parse_prompt(file.parent.name, int(file.stem[1:]), file.read_text(encoding="utf-8"), file.name)
    assert fill(prompt, dict.fromkeys(prompt.variables, "Acme"))


def test_front_matter_may_be_empty_and_lines_may_end_as_windows_ends_them() -> None:
    assert parse_prompt("reply", 1, "---\n---\nHello", FILE).body == "Hello"
    prompt = parse_prompt("reply", 1, "---\r\nvariables: [a]\r\n---\r\nHello ${a}\r\nBye\r\n", FILE)
    assert (prompt.body, fill(prompt, {"a": "x\r\ny"})) == ("Hello ${a}\nBye", "Hello x\r\ny\nBye")


def test_a_rule_in_the_text_is_text() -> None:
    assert parsed("One\n---\nTwo\n").body == "One\n---\nTwo"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello", [f"{FILE}:1:1: begin with a line `---`"]),
        ("", [f"{FILE}:1:1: begin with a line `---`"]),
        ("---\nvariables: []\nHello", [f"{FILE}:1:1: begin with a line `---`"]),
        ("﻿---\n---\nHello", [f"{FILE}:1:1: begin with a line `---`"]),
        ("---\n---\n", [f"{FILE}:3:1: the prompt has no text"]),
        ("---\n---\n \n\t\n", [f"{FILE}:3:1: the prompt has no text"]),
        ("---\n- a\n---\nHello", [f"{FILE}:2:1: the front matter is a mapping"]),
        ("---\nvariable: [a]\n---\nHello", [f"{FILE}:2:1: unknown key 'variable'"]),
        ("---\nowner: a\nowner: b\n---\nHello", [f"{FILE}:3:1: the key 'owner' stands twice"]),
        ("---\nowner: &a b\n---\nHello", [f"{FILE}:2:8: anchors and aliases"]),
        ("---\nowner: !!python/object/apply:os.system [id]\n---\nHello", [f"{FILE}:2:8: tags"]),
        ("---\nowner: [a]\n---\nHello", [f"{FILE}:2:1: owner: write a text"]),
        (f"---\nnotes: {'x' * 2_001}\n---\nHello", [f"{FILE}:2:1: notes: write a text"]),
        ("---\ndraft: yes\n---\nHello", [f"{FILE}:2:1: draft: write true or false"]),
        ("---\ndraft:\n---\nHello", [f"{FILE}:2:1: draft: write true or false"]),
        ("---\nvariables: product\n---\nHello", [f"{FILE}:2:1: variables: write a list"]),
        ("---\nvariables: {a: b}\n---\nHello", [f"{FILE}:2:1: variables: write a list"]),
        (f"---\nvariables: [{'a, ' * 101}]\n---\nHello", [f"{FILE}:2:1: variables: write a list of up to 100"]),
        ("---\nvariables: [a, a]\n---\nHello", [f"{FILE}:2:16: variables: a stands there twice"]),
        ("---\nvariables: [key]\n---\nHello", [f"{FILE}:2:13: variables: `key` is what render() takes"]),
        ("---\nvariables: [conversation]\n---\nHello", [f"{FILE}:2:13: variables: `conversation` is what"]),
        (
            "---\nvariables: [a-b, 1a, ä, '', [x]]\n---\nHello",
            [f"{FILE}:2:{at}: variables: a name is" for at in (13, 18, 22, 25, 29)],
        ),
        ("---\n---\nOne\nTwo ${a}", [f"{FILE}:4:5: ${{a}} is not among the variables"]),
        ("---\nvariables: [a]\n---\n${a} ${A}", [f"{FILE}:4:6: ${{A}} is not among"]),
        ("---\nvariables: [a]\n---\nx ${ a}", [f"{FILE}:4:3: `${{` begins a variable"]),
        ("---\nvariables: [a]\n---\n${a.__class__}\n${a", [f"{FILE}:4:1: `${{` begins", f"{FILE}:5:1: `${{` begins"]),
        ("---\ndraft: no\nfoo: 1\n---\n${a} ${}", [f"{FILE}:{at}" for at in ("2:1", "3:1", "5:1", "5:6")]),
    ],
)
def test_every_mistake_is_named_with_its_place(text: str, said: list[str]) -> None:
    found = refusal(text)
    assert [line[: len(start)] for line, start in zip(found, said, strict=True)] == said


def test_a_file_of_any_size_but_too_large_is_parsed_quickly() -> None:
    assert len(parsed("x" * (MAX_CHARS - 100)).body) == MAX_CHARS - 100
    assert refusal("---\n---\n" + "x" * MAX_CHARS) == [f"{FILE}: longer than {MAX_CHARS} characters"]
    refusal("---\n" + "a: b\n" * 30_000)
    refusal("---\n" + "---x\n" * 30_000)
    assert len(refusal("---\n---\n" + "${" * 90_000)) == 90_000


HOSTILE_NAMES = [
    "", ".", "..", "../x", "a/../b", "/etc/passwd", "a/b", "a\\b", "a\x00b", "a\x00", "-rf", "--help", "_a", "Reply", "ARP", "reply\n",
    "re ply", "ｒeply", "rерly", "reply\u200b", "ﬁle", "a" * 65, "a.b", "~", "$HOME", "ı", "K", "é",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_e8_a_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(PromptError, match="cannot be a prompt's name"):
        check_name(name)
    with pytest.raises(PromptError):
        parse_prompt(name, 1, "---\n---\nHello", FILE)


@pytest.mark.parametrize("name", [None, 3, b"reply", ["reply"]])
def test_e8_a_name_that_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(PromptError, match="cannot be a prompt's name"):
        check_name(name)


@given(st.text(max_size=80))
def test_a_name_that_is_accepted_is_one_plain_path_segment(name: str) -> None:
    try:
        check_name(name)
    except PromptError:
        return
    assert name.isascii()
    assert name == name.lower()
    assert not set(name) & set("/\\.\x00 \n")
    assert name[0] not in "-_"


@pytest.mark.parametrize("version", [0, -1, 1_000_001, True, "3", 3.0, None])
def test_a_version_is_a_whole_number_from_one_on(version: object) -> None:
    with pytest.raises(PromptError, match="cannot be a version"):
        check_version(version)


def test_two_dollars_and_a_brace_are_the_brace_itself() -> None:
    prompt = parsed("$${a} costs $5, $$${a}, $a, {a}, $ {a}, %s, ${a}", "[a]")
    assert fill(prompt, {"a": "A"}) == "${a} costs $5, $${a}, $a, {a}, $ {a}, %s, A"


def test_a_declared_variable_need_not_be_used_and_is_not_asked_for() -> None:
    assert fill(parsed("Hello", "[a]"), {}) == "Hello"


def test_what_is_given_beside_the_variables_is_ignored() -> None:
    assert fill(parsed("${a}${a}", "[a]"), {"a": "x", "b": object(), "self": None}) == "xx"


class Plan(str, Enum):  # noqa: UP042 -- the older way, whose str() is not its text
    PRO = "pro"


class Level(IntEnum):
    TOP = 3


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), (3, "3"), (-0.5, "-0.5"), (True, "True"), (Plan.PRO, "pro"), (Level.TOP, "3"), ("", "")]
)
def test_a_value_is_text_a_number_or_a_truth_value(value: object, text: str) -> None:
    assert fill(parsed("<${a}>", "[a]"), {"a": value}) == f"<{text}>"


@pytest.mark.parametrize("value", [None, b"x", ["x"], {"a": 1}, object(), 1j])
def test_any_other_value_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(PromptError, match=rf"^prompt reply v3 takes .*: a is of type {type(value).__name__}$") as caught:
        fill(parsed("${a}", "[a]"), {"a": value})
    assert not isinstance(caught.value, MissingVariables)


def test_everything_that_is_missing_is_named_at_once_in_the_order_of_the_text() -> None:
    with pytest.raises(MissingVariables, match=r"^prompt reply v3 needs c, a: "):
        fill(parsed("${c} ${a} ${b} ${a}", "[a, b, c]"), {"b": "x"})


names = st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True).filter(lambda name: name not in {"key", "conversation"})
hostile = st.one_of(
    st.text(max_size=40), st.sampled_from(["${a}", "$${a}", "{a.__init__}", "%(a)s", "${b}${a}", "\\1", "\x00"])
)


@given(st.dictionaries(names, hostile, min_size=1, max_size=5), st.data())
def test_a_value_is_never_looked_at_again(values: dict[str, str], data: st.DataObject) -> None:
    used = data.draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=8))
    prompt = parsed("".join(f"<{index}|${{{name}}}>" for index, name in enumerate(used)), f"[{', '.join(values)}]")
    assert fill(prompt, values) == "".join(f"<{index}|{values[name]}>" for index, name in enumerate(used))


@given(st.text(alphabet="ab $}{", max_size=60))
def test_any_text_can_be_written_so_that_it_is_sent_as_it_is(text: str) -> None:
    """By doubling the dollar before a brace."""
    prompt = parsed("|" + text.replace("${", "$${") + "|")
    assert fill(prompt, {}) == f"|{text}|"


@given(st.text(max_size=200))
def test_any_text_is_a_prompt_or_is_refused(text: str) -> None:
    for whole in (text, f"---\n{text}", f"---\n{text}\n---\nHello", f"---\nvariables: [a]\n---\n{text}"):
        try:
            assert parse_prompt("reply", 3, whole, FILE).hash == text_hash(whole)
        except PromptError as error:
            assert all(line.startswith(FILE) for line in str(error).split("\n"))


class Secretive:
    def __repr__(self) -> str:
        return "planted-secret"

    __str__ = __repr__


@given(
    st.sampled_from(
        [{"a": "planted-secret"}, {"a": Secretive(), "b": "planted-secret"}, {"b": Secretive(), "c": "planted-secret"}]
    )
)
def test_no_refusal_tells_a_value(values: dict[str, Any]) -> None:
    with pytest.raises(PromptError) as caught:
        fill(parsed("${a} ${b}", "[a, b]"), values)
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.__context__)
    assert "planted-secret" not in said
    assert caught.value.__cause__ is None


def test_yaml_is_loaded_only_when_a_file_is_parsed() -> None:
    code = """
import sys, console.core.prompts as prompts
assert "yaml" not in sys.modules
prompts.parse_prompt("a", 1, "---\\n---\\nHello", "f")
assert "yaml" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, cwd=ROOT)
