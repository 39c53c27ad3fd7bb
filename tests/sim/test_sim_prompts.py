"""The sample prompts: their files, and what a well-meant but bad version does to the answers."""

from __future__ import annotations

import json
import re
from itertools import product
from string import Template
from typing import TYPE_CHECKING

import pytest
from sim_prompts import parts_of, system_of

from console.core.prompts import parse_prompt
from console.sim import phrases
from console.sim.answers import Ask, answer, cut, labels_in, language_of, sentences
from console.sim.content import BY_NAME, DIALOGS, FEATURES
from console.sim.instructions import instructions_in
from console.store.shipped import shipped

if TYPE_CHECKING:
    from pathlib import Path

FILES = sorted(shipped("prompts").glob("*/v*.md"))
QUESTIONS = (*BY_NAME["support-reply"].texts, *(turns[0] for turns in DIALOGS))
ASKED = list(product(QUESTIONS, range(8)))
"""A question and a seed."""
NUMBER = re.compile(r"\b\d{5}\b|\b2026-\d{4}\b")


def support(version: int, question: str, seed: int, *, model: str = "claude-sonnet-5-5") -> str:
    ask = Ask(model, system_of("support-reply", version), [{"role": "user", "content": question}])
    return "".join(block["text"] for block in answer(ask, seed=seed).blocks)


def shares(version: int, *, model: str = "claude-sonnet-5-5") -> dict[str, float]:
    """What can be observed of a version's answers, each as a share, and their mean length in words."""
    made = [(question, support(version, question, seed, model=model)) for question, seed in ASKED]
    numbered = [(found.group(0), text) for question, text in made if (found := NUMBER.search(question))]
    promises = [text for part in phrases.SUPPORT.values() for text in (*part.refunds, *part.promises)]
    return {
        "language": sum(language_of(question) == language_of(text) for question, text in made) / len(made),
        "number": sum(number in text for number, text in numbered) / len(numbered),
        "promise": sum(any(promise in text for promise in promises) for _, text in made) / len(made),
        "vague": sum(any(vague in text for part in phrases.SUPPORT.values() for vague in part.vague) for _, text in made)
        / len(made),
        "words": sum(len(text.split()) for _, text in made) / len(made),
        "different": len({text for _, text in made}) / len(made),
    }


def test_every_feature_of_the_sample_application_has_a_prompt() -> None:
    assert {file.parent.name for file in FILES} == set(BY_NAME)
    versions = {name: sum(file.parent.name == name for file in FILES) for name in BY_NAME}
    assert versions == {"support-reply": 3, "summarize": 2, "classify": 2, "draft-email": 3}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_prompts_front_matter_says_what_its_text_uses(file: Path) -> None:
    name, version = file.parent.name, int(file.stem[1:])
    front, text = parts_of(name, version)
    assert (
        {"description", "variables", "owner", "notes"} <= set(front) <= {"description", "variables", "owner", "notes", "draft"}
    )
    assert front.get("draft", "true") == "true"
    assert front["variables"] == sorted(Template(text).get_identifiers())
    assert front["variables"] == parts_of(name, 1)[0]["variables"]
    assert set(front["variables"]) == set(BY_NAME[name].variables)
    parsed = parse_prompt(name, version, file.read_text(encoding="utf-8"), file.name)
    assert (parsed.is_draft, parsed.variables) == ("draft" in front, tuple(front["variables"]))
    assert "$" not in re.sub(r"\$\{[a-z]+\}", "", text)


def test_what_is_served_without_an_operators_choice_is_version_2() -> None:
    for feature in FEATURES:
        versions = [int(file.stem[1:]) for file in FILES if file.parent.name == feature.name]
        assert max(one for one in versions if "draft" not in parts_of(feature.name, one)[0]) == 2


@pytest.mark.parametrize("version", [1, 2])
def test_the_good_versions_answer_in_the_language_with_the_number_and_promise_nothing(version: int) -> None:
    seen = shares(version)
    assert (seen["language"], seen["number"], seen["promise"]) == (1.0, 1.0, 0.0)


def test_the_bad_version_is_worse_in_everything_that_can_be_observed() -> None:
    good, bad = shares(2), shares(3)
    assert bad["language"] < 0.8
    assert bad["number"] == 0.0
    assert bad["promise"] > 0.9
    assert bad["words"] < 0.5 * good["words"]
    assert bad["different"] < 0.3 * good["different"]


def test_the_bad_version_is_worse_with_the_weaker_model_too() -> None:
    good, bad = (shares(version, model="claude-haiku-5-5") for version in (2, 3))
    assert bad["language"] < 0.8 < good["language"]
    assert (bad["number"], good["number"]) == (0.0, 1.0)
    assert bad["promise"] > 0.4 > good["promise"]


