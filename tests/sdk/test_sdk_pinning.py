"""A conversation that goes on gets the prompt version that it began with, over real sockets, whatever is current meanwhile."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from failover_tools import FOUR, until
from sdk_shapes import COLOURS, PLAIN, Shape, ask, seen_by
from test_sdk_prompts import console, rendered, use

from console.core.switches import Scope
from console.errors import CallBlocked
from console.ops.views import Order
from console.sdk.facts import facts_of
from console.sdk.pinning import pinned
from console.sdk.prompts import Prompt, rendering_of
from console.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installation

    from console import Console
    from console.sim.server import SimulatedAPI

__all__ = ["console"]

coloured = pytest.mark.parametrize("colour", COLOURS)
FIRST = {"role": "user", "content": "Where is my parcel?"}
ANSWER = {"role": "assistant", "content": "On its way."}
THEN = {"role": "user", "content": "And when is it here?"}


def systems(api: SimulatedAPI) -> list[str]:
    """What the API got as the system prompt, request by request."""
    return [entry["system"] for entry in api.requests()]


def versions(installation: Installation) -> list[str]:
    return [row["prompt_version"] for row in sorted(installation.rows("call"), key=lambda row: (row["at"], row["id"]))]


async def turns(client: Any, console: Console, *messages: list[dict[str, Any]], shape: Shape = PLAIN, **more: Any) -> None:
    for said in messages:
        seen = await seen_by(shape, client, system=rendered(console), messages=said, **more)
        assert seen.error is None


@coloured
@pytest.mark.asyncio
@pytest.mark.parametrize("shape", FOUR, ids=str)
async def test_a_conversation_without_an_id_goes_on_with_its_version_and_is_recorded_so(
    shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, console)
    await turns(client, console, [FIRST], [FIRST, ANSWER, THEN], shape=shape)
    use(installation, {1: 100})
    await turns(client, console, [FIRST, ANSWER, THEN], [FIRST, ANSWER, THEN, ANSWER, THEN], [THEN], shape=shape)
    use(installation, {2: 100}, withdrawn=frozenset({3}))
    await turns(client, console, [FIRST, ANSWER, THEN], shape=shape)
    assert [system.split(" for")[0] for system in systems(api)] == [f"You answer as v{n}" for n in (3, 3, 3, 3, 1, 2)]
    assert systems(api)[2] == "You answer as v3 for Acme, Ann.", "filled with what this turn was rendered with"
    assert versions(installation) == ["3", "3", "3", "3", "1", "2"]
    assert installation.errors == 0


@coloured
@pytest.mark.asyncio
async def test_the_same_over_a_chain_and_through_a_failover(
    colour: str, api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, console)
    await turns(client, console, [FIRST])
    use(installation, {1: 100})
    installation.desk.act(Order("switch", Scope("all"), targets=("claude-sonnet-5-5", "claude-haiku-5-5")))
    api.set_faults([Fault(model="claude-sonnet-5-5", status=529)])
    await turns(client, console, [FIRST, ANSWER, THEN])
    assert [(entry["model"], entry["system"][:16]) for entry in api.requests()][1:] == [
        ("claude-sonnet-5-5", "You answer as v3"),
        ("claude-haiku-5-5", "You answer as v3"),
    ]
    assert versions(installation) == ["3", "3"]
    assert installation.errors == 0


@coloured
@pytest.mark.asyncio
async def test_what_the_sdk_repeats_is_repeated_with_the_same_version(
    colour: str, api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, console, max_retries=2)
    await turns(client, console, [FIRST])
    use(installation, {1: 100})
    api.set_faults([Fault(status=500, times=2)])
    await turns(client, console, [FIRST, ANSWER, THEN])
    assert [system[:16] for system in systems(api)] == ["You answer as v3"] * 4
    assert versions(installation) == ["3", "3"]


@pytest.mark.asyncio
async def test_the_key_the_customer_and_the_session_tell_conversations_apart(
    api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    client = client_of("blocking", console)

    def turn(messages: list[dict[str, Any]], *, key: str | None = None, **tags: str) -> str:
        api.clear_requests()
        system = rendered(console, key=key)
        client.messages.create(**ask(system=system, messages=messages, extra_headers=console.tags(**tags)))
        return systems(api)[0][14:16]

    who: list[dict[str, str]] = [{"key": "ann"}, {"customer": "acme"}, {"session": "s-1"}]
    for one in who:
        assert turn([FIRST], **one) == "v3"
    use(installation, {1: 100})
    assert turn([FIRST]) == "v1", "another conversation that begins alike, of nobody in particular"
    for one in who:
        assert turn([FIRST, ANSWER, THEN], **one) == "v3"
        assert turn([FIRST, ANSWER, THEN], **{**one, "customer": "other"}) == "v1"
    assert turn([FIRST], key="ann") == "v1", "Ann asks the same again: two of her conversations cannot be told apart now"
    assert turn([FIRST, ANSWER, THEN], key="ann") == "v1"


@pytest.mark.asyncio
async def test_with_a_session_a_conversation_may_begin_without_a_word(
    api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    client = client_of("blocking", console)

    def turn(later: list[dict[str, Any]], **tags: str) -> None:
        messages = [{"role": "user", "content": rendered(console)}, *later]
        client.messages.create(**ask(messages=messages, extra_headers=console.tags(**tags)))

    turn([], session="s-1")
    turn([])
    use(installation, {1: 100})
    turn([ANSWER, THEN], session="s-1")
    turn([ANSWER, THEN])
    assert versions(installation) == ["3", "3", "3", "1"]


@pytest.mark.asyncio
async def test_examples_and_a_begun_answer_are_no_conversation(
    api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    client = client_of("blocking", console)
    examples = [FIRST, ANSWER]
    prefilled = [{"role": "user", "content": "Classify."}, {"role": "assistant", "content": "{"}]
    model = "claude-sonnet-4-6"
    await turns(client, console, [*examples, THEN], prefilled, model=model)
    use(installation, {1: 100})
    await turns(client, console, [*examples, THEN], [*prefilled, THEN, ANSWER], model=model)
    assert [system[14:16] for system in systems(api)] == ["v3", "v3", "v1", "v3"]


@pytest.mark.asyncio
@pytest.mark.parametrize("place", ["system", "system block", "message", "message block"])
async def test_it_is_put_where_the_rendered_one_stood_and_nothing_else_changes(
    place: str, installation: Installation, console: Console
) -> None:
    runtime = console._runtime

    def body(*later: dict[str, Any]) -> dict[str, Any]:
        prompt = rendered(console)
        block = {"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}
        if place == "system":
            return {**ask(), "system": prompt, "messages": [FIRST, *later]}
        if place == "system block":
            return {**ask(), "system": [{"type": "text", "text": "a"}, block], "messages": [FIRST, *later]}
        content: Any = prompt if place == "message" else [block, {"type": "text", "text": FIRST["content"]}]
        return {**ask(), "messages": [{"role": "user", "content": content}, FIRST, *later]}

    def sent(made: dict[str, Any]) -> Any:
        facts = facts_of(made, {})
        found = pinned(runtime, made, facts)
        return (made, facts) if found is None else found

    first = body()
    assert sent(first)[0] is first
    was = str(rendered(console))
    same = body(ANSWER, THEN)
    assert sent(same)[0] is same, "the versions agree"
    use(installation, {1: 100})
    made = body(ANSWER, THEN)
    before = pickle.dumps(made)
    put, facts = sent(made)
    assert pickle.dumps(made) == before, "the application's own body is not touched"
    assert facts.prompt_version == "3"
    now = str(rendered(console))
    assert now != was
    assert repr(put) == repr(made).replace(repr(now), repr(was))
    assert put["messages"][-1] is made["messages"][-1]
    assert facts_of(put, {}).prompt_version == "3"


@pytest.mark.asyncio
async def test_another_process_of_the_host_goes_on_with_it(
    api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    code = """
