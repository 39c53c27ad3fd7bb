"""Prompt versions as operators choose them: use, rollback, undo; files that were edited or lost; what is shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from ops_tools import MINUTE_US, acts, desk_of, do, prompt_file, prompts_of, record, row_of, tell
from store_tools import SUMMARIZE, assert_chain, kill, now_us

from console.core.control import text_hash
from console.core.pointers import decode_pointer, encode_pointer
from console.errors import ActConflict, ActError, ActForbidden, NothingToUndo, PromptError, UnknownPrompt, VersionChanged
from console.ops.views import Order
from console.store.sqlite.control import read_registered

if TYPE_CHECKING:
    from console.ops.views import PromptStatus, VersionView
    from console.store.locations import Locations

KEY = "prompt/reply"
US = 1_000_000


@pytest.fixture
def files(places: Locations) -> Locations:
    """A prompt with v1, v2, v3 and a draft v4."""
    for number in (1, 2, 3):
        prompt_file(places, "reply", number, f"Text of {number}.")
    prompt_file(places, "reply", 4, front="draft: true")
    return places


def status(places: Locations, name: str = "reply") -> PromptStatus:
    return next(one for one in desk_of(places).prompts() if one.name == name)


def version(places: Locations, number: int) -> VersionView:
    return next(one for one in status(places).versions if one.version == number)


def served(places: Locations) -> int:
    (one,) = decode_pointer(row_of(places, KEY)[0])[0]
    return one.version


def withdrawn(places: Locations) -> set[int]:
    return set(decode_pointer(row_of(places, KEY)[0])[1])


def test_use_registers_the_text_and_makes_the_version_current(files: Locations) -> None:
    assert status(files).current == (3,)
    assert status(files).chosen_by is None
    shown = desk_of(files).preview(Order("use", prompt="reply", version=2))
    assert (shown.title, shown.subject, shown.is_wide) == ("Use reply v2", "prompt:reply", False)
    assert (shown.before, shown.after) == ("auto (v3, the highest that is no draft)", "v2")
    assert shown.diff is not None and "-Text of 3." in shown.diff and "+Text of 2." in shown.diff
    desk_of(files).apply(shown, reason="better")
    (row,) = read_registered(files.control)
    text = prompts_of(files).joinpath("reply/v2.md").read_text()
    assert row == ("reply", 2, text_hash(text), text)
    view = status(files)
    assert (view.current, view.reason) == ((2,), "better")
    assert version(files, 2).state == "current" and version(files, 2).share == 1.0
    assert version(files, 2).current_since is not None
    assert version(files, 4).state == "draft"
    assert_chain(files)


def test_a_rollback_goes_to_what_was_current_before_and_twice_goes_back_twice(files: Locations) -> None:
    for number in (1, 2, 3):
        do(files, "use", prompt="reply", version=number)
    shown = desk_of(files).preview(Order("rollback", prompt="reply"))
    assert (shown.title, shown.order.version) == ("Roll reply back to v2", 2)
    desk_of(files).apply(shown)
    assert (served(files), withdrawn(files)) == (2, {3})
    do(files, "rollback", prompt="reply")
    assert (served(files), withdrawn(files)) == (1, {2, 3})
    with pytest.raises(ActError, match="no version of reply before v1"):
        do(files, "rollback", prompt="reply")
    assert version(files, 3).state == "withdrawn"
    do(files, "use", prompt="reply", version=3)
    assert (served(files), withdrawn(files)) == (3, {2})


def test_a_rollback_without_any_act_before_goes_to_the_next_lower_version_that_is_no_draft(files: Locations) -> None:
    prompt_file(files, "reply", 2, front="draft: true")
    do(files, "rollback", prompt="reply")
    assert (served(files), withdrawn(files)) == (1, {3})


def test_a_rollback_passes_over_acts_that_were_undone(files: Locations) -> None:
    do(files, "use", prompt="reply", version=1)
    do(files, "use", prompt="reply", version=2)
    do(files, "undo")
    do(files, "use", prompt="reply", version=3)
    do(files, "rollback", prompt="reply")
    assert served(files) == 1


def test_a_deliberate_step_down_is_rolled_back_to_the_higher_version(files: Locations) -> None:
    do(files, "use", prompt="reply", version=3)
    do(files, "use", prompt="reply", version=1)
    do(files, "rollback", prompt="reply")
    assert (served(files), withdrawn(files)) == (3, {1})


def test_a16_undo_of_use_and_of_rollback_gives_the_exact_pointer_before(files: Locations) -> None:
    do(files, "use", prompt="reply", version=1)
    first = row_of(files, KEY)
    do(files, "use", prompt="reply", version=3)
    second = row_of(files, KEY)
    do(files, "rollback", prompt="reply")
    do(files, "undo")
    assert row_of(files, KEY) == second
    do(files, "undo")
    assert row_of(files, KEY) == first
    assert first[1] is None
    do(files, "undo")
    assert row_of(files, KEY) == (encode_pointer(None), None)
    assert status(files).current == (3,)
    with pytest.raises(NothingToUndo):
        do(files, "undo")
    assert acts(files) == ["use", "use", "rollback", "undo", "undo", "undo"]
    assert_chain(files)


def test_a14_two_operators_and_one_prompt(files: Locations) -> None:
    one = desk_of(files).preview(Order("use", prompt="reply", version=1))
    two = desk_of(files).preview(Order("rollback", prompt="reply"))
    desk_of(files).apply(one)
    with pytest.raises(ActConflict, match="since you looked"):
        desk_of(files).apply(two)
    assert acts(files) == ["use"]


def test_what_is_applied_is_the_text_that_was_shown(files: Locations) -> None:
    desk = desk_of(files)
    shown = desk.preview(Order("use", prompt="reply", version=2))
    prompt_file(files, "reply", 2, "Something else.")
    with pytest.raises(ActConflict, match="changed since you looked"):
        desk.apply(shown)
    assert not files.control.exists()


def test_an_edited_version_cannot_be_used_but_rolled_back_to(files: Locations) -> None:
    do(files, "use", prompt="reply", version=2)
    do(files, "use", prompt="reply", version=3)
    prompt_file(files, "reply", 2, "Edited by hand.")
    with pytest.raises(VersionChanged, match="was edited"):
        do(files, "use", prompt="reply", version=2)
    shown = desk_of(files).preview(Order("rollback", prompt="reply"))
    assert any("was edited: the registered text is served" in warning for warning in shown.warnings)
    assert shown.diff is not None and "+Text of 2." in shown.diff
    desk_of(files).apply(shown)
    assert version(files, 2).file == "edited"
    assert desk_of(files).status().prompt_alarms == ("reply v2: its file was edited; the registered text is served",)
    assert status(files).alarms == desk_of(files).status().prompt_alarms


def test_a_lost_file_or_directory_does_not_keep_the_night_from_rolling_back(files: Locations) -> None:
    do(files, "use", prompt="reply", version=2)
    do(files, "use", prompt="reply", version=3)
    for file in (prompts_of(files) / "reply").iterdir():
        file.unlink()
    with pytest.raises(PromptError, match="lost"):
        do(files, "use", prompt="reply", version=2)
    shown = desk_of(files).preview(Order("rollback", prompt="reply"))
    assert any("lost" in warning for warning in shown.warnings)
    desk_of(files).apply(shown)
    assert served(files) == 2
    assert version(files, 2).file == "lost"
    assert "Text of 2." in desk_of(files).prompt_text("reply", 2)
    (prompts_of(files) / "reply").rmdir()
    assert "lost" in desk_of(files).status().prompt_alarms[0]
    do(files, "undo")
    assert served(files) == 3


def test_a_draft_can_be_used_with_a_warning_and_needed_variables_are_named(files: Locations) -> None:
    prompt_file(files, "reply", 4, "Hello ${product} ${tone}.", front="draft: true\nvariables: [product, tone]")
    shown = desk_of(files).preview(Order("use", prompt="reply", version=4))
    text = "\n".join(shown.warnings)
    assert "reply v4 is marked as a draft" in text
    assert "v4 needs product, tone, which v3 does not" in text


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        (Order("use", prompt="replly", version=1), UnknownPrompt, "did you mean reply"),
        (Order("use", prompt="reply", version=9), UnknownPrompt, "versions: v1, v2, v3, v4"),
        (Order("use", prompt="reply"), ActError, "name the version"),
        (Order("use", prompt="../etc", version=1), PromptError, "cannot be a prompt's name"),
        (Order("use", prompt="reply", version=0), PromptError, "cannot be a version"),
        (Order("rollback", prompt="nothing"), UnknownPrompt, "prompts: reply"),
        (Order("rollback", prompt="reply", version=9), UnknownPrompt, "no version v9"),
        (Order("rollback"), ActError, "name a prompt"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_can(
    files: Locations, order: Order, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        desk_of(files).preview(order)
    assert not files.control.exists()


def test_a_file_with_a_mistake_is_not_used_and_is_no_default(files: Locations) -> None:
    prompt_file(files, "reply", 5, "Hello ${nobody}.")
    assert status(files).current == (3,)
    problem = version(files, 5).problem
    assert problem is not None and "reply/v5.md:4:" in problem
    with pytest.raises(PromptError, match=r"v5\.md:4"):
        do(files, "use", prompt="reply", version=5)
    mistakes = desk_of(files).prompt_mistakes()
    assert len(mistakes) == 1 and "nobody" in mistakes[0]


def test_whom_a_prompt_touches_and_that_killed_features_stay_killed(files: Locations) -> None:
    record(files, 6, feature="summarize", prompt="reply", prompt_version="3")
    record(files, 2, feature="other")
    kill(files, SUMMARIZE)
    shown = desk_of(files).preview(Order("use", prompt="reply", version=2))
    assert (shown.calls_5m, shown.customers_5m, shown.share_of_traffic) == (6, 1, 0.75)
    assert any("summarize is killed and stays killed" in warning for warning in shown.warnings)
    assert (status(files).features, version(files, 3).calls_5m) == (("summarize",), 6)
    record(files, 1, feature="summarize")
    assert desk_of(files).preview(Order("use", prompt="reply", version=2)).customers_5m is None


def test_the_number_that_a_version_should_move(files: Locations) -> None:
    base = now_us() // (10 * US) * 10 * US
    record(files, 3, ago_s=0, prompt="reply", prompt_version="2")
    record(files, 5, ago_s=0, prompt="reply", prompt_version="3")
    desk = desk_of(files, clock_us=lambda: base + 20 * US)
    for act, number, before in (("use", 2, 3), ("use", 3, 5), ("rollback", 2, 3), ("undo", 3, 5)):
        given = {} if act == "undo" else {"prompt": "reply", "version": number}
        seen = desk.acknowledgement(desk.act(Order(act, **given))[1])  # type: ignore[arg-type]
        assert (seen.counted, seen.expected, seen.calls_per_min_before) == (f"calls with reply v{number}", "up", before)


def test_a_version_that_nobody_registered_is_an_alarm_once_the_pointer_has_settled(files: Locations) -> None:
    applied = do(files, "use", prompt="reply", version=2)
    hashes = {number: version(files, number).hash for number in (2, 3)}
    tell(
        files,
        {"prompts": {"reply": {"2": hashes[2], "3": hashes[3]}}, "prompt_problems": ["prompt x: broken"]},
        {"prompts": {}},
    )
    assert desk_of(files).status().prompt_alarms == ("prompt x: broken (told by 1 process)",)
    tell(files, {"prompts": {"reply": {"2": "0" * 64, "3": hashes[3]}}}, at=applied.at + 700 * US)
    later = desk_of(files, clock_us=lambda: applied.at + 701 * US).status().prompt_alarms
    assert later == (
        "reply v2 is served by 1 process, with another text than the registered one",
        "reply v3 is served by 1 process, which nobody has registered",
    )


def test_processes_that_serve_different_texts_of_one_version_are_an_alarm(files: Locations) -> None:
    tell(files, {"prompts": {"reply": {"3": "0" * 64}}}, {"prompts": {"reply": {"3": "1" * 64}}})
    assert desk_of(files).status().prompt_alarms == ("reply v3 is served with 2 different texts",)


def test_files_are_parsed_again_only_when_they_change(files: Locations, monkeypatch: pytest.MonkeyPatch) -> None:
    from console.ops import prompts

    parsed: list[int] = []
    real = prompts.parse_prompt
    monkeypatch.setattr(prompts, "parse_prompt", lambda *given: parsed.append(given[1]) or real(*given))
    desk = desk_of(files)
    desk.status()
    assert parsed == [], "a status without a choice of an operator's opens no prompt"
    desk.prompts()
    assert sorted(parsed) == [1, 2, 3, 4]
    desk.prompts()
    desk.status()
    assert len(parsed) == 4
    prompt_file(files, "reply", 2, "Another text of quite another length.")
    desk.prompts()
    assert len(parsed) == 5


def test_new_copies_the_highest_version_as_a_draft(files: Locations) -> None:
    number, file = desk_of(files).new_prompt("reply")
    assert (number, file.name) == (5, "v5.md")
    assert "draft: true" in file.read_text()
    prompt_file(files, "other", 3, "Body\n---\ndraft: false\n", front="owner: me\ndraft: false")
    number, file = desk_of(files).new_prompt("other")
    assert file.read_text() == "---\nowner: me\ndraft: true\n---\nBody\n---\ndraft: false\n\n"
    number, file = desk_of(files).new_prompt("fresh")
    assert number == 1
    assert desk_of(files).prompt_mistakes() == []
    assert status(files, "fresh").current == ()
    with pytest.raises(ActForbidden, match="read-only"):
        desk_of(files, read_only=True).new_prompt("fresh")


def test_new_never_takes_a_number_that_was_registered(files: Locations) -> None:
    do(files, "use", prompt="reply", version=3)
    for number in (3, 4):
        (prompts_of(files) / "reply" / f"v{number}.md").unlink()
    number, file = desk_of(files).new_prompt("reply")
    assert number == 4
    assert "Text of 3." in file.read_text()


def test_diff_and_text_of_versions(files: Locations) -> None:
    found = desk_of(files).prompt_diff("reply", 1, 2)
    assert found.splitlines()[:2] == ["--- reply v1", "+++ reply v2"]
    assert desk_of(files).prompt_diff("reply", 1, 1) == ""
    with pytest.raises(UnknownPrompt):
        desk_of(files).prompt_diff("reply", 1, 7)
    for hostile in ("../reply", "/etc", "a\0b", "-rf", "", "réply"):
        with pytest.raises(PromptError):
            desk_of(files).prompt_text(hostile, 1)


def test_a_prompt_directory_that_is_no_good_never_raises_in_status(files: Locations) -> None:
    do(files, "use", prompt="reply", version=2)
    root = prompts_of(files)
    (root / "reply" / "v2.md").chmod(0o666)
    assert any("reply v2" in alarm for alarm in desk_of(files).status().prompt_alarms)
    (root / "reply" / "v2.md").write_bytes(b"\xff\xfe\x00")
    desk_of(files).status()
    (root / "reply").rename(root / "away")
    (root / "reply").symlink_to(root / "away")
    desk_of(files).status()
    desk_of(files).prompts()
    (root / "reply").unlink()
    (root / "reply").write_text("a file")
    desk_of(files).status()
    assert status(files).versions[0].version == 2
    files.control.write_bytes(b"no database" * 500)
    desk_of(files).status()


def test_acts_on_prompts_stand_in_the_audit_as_json(files: Locations) -> None:
    from console.store.sqlite.control import read_audit

    do(files, "use", prompt="reply", version=2)
    (row,) = read_audit(files.control)
    assert json.loads(row.after)["withdrawn"] == []
    (change,) = desk_of(files).status().changes
    assert (change.subject, change.before, change.after) == ("prompt:reply", "auto", "v2")


@pytest.mark.parametrize("act", ["use", "rollback"])
def test_a_version_does_not_expire_by_itself(files: Locations, act: str) -> None:
    with pytest.raises(ActError, match="does not expire by itself; roll back when it is over"):
        do(files, act, prompt="reply", version=1, for_us=MINUTE_US)
    assert not files.control.exists()


def test_the_text_of_a_version_is_what_is_served_also_when_its_file_was_edited_or_lost(files: Locations) -> None:
    do(files, "use", prompt="reply", version=2)
    assert desk_of(files).prompt_source("reply", 2)[1] == "file"
    file = prompt_file(files, "reply", 2, "Edited by hand.")
    text, source = desk_of(files).prompt_source("reply", 2)
    assert ("Text of 2." in text, source) == (True, "registered")
    assert desk_of(files).prompt_text("reply", 2) == text
    file.unlink()
    assert desk_of(files).prompt_source("reply", 2) == (text, "registered")
    assert desk_of(files).prompt_source("reply", 3)[1] == "file"


def test_a_lost_file_of_the_current_version_is_a_mistake(files: Locations) -> None:
    do(files, "use", prompt="reply", version=1)
    do(files, "use", prompt="reply", version=2)
    for number in (1, 2):
        (prompts_of(files) / "reply" / f"v{number}.md").unlink()
    (mistake,) = desk_of(files).prompt_mistakes()
    assert mistake.startswith("reply/v2.md: lost")
