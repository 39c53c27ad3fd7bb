"""`console init`: everything that an installation needs, made once, never overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from console.cli.options import common, settings_of
from console.cli.output import say, say_json
from console.ops.installation import install

_EXAMPLE: Final = """# What the console and the application's middleware run with. Check it with: console config check
environment: {environment}
data: {data}

# Besides {data}/kill and /run/console/kill: a file named after a feature, or `all`, in one of these stops it.
# kill_directories: [/srv/console/kill]

# Where calls can go. Without a chain they go where the application sends them, and retries stay the SDK's.
# targets:
#   sonnet: {{model: claude-sonnet-5-5}}
#   haiku: {{model: claude-haiku-5-5, params: {{thinking: null}}}}
#   sonnet-aws: {{provider: bedrock, region: us-east-1, model: claude-sonnet-5-5}}    # keys: where that provider's client looks

# The directory of prompt files, <name>/v<N>.md.
# prompts: prompts

features:
  # What every feature inherits: its targets in order, and how long each may take.
  # default:
  #   chain: [sonnet, haiku]
  #   limits: {{answer: 120s, first_token: 20s, silence: 15s}}
  #   on_break: continue          # a stream that breaks in the middle goes on at the next target; or error
  #   on_kill: finish             # a kill lets what is under way finish; or abort
  #   cache: {{mode: on_failure, ttl: 1h, stale: 24h}}    # or always; in memory, never on a disk
  #   max_tokens: 4096            # the most that a request may ask for
  #   max_input_chars: 200000     # the most text that it may carry
  #   rate: {{requests_per_minute: 600, tokens_per_minute: 400000, on_exceed: block}}
  #   budget_usd_per_day: 80
  #   on_exceed: alert            # of the budget; alert, degrade (the text below) or block
  # The text that is served when a kill switch stops a feature or no target answers; without it the call raises an error.
  # support-reply:
  #   degraded: "The assistant is resting. A person will answer within the hour."

# What everything together, and each customer, may cost.
# budget_usd_per_day: 200
# budget_usd_per_month: 4000
# on_exceed: alert
# customers: {{budget_usd_per_day: 5, rate: {{requests_per_minute: 60}}, on_exceed: block}}

retention:
  calls: 2d
  rollups: 400d
"""


@click.command()
@click.option("--environment", default="development", show_default=True, help="What this installation calls itself.")
@common
@click.pass_context
def init(ctx: click.Context, environment: str, config: str | None, data: str | None, as_json: bool) -> None:
    """Make console.yaml here, the databases and the break-glass directory. What exists already is left as it is."""
    given = ctx.find_root().obj or {}
    file = Path(config or given.get("config") or "console.yaml").absolute()
    is_new = not file.exists()
    if is_new:
        wanted = data or given.get("data") or "var"
        text = _EXAMPLE.format(environment=environment, data=wanted).replace("features:\n  #", "# features:\n  #")
        _write_checked(file, text)
    made = install(settings_of(ctx, str(file), data).locations)
    created = [str(path) for path in ([file] if is_new else []) + list(made)]
    if as_json:
        say_json({"config": str(file), "created": created})
        return
    say("\n".join([*(f"made {path}" for path in created), *([] if created else ["everything is there already"])]))
    say("next: give your application's client `middleware=[console.middleware]`, then run `console`")


def _write_checked(file: Path, text: str) -> None:
    """Parsed before it is written: what `init` leaves behind must pass `config check`."""
    from console.core.configuration import parse_configuration  # noqa: PLC0415 -- only when a file is made
    from console.store.files import write_whole  # noqa: PLC0415

    parse_configuration(text, str(file))
    try:
        write_whole(file, text, mode=0o644)
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be written: {error.strerror}") from None
