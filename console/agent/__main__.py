"""`python -m console.agent health …`: what a command that never loads the SDK has done by a child process.

Not a command line for people: one JSON document a line on standard output, the answer last, mistakes as `{"error": …}`.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from console.core.redaction import redact
from console.errors import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Mapping


def tell(document: Mapping[str, object]) -> None:
    """One line of the answer, at once."""
    sys.stdout.write(json.dumps(document, ensure_ascii=True, allow_nan=False) + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Does one duty. The exit code: 0 when it was done, whatever it has found."""
    parser = argparse.ArgumentParser(prog="python -m console.agent")
    duties = parser.add_subparsers(dest="duty", required=True)
    health = duties.add_parser("health")
    health.add_argument("--config")
    health.add_argument("--data")
    health.add_argument("--timeout", type=float, required=True)
    given = parser.parse_args(arguments)
    try:
        from console.agent.health import look  # noqa: PLC0415 -- with the SDK, 1.3 to 3 s

        tell({"health": look(given.config, given.data, given.timeout, tell).to_json()})
    except ConsoleError as error:
        tell({"error": {"kind": type(error).__name__, "message": str(error)}})
        return 1
    except Exception as error:  # noqa: BLE001 -- whoever waits for the answer must get one
        tell({"error": {"kind": "Defect", "message": f"{type(error).__name__}: {redact(str(error))[:200]}"}})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
