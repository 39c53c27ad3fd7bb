"""What a request is about, and the same request without our tags. Touches the body only to read top-level keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from anthropic import Omit
from anthropic._request import APIRequest

from console.core.calls import DEFAULT_FEATURE, Facts
from console.core.redaction import clean_name
from console.sdk.endpoints import TAG_CUSTOMER, TAG_FEATURE, TAG_SESSION, TAGS
from console.sdk.prompts import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

_OMITTED: Final[dict[str, Any]] = {name: Omit() for name in TAGS}
"""Tags may come from the client's `default_headers`, which a request does not show: an Omit removes those too."""

MESSAGES_LOOKED_AT: Final = 4
BLOCKS_LOOKED_AT: Final = 8
"""A rendered prompt stands at the front; looking for one must not cost more in a long conversation."""


def without_tags(request: APIRequest, *, omits_defaults: bool = True) -> tuple[APIRequest, dict[str, str]]:
    """A shallow copy of the request that sends no tags, and the tags. The body is shared, not copied: it is not changed.

    `omits_defaults`: whether the client may have tags among its `default_headers`.
    """
    headers: dict[str, Any] = {}
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        if name in _OMITTED or name.lower() in _OMITTED:
            if isinstance(value, str):
                found[name.lower()] = value
        else:
            headers[name] = value
    if omits_defaults:
        headers.update(_OMITTED)
    # What `model_copy(update=...)` does besides costs 1 us more, on the path of every call.
    options = request.options.__copy__()
    vars(options)["headers"] = headers
    copy = APIRequest(
        options=options,
        cast_to=request.cast_to,
        stream=request.stream,
        stream_cls=request.stream_cls,
        retries_taken=request.retries_taken,
    )
    return copy, found


def default_tags(client: Any) -> dict[str, str]:
    """The tags among a client's `default_headers`."""
    return {name.lower(): value for name, value in client.default_headers.items() if name.lower() in _OMITTED}


def facts_of(body: object, tags: Mapping[str, str]) -> Facts:
    """The facts of a `POST /v1/messages` with this body. Names are cleaned here, so that what is stored and shown is what a
    switch matches."""
    models: tuple[str, ...] = ("unknown",)
    is_streamed = False
    prompt: Prompt | None = None
    if isinstance(body, dict):
        prompt = prompt_in(body)
        models, is_streamed = (clean_name(str(body.get("model", "unknown"))),), body.get("stream") is True
        fallbacks = body.get("fallbacks")  # beta: the API itself may serve the call with one of these
        if isinstance(fallbacks, list | tuple):
            models += tuple(clean_name(str(hop.get("model"))) for hop in fallbacks if isinstance(hop, dict))
    return _facts(tags, models, prompt, is_streamed=is_streamed)


def prompt_in(body: Mapping[str, Any]) -> Prompt | None:
    """The prompt that `console.prompts.render` made for this request: in `system`, else in one of the first messages."""
    found = _prompt_of(body.get("system"))
    if found is None:
        messages = body.get("messages")
        if isinstance(messages, list | tuple):
            for message in messages[:MESSAGES_LOOKED_AT]:
                if isinstance(message, dict):
                    found = _prompt_of(message.get("content"))
                    if found is not None:
                        break
    return found


def _prompt_of(content: object) -> Prompt | None:
    """Content is a text, or blocks that may hold texts."""
    if type(content) is str or content is None:
        return None
    if isinstance(content, Prompt):
        return content
    if isinstance(content, list | tuple):
        for block in content[:BLOCKS_LOOKED_AT]:
            text = block.get("text") if isinstance(block, dict) else None
            if isinstance(text, Prompt):
                return text
    return None


def tagged(tags: Mapping[str, str]) -> Facts:
    """The facts that the tags alone tell."""
    return _facts(tags, ("unknown",), None, is_streamed=False)


def _facts(tags: Mapping[str, str], models: tuple[str, ...], prompt: Prompt | None, *, is_streamed: bool) -> Facts:
    customer, session = tags.get(TAG_CUSTOMER), tags.get(TAG_SESSION)
    name = None if prompt is None else clean_name(prompt.name)
    return Facts(
        clean_name(tags.get(TAG_FEATURE) or name or DEFAULT_FEATURE),
        None if customer is None else clean_name(customer),
        None if session is None else clean_name(session),
        name,
        None if prompt is None else str(prompt.version),
        models,
        is_streamed,
    )


def batch_facts(body: object, tags: Mapping[str, str]) -> Facts:
    """The facts of a batch's creation: every model that one of its requests names, and the first prompt."""
    models: dict[str, None] = {}
    prompt: Prompt | None = None
    requests = body.get("requests") if isinstance(body, dict) else None
    if isinstance(requests, list | tuple):
        for request in requests:
            parameters = request.get("params") if isinstance(request, dict) else None
            if isinstance(parameters, dict):
                models[clean_name(str(parameters.get("model")))] = None
                prompt = prompt_in(parameters) if prompt is None else prompt
    return _facts(tags, tuple(models), prompt, is_streamed=False)
