"""What is loaded, and what must not be: looked at in a fresh process, since the static graph misses deferred imports."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def _loaded(code: str, cwd: Path, *arguments: str) -> set[str]:
    """The modules that a fresh process has loaded after `code`."""
    tail = "\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_neither_the_sdk_nor_the_screen(tmp_path: Path) -> None:
    loaded = _loaded("import console; dir(console); console.__version__", tmp_path)
    assert "console" in loaded
    assert not loaded & {"anthropic", "httpx2", "textual", "click", "pydantic", "yaml", "sqlite3", "console.sdk"}


def test_a_call_loads_neither_the_screen_nor_the_command_line_nor_the_operators_acts(tmp_path: Path) -> None:
    code = """
import sys
import anthropic, httpx2
from console import Console
def wire(request): return httpx2.Response(400, json={})
with Console(data=sys.argv[1]) as console:
    http = anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(wire))
    with anthropic.Anthropic(api_key="k", http_client=http, middleware=[console.middleware]) as client:
        try:
            client.messages.create(model="m", max_tokens=1, messages=[])
        except anthropic.BadRequestError:
            pass
"""
    _loaded(code, tmp_path, str(tmp_path / "data"))  # the first process makes the file, with sqlite-utils, which loads click
    assert (tmp_path / "data" / "telemetry.db").exists()
    loaded = _loaded(code, tmp_path, str(tmp_path / "data"))
    assert "console.sdk.middleware" in loaded
    assert not loaded & {"textual", "click", "yaml", "sqlite_utils", "console.core.configuration"}
    assert not [name for name in loaded if name.startswith(("console.ops", "console.tui", "console.cli", "console.sim"))]


@pytest.mark.parametrize(
    "command",
    [
        ["status", "--json"],
        ["kill", "support-reply", "--reason", "a drill", "--json"],
        ["kill", "--all", "--for", "30m", "--json"],
        ["audit", "--json"],
    ],
    ids=" ".join,
)
def test_a_command_never_loads_the_sdk_nor_the_screen(command: list[str], tmp_path: Path) -> None:
    code = """
import sys
from console.cli.main import main
sys.argv = ["console", *sys.argv[1:]]
try:
    main()
except SystemExit as left:
    assert left.code in (0, 1, None), left.code
"""
    loaded = _loaded(code, tmp_path, *command, "--data", str(tmp_path / "data"))
    assert "console.ops.desk" in loaded or "console.ops.files" in loaded
    assert not loaded & {"anthropic", "httpx2", "textual", "console.sdk", "console.sim"}
