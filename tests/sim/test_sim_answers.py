"""The answers as values: what follows from the request alone."""

from __future__ import annotations

import json

import pytest
from sim_asks import HAIKU, QUESTION, SONNET, WEATHER
from sim_prompts import system_of

from console.core.seam import ask_to_go_on, last_words
from console.sim.answers import Answer, Ask, answer, language_of
from console.sim.content import BY_NAME, FEATURES

SUPPORT_SYSTEM = system_of("support-reply")


def _ask(question: str = QUESTION, *, model: str = SONNET, system: str = SUPPORT_SYSTEM, **more: object) -> Ask:
    return Ask(model=model, system=system, messages=[{"role": "user", "content": question}], **more)  # type: ignore[arg-type]


def _text(made: Answer) -> str:
    return "".join(block.get("text", "") for block in made.blocks)


def test_the_same_request_and_seed_give_the_same_answer() -> None:
    assert answer(_ask(), seed=7) == answer(_ask(), seed=7)


def test_every_sample_question_gets_an_answer_of_its_own() -> None:
    for feature in FEATURES:
        texts = [_text(answer(_ask(text, model=feature.model, system=system_of(feature.name)))) for text in feature.texts]
        assert all(texts)
        if feature.name != "classify":
            assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", ["support-reply", "summarize", "draft-email"])
def test_a_weaker_model_says_less(name: str) -> None:
    feature = BY_NAME[name]
    strong, weak = (
        sum(answer(_ask(text, model=model, system=system_of(feature.name))).output_tokens for text in feature.texts)
        for model in (SONNET, HAIKU)
    )
    assert weak < 0.95 * strong


def test_an_answer_comes_in_the_language_of_the_question() -> None:
    question = "Wo bleibt mein Paket? Die Bestellung 88540 sollte schon am Dienstag da sein."
    assert language_of(_text(answer(_ask(question)))) == "de"


def test_the_reference_of_the_question_comes_back() -> None:
    assert "88213" in _text(answer(_ask()))


def test_a_classifier_answers_with_one_of_its_labels() -> None:
    made = answer(_ask("I was charged twice for the same invoice.", system=system_of("classify")))
    assert _text(made) == "billing"


def test_an_answer_longer_than_max_tokens_is_cut() -> None:
    made = answer(_ask(max_tokens=10))
    assert (made.stop_reason, made.output_tokens) == ("max_tokens", 10)


def test_a_stop_sequence_ends_the_answer_before_it() -> None:
    made = answer(_ask(stop_sequences=["courier"]))
    assert (made.stop_reason, made.stop_sequence) == ("stop_sequence", "courier")
    assert "courier" not in _text(made)


def test_a_partial_answer_is_continued_where_it_stopped() -> None:
    whole = _text(answer(_ask()))
    partial = whole[:90]
    turns = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": partial},
        {"role": "user", "content": "The answer was cut off. Go on exactly where it stopped."},
    ]
    assert partial + _text(answer(Ask(model=SONNET, system=SUPPORT_SYSTEM, messages=turns))) == whole


def test_a_question_about_something_that_stopped_is_not_taken_for_a_wish_to_go_on() -> None:
    turns = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "It is on its way."},
        {"role": "user", "content": "And the pump of my fountain stopped, is that under warranty?"},
    ]
    assert "24 months" in _text(answer(Ask(model=SONNET, system=SUPPORT_SYSTEM, messages=turns)))


def test_a_tool_is_called_when_the_question_asks_for_it_and_not_again_for_its_result() -> None:
    question = "Please use the get_weather tool for Lyon."
    made = answer(_ask(question, tools=[WEATHER]))
    assert made.stop_reason == "tool_use"
    call = made.blocks[-1]
    assert set(call["input"]) == {"city", "days"}
    turns = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": list(made.blocks)},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "18 degrees"}]},
    ]
    after = answer(Ask(model=SONNET, system="", messages=turns, tools=[WEATHER]))
    assert (after.stop_reason, _text(after) != "") == ("end_turn", True)


def test_a_json_schema_is_satisfied_with_references_enums_and_lists() -> None:
    schema = {
        "$defs": {"Item": {"type": "object", "properties": {"name": {"type": "string"}, "when": {"format": "date", "type": "string"}}}},
        "type": "object",
        "properties": {
            "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Item"}},
            "size": {"enum": ["small", "large"]},
            "count": {"type": "integer", "description": "{minimum: 3, maximum: 4}"},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        },
    }  # fmt: skip
    value = json.loads(_text(answer(_ask(schema=schema))))
    assert value["size"] in {"small", "large"}
    assert value["count"] in {3, 4}
    assert isinstance(value["maybe"], bool)
    assert value["items"][0]["name"]


def test_a_schema_that_refers_to_itself_ends() -> None:
    loop = {"$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}, "$ref": "#/$defs/A"}
    assert "a" in json.loads(_text(answer(_ask(schema=loop, max_tokens=4000))))


def test_a_judge_gives_worse_answers_lower_scores() -> None:
    numbers = {"enum": [1, 2, 3, 4, 5, "unknown"]}
    schema = {"type": "object", "properties": {"reason": {"type": "string"}, "relevance": numbers, "accuracy": numbers}}

    def mean_score(quality: float) -> float:
        scores = []
        for text in BY_NAME["support-reply"].texts:
            given = _text(answer(_ask(text), quality=quality))
            judged = f"<request>{text}</request>\n<answer>{given}</answer>"
            scores.append(json.loads(_text(answer(_ask(judged, system="Judge.", schema=schema))))["relevance"])
        return sum(scores) / len(scores)

    assert mean_score(0.3) < mean_score(1.0) - 0.5


def test_a_partial_answer_is_sometimes_continued_with_the_last_words_that_were_asked_for_and_sometimes_at_once() -> None:
    begun = 0
    for question in BY_NAME["support-reply"].texts:
        whole = _text(answer(_ask(question)))
        partial = whole[: whole.index(" ", len(whole) // 2)]
        words = last_words(partial)
        turns = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": partial},
            {"role": "user", "content": ask_to_go_on(words)},
        ]
        asked = Ask(model=SONNET, system=SUPPORT_SYSTEM, messages=turns)
        rest = _text(answer(asked))
        assert rest == _text(answer(asked))
        assert rest in {words + whole[len(partial) :], whole[len(partial) :].lstrip()}
        begun += rest.startswith(words)
    assert 0 < begun < len(BY_NAME["support-reply"].texts)


def test_a_model_that_goes_on_with_anothers_answer_puts_a_space_between_the_last_words_and_its_own() -> None:
    begun = 0
    for question in BY_NAME["support-reply"].texts:
        partial = "Something else, said by another"
        turns = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": partial},
            {"role": "user", "content": ask_to_go_on(partial)},
        ]
        rest = _text(answer(Ask(model=SONNET, system=SUPPORT_SYSTEM, messages=turns)))
        assert rest
        if rest.startswith(partial):
            assert rest[len(partial)] == " "
            begun += 1
    assert 0 < begun < len(BY_NAME["support-reply"].texts)
