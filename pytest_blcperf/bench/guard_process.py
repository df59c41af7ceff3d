"""Outlives the controller to end what it left behind. Run by path: `python -I -S guard_process.py CONTROLLER_PID`.

Reads lines from standard input: `+N` watches process group N, `-N` forgets it. When the controller has exited, or
closed the pipe, the groups still watched are killed. Few imports: every launch starts one.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from signal import SIGKILL


def main() -> None:
    """Wait, then kill."""
    groups: set[int] = set()
    waiting = select.poll()
    waiting.register(0, select.POLLIN)
    # The end of the pipe alone is not enough: a child forked by the controller holds it open.
    exit_watch = _exit_watch(int(sys.argv[1]))
    if exit_watch is not None:
        waiting.register(exit_watch, select.POLLIN)
    rest = b""
    while True:
        ready = {fd for fd, _ in waiting.poll()}
        # Reads what was written before the controller's death first: its last group may be among it.
        part = os.read(0, 4096) if 0 in ready else b""
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
        if not part:
            break
    for group in groups:
        with suppress(OSError):
            os.killpg(group, SIGKILL)


def _exit_watch(controller: int) -> int | None:
    try:
        descriptor = os.pidfd_open(controller)
    except (OSError, AttributeError):
        return None  # already gone, so the pipe ends; or not Linux
    return descriptor


if __name__ == "__main__":
    main()
