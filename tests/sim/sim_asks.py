"""Requests that the tests here share."""

from __future__ import annotations

from typing import Any

SONNET = "claude-sonnet-5-5"
OLDER_SONNET = "claude-sonnet-5"
HAIKU = "claude-haiku-5-5"
QUESTION = "Where is my parcel? Order 88213 was supposed to be here on Monday."
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}


def ask(question: str = QUESTION, *, model: str = SONNET, **more: Any) -> dict[str, Any]:
    """The keyword arguments of `messages.create`."""
    system = "You are the customer support assistant for Acme."
    messages = [{"role": "user", "content": question}]
    return {"model": model, "max_tokens": 500, "system": system, "messages": messages} | more
