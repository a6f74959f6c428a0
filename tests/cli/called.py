"""`streambench` called within this process: its own `main`, with what it prints and its exit code."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from streambench.cli.main import commands, main


def called(capsys: pytest.CaptureFixture[str], *arguments: object, key: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; `key` is in HUB_API_KEY, and in nothing that is printed. Nobody is there to ask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["streambench", *map(str, arguments)])
        patch.setattr("sys.stdin", io.StringIO())
        patch.setenv("HUB_API_KEY", key)
        with pytest.raises(SystemExit) as ended:
            main()
    out, err = capsys.readouterr()
    assert key not in out + err
    return int(ended.value.code or 0), out, err


def call(*arguments: str | Path) -> int:
    """The command's exit code; raises what the command raises."""
    code: int = commands.main(list(map(str, arguments)), standalone_mode=False)
    return code
