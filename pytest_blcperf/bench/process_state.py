"""What a benchmark leaves behind in its process, and must not pass on to the next one. Standard library only."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from typing import Any

OUTPUT_KEPT = 4 << 20
"""Bytes of captured output beyond which what was written so far is dropped: rounds repeat it thousands of times."""


@contextlib.contextmanager
def process_state_kept() -> Iterator[None]:
    """Working directory, environment and Python's signal handlers as they were, afterwards."""
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        os.fchdir(folder)
        os.close(folder)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        for number, handler in handlers.items():
            # None: installed by C code, which Python can neither read nor put back.
            if handler is not None and signal.getsignal(number) is not handler:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, handler)


def drop_output() -> None:
    """Truncate captured output that has grown beyond what anybody reads; files only, never a pipe or a terminal."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            status = os.fstat(number)
            if stat.S_ISREG(status.st_mode) and status.st_size > OUTPUT_KEPT:
                stream.flush()
                os.lseek(number, 0, os.SEEK_SET)
                os.ftruncate(number, 0)
        _drop_text(stream)


def _drop_text(stream: Any) -> None:
    """The same for output captured in memory (--capture=sys)."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        if stream.buffer.getbuffer().nbytes > OUTPUT_KEPT:
            stream.seek(0)
            stream.truncate()


def resident_bytes() -> int:
    """Resident memory of this process, bytes; 0 where /proc has nothing to say."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - in every round
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def stop_timer(item: Any) -> None:
    """pytest-timeout's clock is for one call of a test, not for a measurement."""
    cancel = getattr(item.config.hook, "pytest_timeout_cancel_timer", None)
    if cancel is not None:
        cancel(item=item)
