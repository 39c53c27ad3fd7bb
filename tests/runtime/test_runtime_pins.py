"""What a conversation began with: in this process, in the others of its host, and when it cannot be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_tools import US
from test_runtime_prompts import NOW, Bench, bench, text_of

from console.runtime import pins as runtime_pins
from console.runtime.pins import MAX_UNWRITTEN, beginning_of
from console.runtime.prompts import PromptBook
from console.store.pins import ALIVE_S, PinFile
from console.store.prompts import PromptDirectory

if TYPE_CHECKING:
    from pathlib import Path

    from console.core.prompts import PromptVersion
    from console.runtime.prompts import Rendered

__all__ = ["bench"]

GIVEN = {"product": "Acme"}


@pytest.fixture
def host(bench: Bench, tmp_path: Path) -> Path:
    """The bench's process shares this file with others."""
    bench.book = another_book(bench, tmp_path / "pins")
    return tmp_path / "pins"


def another_book(bench: Bench, file: Path) -> PromptBook:
    return PromptBook(PromptDirectory(bench.root), bench.errors.append, PinFile(file))


def rendered(bench: Bench, book: PromptBook | None = None) -> PromptVersion:
    return (book or bench.book).render("reply", None, None, GIVEN, bench.state, bench.now, lambda: 0.5)[1]


def instead(bench: Bench, beginning: int = 7, book: PromptBook | None = None, **given: object) -> Rendered | None:
    """What a conversation that goes on gets in place of what is current."""
    book = book or bench.book
    return book.instead(beginning, rendered(bench, book), given or GIVEN, lambda: bench.state, bench.now)


