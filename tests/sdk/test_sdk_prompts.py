"""A rendered prompt is a text that knows what it is, and the middleware recognises it."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sdk_shapes import COLOURS, MESSAGE_SHAPES, PLAIN, Shape, ask, seen_by

from console.core.calls import Facts
from console.core.control import text_hash
from console.core.ids import uuid7
from console.core.pointers import encode_pointer, pointer_key
from console.core.switches import Scope
from console.errors import CallBlocked, MissingVariables, PromptError, UnknownPrompt
from console.runtime.clock import now_us
from console.sdk.endpoints import TAG_FEATURE
from console.sdk.facts import batch_facts, facts_of, prompt_in
from console.sdk.prompts import Prompt, Prompts
from console.store.sqlite.control import Change, PromptRow, write_change

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Installation

    from console import Console
    from console.sim.server import SimulatedAPI

coloured = pytest.mark.parametrize("colour", COLOURS)
TEXT = "---\nvariables: [product, name]\n---\nYou answer for ${product}, ${name}.\n"
PROMPT = Prompt("You answer for Acme.", "support-reply", 3, "a" * 64)


@pytest.fixture
def console(installation: Installation) -> Console:
    directory = installation.file.parent / "prompts" / "support-reply"
    directory.mkdir(parents=True)
    for version in (1, 2, 3):
        (directory / f"v{version}.md").write_text(TEXT.replace("answer", f"answer as v{version}"))
    return installation.console


def rendered(console: Console, **given: Any) -> Prompt:
    return console.prompts.render("support-reply", **{"product": "Acme", "name": "Ann", **given})


def use(installation: Installation, weights: dict[int, int], withdrawn: frozenset[int] = frozenset()) -> None:
    directory = installation.file.parent / "prompts" / "support-reply"
    rows = [PromptRow("support-reply", version, "", (directory / f"v{version}.md").read_text()) for version in weights]
    rows = [row._replace(hash=text_hash(row.text)) for row in rows]
    value = encode_pointer({row.version: (weights[row.version], row.hash) for row in rows}, withdrawn)
    at = now_us()
    write_change(
        installation.data / "control.db",
        Change(
            id=uuid7(at, 7), act="use", key=pointer_key("support-reply"), value=value, at=at, actor="op", claimed={}, reason=None,
            expires_at=None, undoes=None, seen_version=None, floor=0, registers=tuple(rows),
        ),
    )  # fmt: skip


def test_a_prompt_is_a_text_that_knows_what_it_is(console: Console) -> None:
    prompt = rendered(console)
    assert prompt == "You answer as v3 for Acme, Ann."
    assert isinstance(prompt, str)
    assert (prompt.name, prompt.version) == ("support-reply", 3)
    assert prompt.hash == text_hash(TEXT.replace("answer", "answer as v3"))
    assert json.loads(json.dumps({"system": prompt})) == {"system": str(prompt)}
    assert type(str(prompt)) is type(prompt + "!") is type(f"{prompt}") is str


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_prompt_survives_copying_and_pickling(protocol: int) -> None:
    copies = [
        copy.copy(PROMPT),
        copy.deepcopy(PROMPT),
        pickle.loads(pickle.dumps(PROMPT, protocol)),  # noqa: S301 -- our own
        copy.deepcopy([{"a": PROMPT}])[0]["a"],
    ]
    for one in copies:
        assert type(one) is Prompt
        assert (one, one.name, one.version, one.hash) == (PROMPT, PROMPT.name, PROMPT.version, PROMPT.hash)


def test_a_variable_may_have_any_name_that_the_file_gives_it(installation: Installation, console: Console) -> None:
    directory = installation.file.parent / "prompts" / "odd"
    directory.mkdir()
    (directory / "v1.md").write_text(
        "---\nvariables: [name, self, class, variables, state]\n---\n${name}${self}${class}${variables}${state}"
    )
    given = {"name": "a", "self": "b", "class": "c", "variables": "d", "state": "e"}
    assert console.prompts.render("odd", **given) == "abcde"


def test_prompts_have_nothing_public_but_render() -> None:
    assert [name for name in vars(Prompts) if not name.startswith("_")] == ["render"]


def test_what_cannot_be_rendered_says_why(console: Console) -> None:
    with pytest.raises(UnknownPrompt, match="no prompt 'other'"):
        console.prompts.render("other")
    with pytest.raises(MissingVariables, match="support-reply v3 needs name"):
        console.prompts.render("support-reply", product="Acme")
    with pytest.raises(PromptError, match="cannot be a prompt's name"):
        console.prompts.render("../support-reply")
    with pytest.raises(PromptError, match="name is of type NoneType"):
        rendered(console, name=None)


def test_keys_and_conversations_may_be_numbers(installation: Installation, console: Console) -> None:
    use(installation, {1: 50, 2: 50})
    got = [rendered(console, key=number).version for number in range(40)]
    assert set(got) == {1, 2}
    assert got == [rendered(console, key=str(number)).version for number in range(40)]
    assert rendered(console, conversation=7).version == rendered(console, conversation="7").version
    assert installation.errors == 0


def test_an_operators_choice_is_rendered_next_and_a_rollback_beats_the_conversation(
    installation: Installation, console: Console
) -> None:
    assert (rendered(console).version, rendered(console, conversation="old").version) == (3, 3)
    use(installation, {1: 100})
    assert (rendered(console).version, rendered(console, conversation="old").version) == (1, 3)
    use(installation, {2: 100}, withdrawn=frozenset({3}))
    assert (rendered(console).version, rendered(console, conversation="old").version) == (2, 2)
    assert installation.errors == 0


# Attribution

BLOCK = {"type": "text", "text": PROMPT}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}


@pytest.mark.parametrize(
    "body",
    [
        {"system": PROMPT},
        {"system": [BLOCK]},
        {"system": [{"type": "text", "text": "a"}] * 7 + [BLOCK]},
        {"system": "plain", "messages": [{"role": "user", "content": PROMPT}]},
        {"messages": [{"role": "user", "content": "x"}] * 3 + [{"role": "user", "content": PROMPT}]},
        {"messages": [{"role": "user", "content": [IMAGE, IMAGE, BLOCK]}]},
        {"system": PROMPT, "messages": [{"role": "user", "content": Prompt("x", "other", 1, "b")}]},
    ],
)
def test_a_prompt_is_found_wherever_it_stands(body: dict[str, Any]) -> None:
    facts = facts_of({"model": "m", **body}, {})
    assert (facts.prompt, facts.prompt_version, facts.feature) == ("support-reply", "3", "support-reply")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"system": str(PROMPT), "messages": [{"role": "user", "content": str(PROMPT)}]},
        {"system": PROMPT + "!"},
        {"messages": [{"role": "user", "content": "x"}] * 4 + [{"role": "user", "content": PROMPT}]},
        {"system": [{"type": "text", "text": "a"}] * 8 + [BLOCK]},
        {"system": {"text": PROMPT}, "messages": {"content": PROMPT}},
        {"system": 3, "messages": [None, "x", {"content": [None, "x", 3, {"text": ["x"]}]}]},
    ],
)
def test_without_a_prompt_none_is_named(body: dict[str, Any]) -> None:
    facts = facts_of({"model": "m", **body}, {})
    assert (facts.prompt, facts.prompt_version, facts.feature) == (None, None, "default")


def test_a_tag_names_the_feature_before_the_prompt_does() -> None:
    facts = facts_of({"model": "m", "system": PROMPT}, {TAG_FEATURE: "checkout"})
    assert (facts.feature, facts.prompt, facts.prompt_version) == ("checkout", "support-reply", "3")


def test_a_batch_belongs_to_its_first_prompt() -> None:
    requests = [{"custom_id": str(number), "params": {"model": f"m{number}"}} for number in range(2)]
    requests.append({"custom_id": "2", "params": {"model": "m0", "system": PROMPT}})
    facts = batch_facts({"requests": requests}, {})
    assert (facts.feature, facts.prompt, facts.models) == ("support-reply", "support-reply", ("m0", "m1"))
    assert batch_facts({"requests": None}, {}) == batch_facts(None, {}) == Facts(models=())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(PROMPT),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.sampled_from(["text", "content", "role", "type", "system", "messages"]), children, max_size=4)
    ),
    max_leaves=20,
)


@given(anything, anything)
def test_a_body_of_any_form_has_facts(system: Any, messages: Any) -> None:
    found = prompt_in({"system": system, "messages": messages})
    assert found is None or found is PROMPT


def test_looking_for_a_prompt_does_not_grow_with_the_body() -> None:
    looked = 0

    class Counted(dict[str, Any]):
        def get(self, *given: Any) -> Any:
            nonlocal looked
            looked += 1
            return super().get(*given)

    block = Counted(type="text", text="x")
    message = Counted(role="user", content=[block] * 1_000)
    assert prompt_in({"system": [block] * 1_000, "messages": [message] * 1_000}) is None
    assert looked <= 50


@coloured
@pytest.mark.asyncio
@pytest.mark.parametrize("shape", [shape for shape in MESSAGE_SHAPES if shape.name != "tools"], ids=str)
async def test_a_call_with_a_prompt_is_recorded_with_it_in_every_shape(
    shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    prompt = rendered(console)
    seen = await seen_by(shape, client_of(colour, console), system=prompt)
    assert seen.error is None
    call = installation.only_call()
    assert (call["feature"], call["prompt"], call["prompt_version"]) == ("support-reply", "support-reply", "3")
    assert installation.errors == 0


@coloured
@pytest.mark.asyncio
async def test_what_is_sent_is_the_plain_text(
    colour: str, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    bodies: list[dict[str, Any]] = []

    def wire(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(400, json={"type": "error", "error": {"type": "invalid_request_error", "message": "no"}})

    messages = [{"role": "user", "content": [{"type": "text", "text": rendered(console)}]}]
    await seen_by(PLAIN, client_of(colour, console, wire=wire), system=rendered(console), messages=messages)
    assert bodies == [{**ask(), "system": "You answer as v3 for Acme, Ann.", "messages": bodies[0]["messages"]}]
    assert bodies[0]["messages"][0]["content"] == [{"type": "text", "text": "You answer as v3 for Acme, Ann."}]


@coloured
@pytest.mark.asyncio
async def test_killing_a_feature_stops_the_calls_that_only_their_prompt_names(
    colour: str, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    installation.act("kill", Scope("feature", "support-reply"))
    seen = await seen_by(PLAIN, client_of(colour, console), system=rendered(console))
    assert issubclass(seen.error[0], CallBlocked)


def test_rendering_loads_yaml_when_it_is_needed_and_neither_the_screen_nor_the_configuration(tmp_path: Path) -> None:
    code = """
import sys
from console import Console
from pathlib import Path
Path("prompts/a").mkdir(parents=True)
Path("prompts/a/v1.md").write_text("---\\n---\\nHello")
with Console(data="data") as console:
    assert "yaml" not in sys.modules
    assert console.prompts.render("a", key="k") == "Hello"
assert not {"textual", "console.ops", "console.cli", "console.core.configuration"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=tmp_path)
