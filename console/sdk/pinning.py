"""Prompt versions and conversations: one that goes on gets the version that it began with, whatever is current meanwhile.

Thinking blocks are bound to the system prompt and to earlier messages: a changed beginning may answer 400. A prompt that was
rendered with `conversation=` is its conversation's already. For every other one the request itself tells: with no assistant
turn a conversation begins, and its beginning is noted; with one it goes on, and a prompt of another version is replaced.

An assistant message at the very end is no turn: the application begins the answer there (prefill). Examples of question and
answer in front of the first real question look like a conversation that nobody has seen begin: nothing is pinned by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.runtime.clock import now_us
from console.runtime.pins import beginning_of
from console.sdk.facts import BLOCKS_LOOKED_AT, MESSAGES_LOOKED_AT, prompt_in
from console.sdk.prompts import Prompt, Rendering, rendering_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from console.core.calls import Facts
    from console.runtime.process import Runtime

CHARS_LOOKED_AT: Final = 2_000
TURNS_LOOKED_AT: Final = 32
"""Who has said nothing in so many messages is not going to be looked for any further."""


def pinned(runtime: Runtime, body: Mapping[str, Any], facts: Facts) -> tuple[Mapping[str, Any], Facts] | None:
    """The body and the facts of a call whose conversation began with another version of its prompt; None: as they are.

    Notes the beginning of a conversation. The body itself is not changed.
    """
    prompt = prompt_in(body)
    rendering = None if prompt is None else rendering_of(prompt)
    messages = body.get("messages")
    if prompt is None or rendering is None or rendering.is_pinned or not isinstance(messages, list | tuple):
        return None
    said = _first_words(messages)
    if not said and facts.session is None:  # a picture, or the prompt alone
        return None
    beginning = beginning_of("words", prompt.name, rendering.key, facts.customer, facts.session, said)
    if not _goes_on(messages):
        runtime.prompts.began(beginning, rendering.version, now_us())
        return None
    found = runtime.prompts.instead(
        beginning, rendering.version, rendering.variables, lambda: runtime.current().state, now_us()
    )
    if found is None:
        return None
    text, version = found
    other = Rendering(version, rendering.variables, rendering.key, is_pinned=True)
    put = _replaced(body, prompt, Prompt(text, version.name, version.version, version.hash, other))
    return put, facts._replace(prompt_version=str(version.version))


def _goes_on(messages: Sequence[Any]) -> bool:
    """Whether the assistant has had a turn."""
    for one in messages[: min(len(messages) - 1, TURNS_LOOKED_AT)]:
        if isinstance(one, dict) and one.get("role") == "assistant":
            return True
    return False


def _first_words(messages: Sequence[Any]) -> str:
    """The beginning of the first thing that the user says before there is an answer; a rendered prompt is nothing that he
    says."""
    for message in messages[:MESSAGES_LOOKED_AT]:
        role = message.get("role") if isinstance(message, dict) else None
        if role == "assistant":
            break
        said = _words(message.get("content")) if role == "user" else ""
        if said:
            return said
    return ""


def _words(content: object) -> str:
    if isinstance(content, str):
        return "" if isinstance(content, Prompt) else content[:CHARS_LOOKED_AT]
    if not isinstance(content, list | tuple):
        return ""
    texts = (block.get("text") for block in content[:BLOCKS_LOOKED_AT] if isinstance(block, dict))
    return "\n".join(text[:CHARS_LOOKED_AT] for text in texts if isinstance(text, str) and not isinstance(text, Prompt))[
        :CHARS_LOOKED_AT
    ]


def _replaced(body: Mapping[str, Any], old: Prompt, new: Prompt) -> dict[str, Any]:
    """The body with the new prompt where the old one stands; the rest is shared."""
    system = _put(body.get("system"), old, new)
    if system is not None:
        return {**body, "system": system}
    messages = list(body["messages"])
    for index, message in enumerate(messages[:MESSAGES_LOOKED_AT]):
        content = _put(message.get("content"), old, new) if isinstance(message, dict) else None
        if content is not None:
            messages[index] = {**message, "content": content}
            break
    return {**body, "messages": messages}


def _put(content: object, old: Prompt, new: Prompt) -> object | None:
    """The content with the new prompt in it, None when the old one is not there."""
    if content is old:
        return new
    if isinstance(content, list | tuple):
        for index, block in enumerate(content[:BLOCKS_LOOKED_AT]):
            if isinstance(block, dict) and block.get("text") is old:
                return [*content[:index], {**block, "text": new}, *content[index + 1 :]]
    return None
