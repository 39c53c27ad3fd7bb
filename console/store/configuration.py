"""Finding and reading the configuration file and the prices. Parsing is `core.configuration`'s."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from console.core.targets import Routing
from console.errors import ConfigError, Mistake
from console.store.files import read_regular
from console.store.locations import Locations, data_directory, locations
from console.store.shipped import shipped_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.core.prices import Prices

MAX_BYTES = 1_000_000
STATUS_PAGE = "https://status.claude.com"
"""What `core.configuration` says as well, which is not loaded when there is no file."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an installation runs with: the parsed configuration's plain values and where everything is."""

    file: Path | None
    environment: str
    service: str | None
    degraded: Mapping[str, str]
    """feature -> its defined text."""
    calls_kept_s: int
    rollups_kept_s: int
    prices_file: Path | None
    locations: Locations
    routing: Routing = field(default_factory=Routing)
    prompts: Path = Path("prompts")
    """The directory of prompt files: <name>/v<N>.md."""
    expects_data: bool = False
    """The data directory was named by the caller, and not by the configuration as well: it should be there already."""
    status_page: str | None = None
    """The provider's status page, which the console asks; None: nobody is asked."""


def find_configuration(
    explicit: str | Path | None, environment: Mapping[str, str] | None = None, *, data: str | Path | None = None
) -> Path | None:
    """The configuration file that counts, or None. A file that was asked for by name is returned even when it is missing. A
    data directory that was named brings its own console.yaml, when there is one."""
    env = os.environ if environment is None else environment
    if explicit is not None:
        return Path(explicit).expanduser().absolute()
    if env.get("CONSOLE_CONFIG"):
        return Path(env["CONSOLE_CONFIG"]).expanduser().absolute()
    home = env.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    beside: tuple[Path, ...] = () if data is None else (Path(data).expanduser() / "console.yaml",)
    for candidate in (
        *beside,
        Path("console.yaml"),
        Path(home) / "console" / "console.yaml",
        Path("/etc/console/console.yaml"),
    ):
        if candidate.is_file():
            return candidate.absolute()
    return None


def load_settings(config: str | Path | None = None, data: str | Path | None = None) -> Settings:
    """The settings of this process. Raises ConfigError with every mistake. Without any file: the defaults, and pydantic and
    yaml are never loaded."""
    file = find_configuration(config, data=data)
    if file is None:
        places, prompts = locations(data_directory(data, None)), Path("prompts").absolute()
        return Settings(
            file=None,
            environment="development",
            service=None,
            degraded={},
            calls_kept_s=2 * 86400,
            rollups_kept_s=400 * 86400,
            prices_file=None,
            locations=places,
            prompts=prompts,
            expects_data=data is not None,
            status_page=STATUS_PAGE,
        )
    from console.core.configuration import parse_configuration  # noqa: PLC0415 -- 100 ms that no file does not need

    parsed = parse_configuration(read_trusted(file), str(file))
    configured = None if parsed.data is None else _beside(file, parsed.data)
    directory = data_directory(data, configured)
    kill_directories = tuple(_beside(file, directory) for directory in parsed.kill_directories)
    return Settings(
        file=file,
        environment=parsed.environment,
        service=parsed.service,
        degraded={name: part.degraded for name, part in parsed.features.items() if part.degraded is not None},
        calls_kept_s=parsed.retention.calls,
        rollups_kept_s=parsed.retention.rollups,
        prices_file=None if parsed.prices is None else _beside(file, parsed.prices),
        locations=locations(directory, kill_directories),
        routing=parsed.routing(),
        prompts=_beside(file, parsed.prompts or "prompts"),
        expects_data=data is not None and (configured is None or directory.resolve() != configured.resolve()),
        status_page=None if parsed.status_page == "off" else parsed.status_page,
    )


def read_trusted(file: Path) -> str:
    """The text of a file that decides what we do. Raises ConfigError when it is missing, too large, writable by everybody or
    owned by a stranger: whoever can write it is an operator."""
    try:
        status = file.stat()
        if status.st_size > MAX_BYTES:
            raise _mistake(file, f"larger than {MAX_BYTES} bytes")
        if status.st_mode & stat.S_IWOTH:
            raise _mistake(file, "writable by everybody: run `chmod o-w` on it, after you have looked at what it says")
        if status.st_uid not in (0, os.getuid()):
            raise _mistake(file, f"owned by user id {status.st_uid}, neither root nor you")
        return read_regular(file, MAX_BYTES)
    except OSError as error:
        raise _mistake(file, f"cannot be read: {error.strerror}") from None
    except UnicodeError:
        raise _mistake(file, "not UTF-8 text") from None


def load_prices(file: Path | None) -> Prices:
    """The shipped prices, or those of `file` laid over them model by model. Raises ConfigError."""
    from console.core.prices import Prices, parse_prices  # noqa: PLC0415 -- only who shows money needs yaml
    from console.core.strict_yaml import read_yaml, typed  # noqa: PLC0415

    shipped = parse_prices(typed(read_yaml(shipped_text("data", "prices.yaml"), "prices.yaml").value))
    if file is None:
        return shipped
    document = read_yaml(read_trusted(file), str(file))
    if document.mistakes:
        raise ConfigError(tuple(document.mistakes))
    try:
        own = parse_prices(typed(document.value))
    except ValueError as error:
        raise _mistake(file, str(error)) from None
    return Prices(own.as_of, {**shipped.by_model, **own.by_model})


def _beside(file: Path, path: str) -> Path:
    return (file.parent / Path(path).expanduser()).absolute()


def _mistake(file: Path, message: str) -> ConfigError:
    return ConfigError((Mistake(str(file), 0, 0, message),))
