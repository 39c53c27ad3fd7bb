"""A status page is somebody else's text: read strictly, shown safely, and never taken for fine when it is not understood."""

from __future__ import annotations

import json
from typing import Any

import pytest

from console.core.statuspage import ASKING, MAX_LISTED, StatusPage, page_words, read_summary, unreachable

GOOD: dict[str, Any] = {
    "page": {"id": "x", "name": "Claude"},
    "status": {"indicator": "minor", "description": "Partially Degraded Service"},
    "components": [
        {"name": "api", "status": "degraded_performance", "group": False},
        {"name": "console", "status": "operational"},
        {"name": "a group", "status": "degraded_performance", "group": True},
    ],
    "incidents": [{"name": "Errors on Sonnet", "status": "investigating"}, {"name": "Old", "status": "resolved"}],
}


def read(document: object) -> StatusPage:
    return read_summary(json.dumps(document).encode(), 7)


def test_a_page_tells_what_is_not_operational_and_what_is_not_over() -> None:
    assert read(GOOD) == StatusPage(
        "told", 7, "minor", "Partially Degraded Service", (("api", "degraded_performance"),), ("Errors on Sonnet",)
    )
    assert page_words(read(GOOD)) == ('status page: Partially Degraded Service, api degraded_performance, "Errors on Sonnet"')


def test_a_page_without_trouble_is_said_to_lag() -> None:
    page = read({"status": {"indicator": "none", "description": "All Systems Operational"}})
    assert not page.reports_trouble
    assert page_words(page) == "status page: says that all is well (it lags)"


@pytest.mark.parametrize(
    "document",
    [
        None, [], "fine", 1, {}, {"status": None}, {"status": "none"}, {"status": {}}, {"status": {"indicator": "green"}},
        {"status": {"indicator": None}}, {"status": {"indicator": ["none"]}}, {**GOOD, "components": {}}, {**GOOD, "components": [1]},
        {**GOOD, "components": [{"name": "api"}]}, {**GOOD, "components": [{"name": 1, "status": "operational"}]},
        {**GOOD, "incidents": [{"name": "x", "status": 3}]}, {**GOOD, "incidents": "none"},
    ],
)  # fmt: skip
def test_what_is_not_of_the_agreed_form_was_not_read(document: object) -> None:
    page = read(document)
    assert (page.state, page.reports_trouble, page.at) == ("unreachable", False, 7)
    assert "not reachable" in page_words(page)


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"<html>", b"[" * 100_000, b'{"status":'])
def test_what_is_no_json_was_not_read(raw: bytes) -> None:
    assert read_summary(raw, 7).state == "unreachable"


def test_its_text_is_safe_and_bounded() -> None:
    bad = "\x1b[2J[@click=app.quit]x[/]" + "y" * 100_000
    page = read({
        "status": {"indicator": "major", "description": bad},
        "components": [{"name": bad, "status": bad}] * 500,
        "incidents": [{"name": bad, "status": bad}] * 500,
    })  # fmt: skip
    said = [page.description, *page.incidents, *(text for pair in page.components for text in pair), page_words(page)]
    assert not any("\x1b" in text for text in said)
    assert max(map(len, said)) < 1000
    assert (len(page.components), len(page.incidents)) == (MAX_LISTED, MAX_LISTED)
    assert "\x1b" not in page_words(unreachable(bad, 1))


def test_nobody_asked_and_no_answer_yet_are_said() -> None:
    assert page_words(None) == "status page: not asked"
    assert page_words(ASKING) == "status page: no answer yet"
