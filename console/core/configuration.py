"""The configuration as values: what a file may say, and every mistake in it at once with its position. Pure.

A key that this version does not act upon is refused: silence would look like obedience.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from console.core.breaker import BreakerPolicy
from console.core.durations import parse_duration_s
from console.core.strict_yaml import Document, read_yaml, typed
from console.core.targets import CHAIN_LIMITS, PATCHABLE, FeaturePolicy, LimitsPolicy, Routing, Target
from console.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator


def _seconds(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("write a duration such as 90s, 30m, 12h or 2d")
    return parse_duration_s(value)


Seconds = Annotated[int, BeforeValidator(_seconds)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Model = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$")]
BaseURL = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(?:/[A-Za-z0-9._~/-]*)?$", max_length=500)]
KeyReference = Annotated[str, StringConstraints(pattern=r"^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:.+|client)$", max_length=500)]
Share = Annotated[float, Field(gt=0, le=1)]
DEFAULT_NAME: Final = "default"
MAX_CHAIN: Final = 10


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class TargetConfig(_Part):
    """A model at a provider."""

    provider: Literal["anthropic"] = "anthropic"
    model: Model
    base_url: BaseURL | None = None
    api_key: KeyReference | None = None
    """Where the key is: env:NAME, file:PATH, or `client` for the key of the application's client."""
    params: dict[str, Any] = Field(default_factory=dict)

    @field_validator("params", mode="before")
    @classmethod
    def _patches(cls, value: object) -> object:
        """Numbers and truth values are meant as such here: they go into the request."""
        found = typed(value)  # type: ignore[arg-type]
        if not isinstance(found, dict):
            raise ValueError("write parameters and their values, null to take one away")
        unknown = sorted(set(found) - PATCHABLE)
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: a target can change {', '.join(sorted(PATCHABLE))}")
        return found

    @model_validator(mode="after")
    def _keyed(self) -> TargetConfig:
        if self.base_url is not None and self.api_key is None:
            raise ValueError(
                "a target with a base_url of its own says whose key it gets: api_key: env:NAME, file:PATH, or client for the "
                "key of the application's client"
            )
        return self


class LimitsConfig(_Part):
    """How long an answer may take."""

    answer: Seconds | None = None
    first_token: Seconds | None = None
    silence: Seconds | None = None


class BreakerConfig(_Part):
    """When a target is left alone: `core.breaker.BreakerPolicy`."""

    window: Seconds = 30
    minimum_calls: Annotated[int, Field(ge=1, le=100_000)] = 10
    failure_rate: Share = 0.5
    slow_rate: Share = 0.8
    consecutive: Annotated[int, Field(ge=1, le=1_000)] = 3
    dwell: Seconds = 10
    max_dwell: Seconds = 900
    ramp: Seconds = 10

    @model_validator(mode="after")
    def _ordered(self) -> BreakerConfig:
        if self.max_dwell < self.dwell:
            raise ValueError("max_dwell is shorter than dwell")
        return self


class FeatureConfig(_Part):
    """What one feature does differently from the application's own code; `default` is what every feature inherits, except
    for the defined text, which a classifier would take for a label."""

    degraded: Text | None = None
    """The defined text that is served when a kill switch stops the feature, or every target of its chain has failed; without it
    an error is raised."""
    chain: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_CHAIN)] | None = None
    """Targets in order. Without any the application's own model is asked, and retries stay the SDK's."""
    limits: LimitsConfig | None = None


class RetentionConfig(_Part):
    """How long telemetry is kept, in seconds."""

    calls: Seconds = 2 * 86400
    rollups: Seconds = 400 * 86400


class Configuration(_Part):
    """Everything a `console.yaml` may say. The defaults are those of an installation without a file."""

    environment: Name = "development"
    service: Name | None = None
    data: Text | None = None
    kill_directories: tuple[Text, ...] = ()
    prompts: Text | None = None
    targets: dict[Name, TargetConfig] = Field(default_factory=dict)
    features: dict[Name, FeatureConfig] = Field(default_factory=dict)
    breaker: BreakerConfig = BreakerConfig()
    retention: RetentionConfig = RetentionConfig()
    prices: Text | None = None

    def routing(self) -> Routing:
        """Where calls go, as values."""
        inherited = self.features.get(DEFAULT_NAME, FeatureConfig())
        policies = {name: _policy(part, inherited) for name, part in self.features.items()}
        targets = {
            name: Target(name, part.model, part.provider, part.base_url, part.api_key, MappingProxyType(part.params))
            for name, part in self.targets.items()
        }
        return Routing(
            targets=MappingProxyType(targets),
            default=_policy(inherited, inherited),
            features=MappingProxyType(policies),
            breaker=BreakerPolicy(**self.breaker.model_dump()),
        )


def _policy(part: FeatureConfig, inherited: FeatureConfig) -> FeaturePolicy:
    chain = part.chain if part.chain is not None else inherited.chain
    limits = part.limits if part.limits is not None else inherited.limits
    if limits is None:
        return FeaturePolicy(chain, CHAIN_LIMITS if chain is not None else LimitsPolicy())
    return FeaturePolicy(chain, LimitsPolicy(limits.answer, limits.first_token, limits.silence))


DEFAULT: Final = Configuration()


def parse_configuration(text: str, file: str) -> Configuration:
    """The configuration in `text`. Raises ConfigError with every mistake, each as file:line:column."""
    document = read_yaml(text, file)
    if document.mistakes:
        raise ConfigError(tuple(document.mistakes))
    if not isinstance(document.value, dict):
        raise ConfigError((Mistake(file, 1, 1, "a configuration is a mapping of keys to values"),))
    try:
        parsed = Configuration.model_validate({key: value for key, value in document.value.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_mistakes(document, error)) from None
    if unknown := tuple(_unknown_targets(document, parsed)):
        raise ConfigError(unknown)
    return parsed


def _unknown_targets(document: Document, parsed: Configuration) -> Iterator[Mistake]:
    """Chains name targets, or Claude models by their ids."""
    for feature, part in parsed.features.items():
        for index, name in enumerate(part.chain or ()):
            path = ("features", feature, "chain", index)
            if name not in parsed.targets and not name.startswith("claude-"):
                known = ", ".join(sorted(parsed.targets)) or "none is defined"
                yield document.mistake(path, f"features.{feature}.chain: no target {name!r} (targets: {known})")
            elif name in (part.chain or ())[:index]:
                yield document.mistake(path, f"features.{feature}.chain: {name} stands there twice")


def _mistakes(document: Document, error: ValidationError) -> tuple[Mistake, ...]:
    found = []
    for problem in error.errors(include_url=False, include_context=False):
        path = tuple(part for part in problem["loc"] if part != "[key]")
        name = ".".join(str(part) for part in path)
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        found.append(document.mistake(path, f"{name}: {message}"))
    return tuple(sorted(found, key=lambda mistake: (mistake.line, mistake.column)))