@given(st.lists(st.none() | st.text(max_size=5), max_size=4), st.lists(st.none() | st.text(max_size=5), max_size=4))
def test_other_parts_are_another_beginning(one: list[str | None], other: list[str | None]) -> None:
    assert (beginning_of(*one) == beginning_of(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a", "b"), ("ab",)), (("a\n1:b",), ("a", "b")), ((None,), ("",)), (("a\0",), ("a", "")), ((), (None,))],
)
def test_no_two_ways_of_parting_are_the_same(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert beginning_of(*one) != beginning_of(*other)
    assert beginning_of("\ud800") == beginning_of("\ud800")


def test_a_conversation_goes_on_with_what_it_began_with(bench: Bench) -> None:
    bench.book.began(7, rendered(bench), bench.now)
    assert instead(bench) is None
    bench.point({1: 100})
    found = instead(bench)
    assert found is not None and (found[0], found[1].version) == ("v3 for Acme", 3)
    assert instead(bench, 8) is None, "nobody has seen that one begin"
    assert instead(bench, other="x") is None, "it cannot be filled: what was rendered is served"


def test_what_it_began_with_is_served_though_its_file_was_edited_or_lost(bench: Bench) -> None:
    bench.book.began(7, rendered(bench), bench.now)
    bench.point({1: 100})
    bench.write(3, text_of(3, "edited"))
    bench.tick()
    assert instead(bench) == ("v3 for Acme", instead(bench)[1])  # type: ignore[index]
    bench.lose(3)
    bench.tick()
    assert instead(bench) is not None


def test_a_rollback_beats_what_it_began_with(bench: Bench) -> None:
    bench.book.began(7, rendered(bench), bench.now)
    bench.point({1: 100}, withdrawn=(3,))
    assert instead(bench) is None
    bench.point({1: 100})
    assert instead(bench) is not None, "given back"
    bench.point({1: 100}, withdrawn=(3,), expires_at=bench.now + US)
    assert instead(bench) is None
    bench.now += US
    bench.point({2: 100})
    assert instead(bench) is not None


def test_what_is_served_instead_is_told_in_the_heartbeat(bench: Bench) -> None:
    bench.book.began(7, rendered(bench), bench.now)
    bench.point({1: 100})
    bench.now += 700 * US
    rendered(bench)
    assert set(bench.book.served(bench.now)["reply"]) == {"1"}
    instead(bench)
    assert set(bench.book.served(bench.now)["reply"]) == {"1", "3"}


def test_two_that_begin_alike_with_different_versions_get_what_is_current_until_a_day_has_passed(bench: Bench) -> None:
    bench.book.began(7, rendered(bench), bench.now)
    bench.point({1: 100})
    bench.book.began(7, rendered(bench), bench.now)
    bench.point({2: 100})
    assert instead(bench) is None
    bench.now += (ALIVE_S - 60) * US
    assert instead(bench) is None
    bench.now += 120 * US
    bench.point({1: 100})
    bench.book.began(7, rendered(bench), bench.now)
    bench.point({2: 100})
    found = instead(bench)
    assert found is not None and found[1].version == 1


def test_the_other_processes_of_the_host_know_it_once_the_watcher_has_written(bench: Bench, host: Path) -> None:
    other = another_book(bench, host)
    bench.book.began(7, rendered(bench), bench.now)
    bench.point({1: 100})
    assert instead(bench, book=other) is None
    bench.tick()
    bench.steady += US
    other.tick(bench.state, bench.now)
    found = instead(bench, book=other)
    assert found is not None and (found[0], found[1].version) == ("v3 for Acme", 3)
    late = another_book(bench, host)
    found = instead(bench, book=late)
    assert found is not None and found[1].version == 3, "a process that has just been started"
    bench.point({1: 100}, withdrawn=(3,))
    assert instead(bench, book=late) is None


def test_another_process_serves_no_other_text_under_the_same_number(bench: Bench, host: Path) -> None:
    bench.book.began(7, rendered(bench), bench.now)
    bench.tick()
    bench.point({1: 100})
    bench.write(3, text_of(3, "edited"))
    assert instead(bench, book=another_book(bench, host)) is None


def test_another_process_finds_the_registered_text_without_a_file(bench: Bench, host: Path) -> None:
    bench.point({2: 100})
    bench.book.began(7, rendered(bench), bench.now)
    bench.tick()
    other = another_book(bench, host)
    rendered(bench, other)
    bench.point({1: 100})
    bench.lose(2)
    found = instead(bench, book=other)
    assert found is not None and found[1].version == 2, "it has rendered it before"
    bench.point({1: 50, 2: 50})
    fresh = another_book(bench, host)
    version = fresh.render("reply", None, None, GIVEN, bench.state, bench.now, lambda: 0.0)[1]
    found = fresh.instead(7, version, GIVEN, lambda: bench.state, bench.now)
    assert (version.version, found is not None and found[1].version) == (1, 2)


def test_two_processes_that_saw_the_same_beginning_with_different_versions_pin_nothing(bench: Bench, host: Path) -> None:
    bench.book.began(7, rendered(bench), bench.now)
    bench.tick()
    bench.point({1: 100})
    other = another_book(bench, host)
    other.began(7, rendered(bench, other), bench.now)
    other.tick(bench.state, bench.now)
    bench.point({2: 100})
    for book in (bench.book, other, another_book(bench, host)):
        assert instead(bench, book=book) is None


def test_what_another_process_saw_counts_before_this_one_has_written(bench: Bench, host: Path) -> None:
    bench.tick()
    bench.book.began(7, rendered(bench), bench.now)
    bench.point({1: 100})
    other = another_book(bench, host)
    other.began(7, rendered(bench, other), bench.now)
    other.close()
    bench.book._begun.look()
    bench.point({2: 100})
    assert instead(bench) is None


def test_a_conversation_with_an_id_is_pinned_on_the_whole_host(bench: Bench, host: Path) -> None:
    def version(book: PromptBook) -> int:
        return book.render("reply", None, "c-1", GIVEN, bench.state, bench.now, lambda: 0.5)[1].version

    assert version(bench.book) == 3
    bench.tick()
    bench.point({1: 100})
    other = another_book(bench, host)
    assert (version(other), version(bench.book)) == (3, 3)
    bench.point({1: 100}, withdrawn=(3,))
    assert version(other) == 1
    other.tick(bench.state, bench.now)
    bench.point({2: 100})
    assert version(another_book(bench, host)) == 1, "the last word counts"


def test_a_file_that_cannot_be_written_is_told_and_costs_nothing_else(bench: Bench, host: Path) -> None:
    host.mkdir()
    bench.book.began(7, rendered(bench), bench.now)
    bench.tick()
    assert any("in this process only: pins" in problem for problem in bench.problems)
    bench.point({1: 100})
    assert instead(bench) is not None
    bench.book.close()


def test_memory_is_bounded_whoever_writes(bench: Bench, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_pins, "MAX_PINS", 10)
    monkeypatch.setattr(runtime_pins, "MAX_UNWRITTEN", 5)
    version = rendered(bench)
    for number in range(100):
        bench.book.began(number, version, bench.now)
        bench.version(conversation=str(number))
    assert (len(bench.book._begun._own), len(bench.book._begun._unwritten)) == (10, 5)
    assert MAX_UNWRITTEN > 5
    bench.tick()
    assert not bench.book._begun._unwritten


def test_closing_writes_what_is_new(bench: Bench, host: Path) -> None:
    bench.book.began(7, rendered(bench), bench.now)
    bench.book.close()
    bench.point({1: 100})
    assert instead(bench, book=another_book(bench, host)) is not None
    assert bench.now == NOW


def test_a_version_that_is_withdrawn_here_is_not_replaced_by_an_older_word_in_the_file(bench: Bench, host: Path) -> None:
    """The file may be a moment behind: what it says of a conversation can be older than the rollback."""

    def served() -> int:
        return bench.book.render("reply", None, "c", GIVEN, bench.state, bench.now, lambda: 0.5)[1].version

    bench.point({1: 1})
    assert served() == 1
    bench.book.tick(bench.state, bench.now)
    assert PinFile(host).get(beginning_of("id", "reply", "c")) is not None
    bench.point({3: 1}, withdrawn=(1,))
    assert served() == 3
    bench.point({2: 1}, withdrawn=(3,))
    assert served() == 2
