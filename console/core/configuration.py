"""The configuration as values: what a file may say, and every mistake in it at once with its position. Pure.

A key that this version does not act upon is refused: silence would look like obedience.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from console.core.durations import parse_duration_s
from console.core.strict_yaml import Document, read_yaml
from console.errors import ConfigError, Mistake


def _seconds(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("write a duration such as 90s, 30m, 12h or 2d")
    return parse_duration_s(value)


Seconds = Annotated[int, BeforeValidator(_seconds)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class FeatureConfig(_Part):
    """What one feature does differently from the application's own code."""

    degraded: Text | None = None
    """The defined text that is served when a kill switch stops the feature; without it `CallBlocked` is raised."""


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
    features: dict[Name, FeatureConfig] = Field(default_factory=dict)
    retention: RetentionConfig = RetentionConfig()
    prices: Text | None = None

    def degraded_text(self, feature: str) -> str | None:
        """The defined text of a feature, or None: text is defined per feature, a classifier would take it for a label."""
        part = self.features.get(feature)
        return part.degraded if part is not None else None


DEFAULT: Final = Configuration()


def parse_configuration(text: str, file: str) -> Configuration:
    """The configuration in `text`. Raises ConfigError with every mistake, each as file:line:column."""
    document = read_yaml(text, file)
    if document.mistakes:
        raise ConfigError(tuple(document.mistakes))
    if not isinstance(document.value, dict):
        raise ConfigError((Mistake(file, 1, 1, "a configuration is a mapping of keys to values"),))
    try:
        return Configuration.model_validate({key: value for key, value in document.value.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_mistakes(document, error)) from None


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
