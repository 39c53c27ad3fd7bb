"""What a request is about, and the same request without our tags. Touches the body only to read top-level keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from anthropic import Omit
from anthropic._request import APIRequest

from console.core.calls import DEFAULT_FEATURE, Facts
from console.core.redaction import clean_name
from console.sdk.endpoints import TAG_CUSTOMER, TAG_FEATURE, TAG_SESSION, TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

_OMITTED: Final[dict[str, Any]] = {name: Omit() for name in TAGS}
"""Tags may come from the client's `default_headers`, which a request does not show: an Omit removes those too."""


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
    options = request.options.model_copy()
    options.headers = headers
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
    if isinstance(body, dict):
        models, is_streamed = (clean_name(str(body.get("model", "unknown"))),), body.get("stream") is True
        fallbacks = body.get("fallbacks")  # beta: the API itself may serve the call with one of these
        if isinstance(fallbacks, list | tuple):
            models += tuple(clean_name(str(hop.get("model"))) for hop in fallbacks if isinstance(hop, dict))
    return _facts(tags, models, is_streamed=is_streamed)


def tagged(tags: Mapping[str, str]) -> Facts:
    """The facts that the tags alone tell."""
    return _facts(tags, ("unknown",), is_streamed=False)


def _facts(tags: Mapping[str, str], models: tuple[str, ...], *, is_streamed: bool) -> Facts:
    customer, session = tags.get(TAG_CUSTOMER), tags.get(TAG_SESSION)
    return Facts(
        clean_name(tags.get(TAG_FEATURE) or DEFAULT_FEATURE),
        None if customer is None else clean_name(customer),
        None if session is None else clean_name(session),
        None,
        None,
        models,
        is_streamed,
    )


def batch_facts(body: object, tags: Mapping[str, str]) -> Facts:
    """The facts of a batch's creation: every model that one of its requests names."""
    models: dict[str, None] = {}
    requests = body.get("requests") if isinstance(body, dict) else None
    if isinstance(requests, list | tuple):
        for request in requests:
            parameters = request.get("params") if isinstance(request, dict) else None
            if isinstance(parameters, dict):
                models[clean_name(str(parameters.get("model")))] = None
    return facts_of(body, tags)._replace(models=tuple(models))
