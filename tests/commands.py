"""The `blcperf` command in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_blcperf import cli

Command = Callable[..., tuple[int, str, str]]


def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command: (exit code, standard output, standard error)."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(list(argv))
        return (int(code), *capsys.readouterr())

    return run
