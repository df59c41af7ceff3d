"""Real programs for tests: compiled here, run for as long as a test needs them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_blcperf.model.recording import Mapping

WAITING = """
#include <stdio.h>
#include <unistd.h>
static int secret(int x) { return x * 7 + 1; }
int shown(int x) { return secret(x) + 2; }
int main(int argc, char **argv) { puts("ready"); fflush(stdout); char c; return read(0, &c, 1) + shown(argc) > 1000; }
"""
"""Says `ready`, then waits until its standard input is closed."""


def needed(tool: str, package: str) -> str:
    """The path of a tool; skips the test, naming the Debian package, where it is missing."""
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is missing: sudo apt-get install {package}")
    return found


def compiled(directory: Path, name: str, source: str, *options: str, compiler: str = "gcc") -> Path:
    """The program made of `source`, in `directory`."""
    suffix = {"gcc": ".c", "g++": ".cc", "rustc": ".rs"}[compiler]
    code = directory / (name + suffix)
    code.write_text(source)
    program = directory / name
    subprocess.run([needed(compiler, compiler), str(code), "-o", str(program), *options], check=True, timeout=120)
    return program


@contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has said `ready`; it is over when the block is."""
    process = subprocess.Popen([str(one) for one in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.close()


def executable_mappings(process: int) -> list[Mapping]:
    """What `/proc/PID/maps` tells of the executable mappings."""
    lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    return [_mapping(process, line) for line in lines if "x" in line.split(maxsplit=2)[1]]


def _mapping(process: int, line: str) -> Mapping:
    place, _access, offset, device, inode, *path = line.split(maxsplit=5)
    start, _, end = place.partition("-")
    major, _, minor = device.partition(":")
    return Mapping(
        process,
        int(start, 16),
        int(end, 16),
        int(offset, 16),
        path[0] if path else "//anon",
        device=(int(major, 16), int(minor, 16)),
        inode=int(inode),
    )
