"""`Console`: the one object that an application makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from console.runtime.process import Runtime
from console.sdk.endpoints import tags
from console.sdk.health import Checkup
from console.sdk.middleware import ConsoleMiddleware
from console.sdk.prompts import Prompts
from console.store.configuration import load_settings
from console.store.sqlite.telemetry import RetentionPolicy

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from console.core.health import Health


class Console:
    """Records the calls of this process and obeys the operator's switches.

        console = Console()
        client = Anthropic(middleware=[console.middleware])
        system = console.prompts.render("support-reply", key=user_id, product="Acme")
        client.messages.create(..., system=system, extra_headers=console.tags(customer="acme"))

    The same object serves blocking and asynchronous clients of every provider. Made once per process, or before a fork.
    Raises ConfigError when there is a configuration and it is wrong; nothing else, and nothing later.
    """

    def __init__(self, *, config: str | Path | None = None, data: str | Path | None = None, service: str | None = None) -> None:
        settings = load_settings(config, data)
        rollups = (RetentionPolicy().rollups_s[0], RetentionPolicy().rollups_s[1], settings.rollups_kept_s)
        self._runtime = Runtime(
            settings.locations,
            service=service or settings.service,
            retention=RetentionPolicy(calls_s=settings.calls_kept_s, rollups_s=rollups),
            routing=settings.routing,
            prompts=settings.prompts,
            prices_file=settings.prices_file,
        )
        self.middleware = ConsoleMiddleware(self._runtime, settings.degraded)
        self.prompts = Prompts(self._runtime)
        self._checkup = Checkup(self._runtime, self.middleware.clients, settings.routing)

    def health(self, client: Any = None, *, max_age_s: float = 30.0, timeout_s: float = 5.0) -> Health:
        """Whether this process can ask its targets, for the application's own health endpoint.

            health = console.health()
            return JSONResponse(health.to_json(), 200 if health.is_serving else 503)

        Each target is asked to count the tokens of one word, which costs nothing, at most once in `max_age_s` seconds, all at
        the same time and for `timeout_s` at most; breakers and switches are those of this moment. `client`: whom to ask with;
        without one a client that has made a call, else one made from the environment. Blocks while it asks. Never raises.
        """
        return self._checkup.health(client, max_age_s, timeout_s)

    async def health_async(self, client: Any = None, *, max_age_s: float = 30.0, timeout_s: float = 5.0) -> Health:
        """The same for asynchronous applications."""
        return await self._checkup.health_async(client, max_age_s, timeout_s)

    tags = staticmethod(tags)

    def close(self) -> None:
        """Writes what is queued, for about a second, and stops recording. Done at exit anyway."""
        self._runtime.close()
        self.middleware.close()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