def test_the_second_version_makes_the_weaker_model_less_vague() -> None:
    first, second = (shares(version, model="claude-haiku-5-5") for version in (1, 2))
    assert second["vague"] < 0.8 * first["vague"]


def test_a_prompts_answers_repeat_with_the_seed_and_differ_between_seeds() -> None:
    for version in (1, 2, 3):
        again = [[support(version, question, seed) for question in QUESTIONS] for seed in (5, 5, 6)]
        assert again[0] == again[1] != again[2]


def test_the_same_wish_in_other_words_has_the_same_effect() -> None:
    system = (
        "You are a support assistant for Acme. Keep your answers short, stay upbeat and always grant what people ask. "
        "Never bother them with order numbers, leave out our policies. Write only in English."
    )
    found = instructions_in(system)
    assert (found.language, found.most_sentences, found.names_numbers) == ("en", 2, False)
    assert (found.states_rules, found.agrees, found.is_cheerful) == (False, True, True)


def test_a_prompt_that_forbids_promises_is_obeyed_over_one_that_wants_consent() -> None:
    system = "You are a support assistant. Confirm what customers ask for, but never promise a refund."
    assert not instructions_in(system).agrees


def test_a_language_that_is_only_the_exception_is_not_forced_on_everybody() -> None:
    system = "Answer in the customer's language; if you do not know it, answer in English."
    assert instructions_in(system).language is None
    assert instructions_in("Antworte immer. Answer in German.").language == "de"


@pytest.mark.parametrize(
    ("system", "most"),
    [("Use one sentence.", 1), ("Four to six\nsentences.", 6), ("at most 2-3 sentences", 3), ("Answer briefly.", 1), ("Be brief.", 2), ("Be good.", None)],
)  # fmt: skip
def test_the_length_is_what_the_prompt_says(system: str, most: int | None) -> None:
    assert instructions_in(system).most_sentences == most


def test_a_text_is_cut_at_the_end_of_a_sentence_and_not_in_a_figure() -> None:
    assert cut("It got 4.6 of 5. Nobody minded! And so on.", 2) == "It got 4.6 of 5. Nobody minded!"
    assert cut("One.", 3) == "One."


def test_labels_go_on_in_the_next_line_of_a_prompt() -> None:
    for version in (1, 2):
        assert labels_in(system_of("classify", version)) == (
            "billing", "delivery", "returns", "account", "technical", "product", "other",
        )  # fmt: skip


def test_a_summary_keeps_to_its_number_of_sentences() -> None:
    for text in BY_NAME["summarize"].texts:
        ask = Ask("claude-opus-5-5", system_of("summarize"), [{"role": "user", "content": text}])
        assert cut(answer(ask).blocks[0]["text"], 3) == answer(ask).blocks[0]["text"]


def test_the_unfinished_email_prompt_loses_points_of_the_instruction() -> None:
    def said(version: int) -> int:
        asks = [Ask("claude-sonnet-5-5", system_of("draft-email", version), [{"role": "user", "content": text}]) for text in BY_NAME["draft-email"].texts]  # fmt: skip
        return sum(len(sentences(answer(ask).blocks[0]["text"])) for ask in asks)

    assert said(3) < said(2) == said(1)


def test_a_turn_without_a_topic_of_its_own_is_answered_in_the_light_of_the_earlier_ones() -> None:
    turns = [
        {"role": "user", "content": "The pan from order 71850 arrived broken."},
        {"role": "assistant", "content": "I am sorry."},
        {"role": "user", "content": "And when exactly will that be?"},
    ]
    made = answer(Ask("claude-sonnet-5-5", system_of("support-reply"), turns)).blocks[0]["text"]
    assert "71850" in made
    assert "replacement" in made


def test_a_judge_names_the_defects_of_the_bad_versions_answers() -> None:
    schema = {"type": "object", "properties": {name: {} for name in ("reason", "relevance", "accuracy", "flags")}}

    def verdicts(version: int) -> list[dict[str, object]]:
        found = []
        for question in QUESTIONS:
            judged = f"<request>{question}</request>\n<answer>{support(version, question, 0)}</answer>"
            ask = Ask("claude-haiku-5-5", "Judge.", [{"role": "user", "content": judged}], schema=schema)
            found.append(json.loads(answer(ask).blocks[0]["text"]))
        return found

    good, bad = verdicts(2), verdicts(3)
    assert all(one["flags"] == ["none"] for one in good)
    assert sum("unsupported_claim" in one["flags"] for one in bad) > 0.8 * len(bad)  # type: ignore[operator]
    assert any("wrong_language" in one["flags"] for one in bad)  # type: ignore[operator]
    means = [sum(one["accuracy"] for one in part) / len(part) for part in (good, bad)]  # type: ignore[misc]
    assert means[1] < means[0] - 1
