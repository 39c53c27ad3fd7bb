"""What a request is about, and the same request without our tags. Touches the body only to read top-level keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from anthropic import Omit
from anthropic._request import APIRequest

from console.core.calls import DEFAULT_FEATURE, Facts
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
        lowered = name.lower()
        if lowered in _OMITTED:
            if isinstance(value, str):
                found[lowered] = value
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


def sends_no_tags(client: Any) -> bool:
    """Whether none of a client's `default_headers` is a tag, so that there is nothing to omit from its requests."""
    return not any(name.lower() in _OMITTED for name in client.default_headers)


def facts_of(body: object, tags: Mapping[str, str]) -> Facts:
    """The facts of a `POST /v1/messages` with this body."""
    models: tuple[str, ...] = ("unknown",)
    is_streamed = False
    if isinstance(body, dict):
        models, is_streamed = (str(body.get("model", "unknown")),), body.get("stream") is True
        if body.get("fallbacks"):  # beta: the API itself may serve the call with one of these
            models += tuple(str(hop.get("model")) for hop in body["fallbacks"] if isinstance(hop, dict))
    return Facts(
        tags.get(TAG_FEATURE) or DEFAULT_FEATURE,
        tags.get(TAG_CUSTOMER),
        tags.get(TAG_SESSION),
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
                models[str(parameters.get("model"))] = None
    return facts_of(body, tags)._replace(models=tuple(models))
