"""What a process renders: which version, which text, and what happens when neither is to be had as it should be."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from store_tools import US, now_us, python, until

from console.core.control import EMPTY, ControlRow, ControlState, merge, text_hash
from console.core.ids import uuid7
from console.core.pointers import encode_pointer, pointer_key
from console.errors import MissingVariables, PromptError, UnknownPrompt
from console.runtime import prompts as runtime_prompts
from console.runtime.process import Runtime
from console.runtime.prompts import PromptBook
from console.store.prompts import PromptDirectory
from console.store.sqlite.control import Change, PromptRow, write_change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from console.store.locations import Locations

NOW = 1_800_000_000 * US


def text_of(version: int, body: str = "v{} for ${{product}}", variables: str = "[product]", more: str = "") -> str:
    return f"---\nvariables: {variables}\n{more}---\n{body.format(version)}\n"


class Bench:
    """One process' book over real files, with a control state and clocks turned by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.errors: list[Exception] = []
        self.book = PromptBook(PromptDirectory(root), self.errors.append)
        self.state = EMPTY
        self.now = NOW
        self.steady = 0
        self.registered: dict[int, str] = {}

    def write(self, version: int, text: str | None = None, name: str = "reply") -> None:
        (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / name / f"v{version}.md").write_text(text_of(version) if text is None else text)

    def lose(self, version: int) -> None:
        (self.root / "reply" / f"v{version}.md").unlink()

    def point(
        self,
        weights: dict[int, int] | None,
        withdrawn: tuple[int, ...] = (),
        *,
        with_texts: bool = True,
        expires_at: int | None = None,
    ) -> None:
        """Makes versions current as `ops` does; their registered texts are the files' of the first time."""
        for version in weights or ():
            if version not in self.registered:
                self.registered[version] = (self.root / "reply" / f"v{version}.md").read_text()
        chosen = {version: (weight, text_hash(self.registered[version])) for version, weight in (weights or {}).items()}
        value = encode_pointer(None if weights is None else chosen, frozenset(withdrawn))
        row = ControlRow(pointer_key("reply"), value, self.state.version + 1, "op", None, 1, expires_at).sealed()
        texts = {text_hash(text): text for text in self.registered.values()} if with_texts else {}
        self.state = merge(self.state if with_texts else ControlState(rows=self.state.rows), [row], texts)

    def render(self, key: str | None = None, conversation: str | None = None, draw: float = 0.5, **variables: object) -> str:
        given = variables or {"product": "Acme"}
        return self.book.render("reply", key, conversation, given, self.state, self.now, lambda: draw)[0]

    def version(self, key: str | None = None, conversation: str | None = None, draw: float = 0.5, **variables: object) -> int:
        given = variables or {"product": "Acme"}
        return self.book.render("reply", key, conversation, given, self.state, self.now, lambda: draw)[1].version

    def tick(self, looks: int = 2) -> None:
        for _ in range(looks):
            self.steady += US
            self.book.tick(self.state, self.now)

    @property
    def problems(self) -> list[str]:
        return self.book.problems(self.now)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path / "prompts")
    monkeypatch.setattr(runtime_prompts, "steady_us", lambda: made.steady)
    for version in (1, 2, 3):
        made.write(version)
    made.write(4, text_of(4, more="draft: true\n"))
    yield made
    assert made.errors == []


