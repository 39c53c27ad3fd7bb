"""What the simulated API accepts: a body becomes an `Ask`, or is refused as the real API would. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from console.sim.answers import Ask, input_tokens, text_of
from console.sim.models import MODELS, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LARGEST_BODY = 32 * 1024 * 1024
"""The API's limit for a request body, in bytes."""

_SMALLEST_THINKING_BUDGET = 1024
_ROLES = frozenset({"user", "assistant", "system"})


class RefusedError(Exception):
    """The request is answered with an error: `status`, `type` as in the error body, and the message for people."""

    def __init__(self, status: int, type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.message = message


@dataclass(frozen=True, slots=True)
class CachePrefix:
    """The part of a prompt that the caller marked with `cache_control`: its identity, its size and its lifetime."""

    key: bytes
    tokens: int
    is_one_hour: bool


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """A checked body of `/v1/messages` or of its token count."""

    spec: ModelSpec
    ask: Ask
    stream: bool
    prefix: CachePrefix | None


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises RefusedError (400) for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"The request body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise _invalid("The request body is not a JSON object")
    return value


def read_messages(body: Mapping[str, Any], *, counts_only: bool = False) -> MessagesRequest:
    """Check the body of a call (or of a token count, which has no `max_tokens`). Raises RefusedError."""
    for name in ("model", "messages") if counts_only else ("model", "max_tokens", "messages"):
        if body.get(name) is None:
            raise _invalid(f"{name}: Field required")
    spec = known_model(body["model"])
    max_tokens = 1 if counts_only else _max_tokens(body["max_tokens"], spec)
    messages = _messages(body["messages"])
    system = _system(body.get("system"))
    tools = _tools(body)
    thinking = _thinking(body.get("thinking"), max_tokens)
    _check_settings(body, thinking, spec)
    ask = Ask(
        model=spec.id,
        system=text_of(system),
        messages=messages,
        tools=tools,
        max_tokens=max_tokens,
        tool_choice=_object(body, "tool_choice"),
        stop_sequences=_stop_sequences(body.get("stop_sequences")),
        thinks=thinking.get("type") in {"enabled", "adaptive"},
        shows_thinking=thinking.get("display") != "omitted",
        schema=_schema(body),
    )
    _check_length(ask, spec)
    return MessagesRequest(spec, ask, body.get("stream") is True, _prefix(spec, system, tools))


def known_model(model: object) -> ModelSpec:
    """The model of that id. Raises RefusedError: 404 for an unknown id, 400 for what is no text."""
    if not isinstance(model, str):
        raise _invalid("model: Input should be a valid string")
    spec = MODELS.get(model)
    if spec is None:
        raise RefusedError(404, "not_found_error", f"model: {model[:100]}")
    return spec


def _invalid(message: str) -> RefusedError:
    return RefusedError(400, "invalid_request_error", message)


def _max_tokens(value: object, spec: ModelSpec) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _invalid("max_tokens: Input should be a whole number greater than 0")
    if value > spec.max_tokens:
        raise _invalid(f"max_tokens: {value} > {spec.max_tokens}, the maximum of {spec.id}")
    return value


def _messages(value: object) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not value:
        raise _invalid("messages: at least one message is required")
    for index, message in enumerate(value):
        if not isinstance(message, dict):
            raise _invalid(f"messages.{index}: Input should be an object")
        if message.get("role") not in _ROLES:
            raise _invalid(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if not isinstance(message.get("content"), str | list):
            raise _invalid(f"messages.{index}.content: Input should be a string or a list of blocks")
    return value


def _system(value: object) -> str | list[Any]:
    if value is None:
        return ""
    if not isinstance(value, str | list):
        raise _invalid("system: Input should be a string or a list of text blocks")
    return value


def _tools(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise _invalid("tools: Input should be a list of objects")
    if body.get("tool_choice") is not None and not tools:
        raise _invalid("tool_choice: may only be given together with tools")
    return tools


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise _invalid(f"{name}: Input should be an object")
    return value


def _stop_sequences(value: object) -> Sequence[str]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(stop, str) and stop.strip() for stop in value):
        raise _invalid("stop_sequences: each stop sequence must be a text that is not only white space")
    return value


def _thinking(value: object, max_tokens: int) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or value.get("type") not in {"enabled", "disabled", "adaptive", "between_tools"}:
        raise _invalid("thinking.type: Input should be 'enabled', 'disabled', 'adaptive' or 'between_tools'")
    if value["type"] == "enabled":
        budget = value.get("budget_tokens")
        if not isinstance(budget, int) or budget < _SMALLEST_THINKING_BUDGET:
            raise _invalid(f"thinking.budget_tokens: Input should be at least {_SMALLEST_THINKING_BUDGET}")
        if max_tokens <= budget and max_tokens > 1:
            raise _invalid("max_tokens: must be greater than thinking.budget_tokens")
    return value


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON schema of `output_config.format`, or of the older `output_format`."""
    config = _object(body, "output_config") or {}
    form = config.get("format") or body.get("output_format")
    if form is None:
        return None
    if not isinstance(form, dict) or not isinstance(form.get("schema"), dict):
        raise _invalid("output_config.format.schema: Field required")
    schema: Mapping[str, Any] = form["schema"]
    return schema


def _check_settings(body: Mapping[str, Any], thinking: Mapping[str, Any], spec: ModelSpec) -> None:
    """Refuse the settings that this model does not take."""
    choice = _object(body, "tool_choice") or {}
    sampling = next((name for name in ("temperature", "top_p", "top_k") if body.get(name) is not None), None)
    found = {
        "thinking_budget": thinking.get("type") == "enabled",
        "thinking_disabled": thinking.get("type") == "disabled",
        "sampling": sampling is not None,
        "prefill": body["messages"][-1].get("role") == "assistant",
        "forced_tool": choice.get("type") in {"any", "tool"},
    }
    said = {
        "thinking_budget": "thinking.budget_tokens: this model takes adaptive thinking only",
        "thinking_disabled": "thinking.type: 'disabled' is not supported by this model",
        "sampling": f"{sampling}: sampling parameters are not supported by this model",
        "prefill": "messages: the last message must not be an assistant message with this model",
        "forced_tool": "tool_choice.type: forced tool use is not supported by this model",
    }
    for setting, is_used in found.items():
        if is_used and setting in spec.refuses:
            raise _invalid(said[setting])


def _check_length(ask: Ask, spec: ModelSpec) -> None:
    tokens = input_tokens(ask)
    if tokens > spec.context_tokens:
        raise _invalid(f"prompt is too long: {tokens} tokens > {spec.context_tokens} maximum")


def _prefix(spec: ModelSpec, system: str | list[Any], tools: Sequence[Mapping[str, Any]]) -> CachePrefix | None:
    """The cached prefix: tools and the system blocks up to the last one that carries `cache_control`."""
    if isinstance(system, str):
        return None
    marks = [(index, block["cache_control"]) for index, block in enumerate(system) if _is_marked(block)]
    if not marks:
        return None
    last, control = marks[-1]
    text = text_of(system[: last + 1])
    frame = json.dumps(tools) if tools else ""
    digest = hashlib.blake2b(f"{spec.id}\0{frame}\0{text}".encode(), digest_size=16).digest()
    tokens = input_tokens(Ask(model=spec.id, system=text, tools=tools))
    return CachePrefix(digest, tokens, control.get("ttl") == "1h")


def _is_marked(block: object) -> bool:
    return isinstance(block, dict) and isinstance(block.get("cache_control"), dict)