import sys
from anthropic import Anthropic
from console import Console
config, data, url = sys.argv[1:]
with Console(config=config, data=data) as console:
    client = Anthropic(base_url=url, api_key="k", max_retries=0, middleware=[console.middleware])
    system = console.prompts.render("support-reply", product="Acme", name="Ann")
    messages = [{"role": "user", "content": "Where is my parcel?"}]
    client.messages.create(model="claude-sonnet-5-5", max_tokens=9, system=system, messages=messages)
"""
    installation.console.prompts.render("support-reply", product="a", name="b")
    arguments = [str(installation.file), str(installation.data), api.url]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=60)  # noqa: ASYNC221
    use(installation, {1: 100})
    client = client_of("blocking", console)
    await turns(client, console, [THEN])  # starts the watcher, which finds the file
    until(lambda: console._runtime.prompts._begun._file._descriptor >= 0)  # type: ignore[union-attr]
    await turns(client, console, [FIRST, ANSWER, THEN])
    assert [system[14:16] for system in systems(api)] == ["v3", "v1", "v3"]
    assert b"parcel" not in (installation.data / "pins").read_bytes()
    assert installation.errors == 0


@coloured
@pytest.mark.asyncio
async def test_a_kill_beats_a_pin(
    colour: str, installation: Installation, console: Console, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, console)
    await turns(client, console, [FIRST])
    use(installation, {1: 100})
    installation.act("kill", Scope("feature", "support-reply"))
    seen = await seen_by(PLAIN, client, system=rendered(console), messages=[FIRST, ANSWER, THEN])
    assert issubclass(seen.error[0], CallBlocked)


@coloured
@pytest.mark.asyncio
async def test_b14_a_defect_in_pinning_costs_no_call(
    colour: str, api: SimulatedAPI, installation: Installation, console: Console, client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def defect(*_: object) -> None:
        raise ZeroDivisionError

    client = client_of(colour, console)
    monkeypatch.setattr(console._runtime.prompts, "began", defect)
    monkeypatch.setattr(console._runtime.prompts, "instead", defect)
    await turns(client, console, [FIRST], [FIRST, ANSWER, THEN])
    assert installation.errors == 2
    assert versions(installation) == ["3", "3"]


@pytest.mark.parametrize(
    "messages",
    [None, [], 3, [None], ["x"], [{"role": "user"}], [{"role": "user", "content": [None, 3, {"text": 4}]}], [{"content": "x"}],
     [{"role": "assistant", "content": "x"}] * 3, ({"role": "user", "content": "x"}, {"role": 3})],
)  # fmt: skip
def test_a_body_of_any_form_is_left_alone(console: Console, messages: Any) -> None:
    made = {"system": rendered(console), "messages": messages}
    assert pinned(console._runtime, made, facts_of(made, {})) is None
    without = {"system": "plain", "messages": messages}
    assert pinned(console._runtime, without, facts_of(without, {})) is None


def test_what_a_prompt_was_rendered_from_stays_in_memory_and_in_copies_of_the_sdk(console: Console) -> None:
    prompt = rendered(console, name="a secret value", key="k-1")
    assert rendering_of(prompt) is not None
    assert rendering_of(copy.deepcopy({"system": prompt})["system"]) == rendering_of(prompt)
    stored = pickle.dumps(prompt)
    assert stored.count(b"a secret value") == 1, "once, in the text itself"
    assert b"k-1" not in stored
    back: Prompt = pickle.loads(stored)  # noqa: S301 -- our own
    assert (back, back.version, rendering_of(back)) == (prompt, 3, None)
    made = {"system": back, "messages": [FIRST]}
    assert pinned(console._runtime, made, facts_of(made, {})) is None


def test_looking_at_a_request_does_not_grow_with_it(console: Console) -> None:
    looked = 0

    class Counted(dict[str, Any]):
        def get(self, *given: Any) -> Any:
            nonlocal looked
            looked += 1
            return super().get(*given)

    block = Counted(type="text", text="x" * 1_000_000)
    made = {"system": rendered(console), "messages": [Counted(role="user", content=[block] * 1_000)] * 5_000}
    assert pinned(console._runtime, made, facts_of(made, {})) is None
    assert looked < 200