class Stubborn:
    """A directory that must not be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the disk was asked for {name}")


def without_files(bench: Bench) -> None:
    bench.book._directory = Stubborn()  # type: ignore[assignment]
    for shelf in bench.book._shelves.values():
        shelf._directory = Stubborn()  # type: ignore[assignment]


# Which version


def test_without_a_pointer_it_is_the_highest_version_that_is_no_draft(bench: Bench) -> None:
    assert (bench.version(), bench.render(), bench.problems) == (3, "v3 for Acme", [])


def test_a_pointer_makes_one_version_current_a_draft_as_well(bench: Bench) -> None:
    assert bench.version() == 3
    for version in (1, 4, 2):
        bench.point({version: 100})
        assert bench.version() == version
    bench.point(None)
    assert (bench.version(), bench.problems) == (3, [])


def test_a_pointer_that_has_expired_says_nothing_any_more(bench: Bench) -> None:
    bench.point({1: 100}, withdrawn=(3,), expires_at=NOW + 10)
    assert bench.version() == 1
    bench.now = NOW + 10
    assert bench.version() == 3


def test_a_pointer_that_chooses_nothing_leaves_out_what_was_withdrawn(bench: Bench) -> None:
    bench.point(None, withdrawn=(3,))
    assert bench.version() == 2
    bench.point(None, withdrawn=(1, 2, 3))
    assert bench.version() == 2
    assert len(bench.problems) == 1


def test_shares_are_kept_and_a_key_always_gets_the_same(bench: Bench) -> None:
    bench.point({1: 25, 2: 75})
    got = {f"user-{number}": bench.version(key=f"user-{number}") for number in range(2_000)}
    assert 0.22 < Counter(got.values())[1] / 2_000 < 0.28
    assert {key: bench.version(key=key, draw=0.01) for key in got} == got


def test_without_a_key_every_render_is_drawn_for_itself(bench: Bench) -> None:
    bench.point({1: 25, 2: 75})
    assert [bench.version(draw=draw) for draw in (0.0, 0.24, 0.26, 0.99)] == [1, 1, 2, 2]


def test_without_a_key_a_conversation_is_its_own_key_in_every_process(bench: Bench) -> None:
    bench.point({1: 50, 2: 50})
    got = [bench.version(conversation=f"c-{number}", draw=0.0) for number in range(100)]
    assert set(got) == {1, 2}
    bench.book = PromptBook(PromptDirectory(bench.root), bench.errors.append)
    assert [bench.version(conversation=f"c-{number}", draw=1.0) for number in range(100)] == got


# Pins


def test_a_conversation_keeps_its_version_when_the_pointer_moves(bench: Bench) -> None:
    assert bench.version(conversation="old") == 3
    bench.point({1: 100})
    assert bench.version(conversation="old") == 3
    assert (bench.version(conversation="new"), bench.version()) == (1, 1)
    bench.point({2: 100})
    assert [bench.version(conversation=one) for one in ("old", "new", "newest")] == [3, 1, 2]


def test_a_conversation_keeps_its_text_when_the_file_is_edited_or_lost(bench: Bench) -> None:
    bench.render(conversation="old")
    bench.write(3, text_of(3, "edited"))
    bench.tick()
    assert (bench.render(), bench.render(conversation="old")) == ("edited", "v3 for Acme")
    bench.lose(3)
    bench.tick()
    assert (bench.version(), bench.render(conversation="old")) == (2, "v3 for Acme")


def test_a_rollback_beats_every_pin(bench: Bench) -> None:
    bench.point({3: 100})
    assert bench.version(conversation="c") == 3
    bench.point({2: 100}, withdrawn=(3,))
    assert bench.version(conversation="c") == 2
    bench.point({1: 100}, withdrawn=(3,))
    assert bench.version(conversation="c") == 2


def test_a_pin_is_of_a_prompt_and_a_conversation(bench: Bench) -> None:
    bench.write(7, text_of(7), name="other")
    bench.point({1: 100})
    assert bench.version(conversation="c") == 1
    assert bench.book.render("other", None, "c", {"product": "x"}, bench.state, NOW, random.random)[1].version == 7


def test_pins_are_bounded_and_the_least_used_goes_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_prompts, "MAX_PINS", 3)
    bench.point({1: 100})
    for conversation in ("a", "b", "c"):
        bench.version(conversation=conversation)
    bench.version(conversation="a")
    bench.point({2: 100})
    bench.version(conversation="d")
    assert [bench.version(conversation=one) for one in ("a", "c", "d")] == [1, 1, 2]
    assert len(bench.book._pins) == 3
    assert bench.version(conversation="b") == 2


def test_threads_that_begin_a_conversation_together_get_one_version(bench: Bench) -> None:
    bench.point({1: 50, 2: 50})
    barrier = threading.Barrier(8)
    got: list[tuple[int, int]] = []

    def work(number: int) -> None:
        draws = random.Random(number)
        for conversation in range(200):
            barrier.wait()
            got.append((conversation, bench.version(key=str(draws.random()), conversation=str(conversation))))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1_600
    assert len(set(got)) == 200
    assert {version for _, version in got} == {1, 2}


class Overtaken(dict[str, object]):
    """Variables during whose reading another thread begins the same conversation."""

    def __init__(self, bench: Bench, conversation: str, key: str) -> None:
        super().__init__(product="Acme")
        self.overtake: Callable[[], object] | None = lambda: bench.version(key=key, conversation=conversation)

    def get(self, name: str, default: object = None) -> object:
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            overtake()
        return super().get(name, default)


def test_the_thread_that_begins_a_conversation_second_follows_the_first(bench: Bench) -> None:
    bench.point({1: 50, 2: 50})
    first, second = (next(f"{n}" for n in range(99) if bench.version(key=f"{n}") == version) for version in (1, 2))
    variables = Overtaken(bench, "c", first)
    assert bench.book.render("reply", second, "c", variables, bench.state, NOW, random.random)[0] == "v1 for Acme"
    assert bench.version(conversation="c") == 1


# Files that are not what they should be (E9)


def test_e9_an_edited_file_raises_an_alarm_and_the_registered_text_is_served(bench: Bench) -> None:
    bench.point({2: 100})
    bench.write(2, text_of(2, "edited"))
    assert bench.render() == "v2 for Acme"
    bench.tick(1)
    assert bench.problems == ["prompt reply v2: the file was edited after it was registered; the registered text is served"]
    assert bench.render() == "v2 for Acme"
    bench.write(2)
    bench.tick()
    assert bench.problems == []


def test_e9_what_has_just_become_current_is_compared_at_the_watchers_next_passage(bench: Bench) -> None:
    bench.point({1: 100})
    bench.version()
    bench.tick(1)
    bench.registered[2] = text_of(2, "as registered")
    bench.point({2: 100})
    bench.version()
    bench.steady += 50_000
    bench.book.tick(bench.state, bench.now)
    assert bench.problems == ["prompt reply v2: the file was edited after it was registered; the registered text is served"]


def test_e9_a_lost_file_raises_an_alarm_and_the_registered_text_is_served(bench: Bench) -> None:
    bench.point({2: 100})
    assert bench.render() == "v2 for Acme"
    bench.lose(2)
    bench.tick()
    assert bench.problems == ["prompt reply v2: the file is lost; the registered text is served"]
    assert bench.render() == "v2 for Acme"


def test_e9_the_whole_directory_may_be_lost(bench: Bench) -> None:
    bench.point({2: 100})
    bench.root.rename(bench.root.with_name("elsewhere"))
    assert bench.render() == "v2 for Acme"
    bench.tick()
    assert bench.problems == ["prompt reply v2: the file is lost; the registered text is served"]


def test_e9_a_file_that_everybody_can_write_is_not_served_and_told(bench: Bench) -> None:
    (bench.root / "reply" / "v3.md").chmod(0o666)
    assert bench.version() == 2
    bench.tick()
    (problem,) = bench.problems
    assert "v3.md: writable by everybody" in problem
    (bench.root / "reply" / "v3.md").chmod(0o644)
    bench.tick()
    assert (bench.version(), bench.problems) == (3, [])


def test_e9_a_broken_file_is_passed_over_and_told_with_its_place(bench: Bench) -> None:
    bench.write(5, "---\nvariabels: []\n---\nHello")
    assert bench.version() == 3
    bench.tick()
    (problem,) = bench.problems
    assert f"{bench.root}/reply/v5.md:2:1: unknown key 'variabels'" in problem


def test_without_the_registered_text_the_file_serves_when_it_is_the_same(bench: Bench) -> None:
    bench.point({2: 100}, with_texts=False)
    assert not bench.state.texts
    assert (bench.render(), bench.problems) == ("v2 for Acme", [])


def test_without_the_registered_text_and_its_file_the_version_before_is_served(bench: Bench) -> None:
    bench.point({1: 100})
    assert bench.version() == 1
    bench.registered[2] = text_of(2)
    bench.write(2, text_of(2, "edited"))
    bench.point({2: 100}, with_texts=False)
    assert bench.render() == "v1 for Acme"
    assert bench.problems == [
        "prompt reply v2: neither the registered text nor a file like it is to be had; v1 is served instead",
    ]
    bench.tick(1)
    assert "prompt reply v2: the file was edited after it was registered" in bench.problems


def test_without_the_registered_text_a_new_process_serves_another_good_version(bench: Bench) -> None:
    bench.registered[3] = text_of(3)
    bench.write(3, text_of(3, "edited"))
    bench.point({3: 100}, with_texts=False)
    assert bench.render() == "v2 for Acme"


def test_a_registered_text_that_arrives_later_is_served_from_then_on(bench: Bench) -> None:
    bench.registered[3] = text_of(3, "as registered")
    bench.point({3: 100}, with_texts=False)
    assert bench.version() == 2
    bench.point({3: 100})
    bench.tick(1)
    assert bench.render() == "as registered"


def test_a_registered_text_that_is_no_prompt_is_replaced(bench: Bench) -> None:
    bench.registered[5] = "of a later program"
    bench.point({5: 100})
    assert (bench.version(), len(bench.problems)) == (3, 1)


def test_what_was_never_registered_is_served_from_its_file_as_it_is_now(bench: Bench) -> None:
    assert bench.render() == "v3 for Acme"
    bench.write(3, text_of(3, "edited"))
    bench.tick()
    assert (bench.render(), bench.problems) == ("edited", [])


def test_the_last_text_is_served_when_every_file_is_gone(bench: Bench) -> None:
    assert bench.version() == 3
    bench.root.rename(bench.root.with_name("elsewhere"))
    bench.tick()
    assert bench.render() == "v3 for Acme"
    assert any("there is no directory" in problem for problem in bench.problems)


# Variables


def test_a_version_that_needs_more_than_is_given_is_replaced_by_the_highest_that_can_be_filled(bench: Bench) -> None:
    bench.write(5, text_of(5, "v5 ${{product}} ${{plan}}", "[product, plan]"))
    bench.point({5: 100})
    assert bench.version() == 3
    (problem,) = bench.problems
    assert problem == "prompt reply v5 needs plan: give render() a value for each; v3 is served instead"
    assert bench.render(product="Acme", plan="pro") == "v5 Acme pro"


def test_a_draft_and_what_was_withdrawn_do_not_stand_in(bench: Bench) -> None:
    bench.write(5, text_of(5, "${{plan}}", "[plan]"))
    bench.point({5: 100}, withdrawn=(3,))
    assert bench.version() == 2


def test_what_was_withdrawn_stands_in_before_the_call_breaks(bench: Bench) -> None:
    bench.write(5, text_of(5, "${{plan}}", "[plan]"))
    bench.point({5: 100}, withdrawn=(1, 2, 3))
    assert bench.version() == 3


def test_a_conversation_stays_with_the_version_that_stood_in(bench: Bench) -> None:
    bench.write(5, text_of(5, "${{plan}}", "[plan]"))
    bench.point({5: 100})
    assert bench.version(conversation="c") == 3
    assert bench.version(conversation="c", product="Acme", plan="pro") == 3
    assert bench.version(conversation="d", product="Acme", plan="pro") == 5
    assert bench.version(conversation="d", product="Acme") == 3  # for this render alone
    assert bench.version(conversation="d", product="Acme", plan="pro") == 5


def test_when_none_can_be_filled_what_the_current_one_needs_is_raised(bench: Bench) -> None:
    with pytest.raises(MissingVariables, match="prompt reply v3 needs product"):
        bench.render(other="x")
    bench.write(5, text_of(5, "${{plan}}", "[plan]"))
    bench.point({5: 100})
    with pytest.raises(MissingVariables, match="prompt reply v5 needs plan"):
        bench.render(other="x")


def test_a_value_that_is_no_text_is_refused_when_every_version_needs_it(bench: Bench) -> None:
    with pytest.raises(PromptError, match="product is of type NoneType"):
        bench.render(product=None)


# What is asked of the disk, and when


def test_after_its_first_use_a_prompt_is_rendered_without_the_disk(bench: Bench) -> None:
    assert bench.version() == 3
    registered = {version: (bench.root / "reply" / f"v{version}.md").read_text() for version in (1, 2)}
    without_files(bench)
    bench.registered = registered
    assert bench.version() == 3
    bench.point({1: 100})
    assert bench.version() == 1  # made current later: from the registered text
    bench.point({2: 100}, withdrawn=(1,))
    assert bench.version() == 2


def test_a_new_file_is_taken_over_when_two_looks_agree(bench: Bench) -> None:
    assert bench.version() == 3
    bench.write(5, text_of(5)[:20])
    bench.tick(1)
    assert bench.version() == 3
    bench.write(5)  # the rest of the copy arrives
    bench.tick(1)
    assert bench.version() == 3
    bench.tick(1)
    without_files(bench)
    assert bench.version() == 5


def test_a_file_that_could_not_be_read_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_descriptors(*_: object) -> str:
        raise PromptError("v3.md: cannot be used: Too many open files")

    with monkeypatch.context() as patching:
        patching.setattr(PromptDirectory, "read", out_of_descriptors)
        with pytest.raises(UnknownPrompt, match="Too many open files"):
            bench.version()
    bench.tick()
    without_files(bench)
    assert (bench.version(), bench.problems) == (3, [])


def test_a_new_file_changes_nothing_while_a_pointer_is_in_force(bench: Bench) -> None:
    bench.point({2: 100})
    bench.version()
    bench.write(5)
    bench.tick()
    assert bench.version() == 2


def test_the_disk_is_asked_once_a_second_however_often_the_watcher_comes_by(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.version()
    asked: list[str] = []
    real = PromptDirectory.stamps
    monkeypatch.setattr(PromptDirectory, "stamps", lambda self, name: asked.append(name) or real(self, name))
    for _ in range(60):
        bench.steady += 50_000
        bench.book.tick(bench.state, bench.now)
    assert len(asked) == 3


def test_prompts_that_nobody_renders_cost_nothing(bench: Bench) -> None:
    without_files(bench)
    bench.tick()
    assert bench.book.served(NOW) == {}


# What cannot be served at all


def test_an_unknown_prompt_is_named_and_can_be_made_later(bench: Bench) -> None:
    def render() -> str:
        return bench.book.render("new", None, None, {}, bench.state, NOW, random.random)[0]

    for _ in range(2):
        with pytest.raises(UnknownPrompt, match="console prompt new new"):
            render()
    bench.write(1, text_of(1, "Hello"), name="new")
    bench.tick()
    assert render() == "Hello"


def test_a_prompt_with_nothing_but_drafts_and_mistakes_is_unknown_and_says_why(bench: Bench) -> None:
    bench.write(1, text_of(1, more="draft: true\n"), name="new")
    bench.write(2, "broken", name="new")
    with pytest.raises(UnknownPrompt, match=r"no version can be read that is no draft.*v2\.md:1:1"):
        bench.book.render("new", None, None, {}, bench.state, NOW, random.random)


@pytest.mark.parametrize("name", ["../reply", "/etc", "re\x00ply", "-rf", "rерly", "", None, 3], ids=ascii)
def test_e8_a_hostile_name_never_meets_the_disk(bench: Bench, name: Any) -> None:
    without_files(bench)
    with pytest.raises(PromptError, match="cannot be a prompt's name"):
        bench.book.render(name, None, None, {}, bench.state, NOW, random.random)
    assert bench.book._shelves == {}


def test_any_number_of_unknown_names_is_not_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_prompts, "MAX_NAMES", 10)
    for number in range(50):
        with pytest.raises(UnknownPrompt):
            bench.book.render(f"n{number}", None, None, {}, bench.state, NOW, random.random)
    assert len(bench.book._shelves) == 10
    assert bench.version() == 3


def test_an_unexpected_exception_costs_the_call_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.render() == "v3 for Acme"
    monkeypatch.setattr(PromptBook, "_choice", lambda *_: 1 / 0)
    assert bench.render(product="Bcme") == "v3 for Bcme"
    with pytest.raises(MissingVariables):
        bench.render(other="x")
    assert [type(error) for error in bench.errors] == [ZeroDivisionError] * 2
    with pytest.raises(UnknownPrompt, match="log") as caught:
        bench.book.render("other", None, None, {}, bench.state, NOW, random.random)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    with pytest.raises(UnknownPrompt):
        bench.book.render([], None, None, {}, bench.state, NOW, random.random)  # type: ignore[arg-type]
    bench.errors.clear()


# What is told


def test_what_was_rendered_in_the_last_ten_minutes_is_told(bench: Bench) -> None:
    bench.version()
    bench.now += 400 * US
    bench.point({1: 50, 2: 50})
    bench.version(draw=0.0)
    hashes = {version: text_hash(text_of(version)) for version in (1, 2, 3)}
    assert bench.book.served(bench.now) == {"reply": {"1": hashes[1], "3": hashes[3]}}
    assert bench.book.served(bench.now + 300 * US) == {"reply": {"1": hashes[1]}}
    bench.point(None)
    bench.now += 300 * US
    bench.version()
    assert bench.book.served(bench.now) == {"reply": {"1": hashes[1], "3": hashes[3]}}


def test_a_problem_of_the_past_is_told_for_ten_minutes(bench: Bench) -> None:
    bench.write(5, text_of(5, "${{plan}}", "[plan]"))
    bench.point({5: 100})
    bench.version()
    bench.now += 599 * US
    assert len(bench.problems) == 1
    bench.now += 2 * US
    assert bench.problems == []


def test_problems_are_bounded(bench: Bench) -> None:
    for version in range(5, 60):
        bench.write(version, text_of(version, "${{plan}}", f"[plan]\nnotes: {version}"))
        bench.point({version: 100})
        bench.version()
    bench.write(99, "---\n" + "".join(f"k{number}: 1\n" for number in range(100)) + "---\nx")
    bench.point(None)
    bench.tick()
    assert len(bench.problems) == runtime_prompts.MAX_PROBLEMS
    assert all(len(problem) <= runtime_prompts.MAX_PROBLEM_CHARS for problem in bench.problems)
    assert len(bench.book._events) <= runtime_prompts.MAX_PROBLEMS


def test_parsed_texts_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_prompts, "MAX_TEXTS", 5)
    for version in range(5, 30):
        bench.write(version)
        bench.point({version: 100})
        bench.version()
        bench.tick(1)
    assert len(bench.book._registered) <= 6


def test_threads_files_and_pointers_at_once(bench: Bench) -> None:
    """Everything moves while four threads render; each gets a text that is one version's, whole."""
    stop = threading.Event()
    wrong: list[object] = []

    def work(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                text, prompt = bench.book.render(
                    "reply",
                    f"k{turn}",
                    f"c{turn % 50}" if number % 2 else None,
                    {"product": "Acme"},
                    bench.state,
                    bench.now,
                    random.random,
                )
                if text != f"v{prompt.version} for Acme":
                    wrong.append((text, prompt))
            except Exception as error:  # noqa: BLE001 -- whatever it is
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(25):
        bench.write(5 + turn % 3)
        bench.point({1 + turn % 3: 50, 1 + (turn + 1) % 3: 50} if turn % 4 else None, withdrawn=(turn % 5 + 1,))
        bench.tick()
        bench.book.served(bench.now)
        assert len(bench.problems) <= runtime_prompts.MAX_PROBLEMS
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


# In a process


def make_current(places: Locations, root: Path, version: int, withdrawn: tuple[int, ...] = (), act: str = "use") -> None:
    text = (root / "reply" / f"v{version}.md").read_text()
    at = now_us()
    write_change(
        places.control,
        Change(
            id=uuid7(at, int.from_bytes(os.urandom(9))), act=act, key=pointer_key("reply"),
            value=encode_pointer({version: (100, text_hash(text))}, frozenset(withdrawn)), at=at, actor="op", claimed={},
            reason=None, expires_at=None, undoes=None, seen_version=None, floor=0,
            registers=(PromptRow("reply", version, text_hash(text), text),),
        ),
    )  # fmt: skip


APPLICATION = """
import random, sys
from pathlib import Path
from console.runtime.clock import now_us
from console.runtime.process import Runtime
from store_tools import places_in
runtime = Runtime(places_in(Path(sys.argv[1])), prompts=Path(sys.argv[2]))
for line in sys.stdin:
    conversation = line.strip() or None
    state = runtime.current().state
    print(runtime.prompts.render("reply", "k", conversation, {"product": "Acme"}, state, now_us(), random.random)[0], flush=True)
"""


@pytest.fixture
def ask(places: Locations, bench: Bench) -> Iterator[Callable[[str], str]]:
    """The text that another process renders next, in a conversation or in none."""
    import subprocess

    with python("-c", APPLICATION, places.data.parent, bench.root, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(conversation: str = "") -> str:
            process.stdin.write(f"{conversation}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        yield ask
        process.stdin.close()
        assert process.wait(10) == 0


def test_use_and_rollback_are_seen_by_the_next_render_of_another_process(
    places: Locations, bench: Bench, ask: Callable[[str], str]
) -> None:
    assert ask("") == "v3 for Acme"
    assert ask("old") == "v3 for Acme"
    for _ in range(5):
        make_current(places, bench.root, 4)
        assert (ask(""), ask("old"), ask("new")) == ("v4 for Acme", "v3 for Acme", "v4 for Acme")
        make_current(places, bench.root, 2, withdrawn=(4,), act="rollback")
        assert (ask(""), ask("old"), ask("new")) == ("v2 for Acme", "v3 for Acme", "v2 for Acme")
        make_current(places, bench.root, 1, withdrawn=(2, 4))
        assert ask("new") == "v1 for Acme"
        make_current(places, bench.root, 4, withdrawn=(1,))
        ask("new")


def test_e9_another_process_serves_the_registered_text_without_any_file(
    places: Locations, bench: Bench, ask: Callable[[str], str]
) -> None:
    make_current(places, bench.root, 2)
    bench.write(2, text_of(2, "edited"))
    assert ask("") == "v2 for Acme"
    bench.root.rename(bench.root.with_name("elsewhere"))
    assert ask("") == "v2 for Acme"


def test_the_heartbeat_tells_what_is_served_and_what_is_wrong(places: Locations, bench: Bench) -> None:
    make_current(places, bench.root, 2)
    bench.write(2, text_of(2, "edited"))
    runtime = Runtime(places, prompts=bench.root)
    try:
        state = runtime.current().state
        bench.steady = 0
        runtime.prompts.render("reply", None, None, {"product": "Acme"}, state, now_us(), random.random)
        until(lambda: runtime._heartbeat().state["prompt_problems"])
        beat = runtime._heartbeat().state
        assert beat["prompts"] == {"reply": {"2": text_hash(text_of(2))}}
        assert beat["prompt_problems"] == [
            "prompt reply v2: the file was edited after it was registered; the registered text is served"
        ]
        assert runtime.errors == 0
    finally:
        runtime.close()


def test_a_forked_child_renders_and_looks_for_itself(places: Locations, bench: Bench) -> None:
    runtime = Runtime(places, prompts=bench.root)

    def render() -> str:
        return runtime.prompts.render(
            "reply", None, None, {"product": "Acme"}, runtime.current().state, now_us(), random.random
        )[0]

    try:
        assert render() == "v3 for Acme"
        make_current(places, bench.root, 1)
        child = os.fork()
        if child == 0:
            os._exit(0 if render() == "v1 for Acme" else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        runtime.close()


def test_a_closed_runtime_still_renders(places: Locations, bench: Bench) -> None:
    runtime = Runtime(places, prompts=bench.root)
    runtime.close()
    state = runtime.current().state
    assert runtime.prompts.render("reply", None, None, {"product": "Acme"}, state, NOW, random.random)[0] == "v3 for Acme"
